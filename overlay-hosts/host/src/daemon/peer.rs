//! One peer: its machines, its sockets, and what is kept of it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use overlay_protocols::machine::{Class, Output, Send};
use overlay_protocols::node::{Event, Input, OverlayNode};
use overlay_protocols::{Endpoint, Now, Time};

use super::clock::Clock;
use super::depart;
use super::link::{Left, Link};
use super::pool::Share;
use super::reach::Reach;
use crate::config::Transport;
use crate::state::Writer;

/// Datagrams that are received before something else gets its turn.
const RECEIVED_AT_ONCE: usize = 256;
/// Timeouts that are handled before something else gets its turn.
const TIMEOUTS_AT_ONCE: usize = 64;
/// How often sockets that need upkeep are looked at when nothing comes.
const UPKEEP: std::time::Duration = std::time::Duration::from_millis(250);

/// What has left and come, as datagrams. Octets are those of UDP payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Datagrams {
    pub(crate) unicast_packets: u64,
    pub(crate) unicast_bytes: u64,
    pub(crate) xcast_packets: u64,
    pub(crate) xcast_bytes: u64,
    /// Receivers of Xcast packets.
    pub(crate) xcast_receivers: u64,
    /// Receivers that nothing could be sent to.
    pub(crate) unsent: u64,
    pub(crate) received_packets: u64,
    pub(crate) received_bytes: u64,
    /// Those among them that were Xcast to their end.
    pub(crate) received_xcast: u64,
    /// Calls of the kernel that have failed.
    pub(crate) failures: u64,
}

impl Datagrams {
    /// A datagram of `len` octets to `receivers` has left so.
    fn count(&mut self, left: Left, receivers: usize, len: usize) {
        let len = len as u64;
        self.unicast_packets += left.plain;
        self.unicast_bytes += left.plain * len;
        self.xcast_packets += left.xcast;
        self.xcast_bytes += left.xcast * len;
        if left.xcast > 0 {
            self.xcast_receivers += (receivers as u64).saturating_sub(left.unsent + left.plain);
        }
        self.unsent += left.unsent;
    }
}

/// One peer.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) node: OverlayNode,
    pub(crate) datagrams: Datagrams,
    pub(crate) reach: Reach,
    /// What it does with several receivers; `Auto` becomes `Unicast` where Xcast cannot be had.
    pub(crate) transport: Transport,
    pub(crate) link: Link,
    /// Its part in the pool of hosts.
    pub(super) share: Share,
    /// News that the daemon has not seen yet.
    pub(crate) events: Vec<Event>,
    /// Whom it has asked to let it in.
    pub(super) boot: Option<Vec<SocketAddr>>,
    /// Part of a ring, as far as its machine has told.
    pub(super) is_in_ring: bool,
    /// Where no ring answers it may begin one; where no rendezvous answers, found a group.
    pub(super) may_begin: bool,
    /// See `may_begin`.
    pub(super) may_found: bool,
    pub(super) folder: PathBuf,
    pub(super) own_addresses: Vec<SocketAddr>,
    pub(super) next_upkeep: Time,
    /// Receiving has failed: it is tried again with the next upkeep.
    pub(super) has_failed: bool,
    /// There is more to do at once.
    pub(super) is_behind: bool,
}

impl Peer {
    /// Gives its machines an input.
    pub(crate) fn input(&mut self, input: Input<'_>, now: Now, writer: &Writer) {
        self.node.handle_input(input, now);
        self.drain(now, writer);
    }

    /// Does what is there to do, within bounds.
    pub(super) fn turn(&mut self, clock: Clock, writer: &Writer) {
        (self.is_behind, self.has_failed) = (false, false);
        self.receive(clock, writer);
        for _ in 0..TIMEOUTS_AT_ONCE {
            let now = clock.now();
            if self.node.poll_timeout().is_none_or(|(at, _)| at > now.time) {
                break;
            }
            self.node.handle_timeout(now);
            self.drain(now, writer);
        }
        self.probe(clock.now(), writer);
        self.report(clock.now(), writer);
        self.next_upkeep = clock.now().time + UPKEEP;
    }

    /// When it wants its next turn, though nothing comes.
    pub(super) fn deadline(&self) -> Option<Time> {
        let upkeep = (self.link.needs_upkeep() || self.has_failed).then_some(self.next_upkeep);
        let timeout = self.node.poll_timeout().map(|(at, _)| at);
        let probes = self.probes().then(|| self.reach.deadline()).flatten();
        let report = self.report_deadline();
        let behind = self.is_behind.then_some(Time(0));
        [upkeep, timeout, probes, report, behind].into_iter().flatten().min()
    }

    /// Whether it tries whom Xcast reaches.
    fn probes(&self) -> bool {
        self.transport == Transport::Auto
    }

    fn receive(&mut self, clock: Clock, writer: &Writer) {
        for _ in 0..RECEIVED_AT_ONCE {
            let arrived = match self.link.receive() {
                Ok(Some(arrived)) => arrived,
                Ok(None) => return,
                Err(error) => {
                    self.note_failure(&error);
                    return;
                }
            };
            let now = clock.now();
            self.datagrams.received_packets += 1;
            self.datagrams.received_bytes += arrived.bytes.len() as u64;
            self.datagrams.received_xcast += u64::from(arrived.is_xcast);
            let (from, bytes, ttl) = (arrived.from, &arrived.bytes, arrived.ttl);
            let (at, wall) = (clock.at_stamp(arrived.stamp, now), now.wall);
            self.input(Input::Datagram { from, bytes, at, wall, ttl }, now, writer);
        }
        self.is_behind = true;
    }

    /// An earlier datagram that did not arrive, or the system is short of something: either passes.
    fn note_failure(&mut self, error: &io::Error) {
        self.datagrams.failures += 1;
        self.has_failed = true;
        tracing::debug!(peer = self.name, %error, "cannot receive for a moment");
    }

    fn probe(&mut self, now: Now, writer: &Writer) {
        if !self.probes() {
            return;
        }
        for list in self.reach.probes(now.time) {
            self.input(Input::Probe(list), now, writer);
        }
    }

    fn drain(&mut self, now: Now, writer: &Writer) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Send(send) => self.send(&send, now),
                Output::Pair { to, size, protocol, message } => {
                    let size = size.min(self.link.mtu(to.address.ip()));
                    // Both are made before the first leaves.
                    let mut padded = || self.node.padded(to, size, protocol, &message, now);
                    let pair = [padded(), padded()];
                    pair.iter().for_each(|bytes| self.send_to(to.address, bytes));
                }
                Output::Store { key, bytes } => writer.store(&self.folder, key, bytes),
                Output::Event(Event::XcastReaches(from)) => self.note_reached(from, now),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn note_reached(&mut self, from: Endpoint, now: Now) {
        if !self.reach.is_reached(&from.address, now.time) {
            tracing::debug!(peer = self.name, address = %from.address, "Xcast reaches it");
        }
        self.reach.note_reached(from, now.time);
    }

    fn send(&mut self, send: &Send, now: Now) {
        if send.to.len() > 1 && self.probes() && send.class == Class::Queued {
            self.reach.note_used(&send.to, now.time);
        }
        let is_reached = |index: usize| self.reach.is_reached(&send.to[index].address, now.time);
        let mut plan = depart::plan(send, self.transport, is_reached);
        for list in std::mem::take(&mut plan.together) {
            let bytes = self.node.datagram(send, &list, now);
            let to: Vec<SocketAddr> = list.iter().map(|index| send.to[*index].address).collect();
            match self.link.send_together(&to, &bytes) {
                Some(left) => self.datagrams.count(left, to.len(), bytes.len()),
                None => plan.alone.extend(list),
            }
        }
        for index in plan.alone {
            self.send_alone(send, index, now);
        }
    }

    fn send_alone(&mut self, send: &Send, index: usize, now: Now) {
        let bytes = self.node.datagram(send, &[index], now);
        self.send_to(send.to[index].address, &bytes);
    }

    fn send_to(&mut self, to: SocketAddr, bytes: &[u8]) {
        let left = self.link.send(to, bytes);
        self.datagrams.count(left, 1, bytes.len());
    }
}

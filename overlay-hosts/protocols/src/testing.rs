//! A small network of nodes in virtual time, for tests: datagrams arrive after the latency between
//! two hosts, unless the test loses them.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use std::vec::Vec;

use crate::contact::Contact;
use crate::machine::{Output, Send};
use crate::node::{Config, Event, Input, OverlayNode};
use crate::seal::Identity;
use crate::time::{Now, Time, Wall};

/// Where clocks on the wall stand when a test begins: 2026.
pub(crate) const START: Wall = Wall(1_770_000_000_000_000);

/// Something that will happen.
struct Arrival {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

/// Nodes, by their places 0, 1, 2, ...; `None` has crashed or never was.
pub(crate) struct Net {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Option<OverlayNode>>,
    /// What each has told so far.
    pub(crate) events: Vec<Vec<(Time, Event)>>,
    /// What each has stored.
    pub(crate) stored: Vec<BTreeMap<&'static str, Vec<u8>>>,
    /// All messages sent: who, when, what.
    pub(crate) sent: Vec<(usize, Time, Send)>,
    /// How long a datagram takes from one host to another; `None`: it is lost.
    pub(crate) latency: Box<dyn Fn(usize, usize, Time) -> Option<Duration>>,
    /// How far apart the two of a pair come.
    pub(crate) spread: Box<dyn Fn(usize, SocketAddr) -> Duration>,
    /// By how much a host's clock is ahead, microseconds.
    pub(crate) skew: Vec<i64>,
    /// Whether nodes that are started prove who they are.
    pub(crate) signed: bool,
    arrivals: BTreeMap<(Time, u64), Arrival>,
    number: u64,
}

/// The address of a host.
pub(crate) fn address(place: usize) -> SocketAddr {
    let [.., a, b] = (place as u32).to_be_bytes();
    SocketAddr::from(([10, 0, a, b], 9000))
}

/// A host's identity: open, or signed with a key that its number decides.
pub(crate) fn identity(place: usize, signed: bool) -> Identity {
    let mut key = [0x5a; 32];
    key[..8].copy_from_slice(&(place as u64).to_be_bytes());
    if signed { Identity::signed(&key) } else { Identity::open(key) }
}

impl Net {
    /// Hosts that are all `latency` apart.
    pub(crate) fn new(latency: Duration) -> Net {
        Net {
            now: Time(0),
            nodes: Vec::new(),
            events: Vec::new(),
            stored: Vec::new(),
            sent: Vec::new(),
            latency: Box::new(move |_, _, _| Some(latency)),
            spread: Box::new(|_, _| Duration::from_millis(1)),
            skew: Vec::new(),
            signed: false,
            arrivals: BTreeMap::new(),
            number: 0,
        }
    }

    /// Starts a node; its place.
    pub(crate) fn start(&mut self, config: Config) -> usize {
        let place = self.nodes.len();
        self.nodes.push(None);
        self.events.push(Vec::new());
        self.stored.push(BTreeMap::new());
        self.skew.push(0);
        self.restart(place, config);
        place
    }

    /// Starts it (again), with what it has stored.
    pub(crate) fn restart(&mut self, place: usize, config: Config) {
        let identity = identity(place, self.signed);
        let me = Contact::new(identity.id, address(place));
        let stored = self.stored[place].clone();
        let restored = move |key: &str| stored.get(key).cloned();
        let seed = 1000 + place as u64;
        let node = OverlayNode::new(config, identity, me, &restored, seed, self.at(place));
        self.nodes[place] = Some(node);
    }

    /// It is gone without a word.
    pub(crate) fn crash(&mut self, place: usize) {
        self.nodes[place] = None;
    }

    /// Both clocks at a host.
    pub(crate) fn at(&self, place: usize) -> Now {
        let wall = Wall((START.0 + self.now.0).saturating_add_signed(self.skew[place]));
        Now { time: self.now, wall }
    }

    /// A node that is there.
    pub(crate) fn node(&self, place: usize) -> &OverlayNode {
        self.nodes[place].as_ref().unwrap()
    }

    /// Gives a node an input, now.
    pub(crate) fn input(&mut self, place: usize, input: Input<'_>) {
        let now = self.at(place);
        let Some(node) = &mut self.nodes[place] else { return };
        node.handle_input(input, now);
        self.drain(place);
    }

    fn drain(&mut self, place: usize) {
        let now = self.at(place);
        while let Some(output) = self.nodes[place].as_mut().and_then(OverlayNode::poll_output) {
            match output {
                Output::Send(send) => {
                    for index in 0..send.to.len() {
                        let Some(node) = &mut self.nodes[place] else { continue };
                        let bytes = node.datagram(&send, &[index], now);
                        self.fly(place, send.to[index].address, bytes, Duration::ZERO);
                    }
                    self.sent.push((place, self.now, send));
                }
                Output::Pair { to, size, protocol, message } => {
                    for number in 0..2 {
                        let Some(node) = &mut self.nodes[place] else { continue };
                        let bytes = node.padded(to, size, protocol, &message, now);
                        let behind = (self.spread)(place, to.address) * number;
                        self.fly(place, to.address, bytes, behind);
                    }
                }
                Output::Store { key, bytes } => {
                    self.stored[place].insert(key, bytes);
                }
                Output::Event(event) => self.events[place].push((self.now, event)),
            }
        }
    }

    fn fly(&mut self, from: usize, to: SocketAddr, bytes: Vec<u8>, behind: Duration) {
        let Some(to) = (0..self.nodes.len()).find(|place| address(*place) == to) else { return };
        if let Some(latency) = (self.latency)(from, to, self.now) {
            self.number += 1;
            let key = (self.now + latency + behind, self.number);
            self.arrivals.insert(key, Arrival { from, to, bytes });
        }
    }

    /// Lets everything happen that happens up to `until`.
    pub(crate) fn run_until(&mut self, until: Time) {
        loop {
            let arrival = self.arrivals.keys().next().map(|(at, _)| *at);
            let timeouts = self
                .nodes
                .iter()
                .enumerate()
                .filter_map(|(place, node)| Some((node.as_ref()?.poll_timeout()?.0, place)));
            let timeout = timeouts.min();
            let next = arrival.into_iter().chain(timeout.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                self.arrive();
            } else if let Some((_, place)) = timeout {
                let now = self.at(place);
                if let Some(node) = &mut self.nodes[place] {
                    node.handle_timeout(now);
                    let again = node.poll_timeout().filter(|(at, _)| *at <= self.now);
                    assert!(
                        again.is_none_or(|(at, _)| at > next || next < self.now),
                        "{again:?} again"
                    );
                }
                self.drain(place);
            }
        }
        self.now = until;
    }

    /// Lets a while pass.
    pub(crate) fn run(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    fn arrive(&mut self) {
        let Some((_, arrival)) = self.arrivals.pop_first() else { return };
        let Now { time: at, wall } = self.at(arrival.to);
        let from = address(arrival.from);
        let bytes = &arrival.bytes;
        self.input(arrival.to, Input::Datagram { from, bytes, at, wall, ttl: 60 });
    }
}

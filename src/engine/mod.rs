//! Packets in, packets out: joins the pure packet path with devices.
//!
//! One [`Engine`] is what one worker thread runs. A [`turn`](Engine::turn) serves every port
//! once: take a batch of frames, [`process`] each, send the replicas, give the frames back. The
//! heads of replicas lie in the engine's [`Output`], their tails still in the received frames,
//! so a frame is given back only after its replicas were sent.
//!
//! What waits for a neighbor is copied aside (`hold`): the only copy of a payload in user
//! space.

mod hold;
mod notify;
mod tunnels;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::fib::{Adjacency, Fib, PortId, is_link_local};
use crate::forward::{
    Batch, Counters, DropReason, Heard, LINK_HEADER_LEN, Output, Packet, PortCounters, Replica,
    Sample, Sent, Target, Time, process, process_batch,
};
use crate::io::{Deliver, Receive, Transmit};
use crate::wire::{ethernet, probe};
use hold::Hold;
use notify::Notifier;
pub use notify::TraceRequest;
pub use tunnels::ControlMessage;
use tunnels::Tunnels;

/// Frames taken from a port at once.
const BATCH: usize = 32;

/// The devices, the packet path's working memory, and what waits.
pub struct Engine<R, T, D> {
    /// By port.
    receivers: Vec<Option<R>>,
    /// By port.
    transmitters: Vec<Option<T>>,
    local: D,
    out: Output,
    /// By port: the replicas of the present batch to be sent there.
    queues: Vec<Vec<u16>>,
    /// Of the queue being sent, those that the device did not take.
    refused: Vec<u16>,
    hold: Hold,
    tunnels: Tunnels,
    /// Neighbors to be resolved.
    wanted: Vec<(PortId, IpAddr)>,
    notifier: Notifier,
    /// The generation of the Fib that the working memory is made for.
    prepared: u64,
    /// What became of this node's own packets, where that is asked for.
    failures: Option<Vec<Failure>>,
    start: Instant,
}

/// Frames taken from a port that are still to be processed.
struct Received<'a, R> {
    receiver: &'a mut R,
    port: PortId,
    done: usize,
    taken: usize,
}

impl<R: Receive> Batch for Received<'_, R> {
    fn len(&self) -> usize {
        self.taken - self.done
    }

    fn packet(&mut self, index: usize) -> Packet<'_> {
        let index = self.done + index;
        let frame = self.receiver.frame(index);
        Packet {
            buffer: frame.bytes,
            start: LINK_HEADER_LEN,
            port: Some(self.port),
            to_group: frame.to_group,
            index: index as u16,
        }
    }
}

/// Destinations of one of this node's own packets that a copy did not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The packet's index, as given to [`Engine::originate`].
    pub packet: u16,
    /// Why.
    pub reason: DropReason,
    /// The destinations, as a bitmap of its list.
    pub live: u128,
}

impl<R: Receive, T: Transmit, D: Deliver> Engine<R, T, D> {
    /// An engine without devices.
    pub fn new(fib: &Fib, local: D) -> Engine<R, T, D> {
        let mut engine = Engine {
            receivers: Vec::new(),
            transmitters: Vec::new(),
            local,
            out: Output::new(fib),
            queues: Vec::new(),
            refused: Vec::new(),
            hold: Hold::default(),
            tunnels: Tunnels::default(),
            wanted: Vec::new(),
            notifier: Notifier::default(),
            prepared: fib.generation(),
            failures: None,
            start: Instant::now(),
        };
        engine.prepare(fib);
        engine
    }

    /// Must be called when another Fib is about to be used.
    pub fn prepare(&mut self, fib: &Fib) {
        self.prepared = fib.generation();
        self.out.prepare(fib);
        let ports = self.queues.len().max(fib.ports().len());
        self.queues.resize_with(ports, || Vec::with_capacity(256));
        self.receivers.resize_with(ports, || None);
        self.transmitters.resize_with(ports, || None);
    }

    /// Makes up for a [`prepare`](Engine::prepare) that was left out: what is kept of one Fib's
    /// adjacencies must not be taken for another's.
    #[inline]
    fn prepare_for(&mut self, fib: &Fib) {
        if self.prepared != fib.generation() {
            self.prepare(fib);
        }
    }

    /// Forgets what belonged to the interface that a port stood for, as it is gone or another
    /// takes its place: the device, the counters, and what waited, which is dropped as
    /// `port-down`.
    pub fn clear_port(&mut self, port: PortId) {
        let Engine { hold, out, failures, .. } = self;
        hold.abandon(port, |held| {
            let reason = DropReason::PortDown;
            note_failure(&mut failures.as_mut().filter(|_| held.own), &held.replica, reason);
            out.counters.released(&held.replica);
            out.counters.failed(&held.replica, reason);
        });
        self.out.counters.ports[usize::from(port)] = PortCounters::default();
        self.set_device(port, None, None);
        self.set_tunnel_device(port, None);
    }

    /// Sets or removes the two faces of a port's device; the prepared Fib must know the port.
    pub fn set_device(&mut self, port: PortId, receiver: Option<R>, transmitter: Option<T>) {
        self.receivers[usize::from(port)] = receiver;
        self.transmitters[usize::from(port)] = transmitter;
    }

    /// The receiver of a port, if it has a device.
    pub fn receiver(&mut self, port: PortId) -> Option<&mut R> {
        self.receivers.get_mut(usize::from(port))?.as_mut()
    }

    /// The transmitter of a port, if it has a device.
    pub fn transmitter(&mut self, port: PortId) -> Option<&mut T> {
        self.transmitters.get_mut(usize::from(port))?.as_mut()
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.out.counters
    }

    /// As [`Output::use_partition_cache`].
    pub fn use_partition_cache(&mut self, on: bool) {
        self.out.use_partition_cache(on);
    }

    /// Whether packets wait for neighbors, so that [`tend`](Engine::tend) is due now and then.
    pub fn is_waiting(&self) -> bool {
        !self.hold.is_empty()
    }

    /// Neighbors to be resolved since the last call.
    pub fn take_wanted(&mut self) -> impl Iterator<Item = (PortId, IpAddr)> + '_ {
        self.wanted.drain(..)
    }

    /// Serves every port and all tunnels once; returns how many packets were processed.
    pub fn turn(&mut self, fib: &Fib, now: Instant) -> usize {
        let by_ports: usize =
            (0..self.receivers.len()).map(|port| self.serve(fib, port, now)).sum();
        by_ports + self.serve_tunnels(fib, now)
    }

    /// Processes a batch of one port's frames; returns how many.
    pub fn serve(&mut self, fib: &Fib, port: usize, now: Instant) -> usize {
        self.prepare_for(fib);
        let time = self.time(now);
        let Some(mut receiver) = self.receivers[port].take() else { return 0 };
        let taken = receiver.take(BATCH);
        let mut done = 0;
        while done < taken && self.out.has_room() {
            let mut batch = Received { receiver: &mut receiver, port: port as PortId, done, taken };
            done += process_batch(fib, &mut batch, time, &mut self.out);
        }
        if done > 0 {
            self.dispatch(fib, false, now, |packet| receiver.bytes(usize::from(packet)));
            receiver.release(done);
        }
        self.receivers[port] = Some(receiver);
        done
    }

    /// Sends packets of this node's own, which lie in `buffers` from octet [`LINK_HEADER_LEN`] on
    /// and are known by the indices from `first` on (wrapping around).
    pub fn originate(&mut self, fib: &Fib, buffers: &mut [Vec<u8>], first: u16, now: Instant) {
        self.prepare_for(fib);
        let time = self.time(now);
        let mut done = 0;
        while done < buffers.len() {
            let start = done;
            let base = first.wrapping_add(start as u16);
            while done < buffers.len() && (done == start || self.out.has_room()) {
                let index = first.wrapping_add(done as u16);
                let buffer = &mut buffers[done];
                let place = LINK_HEADER_LEN;
                process(
                    fib,
                    Packet { buffer, start: place, port: None, to_group: false, index },
                    time,
                    &mut self.out,
                );
                if let Some(failures) = &mut self.failures {
                    let dropped = self.out.dropped();
                    failures.extend(dropped.map(|(reason, live)| Failure {
                        packet: index,
                        reason,
                        live,
                    }));
                }
                done += 1;
            }
            let batch = &buffers[start..done];
            let buffer = |packet: u16| &batch[usize::from(packet.wrapping_sub(base))][..];
            self.dispatch(fib, true, now, buffer);
        }
    }

    /// Keeps what becomes of this node's own packets for
    /// [`take_failures`](Engine::take_failures).
    pub fn record_failures(&mut self) {
        self.failures = Some(Vec::new());
    }

    /// The failures since the last call.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        self.failures.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Sends a frame that is complete and is no replica, such as a probe. Not counted.
    pub fn emit(&mut self, port: PortId, frame: &[u8]) -> bool {
        let mut sent = false;
        if let Some(transmitter) = self.transmitter(port) {
            transmitter.transmit(1, |_| (frame, &[]), |_, taken| sent = taken);
        }
        sent
    }

    /// Probes that came in since the last call.
    pub fn take_heard(&mut self) -> impl Iterator<Item = Heard> + '_ {
        self.out.take_heard()
    }

    /// Trace requests whose TTL ended here, since the last call.
    pub fn take_traces(&mut self) -> impl Iterator<Item = TraceRequest> + '_ {
        self.notifier.take_traces()
    }

    /// The last dropped packets, and how long ago the first moment of their clock was.
    pub fn samples(&self) -> (Vec<Sample>, std::time::Duration) {
        (self.out.samples.all(), self.start.elapsed())
    }

    fn time(&self, now: Instant) -> Time {
        Time(now.saturating_duration_since(self.start).as_micros() as u64)
    }

    /// Sends, delivers or holds all replicas of a batch, whose packets lie in `buffer(index)`, and
    /// tells sources what they are to know. `own`: they are this node's own.
    fn dispatch<'a>(
        &mut self,
        fib: &Fib,
        own: bool,
        now: Instant,
        buffer: impl Fn(u16) -> &'a [u8],
    ) {
        for notice in self.out.notices.list() {
            let packet = self.out.notices.packet(notice);
            self.notifier.tell(fib, notice, packet, &mut self.local);
        }
        let mut all_leave = true;
        for (at, replica) in (0..).zip(self.out.replicas()) {
            match replica.target {
                Target::Port(port) => self.queues[usize::from(port)].push(at),
                _ => all_leave = false,
            }
        }
        if !all_leave {
            for at in 0..self.out.replicas().len() {
                self.keep_here(fib, at, own, now, &buffer);
            }
        }
        let time = self.time(now);
        for port in 0..self.queues.len() {
            if !self.queues[port].is_empty() {
                self.send_queue(port, own, time, &buffer);
            }
        }
        self.out.clear();
    }

    /// Delivers a replica to this node, or holds it until its neighbor is resolved.
    fn keep_here<'a>(
        &mut self,
        fib: &Fib,
        at: usize,
        own: bool,
        now: Instant,
        buffer: &impl Fn(u16) -> &'a [u8],
    ) {
        let replica = self.out.replicas()[at];
        let (head, tail) = self.out.pieces(&replica, buffer(replica.packet));
        let refusal = match replica.target {
            Target::Port(_) => return,
            Target::Host { from } => {
                let scope = from.and_then(|port| Some(fib.port(port)?.interface));
                let taken = self.local.deliver(&head[LINK_HEADER_LEN..], tail, scope);
                taken.then(|| self.out.counters.sent(&replica));
                (!taken).then_some(DropReason::TransmitFailed)
            }
            Target::Neighbor { port, address } => {
                match self.hold.put(&replica, own, head, tail, now) {
                    Ok(first) => {
                        self.out.counters.held(&replica);
                        self.wanted.extend(first.then_some((port, address)));
                        None
                    }
                    Err(hold::Full) => Some(DropReason::NeighborUnresolved),
                }
            }
        };
        if let Some(reason) = refusal {
            let time = self.time(now);
            let failures = &mut self.failures.as_mut().filter(|_| own);
            fail(&mut self.out, failures, (&replica, reason), buffer(replica.packet), time);
        }
    }

    fn send_queue<'a>(
        &mut self,
        port: usize,
        own: bool,
        time: Time,
        buffer: &impl Fn(u16) -> &'a [u8],
    ) {
        let queue = &self.queues[port];
        match &mut self.transmitters[port] {
            Some(transmitter) => {
                let (replicas, counters) = self.out.to_send();
                let replica = |index: usize| replicas.replica(queue[index]);
                let mut sent = Sent::default();
                transmitter.transmit(
                    queue.len(),
                    |index| replicas.pieces(replica(index), buffer(replica(index).packet)),
                    |index, taken| match taken {
                        true => sent.add(replica(index)),
                        false => self.refused.push(queue[index]),
                    },
                );
                counters.sent_by(port as PortId, &sent);
            }
            None => self.refused.extend(queue),
        }
        self.queues[port].clear();
        let failures = &mut self.failures.as_mut().filter(|_| own);
        for at in self.refused.drain(..) {
            let replica = self.out.replicas()[usize::from(at)];
            let failed = (&replica, DropReason::TransmitFailed);
            fail(&mut self.out, failures, failed, buffer(replica.packet), time);
        }
    }

    /// Sends what waited for neighbors that `fib` knows by now, gives up what waited too long,
    /// and asks again for the others. To be called when the Fib has changed, and now and then
    /// while [`is_waiting`](Engine::is_waiting).
    pub fn tend(&mut self, fib: &Fib, now: Instant) {
        let time = self.time(now);
        let Engine { hold, transmitters, out, failures, notifier, local, .. } = self;
        let mut told = Vec::new();
        hold.tend(fib, transmitters, now, |held, outcome| {
            out.counters.released(&held.replica);
            let Err(reason) = outcome else { return out.counters.sent(&held.replica) };
            note_failure(&mut failures.as_mut().filter(|_| held.own), &held.replica, reason);
            out.counters.failed(&held.replica, reason);
            out.samples.keep_frame(reason, None, &held.frame, &[], time);
            // One error a packet: its copies have waited since the same moment.
            let packet = (held.since, held.replica.packet);
            let unresolved = reason == DropReason::NeighborUnresolved && held.replica.answerable;
            if unresolved && !told.contains(&packet) && out.notices.allow(time) {
                told.push(packet);
                notifier.host_unreachable(&held.replica, &held.frame, local);
            }
        });
        self.hold.ask_again(now, &mut self.wanted);
    }
}

/// The gateways that are to be asked whether they handle Xcast, by interface and address, with
/// their link-layer addresses, if known. `is_asked` says which the settings leave open.
pub fn probe_targets(
    fib: &Fib,
    is_asked: impl Fn(u32, IpAddr) -> bool,
) -> BTreeMap<(u32, IpAddr), Option<[u8; 6]>> {
    let target = |gateway: &Adjacency| {
        let interface = fib.port(gateway.port)?.interface;
        let link_address = gateway.rewrite.map(|[a, b, c, d, e, f, ..]| [a, b, c, d, e, f]);
        let asked = is_asked(interface, gateway.address);
        asked.then_some(((interface, gateway.address), link_address))
    };
    fib.gateways().filter_map(target).collect()
}

/// The frame of a probe to a neighbor whose link-layer address is known, and the port it leaves by.
pub fn probe_frame(
    fib: &Fib,
    (interface, address): (u32, IpAddr),
    nonce: &[u8; probe::NONCE_LEN],
) -> Option<(PortId, Vec<u8>)> {
    let id = fib.port_of(interface)?;
    let own = fib.port(id)?.address_towards(address)?;
    // A link-local neighbor needs no route back to a link-local address.
    if is_link_local(address) && !is_link_local(own) {
        return None;
    }
    let rewrite = fib.find_adjacency(id, address)?.rewrite?;
    let mut frame = rewrite.to_vec();
    if address.is_ipv6() {
        frame[LINK_HEADER_LEN - 2..].copy_from_slice(&ethernet::TYPE_IPV6.to_be_bytes());
    }
    frame.extend(probe::packet(fib.code_points(), own, nonce));
    Some((id, frame))
}

/// A replica, which lies in the output and in its packet's buffer, came to nothing.
fn fail(
    out: &mut Output,
    failures: &mut Option<&mut Vec<Failure>>,
    (replica, reason): (&Replica, DropReason),
    buffer: &[u8],
    time: Time,
) {
    note_failure(failures, replica, reason);
    out.counters.failed(replica, reason);
    out.keep_replica(reason, replica, buffer, time);
}

fn note_failure(failures: &mut Option<&mut Vec<Failure>>, replica: &Replica, reason: DropReason) {
    if let Some(failures) = failures {
        failures.push(Failure { packet: replica.packet, reason, live: replica.live });
    }
}

#[cfg(test)]
mod tests;

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

use std::net::IpAddr;
use std::time::Instant;

use crate::fib::{Fib, PortId};
use crate::forward::{
    Counters, DropReason, LINK_HEADER_LEN, Output, Packet, PortCounters, Replica, Target, Time,
    process,
};
use crate::io::{Deliver, Receive, Transmit};
use hold::Hold;

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
    /// Neighbors to be resolved.
    wanted: Vec<(PortId, IpAddr)>,
    start: Instant,
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
            wanted: Vec::new(),
            start: Instant::now(),
        };
        engine.prepare(fib);
        engine
    }

    /// Must be called when another Fib is about to be used.
    pub fn prepare(&mut self, fib: &Fib) {
        self.out.prepare(fib);
        let ports = self.queues.len().max(fib.ports().len());
        self.queues.resize_with(ports, || Vec::with_capacity(256));
        self.receivers.resize_with(ports, || None);
        self.transmitters.resize_with(ports, || None);
    }

    /// Forgets what belonged to the interface that a port stood for, as it is gone or another
    /// takes its place: the device, the counters, and what waited, which is dropped as
    /// `port-down`.
    pub fn clear_port(&mut self, port: PortId) {
        self.hold.abandon(port, &mut self.out.counters);
        self.out.counters.ports[usize::from(port)] = PortCounters::default();
        self.set_device(port, None, None);
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

    /// Whether packets wait for neighbors, so that [`tend`](Engine::tend) is due now and then.
    pub fn is_waiting(&self) -> bool {
        !self.hold.is_empty()
    }

    /// Neighbors to be resolved since the last call.
    pub fn take_wanted(&mut self) -> impl Iterator<Item = (PortId, IpAddr)> + '_ {
        self.wanted.drain(..)
    }

    /// Serves every port once; returns how many packets were processed.
    pub fn turn(&mut self, fib: &Fib, now: Instant) -> usize {
        (0..self.receivers.len()).map(|port| self.serve(fib, port, now)).sum()
    }

    /// Processes a batch of one port's frames; returns how many.
    pub fn serve(&mut self, fib: &Fib, port: usize, now: Instant) -> usize {
        let time = self.time(now);
        let Some(mut receiver) = self.receivers[port].take() else { return 0 };
        let taken = receiver.take(BATCH);
        let mut done = 0;
        while done < taken && self.out.has_room() {
            let frame = receiver.frame(done);
            let packet = Packet {
                buffer: frame.bytes,
                start: LINK_HEADER_LEN,
                port: Some(port as PortId),
                to_group: frame.to_group,
                index: done as u16,
            };
            process(fib, packet, time, &mut self.out);
            done += 1;
        }
        if done > 0 {
            self.dispatch(now, |packet| receiver.bytes(usize::from(packet)));
            receiver.release(done);
        }
        self.receivers[port] = Some(receiver);
        done
    }

    /// Sends a packet of this node's own, which lies in `buffer` from octet
    /// [`LINK_HEADER_LEN`] on.
    pub fn originate(&mut self, fib: &Fib, buffer: &mut [u8], now: Instant) {
        let packet = Packet {
            buffer: &mut *buffer,
            start: LINK_HEADER_LEN,
            port: None,
            to_group: false,
            index: 0,
        };
        process(fib, packet, self.time(now), &mut self.out);
        self.dispatch(now, |_| &*buffer);
    }

    fn time(&self, now: Instant) -> Time {
        Time(now.saturating_duration_since(self.start).as_micros() as u64)
    }

    /// Sends, delivers or holds all replicas of a batch, whose packets lie in `buffer(index)`.
    fn dispatch<'a>(&mut self, now: Instant, buffer: impl Fn(u16) -> &'a [u8]) {
        for at in 0..self.out.replicas().len() {
            let replica = self.out.replicas()[at];
            match replica.target {
                Target::Port(port) => self.queues[usize::from(port)].push(at as u16),
                Target::Host => {
                    let (head, tail) = self.out.pieces(&replica, buffer(replica.packet));
                    let taken = self.local.deliver(&head[LINK_HEADER_LEN..], tail);
                    count(&mut self.out.counters, &replica, taken);
                }
                Target::Neighbor { port, address } => {
                    let (head, tail) = self.out.pieces(&replica, buffer(replica.packet));
                    match self.hold.put(&replica, head, tail, now) {
                        Ok(first) => {
                            self.out.counters.held(&replica);
                            self.wanted.extend(first.then_some((port, address)));
                        }
                        Err(hold::Full) => {
                            self.out.counters.failed(&replica, DropReason::NeighborUnresolved);
                        }
                    }
                }
            }
        }
        for port in 0..self.queues.len() {
            if !self.queues[port].is_empty() {
                self.send_queue(port, &buffer);
            }
        }
        self.out.clear();
    }

    fn send_queue<'a>(&mut self, port: usize, buffer: &impl Fn(u16) -> &'a [u8]) {
        let (queue, out, refused) = (&self.queues[port], &self.out, &mut self.refused);
        let replica = |index: usize| &out.replicas()[usize::from(queue[index])];
        match &mut self.transmitters[port] {
            Some(transmitter) => transmitter.transmit(
                queue.len(),
                |index| out.pieces(replica(index), buffer(replica(index).packet)),
                |index, taken| refused.extend((!taken).then_some(queue[index])),
            ),
            None => refused.extend(queue),
        }
        // Both lists are in the same order.
        let mut refused = self.refused.drain(..).peekable();
        for at in self.queues[port].drain(..) {
            let taken = refused.next_if_eq(&at).is_none();
            let replica = self.out.replicas()[usize::from(at)];
            count(&mut self.out.counters, &replica, taken);
        }
    }

    /// Sends what waited for neighbors that `fib` knows by now, gives up what waited too long,
    /// and asks again for the others. To be called when the Fib has changed, and now and then
    /// while [`is_waiting`](Engine::is_waiting).
    pub fn tend(&mut self, fib: &Fib, now: Instant) {
        let counters = &mut self.out.counters;
        self.hold.tend(fib, &mut self.transmitters, counters, now);
        self.hold.ask_again(now, &mut self.wanted);
    }
}

fn count(counters: &mut Counters, replica: &Replica, taken: bool) {
    match taken {
        true => counters.sent(replica),
        false => counters.failed(replica, DropReason::TransmitFailed),
    }
}

#[cfg(test)]
mod tests;

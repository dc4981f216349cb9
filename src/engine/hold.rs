//! Replicas that wait for a neighbor's link-layer address, so that no first packet is lost to
//! ARP. Bounded in number and time; what does not fit or waits too long is dropped and counted
//! as `neighbor-unresolved`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::fib::{Fib, PortId, Rewrite};
use crate::forward::{DropReason, LINK_HEADER_LEN, Replica, Target};
use crate::io::Transmit;

/// Replicas that may wait for one neighbor.
const PER_NEIGHBOR: usize = 64;
/// Neighbors that may be waited for at once.
const NEIGHBORS: usize = 256;
/// Octets that may wait in all.
const OCTETS: usize = 16 << 20;
/// How long a replica may wait: a little longer than the kernel asks (three times, a second
/// apart).
const PATIENCE: Duration = Duration::from_millis(3500);
/// How often a neighbor that is waited for is asked for again.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// There is no room; the replica is not held.
#[derive(Debug)]
pub(super) struct Full;

#[derive(Default)]
pub(super) struct Hold {
    neighbors: Vec<Waiting>,
    /// Of all frames.
    octets: usize,
}

/// What waits for one neighbor.
struct Waiting {
    port: PortId,
    address: IpAddr,
    asked: Instant,
    frames: Vec<Held>,
}

pub(super) struct Held {
    pub(super) replica: Replica,
    /// Of one of this node's own packets.
    pub(super) own: bool,
    pub(super) since: Instant,
    /// Complete but for the link-layer addresses.
    pub(super) frame: Vec<u8>,
}

impl Hold {
    pub(super) fn is_empty(&self) -> bool {
        self.neighbors.is_empty()
    }

    /// Holds a replica for the neighbor it names; `Ok(true)` if it is the first to wait for it.
    pub(super) fn put(
        &mut self,
        replica: &Replica,
        own: bool,
        head: &[u8],
        tail: &[u8],
        now: Instant,
    ) -> Result<bool, Full> {
        let Target::Neighbor { port, address } = replica.target else { return Err(Full) };
        let octets = head.len() + tail.len();
        let known = |waiting: &Waiting| waiting.port == port && waiting.address == address;
        let place = self.neighbors.iter().position(known);
        let room = match place {
            Some(at) => self.neighbors[at].frames.len() < PER_NEIGHBOR,
            None => self.neighbors.len() < NEIGHBORS,
        };
        if !room || self.octets + octets > OCTETS {
            return Err(Full);
        }
        self.octets += octets;
        let held = Held { replica: *replica, own, since: now, frame: [head, tail].concat() };
        match place {
            Some(at) => self.neighbors[at].frames.push(held),
            None => {
                self.neighbors.push(Waiting { port, address, asked: now, frames: vec![held] });
            }
        }
        Ok(place.is_none())
    }

    /// Sends what can be sent, gives up what waited too long; each is told to `settle` when its
    /// waiting is over.
    pub(super) fn tend<T: Transmit>(
        &mut self,
        fib: &Fib,
        transmitters: &mut [Option<T>],
        now: Instant,
        mut settle: impl FnMut(&Held, Result<(), DropReason>),
    ) {
        self.neighbors.retain_mut(|waiting| {
            let adjacency = fib.find_adjacency(waiting.port, waiting.address);
            if let Some(rewrite) = adjacency.and_then(|adjacency| adjacency.rewrite) {
                let device = transmitters.get_mut(usize::from(waiting.port));
                waiting.send(rewrite, device.and_then(Option::as_mut), &mut settle);
                return false;
            }
            waiting.give_up(now, &mut settle);
            !waiting.frames.is_empty()
        });
        self.count_octets();
    }

    /// Drops what waits on a port, which is no more.
    pub(super) fn abandon(&mut self, port: PortId, mut settle: impl FnMut(&Held)) {
        for waiting in self.neighbors.extract_if(.., |waiting| waiting.port == port) {
            waiting.frames.iter().for_each(&mut settle);
        }
        self.count_octets();
    }

    fn count_octets(&mut self) {
        let frames = self.neighbors.iter().flat_map(|waiting| &waiting.frames);
        self.octets = frames.map(|held| held.frame.len()).sum();
    }

    /// The neighbors that were asked for a while ago and have not answered.
    pub(super) fn ask_again(&mut self, now: Instant, wanted: &mut Vec<(PortId, IpAddr)>) {
        let due = |waiting: &&mut Waiting| now.duration_since(waiting.asked) >= ASK_INTERVAL;
        for waiting in self.neighbors.iter_mut().filter(due) {
            waiting.asked = now;
            wanted.push((waiting.port, waiting.address));
        }
    }
}

impl Waiting {
    fn send<T: Transmit>(
        &mut self,
        rewrite: Rewrite,
        device: Option<&mut T>,
        settle: &mut impl FnMut(&Held, Result<(), DropReason>),
    ) {
        const TYPE: usize = LINK_HEADER_LEN - 2;
        for held in &mut self.frames {
            // The EtherType stays the packet's.
            held.frame[..TYPE].copy_from_slice(&rewrite[..TYPE]);
        }
        let frames = &self.frames;
        let mut done = |index: usize, taken: bool| {
            settle(&frames[index], if taken { Ok(()) } else { Err(DropReason::TransmitFailed) });
        };
        match device {
            Some(device) => {
                device.transmit(frames.len(), |index| (&frames[index].frame, &[]), done);
            }
            None => (0..frames.len()).for_each(|index| done(index, false)),
        }
    }

    fn give_up(&mut self, now: Instant, settle: &mut impl FnMut(&Held, Result<(), DropReason>)) {
        self.frames.retain(|held| {
            let patient = now.duration_since(held.since) < PATIENCE;
            if !patient {
                settle(held, Err(DropReason::NeighborUnresolved));
            }
            patient
        });
    }
}

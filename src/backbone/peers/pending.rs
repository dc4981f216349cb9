//! Handshakes that others have begun: as many as memory and time are set aside for.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::backbone::handshake::Responder;
use crate::forward::Time;

/// Handshakes that wait for their end; the oldest makes room. Some 2,000 octets each.
pub(super) const PENDING_MAX: usize = 256;
/// Handshakes begun in a second by one address: hosts behind one NAT share it.
pub(super) const PER_ADDRESS: u32 = 10;
/// Handshakes begun in a second by all that are not known: each costs two Diffie-Hellman exchanges
/// and two keys, some 0.2 ms of a core.
pub(super) const IN_ALL: u32 = 200;
/// Confirmations that do not verify, of one handshake: each costs up to three exchanges more.
const FORGED_MAX: u32 = 4;
/// So long a handshake may take, in microseconds.
const PATIENCE: u64 = 10_000_000;
const SECOND: u64 = 1_000_000;

/// What waits, oldest first.
#[derive(Default)]
pub(super) struct Pending {
    waiting: VecDeque<Waiting>,
    second: u64,
    begun: u32,
    begun_by: BTreeMap<IpAddr, u32>,
}

struct Waiting {
    from: SocketAddr,
    since: Time,
    forged: u32,
    responder: Responder,
}

impl Pending {
    /// The answer that was given to the same initiation before.
    pub(super) fn response(&self, from: SocketAddr, initiation: &[u8]) -> Option<&[u8]> {
        let same =
            |waiting: &&Waiting| waiting.from == from && waiting.responder.initiation == initiation;
        Some(&self.waiting.iter().find(same)?.responder.response)
    }

    /// Whether this address may begin another handshake now. Strangers cannot use up what is left
    /// to addresses that are `known`.
    pub(super) fn admit(&mut self, from: IpAddr, now: Time, known: impl FnOnce() -> bool) -> bool {
        if self.second != now.0 / SECOND {
            self.second = now.0 / SECOND;
            self.begun = 0;
            self.begun_by.clear();
        }
        let known = self.begun >= IN_ALL && known();
        if self.begun >= IN_ALL && !known {
            return false;
        }
        let by_it = self.begun_by.entry(network(from)).or_default();
        if *by_it >= PER_ADDRESS {
            return false;
        }
        *by_it += 1;
        self.begun += u32::from(!known);
        true
    }

    /// From now on a confirmation is waited for.
    pub(super) fn insert(&mut self, from: SocketAddr, responder: Responder, now: Time) {
        if self.waiting.len() >= PENDING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { from, since: now, forged: 0, responder });
    }

    /// The handshake of this number.
    pub(super) fn find(&mut self, index: u32) -> Option<&mut Responder> {
        let of_it = |waiting: &&mut Waiting| waiting.responder.index == index;
        self.waiting.iter_mut().find(of_it).map(|waiting| &mut waiting.responder)
    }

    /// When the handshake of this number was begun.
    pub(super) fn since(&self, index: u32) -> Option<Time> {
        let of_it = self.waiting.iter().find(|waiting| waiting.responder.index == index);
        Some(of_it?.since)
    }

    /// A confirmation of this handshake did not verify.
    pub(super) fn forged(&mut self, index: u32) {
        for waiting in &mut self.waiting {
            waiting.forged += u32::from(waiting.responder.index == index);
        }
        self.waiting.retain(|waiting| waiting.forged < FORGED_MAX);
    }

    /// The handshake of this number is over.
    pub(super) fn remove(&mut self, index: u32) {
        self.waiting.retain(|waiting| waiting.responder.index != index);
    }

    /// Forgets what has taken too long.
    pub(super) fn expire(&mut self, now: Time) {
        while self.waiting.front().is_some_and(|waiting| waiting.since.0 + PATIENCE <= now.0) {
            self.waiting.pop_front();
        }
    }

    /// When [`expire`](Pending::expire) is due.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.waiting.front().map(|waiting| Time(waiting.since.0 + PATIENCE))
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.waiting.len(), self.begun_by.len())
    }
}

/// Whose allowance an address uses: hosts have a whole /64 of IPv6 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

//! Handshakes that others have begun: as many as memory and time are set aside for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::backbone::handshake::Responder;
use crate::backbone::refusal::Refusal;
use crate::forward::Time;

/// Handshakes that wait for their end; the oldest makes room. Some 2,000 octets each.
pub(super) const PENDING_MAX: usize = 256;
/// Initiations in a second from one address: hosts behind one NAT share it.
pub(super) const PER_ADDRESS: u32 = 10;
/// Handshakes begun in a second by all that are not known: each costs two Diffie-Hellman exchanges
/// and two keys, some 0.2 ms of a core.
pub(super) const IN_ALL: u32 = 200;
/// Confirmations that are not taken, of one handshake: each costs up to three exchanges more.
const REFUSED_MAX: u32 = 4;
/// Answers to one initiation: it is sent no more often.
const ANSWERS_MAX: u32 = 4;
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
    /// Who was known this second, once that was asked.
    known: Option<BTreeSet<IpAddr>>,
}

struct Waiting {
    from: SocketAddr,
    since: Time,
    answers: u32,
    refused: u32,
    responder: Responder,
}

impl Pending {
    /// The answer that was given to the same initiation before, if there was one and it may be given
    /// again now.
    pub(super) fn repeat(
        &mut self,
        from: SocketAddr,
        initiation: &[u8],
        now: Time,
    ) -> Option<Result<Vec<u8>, Refusal>> {
        let same =
            |waiting: &Waiting| waiting.from == from && waiting.responder.initiation == initiation;
        let place = self.waiting.iter().position(same)?;
        if self.waiting[place].answers >= ANSWERS_MAX || !self.count(from.ip(), now) {
            return Some(Err(Refusal::RateLimit));
        }
        let waiting = &mut self.waiting[place];
        waiting.answers += 1;
        Some(Ok(waiting.responder.response.clone()))
    }

    /// Whether this address may begin another handshake now. Strangers cannot use up what is left
    /// to addresses that are `known`, of which there may be many: they are asked for once a second.
    pub(super) fn admit(
        &mut self,
        from: IpAddr,
        now: Time,
        known: impl FnOnce() -> BTreeSet<IpAddr>,
    ) -> bool {
        self.begin_second(now);
        let is_full = self.begun >= IN_ALL;
        if is_full && !self.known.get_or_insert_with(known).contains(&from) {
            return false;
        }
        let admitted = self.count(from, now);
        self.begun += u32::from(admitted && !is_full);
        admitted
    }

    /// Counts an initiation; returns whether there were few enough from this address.
    fn count(&mut self, from: IpAddr, now: Time) -> bool {
        self.begin_second(now);
        let by_it = self.begun_by.entry(network(from)).or_default();
        let few = *by_it < PER_ADDRESS;
        *by_it += u32::from(few);
        few
    }

    fn begin_second(&mut self, now: Time) {
        if self.second != now.0 / SECOND {
            (self.second, self.begun, self.known) = (now.0 / SECOND, 0, None);
            self.begun_by.clear();
        }
    }

    /// From now on a confirmation is waited for.
    pub(super) fn insert(&mut self, from: SocketAddr, responder: Responder, now: Time) {
        if self.waiting.len() >= PENDING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { from, since: now, answers: 1, refused: 0, responder });
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

    /// A confirmation of this handshake did not verify, or was not taken.
    pub(super) fn refused(&mut self, index: u32) {
        for waiting in &mut self.waiting {
            waiting.refused += u32::from(waiting.responder.index == index);
        }
        self.waiting.retain(|waiting| waiting.refused < REFUSED_MAX);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_flood_the_known_are_listed_once_a_second() {
        let mut pending = Pending::default();
        let friend: IpAddr = "192.0.2.1".parse().unwrap();
        let mut listed = 0;
        let mut admitted = 0;
        for number in 0..3000u32 {
            let stranger = std::net::Ipv4Addr::from_bits(number << 8).into();
            let mut ask = |from| {
                pending.admit(from, Time(u64::from(number) * 1000), || {
                    listed += 1;
                    BTreeSet::from([friend])
                })
            };
            admitted += u32::from(ask(stranger));
            if number % 1000 == 999 {
                let friendly = (0..20).filter(|_| ask(friend)).count();
                assert_eq!(friendly, PER_ADDRESS as usize);
            }
        }
        assert_eq!((admitted, listed), (3 * IN_ALL, 3));
    }
}

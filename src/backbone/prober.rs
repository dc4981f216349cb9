//! Finds out which neighbors handle Xcast, by sending each a probe that only an Xcast router sends
//! back ([`wire::probe`](crate::wire::probe)).
//!
//! A new neighbor is asked three times, 100 ms apart, and then every five seconds. Three probes in
//! a row without an answer mean that it does not; an answer, or a probe of its own, that it does.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::forward::Time;
use crate::wire::probe::{self, NONCE_LEN};

const FIRST_PROBES: u8 = 3;
const FIRST_INTERVAL: u64 = 100_000;
const INTERVAL: u64 = 5_000_000;
const MISSES: u8 = 3;
/// How long a neighbor is remembered that asked before it was known.
const EARLY: u64 = 10_000_000;
/// Neighbors known at once; beyond, new ones are not asked.
const NEIGHBORS_MAX: usize = 4096;
/// Of others that ask, so many are remembered.
const STRANGERS_MAX: usize = 256;

/// A neighbor: the kernel's index of its interface, and its address.
pub type Neighbor = (u32, IpAddr);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a probe with this nonce.
    Probe(Neighbor, [u8; NONCE_LEN]),
    /// Whether the neighbor handles Xcast has changed; `None`: it is not known any more.
    Found(Neighbor, Option<bool>),
}

/// What is known of all neighbors.
pub struct Prober {
    secret: u64,
    number: u64,
    neighbors: BTreeMap<Neighbor, State>,
    /// Probes that may still be answered, by number.
    outstanding: BTreeMap<u64, Neighbor>,
    actions: VecDeque<Action>,
}

struct State {
    /// Tells neighbors apart that have the same address, one after the other.
    link_address: Option<[u8; 6]>,
    capable: Option<bool>,
    /// Probes of the first round that are still to be sent; `None` after it.
    first_round: Option<u8>,
    /// The last probe was not answered yet.
    waiting: bool,
    missed: u8,
    /// The numbers of its last probes.
    numbers: VecDeque<u64>,
    next: Time,
}

impl Prober {
    /// One that knows nobody. `secret` keeps others from answering in a neighbor's place; `number`
    /// is where the numbers of probes begin.
    pub fn new(secret: u64, number: u64) -> Prober {
        Prober {
            secret,
            number,
            neighbors: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            actions: VecDeque::new(),
        }
    }

    /// From now on these neighbors are to be known, each with its link-layer address. One without
    /// is asked when it has one; what was known of it before holds meanwhile.
    pub fn set_neighbors(&mut self, wanted: &BTreeMap<Neighbor, Option<[u8; 6]>>, now: Time) {
        let known: Vec<Neighbor> = self.neighbors.keys().copied().collect();
        for neighbor in known {
            let state = &self.neighbors[&neighbor];
            let keep = match (wanted.get(&neighbor), state.link_address) {
                (Some(Some(address)), Some(before)) => *address == before,
                (Some(_), _) => true,
                (None, None) => state.next > now,
                (None, Some(_)) => false,
            };
            if !keep {
                self.forget(neighbor);
            }
        }
        for (neighbor, address) in wanted {
            let Some(address) = address else { continue };
            if let Some(state) = self.neighbors.get_mut(neighbor) {
                state.link_address = Some(*address);
            } else if self.neighbors.len() < NEIGHBORS_MAX + STRANGERS_MAX {
                self.neighbors.insert(*neighbor, State::new(Some(*address), now));
            }
        }
    }

    /// A probe of this node's own came back by `interface`.
    pub fn handle_returned(&mut self, interface: u32, nonce: &[u8; NONCE_LEN], now: Time) {
        if !probe::is_genuine(nonce, self.secret) {
            return;
        }
        let neighbor = self.outstanding.get(&probe::number(nonce)).copied();
        if let Some(neighbor) = neighbor.filter(|(asked, _)| *asked == interface) {
            self.proved(neighbor, now);
        }
    }

    /// A neighbor has sent a probe, which proves that it handles Xcast.
    pub fn handle_asked(&mut self, neighbor: Neighbor, now: Time) {
        if !self.neighbors.contains_key(&neighbor) {
            let strangers = self.neighbors.values().filter(|state| state.is_stranger()).count();
            if strangers >= STRANGERS_MAX {
                return;
            }
            self.neighbors.insert(neighbor, State::new(None, now));
        }
        self.proved(neighbor, now);
        if let Some(state) = self.neighbors.get_mut(&neighbor).filter(|state| state.is_stranger()) {
            state.next = Time(now.0 + EARLY);
        }
    }

    /// A probe could not be sent: this node has no address on that link yet, say. It is tried again
    /// soon, and is not held against the neighbor.
    pub fn handle_unsent(&mut self, neighbor: Neighbor, now: Time) {
        if let Some(state) = self.neighbors.get_mut(&neighbor) {
            state.waiting = false;
            state.next = Time(now.0 + FIRST_INTERVAL);
            if let Some(left) = &mut state.first_round {
                *left += 1;
            }
        }
    }

    fn proved(&mut self, neighbor: Neighbor, now: Time) {
        let Some(state) = self.neighbors.get_mut(&neighbor) else { return };
        state.waiting = false;
        state.missed = 0;
        if state.first_round.take().is_some() {
            state.next = Time(now.0 + INTERVAL);
        }
        if state.capable != Some(true) {
            state.capable = Some(true);
            self.actions.push_back(Action::Found(neighbor, Some(true)));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        let due = |(neighbor, state): (&Neighbor, &State)| (state.next <= now).then_some(*neighbor);
        let due: Vec<Neighbor> = self.neighbors.iter().filter_map(due).collect();
        for neighbor in due {
            let Some(state) = self.neighbors.get_mut(&neighbor) else { continue };
            if state.link_address.is_none() {
                self.forget(neighbor);
                continue;
            }
            if state.judge() {
                self.actions.push_back(Action::Found(neighbor, Some(false)));
            }
            let send = match &mut state.first_round {
                Some(0) => {
                    state.first_round = None;
                    state.next = Time(now.0 + INTERVAL);
                    false
                }
                Some(left) => {
                    *left -= 1;
                    state.next = Time(now.0 + FIRST_INTERVAL);
                    true
                }
                None => {
                    state.next = Time(now.0 + INTERVAL);
                    true
                }
            };
            if send {
                self.probe(neighbor);
            }
        }
    }

    fn probe(&mut self, neighbor: Neighbor) {
        let Some(state) = self.neighbors.get_mut(&neighbor) else { return };
        self.number += 1;
        state.waiting = true;
        state.numbers.push_back(self.number);
        if state.numbers.len() > usize::from(MISSES) {
            let oldest = state.numbers.pop_front();
            oldest.and_then(|number| self.outstanding.remove(&number));
        }
        self.outstanding.insert(self.number, neighbor);
        let nonce = probe::make_nonce(self.number, self.secret);
        self.actions.push_back(Action::Probe(neighbor, nonce));
    }

    fn forget(&mut self, neighbor: Neighbor) {
        let Some(state) = self.neighbors.remove(&neighbor) else { return };
        for number in state.numbers {
            self.outstanding.remove(&number);
        }
        if state.capable.is_some() {
            self.actions.push_back(Action::Found(neighbor, None));
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Prober::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.neighbors.values().map(|state| state.next).min()
    }

    /// Whether the first round is over for all neighbors.
    pub fn is_settled(&self) -> bool {
        self.neighbors.values().all(|state| state.first_round.is_none())
    }

    /// Whether a neighbor handles Xcast, as far as is known.
    pub fn is_capable(&self, neighbor: Neighbor) -> Option<bool> {
        self.neighbors.get(&neighbor)?.capable
    }
}

impl State {
    fn new(link_address: Option<[u8; 6]>, next: Time) -> State {
        State {
            link_address,
            capable: None,
            first_round: Some(FIRST_PROBES),
            waiting: false,
            missed: 0,
            numbers: VecDeque::new(),
            next,
        }
    }

    /// Whether it has asked, and is nobody that this node asks.
    fn is_stranger(&self) -> bool {
        self.link_address.is_none()
    }

    /// Takes note of a probe without an answer; returns whether the neighbor has just been found
    /// not to handle Xcast.
    fn judge(&mut self) -> bool {
        if std::mem::take(&mut self.waiting) {
            self.missed = self.missed.saturating_add(1);
        }
        let found = self.missed >= MISSES && self.capable != Some(false);
        if found {
            self.capable = Some(false);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NEIGHBOR: Neighbor = (3, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));
    const LINK: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const MILLISECOND: u64 = 1000;

    struct Bench {
        prober: Prober,
        now: u64,
        /// When each probe was sent, in milliseconds.
        sent: Vec<u64>,
        found: Vec<(u64, Option<bool>)>,
        nonces: Vec<[u8; NONCE_LEN]>,
    }

    impl Bench {
        fn new() -> Bench {
            let prober = Prober::new(7, 1000);
            let mut bench = Bench { prober, now: 0, sent: vec![], found: vec![], nonces: vec![] };
            bench.prober.set_neighbors(&BTreeMap::from([(NEIGHBOR, Some(LINK))]), Time(0));
            bench
        }

        fn now(&self) -> Time {
            Time(self.now * MILLISECOND)
        }

        fn collect(&mut self) {
            while let Some(action) = self.prober.poll_action() {
                match action {
                    Action::Probe(neighbor, nonce) => {
                        assert_eq!(neighbor, NEIGHBOR);
                        self.sent.push(self.now);
                        self.nonces.push(nonce);
                    }
                    Action::Found(neighbor, capable) => {
                        assert_eq!(neighbor, NEIGHBOR);
                        self.found.push((self.now, capable));
                    }
                }
            }
        }

        /// Lets time pass up to a moment, in milliseconds; with `answering`, every probe comes back.
        fn until(&mut self, end: u64, answering: bool) {
            while let Some(Time(next)) = self.prober.poll_timeout().filter(|t| t.0 <= end * 1000) {
                self.now = next / MILLISECOND;
                self.prober.handle_timeout(Time(next));
                let before = self.nonces.len();
                self.collect();
                for at in before..self.nonces.len() {
                    if answering {
                        let nonce = self.nonces[at];
                        self.prober.handle_returned(NEIGHBOR.0, &nonce, Time(next));
                    }
                }
                self.collect();
            }
            self.now = end;
        }
    }

    #[test]
    fn a_silent_neighbor_is_found_incapable_after_three_probes() {
        let mut bench = Bench::new();
        assert!(!bench.prober.is_settled());
        bench.until(299, false);
        assert_eq!((&bench.sent[..], &bench.found[..]), (&[0, 100, 200][..], &[][..]));
        bench.until(10_400, false);
        assert!(bench.prober.is_settled());
        assert_eq!(bench.found, [(300, Some(false))]);
        assert_eq!(bench.sent, [0, 100, 200, 5300, 10_300]);
    }

    #[test]
    fn an_answer_proves_it_and_three_misses_disprove_it() {
        let mut bench = Bench::new();
        bench.until(5000, true);
        assert_eq!((&bench.sent[..], &bench.found[..]), (&[0, 5000][..], &[(0, Some(true))][..]));
        bench.until(30_000, false);
        assert_eq!(bench.found[1..], [(25_000, Some(false))], "probes at 10, 15 and 20 s");
        bench.until(40_000, true);
        assert_eq!(bench.found.last(), Some(&(35_000, Some(true))));
    }

    #[test]
    fn its_own_probe_proves_a_neighbor_too() {
        let mut bench = Bench::new();
        bench.until(100, false);
        bench.prober.handle_asked(NEIGHBOR, bench.now());
        bench.collect();
        assert_eq!(bench.found, [(100, Some(true))]);
        assert!(bench.prober.is_settled());
    }

    #[test]
    fn who_asks_before_it_is_known_is_remembered_for_a_while() {
        let mut prober = Prober::new(7, 0);
        prober.handle_asked(NEIGHBOR, Time(0));
        assert_eq!(prober.poll_action(), Some(Action::Found(NEIGHBOR, Some(true))));
        prober.set_neighbors(&BTreeMap::new(), Time(1));
        assert_eq!(prober.is_capable(NEIGHBOR), Some(true));
        prober.handle_timeout(Time(EARLY));
        assert_eq!(prober.is_capable(NEIGHBOR), None);
        assert_eq!(prober.poll_action(), Some(Action::Found(NEIGHBOR, None)));
    }

    #[test]
    fn strangers_are_remembered_while_they_ask_and_crowd_nobody_out() {
        let mut bench = Bench::new();
        for host in 0..10_000u32 {
            let stranger = (9, Ipv4Addr::from_bits(host).into());
            bench.prober.handle_asked(stranger, Time(0));
        }
        while bench.prober.poll_action().is_some() {}
        let mut wanted: BTreeMap<Neighbor, Option<[u8; 6]>> = BTreeMap::new();
        wanted.insert(NEIGHBOR, Some(LINK));
        wanted.insert((3, Ipv4Addr::new(10, 0, 0, 3).into()), Some([3; 6]));
        bench.prober.set_neighbors(&wanted, Time(0));
        bench.prober.handle_timeout(Time(0));
        let asked = std::iter::from_fn(|| bench.prober.poll_action());
        assert_eq!(asked.filter(|action| matches!(action, Action::Probe(..))).count(), 2);
        // One that goes on asking is known all the time.
        let stranger = (9, Ipv4Addr::from_bits(1).into());
        for second in (5..60).step_by(5) {
            bench.prober.handle_timeout(Time(second * 1_000_000));
            bench.prober.handle_asked(stranger, Time(second * 1_000_000));
        }
        let changes = std::iter::from_fn(|| bench.prober.poll_action());
        let of_it = |action: &Action| matches!(action, Action::Found(who, _) if *who == stranger);
        assert_eq!(changes.filter(of_it).count(), 0);
    }

    #[test]
    fn a_forged_late_or_stray_answer_proves_nothing() {
        let mut bench = Bench::new();
        bench.until(100, false);
        let genuine = bench.nonces[0];
        let forged = probe::make_nonce(1001, 8);
        bench.prober.handle_returned(NEIGHBOR.0, &forged, bench.now());
        bench.prober.handle_returned(NEIGHBOR.0 + 1, &genuine, bench.now());
        bench.prober.handle_returned(NEIGHBOR.0, &probe::make_nonce(9999, 7), bench.now());
        bench.collect();
        assert_eq!(bench.found, []);
        bench.until(20_400, false);
        bench.prober.handle_returned(NEIGHBOR.0, &genuine, bench.now());
        bench.collect();
        assert_eq!(bench.found, [(300, Some(false))], "the first probe is forgotten by now");
    }

    #[test]
    fn what_cannot_be_sent_is_tried_again_and_held_against_nobody() {
        let mut bench = Bench::new();
        for at in 0..10 {
            bench.until(at * 100, false);
            bench.prober.handle_unsent(NEIGHBOR, bench.now());
        }
        assert_eq!((bench.sent.len(), bench.prober.is_settled()), (10, false));
        bench.until(2000, false);
        assert_eq!(bench.found, [(1300, Some(false))], "three more, at 1.0, 1.1 and 1.2 s");
    }

    #[test]
    fn what_is_known_holds_while_the_neighbor_is_being_resolved() {
        let mut bench = Bench::new();
        bench.until(1000, true);
        for address in [None, Some(LINK)] {
            bench.prober.set_neighbors(&BTreeMap::from([(NEIGHBOR, address)]), bench.now());
            bench.collect();
            assert_eq!(bench.prober.is_capable(NEIGHBOR), Some(true));
        }
        assert_eq!(bench.found.len(), 1);
    }

    #[test]
    fn another_device_behind_the_address_is_asked_anew() {
        let mut bench = Bench::new();
        bench.until(1000, true);
        bench.prober.set_neighbors(&BTreeMap::from([(NEIGHBOR, Some([9; 6]))]), bench.now());
        bench.collect();
        assert_eq!(bench.found.last(), Some(&(1000, None)));
        assert!(!bench.prober.is_settled());
        bench.prober.set_neighbors(&BTreeMap::new(), bench.now());
        assert_eq!(bench.prober.poll_timeout(), None);
    }
}

//! Everything a node does with authenticated ends of tunnels on one UDP socket: it dials relays and
//! is dialed, keeps sessions, knows who answers, announces prefixes and hears of them, and leases
//! addresses.
//!
//! The caller carries datagrams and tells the time: [`handle_datagram`](Peers::handle_datagram),
//! [`handle_timeout`](Peers::handle_timeout) when [`poll_timeout`](Peers::poll_timeout) says so, and
//! after each of them [`poll_output`](Peers::poll_output) until there is nothing more to do.

mod config;
mod dial;
mod end;
mod leases;
mod pending;
mod receive;
mod settings;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

pub use config::{Config, DownReason, EndId, EndView, Entropy, Output, Pinned, Role, Seed};
use dial::{Dial, Origin, Stage};
use end::{Asking, End, Repeated};
use leases::Leases;
use pending::Pending;

use super::handshake::Initiator;
use super::keys::PublicKey;
use super::liveness::Event;
use super::refusal::Counters;
use crate::fib::Prefix;
use crate::forward::Time;
use crate::wire::control::{CloseReason, Families, KEY_LEN, Message, RELAYS_MAX, RelayAddress};

/// Ends with a session at once: each costs some 4,000 octets and, mostly for its keepalives, some
/// 20 datagrams a second.
const SESSIONS_MAX: usize = 1024;
/// Relays are told of each other so often, in microseconds.
const NAMING: u64 = 10_000_000;

/// All ends of one node.
pub struct Peers {
    config: Config,
    entropy: Entropy,
    /// All who may be ends.
    ends: BTreeMap<PublicKey, End>,
    next_id: u32,
    /// Whose session a number is.
    sessions: BTreeMap<u32, PublicKey>,
    /// When each end has something to do.
    timers: BTreeSet<(Time, PublicKey)>,
    timer_of: BTreeMap<PublicKey, Time>,
    /// Whose an address is, of those that are up: no two share one.
    held: BTreeMap<SocketAddr, PublicKey>,
    dials: Vec<Dial>,
    pending: Pending,
    leases: Leases,
    /// What is announced, and how often it has changed.
    announcement: (u32, Vec<(IpAddr, u8)>),
    /// Where among the relays naming goes on.
    named: usize,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Peers {
    /// A node without sessions. `entropy` is asked for keys, numbers and jitter.
    pub fn new(config: Config, entropy: Entropy, now: Time) -> Peers {
        let mut peers = Peers {
            config: config.clone(),
            entropy,
            ends: BTreeMap::new(),
            next_id: 0,
            sessions: BTreeMap::new(),
            timers: BTreeSet::new(),
            timer_of: BTreeMap::new(),
            held: BTreeMap::new(),
            dials: Vec::new(),
            pending: Pending::default(),
            leases: Leases::default(),
            announcement: (0, Vec::new()),
            named: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        };
        peers.set_config(config, now);
        peers
    }

    /// Takes leave of all ends; the datagrams that say so are to be sent yet.
    pub fn close_all(&mut self, now: Time) {
        for key in self.keys() {
            if let Some(end) = self.ends.get_mut(&key) {
                let reason = DownReason::Leaving;
                end.close(reason, Some(CloseReason::Leaving), now, &mut self.outputs);
            }
            self.settle(key, now);
        }
    }

    /// Takes leave of one end. It is dialed again if it is where a seed is.
    pub fn close(&mut self, id: EndId, now: Time) {
        let of_it = self.ends.iter_mut().find(|(_, end)| end.id == id);
        let Some((key, end)) = of_it.map(|(key, end)| (*key, end)) else { return };
        end.close(DownReason::Leaving, Some(CloseReason::Leaving), now, &mut self.outputs);
        self.settle(key, now);
    }

    /// Asks an end for an address, again and again until it answers by [`Output::Leased`].
    pub fn request_lease(
        &mut self,
        id: EndId,
        families: Families,
        wish: Option<IpAddr>,
        now: Time,
    ) {
        let of_it = self.ends.iter_mut().find(|(_, end)| end.id == id);
        let Some((key, end)) = of_it.map(|(key, end)| (*key, end)) else { return };
        end.asking = Some(Asking { families, wish, repeated: Repeated::start(now) });
        end.handle_timeout(now, &mut self.entropy, &mut self.outputs);
        self.settle(key, now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.pending.expire(now);
        let due: Vec<PublicKey> =
            self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key).collect();
        for key in due {
            self.end_timeout(key, now);
            self.settle(key, now);
        }
        for index in 0..self.dials.len() {
            if self.dials[index].at.is_some_and(|at| at <= now) {
                self.dial(index, now);
            }
        }
        let ends = &self.ends;
        self.dials.retain(|dial| {
            let key = dial.expected.and_then(|key| ends.get(&key));
            let renewing = || key.is_some_and(|end| end.is_renewing && end.has_session());
            !dial.is_hopeless() && (dial.origin != Origin::Rekey || renewing())
        });
    }

    fn end_timeout(&mut self, key: PublicKey, now: Time) {
        self.check_lease(key, now);
        let Some(end) = self.ends.get_mut(&key) else { return };
        end.handle_timeout(now, &mut self.entropy, &mut self.outputs);
        if end.announcing.is_due(now) {
            // A host has nothing to announce, and no use for what others do.
            if [self.config.role, end.role].contains(&Role::Host) {
                end.announcing.at = None;
            } else {
                let (sequence, prefixes) = self.announcement.clone();
                end.send(&Message::Announce { sequence, prefixes }, &mut self.outputs);
            }
        }
        if let (Some(_), Some(address)) = (end.renew_at().filter(|at| *at <= now), end.address) {
            end.is_renewing = true;
            self.dials.push(Dial::new(address, Some(key), Origin::Rekey, now));
        }
        if end.naming_at.is_some_and(|at| at <= now) {
            end.naming_at = Some(Time(now.0 + NAMING));
            self.name_relays(key);
        }
    }

    /// Tells a relay where others are.
    fn name_relays(&mut self, to: PublicKey) {
        if self.config.role == Role::Host {
            return;
        }
        let others = self.ends.iter().filter(|(key, end)| {
            **key != to && end.role == Role::Relay && end.pinned.is_none() && end.liveness.is_up()
        });
        let others = others
            .filter_map(|(key, end)| Some(RelayAddress { address: end.address?, key: key.0 }));
        let mut others: Vec<RelayAddress> = others.collect();
        if others.is_empty() {
            return;
        }
        // Of more than there is room for, others the next time.
        let start = self.named % others.len();
        others.rotate_left(start);
        others.truncate(RELAYS_MAX);
        self.named = start + others.len();
        if let Some(end) = self.ends.get_mut(&to) {
            end.send(&Message::Relays(others), &mut self.outputs);
        }
    }

    /// Goes on with a dial.
    fn dial(&mut self, index: usize, now: Time) {
        let dial = &self.dials[index];
        if dial.is_idle() {
            let end = dial.key().and_then(|key| self.ends.get(&key));
            let served = end.and_then(|end| end.served_until(now));
            if dial.is_own || (served.is_some() && dial.origin != Origin::Rekey) {
                let again = served.filter(|until| until.0 != u64::MAX);
                self.dials[index].rest(again);
                return;
            }
            let initiator = Initiator::new(self.number(), self.octets());
            if let Some(datagram) = initiator.initiation(&self.config.private_key) {
                self.dials[index].ask(initiator, datagram, now);
            }
        }
        let jitter = self.random();
        let dial = &mut self.dials[index];
        if let Some(bytes) = dial.repeat(now) {
            self.outputs.push_back(Output::Send { to: dial.address, bytes });
            return;
        }
        let offered = match &dial.stage {
            Stage::Confirming { key, index, .. } => Some((*key, *index)),
            _ => None,
        };
        dial.fail(now, jitter);
        if let Some((key, number)) = offered {
            self.ends.get_mut(&key).into_iter().for_each(|end| end.withdraw(number));
            self.settle(key, now);
        }
    }

    /// Takes note of what has become of an end.
    fn settle(&mut self, key: PublicKey, now: Time) {
        let Some(end) = self.ends.get_mut(&key) else { return };
        for number in end.gone.drain(..) {
            self.sessions.remove(&number);
        }
        let mut events = Vec::new();
        while let Some(event) = end.liveness.poll_event() {
            end.note_liveness(event == Event::Up, now);
            events.push((event, end.id, end.down_reason));
        }
        let changed = end.take_change(now);
        let next = end.poll_timeout();
        if let Some(before) = self.timer_of.remove(&key) {
            self.timers.remove(&(before, key));
        }
        if let Some(next) = next {
            self.timers.insert((next, key));
            self.timer_of.insert(key, next);
        }
        for (event, id, reason) in events {
            match event {
                Event::Up => {
                    self.grant_lease(key, now);
                    self.tell(key, Output::Up, now);
                }
                Event::Down => {
                    self.outputs.push_back(Output::Down(id, reason));
                    let there = self.dials.iter_mut().filter(|dial| dial.key() == Some(key));
                    there.for_each(|dial| dial.wake(now));
                }
            }
        }
        if changed {
            self.tell(key, Output::Changed, now);
        }
        self.hold(key);
    }

    /// While an end is up, its address is its own, as is the one where others take it to be.
    fn hold(&mut self, key: PublicKey) {
        let Some(end) = self.ends.get_mut(&key) else { return };
        let told = end.told.as_ref().map(|(address, ..)| *address);
        let held = if end.liveness.is_up() { [end.address, told] } else { [None; 2] };
        if held != end.held {
            let before = std::mem::replace(&mut end.held, held);
            for address in before.iter().flatten() {
                self.held.remove(address);
            }
            self.held.extend(held.into_iter().flatten().map(|address| (address, key)));
        }
    }

    /// Whether an address is that of another end that is up.
    fn is_taken(&self, address: SocketAddr, key: &PublicKey) -> bool {
        self.held.get(&address).is_some_and(|holder| holder != key)
    }

    /// Says what an end is like, if that is news.
    fn tell(&mut self, key: PublicKey, output: fn(EndView) -> Output, now: Time) {
        let (Some(view), Some(end)) = (self.view(&key), self.ends.get_mut(&key)) else { return };
        let told = (view.address, view.prefixes.clone(), view.lease);
        let output = output(view);
        if end.note_told(told, matches!(output, Output::Up(_)), now) {
            self.outputs.push_back(output);
        }
    }

    fn view(&self, key: &PublicKey) -> Option<EndView> {
        let end = self.ends.get(key)?;
        let prefixes = if end.role == Role::Relay { &end.announced[..] } else { &[] };
        let prefixes =
            prefixes.iter().filter_map(|(address, length)| Prefix::new(*address, *length));
        let prefixes: BTreeSet<Prefix> = prefixes.filter(|prefix| self.believes(prefix)).collect();
        Some(EndView {
            id: end.id,
            key: *key,
            role: end.role,
            pinned: end.pinned.as_ref().map(|pinned| pinned.name.clone()),
            address: end.address?,
            prefixes: prefixes.into_iter().collect(),
            lease: end.lease,
            rtt: end.liveness.round_trip().map(|time| time.smoothed),
            loss: end.liveness.loss(),
            heard: end.liveness.heard(),
            is_up: end.liveness.is_up(),
        })
    }

    /// Whether somebody else may be near a prefix: not if it is our own or part of it, or nobody's.
    fn believes(&self, prefix: &Prefix) -> bool {
        let inside =
            |outer: &Prefix| outer.length() <= prefix.length() && outer.contains(prefix.address());
        let first = prefix.address();
        let unusable = first.is_loopback()
            || first.is_multicast()
            || match first {
                IpAddr::V4(v4) => v4.is_link_local(),
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
            };
        let default = prefix.length() == 0 && !self.config.accept_default;
        let (own, leases) = (&self.config.prefixes, &self.config.leases);
        !unusable && !default && !own.iter().chain(leases).any(inside)
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Peers::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let ends = self.timers.first().map(|(at, _)| *at);
        let dials = self.dials.iter().filter_map(|dial| dial.at).min();
        [ends, dials, self.pending.poll_timeout()].into_iter().flatten().min()
    }

    /// All ends that have a session, by their key.
    pub fn ends(&self) -> impl Iterator<Item = EndView> {
        let with_session = self.ends.iter().filter(|(_, end)| end.has_session());
        with_session.filter_map(|(key, _)| self.view(key))
    }

    /// One end, if it has a session.
    pub fn end(&self, id: EndId) -> Option<EndView> {
        self.ends().find(|view| view.id == id)
    }

    /// When an end has answered last, whether or not it still has a session.
    pub fn heard(&self, id: EndId) -> Option<Time> {
        self.ends.values().find(|end| end.id == id)?.liveness.heard()
    }

    /// The end that was there last, of the addresses that are dialed.
    pub fn found(&self, address: SocketAddr) -> Option<EndId> {
        let dial = self.dials.iter().find(|dial| dial.address == address)?;
        Some(self.ends.get(&dial.key()?)?.id)
    }

    /// How many control messages were not taken.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sessions, pending handshakes, addresses that handshakes are counted of, and dials.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        let kept: usize = self.ends.values().map(End::sessions).sum();
        assert_eq!(kept, self.sessions.len(), "every session is known by its number");
        let (pending, addresses) = self.pending.sizes();
        [kept, pending, addresses, self.dials.len()]
    }

    fn octets(&mut self) -> [u8; KEY_LEN] {
        let mut octets = [0; KEY_LEN];
        (self.entropy)(&mut octets);
        octets
    }

    fn random(&mut self) -> u32 {
        let mut octets = [0; 4];
        (self.entropy)(&mut octets);
        u32::from_be_bytes(octets)
    }

    /// A number that no session has.
    fn number(&mut self) -> u32 {
        let mut number = self.random().max(1);
        while self.sessions.contains_key(&number)
            || self.pending.find(number).is_some()
            || self.dials.iter().any(|dial| dial.is_asking_for(number))
        {
            number = number.wrapping_add(1).max(1);
        }
        number
    }
}

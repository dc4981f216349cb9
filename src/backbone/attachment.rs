//! A host's way into the backbone: of the relays it knows, it keeps sessions with a few, uses the
//! nearest that answers, leases an address there, and goes on with the next one when it fails.
//!
//! The caller carries datagrams and tells the time, as with [`Peers`].

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::keys::{PrivateKey, PublicKey};
use super::peers::{
    Config, DownReason, EndId, EndView, Entropy, Output as PeersOutput, Peers, Role, Seed,
};
use super::refusal::Counters;
use crate::forward::Time;
use crate::wire::control::{Families, Lease};

/// Sessions kept at once. Of more relays, others are tried in turn.
const SESSIONS: usize = 4;
/// How often, in microseconds, where more are known: while one answers, and while none does. So
/// one that does not is given four seconds.
const TURN: u64 = 30_000_000;
const SEARCH: u64 = 1_000_000;
/// Another relay is used instead if its round-trip time is less than this share of that of the one
/// in use, in percent,
const BETTER_PERCENT: u64 = 80;
/// and less by so many microseconds,
const BETTER_BY: u64 = 2_000;
/// for so long, in microseconds.
const BETTER_FOR: u64 = 5_000_000;
/// A relay without an address to lease is asked again after so long, in microseconds.
const ASK_AGAIN: u64 = 5_000_000;
/// For so long, in microseconds, others are preferred to it.
const BARREN: u64 = 60_000_000;

/// How a host takes part.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its key.
    pub private_key: PrivateKey,
    /// The relays it knows.
    pub relays: Vec<Seed>,
    /// The keys that those without a key of their own may have. There is no relay without any.
    pub keys: Vec<PublicKey>,
    /// Of which IP versions it wants an address.
    pub families: Families,
    /// The address it would like to have.
    pub wish: Option<IpAddr>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// There.
        to: SocketAddr,
        /// Its octets.
        bytes: Vec<u8>,
    },
    /// The relay in use has answered what address the host has, or is at another address now.
    Attached {
        /// The relay.
        relay: EndView,
        /// The address; it may have none to give.
        lease: Lease,
    },
    /// From now on packets go by another relay; which address the host has there follows.
    Switched {
        /// The relay until now.
        from: EndId,
        /// The one from now on.
        to: EndView,
        /// How long ago the one until now has answered last, in microseconds.
        after: u64,
    },
    /// There is no relay any more.
    Detached(DownReason),
}

/// A host's relays.
pub struct Attachment {
    peers: Peers,
    options: Options,
    /// Which of the relays there are to be sessions with, the oldest first.
    slots: Vec<Seed>,
    /// Which one is tried next.
    next: usize,
    turn_at: Option<Time>,
    /// The relay in use, and what it has leased.
    relay: Option<EndId>,
    lease: Option<Lease>,
    /// Where it was told to be.
    told: Option<SocketAddr>,
    ask_at: Option<Time>,
    /// Those that have said that they have no address, and until when that counts.
    barren: BTreeMap<EndId, Time>,
    /// A nearer one, and since when it is.
    nearer: Option<(EndId, Time)>,
    wish: Option<IpAddr>,
    outputs: VecDeque<Output>,
}

impl Attachment {
    /// A host without a relay yet.
    pub fn new(options: Options, entropy: Entropy, now: Time) -> Attachment {
        let slots: Vec<Seed> = options.relays.iter().copied().take(SESSIONS).collect();
        let peers = Peers::new(config(&options, &slots), entropy, now);
        let more = options.relays.len() > SESSIONS;
        let mut attachment = Attachment {
            peers,
            wish: options.wish,
            options,
            next: slots.len(),
            slots,
            turn_at: more.then_some(Time(now.0 + SEARCH)),
            relay: None,
            lease: None,
            told: None,
            ask_at: None,
            barren: BTreeMap::new(),
            nearer: None,
            outputs: VecDeque::new(),
        };
        attachment.advance(now);
        attachment
    }

    /// A datagram has come that is not an IP packet.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Time) {
        self.peers.handle_datagram(from, bytes, now);
        self.advance(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.turn_at.is_some_and(|at| at <= now) {
            self.turn_at = Some(Time(now.0 + self.pace()));
            self.turn(now);
        }
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = None;
            self.ask(now);
        }
        self.peers.handle_timeout(now);
        self.advance(now);
    }

    /// Takes leave of all relays; the datagrams that say so are to be sent yet.
    pub fn close(&mut self, now: Time) {
        self.peers.close_all(now);
        self.slots.clear();
        self.peers.set_config(config(&self.options, &[]), now);
        self.turn_at = None;
        self.advance(now);
    }

    /// The relay in use, while it answers.
    pub fn relay(&self) -> Option<EndView> {
        self.peers.end(self.relay?)
    }

    /// The address leased from it.
    pub fn address(&self) -> Option<IpAddr> {
        self.lease.as_ref()?.address
    }

    /// All relays that there are sessions with.
    pub fn relays(&self) -> impl Iterator<Item = EndView> {
        self.peers.ends()
    }

    /// How many control messages were not taken.
    pub fn counters(&self) -> Counters {
        self.peers.counters()
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Attachment::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let nearer = self.nearer.map(|(_, since)| Time(since.0 + BETTER_FOR));
        let times = [self.peers.poll_timeout(), self.turn_at, self.ask_at, nearer];
        times.into_iter().flatten().min()
    }

    /// Takes up what the sessions have come to.
    fn advance(&mut self, now: Time) {
        let pace = self.pace();
        loop {
            while let Some(output) = self.peers.poll_output() {
                self.take(output, now);
            }
            self.choose(now);
            // Asking for an address puts out a datagram.
            let Some(output) = self.peers.poll_output() else { break };
            self.take(output, now);
        }
        if self.turn_at.is_some() && self.pace() != pace {
            self.turn_at = Some(Time(now.0 + self.pace()));
        }
    }

    /// How often others have their turn. A relay is in use whenever one answers.
    fn pace(&self) -> u64 {
        if self.relay.is_some() { TURN } else { SEARCH }
    }

    fn take(&mut self, output: PeersOutput, now: Time) {
        match output {
            PeersOutput::Send { to, bytes } => self.outputs.push_back(Output::Send { to, bytes }),
            PeersOutput::Up(_) => {}
            PeersOutput::Changed(view) => {
                let moved = self.relay == Some(view.id) && self.told != Some(view.address);
                if let Some(lease) = self.lease.clone().filter(|_| moved) {
                    self.tell(view, lease);
                }
            }
            PeersOutput::Down(id, reason) => {
                if self.relay == Some(id) {
                    self.fail_over(id, reason, now);
                }
            }
            PeersOutput::Leased(id, lease) => {
                if self.relay == Some(id) {
                    self.take_lease(lease, now);
                }
            }
        }
    }

    fn take_lease(&mut self, lease: Lease, now: Time) {
        // Well before its end, and while the relay still knows it should one request be lost.
        let renewal = u64::from(lease.seconds) * 1_000_000 / 3;
        let wait = if lease.address.is_some() { renewal.max(ASK_AGAIN) } else { ASK_AGAIN };
        self.ask_at = Some(Time(now.0 + wait));
        self.wish = lease.address.or(self.wish);
        if let Some(id) = self.relay {
            let until = if lease.address.is_none() { now.0 + BARREN } else { 0 };
            self.barren.insert(id, Time(until));
        }
        let address = |lease: &Lease| lease.address;
        let is_news = self.lease.as_ref().map(address) != Some(lease.address);
        self.lease = Some(lease.clone());
        if let Some(relay) = self.relay().filter(|_| is_news) {
            self.tell(relay, lease);
        }
    }

    fn tell(&mut self, relay: EndView, lease: Lease) {
        self.told = Some(relay.address);
        self.outputs.push_back(Output::Attached { relay, lease });
    }

    /// The relay in use does not answer any more: the nearest other one takes its place.
    fn fail_over(&mut self, from: EndId, reason: DownReason, now: Time) {
        match self.nearest(now) {
            Some(to) => self.switch(from, to, now),
            None => {
                (self.relay, self.lease, self.nearer, self.ask_at) = (None, None, None, None);
                self.outputs.push_back(Output::Detached(reason));
            }
        }
    }

    /// The nearest that answers, and has an address or has not been asked for one lately.
    fn nearest(&self, now: Time) -> Option<EndView> {
        let up = self.peers.ends().filter(|view| view.is_up);
        up.min_by_key(|view| (self.is_barren(view.id, now), view.rtt.unwrap_or(u64::MAX), view.key))
    }

    fn is_barren(&self, id: EndId, now: Time) -> bool {
        self.barren.get(&id).is_some_and(|until| *until > now)
    }

    /// Uses the nearest relay, but for one that is hardly nearer.
    fn choose(&mut self, now: Time) {
        let Some(nearest) = self.nearest(now) else {
            self.nearer = None;
            return;
        };
        let Some(current) = self.relay() else {
            self.relay = Some(nearest.id);
            self.ask(now);
            return;
        };
        if self.is_barren(current.id, now) && !self.is_barren(nearest.id, now) {
            self.switch(current.id, nearest, now);
            return;
        }
        let (before, after) = (current.rtt.unwrap_or(u64::MAX), nearest.rtt.unwrap_or(u64::MAX));
        let far_nearer = after < before.saturating_mul(BETTER_PERCENT) / 100
            && after.saturating_add(BETTER_BY) < before;
        if !far_nearer {
            self.nearer = None;
            return;
        }
        let since = self.nearer.filter(|(id, _)| *id == nearest.id).map_or(now, |(_, at)| at);
        self.nearer = Some((nearest.id, since));
        if since.0 + BETTER_FOR <= now.0 {
            self.switch(current.id, nearest, now);
        }
    }

    fn switch(&mut self, from: EndId, to: EndView, now: Time) {
        self.relay = Some(to.id);
        (self.lease, self.nearer, self.ask_at) = (None, None, None);
        let heard = self.peers.heard(from);
        let after = heard.map_or(0, |heard| now.0.saturating_sub(heard.0));
        self.outputs.push_back(Output::Switched { from, to, after });
        self.ask(now);
    }

    /// Asks the relay in use for an address: the one there was before, if it has it.
    fn ask(&mut self, now: Time) {
        if let Some(relay) = self.relay {
            self.peers.request_lease(relay, self.options.families, self.wish, now);
        }
    }

    /// Of more relays than sessions, another one has its turn: in place of the one that has not
    /// answered for the longest time, else of the farthest.
    fn turn(&mut self, now: Time) {
        let known = &self.options.relays;
        let candidates = (0..known.len()).map(|step| (self.next + step) % known.len());
        let mut candidates = candidates.filter(|at| !self.slots.contains(&known[*at]));
        let Some(at) = candidates.next() else { return };
        let end = |slot: &Seed| self.peers.found(slot.address);
        let rank = |slot: &Seed| match end(slot).and_then(|id| self.peers.end(id)) {
            Some(view) if view.is_up => (0, view.rtt.unwrap_or(u64::MAX)),
            // It may have to answer for a while before it is up.
            Some(view) if view.heard.is_some_and(|heard| heard.0 + SEARCH > now.0) => (1, 0),
            _ => (2, 0),
        };
        let in_use = |slot: &Seed| self.relay.is_some() && end(slot) == self.relay;
        // Of several that are as bad, the last of this order: the oldest.
        let others = self.slots.iter().enumerate().rev().filter(|(_, slot)| !in_use(slot));
        let Some((place, left)) = others.max_by_key(|(_, slot)| rank(slot)) else { return };
        let left = end(left);
        self.slots.remove(place);
        self.slots.push(known[at]);
        self.next = at + 1;
        self.peers.set_config(config(&self.options, &self.slots), now);
        let kept: Vec<_> = self.slots.iter().map(|slot| self.peers.found(slot.address)).collect();
        if let Some(left) = left.filter(|left| !kept.contains(&Some(*left))) {
            self.peers.close(left, now);
        }
    }
}

fn config(options: &Options, slots: &[Seed]) -> Config {
    let of_relays = options.relays.iter().filter_map(|relay| relay.key);
    let keys = of_relays.chain(options.keys.iter().copied());
    Config {
        private_key: options.private_key.clone(),
        role: Role::Host,
        allowed: keys.map(|key| (key, Role::Relay)).collect(),
        pinned: vec![],
        seeds: slots.to_vec(),
        prefixes: vec![],
        leases: vec![],
        reserved: vec![],
        accept_default: false,
        name: String::new(),
    }
}

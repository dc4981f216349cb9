//! Overlay nodes in virtual time: each is woken when it wants to be, and gets the datagrams that
//! the others send, encoded, sealed and decoded as on the wire.
//!
//! 1. The next event is taken: an arrival, the time of a node, a mark of the experiment's.
//! 2. The node handles it, and is drained: what it sends becomes datagrams, one for all receivers
//!    by Xcast or one each; what it stores is kept for its next start; what it tells goes up.
//! 3. Datagrams pass the [`faults`] and the [`carrier`], which says when they arrive.
//!
//! The same seed gives the same events: [`World::hash`] is over all arrivals.

pub mod carrier;
pub mod churn;
pub mod faults;
mod flights;
mod hash;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use overlay_protocols::machine::{Class, Output, Send};
use overlay_protocols::node::{self, Config, DATAGRAM_LEN_MAX, DESTINATIONS_MAX, Input};
use overlay_protocols::{Contact, Endpoint, Identity, Now, OverlayNode, Time, Wall, envelope};

use crate::event_queue::{Event, EventQueue, Wheel};
use xcast::io::prefetch;

use carrier::{Arrival, Carrier};
use faults::Faults;
use flights::Flights;
use hash::EventHash;

/// Where true clocks on the wall stand when a world begins: in February 2026.
pub const START: Wall = Wall(1_770_000_000_000_000);
/// The TTL of what is sent.
pub const TTL: u8 = 64;
/// The port of every node.
const PORT: u16 = 9000;
/// What an event is, if it is no arrival.
const TIMER: u32 = u32::MAX;
const MARK: u32 = u32::MAX - 1;

/// How a message to several peers leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram to each, with its own part alone.
    Unicast,
    /// One datagram to all.
    Xcast,
}

/// How a world is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// All randomness follows from it.
    pub seed: u64,
    /// How messages to several peers leave.
    pub transport: Transport,
    /// Whether datagrams are signed; else their seals are as long and prove nothing.
    pub signed: bool,
}

/// What an experiment is told, in the order that it happens.
#[derive(Debug, PartialEq)]
pub enum Happening {
    /// A node tells something.
    Told {
        /// Which node.
        place: usize,
        /// What.
        event: node::Event,
    },
    /// The time of a mark has come.
    Mark {
        /// Whose.
        place: usize,
        /// Which, as whoever set it means it.
        tag: u64,
    },
}

/// What all nodes together have sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Messages: one to several peers is one.
    pub messages: u64,
    /// Receivers of these.
    pub receivers: u64,
    /// Datagrams that left.
    pub datagrams: u64,
    /// Their octets, without headers of UDP and IP.
    pub bytes: u64,
    /// Datagrams that arrived at a node that was there.
    pub delivered: u64,
    /// Events of any kind.
    pub events: u64,
    /// Datagrams to nobody.
    pub astray: u64,
}

/// A host, and the node on it.
struct Slot {
    node: Option<Box<OverlayNode>>,
    /// When the one live timer event is; [`Time::NEVER`] if there is none.
    armed: Time,
    /// By how much its clock is ahead, microseconds.
    skew: i64,
    /// How often somebody new has begun here.
    life: u32,
    stored: Vec<(&'static str, Vec<u8>)>,
}

/// Hosts by their places 0, 1, 2, ..., and what happens among them.
pub struct World {
    settings: Settings,
    now: Time,
    queue: Wheel,
    slots: Vec<Slot>,
    flights: Flights,
    carrier: Box<dyn Carrier>,
    faults: Faults,
    marks: Vec<u64>,
    free_marks: Vec<usize>,
    news: VecDeque<Happening>,
    hash: EventHash,
    sent: Sent,
    arrivals: Vec<Arrival>,
    places: Vec<usize>,
    soon: Vec<Event>,
    record: Option<Vec<Recorded>>,
}

/// A message that a node has handed over.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Which node.
    pub place: usize,
    /// When.
    pub at: Time,
    /// What, to whom.
    pub send: Send,
}

/// The address of a host.
pub fn address(place: usize) -> SocketAddr {
    let [_, a, b, c] = (place as u32 + 1).to_be_bytes();
    SocketAddr::from(([10, a, b, c], PORT))
}

/// The host at an address.
pub fn place_of(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [net, a, b, c] = ip.octets();
            let number = u32::from_be_bytes([0, a, b, c]) as usize;
            if net == 10 { number.checked_sub(1) } else { None }
        }
        IpAddr::V6(_) => None,
    }
}

impl World {
    /// Without hosts.
    pub fn new(settings: Settings, carrier: Box<dyn Carrier>) -> World {
        World {
            settings,
            now: Time(0),
            queue: Wheel::default(),
            slots: Vec::new(),
            flights: Flights::default(),
            carrier,
            faults: Faults::none(settings.seed),
            marks: Vec::new(),
            free_marks: Vec::new(),
            news: VecDeque::new(),
            hash: EventHash::default(),
            sent: Sent::default(),
            arrivals: Vec::new(),
            places: Vec::new(),
            soon: Vec::new(),
            record: None,
        }
    }

    /// Keeps all messages that nodes hand over from now on, and gives those kept so far.
    pub fn record(&mut self) -> Vec<Recorded> {
        self.record.replace(Vec::new()).unwrap_or_default()
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        self.now
    }

    /// A hash over all arrivals so far: when, where, and which octets.
    pub fn hash(&self) -> u64 {
        self.hash.value()
    }

    /// What was sent so far.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// What goes wrong on the way.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The node on a host, if there is one.
    pub fn node(&self, place: usize) -> Option<&OverlayNode> {
        self.slots.get(place)?.node.as_deref()
    }

    /// The places of all hosts with a node.
    pub fn live(&self) -> impl Iterator<Item = usize> {
        (0..self.slots.len()).filter(|place| self.slots[*place].node.is_some())
    }

    /// Adds a host without a node; its place.
    pub fn add_host(&mut self) -> usize {
        self.slots.push(Slot {
            node: None,
            armed: Time::NEVER,
            skew: 0,
            life: 0,
            stored: Vec::new(),
        });
        self.slots.len() - 1
    }

    /// By how much a host's clock is ahead, in microseconds; it counts from now on.
    pub fn set_skew(&mut self, place: usize, skew: i64) {
        self.slots[place].skew = skew;
    }

    /// Both clocks at a host.
    pub fn at(&self, place: usize) -> Now {
        let wall = Wall((START.0 + self.now.0).saturating_add_signed(self.slots[place].skew));
        Now { time: self.now, wall }
    }

    /// Who will be started at a place.
    pub fn contact(&self, place: usize) -> Contact {
        Contact::new(self.identity(place).id, address(place))
    }

    fn identity(&self, place: usize) -> Identity {
        let slot = &self.slots[place];
        let mut key = [0x5a; 32];
        key[..8].copy_from_slice(&(place as u64).to_be_bytes());
        key[8..12].copy_from_slice(&slot.life.to_be_bytes());
        key[12..20].copy_from_slice(&self.settings.seed.to_be_bytes());
        if self.settings.signed { Identity::signed(&key) } else { Identity::open(key) }
    }

    /// Starts the node of a host, with what it had stored.
    pub fn start(&mut self, place: usize, config: Config) {
        let (identity, contact, now) = (self.identity(place), self.contact(place), self.at(place));
        let slot = &mut self.slots[place];
        let life = u64::from(slot.life) << 32;
        let seed = hash::mix(self.settings.seed ^ hash::mix(place as u64 | life));
        let stored = std::mem::take(&mut slot.stored);
        let restored = |key: &str| {
            stored.iter().find(|(name, _)| *name == key).map(|(_, bytes)| bytes.clone())
        };
        let node = OverlayNode::new(config, identity, contact, &restored, seed, now);
        slot.node = Some(Box::new(node));
        slot.stored = stored;
        self.drain(place);
    }

    /// The node of a host is gone without a word; what it has stored stays.
    pub fn crash(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        (slot.node, slot.armed) = (None, Time::NEVER);
    }

    /// Makes room for somebody else at a host: nobody of this identity, with nothing stored.
    pub fn vacate(&mut self, place: usize) {
        self.crash(place);
        let slot = &mut self.slots[place];
        slot.life += 1;
        slot.stored.clear();
    }

    /// Gives a node an input, now.
    pub fn input(&mut self, place: usize, input: Input<'_>) {
        let now = self.at(place);
        if let Some(node) = &mut self.slots[place].node {
            node.handle_input(input, now);
            self.drain(place);
        }
    }

    /// Has [`Happening::Mark`] happen at a time that is not over.
    pub fn mark(&mut self, at: Time, place: usize, tag: u64) {
        // Tags are kept aside: events are small.
        let index = self.free_marks.pop().unwrap_or(self.marks.len());
        match self.marks.get_mut(index) {
            Some(mark) => *mark = tag | (place as u64) << 40,
            None => self.marks.push(tag | (place as u64) << 40),
        }
        self.queue.push(at.max(self.now), index as u32, MARK);
    }

    /// What happens next, up to and including `until`; `None`: nothing more, and it is `until`.
    pub fn next(&mut self, until: Time) -> Option<Happening> {
        loop {
            if let Some(happening) = self.news.pop_front() {
                return Some(happening);
            }
            let is_due = self.queue.next_at().is_some_and(|at| at <= until);
            let Some(event) = is_due.then(|| self.queue.pop()).flatten() else {
                self.now = self.now.max(until);
                return None;
            };
            self.sent.events += 1;
            self.now = event.at;
            self.fetch_soon();
            self.handle(event);
        }
    }

    /// Lets everything happen up to `until`, whatever is told.
    pub fn run_until(&mut self, until: Time) {
        while self.next(until).is_some() {}
    }

    /// Has the memory fetched that the next events want: of many nodes none is in a cache. Each step
    /// needs what the one before has fetched.
    fn fetch_soon(&mut self) {
        self.soon.clear();
        while let Some(event) = self.queue.take_soon() {
            if event.what == MARK {
                continue;
            }
            prefetch(&self.slots[event.place as usize]);
            if event.what != TIMER {
                prefetch(self.flights.flight(flights::unpack(event.what).0));
            }
            self.soon.push(event);
        }
        for event in &self.soon {
            if let Some(node) = &self.slots[event.place as usize].node {
                prefetch::<OverlayNode>(node);
            }
            if event.what != TIMER {
                let flight = self.flights.flight(flights::unpack(event.what).0);
                prefetch(flight.bytes.as_slice());
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let place = event.place as usize;
        match event.what {
            TIMER => self.wake(place, event.at),
            MARK => {
                self.free_marks.push(place);
                let mark = self.marks[place];
                let (place, tag) = ((mark >> 40) as usize, mark & ((1 << 40) - 1));
                self.news.push_back(Happening::Mark { place, tag });
            }
            what => self.deliver(place, what),
        }
    }

    fn wake(&mut self, place: usize, at: Time) {
        let now = self.at(place);
        let slot = &mut self.slots[place];
        if slot.armed != at {
            return;
        }
        slot.armed = Time::NEVER;
        let Some(node) = &mut slot.node else { return };
        if node.poll_timeout().is_some_and(|(due, _)| due <= at) {
            node.handle_timeout(now);
            self.drain(place);
        } else {
            self.arm(place);
        }
    }

    fn deliver(&mut self, place: usize, what: u32) {
        let now = self.at(place);
        let (index, ttl) = flights::unpack(what);
        let flight = self.flights.flight(index);
        self.hash.add(now.time, place, flight.digest);
        if let Some(node) = &mut self.slots[place].node {
            self.sent.delivered += 1;
            let (from, bytes) = (address(flight.from as usize), flight.bytes.as_slice());
            let input = Input::Datagram { from, bytes, at: now.time, wall: now.wall, ttl };
            node.handle_input(input, now);
        }
        self.flights.release(index);
        self.drain(place);
    }

    /// Sees to the outputs of a node, and when it wants to be woken.
    fn drain(&mut self, place: usize) {
        loop {
            let output = self.slots[place].node.as_mut().and_then(|node| node.poll_output());
            match output {
                None => break,
                Some(Output::Send(send)) => {
                    self.transmit(place, &send);
                    if let Some(record) = &mut self.record {
                        record.push(Recorded { place, at: self.now, send });
                    }
                }
                Some(Output::Pair { to, size, protocol, message }) => {
                    for _ in 0..2 {
                        let now = self.at(place);
                        let Some(node) = &mut self.slots[place].node else { return };
                        let bytes = node.padded(to, size, protocol, &message, now);
                        self.launch(place, bytes, &[to]);
                    }
                }
                Some(Output::Store { key, bytes }) => {
                    let stored = &mut self.slots[place].stored;
                    stored.retain(|(name, _)| *name != key);
                    stored.push((key, bytes));
                }
                Some(Output::Event(event)) => self.news.push_back(Happening::Told { place, event }),
            }
        }
        self.arm(place);
    }

    /// Has at most one live timer event of a node: one that comes too early is put off when it
    /// comes, so that a timer that is moved on and on costs nothing.
    fn arm(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        let Some(node) = &slot.node else { return };
        let Some((due, _)) = node.poll_timeout() else { return };
        // One that is still due after its time was handled would come forever.
        let due = due.max(Time(self.now.0 + 1));
        if due < slot.armed {
            slot.armed = due;
            self.queue.push(due, place as u32, TIMER);
        }
    }

    fn transmit(&mut self, place: usize, send: &Send) {
        self.sent.messages += 1;
        self.sent.receivers += send.to.len() as u64;
        let together = match send.class {
            Class::Probe => true,
            Class::Repeated => false,
            _ => self.settings.transport == Transport::Xcast,
        };
        let mut next = 0;
        while next < send.to.len() {
            let mut select = vec![next];
            next += 1;
            while together && next < send.to.len() && select.len() < DESTINATIONS_MAX {
                select.push(next);
                if envelope::datagram_len(send, &select) > DATAGRAM_LEN_MAX {
                    select.pop();
                    break;
                }
                next += 1;
            }
            let now = self.at(place);
            let Some(node) = &mut self.slots[place].node else { return };
            let bytes = node.datagram(send, &select, now);
            // They follow one another.
            self.launch(place, bytes, &send.to[select[0]..next]);
        }
    }

    /// One datagram to all of these.
    fn launch(&mut self, place: usize, bytes: Vec<u8>, to: &[Endpoint]) {
        self.sent.datagrams += 1;
        self.sent.bytes += bytes.len() as u64;
        self.places.clear();
        for endpoint in to {
            match place_of(endpoint.address).filter(|to| *to < self.slots.len()) {
                Some(to) => self.places.push(to),
                None => self.sent.astray += 1,
            }
        }
        let digest = hash::of_bytes(&bytes);
        let index = self.flights.launch(place as u32, bytes, digest);
        let bytes = &self.flights.flight(index).bytes;
        let packet = carrier::Packet { from: place, to: &self.places, bytes, flight: index };
        self.carrier.carry(self.now, &packet, &mut self.arrivals);
        self.announce();
        self.flights.release(index);
    }

    /// Puts into the queue what the carrier says will arrive, unless the faults say otherwise.
    fn announce(&mut self) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for arrival in arrivals.drain(..) {
            let from = self.flights.flight(arrival.flight).from as usize;
            let what = flights::pack(arrival.flight, arrival.ttl);
            for extra in self.faults.fate(from, arrival.to) {
                self.flights.expect(arrival.flight);
                self.queue.push(arrival.at + extra, arrival.to as u32, what);
            }
        }
        self.arrivals = arrivals;
    }
}

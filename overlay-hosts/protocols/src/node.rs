//! An overlay node: all machines of one peer, behind the calls that every machine has.
//!
//! 1. A datagram is opened: envelope, seal, replay window, pieces of long messages.
//! 2. Its protocol's machine handles the message.
//! 3. The machines are drained in a fixed order until nothing more comes out: what they send goes
//!    through the queue ([`crate::parallel`]), what they tell goes up.
//! 4. The driver decides how a message leaves: once for all of its receivers by Xcast, or to each
//!    one alone; [`OverlayNode::datagram`] makes the octets of either.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::contact::{Contact, Endpoint};
use crate::data_overlay::{self, DataOverlay};
use crate::delivery::{self, Delivery};
use crate::drops::{DropReason, Drops};
use crate::envelope;
use crate::id::PeerId;
use crate::locality::{self, Locality};
use crate::machine::{self, Class, Output, Protocol, Received, Send};
use crate::metrics::{self, Metrics};
use crate::parallel;
use crate::pieces::{Piece, Reassembly};
use crate::random::Random;
use crate::replay::Replay;
use crate::ring::{self, Ring};
use crate::seal::{self, Identity};
use crate::sessions::{self, Sessions};
use crate::somo::{self, Somo};
use crate::swap::SwapRecord;
use crate::time::{Now, Time, Wall};

/// The longest datagram, in octets: it fits IPv6's smallest MTU with its headers.
pub const DATAGRAM_LEN_MAX: usize = 1232;
/// The longest IP packet of a pair, in octets (seed 003 paragraph 0077: "1.5 KB").
pub const PAIR_LEN_MAX: usize = 1500;
/// The most receivers of one packet (seed 002 paragraph 0044: "50 destinations").
pub const DESTINATIONS_MAX: usize = 50;
/// Outputs that may wait for the driver; what comes then is lost, and counted.
pub const OUTPUTS_MAX: usize = 16 * 1024;
/// The stream of a seed that the node itself draws from; the machines have their own.
const RANDOM_STREAM: u64 = 0x6e6f_6465;
/// How long probes say the same; so an answer that counts is to one of the last two spans.
const NONCE_HOLDS: Duration = Duration::from_secs(5);
/// Unknown versions answered in a second.
const VERSIONS_ANSWERED_MAX: u32 = 10;

/// What the machines of a node run with.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The DHT.
    pub ring: ring::Config,
    /// Groups of near peers; without, the node has none.
    pub locality: Option<locality::Config>,
    /// Coordinates and bandwidth; without, the node measures nothing.
    pub metrics: Option<metrics::Config>,
    /// The tree of all machines; without, the node takes no part in it.
    pub somo: Option<somo::Config>,
    /// Multicast sessions; without, the node takes no part in any.
    pub delivery: Option<delivery::Config>,
    /// Sessions that are planned on what the tree gathers, and claims of others'; without, the node has
    /// neither. It wants `delivery`.
    pub sessions: Option<sessions::Config>,
    /// The queue.
    pub parallel: parallel::Config,
}

/// What goes into a node.
pub enum Input<'a> {
    /// A datagram has come.
    Datagram {
        /// From where.
        from: SocketAddr,
        /// What it holds.
        bytes: &'a [u8],
        /// When it was received.
        at: Time,
        /// What this host's clock said then.
        wall: Wall,
        /// Its TTL or hop limit.
        ttl: u8,
    },
    /// For the DHT. Numbers of requests from 2^62 on are the node's own.
    Ring(ring::Command),
    /// For the group.
    Locality(locality::Command),
    /// For objects that refer to each other.
    Data(data_overlay::Command),
    /// For the tree.
    Somo(somo::Command),
    /// For multicast sessions.
    Delivery(delivery::Command),
    /// For sessions that are planned.
    Sessions(sessions::Command),
    /// Ask these whether Xcast reaches them.
    Probe(Vec<Endpoint>),
}

/// What a node tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// News of the DHT.
    Ring(ring::Event),
    /// News of the group.
    Locality(locality::Event),
    /// News of what is measured.
    Metrics(metrics::Event),
    /// News of objects that refer to each other.
    Data(data_overlay::Event),
    /// News of the tree.
    Somo(somo::Event),
    /// News of multicast sessions, and what comes in them.
    Delivery(delivery::Event),
    /// News of sessions that are planned.
    Sessions(sessions::Event),
    /// Xcast reaches this peer.
    XcastReaches(Endpoint),
    /// A host at this address speaks these versions, and not ours.
    SpeaksVersions(SocketAddr, Vec<u8>),
}

/// What nodes tell each other, whatever runs on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Message {
    /// A piece of a long message.
    Piece(Piece),
    /// A datagram's version is not spoken here.
    UnknownVersion { seen: u8, spoken: Vec<u8> },
    /// Does Xcast reach you?
    Probe { nonce: u64 },
    /// It does.
    Reached { nonce: u64 },
}

/// How many messages a node has sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages sent: one to several peers is one.
    pub sent: u64,
    /// Receivers of these.
    pub receivers: u64,
    /// Messages received.
    pub received: u64,
    /// Outputs that the driver was too slow for, and messages that are too long for pieces.
    pub lost: u64,
}

/// One peer.
pub struct OverlayNode {
    me: Contact,
    identity: Identity,
    epoch: u64,
    sequence: u64,
    piece_number: u32,
    random: Random,
    /// What probes say, and since when: the last two.
    nonces: [Option<(u64, Time)>; 2],
    answered: (u64, u32),
    replay: Replay,
    reassembly: Reassembly,
    drops: Drops,
    traffic: Traffic,
    ring: Ring,
    locality: Option<Locality>,
    // What most nodes do without is kept aside: large simulations have many of them.
    metrics: Option<Box<Metrics>>,
    data: DataOverlay,
    somo: Option<Box<Somo>>,
    delivery: Option<Box<Delivery>>,
    sessions: Option<Box<Planned>>,
    /// The position that it takes when it has left its own.
    exchanged: Option<Box<SwapRecord>>,
    queue: parallel::Queue,
    outputs: VecDeque<Output<Event>>,
}

/// When a machine wants to be woken, and why.
type Due = Option<(Time, &'static str)>;

/// What a node had stored before it was started anew, by key.
pub type Restored<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

impl OverlayNode {
    /// A node at `me`, which is [`Identity::id`]'s contact, that is part of nothing yet.
    pub fn new(
        config: Config,
        identity: Identity,
        me: Contact,
        restored: Restored<'_>,
        seed: u64,
        now: Now,
    ) -> OverlayNode {
        let me = layers::restore_position(me, restored);
        let stored = restored(ring::STORE_KEY);
        let ring = Ring::new(config.ring, me.clone(), stored.as_deref(), seed, now);
        let stored = restored(locality::STORE_KEY);
        let locality = config.locality;
        let locality =
            locality.map(|config| Locality::new(config, me.clone(), stored.as_deref(), seed, now));
        let stored = restored(metrics::STORE_KEY);
        let metrics = config.metrics;
        let metrics =
            metrics.map(|config| Metrics::new(config, me.id, stored.as_deref(), seed, now).into());
        let somo = config.somo.map(|config| layers::somo(config, &me, &identity, seed, now).into());
        let delivery = config.delivery.map(|config| Delivery::new(config, me.clone()).into());
        let sessions = config.sessions.map(|config| Planned::new(config, me.clone()).into());
        OverlayNode {
            me,
            identity,
            epoch: now.wall.0,
            sequence: 0,
            piece_number: 0,
            random: Random::new(seed, RANDOM_STREAM),
            nonces: [None; 2],
            answered: (0, 0),
            replay: Replay::default(),
            reassembly: Reassembly::default(),
            drops: Drops::default(),
            traffic: Traffic::default(),
            ring,
            locality,
            metrics,
            data: layers::data_overlay(),
            somo,
            delivery,
            sessions,
            exchanged: None,
            queue: parallel::Queue::new(config.parallel),
            outputs: VecDeque::new(),
        }
    }

    /// How it is reached.
    pub fn contact(&self) -> &Contact {
        &self.me
    }

    /// The DHT.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The group, if it has groups.
    pub fn locality(&self) -> Option<&Locality> {
        self.locality.as_ref()
    }

    /// What it measures, if it does.
    pub fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_deref()
    }

    /// The queue.
    pub fn queue(&self) -> &parallel::Queue {
        &self.queue
    }

    /// What was dropped.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// What was sent and received.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Takes an input; what is wrong with it is counted.
    pub fn handle_input(&mut self, input: Input<'_>, now: Now) {
        let handled = match input {
            Input::Datagram { from, bytes, at, wall, ttl } => {
                self.open(from, bytes, now).and_then(|(id, opened)| {
                    self.traffic.received += 1;
                    let from = Endpoint { address: from, id: Some(id) };
                    let (protocol, message) = (opened.protocol, opened.message);
                    let octets = bytes.len();
                    let received = Received { from, at, wall, ttl, octets, message: &message };
                    self.dispatch(protocol, received, now)
                })
            }
            Input::Ring(command) => self.ring.handle_input(ring::Input::Command(command), now),
            Input::Locality(command) => match &mut self.locality {
                Some(locality) => locality.handle_input(locality::Input::Command(command), now),
                None => Ok(()),
            },
            Input::Data(command) => {
                self.data.handle_command(command);
                Ok(())
            }
            Input::Somo(command) => self.command_somo(command, now),
            Input::Delivery(command) => self.deliver(delivery::Input::Command(command), now),
            Input::Sessions(command) => self.plan(sessions::Input::Command(command), now),
            Input::Probe(to) => {
                self.probe(to, now);
                Ok(())
            }
        };
        if let Err(reason) = handled {
            self.drops.count(reason);
        }
        self.drain(now);
    }

    /// The moment of [`poll_timeout`](OverlayNode::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Now) {
        let is_due = |timeout: Due| timeout.is_some_and(|(at, _)| at <= now.time);
        let [ring, locality, metrics, somo, delivery, sessions, queue] = self.dues().map(is_due);
        if ring {
            self.ring.handle_timeout(now);
        }
        if let Some(machine) = self.locality.as_mut().filter(|_| locality) {
            machine.handle_timeout(now);
        }
        if let Some(machine) = self.metrics.as_mut().filter(|_| metrics) {
            machine.handle_timeout(&mut self.ring, now);
        }
        if let Some(machine) = self.somo.as_mut().filter(|_| somo) {
            machine.handle_timeout(now);
        }
        if let Some(machine) = self.delivery.as_mut().filter(|_| delivery) {
            machine.handle_timeout(now);
        }
        if let Some(planned) = self.sessions.as_mut().filter(|_| sessions) {
            planned.machine.handle_timeout(now);
        }
        if queue {
            self.queue.handle_timeout(now.time);
        }
        self.drain(now);
    }

    /// What is to be done: until there is nothing more.
    pub fn poll_output(&mut self) -> Option<Output<Event>> {
        machine::take_first(&mut self.outputs)
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.dues().into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// When the machines want to be woken, in the order that they are.
    fn dues(&self) -> [Due; 7] {
        let locality = self.locality.as_ref().and_then(Locality::poll_timeout);
        let metrics = self.metrics.as_deref().and_then(Metrics::poll_timeout);
        let somo = self.somo.as_deref().and_then(Somo::poll_timeout);
        let delivery = self.delivery.as_deref().and_then(Delivery::poll_timeout);
        let sessions = self.sessions().and_then(Sessions::poll_timeout);
        let (ring, queue) = (self.ring.poll_timeout(), self.queue.poll_timeout());
        [ring, locality, metrics, somo, delivery, sessions, queue]
    }

    fn open(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        now: Now,
    ) -> Result<(PeerId, envelope::Opened), DropReason> {
        let longest = if envelope::is_padded(bytes) { PAIR_LEN_MAX } else { DATAGRAM_LEN_MAX };
        if bytes.len() > longest {
            return Err(DropReason::Oversized);
        }
        let opened = envelope::open(bytes, self.me.id, &self.identity);
        if opened == Err(DropReason::Version) {
            self.answer_version(from, bytes, now);
        }
        let opened = opened?;
        let id = PeerId::of_public_key(&opened.stamp.key);
        if id == self.me.id {
            return Err(DropReason::OwnMessage);
        }
        self.replay.accept(id, &opened.stamp, now)?;
        Ok((id, opened))
    }

    /// Tells who speaks another version which one is spoken here: fewer octets than came, so that
    /// two who do not understand each other soon fall silent, and only so often, as nobody has
    /// proved to be at that address.
    fn answer_version(&mut self, from: SocketAddr, bytes: &[u8], now: Now) {
        let second = now.time.0 / 1_000_000;
        if self.answered.0 != second {
            self.answered = (second, 0);
        }
        let Some(seen) = envelope::version_of(bytes) else { return };
        let spoken = alloc::vec![envelope::VERSION];
        let answer = Message::UnknownVersion { seen, spoken };
        let send = self.message(alloc::vec![from.into()], &answer, Class::Immediate);
        let is_short = envelope::datagram_len(&send, &[0]) < bytes.len();
        if is_short && self.answered.1 < VERSIONS_ANSWERED_MAX {
            self.answered.1 += 1;
            self.put(Output::Send(send));
        }
    }

    fn message(&self, to: Vec<Endpoint>, message: &Message, class: Class) -> Send {
        let shared = machine::encode(message);
        Send { to, protocol: Protocol::Node, shared, parts: Vec::new(), class }
    }

    fn dispatch(
        &mut self,
        protocol: Protocol,
        received: Received<'_>,
        now: Now,
    ) -> Result<(), DropReason> {
        match protocol {
            Protocol::Ring => self.ring.handle_input(ring::Input::Message(received), now),
            Protocol::Locality => match &mut self.locality {
                Some(locality) => locality.handle_input(locality::Input::Message(received), now),
                None => Err(DropReason::UnknownProtocol),
            },
            Protocol::Metrics => self.measure(metrics::Input::Message(received), now),
            Protocol::Somo => match &mut self.somo {
                Some(somo) => somo.handle_input(somo::Input::Message(received), now),
                None => Err(DropReason::UnknownProtocol),
            },
            Protocol::Delivery => self.deliver(delivery::Input::Message(received), now),
            Protocol::Sessions => self.plan(sessions::Input::Message(received), now),
            Protocol::Node => self.handle_own(received, now),
        }
    }

    /// What nodes tell each other.
    fn handle_own(&mut self, received: Received<'_>, now: Now) -> Result<(), DropReason> {
        let message = machine::decode(received.message).ok_or(DropReason::Malformed)?;
        match message {
            Message::Piece(piece) => {
                let whole = self.reassembly.accept(received.sender(), piece, now.time)?;
                let Some((protocol, message)) = whole else { return Ok(()) };
                self.dispatch(protocol, Received { message: &message, ..received }, now)
            }
            Message::UnknownVersion { spoken, .. } => {
                let spoken = spoken.into_iter().take(16).collect();
                self.put(Output::Event(Event::SpeaksVersions(received.from.address, spoken)));
                Ok(())
            }
            Message::Probe { nonce } => {
                let answer = Message::Reached { nonce };
                let send = self.message(alloc::vec![received.from], &answer, Class::Immediate);
                self.put(Output::Send(send));
                Ok(())
            }
            Message::Reached { nonce } if self.has_asked(nonce) => {
                self.put(Output::Event(Event::XcastReaches(received.from)));
                Ok(())
            }
            Message::Reached { .. } => Err(DropReason::Malformed),
        }
    }

    fn probe(&mut self, to: Vec<Endpoint>, now: Now) {
        let fresh = |(_, since): &(u64, Time)| now.time.since(*since) < NONCE_HOLDS;
        let (nonce, since) = match self.nonces[0].filter(fresh) {
            Some(current) => current,
            None => (self.random.number(), now.time),
        };
        if self.nonces[0] != Some((nonce, since)) {
            self.nonces = [Some((nonce, since)), self.nonces[0]];
        }
        let probe = self.message(to, &Message::Probe { nonce }, Class::Probe);
        self.send(probe, now.time);
    }

    /// Whether one of the last probes said so.
    fn has_asked(&self, nonce: u64) -> bool {
        self.nonces.iter().flatten().any(|(asked, _)| *asked == nonce)
    }

    /// Lets all machines say what they have to say, until they are quiet.
    fn drain(&mut self, now: Now) {
        self.drain_ring(now);
        while self.drain_sessions(now) {
            self.drain_ring(now);
        }
        while let Some(output) = self.metrics.as_deref_mut().and_then(Metrics::poll_output) {
            self.take(output, Event::Metrics, now);
        }
        while let Some(output) = self.locality.as_mut().and_then(Locality::poll_output) {
            self.take(output, Event::Locality, now);
        }
        while let Some(send) = self.queue.poll_output() {
            self.put(Output::Send(send));
        }
    }

    fn take<E>(&mut self, output: Output<E>, event: impl Fn(E) -> Event, now: Now) {
        match output {
            Output::Send(send) => self.send(send, now.time),
            Output::Pair { to, size, protocol, message } => {
                self.put(Output::Pair { to, size, protocol, message });
            }
            Output::Store { key, bytes } => self.put(Output::Store { key, bytes }),
            Output::Event(news) => self.put(Output::Event(event(news))),
        }
    }
}

/// Whether a record of a swap is signed by both.
pub fn is_proved(record: &SwapRecord) -> bool {
    record.is_proved(seal::verify)
}

/// How long an answer to a probe holds: Xcast is used towards who has answered in this time.
pub const XCAST_HOLDS: Duration = Duration::from_secs(15);

mod layers;
mod leaving;
mod planned;

pub use layers::POSITION_KEY;
use planned::Planned;

#[cfg(test)]
mod tests;

//! What peers measure of their network for those above (seed 003 paragraphs 0073 to 0077): where each
//! stands, so that anybody can predict the latency of any two, and how fast its own links are.
//!
//! 1. **Delays** (`delays`): now and then some neighbors of the leaf set are drawn and measured by one
//!    message to all of them. The seed has heartbeats acknowledged at random; these wait in the queue
//!    to leave with others, so a measurement is a message of its own, which leaves and is answered at
//!    once.
//! 2. **Coordinate** (`delays`): it is fitted to the measured delays and to where neighbors say in
//!    their heartbeats that they stand, again and again. A newcomer stands nowhere until it has
//!    measured its neighbors; among peers that are all new the owner of key 0 stands at the origin, and
//!    from there places are found one after another.
//! 3. **Pairs** (`pairs`): two long packets back to back, to a neighbor drawn at random. It measures
//!    how far apart they come, and tells in its next heartbeat.
//!
//! Neighbors can lie: of where they stand, which the sum of absolute errors bears of a few, and of
//! pairs, which the maximum does not. Nobody's links should be given to a use by what they seem alone.

mod config;
mod delays;
mod message;
mod pairs;
mod table;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use config::Config;

use crate::bandwidth;
use crate::contact::{Contact, Endpoint};
use crate::coordinates::{Coordinate, error};
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{self, Outbox, Output, Received};
use crate::random::Random;
use crate::ring::Ring;
use crate::time::{Now, Time};
use delays::Question;
use message::{Message, Slot, Told};
use table::Table;

/// Under which name it stores where it stands.
pub const STORE_KEY: &str = "metrics";
/// The tag of its slot in heartbeats.
pub const SLOT_TAG: u8 = 3;
/// The stream of a seed that it draws from.
const RANDOM_STREAM: u64 = 0x6d65_7472;

/// What goes in.
pub enum Input<'a> {
    /// A message has come.
    Message(Received<'a>),
    /// A neighbor's heartbeat has a slot of [`SLOT_TAG`].
    Slot {
        /// The neighbor.
        from: Endpoint,
        /// What it says.
        bytes: &'a [u8],
    },
    /// The leaf set is another.
    NeighborsChanged,
}

/// What it tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// It has found its place, which moves a little from now on.
    Placed(Coordinate),
}

/// What a peer knows of itself and its neighbors.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsView {
    /// Where it stands, milliseconds on each axis, if it does.
    pub at: Option<Coordinate>,
    /// How many of the axes there are.
    pub dimensions: usize,
    /// By how much predicted delays to neighbors are off, milliseconds in the mean.
    pub error: Option<f64>,
    /// Its bottleneck bandwidth to others, kilobits a second.
    pub up: Option<u32>,
    /// The same from others.
    pub down: Option<u32>,
    /// Its neighbors, clockwise.
    pub neighbors: Vec<NeighborView>,
}

/// One neighbor.
#[derive(Clone, Debug, PartialEq)]
pub struct NeighborView {
    /// Who it is.
    pub contact: Contact,
    /// Where it says that it stands.
    pub at: Option<Coordinate>,
    /// The smallest of the last delays there and back, milliseconds.
    pub delay: Option<f64>,
    /// The median of the last pairs to it, kilobits a second.
    pub up: Option<u32>,
    /// The same from it.
    pub down: Option<u32>,
    /// Of how many pairs these are the medians.
    pub pairs: (usize, usize),
}

/// What one peer measures. Every call gets the ring, whose leaf set and heartbeats it uses.
pub struct Metrics {
    config: Config,
    me: PeerId,
    random: Random,
    out: Outbox<Event>,
    /// Where it stands, or stood before a restart.
    at: Coordinate,
    placed: bool,
    table: Table,
    questions: Vec<Question>,
    /// Of pairs that have come, newest last.
    told: Vec<Told>,
    timers: Timers,
}

/// When what happens now and then happens next.
#[derive(Clone, Copy, Debug)]
struct Timers {
    /// Who is new is measured.
    ask: Time,
    /// Some are measured, and the coordinate is fitted.
    round: Time,
    /// A newcomer's first round is not later than this, however its neighbors change.
    settled: Option<Time>,
    pair: Time,
    /// The coordinate may be stored again.
    store: Time,
}

impl Metrics {
    /// Nowhere yet; `restored` is what it had stored.
    pub fn new(
        config: Config,
        me: PeerId,
        restored: Option<&[u8]>,
        seed: u64,
        now: Now,
    ) -> Metrics {
        let config = config.bounded();
        let mut random = Random::new(seed, RANDOM_STREAM);
        let stood: Option<message::Place> = restored.and_then(machine::decode);
        let stood = stood.and_then(|place| message::read(&place, config.fit.dimensions));
        let interval = config.pair_interval;
        let timers = Timers {
            ask: Time::NEVER,
            round: now.time + random.up_to(config.interval),
            settled: None,
            pair: interval.map_or(Time::NEVER, |interval| now.time + random.up_to(interval)),
            store: now.time,
        };
        Metrics {
            config,
            me,
            random,
            out: Outbox::default(),
            at: stood.unwrap_or(Coordinate::ORIGIN),
            placed: false,
            table: Table::default(),
            questions: Vec::new(),
            told: Vec::new(),
            timers,
        }
    }

    /// Takes an input.
    ///
    /// # Errors
    /// A message, or a slot, is dropped.
    pub fn handle_input(
        &mut self,
        input: Input<'_>,
        ring: &mut Ring,
        now: Now,
    ) -> Result<(), DropReason> {
        match input {
            Input::Message(received) => self.handle_message(&received, ring),
            Input::Slot { from, bytes } => self.heard(from, bytes),
            Input::NeighborsChanged => {
                self.neighbors_changed(ring, now.time);
                Ok(())
            }
        }
    }

    /// The moment of [`poll_timeout`](Metrics::poll_timeout) has come.
    pub fn handle_timeout(&mut self, ring: &mut Ring, now: Now) {
        if self.timers.ask <= now.time {
            self.timers.ask = Time::NEVER;
            self.measure(false, now.time);
        }
        if self.timers.round <= now.time {
            self.round(ring, now);
        }
        if self.timers.pair <= now.time {
            self.send_pair(now.time);
        }
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.poll()
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let Timers { ask, round, pair, .. } = self.timers;
        let all = [(ask, "new neighbors"), (round, "coordinate"), (pair, "pair")];
        all.into_iter().min_by_key(|(at, _)| *at).filter(|(at, _)| *at != Time::NEVER)
    }

    /// Where it stands, milliseconds on each axis: the distance of two is their latency there and
    /// back. `None` before it has found its place.
    pub fn coordinate(&self) -> Option<Coordinate> {
        self.placed.then_some(self.at)
    }

    /// Its bottleneck bandwidth to others and from others, kilobits a second, as far as it is known:
    /// the largest of the medians of all neighbors.
    pub fn bandwidth(&self) -> (Option<u32>, Option<u32>) {
        let (all, least) = (self.table.all(), self.config.pairs_min);
        let up = bandwidth::estimate(all.iter().map(|neighbor| &neighbor.up), least);
        let down = bandwidth::estimate(all.iter().map(|neighbor| &neighbor.down), least);
        (up, down)
    }

    /// All of it.
    pub fn view(&self) -> MetricsView {
        let measured = self.table.measured();
        let mean = |at: Coordinate| error(&at, &measured) / measured.len() as f64;
        let (up, down) = self.bandwidth();
        MetricsView {
            at: self.coordinate(),
            dimensions: self.config.fit.dimensions,
            error: self.coordinate().filter(|_| !measured.is_empty()).map(mean),
            up,
            down,
            neighbors: self.table.views(),
        }
    }

    fn handle_message(
        &mut self,
        received: &Received<'_>,
        ring: &mut Ring,
    ) -> Result<(), DropReason> {
        match machine::decode(received.message).ok_or(DropReason::Malformed)? {
            Message::Measure { nonce } => self.answer(nonce, received.from),
            Message::Measured { nonce, at } => self.answered(nonce, at, received)?,
            Message::Pair { number } => self.pair_came(number, received, ring),
        }
        Ok(())
    }

    /// A neighbor's heartbeat tells where it stands, and of pairs.
    fn heard(&mut self, from: Endpoint, bytes: &[u8]) -> Result<(), DropReason> {
        let slot: Slot = machine::decode(bytes).ok_or(DropReason::Malformed)?;
        if slot.pairs.len() > message::TOLD_MAX {
            return Err(DropReason::Oversized);
        }
        let dimensions = self.config.fit.dimensions;
        let Some(neighbor) = self.table.find_mut(from.id.unwrap_or_default()) else {
            return Ok(()); // It is too new.
        };
        neighbor.speaks = true;
        neighbor.at = slot.at.and_then(|place| message::read(&place, dimensions));
        let told = |told: &&Told| told.tag == self.me.tag() && neighbor.sent == Some(told.number);
        if let Some(told) = slot.pairs.iter().find(told) {
            neighbor.sent = None;
            neighbor.up.add(told.kilobits);
        }
        Ok(())
    }

    /// What heartbeats say from now on.
    fn publish(&self, ring: &mut Ring) {
        let at = self.placed.then(|| message::emit(&self.at, self.config.fit.dimensions));
        let slot = Slot { at, pairs: self.told.clone() };
        ring.set_slot(SLOT_TAG, machine::encode(&slot));
    }
}

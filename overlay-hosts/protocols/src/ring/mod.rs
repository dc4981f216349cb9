//! The DHT (seed 003 paragraphs 0041 to 0044): a ring of 2^160 places, of which each peer owns those
//! from its predecessor's, without it, to its own.
//!
//! 1. **Join** (`membership`): ping who is known, look up the owner of one's own place, ask it;
//!    it gives its leaf set, which is told of the newcomer.
//! 2. **Leaf set** (`leaf_set`, `liveness`): r neighbors on each side. One heartbeat to all of
//!    them is one output, and carries a digest of the sender's leaf set; who has seen another asks
//!    for it. A peer heard of from others is pinged before it is believed in; one that is silent,
//!    or that somebody reports, is pinged before it is given up, and then reported in turn. Who has
//!    lost all predecessors looks for them by its fingers (`zone`).
//! 3. **Lookup** (`routing`, `lookup`): iterative. Who looks something up asks one peer after
//!    the other, each names nearer ones, and the last answer is the owner's own: a dead owner never
//!    answers. Who does not answer is named in the next question; its heir pings it at once, and
//!    takes over within two timeouts.
//! 4. **Storage** (`requests`, `storage`, `replication`): an owner holds a record together
//!    with its next successors; holders compare digests of ranges, and send what differs.
//! 5. **Split and heal** (`liveness`): peers that have gone are pinged now and then; one that is
//!    back is asked for the owner of one's own place, and if that is somebody else there are two
//!    rings, which grow together from there.
//!
//! Routing is Chord's fingers, not Pastry's rows: their 0.5 log2 N hops need log2 N peers (17 at
//! 100,000; Pastry 60 and more), and going clockwise they end at the peer whose zone is
//! (predecessor, itself], which is the zone that the seed defines.

mod config;
mod fingers;
mod leaf_set;
mod liveness;
mod lookup;
mod membership;
mod message;
mod news;
mod replication;
mod requests;
mod round_trip;
mod routing;
mod storage;
mod view;
mod zone;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

pub use config::*;
pub use message::Refusal;
pub use news::{Command, Event, Failure};
pub use storage::Record;
pub use view::{LeafView, RingView};

use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::id::{PeerId, RingId};
use crate::machine::{Class, Outbox, Output, Protocol, Received};
use crate::random::Random;
use crate::time::{Now, Time};
use fingers::Fingers;
use leaf_set::LeafSet;
use liveness::Check;
use lookup::Lookup;
use membership::State;
use message::{Message, Slot};
use replication::Transfer;
use requests::Request;
use round_trip::RoundTrip;
use storage::Store;

/// Under which name it stores what it wants to keep: contacts to join by after a restart.
pub const STORE_KEY: &str = "ring";

/// What goes in.
pub enum Input<'a> {
    /// A message has come.
    Message(Received<'a>),
    /// Somebody wants something.
    Command(Command),
}

/// One peer's place on the ring.
pub struct Ring {
    config: Config,
    me: Contact,
    position: RingId,
    random: Random,
    out: Outbox<Event>,
    nonce: u32,
    state: State,
    leaves: LeafSet,
    /// Where its zone begins.
    after: RingId,
    fingers: Fingers,
    round_trip: RoundTrip,
    slots: Vec<Slot>,
    checks: Vec<Check>,
    lookups: Vec<Lookup>,
    requests: Vec<Request>,
    transfers: Vec<Transfer>,
    store: Store,
    boot: Vec<SocketAddr>,
    /// Peers that were known and are gone, to be pinged now and then.
    lost: VecDeque<Contact>,
    /// Who has gone lately, and until when nobody's word is taken that it is there.
    gone: VecDeque<(PeerId, Time)>,
    timers: Timers,
    /// The leaf set has changed since all were told.
    announce: bool,
    /// Fingers are looked up one after the other until all are there.
    filling: bool,
    /// A sum of the contacts that were stored last.
    kept: u32,
}

/// When what happens periodically happens next.
#[derive(Clone, Debug)]
struct Timers {
    heartbeat: Time,
    finger: Time,
    /// When a side that is lost is looked for.
    seek: Time,
    probe: Time,
    repair: Time,
    cache: Time,
}

impl Ring {
    /// Not part of any ring yet; `restored` is what it had stored.
    pub fn new(config: Config, me: Contact, restored: Option<&[u8]>, seed: u64, now: Now) -> Ring {
        let config = config.bounded();
        let position = me.position();
        let mut random = Random::new(seed, 1);
        let lost = liveness::restore(restored, me.id);
        let never = Time::NEVER;
        Ring {
            position,
            nonce: random.number() as u32,
            random,
            out: Outbox::default(),
            state: State::Outside,
            leaves: LeafSet::new(position, config.half()),
            after: position,
            fingers: Fingers::new(position),
            round_trip: RoundTrip::new(config.hop_timeout),
            slots: Vec::new(),
            checks: Vec::new(),
            lookups: Vec::new(),
            requests: Vec::new(),
            transfers: Vec::new(),
            store: Store::new(config.keys_max, config.bytes_max),
            boot: Vec::new(),
            lost,
            gone: VecDeque::new(),
            timers: Timers {
                heartbeat: never,
                finger: never,
                seek: never,
                probe: never,
                repair: never,
                cache: now.time,
            },
            announce: false,
            filling: false,
            kept: 0,
            config,
            me,
        }
    }

    /// Stands at another position from now on, as `me` proves, with all that it knew of others; it has
    /// to have left, and to join again.
    pub(crate) fn stand_at(&mut self, me: Contact, now: Now) {
        let seed = self.random.number();
        let mut ring = Ring::new(self.config.clone(), me, None, seed, now);
        ring.lost = core::mem::take(&mut self.lost);
        ring.slots = core::mem::take(&mut self.slots);
        core::mem::swap(&mut ring.out, &mut self.out);
        *self = ring;
    }

    /// Where it stands.
    pub fn position(&self) -> RingId {
        self.position
    }

    /// Takes an input.
    ///
    /// # Errors
    /// A message is dropped.
    pub fn handle_input(&mut self, input: Input<'_>, now: Now) -> Result<(), DropReason> {
        match input {
            Input::Message(received) => self.handle_message(&received, now),
            Input::Command(command) => {
                self.handle_command(command, now);
                Ok(())
            }
        }
    }

    /// The moment of [`poll_timeout`](Ring::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.join_timeout(now);
        self.check_timeouts(now.time);
        self.request_timeouts(now);
        self.transfer_timeouts(now.time);
        self.lookup_timeouts(now);
        if self.timers.heartbeat <= now.time {
            self.beat(now.time);
        }
        if self.timers.finger <= now.time {
            self.refresh_finger(now);
        }
        if self.timers.seek <= now.time {
            self.seek_predecessor(now);
        }
        if self.timers.probe <= now.time {
            self.probe_lost(now.time);
        }
        if self.timers.repair <= now.time {
            self.repair(now);
        }
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.poll()
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let periodic = [
            (self.timers.heartbeat, "heartbeat"),
            (self.timers.finger, "finger"),
            (self.timers.seek, "seek"),
            (self.timers.probe, "probe"),
            (self.timers.repair, "repair"),
            (self.state.due(), "join or leave"),
        ];
        let checks = self.checks.iter().map(|check| (check.due, "ping"));
        let lookups = self.lookups.iter().map(|lookup| (lookup.wake, "lookup"));
        let requests = self.requests.iter().map(|request| (request.due, "request"));
        let transfers = self.transfers.iter().map(|transfer| (transfer.due, "transfer"));
        let all = checks.chain(lookups).chain(requests).chain(transfers);
        let first = all.chain(periodic).min_by_key(|(at, _)| *at);
        first.filter(|(at, _)| *at != Time::NEVER)
    }

    fn handle_command(&mut self, command: Command, now: Now) {
        match command {
            Command::Join(boot) => self.join(boot, now),
            Command::Leave => self.leave(now.time),
            Command::Preset { leaves, fingers } => self.preset(&leaves, &fingers, now.time),
            Command::Lookup { request, key } => {
                self.look_up(key, lookup::Goal::User { request }, now);
            }
            Command::Insert { request, key, value } => {
                if value.len() > VALUE_LEN_MAX {
                    let reason = Failure::Refused(Refusal::TooLong);
                    self.out.event(Event::Failed { request, key, reason });
                    return;
                }
                self.look_up(key, lookup::Goal::Insert { request, value, tries: 0 }, now);
            }
            Command::Delete { request, key } => {
                let value = Vec::new();
                self.look_up(key, lookup::Goal::Insert { request, value, tries: 0 }, now);
            }
            Command::Get { request, key } => {
                self.look_up(key, lookup::Goal::Get { request, tries: 0 }, now);
            }
            Command::Direct { request, key, host } => self.direct(request, key, host, now.time),
            Command::SetSlot { tag, bytes } => self.set_slot(tag, bytes),
        }
    }

    /// What heartbeats say for a layer above from now on; empty: nothing any more.
    pub fn set_slot(&mut self, tag: u8, bytes: Vec<u8>) {
        self.slots.retain(|slot| slot.tag != tag);
        if !bytes.is_empty() && bytes.len() <= SLOT_LEN_MAX && self.slots.len() < SLOTS_MAX {
            self.slots.push(Slot { tag, bytes });
        }
    }

    fn handle_message(&mut self, received: &Received<'_>, now: Now) -> Result<(), DropReason> {
        let message: Message =
            crate::machine::decode(received.message).ok_or(DropReason::Malformed)?;
        if !message.is_bounded() {
            return Err(DropReason::Oversized);
        }
        let from = received.from;
        if let Some(contact) = message.sender() {
            if !contact.speaks_from(&from) {
                return Err(DropReason::Malformed);
            }
            self.is_acceptable(contact)?;
        }
        if let Some(leaf) = self.leaves.find_mut(received.sender()) {
            leaf.heard = now.time;
        }
        match message {
            Message::Heartbeat { digest, slots } => self.heard(from, digest, slots),
            Message::Leaves { digest, again, me, leaves } => {
                self.learn_leaves(&me, digest, again, &leaves, now.time)?;
            }
            Message::AskLeaves { me } => self.tell_leaves(&me, from, now.time),
            Message::Ping { nonce, me } => self.answer_ping(nonce, &me, from, now.time),
            Message::Pong { nonce, joined, me } => self.answered(nonce, joined, &me, now),
            Message::Suspect { peers } => {
                peers.into_iter().for_each(|peer| self.suspect(peer, now.time));
            }
            Message::FindOwner { nonce, key, dead } => self.direct_to(from, nonce, key, &dead, now),
            Message::Owner { nonce, me } => self.owner_answered(nonce, me, now),
            Message::Route { nonce, checking, nodes } => {
                self.route_answered(nonce, received.sender(), checking, &nodes, now);
            }
            Message::Join { nonce, me } => self.welcome(nonce, &me, from, now.time),
            Message::Welcome { nonce, me, leaves, fingers } => {
                self.welcomed(nonce, &me, &leaves, &fingers, now);
            }
            Message::Leave { nonce } => self.left(nonce, from, now.time),
            Message::Farewell { nonce } => self.bidden_farewell(nonce, received.sender()),
            storage => self.handle_storage(storage, from, now)?,
        }
        Ok(())
    }

    /// What is asked and answered about records.
    fn handle_storage(
        &mut self,
        message: Message,
        from: Endpoint,
        now: Now,
    ) -> Result<(), DropReason> {
        let sender = from.id.unwrap_or_default();
        match message {
            Message::Put { nonce, key, value } => self.put(nonce, key, value, from, now),
            Message::Get { nonce, key } => self.give(nonce, key, from),
            Message::Done { nonce, version, copies } => {
                self.put_done(nonce, sender, version, copies)
            }
            Message::Refused { nonce, why } => self.put_refused(nonce, sender, why, now),
            Message::Value { nonce, record, holders } => {
                self.value_came(nonce, sender, record, &holders, now)?;
            }
            Message::Store { nonce, records } => self.hold(nonce, records, from, now),
            Message::Stored { nonce, full } => self.transfer_answered(nonce, sender, full),
            Message::Sync { range, digest } => self.compare(range, digest, from),
            Message::Holding { range, end, entries } => {
                self.settle(range, end, &entries, from, now.time);
            }
            Message::Want { keys } => self.send_wanted(&keys, sender, now.time),
            _ => return Err(DropReason::Malformed),
        }
        Ok(())
    }

    /// Whether a contact may be believed.
    fn is_acceptable(&self, contact: &Contact) -> Result<(), DropReason> {
        match contact.is_acceptable(crate::node::is_proved) {
            true => Ok(()),
            false if contact.swap.is_some() => Err(DropReason::UnprovedPosition),
            false => Err(DropReason::Malformed),
        }
    }

    fn next_nonce(&mut self) -> u32 {
        self.nonce = self.nonce.wrapping_add(1 + (self.random.number() as u32 & 0xffff));
        self.nonce
    }

    fn send(&mut self, to: Endpoint, message: &Message, class: Class) {
        self.out.send(alloc::vec![to], Protocol::Ring, message, class);
    }

    fn send_all(&mut self, to: Vec<Endpoint>, message: &Message, class: Class) {
        self.out.send(to, Protocol::Ring, message, class);
    }
}

#[cfg(test)]
mod tests;

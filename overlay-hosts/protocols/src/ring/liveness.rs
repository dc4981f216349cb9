//! Who is there: heartbeats, pings before anybody is believed in or given up, and the peers that
//! have gone and may be back.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::config::{CHECKS_MAX, LOST_MAX};
use super::leaf_set::{Inserted, LeafSet};
use super::lookup::Goal;
use super::membership::State;
use super::message::{Message, Slot};
use super::{Event, Ring, STORE_KEY};
use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{self, Class};
use crate::time::{Now, Time};

/// How often what is known of others is stored, at most.
const STORE_INTERVAL: Duration = Duration::from_secs(30);
/// Peers kept over a restart.
const STORED_MAX: usize = 16;
/// Peers of whom is remembered that they have just gone.
const GONE_MAX: usize = 32;

/// A ping that is to be answered.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) contact: Contact,
    pub(super) due: Time,
    nonce: u32,
    sent: Time,
    attempt: u8,
    purpose: Purpose,
}

/// Why a peer is pinged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// It is in the leaf set, and silent.
    Silent,
    /// Somebody says that it belongs into the leaf set.
    Named,
    /// It was gone.
    Lost,
    /// It may stand next to this peer, which has lost that side.
    Next,
}

/// What was stored: contacts, of which those that cannot be believed are left out.
pub(super) fn restore(stored: Option<&[u8]>, me: PeerId) -> VecDeque<Contact> {
    let contacts: Vec<Contact> = stored.and_then(machine::decode).unwrap_or_default();
    let is_good =
        |contact: &Contact| contact.id != me && contact.is_acceptable(crate::node::is_proved);
    contacts.into_iter().filter(is_good).take(LOST_MAX).collect()
}

impl Ring {
    /// Tells the leaf set that this peer is there, and looks who of it is silent.
    pub(super) fn beat(&mut self, now: Time) {
        // From when it was due: where timers come late, heartbeats are as many all the same.
        let next = self.timers.heartbeat + self.config.heartbeat;
        self.timers.heartbeat = if next > now { next } else { now + self.config.heartbeat };
        if core::mem::take(&mut self.announce) {
            // First, or who hears the new digest would ask for it.
            self.announce_to(self.leaves.endpoints(), true, Class::Queued);
        }
        let heartbeat =
            Message::Heartbeat { digest: self.leaves.digest(), slots: self.slots.clone() };
        self.send_all(self.leaves.endpoints(), &heartbeat, Class::Queued);
        let patience = self.config.heartbeat * self.config.missed;
        let is_silent = |heard: Time| now.since(heard) > patience;
        let silent: Vec<PeerId> = self
            .leaves
            .all()
            .iter()
            .filter(|leaf| is_silent(leaf.heard))
            .map(|leaf| leaf.contact.id)
            .collect();
        silent.into_iter().for_each(|peer| self.suspect(peer, now));
        self.settle_zone(now);
        self.keep_contacts(now);
    }

    /// This peer's leaf set, to some.
    pub(super) fn announce_to(&mut self, to: Vec<Endpoint>, again: bool, class: Class) {
        let leaves = Message::Leaves {
            digest: self.leaves.digest(),
            again,
            me: self.me.clone(),
            leaves: self.leaves.contacts(),
        };
        self.send_all(to, &leaves, class);
    }

    /// A heartbeat has come.
    pub(super) fn heard(&mut self, from: Endpoint, digest: u32, slots: Vec<Slot>) {
        if !self.is_member() {
            return;
        }
        let leaf = self.leaves.find(from.id.unwrap_or_default());
        let (is_neighbor, is_known) =
            (leaf.is_some(), leaf.is_some_and(|leaf| leaf.digest == digest));
        if !is_known {
            // Of a stranger, too: it takes this peer for a neighbor, so one of both should learn.
            self.send(from, &Message::AskLeaves { me: self.me.clone() }, Class::Queued);
        }
        for Slot { tag, bytes } in slots.into_iter().filter(|_| is_neighbor) {
            self.out.event(Event::SlotHeard { from, tag, bytes });
        }
    }

    /// Somebody wants to know the leaf set.
    pub(super) fn tell_leaves(&mut self, asker: &Contact, from: Endpoint, now: Time) {
        if self.is_member() {
            self.meet(asker, now);
            self.announce_to(alloc::vec![from], false, Class::Queued);
        }
    }

    /// A peer tells its leaf set.
    pub(super) fn learn_leaves(
        &mut self,
        sender: &Contact,
        digest: u32,
        again: bool,
        leaves: &[Contact],
        now: Time,
    ) -> Result<(), DropReason> {
        if !self.is_member() {
            return Ok(());
        }
        self.meet(sender, now);
        if let Some(leaf) = self.leaves.find_mut(sender.id) {
            leaf.digest = digest;
        }
        if !again && self.knows_better(sender, leaves, now) {
            let to = sender.endpoint();
            self.announce_to(alloc::vec![to], true, Class::Queued);
        }
        let named = leaves.iter().try_for_each(|contact| self.is_acceptable(contact));
        self.consider(leaves, now);
        named
    }

    /// Whether this peer knows somebody who belongs into another's leaf set and is not there.
    fn knows_better(&self, other: &Contact, leaves: &[Contact], now: Time) -> bool {
        let mut theirs = LeafSet::new(other.position(), self.config.half());
        for leaf in leaves {
            theirs.insert(leaf, now);
        }
        let mine = self.leaves.all().iter().map(|leaf| &leaf.contact).chain([&self.me]);
        let mut missing = mine.filter(|contact| contact.id != other.id);
        missing
            .any(|contact| theirs.find(contact.id).is_none() && theirs.admits(contact.position()))
    }

    /// Others say that these are there: who belongs into the leaf set is pinged.
    pub(super) fn consider(&mut self, contacts: &[Contact], now: Time) {
        self.gone.retain(|(_, until)| *until > now);
        let mut fresh = Vec::new();
        for contact in contacts {
            let is_wanted = contact.id != self.me.id
                && self.leaves.find(contact.id).is_none()
                && self.leaves.admits(contact.position())
                && !self.gone.iter().any(|(id, _)| *id == contact.id)
                && self.is_acceptable(contact).is_ok();
            if is_wanted {
                fresh.push(contact.clone());
            }
        }
        self.ping(fresh, Purpose::Named, now);
    }

    /// A leaf may be gone: it is pinged, and has two timeouts to answer.
    pub(super) fn suspect(&mut self, peer: PeerId, now: Time) {
        if let Some(leaf) = self.leaves.find(peer) {
            let contact = leaf.contact.clone();
            self.ping(alloc::vec![contact], Purpose::Silent, now);
        }
    }

    /// Somebody may stand next to this peer: if so, each is to know the other's leaf set.
    pub(super) fn ask_to_be_next(&mut self, contact: Contact, now: Time) {
        self.ping(alloc::vec![contact], Purpose::Next, now);
    }

    /// Pings them all by one output.
    fn ping(&mut self, contacts: Vec<Contact>, purpose: Purpose, now: Time) {
        let nonce = self.next_nonce();
        let due = now + self.round_trip.timeout();
        // Whoever names many that are not there leaves room for neighbors that are silent.
        let room = if purpose == Purpose::Named { CHECKS_MAX / 2 } else { CHECKS_MAX };
        let mut to = Vec::new();
        for contact in contacts {
            if let Some(check) = self.checks.iter_mut().find(|c| c.contact.id == contact.id) {
                if purpose == Purpose::Silent {
                    check.purpose = purpose;
                }
            } else if self.checks.len() < room {
                to.push(contact.endpoint());
                self.checks.push(Check { contact, due, nonce, sent: now, attempt: 0, purpose });
            }
        }
        self.send_all(to, &Message::Ping { nonce, me: self.me.clone() }, Class::Immediate);
    }

    /// Answers a ping.
    pub(super) fn answer_ping(&mut self, nonce: u32, sender: &Contact, from: Endpoint, now: Time) {
        let joined = self.is_member();
        // Who is pinging may be joining, so it is no neighbor yet.
        if joined && self.leaves.find(sender.id).is_some() {
            self.meet(sender, now);
        }
        let pong = Message::Pong { nonce, joined, me: self.me.clone() };
        self.send(from, &pong, Class::Immediate);
    }

    /// A ping is answered; answers that nobody has asked for are nothing.
    pub(super) fn answered(&mut self, nonce: u32, joined: bool, sender: &Contact, now: Now) {
        if let State::Joining(_) = self.state {
            return self.boot_answered(nonce, joined, sender, now);
        }
        let is_it = |check: &Check| check.nonce == nonce && check.contact.id == sender.id;
        let Some(index) = self.checks.iter().position(is_it) else { return };
        let check = self.checks.swap_remove(index);
        if check.attempt == 0 {
            self.round_trip.measured(now.time.since(check.sent));
        }
        self.lost.retain(|contact| contact.id != sender.id);
        self.gone.retain(|(id, _)| *id != sender.id);
        if !joined || !self.is_member() {
            return self.forget(sender.id, now.time);
        }
        self.meet(sender, now.time);
        if let Some(leaf) = self.leaves.find_mut(sender.id) {
            leaf.confirmed = now.time;
        }
        match check.purpose {
            Purpose::Lost => {
                let first = alloc::vec![sender.clone()];
                self.look_up_from(first, self.position, Goal::Merge, now);
            }
            Purpose::Next => {
                let ask = Message::AskLeaves { me: self.me.clone() };
                self.send(sender.endpoint(), &ask, Class::Immediate);
            }
            Purpose::Silent | Purpose::Named => {}
        }
    }

    /// A peer has said itself that it is part of the ring.
    pub(super) fn meet(&mut self, contact: &Contact, now: Time) {
        self.gone.retain(|(id, _)| *id != contact.id);
        if self.leaves.insert(contact, now) == Inserted::Added {
            self.neighbors_changed(now);
        }
        self.fingers.offer(contact, self.leaves.reach());
    }

    /// Pings that are not answered in time.
    pub(super) fn check_timeouts(&mut self, now: Time) {
        while let Some(index) = self.checks.iter().position(|check| check.due <= now) {
            let mut check = self.checks.swap_remove(index);
            let others = check.contact.others.as_ref().map_or(0, |others| others.len());
            check.attempt += 1;
            if usize::from(check.attempt) >= 2.max(1 + others) {
                self.give_up(check.contact, check.purpose, now);
                continue;
            }
            check.due = now + self.round_trip.timeout();
            let to = check.contact.endpoint_for(usize::from(check.attempt));
            let ping = Message::Ping { nonce: check.nonce, me: self.me.clone() };
            self.send(to, &ping, Class::Repeated);
            self.checks.push(check);
        }
    }

    fn give_up(&mut self, contact: Contact, purpose: Purpose, now: Time) {
        let id = contact.id;
        self.is_gone(id, now);
        self.fingers.remove(id);
        if purpose == Purpose::Silent {
            self.remember_lost(contact);
        }
        if purpose == Purpose::Silent && self.leaves.find(id).is_some() {
            self.out.event(Event::Departed(id));
            self.forget(id, now);
            let suspect = Message::Suspect { peers: alloc::vec![id] };
            self.send_all(self.leaves.endpoints(), &suspect, Class::Immediate);
        }
    }

    /// Nobody's word is taken for a while that it is there, but its own.
    pub(super) fn is_gone(&mut self, id: PeerId, now: Time) {
        if self.gone.len() >= GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back((id, now + self.config.heartbeat * self.config.missed));
    }

    pub(super) fn remember_lost(&mut self, contact: Contact) {
        self.lost.retain(|lost| lost.id != contact.id);
        if self.lost.len() >= LOST_MAX {
            // Any one, or many that go together would push out who is on the other side of a split.
            let place = self.random.below(self.lost.len() as u64) as usize;
            self.lost.remove(place);
        }
        self.lost.push_back(contact);
    }

    /// A peer is not part of the ring any more: others are sought in its place.
    pub(super) fn forget(&mut self, id: PeerId, now: Time) {
        self.fingers.remove(id);
        if self.leaves.remove(id).is_none() {
            return;
        }
        if !self.is_member() {
            return;
        }
        self.neighbors_changed(now);
        let ask = Message::AskLeaves { me: self.me.clone() };
        self.send_all(self.leaves.ends(), &ask, Class::Immediate);
        if self.leaves.len() < self.config.half() {
            let fingers: Vec<Contact> =
                self.fingers.all().iter().map(|finger| finger.contact.clone()).collect();
            self.consider(&fingers, now);
        }
    }

    /// The leaf set is another.
    pub(super) fn neighbors_changed(&mut self, now: Time) {
        self.announce = true;
        self.settle_zone(now);
        self.repair_soon(now);
        self.out.event(Event::NeighborsChanged);
    }

    /// Pings one of those that have gone.
    pub(super) fn probe_lost(&mut self, now: Time) {
        let interval = self.config.probe_interval;
        self.timers.probe = now + interval / 2 + self.random.up_to(interval);
        let lost: Vec<Contact> = self.lost.iter().cloned().collect();
        if let Some(contact) = self.random.choose(&lost).cloned() {
            self.ping(alloc::vec![contact], Purpose::Lost, now);
        }
    }

    /// Stores whom it knows, if that is others than before and not too soon.
    fn keep_contacts(&mut self, now: Time) {
        if now < self.timers.cache {
            return;
        }
        self.timers.cache = now + STORE_INTERVAL;
        let fingers = self.fingers.all().iter().map(|finger| &finger.contact);
        let leaves = self.leaves.all().iter().map(|leaf| &leaf.contact);
        let known: Vec<&Contact> = fingers.chain(leaves).take(STORED_MAX).collect();
        let sum = known.iter().fold(0u32, |sum, contact| sum.rotate_left(5) ^ contact.id.tag());
        if !known.is_empty() && sum != self.kept {
            self.out.store(STORE_KEY, machine::encode(&known));
            self.kept = sum;
        }
    }
}

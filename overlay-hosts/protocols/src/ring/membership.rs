//! Becoming part of a ring, and leaving it properly.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::config::BOOT_MAX;
use super::lookup::Goal;
use super::message::{FINGERS_MAX, Message};
use super::{Event, Failure, Ring};
use crate::contact::{Contact, Endpoint};
use crate::id::PeerId;
use crate::machine::Class;
use crate::time::{Now, Time};

/// The first wait for somebody to begin a join with; the next are twice as long each, up to
/// [`JOIN_WAIT_MAX`].
const JOIN_WAIT: Duration = Duration::from_millis(1000);
/// See [`JOIN_WAIT`].
const JOIN_WAIT_MAX: Duration = Duration::from_secs(30);
/// Joins that fail before it is told.
const JOIN_TRIES: u32 = 4;
/// Peers that have answered a joining one.
const KNOWN_MAX: usize = 8;
/// How often the leave is said, at most, and before that how often is looked whether all keys are
/// handed over.
const LEAVE_TRIES: u32 = 3;
const HAND_OVER_TRIES: u32 = 20;

/// Whether it is part of a ring.
#[derive(Clone, Debug)]
pub(super) enum State {
    Outside,
    Joining(Join),
    Member,
    Leaving(Leaving),
}

/// A join under way.
#[derive(Clone, Debug)]
pub(super) struct Join {
    nonce: u32,
    due: Time,
    attempt: u32,
    /// Who has answered, and is part of a ring.
    known: Vec<Contact>,
    /// Who owns the place, and was asked.
    asked: Option<PeerId>,
}

/// A leave under way: first keys are handed over, then the leaf set is told.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    nonce: u32,
    due: Time,
    attempt: u32,
    told: bool,
}

impl State {
    pub(super) fn due(&self) -> Time {
        match self {
            State::Joining(join) => join.due,
            State::Leaving(leaving) => leaving.due,
            State::Outside | State::Member => Time::NEVER,
        }
    }
}

impl Ring {
    /// Whether it answers for its zone: until it has told that it leaves.
    pub(super) fn is_member(&self) -> bool {
        match &self.state {
            State::Member => true,
            State::Leaving(leaving) => !leaving.told,
            State::Outside | State::Joining(_) => false,
        }
    }

    pub(super) fn join(&mut self, boot: Vec<SocketAddr>, now: Now) {
        if !matches!(self.state, State::Outside) {
            return;
        }
        let own = self.me.addresses();
        self.boot = boot.into_iter().filter(|address| !own.contains(address)).collect();
        self.boot.truncate(BOOT_MAX);
        if self.boot.is_empty() && self.lost.is_empty() {
            return self.enter(now.time);
        }
        let (known, nonce) = (Vec::new(), self.next_nonce());
        self.state = State::Joining(Join { nonce, due: now.time, attempt: 0, known, asked: None });
        self.join_timeout(now);
    }

    /// Part of the ring from now on.
    fn enter(&mut self, now: Time) {
        self.state = State::Member;
        self.after = self.leaves.predecessor();
        self.settle_zone(now);
        let first = |ring: &mut Ring, interval| now + ring.random.up_to(interval);
        self.timers.heartbeat = first(self, self.config.heartbeat);
        self.timers.finger = first(self, self.config.finger_interval);
        self.timers.probe = first(self, self.config.probe_interval);
        self.timers.repair = first(self, self.config.repair_interval);
        self.out.event(Event::Joined);
    }

    pub(super) fn preset(&mut self, leaves: &[Contact], fingers: &[Contact], now: Time) {
        if !matches!(self.state, State::Outside) {
            return;
        }
        self.take_over(leaves, fingers, now);
        self.enter(now);
    }

    fn take_over(&mut self, leaves: &[Contact], fingers: &[Contact], now: Time) {
        self.leaves.clear();
        for leaf in leaves.iter().filter(|leaf| leaf.id != self.me.id) {
            self.leaves.insert(leaf, now);
        }
        for finger in fingers.iter().chain(leaves).filter(|finger| finger.id != self.me.id) {
            self.fingers.offer(finger, self.leaves.reach());
        }
    }

    /// Somebody of those that a joining peer knows is there.
    pub(super) fn boot_answered(&mut self, nonce: u32, joined: bool, sender: &Contact, now: Now) {
        let State::Joining(join) = &mut self.state else { return };
        let is_new = join.known.iter().all(|known| known.id != sender.id);
        if join.nonce != nonce || !joined || !is_new || join.known.len() >= KNOWN_MAX {
            return;
        }
        join.known.push(sender.clone());
        self.look_up_own_place(now);
    }

    fn look_up_own_place(&mut self, now: Now) {
        let is_under_way = self.lookups.iter().any(|lookup| lookup.goal == Goal::Join);
        if !is_under_way && !self.known().is_empty() {
            if let State::Joining(join) = &mut self.state {
                join.due = now.time + self.config.lookup_timeout;
            }
            self.look_up(self.position, Goal::Join, now);
        }
    }

    /// Who has answered while joining.
    pub(super) fn known(&self) -> &[Contact] {
        match &self.state {
            State::Joining(join) => &join.known,
            _ => &[],
        }
    }

    /// The owner of one's own place is found: it is asked.
    pub(super) fn ask_to_join(&mut self, owner: &Contact, now: Time) {
        let wait = self.round_trip.timeout() * 2;
        let State::Joining(join) = &mut self.state else { return };
        join.asked = Some(owner.id);
        join.due = now + wait;
        let ask = Message::Join { nonce: join.nonce, me: self.me.clone() };
        self.send(owner.endpoint(), &ask, Class::Immediate);
    }

    /// A peer wants to stand in this one's zone.
    pub(super) fn welcome(&mut self, nonce: u32, sender: &Contact, from: Endpoint, now: Time) {
        let is_here = self.owns(sender.position()) && sender.position() != self.position;
        let is_again = self.leaves.all().last().is_some_and(|leaf| leaf.contact.id == sender.id);
        if !self.is_member() || !(is_here || is_again) {
            return;
        }
        let others = |contacts: Vec<Contact>| -> Vec<Contact> {
            contacts.into_iter().filter(|contact| contact.id != sender.id).collect()
        };
        let leaves = others(self.leaves.contacts());
        let fingers = self.fingers.all().iter().map(|finger| finger.contact.clone());
        let fingers = others(fingers.take(FINGERS_MAX).collect());
        let welcome = Message::Welcome { nonce, me: self.me.clone(), leaves, fingers };
        self.send(from, &welcome, Class::Immediate);
        self.meet(sender, now);
    }

    /// This peer is let in.
    pub(super) fn welcomed(
        &mut self,
        nonce: u32,
        sender: &Contact,
        leaves: &[Contact],
        fingers: &[Contact],
        now: Now,
    ) {
        let State::Joining(join) = &self.state else { return };
        if join.nonce != nonce || join.asked != Some(sender.id) {
            return;
        }
        let believed = |contacts: &[Contact]| -> Vec<Contact> {
            contacts.iter().filter(|c| self.is_acceptable(c).is_ok()).cloned().collect()
        };
        let (mut leaves, fingers) = (believed(leaves), believed(fingers));
        leaves.push(sender.clone());
        self.take_over(&leaves, &fingers, now.time);
        self.enter(now.time);
        self.announce_to(self.leaves.endpoints(), false, Class::Immediate);
        self.out.event(Event::NeighborsChanged);
        self.filling = true;
        self.refresh_finger(now);
    }

    /// What a join or a leave waits for has not come.
    pub(super) fn join_timeout(&mut self, now: Now) {
        if self.state.due() > now.time {
            return;
        }
        if let State::Leaving(leaving) = &self.state {
            let leaving = leaving.clone();
            return self.leave_on(leaving, now.time);
        }
        let nonce = self.next_nonce();
        let lost: Vec<Endpoint> = self.lost.iter().map(Contact::endpoint).collect();
        let State::Joining(join) = &mut self.state else { return };
        let wait = (JOIN_WAIT * (1 << join.attempt.min(5))).min(JOIN_WAIT_MAX);
        let wait = wait / 2 + self.random.up_to(wait / 2);
        join.due = now.time + wait;
        join.attempt += 1;
        join.nonce = nonce;
        join.asked = None;
        join.known.clear();
        let has_failed = join.attempt > JOIN_TRIES;
        let mut to: Vec<Endpoint> = self.boot.iter().map(|address| (*address).into()).collect();
        to.extend(lost);
        if has_failed {
            self.out.event(Event::JoinFailed);
        }
        self.lookups.retain(|lookup| lookup.goal != Goal::Join);
        self.send_all(to, &Message::Ping { nonce, me: self.me.clone() }, Class::Immediate);
    }

    pub(super) fn leave(&mut self, now: Time) {
        match self.state {
            State::Member => {}
            State::Joining(_) => return self.end(),
            State::Outside | State::Leaving(_) => return,
        }
        self.hand_over(now);
        let nonce = self.next_nonce();
        self.state = State::Leaving(Leaving { nonce, due: now, attempt: 0, told: false });
        self.leave_on(Leaving { nonce, due: now, attempt: 0, told: false }, now);
    }

    fn leave_on(&mut self, mut leaving: Leaving, now: Time) {
        let is_waiting = !self.transfers.is_empty() && leaving.attempt < HAND_OVER_TRIES;
        if !leaving.told && is_waiting {
            leaving.attempt += 1;
            leaving.due = now + self.round_trip.timeout() / 4;
            self.state = State::Leaving(leaving);
            return;
        }
        let (to, class) = match leaving.told {
            false => (self.leaves.endpoints(), Class::Immediate),
            true => (self.leaves.nearest(), Class::Repeated),
        };
        if !leaving.told {
            (leaving.told, leaving.attempt) = (true, 0);
            self.fall_silent();
        }
        leaving.attempt += 1;
        if to.is_empty() || leaving.attempt > LEAVE_TRIES {
            return self.end();
        }
        self.send_all(to, &Message::Leave { nonce: leaving.nonce }, class);
        leaving.due = now + self.round_trip.timeout();
        self.state = State::Leaving(leaving);
    }

    /// A neighbor leaves.
    pub(super) fn left(&mut self, nonce: u32, from: Endpoint, now: Time) {
        let sender = from.id.unwrap_or_default();
        self.send(from, &Message::Farewell { nonce }, Class::Immediate);
        if self.is_member() {
            self.is_gone(sender, now);
            self.forget(sender, now);
        }
    }

    /// The successor knows that this peer leaves.
    pub(super) fn bidden_farewell(&mut self, nonce: u32, sender: PeerId) {
        let State::Leaving(leaving) = &self.state else { return };
        let successor = self.leaves.all().first().map(|leaf| leaf.contact.id);
        if leaving.told && leaving.nonce == nonce && successor == Some(sender) {
            self.end();
        }
    }

    /// Says no more that it is there: whoever heard that would take it for a member again.
    fn fall_silent(&mut self) {
        self.checks.clear();
        self.announce = false;
        self.filling = false;
        for timer in [
            &mut self.timers.heartbeat,
            &mut self.timers.finger,
            &mut self.timers.seek,
            &mut self.timers.probe,
            &mut self.timers.repair,
        ] {
            *timer = Time::NEVER;
        }
    }

    /// Not part of any ring from now on.
    fn end(&mut self) {
        let known = self.leaves.contacts();
        known.into_iter().for_each(|contact| self.remember_lost(contact));
        self.state = State::Outside;
        self.fall_silent();
        self.leaves.clear();
        self.fingers.clear();
        self.transfers.clear();
        self.store.clear();
        for lookup in core::mem::take(&mut self.lookups) {
            self.tell_failure(&lookup.goal, lookup.key, Failure::NotJoined);
        }
        for request in core::mem::take(&mut self.requests) {
            let (request, key, reason) = (request.request, request.key, Failure::NotJoined);
            self.out.event(Event::Failed { request, key, reason });
        }
        self.out.event(Event::Left);
    }
}

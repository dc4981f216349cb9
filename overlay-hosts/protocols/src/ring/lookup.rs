//! Finding the owner of a key: one peer after the other is asked, until the owner answers itself.
//!
//! A lookup is a stack of peers to ask, the most promising one on top. Who does not answer is passed
//! over, and named in every further question. When the stack is empty it begins again with what is
//! known here, until its time is over.

use alloc::vec::Vec;
use core::time::Duration;

use super::config::LOOKUPS_MAX;
use super::message::{DEAD_MAX, Message};
use super::{Event, Failure, Ring};
use crate::contact::Contact;
use crate::id::{PeerId, RingId};
use crate::machine::{self, Class};
use crate::time::{Now, Time};

/// Peers that wait to be asked; the least promising ones are dropped.
const STACK_MAX: usize = 24;
/// Peers asked before it begins again.
const ASKED_MAX: usize = 32;

/// Between two fingers, when all are looked up one after the other.
const FILL_PAUSE: Duration = Duration::from_millis(10);

/// What a lookup is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Somebody wants to know.
    User { request: u64 },
    /// To store a value there.
    Insert { request: u64, value: Vec<u8>, tries: u32 },
    /// To read what is there.
    Get { request: u64, tries: u32 },
    /// To give it a record that this peer should not hold.
    Return,
    /// To join there.
    Join,
    /// To know a peer far away.
    Finger,
    /// To see whether a peer that is back is part of the same ring.
    Merge,
    /// To know who stands in front of this peer, which has lost that side.
    Predecessor,
}

/// A lookup under way.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) key: RingId,
    pub(super) goal: Goal,
    pub(super) wake: Time,
    deadline: Time,
    /// Nothing is asked before.
    pause: Time,
    stack: Vec<Candidate>,
    asked: Vec<Asked>,
    dead: Vec<PeerId>,
    rounds: u32,
    timeouts: u32,
}

/// A peer to ask.
#[derive(Clone, Debug)]
struct Candidate {
    contact: Contact,
    depth: u32,
}

/// A peer that was asked.
#[derive(Clone, Debug)]
struct Asked {
    contact: Contact,
    depth: u32,
    nonce: u32,
    sent: Time,
    tries: u32,
    state: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing has come yet, and until then it is waited for.
    Awaited(Time),
    /// It is to be asked again then.
    Checking(Time),
    /// It has named others.
    Given,
    /// Nothing came in time.
    Late,
}

impl Lookup {
    fn push(&mut self, contact: Contact, depth: u32) {
        if self.stack.len() >= STACK_MAX {
            self.stack.remove(0);
        }
        self.stack.push(Candidate { contact, depth });
    }

    /// Of those that have answered, who stands nearest in front of `me`.
    fn nearest_before(&self, me: RingId) -> Option<&Contact> {
        let given = self.asked.iter().filter(|asked| asked.state == Answer::Given);
        let distance = |contact: &&Contact| contact.position().clockwise_from(me);
        given.map(|asked| &asked.contact).max_by_key(distance)
    }

    /// Whether a peer need not be asked: another has answered that must know more.
    fn is_passed(&self, contact: &Contact, me: RingId) -> bool {
        let far = |contact: &Contact| contact.position().clockwise_from(me);
        self.goal == Goal::Predecessor
            && (self.dead.contains(&contact.id)
                || self.nearest_before(me).is_some_and(|nearest| far(nearest) >= far(contact)))
    }

    fn waits_until(&self) -> Option<Time> {
        let waits = self.asked.iter().filter_map(|asked| match asked.state {
            Answer::Awaited(until) | Answer::Checking(until) => Some(until),
            Answer::Given | Answer::Late => None,
        });
        waits.min()
    }
}

impl Ring {
    /// Begins a lookup with what is known here.
    pub(super) fn look_up(&mut self, key: RingId, goal: Goal, now: Now) {
        self.begin(key, goal, Vec::new(), now);
    }

    /// Begins a lookup with these peers, the last one first.
    pub(super) fn look_up_from(&mut self, first: Vec<Contact>, key: RingId, goal: Goal, now: Now) {
        self.begin(key, goal, first, now);
    }

    fn begin(&mut self, key: RingId, goal: Goal, first: Vec<Contact>, now: Now) {
        if goal != Goal::Join && !self.is_member() {
            return self.tell_failure(&goal, key, Failure::NotJoined);
        }
        if self.lookups.len() >= LOOKUPS_MAX {
            return self.tell_failure(&goal, key, Failure::Busy);
        }
        let dead = match goal {
            Goal::Join => alloc::vec![self.me.id],
            Goal::Predecessor => self.gone.iter().rev().map(|(id, _)| *id).take(DEAD_MAX).collect(),
            _ => Vec::new(),
        };
        let deadline = now.time + self.config.lookup_timeout;
        let mut lookup = Lookup {
            key,
            goal,
            wake: now.time,
            deadline,
            pause: now.time,
            stack: Vec::new(),
            asked: Vec::new(),
            dead,
            rounds: 0,
            timeouts: 0,
        };
        lookup.rounds = u32::from(!first.is_empty());
        first.into_iter().for_each(|contact| lookup.push(contact, 1));
        self.advance(lookup, now);
    }

    /// Lookups whose moment has come.
    pub(super) fn lookup_timeouts(&mut self, now: Now) {
        while let Some(index) = self.lookups.iter().position(|lookup| lookup.wake <= now.time) {
            let lookup = self.lookups.swap_remove(index);
            self.advance(lookup, now);
        }
    }

    /// Goes on with a lookup, as far as it gets now.
    fn advance(&mut self, mut lookup: Lookup, now: Now) {
        loop {
            if now.time >= lookup.deadline {
                return self.fail(&lookup, now);
            }
            self.time_out(&mut lookup, now.time);
            let waits = lookup.waits_until();
            if let Some(until) = waits.or(Some(lookup.pause).filter(|until| *until > now.time)) {
                lookup.wake = until.min(lookup.deadline);
                return machine::push_last(&mut self.lookups, lookup);
            }
            match lookup.stack.pop() {
                Some(candidate) => self.ask(&mut lookup, candidate, now.time),
                None => {
                    if self.begin_again(&mut lookup, now.time) {
                        let owner = self.me.clone();
                        return self.found(lookup, owner, 0, now);
                    }
                }
            }
        }
    }

    /// Fills the stack with what is known here; whether the key is here.
    fn begin_again(&mut self, lookup: &mut Lookup, now: Time) -> bool {
        let nodes = match lookup.goal {
            Goal::Join => self.known().to_vec(),
            _ => {
                let directions = self.directions(lookup.key, &lookup.dead, now);
                if directions.owner {
                    return true;
                }
                directions.nodes
            }
        };
        if lookup.rounds > 0 || nodes.is_empty() {
            lookup.pause = now + self.round_trip.timeout() / 2;
        }
        lookup.rounds += 1;
        lookup.asked.clear();
        nodes.into_iter().rev().for_each(|contact| lookup.push(contact, 1));
        false
    }

    fn ask(&mut self, lookup: &mut Lookup, candidate: Candidate, now: Time) {
        let Candidate { contact, depth } = candidate;
        let place = lookup.asked.iter().position(|asked| asked.contact.id == contact.id);
        let may_ask = match place.map(|place| &lookup.asked[place]) {
            Some(asked) => asked.state == Answer::Late && asked.tries < 3,
            None => lookup.asked.len() < ASKED_MAX,
        };
        if contact.id == self.me.id || !may_ask || lookup.is_passed(&contact, self.position) {
            return;
        }
        let tries = place.map_or(0, |place| lookup.asked.swap_remove(place).tries);
        let asked = Asked { contact, depth, nonce: 0, sent: now, tries, state: Answer::Given };
        self.question(lookup, asked, now);
    }

    /// Asks a peer for the first time, or again at its next address.
    fn question(&mut self, lookup: &mut Lookup, mut asked: Asked, now: Time) {
        let nonce = self.next_nonce();
        let dead = lookup.dead.clone();
        let message = Message::FindOwner { nonce, key: lookup.key, dead };
        let class = if asked.tries == 0 { Class::Immediate } else { Class::Repeated };
        self.send(asked.contact.endpoint_for(asked.tries as usize), &message, class);
        asked.tries += 1;
        (asked.nonce, asked.sent) = (nonce, now);
        asked.state = Answer::Awaited(now + self.round_trip.timeout());
        lookup.asked.push(asked);
    }

    /// Passes over who has not answered in time, and asks again who is to be asked again.
    fn time_out(&mut self, lookup: &mut Lookup, now: Time) {
        let is_due = |asked: &Asked| match asked.state {
            Answer::Awaited(until) | Answer::Checking(until) => until <= now,
            Answer::Given | Answer::Late => false,
        };
        while let Some(index) = lookup.asked.iter().position(is_due) {
            let mut asked = lookup.asked.swap_remove(index);
            if let Answer::Checking(_) = asked.state {
                // Not a next address: it has answered at this one.
                asked.tries -= 1;
                self.question(lookup, asked, now);
                continue;
            }
            lookup.timeouts += 1;
            let addresses = 1 + asked.contact.others.as_ref().map_or(0, |others| others.len());
            if (asked.tries as usize) < addresses {
                self.question(lookup, asked, now);
                continue;
            }
            let id = asked.contact.id;
            if !lookup.dead.contains(&id) && lookup.dead.len() < DEAD_MAX {
                lookup.dead.push(id);
            }
            asked.state = Answer::Late;
            lookup.asked.push(asked);
            if let Some(contact) = self.fingers.remove(id) {
                self.remember_lost(contact);
            }
            self.suspect(id, now);
        }
    }

    /// The lookup that a nonce was sent for, and the place of who was asked.
    fn take_asked(&mut self, nonce: u32, sender: PeerId) -> Option<(Lookup, usize)> {
        for index in 0..self.lookups.len() {
            let asked = self.lookups[index].asked.iter().position(|asked| {
                let is_open = !matches!(asked.state, Answer::Given | Answer::Checking(_));
                asked.nonce == nonce && asked.contact.id == sender && is_open
            });
            if let Some(asked) = asked {
                return Some((self.lookups.swap_remove(index), asked));
            }
        }
        None
    }

    fn measure(&mut self, sent: Time, now: Time) {
        self.round_trip.measured(now.since(sent));
    }

    /// The owner has answered: the lookup has succeeded.
    pub(super) fn owner_answered(&mut self, nonce: u32, owner: Contact, now: Now) {
        let Some((lookup, place)) = self.take_asked(nonce, owner.id) else { return };
        let Asked { sent, depth, .. } = lookup.asked[place];
        self.measure(sent, now.time);
        self.fingers.offer(&owner, self.leaves.reach());
        self.found(lookup, owner, depth, now);
    }

    /// A peer names others; answers that nobody has asked for are nothing.
    pub(super) fn route_answered(
        &mut self,
        nonce: u32,
        sender: PeerId,
        checking: bool,
        nodes: &[Contact],
        now: Now,
    ) {
        let Some((mut lookup, place)) = self.take_asked(nonce, sender) else { return };
        self.measure(lookup.asked[place].sent, now.time);
        let is_known_there = nodes.iter().any(|node| node.id == self.me.id);
        if lookup.goal == Goal::Merge && is_known_there {
            return; // the same ring
        }
        let again = now.time + self.round_trip.timeout() / 2;
        let asked = &mut lookup.asked[place];
        let is_asked_again = checking && lookup.goal != Goal::Predecessor;
        asked.state = if is_asked_again { Answer::Checking(again) } else { Answer::Given };
        let depth = asked.depth + 1;
        self.fingers.offer(&asked.contact, self.leaves.reach());
        for node in nodes.iter().rev() {
            if self.is_acceptable(node).is_ok() {
                lookup.push(node.clone(), depth);
            }
        }
        self.advance(lookup, now);
    }

    /// What follows when the owner is known.
    fn found(&mut self, lookup: Lookup, owner: Contact, hops: u32, now: Now) {
        if lookup.goal == Goal::Predecessor && owner.id == self.me.id {
            return self.end_search(&lookup, now.time);
        }
        let Lookup { key, goal, timeouts, .. } = lookup;
        match goal {
            Goal::User { request } => {
                self.out.event(Event::Found { request, key, owner, hops, timeouts });
            }
            Goal::Insert { request, value, tries } => {
                self.write(request, key, value, tries, owner, now);
            }
            Goal::Get { request, tries } => self.read(request, key, tries, owner, now.time),
            Goal::Return => self.give_back(key, &owner, now.time),
            Goal::Join => self.ask_to_join(&owner, now.time),
            Goal::Finger => self.fill_on(now),
            Goal::Merge | Goal::Predecessor => {
                if owner.id != self.me.id {
                    self.meet(&owner, now.time);
                    self.announce_to(alloc::vec![owner.endpoint()], false, Class::Immediate);
                }
            }
        }
    }

    fn fail(&mut self, lookup: &Lookup, now: Now) {
        self.tell_failure(&lookup.goal, lookup.key, Failure::TimedOut);
        match lookup.goal {
            Goal::Finger => self.fill_on(now),
            Goal::Predecessor => self.end_search(lookup, now.time),
            _ => {}
        }
    }

    /// Everybody has been asked who could know the predecessor.
    fn end_search(&mut self, lookup: &Lookup, now: Time) {
        self.found_predecessor(lookup.nearest_before(self.position).cloned(), now);
    }

    pub(super) fn tell_failure(&mut self, goal: &Goal, key: RingId, reason: Failure) {
        if let Goal::User { request } | Goal::Insert { request, .. } | Goal::Get { request, .. } =
            goal
        {
            self.out.event(Event::Failed { request: *request, key, reason });
        }
    }

    /// Looks the next finger up, beginning with the peer that it is: it mostly still is.
    pub(super) fn refresh_finger(&mut self, now: Now) {
        self.timers.finger = now.time + self.config.finger_interval;
        if !self.is_member() || !self.leaves.is_full() {
            self.filling = false;
            return;
        }
        let (key, known, is_last) = self.fingers.next(self.leaves.reach());
        if is_last {
            self.filling = false;
        }
        match known {
            Some(known) => self.look_up_from(alloc::vec![known], key, Goal::Finger, now),
            None => self.look_up(key, Goal::Finger, now),
        }
    }

    fn fill_on(&mut self, now: Now) {
        if self.filling {
            self.timers.finger = self.timers.finger.min(now.time + FILL_PAUSE);
        }
    }
}

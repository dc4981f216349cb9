//! One session at one host: its parent and its children, and what keeps these links alive.
//!
//! A child says to its parent that it is there, at once and then now and then; only then anything is
//! sent to it. A parent that says nothing is called silent at the session's root, until the root says
//! who is the parent from now on. The new one has what the child has missed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::config::{ASK_TRIES, Config, ELDER_REPAIRS_MAX, REPAIRS_MAX};
use super::message::{Key, Message, Place};
use super::repair::Repair;
use super::roster::Roster;
use super::window::Window;
use super::{Counts, Event};
use crate::alm::SessionId;
use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{Class, Outbox, Protocol};
use crate::node::DESTINATIONS_MAX;
use crate::time::Time;

/// What a call to a session has at hand.
pub(super) struct Turn<'a> {
    pub(super) config: &'a Config,
    pub(super) me: PeerId,
    pub(super) out: &'a mut Outbox<Event>,
    pub(super) counts: &'a mut Counts,
    pub(super) now: Time,
}

impl Turn<'_> {
    /// One output for up to 50 receivers (seed 002 paragraphs 0043 and 0044).
    pub(super) fn send(&mut self, to: &[Endpoint], message: &Message) {
        for some in to.chunks(DESTINATIONS_MAX) {
            self.out.send(some.to_vec(), Protocol::Delivery, message, Class::Immediate);
        }
    }
}

/// Whether a host has more to do with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// It is over.
    Over,
    /// Its root does not answer.
    Lost,
}

/// Who has sent something down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Above {
    pub(super) is_parent: bool,
    pub(super) is_root: bool,
}

struct Parent {
    contact: Contact,
    /// When it has said something, or when it became the parent.
    heard: Time,
    /// It has, since it is the parent.
    answered: bool,
}

struct Child {
    contact: Contact,
    /// When it has said that it is there; until then nothing is sent to it.
    heard: Option<Time>,
    /// When it became a child, or was called silent.
    since: Time,
    /// Payloads that it may still ask for.
    repairs: u32,
}

/// One session at one host.
pub(super) struct Stream {
    pub(super) key: Key,
    root: Endpoint,
    version: u32,
    pub(super) receives: bool,
    parent: Option<Parent>,
    children: BTreeMap<PeerId, Child>,
    pub(super) window: Window,
    /// No payload has this number, or one above it.
    pub(super) end: Option<u64>,
    /// When all of it had come.
    pub(super) done: Option<Time>,
    /// At the root: the whole tree.
    pub(super) roster: Option<Roster>,
    pub(super) repair: Repair,
    /// The parent is called silent.
    asking: bool,
    /// When that, or that this host is there, is said again, and how often it was.
    again: Time,
    tries: u8,
    tick: Time,
    ticks: u32,
    /// When something was sent to all children.
    pub(super) spoken: Time,
    /// What is missing below is not there at the parent.
    pub(super) elder: u64,
    /// Payloads that others than children may still ask for.
    elder_repairs: u32,
}

impl Stream {
    /// At the root.
    pub(super) fn begin(id: SessionId, me: &Contact, slots: usize, turn: &Turn<'_>) -> Stream {
        let mut stream = Stream::new(id, me.endpoint(), 0, turn);
        stream.roster = Some(Roster::new(id, me.clone(), slots));
        stream
    }

    /// At somebody whom the root has told so.
    pub(super) fn placed(root: Endpoint, place: Place, turn: &mut Turn<'_>) -> Stream {
        let mut stream = Stream::new(place.session, root, place.first, turn);
        stream.follow(root, place, turn);
        stream
    }

    fn new(id: SessionId, root: Endpoint, first: u64, turn: &Turn<'_>) -> Stream {
        Stream {
            key: (id, root.id.unwrap_or_default()),
            root,
            version: 0,
            receives: false,
            parent: None,
            children: BTreeMap::new(),
            window: Window::new(first),
            end: None,
            done: None,
            roster: None,
            repair: Repair::default(),
            asking: false,
            again: Time::NEVER,
            tries: 0,
            tick: turn.now + turn.config.heartbeat,
            ticks: 0,
            spoken: turn.now,
            elder: 0,
            elder_repairs: ELDER_REPAIRS_MAX,
        }
    }

    pub(super) fn root(&self) -> Endpoint {
        self.root
    }

    pub(super) fn parent(&self) -> Option<PeerId> {
        self.parent.as_ref().map(|parent| parent.contact.id)
    }

    /// All that the root has named.
    pub(super) fn children(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.children.keys().copied()
    }

    /// Where the parent is, if it is one that answers.
    pub(super) fn upstream(&self) -> Option<Endpoint> {
        let parent = self.parent.as_ref().filter(|parent| parent.answered && !self.asking)?;
        Some(parent.contact.endpoint())
    }

    /// The children that are there.
    pub(super) fn downstream(&self) -> Vec<Endpoint> {
        let there = self.children.values().filter(|child| child.heard.is_some());
        there.map(|child| child.contact.endpoint()).collect()
    }

    /// The root says where this host stands.
    pub(super) fn follow(&mut self, root: Endpoint, place: Place, turn: &mut Turn<'_>) {
        if place.version > self.version {
            self.root = root;
            (self.version, self.receives) = (place.version, place.receives);
            self.adopt(place.children, turn.now);
            self.hang_on(place.parent, turn);
        }
        let answer = Message::Placed { session: self.key.0, version: place.version };
        turn.send(&[root], &answer);
    }

    /// These are the children from now on.
    pub(super) fn adopt(&mut self, children: Vec<Contact>, now: Time) {
        let mut before = core::mem::take(&mut self.children);
        for contact in children {
            let old = before.remove(&contact.id).map(|old| (old.heard, old.since, old.repairs));
            let (heard, since, repairs) = old.unwrap_or((None, now, REPAIRS_MAX));
            self.children.insert(contact.id, Child { contact, heard, since, repairs });
        }
    }

    /// This is the parent from now on.
    fn hang_on(&mut self, parent: Option<Contact>, turn: &mut Turn<'_>) {
        let Some(contact) = parent else {
            // Nobody has room: the root is asked now and then.
            self.parent = None;
            (self.asking, self.tries) = (true, 3);
            self.again = turn.now + turn.config.wait(self.tries);
            return;
        };
        if self.parent() == Some(contact.id) {
            if self.asking {
                // The root has not known better, or knows nobody else.
                turn.send(&[contact.endpoint()], &Message::Here { key: self.key });
                self.again = turn.now + turn.config.wait(0);
                self.tries = self.tries.min(3);
            }
            return;
        }
        self.parent = Some(Parent { contact, heard: turn.now, answered: false });
        self.elder = 0;
        (self.asking, self.tries) = (false, 0);
        self.call(turn);
    }

    /// The parent has said something.
    pub(super) fn heard_parent(&mut self, turn: &mut Turn<'_>) {
        let Some(parent) = &mut self.parent else { return };
        parent.heard = turn.now;
        self.asking = false;
        if !core::mem::replace(&mut parent.answered, true) {
            let ((session, root), parent) = (self.key, parent.contact.id);
            self.again = Time::NEVER;
            self.repair.begin_anew(turn.now);
            turn.out.event(Event::Linked { session, root, parent });
        }
    }

    /// A child is there.
    pub(super) fn here(&mut self, from: &Endpoint, turn: &mut Turn<'_>) -> Result<(), DropReason> {
        let child = from.id.and_then(|id| self.children.get_mut(&id));
        let child = child.ok_or(DropReason::NotInTree)?;
        if child.heard.replace(turn.now).is_none() {
            let to = child.contact.endpoint();
            let alive = self.alive();
            turn.send(&[to], &alive);
        }
        Ok(())
    }

    /// How many payloads, of so many, a child gets once more, and where it is. From the root everybody
    /// of the session gets what its own parent has not.
    pub(super) fn allowance(&mut self, from: &Endpoint, wanted: u32) -> Option<(Endpoint, u32)> {
        let id = from.id.unwrap_or_default();
        let child = self.children.get_mut(&id).filter(|child| child.heard.is_some());
        let Some(child) = child else {
            self.roster.as_ref().filter(|roster| roster.contains(id))?;
            let allowed = wanted.min(self.elder_repairs);
            self.elder_repairs -= allowed;
            return Some((*from, allowed));
        };
        let allowed = wanted.min(child.repairs);
        child.repairs -= allowed;
        Some((child.contact.endpoint(), allowed))
    }

    /// What a parent says that has nothing else to say.
    pub(super) fn alive(&self) -> Message {
        let (oldest, next) = (self.window.oldest(), self.window.next());
        Message::Alive { key: self.key, oldest, next, end: self.end }
    }

    /// The moment of [`poll_timeout`](Stream::poll_timeout) has come.
    pub(super) fn handle_timeout(&mut self, turn: &mut Turn<'_>) -> Fate {
        let mut fate = Fate::Stays;
        if self.tick <= turn.now {
            fate = self.beat(turn);
        }
        if self.again <= turn.now {
            fate = if self.asking { self.ask(turn) } else { self.call(turn) };
        }
        if self.repair.at <= turn.now {
            self.ask_for_missing(turn);
        }
        self.tell_places(turn);
        fate
    }

    /// When it wants to be woken.
    pub(super) fn poll_timeout(&self) -> Time {
        let due = self.roster.as_ref().and_then(Roster::due_at).unwrap_or(Time::NEVER);
        self.tick.min(self.again).min(self.repair.at).min(due)
    }

    /// What is done at every heartbeat.
    fn beat(&mut self, turn: &mut Turn<'_>) -> Fate {
        let config = turn.config;
        self.tick = turn.now + config.heartbeat;
        self.ticks = self.ticks.wrapping_add(1);
        self.elder_repairs = ELDER_REPAIRS_MAX;
        self.window.expire(turn.now, config.buffer);
        if self.done.is_some_and(|done| turn.now.since(done) >= config.buffer * 2) {
            return Fate::Over;
        }
        self.look_after_children(turn);
        if turn.now.since(self.spoken) >= config.heartbeat / 2 {
            self.speak(turn);
        }
        let upstream = self.upstream().filter(|_| self.done.is_none());
        if self.ticks.is_multiple_of(2)
            && let Some(parent) = upstream
        {
            turn.send(&[parent], &Message::Here { key: self.key });
        }
        if self.is_parent_silent(turn) {
            (self.asking, self.tries) = (true, 0);
            return self.ask(turn);
        }
        Fate::Stays
    }

    /// Tells all children that this host is there, and how far it is.
    pub(super) fn speak(&mut self, turn: &mut Turn<'_>) {
        let alive = self.alive();
        turn.send(&self.downstream(), &alive);
        self.spoken = turn.now;
    }

    fn is_parent_silent(&self, turn: &Turn<'_>) -> bool {
        // One who has never answered is less likely to do so yet.
        let silence = turn.config.silence;
        let is_silent = |parent: &Parent| {
            let limit = if parent.answered { silence } else { silence / 2 };
            turn.now.since(parent.heard) >= limit
        };
        let is_wanted = !self.asking && self.done.is_none();
        is_wanted && self.parent.as_ref().is_some_and(is_silent)
    }

    fn look_after_children(&mut self, turn: &mut Turn<'_>) {
        let limit = turn.config.child_silence;
        let mut silent = Vec::new();
        for (id, child) in &mut self.children {
            child.repairs = REPAIRS_MAX;
            let last = child.heard.unwrap_or(child.since).max(child.since);
            if turn.now.since(last) >= limit {
                (child.heard, child.since) = (None, turn.now);
                silent.push(*id);
            }
        }
        for id in silent.into_iter().filter(|_| self.done.is_none()) {
            match &mut self.roster {
                // Nobody limits what the root says itself.
                Some(roster) => {
                    let _heeded = roster.silent(turn.me, (0, Some(id)), turn.config, turn.now);
                }
                None => self.call_silent(Some(id), turn),
            }
        }
    }

    fn call_silent(&self, peer: Option<PeerId>, turn: &mut Turn<'_>) {
        let silent = Message::Silent { session: self.key.0, version: self.version, peer };
        turn.send(&[self.root], &silent);
    }

    /// Asks the root for another parent.
    fn ask(&mut self, turn: &mut Turn<'_>) -> Fate {
        if self.done.is_some() {
            (self.asking, self.again) = (false, Time::NEVER);
            return Fate::Stays;
        }
        if self.tries >= ASK_TRIES {
            return Fate::Lost;
        }
        self.call_silent(self.parent(), turn);
        self.again = turn.now + turn.config.wait(self.tries);
        self.tries += 1;
        Fate::Stays
    }

    /// Says to a parent that has not answered yet that this host is there.
    fn call(&mut self, turn: &mut Turn<'_>) -> Fate {
        self.again = Time::NEVER;
        if let Some(parent) = self.parent.as_ref().filter(|parent| !parent.answered) {
            turn.send(&[parent.contact.endpoint()], &Message::Here { key: self.key });
            self.again = turn.now + turn.config.wait(self.tries);
            self.tries = self.tries.saturating_add(1);
        }
        Fate::Stays
    }

    /// At the root: tells who stands otherwise where that is.
    pub(super) fn tell_places(&mut self, turn: &mut Turn<'_>) {
        let Some(roster) = &mut self.roster else { return };
        let (due, lost) = roster.due(turn.config, turn.now);
        let due = due.into_iter().map(|(to, place)| (to.endpoint(), Message::Place(place)));
        let due: Vec<(Endpoint, Message)> = due.collect();
        for some in due.chunks(DESTINATIONS_MAX) {
            turn.out.send_each(some, Protocol::Delivery, Class::Immediate);
        }
        let own = roster.changed();
        for peer in lost {
            turn.out.event(Event::Gone { session: self.key.0, peer });
        }
        if let Some(own) = own {
            self.adopt(own, turn.now);
        }
    }
}

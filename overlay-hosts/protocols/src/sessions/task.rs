//! A root's side of one session: its task manager (seed 003 paragraphs 0089 to 0092) with what it says and waits for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Event;
use super::config::{BACKOFF_MAX, Config, TRIES};
use super::leases::{Answer, Leases};
use super::message::Message;
use super::view::View;
use crate::alm::{Ask, Claim, Pool, Priority, Session, SessionId};
use crate::contact::{Contact, Endpoint};
use crate::delivery::Seat;
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{Class, Outbox, Protocol};
use crate::time::Time;

/// What a call to a session has at hand.
pub(super) struct Turn<'a> {
    pub(super) config: &'a Config,
    pub(super) me: &'a Contact,
    pub(super) out: &'a mut Outbox<Event>,
    pub(super) leases: &'a mut Leases,
    pub(super) now: Time,
}

impl Turn<'_> {
    pub(super) fn send(&mut self, to: Endpoint, message: &Message, class: Class) {
        self.out.send(alloc::vec![to], Protocol::Sessions, message, class);
    }

    /// Somebody's claim at this host.
    pub(super) fn claim(
        &mut self,
        claim: Claim,
        serial: u32,
        root: Endpoint,
    ) -> Result<Answer, DropReason> {
        let before = self.leases.degrees().free();
        let until = self.now + self.config.lease;
        let answer = self.leases.claim((claim, serial), root, until, self.now)?;
        if answer == Answer::Granted && root.id != Some(self.me.id) {
            let (session, root) = (claim.session, root.id.unwrap_or_default());
            self.out.event(match claim.degrees {
                0 => Event::Released { session, root },
                _ => Event::Claimed { session, root, rank: claim.rank },
            });
        }
        if self.leases.degrees().free() != before {
            self.out.event(Event::DegreesChanged);
        }
        Ok(answer)
    }
}

/// A host that was asked, and has not answered.
#[derive(Clone, Debug)]
struct Asking {
    ask: Ask<PeerId>,
    serial: u32,
    tries: u8,
    at: Time,
}

/// A session of which this host is the root.
#[derive(Clone, Debug)]
pub(super) struct Task {
    session: Session<PeerId>,
    contacts: BTreeMap<PeerId, Contact>,
    asking: BTreeMap<PeerId, Asking>,
    /// The number of the last claim, and of the last that each host has granted.
    serial: u32,
    granted: BTreeMap<PeerId, u32>,
    /// When a snapshot is wanted; never while one is being gathered.
    plan_at: Time,
    is_waiting: bool,
    /// When hosts that have refused are asked again.
    forget_at: Time,
    renew_at: Time,
    /// Plans in a row that have come to nothing.
    failures: u32,
    /// The tree that was told last.
    arranged: BTreeMap<PeerId, PeerId>,
    /// Children that each host can have beyond those of the tree, as far as is known.
    room: BTreeMap<PeerId, usize>,
}

impl Task {
    pub(super) fn new(
        id: SessionId,
        priority: Priority,
        members: Vec<Contact>,
        turn: &Turn<'_>,
    ) -> Task {
        let root = turn.me.id;
        let mut contacts: BTreeMap<PeerId, Contact> =
            members.into_iter().map(|member| (member.id, member)).collect();
        contacts.insert(root, turn.me.clone());
        let config = turn.config.session.clone();
        Task {
            session: Session::new(id, priority, root, contacts.keys().copied(), config),
            contacts,
            asking: BTreeMap::new(),
            serial: 0,
            granted: BTreeMap::new(),
            plan_at: turn.now,
            is_waiting: false,
            forget_at: turn.now + turn.config.replan,
            renew_at: turn.now + turn.config.renewal,
            failures: 0,
            arranged: BTreeMap::new(),
            room: BTreeMap::new(),
        }
    }

    pub(super) fn session(&self) -> &Session<PeerId> {
        &self.session
    }

    /// Whether it waits for a snapshot.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    pub(super) fn due_at(&self) -> Time {
        let asking = self.asking.values().map(|asking| asking.at).min();
        let plan_at = if self.is_waiting { Time::NEVER } else { self.plan_at };
        asking.unwrap_or(Time::NEVER).min(plan_at).min(self.renew_at)
    }

    /// What is due is done; whether a snapshot is wanted.
    pub(super) fn handle_timeout(&mut self, turn: &mut Turn<'_>) -> bool {
        let is_due = |asking: &Asking| asking.at <= turn.now;
        let due: Vec<PeerId> = self
            .asking
            .iter()
            .filter(|(_, asking)| is_due(asking))
            .map(|(host, _)| *host)
            .collect();
        for host in due {
            self.ask_again(host, turn);
        }
        if self.renew_at <= turn.now {
            self.renew_at = turn.now + turn.config.renewal;
            let held = self.session.held().iter();
            let asks = held.map(|(host, degrees)| self.session.claim(*host, *degrees));
            let asks = asks.filter(|ask| !self.asking.contains_key(&ask.host)).collect();
            self.ask(asks, turn);
        }
        let wants = self.plan_at <= turn.now && !self.is_waiting;
        self.is_waiting |= wants;
        wants
    }

    /// Plans on a snapshot that has come.
    pub(super) fn plan(&mut self, view: &View<'_>, turn: &mut Turn<'_>) {
        self.is_waiting = false;
        self.plan_at = turn.now + turn.config.replan;
        if self.forget_at <= turn.now {
            self.forget_at = turn.now + turn.config.replan;
            self.session.forget();
        }
        let asks = match self.session.propose(view) {
            Ok(asks) => asks,
            Err(why) => {
                turn.out.event(Event::Unplanned { session: self.session.id(), why });
                return self.try_later(turn);
            }
        };
        let known = |ask: &Ask<PeerId>| view.contact(ask.host).cloned();
        for (host, contact) in asks.iter().filter_map(|ask| Some((ask.host, known(ask)?))) {
            self.contacts.entry(host).or_insert(contact);
        }
        self.note_room(view, turn);
        self.ask(asks, turn);
    }

    /// What each host could carry of this session.
    fn note_room(&mut self, view: &View<'_>, turn: &Turn<'_>) {
        let id = self.session.id();
        let per_degree = turn.config.session.plan.transport.children_per_degree() as usize;
        let room = |host: &PeerId| {
            let links = match *host == turn.me.id {
                true => turn.leases.degrees().available(id, self.session.rank(*host)),
                false => view.available(*host, id, self.session.rank(*host)).saturating_sub(1),
            };
            (*host, usize::from(links) * per_degree)
        };
        self.room = self.contacts.keys().map(room).collect();
    }

    /// A plan has come to nothing, or was not to be had.
    fn try_later(&mut self, turn: &Turn<'_>) {
        let wait = turn.config.settling * (1 << self.failures.min(BACKOFF_MAX));
        self.failures += 1;
        self.plan_at = self.plan_at.min(turn.now + wait);
    }

    /// Claims what was proposed, and whatever follows from answers that are here at once.
    fn ask(&mut self, asks: Vec<Ask<PeerId>>, turn: &mut Turn<'_>) {
        let mut open = asks;
        while let Some(ask) = open.pop() {
            self.serial = self.serial.wrapping_add(1);
            let serial = self.serial;
            if ask.host == turn.me.id {
                let claim = self.claim_of(&ask);
                // A number of one's own is never old.
                let answer = turn.claim(claim, serial, turn.me.endpoint());
                let answer = answer.unwrap_or(Answer::Refused(0));
                open.extend(self.settle(&ask, serial, answer, turn));
                continue;
            }
            let at = turn.now + turn.config.wait(0);
            self.asking.insert(ask.host, Asking { ask, serial, tries: 1, at });
            self.say(ask.host, turn);
        }
        self.arrange(turn);
    }

    fn claim_of(&self, ask: &Ask<PeerId>) -> Claim {
        Claim { session: self.session.id(), rank: ask.rank, degrees: ask.degrees }
    }

    fn say(&self, host: PeerId, turn: &mut Turn<'_>) {
        let Some((asking, contact)) = self.asking.get(&host).zip(self.contacts.get(&host)) else {
            return;
        };
        let try_number = asking.tries - 1;
        let class = if try_number == 0 { Class::Immediate } else { Class::Repeated };
        let message = Message::Claim { claim: self.claim_of(&asking.ask), serial: asking.serial };
        turn.send(contact.endpoint_for(usize::from(try_number)), &message, class);
    }

    /// Somebody has not answered in time.
    fn ask_again(&mut self, host: PeerId, turn: &mut Turn<'_>) {
        let Some(asking) = self.asking.get_mut(&host) else { return };
        if asking.tries < TRIES && self.contacts.contains_key(&host) {
            asking.at = turn.now + turn.config.wait(asking.tries);
            asking.tries += 1;
            return self.say(host, turn);
        }
        let ask = asking.ask;
        self.asking.remove(&host);
        if ask.degrees > 0 {
            self.gone(host, turn);
        }
    }

    /// An answer has come to the claim of this number.
    ///
    /// # Errors
    /// It is to none that is open.
    pub(super) fn answered(
        &mut self,
        host: PeerId,
        serial: u32,
        answer: Answer,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let open = self.asking.get(&host).filter(|asking| asking.serial == serial);
        let ask = open.ok_or(DropReason::Ancient)?.ask;
        self.asking.remove(&host);
        let asks = self.settle(&ask, serial, answer, turn);
        self.ask(asks, turn);
        Ok(())
    }

    /// What follows from an answer.
    fn settle(
        &mut self,
        ask: &Ask<PeerId>,
        serial: u32,
        answer: Answer,
        turn: &mut Turn<'_>,
    ) -> Vec<Ask<PeerId>> {
        let host = ask.host;
        let had = self.session.held().get(&host).copied().unwrap_or(0);
        match answer {
            Answer::Granted => {
                self.granted.insert(host, serial);
                self.session.granted(host, ask.degrees)
            }
            // What it has had so far is gone.
            Answer::Refused(_) if ask.degrees <= had => self.session.preempted(host),
            Answer::Refused(available) => {
                self.try_later(turn);
                self.session.refused(host, available)
            }
        }
    }

    /// A host has given to another session what this one had there by the claim of this number.
    pub(super) fn preempted(&mut self, host: PeerId, serial: u32, turn: &mut Turn<'_>) {
        match self.asking.get(&host).map(|asking| asking.serial) {
            // It has come before the answer to the claim, and says more.
            Some(open) if open == serial => {
                let _open = self.answered(host, serial, Answer::Refused(0), turn);
            }
            // What is asked of it now is decided by its answer.
            Some(_) => {}
            None if self.granted.get(&host) == Some(&serial) => {
                self.granted.remove(&host);
                turn.out.event(Event::Preempted { session: self.session.id(), host });
                let asks = self.session.preempted(host);
                self.ask(asks, turn);
            }
            None => {}
        }
    }

    /// A member more.
    pub(super) fn join(&mut self, member: Contact, turn: &mut Turn<'_>) {
        let id = member.id;
        self.contacts.insert(id, member);
        if self.session.join(id) {
            self.asking.remove(&id);
            self.arrange(turn);
        }
    }

    /// A member less.
    pub(super) fn leave(&mut self, id: PeerId, turn: &mut Turn<'_>) {
        let asks = self.session.leave(id);
        self.ask(asks, turn);
    }

    /// Somebody does not answer, and is not part of it any more.
    pub(super) fn gone(&mut self, host: PeerId, turn: &mut Turn<'_>) {
        if host == turn.me.id || !self.contacts.contains_key(&host) {
            return;
        }
        self.asking.remove(&host);
        let session = self.session.id();
        turn.out.event(Event::Gone {
            session,
            host,
            member: self.session.members().contains(&host),
        });
        let asks = self.session.crashed(host);
        self.contacts.remove(&host);
        self.ask(asks, turn);
    }

    /// It is over: everybody gets back what it had. Nobody answers to anyone then: leases run out.
    pub(super) fn end(&mut self, turn: &mut Turn<'_>) {
        self.asking.clear();
        let asks = self.session.end();
        self.plan_at = Time::NEVER;
        for ask in asks {
            self.serial = self.serial.wrapping_add(1);
            let (claim, serial) = (self.claim_of(&ask), self.serial);
            if ask.host == turn.me.id {
                let _own = turn.claim(claim, serial, turn.me.endpoint());
            } else if let Some(contact) = self.contacts.get(&ask.host) {
                let to = contact.endpoint();
                turn.send(to, &Message::Claim { claim, serial }, Class::Immediate);
            }
        }
    }

    /// The tree is told if it is another one and whole; if it is not whole, it is planned anew soon.
    fn arrange(&mut self, turn: &mut Turn<'_>) {
        if self.session.needs_plan() {
            let soon = turn.now + turn.config.settling * (1 << self.failures.min(BACKOFF_MAX));
            self.plan_at = self.plan_at.min(soon);
            return;
        }
        if self.session.is_asking() || *self.session.links() == self.arranged {
            return;
        }
        self.failures = 0;
        self.arranged = self.session.links().clone();
        let slots = self.room.get(&turn.me.id).copied().unwrap_or(0);
        let seats = self.arranged.iter().filter_map(|(child, parent)| self.seat(*child, *parent));
        let (session, seats) = (self.session.id(), seats.collect());
        turn.out.event(Event::Arranged { session, slots, seats });
    }

    fn seat(&self, child: PeerId, parent: PeerId) -> Option<Seat> {
        let children = self.arranged.values().filter(|above| **above == child).count();
        Some(Seat {
            contact: self.contacts.get(&child)?.clone(),
            parent: Some(parent),
            // With what it could carry beyond its part of the tree orphans are taken in at once.
            slots: self.room.get(&child).copied().unwrap_or(0).max(children),
            receives: self.session.members().contains(&child),
        })
    }
}

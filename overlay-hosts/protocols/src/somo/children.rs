//! What a machine knows of its children: soft, so it is gone when nothing is heard of them.

use alloc::vec::Vec;

use super::message::{Heading, Message, patched};
use super::{CHILDREN_MAX, Event, Somo, Span, VirtualNode};
use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::machine::Class;
use crate::time::{Now, Time};

/// Keys of children that are gone that are looked up at once.
const HEIRS_MAX: usize = 8;

/// A machine whose parent this one is.
#[derive(Clone, Debug)]
pub(super) struct Child {
    contact: Contact,
    heading: Heading,
    report: Vec<u8>,
    heard: Time,
}

impl Child {
    /// Who it is.
    pub(super) fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Who represents it.
    pub(super) fn node(&self) -> VirtualNode {
        self.heading.node
    }

    /// What its report is about.
    pub(super) fn span(&self) -> &Span {
        &self.heading.span
    }

    /// Its last report.
    pub(super) fn report(&self) -> &[u8] {
        &self.report
    }

    /// The last call that it has answered.
    pub(super) fn round(&self) -> u32 {
        self.heading.round
    }
}

impl Somo {
    /// A child reports, in full.
    pub(super) fn take_report(
        &mut self,
        heading: Heading,
        me: Contact,
        report: Vec<u8>,
        from: Endpoint,
        now: Now,
    ) -> Result<(), DropReason> {
        self.is_acceptable(&me, &from)?;
        if !self.is_above(heading.node)? {
            self.send(from, &Message::Moved, Class::Immediate);
            return Ok(());
        }
        if !heading.span.range.holds(me.position()) || !self.config.op.is_report(&report) {
            return Err(DropReason::Malformed);
        }
        self.make_room(&me, heading.node, now.time)?;
        let before = self.span();
        let known = self.child_mut(heading.node, &from).map_or(0, |child| child.heading.round);
        let kept = heading.with_round(known);
        let child = Child { contact: me, heading: kept, report, heard: now.time };
        match self.children.binary_search_by_key(&heading.node, |child| child.heading.node) {
            Ok(place) => self.children[place] = child,
            Err(place) => self.children.insert(place, child),
        }
        self.acknowledge(heading, before, from, now);
        Ok(())
    }

    /// Whether the parent of a virtual node has its key in this zone.
    fn is_above(&self, node: VirtualNode) -> Result<bool, DropReason> {
        if !self.tree.has(node) {
            return Err(DropReason::Malformed);
        }
        let above = self.tree.parent(node).ok_or(DropReason::Malformed)?;
        Ok(self.owns(self.tree.key(above)))
    }

    /// One peer has one place, and one place has one peer: of two the nearer one behind its key, as
    /// that owns it, unless it is silent.
    fn make_room(&mut self, me: &Contact, node: VirtualNode, now: Time) -> Result<(), DropReason> {
        let key = self.tree.key(node);
        let far = |contact: &Contact| contact.position().clockwise_from(key);
        let other = self.children.iter().find(|child| child.heading.node == node);
        if let Some(other) = other.filter(|other| other.contact.id != me.id)
            && far(&other.contact) < far(me)
            && now.since(other.heard) <= self.config.heartbeat
        {
            return Err(DropReason::NotInTree);
        }
        let is_elsewhere = |child: &Child| child.contact.id == me.id && child.heading.node != node;
        self.children.retain(|child| !is_elsewhere(child));
        let is_new = !self.children.iter().any(|child| child.heading.node == node);
        match is_new && self.children.len() >= CHILDREN_MAX {
            true => Err(DropReason::TreeFull),
            false => Ok(()),
        }
    }

    /// A child says what has changed in its report.
    pub(super) fn take_delta(
        &mut self,
        heading: Heading,
        of: u32,
        (head, tail): (u16, u16),
        middle: &[u8],
        from: Endpoint,
        now: Now,
    ) -> Result<(), DropReason> {
        if !self.is_above(heading.node)? {
            self.send(from, &Message::Moved, Class::Immediate);
            return Ok(());
        }
        let (op, before) = (self.config.op, self.span());
        let known = self.child_mut(heading.node, &from);
        let known = known.filter(|child| {
            child.heading.serial == of && heading.span.range.holds(child.contact.position())
        });
        let Some(child) = known else {
            self.send(from, &Message::Again, Class::Immediate);
            return Ok(());
        };
        let report = patched(&child.report, head, tail, middle).ok_or(DropReason::Malformed)?;
        if !op.is_report(&report) {
            return Err(DropReason::Malformed);
        }
        let kept = heading.with_round(child.heading.round);
        (child.report, child.heading, child.heard) = (report, kept, now.time);
        self.acknowledge(heading, before, from, now);
        Ok(())
    }

    /// A child asks whether it is known here.
    pub(super) fn kept(
        &mut self,
        serial: u32,
        node: VirtualNode,
        from: Endpoint,
        now: Now,
    ) -> Result<(), DropReason> {
        let answer = match self.is_above(node)? {
            false => Message::Moved,
            true => match self.child_mut(node, &from) {
                Some(child) if child.heading.serial == serial => {
                    child.heard = now.time;
                    Message::Taken { serial }
                }
                _ => Message::Again,
            },
        };
        self.send(from, &answer, Class::Immediate);
        Ok(())
    }

    fn child_mut(&mut self, node: VirtualNode, from: &Endpoint) -> Option<&mut Child> {
        let place = self.children.binary_search_by_key(&node, |child| child.heading.node).ok()?;
        Some(&mut self.children[place]).filter(|child| child.contact.speaks_from(from))
    }

    /// Answers a report that was taken when this machine's span was that, unless it is an answer itself.
    fn acknowledge(&mut self, heading: Heading, before: Span, from: Endpoint, now: Now) {
        if heading.round == 0 {
            let taken = Message::Taken { serial: heading.serial };
            self.send(from, &taken, Class::Immediate);
        }
        self.settle(before, now);
        self.finish_round(now);
    }

    /// Who is below this machine may be others than before: those above are to know soon.
    fn settle(&mut self, before: Span, now: Now) {
        if self.parent().is_some() && self.span() != before {
            self.settle_at = self.settle_at.min(now.time + self.config.answer);
        }
    }

    /// Links whose upper end is not in the zone any more are dropped, and the machines at their
    /// lower ends told so (paragraph 0057); so are those whose lower end is in the zone: this machine
    /// is there now itself.
    pub(super) fn release_children(&mut self, now: Now) {
        let before = self.span();
        let children = core::mem::take(&mut self.children);
        let is_ours = |child: &Child| {
            self.is_above(child.heading.node) == Ok(true)
                && !self.owns(self.tree.key(child.heading.node))
        };
        let (kept, released): (Vec<Child>, Vec<Child>) = children.into_iter().partition(is_ours);
        self.children = kept;
        let to = released.iter().map(|child| child.contact.endpoint()).collect();
        self.send_all(to, &Message::Moved, Class::Immediate);
        self.settle(before, now);
        self.finish_round(now);
    }

    /// A heartbeat to the parent; children that have missed too many are gone, and whoever is at
    /// their keys now is asked to report (paragraph 0066).
    pub(super) fn keep_links(&mut self, now: Now) {
        self.keep_at = now.time + self.config.heartbeat;
        self.keep_parent(now);
        let before = self.span();
        let patience = self.config.heartbeat * self.config.missed;
        let is_gone = |child: &Child| now.time.since(child.heard) > patience;
        let gone = self.children.iter().filter(|child| is_gone(child));
        let keys = gone.map(|child| self.tree.key(child.heading.node));
        let keys: Vec<_> = keys.filter(|key| !self.owns(*key)).take(HEIRS_MAX).collect();
        self.children.retain(|child| !is_gone(child));
        for key in keys {
            let request = self.next_request();
            self.heirs.truncate(HEIRS_MAX - 1);
            self.heirs.insert(0, request);
            self.out.event(Event::Find { request, key });
        }
        self.settle(before, now);
        self.finish_round(now);
        self.forget_subscribers(now);
        self.renew(now);
    }

    /// Who owns the key of a child that is gone is known.
    pub(super) fn found_heir(&mut self, request: u32, owner: Option<Contact>) {
        let asked = self.heirs.len();
        self.heirs.retain(|heir| *heir != request);
        let owner = owner.filter(|owner| owner.id != self.me.id && self.heirs.len() < asked);
        let to = owner.iter().map(Contact::endpoint).collect();
        self.send_all(to, &Message::Restart, Class::Immediate);
    }
}

//! Queries that are registered at a virtual node (seed 003 paragraph 0069): whoever owns its key
//! answers them with each of its reports, so that the tree is one for publishing and subscribing. A
//! registration is soft: it is renewed with each heartbeat, at whoever owns the key then. The same
//! answer to all who asked the same is one message.

use alloc::vec::Vec;

use super::message::Message;
use super::{Event, QUERY_LEN_MAX, SUBSCRIBERS_MAX, SUBSCRIPTIONS_MAX, Somo, VirtualNode};
use crate::contact::{Contact, Endpoint};
use crate::data_overlay::Reference;
use crate::drops::DropReason;
use crate::id::{PeerId, RingId};
use crate::machine::Class;
use crate::time::{Now, Time};

/// What this machine has registered elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    request: u64,
    node: VirtualNode,
    query: Vec<u8>,
    /// To whoever owns the virtual node's key.
    reference: Reference,
    /// The lookup of that.
    sought: Option<u32>,
    /// Whether the last renewal was answered.
    answered: bool,
}

/// Somebody's query that is registered here.
#[derive(Clone, Debug)]
pub(super) struct Subscriber {
    contact: Contact,
    node: VirtualNode,
    query: Vec<u8>,
    heard: Time,
    /// What it was answered last.
    told: Option<Vec<u8>>,
}

/// What a query is called in answers.
fn name(node: VirtualNode, query: &[u8]) -> u32 {
    let hash = RingId::of_key(&[&crate::machine::encode(&node), query].concat());
    u32::from_be_bytes([hash.0[0], hash.0[1], hash.0[2], hash.0[3]])
}

impl Somo {
    /// Registers a query; whether it is one that can be.
    pub(super) fn subscribe(&mut self, request: u64, node: VirtualNode, query: Vec<u8>, now: Now) {
        let is_full = self.subscriptions.len() >= SUBSCRIPTIONS_MAX;
        if is_full || query.len() > QUERY_LEN_MAX || !self.tree.has(node) {
            return self.out.event(Event::Refused { request });
        }
        let reference = Reference::new(self.tree.key(node));
        let (sought, answered) = (None, true);
        self.subscriptions.push(Subscription { request, node, query, reference, sought, answered });
        self.renew(now);
    }

    /// Wants no answers any more; the registration is forgotten soon.
    pub(super) fn unsubscribe(&mut self, request: u64) {
        self.subscriptions.retain(|subscription| subscription.request != request);
    }

    /// Renews what is registered: with whoever was there last, else the key is looked up.
    pub(super) fn renew(&mut self, now: Now) {
        for place in 0..self.subscriptions.len() {
            let request = self.next_request();
            let me = self.me.clone();
            let subscription = &mut self.subscriptions[place];
            if !core::mem::take(&mut subscription.answered) {
                subscription.reference.host = None;
            }
            let (node, query) = (subscription.node, subscription.query.clone());
            match subscription.reference.host.clone() {
                Some(host) if host.id == me.id => {
                    subscription.answered = true;
                    self.register(me, node, query, now);
                }
                Some(host) => {
                    let message = Message::Subscribe { node, me, query };
                    self.send(host.endpoint(), &message, Class::Queued);
                }
                None => {
                    let key = subscription.reference.key;
                    subscription.sought = Some(request);
                    self.out.event(Event::Find { request, key });
                }
            }
        }
    }

    /// Whoever owns a key at which something is to be registered was found, or not; whether that was
    /// looked for.
    pub(super) fn found_host(&mut self, request: u32, owner: Option<&Contact>, now: Now) -> bool {
        let mut all = self.subscriptions.iter_mut();
        let Some(subscription) = all.find(|one| one.sought == Some(request)) else {
            return false;
        };
        subscription.sought = None;
        subscription.reference.host = owner.cloned();
        let (node, query) = (subscription.node, subscription.query.clone());
        let me = self.me.clone();
        match owner {
            Some(owner) if owner.id == me.id => {
                subscription.answered = true;
                self.register(me, node, query, now);
            }
            Some(owner) => {
                let message = Message::Subscribe { node, me, query };
                self.send(owner.endpoint(), &message, Class::Immediate);
            }
            None => {}
        }
        true
    }

    /// Somebody registers a query, or renews it.
    pub(super) fn subscribed_here(
        &mut self,
        node: VirtualNode,
        me: Contact,
        query: Vec<u8>,
        from: Endpoint,
        now: Now,
    ) -> Result<(), DropReason> {
        self.is_acceptable(&me, &from)?;
        if !self.tree.has(node) {
            return Err(DropReason::Malformed);
        }
        if !self.owns(self.tree.key(node)) {
            // Without an answer it looks for the owner anew.
            return Err(DropReason::NotInTree);
        }
        let name = name(node, &query);
        if !self.register(me, node, query, now) {
            return Err(DropReason::TreeFull);
        }
        self.send(from, &Message::Subscribed { name }, Class::Queued);
        Ok(())
    }

    fn register(&mut self, contact: Contact, node: VirtualNode, query: Vec<u8>, now: Now) -> bool {
        let mut all = self.subscribers.iter_mut();
        let is_it = |one: &&mut Subscriber| {
            one.contact.id == contact.id && one.node == node && one.query == query
        };
        if let Some(known) = all.find(is_it) {
            (known.contact, known.heard) = (contact, now.time);
            return true;
        }
        let has_room = self.subscribers.len() < SUBSCRIBERS_MAX;
        if has_room {
            let (heard, told) = (now.time, None);
            self.subscribers.push(Subscriber { contact, node, query, heard, told });
        }
        has_room
    }

    /// Registrations that are not renewed are forgotten, and those at keys that others own now.
    pub(super) fn forget_subscribers(&mut self, now: Now) {
        let patience = self.config.heartbeat * self.config.missed;
        let mut all = core::mem::take(&mut self.subscribers);
        all.retain(|one| {
            self.owns(self.tree.key(one.node)) && now.time.since(one.heard) <= patience
        });
        self.subscribers = all;
    }

    /// There is a new report: registered queries that now have another answer get it.
    pub(super) fn answer_subscribers(&mut self) {
        let mut all = core::mem::take(&mut self.subscribers);
        let mut answers: Vec<(u32, Vec<u8>, Vec<Contact>)> = Vec::new();
        for one in &mut all {
            let answer = self.config.op.answer(&one.query, &self.report);
            let Some(answer) = answer.filter(|answer| one.told.as_ref() != Some(answer)) else {
                continue;
            };
            one.told = Some(answer.clone());
            let name = name(one.node, &one.query);
            let same =
                answers.iter_mut().find(|(other, same, _)| *other == name && *same == answer);
            match same {
                Some((_, _, to)) => to.push(one.contact.clone()),
                None => answers.push((name, answer, alloc::vec![one.contact.clone()])),
            }
        }
        self.subscribers = all;
        for (name, answer, to) in answers {
            if to.iter().any(|contact| contact.id == self.me.id) {
                self.tell_matched(name, &answer);
            }
            let others = to.iter().filter(|contact| contact.id != self.me.id);
            let others = others.map(Contact::endpoint).collect();
            self.send_all(others, &Message::Matched { name, answer }, Class::Queued);
        }
    }

    /// A registration was taken.
    pub(super) fn subscribed(&mut self, name_of: u32, sender: PeerId) -> Result<(), DropReason> {
        for one in &mut self.subscriptions {
            let host = one.reference.host.as_ref().map(|host| host.id);
            one.answered |= host == Some(sender) && name(one.node, &one.query) == name_of;
        }
        Ok(())
    }

    /// A registered query has an answer.
    pub(super) fn matched(
        &mut self,
        name_of: u32,
        answer: &[u8],
        sender: PeerId,
    ) -> Result<(), DropReason> {
        let is_from = |one: &Subscription| {
            let is_host = one.reference.host.as_ref().is_some_and(|host| host.id == sender);
            is_host && name(one.node, &one.query) == name_of
        };
        match self.subscriptions.iter().any(is_from) {
            true => self.tell_matched(name_of, answer),
            false => return Err(DropReason::NotInTree),
        }
        Ok(())
    }

    fn tell_matched(&mut self, name_of: u32, answer: &[u8]) {
        let all = self.subscriptions.iter();
        let asked = all.filter(|one| name(one.node, &one.query) == name_of);
        let requests: Vec<u64> = asked.map(|one| one.request).collect();
        for request in requests {
            self.out.event(Event::Matched { request, answer: answer.to_vec() });
        }
    }
}

//! Writing and reading at the owner of a key, once it is found (seed 003 paragraph 0037).

use alloc::vec::Vec;

use super::config::{REQUESTS_MAX, VALUE_LEN_MAX};
use super::lookup::Goal;
use super::message::{Message, Refusal};
use super::replication::Origin;
use super::storage::Record;
use super::{Event, Failure, Ring};
use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::id::{PeerId, RingId};
use crate::machine::Class;
use crate::time::{Now, Time};

/// How often a peer is asked before it is passed over.
const ASK_TRIES: u32 = 3;
/// How often the owner is looked up again when it has not answered.
const LOOKUP_TRIES: u32 = 2;

/// Something that is asked of a peer.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) request: u64,
    pub(super) key: RingId,
    pub(super) due: Time,
    nonce: u32,
    host: Contact,
    asked: u32,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// To store a value as the owner; the lookups so far.
    Write { value: Vec<u8>, tries: u32 },
    /// For the value, as the owner; the lookups so far.
    Read { tries: u32 },
    /// Other holders, because the owner has nothing.
    ReadOthers { waiting: Vec<PeerId> },
    /// For the value, whoever it is.
    Direct,
}

impl Ring {
    /// Asks the owner to store a value.
    pub(super) fn write(
        &mut self,
        request: u64,
        key: RingId,
        value: Vec<u8>,
        tries: u32,
        owner: Contact,
        now: Now,
    ) {
        if owner.id == self.me.id {
            let origin = |version| Origin::Here { request, version };
            if self.store_as_owner(key, value, self.me.id, origin, now).is_err() {
                let reason = Failure::Refused(Refusal::Full);
                self.out.event(Event::Failed { request, key, reason });
            }
            return;
        }
        self.request(request, key, owner, What::Write { value, tries }, now.time);
    }

    /// Asks the owner for a value.
    pub(super) fn read(
        &mut self,
        request: u64,
        key: RingId,
        tries: u32,
        owner: Contact,
        now: Time,
    ) {
        if owner.id != self.me.id {
            return self.request(request, key, owner, What::Read { tries }, now);
        }
        match self.store.record(key) {
            Some(record) => self.tell_value(request, key, owner, Some(record)),
            None => {
                let holders = self.replicas();
                self.read_others(request, key, owner, &holders, now);
            }
        }
    }

    /// Asks a host for a value, without routing.
    pub(super) fn direct(&mut self, request: u64, key: RingId, host: Contact, now: Time) {
        if host.id == self.me.id {
            let record = self.store.record(key);
            return self.tell_value(request, key, host, record);
        }
        self.request(request, key, host, What::Direct, now);
    }

    fn request(&mut self, request: u64, key: RingId, host: Contact, what: What, now: Time) {
        if self.requests.len() >= REQUESTS_MAX {
            self.out.event(Event::Failed { request, key, reason: Failure::Busy });
            return;
        }
        let nonce = self.next_nonce();
        self.ask_host(Request { request, key, due: now, nonce, host, asked: 0, what }, now);
    }

    fn ask_host(&mut self, mut request: Request, now: Time) {
        let (nonce, key) = (request.nonce, request.key);
        let (message, patience) = match &request.what {
            // An owner waits for its replicas, before it answers.
            What::Write { value, .. } => (Message::Put { nonce, key, value: value.clone() }, 3),
            _ => (Message::Get { nonce, key }, 1),
        };
        let class = if request.asked == 0 { Class::Immediate } else { Class::Repeated };
        self.send(request.host.endpoint_for(request.asked as usize), &message, class);
        request.asked += 1;
        request.due = now + self.round_trip.timeout() * patience;
        self.requests.push(request);
    }

    fn read_others(
        &mut self,
        request: u64,
        key: RingId,
        host: Contact,
        holders: &[Contact],
        now: Time,
    ) {
        let others = holders.iter().filter(|holder| ![self.me.id, host.id].contains(&holder.id));
        let others = others.filter(|holder| self.is_acceptable(holder).is_ok());
        let others: Vec<&Contact> = others.collect();
        if others.is_empty() || self.requests.len() >= REQUESTS_MAX {
            return self.tell_value(request, key, host, None);
        }
        let nonce = self.next_nonce();
        let to: Vec<Endpoint> = others.iter().map(|holder| holder.endpoint()).collect();
        let waiting = others.iter().map(|holder| holder.id).collect();
        let due = now + self.round_trip.timeout();
        let what = What::ReadOthers { waiting };
        self.requests.push(Request { request, key, due, nonce, host, asked: 1, what });
        self.send_all(to, &Message::Get { nonce, key }, Class::Immediate);
    }

    /// What has not been answered in time.
    pub(super) fn request_timeouts(&mut self, now: Now) {
        while let Some(index) = self.requests.iter().position(|request| request.due <= now.time) {
            let request = self.requests.swap_remove(index);
            let is_final = matches!(request.what, What::ReadOthers { .. });
            if !is_final && request.asked < ASK_TRIES {
                self.ask_host(request, now.time);
                continue;
            }
            self.suspect(request.host.id, now.time);
            self.ask_another(request, now);
        }
    }

    /// The host is not the owner, or silent: the owner is looked up again.
    fn ask_another(&mut self, request: Request, now: Now) {
        let Request { request, key, host, what, .. } = request;
        match what {
            What::Write { value, tries } if tries < LOOKUP_TRIES => {
                self.look_up(key, Goal::Insert { request, value, tries: tries + 1 }, now);
            }
            What::Read { tries } if tries < LOOKUP_TRIES => {
                self.look_up(key, Goal::Get { request, tries: tries + 1 }, now);
            }
            What::ReadOthers { .. } => self.tell_value(request, key, host, None),
            _ => {
                let reason = Failure::TimedOut;
                self.out.event(Event::Failed { request, key, reason });
            }
        }
    }

    /// A deleted value is none; among holders its record counts, as it is newer than what it replaced.
    fn tell_value(&mut self, request: u64, key: RingId, host: Contact, record: Option<Record>) {
        let record = record.filter(|record| !record.value.is_empty());
        self.out.event(Event::Value { request, key, host, record });
    }

    /// Somebody wants a value stored here.
    pub(super) fn put(
        &mut self,
        nonce: u32,
        key: RingId,
        value: Vec<u8>,
        from: Endpoint,
        now: Now,
    ) {
        let writer = from.id.unwrap_or_default();
        let stored = match () {
            () if value.len() > VALUE_LEN_MAX => Err(Refusal::TooLong),
            () if !self.owns(key) => Err(Refusal::NotOwner),
            () => {
                let origin = |version| Origin::Peer { to: from, nonce, version };
                self.store_as_owner(key, value, writer, origin, now)
            }
        };
        if let Err(why) = stored {
            self.send(from, &Message::Refused { nonce, why }, Class::Immediate);
        }
    }

    /// Somebody wants to know what is held here under a key.
    pub(super) fn give(&mut self, nonce: u32, key: RingId, from: Endpoint) {
        let record = self.store.record(key);
        let holders = if self.owns(key) { self.replicas() } else { Vec::new() };
        self.send(from, &Message::Value { nonce, record, holders }, Class::Immediate);
    }

    fn take_request(&mut self, nonce: u32, is_host: impl Fn(&Request) -> bool) -> Option<Request> {
        let is_it = |request: &Request| request.nonce == nonce && is_host(request);
        let index = self.requests.iter().position(is_it)?;
        Some(self.requests.swap_remove(index))
    }

    fn take_write(&mut self, nonce: u32, sender: PeerId) -> Option<Request> {
        self.take_request(nonce, |request| {
            request.host.id == sender && matches!(request.what, What::Write { .. })
        })
    }

    /// The owner has stored it.
    pub(super) fn put_done(&mut self, nonce: u32, sender: PeerId, version: u64, copies: u8) {
        let Some(taken) = self.take_write(nonce, sender) else { return };
        let Request { request, key, host: owner, .. } = taken;
        self.out.event(Event::Inserted { request, key, owner, version, copies: copies.into() });
    }

    /// The peer does not store it.
    pub(super) fn put_refused(&mut self, nonce: u32, sender: PeerId, why: Refusal, now: Now) {
        let Some(taken) = self.take_write(nonce, sender) else { return };
        if why == Refusal::NotOwner {
            return self.ask_another(taken, now);
        }
        let Request { request, key, .. } = taken;
        self.out.event(Event::Failed { request, key, reason: Failure::Refused(why) });
    }

    /// A peer tells what it holds.
    pub(super) fn value_came(
        &mut self,
        nonce: u32,
        sender: PeerId,
        record: Option<Record>,
        holders: &[Contact],
        now: Now,
    ) -> Result<(), DropReason> {
        let is_from = |request: &Request| match &request.what {
            What::ReadOthers { waiting } => waiting.contains(&sender),
            What::Write { .. } => false,
            What::Read { .. } | What::Direct => request.host.id == sender,
        };
        let Some(mut taken) = self.take_request(nonce, is_from) else { return Ok(()) };
        if record.as_ref().is_some_and(|record| record.key != taken.key) {
            self.requests.push(taken);
            return Err(DropReason::Malformed);
        }
        match &mut taken.what {
            What::ReadOthers { waiting } if record.is_none() && waiting.len() > 1 => {
                waiting.retain(|holder| *holder != sender);
                self.requests.push(taken);
            }
            What::Read { .. } if record.is_none() => {
                let Request { request, key, host, .. } = taken;
                self.read_others(request, key, host, holders, now.time);
            }
            _ => self.tell_value(taken.request, taken.key, taken.host, record),
        }
        Ok(())
    }
}

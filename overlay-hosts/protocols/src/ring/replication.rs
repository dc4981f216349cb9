//! Several peers hold each key: its owner and the owner's next successors. Holders compare digests
//! of ranges now and then, and soon after the leaf set has changed; what differs is sent.

use alloc::vec::Vec;
use core::time::Duration;

use super::config::{DELETED_HOLDS, REQUESTS_MAX};
use super::lookup::Goal;
use super::message::{Message, RECORDS_MAX, Range, Refusal};
use super::storage::{Entry, Record};
use super::{Event, Ring};
use crate::contact::{Contact, Endpoint};
use crate::id::{PeerId, RingId};
use crate::machine::Class;
use crate::replay::CLOCK_TOLERANCE;
use crate::time::{Now, Time, micros};

/// After a change of the leaf set: it mostly is one of several.
const REPAIR_SOON: Duration = Duration::from_millis(500);
/// How often records are sent that nobody acknowledges.
const TRANSFER_TRIES: u32 = 3;
/// Messages with records that others lack that may be under way at once.
pub(super) const REPAIRS_MAX: usize = 16;

/// Records on their way to peers that are to hold them.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) due: Time,
    nonce: u32,
    records: Vec<Record>,
    waiting: Vec<Contact>,
    tries: u32,
    copies: u8,
    origin: Origin,
}

/// What follows when they are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nothing.
    Repair,
    /// They need not be held here any more.
    Surplus,
    /// This peer wanted it stored.
    Here { request: u64, version: u64 },
    /// Somebody else did, and is told.
    Peer { to: Endpoint, nonce: u32, version: u64 },
}

/// The first version whose deletion is still remembered.
fn forgotten(now: Now) -> u64 {
    now.wall.0.saturating_sub(micros(DELETED_HOLDS))
}

impl Transfer {
    /// How many acknowledgments it waits for.
    pub(super) fn open(&self) -> usize {
        self.waiting.len()
    }
}

impl Ring {
    /// Who holds this peer's keys beside itself.
    pub(super) fn replicas(&self) -> Vec<Contact> {
        let successors = self.leaves.successors(self.config.replicas.saturating_sub(1));
        successors.iter().map(|leaf| leaf.contact.clone()).collect()
    }

    fn zone_range(&self) -> Range {
        Range { after: self.after, up_to: self.position }
    }

    /// Stores a value in a new version, here and at the replicas.
    pub(super) fn store_as_owner(
        &mut self,
        key: RingId,
        value: Vec<u8>,
        writer: PeerId,
        origin: impl Fn(u64) -> Origin,
        now: Now,
    ) -> Result<(), Refusal> {
        let version = self.store.next_version(key, writer, &value, now.wall.0);
        let record = Record { key, version, writer, value };
        if !self.store.put(record.clone()) {
            return Err(Refusal::Full);
        }
        let replicas = self.replicas();
        self.transfer(alloc::vec![record], replicas, origin(version), now.time);
        Ok(())
    }

    /// Sends records to all of them by one output, until all have acknowledged them.
    fn transfer(&mut self, records: Vec<Record>, to: Vec<Contact>, origin: Origin, now: Time) {
        let nonce = self.next_nonce();
        let due = now + self.round_trip.timeout();
        let mut transfer =
            Transfer { due, nonce, records, waiting: to, tries: 1, copies: 1, origin };
        if transfer.waiting.is_empty() || self.transfers.len() >= REQUESTS_MAX {
            transfer.waiting.clear();
            return self.finish(transfer);
        }
        let to = transfer.waiting.iter().map(Contact::endpoint).collect();
        let message = Message::Store { nonce, records: transfer.records.clone() };
        self.send_all(to, &message, Class::Queued);
        self.transfers.push(transfer);
    }

    /// Transfers that are not acknowledged in time.
    pub(super) fn transfer_timeouts(&mut self, now: Time) {
        while let Some(index) = self.transfers.iter().position(|transfer| transfer.due <= now) {
            let mut transfer = self.transfers.swap_remove(index);
            if transfer.tries >= TRANSFER_TRIES {
                transfer.waiting.iter().for_each(|peer| self.suspect(peer.id, now));
                self.finish(transfer);
                continue;
            }
            let attempt = transfer.tries as usize;
            let to = transfer.waiting.iter().map(|peer| peer.endpoint_for(attempt)).collect();
            transfer.tries += 1;
            transfer.due = now + self.round_trip.timeout();
            let records = transfer.records.clone();
            let message = Message::Store { nonce: transfer.nonce, records };
            self.send_all(to, &message, Class::Repeated);
            self.transfers.push(transfer);
        }
    }

    /// A peer holds what was sent, or is full.
    pub(super) fn transfer_answered(&mut self, nonce: u32, sender: PeerId, full: bool) {
        let is_it = |transfer: &Transfer| {
            transfer.nonce == nonce && transfer.waiting.iter().any(|peer| peer.id == sender)
        };
        let Some(index) = self.transfers.iter().position(is_it) else { return };
        let transfer = &mut self.transfers[index];
        transfer.waiting.retain(|peer| peer.id != sender);
        transfer.copies = transfer.copies.saturating_add(u8::from(!full));
        if transfer.waiting.is_empty() {
            let transfer = self.transfers.swap_remove(index);
            self.finish(transfer);
        }
    }

    fn finish(&mut self, transfer: Transfer) {
        let Transfer { records, copies, origin, .. } = transfer;
        match origin {
            Origin::Repair => {}
            Origin::Surplus if copies > 1 => {
                records.iter().for_each(|record| self.store.remove(record.key));
            }
            Origin::Surplus => {}
            Origin::Here { request, version } => {
                let Some(key) = records.first().map(|record| record.key) else { return };
                let (owner, copies) = (self.me.clone(), copies.into());
                self.out.event(Event::Inserted { request, key, owner, version, copies });
            }
            Origin::Peer { to, nonce, version } => {
                self.send(to, &Message::Done { nonce, version, copies }, Class::Immediate);
            }
        }
    }

    /// Somebody wants records held here: a neighbor, or anybody if they are this peer's own.
    /// A version that no clock can have given yet is not taken: nothing newer could replace it.
    pub(super) fn hold(&mut self, nonce: u32, records: Vec<Record>, from: Endpoint, now: Now) {
        let latest = now.wall.0.saturating_add(micros(CLOCK_TOLERANCE));
        let is_neighbor = from.id.is_some_and(|id| self.leaves.find(id).is_some());
        let mut full = false;
        let forgotten = forgotten(now);
        for record in records {
            if record.value.is_empty() && record.version < forgotten {
                continue; // it would be forgotten at once
            }
            let is_taken = self.is_member()
                && (is_neighbor || self.owns(record.key))
                && record.version <= latest
                && self.store.put(record);
            full |= !is_taken;
        }
        self.send(from, &Message::Stored { nonce, full }, Class::Queued);
    }

    pub(super) fn repair_soon(&mut self, now: Time) {
        if self.is_member() && self.store.keys() > 0 {
            self.timers.repair = self.timers.repair.min(now + REPAIR_SOON);
        }
    }

    /// Compares what is held with the other holders: as the owner with its successors, as a
    /// successor with the owners.
    pub(super) fn repair(&mut self, now: Now) {
        self.timers.repair = now.time + self.config.repair_interval;
        self.store.forget_deleted(forgotten(now));
        let zone = self.zone_range();
        let replicas: Vec<Endpoint> = self.replicas().iter().map(Contact::endpoint).collect();
        if !self.store.keys_in(zone).is_empty() {
            self.compare_with(replicas, zone);
        }
        let mut surplus = None;
        let mut compared = None;
        let foreign: Vec<RingId> = self.store.all_keys().filter(|key| !self.owns(*key)).collect();
        for key in foreign {
            let place = self.leaves.place(key.clockwise_from(self.position));
            let Some(leaf) = self.leaves.all().get(place).filter(|_| !self.leaves.is_gap(place))
            else {
                surplus = surplus.or(Some((key, None)));
                continue;
            };
            if self.leaves.len() - place >= self.config.replicas {
                let owner = leaf.contact.clone();
                surplus = surplus.or(Some((key, Some(owner))));
            } else if compared != Some(place) {
                compared = Some(place);
                let up_to = leaf.contact.position();
                let before = place.checked_sub(1).map(|place| &self.leaves.all()[place]);
                let after = before.map_or(self.position, |leaf| leaf.contact.position());
                let to = alloc::vec![leaf.contact.endpoint()];
                self.compare_with(to, Range { after, up_to });
            }
        }
        match surplus {
            Some((key, Some(owner))) => self.give_back(key, &owner, now.time),
            Some((key, None)) => self.look_up(key, Goal::Return, now),
            None => return,
        }
        self.timers.repair = now.time + REPAIR_SOON;
    }

    fn compare_with(&mut self, to: Vec<Endpoint>, range: Range) {
        let digest = self.store.digest(range);
        self.send_all(to, &Message::Sync { range, digest }, Class::Queued);
    }

    /// Gives records back that others are to hold: those about `key` go to its owner.
    pub(super) fn give_back(&mut self, key: RingId, owner: &Contact, now: Time) {
        if owner.id == self.me.id {
            return;
        }
        let range = Range { after: key, up_to: owner.position() };
        let keys = [key].into_iter().chain(self.store.keys_in(range)).take(RECORDS_MAX);
        let records: Vec<Record> = keys.filter_map(|key| self.store.record(key)).collect();
        let is_under_way = self.transfers.iter().any(|transfer| {
            transfer.origin == Origin::Surplus && transfer.records.first() == records.first()
        });
        if !records.is_empty() && !is_under_way {
            self.transfer(records, alloc::vec![owner.clone()], Origin::Surplus, now);
        }
    }

    /// A neighbor compares: who holds something else says what.
    pub(super) fn compare(&mut self, range: Range, digest: u64, from: Endpoint) {
        let is_neighbor = from.id.is_some_and(|id| self.leaves.find(id).is_some());
        if self.is_member() && is_neighbor && self.store.digest(range) != digest {
            let end = range.up_to;
            let (range, entries) = self.store.entries(range);
            self.send(from, &Message::Holding { range, end, entries }, Class::Queued);
        }
    }

    /// A neighbor holds something else: what is newer here goes there, and the other way round.
    pub(super) fn settle(
        &mut self,
        range: Range,
        end: RingId,
        entries: &[Entry],
        from: Endpoint,
        now: Time,
    ) {
        let Some(neighbor) = from.id.and_then(|id| self.leaves.find(id)) else { return };
        let neighbor = neighbor.contact.clone();
        let is_newer = |mine: Option<(u64, PeerId)>, theirs: &Entry| {
            mine.is_none_or(|mine| mine < (theirs.version, theirs.writer))
        };
        let wanted = entries.iter().filter(|entry| {
            entry.key.is_in(range.after, range.up_to)
                && is_newer(self.store.version(entry.key), entry)
        });
        let keys: Vec<RingId> = wanted.map(|entry| entry.key).collect();
        if !keys.is_empty() {
            self.send(from, &Message::Want { keys }, Class::Queued);
        }
        let mut missing = self.store.keys_in(range);
        missing.retain(|key| {
            let theirs = entries.iter().find(|entry| entry.key == *key);
            theirs.is_none_or(|theirs| {
                self.store.version(*key) > Some((theirs.version, theirs.writer))
            })
        });
        self.send_some(&missing, &neighbor, now);
        if range.up_to != end {
            let rest = Range { after: range.up_to, up_to: end };
            self.compare_with(alloc::vec![from], rest);
        }
    }

    /// A neighbor wants these.
    pub(super) fn send_wanted(&mut self, keys: &[RingId], sender: PeerId, now: Time) {
        let Some(neighbor) = self.leaves.find(sender) else { return };
        let neighbor = neighbor.contact.clone();
        self.send_some(keys, &neighbor, now);
    }

    /// As many of these as may be on their way; soon the rest is compared again. So a few octets
    /// that claim to hold nothing do not call forth all that is held.
    fn send_some(&mut self, keys: &[RingId], to: &Contact, now: Time) {
        let is_repair = |transfer: &&Transfer| transfer.origin == Origin::Repair;
        let under_way = self.transfers.iter().filter(is_repair).count();
        let room = REPAIRS_MAX.saturating_sub(under_way) * RECORDS_MAX;
        if keys.len() > room {
            self.repair_soon(now);
        }
        self.send_records(&keys[..keys.len().min(room)], to, now);
    }

    fn send_records(&mut self, keys: &[RingId], to: &Contact, now: Time) {
        for keys in keys.chunks(RECORDS_MAX) {
            let records: Vec<Record> =
                keys.iter().filter_map(|key| self.store.record(*key)).collect();
            self.transfer(records, alloc::vec![to.clone()], Origin::Repair, now);
        }
    }

    /// Gives all its own keys to its successor, before it leaves.
    pub(super) fn hand_over(&mut self, now: Time) {
        let Some(successor) = self.leaves.all().first().map(|leaf| leaf.contact.clone()) else {
            return;
        };
        let keys = self.store.keys_in(self.zone_range());
        self.send_records(&keys, &successor, now);
    }
}

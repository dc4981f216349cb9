//! The nearest peers on each side of one's place on the ring (seed 003 paragraph 0043).
//!
//! One list, clockwise from here: the first r are the successors, the last r the predecessors. With
//! 2r or fewer peers it is the whole ring; with more there is a gap in the middle.

use alloc::vec::Vec;

use crate::contact::{Contact, Endpoint};
use crate::id::{PeerId, RingId};
use crate::time::Time;

/// A peer in the leaf set.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) contact: Contact,
    /// How far it is clockwise from here.
    pub(super) distance: RingId,
    /// When anything came from it.
    pub(super) heard: Time,
    /// When it last answered a ping.
    pub(super) confirmed: Time,
    /// The digest of its own leaf set when that was last seen.
    pub(super) digest: u32,
}

/// What became of a peer that was to be inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is new.
    Added,
    /// It was there.
    Known,
    /// Others are nearer.
    Refused,
}

/// The leaf set.
#[derive(Clone, Debug)]
pub(super) struct LeafSet {
    me: RingId,
    half: usize,
    leaves: Vec<Leaf>,
    /// Of each leaf, in the same order: whoever speaks is looked for in these.
    tags: Vec<u32>,
    digest: u32,
}

impl LeafSet {
    pub(super) fn new(me: RingId, half: usize) -> LeafSet {
        LeafSet { me, half, leaves: Vec::new(), tags: Vec::new(), digest: 0 }
    }

    /// All, clockwise.
    pub(super) fn all(&self) -> &[Leaf] {
        &self.leaves
    }

    pub(super) fn len(&self) -> usize {
        self.leaves.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.leaves.len() >= 2 * self.half
    }

    pub(super) fn find(&self, id: PeerId) -> Option<&Leaf> {
        self.place_of(id).map(|place| &self.leaves[place])
    }

    pub(super) fn find_mut(&mut self, id: PeerId) -> Option<&mut Leaf> {
        self.place_of(id).map(|place| &mut self.leaves[place])
    }

    fn place_of(&self, id: PeerId) -> Option<usize> {
        let tag = id.tag();
        let alike = self.tags.iter().enumerate().filter(|(_, other)| **other == tag);
        alike.map(|(place, _)| place).find(|place| self.leaves[*place].contact.id == id)
    }

    /// Where the zone begins: the predecessor's place, or one's own if there is nobody else.
    pub(super) fn predecessor(&self) -> RingId {
        self.leaves.last().map_or(self.me, |leaf| leaf.contact.position())
    }

    /// The next `count` peers clockwise, at most r.
    pub(super) fn successors(&self, count: usize) -> &[Leaf] {
        &self.leaves[..count.min(self.half).min(self.leaves.len())]
    }

    /// The last peer clockwise and the last one counter-clockwise: who knows beyond them.
    pub(super) fn ends(&self) -> Vec<Endpoint> {
        let successor = self.successors(self.half).last();
        let predecessor = self.leaves.get(self.leaves.len().saturating_sub(self.half));
        let mut ends: Vec<Endpoint> = [successor, predecessor]
            .into_iter()
            .flatten()
            .map(|leaf| leaf.contact.endpoint())
            .collect();
        ends.dedup();
        ends
    }

    /// The next peer on each side: whose zones change when this one is gone.
    pub(super) fn nearest(&self) -> Vec<Endpoint> {
        let both = [self.leaves.first(), self.leaves.last()];
        let mut nearest: Vec<Endpoint> =
            both.into_iter().flatten().map(|leaf| leaf.contact.endpoint()).collect();
        nearest.dedup();
        nearest
    }

    /// How many are nearer clockwise than `distance`.
    pub(super) fn place(&self, distance: RingId) -> usize {
        self.leaves.partition_point(|leaf| leaf.distance < distance)
    }

    /// Whether unknown peers may stand in front of the leaf at `place`.
    pub(super) fn is_gap(&self, place: usize) -> bool {
        self.is_full() && place == self.half
    }

    /// How far the farthest successor is.
    pub(super) fn reach(&self) -> RingId {
        self.successors(self.half).last().map_or(RingId::ZERO, |leaf| leaf.distance)
    }

    /// Whether a peer that stands there would be one of the nearest.
    pub(super) fn admits(&self, position: RingId) -> bool {
        let distance = position.clockwise_from(self.me);
        distance != RingId::ZERO && !(self.is_full() && self.place(distance) == self.half)
    }

    /// Takes a peer in, if it is near enough; the one that is not any more falls out.
    pub(super) fn insert(&mut self, contact: &Contact, now: Time) -> Inserted {
        if let Some(index) = self.place_of(contact.id) {
            let leaf = &mut self.leaves[index];
            leaf.heard = now;
            if leaf.contact == *contact {
                return Inserted::Known;
            }
            if leaf.contact.position() == contact.position() {
                leaf.contact = contact.clone();
                return Inserted::Known;
            }
            self.leaves.remove(index);
            self.renew_digest();
        }
        if !self.admits(contact.position()) {
            return Inserted::Refused;
        }
        let distance = contact.position().clockwise_from(self.me);
        let place = self.place(distance);
        if self.leaves.get(place).is_some_and(|leaf| leaf.distance == distance) {
            return Inserted::Refused; // a place that somebody else has
        }
        let contact = contact.clone();
        let leaf = Leaf { contact, distance, heard: now, confirmed: Time(0), digest: 0 };
        self.leaves.insert(place, leaf);
        if self.leaves.len() > 2 * self.half {
            self.leaves.remove(self.half);
        }
        self.renew_digest();
        Inserted::Added
    }

    pub(super) fn remove(&mut self, id: PeerId) -> Option<Leaf> {
        let index = self.place_of(id)?;
        let leaf = self.leaves.remove(index);
        self.renew_digest();
        Some(leaf)
    }

    pub(super) fn clear(&mut self) {
        self.leaves.clear();
        self.renew_digest();
    }

    /// A short sum of who is in it, in order.
    pub(super) fn digest(&self) -> u32 {
        self.digest
    }

    fn renew_digest(&mut self) {
        self.tags.clear();
        self.tags.extend(self.leaves.iter().map(|leaf| leaf.contact.id.tag()));
        // FNV-1a over the tags of the identities.
        let add = |sum: u32, tag: &u32| (sum ^ tag).wrapping_mul(0x0100_0193);
        self.digest = self.tags.iter().fold(0x811c_9dc5, add);
    }

    /// Where to send what all are to get.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.leaves.iter().map(|leaf| leaf.contact.endpoint()).collect()
    }

    pub(super) fn contacts(&self) -> Vec<Contact> {
        self.leaves.iter().map(|leaf| leaf.contact.clone()).collect()
    }
}

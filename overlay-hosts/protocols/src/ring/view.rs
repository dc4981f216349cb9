//! What is shown of a ring.

use alloc::vec::Vec;

use super::Ring;
use super::replication::Transfer;
use super::storage::Record;
use crate::contact::Contact;
use crate::id::RingId;
use crate::time::Time;

/// What one peer knows of its ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingView {
    /// Whether it is part of one.
    pub joined: bool,
    /// Where it stands.
    pub position: RingId,
    /// Its zone is (this, its position]; the whole ring if both are equal.
    pub zone_after: RingId,
    /// Its neighbors, clockwise: successors first, predecessors last.
    pub leaves: Vec<LeafView>,
    /// Peers far away that it routes by.
    pub fingers: usize,
    /// Keys that it holds, others' too.
    pub keys: usize,
    /// Octets of their values.
    pub bytes: usize,
    /// Lookups under way.
    pub lookups: usize,
}

/// One neighbor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafView {
    /// Who it is.
    pub contact: Contact,
    /// When anything came from it.
    pub heard: Time,
}

impl Ring {
    /// Whether it is part of a ring.
    pub fn is_joined(&self) -> bool {
        self.is_member()
    }

    /// The next peer counter-clockwise, if there is any.
    pub fn predecessor(&self) -> Option<&Contact> {
        self.leaves.all().last().map(|leaf| &leaf.contact)
    }

    /// The next peer clockwise, if there is any.
    pub fn successor(&self) -> Option<&Contact> {
        self.leaves.all().first().map(|leaf| &leaf.contact)
    }

    /// Its neighbors, clockwise: successors first, predecessors last.
    pub fn leaf_set(&self) -> impl ExactSizeIterator<Item = &Contact> {
        self.leaves.all().iter().map(|leaf| &leaf.contact)
    }

    /// Peers far away that it routes by, nearest first.
    pub fn finger_contacts(&self) -> impl ExactSizeIterator<Item = &Contact> {
        self.fingers.all().iter().map(|finger| &finger.contact)
    }

    /// What it holds under a key, as the owner or for it.
    pub fn held(&self, key: RingId) -> Option<Record> {
        self.store.record(key)
    }

    /// How many transfers of records are not acknowledged yet.
    pub fn transfers_open(&self) -> usize {
        self.transfers.iter().map(Transfer::open).sum()
    }

    /// All of it.
    pub fn view(&self) -> RingView {
        let leaf = |leaf: &super::leaf_set::Leaf| LeafView {
            contact: leaf.contact.clone(),
            heard: leaf.heard,
        };
        RingView {
            joined: self.is_member(),
            position: self.position,
            zone_after: self.zone_after(),
            leaves: self.leaves.all().iter().map(leaf).collect(),
            fingers: self.fingers.all().len(),
            keys: self.store.keys(),
            bytes: self.store.bytes(),
            lookups: self.lookups.len(),
        }
    }
}

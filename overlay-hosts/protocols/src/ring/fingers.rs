//! Chord's fingers: for each power of two the first known peer that is at least as far away.

use alloc::vec::Vec;

use crate::contact::Contact;
use crate::id::{ID_BITS, PeerId, RingId};

/// A peer far away.
#[derive(Clone, Debug)]
pub(super) struct Finger {
    /// Its distance lies in [2^slot, 2^(slot + 1)).
    pub(super) slot: u8,
    /// How far it is clockwise from here.
    pub(super) distance: RingId,
    pub(super) contact: Contact,
}

/// The fingers: at most one a slot, nearest first. So nobody gets more slots than it has identities.
#[derive(Clone, Debug)]
pub(super) struct Fingers {
    me: RingId,
    fingers: Vec<Finger>,
    /// The slot that was looked up last; they are in turn, from the farthest on.
    cursor: u8,
}

impl Fingers {
    pub(super) fn new(me: RingId) -> Fingers {
        Fingers { me, fingers: Vec::new(), cursor: 0 }
    }

    pub(super) fn all(&self) -> &[Finger] {
        &self.fingers
    }

    /// Takes a peer, if it is the nearest one of its slot and beyond the leaf set's reach.
    pub(super) fn offer(&mut self, contact: &Contact, reach: RingId) {
        let distance = contact.position().clockwise_from(self.me);
        let Some(slot) = distance.highest_bit().filter(|_| distance > reach) else { return };
        // It may have stood elsewhere.
        self.fingers.retain(|old| old.contact.id != contact.id || u32::from(old.slot) == slot);
        let finger = Finger { slot: slot as u8, distance, contact: contact.clone() };
        let place = self.fingers.partition_point(|finger| u32::from(finger.slot) < slot);
        match self.fingers.get_mut(place) {
            Some(old) if u32::from(old.slot) == slot => {
                if old.contact.id == contact.id || distance < old.distance {
                    *old = finger;
                }
            }
            _ => {
                if self.fingers.len() == self.fingers.capacity() {
                    self.fingers.reserve_exact(2);
                }
                self.fingers.insert(place, finger);
            }
        }
    }

    pub(super) fn remove(&mut self, id: PeerId) -> Option<Contact> {
        let index = self.fingers.iter().position(|finger| finger.contact.id == id)?;
        Some(self.fingers.remove(index).contact)
    }

    pub(super) fn clear(&mut self) {
        self.fingers.clear();
        self.cursor = 0;
    }

    /// Those nearer than `distance`, the farthest of them first.
    pub(super) fn before(&self, distance: RingId) -> impl Iterator<Item = &Finger> {
        let count = self.fingers.partition_point(|finger| finger.distance < distance);
        self.fingers[..count].iter().rev()
    }

    /// The next slot to look up, from the farthest on: a place in it, the peer that is known there,
    /// and whether it is the last one beyond the leaf set.
    pub(super) fn next(&mut self, reach: RingId) -> (RingId, Option<Contact>, bool) {
        let lowest = reach.highest_bit().unwrap_or(0);
        let cursor = u32::from(self.cursor);
        let slot = if cursor <= lowest { ID_BITS - 1 } else { cursor - 1 };
        self.cursor = slot as u8;
        let known = self.fingers.iter().find(|finger| u32::from(finger.slot) == slot);
        let key = self.me.plus(RingId::power_of_two(slot));
        (key, known.map(|finger| finger.contact.clone()), slot <= lowest)
    }
}

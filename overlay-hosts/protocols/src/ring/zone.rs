//! Which keys are a peer's own (seed 003 paragraph 0041), and what it does when it cannot know.
//!
//! A zone begins behind the predecessor. Whose r predecessors all go at once knows nobody nearer than
//! somebody far around the ring, and by its leaf set alone it would take nearly all of the ring for its
//! own. Its fingers know better: a peer that stands in the zone shows that the side is lost. Then the zone
//! stays as it was, and the peer looks its own place up, from the farthest finger on. Whoever answers and
//! is nearest is the predecessor, which mostly has lost its successors by the same crash; each is told
//! the other's leaf set, and both have their sides again.

use super::Ring;
use super::lookup::Goal;
use crate::contact::Contact;
use crate::id::RingId;
use crate::time::{Now, Time};

impl Ring {
    /// Whether a key lies in this peer's zone (seed 003 paragraph 0041).
    pub fn owns(&self, key: RingId) -> bool {
        self.is_member() && key.is_in(self.after, self.position)
    }

    /// Where its zone begins: (this, its position]; the whole ring if both are equal.
    pub fn zone_after(&self) -> RingId {
        self.after
    }

    /// The zone is what neighbors say, unless the side in front of this peer is lost: that is to be found.
    pub(super) fn settle_zone(&mut self, now: Time) {
        if !self.has_lost_side() {
            self.timers.seek = Time::NEVER;
            if self.after != self.leaves.predecessor() {
                self.after = self.leaves.predecessor();
                self.repair_soon(now);
            }
        } else if self.timers.seek == Time::NEVER {
            self.timers.seek = now;
        }
    }

    /// Whether somebody is known to stand between the predecessor and this peer, so that it is none.
    fn has_lost_side(&self) -> bool {
        let farthest = self.fingers.all().last().map(|finger| finger.distance);
        farthest > self.leaves.all().last().map(|leaf| leaf.distance)
    }

    /// Looks the predecessor up.
    pub(super) fn seek_predecessor(&mut self, now: Now) {
        self.timers.seek = Time::NEVER;
        self.settle_zone(now.time);
        if self.timers.seek == Time::NEVER {
            return;
        }
        self.timers.seek = now.time + self.config.lookup_timeout;
        let fingers = self.fingers.all().iter().map(|finger| finger.contact.clone()).collect();
        self.look_up_from(fingers, self.position, Goal::Predecessor, now);
    }

    /// The nearest one in front of this peer that has answered.
    pub(super) fn found_predecessor(&mut self, nearest: Option<Contact>, now: Time) {
        self.settle_zone(now);
        if let Some(nearest) = nearest.filter(|_| self.has_lost_side()) {
            self.ask_to_be_next(nearest, now);
        }
    }
}

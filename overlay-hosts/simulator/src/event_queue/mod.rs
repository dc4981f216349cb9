//! What will happen, in order: by time, then by the order that it was put in.
//!
//! [`Wheel`] is a hierarchical timer wheel; the others are [`candidates`], kept for the comparison.
//! `overlay-sim bench-queue` makes it: the hold model (take the next, put one back) with an
//! overlay's mix of spans, a fifth of them timers of 5 to 10 s, the rest messages that take 10 to
//! 400 ms. Nanoseconds a hold with so many events pending, the making of the span included:
//!
//! | queue | 100,000 | 1,000,000 |
//! | --- | --- | --- |
//! | timer wheel, 8 levels of 64 slots | 61 | 73 |
//! | calendar, buckets of a millisecond | 153 | 113 |
//! | binary heap of the standard library | 217 | 1129 |

pub mod bench;
pub mod candidates;
#[cfg(test)]
mod tests;

use overlay_protocols::Time;

/// What will happen and when: 24 octets, larger things are kept elsewhere and named by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// When.
    pub at: Time,
    /// Which was put in earlier; the queue numbers them.
    pub sequence: u64,
    /// To whom.
    pub place: u32,
    /// What, as the world means it.
    pub what: u32,
}

/// Events in order.
pub trait EventQueue {
    /// Puts one in, which is not before the last that was taken.
    fn push(&mut self, at: Time, place: u32, what: u32);
    /// Takes the next.
    fn pop(&mut self) -> Option<Event>;
    /// When the next is.
    fn next_at(&mut self) -> Option<Time>;
}

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 8;

/// A hierarchical timer wheel (G. Varghese, A. Lauck, SOSP 1987): level n has slots of 64^n
/// microseconds; what a slot holds moves down a level when its time comes.
#[derive(Debug)]
pub struct Wheel {
    sequence: u64,
    now: u64,
    levels: Vec<Level>,
    /// Events of this very microsecond, the next last.
    due: Vec<Event>,
    /// What came into the next 64 microseconds when they began.
    soon: Vec<Event>,
}

#[derive(Debug)]
struct Level {
    /// Bit n: slot n holds something.
    occupied: u64,
    slots: Vec<Vec<Event>>,
}

impl Default for Wheel {
    fn default() -> Wheel {
        let level = || Level { occupied: 0, slots: vec![Vec::new(); SLOTS] };
        let levels = (0..LEVELS).map(|_| level()).collect();
        Wheel { sequence: 0, now: 0, levels, due: Vec::new(), soon: Vec::new() }
    }
}

impl Wheel {
    /// One of the events that will come next, in no order; each is given once, and not all are.
    pub fn take_soon(&mut self) -> Option<Event> {
        self.soon.pop()
    }

    fn place(&mut self, event: Event) {
        let differing = self.now ^ event.at.0;
        let level = (63 - (differing | 1).leading_zeros()) / SLOT_BITS;
        let level = (level as usize).min(LEVELS - 1);
        let slot = (event.at.0 >> (SLOT_BITS * level as u32)) as usize % SLOTS;
        self.levels[level].occupied |= 1 << slot;
        self.levels[level].slots[slot].push(event);
    }

    fn turn(&mut self) {
        while self.due.is_empty() {
            let Some(level) = self.levels.iter().position(|level| level.occupied != 0) else {
                return;
            };
            let shift = SLOT_BITS * level as u32;
            let slot = self.levels[level].occupied.trailing_zeros() as usize;
            let mut events = std::mem::take(&mut self.levels[level].slots[slot]);
            self.levels[level].occupied &= !(1 << slot);
            let above = self.now >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
            self.now = above | (slot as u64) << shift;
            if level == 0 {
                events.sort_unstable_by(|one, other| other.cmp(one));
                // The slot gets the memory of what is over.
                self.levels[0].slots[slot] = std::mem::replace(&mut self.due, events);
            } else {
                if level == 1 {
                    // Nobody need ask.
                    self.soon.clear();
                    self.soon.extend_from_slice(&events);
                }
                for event in events.drain(..) {
                    self.place(event);
                }
                self.levels[level].slots[slot] = events;
            }
        }
    }
}

impl EventQueue for Wheel {
    fn push(&mut self, at: Time, place: u32, what: u32) {
        self.sequence += 1;
        let event = Event { at, sequence: self.sequence, place, what };
        if at.0 <= self.now {
            let index = self.due.partition_point(|other| *other > event);
            self.due.insert(index, event);
        } else {
            self.place(event);
        }
    }

    fn pop(&mut self) -> Option<Event> {
        self.turn();
        self.due.pop()
    }

    fn next_at(&mut self) -> Option<Time> {
        self.turn();
        self.due.last().map(|event| event.at)
    }
}

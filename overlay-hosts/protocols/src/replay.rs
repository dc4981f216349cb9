//! No datagram counts twice: a window of what was received, by sender and its start.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use crate::drops::DropReason;
use crate::envelope::Stamp;
use crate::id::PeerId;
use crate::time::{Now, Time};

/// How many datagrams one may be late by.
pub const WINDOW: u64 = 1024;
/// Senders that are remembered at the same time: at most some 220 octets each.
pub const SENDERS_MAX: usize = 4096;
/// How far the clocks of sender and receiver may be apart, time on the way included. A sender that
/// was silent for longer is forgotten: what it has sealed is too old by then.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(600);

const WORDS: usize = (WINDOW / 64) as usize;
/// As many as fit into three words with their count.
const FEW: usize = 11;

/// Of the senders that were heard of so often that they came to the front, so many are looked at first:
/// their tags are what a processor fetches at once.
const FRONT: usize = 16;

/// What was received of one sender: what a processor fetches at once, without the words of
/// [`Received::Many`].
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Window {
    id: PeerId,
    /// In seconds, and not before that.
    heard: u32,
    epoch: u64,
    /// The highest number received.
    highest: u64,
    received: Received,
}

/// Which of the last [`WINDOW`] numbers were received. Most senders are heard of once in a while, and
/// say most of what they say to others.
#[derive(Clone, Debug)]
enum Received {
    /// The first `count` of these, modulo 2^16.
    Few { count: u8, numbers: [u16; FEW] },
    /// Bit `n % WINDOW`: number n was.
    Many(Box<[u64; WORDS]>),
}

/// The windows of all senders.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The tags of all senders, in the order of the windows. They are searched one after the other:
    /// that is less memory to look at than a step from window to window in a sorted list.
    tags: Vec<u32>,
    windows: Vec<Window>,
    /// When senders that were silent for long were last looked for.
    swept: Time,
}

impl Replay {
    /// Takes a genuine datagram over.
    ///
    /// # Errors
    /// It is not to be taken; nothing has changed.
    pub fn accept(&mut self, id: PeerId, stamp: &Stamp, now: Now) -> Result<(), DropReason> {
        let apart = now.wall.seconds().abs_diff(u64::from(stamp.sent));
        if apart > CLOCK_TOLERANCE.as_secs() {
            return Err(DropReason::Ancient);
        }
        let place = match self.place(id) {
            Some(place) => place,
            None => {
                self.forget_the_silent(now.time);
                if self.windows.len() >= SENDERS_MAX {
                    return Err(DropReason::TooManySenders);
                }
                // Not twice as much room each time: there are many nodes in a simulation.
                if self.windows.len() == self.windows.capacity() {
                    self.windows.reserve_exact(8);
                    self.tags.reserve_exact(8);
                }
                self.tags.push(id.tag());
                self.windows.push(Window {
                    id,
                    epoch: stamp.epoch,
                    highest: 0,
                    received: Received::NONE,
                    heard: 0,
                });
                self.windows.len() - 1
            }
        };
        self.windows[place].accept(stamp, now.time)?;
        if place >= FRONT {
            self.tags.swap(place, place / 2);
            self.windows.swap(place, place / 2);
        }
        Ok(())
    }

    /// Where the window of a sender is; several may have the same tag.
    fn place(&self, id: PeerId) -> Option<usize> {
        let tag = id.tag();
        let alike = self.tags.iter().enumerate().filter(|(_, other)| **other == tag);
        alike.map(|(place, _)| place).find(|place| self.windows[*place].id == id)
    }

    /// Makes room if there is none. It goes through all senders, so at most once a second: new keys
    /// cost a hostile peer nothing.
    fn forget_the_silent(&mut self, now: Time) {
        let is_soon = now.since(self.swept) < Duration::from_secs(1) && self.swept != Time(0);
        if self.windows.len() < SENDERS_MAX || is_soon {
            return;
        }
        self.swept = now;
        // By then whatever was received is too old by the clock: sealed up to the tolerance ahead
        // of it, it counts for that much longer.
        let horizon = 2 * CLOCK_TOLERANCE;
        self.windows.retain(|window| {
            let heard = Time(u64::from(window.heard) * 1_000_000);
            now.since(heard) <= horizon
        });
        self.tags.clear();
        self.tags.extend(self.windows.iter().map(|window| window.id.tag()));
    }

    /// How many senders are remembered.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }
}

impl Window {
    fn accept(&mut self, stamp: &Stamp, now: Time) -> Result<(), DropReason> {
        if stamp.epoch < self.epoch {
            return Err(DropReason::Ancient);
        }
        if stamp.epoch > self.epoch {
            (self.epoch, self.highest, self.received) = (stamp.epoch, 0, Received::NONE);
        }
        let number = stamp.sequence;
        if number.saturating_add(WINDOW) <= self.highest {
            return Err(DropReason::Ancient);
        }
        if number > self.highest {
            self.received.advance(self.highest, number);
            self.highest = number;
        } else if self.received.contains(number) {
            return Err(DropReason::Replayed);
        }
        self.received.insert(number);
        self.heard = u32::try_from(now.0.div_ceil(1_000_000)).unwrap_or(u32::MAX);
        Ok(())
    }
}

impl Received {
    const NONE: Received = Received::Few { count: 0, numbers: [0; FEW] };

    /// Forgets what is out of the window when its highest number is another.
    fn advance(&mut self, before: u64, highest: u64) {
        if highest - before >= WINDOW {
            *self = Received::NONE;
            return;
        }
        match self {
            Received::Few { count, numbers } => {
                let mut kept = 0;
                for place in 0..usize::from(*count) {
                    let age = (highest as u16).wrapping_sub(numbers[place]);
                    if u64::from(age) < WINDOW {
                        numbers[kept] = numbers[place];
                        kept += 1;
                    }
                }
                *count = kept as u8;
            }
            Received::Many(words) => {
                (before + 1..=highest).for_each(|gap| words[word(gap)] &= !bit(gap));
            }
        }
    }

    fn contains(&self, number: u64) -> bool {
        match self {
            Received::Few { count, numbers } => {
                numbers[..usize::from(*count)].contains(&(number as u16))
            }
            Received::Many(words) => words[word(number)] & bit(number) != 0,
        }
    }

    /// Takes one over that is not there.
    fn insert(&mut self, number: u64) {
        match self {
            Received::Few { count, numbers } if usize::from(*count) < FEW => {
                numbers[usize::from(*count)] = number as u16;
                *count += 1;
            }
            Received::Few { numbers, .. } => {
                let mut words = Box::new([0; WORDS]);
                // The window divides 2^16.
                let all = numbers.iter().map(|few| u64::from(*few)).chain([number]);
                all.for_each(|number| words[word(number)] |= bit(number));
                *self = Received::Many(words);
            }
            Received::Many(words) => words[word(number)] |= bit(number),
        }
    }
}

fn word(number: u64) -> usize {
    (number % WINDOW / 64) as usize
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Wall;

    fn now(seconds: u64) -> Now {
        Now { time: Time(seconds * 1_000_000), wall: Wall(seconds * 1_000_000) }
    }

    fn stamp(epoch: u64, sequence: u64, sent: u32) -> Stamp {
        Stamp { key: [0; 32], epoch, sequence, sent }
    }

    const ID: PeerId = PeerId([1; 20]);

    proptest! {
        /// Against a set of all numbers that were ever taken.
        #[test]
        fn every_number_is_taken_once_unless_it_is_too_late(
            numbers in proptest::collection::vec(1u64..5000, 1..600),
            base in prop_oneof![Just(0), 64_000u64..67_000, Just(u64::MAX - 5000)],
            stride in prop_oneof![Just(1u64), Just(40), Just(400)],
        ) {
            let mut replay = Replay::default();
            let mut taken = std::collections::BTreeSet::new();
            for number in numbers {
                // With a stride the window holds few of them.
                let number = base + number / stride * stride;
                let highest = taken.last().copied().unwrap_or(0);
                let expected = match number {
                    _ if number.saturating_add(WINDOW) <= highest => Err(DropReason::Ancient),
                    _ if taken.contains(&number) => Err(DropReason::Replayed),
                    _ => Ok(()),
                };
                prop_assert_eq!(replay.accept(ID, &stamp(1, number, 5), now(5)), expected);
                if expected.is_ok() {
                    taken.insert(number);
                }
            }
        }
    }

    #[test]
    fn a_new_start_counts_anew_and_the_one_before_is_over() {
        let mut replay = Replay::default();
        assert_eq!(replay.accept(ID, &stamp(1, 900, 5), now(5)), Ok(()));
        assert_eq!(replay.accept(ID, &stamp(2, 1, 5), now(5)), Ok(()));
        assert_eq!(replay.accept(ID, &stamp(1, 901, 5), now(5)), Err(DropReason::Ancient));
        assert_eq!(replay.accept(ID, &stamp(2, 1, 5), now(5)), Err(DropReason::Replayed));
    }

    #[test]
    fn what_the_clock_calls_old_is_ancient() {
        let mut replay = Replay::default();
        assert_eq!(replay.accept(ID, &stamp(1, 1, 1000), now(1601)), Err(DropReason::Ancient));
        assert_eq!(replay.accept(ID, &stamp(1, 1, 1000), now(1600)), Ok(()));
        assert_eq!(replay.accept(ID, &stamp(1, 2, 2300), now(1601)), Err(DropReason::Ancient));
    }

    #[test]
    fn senders_are_bounded_and_forgotten_only_when_their_datagrams_are_too_old() {
        let mut replay = Replay::default();
        let id = |number: usize| {
            let mut octets = [0; 20];
            octets[..8].copy_from_slice(&(number as u64).to_be_bytes());
            PeerId(octets)
        };
        for number in 0..SENDERS_MAX {
            assert_eq!(replay.accept(id(number), &stamp(1, 1, 1000), now(1000)), Ok(()));
        }
        let more = id(SENDERS_MAX);
        assert_eq!(
            replay.accept(more, &stamp(1, 1, 1000), now(1000)),
            Err(DropReason::TooManySenders)
        );
        assert_eq!(replay.accept(more, &stamp(1, 1, 2201), now(2201)), Ok(()));
        assert_eq!(replay.len(), 1);
        assert_eq!(replay.accept(id(0), &stamp(1, 1, 1000), now(2201)), Err(DropReason::Ancient));
    }
}

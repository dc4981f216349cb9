//! A link with a rate, in one direction: packets leave it one after another.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use overlay_protocols::time::{Time, micros};

/// When a direction of a link is taken. Packets need not be put in by the time at which they come: a
/// message is followed to its end before the next one begins. Each takes the first gap behind its
/// coming that is long enough, so one that comes early does not wait for one that comes late.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// From, until; in order, without overlaps, those that touch joined.
    taken: VecDeque<(u64, u64)>,
    /// Spans of time whose cross traffic is known; those that are over are forgotten.
    spans: BTreeSet<u64>,
    /// Packets of that which have not come yet: when each will, and its octets; in order.
    coming: VecDeque<(Time, usize)>,
}

impl Queue {
    /// Puts a packet in that comes `at` and takes `octets` at `rate` bits a second; returns when its
    /// last bit has left. Nothing will come before `now` any more.
    pub(super) fn take(&mut self, now: Time, at: Time, octets: usize, rate: u64) -> Time {
        while self.taken.front().is_some_and(|(_, until)| *until < now.0) {
            self.taken.pop_front();
        }
        let span = micros(serialization(octets, rate));
        let mut from = at.0;
        let mut place = self.taken.partition_point(|(_, until)| *until < from);
        while let Some((start, until)) = self.taken.get(place)
            && *start < from.saturating_add(span)
        {
            from = from.max(*until);
            place += 1;
        }
        let until = from.saturating_add(span);
        self.insert(place, from, until);
        Time(until)
    }

    /// Says whether the cross traffic of a span is still to be drawn. It is span `now`.
    pub(super) fn begin_span(&mut self, span: u64, now: u64) -> bool {
        self.spans = self.spans.split_off(&now.saturating_sub(1));
        self.spans.insert(span)
    }

    /// These will come, each at its time.
    pub(super) fn expect(&mut self, packets: Vec<(Time, usize)>) {
        self.coming.extend(packets);
        self.coming.make_contiguous().sort_unstable();
    }

    /// Puts in what comes up to a time.
    pub(super) fn advance(&mut self, now: Time, until: Time, rate: u64) {
        while let Some((at, octets)) = self.coming.pop_front_if(|(at, _)| *at <= until) {
            self.take(now, at, octets, rate);
        }
    }

    fn insert(&mut self, place: usize, from: u64, until: u64) {
        let before = place.checked_sub(1).filter(|before| self.taken[*before].1 == from);
        let behind = self.taken.get(place).copied().filter(|(start, _)| *start == until);
        match (before, behind) {
            (Some(before), Some((_, end))) => {
                self.taken[before].1 = end;
                self.taken.remove(place);
            }
            (Some(before), None) => self.taken[before].1 = until,
            (None, Some((_, end))) => self.taken[place] = (from, end),
            (None, None) => self.taken.insert(place, (from, until)),
        }
    }
}

/// How long octets take at so many bits a second, rounded up to a microsecond.
pub(super) fn serialization(octets: usize, rate: u64) -> Duration {
    let bits = octets as u128 * 8 * 1_000_000;
    let micros = bits.div_ceil(u128::from(rate.max(1)));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_one_after_another() {
        let mut queue = Queue::default();
        // 1,250 octets at 10 Mbit/s are a millisecond.
        let mut take = |now, at| queue.take(Time(now), Time(at), 1250, 10_000_000).0;
        assert_eq!(take(0, 100), 1100);
        assert_eq!(take(0, 100), 2100);
        assert_eq!(take(0, 1500), 3100);
        assert_eq!(take(9000, 9000), 10_000);
    }

    #[test]
    fn one_that_comes_early_does_not_wait_for_one_that_comes_late() {
        let mut queue = Queue::default();
        let mut take = |at| queue.take(Time(0), Time(at), 1250, 10_000_000).0;
        assert_eq!(take(5000), 6000);
        assert_eq!(take(1000), 2000);
        assert_eq!(take(1500), 3000);
        // Between 3,000 and 5,000 there is room for it, and then for one more exactly.
        assert_eq!(take(3000), 4000);
        assert_eq!(take(3000), 5000);
        assert_eq!(take(3000), 7000);
        assert_eq!(queue.taken, [(1000, 7000)]);
    }

    #[test]
    fn a_gap_that_is_too_short_stays_empty() {
        let mut queue = Queue::default();
        let mut take = |at| queue.take(Time(0), Time(at), 1250, 10_000_000).0;
        assert_eq!((take(0), take(1500)), (1000, 2500));
        assert_eq!(take(200), 3500);
        assert_eq!(queue.taken, [(0, 1000), (1500, 3500)]);
    }

    #[test]
    fn what_has_left_is_forgotten_and_times_are_rounded_up() {
        let mut queue = Queue::default();
        for at in 0..1000 {
            queue.take(Time(at * 10), Time(at * 10), 1, 3_000_000);
        }
        assert!(queue.taken.len() < 3);
        assert_eq!(serialization(1, 3_000_000), Duration::from_micros(3));
        assert_eq!(serialization(1500, 0), Duration::from_secs(12_000));
    }
}

//! What has become of the frames of one direction, and how punctually they left.

use std::time::Duration;

use serde_json::{Value, json};

use super::shaper::Dropped;

/// Frames and their octets, from the link-layer header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) frames: u64,
    pub(super) octets: u64,
}

impl Count {
    pub(super) fn add(&mut self, octets: usize) {
        self.frames += 1;
        self.octets += octets as u64;
    }

    pub(super) fn remove(&mut self, octets: usize) {
        self.frames -= 1;
        self.octets -= octets as u64;
    }

    fn json(self) -> Value {
        json!({ "frames": self.frames, "octets": self.octets })
    }
}

/// What has become of the frames of one direction. At every moment
/// `received + duplicated = forwarded + dropped + queued`, in frames and, but for overruns and
/// unreadable frames, of which nobody knows the octets, in octets.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) received: Count,
    pub(super) duplicated: Count,
    pub(super) forwarded: Count,
    /// Waiting, or on the way.
    pub(super) queued: Count,
    pub(super) lost: Count,
    pub(super) queue_full: Count,
    /// More was on the way than the emulator keeps.
    pub(super) in_flight: Count,
    /// The interface did not take it.
    pub(super) refused: Count,
    /// Longer than any frame that the emulator takes, or of a form that the kernel does not hand out.
    pub(super) unreadable: Count,
    /// The emulator did not come to receive it in time.
    pub(super) overrun: Count,
    pub(super) lateness: Lateness,
}

impl Tally {
    pub(super) fn drop(&mut self, why: Dropped, octets: usize) {
        match why {
            Dropped::Queue => self.queue_full.add(octets),
            Dropped::Loss => self.lost.add(octets),
        }
    }

    /// Takes over how many frames the kernel had no room for, so far.
    pub(super) fn set_overruns(&mut self, overruns: u64) {
        self.received.frames += overruns - self.overrun.frames;
        self.overrun.frames = overruns;
    }

    /// Each reason for a drop.
    fn drops(&self) -> [(&'static str, Count); 6] {
        [
            ("loss", self.lost),
            ("queue", self.queue_full),
            ("in-flight", self.in_flight),
            ("refused", self.refused),
            ("unreadable", self.unreadable),
            ("overrun", self.overrun),
        ]
    }

    pub(super) fn json(&self) -> Value {
        let drops = self.drops().map(|(reason, count)| (reason.to_owned(), count.json()));
        json!({
            "received": self.received.json(),
            "duplicated": self.duplicated.json(),
            "forwarded": self.forwarded.json(),
            "queued": self.queued.json(),
            "dropped": serde_json::Map::from_iter(drops),
            "late-microseconds": self.lateness.json(),
        })
    }

    /// The reasons for drops, in words.
    pub(super) fn drops_text(&self) -> String {
        let drops = self.drops().into_iter().filter(|(_, count)| count.frames > 0);
        let words: Vec<_> =
            drops.map(|(reason, count)| format!("{reason} {}", count.frames)).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    }
}

/// Parts of each doubling of a lateness.
const PARTS: u64 = 8;
const BUCKETS: usize = 256;

/// How long after their time frames left: how many in which eighth of a doubling.
#[derive(Clone, Debug)]
pub(super) struct Lateness {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    max: Duration,
}

impl Default for Lateness {
    fn default() -> Lateness {
        Lateness { buckets: Box::new([0; BUCKETS]), count: 0, max: Duration::ZERO }
    }
}

impl Lateness {
    pub(super) fn add(&mut self, late: Duration) {
        self.buckets[bucket(late)] += 1;
        self.count += 1;
        self.max = self.max.max(late);
    }

    /// No more than such a share of the frames was later, to an eighth.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let fits = |count: &u64| {
            seen += count;
            seen >= rank
        };
        self.buckets.iter().position(fits).map(|index| bound(index).min(self.max))
    }

    fn json(&self) -> Value {
        let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
        let quantile = |share| self.quantile(share).map(micros);
        json!({ "p50": quantile(0.5), "p99": quantile(0.99), "max": micros(self.max) })
    }
}

/// Microseconds below `PARTS` are buckets of their own; from there on each doubling has so many.
fn bucket(late: Duration) -> usize {
    let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
    if micros < PARTS {
        return micros as usize;
    }
    let doublings = u64::from((micros / PARTS).ilog2());
    let index = (doublings + 1) * PARTS + (micros >> doublings) - PARTS;
    (index as usize).min(BUCKETS - 1)
}

/// The end of what falls into a bucket.
fn bound(index: usize) -> Duration {
    let index = index as u64 + 1;
    if index <= PARTS {
        return Duration::from_micros(index);
    }
    let (doublings, part) = (index / PARTS - 1, index % PARTS);
    Duration::from_micros((PARTS + part) << doublings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_where_the_next_one_begins() {
        for micros in (0..5000).chain([1 << 20, 123_456_789]) {
            let late = Duration::from_micros(micros);
            let index = bucket(late);
            assert!(late < bound(index), "{micros}");
            assert!(index == 0 || late >= bound(index - 1), "{micros}");
            let width = bound(index) - index.checked_sub(1).map_or(Duration::ZERO, bound);
            assert!(width.as_micros() as u64 <= (micros / PARTS).max(1), "{micros}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.quantile(0.5), None);
        (1..=100).for_each(|micros| lateness.add(Duration::from_micros(micros)));
        let p50 = lateness.quantile(0.5).unwrap().as_micros();
        assert!((50..57).contains(&p50), "{p50}");
        assert_eq!(lateness.quantile(1.0), Some(Duration::from_micros(100)));
    }

    #[test]
    fn overruns_count_as_received_and_dropped_once() {
        let mut tally = Tally::default();
        tally.set_overruns(3);
        tally.set_overruns(5);
        assert_eq!((tally.received.frames, tally.overrun.frames), (5, 5));
        assert_eq!(tally.drops_text(), "overrun 5");
    }
}

//! Bottleneck bandwidth by packet pairs (seed 003 paragraphs 0075 to 0077): two packets of S octets
//! leave back to back, the narrowest link on their way spreads them by T, and S / T is its rate.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::time::micros;

/// Pairs of one neighbor that are remembered, each way: cross traffic comes between the two of some,
/// and queues behind the bottleneck press others together; the median passes over both.
pub const PAIRS_MAX: usize = 20;
/// Pairs spread wider say nothing: one of the two has waited, or has been sent late.
const SPREAD_MAX: Duration = Duration::from_secs(1);

/// What a pair says, in kilobits a second; `None` if the two came at once, or too far apart.
pub fn of_pair(octets: usize, spread: Duration) -> Option<u32> {
    let bits = octets as u64 * 8;
    let spread = Some(micros(spread)).filter(|_| spread <= SPREAD_MAX);
    let kilobits = (bits * 1000).checked_div(spread?)?;
    Some(u32::try_from(kilobits).unwrap_or(u32::MAX))
}

/// What the last pairs from, or to, one neighbor say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    last: VecDeque<u32>,
}

impl Pairs {
    /// One more; the oldest of too many is forgotten.
    pub fn add(&mut self, kilobits: u32) {
        if self.last.len() >= PAIRS_MAX {
            self.last.pop_front();
        }
        self.last.push_back(kilobits);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// The median, the lower one of two; `None` of nothing.
    pub fn median(&self) -> Option<u32> {
        let mut all: Vec<u32> = self.last.iter().copied().collect();
        all.sort_unstable();
        all.get(all.len().saturating_sub(1) / 2).copied()
    }
}

/// A peer's own rate in one direction: the largest that any neighbor sees, of those with at least so
/// many pairs. It is right as soon as one neighbor's link the other way is as fast (0075).
pub fn estimate<'a>(neighbors: impl Iterator<Item = &'a Pairs>, least: usize) -> Option<u32> {
    neighbors.filter(|pairs| pairs.len() >= least).filter_map(Pairs::median).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(all: &[u32]) -> Pairs {
        let mut pairs = Pairs::default();
        all.iter().for_each(|one| pairs.add(*one));
        pairs
    }

    #[test]
    fn two_packets_of_1500_octets_12_ms_apart_have_passed_1_mbit_a_second() {
        assert_eq!(of_pair(1500, Duration::from_millis(12)), Some(1000));
        assert_eq!(of_pair(1500, Duration::from_micros(12)), Some(1_000_000));
        assert_eq!(of_pair(1500, Duration::from_micros(1)), Some(12_000_000));
        assert_eq!(of_pair(1500, Duration::ZERO), None);
        assert_eq!(of_pair(1500, Duration::from_secs(1)), Some(12));
        assert_eq!(of_pair(1500, Duration::from_micros(1_000_001)), None);
    }

    #[test]
    fn the_median_passes_over_pairs_that_were_spread_or_pressed() {
        assert_eq!(pairs(&[]).median(), None);
        assert_eq!(pairs(&[7]).median(), Some(7));
        assert_eq!(pairs(&[9, 7]).median(), Some(7));
        assert_eq!(pairs(&[1000, 400, 1000, 9000, 1000, 300, 1000]).median(), Some(1000));
    }

    #[test]
    fn only_the_last_twenty_count() {
        let mut last = pairs(&[1; 50]);
        (0..11).for_each(|_| last.add(5));
        assert_eq!((last.len(), last.median()), (PAIRS_MAX, Some(5)));
    }

    #[test]
    fn one_fast_neighbor_is_enough() {
        let all = [pairs(&[100, 100, 100]), pairs(&[500, 480, 510]), pairs(&[9000])];
        assert_eq!(estimate(all.iter(), 3), Some(500));
        assert_eq!(estimate(all.iter(), 4), None);
        assert_eq!(estimate(all.iter(), 1), Some(9000));
    }
}

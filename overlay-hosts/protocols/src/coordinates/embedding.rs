//! Coordinates of many peers at once, as they come to them by themselves.

use alloc::vec;
use alloc::vec::Vec;

use super::fit::{Fit, Measured};
use super::point::Coordinate;
use crate::random::Random;

/// How many peers come to their coordinates: they join one by one, each fits to its neighbors on a
/// ring, and all fit again a few times. All at once from anywhere they would end in folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// How each fits.
    pub fit: Fit,
    /// Neighbors on both sides of the ring together. Default 32.
    pub leaf_set: usize,
    /// How often all fit again when all are there. Default 4.
    pub rounds: usize,
}

impl Default for Embedding {
    fn default() -> Embedding {
        Embedding { fit: Fit::default(), leaf_set: 32, rounds: 4 }
    }
}

impl Embedding {
    /// Coordinates of peers 0 to `count`, whose places on the ring and order of joining are random.
    /// `distance` says how far two are; `None`: nobody has measured that.
    pub fn of(
        &self,
        count: usize,
        distance: impl Fn(usize, usize) -> Option<f64>,
        random: &mut Random,
    ) -> Vec<Coordinate> {
        let mut order: Vec<usize> = (0..count).collect();
        random.shuffle(&mut order);
        let mut at = vec![Coordinate::ORIGIN; count];
        // Peers by their places on the ring, which are equally likely wherever others stand.
        let mut ring: Vec<usize> = Vec::with_capacity(count);
        for peer in order.iter().copied() {
            let place = random.below(ring.len() as u64 + 1) as usize;
            ring.insert(place, peer);
            let measured = self.measured(&ring, place, &at, &distance);
            at[peer] = self.fit.place(&measured, random);
        }
        for _ in 0..self.rounds {
            for (place, peer) in ring.iter().copied().enumerate() {
                let measured = self.measured(&ring, place, &at, &distance);
                at[peer] = self.fit.refine(at[peer], &measured);
            }
        }
        at
    }

    /// What the peer at a place of the ring has measured of its neighbors.
    fn measured(
        &self,
        ring: &[usize],
        place: usize,
        at: &[Coordinate],
        distance: impl Fn(usize, usize) -> Option<f64>,
    ) -> Vec<Measured> {
        let others = ring.len() - 1;
        let after = self.leaf_set.div_ceil(2).min(others);
        let before = (self.leaf_set / 2).min(others - after);
        let steps = (1..=after).chain(ring.len() - before..ring.len());
        let measure = |step: usize| {
            let peer = ring[(place + step) % ring.len()];
            let distance = distance(ring[place], peer)?;
            Some(Measured { at: at[peer], distance })
        };
        steps.filter_map(measure).collect()
    }
}

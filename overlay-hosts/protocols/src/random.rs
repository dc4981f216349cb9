//! Randomness that a seed decides.

use core::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::time::micros;

/// A generator of its own for each machine: the same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The generator of one purpose; another `stream` of the same seed gives other numbers.
    pub fn new(seed: u64, stream: u64) -> Random {
        let mixed = seed ^ stream.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Random(Xoshiro256PlusPlus::seed_from_u64(mixed))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which is not 0; all equally likely.
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        // Lemire's multiplication, the few values that would be too likely drawn again.
        let threshold = bound.wrapping_neg() % bound.max(1);
        loop {
            let product = u128::from(self.number()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// At least 0 and less than 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Up to `span`, in microseconds.
    pub fn up_to(&mut self, span: Duration) -> Duration {
        Duration::from_micros(self.below(micros(span).saturating_add(1).max(1)))
    }

    /// Exponentially distributed about a mean.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let times = -libm::log(1.0 - self.unit());
        Duration::from_micros((times * micros(mean) as f64) as u64)
    }

    /// One of them; `None` if there is none.
    pub fn choose<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        (!all.is_empty()).then(|| &all[self.below(all.len() as u64) as usize])
    }

    /// Any order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for index in (1..all.len()).rev() {
            all.swap(index, self.below(index as u64 + 1) as usize);
        }
    }

    /// Fills with any octets.
    pub fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill_bytes(octets);
    }
}

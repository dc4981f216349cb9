//! How long nodes stay.

use std::time::Duration;

use overlay_protocols::random::Random;
use overlay_protocols::time::micros;

/// How lifetimes are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lifetimes {
    /// Exponentially, about a mean: how long a node has lived says nothing of how long it will.
    Exponential {
        /// The mean.
        mean: Duration,
    },
    /// After Pareto: most are short, and who has lived long stays longer.
    Pareto {
        /// The shape, above 1; the smaller, the more very long lives.
        shape: f64,
        /// The mean.
        mean: Duration,
    },
}

/// Draws lifetimes, and how lives end.
#[derive(Clone, Debug)]
pub struct Churn {
    lifetimes: Lifetimes,
    /// The share of lives that end without a word.
    crashes: f64,
    random: Random,
}

impl Churn {
    /// With lives like these, of which a share ends by a crash.
    pub fn new(lifetimes: Lifetimes, crashes: f64, seed: u64) -> Churn {
        Churn { lifetimes, crashes, random: Random::new(seed, 0x63_6875_726e) }
    }

    /// A lifetime.
    pub fn lifetime(&mut self) -> Duration {
        match self.lifetimes {
            Lifetimes::Exponential { mean } => self.random.exponential(mean),
            Lifetimes::Pareto { shape, mean } => {
                let least = micros(mean) as f64 * (shape - 1.0) / shape;
                let times = (1.0 - self.random.unit()).powf(-1.0 / shape);
                Duration::from_micros((least * times) as u64)
            }
        }
    }

    /// Whether a life ends without a word.
    pub fn is_crash(&mut self) -> bool {
        self.random.unit() < self.crashes
    }
}

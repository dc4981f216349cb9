//! How metrics are measured: every value that can be tuned, with its unit and where it is from.

use core::time::Duration;

use crate::bandwidth::PAIRS_MAX;
use crate::coordinates::{DIMENSIONS_MAX, Fit};
use crate::node::PAIR_LEN_MAX;
use crate::time::bounded;

/// The shortest packet of a pair, octets: an empty message and all headers fit.
const PAIR_LEN_MIN: usize = 256;
/// The most places that a newcomer begins from.
const RESTARTS_MAX: usize = 64;

/// How it runs. Waits are within [`WAIT_MIN`](crate::time::WAIT_MIN) and
/// [`WAIT_MAX`](crate::time::WAIT_MAX); the seed names none of these values but the size of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How a coordinate is fitted. Default: 5 dimensions, 4 restarts. All peers have to have the same
    /// dimensions: who has others has no place.
    pub fit: Fit,
    /// How often a peer measures some neighbors and fits again, on the average. Default: 10 s.
    pub interval: Duration,
    /// Neighbors that are measured each time, drawn anew (seed 003 paragraph 0074: "randomly
    /// chooses"); those that never were, in any case. Default: 2.
    pub measured: usize,
    /// How long an answer may take. Default: 4 s.
    pub answer_timeout: Duration,
    /// How often a neighbor is sent a pair, on the average; `None`: never. Default: 10 s.
    pub pair_interval: Option<Duration>,
    /// S, octets of each IP packet of a pair. Default: 1,500 (0077: "1.5 KB").
    pub pair_size: usize,
    /// Pairs to or from a neighbor until they count: up to [`PAIRS_MAX`]. Default: 3.
    pub pairs_min: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            fit: Fit::default(),
            interval: Duration::from_secs(10),
            measured: 2,
            answer_timeout: Duration::from_secs(4),
            pair_interval: Some(Duration::from_secs(10)),
            pair_size: PAIR_LEN_MAX,
            pairs_min: 3,
        }
    }
}

impl Config {
    /// The same with all waits and counts as it can run with.
    pub(super) fn bounded(mut self) -> Config {
        self.interval = bounded(self.interval);
        self.answer_timeout = bounded(self.answer_timeout);
        self.pair_interval = self.pair_interval.map(bounded);
        self.fit.dimensions = self.fit.dimensions.clamp(1, DIMENSIONS_MAX);
        self.fit.restarts = self.fit.restarts.clamp(1, RESTARTS_MAX);
        self.pair_size = self.pair_size.clamp(PAIR_LEN_MIN, PAIR_LEN_MAX);
        self.pairs_min = self.pairs_min.clamp(1, PAIRS_MAX);
        self
    }
}

//! What goes wrong with datagrams on their way. Each fault has randomness of its own, so that one
//! that is switched on changes nothing of what the others do.

use std::time::Duration;

use overlay_protocols::random::Random;

/// Streams of the seed.
const LOSS: u64 = 0x6c6f_7373;
const DUPLICATION: u64 = 0x0074_7769_6365;
const DELAY: u64 = 0x6c61_7465;

/// What goes wrong, and how often.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The share of arrivals that are lost.
    pub loss: f64,
    /// The share of arrivals that happen twice.
    pub duplication: f64,
    /// Arrivals come up to so much later: all times equally likely, so they overtake each other.
    pub delay: Duration,
    sides: Option<Vec<u32>>,
    random: [Random; 3],
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none(seed: u64) -> Faults {
        let random = [LOSS, DUPLICATION, DELAY].map(|stream| Random::new(seed, stream));
        Faults { loss: 0.0, duplication: 0.0, delay: Duration::ZERO, sides: None, random }
    }

    /// Splits the network: hosts, by their places, hear only those on their own side. What is on
    /// its way arrives.
    pub fn split(&mut self, sides: Vec<u32>) {
        self.sides = Some(sides);
    }

    /// The network is whole again.
    pub fn heal(&mut self) {
        self.sides = None;
    }

    /// By how much later each arrival of a datagram comes that was to arrive once.
    pub(super) fn fate(
        &mut self,
        from: usize,
        to: usize,
    ) -> impl Iterator<Item = Duration> + use<> {
        let side = |place| self.sides.as_ref().map(|sides| sides.get(place));
        let is_lost = side(from) != side(to) || happens(&mut self.random[0], self.loss);
        let is_twice = happens(&mut self.random[1], self.duplication);
        let mut late = || match self.delay.is_zero() {
            true => Duration::ZERO,
            false => self.random[2].up_to(self.delay),
        };
        let first = (!is_lost).then(&mut late);
        let second = (!is_lost && is_twice).then(&mut late);
        first.into_iter().chain(second)
    }
}

fn happens(random: &mut Random, share: f64) -> bool {
    share > 0.0 && random.unit() < share
}

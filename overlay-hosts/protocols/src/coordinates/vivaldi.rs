//! Vivaldi (Dabek, Cox, Kaashoek, Morris, SIGCOMM 2004): the yardstick. Each measured latency is a
//! spring that pulls or pushes a peer by a quarter, the less the surer it is. With heights, which
//! stand for last hops; with the adjustment and the gravity of serf's `coordinate` package.

use alloc::vec::Vec;

use super::point::{Coordinate, DIMENSIONS_MAX};
use crate::random::Random;

/// The paper's cc: by which part of the error a spring moves a peer.
const PULL: f64 = 0.25;
/// The paper's ce: how fast the estimate of one's own error follows.
const TRUST: f64 = 0.25;
/// The error that a peer begins with, which is the largest.
const ERROR_MAX: f64 = 1.5;
/// Shorter latencies, errors and distances are taken for this: a nanosecond, if the unit is 1 ms.
const LEAST: f64 = 1e-6;

/// What kind of Vivaldi it is. Lengths are in the unit of what is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VivaldiConfig {
    /// Of the Euclidean part: 1 to [`DIMENSIONS_MAX`].
    pub dimensions: usize,
    /// The least height; `None`: there are none.
    pub height_min: Option<f64>,
    /// Over how many of the last latencies what is left of the error is halved and added to every
    /// prediction; 0: it is not.
    pub adjustment: usize,
    /// From how far away a peer is drawn to the origin by a whole unit; `None`: by nothing.
    pub gravity: Option<f64>,
}

impl VivaldiConfig {
    /// The paper's, without heights.
    pub fn euclidean(dimensions: usize) -> VivaldiConfig {
        VivaldiConfig { dimensions, height_min: None, adjustment: 0, gravity: None }
    }

    /// The paper's, with heights of at least 10 us; the unit is 1 ms.
    pub fn with_height(dimensions: usize) -> VivaldiConfig {
        VivaldiConfig { height_min: Some(0.01), ..VivaldiConfig::euclidean(dimensions) }
    }

    /// As serf has it: 8 dimensions and heights, 20 latencies, gravity from 150 s. Its filter, the
    /// median of a peer's last three latencies, is left to whoever measures.
    pub fn serf() -> VivaldiConfig {
        VivaldiConfig { adjustment: 20, gravity: Some(150e3), ..VivaldiConfig::with_height(8) }
    }
}

/// What a peer tells of where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// In the Euclidean part.
    pub at: Coordinate,
    /// Above it.
    pub height: f64,
    /// Added to every prediction.
    pub adjustment: f64,
    /// Its estimate of its own relative error.
    pub error: f64,
}

impl Spot {
    /// The latency that is predicted between two.
    pub fn distance(&self, other: &Spot) -> f64 {
        let plain = self.plain_distance(other);
        let adjusted = plain + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { plain }
    }

    fn plain_distance(&self, other: &Spot) -> f64 {
        self.at.distance(&other.at) + self.height + other.height
    }

    /// Moves away from `other`, or towards it by a force below 0.
    fn push(&mut self, force: f64, other: &Spot, config: &VivaldiConfig, random: &mut Random) {
        let length = self.at.distance(&other.at);
        let direction = match length > LEAST {
            true => self.at.plus(&other.at, -1.0).times(1.0 / length),
            false => Coordinate::any_direction(config.dimensions, random),
        };
        self.at = self.at.plus(&direction, force);
        if let Some(least) = config.height_min
            && length > LEAST
        {
            let grown = self.height + (self.height + other.height) * force / length;
            self.height = grown.max(least);
        }
    }
}

/// One peer.
#[derive(Clone, Debug)]
pub struct Vivaldi {
    config: VivaldiConfig,
    spot: Spot,
    /// The last differences of measured and predicted, and where the next one goes.
    differences: Vec<f64>,
    next: usize,
}

impl Vivaldi {
    /// At the origin, and sure of nothing.
    pub fn new(config: VivaldiConfig) -> Vivaldi {
        let config =
            VivaldiConfig { dimensions: config.dimensions.clamp(1, DIMENSIONS_MAX), ..config };
        let height = config.height_min.unwrap_or(0.0);
        let spot = Spot { at: Coordinate::ORIGIN, height, adjustment: 0.0, error: ERROR_MAX };
        Vivaldi { config, spot, differences: Vec::new(), next: 0 }
    }

    /// Where it stands.
    pub fn spot(&self) -> &Spot {
        &self.spot
    }

    /// Takes a latency to a peer that tells where it stands.
    pub fn observe(&mut self, other: &Spot, latency: f64, random: &mut Random) {
        let latency = latency.max(LEAST);
        let distance = self.spot.distance(other);
        let off = (distance - latency).abs() / latency;
        let weight = self.spot.error / (self.spot.error + other.error).max(LEAST);
        let error = TRUST * weight * off + self.spot.error * (1.0 - TRUST * weight);
        self.spot.error = error.min(ERROR_MAX);
        self.spot.push(PULL * weight * (latency - distance), other, &self.config, random);
        self.adjust(latency - self.spot.plain_distance(other));
        if let Some(from) = self.config.gravity {
            let height = self.config.height_min.unwrap_or(0.0);
            let (at, adjustment) = (Coordinate::ORIGIN, 0.0);
            let origin = Spot { at, height, adjustment, error: ERROR_MAX };
            let far = self.spot.distance(&origin) / from;
            self.spot.push(-far * far, &origin, &self.config, random);
        }
    }

    fn adjust(&mut self, difference: f64) {
        let window = self.config.adjustment;
        if window == 0 {
            return;
        }
        match self.differences.get_mut(self.next) {
            Some(oldest) => *oldest = difference,
            None => self.differences.push(difference),
        }
        self.next = (self.next + 1) % window;
        let sum: f64 = self.differences.iter().sum();
        self.spot.adjustment = sum / (2.0 * window as f64);
    }
}

#[cfg(test)]
mod tests {
    //! The scenarios that serf is tested with, and the errors that it publishes for them.

    use super::*;

    /// 1,000 cycles in which each of the nodes measures one that is drawn; the mean and the largest
    /// relative error over all pairs.
    fn simulate(nodes: usize, truth: impl Fn(usize, usize) -> f64, seed: u64) -> (f64, f64) {
        let mut random = Random::new(seed, 0);
        let mut all: Vec<Vivaldi> =
            (0..nodes).map(|_| Vivaldi::new(VivaldiConfig::serf())).collect();
        for _ in 0..1000 {
            for one in 0..nodes {
                let other = random.below(nodes as u64) as usize;
                if other != one {
                    let spot = *all[other].spot();
                    all[one].observe(&spot, truth(one, other), &mut random);
                }
            }
        }
        let pairs = (0..nodes).flat_map(|one| (one + 1..nodes).map(move |other| (one, other)));
        let errors: Vec<f64> = pairs
            .map(|(one, other)| {
                let real = truth(one, other);
                (all[one].spot().distance(all[other].spot()) - real).abs() / real
            })
            .collect();
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        (mean, errors.into_iter().fold(0.0, f64::max))
    }

    /// Serf publishes what one seed gives: of ours, one in four is as good.
    fn at_most(mean: f64, most: f64, nodes: usize, truth: impl Fn(usize, usize) -> f64) {
        let found: Vec<(f64, f64)> = (1..=25).map(|seed| simulate(nodes, &truth, seed)).collect();
        let quartile = |each: fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = found.iter().map(each).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 4]
        };
        let found = (quartile(|run| run.0), quartile(|run| run.1));
        assert!(found.0 <= mean && found.1 <= most, "{found:?} for {mean} and {most}");
    }

    #[test]
    fn nodes_on_a_line() {
        at_most(0.0031, 0.013, 10, |one, other| 10.0 * one.abs_diff(other) as f64);
    }

    #[test]
    fn nodes_on_a_grid() {
        at_most(0.0016, 0.023, 25, |one, other| {
            let (x, y) = ((one % 5).abs_diff(other % 5), (one / 5).abs_diff(other / 5));
            10.0 * libm::sqrt((x * x + y * y) as f64)
        });
    }

    #[test]
    fn two_data_centers() {
        at_most(0.00006, 0.00048, 25, |one, other| {
            1.0 + if (one <= 12) == (other <= 12) { 0.0 } else { 10.0 }
        });
    }

    #[test]
    fn a_circle_with_one_high_above_its_middle() {
        at_most(0.0028, 0.064, 25, |one, other| {
            if one == 0 || other == 0 {
                return 200.0;
            }
            let angle = |node: usize| core::f64::consts::TAU * node as f64 / 25.0;
            2.0 * 100.0 * libm::sin((angle(one) - angle(other)).abs() / 2.0)
        });
    }

    #[test]
    fn latencies_without_any_space() {
        let mut random = Random::new(3, 1);
        let mut normal = || {
            let (one, other) = (1.0 - random.unit(), random.unit());
            libm::sqrt(-2.0 * libm::log(one)) * libm::cos(core::f64::consts::TAU * other)
        };
        let drawn: Vec<f64> = (0..25 * 25).map(|_| 100.0 + 10.0 * normal()).collect();
        at_most(0.075, 0.33, 25, |one, other| drawn[one.min(other) * 25 + one.max(other)]);
    }
}

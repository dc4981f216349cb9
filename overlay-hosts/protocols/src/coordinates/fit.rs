//! One peer's own coordinate, fitted to what it has measured (seed 003 paragraph 0074).

use super::point::{Coordinate, DIMENSIONS_MAX};
use super::simplex::{self, Corner};
use crate::random::Random;

/// Values of E that one descent may take, for each dimension.
const EVALUATIONS: usize = 120;

/// A neighbor that says where it stands, and how far it was measured to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Where it says that it stands.
    pub at: Coordinate,
    /// How far it is, in the unit of the axes.
    pub distance: f64,
}

/// E(x), the sum of |predicted - measured| over all that was measured, for a peer at `at`.
pub fn error(at: &Coordinate, measured: &[Measured]) -> f64 {
    measured.iter().map(|each| (at.distance(&each.at) - each.distance).abs()).sum()
}

/// How coordinates are fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// d, of the Euclidean space: 1 to [`DIMENSIONS_MAX`]. No value in the seed; default 5.
    pub dimensions: usize,
    /// Places that a newcomer begins from. Default 4: from a single one many end in a fold.
    pub restarts: usize,
}

impl Default for Fit {
    fn default() -> Fit {
        Fit { dimensions: 5, restarts: 4 }
    }
}

impl Fit {
    /// Where a newcomer stands: the best of descents from several places about those that it has
    /// measured. The origin, if there are none.
    pub fn place(&self, measured: &[Measured], random: &mut Random) -> Coordinate {
        let descents = (0..self.restarts.max(1)).filter_map(|_| self.restart(measured, random));
        let best = descents.min_by(|(_, one), (_, other)| one.total_cmp(other));
        best.map_or(Coordinate::ORIGIN, |(at, _)| at)
    }

    /// Where a peer stands better that stands at `from`; never worse.
    pub fn refine(&self, from: Coordinate, measured: &[Measured]) -> Coordinate {
        self.descend(from, measured).0
    }

    /// A descent from the right distance of any neighbor, in any direction.
    fn restart(&self, measured: &[Measured], random: &mut Random) -> Option<Corner> {
        let neighbor = random.choose(measured)?;
        let direction = Coordinate::any_direction(self.dimensions, random);
        Some(self.descend(neighbor.at.plus(&direction, neighbor.distance), measured))
    }

    fn descend(&self, from: Coordinate, measured: &[Measured]) -> Corner {
        let dimensions = self.dimensions.clamp(1, DIMENSIONS_MAX);
        let value = |at: &Coordinate| error(at, measured);
        let sum: f64 = measured.iter().map(|each| each.distance).sum();
        let step = 0.25 * sum / measured.len().max(1) as f64;
        let evaluations = EVALUATIONS * dimensions;
        let (at, _) = simplex::minimize(from, step, dimensions, evaluations, value);
        // Anew from there: a simplex that has become flat finds nothing any more.
        simplex::minimize(at, step / 4.0, dimensions, evaluations, value)
    }
}

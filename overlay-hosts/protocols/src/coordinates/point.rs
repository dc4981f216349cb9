//! Places in a Euclidean space of a few dimensions.

use core::array;

use crate::random::Random;

/// The most dimensions of a space.
pub const DIMENSIONS_MAX: usize = 8;

/// A place; axes that a space does not have are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coordinate {
    /// In the unit of whatever was measured: milliseconds of round trip on hosts.
    pub axes: [f64; DIMENSIONS_MAX],
}

impl Coordinate {
    /// The middle of every space.
    pub const ORIGIN: Coordinate = Coordinate { axes: [0.0; DIMENSIONS_MAX] };

    /// How far another place is: the latency that is predicted (seed 003 paragraph 0074).
    pub fn distance(&self, other: &Coordinate) -> f64 {
        let squares = self.axes.iter().zip(&other.axes).map(|(a, b)| (a - b) * (a - b));
        libm::sqrt(squares.sum())
    }

    /// This place moved by so many times another, seen as a vector.
    pub(super) fn plus(&self, other: &Coordinate, times: f64) -> Coordinate {
        Coordinate { axes: array::from_fn(|axis| self.axes[axis] + times * other.axes[axis]) }
    }

    /// As a vector, so many times as long.
    pub(super) fn times(&self, times: f64) -> Coordinate {
        Coordinate::ORIGIN.plus(self, times)
    }

    /// A vector of length 1, all directions equally likely.
    pub(super) fn any_direction(dimensions: usize, random: &mut Random) -> Coordinate {
        loop {
            let mut vector = Coordinate::ORIGIN;
            for axis in &mut vector.axes[..dimensions.clamp(1, DIMENSIONS_MAX)] {
                *axis = 2.0 * random.unit() - 1.0;
            }
            // What lies in the corners of the cube is drawn again.
            let length = vector.distance(&Coordinate::ORIGIN);
            if (1e-3..=1.0).contains(&length) {
                return vector.times(1.0 / length);
            }
        }
    }
}

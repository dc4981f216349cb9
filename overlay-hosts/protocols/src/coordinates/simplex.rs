//! Downhill simplex (Nelder and Mead, 1965): looks for the least of a function of a few variables
//! by its values alone.

use core::array;

use super::point::{Coordinate, DIMENSIONS_MAX};

/// It ends when the corners' values differ by less than this part of the best.
const TOLERANCE: f64 = 1e-4;

/// A corner, and the function's value there.
pub(super) type Corner = (Coordinate, f64);

/// Looks from `start`, where the first corners are `step` away on each axis, with at most about
/// `evaluations` values; the best corner found, which is never worse than `start`.
pub(super) fn minimize(
    start: Coordinate,
    step: f64,
    dimensions: usize,
    evaluations: usize,
    value: impl Fn(&Coordinate) -> f64,
) -> Corner {
    let dimensions = dimensions.clamp(1, DIMENSIONS_MAX);
    let corner = |at: Coordinate| (at, value(&at));
    let mut room: [Corner; DIMENSIONS_MAX + 1] = array::from_fn(|number| {
        let mut at = start;
        if (1..=dimensions).contains(&number) {
            at.axes[number - 1] += step;
        }
        (at, f64::INFINITY)
    });
    let corners = &mut room[..=dimensions];
    corners.iter_mut().for_each(|each| *each = corner(each.0));
    let mut left = evaluations.saturating_sub(corners.len());
    loop {
        corners.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        let (best, worst) = (corners[0], corners[dimensions]);
        if left == 0 || worst.1 - best.1 <= TOLERANCE * best.1 {
            return best;
        }
        let middle = middle(&corners[..dimensions]);
        let away = |times: f64| {
            let out = worst.0.plus(&middle, -1.0);
            corner(middle.plus(&out, -times))
        };
        let reflected = away(1.0);
        let (better, used) = if reflected.1 < best.1 {
            let expanded = away(2.0);
            (Some(if expanded.1 < reflected.1 { expanded } else { reflected }), 2)
        } else if reflected.1 < corners[dimensions - 1].1 {
            (Some(reflected), 1)
        } else {
            let contracted = away(if reflected.1 < worst.1 { 0.5 } else { -0.5 });
            (Some(contracted).filter(|it| it.1 < worst.1.min(reflected.1)), 2)
        };
        left = left.saturating_sub(used);
        match better {
            Some(better) => corners[dimensions] = better,
            None => {
                for each in &mut corners[1..] {
                    *each = corner(best.0.plus(&each.0, 1.0).times(0.5));
                }
                left = left.saturating_sub(dimensions);
            }
        }
    }
}

fn middle(corners: &[Corner]) -> Coordinate {
    let part = 1.0 / corners.len() as f64;
    corners.iter().fold(Coordinate::ORIGIN, |sum, (at, _)| sum.plus(at, part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_bottom_of_a_bowl_is_found() {
        for seed in 0..50 {
            let mut random = Random::new(seed, 0);
            let dimensions = 1 + seed as usize % DIMENSIONS_MAX;
            let mut bottom = Coordinate::ORIGIN;
            bottom.axes[..dimensions].iter_mut().for_each(|axis| *axis = 100.0 * random.unit());
            let bowl = |at: &Coordinate| 1.0 + at.distance(&bottom) * at.distance(&bottom);
            let (at, value) = minimize(Coordinate::ORIGIN, 10.0, dimensions, 4000, bowl);
            assert!(at.distance(&bottom) < 0.5, "seed {seed}: {at:?} for {bottom:?}");
            assert_eq!(value, bowl(&at));
        }
    }

    #[test]
    fn it_never_ends_worse_than_it_began_and_keeps_to_its_axes() {
        for seed in 0..50 {
            let mut random = Random::new(seed, 0);
            let start = Coordinate::any_direction(3, &mut random);
            let waves =
                |at: &Coordinate| 2.0 + libm::sin(9.0 * at.axes[0]) * libm::cos(7.0 * at.axes[1]);
            let (at, value) = minimize(start, 0.3, 3, 30, waves);
            assert!(value <= waves(&start), "seed {seed}");
            assert_eq!(at.axes[3..], [0.0; DIMENSIONS_MAX - 3]);
        }
    }
}

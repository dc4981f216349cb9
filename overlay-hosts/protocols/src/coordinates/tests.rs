use alloc::vec::Vec;

use super::*;
use crate::random::Random;

fn at(axes: &[f64]) -> Coordinate {
    let mut at = Coordinate::ORIGIN;
    at.axes[..axes.len()].copy_from_slice(axes);
    at
}

/// Anywhere in a cube with a side of 100.
fn anywhere(dimensions: usize, random: &mut Random) -> Coordinate {
    let mut at = Coordinate::ORIGIN;
    at.axes[..dimensions].iter_mut().for_each(|axis| *axis = 100.0 * random.unit());
    at
}

/// What a peer at `place` measures, without error.
fn exactly(place: &Coordinate, neighbors: &[Coordinate]) -> Vec<Measured> {
    let measured = |at: &Coordinate| Measured { at: *at, distance: place.distance(at) };
    neighbors.iter().map(measured).collect()
}

#[test]
fn the_error_is_the_sum_of_what_predictions_are_off() {
    let measured = [
        Measured { at: at(&[3.0, 4.0]), distance: 7.0 },
        Measured { at: at(&[0.0, 1.0]), distance: 0.5 },
        Measured { at: at(&[0.0, 0.0, 2.0]), distance: 2.0 },
    ];
    assert_eq!(error(&Coordinate::ORIGIN, &measured), 2.0 + 0.5);
    assert_eq!(error(&Coordinate::ORIGIN, &[]), 0.0);
}

#[test]
fn a_newcomer_finds_its_place_among_neighbors_that_stand_right() {
    let fit = Fit::default();
    for seed in 0..20 {
        let mut random = Random::new(seed, 0);
        let place = anywhere(5, &mut random);
        let neighbors: Vec<Coordinate> = (0..32).map(|_| anywhere(5, &mut random)).collect();
        let found = fit.place(&exactly(&place, &neighbors), &mut random);
        assert!(found.distance(&place) < 1.0, "seed {seed}: {found:?} for {place:?}");
    }
}

#[test]
fn some_neighbors_that_lie_move_nobody() {
    // The sum of absolute errors, not of squares: 6 of 32 say that they are twice as far.
    let fit = Fit::default();
    for seed in 0..20 {
        let mut random = Random::new(seed, 1);
        let place = anywhere(5, &mut random);
        let neighbors: Vec<Coordinate> = (0..32).map(|_| anywhere(5, &mut random)).collect();
        let mut measured = exactly(&place, &neighbors);
        measured[..6].iter_mut().for_each(|lie| lie.distance *= 2.0);
        let found = fit.place(&measured, &mut random);
        assert!(found.distance(&place) < 2.0, "seed {seed}: {found:?} for {place:?}");
    }
}

#[test]
fn fitting_again_is_never_worse_and_keeps_to_the_dimensions() {
    for seed in 0..50 {
        let mut random = Random::new(seed, 2);
        let fit = Fit { dimensions: 1 + seed as usize % DIMENSIONS_MAX, ..Fit::default() };
        let measured: Vec<Measured> = (0..random.below(40))
            .map(|_| Measured {
                at: anywhere(fit.dimensions, &mut random),
                distance: 200.0 * random.unit(),
            })
            .collect();
        let from = anywhere(fit.dimensions, &mut random);
        let to = fit.refine(from, &measured);
        assert!(error(&to, &measured) <= error(&from, &measured), "seed {seed}");
        assert!(to.axes[fit.dimensions..].iter().all(|axis| *axis == 0.0), "seed {seed}");
    }
}

#[test]
fn nothing_measured_is_the_origin_and_zero_dimensions_are_one() {
    let mut random = Random::new(0, 0);
    assert_eq!(Fit::default().place(&[], &mut random), Coordinate::ORIGIN);
    let fit = Fit { dimensions: 0, restarts: 0 };
    let found = fit.place(&[Measured { at: Coordinate::ORIGIN, distance: 3.0 }], &mut random);
    assert!((found.axes[0].abs() - 3.0).abs() < 0.01 && found.axes[1..] == [0.0; 7], "{found:?}");
}

#[test]
fn peers_that_join_one_by_one_find_the_space_they_stand_in() {
    for seed in 0..3 {
        let mut random = Random::new(seed, 3);
        let true_at: Vec<Coordinate> = (0..120).map(|_| anywhere(3, &mut random)).collect();
        let embedding =
            Embedding { fit: Fit { dimensions: 3, restarts: 4 }, ..Embedding::default() };
        let distance = |one: usize, other: usize| Some(true_at[one].distance(&true_at[other]));
        let found = embedding.of(true_at.len(), distance, &mut random);
        let pairs = (0..120).flat_map(|one| (one + 1..120).map(move |other| (one, other)));
        let mut errors: Vec<f64> = pairs
            .map(|(one, other)| {
                let real = true_at[one].distance(&true_at[other]);
                (found[one].distance(&found[other]) - real).abs() / real
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        assert!(errors[errors.len() * 9 / 10] < 0.05, "seed {seed}: {}", errors[errors.len() / 2]);
    }
}

#[test]
fn an_embedding_needs_no_pair_measured_and_nobody_there() {
    let mut random = Random::new(5, 4);
    let embedding = Embedding::default();
    assert!(embedding.of(0, |_, _| Some(1.0), &mut random).is_empty());
    assert_eq!(embedding.of(1, |_, _| Some(1.0), &mut random), [Coordinate::ORIGIN]);
    assert_eq!(embedding.of(3, |_, _| None, &mut random), [Coordinate::ORIGIN; 3]);
    // With fewer than a leaf set everybody measures everybody once.
    let asked = core::cell::RefCell::new(Vec::new());
    let one_round = Embedding { rounds: 0, ..embedding };
    one_round.of(
        5,
        |one, other| {
            asked.borrow_mut().push((one.min(other), one.max(other)));
            Some(10.0)
        },
        &mut random,
    );
    let mut asked = asked.into_inner();
    asked.sort_unstable();
    let all: Vec<_> = (0..5).flat_map(|one| (one + 1..5).map(move |other| (one, other))).collect();
    assert_eq!(asked, all);
}

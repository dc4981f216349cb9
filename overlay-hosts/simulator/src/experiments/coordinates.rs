//! `coordinates`: how well latencies are predicted by coordinates that follow from a leaf set alone,
//! and by Vivaldi's, on measured round-trip times.

use std::path::Path;

use indicatif::ProgressBar;
use overlay_protocols::coordinates::{Coordinate, Embedding, Fit, Vivaldi, VivaldiConfig};
use overlay_protocols::random::Random;

use super::{Error, Experiment, Flag, Options, Scale};
use crate::report::{Report, Row, Target};
use crate::underlay::Matrix;

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "coordinates",
    about: "how well latencies follow from coordinates, against Vivaldi",
    run,
};

const SOURCE: &str = "seed 003 paragraph 0074";
const YARDSTICK: &str = "Vivaldi, SIGCOMM 2004";
/// Round trips between 490 PlanetLab nodes; `data/README.md` says where they are from.
const PLANETLAB: &str = include_str!("../../data/planetlab490.txt");
/// Smaller matrices are embedded with several seeds, of which the median counts.
const LARGE: usize = 256;
const SEEDS: u64 = 10;
/// Of Vivaldi: how often each node measures one of its neighbors, and how many it has.
const ROUNDS: usize = 4_000;
const NEIGHBORS: usize = 32;
/// Streams of the seed.
const LEAF_SET_STREAM: u64 = 0x6c65_6166;
const VIVALDI_STREAM: u64 = 0x7669_7661;
/// What the median and the 90th percentile must not exceed, for 5 dimensions and 32 neighbors.
const MEDIAN_MAX: f64 = 0.10;
const P90_MAX: f64 = 0.50;
/// The same for King's data, one way and rougher.
const P90_MAX_KING: f64 = 0.53;

/// Dimensions and leaf sets that the leaf set is tried with; the first one has targets.
const LEAF_SETS: [(usize, usize); 5] = [(5, 32), (2, 32), (5, 16), (7, 32), (5, 64)];

/// How far predictions are off: two percentiles of |predicted - real| / real over all pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Errors {
    median: f64,
    p90: f64,
}

/// Round trips, and what is said of them.
struct Measured {
    name: String,
    matrix: Matrix,
    p90_max: f64,
}

/// The three kinds of Vivaldi, the first two of which are to be beaten.
fn vivaldis() -> [(&'static str, VivaldiConfig); 3] {
    [
        ("vivaldi-height", VivaldiConfig::with_height(2)),
        ("vivaldi", VivaldiConfig::euclidean(5)),
        ("vivaldi-height", VivaldiConfig::serf()),
    ]
}

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Nodes, Flag::Transport, Flag::Seal])?;
    let measured = Measured::read(options.matrix.as_deref())?;
    let leaf_sets = match options.scale {
        Scale::Ci => &LEAF_SETS[..1],
        Scale::Full => &LEAF_SETS[..],
    };
    let seeds = measured.seeds(options.seed);
    bar.set_length((leaf_sets.len() + vivaldis().len()) as u64 * seeds.len() as u64);
    let mut yardstick = Errors { median: f64::INFINITY, p90: f64::INFINITY };
    let mut behind = Vec::new();
    for (place, (method, config)) in vivaldis().into_iter().enumerate() {
        let errors = median_of(&seeds, bar, |seed| measured.vivaldi(config, seed));
        if place < 2 {
            yardstick.median = yardstick.median.min(errors.median);
            yardstick.p90 = yardstick.p90.min(errors.p90);
        }
        let rows = measured.rows(method, config.dimensions, NEIGHBORS, errors, YARDSTICK);
        behind.extend(rows);
    }
    let mut report = Report::default();
    for (place, (dimensions, leaf_set)) in leaf_sets.iter().copied().enumerate() {
        let errors = median_of(&seeds, bar, |seed| measured.leaf_set(dimensions, leaf_set, seed));
        let [median, p90] = measured.rows("leaf-set", dimensions, leaf_set, errors, SOURCE);
        report.rows.extend(match place {
            0 => [
                median.target(Target::AtMost(MEDIAN_MAX.min(yardstick.median))),
                p90.target(Target::AtMost(measured.p90_max.min(yardstick.p90))),
            ],
            _ => [median, p90],
        });
    }
    report.rows.extend(behind);
    report.notes.push(measured.note(&seeds));
    Ok(report)
}

/// Both percentiles, each the median over all seeds.
fn median_of(seeds: &[u64], bar: &ProgressBar, errors: impl Fn(u64) -> Errors) -> Errors {
    let all = seeds.iter().map(|seed| {
        let errors = errors(*seed);
        bar.inc(1);
        errors
    });
    let (medians, p90s): (Vec<f64>, Vec<f64>) = all.map(|one| (one.median, one.p90)).unzip();
    Errors { median: percentile(medians, 0.5), p90: percentile(p90s, 0.5) }
}

/// The nearest rank; no number of nothing.
fn percentile(mut all: Vec<f64>, part: f64) -> f64 {
    all.sort_by(f64::total_cmp);
    let rank = (part * all.len() as f64).ceil() as usize;
    all.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

impl Measured {
    /// A file, or the matrix that is built in.
    fn read(file: Option<&Path>) -> Result<Measured, Error> {
        let usage = |error: crate::underlay::MatrixError| {
            Error::Usage(format!("{} --matrix: {error}", EXPERIMENT.name))
        };
        let Some(file) = file else {
            let matrix = Matrix::square("planetlab490", PLANETLAB).map_err(usage)?;
            return Ok(Measured { name: "planetlab490".to_owned(), matrix, p90_max: P90_MAX });
        };
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_king = file.extension().is_some_and(|extension| extension == "top");
        let p90_max = if is_king { P90_MAX_KING } else { P90_MAX };
        Ok(Measured { name, matrix: Matrix::read(file).map_err(usage)?, p90_max })
    }

    fn seeds(&self, first: u64) -> Vec<u64> {
        let count = if self.matrix.size() < LARGE { SEEDS } else { 1 };
        (0..count).map(|place| first.wrapping_add(place)).collect()
    }

    /// Round trip of two nodes, milliseconds.
    fn rtt(&self, one: usize, other: usize) -> Option<f64> {
        self.matrix.rtt(one, other).map(|rtt| rtt.as_secs_f64() * 1e3)
    }

    fn leaf_set(&self, dimensions: usize, leaf_set: usize, seed: u64) -> Errors {
        let fit = Fit { dimensions, ..Fit::default() };
        let embedding = Embedding { fit, leaf_set, ..Embedding::default() };
        let mut random = Random::new(seed, LEAF_SET_STREAM);
        let rtt = |one, other| self.rtt(one, other);
        let at: Vec<Coordinate> = embedding.of(self.matrix.size(), rtt, &mut random);
        self.errors(|one, other| at[one].distance(&at[other]))
    }

    fn vivaldi(&self, config: VivaldiConfig, seed: u64) -> Errors {
        let size = self.matrix.size();
        let mut random = Random::new(seed, VIVALDI_STREAM);
        let neighbors: Vec<Vec<(usize, f64)>> = (0..size)
            .map(|one| {
                let known = (0..size).filter_map(|other| Some((other, self.rtt(one, other)?)));
                let mut known: Vec<(usize, f64)> = known.filter(|(o, _)| *o != one).collect();
                random.shuffle(&mut known);
                known.truncate(NEIGHBORS);
                known
            })
            .collect();
        let mut all = vec![Vivaldi::new(config); size];
        for _ in 0..ROUNDS {
            for one in 0..size {
                let Some((other, rtt)) = random.choose(&neighbors[one]).copied() else { continue };
                let spot = *all[other].spot();
                all[one].observe(&spot, rtt, &mut random);
            }
        }
        self.errors(|one, other| all[one].spot().distance(all[other].spot()))
    }

    /// Of a prediction, over all pairs that were measured.
    fn errors(&self, predicted: impl Fn(usize, usize) -> f64) -> Errors {
        let size = self.matrix.size();
        let pairs = (0..size).flat_map(|one| (one + 1..size).map(move |other| (one, other)));
        let errors: Vec<f64> = pairs
            .filter_map(|(one, other)| {
                let real = self.rtt(one, other)?;
                Some((predicted(one, other) - real).abs() / real)
            })
            .collect();
        Errors { median: percentile(errors.clone(), 0.5), p90: percentile(errors, 0.9) }
    }

    fn rows(
        &self,
        method: &'static str,
        dimensions: usize,
        leaf_set: usize,
        errors: Errors,
        source: &'static str,
    ) -> [Row; 2] {
        let figures =
            [("relative-error-median", errors.median), ("relative-error-p90", errors.p90)];
        figures.map(|(name, figure)| {
            Row::new(name, figure, source)
                .with("method", method)
                .with("dimensions", dimensions)
                .with("leaf-set", leaf_set)
                .with("matrix", self.name.as_str())
                .with("nodes", self.matrix.size())
        })
    }

    fn note(&self, seeds: &[u64]) -> String {
        let size = self.matrix.size();
        let pairs = (0..size).flat_map(|one| (one + 1..size).map(move |other| (one, other)));
        let known = pairs.filter(|(one, other)| self.rtt(*one, *other).is_some()).count();
        let seeds = match seeds.len() {
            1 => "one seed".to_owned(),
            count => format!("medians of {count} seeds"),
        };
        format!(
            "{}: {size} nodes, {known} pairs with a round trip; {seeds}; Vivaldi: {ROUNDS} rounds, \
             leaf-set = random neighbors; leaf-set has to beat the better of vivaldi-height with 2 \
             dimensions and vivaldi with 5; with 8 it is as serf has it",
            self.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let all = || vec![5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(
            [0.0, 0.2, 0.5, 0.9, 1.0].map(|part| percentile(all(), part)),
            [1.0, 1.0, 3.0, 5.0, 5.0]
        );
        assert!(percentile(Vec::new(), 0.5).is_nan());
    }

    #[test]
    fn errors_are_relative_and_of_known_pairs_alone() {
        let matrix = Matrix::square("rtt", "10 20 0\n40 50\n80").unwrap();
        let measured = Measured { name: "rtt".to_owned(), matrix, p90_max: P90_MAX };
        // 0, 0.5, 0.75, 0.8, 0.875, and one pair that nobody knows.
        let errors = measured.errors(|_, _| 10.0);
        assert!((errors.median - 0.75).abs() < 1e-9 && (errors.p90 - 0.875).abs() < 1e-9);
    }

    #[test]
    fn the_matrix_that_is_built_in_is_whole() {
        let measured = Measured::read(None).unwrap();
        assert_eq!(measured.matrix.size(), 490);
        assert_eq!(measured.rtt(0, 1), Some(0.175));
        assert_eq!(measured.rtt(488, 489), measured.rtt(489, 488));
        assert!((0..490).all(|one| one == 7 || measured.rtt(one, 7).is_some()));
    }
}

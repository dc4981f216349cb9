//! `somo-shape`: which tree the machines of a ring make, by running machines and by computing the whole
//! of it.

use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::Time;
use overlay_protocols::somo::{Config, Shape, Tree, parents};

use super::somo_machines::{HOP, Machines, positions};
use super::{Error, Experiment, Flag, Options};
use crate::report::{Report, Row, Target};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "somo-shape",
    about: "the tree that gathers what all machines report: roots, loops, depths, children",
    run,
};

const SOURCE: &str = "seed 003 paragraphs 0055 to 0063";
const DEGREES: [u32; 3] = [2, 8, 16];
/// Up to so many machines run.
const RUNNING_MAX: usize = 100_000;
/// What the seed says of 2,000,000 nodes and a degree of 8 (paragraph 0063).
const SEED: (usize, u32, f64) = (2_000_000, 8, 1.6);
/// All have found their parents by then, and those above know.
const SETTLING: Duration = Duration::from_secs(10);

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    let flags = [Flag::Matrix, Flag::Transport, Flag::Seal];
    options.refuse(EXPERIMENT.name, &flags)?;
    let mut report = Report::default();
    let full = [1_000, 10_000, 100_000, 1_000_000, 2_000_000];
    let sizes = options.sizes(&full[..3], &full);
    bar.set_length((DEGREES.len() * sizes.len()) as u64);
    for nodes in sizes {
        let positions = positions(nodes, options.seed);
        for degree in DEGREES {
            bar.set_message(format!("{nodes} nodes, k = {degree}"));
            let computed = parents(Tree::new(degree), &positions);
            rows(&Shape::of(&computed), degree, "static", &mut report);
            if nodes <= RUNNING_MAX {
                let config = Config { degree, ..Config::default() };
                let mut machines = Machines::new(config, positions.clone(), options.seed);
                machines.run(Time(0) + SETTLING, |_| false);
                let running = machines.parents();
                rows(&Shape::of(&running), degree, "running", &mut report);
                let differing = running.iter().zip(&computed).filter(|(one, other)| one != other);
                let row = Row::new("differing-parents", differing.count() as f64, SOURCE);
                let row = with(row, nodes, degree, "running");
                report.rows.push(row.target(Target::AtMost(0.0)));
            }
            bar.inc(1);
        }
    }
    report.notes.push(format!(
        "depths are edges between machines, lags depths of {} s each; children above k + 1 are \
         expected: a zone may hold several virtual nodes",
        HOP.as_secs_f64()
    ));
    report.notes.push(
        "the seed's 1.6 s for 2,000,000 nodes and k = 8 are 8 hops; log_8 of it is 6.98".to_owned(),
    );
    Ok(report)
}

fn with(row: Row, nodes: usize, degree: u32, method: &'static str) -> Row {
    row.with("nodes", nodes).with("k", degree).with("method", method)
}

fn rows(shape: &Shape, degree: u32, method: &'static str, report: &mut Report) {
    let nodes = shape.machines;
    let row = |name, figure| with(Row::new(name, figure, SOURCE), nodes, degree, method);
    let hop = HOP.as_secs_f64();
    let (mean, deepest) = (shape.mean_depth, f64::from(shape.max_depth));
    let mut lag = row("lag-mean-seconds", mean * hop);
    if (nodes, degree) == (SEED.0, SEED.1) {
        lag = lag.beside(SEED.2).target(Target::AtMost(SEED.2));
    }
    report.rows.extend([
        row("roots", shape.roots as f64).target(Target::Within(1.0, 1.0)),
        row("loops", shape.loops as f64).target(Target::AtMost(0.0)),
        row("uncovered", shape.uncovered as f64).target(Target::AtMost(0.0)),
        mean_depth(row("mean-depth", mean), nodes, degree),
        row("max-depth", deepest),
        row("fan-out-max", f64::from(shape.fan_out_max)),
        lag,
        row("lag-max-seconds", deepest * hop),
    ]);
}

/// Beside log_k N, which the seed has for the height.
fn mean_depth(row: Row, nodes: usize, degree: u32) -> Row {
    let height = (nodes as f64).ln() / f64::from(degree).ln();
    let (below, above) = match degree {
        2 => (2.2, 0.0),
        8 => (0.3, 0.3),
        _ => (0.4, 0.4),
    };
    row.beside(height).target(Target::Within(height - below, height + above))
}

//! `locality-distance`: how much nearer overlay neighbors are than random pairs of hosts.

use indicatif::ProgressBar;
use overlay_protocols::random::Random;

use super::localities::{Overlay, config, grow, timers_note};
use super::{Error, Experiment, Flag, Options};
use crate::report::{Report, Row, Target};
use crate::underlay::TransitStub;

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "locality-distance",
    about: "distance of overlay neighbors in groups of near peers, and what joining costs",
    run,
};

const SOURCE: &str = "seed 001 paragraphs 0029, 0043, 0054";
/// The abstract of the paper behind the seeds.
const PAPER: &str = "paper's abstract: about 11 % of a random overlay's";
const PAPER_RATIO: f64 = 0.11;
const RATIO_MAX: f64 = 0.13;
const STEPS_MAX: f64 = 8.0;
/// Values at the largest overlay may be so many times those at the smallest.
const FLAT: f64 = 1.2;
const PAIRS: usize = 100_000;
const TOGETHER: usize = 100;

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Matrix, Flag::BothTransports])?;
    let mut report = Report::default();
    let sizes = options.sizes(&[1_000, 4_000], &[1_000, 4_000, 10_000]);
    bar.set_length(sizes.iter().sum::<usize>() as u64 + sizes[0] as u64);
    let mut steps = Vec::new();
    for nodes in &sizes {
        steps.push(measure(*nodes, 1, options, bar, &mut report));
    }
    measure(sizes[0], TOGETHER, options, bar, &mut report);
    if let [first, .., last] = steps.as_slice()
        && let [small, .., large] = sizes.as_slice()
    {
        let row = Row::new("search-steps-growth", last / first, SOURCE)
            .with("nodes", *large)
            .with("than-at", *small);
        report.rows.push(row.target(Target::AtMost(FLAT)));
    }
    Ok(report)
}

/// The rows of one overlay; returns its search steps.
fn measure(
    nodes: usize,
    at_once: usize,
    options: &Options,
    bar: &ProgressBar,
    report: &mut Report,
) -> f64 {
    bar.set_message(format!("{nodes} hosts, {at_once} at once"));
    let config = config(nodes);
    let overlay = grow(TransitStub::ts600(), nodes, at_once, &config, options, bar);
    let (near, all) = distances(&overlay);
    let mut random = Random::new(options.seed, 0x0070_6169_7273);
    let mean = overlay.mean_rtt(PAIRS, &mut random);
    let joins = overlay.joins.len() as f64;
    let steps = overlay.joins.iter().map(|join| f64::from(join.steps)).sum::<f64>() / joins;
    let pings = overlay.joins.iter().map(|join| join.pings as f64).sum::<f64>() / joins;
    let with = |row: Row| row.with("nodes", nodes).with("joins-at-once", at_once);
    let ratio = Row::new("neighbor-distance-ratio", near / mean, PAPER).beside(PAPER_RATIO);
    report.rows.extend([
        with(ratio).target(Target::AtMost(RATIO_MAX)),
        with(Row::new("neighbor-distance-ratio-with-far", all / mean, SOURCE)),
        with(Row::new("search-steps", steps, SOURCE)).target(Target::AtMost(STEPS_MAX)),
        with(Row::new("pings-per-join", pings, SOURCE)),
        with(Row::new("groups", overlay.groups() as f64, SOURCE)),
    ]);
    report.event_hash = Some(overlay.world.hash());
    report.notes.push(format!(
        "{}; {}; {} joins at once: {}; {} joins not over in time, {:.0} s simulated, {} events",
        options.seal_note(nodes),
        timers_note(nodes),
        at_once,
        overlay.searches(&config),
        overlay.failed,
        overlay.seconds(),
        overlay.world.sent().events,
    ));
    steps
}

/// Mean true round trip of all links but far ones, and of all, seconds.
fn distances(overlay: &Overlay) -> (f64, f64) {
    let (mut near, mut nears, mut all, mut links) = (0.0, 0, 0.0, 0);
    for ((one, other), is_far) in overlay.links() {
        let rtt = overlay.underlay.rtt(one, other).as_secs_f64();
        all += rtt;
        links += 1;
        if !is_far {
            near += rtt;
            nears += 1;
        }
    }
    (near / f64::from(nears), all / f64::from(links))
}

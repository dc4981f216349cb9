//! `locality-groups`: whether groups follow the stub domains of the network.

use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::locality::{self, Distance};

use super::localities::{Overlay, config, grow, timers_note};
use super::{Error, Experiment, Flag, Options};
use crate::report::{Report, Row, Target};
use crate::underlay::TransitStub;

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "locality-groups",
    about: "how many groups form, against the stub domains of the network",
    run,
};

const SOURCE: &str = "seed 001 paragraphs 0042, 0043";
const THRESHOLD: Duration = Duration::from_millis(60);
/// Groups tested before one is founded.
const LIMIT: u32 = 30;
/// How long a search lasts at most: long enough for all of these. By default it is 10 s.
const SEARCH_TIME: Duration = Duration::from_secs(120);
/// Groups may be so many more or fewer than stub domains, in parts of these.
const TOLERANCE: f64 = 0.25;

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Matrix, Flag::BothTransports])?;
    let mut report = Report::default();
    let sizes = options.sizes(&[1_000], &[1_000, 4_000, 10_000]);
    bar.set_length(3 * sizes.iter().sum::<usize>() as u64);
    for nodes in sizes {
        measure(nodes, 2, true, options, bar, &mut report);
        measure(nodes, 2, false, options, bar, &mut report);
        measure(nodes, 10, true, options, bar, &mut report);
    }
    Ok(report)
}

fn measure(
    nodes: usize,
    stub_link_ms: u64,
    near_leader: bool,
    options: &Options,
    bar: &ProgressBar,
    report: &mut Report,
) {
    bar.set_message(format!("{nodes} hosts, {stub_link_ms} ms, near-leader {near_leader}"));
    let shape =
        TransitStub { stub_delay: Duration::from_millis(stub_link_ms), ..TransitStub::ts600() };
    let threshold = Distance(THRESHOLD.as_micros() as u32);
    let config = locality::Config {
        tolerance: threshold,
        near_leader: near_leader.then_some(threshold),
        groups_tested_max: LIMIT,
        search_time: SEARCH_TIME,
        ..config(nodes)
    };
    let overlay = grow(shape, nodes, 1, &config, options, bar);
    let stubs = shape.stub_count() as f64;
    let with = |row: Row| {
        row.with("nodes", nodes).with("near-leader", near_leader).with("stub-link-ms", stub_link_ms)
    };
    let mut groups = with(Row::new("groups", overlay.groups() as f64, SOURCE)).beside(stubs);
    let mut outside = with(Row::new("members-outside-threshold", outside(&overlay) as f64, SOURCE));
    if near_leader && stub_link_ms == 2 {
        let bounds = Target::Within((1.0 - TOLERANCE) * stubs, (1.0 + TOLERANCE) * stubs);
        groups = groups.target(bounds);
        outside = outside.target(Target::AtMost(0.0));
    }
    report.rows.extend([groups, with(Row::new("stub-domains", stubs, "ts600")), outside]);
    report.event_hash = Some(overlay.world.hash());
    report.notes.push(format!(
        "{}; {}; a search lasts {} s at most, by default 10 s; \
         near-leader {near_leader}, {stub_link_ms} ms: {}; {} joins not over in time",
        options.seal_note(nodes),
        timers_note(nodes),
        SEARCH_TIME.as_secs(),
        overlay.searches(&config),
        overlay.failed,
    ));
}

/// Who does not lead and is at least the threshold away from who leads.
fn outside(overlay: &Overlay) -> usize {
    let is_outside = |(place, leader): &(usize, Option<usize>)| {
        leader.is_none_or(|leader| overlay.underlay.rtt(*place, leader) >= THRESHOLD)
    };
    overlay.leaders().filter(is_outside).count()
}

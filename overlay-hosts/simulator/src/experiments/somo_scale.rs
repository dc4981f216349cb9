//! `somo-scale`: 2,000,000 machines gather what they all report once, and are all told something once.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use overlay_protocols::Time;
use overlay_protocols::somo::{Command, Config, Range, Statistics};

use super::scale::{cpu_seconds, peak_bytes};
use super::somo_machines::{Machines, positions};
use super::{Error, Experiment, Flag, Options};
use crate::report::{Report, Row, Target};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "somo-scale",
    about: "time and memory that gathering from 2,000,000 machines and telling them takes",
    run,
};

const SOURCE: &str = "definition of the experiment";
/// The size that the limits are for.
const NODES: usize = 2_000_000;
const SECONDS_MAX: f64 = 60.0;
const BYTES_MAX: f64 = (12u64 << 30) as f64;
/// Who is below whom is known everywhere by then.
const SETTLING: Duration = Duration::from_secs(30);
/// Longer than the run: there is nothing to keep alive in it.
const LONG: Duration = Duration::from_secs(3600);
/// Classes of what machines report.
const CLASSES: usize = 8;

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    let flags = [Flag::Matrix, Flag::Transport, Flag::Seal];
    options.refuse(EXPERIMENT.name, &flags)?;
    let mut report = Report::default();
    for nodes in options.sizes(&[20_000], &[NODES]) {
        measure(nodes, options.seed, bar, &mut report);
    }
    Ok(report)
}

fn measure(nodes: usize, seed: u64, bar: &ProgressBar, report: &mut Report) {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    bar.set_length(4);
    bar.set_message(format!("{nodes} machines"));
    let config = Config { interval: LONG, heartbeat: LONG, ..Config::default() };
    let mut machines = Machines::new(config, positions(nodes, seed), seed);
    for place in 0..nodes {
        machines.command(place, Command::Sample(sample(place)));
    }
    bar.inc(1);
    machines.run(Time(0) + SETTLING, |_| false);
    bar.inc(1);
    let (built, root) = (cpu_seconds() - cpu, machines.root());
    let called = machines.now();
    machines.gathered = None;
    machines.command(root, Command::Gather);
    machines.run(called + LONG, |machines| machines.gathered.is_some());
    bar.inc(1);
    let told = machines.now();
    machines.command(root, Command::Publish { range: Range::ALL, news: b"news".to_vec() });
    machines.run(told + LONG, |machines| machines.told.0 >= nodes);
    bar.inc(1);
    let wall = start.elapsed().as_secs_f64();
    rows(&machines, nodes, (called, told), report);
    let row = |name, figure| Row::new(name, figure, SOURCE).with("nodes", nodes);
    let all = cpu_seconds() - cpu;
    let (mut seconds, mut bytes) = (row("wall-seconds", wall), row("peak-bytes", peak_bytes()));
    if nodes == NODES {
        seconds = seconds.target(Target::AtMost(SECONDS_MAX));
        bytes = bytes.target(Target::AtMost(BYTES_MAX));
    }
    let rate = (machines.messages as f64 / wall).round();
    report.rows.extend([seconds, row("cpu-seconds", all), bytes, row("events-per-second", rate)]);
    report.notes.push(format!(
        "{} messages of {} octets on average, encoded and decoded, without datagrams around them; \
         {} dropped; {built:.1} s of a processor until all are linked, {:.1} s to gather and tell",
        machines.messages,
        machines.bytes / machines.messages.max(1),
        machines.dropped,
        all - built,
    ));
}

/// What a machine reports: itself, a sum and its class.
fn sample(place: usize) -> Vec<u8> {
    let histogram = (0..CLASSES).map(|class| u32::from(place % CLASSES == class)).collect();
    let sums = vec![place as u64];
    Statistics { machines: 1, sums, histogram, top: Vec::new() }.to_bytes()
}

fn rows(machines: &Machines, nodes: usize, (called, told): (Time, Time), report: &mut Report) {
    let row = |name, figure| Row::new(name, figure, SOURCE).with("nodes", nodes);
    let gathered = machines.gathered.as_ref();
    let statistics = gathered.and_then(|(_, _, report)| Statistics::read(report));
    let statistics = statistics.unwrap_or_default();
    let whole = Target::Within(nodes as f64, nodes as f64);
    let sum = (nodes as u64 * (nodes as u64 - 1) / 2) as f64;
    let seconds = |since: Time, at: Time| at.since(since).as_secs_f64();
    let at = gathered.map_or(called, |(at, ..)| *at);
    report.rows.extend([
        row("machines-gathered", f64::from(statistics.machines)).target(whole),
        row("sum-gathered", statistics.sums.first().map_or(0.0, |sum| *sum as f64))
            .target(Target::Within(sum, sum)),
        row("machines-told", machines.told.0 as f64).target(whole),
        row("gather-seconds", seconds(called, at)),
        row("tell-seconds", seconds(told, machines.told.1)),
    ]);
}

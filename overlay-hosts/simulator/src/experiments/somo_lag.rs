//! `somo-lag`: how old what the root knows is, and how soon it knows everybody again when a tenth of all
//! has crashed. Whole nodes, over their rings.

use std::collections::BTreeSet;
use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::machine::{decode, encode};
use overlay_protocols::node::{self, Input};
use overlay_protocols::random::Random;
use overlay_protocols::somo::{self, Op, Shape, Tree, parents};
use overlay_protocols::{Now, RingId, Time, ring};
use serde::{Deserialize, Serialize};

use super::somo_machines::HOP;
use super::{Error, Experiment, Flag, Options, rings};
use crate::report::{Report, Row, Target};
use crate::world::carrier::Direct;
use crate::world::{Happening, START, Settings, Transport, World};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "somo-lag",
    about: "how old the root's view of all machines is, and how soon it is whole after a crash",
    run,
};

const SOURCE: &str = "seed 003 paragraph 0063";
const DEGREE: u32 = 8;
/// T. The seed has 5 minutes as an example; what is measured goes by T and the time of a hop.
const INTERVAL: Duration = Duration::from_secs(60);
const ROUNDS: usize = 20;
/// The share that crashes at once.
const CRASHED: f64 = 0.1;
/// Machines that know each other's zones, and links, are settled by then.
const SETTLING: Duration = Duration::from_secs(30);

/// What a machine knows of the ages of samples: of how many machines, the sum of their numbers (which
/// tells who they are), and when these were taken, in microseconds of the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ages {
    machines: u32,
    numbers: u64,
    sum: u64,
    oldest: u64,
}

/// Adds up ages.
#[derive(Debug)]
struct AddAges;

impl Op for AddAges {
    fn own(&self, sample: &[u8], now: Now) -> Vec<u8> {
        let at = now.wall.0 - START.0;
        let numbers = decode(sample).unwrap_or(0);
        encode(&Ages { machines: 1, numbers, sum: at, oldest: at })
    }

    fn is_report(&self, report: &[u8]) -> bool {
        decode::<Ages>(report).is_some()
    }

    fn merge(&self, reports: &[&[u8]]) -> Vec<u8> {
        let all = reports.iter().filter_map(|report| decode::<Ages>(report));
        let start = Ages { oldest: u64::MAX, ..Ages::default() };
        encode(&all.fold(start, |sum, ages| Ages {
            machines: sum.machines.saturating_add(ages.machines),
            numbers: sum.numbers.wrapping_add(ages.numbers),
            sum: sum.sum.saturating_add(ages.sum),
            oldest: sum.oldest.min(ages.oldest),
        }))
    }
}

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Matrix, Flag::BothTransports])?;
    let mut report = Report::default();
    for nodes in options.sizes(&[1_000], &[1_000, 10_000]) {
        for synchronized in [false, true] {
            bar.set_message(format!("{nodes} nodes, synchronized {synchronized}"));
            bar.set_length(ROUNDS as u64);
            bar.set_position(0);
            Lag::new(nodes, synchronized, options).measure(bar, &mut report);
        }
        report.notes.push(options.seal_note(nodes));
    }
    let node::Config { ring, somo, .. } = config(true);
    let somo = somo.unwrap_or_default();
    report.notes.push(format!(
        "T {INTERVAL:?}, {HOP:?} a hop, k = {DEGREE}; links: heartbeat {:?}, {} missed, answers \
         {:?}; ring: leaf set {}, heartbeat {:?}, {} missed, hop timeout up to {:?}",
        somo.heartbeat,
        somo.missed,
        somo.answer,
        ring.leaf_set,
        ring.heartbeat,
        ring.missed,
        ring.hop_timeout.1,
    ));
    Ok(report)
}

fn config(synchronized: bool) -> node::Config {
    let ring = ring::Config {
        leaf_set: 8,
        heartbeat: Duration::from_secs(10),
        finger_interval: Duration::from_secs(60),
        lookup_timeout: Duration::from_secs(8),
        ..ring::Config::default()
    };
    let somo = somo::Config {
        degree: DEGREE,
        interval: INTERVAL,
        synchronized,
        op: &AddAges,
        ..somo::Config::default()
    };
    node::Config { ring, somo: Some(somo), ..node::Config::default() }
}

/// From a crash until everybody whom it concerns has found out: the ring, that a neighbor is gone (its
/// heartbeats, then pings); a machine, that its parent is (a heartbeat, two answers that do not come, a
/// lookup and maybe a second one); a parent, that a child is.
fn detection() -> Duration {
    let node::Config { ring, somo, .. } = config(true);
    let somo = somo.unwrap_or_default();
    let neighbors = ring.heartbeat * (ring.missed + 1) + ring.hop_timeout.1 * 3;
    let parent = somo.heartbeat + somo.answer * 2 + (ring.lookup_timeout + somo.answer) * 2;
    let child = somo.heartbeat * (somo.missed + 1);
    (neighbors + parent).max(child)
}

struct Lag {
    world: World,
    numbers: Vec<u64>,
    synchronized: bool,
    random: Random,
}

impl Lag {
    fn new(nodes: usize, synchronized: bool, options: &Options) -> Lag {
        let settings = Settings {
            seed: options.seed,
            transport: options.transport_or(Transport::Xcast),
            signed: options.is_signed(nodes),
        };
        let mut world = World::new(settings, Box::new(Direct::new(|_, _| (HOP, 4))));
        for place in 0..nodes {
            world.add_host();
            world.start(place, config(synchronized));
        }
        rings::preset(&mut world, config(synchronized).ring.leaf_set / 2);
        let mut random = Random::new(options.seed, 0x006e_756d_6265_7273);
        let numbers: Vec<u64> = (0..nodes).map(|_| random.number()).collect();
        for (place, number) in numbers.iter().enumerate() {
            let sample = somo::Command::Sample(encode(number));
            world.input(place, Input::Somo(sample));
        }
        Lag { world, numbers, synchronized, random }
    }

    /// The tree as it is computed for all live nodes.
    fn shape(&self) -> Shape {
        let positions: BTreeSet<RingId> =
            self.world.live().map(|place| self.world.contact(place).position()).collect();
        let positions: Vec<RingId> = positions.into_iter().collect();
        Shape::of(&parents(Tree::new(DEGREE), &positions))
    }

    /// The next view that the root has, and when; `None`: there is none until then.
    fn next_view(&mut self, until: Time) -> Option<(Time, Ages)> {
        while let Some(happening) = self.world.next(until) {
            if let Happening::Told { place, event: node::Event::Somo(event) } = happening
                && let somo::Event::Gathered { report, .. } = event
                && let Some(ages) = decode(&report)
                && self.is_root(place)
            {
                return Some((self.world.now(), ages));
            }
        }
        None
    }

    fn is_root(&self, place: usize) -> bool {
        let somo = self.world.node(place).and_then(|node| node.somo());
        somo.is_some_and(|somo| somo.is_root())
    }

    fn measure(mut self, bar: &ProgressBar, report: &mut Report) {
        let nodes = self.numbers.len();
        let shape = self.shape();
        let depth = shape.max_depth;
        // So long nobody need have reported yet.
        let warm = Time(0) + SETTLING + (INTERVAL + HOP) * (depth + 1);
        self.world.run_until(warm);
        let mut lags = Lags { least: u32::MAX, ..Lags::default() };
        for _ in 0..ROUNDS {
            let patience = self.world.now() + 2 * INTERVAL;
            let Some((now, ages)) = self.next_view(patience) else { break };
            lags.add(now, &ages);
            bar.inc(1);
        }
        let healed = self.heal();
        self.rows(&shape, &lags, healed, nodes, report);
    }

    /// Crashes a tenth; how long it is until a view has everybody else in it and nobody more, and the
    /// depth of what is left.
    fn heal(&mut self) -> (Option<Duration>, u32) {
        let mut places: Vec<usize> = self.world.live().collect();
        self.random.shuffle(&mut places);
        let gone = (places.len() as f64 * CRASHED) as usize;
        places[..gone].iter().for_each(|place| self.world.crash(*place));
        let left = &places[gone..];
        let sum = left.iter().fold(0u64, |sum, place| sum.wrapping_add(self.numbers[*place]));
        let (crash, depth) = (self.world.now(), self.shape().max_depth);
        let patience = crash + 2 * (detection() + (INTERVAL + HOP) * depth);
        let machines = left.len() as u32;
        while let Some((now, ages)) = self.next_view(patience) {
            if (ages.machines, ages.numbers) == (machines, sum) {
                return (Some(now.since(crash)), depth);
            }
        }
        (None, depth)
    }

    fn rows(
        &self,
        shape: &Shape,
        lags: &Lags,
        (healed, depth): (Option<Duration>, u32),
        nodes: usize,
        report: &mut Report,
    ) {
        let (t, hop) = (INTERVAL.as_secs_f64(), HOP.as_secs_f64());
        let deepest = f64::from(shape.max_depth);
        let height = (nodes as f64).ln() / f64::from(DEGREE).ln();
        let row = |name, figure| {
            let row = Row::new(name, figure, SOURCE).with("nodes", nodes);
            row.with("synchronized", self.synchronized)
        };
        let at = |row: Row, at| row.with("at", at);
        let everybody = Target::Within(nodes as f64, nodes as f64);
        let (mean, max) = (row("lag-mean-seconds", lags.mean()), row("lag-max-seconds", lags.max));
        report.rows.extend([
            row("views", lags.views as f64).target(Target::AtLeast(ROUNDS as f64)),
            row("machines-in-view", f64::from(lags.least)).target(everybody),
            row("max-depth", deepest),
        ]);
        match self.synchronized {
            false => report.rows.extend([
                at(mean, "gathered").beside(height * t).target(Target::AtMost(height * t)),
                at(max, "gathered").target(Target::AtMost(deepest * (t + hop))),
            ]),
            true => {
                let late = row("lag-max-seconds", lags.late);
                let call = 2.0 * deepest * hop;
                report.rows.extend([
                    at(mean, "gathered").beside(height * hop),
                    at(max, "gathered").target(Target::AtMost(call)),
                    at(late, "before-next")
                        .beside(t + height * hop)
                        .target(Target::AtMost(t + call)),
                ]);
            }
        }
        let bound = detection().as_secs_f64() + f64::from(depth) * (t + hop);
        let healed = healed.map_or(f64::NAN, |healed| healed.as_secs_f64());
        report.rows.push(row("heal-seconds", healed).target(Target::AtMost(bound)));
    }
}

/// What views have shown.
#[derive(Clone, Copy, Debug, Default)]
struct Lags {
    views: usize,
    machines: u64,
    /// Of all machines in all views, seconds.
    sum: f64,
    max: f64,
    /// The greatest age of a sample just before it was replaced.
    late: f64,
    /// Machines in the view that had fewest.
    least: u32,
    /// The oldest sample of the last view.
    oldest: Option<u64>,
}

impl Lags {
    fn add(&mut self, now: Time, ages: &Ages) {
        let seconds = |micros: u64| micros as f64 / 1e6;
        self.views += 1;
        self.machines += u64::from(ages.machines);
        self.sum += seconds((now.0 * u64::from(ages.machines)).saturating_sub(ages.sum));
        self.max = self.max.max(seconds(now.0.saturating_sub(ages.oldest)));
        if let Some(before) = self.oldest.replace(ages.oldest) {
            self.late = self.late.max(seconds(now.0.saturating_sub(before)));
        }
        self.least = self.least.min(ages.machines);
    }

    fn mean(&self) -> f64 {
        self.sum / self.machines as f64
    }
}

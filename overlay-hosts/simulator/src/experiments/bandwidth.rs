//! `bandwidth`: how many hosts find the rates of their own links by packet pairs with their leaf sets,
//! against how many can by the seed's argument: one neighbor whose link the other way is as fast.
//!
//! All hosts hang on one router, so that the bottlenecks are the last hops (seed 003 paragraph 0075).
//! Their links queue, and carry cross traffic.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::random::Random;
use overlay_protocols::{Time, metrics, node, ring};

use super::packets::Packets;
use super::rings::preset;
use super::{Error, Experiment, Flag, Options, Scale};
use crate::network::{self, Network};
use crate::report::{Report, Row, Target};
use crate::underlay::Underlay;
use crate::world::{Settings, Transport, World};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "bandwidth",
    about: "how many hosts find their own links' rates by packet pairs, by the size of the leaf set",
    run,
};

const SOURCE: &str = "seed 003 paragraphs 0075 to 0077; 1 - (1 - q)^L";
/// Down and up in kilobits a second, and how many in a hundred hosts have such links. Up is faster
/// than down at the last, so that nobody's two rates are the same as another's.
const CAPACITIES: [(u64, u64, u64); 5] = [
    (1_500, 384, 20),
    (8_000, 1_000, 30),
    (24_000, 3_000, 20),
    (50_000, 20_000, 20),
    (80_000, 100_000, 10),
];
/// The share of each link that others take.
const CROSS_TRAFFIC: f64 = 0.3;
/// An estimate this near to the rate is exact.
const EXACT: f64 = 0.05;
/// How far the share of exact ones may be from the formula's.
const TOLERANCE: f64 = 0.1;
/// How often a host sends a pair: rarely enough that pairs do not meet.
const PAIR_INTERVAL: Duration = Duration::from_secs(2);
/// Pairs to each neighbor in the mean: a few more than count.
const PAIRS: u32 = 25;
/// Before that neighbors are heard of.
const WARM_UP: Duration = Duration::from_secs(60);
/// The stream of the seed that links are drawn from.
const LINKS_STREAM: u64 = 0x6c69_6e6b;

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    let refused = [Flag::Matrix, Flag::BothTransports];
    options.refuse(EXPERIMENT.name, &refused)?;
    let leaf_sets: &[usize] = match options.scale {
        Scale::Ci => &[4, 16],
        Scale::Full => &[2, 4, 8, 16, 32],
    };
    let mut report = Report::default();
    for nodes in options.sizes(&[120], &[200]) {
        bar.set_length(leaf_sets.len() as u64);
        for leaf_set in leaf_sets.iter().copied() {
            bar.set_message(format!("{nodes} hosts, leaf set {leaf_set}"));
            let measuring = Measuring::run(nodes, leaf_set, options)?;
            measuring.rows(leaf_set, &mut report);
            bar.inc(1);
        }
        report.notes.push(options.seal_note(nodes));
    }
    report.notes.push(note());
    Ok(report)
}

fn note() -> String {
    let links = CAPACITIES
        .map(|(down, up, share)| format!("{share} % {} / {}", down as f64 / 1e3, up as f64 / 1e3));
    format!(
        "links, down / up in Mbit/s: {}; on each {} % cross traffic of the simple Internet mix; exact: \
         within {} %; the source's figure is the formula's, over each host's own q",
        links.join(", "),
        CROSS_TRAFFIC * 100.0,
        EXACT * 100.0
    )
}

/// What is true of a host, and what it has found: kilobits a second.
struct Measured {
    up: u64,
    down: u64,
    found: (Option<u32>, Option<u32>),
}

struct Measuring {
    hosts: Vec<Measured>,
    event_hash: u64,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Measuring {
    /// Lets hosts measure until they have all the pairs that count.
    fn run(nodes: usize, leaf_set: usize, options: &Options) -> Result<Measuring, Error> {
        let underlay = Arc::new(underlay(nodes, options.seed));
        let network =
            Network::new(Arc::clone(&underlay), network::Settings::default(), options.seed);
        let mut network = network.map_err(|error| Error::Usage(error.to_string()))?;
        network.set_cross_traffic(CROSS_TRAFFIC, options.seed);
        let settings = Settings {
            seed: options.seed,
            transport: options.transport_or(Transport::Xcast),
            signed: options.is_signed(nodes),
        };
        let carrier = Packets { network: Rc::new(RefCell::new(network)) };
        let mut world = World::new(settings, Box::new(carrier));
        for place in 0..nodes {
            world.add_host();
            world.start(place, config(leaf_set));
        }
        preset(&mut world, leaf_set / 2);
        let last = WARM_UP + PAIR_INTERVAL * PAIRS * leaf_set as u32;
        world.run_until(Time(0) + last);
        let kilobits = |rate: Option<u64>| rate.unwrap_or(u64::MAX) / 1000;
        let hosts = underlay.hosts().iter().enumerate().map(|(place, host)| {
            let metrics = world.node(place).and_then(|node| node.metrics());
            let found = metrics.map(metrics::Metrics::bandwidth).unwrap_or_default();
            Measured { up: kilobits(host.up), down: kilobits(host.down), found }
        });
        Ok(Measuring { hosts: hosts.collect(), event_hash: world.hash() })
    }

    fn rows(&self, leaf_set: usize, report: &mut Report) {
        let words = [(Direction::Up, "up"), (Direction::Down, "down")];
        for (direction, word) in words {
            let exact = self.exact(direction);
            let expected = self.expected(direction, leaf_set);
            let with = |row: Row| {
                row.with("nodes", self.hosts.len())
                    .with("leaf-set", leaf_set)
                    .with("direction", word)
            };
            let target = Target::Within(expected - TOLERANCE, expected + TOLERANCE);
            let exact = Row::new("exact-share", exact, SOURCE).beside(expected).target(target);
            report.rows.extend([with(exact), with(Row::new("expected-share", expected, SOURCE))]);
        }
        report.event_hash = Some(self.event_hash);
    }

    /// The share of hosts whose estimate is their link's rate.
    fn exact(&self, direction: Direction) -> f64 {
        let is_exact = |host: &&Measured| {
            let (found, real) = match direction {
                Direction::Up => (host.found.0, host.up),
                Direction::Down => (host.found.1, host.down),
            };
            found.is_some_and(|found| (f64::from(found) / real as f64 - 1.0).abs() <= EXACT)
        };
        self.hosts.iter().filter(is_exact).count() as f64 / self.hosts.len() as f64
    }

    /// 1 - (1 - q)^L in the mean, where q is the share of other hosts whose link the other way is as
    /// fast as a host's own.
    fn expected(&self, direction: Direction, leaf_set: usize) -> f64 {
        let others = self.hosts.len() - 1;
        let found = self.hosts.iter().enumerate().map(|(place, host)| {
            let as_fast = |(other, they): &(usize, &Measured)| {
                *other != place
                    && match direction {
                        Direction::Up => they.down >= host.up,
                        Direction::Down => they.up >= host.down,
                    }
            };
            let q = self.hosts.iter().enumerate().filter(as_fast).count() as f64 / others as f64;
            1.0 - (1.0 - q).powi(leaf_set as i32)
        });
        found.sum::<f64>() / self.hosts.len() as f64
    }
}

fn config(leaf_set: usize) -> node::Config {
    let metrics = metrics::Config {
        interval: Duration::from_secs(60),
        pair_interval: Some(PAIR_INTERVAL),
        ..metrics::Config::default()
    };
    let ring = ring::Config { leaf_set, ..ring::Config::default() };
    node::Config { ring, metrics: Some(metrics), ..node::Config::default() }
}

/// Hosts with links of all capacities, in random order, behind one router.
fn underlay(nodes: usize, seed: u64) -> Underlay {
    let mut underlay = Underlay::new(1, Vec::new());
    underlay.attach_hosts(nodes, seed);
    let all = CAPACITIES.iter().flat_map(|(down, up, share)| {
        let count = (*share as usize * nodes).div_ceil(100);
        std::iter::repeat_n((*down, *up), count)
    });
    let mut all: Vec<(u64, u64)> = all.take(nodes).collect();
    Random::new(seed, LINKS_STREAM).shuffle(&mut all);
    for (host, (down, up)) in all.into_iter().enumerate() {
        let link = underlay.host_mut(host);
        (link.down, link.up) = (Some(down * 1000), Some(up * 1000));
    }
    underlay
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_over_each_hosts_own_q() {
        let host = |up, down| Measured { up, down, found: (None, None) };
        let hosts = vec![host(1, 4), host(2, 1), host(9, 9), host(9, 9)];
        let measuring = Measuring { hosts, event_hash: 0 };
        // Up 1: all three can tell; up 2: three; up 9: the other one of those.
        let third = |q: f64| 1.0 - (1.0 - q) * (1.0 - q);
        let up = (third(1.0) + third(1.0) + 2.0 * third(1.0 / 3.0)) / 4.0;
        assert!((measuring.expected(Direction::Up, 2) - up).abs() < 1e-12);
        let down = (third(2.0 / 3.0) + third(1.0) + 2.0 * third(1.0 / 3.0)) / 4.0;
        assert!((measuring.expected(Direction::Down, 2) - down).abs() < 1e-12);
    }

    #[test]
    fn links_are_as_many_as_said() {
        let underlay = underlay(100, 3);
        for (down, up, share) in CAPACITIES {
            let rates = (Some(down * 1000), Some(up * 1000));
            let count =
                underlay.hosts().iter().filter(|host| (host.down, host.up) == rates).count();
            assert_eq!(count as u64, share);
        }
    }
}

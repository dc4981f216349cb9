//! `alm-single`: how much lower the tree of one session is than AMCast's on the same members.
//!
//! Each trial has a network of its own, with 1,200 hosts and degrees as the seed's authors drew them. All
//! algorithms plan for the same members and the same root; all other hosts are candidates for helpers.
//! The figure is the mean over all trials of 1 - h / h(AMCast), h being the greatest one-way latency of a
//! member. The bound is a root that reaches all members itself. AMCast, by which all are measured, sends
//! by unicast; the rows with Xcast say what is left to gain where a degree carries 50 children.
//!
//! `plan` is what a session's root does: the better one of `adjust` and `critical-adjust`, and the latter's
//! tree searched in groups of up to 50.
//!
//! `leafset-critical-adjust` plans by the distances of coordinates, fitted to the delays within leaf sets,
//! and true latencies are measured on its trees. Trees are made of the shortest links, whose latencies
//! coordinates predict worst, so it gains much less; with few pools its rows say little.

use indicatif::ProgressBar;
use overlay_protocols::alm::{Config, Micros, Network, Place, PlanError, Problem, Transport, Tree};
use overlay_protocols::alm::{adjust, amcast, critical, plan};
use overlay_protocols::coordinates::{Coordinate, Embedding};
use overlay_protocols::random::Random;

use super::pools::{HOSTS, Hosts, PoolOfHosts};
use super::{Error, Experiment, Flag, Options, Scale};
use crate::report::{Report, Row, Target};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "alm-single",
    about: "height of a multicast session's tree with helpers from the pool, beside AMCast's",
    run,
};

const GAIN: &str = "height-gain";
const HELPERS: &str = "helpers";
const SOURCE: &str = "seed 003 paragraphs 0082 to 0086";
const GROUPS: [usize; 5] = [10, 20, 50, 100, 200];
const TRIALS: u64 = 50;
const TRANSPORTS: [(Transport, &str); 2] =
    [(Transport::Unicast, "unicast"), (Transport::Xcast, "xcast")];
const ALGORITHMS: [&str; 6] =
    ["adjust", "critical", "critical-adjust", "plan", "leafset-critical-adjust", "bound"];
/// Which of them plans on coordinates, and which is none.
const LEAFSET: usize = 4;
const BOUND: usize = 5;
/// What groups of 20 to 100 gain by unicast at least, by algorithm.
const LEAST: [Option<f64>; 6] = [Some(0.08), Some(0.18), Some(0.27), Some(0.27), None, None];
/// Pools in which hosts find coordinates, by scale: that takes a few seconds each.
const LEAFSET_TRIALS: [u64; 2] = [2, TRIALS];
/// Places on the ring and the order of joining are drawn from this stream.
const COORDINATE_STREAM: u64 = 0x636f_6f72_6469_6e61;

/// Sums over all trials, by algorithm.
#[derive(Clone, Copy, Default)]
struct Sums {
    gain: [f64; ALGORITHMS.len()],
    helpers: [f64; ALGORITHMS.len()],
    trials: [f64; ALGORITHMS.len()],
}

impl Sums {
    fn add(&mut self, algorithm: usize, gain: f64, helpers: usize) {
        self.gain[algorithm] += gain;
        self.helpers[algorithm] += helpers as f64;
        self.trials[algorithm] += 1.0;
    }
}

/// A pool, and the hosts' coordinates if they have any.
struct Trial {
    pool: PoolOfHosts,
    /// By host; a unit is a millisecond one way.
    coordinates: Option<Vec<Coordinate>>,
}

impl Trial {
    fn new(nodes: usize, options: &Options, trial: u64) -> Trial {
        let pool = PoolOfHosts::new(nodes, options.seed, trial);
        let with_coordinates = match options.scale {
            Scale::Ci => LEAFSET_TRIALS[0],
            Scale::Full => LEAFSET_TRIALS[1],
        };
        let coordinates = (trial < with_coordinates).then(|| {
            let mut random = Random::new(pool.seed, COORDINATE_STREAM);
            let milliseconds = |one, other| Some(pool.latency(one, other) as f64 / 1e3);
            Embedding::default().of(nodes, milliseconds, &mut random)
        });
        Trial { pool, coordinates }
    }
}

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Matrix, Flag::Transport, Flag::Seal])?;
    let nodes = options.nodes.unwrap_or(HOSTS);
    let most = GROUPS[GROUPS.len() - 1];
    if nodes < most {
        let problem =
            format!("{nodes} hosts are too few for groups of {most}; take more by --nodes");
        return Err(Error::Usage(problem));
    }
    bar.set_length(TRIALS);
    let mut sums = [[Sums::default(); GROUPS.len()]; TRANSPORTS.len()];
    for trial in 0..TRIALS {
        bar.set_message(format!("network {trial}"));
        let trial = Trial::new(nodes, options, trial);
        let mut random = Random::new(trial.pool.seed, 0x0067_726f_7570_7300);
        for (of_group, group) in GROUPS.into_iter().enumerate() {
            let mut hosts: Vec<usize> = (0..nodes).collect();
            random.shuffle(&mut hosts);
            let mut amcast = None;
            for (of_transport, (transport, _)) in TRANSPORTS.into_iter().enumerate() {
                let config = Config { transport, ..Config::default() };
                let sums = &mut sums[of_transport][of_group];
                let height = measure(&trial, &hosts, group, &config, amcast, sums);
                amcast = Some(height.map_err(no_plan)?);
            }
        }
        bar.inc(1);
    }
    Ok(report(nodes, &sums))
}

fn no_plan(error: PlanError) -> Error {
    Error::Usage(format!("no plan: {error:?}"))
}

/// Plans for one group by every algorithm: the first of the hosts are its members. Returns by which height
/// it was measured: that of its own AMCast, if no other one is given.
fn measure(
    trial: &Trial,
    hosts: &[usize],
    group: usize,
    config: &Config,
    by: Option<Micros>,
    sums: &mut Sums,
) -> Result<Micros, PlanError> {
    let pool = &trial.pool;
    let network = Hosts { pool, hosts };
    let degrees: Vec<u16> = hosts.iter().map(|host| pool.degrees[*host]).collect();
    let problem = Problem::new(&network, config, &degrees, group)?;
    let amcast = amcast(&problem)?;
    let helped = critical(&problem)?;
    let by = by.unwrap_or(amcast.height());
    let gain = |height: Micros| 1.0 - height as f64 / by as f64;
    let adjusted_both = [adjusted(&problem, &amcast), adjusted(&problem, &helped)];
    let trees = [&adjusted_both[0], &helped, &adjusted_both[1], &plan(&problem)?];
    for (algorithm, tree) in trees.into_iter().enumerate() {
        sums.add(algorithm, gain(tree.height()), tree.helpers());
    }
    if let Some(coordinates) = &trial.coordinates {
        let predicted = |from: Place, to: Place| {
            let distance = coordinates[hosts[from]].distance(&coordinates[hosts[to]]);
            (distance * 1e3).max(0.0) as Micros
        };
        let believed = Problem::new(&predicted, config, &degrees, group)?;
        let tree = adjusted(&believed, &critical(&believed)?);
        let links: Vec<(Place, Place)> = tree.links().collect();
        let real = Tree::from_links(&problem, &links);
        sums.add(LEAFSET, gain(real.height()), real.helpers());
    }
    let least = (0..group).map(|member| network.latency(0, member)).max().unwrap_or(0);
    sums.add(BOUND, gain(least), 0);
    Ok(by)
}

fn adjusted<N: Network>(problem: &Problem<'_, N>, tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    adjust(problem, &mut tree);
    tree
}

fn report(nodes: usize, sums: &[[Sums; GROUPS.len()]; TRANSPORTS.len()]) -> Report {
    let mut report = Report::default();
    for (algorithm, name) in ALGORITHMS.into_iter().enumerate() {
        for ((_, transport), sums) in TRANSPORTS.into_iter().zip(sums) {
            for (group, sums) in GROUPS.into_iter().zip(sums) {
                let trials = sums.trials[algorithm];
                let row = |what, sum: f64| {
                    let row = Row::new(what, sum / trials, SOURCE)
                        .with("nodes", nodes)
                        .with("algorithm", name)
                        .with("group", group)
                        .with("transport", transport);
                    match algorithm == LEAFSET {
                        // The fit alone, without messages.
                        true => row.with("method", "static").with("pools", trials as u64),
                        false => row,
                    }
                };
                let mut gain = row(GAIN, sums.gain[algorithm]);
                let has_target = transport == "unicast" && (20..=100).contains(&group);
                if let Some(least) = LEAST[algorithm].filter(|_| has_target) {
                    gain = gain.target(Target::AtLeast(least));
                }
                report.rows.push(gain);
                if name.contains("critical") || name == "plan" {
                    report.rows.push(row(HELPERS, sums.helpers[algorithm]));
                }
            }
        }
    }
    let trials = sums[0][0].trials[LEAFSET];
    report.notes.push(format!(
        "{TRIALS} pools, coordinates in {trials} of them; 1 - h / h(AMCast by unicast), R = 50 ms, \
         helpers of degree 4 or more"
    ));
    report
}

//! `alm-single`: how much lower the tree of one session is than AMCast's on the same members.
//!
//! Each trial has a network of its own, with 1,200 hosts and degrees as the seed's authors drew them. All
//! algorithms plan for the same members and the same root; all other hosts are candidates for helpers.
//! The figure is the mean over all trials of 1 - h / h(AMCast), h being the greatest one-way latency of a
//! member. The bound is a root that reaches all members itself. AMCast, by which all are measured, sends by
//! unicast; the rows with Xcast say what is left to gain where a degree carries 50 children.

use indicatif::ProgressBar;
use overlay_protocols::alm::{Config, Micros, Network, PlanError, Problem, Transport, Tree};
use overlay_protocols::alm::{adjust, amcast, critical};
use overlay_protocols::random::Random;

use super::pools::{HOSTS, Hosts, PoolOfHosts};
use super::{Error, Experiment, Flag, Options};
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
const ALGORITHMS: [&str; 4] = ["adjust", "critical", "critical-adjust", "bound"];
/// What groups of 20 to 100 gain by unicast at least, by algorithm.
const LEAST: [Option<f64>; 4] = [Some(0.08), Some(0.18), Some(0.27), None];

/// Sums over all trials, by algorithm.
#[derive(Clone, Copy, Default)]
struct Sums {
    gain: [f64; ALGORITHMS.len()],
    helpers: [f64; ALGORITHMS.len()],
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
        let pool = PoolOfHosts::new(nodes, options.seed, trial);
        let mut random = Random::new(pool.seed, 0x0067_726f_7570_7300);
        for (of_group, group) in GROUPS.into_iter().enumerate() {
            let mut hosts: Vec<usize> = (0..nodes).collect();
            random.shuffle(&mut hosts);
            let mut amcast = None;
            for (of_transport, (transport, _)) in TRANSPORTS.into_iter().enumerate() {
                let config = Config { transport, ..Config::default() };
                let sums = &mut sums[of_transport][of_group];
                let height = measure(&pool, &hosts[..], group, &config, amcast, sums);
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
    pool: &PoolOfHosts,
    hosts: &[usize],
    group: usize,
    config: &Config,
    by: Option<Micros>,
    sums: &mut Sums,
) -> Result<Micros, PlanError> {
    let network = Hosts { pool, hosts };
    let degrees: Vec<u16> = hosts.iter().map(|host| pool.degrees[*host]).collect();
    let problem = Problem::new(&network, config, &degrees, group)?;
    let amcast = amcast(&problem)?;
    let helped = critical(&problem)?;
    let adjusted = |tree: &Tree| {
        let mut tree = tree.clone();
        adjust(&problem, &mut tree);
        tree
    };
    let least = (0..group).map(|member| network.latency(0, member)).max().unwrap_or(0);
    let by = by.unwrap_or(amcast.height());
    let gain = |height: Micros| 1.0 - height as f64 / by as f64;
    let trees = [&adjusted(&amcast), &helped, &adjusted(&helped)];
    for (algorithm, tree) in trees.into_iter().enumerate() {
        sums.gain[algorithm] += gain(tree.height());
        sums.helpers[algorithm] += tree.helpers() as f64;
    }
    sums.gain[trees.len()] += gain(least);
    Ok(by)
}

fn report(nodes: usize, sums: &[[Sums; GROUPS.len()]; TRANSPORTS.len()]) -> Report {
    let mut report = Report::default();
    for (algorithm, name) in ALGORITHMS.into_iter().enumerate() {
        for ((_, transport), sums) in TRANSPORTS.into_iter().zip(sums) {
            for (group, sums) in GROUPS.into_iter().zip(sums) {
                let row = |what, sum: f64| {
                    Row::new(what, sum / TRIALS as f64, SOURCE)
                        .with("nodes", nodes)
                        .with("algorithm", name)
                        .with("group", group)
                        .with("transport", transport)
                };
                let mut gain = row(GAIN, sums.gain[algorithm]);
                let has_target = transport == "unicast" && (20..=100).contains(&group);
                if let Some(least) = LEAST[algorithm].filter(|_| has_target) {
                    gain = gain.target(Target::AtLeast(least));
                }
                report.rows.push(gain);
                if name.starts_with("critical") {
                    report.rows.push(row(HELPERS, sums.helpers[algorithm]));
                }
            }
        }
    }
    report
}

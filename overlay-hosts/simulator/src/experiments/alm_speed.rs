//! `alm-speed`: how long planning a session's tree takes on this machine.
//!
//! The pool is that of `alm-single`, latencies are looked up in a table. A plan is the whole one:
//! AMCast and the critical node algorithm, both adjusted. Of eleven runs the fastest counts: others may
//! share the machine.

use std::time::Instant;

use indicatif::ProgressBar;
use overlay_protocols::alm::{Config, Problem, plan};
use overlay_protocols::random::Random;

use super::pools::{HOSTS, Hosts, PoolOfHosts};
use super::{Error, Experiment, Flag, Options};
use crate::report::{Report, Row, Target};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "alm-speed",
    about: "time that planning a multicast session's tree takes",
    run,
};

const SOURCE: &str = "seed 003 paragraph 0082: hundreds of nodes in less than one second";
/// Members, candidates for helpers, and the most seconds that a plan may take.
const SIZES: [(usize, usize, Option<f64>); 5] = [
    (20, 1_180, None),
    (200, 0, Some(0.005)),
    (200, 200, None),
    (200, 1_000, None),
    (1_000, 200, Some(0.1)),
];
const RUNS: usize = 11;

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    let refused = [Flag::Nodes, Flag::Matrix, Flag::BothTransports, Flag::Seal];
    options.refuse(EXPERIMENT.name, &refused)?;
    let transport = match options.transport_or(crate::world::Transport::Unicast) {
        crate::world::Transport::Unicast => overlay_protocols::alm::Transport::Unicast,
        crate::world::Transport::Xcast => overlay_protocols::alm::Transport::Xcast,
    };
    let config = Config { transport, ..Config::default() };
    bar.set_length(SIZES.len() as u64);
    let pool = PoolOfHosts::new(HOSTS, options.seed, 0);
    let mut report = Report::default();
    for (members, helpers, most) in SIZES {
        let (seconds, height) = measure(&pool, members, helpers, &config)?;
        let row = Row::new("plan-seconds", seconds, SOURCE)
            .with("members", members)
            .with("helpers", helpers);
        let row = if members == 200 { row.beside(1.0) } else { row };
        report.rows.push(match most {
            Some(most) => row.target(Target::AtMost(most)),
            None => row,
        });
        report.notes.push(format!(
            "{members} members and {helpers} candidates: height {:.1} ms",
            height as f64 / 1000.0
        ));
        bar.inc(1);
    }
    Ok(report)
}

/// The fewest seconds, and the height of the tree.
fn measure(
    pool: &PoolOfHosts,
    members: usize,
    helpers: usize,
    config: &Config,
) -> Result<(f64, u64), Error> {
    let mut hosts: Vec<usize> = (0..HOSTS).collect();
    Random::new(pool.seed, members as u64).shuffle(&mut hosts);
    hosts.truncate(members + helpers);
    let degrees: Vec<u16> = hosts.iter().map(|host| pool.degrees[*host]).collect();
    let network = Hosts { pool, hosts: &hosts };
    let no_plan = |error| Error::Usage(format!("no plan: {error:?}"));
    let problem = Problem::new(&network, config, &degrees, members).map_err(no_plan)?;
    let height = plan(&problem).map_err(no_plan)?.height();
    let mut seconds = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        let tree = plan(&problem).map_err(no_plan)?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
        debug_assert_eq!(tree.height(), height);
    }
    Ok((seconds, height))
}

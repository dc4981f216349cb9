//! `alm-sessions`: what sessions of three priorities get out of one pool, from 10 sessions of 20 members
//! to 60, when everybody is a member of one.
//!
//! Sessions start at any time; of three one ends in between and starts again. Each plans by itself, by the
//! degree tables as they are, and asks the hosts for what it needs; whoever loses a host plans anew. When all
//! have started, they plan once more in turn until nobody changes anything. The figure is the mean over
//! sessions of 1 - h / h(AMCast on its members). Every workload runs three times, so that each session has
//! each priority once.

use indicatif::ProgressBar;
use overlay_protocols::alm::{
    Config, Micros, PlanError, Priority, Problem, Session, SessionConfig, SessionId, Transport,
};
use overlay_protocols::alm::{adjust, amcast, plan};
use overlay_protocols::random::Random;

use super::pools::{HOSTS, Hosts, Market, PoolOfHosts};
use super::{Error, Experiment, Flag, Options, Scale};
use crate::report::{Report, Row, Target};
use crate::underlay::HostId;

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "alm-sessions",
    about: "height of multicast sessions' trees that compete for one pool, by priority",
    run,
};

const SOURCE: &str = "seed 003 paragraphs 0088 to 0095";
const MEMBERS: usize = 20;
const SESSIONS: [usize; 6] = [10, 20, 30, 40, 50, 60];
const PRIORITIES: usize = 3;
/// Pools, by scale.
const TRIALS: [u64; 2] = [2, 20];
/// By so much a class may be behind the next lower one while there are few sessions.
const SLACK: f64 = 0.01;
/// From here on, priorities have to show.
const MANY: usize = 40;
/// Rounds in which all plan anew, at most.
const ROUNDS_MAX: usize = 10;

/// Sums over sessions, by priority; the bounds are the same for all.
#[derive(Clone, Copy, Default)]
struct Sums {
    improvement: [f64; PRIORITIES],
    helpers: [f64; PRIORITIES],
    count: [f64; PRIORITIES],
    lower: f64,
    upper: f64,
    alone: f64,
    /// Workloads in which sessions still changed when the rounds were over.
    restless: u64,
    /// Sessions without a whole tree.
    broken: u64,
}

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    let refused = [Flag::Nodes, Flag::Matrix, Flag::BothTransports, Flag::Seal];
    options.refuse(EXPERIMENT.name, &refused)?;
    let transport = match options.transport_or(crate::world::Transport::Unicast) {
        crate::world::Transport::Unicast => Transport::Unicast,
        crate::world::Transport::Xcast => Transport::Xcast,
    };
    let config = SessionConfig {
        plan: Config { transport, ..Config::default() },
        ..SessionConfig::default()
    };
    let (sizes, trials): (&[usize], u64) = match options.scale {
        Scale::Ci => (&[SESSIONS[0], SESSIONS[SESSIONS.len() - 1]], TRIALS[0]),
        Scale::Full => (&SESSIONS, TRIALS[1]),
    };
    bar.set_length(sizes.len() as u64 * trials);
    let mut report = Report::default();
    for sessions in sizes.iter().copied() {
        let mut sums = Sums::default();
        for trial in 0..trials {
            bar.set_message(format!("{sessions} sessions, pool {trial}"));
            let pool = PoolOfHosts::new(HOSTS, options.seed, trial);
            workload(&pool, sessions, &config, &mut sums).map_err(no_plan)?;
            bar.inc(1);
        }
        rows(sessions, &sums, &mut report);
        report.notes.push(format!(
            "{sessions} sessions: {trials} pools, each session with each priority; in {} of {} \
             workloads some still changed after {ROUNDS_MAX} rounds",
            sums.restless,
            trials * PRIORITIES as u64,
        ));
    }
    Ok(report)
}

fn no_plan(error: PlanError) -> Error {
    Error::Usage(format!("no plan: {error:?}"))
}

/// The same groups in one pool, with all rotations of their priorities.
fn workload(
    pool: &PoolOfHosts,
    sessions: usize,
    config: &SessionConfig,
    sums: &mut Sums,
) -> Result<(), PlanError> {
    let mut random = Random::new(pool.seed, 0x6d61_726b_6574_0000);
    let mut hosts: Vec<HostId> = (0..HOSTS).collect();
    random.shuffle(&mut hosts);
    let groups: Vec<&[HostId]> = hosts.chunks(MEMBERS).take(sessions).collect();
    let amcast: Vec<Micros> =
        groups.iter().map(|group| bounds(pool, group, config, sums)).collect::<Result<_, _>>()?;
    let events = events(sessions, &mut random);
    for rotation in 0..PRIORITIES {
        let class = |group: usize| (group + rotation) % PRIORITIES;
        let mut market = Market::new(pool);
        for (group, starts) in &events {
            let id = SessionId(*group as u64);
            if *starts {
                let members = groups[*group];
                let priority = Priority::new(class(*group) as u8 + 1).unwrap_or(Priority::LOWEST);
                let members = (members[0], members.iter().copied());
                let session = Session::new(id, priority, members.0, members.1, config.clone());
                market.start(session)?;
            } else {
                market.end(id)?;
            }
        }
        sums.restless += u64::from(!market.come_to_rest(ROUNDS_MAX, &mut random)?);
        for (group, amcast) in amcast.iter().enumerate() {
            let Some((height, helpers)) = market.height(SessionId(group as u64)) else {
                sums.broken += 1;
                continue;
            };
            sums.improvement[class(group)] += 1.0 - height as f64 / *amcast as f64;
            sums.helpers[class(group)] += helpers as f64;
            sums.count[class(group)] += 1.0;
        }
    }
    Ok(())
}

/// Adds what a session has without any helper, and alone in the pool; returns the height by AMCast.
fn bounds(
    pool: &PoolOfHosts,
    group: &[HostId],
    config: &SessionConfig,
    sums: &mut Sums,
) -> Result<Micros, PlanError> {
    let mut hosts = group.to_vec();
    hosts.extend((0..HOSTS).filter(|host| !group.contains(host)));
    let degrees: Vec<u16> = hosts.iter().map(|host| pool.degrees[*host]).collect();
    let network = Hosts { pool, hosts: &hosts };
    let problem = Problem::new(&network, &config.plan, &degrees, group.len())?;
    let amcast = amcast(&problem)?;
    let mut own = amcast.clone();
    adjust(&problem, &mut own);
    let gain = |height: Micros| 1.0 - height as f64 / amcast.height() as f64;
    sums.lower += gain(own.height());
    sums.upper += gain(plan(&problem)?.height());
    sums.alone += 1.0;
    Ok(amcast.height())
}

/// Which session starts, or ends, in the order of time.
fn events(sessions: usize, random: &mut Random) -> Vec<(usize, bool)> {
    let mut events: Vec<(f64, usize, bool)> = Vec::new();
    for session in 0..sessions {
        let start = random.unit();
        events.push((start, session, true));
        if session % 3 == 2 {
            let end = start + (1.0 - start) * random.unit();
            events.push((end, session, false));
            events.push((end + (1.0 - end) * random.unit(), session, true));
        }
    }
    // One that ends starts again no earlier, and stays behind that.
    events.sort_by(|one, other| one.0.total_cmp(&other.0));
    events.into_iter().map(|(_, session, starts)| (session, starts)).collect()
}

fn rows(sessions: usize, sums: &Sums, report: &mut Report) {
    let row = |name, figure: f64| {
        Row::new(name, figure, SOURCE).with("nodes", HOSTS).with("sessions", sessions)
    };
    let (lower, upper) = (sums.lower / sums.alone, sums.upper / sums.alone);
    let mean =
        |sums: &[f64; PRIORITIES], class: usize, all: &[f64; PRIORITIES]| sums[class] / all[class];
    let improvement = |class| mean(&sums.improvement, class, &sums.count);
    let helpers = |class| mean(&sums.helpers, class, &sums.count);
    for class in 0..PRIORITIES {
        let is_bounded = Target::AtLeast(lower - 1e-9);
        report.rows.extend([
            row("improvement", improvement(class)).with("priority", class + 1).target(is_bounded),
            row("helpers", helpers(class)).with("priority", class + 1),
        ]);
    }
    report.rows.extend([row("lower-bound", lower), row("upper-bound", upper)]);
    let broken = row("sessions-without-tree", sums.broken as f64);
    report.rows.push(broken.target(Target::AtMost(0.0)));
    for class in 0..PRIORITIES - 1 {
        let over = |row: Row| row.with("priority", class + 1).with("over", class + 2);
        let least = if sessions >= MANY { f64::MIN_POSITIVE } else { -SLACK };
        let lead = over(row("improvement-lead", improvement(class) - improvement(class + 1)));
        report.rows.push(lead.target(Target::AtLeast(least)));
        let lead = over(row("helpers-lead", helpers(class) - helpers(class + 1)));
        report.rows.push(match sessions == SESSIONS[SESSIONS.len() - 1] {
            true => lead.target(Target::AtLeast(f64::MIN_POSITIVE)),
            false => lead,
        });
    }
}

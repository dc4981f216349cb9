//! `scale`: how much time and memory ten minutes of a large overlay take. All nodes are part of a
//! ring and of groups from the start; 1 % of them a minute are replaced by others, who join.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use overlay_protocols::locality::{Distance, GroupId, GroupRef, Neighbor};
use overlay_protocols::node::{self, Input};
use overlay_protocols::random::Random;
use overlay_protocols::{Contact, OverlayNode, Time, locality, parallel, ring};

use super::{Error, Experiment, Flag, Options, localities, rings};
use crate::report::{Report, Row, Target};
use crate::underlay::{TransitStub, Underlay};
use crate::world::churn::{Churn, Lifetimes};
use crate::world::{Happening, World, address};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "scale",
    about: "time and memory that ten minutes of a large overlay take",
    run,
};

const SOURCE: &str = "definition of the experiment";
const SPAN: Duration = Duration::from_secs(600);
/// The size that the limits are for.
const NODES: usize = 100_000;
const SECONDS_MAX: f64 = 600.0;
const BYTES_MAX: f64 = (4u64 << 30) as f64;
/// 1 % a minute.
const LIFETIME: Duration = Duration::from_secs(6000);
/// Groups that a group is linked to by its own choice; the same number may choose it.
const NEAR_GROUPS: usize = 3;
/// Who came later may still be joining at the end.
const SETTLING: Duration = Duration::from_secs(30);
/// A leaving node is given so long.
const FAREWELL: Duration = Duration::from_secs(3);
/// The mark of the end of a life; the other one is the end of leaving.
const DIE: u64 = 1 << 36;

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Matrix, Flag::BothTransports])?;
    let mut report = Report::default();
    for nodes in options.sizes(&[2_000], &[NODES]) {
        measure(nodes, options, bar, &mut report);
    }
    Ok(report)
}

fn config() -> node::Config {
    let ring = ring::Config {
        leaf_set: 8,
        heartbeat: Duration::from_secs(10),
        finger_interval: Duration::from_secs(60),
        // There and back takes a second on this network, and some seven steps are to be made.
        lookup_timeout: Duration::from_secs(15),
        hop_timeout: (Duration::from_millis(400), Duration::from_secs(4)),
        ..ring::Config::default()
    };
    let locality = Some(locality::Config::default());
    let parallel = parallel::Config { groups_max: 0, ..parallel::Config::default() };
    node::Config { ring, locality, parallel, ..node::Config::default() }
}

fn measure(nodes: usize, options: &Options, bar: &ProgressBar, report: &mut Report) {
    let start = Instant::now();
    bar.set_length(SPAN.as_secs());
    bar.set_position(0);
    bar.set_message(format!("{nodes} nodes"));
    let mut underlay = TransitStub::ts600().build(options.seed);
    underlay.attach_hosts(nodes, options.seed);
    let underlay = Arc::new(underlay);
    let mut world = localities::on_underlay(&underlay, options, nodes);
    for place in 0..nodes {
        world.add_host();
        world.start(place, config());
    }
    rings::preset(&mut world, config().ring.leaf_set / 2);
    preset_groups(&mut world, &underlay, options.seed);
    let began = Instant::now();
    let newcomers = churn(&mut world, options.seed, bar);
    let sent = world.sent();
    let with = |name, figure| Row::new(name, figure, SOURCE).with("nodes", nodes);
    let mut seconds = with("wall-seconds", start.elapsed().as_secs_f64());
    let mut bytes = with("peak-bytes", peak_bytes());
    if nodes == NODES {
        seconds = seconds.target(Target::AtMost(SECONDS_MAX));
        bytes = bytes.target(Target::AtMost(BYTES_MAX));
    }
    let rate = sent.events as f64 / began.elapsed().as_secs_f64();
    let cpu = with("cpu-seconds", cpu_seconds());
    report.rows.extend([seconds, cpu, bytes, with("events-per-second", rate.round())]);
    report.event_hash = Some(world.hash());
    let (ring, groups) = count_joined(&world, world.live());
    report.notes.push(format!(
        "{}; {} events, {} datagrams sent, {} arrived, {ring} in the ring and {groups} in groups \
         at the end",
        options.seal_note(nodes),
        sent.events,
        sent.datagrams,
        sent.delivered,
    ));
    let settled = newcomers.iter().filter(|(_, since)| world.now().since(**since) >= SETTLING);
    let settled: Vec<usize> = settled.map(|(place, _)| *place).collect();
    let (ring, groups) = count_joined(&world, settled.iter().copied());
    report.notes.push(format!(
        "{} newcomers at the end that came {} s ago or earlier: {ring} in the ring, {groups} in \
         groups",
        settled.len(),
        SETTLING.as_secs(),
    ));
    report.notes.push(timers_note());
}

/// Every timer that is set or that costs much.
fn timers_note() -> String {
    let node::Config { ring, locality, parallel, .. } = config();
    let locality = locality.unwrap_or_default();
    format!(
        "leaf set {}, heartbeat {:?}, finger {:?}, lookup at most {:?}, hop timeout {:?} to {:?} \
         (the network's delays need longer ones than by default), repair {:?}; Alive {:?}, its \
         timeout {:?}, links measured {:?}; d_q {:?}",
        ring.leaf_set,
        ring.heartbeat,
        ring.finger_interval,
        ring.lookup_timeout,
        ring.hop_timeout.0,
        ring.hop_timeout.1,
        ring.repair_interval,
        locality.alive_period,
        locality.alive_timeout,
        locality.remeasure_period,
        parallel.delay,
    )
}

/// How many of these are part of the ring, and how many of a group.
fn count_joined(world: &World, places: impl Iterator<Item = usize>) -> (usize, usize) {
    let nodes: Vec<&OverlayNode> = places.filter_map(|place| world.node(place)).collect();
    let ring = nodes.iter().filter(|node| is_in_ring(node)).count();
    (ring, nodes.iter().filter(|node| is_in_group(node)).count())
}

fn is_in_ring(node: &OverlayNode) -> bool {
    node.ring().is_joined()
}

fn is_in_group(node: &OverlayNode) -> bool {
    node.locality().is_some_and(|locality| locality.group().is_some())
}

/// The hosts of each router are a group, linked to near ones.
pub(super) fn preset_groups(world: &mut World, underlay: &Underlay, seed: u64) {
    let mut random = Random::new(seed, 0x0067_726f_7570);
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); underlay.router_count()];
    for (place, host) in underlay.hosts().iter().enumerate() {
        groups[host.router].push(place);
    }
    groups.retain(|group| !group.is_empty());
    let near = near_groups(&groups, underlay);
    let defaults = locality::Config::default();
    let id = |group: usize| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(group as u64 + 1).to_be_bytes());
        GroupId(id)
    };
    for (number, members) in groups.iter().enumerate() {
        let neighbor = |other: &usize| {
            let (one, other_leader) = (members[0], groups[*other][0]);
            let leader = world.contact(other_leader);
            let distance = Distance(underlay.rtt(one, other_leader).as_micros() as u32);
            Neighbor { at: GroupRef { group: id(*other), leader }, distance, far: false }
        };
        let neighbors: Vec<Neighbor> = near[number].iter().map(neighbor).collect();
        let links = member_links(members.len(), defaults.links, defaults.links_max, &mut random);
        let contacts: Vec<Contact> = members.iter().map(|place| world.contact(*place)).collect();
        for (rank, place) in members.iter().enumerate() {
            let known = (0..4).filter_map(|_| random.choose(&contacts).cloned());
            let preset = locality::Preset {
                group: id(number),
                leader: contacts[0].clone(),
                leadership: contacts.iter().take(defaults.leadership).cloned().collect(),
                links: links[rank].iter().map(|other| contacts[*other].clone()).collect(),
                neighbors: neighbors.clone(),
                known: known.filter(|peer| peer.id != contacts[rank].id).collect(),
            };
            let command = locality::Command::Preset(Box::new(preset));
            world.input(*place, Input::Locality(command));
        }
    }
}

/// The nearest few of each, and those that it is one of the nearest of.
fn near_groups(groups: &[Vec<usize>], underlay: &Underlay) -> Vec<Vec<usize>> {
    let mut near = vec![Vec::new(); groups.len()];
    for one in 0..groups.len() {
        let mut others: Vec<usize> = (0..groups.len()).filter(|other| *other != one).collect();
        others.sort_by_key(|other| (underlay.rtt(groups[one][0], groups[*other][0]), *other));
        for other in others.into_iter().take(NEAR_GROUPS) {
            if !near[one].contains(&other) {
                near[one].push(other);
                near[other].push(one);
            }
        }
    }
    near.iter_mut().for_each(|all: &mut Vec<usize>| all.truncate(2 * 6));
    near
}

/// To a few earlier members each, unless these have enough.
fn member_links(members: usize, links: usize, most: usize, random: &mut Random) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new(); members];
    for one in 1..members {
        for _ in 0..2 * links {
            let other = random.below(one as u64) as usize;
            if all[one].len() < links && all[other].len() < most && !all[one].contains(&other) {
                all[one].push(other);
                all[other].push(one);
            }
        }
    }
    all
}

/// Ten minutes in which nodes come and go; where there are others at the end than at the beginning,
/// and since when.
fn churn(world: &mut World, seed: u64, bar: &ProgressBar) -> BTreeMap<usize, Time> {
    let mut newcomers = BTreeMap::new();
    let mut churn = Churn::new(Lifetimes::Exponential { mean: LIFETIME }, 0.5, seed);
    let mut random = Random::new(seed, 0x0062_6f6f);
    for place in 0..world.len() {
        let end = Time(0) + churn.lifetime();
        world.mark(end, place, DIE);
    }
    let end = Time(0) + SPAN;
    while world.now() < end {
        match world.next(end) {
            Some(Happening::Mark { place, tag: DIE }) => {
                let at = match churn.is_crash() {
                    true => world.now(),
                    false => {
                        world.input(place, Input::Locality(locality::Command::Leave));
                        world.input(place, Input::Ring(ring::Command::Leave));
                        world.now() + FAREWELL
                    }
                };
                world.mark(at, place, 0);
            }
            Some(Happening::Mark { place, .. }) => {
                replace(world, place, &mut random, &mut churn);
                newcomers.insert(place, world.now());
            }
            _ => {}
        }
        bar.set_position(world.now().0 / 1_000_000);
    }
    newcomers
}

fn replace(world: &mut World, place: usize, random: &mut Random, churn: &mut Churn) {
    world.vacate(place);
    world.start(place, config());
    let boot: Vec<_> = (0..3)
        .map(|_| random.below(world.len() as u64) as usize)
        .filter(|other| *other != place)
        .map(address)
        .collect();
    world.input(place, Input::Ring(ring::Command::Join(boot.clone())));
    world.input(place, Input::Locality(locality::Command::Join(boot)));
    world.mark(world.now() + churn.lifetime(), place, DIE);
}

/// The most memory that this process has had so far; 0 where nobody says.
pub(super) fn peak_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) as f64 * 1024.0
}

/// How long a processor has worked for this process so far (its first thread, which does all the
/// work); 0 where nobody says.
pub(super) fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|text| text.parse::<u64>().ok());
    nanoseconds.unwrap_or(0) as f64 / 1e9
}

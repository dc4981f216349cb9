//! `locality-leader-crash`: the whole leadership list of a group crashes at once; how long until
//! all others name one leader again, and until the group's links to others stand again.

use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::locality::{self, Distance, GroupId, GroupRef, Locality, Neighbor};
use overlay_protocols::node::{self, Input};
use overlay_protocols::random::Random;
use overlay_protocols::{Time, time::micros};

use super::{Error, Experiment, Flag, Options, Scale};
use crate::report::{Report, Row, Target};
use crate::world::carrier::{Direct, random_pairs};
use crate::world::{Settings, Transport, World};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "locality-leader-crash",
    about: "a group whose leader and all successors crash at once, or that is split",
    run,
};

const SOURCE: &str = "seed 001 paragraphs 0063 to 0065";
/// Members of the group, and the groups that it is linked to: these have one member each.
const MEMBERS: usize = 50;
const OTHERS: usize = 3;
const LINKS: usize = 3;
const SKEW: Duration = Duration::from_secs(5);
/// One way between any two hosts.
const DELAY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
/// 10 s without an Alive, 1 s for the list to answer, up to 10 s until somebody claims.
const ELECTED_WITHIN: f64 = 21.0;
/// What reaches one member reaches all: so many steps take less.
const FLOOD: f64 = 1.0;
/// A tie: up to 10 s more, and 1 s for the claims to be seen.
const TIE_ROUND: f64 = 11.0;
const RESTORED_WITHIN: f64 = 10.0;
/// How often somebody who sees everything looks.
const LOOK: Duration = Duration::from_millis(20);

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Nodes, Flag::Matrix, Flag::BothTransports])?;
    let seeds = match options.scale {
        Scale::Ci => 50,
        Scale::Full => 1000,
    };
    let signed = options.is_signed(MEMBERS * seeds as usize);
    let transport = options.transport_or(Transport::Xcast);
    bar.set_length(seeds);
    let mut worst = Worst::default();
    for seed in options.seed..options.seed + seeds {
        worst.take(&crash(Settings { seed, transport, signed }));
        bar.inc(1);
    }
    let split_seeds = seeds / 10;
    let splits = options.seed..options.seed + split_seeds;
    let splits: Vec<Split> =
        splits.map(|seed| split(Settings { seed, transport, signed })).collect();
    let mut report = Report { event_hash: Some(worst.hash), ..Report::default() };
    rows(&worst, seeds, &mut report);
    split_rows(&splits, &mut report);
    report.notes.push(match signed {
        true => "datagrams are signed".to_owned(),
        false => "seals are as long as signatures, and prove nothing".to_owned(),
    });
    report.notes.push(format!("most tie rounds: {}; failed: {:?}", worst.rounds, worst.failed));
    Ok(report)
}

/// What came of one seed.
struct Outcome {
    seed: u64,
    leaders: usize,
    seconds: f64,
    restored: f64,
    rounds: u8,
    hash: u64,
}

impl Outcome {
    fn is_right(&self) -> bool {
        self.leaders == 1
            && self.seconds <= ELECTED_WITHIN + FLOOD + TIE_ROUND * f64::from(self.rounds)
            && self.restored <= RESTORED_WITHIN
    }
}

#[derive(Default)]
struct Worst {
    leaders: usize,
    seconds: f64,
    mean: f64,
    restored: f64,
    rounds: u8,
    failed: Vec<u64>,
    hash: u64,
}

impl Worst {
    fn take(&mut self, outcome: &Outcome) {
        self.leaders = self.leaders.max(outcome.leaders);
        self.seconds = self.seconds.max(outcome.seconds);
        self.mean += outcome.seconds;
        self.restored = self.restored.max(outcome.restored);
        self.rounds = self.rounds.max(outcome.rounds);
        self.hash = self.hash.rotate_left(1) ^ outcome.hash;
        if !outcome.is_right() {
            self.failed.push(outcome.seed);
        }
    }
}

fn rows(worst: &Worst, seeds: u64, report: &mut Report) {
    let with = |row: Row| row.with("members", MEMBERS).with("seeds", seeds).with("split", false);
    let most = ELECTED_WITHIN + FLOOD + TIE_ROUND * f64::from(worst.rounds);
    let of = |name, figure: f64, most| with(Row::new(name, figure, SOURCE)).target(most);
    report.rows.extend([
        of("leaders", worst.leaders as f64, Target::Within(1.0, 1.0)),
        of("seconds-to-leader", worst.seconds, Target::AtMost(most)).with("of-seeds", "worst"),
        with(Row::new("seconds-to-leader", worst.mean / seeds as f64, SOURCE))
            .with("of-seeds", "mean"),
        of("links-restored-seconds", worst.restored, Target::AtMost(RESTORED_WITHIN)),
        of("seeds-failed", worst.failed.len() as f64, Target::AtMost(0.0)),
    ]);
}

fn split_rows(splits: &[Split], report: &mut Report) {
    let with = |row: Row| row.with("members", MEMBERS).with("seeds", splits.len());
    let most = |of: fn(&Split) -> usize| splits.iter().map(of).max().unwrap_or(0) as f64;
    let one = Target::Within(1.0, 1.0);
    let row = |figure| with(Row::new("leaders", figure, SOURCE)).target(one);
    report.rows.extend([
        row(most(|split| split.a_side)).with("split", "while it lasts, a side"),
        row(most(|split| split.healed)).with("split", "healed"),
    ]);
    let wrong = splits.iter().filter(|split| (split.a_side, split.healed) != (1, 1)).count();
    let failed = with(Row::new("seeds-failed", wrong as f64, SOURCE)).with("split", true);
    report.rows.push(failed.target(Target::AtMost(0.0)));
}

/// A group of members 0, 1, ..., the first of which lead, behind them the groups that it is
/// linked to.
fn group(settings: Settings) -> (World, Random) {
    let mut random = Random::new(settings.seed, 0x0063_7261_7368);
    let carrier = Direct::new(random_pairs(settings.seed, DELAY.0, DELAY.1));
    let mut world = World::new(settings, Box::new(carrier));
    let config =
        node::Config { locality: Some(locality::Config::default()), ..node::Config::default() };
    for place in 0..MEMBERS + OTHERS {
        world.add_host();
        world.set_skew(place, micros(random.up_to(SKEW)) as i64);
        world.start(place, config.clone());
    }
    let links = links(&mut random);
    let leadership = locality::Config::default().leadership;
    let id = |number: usize| GroupId([number as u8; 16]);
    let contact = |world: &World, place: usize| world.contact(place);
    let neighbor = |world: &World, number: usize, leader: usize| Neighbor {
        at: GroupRef { group: id(number), leader: contact(world, leader) },
        distance: Distance(100_000),
        far: false,
    };
    for (place, links) in links.iter().enumerate() {
        let inside = place < MEMBERS;
        let (first, number) = if inside { (0, 0) } else { (place, 1 + place - MEMBERS) };
        let successors = if inside { 0..leadership } else { place..place + 1 };
        let neighbors = match inside {
            true => (1..=OTHERS).map(|n| neighbor(&world, n, MEMBERS + n - 1)).collect(),
            false => vec![neighbor(&world, 0, 0)],
        };
        let known = (0..8).map(|_| random.below(MEMBERS as u64) as usize);
        let known: Vec<usize> = known.filter(|other| inside && *other != place).collect();
        let preset = locality::Preset {
            group: id(number),
            leader: contact(&world, first),
            leadership: successors.map(|place| contact(&world, place)).collect(),
            links: links.iter().map(|other| contact(&world, *other)).collect(),
            neighbors,
            known: known.into_iter().map(|other| contact(&world, other)).collect(),
        };
        let command = locality::Command::Preset(Box::new(preset));
        world.input(place, Input::Locality(command));
    }
    (world, random)
}

/// To three earlier members each.
fn links(random: &mut Random) -> Vec<Vec<usize>> {
    let mut links = vec![Vec::new(); MEMBERS + OTHERS];
    for place in 1..MEMBERS {
        let mut earlier: Vec<usize> = (0..place).collect();
        random.shuffle(&mut earlier);
        for other in earlier.into_iter().take(LINKS) {
            links[place].push(other);
            links[other].push(place);
        }
    }
    links
}

fn locality(world: &World, place: usize) -> Option<&Locality> {
    world.node(place)?.locality()
}

/// The one who leads, if all of these members that live name it and it agrees.
fn common_leader(world: &World, members: &[usize]) -> Option<usize> {
    let named = locality(world, *members.first()?)?.leader()?;
    let agree = |place: &usize| locality(world, *place).and_then(Locality::leader) == Some(named);
    let leader = *members.iter().find(|place| world.contact(**place).id == named)?;
    let leads = locality(world, leader).is_some_and(Locality::is_leader);
    (leads && members.iter().all(agree)).then_some(leader)
}

/// Whether the groups beside know who leads, and are known to it.
fn is_linked(world: &World, leader: usize) -> bool {
    let id = world.contact(leader).id;
    let known = locality(world, leader).map_or(0, |leader| leader.neighbors().len());
    known >= OTHERS
        && (MEMBERS..MEMBERS + OTHERS).all(|other| {
            let neighbors = locality(world, other).map_or(&[][..], Locality::neighbors);
            neighbors.iter().any(|neighbor| neighbor.at.leader.id == id)
        })
}

fn crash(settings: Settings) -> Outcome {
    let (mut world, mut random) = group(settings);
    world.run_until(Time(0) + Duration::from_secs(15) + random.up_to(Duration::from_secs(5)));
    let leadership = locality::Config::default().leadership;
    (0..leadership).for_each(|place| world.crash(place));
    let members: Vec<usize> = (leadership..MEMBERS).collect();
    let crashed = world.now();
    let end = crashed + Duration::from_secs(100);
    let (mut elected, mut linked, mut rounds) = (Time::NEVER, Time::NEVER, 0);
    while world.now() < end {
        world.run_until(world.now() + LOOK);
        let round = members.iter().filter_map(|place| locality(&world, *place)?.claim_round());
        rounds = rounds.max(round.max().unwrap_or(0));
        match common_leader(&world, &members) {
            Some(leader) => {
                elected = elected.min(world.now());
                if is_linked(&world, leader) {
                    linked = linked.min(world.now());
                } else {
                    linked = Time::NEVER;
                }
            }
            // What counts is from when on it holds.
            None => (elected, linked) = (Time::NEVER, Time::NEVER),
        }
    }
    let leads = |place: &&usize| locality(&world, **place).is_some_and(Locality::is_leader);
    let seconds = |at: Time, since: Time| match at {
        Time::NEVER => f64::INFINITY,
        at => at.since(since).as_secs_f64(),
    };
    Outcome {
        seed: settings.seed,
        leaders: members.iter().filter(leads).count(),
        seconds: seconds(elected, crashed),
        restored: seconds(linked, elected),
        rounds,
        hash: world.hash(),
    }
}

/// Leaders of a group that was split.
struct Split {
    /// On the side with more of them.
    a_side: usize,
    /// In all, after healing.
    healed: usize,
}

fn split(settings: Settings) -> Split {
    let (mut world, mut random) = group(settings);
    world.run_until(Time(0) + Duration::from_secs(15));
    let mut order: Vec<usize> = (0..MEMBERS).collect();
    random.shuffle(&mut order);
    let mut sides = vec![0; MEMBERS + OTHERS];
    order.iter().take(MEMBERS / 2).for_each(|place| sides[*place] = 1);
    let leads = |world: &World, side: Option<u32>| {
        let on_side = |place: &usize| side.is_none_or(|side| sides[*place] == side);
        let leads = |place: &usize| locality(world, *place).is_some_and(Locality::is_leader);
        (0..MEMBERS).filter(on_side).filter(leads).count()
    };
    world.faults_mut().split(sides.clone());
    world.run_until(world.now() + Duration::from_secs(120));
    let (one, other) = (leads(&world, Some(0)), leads(&world, Some(1)));
    world.faults_mut().heal();
    world.run_until(world.now() + Duration::from_secs(180));
    // None at all is as wrong as too many.
    let a_side = if one.min(other) == 0 { 0 } else { one.max(other) };
    Split { a_side, healed: leads(&world, None) }
}

//! `ring-churn`: whether lookups are right, and values kept, while peers come and go.
//!
//! Everybody looks up a random key every 10 s. An answer is right if it comes within 4 s and names
//! who owns the key at that moment, by the view of somebody who sees everything. Whose source has
//! died is left out. Who leaves is replaced by somebody new at once.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::node::{self, Input};
use overlay_protocols::random::Random;
use overlay_protocols::{RingId, Time, ring};

use super::rings::{GlobalView, preset};
use super::{Error, Experiment, Flag, Options, Scale};
use crate::report::{Report, Row, Target};
use crate::world::carrier::{Direct, random_pairs};
use crate::world::churn::{Churn, Lifetimes};
use crate::world::{Happening, Settings, Transport, World, address};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "ring-churn",
    about: "right lookups, lost keys and hops of a ring whose peers come and go",
    run,
};

const SOURCE: &str = "seed 003 paragraphs 0041 to 0044";
const LIFETIME: Duration = Duration::from_secs(600);
const LOOKUP_EVERY: Duration = Duration::from_secs(10);
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);
const CRASHES: f64 = 0.5;

/// Kinds of marks, in their upper bits.
const LOOK_UP: u64 = 1 << 36;
const DIE: u64 = 2 << 36;
const VACATE: u64 = 3 << 36;
const KIND: u64 = 7 << 36;

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Matrix, Flag::BothTransports])?;
    let mut report = Report::default();
    let (seconds, trials) = match options.scale {
        Scale::Ci => (180, 40),
        Scale::Full => (600, 1000),
    };
    for nodes in options.sizes(&[200], &[1000]) {
        let signed = options.is_signed(nodes);
        let mut churning = Churning::new(nodes, options, signed);
        bar.set_message("churn");
        bar.set_length(seconds);
        churning.run(Duration::from_secs(seconds), bar);
        churning.rows(nodes, &mut report);
        report.event_hash = Some(churning.world.hash());
        report.notes.push(options.seal_note(nodes));
    }
    super::ring_holders::rows(options, trials, bar, &mut report);
    report.notes.push("one-way delays of 10 to 100 ms, fixed for each pair of hosts".to_owned());
    Ok(report)
}

/// A world on random delays, all of whose hosts have a node.
pub(super) fn world(nodes: usize, options: &Options, signed: bool) -> World {
    let seed = options.seed;
    let pairs = random_pairs(seed, Duration::from_millis(10), Duration::from_millis(100));
    let transport = options.transport_or(Transport::Xcast);
    let settings = Settings { seed, transport, signed };
    let mut world = World::new(settings, Box::new(Direct::new(pairs)));
    for place in 0..nodes {
        world.add_host();
        world.start(place, node::Config::default());
    }
    world
}

struct Pending {
    place: usize,
    key: RingId,
    at: Time,
}

struct Churning {
    world: World,
    view: GlobalView,
    churn: Churn,
    random: Random,
    pending: BTreeMap<u64, Pending>,
    /// How often somebody else has begun at a place; marks of those before mean nothing.
    lives: Vec<u64>,
    joined: Vec<bool>,
    requests: u64,
    /// Keys stored at the beginning, and how many of these are found at the end.
    stored: Vec<RingId>,
    found: u64,
    right: u64,
    wrong: u64,
    failed: u64,
    hops: u64,
}

impl Churning {
    fn new(nodes: usize, options: &Options, signed: bool) -> Churning {
        let mut world = world(nodes, options, signed);
        let half = ring::Config::default().leaf_set / 2;
        let view = preset(&mut world, half);
        let churn = Churn::new(Lifetimes::Exponential { mean: LIFETIME }, CRASHES, options.seed);
        Churning {
            world,
            view,
            churn,
            random: Random::new(options.seed, 0x006c_6f6f_6b75_7073),
            pending: BTreeMap::new(),
            lives: vec![0; nodes],
            joined: vec![true; nodes],
            requests: 0,
            stored: Vec::new(),
            found: 0,
            right: 0,
            wrong: 0,
            failed: 0,
            hops: 0,
        }
    }

    fn run(&mut self, span: Duration, bar: &ProgressBar) {
        let start = Time(0) + Duration::from_secs(30);
        self.store_keys(start);
        for place in 0..self.world.len() {
            let first = start + self.random.up_to(LOOKUP_EVERY);
            self.world.mark(first, place, LOOK_UP);
            self.live(place);
        }
        let end = start + span;
        let mut told = start;
        while self.world.now() < end {
            match self.world.next(end) {
                Some(Happening::Mark { place, tag }) => self.marked(place, tag, end),
                Some(Happening::Told { place, event: node::Event::Ring(event) }) => {
                    self.told(place, event);
                }
                _ => {}
            }
            while told + Duration::from_secs(1) <= self.world.now() {
                told += Duration::from_secs(1);
                bar.inc(1);
            }
        }
        // Those that were asked at the very end may still be answered.
        self.run_on(ANSWERED_WITHIN);
        self.failed += self.pending.len() as u64;
        self.pending.clear();
        self.look_for_keys();
    }

    /// As many keys as nodes, stored before anybody goes.
    fn store_keys(&mut self, start: Time) {
        for place in 0..self.world.len() {
            let mut key = RingId::ZERO;
            self.random.fill(&mut key.0);
            self.stored.push(key);
            let value = key.0.to_vec();
            let request = u64::MAX - place as u64;
            self.world.input(place, Input::Ring(ring::Command::Insert { request, key, value }));
        }
        self.world.run_until(start);
    }

    /// Asks for all of them, whoever is there.
    fn look_for_keys(&mut self) {
        let live: Vec<usize> = self.world.live().filter(|place| self.joined[*place]).collect();
        for (number, key) in self.stored.clone().into_iter().enumerate() {
            let Some(place) = self.random.choose(&live).copied() else { return };
            let request = u64::MAX - number as u64;
            self.world.input(place, Input::Ring(ring::Command::Get { request, key }));
        }
        self.run_on(2 * ANSWERED_WITHIN);
    }

    fn run_on(&mut self, span: Duration) {
        let until = self.world.now() + span;
        while let Some(happening) = self.world.next(until) {
            if let Happening::Told { place, event: node::Event::Ring(event) } = happening {
                self.told(place, event);
            }
        }
    }

    /// Begins a life: it will end.
    fn live(&mut self, place: usize) {
        let end = self.world.now() + self.churn.lifetime();
        self.world.mark(end, place, DIE | self.lives[place]);
    }

    fn marked(&mut self, place: usize, tag: u64, end: Time) {
        let life = tag & !KIND;
        match tag & KIND {
            LOOK_UP => {
                self.world.mark(self.world.now() + LOOKUP_EVERY, place, LOOK_UP);
                if self.joined[place] && self.world.now() + ANSWERED_WITHIN <= end {
                    self.look_up(place);
                }
            }
            DIE if life == self.lives[place] => {
                if self.churn.is_crash() || !self.joined[place] {
                    self.replace(place);
                } else {
                    self.world.input(place, Input::Ring(ring::Command::Leave));
                    let patience = self.world.now() + Duration::from_secs(10);
                    self.world.mark(patience, place, VACATE | life);
                }
            }
            VACATE if life == self.lives[place] => self.replace(place),
            _ => {}
        }
    }

    fn look_up(&mut self, place: usize) {
        let mut key = RingId::ZERO;
        self.random.fill(&mut key.0);
        self.requests += 1;
        let request = self.requests;
        self.pending.insert(request, Pending { place, key, at: self.world.now() });
        self.world.input(place, Input::Ring(ring::Command::Lookup { request, key }));
    }

    /// Whoever was here is gone; somebody new joins.
    fn replace(&mut self, place: usize) {
        self.part(place);
        self.pending.retain(|_, pending| pending.place != place);
        self.lives[place] += 1;
        self.world.vacate(place);
        self.world.start(place, node::Config::default());
        let others: Vec<usize> = self.world.live().filter(|other| self.joined[*other]).collect();
        let boot = (0..3).filter_map(|_| self.random.choose(&others).map(|place| address(*place)));
        let boot = boot.collect();
        self.world.input(place, Input::Ring(ring::Command::Join(boot)));
        self.live(place);
    }

    fn part(&mut self, place: usize) {
        if std::mem::take(&mut self.joined[place]) {
            self.view.remove(self.world.contact(place).position());
        }
    }

    fn told(&mut self, place: usize, event: ring::Event) {
        match event {
            ring::Event::Joined => {
                self.joined[place] = true;
                self.view.add(self.world.contact(place).position(), place);
            }
            ring::Event::Left => self.replace(place),
            ring::Event::Found { request, owner, hops, .. } => {
                let Some(pending) = self.pending.remove(&request) else { return };
                let is_in_time = self.world.now().since(pending.at) <= ANSWERED_WITHIN;
                let true_owner =
                    self.view.owner(pending.key).map(|place| self.world.contact(place).id);
                if is_in_time && true_owner == Some(owner.id) {
                    self.right += 1;
                    self.hops += u64::from(hops);
                } else {
                    self.wrong += 1;
                }
            }
            ring::Event::Value { record: Some(_), .. } => self.found += 1,
            ring::Event::Failed { request, .. } => {
                self.failed += u64::from(self.pending.remove(&request).is_some());
            }
            _ => {}
        }
    }

    fn rows(&self, nodes: usize, report: &mut Report) {
        let all = self.right + self.wrong + self.failed;
        let with = |row: Row| row.with("nodes", nodes).with("lifetime-seconds", LIFETIME.as_secs());
        let success = self.right as f64 / all as f64;
        let row = Row::new("lookup-success", success, SOURCE).target(Target::AtLeast(0.999));
        report.rows.push(with(row));
        let hops = self.hops as f64 / self.right as f64;
        let most = 0.5 * (nodes as f64).log2() + 1.0;
        let source = "Chord (SIGCOMM 2001): half log2 N";
        let row = Row::new("hops-mean", hops, source).beside(most - 1.0);
        report.rows.push(with(row).target(Target::AtMost(most)));
        let lost = self.stored.len() as u64 - self.found.min(self.stored.len() as u64);
        report.rows.push(with(Row::new("keys-lost", lost as f64, SOURCE)).with("keys", nodes));
        report.notes.push(format!(
            "{all} lookups: {} right, {} named another, {} without an answer; {} in the ring",
            self.right,
            self.wrong,
            self.failed,
            self.view.len(),
        ));
    }
}

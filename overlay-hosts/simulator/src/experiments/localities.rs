//! Overlays of groups that hosts of a transit-stub network join one after another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::node::{self, Input};
use overlay_protocols::random::Random;
use overlay_protocols::{Time, locality};

use super::Options;
use crate::underlay::{TransitStub, Underlay};
use crate::world::carrier::Direct;
use crate::world::{Happening, Settings, Transport, World, address, place_of};

/// Boot peers that a newcomer is told of.
const BOOT: usize = 3;
/// A join that is not over by then is counted as failed.
const JOIN_PATIENCE: Duration = Duration::from_secs(600);
/// After the last join: links between groups are completed.
const SETTLING: Duration = Duration::from_secs(300);

/// An overlay in which everybody has joined, and what that took.
pub(super) struct Overlay {
    pub(super) world: World,
    pub(super) underlay: Arc<Underlay>,
    /// All joins but the first.
    pub(super) joins: Vec<Join>,
    /// Joins that were not over in time.
    pub(super) failed: usize,
}

/// What one join took.
pub(super) struct Join {
    /// Groups tested.
    pub(super) steps: u32,
    /// Measures sent.
    pub(super) pings: u64,
    pub(super) took: Duration,
    /// Whether none of the groups was near enough.
    pub(super) founded: bool,
}

/// By how much Alives and measurements of links are rarer than they are by default, since nobody
/// fails: they cost time and change nothing.
fn rarer(nodes: usize) -> u32 {
    if nodes > 1000 { 60 } else { 6 }
}

/// What a report says of that.
pub(super) fn timers_note(nodes: usize) -> String {
    let rarer = rarer(nodes);
    format!("Alives, their timeout and measurements of links {rarer} times as rare as by default")
}

/// Figure 10 as it is, and seed defaults, but that some timers are [`rarer`].
pub(super) fn config(nodes: usize) -> locality::Config {
    let (defaults, rarer) = (locality::Config::default(), rarer(nodes));
    locality::Config {
        alive_period: defaults.alive_period * rarer,
        alive_timeout: defaults.alive_timeout * rarer,
        remeasure_period: defaults.remeasure_period * rarer,
        second_look: false,
        ..defaults
    }
}

/// Lets all hosts of a network join in random order, so many at a time.
pub(super) fn grow(
    shape: TransitStub,
    nodes: usize,
    at_once: usize,
    config: &locality::Config,
    options: &Options,
    bar: &ProgressBar,
) -> Overlay {
    let mut underlay = shape.build(options.seed);
    underlay.attach_hosts(nodes, options.seed);
    let underlay = Arc::new(underlay);
    let mut world = on_underlay(&underlay, options, nodes);
    for place in 0..nodes {
        world.add_host();
        let config = node::Config { locality: Some(config.clone()), ..node::Config::default() };
        world.start(place, config);
    }
    let mut random = Random::new(options.seed, 0x6c6f_6361_6c69_7479);
    let mut order: Vec<usize> = (0..nodes).collect();
    random.shuffle(&mut order);
    let mut overlay = Overlay { world, underlay, joins: Vec::new(), failed: 0 };
    let mut done = 0;
    while done < nodes {
        // The first is alone: there must be somebody to begin with.
        let count = if done == 0 { 1 } else { at_once.min(nodes - done) };
        overlay.join(&order, done, count, &mut random);
        done += count;
        bar.inc(count as u64);
    }
    overlay.world.run_until(overlay.world.now() + SETTLING);
    overlay
}

/// A world whose datagrams take as long as packets on a network.
pub(super) fn on_underlay(underlay: &Arc<Underlay>, options: &Options, nodes: usize) -> World {
    let settings = Settings {
        seed: options.seed,
        transport: options.transport_or(Transport::Xcast),
        signed: options.is_signed(nodes),
    };
    let paths = Arc::clone(underlay);
    let path = move |from, to| (paths.one_way(from, to), paths.hops(from, to) as u8);
    World::new(settings, Box::new(Direct::new(path)))
}

impl Overlay {
    /// Lets some join at the same moment, and waits until they have.
    fn join(&mut self, order: &[usize], done: usize, count: usize, random: &mut Random) {
        let earlier = &order[..done];
        for place in &order[done..done + count] {
            let boot = (0..BOOT).filter_map(|_| random.choose(earlier));
            let boot = boot.map(|place| address(*place)).collect();
            self.world.input(*place, Input::Locality(locality::Command::Join(boot)));
        }
        let began = self.world.now();
        let deadline = began + JOIN_PATIENCE;
        let mut waiting = count;
        while waiting > 0 {
            let Some(happening) = self.world.next(deadline) else {
                self.failed += waiting;
                return;
            };
            let Happening::Told { event: node::Event::Locality(event), .. } = happening else {
                continue;
            };
            let founded = matches!(event, locality::Event::Founded { .. });
            if let locality::Event::Joined { steps, pings, .. }
            | locality::Event::Founded { steps, pings, .. } = event
            {
                waiting -= 1;
                if done > 0 {
                    let took = self.world.now().since(began);
                    self.joins.push(Join { steps, pings, took, founded });
                }
            }
        }
    }

    /// All distinct links: whether one is far, by its ends.
    pub(super) fn links(&self) -> BTreeMap<(usize, usize), bool> {
        let mut links = BTreeMap::new();
        for place in self.world.live() {
            let Some(locality) = self.locality(place) else { continue };
            let ends = |other: usize| (place.min(other), place.max(other));
            let near = locality.links().filter_map(|peer| place_of(peer.address));
            links.extend(near.map(|other| (ends(other), false)));
            if !locality.is_leader() {
                continue;
            }
            for neighbor in locality.neighbors() {
                let Some(other) = place_of(neighbor.at.leader.address) else { continue };
                let is_far = links.entry(ends(other)).or_insert(neighbor.far);
                *is_far &= neighbor.far;
            }
        }
        links
    }

    /// The state of a node's group.
    pub(super) fn locality(&self, place: usize) -> Option<&locality::Locality> {
        self.world.node(place)?.locality()
    }

    /// How many lead.
    pub(super) fn groups(&self) -> usize {
        let leads =
            |place: &usize| self.locality(*place).is_some_and(locality::Locality::is_leader);
        self.world.live().filter(leads).count()
    }

    /// Who leads the group of each who does not lead itself, if that is somebody.
    pub(super) fn leaders(&self) -> impl Iterator<Item = (usize, Option<usize>)> {
        let places: BTreeMap<_, usize> =
            self.world.live().map(|place| (self.world.contact(place).id, place)).collect();
        self.world.live().filter_map(move |place| {
            let locality = self.locality(place)?;
            let leader = locality.leader().and_then(|leader| places.get(&leader).copied());
            (!locality.is_leader()).then_some((place, leader))
        })
    }

    /// Mean true round trip of so many random pairs of hosts, seconds.
    pub(super) fn mean_rtt(&self, pairs: usize, random: &mut Random) -> f64 {
        let hosts = self.world.len() as u64;
        let mut sum = Duration::ZERO;
        for _ in 0..pairs {
            let one = random.below(hosts);
            let other = (one + 1 + random.below(hosts - 1)) % hosts;
            sum += self.underlay.rtt(one as usize, other as usize);
        }
        sum.as_secs_f64() / pairs as f64
    }

    /// How searches ended, for a note.
    pub(super) fn searches(&self, config: &locality::Config) -> String {
        let count = |is: &dyn Fn(&Join) -> bool| self.joins.iter().filter(|join| is(join)).count();
        let tested_all = |join: &Join| join.founded && join.steps >= config.groups_tested_max;
        let no_time =
            |join: &Join| join.founded && !tested_all(join) && join.took >= config.search_time;
        let took = self.joins.iter().map(|join| join.took).sum::<Duration>();
        let mean = took.as_secs_f64() / self.joins.len().max(1) as f64;
        let founded = count(&|join| join.founded);
        let (tested, late) = (count(&tested_all), count(&no_time));
        format!(
            "{} joins took {mean:.1} s in the mean; {founded} founded a group: {tested} had tested {} \
             groups, {late} had searched for {} s, {} knew no other group",
            self.joins.len(),
            config.groups_tested_max,
            config.search_time.as_secs(),
            founded - tested - late,
        )
    }

    /// What time it is there, for a note.
    pub(super) fn seconds(&self) -> f64 {
        self.world.now().since(Time(0)).as_secs_f64()
    }
}

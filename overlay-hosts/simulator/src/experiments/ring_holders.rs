//! The part of `ring-churn` that asks whether a value outlives three of its four holders, when all
//! three crash inside one repair interval.

use std::collections::BTreeSet;
use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::node::{self, Input};
use overlay_protocols::random::Random;
use overlay_protocols::{RingId, ring};

use super::Options;
use super::rings::{GlobalView, preset};
use crate::report::{Report, Row, Target};
use crate::world::{Happening, World, address};

/// Peers of the ring: few, so that trials stand close.
const NODES: usize = 400;
/// Keys that lose their holders at the same time, evenly spaced.
const AT_ONCE: usize = 20;
/// Holders of a key that crash.
const CRASHED: usize = 3;

/// The row, of so many trials.
pub(super) fn rows(options: &Options, trials: usize, bar: &ProgressBar, report: &mut Report) {
    let config = ring::Config::default();
    let mut world = super::ring_churn::world(NODES, options, false);
    let mut view = preset(&mut world, config.leaf_set / 2);
    let mut random = Random::new(options.seed, 0x0068_6f6c_6465_7273);
    bar.set_message("holders");
    bar.set_length(trials as u64);
    bar.set_position(0);
    let (mut done, mut lost) = (0, 0);
    while done < trials {
        let keys = apart(AT_ONCE.min(trials - done), &view, &mut random, config.replicas);
        lost += round(&mut world, &mut view, &mut random, &config, &keys);
        done += keys.len();
        bar.set_position(done as u64);
    }
    let row = Row::new("keys-lost", lost as f64, "seed 003 paragraph 0043")
        .with("nodes", NODES)
        .with("holders-crashed", CRASHED)
        .with("trials", trials)
        .target(Target::AtMost(0.0));
    report.rows.push(row);
    report.notes.push("keys-lost of crashed holders: seals prove nothing".to_owned());
}

/// Stores keys, crashes three holders of each, and asks for them; how many are lost.
fn round(
    world: &mut World,
    view: &mut GlobalView,
    random: &mut Random,
    config: &ring::Config,
    keys: &[RingId],
) -> usize {
    let live: Vec<usize> = world.live().collect();
    for (number, key) in keys.iter().enumerate() {
        let place = live[random.below(live.len() as u64) as usize];
        let (request, value) = (number as u64, key.0.to_vec());
        world.input(place, Input::Ring(ring::Command::Insert { request, key: *key, value }));
    }
    world.run_until(world.now() + Duration::from_secs(5));
    let mut gone = BTreeSet::new();
    for key in keys {
        let mut holders = view.holders(*key, config.replicas);
        random.shuffle(&mut holders);
        gone.extend(holders.into_iter().take(CRASHED));
    }
    crash(world, random, &gone, config.repair_interval);
    for place in &gone {
        view.remove(world.contact(*place).position());
    }
    // Whoever is left has found out and repaired.
    world.run_until(world.now() + 2 * config.repair_interval);
    let found = ask(world, random, keys, &gone);
    come_back(world, view, random, &gone);
    keys.len() - found
}

/// Keys that share no holders: each is to keep one of its own.
fn apart(count: usize, view: &GlobalView, random: &mut Random, replicas: usize) -> Vec<RingId> {
    let mut taken = BTreeSet::new();
    let mut keys: Vec<RingId> = (0..count).map(|number| spaced(number, random)).collect();
    keys.retain(|key| {
        let holders = view.holders(*key, replicas);
        let is_apart = holders.iter().all(|place| !taken.contains(place));
        taken.extend(holders);
        is_apart
    });
    keys
}

/// A key in one of the equal parts of the ring.
fn spaced(number: usize, random: &mut Random) -> RingId {
    let mut key = RingId::ZERO;
    random.fill(&mut key.0);
    let first = number * 256 / AT_ONCE;
    key.0[0] = first as u8 + (random.below(4)) as u8;
    key
}

/// All crash at any time of a span.
fn crash(world: &mut World, random: &mut Random, gone: &BTreeSet<usize>, span: Duration) {
    let end = world.now() + span;
    for place in gone {
        world.mark(world.now() + random.up_to(span), *place, 0);
    }
    while let Some(happening) = world.next(end) {
        if let Happening::Mark { place, .. } = happening {
            world.crash(place);
        }
    }
}

fn ask(world: &mut World, random: &mut Random, keys: &[RingId], gone: &BTreeSet<usize>) -> usize {
    let live: Vec<usize> = world.live().filter(|place| !gone.contains(place)).collect();
    for (number, key) in keys.iter().enumerate() {
        let place = live[random.below(live.len() as u64) as usize];
        let command = ring::Command::Get { request: number as u64, key: *key };
        world.input(place, Input::Ring(command));
    }
    let until = world.now() + Duration::from_secs(10);
    let mut found = BTreeSet::new();
    while let Some(happening) = world.next(until) {
        if let Happening::Told { event: node::Event::Ring(event), .. } = happening
            && let ring::Event::Value { request, key, record: Some(record), .. } = event
            && record.value == key.0
        {
            found.insert(request);
        }
    }
    found.len()
}

/// Somebody new joins wherever somebody crashed.
fn come_back(
    world: &mut World,
    view: &mut GlobalView,
    random: &mut Random,
    gone: &BTreeSet<usize>,
) {
    let live: Vec<usize> = world.live().collect();
    for place in gone {
        world.vacate(*place);
        world.start(*place, node::Config::default());
        let boot = address(live[random.below(live.len() as u64) as usize]);
        world.input(*place, Input::Ring(ring::Command::Join(vec![boot])));
    }
    world.run_until(world.now() + Duration::from_secs(30));
    for place in gone {
        view.add(world.contact(*place).position(), *place);
    }
}

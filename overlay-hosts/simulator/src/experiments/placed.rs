//! Rings whose nodes have found their coordinates: they join one after another, measure their leaf
//! sets, and move on for a while.

use std::time::Duration;

use overlay_protocols::coordinates::{Coordinate, Fit};
use overlay_protocols::node::{self, Input};
use overlay_protocols::random::Random;
use overlay_protocols::{metrics, ring};

use super::Options;
use crate::world::carrier::Direct;
use crate::world::{Settings, Transport, World, address};

/// Members that a newcomer knows.
const BOOT: usize = 3;
/// Between two joins: most newcomers have their answers by then.
const JOIN_EVERY: Duration = Duration::from_secs(2);
/// How often each measures some neighbors, and fits.
const INTERVAL: Duration = Duration::from_secs(60);
/// Rounds after the last join.
const ROUNDS: u32 = 4;
/// Heartbeats are rarer than by default: coordinates travel in them, and nobody fails.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Some round trips that were measured take three seconds.
const HOP_TIMEOUT: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(4));
/// The stream of the seed that the order of joins is drawn from.
const ORDER_STREAM: u64 = 0x6f72_6465;

/// Where each of `count` hosts stands in the end, `None` if it has found no place. A datagram takes
/// half of `rtt`.
pub(super) fn coordinates(
    count: usize,
    rtt: impl Fn(usize, usize) -> Duration + 'static,
    (fit, leaf_set): (Fit, usize),
    options: &Options,
    seed: u64,
) -> (Vec<Option<Coordinate>>, u64) {
    let (transport, signed) = (Transport::Xcast, options.is_signed(count));
    let path = move |from, to| (rtt(from, to) / 2, 4);
    let mut world = World::new(Settings { seed, transport, signed }, Box::new(Direct::new(path)));
    (0..count).for_each(|_| {
        world.add_host();
    });
    let metrics = metrics::Config {
        fit,
        interval: INTERVAL,
        pair_interval: None,
        ..metrics::Config::default()
    };
    let ring = ring::Config {
        leaf_set,
        heartbeat: HEARTBEAT,
        hop_timeout: HOP_TIMEOUT,
        ..ring::Config::default()
    };
    let config = node::Config { ring, metrics: Some(metrics), ..node::Config::default() };
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = Random::new(seed, ORDER_STREAM);
    random.shuffle(&mut order);
    for (number, place) in order.iter().enumerate() {
        let is_joined =
            |place: &usize| world.node(*place).is_some_and(|node| node.ring().is_joined());
        let joined: Vec<usize> = order[..number].iter().copied().filter(is_joined).collect();
        let boot = (0..BOOT).filter_map(|_| random.choose(&joined).map(|known| address(*known)));
        let boot = boot.collect();
        world.start(*place, config.clone());
        world.input(*place, Input::Ring(ring::Command::Join(boot)));
        world.run_until(world.now() + JOIN_EVERY);
    }
    world.run_until(world.now() + INTERVAL * ROUNDS);
    let found = |place| world.node(place)?.metrics()?.coordinate();
    ((0..count).map(found).collect(), world.hash())
}

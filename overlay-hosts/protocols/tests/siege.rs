//! A member of a ring and a group among hostile peers that send messages of every type.

#![allow(clippy::unwrap_used)]

mod hostile;

use std::time::Duration;

use hostile::{Liar, contact, identity};
use overlay_protocols::envelope::{self, Stamp};
use overlay_protocols::locality::{self, GroupId, Preset};
use overlay_protocols::machine::{Class, Send};
use overlay_protocols::node::{Config, Input};
use overlay_protocols::random::Random;
use overlay_protocols::{Now, OverlayNode, Time, Wall, metrics, ring};

const WALL: u64 = 1_770_000_000_000_000;
/// Hostile peers.
const PEERS: u64 = 600;
/// Octets that the node may hold at most: five times what is seen.
const BOUND: u64 = 2 << 20;

struct Siege {
    node: OverlayNode,
    liar: Liar,
    now: Now,
    sequence: u64,
}

impl Siege {
    /// The node is linked to hostile peers in every way; it leads its group if `leads`.
    fn begin(seed: u64, leads: bool) -> Siege {
        let me = identity(u64::MAX - seed);
        let own = contact(u64::MAX - seed);
        let now = Now { time: Time(0), wall: Wall(WALL) };
        let config = Config {
            locality: Some(locality::Config::default()),
            metrics: Some(metrics::Config::default()),
            ..Config::default()
        };
        let mut node = OverlayNode::new(config, me, own.clone(), &|_| None, seed, now);
        let group = [7; 16];
        let leaves = (0..8).map(contact).collect();
        let preset = ring::Command::Preset { leaves, fingers: (8..20).map(contact).collect() };
        node.handle_input(Input::Ring(preset), now);
        let leader = if leads { own } else { contact(1) };
        let preset = Preset {
            group: GroupId(group),
            leader: leader.clone(),
            leadership: vec![leader, contact(2), contact(3)],
            links: (1..6).map(contact).collect(),
            neighbors: Vec::new(),
            known: Vec::new(),
        };
        node.handle_input(Input::Locality(locality::Command::Preset(Box::new(preset))), now);
        let groups = (0..30).map(|number| [number; 16]).chain([group; 30]).collect();
        let random = Random::new(seed, 77);
        let liar = Liar { random, peers: PEERS, nonces: Vec::new(), groups, wall: WALL };
        Siege { node, liar, now, sequence: 0 }
    }

    fn attack(&mut self) {
        let peers = if self.liar.random.below(3) > 0 { 20 } else { PEERS };
        let peer = self.liar.random.below(peers);
        self.liar.wall = self.now.wall.0;
        let (protocol, shared) = self.liar.message(peer);
        let hostile = identity(peer);
        let to = vec![self.node.contact().endpoint()];
        let send = Send { to, protocol, shared, parts: Vec::new(), class: Class::Immediate };
        self.sequence += 1;
        let sent = self.now.wall.seconds() as u32;
        let stamp = Stamp { key: hostile.key, epoch: 1, sequence: self.sequence, sent };
        let bytes = envelope::emit(&send, &[0], &stamp, &hostile).unwrap();
        if bytes.len() > overlay_protocols::node::DATAGRAM_LEN_MAX {
            return;
        }
        let (at, wall) = (self.now.time, self.now.wall);
        let from = contact(peer).address;
        self.node
            .handle_input(Input::Datagram { from, bytes: &bytes, at, wall, ttl: 60 }, self.now);
    }

    /// A while passes; whatever is due is done, and soon nothing is due any more.
    fn pass(&mut self, span: Duration) {
        let until = self.now.time + span;
        let mut calls = 0;
        while let Some((at, why)) = self.node.poll_timeout().filter(|(at, _)| *at <= until) {
            let passed = at.since(self.now.time);
            self.now.time += passed;
            self.now.wall.0 += passed.as_micros() as u64;
            self.node.handle_timeout(self.now);
            calls = if passed.is_zero() { calls + 1 } else { 0 };
            assert!(calls < 1000, "{why} stays due");
        }
        let passed = until.since(self.now.time);
        self.now.time = until;
        self.now.wall.0 += passed.as_micros() as u64;
    }

    fn listen(&mut self) {
        while let Some(output) = self.node.poll_output() {
            self.liar.overhear(&output);
        }
    }
}

/// Of so many messages from any member or stranger.
fn besiege(seed: u64, count: u64) {
    let mut siege = Siege::begin(seed, seed.is_multiple_of(2));
    for number in 0..count {
        siege.attack();
        if number % 8 == 0 {
            let span = Duration::from_micros(siege.liar.random.below(40_000));
            siege.pass(span);
        }
        siege.listen();
    }
    // Most of it is heard, and answered.
    let traffic = siege.node.traffic();
    let dropped = siege.node.drops().total();
    println!("seed {seed}: {dropped} dropped of {}, {} sent", traffic.received, traffic.sent);
    assert!(dropped < count / 2 && traffic.sent > count / 4, "seed {seed}: {dropped} dropped");
    let view = siege.node.ring().view();
    assert!(view.leaves.len() <= 32 && view.fingers <= 160, "seed {seed}");
    assert!(view.keys <= 8192 && view.bytes <= 1 << 20 && view.lookups <= ring::LOOKUPS_MAX);
    let groups = siege.node.locality().unwrap();
    assert!(groups.neighbors().len() <= locality::NEIGHBORS_MAX, "seed {seed}");
    assert!(groups.leadership().len() <= locality::LEADERSHIP_MAX, "seed {seed}");
    assert!(groups.links().count() <= locality::LINKS_MAX, "seed {seed}");
    assert!(groups.boot_groups() <= locality::BOOT_CACHE_MAX, "seed {seed}");
    let measured = siege.node.metrics().unwrap().view();
    assert!(measured.neighbors.len() <= 32, "seed {seed}");
    let at = measured.at.unwrap_or_default();
    assert!(at.axes.iter().all(|axis| axis.is_finite()), "seed {seed}: {at:?}");
}

#[test]
fn a_hundred_thousand_messages_of_all_types_make_it_neither_panic_nor_spin_nor_grow() {
    for seed in 0..10 {
        let held = allocation_counter::measure(|| besiege(seed, 10_000));
        println!("seed {seed}: {} octets at most", held.bytes_max);
        assert!(held.bytes_max <= BOUND, "seed {seed}: {} octets", held.bytes_max);
    }
}

//! How much memory hostile peers can make a node hold, measured by the allocator.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

mod hostile;

use hostile::{Liar, identity};
use overlay_protocols::envelope::{self, Stamp};
use overlay_protocols::machine::{self, Class, Protocol, Send};
use overlay_protocols::node::{Config, Input};
use overlay_protocols::pieces::Piece;
use overlay_protocols::random::Random;
use overlay_protocols::{
    Contact, DropReason, Now, OverlayNode, Time, Wall, locality, metrics, ring,
};

/// The bound, in octets: windows of 4,096 senders (0.8 MB, twice that while they grow), pieces of 64
/// messages (4 MiB and 0.4 MB of lists), 16,384 outputs for a driver that takes none, and what a ring
/// and a group hold: 1 MiB of values, 256 transfers of these, 1,024 messages in the queue.
const BOUND: u64 = 16 << 20;

const WALL: Wall = Wall(1_770_000_000_000_000);

/// A message of any kind that a hostile peer might think of.
fn message(liar: &mut Liar, peer: u64) -> (Protocol, Vec<u8>) {
    let random = &mut liar.random;
    match random.below(4) {
        0 | 1 => {
            let bytes = vec![7; random.below(1080) as usize + 1];
            let number = random.below(10) as u32;
            let piece =
                Piece { number, protocol: 1, count: 200, index: random.number() as u8, bytes };
            // The number of its kind stands first.
            (Protocol::Node, machine::encode(&(0u8, piece)))
        }
        2 => {
            let (protocol, mut message) = liar.message(peer);
            message.truncate(1100);
            (protocol, message)
        }
        _ => (Protocol::Node, machine::encode(&(2u8, random.number()))), // a probe, to be answered
    }
}

/// A node, and hostile peers that know how to reach it.
struct Siege {
    node: OverlayNode,
    contact: Contact,
    now: Now,
}

impl Siege {
    fn begin() -> Siege {
        let now = Now { time: Time(0), wall: WALL };
        let me = identity(u64::MAX);
        let contact = Contact::new(me.id, SocketAddr::from(([192, 0, 2, 1], 9000)));
        let config = Config {
            locality: Some(locality::Config::default()),
            metrics: Some(metrics::Config::default()),
            ..Config::default()
        };
        let mut node = OverlayNode::new(config, me, contact.clone(), &|_| None, 1, now);
        // A ring and a group of its own, which all may join.
        node.handle_input(Input::Ring(ring::Command::Join(Vec::new())), now);
        node.handle_input(Input::Locality(locality::Command::Join(Vec::new())), now);
        Siege { node, contact, now }
    }

    /// The peer of that number sends its datagram of that number.
    fn attack(&mut self, peer: u64, sequence: u64, (protocol, shared): (Protocol, Vec<u8>)) {
        let hostile = identity(peer);
        let to = vec![self.contact.endpoint()];
        let send = Send { to, protocol, shared, parts: Vec::new(), class: Class::Immediate };
        let sent = (WALL.0 / 1_000_000) as u32;
        let stamp = Stamp { key: hostile.key, epoch: 1, sequence, sent };
        let bytes = envelope::emit(&send, &[0], &stamp, &hostile).unwrap();
        let [.., a, b] = peer.to_be_bytes();
        let from = SocketAddr::from(([10, 0, a, b], 9000));
        let (at, wall) = (self.now.time, self.now.wall);
        let input = Input::Datagram { from, bytes: &bytes, at, wall, ttl: 60 };
        self.node.handle_input(input, self.now);
    }
}

#[test]
fn twenty_thousand_hostile_peers_cannot_make_a_node_hold_more_than_the_bound() {
    let held = allocation_counter::measure(besiege);
    println!("{} octets at most", held.bytes_max);
    assert!(held.bytes_max <= BOUND, "{} octets", held.bytes_max);
}

fn besiege() {
    let (mut siege, random) = (Siege::begin(), Random::new(1, 1));
    let groups = vec![[7; 16]];
    let mut liar = Liar { random, peers: 20_000, nonces: Vec::new(), groups, wall: WALL.0 };
    // Long messages of which the last piece never comes.
    for peer in 0..20 {
        for (number, index) in (0..5).flat_map(|number| (0..60).map(move |index| (number, index))) {
            let piece = Piece { number, protocol: 1, count: 255, index, bytes: vec![7; 1090] };
            let sequence = 1 + u64::from(number) * 60 + u64::from(index);
            siege.attack(peer, sequence, (Protocol::Node, machine::encode(&(0u8, piece))));
        }
    }
    for round in 0..3 {
        for peer in 0..20_000 {
            siege.attack(peer, 1000 + round, message(&mut liar, peer));
        }
    }
    // Probes that are all to be answered, while the driver takes nothing.
    for number in 0..20_000 {
        siege.attack(0, 2000 + number, (Protocol::Node, machine::encode(&(2u8, number))));
    }
    let node = &mut siege.node;
    // All limits were reached.
    assert!(node.drops().of(DropReason::TooManySenders) > 0);
    assert!(node.drops().of(DropReason::ReassemblyFull) > 0);
    assert!(node.traffic().lost > 0);
    // It works on.
    assert!(node.poll_output().is_some());
}

//! How much memory hostile peers can make a node hold, measured by the allocator.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use overlay_protocols::envelope::{self, Stamp};
use overlay_protocols::machine::{self, Class, Protocol, Send};
use overlay_protocols::node::{Config, Input};
use overlay_protocols::pieces::Piece;
use overlay_protocols::random::Random;
use overlay_protocols::{Contact, DropReason, Identity, Now, OverlayNode, Time, Wall};

/// The bound, in octets: windows of 4,096 senders (0.8 MB, twice that while they grow), pieces of 64
/// messages (4 MiB and 0.4 MB of lists), 16,384 outputs for a driver that takes none.
const BOUND: usize = 24 << 20;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does it all; this only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WALL: Wall = Wall(1_770_000_000_000_000);

fn identity(number: u64) -> Identity {
    let mut key = [0x33; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    Identity::open(key)
}

/// A message of any kind that a hostile peer might think of.
fn message(random: &mut Random) -> (Protocol, Vec<u8>) {
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
            let mut octets = vec![0; random.below(1000) as usize + 1];
            random.fill(&mut octets);
            octets[0] %= 40;
            (if octets[0] > 20 { Protocol::Ring } else { Protocol::Locality }, octets)
        }
        _ => (Protocol::Node, machine::encode(&(2u8, random.number()))), // a probe, to be answered
    }
}

#[test]
fn twenty_thousand_hostile_peers_cannot_make_a_node_hold_more_than_the_bound() {
    let (mut random, now) = (Random::new(1, 1), Now { time: Time(0), wall: WALL });
    let before = LIVE.load(Ordering::Relaxed);
    let me = identity(u64::MAX);
    let contact = Contact::new(me.id, SocketAddr::from(([192, 0, 2, 1], 9000)));
    let mut node = OverlayNode::new(Config::default(), me, contact.clone(), &|_| None, 1, now);
    for number in 0..100_000u64 {
        let hostile = identity(number % 20_000);
        let (protocol, shared) = message(&mut random);
        let to = vec![contact.endpoint()];
        let send = Send { to, protocol, shared, parts: Vec::new(), class: Class::Immediate };
        let sent = (WALL.0 / 1_000_000) as u32;
        let stamp = Stamp { key: hostile.key, epoch: 1, sequence: 1 + number / 20_000, sent };
        let bytes = envelope::emit(&send, &[0], &stamp, &hostile).unwrap();
        let from = SocketAddr::from((
            number.to_be_bytes()[4..].first_chunk().copied().unwrap_or([0; 4]),
            9000,
        ));
        let (at, wall) = (now.time, now.wall);
        node.handle_input(Input::Datagram { from, bytes: &bytes, at, wall, ttl: 60 }, now);
    }
    // All of its limits were reached, but for that on outputs.
    assert!(node.drops().of(DropReason::TooManySenders) > 0);
    assert!(node.drops().of(DropReason::ReassemblyFull) > 0);
    let peak = PEAK.load(Ordering::Relaxed) - before;
    println!("{peak} octets at most, {} after", LIVE.load(Ordering::Relaxed) - before);
    assert!(peak <= BOUND, "{peak} octets");
    // It works on.
    assert!(node.poll_output().is_some());
}

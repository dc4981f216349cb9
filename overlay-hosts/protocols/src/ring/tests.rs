//! Rings of a few dozen peers in virtual time, against a sorted list of who is there.

use alloc::boxed::Box;
use alloc::vec::Vec;
use std::time::Duration;

use super::*;
use crate::machine;
use crate::node;
use crate::random::Random;
use crate::testing::{Net, START, address, identity};
use crate::time::Wall;

mod churn;
mod fleet;
mod hostile;
mod storing;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> node::Config {
    let ring = Config { leaf_set: 8, ..Config::default() };
    node::Config { ring, ..node::Config::default() }
}

fn ask(net: &mut Net, place: usize, command: Command) {
    net.input(place, node::Input::Ring(command));
}

fn contact(place: usize) -> Contact {
    Contact::new(identity(place, false).id, address(place))
}

/// Who is there, by position.
fn sorted(net: &Net) -> Vec<(RingId, usize)> {
    let nodes = net.nodes.iter().enumerate();
    let there = nodes.filter_map(|(place, node)| Some((node.as_ref()?.ring(), place)));
    let joined = there.filter(|(ring, _)| ring.is_joined());
    let mut sorted: Vec<_> = joined.map(|(ring, place)| (ring.position(), place)).collect();
    sorted.sort();
    sorted
}

/// Whose a key is, by the slow and obvious way.
fn owner(net: &Net, key: RingId) -> usize {
    let all = sorted(net);
    all.iter().find(|(position, _)| *position >= key).unwrap_or(&all[0]).1
}

/// Whether everybody's zone and leaf set are what the sorted list says.
fn is_right(net: &Net, half: usize) -> bool {
    let all = sorted(net);
    let count = all.len();
    all.iter().enumerate().all(|(index, (_, place))| {
        let ring = net.node(*place).ring();
        let at = |offset: usize| all[(index + offset) % count].1;
        let mut expected: Vec<usize> = match count - 1 <= 2 * half {
            true => (1..count).map(at).collect(),
            false => (1..=half).chain(count - half..count).map(at).collect(),
        };
        let mut leaves: Vec<usize> = ring.leaf_set().map(place_of).collect();
        let zone_is_right = ring.zone_after() == all[(index + count - 1) % count].0;
        expected.sort_unstable();
        leaves.sort_unstable();
        zone_is_right && leaves == expected
    })
}

fn place_of(contact: &Contact) -> usize {
    let (address, mut place) = (contact.address, 0);
    while crate::testing::address(place) != address {
        place += 1;
    }
    place
}

/// A ring of so many, joined in any order one after the other.
fn ring_of(count: usize, seed: u64, config: &node::Config) -> Net {
    let mut net = Net::new(Duration::from_millis(30));
    let mut random = Random::new(seed, 0);
    (0..count).for_each(|_| {
        net.start(config.clone());
    });
    let mut order: Vec<usize> = (0..count).collect();
    random.shuffle(&mut order);
    for (index, place) in order.iter().enumerate() {
        let boot = match index {
            0 => Vec::new(),
            _ => alloc::vec![address(order[random.below(index as u64) as usize])],
        };
        ask(&mut net, *place, Command::Join(boot));
        net.run(Duration::from_millis(300 + random.below(500)));
    }
    net
}

fn events(net: &Net, place: usize) -> impl Iterator<Item = &Event> {
    net.events[place].iter().filter_map(|(_, event)| match event {
        node::Event::Ring(event) => Some(event),
        _ => None,
    })
}

/// Looks keys up from anywhere; all must be right. The hops in the mean.
fn look_up_right(net: &mut Net, count: u64, seed: u64) -> f64 {
    let mut random = Random::new(seed, 5);
    let all = sorted(net);
    let mut hops_sum = 0;
    for request in 0..count {
        let key = RingId::of_key(&random.number().to_be_bytes());
        let place = random.choose(&all).unwrap().1;
        let expected = owner(net, key);
        let request = (seed << 32) + request;
        ask(net, place, Command::Lookup { request, key });
        net.run(4 * SECOND);
        let found = events(net, place).find_map(|event| match event {
            Event::Found { request: it, owner, hops, .. } if *it == request => {
                Some((place_of(owner), *hops))
            }
            _ => None,
        });
        let Some((found, hops)) = found else { panic!("seed {seed}: {key} is not found") };
        assert_eq!(found, expected, "seed {seed}: {key} from {place}");
        hops_sum += hops;
    }
    f64::from(hops_sum) / count as f64
}

#[test]
fn a_zone_begins_behind_the_predecessor_and_ends_at_oneself() {
    // Three peers at 0x10.., 0x50.. and 0xa0..: seed 003 paragraph 0041 by hand.
    let at = |first: u8| {
        let mut octets = [0; 20];
        octets[0] = first;
        octets
    };
    let peer = |first| Contact::new(PeerId(at(first)), address(usize::from(first)));
    let now = Now { time: Time(1), wall: START };
    let mut ring = Ring::new(Config::default(), peer(0x50), None, 1, now);
    let preset =
        Command::Preset { leaves: alloc::vec![peer(0x10), peer(0xa0)], fingers: Vec::new() };
    assert!(!ring.owns(RingId(at(0x50))));
    ring.handle_input(Input::Command(preset), now).unwrap();
    for (key, is_own) in [(0x10, false), (0x11, true), (0x50, true), (0x51, false), (0xb0, false)] {
        assert_eq!(ring.owns(RingId(at(key))), is_own, "{key:x}");
    }
    assert_eq!(ring.successor(), Some(&peer(0xa0)));
    assert_eq!(ring.predecessor(), Some(&peer(0x10)));
}

#[test]
fn who_joins_in_any_order_gets_the_right_zone_and_leaf_set() {
    for seed in 0..3 {
        let mut net = ring_of(40, seed, &config());
        net.run(15 * SECOND);
        assert_eq!(sorted(&net).len(), 40, "seed {seed}");
        assert!(is_right(&net, 4), "seed {seed}");
    }
}

#[test]
fn who_joins_all_at_once_gets_the_right_zone_in_the_end() {
    for seed in 0..3 {
        let mut net = Net::new(Duration::from_millis(30 + seed));
        (0..24).for_each(|_| {
            net.start(config());
        });
        ask(&mut net, 0, Command::Join(Vec::new()));
        (1..24).for_each(|place| ask(&mut net, place, Command::Join(alloc::vec![address(0)])));
        net.run(40 * SECOND);
        assert_eq!(sorted(&net).len(), 24, "seed {seed}");
        assert!(is_right(&net, 4), "seed {seed}");
    }
}

#[test]
fn a_lookup_ends_at_the_owner_in_logarithmic_hops() {
    let mut net = ring_of(64, 9, &config());
    net.run(30 * SECOND);
    let hops = look_up_right(&mut net, 150, 9);
    assert!(hops <= 0.5 * 6.0 + 1.0, "{hops}");
    assert!(hops > 1.0, "{hops}: nobody knows everybody");
}

#[test]
fn one_heartbeat_to_the_whole_leaf_set_is_one_output() {
    let mut net = ring_of(20, 3, &config());
    net.run(60 * SECOND);
    let (before, now) = (net.sent.len(), net.now);
    net.run(5 * SECOND);
    let kind = machine::encode(&Message::Heartbeat { digest: 0, slots: Vec::new() })[0];
    let beats: Vec<_> =
        net.sent[before..].iter().filter(|(_, _, send)| send.shared[0] == kind).collect();
    assert_eq!(beats.len(), 20, "since {now:?}");
    assert!(beats.iter().all(|(_, _, send)| send.to.len() == 8 && send.parts.is_empty()));
    // In a ring at rest they are nearly all that is said, and short.
    assert!(beats.iter().all(|(_, _, send)| send.shared.len() <= 8));
    assert!(net.sent.len() - before < 20 + 20 * 3, "{}", net.sent.len() - before);
}

#[test]
fn slots_of_the_layers_above_go_with_the_heartbeats() {
    let mut net = ring_of(5, 3, &config());
    ask(&mut net, 2, Command::SetSlot { tag: 7, bytes: alloc::vec![1, 2] });
    ask(&mut net, 2, Command::SetSlot { tag: 8, bytes: alloc::vec![0; SLOT_LEN_MAX + 1] });
    net.run(6 * SECOND);
    let from = contact(2).endpoint();
    let heard = Event::SlotHeard { from, tag: 7, bytes: alloc::vec![1, 2] };
    for place in [0, 1, 3, 4] {
        assert!(events(&net, place).any(|event| *event == heard), "{place}");
        assert!(!events(&net, place).any(|event| matches!(event, Event::SlotHeard { tag: 8, .. })));
    }
}

#[test]
fn who_has_stored_contacts_comes_back_without_any_address() {
    let mut net = ring_of(12, 4, &config());
    net.run(40 * SECOND);
    net.crash(5);
    net.run(60 * SECOND);
    net.restart(5, config());
    ask(&mut net, 5, Command::Join(Vec::new()));
    net.run(30 * SECOND);
    assert_eq!(sorted(&net).len(), 12);
    assert!(is_right(&net, 4));
}

#[test]
fn who_restarts_at_once_is_let_in_again() {
    let mut net = ring_of(12, 4, &config());
    net.run(20 * SECOND);
    net.crash(5);
    net.run(SECOND);
    net.restart(5, config());
    ask(&mut net, 5, Command::Join(alloc::vec![address(3)]));
    net.run(30 * SECOND);
    assert_eq!(sorted(&net).len(), 12);
    assert!(is_right(&net, 4));
}

#[test]
fn a_join_waits_for_somebody_to_be_there() {
    let mut net = Net::new(Duration::from_millis(30));
    (0..2).for_each(|_| {
        net.start(config());
    });
    ask(&mut net, 1, Command::Join(alloc::vec![address(0), address(77)]));
    net.run(40 * SECOND);
    assert!(events(&net, 1).any(|event| *event == Event::JoinFailed));
    assert!(sorted(&net).is_empty());
    ask(&mut net, 0, Command::Join(Vec::new()));
    net.run(40 * SECOND);
    assert!(sorted(&net).len() == 2 && is_right(&net, 4));
}

#[test]
fn heartbeats_are_as_many_where_every_timer_comes_late() {
    let at = |time: Time| Now { time, wall: Wall(1 + time.0) };
    let mut ring = Ring::new(config().ring, contact(0), None, 1, at(Time(0)));
    let preset = Command::Preset { leaves: alloc::vec![contact(1)], fingers: Vec::new() };
    ring.handle_input(Input::Command(preset), at(Time(0))).unwrap();
    let first = ring.timers.heartbeat;
    while ring.timers.heartbeat < first + SECOND * 100 {
        let (due, _) = ring.poll_timeout().unwrap();
        ring.handle_timeout(at(due + SECOND / 3));
        while ring.poll_output().is_some() {}
    }
    assert_eq!(ring.timers.heartbeat, first + SECOND * 100);
}

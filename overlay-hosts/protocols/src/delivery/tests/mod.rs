//! Sessions that are stable, lossy, shaken by crashes, and attacked.

mod adversity;
mod fleet;
mod nodes;
mod parts;

use std::time::Duration;
use std::vec::Vec;

use super::message::Message;
use super::*;
use crate::machine::encode;
use crate::random::Random;
use fleet::{Fleet, SESSION, contact, seat};

/// Everybody has each of these once and in order.
fn all_have(fleet: &Fleet, count: u64) {
    for host in fleet.live() {
        let numbers: Vec<u64> = fleet.received(host).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..count).collect::<Vec<u64>>(), "host {host}");
    }
}

#[test]
fn a_whole_tree_delivers_everything_once_and_soon() {
    // C = 1 of 50 destinations, and unicast of degree 5.
    for (slots, depth) in [(50, 2), (4, 4)] {
        let mut fleet = Fleet::new(100, Config::default(), 1);
        fleet.begin(slots);
        for _ in 0..5 {
            let sent = fleet.now;
            fleet.command(0, Command::Send(SESSION, vec![5; 1000]));
            fleet.run(1_000);
            let last_at = |host: &usize| fleet.received(*host).last().map(|(_, at)| at.since(sent));
            let last = fleet.live().iter().filter_map(last_at).max().unwrap();
            assert!(last <= Duration::from_millis(50 * depth), "{slots}: {last:?}");
        }
        all_have(&fleet, 5);
        assert_eq!((fleet.counts().again, fleet.counts().repaired), (0, 0));
        assert!(fleet.widest <= 50 && fleet.dropped.is_empty(), "{:?}", fleet.dropped);
    }
}

#[test]
fn what_a_parent_that_is_new_has_not_comes_from_the_root() {
    let mut fleet = Fleet::new(4, Config::default(), 1);
    let arrange = |seats| Command::Arrange { session: SESSION, slots: 1, seats };
    let under =
        |host, parent: usize| Seat { parent: Some(contact(parent).id), ..seat(host, None, 2) };
    fleet.command(0, arrange(vec![under(1, 0), under(2, 1)]));
    fleet.run(1_000);
    fleet.dropped.clear();
    fleet.command(0, Command::Send(SESSION, vec![0; 10]));
    fleet.run(200);
    fleet.hosts[1] = None;
    for number in 1..6 {
        fleet.command(0, Command::Send(SESSION, vec![number; 10]));
    }
    fleet.run(200);
    // It helps from now on, and what was sent so far is not for it.
    let helper = Seat { receives: false, ..under(3, 0) };
    fleet.command(0, arrange(vec![helper, under(2, 3)]));
    fleet.run(200);
    fleet.command(0, Command::Send(SESSION, vec![6; 10]));
    fleet.run(3_000);
    let numbers: Vec<u64> = fleet.received(2).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..7).collect::<Vec<u64>>());
    assert_eq!(fleet.counts().missed, 0);
    assert_eq!(fleet.received(3), []);
}

#[test]
fn who_loses_its_parent_gets_another_and_what_it_has_missed() {
    for seed in 1..=4 {
        let mut fleet = Fleet::new(100, Config::default(), seed);
        let slots = if seed % 2 == 0 { 50 } else { 4 };
        fleet.begin(slots);
        let mut random = Random::new(seed, 2);
        // Those near the root are among the first; one of them at least is gone.
        let mut gone: Vec<usize> = (0..4).map(|_| 1 + random.below(99) as usize).collect();
        gone.push(2);
        gone.iter().for_each(|host| fleet.hosts[*host] = None);
        for _ in 0..3 {
            fleet.command(0, Command::Send(SESSION, vec![1; 10]));
            fleet.run(10);
        }
        fleet.run(10_000);
        all_have(&fleet, 3);
        let links = fleet.links();
        for host in fleet.live() {
            let (id, count) = (contact(host).id, |id| links.iter().filter(|l| l.1 == id).count());
            assert!(count(id) <= slots, "seed {seed}: host {host}");
        }
    }
}

#[test]
fn what_is_lost_is_asked_for_until_it_comes() {
    for seed in 1..=3 {
        let mut fleet = Fleet::new(40, Config::default(), seed);
        fleet.begin(4);
        fleet.loss = 0.1;
        for _ in 0..40 {
            fleet.command(0, Command::Send(SESSION, vec![1; 100]));
            fleet.run(50);
        }
        fleet.run(10_000);
        all_have(&fleet, 40);
        assert!(fleet.counts().repaired > 0);
        assert_eq!(fleet.counts().missed, 0, "seed {seed}");
    }
}

#[test]
fn a_session_ends_and_is_forgotten() {
    let mut fleet = Fleet::new(30, Config::default(), 1);
    fleet.begin(4);
    fleet.command(0, Command::Send(SESSION, vec![1]));
    fleet.command(0, Command::End(SESSION));
    fleet.run(1_000);
    all_have(&fleet, 1);
    let ended = fleet.events.iter().filter(|(_, _, event)| matches!(event, Event::Ended { .. }));
    assert_eq!(ended.count(), 29);
    fleet.command(0, Command::Send(SESSION, vec![1]));
    assert_eq!(fleet.dropped, [DropReason::Malformed]);
    fleet.run(26_000);
    assert!(fleet.hosts.iter().flatten().all(|host| host.sessions().next().is_none()));
}

#[test]
fn members_come_and_go() {
    let mut fleet = Fleet::new(10, Config::default(), 1);
    let seats = (1..9).map(|host| seat(host, Some(host / 3), 3)).collect();
    fleet.command(0, Command::Arrange { session: SESSION, slots: 3, seats });
    fleet.run(1_000);
    assert!(fleet.links().contains(&(contact(7).id, contact(2).id)));
    fleet.command(0, Command::Send(SESSION, vec![1]));
    fleet.command(0, Command::Join(SESSION, seat(9, Some(1), 3)));
    fleet.command(0, Command::Leave(SESSION, contact(2).id));
    fleet.run(1_000);
    fleet.command(0, Command::Send(SESSION, vec![2]));
    fleet.run(1_000);
    let numbers = |host| fleet.received(host).iter().map(|(n, _)| *n).collect::<Vec<u64>>();
    assert_eq!((numbers(9), numbers(2)), (vec![1], vec![0]));
    assert_eq!(numbers(7), [0, 1]);
    let lost = Event::Lost { session: SESSION, root: contact(0).id };
    assert!(fleet.events.iter().any(|(_, host, event)| *host == 2 && *event == lost));
}

#[test]
fn without_its_root_a_session_is_given_up() {
    let mut fleet = Fleet::new(20, Config::default(), 1);
    fleet.begin(4);
    fleet.hosts[0] = None;
    fleet.run(120_000);
    assert!(fleet.hosts.iter().flatten().all(|host| host.sessions().next().is_none()));
}

#[test]
fn only_parents_send_down_and_only_children_ask() {
    let mut fleet = Fleet::new(5, Config::default(), 1);
    let seats = (1..5).map(|host| seat(host, Some(host - 1), 1)).collect();
    fleet.command(0, Command::Arrange { session: SESSION, slots: 1, seats });
    fleet.run(1_000);
    let key = (SESSION, contact(0).id);
    let data = encode(&Message::Data { key, sequence: 0, payload: vec![1] });
    let nack = encode(&Message::Nack { key, missing: vec![(0, 1)] });
    let closed = encode(&Message::Closed { session: SESSION });
    for (from, to, message) in [(3, 2, &data), (1, 2, &nack), (1, 2, &closed), (4, 1, &data)] {
        fleet.message(from, to, message);
        assert_eq!(fleet.dropped.pop(), Some(DropReason::NotInTree), "{from} to {to}");
    }
    for (oldest, next, end) in [(2, 1, None), (0, u64::MAX, None), (0, 5, Some(4))] {
        let alive = Message::Alive { key, oldest, next, end };
        fleet.message(1, 2, &encode(&alive));
        assert_eq!(fleet.dropped.pop(), Some(DropReason::Malformed));
    }
    let far = Message::Data { key, sequence: 1 << 20, payload: vec![1] };
    fleet.message(1, 2, &encode(&far));
    assert_eq!(fleet.dropped.pop(), Some(DropReason::SessionFull));
    assert!(fleet.received(2).is_empty());
}

#[test]
fn hostile_roots_and_parents_cost_no_more_than_is_allowed() {
    let config = Config { buffer_octets: 100_000, ..Config::default() };
    let mut fleet = Fleet::new(3, config, 1);
    let mut random = Random::new(5, 5);
    for _ in 0..20_000 {
        let (session, n) = (SessionId(random.below(30)), |random: &mut Random| {
            let bits = random.below(64);
            random.number() >> bits
        });
        let key = (session, contact(random.below(3) as usize).id);
        let (version, first) = (random.below(50) as u32, n(&mut random));
        let message = match random.below(8) {
            0 | 1 => Message::Data {
                key,
                sequence: random.below(10_000),
                payload: vec![0; random.below(1_100) as usize],
            },
            2 => Message::Alive { key, oldest: first, next: n(&mut random), end: None },
            3 => Message::Here { key },
            4 => Message::Nack { key, missing: vec![(first, random.number() as u16); 40] },
            5 => Message::Silent { session, version, peer: Some(contact(1).id) },
            6 => Message::Placed { session, version },
            _ => Message::Place(Place {
                session,
                first: random.below(10_000),
                receives: true,
                version,
                parent: Some(contact(random.below(3) as usize)),
                children: (0..random.below(4) as usize).map(contact).collect(),
            }),
        };
        fleet.message(1 + random.below(2) as usize, 0, &encode(&message));
        if random.below(100) == 0 {
            fleet.run(20);
        }
        let views: Vec<SessionView> = fleet.hosts[0].as_ref().unwrap().sessions().collect();
        assert!(views.len() <= config.sessions_max);
        assert!(views.iter().all(|view| view.octets <= config.buffer_octets));
    }
    for reason in [DropReason::Malformed, DropReason::NotInTree, DropReason::SessionFull] {
        assert!(fleet.dropped.contains(&reason), "{reason:?}");
    }
}

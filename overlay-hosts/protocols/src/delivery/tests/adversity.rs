//! Networks that lose and repeat, hosts that crash while others are mended, and peers that lie.

use std::collections::BTreeMap;
use std::time::Duration;
use std::vec::Vec;

use super::super::config::REPAIRS_MAX;
use super::super::message::Message;
use super::super::*;
use super::fleet::{Fleet, SESSION, contact, seat};
use crate::machine::encode;
use crate::random::Random;

/// Whoever misses a payload so long after it was sent has missed it for good.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends payloads, one every `gap` milliseconds; when each was sent.
fn stream(
    fleet: &mut Fleet,
    count: usize,
    gap: u64,
    mut between: impl FnMut(&mut Fleet),
) -> Vec<Time> {
    let mut sent = Vec::new();
    for _ in 0..count {
        sent.push(fleet.now);
        fleet.command(0, Command::Send(SESSION, vec![1; 100]));
        between(fleet);
        fleet.run(gap);
    }
    fleet.run(PATIENCE.as_millis() as u64);
    sent
}

/// Everybody who is there has each of them once, in order and in time.
fn all_have_in_time(fleet: &Fleet, sent: &[Time], what: &str) {
    let mut got: BTreeMap<usize, Vec<(u64, Time)>> = BTreeMap::new();
    for (at, host, event) in &fleet.events {
        if let Event::Received { sequence, .. } = event {
            got.entry(*host).or_default().push((*sequence, *at));
        }
    }
    for host in fleet.live() {
        let got = got.remove(&host).unwrap_or_default();
        let numbers: Vec<u64> = got.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..sent.len() as u64).collect::<Vec<u64>>(), "{what}: host {host}");
        let late = |(number, at): &&(u64, Time)| at.since(sent[*number as usize]) > PATIENCE;
        assert_eq!(got.iter().find(late), None, "{what}: host {host}");
    }
}

#[test]
fn a_network_that_loses_and_repeats_brings_everything_once_and_in_time() {
    for seed in 1..=6 {
        let slots = if seed % 2 == 0 { 50 } else { 4 };
        let mut fleet = Fleet::new(100, Config::default(), seed);
        (fleet.loss, fleet.twice) = (0.05, 0.05);
        fleet.begin(slots);
        let sent = stream(&mut fleet, 100, 50, |_| ());
        all_have_in_time(&fleet, &sent, &format!("seed {seed}"));
        assert_eq!(fleet.counts().missed, 0, "seed {seed}");
    }
}

#[test]
fn hosts_crash_while_others_are_mended() {
    for seed in 1..=12 {
        let slots = [3, 4, 8, 50][seed as usize % 4];
        let mut fleet = Fleet::new(100, Config::default(), seed);
        if seed % 3 == 0 {
            (fleet.loss, fleet.twice) = (0.05, 0.05);
        }
        fleet.begin(slots);
        let mut random = Random::new(seed, 4);
        let mut steps = 0;
        let sent = stream(&mut fleet, 60, 100, |fleet| {
            // Those with most children first: one every half second, six in all.
            if steps % 5 == 0 && steps < 30 {
                let links = fleet.links();
                let live = fleet.live().into_iter();
                let children = |host: usize| {
                    let id = contact(host).id;
                    links.iter().filter(|(_, parent)| *parent == id).count()
                };
                let worst = live.max_by_key(|host| (children(*host), random.number())).unwrap();
                fleet.hosts[worst] = None;
            }
            steps += 1;
        });
        all_have_in_time(&fleet, &sent, &format!("seed {seed}"));
    }
}

#[test]
fn places_arrive_however_many_are_lost_on_the_way() {
    for seed in 1..=4 {
        let mut fleet = Fleet::new(60, Config::default(), seed);
        fleet.loss = 0.3;
        fleet.begin(4);
        fleet.run(10_000);
        fleet.loss = 0.0;
        fleet.run(10_000);
        fleet.command(0, Command::Send(SESSION, vec![1]));
        fleet.run(1_000);
        // The root has given up whoever has not answered six times.
        let links = fleet.links();
        assert!(links.len() >= 55, "seed {seed}: {}", links.len());
        let is_in = |host: &usize| links.iter().any(|(child, _)| *child == contact(*host).id);
        for host in fleet.live().into_iter().filter(is_in) {
            assert_eq!(fleet.received(host).len(), 1, "seed {seed}: host {host}");
        }
    }
}

#[test]
fn a_root_that_begins_anew_takes_everybody_along() {
    let mut fleet = Fleet::new(60, Config::default(), 1);
    fleet.begin(4);
    fleet.hosts[0] = Some(Delivery::new(Config::default(), contact(0)));
    let again = SessionId(78);
    let seats = (1..60).map(|host| seat(host, None, 4)).collect();
    fleet.command(0, Command::Arrange { session: again, slots: 5, seats });
    fleet.run(3_000);
    fleet.command(0, Command::Send(again, vec![1]));
    fleet.run(1_000);
    for host in fleet.live() {
        assert_eq!(fleet.received(host).len(), 1, "host {host}");
    }
    fleet.run(60_000);
    let sessions = fleet.hosts.iter().flatten().flat_map(Delivery::sessions);
    assert!(sessions.map(|view| view.session).all(|session| session == again));
}

#[test]
fn who_was_put_out_and_has_not_heard_of_it_comes_back() {
    let mut fleet = Fleet::new(6, Config::default(), 1);
    let seats = (1..6).map(|host| seat(host, None, 3)).collect();
    fleet.command(0, Command::Arrange { session: SESSION, slots: 3, seats });
    for parent in [1, 3, 1, 3] {
        fleet.command(0, Command::Join(SESSION, seat(2, Some(parent), 3)));
        fleet.run(500);
    }
    fleet.loss = 1.0;
    fleet.command(0, Command::Leave(SESSION, contact(2).id));
    fleet.loss = 0.0;
    fleet.run(500);
    fleet.command(0, Command::Join(SESSION, seat(2, Some(1), 3)));
    fleet.run(1_500);
    fleet.command(0, Command::Send(SESSION, vec![1]));
    fleet.run(500);
    assert_eq!(fleet.received(2).len(), 1);
}

#[test]
fn nobody_takes_a_session_over_by_its_number() {
    let mut fleet = Fleet::new(4, Config::default(), 1);
    let seats = vec![seat(1, Some(3), 1), seat(2, Some(1), 1)];
    fleet.command(3, Command::Arrange { session: SESSION, slots: 1, seats });
    fleet.run(1_000);
    // Host 0 says that it is the root of a session of that number with the same links.
    let mut place = Place {
        session: SESSION,
        first: 0,
        receives: true,
        version: 9,
        parent: Some(contact(1)),
        children: Vec::new(),
    };
    fleet.message(0, 2, &encode(&Message::Place(place.clone())));
    (place.parent, place.children) = (Some(contact(3)), vec![contact(2)]);
    fleet.message(0, 1, &encode(&Message::Place(place)));
    fleet.run(1_000);
    fleet.command(3, Command::Send(SESSION, vec![1]));
    fleet.run(1_000);
    for host in [1, 2] {
        let own = fleet.events.iter().filter(|(_, at, _)| *at == host);
        let roots: Vec<PeerId> = own
            .filter_map(|(_, _, event)| match event {
                Event::Received { root, .. } => Some(*root),
                _ => None,
            })
            .collect();
        assert_eq!(roots, [contact(3).id], "host {host}");
    }
}

#[test]
fn who_calls_its_parent_silent_all_the_time_costs_little() {
    let mut fleet = Fleet::new(3, Config::default(), 1);
    // Nobody but the one that is gone has room.
    let seats = vec![seat(1, Some(0), 1), seat(2, Some(1), 0)];
    fleet.command(0, Command::Arrange { session: SESSION, slots: 1, seats });
    fleet.run(1_000);
    fleet.hosts[1] = None;
    let before = fleet.sent;
    for version in 0..2_000 {
        let peer = Some(contact(1).id);
        let silent = Message::Silent { session: SESSION, version, peer };
        fleet.message(2, 0, &encode(&silent));
    }
    assert!(fleet.sent - before <= 8, "{}", fleet.sent - before);
    assert!(fleet.dropped.contains(&DropReason::SessionFull));
    fleet.run(20_000);
}

#[test]
fn who_asks_for_everything_gets_no_more_than_its_share() {
    let mut fleet = Fleet::new(2, Config::default(), 1);
    fleet.begin(1);
    for _ in 0..300 {
        fleet.command(0, Command::Send(SESSION, vec![1]));
    }
    let key = (SESSION, contact(0).id);
    for _ in 0..100 {
        let missing = vec![(0, u16::MAX); 32];
        fleet.message(1, 0, &encode(&Message::Nack { key, missing }));
    }
    assert_eq!(fleet.counts().repaired, u64::from(REPAIRS_MAX));
    assert!(fleet.dropped.contains(&DropReason::SessionFull));
}

#[test]
fn a_tree_gets_no_higher_when_it_is_mended() {
    for seed in 1..=3 {
        let mut fleet = Fleet::new(200, Config::default(), seed);
        fleet.begin(4);
        assert_eq!(height(&fleet.links()), 4);
        // One below the root, who has 39 below, and somebody else.
        let links = fleet.links();
        let below = |host: &usize| links.contains(&(contact(*host).id, contact(0).id));
        let first = fleet.live().into_iter().find(below).unwrap();
        fleet.hosts[first] = None;
        fleet.hosts[100 + seed as usize] = None;
        fleet.command(0, Command::Send(SESSION, vec![1]));
        fleet.run(10_000);
        all_have_in_time(&fleet, &[Time(3_000_000)], &format!("seed {seed}"));
        assert_eq!(height(&fleet.links()), 4, "seed {seed}");
    }
}

/// Links from the root to whoever is farthest from it.
fn height(links: &[(PeerId, PeerId)]) -> usize {
    let parents: BTreeMap<PeerId, PeerId> = links.iter().copied().collect();
    let depth = |id: &PeerId| core::iter::successors(parents.get(id), |id| parents.get(id)).count();
    parents.keys().map(depth).max().unwrap_or(0)
}

//! Sessions of whole nodes that share a pool, and what they hold of it.

mod claims;
mod pool;

use std::time::Duration;
use std::vec::Vec;

use super::*;
use crate::delivery;
use crate::node;
use crate::random::Random;
use pool::{Fleet, SESSION};

/// Every claim that a root counts on is in its host's table and no other one is; no host gives more than
/// it has; trees are whole.
fn all_agree(fleet: &Fleet) {
    let mut held = BTreeMap::new();
    for place in fleet.live() {
        for task in fleet.sessions(place).tasks() {
            assert!(task.is_whole, "session {:?} of host {place}: {task:?}", task.session);
            for (host, degrees) in task.held {
                held.insert((host, task.session), degrees);
            }
        }
    }
    for place in fleet.live() {
        let (id, degrees) = (fleet.id(place), fleet.sessions(place).degrees());
        for claim in degrees.claims() {
            let wanted = held.remove(&(id, claim.session));
            assert_eq!(wanted, Some(claim.degrees), "host {place}, {claim:?}");
        }
    }
    assert!(held.is_empty(), "held of nobody: {held:?}");
}

#[test]
fn a_session_is_planned_on_the_pool_claimed_and_carries_data_to_its_members() {
    let mut fleet = Fleet::new(16, 3, 1);
    fleet.begin(0, SESSION, 2, 1..=9);
    fleet.run(3);
    all_agree(&fleet);
    let task = fleet.sessions(0).tasks().next().unwrap();
    assert_eq!(task.members.len(), 10);
    // Each pays for its children, and for its parent.
    for (host, degrees) in &task.held {
        let ends = task.links.iter().filter(|(child, parent)| child == host || parent == host);
        assert_eq!(ends.count(), usize::from(*degrees));
    }
    assert!(task.height.is_some_and(|height| (1..1_000_000).contains(&height)), "{task:?}");
    fleet.send(0, SESSION, 0..5);
    fleet.run(2);
    for place in 1..16 {
        let expected: Vec<u64> = if place <= 9 { (0..5).collect() } else { Vec::new() };
        assert_eq!(fleet.received(place, SESSION), expected, "host {place}");
    }
    fleet.command(0, Command::End(SESSION));
    fleet.run(1);
    assert!(fleet.live().all(|place| fleet.sessions(place).degrees().free() == 3));
}

#[test]
fn stronger_sessions_take_helpers_away_and_weaker_ones_plan_anew() {
    let mut preempted = 0;
    for seed in 0..6 {
        // Few hosts have much to give, and many sessions want it.
        let mut fleet = Fleet::with(30, |place| if place >= 24 { 8 } else { 2 }, seed);
        for (number, priority) in [(0, 3), (1, 3), (2, 2), (3, 1)] {
            let first = number * 6;
            let session = SessionId(100 + number as u64);
            fleet.begin(first, session, priority, first + 1..first + 6);
            fleet.run(5);
        }
        fleet.run(60);
        all_agree(&fleet);
        for first in [0, 6, 12, 18] {
            let session = SessionId(100 + first as u64 / 6);
            fleet.send(first, session, 0..3);
            fleet.run(2);
            for member in first + 1..first + 6 {
                assert_eq!(
                    fleet.received(member, session),
                    [0, 1, 2],
                    "seed {seed}, host {member}"
                );
            }
            preempted += fleet.told(first, |event| matches!(event, Event::Preempted { .. }));
            // No helper is taken from the one of the first priority.
            let strongest = fleet.told(18, |event| matches!(event, Event::Preempted { .. }));
            assert_eq!(strongest, 0, "seed {seed}");
        }
    }
    assert!(preempted > 0, "no session competes with another");
}

#[test]
fn who_crashes_is_planned_around_and_nothing_is_missing_at_the_others() {
    for seed in 0..6 {
        let mut fleet = Fleet::new(20, 4, seed);
        fleet.begin(0, SESSION, 1, 1..=11);
        fleet.run(3);
        let task = fleet.sessions(0).tasks().next().unwrap();
        let inner =
            |place: &usize| task.links.iter().any(|(_, parent)| *parent == fleet.id(*place));
        let gone: Vec<usize> = (1..20).filter(inner).take(2).collect();
        for number in 0..40 {
            fleet.send(0, SESSION, number..number + 1);
            if number == 5 {
                gone.iter().for_each(|place| fleet.net.crash(*place));
            }
            fleet.net.run(Duration::from_millis(500));
        }
        fleet.run(20);
        all_agree(&fleet);
        let all: Vec<u64> = (0..40).collect();
        for place in (1..=11).filter(|place| !gone.contains(place)) {
            assert_eq!(fleet.received(place, SESSION), all, "seed {seed}, host {place}");
        }
        let are_gone = fleet.told(0, |event| matches!(event, Event::Gone { .. }));
        assert_eq!(are_gone, gone.len(), "seed {seed}");
    }
}

#[test]
fn a_session_is_planned_while_the_pool_s_tree_has_lost_its_root() {
    for seed in 0..3 {
        let mut fleet = Fleet::new(20, 9, seed);
        // It knows the pool from a session before.
        fleet.begin(0, SESSION, 1, 1..=5);
        fleet.run(5);
        let is_root = |place: &usize| fleet.net.node(*place).somo().unwrap().is_root();
        let Some(root) = fleet.live().find(is_root).filter(|root| *root > 0) else { continue };
        fleet.net.crash(root);
        let others: Vec<usize> = (6..=12).filter(|place| *place != root).collect();
        fleet.begin(0, SessionId(8), 2, others.iter().copied());
        fleet.run(12);
        let whole = fleet.sessions(0).tasks().filter(|task| task.is_whole).count();
        assert_eq!(whole, 2, "seed {seed}");
        let unplanned = fleet.told(0, |event| matches!(event, Event::Unplanned { .. }));
        assert_eq!(unplanned, 0, "seed {seed}");
        fleet.send(0, SessionId(8), 0..3);
        fleet.run(2);
        for place in others {
            assert_eq!(fleet.received(place, SessionId(8)), [0, 1, 2], "seed {seed}, host {place}");
        }
    }
}

#[test]
fn what_a_root_has_held_is_free_again_when_it_is_gone() {
    let mut fleet = Fleet::new(10, 4, 3);
    fleet.begin(0, SESSION, 1, 1..=8);
    fleet.run(3);
    let is_free = |fleet: &Fleet| fleet.live().all(|at| fleet.sessions(at).degrees().free() == 4);
    assert!(!is_free(&fleet));
    fleet.net.crash(0);
    fleet.run(45);
    assert!(is_free(&fleet));
    let streams = |at| fleet.net.node(at).delivery().unwrap().sessions().count();
    assert_eq!(fleet.live().map(streams).sum::<usize>(), 0);
}

#[test]
fn members_join_and_leave_while_data_flows() {
    let mut fleet = Fleet::new(14, 3, 5);
    fleet.begin(0, SESSION, 2, 1..=6);
    fleet.run(3);
    fleet.send(0, SESSION, 0..1);
    fleet.run(1);
    let joins = fleet.net.node(9).contact().clone();
    fleet.command(0, Command::Join(SESSION, joins));
    fleet.command(0, Command::Leave(SESSION, fleet.id(2)));
    fleet.run(4);
    all_agree(&fleet);
    fleet.send(0, SESSION, 1..2);
    fleet.run(2);
    for (place, expected) in [(1, vec![0, 1]), (2, vec![0]), (9, vec![1]), (6, vec![0, 1])] {
        assert_eq!(fleet.received(place, SESSION), expected, "host {place}");
    }
}

#[test]
fn a_lossy_network_leaves_nothing_held_behind() {
    for seed in 0..4 {
        let mut fleet = Fleet::new(16, 4, seed);
        let random = core::cell::RefCell::new(Random::new(seed, 9));
        fleet.net.latency = std::boxed::Box::new(move |_, _, _| {
            let mut random = random.borrow_mut();
            let is_lost = random.below(10) == 0;
            // Datagrams overtake each other.
            (!is_lost).then(|| Duration::from_millis(5 + random.below(60)))
        });
        fleet.begin(0, SESSION, 1, 1..=5);
        fleet.begin(6, SessionId(8), 3, 7..=11);
        fleet.run(30);
        fleet.send(0, SESSION, 0..10);
        fleet.run(20);
        all_agree(&fleet);
        let all: Vec<u64> = (0..10).collect();
        for place in 1..=5 {
            assert_eq!(fleet.received(place, SESSION), all, "seed {seed}, host {place}");
        }
        fleet.command(0, Command::End(SESSION));
        fleet.command(6, Command::End(SessionId(8)));
        fleet.run(40);
        assert!(fleet.live().all(|place| fleet.sessions(place).degrees().free() == 4));
    }
}

#[test]
fn nobody_is_placed_in_a_session_that_claims_nothing_of_it() {
    let mut fleet = Fleet::new(4, 4, 1);
    let contact = fleet.net.node(1).contact().clone();
    let seat = Seat { contact, parent: None, slots: 0, receives: true };
    let arrange = delivery::Command::Arrange { session: SESSION, slots: 4, seats: vec![seat] };
    fleet.net.input(0, node::Input::Delivery(arrange));
    fleet.run(2);
    fleet.send(0, SESSION, 0..1);
    fleet.run(2);
    assert_eq!(fleet.received(1, SESSION), []);
    assert!(fleet.net.node(1).drops().of(DropReason::NotInTree) > 0);
}

#[test]
fn without_degrees_there_is_no_plan_until_there_are() {
    let mut fleet = Fleet::with(6, |place| u16::from(place > 0), 2);
    fleet.begin(0, SESSION, 1, 1..=3);
    fleet.run(10);
    let unplanned =
        fleet.told(0, |event| matches!(event, Event::Unplanned { why: PlanError::Degrees, .. }));
    // Ever more rarely.
    assert!((2..10).contains(&unplanned), "{unplanned}");
    assert_eq!(fleet.told(0, |event| matches!(event, Event::Arranged { .. })), 0);
}

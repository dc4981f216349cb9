//! The window against a plain set, the roster's rules after anything that happens, octets by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use std::vec::Vec;

use super::super::message::Message;
use super::super::roster::Roster;
use super::super::window::Window;
use super::super::*;
use super::fleet::{SESSION, contact, seat};
use crate::machine::encode;
use crate::random::Random;

#[test]
fn a_payload_is_its_session_and_root_its_number_and_its_octets() {
    let payload = vec![9, 8];
    let key = (SessionId(5), PeerId([6; 20]));
    let message = Message::Data { key, sequence: 300, payload };
    // 300 = 0b10_0101100, seven bits an octet, the lowest first.
    assert_eq!(encode(&message), [&[0, 5], &[6; 20][..], &[0xac, 2, 2, 9, 8]].concat());
}

#[test]
fn a_window_has_what_a_set_has() {
    for seed in 0..50 {
        let mut random = Random::new(seed, 1);
        let (mut window, mut came) = (Window::new(3), BTreeSet::new());
        let mut handed = Vec::new();
        for _ in 0..200 {
            let number = 3 + random.below(60);
            let is_new = window.take(number, &[number as u8], Time(0), 1 << 20).unwrap();
            assert_eq!(is_new, came.insert(number), "seed {seed}");
            while let Some((next, payload)) = window.advance() {
                assert_eq!(payload, [next as u8]);
                handed.push(next);
            }
            let missing: Vec<u64> =
                (3..*came.last().unwrap()).filter(|number| !came.contains(number)).collect();
            let gaps = window.gaps().into_iter();
            let gaps: Vec<u64> =
                gaps.flat_map(|(from, count)| from..from + u64::from(count)).collect();
            assert_eq!(gaps, missing, "seed {seed}");
            assert_eq!(window.first_gap().map(|gap| gap.start), missing.first().copied());
        }
        assert!(handed.is_sorted_by(|one, next| one + 1 == *next), "seed {seed}");
    }
}

#[test]
fn a_window_keeps_no_more_than_it_may() {
    let mut window = Window::new(0);
    for number in 0..100 {
        window.take(number, &[0; 36], Time(number), 1_000).unwrap();
        window.advance();
    }
    // 36 octets and 64 for each.
    assert_eq!((window.octets(), window.oldest()), (1_000, 90));
    window.expire(Time(105), Duration::from_micros(10));
    assert_eq!(window.oldest(), 96);
    let full: Vec<bool> =
        (101..120).map(|number| window.take(number, &[0; 36], Time(0), 1_000).is_ok()).collect();
    assert_eq!(full.iter().filter(|taken| **taken).count(), 10);
}

/// Depths of all that have a way from the root; `None` if somebody has too many children.
fn depths(links: &[(PeerId, PeerId)], slots: usize) -> Option<BTreeMap<PeerId, usize>> {
    let mut depths = BTreeMap::from([(contact(0).id, 0)]);
    for _ in 0..links.len() {
        for (child, parent) in links {
            if let Some(depth) = depths.get(parent).copied() {
                depths.insert(*child, depth + 1);
            }
        }
    }
    let count = |id: &PeerId| links.iter().filter(|(_, parent)| parent == id).count();
    depths.keys().all(|id| count(id) <= slots).then_some(depths)
}

#[test]
fn a_roster_is_a_tree_within_its_degrees_whatever_happens() {
    for seed in 0..20 {
        let mut random = Random::new(seed, 3);
        let mut roster = Roster::new(SESSION, contact(0), 3);
        // Any parents at all, circles and crowds among them.
        let any = |random: &mut Random| Some(random.below(40) as usize);
        let seats = (1..40).map(|host| seat(host, any(&mut random), 3)).collect();
        roster.arrange(seats, 0, Time(0)).unwrap();
        for step in 0..60 {
            let links: Vec<_> = roster.links().collect();
            let depths = depths(&links, 3).unwrap_or_else(|| panic!("seed {seed}: crowded"));
            assert_eq!(depths.len(), roster.len() + 1, "seed {seed} step {step}: {links:?}");
            let host = 1 + random.below(39) as usize;
            match random.below(3) {
                0 => drop(roster.leave(contact(host).id, Time(step))),
                1 => {
                    let _full = roster.join(seat(host, any(&mut random), 3), 5, Time(step));
                }
                _ => {
                    let parent = links.iter().find(|(child, _)| *child == contact(host).id);
                    let parent = parent.map(|(_, parent)| *parent);
                    let versions = roster.due(&Config::default(), Time(step)).0;
                    let told = versions.iter().find(|(to, _)| to.id == contact(host).id);
                    let version = told.map_or(1, |(_, place)| place.version);
                    let config = Config::default();
                    let now = Time(step * 1_000_000);
                    let _heeded = roster.silent(contact(host).id, (version, parent), &config, now);
                }
            }
        }
    }
}

//! Crashes, leaves, splits, and peers with several addresses.

use super::*;

#[test]
fn crashed_peers_are_missed_and_their_zones_taken_over() {
    for seed in 0..3 {
        let mut net = ring_of(40, seed, &config());
        net.run(15 * SECOND);
        let mut random = Random::new(seed, 9);
        let mut places: Vec<usize> = (0..40).collect();
        random.shuffle(&mut places);
        places[..10].iter().for_each(|place| net.crash(*place));
        net.run(45 * SECOND);
        assert_eq!(sorted(&net).len(), 30, "seed {seed}");
        assert!(is_right(&net, 4), "seed {seed}");
        look_up_right(&mut net, 30, seed);
    }
}

/// Who owns a key by what all say themselves.
fn owners(net: &Net, key: RingId) -> usize {
    let there = net.nodes.iter().flatten();
    there.filter(|node| node.ring().owns(key)).count()
}

/// More peers in a row crash than a side of a leaf set has, so that on both sides of the gap a whole
/// side is lost.
#[test]
fn a_side_that_is_lost_is_found_again_and_nobody_takes_the_ring_for_its_own() {
    for seed in 0..6 {
        let mut net = ring_of(64, seed, &config());
        net.run(30 * SECOND);
        let mut random = Random::new(seed, 11);
        let all = sorted(&net);
        let (first, gap) = (random.below(64) as usize, 4 + seed as usize % 3);
        (first..first + gap).for_each(|index| net.crash(all[index % 64].1));
        for second in 0..40 {
            net.run(SECOND);
            for (position, _) in &all {
                let owners = owners(&net, *position);
                assert!(owners <= 1, "seed {seed}, second {second}: {owners} own {position}");
            }
        }
        assert!(is_right(&net, 4), "seed {seed}");
        look_up_right(&mut net, 10, seed);
    }
}

#[test]
fn a_lookup_finds_the_heir_of_an_owner_that_has_just_crashed() {
    for seed in 0..12 {
        let mut net = ring_of(40, seed, &config());
        net.run(30 * SECOND);
        let key = RingId::of_key(&seed.to_be_bytes());
        let crashed = owner(&net, key);
        net.crash(crashed);
        if seed % 2 == 1 {
            let next = owner(&net, key);
            net.crash(next);
        }
        let expected = owner(&net, key);
        let asker = (crashed + 7) % 40;
        let asker = if net.nodes[asker].is_some() { asker } else { (asker + 1) % 40 };
        ask(&mut net, asker, Command::Lookup { request: 1, key });
        net.run(4 * SECOND);
        let found = events(&net, asker).find_map(|event| match event {
            Event::Found { owner, .. } => Some(place_of(owner)),
            _ => None,
        });
        assert_eq!(found, Some(expected), "seed {seed}");
    }
}

#[test]
fn who_leaves_tells_so_and_nobody_waits_for_it() {
    let mut net = ring_of(20, 6, &config());
    net.run(15 * SECOND);
    for place in [3, 11, 12] {
        ask(&mut net, place, Command::Leave);
    }
    net.run(2 * SECOND);
    for place in [3, 11, 12] {
        assert_eq!(events(&net, place).last(), Some(&Event::Left));
    }
    net.run(2 * SECOND);
    assert_eq!(sorted(&net).len(), 17);
    assert!(is_right(&net, 4));
    assert!((0..20).all(|place| !events(&net, place).any(|e| matches!(e, Event::Departed(_)))));
}

#[test]
fn two_halves_of_a_split_network_become_one_ring_again() {
    for seed in 0..2 {
        let mut net = ring_of(24, seed, &config());
        net.run(15 * SECOND);
        let (from, to) = (net.now, net.now + 120 * SECOND);
        net.latency = Box::new(move |a, b, now| {
            let is_cut = now >= from && now < to && a % 2 != b % 2;
            (!is_cut).then_some(Duration::from_millis(30))
        });
        net.run(110 * SECOND);
        // Two rings, each whole.
        for half in 0..2 {
            let all: Vec<_> =
                sorted(&net).into_iter().filter(|(_, place)| place % 2 == half).collect();
            for (index, (_, place)) in all.iter().enumerate() {
                let before = all[(index + all.len() - 1) % all.len()].0;
                assert_eq!(net.node(*place).ring().zone_after(), before, "seed {seed}");
            }
        }
        net.run(130 * SECOND);
        assert!(is_right(&net, 4), "seed {seed}");
        look_up_right(&mut net, 10, seed);
    }
}

#[test]
fn a_peer_is_reached_at_its_second_address_when_the_first_is_dead() {
    // Seed 001 paragraph 0030: peer 0 is behind hosts 0 and 90; host 0 dies.
    let mut net = ring_of(10, 1, &config());
    let mut me = contact(0);
    me.others = Some(alloc::vec![address(10)].into());
    net.crash(0);
    net.run(40 * SECOND);
    let identity = identity(0, false);
    let node = node::OverlayNode::new(config(), identity, me, &|_| None, 5, net.at(0));
    net.nodes[0] = Some(node);
    ask(&mut net, 0, Command::Join(alloc::vec![address(4)]));
    net.run(30 * SECOND);
    assert!(is_right(&net, 4));
    // It moves to its second address: datagrams to the first are lost, its own come from there.
    let other = net.start(config());
    assert_eq!(other, 10);
    net.nodes.swap(0, 10);
    net.crash(0);
    net.run(40 * SECOND);
    let key = contact(0).position();
    for place in 1..10 {
        ask(&mut net, place, Command::Lookup { request: 5, key });
        net.run(4 * SECOND);
        let found = events(&net, place).find_map(|event| match event {
            Event::Found { request: 5, owner, .. } => Some(owner.id),
            _ => None,
        });
        assert_eq!(found, Some(contact(0).id), "from {place}");
    }
}

/// Under losses, crashes and joins at any moment: what a lookup finds is right nearly always, and
/// in the end everything is.
#[test]
fn a_ring_under_churn_and_loss_is_whole_in_the_end() {
    for seed in 0..2 {
        let mut net = ring_of(30, seed, &config());
        let mut number = 0u64;
        let random = core::cell::RefCell::new(Random::new(seed, 3));
        net.latency = Box::new(move |_, _, _| {
            let mut random = random.borrow_mut();
            let millis = 10 + random.below(60);
            (random.below(100) >= 2).then(|| Duration::from_millis(millis))
        });
        let mut random = Random::new(seed, 4);
        for _ in 0..60 {
            let there = sorted(&net);
            let place = random.choose(&there).unwrap().1;
            match random.below(3) {
                0 if there.len() > 20 => net.crash(place),
                1 if there.len() > 20 => ask(&mut net, place, Command::Leave),
                _ => {
                    let newcomer = net.start(config());
                    ask(&mut net, newcomer, Command::Join(alloc::vec![address(place)]));
                }
            }
            let asker = random.choose(&sorted(&net)).unwrap().1;
            number += 1;
            let key = RingId::of_key(&number.to_be_bytes());
            ask(&mut net, asker, Command::Lookup { request: number, key });
            net.run(Duration::from_millis(500 + random.below(3000)));
        }
        net.run(60 * SECOND);
        assert!(is_right(&net, 4), "seed {seed}");
    }
}

#[test]
fn a_leave_that_is_lost_is_told_again_to_those_whose_zones_it_changes() {
    let mut net = ring_of(20, 8, &config());
    net.run(30 * SECOND);
    let all = sorted(&net);
    let (leaver, heir) = (all[4].1, all[5].1);
    let now = net.now;
    // What it says first is lost.
    net.latency = Box::new(move |from, _, at| {
        (from != leaver || at != now).then_some(Duration::from_millis(30))
    });
    let place = all[4].0;
    ask(&mut net, leaver, Command::Leave);
    net.run(2 * SECOND);
    assert!(net.node(heir).ring().owns(place));
}

//! What is stored stays, whoever comes and goes.

use super::*;

fn put(net: &mut Net, place: usize, count: u64) -> Vec<RingId> {
    let keys: Vec<RingId> = (0..count).map(|n| RingId::of_key(&n.to_be_bytes())).collect();
    for (request, key) in keys.iter().enumerate() {
        let (request, value) = (request as u64, key.0.to_vec());
        ask(net, place, Command::Insert { request, key: *key, value });
        net.run(Duration::from_millis(200));
    }
    net.run(3 * SECOND);
    let copies = |event: &Event| match event {
        Event::Inserted { copies, .. } => Some(*copies),
        _ => None,
    };
    let copies: Vec<u32> = events(net, place).filter_map(copies).collect();
    assert_eq!(copies, alloc::vec![4; count as usize]);
    keys
}

fn read(net: &mut Net, place: usize, key: RingId, request: u64) -> Option<Option<Vec<u8>>> {
    ask(net, place, Command::Get { request, key });
    net.run(5 * SECOND);
    events(net, place).find_map(|event| match event {
        Event::Value { request: it, record, .. } if *it == request => {
            Some(record.as_ref().map(|record| record.value.clone()))
        }
        _ => None,
    })
}

fn all_are_there(net: &mut Net, place: usize, keys: &[RingId], what: &str) {
    for (index, key) in keys.iter().enumerate() {
        let request = 1000 + net.now.0 + index as u64;
        let value = read(net, place, *key, request);
        assert_eq!(value, Some(Some(key.0.to_vec())), "{what}: {key}");
    }
}

/// Who holds a key.
fn holders(net: &Net, key: RingId) -> Vec<usize> {
    let all = sorted(net).into_iter().map(|(_, place)| place);
    all.filter(|place| net.node(*place).ring().held(key).is_some()).collect()
}

#[test]
fn a_value_is_held_by_the_owner_and_its_three_successors() {
    let mut net = ring_of(20, 2, &config());
    net.run(15 * SECOND);
    let keys = put(&mut net, 0, 30);
    let all = sorted(&net);
    for key in keys {
        let owner = owner(&net, key);
        let at = all.iter().position(|(_, place)| *place == owner).unwrap();
        let mut expected: Vec<usize> = (0..4).map(|n| all[(at + n) % all.len()].1).collect();
        let mut holders = holders(&net, key);
        expected.sort_unstable();
        holders.sort_unstable();
        assert_eq!(holders, expected);
    }
}

#[test]
fn three_holders_that_crash_at_once_lose_nothing() {
    for seed in 0..3 {
        let mut net = ring_of(20, seed, &config());
        net.run(15 * SECOND);
        let asker = sorted(&net)[0].1;
        let keys = put(&mut net, asker, 20);
        let mut gone = holders(&net, keys[seed as usize]);
        gone.retain(|place| *place != asker);
        gone.truncate(3);
        gone.iter().for_each(|place| net.crash(*place));
        net.run(30 * SECOND);
        all_are_there(&mut net, asker, &keys, "after the crash");
        net.run(60 * SECOND);
        for key in &keys {
            assert_eq!(holders(&net, *key).len(), 4, "seed {seed}: as many again");
        }
    }
}

#[test]
fn keys_follow_their_zone_when_peers_join_and_leave() {
    let mut net = ring_of(10, 8, &config());
    net.run(15 * SECOND);
    let keys = put(&mut net, 0, 30);
    for _ in 0..10 {
        let newcomer = net.start(config());
        ask(&mut net, newcomer, Command::Join(alloc::vec![address(0)]));
        net.run(3 * SECOND);
    }
    all_are_there(&mut net, 0, &keys, "after joins");
    for place in 1..10 {
        ask(&mut net, place, Command::Leave);
        net.run(3 * SECOND);
    }
    assert_eq!(sorted(&net).len(), 11);
    all_are_there(&mut net, 0, &keys, "after leaves");
    net.run(90 * SECOND);
    for key in &keys {
        let held = holders(&net, *key);
        assert!(held.contains(&owner(&net, *key)), "{key}");
        assert_eq!(held.len(), 4, "{key}: nobody else keeps it");
    }
}

#[test]
fn a_leave_hands_keys_over_even_without_replicas() {
    let mut config = config();
    config.ring.replicas = 1;
    let mut net = ring_of(6, 8, &config);
    net.run(15 * SECOND);
    let key = RingId::of_key(b"alone");
    let asker = (owner(&net, key) + 1) % 6;
    ask(&mut net, asker, Command::Insert { request: 1, key, value: key.0.to_vec() });
    net.run(3 * SECOND);
    assert_eq!(holders(&net, key), [owner(&net, key)]);
    for _ in 0..4 {
        let place = owner(&net, key);
        if place == asker {
            break;
        }
        ask(&mut net, place, Command::Leave);
        net.run(3 * SECOND);
        assert_eq!(holders(&net, key), [owner(&net, key)]);
    }
    all_are_there(&mut net, asker, &[key], "after leaves");
}

#[test]
fn the_last_writer_wins_and_repair_brings_nothing_old_back() {
    let mut net = ring_of(20, 5, &config());
    net.run(15 * SECOND);
    let key = RingId::of_key(b"name");
    for (request, place) in [3usize, 4, 5, 3].into_iter().enumerate() {
        let value = alloc::vec![request as u8];
        ask(&mut net, place, Command::Insert { request: request as u64, key, value });
        net.run(2 * SECOND);
    }
    // A holder is cut off while the value changes, and comes back with the old one.
    let cut = *holders(&net, key).iter().find(|place| **place != owner(&net, key)).unwrap();
    let (from, to) = (net.now, net.now + 12 * SECOND);
    net.latency = Box::new(move |a, b, now| {
        let is_cut = now >= from && now < to && (a == cut || b == cut);
        (!is_cut).then_some(Duration::from_millis(30))
    });
    let writer = (cut + 1) % 20;
    ask(&mut net, writer, Command::Insert { request: 9, key, value: alloc::vec![99] });
    net.run(120 * SECOND);
    for place in holders(&net, key) {
        assert_eq!(net.node(place).ring().held(key).unwrap().value, [99], "{place}");
    }
    assert_eq!(holders(&net, key).len(), 4);
    assert_eq!(read(&mut net, 7, key, 77), Some(Some(alloc::vec![99])));
}

#[test]
fn a_host_that_is_known_is_asked_directly() {
    let mut net = ring_of(12, 5, &config());
    net.run(15 * SECOND);
    let key = RingId::of_key(b"direct");
    ask(&mut net, 1, Command::Insert { request: 1, key, value: alloc::vec![5] });
    net.run(3 * SECOND);
    let host = contact(owner(&net, key));
    let other = (0..12).find(|place| !holders(&net, key).contains(place)).unwrap();
    let before = net.sent.len();
    ask(&mut net, 2, Command::Direct { request: 2, key, host: host.clone() });
    ask(&mut net, 2, Command::Direct { request: 3, key, host: contact(other) });
    let kind = machine::encode(&Message::FindOwner { nonce: 0, key, dead: Vec::new() })[0];
    assert!(net.sent[before..].iter().all(|(_, _, send)| send.shared[0] != kind));
    net.crash(other + 100 * usize::from(other == 2));
    net.run(3 * SECOND);
    let values: Vec<_> = events(&net, 2)
        .filter_map(|event| match event {
            Event::Value { request, record, .. } => Some((*request, record.is_some())),
            Event::Failed { request, .. } => Some((*request, false)),
            _ => None,
        })
        .collect();
    assert!(values.contains(&(2, true)) && values.contains(&(3, false)), "{values:?}");
}

#[test]
fn who_is_full_refuses_by_name_and_so_is_what_is_too_long() {
    let mut config = config();
    config.ring.keys_max = 3;
    let mut net = ring_of(1, 5, &config);
    for request in 0..5u64 {
        let key = RingId::of_key(&request.to_be_bytes());
        ask(&mut net, 0, Command::Insert { request, key, value: alloc::vec![1] });
    }
    let (key, value) = (RingId::ZERO, alloc::vec![0; VALUE_LEN_MAX + 1]);
    ask(&mut net, 0, Command::Insert { request: 9, key, value });
    let failed: Vec<_> = events(&net, 0)
        .filter_map(|event| match event {
            Event::Failed { request, reason: Failure::Refused(why), .. } => Some((*request, *why)),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [(3, Refusal::Full), (4, Refusal::Full), (9, Refusal::TooLong)]);
}

#[test]
fn what_is_deleted_is_gone_for_all_and_forgotten_in_time() {
    let mut net = ring_of(20, 6, &config());
    net.run(15 * SECOND);
    let keys = put(&mut net, 0, 3);
    ask(&mut net, 4, Command::Delete { request: 77, key: keys[0] });
    net.run(5 * SECOND);
    let copies = events(&net, 4).find_map(|event| match event {
        Event::Inserted { request: 77, copies, .. } => Some(*copies),
        _ => None,
    });
    assert_eq!(copies, Some(4));
    assert_eq!(read(&mut net, 9, keys[0], 1), Some(None));
    // Whoever holds it next knows it, too; and a new value can be stored.
    net.crash(owner(&net, keys[0]));
    net.run(120 * SECOND);
    let asker = sorted(&net)[0].1;
    assert_eq!(read(&mut net, asker, keys[0], 2), Some(None));
    assert!(!holders(&net, keys[0]).is_empty());
    net.run(DELETED_HOLDS + 120 * SECOND);
    assert!(holders(&net, keys[0]).is_empty());
    all_are_there(&mut net, asker, &keys[1..], "what was not deleted");
    let (request, key, value) = (78, keys[0], keys[0].0.to_vec());
    ask(&mut net, asker, Command::Insert { request, key, value });
    net.run(5 * SECOND);
    all_are_there(&mut net, asker, &keys, "a new value");
}

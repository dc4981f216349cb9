//! Messages that lie.

use super::*;
use crate::swap::{SwapRecord, Swapped};

const NOW: Now = Now { time: Time(1_000_000), wall: Wall(START.0 + 1_000_000) };

/// Peer 0 in a ring with 1 to 8, and what it has to say.
fn member() -> Ring {
    let mut ring = Ring::new(config().ring, contact(0), None, 1, NOW);
    let preset = Command::Preset { leaves: (1..9).map(contact).collect(), fingers: Vec::new() };
    ring.handle_input(Input::Command(preset), NOW).unwrap();
    drain(&mut ring);
    ring
}

fn drain(ring: &mut Ring) -> Vec<Output<Event>> {
    core::iter::from_fn(|| ring.poll_output()).collect()
}

fn receive(ring: &mut Ring, place: usize, message: &Message) -> Result<(), DropReason> {
    let bytes = machine::encode(message);
    let from = contact(place).endpoint();
    let received = Received {
        from,
        at: NOW.time,
        wall: NOW.wall,
        ttl: 60,
        octets: bytes.len(),
        message: &bytes,
    };
    ring.handle_input(Input::Message(received), NOW)
}

#[test]
fn a_position_that_is_not_proved_is_dropped_by_name() {
    let mut ring = member();
    let swapped = |key| Swapped { key, position: RingId::ZERO, signature: ([1; 32], [2; 32]) };
    let mut liar = contact(30);
    let mut key = [0x5a; 32];
    key[..8].copy_from_slice(&30u64.to_be_bytes());
    let record = SwapRecord { peers: [swapped(key), swapped([9; 32])], term: 1 };
    liar.swap = Some(record.into());
    let ping = Message::Leaves { digest: 0, again: true, me: liar.clone(), leaves: Vec::new() };
    assert_eq!(receive(&mut ring, 30, &ping), Err(DropReason::UnprovedPosition));
    let leaves = alloc::vec![liar];
    let named = Message::Leaves { digest: 0, again: true, me: contact(1), leaves };
    assert_eq!(receive(&mut ring, 1, &named), Err(DropReason::UnprovedPosition));
    assert_eq!(ring.leaf_set().len(), 8);
}

#[test]
fn nobody_speaks_for_another() {
    let mut ring = member();
    let ping = Message::Ping { nonce: 1, me: contact(5) };
    assert_eq!(receive(&mut ring, 30, &ping), Err(DropReason::Malformed));
    let mut elsewhere = contact(30);
    elsewhere.address = address(31);
    let ping = Message::Ping { nonce: 1, me: elsewhere };
    assert_eq!(receive(&mut ring, 30, &ping), Err(DropReason::Malformed));
    assert!(drain(&mut ring).is_empty());
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let mut ring = member();
    let before = ring.view();
    let stranger = contact(40);
    let answers = [
        Message::Owner { nonce: 7, me: stranger.clone() },
        Message::Pong { nonce: 7, joined: true, me: stranger.clone() },
        Message::Route { nonce: 7, checking: true, nodes: alloc::vec![contact(41)] },
        Message::Welcome {
            nonce: 7,
            me: stranger,
            leaves: alloc::vec![contact(42)],
            fingers: Vec::new(),
        },
        Message::Done { nonce: 7, version: 9, copies: 9 },
        Message::Stored { nonce: 7, full: false },
        Message::Value { nonce: 7, record: None, holders: Vec::new() },
        Message::Farewell { nonce: 7 },
    ];
    for answer in &answers {
        receive(&mut ring, 40, answer).unwrap();
        assert!(drain(&mut ring).is_empty(), "{answer:?}");
    }
    assert_eq!(ring.view(), before);
}

#[test]
fn lists_that_are_too_long_are_dropped() {
    let mut ring = member();
    let dead = alloc::vec![PeerId::default(); message::DEAD_MAX + 1];
    let question = Message::FindOwner { nonce: 1, key: RingId::ZERO, dead };
    assert_eq!(receive(&mut ring, 3, &question), Err(DropReason::Oversized));
    let leaves = alloc::vec![contact(3); LEAF_SET_MAX + 1];
    let leaves = Message::Leaves { digest: 1, again: true, me: contact(3), leaves };
    assert_eq!(receive(&mut ring, 3, &leaves), Err(DropReason::Oversized));
}

#[test]
fn a_liar_that_names_thousands_of_peers_fills_no_memory() {
    let mut ring = member();
    for round in 0..100 {
        let leaves = (0..32).map(|n| contact(100 + round * 32 + n)).collect();
        let leaves = Message::Leaves { digest: 1, again: true, me: contact(3), leaves };
        receive(&mut ring, 3, &leaves).unwrap();
    }
    // They are pinged, a bounded number of them, and nobody is believed in before it answers.
    assert!(ring.checks.len() <= CHECKS_MAX);
    let view = ring.view();
    assert_eq!(view.leaves.len(), 8);
    assert!(ring.finger_contacts().all(|finger| place_of(finger) < 9));
    assert!(ring.lost.len() <= LOST_MAX && ring.gone.len() <= 32);
}

#[test]
fn a_report_that_a_living_peer_is_gone_makes_it_be_pinged_and_no_more() {
    let mut net = ring_of(12, 3, &config());
    net.run(15 * SECOND);
    let all: Vec<PeerId> = (0..8).map(|place| contact(place).id).collect();
    let lie = Message::Suspect { peers: all };
    let bytes = machine::encode(&lie);
    for place in 0..11 {
        let (to, shared) = (alloc::vec![contact(place).endpoint()], bytes.clone());
        let (protocol, parts) = (Protocol::Ring, Vec::new());
        let send = machine::Send { to, protocol, shared, parts, class: Class::Immediate };
        let now = net.at(11);
        let bytes = net.nodes[11].as_mut().unwrap().datagram(&send, &[0], now);
        let input = node::Input::Datagram {
            from: address(11),
            bytes: &bytes,
            at: now.time,
            wall: now.wall,
            ttl: 60,
        };
        net.input(place, input);
    }
    net.run(3 * SECOND);
    assert!(is_right(&net, 4));
    assert!((0..12).all(|place| !events(&net, place).any(|e| matches!(e, Event::Departed(_)))));
}

#[test]
fn strangers_store_only_what_is_in_the_zone_and_no_more_than_fits() {
    let mut ring = member();
    ring.config.keys_max = 10;
    ring.store = Store::new(10, 1000);
    for number in 0..2000u64 {
        let key = RingId::of_key(&number.to_be_bytes());
        let record = Record { key, version: 1, writer: PeerId::default(), value: alloc::vec![1] };
        let store = Message::Store { nonce: 1, records: alloc::vec![record] };
        receive(&mut ring, 50, &store).unwrap();
        assert!(ring.owns(key) || ring.held(key).is_none());
    }
    assert_eq!(ring.view().keys, 10);
}

#[test]
fn no_octets_whatever_make_it_panic() {
    let mut ring = member();
    let mut random = Random::new(3, 3);
    let good = [
        Message::Leaves {
            digest: 3,
            again: false,
            me: contact(3),
            leaves: alloc::vec![contact(9)],
        },
        Message::FindOwner { nonce: 1, key: RingId::ZERO, dead: alloc::vec![contact(2).id] },
        Message::Sync {
            range: message::Range { after: RingId::ZERO, up_to: RingId::ZERO },
            digest: 0,
        },
        Message::Join { nonce: 3, me: contact(3) },
        Message::Put { nonce: 3, key: RingId::ZERO, value: alloc::vec![1; 20] },
    ];
    for _ in 0..20_000 {
        let mut bytes = machine::encode(random.choose(&good).unwrap());
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.number() as u8;
        }
        let from = contact(3).endpoint();
        let received = Received {
            from,
            at: NOW.time,
            wall: NOW.wall,
            ttl: 60,
            octets: bytes.len(),
            message: &bytes,
        };
        let _ = ring.handle_input(Input::Message(received), NOW);
        drain(&mut ring);
    }
}

/// What it has sent since, by type: whom, and what.
fn sent(ring: &mut Ring) -> Vec<(Vec<Endpoint>, Message)> {
    let outputs = drain(ring).into_iter().filter_map(|output| match output {
        Output::Send(send) => Some((send.to.clone(), machine::decode(&send.message_for(0))?)),
        _ => None,
    });
    outputs.collect()
}

#[test]
fn a_stranger_says_nothing_to_the_layers_above() {
    let mut ring = member();
    let slots = alloc::vec![Slot { tag: 7, bytes: alloc::vec![1] }];
    let is_told = |ring: &mut Ring, place| {
        receive(ring, place, &Message::Heartbeat { digest: 0, slots: slots.clone() }).unwrap();
        drain(ring).iter().any(|out| matches!(out, Output::Event(Event::SlotHeard { .. })))
    };
    assert!(is_told(&mut ring, 3));
    assert!(!is_told(&mut ring, 300));
}

#[test]
fn a_liar_that_names_many_leaves_room_to_ask_neighbors_whether_they_are_there() {
    let mut ring = member();
    for round in 0..4 {
        let leaves = (0..32).map(|n| contact(100 + round * 32 + n)).collect();
        let leaves = Message::Leaves { digest: 1, again: true, me: contact(3), leaves };
        receive(&mut ring, 3, &leaves).unwrap();
    }
    sent(&mut ring);
    let id = ring.leaf_set().next().unwrap().id;
    receive(&mut ring, 3, &Message::Suspect { peers: alloc::vec![id] }).unwrap();
    let pinged = |(to, message): &(Vec<Endpoint>, Message)| {
        matches!(message, Message::Ping { .. }) && to.iter().any(|to| to.id == Some(id))
    };
    assert!(sent(&mut ring).iter().any(pinged));
}

#[test]
fn nobody_is_asked_at_an_address_that_is_a_group() {
    let mut ring = member();
    let key = contact(3).position();
    ring.read(1, key, 0, contact(3), NOW.time);
    let Some((_, Message::Get { nonce, .. })) = sent(&mut ring).pop() else { panic!() };
    let mut group = contact(50);
    group.address = SocketAddr::from(([224, 0, 0, 1], 9000));
    let holders = alloc::vec![group.clone(), contact(51)];
    receive(&mut ring, 3, &Message::Value { nonce, record: None, holders }).unwrap();
    let all: Vec<Endpoint> = sent(&mut ring).into_iter().flat_map(|(to, _)| to).collect();
    assert_eq!(all, [contact(51).endpoint()]);
}

#[test]
fn a_version_of_the_future_is_not_held() {
    let mut ring = member();
    let hold = |ring: &mut Ring, version| {
        let (key, writer) = (contact(0).position(), contact(1).id);
        let records = alloc::vec![Record { key, version, writer, value: Vec::new() }];
        receive(ring, 1, &Message::Store { nonce: 1, records }).unwrap();
        let Some((_, Message::Stored { full, .. })) = sent(ring).pop() else { panic!() };
        !full
    };
    assert!(!hold(&mut ring, u64::MAX) && !hold(&mut ring, NOW.wall.0 + 601_000_000));
    assert_eq!(ring.view().keys, 0);
    assert!(hold(&mut ring, NOW.wall.0 + 1_000_000));
}

#[test]
fn a_neighbor_that_claims_to_hold_nothing_gets_so_much_at_once_and_no_more() {
    let mut ring = member();
    for number in 0..4000u64 {
        let key = RingId::of_key(&number.to_be_bytes());
        ring.store.put(Record { key, version: 1, writer: PeerId::default(), value: Vec::new() });
    }
    let range = message::Range { after: RingId::ZERO, up_to: RingId::ZERO };
    for _ in 0..5 {
        let nothing = Message::Holding { range, end: range.up_to, entries: Vec::new() };
        receive(&mut ring, 3, &nothing).unwrap();
    }
    let stores = sent(&mut ring);
    let stores = stores.iter().filter(|(_, message)| matches!(message, Message::Store { .. }));
    assert_eq!(stores.count(), replication::REPAIRS_MAX);
}

#[test]
fn who_has_told_that_it_leaves_says_nothing_that_would_bring_it_back() {
    let mut ring = member();
    // Its leaf set has just changed, so its next heartbeat would tell that.
    let leaves = Message::Leave { nonce: 4 };
    receive(&mut ring, 4, &leaves).unwrap();
    receive(&mut ring, 3, &Message::Suspect { peers: alloc::vec![contact(5).id] }).unwrap();
    ring.timers.heartbeat = NOW.time;
    ring.handle_input(Input::Command(Command::Leave), NOW).unwrap();
    sent(&mut ring);
    while let Some((at, _)) = ring.poll_timeout() {
        ring.handle_timeout(Now { time: at, ..NOW });
    }
    let later = sent(&mut ring);
    assert!(later.iter().all(|(_, message)| matches!(message, Message::Leave { .. })), "{later:?}");
    assert!(!later.is_empty());
}

#[test]
fn waits_of_nothing_or_for_ever_are_no_waits_to_run_with() {
    for wait in [Duration::ZERO, Duration::MAX] {
        let mut config = config().ring;
        (config.heartbeat, config.finger_interval, config.lookup_timeout) = (wait, wait, wait);
        (config.repair_interval, config.probe_interval) = (wait, wait);
        (config.hop_timeout, config.missed, config.replicas) = ((wait, wait), u32::MAX, 0);
        let mut ring = Ring::new(config, contact(0), None, 1, NOW);
        let preset = Command::Preset { leaves: (1..9).map(contact).collect(), fingers: Vec::new() };
        ring.handle_input(Input::Command(preset), NOW).unwrap();
        let lookup = Command::Lookup { request: 1, key: contact(5).position() };
        ring.handle_input(Input::Command(lookup), NOW).unwrap();
        for _ in 0..100 {
            let Some((at, why)) = ring.poll_timeout() else { break };
            ring.handle_timeout(Now { time: at, ..NOW });
            drain(&mut ring);
            assert!(ring.poll_timeout().is_none_or(|(next, _)| next > at), "{wait:?}: {why}");
        }
    }
}

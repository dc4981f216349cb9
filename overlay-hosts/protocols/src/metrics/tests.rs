use std::boxed::Box;
use std::net::SocketAddr;
use std::time::Duration;
use std::vec::Vec;

use super::*;
use crate::machine::{Protocol, Send};
use crate::node;
use crate::ring::SLOT_LEN_MAX;
use crate::testing::{Net, START, address, identity};

const NOW: Now = Now { time: Time(0), wall: START };

fn config() -> node::Config {
    node::Config { metrics: Some(Config::default()), ..node::Config::default() }
}

/// Hosts anywhere on a square with sides of 100 ms, round trip.
fn square(count: usize, seed: u64) -> (Net, Vec<Coordinate>) {
    let mut random = Random::new(seed, 77);
    let mut anywhere = || {
        let mut at = Coordinate::ORIGIN;
        at.axes[..2].iter_mut().for_each(|axis| *axis = 100.0 * random.unit());
        at
    };
    let at: Vec<Coordinate> = (0..count).map(|_| anywhere()).collect();
    let mut net = Net::new(Duration::ZERO);
    let places = at.clone();
    net.latency = Box::new(move |from, to, _| {
        let micros = 500.0 * places[from].distance(&places[to]);
        Some(Duration::from_micros(micros as u64))
    });
    (net, at)
}

/// The relative error of predictions that nine of ten do not exceed.
fn p90(net: &Net, at: &[Coordinate]) -> f64 {
    let placed: Vec<Coordinate> =
        (0..at.len()).map(|place| metrics(net, place).coordinate().expect("a place")).collect();
    let pairs = (0..at.len()).flat_map(|one| (one + 1..at.len()).map(move |other| (one, other)));
    let mut errors: Vec<f64> = pairs
        .map(|(one, other)| {
            let real = at[one].distance(&at[other]);
            (placed[one].distance(&placed[other]) - real).abs() / real
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    errors[errors.len() * 9 / 10]
}

fn metrics(net: &Net, place: usize) -> &Metrics {
    net.node(place).metrics().unwrap()
}

fn join(net: &mut Net, place: usize) {
    let boot = if place == 0 { Vec::new() } else { alloc::vec![address(0)] };
    net.input(place, node::Input::Ring(crate::ring::Command::Join(boot)));
}

#[test]
fn peers_that_join_one_after_another_find_their_places() {
    let (mut net, at) = square(36, 1);
    for place in 0..at.len() {
        net.start(config());
        join(&mut net, place);
        net.run(Duration::from_secs(6));
        assert!(metrics(&net, place).coordinate().is_some(), "{place} stands nowhere");
    }
    net.run(Duration::from_secs(60));
    let off = p90(&net, &at);
    assert!(off < 0.05, "{off}");
    let told = net.events[7].iter().filter(|(_, event)| matches!(event, node::Event::Metrics(_)));
    assert_eq!(told.count(), 1);
    assert!((0..at.len()).all(|place| net.node(place).drops().total() == 0));
    let view = metrics(&net, 3).view();
    assert!(view.error.unwrap() < 5.0 && view.neighbors.len() == 32);
}

#[test]
fn peers_that_all_begin_at_once_do_not_fold_the_space() {
    for seed in 1..3 {
        let (mut net, at) = square(44, seed);
        for place in 0..at.len() {
            net.start(config());
            join(&mut net, place);
            net.run(Duration::from_millis(20));
        }
        net.run(Duration::from_secs(200));
        let off = p90(&net, &at);
        assert!(off < 0.1, "seed {seed}: {off}");
    }
}

#[test]
fn with_few_neighbors_turns_are_taken_all_along_the_ring() {
    let ring = crate::ring::Config { leaf_set: 8, ..crate::ring::Config::default() };
    let (mut net, at) = square(96, 1);
    for place in 0..at.len() {
        net.start(node::Config { ring: ring.clone(), ..config() });
        join(&mut net, place);
        net.run(Duration::from_millis(20));
    }
    net.run(Duration::from_secs(150));
    let nowhere = (0..at.len()).filter(|place| metrics(&net, *place).coordinate().is_none());
    assert_eq!(nowhere.count(), 0);
}

#[test]
fn who_measures_among_others_who_do_not_stands_at_the_origin() {
    let mut net = Net::new(Duration::from_millis(10));
    for place in 0..5 {
        net.start(if place == 3 { config() } else { node::Config::default() });
        join(&mut net, place);
        net.run(Duration::from_secs(2));
    }
    net.run(Duration::from_secs(60));
    assert_eq!(metrics(&net, 3).coordinate(), Some(Coordinate::ORIGIN));
    assert!(net.node(1).drops().of(DropReason::UnknownProtocol) > 0);
    assert!(
        net.sent.iter().all(|(place, _, send)| send.protocol != Protocol::Metrics || *place == 3)
    );
}

#[test]
fn a_peer_comes_back_to_where_it_stood() {
    let (mut net, at) = square(20, 4);
    for place in 0..at.len() {
        net.start(config());
        join(&mut net, place);
        net.run(Duration::from_secs(8));
    }
    net.run(Duration::from_secs(700));
    net.crash(5);
    net.run(Duration::from_secs(1));
    let before = net.stored[5][STORE_KEY].clone();
    net.restart(5, config());
    let stored: message::Place = machine::decode(&before).unwrap();
    let stored = message::read(&stored, 5).unwrap();
    join(&mut net, 5);
    net.run(Duration::from_secs(20));
    let back = metrics(&net, 5).coordinate().unwrap();
    assert!(back.distance(&stored) < 10.0, "{back:?} and {stored:?}");
}

#[test]
fn pairs_find_the_rates_of_both_directions() {
    // Kilobits a second: what a host sends, and what it receives.
    const UP: [u64; 6] = [500, 1000, 2000, 4000, 1500, 800];
    const DOWN: [u64; 6] = [3000, 900, 8000, 4500, 100_000, 600];
    let mut net = Net::new(Duration::from_millis(20));
    net.spread = Box::new(|from, to: SocketAddr| {
        let to = (0..6).find(|place| address(*place) == to).unwrap();
        Duration::from_micros(1500 * 8 * 1000 / UP[from].min(DOWN[to]))
    });
    for place in 0..6 {
        let metrics = Config { pair_interval: Some(Duration::from_secs(1)), ..Config::default() };
        net.start(node::Config { metrics: Some(metrics), ..node::Config::default() });
        join(&mut net, place);
        net.run(Duration::from_secs(2));
    }
    net.run(Duration::from_secs(120));
    for place in 0..6 {
        let others = || (0..6).filter(|other| *other != place);
        let up = others().map(|other| UP[place].min(DOWN[other])).max();
        let down = others().map(|other| UP[other].min(DOWN[place])).max();
        let found = metrics(&net, place).bandwidth();
        for (found, real) in [(found.0, up), (found.1, down)] {
            let (found, real) = (f64::from(found.unwrap()), real.unwrap() as f64);
            assert!((found - real).abs() / real < 0.01, "{place}: {found} for {real}");
        }
    }
}

/// A peer with neighbors, in a ring; and what it has asked them, with which nonce.
fn asking() -> (Metrics, Ring, Vec<Contact>, u64) {
    let contact = |place: usize| Contact::new(identity(place, false).id, address(place));
    let mut ring = Ring::new(crate::ring::Config::default(), contact(0), None, 1, NOW);
    let leaves: Vec<Contact> = (1..5).map(contact).collect();
    let command = crate::ring::Command::Preset { leaves: leaves.clone(), fingers: Vec::new() };
    ring.handle_input(crate::ring::Input::Command(command), NOW).unwrap();
    let mut metrics = Metrics::new(Config::default(), contact(0).id, None, 1, NOW);
    metrics.handle_input(Input::NeighborsChanged, &mut ring, NOW).unwrap();
    let (at, why) = metrics.poll_timeout().unwrap();
    assert_eq!((at, why), (Time(100_000), "new neighbors"));
    metrics.handle_timeout(&mut ring, Now { time: at, ..NOW });
    let Some(Output::Send(Send { to, shared, .. })) = metrics.poll_output() else { panic!() };
    assert_eq!(to.len(), 4);
    let Some(Message::Measure { nonce }) = machine::decode(&shared) else { panic!() };
    (metrics, ring, leaves, nonce)
}

fn says(
    metrics: &mut Metrics,
    ring: &mut Ring,
    from: &Contact,
    message: &Message,
    at: Time,
) -> Result<(), DropReason> {
    let (bytes, now) = (machine::encode(message), Now { time: at, ..NOW });
    let (from, octets, wall) = (from.endpoint(), 1472, now.wall);
    let received = Received { from, at, wall, ttl: 60, octets, message: &bytes };
    metrics.handle_input(Input::Message(received), ring, now)
}

#[test]
fn an_answer_that_was_not_asked_for_is_dropped() {
    let (mut metrics, mut ring, leaves, nonce) = asking();
    let answer = |nonce| Message::Measured { nonce, at: None };
    let at = Time(130_000);
    let stranger = Contact::new(identity(9, false).id, address(9));
    for (from, message) in [(&leaves[0], answer(nonce ^ 1)), (&stranger, answer(nonce))] {
        let dropped = says(&mut metrics, &mut ring, from, &message, at);
        assert_eq!(dropped, Err(DropReason::Malformed));
    }
    assert_eq!(says(&mut metrics, &mut ring, &leaves[0], &answer(nonce), at), Ok(()));
    assert_eq!(metrics.view().neighbors.iter().filter(|one| one.delay == Some(30.0)).count(), 1);
    let twice = says(&mut metrics, &mut ring, &leaves[0], &answer(nonce), at);
    assert_eq!(twice, Err(DropReason::Malformed));
}

#[test]
fn a_place_that_cannot_be_is_none() {
    let at = |places: &[f32]| message::read(places, 3);
    assert_eq!(at(&[1.0, -2.0, 3.0]).unwrap().axes[..4], [1.0, -2.0, 3.0, 0.0]);
    for wrong in [&[1.0, 2.0][..], &[0.0; 4], &[1.0, f32::NAN, 2.0], &[f32::INFINITY, 0.0, 0.0]] {
        assert_eq!(at(wrong), None, "{wrong:?}");
    }
    assert_eq!(at(&[1e5, -1e5, 0.0]).map(|at| at.axes[0]), Some(1e5));
    assert_eq!(at(&[1.1e5, 0.0, 0.0]), None);
    // And nobody is fitted to it.
    let (mut metrics, mut ring, leaves, nonce) = asking();
    for leaf in &leaves {
        let message = Message::Measured { nonce, at: Some(alloc::vec![f32::NAN; 5]) };
        says(&mut metrics, &mut ring, leaf, &message, Time(120_000)).unwrap();
    }
    assert!(metrics.view().neighbors.iter().all(|one| one.at.is_none() && one.delay.is_some()));
}

#[test]
fn only_what_was_sent_is_told_and_only_once() {
    let (mut metrics, mut ring, leaves, nonce) = asking();
    for leaf in &leaves {
        let answer = Message::Measured { nonce, at: None };
        says(&mut metrics, &mut ring, leaf, &answer, Time(120_000)).unwrap();
    }
    while metrics.poll_output().is_some() {}
    metrics.send_pair(Time(0));
    let Some(Output::Pair { to, size: 1500, message, .. }) = metrics.poll_output() else {
        panic!()
    };
    let Some(Message::Pair { number }) = machine::decode(&message) else { panic!() };
    let tag = identity(0, false).id.tag();
    let mut hears = |from: Endpoint, number, tag| {
        let pairs = alloc::vec![Told { tag, number, kilobits: 7000 }];
        let bytes = machine::encode(&Slot { at: None, pairs });
        metrics.handle_input(Input::Slot { from, bytes: &bytes }, &mut ring, NOW).unwrap();
        metrics.view().neighbors.iter().filter(|one| one.up == Some(7000)).count()
    };
    let other = leaves.iter().map(Contact::endpoint).find(|leaf| *leaf != to).unwrap();
    assert_eq!(hears(other, number, tag), 0);
    assert_eq!(hears(to, number ^ 1, tag), 0);
    assert_eq!(hears(to, number, tag ^ 1), 0);
    assert_eq!(hears(to, number, tag), 1);
    assert_eq!(metrics.table.find_mut(to.id.unwrap()).unwrap().up.len(), 1);
    let bytes =
        machine::encode(&Slot { at: None, pairs: alloc::vec![Told { tag, number, kilobits: 1 }] });
    metrics.handle_input(Input::Slot { from: to, bytes: &bytes }, &mut ring, NOW).unwrap();
    assert_eq!(metrics.table.find_mut(to.id.unwrap()).unwrap().up.len(), 1);
}

#[test]
fn two_of_a_pair_are_known_by_number_and_length() {
    let (mut metrics, mut ring, leaves, _) = asking();
    let mut comes = |number, at| {
        says(&mut metrics, &mut ring, &leaves[1], &Message::Pair { number }, Time(at)).unwrap();
        metrics.view().neighbors.iter().find_map(|one| one.down)
    };
    assert_eq!(comes(1, 1_000_000), None);
    assert_eq!(comes(2, 1_500_000), None); // The second of pair 1 was lost.
    assert_eq!(comes(2, 1_512_000), Some(1000));
    assert_eq!(comes(2, 1_512_001), Some(1000)); // A third one begins another.
    let stranger = Contact::new(identity(9, false).id, address(9));
    for at in [2_000_000, 2_000_100] {
        let message = Message::Pair { number: 4 };
        says(&mut metrics, &mut ring, &stranger, &message, Time(at)).unwrap();
    }
    assert_eq!(metrics.told.len(), 1);
    assert_eq!(metrics.told[0], Told { tag: leaves[1].id.tag(), number: 2, kilobits: 1000 });
}

#[test]
fn the_longest_slot_fits_and_longer_ones_are_dropped() {
    let told = Told { tag: u32::MAX, number: u32::MAX, kilobits: u32::MAX };
    let slot = |count| Slot { at: Some(alloc::vec![1e5; 8]), pairs: alloc::vec![told; count] };
    let longest = machine::encode(&slot(message::TOLD_MAX));
    assert!(longest.len() <= SLOT_LEN_MAX, "{}", longest.len());
    let (mut metrics, mut ring, leaves, _) = asking();
    let mut hears = |bytes: &[u8]| {
        let from = leaves[0].endpoint();
        metrics.handle_input(Input::Slot { from, bytes }, &mut ring, NOW)
    };
    assert_eq!(hears(&longest), Ok(()));
    assert_eq!(hears(&machine::encode(&slot(message::TOLD_MAX + 1))), Err(DropReason::Oversized));
    assert_eq!(hears(&longest[..5]), Err(DropReason::Malformed));
}

#[test]
fn values_that_cannot_work_are_bounded() {
    let config = Config {
        fit: crate::coordinates::Fit { dimensions: 99, restarts: 0 },
        interval: Duration::ZERO,
        answer_timeout: Duration::ZERO,
        pair_interval: Some(Duration::ZERO),
        pair_size: 0,
        pairs_min: 0,
        measured: usize::MAX,
    };
    let bounded = config.bounded();
    assert_eq!((bounded.fit.dimensions, bounded.fit.restarts), (8, 1));
    assert_eq!((bounded.pair_size, bounded.pairs_min), (256, 1));
    let least = crate::time::WAIT_MIN;
    assert_eq!([bounded.interval, bounded.answer_timeout], [least; 2]);
    assert_eq!(bounded.pair_interval, Some(least));
}

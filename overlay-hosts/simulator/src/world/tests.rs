use std::time::Duration;

use overlay_protocols::node::Event;

use super::carrier::{Direct, random_pairs};
use super::churn::{Churn, Lifetimes};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn world(seed: u64, hosts: usize, transport: Transport) -> World {
    let pairs = random_pairs(seed, Duration::from_millis(10), Duration::from_millis(400));
    let settings = Settings { seed, transport, signed: false };
    let mut world = World::new(settings, Box::new(Direct::new(pairs)));
    for place in 0..hosts {
        world.add_host();
        world.start(place, Config::default());
    }
    world
}

/// The first host asks all others whether Xcast reaches them, `times` times.
fn probe(world: &mut World, times: usize) {
    for _ in 0..times {
        let to = (1..world.len()).map(|place| world.contact(place).endpoint()).collect();
        world.input(0, Input::Probe(to));
    }
}

/// How many answers the first host gets up to a moment.
fn answers(world: &mut World, until: Time) -> usize {
    let mut answers = 0;
    while let Some(happening) = world.next(until) {
        answers += usize::from(matches!(
            happening,
            Happening::Told { place: 0, event: Event::XcastReaches(_) }
        ));
    }
    answers
}

#[test]
fn addresses_are_of_places() {
    for place in [0, 1, 254, 255, 65_535, 100_000, 2_000_000] {
        assert_eq!(place_of(address(place)), Some(place));
    }
}

#[test]
fn a_datagram_to_several_hosts_leaves_once_and_arrives_once_at_each() {
    let mut world = world(1, 4, Transport::Xcast);
    probe(&mut world, 1);
    assert_eq!(answers(&mut world, Time(0) + SECOND), 3);
    let sent = world.sent();
    // The probe, and three answers.
    assert_eq!((sent.datagrams, sent.delivered, sent.receivers), (4, 6, 6));
}

#[test]
fn more_receivers_than_a_packet_has_room_for_get_more_packets() {
    let mut world = world(1, 1 + 2 * DESTINATIONS_MAX + 1, Transport::Xcast);
    probe(&mut world, 1);
    assert_eq!(world.sent().datagrams, 3);
    assert_eq!(answers(&mut world, Time(0) + SECOND), 2 * DESTINATIONS_MAX + 1);
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_gives_others() {
    let hash = |seed| {
        let mut world = world(seed, 50, Transport::Unicast);
        world.faults_mut().loss = 0.1;
        world.faults_mut().delay = Duration::from_millis(30);
        probe(&mut world, 20);
        world.run_until(Time(0) + 2 * SECOND);
        (world.hash(), world.sent())
    };
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7).0, hash(8).0);
}

#[test]
fn as_many_are_lost_and_doubled_as_was_asked_for() {
    let run = |loss, duplication| {
        let mut world = world(3, 101, Transport::Xcast);
        world.faults_mut().loss = loss;
        world.faults_mut().duplication = duplication;
        probe(&mut world, 100);
        world.run_until(Time(0) + 2 * SECOND);
        world.sent().delivered as f64
    };
    // 10,000 probes and the answers to those that arrive; what arrives twice is answered once.
    assert_eq!(run(0.0, 0.0), 20_000.0);
    let (lossy, twice) = (run(0.2, 0.0), run(0.0, 0.5));
    assert!((lossy - 10_000.0 * (0.8 + 0.64)).abs() < 300.0, "{lossy}");
    assert!((twice - 30_000.0).abs() < 300.0, "{twice}");
}

#[test]
fn what_is_late_is_late_by_no_more_than_was_asked_for() {
    let mut world = world(3, 2, Transport::Xcast);
    let (path, _) = random_pairs(3, Duration::from_millis(10), Duration::from_millis(400))(0, 1);
    let late = Duration::from_millis(50);
    assert!(path > late, "no answer is there before the last probe has come");
    world.faults_mut().delay = late;
    probe(&mut world, 200);
    let mut delivered = |after| {
        world.run_until(Time(0) + after);
        world.sent().delivered
    };
    assert_eq!(delivered(path - Duration::from_micros(1)), 0);
    let early = delivered(path + late / 2);
    assert!((70..130).contains(&early), "half of the probes, not {early}");
    assert_eq!(delivered(path + late), 200);
}

#[test]
fn faults_do_not_change_each_other() {
    let fates = |duplication, delay| {
        let mut faults = Faults::none(5);
        (faults.loss, faults.duplication, faults.delay) = (0.3, duplication, delay);
        let is_lost = |_| faults.fate(0, 1).next().is_none();
        (0..1000).map(is_lost).collect::<Vec<bool>>()
    };
    let alone = fates(0.0, Duration::ZERO);
    assert!(alone.contains(&true) && alone.contains(&false));
    assert_eq!(alone, fates(0.5, SECOND));
}

#[test]
fn sides_of_a_split_hear_nothing_of_each_other_until_it_heals() {
    let mut world = world(5, 10, Transport::Xcast);
    world.faults_mut().split((0..10).map(|place| u32::from(place >= 5)).collect());
    probe(&mut world, 1);
    assert_eq!(answers(&mut world, Time(0) + SECOND), 4);
    world.faults_mut().heal();
    probe(&mut world, 1);
    assert_eq!(answers(&mut world, Time(0) + 2 * SECOND), 9);
}

#[test]
fn who_has_crashed_hears_nothing_and_starts_again_as_the_same_or_another() {
    let mut world = world(5, 2, Transport::Xcast);
    let before = world.contact(1).id;
    world.crash(1);
    probe(&mut world, 1);
    assert_eq!(answers(&mut world, Time(0) + SECOND), 0);
    world.start(1, Config::default());
    assert_eq!(world.contact(1).id, before);
    probe(&mut world, 1);
    assert_eq!(answers(&mut world, Time(0) + 2 * SECOND), 1);
    world.vacate(1);
    assert_ne!(world.contact(1).id, before);
}

#[test]
fn marks_come_in_their_time_and_clocks_on_the_wall_are_askew() {
    let mut world = world(5, 2, Transport::Xcast);
    world.set_skew(1, -2_000_000);
    world.mark(Time(500), 1, 77);
    world.mark(Time(400), 0, 78);
    assert_eq!(world.next(Time(450)), Some(Happening::Mark { place: 0, tag: 78 }));
    assert_eq!(world.next(Time(450)), None);
    assert_eq!(world.next(Time(1000)), Some(Happening::Mark { place: 1, tag: 77 }));
    assert_eq!(world.at(0).wall.0 - world.at(1).wall.0, 2_000_000);
}

#[test]
fn lifetimes_are_about_their_mean_and_pareto_has_the_longer_ones() {
    let mean = Duration::from_secs(600);
    let draw = |lifetimes| {
        let mut churn = Churn::new(lifetimes, 0.5, 9);
        let all: Vec<f64> = (0..20_000).map(|_| churn.lifetime().as_secs_f64()).collect();
        let crashes = (0..20_000).filter(|_| churn.is_crash()).count();
        assert!((9_700..10_300).contains(&crashes), "{crashes}");
        let short = all.iter().filter(|one| **one < 600.0).count() as f64 / 20_000.0;
        (all.iter().sum::<f64>() / 20_000.0, short)
    };
    let (average, short) = draw(Lifetimes::Exponential { mean });
    // 1 - 1/e
    assert!((average - 600.0).abs() < 15.0 && (short - 0.632).abs() < 0.01, "{average} {short}");
    let (average, short) = draw(Lifetimes::Pareto { shape: 3.0, mean });
    // 1 - (2/3)^3
    assert!((average - 600.0).abs() < 15.0 && (short - 0.704).abs() < 0.01, "{average} {short}");
}

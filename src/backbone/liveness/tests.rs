use std::collections::BTreeMap;

use super::*;

const MS: u64 = 1000;

/// An end behind a path that delays everything by half of `round_trip` each way.
struct Path {
    liveness: Liveness,
    now: u64,
    round_trip: u64,
    /// Answers on their way, by their arrival.
    coming: BTreeMap<(u64, u64), ()>,
    sent: Vec<u64>,
    events: Vec<(u64, Event)>,
    answered: u64,
}

impl Path {
    fn new(round_trip: u64) -> Path {
        let mut liveness = Liveness::new(u64::MAX - 5); // numbers wrap
        liveness.start(Time(0));
        Path {
            liveness,
            now: 0,
            round_trip,
            coming: BTreeMap::new(),
            sent: vec![],
            events: vec![],
            answered: 0,
        }
    }

    /// Lets time pass; `alive` says of the moment whether what is sent then is answered.
    fn until(&mut self, end: u64, alive: impl Fn(u64) -> bool) {
        loop {
            let arrival = self.coming.keys().next().map(|(at, _)| *at);
            let timer = self.liveness.poll_timeout().map(|time| time.0);
            let Some(next) = [arrival, timer].into_iter().flatten().min() else { break };
            if next > end {
                break;
            }
            assert!(next >= self.now, "time does not go back");
            self.now = next;
            if arrival == Some(next) {
                let ((_, number), ()) = self.coming.pop_first().unwrap();
                self.liveness.handle_answer(number, Time(next));
                self.answered = next;
            } else {
                let before = self.liveness.poll_timeout();
                while let Some(number) = self.liveness.poll_send(Time(next)) {
                    self.sent.push(next);
                    if alive(next) {
                        self.coming.insert((next + self.round_trip, number), ());
                    }
                }
                assert_ne!(self.liveness.poll_timeout(), before, "nothing done at {next}");
            }
            while let Some(event) = self.liveness.poll_event() {
                self.events.push((next, event));
            }
        }
        self.now = end;
    }
}

#[test]
fn an_end_is_up_after_three_answers_and_down_after_three_misses() {
    let mut path = Path::new(10 * MS);
    path.until(1000 * MS - 1, |_| true);
    assert_eq!(path.sent, [0, 200 * MS, 400 * MS, 600 * MS, 800 * MS]);
    assert_eq!(path.events, [(410 * MS, Event::Up)]);
    path.until(3000 * MS, |_| false);
    assert_eq!(path.events[1..], [(1600 * MS, Event::Down)], "1000, 1200 and 1400 are unanswered");
    assert_eq!(path.liveness.heard(), Some(Time(810 * MS)));
}

#[test]
fn a_dead_end_is_known_within_800_ms_of_its_last_answer() {
    for round_trip in (0..=1500).step_by(13).map(|ms| ms * MS) {
        for death in (5000..5200).step_by(7).map(|ms| ms * MS) {
            let mut path = Path::new(round_trip);
            path.until(10_000 * MS, |now| now < death);
            let [(_, Event::Up), (down, Event::Down)] = path.events[..] else {
                panic!("round trip {round_trip}, death {death}: {:?}", path.events);
            };
            let after = down - path.answered;
            assert!(after <= 800 * MS, "round trip {round_trip}, death {death}: after {after}");
        }
    }
}

#[test]
fn two_misses_in_a_row_are_nothing() {
    let mut path = Path::new(30 * MS);
    path.until(60_000 * MS, |now| (now / (200 * MS)).is_multiple_of(3));
    assert_eq!(path.events, [], "never three answers in a row");
    let mut path = Path::new(30 * MS);
    path.until(60_000 * MS, |now| now < 1000 * MS || (now / (200 * MS)).is_multiple_of(3));
    assert_eq!(path.events, [(430 * MS, Event::Up)], "never three misses in a row");
    assert!((path.liveness.loss() - 2.0 / 3.0).abs() < 0.05, "{}", path.liveness.loss());
}

#[test]
fn who_flaps_needs_more_answers_each_time() {
    let mut path = Path::new(0);
    let mut needed = Vec::new();
    for _ in 0..7 {
        let (start, events) = (path.sent.len(), path.events.len());
        let revived = path.now;
        while path.events.len() == events {
            path.until(path.now + 200 * MS, |_| true);
        }
        assert_eq!(path.events[events].1, Event::Up);
        needed.push((start..path.sent.len()).filter(|at| path.sent[*at] > revived).count());
        path.until(path.now + 2000 * MS, |_| false);
        assert_eq!(path.events.last().unwrap().1, Event::Down);
    }
    assert_eq!(needed[1..], [6, 12, 24, 48, 64, 64]);
    path.until(path.now + 64 * 200 * MS, |_| true);
    assert!(path.liveness.is_up());
    path.until(path.now + STEADY, |_| true);
    path.until(path.now + 2000 * MS, |_| false);
    let revived = path.now;
    path.until(revived + 3 * 200 * MS, |_| true);
    assert!(path.liveness.is_up(), "a minute without trouble and all is forgiven");
}

#[test]
fn the_round_trip_is_smoothed_and_far_ends_come_up_too() {
    let mut path = Path::new(40 * MS);
    path.until(3000 * MS, |_| true);
    assert_eq!(
        path.liveness.round_trip().map(|time| (time.smoothed, time.least)),
        Some((40 * MS, 40 * MS))
    );
    // RFC 6298 with alpha 1/8 and beta 1/4, by hand.
    let first = RoundTrip::add(None, 800);
    assert_eq!((first.smoothed, first.variation, first.least), (800, 400, 800));
    let second = RoundTrip::add(Some(first), 400);
    assert_eq!((second.smoothed, second.variation, second.least), (750, 400, 400));
    for round_trip in [199, 200, 201, 600, 1900] {
        let mut path = Path::new(round_trip * MS);
        path.until(60_000 * MS, |_| true);
        assert_eq!(path.events.len(), 1, "{round_trip} ms: {:?}", path.events);
        assert_eq!(path.liveness.loss(), 0.0, "{round_trip} ms");
    }
}

#[test]
fn repeated_forged_and_ancient_answers_mean_nothing() {
    let mut liveness = Liveness::new(100);
    liveness.start(Time(0));
    assert_eq!(liveness.poll_send(Time(0)), Some(100));
    assert_eq!(liveness.poll_send(Time(0)), None);
    for number in [100, 100, 100, 99, 101, u64::MAX, 0, 100] {
        liveness.handle_answer(number, Time(1));
    }
    assert_eq!((liveness.is_up(), liveness.answers), (false, 1));
    for turn in 1..=100 {
        liveness.poll_send(Time(turn * INTERVAL));
    }
    liveness.handle_answer(101, Time(100 * INTERVAL));
    assert_eq!(liveness.answers, 0);
    assert_eq!(liveness.sent.len(), MEMORY);
}

#[test]
fn who_was_held_up_itself_blames_nobody() {
    let mut path = Path::new(10 * MS);
    path.until(2000 * MS, |_| true);
    let late = Time(60_000 * MS);
    let number = path.liveness.poll_send(late).unwrap();
    assert_eq!(path.liveness.poll_send(late), None, "what was not sent is not made up for");
    assert_eq!(path.liveness.poll_timeout(), Some(Time(late.0 + INTERVAL)));
    path.liveness.handle_answer(number, Time(late.0 + 10 * MS));
    assert!(path.liveness.is_up() && path.liveness.poll_event().is_none());
}

#[test]
fn who_cannot_be_asked_is_down_and_waits_for_nothing() {
    let mut path = Path::new(10 * MS);
    path.until(2000 * MS, |_| true);
    path.liveness.stop(Time(2000 * MS));
    assert_eq!(path.liveness.poll_event(), Some(Event::Down));
    assert_eq!((path.liveness.poll_event(), path.liveness.poll_timeout()), (None, None));
    path.liveness.start(Time(3000 * MS));
    assert!(path.liveness.poll_send(Time(3000 * MS)).is_some());
    // Who takes leave again and again is not unsteady.
    for at in [4, 6, 8] {
        path.until(Time(at * 1000 * MS).0, |_| true);
        path.liveness.stop(Time(at * 1000 * MS));
        path.liveness.start(Time(at * 1000 * MS));
        path.until(at * 1000 * MS + 700 * MS, |_| true);
        assert!(path.liveness.is_up(), "up after three answers, at {at} s");
    }
}

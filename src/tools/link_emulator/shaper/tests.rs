//! Shapers alone, in made-up time.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn at(shaper: &mut Shaper, octets: usize, now: Duration) -> Duration {
    shaper.push(octets, now).unwrap().at
}

#[test]
fn a_frame_takes_its_octets_by_the_rate() {
    // 1,500 octets are 12,000 bits: 12 ms at 1 Mbit/s.
    let quality = Quality { rate: Some(1_000_000), ..Quality::default() };
    let mut shaper = Shaper::new(quality, 1);
    assert_eq!(at(&mut shaper, 1500, 5 * MS), 17 * MS);
    // The next one waits for it, and one that comes later finds the link free.
    assert_eq!(at(&mut shaper, 750, 6 * MS), 23 * MS);
    assert_eq!(at(&mut shaper, 125, 30 * MS), 31 * MS);
    // 1 octet at 3 bit/s: 2.666666667 s, never less than it takes.
    let mut slow = Shaper::new(Quality { rate: Some(3), ..Quality::default() }, 1);
    assert_eq!(at(&mut slow, 1, Duration::ZERO), Duration::from_nanos(2_666_666_667));
}

#[test]
fn the_delay_is_added_behind_the_rate() {
    let quality = Quality { rate: Some(1_000_000), delay: 25 * MS, ..Quality::default() };
    let mut shaper = Shaper::new(quality, 1);
    assert_eq!(at(&mut shaper, 1500, Duration::ZERO), 37 * MS);
    assert_eq!(at(&mut shaper, 1500, Duration::ZERO), 49 * MS);
    let mut no_rate = Shaper::new(Quality { rate: None, ..quality }, 1);
    assert_eq!(at(&mut no_rate, 1500, MS), 26 * MS);
    assert_eq!(at(&mut no_rate, 1500, MS), 26 * MS);
}

#[test]
fn as_many_frames_wait_as_the_queue_takes() {
    let quality = Quality { rate: Some(1_000_000), queue: 3, ..Quality::default() };
    let mut shaper = Shaper::new(quality, 1);
    let taken = (0..10).filter(|_| shaper.push(125, Duration::ZERO).is_ok()).count();
    assert_eq!(taken, 4, "one is being sent, three wait");
    // A millisecond later one more is being sent, so one more may wait.
    assert_eq!(at(&mut shaper, 125, MS), 5 * MS);
    assert_eq!(shaper.push(125, MS), Err(Dropped::Queue));
    // No queue at all: a frame finds the link free, or it is dropped.
    let mut none = Shaper::new(Quality { queue: 0, ..quality }, 1);
    assert_eq!(at(&mut none, 125, Duration::ZERO), MS);
    assert_eq!(none.push(125, MS / 2), Err(Dropped::Queue));
    assert_eq!(at(&mut none, 125, MS), 2 * MS);
}

#[test]
fn as_many_octets_wait_as_the_queue_takes() {
    let quality = Quality { rate: Some(1_000_000), queue_octets: 250, ..Quality::default() };
    let mut shaper = Shaper::new(quality, 1);
    let pushed = [125, 125, 125, 1].map(|octets| shaper.push(octets, Duration::ZERO).is_ok());
    assert_eq!(pushed, [true, true, true, false]);
    // What has been begun no longer waits: room for 125 octets, but not for 126.
    assert_eq!(shaper.push(126, MS), Err(Dropped::Queue));
    assert_eq!(at(&mut shaper, 125, MS), 4 * MS);
}

#[test]
fn the_share_that_is_lost_is_the_one_asked_for_and_the_seed_says_which() {
    let lost = |loss, seed| {
        let mut shaper = Shaper::new(Quality { loss, ..Quality::default() }, seed);
        let all = (0..100_000).map(|_| shaper.push(100, MS) == Err(Dropped::Loss));
        all.collect::<Vec<bool>>()
    };
    let count = |lost: &[bool]| lost.iter().filter(|lost| **lost).count();
    assert_eq!(count(&lost(0.0, 1)), 0);
    assert_eq!(count(&lost(1.0, 1)), 100_000);
    let one = lost(0.01, 1);
    // Four times the standard deviation, 31.5.
    assert!(count(&one).abs_diff(1000) < 126, "{}", count(&one));
    assert_eq!(one, lost(0.01, 1));
    assert_ne!(one, lost(0.01, 2));
}

#[test]
fn a_lost_frame_takes_its_time_on_the_link() {
    let quality = Quality { rate: Some(1_000_000), loss: 1.0, ..Quality::default() };
    let mut shaper = Shaper::new(quality, 1);
    assert_eq!(shaper.push(125, Duration::ZERO), Err(Dropped::Loss));
    shaper.quality.loss = 0.0;
    assert_eq!(at(&mut shaper, 125, Duration::ZERO), 2 * MS);
}

#[test]
fn jitter_spreads_and_lets_nothing_overtake() {
    let quality = Quality { delay: 25 * MS, jitter: 2 * MS, ..Quality::default() };
    let mut shaper = Shaper::new(quality, 7);
    // Far apart: each has its own delay, over the whole span.
    let delays: Vec<_> =
        (0..1000).map(|n| at(&mut shaper, 100, n * 10 * MS) - n * 10 * MS).collect();
    let (least, most) = (*delays.iter().min().unwrap(), *delays.iter().max().unwrap());
    assert!(least >= 23 * MS && least < 23 * MS + MS / 10, "{least:?}");
    assert!(most <= 27 * MS && most > 27 * MS - MS / 10, "{most:?}");
    let mean = delays.iter().sum::<Duration>() / 1000;
    assert!(mean.abs_diff(25 * MS) < MS / 5, "{mean:?}");
    // Close together: in order.
    let start = 20_000 * MS;
    let close: Vec<_> = (0..1000).map(|n| at(&mut shaper, 100, start + n * MS / 10)).collect();
    assert!(close.is_sorted());
}

#[test]
fn only_frames_that_are_asked_to_overtake_do() {
    let quality = Quality { delay: 25 * MS, reorder: 0.1, ..Quality::default() };
    let mut shaper = Shaper::new(quality, 3);
    let delays: Vec<_> = (0..10_000).map(|n| at(&mut shaper, 100, n * MS) - n * MS).collect();
    assert!(delays.iter().all(|delay| delay.is_zero() || *delay == 25 * MS));
    let overtaking = delays.iter().filter(|delay| delay.is_zero()).count();
    assert!(overtaking.abs_diff(1000) < 120, "{overtaking}");
}

#[test]
fn a_share_of_frames_comes_twice() {
    let mut shaper = Shaper::new(Quality { duplicate: 0.2, ..Quality::default() }, 3);
    let twice = (0..10_000).filter(|_| shaper.push(100, MS).unwrap().is_twice).count();
    assert!(twice.abs_diff(2000) < 160, "{twice}");
}

#[test]
fn a_clock_that_goes_back_changes_no_order() {
    let quality = Quality { rate: Some(1_000_000), delay: MS, ..Quality::default() };
    let mut shaper = Shaper::new(quality, 3);
    assert_eq!(at(&mut shaper, 125, 10 * MS), 12 * MS);
    assert_eq!(at(&mut shaper, 125, 2 * MS), 13 * MS);
    let mut no_rate = Shaper::new(Quality { rate: None, ..quality }, 3);
    assert_eq!(at(&mut no_rate, 125, 10 * MS), 11 * MS);
    assert_eq!(at(&mut no_rate, 125, 2 * MS), 11 * MS);
}

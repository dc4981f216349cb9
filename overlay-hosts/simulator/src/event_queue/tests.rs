use proptest::prelude::*;

use super::candidates::{Calendar, Heap};
use super::*;

/// Pushes at `spans` after the last event taken, with a pop after each number that is even; all
/// that comes out, and what a sorted list would have given.
/// What has come, and when.
type Order = Vec<(Time, u32)>;

fn against_a_list<Q: EventQueue + Default>(spans: &[u64]) -> (Order, Order) {
    let (mut queue, mut list) = (Q::default(), Vec::<(Time, u32)>::new());
    let (mut taken, mut expected) = (Vec::new(), Vec::new());
    let mut now = Time(0);
    let mut take = |queue: &mut Q, list: &mut Vec<(Time, u32)>, now: &mut Time| {
        let earliest = list.iter().map(|(at, _)| *at).min()?;
        let index = list.iter().position(|(at, _)| *at == earliest)?;
        expected.push(list.remove(index));
        assert_eq!(queue.next_at(), Some(earliest));
        let event = queue.pop()?;
        *now = event.at;
        taken.push((event.at, event.what));
        Some(())
    };
    for (number, span) in spans.iter().enumerate() {
        let at = Time(now.0 + span);
        queue.push(at, 0, number as u32);
        list.push((at, number as u32));
        if span % 2 == 0 {
            take(&mut queue, &mut list, &mut now);
        }
    }
    while take(&mut queue, &mut list, &mut now).is_some() {}
    assert!(queue.pop().is_none());
    (taken, expected)
}

fn spans() -> impl Strategy<Value = Vec<u64>> {
    let span =
        prop_oneof![0u64..3, 0u64..3_000, 10_000u64..400_000, 5_000_000u64..80_000_000_000u64];
    proptest::collection::vec(span, 0..400)
}

proptest! {
    #[test]
    fn every_queue_gives_events_in_the_order_of_a_sorted_list(spans in spans()) {
        let (taken, expected) = against_a_list::<Calendar>(&spans);
        prop_assert_eq!(taken, expected);
        let (taken, expected) = against_a_list::<Heap>(&spans);
        prop_assert_eq!(taken, expected);
        let (taken, expected) = against_a_list::<Wheel>(&spans);
        prop_assert_eq!(taken, expected);
    }
}

#[test]
fn events_of_one_moment_come_in_the_order_that_they_were_put_in() {
    let mut queue = Wheel::default();
    for what in 0..100 {
        queue.push(Time(5), 0, what);
    }
    queue.push(Time(4), 0, 1000);
    let taken: Vec<u32> = std::iter::from_fn(|| queue.pop()).map(|event| event.what).collect();
    assert_eq!(taken, [1000].into_iter().chain(0..100).collect::<Vec<u32>>());
}

#[test]
fn an_event_is_small() {
    assert_eq!(size_of::<Event>(), 24);
}

//! The comparison of event queues.

use std::time::Instant;

use overlay_protocols::Time;
use overlay_protocols::random::Random;

use super::candidates::{Calendar, Heap};
use super::{EventQueue, Wheel};

/// What one queue needs.
pub struct Holds {
    /// Which queue.
    pub queue: &'static str,
    /// How many events were pending all the time.
    pub pending: usize,
    /// To take one and to put one back.
    pub nanoseconds: f64,
}

/// Measures all queues with so many events pending: the best of three.
pub fn compare(pending: usize, holds: usize) -> Vec<Holds> {
    let hold = |queue, measure: &dyn Fn() -> f64| {
        let nanoseconds = (0..3).map(|_| measure()).fold(f64::INFINITY, f64::min);
        Holds { queue, pending, nanoseconds }
    };
    vec![
        hold("calendar", &|| measure::<Calendar>(pending, holds)),
        hold("binary-heap", &|| measure::<Heap>(pending, holds)),
        hold("timer-wheel", &|| measure::<Wheel>(pending, holds)),
    ]
}

/// How far away an event of an overlay is: timers and messages, in microseconds.
fn span(random: &mut Random) -> u64 {
    match random.below(5) {
        0 => 5_000_000 + random.below(5_000_000),
        _ => 10_000 + random.below(390_000),
    }
}

fn measure<Q: EventQueue + Default>(pending: usize, holds: usize) -> f64 {
    let mut random = Random::new(7, 0);
    let mut queue = Q::default();
    for _ in 0..pending {
        queue.push(Time(span(&mut random)), 0, 0);
    }
    // Until the mix is the one that stays.
    let mut hold = |times: usize| {
        for _ in 0..times {
            let Some(event) = queue.pop() else { return };
            queue.push(Time(event.at.0 + span(&mut random)), event.place, event.what);
        }
    };
    hold(2 * pending);
    let start = Instant::now();
    hold(holds);
    start.elapsed().as_nanos() as f64 / holds as f64
}

//! What others send over the links with a rate, so that packets find queues there.
//!
//! It is drawn for each span of time of each direction of a link by itself, when a packet first comes
//! in that span: nothing is spent where nobody looks, and the same seed gives the same packets.

use std::time::Duration;

use overlay_protocols::random::Random;
use overlay_protocols::time::Time;

use super::queue::{Queue, serialization};
use crate::underlay::Crossing;

/// The stream of a seed.
const STREAM: u64 = 0x6372_6f73_7321;
/// A span is as long as so many of the longest packets. Queues are empty long before, as long as
/// the load is below one half.
const SPAN_PACKETS: u32 = 20;
/// Lengths of IP packets in octets, and how many in twelve have them: the simple Internet mix.
const MIX: [(usize, u64); 3] = [(40, 7), (576, 4), (1500, 1)];
const MIXED: u64 = 12;

/// Packets that come at random, the same share of the rate on every link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CrossTraffic {
    /// The share, from 0 to 1.
    pub(super) load: f64,
    /// What decides it.
    pub(super) seed: u64,
}

impl CrossTraffic {
    /// Puts into a queue what comes before a packet that comes `at`.
    pub(super) fn fill(
        &self,
        queue: &mut Queue,
        crossing: Crossing,
        (now, at): (Time, Time),
        rate: u64,
    ) {
        let long = serialization(1500, rate) * SPAN_PACKETS;
        let length = (long.as_micros() as u64).max(1);
        let number = at.0 / length;
        for span in number.saturating_sub(1)..=number {
            if queue.begin_span(span, now.0 / length) {
                queue.expect(self.packets(crossing, span, length, rate));
            }
        }
        queue.advance(now, at, rate);
    }

    /// All packets of a span, in order.
    fn packets(&self, crossing: Crossing, span: u64, length: u64, rate: u64) -> Vec<(Time, usize)> {
        let direction = (crossing.link as u64) << 1 | u64::from(crossing.back);
        let seed = Random::new(self.seed ^ span, direction).number();
        let mut random = Random::new(seed, STREAM);
        let octets: u64 = MIX.iter().map(|(octets, count)| *octets as u64 * count).sum();
        let mean = octets as f64 / MIXED as f64 * 8e6 / (rate.max(1) as f64 * self.load);
        if !mean.is_finite() {
            return Vec::new();
        }
        let (mut packets, mut at) = (Vec::new(), 0.0);
        loop {
            at -= mean * libm::log(1.0 - random.unit());
            if at >= length as f64 {
                return packets;
            }
            let mut which = random.below(MIXED);
            let length_of = MIX.iter().find(|(_, count)| {
                let is_it = which < *count;
                which = which.saturating_sub(*count);
                is_it
            });
            let octets = length_of.map_or(0, |(octets, _)| *octets);
            packets.push((Time(span * length) + Duration::from_micros(at as u64), octets));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Crossing = Crossing { link: 3, back: false };

    #[test]
    fn it_is_its_share_of_the_rate_and_all_lengths_are_there() {
        for (rate, load) in [(1_000_000, 0.3), (100_000_000, 0.3), (10_000_000, 0.1)] {
            let cross = CrossTraffic { load, seed: 5 };
            let length = 20 * serialization(1500, rate).as_micros() as u64;
            let all: Vec<(Time, usize)> =
                (0..2000).flat_map(|span| cross.packets(UP, span, length, rate)).collect();
            let octets: usize = all.iter().map(|(_, octets)| octets).sum();
            let share = octets as f64 * 8e6 / (2000.0 * length as f64) / rate as f64;
            assert!((share - load).abs() < 0.05 * load, "{share} for {load} at {rate}");
            assert!(all.is_sorted_by_key(|(at, _)| *at));
            let share = |octets| {
                let count = all.iter().filter(|packet| packet.1 == octets).count();
                12.0 * count as f64 / all.len() as f64
            };
            let shares = MIX.map(|(octets, count)| (share(octets) - count as f64).abs());
            assert!(shares.iter().all(|off| *off < 0.3), "{shares:?}");
        }
    }

    #[test]
    fn a_span_is_drawn_once_and_other_links_have_others() {
        let cross = CrossTraffic { load: 0.3, seed: 5 };
        let down = Crossing { back: true, ..UP };
        let of = |crossing| cross.packets(crossing, 7, 240_000, 1_000_000);
        assert_eq!(of(UP), of(UP));
        assert_ne!(of(UP), of(down));
        let (mut queue, mut waited) = (Queue::default(), 0);
        for number in 0..500u64 {
            let at = Time(number * 300_000);
            cross.fill(&mut queue, UP, (at, at), 1_000_000);
            // Twice is as good as once.
            cross.fill(&mut queue, UP, (at, at), 1_000_000);
            let left = queue.take(at, at, 125, 1_000_000);
            waited += u32::from(left > at + Duration::from_millis(1));
        }
        // Who comes at any time finds the link taken in three of ten cases.
        assert!((110..190).contains(&waited), "{waited}");
    }

    #[test]
    fn what_comes_behind_a_packet_does_not_hold_it_up() {
        let cross = CrossTraffic { load: 0.45, seed: 9 };
        let (mut queue, mut free) = (Queue::default(), 0);
        for number in 0..200u64 {
            let at = Time(number * 500_000);
            cross.fill(&mut queue, UP, (at, at), 1_000_000);
            let first = queue.take(at, at, 1500, 1_000_000);
            cross.fill(&mut queue, UP, (at, at), 1_000_000);
            // Two that come at once leave one behind the other, whatever comes later.
            let second = queue.take(at, at, 1500, 1_000_000);
            assert_eq!(second.since(first), Duration::from_millis(12));
            free += u32::from(first.since(at) == Duration::from_millis(12));
        }
        assert!((80..140).contains(&free), "{free}");
    }

    #[test]
    fn none_is_none() {
        let cross = CrossTraffic { load: 0.0, seed: 5 };
        assert!(cross.packets(UP, 1, 1_000_000, 1_000_000).is_empty());
    }
}

//! Budgets: how many live destinations a source may send to a second (WIRE.md R13), so that a small
//! packet to many cannot be made into a flood.
//!
//! Each source is held to a rate with room for a second's worth at once, by its theoretical
//! arrival time (the generic cell rate algorithm): when all that it sent so far would be paid
//! for. A source whose time has come is as good as new, so its place can be taken by another.
//! Places are few and fixed: four for each of 1024 hash values. A new source finds its four taken
//! only while as many others are being paid for, and is then refused.

use std::net::IpAddr;

use super::Time;
use crate::fib::mix;
use crate::wire::xcast4::DESTINATIONS_MAX;

const SETS: usize = 1024;
const WAYS: usize = 4;
const SECOND: u64 = 1_000_000;

#[derive(Clone, Copy, Default)]
struct Place {
    source: u128,
    /// Until when, in microseconds, the source has to pay; not after `now` if it is free.
    paid_at: u64,
}

#[derive(Default)]
pub(super) struct Budgets {
    /// Live destinations a second; 0 = unlimited.
    rate: u32,
    /// Keeps sources from choosing where they fall.
    secret: u64,
    /// Empty while there is no limit.
    places: Vec<[Place; WAYS]>,
}

impl Budgets {
    /// Takes up a rate; a source's debts are kept where it stays the same.
    pub(super) fn prepare(&mut self, rate: u32, secret: u64) {
        self.secret = secret;
        if rate != self.rate {
            self.rate = rate;
            let sets = if rate == 0 { 0 } else { SETS };
            self.places = vec![[Place::default(); WAYS]; sets];
        }
    }

    /// Whether a source may send to `live` destinations now. If so, they are charged.
    #[inline]
    pub(super) fn allow(&mut self, source: IpAddr, live: u32, now: Time) -> bool {
        self.rate == 0 || self.charge(source, live, now)
    }

    fn charge(&mut self, source: IpAddr, live: u32, Time(now): Time) -> bool {
        let source = match source {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let rate = u64::from(self.rate);
        // At least the longest list fits at once, however low the rate.
        let room = SECOND.max(DESTINATIONS_MAX as u64 * SECOND / rate);
        let cost = u64::from(live) * SECOND / rate;
        let hash = mix(mix((source >> 64) as u64 ^ self.secret) ^ source as u64);
        let set = &mut self.places[hash as usize % SETS];
        let known = set.iter().position(|place| place.source == source && place.paid_at > now);
        let place = known.or_else(|| set.iter().position(|place| place.paid_at <= now));
        let Some(place) = place.map(|at| &mut set[at]) else { return false };
        let paid_at = place.paid_at.max(now) + cost;
        let allowed = paid_at - now <= room;
        if allowed {
            *place = Place { source, paid_at };
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(source: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(source).into()
    }

    fn budgets(rate: u32) -> Budgets {
        let mut budgets = Budgets::default();
        budgets.prepare(rate, 7);
        budgets
    }

    /// How many of `count` packets to `live` destinations, one each millisecond, are allowed.
    fn allowed(budgets: &mut Budgets, source: u32, live: u32, start: u64, count: u64) -> u64 {
        let times = (0..count).map(|at| Time(start + at * 1000));
        times.filter(|now| budgets.allow(v4(source), live, *now)).count() as u64
    }

    #[test]
    fn without_a_limit_everything_passes() {
        assert_eq!(allowed(&mut budgets(0), 1, 127, 0, 10_000), 10_000);
    }

    #[test]
    fn a_source_has_a_second_at_once_and_then_its_rate() {
        let mut budgets = budgets(1000);
        // 10 destinations a millisecond are ten times the rate.
        let first = allowed(&mut budgets, 1, 10, 0, 1000);
        assert!((199..=201).contains(&first), "{first}: 100 at once and 100 in the second");
        let second = allowed(&mut budgets, 1, 10, 1_000_000, 1000);
        assert!((99..=101).contains(&second), "{second}");
        // After a rest there is a second's worth again.
        let rested = allowed(&mut budgets, 1, 10, 10_000_000, 1000);
        assert!((199..=201).contains(&rested), "{rested}");
    }

    #[test]
    fn at_its_rate_a_source_is_never_refused() {
        assert_eq!(allowed(&mut budgets(2000), 1, 2, 0, 100_000), 100_000);
    }

    #[test]
    fn one_source_does_not_use_up_anothers_budget() {
        let mut budgets = budgets(1000);
        assert!((0..10).all(|_| budgets.allow(v4(1), 100, Time(0))));
        assert!(!budgets.allow(v4(1), 100, Time(0)));
        assert!(budgets.allow(v4(2), 100, Time(0)));
    }

    #[test]
    fn the_longest_list_passes_at_the_lowest_rate() {
        let mut budgets = budgets(1);
        assert!(budgets.allow(v4(1), 127, Time(0)));
        assert!(!budgets.allow(v4(1), 1, Time(0)));
    }

    #[test]
    fn sources_cannot_free_themselves_by_crowding() {
        let mut budgets = budgets(10);
        let sources = 0..100_000;
        let served = sources.filter(|source| budgets.allow(v4(*source), 127, Time(0))).count();
        assert!(served <= SETS * WAYS, "{served}");
        assert!(!budgets.allow(v4(0), 1, Time(1)), "the first one still has to pay");
    }
}

//! Limits how often a costly answer to events is given, without ever forgetting to give it.

use std::time::{Duration, Instant};

/// Work that may be wanted at any time and is done at most once per interval. The first is done
/// at once. Pure: time is given.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// Since when it is wanted.
    wanted: Option<Instant>,
    not_before: Option<Instant>,
}

/// Work must not take more than this part of the time (one in ...), however long it takes.
const SHARE: u32 = 5;

impl Pace {
    pub(super) fn new(interval: Duration) -> Pace {
        Pace { interval, wanted: None, not_before: None }
    }

    /// Asks for the work to be done when it is due.
    pub(super) fn want(&mut self, now: Instant) {
        self.wanted.get_or_insert(now);
    }

    /// It is being done: what is wanted from here on is wanted anew.
    pub(super) fn satisfied(&mut self) {
        self.wanted = None;
    }

    /// It was tried, with or without success, from `now` on and took `cost`.
    pub(super) fn tried(&mut self, now: Instant, cost: Duration) {
        self.not_before = Some(now + self.interval.max(cost * SHARE));
    }

    /// Whether to do it now.
    pub(super) fn due(&self, now: Instant) -> bool {
        self.wanted.is_some() && self.not_before.is_none_or(|earliest| earliest <= now)
    }

    /// When it is due, if it is wanted; in the past if it is overdue.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let wanted = self.wanted?;
        Some(self.not_before.map_or(wanted, |earliest| earliest.max(wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_immediate_and_later_ones_are_spaced() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(Duration::from_millis(10));
        assert!(!pace.due(start));
        assert_eq!(pace.deadline(), None);
        pace.want(start);
        assert!(pace.due(start));
        assert_eq!(pace.deadline(), Some(start));
        pace.satisfied();
        pace.tried(start, Duration::ZERO);
        assert_eq!(pace.deadline(), None);
        pace.want(after(1));
        pace.want(after(2));
        assert!(!pace.due(after(9)));
        assert_eq!(pace.deadline(), Some(after(10)));
        assert!(pace.due(after(10)));
        pace.satisfied();
        pace.want(after(12));
        assert_eq!(pace.deadline(), Some(after(12)));
    }

    #[test]
    fn costly_work_is_spaced_wider() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(10));
        pace.want(start);
        pace.tried(start, Duration::from_millis(100));
        assert!(!pace.due(start + Duration::from_millis(499)));
        assert!(pace.due(start + Duration::from_millis(500)));
        pace.satisfied();
        assert!(!pace.due(start + Duration::from_millis(500)));
    }
}

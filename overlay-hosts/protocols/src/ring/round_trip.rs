//! How long to wait for an answer: what RFC 6298 makes of measured round trips, between two bounds.

use core::time::Duration;

use crate::time::micros;

/// The estimate of one peer over all that it asks.
#[derive(Clone, Debug)]
pub(super) struct RoundTrip {
    bounds: (u32, u32),
    /// Smoothed round trip and its variation, microseconds; 0 before the first.
    smoothed: u32,
    variation: u32,
}

impl RoundTrip {
    pub(super) fn new(bounds: (Duration, Duration)) -> RoundTrip {
        let short = |span| u32::try_from(micros(span)).unwrap_or(u32::MAX);
        RoundTrip { bounds: (short(bounds.0), short(bounds.1)), smoothed: 0, variation: 0 }
    }

    pub(super) fn measured(&mut self, span: Duration) {
        let span = u32::try_from(micros(span)).unwrap_or(u32::MAX).min(self.bounds.1);
        if self.smoothed == 0 {
            (self.smoothed, self.variation) = (span, span / 2);
            return;
        }
        let off = self.smoothed.abs_diff(span);
        self.variation = self.variation - self.variation / 4 + off / 4;
        self.smoothed = self.smoothed - self.smoothed / 8 + span / 8;
    }

    /// How long to wait.
    pub(super) fn timeout(&self) -> Duration {
        let span = self.smoothed.saturating_add(self.variation.saturating_mul(4));
        let (least, most) = self.bounds;
        Duration::from_micros(u64::from(span.clamp(least.min(most), most)))
    }
}

//! Time as the machines see it: what passes, and what this host's clock on the wall says.

use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment, in microseconds since any start that the driver keeps to; it never goes back.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Time(pub u64);

impl Time {
    /// Later than anything.
    pub const NEVER: Time = Time(u64::MAX);

    /// How long after `earlier` it is; nothing if it is not.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(micros(span)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(micros(span)))
    }
}

/// The shortest time that a machine may be configured to wait: with none it would never be done.
pub const WAIT_MIN: Duration = Duration::from_millis(1);
/// The longest one; sums of a few such times cannot overflow.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The same wait, within [`WAIT_MIN`] and [`WAIT_MAX`].
#[must_use]
pub fn bounded(wait: Duration) -> Duration {
    wait.clamp(WAIT_MIN, WAIT_MAX)
}

/// A span in whole microseconds.
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// What this host's clock says, in microseconds since 1970. Clocks of hosts differ.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Wall(pub u64);

impl Wall {
    /// In whole seconds.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// When an input is handled: both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// What timers go by.
    pub time: Time,
    /// What this host would tell another of the time.
    pub wall: Wall,
}

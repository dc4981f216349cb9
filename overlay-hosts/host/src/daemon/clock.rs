//! The two clocks of this host, as machines see them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use overlay_protocols::{Now, Time, Wall, time};

/// Datagrams do not wait longer for this process.
const STAMP_AGE_MAX: Duration = Duration::from_secs(1);

/// Counts from its making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Both clocks, now.
    pub(super) fn now(self) -> Now {
        // A clock that stands before 1970 tells nothing.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { time: Time(time::micros(self.start.elapsed())), wall: Wall(time::micros(wall)) }
    }

    /// When something came that the kernel noted at `stamp`, since 1970: of late, or else `now`, as the
    /// clock on the wall may have been set meanwhile.
    pub(super) fn at_stamp(self, stamp: Option<Duration>, now: Now) -> Time {
        let age = stamp.and_then(|stamp| Duration::from_micros(now.wall.0).checked_sub(stamp));
        now.time - age.filter(|age| *age < STAMP_AGE_MAX).unwrap_or_default()
    }

    /// How long it is until a moment.
    pub(super) fn until(self, at: Time) -> Duration {
        at.since(self.now().time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_of_the_kernel_counts_unless_the_clock_was_set() {
        let clock = Clock::start();
        let now = Now { time: Time(5_000_000), wall: Wall(1_770_000_000_000_000) };
        let at = |micros| clock.at_stamp(Some(Duration::from_micros(micros)), now).0;
        assert_eq!(at(1_770_000_000_000_000 - 250), 5_000_000 - 250);
        assert_eq!(at(1_770_000_000_000_000 - 2_000_000), 5_000_000);
        assert_eq!(at(1_770_000_000_000_000 + 1), 5_000_000);
        assert_eq!(clock.at_stamp(None, now).0, 5_000_000);
    }
}

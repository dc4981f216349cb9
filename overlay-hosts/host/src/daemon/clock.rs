//! The two clocks of this host, as machines see them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use overlay_protocols::{Now, Time, Wall, time};

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

    /// How long it is until a moment.
    pub(super) fn until(self, at: Time) -> Duration {
        at.since(self.now().time)
    }
}

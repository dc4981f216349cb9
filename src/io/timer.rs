//! A timer that wakes an event queue to the microsecond, where the queue's own timeouts are of
//! milliseconds.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::system::check;

/// A timer of the monotonic clock (`timerfd`): readable once it has run out.
pub struct Timer {
    descriptor: OwnedFd,
}

impl Timer {
    /// A timer that does not run.
    ///
    /// # Errors
    /// What the kernel says: there are no more descriptors.
    pub fn new() -> io::Result<Timer> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        // SAFETY: the descriptor is new and belongs to nobody else.
        Ok(Timer { descriptor: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Has it run out once, so long from now; whatever was set before is forgotten.
    ///
    /// # Errors
    /// None that a kernel is known to have.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would stop it.
        let after = after.max(Duration::from_nanos(1));
        let value = libc::timespec {
            tv_sec: after.as_secs() as libc::time_t,
            tv_nsec: after.subsec_nanos().into(),
        };
        let setting = libc::itimerspec { it_interval: none, it_value: value };
        let fd = self.descriptor.as_raw_fd();
        // SAFETY: `setting` is live, and the old one is not asked for.
        check(unsafe { libc::timerfd_settime(fd, 0, &raw const setting, std::ptr::null_mut()) })
            .map(|_| ())
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

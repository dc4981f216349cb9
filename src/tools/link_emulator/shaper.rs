//! What one direction of a link does to frames. Pure: times are since its start, and chance is a
//! seed's.
//!
//! ```text
//!             queue           one at a time, by the rate        on the way
//!  frame ─► ▯ ▯ ▯ ▯ ─────────────────► ▮ ──────────► delay, jitter, loss, duplicates ─► out
//!          full: dropped
//! ```

use std::collections::VecDeque;
use std::time::Duration;

/// What one direction is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quality {
    /// From a frame's last bit in to it out.
    pub(super) delay: Duration,
    /// How much more or less that may be, each as likely; no more than the delay.
    pub(super) jitter: Duration,
    /// The share of frames that are lost on the way.
    pub(super) loss: f64,
    /// The share of frames that arrive twice.
    pub(super) duplicate: f64,
    /// The share of frames that overtake: they go without the delay.
    pub(super) reorder: f64,
    /// Bits a second; `None` if a frame takes no time.
    pub(super) rate: Option<u64>,
    /// How many frames may wait behind the one that is being sent, and of how many octets.
    pub(super) queue: usize,
    pub(super) queue_octets: u64,
}

/// Frames that may wait where nobody says how many.
pub(super) const QUEUE: usize = 1000;

impl Default for Quality {
    fn default() -> Quality {
        Quality {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            rate: None,
            queue: QUEUE,
            queue_octets: u64::MAX,
        }
    }
}

/// When a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) at: Duration,
    /// There are two of it.
    pub(super) is_twice: bool,
}

/// Why a frame does not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// The queue was full when it came.
    Queue,
    /// It was lost on the way, and took its time on the link.
    Loss,
}

/// One direction of a link.
pub(super) struct Shaper {
    quality: Quality,
    random: Random,
    /// The latest that anything has come.
    now: Duration,
    /// Until when the link is busy.
    busy: Duration,
    /// When each frame that waits is begun to be sent, and its octets; no more than the queue
    /// takes.
    waiting: VecDeque<(Duration, u64)>,
    waiting_octets: u64,
    /// When the last frame leaves that does not overtake.
    last: Duration,
}

impl Shaper {
    pub(super) fn new(quality: Quality, seed: u64) -> Shaper {
        let zero = Duration::ZERO;
        let (waiting, random) = (VecDeque::new(), Random(seed));
        Shaper { quality, random, now: zero, busy: zero, waiting, waiting_octets: 0, last: zero }
    }

    /// Takes a frame of so many octets. One that came earlier than the last one counts as coming
    /// with it.
    pub(super) fn push(&mut self, octets: usize, now: Duration) -> Result<Passage, Dropped> {
        self.now = self.now.max(now);
        let sent = self.send(octets as u64)?;
        let Quality { delay, loss, duplicate, reorder, .. } = self.quality;
        if self.random.falls(loss) {
            return Err(Dropped::Loss);
        }
        let is_twice = self.random.falls(duplicate);
        if self.random.falls(reorder) {
            return Ok(Passage { at: sent, is_twice });
        }
        // Jitter alone lets nothing overtake.
        self.last = self.last.max(sent + delay + self.jitter() - self.quality.jitter);
        Ok(Passage { at: self.last, is_twice })
    }

    /// When the last bit of a frame is on the link.
    fn send(&mut self, octets: u64) -> Result<Duration, Dropped> {
        let Some(rate) = self.quality.rate else { return Ok(self.now) };
        while let Some((_, begun)) = self.waiting.pop_front_if(|(start, _)| *start <= self.now) {
            self.waiting_octets -= begun;
        }
        let start = self.busy.max(self.now);
        if start > self.now {
            let is_full = self.waiting.len() >= self.quality.queue
                || self.waiting_octets + octets > self.quality.queue_octets;
            if is_full {
                return Err(Dropped::Queue);
            }
            self.waiting.push_back((start, octets));
            self.waiting_octets += octets;
        }
        self.busy = start + Duration::from_nanos((octets * 8 * 1_000_000_000).div_ceil(rate));
        Ok(self.busy)
    }

    /// From nothing to twice the jitter.
    fn jitter(&mut self) -> Duration {
        let span = self.quality.jitter * 2;
        if span.is_zero() { span } else { span.mul_f64(self.random.unit()) }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// At least 0 and less than 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether something happens that happens to a share of all; nothing is drawn if it never
    /// does.
    fn falls(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() < share
    }
}

#[cfg(test)]
#[path = "shaper/tests.rs"]
mod tests;

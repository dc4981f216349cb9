//! One direction of a running link: its shaper, and the account of its frames.

use std::cmp::Ordering;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::config::Link;
use super::shaper::Shaper;
use super::tally::Tally;
use crate::io::link::LinkFrame;

/// Frames and octets that wait or are on the way in one direction, whatever its queue may hold:
/// with a second of delay some 500 Mbit/s.
const FRAMES_MAX: u64 = 1 << 16;
const OCTETS_MAX: u64 = 64 << 20;

/// A frame that waits for its time.
pub(super) struct Leaving {
    /// Since the emulator's start.
    pub(super) at: Duration,
    /// Those of the same time leave in this order.
    pub(super) count: u64,
    /// The end by which it came.
    pub(super) from: usize,
    pub(super) frame: LinkFrame,
}

impl Ord for Leaving {
    fn cmp(&self, other: &Leaving) -> Ordering {
        (self.at, self.count).cmp(&(other.at, other.count))
    }
}

impl PartialOrd for Leaving {
    fn partial_cmp(&self, other: &Leaving) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Leaving {
    fn eq(&self, other: &Leaving) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Leaving {}

/// One direction of a link.
pub(super) struct Direction {
    link: String,
    pub(super) from: String,
    to: String,
    shaper: Shaper,
    pub(super) tally: Tally,
}

impl Direction {
    /// Both directions of link number `number`.
    pub(super) fn both(link: &Link, number: usize) -> [Direction; 2] {
        [0, 1].map(|way: usize| {
            // Directions of the same seed have different chances all the same.
            let stream = (2 * number + way) as u64;
            let seed = link.seed[way] ^ stream.wrapping_add(1).wrapping_mul(0xd134_2543_de82_ef95);
            Direction {
                link: link.name.clone(),
                from: link.ends[way].to_string(),
                to: link.ends[way ^ 1].to_string(),
                shaper: Shaper::new(link.quality[way], seed),
                tally: Tally::default(),
            }
        })
    }

    /// Takes a frame that has come; tells `leave` when it leaves, as often as it does.
    pub(super) fn take(
        &mut self,
        frame: LinkFrame,
        now: Duration,
        mut leave: impl FnMut(Duration, LinkFrame),
    ) {
        let (tally, octets) = (&mut self.tally, frame.len());
        tally.received.add(octets);
        let passage = match self.shaper.push(octets, now) {
            Ok(passage) => passage,
            Err(why) => return tally.drop(why, octets),
        };
        let second = passage.is_twice.then(|| frame.clone());
        if second.is_some() {
            tally.duplicated.add(octets);
        }
        for frame in [Some(frame), second].into_iter().flatten() {
            if tally.queued.frames < FRAMES_MAX && tally.queued.octets < OCTETS_MAX {
                tally.queued.add(octets);
                leave(passage.at, frame);
            } else {
                tally.in_flight.add(octets);
            }
        }
    }

    /// A frame has come that cannot be taken.
    pub(super) fn refuse(&mut self) {
        self.tally.received.add(0);
        self.tally.unreadable.add(0);
    }

    /// A frame has left, so much later than it should have.
    pub(super) fn left(&mut self, frame: &LinkFrame, sent: io::Result<()>, late: Duration) {
        let octets = frame.len();
        self.tally.queued.remove(octets);
        match sent {
            Ok(()) => {
                self.tally.forwarded.add(octets);
                self.tally.lateness.add(late);
            }
            Err(error) => {
                tracing::debug!(to = %self.to, %error, octets, "cannot send");
                self.tally.refused.add(octets);
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut object = json!({ "link": self.link, "from": self.from, "to": self.to });
        if let (Value::Object(object), Value::Object(tally)) = (&mut object, self.tally.json()) {
            object.extend(tally);
        }
        object
    }

    pub(super) const HEAD: [&str; 8] =
        ["link", "from", "to", "received", "forwarded", "octets", "queued", "dropped"];

    /// As [`HEAD`](Direction::HEAD) says.
    pub(super) fn row(&self) -> Vec<String> {
        let Tally { received, forwarded, queued, .. } = &self.tally;
        let texts = [&self.link, &self.from, &self.to].map(String::clone);
        let numbers = [received.frames, forwarded.frames, forwarded.octets, queued.frames];
        let numbers = numbers.iter().map(u64::to_string);
        texts.into_iter().chain(numbers).chain([self.tally.drops_text()]).collect()
    }
}

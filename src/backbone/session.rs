//! One session with one end: messages sealed with its keys, each under a counter that never comes
//! again, and opened once.

use super::handshake::Transport;
use super::refusal::Refusal;
use crate::forward::Time;
use crate::wire::control::{HEADER_LEN, Header, Kind, MESSAGE_MAX, Message, TAG_LEN};

/// After so long, in microseconds, its initiator makes a new one.
const AGE_REKEY: u64 = 30 * 60 * 1_000_000;
/// After so long, it is not used any more.
const AGE_MAX: u64 = 40 * 60 * 1_000_000;
/// After so many messages sealed, its initiator makes a new one.
const COUNTER_REKEY: u64 = 1 << 48;
/// No more messages than that are ever sealed.
const COUNTER_MAX: u64 = 1 << 49;
/// So many counters below the highest one are still taken.
const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

/// A session with one end.
pub(super) struct Session {
    transport: Transport,
    /// The session's number here.
    pub index: u32,
    remote_index: u32,
    /// Whether this side asked for it, and is to renew it.
    pub is_initiator: bool,
    /// When it was made.
    pub since: Time,
    counter: u64,
    window: Window,
}

/// A message that was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub message: Message,
    /// It was sealed later than all that were opened before.
    pub is_latest: bool,
}

impl Session {
    /// The numbers are the session's here and there.
    pub(super) fn new(
        transport: Transport,
        (index, remote_index): (u32, u32),
        is_initiator: bool,
        since: Time,
    ) -> Session {
        let window = Window::default();
        Session { transport, index, remote_index, is_initiator, since, counter: 0, window }
    }

    /// The datagram that carries a message; `None` once the session is used up.
    pub(super) fn seal(&mut self, message: &Message) -> Option<Vec<u8>> {
        if self.counter >= COUNTER_MAX {
            return None;
        }
        let header =
            Header { kind: Kind::Sealed, session: self.remote_index, counter: self.counter };
        let message = message.emit();
        let mut datagram = vec![0; HEADER_LEN + message.len() + TAG_LEN];
        let (head, body) = datagram.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header.emit());
        self.transport.write_message(self.counter, &message, body).ok()?;
        self.counter += 1;
        Some(datagram)
    }

    /// Opens the body of a sealed datagram.
    pub(super) fn open(&mut self, counter: u64, body: &[u8]) -> Result<Opened, Refusal> {
        if self.window.contains(counter) {
            return Err(Refusal::Replay);
        }
        let mut message = [0; MESSAGE_MAX + TAG_LEN];
        let length = self.transport.read_message(counter, body, &mut message);
        let length = length.map_err(|_| Refusal::BadKey)?;
        let is_latest = self.window.insert(counter);
        let message = Message::parse(&message[..length]).ok_or(Refusal::Malformed)?;
        Ok(Opened { message, is_latest })
    }

    /// When it is to be renewed.
    pub(super) fn rekey_at(&self) -> Time {
        if self.counter >= COUNTER_REKEY { self.since } else { Time(self.since.0 + AGE_REKEY) }
    }

    /// When it ends.
    pub(super) fn ends_at(&self) -> Time {
        Time(self.since.0 + AGE_MAX)
    }

    #[cfg(test)]
    pub(super) fn set_counter(&mut self, counter: u64) {
        self.counter = counter;
    }
}

/// The counters that were seen: all below the window count as seen.
#[derive(Clone, Default)]
struct Window {
    /// One above the highest.
    end: u64,
    /// Of the last [`WINDOW`] counters, each at its remainder.
    seen: [u64; WORDS],
}

impl Window {
    fn place(counter: u64) -> (usize, u64) {
        ((counter / 64) as usize % WORDS, 1 << (counter % 64))
    }

    fn contains(&self, counter: u64) -> bool {
        let (word, bit) = Window::place(counter);
        // The last one cannot be told from none: it has no successor.
        counter == u64::MAX
            || counter < self.end && (self.end - counter > WINDOW || self.seen[word] & bit != 0)
    }

    /// Remembers a counter that it does not contain; returns whether it is the highest.
    fn insert(&mut self, counter: u64) -> bool {
        let is_latest = counter >= self.end;
        if is_latest {
            let start = self.end.max(counter.saturating_sub(WINDOW));
            for passed in start..counter {
                let (word, bit) = Window::place(passed);
                self.seen[word] &= !bit;
            }
            self.end = counter + 1;
        }
        let (word, bit) = Window::place(counter);
        self.seen[word] |= bit;
        is_latest
    }
}

#[cfg(test)]
mod tests;

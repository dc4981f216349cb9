//! Asking for a session at one address, again and again until there is one.

use std::net::SocketAddr;

use crate::backbone::handshake::Initiator;
use crate::backbone::keys::PublicKey;
use crate::forward::Time;

/// A message of a handshake is sent so often, each time after twice as long.
const TRIES: u32 = 4;
const FIRST_REPEAT: u64 = 250_000;
/// Between two attempts, in microseconds: at first, and at most.
const BACKOFF: u64 = 1_000_000;
const BACKOFF_MAX: u64 = 30_000_000;
/// Answers that do not verify, in one attempt: each costs three Diffie-Hellman exchanges.
const FORGED_MAX: u32 = 4;
/// Attempts at an address that another relay has named, before it is forgotten.
const LEARNED_FAILURES_MAX: u32 = 8;

/// Why an address is dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is configured.
    Configured,
    /// Another relay has named it.
    Learned,
    /// The session there is to be renewed.
    Rekey,
}

/// One address to dial.
pub(super) struct Dial {
    pub address: SocketAddr,
    /// Who must be there.
    pub expected: Option<PublicKey>,
    pub origin: Origin,
    /// Who was there last.
    pub found: Option<PublicKey>,
    /// It is our own.
    pub is_own: bool,
    pub stage: Stage,
    forged: u32,
    failures: u32,
    /// When there is something to do.
    pub at: Option<Time>,
}

/// How far an attempt has come.
pub(super) enum Stage {
    Idle,
    Asking { initiator: Initiator, repeat: Repeat },
    Confirming { key: PublicKey, index: u32, repeat: Repeat },
}

/// A datagram that is sent until it is answered.
pub(super) struct Repeat {
    datagram: Vec<u8>,
    sent: u32,
}

impl Dial {
    pub(super) fn new(
        address: SocketAddr,
        expected: Option<PublicKey>,
        origin: Origin,
        now: Time,
    ) -> Dial {
        Dial {
            address,
            expected,
            origin,
            found: None,
            is_own: false,
            stage: Stage::Idle,
            forged: 0,
            failures: 0,
            at: Some(now),
        }
    }

    /// Who is there, as far as is known.
    pub(super) fn key(&self) -> Option<PublicKey> {
        self.expected.or(self.found)
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// Asks from now on.
    pub(super) fn ask(&mut self, initiator: Initiator, datagram: Vec<u8>, now: Time) {
        self.forged = 0;
        self.stage = Stage::Asking { initiator, repeat: Repeat { datagram, sent: 0 } };
        self.at = Some(now);
    }

    /// The answer has come; confirms it from now on.
    pub(super) fn confirm(&mut self, key: PublicKey, index: u32, datagram: Vec<u8>, now: Time) {
        self.stage = Stage::Confirming { key, index, repeat: Repeat { datagram, sent: 0 } };
        self.at = Some(now);
    }

    /// The datagram to be sent now; `None` if all is in vain.
    pub(super) fn repeat(&mut self, now: Time) -> Option<Vec<u8>> {
        let (Stage::Asking { repeat, .. } | Stage::Confirming { repeat, .. }) = &mut self.stage
        else {
            return None;
        };
        if repeat.sent >= TRIES {
            return None;
        }
        self.at = Some(Time(now.0 + (FIRST_REPEAT << repeat.sent)));
        repeat.sent += 1;
        Some(repeat.datagram.clone())
    }

    /// An answer did not verify; returns whether there were too many of them.
    pub(super) fn forged(&mut self) -> bool {
        self.forged += 1;
        self.forged >= FORGED_MAX
    }

    /// This attempt has come to nothing. `jitter` is any number.
    pub(super) fn fail(&mut self, now: Time, jitter: u32) {
        let wait = (BACKOFF << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.stage = Stage::Idle;
        // A quarter less or more: who was thrown out together does not come back together.
        let wait = wait - wait / 4 + wait / 2 * u64::from(jitter >> 16) / (1 << 16);
        self.at = Some(Time(now.0 + wait));
    }

    /// There is a session, or no need for one, until `at`.
    pub(super) fn rest(&mut self, at: Option<Time>) {
        self.stage = Stage::Idle;
        self.at = at;
    }

    /// The end that was there does not answer any more.
    pub(super) fn wake(&mut self, now: Time) {
        if self.is_idle() && !self.is_own {
            self.failures = 0;
            self.at = Some(now);
        }
    }

    /// There is a session. Whether it is of use is to be looked at later.
    pub(super) fn succeed(&mut self, check: Time) {
        self.failures = 0;
        self.rest(Some(check));
    }

    /// Another relay says that the end is there; where it was looked for, it is not.
    pub(super) fn relearn(&mut self, address: SocketAddr, now: Time) {
        let moved = self.origin == Origin::Learned && self.address != address;
        if moved && self.is_idle() && self.failures > 0 {
            *self = Dial::new(address, self.expected, Origin::Learned, now);
        }
    }

    /// Whether this is the number of what it asks for.
    pub(super) fn is_asking_for(&self, number: u32) -> bool {
        matches!(&self.stage, Stage::Asking { initiator, .. } if initiator.index == number)
    }

    /// Whether it waits for the first message of a session with this end.
    pub(super) fn is_confirming(&self, with: &PublicKey) -> bool {
        matches!(&self.stage, Stage::Confirming { key, .. } if key == with)
    }

    /// Whether it waits for the first message of this session.
    pub(super) fn is_confirming_as(&self, number: u32) -> bool {
        matches!(&self.stage, Stage::Confirming { index, .. } if *index == number)
    }

    /// Whether it is not worth trying any more.
    pub(super) fn is_hopeless(&self) -> bool {
        self.origin == Origin::Learned && self.failures >= LEARNED_FAILURES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_repeated_and_then_made_ever_less_often() {
        let address = "192.0.2.1:1021".parse().unwrap();
        let mut dial = Dial::new(address, None, Origin::Configured, Time(0));
        let mut starts = Vec::new();
        for jitter in [0, u32::MAX, 1 << 31, 1 << 31, 1 << 31, 1 << 31, 1 << 31] {
            let mut now = dial.at.unwrap();
            starts.push(now.0 / 1000);
            dial.ask(Initiator::new(1, [1; 32]), vec![1], now);
            let mut sent = 0;
            while dial.repeat(now).is_some() {
                sent += 1;
                now = dial.at.unwrap();
            }
            assert_eq!(sent, TRIES);
            dial.fail(now, jitter);
        }
        let pauses: Vec<u64> = starts.windows(2).map(|two| two[1] - two[0] - 3750).collect();
        assert_eq!(pauses, [750, 2499, 4000, 8000, 16_000, 30_000]);
    }
}

//! How a session's data is delivered, and what bounds it.

use core::time::Duration;

use crate::time::bounded;

/// The longest payload of one sequence number, octets: it is never cut into pieces.
pub const PAYLOAD_MAX: usize = 1_000;
/// Children of one host: C = 2 packets of 50 destinations (seed 002 paragraph 0044), and some more.
pub const CHILDREN_MAX: usize = 128;
/// Sessions that are expected at once.
pub const EXPECTED_MAX: usize = 2_048;
/// Members and helpers of one session.
pub const SEATS_MAX: usize = 4_096;
/// How far a payload may be ahead of the first one that is missing.
pub(super) const AHEAD_MAX: u64 = 8_192;
/// Sequence numbers are below it.
pub(super) const SEQUENCE_MAX: u64 = 1 << 62;
/// Runs of missing numbers that one request names.
pub(super) const RUNS_MAX: usize = 32;
/// Payloads that one request names, and that a child is sent again between two heartbeats.
pub(super) const REPAIRS_MAX: u32 = 256;
/// Payloads that a root sends again between two heartbeats to all who are not its children.
pub(super) const ELDER_REPAIRS_MAX: u32 = 4 * REPAIRS_MAX;
/// How often a member is told its place before it is given up.
pub(super) const PLACE_TRIES: u8 = 6;
/// How often a root is asked for another parent, unanswered, before it is given up.
pub(super) const ASK_TRIES: u8 = 8;

/// In which order payloads are handed up. Either way none is twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By their numbers: one that is missing holds up those behind it.
    #[default]
    BySequence,
    /// As they come.
    AsTheyCome,
}

/// How it runs. Waits are within [`WAIT_MIN`](crate::time::WAIT_MIN) and
/// [`WAIT_MAX`](crate::time::WAIT_MAX); what is not is set to the nearer of these. The seeds give no
/// values.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whether anybody may make this host part of a session. Otherwise only those that are expected
    /// ([`Command::Expect`](super::Command::Expect)) may. Default: yes.
    pub open: bool,
    /// Sessions at once. Default: 16.
    pub sessions_max: usize,
    /// In which order payloads are handed up.
    pub order: Order,
    /// How long a payload is kept for children that have missed it: longer than it takes to find a parent
    /// where some that are tried are gone, too. Default: 12 s.
    pub buffer: Duration,
    /// Octets that are kept of a session at most; the oldest go first. Default: 4 MiB.
    pub buffer_octets: usize,
    /// How often an idle parent says that it is there; a child does half as often. Default: 500 ms.
    pub heartbeat: Duration,
    /// How long a parent is silent before another is asked for. Default: 2 s.
    pub silence: Duration,
    /// How long a child is silent before nothing is sent to it any more. Default: 4 s.
    pub child_silence: Duration,
    /// After how long something unanswered is said again; each time twice as long, up to eight times
    /// as long. Default: 250 ms.
    pub retry: Duration,
    /// How long a payload may be late before it is asked for. Default: 20 ms.
    pub reorder: Duration,
    /// How long one that is missing is asked for; then it is given up. Default: 8 s.
    pub repair: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            open: true,
            sessions_max: 16,
            order: Order::default(),
            buffer: Duration::from_secs(12),
            buffer_octets: 4 << 20,
            heartbeat: Duration::from_millis(500),
            silence: Duration::from_secs(2),
            child_silence: Duration::from_secs(4),
            retry: Duration::from_millis(250),
            reorder: Duration::from_millis(20),
            repair: Duration::from_secs(8),
        }
    }
}

impl Config {
    /// With waits that can be waited.
    pub(super) fn bounded(self) -> Config {
        Config {
            buffer: bounded(self.buffer),
            heartbeat: bounded(self.heartbeat),
            silence: bounded(self.silence),
            child_silence: bounded(self.child_silence),
            retry: bounded(self.retry),
            reorder: bounded(self.reorder),
            repair: bounded(self.repair),
            ..self
        }
    }

    /// How long the n-th try waits for an answer, from 0.
    pub(super) fn wait(&self, tries: u8) -> Duration {
        self.retry * (1 << tries.min(3))
    }
}

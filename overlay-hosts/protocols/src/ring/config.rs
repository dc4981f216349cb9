//! How a ring runs, and what bounds it.

use core::time::Duration;

use crate::time::bounded;

/// Slots that the layers above may have in a heartbeat.
pub const SLOTS_MAX: usize = 4;
/// The longest content of a slot, octets.
pub const SLOT_LEN_MAX: usize = 128;
/// The longest value that can be stored, octets.
pub const VALUE_LEN_MAX: usize = 1024;
/// How long holders remember that a value was deleted, by their clocks.
pub const DELETED_HOLDS: Duration = Duration::from_secs(60 * 60);
/// The most members of a leaf set.
pub const LEAF_SET_MAX: usize = 64;
/// Lookups that may be under way at once; what is asked then fails by name.
pub const LOOKUPS_MAX: usize = 256;
/// Reads, writes and transfers that may be under way at once, each.
pub const REQUESTS_MAX: usize = 256;
/// Peers that may be pinged at once; half of them at most because others have named them.
pub const CHECKS_MAX: usize = 64;
/// Peers that have gone and may come back, kept to be asked after a network was split.
pub const LOST_MAX: usize = 16;
/// Addresses that a join may begin with.
pub const BOOT_MAX: usize = 16;
/// Heartbeats that may be missed.
const MISSED_MAX: u32 = 1000;

/// How it runs. Waits are within [`WAIT_MIN`](crate::time::WAIT_MIN) and
/// [`WAIT_MAX`](crate::time::WAIT_MAX); what is not is set to the nearer of these.
#[derive(Clone, Debug)]
pub struct Config {
    /// Members of the leaf set, both sides together; even, at most [`LEAF_SET_MAX`]. The seed names
    /// r on each side and gives no value (seed 003 paragraph 0043): r = 16.
    pub leaf_set: usize,
    /// How often a heartbeat tells the leaf set that one is there (no value in the seed).
    pub heartbeat: Duration,
    /// After how many heartbeats that did not come a peer is pinged; if it keeps silent, it is gone.
    pub missed: u32,
    /// How often one finger is looked up again.
    pub finger_interval: Duration,
    /// What is not found in this time is not found.
    pub lookup_timeout: Duration,
    /// The shortest and the longest wait for an answer; between them it follows what is measured.
    pub hop_timeout: (Duration, Duration),
    /// Who holds a key: its owner and so many less one successors; at least 1.
    pub replicas: usize,
    /// How often holders compare what they hold.
    pub repair_interval: Duration,
    /// How often a peer that has gone is pinged, so that the halves of a split ring find each other.
    pub probe_interval: Duration,
    /// The most keys that one peer holds.
    pub keys_max: usize,
    /// The most octets of values that one peer holds.
    pub bytes_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            leaf_set: 32,
            heartbeat: Duration::from_secs(5),
            missed: 3,
            finger_interval: Duration::from_secs(15),
            lookup_timeout: Duration::from_secs(4),
            hop_timeout: (Duration::from_millis(400), Duration::from_millis(1500)),
            replicas: 4,
            repair_interval: Duration::from_secs(30),
            probe_interval: Duration::from_secs(20),
            keys_max: 8192,
            bytes_max: 1 << 20,
        }
    }
}

impl Config {
    /// The same with all waits and counts as a ring can run with.
    pub(super) fn bounded(mut self) -> Config {
        let (least, most) = self.hop_timeout;
        self.hop_timeout = (bounded(least), bounded(most));
        for wait in [
            &mut self.heartbeat,
            &mut self.finger_interval,
            &mut self.lookup_timeout,
            &mut self.repair_interval,
            &mut self.probe_interval,
        ] {
            *wait = bounded(*wait);
        }
        self.missed = self.missed.clamp(1, MISSED_MAX);
        self.replicas = self.replicas.clamp(1, LEAF_SET_MAX / 2);
        self
    }

    /// r: members of the leaf set on each side.
    pub(super) fn half(&self) -> usize {
        (self.leaf_set.min(LEAF_SET_MAX) / 2).max(1)
    }
}

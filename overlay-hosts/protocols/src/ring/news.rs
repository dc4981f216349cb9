//! What can be asked of a ring, and what it tells.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::message::Refusal;
use super::storage::Record;
use crate::contact::{Contact, Endpoint};
use crate::id::{PeerId, RingId};

/// What can be asked of it. `request` is any number; what becomes of it is told under that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Become part of the ring of whoever is at these addresses, or was known before a restart;
    /// with neither, begin one.
    Join(Vec<SocketAddr>),
    /// Leave properly: keys are handed over, the leaf set is told.
    Leave,
    /// Be part of a ring at once, with these neighbors and peers farther away: how simulations of
    /// large rings begin.
    Preset {
        /// The nearest peers on both sides, in any order.
        leaves: Vec<Contact>,
        /// Peers farther away, in any order.
        fingers: Vec<Contact>,
    },
    /// Whose is this key?
    Lookup {
        /// The asker's number.
        request: u64,
        /// The key.
        key: RingId,
    },
    /// Store a value under a key (seed 003 paragraph 0037: DHT_insert).
    Insert {
        /// The asker's number.
        request: u64,
        /// The key.
        key: RingId,
        /// At most [`VALUE_LEN_MAX`](super::VALUE_LEN_MAX) octets; none at all is no value, and deletes.
        value: Vec<u8>,
    },
    /// Have nothing under a key any more. Its holders remember that for
    /// [`DELETED_HOLDS`](super::DELETED_HOLDS); one that was cut off for longer may bring an old value back.
    Delete {
        /// The asker's number.
        request: u64,
        /// The key.
        key: RingId,
    },
    /// The value under a key (DHT_lookup).
    Get {
        /// The asker's number.
        request: u64,
        /// The key.
        key: RingId,
    },
    /// The value under a key from a host that is known to hold it, without routing (DHT_direct).
    Direct {
        /// The asker's number.
        request: u64,
        /// The key.
        key: RingId,
        /// Who holds it.
        host: Contact,
    },
    /// What heartbeats say for a layer above from now on; empty: nothing any more.
    SetSlot {
        /// Whose.
        tag: u8,
        /// At most [`SLOT_LEN_MAX`](super::SLOT_LEN_MAX) octets; at most [`SLOTS_MAX`](super::SLOTS_MAX) layers have a slot.
        bytes: Vec<u8>,
    },
}

/// What it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Part of the ring.
    Joined,
    /// Nobody lets it in so far; it tries again.
    JoinFailed,
    /// Not part of the ring any more.
    Left,
    /// The leaf set is another, and with it maybe the zone.
    NeighborsChanged,
    /// A neighbor is gone without a word.
    Departed(PeerId),
    /// The owner of a key, as it says itself.
    Found {
        /// The asker's number.
        request: u64,
        /// The key.
        key: RingId,
        /// Who owns it.
        owner: Contact,
        /// From peer to peer, how many steps it was to the owner; 0: the asker is it.
        hops: u32,
        /// Questions on the way that were not answered in time.
        timeouts: u32,
    },
    /// A value is stored, or deleted.
    Inserted {
        /// The asker's number.
        request: u64,
        /// The key.
        key: RingId,
        /// Who owns it.
        owner: Contact,
        /// The version that it has now.
        version: u64,
        /// Peers that hold it, the owner too.
        copies: u32,
    },
    /// What is held under a key.
    Value {
        /// The asker's number.
        request: u64,
        /// The key.
        key: RingId,
        /// Who said so.
        host: Contact,
        /// Nothing is held there if it is `None`.
        record: Option<Record>,
    },
    /// What was asked has failed.
    Failed {
        /// The asker's number.
        request: u64,
        /// The key.
        key: RingId,
        /// Why.
        reason: Failure,
    },
    /// A neighbor's heartbeat says this for a layer above.
    SlotHeard {
        /// The neighbor.
        from: Endpoint,
        /// Which layer.
        tag: u8,
        /// What.
        bytes: Vec<u8>,
    },
}

/// Why something that was asked has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This peer is not part of a ring.
    NotJoined,
    /// Too much is under way.
    Busy,
    /// No answer in time.
    TimedOut,
    /// The owner does not take it.
    Refused(Refusal),
}

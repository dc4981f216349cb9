//! What peers of a ring say to each other, and how long its lists may be.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::config::{LEAF_SET_MAX, SLOT_LEN_MAX, SLOTS_MAX, VALUE_LEN_MAX};
use super::storage::{Entry, Record};
use crate::contact::Contact;
use crate::id::{PeerId, RingId};

/// Peers that an answer of a lookup names.
pub(super) const NODES_MAX: usize = 6;
/// Silent peers that a question names.
pub(super) const DEAD_MAX: usize = 8;
/// Records in one message.
pub(super) const RECORDS_MAX: usize = 8;
/// Keys in one list of what is held.
pub(super) const ENTRIES_MAX: usize = 64;
/// Fingers in a welcome.
pub(super) const FINGERS_MAX: usize = 48;

/// What a layer above tells its neighbors in a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) tag: u8,
    pub(super) bytes: Vec<u8>,
}

/// Keys in (after, up_to].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) after: RingId,
    pub(super) up_to: RingId,
}

/// Why a value was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The key is not in this peer's zone.
    NotOwner,
    /// It holds as much as it may.
    Full,
    /// The value is longer than any may be.
    TooLong,
}

/// A message; fields that all receivers get alike stand first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// I am here, and my leaf set has this digest.
    Heartbeat { digest: u32, slots: Vec<Slot> },
    /// This is my leaf set. `again`: nobody needs to answer with its own.
    Leaves { digest: u32, again: bool, me: Contact, leaves: Vec<Contact> },
    /// Which is your leaf set?
    AskLeaves { me: Contact },
    /// Are you there?
    Ping { nonce: u32, me: Contact },
    /// I am, and part of a ring or not.
    Pong { nonce: u32, joined: bool, me: Contact },
    /// These are gone: see for yourself.
    Suspect { peers: Vec<PeerId> },
    /// Who owns this key? These do not answer.
    FindOwner { nonce: u32, key: RingId, dead: Vec<PeerId> },
    /// I do.
    Owner { nonce: u32, me: Contact },
    /// Ask these, the first one first. `checking`: ask me again, I may be about to take over.
    Route { nonce: u32, checking: bool, nodes: Vec<Contact> },
    /// I want to stand in your zone.
    Join { nonce: u32, me: Contact },
    /// Do; these are your neighbors, and peers farther away.
    Welcome { nonce: u32, me: Contact, leaves: Vec<Contact>, fingers: Vec<Contact> },
    /// I am leaving.
    Leave { nonce: u32 },
    /// Noted.
    Farewell { nonce: u32 },
    /// Store this as the owner of the key.
    Put { nonce: u32, key: RingId, value: Vec<u8> },
    /// It is stored in this version, at so many peers.
    Done { nonce: u32, version: u64, copies: u8 },
    /// It is not.
    Refused { nonce: u32, why: Refusal },
    /// What do you hold under this key?
    Get { nonce: u32, key: RingId },
    /// This, if anything; these others should hold it, too.
    Value { nonce: u32, record: Option<Record>, holders: Vec<Contact> },
    /// Hold these.
    Store { nonce: u32, records: Vec<Record> },
    /// I do; or I am full.
    Stored { nonce: u32, full: bool },
    /// What I hold in this range has this digest.
    Sync { range: Range, digest: u64 },
    /// I hold something else there: these keys in `range`; the rest, to `end`, is to be compared.
    Holding { range: Range, end: RingId, entries: Vec<Entry> },
    /// Send me these.
    Want { keys: Vec<RingId> },
}

impl Message {
    /// Whether no list is longer than it may be.
    pub(super) fn is_bounded(&self) -> bool {
        match self {
            Message::Heartbeat { slots, .. } => {
                slots.len() <= SLOTS_MAX
                    && slots.iter().all(|slot| slot.bytes.len() <= SLOT_LEN_MAX)
            }
            Message::Leaves { leaves, .. } => leaves.len() <= LEAF_SET_MAX,
            Message::Suspect { peers } => peers.len() <= DEAD_MAX,
            Message::FindOwner { dead, .. } => dead.len() <= DEAD_MAX,
            Message::Route { nodes, .. } => nodes.len() <= NODES_MAX,
            Message::Welcome { leaves, fingers, .. } => {
                leaves.len() <= LEAF_SET_MAX && fingers.len() <= FINGERS_MAX
            }
            Message::Value { record, holders, .. } => {
                holders.len() <= NODES_MAX
                    && record.as_ref().is_none_or(|record| record.value.len() <= VALUE_LEN_MAX)
            }
            Message::Store { records, .. } => {
                records.len() <= RECORDS_MAX
                    && records.iter().all(|record| record.value.len() <= VALUE_LEN_MAX)
            }
            Message::Holding { entries, .. } => entries.len() <= ENTRIES_MAX,
            Message::Want { keys } => keys.len() <= ENTRIES_MAX,
            _ => true,
        }
    }

    /// What the sender says of itself.
    pub(super) fn sender(&self) -> Option<&Contact> {
        match self {
            Message::Leaves { me, .. }
            | Message::AskLeaves { me }
            | Message::Ping { me, .. }
            | Message::Pong { me, .. }
            | Message::Owner { me, .. }
            | Message::Join { me, .. }
            | Message::Welcome { me, .. } => Some(me),
            _ => None,
        }
    }
}

//! What hosts of a session say to each other.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::config::CHILDREN_MAX;
use crate::alm::SessionId;
use crate::contact::Contact;
use crate::id::PeerId;

/// A session among those of all roots, each of which numbers its own: nobody disturbs another's by its
/// number.
pub(super) type Key = (SessionId, PeerId);

/// A message. Who has sent it is what the seal proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Down: one payload.
    Data { key: Key, sequence: u64, payload: Vec<u8> },
    /// Down: there is nothing else to say. All below `next` has come here, and what is left of that
    /// begins at `oldest`; nothing comes from `end` on.
    Alive { key: Key, oldest: u64, next: u64, end: Option<u64> },
    /// Up: here is a child, and wants everything.
    Here { key: Key },
    /// Up: runs of payloads are missing, each from a number on, so many.
    Nack { key: Key, missing: Vec<(u64, u16)> },
    /// From the root: where the receiver stands in the tree.
    Place(Place),
    /// To the root: so it is.
    Placed { session: SessionId, version: u32 },
    /// To the root: nothing is heard from a parent or a child.
    Silent { session: SessionId, version: u32, peer: Option<PeerId> },
    /// From the root: the receiver is not part of it any more.
    Closed { session: SessionId },
}

/// Where somebody stands in a session's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) session: SessionId,
    /// The first payload that it gets.
    pub(super) first: u64,
    /// Whether it hands them up, or helps only.
    pub(super) receives: bool,
    /// Of what it is told, from 1; a later one replaces it.
    pub(super) version: u32,
    pub(super) parent: Option<Contact>,
    pub(super) children: Vec<Contact>,
}

impl Place {
    /// Whether it can be followed by `me`.
    pub(super) fn is_sound(&self, me: PeerId) -> bool {
        let contacts = || self.parent.iter().chain(&self.children);
        let parent = self.parent.as_ref().map(|parent| parent.id);
        self.version > 0
            && self.children.len() <= CHILDREN_MAX
            && contacts().all(|contact| contact.id != me && contact.is_acceptable(|_| false))
            && self.children.iter().all(|child| Some(child.id) != parent)
    }
}

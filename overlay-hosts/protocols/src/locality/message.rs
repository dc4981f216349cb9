//! What peers of groups tell each other.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::contact::Contact;
use crate::id::PeerId;
use crate::time::Wall;

/// The most successors in a list.
pub const LEADERSHIP_MAX: usize = 16;
/// The most neighbors of a group.
pub const NEIGHBORS_MAX: usize = 32;
/// The most links of a member.
pub const LINKS_MAX: usize = 32;
/// The most members named in one message beside the successors.
pub const SAMPLE_MAX: usize = 8;
/// The most groups in a boot list.
pub const BOOT_LIST_MAX: usize = 16;

/// The highest term of a group that can be joined: no group ever has so many leaders, and its next
/// ones have room to count on.
pub(super) const TERM_MAX: u64 = u64::MAX / 2;

/// Which group: any number, drawn when it is founded (seed 001 paragraph 0056).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub [u8; 16]);

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// How far two hosts are apart, in the unit of the metric: microseconds or hops.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Distance(pub u32);

impl Distance {
    /// What is known after one more measurement. Queues and busy hosts only ever add to a distance:
    /// a shorter one counts at once, a longer one by a quarter, so that one late answer tells nobody
    /// that a group is elsewhere.
    pub(super) fn after(self, measured: Distance) -> Distance {
        match measured.0.checked_sub(self.0) {
            None => measured,
            Some(longer) => Distance(self.0 + longer.div_ceil(4)),
        }
    }
}

/// A group, and who leads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRef {
    /// Which.
    pub group: GroupId,
    /// Its leader.
    pub leader: Contact,
}

/// A group that a group is linked to: an entry of the inter-group cache (claim 23).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor {
    /// The group, and its leader.
    pub at: GroupRef,
    /// From leader to leader.
    pub distance: Distance,
    /// Chosen at random, and not because it is near.
    pub far: bool,
}

/// Who leads, since when. Each new leader has a higher term; of two with the same term the one
/// holds who claimed it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// How many leaders the group has had.
    pub term: u64,
    /// What the leader's clock said when it claimed to lead.
    pub since: Wall,
    /// Who leads.
    pub leader: PeerId,
}

impl Reign {
    /// Whether who follows `other` is to follow this one instead.
    pub fn outranks(&self, other: &Reign) -> bool {
        self.term > other.term || (self.term == other.term && self.order() < other.order())
    }

    /// In what order claims hold: the lowest wins.
    pub fn order(&self) -> (u64, Wall, PeerId) {
        (self.term, self.since, self.leader)
    }
}

/// What every member knows of its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Who leads.
    pub leader: Contact,
    /// Who leads after that, in order; the leader is the first.
    pub leadership: Vec<Contact>,
    /// What the group is linked to, for who leads next (seed 001 paragraph 0065).
    pub neighbors: Vec<Neighbor>,
}

/// A message; what a request says in `nonce`, its answer says again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// How far? (seed 001 paragraph 0045)
    Measure { nonce: u64 },
    /// What the clock here said when that came.
    MeasureReply { nonce: u64, wall: Wall },
    /// Which groups are there? (0044)
    GetBootList { nonce: u64 },
    /// Some.
    BootList { nonce: u64, groups: Vec<GroupRef> },
    /// A leader makes its group known to a rendezvous.
    Register { group: GroupRef },
    /// Get Neighboring Peer Groups (0046).
    GetNeighbors { nonce: u64 },
    /// Those.
    Neighbors { nonce: u64, group: GroupId, neighbors: Vec<GroupRef> },
    /// Get Neighboring Peer Group Distances (0047).
    GetDistances { nonce: u64 },
    /// Those.
    Distances { nonce: u64, group: GroupId, distances: Vec<(GroupId, Distance)> },
    /// A copy of the inter-group cache: both (0048).
    GetCache { nonce: u64 },
    /// That.
    Cache { nonce: u64, group: GroupId, neighbors: Vec<Neighbor> },
    /// The one asked leads no group, but this one's leader may be known.
    NotLeader { nonce: u64, instead: Option<GroupRef> },
    /// May the groups be linked?
    Link { nonce: u64, from: GroupRef, distance: Distance, far: bool },
    /// The group has a new leader, which keeps the link (0065).
    Relink { nonce: u64, from: GroupRef },
    /// They are.
    Linked { nonce: u64, group: GroupId },
    /// There are too many links already.
    NotLinked { nonce: u64 },
    /// They are linked no more.
    Unlink { group: GroupId },
    /// Get Peer Group Members (0062); `me` joins, unless it wants more candidates alone.
    GetMembers { nonce: u64, group: GroupId, me: Contact, more: bool },
    /// The intra-group cache, from any member.
    Synchronize { nonce: u64, group: GroupId },
    /// What the group is, and some of its members.
    Members {
        nonce: u64,
        group: GroupId,
        reign: Reign,
        version: u32,
        state: Box<State>,
        members: Vec<Contact>,
    },
    /// A link inside the group?
    Connect { nonce: u64, group: GroupId, me: Contact },
    /// It stands. Others to connect to are named too.
    Connected { nonce: u64, group: GroupId, reign: Reign, members: Vec<Contact> },
    /// There are too many links, or it is not that group; others to try.
    Refused { nonce: u64, members: Vec<Contact> },
    /// The link between the two of them is no more.
    Disconnect { group: GroupId },
    /// The leader is there (0063); flooded in the group. What all know is with it if it changed.
    Alive { group: GroupId, reign: Reign, sequence: u64, version: u32, state: Option<Box<State>> },
    /// Are you there, and who leads?
    GetLeader { nonce: u64, group: GroupId, reign: Reign, me: Contact },
    /// This one.
    Leader { nonce: u64, group: GroupId, reign: Reign, leader: Contact },
    /// Who sends it claims to lead (0064); flooded in the group.
    NewLeader { group: GroupId, round: u8, claim: Reign, contact: Contact },
    /// Whom the sender follows, to a neighbor that follows a leader of less.
    Outranked { group: GroupId, reign: Reign, leader: Contact },
    /// The sender leaves the group.
    Leave { group: GroupId, reign: Reign },
}

impl State {
    fn is_acceptable(&self) -> bool {
        self.leadership.len() <= LEADERSHIP_MAX
            && self.neighbors.len() <= NEIGHBORS_MAX
            && are_acceptable(&self.leadership)
            && is_acceptable(&self.leader)
            && self.neighbors.iter().all(|neighbor| is_acceptable(&neighbor.at.leader))
    }
}

impl Message {
    /// The number of the request that it answers.
    pub(super) fn answers(&self) -> Option<u64> {
        match self {
            Message::MeasureReply { nonce, .. }
            | Message::BootList { nonce, .. }
            | Message::Neighbors { nonce, .. }
            | Message::Distances { nonce, .. }
            | Message::Cache { nonce, .. }
            | Message::NotLeader { nonce, .. }
            | Message::Linked { nonce, .. }
            | Message::NotLinked { nonce }
            | Message::Members { nonce, .. }
            | Message::Connected { nonce, .. }
            | Message::Refused { nonce, .. }
            | Message::Leader { nonce, .. } => Some(*nonce),
            _ => None,
        }
    }

    /// What somebody who asks for something says of itself. A Relink may speak of another.
    pub(super) fn asker(&self) -> Option<&Contact> {
        match self {
            Message::Register { group: GroupRef { leader: me, .. } }
            | Message::Link { from: GroupRef { leader: me, .. }, .. }
            | Message::GetMembers { me, .. }
            | Message::Connect { me, .. }
            | Message::GetLeader { me, .. } => Some(me),
            _ => None,
        }
    }

    /// Whether all lists are as long as they may be and all peers can be reached.
    pub(super) fn is_acceptable(&self) -> bool {
        match self {
            Message::BootList { groups, .. } => {
                groups.len() <= BOOT_LIST_MAX && groups.iter().all(|at| is_acceptable(&at.leader))
            }
            Message::Neighbors { neighbors, .. } => {
                neighbors.len() <= NEIGHBORS_MAX
                    && neighbors.iter().all(|at| is_acceptable(&at.leader))
            }
            Message::Distances { distances, .. } => distances.len() <= NEIGHBORS_MAX,
            Message::Cache { neighbors, .. } => {
                neighbors.len() <= NEIGHBORS_MAX
                    && neighbors.iter().all(|neighbor| is_acceptable(&neighbor.at.leader))
            }
            Message::NotLeader { instead, .. } => {
                instead.as_ref().is_none_or(|at| is_acceptable(&at.leader))
            }
            Message::Register { group: GroupRef { leader: contact, .. } }
            | Message::Link { from: GroupRef { leader: contact, .. }, .. }
            | Message::Relink { from: GroupRef { leader: contact, .. }, .. }
            | Message::Outranked { leader: contact, .. }
            | Message::GetMembers { me: contact, .. }
            | Message::Connect { me: contact, .. }
            | Message::GetLeader { me: contact, .. }
            | Message::Leader { leader: contact, .. }
            | Message::NewLeader { contact, .. } => is_acceptable(contact),
            Message::Members { state, members, reign, .. } => {
                state.is_acceptable()
                    && reign.term <= TERM_MAX
                    && members.len() <= SAMPLE_MAX
                    && are_acceptable(members)
            }
            Message::Connected { members, .. } | Message::Refused { members, .. } => {
                members.len() <= SAMPLE_MAX && are_acceptable(members)
            }
            Message::Alive { state, .. } => {
                state.as_ref().is_none_or(|state| state.is_acceptable())
            }
            _ => true,
        }
    }
}

fn are_acceptable(contacts: &[Contact]) -> bool {
    contacts.iter().all(is_acceptable)
}

/// Groups need no positions on the ring: a contact with one is not taken.
fn is_acceptable(contact: &Contact) -> bool {
    contact.is_acceptable(|_| false)
}

//! What entries stand for, each under an [`EntryId`] that it keeps for as long as it is wanted.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;

use super::{Entry, EntryId, PortId};

/// A live next hop of a route, on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// The port to leave by.
    pub port: PortId,
    /// The gateway's address.
    pub gateway: IpAddr,
    /// Its share, from 1.
    pub weight: u16,
}

/// What an entry stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// An entry that says all itself: neither a neighbor nor gateways.
    Plain(Entry),
    /// A neighbor that is itself the destination.
    Neighbor(PortId, IpAddr),
    /// Gateways.
    Group(Vec<Hop>),
}

impl Target {
    /// The gateways, where it stands for some.
    pub(super) fn hops(&self) -> &[Hop] {
        match self {
            Target::Group(hops) => hops,
            _ => &[],
        }
    }
}

/// All targets that are wanted. An id is not given to another target before every chunk that
/// holds it is to be compiled anew: whoever releases a target says so of those chunks.
#[derive(Default)]
pub(super) struct Targets {
    /// By id; how often each is wanted, and `None` where the id is free.
    slots: Vec<Option<(Target, usize)>>,
    ids: HashMap<Target, EntryId, BuildHasherDefault<DefaultHasher>>,
    free: Vec<EntryId>,
}

impl Targets {
    /// The id of a target that is wanted once more.
    pub(super) fn acquire(&mut self, target: Target) -> EntryId {
        if let Some(id) = self.ids.get(&target) {
            if let Some((_, wanted)) = &mut self.slots[*id as usize] {
                *wanted += 1;
            }
            return *id;
        }
        let slot = Some((target.clone(), 1));
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as EntryId
            }
        };
        self.ids.insert(target, id);
        id
    }

    /// It is wanted once less.
    pub(super) fn release(&mut self, id: EntryId) {
        let slot = &mut self.slots[id as usize];
        if let Some((_, wanted)) = slot {
            *wanted -= 1;
            if *wanted == 0
                && let Some((target, _)) = slot.take()
            {
                self.ids.remove(&target);
                self.free.push(id);
            }
        }
    }

    /// What an id stands for.
    pub(super) fn of(&self, id: EntryId) -> Option<&Target> {
        self.slots.get(id as usize)?.as_ref().map(|(target, _)| target)
    }

    /// By id.
    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&Target>> {
        self.slots.iter().map(|slot| slot.as_ref().map(|(target, _)| target))
    }
}

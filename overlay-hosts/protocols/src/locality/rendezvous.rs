//! The rendezvous point and its boot peer cache (seed 001 paragraph 0036): groups that those who
//! search can begin with. Any peer may be one, and one that never joins is nothing else.

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::contact::Endpoint;
use crate::machine::{self, Class, Received};
use crate::random::Random;
use crate::time::{Now, Time};

use super::message::{BOOT_LIST_MAX, GroupRef, Message};
use super::{Locality, STORE_KEY};

/// Groups in the cache; the oldest gives its place.
pub const BOOT_CACHE_MAX: usize = 24;
/// How often it is stored at most.
const STORE_PERIOD: Duration = Duration::from_secs(30);

/// A group, and when it was heard of.
#[derive(Clone, Debug)]
struct Entry {
    at: GroupRef,
    seen: Time,
}

/// What is kept over a restart.
#[derive(Serialize, Deserialize)]
struct Stored(Vec<GroupRef>);

/// Groups known.
#[derive(Default)]
pub(super) struct BootCache {
    entries: Vec<Entry>,
    clock: Time,
    store_at: Option<Time>,
    stored: Option<Time>,
}

impl BootCache {
    /// What was stored, if it can be read; all of it counts as heard of just now.
    pub(super) fn restore(stored: Option<&[u8]>, now: Now) -> BootCache {
        let stored = stored.and_then(machine::decode::<Stored>).map_or(Vec::new(), |all| all.0);
        let acceptable = stored.into_iter().filter(|at| at.leader.is_acceptable(|_| false));
        let entries = acceptable.take(BOOT_CACHE_MAX).map(|at| Entry { at, seen: now.time });
        BootCache { entries: entries.collect(), clock: now.time, store_at: None, stored: None }
    }

    /// What the clock says, before anything is heard.
    pub(super) fn tick(&mut self, now: Now) {
        self.clock = now.time;
    }

    /// A group is there.
    pub(super) fn overheard(&mut self, at: &GroupRef) {
        let seen = self.clock;
        // One peer leads one group: no leader fills the cache with groups of its own.
        self.entries
            .retain(|entry| entry.at.group == at.group || entry.at.leader.id != at.leader.id);
        match self.entries.iter_mut().find(|entry| entry.at.group == at.group) {
            Some(entry) if entry.at == *at => entry.seen = seen,
            Some(entry) => {
                *entry = Entry { at: at.clone(), seen };
                self.changed();
            }
            None => {
                if self.entries.len() >= BOOT_CACHE_MAX {
                    let oldest = (0..self.entries.len()).min_by_key(|at| self.entries[*at].seen);
                    oldest.map(|oldest| self.entries.remove(oldest));
                }
                self.entries.push(Entry { at: at.clone(), seen });
                self.changed();
            }
        }
    }

    fn changed(&mut self) {
        let earliest = self.stored.map_or(self.clock, |at| at + STORE_PERIOD);
        self.store_at.get_or_insert(earliest.max(self.clock));
    }

    /// Forgets what was not heard of for long.
    fn expire(&mut self, expiry: Duration) {
        let clock = self.clock;
        let before = self.entries.len();
        self.entries.retain(|entry| clock.since(entry.seen) < expiry);
        if self.entries.len() < before {
            self.changed();
        }
    }

    /// Some of them, any.
    pub(super) fn some(&self, count: usize, random: &mut Random, _: Now) -> Vec<GroupRef> {
        let mut all: Vec<&Entry> = self.entries.iter().collect();
        random.shuffle(&mut all);
        all.truncate(count.min(BOOT_LIST_MAX));
        all.into_iter().map(|entry| entry.at.clone()).collect()
    }

    /// Groups in it.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn store_at(&self) -> Option<Time> {
        self.store_at
    }
}

impl Locality {
    /// 1002: who looks for a group is told of some, our own among them. One that searches itself
    /// has nothing to say; a rendezvous that knows of no group says so.
    pub(super) fn tell_boot_list(&mut self, received: &Received<'_>, nonce: u64, now: Now) {
        self.boot.expire(self.config.boot_expiry);
        let mut groups = Vec::new();
        if self.config.rendezvous {
            groups = self.boot.some(self.config.boot_list, &mut self.random, now);
        }
        if let Some(own) = self.own_group()
            && !groups.iter().any(|at| at.group == own.group)
        {
            groups.insert(0, own);
            groups.truncate(self.config.boot_list.max(1));
        }
        let is_dedicated = self.config.rendezvous && self.search.is_none();
        if !groups.is_empty() || is_dedicated {
            self.reply(received, &Message::BootList { nonce, groups }, Class::Queued);
        }
    }

    /// A leader's group is there, and can be found here.
    pub(super) fn take_registration(&mut self, at: &GroupRef) {
        if self.config.rendezvous {
            self.boot.overheard(at);
        }
    }

    /// The group is made known where its leader asked for groups itself.
    pub(super) fn register(&mut self, _: Now) {
        let Some(group) = self.own_group().filter(|_| self.is_leader()) else { return };
        let to: Vec<Endpoint> = self.entry.iter().map(|address| (*address).into()).collect();
        self.send(to, &Message::Register { group }, Class::Queued);
    }

    /// Stores the cache if it has changed, every now and then.
    pub(super) fn store_boot_cache(&mut self, now: Now) {
        if self.boot.store_at.is_none_or(|at| at > now.time) {
            return;
        }
        self.boot.store_at = None;
        self.boot.stored = Some(now.time);
        let all = self.boot.entries.iter().map(|entry| entry.at.clone()).collect();
        self.out.store(STORE_KEY, machine::encode(&Stored(all)));
    }
}

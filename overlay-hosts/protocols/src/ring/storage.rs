//! What one peer holds: records by key, each in its newest version.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::message::{ENTRIES_MAX, Range};
use crate::id::{PeerId, RingId};

/// A value under its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its key.
    pub key: RingId,
    /// The higher one holds: the owner's clock when it was written, microseconds, and higher than
    /// that of what it replaces.
    pub version: u64,
    /// Who has written it; of equal versions the one of the higher identity holds.
    pub writer: PeerId,
    /// The value; empty: it was deleted in this version.
    pub value: Vec<u8>,
}

/// A record without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) key: RingId,
    pub(super) version: u64,
    pub(super) writer: PeerId,
}

/// What is held under a key.
#[derive(Clone, Debug)]
struct Held {
    version: u64,
    writer: PeerId,
    value: Vec<u8>,
}

/// All that one peer holds.
#[derive(Clone, Debug)]
pub(super) struct Store {
    held: BTreeMap<RingId, Held>,
    bytes: usize,
    keys_max: usize,
    bytes_max: usize,
}

impl Store {
    pub(super) fn new(keys_max: usize, bytes_max: usize) -> Store {
        Store { held: BTreeMap::new(), bytes: 0, keys_max, bytes_max }
    }

    pub(super) fn keys(&self) -> usize {
        self.held.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn record(&self, key: RingId) -> Option<Record> {
        let held = self.held.get(&key)?;
        let Held { version, writer, value } = held.clone();
        Some(Record { key, version, writer, value })
    }

    /// The version of a value that `writer` writes now; that of the same value of its own stays, so
    /// a request that comes twice is one.
    pub(super) fn next_version(
        &self,
        key: RingId,
        writer: PeerId,
        value: &[u8],
        clock: u64,
    ) -> u64 {
        match self.held.get(&key) {
            Some(held) if held.writer == writer && held.value == value => held.version,
            Some(held) => clock.max(held.version.saturating_add(1)),
            None => clock,
        }
    }

    /// Holds a record, unless a newer one is held; `false` if there is no room.
    pub(super) fn put(&mut self, record: Record) -> bool {
        let Record { key, version, writer, value } = record;
        let old = self.held.get(&key);
        if old.is_some_and(|old| (old.version, old.writer) >= (version, writer)) {
            return true;
        }
        let bytes = self.bytes - old.map_or(0, |old| old.value.len()) + value.len();
        if bytes > self.bytes_max || (old.is_none() && self.held.len() >= self.keys_max) {
            return false;
        }
        self.bytes = bytes;
        self.held.insert(key, Held { version, writer, value });
        true
    }

    pub(super) fn remove(&mut self, key: RingId) {
        if let Some(held) = self.held.remove(&key) {
            self.bytes -= held.value.len();
        }
    }

    /// Forgets what was deleted before a version.
    pub(super) fn forget_deleted(&mut self, before: u64) {
        self.held.retain(|_, held| !held.value.is_empty() || held.version >= before);
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.bytes = 0;
    }

    fn within(&self, range: Range) -> impl Iterator<Item = (&RingId, &Held)> {
        let is_wrapped = range.after >= range.up_to;
        let up = self.held.range(range.after..);
        let inside = move |(key, _): &(&RingId, &Held)| key.is_in(range.after, range.up_to);
        let below = is_wrapped.then(|| self.held.range(..range.after));
        up.take_while(move |(key, _)| is_wrapped || **key <= range.up_to)
            .chain(below.into_iter().flatten())
            .filter(inside)
    }

    /// A sum of keys and versions, equal where the same is held.
    pub(super) fn digest(&self, range: Range) -> u64 {
        let mix =
            |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let first = |octets: &[u8; 20]| {
            octets.chunks(8).fold(0u64, |sum, chunk| {
                mix(sum, chunk.iter().fold(0, |word, octet| word << 8 | u64::from(*octet)))
            })
        };
        self.within(range).fold(0, |sum, (key, held)| {
            sum.wrapping_add(mix(mix(first(&key.0), held.version), first(&held.writer.0)))
        })
    }

    /// What is held in the first part of a range, and which part that is: all of it, if that is not
    /// too much for one message.
    pub(super) fn entries(&self, range: Range) -> (Range, Vec<Entry>) {
        let entry = |(key, held): (&RingId, &Held)| Entry {
            key: *key,
            version: held.version,
            writer: held.writer,
        };
        let mut entries: Vec<Entry> = self.within(range).map(entry).take(ENTRIES_MAX + 1).collect();
        let part = match entries.len() > ENTRIES_MAX {
            true => Range { up_to: entries[ENTRIES_MAX - 1].key, ..range },
            false => range,
        };
        entries.truncate(ENTRIES_MAX);
        (part, entries)
    }

    /// All keys held.
    pub(super) fn all_keys(&self) -> impl Iterator<Item = RingId> {
        self.held.keys().copied()
    }

    /// The version held under a key, and its writer.
    pub(super) fn version(&self, key: RingId) -> Option<(u64, PeerId)> {
        self.held.get(&key).map(|held| (held.version, held.writer))
    }

    /// The keys held in a range.
    pub(super) fn keys_in(&self, range: Range) -> Vec<RingId> {
        self.within(range).map(|(key, _)| *key).collect()
    }
}

//! The partition cache (RFC 5058 sections 4, 2f and 8.3): a channel's packets mostly have the same
//! list, and then the same partition by next hop as long as the Fib is the same.
//!
//! A partition is used again if source and Xcast header are equal to the last octet, so it is never
//! wrong. Only what depends on nothing else is kept: destinations behind gateways, and resolved
//! neighbors. Places are few and fixed, four for each of 1024 hash values; a channel gets one with
//! its second packet.

use std::net::{IpAddr, Ipv4Addr};

use super::packet::flow;
use super::scratch::{Part, Parts};
use crate::fib::{EntryId, Fib, mix};
use crate::wire::xcast6;

const SETS: usize = 1024;
const WAYS: usize = 4;
/// The most parts that a kept partition has.
const PARTS: usize = 16;
const HEADER_LEN_MAX: usize = xcast6::HEADER_LEN_MAX;

#[derive(Clone, Copy)]
struct Place {
    /// Of source and channel; 0 = nobody's.
    tag: u64,
    source: IpAddr,
    source_entry: EntryId,
    /// Of the Fib, as counted here.
    generation: u32,
    /// The batch it was last used in.
    used: u32,
    /// 0 = nothing is kept yet.
    header_len: u16,
    parts: u8,
}

/// What a partition is kept by.
pub(super) struct Key<'a> {
    /// Of source and channel.
    flow: u64,
    source: IpAddr,
    /// The Xcast header.
    header: &'a [u8],
}

impl<'a> Key<'a> {
    /// That of a packet of a source's channel; without a channel there is none.
    #[inline]
    pub(super) fn new(source: IpAddr, channel: u128, header: &'a [u8]) -> Option<Key<'a>> {
        (channel != 0).then(|| Key { flow: flow(source, channel), source, header })
    }
}

const EMPTY: Place = Place {
    tag: 0,
    source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    source_entry: 0,
    generation: 0,
    used: 0,
    header_len: 0,
    parts: 0,
};

/// Kept partitions of one worker.
pub(super) struct Cache {
    places: Vec<Place>,
    headers: Vec<u8>,
    adjacencies: Vec<u32>,
    direct: Vec<u128>,
    behind: Vec<u128>,
    generation: u32,
    batch: u32,
    /// Keeps sources from choosing where they fall.
    secret: u64,
    /// Keeps nothing, and finds nothing.
    pub(super) off: bool,
}

impl Cache {
    pub(super) fn new() -> Cache {
        let count = SETS * WAYS;
        Cache {
            places: vec![EMPTY; count],
            headers: vec![0; count * HEADER_LEN_MAX],
            adjacencies: vec![0; count * PARTS],
            direct: vec![0; count * PARTS],
            behind: vec![0; count * PARTS],
            generation: 0,
            batch: 0,
            secret: 0,
            off: false,
        }
    }

    /// Forgets everything: another Fib is about to be used.
    pub(super) fn prepare(&mut self, fib: &Fib) {
        self.secret = fib.secret();
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.places.fill(EMPTY);
        }
    }

    /// From here on, what is found stays until the next batch begins.
    pub(super) fn begin_batch(&mut self) {
        self.batch = self.batch.wrapping_add(1);
    }

    /// Where the partition of a packet is kept.
    #[inline]
    pub(super) fn find(&mut self, key: &Key<'_>) -> Option<u16> {
        if self.off {
            return None;
        }
        let (tag, header) = (self.tag(key), key.header);
        let first = set_of(tag);
        for at in first..first + WAYS {
            let place = &mut self.places[at];
            let known = place.tag == tag
                && place.generation == self.generation
                && usize::from(place.header_len) == header.len()
                && place.source == key.source;
            if known && self.headers[at * HEADER_LEN_MAX..][..header.len()] == *header {
                place.used = self.batch;
                return Some(at as u16);
            }
        }
        None
    }

    /// What the source of a found packet leads to.
    pub(super) fn source_entry(&self, place: u16) -> EntryId {
        self.places[usize::from(place)].source_entry
    }

    /// The parts of a found packet.
    pub(super) fn parts(&self, place: u16) -> impl Iterator<Item = Part> + '_ {
        let first = usize::from(place) * PARTS;
        let count = usize::from(self.places[usize::from(place)].parts);
        (first..first + count).map(|at| Part {
            adjacency: self.adjacencies[at],
            direct: self.direct[at],
            behind: self.behind[at],
        })
    }

    /// Keeps the partition of a packet that was not found, if its channel was seen before.
    pub(super) fn keep(&mut self, key: &Key<'_>, source_entry: EntryId, parts: &Parts) {
        let header = key.header;
        if self.off || parts.len() > PARTS || header.len() > HEADER_LEN_MAX {
            return;
        }
        let tag = self.tag(key);
        let first = set_of(tag);
        let set = &mut self.places[first..first + WAYS];
        let known = set.iter().position(|place| place.tag == tag);
        let age = |place: &Place| self.batch.wrapping_sub(place.used);
        let oldest = (0..WAYS).max_by_key(|way| age(&set[*way])).unwrap_or(0);
        let place = &mut set[known.unwrap_or(oldest)];
        let at = first + known.unwrap_or(oldest);
        if place.header_len != 0 && place.used == self.batch {
            return; // found by a packet of this batch, which may come yet
        }
        let again = known.is_some() && place.generation == self.generation;
        *place = Place { tag, generation: self.generation, used: self.batch, ..EMPTY };
        if again {
            place.source = key.source;
            place.source_entry = source_entry;
            place.header_len = header.len() as u16;
            place.parts = parts.len() as u8;
            self.headers[at * HEADER_LEN_MAX..][..header.len()].copy_from_slice(header);
            for (at, part) in (at * PARTS..).zip(parts.all()) {
                self.adjacencies[at] = part.adjacency;
                self.direct[at] = part.direct;
                self.behind[at] = part.behind;
            }
        }
    }

    fn tag(&self, key: &Key<'_>) -> u64 {
        mix(key.flow ^ self.secret) | 1
    }
}

/// Where the places of a tag begin; its lowest bit is always set.
#[inline]
fn set_of(tag: u64) -> usize {
    (tag >> 1) as usize % SETS * WAYS
}

//! Step 1: a batch of packets is parsed, and all addresses that it leads to are looked up at once,
//! so that the waits for memory overlap.

use std::net::IpAddr;

use super::cache::Cache;
use super::packet::{Packet, Parsed, Unread, parse};
use super::reason::DropReason;
use crate::fib::{Entry, EntryId, Fib, is_link_local};
use crate::wire::xcast4::{DESTINATIONS_MAX, all, live_indices};

/// Packets that are staged together.
const PACKETS: usize = 32;
/// A packet is staged while fewer addresses than this are: a batch should stay in the fastest
/// cache.
const ADDRESSES: usize = 512;

/// Packets that are processed together.
pub trait Batch {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them; each call lends the same packet.
    fn packet(&mut self, index: usize) -> Packet<'_>;
}

/// A batch of one.
pub(super) struct One<'a>(pub(super) Packet<'a>);

impl Batch for One<'_> {
    fn len(&self) -> usize {
        1
    }

    fn packet(&mut self, _: usize) -> Packet<'_> {
        Packet { buffer: self.0.buffer, ..self.0 }
    }
}

/// A packet that was looked at.
pub(super) struct Staged {
    unread: Option<Unread>,
    /// Of an earlier packet where it could not be read.
    parsed: Parsed,
    /// Its first address among those of its family: its source; its live destinations follow. None
    /// where they are `cached`.
    first: usize,
    /// Where its partition is in the cache.
    pub(super) cached: Option<u16>,
}

/// The addresses of a family that a batch leads to, and their entries.
#[derive(Default)]
struct Family<A> {
    addresses: Vec<A>,
    entries: Vec<EntryId>,
    len: usize,
}

/// A batch of packets in work. The default one has no room.
#[derive(Default)]
pub(super) struct Stage {
    /// Only the first `len` are of this batch.
    packets: Vec<Staged>,
    len: usize,
    v4: Family<u32>,
    v6: Family<u128>,
}

impl<A: Copy + Default> Family<A> {
    fn new() -> Family<A> {
        let mut family = Family { addresses: Vec::new(), entries: Vec::new(), len: 0 };
        family.addresses.resize_with(ADDRESSES + DESTINATIONS_MAX + 1, A::default);
        family.entries.resize(ADDRESSES + DESTINATIONS_MAX + 1, 0);
        family
    }

    /// Adds a source, and the live ones of a list's addresses, each of `LEN` octets. Returns where
    /// they begin.
    #[inline]
    fn extend<const LEN: usize>(
        &mut self,
        source: A,
        list: &[u8],
        live: u128,
        read: impl Fn([u8; LEN]) -> A,
    ) -> usize {
        let first = self.len;
        let (list, _) = list.as_chunks::<LEN>();
        let room = &mut self.addresses[first..];
        room[0] = source;
        if live == all(list.len()) {
            for (address, octets) in room[1..].iter_mut().zip(list) {
                *address = read(*octets);
            }
            self.len = first + 1 + list.len();
        } else {
            self.len = first + 1;
            for (address, index) in room[1..].iter_mut().zip(live_indices(live)) {
                *address = read(list[index]);
                self.len += 1;
            }
        }
        first
    }
}

impl Family<u32> {
    /// Adds the addresses of a packet; returns where they begin.
    #[inline]
    fn add(&mut self, buffer: &[u8], parsed: &mut Parsed) -> usize {
        let IpAddr::V4(source) = parsed.source else { return 0 };
        let list = &buffer[parsed.lists.addresses..][..4 * parsed.count];
        let first = self.extend(source.to_bits(), list, parsed.live, u32::from_be_bytes);
        let destinations = &self.addresses[first + 1..self.len];
        let link_local = |address: &u32| address >> 16 == 0xa9fe; // 169.254.0.0/16
        // All of them: a loop without an exit takes several at a time.
        let count = destinations.iter().filter(|address| link_local(address)).count();
        parsed.any_link_local = count > 0;
        first
    }
}

impl Family<u128> {
    /// Adds the addresses of a packet; returns where they begin. The Fib knows link-local addresses
    /// of IPv6 by itself.
    fn add(&mut self, buffer: &[u8], parsed: &mut Parsed) -> usize {
        let IpAddr::V6(source) = parsed.source else { return 0 };
        let list = &buffer[parsed.lists.addresses..][..16 * parsed.count];
        self.extend(source.to_bits(), list, parsed.live, u128::from_be_bytes)
    }
}

impl Stage {
    pub(super) fn new() -> Stage {
        let nothing = || Staged { unread: None, parsed: Parsed::NOTHING, first: 0, cached: None };
        let packets = std::iter::repeat_with(nothing).take(PACKETS).collect();
        Stage { packets, len: 0, v4: Family::new(), v6: Family::new() }
    }

    /// Takes up as many packets of a batch as there is room for.
    #[inline]
    pub(super) fn fill(&mut self, fib: &Fib, batch: &mut impl Batch, cache: &mut Cache) {
        self.len = 0;
        (self.v4.len, self.v6.len) = (0, 0);
        cache.begin_batch();
        let count = batch.len().min(PACKETS);
        while self.len < count && self.v4.len < ADDRESSES && self.v6.len < ADDRESSES {
            self.take_up(fib, &batch.packet(self.len), cache);
            self.len += 1;
        }
        let Family { addresses, entries, len } = &mut self.v4;
        if *len > 0 {
            fib.lookup_batch_v4(&addresses[..*len], &mut entries[..*len]);
        }
        let Family { addresses, entries, len } = &mut self.v6;
        if *len > 0 {
            fib.lookup_batch_v6(&addresses[..*len], &mut entries[..*len]);
        }
    }

    #[inline]
    fn take_up(&mut self, fib: &Fib, packet: &Packet<'_>, cache: &mut Cache) {
        let staged = &mut self.packets[self.len];
        staged.cached = None;
        staged.unread = parse(fib, packet, &mut staged.parsed).err();
        if staged.unread.is_none() {
            staged.cached = cache.find(&staged.parsed, packet.buffer);
            if staged.cached.is_none() {
                staged.first = match staged.parsed.is_v6() {
                    false => self.v4.add(packet.buffer, &mut staged.parsed),
                    true => self.v6.add(packet.buffer, &mut staged.parsed),
                };
            }
        }
    }

    /// The packets, and what they lead to.
    pub(super) fn each(&mut self) -> impl Iterator<Item = (&mut Staged, &[EntryId])> {
        let Stage { packets, len, v4, v6 } = self;
        packets[..*len].iter_mut().map(|staged| {
            let entries: &[EntryId] = match (&staged.unread, staged.cached) {
                (None, None) => {
                    let count = 1 + staged.parsed.live.count_ones() as usize;
                    let family = if staged.parsed.is_v6() { &v6.entries } else { &v4.entries };
                    &family[staged.first..staged.first + count]
                }
                _ => &[],
            };
            (staged, entries)
        })
    }
}

impl Staged {
    /// The packet, if its source may be one; `entries` is what its addresses led to.
    #[inline]
    pub(super) fn validated(
        &mut self,
        fib: &Fib,
        packet: &Packet<'_>,
        entries: &[EntryId],
        cache: &Cache,
    ) -> Result<&Parsed, DropReason> {
        if let Some(unread) = &self.unread {
            return Err(unread.reason(fib, packet));
        }
        let parsed = &mut self.parsed;
        let id = match self.cached {
            Some(place) => cache.source_entry(place),
            None => entries[0],
        };
        parsed.source_entry = match *fib.entry(id) {
            Entry::Bad => return Err(DropReason::Source),
            Entry::LinkLocal => fib.link_local_entry(parsed.source, packet.port),
            entry => entry,
        };
        let scoped = is_link_local(parsed.source) && !parsed.all_on_link(fib, packet);
        if parsed.source_entry == Entry::Bad || scoped {
            return Err(DropReason::Source);
        }
        Ok(parsed)
    }
}

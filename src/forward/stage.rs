//! Step 1: the packets of a batch are parsed, and all addresses that they lead to are looked up, some
//! packets ahead of those that are worked on: so the waits for memory overlap with that work, and with
//! one another.

use std::net::IpAddr;
use std::ops::Range;

use super::cache::Cache;
use super::fast::{self, Plain};
use super::packet::{Packet, Parsed, Unread, parse};
use super::reason::DropReason;
use crate::fib::{Entry, EntryId, Fib, PASSES_V4, is_link_local};
use crate::io::prefetch;
use crate::wire::xcast4::{DESTINATIONS_MAX, all, live_indices};

/// Packets that are staged together.
const PACKETS: usize = 32;
/// Packets that are fetched ahead of those that are read.
const AHEAD: usize = 8;
/// Octets at the start of a packet that are fetched before they are read; the processor fetches what
/// follows of long lists by itself.
const HEADERS: usize = 64;
/// A packet is staged while fewer addresses than this are: a batch should stay in the fastest
/// cache.
const ADDRESSES: usize = 512;
/// So many IPv4 addresses are looked up together, or some more, or those of so many packets: the fewer,
/// the more of the other work is done while memory is waited for.
const WAVE: usize = 16;
/// See [`WAVE`].
const WAVE_PACKETS: usize = PACKETS / 4;
/// More than so many are looked up all at once, with many others: memory has enough to do with them, and
/// takes no more requests at a time.
const LONG: usize = 40;
/// Room for the longest list.
const LIST_ROOM: usize = DESTINATIONS_MAX.next_power_of_two();

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

/// Has the start of a packet fetched, which will be read soon.
#[inline(always)]
fn fetch(packet: &Packet<'_>) {
    let Packet { buffer, start, .. } = packet;
    let headers = buffer.get(*start..).and_then(<[u8]>::first_chunk::<HEADERS>);
    headers.into_iter().for_each(prefetch);
    if let Some(octet) = buffer.get(start + HEADERS) {
        prefetch(octet);
    }
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
    /// What it seems to be, if it is like most; then it was not looked at closely.
    pub(super) plain: Option<Plain>,
    unread: Option<Unread>,
    /// Of an earlier packet where it could not be read.
    parsed: Parsed,
    /// Its addresses among those of its family; of no use where they are `cached`.
    addresses: Addresses,
    /// Where its partition is in the cache.
    pub(super) cached: Option<u16>,
}

/// Where the addresses of a packet are.
#[derive(Clone, Default)]
struct Addresses {
    source: usize,
    /// The live destinations.
    listed: Range<usize>,
}

/// The addresses of a family that a batch leads to, and their entries.
#[derive(Default)]
struct Family<A> {
    addresses: Vec<A>,
    entries: Vec<EntryId>,
    len: usize,
    /// Where the last source is: often it is that of the next packet too.
    source: usize,
}

/// Where a wave ends: packets taken up until then, and their IPv4 addresses.
#[derive(Clone, Copy, Default)]
struct Ends {
    packets: usize,
    v4: usize,
}

/// A batch of packets in work. The default one has no room.
#[derive(Default)]
pub(super) struct Stage {
    packets: Vec<Staged>,
    /// Those that were taken up of this batch, of so many that there are.
    len: usize,
    count: usize,
    turn: usize,
    /// Where waves of packets end, whose addresses are looked up together: the first `waves` behind the
    /// start of the batch.
    ends: Vec<Ends>,
    waves: usize,
    v4: Family<u32>,
    v6: Family<u128>,
}

impl<A: Copy + Default + PartialEq> Family<A> {
    fn new() -> Family<A> {
        let (addresses, entries) = (Vec::new(), Vec::new());
        let mut family = Family { addresses, entries, len: 0, source: 0 };
        family.addresses.resize_with(ADDRESSES + 1 + LIST_ROOM, A::default);
        family.entries.resize(ADDRESSES + 1 + LIST_ROOM, 0);
        family
    }

    /// Adds a source, unless it is that of the packet before; returns where it is.
    #[inline]
    fn add_source(&mut self, source: A) -> usize {
        if self.len == 0 || self.addresses[self.source] != source {
            self.source = self.len;
            self.addresses[self.len] = source;
            self.len += 1;
        }
        self.source
    }

    /// Adds a source, and the live ones of a list's addresses, each of `LEN` octets and from `read`. Returns
    /// where.
    #[inline(always)]
    fn extend<const LEN: usize>(
        &mut self,
        source: A,
        list: &[u8],
        live: u128,
        mut read: impl FnMut([u8; LEN]) -> A,
    ) -> Addresses {
        let source = self.add_source(source);
        let (list, _) = list.as_chunks::<LEN>();
        let (first, room) = (self.len, &mut self.addresses[self.len..]);
        let len = match list {
            [only] if live == all(1) => {
                room[0] = read(*only);
                1
            }
            _ if live == all(list.len()) => {
                let each = room.iter_mut().zip(list);
                each.for_each(|(address, octets)| *address = read(*octets));
                list.len()
            }
            _ => {
                let each = room.iter_mut().zip(live_indices(live));
                each.map(|(address, index)| *address = read(list[index])).count()
            }
        };
        self.len += len;
        Addresses { source, listed: first..self.len }
    }
}

impl Family<u32> {
    /// Adds the addresses of a packet; returns where, and whether some destination is link-local.
    #[inline(always)]
    fn add(&mut self, source: u32, list: &[u8], live: u128) -> (Addresses, bool) {
        let mut any = false;
        let added = self.extend(source, list, live, |octets| {
            let address = u32::from_be_bytes(octets);
            any |= fast::is_link_local(address);
            address
        });
        (added, any)
    }

    /// Adds the addresses of a packet that was looked at closely; returns where.
    fn add_parsed(&mut self, buffer: &[u8], parsed: &mut Parsed) -> Addresses {
        let IpAddr::V4(source) = parsed.source else { return Addresses::default() };
        let list = &buffer[parsed.lists.addresses..][..4 * parsed.count];
        let (added, any) = self.add(source.to_bits(), list, parsed.live);
        parsed.any_link_local = any;
        added
    }
}

impl Family<u128> {
    /// Adds the addresses of a packet; returns where. The Fib knows link-local addresses of IPv6 by
    /// itself.
    fn add_parsed(&mut self, buffer: &[u8], parsed: &mut Parsed) -> Addresses {
        let IpAddr::V6(source) = parsed.source else { return Addresses::default() };
        let list = &buffer[parsed.lists.addresses..][..16 * parsed.count];
        self.extend(source.to_bits(), list, parsed.live, u128::from_be_bytes)
    }
}

impl Stage {
    pub(super) fn new() -> Stage {
        let nothing = || Staged {
            plain: None,
            unread: None,
            parsed: Parsed::NOTHING,
            addresses: Addresses::default(),
            cached: None,
        };
        let packets = std::iter::repeat_with(nothing).take(PACKETS).collect();
        let ends = std::iter::repeat_n(Ends::default(), PACKETS + 1).collect();
        Stage { packets, ends, v4: Family::new(), v6: Family::new(), ..Stage::default() }
    }

    /// Begins a batch.
    #[inline]
    pub(super) fn begin(&mut self, batch: &mut impl Batch, cache: &mut Cache) {
        (self.len, self.count) = (0, batch.len().min(PACKETS));
        (self.v4.len, self.v6.len) = (0, 0);
        (self.turn, self.waves) = (0, 0);
        cache.begin_batch();
        (0..self.count.min(AHEAD)).for_each(|index| fetch(&batch.packet(index)));
    }

    /// Takes up some more packets, and brings the lookups forward of those that were taken up before.
    /// Returns the packets whose lookups are done now, if any are to come still: the caller is done with
    /// them before the next turn, and meanwhile memory is at work for the others.
    #[inline]
    pub(super) fn turn(
        &mut self,
        fib: &Fib,
        batch: &mut impl Batch,
        cache: &mut Cache,
    ) -> Option<Range<usize>> {
        let turn = self.turn;
        self.turn += 1;
        if self.has_room() {
            self.take_up_wave(fib, batch, cache);
        }
        // One by one, so that each is compiled for itself.
        const { assert!(PASSES_V4 == 3) };
        self.look_up_v4(fib, turn.checked_sub(1), 1);
        self.look_up_v4(fib, turn.checked_sub(2), 2);
        match turn.checked_sub(PASSES_V4 - 1) {
            None => Some(0..0),
            Some(wave) if wave < self.waves => {
                Some(self.ends[wave].packets..self.ends[wave + 1].packets)
            }
            Some(_) => None,
        }
    }

    fn has_room(&self) -> bool {
        self.len < self.count && self.v4.len < ADDRESSES && self.v6.len < ADDRESSES
    }

    /// Takes up packets with as many addresses as are looked up together, and begins to.
    #[inline]
    fn take_up_wave(&mut self, fib: &Fib, batch: &mut impl Batch, cache: &mut Cache) {
        let (v4, v6, last) = (self.v4.len, self.v6.len, self.len + WAVE_PACKETS);
        let is_full = |stage: &Stage| match stage.v4.len - v4 {
            0 => false,
            addresses => addresses <= LONG && (addresses >= WAVE || stage.len >= last),
        };
        while self.has_room() && !is_full(self) {
            if self.len + AHEAD < self.count {
                fetch(&batch.packet(self.len + AHEAD));
            }
            self.take_up(fib, &batch.packet(self.len), cache);
            self.len += 1;
        }
        self.waves += 1;
        self.ends[self.waves] = Ends { packets: self.len, v4: self.v4.len };
        self.look_up_v4(fib, Some(self.waves - 1), 0);
        let Family { addresses, entries, len, .. } = &mut self.v6;
        if v6 < *len {
            fib.lookup_batch_v6(&addresses[v6..*len], &mut entries[v6..*len]);
        }
    }

    /// Takes the addresses of a wave, if there is one, through a pass; of a long one through all with
    /// the first.
    #[inline(always)]
    fn look_up_v4(&mut self, fib: &Fib, wave: Option<usize>, pass: usize) {
        let Some(wave) = wave.filter(|wave| *wave < self.waves) else { return };
        let wave = self.ends[wave].v4..self.ends[wave + 1].v4;
        let (addresses, entries) = (&self.v4.addresses[wave.clone()], &mut self.v4.entries[wave]);
        match addresses.len() > LONG {
            true if pass == 0 => fib.lookup_batch_v4(addresses, entries),
            true => {}
            false => fib.look_up_v4(pass, addresses, entries),
        }
    }

    #[inline]
    fn take_up(&mut self, fib: &Fib, packet: &Packet<'_>, cache: &mut Cache) {
        let staged = &mut self.packets[self.len];
        (staged.addresses, staged.cached) = (Addresses::default(), None);
        staged.plain = fast::read(fib, packet);
        if let Some(plain) = &staged.plain {
            let key = plain.key(packet.buffer);
            staged.cached = key.and_then(|key| cache.find(&key));
            if staged.cached.is_some() {
                return;
            }
            let list = plain.list(packet.buffer);
            let (addresses, any_link_local) = self.v4.add(plain.source, list, plain.live);
            if !any_link_local {
                staged.addresses = addresses;
                return;
            }
            // It is to be looked at closely, and its list is added anew.
            self.v4.len = addresses.listed.start;
            staged.plain = None;
        }
        staged.unread = parse(fib, packet, &mut staged.parsed).err();
        if staged.unread.is_none() {
            let key = staged.parsed.key(packet.buffer);
            staged.cached = key.and_then(|key| cache.find(&key));
            if staged.cached.is_none() {
                staged.addresses = match staged.parsed.is_v6() {
                    false => self.v4.add_parsed(packet.buffer, &mut staged.parsed),
                    true => self.v6.add_parsed(packet.buffer, &mut staged.parsed),
                };
            }
        }
    }

    /// Some of the packets, and what their sources and their live destinations led to: nothing that
    /// counts where they are `cached`, or could not be read.
    pub(super) fn each(
        &mut self,
        some: Range<usize>,
    ) -> impl Iterator<Item = (&mut Staged, EntryId, &[EntryId])> {
        let Stage { packets, v4, v6, .. } = self;
        packets[some].iter_mut().map(|staged| {
            let is_v6 = staged.plain.is_none() && staged.parsed.is_v6();
            let family = if is_v6 { &v6.entries } else { &v4.entries };
            let Addresses { source, listed } = staged.addresses.clone();
            (staged, family[source], &family[listed])
        })
    }
}

impl Staged {
    /// Looks at the packet closely, which is not like most after all.
    #[cold]
    pub(super) fn look_closely(&mut self, fib: &Fib, packet: &Packet<'_>) {
        self.plain = None;
        self.unread = parse(fib, packet, &mut self.parsed).err();
    }

    /// The packet, if its source may be one, which led to `source`.
    #[inline]
    pub(super) fn validated(
        &mut self,
        fib: &Fib,
        packet: &Packet<'_>,
        source: EntryId,
    ) -> Result<&Parsed, DropReason> {
        if let Some(unread) = &self.unread {
            return Err(unread.reason(fib, packet));
        }
        let parsed = &mut self.parsed;
        parsed.source_entry = match *fib.entry(source) {
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

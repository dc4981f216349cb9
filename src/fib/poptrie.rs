//! Longest-prefix match in a compressed trie (after Asai and Ohara, "Poptrie", SIGCOMM 2015).
//!
//! A root of chunks, each for one value of the leading bits, cut into parts. A chunk that maps all
//! its addresses to the same value is that value. Any other is a vector of words of its own. So a
//! new generation shares all parts and chunks that have not changed with the one before, and
//! empty space is one part many times. The words of a chunk:
//!
//! - first one word for each value of the next bits (direct pointing), where there are any;
//! - then nodes. A node decides about six bits: a bitmap of two words, and one word for each run
//!   of equal neighbors among its 64 children, at whose first child the bitmap has a one. The
//!   words lie behind their bitmap, and all of a node in one cache line if it fits: a lookup waits
//!   for memory twice, for its slot and for its node.
//!
//! A word is a value, or the place of a node in the same chunk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bits::Bits;
use crate::io::prefetch;

/// What an address maps to. Less than 2^31.
pub(super) type Value = u32;

/// Set in a word that is the place of a node.
pub(super) const NODE: u32 = 1 << 31;
/// In front of what is shared: how often it is referred to.
const COUNTS: usize = 2 * size_of::<usize>();
/// The same in front of lines.
const COUNTS_LINE: usize = size_of::<Line>();
/// Lookups on their way at the same time.
const LANES: usize = 128;

/// Addresses from `start` to the next run's map to `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<B, V = Value> {
    pub(super) start: B,
    pub(super) value: V,
}

/// Words that are fetched from memory together: a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [u32; LINE]);

/// Words in a line.
pub(super) const LINE: usize = 16;

/// All addresses with the same leading bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Uniform(Value),
    Words(Arc<[Line]>),
}

const _: () = assert!(size_of::<Chunk>() == 16);

/// As many chunks as there are parts.
pub(super) type Part = Arc<[Chunk]>;

/// A published table: `ROOT` bits, an even number, lead to a chunk, `SLOT` bits to a word in it.
#[derive(Clone)]
pub(super) struct Poptrie<const ROOT: u32, const SLOT: u32> {
    parts: Arc<[Part]>,
}

impl<const ROOT: u32, const SLOT: u32> Poptrie<ROOT, SLOT> {
    /// A table of 2^(ROOT/2) parts of so many chunks.
    pub(super) fn new(parts: Arc<[Part]>) -> Self {
        Poptrie { parts }
    }

    /// One of the chunks, by the leading bits of its addresses.
    #[inline]
    pub(super) fn chunk(&self, index: usize) -> &Chunk {
        &self.parts[index >> (ROOT / 2)][index & ((1 << (ROOT / 2)) - 1)]
    }

    /// The octets of what it refers to, without what `before` refers to as well.
    pub(super) fn memory(&self, before: Option<&Self>) -> usize {
        let known = before.map(Self::pieces).unwrap_or_default();
        let own = self.pieces().into_iter();
        own.filter(|(place, _)| !known.contains_key(place)).map(|(_, octets)| octets).sum()
    }

    /// All that it refers to: by place, the octets.
    fn pieces(&self) -> BTreeMap<usize, usize> {
        let root = (self.parts.as_ptr().addr(), size_of_val::<[Part]>(&self.parts));
        let parts = self.parts.iter();
        let parts = parts.map(|part| (part.as_ptr().addr(), size_of_val::<[Chunk]>(part)));
        let words =
            self.parts.iter().flat_map(|part| part.iter()).filter_map(|chunk| match chunk {
                Chunk::Uniform(_) => None,
                Chunk::Words(lines) => {
                    let octets = COUNTS_LINE - COUNTS + size_of_val::<[Line]>(lines);
                    Some((lines.as_ptr().addr(), octets))
                }
            });
        let all = std::iter::once(root).chain(parts).chain(words);
        all.map(|(place, octets)| (place, COUNTS + octets)).collect()
    }

    /// The value of `address`.
    #[inline]
    pub(super) fn lookup<B: Bits>(&self, address: B) -> Value {
        match self.chunk(address.top(ROOT)) {
            Chunk::Uniform(value) => *value,
            Chunk::Words(words) => {
                let mut word = Self::first_word(words, address);
                let mut depth = ROOT + SLOT;
                while word & NODE != 0 {
                    word = descend(words, word, address.six(depth));
                    depth += 6;
                }
                word
            }
        }
    }

    #[inline]
    fn first_word<B: Bits>(lines: &[Line], address: B) -> u32 {
        match SLOT {
            0 => NODE,
            _ => word(lines, Self::first_place(address)),
        }
    }

    /// Where the first word of a chunk is that is read for an address.
    #[inline]
    fn first_place<B: Bits>(address: B) -> usize {
        address.top(ROOT + SLOT) & ((1 << SLOT) - 1)
    }

    /// Looks all `addresses` up, the first ones of `values` receiving the results.
    pub(super) fn lookup_batch<B: Bits>(&self, addresses: &[B], values: &mut [Value]) {
        for (addresses, values) in addresses.chunks(LANES).zip(values.chunks_mut(LANES)) {
            self.lookup_lanes(addresses, &mut values[..addresses.len()]);
        }
    }

    /// Goes down a level with all lanes before it goes down the next, and has what the next one reads
    /// fetched meanwhile, so that memory latencies overlap. (A processor by itself looks ahead no farther
    /// than a few lookups.)
    #[inline]
    fn lookup_lanes<B: Bits>(&self, addresses: &[B], values: &mut [Value]) {
        let mut lanes: [&[Line]; LANES] = [&[]; LANES];
        for ((address, word), lane) in addresses.iter().zip(&mut *values).zip(&mut lanes) {
            *word = match self.chunk(address.top(ROOT)) {
                Chunk::Uniform(value) => *value,
                Chunk::Words(words) => {
                    *lane = words;
                    fetch(words, Self::first_place(*address));
                    NODE
                }
            };
        }
        let mut any = 0;
        for ((address, word), lane) in addresses.iter().zip(&mut *values).zip(&lanes) {
            if *word & NODE != 0 {
                *word = Self::first_word(lane, *address);
                any |= *word;
                fetch_node(lane, *word);
            }
        }
        let mut depth = ROOT + SLOT;
        while any & NODE != 0 {
            any = 0;
            for ((word, lane), address) in values.iter_mut().zip(&lanes).zip(addresses) {
                if *word & NODE != 0 {
                    *word = descend(lane, *word, address.six(depth));
                    any |= *word;
                    fetch_node(lane, *word);
                }
            }
            depth += 6;
        }
    }
}

/// Has a word's line fetched.
#[inline]
fn fetch(lines: &[Line], place: usize) {
    if let Some(line) = lines.get(place / LINE) {
        prefetch(line);
    }
}

/// Has the node fetched that a word is the place of, if it is.
#[inline]
fn fetch_node(lines: &[Line], word: u32) {
    if word & NODE != 0 {
        fetch(lines, (word & !NODE) as usize);
    }
}

/// A word of a chunk.
#[inline]
fn word(lines: &[Line], place: usize) -> u32 {
    lines[place / LINE].0[place % LINE]
}

/// The word of the run of a node that holds a child.
#[inline]
fn descend(lines: &[Line], node: u32, child: u32) -> u32 {
    let node = (node & !NODE) as usize;
    // A node begins with the first word of two, so this is one load.
    let [low, high] = lines[node / LINE].0.as_chunks().0[node / 2 % (LINE / 2)];
    let starts = u64::from(low) | u64::from(high) << 32;
    let runs = (starts << (63 - child)).count_ones();
    word(lines, node + 1 + runs as usize)
}

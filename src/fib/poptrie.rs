//! Longest-prefix match in a compressed trie (after Asai and Ohara, "Poptrie", SIGCOMM 2015).
//!
//! The words of a chunk:
//!
//! - first one word for each value of the next bits (direct pointing);
//! - then nodes. A node decides about six bits: a bitmap of two words, and one word for each run
//!   of equal neighbors among its 64 children, at whose first child the bitmap has a one. The
//!   words lie behind their bitmap, and all of a node in one cache line if it fits: a lookup waits
//!   for memory twice, for its slot and for its node.
//!
//! A word is a value, or the place of a node.

use std::sync::atomic::AtomicU32;

use super::arena::{NODE, follow, load};
use super::bits::Bits;
use super::chunks::{Chunks, Value};

/// A published table: so many bits as are even lead to a chunk (see [`Chunks`]), `SLOT` bits to a word
/// in it.
#[derive(Clone)]
pub(super) struct Poptrie<const PART: usize, const SLOT: u32>(pub(super) Chunks<PART>);

impl<const PART: usize, const SLOT: u32> Poptrie<PART, SLOT> {
    /// Bits that the first node decides after.
    const DEPTH: u32 = Chunks::<PART>::ROOT + SLOT;

    /// The value of `address`.
    #[inline]
    pub(super) fn lookup<B: Bits>(&self, address: B) -> Value {
        let words = self.0.words();
        match self.begin(address) {
            word if word & NODE != 0 => {
                descend_all(words, load(words, word & !NODE), address, Self::DEPTH)
            }
            value => value,
        }
    }

    /// Passes that it takes to look addresses of one IP version up. Longer prefixes than 24 and 46 bits
    /// are rare.
    pub(super) const fn passes<B: Bits>() -> usize {
        if B::WIDTH == u32::BITS { 3 } else { 6 }
    }

    /// Takes addresses through one pass, in which it has fetched what the next one reads. After the last
    /// one, `words` are what `addresses` map to; there are at least as many.
    #[inline(always)]
    pub(super) fn pass<B: Bits>(&self, pass: usize, addresses: &[B], words: &mut [u32]) {
        let all = self.0.words();
        let group = addresses.iter().zip(words);
        if pass == 0 {
            return follow(all, group, |address, _| self.begin(address));
        }
        let group = group.filter(|(_, word)| **word & NODE != 0);
        if pass == 1 {
            return follow(all, group, |_, word| load(all, word & !NODE));
        }
        let depth = Self::DEPTH + 6 * (pass as u32 - 2);
        match pass + 1 == Self::passes::<B>() {
            false => follow(all, group, |address, word| descend(all, word, address.six(depth))),
            true => {
                for (address, word) in group {
                    *word = descend(all, *word, address.six(depth));
                    // Rarely.
                    if *word & NODE != 0 {
                        *word = descend_all(all, *word, *address, depth + 6);
                    }
                }
            }
        }
    }

    /// The value of all addresses of a chunk, or `NODE` and where the word of a slot is.
    #[inline(always)]
    fn begin<B: Bits>(&self, address: B) -> u32 {
        match self.0.root(address) {
            word if word & NODE != 0 => {
                word + (address.top(Self::DEPTH) as u32 & ((1 << SLOT) - 1))
            }
            value => value,
        }
    }
}

/// The word of the run of a node that holds a child.
#[inline(always)]
fn descend(words: &[AtomicU32], node: u32, child: u32) -> u32 {
    let node = node & !NODE;
    let starts = u64::from(load(words, node)) | u64::from(load(words, node + 1)) << 32;
    let runs = (starts << (63 - child)).count_ones();
    load(words, node + 1 + runs)
}

/// The value that a word leads to.
#[inline]
fn descend_all<B: Bits>(words: &[AtomicU32], mut word: u32, address: B, mut depth: u32) -> Value {
    while word & NODE != 0 {
        word = descend(words, word, address.six(depth));
        depth += 6;
    }
    word
}

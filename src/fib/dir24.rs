//! Longest-prefix match for IPv4 with one word for each 24 leading bits (Gupta, Lin and McKeown,
//! "Routing Lookups in Hardware at Memory Access Speeds", INFOCOM 1998): faster than a
//! [`poptrie`](super::poptrie), and some 64 MiB for a table of the internet.
//!
//! A chunk begins with a page of words for the next twelve bits. Each is a value, or the place of a
//! block of words for the last eight bits, behind the page.

use super::arena::{Draft, NODE, follow, load};
use super::chunks::{Chunks, Encode, Run, Value};
use super::{PART_V4, ROOT_V4};

/// Words of a page.
const PAGE: u32 = 1 << 12;
/// Words of a block.
const BLOCK: u32 = 1 << 8;

const _: () = assert!(PAGE * BLOCK == 1 << (u32::BITS - ROOT_V4));

/// A published table.
#[derive(Clone)]
pub(super) struct Dir24(pub(super) Chunks<PART_V4>);

impl Dir24 {
    /// The value of `address`.
    #[inline]
    pub(super) fn lookup(&self, address: u32) -> Value {
        let words = self.0.words();
        let mut word = self.begin(address);
        if word & NODE != 0 {
            word = in_block(load(words, word & !NODE), address);
            if word & NODE != 0 {
                word = load(words, word & !NODE);
            }
        }
        word
    }

    /// As [`Poptrie::pass`](super::poptrie::Poptrie::pass), in as many passes.
    #[inline(always)]
    pub(super) fn pass(&self, pass: usize, addresses: &[u32], words: &mut [u32]) {
        let all = self.0.words();
        let group = addresses.iter().zip(words);
        if pass == 0 {
            return follow(all, group, |address, _| self.begin(address));
        }
        let group = group.filter(|(_, word)| **word & NODE != 0);
        match pass {
            1 => follow(all, group, |address, word| in_block(load(all, word & !NODE), address)),
            _ => group.for_each(|(_, word)| *word = load(all, *word & !NODE)),
        }
    }

    /// The value of all addresses of a chunk, or `NODE` and where the word of 24 bits is.
    #[inline(always)]
    fn begin(&self, address: u32) -> u32 {
        match self.0.root(address) {
            word if word & NODE != 0 => word + (address / BLOCK % PAGE),
            value => value,
        }
    }
}

/// What a word of 24 bits says: a value, or `NODE` and where the word of all bits is.
#[inline(always)]
fn in_block(word: u32, address: u32) -> u32 {
    if word & NODE != 0 { word + address % BLOCK } else { word }
}

/// Makes chunks of runs.
#[derive(Default)]
pub(super) struct Encoder {
    draft: Draft,
    blocks: Vec<u32>,
}

impl Encoder {
    /// Adds the word of a block that begins.
    fn begin_block(&mut self) {
        self.draft.references.push(self.draft.words.len());
        self.draft.words.push(NODE | (PAGE + self.blocks.len() as u32));
    }
}

impl Encode<u32> for Encoder {
    fn draft(&mut self, runs: &[Run<u32>], root: u32) -> &mut Draft {
        self.draft.clear();
        self.blocks.clear();
        let last_of_all = runs[0].start | (u32::MAX >> root);
        let ends = runs[1..].iter().map(|next| next.start - 1).chain([last_of_all]);
        for (run, last) in runs.iter().zip(ends) {
            let mut first = run.start;
            // What belongs to a block that has begun, or begins one.
            if first % BLOCK != 0 || last - first < BLOCK - 1 {
                let end = last.min(first | (BLOCK - 1));
                if first % BLOCK == 0 {
                    self.begin_block();
                }
                self.blocks.extend(std::iter::repeat_n(run.value, (end - first + 1) as usize));
                if end == last {
                    continue;
                }
                first = end + 1;
            }
            let (whole, rest) = ((last - first + 1) / BLOCK, (last - first + 1) % BLOCK);
            self.draft.words.extend(std::iter::repeat_n(run.value, whole as usize));
            if rest > 0 {
                self.begin_block();
                self.blocks.extend(std::iter::repeat_n(run.value, rest as usize));
            }
        }
        self.draft.words.extend_from_slice(&self.blocks);
        &mut self.draft
    }
}

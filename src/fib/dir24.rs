//! Longest-prefix match for IPv4 with one word for each 24 leading bits (Gupta, Lin and McKeown,
//! "Routing Lookups in Hardware at Memory Access Speeds", INFOCOM 1998): faster than a
//! [`poptrie`](super::poptrie), and some 64 MiB for a table of the internet.
//!
//! Twelve bits lead to a value, or to a page of words for the next twelve bits. A word is a value,
//! or leads to a block of words for the last eight bits. Pages and blocks lie in regions that
//! generations share. What a published table refers to is never written again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::overlap::overlap;
use super::poptrie::{NODE, Value};
use crate::io::prefetch;

/// Bits that lead to a page.
pub(super) const ROOT: u32 = 12;
/// Words of a page.
pub(super) const PAGE: usize = 1 << 12;
/// Words of a block.
pub(super) const BLOCK: usize = 1 << 8;

/// Words that generations share.
pub(super) type Region = Arc<Vec<AtomicU32>>;

/// A page in use, with the blocks that it leads to. Free again when no table refers to it.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) index: u32,
    pub(super) blocks: Vec<u32>,
}

/// A published table.
#[derive(Clone)]
pub(super) struct Dir24 {
    pub(super) words: Region,
    pub(super) blocks: Region,
    /// By leading bits: a value, or `NODE` and the index of a page.
    pub(super) root: Arc<[u32]>,
    /// By leading bits: keeps the pages from being written.
    pub(super) pages: Arc<[Option<Arc<Page>>]>,
}

impl Dir24 {
    /// The value of `address`.
    #[inline]
    pub(super) fn lookup(&self, address: u32) -> Value {
        let mut word = self.root[(address >> 20) as usize];
        if word & NODE != 0 {
            word = at(&self.words, word, PAGE, (address >> 8) as usize);
            if word & NODE != 0 {
                word = at(&self.blocks, word, BLOCK, address as usize);
            }
        }
        word
    }

    /// Looks all `addresses` up, the first ones of `values` receiving the results. Each pass has what the
    /// next one reads fetched.
    pub(super) fn lookup_batch(&self, addresses: &[u32], values: &mut [Value]) {
        overlap(3, addresses.len(), |pass, group| {
            let group = addresses[group.clone()].iter().zip(&mut values[group]);
            match pass {
                0 => {
                    for (address, value) in group {
                        *value = self.root[(address >> 20) as usize];
                        if *value & NODE != 0 {
                            prefetch(place(&self.words, *value, PAGE, (address >> 8) as usize));
                        }
                    }
                }
                1 => {
                    for (address, value) in group {
                        if *value & NODE != 0 {
                            *value = at(&self.words, *value, PAGE, (address >> 8) as usize);
                            if *value & NODE != 0 {
                                prefetch(place(&self.blocks, *value, BLOCK, *address as usize));
                            }
                        }
                    }
                }
                _ => {
                    for (address, value) in group {
                        if *value & NODE != 0 {
                            *value = at(&self.blocks, *value, BLOCK, *address as usize);
                        }
                    }
                }
            }
        });
    }

    /// The octets of what it refers to, without what `before` refers to as well.
    pub(super) fn memory(&self, before: Option<&Self>) -> usize {
        if before.is_some_and(|before| Arc::ptr_eq(&before.root, &self.root)) {
            return 0;
        }
        let mut octets = size_of_val::<[u32]>(&self.root) + size_of_val(&*self.pages);
        for (index, page) in self.pages.iter().enumerate() {
            let Some(page) = page else { continue };
            let known = before.and_then(|before| before.pages[index].as_ref());
            if !known.is_some_and(|known| Arc::ptr_eq(known, page)) {
                octets += size_of::<u32>() * (PAGE + BLOCK * page.blocks.len() + page.blocks.len());
            }
        }
        octets
    }
}

#[inline]
fn at(region: &[AtomicU32], word: u32, size: usize, index: usize) -> u32 {
    place(region, word, size, index).load(Ordering::Relaxed)
}

#[inline]
fn place(region: &[AtomicU32], word: u32, size: usize, index: usize) -> &AtomicU32 {
    &region[(word & !NODE) as usize * size + index % size]
}

//! How IPv4 addresses are looked up: in tables of either layout.

use std::ops::Range;

use super::arena::{Allocate, zeros};
use super::chunks::{ChunkStore, Chunks, Run, Store, Value};
use super::dir24::{self, Dir24};
use super::encode;
use super::poptrie::Poptrie;
use super::{PART_V4, ROOT_V4, SLOT_V4};

/// How IPv4 addresses are looked up, and where tables (of IPv6 too) get their memory: so many words that
/// are 0. In large pages lookups are faster.
#[derive(Clone, Copy, Debug)]
pub enum TableKind {
    /// In a compressed trie.
    Poptrie(Allocate),
    /// In a table of 24 bits.
    Dir24(Allocate),
}

impl Default for TableKind {
    /// A compressed trie in memory that is all written at once: for small tables.
    fn default() -> TableKind {
        TableKind::Poptrie(zeros)
    }
}

impl TableKind {
    /// Whether both are looked up in the same way.
    pub(super) fn is_like(self, other: TableKind) -> bool {
        matches!(
            (self, other),
            (TableKind::Poptrie(_), TableKind::Poptrie(_))
                | (TableKind::Dir24(_), TableKind::Dir24(_))
        )
    }

    /// Where tables get their memory.
    pub(super) fn allocate(self) -> Allocate {
        match self {
            TableKind::Poptrie(allocate) | TableKind::Dir24(allocate) => allocate,
        }
    }
}

/// A published table of either kind.
#[derive(Clone)]
pub(super) enum TableV4 {
    Poptrie(Poptrie<PART_V4, SLOT_V4>),
    Dir24(Dir24),
}

impl TableV4 {
    /// The octets of what it refers to, without what `before` refers to as well.
    pub(super) fn memory(&self, before: Option<&Self>) -> usize {
        self.chunks().memory(before.map(Self::chunks))
    }

    fn chunks(&self) -> &Chunks<PART_V4> {
        match self {
            TableV4::Poptrie(Poptrie(chunks)) | TableV4::Dir24(Dir24(chunks)) => chunks,
        }
    }
}

/// A table of either kind that changes.
pub(super) enum StoreV4 {
    Poptrie(ChunkStore<PART_V4, encode::Encoder<SLOT_V4>>),
    Dir24(ChunkStore<PART_V4, dir24::Encoder>),
}

impl StoreV4 {
    /// Every address maps to 0.
    pub(super) fn new(kind: TableKind) -> StoreV4 {
        match kind {
            TableKind::Poptrie(allocate) => StoreV4::Poptrie(ChunkStore::new(allocate)),
            TableKind::Dir24(allocate) => StoreV4::Dir24(ChunkStore::new(allocate)),
        }
    }

    /// As it is now.
    pub(super) fn table(&self) -> TableV4 {
        match self {
            StoreV4::Poptrie(store) => TableV4::Poptrie(Poptrie(store.table())),
            StoreV4::Dir24(store) => TableV4::Dir24(Dir24(store.table())),
        }
    }
}

impl Store<u32> for StoreV4 {
    const ROOT: u32 = ROOT_V4;

    fn fill(&mut self, chunks: Range<usize>, value: Value) {
        match self {
            StoreV4::Poptrie(store) => Store::<u32>::fill(store, chunks, value),
            StoreV4::Dir24(store) => Store::<u32>::fill(store, chunks, value),
        }
    }

    fn put(&mut self, chunk: usize, runs: &[Run<u32>]) {
        match self {
            StoreV4::Poptrie(store) => store.put(chunk, runs),
            StoreV4::Dir24(store) => store.put(chunk, runs),
        }
    }
}

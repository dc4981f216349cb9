//! What lookup tables have in common: leading bits lead to a value, or to a chunk of words which its
//! layout knows how to read. A new generation shares with the one before all that has not changed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::arena::{Allocate, Arena, Draft, NODE, Piece, Region};
use super::bits::Bits;

/// What an address maps to. Less than 2^31.
pub(super) type Value = u32;

/// In front of what is shared: how often it is referred to.
const COUNTS: usize = 2 * size_of::<usize>();

/// Addresses from `start` to the next run's map to `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<B, V = Value> {
    pub(super) start: B,
    pub(super) value: V,
}

/// Some of the chunks, one after another. Empty space is one part many times.
#[derive(Clone)]
struct Part<const PART: usize> {
    /// Of each chunk its value, if all its addresses map to one; or `NODE` and where its words are.
    words: [u32; PART],
    /// Keeps those words from being written.
    pieces: [Option<Arc<Piece>>; PART],
}

type Parts<const PART: usize> = Arc<[Arc<Part<PART>>; PART]>;

/// A published table of `PART` parts of as many chunks. `PART` is a power of two.
#[derive(Clone)]
pub(super) struct Chunks<const PART: usize> {
    region: Region,
    parts: Parts<PART>,
}

impl<const PART: usize> Chunks<PART> {
    /// Bits that lead to a chunk.
    pub(super) const ROOT: u32 = 2 * PART.ilog2();

    /// What the leading bits of an address lead to: a value, or `NODE` and the place of a chunk.
    #[inline(always)]
    pub(super) fn root<B: Bits>(&self, address: B) -> u32 {
        let index = address.top(Self::ROOT);
        self.parts[index / PART % PART].words[index % PART]
    }

    /// The words of all chunks.
    #[inline]
    pub(super) fn words(&self) -> &[AtomicU32] {
        self.region.words()
    }

    /// The octets of what it refers to, without what `before` refers to as well.
    pub(super) fn memory(&self, before: Option<&Self>) -> usize {
        let known = before.map(Self::all).unwrap_or_default();
        let own = self.all().into_iter();
        own.filter(|(place, _)| !known.contains_key(place)).map(|(_, octets)| octets).sum()
    }

    /// All that it refers to: by place, the octets.
    fn all(&self) -> BTreeMap<usize, usize> {
        let root = (Arc::as_ptr(&self.parts).addr(), size_of_val(&*self.parts));
        let parts = self.parts.iter().map(|part| (Arc::as_ptr(part).addr(), size_of_val(&**part)));
        let pieces = self.parts.iter().flat_map(|part| part.pieces.iter().flatten());
        let pieces =
            pieces.map(|piece| (Arc::as_ptr(piece).addr(), size_of::<Piece>() + piece.octets()));
        let all = std::iter::once(root).chain(parts).chain(pieces);
        all.map(|(place, octets)| (place, COUNTS + octets)).collect()
    }
}

/// Makes the words of chunks.
pub(super) trait Encode<B>: Default {
    /// Drafts the chunk of all addresses that begin with the same `root` bits, of at least two runs.
    /// The first one begins with the chunk; neighbors differ.
    fn draft(&mut self, runs: &[Run<B>], root: u32) -> &mut Draft;
}

/// What a compiled table goes into, chunk by chunk: all addresses with the same `ROOT` leading bits.
pub(super) trait Store<B> {
    const ROOT: u32;

    /// Maps all addresses of some chunks to a value.
    fn fill(&mut self, chunks: Range<usize>, value: Value);

    /// Sets what the addresses of a chunk map to. The first run begins with the chunk; neighbors
    /// differ.
    fn put(&mut self, chunk: usize, runs: &[Run<B>]);
}

/// A table that changes. It shares with what was published of it all that has not changed since.
pub(super) struct ChunkStore<const PART: usize, E> {
    arena: Arena,
    parts: Parts<PART>,
    /// The last part that is all of one value, and the value.
    uniform: (Arc<Part<PART>>, Value),
    encoder: E,
}

impl<const PART: usize, E: Default> ChunkStore<PART, E> {
    /// Every address maps to 0.
    pub(super) fn new(allocate: Allocate) -> Self {
        let uniform = Self::uniform(0);
        let parts = Arc::new(std::array::from_fn(|_| Arc::clone(&uniform)));
        let arena = Arena::new(allocate);
        ChunkStore { arena, parts, uniform: (uniform, 0), encoder: E::default() }
    }

    fn uniform(value: Value) -> Arc<Part<PART>> {
        Arc::new(Part { words: [value; PART], pieces: [const { None }; PART] })
    }

    /// As it is now.
    pub(super) fn table(&self) -> Chunks<PART> {
        Chunks { region: self.arena.region.clone(), parts: Arc::clone(&self.parts) }
    }

    /// Maps some chunks of a part to a value.
    fn fill_part(&mut self, part: usize, chunks: Range<usize>, value: Value) {
        if self.parts[part].words[chunks.clone()].iter().all(|word| *word == value) {
            return;
        }
        let old = &self.parts[part].pieces[chunks.clone()];
        old.iter().flatten().for_each(|piece| self.arena.leave(Arc::clone(piece)));
        let parts = Arc::make_mut(&mut self.parts);
        if chunks.len() == PART {
            if self.uniform.1 != value {
                self.uniform = (Self::uniform(value), value);
            }
            parts[part] = Arc::clone(&self.uniform.0);
        } else {
            let part = Arc::make_mut(&mut parts[part]);
            part.words[chunks.clone()].fill(value);
            part.pieces[chunks].fill(None);
        }
    }
}

impl<B: Bits, const PART: usize, E: Encode<B>> Store<B> for ChunkStore<PART, E> {
    const ROOT: u32 = Chunks::<PART>::ROOT;

    fn fill(&mut self, chunks: Range<usize>, value: Value) {
        let mut start = chunks.start;
        while start < chunks.end {
            let (part, first) = (start / PART, start % PART);
            let end = (first + chunks.end - start).min(PART);
            self.fill_part(part, first..end, value);
            start += end - first;
        }
    }

    fn put(&mut self, chunk: usize, runs: &[Run<B>]) {
        let (part, index) = (chunk / PART, chunk % PART);
        if let [only] = runs {
            return self.fill_part(part, index..index + 1, only.value);
        }
        let draft = self.encoder.draft(runs, Chunks::<PART>::ROOT);
        let old = self.parts[part].pieces[index].as_ref();
        if old.is_some_and(|piece| self.arena.holds(piece, draft)) {
            return;
        }
        let piece = self.arena.put(draft);
        let part = Arc::make_mut(&mut Arc::make_mut(&mut self.parts)[part]);
        part.words[index] = NODE | piece.place();
        let old = part.pieces[index].replace(piece);
        old.into_iter().for_each(|piece| self.arena.leave(piece));
    }
}

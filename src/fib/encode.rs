//! From runs of addresses to the chunks of a [`Poptrie`].

use std::ops::Range;
use std::sync::Arc;

use super::bits::Bits;
use super::poptrie::{Chunk, LINE, Line, NODE, Part, Poptrie, Run, Value};

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
pub(super) struct PoptrieStore<const ROOT: u32, const SLOT: u32> {
    parts: Arc<[Part]>,
    /// The last part that is all of one value, and the value.
    uniform: (Part, Value),
    encoder: Encoder,
}

impl<const ROOT: u32, const SLOT: u32> PoptrieStore<ROOT, SLOT> {
    /// Chunks of a part.
    const PART: usize = 1 << (ROOT / 2);

    /// Every address maps to 0.
    pub(super) fn new() -> Self {
        let uniform = Self::uniform(0);
        let parts = std::iter::repeat_n(&uniform, Self::PART).cloned().collect();
        PoptrieStore { parts, uniform: (uniform, 0), encoder: Encoder::default() }
    }

    fn uniform(value: Value) -> Part {
        std::iter::repeat_n(Chunk::Uniform(value), Self::PART).collect()
    }

    /// As it is now.
    pub(super) fn table(&self) -> Poptrie<ROOT, SLOT> {
        Poptrie::new(Arc::clone(&self.parts))
    }
}

impl<B: Bits, const ROOT: u32, const SLOT: u32> Store<B> for PoptrieStore<ROOT, SLOT> {
    const ROOT: u32 = ROOT;

    fn fill(&mut self, chunks: Range<usize>, value: Value) {
        let mut start = chunks.start;
        while start < chunks.end {
            let (part, first) = (start / Self::PART, start % Self::PART);
            let end = (first + chunks.end - start).min(Self::PART);
            start += end - first;
            if end - first == Self::PART {
                if self.uniform.1 != value {
                    self.uniform = (Self::uniform(value), value);
                }
                if !Arc::ptr_eq(&self.parts[part], &self.uniform.0) {
                    Arc::make_mut(&mut self.parts)[part] = Arc::clone(&self.uniform.0);
                }
                continue;
            }
            let same = |chunk: &Chunk| *chunk == Chunk::Uniform(value);
            if !self.parts[part][first..end].iter().all(same) {
                let part = &mut Arc::make_mut(&mut self.parts)[part];
                Arc::make_mut(part)[first..end].fill(Chunk::Uniform(value));
            }
        }
    }

    fn put(&mut self, chunk: usize, runs: &[Run<B>]) {
        let (part, index) = (chunk / Self::PART, chunk % Self::PART);
        let compiled = self.encoder.chunk(runs, ROOT, SLOT);
        if self.parts[part][index] != compiled {
            let part = &mut Arc::make_mut(&mut self.parts)[part];
            Arc::make_mut(part)[index] = compiled;
        }
    }
}

/// Makes chunks of runs.
#[derive(Default)]
struct Encoder {
    words: Vec<u32>,
    /// Words that were left out in front of a new line: where, and how many.
    holes: Vec<(usize, usize)>,
}

/// Holes that are looked through for a node.
const HOLES: usize = 16;

impl Encoder {
    /// The chunk whose addresses all begin with the same `root` bits, of its `runs`, with a word for
    /// each value of the next `slot` bits. Neighboring runs differ.
    fn chunk<B: Bits>(&mut self, runs: &[Run<B>], root: u32, slot: u32) -> Chunk {
        if let [only] = runs {
            return Chunk::Uniform(only.value);
        }
        self.words.clear();
        self.holes.clear();
        let first = runs[0].start;
        let mut runs = Cursor { runs };
        if slot == 0 {
            self.node(&mut runs, first, root);
        } else {
            self.words.resize(1 << slot, 0);
            for slot_index in 0..1 << slot {
                let at = first | B::from(slot_index) << (B::WIDTH - root - slot);
                let word = runs.value(at, root + slot);
                let word = word.unwrap_or_else(|| self.node(&mut runs, at, root + slot));
                self.words[slot_index as usize] = word;
            }
        }
        self.words.resize(self.words.len().next_multiple_of(LINE), 0);
        let lines = self.words.as_chunks().0;
        Chunk::Words(lines.iter().map(|words| Line(*words)).collect())
    }

    /// Makes room for a node of so many words, behind an even number of others: in one line if it
    /// fits.
    fn room(&mut self, words: usize) -> usize {
        let words = words.next_multiple_of(2);
        let recent = self.holes.len().saturating_sub(HOLES)..;
        let hole = self.holes[recent].iter_mut().find(|(_, length)| *length >= words);
        if let Some((place, length)) = hole {
            let start = *place;
            (*place, *length) = (start + words, *length - words);
            return start;
        }
        let left = LINE - self.words.len() % LINE;
        if left < words && words <= LINE {
            self.holes.push((self.words.len(), left));
            self.words.resize(self.words.len() + left, 0);
        }
        let start = self.words.len();
        self.words.resize(start + words, 0);
        start
    }

    /// Adds the node for the addresses that begin with `length` bits as `first` does.
    fn node<B: Bits>(&mut self, runs: &mut Cursor<'_, B>, first: B, length: u32) -> u32 {
        let bits = (B::WIDTH - length).min(6);
        let child_at = |index: u32| first | B::from(index) << (B::WIDTH - length - bits);
        // Of each child that begins a run: where it is, its value, and where its own runs begin.
        let mut begun = [(0, NODE, Cursor { runs: &[] }); 64];
        let mut count = 0;
        let mut before = NODE;
        for index in 0..1 << bits {
            let value = runs.value(child_at(index), length + bits).unwrap_or(NODE);
            if value == NODE || value != before {
                begun[count] = (index, value, *runs);
                count += 1;
            }
            before = value;
        }
        let begun = &mut begun[..count];
        let starts = begun.iter().fold(0u64, |starts, run| starts | 1 << (run.0 << (6 - bits)));
        let node = self.room(2 + count);
        let room = &mut self.words[node..node + 2 + count];
        room[..2].copy_from_slice(&[starts as u32, (starts >> 32) as u32]);
        for (word, run) in room[2..].iter_mut().zip(&*begun) {
            *word = run.1;
        }
        for (place, (index, value, runs)) in (node + 2..).zip(begun) {
            if *value == NODE {
                self.words[place] = self.node(runs, child_at(*index), length + bits);
            }
        }
        NODE | node as u32
    }
}

/// A place in a sequence of runs.
#[derive(Clone, Copy)]
struct Cursor<'a, B> {
    runs: &'a [Run<B>],
}

impl<B: Bits> Cursor<'_, B> {
    /// Goes on to `first`, and says what all addresses map to that begin with `length` bits as it
    /// does; `None` if they differ.
    fn value(&mut self, first: B, length: u32) -> Option<Value> {
        while let [_, next, ..] = self.runs
            && next.start <= first
        {
            self.runs = &self.runs[1..];
        }
        let last = first.last(length as u8);
        match self.runs {
            [_, next, ..] if next.start <= last => None,
            [run, ..] => Some(run.value),
            [] => None,
        }
    }
}

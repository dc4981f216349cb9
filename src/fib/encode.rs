//! From runs of addresses to the chunks of a [`Poptrie`](super::poptrie).

use super::arena::{Draft, LINE, NODE};
use super::bits::Bits;
use super::chunks::{Encode, Run, Value};

/// Makes chunks of runs, with a word for each value of the next `SLOT` bits.
#[derive(Default)]
pub(super) struct Encoder<const SLOT: u32> {
    draft: Draft,
    /// Words that were left out in front of a new line: where, and how many.
    holes: Vec<(usize, usize)>,
}

/// Holes that are looked through for a node.
const HOLES: usize = 16;

impl<B: Bits, const SLOT: u32> Encode<B> for Encoder<SLOT> {
    fn draft(&mut self, runs: &[Run<B>], root: u32) -> &mut Draft {
        self.draft.clear();
        self.holes.clear();
        let first = runs[0].start;
        let mut runs = Cursor { runs };
        self.draft.words.resize(1 << SLOT, 0);
        for slot in 0..1 << SLOT {
            let at = first | B::from(slot) << (B::WIDTH - root - SLOT);
            match runs.value(at, root + SLOT) {
                Some(value) => self.draft.words[slot as usize] = value,
                None => self.node(slot as usize, &mut runs, at, root + SLOT),
            }
        }
        &mut self.draft
    }
}

impl<const SLOT: u32> Encoder<SLOT> {
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
        let left = LINE - self.draft.words.len() % LINE;
        if left < words && words <= LINE {
            self.holes.push((self.draft.words.len(), left));
            self.draft.words.resize(self.draft.words.len() + left, 0);
        }
        let start = self.draft.words.len();
        self.draft.words.resize(start + words, 0);
        start
    }

    /// Adds the node for the addresses that begin with `length` bits as `first` does; the word at
    /// `from` leads to it.
    fn node<B: Bits>(&mut self, from: usize, runs: &mut Cursor<'_, B>, first: B, length: u32) {
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
        let room = &mut self.draft.words[node..node + 2 + count];
        room[..2].copy_from_slice(&[starts as u32, (starts >> 32) as u32]);
        for (word, run) in room[2..].iter_mut().zip(&*begun) {
            *word = run.1;
        }
        for (place, (index, value, runs)) in (node + 2..).zip(begun) {
            if *value == NODE {
                self.node(place, runs, child_at(*index), length + bits);
            }
        }
        self.draft.words[from] = NODE | node as u32;
        self.draft.references.push(from);
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

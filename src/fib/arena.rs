//! Memory that all generations of a table share: pieces of one large region, each written once. A piece
//! is free again when no generation refers to it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::io::prefetch_at;

/// Set in a word that is the place of other words in the same region.
pub(super) const NODE: u32 = 1 << 31;

/// Words that a processor fetches from memory together.
pub(super) const LINE: usize = 16;
/// Lines of the smallest region.
const LINES_MIN: u32 = 64;

/// So many words that are 0, which take no memory until they are written.
pub type Allocate = fn(usize) -> Vec<AtomicU32>;

/// As much as is wanted, all of it at once: for small tables.
pub(super) fn zeros(words: usize) -> Vec<AtomicU32> {
    (0..words).map(|_| AtomicU32::new(0)).collect()
}

/// Words that generations share. What a published table refers to is never written again.
#[derive(Clone)]
pub(super) struct Region {
    memory: Arc<Vec<AtomicU32>>,
    /// Where its first line begins.
    first: usize,
    lines: u32,
}

/// Lines of a region that are in use.
pub(super) struct Piece {
    first: u32,
    lines: u32,
}

/// What a piece is made of.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) words: Vec<u32>,
    /// Which of them are places in the draft, counted in words. They become places in the region.
    pub(super) references: Vec<usize>,
    /// What was added to the references.
    base: u32,
}

/// A region that pieces are put into.
pub(super) struct Arena {
    allocate: Allocate,
    pub(super) region: Region,
    /// Lines that are free: how many, by the first of them. No two touch.
    free: BTreeMap<u32, u32>,
    /// The same, by how many.
    by_length: BTreeSet<(u32, u32)>,
    /// Pieces that the table has left; generations that were published may refer to them still.
    left: Vec<Arc<Piece>>,
}

impl Region {
    fn new(allocate: Allocate, lines: u32) -> Region {
        let memory = allocate((lines as usize + 1) * LINE);
        let first = memory.as_ptr().align_offset(LINE * size_of::<u32>()).min(LINE);
        Region { memory: Arc::new(memory), first, lines }
    }

    /// All its words.
    #[inline]
    pub(super) fn words(&self) -> &[AtomicU32] {
        &self.memory[self.first..][..self.lines as usize * LINE]
    }
}

/// A word of a region.
#[inline(always)]
pub(super) fn load(words: &[AtomicU32], place: u32) -> u32 {
    words[place as usize].load(Ordering::Relaxed)
}

/// A pass over addresses: what each has come to becomes what `next` says, and if that is a place, its
/// line is fetched.
#[inline(always)]
pub(super) fn follow<'a, A: Copy + 'a>(
    words: &[AtomicU32],
    group: impl Iterator<Item = (&'a A, &'a mut u32)>,
    next: impl Fn(A, u32) -> u32,
) {
    group.for_each(|(address, word)| {
        *word = next(*address, *word);
        if *word & NODE != 0 {
            prefetch_at(words, (*word & !NODE) as usize);
        }
    });
}

impl Piece {
    /// Where it begins, in words.
    pub(super) fn place(&self) -> u32 {
        self.first * LINE as u32
    }

    /// How much it takes.
    pub(super) fn octets(&self) -> usize {
        self.lines as usize * LINE * size_of::<u32>()
    }
}

impl Draft {
    /// Begins another.
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.references.clear();
        self.base = 0;
    }

    /// Makes its references those of a piece that begins there.
    fn relocate(&mut self, base: u32) {
        let by = base.wrapping_sub(self.base);
        for reference in &self.references {
            self.words[*reference] = self.words[*reference].wrapping_add(by);
        }
        self.base = base;
    }

    fn lines(&self) -> u32 {
        self.words.len().div_ceil(LINE) as u32
    }
}

impl Arena {
    pub(super) fn new(allocate: Allocate) -> Arena {
        let region = Region { memory: Arc::default(), first: 0, lines: 0 };
        let (free, by_length, left) = Default::default();
        Arena { allocate, region, free, by_length, left }
    }

    /// Whether a piece holds what a draft says.
    pub(super) fn holds(&self, piece: &Piece, draft: &mut Draft) -> bool {
        if piece.lines != draft.lines() {
            return false;
        }
        draft.relocate(piece.place());
        let words = &self.region.words()[piece.place() as usize..];
        words.iter().zip(&draft.words).all(|(word, wanted)| word.load(Ordering::Relaxed) == *wanted)
    }

    /// Makes a draft a piece.
    pub(super) fn put(&mut self, draft: &mut Draft) -> Arc<Piece> {
        let lines = draft.lines();
        let piece = Piece { first: self.take(lines), lines };
        draft.relocate(piece.place());
        write(&self.region.words()[piece.place() as usize..], &draft.words);
        Arc::new(piece)
    }

    /// The table has left a piece.
    pub(super) fn leave(&mut self, piece: Arc<Piece>) {
        self.left.push(piece);
    }

    /// Free lines: those that no table refers to any more, or new ones in a larger region.
    fn take(&mut self, lines: u32) -> u32 {
        if let Some(first) = self.take_free(lines) {
            return first;
        }
        self.collect();
        self.take_free(lines).unwrap_or_else(|| {
            self.grow(lines);
            self.take_free(lines).unwrap_or_default()
        })
    }

    /// Of the shortest that are enough, the first.
    fn take_free(&mut self, lines: u32) -> Option<u32> {
        let &(length, first) = self.by_length.range((lines, 0)..).next()?;
        self.remove_free(first, length);
        if length > lines {
            self.insert_free(first + lines, length - lines);
        }
        Some(first)
    }

    fn insert_free(&mut self, first: u32, lines: u32) {
        self.free.insert(first, lines);
        self.by_length.insert((lines, first));
    }

    fn remove_free(&mut self, first: u32, lines: u32) {
        self.free.remove(&first);
        self.by_length.remove(&(lines, first));
    }

    /// Lines are free again, and become one with those beside them that are.
    fn give_back(&mut self, mut first: u32, mut lines: u32) {
        let behind = self.free.get(&(first + lines)).copied();
        if let Some(more) = behind {
            self.remove_free(first + lines, more);
            lines += more;
        }
        let before = self.free.range(..first).next_back().map(|(start, length)| (*start, *length));
        if let Some((start, length)) = before.filter(|(start, length)| start + length == first) {
            self.remove_free(start, length);
            (first, lines) = (start, lines + length);
        }
        self.insert_free(first, lines);
    }

    /// Frees what no table refers to any more.
    fn collect(&mut self) {
        let mut left = std::mem::take(&mut self.left);
        left.retain_mut(|piece| match Arc::get_mut(piece) {
            // Nobody else refers to it, nor will: all that have read it are done.
            Some(piece) => {
                self.give_back(piece.first, piece.lines);
                false
            }
            None => true,
        });
        self.left = left;
    }

    /// Puts a region at least twice as large in place of this one, which begins with the same words:
    /// what was published refers to the other one still.
    fn grow(&mut self, lines: u32) {
        let before = self.region.lines;
        let more = before.max(lines).max(LINES_MIN);
        let larger = Region::new(self.allocate, before + more);
        for (place, word) in larger.words().iter().zip(self.region.words()) {
            place.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.region = larger;
        self.give_back(before, more);
    }
}

fn write(places: &[AtomicU32], words: &[u32]) {
    for (place, word) in places.iter().zip(words) {
        place.store(*word, Ordering::Relaxed);
    }
}

impl Debug for Piece {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} lines from {}", self.lines, self.first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draft(lines: usize, mark: u32) -> Draft {
        let mut words = vec![mark; lines * LINE];
        words[0] = 3;
        Draft { words, references: vec![0], base: 0 }
    }

    /// What the words of a piece are, its place being taken from the reference.
    fn read(region: &Region, piece: &Piece) -> (u32, Vec<u32>) {
        let words = &region.words()[piece.place() as usize..][..piece.lines as usize * LINE];
        let mut words = words.iter().map(|word| word.load(Ordering::Relaxed));
        (words.next().unwrap() - piece.place(), words.collect())
    }

    proptest! {
        #[test]
        fn what_is_kept_is_never_written_and_what_is_left_is_free_again(
            steps in proptest::collection::vec((1usize..9, any::<bool>(), 0usize..8), 1..200),
        ) {
            let mut arena = Arena::new(zeros);
            // What the table has, and what a generation that was published has still.
            let mut pieces: Vec<(Arc<Piece>, u32)> = Vec::new();
            let mut kept: Vec<(Region, Arc<Piece>, u32)> = Vec::new();
            for (mark, (lines, is_kept, victim)) in (0..).zip(steps) {
                if pieces.len() > victim {
                    let (piece, mark) = pieces.remove(victim);
                    if is_kept {
                        kept.push((arena.region.clone(), Arc::clone(&piece), mark));
                    }
                    arena.leave(piece);
                }
                if kept.len() > 5 {
                    kept.remove(victim % 5);
                }
                let mut made = draft(lines, mark);
                let piece = arena.put(&mut made);
                prop_assert!(arena.holds(&piece, &mut draft(lines, mark)));
                prop_assert!(!arena.holds(&piece, &mut draft(lines, mark + 1)));
                pieces.push((piece, mark));
                let now = pieces.iter().map(|(piece, mark)| (&arena.region, piece, *mark));
                let before = kept.iter().map(|(region, piece, mark)| (region, piece, *mark));
                for (region, piece, mark) in now.chain(before) {
                    let wanted = vec![mark; piece.lines as usize * LINE - 1];
                    prop_assert_eq!(read(region, piece), (3, wanted));
                }
            }
            drop(kept);
            pieces.into_iter().for_each(|(piece, _)| arena.leave(piece));
            arena.collect();
            let lines = arena.region.lines;
            prop_assert_eq!(arena.free, BTreeMap::from([(0, lines)]), "all is one again");
            prop_assert_eq!(arena.by_length, BTreeSet::from([(lines, 0)]));
        }
    }
}

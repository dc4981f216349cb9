//! How IPv4 tables are kept while they change: the pages of a [`Dir24`] and which of them are free.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::dir24::{BLOCK, Dir24, PAGE, Page, ROOT, Region};
use super::encode::{PoptrieStore, Store};
use super::poptrie::{NODE, Poptrie, Run, Value};
use super::{ROOT_V4, SLOT_V4};

/// How IPv4 addresses are looked up.
#[derive(Clone, Copy, Debug, Default)]
pub enum TableKind {
    /// In a compressed trie.
    #[default]
    Poptrie,
    /// In a table of 24 bits. It gets its memory, so many words that are 0, from this function: in
    /// large pages it is twice as fast.
    Dir24(fn(usize) -> Vec<AtomicU32>),
}

impl TableKind {
    /// Whether both are looked up in the same way.
    pub(super) fn is_like(self, other: TableKind) -> bool {
        matches!(
            (self, other),
            (TableKind::Poptrie, TableKind::Poptrie) | (TableKind::Dir24(_), TableKind::Dir24(_))
        )
    }
}

/// A published table of either kind.
#[derive(Clone)]
pub(super) enum TableV4 {
    Poptrie(Poptrie<ROOT_V4, SLOT_V4>),
    Dir24(Dir24),
}

/// A table of either kind that changes.
pub(super) enum StoreV4 {
    Poptrie(PoptrieStore<ROOT_V4, SLOT_V4>),
    Dir24(PageStore),
}

impl StoreV4 {
    /// Every address maps to 0.
    pub(super) fn new(kind: TableKind) -> StoreV4 {
        match kind {
            TableKind::Poptrie => StoreV4::Poptrie(PoptrieStore::new()),
            TableKind::Dir24(allocate) => StoreV4::Dir24(PageStore::new(allocate)),
        }
    }

    /// As it is now.
    pub(super) fn table(&self) -> TableV4 {
        match self {
            StoreV4::Poptrie(store) => TableV4::Poptrie(store.table()),
            StoreV4::Dir24(store) => TableV4::Dir24(store.table.clone()),
        }
    }
}

const _: () = assert!(ROOT == ROOT_V4);

impl Store<u32> for StoreV4 {
    const ROOT: u32 = ROOT_V4;

    fn fill(&mut self, chunks: Range<usize>, value: Value) {
        match self {
            StoreV4::Poptrie(store) => Store::<u32>::fill(store, chunks, value),
            StoreV4::Dir24(store) => chunks.for_each(|chunk| store.uniform(chunk, value)),
        }
    }

    fn put(&mut self, chunk: usize, runs: &[Run<u32>]) {
        match (self, runs) {
            (StoreV4::Poptrie(store), runs) => store.put(chunk, runs),
            (StoreV4::Dir24(store), [only]) => store.uniform(chunk, only.value),
            (StoreV4::Dir24(store), runs) => store.put(chunk, runs),
        }
    }
}

/// A [`Dir24`] that changes, page by page: a changed page is written anew into a free one.
pub(super) struct PageStore {
    allocate: fn(usize) -> Vec<AtomicU32>,
    table: Dir24,
    free_pages: Vec<u32>,
    free_blocks: Vec<u32>,
    /// Pages that this table has left; older ones that were published may refer to them still.
    left: Vec<Arc<Page>>,
    /// Room to work in.
    words: Vec<u32>,
    block_words: Vec<u32>,
}

impl PageStore {
    fn new(allocate: fn(usize) -> Vec<AtomicU32>) -> PageStore {
        let table = Dir24 {
            words: Region::default(),
            blocks: Region::default(),
            root: std::iter::repeat_n(0, 1 << ROOT).collect(),
            pages: std::iter::repeat_n(None, 1 << ROOT).collect(),
        };
        let (free_pages, free_blocks, left, words, block_words) = Default::default();
        PageStore { allocate, table, free_pages, free_blocks, left, words, block_words }
    }

    fn uniform(&mut self, chunk: usize, value: Value) {
        if self.table.root[chunk] != value {
            self.set(chunk, value, None);
        }
    }

    fn set(&mut self, chunk: usize, word: u32, page: Option<Arc<Page>>) {
        Arc::make_mut(&mut self.table.root)[chunk] = word;
        let left = std::mem::replace(&mut Arc::make_mut(&mut self.table.pages)[chunk], page);
        self.left.extend(left);
    }

    /// Writes a page.
    fn put(&mut self, chunk: usize, runs: &[Run<u32>]) {
        self.paint(runs);
        let count = self.block_words.len() / BLOCK;
        self.make_room(count);
        let index = self.free_pages.pop().unwrap_or_default();
        let blocks = self.free_blocks.split_off(self.free_blocks.len() - count);
        for (block, words) in blocks.iter().zip(self.block_words.chunks(BLOCK)) {
            write(&self.table.blocks[*block as usize * BLOCK..], words.iter().copied());
        }
        let words = self.words.iter().map(|word| match word & NODE {
            0 => *word,
            _ => NODE | blocks[(word & !NODE) as usize],
        });
        write(&self.table.words[index as usize * PAGE..], words);
        self.set(chunk, NODE | index, Some(Arc::new(Page { index, blocks })));
    }

    /// Makes the words of a page, blocks being counted from 0.
    fn paint(&mut self, runs: &[Run<u32>]) {
        self.words.clear();
        self.block_words.clear();
        let page_first = runs[0].start;
        let page_last = page_first | (u32::MAX >> ROOT);
        let ends = runs[1..].iter().map(|next| next.start - 1).chain([page_last]);
        for (run, last) in runs.iter().zip(ends) {
            let mut first = run.start;
            // What belongs to a block that has begun, or begins one.
            if first % BLOCK as u32 != 0 || last - first < BLOCK as u32 - 1 {
                let end = last.min(first | (BLOCK as u32 - 1));
                if first % BLOCK as u32 == 0 {
                    self.words.push(NODE | (self.block_words.len() / BLOCK) as u32);
                }
                self.block_words.extend(std::iter::repeat_n(run.value, (end - first + 1) as usize));
                if end == last {
                    continue;
                }
                first = end + 1;
            }
            let whole = ((last - first + 1) / BLOCK as u32) as usize;
            self.words.extend(std::iter::repeat_n(run.value, whole));
            let rest = ((last - first + 1) % BLOCK as u32) as usize;
            if rest > 0 {
                self.words.push(NODE | (self.block_words.len() / BLOCK) as u32);
                self.block_words.extend(std::iter::repeat_n(run.value, rest));
            }
        }
    }

    /// Has a page and so many blocks free: those that no table refers to any more, or new ones in
    /// larger regions.
    fn make_room(&mut self, blocks: usize) {
        if !self.free_pages.is_empty() && self.free_blocks.len() >= blocks {
            return;
        }
        let (pages_free, blocks_free) = (&mut self.free_pages, &mut self.free_blocks);
        self.left.retain_mut(|page| match Arc::get_mut(page) {
            // Nobody else refers to it, nor will: all that have read it are done.
            Some(page) => {
                pages_free.push(page.index);
                blocks_free.append(&mut page.blocks);
                false
            }
            None => true,
        });
        if pages_free.is_empty() {
            grow(&mut self.table.words, PAGE, 16, pages_free, self.allocate);
        }
        if blocks_free.len() < blocks {
            grow(&mut self.table.blocks, BLOCK, blocks.max(64), blocks_free, self.allocate);
        }
    }
}

/// Puts a region twice as large in place of one, which begins with the same words: what was
/// published refers to the other one still. Of its pieces of `size` words, those are free that are
/// new: at least `more`.
fn grow(
    region: &mut Region,
    size: usize,
    more: usize,
    free: &mut Vec<u32>,
    allocate: fn(usize) -> Vec<AtomicU32>,
) {
    let pieces = region.len() / size;
    let more = pieces.max(more);
    let larger = allocate((pieces + more) * size);
    write(&larger, region.iter().map(|word| word.load(Ordering::Relaxed)));
    *region = Arc::new(larger);
    // The lowest are taken first.
    free.extend((pieces as u32..(pieces + more) as u32).rev());
}

fn write(places: &[AtomicU32], words: impl Iterator<Item = u32>) {
    for (place, word) in places.iter().zip(words) {
        place.store(word, Ordering::Relaxed);
    }
}

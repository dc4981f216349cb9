//! From the routes of tables to runs of addresses that lead to the same entry.
//!
//! The routes of a table are swept in the order of their addresses; those whose prefixes hold the
//! present address form a stack, the longest on top. Tables are laid over one another run by run.
//! All of it is linear in the number of routes.

use std::collections::btree_map;
use std::iter::Peekable;

use super::bits::Bits;
use super::chunks::{Run, Value};
use super::routes::{ActionId, Family, Key, Outcome, candidates};

/// The routes of one IP version in one table, and what their actions come to.
pub(super) struct Layer<'a, B> {
    pub(super) routes: &'a Family<B>,
    /// By action.
    pub(super) outcomes: &'a [Outcome],
    /// Where set, dead routes lead to the first of these, those into tunnels to the second, and the
    /// others are not there.
    pub(super) dead: Option<[Value; 2]>,
}

impl<B> Layer<'_, B> {
    fn outcome(&self, action: ActionId) -> Outcome {
        let outcome = self.outcomes.get(action as usize).copied().unwrap_or(Outcome::Dead);
        match (self.dead, outcome) {
            (None, outcome) => outcome,
            (Some([value, _]), Outcome::Dead) => Outcome::To(value),
            (Some([_, value]), Outcome::DeadTunnel) => Outcome::To(value),
            (Some(_), _) => Outcome::Dead,
        }
    }
}

/// What a layer says about addresses; `None` leaves them to the layers below.
type Said = Option<Value>;

/// A sweep over one layer.
pub(super) struct Sweep<'a, B> {
    layer: &'a Layer<'a, B>,
    routes: Peekable<btree_map::Range<'a, Key<B>, ActionId>>,
    /// Prefixes that hold the present address, by their last addresses; the longest at the end.
    open: Vec<(B, Said)>,
    runs: Vec<Run<B, Said>>,
}

impl<'a, B: Bits> Sweep<'a, B> {
    /// Begins at `first`, which no prefix longer than `shorter_than` - 1 bits holds without beginning
    /// there.
    pub(super) fn new(layer: &'a Layer<'a, B>, first: B, shorter_than: u32) -> Sweep<'a, B> {
        let mut open = vec![(B::MAX, None)];
        for length in 0..shorter_than as u8 {
            let start = first & B::mask(length);
            if start != first && !layer.routes.is_empty() {
                let mut all = candidates(layer.routes, start, length);
                let live = all.find_map(|(_, action)| said(layer.outcome(*action)));
                open.extend(live.map(|said| (start.last(length), said)));
            }
        }
        let routes = layer.routes.range(Key::lowest(first, 0)..).peekable();
        Sweep { layer, routes, open, runs: Vec::new() }
    }

    /// The next address at which something else may be said; `None` if there is none.
    pub(super) fn next(&mut self) -> Option<B> {
        let begins = self.routes.peek().map(|(key, _)| key.first);
        let (last, _) = *self.open.last()?;
        let ends = (last != B::MAX).then(|| last + B::from(1));
        begins.into_iter().chain(ends).min()
    }

    /// What is said about the present address.
    pub(super) fn said(&self) -> Said {
        self.open.last().and_then(|(_, said)| *said)
    }

    /// Goes on to the addresses from `first` to `last`, and says what is said about them.
    pub(super) fn runs(&mut self, first: B, last: B) -> &[Run<B, Said>] {
        self.runs.clear();
        self.close_before(first);
        let said_here = self.said();
        push(&mut self.runs, first, said_here);
        while let Some((key, action)) = self.routes.next_if(|(key, _)| key.first <= last) {
            let (start, length) = (key.first, key.length);
            let same = |key: &Key<B>| key.first == start && key.length == length;
            let mut live = said(self.layer.outcome(*action));
            while let Some((_, action)) = self.routes.next_if(|(key, _)| same(key)) {
                live = live.or_else(|| said(self.layer.outcome(*action)));
            }
            if let Some(said) = live {
                self.close_before(start);
                self.open.push((start.last(length), said));
                push(&mut self.runs, start, said);
            }
        }
        self.close_before(last);
        while let [_, .., (end, _)] = *self.open
            && end == last
        {
            self.open.pop();
        }
        &self.runs
    }

    /// Leaves the prefixes that end before an address.
    fn close_before(&mut self, address: B) {
        while let [.., (_, below), (last, _)] = *self.open
            && last < address
        {
            self.open.pop();
            if !self.runs.is_empty() {
                push(&mut self.runs, last + B::from(1), below);
            }
        }
    }
}

fn said(outcome: Outcome) -> Option<Said> {
    match outcome {
        Outcome::Dead | Outcome::DeadTunnel => None,
        Outcome::Throw => Some(None),
        Outcome::To(value) => Some(Some(value)),
    }
}

/// Adds a run that begins where the last one does or behind it; neighbors stay different.
pub(super) fn push<B: Bits, V: PartialEq>(runs: &mut Vec<Run<B, V>>, start: B, value: V) {
    if runs.last().is_some_and(|last| last.start == start) {
        runs.pop();
    }
    if runs.last().is_none_or(|last| last.value != value) {
        runs.push(Run { start, value });
    }
}

/// Lays `above` over `below`; both begin at the same address.
pub(super) fn overlay<B: Bits>(
    mut below: &[Run<B>],
    mut above: &[Run<B, Said>],
    merged: &mut Vec<Run<B>>,
) {
    merged.clear();
    while let ([under, below_rest @ ..], [over, above_rest @ ..]) = (below, above) {
        push(merged, under.start.max(over.start), over.value.unwrap_or(under.value));
        let next_below = below_rest.first().map(|run| run.start);
        let next_above = above_rest.first().map(|run| run.start);
        let Some(next) = next_below.into_iter().chain(next_above).min() else { return };
        if next_below == Some(next) {
            below = below_rest;
        }
        if next_above == Some(next) {
            above = above_rest;
        }
    }
}

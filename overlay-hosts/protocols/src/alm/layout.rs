//! A tree laid out so that the effect of moving a part is known without moving it: hosts in preorder,
//! where each part is one run, and what each part and the rest amount to.

use alloc::vec::Vec;
use core::cell::OnceCell;

use super::tree::{Score, Tree};
use super::{Micros, Network, Objective, Place, Problem};

/// What some hosts of a tree amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Of members: how many, their greatest latency, the sum, and the sum of squares.
    members: u64,
    highest: Micros,
    sum: u64,
    squares: u128,
    /// The narrowest of the links to their parents, in kbit/s.
    narrowest: u32,
}

impl Summary {
    pub(super) const NOTHING: Summary =
        Summary { members: 0, highest: 0, sum: 0, squares: 0, narrowest: u32::MAX };

    /// A member at a height; of helpers no latency counts.
    pub(super) fn of_one(is_member: bool, height: Micros) -> Summary {
        let squares = u128::from(height) * u128::from(height);
        match is_member {
            false => Summary::NOTHING,
            true => Summary { members: 1, highest: height, sum: height, squares, ..Self::NOTHING },
        }
    }

    pub(super) fn with(self, other: Summary) -> Summary {
        Summary {
            members: self.members + other.members,
            highest: self.highest.max(other.highest),
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
            narrowest: self.narrowest.min(other.narrowest),
        }
    }

    /// The same hosts behind a link of such a latency and width.
    pub(super) fn behind(self, latency: Micros, width: u32) -> Summary {
        let narrowest = self.narrowest.min(width);
        if self.members == 0 {
            return Summary { narrowest, ..self };
        }
        let (each, members) = (u128::from(latency), u128::from(self.members));
        Summary {
            highest: self.highest + latency,
            sum: self.sum + self.members * latency,
            squares: self.squares + 2 * each * u128::from(self.sum) + members * each * each,
            narrowest,
            ..self
        }
    }

    pub(super) fn score(&self, objective: Objective) -> Score {
        match objective {
            Objective::Height => (self.highest.into(), self.sum),
            Objective::Bandwidth => ((u32::MAX - self.narrowest).into(), self.highest),
            Objective::Variance => {
                // The variance times the square of the members' number: whole numbers.
                let (sum, members) = (u128::from(self.sum), u128::from(self.members));
                ((members * self.squares).saturating_sub(sum * sum), self.highest)
            }
        }
    }
}

/// A tree laid out.
pub(super) struct Layout {
    /// Everybody in the tree; those below a host follow it.
    pub(super) order: Vec<Place>,
    /// By host: where its part begins and ends in the order.
    runs: Vec<(usize, usize)>,
    /// By position: the host alone, with its link.
    ones: Vec<Summary>,
    /// By host: its part, as if its height were 0 and without its link.
    parts: Vec<Summary>,
}

impl Layout {
    pub(super) fn of<N: Network>(problem: &Problem<'_, N>, tree: &Tree) -> Layout {
        let mut order = Vec::with_capacity(tree.places());
        let mut pending = alloc::vec![0];
        while let Some(place) = pending.pop() {
            order.push(place);
            pending.extend(tree.children(place).iter().rev());
        }
        let mut runs = alloc::vec![(0, 0); tree.places()];
        let mut parts = alloc::vec![Summary::NOTHING; tree.places()];
        let mut ones = alloc::vec![Summary::NOTHING; order.len()];
        for (at, place) in order.iter().copied().enumerate().rev() {
            let is_member = tree.is_member(place);
            let (mut until, mut part) = (at + 1, Summary::of_one(is_member, 0));
            for child in tree.children(place).iter().copied() {
                let latency = tree.latency(child) - tree.latency(place);
                part = part.with(parts[child].behind(latency, width(problem, tree, child)));
                until = until.max(runs[child].1);
            }
            (runs[place], parts[place]) = ((at, until), part);
            let one = Summary::of_one(is_member, tree.latency(place));
            ones[at] = one.behind(0, width(problem, tree, place));
        }
        Layout { order, runs, ones, parts }
    }

    /// A host's part, as it would be under a parent.
    pub(super) fn part_under<N: Network>(
        &self,
        problem: &Problem<'_, N>,
        tree: &Tree,
        top: Place,
        parent: Place,
    ) -> Summary {
        let latency = tree.latency(parent) + problem.latency(parent, top);
        self.parts[top].behind(latency, problem.network.bandwidth(parent, top))
    }

    /// Whether a host is in the part below another one.
    pub(super) fn is_inside(&self, place: Place, top: Place) -> bool {
        let (from, until) = self.runs[top];
        (from..until).contains(&self.runs[place].0)
    }

    /// What there is apart from a host's part.
    fn without(&self, top: Place) -> Rest {
        let hole = self.runs[top];
        let len = self.order.len();
        let one = |at: usize| match (hole.0..hole.1).contains(&at) {
            true => Summary::NOTHING,
            false => self.ones[at],
        };
        let mut before = Vec::with_capacity(len + 1);
        let mut all = Summary::NOTHING;
        before.push(all);
        for at in 0..len {
            all = all.with(one(at));
            before.push(all);
        }
        let mut behind = alloc::vec![Summary::NOTHING; len + 1];
        for at in (0..len).rev() {
            behind[at] = behind[at + 1].with(one(at));
        }
        Rest { before, behind }
    }
}

/// A tree without one of its parts, by position: all before it, and all from it on.
struct Rest {
    before: Vec<Summary>,
    behind: Vec<Summary>,
}

/// A tree without one of its parts, computed when it is first asked for.
pub(super) struct LazyRest<'a> {
    layout: &'a Layout,
    top: Place,
    rest: OnceCell<Rest>,
}

impl<'a> LazyRest<'a> {
    pub(super) fn new(layout: &'a Layout, top: Place) -> LazyRest<'a> {
        LazyRest { layout, top, rest: OnceCell::new() }
    }

    fn rest(&self) -> &Rest {
        self.rest.get_or_init(|| self.layout.without(self.top))
    }

    /// All of it.
    pub(super) fn all(&self) -> Summary {
        self.rest().behind[0]
    }

    /// All of it but one more part.
    pub(super) fn without(&self, top: Place) -> Summary {
        let (from, until) = self.layout.runs[top];
        self.rest().before[from].with(self.rest().behind[until])
    }
}

/// The link to a host's parent.
pub(super) fn width<N: Network>(problem: &Problem<'_, N>, tree: &Tree, place: Place) -> u32 {
    tree.parent(place).map_or(u32::MAX, |parent| problem.network.bandwidth(parent, place))
}

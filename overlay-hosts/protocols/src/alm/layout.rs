//! A tree laid out so that the effect of moving a part is known without moving it: hosts in preorder,
//! where each part is one run, and what each part and the rest amount to.

use alloc::vec::Vec;

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

    pub(super) fn highest(&self) -> Micros {
        self.highest
    }

    fn extremes(&self) -> Extremes {
        Extremes { highest: self.highest, narrowest: self.narrowest }
    }

    /// Without some of them; the extremes of the others have to be known.
    fn without(self, part: Summary, Extremes { highest, narrowest }: Extremes) -> Summary {
        Summary {
            members: self.members - part.members,
            highest,
            sum: self.sum - part.sum,
            squares: self.squares - part.squares,
            narrowest,
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

/// A run of hosts in preorder: from the first one up to the second, which is not in it.
type Run = (usize, usize);

/// A tree laid out.
pub(super) struct Layout {
    /// Everybody in the tree, from the root on by height.
    pub(super) by_height: Vec<Place>,
    /// By host: its part, in preorder.
    runs: Vec<Run>,
    /// By host.
    heights: Vec<Micros>,
    /// By host: its part, as if its height were 0 and without its link.
    parts: Vec<Summary>,
    /// By position: the host alone.
    ones: Vec<Extremes>,
    /// By position over [`BLOCK`]: so many hosts each.
    blocks: Vec<Extremes>,
    /// By position: all before it, and all from it on.
    before: Vec<Extremes>,
    behind: Vec<Extremes>,
}

impl Layout {
    pub(super) fn of<N: Network>(problem: &Problem<'_, N>, tree: &Tree) -> Layout {
        Layout::sorted(problem, tree, tree.subtree(0))
    }

    /// Of a tree that had this layout, and has been changed since: what was in order, mostly still is.
    pub(super) fn renewed<N: Network>(self, problem: &Problem<'_, N>, tree: &Tree) -> Layout {
        let mut hosts = self.by_height;
        hosts.retain(|place| tree.contains(*place));
        Layout::sorted(problem, tree, hosts)
    }

    fn sorted<N: Network>(
        problem: &Problem<'_, N>,
        tree: &Tree,
        mut by_height: Vec<Place>,
    ) -> Layout {
        by_height.sort_by_key(|place| tree.latency(*place));
        let mut order = Vec::with_capacity(tree.places());
        let mut pending = Vec::with_capacity(tree.places());
        pending.push(0);
        while let Some(place) = pending.pop() {
            order.push(place);
            pending.extend(tree.children(place).iter().rev());
        }
        let mut runs = alloc::vec![(0, 0); tree.places()];
        let mut parts = alloc::vec![Summary::NOTHING; tree.places()];
        for (at, place) in order.iter().copied().enumerate().rev() {
            let (mut until, mut part) = (at + 1, Summary::of_one(tree.is_member(place), 0));
            for child in tree.children(place).iter().copied() {
                let latency = tree.latency(child) - tree.latency(place);
                part = part.with(parts[child].behind(latency, width(problem, tree, child)));
                until = until.max(runs[child].1);
            }
            (runs[place], parts[place]) = ((at, until), part);
        }
        let heights = (0..tree.places()).map(|place| tree.latency(place)).collect();
        let one = |place: &Place| Extremes {
            highest: if tree.is_member(*place) { tree.latency(*place) } else { 0 },
            narrowest: width(problem, tree, *place),
        };
        let ones: Vec<Extremes> = order.iter().map(one).collect();
        let mut before = alloc::vec![Extremes::NOTHING; order.len() + 1];
        let mut behind = before.clone();
        for (at, one) in ones.iter().enumerate() {
            before[at + 1] = before[at].with(*one);
        }
        for (at, one) in ones.iter().enumerate().rev() {
            behind[at] = behind[at + 1].with(*one);
        }
        let blocks = ones.chunks(BLOCK).map(Extremes::of).collect();
        Layout { by_height, runs, heights, parts, ones, blocks, before, behind }
    }

    /// A host's part, as it would be with the host at such a height, behind a link of any width.
    pub(super) fn part_at(&self, top: Place, height: Micros) -> Summary {
        self.parts[top].behind(height, u32::MAX)
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

    /// The sums of a host's part.
    fn part_as_it_is(&self, top: Place) -> Summary {
        self.part_at(top, self.heights[top])
    }

    /// The extremes from one position up to another, which is not among them.
    fn between(&self, from: usize, until: usize) -> Extremes {
        let (first, last) = (from.div_ceil(BLOCK), until / BLOCK);
        if first >= last {
            return Extremes::of(&self.ones[from..until]);
        }
        let (before, behind) = (&self.ones[from..first * BLOCK], &self.ones[last * BLOCK..until]);
        let edges = Extremes::of(before).with(Extremes::of(behind));
        edges.with(Extremes::of(&self.blocks[first..last]))
    }

    /// Whether a host is in the part below another one.
    pub(super) fn is_inside(&self, place: Place, top: Place) -> bool {
        is_in(self.runs[top], self.runs[place].0)
    }
}

fn is_in((from, until): Run, at: usize) -> bool {
    (from..until).contains(&at)
}

/// Positions whose extremes are known together.
const BLOCK: usize = 32;

/// What cannot be taken out of a [`Summary`] again.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Extremes {
    highest: Micros,
    narrowest: u32,
}

impl Extremes {
    const NOTHING: Extremes = Extremes { highest: 0, narrowest: u32::MAX };

    fn of(all: &[Extremes]) -> Extremes {
        all.iter().copied().fold(Extremes::NOTHING, Extremes::with)
    }

    fn with(self, other: Extremes) -> Extremes {
        let highest = self.highest.max(other.highest);
        Extremes { highest, narrowest: self.narrowest.min(other.narrowest) }
    }
}

/// A tree without one of its parts.
pub(super) struct Rest<'a> {
    layout: &'a Layout,
    run: Run,
    all: Summary,
}

impl<'a> Rest<'a> {
    pub(super) fn new(layout: &'a Layout, top: Place) -> Rest<'a> {
        let run = layout.runs[top];
        let extremes = layout.before[run.0].with(layout.behind[run.1]);
        Rest { layout, run, all: layout.parts[0].without(layout.part_as_it_is(top), extremes) }
    }

    /// All of it.
    pub(super) fn all(&self) -> Summary {
        self.all
    }

    /// All of it but one more part.
    pub(super) fn without(&self, top: Place) -> Summary {
        let Layout { runs, before, behind, .. } = self.layout;
        let (first, second) = (self.run.min(runs[top]), self.run.max(runs[top]));
        let mut extremes = before[first.0].with(behind[second.1]);
        // If what is around the two has the worst of all, those between them do not matter.
        if extremes != self.all.extremes() {
            extremes = extremes.with(self.layout.between(first.1, second.0));
        }
        self.all.without(self.layout.part_as_it_is(top), extremes)
    }
}

/// The link to a host's parent.
pub(super) fn width<N: Network>(problem: &Problem<'_, N>, tree: &Tree, place: Place) -> u32 {
    tree.parent(place).map_or(u32::MAX, |parent| problem.network.bandwidth(parent, place))
}

//! A tree laid out so that the effect of moving a part is known without moving it: what each part amounts
//! to, and how far it is to the parts that may have to move.

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

    /// Without some of them, who do not have the extremes.
    fn without(self, part: Summary) -> Summary {
        Summary {
            members: self.members - part.members,
            sum: self.sum - part.sum,
            squares: self.squares - part.squares,
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

/// Nobody is higher.
pub(super) const HIGHEST: Micros = super::PLACES_MAX as Micros * super::LATENCY_MAX;
/// Instead of the height of those that have been taken out.
const GONE: Micros = HIGHEST + 1;

/// A tree laid out. What a move changes is renewed, and nothing else.
pub(super) struct Layout {
    /// Everybody who was in the tree when it was laid out.
    hosts: Vec<Place>,
    /// By host: its position among them.
    positions: Vec<usize>,
    /// By position; [`GONE`] for those that have been taken out since.
    heights: Vec<Micros>,
    /// By host: its part, as if its height were 0 and without its link.
    parts: Vec<Summary>,
}

impl Layout {
    pub(super) fn of<N: Network>(problem: &Problem<'_, N>, tree: &Tree) -> Layout {
        let hosts = tree.subtree(0);
        let mut positions = alloc::vec![usize::MAX; tree.places()];
        hosts.iter().enumerate().for_each(|(at, place)| positions[*place] = at);
        let heights = hosts.iter().map(|place| tree.latency(*place)).collect();
        let parts = alloc::vec![Summary::NOTHING; tree.places()];
        let mut layout = Layout { hosts, positions, heights, parts };
        for at in (0..layout.hosts.len()).rev() {
            layout.sum_up(problem, tree, layout.hosts[at]);
        }
        layout
    }

    /// Some parts of the tree are elsewhere now; other hosts, each of which comes before those above it,
    /// may have lost or got a part below them, or may be gone.
    pub(super) fn renew<N: Network>(
        &mut self,
        problem: &Problem<'_, N>,
        tree: &Tree,
        tops: &[Place],
        above: &[Place],
    ) {
        for place in tops.iter().flat_map(|top| tree.subtree(*top)) {
            self.heights[self.positions[place]] = tree.latency(place);
        }
        for place in above.iter().copied() {
            match tree.contains(place) {
                true => self.sum_up(problem, tree, place),
                false => self.heights[self.positions[place]] = GONE,
            }
        }
    }

    /// A host's part, from those of its children.
    fn sum_up<N: Network>(&mut self, problem: &Problem<'_, N>, tree: &Tree, place: Place) {
        let mut part = Summary::of_one(tree.is_member(place), 0);
        for child in tree.children(place).iter().copied() {
            let latency = tree.latency(child) - tree.latency(place);
            part = part.with(self.parts[child].behind(latency, width(problem, tree, child)));
        }
        self.parts[place] = part;
    }

    /// A host's part, as if its height were 0 and without its link.
    pub(super) fn part(&self, top: Place) -> &Summary {
        &self.parts[top]
    }

    /// A host's part with its link.
    fn part_as_it_is<N: Network>(
        &self,
        problem: &Problem<'_, N>,
        tree: &Tree,
        top: Place,
    ) -> Summary {
        self.parts[top].behind(tree.latency(top), width(problem, tree, top))
    }

    /// The part of a host on the way from another one to the root, or the whole tree if it is the root:
    /// without that of the other one, and without a third one that is not on this way.
    pub(super) fn around<N: Network>(
        &self,
        problem: &Problem<'_, N>,
        tree: &Tree,
        (top, host): (Place, Place),
        third: Option<Place>,
    ) -> Summary {
        let (mut all, mut below) = (Summary::NOTHING, top);
        while below != host
            && let Some(place) = tree.parent(below)
        {
            let alone = Summary::of_one(tree.is_member(place), tree.latency(place));
            all = all.with(alone.behind(0, width(problem, tree, place)));
            for child in tree.children(place).iter().copied().filter(|child| *child != below) {
                let part = match third {
                    Some(third) if tree.is_above(child, third) => {
                        self.around(problem, tree, (third, child), None)
                    }
                    _ => self.part_as_it_is(problem, tree, child),
                };
                all = all.with(part);
            }
            below = place;
        }
        all
    }

    /// What is around a part, without another one that is there.
    pub(super) fn without<N: Network>(
        &self,
        problem: &Problem<'_, N>,
        tree: &Tree,
        (top, around): (Place, Summary),
        other: Place,
    ) -> Summary {
        let part = self.part_as_it_is(problem, tree, other);
        let is_narrowest = part.narrowest == around.narrowest && part.narrowest < u32::MAX;
        match part.highest == around.highest || is_narrowest {
            true => self.around(problem, tree, (other, 0), Some(top)),
            false => around.without(part),
        }
    }

    /// Everybody from where it is no higher than `most` to a host, or is so if it were right there.
    pub(super) fn within<'a, N: Network>(
        &'a self,
        problem: &'a Problem<'_, N>,
        rows: &'a mut Rows,
        to: Place,
    ) -> impl FnMut(Micros) -> Option<(Place, Micros)> + 'a {
        let row = rows.to(to, self.hosts.len());
        let mut hosts = self.heights.iter().zip(row).zip(&self.hosts);
        move |most| {
            hosts.find_map(|((height, latency), host)| {
                if *height > most {
                    return None;
                }
                if *latency == UNKNOWN {
                    *latency = problem.latency(*host, to) as u32;
                }
                let height = height + Micros::from(*latency);
                (height <= most).then_some((*host, height))
            })
        }
    }
}

/// Rows that are kept.
const ROWS_MAX: usize = 256;
/// In the place of a latency that has not been asked for; an hour in microseconds is less.
const UNKNOWN: u32 = u32::MAX;

/// How far it is to some hosts: those on the way to the highest one mostly were there the last time.
pub(super) struct Rows {
    /// By host: which row is its, if any.
    rows: Vec<Option<u16>>,
    /// By row: the host, and by position in a [`Layout`] how far it is to it.
    kept: Vec<(Place, Vec<u32>)>,
    /// The one to be given up next.
    next: usize,
}

impl Rows {
    pub(super) fn new(places: usize) -> Rows {
        Rows { rows: alloc::vec![None; places], kept: Vec::new(), next: 0 }
    }

    /// How far it is to a host from everybody in a layout, so far as it is known.
    fn to(&mut self, to: Place, hosts: usize) -> &mut [u32] {
        let row = match self.rows[to] {
            Some(row) => row.into(),
            None => {
                let row = self.next;
                self.next = (row + 1) % ROWS_MAX;
                if row == self.kept.len() {
                    self.kept.push((to, alloc::vec![UNKNOWN; hosts]));
                } else {
                    self.rows[self.kept[row].0] = None;
                    self.kept[row].0 = to;
                    self.kept[row].1.fill(UNKNOWN);
                }
                self.rows[to] = Some(row as u16);
                row
            }
        };
        &mut self.kept[row].1
    }
}

/// The link to a host's parent.
pub(super) fn width<N: Network>(problem: &Problem<'_, N>, tree: &Tree, place: Place) -> u32 {
    tree.parent(place).map_or(u32::MAX, |parent| problem.network.bandwidth(parent, place))
}

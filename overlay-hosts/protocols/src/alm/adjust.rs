//! A tree adjusted by moves (seed 003 paragraph 0082, DS-52): (a) the highest host gets a new parent; (b) it
//! changes places with another leaf; (c) the part that its parent is at the top of changes places with
//! another part. The best move is made, until none makes the tree better.
//!
//! (a) and (c) are made for every host on the way from the root to the highest one, which has them all as
//! cases of two: a part gets a new parent, or two parts change places. Each is judged by a [`Layout`]
//! without being made.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::layout::{HIGHEST, Layout, Rows, Summary, width};
use super::tree::Score;
use super::{Micros, Network, Objective, Place, Problem, Tree};

/// Of how many hosts moves are tried before a tree is left as it is.
const TRIED_MAX: usize = 16;

/// A change of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Move {
    /// A part goes to another parent.
    Reparent { top: Place, to: Place },
    /// Two parts change places.
    Swap { one: Place, other: Place },
}

/// Adjusts a tree that is complete; helpers without use are taken out. Returns how many moves there
/// were, [`Config::moves_max`](super::Config::moves_max) at most.
pub fn adjust<N: Network>(problem: &Problem<'_, N>, tree: &mut Tree) -> u32 {
    let mut moves = 0;
    let mut score = tree.score(problem);
    let mut layout = Layout::of(problem, tree);
    let mut rows = Rows::new(tree.places());
    while moves < problem.config.moves_max {
        if let Some((better, best)) = better_move(problem, tree, &layout, &mut rows, score) {
            make_and_renew(problem, tree, &mut layout, best);
            score = better;
            moves += 1;
        } else if tree.trim(problem) {
            score = tree.score(problem);
            (layout, rows) = (Layout::of(problem, tree), Rows::new(tree.places()));
        } else {
            break;
        }
    }
    tree.trim(problem);
    moves
}

/// Makes a move; a helper that has lost its last child by it goes.
pub(super) fn make<N: Network>(problem: &Problem<'_, N>, tree: &mut Tree, best: Move) {
    match best {
        Move::Reparent { top, to } => {
            let before = tree.parent(top);
            tree.reparent(problem, top, to);
            before.into_iter().for_each(|parent| tree.prune(parent));
        }
        Move::Swap { one, other } => tree.swap(problem, one, other),
    }
}

/// Makes a move of a tree that is laid out.
pub(super) fn make_and_renew<N: Network>(
    problem: &Problem<'_, N>,
    tree: &mut Tree,
    layout: &mut Layout,
    best: Move,
) {
    let (tops, parents) = match best {
        Move::Reparent { top, to } => (alloc::vec![top], [tree.parent(top), Some(to)]),
        Move::Swap { one, other } => {
            (alloc::vec![one, other], [tree.parent(one), tree.parent(other)])
        }
    };
    let above: Vec<Place> = parents.into_iter().flatten().flat_map(|at| tree.way(at)).collect();
    make(problem, tree, best);
    layout.renew(problem, tree, &tops, &above);
}

/// A move that makes the tree better than `score`, and how good it is then: the best one of the worst host
/// for which there is any.
fn better_move<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    layout: &Layout,
    rows: &mut Rows,
    score: Score,
) -> Option<(Score, Move)> {
    let tried = match problem.config.objective {
        // As long as the highest one stays where it is, so does the height.
        Objective::Height => 1,
        Objective::Bandwidth | Objective::Variance => TRIED_MAX,
    };
    let mut worst = worst(problem, tree, tried).into_iter();
    worst.find_map(|worst| best_move(problem, tree, layout, rows, worst, score))
}

/// The move of a host, or of one above it, after which the tree is best, and how good it is then, if that
/// is better than `score`; of equal ones the first by kind and hosts.
pub(super) fn best_move<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    layout: &Layout,
    rows: &mut Rows,
    worst: Place,
    score: Score,
) -> Option<(Score, Move)> {
    let way = tree.way(worst);
    // Of each on the way, what is around its part.
    let mut around = alloc::vec![Summary::NOTHING; way.len()];
    for (at, link) in way.windows(2).enumerate().rev() {
        let between = layout.around(problem, tree, (link[0], link[1]), None);
        around[at] = around[at + 1].with(between);
    }
    let mut best = None;
    for (at, link) in way.windows(2).enumerate() {
        // What goes with it: helpers that have no other child. Those above these may be parents as well.
        let is_idle =
            |place: &&Place| !tree.is_member(**place) && tree.children(**place).len() == 1;
        let last = at + way[at + 1..].iter().take_while(is_idle).count();
        let moves = Moves {
            problem,
            tree,
            layout,
            top: link[0],
            parent: link[1],
            around: around[at],
            idle: way[last],
            left: around[last],
        };
        let limit = best.map_or(score, |(score, _)| score);
        best = best.into_iter().chain(moves.best(rows, limit)).min();
    }
    best
}

/// What can be done with one part.
struct Moves<'a, 'p, N> {
    problem: &'a Problem<'p, N>,
    tree: &'a Tree,
    layout: &'a Layout,
    top: Place,
    /// Its parent.
    parent: Place,
    /// What the rest of the tree amounts to.
    around: Summary,
    /// The top of what is without use when it has another parent: itself, or a helper above it.
    idle: Place,
    /// What the tree amounts to without that.
    left: Summary,
}

impl<N: Network> Moves<'_, '_, N> {
    /// Each possible parent is looked at once: for the part to be its child beside others, or in the
    /// place of one of them.
    fn best(&self, rows: &mut Rows, limit: Score) -> Option<(Score, Move)> {
        let Moves { problem, tree, layout, top, parent, .. } = *self;
        let mut best = Best::new(problem.config.objective, limit);
        let part = layout.part(top);
        let mut next = layout.within(problem, rows, top);
        while let Some((to, height)) = next(best.most(part)) {
            let moved = part.behind(height, problem.network.bandwidth(to, top));
            if to != parent && !best.is_hopeless(&moved) && !tree.is_above(top, to) {
                self.consider_parent(to, moved, &mut best);
            }
        }
        best.found
    }

    fn consider_parent(&self, to: Place, moved: Summary, best: &mut Best) {
        let Moves { problem, tree, layout, top, parent, .. } = *self;
        if tree.free(to) > 0 && !tree.is_above(self.idle, to) {
            best.consider(self.left.with(moved), Move::Reparent { top, to });
        }
        let from = tree.latency(parent);
        for other in tree.children(to).iter().copied() {
            let part = layout.part(other);
            // One above the part cannot change places with it.
            if from > best.most(part) || tree.is_above(other, top) {
                continue;
            }
            let height = from + problem.latency(parent, other);
            if height > best.most(part) {
                continue;
            }
            let back = part.behind(height, problem.network.bandwidth(parent, other));
            if !best.is_hopeless(&back) {
                let rest = layout.without(problem, tree, (top, self.around), other);
                best.consider(rest.with(moved).with(back), Move::Swap { one: top, other });
            }
        }
    }
}

/// The best of the moves that were looked at.
struct Best {
    objective: Objective,
    /// How good the tree can be without them, and then how good it is by the best one.
    limit: Score,
    /// Where a tree is no better in any case that has a higher member.
    highest: Micros,
    found: Option<(Score, Move)>,
}

impl Best {
    fn new(objective: Objective, limit: Score) -> Best {
        let mut best = Best { objective, limit, highest: HIGHEST, found: None };
        best.lower(limit);
        best
    }

    fn lower(&mut self, limit: Score) {
        self.limit = limit;
        if self.objective == Objective::Height {
            self.highest = Micros::try_from(limit.0).unwrap_or(HIGHEST).min(HIGHEST);
        }
    }

    /// How high the top of a part can be at most where a tree may be better.
    fn most(&self, part: &Summary) -> Micros {
        self.highest.saturating_sub(part.highest())
    }

    /// Whether a tree is no better in any case that has such a part: so it is where the worst host
    /// decides.
    fn is_hopeless(&self, part: &Summary) -> bool {
        match self.objective {
            Objective::Height | Objective::Bandwidth => part.score(self.objective) > self.limit,
            Objective::Variance => false,
        }
    }

    /// A move, and what the whole tree amounts to after it.
    fn consider(&mut self, tree: Summary, made: Move) {
        let score = tree.score(self.objective);
        let is_better = match self.found {
            None => score < self.limit,
            Some(found) => (score, made) < found,
        };
        if is_better {
            self.lower(score);
            self.found = Some((score, made));
        }
    }
}

/// The hosts by how much the objective suffers from them, the worst first, up to so many.
pub(super) fn worst<N: Network>(problem: &Problem<'_, N>, tree: &Tree, count: usize) -> Vec<Place> {
    let sum: u64 = (0..problem.members).map(|at| tree.latency(at)).sum();
    let badness = |at: Place| match problem.config.objective {
        Objective::Height => (tree.latency(at), 0),
        Objective::Bandwidth => {
            let narrow = u32::MAX - width(problem, tree, at);
            (narrow.into(), tree.latency(at))
        }
        Objective::Variance => (sum.abs_diff(problem.members as u64 * tree.latency(at)), 0),
    };
    let counts = |at: &Place| {
        let is_any = problem.config.objective == Objective::Bandwidth || tree.is_member(*at);
        *at != 0 && is_any
    };
    let hosts = (0..tree.places()).filter(|at| tree.contains(*at)).filter(counts);
    let hosts = hosts.map(|at| (badness(at), Reverse(at)));
    let mut ranked: Vec<((u64, Micros), Reverse<Place>)> = match count {
        1 => hosts.max().into_iter().collect(),
        _ => hosts.collect(),
    };
    ranked.sort_unstable();
    ranked.into_iter().rev().take(count).map(|(_, Reverse(place))| place).collect()
}

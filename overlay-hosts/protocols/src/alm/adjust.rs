//! A tree adjusted by moves (seed 003 paragraph 0082, DS-52): (a) the highest host gets a new parent; (b) it
//! changes places with another leaf; (c) the part that its parent is at the top of changes places with
//! another part. The best move is made, until none makes the tree better.
//!
//! (a) and (c) are made for every host on the way from the root to the highest one, which has them all as
//! cases of two: a part gets a new parent, or two parts change places. Each is judged by a [`Layout`]
//! without being made.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::layout::{Layout, Rest, Summary, width};
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
    while moves < problem.config.moves_max {
        if let Some((better, best)) = better_move(problem, tree, &layout, score) {
            make(problem, tree, best);
            score = better;
            moves += 1;
        } else if tree.trim(problem) {
            score = tree.score(problem);
        } else {
            break;
        }
        layout = layout.renewed(problem, tree);
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

/// A move that makes the tree better than `score`, and how good it is then: the best one of the worst host
/// for which there is any.
fn better_move<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    layout: &Layout,
    score: Score,
) -> Option<(Score, Move)> {
    let tried = match problem.config.objective {
        // As long as the highest one stays where it is, so does the height.
        Objective::Height => 1,
        Objective::Bandwidth | Objective::Variance => TRIED_MAX,
    };
    let mut worst = worst(problem, tree, layout, tried).into_iter();
    worst.find_map(|worst| best_move(problem, tree, layout, worst, score))
}

/// The move of a host, or of one above it, after which the tree is best, and how good it is then, if that
/// is better than `score`; of equal ones the first by kind and hosts.
pub(super) fn best_move<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    layout: &Layout,
    worst: Place,
    score: Score,
) -> Option<(Score, Move)> {
    let mut best = None;
    let mut at = Some(worst);
    while let Some(top) = at {
        let parent = tree.parent(top);
        if let Some(parent) = parent {
            let limit = best.map_or(score, |(score, _)| score);
            let moves = Moves { problem, tree, layout, top, parent, limit };
            best = best.into_iter().chain(moves.best()).min();
        }
        at = parent;
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
    /// How good the tree can be without.
    limit: Score,
}

impl<N: Network> Moves<'_, '_, N> {
    /// The best move. Each possible parent is looked at once: for the part to be its child beside others,
    /// or in the place of one of them. Latencies are only asked for where links without any would do.
    fn best(&self) -> Option<(Score, Move)> {
        let Moves { problem, tree, layout, top, parent, .. } = *self;
        // What goes with it: helpers that have no other child. Those above these may be parents as well.
        let idle = idle_without(tree, top);
        let (left, alone) = (Rest::new(layout, idle), Rest::new(layout, top));
        let mut best = Best { objective: problem.config.objective, limit: self.limit, found: None };
        for to in layout.by_height.iter().copied() {
            if best.is_hopeless(layout.part_at(top, tree.latency(to))) {
                // Those that are higher are so, too, even if they were right beside the part.
                break;
            }
            if to == parent || layout.is_inside(to, top) {
                continue;
            }
            let moved = layout.part_under(problem, tree, top, to);
            if best.is_hopeless(moved) {
                continue;
            }
            if tree.free(to) > 0 && !layout.is_inside(to, idle) {
                best.consider(left.all().with(moved), Move::Reparent { top, to });
            }
            for other in tree.children(to).iter().copied() {
                // One above the part cannot change places with it.
                let back = layout.part_at(other, tree.latency(parent));
                if best.is_hopeless(back) || layout.is_inside(top, other) {
                    continue;
                }
                let rest = alone.without(other).with(moved);
                if !best.is_hopeless(rest.with(back)) {
                    let back = layout.part_under(problem, tree, other, parent);
                    best.consider(rest.with(back), Move::Swap { one: top, other });
                }
            }
        }
        best.found
    }
}

/// The best of the moves that were looked at.
struct Best {
    objective: Objective,
    /// How good the tree can be without them, and then how good it is by the best one.
    limit: Score,
    found: Option<(Score, Move)>,
}

impl Best {
    /// Whether a tree is no better in any case that has such a part: so it is where the worst host
    /// decides.
    fn is_hopeless(&self, part: Summary) -> bool {
        match self.objective {
            Objective::Height if u128::from(part.highest()) > self.limit.0 => true,
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
            (self.limit, self.found) = (score, Some((score, made)));
        }
    }
}

/// The top of what is without use once a host has another parent: itself, or helpers above it that have
/// no other child.
fn idle_without(tree: &Tree, place: Place) -> Place {
    let mut top = place;
    while let Some(parent) = tree.parent(top)
        && !tree.is_member(parent)
        && tree.children(parent).len() == 1
    {
        top = parent;
    }
    top
}

/// The hosts by how much the objective suffers from them, the worst first, up to so many.
pub(super) fn worst<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    layout: &Layout,
    count: usize,
) -> Vec<Place> {
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
    let hosts = layout.by_height.iter().copied().filter(counts);
    let hosts = hosts.map(|at| (badness(at), Reverse(at)));
    let mut ranked: Vec<((u64, Micros), Reverse<Place>)> = match count {
        1 => hosts.max().into_iter().collect(),
        _ => hosts.collect(),
    };
    ranked.sort_unstable();
    ranked.into_iter().rev().take(count).map(|(_, Reverse(place))| place).collect()
}

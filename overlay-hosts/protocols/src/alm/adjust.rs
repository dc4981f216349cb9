//! A tree adjusted by moves (seed 003 [0082], DS-52): (a) the highest host gets a new parent; (b) it
//! changes places with another leaf; (c) the part that its parent is at the top of changes places with
//! another part. The best move is made, until none makes the tree better.
//!
//! (a) and (c) are made for every host on the way from the root to the highest one, which has them all as
//! cases of two: a part gets a new parent, or two parts change places. Each is judged by a [`Layout`]
//! without being made.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::layout::{Layout, width};
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
    while moves < problem.config.moves_max {
        if let Some(best) = better_move(problem, tree, score) {
            make(problem, tree, best);
            moves += 1;
        } else if !tree.trim(problem) {
            break;
        }
        score = tree.score(problem);
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

/// A move that makes the tree better than `score`: the best one of the worst host for which there is any.
fn better_move<N: Network>(problem: &Problem<'_, N>, tree: &Tree, score: Score) -> Option<Move> {
    let layout = Layout::of(problem, tree);
    let tried = match problem.config.objective {
        // As long as the highest one stays where it is, so does the height.
        Objective::Height => 1,
        Objective::Bandwidth | Objective::Variance => TRIED_MAX,
    };
    let worst = worst(problem, tree, &layout);
    worst.into_iter().take(tried).find_map(|worst| {
        let (found, best) = best_move(problem, tree, &layout, worst)?;
        (found < score).then_some(best)
    })
}

/// The move of a host, or of one above it, after which the tree is best, and how good it is then; of
/// equal ones the first by kind and hosts.
pub(super) fn best_move<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    layout: &Layout,
    worst: Place,
) -> Option<(Score, Move)> {
    let mut best = None;
    let mut at = Some(worst);
    while let Some(top) = at {
        let parent = tree.parent(top);
        if let Some(parent) = parent {
            best = best.into_iter().chain(moves(problem, tree, layout, (top, parent))).min();
        }
        at = parent;
    }
    best
}

/// The best move of the part below `top`, whose parent this is.
fn moves<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    layout: &Layout,
    (top, parent): (Place, Place),
) -> Option<(Score, Move)> {
    let objective = problem.config.objective;
    let hosts = || layout.order.iter().copied();
    // What goes with it: helpers that have no other child. Those above these may be parents as well.
    let left = layout.without(idle_without(tree, top));
    let parents = hosts().filter(|to| tree.free(*to) > 0 && *to != parent && left.contains(*to));
    let reparents = parents.map(|to| {
        let moved = layout.part_under(problem, tree, top, to);
        (left.all().with(moved).score(objective), Move::Reparent { top, to })
    });
    let alone = layout.without(top);
    let swaps = hosts().filter(|other| layout.are_apart(top, *other)).filter_map(|other| {
        let there = tree.parent(other).filter(|there| *there != parent)?;
        let swapped = alone
            .without(other)
            .with(layout.part_under(problem, tree, top, there))
            .with(layout.part_under(problem, tree, other, parent));
        Some((swapped.score(objective), Move::Swap { one: top, other }))
    });
    reparents.chain(swaps).min()
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

/// The hosts by how much the objective suffers from them, the worst first.
pub(super) fn worst<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    layout: &Layout,
) -> Vec<Place> {
    let hosts = layout.order.iter().copied().filter(|place| *place != 0);
    let is_member = |place: &Place| tree.is_member(*place);
    let mut ranked: Vec<(Reverse<u64>, Reverse<Micros>, Place)> = match problem.config.objective {
        Objective::Height => {
            hosts.filter(is_member).map(|at| (Reverse(tree.latency(at)), Reverse(0), at)).collect()
        }
        Objective::Bandwidth => hosts
            .map(|at| {
                let narrow = u32::MAX - width(problem, tree, at);
                (Reverse(narrow.into()), Reverse(tree.latency(at)), at)
            })
            .collect(),
        Objective::Variance => {
            let sum: u64 = (0..problem.members).map(|at| tree.latency(at)).sum();
            let off = |at| sum.abs_diff(problem.members as u64 * tree.latency(at));
            hosts.filter(is_member).map(|at| (Reverse(off(at)), Reverse(0), at)).collect()
        }
    };
    ranked.sort_unstable();
    ranked.into_iter().map(|(.., place)| place).collect()
}

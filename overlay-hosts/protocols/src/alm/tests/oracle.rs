//! Table A as the seed prints it, its slips mended, and moves judged by making them: slow and obvious.

use super::super::adjust::{Move, make};
use super::super::tree::Score;
use super::*;

/// Table A: all heights anew in every round, over all pairs.
pub(super) fn table_a<N: Network>(
    problem: &Problem<'_, N>,
    rule: Option<HelperRule>,
) -> Option<Tree> {
    let mut tree = Tree::new(problem);
    let mut used = alloc::vec![false; problem.places()];
    loop {
        let outside: Vec<Place> =
            (0..problem.members).filter(|place| !tree.contains(*place)).collect();
        if outside.is_empty() {
            return Some(tree);
        }
        let best: Vec<Option<(Micros, Place)>> =
            outside.iter().map(|child| best_parent(problem, &tree, *child)).collect();
        let free: u32 = (0..problem.places())
            .filter(|place| tree.contains(*place))
            .map(|place| tree.free(place))
            .sum();
        let may = |child: Place| free > 1 || outside.len() == 1 || problem.slots(child) > 0;
        let found = outside.iter().zip(&best).filter(|(child, _)| may(**child));
        let found = found.filter_map(|(child, best)| Some(((*best)?, *child)));
        let ((_, parent), child) = found.min_by_key(|((height, _), child)| (*height, *child))?;
        let mut helper = None;
        if let Some(rule) = rule
            && tree.children(parent).len() as u32 == problem.slots(parent) - 1
        {
            let next = outside.iter().zip(&best);
            let next = next.filter(|(_, best)| best.is_some_and(|(_, at)| at == parent));
            let next: Vec<Place> = next.map(|(child, _)| *child).collect();
            helper = find_helper(problem, &used, parent, &next, rule);
        }
        match helper {
            Some(helper) => {
                used[helper] = true;
                tree.attach(problem, helper, parent);
                tree.attach(problem, child, helper);
            }
            None => tree.attach(problem, child, parent),
        }
    }
}

fn best_parent<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    child: Place,
) -> Option<(Micros, Place)> {
    (0..problem.places())
        .filter(|parent| tree.contains(*parent) && tree.free(*parent) > 0)
        .map(|parent| (tree.latency(parent) + problem.latency(parent, child), parent))
        .min()
}

fn find_helper<N: Network>(
    problem: &Problem<'_, N>,
    used: &[bool],
    parent: Place,
    next: &[Place],
    rule: HelperRule,
) -> Option<Place> {
    let cost = |helper: Place| {
        let near = problem.latency(parent, helper);
        let far = next.iter().map(|child| problem.latency(helper, *child)).max();
        match rule {
            HelperRule::Closest => near,
            HelperRule::TableB => near + far.unwrap_or(0),
        }
    };
    (problem.members..problem.places())
        .filter(|helper| !used[*helper])
        .filter(|helper| problem.degrees[*helper] >= problem.config.helper_degree)
        .filter(|helper| problem.latency(parent, *helper) < problem.config.radius)
        .min_by_key(|helper| (cost(*helper), *helper))
}

/// The best that any move of a host, or of one above it, makes of a tree, each made on a copy.
pub(super) fn best_score<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    worst: Place,
) -> Option<Score> {
    let hosts = tree.subtree(0);
    let mut moves = Vec::new();
    for top in hosts.iter().copied().filter(|top| *top != 0 && tree.is_above(*top, worst)) {
        for other in hosts.iter().copied() {
            let is_inside = tree.is_above(top, other);
            let is_new = tree.parent(top) != Some(other) && !is_there_for(tree, other, top);
            if tree.free(other) > 0 && !is_inside && is_new {
                moves.push(Move::Reparent { top, to: other });
            }
            let is_around = tree.is_above(other, top) || tree.parent(other) == tree.parent(top);
            if !is_inside && !is_around {
                moves.push(Move::Swap { one: top, other });
            }
        }
    }
    let made = moves.into_iter().map(|each| {
        let mut tree = tree.clone();
        make(problem, &mut tree, each);
        tree.score(problem)
    });
    made.min()
}

/// Whether a helper has nobody below but another host, and helpers on the way to it.
fn is_there_for(tree: &Tree, helper: Place, other: Place) -> bool {
    let below = tree.subtree(helper);
    let ways = below.iter().filter(|place| !tree.is_above(other, **place));
    let is_one_way = |place: &Place| !tree.is_member(*place) && tree.children(*place).len() == 1;
    tree.is_above(helper, other) && ways.copied().all(|place| is_one_way(&place))
}

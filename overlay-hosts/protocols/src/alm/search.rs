//! Small trees searched for better ones. A tree with helpers depends much on which hosts became helpers
//! first; so a part of it is taken apart and grown anew by Table A, with helpers chosen in another way, and
//! the whole is adjusted.

use alloc::vec::Vec;

use super::{Config, HelperRule, Network, Place, Problem, Tree, adjust, growth};

/// Members of sessions whose trees are searched at most; with 50 members it takes the time of some 30 plans.
pub(super) const SEARCHED_MAX: usize = 50;
/// Trees that are grown for one search at most; the seed's groups of 20 need 18 in the mean.
const TRIES_MAX: usize = 100;

/// Searches for a better tree until there is none; the same tree gives the same one. What is taken apart is a
/// part on the way from the root to the worst host, alone or together with one right below the root.
/// Helpers keep to the configured degree and radius.
pub(super) fn search<N: Network>(problem: &Problem<'_, N>, tree: &mut Tree) {
    let configs = configs(problem.config);
    let mut tries = 0;
    while let Some(better) = better_tree(problem, tree, &configs, &mut tries) {
        *tree = better;
    }
}

/// Other ways to choose helpers: by the other rule, and by the same one out of those that are nearer.
fn configs(config: &Config) -> [Config; 2] {
    let helper_rule = match config.helper_rule {
        HelperRule::Closest => HelperRule::TableB,
        HelperRule::TableB => HelperRule::Closest,
    };
    let radius = config.radius / 2;
    [Config { helper_rule, ..config.clone() }, Config { radius, ..config.clone() }]
}

/// The first one that is found.
fn better_tree<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    configs: &[Config],
    tries: &mut usize,
) -> Option<Tree> {
    let score = tree.score(problem);
    let way = tree.way(*adjust::worst(problem, tree, 1).first()?);
    let beside = tree.children(0).iter().copied().filter(|top| !way.contains(top));
    for beside in core::iter::once(None).chain(beside.map(Some)) {
        // With the root, all is taken apart.
        let tops = way.iter().copied().filter(|top| *top != 0 || beside.is_none());
        for (top, config) in tops.flat_map(|top| configs.iter().map(move |config| (top, config))) {
            if *tries == TRIES_MAX {
                return None;
            }
            *tries += 1;
            let is_apart = |place: Place| {
                tree.is_above(top, place) || beside.is_some_and(|top| tree.is_above(top, place))
            };
            let found = regrown(problem, tree, config, is_apart);
            if let Some(found) = found.filter(|found| found.score(problem) < score) {
                return Some(found);
            }
        }
    }
    None
}

/// The tree with some hosts taken out, and those of them that are members put in again.
fn regrown<N: Network>(
    problem: &Problem<'_, N>,
    tree: &Tree,
    config: &Config,
    is_apart: impl Fn(Place) -> bool,
) -> Option<Tree> {
    let links: Vec<(Place, Place)> = tree.links().filter(|(child, _)| !is_apart(*child)).collect();
    let problem = Problem { config, ..*problem };
    let mut next = Tree::from_links(&problem, &links);
    next.trim(&problem);
    growth::grow(&problem, &mut next, Some(config.helper_rule)).ok()?;
    next.trim(&problem);
    adjust(&problem, &mut next);
    Some(next)
}

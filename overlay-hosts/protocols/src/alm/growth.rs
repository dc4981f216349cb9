//! Table A (paragraph 0084): what is not in the tree yet goes in one after another, each under the parent with a
//! free degree from where it is lowest.
//!
//! Every host outside has the best offers of the parents inside at hand. When the parent of the first one
//! becomes full, the best of the others counts, and only when none is left are all parents asked again.
//! With 1,000 members that is less than a hundredth of what Table A's loops over all pairs for every host
//! compute.

use alloc::vec::Vec;

use super::{HelperRule, Micros, Network, Objective, Place, PlanError, Problem, Tree};

/// Offers at hand, where there are so many; up to twice as many are kept.
const KEPT: usize = 32;

/// What a host would have under a parent: what the objective says of that, and the parent.
type Offer = (u64, Place);

/// Worse than any offer.
const NONE: Offer = (u64::MAX, Place::MAX);

/// The top of a part that is not in the tree, and offers for it.
struct Outside {
    top: Place,
    /// The best one, or [`NONE`]. Its parent may have become full since; then there is none that is better.
    best: Offer,
    /// Only better ones are kept.
    limit: Offer,
    /// The best one first, and those from the position on; some may be of parents that are full.
    kept: Vec<Offer>,
    from: usize,
}

impl Outside {
    fn new(top: Place) -> Outside {
        let kept = Vec::with_capacity(2 * KEPT);
        Outside { top, best: NONE, limit: NONE, kept, from: 0 }
    }

    /// One more.
    fn add(&mut self, offer: Offer) {
        if self.kept.len() == 2 * KEPT {
            self.kept.drain(..self.from);
            self.from = 0;
            self.cut();
        }
        if offer >= self.limit {
            return;
        }
        let behind = self.kept[self.from..].partition_point(|each| *each < offer);
        self.kept.insert(self.from + behind, offer);
        self.best = self.best.min(offer);
    }

    /// Forgets the best ones whose parents have become full; returns whether all have to be asked again.
    fn is_left_alone(&mut self, tree: &Tree) -> bool {
        while self.kept.get(self.from).is_some_and(|offer| tree.free(offer.1) == 0) {
            self.from += 1;
        }
        self.best = self.kept.get(self.from).copied().unwrap_or(NONE);
        self.best == NONE && self.limit != NONE
    }

    /// These are all there are.
    fn take(&mut self, all: impl Iterator<Item = Offer>) {
        (self.limit, self.from) = (NONE, 0);
        self.kept.clear();
        self.kept.extend(all);
        if self.kept.len() > KEPT {
            self.kept.select_nth_unstable(KEPT);
            self.cut();
        }
        self.kept.sort_unstable();
        self.best = self.kept.first().copied().unwrap_or(NONE);
    }

    /// Keeps no more than have to be at hand.
    fn cut(&mut self) {
        if let Some(worse) = self.kept.get(KEPT) {
            self.limit = *worse;
            self.kept.truncate(KEPT);
        }
    }
}

struct Growth<'a, 'p, N> {
    problem: &'a Problem<'p, N>,
    tree: &'a mut Tree,
    outside: Vec<Outside>,
    /// Hosts inside that have a free degree.
    open: Vec<Place>,
    /// Candidates with an adequate degree that nobody uses.
    spare: Vec<Place>,
    /// Children that hosts inside can still take.
    free: u64,
}

/// Completes a tree, which may have parts that are not connected to the root.
pub(super) fn grow<N: Network>(
    problem: &Problem<'_, N>,
    tree: &mut Tree,
    helpers: Option<HelperRule>,
) -> Result<(), PlanError> {
    let is_outside = |place: &Place| {
        let is_part = tree.is_member(*place) || !tree.children(*place).is_empty();
        !tree.contains(*place) && tree.parent(*place).is_none() && is_part
    };
    let outside: Vec<Place> = (0..tree.places()).filter(is_outside).collect();
    if outside.iter().any(|top| problem.degrees[*top] == 0) {
        return Err(PlanError::Degrees);
    }
    let is_spare = |place: &Place| {
        problem.degrees[*place] >= problem.config.helper_degree.max(2)
            && tree.children(*place).is_empty()
            && !tree.contains(*place)
    };
    let spare = match helpers {
        None => Vec::new(),
        Some(_) => (problem.members..tree.places()).filter(is_spare).collect(),
    };
    let outside = outside.into_iter().map(Outside::new).collect();
    let mut growth = Growth { problem, tree, outside, open: Vec::new(), spare, free: 0 };
    growth.entered(0);
    while !growth.outside.is_empty() {
        let next = growth.lowest().ok_or(PlanError::Degrees)?;
        growth.absorb(next, helpers);
    }
    Ok(())
}

impl<N: Network> Growth<'_, '_, N> {
    /// A part is in the tree: everybody in it is a parent from now on.
    fn entered(&mut self, top: Place) {
        let Growth { problem, tree, .. } = self;
        for parent in tree.subtree(top) {
            self.free += u64::from(tree.free(parent));
            if tree.free(parent) > 0 {
                self.open.push(parent);
                for part in &mut self.outside {
                    part.add((cost(problem, tree, parent, part.top), parent));
                }
            }
        }
    }

    /// The position of the part that goes in next, and its parent. What would take the last free degree
    /// and bring none waits while there are others.
    fn lowest(&mut self) -> Option<(usize, Place)> {
        let may_close = self.free > 1 || self.outside.len() == 1;
        let mut lowest = (NONE.0, Place::MAX);
        let mut next = None;
        for at in 0..self.outside.len() {
            let is_lower = |part: &Outside| part.best != NONE && (part.best.0, part.top) < lowest;
            if is_lower(&self.outside[at])
                && is_lower(self.with_best(at))
                && (may_close || self.brings_any(self.outside[at].top))
            {
                let Outside { top, best, .. } = self.outside[at];
                lowest = (best.0, top);
                next = Some((at, best.1));
            }
        }
        next
    }

    /// A part whose best offer is of a parent that is not full.
    fn with_best(&mut self, at: usize) -> &Outside {
        let Growth { problem, tree, outside, open, .. } = self;
        let part = &mut outside[at];
        let is_full = part.best != NONE && tree.free(part.best.1) == 0;
        if is_full && part.is_left_alone(tree) {
            let top = part.top;
            let all = open.iter().map(|parent| (cost(problem, tree, *parent, top), *parent));
            part.take(all);
        }
        part
    }

    fn brings_any(&self, top: Place) -> bool {
        self.tree.subtree(top).into_iter().any(|place| self.tree.free(place) > 0)
    }

    /// One round of Table A's loop, its Section A included.
    fn absorb(&mut self, (at, parent): (usize, Place), helpers: Option<HelperRule>) {
        let is_critical = self.tree.free(parent) == 1;
        let helper = helpers.filter(|_| is_critical).and_then(|rule| self.helper(parent, rule));
        let child = self.outside.swap_remove(at).top;
        self.free -= 1;
        match helper {
            None => self.tree.attach(self.problem, child, parent),
            Some(helper) => {
                self.spare.retain(|spare| *spare != helper);
                self.tree.attach(self.problem, helper, parent);
                self.tree.attach(self.problem, child, helper);
            }
        }
        self.entered(helper.unwrap_or(child));
        if is_critical {
            self.open.retain(|open| *open != parent);
        }
    }

    /// The helper to take a parent's last free degree: of those that are nearer than the radius the one
    /// that the rule prefers, of equal ones the first. Table B's v are those outside whose best parent
    /// this one is: they would be its next children.
    fn helper(&mut self, parent: Place, rule: HelperRule) -> Option<Place> {
        let near = |helper: &Place| self.problem.latency(parent, *helper);
        let is_near = |(near, _): &(Micros, Place)| *near < self.problem.config.radius;
        let wide = self.spare.iter().filter(|helper| self.keeps_width(parent, **helper));
        let nearest: Vec<(Micros, Place)> =
            wide.map(|helper| (near(helper), *helper)).filter(is_near).collect();
        let mut next: Vec<Place> = Vec::new();
        // If there is no choice, it does not matter who the next children are.
        if rule == HelperRule::TableB && nearest.len() > 1 {
            for at in 0..self.outside.len() {
                let part = self.with_best(at);
                if part.best.1 == parent {
                    next.push(part.top);
                }
            }
        }
        let mut best: Option<(Micros, Place)> = None;
        for (near, helper) in nearest {
            let least = best.map_or(Micros::MAX, |(least, _)| least);
            let mut farthest = 0;
            for top in &next {
                if near + farthest >= least {
                    break;
                }
                farthest = farthest.max(self.problem.latency(helper, *top));
            }
            if near + farthest < least {
                best = Some((near + farthest, helper));
            }
        }
        best.map(|(_, helper)| helper)
    }

    /// Where the tree is to be wide, a helper is no narrower than its parent.
    fn keeps_width(&self, parent: Place, helper: Place) -> bool {
        self.problem.config.objective != Objective::Bandwidth
            || self.problem.network.bandwidth(parent, helper) >= self.tree.width(parent)
    }
}

/// What orders offers: the latency, or for [`Objective::Bandwidth`] how narrow the way is and then the latency,
/// up to 71 minutes.
fn cost<N: Network>(problem: &Problem<'_, N>, tree: &Tree, parent: Place, child: Place) -> u64 {
    let latency = tree.latency(parent) + problem.latency(parent, child);
    match problem.config.objective {
        Objective::Height | Objective::Variance => latency,
        Objective::Bandwidth => {
            let width = problem.network.bandwidth(parent, child);
            let narrow = u32::MAX - width.min(tree.width(parent));
            u64::from(narrow) << 32 | latency.min(u32::MAX.into())
        }
    }
}

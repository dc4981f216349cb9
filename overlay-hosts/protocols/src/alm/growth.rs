//! Table A (paragraph 0084): what is not in the tree yet goes in one after another, each under the parent with a
//! free degree from where it is lowest.
//!
//! Every host outside has the best offers of the parents inside at hand, in order. When the parent of the
//! first one becomes full, the next one counts, and only when none is left are all parents asked again.
//! With 1,000 members that is less than a hundredth of what Table A's loops over all pairs for every host
//! compute.

use alloc::vec::Vec;

use super::{HelperRule, Micros, Network, Objective, Place, PlanError, Problem, Tree};

/// Offers at hand at least, where there are so many; up to twice as many are kept.
const KEPT: usize = 32;

/// What a host would have under a parent: what the objective says of that, and the parent.
type Offer = (u64, Place);

/// The best offers that a host has; some may be of parents that are full.
#[derive(Clone, Default)]
struct Offers {
    /// The best one is the last, where it is taken away the most quickly.
    kept: Vec<Offer>,
    /// There are others, none of which is better than any of these.
    are_more: bool,
}

impl Offers {
    fn add(&mut self, offer: Offer) {
        let is_among_others = self.kept.first().is_none_or(|worst| *worst < offer);
        if self.are_more && is_among_others {
            return;
        }
        let at = self.kept.partition_point(|each| *each > offer);
        self.kept.insert(at, offer);
        if self.kept.len() == 2 * KEPT {
            self.kept.drain(..KEPT);
            self.are_more = true;
        }
    }

    /// All there are.
    fn of(mut all: Vec<Offer>) -> Offers {
        let worse = all.len().saturating_sub(KEPT);
        let are_more = worse > 0;
        if are_more {
            all.select_nth_unstable_by(worse, |one, other| other.cmp(one));
            all.drain(..worse);
        }
        all.sort_unstable_by(|one, other| other.cmp(one));
        Offers { kept: all, are_more }
    }

    /// The best one.
    fn best(&self) -> Option<Offer> {
        self.kept.last().copied()
    }
}

struct Growth<'a, 'p, N> {
    problem: &'a Problem<'p, N>,
    tree: &'a mut Tree,
    /// Tops of parts that are not in the tree, members in their order.
    outside: Vec<Place>,
    /// By top.
    offers: Vec<Offers>,
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
    let offers = alloc::vec![Offers::default(); tree.places()];
    let mut growth = Growth { problem, tree, outside, offers, open: Vec::new(), spare, free: 0 };
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
        for parent in self.tree.subtree(top) {
            self.free += u64::from(self.tree.free(parent));
            if self.tree.free(parent) > 0 {
                self.open.push(parent);
                for top in self.outside.iter().copied() {
                    let offer = (self.cost(parent, top), parent);
                    self.offers[top].add(offer);
                }
            }
        }
    }

    /// A parent has become full: those outside for whom it was the best have another one.
    fn filled(&mut self, parent: Place) {
        self.open.retain(|open| *open != parent);
        for top in self.outside.iter().copied() {
            let is_full = |offer: &Offer| self.tree.free(offer.1) == 0;
            let offers = &mut self.offers[top];
            while offers.kept.pop_if(|offer| is_full(offer)).is_some() {}
            if offers.kept.is_empty() && offers.are_more {
                let all = self.open.iter().map(|parent| (self.cost(*parent, top), *parent));
                self.offers[top] = Offers::of(all.collect());
            }
        }
    }

    fn best(&self, top: Place) -> Option<Offer> {
        self.offers[top].best()
    }

    /// What orders offers: the latency, or for [`Objective::Bandwidth`] how narrow the way is and then the
    /// latency, up to 71 minutes.
    fn cost(&self, parent: Place, child: Place) -> u64 {
        let latency = self.tree.latency(parent) + self.problem.latency(parent, child);
        match self.problem.config.objective {
            Objective::Height | Objective::Variance => latency,
            Objective::Bandwidth => {
                let width = self.problem.network.bandwidth(parent, child);
                let narrow = u32::MAX - width.min(self.tree.width(parent));
                u64::from(narrow) << 32 | latency.min(u32::MAX.into())
            }
        }
    }

    /// The position of the part that goes in next, and its parent. What would take the last free degree
    /// and bring none waits while there are others.
    fn lowest(&self) -> Option<(usize, Place)> {
        let may_close = self.free > 1 || self.outside.len() == 1;
        let mut lowest: Option<(u64, usize, Place)> = None;
        for (at, top) in self.outside.iter().copied().enumerate() {
            let Some((cost, parent)) = self.best(top) else { continue };
            let is_lower = lowest.is_none_or(|(least, ..)| cost < least);
            if is_lower && (may_close || self.brings_any(top)) {
                lowest = Some((cost, at, parent));
            }
        }
        lowest.map(|(_, at, parent)| (at, parent))
    }

    fn brings_any(&self, top: Place) -> bool {
        self.tree.subtree(top).into_iter().any(|place| self.tree.free(place) > 0)
    }

    /// One round of Table A's loop, its Section A included.
    fn absorb(&mut self, (at, parent): (usize, Place), helpers: Option<HelperRule>) {
        let child = self.outside[at];
        let is_critical = self.tree.free(parent) == 1;
        let helper = helpers.filter(|_| is_critical).and_then(|rule| self.helper(parent, rule));
        self.outside.remove(at);
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
            self.filled(parent);
        }
    }

    /// The helper to take a parent's last free degree: of those that are nearer than the radius the one
    /// that the rule prefers, of equal ones the first. Table B's v are those outside whose best parent
    /// this one is: they would be its next children.
    fn helper(&self, parent: Place, rule: HelperRule) -> Option<Place> {
        let is_next = |top: &&Place| self.best(**top).is_some_and(|(_, at)| at == parent);
        let next: Vec<Place> = match rule {
            HelperRule::Closest => Vec::new(),
            HelperRule::TableB => self.outside.iter().filter(is_next).copied().collect(),
        };
        let mut best: Option<(Micros, Place)> = None;
        for helper in self.spare.iter().copied().filter(|helper| self.keeps_width(parent, *helper))
        {
            let near = self.problem.latency(parent, helper);
            if near >= self.problem.config.radius {
                continue;
            }
            let least = best.map_or(Micros::MAX, |(least, _)| least);
            let mut farthest = 0;
            for top in &next {
                farthest = farthest.max(self.problem.latency(helper, *top));
                if near + farthest >= least {
                    break;
                }
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

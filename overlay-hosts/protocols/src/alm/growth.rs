//! Table A ([0084]): what is not in the tree yet goes in one after another, each under the parent with a
//! free degree from where it is lowest.
//!
//! Every host outside keeps a heap of offers, one of each host inside. An offer of a parent that has
//! become full is thrown away when it comes to the top, so each is looked at once: O(N^2 log N) in all,
//! where Table A's loops over all pairs for every host are O(N^3).

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{HelperRule, Micros, Network, Objective, Place, PlanError, Problem, Tree};

/// What a host would have under a parent: what the objective says of that, and the parent.
type Offer = (u64, u32);

struct Growth<'a, 'p, N> {
    problem: &'a Problem<'p, N>,
    tree: &'a mut Tree,
    /// Tops of parts that are not in the tree, members in their order.
    outside: Vec<Place>,
    /// By top.
    offers: Vec<BinaryHeap<Reverse<Offer>>>,
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
    let offers = alloc::vec![BinaryHeap::new(); tree.places()];
    let mut growth = Growth { problem, tree, outside, offers, spare, free: 0 };
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
                for outside in &self.outside {
                    let offer = (self.cost(parent, *outside), parent as u32);
                    self.offers[*outside].push(Reverse(offer));
                }
            }
        }
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
    fn lowest(&mut self) -> Option<(usize, Place)> {
        let is_last = self.outside.len() == 1;
        let mut best: Option<(Offer, usize)> = None;
        for (at, top) in self.outside.iter().enumerate() {
            let offers = &mut self.offers[*top];
            while offers
                .peek()
                .is_some_and(|Reverse((_, parent))| self.tree.free(*parent as Place) == 0)
            {
                offers.pop();
            }
            let Some(Reverse(offer)) = offers.peek().copied() else { continue };
            let is_lowest = best.is_none_or(|((cost, _), _)| offer.0 < cost);
            if is_lowest && (is_last || self.free > 1 || self.brings_any(*top)) {
                best = Some((offer, at));
            }
        }
        best.map(|((_, parent), at)| (at, parent as Place))
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
    }

    /// The helper to take a parent's last free degree: of those that are nearer than the radius the one
    /// that the rule prefers, of equal ones the first. Table B's v are those outside whose best parent
    /// this one is: they would be its next children.
    fn helper(&self, parent: Place, rule: HelperRule) -> Option<Place> {
        let is_next = |top: &&Place| {
            let best = self.offers[**top].peek();
            best.is_some_and(|Reverse((_, at))| *at as Place == parent)
        };
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

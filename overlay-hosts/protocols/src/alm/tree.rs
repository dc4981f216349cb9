//! A tree under construction: links, heights, and what is left of everybody's degree. What has no way
//! to the root yet may have children already.

use alloc::vec::Vec;

use super::layout::{Summary, width};
use super::{Micros, Network, Objective, Problem};

/// A host, by its number in the [`Problem`]; the root is 0.
pub type Place = usize;

/// How good a tree is; less is better. The second number decides between equals.
pub(super) type Score = (u128, u64);

/// A tree over some of the hosts of a [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    parents: Vec<Option<Place>>,
    children: Vec<Vec<Place>>,
    /// Children that each may have.
    slots: Vec<u32>,
    /// Whether there is a way to the root.
    connected: Vec<bool>,
    heights: Vec<Micros>,
    /// The narrowest link on the way from the root, in kbit/s.
    widths: Vec<u32>,
    members: usize,
    children_per_degree: u32,
}

impl Tree {
    /// The root alone.
    pub fn new<N: Network>(problem: &Problem<'_, N>) -> Tree {
        let places = problem.places();
        let mut connected = alloc::vec![false; places];
        connected[0] = true;
        Tree {
            parents: alloc::vec![None; places],
            children: alloc::vec![Vec::new(); places],
            slots: (0..places).map(|place| problem.slots(place)).collect(),
            connected,
            heights: alloc::vec![0; places],
            widths: alloc::vec![u32::MAX; places],
            members: problem.members,
            children_per_degree: problem.config.transport.children_per_degree(),
        }
    }

    /// What is left of a tree of before, to be completed by [`mend`](super::mend): links from child to
    /// parent, without those for which the parent has no degree any more, those that would close a
    /// circle, and second parents.
    pub fn from_links<N: Network>(problem: &Problem<'_, N>, links: &[(Place, Place)]) -> Tree {
        let mut tree = Tree::new(problem);
        let places = problem.places();
        for (child, parent) in links.iter().copied().filter(|(a, b)| *a.max(b) < places) {
            let is_free = tree.parents[child].is_none() && child != 0 && tree.free(parent) > 0;
            let can_be_child = problem.degrees[child] > 0;
            if is_free && can_be_child && !tree.is_above(child, parent) {
                tree.parents[child] = Some(parent);
                tree.children[parent].push(child);
            }
        }
        tree.refresh(problem, 0);
        tree
    }

    /// Whether a host is in the tree.
    pub fn contains(&self, place: Place) -> bool {
        self.connected.get(place).copied().unwrap_or(false)
    }

    /// The parent; `None`: it is the root, or not in the tree.
    pub fn parent(&self, place: Place) -> Option<Place> {
        self.parents.get(place).copied().flatten()
    }

    /// The children, in the order in which they came.
    pub fn children(&self, place: Place) -> &[Place] {
        self.children.get(place).map_or(&[], Vec::as_slice)
    }

    /// All links, from child to parent, by child.
    pub fn links(&self) -> impl Iterator<Item = (Place, Place)> + '_ {
        let linked = self.parents.iter().enumerate();
        linked.filter_map(|(child, parent)| Some((child, (*parent)?)))
    }

    /// How long a message takes to a host; 0 for one that is not in the tree.
    pub fn latency(&self, place: Place) -> Micros {
        self.heights.get(place).copied().unwrap_or(0)
    }

    /// The greatest latency of a member: the tree's height ([`seed 003 paragraph 0081`](super)).
    pub fn height(&self) -> Micros {
        self.heights[..self.members].iter().copied().max().unwrap_or(0)
    }

    /// The narrowest link of the tree, in kbit/s.
    pub fn bandwidth(&self) -> u32 {
        self.widths.iter().copied().min().unwrap_or(u32::MAX)
    }

    /// Helpers in the tree.
    pub fn helpers(&self) -> usize {
        self.connected[self.members..].iter().filter(|is_in| **is_in).count()
    }

    /// Degrees that a host gives: one for its parent, and one for each packet that it sends a message.
    pub fn degrees(&self, place: Place) -> u16 {
        let packets = (self.children(place).len() as u32).div_ceil(self.children_per_degree);
        packets as u16 + u16::from(self.parent(place).is_some())
    }

    /// Children that a host can still take.
    pub(super) fn free(&self, place: Place) -> u32 {
        self.slots[place].saturating_sub(self.children[place].len() as u32)
    }

    pub(super) fn width(&self, place: Place) -> u32 {
        self.widths[place]
    }

    pub(super) fn places(&self) -> usize {
        self.parents.len()
    }

    pub(super) fn is_member(&self, place: Place) -> bool {
        place < self.members
    }

    /// Whether the first is the second, or above it.
    pub(super) fn is_above(&self, one: Place, other: Place) -> bool {
        let mut at = Some(other);
        while let Some(place) = at {
            if place == one {
                return true;
            }
            at = self.parents[place];
        }
        false
    }

    /// A host and all above it, up to the root.
    pub(super) fn way(&self, from: Place) -> Vec<Place> {
        core::iter::successors(Some(from), |place| self.parents[*place]).collect()
    }

    /// A host and all below it, parents first.
    pub(super) fn subtree(&self, top: Place) -> Vec<Place> {
        let mut all = alloc::vec![top];
        let mut next = 0;
        while let Some(place) = all.get(next) {
            all.extend_from_slice(&self.children[*place]);
            next += 1;
        }
        all
    }

    /// Puts a host, and what is below it, under a parent with a free degree.
    pub(super) fn attach<N: Network>(
        &mut self,
        problem: &Problem<'_, N>,
        child: Place,
        parent: Place,
    ) {
        debug_assert!(self.free(parent) > 0 && self.parents[child].is_none());
        self.parents[child] = Some(parent);
        self.children[parent].push(child);
        self.refresh(problem, child);
    }

    /// Moves a part to another parent, which has a free degree and is not in it.
    pub(super) fn reparent<N: Network>(
        &mut self,
        problem: &Problem<'_, N>,
        child: Place,
        to: Place,
    ) {
        self.cut(child);
        self.attach(problem, child, to);
    }

    /// Lets two parts, neither of which is in the other, change their places.
    pub(super) fn swap<N: Network>(&mut self, problem: &Problem<'_, N>, one: Place, other: Place) {
        if let (Some(here), Some(there)) = (self.parents[one], self.parents[other]) {
            self.cut(one);
            self.cut(other);
            self.attach(problem, one, there);
            self.attach(problem, other, here);
        }
    }

    fn cut(&mut self, child: Place) {
        if let Some(parent) = self.parents[child].take() {
            self.children[parent].retain(|each| *each != child);
        }
    }

    /// Takes out a helper that has no child, and then its parent if that is another one.
    pub(super) fn prune(&mut self, place: Place) {
        let mut at = Some(place);
        while let Some(place) = at.filter(|at| !self.is_member(*at)) {
            if !self.contains(place) || !self.children[place].is_empty() {
                return;
            }
            at = self.parents[place];
            self.drop_leaf(place);
        }
    }

    fn drop_leaf(&mut self, place: Place) {
        self.cut(place);
        self.connected[place] = false;
        (self.heights[place], self.widths[place]) = (0, u32::MAX);
    }

    /// Computes what follows from the links, from here downwards.
    fn refresh<N: Network>(&mut self, problem: &Problem<'_, N>, top: Place) {
        for place in self.subtree(top) {
            let Some(parent) = self.parents[place] else { continue };
            self.connected[place] = self.connected[parent];
            if self.connected[place] {
                self.heights[place] = self.heights[parent] + problem.latency(parent, place);
                let width = problem.network.bandwidth(parent, place);
                self.widths[place] = self.widths[parent].min(width);
            }
        }
    }

    /// Takes out helpers that have no child, and those whose only child is not worse off without them;
    /// returns whether there were any.
    pub(super) fn trim<N: Network>(&mut self, problem: &Problem<'_, N>) -> bool {
        let before = self.helpers();
        for place in self.members..self.places() {
            if self.contains(place) {
                self.prune(place);
                self.splice(problem, place);
            }
        }
        self.helpers() < before
    }

    /// Puts the only child of a helper in its place, if that is no worse.
    fn splice<N: Network>(&mut self, problem: &Problem<'_, N>, helper: Place) {
        let (&[child], Some(parent)) = (self.children(helper), self.parent(helper)) else { return };
        let latency = problem.latency(parent, child);
        let width = problem.network.bandwidth(parent, child);
        let is_worse = match problem.config.objective {
            Objective::Height => latency > self.heights[child] - self.heights[parent],
            Objective::Bandwidth => width.min(self.widths[parent]) < self.widths[child],
            // A detour may be just what makes latencies alike.
            Objective::Variance => true,
        };
        if !is_worse {
            self.cut(child);
            self.drop_leaf(helper);
            self.attach(problem, child, parent);
        }
    }

    /// What the objective says of the tree.
    pub(super) fn score<N: Network>(&self, problem: &Problem<'_, N>) -> Score {
        let in_tree = (0..self.places()).filter(|place| self.connected[*place]);
        let all = in_tree.map(|place| {
            let one = Summary::of_one(self.is_member(place), self.heights[place]);
            one.behind(0, width(problem, self, place))
        });
        all.fold(Summary::NOTHING, Summary::with).score(problem.config.objective)
    }
}

//! Figure 11: a group is founded, and its leader links it to groups nearby.
//!
//! 1. 1102: a number for the group.
//! 2. 1104: a link to the nearest candidate; at first the closest group that the search knows.
//! 3. 1106: enough links? Then it is done.
//! 4. 1108: the new neighbor is asked for its neighbors, which are candidates from now on.
//! 5. 1110: those are measured.
//! 6. 1112: the nearest candidate that is within the boundary is next; without any, it is over
//!    until the next re-entry.

use alloc::vec::Vec;

use crate::contact::Contact;
use crate::id::PeerId;
use crate::time::Now;

use super::candidates::{Candidate, Candidates, Fate};
use super::intra_group::Member;
use super::measure::{Ask, Purpose, Target};
use super::message::{Distance, GroupId, GroupRef, Neighbor};
use super::{Event, Locality};

/// Groups that a walk visits before it links to where it has come (seed 001 paragraph 0039).
const WALK_STEPS: u8 = 6;

/// Figure 11 under way.
pub(super) struct Building {
    candidates: Candidates,
    stage: Stage,
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Linking(GroupId),
    Asking(PeerId),
    Measuring,
}

/// A walk to any group, over lists of neighbors.
pub(super) struct Walk {
    at: GroupRef,
    steps: u8,
    is_measuring: bool,
}

impl Locality {
    /// At 1102, the founder is the group's first leader and the first of its successors' list (seed 001
    /// paragraphs 0060 and 0061).
    pub(super) fn found_group(
        &mut self,
        candidates: Candidates,
        closest: Option<GroupId>,
        (steps, pings): (u32, u64),
        now: Now,
    ) {
        let mut group = GroupId::default();
        self.random.fill(&mut group.0);
        self.member = Some(Member::founder(group, &self.me, now));
        self.schedule_maintenance(now);
        self.out.event(Event::Founded { group, steps, pings });
        self.register(now);
        if let Some(closest) = closest {
            let mut candidates = candidates;
            for candidate in &mut candidates.0 {
                if candidate.fate == Fate::Rejected {
                    candidate.fate = Fate::Open;
                }
            }
            self.building = Some(Building { candidates, stage: Stage::Linking(closest) });
            self.link_next(now);
        }
    }

    /// 1106 and 1112, then 1104.
    fn link_next(&mut self, now: Now) {
        let Some(member) = &self.member else { return };
        let near = member.state.neighbors.iter().filter(|each| !each.far).count();
        let boundary = self.config.boundary;
        let Some(building) = &mut self.building else { return };
        let suits = |each: &Candidate| {
            let is_within = each.distance.is_some_and(|distance| distance <= boundary);
            each.fate == Fate::Open
                && is_within
                && each.at.group != member.group
                && member.neighbor(each.at.group).is_none()
        };
        let next = building.candidates.nearest(suits);
        let Some(next) = next.filter(|_| near < self.config.inter_group_links) else {
            self.building = None;
            return self.walk(now);
        };
        let (at, distance) = (next.at.clone(), next.distance.unwrap_or_default());
        building.stage = Stage::Linking(at.group);
        self.ask_link(at, distance, false, now);
    }

    pub(super) fn ask_link(&mut self, to: GroupRef, distance: Distance, far: bool, now: Now) {
        let Some(member) = &self.member else { return };
        let from = GroupRef { group: member.group, leader: self.me.clone() };
        let target = alloc::vec![Target::Peer(to.leader.clone())];
        self.ask(Ask::Link { from, to, distance, far }, target, now);
    }

    /// A link stands: its neighbors are asked for next (1108).
    pub(super) fn linked(&mut self, at: GroupRef, distance: Distance, far: bool, now: Now) {
        let group = at.group;
        self.add_neighbor(Neighbor { at: at.clone(), distance, far });
        if far {
            return self.walk(now);
        }
        let Some(building) = &mut self.building else { return };
        if building.stage == Stage::Linking(group) {
            self.ask_neighbors(at.leader, now);
        }
    }

    /// 1106: enough? 1108: otherwise the neighbor's neighbors.
    fn ask_neighbors(&mut self, leader: Contact, now: Now) {
        let near = self.near_links();
        let Some(building) = &mut self.building else { return };
        if near >= self.config.inter_group_links {
            self.building = None;
            return self.walk(now);
        }
        building.stage = Stage::Asking(leader.id);
        self.ask(Ask::Cache(Purpose::Founding), alloc::vec![Target::Peer(leader)], now);
    }

    /// No link: the group has too many, or is gone. One that is full still knows others nearby.
    pub(super) fn not_linked(&mut self, at: &GroupRef, far: bool, is_gone: bool, now: Now) {
        if far {
            self.walk = None;
            return;
        }
        let Some(building) = &mut self.building else { return };
        if let Some(candidate) = building.candidates.of_mut(at.group) {
            candidate.fate = if is_gone { Fate::Gone } else { Fate::Rejected };
        }
        if building.stage != Stage::Linking(at.group) {
            return;
        }
        if is_gone { self.link_next(now) } else { self.ask_neighbors(at.leader.clone(), now) }
    }

    /// 1110: what the neighbor has named is measured, but for this group itself and those linked.
    pub(super) fn founding_cache(&mut self, from: PeerId, neighbors: &[Neighbor], now: Now) {
        let Some(member) = &self.member else { return };
        let (own, me) = (member.group, self.me.id);
        let Some(building) = &mut self.building else { return };
        if building.stage != Stage::Asking(from) {
            return;
        }
        let is_other = |each: &&Neighbor| {
            each.at.group != own
                && each.at.leader.id != me
                && member.neighbor(each.at.group).is_none()
        };
        let mut leaders = Vec::new();
        for neighbor in neighbors.iter().filter(is_other) {
            building.candidates.add(&neighbor.at);
            let Some(candidate) = building.candidates.of_mut(neighbor.at.group) else { continue };
            if candidate.fate == Fate::Open && !candidate.is_fresh {
                candidate.is_fresh = true;
                candidate.distance = None;
                leaders.push(candidate.at.leader.clone());
            }
        }
        building.stage = Stage::Measuring;
        match leaders.is_empty() {
            true => self.link_next(now),
            false => self.measure(leaders, now),
        }
    }

    /// A candidate's distance is known, or it does not answer.
    pub(super) fn founding_measured(
        &mut self,
        leader: PeerId,
        distance: Option<Distance>,
        now: Now,
    ) {
        if let Some(building) = &mut self.building {
            building.candidates.measured(leader, distance);
            let is_waiting = building.candidates.unmeasured().any(|each| each.is_fresh);
            if building.stage == Stage::Measuring && !is_waiting {
                self.link_next(now);
            }
        }
        let Some(walk) = self.walk.take_if(|walk| walk.is_measuring && walk.at.leader.id == leader)
        else {
            return;
        };
        if let Some(distance) = distance {
            self.ask_link(walk.at, distance, true, now);
        }
    }

    /// The neighbor does not answer, or leads no more.
    pub(super) fn founding_unanswered(&mut self, from: PeerId, now: Now) {
        self.walk.take_if(|walk| walk.at.leader.id == from);
        let Some(building) = &mut self.building else { return };
        if building.stage == Stage::Asking(from) {
            self.link_next(now);
        }
    }

    /// Too few links: once more, from what is known (seed 001 paragraphs 0057 and 0059).
    pub(super) fn reenter(&mut self, now: Now) {
        if self.building.is_some() || !self.is_leader() {
            return;
        }
        if self.near_links() >= self.config.inter_group_links {
            return self.walk(now);
        }
        let Some(member) = &self.member else { return };
        let known = self.boot.some(self.config.boot_list, &mut self.random, now);
        let mut candidates = Candidates::default();
        let is_other = |at: &&GroupRef| {
            at.group != member.group
                && at.leader.id != self.me.id
                && member.neighbor(at.group).is_none()
        };
        known.iter().filter(is_other).for_each(|at| candidates.add_fresh(at));
        let neighbor = self.random.choose(&member.state.neighbors);
        let neighbor = neighbor.map(|each| each.at.leader.clone());
        let leaders: Vec<Contact> =
            candidates.0.iter().map(|each| each.at.leader.clone()).collect();
        let is_alone = neighbor.is_none() && leaders.is_empty();
        self.building = Some(Building { candidates, stage: Stage::Measuring });
        self.measure(leaders, now);
        if let Some(leader) = neighbor {
            self.ask_neighbors(leader, now);
        } else if is_alone {
            self.building = None;
            let entry = self.entry.iter().copied().map(Target::Address).collect();
            self.ask(Ask::Boot, entry, now);
        }
    }

    /// A boot list has come to a leader without neighbors.
    pub(super) fn founding_boot_list(&mut self, groups: &[GroupRef], now: Now) {
        let Some(member) = &self.member else { return };
        let is_done = !member.state.neighbors.is_empty() || self.building.is_some();
        if is_done || !self.is_leader() {
            return;
        }
        let mut candidates = Candidates::default();
        let is_other = |at: &&GroupRef| at.group != member.group && at.leader.id != self.me.id;
        groups.iter().filter(is_other).for_each(|at| candidates.add_fresh(at));
        let leaders: Vec<Contact> =
            candidates.0.iter().map(|each| each.at.leader.clone()).collect();
        if !leaders.is_empty() {
            self.building = Some(Building { candidates, stage: Stage::Measuring });
            self.measure(leaders, now);
        }
    }

    /// Goes to any other group if there are too few links to such; one walk at a time.
    pub(super) fn walk(&mut self, now: Now) {
        let Some(member) = self.member.as_ref().filter(|_| self.walk.is_none()) else { return };
        let far = member.state.neighbors.iter().filter(|each| each.far).count();
        if far >= self.config.far_links || !self.is_leader() {
            return;
        }
        let Some(from) = self.random.choose(&member.state.neighbors) else { return };
        let at = from.at.clone();
        let target = alloc::vec![Target::Peer(at.leader.clone())];
        self.walk = Some(Walk { at, steps: 0, is_measuring: false });
        self.ask(Ask::Cache(Purpose::Walk), target, now);
    }

    /// One step of it; at the end the group is measured, and linked if it is no neighbor.
    pub(super) fn walked(&mut self, from: PeerId, neighbors: &[Neighbor], now: Now) {
        let Some(member) = &self.member else { return };
        let Some(walk) = &mut self.walk else { return };
        if walk.at.leader.id != from || walk.is_measuring {
            return;
        }
        let me = self.me.id;
        let others: Vec<&Neighbor> = neighbors
            .iter()
            .filter(|each| each.at.group != member.group && each.at.leader.id != me)
            .collect();
        walk.steps += 1;
        let is_new = member.neighbor(walk.at.group).is_none();
        let target = |at: &GroupRef| alloc::vec![Target::Peer(at.leader.clone())];
        if walk.steps >= WALK_STEPS && is_new {
            walk.is_measuring = true;
            let leader = walk.at.leader.clone();
            return self.measure(alloc::vec![leader], now);
        }
        match self.random.choose(&others).filter(|_| walk.steps < 2 * WALK_STEPS) {
            Some(next) => {
                walk.at = next.at.clone();
                let target = target(&walk.at);
                self.ask(Ask::Cache(Purpose::Walk), target, now);
            }
            None => self.walk = None,
        }
    }
}

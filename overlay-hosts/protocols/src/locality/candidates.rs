//! Groups that were named to a searcher or founder, and how far each is from it.

use alloc::vec::Vec;

use crate::id::PeerId;

use super::message::{Distance, GroupId, GroupRef};

/// Groups remembered in one search; further ones are not taken.
pub const CANDIDATES_MAX: usize = 256;

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not tried.
    Open,
    /// Tested and not joined, or asked for a link and refused.
    Rejected,
    /// Its leader does not answer, or leads no more.
    Gone,
}

/// A group that may be joined, or linked to.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) at: GroupRef,
    pub(super) distance: Option<Distance>,
    /// What it was when it was measured before; the lesser counts.
    pub(super) before: Option<Distance>,
    pub(super) fate: Fate,
    /// How often its leader was said to be another.
    pub(super) redirected: u8,
    /// Measured, or to be, since the group is being founded.
    pub(super) is_fresh: bool,
}

impl Candidate {
    /// Whether it is about as far from here as from there; `None` until it has answered.
    pub(super) fn agrees(&self, there: Distance, tolerance: u32) -> Option<bool> {
        let is_near = |here: Distance| here.0.abs_diff(there.0) < tolerance;
        match self.distance {
            Some(here) => Some(is_near(here)),
            None => self.before.is_some_and(is_near).then_some(true),
        }
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates(pub(super) Vec<Candidate>);

impl Candidates {
    /// Adds a group unless it is there.
    pub(super) fn add(&mut self, at: &GroupRef) {
        if self.of(at.group).is_none() && self.0.len() < CANDIDATES_MAX {
            let at = at.clone();
            let fate = Fate::Open;
            let (distance, before, redirected, is_fresh) = (None, None, 0, false);
            self.0.push(Candidate { at, distance, before, fate, redirected, is_fresh });
        }
    }

    /// Adds a group that is measured right now.
    pub(super) fn add_fresh(&mut self, at: &GroupRef) {
        self.add(at);
        if let Some(candidate) = self.of_mut(at.group) {
            candidate.is_fresh = true;
        }
    }

    pub(super) fn of(&self, group: GroupId) -> Option<&Candidate> {
        self.0.iter().find(|candidate| candidate.at.group == group)
    }

    pub(super) fn of_mut(&mut self, group: GroupId) -> Option<&mut Candidate> {
        self.0.iter_mut().find(|candidate| candidate.at.group == group)
    }

    /// All that answer are measured and tried once more.
    pub(super) fn begin_anew(&mut self) {
        for candidate in self.0.iter_mut().filter(|each| each.fate != Fate::Gone) {
            candidate.fate = Fate::Open;
            candidate.before = candidate.distance.take();
        }
    }

    /// Who was measured before, and has not answered since, is as far as it was.
    pub(super) fn settle(&mut self) {
        for candidate in &mut self.0 {
            candidate.distance = candidate.distance.or(candidate.before);
        }
    }

    /// A leader has answered a Measure, or has not.
    pub(super) fn measured(&mut self, leader: PeerId, distance: Option<Distance>) {
        for candidate in self.0.iter_mut().filter(|each| each.at.leader.id == leader) {
            match distance {
                Some(_) => {
                    let all = [distance, candidate.distance, candidate.before];
                    candidate.distance = all.into_iter().flatten().min();
                }
                None => candidate.fate = Fate::Gone,
            }
        }
    }

    /// The nearest of those that pass; of equally near ones that with the lowest number.
    pub(super) fn nearest(&self, passes: impl Fn(&Candidate) -> bool) -> Option<&Candidate> {
        let measured = self.0.iter().filter(|each| each.fate != Fate::Gone && passes(each));
        let keyed = measured.filter_map(|each| Some((each.distance?, each.at.group, each)));
        keyed.min_by_key(|(distance, group, _)| (*distance, *group)).map(|(.., each)| each)
    }

    /// Those whose distance is to be found out.
    pub(super) fn unmeasured(&self) -> impl Iterator<Item = &Candidate> {
        self.0.iter().filter(|each| each.distance.is_none() && each.fate == Fate::Open)
    }
}

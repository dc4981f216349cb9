//! Figure 10: the search for a group in one's locality.
//!
//! 1. 1002: groups to begin with come from boot peers.
//! 2. 1004, 1006: each is measured, the nearest is tested next.
//! 3. 1008, 1010: its leader tells its neighbors and its distances to them.
//! 4. 1012: the same distances are measured from here; what was measured before is used again.
//! 5. 1014: near to all of them? 1016: it is joined.
//! 6. 1018: otherwise its neighbors are candidates too, and the nearest one is next (claim 17).
//! 7. 1020: with no candidate or no time left, a new group is founded; before that, and beyond the
//!    figure, the nearest one may be looked at twice.
//!
//! A test that has failed need not wait for all answers: with round-trip times, an answer that is
//! still out is farther than any that is here.

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::contact::Contact;
use crate::id::PeerId;
use crate::time::{Now, Time, micros};

use super::candidates::{Candidates, Fate};
use super::config::Metric;
use super::measure::{Ask, Purpose, Target};
use super::message::{Distance, GroupId, GroupRef, Message, Neighbor};
use super::{Event, Locality};

/// A leader is said to be another one at most this often.
pub(super) const REDIRECTED_MAX: u8 = 3;
/// A failed search waits at most 2 to this power times as long as at first.
const BACKOFF_MAX: u32 = 5;

/// Where it stands.
#[derive(Clone, Debug)]
enum Stage {
    /// 1002.
    Booting,
    /// 1004: somebody's distance is to be known first.
    Measuring,
    /// 1008 to 1014.
    Testing(Test),
    /// 1016: the leader is asked for members.
    Joining(GroupId),
    /// Nobody answered; it begins anew then.
    Waiting(Time),
}

/// A group's locality test.
#[derive(Clone, Debug)]
struct Test {
    group: GroupId,
    named: Option<Vec<GroupRef>>,
    supplied: Option<Vec<(GroupId, Distance)>>,
    measured_at: Time,
}

/// What the distances known so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Near,
    NotNear { all_known: bool },
    Open,
}

/// A search under way.
pub(super) struct Search {
    candidates: Candidates,
    stage: Stage,
    deadline: Option<Time>,
    steps: u32,
    steps_max: u32,
    looked_twice: bool,
    measures_before: u64,
    failures: u32,
}

impl Search {
    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        match &self.stage {
            Stage::Waiting(until) => Some((*until, "search anew")),
            Stage::Joining(_) => None,
            _ => self.deadline.map(|at| (at, "search ends")),
        }
    }

    pub(super) fn steps(&self) -> u32 {
        self.steps
    }

    fn test(&mut self) -> Option<&mut Test> {
        match &mut self.stage {
            Stage::Testing(test) => Some(test),
            _ => None,
        }
    }
}

impl Locality {
    /// Begins with what boot peers say, and with groups that are known.
    pub(super) fn begin_search(&mut self, known: &[GroupRef], failures: u32, now: Now) {
        let measures_before = self.requests.measures;
        let mut candidates = Candidates::default();
        known.iter().filter(|at| at.leader.id != self.me.id).for_each(|at| candidates.add(at));
        self.search = Some(Search {
            candidates,
            stage: Stage::Booting,
            deadline: None,
            steps: 0,
            steps_max: self.config.groups_tested_max,
            looked_twice: false,
            measures_before,
            failures,
        });
        let addresses: Vec<SocketAddr> = self.entry.clone();
        self.ask(Ask::Boot, addresses.into_iter().map(Target::Address).collect(), now);
        if !known.is_empty() {
            self.measure_candidates(now);
        } else if self.entry.is_empty() {
            self.search_failed(now);
        }
    }

    /// Measures sent since the search began.
    fn search_measures(&self) -> u64 {
        let before = self.search.as_ref().map_or(0, |search| search.measures_before);
        self.requests.measures - before
    }

    /// 1002: a boot list has come; an empty one from a rendezvous says that there is no group yet.
    pub(super) fn search_boot_list(&mut self, groups: &[GroupRef], now: Now) {
        let me = self.me.id;
        let Some(search) = &mut self.search else { return };
        groups.iter().filter(|at| at.leader.id != me).for_each(|at| search.candidates.add(at));
        if matches!(search.stage, Stage::Booting) {
            if search.candidates.0.is_empty() {
                return self.found(None, now);
            }
            self.measure_candidates(now);
        }
    }

    /// 1004: all that are not measured are, by one message; a single one is tested at once.
    fn measure_candidates(&mut self, now: Now) {
        let deadline = now.time + self.config.search_time;
        let Some(search) = &mut self.search else { return };
        search.deadline.get_or_insert(deadline);
        search.stage = Stage::Measuring;
        let only = (search.candidates.0.len() == 1 && search.steps == 0)
            .then(|| search.candidates.0[0].at.group);
        match only {
            Some(group) => self.test(group, now),
            None => {
                let leaders: Vec<Contact> =
                    search.candidates.unmeasured().map(|each| each.at.leader.clone()).collect();
                self.measure(leaders, now);
            }
        }
    }

    /// 1018 and 1006: the nearest candidate that was not tested is next.
    fn choose(&mut self, now: Now) {
        let tested_stay = self.config.tested_stay;
        let Some(search) = &mut self.search else { return };
        let is_over =
            search.steps >= search.steps_max || search.deadline.is_some_and(|at| at <= now.time);
        let nearest = search.candidates.nearest(|each| tested_stay || each.fate == Fate::Open);
        if let Some(next) = nearest.filter(|each| !is_over && each.fate == Fate::Open) {
            let group = next.at.group;
            return self.test(group, now);
        }
        if !is_over && nearest.is_none() && search.candidates.unmeasured().next().is_some() {
            return self.measure_candidates(now);
        }
        search.candidates.settle();
        let closest = search.candidates.nearest(|_| true).map(|each| each.at.group);
        match closest {
            Some(_) if self.config.second_look && !search.looked_twice => self.look_again(now),
            Some(_) => self.found(closest, now),
            None => self.search_failed(now),
        }
    }

    /// Before 1020: all are measured once more, and who is nearest then is tested again.
    fn look_again(&mut self, now: Now) {
        let Some(search) = &mut self.search else { return };
        search.looked_twice = true;
        search.steps_max = search.steps + 1;
        search.deadline = None;
        search.candidates.begin_anew();
        self.measure_candidates(now);
    }

    /// Nobody answers at all: once more, a while later.
    fn search_failed(&mut self, now: Now) {
        let Some(search) = &mut self.search else { return };
        search.failures += 1;
        let wait = self.config.retry * (1 << search.failures.min(BACKOFF_MAX));
        let wait = wait / 2 + self.random.up_to(wait / 2);
        search.stage = Stage::Waiting(now.time + wait);
        self.out.event(Event::BootFailed { failures: search.failures });
    }

    /// 1008 and 1010: its leader is asked for its neighbors and its distances to them.
    fn test(&mut self, group: GroupId, now: Now) {
        let Some(search) = &mut self.search else { return };
        let Some(candidate) = search.candidates.of(group) else { return };
        let (leader, is_measured) = (candidate.at.leader.clone(), candidate.distance.is_some());
        if candidate.redirected == 0 {
            search.steps += 1;
        }
        let measured_at = now.time;
        search.stage = Stage::Testing(Test { group, named: None, supplied: None, measured_at });
        if !is_measured {
            self.measure(alloc::vec![leader.clone()], now);
        }
        let to = alloc::vec![Target::Peer(leader)];
        if self.config.cache_copy {
            self.ask(Ask::Cache(Purpose::Search), to, now);
        } else {
            self.ask(Ask::Neighbors, to.clone(), now);
            self.ask(Ask::Distances, to, now);
        }
    }

    /// Both at once.
    pub(super) fn search_cache(&mut self, group: GroupId, neighbors: Vec<Neighbor>, now: Now) {
        let distances = neighbors.iter().map(|each| (each.at.group, each.distance)).collect();
        let named = neighbors.into_iter().map(|each| each.at).collect();
        self.search_answer(group, Some(named), Some(distances), now);
    }

    /// 1012: what was asked has come; all neighbors that are not measured are, by one message.
    pub(super) fn search_answer(
        &mut self,
        group: GroupId,
        named: Option<Vec<GroupRef>>,
        supplied: Option<Vec<(GroupId, Distance)>>,
        now: Now,
    ) {
        let me = self.me.id;
        let Some(search) = &mut self.search else { return };
        let Some(test) = search.test().filter(|test| test.group == group) else { return };
        let is_mine = |at: &GroupRef| at.leader.id == me || at.group == group;
        if let Some(mut named) = named {
            named.retain(|at| !is_mine(at));
            test.named = Some(named);
        }
        test.supplied = supplied.or(test.supplied.take());
        test.measured_at = now.time;
        let (Some(named), Some(_)) = (&test.named, &test.supplied) else { return };
        let named = named.clone();
        for at in &named {
            search.candidates.add(at);
        }
        let unmeasured = search.candidates.unmeasured();
        let of_group = unmeasured.filter(|each| named.iter().any(|at| at.group == each.at.group));
        let leaders = of_group.map(|each| each.at.leader.clone()).collect();
        self.measure(leaders, now);
        self.evaluate(now);
    }

    /// 1014: |supplied - measured| < tolerance for every neighbor. The first group has none: then
    /// the distance to its leader itself must be less than that. A neighbor that does not answer
    /// says nothing.
    fn verdict(&self, test: &Test, search: &Search, now: Now) -> Verdict {
        let (Some(named), Some(supplied)) = (&test.named, &test.supplied) else {
            return Verdict::Open;
        };
        let tolerance = self.config.tolerance.0;
        let waited = micros(now.time.since(test.measured_at));
        let of = |group| search.candidates.of(group).filter(|each| each.fate != Fate::Gone);
        let (mut compared, mut all_known, mut is_near) = (0, true, true);
        for at in named {
            let there = supplied.iter().find(|(group, _)| *group == at.group);
            let (Some(neighbor), Some((_, there))) = (of(at.group), there) else { continue };
            compared += 1;
            match neighbor.agrees(*there, tolerance) {
                Some(agrees) => is_near &= agrees,
                None => {
                    all_known = false;
                    let bound = u64::from(there.0.saturating_add(tolerance));
                    is_near &= self.config.metric != Metric::RoundTrip || waited < bound;
                }
            }
        }
        let to_leader = of(test.group).and_then(|each| each.distance);
        let leader_is_within = |bound: u32| to_leader.is_none_or(|distance| distance.0 < bound);
        if compared == 0 {
            is_near &= leader_is_within(tolerance);
        }
        is_near &= self.config.near_leader.is_none_or(|bound| leader_is_within(bound.0));
        let leader_counts = compared == 0 || self.config.near_leader.is_some();
        all_known &= !leader_counts || to_leader.is_some();
        match (is_near, all_known) {
            (true, true) => Verdict::Near,
            (true, false) => Verdict::Open,
            (false, all_known) => Verdict::NotNear { all_known },
        }
    }

    /// Whether the test is decided; then the search goes on.
    fn evaluate(&mut self, now: Now) {
        let Some(search) = &self.search else { return };
        let Stage::Testing(test) = &search.stage else { return };
        let group = test.group;
        match self.verdict(test, search, now) {
            Verdict::Open => {}
            Verdict::Near => self.join(group, now),
            Verdict::NotNear { all_known } => {
                let is_open = |each: &super::candidates::Candidate| {
                    each.fate == Fate::Open && each.at.group != group
                };
                let waited = micros(now.time.since(test.measured_at));
                let next = search.candidates.nearest(is_open).and_then(|each| each.distance);
                let is_nearest = self.config.metric == Metric::RoundTrip
                    && next.is_some_and(|distance| u64::from(distance.0) <= waited);
                if all_known || is_nearest {
                    self.reject(group, Fate::Rejected, now);
                }
            }
        }
    }

    fn reject(&mut self, group: GroupId, fate: Fate, now: Now) {
        let Some(search) = &mut self.search else { return };
        if let Some(candidate) = search.candidates.of_mut(group) {
            candidate.fate = fate;
        }
        search.stage = Stage::Measuring;
        self.choose(now);
    }

    /// A leader's distance is known, or it does not answer.
    pub(super) fn search_measured(&mut self, leader: PeerId, distance: Option<Distance>, now: Now) {
        let Some(search) = &mut self.search else { return };
        search.candidates.measured(leader, distance);
        match &search.stage {
            Stage::Testing(test) => {
                let group = test.group;
                let is_gone =
                    search.candidates.of(group).is_none_or(|each| each.fate == Fate::Gone);
                if is_gone { self.reject(group, Fate::Gone, now) } else { self.evaluate(now) }
            }
            Stage::Measuring => {
                // With round-trip times the first answer is from the nearest one.
                let is_first = self.config.metric == Metric::RoundTrip && distance.is_some();
                if is_first || search.candidates.unmeasured().next().is_none() {
                    self.choose(now);
                }
            }
            _ => {}
        }
    }

    /// 1016: the leader is asked for members to connect to.
    fn join(&mut self, group: GroupId, now: Now) {
        let Some(search) = &mut self.search else { return };
        let Some(candidate) = search.candidates.of(group) else { return };
        let leader = candidate.at.leader.clone();
        search.stage = Stage::Joining(group);
        self.ask(Ask::Members { group, more: false }, alloc::vec![Target::Peer(leader)], now);
    }

    /// Members have been named: this is the group. How many groups were tested and Measures sent.
    pub(super) fn search_joined(&mut self, group: GroupId) -> Option<(u32, u64)> {
        let measures = self.search_measures();
        let search = self.search.take_if(
            |search| matches!(search.stage, Stage::Joining(joining) if joining == group),
        )?;
        self.forget_search();
        Some((search.steps, measures))
    }

    /// 1020: a group of its own, near to the closest known one.
    fn found(&mut self, closest: Option<GroupId>, now: Now) {
        let measures = self.search_measures();
        let Some(search) = self.search.take() else { return };
        self.forget_search();
        let candidates = search.candidates;
        self.found_group(candidates, closest, (search.steps, measures), now);
    }

    fn forget_search(&mut self) {
        let is_over = |ask: &Ask| {
            matches!(ask, Ask::Boot | Ask::Neighbors | Ask::Distances | Ask::Cache(Purpose::Search))
                || matches!(ask, Ask::Measure | Ask::Members { .. })
        };
        self.requests.forget(is_over);
    }

    /// The one tested leads no group, or another does.
    pub(super) fn search_redirected(&mut self, by: PeerId, instead: Option<GroupRef>, now: Now) {
        let Some(search) = &mut self.search else { return };
        let (Stage::Testing(Test { group, .. }) | Stage::Joining(group)) = search.stage else {
            return;
        };
        let Some(candidate) = search.candidates.of_mut(group) else { return };
        if candidate.at.leader.id != by {
            return;
        }
        let other = instead.filter(|at| {
            at.group == group && at.leader.id != by && candidate.redirected < REDIRECTED_MAX
        });
        match other {
            Some(at) => {
                candidate.at = at;
                (candidate.distance, candidate.before) = (None, None);
                candidate.redirected += 1;
                self.test(group, now);
            }
            None => self.reject(group, Fate::Gone, now),
        }
    }

    /// A boot peer or a leader has not answered.
    pub(super) fn search_unanswered(&mut self, ask: &Ask, from: &Target, now: Now) {
        let Some(search) = &mut self.search else { return };
        match (&search.stage, ask) {
            (Stage::Booting, Ask::Boot) if self.requests.waiting(&Ask::Boot) == 0 => {
                self.search_failed(now);
            }
            (Stage::Testing(Test { group, .. }) | Stage::Joining(group), _) => {
                let group = *group;
                let leader = search.candidates.of(group).map(|each| each.at.leader.id);
                if leader == from.id() {
                    self.reject(group, Fate::Gone, now);
                }
            }
            _ => {}
        }
    }

    /// The time for the search is over, or it begins anew: from groups seen before as well.
    pub(super) fn search_timeout(&mut self, now: Now) {
        let Some(search) = &self.search else { return };
        if search.poll_timeout().is_none_or(|(at, _)| at > now.time) {
            return;
        }
        match search.stage {
            Stage::Waiting(_) => {
                let failures = search.failures;
                let known = self.boot.some(self.config.boot_list, &mut self.random, now);
                self.begin_search(&known, failures, now);
            }
            _ => self.choose(now),
        }
    }
}

/// The `Message` that says who leads instead.
pub(super) fn not_leader(nonce: u64, instead: Option<GroupRef>) -> Message {
    Message::NotLeader { nonce, instead }
}

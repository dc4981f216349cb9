//! The inter-group cache and its maintenance (seed 001 paragraphs 0042 and 0048, claims 23 and 24):
//! a leader knows the neighboring groups and its distances to them, measures these regularly, answers
//! those who ask, and takes links. Both leaders of a link keep it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::contact::Contact;
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{Class, Received};
use crate::random::Random;
use crate::time::{Now, Time};

use super::intra_group::Member;
use super::join::{REDIRECTED_MAX, not_leader};
use super::measure::{Ask, Target};
use super::message::{Distance, GroupId, GroupRef, Message, NEIGHBORS_MAX, Neighbor};
use super::{Event, Locality};

/// A neighbor that has not answered so many measurements in a row, each repeated, is gone.
const SILENT_MAX: u8 = 2;

impl Member {
    pub(super) fn neighbor(&self, group: GroupId) -> Option<&Neighbor> {
        self.state.neighbors.iter().find(|each| each.at.group == group)
    }
}

impl Locality {
    pub(super) fn near_links(&self) -> usize {
        self.neighbors().iter().filter(|each| !each.far).count()
    }

    /// The times of the next measurements and of the next re-entry; leaders spread them.
    pub(super) fn schedule_maintenance(&mut self, now: Now) {
        let spread = |period: Duration, random: &mut Random| {
            now.time + period / 2 + random.up_to(period / 2)
        };
        self.remeasure_at = spread(self.config.remeasure_period, &mut self.random);
        self.reenter_at = now.time + self.config.reentry_period;
        self.register_at = spread(self.config.register_period, &mut self.random);
    }

    /// Measures neighbors, looks for more, registers: whatever of it is due.
    pub(super) fn maintain(&mut self, now: Now) {
        if !self.is_leader() {
            return;
        }
        if self.remeasure_at <= now.time {
            self.remeasure_at = now.time + self.config.remeasure_period;
            self.measure(self.neighbor_leaders(), now);
            self.ask_successors(now);
        }
        if self.reenter_at <= now.time {
            self.reenter_at = now.time + self.config.reentry_period;
            self.confirm_links(now);
            self.reenter(now);
        }
        if self.register_at <= now.time {
            self.register_at = now.time + self.config.register_period;
            self.register(now);
        }
    }

    pub(super) fn maintenance_at(&self) -> Time {
        self.remeasure_at.min(self.reenter_at).min(self.register_at)
    }

    /// A neighbor has answered a Measure, or has not.
    pub(super) fn neighbor_measured(
        &mut self,
        leader: PeerId,
        distance: Option<Distance>,
        now: Now,
    ) {
        if !self.is_leader() {
            return;
        }
        let Some(member) = &mut self.member else { return };
        let neighbors = &mut member.state.neighbors;
        let Some(neighbor) = neighbors.iter_mut().find(|each| each.at.leader.id == leader) else {
            return;
        };
        let group = neighbor.at.group;
        let silent = self.silent.iter().position(|(silent, _)| *silent == group);
        match (distance, silent) {
            (Some(distance), _) => {
                neighbor.distance = neighbor.distance.after(distance);
                self.silent.retain(|(silent, _)| *silent != group);
            }
            (None, None) => self.silent.push((group, 1)),
            (None, Some(place)) => {
                self.silent[place].1 += 1;
                if self.silent[place].1 >= SILENT_MAX {
                    self.remove_neighbor(group, now);
                }
            }
        }
    }

    /// Keeps a link; the entry of a group that is linked already is made new.
    pub(super) fn add_neighbor(&mut self, neighbor: Neighbor) {
        let Some(member) = &mut self.member else { return };
        if neighbor.at.group == member.group {
            return;
        }
        let (group, distance, far) = (neighbor.at.group, neighbor.distance, neighbor.far);
        let neighbors = &mut member.state.neighbors;
        let is_full = neighbors.len() >= NEIGHBORS_MAX;
        match neighbors.iter_mut().find(|each| each.at.group == group) {
            Some(known) => {
                member.is_changed |= known.at != neighbor.at;
                *known = neighbor;
            }
            None if is_full => return,
            None => {
                member.is_changed = true;
                self.boot.overheard(&neighbor.at);
                neighbors.push(neighbor);
                self.out.event(Event::GroupLinked { group, distance, far });
            }
        }
        self.silent.retain(|(silent, _)| *silent != group);
    }

    /// A link is no more: others are looked for at once (seed 001 paragraph 0057).
    pub(super) fn remove_neighbor(&mut self, group: GroupId, now: Now) {
        let Some(member) = &mut self.member else { return };
        let before = member.state.neighbors.len();
        member.state.neighbors.retain(|each| each.at.group != group);
        if member.state.neighbors.len() < before {
            member.is_changed = true;
            self.silent.retain(|(silent, _)| *silent != group);
            self.out.event(Event::GroupUnlinked { group });
            self.reenter(now);
        }
    }

    /// Another leader wants a link. A nearer one takes the place of the farthest.
    pub(super) fn take_link(
        &mut self,
        received: &Received<'_>,
        nonce: u64,
        neighbor: Neighbor,
    ) -> Result<(), DropReason> {
        let instead = self.own_group();
        let Some(member) = self.member.as_ref().filter(|_| self.is_leader()) else {
            self.reply(received, &not_leader(nonce, instead), Class::Queued);
            return Ok(());
        };
        let group = member.group;
        if neighbor.at.group == group {
            self.reply(received, &not_leader(nonce, instead), Class::Queued);
            return Ok(());
        }
        let known = member.neighbor(neighbor.at.group).is_some();
        let leads_another = |each: &Neighbor| {
            each.at.leader.id == neighbor.at.leader.id && each.at.group != neighbor.at.group
        };
        if member.state.neighbors.iter().any(leads_another) {
            // One peer leads one group: no leader gets more than one of the places.
            self.reply(received, &Message::NotLinked { nonce }, Class::Queued);
            return Ok(());
        }
        let far = neighbor.far;
        let same: Vec<&Neighbor> =
            member.state.neighbors.iter().filter(|each| each.far == far).collect();
        let room = if far { self.config.far_links_max } else { self.config.inter_group_links_max };
        let farthest = same.iter().max_by_key(|each| (each.distance, each.at.group));
        let farthest = farthest.filter(|each| !far && each.distance > neighbor.distance);
        let replaced =
            farthest.filter(|_| !known && same.len() >= room).map(|each| each.at.clone());
        if !known && same.len() >= room && replaced.is_none() {
            self.reply(received, &Message::NotLinked { nonce }, Class::Queued);
            return Ok(());
        }
        if let Some(replaced) = replaced {
            let to = alloc::vec![replaced.leader.endpoint()];
            self.send(to, &Message::Unlink { group }, Class::Queued);
            self.forget_neighbor(replaced.group);
        }
        self.add_neighbor(neighbor);
        self.reply(received, &Message::Linked { nonce, group }, Class::Queued);
        Ok(())
    }

    /// A link that gives its place to another.
    fn forget_neighbor(&mut self, group: GroupId) {
        let Some(member) = &mut self.member else { return };
        member.state.neighbors.retain(|each| each.at.group != group);
        member.is_changed = true;
        self.silent.retain(|(silent, _)| *silent != group);
        self.out.event(Event::GroupUnlinked { group });
    }

    /// The other leader keeps the link no more.
    pub(super) fn take_unlink(&mut self, sender: PeerId, group: GroupId, now: Now) {
        let is_its = |each: &&Neighbor| each.at.group == group && each.at.leader.id == sender;
        if self.is_leader() && self.neighbors().iter().any(|each| is_its(&each)) {
            self.remove_neighbor(group, now);
        }
    }

    /// What figure 10 asks of a leader: its neighbors, its distances to them, or both.
    pub(super) fn tell_neighbors(&mut self, received: &Received<'_>, asked: &Message) {
        let (Message::GetNeighbors { nonce }
        | Message::GetDistances { nonce }
        | Message::GetCache { nonce }) = asked
        else {
            return;
        };
        let nonce = *nonce;
        let answer = match self.member.as_ref().filter(|_| self.is_leader()) {
            None => not_leader(nonce, self.own_group()),
            Some(member) => {
                let (group, neighbors) = (member.group, &member.state.neighbors);
                match asked {
                    Message::GetNeighbors { .. } => {
                        let neighbors = neighbors.iter().map(|each| each.at.clone()).collect();
                        Message::Neighbors { nonce, group, neighbors }
                    }
                    Message::GetDistances { .. } => {
                        let of = |each: &Neighbor| (each.at.group, each.distance);
                        let distances = neighbors.iter().map(of).collect();
                        Message::Distances { nonce, group, distances }
                    }
                    _ => Message::Cache { nonce, group, neighbors: neighbors.clone() },
                }
            }
        };
        self.reply(received, &answer, Class::Queued);
    }

    /// A new leader links the group again to what it was linked to (seed 001 paragraph 0065), and
    /// measures these groups, as it stands elsewhere.
    pub(super) fn relink(&mut self, now: Now) {
        self.confirm_links(now);
        self.measure(self.neighbor_leaders(), now);
    }

    /// Who has led, and finds that another does, tells the groups beside: they may have been linked
    /// to it later than to the other.
    pub(super) fn hand_over(&mut self, now: Now) {
        let me = self.me.id;
        let Some(member) = &mut self.member else { return };
        if member.hands_over && member.leader().is_some_and(|leader| leader.id != me) {
            member.hands_over = false;
            self.confirm_links(now);
        }
    }

    /// Asks all neighbors, by one message, whether they keep the link, and who leads them.
    pub(super) fn confirm_links(&mut self, now: Now) {
        let Some(from) = self.own_group() else { return };
        let targets = self.neighbor_leaders().into_iter().map(Target::Peer).collect();
        self.ask(Ask::Relink { from, redirected: 0 }, targets, now);
    }

    fn neighbor_leaders(&self) -> Vec<Contact> {
        self.neighbors().iter().map(|each| each.at.leader.clone()).collect()
    }

    /// A neighbor's new leader keeps the link, if it is one; or the one before says who leads.
    pub(super) fn take_relink(
        &mut self,
        received: &Received<'_>,
        nonce: u64,
        from: GroupRef,
    ) -> Result<(), DropReason> {
        let neighbor = self.neighbors().iter().find(|each| each.at.group == from.group);
        let leads = [Some(&from.leader), neighbor.map(|each| &each.at.leader)];
        if !leads.into_iter().flatten().any(|leader| leader.speaks_from(&received.from)) {
            return Err(DropReason::Malformed);
        }
        let instead = self.own_group();
        let answer = match self.member.as_ref().filter(|_| self.is_leader()) {
            None => not_leader(nonce, instead),
            Some(member) => match member.neighbor(from.group) {
                None => Message::NotLinked { nonce },
                Some(known) => {
                    let group = member.group;
                    let neighbor = Neighbor { at: from, ..known.clone() };
                    self.add_neighbor(neighbor);
                    Message::Linked { nonce, group }
                }
            },
        };
        self.reply(received, &answer, Class::Queued);
        Ok(())
    }

    /// A neighbor has another leader, or keeps the link no more.
    pub(super) fn relink_refused(
        &mut self,
        by: PeerId,
        instead: Option<GroupRef>,
        redirected: u8,
        now: Now,
    ) {
        if !self.is_leader() {
            return;
        }
        let mut neighbors = self.neighbors().iter();
        let Some(neighbor) = neighbors.find(|each| each.at.leader.id == by).cloned() else {
            return;
        };
        let other = instead.filter(|at| {
            at.group == neighbor.at.group && at.leader.id != by && redirected < REDIRECTED_MAX
        });
        match other.zip(self.own_group()) {
            Some((at, from)) => {
                let target = alloc::vec![Target::Peer(at.leader.clone())];
                self.add_neighbor(Neighbor { at, ..neighbor });
                self.ask(Ask::Relink { from, redirected: redirected + 1 }, target, now);
            }
            None => self.remove_neighbor(neighbor.at.group, now),
        }
    }

    /// Measures all of these that are not being measured, by one message.
    pub(super) fn measure(&mut self, mut leaders: Vec<Contact>, now: Now) {
        leaders.retain(|leader| !self.requests.is_waiting(&Ask::Measure, leader.id));
        leaders.sort_by_key(|leader| leader.id);
        leaders.dedup_by_key(|leader| leader.id);
        self.ask(Ask::Measure, leaders.into_iter().map(Target::Peer).collect(), now);
    }

    /// The group and its leader, if there is one.
    pub(super) fn own_group(&self) -> Option<GroupRef> {
        let member = self.member.as_ref()?;
        let leader = member.leader()?.clone();
        Some(GroupRef { group: member.group, leader })
    }
}

//! Who leads next (seed 001 paragraphs 0063 to 0065).
//!
//! 1. No Alive for 10 s: all successors are asked at once whether they are there.
//! 2. After 1 s the first of them in the list leads, with the next term.
//! 3. If none is there, each member waits up to 10 s and then claims to lead by a New Leader, unless
//!    it has seen a claim. The claim with the lowest (term, timestamp, peer id) wins, so clocks that
//!    differ change who leads, never that it is one.
//! 4. Those who have claimed within 1 s of each other claim again, a round later: the others wait.
//! 5. The new leader drops the old one from the list, appends a member, and links the group again.
//!
//! Two leaders of one group, after a split, learn of each other by an Alive, or since each asks the
//! leaders and successors that it has lost; the lower term, or the later claim, steps down.

use alloc::vec::Vec;
use core::time::Duration;

use crate::contact::Contact;
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{Class, Received};
use crate::time::{Now, Time, Wall, micros};

use super::intra_group::Member;
use super::measure::{Ask, Purpose, Target};
use super::message::{GroupId, GroupRef, Message, Reign};
use super::{Event, Locality};

/// Rounds of claims; after the last the lowest claim wins even in a tie.
pub const ROUNDS_MAX: u8 = 4;
/// A term is at most this much higher than the one known.
pub const TERM_AHEAD_MAX: u64 = 1024;
/// No claim is from further in the future than this, nor older than [`CLAIM_AGE_MAX`].
pub const CLAIM_AHEAD_MAX: Duration = Duration::from_secs(15);
/// Older claims are from another time.
pub const CLAIM_AGE_MAX: Duration = Duration::from_secs(60);
/// Leaders and successors that are remembered when they are gone.
const LOST_MAX: usize = 10;

/// What a member believes of its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It leads itself.
    Leading,
    /// There is one; gone at the deadline.
    Following { deadline: Time },
    /// Successors are asked; those who have answered.
    Asking { until: Time, answered: Vec<PeerId> },
    /// The first successor is expected to lead, or the best claim's owner.
    Awaiting { until: Time },
    /// It claims then.
    Waiting { until: Time, round: u8 },
    /// It has claimed, and leads then unless a better claim is seen.
    Claimed { until: Time, mine: Claim, is_tied: bool },
}

/// A claim to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    round: u8,
    reign: Reign,
    contact: Contact,
}

impl Claim {
    pub(super) fn leader(&self) -> PeerId {
        self.reign.leader
    }

    pub(super) fn round(&self) -> u8 {
        self.round
    }

    /// Whether this one wins: of a later round, or lower.
    fn beats(&self, other: &Claim) -> bool {
        self.round > other.round
            || (self.round == other.round && self.reign.order() < other.reign.order())
    }

    fn is_tied_with(&self, other: &Claim, window: Duration) -> bool {
        let apart = self.reign.since.0.abs_diff(other.reign.since.0);
        self.round == other.round && self.reign != other.reign && apart < micros(window)
    }
}

impl Stage {
    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        match self {
            Stage::Leading => None,
            Stage::Following { deadline } => Some((*deadline, "leader gone")),
            Stage::Asking { until, .. } => Some((*until, "successors")),
            Stage::Awaiting { until } => Some((*until, "no new leader")),
            Stage::Waiting { until, .. } => Some((*until, "claim")),
            Stage::Claimed { until, .. } => Some((*until, "claim decided")),
        }
    }
}

impl Member {
    fn lose(&mut self, peer: Contact) {
        if !self.lost.iter().any(|lost| lost.id == peer.id) {
            if self.lost.len() >= LOST_MAX {
                self.lost.remove(0);
            }
            self.lost.push(peer);
        }
    }
}

impl Locality {
    /// The moment that the stage waits for has come.
    pub(super) fn election_timeout(&mut self, now: Now) {
        let Some(member) = &self.member else { return };
        if member.stage.poll_timeout().is_none_or(|(at, _)| at > now.time) {
            return;
        }
        match member.stage.clone() {
            Stage::Leading => {}
            Stage::Following { .. } | Stage::Awaiting { .. } => self.ask_list(now),
            Stage::Asking { answered, .. } => self.succeed(&answered, now),
            Stage::Waiting { round, .. } => {
                self.rejoin_if_alone(now);
                self.claim(round, now);
            }
            Stage::Claimed { mine, is_tied, .. } => self.decide(&mine, is_tied, now),
        }
    }

    /// 1: all successors at once.
    fn ask_list(&mut self, now: Now) {
        let (me, until) = (self.me.id, now.time + self.config.list_timeout);
        let Some(member) = &mut self.member else { return };
        member.best = None;
        member.stage = Stage::Asking { until, answered: Vec::new() };
        let (group, reign) = (member.group, member.reign);
        let others = member.state.leadership.iter().filter(|peer| peer.id != me);
        let others = others.cloned().map(Target::Peer).collect();
        self.ask(Ask::Leader { group, reign, once: true }, others, now);
    }

    /// 2: the first that is there, the old leader aside.
    fn succeed(&mut self, answered: &[PeerId], now: Now) {
        let me = self.me.id;
        let wait = self.random.up_to(self.config.claim_wait);
        let period = self.config.alive_period;
        let Some(member) = &mut self.member else { return };
        let old = member.reign.leader;
        let is_there = |peer: &&Contact| peer.id == me || answered.contains(&peer.id);
        let mut list = member.state.leadership.iter().filter(|peer| peer.id != old);
        let first = list.find(is_there).map(|peer| peer.id);
        let gone: Vec<PeerId> = member.state.leadership.iter().map(|peer| peer.id).collect();
        match first {
            Some(first) if first == me => return self.lead(now),
            // Its own last Alive may be one later than ours.
            Some(_) => member.stage = Stage::Awaiting { until: now.time + period * 2 },
            None => member.stage = Stage::Waiting { until: now.time + wait, round: 0 },
        }
        for peer in gone.into_iter().filter(|peer| *peer != me && !answered.contains(peer)) {
            if let Some(member) = &mut self.member {
                member.forget(peer);
            }
            self.remove_link(peer, now);
        }
        self.rejoin_if_alone(now);
    }

    /// With no member left that is known, the group is gone: another is looked for, beginning with
    /// the groups nearby.
    fn rejoin_if_alone(&mut self, now: Now) {
        let Some(member) = &self.member else { return };
        let is_alone = member.links.is_empty() && member.known.is_empty();
        let is_waiting = matches!(member.stage, Stage::Waiting { .. });
        if !is_alone || !is_waiting || member.state.neighbors.is_empty() {
            return;
        }
        let group = member.group;
        let known: Vec<GroupRef> =
            member.state.neighbors.iter().map(|each| each.at.clone()).collect();
        self.member = None;
        self.out.event(Event::Left { group });
        self.begin_search(&known, 0, now);
    }

    /// 3: it claims to lead.
    fn claim(&mut self, round: u8, now: Now) {
        let until = now.time + self.config.tie_window;
        let contact = self.me.clone();
        let Some(member) = &mut self.member else { return };
        let term = member.reign.term.saturating_add(1);
        let reign = Reign { term, since: now.wall, leader: contact.id };
        let mine = Claim { round, reign, contact };
        member.best = Some(mine.clone());
        member.stage = Stage::Claimed { until, mine: mine.clone(), is_tied: false };
        self.tell_claim(&mine, None);
        self.name(&mine);
    }

    fn tell_claim(&mut self, claim: &Claim, except: Option<PeerId>) {
        let Some(member) = &self.member else { return };
        let (round, reign, contact) = (claim.round, claim.reign, claim.contact.clone());
        let message = Message::NewLeader { group: member.group, round, claim: reign, contact };
        self.flood(&message, except);
    }

    fn name(&mut self, claim: &Claim) {
        let Some(member) = &self.member else { return };
        let (group, leader) = (member.group, claim.reign.leader);
        self.out.event(Event::Claimed { group, leader });
    }

    /// A claim has come: the best one is kept, and flooded on.
    pub(super) fn take_claim(
        &mut self,
        received: &Received<'_>,
        group: GroupId,
        claim: (u8, Reign, Contact),
        now: Now,
    ) -> Result<(), DropReason> {
        let (round, reign, contact) = claim;
        let (window, me) = (self.config.tie_window, self.me.id);
        let wait = self.config.claim_wait + self.config.tie_window + self.config.alive_period;
        let Some(member) = self.member.as_mut().filter(|member| member.group == group) else {
            return Ok(());
        };
        let is_of_now = is_recent(reign.since, now.wall)
            && reign.term <= member.reign.term.saturating_add(TERM_AHEAD_MAX)
            && round < ROUNDS_MAX
            && reign.leader == contact.id;
        if !is_of_now {
            return Err(DropReason::Malformed);
        }
        if reign.leader == me {
            return Ok(());
        }
        if !member.has_link(received.sender())
            && !self.requests.is_waiting(&Ask::Connect { group }, received.sender())
        {
            // Claims are flooded over links, and strangers have none.
            self.reply(received, &Message::Disconnect { group }, Class::Queued);
            return Ok(());
        }
        if !reign.outranks(&member.reign) || matches!(member.stage, Stage::Leading) {
            self.answer_outranked(received);
            return Ok(());
        }
        if let Stage::Following { deadline } = member.stage {
            // The leader was heard not long ago: whoever claims has lost it alone.
            if deadline > now.time + self.config.alive_timeout / 2 {
                self.answer_outranked(received);
                return Ok(());
            }
        }
        let theirs = Claim { round, reign, contact };
        if member.best.as_ref() == Some(&theirs) {
            return Ok(());
        }
        if let Stage::Claimed { mine, is_tied, .. } = &mut member.stage {
            *is_tied |= mine.is_tied_with(&theirs, window);
        }
        if let Some(best) = member.best.as_ref().filter(|best| !theirs.beats(best)) {
            let best = best.clone();
            // Who has sent it may not know of the better one.
            let (round, claim, contact) = (best.round, best.reign, best.contact);
            let better = Message::NewLeader { group, round, claim, contact };
            self.reply(received, &better, Class::Queued);
            return Ok(());
        }
        let is_waiting_again =
            matches!(member.stage, Stage::Waiting { round: mine, .. } if mine > round);
        let is_claimed = matches!(member.stage, Stage::Claimed { .. });
        member.best = Some(theirs.clone());
        if !is_waiting_again && !is_claimed {
            member.stage = Stage::Awaiting { until: now.time + wait };
        }
        self.tell_claim(&theirs, Some(received.sender()));
        self.name(&theirs);
        Ok(())
    }

    /// 4: the best claim leads, unless others were made at about the same time.
    fn decide(&mut self, mine: &Claim, is_tied: bool, now: Now) {
        let wait = self.random.up_to(self.config.claim_wait);
        let long = self.config.claim_wait + self.config.tie_window + self.config.alive_period;
        let Some(member) = &mut self.member else { return };
        let is_best = member.best.as_ref().is_none_or(|best| best == mine);
        let is_superseded = member.best.as_ref().is_some_and(|best| best.round > mine.round);
        if is_tied && mine.round + 1 < ROUNDS_MAX && !is_superseded {
            member.stage = Stage::Waiting { until: now.time + wait, round: mine.round + 1 };
        } else if is_best {
            self.lead_by(mine.reign, now);
        } else {
            member.stage = Stage::Awaiting { until: now.time + long };
        }
    }

    /// The next one in the list leads now.
    pub(super) fn lead(&mut self, now: Now) {
        let Some(member) = &self.member else { return };
        let term = member.reign.term.saturating_add(1);
        self.lead_by(Reign { term, since: now.wall, leader: self.me.id }, now);
    }

    /// 5: this peer leads. The old leader is no successor any more; a member takes the place.
    fn lead_by(&mut self, reign: Reign, now: Now) {
        let me = self.me.clone();
        let leadership = self.config.leadership;
        let Some(member) = &mut self.member else { return };
        let is_by_list = member.state.leadership.iter().any(|peer| peer.id == me.id);
        let old: Vec<Contact> = core::mem::take(&mut member.state.leadership);
        // With the whole list gone there is nothing of it to keep. Otherwise those in front of the
        // new leader have not answered.
        let from = old.iter().position(|peer| peer.id == me.id).unwrap_or(old.len());
        old[..from].iter().for_each(|gone| member.lose(gone.clone()));
        let mut list = alloc::vec![me.clone()];
        list.extend(old.into_iter().skip(from + 1));
        let room = if is_by_list { from.max(1) } else { leadership };
        let members = member.links.iter().map(|link| link.peer.clone());
        let new: Vec<Contact> =
            members.filter(|peer| !list.iter().any(|each| each.id == peer.id)).take(room).collect();
        list.extend(new);
        list.truncate(leadership);
        member.reign = reign;
        member.state.leader = me.clone();
        member.state.leadership = list;
        member.version = 0;
        member.sequence = 0;
        member.is_changed = true;
        member.best = None;
        member.hands_over = false;
        member.stage = Stage::Leading;
        let group = member.group;
        self.out.event(Event::LeaderChanged { group, leader: me.id });
        self.silent.clear();
        self.schedule_maintenance(now);
        // Somebody else may lead for a moment, and link the groups beside to itself: what they know
        // is made right once it has heard of this leader.
        self.reenter_at = now.time + self.config.alive_period;
        self.send_alive(now);
        self.relink(now);
        self.register(now);
    }

    /// An Alive of another reign: followed if it outranks. Whoever sends one that does not is told.
    pub(super) fn take_reign(
        &mut self,
        received: &Received<'_>,
        reign: Reign,
        now: Now,
    ) -> Result<bool, DropReason> {
        let Some(member) = &self.member else { return Ok(false) };
        if !reign.outranks(&member.reign) {
            self.answer_outranked(received);
            return Ok(false);
        }
        let highest = member.reign.term.saturating_add(TERM_AHEAD_MAX);
        let latest = now.wall.0.saturating_add(micros(CLAIM_AHEAD_MAX));
        if reign.term > highest || reign.since.0 > latest || reign.leader == self.me.id {
            return Err(DropReason::Malformed);
        }
        self.follow(reign, now);
        Ok(true)
    }

    /// Who follows another leader, or claims to be one, is told who leads.
    fn answer_outranked(&mut self, received: &Received<'_>) {
        let Some(member) = &self.member else { return };
        let Some(leader) = member.leader().cloned() else { return };
        let (group, reign) = (member.group, member.reign);
        let answer = Message::Outranked { group, reign, leader };
        self.reply(received, &answer, Class::Queued);
    }

    /// Another leads from now on. One who has led so far steps down.
    fn follow(&mut self, reign: Reign, now: Now) {
        let deadline = now.time + self.config.alive_timeout;
        let Some(member) = &mut self.member else { return };
        member.reign = reign;
        member.sequence = 0;
        member.version = 0;
        member.best = None;
        member.hands_over |= member.stage == Stage::Leading;
        member.stage = Stage::Following { deadline };
        let links = member.links.iter().map(|link| &link.peer);
        let mut known = member.state.leadership.iter().chain(&member.known).chain(links);
        if let Some(leader) = known.find(|peer| peer.id == reign.leader) {
            member.state.leader = leader.clone();
        }
        let group = member.group;
        self.building = None;
        self.walk = None;
        // What it has asked for as a leader would link another leader to one that is none.
        self.requests.forget(|ask| match ask {
            Ask::Link { .. } | Ask::Relink { .. } => true,
            Ask::Cache(purpose) => *purpose != Purpose::Search,
            _ => false,
        });
        self.out.event(Event::LeaderChanged { group, leader: reign.leader });
    }

    /// A member follows some reign: the better one holds for both.
    pub(super) fn consider_reign(&mut self, from: &Contact, reign: Reign, now: Now) {
        let Some(member) = &self.member else { return };
        let latest = now.wall.0.saturating_add(micros(CLAIM_AHEAD_MAX));
        let is_possible = reign.term <= member.reign.term.saturating_add(TERM_AHEAD_MAX)
            && reign.since.0 <= latest
            && reign.leader != self.me.id;
        if is_possible && reign.outranks(&member.reign) {
            let group = member.group;
            self.follow(reign, now);
            self.ask(Ask::Synchronize { group }, alloc::vec![Target::Peer(from.clone())], now);
        }
    }

    /// A leader asks its successors whether they are there, and those that it has lost whether they
    /// are back: all by one message.
    pub(super) fn ask_successors(&mut self, now: Now) {
        let me = self.me.id;
        let Some(member) = &self.member else { return };
        let (group, reign) = (member.group, member.reign);
        let all = member.state.leadership.iter().chain(&member.lost);
        let others = all.filter(|peer| peer.id != me).cloned().map(Target::Peer).collect();
        self.ask(Ask::Leader { group, reign, once: false }, others, now);
    }

    /// Somebody asks whether this member is there, and whom it follows.
    pub(super) fn tell_leader(
        &mut self,
        received: &Received<'_>,
        (nonce, group): (u64, GroupId),
        reign: Reign,
        from: Contact,
        now: Now,
    ) -> Result<(), DropReason> {
        if self.member.as_ref().is_none_or(|member| member.group != group) {
            return Ok(());
        }
        self.consider_reign(&from, reign, now);
        let Some(member) = &self.member else { return Ok(()) };
        let (reign, leader) = (member.reign, member.state.leader.clone());
        let is_linked = member.has_link(from.id);
        self.reply(received, &Message::Leader { nonce, group, reign, leader }, Class::Queued);
        if !is_linked && reign.leader == from.id {
            // It may be the only way to the rest of the group.
            self.bridge(from, now);
        }
        Ok(())
    }

    /// A link to the leader for one that has few.
    fn bridge(&mut self, to: Contact, now: Now) {
        let Some(member) = &self.member else { return };
        let ask = Ask::Connect { group: member.group };
        if !self.requests.is_waiting(&ask, to.id) {
            self.ask(ask, alloc::vec![Target::Peer(to)], now);
        }
    }

    /// Whom a member follows: asked for, or told since this one follows a lesser one.
    pub(super) fn leader_told(&mut self, from: &Contact, told: (Reign, Contact), now: Now) {
        let (reign, leader) = told;
        let before = self.member.as_ref().map(|member| member.reign);
        self.consider_reign(from, reign, now);
        let Some(member) = &mut self.member else { return };
        let has_changed = before != Some(member.reign);
        member.lost.retain(|lost| lost.id != from.id);
        if let Stage::Asking { answered, .. } = &mut member.stage
            && !answered.contains(&from.id)
        {
            answered.push(from.id);
        }
        let is_same = member.reign == reign;
        let is_there = is_same && from.id == reign.leader && leader.id == from.id;
        if matches!(member.stage, Stage::Asking { .. }) && is_there {
            // The leader is there: it was a link that failed.
            let deadline = now.time + self.config.alive_timeout;
            member.stage = Stage::Following { deadline };
            self.bridge(leader, now);
        } else if has_changed && is_same && leader.id == reign.leader {
            member.state.leader = leader.clone();
            self.bridge(leader, now);
        }
    }

    /// A successor does not answer its leader: another member takes its place.
    pub(super) fn successor_unanswered(&mut self, peer: &Contact, _: Now) {
        let leadership = self.config.leadership;
        let Some(member) = self.member.as_mut() else { return };
        if member.stage != Stage::Leading {
            return;
        }
        let list = &mut member.state.leadership;
        let before = list.len();
        list.retain(|each| each.id != peer.id);
        if list.len() == before {
            return;
        }
        let is_new = |link: &&Contact| !list.iter().any(|each| each.id == link.id);
        let links = member.links.iter().map(|link| &link.peer);
        let new = links.filter(|link| link.id != peer.id).find(is_new).cloned();
        list.extend(new.filter(|_| before <= leadership));
        member.is_changed = true;
        member.lose(peer.clone());
        member.forget(peer.id);
    }

    /// A member leaves; if it is the leader, the next one in the list leads at once.
    pub(super) fn take_leave(&mut self, sender: PeerId, group: GroupId, now: Now) {
        let me = self.me.id;
        let is_leader = self.is_leader();
        let Some(member) = self.member.as_mut().filter(|member| member.group == group) else {
            return;
        };
        member.forget(sender);
        if is_leader {
            let before = member.state.leadership.len();
            member.state.leadership.retain(|peer| peer.id != sender);
            member.is_changed |= member.state.leadership.len() < before;
        }
        let led = member.reign.leader == sender;
        let next = member.state.leadership.iter().find(|peer| peer.id != sender);
        let is_next = next.is_some_and(|peer| peer.id == me);
        self.remove_link(sender, now);
        if led && is_next {
            self.lead(now);
        }
    }
}

/// Whether a claim is of now, as far as clocks agree.
fn is_recent(since: Wall, now: Wall) -> bool {
    since.0 <= now.0.saturating_add(micros(CLAIM_AHEAD_MAX))
        && now.0 <= since.0.saturating_add(micros(CLAIM_AGE_MAX))
}

//! The intra-group cache and its maintenance: links among members, the leadership list, and Alive
//! flooded over the links (seed 001 paragraphs 0061 to 0063).
//!
//! An Alive goes back to where it came from too: it tells that neighbor that the link works. It is
//! tiny, as long as what all members know has not changed; after a change the next one says it all.
//!
//! Members are trusted within their group: who has been let in can disturb it, as an Alive is not
//! proved to be its leader's. Anybody may ask to be let in, and anybody who knows the group may say
//! that it leads it by a later term: so the parts of a split find each other though neither knows
//! the other's leader. Alives and claims are heard over links alone.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{Class, Received};
use crate::time::{Now, Time};

use super::election::{Claim, Stage};
use super::join::not_leader;
use super::measure::{Ask, Target};
use super::message::{GroupId, Message, Reign, SAMPLE_MAX, State};
use super::{Event, Locality};

/// Members that one remembers.
pub const KNOWN_MAX: usize = 48;
/// Members that are asked for a link before the next repair, none of them twice.
const TRIED_MAX: usize = 32;
/// A link that was silent in so many Alives is gone.
const MISSED_MAX: u8 = 3;
/// An Alive is at most so many ahead of the last one: more than a day's.
const SEQUENCE_AHEAD_MAX: u64 = 20_000;
/// How long until links that are missing are looked for again; doubled up to 64 times.
const REPAIR: core::time::Duration = core::time::Duration::from_secs(5);
/// The most doublings of that.
const REPAIR_BACKOFF_MAX: u32 = 6;

/// A link to a member.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) peer: Contact,
    missed: u8,
}

/// What a member of a group knows.
pub(super) struct Member {
    pub(super) group: GroupId,
    pub(super) reign: Reign,
    pub(super) version: u32,
    /// Whether the state is newer than the version says.
    pub(super) is_changed: bool,
    pub(super) state: State,
    pub(super) sequence: u64,
    pub(super) alive_at: Time,
    pub(super) links: Vec<Link>,
    pub(super) known: Vec<Contact>,
    tried: Vec<PeerId>,
    pub(super) repair_at: Time,
    repairs: u32,
    pub(super) stage: Stage,
    pub(super) best: Option<Claim>,
    /// Leaders and successors that are gone, or on the other side of a split.
    pub(super) lost: Vec<Contact>,
    /// Whether it has led, and the groups beside are still to be told who does.
    pub(super) hands_over: bool,
}

impl Member {
    pub(super) fn new(
        group: GroupId,
        reign: Reign,
        state: State,
        stage: Stage,
        now: Now,
    ) -> Member {
        Member {
            group,
            reign,
            version: 0,
            is_changed: false,
            state,
            sequence: 0,
            alive_at: now.time,
            links: Vec::new(),
            known: Vec::new(),
            tried: Vec::new(),
            repair_at: now.time + REPAIR,
            repairs: 0,
            stage,
            best: None,
            lost: Vec::new(),
            hands_over: false,
        }
    }

    pub(super) fn founder(group: GroupId, me: &Contact, now: Now) -> Member {
        let reign = Reign { term: 0, since: now.wall, leader: me.id };
        let leadership = alloc::vec![me.clone()];
        let state = State { leader: me.clone(), leadership, neighbors: Vec::new() };
        Member::new(group, reign, state, Stage::Leading, now)
    }

    /// Who leads, if it is known how to reach it.
    pub(super) fn leader(&self) -> Option<&Contact> {
        Some(&self.state.leader).filter(|leader| leader.id == self.reign.leader)
    }

    pub(super) fn has_link(&self, id: PeerId) -> bool {
        self.links.iter().any(|link| link.peer.id == id)
    }

    /// Remembers a member; any other one is forgotten if there are too many.
    pub(super) fn remember(&mut self, peer: &Contact, any: u64) {
        if self.known.iter().any(|known| known.id == peer.id) {
            return;
        }
        if self.known.len() < KNOWN_MAX {
            self.known.push(peer.clone());
        } else {
            self.known[any as usize % KNOWN_MAX] = peer.clone();
        }
    }

    pub(super) fn forget(&mut self, id: PeerId) {
        self.known.retain(|known| known.id != id);
    }

    /// Links are missing: they are looked for soon.
    fn repair_soon(&mut self, now: Now) {
        self.repairs = 0;
        self.tried.clear();
        self.repair_at = now.time;
    }

    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.links.iter().map(|link| link.peer.endpoint()).collect()
    }
}

impl Locality {
    /// Some members to connect to, other than the one who asks and those in the list.
    pub(super) fn sample(&mut self, except: PeerId) -> Vec<Contact> {
        let Some(member) = &self.member else { return Vec::new() };
        let mut sample: Vec<&Contact> =
            member.known.iter().filter(|known| known.id != except).collect();
        self.random.shuffle(&mut sample);
        sample.truncate(SAMPLE_MAX);
        sample.into_iter().cloned().collect()
    }

    /// Get Peer Group Members: the leader answers, and appends who joins to the list of successors
    /// while there is room (seed 001 paragraph 0062). Any member gives a copy of its cache.
    pub(super) fn tell_members(
        &mut self,
        received: &Received<'_>,
        (nonce, group): (u64, GroupId),
        joins: Option<(Contact, bool)>,
    ) -> Result<(), DropReason> {
        let sender = received.sender();
        let sample = self.sample(sender);
        let (is_leader, own, any) = (self.is_leader(), self.own_group(), self.random.number());
        let leadership = self.config.leadership;
        let Some(member) = self.member.as_mut().filter(|member| member.group == group) else {
            self.reply(received, &not_leader(nonce, own), Class::Queued);
            return Ok(());
        };
        if let Some((joiner, more)) = joins {
            if !is_leader && !more {
                self.reply(received, &not_leader(nonce, own), Class::Queued);
                return Ok(());
            }
            if is_leader && !more {
                let list = &mut member.state.leadership;
                if list.len() < leadership && !list.iter().any(|each| each.id == joiner.id) {
                    list.push(joiner.clone());
                    member.is_changed = true;
                }
            }
            member.remember(&joiner, any);
        }
        let state = Box::new(member.state.clone());
        let (reign, version) = (member.reign, member.version);
        let members = Message::Members { nonce, group, reign, version, state, members: sample };
        self.reply(received, &members, Class::Queued);
        Ok(())
    }

    /// Members have been named: to a joiner, to one that wants more, or to one whose cache is old.
    pub(super) fn members_told(&mut self, ask: &Ask, message: Message, now: Now) {
        let Message::Members { group, reign, version, state, members, .. } = message else {
            return;
        };
        if let Ask::Members { more: false, .. } = ask
            && self.member.is_none()
        {
            let Some((steps, pings)) = self.search_joined(group) else { return };
            let stage = Stage::Following { deadline: now.time + self.config.alive_timeout };
            let mut member = Member::new(group, reign, *state, stage, now);
            member.version = version;
            self.member = Some(member);
            let leader = reign.leader;
            self.out.event(Event::Joined { group, leader, steps, pings });
        } else if let Some(member) = &mut self.member
            && member.group == group
            && member.reign == reign
            && matches!(member.stage, Stage::Following { .. })
        {
            member.state = *state;
            member.version = version;
        }
        self.learn(&members, now);
    }

    /// Remembers members, and connects to some if links are missing.
    pub(super) fn learn(&mut self, members: &[Contact], now: Now) {
        let me = self.me.id;
        let Some(member) = &mut self.member else { return };
        for peer in members.iter().filter(|peer| peer.id != me) {
            member.remember(peer, self.random.number());
        }
        self.connect(now);
    }

    /// Asks as many members for links as are missing, any of those that are known, by one message.
    pub(super) fn connect(&mut self, now: Now) {
        let me = self.me.id;
        let Some(member) = &mut self.member else { return };
        let group = member.group;
        let ask = Ask::Connect { group };
        let is_new = |peer: &&Contact| {
            peer.id != me
                && !member.has_link(peer.id)
                && !member.tried.contains(&peer.id)
                && !self.requests.is_waiting(&ask, peer.id)
        };
        let waiting = self.requests.waiting(&ask);
        let missing = self.config.links.saturating_sub(member.links.len() + waiting);
        let missing = missing.min(TRIED_MAX.saturating_sub(member.tried.len()));
        if missing == 0 {
            return;
        }
        let all = member.state.leadership.iter().chain(&member.known);
        let mut others: Vec<&Contact> = all.filter(is_new).collect();
        others.sort_by_key(|peer| peer.id);
        others.dedup_by_key(|peer| peer.id);
        self.random.shuffle(&mut others);
        others.truncate(missing);
        let others: Vec<Contact> = others.into_iter().cloned().collect();
        member.tried.extend(others.iter().map(|peer| peer.id));
        self.ask(ask, others.into_iter().map(Target::Peer).collect(), now);
    }

    /// Links are missing: other members are asked for, ever more rarely while there are none.
    pub(super) fn repair(&mut self, now: Now) {
        let links = self.config.links;
        let Some(member) = &mut self.member else { return };
        if member.links.len() >= links || member.repair_at > now.time {
            return;
        }
        member.tried.clear();
        member.repairs = (member.repairs + 1).min(REPAIR_BACKOFF_MAX);
        member.repair_at = now.time + REPAIR * (1 << member.repairs);
        let (group, leader) = (member.group, member.leader().cloned());
        let is_leading = matches!(member.stage, Stage::Leading);
        if let Some(leader) = leader.filter(|_| !is_leading) {
            let more = alloc::vec![Target::Peer(leader)];
            self.ask(Ask::Members { group, more: true }, more, now);
        }
        self.connect(now);
    }

    /// Whether and when links are looked for.
    pub(super) fn repair_at(&self) -> Option<Time> {
        let member = self.member.as_ref()?;
        (member.links.len() < self.config.links).then_some(member.repair_at)
    }

    /// A member wants a link.
    pub(super) fn take_connect(
        &mut self,
        received: &Received<'_>,
        (nonce, group): (u64, GroupId),
        peer: Contact,
    ) -> Result<(), DropReason> {
        let members = self.sample(peer.id);
        let any = self.random.number();
        let answer = match self.member.as_mut().filter(|member| member.group == group) {
            None => Message::Refused { nonce, members: Vec::new() },
            Some(member)
                if member.links.len() >= self.config.links_max && !member.has_link(peer.id) =>
            {
                member.remember(&peer, any);
                Message::Refused { nonce, members }
            }
            Some(member) => {
                member.remember(&peer, any);
                Message::Connected { nonce, group, reign: member.reign, members }
            }
        };
        if matches!(answer, Message::Connected { .. }) {
            self.add_link(peer);
        }
        self.reply(received, &answer, Class::Queued);
        Ok(())
    }

    pub(super) fn add_link(&mut self, peer: Contact) {
        let Some(member) = &mut self.member else { return };
        let is_full = member.links.len() >= self.config.links_max;
        match member.links.iter_mut().find(|link| link.peer.id == peer.id) {
            Some(link) => *link = Link { peer, missed: 0 },
            None if is_full => {}
            None => {
                let id = peer.id;
                member.links.push(Link { peer, missed: 0 });
                self.out.event(Event::LinkUp { peer: id });
            }
        }
    }

    /// A link is no more; another is looked for.
    pub(super) fn remove_link(&mut self, peer: PeerId, now: Now) {
        let Some(member) = &mut self.member else { return };
        let before = member.links.len();
        member.links.retain(|link| link.peer.id != peer);
        if member.links.len() < before {
            self.out.event(Event::LinkDown { peer });
            if member.links.len() < self.config.links {
                member.repair_soon(now);
                self.connect(now);
            }
        }
    }

    /// A link was asked for, and stands or not; either way there are others to try (seed 001
    /// paragraph 0062: "additional candidates if the candidate peers have reached their connection
    /// maximums").
    pub(super) fn connect_answered(
        &mut self,
        from: &Contact,
        stands: Option<Reign>,
        members: &[Contact],
        now: Now,
    ) {
        if let Some(reign) = stands {
            self.add_link(from.clone());
            self.consider_reign(from, reign, now);
        }
        self.learn(members, now);
        let Some(member) = &mut self.member else { return };
        let waiting = self.requests.waiting(&Ask::Connect { group: member.group });
        if stands.is_none() && waiting == 0 && member.links.len() < self.config.links {
            // Nobody else is known: the leader names more.
            let soon = now.time + REPAIR;
            member.repair_at = member.repair_at.min(soon);
            member.repairs = 0;
            let (group, leader) = (member.group, member.leader().cloned());
            if let Some(leader) = leader.filter(|leader| leader.id != self.me.id) {
                let to = alloc::vec![Target::Peer(leader)];
                self.ask(Ask::Members { group, more: true }, to, now);
            }
        }
    }

    /// The leader says that it is there: to all that it is linked to, by one message.
    pub(super) fn send_alive(&mut self, now: Now) {
        let period = self.config.alive_period;
        let Some(member) = &mut self.member else { return };
        member.sequence += 1;
        member.alive_at = now.time + period;
        let mut state = None;
        if core::mem::take(&mut member.is_changed) {
            member.version = member.version.wrapping_add(1);
            state = Some(Box::new(member.state.clone()));
        }
        let (group, reign, sequence, version) =
            (member.group, member.reign, member.sequence, member.version);
        self.flood(&Message::Alive { group, reign, sequence, version, state }, None);
        self.count_silence(None, now);
    }

    /// To all links but one.
    pub(super) fn flood(&mut self, message: &Message, except: Option<PeerId>) {
        let Some(member) = &self.member else { return };
        let mut to = member.endpoints();
        to.retain(|endpoint| except.is_none() || endpoint.id != except);
        self.send(to, message, Class::Queued);
    }

    /// A new Alive has come over one link: the others are silent until it comes over them too.
    fn count_silence(&mut self, heard: Option<PeerId>, now: Now) {
        let Some(member) = &mut self.member else { return };
        let mut is_any_gone = false;
        for link in &mut member.links {
            link.missed = if Some(link.peer.id) == heard { 0 } else { link.missed + 1 };
            is_any_gone |= link.missed > MISSED_MAX;
        }
        if is_any_gone {
            let gone = member.links.iter().filter(|link| link.missed > MISSED_MAX);
            let gone: Vec<PeerId> = gone.map(|link| link.peer.id).collect();
            for peer in gone {
                if let Some(member) = &mut self.member {
                    member.forget(peer);
                }
                self.remove_link(peer, now);
            }
        }
    }

    /// An Alive: kept if it is new, and flooded on.
    pub(super) fn take_alive(
        &mut self,
        received: &Received<'_>,
        message: Message,
        now: Now,
    ) -> Result<(), DropReason> {
        let Message::Alive { group, reign, sequence, version, ref state } = message else {
            return Ok(());
        };
        let sender = received.sender();
        let Some(member) = self.member.as_mut().filter(|member| member.group == group) else {
            self.reply(received, &Message::Disconnect { group }, Class::Queued);
            return Ok(());
        };
        let link = member.links.iter_mut().find(|link| link.peer.id == sender);
        match link {
            Some(link) => link.missed = 0,
            None if !self.requests.is_waiting(&Ask::Connect { group }, sender) => {
                // It believes in a link that is none.
                self.reply(received, &Message::Disconnect { group }, Class::Queued);
                return Ok(());
            }
            None => {}
        }
        if reign != member.reign && !self.take_reign(received, reign, now)? {
            return Ok(());
        }
        let timeout = self.config.alive_timeout;
        let me = self.me.id;
        let Some(member) = &mut self.member else { return Ok(()) };
        if sequence <= member.sequence || reign.leader == me {
            return Ok(());
        }
        if sequence - member.sequence > SEQUENCE_AHEAD_MAX && member.sequence != 0 {
            return Err(DropReason::Malformed);
        }
        member.sequence = sequence;
        member.stage = Stage::Following { deadline: now.time + timeout };
        member.best = None;
        match state {
            Some(state) => {
                member.state = State::clone(state);
                member.version = version;
            }
            None if version != member.version => {
                let from = Contact::new(sender, received.from.address);
                self.ask(Ask::Synchronize { group }, alloc::vec![Target::Peer(from)], now);
            }
            None => {}
        }
        self.flood(&message, None);
        self.count_silence(Some(sender), now);
        Ok(())
    }
}

//! Groups of near peers (seeds 000 and 001).
//!
//! 1. `join`: boot peers name groups, the nearest are tested one by one (figure 10). `rendezvous`
//!    is what boot peers know.
//! 2. Near to one: it is joined. `intra_group` keeps links to members, and passes Alives on.
//! 3. Near to none: `founding` makes a group and links it to near ones, and to any (figure 11).
//! 4. A leader keeps these links: `inter_group`.
//! 5. Without Alives another leads: `election`.
//!
//! `dispatch` brings each message to its room, `measure` holds requests until they are answered,
//! `candidates` groups that were named.

mod candidates;
mod config;
mod dispatch;
mod election;
mod founding;
mod inter_group;
mod intra_group;
mod join;
mod measure;
mod message;
mod rendezvous;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{Class, Outbox, Output, Protocol, Received};
use crate::random::Random;
use crate::time::{Now, Time};

pub use candidates::CANDIDATES_MAX;
pub use config::{Config, Metric};
pub use election::{CLAIM_AGE_MAX, CLAIM_AHEAD_MAX, ROUNDS_MAX, TERM_AHEAD_MAX};
pub use intra_group::KNOWN_MAX;
pub use measure::REQUESTS_MAX;
pub use message::{
    BOOT_LIST_MAX, Distance, GroupId, GroupRef, LEADERSHIP_MAX, LINKS_MAX, NEIGHBORS_MAX, Neighbor,
    Reign, SAMPLE_MAX,
};
pub use rendezvous::BOOT_CACHE_MAX;

use candidates::Candidates;
use election::Stage;
use founding::{Building, Walk};
use intra_group::Member;
use join::Search;
use measure::{Ask, Requests, Target};
use message::{Message, State};
use rendezvous::BootCache;

/// Under which name it stores what it wants to keep: the boot cache.
pub const STORE_KEY: &str = "locality";
/// Addresses that a search begins with at most.
pub const ENTRY_MAX: usize = 16;

/// What goes in.
pub enum Input<'a> {
    /// A message has come.
    Message(Received<'a>),
    /// Somebody wants something.
    Command(Command),
}

/// What can be asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Find a group, beginning with who is at these addresses (leaders, members or rendezvous; see
    /// [`ENTRY_MAX`]); with none, found the first.
    Join(Vec<SocketAddr>),
    /// Leave properly.
    Leave,
    /// Be a member at once, as if it had joined: how large simulations begin.
    Preset(Box<Preset>),
}

/// What a member of a group knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Which group.
    pub group: GroupId,
    /// Who leads it; it may be this peer.
    pub leader: Contact,
    /// Who leads after that, the leader first.
    pub leadership: Vec<Contact>,
    /// Members that this one is linked to; each must be told the same.
    pub links: Vec<Contact>,
    /// What the group is linked to; the others' leaders must be told the same.
    pub neighbors: Vec<Neighbor>,
    /// Further members.
    pub known: Vec<Contact>,
}

/// What it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Member of a group that was there.
    Joined {
        /// Which.
        group: GroupId,
        /// Who leads it.
        leader: PeerId,
        /// Groups tested.
        steps: u32,
        /// Measures sent.
        pings: u64,
    },
    /// First member of a new group.
    Founded {
        /// Which.
        group: GroupId,
        /// Groups tested before.
        steps: u32,
        /// Measures sent before.
        pings: u64,
    },
    /// No boot peer has answered, so often in a row; it is tried again.
    BootFailed {
        /// How often.
        failures: u32,
    },
    /// Member of no group any more.
    Left {
        /// Which it was.
        group: GroupId,
    },
    /// Another leader.
    LeaderChanged {
        /// Of this group.
        group: GroupId,
        /// Who leads.
        leader: PeerId,
    },
    /// Somebody claims to lead, and has the best claim so far.
    Claimed {
        /// This group.
        group: GroupId,
        /// Who.
        leader: PeerId,
    },
    /// Linked to a member.
    LinkUp {
        /// Who.
        peer: PeerId,
    },
    /// Not linked to a member any more.
    LinkDown {
        /// Who.
        peer: PeerId,
    },
    /// The group is linked to another; told by its leader.
    GroupLinked {
        /// Which.
        group: GroupId,
        /// From leader to leader.
        distance: Distance,
        /// Chosen at random.
        far: bool,
    },
    /// The group is not linked to another any more; told by its leader.
    GroupUnlinked {
        /// Which.
        group: GroupId,
    },
}

/// One peer and its group.
pub struct Locality {
    config: Config,
    me: Contact,
    random: Random,
    out: Outbox<Event>,
    requests: Requests,
    boot: BootCache,
    entry: Vec<SocketAddr>,
    search: Option<Search>,
    member: Option<Member>,
    building: Option<Building>,
    walk: Option<Walk>,
    /// Neighbors that did not answer the last measurements, and how many.
    silent: Vec<(GroupId, u8)>,
    remeasure_at: Time,
    reenter_at: Time,
    register_at: Time,
}

impl Locality {
    /// Member of no group yet; `restored` is what it had stored.
    pub fn new(
        config: Config,
        me: Contact,
        restored: Option<&[u8]>,
        seed: u64,
        now: Now,
    ) -> Locality {
        Locality {
            config: config.bounded(),
            me: Contact { swap: None, ..me },
            random: Random::new(seed, Protocol::Locality as u64),
            out: Outbox::default(),
            requests: Requests::default(),
            boot: BootCache::restore(restored, now),
            entry: Vec::new(),
            search: None,
            member: None,
            building: None,
            walk: None,
            silent: Vec::new(),
            remeasure_at: Time::NEVER,
            reenter_at: Time::NEVER,
            register_at: Time::NEVER,
        }
    }

    /// The group that it is a member of.
    pub fn group(&self) -> Option<GroupId> {
        self.member.as_ref().map(|member| member.group)
    }

    /// Who leads its group, as far as it knows: while there is none, who has the best claim.
    pub fn leader(&self) -> Option<PeerId> {
        let member = self.member.as_ref()?;
        Some(member.best.as_ref().map_or(member.reign.leader, |best| best.leader()))
    }

    /// The round of the best claim to lead, from 0; each tie makes one more. `None`: no claim.
    pub fn claim_round(&self) -> Option<u8> {
        self.member.as_ref()?.best.as_ref().map(election::Claim::round)
    }

    /// Who leads since when.
    pub fn reign(&self) -> Option<Reign> {
        self.member.as_ref().map(|member| member.reign)
    }

    /// Whether it leads its group.
    pub fn is_leader(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.stage == Stage::Leading)
    }

    /// The groups that its group is linked to; only the leader's distances are measured anew.
    pub fn neighbors(&self) -> &[Neighbor] {
        self.member.as_ref().map_or(&[], |member| &member.state.neighbors)
    }

    /// Who leads next, in order; the leader first.
    pub fn leadership(&self) -> &[Contact] {
        self.member.as_ref().map_or(&[], |member| &member.state.leadership)
    }

    /// The members that it is linked to.
    pub fn links(&self) -> impl Iterator<Item = &Contact> {
        self.member.iter().flat_map(|member| member.links.iter().map(|link| &link.peer))
    }

    /// Groups tested so far, while it searches.
    pub fn search_steps(&self) -> Option<u32> {
        self.search.as_ref().map(Search::steps)
    }

    /// Whether figure 11 is being gone through.
    pub fn is_building(&self) -> bool {
        self.building.is_some() || self.walk.is_some()
    }

    /// Measures sent since it was made.
    pub fn measures_sent(&self) -> u64 {
        self.requests.measures
    }

    /// Groups in its boot cache.
    pub fn boot_groups(&self) -> usize {
        self.boot.len()
    }

    /// Takes an input.
    ///
    /// # Errors
    /// A message is dropped; nothing has changed then.
    pub fn handle_input(&mut self, input: Input<'_>, now: Now) -> Result<(), DropReason> {
        self.boot.tick(now);
        match input {
            Input::Message(received) => {
                let handled = self.handle_message(&received, now);
                self.hand_over(now);
                handled
            }
            Input::Command(Command::Join(addresses)) => {
                self.handle_join(addresses, now);
                Ok(())
            }
            Input::Command(Command::Leave) => {
                self.leave();
                Ok(())
            }
            Input::Command(Command::Preset(preset)) => {
                self.preset(*preset, now);
                Ok(())
            }
        }
    }

    /// The moment of [`poll_timeout`](Locality::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.boot.tick(now);
        let context = (&self.me, self.config.request_timeout, &mut self.random);
        let failed = self.requests.handle_timeout(context, &mut self.out, now);
        failed.into_iter().for_each(|failed| self.handle_failed(failed, now));
        self.search_timeout(now);
        self.election_timeout(now);
        let leads = self.is_leader();
        if leads && self.member.as_ref().is_some_and(|member| member.alive_at <= now.time) {
            self.send_alive(now);
        }
        self.maintain(now);
        self.repair(now);
        self.store_boot_cache(now);
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.poll()
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let requests = self.requests.poll_timeout().map(|at| (at, "request"));
        let search = self.search.as_ref().and_then(Search::poll_timeout);
        let stage = self.member.as_ref().and_then(|member| member.stage.poll_timeout());
        let leads = self.member.as_ref().filter(|member| member.stage == Stage::Leading);
        let alive = leads.map(|member| (member.alive_at, "alive"));
        let maintenance = leads.map(|_| (self.maintenance_at(), "maintenance"));
        let repair = self.repair_at().map(|at| (at, "repair links"));
        let store = self.boot.store_at().map(|at| (at, "store boot cache"));
        let all = [requests, search, stage, alive, maintenance, repair, store];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn handle_join(&mut self, mut addresses: Vec<SocketAddr>, now: Now) {
        if self.member.is_some() {
            return;
        }
        self.search = None;
        addresses.truncate(ENTRY_MAX);
        addresses.retain(|address| !self.me.addresses().contains(address));
        let is_first = addresses.is_empty();
        self.entry = addresses;
        match is_first {
            true => self.found_group(Candidates::default(), None, (0, 0), now),
            false => self.begin_search(&[], 0, now),
        }
    }

    /// Members and successors are told; with nobody left the group ceases, and its neighbors are
    /// told (seed 001 paragraph 0060).
    fn leave(&mut self) {
        self.search = None;
        self.requests.forget(|_| true);
        self.building = None;
        self.walk = None;
        let leads = self.is_leader();
        let Some(member) = self.member.take() else { return };
        let (group, reign) = (member.group, member.reign);
        let links = member.links.iter().map(|link| link.peer.clone());
        let mut others: Vec<Contact> = links.chain(member.state.leadership).collect();
        others.retain(|peer| peer.id != self.me.id);
        others.sort_by_key(|peer| peer.id);
        others.dedup_by_key(|peer| peer.id);
        if leads && others.is_empty() {
            let neighbors = member.state.neighbors.iter();
            let to = neighbors.map(|each| each.at.leader.endpoint()).collect();
            self.send(to, &Message::Unlink { group }, Class::Queued);
        }
        let to = others.iter().map(Contact::endpoint).collect();
        self.send(to, &Message::Leave { group, reign }, Class::Queued);
        self.out.event(Event::Left { group });
    }

    fn preset(&mut self, mut preset: Preset, now: Now) {
        let leader = preset.leader.id;
        let reign = Reign { term: 0, since: Default::default(), leader };
        preset.leadership.truncate(self.config.leadership);
        preset.neighbors.truncate(NEIGHBORS_MAX);
        preset.links.truncate(self.config.links_max);
        let first = now.time + self.random.up_to(self.config.alive_period);
        let deadline = now.time + self.config.alive_period + self.config.alive_timeout;
        let leads = leader == self.me.id;
        let stage = if leads { Stage::Leading } else { Stage::Following { deadline } };
        let (leadership, neighbors) = (preset.leadership, preset.neighbors);
        let state = State { leader: preset.leader, leadership, neighbors };
        let mut member = Member::new(preset.group, reign, state, stage, now);
        member.alive_at = first;
        preset.known.iter().take(KNOWN_MAX).for_each(|peer| member.remember(peer, 0));
        self.search = None;
        self.member = Some(member);
        preset.links.into_iter().for_each(|peer| self.add_link(peer));
        if leads {
            self.schedule_maintenance(now);
        }
    }

    fn overheard(&mut self, at: &GroupRef) {
        if at.leader.id != self.me.id {
            self.boot.overheard(at);
        }
    }

    fn ask(&mut self, ask: Ask, to: Vec<Target>, now: Now) {
        let timeout = match ask {
            Ask::Leader { once: true, .. } => self.config.list_timeout,
            _ => self.config.request_timeout,
        };
        let context = (&self.me, timeout, &mut self.random);
        self.requests.ask(ask, to, context, &mut self.out, now);
    }

    fn send(&mut self, to: Vec<Endpoint>, message: &Message, class: Class) {
        self.out.send(to, Protocol::Locality, message, class);
    }

    fn reply(&mut self, received: &Received<'_>, message: &Message, class: Class) {
        self.send(alloc::vec![received.from], message, class);
    }
}

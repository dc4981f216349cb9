//! Brings each message, each answer and each request that failed to who waits for it.

use crate::contact::Contact;
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{self, Class, Received};
use crate::time::Now;

use super::Locality;
use super::measure::{Ask, Failed, Purpose, Target};
use super::message::{Distance, GroupRef, Message, Neighbor};

impl Locality {
    pub(super) fn handle_message(
        &mut self,
        received: &Received<'_>,
        now: Now,
    ) -> Result<(), DropReason> {
        let message: Message = machine::decode(received.message).ok_or(DropReason::Malformed)?;
        let is_its_own = |me: &Contact| me.speaks_from(&received.from);
        if !message.is_acceptable() || !message.asker().is_none_or(is_its_own) {
            return Err(DropReason::Malformed);
        }
        match message {
            Message::Alive { .. } => self.take_alive(received, message, now),
            Message::Measure { nonce } => {
                let reply = Message::MeasureReply { nonce, wall: received.wall };
                self.reply(received, &reply, Class::Immediate);
                Ok(())
            }
            Message::GetBootList { nonce } => {
                self.tell_boot_list(received, nonce, now);
                Ok(())
            }
            Message::Register { group } => {
                self.take_registration(&group);
                Ok(())
            }
            Message::GetNeighbors { .. }
            | Message::GetDistances { .. }
            | Message::GetCache { .. } => {
                self.tell_neighbors(received, &message);
                Ok(())
            }
            Message::Link { nonce, from: at, distance, far } => {
                self.take_link(received, nonce, Neighbor { at, distance, far })
            }
            Message::Relink { nonce, from } => self.take_relink(received, nonce, from),
            Message::GetMembers { nonce, group, me, more } => {
                self.tell_members(received, (nonce, group), Some((me, more)))
            }
            Message::Synchronize { nonce, group } => {
                self.tell_members(received, (nonce, group), None)
            }
            Message::Connect { nonce, group, me } => {
                self.take_connect(received, (nonce, group), me)
            }
            Message::GetLeader { nonce, group, reign, me } => {
                self.tell_leader(received, (nonce, group), reign, me, now)
            }
            Message::NewLeader { group, round, claim, contact } => {
                self.take_claim(received, group, (round, claim, contact), now)
            }
            _ => self.handle_unanswerable(received, message, now),
        }
    }

    /// What asks for nothing, and answers.
    fn handle_unanswerable(
        &mut self,
        received: &Received<'_>,
        message: Message,
        now: Now,
    ) -> Result<(), DropReason> {
        let sender = received.sender();
        match message {
            Message::Unlink { group } => self.take_unlink(sender, group, now),
            Message::Leave { group, .. } => self.take_leave(sender, group, now),
            Message::Disconnect { group } if self.group() == Some(group) => {
                self.remove_link(sender, now);
            }
            Message::Disconnect { .. } => {}
            Message::Outranked { group, reign, leader } => {
                if self
                    .member
                    .as_ref()
                    .is_some_and(|member| member.group == group && member.has_link(sender))
                {
                    let from = Contact::new(sender, received.from.address);
                    self.leader_told(&from, (reign, leader), now);
                }
            }
            _ => return self.handle_answer(received, message, now),
        }
        Ok(())
    }

    /// An answer to a request of ours; any other is dropped.
    fn handle_answer(
        &mut self,
        received: &Received<'_>,
        message: Message,
        now: Now,
    ) -> Result<(), DropReason> {
        let sender = received.sender();
        let answered = self.requests.answer(sender, &message).ok_or(DropReason::Malformed)?;
        let from = Contact::new(sender, received.from.address);
        match (&answered.ask, message) {
            (Ask::Measure, Message::MeasureReply { wall, .. }) => {
                let distance = answered.distance(self.config.metric, received, wall);
                self.measured(sender, Some(distance), now);
            }
            (Ask::Boot, Message::BootList { groups, .. }) => {
                groups.iter().for_each(|at| self.overheard(at));
                self.search_boot_list(&groups, now);
                self.founding_boot_list(&groups, now);
            }
            (Ask::Neighbors, Message::Neighbors { group, neighbors, .. }) => {
                self.search_answer(group, Some(neighbors), None, now);
            }
            (Ask::Distances, Message::Distances { group, distances, .. }) => {
                self.search_answer(group, None, Some(distances), now);
            }
            (Ask::Cache(purpose), Message::Cache { group, neighbors, .. }) => match purpose {
                Purpose::Search => self.search_cache(group, neighbors, now),
                Purpose::Founding => self.founding_cache(sender, &neighbors, now),
                Purpose::Walk => self.walked(sender, &neighbors, now),
            },
            (Ask::Link { to, distance, far, .. }, Message::Linked { .. }) => {
                self.linked(to.clone(), *distance, *far, now);
            }
            (Ask::Link { to, far, .. }, Message::NotLinked { .. }) => {
                self.not_linked(to, *far, false, now);
            }
            (Ask::Relink { .. }, Message::Linked { .. }) => {}
            (Ask::Relink { .. }, Message::NotLinked { .. }) => {
                self.relink_refused(sender, None, 0, now);
            }
            (ask @ (Ask::Members { .. } | Ask::Synchronize { .. }), told) => {
                match told {
                    Message::NotLeader { instead, .. } => {
                        self.search_redirected(sender, instead, now);
                    }
                    told => self.members_told(ask, told, now),
                };
            }
            (Ask::Connect { .. }, Message::Connected { reign, members, .. }) => {
                self.connect_answered(&from, Some(reign), &members, now);
            }
            (Ask::Connect { .. }, Message::Refused { members, .. }) => {
                self.connect_answered(&from, None, &members, now);
            }
            (Ask::Leader { .. }, Message::Leader { group, reign, leader, .. })
                if self.group() == Some(group) =>
            {
                self.leader_told(&from, (reign, leader), now);
            }
            (ask, Message::NotLeader { instead, .. }) => {
                let ask = ask.clone();
                self.handle_not_leader(&ask, sender, instead, now);
            }
            _ => return Err(DropReason::Malformed),
        }
        Ok(())
    }

    /// The one asked leads no group.
    fn handle_not_leader(
        &mut self,
        ask: &Ask,
        sender: PeerId,
        instead: Option<GroupRef>,
        now: Now,
    ) {
        match ask {
            Ask::Link { to, far, .. } => self.not_linked(to, *far, true, now),
            Ask::Relink { redirected, .. } => {
                self.relink_refused(sender, instead, *redirected, now);
            }
            Ask::Cache(Purpose::Founding | Purpose::Walk) => self.founding_unanswered(sender, now),
            _ => self.search_redirected(sender, instead, now),
        }
    }

    /// A request that somebody has not answered, though it was repeated.
    pub(super) fn handle_failed(&mut self, failed: Failed, now: Now) {
        let Failed { ask, target } = failed;
        let id = target.id().unwrap_or_default();
        match (&ask, &target) {
            (Ask::Measure, _) => self.measured(id, None, now),
            (Ask::Boot | Ask::Neighbors | Ask::Distances, _)
            | (Ask::Cache(Purpose::Search) | Ask::Members { more: false, .. }, _) => {
                self.search_unanswered(&ask, &target, now);
            }
            (Ask::Cache(_), _) => self.founding_unanswered(id, now),
            (Ask::Link { to, far, .. }, _) => self.not_linked(to, *far, true, now),
            (Ask::Connect { .. }, _) => {
                if let Some(member) = &mut self.member {
                    member.forget(id);
                }
                self.connect(now);
            }
            (Ask::Leader { .. }, Target::Peer(peer)) => self.successor_unanswered(peer, now),
            _ => {}
        }
    }

    /// A distance is known, or will not be: for whoever has asked for it.
    fn measured(&mut self, leader: PeerId, distance: Option<Distance>, now: Now) {
        self.search_measured(leader, distance, now);
        self.founding_measured(leader, distance, now);
        self.neighbor_measured(leader, distance, now);
    }
}

//! A packet in the making: messages that leave together.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::shape::{Members, Shape};
use super::{Apart, Config, Kind, Left, Spares};
use crate::contact::Endpoint;
use crate::machine::{Send, common_prefix};
use crate::time::Time;

/// Messages of one kind to different receivers; there is at least one.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    pub(super) shape: Shape,
    /// The oldest message.
    first: Send,
    /// When it was pushed.
    since: Time,
    /// The others.
    others: Vec<(Send, Time)>,
}

impl Bundle {
    /// Of one message.
    pub(super) fn new(send: Send, shape: Shape, now: Time) -> Bundle {
        Bundle { shape, first: send, since: now, others: Vec::new() }
    }

    /// When its oldest message was pushed.
    pub(super) fn since(&self) -> Time {
        self.since
    }

    /// When each of its messages was pushed.
    pub(super) fn pushed(&self) -> impl Iterator<Item = Time> + '_ {
        [self.since].into_iter().chain(self.others.iter().map(|(_, at)| *at))
    }

    /// How many messages were pushed into it.
    pub(super) fn messages(&self) -> usize {
        1 + self.others.len()
    }

    /// The addresses of its receivers.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.receivers().map(|to| to.address)
    }

    fn receivers(&self) -> impl Iterator<Item = &Endpoint> {
        let sends = [&self.first].into_iter().chain(self.others.iter().map(|(send, _)| send));
        sends.flat_map(|send| &send.to)
    }

    /// What it is compared by.
    pub(super) fn kind(&self) -> Kind {
        let first = self.first.shared.first().copied().unwrap_or(0);
        (self.first.protocol, first, self.shape.is_v6)
    }

    /// What it would be with a message of its kind, and how many octets that saves
    /// ([`Config::spares`]).
    pub(super) fn union(
        &self,
        send: &Send,
        shape: &Shape,
        config: &Config,
    ) -> Result<(u64, Shape), Apart> {
        let shared = common_prefix(&self.first.shared[..self.shape.shared], &send.shared);
        let union = self.shape.union(shape, shared);
        if shared < config.overlap_min && !union.is_whole() {
            return Err(Apart::NoOverlap);
        }
        match union.breaks(config) {
            Some(Left::Destinations) => return Err(Apart::Destinations),
            Some(_) => return Err(Apart::Payload),
            None => {}
        }
        let mut members = Members::default();
        for to in self.receivers() {
            members.insert(to);
        }
        let can_be_told_apart = union.is_named || union.is_whole();
        if !can_be_told_apart || !send.to.iter().all(|to| members.has_room_for(to)) {
            return Err(Apart::Names);
        }
        let (mut together, mut apart) =
            (union.packet_len(), self.shape.packet_len() + shape.packet_len());
        if config.spares == Spares::All {
            together += union.arriving();
            apart += self.shape.arriving() + shape.arriving();
        }
        let saved = apart.checked_sub(together).ok_or(Apart::Costly)?;
        Ok((saved as u64, union))
    }

    /// Takes a message in; the packet is then of this shape.
    pub(super) fn join(&mut self, send: Send, union: Shape, now: Time) {
        self.shape = union;
        self.others.push((send, now));
    }

    /// The one message to all of its receivers.
    pub(super) fn into_send(self) -> Send {
        if self.others.is_empty() {
            return self.first;
        }
        let Send { protocol, class, .. } = self.first;
        let length = self.shape.shared;
        let shared = self.first.shared[..length].to_vec();
        let sends = [self.first].into_iter().chain(self.others.into_iter().map(|(send, _)| send));
        let (mut to, mut parts) = (Vec::with_capacity(self.shape.count), Vec::new());
        for send in sends {
            if !self.shape.is_whole() {
                let rest = &send.shared[length..];
                parts.extend((0..send.to.len()).map(|index| [rest, send.part(index)].concat()));
            }
            to.extend(send.to);
        }
        Send { to, protocol, shared, parts, class }
    }
}

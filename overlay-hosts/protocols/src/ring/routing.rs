//! Where a key lies from here: in one's own zone, with a neighbor, or farther on.

use alloc::vec::Vec;

use super::Ring;
use super::message::{Message, NODES_MAX};
use crate::contact::{Contact, Endpoint};
use crate::id::{PeerId, RingId};
use crate::machine::Class;
use crate::time::{Now, Time};

/// What one peer knows of the way to a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directions {
    /// It is here.
    pub(super) owner: bool,
    /// It may be here in a moment, if those who do not answer are gone.
    pub(super) checking: bool,
    /// Ask these, the first one first.
    pub(super) nodes: Vec<Contact>,
}

impl Ring {
    /// The way to a key for somebody whom `dead` do not answer: these are pinged, and passed over
    /// unless that has shown lately that they are there.
    pub(super) fn directions(&mut self, key: RingId, dead: &[PeerId], now: Time) -> Directions {
        if !self.is_member() {
            return Directions::default();
        }
        if self.owns(key) {
            return Directions { owner: true, ..Directions::default() };
        }
        let fresh = self.round_trip.timeout() * 2;
        let mut silent = Vec::new();
        for peer in dead {
            if let Some(leaf) = self.leaves.find(*peer)
                && (leaf.confirmed == Time(0) || now.since(leaf.confirmed) > fresh)
            {
                silent.push(*peer);
            }
        }
        silent.iter().for_each(|peer| self.suspect(*peer, now));
        let distance = key.clockwise_from(self.position);
        let mut directions = self.toward_owner(distance, &silent);
        self.add_preceding(&mut directions, distance, dead, &silent);
        directions
    }

    /// The peers from the key on, if no unknown peer can stand between it and the first of them.
    fn toward_owner(&self, distance: RingId, silent: &[PeerId]) -> Directions {
        let mut directions = Directions::default();
        let all = self.leaves.all();
        let place = self.leaves.place(distance);
        let before = place.checked_sub(1).map_or(RingId::ZERO, |place| all[place].distance);
        let is_beyond = self.fingers.before(distance).next().is_some_and(|f| f.distance > before);
        if self.leaves.is_gap(place) || is_beyond {
            return directions;
        }
        let half = all.len() / 2;
        let ends_at_me = !self.leaves.is_full() || place > half;
        let end = if ends_at_me { all.len() } else { half };
        let following = all[place..end].iter().filter(|leaf| !silent.contains(&leaf.contact.id));
        directions.nodes = following.take(3).map(|leaf| leaf.contact.clone()).collect();
        directions.checking = ends_at_me && directions.nodes.is_empty();
        directions
    }

    /// The nearest peers in front of the key, of whom any knows better.
    fn add_preceding(
        &self,
        directions: &mut Directions,
        distance: RingId,
        dead: &[PeerId],
        silent: &[PeerId],
    ) {
        let place = self.leaves.place(distance);
        let mut leaves = self.leaves.all()[..place].iter().rev().peekable();
        let mut fingers = self.fingers.before(distance).peekable();
        let room = if directions.nodes.is_empty() { 4 } else { directions.nodes.len() + 1 };
        while directions.nodes.len() < room.min(NODES_MAX) {
            let leaf_first = match (leaves.peek(), fingers.peek()) {
                (Some(leaf), Some(finger)) => leaf.distance >= finger.distance,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            let contact = match leaf_first {
                true => leaves.next().map(|leaf| &leaf.contact),
                false => fingers.next().map(|finger| &finger.contact),
            };
            let Some(contact) = contact else { break };
            let is_finger_dead = !leaf_first && dead.contains(&contact.id);
            let is_named = directions.nodes.iter().any(|node| node.id == contact.id);
            if !is_finger_dead && !is_named && !silent.contains(&contact.id) {
                directions.nodes.push(contact.clone());
            }
        }
    }

    /// Answers who looks a key up.
    pub(super) fn direct_to(
        &mut self,
        from: Endpoint,
        nonce: u32,
        key: RingId,
        dead: &[PeerId],
        now: Now,
    ) {
        if let Some(sender) = from.id.filter(|sender| dead.contains(sender)) {
            // It says itself that it is not part of the ring.
            self.forget(sender, now.time);
        }
        let directions = self.directions(key, dead, now.time);
        let answer = match directions.owner {
            true => Message::Owner { nonce, me: self.me.clone() },
            false => {
                Message::Route { nonce, checking: directions.checking, nodes: directions.nodes }
            }
        };
        self.send(from, &answer, Class::Immediate);
    }
}

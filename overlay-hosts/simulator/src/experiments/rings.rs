//! Rings to begin experiments with: all nodes know their neighbors and fingers from the start.

use std::collections::BTreeMap;

use overlay_protocols::node::Input;
use overlay_protocols::{Contact, RingId, ring};

use crate::world::World;

/// Who stands where, as nobody on the ring can see it.
#[derive(Clone, Debug, Default)]
pub(super) struct GlobalView {
    places: BTreeMap<RingId, usize>,
}

impl GlobalView {
    /// Somebody is part of the ring.
    pub(super) fn add(&mut self, position: RingId, place: usize) {
        self.places.insert(position, place);
    }

    /// Somebody is not any more.
    pub(super) fn remove(&mut self, position: RingId) {
        self.places.remove(&position);
    }

    /// Who owns a key: the first at or behind it.
    pub(super) fn owner(&self, key: RingId) -> Option<usize> {
        let behind = self.places.range(key..).next().or_else(|| self.places.iter().next());
        behind.map(|(_, place)| *place)
    }

    /// The first so many at or behind a key, the owner first.
    pub(super) fn holders(&self, key: RingId, count: usize) -> Vec<usize> {
        let all = self.places.range(key..).chain(self.places.range(..key));
        all.take(count).map(|(_, place)| *place).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

/// Makes all nodes of the world a ring that is settled: `half` neighbors on each side, and at each
/// power of two ahead whoever comes next.
pub(super) fn preset(world: &mut World, half: usize) -> GlobalView {
    let contacts: BTreeMap<RingId, (usize, Contact)> = world
        .live()
        .map(|place| (world.contact(place).position(), (place, world.contact(place))))
        .collect();
    let order: Vec<&(usize, Contact)> = contacts.values().collect();
    let mut view = GlobalView::default();
    for (rank, (place, contact)) in order.iter().enumerate() {
        let count = order.len();
        let reach = half.min((count - 1) / 2);
        let around =
            (1..=reach).flat_map(|far| [(rank + far) % count, (rank + count - far) % count]);
        let leaves = around.map(|other| order[other].1.clone()).collect();
        let fingers = fingers(contact.position(), &contacts);
        world.input(*place, Input::Ring(ring::Command::Preset { leaves, fingers }));
        view.add(contact.position(), *place);
    }
    view
}

/// From the farthest to the nearest, none twice.
fn fingers(from: RingId, contacts: &BTreeMap<RingId, (usize, Contact)>) -> Vec<Contact> {
    let mut fingers: Vec<Contact> = Vec::new();
    for exponent in (0..overlay_protocols::id::ID_BITS).rev() {
        let target = from.plus(RingId::power_of_two(exponent));
        let next = contacts.range(target..).next().or_else(|| contacts.iter().next());
        let Some((_, (_, contact))) = next else { break };
        if contact.position() == from {
            break;
        }
        if fingers.last().is_none_or(|last| last.id != contact.id) {
            fingers.push(contact.clone());
        } else if contact.position().clockwise_from(from).highest_bit() > Some(exponent + 1) {
            // All nearer powers of two lead to the same neighbor.
            break;
        }
    }
    fingers
}

//! What is known of each neighbor: where it stands, how far it is, and how fast the ways are.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::NeighborView;
use crate::bandwidth::Pairs;
use crate::contact::Contact;
use crate::coordinates::{Coordinate, Measured};
use crate::id::PeerId;
use crate::time::Time;

/// Delays that are remembered of a neighbor: the smallest counts, as queues only add to it. When a
/// way becomes longer, it is believed after so many.
const DELAYS_MAX: usize = 8;
/// Measurements after which a neighbor that has never answered is one of many.
const UNANSWERED_MAX: u8 = 3;

/// A member of the leaf set.
#[derive(Clone, Debug)]
pub(super) struct Neighbor {
    pub(super) contact: Contact,
    /// Where it says that it stands.
    pub(super) at: Option<Coordinate>,
    /// It measures, too: it has answered, or its heartbeat has told something.
    pub(super) speaks: bool,
    /// Measurements that it was sent before it answered any.
    pub(super) unanswered: u8,
    /// The last delays, microseconds.
    delays: VecDeque<u32>,
    /// What it has told of pairs to it, and what pairs from it have said.
    pub(super) up: Pairs,
    pub(super) down: Pairs,
    /// The pair that was sent to it and of which it has told nothing yet.
    pub(super) sent: Option<u32>,
    /// The first of a pair: its number, when it came, and how long it was.
    pub(super) first: Option<(u32, Time, usize)>,
}

impl Neighbor {
    fn new(contact: Contact) -> Neighbor {
        Neighbor {
            contact,
            at: None,
            speaks: false,
            unanswered: 0,
            delays: VecDeque::new(),
            up: Pairs::default(),
            down: Pairs::default(),
            sent: None,
            first: None,
        }
    }

    /// The delay, milliseconds, if it was measured.
    pub(super) fn delay(&self) -> Option<f64> {
        self.delays.iter().min().map(|least| f64::from(*least) / 1e3)
    }

    /// Whether it is to be measured as soon as possible.
    pub(super) fn is_new(&self) -> bool {
        self.delays.is_empty() && self.unanswered < UNANSWERED_MAX
    }

    /// It has answered after so many microseconds.
    pub(super) fn measured(&mut self, delay: u32) {
        if self.delays.len() >= DELAYS_MAX {
            self.delays.pop_front();
        }
        self.delays.push_back(delay);
        self.speaks = true;
    }

    fn view(&self) -> NeighborView {
        NeighborView {
            contact: self.contact.clone(),
            at: self.at,
            delay: self.delay(),
            up: self.up.median(),
            down: self.down.median(),
            pairs: (self.up.len(), self.down.len()),
        }
    }
}

/// All of them, in the order of the leaf set; as many as a leaf set can have.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    all: Vec<Neighbor>,
}

impl Table {
    pub(super) fn all(&self) -> &[Neighbor] {
        &self.all
    }

    pub(super) fn find_mut(&mut self, id: PeerId) -> Option<&mut Neighbor> {
        self.all.iter_mut().find(|neighbor| neighbor.contact.id == id)
    }

    /// Follows the leaf set: who is new is unknown, who has left is forgotten.
    pub(super) fn follow<'a>(&mut self, leaf_set: impl Iterator<Item = &'a Contact>) {
        let mut before = core::mem::take(&mut self.all);
        for contact in leaf_set {
            let known = before.iter().position(|neighbor| neighbor.contact.id == contact.id);
            self.all.push(match known {
                Some(place) => Neighbor { contact: contact.clone(), ..before.swap_remove(place) },
                None => Neighbor::new(contact.clone()),
            });
        }
    }

    /// The measured delays to those that say where they stand.
    pub(super) fn measured(&self) -> Vec<Measured> {
        let each =
            |neighbor: &Neighbor| Some(Measured { at: neighbor.at?, distance: neighbor.delay()? });
        self.all.iter().filter_map(each).collect()
    }

    pub(super) fn views(&self) -> Vec<NeighborView> {
        self.all.iter().map(Neighbor::view).collect()
    }
}

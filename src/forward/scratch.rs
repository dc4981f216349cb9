//! Room to work in, reused from packet to packet.

use super::budget::Budgets;
use super::reason::DropReason;
use super::replica::{Form, Target};
use crate::fib::{AdjacencyId, EntryId, Fib};
use crate::wire::xcast4::DESTINATIONS_MAX;

/// The live destinations of a packet that share an adjacency.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) adjacency: AdjacencyId,
    /// Those that are the neighbor itself.
    pub(super) direct: u128,
    /// Those behind it.
    pub(super) behind: u128,
}

/// A replica that is to be made.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) target: Target,
    /// The adjacency whose rewrite it gets; `None` where that is not known yet or not needed.
    pub(super) adjacency: Option<AdjacencyId>,
    pub(super) form: Form,
    pub(super) live: u128,
    /// What a copy in Xcast form bears; `None` leaves it as it is.
    pub(super) dscp: Option<u8>,
    /// A copy in Xcast form lists its live destinations alone.
    pub(super) compact: bool,
    /// A unicast copy leaves in fragments with this much payload each; 0 = whole.
    pub(super) fragment: usize,
}

pub(super) struct Scratch {
    /// The list indices and addresses (of one IP version or the other) of the live destinations,
    /// and what they led to.
    pub(super) indices: [u8; DESTINATIONS_MAX],
    pub(super) addresses_v4: [u32; DESTINATIONS_MAX],
    pub(super) addresses_v6: [u128; DESTINATIONS_MAX],
    pub(super) entries: [EntryId; DESTINATIONS_MAX],
    pub(super) parts: List<Part>,
    pub(super) plans: List<Plan>,
    /// The packet is a neighbor's probe, which lists of destinations do not concern.
    pub(super) is_probe: bool,
    /// Copies may list their live destinations alone.
    pub(super) may_compact: bool,
    /// Destinations that are delivered without a copy.
    pub(super) seen_here: u128,
    /// The destinations of the present packet that are dropped, by reason.
    pub(super) dropped: List<(DropReason, u128)>,
    /// The smallest MTU that the packet was too big for.
    pub(super) narrowest: u32,
    pub(super) budgets: Budgets,
    /// By adjacency: the packet it was last a part of, and which.
    part_of: Vec<(u64, u8)>,
    packet: u64,
}

impl Plan {
    /// A unicast copy for this node, to be filled in.
    pub(super) const UNICAST: Plan = Plan {
        target: Target::Host { from: None },
        adjacency: None,
        form: Form::Unicast,
        live: 0,
        dscp: None,
        compact: false,
        fragment: 0,
    };
}

impl Default for Scratch {
    fn default() -> Scratch {
        let part = Part { adjacency: 0, direct: 0, behind: 0 };
        Scratch {
            indices: [0; DESTINATIONS_MAX],
            addresses_v4: [0; DESTINATIONS_MAX],
            addresses_v6: [0; DESTINATIONS_MAX],
            entries: [0; DESTINATIONS_MAX],
            parts: List { items: [part; DESTINATIONS_MAX], len: 0 },
            plans: List { items: [Plan::UNICAST; DESTINATIONS_MAX], len: 0 },
            is_probe: false,
            may_compact: false,
            seen_here: 0,
            dropped: List { items: [(DropReason::IpHeader, 0); DESTINATIONS_MAX], len: 0 },
            narrowest: u32::MAX,
            budgets: Budgets::default(),
            part_of: Vec::new(),
            packet: 0,
        }
    }
}

impl Scratch {
    pub(super) fn prepare(&mut self, fib: &Fib) {
        self.budgets.prepare(fib.limits().destinations_per_second, fib.secret());
        self.part_of.clear();
        self.part_of.resize(fib.adjacencies().len(), (0, 0));
        self.packet = 0;
    }

    pub(super) fn begin_packet(&mut self) {
        self.packet += 1;
        self.parts.len = 0;
        self.plans.len = 0;
        self.is_probe = false;
        self.may_compact = false;
        self.seen_here = 0;
        self.dropped.len = 0;
        self.narrowest = u32::MAX;
    }

    /// Drops destinations of the present packet.
    pub(super) fn drop(&mut self, reason: DropReason, live: u128) {
        let known = &mut self.dropped.items[..self.dropped.len];
        match known.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, destinations)) => *destinations |= live,
            None => self.dropped.push((reason, live)),
        }
    }

    /// The part of `adjacency` in the present packet.
    #[inline]
    pub(super) fn part(&mut self, adjacency: AdjacencyId) -> &mut Part {
        let known = &mut self.part_of[adjacency as usize];
        if known.0 != self.packet {
            *known = (self.packet, self.parts.len as u8);
            self.parts.push(Part { adjacency, direct: 0, behind: 0 });
        }
        &mut self.parts.items[usize::from(known.1)]
    }
}

/// At most one item a destination, so it never overflows.
pub(super) struct List<T> {
    items: [T; DESTINATIONS_MAX],
    len: usize,
}

impl<T: Copy> List<T> {
    #[inline]
    pub(super) fn push(&mut self, item: T) {
        self.items[self.len] = item;
        self.len += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn each(&mut self, change: impl FnMut(&mut T)) {
        self.items[..self.len].iter_mut().for_each(change);
    }

    pub(super) fn at(&self, index: usize) -> T {
        self.items[..self.len][index]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.items[..self.len].iter().copied()
    }
}

//! Room to work in, reused from packet to packet.

use super::budget::Budgets;
use super::reason::DropReason;
use super::replica::Form;
use crate::fib::{AdjacencyId, EntryId, Fib, Lead, PortId};
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

impl Part {
    /// That of destinations which all lead to the same, if that is simple.
    #[inline]
    pub(super) fn of(lead: Lead, live: u128) -> Option<Part> {
        let adjacency = lead.adjacency();
        match (lead, lead.is_direct()) {
            (Lead::ELSEWHERE, _) => None,
            (_, true) => Some(Part { adjacency, direct: live, behind: 0 }),
            (_, false) => Some(Part { adjacency, direct: 0, behind: live }),
        }
    }
}

/// The live destinations of a packet by adjacency, in the order in which the adjacencies came up.
pub(super) struct Parts {
    adjacencies: List<AdjacencyId>,
    /// Bitmaps in two halves, which cost less to write than one. There are two for each part: of
    /// those behind the neighbor, then of those that are the neighbor itself; and [`OTHERS`].
    halves: [[u64; 2]; 256],
    /// By entry: the packet that last led to it, and which of the bitmaps.
    by_entry: Vec<Mark>,
    /// By adjacency: the packet it was last a part of, and which.
    by_adjacency: Vec<Mark>,
    packet: u64,
}

/// The bitmap of destinations that are to be looked at one by one.
const OTHERS: usize = 255;

/// The number of a packet, and a place.
#[derive(Clone, Copy, Default)]
struct Mark(u64);

impl Mark {
    fn new(packet: u64, place: usize) -> Mark {
        Mark(packet << 8 | place as u64)
    }

    /// The place, if it was in `packet`.
    #[inline]
    fn place(self, packet: u64) -> Option<usize> {
        let place = self.0.wrapping_sub(packet << 8);
        (place <= 0xff).then_some(place as usize)
    }
}

impl Parts {
    fn new() -> Parts {
        Parts {
            adjacencies: List { items: [0; DESTINATIONS_MAX], len: 0 },
            halves: [[0; 2]; 256],
            by_entry: Vec::new(),
            by_adjacency: Vec::new(),
            packet: 0,
        }
    }

    fn prepare(&mut self, fib: &Fib) {
        self.by_entry.clear();
        self.by_entry.resize(fib.leads().len(), Mark::default());
        self.by_adjacency.clear();
        self.by_adjacency.resize(fib.adjacencies().len(), Mark::default());
        self.packet = 0;
    }

    #[inline]
    fn begin_packet(&mut self) {
        self.packet += 1;
        self.adjacencies.len = 0;
        self.halves[OTHERS] = [0; 2];
    }

    /// Sorts the live destinations into parts by what they led to: `entries`, in their order.
    /// Returns those that it is not so simple with.
    #[inline]
    pub(super) fn sort(&mut self, leads: &[Lead], live: u128, entries: &[EntryId]) -> u128 {
        let packet = self.packet;
        let mut entries = entries.iter();
        for (half, mut rest) in [(live >> 64) as u64, live as u64].into_iter().enumerate() {
            while rest != 0 {
                let bit = (1 << 63) >> rest.leading_zeros();
                rest ^= bit;
                let Some(entry) = entries.next() else { break };
                let place = match self.by_entry[*entry as usize].place(packet) {
                    Some(place) => place,
                    None => self.first(leads, *entry),
                };
                self.halves[place][half] |= bit;
            }
        }
        self.bitmap(OTHERS)
    }

    /// The bitmap that destinations of an entry go to that came up for the first time.
    fn first(&mut self, leads: &[Lead], entry: EntryId) -> usize {
        let place = match leads[entry as usize] {
            Lead::ELSEWHERE => OTHERS,
            lead => 2 * self.part(lead.adjacency()) + usize::from(lead.is_direct()),
        };
        self.by_entry[entry as usize] = Mark::new(self.packet, place);
        place
    }

    /// Adds a destination that is a neighbor itself, or is behind it.
    pub(super) fn add(&mut self, adjacency: AdjacencyId, index: usize, is_direct: bool) {
        let place = 2 * self.part(adjacency) + usize::from(is_direct);
        self.halves[place][index >> 6] |= (1 << 63) >> (index & 63);
    }

    /// The part of `adjacency` in the present packet.
    fn part(&mut self, adjacency: AdjacencyId) -> usize {
        let mark = &mut self.by_adjacency[adjacency as usize];
        if let Some(place) = mark.place(self.packet) {
            return place;
        }
        *mark = Mark::new(self.packet, self.adjacencies.len);
        let place = self.adjacencies.push(adjacency);
        self.halves[2 * place] = [0; 2];
        self.halves[2 * place + 1] = [0; 2];
        place
    }

    /// Takes parts over, which are of different adjacencies.
    pub(super) fn fill(&mut self, parts: impl Iterator<Item = Part>) {
        let halves = |live: u128| [(live >> 64) as u64, live as u64];
        for part in parts {
            let place = self.adjacencies.push(part.adjacency);
            self.halves[2 * place] = halves(part.behind);
            self.halves[2 * place + 1] = halves(part.direct);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.adjacencies.len
    }

    /// The parts.
    #[inline]
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = Part> + '_ {
        self.adjacencies.all().iter().enumerate().map(|(place, adjacency)| Part {
            adjacency: *adjacency,
            behind: self.bitmap(2 * place),
            direct: self.bitmap(2 * place + 1),
        })
    }

    #[inline]
    fn bitmap(&self, place: usize) -> u128 {
        let [first, second] = self.halves[place];
        u128::from(first) << 64 | u128::from(second)
    }
}

/// Which forms the copies of a packet have.
#[derive(Clone, Copy, Default)]
pub(super) struct Forms {
    pub(super) xcast: bool,
    pub(super) unicast: bool,
    /// Some in Xcast form are addressed otherwise than the packet.
    pub(super) readdressed: bool,
}

/// Which way a replica goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To this neighbor.
    Adjacency(AdjacencyId),
    /// To its only destination itself, on the link of this port, which is not resolved yet.
    OnLink(PortId),
    /// To this node.
    Host,
}

impl Way {
    pub(super) fn adjacency(self) -> Option<AdjacencyId> {
        match self {
            Way::Adjacency(id) => Some(id),
            Way::OnLink(_) | Way::Host => None,
        }
    }
}

/// How a copy in Xcast form is addressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Travels {
    /// As the packet that it is a copy of.
    #[default]
    Plainly,
    /// To the group, whatever the packet was addressed to.
    ToGroup,
    /// To the service address that this adjacency stands for.
    ToService(AdjacencyId),
    /// In an envelope to the first of its live destinations.
    Enveloped {
        /// The outer hop limit.
        hop_limit: u8,
    },
    /// In the envelope that the packet came in, unopened.
    Unopened,
}

/// A replica that is to be made.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) live: u128,
    pub(super) way: Way,
    /// A unicast copy leaves in fragments with this much payload each; 0 = whole.
    pub(super) fragment: u32,
    pub(super) form: Form,
    /// What a copy in Xcast form bears; `None` leaves it as it is.
    pub(super) dscp: Option<u8>,
    /// A copy in Xcast form lists its live destinations alone.
    pub(super) compact: bool,
    /// Of a copy in Xcast form.
    pub(super) travels: Travels,
}

pub(super) struct Scratch {
    pub(super) parts: Parts,
    pub(super) plans: List<Plan>,
    /// Of the plans.
    pub(super) forms: Forms,
    /// The packet is a neighbor's probe, which lists of destinations do not concern.
    pub(super) is_probe: bool,
    /// How copies in Xcast form leave by links.
    pub(super) travels: Travels,
    /// Destinations that are delivered without a copy.
    pub(super) seen_here: u128,
    pub(super) drops: Drops,
    pub(super) budgets: Budgets,
}

impl Plan {
    pub(super) const NONE: Plan = Plan {
        live: 0,
        way: Way::Host,
        fragment: 0,
        form: Form::Unicast,
        dscp: None,
        compact: false,
        travels: Travels::Plainly,
    };
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            parts: Parts::new(),
            forms: Forms::default(),
            plans: List { items: [Plan::NONE; DESTINATIONS_MAX], len: 0 },
            is_probe: false,
            travels: Travels::Plainly,
            seen_here: 0,
            drops: Drops {
                list: List { items: [(DropReason::IpHeader, 0); DESTINATIONS_MAX], len: 0 },
                narrowest: u32::MAX,
            },
            budgets: Budgets::default(),
        }
    }
}

impl Scratch {
    pub(super) fn prepare(&mut self, fib: &Fib) {
        self.budgets.prepare(fib.limits().destinations_per_second, fib.secret());
        self.parts.prepare(fib);
    }

    pub(super) fn begin_packet(&mut self) {
        self.parts.begin_packet();
        self.forms = Forms::default();
        self.plans.len = 0;
        self.is_probe = false;
        self.travels = Travels::Plainly;
        self.seen_here = 0;
        self.drops.list.len = 0;
        self.drops.narrowest = u32::MAX;
    }
}

/// The destinations of a packet that are dropped, by reason.
pub(super) struct Drops {
    list: List<(DropReason, u128)>,
    /// The smallest MTU that the packet was too big for.
    pub(super) narrowest: u32,
}

impl Drops {
    pub(super) fn add(&mut self, reason: DropReason, live: u128) {
        let known = &mut self.list.items[..self.list.len];
        match known.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, destinations)) => *destinations |= live,
            None => {
                self.list.push((reason, live));
            }
        }
    }

    pub(super) fn too_big(&mut self, live: u128, mtu: u32) {
        self.narrowest = self.narrowest.min(mtu);
        self.add(DropReason::TooBig, live);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.len == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (DropReason, u128)> + '_ {
        self.list.all().iter().copied()
    }
}

/// At most one item a destination, so it never overflows.
pub(super) struct List<T> {
    items: [T; DESTINATIONS_MAX],
    len: usize,
}

impl<T: Copy> List<T> {
    #[inline]
    pub(super) fn push(&mut self, item: T) -> usize {
        let place = self.len;
        self.items[place] = item;
        self.len = place + 1;
        place
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn all(&self) -> &[T] {
        &self.items[..self.len]
    }

    /// Keeps those that are wanted.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        let mut kept = 0;
        for at in 0..self.len {
            if wanted(&self.items[at]) {
                self.items[kept] = self.items[at];
                kept += 1;
            }
        }
        self.len = kept;
    }

    pub(super) fn each(&mut self, change: impl FnMut(&mut T)) {
        self.items[..self.len].iter_mut().for_each(change);
    }

    #[inline]
    pub(super) fn at(&self, index: usize) -> T {
        self.items[..self.len][index]
    }
}

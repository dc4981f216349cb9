//! The forwarding information base: what the packet path looks up, and only what can forward
//! right now.
//!
//! A [`Fib`] is compiled by the [`rib`](crate::rib), immutable once published (but for
//! "this neighbor is in use" marks) and swapped whole between batches, so the packet path never
//! sees half a change. An address leads in one lookup to an [`Entry`]: to a neighbor, to a group
//! of gateways, to a link whose neighbor is still to be resolved, to this node itself, or to the
//! reason why it leads nowhere. Own addresses, broadcast addresses and resolved neighbors are
//! host routes of the same table, so each of them costs nothing extra.

mod adjacency;
mod arena;
mod bits;
mod builder;
mod chunks;
mod compiler;
mod dir24;
mod encode;
mod kind;
mod overlap;
mod poptrie;
mod port;
mod prefix;
mod routes;
mod sweep;
pub mod synthetic;
mod targets;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use adjacency::{Adjacency, AdjacencyId, Capability, NO_LINK, Rewrite};
pub use arena::Allocate;
pub use builder::FibBuilder;
pub use compiler::{Compiler, Table};
pub use kind::TableKind;
pub use port::{Port, ReversePath, Tunnel};
pub use prefix::Prefix;
pub(crate) use prefix::mask_v4;
pub use routes::{ActionId, Outcome, Routes};
pub use targets::Hop;

use crate::wire::CodePoints;
use crate::wire::tunnel::Encapsulation;
use chunks::Chunks;
use kind::TableV4;
use overlap::overlap;
use poptrie::Poptrie;

/// Parts of an IPv4 table, and chunks in each: the leading bits of an address lead to a chunk, and so
/// many more to a word in it.
const PART_V4: usize = 1 << 6;
const ROOT_V4: u32 = Chunks::<PART_V4>::ROOT;
const SLOT_V4: u32 = 6;
/// The same of an IPv6 table.
const PART_V6: usize = 1 << 11;
const SLOT_V6: u32 = 6;

/// Passes that it takes to look addresses up.
pub(crate) const PASSES_V4: usize = Poptrie::<PART_V4, SLOT_V4>::passes::<u32>();
const PASSES_V6: usize = Poptrie::<PART_V6, SLOT_V6>::passes::<u128>();

/// The index of a [`Port`] in its [`Fib`]. Stays with an interface while that exists.
pub type PortId = u16;

/// The result of a lookup: the index of an [`Entry`].
pub type EntryId = u32;

/// Where packets to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// No route.
    NoRoute,
    /// A route that says drop.
    Drop,
    /// A route all of whose next hops are behind links that are down, or are no ports.
    PortDown,
    /// A route into a tunnel that is not up.
    TunnelDown,
    /// An address no packet may be sent to or come from: unspecified, loopback, multicast, or a
    /// broadcast address (WIRE.md R2).
    Bad,
    /// An address of this node.
    Local,
    /// A link-local IPv6 address: where it leads depends on the link (RFC 4291 section 2.5.6).
    LinkLocal,
    /// The destination is itself on the link, and not resolved yet.
    OnLink(PortId),
    /// The destination is itself this neighbor.
    Neighbor(AdjacencyId),
    /// The destination is behind one of a group of gateways.
    Gateways(GatewayGroup),
}

/// What most entries come to, in one word that the packet path reads for each destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lead(u32);

impl Lead {
    /// Not so simple: the entry says it.
    pub(crate) const ELSEWHERE: Lead = Lead(u32::MAX);
    const DIRECT: u32 = 1 << 31;

    /// Of an entry whose group's gateways are among `members`.
    fn of(entry: &Entry, members: &[AdjacencyId]) -> Lead {
        match entry {
            Entry::Neighbor(id) => Lead(id | Lead::DIRECT),
            Entry::Gateways(GatewayGroup { first, count: 1, .. }) => Lead(members[*first as usize]),
            _ => Lead::ELSEWHERE,
        }
    }

    /// The one adjacency that it leads to.
    #[inline]
    pub(crate) fn adjacency(self) -> AdjacencyId {
        self.0 & !Lead::DIRECT
    }

    /// Whether that is the destination itself.
    #[inline]
    pub(crate) fn is_direct(self) -> bool {
        self.0 & Lead::DIRECT != 0
    }
}

/// Gateways that share the traffic of some prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatewayGroup {
    /// Range in the Fib's list of group members, each as often as it has weight.
    first: u32,
    count: u32,
    /// The same for the same gateways in every Fib, so that a channel stays on its path.
    hash: u64,
}

/// An immutable forwarding table with its ports and adjacencies.
pub struct Fib {
    generation: u64,
    code_points: CodePoints,
    v4: TableV4,
    v6: Poptrie<PART_V6, SLOT_V6>,
    entries: Vec<Entry>,
    /// Where addresses lead by the routes of unicast alone, where there are tunnels.
    native: Option<Native>,
    /// By entry.
    leads: Vec<Lead>,
    members: Vec<AdjacencyId>,
    /// Sorted by port and address.
    adjacencies: Vec<Adjacency>,
    ports: Vec<Option<Port>>,
    /// The tunnels' ports by encapsulation, remote and local end.
    ends: Vec<(Encapsulation, SocketAddr, SocketAddr, PortId)>,
    /// The tunnel of hosts, if this node takes part in one.
    hosts: Option<PortId>,
    limits: Limits,
    compact: bool,
    /// Nothing here asks for more than to send packets on.
    plain: bool,
    secret: u64,
}

/// The tables of unicast routing, whose values are entries like those of the others.
struct Native {
    v4: Poptrie<PART_V4, SLOT_V4>,
    v6: Poptrie<PART_V6, SLOT_V6>,
}

/// Who may send, to whom, and how much (WIRE.md R13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Prefixes that may send; empty = all.
    pub sources: Vec<Prefix>,
    /// Prefixes that may be reached; empty = all.
    pub destinations: Vec<Prefix>,
    /// Unicast addresses at which packets are taken too, from listed `sources` alone (RFC 5058
    /// section 11.5).
    pub anycast: Vec<IpAddr>,
    /// Sources whose packets are taken out of semi-permeable tunnels (RFC 5058 section 11.3), and whose
    /// tunnels to this node itself are opened (11.4); empty = none.
    pub accept: Vec<Prefix>,
    /// Carry ICMP echo requests (RFC 5058 section 14).
    pub allow_icmp_echo: bool,
    /// Live destinations a second that each source may send to; 0 = unlimited.
    pub destinations_per_second: u32,
    /// ICMP errors and trace reports that are sent a second (WIRE.md R12).
    pub icmp_errors_per_second: u32,
    /// What a relay may emit natively; `None`: all.
    pub emission: Option<Emission>,
}

/// What a relay emits natively, on to routers that may drop what comes from elsewhere (strict
/// `rp_filter`): all else travels from tunnel to tunnel to a relay that may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emission {
    /// From these sources,
    pub originate: Vec<Prefix>,
    /// and to these destinations, which the relay is near to.
    pub near: Vec<Prefix>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sources: Vec::new(),
            destinations: Vec::new(),
            anycast: Vec::new(),
            accept: Vec::new(),
            allow_icmp_echo: false,
            destinations_per_second: 0,
            icmp_errors_per_second: 100,
            emission: None,
        }
    }
}

impl Limits {
    /// Whether everybody may send everything to anybody (echo requests aside).
    pub(crate) fn are_none(&self) -> bool {
        self.sources.is_empty()
            && self.destinations.is_empty()
            && self.destinations_per_second == 0
            && self.emission.is_none()
    }
}

impl Fib {
    /// A table without ports and routes.
    pub fn empty(code_points: CodePoints) -> Fib {
        FibBuilder::new(code_points, Vec::new()).finish(0)
    }

    /// The numbers by which Xcast packets are known.
    #[inline]
    pub fn code_points(&self) -> &CodePoints {
        &self.code_points
    }

    /// Grows by one with every Fib published.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The octets of the tables it refers to.
    pub fn memory(&self) -> usize {
        self.memory_beside(None)
    }

    /// How many octets of tables this one adds where `before` is kept too: all that the two do not
    /// share.
    pub fn memory_beyond(&self, before: &Fib) -> usize {
        self.memory_beside(Some(before))
    }

    fn memory_beside(&self, before: Option<&Fib>) -> usize {
        let v4 = self.v4.memory(before.map(|before| &before.v4));
        let v6 = self.v6.0.memory(before.map(|before| &before.v6.0));
        let natives = (self.native.as_ref(), before.and_then(|before| before.native.as_ref()));
        let native = natives.0.map_or(0, |native| {
            native.v4.0.memory(natives.1.map(|before| &before.v4.0))
                + native.v6.0.memory(natives.1.map(|before| &before.v6.0))
        });
        v4 + v6
            + native
            + size_of_val::<[Entry]>(&self.entries)
            + size_of_val::<[AdjacencyId]>(&self.members)
            + size_of_val::<[Adjacency]>(&self.adjacencies)
    }

    /// Looks one address up.
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> EntryId {
        match address {
            IpAddr::V4(v4) => match &self.v4 {
                TableV4::Poptrie(table) => table.lookup(v4.to_bits()),
                TableV4::Dir24(table) => table.lookup(v4.to_bits()),
            },
            IpAddr::V6(v6) => self.v6.lookup(v6.to_bits()),
        }
    }

    /// Where a packet to `address` goes by the routes of unicast alone (WIRE.md "Tunnels": a lone
    /// destination behind a tunnel). Without tunnels nobody asks, and nothing is known.
    pub fn native_entry(&self, address: IpAddr) -> Option<Entry> {
        let native = self.native.as_ref()?;
        Some(*self.entry(match address {
            IpAddr::V4(v4) => native.v4.lookup(v4.to_bits()),
            IpAddr::V6(v6) => native.v6.lookup(v6.to_bits()),
        }))
    }

    /// The tunnel by which hosts forward for each other (RFC 5058 section 11.4), if there is one.
    #[inline]
    pub fn hosts(&self) -> Option<PortId> {
        self.hosts
    }

    /// The port of the tunnel between these two ends.
    pub fn tunnel_between(
        &self,
        encapsulation: Encapsulation,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<PortId> {
        let find = |local| {
            let key = (encapsulation, remote, local);
            let at = self.ends.binary_search_by_key(&key, |(e, r, l, _)| (*e, *r, *l)).ok()?;
            Some(self.ends[at].3)
        };
        // An end may be known by the other one alone.
        let any: IpAddr = match local {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        find(local).or_else(|| find(SocketAddr::new(any, local.port())))
    }

    /// Looks many IPv4 addresses up, in host order, at once; the first `addresses.len()` of
    /// `results` receive the entries.
    #[inline]
    pub fn lookup_batch_v4(&self, addresses: &[u32], results: &mut [EntryId]) {
        // Chosen once, not for each group.
        match &self.v4 {
            TableV4::Poptrie(table) => overlap(PASSES_V4, addresses.len(), |pass, group| {
                table.pass(pass, &addresses[group.clone()], &mut results[group]);
            }),
            TableV4::Dir24(table) => overlap(PASSES_V4, addresses.len(), |pass, group| {
                table.pass(pass, &addresses[group.clone()], &mut results[group]);
            }),
        }
    }

    /// The same for IPv6.
    #[inline]
    pub fn lookup_batch_v6(&self, addresses: &[u128], results: &mut [EntryId]) {
        overlap(PASSES_V6, addresses.len(), |pass, group| {
            self.v6.pass(pass, &addresses[group.clone()], &mut results[group]);
        });
    }

    /// Takes IPv4 addresses, in host order, through one pass of their lookups, of [`PASSES_V4`]: it has fetched
    /// from memory what the next one reads, so it pays to do other work in between. After the last
    /// one the first of `results` are the entries.
    #[inline(always)]
    pub(crate) fn look_up_v4(&self, pass: usize, addresses: &[u32], results: &mut [EntryId]) {
        match &self.v4 {
            TableV4::Poptrie(table) => table.pass(pass, addresses, results),
            TableV4::Dir24(table) => table.pass(pass, addresses, results),
        }
    }

    /// Where a packet to `address` goes that came in by `port` (`None`: from this node), link-local
    /// addresses included.
    pub fn entry_for(&self, address: IpAddr, port: Option<PortId>) -> Entry {
        match *self.entry(self.lookup(address)) {
            Entry::LinkLocal => self.link_local_entry(address, port),
            entry => entry,
        }
    }

    /// Where a link-local address leads on the link of `port`. Without a port it names nothing,
    /// unless this node has one port only.
    pub fn link_local_entry(&self, address: IpAddr, port: Option<PortId>) -> Entry {
        let Some(id) = port.or_else(|| self.only_port()) else { return Entry::Bad };
        let Some(port) = self.port(id) else { return Entry::PortDown };
        match self.find_adjacency_id(id, address) {
            _ if port.addresses.contains(&address) => Entry::Local,
            _ if !port.up => Entry::PortDown,
            Some(neighbor) => Entry::Neighbor(neighbor),
            None => Entry::OnLink(id),
        }
    }

    fn only_port(&self) -> Option<PortId> {
        let mut present = (0..).zip(&self.ports).filter(|(_, port)| port.is_some());
        match (present.next(), present.next()) {
            (Some((id, _)), None) => Some(id),
            _ => None,
        }
    }

    /// The entry that a lookup led to.
    #[inline]
    pub fn entry(&self, id: EntryId) -> &Entry {
        &self.entries[id as usize]
    }

    /// What each entry comes to, by its index.
    #[inline]
    pub(crate) fn leads(&self) -> &[Lead] {
        &self.leads
    }

    /// The gateway of `group` that a packet with `flow` takes: every destination of a packet that
    /// has the same group has the same gateway, and a flow keeps it (WIRE.md R5).
    #[inline]
    pub fn choose(&self, group: GatewayGroup, flow: u64) -> AdjacencyId {
        let members = self.members(group);
        match members {
            [only] => *only,
            _ => members[(mix(flow ^ group.hash) % members.len() as u64) as usize],
        }
    }

    /// The gateways of a group, each as often as it has weight.
    pub fn members(&self, group: GatewayGroup) -> &[AdjacencyId] {
        &self.members[group.first as usize..][..group.count as usize]
    }

    /// The gateways of all routes; one may come more than once.
    pub fn gateways(&self) -> impl Iterator<Item = &Adjacency> {
        self.members.iter().map(|id| self.adjacency(*id))
    }

    /// An adjacency by its index.
    #[inline]
    pub fn adjacency(&self, id: AdjacencyId) -> &Adjacency {
        &self.adjacencies[id as usize]
    }

    /// All adjacencies, by port and address.
    pub fn adjacencies(&self) -> &[Adjacency] {
        &self.adjacencies
    }

    /// The adjacency of an address on a port, if it is known.
    pub fn find_adjacency(&self, port: PortId, address: IpAddr) -> Option<&Adjacency> {
        self.find_adjacency_id(port, address).map(|id| self.adjacency(id))
    }

    /// Its index.
    pub(crate) fn find_adjacency_id(&self, port: PortId, address: IpAddr) -> Option<AdjacencyId> {
        let key = (port, address);
        let at = self.adjacencies.binary_search_by_key(&key, |a| (a.port, a.address)).ok()?;
        Some(at as AdjacencyId)
    }

    /// The port, if it exists.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(usize::from(id))?.as_ref()
    }

    /// The port of an interface, by the kernel's index.
    pub fn port_of(&self, interface: u32) -> Option<PortId> {
        let of_it = |port: &Option<Port>| port.as_ref().is_some_and(|p| p.interface == interface);
        self.ports.iter().position(of_it).map(|id| id as PortId)
    }

    /// All port slots; an empty one belongs to no interface now.
    pub fn ports(&self) -> &[Option<Port>] {
        &self.ports
    }

    /// Whether `source` may send (the limits' list of sources).
    #[inline]
    pub fn source_allowed(&self, source: IpAddr) -> bool {
        allowed(&self.limits.sources, source)
    }

    /// Whether `destination` may be reached (the limits' list of destinations).
    #[inline]
    pub fn destination_allowed(&self, destination: IpAddr) -> bool {
        allowed(&self.limits.destinations, destination)
    }

    /// Whether packets of `source` may be emitted natively whoever they are for.
    #[inline]
    pub fn originates(&self, source: IpAddr) -> bool {
        let holds = |prefix: &Prefix| prefix.contains(source);
        self.limits.emission.as_ref().is_none_or(|emission| emission.originate.iter().any(holds))
    }

    /// Whether packets for `destination` may be emitted natively whoever they are from.
    pub fn is_near(&self, destination: IpAddr) -> bool {
        let holds = |prefix: &Prefix| prefix.contains(destination);
        self.limits.emission.as_ref().is_none_or(|emission| emission.near.iter().any(holds))
    }

    /// Whether some destinations may not be reached.
    #[inline]
    pub fn limits_destinations(&self) -> bool {
        !self.limits.destinations.is_empty()
    }

    /// Whether packets to a unicast address are taken, from sources that are listed (WIRE.md
    /// "Tunnels").
    pub fn is_anycast(&self, destination: IpAddr) -> bool {
        self.limits.anycast.contains(&destination)
    }

    /// Whether packets of `source` are taken out of the tunnels of others' making.
    pub fn accepts(&self, source: IpAddr) -> bool {
        self.limits.accept.iter().any(|prefix| prefix.contains(source))
    }

    /// Whether semi-permeable tunnels are opened at all.
    #[inline]
    pub fn opens_envelopes(&self) -> bool {
        !self.limits.accept.is_empty()
    }

    /// Who may send, to whom, and how much.
    #[inline]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether copies that stay Xcast list their live destinations alone (WIRE.md R6).
    #[inline]
    pub fn is_compact(&self) -> bool {
        self.compact
    }

    /// Whether it sends packets on as they are, without limits, shortened lists or hosts that forward
    /// for each other.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// A number that others do not know: it keeps them from choosing where their state falls in
    /// tables of fixed size, and from forging probes.
    #[inline]
    pub fn secret(&self) -> u64 {
        self.secret
    }
}

#[inline]
fn allowed(prefixes: &[Prefix], address: IpAddr) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address))
}

/// Whether an address means something on its own link only: IPv4's 169.254.0.0/16, IPv6's fe80::/10.
#[inline]
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// A good 64-bit mixer (the finalizer of SplitMix64), the same on every machine.
#[inline]
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests;

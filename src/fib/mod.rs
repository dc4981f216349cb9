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
mod builder;
mod lpm;
mod prefix;

use std::net::{IpAddr, Ipv4Addr};

pub use adjacency::{Adjacency, AdjacencyId, Capability, Rewrite};
pub use builder::{FibBuilder, Hop};
pub use prefix::Prefix;
pub(crate) use prefix::mask_v4;

use crate::wire::CodePoints;
use lpm::Lpm;

/// The index of a [`Port`] in its [`Fib`]. Stays with an interface while that exists.
pub type PortId = u16;

/// The result of a lookup: the index of an [`Entry`].
pub type EntryId = u32;

/// Where packets to an address go.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The destination is itself on the link, and not resolved yet.
    OnLink(PortId),
    /// The destination is itself this neighbor.
    Neighbor(AdjacencyId),
    /// The destination is behind one of a group of gateways.
    Gateways(GatewayGroup),
}

/// Gateways that share the traffic of some prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayGroup {
    /// Range in the Fib's list of group members, each as often as it has weight.
    first: u32,
    count: u32,
    /// The same for the same gateways in every Fib, so that a channel stays on its path.
    hash: u64,
}

/// A port: an interface that the router receives on and sends by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The kernel's index of the interface.
    pub interface: u32,
    /// Tells interfaces apart that had the same index, one after the other.
    pub instance: u64,
    /// The interface's name.
    pub name: String,
    /// The largest IP packet it carries, in octets.
    pub mtu: u32,
    /// Its own link-layer address.
    pub link_address: [u8; 6],
    /// Can send and receive now.
    pub up: bool,
    /// The reverse-path check of packets that arrive here.
    pub reverse_path: ReversePath,
    /// Forward frames that were sent to the group's own link-layer address.
    pub accept_group_frames: bool,
}

impl Port {
    /// Which interface it is: index and instance, the same as long as the interface exists.
    pub fn identity(&self) -> (u32, u64) {
        (self.interface, self.instance)
    }
}

/// What must hold for the source of a packet (WIRE.md R13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// The route back to it leaves by the port it came in on.
    Strict,
    /// There is a route back to it.
    Loose,
    /// Nothing.
    Off,
}

/// An immutable forwarding table with its ports and adjacencies.
pub struct Fib {
    generation: u64,
    code_points: CodePoints,
    v4: Lpm,
    entries: Vec<Entry>,
    members: Vec<AdjacencyId>,
    /// Sorted by port and address.
    adjacencies: Vec<Adjacency>,
    ports: Vec<Option<Port>>,
    limits: Limits,
}

/// Who may send, to whom, and how much (WIRE.md R13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Prefixes that may send; empty = all.
    pub sources: Vec<Prefix>,
    /// Prefixes that may be reached; empty = all.
    pub destinations: Vec<Prefix>,
    /// Carry ICMP echo requests (RFC 5058 section 14).
    pub allow_icmp_echo: bool,
    /// Live destinations a second that each source may send to; 0 = unlimited.
    pub destinations_per_second: u32,
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

    /// Looks one address up.
    #[inline]
    pub fn lookup(&self, address: Ipv4Addr) -> EntryId {
        self.v4.lookup(address.to_bits())
    }

    /// Looks many addresses up, in host order, at once; the first `addresses.len()` of `results`
    /// receive the entries.
    #[inline]
    pub fn lookup_batch(&self, addresses: &[u32], results: &mut [EntryId]) {
        self.v4.lookup_batch(addresses, results);
    }

    /// The entry that a lookup led to.
    #[inline]
    pub fn entry(&self, id: EntryId) -> &Entry {
        &self.entries[id as usize]
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
        let key = (port, address);
        let at = self.adjacencies.binary_search_by_key(&key, |a| (a.port, a.address)).ok()?;
        Some(&self.adjacencies[at])
    }

    /// The port, if it exists.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(usize::from(id))?.as_ref()
    }

    /// All port slots; an empty one belongs to no interface now.
    pub fn ports(&self) -> &[Option<Port>] {
        &self.ports
    }

    /// Whether `source` may send (the limits' list of sources).
    #[inline]
    pub fn source_allowed(&self, source: Ipv4Addr) -> bool {
        allowed(&self.limits.sources, source)
    }

    /// Whether `destination` may be reached (the limits' list of destinations).
    #[inline]
    pub fn destination_allowed(&self, destination: Ipv4Addr) -> bool {
        allowed(&self.limits.destinations, destination)
    }

    /// Who may send, to whom, and how much.
    #[inline]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

#[inline]
fn allowed(prefixes: &[Prefix], address: Ipv4Addr) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address.into()))
}

/// A good 64-bit mixer (the finalizer of SplitMix64), the same on every machine.
#[inline]
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

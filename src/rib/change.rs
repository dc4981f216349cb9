//! What the kernel says about its links, addresses, routes and neighbors, in our words.
//!
//! The [`kernel`](crate::kernel) room decodes rtnetlink into these; tests and the simulator make
//! them by hand.

use std::net::{IpAddr, Ipv4Addr};

use crate::fib::Prefix;

/// A kernel interface index. Stable while the interface exists; another may have it afterwards.
pub type InterfaceIndex = u32;

/// A 48-bit Ethernet address.
pub type LinkAddress = [u8; 6];

/// One step of the kernel's state towards the present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link appeared or changed.
    Link(Link),
    /// A link vanished, with everything on it.
    LinkGone(InterfaceIndex),
    /// An address was added or changed.
    Address(Address),
    /// An address was removed.
    AddressGone(Address),
    /// A route was added.
    Route(KernelRoute, Placement),
    /// A route was removed.
    RouteGone(KernelRoute),
    /// A neighbor entry was added or changed.
    Neighbor(Neighbor),
    /// A neighbor entry was removed.
    NeighborGone {
        /// The link it was on.
        interface: InterfaceIndex,
        /// Its IP address.
        address: IpAddr,
    },
    /// The result of a whole dump: replaces every link known so far.
    AllLinks(Vec<Link>),
    /// The result of a whole dump: replaces every address known so far.
    AllAddresses(Vec<Address>),
    /// The result of a whole dump: replaces every kernel route known so far.
    AllRoutes(Vec<KernelRoute>),
    /// The result of a whole dump: replaces every neighbor known so far.
    AllNeighbors(Vec<Neighbor>),
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index.
    pub index: InterfaceIndex,
    /// Its name, such as `eth0`.
    pub name: String,
    /// The largest IP packet it carries, in octets.
    pub mtu: u32,
    /// What it is.
    pub kind: LinkKind,
    /// Its own link-layer address, where it has one of 48 bits.
    pub address: Option<LinkAddress>,
    /// Set administratively up.
    pub admin_up: bool,
    /// Has carrier (the kernel's `LOWER_UP`).
    pub carrier: bool,
    /// The bridge or bond it is enslaved to.
    pub master: Option<InterfaceIndex>,
}

/// The link layers that matter to a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Ethernet framing (`ARPHRD_ETHER`): may be a port.
    Ethernet,
    /// The loopback interface.
    Loopback,
    /// Anything else (TUN, tunnels, ...): never a port by itself.
    Other,
}

/// An address of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link it is configured on.
    pub interface: InterfaceIndex,
    /// The address (`IFA_LOCAL` where present, which is this node's own end of a point-to-point
    /// address).
    pub address: IpAddr,
    /// The length of its subnet's prefix.
    pub prefix_length: u8,
    /// The other end of a point-to-point address; the subnet is then the peer's.
    pub peer: Option<IpAddr>,
    /// The broadcast address that is explicitly set, if any.
    pub broadcast: Option<Ipv4Addr>,
}

/// A route of one of the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRoute {
    /// The routing table (254 = main).
    pub table: u32,
    /// The destinations it serves.
    pub prefix: Prefix,
    /// The kernel's priority: the lowest is used.
    pub metric: u32,
    /// What it does with them.
    pub action: RouteAction,
}

/// What a route does with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RouteAction {
    /// Forward to one of these next hops (never empty).
    Forward(Vec<NextHop>),
    /// `unreachable`, `blackhole` or `prohibit`.
    Drop,
    /// `throw`: go on with the next table.
    Throw,
}

/// A next hop that a route wants; whether it can be used is decided when the Fib is compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The link to leave by.
    pub interface: InterfaceIndex,
    /// The gateway; `None` where the destination itself is on the link.
    pub gateway: Option<IpAddr>,
    /// Its share of a multipath route, from 1.
    pub weight: u16,
}

/// Where a new route stands among routes of the same table, prefix and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Before the others (the kernel's default).
    First,
    /// Behind the others (`NLM_F_APPEND`).
    Last,
    /// In place of the first (`NLM_F_REPLACE`).
    Replace,
}

/// An entry of the kernel's neighbor table (ARP, neighbor discovery).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// The link it is on.
    pub interface: InterfaceIndex,
    /// Its IP address.
    pub address: IpAddr,
    /// Its link-layer address, where known.
    pub link_address: Option<LinkAddress>,
    /// The kernel's state of it.
    pub state: NeighborState,
}

/// The kernel's neighbor states (`NUD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborState {
    /// Being asked for.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Known, not confirmed lately.
    Stale,
    /// Known, about to be asked again.
    Delay,
    /// Known, being asked again.
    Probe,
    /// Does not answer.
    Failed,
    /// Needs no resolution on this link.
    NoArp,
    /// Configured.
    Permanent,
}

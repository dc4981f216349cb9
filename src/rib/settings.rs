//! What the operator wants, as the rib needs it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Link, LinkKind};
use crate::fib::{Limits, Prefix, ReversePath, TableKind};
use crate::wire::CodePoints;

/// The operator's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The numbers by which Xcast packets are known.
    pub code_points: CodePoints,
    /// What interfaces are ports, and how they behave.
    pub ports: PortPolicy,
    /// Neighbors whose ability to handle Xcast is stated, by address.
    pub pins: BTreeMap<IpAddr, bool>,
    /// Kernel tables in the order in which they are consulted, all behind the static routes.
    pub kernel_tables: Vec<u32>,
    /// Routes that come before all tables.
    pub static_routes: Vec<StaticRoute>,
    /// Who may send, to whom, and how much.
    pub limits: Limits,
    /// Copies that stay Xcast list their live destinations alone.
    pub compact: bool,
    /// How IPv4 addresses are looked up.
    pub table: TableKind,
    /// A number that others do not know, see [`Fib::secret`](crate::fib::Fib::secret).
    pub secret: u64,
}

/// What interfaces are ports.
#[derive(Clone, Debug)]
pub enum PortPolicy {
    /// Every Ethernet interface that is not enslaved, all with the same settings.
    All(PortSettings),
    /// Those named.
    Listed(BTreeMap<String, PortSettings>),
}

/// How a port behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// The check of packets' sources.
    pub reverse_path: ReversePath,
    /// Whether its neighbors handle Xcast, where they are not pinned.
    pub neighbors: NeighborPolicy,
    /// Forward frames that were sent to the group's own link-layer address.
    pub accept_group_frames: bool,
}

/// How a port's neighbors are known to handle Xcast (WIRE.md R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborPolicy {
    /// Each is asked.
    Probe,
    /// They all do.
    All,
    /// None does.
    None,
}

/// A configured route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// The destinations it serves.
    pub prefix: Prefix,
    /// Where they go.
    pub target: StaticTarget,
}

/// Where a configured route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticTarget {
    /// To a gateway on an attached link.
    Via(IpAddr),
    /// Onto a link.
    Interface(String),
    /// Into a tunnel.
    Tunnel(String),
    /// Nowhere.
    Drop,
}

impl Settings {
    /// All interfaces are ports with neighbors that all handle Xcast, nothing is restricted.
    pub fn open(code_points: CodePoints) -> Settings {
        Settings {
            code_points,
            ports: PortPolicy::All(PortSettings::default()),
            pins: BTreeMap::new(),
            kernel_tables: vec![254],
            static_routes: Vec::new(),
            limits: Limits::default(),
            compact: false,
            table: TableKind::default(),
            secret: 0,
        }
    }

    /// Whether a link is to be a port. Loopback and enslaved interfaces never are by default.
    pub(super) fn is_port(&self, link: &Link) -> bool {
        self.port(link).is_some()
    }

    pub(super) fn port(&self, link: &Link) -> Option<&PortSettings> {
        match &self.ports {
            _ if link.kind != LinkKind::Ethernet || link.address.is_none() => None,
            PortPolicy::All(settings) => link.master.is_none().then_some(settings),
            PortPolicy::Listed(listed) => listed.get(&link.name),
        }
    }
}

impl Default for PortSettings {
    fn default() -> PortSettings {
        PortSettings {
            reverse_path: ReversePath::Strict,
            neighbors: NeighborPolicy::All,
            accept_group_frames: false,
        }
    }
}

//! Who speaks Xcast, and what they know: a Fib of each node that does.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::super::made_up::CODE_POINTS;
use super::abilene::{
    CITIES, COUNT, Node, Paths, SOURCE, across, address, address_on, degree, host, links_of,
    prefix, subnet,
};
use crate::fib::{Fib, Prefix, ReversePath, Tunnel};
use crate::rib::{
    Address, Change, KernelRoute, Link, LinkKind, Neighbor, NeighborPolicy, NeighborState, NextHop,
    PortPolicy, PortSettings, Rib, RouteAction, Settings, StaticRoute, StaticTarget, TunnelEnds,
    TunnelState,
};
use crate::wire::tunnel::Encapsulation;

/// The numbers of the kernel's interfaces begin here.
const FIRST_INTERFACE: u32 = 1;
const MAIN: u32 = 254;
/// What links carry; a tunnel less.
const MTU: u32 = 1500;
/// The port of UDP tunnels.
const UDP_PORT: u16 = 1021;

/// How those who speak Xcast are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// By the links between them alone. Others get unicast copies (RFC 5058 section 11.2).
    Natively,
    /// By tunnels between relays that have no third one on the path between them, with a routing
    /// daemon's routes (11.1).
    Backbone,
    /// By a tunnel between any two, without a routing daemon.
    Mesh,
}

impl Joined {
    pub(super) const ALL: [Joined; 3] = [Joined::Natively, Joined::Backbone, Joined::Mesh];

    /// What tables call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Joined::Natively => "native",
            Joined::Backbone => "backbone",
            Joined::Mesh => "mesh",
        }
    }

    /// The same for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Joined::Natively => "without tunnels",
            Joined::Backbone => "backbone: tunnels and a routing daemon",
            Joined::Mesh => "mesh: a tunnel between any two relays, no routing daemon",
        }
    }
}

/// Which routers are first to speak Xcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Order {
    /// By the number of their links, most first; of equals the western one.
    Degree,
    /// The sender's own, then the others by degree.
    Source,
}

impl Order {
    /// All cities.
    pub(super) fn cities(self) -> Vec<usize> {
        let mut cities: Vec<usize> = (0..COUNT).collect();
        let is_later = |city: &usize| self == Order::Degree || *city != SOURCE;
        cities.sort_by_key(|city| (is_later(city), COUNT - degree(*city), *city));
        cities
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Order::Degree => "most links first, of equals the western one",
            Order::Source => "the sender's own first, then most links first",
        }
    }
}

/// A network in which some routers speak Xcast.
pub(super) struct Deployment<'a> {
    pub(super) paths: &'a Paths,
    joined: Joined,
    /// The cities of the routers that speak it.
    aware: &'a [usize],
}

impl<'a> Deployment<'a> {
    pub(super) fn new(paths: &'a Paths, joined: Joined, aware: &'a [usize]) -> Deployment<'a> {
        Deployment { paths, joined, aware }
    }

    /// Those routers, and the host that sends.
    fn speakers(&self) -> impl Iterator<Item = Node> {
        self.aware.iter().copied().chain([host(SOURCE)])
    }

    /// Of each of them.
    pub(super) fn fibs(&self) -> BTreeMap<Node, Fib> {
        self.speakers().map(|node| (node, self.fib(node))).collect()
    }

    /// All tunnels into which something is routed: from, to, the cities whose prefixes are.
    pub(super) fn all_tunnels(&self) -> Vec<(Node, Node, Vec<usize>)> {
        let of = |from| self.tunnels(from).into_iter().map(move |(to, cities)| (from, to, cities));
        self.speakers().flat_map(of).collect()
    }

    fn fib(&self, node: Node) -> Fib {
        let tunnels = self.tunnels(node);
        let mut settings = Settings::open(CODE_POINTS);
        settings.ports = PortPolicy::All(PortSettings {
            reverse_path: ReversePath::Strict,
            neighbors: NeighborPolicy::None,
            accept_group_frames: false,
        });
        if self.joined == Joined::Natively {
            settings.pins = links_of(node)
                .map(|link| (link, across(link, node)))
                .filter(|(_, neighbor)| self.aware.contains(neighbor))
                .map(|(link, neighbor)| (address_on(link, neighbor).into(), true))
                .collect();
        }
        settings.static_routes = tunnels
            .iter()
            .flat_map(|(relay, cities)| cities.iter().map(move |city| (*city, relay)))
            .filter_map(|(city, relay)| Some((prefix(city)?, relay)))
            .map(|(prefix, relay)| StaticRoute {
                prefix,
                target: StaticTarget::Tunnel(CITIES[*relay].to_owned()),
            })
            .collect();
        let mut rib = Rib::new(settings);
        for change in self.surroundings(node) {
            rib.apply(change);
        }
        let ends = tunnels.keys().map(|relay| ends(node, *relay));
        let ends = ends.chain(self.clients(node).map(|client| ends_of_host(node, client)));
        let ends: Vec<TunnelEnds> = ends.collect();
        let names: Vec<String> = ends.iter().map(|ends| ends.name.clone()).collect();
        rib.set_tunnels(ends);
        for name in &names {
            rib.set_tunnel_state(name, TunnelState { up: true, mtu: MTU - 28 });
        }
        rib.compile()
    }

    /// What the kernel would tell: links, neighbors, and the routes of unicast.
    fn surroundings(&self, node: Node) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut routes = Vec::new();
        for link in links_of(node) {
            let (interface, neighbor) = (interface(link), across(link, node));
            changes.push(Change::Link(Link {
                index: interface,
                name: format!("p{link}"),
                mtu: MTU,
                kind: LinkKind::Ethernet,
                address: Some(link_address(link, node)),
                admin_up: true,
                carrier: true,
                master: None,
            }));
            changes.push(Change::Address(Address {
                interface,
                address: address_on(link, node).into(),
                prefix_length: 24,
                peer: None,
                broadcast: None,
            }));
            changes.push(Change::Neighbor(Neighbor {
                interface,
                address: address_on(link, neighbor).into(),
                link_address: Some(link_address(link, neighbor)),
                state: NeighborState::Permanent,
            }));
            routes.extend(subnet(link).map(|prefix| route(prefix, link, None)));
        }
        for city in (0..COUNT).filter(|city| node % COUNT != *city) {
            let Some(link) = self.paths.next(node, city) else { continue };
            let gateway = address_on(link, across(link, node)).into();
            routes.extend(prefix(city).map(|prefix| route(prefix, link, Some(gateway))));
        }
        changes.push(Change::AllRoutes(routes));
        changes
    }

    /// The relay that publishes a city's prefix, and that its host sends to: the nearest one.
    pub(super) fn relay_of(&self, city: usize) -> Option<Node> {
        let relays = self.aware.iter().copied();
        relays.min_by_key(|relay| self.paths.distance(*relay, city))
    }

    /// The relay that comes next on the way from one to another.
    pub(super) fn next_relay(&self, from: Node, to: Node) -> Node {
        match self.joined {
            Joined::Mesh => to,
            _ => {
                let mut beyond = self.paths.beyond(from, to);
                beyond.find(|node| self.aware.contains(node)).unwrap_or(to)
            }
        }
    }

    /// The tunnels of a node to relays, each with the cities whose prefixes are routed into it.
    fn tunnels(&self, node: Node) -> BTreeMap<Node, Vec<usize>> {
        let mut tunnels: BTreeMap<Node, Vec<usize>> = BTreeMap::new();
        if self.joined == Joined::Natively {
            return tunnels;
        }
        for city in (0..COUNT).filter(|city| host(*city) != node) {
            let Some(publisher) = self.relay_of(city) else { continue };
            let next = match node.checked_sub(COUNT) {
                Some(own) => self.relay_of(own).unwrap_or(publisher),
                None if publisher == node => continue,
                None => self.next_relay(node, publisher),
            };
            tunnels.entry(next).or_default().push(city);
        }
        tunnels
    }

    /// The hosts that send to a relay.
    fn clients(&self, relay: Node) -> impl Iterator<Item = Node> {
        let is_client = self.joined != Joined::Natively && self.relay_of(SOURCE) == Some(relay);
        is_client.then(|| host(SOURCE)).into_iter()
    }
}

/// One end of a tunnel to a relay: a host's is one of UDP.
fn ends(node: Node, relay: Node) -> TunnelEnds {
    match node >= COUNT {
        true => tunnel(node, relay, Encapsulation::Udp, UDP_PORT, CITIES[relay]),
        false => tunnel(node, relay, Encapsulation::Ipip, 0, CITIES[relay]),
    }
}

/// The other end of a host's tunnel.
fn ends_of_host(relay: Node, client: Node) -> TunnelEnds {
    tunnel(relay, client, Encapsulation::Udp, UDP_PORT, "host")
}

fn tunnel(
    node: Node,
    other: Node,
    encapsulation: Encapsulation,
    port: u16,
    name: &str,
) -> TunnelEnds {
    let end = |node| SocketAddr::new(address(node).into(), port);
    TunnelEnds {
        name: name.to_owned(),
        tunnel: Tunnel { encapsulation, local: end(node), remote: end(other), keyed: false },
        interface: None,
        opened: 0,
        strict: false,
        near: Vec::new(),
        preference: 0,
    }
}

/// The number of a link's interface.
pub(super) fn interface(link: usize) -> u32 {
    FIRST_INTERFACE + link as u32
}

/// The link of an interface.
pub(super) fn link_of(interface: u32) -> usize {
    (interface - FIRST_INTERFACE) as usize
}

fn link_address(link: usize, node: Node) -> [u8; 6] {
    [2, 0, 0, 0, link as u8, node as u8]
}

fn route(prefix: Prefix, link: usize, gateway: Option<IpAddr>) -> KernelRoute {
    let hop = NextHop { interface: interface(link), gateway, weight: 1 };
    KernelRoute { table: MAIN, prefix, metric: 0, action: RouteAction::Forward(vec![hop]) }
}

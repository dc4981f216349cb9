//! The routers under test. All have the same ports, neighbors and routes; they differ in limits,
//! MTUs, reverse-path modes, and in what is compiled by the Rib.
//!
//! Over IPv4 host `h` of network `n` is 10.n.0.h, over IPv6 2001:db8:n::h. Networks 0 to 5 are the
//! links of the ports; those behind gateways begin at [`BEHIND`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xcast::fib::{
    Capability, Entry, Fib, FibBuilder, Hop, Limits, Port, PortId, Prefix, ReversePath,
};
use xcast::forward::Output;
use xcast::wire::{CodePoints, ethernet};

use super::reading::{PORTS_OPTION, PROTOCOL, ROUTING_TYPE};

pub(crate) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
pub(crate) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114);
pub(crate) const SECRET: u64 = 0x5ec;
/// Port 3 is down, slot 4 is empty.
pub(crate) const PORTS: PortId = 6;
/// The first network behind a gateway, and behind the last.
pub(crate) const BEHIND: u16 = 20;
pub(crate) const BEHIND_END: u16 = 31;
/// Hosts of each link: this node; a gateway that speaks Xcast; one that does not; the same without
/// a link-layer address.
const OWN: u16 = 1;
const CAPABLE: u16 = 2;
const INCAPABLE: u16 = 3;
const UNRESOLVED: u16 = 4;
const UNRESOLVED_INCAPABLE: u16 = 5;

/// A router under test, and the room it works in.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) fib: Fib,
    pub(crate) out: Output,
}

/// How a node differs from the others.
struct Traits {
    name: &'static str,
    reverse_path: ReversePath,
    accept_group_frames: bool,
    limits: Limits,
    compact: bool,
    mtus: [u32; PORTS as usize],
    /// The ports there are.
    ports: &'static [PortId],
    default_route: bool,
}

pub(crate) fn code_points() -> CodePoints {
    CodePoints {
        ip_protocol: PROTOCOL,
        all_routers_v4: GROUP_V4,
        all_routers_v6: GROUP_V6,
        routing_type: ROUTING_TYPE,
        ports_option: PORTS_OPTION,
        hop_by_hop_option: 0x1e,
    }
}

pub(crate) fn address(is_v6: bool, network: u16, host: u16) -> IpAddr {
    match is_v6 {
        true => Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host).into(),
        false => Ipv4Addr::new(10, network as u8, (host >> 8) as u8, host as u8).into(),
    }
}

fn prefix(is_v6: bool, network: u16) -> Prefix {
    Prefix::new(address(is_v6, network, 0), if is_v6 { 48 } else { 16 }).unwrap()
}

pub(crate) fn all() -> Vec<Node> {
    let open = || Limits { icmp_errors_per_second: 1_000_000, ..Limits::default() };
    let plain = || Traits {
        name: "plain",
        reverse_path: ReversePath::Off,
        accept_group_frames: false,
        limits: Limits { allow_icmp_echo: true, ..open() },
        compact: false,
        mtus: [1500, 1500, 400, 1500, 1500, 100],
        ports: &[0, 1, 2, 3, 5],
        default_route: false,
    };
    let few = [(false, 0), (false, 20), (true, 0), (true, 20)];
    let few = few.map(|(is_v6, network)| prefix(is_v6, network)).to_vec();
    let traits = [
        plain(),
        Traits { name: "strict", reverse_path: ReversePath::Strict, limits: open(), ..plain() },
        Traits {
            name: "compact",
            reverse_path: ReversePath::Loose,
            compact: true,
            default_route: true,
            ..plain()
        },
        Traits {
            name: "lists",
            limits: Limits { sources: few.clone(), destinations: few, ..open() },
            ..plain()
        },
        Traits {
            name: "budget",
            accept_group_frames: true,
            limits: Limits { destinations_per_second: 60, ..open() },
            ..plain()
        },
        Traits { name: "narrow", mtus: [576, 68, 1280, 1, 0, 28], default_route: true, ..plain() },
        Traits { name: "wide", mtus: [65_535; 6], limits: Limits::default(), ..plain() },
        Traits { name: "one port", ports: &[0], limits: Limits::default(), ..plain() },
    ];
    let mut nodes: Vec<Node> = traits.iter().map(built).collect();
    nodes.extend(super::ribs::all().into_iter().map(|(name, fib)| node(name, fib)));
    nodes
}

/// A router that takes anything and sends everything one way.
pub(crate) fn next_router() -> Node {
    let mut fib = FibBuilder::new(code_points(), vec![Some(port(0, 65_535))]);
    let gateways = [address(false, 0, CAPABLE), address(true, 0, CAPABLE)];
    for gateway in gateways {
        fib.adjacency(0, gateway, Some(rewrite(0, CAPABLE)), Capability::Capable);
    }
    fib.limits(Limits { allow_icmp_echo: true, ..Limits::default() });
    fib.begin_table();
    for (gateway, all) in gateways.into_iter().zip(["0.0.0.0/0", "::/0"]) {
        fib.route_via(all.parse().unwrap(), vec![Hop { port: 0, gateway, weight: 1 }]);
    }
    node("next", fib.finish(1))
}

fn node(name: &'static str, fib: Fib) -> Node {
    let out = Output::new(&fib);
    Node { name, fib, out }
}

fn port(id: PortId, mtu: u32) -> Port {
    Port {
        interface: 10 + u32::from(id),
        instance: 0,
        name: format!("p{id}"),
        mtu,
        link_address: [2, 0, 0, 0, 0, id as u8],
        addresses: vec![
            address(false, id, OWN),
            address(true, id, OWN),
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(),
        ],
        up: id != 3,
        reverse_path: ReversePath::Off,
        accept_group_frames: false,
        tunnel: None,
    }
}

fn rewrite(id: PortId, host: u16) -> [u8; 14] {
    ethernet::header([4, 0, 0, 0, id as u8, host as u8], [2, 0, 0, 0, 0, id as u8], 0x0800)
}

fn built(traits: &Traits) -> Node {
    let slot = |id: PortId| {
        traits.ports.contains(&id).then(|| Port {
            reverse_path: traits.reverse_path,
            accept_group_frames: traits.accept_group_frames,
            ..port(id, traits.mtus[usize::from(id)])
        })
    };
    let mut fib = FibBuilder::new(code_points(), (0..PORTS).map(slot).collect());
    fib.limits(traits.limits.clone());
    fib.compact(traits.compact);
    fib.secret(SECRET);
    for id in traits.ports {
        add_neighbors(&mut fib, *id);
    }
    fib.begin_table();
    for is_v6 in [false, true] {
        add_routes(&mut fib, traits, is_v6);
    }
    let link_local: Prefix = "169.254.0.0/16".parse().unwrap();
    fib.route(link_local, Entry::OnLink(traits.ports.len().min(2) as PortId - 1));
    fib.neighbors();
    for id in traits.ports {
        for is_v6 in [false, true] {
            fib.route(Prefix::host(address(is_v6, *id, OWN)), Entry::Local);
        }
        fib.route(Prefix::host(address(false, *id, 255)), Entry::Bad);
    }
    node(traits.name, fib.finish(1))
}

fn add_neighbors(fib: &mut FibBuilder, id: PortId) {
    for is_v6 in [false, true] {
        for (host, known, capability) in [
            (CAPABLE, true, Capability::Capable),
            (INCAPABLE, true, Capability::Incapable),
            (UNRESOLVED, false, Capability::Capable),
            (UNRESOLVED_INCAPABLE, false, Capability::Incapable),
        ] {
            let rewrite = known.then(|| rewrite(id, host));
            fib.adjacency(id, address(is_v6, id, host), rewrite, capability);
        }
    }
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, CAPABLE);
    fib.adjacency(id, link_local.into(), Some(rewrite(id, 9)), Capability::Capable);
}

fn add_routes(fib: &mut FibBuilder, traits: &Traits, is_v6: bool) {
    let hop =
        |port: PortId, host: u16| Hop { port, gateway: address(is_v6, port, host), weight: 1 };
    if traits.default_route {
        let all = if is_v6 { "::/0" } else { "0.0.0.0/0" };
        fib.route_via(all.parse().unwrap(), vec![hop(1, CAPABLE)]);
    }
    let routes = [
        (20, vec![hop(0, CAPABLE)]),
        (21, vec![hop(1, INCAPABLE)]),
        (22, vec![hop(0, CAPABLE), Hop { weight: 2, ..hop(1, CAPABLE) }]),
        (26, vec![hop(2, CAPABLE)]),
        (27, vec![hop(0, UNRESOLVED)]),
        (28, vec![hop(0, UNRESOLVED_INCAPABLE)]),
        (29, vec![hop(5, CAPABLE)]),
        (30, vec![hop(2, INCAPABLE)]),
    ];
    for (network, hops) in routes {
        let hops: Vec<Hop> =
            hops.into_iter().filter(|hop| traits.ports.contains(&hop.port)).collect();
        match hops.is_empty() {
            true => fib.route(prefix(is_v6, network), Entry::PortDown),
            false => fib.route_via(prefix(is_v6, network), hops),
        }
    }
    for (network, entry) in [(23, Entry::Drop), (24, Entry::PortDown), (25, Entry::TunnelDown)] {
        fib.route(prefix(is_v6, network), entry);
    }
    for id in traits.ports {
        let entry = if *id == 3 { Entry::PortDown } else { Entry::OnLink(*id) };
        fib.route(prefix(is_v6, *id), entry);
    }
}

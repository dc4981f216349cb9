//! Routers under test whose Fib is compiled by the Rib, with the addresses of the others.

use std::net::{IpAddr, Ipv6Addr};

use xcast::fib::{Fib, Prefix, ReversePath};
use xcast::rib::{
    Address, Change, KernelRoute, Link, LinkKind, Neighbor, NeighborPolicy, NeighborState, NextHop,
    Placement, PortPolicy, PortSettings, Rib, RouteAction, Settings, StaticRoute, StaticTarget,
};

use super::nodes::{SECRET, address, code_points};

const LINKS: u16 = 4;
const MTUS: [u32; LINKS as usize] = [1500, 9000, 600, 1500];

pub(crate) fn all() -> Vec<(&'static str, Fib)> {
    let settings = |ports: PortSettings| Settings {
        ports: PortPolicy::All(ports),
        secret: SECRET,
        ..Settings::open(code_points())
    };
    let ordinary = compiled(settings(PortSettings::default()));
    let ports = PortSettings {
        reverse_path: ReversePath::Off,
        neighbors: NeighborPolicy::Probe,
        accept_group_frames: true,
    };
    let probing = compiled(Settings { compact: true, ..settings(ports) });
    vec![("rib", ordinary), ("rib, compact, probing", probing)]
}

fn index(link: u16) -> u32 {
    100 + u32::from(link)
}

fn compiled(mut settings: Settings) -> Fib {
    for is_v6 in [false, true] {
        let length = if is_v6 { 48 } else { 16 };
        let mut add = |network: u16, target: StaticTarget| {
            let prefix = Prefix::new(address(is_v6, network, 0), length).unwrap();
            settings.static_routes.push(StaticRoute { prefix, target });
        };
        add(23, StaticTarget::Drop);
        add(25, StaticTarget::Tunnel("t0".to_owned()));
        add(20, StaticTarget::Via(address(is_v6, 0, 2)));
        settings.pins.insert(address(is_v6, 1, 3), false);
    }
    let mut rib = Rib::new(settings);
    for link in 0..LINKS {
        for change in link_changes(link).into_iter().chain(route_changes(link)) {
            rib.apply(change);
        }
        for is_v6 in [false, true] {
            rib.set_probed(index(link), address(is_v6, link, 2), Some(true));
        }
    }
    rib.compile()
}

/// A link, its addresses and its neighbors. The last link has no carrier.
fn link_changes(link: u16) -> Vec<Change> {
    let interface = index(link);
    let mut changes = vec![Change::Link(Link {
        index: interface,
        name: format!("eth{link}"),
        mtu: MTUS[usize::from(link)],
        kind: LinkKind::Ethernet,
        address: Some([2, 0, 0, 0, 0, link as u8]),
        admin_up: true,
        carrier: link + 1 < LINKS,
        master: None,
    })];
    let link_local = |host| IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host));
    let own = [(address(false, link, 1), 24), (address(true, link, 1), 64), (link_local(1), 64)];
    for (address, prefix_length) in own {
        let (peer, broadcast) = (None, None);
        changes.push(Change::Address(Address {
            interface,
            address,
            prefix_length,
            peer,
            broadcast,
        }));
    }
    for host in 2..5 {
        for address in [address(false, link, host), address(true, link, host), link_local(host)] {
            changes.push(Change::Neighbor(Neighbor {
                interface,
                address,
                link_address: (host < 4).then_some([4, 0, 0, 0, link as u8, host as u8]),
                state: if host < 4 { NeighborState::Stale } else { NeighborState::Incomplete },
            }));
        }
    }
    changes
}

/// Routes onto a link and through its gateways.
fn route_changes(link: u16) -> Vec<Change> {
    let interface = index(link);
    let mut changes = Vec::new();
    for is_v6 in [false, true] {
        let mut add = |network: u16, length: u8, gateways: &[(u16, u16)]| {
            let hop = |(link, host): &(u16, u16)| NextHop {
                interface: index(*link),
                gateway: Some(address(is_v6, *link, *host)),
                weight: 1 + host % 2,
            };
            let hops = match gateways {
                [] => vec![NextHop { interface, gateway: None, weight: 1 }],
                _ => gateways.iter().map(hop).collect(),
            };
            let route = KernelRoute {
                table: 254,
                prefix: Prefix::new(address(is_v6, network, 0), length).unwrap(),
                metric: 0,
                action: RouteAction::Forward(hops),
            };
            changes.push(Change::Route(route, Placement::Last));
        };
        let (subnet, wide) = if is_v6 { (64, 48) } else { (24, 16) };
        add(link, subnet, &[]);
        match link {
            0 => add(22, wide, &[(0, 2), (1, 2)]),
            1 => add(21, wide, &[(1, 3)]),
            2 => add(26, wide, &[(2, 2)]),
            _ => add(24, wide, &[(3, 2)]),
        }
        if link == 0 {
            add(27, wide, &[(0, 4)]);
        }
    }
    changes
}

//! What nodes that speak Xcast know: a Fib of each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xcast::fib::{
    Capability, Entry, Fib, FibBuilder, Hop, NO_LINK, Port, PortId, Prefix, ReversePath,
};
use xcast::wire::CodePoints;

use super::Settings;
use super::addresses::Addresses;
use crate::underlay::{HostId, RouterId, Underlay};

/// The code points of RFC 4727, as a test network has them.
pub(super) const CODE_POINTS: CodePoints = CodePoints {
    ip_protocol: 253,
    all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
    all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
    routing_type: 253,
    ports_option: 0x5e,
    hop_by_hop_option: 0x1e,
};

/// What every router is called on each of its links. Nobody routes there.
const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The port of a host.
pub(super) const UPLINK: PortId = 0;

/// The Fib of a router: its ports are its links to routers, in their order, then those to its hosts.
pub(super) fn of_router(
    underlay: &Underlay,
    addresses: &Addresses,
    speaks: &[bool],
    settings: &Settings,
    router: RouterId,
) -> Fib {
    let neighbors = underlay.neighbors(router);
    let hosts = addresses.at(router);
    let mut fib = builder(neighbors.len() + hosts.len(), settings);
    let gateway = router_address(settings);
    for (port, neighbor) in (0..).zip(neighbors) {
        fib.adjacency(port, gateway, Some(NO_LINK), capability(speaks[neighbor.router]));
    }
    let next: Vec<Option<usize>> =
        (0..underlay.router_count()).map(|to| underlay.next(router, to)).collect();
    for (prefix, place) in addresses.aggregate(&next) {
        fib.route_via(prefix, vec![Hop { port: place as PortId, gateway, weight: 1 }]);
    }
    for (port, host) in (neighbors.len()..).zip(hosts) {
        let (port, address) = (port as PortId, addresses.of(*host, router));
        fib.adjacency(port, address, Some(NO_LINK), Capability::Incapable);
        fib.route(Prefix::host(address), Entry::OnLink(port));
    }
    fib.neighbors();
    fib.finish(router as u64)
}

/// The Fib of a host whose router speaks Xcast or does not. Where its `own` address is left out,
/// which only a packet to itself would ask for, hosts share it.
pub(super) fn of_host(settings: &Settings, router_speaks: bool, own: Option<IpAddr>) -> Fib {
    let mut fib = builder(1, settings);
    let gateway = router_address(settings);
    fib.adjacency(UPLINK, gateway, Some(NO_LINK), capability(router_speaks));
    let any: IpAddr = match settings.is_v6 {
        false => Ipv4Addr::UNSPECIFIED.into(),
        true => Ipv6Addr::UNSPECIFIED.into(),
    };
    if let Some(all) = Prefix::new(any, 0) {
        fib.route_via(all, vec![Hop { port: UPLINK, gateway, weight: 1 }]);
    }
    fib.begin_table();
    own.into_iter().for_each(|own| fib.route(Prefix::host(own), Entry::Local));
    fib.finish(0)
}

/// The port of a router to one of its hosts.
pub(super) fn host_port(
    underlay: &Underlay,
    addresses: &Addresses,
    router: RouterId,
    host: HostId,
) -> PortId {
    (underlay.neighbors(router).len() + addresses.place(host)) as PortId
}

fn router_address(settings: &Settings) -> IpAddr {
    match settings.is_v6 {
        false => ROUTER_V4.into(),
        true => ROUTER_V6.into(),
    }
}

fn capability(speaks: bool) -> Capability {
    match speaks {
        true => Capability::Capable,
        false => Capability::Incapable,
    }
}

fn builder(ports: usize, settings: &Settings) -> FibBuilder {
    let port = |index: usize| Port {
        interface: index as u32 + 1,
        instance: 0,
        name: format!("p{index}"),
        mtu: settings.mtu,
        link_address: [0; 6],
        addresses: Vec::new(),
        up: true,
        reverse_path: ReversePath::Strict,
        accept_group_frames: false,
        tunnel: None,
    };
    let mut builder =
        FibBuilder::new(CODE_POINTS, (0..ports).map(|index| Some(port(index))).collect());
    builder.compact(settings.compact);
    builder
}

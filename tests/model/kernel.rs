//! Tells a Rib what a node of the model is, as its kernel would: in any order.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use xcast::rib::{
    Address, Change, KernelRoute, Link, LinkKind, Neighbor, NeighborPolicy, NeighborState, NextHop,
    Placement, PortPolicy, PortSettings, Rib, RouteAction, Settings,
};
use xcast::wire::CodePoints;

use super::message::{GROUP_V4, GROUP_V6, PORTS_OPTION, PROTOCOL, ROUTING_TYPE};
use super::{Action, Node};

pub(crate) fn link_address(interface: u32) -> [u8; 6] {
    [2, 0, 0, 0, 0, interface as u8]
}

/// The address by which the neighbor with this number is known on a wire.
pub(crate) fn neighbor_address(number: usize) -> [u8; 6] {
    let [high, low] = (number as u16).to_be_bytes();
    [4, 0, 0, 0, high, low]
}

fn settings(node: &Node) -> Settings {
    let mut settings = Settings::open(CodePoints {
        ip_protocol: PROTOCOL,
        all_routers_v4: GROUP_V4,
        all_routers_v6: GROUP_V6,
        routing_type: ROUTING_TYPE,
        ports_option: PORTS_OPTION,
        hop_by_hop_option: 0x1e,
    });
    settings.kernel_tables = node.tables.clone();
    settings.compact = node.compact;
    settings.secret = 99;
    settings.limits.sources = node.sources.clone();
    settings.limits.destinations = node.destinations.clone();
    settings.limits.allow_icmp_echo = node.allow_icmp_echo;
    settings.limits.icmp_errors_per_second = 1_000_000;
    let ports = node.interfaces.iter().map(|interface| {
        let settings = PortSettings {
            reverse_path: interface.reverse_path,
            neighbors: NeighborPolicy::Probe,
            accept_group_frames: interface.accept_group_frames,
        };
        (format!("eth{}", interface.index), settings)
    });
    settings.ports = PortPolicy::Listed(BTreeMap::from_iter(ports));
    settings
}

pub(crate) fn rib(node: &Node, rng: &mut impl Rng) -> Rib {
    let mut changes: Vec<Change> = Vec::new();
    let interfaces = node.interfaces.iter();
    changes.extend(interfaces.map(|interface| {
        Change::Link(Link {
            index: interface.index,
            name: format!("eth{}", interface.index),
            mtu: interface.mtu as u32,
            kind: LinkKind::Ethernet,
            address: Some(link_address(interface.index)),
            admin_up: true,
            carrier: interface.up,
            master: None,
        })
    }));
    changes.extend(node.own.iter().map(|&(interface, address)| {
        let prefix_length = if address.is_ipv6() { 64 } else { 24 };
        let (peer, broadcast) = (None, None);
        Change::Address(Address { interface, address, prefix_length, peer, broadcast })
    }));
    for route in &node.routes {
        let hop = |interface, gateway, weight| NextHop { interface, gateway, weight };
        let action = match &route.action {
            Action::OnLink(interface) => RouteAction::Forward(vec![hop(*interface, None, 1)]),
            Action::Via(group) => {
                let hops =
                    group.iter().map(|&(interface, to, weight)| hop(interface, Some(to), weight));
                RouteAction::Forward(hops.collect())
            }
            Action::Drop => RouteAction::Drop,
            Action::Throw => RouteAction::Throw,
        };
        let (table, prefix, metric) = (route.table, route.prefix, route.metric);
        let route = KernelRoute { table, prefix, metric, action };
        changes.push(Change::Route(route, Placement::First));
    }
    for (number, &(interface, address)) in node.neighbors.iter().enumerate() {
        let link_address = Some(neighbor_address(number));
        let state = NeighborState::Reachable;
        changes.push(Change::Neighbor(Neighbor { interface, address, link_address, state }));
    }
    changes.shuffle(rng);
    let mut rib = Rib::new(settings(node));
    changes.into_iter().for_each(|change| {
        rib.apply(change);
    });
    for &(interface, address) in &node.capable {
        rib.set_probed(interface, address, Some(true));
    }
    for &(interface, address) in &node.neighbors {
        // Unknown and incapable are one.
        if !node.capable.contains(&(interface, address)) && rng.random_bool(0.5) {
            rib.set_probed(interface, address, Some(false));
        }
    }
    rib
}

//! Rib, Fib and packet path together against a slow, obvious model, over random nodes and
//! packets: the same copies to the last bit, the same drops, and the conservation law. A failing
//! case prints its seed; `XCAST_TEST_SEED=N` runs that one alone, `XCAST_TEST_CASES=N` more.

#![allow(clippy::unwrap_used)]

mod model;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Action, Copy, Fields, GROUP, Node, PROTOCOL, Route};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xcast::fib::{Fib, Prefix};
use xcast::forward::{
    Counters, DropReason, LINK_HEADER_LEN, Output, Packet, Target, Time, process,
};
use xcast::rib::{
    Address, Change, KernelRoute, Link, LinkKind, Neighbor, NeighborState, NextHop, Rib,
    RouteAction, Settings,
};
use xcast::wire::{CodePoints, xcast4};

/// The first interface; the packets come in by it, from a source on its link.
const INGRESS: u32 = 10;
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 77);

fn link_address(interface: u32) -> [u8; 6] {
    [2, 0, 0, 0, 0, interface as u8]
}

/// The address by which the model's neighbor is known on a wire.
fn neighbor_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [4, 0, a, b, c, d]
}

fn random_node(rng: &mut impl Rng) -> Node {
    let interfaces: Vec<u32> = (INGRESS..INGRESS + rng.random_range(1..5)).collect();
    let up = |&interface: &u32| interface == INGRESS;
    let mut node = Node {
        ingress: INGRESS,
        up: interfaces.iter().copied().filter(|i| up(i) || rng.random_bool(0.85)).collect(),
        tables: if rng.random_bool(0.5) { vec![254] } else { vec![100, 254] },
        ..Node::default()
    };
    for &interface in &interfaces {
        // A subnet on every link, this node's address being .1.
        let subnet = |host| Ipv4Addr::new(10, interface as u8, 0, host);
        node.own.push(subnet(1));
        node.broadcast.push(subnet(255));
        let prefix = Prefix::new(subnet(0).into(), 24).unwrap();
        let action = Action::OnLink(interface);
        node.routes.push(Route { table: 254, prefix, metric: 0, action });
        for host in 2..6 {
            if rng.random_bool(0.7) {
                node.neighbors.push((interface, subnet(host)));
            }
            if rng.random_bool(0.2) {
                node.incapable.push(subnet(host));
            }
        }
    }
    for _ in 0..rng.random_range(0..20) {
        let interface = interfaces[rng.random_range(0..interfaces.len())];
        let gateway = Ipv4Addr::new(10, interface as u8, 0, rng.random_range(2..6));
        let action = match rng.random_range(0..10) {
            0 => Action::Drop,
            1 => Action::Throw,
            2 => Action::OnLink(interface),
            _ => Action::Via(interface, gateway),
        };
        let base = Ipv4Addr::new(20, rng.random_range(0..3), rng.random_range(0..3), 0);
        let length = [0, 8, 14, 16, 20, 24, 30, 32][rng.random_range(0..8)];
        let prefix = Prefix::new(base.into(), length).unwrap();
        let table = node.tables[rng.random_range(0..node.tables.len())];
        let metric = rng.random_range(0..4);
        let same = |r: &Route| (r.table, r.prefix, r.metric) == (table, prefix, metric);
        if !node.routes.iter().any(same) {
            node.routes.push(Route { table, prefix, metric, action });
        }
    }
    node
}

fn rib_of(node: &Node, rng: &mut impl Rng) -> Rib {
    let mut settings = Settings::open(CodePoints {
        ip_protocol: PROTOCOL,
        all_routers_v4: GROUP,
        all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
        routing_type: 253,
        ports_option: 0x5e,
    });
    settings.kernel_tables = node.tables.clone();
    settings.pins = node.incapable.iter().map(|address| (IpAddr::V4(*address), false)).collect();
    let mut rib = Rib::new(settings);
    let mut changes: Vec<Change> = Vec::new();
    for own in &node.own {
        let interface = u32::from(own.octets()[1]);
        let address = (*own).into();
        changes.push(Change::Address(Address {
            interface,
            address,
            prefix_length: 24,
            peer: None,
            broadcast: None,
        }));
        changes.push(Change::Link(Link {
            index: interface,
            name: format!("eth{interface}"),
            mtu: 1500,
            kind: LinkKind::Ethernet,
            address: Some(link_address(interface)),
            admin_up: true,
            carrier: node.up.contains(&interface),
            master: None,
        }));
    }
    for route in &node.routes {
        let forward = |interface, gateway: Option<Ipv4Addr>| {
            let gateway = gateway.map(IpAddr::V4);
            RouteAction::Forward(vec![NextHop { interface, gateway, weight: 1 }])
        };
        let action = match route.action {
            Action::OnLink(interface) => forward(interface, None),
            Action::Via(interface, gateway) => forward(interface, Some(gateway)),
            Action::Drop => RouteAction::Drop,
            Action::Throw => RouteAction::Throw,
        };
        let (table, prefix, metric) = (route.table, route.prefix, route.metric);
        let route = KernelRoute { table, prefix, metric, action };
        changes.push(Change::Route(route, xcast::rib::Placement::First));
    }
    for &(interface, address) in &node.neighbors {
        changes.push(Change::Neighbor(Neighbor {
            interface,
            address: address.into(),
            link_address: Some(neighbor_address(address)),
            state: NeighborState::Reachable,
        }));
    }
    // The kernel may say it in any order.
    for at in (1..changes.len()).rev() {
        changes.swap(at, rng.random_range(0..=at));
    }
    changes.into_iter().for_each(|change| {
        rib.apply(change);
    });
    rib
}

fn random_fields(node: &Node, rng: &mut impl Rng) -> Fields {
    let count = match rng.random_range(0..10) {
        0 => xcast4::DESTINATIONS_MAX,
        _ => rng.random_range(1..20),
    };
    let mut destination = || match rng.random_range(0..20) {
        0 => Ipv4Addr::from_bits(rng.random()),
        1 => node.own[rng.random_range(0..node.own.len())],
        2 => node.broadcast[rng.random_range(0..node.broadcast.len())],
        3..9 => Ipv4Addr::new(10, 10 + rng.random_range(0..5), 0, rng.random_range(2..8)),
        _ => Ipv4Addr::new(20, rng.random_range(0..3), rng.random_range(0..3), rng.random()),
    };
    let destinations: Vec<Ipv4Addr> = (0..count).map(|_| destination()).collect();
    let live = match rng.random_bool(0.5) {
        true => u128::MAX,
        false => rng.random::<u128>() | 1 << (127 - rng.random_range(0..count)),
    };
    let header = xcast4::Repr {
        anonymous: rng.random_bool(0.2),
        channel: rng.random(),
        protocol: 17,
        bitmap: live & xcast4::all(count),
        ports: (0..if rng.random_bool(0.3) { count } else { 0 }).map(|_| rng.random()).collect(),
        ds_bytes: (0..if rng.random_bool(0.3) { count } else { 0 }).map(|_| ds_byte(rng)).collect(),
        destinations,
        ..xcast4::Repr::default()
    };
    let payload = (0..rng.random_range(0..60)).map(|_| rng.random()).collect();
    let ttl = [0, 1, 2, 64, 255][rng.random_range(0..5)];
    let traffic_class = rng.random();
    Fields { source: SOURCE, ttl, traffic_class, header, payload }
}

/// Mostly DSCPs that have names, so that classes meet.
fn ds_byte(rng: &mut impl Rng) -> u8 {
    let named = [0, 1, 8, 10, 12, 18, 26, 28, 30, 34, 38, 44, 46, 48];
    match rng.random_bool(0.8) {
        true => named[rng.random_range(0..named.len())] << 2,
        false => rng.random(),
    }
}

fn run(fib: &Fib, fields: &Fields) -> (Vec<Copy>, Counters) {
    let port = fib.ports().iter().position(|p| p.as_ref().is_some_and(|p| p.interface == INGRESS));
    let mut buffer = vec![0; LINK_HEADER_LEN];
    buffer.extend(fields.packet());
    let mut out = Output::new(fib);
    let packet = Packet {
        buffer: &mut buffer,
        start: LINK_HEADER_LEN,
        port: port.map(|port| port as u16),
        to_group: false,
        index: 0,
    };
    process(fib, packet, Time(0), &mut out);
    let mut copies = Vec::new();
    for replica in out.replicas().to_vec() {
        let (head, tail) = out.pieces(&replica, &buffer);
        let packet = [&head[LINK_HEADER_LEN..], tail].concat();
        let interface = |port| fib.port(port).unwrap().interface;
        let copy = match replica.target {
            Target::Host { .. } => Copy { to: None, resolved: true, packet },
            Target::Port(port) => {
                assert_eq!(head[6..12], link_address(interface(port)));
                let [4, 0, a, b, c, d] = head[..6] else { panic!("{head:?}") };
                let to = Some((interface(port), Ipv4Addr::new(a, b, c, d)));
                Copy { to, resolved: true, packet }
            }
            Target::Neighbor { port, address: IpAddr::V4(address) } => {
                Copy { to: Some((interface(port), address)), resolved: false, packet }
            }
            Target::Neighbor { .. } => panic!("an IPv6 neighbor"),
        };
        copies.push(copy);
        match replica.target {
            Target::Neighbor { .. } => out.counters.held(&replica),
            _ => out.counters.sent(&replica),
        }
    }
    copies.sort();
    (copies, out.counters)
}

fn check(seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let node = random_node(&mut rng);
    let fib = rib_of(&node, &mut rng).compile();
    for _ in 0..20 {
        let fields = random_fields(&node, &mut rng);
        let (copies, counters) = run(&fib, &fields);
        let (expected, expected_drops) = node.forward(&fields);
        let context = || format!("XCAST_TEST_SEED={seed}\n{node:#?}\n{fields:#?}");
        let each = DropReason::ALL.iter().zip(counters.drops).filter(|(_, count)| *count > 0);
        let drops: BTreeMap<_, _> = each.map(|(reason, count)| (reason.name(), count)).collect();
        assert_eq!(drops, expected_drops, "{}", context());
        assert_eq!(copies, expected, "{}", context());
        let live = u64::from(fields.header.bitmap.count_ones());
        assert_eq!(counters.destinations_received, live, "{}", context());
        let accounted = counters.destinations_forwarded
            + counters.destinations_delivered
            + counters.destinations_pending
            + counters.destinations_dropped();
        assert_eq!(accounted, live, "conservation: {}", context());
    }
}

#[test]
fn every_copy_and_every_drop_is_the_models() {
    if let Ok(seed) = std::env::var("XCAST_TEST_SEED") {
        return check(seed.parse().expect("a seed is a number"));
    }
    let cases = std::env::var("XCAST_TEST_CASES").map_or(500, |n| n.parse().expect("a number"));
    (0..cases).for_each(check);
}

#[test]
fn no_bytes_make_the_packet_path_panic_or_lose_a_destination() {
    for seed in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let node = random_node(&mut rng);
        let fib = rib_of(&node, &mut rng).compile();
        let mut out = Output::new(&fib);
        for _ in 0..100 {
            let mut buffer = vec![0; LINK_HEADER_LEN];
            buffer.extend(random_fields(&node, &mut rng).packet());
            // A few wrong octets, mostly in the headers, and sometimes an end cut off.
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(LINK_HEADER_LEN..buffer.len().min(100));
                buffer[at] = rng.random();
            }
            if rng.random_bool(0.2) {
                buffer.truncate(rng.random_range(0..buffer.len()));
            }
            repair_checksums(&mut buffer, &mut rng);
            let start = LINK_HEADER_LEN.min(rng.random_range(0..20));
            let port = rng.random_bool(0.9).then(|| rng.random_range(0..6));
            let to_group = rng.random_bool(0.1);
            process(
                &fib,
                Packet { buffer: &mut buffer, start, port, to_group, index: 0 },
                Time(0),
                &mut out,
            );
            for replica in out.replicas().to_vec() {
                let (head, tail) = out.pieces(&replica, &buffer);
                assert!(head.len() + tail.len() > LINK_HEADER_LEN + 20, "seed {seed}");
                out.counters.sent(&replica);
            }
            out.clear();
            let counters = &out.counters;
            let accounted = counters.destinations_forwarded
                + counters.destinations_delivered
                + counters.destinations_dropped();
            assert_eq!(counters.destinations_received, accounted, "seed {seed}");
            let ends = counters.packets_forwarded + counters.packets_dropped;
            assert_eq!(counters.packets_received, ends, "seed {seed}");
        }
    }
}

/// Most wrong packets would end at a checksum; with right ones they get further.
fn repair_checksums(buffer: &mut [u8], rng: &mut impl Rng) {
    let Some(ip) = buffer.get_mut(LINK_HEADER_LEN..) else { return };
    if rng.random_bool(0.1) || ip.len() < 60 {
        return;
    }
    let repair = |header: &mut [u8], field: usize| {
        header[field..field + 2].fill(0);
        let check = xcast::wire::checksum::checksum(header);
        header[field..field + 2].copy_from_slice(&check.to_be_bytes());
    };
    let header_len = usize::from(ip[0] & 0xf) * 4;
    if (20..ip.len()).contains(&header_len) {
        let (header, xcast) = ip.split_at_mut(header_len);
        repair(header, 10);
        let xcast_len = xcast.get(9).map_or(0, |words| usize::from(*words) * 4);
        if (12..=xcast.len()).contains(&xcast_len) {
            repair(&mut xcast[..xcast_len], 2);
        }
    }
}

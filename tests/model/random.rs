//! Random nodes and packets: small networks in which addresses, prefixes and next hops meet often.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use xcast::fib::{Prefix, ReversePath};

use super::message::{
    DESTINATION_OPTIONS, FieldsV4, FieldsV6, GROUP_V4, GROUP_V6, Item, Message, ROUTING,
};
use super::transport::{Kind, Transport};
use super::{Action, Hop, Interface, Node, Route};

/// The first interface, which is always up.
const FIRST: u32 = 10;

/// On the link of an interface: 10.I.0.H, 2001:db8:I::H and fe80::H.
fn on_link(interface: u32, host: u8) -> [IpAddr; 3] {
    let global = Ipv6Addr::new(0x2001, 0xdb8, interface as u16, 0, 0, 0, 0, host.into());
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host.into());
    [Ipv4Addr::new(10, interface as u8, 0, host).into(), global.into(), local.into()]
}

pub(crate) fn node(rng: &mut impl Rng) -> Node {
    let count = rng.random_range(1..5);
    let interfaces: Vec<Interface> = (FIRST..FIRST + count).map(|i| interface(i, rng)).collect();
    let tables = if rng.random_bool(0.5) { vec![254] } else { vec![100, 254] };
    let mut node = Node { interfaces, tables, ..Node::default() };
    node.compact = rng.random_bool(0.3);
    node.allow_icmp_echo = rng.random_bool(0.5);
    for interface in FIRST..FIRST + count {
        attach(&mut node, interface, rng);
    }
    if rng.random_bool(0.3) {
        let interface = FIRST + rng.random_range(0..count);
        put_route(&mut node, "169.254.0.0", 16, Action::OnLink(interface), 0, 254);
    }
    for _ in 0..rng.random_range(0..30) {
        let interface = FIRST + rng.random_range(0..count);
        let is_v6 = rng.random_bool(0.5);
        let action = match rng.random_range(0..12) {
            0 => Action::Drop,
            1 => Action::Throw,
            2 => Action::OnLink(interface),
            3..5 => Action::Via(
                (0..3).map(|_| hop(FIRST + rng.random_range(0..count), is_v6, rng)).collect(),
            ),
            _ => Action::Via(vec![hop(interface, is_v6, rng)]),
        };
        let length = match is_v6 {
            true => *[0, 16, 32, 46, 48, 63, 64, 120, 126, 128].choose(rng).unwrap(),
            false => *[0, 8, 14, 16, 20, 24, 30, 32].choose(rng).unwrap(),
        };
        let table = *node.tables.choose(rng).unwrap();
        let metric = rng.random_range(0..4);
        put_route(&mut node, &far(is_v6, rng).to_string(), length, action, metric, table);
    }
    if rng.random_bool(0.1) {
        node.sources = some_prefixes(rng);
    }
    if rng.random_bool(0.1) {
        node.destinations = some_prefixes(rng);
    }
    node
}

fn interface(index: u32, rng: &mut impl Rng) -> Interface {
    let modes = [ReversePath::Strict, ReversePath::Strict, ReversePath::Loose, ReversePath::Off];
    Interface {
        index,
        up: index == FIRST || rng.random_bool(0.85),
        mtu: *[1500, 1500, 1500, 9000, 1280, 576, 300].choose(rng).unwrap(),
        reverse_path: *modes.choose(rng).unwrap(),
        accept_group_frames: rng.random_bool(0.2),
    }
}

fn hop(interface: u32, is_v6: bool, rng: &mut impl Rng) -> Hop {
    let [v4, global, local] = on_link(interface, rng.random_range(2..6));
    let gateway = if is_v6 { *[global, local].choose(rng).unwrap() } else { v4 };
    (interface, gateway, rng.random_range(1..4))
}

/// Own addresses (host 1), neighbors (2 to 5) and subnets of a link.
fn attach(node: &mut Node, interface: u32, rng: &mut impl Rng) {
    node.own.extend(on_link(interface, 1).map(|own| (interface, own)));
    node.broadcast.push(Ipv4Addr::new(10, interface as u8, 0, 255));
    let [v4, global, local] = on_link(interface, 0);
    for (network, length) in [(v4, 24), (global, 64), (local, 64)] {
        let action = Action::OnLink(interface);
        // All links have routes for fe80::/64, which decide nothing.
        let prefix = Prefix::new(network, length).unwrap();
        node.routes.push(Route { table: 254, prefix, metric: interface, action });
    }
    for address in (2..6).flat_map(|host| on_link(interface, host)) {
        if rng.random_bool(0.7) {
            node.neighbors.push((interface, address));
        }
        if rng.random_bool(0.8) {
            node.capable.push((interface, address));
        }
    }
}

fn put_route(node: &mut Node, network: &str, length: u8, action: Action, metric: u32, table: u32) {
    let prefix = Prefix::new(network.parse().unwrap(), length).unwrap();
    let same = |r: &Route| (r.table, r.prefix, r.metric) == (table, prefix, metric);
    if !node.routes.iter().any(same) {
        node.routes.push(Route { table, prefix, metric, action });
    }
}

/// An address that only routes lead to.
fn far(is_v6: bool, rng: &mut impl Rng) -> IpAddr {
    let (a, b) = (rng.random_range(0..3), rng.random_range(0..3));
    match is_v6 {
        true => {
            Ipv6Addr::new(0x2001, 0xdb8, 0xf000 + a, b, 0, 0, 0, rng.random_range(0..300)).into()
        }
        false => Ipv4Addr::new(20, a as u8, b as u8, rng.random()).into(),
    }
}

fn some_prefixes(rng: &mut impl Rng) -> Vec<Prefix> {
    let all = ["10.0.0.0/8", "20.1.0.0/16", "2001:db8::/32", "2001:db8:f001::/48", "fe80::/10"];
    all.sample(rng, 3).map(|prefix| prefix.parse().unwrap()).collect()
}

pub(crate) fn message(node: &Node, rng: &mut impl Rng) -> Message {
    let is_v6 = rng.random_bool(0.55);
    let up: Vec<u32> = node.interfaces.iter().filter(|i| i.up).map(|i| i.index).collect();
    let ingress = rng.random_bool(0.9).then(|| *up.choose(rng).unwrap());
    let near_only = rng.random_bool(0.1);
    let mut source = source(node, ingress, is_v6, rng);
    if near_only && let Some(link) = ingress {
        source = on_link(link, 77)[if is_v6 { 2 } else { 0 }];
    }
    let has_ds_bytes = rng.random_bool(0.3);
    let has_ports = rng.random_bool(0.3);
    let longest = match (is_v6, has_ds_bytes) {
        (false, _) => 127,
        (true, false) => 125,
        (true, true) => 118,
    };
    let count = if rng.random_bool(0.05) { longest } else { rng.random_range(1..20) };
    let mostly_live = *[0.1, 0.5, 1.0].choose(rng).unwrap();
    let mut item = || Item {
        live: rng.random_bool(mostly_live),
        address: destination(node, ingress, is_v6, near_only, rng),
        ds_byte: ds_byte(rng),
        port: rng.random(),
    };
    let list = (0..count).map(|_| item()).collect();
    let group: IpAddr = if is_v6 { GROUP_V6.into() } else { GROUP_V4.into() };
    let elsewhere = rng.random_bool(0.02);
    Message {
        ingress,
        to_group: rng.random_bool(0.05),
        source,
        group: if elsewhere { destination(node, ingress, is_v6, false, rng) } else { group },
        ttl: *[0, 1, 2, 64, 64, 64, 255].choose(rng).unwrap(),
        traffic_class: rng.random(),
        v4: fields_v4(rng),
        v6: fields_v6(rng),
        anonymous: rng.random_bool(0.2),
        keep_xcast: rng.random_bool(0.15),
        channel: rng.random(),
        noise: rng.random_bool(0.2),
        list,
        has_ds_bytes,
        has_ports,
        transport: transport(is_v6, has_ports, rng),
    }
    .settled(ingress.is_none(), rng)
}

impl Message {
    /// What this node sends has a TTL; and now and then a checksum comes to zero.
    fn settled(mut self, from_here: bool, rng: &mut impl Rng) -> Message {
        if from_here {
            self.ttl = self.ttl.max(1);
        }
        if rng.random_bool(0.05)
            && let Some(item) = self.list.iter().find(|item| item.live)
        {
            let port = if self.has_ports { item.port } else { self.transport.port };
            self.transport.error = 0;
            self.transport.error = self.transport.checksum(self.source, item.address, port);
        }
        self
    }
}

fn source(node: &Node, ingress: Option<u32>, is_v6: bool, rng: &mut impl Rng) -> IpAddr {
    let family = usize::from(is_v6);
    let Some(link) = ingress else {
        return on_link(node.interfaces.choose(rng).unwrap().index, 1)[family];
    };
    match rng.random_range(0..40) {
        0 => on_link(link, 1)[family],
        1 => ["10.10.0.255", "::"][family].parse().unwrap(),
        2 => ["127.0.0.1", "::1"][family].parse().unwrap(),
        3 => ["224.0.0.1", "ff02::1"][family].parse().unwrap(),
        4 => ["0.0.0.0", "ff0e::5"][family].parse().unwrap(),
        5..8 => on_link(node.interfaces.choose(rng).unwrap().index, 77)[family],
        8..12 => far(is_v6, rng),
        12..14 => ["169.254.7.7", "fe80::7"][family].parse().unwrap(),
        14..18 => on_link(link, rng.random_range(2..6))[family],
        _ => on_link(link, 77)[family],
    }
}

fn destination(
    node: &Node,
    ingress: Option<u32>,
    is_v6: bool,
    near_only: bool,
    rng: &mut impl Rng,
) -> IpAddr {
    let family = usize::from(is_v6);
    if near_only && let Some(link) = ingress {
        let addresses = on_link(link, rng.random_range(1..9));
        return if is_v6 { *addresses[1..].choose(rng).unwrap() } else { addresses[0] };
    }
    let bad = [
        ["0.0.0.0", "127.0.0.1", "224.9.9.9", "255.255.255.255", "10.10.0.255"],
        ["::", "::1", "ff02::1", "ff0e::5", "ff02::114"],
    ];
    match rng.random_range(0..40) {
        0 if is_v6 => Ipv6Addr::from_bits(rng.random()).into(),
        0 => Ipv4Addr::from_bits(rng.random()).into(),
        1 => bad[family].choose(rng).unwrap().parse().unwrap(),
        2..4 => on_link(node.interfaces.choose(rng).unwrap().index, 1)[family],
        4 if is_v6 => on_link(0, rng.random_range(1..9))[2], // link-local
        4 => Ipv4Addr::new(169, 254, 0, rng.random_range(1..9)).into(),
        5..16 => on_link(FIRST + rng.random_range(0..5), rng.random_range(2..8))[family],
        _ => far(is_v6, rng),
    }
}

/// Mostly DSCPs that have names, so that classes meet.
fn ds_byte(rng: &mut impl Rng) -> u8 {
    let named = [0, 1, 8, 10, 12, 18, 26, 28, 30, 34, 38, 44, 46, 48];
    match rng.random_bool(0.8) {
        true => named.choose(rng).unwrap() << 2,
        false => rng.random(),
    }
}

fn fields_v4(rng: &mut impl Rng) -> FieldsV4 {
    // Not copied into fragments: record route, timestamp. Copied: router alert, a stream.
    let known: [&[u8]; 5] = [
        &[7, 7, 4, 0, 0, 0, 0],
        &[68, 8, 5, 0, 1, 2, 3, 4],
        &[148, 4, 0, 0],
        &[136, 4, 1, 2],
        &[1],
    ];
    let count = if rng.random_bool(0.2) { rng.random_range(1..4) } else { 0 };
    FieldsV4 {
        identification: rng.random(),
        forbids_fragments: rng.random_bool(0.5),
        options: (0..count).map(|_| known.choose(rng).unwrap().to_vec()).collect(),
    }
}

fn fields_v6(rng: &mut impl Rng) -> FieldsV6 {
    let hop_by_hop: [&[u8]; 3] =
        [&[5, 2, 0, 0], &[0, 0, 5, 2, 0, 0], &[30, 9, 9, 8, 7, 6, 5, 4, 3, 2, 1]];
    let beside: [&[u8]; 4] = [&[], &[201, 4, 1, 2, 3, 4], &[0, 30, 0], &[201, 0]];
    let alone = rng.random_bool(0.7);
    let mut options = || if alone { Vec::new() } else { beside.choose(rng).unwrap().to_vec() };
    let beside_ports = [options(), options()];
    let behind: [(u8, &[u8]); 3] = [
        (DESTINATION_OPTIONS, &[30, 2, 7, 7]),
        (DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0, 30, 1, 9]),
        (ROUTING, &[99, 0, 1, 2, 3, 4]),
    ];
    let count = if rng.random_bool(0.2) { rng.random_range(1..4) } else { 0 };
    let chosen = (0..count).map(|_| *behind.choose(rng).unwrap());
    let behind = chosen.map(|(number, area)| (number, area.to_vec())).collect();
    let hop_by_hop = rng.random_bool(0.2).then(|| hop_by_hop.choose(rng).unwrap().to_vec());
    FieldsV6 { flow_label: rng.random::<u32>() >> 12, hop_by_hop, beside_ports, behind }
}

fn transport(is_v6: bool, has_ports: bool, rng: &mut impl Rng) -> Transport {
    let icmp = if is_v6 { [1, 3, 128, 129, 200] } else { [0, 3, 8, 11, 13] };
    let kind = match rng.random_range(0..20) {
        0 => Kind::Udp { has_checksum: false },
        1..4 => Kind::Tcp,
        4..6 => Kind::UdpLite { covers: rng.random_bool(0.5).then(|| rng.random_range(0..40)) },
        6..8 => Kind::Dccp { covers: rng.random_bool(0.5).then(|| rng.random_range(0..15)) },
        8..10 => Kind::Icmp { kind: *icmp.choose(rng).unwrap() },
        10 => Kind::Plain(*[50, 51].choose(rng).unwrap()),
        11 => Kind::Plain(*[59, 99, 132].choose(rng).unwrap()),
        12 => Kind::Cut(*[6, 17, 33, 136].choose(rng).unwrap()),
        _ => Kind::Udp { has_checksum: true },
    };
    let length = match (kind, rng.random_range(0..20)) {
        (Kind::Cut(_), _) => rng.random_range(0..8),
        (_, 0) => rng.random_range(0..1600),
        (_, 1..4) => rng.random_range(200..700),
        _ => rng.random_range(0..60),
    };
    let mut payload: Vec<u8> = (0..length).map(|_| rng.random()).collect();
    if rng.random_bool(0.1) && payload.len() >= 16 {
        payload[..8].copy_from_slice(b"XCTR\x01\x01\x00\x01");
    }
    // A sender sets port 0 where there is a list, but nobody depends on it.
    let zero = has_ports && rng.random_bool(0.7);
    let error = if rng.random_bool(0.1) { rng.random() } else { 0 };
    Transport { kind, port: if zero { 0 } else { rng.random() }, payload, error }
}

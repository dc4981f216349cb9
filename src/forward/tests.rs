//! What one packet comes to, case by case. The whole is held against a slow, obvious model in
//! `tests/forward_model.rs`.

mod cached;
mod fast;
mod golden;
mod loops;
mod native;
mod notices;
mod options;
mod probes;
mod transports;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::fib::{Capability, FibBuilder, Hop, Limits, Port, Prefix, is_link_local};
use crate::wire::checksum::{Sum, checksum};
use crate::wire::xcast4::{bit, live_indices};
use crate::wire::{CodePoints, ethernet, ipv4, ipv6, udp, xcast4, xcast6};

const NOW: Time = Time(0);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
/// Gateways of ports 1 and 2, and a host of port 3 that is resolved.
const GATEWAY_1: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const GATEWAY_2: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 3, 7);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 3, 254);
/// Behind gateway 1.
const B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// Behind gateway 2.
const D: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const E: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);

/// Their like over IPv6. Both gateways have the same address, each on its own link.
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114);
const SOURCE_V6: Ipv6Addr = v6(0, 9);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const HOST_V6: Ipv6Addr = v6(0xa3, 7);
const OWN_V6: Ipv6Addr = v6(0xa3, 0xfe);
const OWN_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
const B_V6: Ipv6Addr = v6(1, 1);
const C_V6: Ipv6Addr = v6(1, 2);
const D_V6: Ipv6Addr = v6(2, 1);
const E_V6: Ipv6Addr = v6(2, 2);
/// A number that others do not know.
const SECRET: u64 = 42;

const fn v6(subnet: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, host)
}

/// What the table of a test may vary.
#[derive(Clone, Copy)]
struct Table {
    capable: bool,
    resolved: bool,
    mtu: u32,
    reverse_path: ReversePath,
    destinations_per_second: u32,
    icmp_errors_per_second: u32,
    compact: bool,
    /// Prefixes that may send, and be reached; none = all.
    sources: &'static [&'static str],
    destinations: &'static [&'static str],
}

const TABLE: Table = Table {
    capable: true,
    resolved: true,
    mtu: 1500,
    reverse_path: ReversePath::Strict,
    destinations_per_second: 0,
    icmp_errors_per_second: 100,
    compact: false,
    sources: &[],
    destinations: &[],
};

impl Table {
    fn fib(self) -> Fib {
        let port = |id: u8| Port {
            interface: u32::from(id) + 10,
            instance: 0,
            name: format!("p{id}"),
            mtu: self.mtu,
            link_address: [2, 0, 0, 0, 0, id],
            addresses: vec![OWN_LOCAL.into()],
            up: true,
            reverse_path: self.reverse_path,
            accept_group_frames: false,
            tunnel: None,
        };
        let code_points = CodePoints {
            ip_protocol: 253,
            all_routers_v4: GROUP,
            all_routers_v6: GROUP_V6,
            routing_type: 253,
            ports_option: 0x5e,
            hop_by_hop_option: 0x1e,
        };
        let mut fib = FibBuilder::new(code_points, (0..4).map(|id| Some(port(id))).collect());
        let rewrite = |id: u8| ethernet::header([4, 0, 0, 0, 0, id], [2, 0, 0, 0, 0, id], 0x0800);
        let capability = if self.capable { Capability::Capable } else { Capability::Incapable };
        let gateway_v6 = IpAddr::V6(GATEWAY_V6);
        for (id, address) in [
            (1, GATEWAY_1.into()),
            (2, GATEWAY_2.into()),
            (3, HOST.into()),
            (1, gateway_v6),
            (2, gateway_v6),
            (3, HOST_V6.into()),
        ] {
            let rewrite = self.resolved.then(|| rewrite(id as u8));
            fib.adjacency(id, address, rewrite, capability);
        }
        fib.limits(self.limits());
        fib.compact(self.compact);
        fib.secret(SECRET);
        fib.begin_table();
        fib.route_via(prefix("10.1.0.0/16"), vec![hop(1, GATEWAY_1.into())]);
        fib.route_via(prefix("10.2.0.0/16"), vec![hop(2, GATEWAY_2.into())]);
        fib.route(prefix("10.9.0.0/16"), Entry::Drop);
        fib.route_via(prefix("2001:db8:1::/48"), vec![hop(1, gateway_v6)]);
        fib.route_via(prefix("2001:db8:2::/48"), vec![hop(2, gateway_v6)]);
        fib.route(prefix("2001:db8:9::/48"), Entry::Drop);
        for id in 0..4 {
            fib.route(prefix(&format!("10.0.{id}.0/24")), Entry::OnLink(id));
        }
        fib.route(prefix("169.254.0.0/16"), Entry::OnLink(0));
        fib.route(prefix("2001:db8::/64"), Entry::OnLink(0));
        fib.route(prefix("2001:db8:a3::/64"), Entry::OnLink(3));
        fib.neighbors();
        fib.route(Prefix::host(OWN.into()), Entry::Local);
        fib.route(Prefix::host(OWN_V6.into()), Entry::Local);
        fib.route(prefix("10.0.0.255/32"), Entry::Bad);
        fib.finish(1)
    }

    fn limits(self) -> Limits {
        Limits {
            sources: self.sources.iter().map(|text| prefix(text)).collect(),
            destinations: self.destinations.iter().map(|text| prefix(text)).collect(),
            anycast: Vec::new(),
            accept: Vec::new(),
            allow_icmp_echo: false,
            destinations_per_second: self.destinations_per_second,
            icmp_errors_per_second: self.icmp_errors_per_second,
            emission: None,
        }
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn hop(port: PortId, gateway: IpAddr) -> Hop {
    Hop { port, gateway, weight: 1 }
}

/// A packet with a UDP payload of `hello` to a list of destinations.
fn packet(header: xcast4::Repr, ttl: u8) -> Vec<u8> {
    let header = xcast4::Repr { protocol: 17, ..header };
    let len = header.header_len();
    let mut bytes = vec![0; 20 + len + 13];
    let payload_len = (len + 13) as u16;
    let (source, destination, protocol) = (SOURCE, GROUP, 253);
    let ip = ipv4::Repr { source, destination, protocol, traffic_class: 0xb8, ttl, payload_len };
    ip.emit(&mut bytes);
    header.emit(&mut bytes[20..]).unwrap();
    bytes[20 + len + 8..].copy_from_slice(b"hello");
    let destination_port = if header.ports.is_empty() { 9000 } else { 0 };
    let udp = udp::Repr { source_port: 5000, destination_port };
    udp.emit(&mut bytes[20 + len..], SOURCE, GROUP);
    bytes
}

fn to(destinations: &[Ipv4Addr]) -> xcast4::Repr {
    let (destinations, bitmap) = (destinations.to_vec(), xcast4::all(destinations.len()));
    xcast4::Repr { destinations, bitmap, channel: 7, ..xcast4::Repr::default() }
}

/// The same over IPv6.
fn packet_v6(header: xcast6::Repr, hop_limit: u8) -> Vec<u8> {
    let header = xcast6::Repr { next_header: 17, routing_type: 253, ..header };
    let len = header.header_len();
    let mut bytes = vec![0; 40 + len + 13];
    let ip = ipv6::Repr {
        source: SOURCE_V6,
        destination: GROUP_V6,
        next_header: 43,
        traffic_class: 0xb8,
        flow_label: 7,
        hop_limit,
        payload_len: (len + 13) as u16,
    };
    ip.emit(&mut bytes);
    header.emit(&mut bytes[40..]).unwrap();
    bytes[40 + len + 8..].copy_from_slice(b"hello");
    let udp = udp::Repr { source_port: 5000, destination_port: 9000 };
    udp.emit(&mut bytes[40 + len..], SOURCE_V6, GROUP_V6);
    bytes
}

fn to_v6(destinations: &[Ipv6Addr]) -> xcast6::Repr {
    let (destinations, bitmap) = (destinations.to_vec(), xcast6::all(destinations.len()));
    xcast6::Repr { destinations, bitmap, channel: 7, ..xcast6::Repr::default() }
}

/// What came out: where to, how, and the IP packet.
struct Outcome {
    replicas: Vec<(Target, Form, Vec<u8>)>,
    counters: Counters,
}

fn run_from(fib: &Fib, bytes: &[u8], port: Option<PortId>, to_group: bool) -> Outcome {
    let mut buffer = vec![0; LINK_HEADER_LEN];
    buffer.extend(bytes);
    let mut out = Output::new(fib);
    let start = LINK_HEADER_LEN;
    process(fib, Packet { buffer: &mut buffer, start, port, to_group, index: 0 }, NOW, &mut out);
    let mut replicas = Vec::new();
    for replica in out.replicas().to_vec() {
        let (head, tail) = out.pieces(&replica, &buffer);
        let ip = [&head[LINK_HEADER_LEN..], tail].concat();
        assert_eq!(ip.len(), replica.ip_len());
        replicas.push((replica.target, replica.form, ip));
        out.counters.sent(&replica);
    }
    let counters = out.counters;
    let accounted = counters.destinations_forwarded
        + counters.destinations_delivered
        + counters.destinations_dropped()
        + counters.destinations_pending;
    assert_eq!(counters.destinations_received, accounted);
    Outcome { replicas, counters }
}

fn run(fib: &Fib, bytes: &[u8]) -> Outcome {
    run_from(fib, bytes, Some(0), false)
}

/// Checks a unicast copy by an implementation that is not ours.
fn assert_unicast(ip: &[u8], destination: Ipv4Addr, port: u16, ttl: u8) {
    let headers = etherparse::PacketHeaders::from_ip_slice(ip).unwrap();
    let Some(etherparse::NetHeaders::Ipv4(header, _)) = &headers.net else { panic!("not IPv4") };
    assert_eq!((header.source, header.destination), (SOURCE.octets(), destination.octets()));
    assert_eq!((header.time_to_live, header.dscp.value(), header.total_len), (ttl, 46, 33));
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    let udp = headers.transport.unwrap().udp().unwrap();
    assert_eq!((udp.source_port, udp.destination_port), (5000, port));
    assert_eq!(headers.payload.slice(), b"hello");
    assert_eq!(udp.checksum, udp.calc_checksum_ipv4(header, b"hello").unwrap());
}

/// Checks an Xcast copy: who is still live in it.
fn assert_xcast(ip: &[u8], live: &[Ipv4Addr], ttl: u8) -> xcast4::Repr {
    let packet = ipv4::Packet::parse(ip).unwrap();
    assert_eq!((packet.destination(), packet.ttl()), (GROUP, ttl));
    let repr = xcast4::Repr::of(&xcast4::Header::parse(packet.payload()).unwrap());
    let each: Vec<_> = live_indices(repr.bitmap).map(|index| repr.destinations[index]).collect();
    assert_eq!(each, live);
    repr
}

#[test]
fn one_copy_a_next_hop_and_unicast_where_one_destination_is_left() {
    // RFC 5058 section 2: R3 sends an Xcast packet to R5 and a unicast packet to R4.
    let out = run(&TABLE.fib(), &packet(to(&[B, C, D]), 64));
    let [(to_1, xcast, first), (to_2, unicast, second)] = &out.replicas[..] else { panic!() };
    assert_eq!((*to_1, *xcast), (Target::Port(1), Form::Xcast));
    assert_xcast(first, &[B, C], 63);
    assert_eq!((*to_2, *unicast), (Target::Port(2), Form::Unicast));
    assert_unicast(second, D, 9000, 63);
    assert_eq!((out.counters.replicas_sent, out.counters.unicast_conversions), (2, 1));
    assert_eq!(out.counters.packets_forwarded, 1);
}

#[test]
fn the_link_layer_header_is_the_neighbors() {
    let fib = TABLE.fib();
    let mut buffer = vec![0; LINK_HEADER_LEN];
    buffer.extend(packet(to(&[B, C, D]), 64));
    let mut out = Output::new(&fib);
    let start = LINK_HEADER_LEN;
    let packet = Packet { buffer: &mut buffer, start, port: Some(0), to_group: false, index: 0 };
    process(&fib, packet, NOW, &mut out);
    for (replica, id) in out.replicas().iter().zip([1, 2]) {
        let (head, _) = out.pieces(replica, &buffer);
        assert_eq!(head[..14], [4, 0, 0, 0, 0, id, 2, 0, 0, 0, 0, id, 8, 0]);
    }
}

#[test]
fn only_live_destinations_count_and_repeats_are_served_each() {
    let mut header = to(&[B, D, B, E]);
    header.bitmap = bit(0) | bit(2);
    let out = run(&TABLE.fib(), &packet(header, 64));
    assert_eq!(out.replicas.len(), 1);
    assert_xcast(&out.replicas[0].2, &[B, B], 63);
    let twice_on_link = run(&TABLE.fib(), &packet(to(&[HOST, HOST]), 64));
    assert_eq!(twice_on_link.replicas.len(), 2);
    twice_on_link.replicas.iter().for_each(|(_, _, ip)| assert_unicast(ip, HOST, 9000, 63));
}

#[test]
fn each_destination_gets_its_own_port() {
    let header = xcast4::Repr { ports: vec![7, 8, 9], ..to(&[D, B, C]) };
    let out = run(&TABLE.fib(), &packet(header, 64));
    assert_unicast(&out.replicas[0].2, D, 7, 63);
    let repr = assert_xcast(&out.replicas[1].2, &[B, C], 63);
    assert_eq!(repr.ports, [7, 8, 9]);
}

#[test]
fn an_on_link_gateway_joins_the_copy_for_those_behind_it() {
    let out = run(&TABLE.fib(), &packet(to(&[GATEWAY_1, B]), 64));
    assert_eq!(out.replicas.len(), 1);
    assert_xcast(&out.replicas[0].2, &[GATEWAY_1, B], 63);
    let alone = run(&TABLE.fib(), &packet(to(&[GATEWAY_1]), 64));
    assert_unicast(&alone.replicas[0].2, GATEWAY_1, 9000, 63);
}

#[test]
fn a_next_hop_that_does_not_speak_xcast_gets_unicast_copies() {
    let fib = Table { capable: false, ..TABLE }.fib();
    let out = run(&fib, &packet(to(&[B, D, C]), 64));
    let forms: Vec<Form> = out.replicas.iter().map(|replica| replica.1).collect();
    assert_eq!(forms, [Form::PrematureUnicast, Form::PrematureUnicast, Form::Unicast]);
    assert_unicast(&out.replicas[1].2, C, 9000, 63);
    assert_eq!(out.counters.premature_unicast_conversions, 2);
    let kept = packet(xcast4::Repr { keep_xcast: true, ..to(&[B, HOST]) }, 64);
    let out = run(&fib, &kept);
    assert_eq!(out.counters.drops[DropReason::IncapableWithX as usize], 1);
    assert_xcast(&out.replicas[0].2, &[HOST], 63);
}

#[test]
fn with_x_set_a_single_destination_stays_xcast() {
    let out = run(&TABLE.fib(), &packet(xcast4::Repr { keep_xcast: true, ..to(&[HOST, B]) }, 64));
    assert_eq!(out.replicas.len(), 2);
    assert!(out.replicas.iter().all(|replica| replica.1 == Form::Xcast));
}

#[test]
fn with_a_set_a_copy_hides_whom_it_does_not_serve() {
    let header = xcast4::Repr { anonymous: true, ..to(&[D, B, E, C]) };
    let out = run(&TABLE.fib(), &packet(header, 64));
    let hidden = Ipv4Addr::UNSPECIFIED;
    let first = assert_xcast(&out.replicas[0].2, &[D, E], 63);
    assert_eq!(first.destinations, [D, hidden, E, hidden]);
    let second = assert_xcast(&out.replicas[1].2, &[B, C], 63);
    assert_eq!(second.destinations, [hidden, B, hidden, C]);
}

#[test]
fn own_addresses_are_delivered_at_any_ttl() {
    for ttl in [0, 1, 2] {
        let out = run(&TABLE.fib(), &packet(to(&[OWN, B]), ttl));
        assert_eq!(
            (out.replicas[0].0, out.counters.destinations_delivered),
            (Target::Host { from: Some(0) }, 1)
        );
        assert_unicast(&out.replicas[0].2, OWN, 9000, ttl);
        let expired = u64::from(ttl < 2);
        assert_eq!(out.counters.drops[DropReason::TtlExpired as usize], expired);
    }
}

#[test]
fn an_unresolved_neighbor_is_named() {
    let fib = Table { resolved: false, ..TABLE }.fib();
    let unknown = Ipv4Addr::new(10, 0, 3, 8);
    let out = run(&fib, &packet(to(&[B, C, HOST, unknown]), 64));
    let mut targets: Vec<Target> = out.replicas.iter().map(|replica| replica.0).collect();
    targets.sort_by_key(|target| format!("{target:?}"));
    let neighbor = |port, address: Ipv4Addr| Target::Neighbor { port, address: address.into() };
    assert_eq!(targets, [neighbor(1, GATEWAY_1), neighbor(3, HOST), neighbor(3, unknown)]);
}

#[test]
fn a_copy_that_does_not_fit_is_dropped_and_the_others_leave() {
    // The packet is 20 + 32 + 13 octets long, a unicast copy 33.
    let fits = run(&Table { mtu: 65, ..TABLE }.fib(), &packet(to(&[B, C, D, E]), 64));
    assert_eq!(fits.replicas.len(), 2);
    let out = run(&Table { mtu: 60, ..TABLE }.fib(), &packet(to(&[B, C, D, HOST]), 64));
    assert_eq!(out.counters.drops[DropReason::TooBig as usize], 2);
    assert_eq!(out.replicas.len(), 2);
}

#[test]
fn a_host_sends_by_the_same_rules_without_lowering_the_ttl() {
    let out = run_from(&TABLE.fib(), &packet(to(&[B, C, HOST, OWN]), 1), None, false);
    assert_eq!(out.replicas.len(), 3);
    assert_unicast(&out.replicas[0].2, OWN, 9000, 1);
    assert_xcast(&out.replicas[1].2, &[B, C], 1);
    assert_unicast(&out.replicas[2].2, HOST, 9000, 1);
}

/// Runs a packet that was changed, and says under which reasons how much was counted.
fn reasons(fib: &Fib, bytes: &[u8], to_group: bool) -> Vec<(&'static str, u64)> {
    let out = run_from(fib, bytes, Some(0), to_group);
    assert_eq!(out.counters.packets_dropped, u64::from(out.replicas.is_empty()));
    let each = DropReason::ALL.iter().zip(out.counters.drops);
    each.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.name(), count)).collect()
}

/// A good packet with octets changed, the header checksums made right again.
fn changed(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = packet(to(&[B, C, D]), 64);
    for &(at, value) in changes {
        bytes[at] = value;
    }
    repair(&mut bytes, 28);
    bytes
}

/// Makes the checksums of the IP and Xcast headers right, the latter being `len` octets long.
fn repair(bytes: &mut [u8], len: usize) {
    bytes[22..24].fill(0);
    let check = checksum(&bytes[20..20 + len]);
    bytes[22..24].copy_from_slice(&check.to_be_bytes());
    ipv4::fill_checksum(bytes, 20);
}

#[test]
fn malformed_packets_are_counted_as_packets_under_their_own_reason() {
    let fib = TABLE.fib();
    for (changes, reason) in [
        (&[(0, 0x55)][..], "ip-header"),
        (&[(3, 200)], "ip-header"),
        (&[(9, 17)], "ip-header"),
        (&[(6, 0x20)], "fragment"),
        (&[(7, 0x01)], "fragment"),
        (&[(12, 224)], "source"),
        (&[(12, 127)], "source"),
        (&[(12, 0), (13, 0), (14, 0), (15, 0)], "source"),
        (&[(15, 255)], "source"),            // the link's broadcast address
        (&[(12, 169), (13, 254)], "source"), // link-local, to destinations off the link
        (&[(20, 0x20)], "version"),
        (&[(29, 8)], "length"),
        (&[(21, 4)], "length"),
        (&[(32, 0b1111_0000)], "spare-bits"),
        (&[(32, 0)], "no-live-destination"),
    ] {
        assert_eq!(reasons(&fib, &changed(changes), false), [(reason, 1)], "{changes:?}");
    }
    let mut wrong = changed(&[]);
    wrong[22] ^= 0x10;
    assert_eq!(reasons(&fib, &wrong, false), [("checksum", 1)]);
    let none = changed(&[(21, 0), (29, 3)]);
    let mut none = [&none[..32], &none[52..]].concat();
    none[3] = none.len() as u8;
    repair(&mut none, 12);
    assert_eq!(reasons(&fib, &none, false), [("no-destination", 1)]);
    let whole = changed(&[]);
    for length in 0..whole.len() {
        assert_eq!(reasons(&fib, &whole[..length], false), [("ip-header", 1)]);
    }
}

#[test]
fn refused_packets_are_counted_by_their_live_destinations() {
    let fib = TABLE.fib();
    let slow = Table { destinations_per_second: 100, ..TABLE }.fib();
    let mut out = Output::new(&slow);
    for _ in 0..50 {
        let mut buffer = vec![0; LINK_HEADER_LEN];
        buffer.extend(changed(&[]));
        let start = LINK_HEADER_LEN;
        let packet =
            Packet { buffer: &mut buffer, start, port: Some(0), to_group: false, index: 0 };
        process(&slow, packet, NOW, &mut out);
    }
    // Room for 127 at once: 42 packets of 3.
    assert_eq!(out.counters.drops[DropReason::RateLimit as usize], (50 - 42) * 3);
    assert_eq!(reasons(&fib, &changed(&[]), true), [("not-for-this-router", 3)]);
    assert_eq!(reasons(&fib, &changed(&[(19, 1)]), false), [("not-for-this-router", 3)]);
    assert_eq!(reasons(&fib, &changed(&[(8, 1)]), false), [("ttl-expired", 3)]);
    assert_eq!(reasons(&fib, &changed(&[(8, 0)]), false), [("ttl-expired", 3)]);
    assert_eq!(reasons(&fib, &changed(&[(14, 1)]), false), [("reverse-path", 3)]);
    assert_eq!(reasons(&fib, &changed(&[(12, 99)]), false), [("reverse-path", 3)]);
    let echo = changed(&[(28, 1), (48, 8)]);
    assert_eq!(reasons(&fib, &echo, false), [("icmp-echo", 3)]);
}

#[test]
fn the_reverse_path_has_three_modes() {
    let from_port_1 = changed(&[(14, 1)]);
    let from_nowhere = changed(&[(12, 99)]);
    let dropped = |mode, bytes: &[u8]| {
        let fib = Table { reverse_path: mode, ..TABLE }.fib();
        !reasons(&fib, bytes, false).is_empty()
    };
    assert!(dropped(ReversePath::Strict, &from_port_1));
    assert!(!dropped(ReversePath::Loose, &from_port_1));
    assert!(dropped(ReversePath::Loose, &from_nowhere));
    assert!(!dropped(ReversePath::Off, &from_nowhere));
}

#[test]
fn destinations_that_lead_nowhere_leave_the_others_alone() {
    let nowhere = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    for (address, reason) in [
        ("0.0.0.0", "bad-destination"),
        ("224.1.2.3", "bad-destination"),
        ("255.255.255.255", "bad-destination"),
        ("127.0.0.1", "bad-destination"),
        ("10.0.0.255", "bad-destination"),
        ("10.9.1.1", "route-drop"),
        ("99.1.1.1", "no-route"),
    ] {
        let bytes = packet(to(&[B, nowhere(address), C]), 64);
        assert_eq!(reasons(&TABLE.fib(), &bytes, false), [(reason, 1)], "{address}");
        let out = run(&TABLE.fib(), &bytes);
        assert_xcast(&out.replicas[0].2, &[B, C], 63);
    }
    // Link-local is served on its own link, and nowhere else.
    let local = packet(to(&[nowhere("169.254.1.1")]), 64);
    assert_eq!(reasons(&TABLE.fib(), &local, false), []);
    let elsewhere = run_from(&TABLE.fib(), &changed(&[]), Some(1), false);
    assert_eq!(elsewhere.counters.drops[DropReason::ReversePath as usize], 3);
}

#[test]
fn without_room_in_front_the_last_copy_gets_a_head_of_its_own() {
    let fib = TABLE.fib();
    let mut buffer = packet(to(&[B, C]), 64);
    let mut out = Output::new(&fib);
    let packet = Packet { buffer: &mut buffer, start: 0, port: Some(0), to_group: false, index: 0 };
    process(&fib, packet, NOW, &mut out);
    let (head, tail) = out.pieces(&out.replicas()[0], &buffer);
    assert_xcast(&[&head[LINK_HEADER_LEN..], tail].concat(), &[B, C], 63);
}

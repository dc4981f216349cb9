use super::*;
use crate::fib::{Capability, Prefix};
use crate::fib::{FibBuilder, NO_LINK, Port, ReversePath, Tunnel};
use crate::wire::CodePoints;
use proptest::prelude::*;
use std::net::SocketAddr;

const POINTS: CodePoints = CodePoints {
    ip_protocol: 253,
    all_routers_v4: std::net::Ipv4Addr::new(224, 0, 0, 254),
    all_routers_v6: std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
    routing_type: 253,
    ports_option: 0x5e,
    hop_by_hop_option: 0x1e,
};

fn tunnel(name: &str, encapsulation: Encapsulation, local: &str, remote: &str) -> Option<Port> {
    let local: SocketAddr = local.parse().unwrap();
    Some(Port {
        interface: 1 << 31,
        instance: 0,
        name: name.to_owned(),
        mtu: 1480,
        link_address: [0; 6],
        addresses: vec![local.ip()],
        up: true,
        reverse_path: ReversePath::Loose,
        accept_group_frames: false,
        tunnel: Some(Tunnel {
            encapsulation,
            local,
            remote: remote.parse().unwrap(),
            keyed: false,
        }),
    })
}

/// 192.0.2.3 with the tunnels `a` (ipip) and `b` (udp) to 192.0.2.1; 10.0.0.0/8 is behind `a`.
fn fib() -> Fib {
    let ports = vec![
        tunnel("a", Encapsulation::Ipip, "192.0.2.3:0", "192.0.2.1:0"),
        tunnel("b", Encapsulation::Udp, "192.0.2.3:1021", "192.0.2.1:1021"),
    ];
    let mut builder = FibBuilder::new(POINTS, ports);
    let remote = "192.0.2.1".parse().unwrap();
    builder.adjacency(0, remote, Some(NO_LINK), Capability::Tunnel);
    let hop = crate::fib::Hop { port: 0, gateway: remote, weight: 1 };
    builder.route_via("10.0.0.0/8".parse::<Prefix>().unwrap(), vec![hop]);
    builder.route("10.1.0.0/16".parse().unwrap(), Entry::OnLink(1));
    builder.route("192.0.2.3/32".parse().unwrap(), Entry::Local);
    builder.finish(1)
}

fn ipip() -> Outer {
    Outer {
        encapsulation: Encapsulation::Ipip,
        local: "192.0.2.3:0".parse().unwrap(),
        remote: "192.0.2.1:0".parse().unwrap(),
        traffic_class: 0,
    }
}

fn udp() -> Outer {
    Outer {
        encapsulation: Encapsulation::Udp,
        local: "192.0.2.3:1021".parse().unwrap(),
        remote: "192.0.2.1:1021".parse().unwrap(),
        ..ipip()
    }
}

/// An IPv4 packet of a protocol.
fn packet(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    ipv4::fill_checksum(&mut packet, 20);
    packet
}

const ALL_ROUTERS: [u8; 4] = [224, 0, 0, 254];
const SOURCE: [u8; 4] = [10, 0, 0, 1];

fn xcast() -> Vec<u8> {
    packet(253, SOURCE, ALL_ROUTERS, &[0; 16])
}

fn in_ipip(inner: &[u8]) -> Vec<u8> {
    packet(4, [192, 0, 2, 1], [192, 0, 2, 3], inner)
}

#[test]
fn known_ends_are_opened_and_others_are_not() {
    let fib = fib();
    let open = |outer| decapsulate(&fib, outer, &mut xcast(), 0);
    assert_eq!(open(ipip()), Ok(Decapsulated::Xcast { port: 0, start: 0 }));
    assert_eq!(open(udp()), Ok(Decapsulated::Xcast { port: 1, start: 0 }));
    let other = |text: &str| text.parse().unwrap();
    for outer in [
        Outer { remote: other("192.0.2.2:0"), ..ipip() },
        Outer { local: other("192.0.2.4:0"), ..ipip() },
        Outer { remote: other("192.0.2.1:1022"), ..udp() },
        Outer { encapsulation: Encapsulation::Udp, ..ipip() },
    ] {
        assert_eq!(open(outer), Err(DropReason::UnknownEnd));
    }
}

#[test]
fn control_messages_are_told_apart_and_only_where_there_are_some() {
    let fib = fib();
    let mut control = vec![0x01, 2, 3];
    let stranger = Outer { remote: "198.51.100.9:5".parse().unwrap(), ..udp() };
    assert_eq!(decapsulate(&fib, stranger, &mut control, 0), Ok(Decapsulated::Control));
    assert_eq!(decapsulate(&fib, ipip(), &mut control, 0), Err(DropReason::IpHeader));
}

#[test]
fn other_packets_are_found_with_their_length() {
    let mut plain = packet(17, SOURCE, [10, 0, 0, 9], &[0; 8]);
    plain.extend([0; 5]); // behind its end
    let found = decapsulate(&fib(), ipip(), &mut plain, 0);
    assert_eq!(found, Ok(Decapsulated::Plain { port: 0, start: 0, end: 28 }));
    let cut = &mut plain[..27];
    assert_eq!(decapsulate(&fib(), ipip(), cut, 0), Err(DropReason::IpHeader));
}

#[test]
fn four_tunnels_may_lie_inside_each_other_and_no_more() {
    let fib = fib();
    let mut inner = xcast();
    for depth in 1..=4 {
        let found = decapsulate(&fib, ipip(), &mut inner, 0);
        assert_eq!(found, Ok(Decapsulated::Xcast { port: 0, start: 20 * (depth - 1) }));
        inner = in_ipip(&inner);
    }
    assert_eq!(decapsulate(&fib, ipip(), &mut inner, 0), Err(DropReason::Depth));
}

/// Who is behind one tunnel cannot pass for the end of another by wrapping packets up: where the
/// check is strict, a middle packet's source has to be behind it too; and what is in transit is not
/// opened here.
#[test]
fn wrapping_up_does_not_change_who_one_is() {
    let strict = Port {
        reverse_path: ReversePath::Strict,
        ..tunnel("a", Encapsulation::Ipip, "192.0.2.3:0", "192.0.2.1:0").unwrap()
    };
    let other = tunnel("b", Encapsulation::Ipip, "192.0.2.3:0", "192.0.2.9:0");
    let mut builder = FibBuilder::new(POINTS, vec![Some(strict), other]);
    builder.route("192.0.2.3/32".parse().unwrap(), Entry::Local);
    let fib = builder.finish(1);
    let from_nine = |to| packet(4, [192, 0, 2, 9], to, &xcast());
    let mut pretended = from_nine([192, 0, 2, 3]);
    let length = pretended.len();
    let plain = Ok(Decapsulated::Plain { port: 0, start: 0, end: length });
    assert_eq!(decapsulate(&fib, ipip(), &mut pretended, 0), plain);
    let refused = send_on(&fib, 0, &mut pretended);
    assert_eq!(refused, Err(DropReason::ReversePath));
    // Out of a tunnel whose check is loose it is opened, if it is for this node.
    let nine = Outer { remote: "192.0.2.9:0".parse().unwrap(), ..ipip() };
    let found = decapsulate(&fib, nine, &mut from_nine([192, 0, 2, 3]), 0);
    assert_eq!(found, Ok(Decapsulated::Xcast { port: 1, start: 20 }));
    let transit = decapsulate(&fib, nine, &mut from_nine([192, 0, 2, 77]), 0);
    assert_eq!(transit, Ok(Decapsulated::Plain { port: 1, start: 0, end: length }));
}

#[test]
fn congestion_on_the_way_is_not_lost() {
    let fib = fib();
    let congested = Outer { traffic_class: 0b11, ..ipip() };
    assert_eq!(decapsulate(&fib, congested, &mut xcast(), 0), Err(DropReason::IpHeader));
    let mut aware = xcast();
    ipv4::set_traffic_class(&mut aware, 0b10);
    assert!(decapsulate(&fib, congested, &mut aware, 0).is_ok());
    assert_eq!(aware[1], 0b11);
    assert!(ipv4::Packet::parse(&aware).is_ok());
}

#[test]
fn plain_packets_are_held_to_the_rules_for_sources() {
    let fib = fib();
    let send = |source, destination, ttl| {
        let mut packet = packet(17, source, destination, &[0; 8]);
        ipv4::set_ttl(&mut packet, ttl);
        let onward = send_on(&fib, 0, &mut packet);
        (onward, packet[8])
    };
    assert_eq!(send(SOURCE, [10, 1, 0, 9], 64), (Ok(Onward::Forward), 63));
    assert_eq!(send(SOURCE, [10, 0, 0, 9], 64), (Err(DropReason::NoRoute), 64), "back again");
    assert_eq!(send(SOURCE, [192, 0, 2, 3], 1), (Ok(Onward::Here), 1));
    assert_eq!(send(SOURCE, [224, 0, 0, 5], 1), (Ok(Onward::Here), 1));
    for (source, destination, ttl, reason) in [
        (SOURCE, [10, 1, 0, 9], 1, DropReason::TtlExpired),
        (SOURCE, [172, 16, 0, 1], 64, DropReason::NoRoute),
        ([172, 16, 0, 1], [10, 0, 0, 9], 64, DropReason::ReversePath),
        ([192, 0, 2, 3], [10, 0, 0, 9], 64, DropReason::ReversePath),
        ([127, 0, 0, 1], [10, 0, 0, 9], 64, DropReason::Source),
        (SOURCE, [127, 0, 0, 1], 64, DropReason::BadDestination),
    ] {
        assert_eq!(send(source, destination, ttl).0, Err(reason));
    }
}

proptest! {
    #[test]
    fn no_octets_are_too_hostile(
        mut octets in proptest::collection::vec(any::<u8>(), 0..120),
        first in prop::sample::select(vec![0x45u8, 0x46, 0x60, 0x00, 0x4f]),
        start in 0usize..130,
        class in any::<u8>(),
    ) {
        let fib = fib();
        for outer in [ipip(), udp()] {
            if let Some(octet) = octets.get_mut(start) {
                *octet = first;
            }
            let outer = Outer { traffic_class: class, ..outer };
            if let Ok(Decapsulated::Plain { port, start, end }) =
                decapsulate(&fib, outer, &mut octets, start)
            {
                prop_assert!(end <= octets.len());
                let _onward = send_on(&fib, port, &mut octets[start..end]);
            }
        }
    }
}

//! Every kind of tunnel, and what its outer packets say.

use std::net::SocketAddr;

use crate::lab::Version::{V4, V6};
use crate::lab::process::until;
use crate::lab::reading::ones_complement;
use crate::lab::{assert_empty, assert_receives};
use crate::support::in_namespaces;
use crate::{Line, PORT, Way, is_outer};

/// RFC 5058 figure 10: outer addresses are the ends, inner ones what they were; between the routers
/// there is one packet, which the router that knows no Xcast forwards as any other.
fn carries(way: Way) {
    let mut line = Line::new(way);
    for capture in &line.captures {
        capture.clear();
    }
    line.assert_serves("one-for-both");
    let (x1, x3) = ["x1", "x3"].map(|node| line.lab.address_of(way.outer, node, "r")).into();
    let protocol = match (way.kind, way.inner) {
        ("udp", _) => 17,
        (_, V4) => 4,
        (_, V6) => 41,
    };
    let has_payload = |packet: &Vec<u8>| packet.windows(12).any(|octets| octets == b"one-for-both");
    for at in [1, 2] {
        let packets = until("the packet has crossed", || {
            let packets: Vec<_> =
                line.captures[at].all_packets().into_iter().filter(has_payload).collect();
            (!packets.is_empty()).then_some(packets)
        });
        assert_eq!(packets.len(), 1, "{way:?}, link {at}: {packets:02x?}");
        let packet = &packets[0];
        assert!(is_outer(packet, protocol, x1, x3), "{way:?}: {packet:02x?}");
        let hops = if at == 1 { 64 } else { 63 };
        let start = match way.outer {
            V4 => {
                assert_eq!(packet[8], hops, "TTL");
                assert_eq!(packet[6] & 0x40, 0x40, "DF");
                assert_eq!(ones_complement(&packet[..20]), 0xffff);
                20
            }
            V6 => {
                assert_eq!(packet[7], hops, "hop limit");
                40
            }
        };
        let start = if way.kind == "udp" {
            assert_eq!(packet[start..start + 4], [0x03, 0xfd, 0x03, 0xfd], "ports 1021");
            start + 8
        } else {
            start
        };
        let inner = &packet[start..];
        // Lowered once, by the router that encapsulates.
        let ttl = if way.inner == V4 { inner[8] } else { inner[7] };
        assert_eq!(ttl, 63);
        assert_eq!(inner[0] >> 4, if way.inner == V4 { 4 } else { 6 });
    }
    line.receivers.iter().for_each(assert_empty);
    let sent = line.lab.counter("x1", "replicas-sent");
    assert_eq!(sent, 1, "{way:?}");
    line.lab.assert_identity("x1");
    line.lab.assert_identity("x3");
}

#[test]
fn ipv4_in_ipv4() {
    in_namespaces("kinds::ipv4_in_ipv4", || carries(Way { kind: "ipip", outer: V4, inner: V4 }));
}

#[test]
fn ipv6_in_ipv6() {
    in_namespaces("kinds::ipv6_in_ipv6", || carries(Way { kind: "ipip", outer: V6, inner: V6 }));
}

#[test]
fn ipv6_in_ipv4() {
    in_namespaces("kinds::ipv6_in_ipv4", || carries(Way { kind: "ipip", outer: V4, inner: V6 }));
}

#[test]
fn ipv4_in_ipv6() {
    in_namespaces("kinds::ipv4_in_ipv6", || carries(Way { kind: "ipip", outer: V6, inner: V4 }));
}

#[test]
fn both_in_udp_over_ipv4() {
    in_namespaces("kinds::both_in_udp_over_ipv4", || {
        carries(Way { kind: "udp", outer: V4, inner: V4 })
    });
}

#[test]
fn both_in_udp_over_ipv6() {
    in_namespaces("kinds::both_in_udp_over_ipv6", || {
        carries(Way { kind: "udp", outer: V6, inner: V6 })
    });
}

/// A destination alone needs no tunnel where the routes of unicast lead to it.
#[test]
fn a_lone_destination_leaves_as_plain_unicast() {
    in_namespaces("kinds::a_lone_destination_leaves_as_plain_unicast", || {
        let mut line = Line::new(Way { kind: "ipip", outer: V4, inner: V4 });
        // The other one leaves elsewhere, at x1.
        let other = SocketAddr::new(line.lab.address("r", "x1").into(), PORT);
        let only = [line.to[0], other];
        let _listens = line.lab.receiver("r", other);
        line.captures.iter().for_each(|capture| capture.clear());
        line.send(&only, "alone");
        assert_receives(&line.receivers[0], line.source(), "alone");
        let packets = line.captures[1].all_packets();
        let found = packets.iter().filter(|p| p.windows(5).any(|octets| octets == b"alone"));
        let found = found.filter(|packet| packet[16..20] != other_octets(other));
        let protocols: Vec<u8> = found.map(|packet| packet[9]).collect();
        assert_eq!(protocols, [17], "plain UDP between the routers");

        // Without such a route it takes the tunnel, and the other end sends it on.
        line.lab.ip("x1", "route del default");
        let x3 = line.lab.address("x3", "r");
        let via = line.lab.address("r", "x1");
        line.lab.ip("x1", &format!("route add {x3} via {via}"));
        line.lab.wait_for_no_route("x1", "0.0.0.0/0");
        line.captures.iter().for_each(|capture| capture.clear());
        line.send(&only, "again");
        assert_receives(&line.receivers[0], line.source(), "again");
        let packets = line.captures[1].all_packets();
        let found = packets.iter().filter(|p| p.windows(5).any(|octets| octets == b"again"));
        let found = found.filter(|packet| packet[16..20] != other_octets(other));
        let protocols: Vec<u8> = found.map(|packet| packet[9]).collect();
        assert_eq!(protocols, [4], "inside the tunnel");
        line.lab.assert_identity("x3");
    });
}

fn other_octets(other: SocketAddr) -> [u8; 4] {
    match other {
        SocketAddr::V4(other) => other.ip().octets(),
        SocketAddr::V6(_) => panic!("{other} is of the other version"),
    }
}

/// What does not come from the configured end is not opened, whoever it says it is from inside.
#[test]
fn packets_of_unknown_ends_are_dropped_by_name() {
    in_namespaces("kinds::packets_of_unknown_ends_are_dropped_by_name", || {
        let mut line = Line::new(Way { kind: "ipip", outer: V4, inner: V4 });
        let before = line.lab.dropped("x3", "unknown-end");
        let (from, to) = (line.lab.address("b", "x3"), line.lab.address("x3", "r"));
        let mut outer = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 4, 0, 0];
        outer.extend(from.octets());
        outer.extend(to.octets());
        crate::lab::packets::mend(&mut outer, 10);
        outer.extend([0x45; 20]);
        line.lab.inject("b", "x3", &outer);
        until("it is dropped", || {
            (line.lab.dropped("x3", "unknown-end") == before + 1).then_some(())
        });
        line.assert_serves("still");
        line.lab.assert_identity("x3");
    });
}

//! Destinations that cannot be reached: each is told of, and the others are served.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use xcast::forward::DropReason;
use xcast::host::{Message, Sent, TroubleKind};
use xcast::io::datagram::ReportKind;

use crate::lab::packets::{Packet, mend};
use crate::lab::{Lab, Version, assert_receives};
use crate::support::in_namespaces;
use crate::{BOTH, Host, PORT, SOURCE_PORT, at, list, source, star};

/// Behind `r`, which knows no way there.
const NOWHERE: [[&str; 2]; 2] = [["10.99.0.1", "10.99.0.2"], ["fd99::1", "fd99::2"]];

fn nowhere(version: Version) -> [SocketAddr; 2] {
    let addresses = NOWHERE[usize::from(version == Version::V6)];
    addresses.map(|address| SocketAddr::new(address.parse().unwrap(), PORT))
}

fn reported(kind: ReportKind) -> TroubleKind {
    TroubleKind::Reported(kind)
}

#[test]
fn nobody_at_a_port_is_told_by_destination() {
    in_namespaces("unreachable::nobody_at_a_port_is_told_by_destination", || {
        let mut lab = star(&["a", "b", "c", "d"]);
        lab.start_routers(&["r"]);
        let mut host = Host::open("a");
        for version in BOTH {
            let to = ["b", "c", "d"].map(|node| at(&lab, version, node));
            let receiver = lab.receiver("c", to[1]);
            host.send_all(&to, "anybody?", 1);
            let mut troubles = host.troubles(2);
            troubles.sort_by_key(|trouble| trouble.destination);
            for (trouble, to) in troubles.iter().zip([to[0], to[2]]) {
                assert_eq!((trouble.destination, trouble.from), (to, Some(to.ip())));
                assert_eq!(trouble.kind, reported(ReportKind::PortUnreachable));
                assert_eq!((&trouble.payload[..], trouble.listed), (&b"anybody?"[..], 0));
            }
            assert_receives(&receiver, source(&lab, version), "anybody?");
        }
    });
}

#[test]
fn no_route_at_a_router_comes_back_for_all_that_the_packet_lists() {
    in_namespaces(
        "unreachable::no_route_at_a_router_comes_back_for_all_that_the_packet_lists",
        || {
            let mut lab = star(&["a", "b"]);
            lab.start_routers(&["r"]);
            let mut host = Host::open("a");
            for version in BOTH {
                let (b, [first, second]) = (at(&lab, version, "b"), nowhere(version));
                let receiver = lab.receiver("b", b);
                host.send_all(&[b, first, second], "who?", 1);
                assert_receives(&receiver, source(&lab, version), "who?");
                let troubles = host.troubles(3);
                for (trouble, to) in troubles.iter().zip([b, first, second]) {
                    assert_eq!(trouble.destination, SocketAddr::new(to.ip(), 0));
                    assert_eq!(trouble.kind, reported(ReportKind::Unreachable { code: 0 }));
                    assert_eq!(trouble.listed, 3);
                }
                // Alone it leaves as unicast, and the error names its port.
                host.send_all(&[first], "who?", 1);
                let expected = [(first, reported(ReportKind::Unreachable { code: 0 }))];
                assert_eq!(host.told(1), expected);
            }
        },
    );
}

#[test]
fn a_ttl_that_ends_on_the_way_is_told() {
    in_namespaces("unreachable::a_ttl_that_ends_on_the_way_is_told", || {
        let mut lab = star(&["a", "b", "c"]);
        lab.start_routers(&["r"]);
        let mut host = Host::open("a");
        for version in BOTH {
            let to = ["b", "c"].map(|node| at(&lab, version, node));
            let destinations = list(&to);
            let message = Message { destinations: &destinations, ttl: 1, ..Message::default() };
            assert_eq!(host.send(&message), Sent { packets: 1, unsent: Vec::new() });
            let expected =
                to.map(|to| (SocketAddr::new(to.ip(), 0), reported(ReportKind::TimeExceeded)));
            assert_eq!(host.told(2), expected);
        }
    });
}

/// An ICMP error from `r` to `a`: there is no route for the packet that it quotes.
fn no_route(lab: &Lab, quoted: &Packet) -> Vec<u8> {
    let mut icmp = vec![3, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend(quoted.bytes());
    mend(&mut icmp, 2);
    let [high, low] = (20 + icmp.len() as u16).to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, 1, 0, 0];
    packet.extend(lab.address("r", "a").octets());
    packet.extend(lab.address("a", "r").octets());
    mend(&mut packet, 10);
    packet.extend(icmp);
    packet
}

#[test]
fn an_error_about_the_packet_of_another_source_tells_nothing() {
    in_namespaces("unreachable::an_error_about_the_packet_of_another_source_tells_nothing", || {
        let lab = star(&["a", "b"]);
        let mut host = Host::open("a");
        let [somebody, own] =
            ["b", "a"].map(|node| SocketAddrV4::new(lab.address(node, "r"), SOURCE_PORT));
        let to = [1, 2].map(|host| Ipv4Addr::new(10, 99, 0, host));
        for (source, to) in [(somebody, to[0]), (own, to[1])] {
            let quoted = Packet::to(source, &[to], PORT, "lost");
            lab.inject("r", "a", &no_route(&lab, &quoted));
        }
        let unreachable = reported(ReportKind::Unreachable { code: 0 });
        assert_eq!(host.told(1), [(SocketAddr::new(to[1].into(), 0), unreachable)]);
    });
}

/// `a` and `b` on one link, on which others could be.
fn shared() -> Lab {
    let mut lab = Lab::dual_stack();
    lab.hosts(&["a", "b"]);
    lab.lan("lan", &["a", "b"]);
    lab
}

#[test]
fn a_neighbor_that_is_not_there_is_told_alone_once_waiting_is_over() {
    in_namespaces(
        "unreachable::a_neighbor_that_is_not_there_is_told_alone_once_waiting_is_over",
        || {
            let lab = shared();
            let mut host = Host::open("a");
            for (version, missing) in BOTH.into_iter().zip(["10.9.1.77", "fd00:9:1::77"]) {
                let b = SocketAddr::new(lab.address_of(version, "b", "lan"), PORT);
                let missing = SocketAddr::new(missing.parse().unwrap(), PORT + 1);
                let receiver = lab.receiver("b", b);
                host.send_all(&[missing, b], "to b", 1);
                host.with(|socket| socket.flush()).unwrap();
                let from = SocketAddr::new(lab.address_of(version, "a", "lan"), SOURCE_PORT);
                assert_receives(&receiver, from, "to b");
                let kind = TroubleKind::Unsent(DropReason::NeighborUnresolved);
                assert_eq!(host.told(1), [(missing, kind)]);
            }
        },
    );
}

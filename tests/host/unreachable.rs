//! Destinations that cannot be reached: each is told of, and the others are served.

use std::net::SocketAddr;

use xcast::forward::DropReason;
use xcast::host::{Message, Sent, TroubleKind};
use xcast::io::datagram::ReportKind;

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

#[test]
fn an_error_about_the_packet_of_another_source_tells_nothing() {
    in_namespaces("unreachable::an_error_about_the_packet_of_another_source_tells_nothing", || {
        let mut lab = star(&["a", "b"]);
        lab.start_routers(&["r"]);
        // `a` sends in the name of an address that is not its own, and the error comes to it.
        lab.ip("r", &format!("route add 10.7.0.1/32 via {}", lab.address("a", "r")));
        lab.ip("a", "address add 10.7.0.1/32 dev lo");
        let mut other = Host::open("a");
        lab.ip("a", "address del 10.7.0.1/32 dev lo");
        drop(other);
        other = Host::open("a");
        let [first, second] = nowhere(Version::V4);
        let destinations = list(&[first, second]);
        let message = Message {
            destinations: &destinations,
            source: Some([10, 7, 0, 1].into()),
            ..Message::default()
        };
        let capture = lab.capture(crate::link(&lab, "a", "r"));
        other.send(&message);
        crate::lab::process::until("the router's error", || {
            capture.errors().into_iter().find(|error| error.kind == 3)
        });
        assert_eq!(other.with(xcast::host::XcastSocket::take_troubles), []);
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

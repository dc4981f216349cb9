//! Packets that stay Xcast to their end (X): who receives them, and who does not.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use xcast::host::{Message, Options, Received, Sent};

use crate::lab::capture::Form;
use crate::lab::packets::{KEEP_XCAST, Packet, Packet6};
use crate::lab::process::until;
use crate::lab::{Lab, Version, assert_receives};
use crate::support::in_namespaces;
use crate::{
    BOTH, CODE_POINTS, Host, PORT, SOURCE_PORT, at, forms, inbox, link, list, next, source, star,
    xcast,
};

const CHANNEL: u128 = 0x0102_0304;

/// A message that stays Xcast, from the host.
fn send(host: &mut Host, to: &[SocketAddr], payload: &str) {
    let destinations = list(to);
    let message = Message {
        destinations: &destinations,
        channel: CHANNEL,
        keep_xcast: true,
        dscp: 10,
        payload: payload.as_bytes(),
        ..Message::default()
    };
    assert_eq!(host.send(&message), Sent { packets: 1, unsent: Vec::new() });
}

/// As it arrives behind one router.
fn arrived(from: SocketAddr, to: SocketAddr, ttl: u8, payload: &str) -> Received {
    Received {
        source: from,
        destination: to.ip(),
        port: to.port(),
        ttl,
        dscp: 10,
        channel: Some(CHANNEL),
        stamp: None,
        payload: payload.as_bytes().to_vec(),
    }
}

#[test]
fn a_listener_gets_it_with_its_channel_and_an_ordinary_socket_does_not() {
    let name = "keep_xcast::a_listener_gets_it_with_its_channel_and_an_ordinary_socket_does_not";
    in_namespaces(name, || {
        let mut lab = star(&["a", "b", "c", "d"]);
        lab.start_routers(&["r"]);
        let first = lab.capture(link(&lab, "a", "r"));
        let to_d = lab.capture(link(&lab, "d", "r"));
        let mut host = Host::open("a");
        let mut inbox = inbox("b", PORT);
        // Other ports, so that a list of them is needed.
        let options = Options { source_port: PORT + 1, ..Options::default() };
        let mut at_c = Host::open_with("c", options);
        for version in BOTH {
            let [b, mut c, mut d] = ["b", "c", "d"].map(|node| at(&lab, version, node));
            c.set_port(PORT + 1);
            d.set_port(PORT + 2);
            let ordinary = lab.receiver("d", d);
            send(&mut host, &[b, c, d], "kept");
            let from = source(&lab, version);
            assert_eq!(next(&mut inbox), arrived(from, b, 63, "kept"));
            assert_eq!(at_c.receive(), arrived(from, c, 63, "kept"));
            until("a copy for `d`", || {
                let form = Form::Xcast(vec![d]);
                to_d.peek_all().into_iter().find(|copy| copy.form == form)
            });
            assert_eq!(forms(&first, "a"), xcast(&[&[b, c, d]]));
            // What comes after it is the first that an ordinary socket gets.
            host.send_all(&[d], "after", 1);
            assert_receives(&ordinary, from, "after");
            first.clear();
        }
    });
}

#[test]
fn plain_and_xcast_datagrams_come_to_one_inbox() {
    in_namespaces("keep_xcast::plain_and_xcast_datagrams_come_to_one_inbox", || {
        let mut lab = star(&["a", "b", "c"]);
        lab.start_routers(&["r"]);
        let mut host = Host::open("a");
        let mut inbox = inbox("b", PORT);
        for version in BOTH {
            let to = ["b", "c"].map(|node| at(&lab, version, node));
            host.send_all(&to, "plain", 1);
            let from = source(&lab, version);
            let plain = Received { dscp: 0, channel: None, ..arrived(from, to[0], 63, "plain") };
            assert_eq!(next(&mut inbox), plain);
            send(&mut host, &to, "kept");
            assert_eq!(next(&mut inbox), arrived(from, to[0], 63, "kept"));
        }
    });
}

#[test]
fn it_reaches_another_socket_of_the_same_host() {
    in_namespaces("keep_xcast::it_reaches_another_socket_of_the_same_host", || {
        let lab = star(&["a"]);
        let mut host = Host::open("a");
        let mut inbox = inbox("a", PORT);
        for version in BOTH {
            let own = at(&lab, version, "a");
            send(&mut host, &[own], "to myself");
            assert_eq!(next(&mut inbox), arrived(source(&lab, version), own, 64, "to myself"));
            // And the socket itself, which asks for nothing but what is there.
            let own = source(&lab, version);
            send(&mut host, &[own], "to myself");
            let received = until("its own packet", || {
                host.with(|socket| socket.receive(Some(Duration::ZERO))).unwrap()
            });
            assert_eq!(received, arrived(own, own, 64, "to myself"));
        }
    });
}

#[test]
fn an_address_alone_is_listened_at_where_one_is_named() {
    in_namespaces("keep_xcast::an_address_alone_is_listened_at_where_one_is_named", || {
        let mut lab = star(&["a", "b"]);
        lab.ip("b", "address add 10.7.0.1/32 dev lo");
        lab.ip("r", &format!("route add 10.7.0.1/32 via {}", lab.address("b", "r")));
        lab.start_routers(&["r"]);
        let mut host = Host::open("a");
        let named = SocketAddr::from(([10, 7, 0, 1], PORT));
        let open = || xcast::host::Inbox::open(Some(named.ip()), PORT, Some(CODE_POINTS));
        let mut inbox = crate::inside("b", open).unwrap();
        send(&mut host, &[at(&lab, Version::V4, "b")], "to another");
        // The host `b` is the gateway of its further address, and does not handle Xcast: what stays
        // Xcast does not go by it, so it is put on the link here.
        let mut packet = Packet::to(from_r(&lab), &[[10, 7, 0, 1].into()], PORT, "to this");
        packet.flags = KEEP_XCAST;
        lab.inject("r", "b", &packet.bytes());
        assert_eq!(next(&mut inbox).payload, b"to this");
    });
}

fn from_r(lab: &Lab) -> SocketAddrV4 {
    SocketAddrV4::new(lab.address("r", "b"), SOURCE_PORT)
}

/// Two packets of each IP version from `r` to `b`, right but for what is changed: the first one
/// is not X, the transport of the second one is broken.
fn wrong_packets(lab: &Lab) -> [Vec<u8>; 4] {
    let v4 = Packet::to(from_r(lab), &[lab.address("b", "r")], PORT, "wrong");
    let source = SocketAddrV6::new(lab.address_v6("r", "b"), SOURCE_PORT, 0, 0);
    let v6 = Packet6::to(source, &[lab.address_v6("b", "r")], PORT, "wrong");
    let mut broken_v4 = Packet { flags: KEEP_XCAST, ..v4.clone() };
    let mut broken_v6 = Packet6 { flags: KEEP_XCAST, ..v6.clone() };
    broken_v4.transport[6] ^= 1;
    broken_v6.transport[6] ^= 1;
    [v4.bytes(), v6.bytes(), broken_v4.bytes(), broken_v6.bytes()]
}

#[test]
fn what_may_still_become_unicast_or_is_broken_is_not_delivered() {
    in_namespaces(
        "keep_xcast::what_may_still_become_unicast_or_is_broken_is_not_delivered",
        || {
            let lab = star(&["b"]);
            let mut inbox = inbox("b", PORT);
            let ordinary = lab.receiver("b", SocketAddr::from(([0, 0, 0, 0], PORT + 1)));
            for wrong in wrong_packets(&lab) {
                lab.inject("r", "b", &wrong);
                // Another port is nobody's here.
                let mut packet =
                    Packet::to(from_r(&lab), &[lab.address("b", "r")], PORT + 1, "other");
                packet.flags = KEEP_XCAST;
                lab.inject("r", "b", &packet.bytes());
                let mut packet = Packet::to(from_r(&lab), &[lab.address("b", "r")], PORT, "right");
                packet.flags = KEEP_XCAST;
                lab.inject("r", "b", &packet.bytes());
                let received = next(&mut inbox);
                assert_eq!((&received.payload[..], received.channel), (&b"right"[..], Some(0)));
            }
            crate::lab::assert_empty(&ordinary);
        },
    );
}

//! No packet is longer than its first link takes, and none is ever fragmented.

use std::net::SocketAddr;

use xcast::forward::DropReason;
use xcast::host::{Message, Sent, Unsent};

use crate::lab::capture::{Capture, Form};
use crate::lab::{Lab, Version, assert_receives};
use crate::support::in_namespaces;
use crate::{
    BOTH, Host, SOURCE_PORT, at, default_route, forms, link, list, many, narrow, receivers, source,
    star, xcast,
};

const MTU: u32 = 1280;

/// All packets that crossed are that long at most, and are whole; those of IPv4 must stay so (DF).
fn assert_whole(capture: &Capture, most: u32) {
    let packets = capture.packets();
    assert!(!packets.is_empty(), "nothing was captured");
    for packet in packets {
        assert!(packet.len() <= most as usize, "{} octets", packet.len());
        match packet[0] >> 4 {
            4 => assert_eq!(packet[6..8], [0x40, 0], "flags and offset"),
            _ => assert_ne!(packet[6], 44, "a fragment header"),
        }
    }
}

#[test]
fn lists_are_split_so_that_packets_fit_the_first_link() {
    in_namespaces("sizes::lists_are_split_so_that_packets_fit_the_first_link", || {
        let mut lab = star(&["a", "b"]);
        narrow(&lab, "a", "r", MTU);
        let to = BOTH
            .map(|version| many(&lab, "b", version, 30 + 70 * u16::from(version == Version::V4)));
        let sockets = to.each_ref().map(|to| receivers("b", to));
        lab.start_routers(&["r"]);
        let wire = lab.capture(link(&lab, "a", "r"));
        let mut host = Host::open("a");
        let payload = "x".repeat(1000);
        // IP 20, Xcast 12, bitmap 8, 4 n, UDP 8: 58. IP 40, Xcast 24, bitmap 8, 16 n, UDP 8: 12.
        let splits = [vec![58, 42], vec![12, 12, 6]];
        for (at, version) in BOTH.into_iter().enumerate() {
            host.send_all(&to[at], &payload, splits[at].len());
            for socket in &sockets[at] {
                assert_receives(socket, source(&lab, version), &payload);
            }
            assert_whole(&wire, MTU);
            let lengths = forms(&wire, "a").into_iter().map(|form| match form {
                Form::Xcast(live) => live.len(),
                other => panic!("{other:?}"),
            });
            assert_eq!(lengths.collect::<Vec<_>>(), splits[at]);
        }
    });
}

#[test]
fn where_no_list_fits_everyone_gets_a_packet_alone() {
    in_namespaces("sizes::where_no_list_fits_everyone_gets_a_packet_alone", || {
        let mut lab = star(&["a", "b", "c"]);
        narrow(&lab, "a", "r", MTU);
        lab.start_routers(&["r"]);
        let wire = lab.capture(link(&lab, "a", "r"));
        let mut host = Host::open("a");
        for (version, headers) in [(Version::V4, 28), (Version::V6, 48)] {
            let payload = "x".repeat(MTU as usize - headers);
            let to = ["b", "c"].map(|node| at(&lab, version, node));
            let sockets = ["b", "c"].map(|node| lab.receiver(node, at(&lab, version, node)));
            host.send_all(&to, &payload, 2);
            for socket in &sockets {
                assert_receives(socket, source(&lab, version), &payload);
            }
            assert_whole(&wire, MTU);
            assert_eq!(forms(&wire, "a"), to.map(Form::Unicast));
        }
    });
}

/// `a` with two Xcast routers: `r` behind a narrow link, `s` behind a wide one.
///
/// ```text
///         ┌── r ── b
///     a ──┤        
///         └── s ── c, d
/// ```
fn two_ways() -> Lab {
    let mut lab = Lab::dual_stack();
    lab.hosts(&["a", "b", "c", "d"]);
    lab.forwarders(&["r", "s"]);
    for (one, other) in [("a", "r"), ("a", "s"), ("b", "r"), ("c", "s"), ("d", "s")] {
        lab.link(one, other);
    }
    for (host, router) in [("b", "r"), ("c", "s"), ("d", "s")] {
        default_route(&lab, host, router);
        crate::route(&lab, "a", router, (host, router));
    }
    narrow(&lab, "a", "r", MTU);
    crate::route(&lab, "r", "a", ("a", "s"));
    crate::route(&lab, "s", "a", ("a", "r"));
    lab
}

#[test]
fn what_is_too_big_even_alone_is_unsent_and_others_are_served() {
    in_namespaces("sizes::what_is_too_big_even_alone_is_unsent_and_others_are_served", || {
        let mut lab = two_ways();
        lab.start_routers_with(&[("r", ""), ("s", "[ports]\nreverse-path = \"loose\"\n")]);
        let [by_r, by_s] = ["r", "s"].map(|router| lab.capture(link(&lab, "a", router)));
        let mut host = Host::open("a");
        let payload = "x".repeat(1300);
        for version in BOTH {
            let address =
                |node, by| SocketAddr::new(lab.address_of(version, node, by), crate::PORT);
            let to = [address("c", "s"), address("b", "r"), address("d", "s")];
            let sockets = ["c", "d"].map(|node| lab.receiver(node, address(node, "s")));
            let unsent = vec![Unsent { index: 1, reason: DropReason::TooBig }];
            assert_eq!(host.send_to(&to, &payload), Sent { packets: 1, unsent });
            let from = SocketAddr::new(lab.address_of(version, "a", "s"), SOURCE_PORT);
            for socket in &sockets {
                assert_receives(socket, from, &payload);
            }
            assert_eq!(forms(&by_s, "a"), xcast(&[&[to[0], to[2]]]));
            assert_eq!(forms(&by_r, "a"), []);
        }
    });
}

#[test]
fn of_several_gateways_the_narrowest_link_counts() {
    in_namespaces("sizes::of_several_gateways_the_narrowest_link_counts", || {
        let mut lab = two_ways();
        // Both routers lead to it; which one is taken depends on the channel.
        let (r, s) = (lab.address("r", "a"), lab.address("s", "a"));
        lab.ip("a", &format!("route add 10.8.0.0/16 nexthop via {r} nexthop via {s}"));
        lab.start_routers(&["r", "s"]);
        let captures = ["r", "s"].map(|router| lab.capture(link(&lab, "a", router)));
        let to: Vec<SocketAddr> =
            (1..=100).map(|number| SocketAddr::from(([10, 8, 0, number], 9))).collect();
        let (destinations, payload) = (list(&to), [0; 1000]);
        let mut host = Host::open("a");
        for (narrow, wide) in [("r", "s"), ("s", "r")] {
            crate::narrow(&lab, "a", wide, 1500);
            crate::narrow(&lab, "a", narrow, MTU);
            for channel in 0..16 {
                let message = Message {
                    destinations: &destinations,
                    channel,
                    payload: &payload,
                    ..Message::default()
                };
                assert_eq!(host.send(&message), Sent { packets: 2, unsent: Vec::new() });
            }
            for capture in &captures {
                assert_whole(capture, MTU);
            }
        }
    });
}

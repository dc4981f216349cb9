//! Ports come, go and come back while the router runs.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use serde_json::Value;

use crate::lab::process::until;
use crate::lab::{assert_empty, assert_receives};
use crate::support::in_namespaces;
use crate::{PORT, Star};

/// A star whose router has a port for `late`, which does not exist yet.
fn star_with_a_missing_port() -> Star {
    let mut star = Star::without_router();
    star.lab.hosts(&["late"]);
    let ports = ["a", "b", "c", "late"];
    let more: String = ports.map(|port| format!("[[port]]\ninterface = \"{port}\"\n")).concat();
    star.lab.start_router("r", &more);
    for interface in &ports[..3] {
        star.lab.wait_for_port("r", interface, "up");
    }
    star
}

/// Links `late`, and opens a receiver there.
fn plug(star: &mut Star) -> UdpSocket {
    let link = star.lab.link("late", "r");
    star.lab.ip("late", &format!("route add default via {}", link.ends[1].address));
    star.lab.receiver("late", SocketAddrV4::new(link.ends[0].address, PORT))
}

/// A packet to `b` and `late` arrives at both.
fn assert_serves_late(star: &Star, late: &UdpSocket, payload: &str) {
    star.send(&star.packet(&[star.at("b"), at(late)], payload));
    assert_receives(&star.receivers[0], star.source(), payload);
    assert_receives(late, star.source(), payload);
}

/// A packet to `b` and `late` arrives at `b`; `late` is dropped for a reason.
fn assert_misses_late(star: &Star, late: Ipv4Addr, payload: &str, reason: &str) {
    let before = star.lab.dropped("r", reason);
    star.send(&star.packet(&[star.at("b"), late], payload));
    assert_receives(&star.receivers[0], star.source(), payload);
    until(&format!("{late} is dropped: {reason}"), || {
        (star.lab.dropped("r", reason) == before + 1).then_some(())
    });
    star.lab.assert_identity("r");
}

fn at(socket: &UdpSocket) -> Ipv4Addr {
    match socket.local_addr().unwrap() {
        std::net::SocketAddr::V4(at) => *at.ip(),
        at @ std::net::SocketAddr::V6(_) => panic!("{at}"),
    }
}

fn state(port: &Value) -> &str {
    port["state"].as_str().unwrap()
}

#[test]
fn a_port_may_be_missing_at_first_and_serves_as_soon_as_it_appears() {
    in_namespaces("ports::a_port_may_be_missing_at_first_and_serves_as_soon_as_it_appears", || {
        let mut star = star_with_a_missing_port();
        let port = star.lab.port("r", "late");
        assert_eq!(
            (state(&port), &port["kernel-drop"]),
            ("missing", &Value::Bool(false)),
            "{port}"
        );
        assert!(port["why-not"].as_str().unwrap().contains("does not exist"), "{port}");
        star.assert_forwards();

        let late = plug(&mut star);
        star.lab.wait_for_port("r", "late", "up");
        assert_eq!(star.lab.port("r", "late")["kernel-drop"], true);
        assert_serves_late(&star, &late, "there");
        // It receives, too.
        let from = SocketAddrV4::new(at(&late), 7);
        let list = [star.at("b"), star.at("c")];
        let packet = crate::lab::packets::Packet::to(from, &list, PORT, "back");
        star.lab.inject("late", "r", &packet.bytes());
        star.receivers.iter().for_each(|receiver| assert_receives(receiver, from, "back"));
    });
}

#[test]
fn a_link_that_loses_its_carrier_is_down_until_it_has_it_again() {
    in_namespaces("ports::a_link_that_loses_its_carrier_is_down_until_it_has_it_again", || {
        let mut star = star_with_a_missing_port();
        let late = plug(&mut star);
        for round in 0..3 {
            star.lab.wait_for_port("r", "late", "up");
            assert_serves_late(&star, &late, &format!("up-{round}"));
            // The other end's going down takes the carrier away; routes stay.
            star.lab.ip("late", "link set dev r down");
            star.lab.wait_for_port("r", "late", "down");
            assert_misses_late(&star, at(&late), &format!("down-{round}"), "port-down");
            assert_empty(&late);
            star.lab.ip("late", "link set dev r up");
            let via = star.gateway("late");
            star.lab.ip("late", &format!("route replace default via {via}"));
        }
        star.assert_forwards();
    });
}

#[test]
fn a_port_that_is_set_down_and_up_again_serves_again() {
    in_namespaces("ports::a_port_that_is_set_down_and_up_again_serves_again", || {
        let mut star = star_with_a_missing_port();
        let late = plug(&mut star);
        star.lab.wait_for_port("r", "late", "up");
        assert_serves_late(&star, &late, "up");
        star.lab.ip("r", "link set dev late down");
        star.lab.wait_for_port("r", "late", "down");
        // With its link the kernel has taken the route away.
        let subnet = format!("{}/24", Ipv4Addr::from_bits(at(&late).to_bits() & !0xff));
        star.lab.wait_for_no_route("r", &subnet);
        assert_misses_late(&star, at(&late), "down", "no-route");
        star.lab.ip("r", "link set dev late up");
        star.lab.wait_for_port("r", "late", "up");
        star.lab.wait_for_route("r", &subnet, None, "live");
        assert_serves_late(&star, &late, "up-again");
        assert!(star.lab.ip("r", "maddr show dev late").contains("224.0.0.254"));
    });
}

#[test]
fn a_port_whose_interface_is_deleted_is_missing_until_it_is_back() {
    in_namespaces("ports::a_port_whose_interface_is_deleted_is_missing_until_it_is_back", || {
        let mut star = star_with_a_missing_port();
        for round in 0..3 {
            let late = plug(&mut star);
            star.lab.wait_for_port("r", "late", "up");
            assert_eq!(star.lab.port("r", "late")["kernel-drop"], true, "round {round}");
            assert_serves_late(&star, &late, &format!("up-{round}"));
            star.lab.ip("r", "link del dev late");
            star.lab.unplugged("late");
            star.lab.wait_for_port("r", "late", "missing");
            assert_misses_late(&star, at(&late), &format!("gone-{round}"), "no-route");
            star.assert_forwards();
        }
        star.lab.stop_router("r");
    });
}

#[test]
fn a_link_that_is_not_a_port_is_left_alone() {
    in_namespaces("ports::a_link_that_is_not_a_port_is_left_alone", || {
        let mut star = Star::without_router();
        let more = ["a", "b"].map(|port| format!("[[port]]\ninterface = \"{port}\"\n")).concat();
        star.lab.start_router("r", &more);
        ["a", "b"].iter().for_each(|port| star.lab.wait_for_port("r", port, "up"));
        assert_eq!(star.lab.show("r", "ports")["ports"].as_array().unwrap().len(), 2);
        assert!(!star.lab.ip("r", "maddr show dev c").contains("224.0.0.254"));
        assert_misses_late(&star, star.at("c"), "not-by-c", "port-down");
        assert_empty(&star.receivers[1]);
    });
}

#[test]
fn an_unlisted_interface_becomes_a_port_where_none_is_listed() {
    in_namespaces("ports::an_unlisted_interface_becomes_a_port_where_none_is_listed", || {
        let mut star = Star::new();
        star.lab.hosts(&["late"]);
        let late = plug(&mut star);
        until("the new port is up", || {
            let ports = star.lab.show("r", "ports");
            let mut each = ports["ports"].as_array()?.iter();
            each.any(|p| p["interface"] == "late" && p["state"] == "up").then_some(())
        });
        assert_serves_late(&star, &late, "new");
        let ports = star.lab.show("r", "ports");
        let names = ports["ports"].as_array().unwrap().iter().map(|port| &port["interface"]);
        assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c", "late", "n"], "no loopback");
    });
}

#[test]
fn what_is_too_big_for_one_link_still_leaves_by_the_others() {
    in_namespaces("ports::what_is_too_big_for_one_link_still_leaves_by_the_others", || {
        let mut star = Star::new();
        let payload = "x".repeat(1200);
        for (mtu, fits) in [(1228, true), (1227, false), (1500, true)] {
            star.lab.ip("r", &format!("link set dev b mtu {mtu}"));
            until("the router knows the MTU", || {
                (star.lab.port("r", "b")["mtu"] == mtu).then_some(())
            });
            let before = star.lab.dropped("r", "too-big");
            star.send(&star.packet(&[star.at("b"), star.at("c")], &payload));
            assert_receives(&star.receivers[1], star.source(), &payload);
            if fits {
                assert_receives(&star.receivers[0], star.source(), &payload);
            } else {
                until("it is too big", || {
                    (star.lab.dropped("r", "too-big") == before + 1).then_some(())
                });
                assert_empty(&star.receivers[0]);
            }
            star.assert_forwards();
        }
        assert_eq!(star.lab.dropped("r", "too-big"), 1);
    });
}

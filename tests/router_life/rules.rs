//! Who may send through a router, and who may be reached.

use std::net::{Ipv4Addr, SocketAddrV4};

use nix::sys::signal::Signal;

use crate::lab::packets::Packet;
use crate::lab::process::{Stream, until};
use crate::lab::write_config;
use crate::lab::{assert_empty, assert_receives};
use crate::support::in_namespaces;
use crate::{FAR, PORT, SOURCE_PORT, Star};

/// A packet to `b` that comes from `a`'s link under any source.
fn send_as(star: &Star, source: Ipv4Addr, payload: &str) {
    let source = SocketAddrV4::new(source, SOURCE_PORT);
    star.send(&Packet::to(source, &[star.at("b")], PORT, payload));
}

fn assert_passes(star: &Star, source: Ipv4Addr, payload: &str) {
    send_as(star, source, payload);
    assert_receives(&star.receivers[0], SocketAddrV4::new(source, SOURCE_PORT), payload);
}

fn assert_stops(star: &Star, source: Ipv4Addr, reason: &str) {
    let before = star.lab.dropped("r", reason);
    send_as(star, source, "stopped");
    until(&format!("{source} is stopped: {reason}"), || {
        (star.lab.dropped("r", reason) == before + 1).then_some(())
    });
    assert_empty(&star.receivers[0]);
}

#[test]
fn the_way_back_to_a_source_is_checked_as_the_port_says() {
    in_namespaces("rules::the_way_back_to_a_source_is_checked_as_the_port_says", || {
        let mut star = Star::without_router();
        let (own, elsewhere, unknown) = (star.at("a"), star.at("c"), Ipv4Addr::new(192, 0, 2, 1));
        for mode in ["strict", "loose", "off"] {
            star.start(&format!("[ports]\nreverse-path = \"{mode}\""));
            assert_eq!(star.lab.port("r", "a")["reverse-path"], mode);
            assert_passes(&star, own, "own");
            // `c` is routed by another port; behind `n`, by a gateway of another port.
            for source in [elsewhere, FAR[0]] {
                match mode {
                    "strict" => assert_stops(&star, source, "reverse-path"),
                    _ => assert_passes(&star, source, mode),
                }
            }
            match mode {
                "off" => assert_passes(&star, unknown, mode),
                _ => assert_stops(&star, unknown, "reverse-path"),
            }
            star.lab.assert_identity("r");
            star.lab.stop_router("r");
        }
    });
}

#[test]
fn a_port_may_check_the_way_back_unlike_all_others() {
    in_namespaces("rules::a_port_may_check_the_way_back_unlike_all_others", || {
        let others = ["b", "c", "n"].map(|port| format!("[[port]]\ninterface = \"{port}\"\n"));
        let mut star = Star::without_router();
        let a = "[[port]]\ninterface = \"a\"\nreverse-path = \"loose\"\n";
        star.start(&format!("[ports]\nreverse-path = \"strict\"\n{a}{}", others.concat()));
        assert_passes(&star, star.at("c"), "loose");
        let (from_b, list) = (SocketAddrV4::new(star.at("c"), SOURCE_PORT), [star.at("c")]);
        star.lab.inject("b", "r", &Packet::to(from_b, &list, PORT, "strict").bytes());
        until("it is dropped", || (star.lab.dropped("r", "reverse-path") == 1).then_some(()));
        star.assert_forwards();
    });
}

#[test]
fn an_off_port_still_refuses_sources_that_no_host_has() {
    in_namespaces("rules::an_off_port_still_refuses_sources_that_no_host_has", || {
        let star = Star::with("[ports]\nreverse-path = \"off\"");
        for source in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
            assert_stops(&star, source.into(), "source");
        }
    });
}

#[test]
fn lists_say_who_may_send_and_who_may_be_reached() {
    in_namespaces("rules::lists_say_who_may_send_and_who_may_be_reached", || {
        let mut star = Star::without_router();
        let (a, b, c) = (star.at("a"), star.at("b"), star.at("c"));
        star.start(&format!("[limits]\nsources = [\"{b}/32\"]"));
        assert_stops(&star, a, "source-not-allowed");
        star.lab.stop_router("r");

        star.start(&format!("[limits]\nsources = [\"{a}/32\"]\ndestinations = [\"{b}/32\"]"));
        star.send(&star.packet(&[c, b], "b-alone"));
        assert_receives(&star.receivers[0], star.source(), "b-alone");
        until("c is refused", || {
            (star.lab.dropped("r", "destination-not-allowed") == 1).then_some(())
        });
        assert_empty(&star.receivers[1]);
        star.lab.assert_identity("r");
    });
}

#[test]
fn a_reload_takes_up_what_is_right_and_refuses_what_is_not() {
    in_namespaces("rules::a_reload_takes_up_what_is_right_and_refuses_what_is_not", || {
        let star = Star::new();
        let elsewhere = star.at("c");
        assert_stops(&star, elsewhere, "reverse-path");
        write_config("r", "[ports]\nreverse-path = \"off\"");
        star.lab.router("r").signal(Signal::SIGHUP);
        until("the port is off", || {
            (star.lab.port("r", "a")["reverse-path"] == "off").then_some(())
        });
        assert_passes(&star, elsewhere, "off");

        write_config("r", "[ports]\nreverse-path = \"sideways\"");
        star.lab.router("r").signal(Signal::SIGHUP);
        star.lab.router("r").log.wait_for_part(Stream::Error, "sideways");
        assert_passes(&star, elsewhere, "still-off");
    });
}

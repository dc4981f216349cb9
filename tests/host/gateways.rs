//! Gateways that handle Xcast, and such that do not.
//!
//! ```text
//!         ┌── g ──┬ b        `g` is a stock Linux router
//!     a ──┤       └ c
//!         └── r ──┬ d        `r` handles Xcast, once its router runs
//!                 └ e
//! ```

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use xcast::host::{Destination, Options, Sent};

use crate::lab::capture::Form;
use crate::lab::process::{PATIENCE, until};
use crate::lab::{Lab, Version, assert_receives};
use crate::support::in_namespaces;
use crate::{BOTH, Host, PORT, SOURCE_PORT, default_route, forms, link, list, route, xcast};

/// Longer than any test: who waits that long is found by [`soon`].
const FOREVER: Duration = Duration::from_secs(3600);

fn network() -> Lab {
    let mut lab = Lab::dual_stack();
    lab.hosts(&["a", "b", "c", "d", "e"]);
    lab.forwarders(&["g", "r"]);
    for (one, other) in [("a", "g"), ("a", "r")] {
        lab.link(one, other);
    }
    for (host, gateway) in [("b", "g"), ("c", "g"), ("d", "r"), ("e", "r")] {
        lab.link(host, gateway);
        default_route(&lab, host, gateway);
        route(&lab, "a", gateway, (host, gateway));
    }
    lab
}

/// Where the hosts behind a gateway receive.
fn behind(lab: &Lab, version: Version, gateway: &str) -> [SocketAddr; 2] {
    let hosts = if gateway == "g" { ["b", "c"] } else { ["d", "e"] };
    hosts.map(|host| SocketAddr::new(lab.address_of(version, host, gateway), PORT))
}

/// What `a` sends from, where the first destination is behind that gateway.
fn from(lab: &Lab, version: Version, gateway: &str) -> SocketAddr {
    SocketAddr::new(lab.address_of(version, "a", gateway), SOURCE_PORT)
}

/// Does something that must not wait forever.
fn soon<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(body()));
    wait.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[test]
fn one_copy_leaves_for_an_xcast_router_and_unicast_copies_for_a_stock_one() {
    let name = "gateways::one_copy_leaves_for_an_xcast_router_and_unicast_copies_for_a_stock_one";
    in_namespaces(name, || {
        let mut lab = network();
        lab.start_routers_with(&[("r", "[ports]\nreverse-path = \"off\"\n")]);
        for gateway in ["g", "r"] {
            route(&lab, gateway, "a", ("a", if gateway == "g" { "r" } else { "g" }));
        }
        let [by_g, by_r] = ["g", "r"].map(|gateway| lab.capture(link(&lab, "a", gateway)));
        let mut host = Host::open("a");
        for version in BOTH {
            let [[b, c], [d, e]] = ["g", "r"].map(|gateway| behind(&lab, version, gateway));
            let sockets =
                [("b", b), ("c", c), ("d", d), ("e", e)].map(|(node, at)| lab.receiver(node, at));
            for payload in ["first", "second"] {
                host.send_all(&[b, d, c, e], payload, 1);
                for socket in &sockets {
                    assert_receives(socket, from(&lab, version, "g"), payload);
                }
                assert_eq!(forms(&by_g, "a"), [b, c].map(Form::Unicast));
                assert_eq!(forms(&by_r, "a"), xcast(&[&[d, e]]));
            }
        }
    });
}

#[test]
fn a_gateway_is_found_out_without_waiting_for_patience_to_end() {
    in_namespaces("gateways::a_gateway_is_found_out_without_waiting_for_patience_to_end", || {
        let lab = network();
        let to = behind(&lab, Version::V4, "g");
        let sockets = [("b", to[0]), ("c", to[1])].map(|(node, at)| lab.receiver(node, at));
        let options = Options { patience: FOREVER, ..Options::default() };
        let mut host = Host::open_with("a", options);
        soon("the first round ends", move || host.send_all(&to, "first", 1));
        for socket in &sockets {
            assert_receives(socket, from(&lab, Version::V4, "g"), "first");
        }
    });
}

#[test]
fn a_gateway_that_is_not_there_is_waited_for_only_once() {
    in_namespaces("gateways::a_gateway_that_is_not_there_is_waited_for_only_once", || {
        let lab = network();
        let nobody = "10.9.1.77";
        lab.ip("a", &format!("route add 10.7.0.0/16 via {nobody}"));
        let to = [1, 2].map(|host| SocketAddr::from(([10, 7, 0, host], PORT)));
        let options = Options { patience: FOREVER, ..Options::default() };
        let mut host = Host::open_with("a", options);
        let destinations = list(&to);
        let settle = |host: &mut Host, destinations: &[Destination], patience| {
            host.with(|socket| socket.settle(destinations, patience)).unwrap();
        };
        settle(&mut host, &destinations, Duration::from_millis(100));
        soon("nobody waits again", move || {
            settle(&mut host, &destinations, FOREVER);
            host.send_all(&to, "not again", 1);
        });
    });
}

#[test]
fn without_patience_unicast_leaves_until_the_gateway_is_known() {
    in_namespaces("gateways::without_patience_unicast_leaves_until_the_gateway_is_known", || {
        let mut lab = network();
        lab.start_routers(&["r"]);
        let by_r = lab.capture(link(&lab, "a", "r"));
        let to = behind(&lab, Version::V4, "r");
        let sockets = [("d", to[0]), ("e", to[1])].map(|(node, at)| lab.receiver(node, at));
        let mut host =
            Host::open_with("a", Options { patience: Duration::ZERO, ..Options::default() });
        let source = from(&lab, Version::V4, "r");
        host.send_all(&to, "at once", 1);
        host.with(|socket| socket.flush()).unwrap();
        for socket in &sockets {
            assert_receives(socket, source, "at once");
        }
        assert_eq!(forms(&by_r, "a"), to.map(Form::Unicast));
        let destinations = list(&to);
        host.with(|socket| socket.settle(&destinations, PATIENCE)).unwrap();
        host.send_all(&to, "later", 1);
        for socket in &sockets {
            assert_receives(socket, source, "later");
        }
        assert_eq!(forms(&by_r, "a"), xcast(&[&to]));
    });
}

#[test]
fn a_router_that_starts_later_gets_xcast_from_then_on() {
    in_namespaces("gateways::a_router_that_starts_later_gets_xcast_from_then_on", || {
        let mut lab = network();
        let by_r = lab.capture(link(&lab, "a", "r"));
        let to = behind(&lab, Version::V6, "r");
        let mut host = Host::open("a");
        host.send_all(&to, "before", 1);
        assert_eq!(forms(&by_r, "a"), to.map(Form::Unicast));
        lab.start_routers(&["r"]);
        // It is asked again every 5 seconds.
        until("an Xcast copy", || {
            host.with(|socket| socket.receive(Some(Duration::from_millis(100)))).unwrap();
            host.send_all(&to, "after", 1);
            (forms(&by_r, "a") == xcast(&[&to])).then_some(())
        });
    });
}

#[test]
fn what_must_stay_xcast_is_unsent_where_the_gateway_does_not_handle_it() {
    in_namespaces(
        "gateways::what_must_stay_xcast_is_unsent_where_the_gateway_does_not_handle_it",
        || {
            let mut lab = network();
            lab.start_routers(&["r"]);
            let mut host = Host::open("a");
            let ([b, _], [d, _]) = (behind(&lab, Version::V4, "g"), behind(&lab, Version::V4, "r"));
            let mut inbox = crate::inbox("d", PORT);
            let destinations = list(&[d, b]);
            let message = xcast::host::Message {
                destinations: &destinations,
                keep_xcast: true,
                payload: b"kept",
                ..Default::default()
            };
            let reason = xcast::forward::DropReason::IncapableWithX;
            let unsent = vec![xcast::host::Unsent { index: 1, reason }];
            assert_eq!(host.send(&message), Sent { packets: 1, unsent });
            assert_eq!(crate::next(&mut inbox).payload, b"kept");
        },
    );
}

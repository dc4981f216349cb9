//! Which neighbors handle Xcast, and unicast copies towards those that do not (WIRE.md R9).
//!
//! ```text
//!            s ── r2 ── b         `s` is a stock Linux router: it forwards, and knows no Xcast
//!           /       \
//!   a ── r1          c
//!           \
//!            r3 ── d
//!              \
//!               e
//! ```

use std::net::{SocketAddr, UdpSocket};

use crate::lab::capture::Capture;
use crate::lab::{Lab, Version, assert_empty, assert_receives};
use crate::support::in_namespaces;
use crate::tree::{Gateways, Message, assert_same, crossed, install_routes};
use crate::{BOTH, SOURCE_PORT, words};

const PORT: u16 = 9000;
const LINKS: [(&str, &str); 8] = [
    ("a", "r1"),
    ("r1", "s"),
    ("s", "r2"),
    ("r2", "b"),
    ("r2", "c"),
    ("r1", "r3"),
    ("r3", "d"),
    ("r3", "e"),
];
const RECEIVERS: [(&str, &str); 4] = [("b", "r2"), ("c", "r2"), ("d", "r3"), ("e", "r3")];

struct Fork {
    lab: Lab,
    captures: Vec<Capture>,
}

impl Fork {
    /// The network above, with more configuration for `r1`.
    fn build(more: impl FnOnce(&Lab) -> String) -> Fork {
        let mut lab = Lab::dual_stack();
        lab.hosts(&["a", "b", "c", "d", "e"]);
        lab.forwarders(&["r1", "r2", "r3", "s"]);
        for (one, other) in LINKS {
            lab.link(one, other);
        }
        install_routes(&lab, Gateways::Global);
        let more = more(&lab);
        lab.start_routers_with(&[("r1", &more), ("r2", ""), ("r3", "")]);
        let captures = lab.capture_all();
        Fork { lab, captures }
    }

    fn destinations(&self, version: Version) -> Vec<SocketAddr> {
        let at = |(host, edge): (&str, &str)| self.lab.address_of(version, host, edge);
        RECEIVERS.map(|end| SocketAddr::new(at(end), PORT)).into()
    }

    fn receivers(&self, version: Version) -> Vec<UdpSocket> {
        let hosts = RECEIVERS.iter().zip(self.destinations(version));
        hosts.map(|((host, _), to)| self.lab.receiver(host, to)).collect()
    }

    fn message<'a>(&self, version: Version, payload: &'a str) -> Message<'a> {
        let source = SocketAddr::new(self.lab.address_of(version, "a", "r1"), SOURCE_PORT);
        let to = self.destinations(version);
        Message { from: "a", source, to, payload, keeps_xcast: false }
    }

    /// Sends to all.
    fn send(&mut self, version: Version, payload: &str, more: &str) {
        let to = words(&self.destinations(version));
        let arguments = format!("--to {to} --source-port {SOURCE_PORT} --text {payload} {more}");
        self.lab.send("a", arguments.trim_end());
    }

    /// What `node` thinks of the neighbor at the other end of a link: whether it handles Xcast,
    /// and whether that is configured.
    fn opinion(&self, version: Version, node: &str, neighbor: &str) -> (String, bool) {
        let address = self.lab.address_of(version, neighbor, node).to_string();
        let neighbors = self.lab.show(node, "neighbors");
        let mut each = neighbors["neighbors"].as_array().unwrap().iter();
        let found = each.find(|found| found["address"] == address.as_str());
        let found = found.unwrap_or_else(|| panic!("{node} knows no {address}: {neighbors}"));
        (found["xcast"].as_str().unwrap().to_owned(), found["pinned"].as_bool().unwrap())
    }
}

#[test]
fn what_lies_behind_a_stock_router_gets_unicast_copies_early() {
    in_namespaces("neighbors::what_lies_behind_a_stock_router_gets_unicast_copies_early", || {
        let mut fork = Fork::build(|_| String::new());
        for version in BOTH {
            let found = |xcast: &str| (xcast.to_owned(), false);
            assert_eq!(fork.opinion(version, "r1", "s"), found("incapable"));
            assert_eq!(fork.opinion(version, "r2", "s"), found("incapable"));
            assert_eq!(fork.opinion(version, "r1", "r3"), found("capable"));
            assert_eq!(fork.opinion(version, "r3", "r1"), found("capable"));
        }
        for (rounds, version) in (1..).zip(BOTH) {
            let receivers = fork.receivers(version);
            fork.send(version, "early", "");
            let message = fork.message(version, "early");
            for receiver in &receivers {
                assert_receives(receiver, message.source, "early");
            }
            assert_same(crossed(&fork.captures), message.copies(&fork.lab, &["s"]));
            assert_eq!(fork.lab.counter("r1", "premature-unicast-conversions"), 2 * rounds);
            assert_eq!(fork.lab.counter("r3", "unicast-conversions"), 2 * rounds);
        }
        for router in ["r1", "r2", "r3"] {
            fork.lab.assert_identity(router);
            assert_eq!(fork.lab.counter(router, "destinations-dropped"), 0, "{router}");
        }
        assert_eq!(fork.lab.counter("r2", "packets-received"), 0, "unicast is its kernel's");
    });
}

#[test]
fn what_must_stay_xcast_is_dropped_in_front_of_a_stock_router() {
    in_namespaces("neighbors::what_must_stay_xcast_is_dropped_in_front_of_a_stock_router", || {
        let mut fork = Fork::build(|_| String::new());
        for (rounds, version) in (1..).zip(BOTH) {
            fork.send(version, "kept", "--keep-xcast");
            let mut message = fork.message(version, "kept");
            message.keeps_xcast = true;
            let expected = message.copies(&fork.lab, &["s"]);
            assert_eq!(expected.len(), 4, "to r1, from it to r3, to d and e");
            // The last link's copy has crossed all others before.
            crate::lab::process::until("d and e have theirs", || {
                let copies = fork.captures.iter().flat_map(Capture::peek_all);
                (copies.count() == expected.len()).then_some(())
            });
            assert_same(crossed(&fork.captures), expected);
            assert_eq!(fork.lab.dropped("r1", "incapable-with-x"), 2 * rounds);
            fork.lab.assert_identity("r1");
        }
    });
}

#[test]
fn what_is_configured_of_a_neighbor_outweighs_what_it_answers() {
    in_namespaces("neighbors::what_is_configured_of_a_neighbor_outweighs_what_it_answers", || {
        let mut fork = Fork::build(|lab| {
            let pins = BOTH.into_iter().flat_map(|version| {
                [("s", "yes"), ("r3", "no")].map(|(neighbor, xcast)| {
                    let address = lab.address_of(version, neighbor, "r1");
                    format!("[[neighbor]]\naddress = \"{address}\"\nxcast = \"{xcast}\"\n")
                })
            });
            pins.collect()
        });
        for version in BOTH {
            let pinned = |xcast: &str| (xcast.to_owned(), true);
            assert_eq!(fork.opinion(version, "r1", "s"), pinned("capable"));
            assert_eq!(fork.opinion(version, "r1", "r3"), pinned("incapable"));
            let receivers = fork.receivers(version);
            fork.send(version, "pinned", "");
            let message = fork.message(version, "pinned");
            for receiver in &receivers[2..] {
                assert_receives(receiver, message.source, "pinned");
            }
            // `s` is taken for an Xcast router, and loses what it is sent.
            let mut expected = message.copies(&fork.lab, &["r3"]);
            expected.retain(|copy| !["s", "r2"].contains(&&*copy.from));
            assert_same(crossed(&fork.captures), expected);
            receivers.iter().for_each(assert_empty);
        }
    });
}

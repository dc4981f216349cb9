//! Hosts that forward for each other, with no Xcast router at all (RFC 5058 section 11.4).
//!
//! ```text
//!   a ── r ── b      r forwards unicast and knows no Xcast
//!        ├─── c
//!        └─── d
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::net::{SocketAddr, UdpSocket};

use lab::capture::Capture;
use lab::process::until;
use lab::{Lab, Version, assert_empty, assert_receives};
use support::in_namespaces;

const PORT: u16 = 9000;
const SOURCE_PORT: u16 = 5000;
const TAKES_PART: &str = "[[tunnel]]\nname = \"all\"\nkind = \"hosts\"\n";

struct Star {
    lab: Lab,
    version: Version,
    to: Vec<SocketAddr>,
    receivers: Vec<UdpSocket>,
}

impl Star {
    /// `accept` is what b, c and d forward for.
    fn new(version: Version, accept: &str) -> Star {
        let mut lab = Lab::dual_stack();
        lab.hosts(&["a", "b", "c", "d"]);
        lab.forwarders(&["r"]);
        for host in ["a", "b", "c", "d"] {
            lab.link(host, "r");
            lab.ip(host, &format!("route add default via {}", lab.address("r", host)));
            lab.ip(host, &format!("-6 route add default via {}", lab.address_v6("r", host)));
        }
        let config = format!("{TAKES_PART}[semi-permeable]\naccept = [{accept}]\n");
        let config = config.as_str();
        lab.start_routers_with(&[("b", config), ("c", config), ("d", config)]);
        let to: Vec<SocketAddr> = ["b", "c", "d"]
            .map(|host| SocketAddr::new(lab.address_of(version, host, "r"), PORT))
            .into();
        let receivers = ["b", "c", "d"].iter().zip(&to).map(|(host, to)| lab.receiver(host, *to));
        let receivers = receivers.collect();
        Star { lab, version, to, receivers }
    }

    fn source(&self) -> SocketAddr {
        SocketAddr::new(self.lab.address_of(self.version, "a", "r"), SOURCE_PORT)
    }

    fn send(&mut self, payload: &str) {
        let to: Vec<String> = self.to.iter().map(SocketAddr::to_string).collect();
        let to = to.join(",");
        let words = format!("--hosts-only --to {to} --source-port {SOURCE_PORT} --text {payload}");
        self.lab.send("a", &words);
    }
}

/// The protocols of the packets on a link that hold a payload, in order.
fn protocols(capture: &Capture, payload: &str) -> Vec<u8> {
    let packets = capture.all_packets();
    let holding =
        packets.iter().filter(|p| p.windows(payload.len()).any(|o| o == payload.as_bytes()));
    holding.map(|packet| if packet[0] >> 4 == 4 { packet[9] } else { packet[6] }).collect()
}

fn chain(version: Version, accept: &str, inside: u8) {
    let mut star = Star::new(version, accept);
    let captures = star.lab.capture_all();
    star.send("one-after-the-other");
    let source = star.source();
    for receiver in &star.receivers {
        assert_receives(receiver, source, "one-after-the-other");
        assert_empty(receiver);
    }
    // a sends once; b and c get it in a tunnel and send it on; d is the last.
    let crossed = |link: usize| protocols(&captures[link], "one-after-the-other");
    assert_eq!(crossed(0), [inside]);
    assert_eq!(crossed(1), [inside, inside]);
    assert_eq!(crossed(2), [inside, 17]);
    assert_eq!(crossed(3), [17]);
    for host in ["b", "c", "d"] {
        star.lab.assert_identity(host);
    }
}

#[test]
fn each_host_sends_on_to_the_next_over_ipv4() {
    in_namespaces("each_host_sends_on_to_the_next_over_ipv4", || {
        chain(Version::V4, "\"10.9.0.0/16\"", 4);
    });
}

#[test]
fn each_host_sends_on_to_the_next_over_ipv6() {
    in_namespaces("each_host_sends_on_to_the_next_over_ipv6", || {
        chain(Version::V6, "\"fd00:9::/32\"", 41);
    });
}

/// Hosts forward for nobody whom they do not list.
#[test]
fn for_others_nobody_forwards() {
    in_namespaces("for_others_nobody_forwards", || {
        let mut star = Star::new(Version::V4, "\"10.9.2.0/24\"");
        star.send("not-for-you");
        until("b has dropped it", || (star.lab.dropped("b", "unknown-end") == 1).then_some(()));
        star.receivers.iter().for_each(assert_empty);
        star.lab.assert_identity("b");
    });
}

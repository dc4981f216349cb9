//! Tunnels between real kernels (RFC 5058 section 11.1): routers that speak Xcast joined over one
//! that does not.
//!
//! ```text
//!   a ── x1 ── r ── x3 ── b          r forwards unicast and knows no Xcast
//!                   └──── c
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

#[path = "tunnels/daemons.rs"]
mod daemons;
#[path = "tunnels/hostile.rs"]
mod hostile;
#[path = "tunnels/keys.rs"]
mod keys;
#[path = "tunnels/kinds.rs"]
mod kinds;
#[path = "tunnels/paths.rs"]
mod paths;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use lab::capture::Capture;
use lab::process::{Stream, until};
use lab::{Lab, Version, assert_receives};

const PORT: u16 = 9000;
const SOURCE_PORT: u16 = 5000;

/// How outer and inner packets travel.
#[derive(Clone, Copy, Debug)]
struct Way {
    kind: &'static str,
    outer: Version,
    inner: Version,
}

/// The network, with a tunnel between x1 and x3 on static routes.
struct Line {
    lab: Lab,
    receivers: Vec<UdpSocket>,
    to: Vec<SocketAddr>,
    captures: Vec<Capture>,
    inner: Version,
}

impl Line {
    /// The network and its unicast routes, in which nobody speaks Xcast yet.
    fn network() -> Lab {
        let mut lab = Lab::dual_stack();
        lab.hosts(&["a", "b", "c"]);
        lab.forwarders(&["x1", "r", "x3"]);
        for (one, other) in [("a", "x1"), ("x1", "r"), ("r", "x3"), ("x3", "b"), ("x3", "c")] {
            lab.link(one, other);
        }
        for (node, gateway) in [("a", "x1"), ("b", "x3"), ("c", "x3"), ("x1", "r"), ("x3", "r")] {
            lab.ip(node, &format!("route add default via {}", lab.address(gateway, node)));
            lab.ip(node, &format!("-6 route add default via {}", lab.address_v6(gateway, node)));
        }
        for (far, gateway) in [(0, "x1"), (3, "x3"), (4, "x3")] {
            let link = lab.links[far].clone();
            let via = (lab.address(gateway, "r"), lab.address_v6(gateway, "r"));
            lab.ip("r", &format!("route add {} via {}", link.subnet(), via.0));
            lab.ip("r", &format!("-6 route add {} via {}", link.subnet_v6(), via.1));
        }
        lab
    }

    fn new(way: Way) -> Line {
        Line::with(way, "")
    }

    /// The same with more of `[router]`.
    fn with(way: Way, more: &str) -> Line {
        let mut lab = Line::network();
        let end = |node| lab.address_of(way.outer, node, "r").to_string();
        let (x1, x3) = (end("x1"), end("x3"));
        let subnet = |at: usize| match way.inner {
            Version::V4 => lab.links[at].subnet(),
            Version::V6 => lab.links[at].subnet_v6(),
        };
        let forth = tunnel("t", way.kind, (&x1, &x3), "", &[subnet(3), subnet(4)]);
        let back = tunnel("t", way.kind, (&x3, &x1), "", &[subnet(0)]);
        // Which says how many workers there are itself, where it is set.
        let more = if std::env::var_os("XCAST_TEST_WORKERS").is_some() { "" } else { more };
        let [forth, back] = [forth, back].map(|config| more.to_owned() + &config);
        lab.start_routers_with(&[("x1", &forth), ("x3", &back)]);
        lab.wait_for_tunnel("x1", "up");
        lab.wait_for_tunnel("x3", "up");
        let to: Vec<SocketAddr> = ["b", "c"]
            .map(|host| SocketAddr::new(lab.address_of(way.inner, host, "x3"), PORT))
            .into();
        let receivers = ["b", "c"].iter().zip(&to).map(|(host, to)| lab.receiver(host, *to));
        let receivers = receivers.collect();
        let captures = lab.capture_all();
        Line { lab, receivers, to, captures, inner: way.inner }
    }

    fn source(&self) -> SocketAddr {
        SocketAddr::new(self.lab.address_of(self.inner, "a", "x1"), SOURCE_PORT)
    }

    fn send(&mut self, to: &[SocketAddr], payload: &str) {
        let to: Vec<String> = to.iter().map(SocketAddr::to_string).collect();
        let to = to.join(",");
        let words = format!("--to {to} --source-port {SOURCE_PORT} --text {payload}");
        self.lab.send("a", &words);
    }

    /// A packet to both arrives at both.
    fn assert_serves(&mut self, payload: &str) {
        let to = self.to.clone();
        self.send(&to, payload);
        let source = self.source();
        self.receivers.iter().for_each(|receiver| assert_receives(receiver, source, payload));
    }
}

/// A `[[tunnel]]` with static routes into it.
fn tunnel(
    name: &str,
    kind: &str,
    (local, remote): (&str, &str),
    more: &str,
    prefixes: &[String],
) -> String {
    let insecure = if kind == "udp" { "insecure = true\n" } else { "" };
    let mut text = format!(
        "[[tunnel]]\nname = \"{name}\"\nkind = \"{kind}\"\nlocal = \"{local}\"\n\
         remote = \"{remote}\"\n{insecure}{more}"
    );
    for prefix in prefixes {
        text += &format!("[[route]]\nprefix = \"{prefix}\"\ntunnel = \"{name}\"\n");
    }
    text
}

impl Lab {
    fn tunnel(&self, node: &str) -> serde_json::Value {
        self.show(node, "tunnels")["tunnels"][0].clone()
    }

    fn wait_for_tunnel(&self, node: &str, state: &str) {
        until(&format!("the tunnel of {node} is {state}"), || {
            (self.tunnel(node)["state"] == state).then_some(())
        });
    }
}

/// Whether an IP packet is one of another between these two.
fn is_outer(packet: &[u8], protocol: u8, source: IpAddr, destination: IpAddr) -> bool {
    match (packet[0] >> 4, source, destination) {
        (4, IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet[9] == protocol
                && packet[12..16] == source.octets()
                && packet[16..20] == destination.octets()
        }
        (6, IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet[6] == protocol
                && packet[8..24] == source.octets()
                && packet[24..40] == destination.octets()
        }
        _ => false,
    }
}

/// What a program has said on standard error.
fn said(process: &lab::process::Process) -> String {
    process.log.lines(Stream::Error).join("\n")
}

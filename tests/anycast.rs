//! Anycast between real kernels (RFC 5058 section 11.5): a few Xcast routers serve a network of plain ones
//! at one unicast address.
//!
//! ```text
//!   a ── x ── r1 ── s1        s1 and s2 have the service address; r1 takes the nearer one
//!             │
//!             r2 ── s2
//!             ├──── b
//!             └──── c
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use lab::process::until;
use lab::{Lab, Version, assert_receives, inside};
use support::in_namespaces;
use xcast::host::{Destination, Message, Options, XcastSocket};
use xcast::wire::CodePoints;

const PORT: u16 = 9000;
const SOURCE_PORT: u16 = 5000;
/// Those of the lab's routers.
const CODE_POINTS: CodePoints = CodePoints {
    ip_protocol: 253,
    all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
    all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
    routing_type: 253,
    ports_option: 0x5e,
    hop_by_hop_option: 0x1e,
};

/// The network with routes to the service, and receivers on b and c.
struct Network {
    lab: Lab,
    receivers: Vec<UdpSocket>,
    to: Vec<SocketAddr>,
    source: SocketAddr,
    service: IpAddr,
    ip: &'static str,
}

impl Network {
    fn new(version: Version) -> Network {
        let (service, length, ip): (IpAddr, _, _) = match version {
            Version::V4 => ([192, 0, 2, 53].into(), 32, "-4"),
            Version::V6 => ("2001:db8::53".parse().unwrap(), 128, "-6"),
        };
        let mut lab = Lab::dual_stack();
        lab.hosts(&["a", "b", "c", "s1", "s2"]);
        lab.forwarders(&["x", "r1", "r2"]);
        for (one, other) in [
            ("a", "x"),
            ("x", "r1"),
            ("r1", "s1"),
            ("r1", "r2"),
            ("r2", "s2"),
            ("r2", "b"),
            ("r2", "c"),
        ] {
            lab.link(one, other);
        }
        let address = |lab: &Lab, node, near| lab.address_of(version, node, near);
        for (node, gateway) in [
            ("a", "x"),
            ("x", "r1"),
            ("s1", "r1"),
            ("r1", "r2"),
            ("s2", "r2"),
            ("b", "r2"),
            ("c", "r2"),
            ("r2", "r1"),
        ] {
            let via = address(&lab, gateway, node);
            lab.ip(node, &format!("{ip} route add default via {via}"));
        }
        let first = match version {
            Version::V4 => lab.links[0].subnet(),
            Version::V6 => lab.links[0].subnet_v6(),
        };
        lab.ip("r1", &format!("{ip} route add {first} via {}", address(&lab, "x", "r1")));
        for (node, gateway, metric) in [("r1", "s1", 10), ("r1", "r2", 20), ("r2", "s2", 10)] {
            let via = address(&lab, gateway, node);
            let route = format!("{ip} route add {service}/{length} via {via} metric {metric}");
            lab.ip(node, &route);
        }
        for node in ["s1", "s2"] {
            lab.ip(node, &format!("address add {service}/{length} dev lo"));
        }
        let to = ["b", "c"].map(|host| SocketAddr::new(address(&lab, host, "r2"), PORT));
        let receivers = ["b", "c"].iter().zip(to).map(|(host, to)| lab.receiver(host, to));
        let receivers = receivers.collect();
        let source = SocketAddr::new(address(&lab, "a", "x"), SOURCE_PORT);
        Network { receivers, to: to.into(), source, service, ip, lab }
    }

    /// s1 and s2 serve; x sends to them.
    fn start(&mut self) {
        let service = self.service;
        let serves = format!(
            "anycast-addresses = [\"{service}\"]\n[limits]\nsources = [\"10.9.1.0/24\", \
             \"fd00:9:1::/64\"]\n"
        );
        let all = if service.is_ipv4() { "10.9.0.0/16" } else { "fd00:9::/32" };
        let uses = format!(
            "[[tunnel]]\nname = \"s\"\nkind = \"anycast\"\nremote = \"{service}\"\n\
             [[route]]\nprefix = \"{all}\"\ntunnel = \"s\"\n"
        );
        // What is on the link of a is not behind the tunnel.
        let near = if service.is_ipv4() { "10.9.1.0/24" } else { "fd00:9:1::/64" };
        let uses = format!("{uses}[[route]]\nprefix = \"{near}\"\ninterface = \"a\"\n");
        self.lab.start_routers_with(&[("x", &uses), ("s1", &serves), ("s2", &serves)]);
        until("the tunnel is up", || {
            let tunnel = self.lab.show("x", "tunnels")["tunnels"][0].clone();
            (tunnel["kind"] == "anycast" && tunnel["state"] == "up").then_some(())
        });
    }

    fn assert_serves(&mut self, payload: &str) {
        let to: Vec<String> = self.to.iter().map(SocketAddr::to_string).collect();
        let to = to.join(",");
        let words = format!("--to {to} --source-port {SOURCE_PORT} --text {payload}");
        self.lab.send("a", &words);
        self.receivers.iter().for_each(|receiver| assert_receives(receiver, self.source, payload));
    }
}

fn the_nearest_serves(version: Version) {
    let mut net = Network::new(version);
    net.start();
    let captures = net.lab.capture_all();
    net.assert_serves("nearest");
    let copies = |node: &str| net.lab.counter(node, "premature-unicast-conversions");
    assert_eq!((copies("s1"), copies("s2")), (2, 0));
    assert_eq!(net.lab.counter("x", "replicas-sent"), 1);
    let holds = |packet: &Vec<u8>| packet.windows(7).any(|octets| octets == b"nearest");
    let counts: Vec<_> = captures
        .iter()
        .map(|capture| capture.all_packets().iter().filter(|p| holds(p)).count())
        .collect();
    assert_eq!(counts, [1, 1, 3, 2, 0, 1, 1], "one to s1, two back");
    let explained = net.lab.ask_why("x", &net.to);
    assert_eq!(explained["destinations"][0]["tunnel"], "s", "{explained}");
    assert_eq!(explained["replicas"][0]["form"], "xcast", "{explained}");

    // The nearest one dies, and routing finds out.
    net.lab.kill_router("s1");
    net.lab.ip("r1", &format!("{} route del {} metric 10", net.ip, net.service));
    net.assert_serves("other-one");
    assert_eq!(net.lab.counter("s2", "premature-unicast-conversions"), 2);
    ["x", "s2"].iter().for_each(|node| net.lab.assert_identity(node));
}

impl Lab {
    fn ask_why(&self, node: &str, to: &[SocketAddr]) -> serde_json::Value {
        let to: Vec<String> = to.iter().map(|to| to.ip().to_string()).collect();
        let (to, socket) = (to.join(","), lab::socket_path(node));
        let arguments = ["explain", &to, "--json", "--socket", &socket];
        let output = lab::xcast().args(arguments).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[test]
fn the_nearest_of_two_serves_over_ipv4() {
    in_namespaces("the_nearest_of_two_serves_over_ipv4", || the_nearest_serves(Version::V4));
}

#[test]
fn the_nearest_of_two_serves_over_ipv6() {
    in_namespaces("the_nearest_of_two_serves_over_ipv6", || the_nearest_serves(Version::V6));
}

/// A host with a socket of its own sends to the service over plain routers alone.
fn a_host_sends_to_it(version: Version) {
    let mut net = Network::new(version);
    let serves = format!(
        "anycast-addresses = [\"{}\"]\n[limits]\nsources = [\"10.9.1.0/24\", \"fd00:9:1::/64\"]\n",
        net.service
    );
    net.lab.start_routers_with(&[("s1", &serves), ("s2", &serves)]);
    let options =
        Options { source_port: SOURCE_PORT, service: Some(net.service), ..Options::default() };
    let address = |to: &SocketAddr| Destination { address: to.ip(), port: to.port(), dscp: None };
    let destinations: Vec<_> = net.to.iter().map(address).collect();
    let message =
        Message { destinations: &destinations, payload: b"by the service", ..Message::default() };
    inside("a", || {
        let mut socket = XcastSocket::open(CODE_POINTS, &options).unwrap();
        assert!(socket.send(&message).unwrap().unsent.is_empty());
        socket.flush().unwrap();
        assert_eq!(socket.counters().replicas_sent, 1);
    });
    for receiver in &net.receivers {
        assert_receives(receiver, net.source, "by the service");
    }
    assert_eq!(net.lab.counter("s1", "premature-unicast-conversions"), 2);
    net.lab.assert_identity("s1");
}

#[test]
fn a_host_sends_to_it_over_ipv4() {
    in_namespaces("a_host_sends_to_it_over_ipv4", || a_host_sends_to_it(Version::V4));
}

#[test]
fn a_host_sends_to_it_over_ipv6() {
    in_namespaces("a_host_sends_to_it_over_ipv6", || a_host_sends_to_it(Version::V6));
}

/// Sources that are not listed are not served, and said so.
#[test]
fn others_are_not_served() {
    in_namespaces("others_are_not_served", || {
        let mut net = Network::new(Version::V4);
        net.start();
        // From r1, which is not in the list.
        let service = net.service.to_string();
        let source = net.lab.address("r1", "s1");
        let list = [net.lab.address("b", "r2"), net.lab.address("c", "r2")];
        let mut packet = lab::packets::Packet::to(
            std::net::SocketAddrV4::new(source, SOURCE_PORT),
            &list,
            PORT,
            "unlisted",
        );
        packet.destination = service.parse().unwrap();
        net.lab.inject("r1", "s1", &packet.bytes());
        until("it was dropped", || {
            (net.lab.dropped("s1", "source-not-allowed") == 2).then_some(())
        });
        net.lab.assert_identity("s1");
    });
}

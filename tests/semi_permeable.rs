//! Semi-permeable tunnels between real kernels (RFC 5058 sections 11.3 and 11.4), over routers that know
//! nothing of Xcast and pass over its option.
//!
//! ```text
//!   a ── x ── r1 ── r2 ── r3 ── b
//!                   │     └──── c
//!                   d
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use lab::capture::Capture;
use lab::packets::Packet6;
use lab::process::until;
use lab::{Lab, assert_empty, assert_receives};
use support::in_namespaces;

const PORT: u16 = 9000;
const SOURCE_PORT: u16 = 5000;
const ACCEPT: &str = "[semi-permeable]\naccept = [\"fd00:9::/32\"]\n";

/// The network, its unicast routes, and receivers on b, c and d.
struct Network {
    lab: Lab,
    receivers: Vec<UdpSocket>,
    to: Vec<Ipv6Addr>,
}

impl Network {
    fn new() -> Network {
        let mut lab = Lab::dual_stack();
        lab.hosts(&["a", "b", "c", "d"]);
        lab.forwarders(&["x", "r1", "r2", "r3"]);
        for (one, other) in [
            ("a", "x"),
            ("x", "r1"),
            ("r1", "r2"),
            ("r2", "r3"),
            ("r3", "b"),
            ("r3", "c"),
            ("r2", "d"),
        ] {
            lab.link(one, other);
        }
        for (node, gateway) in [
            ("a", "x"),
            ("x", "r1"),
            ("r1", "r2"),
            ("r3", "r2"),
            ("b", "r3"),
            ("c", "r3"),
            ("d", "r2"),
        ] {
            let via = lab.address_v6(gateway, node);
            lab.ip(node, &format!("-6 route add default via {via}"));
        }
        for (node, gateway, link) in
            [("r1", "x", 0), ("r2", "r1", 0), ("r2", "r1", 1), ("r2", "r3", 4), ("r2", "r3", 5)]
        {
            let (subnet, via) = (lab.links[link].subnet_v6(), lab.address_v6(gateway, node));
            lab.ip(node, &format!("-6 route add {subnet} via {via}"));
        }
        let to =
            vec![lab.address_v6("b", "r3"), lab.address_v6("c", "r3"), lab.address_v6("d", "r2")];
        let nodes = ["b", "c", "d"].into_iter().zip(&to);
        let receivers =
            nodes.map(|(node, to)| lab.receiver(node, SocketAddr::new((*to).into(), PORT)));
        let receivers = receivers.collect();
        Network { lab, receivers, to }
    }

    fn source(&self) -> SocketAddrV6 {
        SocketAddrV6::new(self.lab.address_v6("a", "x"), SOURCE_PORT, 0, 0)
    }

    fn assert_all_receive(&self, payload: &str) {
        let source = SocketAddr::from(self.source());
        self.receivers.iter().for_each(|receiver| assert_receives(receiver, source, payload));
    }

    /// A packet to all three in an envelope from `outer`, as a sender makes it.
    fn enveloped(&self, outer: Ipv6Addr, payload: &str) -> Vec<u8> {
        let inner = Packet6::to(self.source(), &self.to, PORT, payload).bytes();
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(((inner.len() + 8) as u16).to_be_bytes());
        packet.extend([0, 64]); // Hop-by-Hop
        packet.extend(outer.octets());
        packet.extend(self.to[0].octets());
        packet.extend([41, 0, 0x1e, 0, 1, 2, 0, 0]);
        packet.extend(inner);
        packet
    }
}

/// The packets with a payload that have crossed a link; there is one at least.
fn crossing(capture: &Capture, payload: &str) -> Vec<Vec<u8>> {
    let holds = |packet: &Vec<u8>| packet.windows(payload.len()).any(|w| w == payload.as_bytes());
    until("the packet has crossed", || {
        let packets: Vec<_> = capture.all_packets().into_iter().filter(holds).collect();
        (!packets.is_empty()).then_some(packets)
    })
}

/// The only Xcast router on the way opens the envelope and branches; the last branch ends at a host
/// that sends on.
#[test]
fn the_only_router_on_the_way_branches() {
    in_namespaces("the_only_router_on_the_way_branches", || {
        let mut net = Network::new();
        let routes: String = [4, 5, 6]
            .map(|at: usize| net.lab.links[at].subnet_v6())
            .map(|prefix| format!("[[route]]\nprefix = \"{prefix}\"\ntunnel = \"s\"\n"))
            .concat();
        let sender = format!("[[tunnel]]\nname = \"s\"\nkind = \"semi-permeable\"\n{routes}");
        net.lab.start_routers_with(&[("x", &sender), ("r2", ACCEPT), ("b", ACCEPT)]);
        let tunnel = net.lab.show("x", "tunnels")["tunnels"][0].clone();
        assert_eq!((&tunnel["kind"], &tunnel["state"]), (&"semi-permeable".into(), &"up".into()));
        let captures = net.lab.capture_all();
        let to: Vec<String> = net.to.iter().map(|to| format!("[{to}]:{PORT}")).collect();
        let words = format!("--to {} --source-port {SOURCE_PORT} --text opened", to.join(","));
        net.lab.send("a", &words);
        net.assert_all_receive("opened");
        for at in 1..=4 {
            let packets = crossing(&captures[at], "opened");
            assert_eq!(packets.len(), 1 + usize::from(at == 4), "link {at}: {packets:02x?}");
            let outer = &packets[0];
            assert_eq!(outer[40..48], [41, 0, 0x1e, 0, 1, 2, 0, 0], "link {at}");
            assert_eq!(outer[8..24], net.source().ip().octets(), "link {at}");
            assert_eq!(outer[24..40], net.to[0].octets(), "link {at}");
            assert_eq!(outer[7], [64, 63, 62, 61][at - 1], "link {at}: outer hop limit");
            assert_eq!(outer[48 + 7], [63, 63, 62, 62][at - 1], "link {at}: inner hop limit");
        }
        assert_eq!(net.lab.counter("r2", "replicas-sent"), 2);
        assert_eq!(net.lab.counter("b", "destinations-delivered"), 1);
        ["x", "r2", "b"].iter().for_each(|node| net.lab.assert_identity(node));
    });
}

/// Without any router hosts forward for each other: b to c, c to d.
#[test]
fn hosts_alone_forward_for_each_other() {
    in_namespaces("hosts_alone_forward_for_each_other", || {
        let mut net = Network::new();
        net.lab.start_routers_with(&[("b", ACCEPT), ("c", ACCEPT), ("d", ACCEPT)]);
        let captures = net.lab.capture_all();
        net.lab.inject("a", "x", &net.enveloped(*net.source().ip(), "from hand to hand"));
        net.assert_all_receive("from hand to hand");
        // To b; from b to c; the one to d is left, so c sends it plain.
        assert_eq!(crossing(&captures[4], "from hand to hand").len(), 2);
        let at_c = crossing(&captures[5], "from hand to hand");
        assert_eq!(at_c.len(), 2);
        assert_eq!((at_c[0][6], at_c[1][6]), (0, 17), "in an envelope, and plain");
        assert_eq!(crossing(&captures[6], "from hand to hand").len(), 1);
        for (node, delivered) in [("b", 1), ("c", 1), ("d", 0)] {
            assert_eq!(net.lab.counter(node, "destinations-delivered"), delivered, "{node}");
            net.lab.assert_identity(node);
        }
    });
}

/// An envelope from another than the sender of what is in it is not opened; nor is any where none is
/// accepted.
#[test]
fn what_is_not_accepted_is_not_opened() {
    in_namespaces("what_is_not_accepted_is_not_opened", || {
        let mut net = Network::new();
        let few = "[semi-permeable]\naccept = [\"fd00:9:1::/64\"]\n";
        net.lab.start_routers_with(&[("b", few)]);
        let spoofed = net.enveloped("fd00:77::1".parse().unwrap(), "spoofed");
        net.lab.inject("a", "x", &spoofed);
        until("b has dropped it", || (net.lab.dropped("b", "unknown-end") == 1).then_some(()));
        // What is right is taken still.
        net.lab.inject("a", "x", &net.enveloped(*net.source().ip(), "right"));
        assert_receives(&net.receivers[0], SocketAddr::from(net.source()), "right");
        net.receivers.iter().for_each(assert_empty);
        assert_eq!(net.lab.counter("b", "destinations-forwarded"), 2);
        net.lab.assert_identity("b");
        assert_eq!(net.lab.port("b", "r3")["kernel-drop"], true);
    });
}

//! A router with two workers: what several sources send in several channels arrives exactly once
//! and in order, whatever happens to the ports meanwhile.
//!
//! ```text
//!   b ── r ── c      `a` stands for many sources of both IP versions
//!        │
//!        a
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};

use lab::ask::number;
use lab::capture::{Form, open};
use lab::packets::{Packet, Packet6};
use lab::process::{Stream, until};
use lab::{Lab, assert_empty, inside, write_config};
use nix::sys::signal::Signal;
use pnet_datalink::DataLinkSender;
use support::in_namespaces;

const PORT: u16 = 9000;
const TWO_WORKERS: &str = "workers = 2\n[ports]\nreverse-path = \"off\"\n";
/// Sources, and channels of each, for each IP version.
const SOURCES: u8 = 4;
const CHANNELS: u8 = 4;
/// What the receivers' sockets have room for without being read.
const BURST: usize = 96;

/// A (source, channel), and how many packets it has sent.
type Sent = BTreeMap<(IpAddr, u8), u32>;

struct Star {
    lab: Lab,
    wire: Box<dyn DataLinkSender>,
    receivers: Vec<UdpSocket>,
    sent: Sent,
}

impl Star {
    fn new(config: &str) -> Star {
        let mut lab = Lab::dual_stack();
        lab.hosts(&["a", "b", "c"]);
        lab.forwarders(&["r"]);
        for host in ["a", "b", "c"] {
            lab.link(host, "r");
            for gateway in
                [lab.address("r", host).to_string(), lab.address_v6("r", host).to_string()]
            {
                lab.ip(host, &format!("route add default via {gateway}"));
            }
        }
        lab.start_routers_with(&[("r", config)]);
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT);
        let receivers = ["b", "c"].map(|host| lab.receiver(host, any)).into();
        let wire = inside("a", || open("r").0);
        Star { lab, wire, receivers, sent: Sent::new() }
    }

    /// Sends the next packet of a (source, channel) to `b` and `c`.
    fn send(&mut self, source: IpAddr, channel: u8) {
        let number = self.sent.entry((source, channel)).or_default();
        let payload = format!("{channel} {number}");
        *number += 1;
        let packet = match source {
            IpAddr::V4(v4) => {
                let list = ["b", "c"].map(|host| self.lab.address(host, "r"));
                let packet = Packet::to(SocketAddrV4::new(v4, 5000), &list, PORT, &payload);
                packet.bytes_with(|header| header[7] = channel)
            }
            IpAddr::V6(v6) => {
                let list = ["b", "c"].map(|host| self.lab.address_v6(host, "r"));
                let source = SocketAddrV6::new(v6, 5000, 0, 0);
                let channel = channel.into();
                Packet6 { channel, ..Packet6::to(source, &list, PORT, &payload) }.bytes()
            }
        };
        let kind: [u8; 2] = if source.is_ipv6() { [0x86, 0xdd] } else { [0x08, 0x00] };
        let (to, from) = (self.lab.end("r", "a").mac, self.lab.end("a", "r").mac);
        let frame = [&to[..], &from, &kind, &packet].concat();
        self.wire.send_to(&frame, None).unwrap().unwrap();
    }

    /// Sends some packets of every (source, channel), one of each in turn, and reads them at both
    /// receivers: each exactly once, and in the order of its (source, channel).
    fn assert_serves_all(&mut self, rounds: usize) {
        let pairs = pairs();
        let before = self.sent.clone();
        let mut next: Vec<Sent> = vec![before; self.receivers.len()];
        for burst in (0..rounds * pairs.len()).collect::<Vec<_>>().chunks(BURST) {
            for at in burst {
                let (source, channel) = pairs[at % pairs.len()];
                self.send(source, channel);
            }
            for (receiver, next) in self.receivers.iter().zip(&mut next) {
                for _ in burst {
                    let (pair, found) = receive(receiver);
                    let expected = next.entry(pair).or_default();
                    assert_eq!(found, *expected, "the next of {pair:?}");
                    *expected += 1;
                }
            }
        }
        next.iter().for_each(|received| assert_eq!(*received, self.sent));
        self.receivers.iter().for_each(assert_empty);
        self.lab.assert_identity("r");
    }

    /// How many packets of a port each worker has received.
    fn by_worker(&self, interface: &str) -> Vec<u64> {
        let port = self.lab.port("r", interface);
        let each = port["packets-received-by-worker"].as_array().into_iter().flatten();
        let each: Vec<u64> = each.map(|count| count.as_u64().unwrap()).collect();
        assert_eq!(each.iter().sum::<u64>(), number(&port, "packets-received"), "{port}");
        each
    }

    fn reload(&self, config: &str) {
        write_config("r", config);
        self.lab.router("r").signal(Signal::SIGHUP);
    }

    fn driver(&self, interface: &str) -> String {
        self.lab.port("r", interface)["driver"].as_str().unwrap().to_owned()
    }
}

fn pairs() -> Vec<(IpAddr, u8)> {
    let sources = (1..=SOURCES).flat_map(|at| -> [IpAddr; 2] {
        let v6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, at.into());
        [Ipv4Addr::new(10, 77, 0, at).into(), v6.into()]
    });
    sources.flat_map(|source| (0..CHANNELS).map(move |channel| (source, channel))).collect()
}

/// The next datagram: its source and channel, and its number.
fn receive(receiver: &UdpSocket) -> ((IpAddr, u8), u32) {
    let mut buffer = [0; 2000];
    let (length, from) = receiver.recv_from(&mut buffer).expect("a datagram arrives");
    let text = std::str::from_utf8(&buffer[..length]).unwrap();
    let (channel, number) = text.split_once(' ').unwrap();
    ((from.ip().to_canonical(), channel.parse().unwrap()), number.parse().unwrap())
}

#[test]
fn every_packet_arrives_once_and_in_order_and_both_workers_have_some() {
    in_namespaces("every_packet_arrives_once_and_in_order_and_both_workers_have_some", || {
        let mut star = Star::new(TWO_WORKERS);
        star.assert_serves_all(1); // neighbors are resolved
        let (before, captures) = (star.by_worker("a"), star.lab.capture_all());
        star.assert_serves_all(60);
        let after = star.by_worker("a");
        println!("packets by worker: {after:?}");
        assert!(after.iter().zip(&before).all(|(after, before)| after > before), "{after:?}");
        // The counters are what crossed the links.
        let mut copies = BTreeMap::new();
        for copy in captures.iter().flat_map(|capture| capture.take_all()) {
            if copy.from == "r" {
                assert!(matches!(copy.form, Form::Unicast(_)), "{copy:?}");
                *copies.entry(copy).or_insert(0) += 1;
            }
        }
        let packets = 60 * pairs().len();
        assert_eq!(copies.len(), 2 * packets);
        assert!(copies.values().all(|count| *count == 1), "{copies:?}");
        let all = 2 * 61 * pairs().len() as u64;
        assert_eq!(star.lab.counter("r", "replicas-sent"), all);
        assert_eq!(star.lab.counter("r", "destinations-forwarded"), all);
        for host in ["b", "c"] {
            assert_eq!(number(&star.lab.port("r", host), "replicas-sent-unicast"), all / 2);
        }
        let lines = star.lab.router("r").log.lines(Stream::Error);
        assert!(!lines.iter().any(|line| line.contains("not kept on its core")), "{lines:?}");
        star.lab.stop_router("r");
    });
}

#[test]
fn a_source_and_channel_is_one_workers() {
    in_namespaces("a_source_and_channel_is_one_workers", || {
        let mut star = Star::new(TWO_WORKERS);
        for (source, channel) in pairs() {
            let before = star.by_worker("a");
            for _ in 0..10 {
                star.send(source, channel);
                for receiver in &star.receivers {
                    assert_eq!(receive(receiver).0, (source, channel));
                }
            }
            let after = star.by_worker("a");
            let gained: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
            assert!(gained.contains(&10) && gained.contains(&0), "{source} {channel}: {gained:?}");
        }
    });
}

#[test]
fn ports_that_come_and_go_and_change_lose_and_repeat_nothing() {
    in_namespaces("ports_that_come_and_go_and_change_lose_and_repeat_nothing", || {
        let mut star = Star::new(TWO_WORKERS);
        star.assert_serves_all(3);
        for round in 0..3 {
            star.lab.ip("r", "link set dev a down");
            star.lab.wait_for_port("r", "a", "down");
            star.lab.ip("r", "link set dev a up");
            star.lab.wait_for_port("r", "a", "up");
            star.assert_serves_all(3);
            // Larger than the sockets' frames, and back.
            for interface in ["a", "b"] {
                let mtu: u64 = if round % 2 == 0 { 4000 } else { 1500 };
                star.lab.ip("r", &format!("link set dev {interface} mtu {mtu}"));
                until("the router knows the MTU", || {
                    (star.lab.port("r", interface)["mtu"] == mtu).then_some(())
                });
                star.assert_serves_all(3);
            }
        }
        for driver in ["packet", "auto"] {
            let config = format!("{TWO_WORKERS}driver = \"{driver}\"\n");
            let was = star.driver("a");
            star.reload(&config);
            until("the driver is another", || (star.driver("a") != was).then_some(()));
            star.assert_serves_all(3);
        }
        // An interface that is gone, and another of its name.
        star.lab.ip("r", "link del dev a");
        star.lab.unplugged("a");
        until("the port is gone", || {
            let ports = star.lab.show("r", "ports");
            ports["ports"].as_array()?.iter().all(|port| port["interface"] != "a").then_some(())
        });
        star.lab.link("a", "r");
        until("the port is back", || {
            let ports = star.lab.show("r", "ports");
            let mut each = ports["ports"].as_array()?.iter();
            // Up, and open: what comes before its sockets are is the kernel's.
            let is_open = |port: &serde_json::Value| port["state"] == "up" && port["driver"] != "";
            each.any(|port| port["interface"] == "a" && is_open(port)).then_some(())
        });
        star.wire = inside("a", || open("r").0);
        star.assert_serves_all(3);
        star.lab.stop_router("r");
    });
}

#[test]
fn reception_by_af_xdp_is_dealt_by_queues() {
    in_namespaces("reception_by_af_xdp_is_dealt_by_queues", || {
        let mut star = Star::new(&format!("{TWO_WORKERS}driver = \"xdp\"\n"));
        star.assert_serves_all(3);
        let port = star.lab.port("r", "a");
        let why_not = port["why-not"].as_str().unwrap();
        // The other is not for everybody: see the tests of AF_XDP.
        let expected = match port["driver"].as_str() {
            Some("xdp") => "1 of 2 workers have a queue",
            _ => "no reception by AF_XDP",
        };
        assert!(why_not.contains(expected), "{port}");
        println!("{port}");
        star.lab.stop_router("r");
    });
}

#[test]
fn drops_and_samples_are_those_of_both() {
    in_namespaces("drops_and_samples_are_those_of_both", || {
        let mut star = Star::new(TWO_WORKERS);
        let list = [star.lab.address("b", "r")];
        for at in 0..40 {
            let source = SocketAddrV4::new(Ipv4Addr::new(10, 77, 1, at), 5000);
            let late = Packet { ttl: 1, ..Packet::to(source, &list, PORT, "late") };
            star.lab.inject("a", "r", &late.bytes());
        }
        until("all are dropped", || (star.lab.dropped("r", "ttl-expired") == 40).then_some(()));
        assert!(star.by_worker("a").iter().all(|count| *count > 0));
        let socket = lab::socket_path("r");
        let file = "/run/lab/drops.pcapng";
        let mut command = lab::xcast();
        command.args(["capture", "--json", "--drops-only", "--write", file, "--socket", &socket]);
        let output = command.output().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        // Each worker keeps the last eight of each reason.
        assert_eq!(said["packets"], 16, "{said} {}", String::from_utf8_lossy(&output.stderr));
        star.assert_serves_all(1);
    });
}

#[test]
fn a_change_of_workers_takes_a_restart() {
    in_namespaces("a_change_of_workers_takes_a_restart", || {
        let mut star = Star::new(TWO_WORKERS);
        star.reload(&TWO_WORKERS.replace('2', "3"));
        star.lab.router("r").log.wait_for_part(Stream::Error, "restart it");
        star.assert_serves_all(1);
        assert_eq!(star.by_worker("a").len(), 2);
        star.lab.stop_router("r");
        star.lab.start_routers_with(&[("r", &TWO_WORKERS.replace('2', "3"))]);
        star.sent.clear();
        star.assert_serves_all(1);
        assert_eq!(star.by_worker("a").len(), 3);
        assert_eq!(star.lab.port("r", "a")["state"], "up");
    });
}

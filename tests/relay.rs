//! Hosts that reach the backbone through a relay, on real kernels.
//!
//! ```text
//!                 ┌ x1     `x1` and `x2` are relays; `r` and `n` know nothing of Xcast, `n` hides `h`
//!   h ── n ── r ──┼ x2     behind its own address where a test says so; `b` and `c` are plain hosts,
//!                 ├ b      `b` also an Xcast sender
//!                 └ c
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

#[path = "relay/failover.rs"]
mod failover;
#[path = "relay/masquerade.rs"]
mod masquerade;
#[path = "relay/paths.rs"]
mod paths;
#[path = "relay/usage.rs"]
mod usage;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

use lab::process::{Process, Stream, until};
use lab::{EXPERIMENT_FILE, Lab, Version, inside};
use serde_json::Value;
use support::in_namespaces;
use xcast::host::PrivateKey;

const PORT: u16 = 9000;

/// Writes the private key of a node; returns the public key.
fn key(node: &str, number: u8) -> String {
    let private = PrivateKey::new([number; 32]);
    std::fs::write(format!("/run/lab/{node}.key"), private.to_base64() + "\n").unwrap();
    private.public().to_string()
}

/// The network above, with its relays running, and hosts that listen.
struct Net {
    lab: Lab,
    version: Version,
    keys: [String; 2],
    receivers: [UdpSocket; 2],
}

impl Net {
    fn new(version: Version) -> Net {
        let mut net = Net::without_relays(version);
        for relay in ["x1", "x2"] {
            net.start(relay);
        }
        net
    }

    fn without_relays(version: Version) -> Net {
        let mut lab = Lab::dual_stack();
        lab.hosts(&["h", "b", "c"]);
        lab.forwarders(&["n", "r", "x1", "x2"]);
        for (one, other) in
            [("h", "n"), ("n", "r"), ("x1", "r"), ("x2", "r"), ("b", "r"), ("c", "r")]
        {
            lab.link(one, other);
        }
        for (node, gateway) in
            [("h", "n"), ("n", "r"), ("x1", "r"), ("x2", "r"), ("b", "r"), ("c", "r")]
        {
            lab.ip(node, &format!("route add default via {}", lab.address(gateway, node)));
            lab.ip(node, &format!("-6 route add default via {}", lab.address_v6(gateway, node)));
        }
        let link = lab.links[0].clone();
        lab.ip("r", &format!("route add {} via {}", link.subnet(), lab.address("n", "r")));
        let via = lab.address_v6("n", "r");
        lab.ip("r", &format!("-6 route add {} via {via}", link.subnet_v6()));
        for relay in ["x1", "x2"] {
            let [v4, v6] = pools(relay);
            lab.ip("r", &format!("route add {v4} via {}", lab.address(relay, "r")));
            lab.ip("r", &format!("-6 route add {v6} via {}", lab.address_v6(relay, "r")));
        }
        let keys = [key("x1", 1), key("x2", 2)];
        let receivers = ["b", "c"].map(|host| {
            lab.receiver(host, SocketAddr::new(lab.address_of(version, host, "r"), PORT))
        });
        Net { lab, version, keys, receivers }
    }

    /// Starts a relay that knows the hosts of keys 100 and 101.
    fn start(&mut self, relay: &str) {
        let hosts = [key("h", 100), key("h2", 101)];
        let other = &self.keys[usize::from(relay == "x1")];
        let pool = &pools(relay)[usize::from(self.version == Version::V6)];
        let config = format!(
            "[backbone]\nprivate-key-file = \"/run/lab/{relay}.key\"\npeers = [\"{other}\"]\n\
             hosts = [\"{}\", \"{}\"]\nleases = [\"{pool}\"]\ninterface = \"xl\"\n",
            hosts[0], hosts[1],
        );
        self.lab.start_routers_with(&[(relay, &config)]);
    }

    /// Where a relay takes tunnels.
    fn relay(&self, relay: &str) -> String {
        self.lab.address_of(self.version, relay, "r").to_string()
    }

    /// `--relay` and what belongs to it, of both relays.
    fn arguments(&self, host_key: &str) -> String {
        let places = [self.relay("x1"), self.relay("x2")].join(",");
        let keys = self.keys.join(",");
        format!(
            "--relay {places} --relay-key {keys} --key /run/lab/{host_key}.key --experiment \
             {EXPERIMENT_FILE}"
        )
    }

    /// Runs `xcast` on `h` without any capability.
    fn run(&mut self, name: &str, arguments: &str) -> Process {
        let mut command = unprivileged();
        command.arg(env!("CARGO_BIN_EXE_xcast")).args(arguments.split_whitespace());
        self.lab.run("h", name, &mut command)
    }

    /// A running `recv` by a relay, and the address that others list.
    fn receive(&mut self, more: &str) -> (Process, IpAddr) {
        let arguments = format!("recv --port {PORT} --json {more} {}", self.arguments("h"));
        let process = self.run("recv", &arguments);
        let line = process.log.wait_for_part(Stream::Error, "\"attached\"");
        let event: Value = serde_json::from_str(&line).unwrap();
        (process, event["address"].as_str().unwrap().parse().unwrap())
    }

    fn to(&self, host: &str) -> SocketAddr {
        SocketAddr::new(self.lab.address_of(self.version, host, "r"), PORT)
    }

    fn both(&self) -> String {
        format!("{},{}", self.to("b"), self.to("c"))
    }

    /// What a finished `send --json` said.
    fn sent(process: Process) -> Value {
        let ended = process.finish();
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        serde_json::from_str(&ended.output[0]).unwrap()
    }
}

/// Runs what follows without any capability.
fn unprivileged() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]);
    command
}

/// What a relay leases of, by IP version.
fn pools(relay: &str) -> [String; 2] {
    let number = &relay[1..];
    [format!("10.99.{number}.0/24"), format!("fd99:{number}::/64")]
}

/// The source, port and text of the next datagram.
fn next(socket: &UdpSocket) -> (SocketAddr, String) {
    let mut buffer = [0; 2000];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram arrives");
    (from, String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn serves_without_privileges(version: Version) {
    let status = unprivileged().args(["cat", "/proc/self/status"]).output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    let mut net = Net::new(version);
    let (receiving, own) = net.receive("--count 2 --timeout 60s");
    // An ordinary host sends there, and one that lists it among others.
    net.receivers[0].send_to(b"plain", (own, PORT)).unwrap();
    receiving.log.wait_for_part(Stream::Output, "payload");
    let listed = format!("--to {},{} --text listed --port {PORT}", bracketed(own), net.to("c"));
    net.lab.send("b", &listed);
    assert_eq!(next(&net.receivers[1]).1, "listed");
    let ended = receiving.finish();
    assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
    let texts: Vec<Value> =
        ended.output.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    assert_eq!(texts[0]["source"], net.to("b").ip().to_string());
    assert_eq!(texts[0]["destination"], own.to_string());
    assert_eq!(texts[0]["payload-base64"], "cGxhaW4=");
    assert_eq!(
        (&texts[1]["payload-base64"], &texts[1]["form"]),
        (&"bGlzdGVk".into(), &"unicast".into())
    );

    let words = format!("send --to {} --text hello --source-port 5000 --json", net.both());
    let sending = net.run("send", &format!("{words} {}", net.arguments("h")));
    let sent = Net::sent(sending);
    let source = SocketAddr::new(sent["relay"]["address"].as_str().unwrap().parse().unwrap(), 5000);
    for receiver in &net.receivers {
        lab::assert_receives(receiver, source, "hello");
    }
    assert_eq!((&sent["packets"], &sent["copies"]), (&1.into(), &1.into()), "one to the relay");
}

fn bracketed(address: IpAddr) -> String {
    SocketAddr::new(address, PORT).to_string()
}

#[test]
fn a_host_without_privileges_sends_and_receives() {
    in_namespaces("a_host_without_privileges_sends_and_receives", || {
        serves_without_privileges(Version::V4);
    });
}

#[test]
fn a_host_without_privileges_sends_and_receives_over_ipv6() {
    in_namespaces("a_host_without_privileges_sends_and_receives_over_ipv6", || {
        serves_without_privileges(Version::V6);
    });
}

/// Hosts of one relay and of two reach each other, in one packet to all.
#[test]
fn hosts_of_relays_reach_each_other() {
    in_namespaces("hosts_of_relays_reach_each_other", || {
        let mut net = Net::new(Version::V4);
        let (receiving, own) = net.receive("--count 1 --timeout 60s");
        let words = format!("send --to {own}:{PORT},{} --text hello", net.both());
        let arguments = net.arguments("h2");
        let sending = net.run("send", &format!("{words} {arguments}"));
        let ended = sending.finish();
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        assert!(ended.output[1].starts_with("by relay x"), "{:?}", ended.output);
        assert_eq!(next(&net.receivers[0]).1, "hello");
        assert_eq!(next(&net.receivers[1]).1, "hello");
        assert_eq!(receiving.finish().status, Some(0));
    });
}

/// Bare hosts answer by ICMP, to the leased address.
#[test]
fn ping_by_a_relay_hears_bare_hosts() {
    in_namespaces("ping_by_a_relay_hears_bare_hosts", || {
        let mut net = Net::new(Version::V4);
        let to = [net.to("b"), net.to("c")].map(|at| at.ip().to_string()).join(",");
        let words = format!("ping --to {to} --count 2 --interval 100ms --timeout 30s --json");
        let arguments = net.arguments("h");
        let ended = net.run("ping", &format!("{words} {arguments}")).finish();
        assert_eq!(ended.status, Some(0), "{:?} {:?}", ended.output, ended.errors);
        let result: Value = serde_json::from_str(&ended.output[0]).unwrap();
        for destination in result["destinations"].as_array().unwrap() {
            assert_eq!(destination["received"], 2, "{result}");
        }
    });
}

/// A local program streams to a group of hosts by a relay.
#[test]
fn a_gateway_carries_a_stream_by_a_relay() {
    in_namespaces("a_gateway_carries_a_stream_by_a_relay", || {
        let mut net = Net::new(Version::V4);
        let words =
            format!("gateway --listen 127.0.0.1:5004 --to {} --socket /run/lab/g.sock", net.both());
        let arguments = net.arguments("h");
        let gateway = net.run("gateway", &format!("{words} {arguments}"));
        gateway.log.wait_for_part(Stream::Output, "ready");
        let sender = inside("h", || UdpSocket::bind("127.0.0.1:0").unwrap());
        for number in 0..3 {
            sender.send_to(format!("frame {number}").as_bytes(), "127.0.0.1:5004").unwrap();
            for receiver in &net.receivers {
                assert_eq!(next(receiver).1, format!("frame {number}"));
            }
        }
        gateway.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(gateway.finish().status, Some(0));
    });
}

/// Waits until a relay has a session with a host.
fn wait_for_host(lab: &Lab, relay: &str) {
    until(&format!("{relay} has a host"), || {
        let shown = lab.show(relay, "backbone");
        let mut ends = shown["ends"].as_array()?.iter();
        ends.any(|end| end["role"] == "host" && end["state"] == "up").then_some(())
    });
}

//! One router's life among hosts: how it starts and stops, how its ports come and go, what it
//! does with packets that are wrong, and how it follows its rules and the kernel's routes.
//!
//! ```text
//!          a                       `a` sends, mostly frames that the test builds itself;
//!          │                       `b` and `c` receive; behind `n`, a next hop that forwards
//!    b ─── r ─── c                 nothing, lies 10.8.0.0/16
//!          │
//!          n ─ ─ ─ 10.8.0.0/16
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "../support/lab.rs"]
mod lab;
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod exit_status;
mod links;
mod neighbors;
mod ports;
mod routes;
mod rules;
mod start_and_stop;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use lab::packets::Packet;
use lab::{Lab, assert_receives};

const PORT: u16 = 9000;
const SOURCE_PORT: u16 = 5000;
/// Destinations behind `n`.
const FAR: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 8, 0, 1), Ipv4Addr::new(10, 8, 0, 2)];

/// `n` stands for an Xcast router, and does not answer when it is asked.
const NEIGHBORS_SPEAK_XCAST: &str = "[ports]\nxcast-neighbors = \"all\"\n";

/// The network above, with receivers at `b` and `c`.
struct Star {
    lab: Lab,
    receivers: [UdpSocket; 2],
    sent: usize,
}

impl Star {
    /// Everything but the router.
    fn without_router() -> Star {
        let mut lab = Lab::new();
        lab.hosts(&["a", "b", "c", "n"]);
        lab.forwarders(&["r"]);
        for host in ["a", "b", "c", "n"] {
            let link = lab.link(host, "r");
            lab.ip(host, &format!("route add default via {}", link.ends[1].address));
        }
        lab.ip("r", &format!("route add 10.8.0.0/16 via {}", lab.address("n", "r")));
        let receivers = ["b", "c"]
            .map(|host| lab.receiver(host, SocketAddrV4::new(lab.address(host, "r"), PORT)));
        Star { lab, receivers, sent: 0 }
    }

    /// With a router that takes its neighbors for Xcast routers.
    fn new() -> Star {
        Star::with(NEIGHBORS_SPEAK_XCAST)
    }

    /// With a router that is configured further.
    fn with(more: &str) -> Star {
        let mut star = Star::without_router();
        star.start(more);
        star
    }

    fn start(&mut self, more: &str) {
        self.lab.start_router("r", more);
        for interface in ["a", "b", "c", "n"] {
            self.lab.wait_for_port("r", interface, "up");
        }
    }

    /// An address of a host.
    fn at(&self, host: &str) -> Ipv4Addr {
        self.lab.address(host, "r")
    }

    /// The address of `r` towards a host.
    fn gateway(&self, host: &str) -> Ipv4Addr {
        self.lab.address("r", host)
    }

    fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.at("a"), SOURCE_PORT)
    }

    /// A right packet from `a`.
    fn packet(&self, list: &[Ipv4Addr], payload: &str) -> Packet {
        Packet::to(self.source(), list, PORT, payload)
    }

    /// Sends a packet from `a` to the router.
    fn send(&self, packet: &Packet) {
        self.lab.inject("a", "r", &packet.bytes());
    }

    /// A right packet to `b` and `c` arrives at both, and nothing else has.
    fn assert_forwards(&mut self) {
        self.sent += 1;
        let payload = format!("good-{}", self.sent);
        self.send(&self.packet(&[self.at("b"), self.at("c")], &payload));
        for receiver in &self.receivers {
            assert_receives(receiver, self.source(), &payload);
        }
        self.lab.assert_identity("r");
    }
}

//! Routers with each driver.
//!
//! ```text
//!          a            `a` sends frames that the test builds; `b` and `c` receive; behind `n`, which
//!          │            is taken for an Xcast router, lies 10.8.0.0/16
//!    b ─── r ─── c
//!          │
//!          n ─ ─ ─ 10.8.0.0/16
//! ```

use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};

use nix::sys::signal::Signal;

use crate::lab::capture::Capture;
use crate::lab::packets::{Packet, Packet6};
use crate::lab::process::{Stream, until};
use crate::lab::{Lab, assert_receives, socket_path, write_config, xcast};
use crate::may_load;
use crate::support::in_namespaces;

const PORT: u16 = 9000;
const HOSTS: [&str; 4] = ["a", "b", "c", "n"];

struct Star {
    lab: Lab,
}

impl Star {
    fn new(mtu: u32) -> Star {
        let mut lab = Lab::dual_stack();
        lab.hosts(&HOSTS);
        lab.forwarders(&["r"]);
        for host in HOSTS {
            lab.link(host, "r");
            lab.ip("r", &format!("link set dev {host} mtu {mtu}"));
            lab.ip(host, &format!("link set dev r mtu {mtu}"));
            lab.ip(host, &format!("route add default via {}", lab.address("r", host)));
            lab.ip(host, &format!("-6 route add default via {}", lab.address_v6("r", host)));
        }
        lab.ip("r", &format!("route add 10.8.0.0/16 via {}", lab.address("n", "r")));
        Star { lab }
    }

    fn start(&mut self, driver: &str) {
        self.lab.start_routers_with(&[("r", &ports(driver))]);
    }

    fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.lab.address("a", "r"), 5000)
    }

    /// To `b` and `c`, and to two hosts behind `n`, so that there are unicast and Xcast copies.
    fn packets(&self, payload: &str) -> [Vec<u8>; 2] {
        let at = |host| self.lab.address(host, "r");
        let list = [at("b"), Ipv4Addr::new(10, 8, 0, 1), at("c"), Ipv4Addr::new(10, 8, 0, 2)];
        let v4 = Packet::to(self.source(), &list, PORT, payload).bytes();
        let source = SocketAddrV6::new(self.lab.address_v6("a", "r"), 5000, 0, 0);
        let list = ["b", "c"].map(|host| self.lab.address_v6(host, "r"));
        [v4, Packet6::to(source, &list, PORT, payload).bytes()]
    }

    fn send(&self, payload: &str) {
        self.packets(payload).iter().for_each(|packet| self.lab.inject("a", "r", packet));
    }

    /// What a port says of its driver, and why it is not another one.
    fn driver(&self, interface: &str) -> (String, String) {
        let port = self.lab.port("r", interface);
        let text = |name: &str| port[name].as_str().unwrap().to_owned();
        (text("driver"), text("why-not"))
    }

    fn wait_for_driver(&self, interface: &str, driver: &str) {
        until(&format!("{interface} has {driver}"), || {
            let found = self.driver(interface);
            (found.0 == driver).then_some(())
        });
    }

    fn assert_forwards(&self, payload: &str) {
        let [b, c] = ["b", "c"].map(|host| {
            self.lab.receiver(host, SocketAddrV4::new(self.lab.address(host, "r"), PORT))
        });
        let [v4, _] = self.packets(payload);
        self.lab.inject("a", "r", &v4);
        assert_receives(&b, self.source(), payload);
        assert_receives(&c, self.source(), payload);
        self.lab.assert_identity("r");
    }
}

/// A driver for `a` and `b`; the others have the default. (Not for all: memory that may be locked is
/// scarce where many tests run.)
fn ports(driver: &str) -> String {
    let port = |host| match host {
        "a" | "b" => format!("[[port]]\ninterface = \"{host}\"\ndriver = \"{driver}\"\n"),
        _ => format!("[[port]]\ninterface = \"{host}\"\n"),
    };
    format!("[ports]\nxcast-neighbors = \"all\"\n{}", HOSTS.map(port).concat())
}

/// The driver that comes out where `xdp` is wanted from the start.
fn best() -> &'static str {
    if may_load() { "xdp" } else { "packet+xdp" }
}

#[test]
fn every_driver_puts_the_same_on_the_links() {
    in_namespaces("routers::every_driver_puts_the_same_on_the_links", || {
        let mut star = Star::new(1700);
        // Up to what the lists leave room for.
        let payloads: Vec<String> = [1, 2, 64, 65, 500, 1000, 1472, 1473, 1500, 1560]
            .into_iter()
            .map(|len| "x".repeat(len))
            .collect();
        // Who listens sends no errors.
        let _listeners = ["b", "c"].map(|host| {
            let v4 = SocketAddrV4::new(star.lab.address(host, "r"), PORT);
            let v6 = SocketAddrV6::new(star.lab.address_v6(host, "r"), PORT, 0, 0);
            [star.lab.receiver(host, v4), star.lab.receiver(host, v6)]
        });
        let mut before: Option<Vec<Vec<Vec<u8>>>> = None;
        for (wanted, driver) in [("packet", "packet"), ("auto", "packet+xdp"), ("xdp", best())] {
            star.start(wanted);
            for host in ["a", "b"] {
                assert_eq!(star.driver(host).0, driver, "{:?}", star.driver(host));
            }
            let links = &star.lab.links[1..];
            let captures: Vec<Capture> = links.iter().map(|link| star.lab.capture(link)).collect();
            payloads.iter().for_each(|payload| star.send(payload));
            let [to_b, to_c, to_n] = [20, 20, 10];
            until("everything has crossed", || {
                let crossed = |capture: &Capture, count| capture.packets().len() >= count;
                let counts = captures.iter().zip([to_b, to_c, to_n]);
                counts.into_iter().all(|(capture, count)| crossed(capture, count)).then_some(())
            });
            let packets: Vec<_> = captures.iter().map(Capture::packets).collect();
            assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [to_b, to_c, to_n]);
            if let Some(before) = before.replace(packets.clone()) {
                assert!(before == packets, "{driver} puts something else on the links");
            }
            star.lab.assert_identity("r");
            assert_eq!(star.lab.counter("r", "destinations-dropped"), 0);
            star.lab.stop_router("r");
        }
    });
}

#[test]
fn a_reload_changes_drivers() {
    in_namespaces("routers::a_reload_changes_drivers", || {
        let mut star = Star::new(1500);
        star.start("xdp");
        star.assert_forwards("xdp");
        for (wanted, driver) in
            [("packet", "packet"), ("auto", "packet+xdp"), ("xdp", best()), ("auto", "packet+xdp")]
        {
            write_config("r", &ports(wanted));
            star.lab.router("r").signal(Signal::SIGHUP);
            ["a", "b"].iter().for_each(|host| star.wait_for_driver(host, driver));
            star.assert_forwards(&format!("reloaded-{wanted}"));
        }
        assert_eq!(star.driver("c").0, "packet+xdp");
        star.lab.stop_router("r");
    });
}

#[test]
fn what_the_start_has_given_up_takes_a_restart() {
    in_namespaces("routers::what_the_start_has_given_up_takes_a_restart", || {
        let mut star = Star::new(1500);
        star.start("auto");
        assert_eq!(star.driver("a"), ("packet+xdp".to_owned(), String::new()));
        write_config("r", &ports("xdp"));
        star.lab.router("r").signal(Signal::SIGHUP);
        until("it says so", || star.driver("a").1.contains("restart it").then_some(()));
        assert_eq!(star.driver("a").0, "packet+xdp");
        star.assert_forwards("all the same");
        let output = xcast().args(["show", "ports", "--socket", &socket_path("r")]).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(text.contains("packet+xdp") && text.contains("restart it"), "{text}");
        star.lab.stop_router("r");
        star.start("xdp");
        assert_eq!(star.driver("a").0, best());
        let line = star.lab.router("r").log.wait_for_part(Stream::Error, "seccomp");
        assert!(line.contains("CAP_BPF"), "{line}");
    });
}

#[test]
fn links_that_flap_and_change_are_served_by_every_driver() {
    in_namespaces("routers::links_that_flap_and_change_are_served_by_every_driver", || {
        let mut star = Star::new(1500);
        for (wanted, driver) in [("auto", "packet+xdp"), ("xdp", best())] {
            star.start(wanted);
            for round in 0..3 {
                star.assert_forwards(&format!("{wanted}-{round}"));
                star.lab.ip("r", "link set dev b down");
                star.lab.ip("a", "link set dev r down");
                star.lab.wait_for_port("r", "b", "down");
                star.lab.wait_for_port("r", "a", "down");
                star.lab.ip("r", "link set dev b up");
                star.lab.ip("a", "link set dev r up");
                star.lab.wait_for_port("r", "a", "up");
                star.lab.wait_for_port("r", "b", "up");
            }
            // Another address, another size: the program and the memory follow.
            star.lab.ip("r", "link set dev a address 02:00:00:00:77:01");
            star.lab.ip("r", "link set dev a mtu 3000");
            star.lab.ip("a", "link set dev r mtu 3000");
            until("the router knows the MTU", || {
                (star.lab.port("r", "a")["mtu"] == 3000).then_some(())
            });
            star.wait_for_driver("a", driver);
            let [v4, _] = star.packets("there");
            let b = star.lab.receiver("b", SocketAddrV4::new(star.lab.address("b", "r"), PORT));
            star.lab.inject_to("a", "r", [2, 0, 0, 0, 0x77, 1], &v4);
            assert_receives(&b, star.source(), "there");
            let mac = star.lab.end("r", "a").mac.map(|octet| format!("{octet:02x}")).join(":");
            star.lab.ip("r", &format!("link set dev a address {mac}"));
            star.lab.ip("r", "link set dev a mtu 1500");
            star.lab.stop_router("r");
        }
    });
}

//! The router follows the kernel's routes as they change, and its own before them.
//!
//! ```text
//!    a ─── r ─── n ─ ─ ─ 10.8.0.0/16
//!          ╰──── m          (`m` could forward there, too)
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::capture::{Capture, Form};
use crate::lab::packets::Packet;
use crate::lab::process::until;
use crate::support::in_namespaces;
use crate::{FAR, NEIGHBORS_SPEAK_XCAST, PORT, SOURCE_PORT, Star};

const PREFIX: &str = "10.8.0.0/16";

/// The star with a second way, and captures on both.
struct TwoWays {
    star: Star,
    at_n: Capture,
    at_m: Capture,
    sent: u64,
}

impl TwoWays {
    fn with(more: &str) -> TwoWays {
        let mut star = Star::without_router();
        star.lab.hosts(&["m"]);
        let to_m = star.lab.link("m", "r");
        star.start(&format!("{NEIGHBORS_SPEAK_XCAST}{more}"));
        star.lab.wait_for_port("r", "m", "up");
        let at_n = star.lab.capture(&star.lab.links[3]);
        let at_m = star.lab.capture(&to_m);
        TwoWays { star, at_n, at_m, sent: 0 }
    }

    fn n(&self) -> Ipv4Addr {
        self.star.at("n")
    }

    fn m(&self) -> Ipv4Addr {
        self.star.at("m")
    }

    fn ip(&self, command: &str) {
        self.star.lab.ip("r", command);
    }

    fn wait_for_route(&self, prefix: &str, via: Option<Ipv4Addr>, state: &str) {
        self.star.lab.wait_for_route("r", prefix, via, state);
    }

    /// Sends to the two far destinations; returns what left to `n` and to `m`.
    fn send(&mut self, copies: u64) -> [Vec<Form>; 2] {
        self.star.send(&self.star.packet(&FAR, "far"));
        self.sent += copies;
        until(&format!("{} copies left", self.sent), || {
            (self.star.lab.counter("r", "replicas-sent") == self.sent).then_some(())
        });
        self.star.lab.assert_identity("r");
        [&self.at_n, &self.at_m].map(|capture| {
            let sent = capture.take().into_iter().filter(|copy| copy.from == "r");
            sent.map(|copy| copy.form).collect()
        })
    }

    /// The two far destinations are dropped for a reason.
    fn assert_drops(&mut self, reason: &str) {
        let before = self.star.lab.dropped("r", reason);
        assert_eq!(self.send(0), [vec![], vec![]]);
        until(&format!("both are dropped: {reason}"), || {
            (self.star.lab.dropped("r", reason) == before + 2).then_some(())
        });
    }
}

fn together() -> Vec<Form> {
    vec![Form::Xcast(FAR.map(|address| SocketAddrV4::new(address, PORT)).to_vec())]
}

fn alone(at: usize) -> Vec<Form> {
    vec![Form::Unicast(SocketAddrV4::new(FAR[at], PORT))]
}

#[test]
fn packets_take_the_next_hop_that_the_kernel_has_now() {
    in_namespaces("routes::packets_take_the_next_hop_that_the_kernel_has_now", || {
        let mut ways = TwoWays::with("");
        let (n, m) = (ways.n(), ways.m());
        assert_eq!(ways.send(1), [together(), vec![]]);
        for _ in 0..3 {
            ways.ip(&format!("route replace {PREFIX} via {m}"));
            ways.wait_for_route(PREFIX, Some(m), "live");
            assert_eq!(ways.send(1), [vec![], together()]);
            ways.ip(&format!("route replace {PREFIX} via {n}"));
            ways.wait_for_route(PREFIX, Some(n), "live");
            assert_eq!(ways.send(1), [together(), vec![]]);
        }
        // A longer prefix takes one of them away, and gives it back.
        let longer = format!("{}/32", FAR[1]);
        ways.ip(&format!("route add {longer} via {m}"));
        ways.wait_for_route(&longer, Some(m), "live");
        assert_eq!(ways.send(2), [alone(0), alone(1)]);
        ways.ip(&format!("route del {longer}"));
        ways.star.lab.wait_for_no_route("r", &longer);
        assert_eq!(ways.send(1), [together(), vec![]]);
    });
}

#[test]
fn routes_that_lead_nowhere_drop_under_their_own_reasons() {
    in_namespaces("routes::routes_that_lead_nowhere_drop_under_their_own_reasons", || {
        let mut ways = TwoWays::with("");
        for kind in ["blackhole", "unreachable", "prohibit"] {
            ways.ip(&format!("route replace {kind} {PREFIX}"));
            ways.wait_for_route(PREFIX, None, "drop");
            ways.assert_drops("route-drop");
            ways.ip(&format!("route replace {PREFIX} via {}", ways.n()));
            ways.wait_for_route(PREFIX, Some(ways.n()), "live");
            assert_eq!(ways.send(1), [together(), vec![]]);
        }
        ways.ip(&format!("route del {PREFIX}"));
        ways.star.lab.wait_for_no_route("r", PREFIX);
        ways.assert_drops("no-route");
        ways.star.assert_forwards();
    });
}

#[test]
fn a_packet_takes_one_of_several_next_hops_and_a_live_one() {
    in_namespaces("routes::a_packet_takes_one_of_several_next_hops_and_a_live_one", || {
        let mut ways = TwoWays::with("");
        let (n, m) = (ways.n(), ways.m());
        ways.ip(&format!("route replace {PREFIX} nexthop via {n} nexthop via {m}"));
        ways.wait_for_route(PREFIX, Some(m), "live");
        let first = ways.send(1);
        let together = together();
        assert!(first.concat() == together, "both by the same way: {first:?}");
        for _ in 0..4 {
            assert_eq!(ways.send(1), first, "a channel keeps its way");
        }
        let dead = if first[0].is_empty() { "m" } else { "n" };
        ways.star.lab.ip(dead, "link set dev r down");
        ways.star.lab.wait_for_port("r", dead, "down");
        ways.star.send(&ways.star.packet(&FAR, "other way"));
        let other = if dead == "m" { &ways.at_n } else { &ways.at_m };
        until("it takes the other way", || {
            let mut copies = other.peek().into_iter();
            copies.any(|copy| vec![copy.form] == together).then_some(())
        });
        assert_eq!(ways.star.lab.counter("r", "destinations-dropped"), 0);
    });
}

#[test]
fn tables_are_consulted_in_the_order_that_is_configured() {
    in_namespaces("routes::tables_are_consulted_in_the_order_that_is_configured", || {
        let mut ways = TwoWays::with("[routes]\nkernel-tables = [100, 254]");
        assert_eq!(ways.send(1), [together(), vec![]]);
        // Any match in an earlier table wins, however short.
        ways.ip(&format!("route add 10.0.0.0/8 via {} table 100", ways.m()));
        ways.wait_for_route("10.0.0.0/8", Some(ways.m()), "live");
        // That includes the sources' way back.
        let from_m = SocketAddrV4::new(ways.m(), SOURCE_PORT);
        let packet = Packet::to(from_m, &FAR, PORT, "by m").bytes();
        ways.star.lab.inject("m", "r", &packet);
        ways.sent += 1;
        until("it goes back", || {
            (ways.star.lab.counter("r", "replicas-sent") == ways.sent).then_some(())
        });
        ways.ip("route add throw 10.9.0.0/16 table 100");
        ways.wait_for_route("10.9.0.0/16", None, "throw");
        ways.at_m.take();
        assert_eq!(ways.send(1), [vec![], together()]);
        ways.ip("route flush table 100");
        ways.star.lab.wait_for_no_route("r", "10.0.0.0/8");
        assert_eq!(ways.send(1), [together(), vec![]]);
    });
}

#[test]
fn routes_of_the_configuration_come_first() {
    in_namespaces("routes::routes_of_the_configuration_come_first", || {
        let m = Ipv4Addr::new(10, 9, 5, 1); // the fifth link's first end
        let route = |prefix: &str, way: &str| format!("[[route]]\nprefix = \"{prefix}\"\n{way}\n");
        let via = route(&format!("{}/32", FAR[0]), &format!("via = \"{m}\""));
        let nowhere = route("10.8.0.2/32", "drop = true");
        let mut ways = TwoWays::with(&(via + &nowhere));
        assert_eq!(ways.m(), m);
        assert_eq!(ways.send(1), [vec![], alone(0)]);
        assert_eq!(ways.star.lab.dropped("r", "route-drop"), 1);
    });
}

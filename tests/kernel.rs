//! The kernel's mirror against a real kernel, in namespaces of its own; further `io`'s sockets,
//! and what `kernel` finds to warn of.
//!
//! What the mirror tells is applied to a model; the model must become what a fresh dump says.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

#[path = "kernel/follow.rs"]
mod follow;
#[path = "kernel/ipv6.rs"]
mod ipv6;
#[path = "kernel/sockets.rs"]
mod sockets;
#[allow(unreachable_pub)]
mod support;
#[path = "kernel/warnings.rs"]
mod warnings;

use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Instant;

use follow::{Follower, Model, dump, follow, via};
use support::{in_namespaces, run, wire};
use xcast::kernel::Mirror;
use xcast::rib::{LinkKind, NeighborState, RouteAction};

/// Runs every line of `script` by one `ip -batch`.
fn batch(script: &str) {
    std::fs::write("/run/batch", script).unwrap();
    run("ip -batch /run/batch");
}

const MANY_KINDS: &str = "
route add 10.1.0.0/16 nexthop via 10.0.0.2 weight 3 nexthop via 10.0.0.3
route add 10.2.0.0/16 via inet6 fd00::2 dev va
route add 10.3.0.0/16 dev va metric 70
route add blackhole 10.4.0.0/16
route add unreachable 10.4.1.0/24
route add prohibit 10.4.2.0/24
route add throw 10.5.0.0/16 table 1000
route add default via 10.0.0.2
route add 10.6.0.0/16 tos 0x10 via 10.0.0.2
route add fd01::/32 nexthop via fd00::2 weight 2 nexthop via fd00::3
route add fd02::/32 via fd00::2 metric 5
route add blackhole fd03::/32
neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev va
neigh add fd00::9 lladdr 02:00:00:00:00:09 dev va
";

fn assert_many_kinds(model: &Model) -> bool {
    let va = model.links.values().find(|link| link.name == "va").map_or(0, |link| link.index);
    let permanent = Some(NeighborState::Permanent);
    model.routes_to("10.1.0.0/16") == [via(va, &[("10.0.0.2", 3), ("10.0.0.3", 1)])]
        && model.routes_to("10.2.0.0/16") == [via(va, &[("fd00::2", 1)])]
        && model.routes.contains_key(&(254, "10.3.0.0/16".parse().unwrap(), 70))
        && ["10.4.0.0/16", "10.4.1.0/24", "10.4.2.0/24", "fd03::/32"]
            .iter()
            .all(|prefix| model.routes_to(prefix) == [RouteAction::Drop])
        && model.routes_in(1000, "10.5.0.0/16") == [RouteAction::Throw]
        && model.routes_to("0.0.0.0/0") == [via(va, &[("10.0.0.2", 1)])]
        && model.routes_to("10.6.0.0/16").is_empty()
        && model.routes_to("fd01::/32") == [via(va, &[("fd00::2", 2), ("fd00::3", 1)])]
        && model.routes.contains_key(&(254, "fd02::/32".parse().unwrap(), 5))
        && model.state(va, "10.0.0.9") == permanent
        && model.state(va, "fd00::9") == permanent
}

#[test]
fn a_dump_sees_everything() {
    in_namespaces("a_dump_sees_everything", || {
        wire();
        batch(MANY_KINDS);
        let model = dump();
        assert!(assert_many_kinds(&model), "{model:#?}");
        let va = model.link("va");
        assert_eq!((va.kind, va.mtu, va.admin_up), (LinkKind::Ethernet, 1500, true));
        assert!(va.address.is_some());
        assert_eq!(model.link("lo").kind, LinkKind::Loopback);
        let address = &model.addresses[&(va.index, "10.0.0.1".parse().unwrap(), 24)];
        assert_eq!(address.broadcast, Some(Ipv4Addr::new(10, 0, 0, 255)));
        let neighbor = &model.neighbors[&(va.index, "10.0.0.9".parse().unwrap())];
        assert_eq!(neighbor.link_address, Some([2, 0, 0, 0, 0, 9]));
        assert!(model.routes.keys().all(|(table, _, _)| *table != 255));
    });
}

#[test]
fn notifications_tell_everything() {
    in_namespaces("notifications_tell_everything", || {
        let mut follower = follow();
        wire();
        batch(MANY_KINDS);
        follower.settle("everything was made", assert_many_kinds);
        run("ip link set va mtu 1400");
        run("ip link add name br0 type bridge");
        run("ip link set va master br0");
        follower.settle("a port of a bridge", |model| {
            model.link("va").mtu == 1400 && model.link("va").master.is_some()
        });
        run("ip link set va nomaster");
        follower.settle("no port of a bridge", |model| model.link("va").master.is_none());
        run("ip addr add 10.9.0.1 peer 10.9.0.2/32 dev va");
        run("ip neigh del 10.0.0.9 dev va");
        run("ip link set br0 down");
        let va = follower.model.link("va").index;
        follower.settle("an address, no neighbor", |model| {
            model.addresses.contains_key(&(va, "10.9.0.1".parse().unwrap(), 32))
                && model.state(va, "10.0.0.9").is_none()
        });
        run("ip addr flush dev va");
        run("ip link del br0");
        follower.settle("nothing on va", |model| {
            model.links.len() == 2 && model.addresses.keys().all(|key| key.0 != va)
        });
    });
}

#[test]
fn routes_vanish_with_their_link() {
    in_namespaces("routes_vanish_with_their_link", || {
        wire();
        let mut follower = follow();
        for take_away in ["ip link set va down", "ip link del va"] {
            run("ip link set va up");
            batch("route add 10.1.0.0/16 via 10.0.0.2\nroute add 10.2.0.0/16 dev va table 1000\n");
            follower.settle("routes", |model| model.routes_to("10.1.0.0/16").len() == 1);
            run(take_away);
            follower.settle(take_away, |model| {
                model.routes_to("10.0.0.0/24").is_empty()
                    && model.routes_to("10.1.0.0/16").is_empty()
                    && model.routes_in(1000, "10.2.0.0/16").is_empty()
            });
        }
        assert_eq!(follower.mirror.overruns(), 0);
    });
}

/// The kernel tells that a link falls before it drops its routes: a dump that does not wait for
/// the end of it may still see them, and nothing would tell that they went.
#[test]
fn a_falling_link_is_never_dumped_half_fallen() {
    in_namespaces("a_falling_link_is_never_dumped_half_fallen", || {
        wire();
        let mut routes = String::new();
        for third in 0..200 {
            routes += &format!("route add 10.1.{third}.0/24 via 10.0.0.2\n");
        }
        let mut follower = follow();
        for _ in 0..20 {
            batch(&routes);
            follower.until("routes", |model| model.routes_to("10.1.199.0/24").len() == 1);
            // Followed while it happens, not after.
            let mut fall = Command::new("ip").args(["link", "set", "va", "down"]).spawn().unwrap();
            follower.until("no routes", |model| {
                model.routes.keys().all(|(_, prefix, _)| prefix.address().is_ipv6())
            });
            assert!(fall.wait().unwrap().success());
            run("ip link set va up");
        }
        follower.settle("up again", |model| model.routes_to("10.0.0.0/24").len() == 1);
    });
}

#[test]
fn an_address_takes_its_routes_along() {
    in_namespaces("an_address_takes_its_routes_along", || {
        wire();
        run("ip addr add 10.2.0.1/24 dev va");
        run("ip route add 10.5.0.0/16 dev va src 10.2.0.1");
        let mut follower = follow();
        assert_eq!(follower.model.routes_to("10.5.0.0/16").len(), 1);
        run("ip addr del 10.2.0.1/24 dev va");
        follower.settle("no route", |model| model.routes_to("10.5.0.0/16").is_empty());
    });
}

#[test]
fn equal_routes_stay_in_the_kernels_order() {
    in_namespaces("equal_routes_stay_in_the_kernels_order", || {
        wire();
        let mut follower = follow();
        for script in [
            "route add 10.7.0.0/16 via 10.0.0.5",
            "route append 10.7.0.0/16 via 10.0.0.6",
            "route prepend 10.7.0.0/16 via 10.0.0.4",
            "route append 10.7.0.0/16 nexthop via 10.0.0.7 nexthop via 10.0.0.8",
            "route replace 10.7.0.0/16 via 10.0.0.9",
            "route change 10.7.0.0/16 via 10.0.0.10",
            "route del 10.7.0.0/16 via 10.0.0.5",
            "route add 10.7.0.0/16 via 10.0.0.5 metric 9",
            "route del 10.7.0.0/16 via 10.0.0.10\nroute add 10.7.0.0/16 via 10.0.0.3 metric 8",
            "route add fd07::/32 via fd00::5",
            "route append fd07::/32 via fd00::6",
            "route append fd07::/32 nexthop via fd00::7 nexthop via fd00::8",
            "route append fd07::/32 dev va",
            "route del fd07::/32 via fd00::6",
            "route replace fd07::/32 nexthop via fd00::9 nexthop via fd00::a",
            "route del fd07::/32 via fd00::9",
            "route del fd07::/32",
            "route replace fd07::/32 via fd00::b",
        ] {
            batch(script);
            follower.settle(script, |_| true);
        }
        let hops = follower.model.routes_to("10.7.0.0/16");
        let va = follower.model.link("va").index;
        assert_eq!(hops[0], via(va, &[("10.0.0.6", 1)]));
        assert_eq!(hops[1], via(va, &[("10.0.0.7", 1), ("10.0.0.8", 1)]));
    });
}

#[test]
fn nexthop_objects_are_followed() {
    in_namespaces("nexthop_objects_are_followed", || {
        wire();
        run("ip nexthop add id 1 via 10.0.0.2 dev va");
        let mut follower = follow();
        batch(
            "nexthop add id 2 via 10.0.0.3 dev va
                 nexthop add id 3 via 10.0.0.4 dev va
                 nexthop add id 10 group 1/2/3
                 nexthop add id 61 via fd00::2 dev va
                 route add 10.1.0.0/16 nhid 1
                 route add 10.2.0.0/16 nhid 10
                 route add fd01::/32 nhid 61",
        );
        let va = follower.model.link("va").index;
        follower.settle("routes", |model| model.routes_to("fd01::/32").len() == 1);
        let expect = |follower: &mut Follower, command: &str, hops: &[(&str, u16)]| {
            run(command);
            let hops = via(va, hops);
            follower.settle(command, |model| model.routes_to("10.2.0.0/16") == [hops.clone()]);
        };
        let f = &mut follower;
        let replace = "ip nexthop replace id 1 via 10.0.0.9 dev va";
        expect(f, replace, &[("10.0.0.9", 1), ("10.0.0.3", 1), ("10.0.0.4", 1)]);
        expect(f, "ip nexthop del id 3", &[("10.0.0.9", 1), ("10.0.0.3", 1)]);
        let weights = "ip nexthop replace id 10 group 1,5/2,1";
        expect(f, weights, &[("10.0.0.9", 5), ("10.0.0.3", 1)]);
        assert_eq!(f.model.routes_to("10.1.0.0/16"), [via(va, &[("10.0.0.9", 1)])]);
        run("ip nexthop replace id 61 via fd00::9 dev va");
        f.settle("another gateway", |model| {
            model.routes_to("fd01::/32") == [via(va, &[("fd00::9", 1)])]
        });
        run("ip nexthop flush");
        f.settle("no routes", |model| model.routes_to("10.2.0.0/16").is_empty());
    });
}

#[test]
fn an_overrun_is_noticed_and_recovered() {
    in_namespaces("an_overrun_is_noticed_and_recovered", || {
        wire();
        let small = Mirror::open_with(4096, |_, _| Err(io::ErrorKind::Unsupported.into()));
        let mut follower = Follower::start(small.unwrap());
        for round in 1..=2 {
            let mut script = String::new();
            for number in 0..2000 {
                let (third, fourth) = (number / 256, number % 256);
                script += &format!("route add 10.{round}.{third}.{fourth}/32 via 10.0.0.2\n");
            }
            batch(&script);
            follower.settle("2000 routes", |model| model.routes.len() > 2000);
            assert!(follower.mirror.overruns() >= round);
            assert!(follower.mirror.deadline().is_none());
            run("ip route flush root 10.0.0.0/8 proto boot");
            let mut changes = Vec::new();
            // A poll that is not allowed to dump yet must say when it will be.
            follower.mirror.poll(Instant::now(), &mut changes).unwrap();
            follower.take(changes);
            follower.settle("no routes", |model| model.routes.len() < 100);
        }
    });
}

#[test]
fn a_neighbor_is_resolved_without_a_packet_of_ours() {
    in_namespaces("a_neighbor_is_resolved_without_a_packet_of_ours", || {
        wire();
        // Stale entries are probed at once, unanswered ones fail quickly.
        for (family, name) in [("ipv4", "va"), ("ipv6", "va")] {
            let path = format!("/proc/sys/net/{family}/neigh/{name}");
            std::fs::write(format!("{path}/delay_first_probe_time"), "0").unwrap();
            std::fs::write(format!("{path}/retrans_time_ms"), "100").unwrap();
        }
        let mut follower = follow();
        follower.until("carrier", |model| model.link("va").carrier);
        let va = follower.model.link("va").index;
        let peer = address_of_peer();
        for address in ["10.0.0.2", "fd00::2"] {
            let reach = |follower: &mut Follower, what: &str| {
                follower.reach(what, va, address);
                let neighbor = &follower.model.neighbors[&(va, address.parse().unwrap())];
                assert_eq!(neighbor.link_address, Some(peer));
            };
            reach(&mut follower, "unknown");
            run(&format!("ip neigh change {address} dev va nud stale"));
            follower.until("stale", |model| model.state(va, address) == Some(NeighborState::Stale));
            reach(&mut follower, "stale");
            run(&format!("ip neigh flush to {address}"));
            run(&format!("ip -n peer addr flush to {address}"));
            follower.mirror.resolve(va, address.parse().unwrap()).unwrap();
            follower
                .until("failed", |model| model.state(va, address) == Some(NeighborState::Failed));
            let length = if address.contains(':') { 64 } else { 24 };
            let nodad = if address.contains(':') { " nodad" } else { "" };
            run(&format!("ip -n peer addr add {address}/{length} dev vb{nodad}"));
            reach(&mut follower, "failed");
        }
        let error = follower.mirror.resolve(9999, "10.0.0.2".parse().unwrap()).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV), "{error}");
    });
}

fn address_of_peer() -> [u8; 6] {
    let text = run("ip -n peer -o link show vb");
    let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether").skip(1);
    let octets: Vec<u8> =
        words.next().unwrap().split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

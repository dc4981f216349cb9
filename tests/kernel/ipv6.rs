//! IPv6 in the mirror: its routes are told in other ways than those of IPv4, above all where one
//! has several next hops, and its addresses are tried before they are used (RFC 4862).

use std::net::IpAddr;
use std::process::Command;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xcast::rib::{NeighborState, NextHop, RouteAction};

use crate::batch;
use crate::follow::{Follower, Model, follow, via};
use crate::support::{in_namespaces, run, wire};

/// [`wire`], and a second link to the same peer: `vc` (fd02::1) here, `vd` (fd02::2) there.
fn two_wires() {
    wire();
    run("ip link add name vc type veth peer name vd netns peer");
    run("ip addr add fd02::1/64 dev vc nodad");
    run("ip link set vc up");
    run("ip -n peer addr add fd02::2/64 dev vd nodad");
    run("ip -n peer link set vd up");
}

/// Runs each line and compares with a dump after it.
fn step_by_step(follower: &mut Follower, script: &str) {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        run(&format!("ip -6 {line}"));
        follower.settle(line, |_| true);
    }
}

fn hops(parts: &[(u32, &str)]) -> RouteAction {
    let hop = |&(interface, gateway): &(u32, &str)| NextHop {
        interface,
        gateway: Some(gateway.parse().unwrap()),
        weight: 1,
    };
    RouteAction::Forward(parts.iter().map(hop).collect())
}

/// Next hops in an order that does not matter.
fn is_any_order_of(routes: &[RouteAction], parts: &[(u32, &str)]) -> bool {
    let sorted = |action: &RouteAction| match action {
        RouteAction::Forward(hops) => {
            let mut hops = hops.clone();
            hops.sort_by_key(|hop| (hop.interface, hop.gateway));
            hops
        }
        _ => Vec::new(),
    };
    matches!(routes, [one] if sorted(one) == sorted(&hops(parts)))
}

#[test]
fn routes_are_followed() {
    in_namespaces("ipv6::routes_are_followed", || {
        two_wires();
        let mut follower = follow();
        let f = &mut follower;
        step_by_step(
            f,
            "route add fd10::/32 via fd00::2
             route add fd10::/32 via fd02::2 metric 50
             route replace fd10::/32 via fd00::3
             route change fd10::/32 via fd00::4 metric 50
             route del fd10::/32 metric 50
             route add fd11::/128 dev va
             route add fd11::/64 via fe80::2 dev va table 1000
             route replace fd11::/64 via fe80::3 dev vc table 1000
             route add default via fd00::2 metric 7
             route add default via fe80::9 dev vc metric 9
             route del default metric 7
             route add blackhole fd12::/32
             route replace unreachable fd12::/32
             route replace fd12::/32 via fd00::2
             route replace prohibit fd12::/32
             route add throw fd13::/32 table 1000
             route add unreachable fd12::/32 metric 3",
        );
        let (va, vc) = (f.model.link("va").index, f.model.link("vc").index);
        assert_eq!(f.model.routes_to("fd10::/32"), [via(va, &[("fd00::3", 1)])]);
        assert_eq!(f.model.routes_in(1000, "fd11::/64"), [via(vc, &[("fe80::3", 1)])]);
        assert_eq!(f.model.routes_to("::/0"), [via(vc, &[("fe80::9", 1)])]);
        assert_eq!(f.model.routes_to("fd12::/32"), [RouteAction::Drop, RouteAction::Drop]);
        assert_eq!(f.model.routes_in(1000, "fd13::/32"), [RouteAction::Throw]);
        let link_local = f.model.routes_to("fe80::/64");
        let direct = |interface| NextHop { interface, gateway: None, weight: 1 };
        for interface in [va, vc] {
            assert!(link_local.contains(&RouteAction::Forward(vec![direct(interface)])));
        }
    });
}

#[test]
fn several_next_hops_are_followed() {
    in_namespaces("ipv6::several_next_hops_are_followed", || {
        two_wires();
        let mut follower = follow();
        let f = &mut follower;
        step_by_step(
            f,
            "route add fd10::/32 via fd00::2
             route append fd10::/32 via fd00::3
             route append fd10::/32 via fd02::2
             route append fd10::/32 nexthop via fd00::4 nexthop via fd02::4",
        );
        let (va, vc) = (f.model.link("va").index, f.model.link("vc").index);
        let all =
            [(va, "fd00::2"), (va, "fd00::3"), (va, "fd00::4"), (vc, "fd02::2"), (vc, "fd02::4")];
        assert!(is_any_order_of(&f.model.routes_to("fd10::/32"), &all), "{:?}", f.model);
        step_by_step(f, "route del fd10::/32 via fd00::2\nroute del fd10::/32 via fd02::2");
        let left = [(va, "fd00::3"), (va, "fd00::4"), (vc, "fd02::4")];
        assert!(is_any_order_of(&f.model.routes_to("fd10::/32"), &left));
        step_by_step(f, "route del fd10::/32 nexthop via fd00::3 nexthop via fd02::4");
        assert!(is_any_order_of(&f.model.routes_to("fd10::/32"), &[(va, "fd00::4")]));
        step_by_step(
            f,
            "route del fd10::/32
             route add fd10::/32 nexthop via fd00::2 weight 3 nexthop via fd02::2
             route add fd10::/32 metric 5 nexthop via fd00::2 nexthop via fd02::2
             route replace fd10::/32 nexthop via fd02::5 nexthop via fd00::5 nexthop via fd00::6
             route append fd10::/32 dev va
             route append fd10::/32 dev vc
             route append fd10::/32 via fd00::7
             route replace fd10::/32 via fd00::8
             route del fd10::/32 dev va metric 1024
             route replace fd10::/32 nexthop via fd00::8 nexthop via fd00::9
             route del fd10::/32 metric 5
             route del fd10::/32
             route flush root fd10::/32",
        );
        assert!(f.model.routes_to("fd10::/32").is_empty());
    });
}

#[test]
fn links_and_addresses_take_their_routes_along() {
    in_namespaces("ipv6::links_and_addresses_take_their_routes_along", || {
        two_wires();
        let mut follower = follow();
        let routes = "route add fd10::/32 nexthop via fd00::2 nexthop via fd02::2
             route add fd11::/32 nexthop via fd00::2 nexthop via fd00::3
             route add fd12::/32 via fd00::2
             route add fd13::/32 via fe80::2 dev va table 1000
             route add blackhole fd14::/32\n";
        let f = &mut follower;
        for (down, up) in [
            ("ip link set va down", "ip link set va up"),
            ("ip -n peer link set vb down", "ip -n peer link set vb up"),
            ("ip link set va mtu 1200", "ip link set va mtu 1500"),
        ] {
            let replace = routes.replace("route add", "route replace");
            batch(&replace);
            f.settle("routes", |model| model.routes_to("fd12::/32").len() == 1);
            run(down);
            f.settle(down, |model| model.routes_to("fd14::/32") == [RouteAction::Drop]);
            run(up);
            f.settle(up, |model| model.link("va").carrier && model.link("va").mtu == 1500);
            // The kernel forgets the addresses of a link that is down.
            if !run("ip -6 addr show dev va").contains("fd00::1/") {
                run("ip addr add fd00::1/64 dev va nodad");
                f.settle("an address", |model| model.routes_to("fd00::/64").len() == 1);
            }
        }
        let switch_off = |value| std::fs::write("/proc/sys/net/ipv6/conf/va/disable_ipv6", value);
        switch_off("1").unwrap();
        f.settle("IPv6 is off", |model| model.routes_to("fd12::/32").is_empty());
        switch_off("0").unwrap();
        run("ip addr add fd00::1/64 dev va nodad");
        batch(&routes.replace("route add", "route replace"));
        f.settle("IPv6 is on", |model| model.routes_to("fd12::/32").len() == 1);
        run("ip link del va");
        let vc = f.model.link("vc").index;
        f.settle("one link", |model| {
            is_any_order_of(&model.routes_to("fd10::/32"), &[(vc, "fd02::2")])
                && model.routes_to("fd11::/32").is_empty()
        });
    });
}

#[test]
fn addresses_and_their_subnets_are_followed() {
    in_namespaces("ipv6::addresses_and_their_subnets_are_followed", || {
        two_wires();
        let mut follower = follow();
        step_by_step(
            &mut follower,
            "addr add fd20::1/64 dev va nodad
             addr add fd20::2/64 dev va nodad
             addr add fd20::3/64 dev vc nodad
             addr add fd21::1/64 dev va nodad noprefixroute
             addr add fd22::1 peer fd22::2/128 dev va nodad
             addr add fd23::1/64 dev va nodad metric 77
             addr change fd23::1/64 dev va nodad metric 78
             addr add fe80::77/64 dev vc nodad
             addr del fd20::1/64 dev va
             addr del fd20::2/64 dev va
             addr del fd22::1 peer fd22::2/128 dev va
             route add fd24::/32 via fd23::2 src fd20::3
             addr del fd20::3/64 dev vc
             addr flush dev va scope global",
        );
        assert!(follower.model.routes_to("fd20::/64").is_empty());
    });
}

/// An address is this node's own only once nobody else is found to have it.
#[test]
fn an_address_that_is_tried_is_not_there_yet() {
    in_namespaces("ipv6::an_address_that_is_tried_is_not_there_yet", || {
        wire();
        run("ip -n peer addr add fd00::66/64 dev vb nodad");
        let mut follower = follow();
        let has = |model: &Model, address: &str| {
            let address: IpAddr = address.parse().unwrap();
            model.addresses.values().any(|own| own.address == address)
        };
        let f = &mut follower;
        f.until("both ends are up", |model| model.link("va").carrier);
        // The peer answers for this one.
        run("ip addr add fd00::66/64 dev va");
        run("ip addr add fd00::67/64 dev va");
        f.settle("the other was tried", |model| has(model, "fd00::67"));
        let tried = || run("ip -6 addr show dev va to fd00::66");
        f.until("the first was tried", |_| tried().contains("dadfailed"));
        f.settle("the first is another's", |model| !has(model, "fd00::66"));
        // It becomes ours once the peer has gone and it is tried again.
        run("ip -n peer addr del fd00::66/64 dev vb");
        run("ip addr del fd00::66/64 dev va");
        run("ip addr add fd00::66/64 dev va");
        f.settle("nobody else has it", |model| has(model, "fd00::66"));
        run("ip addr del fd00::67/64 dev va");
        f.settle("gone", |model| !has(model, "fd00::67"));
    });
}

#[test]
fn neighbors_are_followed() {
    in_namespaces("ipv6::neighbors_are_followed", || {
        two_wires();
        let mut follower = follow();
        step_by_step(
            &mut follower,
            "neigh add fd00::9 lladdr 02:00:00:00:00:09 dev va
             neigh change fd00::9 lladdr 02:00:00:00:00:0a dev va
             neigh add fe80::9 lladdr 02:00:00:00:00:09 dev va
             neigh add fe80::9 lladdr 02:00:00:00:00:0b dev vc router
             neigh add proxy fd00::77 dev va
             neigh del fd00::9 dev va",
        );
        let (va, vc) = (follower.model.link("va").index, follower.model.link("vc").index);
        let permanent = Some(NeighborState::Permanent);
        assert_eq!(follower.model.state(va, "fe80::9"), permanent);
        assert_eq!(follower.model.state(vc, "fe80::9"), permanent);
        assert_eq!(follower.model.state(va, "fd00::77"), None);
        // By a link-local address, as routing daemons do.
        let text = run("ip -n peer -6 -o addr show dev vb scope link");
        let peer = text.split_whitespace().skip_while(|word| *word != "inet6").nth(1).unwrap();
        let peer = peer.split('/').next().unwrap();
        follower.reach("a link-local neighbor", va, peer);
        run("ip link set vc down");
        follower.settle("without vc", |model| model.state(vc, "fe80::9").is_none());
    });
}

/// Random commands, some of which the kernel refuses.
#[test]
fn whatever_happens_to_routes_is_followed() {
    let seed = std::env::var("XCAST_TEST_SEED").ok().and_then(|text| text.parse().ok());
    in_namespaces("ipv6::whatever_happens_to_routes_is_followed", || {
        two_wires();
        let seed = seed.unwrap_or_else(|| rand::rng().random());
        println!("XCAST_TEST_SEED={seed}");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut follower = follow();
        for round in 0..300 {
            // Mostly one by one, so that a wrong one is known; some in a row.
            let count = if round % 10 == 9 { 20 } else { 1 };
            let script: String = (0..count).map(|_| random_command(&mut random)).collect();
            std::fs::write("/run/batch", &script).unwrap();
            let output = Command::new("ip").args(["-6", "-force", "-batch", "/run/batch"]).output();
            output.unwrap();
            follower.settle(&script, |_| true);
        }
    });
}

fn random_command(random: &mut impl Rng) -> String {
    let mut one = |from: &[&'static str]| *from.choose(random).unwrap();
    let gateways = ["fd00::2", "fd00::3", "fd00::4", "fd02::2", "fd02::3"];
    let kinds = ["single", "single", "single", "multi", "multi", "device", "kind", "link"];
    let kind = one(&kinds);
    let verb = one(&["add", "append", "prepend", "replace", "replace", "change", "del", "del"]);
    let prefix = one(&["fd10::/32", "fd11::/32"]);
    let metric = one(&["", "", "", " metric 5"]);
    let target = match kind {
        "single" => format!("{prefix}{metric} via {}", one(&gateways)),
        "multi" => {
            let more = one(&["", "", " nexthop via fd00::9"]);
            let (first, second) = (one(&gateways), one(&gateways));
            format!("{prefix}{metric} nexthop via {first} nexthop via {second}{more}")
        }
        "link" => {
            return one(&[
                "link set dev vc down\n",
                "link set dev vc up\naddr add fd02::1/64 dev vc nodad\n",
                "link set dev vc up\naddr add fd02::1/64 dev vc nodad\n",
                "addr add fd10::9/32 dev va nodad\n",
                "addr del fd10::9/32 dev va\n",
            ])
            .to_owned();
        }
        "device" => format!("{prefix}{metric} dev {}", one(&["va", "vc"])),
        _ => {
            let kind = one(&["blackhole", "unreachable", "throw", "unicast"]);
            format!("{kind} {prefix}{metric}")
        }
    };
    format!("route {verb} {target}\n")
}

//! Tunnels among the ports, and the routes that lead into them.

use super::*;
use crate::fib::{Capability, Tunnel};
use crate::wire::tunnel::Encapsulation;

fn ends(name: &str, remote: &str) -> TunnelEnds {
    let end = |text: &str| std::net::SocketAddr::new(ip(text), 0);
    TunnelEnds {
        name: name.to_owned(),
        tunnel: Tunnel {
            encapsulation: Encapsulation::Ipip,
            local: end("10.0.1.1"),
            remote: end(remote),
            keyed: false,
        },
        interface: Some(format!("t-{name}")),
        opened: 0,
        strict: false,
        near: Vec::new(),
        preference: 0,
    }
}

const UP: TunnelState = TunnelState { up: true, mtu: 1480 };

/// The port that an address leads to, which must be a tunnel's.
fn tunnel_to(fib: &Fib, text: &str) -> String {
    let Entry::Gateways(group) = entry(fib, text) else { panic!("{:?}", entry(fib, text)) };
    let adjacency = fib.adjacency(fib.members(group)[0]);
    assert_eq!(adjacency.capability, Capability::Tunnel);
    fib.port(adjacency.port).unwrap().name.clone()
}

fn with_static_routes() -> Rib {
    let route = |prefix: &str| StaticRoute {
        prefix: prefix.parse().unwrap(),
        target: StaticTarget::Tunnel("x3".to_owned()),
    };
    let static_routes = vec![route("20.0.0.0/8"), route("10.0.2.0/24")];
    let mut rib = rib(Settings { static_routes, ..settings() });
    rib.set_tunnels(vec![ends("x3", "198.51.100.3")]);
    rib
}

#[test]
fn static_routes_lead_into_a_tunnel_that_is_up_and_past_one_that_is_down() {
    let mut rib = with_static_routes();
    let fib = rib.compile();
    assert_eq!(entry(&fib, "20.0.0.1"), Entry::TunnelDown, "there is nothing to fall to");
    assert_eq!(entry(&fib, "10.0.2.9"), Entry::OnLink(1));
    assert!(rib.set_tunnel_state("x3", UP));
    assert!(!rib.set_tunnel_state("x3", UP), "nothing to compile");
    let fib = rib.compile();
    assert_eq!([tunnel_to(&fib, "20.0.0.1"), tunnel_to(&fib, "10.0.2.9")], ["x3", "x3"]);
    // The routes of unicast alone know nothing of it.
    assert_eq!(fib.native_entry(ip("20.0.0.1")), Some(Entry::NoRoute));
    assert_eq!(fib.native_entry(ip("10.0.2.9")), Some(Entry::OnLink(1)));
    let views = rib.routes();
    let view = |at: usize| (views[at].tunnel.as_deref(), views[at].via, views[at].state);
    assert_eq!(view(0), (Some("x3"), Some(ip("198.51.100.3")), None));
    rib.set_tunnel_state("x3", TunnelState::default());
    assert_eq!(entry(&rib.compile(), "10.0.2.9"), Entry::OnLink(1));
}

#[test]
fn routes_of_the_kernel_through_a_tun_device_are_routes_into_its_tunnel() {
    let tables = vec![100, 254];
    let mut rib = rib(Settings { kernel_tables: tables, ..settings() });
    rib.set_tunnels(vec![ends("x3", "198.51.100.3"), ends("x7", "198.51.100.7")]);
    for (index, name) in [(7, "t-x3"), (8, "t-x7")] {
        let kind = LinkKind::Other;
        let device = Link { kind, address: None, carrier: false, ..link(index, name) };
        rib.apply(Change::Link(device));
    }
    let mut put = |prefix: &str, table, hops: &[(u32, &str)]| {
        let route = KernelRoute { table, ..forward(prefix, 0, hops) };
        rib.apply(Change::Route(route, Placement::First));
    };
    put("20.0.0.0/8", 100, &[(7, "192.168.0.3")]);
    put("20.7.0.0/16", 100, &[(7, "192.168.0.3"), (8, "192.168.0.7")]);
    put("20.0.0.0/8", 254, &[(1, "10.0.1.7")]);
    assert_eq!(gateway(&rib.compile(), "20.0.0.1", 0), ip("10.0.1.7"), "both are down");
    rib.set_tunnel_state("x7", UP);
    let fib = rib.compile();
    assert_eq!(gateway(&fib, "20.0.0.1", 0), ip("10.0.1.7"));
    assert_eq!(tunnel_to(&fib, "20.7.0.1"), "x7", "the hop that is up");
    rib.set_tunnel_state("x3", UP);
    let fib = rib.compile();
    assert_eq!(tunnel_to(&fib, "20.0.0.1"), "x3");
    let taken: std::collections::BTreeSet<_> =
        (0..64).map(|flow| gateway(&fib, "20.7.0.1", flow)).collect();
    assert_eq!(taken.len(), 2, "both carry some");
    assert_eq!(rib.routes()[0].tunnel.as_deref(), Some("x3"));
}

#[test]
fn what_an_end_is_near_to_is_routed_there_behind_static_routes() {
    let route = StaticRoute { prefix: "30.1.0.0/16".parse().unwrap(), target: StaticTarget::Drop };
    let mut rib = rib(Settings { static_routes: vec![route], ..settings() });
    let near = vec!["30.0.0.0/8".parse().unwrap(), "30.1.0.0/16".parse().unwrap()];
    rib.set_tunnels(vec![TunnelEnds { near, ..ends("relay", "198.51.100.3") }]);
    rib.set_tunnel_state("relay", UP);
    let fib = rib.compile();
    assert_eq!(tunnel_to(&fib, "30.0.0.1"), "relay");
    assert_eq!(entry(&fib, "30.1.0.1"), Entry::Drop);
    assert_eq!(rib.routes()[1].source, "backbone");
}

#[test]
fn tunnels_are_known_by_their_ends_and_change_with_them() {
    let mut rib = with_static_routes();
    rib.set_tunnel_state("x3", UP);
    let find = |fib: &Fib, remote: &str| {
        let end = |text: &str| std::net::SocketAddr::new(ip(text), 0);
        fib.tunnel_between(Encapsulation::Ipip, end("10.0.1.1"), end(remote))
    };
    let before = rib.compile();
    let port = find(&before, "198.51.100.3").unwrap();
    let identity = before.port(port).unwrap().identity();
    rib.set_tunnels(vec![ends("x3", "198.51.100.4")]);
    let after = rib.compile();
    assert_eq!(find(&after, "198.51.100.3"), None);
    assert_eq!(find(&after, "198.51.100.4"), Some(port), "it keeps its port");
    assert_ne!(after.port(port).unwrap().identity(), identity, "and is opened anew");
    assert!(after.port(port).unwrap().up, "and keeps its state");
    rib.set_tunnels(Vec::new());
    let none = rib.compile();
    assert_eq!((find(&none, "198.51.100.4"), none.native_entry(ip("20.0.0.1"))), (None, None));
}

mod random;
mod tunnels;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::fib::{Entry, Fib, ReversePath};
use crate::wire::CodePoints;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        mtu: 1500,
        kind: LinkKind::Ethernet,
        address: Some([2, 0, 0, 0, 0, index as u8]),
        admin_up: true,
        carrier: true,
        master: None,
    }
}

fn address(interface: u32, text: &str, prefix_length: u8) -> Change {
    Change::Address(Address {
        interface,
        address: ip(text),
        prefix_length,
        peer: None,
        broadcast: None,
    })
}

fn forward(prefix: &str, metric: u32, hops: &[(u32, &str)]) -> KernelRoute {
    let hop = |&(interface, gateway): &(u32, &str)| NextHop {
        interface,
        gateway: (!gateway.is_empty()).then(|| ip(gateway)),
        weight: 1,
    };
    let action = RouteAction::Forward(hops.iter().map(hop).collect());
    KernelRoute { table: 254, prefix: prefix.parse().unwrap(), metric, action }
}

fn neighbor(interface: u32, text: &str, state: NeighborState) -> Change {
    let link_address = Some([4, 0, 0, 0, interface as u8, 1]);
    Change::Neighbor(Neighbor { interface, address: ip(text), link_address, state })
}

fn settings() -> Settings {
    Settings::open(CodePoints {
        ip_protocol: 253,
        all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
        all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
        routing_type: 253,
        ports_option: 0x5e,
        hop_by_hop_option: 0x1e,
    })
}

/// eth1 with 10.0.1.1/24 and eth2 with 10.0.2.1/24, both connected.
fn rib(settings: Settings) -> Rib {
    let mut rib = Rib::new(settings);
    for index in [1, 2] {
        rib.apply(Change::Link(link(index, &format!("eth{index}"))));
        rib.apply(address(index, &format!("10.0.{index}.1"), 24));
        let connected = forward(&format!("10.0.{index}.0/24"), 0, &[(index, "")]);
        rib.apply(Change::Route(connected, Placement::First));
    }
    rib
}

fn entry(fib: &Fib, text: &str) -> Entry {
    fib.entry_for(ip(text), None)
}

/// The gateway that a flow to an address takes.
fn gateway(fib: &Fib, text: &str, flow: u64) -> IpAddr {
    match entry(fib, text) {
        Entry::Gateways(group) => fib.adjacency(fib.choose(group, flow)).address,
        other => panic!("{text} leads to {other:?}"),
    }
}

#[test]
fn own_broadcast_and_unusable_addresses_have_entries_of_their_own() {
    let fib = rib(settings()).compile();
    assert_eq!(entry(&fib, "10.0.1.1"), Entry::Local);
    assert_eq!(entry(&fib, "10.0.1.255"), Entry::Bad);
    assert_eq!(entry(&fib, "10.0.1.2"), Entry::OnLink(0));
    assert_eq!(entry(&fib, "11.0.0.1"), Entry::NoRoute);
    for bad in ["0.0.0.0", "127.0.0.1", "127.255.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255"]
    {
        assert_eq!(entry(&fib, bad), Entry::Bad, "{bad}");
    }
}

#[test]
fn point_to_point_subnets_have_no_broadcast_address() {
    let mut rib = rib(settings());
    rib.apply(address(1, "10.5.0.0", 31));
    rib.apply(Change::Route(forward("10.5.0.0/31", 0, &[(1, "")]), Placement::First));
    assert_eq!(entry(&rib.compile(), "10.5.0.1"), Entry::OnLink(0));
}

#[test]
fn a_neighbor_is_forwarded_to_once_it_is_resolved() {
    let mut rib = rib(settings());
    assert!(!rib.apply(neighbor(1, "10.0.1.9", NeighborState::Incomplete)));
    assert_eq!(entry(&rib.compile(), "10.0.1.9"), Entry::OnLink(0));
    assert!(rib.apply(neighbor(1, "10.0.1.9", NeighborState::Reachable)));
    assert!(matches!(entry(&rib.compile(), "10.0.1.9"), Entry::Neighbor(_)));
    assert!(!rib.apply(neighbor(1, "10.0.1.9", NeighborState::Stale)), "nothing to compile");
    assert!(rib.apply(neighbor(1, "10.0.1.9", NeighborState::Failed)));
    assert_eq!(entry(&rib.compile(), "10.0.1.9"), Entry::OnLink(0));
}

#[test]
fn a_neighbor_off_the_route_gets_no_host_entry() {
    let mut rib = rib(settings());
    // A more specific route leads elsewhere than the neighbor entry suggests.
    rib.apply(Change::Route(forward("10.0.1.9/32", 0, &[(2, "10.0.2.7")]), Placement::First));
    rib.apply(neighbor(1, "10.0.1.9", NeighborState::Reachable));
    assert_eq!(gateway(&rib.compile(), "10.0.1.9", 0), ip("10.0.2.7"));
}

#[test]
fn the_lowest_metric_that_can_forward_is_used() {
    let mut rib = rib(settings());
    let preferred = forward("20.0.0.0/8", 10, &[(2, "10.0.2.7")]);
    rib.apply(Change::Route(preferred.clone(), Placement::First));
    rib.apply(Change::Route(forward("20.0.0.0/8", 20, &[(1, "10.0.1.7")]), Placement::First));
    assert_eq!(gateway(&rib.compile(), "20.1.1.1", 0), ip("10.0.2.7"));
    let down = Link { carrier: false, ..link(2, "eth2") };
    assert!(rib.apply(Change::Link(down)));
    assert_eq!(gateway(&rib.compile(), "20.1.1.1", 0), ip("10.0.1.7"));
    assert_eq!(entry(&rib.compile(), "10.0.2.9"), Entry::PortDown);
    rib.apply(Change::Link(link(2, "eth2")));
    rib.apply(Change::RouteGone(preferred));
    assert_eq!(gateway(&rib.compile(), "20.1.1.1", 0), ip("10.0.1.7"));
}

#[test]
fn multipath_keeps_a_flow_on_its_gateway_and_skips_dead_ones() {
    let mut rib = rib(settings());
    let hops = [(1, "10.0.1.7"), (1, "10.0.1.8"), (2, "10.0.2.7")];
    rib.apply(Change::Route(forward("20.0.0.0/8", 0, &hops), Placement::First));
    rib.apply(Change::Route(forward("30.0.0.0/8", 0, &hops), Placement::First));
    let fib = rib.compile();
    let of_flow = |fib: &Fib, flow| gateway(fib, "20.0.0.1", flow);
    let mut uses = BTreeMap::new();
    for flow in 0..3000 {
        *uses.entry(of_flow(&fib, flow)).or_insert(0) += 1;
        assert_eq!(of_flow(&fib, flow), gateway(&fib, "30.0.0.1", flow), "one group, one gateway");
    }
    assert!(uses.len() == 3 && uses.values().all(|count| (800..1200).contains(count)), "{uses:?}");
    let again = rib.compile();
    assert!((0..100).all(|flow| of_flow(&fib, flow) == of_flow(&again, flow)), "a flow stays");
    rib.apply(Change::Link(Link { admin_up: false, ..link(2, "eth2") }));
    let fewer = rib.compile();
    assert!((0..100).all(|flow| of_flow(&fewer, flow) != ip("10.0.2.7")));
}

#[test]
fn weights_share_the_flows() {
    let mut rib = rib(settings());
    let mut route = forward("20.0.0.0/8", 0, &[(1, "10.0.1.7"), (2, "10.0.2.7")]);
    let RouteAction::Forward(hops) = &mut route.action else { panic!() };
    hops[0].weight = 9;
    rib.apply(Change::Route(route, Placement::First));
    let fib = rib.compile();
    let first = (0..1000).filter(|flow| gateway(&fib, "20.0.0.1", *flow) == ip("10.0.1.7")).count();
    assert!((850..950).contains(&first), "{first}");
}

#[test]
fn the_first_table_with_a_match_wins_and_throw_goes_on() {
    let mut rib = rib(Settings { kernel_tables: vec![100, 254], ..settings() });
    let in_100 = |prefix: &str, action| {
        let prefix = prefix.parse().unwrap();
        Change::Route(KernelRoute { table: 100, prefix, metric: 0, action }, Placement::First)
    };
    rib.apply(Change::Route(forward("20.1.1.0/24", 0, &[(1, "10.0.1.7")]), Placement::First));
    rib.apply(in_100("20.0.0.0/8", RouteAction::Drop));
    assert_eq!(entry(&rib.compile(), "20.1.1.1"), Entry::Drop, "longest prefix inside a table");
    rib.apply(in_100("20.1.0.0/16", RouteAction::Throw));
    assert_eq!(gateway(&rib.compile(), "20.1.1.1", 0), ip("10.0.1.7"));
    assert_eq!(entry(&rib.compile(), "20.1.2.1"), Entry::NoRoute);
    assert_eq!(entry(&rib.compile(), "20.2.0.1"), Entry::Drop);
}

#[test]
fn static_routes_come_first() {
    let target = |prefix: &str, target| StaticRoute { prefix: prefix.parse().unwrap(), target };
    let static_routes = vec![
        target("20.0.0.0/8", StaticTarget::Via(ip("10.0.2.7"))),
        target("20.1.0.0/16", StaticTarget::Drop),
        target("20.2.0.0/16", StaticTarget::Interface("eth1".to_owned())),
        target("20.3.0.0/16", StaticTarget::Tunnel("x3".to_owned())),
        target("20.4.0.0/16", StaticTarget::Via(ip("99.0.0.1"))),
        target("20.5.0.0/16", StaticTarget::Interface("eth9".to_owned())),
        target("30.0.0.0/8", StaticTarget::Interface("eth9".to_owned())),
    ];
    let mut rib = rib(Settings { static_routes, ..settings() });
    rib.apply(Change::Route(forward("20.0.1.0/24", 0, &[(1, "10.0.1.7")]), Placement::First));
    let fib = rib.compile();
    assert_eq!(gateway(&fib, "20.0.1.1", 0), ip("10.0.2.7"));
    assert_eq!(entry(&fib, "20.1.0.1"), Entry::Drop);
    assert_eq!(entry(&fib, "20.2.0.1"), Entry::OnLink(0));
    // What cannot forward now falls through, as in the kernel's tables.
    assert_eq!(gateway(&fib, "20.3.0.1", 0), ip("10.0.2.7"));
    assert_eq!(gateway(&fib, "20.4.0.1", 0), ip("10.0.2.7"));
    assert_eq!(gateway(&fib, "20.5.0.1", 0), ip("10.0.2.7"));
    assert_eq!(entry(&fib, "30.0.0.1"), Entry::PortDown, "unless there is nothing to fall to");
    let states: Vec<_> = rib.routes().iter().take(6).map(|route| route.state).collect();
    let expected = [None, Some("drop"), None, Some("down"), Some("down"), Some("down")];
    assert_eq!(states, expected);
}

#[test]
fn a_live_route_of_equal_metric_stands_in_for_a_dead_one() {
    let mut rib = rib(settings());
    rib.apply(Change::Route(forward("20.0.0.0/8", 5, &[(2, "10.0.2.7")]), Placement::First));
    rib.apply(Change::Route(forward("20.0.0.0/8", 5, &[(1, "10.0.1.7")]), Placement::Last));
    assert_eq!(gateway(&rib.compile(), "20.0.0.1", 0), ip("10.0.2.7"));
    rib.apply(Change::Link(Link { carrier: false, ..link(2, "eth2") }));
    assert_eq!(gateway(&rib.compile(), "20.0.0.1", 0), ip("10.0.1.7"));
    assert_eq!(rib.matched_prefix(ip("20.0.0.1")), Some("20.0.0.0/8".parse().unwrap()));
}

#[test]
fn a_point_to_point_address_has_its_peers_subnet() {
    let via = StaticTarget::Via(ip("172.16.0.2"));
    let prefix = "20.0.0.0/8".parse().unwrap();
    let static_routes = vec![StaticRoute { prefix, target: via }];
    let mut rib = rib(Settings { static_routes, ..settings() });
    rib.apply(Change::Address(Address {
        interface: 1,
        address: ip("172.16.9.1"),
        prefix_length: 24,
        peer: Some(ip("172.16.0.2")),
        broadcast: None,
    }));
    let fib = rib.compile();
    assert_eq!(gateway(&fib, "20.0.0.1", 0), ip("172.16.0.2"));
    assert_eq!(entry(&fib, "172.16.0.255"), Entry::Bad);
    assert_eq!(entry(&fib, "172.16.9.255"), Entry::NoRoute);
}

#[test]
fn an_interface_that_comes_again_under_its_index_is_another() {
    let mut rib = rib(settings());
    let instance = |rib: &mut Rib| rib.compile().port(0).unwrap().instance;
    let first = instance(&mut rib);
    rib.apply(Change::Link(Link { mtu: 9000, ..link(1, "eth1") }));
    assert_eq!(instance(&mut rib), first, "a change is no other interface");
    rib.apply(Change::LinkGone(1));
    rib.apply(Change::Link(link(1, "eth1")));
    assert_ne!(instance(&mut rib), first);
}

#[test]
fn a_port_keeps_its_place_until_its_interface_vanishes() {
    let mut rib = rib(settings());
    rib.apply(Change::LinkGone(1));
    let fib = rib.compile();
    assert!(fib.port(0).is_none() && fib.port(1).is_some_and(|port| port.name == "eth2"));
    assert_eq!(entry(&fib, "10.0.1.1"), Entry::PortDown, "its addresses are gone with it");
    rib.apply(Change::Link(link(7, "eth7")));
    assert!(rib.compile().port(0).is_some_and(|port| port.interface == 7));
}

#[test]
fn only_listed_interfaces_are_ports_and_missing_ones_are_named() {
    let strict = PortSettings::default();
    let off = PortSettings { reverse_path: ReversePath::Off, ..strict };
    let listed = [("eth2".to_owned(), off), ("eth9".to_owned(), strict)];
    let rib = &mut rib(Settings { ports: PortPolicy::Listed(listed.into()), ..settings() });
    assert_eq!(rib.missing_ports(), ["eth9"]);
    let fib = rib.compile();
    let ports: Vec<_> = fib.ports().iter().flatten().collect();
    assert_eq!((ports.len(), ports[0].name.as_str()), (1, "eth2"));
    assert_eq!(ports[0].reverse_path, ReversePath::Off);
    assert_eq!(entry(&fib, "10.0.1.9"), Entry::PortDown, "a link that is no port");
}

#[test]
fn loopback_enslaved_and_other_links_are_no_ports_by_themselves() {
    let mut rib = Rib::new(settings());
    for (index, kind, master) in [
        (1, LinkKind::Loopback, None),
        (2, LinkKind::Ethernet, Some(9)),
        (3, LinkKind::Other, None),
        (4, LinkKind::Ethernet, None),
    ] {
        rib.apply(Change::Link(Link { kind, master, ..link(index, "x") }));
    }
    let ports: Vec<_> = rib.compile().ports().iter().flatten().map(|p| p.interface).collect();
    assert_eq!(ports, [4]);
}

#[test]
fn routes_of_equal_metric_stand_in_the_kernels_order() {
    let mut rib = rib(settings());
    let route = |gateway| forward("20.0.0.0/8", 0, &[(1, gateway)]);
    let used = |rib: &mut Rib| gateway(&rib.compile(), "20.0.0.1", 0).to_string();
    rib.apply(Change::Route(route("10.0.1.5"), Placement::First));
    rib.apply(Change::Route(route("10.0.1.6"), Placement::Last));
    assert_eq!(used(&mut rib), "10.0.1.5");
    rib.apply(Change::Route(route("10.0.1.7"), Placement::First));
    assert_eq!(used(&mut rib), "10.0.1.7");
    rib.apply(Change::Route(route("10.0.1.8"), Placement::Replace));
    assert_eq!(used(&mut rib), "10.0.1.8");
    rib.apply(Change::RouteGone(route("10.0.1.8")));
    rib.apply(Change::RouteGone(route("10.0.1.5")));
    assert_eq!(used(&mut rib), "10.0.1.6");
    assert!(!rib.apply(Change::RouteGone(route("10.0.1.5"))), "it was gone");
}

#[test]
fn a_dump_replaces_what_was_known() {
    let mut rib = rib(settings());
    rib.apply(neighbor(1, "10.0.1.9", NeighborState::Reachable));
    rib.apply(Change::AllNeighbors(Vec::new()));
    rib.apply(Change::AllRoutes(vec![forward("0.0.0.0/0", 0, &[(1, "10.0.1.7")])]));
    let fib = rib.compile();
    assert_eq!(gateway(&fib, "10.0.2.9", 0), ip("10.0.1.7"));
    rib.apply(Change::AllAddresses(Vec::new()));
    rib.apply(Change::AllLinks(vec![link(2, "eth2")]));
    let fib = rib.compile();
    assert_eq!(entry(&fib, "10.0.1.1"), Entry::PortDown);
}

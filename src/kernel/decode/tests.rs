//! Messages as the kernel sends them, by hand from `linux/rtnetlink.h`, and what they say.

#![cfg(target_endian = "little")]

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::*;
use crate::rib::{KernelRoute, NextHop, Placement, RouteAction};

fn say(kind: u16, flags: u16, body: &[u8]) -> Option<Change> {
    change(&Message { kind, flags, sequence: 0, body }).unwrap()
}

/// A message without attributes beyond those given as (kind, value).
fn body(header: &[u8], attributes: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = header.to_vec();
    for (kind, value) in attributes {
        bytes.extend_from_slice(&[value.len() as u8 + 4, 0, *kind, 0]);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn route(text: &str, metric: u32, action: RouteAction) -> KernelRoute {
    KernelRoute { table: 254, prefix: text.parse().unwrap(), metric, action }
}

fn hop(interface: u32, gateway: Option<&str>, weight: u16) -> NextHop {
    NextHop { interface, gateway: gateway.map(|text| text.parse().unwrap()), weight }
}

/// `struct rtmsg` of a unicast route of the main table to a prefix of `length` bits.
fn rtmsg(family: i32, length: u8) -> [u8; 12] {
    [family as u8, length, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]
}

#[test]
fn a_multipath_route() {
    #[rustfmt::skip]
    let bytes = [
        // struct rtmsg: AF_INET, /16, no source, tos 0, main, boot, universe, unicast, no flags
        2, 16, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0,
        8, 0, 15, 0, 254, 0, 0, 0, // RTA_TABLE main
        8, 0, 1, 0, 10, 1, 0, 0, // RTA_DST 10.1.0.0
        8, 0, 6, 0, 20, 0, 0, 0, // RTA_PRIORITY 20
        52, 0, 9, 0, // RTA_MULTIPATH
        16, 0, 0, 2, 3, 0, 0, 0, // struct rtnexthop: 16 octets, hops 2, interface 3
        8, 0, 5, 0, 10, 0, 0, 2, // RTA_GATEWAY 10.0.0.2
        32, 0, 0, 0, 4, 0, 0, 0, // struct rtnexthop: 32 octets, hops 0, interface 4
        22, 0, 18, 0, 10, 0, // RTA_VIA AF_INET6
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, // fe80::9
        0, 0, // padding
    ];
    let hops = vec![hop(3, Some("10.0.0.2"), 3), hop(4, Some("fe80::9"), 1)];
    let expected = route("10.1.0.0/16", 20, RouteAction::Forward(hops));
    assert_eq!(
        say(libc::RTM_NEWROUTE, NLM_F_CREATE, &bytes),
        Some(Change::Route(expected.clone(), Placement::First))
    );
    assert_eq!(say(libc::RTM_DELROUTE, 0, &bytes), Some(Change::RouteGone(expected)));
}

#[test]
fn placements_are_the_kernels() {
    let placement = |family, flags| {
        let bytes = body(&rtmsg(family, 0), &[(4, &[3, 0, 0, 0])]);
        match say(libc::RTM_NEWROUTE, flags, &bytes) {
            Some(Change::Route(_, placement)) => placement,
            other => panic!("{other:?}"),
        }
    };
    let (v4, v6) = (libc::AF_INET, libc::AF_INET6);
    assert_eq!(placement(v4, NLM_F_CREATE | NLM_F_EXCL), Placement::First);
    assert_eq!(placement(v4, NLM_F_CREATE), Placement::First);
    assert_eq!(placement(v4, NLM_F_CREATE | NLM_F_APPEND), Placement::Last);
    assert_eq!(placement(v4, NLM_F_REPLACE), Placement::Replace);
    assert_eq!(placement(v6, NLM_F_CREATE | NLM_F_EXCL), Placement::Last);
    assert_eq!(placement(v6, NLM_F_CREATE), Placement::Last);
    assert_eq!(placement(v6, NLM_F_REPLACE), Placement::Replace);
}

#[test]
fn what_routes_do() {
    let of_type = |kind: u8| {
        let mut header = rtmsg(libc::AF_INET, 8);
        header[7] = kind;
        let bytes = body(&header, &[(1, &[10, 0, 0, 0]), (4, &[3, 0, 0, 0])]);
        match say(libc::RTM_NEWROUTE, 0, &bytes) {
            Some(Change::Route(route, _)) => Some(route.action),
            _ => None,
        }
    };
    assert_eq!(of_type(1), Some(RouteAction::Forward(vec![hop(3, None, 1)])));
    for dropped in [libc::RTN_BLACKHOLE, libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT] {
        assert_eq!(of_type(dropped), Some(RouteAction::Drop));
    }
    assert_eq!(of_type(libc::RTN_THROW), Some(RouteAction::Throw));
    for skipped in [libc::RTN_LOCAL, libc::RTN_BROADCAST, libc::RTN_ANYCAST, libc::RTN_MULTICAST] {
        assert_eq!(of_type(skipped), None);
    }
}

#[test]
fn routes_that_are_not_followed() {
    let v6 = |header: [u8; 12], attributes: &[(u8, &[u8])]| {
        let mut all = attributes.to_vec();
        all.push((4, &[3, 0, 0, 0]));
        say(libc::RTM_NEWROUTE, 0, &body(&header, &all))
    };
    let header = rtmsg(libc::AF_INET6, 128);
    let address: &[u8] = &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let multicast: &[u8] = &[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert!(v6(header, &[(1, address)]).is_some());
    assert_eq!(v6(header, &[(1, multicast)]), None);
    assert_eq!(v6(header, &[(1, address), (15, &[255, 0, 0, 0])]), None);
    for (octet, value) in [(0, 128), (2, 64), (3, 0x10), (4, 255), (9, 0x02)] {
        let mut other = header;
        other[octet] = value;
        assert_eq!(v6(other, &[(1, address)]), None, "octet {octet}");
    }
    // A table above 255.
    match v6(header, &[(1, address), (15, &[0xe8, 3, 0, 0]), (6, &[0, 4, 0, 0])]) {
        Some(Change::Route(route, _)) => assert_eq!((route.table, route.metric), (1000, 1024)),
        other => panic!("{other:?}"),
    }
    // A route by nexthop object that does not show it (RTA_NH_ID alone).
    let bytes = body(&rtmsg(libc::AF_INET, 0), &[(30, &[1, 0, 0, 0])]);
    let message = Message { kind: libc::RTM_NEWROUTE, flags: 0, sequence: 0, body: &bytes };
    assert!(change(&message).unwrap_err().to_string().contains("nexthop_compat_mode"));
}

/// `struct ifinfomsg` of interface 2, Ethernet, up and running (`LOWER_UP`).
const IFINFOMSG: [u8; 16] = [0, 0, 1, 0, 2, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0];

#[test]
fn a_link() {
    let attributes: &[(u8, &[u8])] = &[
        (3, b"eth0\0"),
        (4, &[0xdc, 5, 0, 0]),
        (16, &[6]),
        (10, &[7, 0, 0, 0]),
        (1, &[2, 0, 0, 0, 0, 1]),
        // An attribute from the future.
        (200, &[1]),
    ];
    let expected = Link {
        index: 2,
        name: "eth0".into(),
        mtu: 1500,
        kind: LinkKind::Ethernet,
        address: Some([2, 0, 0, 0, 0, 1]),
        admin_up: true,
        carrier: true,
        master: Some(7),
    };
    let bytes = body(&IFINFOMSG, attributes);
    assert_eq!(say(libc::RTM_NEWLINK, 0, &bytes), Some(Change::Link(expected)));
    assert_eq!(say(libc::RTM_DELLINK, 0, &bytes), Some(Change::LinkGone(2)));
    let mut without_carrier = IFINFOMSG;
    without_carrier[10] = 0;
    // The operational state (16) lags behind the flag, so it decides nothing.
    for (header, carrier) in [(IFINFOMSG, true), (without_carrier, false)] {
        for state in [0, 2, 3, 5, 6] {
            match say(libc::RTM_NEWLINK, 0, &body(&header, &[(16, &[state])])) {
                Some(Change::Link(link)) => assert_eq!(link.carrier, carrier, "{state}"),
                other => panic!("{other:?}"),
            }
        }
    }
    let mut tunnel = IFINFOMSG;
    tunnel[2..4].copy_from_slice(&778u16.to_le_bytes());
    match say(libc::RTM_NEWLINK, 0, &body(&tunnel, &[(1, &[10, 0, 0, 1])])) {
        Some(Change::Link(link)) => assert_eq!((link.kind, link.address), (LinkKind::Other, None)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_link_that_leaves_its_bridge_is_not_gone() {
    #[rustfmt::skip]
    let bytes = [
        // struct ifinfomsg: AF_BRIDGE, Ethernet, interface 2, flags
        7, 0, 1, 0, 2, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0,
        7, 0, 3, 0, b'v', b'b', 0, 0, // IFLA_IFNAME
        8, 0, 10, 0, 4, 0, 0, 0, // IFLA_MASTER
    ];
    assert_eq!(say(libc::RTM_DELLINK, 0, &bytes), None);
    assert_eq!(say(libc::RTM_NEWLINK, 0, &bytes), None);
}

#[test]
fn an_address_with_broadcast() {
    #[rustfmt::skip]
    let bytes = [
        // struct ifaddrmsg: AF_INET, /24, permanent, universe, interface 3
        2, 24, 0x80, 0, 3, 0, 0, 0,
        8, 0, 1, 0, 10, 0, 0, 2, // IFA_ADDRESS: the other end
        8, 0, 2, 0, 10, 0, 0, 1, // IFA_LOCAL
        8, 0, 4, 0, 10, 0, 0, 255, // IFA_BROADCAST
        7, 0, 3, 0, b'v', b'a', 0, 0, // IFA_LABEL
    ];
    let expected = Address {
        interface: 3,
        address: "10.0.0.1".parse().unwrap(),
        prefix_length: 24,
        peer: Some("10.0.0.2".parse().unwrap()),
        broadcast: Some(Ipv4Addr::new(10, 0, 0, 255)),
    };
    assert_eq!(say(libc::RTM_NEWADDR, 0, &bytes), Some(Change::Address(expected.clone())));
    assert_eq!(say(libc::RTM_DELADDR, 0, &bytes), Some(Change::AddressGone(expected)));
    // IPv6 has IFA_ADDRESS alone.
    let header = [10, 64, 0, 0, 3, 0, 0, 0];
    match say(libc::RTM_NEWADDR, 0, &body(&header, &[(1, &[0xfd; 16])])) {
        Some(Change::Address(address)) => assert_eq!(address.address, IpAddr::from([0xfd; 16])),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_is_there_once_it_was_tried() {
    // `IFA_F_*` of linux/if_addr.h.
    const TENTATIVE: u8 = 0x40;
    const OPTIMISTIC: u8 = 0x04;
    const DAD_FAILED: u8 = 0x08;
    const PERMANENT: u8 = 0x80;
    for (flags, there) in [
        (0, true),
        (PERMANENT, true),
        (PERMANENT | TENTATIVE, false),
        (PERMANENT | TENTATIVE | OPTIMISTIC, true),
        (OPTIMISTIC, true),
        (PERMANENT | DAD_FAILED, false),
        (PERMANENT | DAD_FAILED | TENTATIVE | OPTIMISTIC, false),
    ] {
        let header = [10, 64, flags, 0, 3, 0, 0, 0];
        let said = say(libc::RTM_NEWADDR, 0, &body(&header, &[(1, &[0xfd; 16])]));
        assert_eq!(matches!(said, Some(Change::Address(_))), there, "{flags:#x}");
        assert_eq!(matches!(said, Some(Change::AddressGone(_))), !there, "{flags:#x}");
    }
}

#[test]
fn a_neighbor_that_failed() {
    #[rustfmt::skip]
    let bytes = [
        // struct ndmsg: AF_INET, padding, interface 3, NUD_FAILED, no flags, unicast
        2, 0, 0, 0, 3, 0, 0, 0, 0x20, 0, 0, 1,
        8, 0, 1, 0, 10, 0, 0, 9, // NDA_DST
        8, 0, 4, 0, 3, 0, 0, 0, // NDA_PROBES
    ];
    let (interface, address) = (3, "10.0.0.9".parse().unwrap());
    let failed = Neighbor { interface, address, link_address: None, state: NeighborState::Failed };
    assert_eq!(say(libc::RTM_NEWNEIGH, 0, &bytes), Some(Change::Neighbor(failed)));
    let gone = Some(Change::NeighborGone { interface, address });
    assert_eq!(say(libc::RTM_DELNEIGH, 0, &bytes), gone);
    let mut none = bytes;
    none[8] = 0;
    assert_eq!(say(libc::RTM_NEWNEIGH, 0, &none), gone);
}

#[test]
fn neighbors_of_use() {
    let ndmsg = [2, 0, 0, 0, 3, 0, 0, 0, 0x02, 0, 0, 1];
    let link_address: &[u8] = &[2, 0, 0, 0, 0, 9];
    let known = body(&ndmsg, &[(1, &[10, 0, 0, 9]), (2, link_address)]);
    match say(libc::RTM_NEWNEIGH, 0, &known) {
        Some(Change::Neighbor(neighbor)) => {
            assert_eq!(neighbor.link_address, Some([2, 0, 0, 0, 0, 9]));
            assert_eq!(neighbor.state, NeighborState::Reachable);
        }
        other => panic!("{other:?}"),
    }
    // A bridge's forwarding table, a proxy entry, no destination, multicast.
    let (mut bridge, mut proxy) = (ndmsg, ndmsg);
    bridge[0] = 7;
    proxy[10] = 0x08;
    let to: &[u8] = &[10, 0, 0, 9];
    assert_eq!(say(libc::RTM_NEWNEIGH, 0, &body(&bridge, &[(1, to), (2, link_address)])), None);
    assert_eq!(say(libc::RTM_NEWNEIGH, 0, &body(&proxy, &[(1, to)])), None);
    assert_eq!(say(libc::RTM_NEWNEIGH, 0, &body(&ndmsg, &[(2, link_address)])), None);
    assert_eq!(say(libc::RTM_NEWNEIGH, 0, &body(&ndmsg, &[(1, &[224, 0, 0, 1])])), None);
}

#[test]
fn nexthop_objects() {
    let bytes = body(&[2, 253, 0, 0, 0, 0, 0, 0], &[(1, &[10, 0, 0, 0])]);
    let of = |kind| nexthop(&Message { kind, flags: 0, sequence: 0, body: &bytes });
    assert_eq!(of(104), Some(Nexthop::Set(10)));
    assert_eq!(of(105), Some(Nexthop::Gone(10)));
    assert_eq!(of(libc::RTM_NEWROUTE), None);
}

#[test]
fn short_and_foreign_messages_are_no_panic() {
    let bytes = body(&rtmsg(libc::AF_INET, 99), &[(1, &[10, 0, 0, 0]), (4, &[3, 0, 0, 0])]);
    for kind in 0..120 {
        for length in 0..=bytes.len() {
            let body = &bytes[..length];
            let message = Message { kind, flags: 0, sequence: 0, body };
            let _ = change(&message);
            let _ = nexthop(&message);
        }
    }
}

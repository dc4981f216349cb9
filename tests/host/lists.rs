//! Lists of any length and of both IP versions: how they are split, and that everybody gets one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use xcast::forward::DropReason;
use xcast::host::{Destination, Message, Sent, Unsent};

use crate::lab::capture::Form;
use crate::lab::{self, Lab, Version, assert_receives};
use crate::support::in_namespaces;
use crate::{
    BOTH, Host, PORT, SOURCE_PORT, at, forms, link, list, many, receivers, source, star, xcast,
};

/// Expedited Forwarding.
const EF: u8 = 46;

#[test]
fn three_hundred_destinations_take_three_packets_and_everyone_gets_one() {
    in_namespaces(
        "lists::three_hundred_destinations_take_three_packets_and_everyone_gets_one",
        || {
            let mut lab = star(&["a", "b"]);
            let to = many(&lab, "b", Version::V4, 300);
            let receivers = receivers("b", &to);
            lab.start_routers(&["r"]);
            let wire = lab.capture(link(&lab, "a", "r"));
            let mut host = Host::open("a");
            host.send_all(&to, "to all", 3);
            for receiver in &receivers {
                assert_receives(receiver, source(&lab, Version::V4), "to all");
            }
            assert_eq!(forms(&wire, "a"), xcast(&[&to[..127], &to[127..254], &to[254..]]));
        },
    );
}

#[test]
fn an_ipv6_header_lists_a_hundred_and_twenty_five() {
    in_namespaces("lists::an_ipv6_header_lists_a_hundred_and_twenty_five", || {
        let mut lab = star(&["a", "b"]);
        // So many addresses alone would fill a packet of 1500 octets.
        crate::narrow(&lab, "a", "r", 9000);
        let to = many(&lab, "b", Version::V6, 126);
        let receivers = receivers("b", &to);
        lab.start_routers(&["r"]);
        let wire = lab.capture(link(&lab, "a", "r"));
        let mut host = Host::open("a");
        host.send_all(&to, "to all", 2);
        for receiver in &receivers {
            assert_receives(receiver, source(&lab, Version::V6), "to all");
        }
        let expected = [Form::Xcast(to[..125].to_vec()), Form::Unicast(to[125])];
        assert_eq!(forms(&wire, "a"), expected);
    });
}

#[test]
fn an_ipv6_header_with_dscps_lists_a_hundred_and_eighteen() {
    in_namespaces("lists::an_ipv6_header_with_dscps_lists_a_hundred_and_eighteen", || {
        let mut lab = star(&["a", "b"]);
        crate::narrow(&lab, "a", "r", 9000);
        let to = many(&lab, "b", Version::V6, 126);
        let receivers = receivers("b", &to);
        lab.start_routers(&["r"]);
        let [wire, last] = ["a", "b"].map(|node| lab.capture(link(&lab, node, "r")));
        let mut destinations = list(&to);
        destinations.iter_mut().step_by(2).for_each(|destination| destination.dscp = Some(EF));
        let mut host = Host::open("a");
        let message = Message {
            destinations: &destinations,
            dscp: 8,
            payload: b"to all",
            ..Message::default()
        };
        assert_eq!(host.send(&message), Sent { packets: 2, unsent: Vec::new() });
        for receiver in &receivers {
            assert_receives(receiver, source(&lab, Version::V6), "to all");
        }
        assert_eq!(forms(&wire, "a"), xcast(&[&to[..118], &to[118..]]));
        let arrived = last.take_with_headings().into_iter().filter_map(|(copy, heading)| {
            let Form::Unicast(to) = copy.form else { return None };
            Some((to, heading.dscp))
        });
        let wanted = destinations.iter().zip(&to).map(|(d, to)| (*to, d.dscp.unwrap_or(8)));
        assert_eq!(arrived.collect::<BTreeMap<_, _>>(), wanted.collect::<BTreeMap<_, _>>());
    });
}

#[test]
fn a_list_of_both_ip_versions_takes_one_packet_of_each() {
    in_namespaces("lists::a_list_of_both_ip_versions_takes_one_packet_of_each", || {
        let mut lab = star(&["a", "b", "c"]);
        lab.start_routers(&["r"]);
        let wire = lab.capture(link(&lab, "a", "r"));
        let [b4, b6] = BOTH.map(|version| at(&lab, version, "b"));
        // Another port, so that both packets list ports.
        let [c4, c6] = BOTH.map(|version| SocketAddr::new(at(&lab, version, "c").ip(), PORT + 1));
        let sockets =
            [("b", b4), ("c", c6), ("c", c4), ("b", b6)].map(|(node, at)| lab.receiver(node, at));
        let mut host = Host::open("a");
        host.send_all(&[b4, c6, c4, b6], "to both", 2);
        for socket in sockets {
            let version =
                if socket.local_addr().unwrap().is_ipv4() { Version::V4 } else { Version::V6 };
            assert_receives(&socket, source(&lab, version), "to both");
        }
        assert_eq!(forms(&wire, "a"), xcast(&[&[b4, c4], &[c6, b6]]));
    });
}

#[test]
fn who_is_listed_twice_gets_it_twice_and_so_does_the_sender_itself() {
    in_namespaces("lists::who_is_listed_twice_gets_it_twice_and_so_does_the_sender_itself", || {
        let mut lab = star(&["a", "b"]);
        lab.start_routers(&["r"]);
        let mut host = Host::open("a");
        for version in BOTH {
            let to = ["a", "b"].map(|node| at(&lab, version, node));
            let sockets = ["a", "b"].map(|node| lab.receiver(node, at(&lab, version, node)));
            host.send_all(&[to[1], to[0], to[1], to[0]], "twice", 1);
            for socket in sockets {
                let mut buffer = [0; 100];
                for _ in 0..2 {
                    let (length, from) = socket.recv_from(&mut buffer).unwrap();
                    assert_eq!((&buffer[..length], from), (&b"twice"[..], source(&lab, version)));
                }
                lab::assert_empty(&socket);
            }
        }
    });
}

#[test]
fn a_destination_that_may_not_be_listed_harms_nobody_else() {
    in_namespaces("lists::a_destination_that_may_not_be_listed_harms_nobody_else", || {
        let mut lab = star(&["a", "b"]);
        lab.start_routers(&["r"]);
        let b = at(&lab, Version::V4, "b");
        let receiver = lab.receiver("b", b);
        let mut host = Host::open("a");
        let bad: Vec<IpAddr> = vec![
            Ipv4Addr::LOCALHOST.into(),
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::BROADCAST.into(),
            Ipv4Addr::new(10, 9, 1, 255).into(),
            Ipv4Addr::new(224, 0, 0, 1).into(),
        ];
        let mut to: Vec<SocketAddr> = bad.iter().map(|bad| SocketAddr::new(*bad, PORT)).collect();
        to.push(b);
        let unsent = |index| Unsent { index, reason: DropReason::BadDestination };
        let expected = Sent { packets: 1, unsent: (0..bad.len()).map(unsent).collect() };
        assert_eq!(host.send_to(&to, "to b"), expected);
        assert_receives(&receiver, source(&lab, Version::V4), "to b");
    });
}

#[test]
fn a_message_has_the_source_that_it_names() {
    in_namespaces("lists::a_message_has_the_source_that_it_names", || {
        let mut lab = star(&["a", "b"]);
        lab.ip("a", "address add 10.7.0.1/32 dev lo");
        lab.ip("r", &format!("route add 10.7.0.1/32 via {}", lab.address("a", "r")));
        lab.start_routers(&["r"]);
        let [v4, v6] = BOTH.map(|version| at(&lab, version, "b"));
        let sockets = [v4, v6].map(|at| lab.receiver("b", at));
        let destinations: Vec<Destination> = list(&[v4, v6]);
        let named = IpAddr::from([10, 7, 0, 1]);
        let message = Message {
            destinations: &destinations,
            source: Some(named),
            payload: b"named",
            ..Message::default()
        };
        let mut host = Host::open("a");
        assert_eq!(host.send(&message), Sent { packets: 2, unsent: Vec::new() });
        assert_receives(&sockets[0], SocketAddr::new(named, SOURCE_PORT), "named");
        assert_receives(&sockets[1], source(&lab, Version::V6), "named");
        // No packet may have such a source; the other IP version has its own.
        let message = Message { source: Some(Ipv4Addr::LOCALHOST.into()), ..message };
        let unsent = vec![Unsent { index: 0, reason: DropReason::Source }];
        assert_eq!(host.send(&message), Sent { packets: 1, unsent });
        assert_receives(&sockets[1], source(&lab, Version::V6), "named");
        lab::assert_empty(&sockets[0]);
    });
}

#[test]
fn more_neighbors_than_can_be_waited_for_are_named_and_reached_by_a_second_message() {
    let name =
        "lists::more_neighbors_than_can_be_waited_for_are_named_and_reached_by_a_second_message";
    in_namespaces(name, || {
        let mut lab = Lab::new();
        lab.hosts(&["a", "b"]);
        lab.lan("lan", &["a", "b"]);
        lab.ip("a", "address add 10.7.0.1/23 dev lan");
        let address = |number: u16| Ipv4Addr::from_bits(0x0a07_0001 + u32::from(number));
        let to: Vec<SocketAddr> =
            (1..=300).map(|number| SocketAddr::new(address(number).into(), PORT)).collect();
        let lines = to.iter().map(|to| format!("address add {}/23 dev lan\n", to.ip()));
        lab::ip_batch(&["-n", "b"], &lines.collect::<String>());
        let sockets = receivers("b", &to);
        let mut host = Host::open("a");
        let from = SocketAddr::from(([10, 7, 0, 1], SOURCE_PORT));
        // Copies wait for so many neighbors at once.
        let Sent { packets, unsent } = host.send_to(&to, "to all");
        let reason = DropReason::NeighborUnresolved;
        let expected = (256..300).map(|index| Unsent { index, reason });
        assert_eq!((packets, &unsent), (3, &expected.collect()));
        host.with(|socket| socket.flush()).unwrap();
        let again: Vec<SocketAddr> = unsent.iter().map(|unsent| to[unsent.index]).collect();
        host.send_all(&again, "to all", 1);
        host.with(|socket| socket.flush()).unwrap();
        for socket in &sockets {
            assert_receives(socket, from, "to all");
        }
        assert_eq!(host.with(xcast::host::XcastSocket::take_troubles), []);
    });
}

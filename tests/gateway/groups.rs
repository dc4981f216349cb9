//! Groups of the local network: as the stream's source, and on the reverse side.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use xcast::host::Inbox;
use xcast::io::pcapng::interface_index;

use crate::lab::process::{PATIENCE, until};
use crate::lab::{Lab, Version, assert_empty, inside};
use crate::support::in_namespaces;
use crate::{BOTH, addresses, any, at, end, listed, network, next, sender, start};

fn group(version: Version, number: u8, port: u16) -> SocketAddr {
    let group: IpAddr = match version {
        Version::V4 => [239, 1, 1, number].into(),
        Version::V6 => [0xff02, 0, 0, 0, 0, 0, 1, number.into()].into(),
    };
    SocketAddr::new(group, port)
}

/// A socket on a node that sends to a group by one interface.
fn group_sender(node: &str, interface: &str, to: SocketAddr) -> UdpSocket {
    inside(node, || {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None).unwrap();
        socket.bind_device(Some(interface.as_bytes())).unwrap();
        socket.connect(&to.into()).unwrap();
        socket.into()
    })
}

/// Waits until datagrams to groups cross a link: IPv6 has its routes a moment after the link is up.
fn groups_cross(from: (&str, &str), to: (&str, &str), version: Version) {
    let first = group(version, 99, 5099);
    let (sender, player) = (group_sender(from.0, from.1, first), player(to.0, to.1, first));
    player.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    until("groups cross the link", || {
        sender.send(b"first").unwrap();
        player.recv(&mut [0; 100]).ok()
    });
}

/// An ordinary player: a socket that is in a group on one interface of a node.
fn player(node: &str, interface: &str, at: SocketAddr) -> UdpSocket {
    inside(node, || {
        let index = interface_index(interface).unwrap();
        let socket =
            Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP)).unwrap();
        socket.set_reuse_address(true).unwrap();
        let mut bound = at;
        if let SocketAddr::V6(v6) = &mut bound {
            v6.set_scope_id(index);
        }
        socket.bind(&bound.into()).unwrap();
        match at.ip() {
            IpAddr::V4(group) => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index)).unwrap()
            }
            IpAddr::V6(group) => socket.join_multicast_v6(&group, index).unwrap(),
        }
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.into()
    })
}

#[test]
fn a_local_group_is_carried_to_the_list() {
    in_namespaces("groups::a_local_group_is_carried_to_the_list", || {
        let mut lab = network();
        for version in BOTH {
            let (from, other) = (group(version, 1, 5004), group(version, 2, 5004));
            let hosts = ["b", "c"].map(|host| at(&lab, version, host));
            let command =
                format!("--json --listen {from} --interface s --to {}", addresses(&hosts));
            let gateway = start(&mut lab, "g", &command);
            let sockets = ["b", "c"].map(|host| lab.receiver(host, at(&lab, version, host)));
            // Another program on the gateway's host is in both groups: only one is the stream's.
            let players = [from, other].map(|group| player("g", "s", group));
            let (stream, others) = (group_sender("s", "g", from), group_sender("s", "g", other));
            groups_cross(("s", "g"), ("g", "s"), version);
            for number in 0..20u64 {
                others.send(&999u64.to_be_bytes()).unwrap(); // not the stream
                stream.send(&number.to_be_bytes()).unwrap();
                assert_eq!(next(&players[0]), number);
                for socket in &sockets {
                    assert_eq!(next(socket), number);
                }
            }
            sockets.iter().for_each(assert_empty);
            let (ended, summary) = end(gateway, Signal::SIGTERM);
            assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
            assert_eq!(summary["datagrams"], 20);
        }
    });
}

/// The network, with a host `l` behind `c` on a network of its own.
fn with_local_network() -> Lab {
    let mut lab = network();
    lab.hosts(&["l"]);
    lab.link("c", "l");
    lab
}

#[test]
fn the_reverse_side_gives_it_to_a_local_group() {
    in_namespaces("groups::the_reverse_side_gives_it_to_a_local_group", || {
        let mut lab = with_local_network();
        for version in BOTH {
            let to = group(version, 3, 5006);
            groups_cross(("c", "l"), ("l", "c"), version);
            let command = format!("--json --listen {} --emit {to} --interface l", any(version));
            let reverse = start(&mut lab, "c", &command);
            let hosts = ["b", "c"].map(|host| at(&lab, version, host));
            let command = format!("--json --listen {} --to {}", any(version), addresses(&hosts));
            let gateway = start(&mut lab, "g", &command);
            let by_b = lab.receiver("b", hosts[0]);
            // One on the network, one on the reverse side's own host.
            let players = [player("l", "c", to), player("c", "l", to)];
            let sender = sender(&lab, version, None);
            for number in 0..50u64 {
                sender.send(&number.to_be_bytes()).unwrap();
                assert_eq!(next(&by_b), number);
                assert!(players.iter().all(|player| next(player) == number));
            }
            players.iter().for_each(assert_empty);
            let (ended, summary) = end(reverse, Signal::SIGINT);
            assert_eq!((ended.status, &ended.errors[..]), (Some(0), &[][..]));
            assert_eq!((&summary["datagrams"], &summary["packets"]), (&50.into(), &50.into()));
            end(gateway, Signal::SIGTERM);
        }
    });
}

/// The group has the very port that the reverse side listens at, and others on its host are in the
/// group: nothing that it emits comes in again.
#[test]
fn what_is_emitted_is_not_taken_in_again() {
    in_namespaces("groups::what_is_emitted_is_not_taken_in_again", || {
        let mut lab = with_local_network();
        for version in BOTH {
            let to = group(version, 4, 5004);
            groups_cross(("c", "l"), ("l", "c"), version);
            let others = player("c", "l", group(version, 4, 5999));
            let command = format!("--json --listen {} --emit {to} --interface l", any(version));
            let reverse = start(&mut lab, "c", &command);
            let there = at(&lab, version, "c").ip();
            let command = format!("--json --listen {} --to {there}", any(version));
            let gateway = start(&mut lab, "g", &command);
            let player = player("l", "c", to);
            let sender = sender(&lab, version, None);
            for number in 0..20u64 {
                sender.send(&number.to_be_bytes()).unwrap();
                assert_eq!(next(&player), number);
            }
            assert_empty(&player);
            assert_empty(&others);
            until("all were counted", || (listed()["datagrams"] == 20).then_some(()));
            let (_, summary) = end(reverse, Signal::SIGTERM);
            assert_eq!(summary["datagrams"], 20, "{summary}");
            end(gateway, Signal::SIGTERM);
        }
    });
}

#[test]
fn the_reverse_side_may_give_it_to_one_address() {
    in_namespaces("groups::the_reverse_side_may_give_it_to_one_address", || {
        let mut lab = with_local_network();
        let (here, there) = (at(&lab, Version::V4, "c"), lab.address("l", "c"));
        let mut inbox = inside("l", || Inbox::open(None, 5006, None)).unwrap();
        let sender = inside("b", || UdpSocket::bind("0.0.0.0:0").unwrap());
        SockRef::from(&sender).set_tos_v4(46 << 2).unwrap();
        for (more, dscp, ttl) in [("", 46, 64), (" --dscp 0 --ttl 9", 0, 9)] {
            let command = format!("--json --listen 0.0.0.0:5004 --emit {there}:5006{more}");
            let reverse = start(&mut lab, "c", &command);
            inside("b", || sender.send_to(b"for one", here).unwrap());
            let received = inbox.next(Some(Instant::now() + PATIENCE)).unwrap().unwrap();
            assert_eq!((received.dscp, received.ttl), (dscp, ttl));
            assert_eq!(received.payload, b"for one");
            end(reverse, Signal::SIGTERM);
        }
    });
}

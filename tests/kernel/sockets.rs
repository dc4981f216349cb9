//! The sockets of the `io` room: what a host hears, what its own stack takes, and what becomes
//! of its datagrams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use socket2::{Domain, SockRef, Socket, Type};
use xcast::io::datagram::{self, Datagram, ReportKind, Reported};
use xcast::io::inject::LocalStack;
use xcast::io::listen::{PACKET_LEN_MAX, Received, XcastListener};
use xcast::io::{Deliver, Receive, Transmit, packet};
use xcast::wire::CodePoints;

use crate::follow::PATIENCE;
use crate::support::{in_namespaces, run, wait_for_carrier, wire};

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114);
const GROUP_V4_LINK: [u8; 6] = [1, 0, 0x5e, 0, 0, 0xfe];
const GROUP_V6_LINK: [u8; 6] = [0x33, 0x33, 0, 0, 1, 0x14];

fn code_points() -> CodePoints {
    CodePoints {
        ip_protocol: 253,
        all_routers_v4: GROUP_V4,
        all_routers_v6: GROUP_V6,
        routing_type: 253,
        ports_option: 0x5e,
        hop_by_hop_option: 0x1e,
    }
}

/// Asks until there is an answer.
fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

fn checksum(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    let sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    bytes[at..at + 2].copy_from_slice(&(!folded as u16).to_be_bytes());
    bytes
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    header.extend([source.octets(), destination.octets()].concat());
    [checksum(header, 10), payload.to_vec()].concat()
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend([source.octets(), destination.octets()].concat());
    [&packet, payload].concat()
}

/// A UDP datagram from port 7 whose checksum is right.
fn udp(source: IpAddr, destination: IpAddr, port: u16, payload: &[u8]) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let length = (8 + payload.len()) as u16;
    let mut datagram = [7, port, length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let pseudo = [octets(source), octets(destination), vec![0, 17], vec![0, length as u8]].concat();
    assert!(length < 256 && length.is_multiple_of(2));
    let at = pseudo.len();
    checksum([pseudo, datagram].concat(), at + 6).split_off(at)
}

/// A packet of the Xcast protocol; what is inside does not matter here.
fn xcast4() -> Vec<u8> {
    ipv4(Ipv4Addr::new(192, 0, 2, 9), GROUP_V4, 253, &[0x10; 24])
}

/// A packet with a routing header of `kind`, at once or behind Hop-by-Hop.
fn routed(kind: u8, behind_hop_by_hop: bool) -> Vec<u8> {
    let mut routing = vec![0; 48];
    (routing[0], routing[1], routing[2]) = (59, 5, kind);
    let hop_by_hop = [43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let source = "2001:db8::9".parse().unwrap();
    match behind_hop_by_hop {
        true => ipv6(source, GROUP_V6, 0, &[&hop_by_hop[..], &routing].concat()),
        false => ipv6(source, GROUP_V6, 43, &routing),
    }
}

fn frame(to: [u8; 6], from: [u8; 6], packet: &[u8], tag: &[u8]) -> Vec<u8> {
    let ether_type = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&to[..], &from, tag, &ether_type, packet].concat()
}

/// Two ends of a link, both here: index and link-layer address of each.
fn link_here() -> [(u32, [u8; 6]); 2] {
    run("ip link add va type veth peer name vb");
    run("ip link set va up");
    run("ip link set vb up");
    ["va", "vb"].map(|name| {
        wait_for_carrier("", name);
        interface(name)
    })
}

/// Its index and link-layer address.
fn interface(name: &str) -> (u32, [u8; 6]) {
    let text = run(&format!("ip -o link show {name}"));
    let (index, rest) = text.split_once(':').unwrap();
    let address = rest.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
    let octets: Vec<u8> =
        address.split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    (index.parse().unwrap(), octets.try_into().unwrap())
}

fn send(interface: u32, frames: &[Vec<u8>]) {
    let mut device = packet::open_sender(interface).unwrap();
    device.transmit(frames.len(), |at| (&frames[at], &[]), |_, taken| assert!(taken));
}

fn hear(listener: &mut XcastListener) -> (Received, Vec<u8>) {
    let mut buffer = vec![0; PACKET_LEN_MAX];
    let received = wait("a packet", || listener.receive(&mut buffer).unwrap());
    (received, buffer[..received.len].to_vec())
}

/// Frames that must be heard, and others among them that must not.
fn frames(to: [u8; 6], from: [u8; 6]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let heard = [
        (to, xcast4()),
        (to, routed(253, false)),
        (to, routed(253, true)),
        (GROUP_V4_LINK, xcast4()),
        (GROUP_V6_LINK, routed(253, true)),
    ];
    let heard = heard.map(|(to, packet)| frame(to, from, &packet, &[]));
    let other = Ipv4Addr::new(192, 0, 2, 1);
    let passed = vec![
        frame(to, from, &ipv4(other, GROUP_V4, 254, &[0; 24]), &[]),
        frame(to, from, &routed(4, false), &[]),
        frame(to, from, &routed(4, true), &[]),
        frame([0xff; 6], from, &xcast4(), &[]),
        frame([2, 9, 9, 9, 9, 9], from, &xcast4(), &[]),
        frame(GROUP_V6_LINK.map(|octet| octet | 2), from, &xcast4(), &[]),
        frame(to, from, &xcast4(), &[0x81, 0, 0, 5]),
        frame(to, from, &routed(253, false), &[0x81, 0, 0, 5]),
    ];
    (heard.to_vec(), passed)
}

#[test]
fn a_host_hears_xcast_on_every_interface() {
    in_namespaces("sockets::a_host_hears_xcast_on_every_interface", || {
        let mut listener = XcastListener::open(&code_points()).unwrap();
        let [(near, own), (far, peer)] = link_here();
        let (heard, passed) = frames(own, peer);
        for expected in &heard {
            // What must not be heard goes first: the next packet heard is the one behind it.
            send(far, &passed);
            send(far, std::slice::from_ref(expected));
            let (received, packet) = hear(&mut listener);
            let to_group = expected[0] & 1 == 1;
            let len = expected.len() - 14;
            let source = Some(peer);
            assert_eq!(received, Received { len, interface: near, source, to_group });
            assert_eq!(packet, expected[14..]);
        }
        assert_eq!(listener.receive(&mut [0; 64]).unwrap(), None);
        assert_eq!(listener.lost(), 0);
        // A buffer too short.
        send(far, &[heard[1].clone(), heard[0].clone()]);
        let received = wait("a packet", || listener.receive(&mut [0; 60]).unwrap());
        assert_eq!((received.len, listener.lost()), (44, 1));
    });
}

#[test]
fn a_port_receives_xcast_of_both_versions() {
    in_namespaces("sockets::a_port_receives_xcast_of_both_versions", || {
        let [(near, own), (far, peer)] = link_here();
        let mut receiver = packet::open(near, 1500, &code_points(), false).unwrap();
        let (heard, passed) = frames(own, peer);
        for expected in &heard {
            send(far, &passed);
            send(far, std::slice::from_ref(expected));
            wait("a frame", || (receiver.take(10) > 0).then_some(()));
            assert_eq!(receiver.take(10), 1);
            assert_eq!(receiver.bytes(0), expected);
            assert_eq!(receiver.frame(0).to_group, expected[0] & 1 == 1);
            receiver.release(1);
        }
    });
}

#[test]
fn what_stays_xcast_is_delivered_over_the_loopback_once() {
    in_namespaces("sockets::what_stays_xcast_is_delivered_over_the_loopback_once", || {
        let mut listener = XcastListener::open(&code_points()).unwrap();
        let mut local = LocalStack::open().unwrap();
        for packet in [xcast4(), routed(253, false), routed(253, true), xcast4()] {
            let (head, tail) = packet.split_at(packet.len() - 4);
            assert!(local.deliver(head, tail, None));
            let (received, heard) = hear(&mut listener);
            assert_eq!((received.interface, received.to_group), (1, false));
            assert_eq!(heard, packet);
        }
        assert_eq!(listener.receive(&mut [0; 64]).unwrap(), None);
    });
}

#[test]
fn a_packet_for_this_node_reaches_its_socket() {
    in_namespaces("sockets::a_packet_for_this_node_reaches_its_socket", || {
        wire();
        run("ip addr add fe80::77/64 dev va nodad");
        let (va, _) = interface("va");
        let mut local = LocalStack::open().unwrap();
        for (from, to, interface) in [
            ("192.0.2.9", "10.0.0.1", None),
            ("192.0.2.9", "127.0.0.1", None),
            ("2001:db8::9", "fd00::1", None),
            ("2001:db8::9", "fd00::1", Some(va)),
            ("fe80::9", "fe80::77", Some(va)),
        ] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let any: IpAddr = match to {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 9000)).unwrap();
            datagram::report_headers(&socket).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let payload = udp(from, to, 9000, b"delivery");
            let packet = match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, 17, &payload),
                (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(from, to, 17, &payload),
                _ => unreachable!("both are of one version"),
            };
            let (head, tail) = packet.split_at(packet.len() - 10);
            assert!(local.deliver(head, tail, interface), "{to}");
            let datagram = datagram::receive(&socket).unwrap();
            assert_eq!((datagram.source.ip(), datagram.source.port()), (from, 7));
            assert_eq!((datagram.destination, datagram.ttl), (to, 64));
            assert_eq!(datagram.payload, b"delivery");
        }
        assert!(!local.deliver(&[], &[], None));
        assert!(!local.deliver(&[0x45; 19], &[], None));
        assert!(!local.deliver(&[0x60; 39], &[], None));
        assert!(!local.deliver(&[0x50; 40], &[], None));
        std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        let off = ipv6(GROUP_V6, "fd00::1".parse().unwrap(), 17, &[0; 8]);
        assert!(!local.deliver(&off, &[], None), "IPv6 is off");
        assert!(!local.report("fd00::1".parse().unwrap(), None, &[1, 0, 0, 0, 0, 0, 0, 0]));
    });
}

#[test]
fn datagrams_tell_what_their_header_said() {
    in_namespaces("sockets::datagrams_tell_what_their_header_said", || {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let receiver = socket_at(address);
            datagram::report_headers(&receiver).unwrap();
            receiver.set_read_timeout(Some(PATIENCE)).unwrap();
            let sender = socket_at(address);
            if address.is_ipv4() {
                sender.set_ttl(33).unwrap();
                SockRef::from(&sender).set_tos_v4(0xb9).unwrap();
            } else {
                SockRef::from(&sender).set_unicast_hops_v6(33).unwrap();
                SockRef::from(&sender).set_tclass_v6(0xb9).unwrap();
            }
            sender.send_to(b"hello", receiver.local_addr().unwrap()).unwrap();
            let expected = Datagram {
                source: sender.local_addr().unwrap(),
                destination: address,
                ttl: 33,
                traffic_class: 0xb9,
                stamp: None,
                payload: b"hello".to_vec(),
            };
            assert_eq!(datagram::receive(&receiver).unwrap(), expected);
        }
    });
}

/// At a port of the kernel's choice; of IPv6 alone where it is of IPv6.
fn socket_at(address: IpAddr) -> UdpSocket {
    let at = SocketAddr::new(address, 0);
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.bind(&at.into()).unwrap();
    socket.into()
}

fn next_report(socket: &UdpSocket) -> Reported {
    wait("a report", || datagram::take_error(socket).unwrap())
}

#[test]
fn a_port_where_nobody_is_is_reported() {
    in_namespaces("sockets::a_port_where_nobody_is_is_reported", || {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let sender = socket_at(address);
            datagram::report_errors(&sender).unwrap();
            assert_eq!(datagram::take_error(&sender).unwrap(), None);
            let destination = SocketAddr::new(address, 9999);
            sender.send_to(b"anyone there?", destination).unwrap();
            let expected = Reported {
                destination,
                offender: Some(address),
                kind: ReportKind::PortUnreachable,
                errno: libc::ECONNREFUSED,
                payload: b"anyone there?".to_vec(),
            };
            assert_eq!(next_report(&sender), expected);
            assert_eq!(datagram::take_error(&sender).unwrap(), None);
        }
    });
}

/// Routers on the way say what happened: here the peer, which has a narrow link behind it.
#[test]
fn errors_on_the_way_are_reported() {
    in_namespaces("sockets::errors_on_the_way_are_reported", || {
        wire();
        run("ip -n peer link add narrow type veth peer name end");
        run("ip -n peer link set narrow mtu 1300 up");
        run("ip -n peer link set end up");
        run("ip -n peer addr add 10.0.9.1/24 dev narrow");
        run("ip -n peer addr add fd09::1/64 dev narrow nodad");
        std::fs::write("/run/one", "1").unwrap();
        for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            run(&format!("ip netns exec peer cp /run/one /proc/sys/net/{switch}"));
        }
        run("ip route add default via 10.0.0.2");
        run("ip route add default via fd00::2");
        for (beyond, nowhere, router) in
            [("10.0.9.2", "10.0.8.2", "10.0.0.2"), ("fd09::2", "fd08::2", "fd00::2")]
        {
            let router: IpAddr = router.parse().unwrap();
            let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 9000);
            let own = if router.is_ipv4() { "10.0.0.1" } else { "fd00::1" };
            let sender = socket_at(own.parse().unwrap());
            datagram::report_errors(&sender).unwrap();
            let expect = |to: SocketAddr, size: usize, kind: ReportKind| {
                // The error of an earlier report may be told instead of sending.
                wait("sent", || sender.send_to(&vec![7; size], to).ok());
                let report = next_report(&sender);
                assert_eq!((report.destination, report.kind), (to, kind));
                assert_eq!(report.offender, Some(router));
                assert!(report.payload.iter().all(|octet| *octet == 7));
            };
            expect(at(nowhere), 10, ReportKind::Unreachable { code: 0 });
            expect(at(beyond), 1400, ReportKind::TooBig { mtu: 1300 });
            match router {
                IpAddr::V4(_) => sender.set_ttl(1).unwrap(),
                IpAddr::V6(_) => SockRef::from(&sender).set_unicast_hops_v6(1).unwrap(),
            }
            expect(at(beyond), 10, ReportKind::TimeExceeded);
        }
    });
}

/// Our own ICMP errors, as a sender's kernel understands them.
#[test]
fn an_icmp_error_reaches_its_sender() {
    in_namespaces("sockets::an_icmp_error_reaches_its_sender", || {
        wire();
        run("ip addr add fe80::77/64 dev va nodad");
        let (va, _) = interface("va");
        let mut local = LocalStack::open().unwrap();
        for (own, other, interface) in [
            ("10.0.0.1", "10.9.9.9", None),
            ("fd00::1", "fd09::9", None),
            ("fe80::77", "fd09::9", Some(va)),
        ] {
            let (own, other): (IpAddr, IpAddr) = (own.parse().unwrap(), other.parse().unwrap());
            let sender = match own {
                IpAddr::V6(own) if interface.is_some() => {
                    let at = std::net::SocketAddrV6::new(own, 0, 0, va);
                    UdpSocket::bind(at).unwrap()
                }
                _ => socket_at(own),
            };
            datagram::report_errors(&sender).unwrap();
            let mut quoted = udp(own, other, 9000, b"lost");
            quoted[..2].copy_from_slice(&sender.local_addr().unwrap().port().to_be_bytes());
            let icmp = match (own, other) {
                (IpAddr::V4(own), IpAddr::V4(other)) => {
                    let quoted = ipv4(own, other, 17, &quoted);
                    checksum([&[11, 0, 0, 0, 0, 0, 0, 0], &quoted[..]].concat(), 2)
                }
                (IpAddr::V6(own), IpAddr::V6(other)) => {
                    let quoted = ipv6(own, other, 17, &quoted);
                    [&[3, 0, 0, 0, 0, 0, 0, 0], &quoted[..]].concat()
                }
                _ => unreachable!("both are of one version"),
            };
            assert!(local.report(own, interface, &icmp));
            let report = next_report(&sender);
            assert_eq!(report.kind, ReportKind::TimeExceeded);
            assert_eq!(report.destination.ip(), other);
            assert_eq!(report.payload, b"lost");
            assert!(report.offender.is_some());
        }
    });
}

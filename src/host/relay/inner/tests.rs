use proptest::prelude::*;

use super::super::tests::code_points;
use super::*;
use crate::forward::LINK_HEADER_LEN;
use crate::host::{Destination, Message};
use crate::rib::{Rib, Settings};

const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 99, 0, 5));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));
const PORT: u16 = 9000;

fn fib() -> Fib {
    Rib::new(Settings::open(code_points())).compile()
}

fn read_by(fib: &Fib, address: IpAddr, packet: &[u8]) -> Result<Inner, DropReason> {
    read(&Place { fib, address, port: PORT }, &mut packet.to_vec())
}

fn read_here(packet: &[u8]) -> Result<Inner, DropReason> {
    read_by(&fib(), OWN, packet)
}

/// UDP of 192.0.2.9 port 7 to 10.99.0.5 port 9000, "hi", TTL 61, DSCP 46.
fn golden() -> Vec<u8> {
    // By hand, the sum of the header: 45b8 + 001e + 3d11 + c000 + 0209 + 0a63 + 0005 = 14f58, folded
    // 4f59; of the datagram: c000 + 0209 + 0a63 + 0005 + 0011 + 000a + 0007 + 2328 + 000a + 6869 =
    // 1582e, folded 582f.
    let mut packet = vec![0x45, 0xb8, 0, 30, 0, 0, 0, 0, 61, 17, 0xb0, 0xa6, 192, 0, 2, 9];
    packet.extend([10, 99, 0, 5, 0, 7, 0x23, 0x28, 0, 10, 0xa7, 0xd0, b'h', b'i']);
    packet
}

#[test]
fn a_datagram_for_the_leased_address_and_port_is_received() {
    let received = Received {
        source: SocketAddr::new(OTHER, 7),
        destination: OWN,
        port: PORT,
        ttl: 61,
        dscp: 46,
        channel: None,
        stamp: None,
        payload: b"hi".to_vec(),
    };
    assert_eq!(read_here(&golden()), Ok(Inner::Datagram(received)));
}

#[test]
fn what_is_broken_or_for_somebody_else_is_refused_by_name() {
    let packet = golden();
    for end in 0..packet.len() {
        assert_eq!(read_here(&packet[..end]), Err(DropReason::IpHeader), "cut to {end}");
    }
    let changed = |at: usize, value: u8| {
        let mut packet = packet.clone();
        packet[at] = value;
        ipv4::fill_checksum(&mut packet, 20);
        read_here(&packet)
    };
    assert_eq!(changed(6, 0x20), Err(DropReason::Fragment));
    assert_eq!(changed(9, 6), Err(DropReason::NotForThisRouter), "TCP");
    assert_eq!(changed(12, 224), Err(DropReason::Source), "from a group");
    assert_eq!(changed(12, 127), Err(DropReason::Source), "from the loopback");
    assert_eq!(changed(19, 6), Err(DropReason::NotForThisRouter), "another address");
    assert_eq!(changed(22, 0), Err(DropReason::Checksum));
    assert_eq!(changed(25, 11), Err(DropReason::Length));
    assert_eq!(changed(25, 7), Err(DropReason::Checksum), "shorter than its header");
    let mut other_port = packet.clone();
    other_port[23] = 0x29;
    other_port[27] -= 1;
    assert_eq!(read_here(&other_port), Err(DropReason::NotForThisRouter), "another port");
    let mut wrong = packet.clone();
    wrong[10] ^= 1;
    assert_eq!(read_here(&wrong), Err(DropReason::IpHeader));
}

/// Packets of the host itself, as they are quoted by ICMP errors.
fn sent(to: &[IpAddr], keep_xcast: bool) -> Vec<u8> {
    let list: Vec<Destination> = to
        .iter()
        .map(|address| Destination { address: *address, port: PORT, dscp: None })
        .collect();
    let message =
        Message { destinations: &list, payload: b"hello", keep_xcast, ..Message::default() };
    let buffer = message.packet(&code_points(), OWN, PORT).unwrap();
    buffer[LINK_HEADER_LEN..].to_vec()
}

fn icmp_to_own(message: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 20];
    let repr = ipv4::Repr {
        source: "198.51.100.1".parse().unwrap(),
        destination: "10.99.0.5".parse().unwrap(),
        protocol: protocol::ICMP,
        traffic_class: 0,
        ttl: 60,
        payload_len: message.len() as u16,
    };
    repr.emit(&mut packet);
    packet.extend(message);
    packet
}

#[test]
fn an_icmp_error_about_a_list_tells_whom_it_was_for() {
    let quoted = sent(&[OTHER, "192.0.2.10".parse().unwrap()], false);
    let mut message = vec![0; 600];
    let length = icmp::emit_v4(icmp::Error::TooBig { mtu: 1400 }, &quoted, &mut message);
    let read = read_here(&icmp_to_own(&message[..length]));
    let Ok(Inner::Error { error, quote, from }) = read else { panic!("{read:?}") };
    assert_eq!((error, quote.live.len()), (icmp::Error::TooBig { mtu: 1400 }, 2));
    assert_eq!(from.to_string(), "198.51.100.1");
    // About a packet of somebody else, and with a wrong checksum.
    let elsewhere = read_by(&fib(), OTHER, &icmp_to_own(&message[..length]));
    assert_eq!(elsewhere, Err(DropReason::NotForThisRouter));
    message[20] ^= 1;
    assert_eq!(read_here(&icmp_to_own(&message[..length])), Err(DropReason::Checksum));
}

#[test]
fn an_icmp_error_about_a_copy_is_that_of_a_plain_datagram() {
    // The host's own datagram: the golden one with its ends exchanged.
    let mut copy = golden();
    copy[12..16].copy_from_slice(&[10, 99, 0, 5]);
    copy[16..20].copy_from_slice(&[192, 0, 2, 9]);
    copy[20..24].copy_from_slice(&[0x23, 0x28, 0, 7]);
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend(&copy);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let read = read_here(&icmp_to_own(&message));
    let Ok(Inner::Report(reported)) = read else { panic!("{read:?}") };
    assert_eq!(reported.kind, ReportKind::PortUnreachable);
    assert_eq!(reported.destination.to_string(), "192.0.2.9:7");
    assert_eq!(reported.payload, b"hi");
    for end in 8..28 {
        let mut cut = message[..8 + end.min(27) - 8].to_vec();
        cut[2..4].fill(0);
        let sum = checksum(&cut);
        cut[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(read_here(&icmp_to_own(&cut)), Err(DropReason::NotForThisRouter), "{end}");
    }
}

#[test]
fn a_packet_that_stays_xcast_is_received_from_its_list() {
    let packet = sent(&[OTHER, OWN], true);
    let read = read_here(&packet);
    let Ok(Inner::Datagram(received)) = read else { panic!("{read:?}") };
    assert_eq!((received.destination, received.channel), (OWN, Some(0)));
    assert_eq!(received.payload, b"hello");
    // One that a router should have turned into unicast, and one for others.
    assert_eq!(read_here(&sent(&[OWN], false)), Err(DropReason::NotForThisRouter));
    assert_eq!(read_here(&sent(&[OTHER], true)), Err(DropReason::NotForThisRouter));
}

#[test]
fn ipv6_is_received_and_its_errors_must_be_sound() {
    let (own, other): (Ipv6Addr, Ipv6Addr) =
        ("2001:db8:99::5".parse().unwrap(), "2001:db8::9".parse().unwrap());
    let packet = |next_header: u8, payload: &[u8]| {
        let mut packet = vec![0; 40];
        let repr = ipv6::Repr {
            source: other,
            destination: own,
            next_header,
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 9,
            payload_len: payload.len() as u16,
        };
        repr.emit(&mut packet);
        packet.extend(payload);
        packet
    };
    let mut datagram = vec![0; 8];
    datagram.extend(b"hi");
    udp::Repr { source_port: 7, destination_port: PORT }.emit(&mut datagram, other, own);
    let fib = fib();
    let read = |packet: &[u8]| read_by(&fib, own.into(), packet);
    assert!(matches!(read(&packet(17, &datagram)), Ok(Inner::Datagram(_))));
    datagram[6..8].fill(0);
    assert_eq!(read(&packet(17, &datagram)), Err(DropReason::Checksum), "it must have one");
    assert_eq!(read(&packet(44, &datagram)), Err(DropReason::Fragment));

    // Port unreachable, about a datagram of the host's own.
    let mut quoted = packet(17, &datagram);
    quoted[8..24].copy_from_slice(&own.octets());
    quoted[24..40].copy_from_slice(&other.octets());
    quoted[40..44].copy_from_slice(&[0x23, 0x28, 0, 7]);
    let mut message = vec![1, 4, 0, 0, 0, 0, 0, 0];
    message.extend(&quoted);
    assert_eq!(read(&packet(58, &message)), Err(DropReason::Checksum));
    let length = message.len() as u16;
    let sum = Sum::default().address(other.into()).address(own.into()).word(length).word(58);
    let sum = sum.bytes(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let Ok(Inner::Report(reported)) = read(&packet(58, &message)) else { panic!("it is sound") };
    assert_eq!(reported.kind, ReportKind::PortUnreachable);
    assert_eq!(reported.destination.to_string(), "[2001:db8::9]:7");
}

proptest! {
    /// Nothing that comes through the tunnel is more than refused.
    #[test]
    fn any_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _refused = read_here(&octets);
        for first in [0x45, 0x46, 0x60] {
            let mut octets = octets.clone();
            octets.splice(..octets.len().min(1), [first]);
            let _refused = read_here(&octets);
        }
    }

    /// Nor what is nearly right.
    #[test]
    fn changed_octets_are_survived(at in 0usize..70, value in any::<u8>(), which in 0usize..3) {
        let packet = match which {
            0 => golden(),
            1 => sent(&[OTHER, OWN], true),
            _ => {
                let mut message = vec![0; 600];
                let quoted = sent(&[OTHER], false);
                let length = icmp::emit_v4(icmp::Error::TimeExceeded, &quoted, &mut message);
                icmp_to_own(&message[..length])
            }
        };
        let mut packet = packet;
        let at = at % packet.len();
        packet[at] = value;
        ipv4::fill_checksum(&mut packet, 20);
        let _refused = read_here(&packet);
    }
}

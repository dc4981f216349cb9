//! How transport headers and their checksums follow a destination of their own (R7).

use super::*;

#[test]
fn what_cannot_become_unicast_is_dropped_only_where_it_must() {
    for protocol in [50, 51] {
        let bytes = changed(&[(28, protocol)]);
        let out = run(&TABLE.fib(), &bytes);
        assert_eq!(out.replicas.len(), 1, "the copy for B and C stays Xcast");
        assert_eq!(out.counters.drops[DropReason::X2uImpossible as usize], 1);
    }
    let with_ports = xcast4::Repr { ports: [1, 2].to_vec(), ..to(&[B, D]) };
    let mut bytes = packet(with_ports, 64);
    bytes[28] = 99; // a protocol without ports
    repair(&mut bytes, 28);
    assert_eq!(reasons(&TABLE.fib(), &bytes, false), [("x2u-impossible", 2)]);
}

/// The transport checksum of a whole segment, over the pseudo-header of its addresses.
fn transport_sum(destination: Ipv4Addr, protocol: u8, segment: &[u8]) -> u16 {
    let addresses = Sum::default().double(SOURCE.to_bits()).double(destination.to_bits());
    addresses.word(u16::from(protocol)).word(segment.len() as u16).bytes(segment).checksum()
}

#[test]
fn every_transport_with_a_pseudo_header_follows_the_address() {
    // Protocol and where its checksum stands: TCP, UDP, DCCP (with full coverage), UDP-Lite.
    for (protocol, at) in [(6, 16), (17, 6), (33, 6), (136, 6)] {
        let mut bytes = packet(xcast4::Repr { ports: [80, 81].to_vec(), ..to(&[D, B]) }, 64);
        bytes.splice(48..61, (0..20).map(|octet| octet * 11));
        bytes[3] = bytes.len() as u8;
        bytes[28] = protocol;
        bytes[50..52].fill(0); // the port, restored from the list
        bytes[48 + at..50 + at].fill(0);
        let check = transport_sum(GROUP, protocol, &bytes[48..]);
        bytes[48 + at..50 + at].copy_from_slice(&check.to_be_bytes());
        repair(&mut bytes, 28);
        let out = run(&TABLE.fib(), &bytes);
        for ((_, _, ip), (destination, port)) in out.replicas.iter().zip([(D, 80), (B, 81)]) {
            assert_eq!(ip[9], protocol);
            assert_eq!(ip[22..24], u16::to_be_bytes(port));
            let sum = transport_sum(destination, protocol, &ip[20..]);
            assert_eq!(sum, 0, "protocol {protocol} to {destination}");
        }
        assert_eq!(out.replicas.len(), 2);
    }
}

#[test]
fn a_transport_header_that_is_cut_short_cannot_become_unicast() {
    for (protocol, needed) in [(6, 20), (17, 8), (33, 8), (136, 8)] {
        for length in [0, needed - 1] {
            let mut bytes = packet(to(&[B, C, D]), 64);
            bytes.truncate(48);
            bytes.resize(48 + length, 0);
            bytes[3] = bytes.len() as u8;
            bytes[28] = protocol;
            repair(&mut bytes, 28);
            let out = run(&TABLE.fib(), &bytes);
            assert_eq!(out.counters.drops[DropReason::X2uImpossible as usize], 1, "{protocol}");
            assert_eq!(out.replicas.len(), 1);
            assert_xcast(&out.replicas[0].2, &[B, C], 63);
        }
    }
}

#[test]
fn an_adjusted_udp_checksum_of_zero_is_sent_as_its_other_form() {
    // The payload is chosen so that the checksum over D's address comes to zero.
    let mut bytes = packet(to(&[D]), 64);
    let at = bytes.len() - 13;
    bytes[at + 8..at + 10].fill(0);
    bytes[at + 6..at + 8].fill(0);
    let rest = transport_sum(D, 17, &bytes[at..]);
    bytes[at + 8..at + 10].copy_from_slice(&rest.to_be_bytes());
    let check = transport_sum(GROUP, 17, &bytes[at..]);
    bytes[at + 6..at + 8].copy_from_slice(&check.to_be_bytes());
    let out = run(&TABLE.fib(), &bytes);
    assert_eq!(out.replicas[0].2[26..28], [0xff, 0xff]);
}

#[test]
fn a_udp_checksum_of_zero_stays_zero() {
    let mut bytes = changed(&[]);
    bytes[54..56].fill(0);
    let out = run(&TABLE.fib(), &bytes);
    assert_eq!(out.replicas[1].2[26..28], [0, 0]);
}

#[test]
fn an_adjusted_udp_checksum_of_zero_over_ipv6_is_sent_as_its_other_form() {
    let mut bytes = packet_v6(to_v6(&[D_V6]), 64);
    let at = bytes.len() - 13;
    let sum = |destination: Ipv6Addr, datagram: &[u8]| {
        let addresses = Sum::default().address(SOURCE_V6.into()).address(destination.into());
        addresses.word(17).word(datagram.len() as u16).bytes(datagram).checksum()
    };
    // The payload is chosen so that the checksum over D's address comes to zero.
    bytes[at + 6..at + 10].fill(0);
    let rest = sum(D_V6, &bytes[at..]);
    bytes[at + 8..at + 10].copy_from_slice(&rest.to_be_bytes());
    let check = sum(GROUP_V6, &bytes[at..]);
    bytes[at + 6..at + 8].copy_from_slice(&check.to_be_bytes());
    let out = run(&TABLE.fib(), &bytes);
    assert_eq!(out.replicas[0].2[46..48], [0xff, 0xff]);
    // Without a checksum it could not be unicast at all.
    bytes[at + 6..at + 8].fill(0);
    assert_eq!(reasons(&TABLE.fib(), &bytes, false), [("x2u-impossible", 1)]);
}

#[test]
fn what_is_cut_into_fragments_leaves_whole_or_not_at_all() {
    let fib = Table { mtu: 44, ..TABLE }.fib();
    // 400 octets of payload in pieces of 24, DF clear.
    let mut bytes = packet(to(&[B, D, HOST]), 64);
    bytes.resize(bytes.len() + 387, 7);
    let length = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes[6] = 0;
    bytes[28] = 99; // a protocol that has no checksum to keep
    repair(&mut bytes, 28);
    let mut out = Output::new(&fib);
    // More than there is room for.
    for _ in 0..100 {
        let mut buffer = bytes.clone();
        let packet =
            Packet { buffer: &mut buffer, start: 0, port: Some(0), to_group: false, index: 0 };
        process(&fib, packet, NOW, &mut out);
    }
    let served: u64 = out.replicas().iter().map(|replica| u64::from(replica.destinations())).sum();
    let failed = out.counters.drops[DropReason::TransmitFailed as usize];
    assert!(served > 50 && failed > 50);
    assert_eq!((served + failed, out.replicas().len()), (300, served as usize * 17));
}

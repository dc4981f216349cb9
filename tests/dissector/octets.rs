//! Packets written by hand after the tables of WIRE.md.

/// X, D and P; destinations 0, 2 and 4 of five are live; channel 42, then UDP.
#[rustfmt::skip]
pub(crate) const XCAST4: [u8; 56] = [
    0x17, 5, 0x85, 0x7b, // version 1, X D P; five destinations; checksum
    0, 0, 0, 42, // channel
    17, 14, 0, 0, // UDP, 14 words, RESV
    0b1010_1000, 0, 0, 0, // bitmap
    10, 0, 4, 2, 10, 0, 5, 2, 10, 0, 6, 2, 10, 0, 7, 2, 10, 0, 8, 2, // addresses
    0xb8, 0x88, 0x90, 0x00, 0xb0, 0, 0, 0, // EF, AF41, AF42, default, VA; padding
    0x13, 0x88, 0x13, 0x89, 0x13, 0x8a, 0x13, 0x8b, 0x13, 0x8c, 0, 0, // ports 5000 to 5004
];

/// A, no channel; the middle one of three destinations is not live and hidden.
#[rustfmt::skip]
pub(crate) const XCAST4_HIDDEN: [u8; 28] = [
    0x18, 3, 0x18, 0xf1, // version 1, A; three destinations; checksum
    0, 0, 0, 0, // no channel
    17, 7, 0, 0, // UDP, 7 words, RESV
    0b1010_0000, 0, 0, 0, // bitmap
    10, 0, 4, 2, 0, 0, 0, 0, 10, 0, 6, 2, // addresses
];

/// A, X and D; two destinations, both live; then UDP.
#[rustfmt::skip]
pub(crate) const XCAST6: [u8; 72] = [
    17, 8, 253, 0, // UDP, nine units of 8 octets, the routing type, 0
    0x1e, 2, 0xc0, 0x2b, // version 1, A X D; two destinations; checksum
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // channel
    0b1100_0000, 0, 0, 0, 0, 0, 0, 0, // bitmap
    0x20, 1, 0x0d, 0xb8, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // 2001:db8:4::2
    0x20, 1, 0x0d, 0xb8, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // 2001:db8:5::2
    0xb8, 0, 0, 0, 0, 0, 0, 0, // EF, default; padding
];

/// The second of two destinations is live; then Destination Options.
#[rustfmt::skip]
pub(crate) const XCAST6_BEFORE_PORTS: [u8; 64] = [
    60, 7, 253, 0, // Destination Options, eight units, the routing type, 0
    0x10, 2, 0x1b, 0x6f, // version 1; two destinations; checksum
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, // channel
    0b0100_0000, 0, 0, 0, 0, 0, 0, 0, // bitmap
    0x20, 1, 0x0d, 0xb8, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // 2001:db8:4::2
    0x20, 1, 0x0d, 0xb8, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // 2001:db8:5::2
];

/// Destination Options before UDP: the ports 4001 and 4002.
pub(crate) const PORTS: [u8; 8] = [17, 0, 0x5e, 4, 0x0f, 0xa1, 0x0f, 0xa2];

/// A Hop-by-Hop header before IPv6: the option of semi-permeable tunnels, PadN.
pub(crate) const SEMI_PERMEABLE: [u8; 8] = [41, 0, 0x1e, 0, 1, 2, 0, 0];

/// 65 destinations, so two units of bitmap; the second and the last are live. Then UDP.
#[rustfmt::skip]
pub(crate) fn xcast6_of_65() -> Vec<u8> {
    let mut header = vec![
        17, 134, 253, 0, // UDP, 135 units, the routing type, 0
        0x10, 65, 0x7c, 0xd1, // version 1; 65 destinations; checksum
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // no channel
        0b0100_0000, 0, 0, 0, 0, 0, 0, 0, 0b1000_0000, 0, 0, 0, 0, 0, 0, 0, // bitmap
    ];
    for host in 1..=65 {
        header.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    header
}

/// A header with something in it changed, and its checksum right again.
pub(crate) fn changed<const N: usize>(
    header: [u8; N],
    checksum_at: usize,
    change: impl FnOnce(&mut [u8; N]),
) -> Vec<u8> {
    let mut header = header;
    change(&mut header);
    mend(&mut header, checksum_at);
    header.to_vec()
}

/// An Xcast4 packet: a header, and a datagram behind it.
pub(crate) fn xcast4_packet(header: &[u8]) -> Vec<u8> {
    ipv4(253, &[header, &udp(4000, 0, b"hello")].concat())
}

/// An Xcast6 packet: headers behind the IPv6 header, the first of this kind, and a datagram.
pub(crate) fn xcast6_packet(next_header: u8, headers: &[&[u8]]) -> Vec<u8> {
    ipv6(next_header, &[&headers.concat()[..], &udp(4000, 0, b"hello")].concat())
}

/// From 10.0.0.1 to All_Xcast_Routers.
pub(crate) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = ((20 + payload.len()) as u16).to_be_bytes();
    let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    header.extend([10, 0, 0, 1, 224, 0, 0, 254]);
    mend(&mut header, 10);
    [&header, payload].concat()
}

/// From 2001:db8::1 to All_Xcast_Routers.
pub(crate) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next_header, 64];
    packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x14]);
    packet.extend(payload);
    packet
}

/// A datagram without checksum.
pub(crate) fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut datagram = [source, destination, length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    datagram
}

/// An Ethernet frame.
pub(crate) fn frame(packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &ethertype[..], packet].concat()
}

/// Fills in the Internet checksum (RFC 1071) of a header, which stands at octet `at`.
pub(crate) fn mend(header: &mut [u8], at: usize) {
    header[at..at + 2].fill(0);
    let pairs = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[at..at + 2].copy_from_slice(&(!sum as u16).to_be_bytes());
}

//! ICMP errors, over IPv4 (RFC 792, RFC 1191) and IPv6 (RFC 4443), as far as a router sends and
//! a sender understands them (WIRE.md R12).
//!
//! ```text
//! |     Type      |     Code      |           Checksum            |
//! |  unused; the next hop's MTU (IPv4: in the last two octets)    |
//! |  the packet that was not forwarded, as much of it as fits     |
//! ```

use super::checksum::checksum;
use super::{ipv4, ipv6, read_u16, read_u32};

/// Length of the part in front of the quoted packet, in octets.
pub const HEADER_LEN: usize = 8;
/// The longest message over IPv4: the whole packet has 576 octets (RFC 1812 section 4.3.2.3).
pub const MESSAGE_LEN_MAX_V4: usize = 576 - ipv4::HEADER_LEN;
/// The longest message over IPv6: the whole packet has 1280 octets (RFC 4443 section 2.4 (c)).
pub const MESSAGE_LEN_MAX_V6: usize = 1280 - ipv6::HEADER_LEN;

/// Why a packet was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// The TTL or hop limit ended on the way.
    TimeExceeded,
    /// The destination cannot be reached.
    Unreachable(UnreachableKind),
    /// The packet is longer than a link takes (IPv4: and DF is set).
    TooBig {
        /// The longest packet it takes, in octets. 0 comes from IPv4 routers older than RFC 1191.
        mtu: u32,
    },
}

/// What stands in the way of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnreachableKind {
    /// There is no route.
    NoRoute,
    /// The host does not answer on its link.
    Host,
    /// Communication is administratively prohibited.
    Prohibited,
}

mod v4 {
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const FRAGMENTATION_NEEDED: u8 = 4;
}

mod v6 {
    pub(super) const UNREACHABLE: u8 = 1;
    pub(super) const TOO_BIG: u8 = 2;
    pub(super) const TIME_EXCEEDED: u8 = 3;
}

/// Writes the ICMP message about the IPv4 packet `quoted`, checksum included, to the start of
/// `buffer`, and returns its length. An MTU above 65,535 travels as that.
///
/// # Panics
/// If the message does not fit `buffer`; [`MESSAGE_LEN_MAX_V4`] octets always do.
pub fn emit_v4(error: Error, quoted: &[u8], buffer: &mut [u8]) -> usize {
    let (kind, code, rest) = match error {
        Error::TimeExceeded => (v4::TIME_EXCEEDED, 0, 0),
        Error::Unreachable(UnreachableKind::NoRoute) => (v4::UNREACHABLE, 0, 0),
        Error::Unreachable(UnreachableKind::Host) => (v4::UNREACHABLE, 1, 0),
        Error::Unreachable(UnreachableKind::Prohibited) => (v4::UNREACHABLE, 13, 0),
        Error::TooBig { mtu } => (v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED, mtu.min(0xffff)),
    };
    let length = emit([kind, code], rest, quoted, &mut buffer[..], MESSAGE_LEN_MAX_V4);
    let check = checksum(&buffer[..length]);
    buffer[2..4].copy_from_slice(&check.to_be_bytes());
    length
}

/// Writes the ICMPv6 message about the IPv6 packet `quoted` to the start of `buffer`, and
/// returns its length. The checksum is left 0, as the kernel fills it in on an ICMPv6 socket
/// (RFC 3542 section 3.1).
///
/// # Panics
/// If the message does not fit `buffer`; [`MESSAGE_LEN_MAX_V6`] octets always do.
pub fn emit_v6(error: Error, quoted: &[u8], buffer: &mut [u8]) -> usize {
    let (kind, code, rest) = match error {
        Error::TimeExceeded => (v6::TIME_EXCEEDED, 0, 0),
        Error::Unreachable(UnreachableKind::NoRoute) => (v6::UNREACHABLE, 0, 0),
        Error::Unreachable(UnreachableKind::Host) => (v6::UNREACHABLE, 3, 0),
        Error::Unreachable(UnreachableKind::Prohibited) => (v6::UNREACHABLE, 1, 0),
        Error::TooBig { mtu } => (v6::TOO_BIG, 0, mtu),
    };
    emit([kind, code], rest, quoted, buffer, MESSAGE_LEN_MAX_V6)
}

fn emit(kind: [u8; 2], rest: u32, quoted: &[u8], buffer: &mut [u8], longest: usize) -> usize {
    let quoted = &quoted[..quoted.len().min(longest - HEADER_LEN)];
    let message = &mut buffer[..HEADER_LEN + quoted.len()];
    message[..2].copy_from_slice(&kind);
    message[2..4].fill(0);
    message[4..8].copy_from_slice(&rest.to_be_bytes());
    message[HEADER_LEN..].copy_from_slice(quoted);
    message.len()
}

/// Reads a whole ICMP message that says why a packet was not forwarded, and what it quotes of
/// that packet. `None`: the checksum is wrong, or it is another message, such as one from the
/// destination itself (port unreachable).
pub fn parse_v4(icmp: &[u8]) -> Option<(Error, &[u8])> {
    let (header, quoted) = icmp.split_at_checked(HEADER_LEN)?;
    if checksum(icmp) != 0 {
        return None;
    }
    let unreachable = |kind| Some((Error::Unreachable(kind), quoted));
    // The codes beside those sent by emit_v4 are RFC 1122's (section 3.2.2.1) and RFC 1812's
    // (section 5.2.7.1): unknown, prohibited, unreachable for this type of service.
    match (header[0], header[1]) {
        (v4::TIME_EXCEEDED, 0) => Some((Error::TimeExceeded, quoted)),
        (v4::UNREACHABLE, 0 | 6 | 11) => unreachable(UnreachableKind::NoRoute),
        (v4::UNREACHABLE, 1 | 7 | 12) => unreachable(UnreachableKind::Host),
        (v4::UNREACHABLE, 9 | 10 | 13) => unreachable(UnreachableKind::Prohibited),
        (v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED) => {
            Some((Error::TooBig { mtu: read_u16(header, 6).into() }, quoted))
        }
        _ => None,
    }
}

/// Reads an ICMPv6 message that says why a packet was not forwarded, and what it quotes of that
/// packet. `None`: it is another message, such as one from the destination itself (port
/// unreachable). The kernel has checked the checksum.
pub fn parse_v6(icmp: &[u8]) -> Option<(Error, &[u8])> {
    let (header, quoted) = icmp.split_at_checked(HEADER_LEN)?;
    let unreachable = |kind| Some((Error::Unreachable(kind), quoted));
    match (header[0], header[1]) {
        (v6::TIME_EXCEEDED, 0) => Some((Error::TimeExceeded, quoted)),
        (v6::UNREACHABLE, 0) => unreachable(UnreachableKind::NoRoute),
        (v6::UNREACHABLE, 3) => unreachable(UnreachableKind::Host),
        // 5 (source address) and 6 (reject route) are subsets of 1 (RFC 4443 section 3.1).
        (v6::UNREACHABLE, 1 | 5 | 6) => unreachable(UnreachableKind::Prohibited),
        // The receiver ignores the code (RFC 4443 section 3.2).
        (v6::TOO_BIG, _) => Some((Error::TooBig { mtu: read_u32(header, 4) }, quoted)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Icmpv4Type, Icmpv6Type, icmpv4, icmpv6};

    const NO_ROUTE: Error = Error::Unreachable(UnreachableKind::NoRoute);
    const HOST: Error = Error::Unreachable(UnreachableKind::Host);
    const PROHIBITED: Error = Error::Unreachable(UnreachableKind::Prohibited);
    const TOO_BIG: Error = Error::TooBig { mtu: 1400 };
    const ALL: [Error; 5] = [Error::TimeExceeded, NO_ROUTE, HOST, PROHIBITED, TOO_BIG];

    /// An IPv4 header and the first 8 octets of an Xcast4 header.
    const QUOTED: [u8; 28] = [
        0x45, 0, 0, 0x1c, 0, 0, 0x40, 0, 1, 0xfd, 0, 0, 10, 0, 0, 1, 224, 0, 0, 254, 0x10, 1, 0, 0,
        1, 2, 3, 4,
    ];

    fn message_v4(error: Error, quoted: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0xaa; MESSAGE_LEN_MAX_V4];
        let length = emit_v4(error, quoted, &mut buffer);
        buffer[..length].to_vec()
    }

    fn message_v6(error: Error, quoted: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0xaa; MESSAGE_LEN_MAX_V6];
        let length = emit_v6(error, quoted, &mut buffer);
        buffer[..length].to_vec()
    }

    /// The types, codes and MTUs of RFC 792, RFC 1191 and RFC 1812; the quoted words sum to
    /// 0x1861f, to which 0b00, 0304 + 0578 and 030d are added.
    #[test]
    fn emits_golden_bytes_over_ipv4() {
        for (error, header) in [
            (Error::TimeExceeded, [11, 0, 0x6e, 0xdf, 0, 0, 0, 0]),
            (TOO_BIG, [3, 4, 0x71, 0x63, 0, 0, 0x05, 0x78]),
            (PROHIBITED, [3, 13, 0x76, 0xd2, 0, 0, 0, 0]),
        ] {
            assert_eq!(message_v4(error, &QUOTED), [&header[..], &QUOTED].concat());
        }
        assert_eq!(message_v4(NO_ROUTE, &QUOTED)[..2], [3, 0]);
        assert_eq!(message_v4(HOST, &QUOTED)[..2], [3, 1]);
    }

    /// The types, codes and MTUs of RFC 4443.
    #[test]
    fn emits_golden_bytes_over_ipv6() {
        for (error, header) in [
            (Error::TimeExceeded, [3, 0, 0, 0, 0, 0, 0, 0]),
            (NO_ROUTE, [1, 0, 0, 0, 0, 0, 0, 0]),
            (PROHIBITED, [1, 1, 0, 0, 0, 0, 0, 0]),
            (HOST, [1, 3, 0, 0, 0, 0, 0, 0]),
            (Error::TooBig { mtu: 0x0001_0500 }, [2, 0, 0, 0, 0, 1, 5, 0]),
        ] {
            assert_eq!(message_v6(error, b"quoted"), [&header[..], b"quoted"].concat());
        }
    }

    #[test]
    fn another_implementation_reads_them() {
        use icmpv4::DestUnreachableHeader as V4;
        use icmpv6::DestUnreachableCode as V6;
        let v4 = |error| {
            let message = message_v4(error, &QUOTED);
            let slice = etherparse::Icmpv4Slice::from_slice(&message).unwrap();
            assert_eq!(slice.payload(), QUOTED);
            assert_eq!(slice.checksum(), slice.icmp_type().calc_checksum(&QUOTED));
            slice.icmp_type()
        };
        let unreachable = Icmpv4Type::DestinationUnreachable;
        let exceeded = icmpv4::TimeExceededCode::TtlExceededInTransit;
        assert_eq!(v4(Error::TimeExceeded), Icmpv4Type::TimeExceeded(exceeded));
        assert_eq!(v4(NO_ROUTE), unreachable(V4::Network));
        assert_eq!(v4(HOST), unreachable(V4::Host));
        assert_eq!(v4(PROHIBITED), unreachable(V4::FilterProhibited));
        assert_eq!(v4(TOO_BIG), unreachable(V4::FragmentationNeeded { next_hop_mtu: 1400 }));

        let v6 = |error| {
            let message = message_v6(error, &QUOTED);
            let slice = etherparse::Icmpv6Slice::from_slice(&message).unwrap();
            assert_eq!(slice.payload(), QUOTED);
            slice.icmp_type()
        };
        let exceeded = icmpv6::TimeExceededCode::HopLimitExceeded;
        assert_eq!(v6(Error::TimeExceeded), Icmpv6Type::TimeExceeded(exceeded));
        assert_eq!(v6(NO_ROUTE), Icmpv6Type::DestinationUnreachable(V6::NoRoute));
        assert_eq!(v6(HOST), Icmpv6Type::DestinationUnreachable(V6::Address));
        assert_eq!(v6(PROHIBITED), Icmpv6Type::DestinationUnreachable(V6::Prohibited));
        assert_eq!(v6(TOO_BIG), Icmpv6Type::PacketTooBig { mtu: 1400 });
    }

    #[test]
    fn quotes_no_more_than_fits() {
        for (quoted, v4, v6) in [
            (0, 8, 8),
            (1, 9, 9),
            (548, 556, 556),
            (549, 556, 557),
            (1232, 556, 1240),
            (1233, 556, 1240),
            (9000, 556, 1240),
        ] {
            let packet = vec![7; quoted];
            assert_eq!(message_v4(TOO_BIG, &packet).len(), v4);
            assert_eq!(message_v6(TOO_BIG, &packet).len(), v6);
        }
    }

    #[test]
    fn what_is_emitted_is_read_back() {
        for error in ALL {
            assert_eq!(parse_v4(&message_v4(error, &QUOTED)), Some((error, &QUOTED[..])));
            assert_eq!(parse_v6(&message_v6(error, &QUOTED)), Some((error, &QUOTED[..])));
        }
        let huge = Error::TooBig { mtu: 70_000 };
        assert_eq!(parse_v6(&message_v6(huge, &[])), Some((huge, &[][..])));
        let most = Error::TooBig { mtu: 65_535 };
        assert_eq!(parse_v4(&message_v4(huge, &[])), Some((most, &[][..])));
    }

    #[test]
    fn messages_that_are_cut_short_are_not_read() {
        for error in ALL {
            let (v4, v6) = (message_v4(error, &[]), message_v6(error, &[]));
            for length in 0..8 {
                assert_eq!(parse_v4(&v4[..length]), None);
                assert_eq!(parse_v6(&v6[..length]), None);
            }
        }
        let mut wrong = message_v4(HOST, &QUOTED);
        wrong[20] ^= 1;
        assert_eq!(parse_v4(&wrong), None, "the checksum is wrong");
    }

    /// Every type and code, beside what is said here and nowhere else.
    #[test]
    fn other_messages_are_not_taken_for_errors() {
        for (kind, code) in (0..=255u8).flat_map(|kind| (0..=255u8).map(move |code| (kind, code))) {
            let check = !u16::from_be_bytes([kind, code]);
            let [high, low] = check.to_be_bytes();
            let v4 = parse_v4(&[kind, code, high, low, 0, 0, 0, 0]).map(|(error, _)| error);
            let expected = match (kind, code) {
                (11, 0) => Some(Error::TimeExceeded),
                (3, 0 | 6 | 11) => Some(NO_ROUTE),
                (3, 1 | 7 | 12) => Some(HOST),
                (3, 9 | 10 | 13) => Some(PROHIBITED),
                (3, 4) => Some(Error::TooBig { mtu: 0 }),
                _ => None,
            };
            assert_eq!(v4, expected, "ICMP {kind}, {code}");
            let v6 = parse_v6(&[kind, code, 1, 2, 0, 0, 5, 0]).map(|(error, _)| error);
            let expected = match (kind, code) {
                (3, 0) => Some(Error::TimeExceeded),
                (1, 0) => Some(NO_ROUTE),
                (1, 3) => Some(HOST),
                (1, 1 | 5 | 6) => Some(PROHIBITED),
                (2, _) => Some(Error::TooBig { mtu: 1280 }),
                _ => None,
            };
            assert_eq!(v6, expected, "ICMPv6 {kind}, {code}");
        }
    }
}

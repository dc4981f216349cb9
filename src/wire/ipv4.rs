//! The IPv4 header (RFC 791).
//!
//! ```text
//!  0               1               2               3
//! |Version|  IHL  |      TOS      |         Total Length          |
//! |         Identification        |Flags|     Fragment Offset     |
//! |  Time to Live |    Protocol   |        Header Checksum        |
//! |                        Source Address                         |
//! |                      Destination Address                      |
//! |                    Options, up to 40 octets                   |
//! ```

use std::net::Ipv4Addr;

use super::checksum::{self, Sum};
use super::{read_u16, read_u32};

/// Length of a header without options, in octets.
pub const HEADER_LEN: usize = 20;
/// The longest header, in octets.
pub const HEADER_LEN_MAX: usize = 60;

/// Protocol numbers this product names.
pub mod protocol {
    #![allow(missing_docs)]
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const UDP_LITE: u8 = 136;
}

/// Offsets of fields that are rewritten in place.
pub(crate) mod field {
    pub(crate) const TRAFFIC_CLASS: usize = 1;
    pub(crate) const TOTAL_LENGTH: usize = 2;
    pub(crate) const FLAGS: usize = 6;
    pub(crate) const TTL: usize = 8;
    pub(crate) const PROTOCOL: usize = 9;
    pub(crate) const CHECKSUM: usize = 10;
    pub(crate) const SOURCE: usize = 12;
    pub(crate) const DESTINATION: usize = 16;
}

/// The bytes are not an IPv4 packet that a router may forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed IPv4 header")]
pub struct Malformed;

/// A checked view of an IPv4 packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    fixed: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version, header length, total length (octets behind it are ignored, as they are
    /// link-layer padding), the header checksum, and that no option routes by source (LSRR,
    /// SSRR).
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        let Some(fixed) = bytes.first_chunk::<HEADER_LEN>() else { return Err(Malformed) };
        let header_len = usize::from(fixed[0] & 0xf) * 4;
        let total_len = usize::from(read_u16(fixed, field::TOTAL_LENGTH));
        let fits = header_len >= HEADER_LEN && total_len >= header_len && bytes.len() >= total_len;
        if fixed[0] >> 4 != 4 || !fits {
            return Err(Malformed);
        }
        let options = &bytes[HEADER_LEN..header_len];
        let mut sum = Sum::default().bytes(fixed);
        if !options.is_empty() {
            sum = sum.bytes(options);
        }
        if sum.checksum() != 0 || routes_by_source(options) {
            return Err(Malformed);
        }
        Ok(Packet { fixed, bytes: &bytes[..total_len] })
    }

    /// Length of the header with its options, in octets.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.fixed[0] & 0xf) * 4
    }

    /// Length of the whole packet, in octets.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether this is a fragment: more to come, or not the first.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        read_u16(self.fixed, 6) & 0x3fff != 0
    }

    /// Whether routers must not fragment it (DF).
    #[inline]
    pub fn forbids_fragments(&self) -> bool {
        self.fixed[field::FLAGS] & 0x40 != 0
    }

    /// The time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.fixed[field::TTL]
    }

    /// The protocol of the payload.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.fixed[field::PROTOCOL]
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        read_u32(self.fixed, field::SOURCE).into()
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        read_u32(self.fixed, field::DESTINATION).into()
    }

    /// What follows the header.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len()..]
    }
}

/// Whether the checksum of a header without options is right.
#[inline(always)]
pub(crate) fn is_checked(header: &[u8]) -> bool {
    header.first_chunk::<HEADER_LEN>().is_some_and(|header| checksum::checksum(header) == 0)
}

/// The destination in an IPv4 header, however little of the packet there is behind it.
pub(crate) fn destination(header: &[u8]) -> Option<Ipv4Addr> {
    (header.len() >= HEADER_LEN).then(|| read_u32(header, field::DESTINATION).into())
}

/// Whether IPv4 options hold a loose (131) or strict (137) source route, or are cut short.
fn routes_by_source(mut options: &[u8]) -> bool {
    while let [kind, rest @ ..] = options {
        match (kind, rest) {
            (0, _) => return false,
            (1, _) => options = rest,
            (131 | 137, _) => return true,
            (_, [length, ..]) if *length >= 2 && usize::from(*length) <= options.len() => {
                options = &options[usize::from(*length)..];
            }
            _ => return true,
        }
    }
    false
}

/// The octets from the TTL to the end of the checksum of a checked header whose TTL, not 0, is one
/// lower (RFC 1624).
#[inline]
pub(crate) fn lowered(header: &[u8]) -> [u8; 4] {
    let Some(header) = header.first_chunk::<HEADER_LEN>() else { return [0; 4] };
    let old = read_u16(header, field::TTL);
    let new = old.wrapping_sub(0x100);
    let check = read_u16(header, field::CHECKSUM);
    let sum = Sum::default().word(!check).word(!old).word(new);
    let ([a, b], [c, d]) = (new.to_be_bytes(), sum.checksum().to_be_bytes());
    [a, b, c, d]
}

/// What copies of a checked header share that lead elsewhere with another payload, found out once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readdressing {
    total_len: u16,
    ttl_and_protocol: u16,
    /// What the checksum is the complement of, without the destination.
    others: Sum,
}

impl Readdressing {
    /// Of copies of `header` with this total length, TTL and protocol.
    #[inline]
    pub(crate) fn new(header: &[u8], total_len: u16, ttl: u8, protocol: u8) -> Readdressing {
        let ttl_and_protocol = u16::from_be_bytes([ttl, protocol]);
        let Some(header) = header.first_chunk::<HEADER_LEN>() else {
            return Readdressing::default();
        };
        let old = read_u32(header, field::DESTINATION);
        let others = Sum::default()
            .word(!read_u16(header, field::CHECKSUM))
            .word(!read_u16(header, field::TOTAL_LENGTH))
            .word(!read_u16(header, field::TTL))
            .double(!old)
            .word(total_len)
            .word(ttl_and_protocol);
        Readdressing { total_len, ttl_and_protocol, others }
    }

    /// Makes a copy of the header lead to `destination`.
    #[inline]
    pub(crate) fn apply(&self, header: &mut [u8], destination: Ipv4Addr) {
        let Some(header) = header.first_chunk_mut::<HEADER_LEN>() else { return };
        let check = self.others.double(destination.to_bits()).checksum();
        header[field::TOTAL_LENGTH..][..2].copy_from_slice(&self.total_len.to_be_bytes());
        header[field::TTL..][..2].copy_from_slice(&self.ttl_and_protocol.to_be_bytes());
        header[field::CHECKSUM..][..2].copy_from_slice(&check.to_be_bytes());
        header[field::DESTINATION..][..4].copy_from_slice(&destination.octets());
    }
}

/// Gives a checked packet another DSCP, keeping its ECN bits and repairing the checksum.
pub(crate) fn set_dscp(packet: &mut [u8], dscp: u8) {
    set_traffic_class(packet, dscp << 2 | packet[field::TRAFFIC_CLASS] & 0b11);
}

/// Gives a checked packet another DS and ECN octet, repairing the checksum.
pub(crate) fn set_traffic_class(packet: &mut [u8], traffic_class: u8) {
    let old = Sum::default().word(read_u16(packet, 0));
    packet[field::TRAFFIC_CLASS] = traffic_class;
    let new = Sum::default().word(read_u16(packet, 0));
    let check = checksum::update(read_u16(packet, field::CHECKSUM), old, new);
    packet[field::CHECKSUM..field::CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
}

/// Gives a checked packet another TTL, repairing the checksum.
pub(crate) fn set_ttl(packet: &mut [u8], ttl: u8) {
    let old = Sum::default().word(read_u16(packet, field::TTL));
    packet[field::TTL] = ttl;
    let new = Sum::default().word(read_u16(packet, field::TTL));
    let check = checksum::update(read_u16(packet, field::CHECKSUM), old, new);
    packet[field::CHECKSUM..field::CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
}

/// Gives a checked packet another destination, repairing the checksum.
pub(crate) fn set_destination(packet: &mut [u8], destination: Ipv4Addr) {
    let (at, octets) = (field::DESTINATION, destination.octets());
    let old = Sum::default().bytes(&packet[at..at + 4]);
    packet[at..at + 4].copy_from_slice(&octets);
    let check =
        checksum::update(read_u16(packet, field::CHECKSUM), old, Sum::default().bytes(&octets));
    packet[field::CHECKSUM..field::CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
}

/// Gives a checked packet another total length, repairing the checksum.
pub(crate) fn set_total_len(packet: &mut [u8], length: u16) {
    let old = Sum::default().word(read_u16(packet, field::TOTAL_LENGTH));
    packet[field::TOTAL_LENGTH..field::TOTAL_LENGTH + 2].copy_from_slice(&length.to_be_bytes());
    let check =
        checksum::update(read_u16(packet, field::CHECKSUM), old, Sum::default().word(length));
    packet[field::CHECKSUM..field::CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
}

/// Makes the header of `header_len` octets that of a fragment with `payload_len` octets from octet
/// `offset`, a multiple of 8, on; `more` follow.
pub(crate) fn make_fragment(
    packet: &mut [u8],
    header_len: usize,
    payload_len: u16,
    offset: u16,
    more: bool,
) {
    const MORE_FRAGMENTS: u16 = 0x2000;
    let flags = (offset / 8) | if more { MORE_FRAGMENTS } else { 0 };
    packet[field::FLAGS..field::FLAGS + 2].copy_from_slice(&flags.to_be_bytes());
    let total = header_len as u16 + payload_len;
    packet[field::TOTAL_LENGTH..field::TOTAL_LENGTH + 2].copy_from_slice(&total.to_be_bytes());
    fill_checksum(packet, header_len);
}

/// Replaces the options of a header by "no operation" that later fragments must not have (RFC 791
/// section 3.1: those without the copied flag). The header was checked.
pub(crate) fn blank_uncopied_options(header: &mut [u8]) {
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut at = HEADER_LEN;
    while at < header.len() && header[at] != 0 {
        let length = match header[at] {
            NO_OPERATION => 1,
            _ => usize::from(header.get(at + 1).copied().unwrap_or(0)).max(2),
        };
        let end = header.len().min(at + length);
        if header[at] & COPIED == 0 {
            header[at..end].fill(NO_OPERATION);
        }
        at = end;
    }
}

/// Fills in the header checksum of a packet whose header is `header_len` octets.
pub(crate) fn fill_checksum(packet: &mut [u8], header_len: usize) {
    packet[field::CHECKSUM..field::CHECKSUM + 2].fill(0);
    let check = checksum::checksum(&packet[..header_len]);
    packet[field::CHECKSUM..field::CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
}

/// An IPv4 header without options, to be emitted. DF is always set: what this product originates
/// is never fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// The DS and ECN octet.
    pub traffic_class: u8,
    /// Time to live.
    pub ttl: u8,
    /// Length of the payload in octets, at most 65,515.
    pub payload_len: u16,
}

impl Repr {
    /// Writes the header, checksum included, into the first 20 octets of `buffer`.
    pub fn emit(&self, buffer: &mut [u8]) {
        let total = HEADER_LEN as u16 + self.payload_len;
        buffer[..HEADER_LEN].fill(0);
        buffer[0] = 0x45;
        buffer[1] = self.traffic_class;
        buffer[2..4].copy_from_slice(&total.to_be_bytes());
        buffer[6] = 0x40;
        buffer[field::TTL] = self.ttl;
        buffer[field::PROTOCOL] = self.protocol;
        buffer[12..16].copy_from_slice(&self.source.octets());
        buffer[16..20].copy_from_slice(&self.destination.octets());
        fill_checksum(buffer, HEADER_LEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand: 10.0.0.1 -> 224.0.0.254, protocol 253, TTL 64, DF, 4 octets of payload.
    const GOLDEN: [u8; 24] = [
        0x45, 0x00, 0x00, 0x18, 0x00, 0x00, 0x40, 0x00, 0x40, 0xfd, 0x4e, 0xea, 10, 0, 0, 1, 224,
        0, 0, 254, 1, 2, 3, 4,
    ];

    fn golden_repr() -> Repr {
        Repr {
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(224, 0, 0, 254),
            protocol: 253,
            traffic_class: 0,
            ttl: 64,
            payload_len: 4,
        }
    }

    #[test]
    fn emits_and_reads_golden_bytes() {
        let mut bytes = GOLDEN;
        bytes[..20].fill(0xaa);
        golden_repr().emit(&mut bytes);
        assert_eq!(bytes, GOLDEN);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.source(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(packet.destination(), Ipv4Addr::new(224, 0, 0, 254));
        assert_eq!((packet.protocol(), packet.ttl(), packet.is_fragment()), (253, 64, false));
        assert_eq!(packet.payload(), [1, 2, 3, 4]);
    }

    #[test]
    fn agrees_with_another_implementation() {
        let (header, rest) = etherparse::Ipv4Header::from_slice(&GOLDEN).unwrap();
        assert_eq!(header.calc_header_checksum(), 0x4eea);
        assert_eq!((header.source, rest), ([10, 0, 0, 1], &[1u8, 2, 3, 4][..]));
    }

    #[test]
    fn ignores_link_layer_padding() {
        let mut padded = GOLDEN.to_vec();
        padded.extend([0; 22]);
        assert_eq!(Packet::parse(&padded).unwrap().total_len(), 24);
    }

    #[test]
    fn refuses_every_broken_header() {
        for length in 0..GOLDEN.len() {
            assert!(Packet::parse(&GOLDEN[..length]).is_err(), "cut to {length}");
        }
        for (at, value) in [(0, 0x65), (0, 0x44), (3, 19), (3, 25), (10, 0), (12, 11)] {
            let mut bytes = GOLDEN;
            bytes[at] = value;
            assert!(Packet::parse(&bytes).is_err(), "octet {at} = {value}");
        }
    }

    #[test]
    fn refuses_source_routes_and_broken_options() {
        for (options, ok) in [
            ([1, 1, 1, 0], true),
            ([0, 131, 3, 4], true), // behind the end of the list
            ([7, 3, 4, 1], true),   // record route
            ([131, 3, 4, 0], false),
            ([1, 137, 3, 4], false),
            ([7, 5, 4, 0], false), // longer than the header
            ([7, 1, 4, 0], false), // shorter than itself
            ([1, 1, 1, 7], false), // no length
        ] {
            let mut bytes = GOLDEN.to_vec();
            bytes.splice(20..20, options);
            bytes[0] = 0x46;
            bytes[3] += 4;
            fill_checksum(&mut bytes, 24);
            assert_eq!(Packet::parse(&bytes).is_ok(), ok, "{options:?}");
        }
    }

    #[test]
    fn lowering_the_ttl_keeps_the_checksum_right() {
        let mut bytes = GOLDEN;
        for ttl in (0..64).rev() {
            let octets = lowered(&bytes);
            bytes[field::TTL..][..4].copy_from_slice(&octets);
            assert_eq!(Packet::parse(&bytes).unwrap().ttl(), ttl);
        }
    }

    #[test]
    fn sees_fragments() {
        for (flags, fragment) in [(0x4000u16, false), (0x2000, true), (0x0001, true), (0, false)] {
            let mut bytes = GOLDEN;
            bytes[6..8].copy_from_slice(&flags.to_be_bytes());
            fill_checksum(&mut bytes, 20);
            assert_eq!(Packet::parse(&bytes).unwrap().is_fragment(), fragment);
        }
    }
}

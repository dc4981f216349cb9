//! The IPv6 header and its extension headers (RFC 8200), as far as a router needs them.
//!
//! ```text
//!  0               1               2               3
//! |Version| Traffic Class |              Flow Label               |
//! |        Payload Length         |  Next Header  |   Hop Limit   |
//! |                     Source Address, 16 octets                 |
//! |                  Destination Address, 16 octets               |
//! ```

use std::net::Ipv6Addr;

use super::{read_address, read_u16};

/// Length of the header in octets, without extension headers.
pub const HEADER_LEN: usize = 40;

/// The Next Header numbers that exist in IPv6 alone; the others are
/// [`ipv4::protocol`](super::ipv4::protocol)'s.
pub mod next_header {
    #![allow(missing_docs)]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT_HEADER: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// Offsets of fields that are rewritten in place.
pub(crate) mod field {
    pub(crate) const PAYLOAD_LENGTH: usize = 4;
    pub(crate) const NEXT_HEADER: usize = 6;
    pub(crate) const HOP_LIMIT: usize = 7;
    pub(crate) const SOURCE: usize = 8;
    pub(crate) const DESTINATION: usize = 24;
}

/// The padding options (RFC 8200 section 4.2).
pub(super) const PAD_1: u8 = 0;
pub(super) const PAD_N: u8 = 1;

/// The bytes are not an IPv6 packet that a router may forward, or not a list of options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed IPv6 header")]
pub struct Malformed;

/// A checked view of an IPv6 packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version and payload length (octets behind it are ignored, as they are link-layer
    /// padding). Jumbograms (RFC 2675: payload length 0 in front of a Hop-by-Hop header) are
    /// malformed. Extension headers are not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        if bytes.len() < HEADER_LEN || bytes[0] >> 4 != 6 {
            return Err(Malformed);
        }
        let payload_len = usize::from(read_u16(bytes, field::PAYLOAD_LENGTH));
        if payload_len == 0 && bytes[field::NEXT_HEADER] == next_header::HOP_BY_HOP {
            return Err(Malformed);
        }
        let bytes = bytes.get(..HEADER_LEN + payload_len).ok_or(Malformed)?;
        Ok(Packet { bytes })
    }

    /// Length of the whole packet, in octets.
    pub fn total_len(&self) -> usize {
        self.bytes.len()
    }

    /// The DS and ECN octet.
    pub fn traffic_class(&self) -> u8 {
        traffic_class(self.bytes)
    }

    /// The hop limit.
    pub fn hop_limit(&self) -> u8 {
        self.bytes[field::HOP_LIMIT]
    }

    /// What the payload begins with: an extension header or a protocol.
    pub fn next_header(&self) -> u8 {
        self.bytes[field::NEXT_HEADER]
    }

    /// The source address.
    pub fn source(&self) -> Ipv6Addr {
        read_address(self.bytes, field::SOURCE)
    }

    /// The destination address.
    pub fn destination(&self) -> Ipv6Addr {
        read_address(self.bytes, field::DESTINATION)
    }

    /// What follows the fixed header: extension headers, if any, and the transport.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }
}

/// The destination in an IPv6 header, however little of the packet there is behind it.
pub(crate) fn destination(header: &[u8]) -> Option<Ipv6Addr> {
    (header.len() >= HEADER_LEN).then(|| read_address(header, field::DESTINATION))
}

/// Lowers the hop limit of a checked packet by one. It must not be 0.
pub(crate) fn decrement_hop_limit(packet: &mut [u8]) {
    packet[field::HOP_LIMIT] -= 1;
}

/// Gives a packet another hop limit.
pub(crate) fn set_hop_limit(packet: &mut [u8], hop_limit: u8) {
    packet[field::HOP_LIMIT] = hop_limit;
}

/// Gives a packet another payload length.
pub(crate) fn set_payload_len(packet: &mut [u8], length: u16) {
    packet[field::PAYLOAD_LENGTH..field::PAYLOAD_LENGTH + 2].copy_from_slice(&length.to_be_bytes());
}

/// Gives a checked packet another DSCP, keeping its ECN bits.
pub(crate) fn set_dscp(packet: &mut [u8], dscp: u8) {
    set_traffic_class(packet, dscp << 2 | traffic_class(packet) & 0b11);
}

/// Gives a checked packet another DS and ECN octet, which spans octets 0 and 1.
pub(crate) fn set_traffic_class(packet: &mut [u8], traffic_class: u8) {
    packet[0] = packet[0] & 0xf0 | traffic_class >> 4;
    packet[1] = traffic_class << 4 | packet[1] & 0x0f;
}

fn traffic_class(packet: &[u8]) -> u8 {
    packet[0] << 4 | packet[1] >> 4
}

/// Length in octets of the extension header (Hop-by-Hop, Routing or Destination Options) that
/// `header` begins with, if all of it is there.
pub(crate) fn extension_len(header: &[u8]) -> Option<usize> {
    let length = (usize::from(*header.get(1)?) + 1) * 8;
    (length <= header.len()).then_some(length)
}

/// The options of a Hop-by-Hop or Destination Options header, whose first two octets `area`
/// leaves out: for each its offset in `area`, its kind and its data. Padding, Pad1 and PadN, is
/// skipped. An option that is cut short is one error, and the end.
pub fn options(area: &[u8]) -> impl Iterator<Item = Result<(usize, u8, &[u8]), Malformed>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let option_at = at;
            match area.get(at..)? {
                [] => return None,
                [PAD_1, ..] => at += 1,
                [kind, length, rest @ ..] if rest.len() >= usize::from(*length) => {
                    at += 2 + usize::from(*length);
                    if *kind != PAD_N {
                        return Some(Ok((option_at, *kind, &rest[..usize::from(*length)])));
                    }
                }
                _ => {
                    at = area.len();
                    return Some(Err(Malformed));
                }
            }
        }
    })
}

/// An IPv6 header to be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// What the payload begins with: an extension header or a protocol.
    pub next_header: u8,
    /// The DS and ECN octet.
    pub traffic_class: u8,
    /// The flow label, of which the low 20 bits count (RFC 6437); 0 = none.
    pub flow_label: u32,
    /// Hop limit.
    pub hop_limit: u8,
    /// Length of the payload in octets, extension headers included.
    pub payload_len: u16,
}

impl Repr {
    /// Writes the header into the first 40 octets of `buffer`.
    pub fn emit(&self, buffer: &mut [u8]) {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        buffer[..4].copy_from_slice(&first.to_be_bytes());
        buffer[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        buffer[field::NEXT_HEADER] = self.next_header;
        buffer[field::HOP_LIMIT] = self.hop_limit;
        buffer[8..24].copy_from_slice(&self.source.octets());
        buffer[24..HEADER_LEN].copy_from_slice(&self.destination.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By hand: 2001:db8::1 -> ff02::114, Routing header, DSCP EF, ECT(1), flow label 0xabcde,
    /// hop limit 64, 4 octets of payload.
    #[rustfmt::skip]
    const GOLDEN: [u8; 44] = [
        0x6b, 0x9a, 0xbc, 0xde,
        0, 4, 43, 64,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x14,
        1, 2, 3, 4,
    ];

    fn golden_repr() -> Repr {
        Repr {
            source: "2001:db8::1".parse().unwrap(),
            destination: "ff02::114".parse().unwrap(),
            next_header: next_header::ROUTING,
            traffic_class: 0xb9,
            flow_label: 0xabcde,
            hop_limit: 64,
            payload_len: 4,
        }
    }

    #[test]
    fn emits_and_reads_golden_bytes() {
        let mut bytes = GOLDEN;
        bytes[..40].fill(0xaa);
        golden_repr().emit(&mut bytes);
        assert_eq!(bytes, GOLDEN);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.source(), golden_repr().source);
        assert_eq!(packet.destination(), golden_repr().destination);
        assert_eq!((packet.traffic_class(), packet.hop_limit()), (0xb9, 64));
        assert_eq!((packet.next_header(), packet.total_len()), (43, 44));
        assert_eq!(packet.payload(), [1, 2, 3, 4]);
        assert_eq!(destination(&bytes[..40]), Some(golden_repr().destination));
        assert_eq!(destination(&bytes[..39]), None);
    }

    #[test]
    fn agrees_with_another_implementation() {
        let (header, rest) = etherparse::Ipv6Header::from_slice(&GOLDEN).unwrap();
        assert_eq!((header.traffic_class, header.flow_label.value()), (0xb9, 0xabcde));
        assert_eq!((header.next_header.0, header.hop_limit, header.payload_length), (43, 64, 4));
        assert_eq!((header.source_addr(), rest), (golden_repr().source, &[1u8, 2, 3, 4][..]));
        assert_eq!(header.destination_addr(), golden_repr().destination);
    }

    #[test]
    fn a_flow_label_that_is_too_long_spoils_nothing() {
        let mut bytes = [0; 40];
        Repr { flow_label: 0xfff_abcde, ..golden_repr() }.emit(&mut bytes);
        assert_eq!(bytes, GOLDEN[..40]);
    }

    #[test]
    fn ignores_link_layer_padding() {
        let padded = [&GOLDEN[..], &[0; 22]].concat();
        assert_eq!(Packet::parse(&padded).unwrap().total_len(), 44);
    }

    #[test]
    fn refuses_every_broken_header() {
        for length in 0..GOLDEN.len() {
            assert!(Packet::parse(&GOLDEN[..length]).is_err(), "cut to {length}");
        }
        for (at, value) in [(0, 0x4b), (4, 1), (5, 5)] {
            let mut bytes = GOLDEN;
            bytes[at] = value;
            assert!(Packet::parse(&bytes).is_err(), "octet {at} = {value}");
        }
    }

    #[test]
    fn an_empty_payload_is_one_unless_it_may_be_a_jumbogram() {
        let mut bytes = GOLDEN;
        (bytes[5], bytes[6]) = (0, next_header::NO_NEXT_HEADER);
        assert!(Packet::parse(&bytes).unwrap().payload().is_empty());
        bytes[6] = next_header::HOP_BY_HOP;
        assert_eq!(Packet::parse(&bytes).unwrap_err(), Malformed);
        bytes[5] = 4;
        assert!(Packet::parse(&bytes).is_ok(), "the header behind is not looked at");
    }

    #[test]
    fn fields_are_rewritten_alone() {
        let mut bytes = GOLDEN;
        decrement_hop_limit(&mut bytes);
        set_dscp(&mut bytes, 0b01_0010);
        assert_eq!(bytes[..8], [0x64, 0x9a, 0xbc, 0xde, 0, 4, 43, 63]); // 010010 01
        set_traffic_class(&mut bytes, 0xfe);
        assert_eq!(bytes[..4], [0x6f, 0xea, 0xbc, 0xde]);
        assert_eq!(bytes[8..], GOLDEN[8..]);
    }

    #[test]
    fn knows_how_long_an_extension_header_is() {
        for (length, expected) in [(0, None), (1, None), (15, None), (16, Some(16)), (17, Some(16))]
        {
            let mut header = vec![0; length];
            if let Some(octet) = header.get_mut(1) {
                *octet = 1;
            }
            assert_eq!(extension_len(&header), expected);
        }
    }

    #[test]
    fn reads_options_and_skips_padding() {
        type Read<'a> = Result<(usize, u8, &'a [u8]), Malformed>;
        fn read(area: &[u8]) -> Vec<Read<'_>> {
            options(area).collect()
        }
        let area = [0, 5, 2, 0, 0, 1, 1, 9, 0, 0x5e, 0];
        assert_eq!(read(&area), [Ok((1, 5, &[0u8, 0][..])), Ok((9, 0x5e, &[]))]);
        assert_eq!(read(&[]), []);
        assert_eq!(read(&[0, 0, 1, 2, 0, 0]), []);
        assert_eq!(read(&[5, 0, 7]), [Ok((0, 5, &[][..])), Err(Malformed)]); // no length
        assert_eq!(read(&[5, 3, 0, 0]), [Err(Malformed)]); // data cut short
        assert_eq!(read(&[1, 255, 5, 0]), [Err(Malformed)]); // padding cut short
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_read_by_another_implementation(
            addresses in any::<[u128; 2]>(),
            octets in any::<[u8; 3]>(),
            flow_label in 0u32..1 << 20,
            payload_len in any::<u16>(),
        ) {
            let [next_header, traffic_class, hop_limit] = octets;
            let [source, destination] = addresses.map(Ipv6Addr::from_bits);
            let repr = Repr {
                source, destination, next_header, traffic_class, flow_label, hop_limit, payload_len
            };
            let mut bytes = [0xaa; 40];
            repr.emit(&mut bytes);
            let (header, _) = etherparse::Ipv6Header::from_slice(&bytes).unwrap();
            prop_assert_eq!(header.to_bytes(), bytes);
            prop_assert_eq!(repr, Repr {
                source: header.source_addr(),
                destination: header.destination_addr(),
                next_header: header.next_header.0,
                traffic_class: header.traffic_class,
                flow_label: header.flow_label.value(),
                hop_limit: header.hop_limit,
                payload_len: header.payload_length,
            });
        }

        #[test]
        fn no_options_make_it_panic_or_run_on(
            area in proptest::collection::vec(prop_oneof![0u8..6, any::<u8>()], 0..80),
        ) {
            let mut end = 0;
            for (at, _, data) in options(&area).map_while(Result::ok) {
                prop_assert!(at >= end);
                end = at + 2 + data.len();
                prop_assert_eq!(&area[at + 2..end], data);
            }
            prop_assert!(options(&area).count() <= area.len());
        }
    }
}

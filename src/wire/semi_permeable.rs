//! The envelope of a semi-permeable tunnel (RFC 5058 section 11.3, figure 11; WIRE.md "Tunnels"): an
//! IPv6 header to one of the destinations and a Hop-by-Hop header, in front of a packet of Xcast6.
//! Nodes that do not know its option pass over it (RFC 8200 section 4.2: its high bits are 00).
//!
//! ```text
//! | IPv6 header, next header 0, 40 octets                                          |
//! | next header 41 | HdrExtLen 0 | option, length 0 | PadN, length 2: 01 02 00 00  |
//! | IPv6 header of the inner packet ...
//! ```

use std::net::Ipv6Addr;

use super::ipv6::{self, HEADER_LEN, PAD_N, field, next_header};
use super::tunnel::PROTOCOL_IPV6;

/// How many octets an envelope costs.
pub const OVERHEAD: usize = HEADER_LEN + 8;

/// What stands on an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender of the packet in it.
    pub source: Ipv6Addr,
    /// One of its live destinations, mostly the first.
    pub destination: Ipv6Addr,
    /// The outer hop limit.
    pub hop_limit: u8,
    /// The outer DS and ECN octet.
    pub traffic_class: u8,
}

/// How the Hop-by-Hop header of an envelope begins, whose option is `option`; padding follows.
pub(crate) const fn opening(option: u8) -> [u8; 4] {
    [PROTOCOL_IPV6, 0, option, 0]
}

/// Whether the octets begin with an envelope whose option is `option`. What is in it, and whether the
/// outer lengths are right, is not looked at.
#[inline]
pub(crate) fn is_envelope(option: u8, packet: &[u8]) -> bool {
    packet.len() >= OVERHEAD
        && packet[0] >> 4 == 6
        && packet[field::NEXT_HEADER] == next_header::HOP_BY_HOP
        && packet[HEADER_LEN..HEADER_LEN + 4] == opening(option)
}

/// What stands on the envelope that a packet begins with: a whole one, of the lengths that it says.
/// `None` if it has none.
pub fn read(option: u8, packet: &[u8]) -> Option<Envelope> {
    let ip = ipv6::Packet::parse(packet).ok()?;
    if !is_envelope(option, &packet[..ip.total_len()]) {
        return None;
    }
    Some(Envelope {
        source: ip.source(),
        destination: ip.destination(),
        hop_limit: ip.hop_limit(),
        traffic_class: ip.traffic_class(),
    })
}

impl Envelope {
    /// Writes it into the first [`OVERHEAD`] octets of `buffer`, for a packet of `inner_len` octets.
    pub fn emit(&self, option: u8, inner_len: usize, buffer: &mut [u8]) {
        let header = ipv6::Repr {
            source: self.source,
            destination: self.destination,
            next_header: next_header::HOP_BY_HOP,
            traffic_class: self.traffic_class,
            flow_label: 0,
            hop_limit: self.hop_limit,
            payload_len: (inner_len + OVERHEAD - HEADER_LEN) as u16,
        };
        header.emit(buffer);
        buffer[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&opening(option));
        buffer[HEADER_LEN + 4..OVERHEAD].copy_from_slice(&[PAD_N, 2, 0, 0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 2001:db8::a to 2001:db8::b, EF and ECT(0), hop limit 64, 40 octets inside.
    #[rustfmt::skip]
    const GOLDEN: [u8; OVERHEAD] = [
        0x6b, 0xa0, 0, 0,
        0, 48, 0, 64,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b,
        41, 0, 0x1e, 0, 1, 2, 0, 0,
    ];

    fn golden() -> Envelope {
        Envelope {
            source: "2001:db8::a".parse().unwrap(),
            destination: "2001:db8::b".parse().unwrap(),
            hop_limit: 64,
            traffic_class: 0xba,
        }
    }

    #[test]
    fn emits_and_reads_golden_octets() {
        let mut octets = [0xaa; OVERHEAD];
        golden().emit(0x1e, 40, &mut octets);
        assert_eq!(octets, GOLDEN);
        let packet = [&GOLDEN[..], &[0; 40]].concat();
        assert_eq!(read(0x1e, &packet), Some(golden()));
    }

    #[test]
    fn what_is_not_quite_one_is_none() {
        let packet = [&GOLDEN[..], &[0; 40]].concat();
        assert_eq!(read(0x3e, &packet), None, "another option");
        for (at, octet) in [(0, 0x4b), (5, 49), (6, 60), (40, 17), (41, 1), (42, 1), (43, 1)] {
            let mut packet = packet.clone();
            packet[at] = octet;
            assert_eq!(read(0x1e, &packet), None, "octet {at} = {octet}");
        }
        for length in 0..packet.len() {
            assert_eq!(read(0x1e, &packet[..length]), None, "cut to {length}");
        }
    }

    #[test]
    fn its_options_are_ones_that_others_pass_over() {
        let options: Vec<_> = ipv6::options(&GOLDEN[42..]).collect();
        assert_eq!(options, [Ok((0, 0x1e, &[][..]))]);
        assert_eq!(0x1e >> 5, 0, "act 00, chg 0");
    }
}

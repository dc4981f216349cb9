//! The UDP header (RFC 768).
//!
//! ```text
//! |          Source Port          |       Destination Port        |
//! |            Length             |           Checksum            |
//! ```

use std::net::IpAddr;

use super::checksum::Sum;
use super::ipv4::protocol;

/// Length of the header in octets.
pub const HEADER_LEN: usize = 8;

/// A UDP header to be emitted in front of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub source_port: u16,
    /// Destination port; 0 in an Xcast packet that carries a list of ports.
    pub destination_port: u16,
}

impl Repr {
    /// Writes the header into the first 8 octets of `datagram`, whose rest is the payload, with
    /// the checksum over the pseudo-header of `source` and `destination` (in an Xcast packet the
    /// group, RFC 5058 section 9.1), which are of one family.
    ///
    /// # Panics
    /// If `datagram` is shorter than 8 or longer than 65,535 octets.
    pub fn emit(
        &self,
        datagram: &mut [u8],
        source: impl Into<IpAddr>,
        destination: impl Into<IpAddr>,
    ) {
        let length = u16::try_from(datagram.len()).expect("a datagram fits an IP packet");
        datagram[..2].copy_from_slice(&self.source_port.to_be_bytes());
        datagram[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        datagram[6..8].fill(0);
        let sum = pseudo_header(source.into(), destination.into(), length).bytes(datagram);
        // 0 means "no checksum", so a result of 0 travels as its other form.
        let check = match sum.checksum() {
            0 => 0xffff,
            check => check,
        };
        datagram[6..8].copy_from_slice(&check.to_be_bytes());
    }
}

/// Whether the checksum of a datagram is right, or absent. Over IPv6 it must not be absent
/// (RFC 8200 section 8.1).
pub fn checksum_valid(
    datagram: &[u8],
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
) -> bool {
    let Ok(length) = u16::try_from(datagram.len()) else {
        return false;
    };
    if datagram.len() < HEADER_LEN {
        return false;
    }
    let (source, destination) = (source.into(), destination.into());
    if datagram[6..8] == [0, 0] {
        return destination.is_ipv4();
    }
    pseudo_header(source, destination, length).bytes(datagram).checksum() == 0
}

/// Length and protocol are wider over IPv6 (RFC 8200 section 8.1), which adds nothing to a sum.
fn pseudo_header(source: IpAddr, destination: IpAddr, length: u16) -> Sum {
    let addresses = Sum::default().address(source).address(destination);
    addresses.word(u16::from(protocol::UDP)).word(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);

    #[test]
    fn emits_golden_bytes() {
        let mut datagram = [0, 0, 0, 0, 0, 0, 0, 0, b'h', b'i'];
        Repr { source_port: 5000, destination_port: 9000 }.emit(&mut datagram, SOURCE, GROUP);
        // By hand: 0a00+0001+e000+00fe+0011+000a + 1388+2328+000a+6869 = 0x18a3d, folded 8a3e.
        assert_eq!(datagram, [0x13, 0x88, 0x23, 0x28, 0, 10, 0x75, 0xc1, b'h', b'i']);
        assert!(checksum_valid(&datagram, SOURCE, GROUP));
        assert!(!checksum_valid(&datagram, GROUP, GROUP));
    }

    #[test]
    fn agrees_with_another_implementation() {
        for payload in [&b""[..], b"x", b"four", b"five5"] {
            let mut datagram = vec![0; 8];
            datagram.extend(payload);
            Repr { source_port: 1, destination_port: 0 }.emit(&mut datagram, SOURCE, GROUP);
            let oracle = etherparse::UdpHeader::with_ipv4_checksum(
                1,
                0,
                &etherparse::Ipv4Header::new(
                    datagram.len() as u16,
                    64,
                    17.into(),
                    SOURCE.octets(),
                    GROUP.octets(),
                )
                .unwrap(),
                payload,
            );
            assert_eq!(datagram[..8], oracle.unwrap().to_bytes());
        }
    }

    #[test]
    fn emits_golden_bytes_over_ipv6() {
        let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let group: Ipv6Addr = "ff02::114".parse().unwrap();
        let mut datagram = [0, 0, 0, 0, 0, 0, 0, 0, b'h', b'i'];
        Repr { source_port: 5000, destination_port: 9000 }.emit(&mut datagram, source, group);
        // By hand: 2001+0db8+0001+ff02+0114+000a+0011 + 1388+2328+000a+6869 = 0x1cd0e, folded cd0f.
        assert_eq!(datagram, [0x13, 0x88, 0x23, 0x28, 0, 10, 0x32, 0xf0, b'h', b'i']);
        assert!(checksum_valid(&datagram, source, group));
        assert!(!checksum_valid(&datagram, source, source));
        let oracle = etherparse::UdpHeader::with_ipv6_checksum(
            5000,
            9000,
            &etherparse::Ipv6Header {
                source: source.octets(),
                destination: group.octets(),
                ..etherparse::Ipv6Header::default()
            },
            b"hi",
        );
        assert_eq!(datagram[..8], oracle.unwrap().to_bytes());
    }

    #[test]
    fn a_checksum_may_be_absent_over_ipv4_alone() {
        let datagram = [0, 1, 0, 2, 0, 8, 0, 0];
        assert!(checksum_valid(&datagram, SOURCE, GROUP));
        assert!(!checksum_valid(&datagram, Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST));
        assert!(!checksum_valid(&datagram[..7], SOURCE, GROUP));
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_its_other_form() {
        // The two payload octets bring the sum to 0xffff.
        let mut datagram = [0; 10];
        Repr { source_port: 0, destination_port: 0 }.emit(&mut datagram, SOURCE, GROUP);
        let rest = u16::from_be_bytes([datagram[6], datagram[7]]);
        datagram[8..].copy_from_slice(&rest.to_be_bytes());
        Repr { source_port: 0, destination_port: 0 }.emit(&mut datagram, SOURCE, GROUP);
        assert_eq!(datagram[6..8], [0xff, 0xff]);
        assert!(checksum_valid(&datagram, SOURCE, GROUP));
    }
}

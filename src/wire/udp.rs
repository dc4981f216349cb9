//! The UDP header (RFC 768).
//!
//! ```text
//! |          Source Port          |       Destination Port        |
//! |            Length             |           Checksum            |
//! ```

use std::net::Ipv4Addr;

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
    /// group, RFC 5058 section 9.1).
    ///
    /// # Panics
    /// If `datagram` is shorter than 8 or longer than 65,535 octets.
    pub fn emit(&self, datagram: &mut [u8], source: Ipv4Addr, destination: Ipv4Addr) {
        let length = u16::try_from(datagram.len()).expect("a datagram fits an IPv4 packet");
        datagram[..2].copy_from_slice(&self.source_port.to_be_bytes());
        datagram[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        datagram[6..8].fill(0);
        let sum = pseudo_header(source, destination, length).bytes(datagram);
        // 0 means "no checksum", so a result of 0 travels as its other form.
        let check = match sum.checksum() {
            0 => 0xffff,
            check => check,
        };
        datagram[6..8].copy_from_slice(&check.to_be_bytes());
    }
}

/// Whether the checksum of a datagram is right, or absent.
pub fn checksum_valid(datagram: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> bool {
    let Ok(length) = u16::try_from(datagram.len()) else {
        return false;
    };
    let sum = pseudo_header(source, destination, length).bytes(datagram);
    datagram.len() >= HEADER_LEN && (datagram[6..8] == [0, 0] || sum.checksum() == 0)
}

fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, length: u16) -> Sum {
    let addresses = Sum::default().double(source.to_bits()).double(destination.to_bits());
    addresses.word(u16::from(protocol::UDP)).word(length)
}

#[cfg(test)]
mod tests {
    use super::*;

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

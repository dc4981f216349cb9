//! The transports that a packet may carry, with their checksums computed anew for any destination
//! (WIRE.md R7).

use std::net::IpAddr;

use super::message::checksum;

/// What follows the Xcast header.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) kind: Kind,
    /// The destination port that is in the Xcast form.
    pub(crate) port: u16,
    pub(crate) payload: Vec<u8>,
    /// Makes the checksum wrong by so much, which nobody may repair.
    pub(crate) error: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Udp {
        has_checksum: bool,
    },
    /// How much of the payload the checksum covers; `None`: all.
    UdpLite {
        covers: Option<usize>,
    },
    Tcp,
    /// How many 32-bit words of the payload the checksum covers; `None`: all.
    Dccp {
        covers: Option<u8>,
    },
    /// ICMP over IPv4, ICMPv6 over IPv6.
    Icmp {
        kind: u8,
    },
    /// Another protocol; the payload is all of it.
    Plain(u8),
    /// A transport header that ends too early; the payload is all of it.
    Cut(u8),
}

pub(crate) const ESP: u8 = 50;
pub(crate) const AH: u8 = 51;

impl Transport {
    pub(crate) fn protocol(&self, is_v6: bool) -> u8 {
        match self.kind {
            Kind::Udp { .. } => 17,
            Kind::UdpLite { .. } => 136,
            Kind::Tcp => 6,
            Kind::Dccp { .. } => 33,
            Kind::Icmp { .. } => {
                if is_v6 {
                    58
                } else {
                    1
                }
            }
            Kind::Plain(protocol) | Kind::Cut(protocol) => protocol,
        }
    }

    /// Whether a packet with this transport can become unicast.
    pub(crate) fn can_be_unicast(&self, is_v6: bool, has_ports: bool) -> bool {
        match self.kind {
            Kind::Udp { has_checksum } => has_checksum || !is_v6,
            Kind::UdpLite { .. } | Kind::Tcp | Kind::Dccp { .. } => true,
            Kind::Plain(AH | ESP) | Kind::Cut(_) => false,
            Kind::Icmp { .. } | Kind::Plain(_) => !has_ports,
        }
    }

    pub(crate) fn is_echo_request(&self, is_v6: bool) -> bool {
        self.kind == Kind::Icmp { kind: if is_v6 { 128 } else { 8 } }
    }

    pub(crate) fn is_icmp_error(&self, is_v6: bool) -> bool {
        match self.kind {
            Kind::Icmp { kind } if is_v6 => kind < 128,
            Kind::Icmp { kind } => [3, 4, 5, 11, 12].contains(&kind),
            _ => false,
        }
    }

    /// Where the checksum stands, if there is one.
    fn checksum_at(&self) -> Option<usize> {
        match self.kind {
            Kind::Udp { .. } | Kind::UdpLite { .. } | Kind::Dccp { .. } => Some(6),
            Kind::Tcp => Some(16),
            Kind::Icmp { .. } => Some(2),
            Kind::Plain(_) | Kind::Cut(_) => None,
        }
    }

    /// The checksum on the way from `source` to `destination`; 0 if there is none.
    pub(crate) fn checksum(&self, source: IpAddr, destination: IpAddr, port: u16) -> u16 {
        let bytes = self.bytes(source, destination, port);
        self.checksum_at().map_or(0, |at| u16::from_be_bytes([bytes[at], bytes[at + 1]]))
    }

    /// The bytes on their way from `source` to `destination`.
    pub(crate) fn bytes(&self, source: IpAddr, destination: IpAddr, port: u16) -> Vec<u8> {
        let mut bytes = 5000u16.to_be_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        let length = self.payload.len();
        let covered = match self.kind {
            Kind::Udp { .. } => {
                bytes.extend((8 + length as u16).to_be_bytes());
                bytes.extend([0, 0]);
                8 + length
            }
            Kind::UdpLite { covers } => {
                let coverage = covers.map_or(0, |covers| 8 + covers.min(length));
                bytes.extend((coverage as u16).to_be_bytes());
                bytes.extend([0, 0]);
                if coverage == 0 { 8 + length } else { coverage }
            }
            Kind::Tcp => {
                bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0]);
                20 + length
            }
            Kind::Dccp { covers } => {
                let coverage = covers.map_or(0, |words| words + 1);
                bytes.extend([4, coverage, 0, 0, 1, 0, 1, 2, 3, 4, 5, 6]);
                16 + covers.map_or(length, |words| length.min(4 * usize::from(words)))
            }
            Kind::Icmp { kind } => {
                bytes = vec![kind, 0, 0, 0, 0, 7, 0, 9];
                8 + length
            }
            Kind::Plain(_) | Kind::Cut(_) => return self.payload.clone(),
        };
        bytes.extend(&self.payload);
        if self.kind == (Kind::Udp { has_checksum: false }) {
            return bytes;
        }
        let protocol = self.protocol(source.is_ipv6());
        let mut summed = match (protocol, source, destination) {
            (1, ..) => Vec::new(), // ICMP over IPv4 has no pseudo-header
            (_, IpAddr::V4(source), IpAddr::V4(destination)) => {
                let length = (bytes.len() as u16).to_be_bytes();
                let last = [0, protocol, length[0], length[1]];
                [source.octets(), destination.octets(), last].concat()
            }
            (_, IpAddr::V6(source), IpAddr::V6(destination)) => {
                let length = (bytes.len() as u32).to_be_bytes();
                let mut header = [source.octets(), destination.octets()].concat();
                header.extend(length);
                header.extend([0, 0, 0, protocol]);
                header
            }
            _ => panic!("mixed addresses"),
        };
        summed.extend(self.error.to_be_bytes());
        summed.extend(&bytes[..covered]);
        let check = match (self.kind, checksum(&summed)) {
            (Kind::Udp { .. } | Kind::UdpLite { .. }, [0, 0]) => [0xff, 0xff],
            (_, check) => check,
        };
        if let Some(at) = self.checksum_at() {
            bytes[at..at + 2].copy_from_slice(&check);
        }
        bytes
    }
}

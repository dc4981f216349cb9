//! A message to many, and the packet that carries it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::forward::LINK_HEADER_LEN;
use crate::wire::ipv4::{self, protocol};
use crate::wire::ipv6::{self, next_header};
use crate::wire::{CodePoints, udp, xcast4, xcast6};

/// A receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Its address.
    pub address: IpAddr,
    /// Its UDP port.
    pub port: u16,
    /// A DSCP of its own; where any destination has one, those without have the message's.
    pub dscp: Option<u8>,
}

/// A datagram to a list of destinations.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Who is to get it, of either IP version. One that is listed twice gets it twice.
    pub destinations: &'a [Destination],
    /// The source address for destinations of its IP version; for others the one that the kernel
    /// prefers towards the first destination it can reach.
    pub source: Option<IpAddr>,
    /// The channel identifier (RFC 5058 section 8.3); 0 = none. IPv4 has room for 32 bits.
    pub channel: u128,
    /// Receivers and later routers do not learn of destinations they do not serve.
    pub anonymous: bool,
    /// The packet stays Xcast to its end: receivers must understand it.
    pub keep_xcast: bool,
    /// The six bits of the DSCP.
    pub dscp: u8,
    /// The time to live or hop limit, from 1.
    pub ttl: u8,
    /// What is sent.
    pub payload: &'a [u8],
}

impl Default for Message<'_> {
    fn default() -> Self {
        Message {
            destinations: &[],
            source: None,
            channel: 0,
            anonymous: false,
            keep_xcast: false,
            dscp: 0,
            ttl: 64,
            payload: &[],
        }
    }
}

/// Why a message cannot be put in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The list of destinations is empty or too long.
    #[error(transparent)]
    Xcast4(#[from] xcast4::Unwritable),
    /// The list of destinations is empty or too long.
    #[error(transparent)]
    Xcast6(#[from] xcast6::Unwritable),
    /// Headers and payload are longer than an IP packet can be.
    #[error("with {0} octets of payload the packet is longer than IP allows")]
    Payload(usize),
    /// One packet has addresses of one IP version.
    #[error("{0} and {1} cannot be in one packet")]
    Mixed(IpAddr, IpAddr),
    /// An Xcast4 header has room for a channel of 32 bits.
    #[error("a channel identifier of more than 32 bits does not fit an IPv4 packet")]
    Channel,
}

/// The source address that the kernel prefers towards a destination.
pub(crate) fn preferred_source(destination: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Chooses a route, sends nothing.
    socket.connect(SocketAddr::new(destination, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

impl Message<'_> {
    /// The length of the IP packet that lists `count` destinations of one IP version.
    pub(crate) fn packet_len(&self, is_v6: bool, count: usize, lists: Listed) -> usize {
        let datagram = udp::HEADER_LEN + self.payload.len();
        datagram
            + match is_v6 {
                false => ipv4::HEADER_LEN + xcast4::header_len(count, lists.dscps, lists.ports),
                true => {
                    let ports = if lists.ports { xcast6::ports_option_len(count) } else { 0 };
                    ipv6::HEADER_LEN + xcast6::header_len(count, lists.dscps) + ports
                }
            }
    }

    /// The length of the IP packet that a single destination gets.
    pub(crate) fn unicast_len(&self, is_v6: bool) -> usize {
        let header = if is_v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        header + udp::HEADER_LEN + self.payload.len()
    }

    /// The complete packet, with room for a link-layer header of [`LINK_HEADER_LEN`] octets in front.
    /// It is what a host puts through [`process`](crate::forward::process) itself, by a Fib of its own.
    /// All destinations are of the source's IP version.
    ///
    /// # Errors
    /// The list is empty or too long, headers and payload are longer than IP allows, or addresses of
    /// both IP versions are among the destinations.
    pub fn packet(
        &self,
        code_points: &CodePoints,
        source: IpAddr,
        source_port: u16,
    ) -> Result<Vec<u8>, MessageError> {
        let mixed = |d: &&Destination| d.address.is_ipv6() != source.is_ipv6();
        if let Some(other) = self.destinations.iter().find(mixed) {
            return Err(MessageError::Mixed(source, other.address));
        }
        let lists = Listed::of(self.destinations);
        let total = self.packet_len(source.is_ipv6(), self.destinations.len(), lists);
        if total > usize::from(u16::MAX) {
            return Err(MessageError::Payload(self.payload.len()));
        }
        let mut buffer = vec![0; LINK_HEADER_LEN + total];
        let packet = &mut buffer[LINK_HEADER_LEN..];
        let group: IpAddr = match source {
            IpAddr::V4(source) => self.emit_v4(code_points, source, lists, packet)?,
            IpAddr::V6(source) => self.emit_v6(code_points, source, lists, packet)?,
        };
        let datagram = &mut packet[total - udp::HEADER_LEN - self.payload.len()..];
        datagram[udp::HEADER_LEN..].copy_from_slice(self.payload);
        // With a list of ports, the transport's own is 0 (RFC 5058 section 8.1).
        let common = self.destinations.first().map_or(0, |first| first.port);
        let destination_port = if lists.ports { 0 } else { common };
        let repr = udp::Repr { source_port, destination_port };
        repr.emit(datagram, source, group);
        Ok(buffer)
    }

    fn emit_v4(
        &self,
        code_points: &CodePoints,
        source: Ipv4Addr,
        lists: Listed,
        packet: &mut [u8],
    ) -> Result<IpAddr, MessageError> {
        let addresses = self.destinations.iter().filter_map(|d| match d.address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        });
        let header = xcast4::Repr {
            anonymous: self.anonymous,
            keep_xcast: self.keep_xcast,
            channel: u32::try_from(self.channel).map_err(|_| MessageError::Channel)?,
            protocol: protocol::UDP,
            bitmap: xcast4::all(self.destinations.len().min(xcast4::DESTINATIONS_MAX)),
            destinations: addresses.collect(),
            ports: self.ports().filter(|_| lists.ports).collect(),
            ds_bytes: self.ds_bytes().filter(|_| lists.dscps).collect(),
        };
        let repr = ipv4::Repr {
            source,
            destination: code_points.all_routers_v4,
            protocol: code_points.ip_protocol,
            traffic_class: self.dscp << 2,
            ttl: self.ttl,
            payload_len: (packet.len() - ipv4::HEADER_LEN) as u16,
        };
        let (ip, rest) = packet.split_at_mut(ipv4::HEADER_LEN);
        header.emit(rest)?;
        repr.emit(ip);
        Ok(code_points.all_routers_v4.into())
    }

    fn emit_v6(
        &self,
        code_points: &CodePoints,
        source: Ipv6Addr,
        lists: Listed,
        packet: &mut [u8],
    ) -> Result<IpAddr, MessageError> {
        let addresses = self.destinations.iter().filter_map(|d| match d.address {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        });
        let behind = if lists.ports { next_header::DESTINATION_OPTIONS } else { protocol::UDP };
        let header = xcast6::Repr {
            anonymous: self.anonymous,
            keep_xcast: self.keep_xcast,
            channel: self.channel,
            next_header: behind,
            routing_type: code_points.routing_type,
            bitmap: xcast6::all(self.destinations.len().min(xcast6::DESTINATIONS_MAX)),
            destinations: addresses.collect(),
            ds_bytes: self.ds_bytes().filter(|_| lists.dscps).collect(),
        };
        let repr = ipv6::Repr {
            source,
            destination: code_points.all_routers_v6,
            next_header: next_header::ROUTING,
            traffic_class: self.dscp << 2,
            flow_label: 0,
            hop_limit: self.ttl,
            payload_len: (packet.len() - ipv6::HEADER_LEN) as u16,
        };
        let (ip, rest) = packet.split_at_mut(ipv6::HEADER_LEN);
        header.emit(rest)?;
        if lists.ports {
            let ports: Vec<u16> = self.ports().collect();
            let option = &mut rest[header.header_len()..];
            xcast6::emit_ports(protocol::UDP, code_points.ports_option, &ports, option);
        }
        repr.emit(ip);
        Ok(code_points.all_routers_v6.into())
    }

    fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.destinations.iter().map(|destination| destination.port)
    }

    fn ds_bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.destinations.iter().map(|destination| destination.dscp.unwrap_or(self.dscp) << 2)
    }
}

/// What a list says of each destination beside its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) ports: bool,
    pub(crate) dscps: bool,
}

impl Listed {
    /// What must be listed: ports where they differ, DSCPs where any is named.
    pub(crate) fn of(destinations: &[Destination]) -> Listed {
        Listed {
            ports: destinations.windows(2).any(|pair| pair[0].port != pair[1].port),
            dscps: destinations.iter().any(|destination| destination.dscp.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn packet(destinations: &[(u8, u16)], payload: &[u8]) -> Result<Vec<u8>, MessageError> {
        let code_points = CodePoints {
            ip_protocol: 253,
            all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
            all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
            routing_type: 253,
            ports_option: 0x5e,
            hop_by_hop_option: 0x1e,
        };
        let destinations: Vec<Destination> = destinations
            .iter()
            .map(|&(host, port)| Destination {
                address: Ipv4Addr::new(10, 0, 1, host).into(),
                port,
                dscp: (port == 46).then_some(46),
            })
            .collect();
        let message = Message { destinations: &destinations, payload, ..Message::default() };
        message
            .packet(&code_points, SOURCE.into(), 5000)
            .map(|buffer| buffer[LINK_HEADER_LEN..].to_vec())
    }

    #[test]
    fn equal_ports_stand_in_the_transport_header() {
        let packet = packet(&[(2, 9000), (3, 9000)], b"hi").unwrap();
        let ip = ipv4::Packet::parse(&packet).unwrap();
        let header = xcast4::Header::parse(ip.payload()).unwrap();
        assert!(!header.has_ports());
        let datagram = &ip.payload()[header.header_len()..];
        assert_eq!(datagram[2..4], 9000u16.to_be_bytes());
        assert!(udp::checksum_valid(datagram, SOURCE, ip.destination()));
    }

    #[test]
    fn different_ports_make_a_list_and_a_transport_port_of_0() {
        let packet = packet(&[(2, 9000), (3, 9001)], b"hi").unwrap();
        let ip = ipv4::Packet::parse(&packet).unwrap();
        let header = xcast4::Header::parse(ip.payload()).unwrap();
        assert_eq!((header.port(0), header.port(1)), (Some(9000), Some(9001)));
        assert_eq!(ip.payload()[header.header_len() + 2..][..2], [0, 0]);
    }

    #[test]
    fn a_dscp_of_its_own_gives_every_destination_a_ds_byte() {
        let packet = packet(&[(2, 46), (3, 46), (4, 9)], b"hi").unwrap();
        let ip = ipv4::Packet::parse(&packet).unwrap();
        let header = xcast4::Header::parse(ip.payload()).unwrap();
        let each = [0, 1, 2].map(|index| header.ds_byte(index));
        assert_eq!(each, [Some(46 << 2), Some(46 << 2), Some(0)]);
    }

    #[test]
    fn refuses_by_name_what_no_packet_holds() {
        assert!(matches!(packet(&[], b""), Err(MessageError::Xcast4(_))));
        assert!(matches!(packet(&[(1, 1); 128], b""), Err(MessageError::Xcast4(_))));
        assert!(packet(&[(1, 1); 127], b"").is_ok());
        assert_eq!(packet(&[(1, 1)], &[0; 65_500]), Err(MessageError::Payload(65_500)));
    }
}

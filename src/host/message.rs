//! A message to many, and the packet that carries it.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};

use crate::forward::LINK_HEADER_LEN;
use crate::wire::ipv4::{self, protocol};
use crate::wire::{CodePoints, udp, xcast4};

/// A receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its UDP port.
    pub port: u16,
    /// A DSCP of its own; where any destination has one, those without have the message's.
    pub dscp: Option<u8>,
}

/// A datagram to a list of destinations.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Who is to get it: 1 to 127. One that is listed twice gets it twice.
    pub destinations: &'a [Destination],
    /// The source address; if `None`, the one that the kernel prefers towards the first
    /// destination it can reach.
    pub source: Option<Ipv4Addr>,
    /// The source port.
    pub source_port: u16,
    /// The channel identifier (RFC 5058 section 8.3); 0 = none.
    pub channel: u32,
    /// Receivers and later routers do not learn of destinations they do not serve.
    pub anonymous: bool,
    /// The packet stays Xcast to its end: receivers must understand it.
    pub keep_xcast: bool,
    /// The six bits of the DSCP.
    pub dscp: u8,
    /// The time to live, from 1.
    pub ttl: u8,
    /// What is sent.
    pub payload: &'a [u8],
}

impl Default for Message<'_> {
    fn default() -> Self {
        Message {
            destinations: &[],
            source: None,
            source_port: 0,
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
    Destinations(#[from] xcast4::Unwritable),
    /// Headers and payload are longer than an IP packet can be.
    #[error("with {0} octets of payload the packet is longer than IPv4 allows")]
    Payload(usize),
}

impl Message<'_> {
    /// The source address that the kernel prefers towards the first destination it can reach,
    /// which is the one a message without a source gets. A few system calls: who sends many
    /// messages asks once.
    pub fn preferred_source(&self) -> Option<Ipv4Addr> {
        self.destinations.iter().find_map(|destination| {
            let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).ok()?;
            // Chooses a route, sends nothing.
            socket.connect(SocketAddrV4::new(destination.address, 9)).ok()?;
            match socket.local_addr().ok()?.ip() {
                IpAddr::V4(source) => Some(source),
                IpAddr::V6(_) => None,
            }
        })
    }

    /// The complete packet, with room for a link-layer header in front.
    pub(crate) fn packet(
        &self,
        code_points: &CodePoints,
        source: Ipv4Addr,
    ) -> Result<Vec<u8>, MessageError> {
        let header = self.xcast_header();
        let (header_len, udp_len) = (header.header_len(), udp::HEADER_LEN + self.payload.len());
        let total = ipv4::HEADER_LEN + header_len + udp_len;
        if total > usize::from(u16::MAX) {
            return Err(MessageError::Payload(self.payload.len()));
        }
        let mut buffer = vec![0; LINK_HEADER_LEN + total];
        let (ip, rest) = buffer[LINK_HEADER_LEN..].split_at_mut(ipv4::HEADER_LEN);
        let group = code_points.all_routers_v4;
        let repr = ipv4::Repr {
            source,
            destination: group,
            protocol: code_points.ip_protocol,
            traffic_class: self.dscp << 2,
            ttl: self.ttl,
            payload_len: (header_len + udp_len) as u16,
        };
        repr.emit(ip);
        let (xcast, datagram) = rest.split_at_mut(header_len);
        header.emit(xcast)?;
        datagram[udp::HEADER_LEN..].copy_from_slice(self.payload);
        // With a list of ports, the transport's own is 0 (RFC 5058 section 8.1).
        let common = self.destinations.first().map_or(0, |first| first.port);
        let destination_port = if header.ports.is_empty() { common } else { 0 };
        let repr = udp::Repr { source_port: self.source_port, destination_port };
        repr.emit(datagram, source, group);
        Ok(buffer)
    }

    fn xcast_header(&self) -> xcast4::Repr {
        let ports: Vec<u16> = self.destinations.iter().map(|d| d.port).collect();
        let with_ds_bytes = self.destinations.iter().any(|d| d.dscp.is_some());
        let ds_bytes = self.destinations.iter().map(|d| d.dscp.unwrap_or(self.dscp) << 2);
        let same_port = ports.windows(2).all(|pair| pair[0] == pair[1]);
        xcast4::Repr {
            anonymous: self.anonymous,
            keep_xcast: self.keep_xcast,
            channel: self.channel,
            protocol: protocol::UDP,
            bitmap: xcast4::all(self.destinations.len().min(xcast4::DESTINATIONS_MAX)),
            destinations: self.destinations.iter().map(|d| d.address).collect(),
            ports: if same_port { Vec::new() } else { ports },
            ds_bytes: ds_bytes.filter(|_| with_ds_bytes).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn packet(destinations: &[(u8, u16)], payload: &[u8]) -> Result<Vec<u8>, MessageError> {
        let code_points = CodePoints {
            ip_protocol: 253,
            all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
            all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
            routing_type: 253,
            ports_option: 0x5e,
        };
        let destinations: Vec<Destination> = destinations
            .iter()
            .map(|&(host, port)| Destination {
                address: Ipv4Addr::new(10, 0, 1, host),
                port,
                dscp: (port == 46).then_some(46),
            })
            .collect();
        let message = Message { destinations: &destinations, payload, ..Message::default() };
        message.packet(&code_points, SOURCE).map(|buffer| buffer[LINK_HEADER_LEN..].to_vec())
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
        assert!(matches!(packet(&[], b""), Err(MessageError::Destinations(_))));
        assert!(matches!(packet(&[(1, 1); 128], b""), Err(MessageError::Destinations(_))));
        assert!(packet(&[(1, 1); 127], b"").is_ok());
        assert_eq!(packet(&[(1, 1)], &[0; 65_500]), Err(MessageError::Payload(65_500)));
    }
}

//! Xcast packets built octet by octet, after RFC 5058 sections 9.2 and 9.3, so that they can be wrong in
//! any way that a test wants.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::capture::{ones_complement, open};
use super::{Lab, inside};

pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114);
pub const XCAST: u8 = 253;
pub const UDP: u8 = 17;
/// The protocol number of a Routing header, and the Routing Type of Xcast6.
pub const ROUTING: u8 = 43;
pub const ROUTING_TYPE: u8 = 253;
/// Where the Xcast header begins in a packet without IP options.
pub const XCAST_AT: usize = 20;
/// X: the packet never becomes unicast.
pub const KEEP_XCAST: u8 = 0x04;

/// A right packet; change what is to be wrong.
#[derive(Clone, Debug)]
pub struct Packet {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    /// IPv4 flags and fragment offset.
    pub fragment: u16,
    /// A multiple of four octets.
    pub options: Vec<u8>,
    /// The flags A, X, D and P.
    pub flags: u8,
    pub list: Vec<Ipv4Addr>,
    /// The protocol of the transport header.
    pub protocol: u8,
    pub transport: Vec<u8>,
}

impl Packet {
    /// A datagram from a source to a list, all of them at one port.
    pub fn to(source: SocketAddrV4, list: &[Ipv4Addr], port: u16, payload: &str) -> Packet {
        Packet {
            source: *source.ip(),
            destination: GROUP,
            ttl: 64,
            fragment: 0x4000,
            options: Vec::new(),
            flags: 0,
            list: list.to_vec(),
            protocol: UDP,
            transport: datagram(source.into(), GROUP.into(), port, payload.as_bytes()),
        }
    }

    /// The IP packet, all checksums right. Every destination is live.
    pub fn bytes(&self) -> Vec<u8> {
        let xcast = self.xcast_header();
        let header_len = 20 + self.options.len();
        let total = (header_len + xcast.len() + self.transport.len()) as u16;
        let mut bytes = vec![0x40 | (header_len / 4) as u8, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, XCAST, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(&self.options);
        mend(&mut bytes, 10);
        bytes.extend(xcast);
        bytes.extend(&self.transport);
        bytes
    }

    /// The IP packet, with something in its Xcast header changed and both checksums right again.
    pub fn bytes_with(&self, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = self.bytes();
        let at = 20 + self.options.len();
        let xcast = &mut bytes[at..at + self.xcast_header().len()];
        change(xcast);
        mend(xcast, 2);
        bytes
    }

    fn xcast_header(&self) -> Vec<u8> {
        let count = self.list.len();
        let mut header =
            vec![0x10 | self.flags, count as u8, 0, 0, 0, 0, 0, 0, self.protocol, 0, 0, 0];
        let mut bitmap = vec![0; count.div_ceil(32) * 4];
        (0..count).for_each(|index| bitmap[index / 8] |= 0x80 >> (index % 8));
        header.extend(bitmap);
        header.extend(self.list.iter().flat_map(Ipv4Addr::octets));
        header[9] = (header.len() / 4) as u8;
        mend(&mut header, 2);
        header
    }
}

/// A right packet of IPv6; change what is to be wrong.
#[derive(Clone, Debug)]
pub struct Packet6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub hop_limit: u8,
    /// The flags A, X and D; a list of DS bytes is not built.
    pub flags: u8,
    pub channel: u128,
    pub list: Vec<Ipv6Addr>,
    /// The protocol of the transport header.
    pub protocol: u8,
    pub transport: Vec<u8>,
}

impl Packet6 {
    /// A datagram from a source to a list, all of them at one port.
    pub fn to(source: SocketAddrV6, list: &[Ipv6Addr], port: u16, payload: &str) -> Packet6 {
        Packet6 {
            source: *source.ip(),
            destination: GROUP_V6,
            hop_limit: 64,
            flags: 0,
            channel: 0,
            list: list.to_vec(),
            protocol: UDP,
            transport: datagram(source.into(), GROUP_V6.into(), port, payload.as_bytes()),
        }
    }

    /// The IP packet, all checksums right. Every destination is live.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with(|_| ())
    }

    /// The IP packet, with something in its Xcast header changed and its checksum right again.
    pub fn bytes_with(&self, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut xcast = self.xcast_header();
        change(&mut xcast);
        mend(&mut xcast, 6);
        let length = (xcast.len() + self.transport.len()) as u16;
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([ROUTING, self.hop_limit]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(xcast);
        bytes.extend(&self.transport);
        bytes
    }

    fn xcast_header(&self) -> Vec<u8> {
        let count = self.list.len();
        let bitmap_len = count.div_ceil(64) * 8;
        let words = (24 + bitmap_len + 16 * count) / 8;
        let mut header = vec![self.protocol, (words - 1) as u8, ROUTING_TYPE, 0];
        header.extend([0x10 | self.flags, count as u8, 0, 0]);
        header.extend(self.channel.to_be_bytes());
        let mut bitmap = vec![0; bitmap_len];
        (0..count).for_each(|index| bitmap[index / 8] |= 0x80 >> (index % 8));
        header.extend(bitmap);
        header.extend(self.list.iter().flat_map(Ipv6Addr::octets));
        header
    }
}

/// A UDP datagram whose checksum is that of a packet to the group.
pub fn datagram(source: SocketAddr, group: IpAddr, port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut datagram = [source.port(), port, length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let ends = match (source.ip(), group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => [source.octets(), group.octets()].concat(),
        (IpAddr::V6(source), IpAddr::V6(group)) => [source.octets(), group.octets()].concat(),
        _ => panic!("{source} and {group} are of two IP versions"),
    };
    let pseudo = [ends, vec![0, UDP], length.to_be_bytes().to_vec(), datagram.clone()].concat();
    let check = match !ones_complement(&pseudo) {
        0 => 0xffff,
        check => check,
    };
    datagram[6..8].copy_from_slice(&check.to_be_bytes());
    datagram
}

/// Fills in the checksum of a header, which stands at octet `at`.
pub fn mend(header: &mut [u8], at: usize) {
    header[at..at + 2].fill(0);
    let check = !ones_complement(header);
    header[at..at + 2].copy_from_slice(&check.to_be_bytes());
}

impl Lab {
    /// Puts a packet on a link, from one node's interface to the next node's own address.
    pub fn inject(&self, from: &str, to: &str, packet: &[u8]) {
        self.inject_to(from, to, self.end(to, from).mac, packet);
    }

    /// Puts a packet on the link between two nodes, to any link-layer address.
    pub fn inject_to(&self, from: &str, to: &str, address: [u8; 6], packet: &[u8]) {
        let kind = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        let frame = [&address[..], &self.end(from, to).mac, &kind, packet].concat();
        self.inject_frame(from, to, &frame);
    }

    /// Puts a frame on the link of a node's interface.
    pub fn inject_frame(&self, node: &str, interface: &str, frame: &[u8]) {
        inside(node, || open(interface).0.send_to(frame, None))
            .expect("it fits")
            .expect("it is up");
    }
}

//! Reads packets as they cross a link, without any code of the router's: `etherparse` checks IP,
//! UDP and ICMP, and Xcast is read here by hand, after RFC 5058 sections 9.2.2 and 9.3.2.
//!
//! Whatever is wrong with a packet that a router or a host sends is a failure of the test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{Ipv4Header, Ipv6Header, UdpHeader};

use super::capture::{Copy, Form};

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114);
const XCAST_PROTOCOL: u8 = 253;
const ROUTING_TYPE: u8 = 253;
const PORTS_OPTION: u8 = 0x5e;
const PAD_N: u8 = 1;

const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const ICMPV6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;

/// A and X: addresses are zeroed with their bits; the packet never becomes unicast.
pub const ANONYMOUS: u8 = 8;
pub const KEEP_XCAST: u8 = 4;
/// D and P: there are lists of DS bytes and of ports. P is Xcast4's alone.
pub const DS_BYTES: u8 = 2;
pub const PORTS: u8 = 1;

/// What else the headers of a copy say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// The whole IP packet, in octets.
    pub octets: usize,
    pub dscp: u8,
    /// A, X, D and P; 0 for unicast.
    pub flags: u8,
    /// 0 for unicast.
    pub channel: u128,
    /// Every address of the list, live or not.
    pub listed: Vec<IpAddr>,
    /// Xcast6 has its list of ports in a header of its own.
    pub has_ports_option: bool,
}

/// An ICMP error, of either version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub kind: u8,
    pub code: u8,
    /// The octets behind the checksum: "too big" has its MTU in them.
    pub rest: u32,
    /// What it quotes of the packet it is about.
    pub quoted: Vec<u8>,
}

/// An IP packet up to its transport or Xcast header.
struct Ip<'a> {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    traffic_class: u8,
    protocol: u8,
    is_fragment: bool,
    body: &'a [u8],
}

/// Reads an IP packet and checks it as `tcpdump -vv` would: all of its checksums must be right.
/// `None` for what is no traffic: memberships, neighbor discovery, probes (WIRE.md R9).
pub fn read(packet: &[u8]) -> Option<(Copy<SocketAddr>, Heading)> {
    let ip = read_ip(packet)?;
    if is_housekeeping(&ip) {
        return None;
    }
    let mut heading = Heading {
        octets: packet.len().min(ip_len(packet)),
        dscp: ip.traffic_class >> 2,
        flags: 0,
        channel: 0,
        listed: Vec::new(),
        has_ports_option: false,
    };
    let list = read_list(&ip);
    let (form, source_port, payload) = match list {
        Some(list) => {
            let (ports, payload) = read_udp(list.transport, &ip);
            if ports == [0, 0] && list.is_probe(ip.source) {
                return None;
            }
            let live = list.live.iter().map(|(address, port)| {
                assert!(port.is_none() || ports[1] == 0, "a list of ports, and a port beside it");
                SocketAddr::new(*address, port.unwrap_or(ports[1]))
            });
            let form = Form::Xcast(live.collect());
            heading.flags = list.flags;
            heading.channel = list.channel;
            heading.listed = list.listed;
            heading.has_ports_option = list.has_ports_option;
            (form, ports[0], payload)
        }
        None if ip.protocol == UDP && !ip.is_fragment => {
            let (ports, payload) = read_udp(ip.body, &ip);
            (Form::Unicast(SocketAddr::new(ip.destination, ports[1])), ports[0], payload)
        }
        None => {
            let is_icmp = matches!(ip.protocol, ICMP | ICMPV6) && !ip.is_fragment;
            let kind = if is_icmp { [ip.body[0], ip.body[1]] } else { [0; 2] };
            (Form::Other(ip.protocol, kind), 0, String::new())
        }
    };
    let source = SocketAddr::new(ip.source, source_port);
    let (from, to) = (String::new(), String::new());
    Some((Copy { from, to, form, source, ttl: ip.ttl, payload }, heading))
}

/// Reads an ICMP error and checks its checksum; `None` for everything else.
pub fn read_error(packet: &[u8]) -> Option<IcmpError> {
    let ip = read_ip(packet)?;
    let is_error = match ip.protocol {
        _ if ip.is_fragment => false,
        ICMP => matches!(ip.body[0], 3 | 4 | 5 | 11 | 12),
        ICMPV6 => ip.body[0] < 128,
        _ => false,
    };
    if !is_error {
        return None;
    }
    let pseudo = match (ip.source, ip.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = (ip.body.len() as u32).to_be_bytes();
            let ends = [source.octets(), destination.octets()].concat();
            [ends, length.to_vec(), vec![0, 0, 0, ICMPV6]].concat()
        }
        _ => Vec::new(),
    };
    let checked = [&pseudo[..], ip.body].concat();
    assert_eq!(ones_complement(&checked), 0xffff, "ICMP: {packet:02x?}");
    let (header, quoted) = ip.body.split_at(8);
    Some(IcmpError {
        source: ip.source,
        destination: ip.destination,
        kind: header[0],
        code: header[1],
        rest: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        quoted: quoted.to_vec(),
    })
}

/// The length that an IP header states.
fn ip_len(packet: &[u8]) -> usize {
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    if packet[0] >> 4 == 4 { word(2) } else { 40 + word(4) }
}

fn read_ip(packet: &[u8]) -> Option<Ip<'_>> {
    match packet.first()? >> 4 {
        4 => Some(read_v4(packet)),
        6 => Some(read_v6(packet)),
        _ => None,
    }
}

fn read_v4(packet: &[u8]) -> Ip<'_> {
    let (header, _) = Ipv4Header::from_slice(packet).expect("all send well-formed IP headers");
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "IP: {packet:02x?}");
    Ip {
        source: header.source.into(),
        destination: header.destination.into(),
        ttl: header.time_to_live,
        traffic_class: packet[1],
        protocol: header.protocol.0,
        is_fragment: header.more_fragments || header.fragment_offset.value() != 0,
        body: packet.get(header.header_len()..usize::from(header.total_len)).expect("whole"),
    }
}

fn read_v6(packet: &[u8]) -> Ip<'_> {
    let (header, _) = Ipv6Header::from_slice(packet).expect("all send well-formed IP headers");
    let end = Ipv6Header::LEN + usize::from(header.payload_length);
    let mut body = packet.get(Ipv6Header::LEN..end).expect("whole");
    let mut protocol = header.next_header.0;
    if protocol == HOP_BY_HOP {
        protocol = body[0];
        body = &body[8 * (usize::from(body[1]) + 1)..];
    }
    Ip {
        source: header.source.into(),
        destination: header.destination.into(),
        ttl: header.hop_limit,
        traffic_class: header.traffic_class,
        protocol,
        is_fragment: protocol == 44,
        body,
    }
}

/// Memberships (IGMP, MLD) and neighbor discovery.
fn is_housekeeping(ip: &Ip<'_>) -> bool {
    match ip.protocol {
        IGMP => true,
        ICMPV6 => matches!(ip.body[0], 130..=137 | 143),
        _ => false,
    }
}

/// The two ports and the payload.
fn read_udp(datagram: &[u8], ip: &Ip<'_>) -> ([u16; 2], String) {
    let (header, payload) = UdpHeader::from_slice(datagram).expect("a UDP header");
    assert_eq!(usize::from(header.length), datagram.len(), "UDP: {datagram:02x?}");
    let check = match (ip.source, ip.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), payload)
        }
        _ => unreachable!("both ends are of one IP version"),
    };
    let ends = format!("{} to {}", ip.source, ip.destination);
    assert_eq!(Ok(header.checksum), check, "UDP of {ends}: {datagram:02x?}");
    let payload = String::from_utf8_lossy(payload).into_owned();
    ([header.source_port, header.destination_port], payload)
}

/// What an Xcast header says, and what follows it.
struct List<'a> {
    flags: u8,
    channel: u128,
    listed: Vec<IpAddr>,
    /// The live destinations, each with its port if there is a list of them.
    live: Vec<(IpAddr, Option<u16>)>,
    has_ports_option: bool,
    transport: &'a [u8],
}

impl List<'_> {
    /// Routers ask each other whether they handle Xcast: X is set, and the only destination is
    /// the source.
    fn is_probe(&self, source: IpAddr) -> bool {
        self.flags & KEEP_XCAST != 0 && self.live == [(source, None)]
    }
}

fn read_list<'a>(ip: &Ip<'a>) -> Option<List<'a>> {
    match ip.destination {
        _ if ip.is_fragment => None,
        IpAddr::V4(GROUP_V4) if ip.protocol == XCAST_PROTOCOL => Some(read_xcast4(ip.body)),
        IpAddr::V6(GROUP_V6) if ip.protocol == ROUTING && ip.body[2] == ROUTING_TYPE => {
            Some(read_xcast6(ip.body))
        }
        _ => None,
    }
}

fn read_xcast4(bytes: &[u8]) -> List<'_> {
    let (header, transport) = bytes.split_at(usize::from(bytes[9]) * 4);
    let flags = header[0] & 0xf;
    let count = usize::from(header[1] & 0x7f);
    assert_eq!((header[0] >> 4, header[8]), (1, UDP), "version and protocol: {header:02x?}");
    assert_eq!(ones_complement(header), 0xffff, "Xcast checksum: {header:02x?}");
    let addresses = 12 + count.div_ceil(32) * 4;
    let ds_len = if flags & DS_BYTES != 0 { count.next_multiple_of(4) } else { 0 };
    let ports = addresses + count * 4 + ds_len;
    let listed: Vec<IpAddr> = header[addresses..addresses + 4 * count]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|octets| IpAddr::from(*octets))
        .collect();
    let port = |index: usize| {
        let at = ports + index * 2;
        (flags & PORTS != 0).then(|| u16::from_be_bytes([header[at], header[at + 1]]))
    };
    let live = live(&header[12..], count).map(|index| (listed[index], port(index))).collect();
    let channel = u32::from_be_bytes([header[4], header[5], header[6], header[7]]).into();
    List { flags, channel, listed, live, has_ports_option: false, transport }
}

fn read_xcast6(bytes: &[u8]) -> List<'_> {
    let (header, mut transport) = bytes.split_at(8 * (usize::from(bytes[1]) + 1));
    let flags = header[4] & 0xf;
    let count = usize::from(header[5] & 0x7f);
    assert_eq!((header[4] >> 4, header[3]), (1, 0), "version and zero: {header:02x?}");
    assert_eq!(ones_complement(header), 0xffff, "Xcast checksum: {header:02x?}");
    let addresses = 24 + count.div_ceil(64) * 8;
    let ds_len = if flags & DS_BYTES != 0 { count.next_multiple_of(8) } else { 0 };
    assert_eq!(header.len(), addresses + 16 * count + ds_len, "length: {header:02x?}");
    let listed: Vec<IpAddr> = header[addresses..addresses + 16 * count]
        .as_chunks::<16>()
        .0
        .iter()
        .map(|octets| IpAddr::from(*octets))
        .collect();
    let mut protocol = header[0];
    let mut ports: Option<Vec<u16>> = None;
    if protocol == DESTINATION_OPTIONS {
        let options;
        (options, transport) = transport.split_at(8 * (usize::from(transport[1]) + 1));
        protocol = options[0];
        ports = Some(read_ports(&options[2..], count));
    }
    assert_eq!(protocol, UDP, "what follows: {bytes:02x?}");
    let port = |index: usize| ports.as_ref().map(|ports| ports[index]);
    let live = live(&header[24..], count).map(|index| (listed[index], port(index))).collect();
    let channel = u128::from_be_bytes(*header[8..].first_chunk().expect("16 octets"));
    List { flags, channel, listed, live, has_ports_option: ports.is_some(), transport }
}

/// The options of a header that lists ports: the list, and padding.
fn read_ports(options: &[u8], count: usize) -> Vec<u16> {
    assert_eq!(options[..2], [PORTS_OPTION, 2 * count as u8], "ports: {options:02x?}");
    let (ports, padding) = options[2..].split_at(2 * count);
    if let [kind, length, zeros @ ..] = padding {
        assert_eq!((*kind, usize::from(*length)), (PAD_N, zeros.len()), "{options:02x?}");
    }
    ports.as_chunks::<2>().0.iter().map(|octets| u16::from_be_bytes(*octets)).collect()
}

/// The indices whose bit is set.
fn live(bitmap: &[u8], count: usize) -> impl Iterator<Item = usize> + '_ {
    (0..count).filter(|index| bitmap[index / 8] >> (7 - index % 8) & 1 == 1)
}

/// The sum of 16-bit words that is all ones where a checksum is right (RFC 1071).
pub fn ones_complement(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

//! Packets inside packets (RFC 5058 section 11.1, RFC 2003; WIRE.md "Tunnels"): what an outer packet
//! says, and what the inner one takes over from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{ipv4, ipv6, read_u16, semi_permeable, udp, xcast4, xcast6};

/// How packets travel in a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encapsulation {
    /// Directly behind the outer IP header: protocol 4 or 41.
    Ipip,
    /// As the payload of a UDP datagram. One whose first nibble is 0 is a control message.
    Udp,
    /// In an envelope of IPv6 to one of the destinations, which routers on the way may open
    /// ([`semi_permeable`]).
    SemiPermeable,
    /// As they are, but to a unicast address of service (RFC 5058 section 11.5).
    Anycast,
    /// As by [`Ipip`](Encapsulation::Ipip), to the first of the live destinations, which sends on to
    /// the next (RFC 5058 section 11.4).
    Hosts,
}

/// The protocol number of IPv4 inside IP (RFC 2003).
pub const PROTOCOL_IPV4: u8 = 4;
/// The protocol number of IPv6 inside IP (RFC 2473, RFC 4213).
pub const PROTOCOL_IPV6: u8 = 41;
/// The TTL or hop limit of outer packets.
pub const OUTER_TTL: u8 = 64;

impl Encapsulation {
    /// Whether packets leave by the links themselves, by the routes of unicast, and come in as those
    /// of links do. The others have sockets of the kernel.
    pub fn is_native(self) -> bool {
        matches!(self, Encapsulation::SemiPermeable | Encapsulation::Anycast)
    }

    /// Whether its tunnels have two ends that know each other. Of the others each packet goes to an end
    /// of its own, or to none.
    pub fn has_ends(self) -> bool {
        matches!(self, Encapsulation::Ipip | Encapsulation::Udp)
    }

    /// How many octets it costs between two ends of one IP version, as `end` is.
    pub fn overhead(self, end: IpAddr) -> u32 {
        let ip = if end.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        let octets = match self {
            Encapsulation::Ipip | Encapsulation::Hosts => ip,
            Encapsulation::Udp => ip + udp::HEADER_LEN,
            Encapsulation::SemiPermeable => semi_permeable::OVERHEAD,
            Encapsulation::Anycast => 0,
        };
        octets as u32
    }
}

/// What is known of an outer packet once its headers are off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// How the inner packet travelled.
    pub encapsulation: Encapsulation,
    /// Whom it was sent to. The port is 0 where there is none.
    pub local: SocketAddr,
    /// Who sent it.
    pub remote: SocketAddr,
    /// Its DS and ECN octet.
    pub traffic_class: u8,
}

/// An IP packet inside another that carries one itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nested {
    /// Its own headers.
    pub outer: Outer,
    /// Where the packet in it begins.
    pub start: usize,
}

/// Reads a packet that may be an outer one itself: a complete IP packet of protocol 4, 41 or UDP.
/// `None` if it is none of these, or is cut short.
pub fn nested(packet: &[u8]) -> Option<Nested> {
    let (source, destination, traffic_class, protocol, start): (IpAddr, IpAddr, _, _, _) =
        match packet.first()? >> 4 {
            4 => {
                let ip = ipv4::Packet::parse(packet).ok().filter(|ip| !ip.is_fragment())?;
                let class = packet[ipv4::field::TRAFFIC_CLASS];
                let (source, destination) = (ip.source().into(), ip.destination().into());
                (source, destination, class, ip.protocol(), ip.header_len())
            }
            _ => {
                let ip = ipv6::Packet::parse(packet).ok()?;
                let (source, destination) = (ip.source().into(), ip.destination().into());
                (source, destination, ip.traffic_class(), ip.next_header(), ipv6::HEADER_LEN)
            }
        };
    let outer = |encapsulation, local, remote| Outer {
        encapsulation,
        local: SocketAddr::new(destination, local),
        remote: SocketAddr::new(source, remote),
        traffic_class,
    };
    match protocol {
        PROTOCOL_IPV4 | PROTOCOL_IPV6 => {
            Some(Nested { outer: outer(Encapsulation::Ipip, 0, 0), start })
        }
        ipv4::protocol::UDP => {
            let header = packet.get(start..start + udp::HEADER_LEN)?;
            let (from, to) = (read_u16(header, 0), read_u16(header, 2));
            let start = start + udp::HEADER_LEN;
            Some(Nested { outer: outer(Encapsulation::Udp, to, from), start })
        }
        _ => None,
    }
}

/// The DS and ECN octet of a packet, which the outer one takes over (RFC 6040 section 4.1, RFC 2983):
/// 0 for what is no IP packet.
#[inline]
pub fn traffic_class(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 6 => first << 4 | second >> 4,
        [_, second, ..] => *second,
        _ => 0,
    }
}

/// To whom a packet goes in a tunnel of hosts: the first of its live destinations, or its only one if
/// it has no list. `packet` may end behind the list.
pub fn first_live(packet: &[u8]) -> Option<IpAddr> {
    let to = destination(packet).filter(|to| !to.is_multicast());
    if to.is_some() {
        return to;
    }
    match packet.first()? >> 4 {
        4 => {
            let list = packet.get(usize::from(packet[0] & 0xf) * 4..)?;
            let header = xcast4::Header::parse(list).ok()?;
            let lists = xcast4::lists(header.count(), header.has_ds_bytes(), header.has_ports());
            let index = xcast4::live_indices(header.bitmap()).next()?;
            let octets = list.get(lists.addresses + 4 * index..)?.first_chunk::<4>()?;
            Some(Ipv4Addr::from(*octets).into())
        }
        6 => {
            let mut at = ipv6::HEADER_LEN;
            if packet.get(ipv6::field::NEXT_HEADER) == Some(&ipv6::next_header::HOP_BY_HOP) {
                at += ipv6::extension_len(packet.get(at..)?)?;
            }
            let list = packet.get(at..)?;
            let header = xcast6::Header::parse(list).ok()?;
            let lists = xcast6::lists(header.count(), header.has_ds_bytes());
            let index = xcast4::live_indices(header.bitmap()).next()?;
            let octets = list.get(lists.addresses + 16 * index..)?.first_chunk::<16>()?;
            Some(Ipv6Addr::from(*octets).into())
        }
        _ => None,
    }
}

/// The source of an IP packet that is well-formed.
pub fn source(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => ipv4::Packet::parse(packet).ok().map(|ip| ip.source().into()),
        _ => ipv6::Packet::parse(packet).ok().map(|ip| ip.source().into()),
    }
}

/// The destination in an IP header.
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => ipv4::destination(packet).map(IpAddr::from),
        6 => ipv6::destination(packet).map(IpAddr::from),
        _ => None,
    }
}

/// What the ECN field of an inner packet becomes (RFC 6040 section 4.2, figure 4); `None`: the way
/// was congested and the packet's ends do not know of it, so it is to be dropped.
fn combine(inner: u8, outer: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0b00;
    const ECT_1: u8 = 0b01;
    const CE: u8 = 0b11;
    match (inner & 0b11, outer & 0b11) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (0b10, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

/// Whether an inner packet with one DS and ECN octet may come out of an outer one with another.
pub(crate) fn may_come_out(inner: u8, outer: u8) -> bool {
    combine(inner, outer).is_some()
}

/// Lets an inner packet, which has been checked, bear what happened to the outer one on its way.
/// Returns whether it may live.
pub fn take_over_congestion(inner: &mut [u8], outer: u8) -> bool {
    let before = traffic_class(inner);
    let Some(ecn) = combine(before, outer) else { return false };
    let after = before & !0b11 | ecn;
    if after != before {
        match inner[0] >> 4 {
            6 => ipv6::set_traffic_class(inner, after),
            _ => ipv4::set_traffic_class(inner, after),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overhead_is_that_of_the_headers() {
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let of = |encapsulation: Encapsulation| [v4, v6].map(|end| encapsulation.overhead(end));
        assert_eq!(of(Encapsulation::Ipip), [20, 40]);
        assert_eq!(of(Encapsulation::Udp), [28, 48]);
        assert_eq!(of(Encapsulation::SemiPermeable), [48, 48]);
        assert_eq!(of(Encapsulation::Anycast), [0, 0]);
    }

    /// RFC 6040 figure 4, row by row: the inner field Not-ECT, ECT(0), ECT(1), CE; each with the
    /// outer field Not-ECT, ECT(0), ECT(1), CE.
    #[test]
    fn ecn_fields_combine_as_rfc_6040_says() {
        let (not, ect0, ect1, ce) = (0b00, 0b10, 0b01, 0b11);
        let outer = [not, ect0, ect1, ce];
        let rows = [
            (not, [Some(not), Some(not), Some(not), None]),
            (ect0, [Some(ect0), Some(ect0), Some(ect1), Some(ce)]),
            (ect1, [Some(ect1), Some(ect1), Some(ect1), Some(ce)]),
            (ce, [Some(ce); 4]),
        ];
        for (inner, expected) in rows {
            assert_eq!(outer.map(|outer| combine(inner, outer)), expected, "inner {inner:02b}");
        }
    }

    #[test]
    fn congestion_is_seen_by_the_inner_packet_which_stays_valid() {
        // IPv4, TOS 0xb9 (EF, ECT(1)), 20 octets, TTL 64, UDP, 10.0.0.1 to 10.0.0.2.
        let mut v4 = [0x45, 0xb9, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        ipv4::fill_checksum(&mut v4, 20);
        assert!(take_over_congestion(&mut v4, 0b11));
        assert_eq!(v4[1], 0xbb);
        assert!(ipv4::Packet::parse(&v4).is_ok());

        let mut v6 = [0; 40];
        v6[0] = 0x62; // traffic class 0x2a: ECT(0)
        v6[1] = 0xa0;
        assert!(take_over_congestion(&mut v6, 0b01));
        assert_eq!(traffic_class(&v6), 0x29);
        let mut unaware = [0x60; 40];
        unaware[1] = 0;
        assert!(!take_over_congestion(&mut unaware, 0b11));
    }

    #[test]
    fn a_packet_in_a_packet_is_read_and_hostile_octets_are_not() {
        let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 3];
        ipv4::fill_checksum(&mut packet, 20);
        packet.extend([0x9c, 0x40, 0x03, 0xfd, 0, 12, 0, 0, 0x45, 0, 0, 20]);
        let read = nested(&packet).unwrap();
        assert_eq!(read.start, 28);
        assert_eq!(read.outer.local, "192.0.2.3:1021".parse().unwrap());
        assert_eq!(read.outer.remote, "192.0.2.1:40000".parse().unwrap());
        assert_eq!(read.outer.encapsulation, Encapsulation::Udp);
        for end in 0..packet.len() {
            assert_eq!(nested(&packet[..end]), None);
        }
        assert_eq!(nested(&[]), None);
        assert_eq!(nested(&[0xff; 60]), None);
    }
}

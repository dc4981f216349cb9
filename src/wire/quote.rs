//! What is left of an Xcast packet in an ICMP error, which quotes only the beginning of it.

use std::net::IpAddr;

use super::ipv4;
use super::ipv6::{self, next_header};
use super::{CodePoints, read_address, read_u32, semi_permeable, xcast4, xcast6};

/// The beginning of an Xcast packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Its source.
    pub source: IpAddr,
    /// Its live destinations, as far as they are quoted.
    pub live: Vec<IpAddr>,
    /// How many it had.
    pub count: usize,
    /// Octets of an envelope that was around it, which what it says of sizes includes.
    pub overhead: u32,
}

/// Reads the beginning of an Xcast packet; `None` if it is none. Nothing is validated that a router
/// has validated before it complained.
pub fn read(code_points: &CodePoints, quoted: &[u8]) -> Option<Quote> {
    match quoted.first()? >> 4 {
        4 => read_v4(code_points, quoted),
        6 if semi_permeable::is_envelope(code_points.hop_by_hop_option, quoted) => {
            let quote = read_v6(code_points, &quoted[semi_permeable::OVERHEAD..])?;
            Some(Quote { overhead: semi_permeable::OVERHEAD as u32, ..quote })
        }
        6 => read_v6(code_points, quoted),
        _ => None,
    }
}

fn read_v4(code_points: &CodePoints, quoted: &[u8]) -> Option<Quote> {
    let header_len = usize::from(quoted[0] & 0xf) * 4;
    let (ip, xcast) = quoted.split_at_checked(header_len)?;
    if ip.len() < ipv4::HEADER_LEN || ip[ipv4::field::PROTOCOL] != code_points.ip_protocol {
        return None;
    }
    let count = usize::from(xcast.get(1)? & 0x7f);
    let addresses = xcast4::lists(count, false, false).addresses;
    let bitmap = bitmap(xcast.get(xcast4::FIXED_LEN..addresses)?);
    let address = |index: usize| {
        let octets: [u8; 4] = xcast.get(addresses + 4 * index..)?.first_chunk().copied()?;
        Some(IpAddr::from(octets))
    };
    let live = xcast4::live_indices(bitmap & xcast4::all(count)).filter_map(address).collect();
    let source = IpAddr::from(read_u32(ip, 12).to_be_bytes());
    Some(Quote { source, live, count: bitmap.count_ones() as usize, overhead: 0 })
}

fn read_v6(code_points: &CodePoints, quoted: &[u8]) -> Option<Quote> {
    let mut protocol = *quoted.get(ipv6::field::NEXT_HEADER)?;
    let mut at = ipv6::HEADER_LEN;
    if protocol == next_header::HOP_BY_HOP {
        protocol = *quoted.get(at)?;
        at += ipv6::extension_len(quoted.get(at..)?)?;
    }
    let xcast = quoted.get(at..)?;
    if protocol != next_header::ROUTING || *xcast.get(2)? != code_points.routing_type {
        return None;
    }
    let count = usize::from(xcast.get(5)? & 0x7f);
    let addresses = xcast6::lists(count, false).addresses;
    let bitmap = bitmap(xcast.get(xcast6::FIXED_LEN..addresses)?);
    let address = |index: usize| {
        let octets: [u8; 16] = xcast.get(addresses + 16 * index..)?.first_chunk().copied()?;
        Some(IpAddr::from(octets))
    };
    let live = xcast6::live_indices(bitmap & xcast6::all(count)).filter_map(address).collect();
    let source = read_address(quoted, ipv6::field::SOURCE).into();
    Some(Quote { source, live, count: bitmap.count_ones() as usize, overhead: 0 })
}

fn bitmap(octets: &[u8]) -> u128 {
    let mut whole = [0; 16];
    whole[..octets.len()].copy_from_slice(octets);
    u128::from_be_bytes(whole)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const CODE_POINTS: CodePoints = CodePoints {
        ip_protocol: 253,
        all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
        all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
        routing_type: 253,
        ports_option: 0x5e,
        hop_by_hop_option: 0x1e,
    };

    fn v4() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 60, 0, 0, 0x40, 0, 63, 253, 0, 0];
        packet.extend([10, 0, 0, 1, 224, 0, 0, 254]); // source, group
        packet.extend([0x10, 3, 0, 0, 0, 0, 0, 0, 17, 7, 0, 0]); // three destinations
        packet.extend([0xa0, 0, 0, 0]); // the first and the third are live
        packet.extend([10, 0, 1, 1, 10, 0, 1, 2, 10, 0, 1, 3]);
        packet
    }

    #[test]
    fn reads_live_destinations_as_far_as_they_are_quoted() {
        let first = IpAddr::from([10, 0, 1, 1]);
        let quote = read(&CODE_POINTS, &v4()).unwrap();
        assert_eq!(quote.source, IpAddr::from([10, 0, 0, 1]));
        assert_eq!((quote.live, quote.count), (vec![first, [10, 0, 1, 3].into()], 2));
        let cut = read(&CODE_POINTS, &v4()[..44]).unwrap();
        assert_eq!((cut.live, cut.count), (vec![first], 2));
        for length in 0..36 {
            assert_eq!(read(&CODE_POINTS, &v4()[..length]), None, "cut to {length}");
        }
    }

    #[test]
    fn reads_ipv6_with_and_without_hop_by_hop() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 43, 63];
        packet.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets());
        packet.extend(CODE_POINTS.all_routers_v6.octets());
        packet.extend([17, 5, 253, 0, 0x10, 1, 0, 0]);
        packet.extend([0; 16]); // channel
        packet.extend([0x80, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend(Ipv6Addr::LOCALHOST.octets());
        let expected = vec![IpAddr::from(Ipv6Addr::LOCALHOST)];
        assert_eq!(read(&CODE_POINTS, &packet).unwrap().live, expected);
        let any = Ipv6Addr::UNSPECIFIED;
        let envelope = semi_permeable::Envelope {
            source: any,
            destination: any,
            hop_limit: 1,
            traffic_class: 0,
        };
        let mut enveloped = vec![0; semi_permeable::OVERHEAD];
        envelope.emit(CODE_POINTS.hop_by_hop_option, packet.len(), &mut enveloped);
        enveloped.extend(&packet);
        let quote = read(&CODE_POINTS, &enveloped).unwrap();
        assert_eq!((quote.live, quote.overhead), (expected.clone(), 48));
        for length in 0..48 + 72 {
            assert_eq!(read(&CODE_POINTS, &enveloped[..length]), None, "cut to {length}");
        }
        packet[6] = 0;
        packet.splice(40..40, [43, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(read(&CODE_POINTS, &packet).unwrap().live, expected);
        packet[50] = 4; // another routing type
        assert_eq!(read(&CODE_POINTS, &packet), None);
    }

    #[test]
    fn other_packets_are_none() {
        let mut other = v4();
        other[9] = 17;
        assert_eq!(read(&CODE_POINTS, &other), None);
        assert_eq!(read(&CODE_POINTS, &[]), None);
        assert_eq!(read(&CODE_POINTS, &[0x45; 3]), None);
    }
}

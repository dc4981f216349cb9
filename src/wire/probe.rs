//! The probe by which a node asks a neighbor whether it handles Xcast (WIRE.md R9): an Xcast packet
//! with X set, of which the sender's own address on the link is source and only destination.
//! Whoever handles Xcast sends it back.
//!
//! ```text
//! | IP header, TTL 2 | Xcast header, X, N = 1 | UDP header, ports 0 | nonce, 16 octets |
//! ```

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::net::IpAddr;

use super::ipv4::protocol;
use super::ipv6::next_header;
use super::{CodePoints, ipv4, ipv6, read_u16, udp, xcast4, xcast6};

/// Octets of the nonce.
pub const NONCE_LEN: usize = 16;
/// Octets of the UDP datagram in a probe.
pub(crate) const DATAGRAM_LEN: usize = udp::HEADER_LEN + NONCE_LEN;
const TTL: u8 = 2;

/// The nonce of the probe with this number: the number and a code that only who knows `secret` can
/// make.
pub fn make_nonce(number: u64, secret: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    nonce[8..].copy_from_slice(&code(number, secret).to_be_bytes());
    nonce
}

/// The number in a nonce.
pub fn number(nonce: &[u8; NONCE_LEN]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&nonce[..8]);
    u64::from_be_bytes(number)
}

/// Whether a nonce was made with `secret`.
pub fn is_genuine(nonce: &[u8; NONCE_LEN], secret: u64) -> bool {
    *nonce == make_nonce(number(nonce), secret)
}

fn code(number: u64, secret: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(secret);
    hasher.write_u64(number);
    hasher.finish()
}

/// The nonce in a UDP datagram, if it has the form of a probe's.
pub(crate) fn nonce(datagram: &[u8]) -> Option<[u8; NONCE_LEN]> {
    let (header, payload) = datagram.split_at_checked(udp::HEADER_LEN)?;
    let ports = (read_u16(header, 0), read_u16(header, 2));
    (ports == (0, 0)).then_some(payload)?.try_into().ok()
}

/// A whole probe from `own`, the sender's address on the link.
pub fn packet(code_points: &CodePoints, own: IpAddr, nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    let mut datagram = [0; DATAGRAM_LEN];
    datagram[udp::HEADER_LEN..].copy_from_slice(nonce);
    let ports = udp::Repr { source_port: 0, destination_port: 0 };
    let (group, mut headers): (IpAddr, Vec<u8>) = match own {
        IpAddr::V4(own) => {
            let list = xcast4::Repr {
                keep_xcast: true,
                protocol: protocol::UDP,
                bitmap: xcast4::bit(0),
                destinations: vec![own],
                ..xcast4::Repr::default()
            };
            let mut headers = vec![0; ipv4::HEADER_LEN + list.header_len()];
            let (ip, xcast) = headers.split_at_mut(ipv4::HEADER_LEN);
            let repr = ipv4::Repr {
                source: own,
                destination: code_points.all_routers_v4,
                protocol: code_points.ip_protocol,
                traffic_class: 0,
                ttl: TTL,
                payload_len: (xcast.len() + DATAGRAM_LEN) as u16,
            };
            repr.emit(ip);
            list.emit(xcast).expect("a list of one");
            (code_points.all_routers_v4.into(), headers)
        }
        IpAddr::V6(own) => {
            let list = xcast6::Repr {
                keep_xcast: true,
                next_header: protocol::UDP,
                routing_type: code_points.routing_type,
                bitmap: xcast6::bit(0),
                destinations: vec![own],
                ..xcast6::Repr::default()
            };
            let mut headers = vec![0; ipv6::HEADER_LEN + list.header_len()];
            let (ip, xcast) = headers.split_at_mut(ipv6::HEADER_LEN);
            let repr = ipv6::Repr {
                source: own,
                destination: code_points.all_routers_v6,
                next_header: next_header::ROUTING,
                traffic_class: 0,
                flow_label: 0,
                hop_limit: TTL,
                payload_len: (xcast.len() + DATAGRAM_LEN) as u16,
            };
            repr.emit(ip);
            list.emit(xcast).expect("a list of one");
            (code_points.all_routers_v6.into(), headers)
        }
    };
    ports.emit(&mut datagram, own, group);
    headers.extend(datagram);
    headers
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_nonce_is_genuine_for_its_secret_alone() {
        let nonce = make_nonce(7, 99);
        assert_eq!(number(&nonce), 7);
        assert!(is_genuine(&nonce, 99) && !is_genuine(&nonce, 98));
        for at in 0..NONCE_LEN {
            let mut forged = nonce;
            forged[at] ^= 1;
            assert!(!is_genuine(&forged, 99), "octet {at}");
        }
    }

    #[test]
    fn emits_golden_bytes() {
        let code_points = CodePoints {
            ip_protocol: 253,
            all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
            all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
            routing_type: 253,
            ports_option: 0x5e,
            hop_by_hop_option: 0x1e,
        };
        let own = Ipv4Addr::new(10, 0, 0, 1);
        let nonce: [u8; 16] = *b"0123456789abcdef";
        let bytes = packet(&code_points, own.into(), &nonce);
        // IPv4: 64 octets in all, DF, TTL 2, protocol 253, own address to the group.
        assert_eq!(bytes[..10], [0x45, 0, 0, 64, 0, 0, 0x40, 0, 2, 253]);
        assert_eq!(bytes[12..20], [10, 0, 0, 1, 224, 0, 0, 254]);
        // Xcast4: version 1, X, one destination, no channel, UDP, 5 words.
        assert_eq!(bytes[20..22], [0x14, 1]);
        assert_eq!(bytes[24..40], [0, 0, 0, 0, 17, 5, 0, 0, 0x80, 0, 0, 0, 10, 0, 0, 1]);
        assert_eq!(bytes[40..46], [0, 0, 0, 0, 0, 24]);
        assert_eq!(bytes[48..], nonce);
        assert_eq!(super::nonce(&bytes[40..]), Some(nonce));
        assert!(udp::checksum_valid(&bytes[40..], own, code_points.all_routers_v4));
        let bytes = packet(&code_points, Ipv6Addr::LOCALHOST.into(), &nonce);
        // IPv6: payload 24 + 8 + 16 of list and 24 of UDP, next header 43, hop limit 2.
        assert_eq!(bytes[..8], [0x60, 0, 0, 0, 0, 72, 43, 2]);
        // Xcast6: UDP follows, 6 x 8 octets, routing type 253, version 1, X, one destination.
        assert_eq!(bytes[40..46], [17, 5, 253, 0, 0x14, 1]);
        assert_eq!(super::nonce(&bytes[88..]), Some(nonce));
    }

    #[test]
    fn knows_the_form_of_a_probe() {
        let mut datagram = [0; DATAGRAM_LEN];
        assert!(nonce(&datagram).is_some());
        assert!(nonce(&datagram[..DATAGRAM_LEN - 1]).is_none());
        assert!(nonce(&[0; DATAGRAM_LEN + 1]).is_none() && nonce(&[]).is_none());
        datagram[3] = 9;
        assert!(nonce(&datagram).is_none());
    }
}

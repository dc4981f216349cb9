//! The Ethernet header, as far as a router needs it.
//!
//! ```text
//! | destination (6) | source (6) | EtherType (2) | IP packet ...
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

/// Length of an untagged Ethernet header in octets.
pub const HEADER_LEN: usize = 14;

/// EtherType of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;

/// EtherType of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;

/// A complete Ethernet header.
pub fn header(destination: [u8; 6], source: [u8; 6], ether_type: u16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..6].copy_from_slice(&destination);
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(&ether_type.to_be_bytes());
    header
}

/// The Ethernet address of an IPv4 multicast group (RFC 1112 section 6.4).
pub fn group_address(group: Ipv4Addr) -> [u8; 6] {
    let [_, b, c, d] = group.octets();
    [0x01, 0x00, 0x5e, b & 0x7f, c, d]
}

/// The Ethernet address of an IPv6 multicast group (RFC 2464 section 7).
pub fn group_address_v6(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_a_group_to_its_address() {
        assert_eq!(group_address(Ipv4Addr::new(224, 0, 0, 254)), [1, 0, 0x5e, 0, 0, 0xfe]);
        assert_eq!(group_address(Ipv4Addr::new(239, 255, 1, 2)), [1, 0, 0x5e, 0x7f, 1, 2]);
    }

    #[test]
    fn maps_an_ipv6_group_to_its_address() {
        let group = "ff02::114".parse().unwrap();
        assert_eq!(group_address_v6(group), [0x33, 0x33, 0, 0, 1, 0x14]);
        let group = "ff05::1:ffab:cdef".parse().unwrap();
        assert_eq!(group_address_v6(group), [0x33, 0x33, 0xff, 0xab, 0xcd, 0xef]);
    }

    #[test]
    fn emits_golden_bytes() {
        let bytes = header([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], TYPE_IPV4);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0]);
    }
}

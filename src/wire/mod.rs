//! Byte formats, both ways: Ethernet, IPv4, IPv6, UDP, ICMP errors and the Xcast headers of
//! RFC 5058.
//!
//! Every format has two faces. A *view* (`ipv4::Packet`, `xcast4::Header`) borrows bytes, checks
//! them once when it is made, and from then on reads fields without failing. A *repr*
//! (`ipv4::Repr`, `xcast4::Repr`) is a small owned value that emits bytes. No function here
//! panics on any input bytes; emitting into a buffer shorter than the stated length does panic,
//! as that is the caller's mistake.
//!
//! The formats that RFC 5058 leaves open are fixed in `WIRE.md`.

pub mod checksum;
pub mod control;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
mod list;
pub mod probe;
pub mod quote;
pub mod semi_permeable;
pub mod trace;
pub mod tunnel;
pub mod udp;
pub mod xcast4;
pub mod xcast6;

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) use list::Pruning;

/// The experimental code points a network has agreed on (RFC 4727); never defaulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePoints {
    /// IPv4 protocol number of the Xcast4 header.
    pub ip_protocol: u8,
    /// All_Xcast_Routers, IPv4.
    pub all_routers_v4: Ipv4Addr,
    /// All_Xcast_Routers, IPv6.
    pub all_routers_v6: Ipv6Addr,
    /// IPv6 Routing Type of the Xcast6 header.
    pub routing_type: u8,
    /// IPv6 Destination Option that lists a port for each destination.
    pub ports_option: u8,
    /// IPv6 Hop-by-Hop option in front of a packet in a semi-permeable tunnel.
    pub hop_by_hop_option: u8,
}

/// The two octets at `at`, in network order. The caller has checked that they are there.
#[inline]
pub(crate) fn read_u16(bytes: &[u8], at: usize) -> u16 {
    let mut octets = [0; 2];
    octets.copy_from_slice(&bytes[at..at + 2]);
    u16::from_be_bytes(octets)
}

/// The four octets at `at`, in network order. The caller has checked that they are there.
#[inline]
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut octets = [0; 4];
    octets.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(octets)
}

/// The IPv6 address at `at`. The caller has checked that its 16 octets are there.
#[inline]
pub(crate) fn read_address(bytes: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    octets.into()
}

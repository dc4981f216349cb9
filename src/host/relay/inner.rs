//! Inner packets: what has come to a host's leased address through its relay, as the host's own
//! network would have made it of them. Pure: hostile octets are refused by name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::fib::Fib;
use crate::forward::DropReason;
use crate::host::{Received, receiver};
use crate::io::datagram::{ReportKind, Reported};
use crate::wire::checksum::{Sum, checksum};
use crate::wire::ipv4::protocol;
use crate::wire::ipv6::next_header;
use crate::wire::quote::{self, Quote};
use crate::wire::tunnel::traffic_class;
use crate::wire::{icmp, ipv4, ipv6, udp};

/// Octets of an ICMP message in front of what it quotes.
const ICMP_HEADER_LEN: usize = 8;

/// What an inner packet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inner {
    /// A datagram for the port.
    Datagram(Received),
    /// News of an Xcast packet that this host has sent.
    Error { error: icmp::Error, quote: Quote, from: IpAddr },
    /// News of a plain copy of one.
    Report(Reported),
}

/// Where packets are for.
pub(super) struct Place<'a> {
    /// Knows the code points, and no network.
    pub(super) fib: &'a Fib,
    /// The leased address.
    pub(super) address: IpAddr,
    /// The port.
    pub(super) port: u16,
}

/// An IP header, as far as it matters here.
struct Header<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ttl: u8,
    payload: &'a [u8],
}

/// Reads an IP packet that has come by the relay.
///
/// # Errors
/// Why it is refused: it is broken, a fragment, or for somebody else.
pub(super) fn read(place: &Place<'_>, packet: &mut [u8]) -> Result<Inner, DropReason> {
    let header = header(packet)?;
    let unusable = |address: IpAddr| {
        address.is_multicast() || address.is_unspecified() || address.is_loopback()
    };
    if unusable(header.source) {
        return Err(DropReason::Source);
    }
    let points = place.fib.code_points();
    if [points.ip_protocol, next_header::ROUTING, next_header::HOP_BY_HOP]
        .contains(&header.protocol)
    {
        let is_own = |address| address == place.address;
        let nowhere = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);
        let received = receiver::read(place.fib, packet, None, place.port, is_own, nowhere);
        return received.map(Inner::Datagram).ok_or(DropReason::NotForThisRouter);
    }
    if header.destination != place.address {
        return Err(DropReason::NotForThisRouter);
    }
    match (header.protocol, header.source) {
        (protocol::UDP, _) => datagram(place, &header, traffic_class(packet)),
        (protocol::ICMP, IpAddr::V4(_)) | (next_header::ICMPV6, IpAddr::V6(_)) => {
            news(place, &header)
        }
        _ => Err(DropReason::NotForThisRouter),
    }
}

fn header(packet: &[u8]) -> Result<Header<'_>, DropReason> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => {
            let ip = ipv4::Packet::parse(packet).map_err(|_| DropReason::IpHeader)?;
            if ip.is_fragment() {
                return Err(DropReason::Fragment);
            }
            Ok(Header {
                source: ip.source().into(),
                destination: ip.destination().into(),
                protocol: ip.protocol(),
                ttl: ip.ttl(),
                payload: ip.payload(),
            })
        }
        Some(6) => {
            let ip = ipv6::Packet::parse(packet).map_err(|_| DropReason::IpHeader)?;
            if ip.next_header() == next_header::FRAGMENT {
                return Err(DropReason::Fragment);
            }
            Ok(Header {
                source: ip.source().into(),
                destination: ip.destination().into(),
                protocol: ip.next_header(),
                ttl: ip.hop_limit(),
                payload: ip.payload(),
            })
        }
        _ => Err(DropReason::IpHeader),
    }
}

fn datagram(
    place: &Place<'_>,
    header: &Header<'_>,
    traffic_class: u8,
) -> Result<Inner, DropReason> {
    // Octets behind the datagram's own length are none of it.
    let length = usize::from(word(header.payload, 4).ok_or(DropReason::Length)?);
    let datagram = header.payload.get(..length).ok_or(DropReason::Length)?;
    if !udp::checksum_valid(datagram, header.source, header.destination) {
        return Err(DropReason::Checksum);
    }
    let (from, to) = (word(datagram, 0).unwrap_or(0), word(datagram, 2).unwrap_or(0));
    if to != place.port {
        return Err(DropReason::NotForThisRouter);
    }
    Ok(Inner::Datagram(Received {
        source: SocketAddr::new(header.source, from),
        destination: header.destination,
        port: to,
        ttl: header.ttl,
        dscp: traffic_class >> 2,
        channel: None,
        stamp: None,
        payload: datagram.get(udp::HEADER_LEN..).unwrap_or_default().to_vec(),
    }))
}

/// An ICMP error about something that this host has sent from its leased address.
fn news(place: &Place<'_>, header: &Header<'_>) -> Result<Inner, DropReason> {
    let message = header.payload;
    let (is_v6, from) = (header.source.is_ipv6(), header.source);
    let (fixed, quoted) =
        message.split_at_checked(ICMP_HEADER_LEN).ok_or(DropReason::NotForThisRouter)?;
    let sum = match is_v6 {
        false => checksum(message),
        true => {
            let addresses = Sum::default().address(from).address(header.destination);
            let length = message.len() as u16; // it is in an IP packet
            addresses.word(length).word(u16::from(next_header::ICMPV6)).bytes(message).checksum()
        }
    };
    if sum != 0 {
        return Err(DropReason::Checksum);
    }
    let points = place.fib.code_points();
    if let Some(quote) = quote::read(points, quoted).filter(|q| q.source == place.address) {
        let parsed = if is_v6 { icmp::parse_v6(message) } else { icmp::parse_v4(message) };
        let (error, _) = parsed.ok_or(DropReason::NotForThisRouter)?;
        return Ok(Inner::Error { error, quote, from });
    }
    let kind = kind(is_v6, fixed).ok_or(DropReason::NotForThisRouter)?;
    let reported = plain(place, quoted).ok_or(DropReason::NotForThisRouter)?;
    Ok(Inner::Report(Reported { offender: Some(from), kind, ..reported }))
}

/// What an ICMP error says, in the words of the kernel's reports.
fn kind(is_v6: bool, fixed: &[u8]) -> Option<ReportKind> {
    let (kind, code) = (*fixed.first()?, *fixed.get(1)?);
    Some(match (is_v6, kind, code) {
        (false, 3, 3) | (true, 1, 4) => ReportKind::PortUnreachable,
        (false, 3, 4) => ReportKind::TooBig { mtu: word(fixed, 6)?.into() },
        (true, 2, _) => ReportKind::TooBig {
            mtu: u32::from(word(fixed, 4)?) << 16 | u32::from(word(fixed, 6)?),
        },
        (false, 3, _) | (true, 1, _) => ReportKind::Unreachable { code },
        (false, 11, 0) | (true, 3, 0) => ReportKind::TimeExceeded,
        _ => return None,
    })
}

/// The datagram that an ICMP error quotes, if it was sent from here. Its lengths and checksums are
/// those of a whole packet, of which this is the beginning.
fn plain(place: &Place<'_>, quoted: &[u8]) -> Option<Reported> {
    let (source, destination, protocol, start): (IpAddr, IpAddr, u8, usize) =
        match quoted.first()? >> 4 {
            4 => {
                let address = |at: usize| {
                    let octets: [u8; 4] = *quoted.get(at..)?.first_chunk()?;
                    Some(IpAddr::from(octets))
                };
                let start = usize::from(quoted[0] & 0xf) * 4;
                (address(12)?, address(16)?, *quoted.get(9)?, start.max(ipv4::HEADER_LEN))
            }
            _ => {
                let address = |at: usize| {
                    let octets: [u8; 16] = *quoted.get(at..)?.first_chunk()?;
                    Some(IpAddr::from(octets))
                };
                (address(8)?, address(24)?, *quoted.get(6)?, ipv6::HEADER_LEN)
            }
        };
    let datagram = quoted.get(start..)?;
    let (from, to) = (word(datagram, 0)?, word(datagram, 2)?);
    let is_own = (source, from) == (place.address, place.port) && protocol == protocol::UDP;
    is_own.then(|| Reported {
        destination: SocketAddr::new(destination, to),
        offender: None,
        kind: ReportKind::TimeExceeded,
        errno: 0,
        payload: datagram.get(udp::HEADER_LEN..).unwrap_or_default().to_vec(),
    })
}

fn word(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|pair| u16::from_be_bytes(*pair))
}

#[cfg(test)]
mod tests;

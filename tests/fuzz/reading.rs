//! A slow reader of Xcast packets, written from WIRE.md alone: what the packet path must find in a
//! packet, or why it must not take it.

use std::net::IpAddr;
use std::ops::Range;

use xcast::fib::{Entry, Fib, PortId, is_link_local};
use xcast::forward::DropReason;

use super::octets::{address, sum, word};

pub(crate) const A: u8 = 8;
pub(crate) const X: u8 = 4;
pub(crate) const D: u8 = 2;
pub(crate) const P: u8 = 1;

pub(crate) const PROTOCOL: u8 = 253;
pub(crate) const ROUTING_TYPE: u8 = 253;
pub(crate) const PORTS_OPTION: u8 = 0x5e;

/// Where everything is in a valid packet; offsets from the IP header on.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) is_v6: bool,
    /// The length of the IP packet.
    pub(crate) len: usize,
    /// The octet that says that the Xcast header follows.
    pub(crate) named_at: usize,
    pub(crate) xcast: Range<usize>,
    /// A, X, D and, over IPv4, P.
    pub(crate) flags: u8,
    pub(crate) count: usize,
    /// The first destination's bit is the most significant one.
    pub(crate) live: u128,
    pub(crate) bitmap: Range<usize>,
    pub(crate) addresses: usize,
    pub(crate) ds_bytes: Option<usize>,
    pub(crate) ports: Option<usize>,
    /// Of the ports over IPv6: their header, and whether it holds nothing else.
    pub(crate) ports_header: Option<(Range<usize>, bool)>,
    pub(crate) transport: usize,
    pub(crate) protocol: u8,
}

/// What follows the Xcast header.
struct Chain {
    ports: Option<(usize, Range<usize>, bool)>,
    transport: usize,
    protocol: u8,
}

type Read<T> = Result<T, DropReason>;

/// Reads a packet that came in by `port`.
pub(crate) fn read(fib: &Fib, port: Option<PortId>, packet: &[u8]) -> Read<Reading> {
    let (named_at, xcast, len) = match packet.first().map(|first| first >> 4) {
        Some(4) => find_xcast4(packet)?,
        Some(6) => find_xcast6(packet)?,
        _ => return Err(DropReason::IpHeader),
    };
    let packet = &packet[..len];
    let is_v6 = packet[0] >> 4 == 6;
    let source = address(packet, if is_v6 { 8 } else { 12 }, is_v6);
    if fib.entry_for(source, port) == Entry::Bad {
        return Err(DropReason::Source);
    }
    let reading = read_list(packet, named_at, xcast, is_v6)?;
    let one_link = || (0..reading.count).all(|at| on_link(fib, port, packet, &reading, at));
    match is_link_local(source) && port.is_some() && !one_link() {
        true => Err(DropReason::Source),
        false => Ok(reading),
    }
}

/// Whether a destination is this node, not live, or on the link of `port`.
fn on_link(
    fib: &Fib,
    port: Option<PortId>,
    packet: &[u8],
    reading: &Reading,
    index: usize,
) -> bool {
    if reading.live << index >> 127 == 0 {
        return true;
    }
    match fib.entry_for(reading.destination(packet, index), port) {
        Entry::Local => true,
        Entry::OnLink(on) => Some(on) == port,
        Entry::Neighbor(id) => Some(fib.adjacency(id).port) == port,
        _ => false,
    }
}

/// The octet that names the Xcast4 header, where that begins, and the packet's length.
fn find_xcast4(packet: &[u8]) -> Read<(usize, usize, usize)> {
    let whole = packet.len() >= 20;
    let header_len = usize::from(packet[0] & 15) * 4;
    let len = if whole { usize::from(word(packet, 2)) } else { 0 };
    if !whole || header_len < 20 || len < header_len || packet.len() < len {
        return Err(DropReason::IpHeader);
    }
    let mut at = 20;
    while at < header_len && packet[at] != 0 {
        let option_len = match packet[at] {
            1 => 1,
            131 | 137 => 0,
            _ if at + 1 < header_len && packet[at + 1] >= 2 => usize::from(packet[at + 1]),
            _ => 0,
        };
        if option_len == 0 || at + option_len > header_len {
            return Err(DropReason::IpHeader);
        }
        at += option_len;
    }
    if sum(&packet[..header_len]) != 0xffff || packet[9] != PROTOCOL {
        return Err(DropReason::IpHeader);
    }
    match word(packet, 6) & 0x3fff {
        0 => Ok((9, header_len, len)),
        _ => Err(DropReason::Fragment),
    }
}

fn find_xcast6(packet: &[u8]) -> Read<(usize, usize, usize)> {
    let len = if packet.len() >= 40 { 40 + usize::from(word(packet, 4)) } else { usize::MAX };
    if packet.len() < len || len == 40 && packet[6] == 0 {
        return Err(DropReason::IpHeader);
    }
    let packet = &packet[..len];
    let (named_at, xcast) = match packet[6] {
        0 => (40, extension(packet, 40).ok_or(DropReason::IpHeader)?.end),
        _ => (6, 40),
    };
    match packet[named_at] {
        44 => return Err(DropReason::Fragment),
        43 if packet.get(xcast + 2) == Some(&ROUTING_TYPE) => {}
        _ => return Err(DropReason::IpHeader),
    }
    let mut at = xcast;
    while let Some(header) = extension(packet, at) {
        match packet[at] {
            44 => return Err(DropReason::Fragment),
            43 | 60 => at = header.end,
            _ => break,
        }
    }
    Ok((named_at, xcast, len))
}

/// An extension header that is all there.
fn extension(packet: &[u8], at: usize) -> Option<Range<usize>> {
    let end = at + 8 + 8 * usize::from(*packet.get(at + 1)?);
    (end <= packet.len()).then_some(at..end)
}

fn read_list(packet: &[u8], named_at: usize, xcast: usize, is_v6: bool) -> Read<Reading> {
    let header = &packet[xcast..];
    let (flags_at, fixed_len) = if is_v6 { (4, 24) } else { (0, 12) };
    match header.get(flags_at) {
        None => return Err(DropReason::Length),
        Some(flags) if flags >> 4 != 1 => return Err(DropReason::Version),
        _ if header.len() < fixed_len || is_v6 && header[3] != 0 => return Err(DropReason::Length),
        _ => {}
    }
    let unit = if is_v6 { 8 } else { 4 };
    let flags = header[flags_at] & if is_v6 { 14 } else { 15 };
    let count = usize::from(header[flags_at + 1] & 127);
    let bitmap = fixed_len..fixed_len + count.div_ceil(8 * unit) * unit;
    let mut end = bitmap.end + count * if is_v6 { 16 } else { 4 };
    let mut list = |flag: u8, item: usize| {
        let at = end;
        end += if flags & flag != 0 { (item * count).div_ceil(unit) * unit } else { 0 };
        (flags & flag != 0).then_some(xcast + at)
    };
    let (ds_bytes, ports) = (list(D, 1), list(P, 2));
    let stated = match is_v6 {
        true => 8 + 8 * usize::from(header[1]),
        false => 4 * usize::from(header[9]),
    };
    if stated != end || header.len() < end {
        return Err(DropReason::Length);
    }
    if sum(&header[..end]) != 0xffff {
        return Err(DropReason::Checksum);
    }
    if count == 0 {
        return Err(DropReason::NoDestination);
    }
    let octets = header[bitmap.clone()].iter().enumerate();
    let bits: u128 = octets.map(|(at, octet)| u128::from(*octet) << (120 - 8 * at)).sum();
    if bits << count != 0 {
        return Err(DropReason::SpareBits);
    }
    let next = header[if is_v6 { 0 } else { 8 }];
    let chain = match is_v6 {
        true => follow(packet, xcast, xcast + end, next, count)?,
        false => Chain { ports: None, transport: xcast + end, protocol: next },
    };
    if bits == 0 {
        return Err(DropReason::NoLiveDestination);
    }
    let (ports, ports_header) = match chain.ports {
        Some((at, header, alone)) => (Some(at), Some((header, alone))),
        None => (ports, None),
    };
    Ok(Reading {
        is_v6,
        len: packet.len(),
        named_at,
        xcast: xcast..xcast + end,
        flags,
        count,
        live: bits,
        addresses: xcast + bitmap.end,
        bitmap: xcast + bitmap.start..xcast + bitmap.end,
        ds_bytes,
        ports,
        ports_header,
        transport: chain.transport,
        protocol: chain.protocol,
    })
}

/// Goes from the end of the Xcast6 header to the transport.
fn follow(packet: &[u8], xcast: usize, start: usize, next: u8, count: usize) -> Read<Chain> {
    let mut chain = Chain { ports: None, transport: start, protocol: next };
    let mut is_first = true;
    while matches!(chain.protocol, 43 | 60) {
        let header = extension(packet, chain.transport).ok_or(DropReason::Length)?;
        // Segments left: a route by source.
        if chain.protocol == 43 && packet[header.start + 3] != 0 {
            return Err(DropReason::IpHeader);
        }
        if is_first && chain.protocol == 60 {
            chain.ports = find_ports(packet, header.clone(), count)?;
        }
        is_first = false;
        chain.protocol = packet[header.start];
        chain.transport = header.end;
    }
    // What else there is beside Xcast6 is at most 256 octets, the ports alone not counted.
    let room = if chain.ports.is_some() { (4 + 2 * count).div_ceil(8) * 8 } else { 0 };
    // Hop-by-Hop stands in front of it or not at all.
    match xcast - 40 + chain.transport - start > 256 + room || chain.protocol == 0 {
        true => Err(DropReason::IpHeader),
        false => Ok(chain),
    }
}

/// The ports in a Destination Options header: where they begin, the header, whether it holds
/// nothing else.
fn find_ports(
    packet: &[u8],
    header: Range<usize>,
    count: usize,
) -> Read<Option<(usize, Range<usize>, bool)>> {
    let (mut at, mut found, mut others) = (header.start + 2, None, false);
    while at < header.end {
        if packet[at] == 0 {
            at += 1;
            continue;
        }
        let data_at = at + 2;
        if data_at > header.end || data_at + usize::from(packet[at + 1]) > header.end {
            return Err(DropReason::Length);
        }
        let data_len = usize::from(packet[at + 1]);
        match packet[at] {
            1 => {}
            PORTS_OPTION if found.is_none() && data_len == 2 * count => found = Some(data_at),
            PORTS_OPTION => return Err(DropReason::Length),
            _ => others = true,
        }
        at = data_at + data_len;
    }
    Ok(found.map(|at| (at, header, !others)))
}

impl Reading {
    pub(crate) fn source(&self, packet: &[u8]) -> IpAddr {
        address(packet, if self.is_v6 { 8 } else { 12 }, self.is_v6)
    }

    pub(crate) fn group(&self, packet: &[u8]) -> IpAddr {
        address(packet, if self.is_v6 { 24 } else { 16 }, self.is_v6)
    }

    pub(crate) fn destination(&self, packet: &[u8], index: usize) -> IpAddr {
        let each = if self.is_v6 { 16 } else { 4 };
        address(packet, self.addresses + each * index, self.is_v6)
    }

    pub(crate) fn port(&self, packet: &[u8], index: usize) -> Option<u16> {
        self.ports.map(|at| word(packet, at + 2 * index))
    }

    pub(crate) fn ttl_at(&self) -> usize {
        if self.is_v6 { 7 } else { 8 }
    }

    /// Whether the transport is UDP and its payload begins as a trace request does (WIRE.md "Ping
    /// and trace").
    pub(crate) fn asks_for_trace(&self, packet: &[u8]) -> bool {
        let payload = packet[..self.len].get(self.transport + 8..).unwrap_or_default();
        self.protocol == 17 && payload.len() >= 16 && payload.starts_with(b"XCTR\x01\x01")
    }

    pub(crate) fn keeps_xcast(&self) -> bool {
        self.flags & X != 0
    }

    /// The indices of the destinations in a bitmap.
    pub(crate) fn indices(&self, live: u128) -> Vec<usize> {
        (0..self.count).filter(|index| live << index >> 127 == 1).collect()
    }

    /// Where the transport header has a checksum over addresses and ports; `Err` if a unicast
    /// copy could not have a right one.
    pub(crate) fn checksum_at(&self, packet: &[u8]) -> Result<Option<usize>, ()> {
        let transport = &packet[self.transport..self.len];
        let (at, needed) = match self.protocol {
            17 | 33 | 136 => (6, 8),
            6 => (16, 20),
            50 | 51 => return Err(()),
            _ if self.ports.is_some() => return Err(()),
            58 if self.is_v6 => (2, 4),
            _ => return Ok(None),
        };
        let absent = |at| self.is_v6 && self.protocol == 17 && word(transport, at) == 0;
        match transport.len() < needed || absent(at) {
            true => Err(()),
            false => Ok(Some(self.transport + at)),
        }
    }
}

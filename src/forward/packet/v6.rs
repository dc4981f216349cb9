//! IPv6: `| IPv6 header | Hop-by-Hop? | Xcast6 | Destination Options with ports? | other
//! extension headers | transport ... |`

use super::*;
use crate::wire::{ipv6, semi_permeable, xcast6};

/// Octets of extension headers beside Xcast6 and a list of ports that a packet may have, as hosts and
/// routers may limit them (RFC 8504 section 5.3).
pub(in crate::forward) const EXTENSIONS_LEN_MAX: usize = 256;

/// What stands behind the Xcast6 header.
struct Chain {
    /// Where the list of ports begins.
    ports: Option<usize>,
    /// The list of ports beside other options, with the padding around it: where it begins, and its
    /// length.
    ports_run: Option<(usize, usize)>,
    /// Where a unicast copy goes on, and the protocol of what is there.
    rest: (usize, u8),
    transport: usize,
    protocol: u8,
}

pub(super) fn parse(fib: &Fib, packet: &Packet<'_>, bytes: &[u8]) -> Result<Parsed, Unread> {
    if fib.opens_envelopes() && packet.port.is_some() {
        let option = fib.code_points().hop_by_hop_option;
        if let Some(envelope) = semi_permeable::read(option, bytes) {
            return parse_enveloped(fib, packet, bytes, envelope.hop_limit);
        }
    }
    let ip = ipv6::Packet::parse(bytes).map_err(|_| DropReason::IpHeader)?;
    parse_listed(fib, packet.start, &bytes[..ip.total_len()], &ip)
}

/// What is in an envelope, which must be filled by it.
fn parse_enveloped(
    fib: &Fib,
    packet: &Packet<'_>,
    bytes: &[u8],
    hop_limit: u8,
) -> Result<Parsed, Unread> {
    let whole = ipv6::Packet::parse(bytes).map_err(|_| DropReason::IpHeader)?.total_len();
    let inner = &bytes[semi_permeable::OVERHEAD..whole];
    let ip = ipv6::Packet::parse(inner).map_err(|_| DropReason::IpHeader)?;
    if ip.total_len() != inner.len() {
        return Err(DropReason::IpHeader.into());
    }
    let parsed = parse_listed(fib, packet.start + semi_permeable::OVERHEAD, inner, &ip)?;
    Ok(Parsed { outer: packet.start, ttl: hop_limit, ..parsed })
}

/// A packet that begins at octet `start` of the buffer, and is all of `bytes`.
fn parse_listed(
    fib: &Fib,
    start: usize,
    bytes: &[u8],
    ip: &ipv6::Packet<'_>,
) -> Result<Parsed, Unread> {
    let (xcast, protocol_at) = find_xcast(fib, bytes)?;
    if has_fragment_header(&bytes[xcast..]) {
        return Err(DropReason::Fragment.into());
    }
    let source = ip.source().into();
    behind(fib, start, bytes, ip, (xcast, protocol_at))
        .map_err(|reason| Unread { reason, source: Some(source) })
}

/// The Xcast header, which begins at `xcast` and is named at `protocol_at`, and all behind it.
fn behind(
    fib: &Fib,
    start: usize,
    bytes: &[u8],
    ip: &ipv6::Packet<'_>,
    (xcast, protocol_at): (usize, usize),
) -> Result<Parsed, DropReason> {
    let header = xcast6::Header::parse(&bytes[xcast..])?;
    let count = header.count();
    let xcast_end = xcast + header.header_len();
    let chain = Chain::walk(fib, bytes, xcast_end, header.next_header(), count)?;
    let lists = xcast6::lists(count, header.has_ds_bytes());
    let ports_len = if chain.ports.is_some() { xcast6::ports_option_len(count) } else { 0 };
    let others = (xcast - ipv6::HEADER_LEN) + (chain.transport - xcast_end);
    if others > EXTENSIONS_LEN_MAX + ports_len {
        return Err(DropReason::IpHeader);
    }
    let at = |offset: usize| start + offset;
    Ok(Parsed {
        outer: start,
        ip: start,
        protocol_at: at(protocol_at),
        xcast: at(xcast),
        xcast_end: at(xcast_end),
        rest: at(chain.rest.0),
        rest_protocol: chain.rest.1,
        ports_run: chain.ports_run.map(|(run, length)| (at(run), length)),
        transport: at(chain.transport),
        tail: at(bytes.len().min(chain.transport + TRANSPORT_LEN)),
        end: at(bytes.len()),
        source: ip.source().into(),
        source_entry: Entry::NoRoute,
        destination: ip.destination().into(),
        ttl: ip.hop_limit(),
        may_fragment: false,
        count,
        live: header.bitmap(),
        any_link_local: false,
        channel: header.channel(),
        keeps_xcast: header.keeps_xcast(),
        lists: Lists {
            addresses: at(xcast + lists.addresses),
            ds_bytes: lists.ds_bytes.map(|ds_bytes| at(xcast + ds_bytes)),
            ports: chain.ports.map(at),
        },
        protocol: chain.protocol,
        checksum: transport_checksum(
            true,
            chain.protocol,
            chain.ports.is_some(),
            &bytes[chain.transport..],
        ),
    })
}

/// Where the Xcast6 header begins, and the octet that names it. It is the first extension header,
/// or directly behind Hop-by-Hop.
fn find_xcast(fib: &Fib, bytes: &[u8]) -> Result<(usize, usize), DropReason> {
    let mut protocol_at = ipv6::field::NEXT_HEADER;
    let mut at = ipv6::HEADER_LEN;
    if bytes[protocol_at] == next_header::HOP_BY_HOP {
        protocol_at = at;
        at += ipv6::extension_len(&bytes[at..]).ok_or(DropReason::IpHeader)?;
    }
    match bytes[protocol_at] {
        next_header::FRAGMENT => Err(DropReason::Fragment),
        next_header::ROUTING if bytes.get(at + 2) == Some(&fib.code_points().routing_type) => {
            Ok((at, protocol_at))
        }
        _ => Err(DropReason::IpHeader),
    }
}

/// Whether a Fragment header follows, behind the headers that each fragment has (RFC 8200 section
/// 4.5). What is cut short is found by other checks.
fn has_fragment_header(mut bytes: &[u8]) -> bool {
    while let Some(length) = ipv6::extension_len(bytes) {
        match bytes[0] {
            next_header::FRAGMENT => return true,
            next_header::ROUTING | next_header::DESTINATION_OPTIONS => bytes = &bytes[length..],
            _ => return false,
        }
    }
    false
}

impl Chain {
    /// Walks from the end of the Xcast6 header, whose next header is `protocol`, to the transport.
    fn walk(
        fib: &Fib,
        bytes: &[u8],
        start: usize,
        protocol: u8,
        count: usize,
    ) -> Result<Chain, DropReason> {
        let rest = (start, protocol);
        let mut chain = Chain { ports: None, ports_run: None, rest, transport: start, protocol };
        if protocol == next_header::DESTINATION_OPTIONS {
            chain.take_ports(fib, bytes, count)?;
        }
        while matches!(chain.protocol, next_header::ROUTING | next_header::DESTINATION_OPTIONS) {
            chain.step(bytes)?;
        }
        match chain.protocol {
            // It stands first or not at all (RFC 8200 section 4.1).
            next_header::HOP_BY_HOP => Err(DropReason::IpHeader),
            _ => Ok(chain),
        }
    }

    /// The Destination Options header right behind Xcast6 may list ports.
    fn take_ports(&mut self, fib: &Fib, bytes: &[u8], count: usize) -> Result<(), DropReason> {
        let start = self.transport;
        let length = ipv6::extension_len(&bytes[start..]).ok_or(DropReason::Length)?;
        let header = &bytes[start..start + length];
        let Some(found) = xcast6::find_ports(header, fib.code_points().ports_option)? else {
            return Ok(());
        };
        if found.count != count {
            return Err(DropReason::Length);
        }
        let option = start + found.option_at;
        self.ports = Some(option + 2);
        self.step(bytes)?;
        match found.alone {
            true => self.rest = (self.transport, self.protocol),
            false => {
                let (begin, end) = found.run;
                self.ports_run = Some((start + begin, end - begin));
            }
        }
        Ok(())
    }

    fn step(&mut self, bytes: &[u8]) -> Result<(), DropReason> {
        let header = &bytes[self.transport..];
        let length = ipv6::extension_len(header).ok_or(DropReason::Length)?;
        // A route by source is refused, as over IPv4: unicast copies would follow it.
        let segments_left = header[3];
        if self.protocol == next_header::ROUTING && segments_left != 0 {
            return Err(DropReason::IpHeader);
        }
        self.protocol = header[0];
        self.transport += length;
        Ok(())
    }
}

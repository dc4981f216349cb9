//! Making one copy of an IPv4 Xcast packet: in Xcast form with a pruned list, or as a plain
//! unicast packet (X2U, WIRE.md R7).
//!
//! A copy's head is laid out either in the output's room for heads ([`copy`]) or around the
//! received packet itself ([`in_place`]), and then finished by the same functions. To become
//! unicast in place, the IP header moves up to the transport header, over the Xcast header.

use std::net::Ipv4Addr;

use super::output::{Output, unresolved_rewrite};
use super::packet::Parsed;
use super::replica::{Form, LINK_HEADER_LEN, Span, Target};
use super::scratch::Plan;
use crate::fib::{Fib, PortId};
use crate::wire::checksum::{Sum, update};
use crate::wire::ipv4::{self, field, protocol};
use crate::wire::xcast4;
use crate::wire::{read_u16, read_u32};

/// Where a replica's bytes are: whether the head is in the packet's buffer, the head, the tail.
type Made = (bool, Span, Span);

/// Makes a copy with a head of its own, leaving the buffer as it is. `None` if there is no room.
pub(super) fn copy(
    fib: &Fib,
    buffer: &[u8],
    port: Option<PortId>,
    parsed: &Parsed,
    plan: &Plan,
    out: &mut Output,
) -> Option<Made> {
    let (first, second) = match plan.form {
        Form::Xcast => (parsed.ip..parsed.transport, parsed.transport..parsed.tail),
        _ => (parsed.ip..parsed.xcast, parsed.transport..parsed.tail),
    };
    let span = out.take_head(LINK_HEADER_LEN + first.len() + second.len())?;
    let head = out.head_mut(span);
    let middle = LINK_HEADER_LEN + first.len();
    head[LINK_HEADER_LEN..middle].copy_from_slice(&buffer[first]);
    head[middle..].copy_from_slice(&buffer[second]);
    let only = Only::of(&buffer[parsed.xcast..parsed.transport], plan);
    finish(fib, head, port, parsed, plan, only);
    Some((false, span, Span::new(parsed.tail, parsed.end)))
}

/// Makes the last copy in the buffer. Where that has no room in front, it gets a head after all.
pub(super) fn in_place(
    fib: &Fib,
    buffer: &mut [u8],
    port: Option<PortId>,
    parsed: &Parsed,
    plan: &Plan,
    out: &mut Output,
) -> Option<Made> {
    let ip = match plan.form {
        Form::Xcast => parsed.ip,
        _ => parsed.ip + (parsed.transport - parsed.xcast),
    };
    let Some(start) = ip.checked_sub(LINK_HEADER_LEN) else {
        return copy(fib, buffer, port, parsed, plan, out);
    };
    let only = Only::of(&buffer[parsed.xcast..parsed.transport], plan);
    if ip != parsed.ip {
        buffer.copy_within(parsed.ip..parsed.xcast, ip);
    }
    finish(fib, &mut buffer[start..parsed.end], port, parsed, plan, only);
    Some((true, Span::new(start, parsed.end), Span::default()))
}

/// What the list says of the first live destination of a copy, which is the only one where the
/// copy becomes unicast; taken before the list may be overwritten.
struct Only {
    address: Ipv4Addr,
    port: Option<u16>,
    ds_byte: Option<u8>,
}

impl Only {
    fn of(xcast: &[u8], plan: &Plan) -> Only {
        let index = plan.live.leading_zeros() as usize;
        Only {
            address: xcast4::destination_at(xcast, index),
            port: xcast4::port_at(xcast, index),
            ds_byte: xcast4::ds_byte_at(xcast, index),
        }
    }
}

/// Turns a head that holds the packet's own headers into the copy's.
fn finish(
    fib: &Fib,
    head: &mut [u8],
    port: Option<PortId>,
    parsed: &Parsed,
    plan: &Plan,
    only: Only,
) {
    let (link, ip) = head.split_at_mut(LINK_HEADER_LEN);
    match (plan.adjacency.and_then(|id| fib.adjacency(id).rewrite), plan.target) {
        (Some(rewrite), _) => link.copy_from_slice(&rewrite),
        (None, Target::Neighbor { port, .. }) => {
            link.copy_from_slice(&unresolved_rewrite(fib, port));
        }
        (None, _) => link.fill(0),
    }
    // The TTL falls where a packet is forwarded, not where it starts or ends (R3, R4).
    let lower_ttl = port.is_some() && plan.target != Target::Host;
    if plan.form == Form::Xcast {
        if lower_ttl {
            ipv4::decrement_ttl(ip);
        }
        if let Some(dscp) = plan.dscp {
            ipv4::set_dscp(ip, dscp);
        }
        xcast4::prune(&mut ip[parsed.xcast - parsed.ip..], plan.live);
    } else {
        ip[field::TTL] -= u8::from(lower_ttl);
        to_unicast(ip, parsed, only);
    }
}

/// X2U: `ip` holds the IP header and, right behind it, the transport header.
fn to_unicast(ip: &mut [u8], parsed: &Parsed, only: Only) {
    let header_len = parsed.xcast - parsed.ip;
    let (header, transport) = ip.split_at_mut(header_len);
    let mut old = Sum::default().double(read_u32(header, field::DESTINATION));
    let mut new = Sum::default().double(only.address.to_bits());
    if let Some(port) = only.port {
        old = old.word(read_u16(transport, 2));
        new = new.word(port);
        transport[2..4].copy_from_slice(&port.to_be_bytes());
    }
    if let Ok(Some(at)) = parsed.transport_checksum() {
        adjust_checksum(&mut transport[at..at + 2], parsed.protocol, old, new);
    }
    let length = parsed.unicast_len() as u16;
    header[field::TOTAL_LENGTH..field::TOTAL_LENGTH + 2].copy_from_slice(&length.to_be_bytes());
    header[field::PROTOCOL] = parsed.protocol;
    header[field::DESTINATION..field::DESTINATION + 4].copy_from_slice(&only.address.octets());
    if let Some(ds_byte) = only.ds_byte {
        header[field::TRAFFIC_CLASS] = ds_byte & !0b11 | header[field::TRAFFIC_CLASS] & 0b11;
    }
    ipv4::fill_checksum(header, header_len);
}

/// The transport checksum follows the pseudo-header (RFC 5058 section 10.1). Over UDP, 0 says
/// that there is none, and stays; there and over UDP-Lite a result of 0 travels as 0xffff.
fn adjust_checksum(field: &mut [u8], protocol: u8, old: Sum, new: Sum) {
    let before = read_u16(field, 0);
    let after = match (protocol, before, update(before, old, new)) {
        (protocol::UDP, 0, _) => 0,
        (protocol::UDP | protocol::UDP_LITE, _, 0) => 0xffff,
        (_, _, after) => after,
    };
    field.copy_from_slice(&after.to_be_bytes());
}

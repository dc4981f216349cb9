//! Making one copy of an Xcast packet: in Xcast form with a pruned list, or as a plain unicast
//! packet (X2U, WIRE.md R7).
//!
//! A copy's head is laid out either in the output's room for heads ([`copy`]) or around the
//! received packet itself ([`in_place`]), and then finished by the same functions. To become
//! unicast in place, the IP header moves up to what follows, over the Xcast header.

use std::net::IpAddr;

use super::output::{Output, unresolved_rewrite};
use super::packet::{Parsed, TransportChecksum};
use super::replica::{Form, LINK_HEADER_LEN, Span, Target};
use super::scratch::Plan;
use crate::fib::{Fib, PortId};
use crate::wire::checksum::{Sum, update};
use crate::wire::ipv4::{self, protocol};
use crate::wire::{ethernet, ipv6, read_u16, xcast4, xcast6};

/// Where a replica's bytes are: whether the head is in the packet's buffer, the head, the tail.
pub(super) type Made = (bool, Span, Span);

/// Makes a copy with a head of its own, leaving the buffer as it is. `None` if there is no room.
pub(super) fn copy(
    fib: &Fib,
    buffer: &[u8],
    port: Option<PortId>,
    parsed: &Parsed,
    plan: &Plan,
    out: &mut Output,
) -> Option<Made> {
    // The headers in front, the list as it will be, and what follows up to the tail.
    let list = match (plan.form, plan.compact) {
        (Form::Xcast | Form::Probe, false) => parsed.xcast_end - parsed.xcast,
        (Form::Xcast | Form::Probe, true) => compact_len(parsed, plan.live),
        _ => 0,
    };
    let follows = if plan.form.is_unicast() { parsed.rest } else { parsed.xcast_end };
    let front = parsed.xcast - parsed.ip;
    let gain = if plan.form.is_unicast() { parsed.ports_gain() } else { 0 };
    let span = out.take_head(LINK_HEADER_LEN + front + list + parsed.tail - follows - gain)?;
    let head = out.head_mut(span);
    let (before, rest) = head[LINK_HEADER_LEN..].split_at_mut(front);
    let (header, after) = rest.split_at_mut(list);
    before.copy_from_slice(&buffer[parsed.ip..parsed.xcast]);
    match parsed.ports_run.filter(|_| plan.form.is_unicast()) {
        None => after.copy_from_slice(&buffer[follows..parsed.tail]),
        Some(run) => without_ports(&buffer[..parsed.tail], follows, run, after),
    }
    let whole = &buffer[parsed.xcast..parsed.xcast_end];
    match (plan.compact, parsed.is_v6()) {
        _ if plan.form.is_unicast() => {}
        (false, _) => header.copy_from_slice(whole),
        (true, false) => xcast4::compact(whole, plan.live, header),
        (true, true) => xcast6::compact(whole, plan.live, header),
    }
    finish(fib, head, port, parsed, plan, Only::of(buffer, parsed, plan));
    Some((false, span, Span::new(parsed.tail, parsed.end)))
}

/// Copies what follows from `start` on without a run of ports and padding, of which less than 8
/// octets of padding are left; the Destination Options header at `start` shrinks by the rest.
fn without_ports(buffer: &[u8], start: usize, (run, length): (usize, usize), into: &mut [u8]) {
    let (before, rest) = into.split_at_mut(run - start);
    let (padding, after) = rest.split_at_mut(length % 8);
    before.copy_from_slice(&buffer[start..run]);
    xcast6::fill_padding(padding);
    after.copy_from_slice(&buffer[run + length..]);
    into[1] -= (length / 8) as u8;
}

/// Makes the last copy in the buffer. Where that has no room in front, or a list shrinks, it gets a
/// head after all.
pub(super) fn in_place(
    fib: &Fib,
    buffer: &mut [u8],
    port: Option<PortId>,
    parsed: &Parsed,
    plan: &Plan,
    out: &mut Output,
) -> Option<Made> {
    let ip = match plan.form.is_unicast() {
        false => parsed.ip,
        true => parsed.ip + (parsed.rest - parsed.xcast),
    };
    let shrinks = plan.compact || plan.form.is_unicast() && parsed.ports_run.is_some();
    let start = ip.checked_sub(LINK_HEADER_LEN).filter(|_| !shrinks && !out.is_full());
    let Some(start) = start else { return copy(fib, buffer, port, parsed, plan, out) };
    let only = Only::of(buffer, parsed, plan);
    if ip != parsed.ip {
        buffer.copy_within(parsed.ip..parsed.xcast, ip);
    }
    finish(fib, &mut buffer[start..parsed.end], port, parsed, plan, only);
    Some((true, Span::new(start, parsed.end), Span::default()))
}

/// How many octets shorter the IP packet is when its list holds the live destinations alone.
pub(super) fn compact_gain(parsed: &Parsed, live: u128) -> usize {
    parsed.xcast_end - parsed.xcast - compact_len(parsed, live)
}

fn compact_len(parsed: &Parsed, live: u128) -> usize {
    let (count, lists) = (live.count_ones() as usize, parsed.lists);
    match parsed.is_v6() {
        true => xcast6::header_len(count, lists.ds_bytes.is_some()),
        false => xcast4::header_len(count, lists.ds_bytes.is_some(), lists.ports.is_some()),
    }
}

/// What the lists say of the first live destination of a copy, which is the only one where the
/// copy becomes unicast; taken before the lists may be overwritten.
struct Only {
    address: IpAddr,
    port: Option<u16>,
    ds_byte: Option<u8>,
}

impl Only {
    fn of(buffer: &[u8], parsed: &Parsed, plan: &Plan) -> Only {
        let index = plan.live.leading_zeros() as usize;
        Only {
            address: parsed.address(buffer, index),
            port: parsed.port(buffer, index),
            ds_byte: parsed.ds_byte(buffer, index),
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
    if parsed.is_v6() {
        link[12..].copy_from_slice(&ethernet::TYPE_IPV6.to_be_bytes());
    }
    // The TTL falls where a packet is forwarded, not where it starts or ends (R3, R4).
    let to_host = matches!(plan.target, Target::Host { .. });
    let lower_ttl = port.is_some() && !to_host;
    // A copy for one bears that one's own (R10).
    let own = only.ds_byte.filter(|_| !to_host).map(|ds_byte| ds_byte >> 2);
    let dscp = plan.dscp.or(own);
    match (plan.form.is_unicast(), parsed.is_v6()) {
        (false, is_v6) => to_pruned(ip, parsed, plan, dscp, lower_ttl, is_v6),
        (_, false) => to_unicast_v4(ip, parsed, only, lower_ttl),
        (_, true) => to_unicast_v6(ip, parsed, only, lower_ttl),
    }
}

/// A copy in Xcast form: `ip` holds the IP header and the list.
fn to_pruned(
    ip: &mut [u8],
    parsed: &Parsed,
    plan: &Plan,
    dscp: Option<u8>,
    lower_ttl: bool,
    is_v6: bool,
) {
    let front = parsed.xcast - parsed.ip;
    if plan.compact {
        let total = parsed.xcast_len() - compact_gain(parsed, plan.live);
        match is_v6 {
            true => ipv6::set_payload_len(ip, (total - ipv6::HEADER_LEN) as u16),
            false => ipv4::set_total_len(ip, total as u16),
        }
    } else if is_v6 {
        xcast6::prune(&mut ip[front..], plan.live);
    } else {
        xcast4::prune(&mut ip[front..], plan.live);
    }
    match (is_v6, lower_ttl) {
        (true, true) => ipv6::decrement_hop_limit(ip),
        (false, true) => ipv4::decrement_ttl(ip),
        (_, false) => {}
    }
    match (is_v6, dscp) {
        (true, Some(dscp)) => ipv6::set_dscp(ip, dscp),
        (false, Some(dscp)) => ipv4::set_dscp(ip, dscp),
        (_, None) => {}
    }
}

/// X2U over IPv4: `ip` holds the IP header and, right behind it, the transport header.
fn to_unicast_v4(ip: &mut [u8], parsed: &Parsed, only: Only, lower_ttl: bool) {
    use ipv4::field;
    let IpAddr::V4(address) = only.address else { return };
    let header_len = parsed.xcast - parsed.ip;
    let (header, transport) = ip.split_at_mut(header_len);
    let group = &mut header[field::DESTINATION..field::DESTINATION + 4];
    let (old, new) = (Sum::default().bytes(group), Sum::default().bytes(&address.octets()));
    group.copy_from_slice(&address.octets());
    to_port(transport, parsed, only.port, old, new);
    let length = parsed.unicast_len() as u16;
    header[field::TOTAL_LENGTH..field::TOTAL_LENGTH + 2].copy_from_slice(&length.to_be_bytes());
    header[field::PROTOCOL] = parsed.rest_protocol;
    header[field::TTL] -= u8::from(lower_ttl);
    if let Some(ds_byte) = only.ds_byte {
        header[field::TRAFFIC_CLASS] = ds_byte & !0b11 | header[field::TRAFFIC_CLASS] & 0b11;
    }
    ipv4::fill_checksum(header, header_len);
}

/// X2U over IPv6: `ip` holds the headers in front of Xcast6 and, right behind them, what a unicast
/// copy goes on with.
fn to_unicast_v6(ip: &mut [u8], parsed: &Parsed, only: Only, lower_ttl: bool) {
    use ipv6::field;
    let IpAddr::V6(address) = only.address else { return };
    let (header, rest) = ip.split_at_mut(parsed.xcast - parsed.ip);
    let group = &mut header[field::DESTINATION..field::DESTINATION + 16];
    let (old, new) = (Sum::default().bytes(group), Sum::default().bytes(&address.octets()));
    group.copy_from_slice(&address.octets());
    let transport = parsed.transport - parsed.rest - parsed.ports_gain();
    to_port(&mut rest[transport..], parsed, only.port, old, new);
    ipv6::set_payload_len(header, (parsed.unicast_len() - ipv6::HEADER_LEN) as u16);
    header[parsed.protocol_at - parsed.ip] = parsed.rest_protocol;
    header[field::HOP_LIMIT] -= u8::from(lower_ttl);
    if let Some(ds_byte) = only.ds_byte {
        ipv6::set_dscp(header, ds_byte >> 2);
    }
}

/// Sets the destination's own port, and lets the checksum follow it and the address.
fn to_port(transport: &mut [u8], parsed: &Parsed, port: Option<u16>, mut old: Sum, mut new: Sum) {
    if let Some(port) = port {
        old = old.word(read_u16(transport, 2));
        new = new.word(port);
        transport[2..4].copy_from_slice(&port.to_be_bytes());
    }
    if let TransportChecksum::At(at) = parsed.checksum {
        adjust_checksum(&mut transport[at..at + 2], parsed.protocol, old, new);
    }
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

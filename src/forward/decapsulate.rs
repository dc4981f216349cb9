//! What comes out of tunnels (RFC 5058 section 11.1, WIRE.md "Tunnels"): from whom it is taken, and
//! where the packet begins that goes on by the rules for all packets.

use std::net::IpAddr;

use super::reason::DropReason;
use crate::fib::{Entry, Fib, PortId, ReversePath};
use crate::wire::tunnel::{self, Encapsulation, Outer};
use crate::wire::{ipv4, ipv6};

/// How many tunnels may lie inside each other.
const DEPTH_MAX: usize = 4;

/// What an outer packet held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decapsulated {
    /// A packet with a list of destinations, for the packet path.
    Xcast {
        /// The tunnel it came out of.
        port: PortId,
        /// Where it begins.
        start: usize,
    },
    /// Another IP packet, which is none of the packet path's business.
    Plain {
        /// The tunnel it came out of.
        port: PortId,
        /// Where it begins.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// A control message, whoever sent it.
    Control,
}

/// Opens an outer packet whose headers are off: its payload is `buffer` from `start` on. Whatever
/// congestion it met is noted in the packet that it held.
///
/// # Errors
/// The reason to drop it.
pub fn decapsulate(
    fib: &Fib,
    outer: Outer,
    buffer: &mut [u8],
    mut start: usize,
) -> Result<Decapsulated, DropReason> {
    let is_control = buffer.get(start).is_some_and(|first| first >> 4 == 0);
    if outer.encapsulation == Encapsulation::Udp && is_control {
        return Ok(Decapsulated::Control);
    }
    let mut outer = outer;
    for depth in 0..DEPTH_MAX {
        let port = match fib.tunnel_between(outer.encapsulation, outer.local, outer.remote) {
            Some(port) => port,
            None if depth == 0 => return from_host(fib, outer, buffer, start),
            None => return Err(DropReason::UnknownEnd),
        };
        let inner = buffer.get_mut(start..).unwrap_or_default();
        let length = ip_len(inner).ok_or(DropReason::IpHeader)?;
        if !tunnel::take_over_congestion(inner, outer.traffic_class) {
            return Err(DropReason::IpHeader);
        }
        let inner = &inner[..length];
        if is_xcast(fib, inner) {
            return Ok(Decapsulated::Xcast { port, start });
        }
        let nested = tunnel::nested(inner).filter(|nested| is_ours(fib, port, &nested.outer));
        match nested {
            None => return Ok(Decapsulated::Plain { port, start, end: start + length }),
            Some(nested) => {
                start += nested.start;
                outer = nested.outer;
            }
        }
    }
    Err(DropReason::Depth)
}

/// A packet from a host that is no tunnel's end: taken where hosts forward for each other, from its
/// sender or from another host that may send, and only with a list.
fn from_host(
    fib: &Fib,
    outer: Outer,
    buffer: &mut [u8],
    start: usize,
) -> Result<Decapsulated, DropReason> {
    let port = fib.hosts().filter(|_| outer.encapsulation == Encapsulation::Ipip);
    let port = port.ok_or(DropReason::UnknownEnd)?;
    let inner = buffer.get_mut(start..).unwrap_or_default();
    let length = ip_len(inner).ok_or(DropReason::IpHeader)?;
    let source = tunnel::source(inner).ok_or(DropReason::IpHeader)?;
    let end = outer.remote.ip();
    let from_one = fib.accepts(source) && (end == source || fib.accepts(end));
    if !from_one || !is_xcast(fib, &inner[..length]) {
        return Err(DropReason::UnknownEnd);
    }
    match tunnel::take_over_congestion(inner, outer.traffic_class) {
        true => Ok(Decapsulated::Xcast { port, start }),
        false => Err(DropReason::IpHeader),
    }
}

/// Whether a packet that came out of a tunnel is an outer one of another tunnel here: it is for this
/// node, and its source may send out of where it came from.
fn is_ours(fib: &Fib, port: PortId, outer: &Outer) -> bool {
    fib.tunnel_between(outer.encapsulation, outer.local, outer.remote).is_some()
        && fib.entry_for(outer.local.ip(), Some(port)) == Entry::Local
        && leads_back(fib, port, fib.entry_for(outer.remote.ip(), Some(port)))
}

/// The length of the IP packet that `bytes` begin with, if all of it is there.
fn ip_len(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? >> 4 {
        4 => ipv4::Packet::parse(bytes).ok().map(|ip| ip.total_len()),
        6 => ipv6::Packet::parse(bytes).ok().map(|ip| ip.total_len()),
        _ => None,
    }
}

/// Whether a checked packet is one that the packet path takes, as the filters of links have it.
fn is_xcast(fib: &Fib, packet: &[u8]) -> bool {
    use ipv6::next_header::{HOP_BY_HOP, ROUTING};
    let points = fib.code_points();
    if packet[0] >> 4 == 4 {
        return packet[ipv4::field::PROTOCOL] == points.ip_protocol;
    }
    let (mut next, mut at) = (packet[ipv6::field::NEXT_HEADER], ipv6::HEADER_LEN);
    if next == HOP_BY_HOP {
        let Some(length) = ipv6::extension_len(&packet[at..]) else { return false };
        next = packet[at];
        at += length;
    }
    next == ROUTING && packet.get(at + 2) == Some(&points.routing_type)
}

/// Where another packet that came out of a tunnel goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// It is for this node itself, or for all on the link that the tunnel is.
    Here,
    /// To be forwarded by the routes of unicast; its TTL is lower by one.
    Forward,
    /// To be forwarded into another tunnel; its TTL is lower by one.
    Tunnel(PortId),
}

/// What becomes of a packet without a list that came out of a tunnel: what holds for its source is
/// what holds for others.
///
/// # Errors
/// The reason to drop it.
pub fn send_on(fib: &Fib, port: PortId, packet: &mut [u8]) -> Result<Onward, DropReason> {
    let (source, destination, ttl): (IpAddr, IpAddr, u8) = match packet.first().map(|o| o >> 4) {
        Some(4) => {
            let ip = ipv4::Packet::parse(packet).map_err(|_| DropReason::IpHeader)?;
            (ip.source().into(), ip.destination().into(), ip.ttl())
        }
        _ => {
            let ip = ipv6::Packet::parse(packet).map_err(|_| DropReason::IpHeader)?;
            (ip.source().into(), ip.destination().into(), ip.hop_limit())
        }
    };
    let back = fib.entry_for(source, Some(port));
    match back {
        Entry::Bad => return Err(DropReason::Source),
        Entry::Local => return Err(DropReason::ReversePath),
        _ if !leads_back(fib, port, back) => return Err(DropReason::ReversePath),
        _ => {}
    }
    match fib.entry_for(destination, Some(port)) {
        Entry::Local | Entry::LinkLocal => return Ok(Onward::Here),
        _ if destination.is_multicast() => return Ok(Onward::Here),
        Entry::Bad => return Err(DropReason::BadDestination),
        _ => {}
    }
    match back {
        Entry::LinkLocal => return Err(DropReason::Source),
        Entry::NoRoute | Entry::Drop => return Err(DropReason::ReversePath),
        _ => {}
    }
    if !fib.source_allowed(source) {
        return Err(DropReason::SourceNotAllowed);
    }
    if !fib.destination_allowed(destination) {
        return Err(DropReason::DestinationNotAllowed);
    }
    if ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let onward = onward(fib, port, source, destination)?;
    match source {
        IpAddr::V4(_) => ipv4::set_ttl(packet, ttl - 1),
        IpAddr::V6(_) => ipv6::set_hop_limit(packet, ttl - 1),
    }
    Ok(onward)
}

/// Whether a source that leads to `back` may send out of this tunnel: of a host's tunnel only who is
/// behind it.
fn leads_back(fib: &Fib, port: PortId, back: Entry) -> bool {
    let strict = fib.port(port).is_none_or(|port| port.reverse_path == ReversePath::Strict);
    let members = match back {
        Entry::Gateways(group) => fib.members(group),
        _ => &[],
    };
    !strict || members.iter().any(|id| fib.adjacency(*id).port == port)
}

/// Into another tunnel where the routes say so, else by the routes of unicast as far as this node may
/// emit it.
fn onward(
    fib: &Fib,
    port: PortId,
    source: IpAddr,
    destination: IpAddr,
) -> Result<Onward, DropReason> {
    let is_tunnel = |port: &PortId| fib.port(*port).is_some_and(|port| port.tunnel.is_some());
    match fib.entry_for(destination, Some(port)) {
        Entry::NoRoute => return Err(DropReason::NoRoute),
        Entry::Drop => return Err(DropReason::RouteDrop),
        Entry::TunnelDown => return Err(DropReason::TunnelDown),
        Entry::OnLink(_) | Entry::Neighbor(_) => return Ok(Onward::Forward),
        Entry::Gateways(group) => {
            let ports = fib.members(group).iter().map(|id| fib.adjacency(*id).port);
            let mut tunnels = ports.filter(is_tunnel).peekable();
            if tunnels.peek().is_some() {
                // Never back into the one that it came out of.
                let other = tunnels.find(|tunnel| *tunnel != port);
                return other.map(Onward::Tunnel).ok_or(DropReason::NoRoute);
            }
        }
        _ => {}
    }
    match fib.originates(source) || fib.is_near(destination) {
        true => Ok(Onward::Forward),
        false => Err(DropReason::NoRoute),
    }
}

#[cfg(test)]
mod tests;

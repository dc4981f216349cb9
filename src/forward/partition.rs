//! Step 3: which live destinations go which way.
//!
//! Most lead to one gateway, or are resolved neighbors: these are sorted in one tight loop. The
//! others are looked at one by one.

use std::net::IpAddr;

use super::output::Output;
use super::packet::{Packet, Parsed};
use super::plan::Planner;
use super::reason::DropReason;
use super::replica::Form;
use super::scratch::Way;
use crate::fib::{AdjacencyId, Entry, EntryId, Fib, PortId, is_link_local};
use crate::wire::xcast4::{bit, live_indices};

/// What the lookups of a packet came to.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    /// What its live destinations led to, in their order, unless `cached`.
    pub(super) entries: &'a [EntryId],
    /// What its source led to, unless `cached`.
    pub(super) source: EntryId,
    /// Where its partition is in the cache.
    pub(super) cached: Option<u16>,
}

/// Sorts the live destinations into parts by adjacency, local deliveries, holds and drops.
pub(super) fn partition(
    fib: &Fib,
    packet: &Packet<'_>,
    parsed: &Parsed,
    route: Route<'_>,
    out: &mut Output,
) {
    let expired = packet.port.is_some() && parsed.ttl <= 1;
    if out.scratch.is_probe
        && !expired
        && let Some(id) = packet.port.and_then(|port| tunnel_end(fib, port))
    {
        // Where its source leads to is the way of the outer packets.
        return out.scratch.parts.add(id, parsed.live.leading_zeros() as usize, false);
    }
    if packet.port.is_some() && packet.port == fib.hosts() {
        return among_hosts(fib, packet, parsed, route, expired, out);
    }
    if let Some(place) = route.cached {
        // None of its destinations is this node.
        return match expired {
            true => out.scratch.drops.add(DropReason::TtlExpired, parsed.live),
            false => {
                out.counters.partition_cache_hits += 1;
                out.scratch.parts.fill(out.cache.parts(place));
            }
        };
    }
    let limited = !out.scratch.is_probe && fib.limits_destinations();
    let each_alone = expired || limited || parsed.any_link_local;
    let others = match each_alone {
        true => parsed.live,
        false => out.scratch.parts.sort(fib.leads(), parsed.live, route.entries),
    };
    if others != 0 {
        for (at, index) in live_indices(parsed.live).enumerate() {
            if others & bit(index) != 0 {
                place(fib, packet, parsed, *fib.entry(route.entries[at]), index, out);
            }
        }
    } else if !out.scratch.is_probe
        && let Some(key) = parsed.key(packet.buffer)
    {
        out.cache.keep(&key, route.source, &out.scratch.parts);
    }
}

/// What came from another host, out of a tunnel of hosts: it is for this node too, which sends on to the
/// others, one after the other, whatever the routes say (RFC 5058 section 11.4).
#[cold]
fn among_hosts(
    fib: &Fib,
    packet: &Packet<'_>,
    parsed: &Parsed,
    route: Route<'_>,
    expired: bool,
    out: &mut Output,
) {
    let own = live_indices(parsed.live).zip(route.entries);
    let own = own.filter(|(_, entry)| *fib.entry(**entry) == Entry::Local);
    let own = own.fold(0, |own, (index, _)| own | bit(index));
    let others = parsed.live & !own;
    let end = packet.port.and_then(|port| tunnel_end(fib, port));
    let Some(end) = end.filter(|_| own != 0) else {
        return out.scratch.drops.add(DropReason::NotForThisRouter, parsed.live);
    };
    live_indices(own).for_each(|index| deliver(fib, packet, parsed, bit(index), out));
    for (at, index) in live_indices(parsed.live).enumerate() {
        let address = parsed.address(packet.buffer, index);
        let reason = match fib.entry(route.entries[at]) {
            _ if others & bit(index) == 0 => continue,
            _ if expired => Some(DropReason::TtlExpired),
            Entry::Bad | Entry::LinkLocal => Some(DropReason::BadDestination),
            _ if !fib.destination_allowed(address) => Some(DropReason::DestinationNotAllowed),
            _ => None,
        };
        match reason {
            Some(reason) => out.scratch.drops.add(reason, bit(index)),
            None => out.scratch.parts.add(end, index, false),
        }
    }
}

/// The other end of a tunnel.
fn tunnel_end(fib: &Fib, port: PortId) -> Option<AdjacencyId> {
    let tunnel = fib.port(port)?.tunnel?;
    fib.find_adjacency_id(port, tunnel.remote.ip())
}

/// Sorts one destination, which led to `entry`.
fn place(
    fib: &Fib,
    packet: &Packet<'_>,
    parsed: &Parsed,
    entry: Entry,
    index: usize,
    out: &mut Output,
) {
    let (address, live) = (parsed.address(packet.buffer, index), bit(index));
    let entry = match entry {
        Entry::LinkLocal => fib.link_local_entry(address, packet.port),
        entry => entry,
    };
    if entry == Entry::Local {
        return deliver(fib, packet, parsed, live, out);
    }
    if let Some(reason) = refusal(fib, packet, parsed, out.scratch.is_probe, address, entry) {
        return out.scratch.drops.add(reason, live);
    }
    match entry {
        Entry::Neighbor(adjacency) => out.scratch.parts.add(adjacency, index, true),
        Entry::Gateways(group) => {
            out.scratch.parts.add(fib.choose(group, parsed.flow()), index, false);
        }
        Entry::OnLink(port) => {
            let mut planner = Planner::new(fib, parsed, &mut out.scratch);
            planner.alone(Way::OnLink(port), Form::Unicast, live, None);
        }
        _ => unreachable!("`refusal` has a reason for every other entry"),
    }
}

/// An address of this node (R3): its IP stack gets a unicast packet. A packet that must stay
/// Xcast needs a copy only where it starts here: who listens for it listens on the links, as the
/// router does.
pub(super) fn deliver(
    fib: &Fib,
    packet: &Packet<'_>,
    parsed: &Parsed,
    live: u128,
    out: &mut Output,
) {
    match parsed.keeps_xcast && packet.port.is_some() {
        true => out.scratch.seen_here |= live,
        false => {
            let mut planner = Planner::new(fib, parsed, &mut out.scratch);
            planner.alone(Way::Host, Form::Unicast, live, None);
        }
    }
}

/// Why a destination that is not this node goes nowhere, if it does.
#[inline]
fn refusal(
    fib: &Fib,
    packet: &Packet<'_>,
    parsed: &Parsed,
    is_probe: bool,
    address: IpAddr,
    entry: Entry,
) -> Option<DropReason> {
    if packet.port.is_some() && parsed.ttl <= 1 {
        return Some(DropReason::TtlExpired);
    }
    if entry == Entry::Bad || is_link_local(address) && leaves_link(fib, packet.port, entry) {
        return Some(DropReason::BadDestination);
    }
    if !is_probe && !fib.destination_allowed(address) {
        return Some(DropReason::DestinationNotAllowed);
    }
    match entry {
        Entry::NoRoute => Some(DropReason::NoRoute),
        Entry::Drop => Some(DropReason::RouteDrop),
        Entry::PortDown => Some(DropReason::PortDown),
        Entry::TunnelDown => Some(DropReason::TunnelDown),
        _ => None,
    }
}

/// Whether a packet from `port` to `entry` goes on to another link.
fn leaves_link(fib: &Fib, port: Option<PortId>, entry: Entry) -> bool {
    let out = match entry {
        Entry::OnLink(port) => port,
        Entry::Neighbor(adjacency) => fib.adjacency(adjacency).port,
        _ => return true,
    };
    port.is_some_and(|port| port != out)
}

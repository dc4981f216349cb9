//! Packets that come in the envelopes of semi-permeable tunnels (RFC 5058 sections 11.3 and 11.4,
//! WIRE.md "Tunnels").
//!
//! A router on the way opens one only if it would branch or prune; any other passes on as it came, but
//! for its outer hop limit. The node to which it is addressed opens it, takes what is for itself, and
//! sends the rest to the next live destination.

use std::net::IpAddr;

use super::output::Output;
use super::packet::{Packet, Parsed};
use super::partition::{self, Route, partition};
use super::plan::{Planner, may_compact};
use super::reason::DropReason;
use super::replica::Form;
use super::scratch::{Plan, Scratch, Travels, Way};
use crate::fib::{Capability, Entry, Fib, ReversePath};
use crate::wire::xcast4::{bit, live_indices};
use crate::wire::{ipv6, read_address, tunnel};

/// Why an envelope is neither opened nor passed on, if so: its outer source is not the sender of what
/// is in it, or it is for this node, which does not know the sender.
#[cold]
pub(super) fn refusal(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed) -> Result<(), DropReason> {
    let outer: IpAddr = read_address(packet.buffer, parsed.outer + ipv6::field::SOURCE).into();
    if !fib.accepts(parsed.source) {
        let is_unusable = matches!(*fib.entry(fib.lookup(outer)), Entry::Bad | Entry::LinkLocal);
        return match is_unusable || is_for_us(fib, packet, parsed) {
            true => Err(DropReason::UnknownEnd),
            false => Ok(()),
        };
    }
    if outer != parsed.source && !fib.accepts(outer) {
        return Err(DropReason::UnknownEnd);
    }
    let [inner, outer] = classes(packet, parsed);
    match tunnel::may_come_out(inner, outer) {
        true => Ok(()),
        false => Err(DropReason::IpHeader),
    }
}

/// What must hold for the source of a packet in an envelope: nothing where it only passes by.
pub(super) fn reverse_path(fib: &Fib, parsed: &Parsed) -> ReversePath {
    match fib.accepts(parsed.source) {
        true => ReversePath::Loose,
        false => ReversePath::Off,
    }
}

fn is_for_us(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed) -> bool {
    let destination = parsed.outer_destination(packet.buffer).into();
    fib.entry_for(destination, packet.port) == Entry::Local
}

/// The DS and ECN octets of the packet and of its envelope.
fn classes(packet: &Packet<'_>, parsed: &Parsed) -> [u8; 2] {
    [parsed.ip, parsed.outer].map(|at| tunnel::traffic_class(&packet.buffer[at..]))
}

/// Plans the copies of a packet that was admitted.
#[cold]
pub(super) fn plan(
    fib: &Fib,
    packet: &Packet<'_>,
    parsed: &Parsed,
    route: Route<'_>,
    out: &mut Output,
) {
    if is_for_us(fib, packet, parsed) {
        return open_here(fib, packet, parsed, route, out);
    }
    let destination: IpAddr = parsed.outer_destination(packet.buffer).into();
    let way = Planner::new(fib, parsed, &mut out.scratch).native_way(destination, None);
    if fib.accepts(parsed.source) {
        partition(fib, packet, parsed, route, out);
        if !leads_on(parsed, &out.scratch, way) {
            return open(fib, packet, parsed, &mut out.scratch);
        }
    } else if parsed.ttl <= 1 {
        return out.scratch.drops.add(DropReason::TtlExpired, parsed.live);
    }
    match way {
        Some(way) => Planner::new(fib, parsed, &mut out.scratch).unopened(way),
        None => out.scratch.drops.add(DropReason::NoRoute, parsed.live),
    }
}

/// Whether all destinations of a partitioned packet go the way that its envelope goes.
fn leads_on(parsed: &Parsed, scratch: &Scratch, way: Option<Way>) -> bool {
    let mut parts = scratch.parts.all();
    scratch.drops.is_empty()
        && scratch.seen_here == 0
        && scratch.plans.len() == 0
        && parts.next().is_some_and(|part| {
            part.direct | part.behind == parsed.live && Some(Way::Adjacency(part.adjacency)) == way
        })
}

/// Opens one on its way: every copy in Xcast form keeps its envelope.
fn open(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed, scratch: &mut Scratch) {
    if inner_hop_limit(packet, parsed) <= 1 {
        return expire(scratch);
    }
    let Scratch { parts, plans, forms, drops, .. } = scratch;
    let may_compact = may_compact(fib, packet, parsed);
    let (is_probe, travels) = (false, Travels::Plainly);
    let mut planner = Planner { fib, parsed, plans, forms, drops, may_compact, is_probe, travels };
    for part in parts.all() {
        let adjacency = fib.adjacency(part.adjacency);
        adjacency.mark_used();
        let way = Way::Adjacency(part.adjacency);
        if part.behind == 0 {
            // On-link hosts get what they get of any last router.
            planner.each(way, Form::Unicast, part.direct);
        } else if adjacency.capability == Capability::Tunnel {
            planner.tunneled(packet, part.adjacency, part.behind);
        } else {
            // A next hop that does not speak Xcast passes it on as any packet.
            planner.travels = Travels::Enveloped { hop_limit: parsed.ttl - 1 };
            planner.together_apart(packet, way, part.direct | part.behind);
            planner.travels = travels;
        }
    }
}

/// The packet in an envelope can go no further.
fn expire(scratch: &mut Scratch) {
    let Scratch { parts, plans, drops, .. } = scratch;
    let onward = |plan: &Plan| plan.way != Way::Host;
    let planned = plans.all().iter().filter(|plan| onward(plan)).map(|plan| plan.live);
    let parted = parts.all().map(|part| part.direct | part.behind);
    let live = planned.chain(parted).fold(0, |all, live| all | live);
    if live != 0 {
        drops.add(DropReason::TtlExpired, live);
    }
    plans.retain(|plan| !onward(plan));
}

/// Opens one that is addressed to this node (R3), and sends it to the next.
fn open_here(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed, route: Route<'_>, out: &mut Output) {
    let mut rest = 0;
    for (at, index) in live_indices(parsed.live).enumerate() {
        let (address, live) = (parsed.address(packet.buffer, index), bit(index));
        match *fib.entry(route.entries[at]) {
            Entry::Local => partition::deliver(fib, packet, parsed, live, out),
            Entry::Bad | Entry::LinkLocal => {
                out.scratch.drops.add(DropReason::BadDestination, live);
            }
            _ if !fib.destination_allowed(address) => {
                out.scratch.drops.add(DropReason::DestinationNotAllowed, live);
            }
            _ => rest |= live,
        }
    }
    if rest == 0 {
        return;
    }
    if inner_hop_limit(packet, parsed) <= 1 {
        return out.scratch.drops.add(DropReason::TtlExpired, rest);
    }
    Planner::new(fib, parsed, &mut out.scratch).pass_on(packet, rest);
}

fn inner_hop_limit(packet: &Packet<'_>, parsed: &Parsed) -> u8 {
    packet.buffer[parsed.ip + ipv6::field::HOP_LIMIT]
}

/// Lets a packet that is taken out of its envelope bear what congestion that has met.
#[cold]
pub(super) fn take_over_congestion(packet: &mut Packet<'_>, parsed: &Parsed, scratch: &Scratch) {
    if scratch.plans.all().iter().any(|plan| plan.travels == Travels::Unopened) {
        return;
    }
    let [_, outer] = classes(packet, parsed);
    // That it may come out was seen before.
    let _may = tunnel::take_over_congestion(&mut packet.buffer[parsed.ip..parsed.end], outer);
}

impl Planner<'_> {
    /// The packet goes on as it came.
    fn unopened(&mut self, way: Way) {
        let parsed = self.parsed;
        let (mtu, travels) = (self.mtu(way), Travels::Unopened);
        if parsed.received_len() > mtu as usize {
            let inner_mtu = mtu.saturating_sub(travels.overhead() as u32);
            return self.drops.too_big(parsed.live, inner_mtu);
        }
        let plan = Plan { live: parsed.live, way, form: Form::Xcast, travels, ..Plan::NONE };
        self.forms.xcast = true;
        self.forms.readdressed = true;
        self.plans.push(plan);
    }
}

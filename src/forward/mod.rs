//! THE PACKET PATH: what a router does with one Xcast packet (RFC 5058 section 2). Pure: no I/O,
//! no clock, no allocation, no lock, no dynamic dispatch, no log. Every early exit is a counted
//! [`DropReason`].
//!
//! [`process`] is the whole flow, and the functions below stand in its order:
//!
//! 1. `parse` the packet and validate it (`packet`): a malformed one counts as a packet.
//! 2. `admit` it: is it for this router, and may its source send? From here on every live
//!    destination is counted, and leaves in exactly one replica or under exactly one reason.
//! 3. `look_up` all live destinations at once.
//! 4. `partition` them by next hop. A destination that is this node is delivered (R3); one that
//!    leads nowhere is dropped under its own reason.
//! 5. `plan` the copies: one for each next hop, and there for each class of DSCPs that must not
//!    be merged (R10, `class`); on-link hosts and next hops that do not speak Xcast get one
//!    unicast copy for each destination (R6, R7, R9).
//! 6. `replicate`: all copies but the last get heads of their own and share the received
//!    packet's tail; the last one is made in the received buffer. Each is pruned or converted to
//!    unicast (`rewrite`).
//!
//! Decisions that depend on the IP version live in `packet` and `rewrite`; the flow knows
//! entries, adjacencies and bitmaps alone.

mod budget;
mod class;
mod counters;
mod output;
mod packet;
mod reason;
mod replica;
mod rewrite;
mod scratch;

use std::net::{IpAddr, Ipv4Addr};

pub use counters::{Counters, PortCounters};
pub use output::Output;
pub use packet::Packet;
pub use reason::DropReason;
pub use replica::{Form, LINK_HEADER_LEN, Replica, Target};

use crate::fib::{AdjacencyId, Capability, Entry, Fib, PortId, ReversePath, mix};
use crate::wire::xcast4::{self, bit, live_indices};
use budget::Budgets;
use packet::{Parsed, parse};
use scratch::{Part, Plan};

/// A moment, in microseconds since any start that the caller keeps to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

/// Processes one packet that is there `now`: its replicas are appended to `out`, everything else
/// is counted there.
///
/// The caller sends the replicas and then counts each as [`sent`](Counters::sent),
/// [`failed`](Counters::failed) or [`held`](Counters::held).
pub fn process(fib: &Fib, packet: Packet<'_>, now: Time, out: &mut Output) {
    let parsed = match parse(fib, &packet) {
        Ok(parsed) => parsed,
        Err(reason) => {
            out.counters.received(packet.port, packet.buffer.len().saturating_sub(packet.start));
            out.counters.packets_dropped += 1;
            return out.counters.drop(reason, 1);
        }
    };
    out.scratch.begin_packet();
    out.counters.received(packet.port, parsed.xcast_len());
    out.counters.destinations_received += u64::from(parsed.live.count_ones());
    match admit(fib, &packet, &parsed, now, &mut out.scratch.budgets) {
        Err(reason) => out.counters.drop(reason, parsed.live.count_ones()),
        Ok(()) => {
            let live = look_up(fib, &packet, &parsed, out);
            partition(fib, &packet, &parsed, live, out);
            plan(fib, &packet, &parsed, out);
        }
    }
    match out.scratch.plans.len() + out.scratch.seen_here {
        0 => out.counters.packets_dropped += 1,
        _ => out.counters.packets_forwarded += 1,
    }
    if out.scratch.plans.len() > 0 {
        replicate(fib, packet, &parsed, out);
    }
}

/// Step 2: reasons that concern the packet as a whole.
fn admit(
    fib: &Fib,
    packet: &Packet<'_>,
    parsed: &Parsed,
    now: Time,
    budgets: &mut Budgets,
) -> Result<(), DropReason> {
    // This node's own packets are not refused.
    let Some(port) = packet.port else { return Ok(()) };
    let settings = fib.port(port).ok_or(DropReason::NotForThisRouter)?;
    let group = fib.code_points().all_routers_v4;
    if parsed.destination != group || packet.to_group && !settings.accept_group_frames {
        return Err(DropReason::NotForThisRouter);
    }
    if !reverse_path_holds(fib, settings.reverse_path, port, parsed) {
        return Err(DropReason::ReversePath);
    }
    if !fib.source_allowed(parsed.source) {
        return Err(DropReason::SourceNotAllowed);
    }
    if !budgets.allow(parsed.source.to_bits(), parsed.live.count_ones(), now) {
        return Err(DropReason::RateLimit);
    }
    if !fib.limits().allow_icmp_echo && parsed.is_icmp_echo(packet.buffer) {
        return Err(DropReason::IcmpEcho);
    }
    Ok(())
}

fn reverse_path_holds(fib: &Fib, mode: ReversePath, port: PortId, parsed: &Parsed) -> bool {
    let leaves_by = |adjacency: &AdjacencyId| fib.adjacency(*adjacency).port == port;
    match (mode, fib.entry(parsed.source_entry)) {
        (ReversePath::Off, _) => true,
        (_, Entry::NoRoute | Entry::Drop | Entry::Bad | Entry::Local) => false,
        (ReversePath::Loose, _) => true,
        (_, Entry::PortDown | Entry::TunnelDown) => false,
        (_, Entry::OnLink(on)) => *on == port,
        (_, Entry::Neighbor(adjacency)) => leaves_by(adjacency),
        (_, Entry::Gateways(group)) => fib.members(*group).iter().any(leaves_by),
    }
}

/// Step 3: fills the scratch lists of live destinations; returns how many there are.
fn look_up(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed, out: &mut Output) -> usize {
    let scratch = &mut out.scratch;
    let mut count = 0;
    for index in live_indices(parsed.live) {
        scratch.indices[count] = index as u8;
        scratch.addresses[count] = destination(packet.buffer, parsed, index).to_bits();
        count += 1;
    }
    fib.lookup_batch(&scratch.addresses[..count], &mut scratch.entries[..count]);
    count
}

/// Step 4: sorts the live destinations into parts by adjacency, local deliveries, holds and
/// drops.
fn partition(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed, live: usize, out: &mut Output) {
    let expired = packet.port.is_some() && parsed.ttl <= 1;
    let flow = mix(u64::from(parsed.source.to_bits()) << 32 | u64::from(parsed.channel));
    for at in 0..live {
        let address = Ipv4Addr::from_bits(out.scratch.addresses[at]);
        let live = bit(usize::from(out.scratch.indices[at]));
        let entry = fib.entry(out.scratch.entries[at]);
        if *entry == Entry::Local {
            deliver(parsed, live, out);
            continue;
        }
        if let Some(reason) = refusal(fib, packet, expired, address, entry) {
            out.counters.drop(reason, 1);
            continue;
        }
        match entry {
            Entry::Neighbor(adjacency) => out.scratch.part(*adjacency).direct |= live,
            Entry::Gateways(group) => {
                out.scratch.part(fib.choose(*group, flow)).behind |= live;
            }
            Entry::OnLink(port) => {
                let target = Target::Neighbor { port: *port, address: IpAddr::V4(address) };
                push_alone(fib, parsed, Plan { target, ..UNICAST }, live, out);
            }
            _ => unreachable!("`refusal` has a reason for every other entry"),
        }
    }
}

/// A unicast plan to be filled in.
const UNICAST: Plan =
    Plan { target: Target::Host, adjacency: None, form: Form::Unicast, live: 0, dscp: None };

/// An address of this node (R3): its IP stack gets a unicast packet. A packet that must stay
/// Xcast needs no copy: who listens for it here listens on the link, as the router does.
fn deliver(parsed: &Parsed, live: u128, out: &mut Output) {
    if parsed.keeps_xcast {
        out.counters.destinations_delivered += 1;
        out.scratch.seen_here += 1;
    } else if let Err(reason) = parsed.transport_checksum() {
        out.counters.drop(reason, 1);
    } else {
        out.scratch.plans.push(Plan { live, ..UNICAST });
    }
}

/// Why a destination that is not this node goes nowhere, if it does.
#[inline]
fn refusal(
    fib: &Fib,
    packet: &Packet<'_>,
    expired: bool,
    address: Ipv4Addr,
    entry: &Entry,
) -> Option<DropReason> {
    if expired {
        return Some(DropReason::TtlExpired);
    }
    if *entry == Entry::Bad || address.is_link_local() && leaves_link(fib, packet.port, entry) {
        return Some(DropReason::BadDestination);
    }
    if !fib.destination_allowed(address) {
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
fn leaves_link(fib: &Fib, port: Option<PortId>, entry: &Entry) -> bool {
    let out = match entry {
        Entry::OnLink(port) => *port,
        Entry::Neighbor(adjacency) => fib.adjacency(*adjacency).port,
        _ => return true,
    };
    port.is_some_and(|port| port != out)
}

/// Step 5: the copies that each part needs (R6, R9).
fn plan(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed, out: &mut Output) {
    for at in 0..out.scratch.parts.len() {
        let part = out.scratch.parts.at(at);
        let adjacency = fib.adjacency(part.adjacency);
        let Part { direct, behind, .. } = part;
        let target = match adjacency.rewrite {
            Some(_) => Target::Port(adjacency.port),
            None => Target::Neighbor { port: adjacency.port, address: adjacency.address },
        };
        let plan = Plan { target, adjacency: Some(part.adjacency), ..UNICAST };
        adjacency.mark_used();
        if behind == 0 {
            // On-link hosts leave alone, whatever they speak.
            push_each(fib, parsed, plan, direct, out);
        } else if adjacency.capability == Capability::Capable {
            push_together(fib, packet, parsed, plan, direct | behind, out);
        } else {
            push_each(fib, parsed, plan, direct, out);
            if parsed.keeps_xcast {
                out.counters.drop(DropReason::IncapableWithX, behind.count_ones());
            } else {
                let early = behind.count_ones() > 1;
                let form = if early { Form::PrematureUnicast } else { Form::Unicast };
                push_each(fib, parsed, Plan { form, ..plan }, behind, out);
            }
        }
    }
}

/// One copy for all, or with DS bytes one for each class.
fn push_together(
    fib: &Fib,
    packet: &Packet<'_>,
    parsed: &Parsed,
    plan: Plan,
    live: u128,
    out: &mut Output,
) {
    if !parsed.has_ds_bytes {
        return push_shared(fib, parsed, plan, live, out);
    }
    for class in class::split(&packet.buffer[parsed.xcast..parsed.transport], live) {
        if class.live != 0 {
            push_shared(fib, parsed, Plan { dscp: Some(class.dscp), ..plan }, class.live, out);
        }
    }
}

fn push_shared(fib: &Fib, parsed: &Parsed, plan: Plan, live: u128, out: &mut Output) {
    if live.count_ones() == 1 {
        return push_alone(fib, parsed, plan, live, out);
    }
    push(fib, parsed, Plan { form: Form::Xcast, live, ..plan }, out);
}

fn push_each(fib: &Fib, parsed: &Parsed, plan: Plan, live: u128, out: &mut Output) {
    for index in live_indices(live) {
        push_alone(fib, parsed, plan, bit(index), out);
    }
}

/// One live destination: unicast (R7), unless the packet must stay Xcast (R8).
fn push_alone(fib: &Fib, parsed: &Parsed, plan: Plan, live: u128, out: &mut Output) {
    if parsed.keeps_xcast {
        return push(fib, parsed, Plan { form: Form::Xcast, live, ..plan }, out);
    }
    match parsed.transport_checksum() {
        Ok(_) => push(fib, parsed, Plan { live, ..plan }, out),
        Err(reason) => out.counters.drop(reason, 1),
    }
}

/// A copy is planned unless its link cannot carry it (R11).
fn push(fib: &Fib, parsed: &Parsed, plan: Plan, out: &mut Output) {
    let length = match plan.form {
        Form::Xcast => parsed.xcast_len(),
        Form::Unicast | Form::PrematureUnicast => parsed.unicast_len(),
    };
    let fits = match plan.target {
        Target::Port(port) | Target::Neighbor { port, .. } => {
            fib.port(port).is_some_and(|port| length <= port.mtu as usize)
        }
        Target::Host => true,
    };
    match fits {
        true => out.scratch.plans.push(plan),
        false => out.counters.drop(DropReason::TooBig, plan.live.count_ones()),
    }
}

/// Step 6: makes the planned copies, the last one in the received buffer.
fn replicate(fib: &Fib, packet: Packet<'_>, parsed: &Parsed, out: &mut Output) {
    let last = out.scratch.plans.len() - 1;
    for at in 0..=last {
        let plan = out.scratch.plans.at(at);
        let made = match at == last {
            true => rewrite::in_place(fib, packet.buffer, packet.port, parsed, &plan, out),
            false => rewrite::copy(fib, packet.buffer, packet.port, parsed, &plan, out),
        };
        let destinations = plan.live.count_ones();
        match made {
            None => out.counters.drop(DropReason::TransmitFailed, destinations),
            Some((in_place, head, tail)) => out.replicas.push(Replica {
                packet: packet.index,
                target: plan.target,
                adjacency: plan.adjacency,
                form: plan.form,
                destinations: destinations as u8,
                in_place,
                head,
                tail,
            }),
        }
    }
}

/// Destination `index` of the list.
fn destination(buffer: &[u8], parsed: &Parsed, index: usize) -> Ipv4Addr {
    xcast4::destination_at(&buffer[parsed.xcast..parsed.transport], index)
}

#[cfg(test)]
mod tests;

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
//! 6. `settle` what is dropped: counted, a sample kept, and noted if the source is to be told.
//! 7. `replicate`: all copies but the last get heads of their own and share the received
//!    packet's tail; the last one is made in the received buffer. Each is pruned or converted to
//!    unicast (`rewrite`), or cut where it may be (`fragment`).
//!
//! Decisions that depend on the IP version live in `packet` and `rewrite`; the flow knows
//! entries, adjacencies and bitmaps alone.

mod budget;
mod class;
mod counters;
mod fragment;
mod inspect;
mod notice;
mod output;
mod packet;
mod probe;
mod reason;
mod replica;
mod rewrite;
mod samples;
mod scratch;

use std::net::IpAddr;

pub use counters::{Counters, PortCounters};
pub use inspect::{Inspected, inspect};
pub use notice::{Notice, NoticeKind, Notices};
pub use output::Output;
pub use packet::Packet;
pub use probe::Heard;
pub use reason::DropReason;
pub use replica::{Form, LINK_HEADER_LEN, Replica, Target};
pub use samples::{Sample, Samples};

use crate::fib::{AdjacencyId, Capability, Entry, Fib, PortId, ReversePath, is_link_local};
use crate::wire::ipv4::protocol;
use crate::wire::xcast4::{bit, live_indices};
use budget::Budgets;
use packet::{Parsed, TransportChecksum, parse};
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
    out.scratch.begin_packet();
    let parsed = match parse(fib, &packet) {
        Ok(parsed) => parsed,
        Err(reason) => {
            out.counters.received(packet.port, packet.buffer.len().saturating_sub(packet.start));
            out.counters.packets_dropped += 1;
            out.counters.drop(reason, 1);
            return out.samples.keep(reason, &packet, now);
        }
    };
    match probe::recognize(fib, &packet, &parsed) {
        Some(heard) => answer_probe(fib, packet, &parsed, heard, now, out),
        None => forward(fib, packet, &parsed, now, out),
    }
}

/// Steps 2 to 7 for a packet that can be read.
fn forward(fib: &Fib, packet: Packet<'_>, parsed: &Parsed, now: Time, out: &mut Output) {
    out.counters.received(packet.port, parsed.xcast_len());
    out.counters.destinations_received += u64::from(parsed.live.count_ones());
    match admit(fib, &packet, parsed, now, &mut out.scratch.budgets) {
        Err(reason) => out.scratch.drop(reason, parsed.live),
        Ok(()) => {
            let live = look_up(fib, &packet, parsed, out);
            partition(fib, &packet, parsed, live, out);
            plan(fib, &packet, parsed, out);
        }
    }
    settle(&packet, parsed, now, out);
    if out.scratch.plans.len() > 0 {
        replicate(fib, packet, parsed, out);
    }
}

/// A probe (R9) goes back to the neighbor it came from; one of this node's own has done what it was
/// for. Neither is traffic: both have counters of their own.
fn answer_probe(
    fib: &Fib,
    packet: Packet<'_>,
    parsed: &Parsed,
    heard: Heard,
    now: Time,
    out: &mut Output,
) {
    if let Heard::Returned { .. } = heard {
        out.counters.probes_returned += 1;
        return probe::hear(heard, out);
    }
    if let Err(reason) = admit_at_all(fib, &packet, parsed) {
        out.counters.probes_refused += 1;
        return out.samples.keep(reason, &packet, now);
    }
    probe::hear(heard, out);
    out.scratch.is_probe = true;
    let live = look_up(fib, &packet, parsed, out);
    partition(fib, &packet, parsed, live, out);
    plan(fib, &packet, parsed, out);
    out.scratch.plans.each(|plan| plan.form = Form::Probe);
    match out.scratch.plans.len() {
        0 => out.counters.probes_refused += 1,
        _ => replicate(fib, packet, parsed, out),
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
    admit_at_all(fib, packet, parsed)?;
    if packet.port.is_none() {
        return Ok(());
    }
    if !fib.source_allowed(parsed.source) {
        return Err(DropReason::SourceNotAllowed);
    }
    if !budgets.allow(parsed.source, parsed.live.count_ones(), now) {
        return Err(DropReason::RateLimit);
    }
    if !fib.limits().allow_icmp_echo && parsed.is_icmp_echo(packet.buffer) {
        return Err(DropReason::IcmpEcho);
    }
    Ok(())
}

/// What holds for probes too: it is for this router, and comes from where its source is.
fn admit_at_all(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed) -> Result<(), DropReason> {
    // This node's own packets are not refused.
    let Some(port) = packet.port else { return Ok(()) };
    let settings = fib.port(port).ok_or(DropReason::NotForThisRouter)?;
    let group: IpAddr = match parsed.is_v6() {
        true => fib.code_points().all_routers_v6.into(),
        false => fib.code_points().all_routers_v4.into(),
    };
    if parsed.destination != group || packet.to_group && !settings.accept_group_frames {
        return Err(DropReason::NotForThisRouter);
    }
    match reverse_path_holds(fib, settings.reverse_path, port, parsed) {
        true => Ok(()),
        false => Err(DropReason::ReversePath),
    }
}

fn reverse_path_holds(fib: &Fib, mode: ReversePath, port: PortId, parsed: &Parsed) -> bool {
    let leaves_by = |adjacency: &AdjacencyId| fib.adjacency(*adjacency).port == port;
    match (mode, parsed.source_entry) {
        (ReversePath::Off, _) => true,
        (_, Entry::NoRoute | Entry::Drop | Entry::Bad | Entry::Local | Entry::LinkLocal) => false,
        (ReversePath::Loose, _) => true,
        (_, Entry::PortDown | Entry::TunnelDown) => false,
        (_, Entry::OnLink(on)) => on == port,
        (_, Entry::Neighbor(adjacency)) => leaves_by(&adjacency),
        (_, Entry::Gateways(group)) => fib.members(group).iter().any(leaves_by),
    }
}

/// Step 3: fills the scratch lists of live destinations; returns how many there are.
fn look_up(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed, out: &mut Output) -> usize {
    let scratch = &mut out.scratch;
    let is_v6 = parsed.is_v6();
    let mut count = 0;
    for index in live_indices(parsed.live) {
        scratch.indices[count] = index as u8;
        match is_v6 {
            true => {
                scratch.addresses_v6[count] = parsed.address_v6(packet.buffer, index).to_bits();
            }
            false => {
                scratch.addresses_v4[count] = parsed.address_v4(packet.buffer, index).to_bits();
            }
        }
        count += 1;
    }
    let entries = &mut scratch.entries[..count];
    match is_v6 {
        true => fib.lookup_batch_v6(&scratch.addresses_v6[..count], entries),
        false => fib.lookup_batch_v4(&scratch.addresses_v4[..count], entries),
    }
    count
}

/// Step 4: sorts the live destinations into parts by adjacency, local deliveries, holds and
/// drops.
fn partition(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed, live: usize, out: &mut Output) {
    let flow = parsed.flow();
    for at in 0..live {
        let index = usize::from(out.scratch.indices[at]);
        let (address, live) = (parsed.address(packet.buffer, index), bit(index));
        let entry = match *fib.entry(out.scratch.entries[at]) {
            Entry::LinkLocal => fib.link_local_entry(address, packet.port),
            entry => entry,
        };
        if entry == Entry::Local {
            deliver(packet, parsed, live, out);
            continue;
        }
        if let Some(reason) = refusal(fib, packet, parsed, out.scratch.is_probe, address, entry) {
            out.scratch.drop(reason, live);
            continue;
        }
        match entry {
            Entry::Neighbor(adjacency) => out.scratch.part(adjacency).direct |= live,
            Entry::Gateways(group) => {
                out.scratch.part(fib.choose(group, flow)).behind |= live;
            }
            Entry::OnLink(port) => {
                let target = Target::Neighbor { port, address };
                push_alone(fib, parsed, Plan { target, ..Plan::UNICAST }, live, out);
            }
            _ => unreachable!("`refusal` has a reason for every other entry"),
        }
    }
}

/// An address of this node (R3): its IP stack gets a unicast packet. A packet that must stay
/// Xcast needs a copy only where it starts here: who listens for it listens on the links, as the
/// router does.
fn deliver(packet: &Packet<'_>, parsed: &Parsed, live: u128, out: &mut Output) {
    let target = Target::Host { from: packet.port };
    let plan = Plan { target, live, ..Plan::UNICAST };
    match (parsed.keeps_xcast, parsed.checksum) {
        (true, _) if packet.port.is_some() => out.scratch.seen_here |= live,
        (true, _) => out.scratch.plans.push(Plan { form: Form::Xcast, ..plan }),
        (false, TransportChecksum::Impossible) => {
            out.scratch.drop(DropReason::X2uImpossible, live);
        }
        (false, _) => out.scratch.plans.push(plan),
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

/// Step 5: the copies that each part needs (R6, R9).
fn plan(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed, out: &mut Output) {
    out.scratch.may_compact = may_compact(fib, packet, parsed);
    for at in 0..out.scratch.parts.len() {
        let part = out.scratch.parts.at(at);
        let adjacency = fib.adjacency(part.adjacency);
        let Part { direct, behind, .. } = part;
        let target = match adjacency.rewrite {
            Some(_) => Target::Port(adjacency.port),
            None => Target::Neighbor { port: adjacency.port, address: adjacency.address },
        };
        let plan = Plan { target, adjacency: Some(part.adjacency), ..Plan::UNICAST };
        adjacency.mark_used();
        if behind == 0 {
            // On-link hosts leave alone, whatever they speak.
            push_each(fib, parsed, plan, direct, out);
        } else if adjacency.capability == Capability::Capable {
            push_together(fib, packet, parsed, plan, direct | behind, out);
        } else {
            push_each(fib, parsed, plan, direct, out);
            if parsed.keeps_xcast {
                out.scratch.drop(DropReason::IncapableWithX, behind);
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
    let Some(ds_bytes) = parsed.lists.ds_bytes else {
        return push_shared(fib, parsed, plan, live, out);
    };
    for class in class::split(&packet.buffer[ds_bytes..][..parsed.count], live) {
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
    match parsed.checksum {
        TransportChecksum::Impossible => out.scratch.drop(DropReason::X2uImpossible, live),
        _ => push(fib, parsed, Plan { live, ..plan }, out),
    }
}

/// A copy is planned unless its link cannot carry it (R11).
fn push(fib: &Fib, parsed: &Parsed, mut plan: Plan, out: &mut Output) {
    let shrinks = (plan.live.count_ones() as usize) < parsed.count;
    plan.compact = plan.form == Form::Xcast && out.scratch.may_compact && shrinks;
    let length = match plan.form {
        Form::Xcast if plan.compact => {
            parsed.xcast_len() - rewrite::compact_gain(parsed, plan.live)
        }
        Form::Xcast => parsed.xcast_len(),
        Form::Probe => parsed.xcast_len(),
        Form::Unicast | Form::PrematureUnicast => parsed.unicast_len(),
    };
    let mtu = match plan.target {
        Target::Port(port) | Target::Neighbor { port, .. } => {
            fib.port(port).map_or(0, |port| port.mtu)
        }
        Target::Host { .. } => u32::MAX,
    };
    if length > mtu as usize {
        let size = match plan.form {
            Form::Xcast => None,
            _ => fragment::payload_len(parsed, mtu as usize),
        };
        let Some(size) = size else {
            out.scratch.narrowest = out.scratch.narrowest.min(mtu);
            return out.scratch.drop(DropReason::TooBig, plan.live);
        };
        plan.fragment = size;
    }
    out.scratch.plans.push(plan);
}

/// Whether copies of a packet may list their live destinations alone (our extension, R6). A trace
/// is drawn by places in the list, which stay.
fn may_compact(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed) -> bool {
    fib.is_compact()
        && !parsed.keeps_xcast
        && parsed.protocol != protocol::AH
        && !(parsed.is_v6() && parsed.lists.ports.is_some())
        && !notice::asks_for_trace(packet, parsed)
}

/// Step 6: what became of the packet, and of the destinations that are in no copy.
fn settle(packet: &Packet<'_>, parsed: &Parsed, now: Time, out: &mut Output) {
    let Output { counters, samples, notices, scratch, .. } = out;
    match scratch.plans.len() > 0 || scratch.seen_here != 0 {
        true => counters.packets_forwarded += 1,
        false => counters.packets_dropped += 1,
    }
    counters.destinations_delivered += u64::from(scratch.seen_here.count_ones());
    for (reason, live) in scratch.dropped.iter() {
        counters.drop(reason, live.count_ones());
        samples.keep(reason, packet, now);
    }
    notice::note(packet, parsed, scratch, notices, now);
}

/// Step 7: makes the planned copies, the last one in the received buffer.
fn replicate(fib: &Fib, packet: Packet<'_>, parsed: &Parsed, out: &mut Output) {
    let last = out.scratch.plans.len() - 1;
    let answerable = packet.port.is_some() && notice::is_answerable(&packet, parsed);
    for at in 0..=last {
        let plan = out.scratch.plans.at(at);
        let made = match at == last && plan.fragment == 0 {
            true => rewrite::in_place(fib, packet.buffer, packet.port, parsed, &plan, out),
            false => rewrite::copy(fib, packet.buffer, packet.port, parsed, &plan, out),
        };
        let Some(made) = made else {
            out.drop_late(DropReason::TransmitFailed, plan.live);
            continue;
        };
        let (in_place, head, tail) = made;
        let replica = Replica {
            packet: packet.index,
            target: plan.target,
            adjacency: plan.adjacency,
            form: plan.form,
            live: plan.live,
            answerable,
            in_place,
            head,
            tail,
        };
        if plan.fragment == 0 {
            out.replicas.push(replica);
        } else if !fragment::cut(parsed, made, replica, plan.fragment, out) {
            out.drop_late(DropReason::TransmitFailed, plan.live);
        }
    }
}

#[cfg(test)]
mod tests;

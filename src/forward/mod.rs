//! THE PACKET PATH: what a router does with Xcast packets (RFC 5058 section 2). Pure: no I/O, no
//! clock, no allocation, no lock, no dynamic dispatch, no log. Every early exit is a counted
//! [`DropReason`].
//!
//! Packets come in batches, as looking addresses up is mostly waiting for memory, which overlaps.
//! [`process_batch`] is the whole flow:
//!
//! 1. `stage`: parse the packets of the batch and validate them (`packet`), and look up all their
//!    sources and live destinations, some packets ahead of those that the other steps are at. A packet
//!    whose channel had the same list before needs no lookup (`cache`, RFC 5058 section 8.3).
//!
//! Then one packet after the other. Most are plain and need no more decisions: the fast path (`fast`) does
//! all that follows in one go. It is a shortcut: what it does not do comes here, and what it does is the
//! same. The others:
//!
//! 2. `admit` it: is it for this router, and may its source send? From here on every live
//!    destination is counted, and leaves in exactly one replica or under exactly one reason. A
//!    malformed packet counts as a packet.
//! 3. `partition` the live destinations by next hop. One that is this node is delivered (R3); one
//!    that leads nowhere is dropped under its own reason.
//! 4. `plan` the copies: one for each next hop, and there for each class of DSCPs that must not
//!    be merged (R10, `class`); on-link hosts and next hops that do not speak Xcast get one
//!    unicast copy for each destination (R6, R7, R9).
//! 5. `settle` what is dropped: counted, a sample kept, and noted if the source is to be told.
//! 6. `replicate`: all copies but the last get heads of their own and share the received
//!    packet's tail; the last one is made in the received buffer. Each is pruned or converted to
//!    unicast (`rewrite`), or cut where it may be (`fragment`).
//!
//! Decisions that depend on the IP version live in `packet` and `rewrite`; the flow knows
//! entries, adjacencies and bitmaps alone.

mod budget;
mod cache;
mod class;
mod counters;
mod decapsulate;
mod envelope;
mod fast;
mod fragment;
mod inspect;
mod native;
mod notice;
mod output;
mod packet;
mod partition;
mod plan;
mod probe;
mod reason;
mod replica;
mod rewrite;
mod samples;
mod scratch;
mod stage;

use std::net::IpAddr;

pub use counters::{Counters, PortCounters, Sent};
pub use decapsulate::{Decapsulated, Onward, decapsulate, send_on};
pub use inspect::{Inspected, inspect};
pub use notice::{Notice, NoticeKind, Notices};
pub use output::{Output, Replicas};
pub use packet::Packet;
pub use probe::Heard;
pub use reason::DropReason;
pub use replica::{Form, LINK_HEADER_LEN, Replica, Target};
pub use samples::{Sample, Samples};
pub use stage::Batch;

use crate::fib::{AdjacencyId, Entry, EntryId, Fib, PortId, ReversePath};
use packet::Parsed;
use partition::Route;
use rewrite::{Made, Maker};
use scratch::{Plan, Scratch, Travels};
use stage::Staged;

/// A moment, in microseconds since any start that the caller keeps to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

/// Processes one packet that is there `now`: its replicas are appended to `out`, everything else
/// is counted there.
///
/// The caller sends the replicas and then counts each as [`sent`](Counters::sent),
/// [`failed`](Counters::failed) or [`held`](Counters::held).
pub fn process(fib: &Fib, packet: Packet<'_>, now: Time, out: &mut Output) {
    process_batch(fib, &mut stage::One(packet), now, out);
}

/// Processes packets that are there `now`, in order, as [`process`] does each; returns how many. It
/// is at least one, where there is one, and less than there are if `out` has no
/// [room](Output::has_room) for the copies of more, or more could not be looked up at once.
pub fn process_batch(fib: &Fib, batch: &mut impl Batch, now: Time, out: &mut Output) -> usize {
    let mut stage = std::mem::take(&mut out.stage);
    stage.begin(batch, &mut out.cache);
    let mut done = 0;
    'batch: while let Some(looked_up) = stage.turn(fib, batch, &mut out.cache) {
        for (staged, source, entries) in stage.each(looked_up) {
            if done > 0 && !out.has_room() {
                break 'batch;
            }
            finish(fib, batch.packet(done), staged, (source, entries), now, out);
            done += 1;
        }
    }
    out.stage = stage;
    done
}

/// What follows once all lookups are done.
fn finish(
    fib: &Fib,
    mut packet: Packet<'_>,
    staged: &mut Staged,
    (source, entries): (EntryId, &[EntryId]),
    now: Time,
    out: &mut Output,
) {
    out.scratch.begin_packet();
    let cached = staged.cached;
    let source = cached.map_or(source, |place| out.cache.source_entry(place));
    let route = Route { entries, source, cached };
    if let Some(plain) = &staged.plain {
        if fast::forward(fib, &mut packet, plain, route, out) {
            return;
        }
        out.scratch.begin_packet();
        staged.look_closely(fib, &packet);
    }
    let parsed = match staged.validated(fib, &packet, source) {
        Ok(parsed) => parsed,
        Err(reason) => return out.refuse(reason, &packet, now),
    };
    if parsed.is_enveloped()
        && let Err(reason) = envelope::refusal(fib, &packet, parsed)
    {
        return out.refuse(reason, &packet, now);
    }
    match probe::recognize(fib, &packet, parsed) {
        Some(heard) => answer_probe(fib, packet, parsed, heard, route, now, out),
        None => forward(fib, packet, parsed, route, now, out),
    }
}

/// Steps 2 to 6 for a packet that can be read.
fn forward(
    fib: &Fib,
    mut packet: Packet<'_>,
    parsed: &Parsed,
    route: Route<'_>,
    now: Time,
    out: &mut Output,
) {
    out.counters.received(packet.port, parsed.received_len());
    out.counters.destinations_received += u64::from(parsed.live.count_ones());
    match admit(fib, &packet, parsed, now, &mut out.scratch) {
        Err(reason) => out.scratch.drops.add(reason, parsed.live),
        Ok(()) if parsed.is_enveloped() => envelope::plan(fib, &packet, parsed, route, out),
        Ok(()) => {
            partition::partition(fib, &packet, parsed, route, out);
            plan::plan(fib, &packet, parsed, &mut out.scratch);
        }
    }
    settle(&packet, parsed, now, out);
    if out.scratch.plans.len() > 0 {
        if parsed.is_enveloped() {
            envelope::take_over_congestion(&mut packet, parsed, &out.scratch);
        }
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
    route: Route<'_>,
    now: Time,
    out: &mut Output,
) {
    if let Heard::Returned { .. } = heard {
        out.counters.probes_returned += 1;
        return probe::hear(heard, out);
    }
    let refusal = match admit_at_all(fib, &packet, parsed) {
        Ok(Addressed::ToGroup) => None,
        Ok(_) => Some(DropReason::NotForThisRouter),
        Err(reason) => Some(reason),
    };
    if let Some(reason) = refusal {
        out.counters.probes_refused += 1;
        return out.samples.keep(reason, &packet, now);
    }
    probe::hear(heard, out);
    out.scratch.is_probe = true;
    partition::partition(fib, &packet, parsed, route, out);
    plan::plan(fib, &packet, parsed, &mut out.scratch);
    out.scratch.plans.each(|plan| plan.form = Form::Probe);
    out.scratch.forms.xcast = true;
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
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    let addressed = admit_at_all(fib, packet, parsed)?;
    if packet.port.is_none() {
        return Ok(());
    }
    if addressed != Addressed::ToGroup {
        if parsed.is_enveloped() && !fib.accepts(parsed.source) {
            return Ok(());
        }
        if addressed == Addressed::ToService {
            scratch.travels = Travels::ToGroup;
            if fib.limits().sources.is_empty() {
                return Err(DropReason::SourceNotAllowed);
            }
        }
    }
    if !fib.source_allowed(parsed.source) {
        return Err(DropReason::SourceNotAllowed);
    }
    if !scratch.budgets.allow(parsed.source, parsed.live.count_ones(), now) {
        return Err(DropReason::RateLimit);
    }
    if !fib.limits().allow_icmp_echo && parsed.is_icmp_echo(packet.buffer) {
        return Err(DropReason::IcmpEcho);
    }
    Ok(())
}

/// Whom a packet is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Addressed {
    ToGroup,
    /// The group too, but in an envelope.
    Enveloped,
    /// All routers that have this unicast address (RFC 5058 section 11.5).
    ToService,
}

/// What holds for probes too: it is for this router, and comes from where its source is.
#[inline(always)]
fn admit_at_all(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed) -> Result<Addressed, DropReason> {
    // This node's own packets are not refused.
    let Some(port) = packet.port else { return Ok(Addressed::ToGroup) };
    let settings = fib.port(port).ok_or(DropReason::NotForThisRouter)?;
    let group: IpAddr = match parsed.is_v6() {
        true => fib.code_points().all_routers_v6.into(),
        false => fib.code_points().all_routers_v4.into(),
    };
    let to_group = parsed.destination == group;
    let (addressed, mode) = match to_group && !parsed.is_enveloped() {
        true => (Addressed::ToGroup, settings.reverse_path),
        false => addressed_otherwise(fib, packet, parsed, to_group, settings.reverse_path)?,
    };
    if packet.to_group && !settings.accept_group_frames {
        return Err(DropReason::NotForThisRouter);
    }
    match reverse_path_holds(fib, mode, port, parsed.source_entry) {
        true => Ok(addressed),
        false => Err(DropReason::ReversePath),
    }
}

/// Whom a packet is for that is in an envelope, or not to the group; and what must hold for its source.
#[cold]
#[inline(never)]
fn addressed_otherwise(
    fib: &Fib,
    packet: &Packet<'_>,
    parsed: &Parsed,
    to_group: bool,
    mode: ReversePath,
) -> Result<(Addressed, ReversePath), DropReason> {
    match (parsed.is_enveloped(), mode) {
        // An envelope is a packet to one, and never for a group of stations.
        (true, _) if to_group && !packet.to_group => {
            Ok((Addressed::Enveloped, envelope::reverse_path(fib, parsed)))
        }
        (false, mode) if fib.is_anycast(parsed.destination) => match mode {
            ReversePath::Off => Ok((Addressed::ToService, ReversePath::Loose)),
            mode => Ok((Addressed::ToService, mode)),
        },
        _ => Err(DropReason::NotForThisRouter),
    }
}

#[inline(always)]
fn reverse_path_holds(fib: &Fib, mode: ReversePath, port: PortId, source: Entry) -> bool {
    let leaves_by = |adjacency: &AdjacencyId| fib.adjacency(*adjacency).port == port;
    match (mode, source) {
        (ReversePath::Off, _) => true,
        (_, Entry::NoRoute | Entry::Drop | Entry::Bad | Entry::Local | Entry::LinkLocal) => false,
        (ReversePath::Loose, _) => true,
        (_, Entry::PortDown | Entry::TunnelDown) => false,
        (_, Entry::OnLink(on)) => on == port,
        (_, Entry::Neighbor(adjacency)) => leaves_by(&adjacency),
        (_, Entry::Gateways(group)) => fib.members(group).iter().any(leaves_by),
    }
}

/// Step 5: what became of the packet, and of the destinations that are in no copy.
fn settle(packet: &Packet<'_>, parsed: &Parsed, now: Time, out: &mut Output) {
    let Output { counters, samples, notices, scratch, .. } = out;
    match scratch.plans.len() > 0 || scratch.seen_here != 0 {
        true => counters.packets_forwarded += 1,
        false => counters.packets_dropped += 1,
    }
    counters.destinations_delivered += u64::from(scratch.seen_here.count_ones());
    if scratch.drops.is_empty() {
        return;
    }
    for (reason, live) in scratch.drops.iter() {
        counters.drop(reason, live.count_ones());
        samples.keep(reason, packet, now);
    }
    notice::note(packet, parsed, &scratch.drops, notices, now);
}

/// Step 6: makes the planned copies, the last one in the received buffer.
fn replicate(fib: &Fib, packet: Packet<'_>, parsed: &Parsed, out: &mut Output) {
    if out.scratch.forms.readdressed {
        return replicate_apart(fib, &packet, parsed, out);
    }
    let count = out.scratch.plans.len();
    let answerable = packet.port.is_some() && notice::is_answerable(&packet, parsed);
    let maker = Maker::new(fib, &packet, parsed, out.scratch.forms);
    for at in 0..count {
        let plan = out.scratch.plans.at(at);
        let target = maker.target(&plan, &packet);
        let made = match at + 1 == count && plan.fragment == 0 {
            _ if out.is_full() => None,
            true => maker.in_place(&plan, packet.buffer, &mut out.heads),
            false => maker.copy(&plan, packet.buffer, &mut out.heads),
        };
        keep_copy(parsed, (packet.index, target, answerable), &plan, made, out);
    }
}

/// Step 6 where some copies in Xcast form are addressed otherwise than the packet: none is made in
/// the received buffer.
#[cold]
#[inline(never)]
fn replicate_apart(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed, out: &mut Output) {
    let answerable = packet.port.is_some() && notice::is_answerable(packet, parsed);
    let maker = Maker::new(fib, packet, parsed, out.scratch.forms);
    for at in 0..out.scratch.plans.len() {
        let plan = out.scratch.plans.at(at);
        let made = match out.is_full() {
            true => None,
            false => maker.readdressed(&plan, packet.buffer, &mut out.heads),
        };
        let target = maker.readdressed_target(&plan, packet);
        keep_copy(parsed, (packet.index, target, answerable), &plan, made, out);
    }
}

/// Keeps a copy, whole or cut, that was made for a packet; or drops its destinations, as it found no
/// room.
#[inline(always)]
fn keep_copy(
    parsed: &Parsed,
    (packet, target, answerable): (u16, Target, bool),
    plan: &Plan,
    made: Option<Made>,
    out: &mut Output,
) {
    let Some(Made { in_place, head, tail }) = made else {
        return out.drop_late(DropReason::TransmitFailed, plan.live);
    };
    let (adjacency, form, live) = (plan.way.adjacency(), plan.form, plan.live);
    let replica =
        Replica { packet, target, adjacency, form, live, answerable, in_place, head, tail };
    if plan.fragment == 0 {
        out.replicas.push(replica);
    } else if !fragment::cut(parsed, replica, plan.fragment as usize, out) {
        out.drop_late(DropReason::TransmitFailed, plan.live);
    }
}

#[cfg(test)]
mod tests;

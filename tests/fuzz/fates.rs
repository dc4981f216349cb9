//! What must become of each destination, decided one by one from WIRE.md, up to the making of its
//! copy: there size, room and capability have a say, which each have a rule of their own here.

use std::net::IpAddr;

use xcast::fib::{Capability, Entry, ReversePath, is_link_local};
use xcast::forward::{DropReason, Output};

use super::nodes::{GROUP_V4, GROUP_V6};
use super::oracle::Arrived;

/// Checks the reasons of a packet that is no probe.
pub(crate) fn check_reasons(arrived: &Arrived<'_>, out: &Output) {
    let live = arrived.reading.live;
    let reasons = || out.dropped().map(|(reason, _)| reason);
    let limited = reasons().any(|reason| reason == DropReason::RateLimit);
    let refusal = match refusal(arrived) {
        // The budget is looked at in front of what the packet carries.
        None | Some(DropReason::IcmpEcho) if limited => {
            assert!(arrived.fib.limits().destinations_per_second > 0);
            Some(DropReason::RateLimit)
        }
        refusal => refusal,
    };
    if let Some(reason) = refusal {
        let all: Vec<_> = out.dropped().collect();
        assert_eq!(all, [(reason, live)]);
        return;
    }
    for index in arrived.reading.indices(live) {
        let found = out.dropped().find(|(_, bits)| bits << index >> 127 == 1).map(|(r, _)| r);
        match (reason(arrived, index), found) {
            (Some(expected), found) => assert_eq!(found, Some(expected), "destination {index}"),
            (None, None) => {}
            (None, Some(reason)) => check_late(arrived, index, reason),
        }
    }
}

/// Why the packet as a whole goes nowhere, but for its source's budget.
fn refusal(arrived: &Arrived<'_>) -> Option<DropReason> {
    let Arrived { fib, input, packet, reading } = arrived;
    let port = input.port?;
    let group: IpAddr = if reading.is_v6 { GROUP_V6.into() } else { GROUP_V4.into() };
    let known = fib.port(port).filter(|known| {
        reading.group(packet) == group && (!input.to_group || known.accept_group_frames)
    });
    let Some(known) = known else { return Some(DropReason::NotForThisRouter) };
    let source = reading.source(packet);
    let entry = fib.entry_for(source, Some(port));
    let on_port = |id: &u32| fib.adjacency(*id).port == port;
    let strictly = match entry {
        Entry::OnLink(on) => on == port,
        Entry::Neighbor(id) => on_port(&id),
        Entry::Gateways(group) => fib.members(group).iter().any(on_port),
        _ => false,
    };
    let loosely = strictly
        || matches!(
            entry,
            Entry::OnLink(_)
                | Entry::Neighbor(_)
                | Entry::Gateways(_)
                | Entry::PortDown
                | Entry::TunnelDown
        );
    let holds = match known.reverse_path {
        ReversePath::Strict => strictly,
        ReversePath::Loose => loosely,
        ReversePath::Off => true,
    };
    let sources = &fib.limits().sources;
    let first = packet[..reading.len].get(reading.transport);
    let is_echo = match reading.protocol {
        1 => first == Some(&8),
        58 => first == Some(&128),
        _ => false,
    };
    if !holds {
        Some(DropReason::ReversePath)
    } else if !sources.is_empty() && !sources.iter().any(|prefix| prefix.contains(source)) {
        Some(DropReason::SourceNotAllowed)
    } else {
        (is_echo && !fib.limits().allow_icmp_echo).then_some(DropReason::IcmpEcho)
    }
}

/// Why a destination goes nowhere, whatever its copy would be.
fn reason(arrived: &Arrived<'_>, index: usize) -> Option<DropReason> {
    let Arrived { fib, input, packet, reading } = arrived;
    let address = reading.destination(packet, index);
    let entry = fib.entry_for(address, input.port);
    if entry == Entry::Local {
        let unicast = !reading.keeps_xcast();
        let impossible = unicast && reading.checksum_at(packet).is_err();
        return impossible.then_some(DropReason::X2uImpossible);
    }
    if input.port.is_some() && packet[reading.ttl_at()] < 2 {
        return Some(DropReason::TtlExpired);
    }
    let stays = match entry {
        Entry::OnLink(on) => input.port.is_none_or(|port| port == on),
        Entry::Neighbor(id) => input.port.is_none_or(|port| port == fib.adjacency(id).port),
        _ => false,
    };
    if entry == Entry::Bad || is_link_local(address) && !stays {
        return Some(DropReason::BadDestination);
    }
    let allowed = &fib.limits().destinations;
    if !allowed.is_empty() && !allowed.iter().any(|prefix| prefix.contains(address)) {
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

/// Whether a destination that leads somewhere may have been dropped for this reason.
fn check_late(arrived: &Arrived<'_>, index: usize, reason: DropReason) {
    let Arrived { fib, input, packet, reading } = arrived;
    let address = reading.destination(packet, index);
    let entry = fib.entry_for(address, input.port);
    let incapable = |id: &u32| fib.adjacency(*id).capability == Capability::Incapable;
    let narrow = |port: u16| (fib.port(port).map_or(0, |port| port.mtu) as usize) < reading.len;
    let may_be = match (reason, entry) {
        (DropReason::TransmitFailed, _) => true,
        (DropReason::X2uImpossible, _) => {
            !reading.keeps_xcast() && reading.checksum_at(packet).is_err()
        }
        (DropReason::IncapableWithX, Entry::Gateways(group)) => {
            reading.keeps_xcast() && fib.members(group).iter().any(incapable)
        }
        (DropReason::TooBig, Entry::OnLink(port)) => narrow(port),
        (DropReason::TooBig, Entry::Neighbor(id)) => narrow(fib.adjacency(id).port),
        (DropReason::TooBig, Entry::Gateways(group)) => {
            fib.members(group).iter().any(|id| narrow(fib.adjacency(*id).port))
        }
        _ => false,
    };
    assert!(may_be, "destination {index}, {entry:?}: {}", reason.name());
}

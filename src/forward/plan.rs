//! Step 4: which copies a packet needs.

use std::net::IpAddr;

use super::class;
use super::fragment;
use super::notice;
use super::packet::{Packet, Parsed, TransportChecksum};
use super::reason::DropReason;
use super::replica::Form;
use super::rewrite::compact_gain;
use super::scratch::{Drops, Forms, List, Plan, Scratch, Travels, Way};
use crate::fib::{Adjacency, AdjacencyId, Capability, Entry, Fib, PortId};
use crate::wire::ipv4::protocol;
use crate::wire::xcast4::{bit, live_indices};

/// Plans the copies of one packet.
pub(super) struct Planner<'a> {
    pub(super) fib: &'a Fib,
    pub(super) parsed: &'a Parsed,
    pub(super) plans: &'a mut List<Plan>,
    pub(super) forms: &'a mut Forms,
    pub(super) drops: &'a mut Drops,
    /// Copies may list their live destinations alone.
    pub(super) may_compact: bool,
    pub(super) is_probe: bool,
    /// How copies in Xcast form are addressed.
    pub(super) travels: Travels,
}

/// Plans the copies that each part needs (R6, R9).
pub(super) fn plan(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed, scratch: &mut Scratch) {
    let Scratch { parts, plans, forms, drops, is_probe, travels, .. } = scratch;
    let (may_compact, is_probe) = (may_compact(fib, packet, parsed), *is_probe);
    let travels = *travels;
    let mut planner = Planner { fib, parsed, plans, forms, drops, may_compact, is_probe, travels };
    let from_elsewhere = packet.port.is_some() && !is_probe && !fib.originates(parsed.source);
    for part in parts.all() {
        let adjacency = fib.adjacency(part.adjacency);
        adjacency.mark_used();
        let (way, direct) = (Way::Adjacency(part.adjacency), part.direct);
        let behind = match from_elsewhere && adjacency.capability != Capability::Tunnel {
            true => planner.keep_near(packet, part.behind),
            false => part.behind,
        };
        if behind == 0 {
            // On-link hosts leave alone, whatever they speak.
            planner.each(way, Form::Unicast, direct);
        } else if adjacency.capability == Capability::Capable {
            planner.together(packet, way, direct | behind);
        } else if adjacency.capability == Capability::Tunnel {
            planner.tunneled(packet, part.adjacency, behind);
        } else {
            planner.each(way, Form::Unicast, direct);
            planner.early(way, behind);
        }
    }
}

impl<'a> Planner<'a> {
    /// Plans copies that need no part.
    pub(super) fn new(fib: &'a Fib, parsed: &'a Parsed, scratch: &'a mut Scratch) -> Planner<'a> {
        let Scratch { plans, forms, drops, travels, .. } = scratch;
        let (may_compact, is_probe, travels) = (false, false, *travels);
        Planner { fib, parsed, plans, forms, drops, may_compact, is_probe, travels }
    }

    /// One copy for all, or with DS bytes one for each class.
    #[inline(always)]
    pub(super) fn together(&mut self, packet: &Packet<'_>, way: Way, live: u128) {
        let Some(ds_bytes) = self.parsed.lists.ds_bytes else {
            return self.shared(way, live, None);
        };
        for class in class::split(&packet.buffer[ds_bytes..][..self.parsed.count], live) {
            if class.live != 0 {
                self.shared(way, class.live, Some(class.dscp));
            }
        }
    }

    /// Of destinations behind gateways those that this relay is near to; what is for others it may not
    /// emit natively.
    #[cold]
    fn keep_near(&mut self, packet: &Packet<'_>, live: u128) -> u128 {
        let is_near = |index: &usize| self.fib.is_near(self.parsed.address(packet.buffer, *index));
        let near = live_indices(live).filter(is_near).fold(0, |near, index| near | bit(index));
        if near != live {
            self.drops.add(DropReason::NoRoute, live & !near);
        }
        near
    }

    /// Copies into a tunnel: never back into the one that the packet came out of. A destination
    /// alone has no use for it, where there is a way by the routes of unicast that does not lead
    /// there too.
    #[cold]
    pub(super) fn tunneled(&mut self, packet: &Packet<'_>, tunnel: AdjacencyId, live: u128) {
        let port = self.fib.adjacency(tunnel).port;
        let tunnel_of = self.fib.port(port).and_then(|port| port.tunnel);
        if let Some(kind) = tunnel_of.map(|tunnel| tunnel.encapsulation).filter(|k| k.is_native()) {
            return self.natively(packet, (kind, tunnel), live);
        }
        let way = Way::Adjacency(tunnel);
        let is_lone = live.is_power_of_two() && !self.parsed.keeps_xcast;
        match is_lone.then(|| self.lone_way(packet, Some(port), live)).flatten() {
            Some(native) => self.alone(native, Form::Unicast, live, None),
            // Where hosts forward for each other, on to the next.
            None if packet.port == Some(port)
                && !self.is_probe
                && self.fib.hosts() != Some(port) =>
            {
                self.drops.add(DropReason::NoRoute, live);
            }
            None => self.together(packet, way, live),
        }
    }

    /// The way of a lone destination that does without a tunnel, which is now in use.
    pub(super) fn lone_way(
        &self,
        packet: &Packet<'_>,
        tunnel: Option<PortId>,
        live: u128,
    ) -> Option<Way> {
        let index = live.leading_zeros() as usize;
        let address = self.parsed.address(packet.buffer, index);
        if packet.port.is_some()
            && !self.fib.originates(self.parsed.source)
            && !self.fib.is_near(address)
        {
            return None;
        }
        self.native_way(address, tunnel)
    }

    /// The way to an address by the routes of unicast, but for one into `tunnel`; it is now in use.
    pub(super) fn native_way(&self, address: IpAddr, tunnel: Option<PortId>) -> Option<Way> {
        let way = match self.fib.native_entry(address)? {
            Entry::OnLink(port) => Way::OnLink(port),
            Entry::Neighbor(neighbor) => Way::Adjacency(neighbor),
            Entry::Gateways(group) => Way::Adjacency(self.fib.choose(group, self.parsed.flow())),
            _ => return None,
        };
        let adjacency = way.adjacency().map(|id| self.fib.adjacency(id));
        if adjacency.is_some_and(|adjacency| Some(adjacency.port) == tunnel) {
            return None;
        }
        adjacency.into_iter().for_each(Adjacency::mark_used);
        Some(way)
    }

    #[inline]
    fn shared(&mut self, way: Way, live: u128, dscp: Option<u8>) {
        match live.is_power_of_two() {
            true => self.alone(way, Form::Unicast, live, dscp),
            false => self.push(way, Form::Xcast, live, dscp),
        }
    }

    /// Unicast copies by a next hop that does not speak Xcast.
    fn early(&mut self, way: Way, live: u128) {
        match self.parsed.keeps_xcast {
            true => self.drops.add(DropReason::IncapableWithX, live),
            false if live.is_power_of_two() => self.each(way, Form::Unicast, live),
            false => self.each(way, Form::PrematureUnicast, live),
        }
    }

    pub(super) fn each(&mut self, way: Way, form: Form, live: u128) {
        for index in live_indices(live) {
            self.alone(way, form, bit(index), None);
        }
    }

    /// One live destination: unicast (R7), unless the packet must stay Xcast (R8).
    #[inline]
    pub(super) fn alone(&mut self, way: Way, form: Form, live: u128, dscp: Option<u8>) {
        match self.parsed.checksum {
            _ if self.parsed.keeps_xcast => self.push(way, Form::Xcast, live, dscp),
            TransportChecksum::Impossible => self.drops.add(DropReason::X2uImpossible, live),
            _ => self.push(way, form, live, dscp),
        }
    }

    /// A copy is planned unless its link cannot carry it (R11).
    #[inline]
    pub(super) fn push(&mut self, way: Way, form: Form, live: u128, dscp: Option<u8>) {
        let parsed = self.parsed;
        let travels = Travels::Plainly;
        let mut plan = Plan { live, way, form, dscp, fragment: 0, compact: false, travels };
        let length = match form {
            Form::Xcast | Form::Probe => {
                plan.compact = self.may_compact && (live.count_ones() as usize) < parsed.count;
                let gain = if plan.compact { compact_gain(parsed, live) } else { 0 };
                self.forms.xcast = true;
                let length = parsed.xcast_len() - gain;
                match self.travels {
                    Travels::Plainly => length,
                    _ => match self.readdress(&mut plan) {
                        Ok(overhead) => length + overhead,
                        Err(reason) => return self.drops.add(reason, live),
                    },
                }
            }
            Form::Unicast | Form::PrematureUnicast => {
                self.forms.unicast = true;
                parsed.unicast_len()
            }
        };
        let mtu = self.mtu(way);
        if length > mtu as usize {
            return self.too_big(plan, mtu);
        }
        self.plans.push(plan);
    }

    /// What the link carries that a way begins with.
    #[inline]
    pub(super) fn mtu(&self, way: Way) -> u32 {
        let port = match way {
            Way::Adjacency(id) => Some(self.fib.adjacency(id).port),
            Way::OnLink(port) => Some(port),
            Way::Host => None,
        };
        port.map_or(u32::MAX, |port| self.fib.port(port).map_or(0, |port| port.mtu))
    }

    #[cold]
    fn too_big(&mut self, mut plan: Plan, mtu: u32) {
        let size = match plan.form {
            Form::Xcast | Form::Probe => None,
            _ => fragment::payload_len(self.parsed, mtu as usize),
        };
        let inner_mtu = mtu.saturating_sub(plan.travels.overhead() as u32);
        let Some(size) = size else { return self.drops.too_big(plan.live, inner_mtu) };
        plan.fragment = size as u32;
        self.plans.push(plan);
    }
}

/// Whether copies of a packet may list their live destinations alone (our extension, R6). A trace
/// is drawn by places in the list, which stay.
pub(super) fn may_compact(fib: &Fib, packet: &Packet<'_>, parsed: &Parsed) -> bool {
    fib.is_compact()
        && !parsed.keeps_xcast
        && parsed.protocol != protocol::AH
        && !(parsed.is_v6() && parsed.lists.ports.is_some())
        && !notice::asks_for_trace(packet, parsed)
}

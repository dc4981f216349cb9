//! Copies into tunnels that have no other end of their own (RFC 5058 sections 11.3 and 11.5): they leave
//! by the routes of unicast, and travel as any packet of unicast until a router opens them.

use super::class;
use super::packet::{Packet, TransportChecksum};
use super::plan::Planner;
use super::reason::DropReason;
use super::replica::Form;
use super::scratch::{Plan, Travels, Way};
use crate::fib::AdjacencyId;
use crate::wire::semi_permeable;
use crate::wire::tunnel::{Encapsulation, OUTER_TTL};
use crate::wire::xcast4::bit;

impl Travels {
    /// How many octets it costs.
    pub(super) fn overhead(self) -> usize {
        match self {
            Travels::Enveloped { .. } | Travels::Unopened => semi_permeable::OVERHEAD,
            Travels::Plainly | Travels::ToGroup | Travels::ToService(_) => 0,
        }
    }
}

impl Planner<'_> {
    /// Copies into a tunnel of a native kind.
    #[cold]
    pub(super) fn natively(
        &mut self,
        packet: &Packet<'_>,
        (kind, tunnel): (Encapsulation, AdjacencyId),
        live: u128,
    ) {
        self.by_class(packet, live, |planner, live, dscp| match kind {
            Encapsulation::Anycast => planner.by_service(packet, tunnel, live, dscp),
            _ if planner.parsed.is_v6() => planner.enveloped(packet, live, dscp),
            _ => planner.drops.add(DropReason::NoRoute, live),
        });
    }

    /// Copies in envelopes, without a tunnel.
    pub(super) fn pass_on(&mut self, packet: &Packet<'_>, live: u128) {
        self.by_class(packet, live, |planner, live, dscp| planner.enveloped(packet, live, dscp));
    }

    /// One copy for all, or with DS bytes one for each class.
    fn by_class(
        &mut self,
        packet: &Packet<'_>,
        live: u128,
        mut one: impl FnMut(&mut Self, u128, Option<u8>),
    ) {
        let Some(ds_bytes) = self.parsed.lists.ds_bytes else { return one(self, live, None) };
        for class in class::split(&packet.buffer[ds_bytes..][..self.parsed.count], live) {
            if class.live != 0 {
                one(self, class.live, Some(class.dscp));
            }
        }
    }

    /// A copy to the nearest router with a service address; a destination alone does without where it
    /// can.
    fn by_service(
        &mut self,
        packet: &Packet<'_>,
        tunnel: AdjacencyId,
        live: u128,
        dscp: Option<u8>,
    ) {
        let is_lone = live.is_power_of_two() && !self.parsed.keeps_xcast;
        if let Some(way) = is_lone.then(|| self.lone_way(packet, None, live)).flatten() {
            return self.alone_apart(way, live, dscp);
        }
        let service = self.fib.adjacency(tunnel).address;
        // One that came to this address has found its router: to send it there again is a loop.
        if service.is_ipv6() != self.parsed.is_v6() || service == self.parsed.destination {
            return self.drops.add(DropReason::NoRoute, live);
        }
        let Some(way) = self.native_way(service, None) else {
            return self.drops.add(DropReason::TunnelDown, live);
        };
        let before = std::mem::replace(&mut self.travels, Travels::ToService(tunnel));
        self.push_apart(way, live, dscp);
        self.travels = before;
    }

    /// A copy in an envelope to the first of the live destinations that there is a way to; one alone
    /// has no use for an envelope.
    fn enveloped(&mut self, packet: &Packet<'_>, mut live: u128, dscp: Option<u8>) {
        while live != 0 {
            let first = bit(live.leading_zeros() as usize);
            let Some(way) = self.lone_way(packet, None, first) else {
                self.drops.add(DropReason::NoRoute, first);
                live &= !first;
                continue;
            };
            if live == first && !self.parsed.keeps_xcast {
                return self.alone_apart(way, live, dscp);
            }
            let envelope = Travels::Enveloped { hop_limit: OUTER_TTL };
            let before = std::mem::replace(&mut self.travels, envelope);
            self.push_apart(way, live, dscp);
            self.travels = before;
            return;
        }
    }

    /// As [`push`](Planner::push), [`alone`](Planner::alone) and [`together`](Planner::together), for
    /// who plans few: those are to lie in the loop that plans most.
    #[cold]
    #[inline(never)]
    fn push_apart(&mut self, way: Way, live: u128, dscp: Option<u8>) {
        self.push(way, Form::Xcast, live, dscp);
    }

    #[cold]
    #[inline(never)]
    fn alone_apart(&mut self, way: Way, live: u128, dscp: Option<u8>) {
        self.alone(way, Form::Unicast, live, dscp);
    }

    #[cold]
    #[inline(never)]
    pub(super) fn together_apart(&mut self, packet: &Packet<'_>, way: Way, live: u128) {
        self.together(packet, way, live);
    }

    /// Plans a copy in Xcast form with another address than its packet's; returns how many octets it
    /// costs.
    ///
    /// # Errors
    /// The reason to drop it: its transport checksum cannot follow, or must not (WIRE.md "Tunnels").
    #[cold]
    pub(super) fn readdress(&mut self, plan: &mut Plan) -> Result<usize, DropReason> {
        plan.travels = self.travels;
        self.forms.readdressed = true;
        let is_fixed =
            self.parsed.keeps_xcast || self.parsed.checksum == TransportChecksum::Impossible;
        match self.travels {
            Travels::ToGroup | Travels::ToService(_) if is_fixed => Err(DropReason::IncapableWithX),
            travels => Ok(travels.overhead()),
        }
    }
}

//! What is known of every destination's way, TTL by TTL. Pure: knows no clock and no socket.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::wire::trace::{Outcome, Report};
use crate::wire::xcast4::live_indices;

/// After so many silent hops in a row a destination is given up.
pub(super) const SILENT_MAX: usize = 3;

/// Who has been heard of at one TTL of one destination's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// An Xcast router, which has reported.
    Router { name: String, address: IpAddr, fate: Outcome },
    /// A router that does not report, at which the TTL of a copy ended.
    Hop {
        address: IpAddr,
        /// The copy was in Xcast form.
        xcast: bool,
    },
    /// The destination itself.
    Destination,
    /// Somebody who says that the destination cannot be reached, and why.
    Refused { by: Option<IpAddr>, reason: String },
}

impl Sighting {
    /// Whether the way ends here.
    fn is_end(&self) -> bool {
        match self {
            Sighting::Router { fate: Outcome::Copy { .. }, .. } | Sighting::Hop { .. } => false,
            Sighting::Router { .. } | Sighting::Destination | Sighting::Refused { .. } => true,
        }
    }
}

/// A packet that was sent.
struct Probe {
    ttl: u8,
    /// The destinations that it lists, as indices.
    list: Vec<usize>,
}

/// All that is known.
pub(super) struct Tracer {
    ways: Vec<Way>,
    /// By nonce.
    probes: BTreeMap<u64, Probe>,
}

/// The way to one destination.
pub(super) struct Way {
    pub(super) destination: IpAddr,
    /// Why this host itself cannot send to it, if it cannot.
    pub(super) unsent: Option<String>,
    /// By TTL.
    seen: BTreeMap<u8, Sighting>,
    /// The largest TTL that was tried.
    tried: u8,
}

impl Way {
    fn end(&self) -> Option<u8> {
        self.seen.iter().find(|(_, sighting)| sighting.is_end()).map(|(ttl, _)| *ttl)
    }

    /// Whether there is nothing more to learn.
    fn is_known(&self) -> bool {
        self.unsent.is_some() || self.end().is_some()
    }

    /// For how many hops in front of this TTL nobody was heard of.
    fn silence_before(&self, ttl: u8) -> usize {
        let last = self.seen.range(..ttl).next_back().map_or(0, |(ttl, _)| *ttl);
        usize::from(ttl.saturating_sub(last + 1))
    }

    fn is_given_up_before(&self, ttl: u8) -> bool {
        self.silence_before(ttl) >= SILENT_MAX
    }

    /// What was seen at each TTL from 1 on; `None` is silence, of which no more is told than makes
    /// a destination be given up.
    pub(super) fn hops(&self) -> impl Iterator<Item = (u8, Option<&Sighting>)> {
        let last = self.end().unwrap_or(self.tried);
        let count = if self.unsent.is_some() { 0 } else { last };
        let hops = (1..=count).map(|ttl| (ttl, self.seen.get(&ttl)));
        hops.filter(|(ttl, sighting)| sighting.is_some() || !self.is_given_up_before(*ttl))
    }

    /// Whether the destination has the packet.
    pub(super) fn is_reached(&self) -> bool {
        let end = self.end().filter(|_| self.unsent.is_none());
        end.and_then(|ttl| self.seen.get(&ttl)).is_some_and(|sighting| {
            matches!(
                sighting,
                Sighting::Destination | Sighting::Router { fate: Outcome::Delivered, .. }
            )
        })
    }

    /// The first word counts. But a router that is a destination itself may say so by ICMP, and
    /// then by a report, which tells more.
    fn see(&mut self, ttl: u8, sighting: Sighting) {
        let seen = self.seen.entry(ttl).or_insert_with(|| sighting.clone());
        if *seen == Sighting::Destination && matches!(sighting, Sighting::Router { .. }) {
            *seen = sighting;
        }
    }
}

impl Tracer {
    pub(super) fn new(destinations: &[IpAddr]) -> Tracer {
        let way = |&destination| Way { destination, unsent: None, seen: BTreeMap::new(), tried: 0 };
        Tracer { ways: destinations.iter().map(way).collect(), probes: BTreeMap::new() }
    }

    pub(super) fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// Those who are to be in the packets of a TTL. While anybody is looked for, others that were
    /// given up stay in, so that copies have the form that they have without a trace.
    pub(super) fn open(&self, ttl: u8) -> BTreeSet<usize> {
        let open = |at: &usize| !self.ways[*at].is_known();
        let all: BTreeSet<usize> = (0..self.ways.len()).filter(open).collect();
        match all.iter().all(|at| self.ways[*at].is_given_up_before(ttl)) {
            true => BTreeSet::new(),
            false => all,
        }
    }

    /// Those of whom something may still be heard at a TTL that was tried.
    pub(super) fn unheard(&self, ttl: u8) -> BTreeSet<usize> {
        let unheard = |at: &usize| {
            let way = &self.ways[*at];
            let is_heard = way.is_known() || way.seen.contains_key(&ttl);
            !is_heard && !way.is_given_up_before(ttl)
        };
        (0..self.ways.len()).filter(unheard).collect()
    }

    /// A packet is being sent; `nonce` is its own.
    pub(super) fn sent(&mut self, nonce: u64, ttl: u8, list: &[usize]) {
        for at in list {
            let tried = &mut self.ways[*at].tried;
            *tried = ttl.max(*tried);
        }
        self.probes.insert(nonce, Probe { ttl, list: list.to_vec() });
    }

    /// This host cannot send to a destination.
    pub(super) fn unsent(&mut self, destination: IpAddr, reason: &str) {
        if let Some(at) = self.index(destination)
            && self.ways[at].seen.is_empty()
        {
            self.ways[at].unsent = Some(reason.to_owned());
        }
    }

    /// A router reports, of all live destinations or some.
    pub(super) fn report(&mut self, report: Report) {
        let Some(probe) = self.probes.get(&report.nonce) else { return };
        for branch in &report.branches {
            for at in live_indices(branch.destinations).filter_map(|bit| probe.list.get(bit)) {
                let Report { router, address, .. } = &report;
                let fate = branch.outcome.clone();
                let (name, address) = (router.clone(), *address);
                self.ways[*at].see(probe.ttl, Sighting::Router { name, address, fate });
            }
        }
    }

    /// A datagram or an ICMP error that is no report says something of a destination. Without a
    /// nonce, which not every ICMP error quotes, it is about the packet that was sent last.
    pub(super) fn see(&mut self, destination: IpAddr, nonce: Option<u64>, sighting: Sighting) {
        let Some(at) = self.index(destination) else { return };
        let ttl = match nonce {
            None => self.ways[at].tried,
            Some(nonce) => match self.probes.get(&nonce) {
                Some(probe) if probe.list.contains(&at) => probe.ttl,
                _ => return,
            },
        };
        self.ways[at].see(ttl, sighting);
    }

    fn index(&self, destination: IpAddr) -> Option<usize> {
        self.ways.iter().position(|way| way.destination == destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::trace::Branch;
    use crate::wire::xcast4::bit;

    fn address(host: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, host])
    }

    fn hop(host: u8) -> Sighting {
        Sighting::Hop { address: address(host), xcast: false }
    }

    fn copy(host: u8) -> Outcome {
        Outcome::Copy { xcast: true, to: address(host), interface: "eth1".to_owned() }
    }

    /// Router r1 says so of the destinations at these places of the list.
    fn report(nonce: u64, branches: &[(&[usize], Outcome)]) -> Report {
        let branch = |(places, outcome): &(&[usize], Outcome)| Branch {
            destinations: places.iter().fold(0, |all, at| all | bit(*at)),
            outcome: outcome.clone(),
        };
        Report {
            nonce,
            router: "r1".to_owned(),
            address: address(101),
            branches: branches.iter().map(branch).collect(),
        }
    }

    fn dropped(reason: &str) -> Outcome {
        Outcome::Dropped(reason.to_owned())
    }

    fn kinds(way: &Way) -> Vec<(u8, char)> {
        let kind = |sighting: Option<&Sighting>| match sighting {
            None => '?',
            Some(Sighting::Router { .. }) => 'r',
            Some(Sighting::Hop { .. }) => 'h',
            Some(Sighting::Destination) => 'd',
            Some(Sighting::Refused { .. }) => 'x',
        };
        way.hops().map(|(ttl, sighting)| (ttl, kind(sighting))).collect()
    }

    #[test]
    fn bits_are_places_in_the_list_of_their_own_packet() {
        let mut tracer = Tracer::new(&[1, 2, 3].map(address));
        tracer.sent(7, 1, &[0, 1, 2]);
        tracer.report(report(7, &[(&[0, 2], copy(102)), (&[1], dropped("no-route"))]));
        assert_eq!(tracer.open(2), [0, 2].into());
        tracer.sent(8, 2, &[0, 2]);
        tracer.report(report(8, &[(&[1, 5, 127], Outcome::Delivered)]));
        assert_eq!(tracer.unheard(2), [0].into());
        tracer.see(address(1), Some(8), Sighting::Destination);
        assert_eq!(
            tracer.ways().iter().map(Way::is_reached).collect::<Vec<_>>(),
            [true, false, true]
        );
        assert!(tracer.open(3).is_empty());
    }

    #[test]
    fn what_was_never_asked_is_not_believed() {
        let mut tracer = Tracer::new(&[1, 2].map(address));
        tracer.sent(7, 1, &[0]);
        tracer.report(report(6, &[(&[0], Outcome::Delivered)]));
        tracer.see(address(1), Some(6), Sighting::Destination);
        tracer.see(address(2), Some(7), Sighting::Destination);
        tracer.see(address(3), Some(7), Sighting::Destination);
        assert_eq!(tracer.open(1), [0, 1].into());
    }

    #[test]
    fn the_first_word_counts_and_a_late_one_has_its_own_ttl() {
        let mut tracer = Tracer::new(&[address(1)]);
        (1..=3).for_each(|ttl| tracer.sent(ttl, ttl as u8, &[0]));
        tracer.see(address(1), Some(1), hop(101));
        tracer.see(address(1), Some(1), hop(102));
        tracer.see(address(1), None, hop(103));
        let refused = Sighting::Refused { by: Some(address(101)), reason: "no-route".to_owned() };
        tracer.see(address(1), Some(2), refused);
        let way = &tracer.ways()[0];
        assert_eq!(way.seen[&1], hop(101));
        assert_eq!(kinds(way), [(1, 'h'), (2, 'x')], "what is beyond the end is left out");
        assert!(!way.is_reached());
    }

    #[test]
    fn a_report_says_more_of_a_destination_than_an_icmp_error() {
        for report_first in [true, false] {
            let mut tracer = Tracer::new(&[address(1)]);
            tracer.sent(7, 1, &[0]);
            if report_first {
                tracer.report(report(7, &[(&[0], Outcome::Delivered)]));
            }
            tracer.see(address(1), Some(7), Sighting::Destination);
            tracer.report(report(7, &[(&[0], Outcome::Delivered)]));
            assert_eq!(kinds(&tracer.ways()[0]), [(1, 'r')]);
            assert!(tracer.ways()[0].is_reached());
        }
    }

    #[test]
    fn three_silent_hops_are_enough_but_company_keeps_a_destination_listed() {
        let mut tracer = Tracer::new(&[1, 2].map(address));
        for ttl in 1..=4 {
            tracer.sent(ttl.into(), ttl, &[0, 1]);
            assert_eq!(tracer.unheard(ttl).contains(&0), ttl <= 3);
            tracer.see(address(2), Some(ttl.into()), hop(100 + ttl));
            assert_eq!(tracer.open(ttl + 1), [0, 1].into());
        }
        assert_eq!(kinds(&tracer.ways()[0]), [(1, '?'), (2, '?'), (3, '?')]);
        tracer.see(address(2), Some(4), Sighting::Destination);
        assert_eq!(tracer.open(5), [0, 1].into(), "the first word counts");
        tracer.sent(5, 5, &[0, 1]);
        tracer.see(address(2), Some(5), Sighting::Destination);
        assert!(tracer.open(6).is_empty());
        tracer.see(address(1), Some(5), Sighting::Destination);
        let late = [(1, '?'), (2, '?'), (3, '?'), (5, 'd')];
        assert_eq!(kinds(&tracer.ways()[0]), late, "heard of after all");
    }

    #[test]
    fn what_this_host_cannot_send_has_no_hops() {
        let mut tracer = Tracer::new(&[1, 2].map(address));
        tracer.sent(1, 1, &[0, 1]);
        tracer.unsent(address(1), "no-route");
        tracer.see(address(2), Some(1), hop(101));
        tracer.unsent(address(2), "neighbor-unresolved");
        assert_eq!(kinds(&tracer.ways()[0]), []);
        assert_eq!(tracer.open(2), [1].into(), "an answer is stronger");
    }
}

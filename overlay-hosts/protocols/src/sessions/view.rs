//! A snapshot of the pool as a session's planner sees it: hosts by who they are.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::alm::{Degrees, LATENCY_MAX, Micros, Pool, Rank, SessionId};
use crate::contact::Contact;
use crate::id::{PeerId, RingId};
use crate::resource_pool::Snapshot;

/// The hosts of a snapshot, and this one.
pub(super) struct View<'a> {
    snapshot: &'a Snapshot,
    positions: BTreeMap<PeerId, RingId>,
    me: PeerId,
    degrees: Degrees,
}

impl View<'_> {
    /// Of two reports in one host's name, that from the lower position counts.
    pub(super) fn new<'a>(snapshot: &'a Snapshot, me: PeerId, degrees: &Degrees) -> View<'a> {
        let mut positions = BTreeMap::new();
        for host in snapshot.hosts() {
            positions.entry(host.report.contact.id).or_insert(host.position);
        }
        View { snapshot, positions, me, degrees: degrees.clone() }
    }

    /// How a host is reached.
    pub(super) fn contact(&self, host: PeerId) -> Option<&Contact> {
        let report = self.snapshot.host(*self.positions.get(&host)?)?;
        Some(&report.contact)
    }

    /// How late the last of some is, whose ways to the root are made of these links; `None` if it is
    /// not known how long one of them takes.
    pub(super) fn height(
        &self,
        links: &BTreeMap<PeerId, PeerId>,
        of: impl Iterator<Item = PeerId>,
    ) -> Option<Micros> {
        let depth = |host: PeerId| {
            let (mut at, mut sum) = (host, 0);
            // A tree has no longer way than it has links.
            for _ in 0..=links.len() {
                let Some(parent) = links.get(&at) else { break };
                sum += self.latency(*parent, at);
                at = *parent;
            }
            sum
        };
        of.map(depth).max().filter(|height| *height < LATENCY_MAX)
    }
}

impl Pool<PeerId> for View<'_> {
    fn candidates(&self) -> Vec<PeerId> {
        let placed: Vec<RingId> = self.snapshot.candidates();
        let at = |position: RingId| self.snapshot.host(position).map(|host| (position, host));
        let hosts = placed.into_iter().filter_map(at);
        let is_its = |(position, id): &(RingId, PeerId)| {
            self.positions.get(id).is_some_and(|p| p == position)
        };
        hosts.map(|(p, host)| (p, host.contact.id)).filter(is_its).map(|(_, id)| id).collect()
    }

    fn available(&self, host: PeerId, session: SessionId, rank: Rank) -> u16 {
        if host == self.me {
            // What was reported of it is older.
            return self.degrees.available(session, rank);
        }
        let position = self.positions.get(&host);
        position.map_or(0, |position| self.snapshot.available(*position, session, rank))
    }

    fn latency(&self, from: PeerId, to: PeerId) -> Micros {
        let at = |host| self.positions.get(&host).copied().unwrap_or_default();
        self.snapshot.latency(at(from), at(to))
    }

    fn bandwidth(&self, from: PeerId, to: PeerId) -> u32 {
        let at = |host| self.positions.get(&host).copied().unwrap_or_default();
        self.snapshot.bandwidth(at(from), at(to))
    }
}

//! Pools of hosts with degrees, as the experiments on multicast sessions have them.

use std::collections::BTreeMap;
use std::time::Duration;

use overlay_protocols::alm::{
    Ask, Claim, Degrees, Micros, Network, Place, PlanError, Pool, Rank, Session, SessionId, Verdict,
};
use overlay_protocols::random::Random;

use crate::underlay::{HostId, RouterId, TransitStub};

/// Hosts in a pool: 60 sessions of 20 (seed 003 paragraph 0088).
pub(super) const HOSTS: usize = 1_200;

/// Plans that a session makes in the mean at most until all are at rest.
const PLANS_MAX: usize = 20;

/// The streams of a seed that pools draw from.
const POOL_STREAM: u64 = 0x706f_6f6c_0000_0000;
const DEGREE_STREAM: u64 = 0x6465_6772_6565_7300;

/// A network of 600 routers, with hosts.
pub(super) struct PoolOfHosts {
    /// By host: its router, and the last hop.
    access: Vec<(RouterId, Micros)>,
    /// From any router to any: a row for each that is gone to.
    between: Vec<u32>,
    routers: usize,
    /// By host.
    pub(super) degrees: Vec<u16>,
    /// What else is drawn for this pool follows from it.
    pub(super) seed: u64,
}

impl PoolOfHosts {
    /// The pool of a trial, each of which has its own.
    pub(super) fn new(hosts: usize, seed: u64, trial: u64) -> PoolOfHosts {
        let seed = Random::new(seed, POOL_STREAM + trial).number();
        let mut underlay = TransitStub::ts600().build(seed);
        underlay.attach_hosts(hosts, seed);
        let mut random = Random::new(seed, DEGREE_STREAM);
        let degrees = (0..hosts).map(|_| degree(&mut random)).collect();
        let access = underlay.hosts().iter().map(|host| (host.router, micros(host.delay)));
        let routers = underlay.router_count();
        let way = |from, to| underlay.between(from, to).unwrap_or(u32::MAX);
        let between = (0..routers).flat_map(|to| (0..routers).map(move |from| (from, to)));
        PoolOfHosts {
            access: access.collect(),
            between: between.map(|(from, to)| way(from, to)).collect(),
            routers,
            degrees,
            seed,
        }
    }

    /// One way: looked up in a table, as a planner would that has been told all latencies.
    pub(super) fn latency(&self, from: HostId, to: HostId) -> Micros {
        let ((here, first), (there, last)) = (self.access[from], self.access[to]);
        match from == to {
            true => 0,
            false => first + Micros::from(self.between[there * self.routers + here]) + last,
        }
    }
}

fn micros(span: Duration) -> Micros {
    span.as_micros() as Micros
}

/// 2 with a chance of 1/2, 3 with 1/4, and so on; 9 with the rest.
fn degree(random: &mut Random) -> u16 {
    2 + (random.number().trailing_ones() as u16).min(7)
}

/// Hosts of a pool in a certain order.
pub(super) struct Hosts<'a> {
    pub(super) pool: &'a PoolOfHosts,
    pub(super) hosts: &'a [HostId],
}

impl Network for Hosts<'_> {
    fn latency(&self, from: Place, to: Place) -> Micros {
        self.pool.latency(self.hosts[from], self.hosts[to])
    }
}

/// Hosts and what sessions have of them. Reports are never late.
struct Tables<'a> {
    pool: &'a PoolOfHosts,
    tables: Vec<Degrees>,
}

impl Pool<HostId> for Tables<'_> {
    fn candidates(&self) -> Vec<HostId> {
        (0..self.tables.len()).collect()
    }

    fn available(&self, host: HostId, session: SessionId, rank: Rank) -> u16 {
        self.tables[host].available(session, rank)
    }

    fn latency(&self, from: HostId, to: HostId) -> Micros {
        self.pool.latency(from, to)
    }
}

/// Sessions that compete for the degrees of hosts. Asks are answered at once.
pub(super) struct Market<'a> {
    hosts: Tables<'a>,
    sessions: BTreeMap<SessionId, Session<HostId>>,
}

impl<'a> Market<'a> {
    /// Without any session.
    pub(super) fn new(pool: &'a PoolOfHosts) -> Market<'a> {
        let tables = pool.degrees.iter().map(|total| Degrees::new(*total)).collect();
        Market { hosts: Tables { pool, tables }, sessions: BTreeMap::new() }
    }

    /// A session starts; all plan who have to.
    pub(super) fn start(&mut self, session: Session<HostId>) -> Result<(), PlanError> {
        self.sessions.insert(session.id(), session);
        self.settle()
    }

    /// A session ends.
    pub(super) fn end(&mut self, id: SessionId) -> Result<(), PlanError> {
        if let Some(mut session) = self.sessions.remove(&id) {
            let asks = session.end();
            self.carry_out(id, asks);
        }
        self.settle()
    }

    /// All plan anew in turn until nobody changes anything; returns whether it came to that.
    pub(super) fn come_to_rest(
        &mut self,
        rounds: usize,
        random: &mut Random,
    ) -> Result<bool, PlanError> {
        let mut order: Vec<SessionId> = self.sessions.keys().copied().collect();
        for _ in 0..rounds {
            let before = self.hosts.tables.clone();
            random.shuffle(&mut order);
            for id in &order {
                self.sessions.entry(*id).and_modify(Session::forget);
                self.propose(*id)?;
                self.settle()?;
            }
            if self.hosts.tables == before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The height of a session's tree, and its helpers; `None` if the tree is not whole.
    pub(super) fn height(&self, id: SessionId) -> Option<(Micros, usize)> {
        let session = self.sessions.get(&id).filter(|session| !session.needs_plan())?;
        let latency = |member: &HostId| {
            let (mut at, mut sum) = (*member, 0);
            while let Some(parent) = session.links().get(&at) {
                sum += self.hosts.pool.latency(*parent, at);
                at = *parent;
            }
            sum
        };
        Some((session.members().iter().map(latency).max().unwrap_or(0), session.helpers()))
    }

    /// Everybody plans who has to. Sessions that go on taking hosts from each other are left as they are
    /// after a while.
    fn settle(&mut self) -> Result<(), PlanError> {
        for _ in 0..PLANS_MAX * self.sessions.len() {
            let next = self.sessions.values().find(|session| session.needs_plan());
            let Some(id) = next.map(Session::id) else { break };
            self.propose(id)?;
        }
        Ok(())
    }

    fn propose(&mut self, id: SessionId) -> Result<(), PlanError> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let asks = session.propose(&self.hosts)?;
        self.carry_out(id, asks);
        Ok(())
    }

    fn carry_out(&mut self, id: SessionId, asks: Vec<Ask<HostId>>) {
        let mut pending: Vec<(SessionId, Ask<HostId>)> =
            asks.into_iter().map(|ask| (id, ask)).collect();
        while let Some((id, Ask { host, rank, degrees })) = pending.pop() {
            let mut tell =
                |id: SessionId, what: &dyn Fn(&mut Session<HostId>) -> Vec<Ask<HostId>>| {
                    let asks = self.sessions.get_mut(&id).map(what).unwrap_or_default();
                    pending.extend(asks.into_iter().map(|ask| (id, ask)));
                };
            match self.hosts.tables[host].claim(Claim { session: id, rank, degrees }) {
                Verdict::Refused { available } => tell(id, &|own| own.refused(host, available)),
                Verdict::Granted { preempted } => {
                    for lost in preempted {
                        tell(lost.session, &|other| other.preempted(host));
                    }
                    tell(id, &|own| own.granted(host, degrees));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_those_of_the_network() {
        let pool = PoolOfHosts::new(50, 1, 2);
        let mut underlay = TransitStub::ts600().build(pool.seed);
        underlay.attach_hosts(50, pool.seed);
        for (from, to) in (0..50).flat_map(|from| (0..50).map(move |to| (from, to))) {
            assert_eq!(pool.latency(from, to), micros(underlay.one_way(from, to)));
        }
    }

    #[test]
    fn degrees_are_as_the_definition_says() {
        let mut random = Random::new(1, 2);
        let mut counts = [0; 10];
        (0..1 << 16).for_each(|_| counts[usize::from(degree(&mut random))] += 1);
        assert_eq!(counts[..2], [0, 0]);
        for (degree, chance) in [(2, 0.5), (3, 0.25), (8, 1.0 / 128.0), (9, 1.0 / 128.0)] {
            let share = f64::from(counts[degree]) / f64::from(1 << 16);
            assert!((share / chance - 1.0).abs() < 0.2, "{degree}: {share}");
        }
    }
}

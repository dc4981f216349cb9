//! Sessions that compete, and the degree tables that they compete for.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn helper(priority: u8) -> Rank {
    Rank::Helper(Priority::new(priority).unwrap())
}

fn claim(session: u64, rank: Rank, degrees: u16) -> Claim {
    Claim { session: SessionId(session), rank, degrees }
}

fn granted(preempted: &[Claim]) -> Verdict {
    Verdict::Granted { preempted: preempted.to_vec() }
}

#[test]
fn degree_tables_are_as_in_the_seeds_example() {
    // x: 4 in all, s4 has 2 at priority 1, s12 has 1 at priority 3, one is free.
    let mut x = Degrees::new(4);
    assert_eq!(x.claim(claim(4, helper(1), 2)), granted(&[]));
    assert_eq!(x.claim(claim(12, helper(3), 1)), granted(&[]));
    let rows = |table: &Degrees| [1, 2, 3].map(|at| table.taken(Priority::new(at).unwrap()));
    assert_eq!((rows(&x), x.free(), x.total()), ([2, 0, 1], 1, 4));
    // y: 2 in all, both taken by s5, as y is a member of it.
    let mut y = Degrees::new(2);
    assert_eq!(y.claim(claim(5, Rank::Member, 2)), granted(&[]));
    assert_eq!((rows(&y), y.free()), ([2, 0, 0], 0));
    assert_eq!(y.claim(claim(6, helper(1), 1)), Verdict::Refused { available: 0 });
    // What a session of each priority could have of x: what is free, and what weaker ones have.
    let available = |priority| x.available(SessionId(9), helper(priority));
    assert_eq!([1, 2, 3].map(available), [2, 2, 1]);
    assert_eq!(x.available(SessionId(9), Rank::Member), 4);
}

#[test]
fn stronger_claims_take_from_the_weakest_and_no_more_than_they_need() {
    let mut table = Degrees::new(6);
    for (session, rank) in [(1, helper(3)), (2, helper(2)), (3, helper(3)), (4, helper(1))] {
        assert_eq!(table.claim(claim(session, rank, 1)), granted(&[]));
    }
    assert_eq!(table.claim(claim(5, helper(2), 2)), granted(&[]));
    // Equal ones keep what they have.
    assert_eq!(table.claim(claim(6, helper(3), 1)), Verdict::Refused { available: 0 });
    let weakest = claim(3, helper(3), 1);
    assert_eq!(table.claim(claim(6, helper(2), 1)), granted(&[weakest]));
    let all = [claim(1, helper(3), 1), claim(6, helper(2), 1), claim(5, helper(2), 2)];
    assert_eq!(table.claim(claim(7, Rank::Member, 4)), granted(&all));
    // A claim counts once, however often it comes, and less may be asked than before.
    assert_eq!(table.claim(claim(7, Rank::Member, 4)), granted(&[]));
    assert_eq!(table.claim(claim(7, Rank::Member, 2)), granted(&[]));
    assert_eq!(table.free(), 2);
    table.claim(claim(7, Rank::Member, 0));
    table.release(SessionId(2));
    assert_eq!((table.free(), table.claims().count()), (5, 1));
    assert_eq!(Degrees::new(u16::MAX).total(), DEGREES_MAX);
    assert_eq!([0, 4].map(Priority::new), [None, None]);
}

/// Hosts and their degree tables, and all sessions.
struct Market {
    network: Plane,
    tables: Vec<Degrees>,
    crashed: BTreeSet<usize>,
    sessions: BTreeMap<SessionId, Session<usize>>,
}

impl Pool<usize> for Market {
    fn candidates(&self) -> Vec<usize> {
        (0..self.tables.len()).collect()
    }

    fn available(&self, host: usize, session: SessionId, rank: Rank) -> u16 {
        self.tables[host].available(session, rank)
    }

    fn latency(&self, from: usize, to: usize) -> Micros {
        self.network.latency(from, to)
    }
}

impl Market {
    fn new(hosts: usize, seed: u64) -> Market {
        let mut random = Random::new(seed, 0x616c_6d37);
        let network = Plane::any(hosts, 60_000, &mut random);
        let tables = degrees(hosts, &mut random).into_iter().map(Degrees::new).collect();
        Market { network, tables, crashed: BTreeSet::new(), sessions: BTreeMap::new() }
    }

    fn add(&mut self, number: u64, members: &[usize]) -> SessionId {
        let priority = Priority::new((number % 3) as u8 + 1).unwrap();
        let (id, root) = (SessionId(number), members[0]);
        let config = SessionConfig::default();
        let session = Session::new(id, priority, root, members.iter().copied(), config);
        self.sessions.insert(id, session);
        id
    }

    fn with<T>(
        &mut self,
        id: SessionId,
        what: impl FnOnce(&mut Session<usize>, &Market) -> T,
    ) -> T {
        let mut session = self.sessions.remove(&id).unwrap();
        let found = what(&mut session, self);
        self.sessions.insert(id, session);
        found
    }

    /// All asks are answered at once.
    fn carry_out(&mut self, id: SessionId, asks: Vec<Ask<usize>>) {
        let mut pending: Vec<(SessionId, Ask<usize>)> =
            asks.into_iter().map(|ask| (id, ask)).collect();
        while let Some((id, Ask { host, rank, degrees })) = pending.pop() {
            if self.crashed.contains(&host) {
                let more = self.with(id, |session, _| session.crashed(host));
                pending.extend(more.into_iter().map(|ask| (id, ask)));
                continue;
            }
            match self.tables[host].claim(Claim { session: id, rank, degrees }) {
                Verdict::Granted { preempted } => {
                    for lost in preempted {
                        let more = self.with(lost.session, |other, _| other.preempted(host));
                        pending.extend(more.into_iter().map(|ask| (lost.session, ask)));
                    }
                    let more = self.with(id, |session, _| session.granted(host, degrees));
                    pending.extend(more.into_iter().map(|ask| (id, ask)));
                }
                Verdict::Refused { available } => {
                    let more = self.with(id, |session, _| session.refused(host, available));
                    pending.extend(more.into_iter().map(|ask| (id, ask)));
                }
            }
        }
    }

    fn propose(&mut self, id: SessionId) {
        let asks = self.with(id, |session, market| session.propose(market)).unwrap();
        self.carry_out(id, asks);
    }

    /// Everybody plans who has to, until nobody has.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let next = self.sessions.values().find(|session| session.needs_plan());
            let Some(id) = next.map(Session::id) else { return };
            self.propose(id);
        }
        panic!("sessions do not come to rest");
    }

    /// What holds whenever nobody needs a plan.
    fn check(&self, context: &str) {
        let mut used: BTreeMap<usize, u16> = BTreeMap::new();
        for session in self.sessions.values() {
            let root = session.root();
            let mut carried: BTreeMap<usize, u16> = BTreeMap::new();
            for (child, parent) in session.links() {
                assert!(!self.crashed.contains(child), "{context}");
                *carried.entry(*child).or_default() += 1;
                *carried.entry(*parent).or_default() += 1;
            }
            for (host, degrees) in carried {
                let mut claims = self.tables[host].claims();
                let own = claims.find(|claim| claim.session == session.id());
                let own = own.unwrap_or_else(|| panic!("{context}: nothing claimed at {host}"));
                assert_eq!((own.degrees, own.rank), (degrees, session.rank(host)), "{context}");
                *used.entry(host).or_default() += degrees;
            }
            for member in session.members() {
                let mut at = *member;
                for _ in 0..self.tables.len() {
                    at = session.links().get(&at).copied().unwrap_or(at);
                }
                assert_eq!(at, root, "{context}: no way to {member}");
            }
        }
        for (host, table) in self.tables.iter().enumerate() {
            let sum = table.total() - table.free();
            assert_eq!(sum, used.get(&host).copied().unwrap_or(0), "{context}: at {host}");
        }
    }
}

#[test]
fn sessions_come_and_go_and_every_degree_is_accounted_for() {
    for seed in 0..12 {
        let mut random = Random::new(seed, 0x616c_6d38);
        let mut market = Market::new(90, seed);
        let mut hosts: Vec<usize> = (0..90).collect();
        random.shuffle(&mut hosts);
        let mut groups: Vec<Vec<usize>> = hosts.chunks(10).map(<[usize]>::to_vec).collect();
        let spare = groups.pop().unwrap();
        for (number, members) in groups.iter().enumerate() {
            market.add(number as u64, members);
            market.settle();
            market.check(&format!("seed {seed}, {number} sessions"));
        }
        for step in 0..60 {
            let context = format!("seed {seed}, step {step}");
            let ids: Vec<SessionId> = market.sessions.keys().copied().collect();
            let Some(id) = random.choose(&ids).copied() else { break };
            let members: Vec<usize> = market.sessions[&id].members().iter().copied().collect();
            let (member, root) = (*random.choose(&members).unwrap(), market.sessions[&id].root());
            let asks = match random.below(6) {
                0 => {
                    let host = spare[step % spare.len()];
                    let is_taken = |session: &Session<usize>| session.members().contains(&host);
                    if !market.sessions.values().any(is_taken) && !market.crashed.contains(&host) {
                        assert!(market.with(id, |session, _| session.join(host)));
                    }
                    Vec::new()
                }
                1 => market.with(id, |session, _| session.leave(member)),
                2 if member != root => {
                    market.crashed.insert(member);
                    market.tables[member] = Degrees::new(0);
                    let all: Vec<SessionId> = market.sessions.keys().copied().collect();
                    for other in all {
                        let asks = market.with(other, |session, _| session.crashed(member));
                        market.carry_out(other, asks);
                    }
                    Vec::new()
                }
                3 if ids.len() > 4 => {
                    let asks = market.with(id, |session, _| session.end());
                    market.carry_out(id, asks);
                    market.sessions.remove(&id);
                    market.settle();
                    continue;
                }
                _ => {
                    market.with(id, |session, _| session.forget());
                    market.propose(id);
                    Vec::new()
                }
            };
            market.carry_out(id, asks);
            market.settle();
            market.check(&context);
        }
    }
}

#[test]
fn a_stronger_session_takes_a_helper_and_the_weaker_one_plans_without() {
    // All alike and far apart, but 6, which is in the middle and carries four.
    let network = |from: Place, to: Place| if from == 6 || to == 6 { 10 } else { 60 };
    struct Middle<F>(F, Degrees);
    impl<F: Fn(Place, Place) -> Micros> Pool<usize> for Middle<F> {
        fn candidates(&self) -> Vec<usize> {
            vec![6]
        }
        fn available(&self, host: usize, session: SessionId, rank: Rank) -> u16 {
            if host == 6 { self.1.available(session, rank) } else { 2 }
        }
        fn latency(&self, from: usize, to: usize) -> Micros {
            self.0(from, to)
        }
    }
    let mut pool = Middle(network, Degrees::new(4));
    let session = |number, priority, members: [usize; 3]| {
        let priority = Priority::new(priority).unwrap();
        let config = SessionConfig::default();
        Session::new(SessionId(number), priority, members[0], members, config)
    };
    let mut weak = session(1, 3, [0, 1, 2]);
    weak.join(7);
    weak.join(8);
    let asks = weak.propose(&pool).unwrap();
    let of_six = asks.iter().find(|ask| ask.host == 6).copied().unwrap();
    assert_eq!(of_six.rank, helper(3));
    assert!(weak.propose(&pool).unwrap().is_empty() && !weak.needs_plan());
    for ask in &asks {
        assert!(weak.links().is_empty());
        weak.granted(ask.host, ask.degrees);
    }
    assert_eq!((weak.links().len(), weak.helpers()), (5, 1));
    assert_eq!(pool.1.claim(claim(1, of_six.rank, of_six.degrees)), granted(&[]));
    // Another one, more important, has it instead.
    let taken = pool.1.claim(claim(2, helper(1), 4));
    assert_eq!(taken, granted(&[claim(1, helper(3), of_six.degrees)]));
    assert!(weak.preempted(6).is_empty() && weak.needs_plan());
    let asks = weak.propose(&pool).unwrap();
    assert!(asks.iter().all(|ask| ask.host != 6));
    for ask in asks {
        weak.granted(ask.host, ask.degrees);
    }
    assert_eq!((weak.links().len(), weak.helpers(), weak.needs_plan()), (4, 0, false));
}

#[test]
fn a_refusal_gives_back_what_others_have_agreed_to() {
    let mut market = Market::new(40, 3);
    let members: Vec<usize> = (0..20).collect();
    let id = market.add(1, &members);
    let asks = market.with(id, |session, pool| session.propose(pool)).unwrap();
    let (last, first) = asks.split_last().unwrap();
    let session = market.sessions.get_mut(&id).unwrap();
    for ask in first.iter().take(3) {
        assert!(session.granted(ask.host, ask.degrees).is_empty());
    }
    // Those that have agreed, and those that may have, are given back.
    let back = session.refused(last.host, 0);
    assert!(session.needs_plan() && session.links().is_empty());
    let hosts = |asks: &[Ask<usize>]| asks.iter().map(|ask| ask.host).collect::<BTreeSet<_>>();
    assert_eq!(hosts(&back), hosts(&asks));
    assert!(back.iter().all(|ask| ask.degrees == 0));
    // Who agrees too late hears so as well; who refuses then changes nothing.
    assert_eq!(session.granted(first[4].host, 1)[0].degrees, 0);
    assert!(session.refused(first[5].host, 0).is_empty());
    // The host is left out, unless no plan is without it, until refusals are forgotten.
    let again = market.with(id, |session, pool| session.propose(pool));
    let is_member = members.contains(&last.host);
    match again {
        Err(problem) => assert!(is_member && problem == PlanError::Degrees),
        Ok(asks) => {
            assert!(!is_member && !hosts(&asks).contains(&last.host));
            market.carry_out(id, asks);
            market.check("without it");
        }
    }
    market.with(id, |session, _| session.forget());
    market.propose(id);
    market.check("after all");
}

#[test]
fn who_joins_while_it_is_asked_to_help_is_claimed_as_a_member() {
    let mut joined = 0;
    for seed in 0..20 {
        let mut market = Market::new(60, seed);
        // Of priority 3, whose helpers any other session could take.
        let id = market.add(2, &(0..12).collect::<Vec<_>>());
        let asks = market.with(id, |session, market| session.propose(market)).unwrap();
        let Some(helper) = asks.iter().find(|ask| ask.rank != Rank::Member).map(|ask| ask.host)
        else {
            continue;
        };
        joined += 1;
        assert!(market.with(id, |session, _| session.join(helper)));
        // The answers to what was asked before come now.
        market.carry_out(id, asks);
        market.settle();
        let claim = market.tables[helper].claims().find(|claim| claim.session == id);
        assert_eq!(claim.map(|claim| claim.rank), Some(Rank::Member), "seed {seed}");
        market.check(&format!("seed {seed}"));
    }
    assert!(joined > 5, "{joined}");
}

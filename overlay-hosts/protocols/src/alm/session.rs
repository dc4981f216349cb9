//! A session's task manager, at its root (paragraph 0079, paragraph 0091): plans the tree, asks hosts for their degrees,
//! and plans anew when it loses one, when members come and go, and from time to time.
//!
//! It holds no clock and sends nothing. [`propose`](Session::propose) says what is to be asked of whom;
//! once all have agreed, the tree is the new one, and what it does not need is given back. As long as one
//! has not, the tree is the old one. A claim says how much a session has at a host from now on, so one
//! that comes twice does no harm.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::degrees::{Priority, Rank, SessionId};
use super::{Config, Micros, Network, Objective, Place, PlanError, Problem, Tree};

/// What a task manager knows of the pool, as SOMO has gathered it (paragraph 0092).
pub trait Pool<H> {
    /// Hosts that could help.
    fn candidates(&self) -> Vec<H>;

    /// What a session could have at a host, see [`Degrees::available`](super::Degrees::available).
    fn available(&self, host: H, session: SessionId, rank: Rank) -> u16;

    /// One way, in microseconds.
    fn latency(&self, from: H, to: H) -> Micros;

    /// What fits between two hosts, in kbit/s; `u32::MAX` where it is not known.
    fn bandwidth(&self, _from: H, _to: H) -> u32 {
        u32::MAX
    }
}

/// How a session is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// How trees are made.
    pub plan: Config,
    /// How much better a new tree has to be to take the place of one that is whole, in thousandths.
    /// Default: 20; the seed asks for a better one (paragraph 0091) and gives no value.
    pub gain: u16,
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig { plan: Config::default(), gain: 20 }
    }
}

/// What a host is asked for: that the session has so many degrees there from now on; with none, it gives
/// back what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<H> {
    /// Who is asked.
    pub host: H,
    /// What the session is there.
    pub rank: Rank,
    /// Degrees.
    pub degrees: u16,
}

/// A tree of hosts, and what it needs of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plan<H> {
    /// From child to parent.
    links: BTreeMap<H, H>,
    needs: BTreeMap<H, u16>,
}

/// A plan for which degrees are asked.
#[derive(Clone, Debug)]
struct Draft<H> {
    plan: Plan<H>,
    awaited: BTreeSet<H>,
}

/// A session and its tree. Hosts are named by any `H`.
#[derive(Clone, Debug)]
pub struct Session<H> {
    id: SessionId,
    priority: Priority,
    config: SessionConfig,
    root: H,
    /// With the root.
    members: BTreeSet<H>,
    running: Plan<H>,
    /// What hosts have agreed to: at least what the tree needs.
    held: BTreeMap<H, u16>,
    draft: Option<Draft<H>>,
    /// What hosts have said that there is at most; of those that are gone, nothing.
    refused: BTreeMap<H, u16>,
    needs_plan: bool,
}

impl<H: Copy + Ord> Session<H> {
    /// A session without a tree yet.
    pub fn new(
        id: SessionId,
        priority: Priority,
        root: H,
        members: impl IntoIterator<Item = H>,
        config: SessionConfig,
    ) -> Session<H> {
        let mut members: BTreeSet<H> = members.into_iter().collect();
        members.insert(root);
        Session {
            id,
            priority,
            config,
            root,
            members,
            running: Plan { links: BTreeMap::new(), needs: BTreeMap::new() },
            held: BTreeMap::new(),
            draft: None,
            refused: BTreeMap::new(),
            needs_plan: true,
        }
    }

    /// Its number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Its priority.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Who sends, plans, and is above all others.
    pub fn root(&self) -> H {
        self.root
    }

    /// Everybody who shall receive, and the root.
    pub fn members(&self) -> &BTreeSet<H> {
        &self.members
    }

    /// The tree: from child to parent. Parts of it are missing while [`needs_plan`](Session::needs_plan).
    pub fn links(&self) -> &BTreeMap<H, H> {
        &self.running.links
    }

    /// Helpers in the tree.
    pub fn helpers(&self) -> usize {
        self.running.links.keys().filter(|host| !self.members.contains(host)).count()
    }

    /// What the session is at a host (paragraph 0090).
    pub fn rank(&self, host: H) -> Rank {
        match self.members.contains(&host) {
            true => Rank::Member,
            false => Rank::Helper(self.priority),
        }
    }

    /// Whether the tree is not what it has to be, and nothing is being asked to make it so.
    pub fn needs_plan(&self) -> bool {
        self.needs_plan && self.draft.is_none()
    }

    /// Whether answers to a plan are missing.
    pub fn is_asking(&self) -> bool {
        self.draft.is_some()
    }

    /// What hosts have agreed to, all that the tree needs included.
    pub fn held(&self) -> &BTreeMap<H, u16> {
        &self.held
    }

    /// What the session asks of a host to have so many degrees there.
    pub fn claim(&self, host: H, degrees: u16) -> Ask<H> {
        Ask { host, rank: self.rank(host), degrees }
    }

    /// Plans, and says what is to be asked. Where the tree of before can be mended, a wholly new one is
    /// taken only if it is better by the configured gain, or if the members alone would do better, or if
    /// it is as good with fewer helpers. While answers are missing, nothing is asked.
    ///
    /// # Errors
    /// There is no plan; the tree of before stays.
    pub fn propose(&mut self, pool: &impl Pool<H>) -> Result<Vec<Ask<H>>, PlanError> {
        if self.draft.is_some() {
            return Ok(Vec::new());
        }
        let plan = self.plan(pool)?;
        self.needs_plan = false;
        let more = plan.needs.iter().filter(|(host, degrees)| self.has(**host) < **degrees);
        let asks: Vec<Ask<H>> = more.map(|(host, degrees)| self.claim(*host, *degrees)).collect();
        let awaited: BTreeSet<H> = asks.iter().map(|ask| ask.host).collect();
        self.draft = Some(Draft { plan, awaited });
        Ok(if asks.is_empty() { self.commit() } else { asks })
    }

    /// A host has agreed to give the session so many degrees; returns what is to be asked next.
    pub fn granted(&mut self, host: H, degrees: u16) -> Vec<Ask<H>> {
        let need = |draft: &Draft<H>| draft.plan.needs.get(&host).copied().unwrap_or(0);
        let is_awaited =
            |draft: &&mut Draft<H>| draft.awaited.contains(&host) && need(draft) == degrees;
        let Some(draft) = self.draft.as_mut().filter(is_awaited) else {
            // To a draft that is given up, if it is more than there is now.
            let is_late = degrees > self.has(host);
            return is_late.then(|| self.claim(host, self.has(host))).into_iter().collect();
        };
        draft.awaited.remove(&host);
        self.held.insert(host, degrees);
        if draft.awaited.is_empty() { self.commit() } else { Vec::new() }
    }

    /// A host has only so many degrees for the session, none if it does not answer: the draft is given up.
    /// Returns what is to be given back.
    pub fn refused(&mut self, host: H, available: u16) -> Vec<Ask<H>> {
        if !self.draft.as_ref().is_some_and(|draft| draft.awaited.contains(&host)) {
            return Vec::new();
        }
        self.refused.insert(host, available);
        self.give_up()
    }

    /// A host has taken its degrees away for a stronger claim.
    pub fn preempted(&mut self, host: H) -> Vec<Ask<H>> {
        self.lose(host)
    }

    /// A member more; the next plan has it. Returns whether it is new.
    pub fn join(&mut self, host: H) -> bool {
        let is_new = self.members.insert(host);
        self.refused.remove(&host);
        if is_new {
            // What it has agreed to as a helper is asked for anew, as from a member; so is what it is
            // asked right now, and what the rest of that draft has agreed to goes back with the next.
            self.held.remove(&host);
            self.draft = None;
        }
        self.needs_plan |= is_new;
        is_new
    }

    /// A member less, who may help again; the root stays. Returns what is to be given back.
    pub fn leave(&mut self, host: H) -> Vec<Ask<H>> {
        if host == self.root || !self.members.contains(&host) {
            return Vec::new();
        }
        let last = Ask { degrees: 0, ..self.claim(host, 0) };
        self.members.remove(&host);
        let mut asks = self.lose(host);
        asks.push(last);
        asks
    }

    /// A member or helper is gone, and is not asked any more until [`forget`](Session::forget). With its
    /// root, a session ends. Returns what is to be given back.
    pub fn crashed(&mut self, host: H) -> Vec<Ask<H>> {
        if host == self.root {
            return Vec::new();
        }
        self.needs_plan |= self.members.remove(&host);
        self.refused.insert(host, 0);
        self.lose(host)
    }

    /// What hosts have refused counts no more: to be called before planning from time to time.
    pub fn forget(&mut self) {
        self.refused.clear();
    }

    /// The session ends; returns what is to be given back.
    pub fn end(&mut self) -> Vec<Ask<H>> {
        let mut asks = self.give_up();
        asks.extend(self.held.keys().map(|host| self.claim(*host, 0)));
        self.held.clear();
        self.running = Plan { links: BTreeMap::new(), needs: BTreeMap::new() };
        asks
    }

    fn has(&self, host: H) -> u16 {
        self.held.get(&host).copied().unwrap_or(0)
    }

    /// The draft is the tree; what it does not need is given back.
    fn commit(&mut self) -> Vec<Ask<H>> {
        if let Some(draft) = self.draft.take() {
            self.running = draft.plan;
        }
        self.shrink()
    }

    /// The draft is no more.
    fn give_up(&mut self) -> Vec<Ask<H>> {
        let Some(draft) = self.draft.take() else { return Vec::new() };
        self.needs_plan = true;
        let mut asks = self.shrink();
        // Whoever has not answered may have agreed.
        let open = draft.awaited.into_iter().filter(|host| !asks.iter().any(|a| a.host == *host));
        let open: Vec<H> = open.collect();
        asks.extend(open.into_iter().map(|host| self.claim(host, self.has(host))));
        asks
    }

    fn shrink(&mut self) -> Vec<Ask<H>> {
        let needs = |host: &H| self.running.needs.get(host).copied().unwrap_or(0);
        let more = self.held.iter().filter(|(host, degrees)| **degrees > needs(host));
        let asks: Vec<Ask<H>> = more.map(|(host, _)| self.claim(*host, needs(host))).collect();
        self.held.retain(|host, _| self.running.needs.contains_key(host));
        for ask in &asks {
            self.held.entry(ask.host).and_modify(|degrees| *degrees = ask.degrees);
        }
        asks
    }

    /// Nothing is held at a host any more.
    fn lose(&mut self, host: H) -> Vec<Ask<H>> {
        let is_used = self.running.needs.remove(&host).is_some();
        self.held.remove(&host);
        self.running.links.retain(|child, parent| *child != host && *parent != host);
        self.needs_plan |= is_used;
        let is_wanted = |draft: &Draft<H>| draft.plan.needs.contains_key(&host);
        if self.draft.as_ref().is_some_and(is_wanted) { self.give_up() } else { Vec::new() }
    }

    /// The tree to have.
    fn plan(&self, pool: &impl Pool<H>) -> Result<Plan<H>, PlanError> {
        let mut hosts: Vec<H> = alloc::vec![self.root];
        hosts.extend(self.members.iter().filter(|member| **member != self.root));
        let members = hosts.len();
        let available = |host: H| {
            let limit = self.refused.get(&host).copied().unwrap_or(u16::MAX);
            pool.available(host, self.id, self.rank(host)).min(limit)
        };
        let mut degrees: Vec<u16> = hosts.iter().map(|host| available(*host)).collect();
        let candidates: BTreeSet<H> = pool.candidates().into_iter().collect();
        for host in candidates.difference(&self.members).copied() {
            let degree = available(host);
            let can_help =
                degree >= self.config.plan.helper_degree || self.held.contains_key(&host);
            if can_help && hosts.len() < super::PLACES_MAX {
                hosts.push(host);
                degrees.push(degree);
            }
        }
        let network = ByPlace { pool, hosts: &hosts };
        let problem = Problem::new(&network, &self.config.plan, &degrees, members)?;
        let tree = self.choose(&problem, &hosts)?;
        let in_tree = (0..hosts.len()).filter(|place| tree.contains(*place));
        let needs = in_tree.map(|place| (hosts[place], tree.degrees(place)));
        Ok(Plan {
            links: tree.links().map(|(child, parent)| (hosts[child], hosts[parent])).collect(),
            needs: needs.filter(|(_, degrees)| *degrees > 0).collect(),
        })
    }

    fn choose<N: Network>(&self, problem: &Problem<'_, N>, hosts: &[H]) -> Result<Tree, PlanError> {
        let own = super::own_plan(problem)?;
        let best = super::better_plan(problem, &own)?;
        let places: BTreeMap<H, Place> = (0..).zip(hosts).map(|(at, host)| (*host, at)).collect();
        let place = |host: &H| places.get(host).copied();
        let links = self.running.links.iter();
        let links: Vec<(Place, Place)> =
            links.filter_map(|(child, parent)| Some((place(child)?, place(parent)?))).collect();
        let mut current = Tree::from_links(problem, &links);
        if links.is_empty() || super::mend(problem, &mut current).is_err() {
            return Ok(best);
        }
        let gain = u64::from(self.config.gain.min(1_000));
        let (now, then) = (current.score(problem), best.score(problem));
        let is_much_better = match problem.config.objective {
            Objective::Bandwidth => {
                let (now, then) = (current.bandwidth(), best.bandwidth());
                u64::from(then) * 1_000 >= u64::from(now) * (1_000 + gain) && then > now
            }
            Objective::Height | Objective::Variance => {
                then.0 < now.0 && then.0 * 1_000 <= now.0 * u128::from(1_000 - gain)
            }
        };
        let is_simpler = then <= now && best.helpers() < current.helpers();
        let is_needed = own.score(problem) < now;
        Ok(if is_much_better || is_simpler || is_needed { best } else { current })
    }
}

/// The pool, by the numbers that a [`Problem`] has.
struct ByPlace<'a, P, H> {
    pool: &'a P,
    hosts: &'a [H],
}

impl<H: Copy, P: Pool<H>> Network for ByPlace<'_, P, H> {
    fn latency(&self, from: Place, to: Place) -> Micros {
        self.pool.latency(self.hosts[from], self.hosts[to])
    }

    fn bandwidth(&self, from: Place, to: Place) -> u32 {
        self.pool.bandwidth(self.hosts[from], self.hosts[to])
    }
}

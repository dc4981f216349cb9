//! Application-level multicast: who forwards to whom, planned (seed 003 paragraphs 0078 to 0097).
//!
//! A session's members are joined to a tree of least height whose hosts carry no more than they can
//! (Definition 1, DB-MHT, paragraph 0081); hosts of the pool that are no members help where that makes the tree
//! lower. Everything here is computed and nothing is sent; the same input gives the same tree.
//!
//! ```text
//!  Problem ─► amcast ──► adjust ─┐
//!          └► critical ► adjust ─┴─► plan: the better one, helpers without use taken out;
//!               ▲ search ◄─┘          search: in small sessions, parts of it grown anew
//!
//!  Session ─► propose: plan, or what is left of the tree mended ─► asks ─► Degrees of each host
//! ```
//!
//! What the seed leaves open or prints wrongly, and how it is read here:
//! - Table A asks for `d_bound(parent(u)-1)` and sets `height(r)`; it means `d_bound(parent(u)) - 1`
//!   and `height(v)`. A helper gets its own height and degree when it is put in.
//! - Nothing is put in that would use up the last free degree while others wait.
//! - The radius R has no value in the seed; [`Config::radius`] has one.
//! - A helper that ends with one child, or none, is taken out again (paragraph 0081: the least amount of helper
//!   nodes).

mod adjust;
mod degrees;
mod growth;
mod layout;
mod search;
mod session;
mod tree;

#[cfg(test)]
mod tests;

pub use adjust::adjust;
pub use degrees::{Claim, DEGREES_MAX, Degrees, Priority, Rank, SessionId, Verdict};
pub use session::{Ask, Pool, Session, SessionConfig};
pub use tree::{Place, Tree};

/// Microseconds.
pub type Micros = u64;

/// Longer latencies are taken for this long: an hour.
pub const LATENCY_MAX: Micros = 3_600_000_000;
/// Members of a session, the root included.
pub const MEMBERS_MAX: usize = 2_000;
/// Members and candidates together.
pub const PLACES_MAX: usize = 16_384;
/// Destinations of one Xcast packet (seed 002 paragraph 0042).
pub const XCAST_DESTINATIONS: u32 = 50;

/// What a planner knows of the network. Hosts are numbered as in the [`Problem`].
pub trait Network {
    /// One way, in microseconds: measured, or by coordinates.
    fn latency(&self, from: Place, to: Place) -> Micros;

    /// What fits between two hosts, in kbit/s; `u32::MAX` where it is not known.
    fn bandwidth(&self, _from: Place, _to: Place) -> u32 {
        u32::MAX
    }
}

impl<F: Fn(Place, Place) -> Micros> Network for F {
    fn latency(&self, from: Place, to: Place) -> Micros {
        self(from, to)
    }
}

/// How a message leaves a host. A degree is one packet a message on the host's uplink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// A packet a child.
    #[default]
    Unicast,
    /// A packet for up to [`XCAST_DESTINATIONS`] children.
    Xcast,
}

impl Transport {
    /// Children that one degree carries.
    pub const fn children_per_degree(self) -> u32 {
        match self {
            Transport::Unicast => 1,
            Transport::Xcast => XCAST_DESTINATIONS,
        }
    }
}

/// What a tree is made for (seed 003 paragraph 0080).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Objective {
    /// The greatest latency of a member from the root shall be small.
    #[default]
    Height,
    /// The narrowest of all links shall be wide; of equally wide trees the lower one is better.
    Bandwidth,
    /// The members' latencies shall differ little; of equal trees the lower one is better.
    Variance,
}

/// Which helper is taken (paragraph 0085).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HelperRule {
    /// The one closest to the parent.
    Closest,
    /// Table B (paragraph 0086): the one for which the way to the parent and on to the farthest of those that
    /// would be the parent's next children is the shortest.
    #[default]
    TableB,
}

/// How trees are planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How messages leave. Default: unicast, which the seed's figures are for.
    pub transport: Transport,
    /// What the tree is made for. Default: its height (paragraph 0080).
    pub objective: Objective,
    /// Which helper is taken. Default: Table B's (paragraph 0086).
    pub helper_rule: HelperRule,
    /// The least degree of a helper. Default: 4 (paragraph 0085).
    pub helper_degree: u16,
    /// How near a helper is to its parent at least, one way, in microseconds. Default: 50 ms; the seed
    /// gives no value.
    pub radius: Micros,
    /// Moves that adjust a tree at most. Default: 400; the seed gives no value.
    pub moves_max: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            transport: Transport::Unicast,
            objective: Objective::Height,
            helper_rule: HelperRule::TableB,
            helper_degree: 4,
            radius: 50_000,
            moves_max: 400,
        }
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// No members, more than [`MEMBERS_MAX`], or more hosts than [`PLACES_MAX`].
    Size,
    /// The members' degrees do not suffice for any tree.
    Degrees,
}

/// What is to be planned: hosts by number, the root at 0, the other members behind it, then candidates
/// for helpers.
#[derive(Debug)]
pub struct Problem<'a, N> {
    network: &'a N,
    config: &'a Config,
    degrees: &'a [u16],
    members: usize,
}

impl<'a, N: Network> Problem<'a, N> {
    /// So many of the hosts are `members`, the root included; `degrees` are the links that each may
    /// have in this session, that to its parent included (paragraph 0080).
    ///
    /// # Errors
    /// [`PlanError::Size`].
    pub fn new(
        network: &'a N,
        config: &'a Config,
        degrees: &'a [u16],
        members: usize,
    ) -> Result<Problem<'a, N>, PlanError> {
        let is_sound =
            (1..=MEMBERS_MAX).contains(&members) && (members..=PLACES_MAX).contains(&degrees.len());
        match is_sound {
            true => Ok(Problem { network, config, degrees, members }),
            false => Err(PlanError::Size),
        }
    }

    fn latency(&self, from: Place, to: Place) -> Micros {
        self.network.latency(from, to).min(LATENCY_MAX)
    }

    fn places(&self) -> usize {
        self.degrees.len()
    }

    /// Children that a host may have: everybody but the root needs a degree for its parent.
    fn slots(&self, place: Place) -> u32 {
        let links = u32::from(self.degrees[place]);
        let links = if place == 0 { links } else { links.saturating_sub(1) };
        links * self.config.transport.children_per_degree()
    }
}

/// AMCast (paragraph 0082; Table A without its Section A): members alone, each in turn under the parent with a
/// free degree from where it is lowest.
///
/// # Errors
/// [`PlanError::Degrees`].
pub fn amcast<N: Network>(problem: &Problem<'_, N>) -> Result<Tree, PlanError> {
    let mut tree = Tree::new(problem);
    growth::grow(problem, &mut tree, None)?;
    Ok(tree)
}

/// AMCast with helpers (the critical node algorithm, paragraphs 0083 to 0086): where a parent would give its
/// last free degree away, a helper may take it, and the child goes under the helper.
///
/// # Errors
/// [`PlanError::Degrees`].
pub fn critical<N: Network>(problem: &Problem<'_, N>) -> Result<Tree, PlanError> {
    let mut tree = Tree::new(problem);
    growth::grow(problem, &mut tree, Some(problem.config.helper_rule))?;
    tree.trim(problem);
    Ok(tree)
}

/// The better of AMCast and the critical node algorithm, both adjusted (paragraph 0090: no session is worse off
/// than by its own members alone). For [`Objective::Height`] and up to 50 members, parts of the latter's tree
/// are also grown anew with other helpers, as long as that makes it better.
///
/// # Errors
/// [`PlanError::Degrees`].
pub fn plan<N: Network>(problem: &Problem<'_, N>) -> Result<Tree, PlanError> {
    better_plan(problem, &own_plan(problem)?)
}

/// AMCast, adjusted.
fn own_plan<N: Network>(problem: &Problem<'_, N>) -> Result<Tree, PlanError> {
    let mut own = amcast(problem)?;
    adjust(problem, &mut own);
    Ok(own)
}

/// The same, or a better tree with helpers.
fn better_plan<N: Network>(problem: &Problem<'_, N>, own: &Tree) -> Result<Tree, PlanError> {
    if problem.places() == problem.members {
        return Ok(own.clone());
    }
    let mut helped = critical(problem)?;
    adjust(problem, &mut helped);
    let is_searched = problem.config.objective == Objective::Height;
    if is_searched && problem.members <= search::SEARCHED_MAX {
        search::search(problem, &mut helped);
    }
    let is_better = helped.score(problem) < own.score(problem);
    Ok(if is_better { helped } else { own.clone() })
}

/// Completes what is left of a tree, without helpers that are not in it: parts that have lost their
/// parent, and members that are new, each go to the free degree from where they are lowest. No other
/// link changes.
///
/// # Errors
/// [`PlanError::Degrees`]: the degrees that are left do not suffice.
pub fn mend<N: Network>(problem: &Problem<'_, N>, tree: &mut Tree) -> Result<(), PlanError> {
    growth::grow(problem, tree, None)?;
    tree.trim(problem);
    Ok(())
}

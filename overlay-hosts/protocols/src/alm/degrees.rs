//! The degree table of a host (seed 003 paragraphs 0092 to 0094, Degree Table C): how many links it can carry, and
//! which sessions have them. Sessions compete by rank alone; nobody schedules them (paragraph 0089).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

/// Degrees of a host at most; it has no more claims than that.
pub const DEGREES_MAX: u16 = 1_024;

/// A session, by a number that its root has drawn.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How important a session is: from 1, the most, to 3 (paragraph 0088).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// 1, the highest.
    pub const HIGHEST: Priority = Priority(1);
    /// 3, the lowest.
    pub const LOWEST: Priority = Priority(3);

    /// All of them, the highest first.
    pub const ALL: [Priority; 3] = [Priority(1), Priority(2), Priority(3)];

    /// `None` unless it is from 1 to 3.
    pub fn new(number: u8) -> Option<Priority> {
        let priority = Priority(number);
        (Priority::HIGHEST..=Priority::LOWEST).contains(&priority).then_some(priority)
    }

    /// From 1 to 3.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Priority {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Priority, &'static str> {
        Priority::new(number).ok_or("a priority is from 1 to 3")
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> u8 {
        priority.0
    }
}

/// What a session is at a host, the stronger the less (paragraph 0090): on the hosts of its members it has the
/// first priority and goes before all helpers' claims, elsewhere it has its own priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rank {
    /// The host is a member of the session.
    Member,
    /// It helps a session of such a priority.
    Helper(Priority),
}

impl Rank {
    /// Under which priority the degree table has it.
    pub fn priority(self) -> Priority {
        match self {
            Rank::Member => Priority::HIGHEST,
            Rank::Helper(priority) => priority,
        }
    }
}

/// What a session has of a host, or asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whose it is; a session has one claim at a host, which a new one replaces.
    pub session: SessionId,
    /// How strong it is.
    pub rank: Rank,
    /// How many degrees.
    pub degrees: u16,
}

/// What becomes of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The session has it, and these, which were weaker, are gone. Who had them has to be told.
    Granted {
        /// Whole claims.
        preempted: Vec<Claim>,
    },
    /// There are only so many degrees for it; nothing has changed.
    Refused {
        /// Those that it could have.
        available: u16,
    },
}

/// A degree table. In all, no more degrees are claimed than there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Degrees {
    total: u16,
    claims: BTreeMap<SessionId, Claim>,
}

impl Degrees {
    /// A host that can carry so many links, [`DEGREES_MAX`] at most, none of which is taken.
    pub fn new(total: u16) -> Degrees {
        Degrees { total: total.min(DEGREES_MAX), claims: BTreeMap::new() }
    }

    /// All degrees.
    pub fn total(&self) -> u16 {
        self.total
    }

    /// Those that nobody has.
    pub fn free(&self) -> u16 {
        self.total - self.sum(|_| true)
    }

    /// Those that sessions have at a priority.
    pub fn taken(&self, priority: Priority) -> u16 {
        self.sum(|claim| claim.rank.priority() == priority)
    }

    /// All claims, by session.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values()
    }

    /// What a session could have at a rank: what weaker ones have counts as available (paragraph 0091), and so
    /// does what it has itself.
    pub fn available(&self, session: SessionId, rank: Rank) -> u16 {
        self.total - self.sum(|claim| claim.session != session && claim.rank <= rank)
    }

    /// Lets a session have so many degrees in place of those that it has, if enough are available. For
    /// that, others lose theirs: the weakest first, of equally weak ones that with the highest number. A
    /// claim of no degrees gives back what there is.
    pub fn claim(&mut self, claim: Claim) -> Verdict {
        let available = self.available(claim.session, claim.rank);
        if claim.degrees > available {
            return Verdict::Refused { available };
        }
        self.claims.remove(&claim.session);
        let mut preempted = Vec::new();
        while self.free() < claim.degrees {
            let weaker = self.claims.values().filter(|other| other.rank > claim.rank);
            let weakest = weaker.max_by_key(|other| (other.rank, other.session)).copied();
            let Some(weakest) = weakest else { break };
            self.claims.remove(&weakest.session);
            preempted.push(weakest);
        }
        if claim.degrees > 0 {
            self.claims.insert(claim.session, claim);
        }
        Verdict::Granted { preempted }
    }

    /// A session gives back all that it has.
    pub fn release(&mut self, session: SessionId) {
        self.claims.remove(&session);
    }

    fn sum(&self, which: impl Fn(&Claim) -> bool) -> u16 {
        self.claims.values().filter(|claim| which(claim)).map(|claim| claim.degrees).sum()
    }
}

//! The degree table as it is reported (seed 003 paragraphs 0092 and 0093, Degree Table C).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::alm::{Claim, DEGREES_MAX, Degrees, Priority, Rank, SessionId};

/// Claims that are reported with their sessions; of more, the weakest are reported by rank alone.
pub const CLAIMS_MAX: usize = 24;
/// Ranks: that of members, and one for each priority of helpers.
const RANKS: usize = 4;

/// How many links a host can carry, and who has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DegreeTable {
    total: u16,
    /// The strongest first.
    claims: Vec<Claim>,
    /// Degrees of all other claims, by rank.
    unnamed: [u16; RANKS],
}

fn place_of(rank: Rank) -> usize {
    match rank {
        Rank::Member => 0,
        Rank::Helper(priority) => usize::from(priority.number()).min(RANKS - 1),
    }
}

impl DegreeTable {
    /// What a host's own table says.
    pub fn of(degrees: &Degrees) -> DegreeTable {
        let mut claims: Vec<Claim> = degrees.claims().copied().collect();
        claims.sort_by_key(|claim| (claim.rank, claim.session));
        let mut unnamed = [0; RANKS];
        for claim in claims.iter().skip(CLAIMS_MAX) {
            unnamed[place_of(claim.rank)] += claim.degrees;
        }
        claims.truncate(CLAIMS_MAX);
        DegreeTable { total: degrees.total(), claims, unnamed }
    }

    /// All degrees.
    pub fn total(&self) -> u16 {
        self.total
    }

    /// Those that nobody has.
    pub fn free(&self) -> u16 {
        self.left(self.sum(|_| true, |_| true))
    }

    /// Those that sessions have at a priority.
    pub fn taken(&self, priority: Priority) -> u16 {
        let place = usize::from(priority.number());
        let is_member = priority == Priority::HIGHEST;
        let sum = self.sum(
            |claim| claim.rank.priority() == priority,
            |other| other == place || (is_member && other == 0),
        );
        u16::try_from(sum).unwrap_or(u16::MAX)
    }

    /// The claims that are named, the strongest first.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// What a session could have at a rank ([`Degrees::available`]): what weaker ones have, and what it
    /// has itself, counts as available. Of a session whose own claim is not named, that is less.
    pub fn available(&self, session: SessionId, rank: Rank) -> u16 {
        let taken = self.sum(
            |claim| claim.session != session && claim.rank <= rank,
            |place| place <= place_of(rank),
        );
        self.left(taken)
    }

    fn left(&self, taken: u32) -> u16 {
        u16::try_from(u32::from(self.total).saturating_sub(taken)).unwrap_or(0)
    }

    fn sum(&self, named: impl Fn(&Claim) -> bool, unnamed: impl Fn(usize) -> bool) -> u32 {
        let claims = self.claims.iter().filter(|claim| named(claim));
        let rest = self.unnamed.iter().enumerate().filter(|(place, _)| unnamed(*place));
        let claims: u32 = claims.map(|claim| u32::from(claim.degrees)).sum();
        claims + rest.map(|(_, degrees)| u32::from(*degrees)).sum::<u32>()
    }

    /// Whether a host may say this: each session claims once, and all claims fit.
    pub(super) fn is_possible(&self) -> bool {
        let sessions: BTreeSet<SessionId> =
            self.claims.iter().take(CLAIMS_MAX).map(|claim| claim.session).collect();
        self.total <= DEGREES_MAX
            && sessions.len() == self.claims.len()
            && self.claims.iter().all(|claim| claim.degrees > 0)
            && self.sum(|_| true, |_| true) <= u32::from(self.total)
    }
}

//! How a machine takes part in the tree, and what bounds it.

use core::time::Duration;

use super::op::{Op, Pool};
use crate::time::bounded;

/// The longest report of a machine, octets, so that its message has no more than 1 KB.
pub const REPORT_LEN_MAX: usize = 896;
/// The longest piece of news that goes down the tree, octets.
pub const NEWS_LEN_MAX: usize = 896;
/// Children of one machine; those of a tree of degree 16 and 2,000,000 machines have 22 at most.
pub const CHILDREN_MAX: usize = 256;
/// Pieces of news that a root sends down in a second; more are dropped.
pub const NEWS_PER_SECOND_MAX: u32 = 16;
/// Queries under way at once.
pub const QUERIES_MAX: usize = 16;
/// Machines that one query asks, or takes reports of; then it ends, incomplete.
pub const QUERY_ASKED_MAX: usize = 16 * 1024;
/// Queries that a machine has registered elsewhere at once.
pub const SUBSCRIPTIONS_MAX: usize = 16;
/// Queries of others that are registered at a machine at once.
pub const SUBSCRIBERS_MAX: usize = 64;
/// The longest query, octets.
pub const QUERY_LEN_MAX: usize = 256;
/// Calls for reports that a machine may have missed before it gives its children up.
const MISSED_MAX: u32 = 1000;

/// How it runs. Waits are within [`WAIT_MIN`](crate::time::WAIT_MIN) and
/// [`WAIT_MAX`](crate::time::WAIT_MAX); what is not is set to the nearer of these.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// k, the degree of the logical tree (seed 003 paragraph 0063 has an example with 8).
    pub degree: u32,
    /// T: how often a machine reports (paragraph 0063: "e.g., 5 minutes"); if synchronized, how often
    /// the root calls for reports.
    pub interval: Duration,
    /// Whether calls for reports go down the tree, and reports come up at once (paragraph 0063).
    pub synchronized: bool,
    /// How often a machine asks whether its parent is still there (paragraph 0057: "maintained using
    /// heartbeats"; no value in the seed).
    pub heartbeat: Duration,
    /// After how many heartbeats without a word a child is gone.
    pub missed: u32,
    /// How long an answer is waited for; the parent is asked twice.
    pub answer: Duration,
    /// By how much somebody's score ([`Op::best`]) has to be above the root's for them to exchange
    /// their places (paragraph 0061); none: they never do. Peers who prove nothing never do, either.
    pub exchange: Option<u32>,
    /// What is done with reports on their way up, and with news on their way down.
    pub op: &'static dyn Op,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            degree: 8,
            interval: Duration::from_secs(300),
            synchronized: true,
            heartbeat: Duration::from_secs(15),
            missed: 3,
            answer: Duration::from_secs(1),
            exchange: None,
            op: &Pool,
        }
    }
}

impl Config {
    /// The same with all waits as a machine can run with.
    pub(super) fn bounded(mut self) -> Config {
        for wait in [&mut self.interval, &mut self.heartbeat, &mut self.answer] {
            *wait = bounded(*wait);
        }
        self.missed = self.missed.clamp(1, MISSED_MAX);
        self
    }
}

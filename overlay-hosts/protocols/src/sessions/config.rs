//! How sessions are planned and reserved, and what bounds that.

use core::time::Duration;

use crate::alm::SessionConfig;
use crate::time::bounded;

/// Sessions of others that claim degrees of a host at once, those that have just ended included.
pub const CLAIMS_MAX: usize = 1_024;
/// Of these, those of one root.
pub const CLAIMS_OF_ONE_MAX: usize = 64;
/// Sessions of which a host is the root.
pub const SESSIONS_MAX: usize = 16;
/// How often a host is asked, or told that it has lost its claim, before it is given up.
pub(super) const TRIES: u8 = 6;
/// A plan that fails again and again waits at most 2 to this power times as long as at first.
pub(super) const BACKOFF_MAX: u32 = 5;

/// How it runs. Waits are within [`WAIT_MIN`](crate::time::WAIT_MIN) and
/// [`WAIT_MAX`](crate::time::WAIT_MAX). The seed gives no values.
#[derive(Clone, Debug)]
pub struct Config {
    /// Links that this host can carry at once, those of its own sessions included. Default: 8.
    pub degrees: u16,
    /// Whether sessions of others may have them, and make this host a member. Default: yes.
    pub open: bool,
    /// How long a claim holds that is not renewed. Default: 30 s.
    pub lease: Duration,
    /// How often claims are renewed. Default: 10 s.
    pub renewal: Duration,
    /// After how long something unanswered is said again; each time twice as long, up to eight times
    /// as long. Default: 250 ms.
    pub retry: Duration,
    /// How soon a tree that has lost something is planned anew: what else is lost just then is
    /// planned together. Twice as long after each plan that fails. Default: 500 ms.
    pub settling: Duration,
    /// How often a whole tree is planned anew (seed 003 paragraph 0091: periodically). Default: 60 s.
    pub replan: Duration,
    /// How trees are planned.
    pub session: SessionConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            degrees: 8,
            open: true,
            lease: Duration::from_secs(30),
            renewal: Duration::from_secs(10),
            retry: Duration::from_millis(250),
            settling: Duration::from_millis(500),
            replan: Duration::from_secs(60),
            session: SessionConfig::default(),
        }
    }
}

impl Config {
    /// With waits that can be waited.
    pub(super) fn bounded(self) -> Config {
        Config {
            lease: bounded(self.lease),
            renewal: bounded(self.renewal),
            retry: bounded(self.retry),
            settling: bounded(self.settling),
            replan: bounded(self.replan),
            ..self
        }
    }

    /// How long the n-th try waits for an answer, from 0.
    pub(super) fn wait(&self, tries: u8) -> Duration {
        self.retry * (1 << tries.min(3))
    }
}

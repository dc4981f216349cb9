//! How groups of near peers run: every value that can be tuned, with its unit and where it is from.

use core::time::Duration;

use super::message::Distance;
use crate::time::bounded;

/// What is measured between two hosts (seed 001 paragraph 0029, claims 3 to 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Microseconds until the answer is there.
    RoundTrip,
    /// Microseconds that a Measure takes to get there: the clock of the one who answers, less the
    /// clock of the one who asks. Both clocks must agree; an answer from the past counts as 0.
    OneWay,
    /// Routers on the way back: 64, which is sent, less the TTL that is received.
    Hops,
}

/// How it runs. Distances are in the unit of the metric: microseconds or hops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is measured. Default: round trip.
    pub metric: Metric,
    /// A group is near if all differences are less than this. Default: 10 ms or 1 hop (seed 001
    /// paragraphs 0043 and 0050).
    pub tolerance: Distance,
    /// Groups tested before a group is founded. Default: 10 (paragraphs 0051 and 0054).
    pub groups_tested_max: u32,
    /// How long a search lasts. Default: 10 s (paragraph 0054).
    pub search_time: Duration,
    /// Whether groups that were tested stay candidates, so that a tested one that is nearest ends
    /// the search (the variant of paragraph 0054). Default: no.
    pub tested_stay: bool,
    /// Before it founds a group, a search looks twice: everybody is measured once more, of both times
    /// the lesser counts, and who is nearest is tested again. So a single answer that was late founds
    /// no group. Figure 10 has no such step. Default: yes.
    pub second_look: bool,
    /// Whether to join, the leader must be nearer than this as well (paragraph 0042: a group's
    /// members are near to each other). Default: no.
    pub near_leader: Option<Distance>,
    /// Ask for neighbors and distances at once, as a copy of the inter-group cache (paragraph 0048),
    /// and not for each alone (0046, 0047). Default: yes.
    pub cache_copy: bool,
    /// Links to near groups that a leader looks for. Default: 6, at least 2 (0055, 0057).
    pub inter_group_links: usize,
    /// Links to near groups that a leader takes; one that is nearer replaces the farthest. Default:
    /// 12, twice what each looks for, since each link has two ends.
    pub inter_group_links_max: usize,
    /// Links to any other groups (0039: "to a random other peer group"). Default: 3.
    pub far_links: usize,
    /// Links to any other groups that a leader takes. Default: 6.
    pub far_links_max: usize,
    /// No neighbor is farther, but by a far link. Default: 1,000 ms or 7 hops (0055).
    pub boundary: Distance,
    /// Successors in line, the leader counted. Default: 10 (0061, 0062).
    pub leadership: usize,
    /// How often a leader says that it is there. Default: 5 s (0063).
    pub alive_period: Duration,
    /// How long without that until it is gone. Default: 10 s (0063).
    pub alive_timeout: Duration,
    /// How long the successors have to answer. Default: 1 s.
    pub list_timeout: Duration,
    /// A claim waits up to this. Default: 10 s, uniform (0064).
    pub claim_wait: Duration,
    /// Claims this near to each other are a tie. Default: 1 s (0064).
    pub tie_window: Duration,
    /// How often a leader with too few links looks for more. Default: 60 s (0059).
    pub reentry_period: Duration,
    /// How often links between groups are measured and successors asked. Default: 30 s (0048).
    pub remeasure_period: Duration,
    /// Members that a joiner connects to. Default: 3.
    pub links: usize,
    /// Members that one is connected to at most. Default: 16 (0062: "connection maximums").
    pub links_max: usize,
    /// Whether it answers who looks for groups from its boot cache (0036). Default: yes.
    pub rendezvous: bool,
    /// Groups named in a boot list. Default: 3.
    pub boot_list: usize,
    /// How long a group stays in the boot cache. Default: 10 min.
    pub boot_expiry: Duration,
    /// How often a leader registers where it has asked for groups. Default: 2 min.
    pub register_period: Duration,
    /// How long until a request is repeated; twice as long until it has failed. Default: 1.5 s.
    pub request_timeout: Duration,
    /// How long until a failed search begins anew; doubled each time, up to 32 times. Default: 2 s.
    pub retry: Duration,
}

impl Config {
    /// The seed's values for a metric.
    pub fn for_metric(metric: Metric) -> Config {
        let (tolerance, boundary) = match metric {
            Metric::RoundTrip | Metric::OneWay => (Distance(10_000), Distance(1_000_000)),
            Metric::Hops => (Distance(1), Distance(7)),
        };
        let seconds = Duration::from_secs;
        Config {
            metric,
            tolerance,
            groups_tested_max: 10,
            search_time: seconds(10),
            tested_stay: false,
            second_look: true,
            near_leader: None,
            cache_copy: true,
            inter_group_links: 6,
            inter_group_links_max: 12,
            far_links: 3,
            far_links_max: 6,
            boundary,
            leadership: 10,
            alive_period: seconds(5),
            alive_timeout: seconds(10),
            list_timeout: seconds(1),
            claim_wait: seconds(10),
            tie_window: seconds(1),
            reentry_period: seconds(60),
            remeasure_period: seconds(30),
            links: 3,
            links_max: 16,
            rendezvous: true,
            boot_list: 3,
            boot_expiry: seconds(600),
            register_period: seconds(120),
            request_timeout: Duration::from_millis(1500),
            retry: seconds(2),
        }
    }

    /// The same with every count within what messages can hold, and every wait within
    /// [`WAIT_MIN`](crate::time::WAIT_MIN) and [`WAIT_MAX`](crate::time::WAIT_MAX).
    pub(super) fn bounded(mut self) -> Config {
        use super::message::{BOOT_LIST_MAX, LEADERSHIP_MAX, LINKS_MAX, NEIGHBORS_MAX};
        for wait in [
            &mut self.search_time,
            &mut self.alive_period,
            &mut self.alive_timeout,
            &mut self.list_timeout,
            &mut self.claim_wait,
            &mut self.tie_window,
            &mut self.reentry_period,
            &mut self.remeasure_period,
            &mut self.boot_expiry,
            &mut self.register_period,
            &mut self.request_timeout,
            &mut self.retry,
        ] {
            *wait = bounded(*wait);
        }
        self.boot_list = self.boot_list.clamp(1, BOOT_LIST_MAX);
        self.leadership = self.leadership.clamp(1, LEADERSHIP_MAX);
        self.inter_group_links_max = self.inter_group_links_max.clamp(1, NEIGHBORS_MAX / 2);
        self.inter_group_links = self.inter_group_links.min(self.inter_group_links_max);
        self.far_links_max = self.far_links_max.min(NEIGHBORS_MAX / 2);
        self.far_links = self.far_links.min(self.far_links_max);
        self.links_max = self.links_max.clamp(1, LINKS_MAX);
        self.links = self.links.clamp(1, self.links_max);
        self
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::for_metric(Metric::RoundTrip)
    }
}

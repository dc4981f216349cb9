//! Transit-stub networks (Zegura, Calvert and Bhattacharjee, "How to model an internetwork", 1996):
//! a core of transit domains, and stub domains that hang on its routers.

use std::ops::Range;
use std::time::Duration;

use overlay_protocols::random::Random;

use super::{Link, RouterId, Underlay, stream};

/// What a transit-stub network is like. Hosts attach to routers of stub domains only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransitStub {
    /// Transit domains: a chain, and further links between them.
    pub domains: usize,
    /// Routers in each.
    pub transit_routers: usize,
    /// Stub domains at each transit router.
    pub stubs: usize,
    /// Routers in each.
    pub stub_routers: usize,
    /// One way, between transit routers.
    pub transit_delay: Duration,
    /// One way, between a transit router and a stub domain.
    pub stub_access_delay: Duration,
    /// One way, inside a stub domain.
    pub stub_delay: Duration,
    /// How likely two transit domains that are not next to each other in the chain have a link.
    pub domain_links: f64,
    /// How likely two routers of a transit domain have one that is not in its random tree.
    pub transit_links: f64,
    /// The same in a stub domain.
    pub stub_links: f64,
}

impl TransitStub {
    /// 600 routers: 4 transit domains of 6, at each router 3 stub domains of 8; links of 100, 25 and
    /// 10 ms.
    pub const fn ts600() -> TransitStub {
        TransitStub {
            domains: 4,
            transit_routers: 6,
            stubs: 3,
            stub_routers: 8,
            transit_delay: Duration::from_millis(100),
            stub_access_delay: Duration::from_millis(25),
            stub_delay: Duration::from_millis(10),
            domain_links: 0.5,
            transit_links: 0.4,
            stub_links: 0.3,
        }
    }

    /// 5,056 routers: 8 transit domains of 8, at each router 3 stub domains of 26.
    pub const fn ts5056() -> TransitStub {
        TransitStub { domains: 8, transit_routers: 8, stub_routers: 26, ..TransitStub::ts600() }
    }

    /// How many stub domains there are.
    pub const fn stub_count(&self) -> usize {
        self.domains * self.transit_routers * self.stubs
    }

    /// How many routers there are.
    pub const fn router_count(&self) -> usize {
        self.stub_count() * self.stub_routers + self.domains * self.transit_routers
    }

    /// A network, without hosts; every seed has its own. The routers of stub domains come first.
    pub fn build(&self, seed: u64) -> Underlay {
        let mut random = Random::new(seed, stream::TOPOLOGY);
        let mut links = Vec::new();
        let access = self.stub_count() * self.stub_routers;
        let stub = |stub| stub * self.stub_routers..(stub + 1) * self.stub_routers;
        let domain = |domain| {
            let first = access + domain * self.transit_routers;
            first..first + self.transit_routers
        };
        for place in 0..self.domains {
            let shape = (self.transit_delay, self.transit_links);
            random_domain(domain(place), shape, &mut random, &mut links);
        }
        for one in 0..self.domains {
            for other in one + 1..self.domains {
                if other == one + 1 || random.unit() < self.domain_links {
                    let ends =
                        (any_of(domain(one), &mut random), any_of(domain(other), &mut random));
                    links.push(Link::new(ends.0, ends.1, self.transit_delay));
                }
            }
        }
        for place in 0..self.stub_count() {
            let shape = (self.stub_delay, self.stub_links);
            random_domain(stub(place), shape, &mut random, &mut links);
            let ends = (access + place / self.stubs, any_of(stub(place), &mut random));
            links.push(Link::new(ends.0, ends.1, self.stub_access_delay));
        }
        let mut underlay = Underlay::new(domain(self.domains).start, links);
        underlay.access = (0..access).collect();
        (0..access).for_each(|router| underlay.stubs[router] = Some(router / self.stub_routers));
        underlay
    }
}

/// A random tree, and links beside it.
fn random_domain(
    routers: Range<RouterId>,
    (delay, further): (Duration, f64),
    random: &mut Random,
    links: &mut Vec<Link>,
) {
    for other in routers.clone().skip(1) {
        let parent = any_of(routers.start..other, random);
        for one in routers.start..other {
            if one == parent || random.unit() < further {
                links.push(Link::new(one, other, delay));
            }
        }
    }
}

fn any_of(routers: Range<RouterId>, random: &mut Random) -> RouterId {
    routers.start + random.below(routers.len().max(1) as u64) as usize
}

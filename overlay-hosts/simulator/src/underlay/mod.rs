//! The network below an overlay: routers, the links between them, and hosts attached to routers.
//! Distances here are the ground truth that experiments measure against.
//!
//! Packets take the shortest paths by delay. Of equally short ones a weight of each link decides, so
//! that paths are unique, the way back is the way there, and every part of a path is the path between
//! its ends: routers that each look up one next hop agree on the whole way. Between the nodes of a
//! [`Matrix`] packets go straight, however long that takes, as it was measured.
//!
//! The way to a router is computed when it is first asked for.

mod abilene;
mod matrix;
mod paths;
mod transit_stub;
mod waxman;

use std::sync::OnceLock;
use std::time::Duration;

use overlay_protocols::random::Random;

pub use abilene::{CITIES, abilene};
pub use matrix::{Matrix, MatrixError};
pub use transit_stub::TransitStub;
pub use waxman::Waxman;

use paths::Tree;

/// A router, by its place.
pub type RouterId = usize;
/// A host, by its place in the order of attachment.
pub type HostId = usize;
/// A link, by its place: first those between routers, then the access link of each host.
pub type LinkId = usize;

/// The streams of a seed that underlays draw from.
mod stream {
    pub(super) const TOPOLOGY: u64 = 0x756e_6465_726c_6179;
    pub(super) const HOSTS: u64 = 0x686f_7374_7320_2020;
}

/// The shortest delay of a last hop: of a host to its router.
pub const LAST_HOP_MIN: Duration = Duration::from_millis(3);
/// The longest.
pub const LAST_HOP_MAX: Duration = Duration::from_millis(8);

/// A link between two routers, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The routers that it joins.
    pub ends: (RouterId, RouterId),
    /// One way, at most [`Link::DELAY_MAX`].
    pub delay: Duration,
    /// Bits a second in each direction: packets queue. `None`: as many as there are.
    pub rate: Option<u64>,
}

impl Link {
    /// Longer links are taken for this long.
    pub const DELAY_MAX: Duration = Duration::from_secs(4);

    /// A link that carries any number of packets.
    pub fn new(one: RouterId, other: RouterId, delay: Duration) -> Link {
        Link { ends: (one, other), delay: delay.min(Link::DELAY_MAX), rate: None }
    }

    fn micros(&self) -> u32 {
        self.delay.min(Link::DELAY_MAX).as_micros() as u32
    }
}

/// A host and its access link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The router that it is attached to.
    pub router: RouterId,
    /// The last hop, one way.
    pub delay: Duration,
    /// Bits a second from the host; `None`: as many as there are.
    pub up: Option<u64>,
    /// Bits a second to the host.
    pub down: Option<u64>,
}

/// What a router has a link to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// By this link
    pub link: LinkId,
    /// there is this router,
    pub router: RouterId,
    /// among whose neighbors this one is at this place.
    pub back: usize,
}

/// A link as a packet crosses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Crossing {
    /// The link.
    pub link: LinkId,
    /// Against its direction: from the second end to the first, or down to a host.
    pub back: bool,
}

/// Routers, links and hosts.
#[derive(Debug)]
pub struct Underlay {
    links: Vec<Link>,
    neighbors: Vec<Vec<Neighbor>>,
    /// By router: the stub domain it is in.
    stubs: Vec<Option<usize>>,
    /// Where hosts attach.
    access: Vec<RouterId>,
    hosts: Vec<Host>,
    /// Packets go straight.
    is_direct: bool,
    /// By target.
    trees: Vec<OnceLock<Tree>>,
}

impl Underlay {
    /// Of routers and their links; hosts may attach to any router.
    pub fn new(routers: usize, links: Vec<Link>) -> Underlay {
        let mut neighbors: Vec<Vec<Neighbor>> = vec![Vec::new(); routers];
        for (link, Link { ends: (one, other), .. }) in links.iter().enumerate() {
            let (place, back) = (neighbors[*one].len(), neighbors[*other].len());
            neighbors[*one].push(Neighbor { link, router: *other, back });
            neighbors[*other].push(Neighbor { link, router: *one, back: place });
        }
        Underlay {
            links,
            neighbors,
            stubs: vec![None; routers],
            access: (0..routers).collect(),
            hosts: Vec::new(),
            is_direct: false,
            trees: std::iter::repeat_with(OnceLock::new).take(routers).collect(),
        }
    }

    /// Attaches a host; returns its number.
    pub fn attach(&mut self, router: RouterId, delay: Duration) -> HostId {
        self.hosts.push(Host { router, delay, up: None, down: None });
        self.hosts.len() - 1
    }

    /// Attaches hosts to any of the routers where hosts attach, with a last hop between
    /// [`LAST_HOP_MIN`] and [`LAST_HOP_MAX`].
    pub fn attach_hosts(&mut self, count: usize, seed: u64) {
        let mut random = Random::new(seed, stream::HOSTS);
        for _ in 0..count {
            let Some(router) = random.choose(&self.access).copied() else { return };
            let delay = LAST_HOP_MIN + random.up_to(LAST_HOP_MAX - LAST_HOP_MIN);
            self.attach(router, delay);
        }
    }

    /// The access link of a host, to set its rates.
    pub fn host_mut(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[host]
    }

    /// Sets the rate of a link between routers, in bits a second.
    pub fn set_rate(&mut self, link: LinkId, rate: Option<u64>) {
        self.links[link].rate = rate;
    }

    /// How many routers there are.
    pub fn router_count(&self) -> usize {
        self.neighbors.len()
    }

    /// How many links there are, access links included.
    pub fn link_count(&self) -> usize {
        self.links.len() + self.hosts.len()
    }

    /// The links between routers.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The neighbors of a router, in the order of its links.
    pub fn neighbors(&self, router: RouterId) -> &[Neighbor] {
        &self.neighbors[router]
    }

    /// The routers that hosts attach to.
    pub fn access_routers(&self) -> &[RouterId] {
        &self.access
    }

    /// The stub domain of a router; a transit router has none.
    pub fn stub_of(&self, router: RouterId) -> Option<usize> {
        self.stubs[router]
    }

    /// How many stub domains there are.
    pub fn stub_count(&self) -> usize {
        self.stubs.iter().flatten().max().map_or(0, |last| last + 1)
    }

    /// The access link of a host. Its direction is from the host.
    pub fn access_link(&self, host: HostId) -> LinkId {
        self.links.len() + host
    }

    /// Whether there is a way between all routers.
    pub fn is_connected(&self) -> bool {
        (0..self.router_count()).all(|router| self.tree(0).delay(router).is_some())
    }

    /// How long a packet is on its way that waits nowhere. Without a way, see
    /// [`is_connected`](Underlay::is_connected), more than an hour.
    pub fn one_way(&self, from: HostId, to: HostId) -> Duration {
        if from == to {
            return Duration::ZERO;
        }
        let (one, other) = (&self.hosts[from], &self.hosts[to]);
        let between = self.between(one.router, other.router);
        debug_assert!(between.is_some(), "no way from host {from} to host {to}");
        one.delay + Duration::from_micros(between.unwrap_or(u32::MAX).into()) + other.delay
    }

    /// The same between two routers, in microseconds; `None`: there is no way.
    pub fn between(&self, from: RouterId, to: RouterId) -> Option<u32> {
        self.tree(to).delay(from)
    }

    /// There and back.
    pub fn rtt(&self, one: HostId, other: HostId) -> Duration {
        self.one_way(one, other) + self.one_way(other, one)
    }

    /// How many routers a packet passes: by so much its TTL falls.
    pub fn hops(&self, from: HostId, to: HostId) -> u32 {
        match from == to {
            true => 0,
            false => self.tree(self.hosts[to].router).hops(self.hosts[from].router) + 1,
        }
    }

    /// The neighbor that a packet goes to next, by its place among those of `at`; `None` at its
    /// target, or if there is no way.
    pub fn next(&self, at: RouterId, to: RouterId) -> Option<usize> {
        self.tree(to).next(at)
    }

    /// The links that a packet crosses, in order, access links included.
    pub fn path(&self, from: HostId, to: HostId) -> Vec<Crossing> {
        if from == to {
            return Vec::new();
        }
        let target = self.hosts[to].router;
        let mut at = self.hosts[from].router;
        let mut path = vec![Crossing { link: self.access_link(from), back: false }];
        while let Some(place) = self.next(at, target) {
            path.push(self.crossing(at, place));
            at = self.neighbors[at][place].router;
        }
        path.push(Crossing { link: self.access_link(to), back: true });
        path
    }

    /// The link to a neighbor, in the direction to it.
    pub fn crossing(&self, from: RouterId, place: usize) -> Crossing {
        let Neighbor { link, .. } = self.neighbors[from][place];
        Crossing { link, back: self.links[link].ends.0 != from }
    }

    /// How long a link is, and its rate in this direction.
    pub fn link(&self, crossing: Crossing) -> (Duration, Option<u64>) {
        match crossing.link.checked_sub(self.links.len()) {
            None => (self.links[crossing.link].delay, self.links[crossing.link].rate),
            Some(host) => {
                let host = &self.hosts[host];
                (host.delay, if crossing.back { host.down } else { host.up })
            }
        }
    }

    fn tree(&self, target: RouterId) -> &Tree {
        self.trees[target].get_or_init(|| match self.is_direct {
            true => Tree::direct(target, &self.links, &self.neighbors),
            false => Tree::shortest(target, &self.links, &self.neighbors),
        })
    }
}

#[cfg(test)]
mod tests;

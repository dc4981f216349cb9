//! A model that follows what the mirror tells, and what a fresh dump says to compare it with.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use xcast::fib::Prefix;
use xcast::kernel::Mirror;
use xcast::rib::{
    Address, Change, KernelRoute, Link, Neighbor, NeighborState, NextHop, Placement, RouteAction,
};

/// Far beyond what anything here takes; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

// --- The model -----------------------------------------------------------------------------

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) links: BTreeMap<u32, Link>,
    pub(crate) addresses: BTreeMap<(u32, IpAddr, u8), Address>,
    pub(crate) routes: BTreeMap<(u32, Prefix, u32), Vec<RouteAction>>,
    pub(crate) neighbors: BTreeMap<(u32, IpAddr), Neighbor>,
}

impl Model {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Link(link) => drop(self.links.insert(link.index, link)),
            Change::LinkGone(index) => drop(self.links.remove(&index)),
            Change::Address(address) => drop(self.addresses.insert(of(&address), address)),
            Change::AddressGone(address) => drop(self.addresses.remove(&of(&address))),
            Change::Route(route, placement) => self.add_route(route, placement),
            Change::RouteGone(route) => self.remove_route(&route),
            Change::Neighbor(neighbor) => {
                self.neighbors.insert((neighbor.interface, neighbor.address), neighbor);
            }
            Change::NeighborGone { interface, address } => {
                self.neighbors.remove(&(interface, address));
            }
            Change::AllLinks(links) => {
                self.links.clear();
                links.into_iter().for_each(|link| self.apply(Change::Link(link)));
            }
            Change::AllAddresses(addresses) => {
                self.addresses.clear();
                addresses.into_iter().for_each(|address| self.apply(Change::Address(address)));
            }
            Change::AllRoutes(routes) => {
                self.routes.clear();
                routes.into_iter().for_each(|route| self.add_route(route, Placement::Last));
            }
            Change::AllNeighbors(neighbors) => {
                self.neighbors.clear();
                neighbors.into_iter().for_each(|one| self.apply(Change::Neighbor(one)));
            }
        }
    }

    fn add_route(&mut self, route: KernelRoute, placement: Placement) {
        let list = self.routes.entry((route.table, route.prefix, route.metric)).or_default();
        let replaced = placement == Placement::Replace && !list.is_empty();
        if replaced {
            list.remove(0);
        }
        list.retain(|action| *action != route.action);
        match placement {
            Placement::First | Placement::Replace => list.insert(0, route.action),
            Placement::Last => list.push(route.action),
        }
    }

    fn remove_route(&mut self, route: &KernelRoute) {
        let key = (route.table, route.prefix, route.metric);
        if let Some(list) = self.routes.get_mut(&key) {
            list.retain(|action| *action != route.action);
            if list.is_empty() {
                self.routes.remove(&key);
            }
        }
    }

    /// Without neighbor states that the kernel enters silently (incomplete, delay).
    pub(crate) fn told(&self) -> Model {
        let mut told = self.clone();
        told.neighbors.retain(|_, neighbor| neighbor.state == NeighborState::Permanent);
        told
    }

    /// The routes to a prefix in the main table, best first.
    pub(crate) fn routes_to(&self, prefix: &str) -> Vec<RouteAction> {
        self.routes_in(254, prefix)
    }

    pub(crate) fn routes_in(&self, table: u32, prefix: &str) -> Vec<RouteAction> {
        let prefix: Prefix = prefix.parse().unwrap();
        self.routes
            .range((table, prefix, 0)..=(table, prefix, u32::MAX))
            .flat_map(|(_, list)| list.clone())
            .collect()
    }

    pub(crate) fn link(&self, name: &str) -> &Link {
        self.links.values().find(|link| link.name == name).expect(name)
    }

    pub(crate) fn state(&self, interface: u32, address: &str) -> Option<NeighborState> {
        self.neighbors.get(&(interface, address.parse().unwrap())).map(|one| one.state)
    }
}

/// The lines that only one of two models has.
fn differences(followed: &Model, dumped: &Model) -> String {
    let lines = |model: &Model| -> BTreeSet<String> {
        let links = model.links.values().map(|link| format!("{link:?}"));
        let addresses = model.addresses.values().map(|address| format!("{address:?}"));
        let routes = model.routes.iter().map(|route| format!("{route:?}"));
        let neighbors = model.neighbors.values().map(|neighbor| format!("{neighbor:?}"));
        links.chain(addresses).chain(routes).chain(neighbors).collect()
    };
    let (followed, dumped) = (lines(followed), lines(dumped));
    let mut text = String::new();
    for line in followed.difference(&dumped) {
        text += &format!("\nfollowed only: {line}");
    }
    for line in dumped.difference(&followed) {
        text += &format!("\ndumped only: {line}");
    }
    text
}

fn of(address: &Address) -> (u32, IpAddr, u8) {
    (address.interface, address.address, address.prefix_length)
}

// --- Following -----------------------------------------------------------------------------

pub(crate) struct Follower {
    pub(crate) mirror: Mirror,
    pub(crate) model: Model,
    poll: Poll,
}

impl Follower {
    pub(crate) fn start(mirror: Mirror) -> Follower {
        let poll = Poll::new().unwrap();
        let fd = mirror.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
        let mut this = Follower { mirror, model: Model::default(), poll };
        let mut changes = Vec::new();
        this.mirror.synchronize(&mut changes).unwrap();
        assert_eq!(changes.len(), 4);
        this.take(changes);
        this
    }

    pub(crate) fn take(&mut self, changes: Vec<Change>) {
        changes.into_iter().for_each(|change| self.model.apply(change));
    }

    /// Follows until `condition` holds.
    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut(&Model) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut events = Events::with_capacity(4);
        loop {
            let mut changes = Vec::new();
            self.mirror.poll(Instant::now(), &mut changes).unwrap();
            self.take(changes);
            if condition(&self.model) {
                return;
            }
            let now = Instant::now();
            assert!(
                now < end,
                "waited in vain: {what}{}",
                differences(&self.model.told(), &dump().told())
            );
            let wake = self.mirror.deadline().map_or(end, |deadline| deadline.min(end));
            match self.poll.poll(&mut events, Some(wake.saturating_duration_since(now))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => outcome.unwrap(),
            }
        }
    }

    /// Asks for a neighbor until it is there: the first question may be lost while the link is
    /// still coming up.
    pub(crate) fn reach(&mut self, what: &str, interface: u32, address: &str) {
        let key = (interface, address.parse().unwrap());
        loop {
            self.model.neighbors.remove(&key);
            self.mirror.resolve(key.0, key.1).unwrap();
            let settled = [Some(NeighborState::Reachable), Some(NeighborState::Failed)];
            self.until(what, |model| settled.contains(&model.state(interface, address)));
            if self.model.state(interface, address) == settled[0] {
                return;
            }
        }
    }

    /// Follows until the model is what the kernel says, `condition` included.
    pub(crate) fn settle(&mut self, what: &str, mut condition: impl FnMut(&Model) -> bool) {
        self.until(what, |model| condition(model) && model.told() == dump().told());
        assert_eq!(self.mirror.undecodable(), 0);
    }
}

/// What a mirror sees that starts now.
pub(crate) fn dump() -> Model {
    let mut changes = Vec::new();
    Mirror::open().unwrap().synchronize(&mut changes).unwrap();
    let mut model = Model::default();
    changes.into_iter().for_each(|change| model.apply(change));
    model
}

pub(crate) fn follow() -> Follower {
    Follower::start(Mirror::open().unwrap())
}

pub(crate) fn via(interface: u32, gateways: &[(&str, u16)]) -> RouteAction {
    let hop = |&(gateway, weight): &(&str, u16)| NextHop {
        interface,
        gateway: Some(gateway.parse().unwrap()),
        weight,
    };
    RouteAction::Forward(gateways.iter().map(hop).collect())
}

//! The routing information base: what is wanted, and what the kernel says; compiled into a
//! [`Fib`](crate::fib::Fib), which holds only what can forward now.
//!
//! 1. [`Change`]s from the kernel (or a test, or the simulator) go into [`Rib::apply`].
//! 2. [`Rib::compile`] resolves routes, neighbors and settings into a new Fib (`compile`).
//! 3. The views at the end (`view`) are what `show routes|neighbors` prints.
//!
//! Pure: no I/O, no clock. Ports keep their [`PortId`] for as long as their interface exists.

mod change;
mod compile;
mod settings;
mod view;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use change::*;
pub use settings::{NeighborPolicy, PortPolicy, PortSettings, Settings, StaticRoute, StaticTarget};
pub use view::{NeighborView, RouteView};

use crate::fib::{PortId, Prefix};

/// The key under which the kernel keeps routes: table, prefix, metric.
type RouteKey = (u32, Prefix, u32);

/// Everything known about this node's network.
pub struct Rib {
    settings: Settings,
    links: BTreeMap<InterfaceIndex, Link>,
    /// Grows whenever a link vanishes: one that comes with an index known before is another.
    vanished: u64,
    /// By link: how many had vanished when it came.
    instances: BTreeMap<InterfaceIndex, u64>,
    /// By interface, address and prefix length.
    addresses: BTreeMap<(InterfaceIndex, IpAddr, u8), Address>,
    routes: BTreeMap<RouteKey, Vec<RouteAction>>,
    neighbors: BTreeMap<(InterfaceIndex, IpAddr), Neighbor>,
    /// What probes have found of neighbors.
    probed: BTreeMap<(InterfaceIndex, IpAddr), bool>,
    /// The interface of each port slot; a slot is free again when its interface vanishes.
    ports: Vec<Option<InterfaceIndex>>,
    generation: u64,
}

impl Rib {
    /// An empty one.
    pub fn new(settings: Settings) -> Rib {
        Rib {
            settings,
            links: BTreeMap::new(),
            vanished: 0,
            instances: BTreeMap::new(),
            addresses: BTreeMap::new(),
            routes: BTreeMap::new(),
            neighbors: BTreeMap::new(),
            probed: BTreeMap::new(),
            ports: Vec::new(),
            generation: 0,
        }
    }

    /// Replaces the settings, as on a reload.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        self.assign_ports();
    }

    /// Takes a change over. Returns whether a new Fib is worth compiling: the kernel tells much
    /// that does not concern forwarding, such as a neighbor's going stale.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Link(link) => self.put_link(link),
            Change::LinkGone(index) => self.remove_link(index),
            Change::Address(address) => {
                let before = self.addresses.insert(key(&address), address.clone());
                before != Some(address)
            }
            Change::AddressGone(address) => self.addresses.remove(&key(&address)).is_some(),
            Change::Route(route, placement) => self.put_route(route, placement),
            Change::RouteGone(route) => self.remove_route(&route),
            Change::Neighbor(neighbor) => self.put_neighbor(neighbor),
            Change::NeighborGone { interface, address } => {
                let gone = self.neighbors.remove(&(interface, address));
                gone.as_ref().and_then(usable_address).is_some()
            }
            whole => self.replace(whole),
        }
    }

    /// Takes over what probes have found of a neighbor; `None` if nothing is known any more.
    /// Returns whether a new Fib is worth compiling.
    pub fn set_probed(
        &mut self,
        interface: InterfaceIndex,
        address: IpAddr,
        capable: Option<bool>,
    ) -> bool {
        let key = (interface, address);
        let before = self.is_capable(interface, address);
        match capable {
            Some(capable) => self.probed.insert(key, capable),
            None => self.probed.remove(&key),
        };
        before != self.is_capable(interface, address)
    }

    /// Takes a whole dump over.
    fn replace(&mut self, change: Change) -> bool {
        match change {
            Change::AllLinks(links) => {
                let links: BTreeMap<_, _> = links.into_iter().map(|l| (l.index, l)).collect();
                let known: Vec<_> = self.links.keys().copied().collect();
                for index in known.into_iter().filter(|index| !links.contains_key(index)) {
                    self.remove_link(index);
                }
                links.into_values().for_each(|link| {
                    self.put_link(link);
                });
            }
            Change::AllAddresses(all) => {
                self.addresses = all.into_iter().map(|own| (key(&own), own)).collect();
            }
            Change::AllRoutes(routes) => {
                self.routes.clear();
                for route in routes {
                    self.put_route(route, Placement::Last);
                }
            }
            Change::AllNeighbors(all) => {
                let key = |n: Neighbor| ((n.interface, n.address), n);
                self.neighbors = all.into_iter().map(key).collect();
            }
            _ => return false,
        }
        true
    }

    fn put_link(&mut self, link: Link) -> bool {
        if self.links.get(&link.index) == Some(&link) {
            return false;
        }
        self.instances.entry(link.index).or_insert(self.vanished);
        self.links.insert(link.index, link);
        self.assign_ports();
        true
    }

    fn remove_link(&mut self, index: InterfaceIndex) -> bool {
        let known = self.links.remove(&index).is_some();
        self.instances.remove(&index);
        self.vanished += 1;
        self.addresses.retain(|key, _| key.0 != index);
        self.neighbors.retain(|key, _| key.0 != index);
        self.assign_ports();
        known
    }

    fn put_route(&mut self, route: KernelRoute, placement: Placement) -> bool {
        let actions = self.routes.entry((route.table, route.prefix, route.metric)).or_default();
        match placement {
            Placement::Replace if !actions.is_empty() => {
                if actions[0] == route.action {
                    return false;
                }
                actions[0] = route.action;
            }
            // The kernel refuses an exact duplicate, so this one was in a dump already.
            _ if actions.contains(&route.action) => return false,
            Placement::Last => actions.push(route.action),
            Placement::First | Placement::Replace => actions.insert(0, route.action),
        }
        true
    }

    fn remove_route(&mut self, route: &KernelRoute) -> bool {
        let key = (route.table, route.prefix, route.metric);
        let Some(actions) = self.routes.get_mut(&key) else { return false };
        let Some(at) = actions.iter().position(|action| *action == route.action) else {
            return false;
        };
        actions.remove(at);
        if actions.is_empty() {
            self.routes.remove(&key);
        }
        true
    }

    fn put_neighbor(&mut self, neighbor: Neighbor) -> bool {
        let key = (neighbor.interface, neighbor.address);
        let after = usable_address(&neighbor);
        let before = self.neighbors.insert(key, neighbor).as_ref().and_then(usable_address);
        before != after
    }

    /// Gives every interface that is to be a port a slot, and frees those of the others.
    fn assign_ports(&mut self) {
        for slot in &mut self.ports {
            let link = slot.and_then(|index| self.links.get(&index));
            if !link.is_some_and(|link| self.settings.is_port(link)) {
                *slot = None;
            }
        }
        for link in self.links.values().filter(|link| self.settings.is_port(link)) {
            if self.ports.contains(&Some(link.index)) {
                continue;
            }
            match self.ports.iter().position(Option::is_none) {
                Some(free) => self.ports[free] = Some(link.index),
                // `PortId` bounds the number of ports; the kernel runs out of names far earlier.
                None if self.ports.len() < usize::from(PortId::MAX) => {
                    self.ports.push(Some(link.index));
                }
                None => {}
            }
        }
    }

    /// The port of an interface.
    fn port_of(&self, interface: InterfaceIndex) -> Option<PortId> {
        let at = self.ports.iter().position(|slot| *slot == Some(interface))?;
        Some(at as PortId)
    }
}

fn key(address: &Address) -> (InterfaceIndex, IpAddr, u8) {
    (address.interface, address.address, address.prefix_length)
}

/// The link-layer address by which a neighbor can be sent to, if it can.
fn usable_address(neighbor: &Neighbor) -> Option<LinkAddress> {
    match neighbor.state {
        NeighborState::Incomplete | NeighborState::Failed => None,
        _ => neighbor.link_address,
    }
}

#[cfg(test)]
mod tests;

//! The routing information base: what is wanted, and what the kernel says; compiled into a
//! [`Fib`](crate::fib::Fib), which holds only what can forward now.
//!
//! 1. [`Change`]s from the kernel (or a test, or the simulator) go into [`Rib::apply`].
//! 2. [`Rib::compile`] brings up to date what routes come to (`resolve`, `refresh`), and has the
//!    [`Compiler`] compile what has changed into a new Fib.
//! 3. The views at the end (`view`) are what `show routes|neighbors` prints.
//!
//! Pure: no I/O, no clock. Ports keep their [`PortId`] for as long as their interface exists.

mod actions;
mod change;
mod refresh;
mod resolve;
mod settings;
mod tunnels;
mod view;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use change::*;
pub use settings::{NeighborPolicy, PortPolicy, PortSettings, Settings, StaticRoute, StaticTarget};
pub use tunnels::{TunnelEnds, TunnelState};
pub use view::{NeighborView, RouteView};

use crate::fib::{ActionId, Compiler, Outcome, PortId, Prefix, Routes};
use actions::Actions;
use refresh::{OwnAddresses, StaticTable};
use tunnels::Tunnels;

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
    /// The kernel's routes, by table.
    tables: BTreeMap<u32, Routes>,
    /// What they do.
    actions: Actions,
    statics: StaticTable,
    own: OwnAddresses,
    compiler: Compiler,
    /// Links, addresses or settings have changed since the last compile.
    stale: bool,
    /// The prefixes that each action decides about are to be counted anew.
    uncounted: bool,
    neighbors: BTreeMap<(InterfaceIndex, IpAddr), Neighbor>,
    /// What probes have found of neighbors.
    probed: BTreeMap<(InterfaceIndex, IpAddr), bool>,
    tunnels: Tunnels,
    /// The interface or tunnel of each port slot; a slot is free again when that vanishes.
    ports: Vec<Option<InterfaceIndex>>,
    generation: u64,
}

impl Rib {
    /// An empty one.
    pub fn new(settings: Settings) -> Rib {
        let mut compiler = Compiler::new(settings.code_points, settings.table);
        Rib {
            statics: StaticTable::default(),
            own: OwnAddresses::new(&mut compiler),
            compiler,
            stale: true,
            uncounted: true,
            settings,
            links: BTreeMap::new(),
            vanished: 0,
            instances: BTreeMap::new(),
            addresses: BTreeMap::new(),
            tables: BTreeMap::new(),
            actions: Actions::default(),
            neighbors: BTreeMap::new(),
            probed: BTreeMap::new(),
            tunnels: Tunnels::default(),
            ports: Vec::new(),
            generation: 0,
        }
    }

    /// Replaces the settings, as on a reload.
    pub fn set_settings(&mut self, settings: Settings) {
        if self.settings.kernel_tables != settings.kernel_tables {
            // What changes in a table is not marked while it is not consulted.
            self.compiler.mark_all();
            self.uncounted = true;
        }
        self.settings = settings;
        self.assign_ports();
        self.stale = true;
    }

    /// Takes a change over. Returns whether a new Fib is worth compiling: the kernel tells much
    /// that does not concern forwarding, such as a neighbor's going stale.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Link(link) => self.put_link(link),
            Change::LinkGone(index) => self.remove_link(index),
            Change::Address(address) => {
                let before = self.addresses.insert(key(&address), address.clone());
                let changed = before != Some(address);
                self.stale |= changed;
                changed
            }
            Change::AddressGone(address) => {
                let known = self.addresses.remove(&key(&address)).is_some();
                self.stale |= known;
                known
            }
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
                self.stale = true;
            }
            Change::AllRoutes(routes) => self.replace_routes(routes),
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
        self.stale = true;
        true
    }

    fn remove_link(&mut self, index: InterfaceIndex) -> bool {
        let known = self.links.remove(&index).is_some();
        self.instances.remove(&index);
        self.vanished += 1;
        self.addresses.retain(|key, _| key.0 != index);
        self.neighbors.retain(|key, _| key.0 != index);
        self.assign_ports();
        self.stale = true;
        known
    }

    fn put_route(&mut self, route: KernelRoute, placement: Placement) -> bool {
        let KernelRoute { table, prefix, metric, action } = route;
        let action = self.acquire(action);
        let before = self.deciding(table, prefix);
        let routes = self.tables.entry(table).or_default();
        let first = routes.equal(prefix, metric).next();
        let known = match placement {
            Placement::Replace => first == Some(action),
            // The kernel refuses an exact duplicate, so this one was in a dump already.
            _ => routes.equal(prefix, metric).any(|known| known == action),
        };
        if known {
            self.release(action);
            return false;
        }
        let replaced = match placement {
            Placement::Replace => routes.replace(prefix, metric, action),
            _ => None,
        };
        if replaced.is_none() {
            routes.insert(prefix, metric, placement != Placement::Last, action);
        }
        self.changed(table, prefix, before);
        replaced.into_iter().for_each(|replaced| self.release(replaced));
        true
    }

    fn remove_route(&mut self, route: &KernelRoute) -> bool {
        let Some(action) = self.actions.find(&route.action) else { return false };
        let before = self.deciding(route.table, route.prefix);
        let Some(routes) = self.tables.get_mut(&route.table) else { return false };
        if !routes.remove(route.prefix, route.metric, action) {
            return false;
        }
        self.changed(route.table, route.prefix, before);
        self.release(action);
        true
    }

    /// Takes a whole dump of routes over.
    fn replace_routes(&mut self, routes: Vec<KernelRoute>) {
        let mut lists: BTreeMap<u32, Vec<(Prefix, u32, ActionId)>> = BTreeMap::new();
        for route in routes {
            let action = self.acquire(route.action);
            lists.entry(route.table).or_default().push((route.prefix, route.metric, action));
        }
        let mut tables = BTreeMap::new();
        for (table, list) in lists {
            let (routes, doubles) = Routes::collect(list);
            doubles.into_iter().for_each(|double| self.release(double));
            tables.insert(table, routes);
        }
        for gone in std::mem::replace(&mut self.tables, tables).into_values() {
            gone.iter().for_each(|(_, _, action)| self.release(action));
        }
        self.compiler.mark_all();
        self.uncounted = true;
    }

    /// The route that decides about a prefix in a table that is consulted, as far as is resolved.
    fn deciding(&self, table: u32, prefix: Prefix) -> Option<ActionId> {
        let routes = self.tables.get(&table).filter(|_| self.is_consulted(table, &prefix))?;
        let mut live = routes.of(prefix).map(|(_, action)| action);
        live.find(|action| !self.actions.outcome(*action).is_dead())
    }

    fn is_consulted(&self, table: u32, prefix: &Prefix) -> bool {
        self.settings.kernel_tables.contains(&table) && !resolve::is_scoped(prefix)
    }

    /// A route of a prefix has changed about which `before` decided.
    fn changed(&mut self, table: u32, prefix: Prefix, before: Option<ActionId>) {
        if self.is_consulted(table, &prefix) {
            before.into_iter().for_each(|action| self.actions.discount(action));
            let now = self.deciding(table, prefix);
            now.into_iter().for_each(|action| self.actions.count(action));
            self.compiler.mark(prefix);
        }
    }

    /// The id of what one route more does.
    fn acquire(&mut self, action: RouteAction) -> ActionId {
        self.actions.acquire(&action).unwrap_or_else(|| {
            let resolved = self.resolve(&action);
            let outcome = resolve::outcome(resolved, &mut self.compiler);
            self.actions.add(action, outcome)
        })
    }

    /// One route less does it.
    fn release(&mut self, action: ActionId) {
        let outcome = self.actions.release(action);
        outcome.into_iter().for_each(|outcome| self.compiler.release(outcome));
    }

    fn put_neighbor(&mut self, neighbor: Neighbor) -> bool {
        let key = (neighbor.interface, neighbor.address);
        let after = usable_address(&neighbor);
        let before = self.neighbors.insert(key, neighbor).as_ref().and_then(usable_address);
        before != after
    }

    /// Gives every interface that is to be a port a slot, and every tunnel, and frees those of the
    /// others.
    fn assign_ports(&mut self) {
        let (links, settings, tunnels) = (&self.links, &self.settings, &self.tunnels);
        let is_port = |index| {
            let link = links.get(&index);
            link.is_some_and(|link| settings.is_port(link)) || tunnels.contains(index)
        };
        for slot in &mut self.ports {
            *slot = slot.filter(|index| is_port(*index));
        }
        for index in links.keys().copied().filter(|link| is_port(*link)).chain(tunnels.indices()) {
            if self.ports.contains(&Some(index)) {
                continue;
            }
            match self.ports.iter().position(Option::is_none) {
                Some(free) => self.ports[free] = Some(index),
                // `PortId` bounds the number of ports; the kernel runs out of names far earlier.
                None if self.ports.len() < usize::from(PortId::MAX) => {
                    self.ports.push(Some(index));
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

//! Compiling: what routes come to is brought up to date, and what that changes is marked.
//!
//! Tables are consulted in this order; the first one with a route for an address decides, and in
//! it the longest prefix, of that the lowest metric that has a live next hop (WIRE.md R5):
//!
//! 1. own addresses, and broadcast addresses of attached links;
//! 2. where routes lead onto a link: the neighbors there;
//! 3. static routes;
//! 4. the kernel's tables;
//! 5. routes whose next hops are all down: they answer only where nothing else does.

use std::collections::BTreeSet;

use super::resolve::{is_scoped, last_address, outcome, subnet};
use super::*;
use crate::fib::{Capability, Entry, EntryId, Fib, NO_LINK, Rewrite, Table};
use crate::wire::ethernet;

/// The kernel's table that is always consulted, last: the routes of unicast.
const UNICAST: u32 = 254;

impl Rib {
    /// Compiles the next Fib.
    pub fn compile(&mut self) -> Fib {
        self.generation += 1;
        if std::mem::take(&mut self.stale) {
            self.refresh();
        }
        if std::mem::take(&mut self.uncounted) {
            self.count_prefixes(&BTreeSet::new());
        }
        let groups = self.groups_in_use();
        self.compiler.clear_adjacencies();
        for (port, address, rewrite, capability) in self.adjacencies(&groups) {
            self.compiler.adjacency(port, address, rewrite, capability);
        }
        let outcomes = self.actions.outcomes();
        let kernel = self.settings.kernel_tables.iter().filter_map(|table| self.tables.get(table));
        let kernel: Vec<_> = kernel.map(|routes| Table { routes, outcomes, dead: false }).collect();
        let mut tables = vec![self.statics.table()];
        tables.extend(&kernel);
        if self.statics.any_dead() {
            tables.push(Table { dead: true, ..self.statics.table() });
        }
        if self.actions.any_dead() {
            tables.extend(kernel.iter().map(|table| Table { dead: true, ..*table }));
        }
        let unicast =
            self.tables.get(&UNICAST).map(|routes| Table { routes, outcomes, dead: false });
        let native: Vec<_> = unicast.into_iter().collect();
        self.compiler.publish(self.generation, &[self.own.table()], &tables, &native, &groups)
    }

    /// Takes changes of links, addresses and settings into account.
    fn refresh(&mut self) {
        self.compiler.set_kind(self.settings.table);
        let ports = (0..self.ports.len()).map(|slot| self.port(slot)).collect();
        let Settings { code_points, limits, compact, secret, .. } = &self.settings;
        self.compiler.set_ports(*code_points, ports, limits.clone(), *compact, *secret);
        let native = !self.tunnels.is_empty() || !limits.accept.is_empty();
        self.compiler.set_native(native);
        let changed = self.refresh_actions();
        if !changed.is_empty() {
            self.count_prefixes(&changed);
        }
        self.refresh_statics();
        self.refresh_own();
    }

    /// Resolves all actions; returns those that come to something else than before.
    fn refresh_actions(&mut self) -> BTreeSet<ActionId> {
        let resolved: Vec<_> =
            self.actions.iter().map(|(id, action)| (id, self.resolve(action))).collect();
        let mut changed = BTreeSet::new();
        let mut released = Vec::new();
        for (id, resolved) in resolved {
            let outcome = outcome(resolved, &mut self.compiler);
            let before = self.actions.set_outcome(id, outcome);
            if before != outcome {
                changed.insert(id);
            }
            released.push(before);
        }
        // Not before all are acquired, so that none is given to another.
        released.into_iter().for_each(|outcome| self.compiler.release(outcome));
        changed
    }

    /// Counts the prefixes that each action decides about, and marks those whose routes' actions
    /// come to something else.
    fn count_prefixes(&mut self, changed: &BTreeSet<ActionId>) {
        self.uncounted = false;
        self.actions.clear_prefixes();
        let consulted: BTreeSet<u32> = self.settings.kernel_tables.iter().copied().collect();
        for routes in consulted.iter().filter_map(|table| self.tables.get(table)) {
            let mut decided = None;
            for (prefix, _, action) in routes.iter() {
                if !changed.is_empty() && changed.contains(&action) {
                    self.compiler.mark(prefix);
                }
                if decided != Some(prefix)
                    && !self.actions.outcome(action).is_dead()
                    && !is_scoped(&prefix)
                {
                    decided = Some(prefix);
                    self.actions.count(action);
                }
            }
        }
    }

    fn refresh_statics(&mut self) {
        let learnt = self.learnt_routes();
        let routes: Vec<&StaticRoute> = learnt.iter().chain(&self.settings.static_routes).collect();
        // Of equal prefixes the last one that is live counts.
        let prefixes = routes.iter().enumerate().rev();
        let prefixes = prefixes.map(|(action, route)| (route.prefix, 0, action as ActionId));
        let (prefixes, _) = Routes::collect(prefixes);
        let resolved: Vec<_> =
            routes.iter().map(|route| self.resolve_static(&route.target)).collect();
        let outcomes = resolved.into_iter().map(|resolved| outcome(resolved, &mut self.compiler));
        let statics = StaticTable { routes: prefixes, outcomes: outcomes.collect() };
        let before = std::mem::replace(&mut self.statics, statics);
        if before != self.statics {
            let both = before.routes.iter().chain(self.statics.routes.iter());
            both.for_each(|(prefix, ..)| self.compiler.mark(prefix));
        }
        before.outcomes.into_iter().for_each(|outcome| self.compiler.release(outcome));
    }

    /// Routes to what the ends of tunnels are near to.
    pub(super) fn learnt_routes(&self) -> Vec<StaticRoute> {
        let route = |(prefix, name): (Prefix, &str)| StaticRoute {
            prefix,
            target: StaticTarget::Tunnel(name.to_owned()),
        };
        self.tunnels.near().map(route).collect()
    }

    fn refresh_own(&mut self) {
        let broadcast = self.addresses.values().flat_map(|own| {
            let all_ones = subnet(own).and_then(last_address);
            let addresses = [all_ones, own.broadcast].into_iter().flatten();
            addresses.map(|address| (Prefix::host(address.into()), 1, OwnAddresses::BAD))
        });
        let own = self.addresses.values().filter_map(|own| {
            let prefix = Prefix::host(own.address);
            let link = self.links.get(&own.interface)?;
            // In front of a broadcast address that is the same.
            (link.admin_up && !is_scoped(&prefix)).then_some((prefix, 0, OwnAddresses::LOCAL))
        });
        let (routes, _) = Routes::collect(broadcast.chain(own));
        let before = std::mem::replace(&mut self.own.routes, routes);
        if before != self.own.routes {
            let both = before.iter().chain(self.own.routes.iter());
            both.for_each(|(prefix, ..)| self.compiler.mark(prefix));
        }
    }

    fn groups_in_use(&self) -> BTreeSet<EntryId> {
        let of_statics = self.statics.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::To(entry) => Some(*entry),
            Outcome::Dead | Outcome::DeadTunnel | Outcome::Throw => None,
        });
        let entries = self.actions.entries_in_use().chain(of_statics);
        entries.filter(|entry| !self.compiler.hops(*entry).is_empty()).collect()
    }

    /// All neighbors on ports that can be sent to, and all gateways in use.
    fn adjacencies(
        &self,
        groups: &BTreeSet<EntryId>,
    ) -> Vec<(PortId, IpAddr, Option<Rewrite>, Capability)> {
        let neighbors = self.neighbors.iter().filter(|(_, n)| usable_address(n).is_some());
        let neighbors = neighbors.map(|(key, _)| *key);
        let gateways = groups.iter().flat_map(|group| self.compiler.hops(*group));
        let gateways = gateways
            .filter_map(|hop| Some((self.ports.get(usize::from(hop.port))?.as_ref()?, hop)))
            .map(|(interface, hop)| (*interface, hop.gateway));
        let ends = self.tunnels.remotes();
        let all: BTreeSet<(InterfaceIndex, IpAddr)> =
            neighbors.chain(gateways).chain(ends).collect();
        let adjacency = |(interface, address): (InterfaceIndex, IpAddr)| {
            let port = self.port_of(interface)?;
            if self.tunnels.contains(interface) {
                return Some((port, address, Some(NO_LINK), Capability::Tunnel));
            }
            let own = self.links.get(&interface)?.address.unwrap_or_default();
            let neighbor = self.neighbors.get(&(interface, address)).and_then(usable_address);
            let rewrite = neighbor.map(|a| ethernet::header(a, own, ethernet::TYPE_IPV4));
            Some((port, address, rewrite, self.capability(interface, address)))
        };
        all.into_iter().filter_map(adjacency).collect()
    }
}

/// The static routes as they are compiled; their actions are their places.
#[derive(Default, PartialEq, Eq)]
pub(super) struct StaticTable {
    routes: Routes,
    outcomes: Vec<Outcome>,
}

impl StaticTable {
    fn table(&self) -> Table<'_> {
        Table { routes: &self.routes, outcomes: &self.outcomes, dead: false }
    }

    fn any_dead(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.is_dead())
    }
}

/// Own and broadcast addresses as they are compiled.
pub(super) struct OwnAddresses {
    routes: Routes,
    outcomes: [Outcome; 2],
}

impl OwnAddresses {
    const LOCAL: ActionId = 0;
    const BAD: ActionId = 1;

    pub(super) fn new(compiler: &mut Compiler) -> OwnAddresses {
        let outcomes = [Entry::Local, Entry::Bad].map(|entry| Outcome::To(compiler.entry(entry)));
        OwnAddresses { routes: Routes::new(), outcomes }
    }

    fn table(&self) -> Table<'_> {
        Table { routes: &self.routes, outcomes: &self.outcomes, dead: false }
    }
}

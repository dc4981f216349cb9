//! From what is wanted to what can forward now.
//!
//! The order is that of the [`FibBuilder`]: ports, adjacencies, then routes from the least to
//! the most important:
//!
//! 1. routes of any table whose next hops are all down: they answer only where nothing else does;
//! 2. the live routes of the kernel tables, the last one consulted first (WIRE.md R5), in each the
//!    lowest metric that has a live next hop;
//! 3. static routes;
//! 4. host entries: resolved neighbors, broadcast addresses of attached links, own addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::fib::{Capability, Entry, Fib, FibBuilder, Hop, Port, is_link_local, mask_v4};
use crate::wire::ethernet;

/// What a route comes to.
pub(super) enum Resolved {
    Entry(Entry),
    Via(Vec<Hop>),
    Throw,
}

impl Rib {
    /// Compiles the next Fib.
    pub fn compile(&mut self) -> Fib {
        self.generation += 1;
        let ports = (0..self.ports.len()).map(|slot| self.port(slot)).collect();
        let mut builder = FibBuilder::new(self.settings.code_points, ports);
        builder.limits(self.settings.limits.clone());
        builder.compact(self.settings.compact);
        builder.secret(self.settings.secret);
        self.add_neighbors(&mut builder);
        let tables: Vec<Vec<(Prefix, Resolved)>> = self
            .settings
            .kernel_tables
            .iter()
            .rev()
            .map(|table| self.kernel_table(*table, &mut builder))
            .collect();
        self.add_dead_routes(&mut builder);
        for table in tables {
            add_table(&mut builder, table);
        }
        let statics = self.static_table();
        for (_, resolved) in &statics {
            self.add_gateways(resolved, &mut builder);
        }
        add_table(&mut builder, statics);
        builder.neighbors();
        self.add_own_addresses(&mut builder);
        builder.finish(self.generation)
    }

    fn port(&self, slot: usize) -> Option<Port> {
        let link = self.links.get(&self.ports[slot]?)?;
        let settings = self.settings.port(link)?;
        Some(Port {
            interface: link.index,
            instance: self.instances.get(&link.index).copied().unwrap_or(0),
            name: link.name.clone(),
            mtu: link.mtu,
            link_address: link.address?,
            addresses: self.addresses_on(link.index).collect(),
            up: is_up(link),
            reverse_path: settings.reverse_path,
            accept_group_frames: settings.accept_group_frames,
        })
    }

    /// The addresses of this node on a link.
    fn addresses_on(&self, interface: InterfaceIndex) -> impl Iterator<Item = IpAddr> + '_ {
        let own = self.addresses.values().filter(move |own| own.interface == interface);
        own.map(|own| own.address)
    }

    fn add_neighbors(&self, builder: &mut FibBuilder) {
        for ((interface, address), neighbor) in &self.neighbors {
            if usable_address(neighbor).is_some() {
                self.add_adjacency(*interface, *address, builder);
            }
        }
    }

    fn add_adjacency(&self, interface: InterfaceIndex, address: IpAddr, builder: &mut FibBuilder) {
        let Some(port) = self.port_of(interface) else { return };
        if builder.has_adjacency(port, address) {
            return;
        }
        let own = self.links.get(&interface).and_then(|link| link.address).unwrap_or_default();
        let neighbor = self.neighbors.get(&(interface, address)).and_then(usable_address);
        let rewrite = neighbor.map(|a| ethernet::header(a, own, ethernet::TYPE_IPV4));
        builder.adjacency(port, address, rewrite, self.capability(interface, address));
    }

    fn capability(&self, interface: InterfaceIndex, address: IpAddr) -> Capability {
        match self.is_capable(interface, address) {
            Some(true) => Capability::Capable,
            // Unknown counts as incapable (R9).
            Some(false) | None => Capability::Incapable,
        }
    }

    /// Whether a neighbor handles Xcast, as far as that is known: configured, or found by probes.
    pub fn is_capable(&self, interface: InterfaceIndex, address: IpAddr) -> Option<bool> {
        if let Some(pinned) = self.settings.pins.get(&address) {
            return Some(*pinned);
        }
        let settings = self.links.get(&interface).and_then(|link| self.settings.port(link))?;
        match settings.neighbors {
            NeighborPolicy::All => Some(true),
            NeighborPolicy::None => Some(false),
            NeighborPolicy::Probe => self.probed.get(&(interface, address)).copied(),
        }
    }

    /// The live routes of a kernel table; its gateways become adjacencies.
    fn kernel_table(&self, table: u32, builder: &mut FibBuilder) -> Vec<(Prefix, Resolved)> {
        let mut routes: BTreeMap<(u8, Prefix), Resolved> = BTreeMap::new();
        for ((_, prefix, _), action) in self.table_routes(table) {
            let key = (prefix.length(), *prefix);
            // In the order of preference, so the first that can forward is the one.
            if !is_scoped(prefix)
                && !routes.contains_key(&key)
                && let Some(resolved) = self.resolve(action)
            {
                self.add_gateways(&resolved, builder);
                routes.insert(key, resolved);
            }
        }
        routes.into_iter().map(|((_, prefix), resolved)| (prefix, resolved)).collect()
    }

    /// The routes of a table by prefix and metric; those of equal metric in the kernel's order.
    pub(super) fn table_routes(
        &self,
        table: u32,
    ) -> impl Iterator<Item = (&RouteKey, &RouteAction)> {
        let everything = Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0).expect("0 is a length");
        let first = (table, everything, 0);
        self.routes
            .range(first..)
            .take_while(move |(key, _)| key.0 == table)
            .flat_map(|(key, actions)| actions.iter().map(move |action| (key, action)))
    }

    /// What a route comes to now; `None` if none of its next hops can be used.
    fn resolve(&self, action: &RouteAction) -> Option<Resolved> {
        let hops = match action {
            RouteAction::Drop => return Some(Resolved::Entry(Entry::Drop)),
            RouteAction::Throw => return Some(Resolved::Throw),
            RouteAction::Forward(hops) => hops,
        };
        let live: Vec<&NextHop> = hops.iter().filter(|hop| self.is_live(hop.interface)).collect();
        let via: Vec<Hop> = live
            .iter()
            .filter_map(|hop| {
                let port = self.port_of(hop.interface)?;
                Some(Hop { port, gateway: hop.gateway?, weight: hop.weight })
            })
            .collect();
        if live.is_empty() {
            return None;
        }
        if !via.is_empty() {
            return Some(Resolved::Via(via));
        }
        let mut on_link = live.iter().filter(|hop| hop.gateway.is_none());
        let port = on_link.find_map(|hop| self.port_of(hop.interface));
        // Links that are up but no ports of ours: the kernel's route leads there all the same.
        Some(Resolved::Entry(port.map_or(Entry::PortDown, Entry::OnLink)))
    }

    /// Whether a route decides about its prefix now.
    pub(super) fn can_forward(&self, action: &RouteAction) -> bool {
        self.resolve(action).is_some()
    }

    fn is_live(&self, interface: InterfaceIndex) -> bool {
        self.links.get(&interface).is_some_and(is_up)
    }

    fn add_gateways(&self, resolved: &Resolved, builder: &mut FibBuilder) {
        let Resolved::Via(hops) = resolved else { return };
        for hop in hops {
            if let Some(interface) = self.ports[usize::from(hop.port)] {
                self.add_adjacency(interface, hop.gateway, builder);
            }
        }
    }

    /// Routes that cannot forward now say so, below everything else.
    fn add_dead_routes(&self, builder: &mut FibBuilder) {
        let mut dead: Vec<Prefix> = Vec::new();
        for table in &self.settings.kernel_tables {
            let routes = self.table_routes(*table);
            let routes = routes.filter(|(key, _)| !is_scoped(&key.1));
            dead.extend(routes.filter(|(_, a)| self.resolve(a).is_none()).map(|(key, _)| key.1));
        }
        let statics = self.settings.static_routes.iter();
        let down = statics.filter(|route| self.resolve_static(&route.target).is_none());
        dead.extend(down.map(|route| route.prefix));
        dead.sort_by_key(Prefix::length);
        for prefix in dead {
            builder.route(prefix, Entry::PortDown);
        }
    }

    fn static_table(&self) -> Vec<(Prefix, Resolved)> {
        let routes = self.settings.static_routes.iter();
        let live = routes.filter_map(|r| Some((r.prefix, self.resolve_static(&r.target)?)));
        let mut table: Vec<_> = live.collect();
        table.sort_by_key(|(prefix, _)| prefix.length());
        table
    }

    /// What a static route comes to now; `None` if its link cannot be used.
    pub(super) fn resolve_static(&self, target: &StaticTarget) -> Option<Resolved> {
        let hop = |interface, gateway| {
            self.resolve(&RouteAction::Forward(vec![NextHop { interface, gateway, weight: 1 }]))
        };
        match target {
            StaticTarget::Drop => Some(Resolved::Entry(Entry::Drop)),
            StaticTarget::Tunnel(_) => Some(Resolved::Entry(Entry::TunnelDown)),
            StaticTarget::Interface(name) => {
                hop(self.links.values().find(|link| link.name == *name)?.index, None)
            }
            StaticTarget::Via(gateway) => hop(self.link_towards(*gateway)?, Some(*gateway)),
        }
    }

    /// The link on whose subnet an address lies.
    pub(super) fn link_towards(&self, address: IpAddr) -> Option<InterfaceIndex> {
        let near = self
            .addresses
            .values()
            .filter(|own| subnet(own).is_some_and(|subnet| subnet.contains(address)));
        let best = near.max_by_key(|own| (self.is_live(own.interface), own.prefix_length));
        best.map(|own| own.interface)
    }

    fn add_own_addresses(&self, builder: &mut FibBuilder) {
        builder.begin_table(false);
        for own in self.addresses.values() {
            let all_ones = subnet(own).and_then(last_address);
            for broadcast in [all_ones, own.broadcast].into_iter().flatten() {
                builder.route(Prefix::host(broadcast.into()), Entry::Bad);
            }
        }
        for own in self.addresses.values() {
            let link = self.links.get(&own.interface);
            if link.is_some_and(|link| link.admin_up) && !is_scoped(&Prefix::host(own.address)) {
                builder.route(Prefix::host(own.address), Entry::Local);
            }
        }
    }
}

/// Whether the addresses of a prefix are link-local IPv6 ones, which no table can hold, as every
/// link has them.
fn is_scoped(prefix: &Prefix) -> bool {
    prefix.address().is_ipv6() && is_link_local(prefix.address())
}

/// The subnet of an own address: on a point-to-point link the other end's.
fn subnet(own: &Address) -> Option<Prefix> {
    Prefix::new(own.peer.unwrap_or(own.address), own.prefix_length)
}

/// The broadcast address of an IPv4 subnet; subnets of one or two addresses have none (RFC 3021).
fn last_address(subnet: Prefix) -> Option<Ipv4Addr> {
    match subnet.address() {
        IpAddr::V4(first) if subnet.length() < 31 => {
            Some(Ipv4Addr::from_bits(first.to_bits() | !mask_v4(subnet.length())))
        }
        _ => None,
    }
}

fn add_table(builder: &mut FibBuilder, table: Vec<(Prefix, Resolved)>) {
    builder.begin_table(table.iter().any(|(_, resolved)| matches!(resolved, Resolved::Throw)));
    for (prefix, resolved) in table {
        match resolved {
            Resolved::Entry(entry) => builder.route(prefix, entry),
            Resolved::Via(hops) => builder.route_via(prefix, hops),
            Resolved::Throw => builder.throw(prefix),
        }
    }
}

/// Whether a link can carry packets now.
pub(super) fn is_up(link: &Link) -> bool {
    link.admin_up && link.carrier
}

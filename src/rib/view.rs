//! What `show routes` and `show neighbors` print.

use std::net::IpAddr;

use super::*;

/// A next hop of a route, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// The destinations.
    pub prefix: Prefix,
    /// The gateway, if there is one.
    pub via: Option<IpAddr>,
    /// The interface's name, if the route has one.
    pub interface: Option<String>,
    /// The tunnel's name, if the route has one.
    pub tunnel: Option<String>,
    /// `static`, or `kernel:TABLE`.
    pub source: String,
    /// The kernel's metric; 0 for static routes.
    pub metric: u32,
    /// What else there is to say: `drop`, `throw`, `down`.
    pub state: Option<&'static str>,
}

/// A neighbor, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborView {
    /// Its IP address.
    pub address: IpAddr,
    /// The interface's name.
    pub interface: String,
    /// Its link-layer address, where known.
    pub link_address: Option<LinkAddress>,
    /// The kernel's state of it.
    pub state: NeighborState,
    /// Whether it handles Xcast packets, as far as that is known.
    pub capable: Option<bool>,
    /// Whether that is configured.
    pub pinned: bool,
}

impl Rib {
    /// All routes, in the order in which they are consulted.
    pub fn routes(&self) -> Vec<RouteView> {
        let mut views: Vec<RouteView> =
            self.settings.static_routes.iter().map(|route| self.static_view(route)).collect();
        views.extend(
            self.learnt_routes().iter().map(|route| RouteView {
                source: "backbone".to_owned(),
                ..self.static_view(route)
            }),
        );
        for table in &self.settings.kernel_tables {
            for (prefix, metric, action) in self.tables.get(table).iter().flat_map(|t| t.iter()) {
                let action = self.actions.action(action);
                let views_of =
                    action.map(|action| self.kernel_views(*table, prefix, metric, action));
                views.extend(views_of.into_iter().flatten());
            }
        }
        views
    }

    /// How many [`routes`](Rib::routes) there are.
    pub fn route_count(&self) -> usize {
        let hops = |action: &RouteAction| match action {
            RouteAction::Forward(hops) => hops.len(),
            RouteAction::Drop | RouteAction::Throw => 1,
        };
        let of_table = |table| self.tables.get(table).into_iter().flat_map(|routes| routes.iter());
        let kernel = self.settings.kernel_tables.iter().flat_map(of_table);
        let kernel = kernel.filter_map(|(_, _, action)| self.actions.action(action)).map(hops);
        self.settings.static_routes.len() + self.tunnels.near().count() + kernel.sum::<usize>()
    }

    fn static_view(&self, route: &StaticRoute) -> RouteView {
        let mut view = RouteView {
            prefix: route.prefix,
            via: None,
            interface: None,
            tunnel: None,
            source: "static".to_owned(),
            metric: 0,
            state: None,
        };
        match &route.target {
            StaticTarget::Drop => view.state = Some("drop"),
            StaticTarget::Tunnel(name) => {
                view.tunnel = Some(name.clone());
                let hop = self.tunnel_index(name).and_then(|index| self.hop_into(index, 1));
                view.via = hop.map(|hop| hop.gateway);
                view.state = hop.is_none().then_some("down");
            }
            StaticTarget::Interface(name) => {
                let link = self.links.values().find(|link| link.name == *name);
                view.interface = Some(name.clone());
                view.state = self.hop_state(link.map(|link| link.index));
            }
            StaticTarget::Via(gateway) => {
                let link = self.link_towards(*gateway);
                view.via = Some(*gateway);
                view.interface = link.and_then(|link| self.link_name(link));
                view.state = self.hop_state(link);
            }
        }
        view
    }

    fn kernel_views(
        &self,
        table: u32,
        prefix: Prefix,
        metric: u32,
        action: &RouteAction,
    ) -> Vec<RouteView> {
        let view = RouteView {
            prefix,
            via: None,
            interface: None,
            tunnel: None,
            source: format!("kernel:{table}"),
            metric,
            state: None,
        };
        match action {
            RouteAction::Drop => vec![RouteView { state: Some("drop"), ..view }],
            RouteAction::Throw => vec![RouteView { state: Some("throw"), ..view }],
            RouteAction::Forward(hops) => hops
                .iter()
                .map(|hop| RouteView {
                    via: hop.gateway,
                    interface: self.link_name(hop.interface),
                    tunnel: self
                        .tunnel_of(hop.interface)
                        .and_then(|tunnel| self.tunnel_name(tunnel)),
                    state: self.hop_state(Some(hop.interface)),
                    ..view.clone()
                })
                .collect(),
        }
    }

    /// `down` where a next hop on that link cannot be used.
    fn hop_state(&self, link: Option<InterfaceIndex>) -> Option<&'static str> {
        let usable = link.is_some_and(|link| self.is_live(link));
        (!usable).then_some("down")
    }

    /// All neighbors on ports, by interface and address.
    pub fn neighbors(&self) -> Vec<NeighborView> {
        let on_ports = self.neighbors.values().filter(|n| self.port_of(n.interface).is_some());
        on_ports
            .map(|neighbor| NeighborView {
                address: neighbor.address,
                interface: self.link_name(neighbor.interface).unwrap_or_default(),
                link_address: neighbor.link_address,
                state: neighbor.state,
                capable: self.is_capable(neighbor.interface, neighbor.address),
                pinned: self.settings.pins.contains_key(&neighbor.address),
            })
            .collect()
    }

    /// The interfaces that are configured as ports; none if all are to be.
    pub fn listed_ports(&self) -> impl Iterator<Item = &String> {
        let listed = match &self.settings.ports {
            PortPolicy::Listed(listed) => Some(listed.keys()),
            PortPolicy::All(_) => None,
        };
        listed.into_iter().flatten()
    }

    /// Interfaces that are configured as ports and do not exist, or cannot be ports.
    pub fn missing_ports(&self) -> Vec<String> {
        let PortPolicy::Listed(listed) = &self.settings.ports else {
            return Vec::new();
        };
        let links = || self.links.values().filter(|link| self.settings.is_port(link));
        listed.keys().filter(|name| !links().any(|link| link.name == **name)).cloned().collect()
    }

    /// The smallest MTU of the links that are ports and are up, in octets; 0 where there are none.
    pub fn narrowest_port(&self) -> u32 {
        let up = self.links.values().filter(|link| resolve::is_up(link));
        let ports = up.filter(|link| self.settings.is_port(link));
        ports.map(|link| link.mtu).min().unwrap_or(0)
    }

    /// Whether a link is the loopback.
    pub fn is_loopback(&self, interface: InterfaceIndex) -> bool {
        self.links.get(&interface).is_some_and(|link| link.kind == LinkKind::Loopback)
    }

    /// Whether a neighbor is to be asked whether it handles Xcast: its link is a port that is up
    /// and asks, and the answer is not configured.
    pub fn is_asked(&self, interface: InterfaceIndex, address: IpAddr) -> bool {
        let link = self.links.get(&interface).filter(|link| resolve::is_up(link));
        let settings = link.and_then(|link| self.settings.port(link));
        settings.is_some_and(|settings| settings.neighbors == NeighborPolicy::Probe)
            && !self.settings.pins.contains_key(&address)
    }

    /// Neighbors in use whose confirmation the kernel has let lapse.
    pub fn stale(&self) -> impl Iterator<Item = (InterfaceIndex, IpAddr)> + '_ {
        let stale = self.neighbors.values().filter(|n| n.state == NeighborState::Stale);
        stale.map(|neighbor| (neighbor.interface, neighbor.address))
    }

    /// The addresses of this node.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.values().map(|own| own.address)
    }

    /// The kernel's state of a neighbor, if it has one.
    pub fn neighbor_state(
        &self,
        interface: InterfaceIndex,
        address: IpAddr,
    ) -> Option<NeighborState> {
        self.neighbors.get(&(interface, address)).map(|neighbor| neighbor.state)
    }

    /// The prefix of the route that decides about an address: of the first table that has one
    /// for it (a `throw` is none), the longest.
    pub fn matched_prefix(&self, address: IpAddr) -> Option<Prefix> {
        let of_table = |table: &u32| {
            let routes = self.tables.get(table)?;
            let longest = Prefix::host(address).length();
            let prefixes = (0..=longest).rev().filter_map(|l| Prefix::new(address, l));
            // The first of them is the one in use.
            let live = prefixes.filter_map(|prefix| {
                let actions = routes.of(prefix).filter_map(|(_, id)| self.actions.action(id));
                let resolved = actions.filter_map(|action| self.resolve(action));
                let resolved = resolved.filter(|r| !matches!(r, resolve::Resolved::TunnelDown));
                Some((prefix, resolved.into_iter().next()?))
            });
            let (prefix, resolved) = live.into_iter().next()?;
            (!matches!(resolved, resolve::Resolved::Throw)).then_some(prefix)
        };
        let learnt = self.learnt_routes();
        let statics = self.settings.static_routes.iter().chain(&learnt);
        let holding = statics.filter(|route| route.prefix.contains(address));
        let live = holding.filter(|route| match self.resolve_static(&route.target) {
            None | Some(resolve::Resolved::TunnelDown) => false,
            Some(_) => true,
        });
        let longest = live.map(|route| route.prefix).max_by_key(Prefix::length);
        longest.or_else(|| self.settings.kernel_tables.iter().find_map(of_table))
    }

    fn tunnel_name(&self, index: InterfaceIndex) -> Option<String> {
        self.tunnel_port(index).map(|port| port.name)
    }

    fn link_name(&self, interface: InterfaceIndex) -> Option<String> {
        self.links.get(&interface).map(|link| link.name.clone())
    }
}

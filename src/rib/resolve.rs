//! What is wanted, against what can be used now: next hops on links that are up, neighbors that can
//! be sent to.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::fib::{Capability, Entry, Hop, Port, is_link_local, mask_v4};

/// What a route comes to.
pub(super) enum Resolved {
    Entry(Entry),
    Via(Vec<Hop>),
    Throw,
    /// It cannot be followed, as its tunnel is down.
    TunnelDown,
}

/// What something resolved is to the compiler, wanted once more.
pub(super) fn outcome(resolved: Option<Resolved>, compiler: &mut Compiler) -> Outcome {
    match resolved {
        None => Outcome::Dead,
        Some(Resolved::TunnelDown) => Outcome::DeadTunnel,
        Some(Resolved::Throw) => Outcome::Throw,
        Some(Resolved::Entry(entry)) => Outcome::To(compiler.entry(entry)),
        Some(Resolved::Via(hops)) => Outcome::To(compiler.group(hops)),
    }
}

impl Rib {
    pub(super) fn port(&self, slot: usize) -> Option<Port> {
        let index = self.ports[slot]?;
        if self.tunnels.contains(index) {
            return self.tunnel_port(index);
        }
        let link = self.links.get(&index)?;
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
            tunnel: None,
        })
    }

    /// The addresses of this node on a link.
    fn addresses_on(&self, interface: InterfaceIndex) -> impl Iterator<Item = IpAddr> + '_ {
        let own = self.addresses.values().filter(move |own| own.interface == interface);
        own.map(|own| own.address)
    }

    pub(super) fn capability(&self, interface: InterfaceIndex, address: IpAddr) -> Capability {
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

    /// What a route comes to now; `None` if none of its next hops can be used.
    pub(super) fn resolve(&self, action: &RouteAction) -> Option<Resolved> {
        let hops = match action {
            RouteAction::Drop => return Some(Resolved::Entry(Entry::Drop)),
            RouteAction::Throw => return Some(Resolved::Throw),
            RouteAction::Forward(hops) => hops,
        };
        let live: Vec<&NextHop> = hops.iter().filter(|hop| self.is_live(hop.interface)).collect();
        let hop = |hop: &&NextHop| match self.tunnel_of(hop.interface) {
            Some(tunnel) => self.hop_into(tunnel, hop.weight),
            None => {
                let port = self.port_of(hop.interface)?;
                Some(Hop { port, gateway: hop.gateway?, weight: hop.weight })
            }
        };
        let via: Vec<Hop> = live.iter().filter_map(hop).collect();
        if live.is_empty() {
            let into_tunnel = hops.iter().any(|hop| self.tunnel_of(hop.interface).is_some());
            return into_tunnel.then_some(Resolved::TunnelDown);
        }
        if !via.is_empty() {
            return Some(Resolved::Via(via));
        }
        let mut on_link = live.iter().filter(|hop| hop.gateway.is_none());
        let port = on_link.find_map(|hop| self.port_of(hop.interface));
        // Links that are up but no ports of ours: the kernel's route leads there all the same.
        Some(Resolved::Entry(port.map_or(Entry::PortDown, Entry::OnLink)))
    }

    pub(super) fn is_live(&self, interface: InterfaceIndex) -> bool {
        // A TUN device is up when somebody has set it up, which its tunnel does not need.
        match self.tunnel_of(interface) {
            Some(tunnel) => self.hop_into(tunnel, 1).is_some(),
            None => self.links.get(&interface).is_some_and(is_up),
        }
    }

    /// What a static route comes to now; `None` if its link cannot be used.
    pub(super) fn resolve_static(&self, target: &StaticTarget) -> Option<Resolved> {
        let hop = |interface, gateway| {
            self.resolve(&RouteAction::Forward(vec![NextHop { interface, gateway, weight: 1 }]))
        };
        match target {
            StaticTarget::Drop => Some(Resolved::Entry(Entry::Drop)),
            StaticTarget::Tunnel(name) => {
                let hop = self.tunnel_index(name).and_then(|index| self.hop_into(index, 1));
                Some(hop.map_or(Resolved::TunnelDown, |hop| Resolved::Via(vec![hop])))
            }
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
}

/// Whether the addresses of a prefix are link-local IPv6 ones, which no table can hold, as every
/// link has them.
pub(super) fn is_scoped(prefix: &Prefix) -> bool {
    prefix.length() >= 10 && prefix.address().is_ipv6() && is_link_local(prefix.address())
}

/// The subnet of an own address: on a point-to-point link the other end's.
pub(super) fn subnet(own: &Address) -> Option<Prefix> {
    Prefix::new(own.peer.unwrap_or(own.address), own.prefix_length)
}

/// The broadcast address of an IPv4 subnet; subnets of one or two addresses have none (RFC 3021).
pub(super) fn last_address(subnet: Prefix) -> Option<Ipv4Addr> {
    match subnet.address() {
        IpAddr::V4(first) if subnet.length() < 31 => {
            Some(Ipv4Addr::from_bits(first.to_bits() | !mask_v4(subnet.length())))
        }
        _ => None,
    }
}

/// Whether a link can carry packets now.
pub(super) fn is_up(link: &Link) -> bool {
    link.admin_up && link.carrier
}

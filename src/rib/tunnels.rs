//! Tunnels: ports without an interface of the kernel (WIRE.md "Tunnels").
//!
//! Each has a number of its own in place of an interface's index. Where the operator gives it a TUN
//! device, the kernel's routes through that device lead into the tunnel.

use std::collections::BTreeMap;

use super::*;
use crate::fib::{Hop, Port, ReversePath, Tunnel};

/// Numbers of tunnels begin here: the kernel's indices are positive `int`s.
const FIRST: InterfaceIndex = 1 << 31;

/// A tunnel, as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelEnds {
    /// Its name.
    pub name: String,
    /// Its two ends.
    pub tunnel: Tunnel,
    /// The TUN device that stands for it, if it has one.
    pub interface: Option<String>,
    /// How often that device was made: another one is to be opened.
    pub opened: u32,
    /// Nobody but what it is near to may send out of it.
    pub strict: bool,
    /// What the other end says it is near to: routed into the tunnel behind static routes.
    pub near: Vec<Prefix>,
    /// Of tunnels whose ends are near to the same, that with the greatest one is taken.
    pub preference: u64,
}

/// Whether a tunnel can be used now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelState {
    /// Its other end is there, as far as is known.
    pub up: bool,
    /// The largest packet that it carries, in octets.
    pub mtu: u32,
}

#[derive(Default)]
pub(super) struct Tunnels {
    /// By number.
    each: BTreeMap<InterfaceIndex, Known>,
    /// How many there were so far.
    count: u32,
}

struct Known {
    ends: TunnelEnds,
    /// Grows when its ends change, so that nothing is sent to the old ones.
    instance: u64,
    state: TunnelState,
}

impl Rib {
    /// Replaces all tunnels. One whose name stays keeps its port and its state; a new one is down
    /// until it is [said](Rib::set_tunnel_state) to be up.
    pub fn set_tunnels(&mut self, wanted: Vec<TunnelEnds>) {
        let Tunnels { each, count } = &mut self.tunnels;
        let mut wanted: BTreeMap<String, TunnelEnds> =
            wanted.into_iter().map(|ends| (ends.name.clone(), ends)).collect();
        each.retain(|_, known| {
            let Some(ends) = wanted.remove(&known.ends.name) else { return false };
            let opening = |ends: &TunnelEnds| (ends.tunnel, ends.interface.clone(), ends.opened);
            known.instance += u64::from(opening(&known.ends) != opening(&ends));
            known.ends = ends;
            true
        });
        for ends in wanted.into_values() {
            let state = TunnelState::default();
            each.insert(FIRST + *count, Known { ends, instance: 0, state });
            *count += 1;
        }
        self.assign_ports();
        self.stale = true;
    }

    /// Takes over whether a tunnel can be used. Returns whether a new Fib is worth compiling.
    pub fn set_tunnel_state(&mut self, name: &str, state: TunnelState) -> bool {
        let known = self.tunnels.each.values_mut().find(|known| known.ends.name == name);
        let Some(known) = known.filter(|known| known.state != state) else { return false };
        known.state = state;
        self.stale = true;
        true
    }

    /// The number that stands for a tunnel where interfaces have their index.
    pub fn tunnel_index(&self, name: &str) -> Option<InterfaceIndex> {
        self.tunnels.find(|known| known.ends.name == name)
    }

    pub(super) fn tunnel_port(&self, index: InterfaceIndex) -> Option<Port> {
        let Known { ends, instance, state } = self.tunnels.each.get(&index)?;
        Some(Port {
            interface: index,
            instance: *instance,
            name: ends.name.clone(),
            mtu: state.mtu,
            link_address: [0; 6],
            addresses: Some(ends.tunnel.local.ip())
                .filter(|own| !own.is_unspecified())
                .into_iter()
                .collect(),
            up: state.up,
            reverse_path: if ends.strict { ReversePath::Strict } else { ReversePath::Loose },
            accept_group_frames: false,
            tunnel: Some(ends.tunnel),
        })
    }

    /// The tunnel that a link stands for, if it is one's TUN device.
    pub(super) fn tunnel_of(&self, link: InterfaceIndex) -> Option<InterfaceIndex> {
        if self.tunnels.each.is_empty() {
            return None;
        }
        let name = &self.links.get(&link)?.name;
        self.tunnels.find(|known| known.ends.interface.as_ref() == Some(name))
    }

    /// The way into a tunnel that is up: to its other end, whatever gateway a route names.
    pub(super) fn hop_into(&self, index: InterfaceIndex, weight: u16) -> Option<Hop> {
        let known = self.tunnels.each.get(&index).filter(|known| known.state.up)?;
        let port = self.port_of(index)?;
        Some(Hop { port, gateway: known.ends.tunnel.remote.ip(), weight })
    }
}

impl Tunnels {
    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = InterfaceIndex> + '_ {
        self.each.keys().copied()
    }

    pub(super) fn contains(&self, index: InterfaceIndex) -> bool {
        self.each.contains_key(&index)
    }

    /// All of them: the number, and the other end.
    pub(super) fn remotes(&self) -> impl Iterator<Item = (InterfaceIndex, IpAddr)> + '_ {
        self.each.iter().map(|(index, known)| (*index, known.ends.tunnel.remote.ip()))
    }

    /// What the other ends are near to, with the tunnels' names; of equal ones the last counts.
    pub(super) fn near(&self) -> impl Iterator<Item = (Prefix, &str)> {
        let mut all: Vec<&TunnelEnds> = self.each.values().map(|known| &known.ends).collect();
        all.sort_by_key(|ends| ends.preference);
        all.into_iter()
            .flat_map(|ends| ends.near.iter().map(|prefix| (*prefix, ends.name.as_str())))
    }

    fn find(&self, is: impl Fn(&Known) -> bool) -> Option<InterfaceIndex> {
        self.each.iter().find(|(_, known)| is(known)).map(|(index, _)| *index)
    }
}

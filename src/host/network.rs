//! The kernel's network as a host sees it: the same Rib and Fib as a router's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use super::{HostError, Probing};
use crate::fib::{Fib, PortId, Prefix, Tunnel};
use crate::kernel::Mirror;
use crate::rib::{InterfaceIndex, Rib, Settings, TunnelEnds, TunnelState};
use crate::wire::tunnel::Encapsulation;

/// Routes, neighbors and addresses, followed as they change.
pub struct Network {
    pub(super) mirror: Mirror,
    pub(super) rib: Rib,
    fib: Fib,
}

impl Network {
    /// Learns the kernel's state.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(settings: Settings) -> Result<Network, HostError> {
        let mut mirror = Mirror::open()?;
        let mut rib = Rib::new(settings);
        let mut changes = Vec::new();
        mirror.synchronize(&mut changes)?;
        for change in changes {
            rib.apply(change);
        }
        let fib = rib.compile();
        Ok(Network { mirror, rib, fib })
    }

    /// Has lists of a service address's IP version sent there, as into a tunnel of kind `anycast`.
    pub(super) fn send_to_service(&mut self, service: IpAddr) {
        const NAME: &str = "service";
        let any: IpAddr = match service {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let (local, remote) = (SocketAddr::new(any, 0), SocketAddr::new(service, 0));
        self.rib.set_tunnels(vec![TunnelEnds {
            name: NAME.to_owned(),
            tunnel: Tunnel { encapsulation: Encapsulation::Anycast, local, remote, keyed: false },
            interface: None,
            near: Prefix::new(any, 0).into_iter().collect(),
            preference: 0,
            opened: 0,
            strict: false,
        }]);
        let mtu = self.rib.narrowest_port();
        self.rib.set_tunnel_state(NAME, TunnelState { up: true, mtu });
        self.recompile();
    }

    /// Has lists sent to the first of their destinations, who send on to the others.
    pub(super) fn send_among_hosts(&mut self) {
        const NAME: &str = "hosts";
        let any = |any: IpAddr| SocketAddr::new(any, 0);
        let end = any(Ipv6Addr::UNSPECIFIED.into());
        let all = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let encapsulation = Encapsulation::Hosts;
        self.rib.set_tunnels(vec![TunnelEnds {
            name: NAME.to_owned(),
            tunnel: Tunnel { encapsulation, local: end, remote: end, keyed: false },
            interface: None,
            near: all.into_iter().filter_map(|any| Prefix::new(any, 0)).collect(),
            preference: 0,
            opened: 0,
            strict: false,
        }]);
        let overhead = encapsulation.overhead(end.ip());
        let mtu = self.rib.narrowest_port().saturating_sub(overhead);
        self.rib.set_tunnel_state(NAME, TunnelState { up: true, mtu });
        self.recompile();
    }

    /// What can forward now.
    pub fn fib(&self) -> &Fib {
        &self.fib
    }

    /// Whether an interface is the loopback.
    pub(super) fn is_loopback(&self, interface: InterfaceIndex) -> bool {
        self.rib.is_loopback(interface)
    }

    /// Takes up what has changed, without waiting; returns whether the Fib is another.
    ///
    /// # Errors
    /// The kernel cannot be followed for a moment; what was read before holds.
    pub fn follow(&mut self) -> Result<bool, HostError> {
        let mut changes = Vec::new();
        let followed = self.mirror.poll(Instant::now(), &mut changes);
        let changed = changes.into_iter().fold(false, |any, change| self.rib.apply(change) | any);
        if changed {
            self.recompile();
        }
        followed?;
        Ok(changed)
    }

    fn recompile(&mut self) {
        self.fib = self.rib.compile();
    }

    /// Lets probes do what is due; returns whether the Fib is another.
    pub(super) fn probe(
        &mut self,
        probing: &mut Probing,
        emit: impl FnMut(PortId, Vec<u8>),
    ) -> bool {
        let learnt = probing.act(&self.fib, &mut self.rib, emit);
        if learnt {
            self.recompile();
        }
        learnt
    }

    pub(super) fn resolve(
        &mut self,
        interface: InterfaceIndex,
        address: IpAddr,
    ) -> Result<(), HostError> {
        Ok(self.mirror.resolve(interface, address)?)
    }
}

impl AsRawFd for Network {
    /// Readable when something may have changed.
    fn as_raw_fd(&self) -> RawFd {
        self.mirror.as_raw_fd()
    }
}

//! One tunnel: its ends, its TUN device, and whether and how well it can be used.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use router_config::TunnelKind;

use super::{MTU_MIN, TUN};
use crate::backbone::peers::{EndId, EndView, Role};
use crate::backbone::{Event, Liveness};
use crate::control;
use crate::fib::{NO_LINK, Tunnel};
use crate::forward::Time;
use crate::io::tun::Tun;
use crate::io::tunnel::{TunnelSockets, path_mtu};
use crate::rib::{Rib, TunnelEnds, TunnelState};
use crate::wire::tunnel::Encapsulation;
use crate::wire::{CodePoints, probe};

/// Places of troubles.
const SOCKET: usize = 0;
const DEVICE: usize = 1;
const PATH: usize = 2;

pub(super) struct Each {
    pub(super) ends: TunnelEnds,
    /// The ends as they were configured, or found at first: a keyed one may move.
    pub(super) configured: Tunnel,
    pub(super) device: Option<Tun>,
    health: Health,
    /// Why there is no socket, no device or no path, if so.
    troubles: [Option<String>; 3],
    /// In octets; 0: there is no way to the other end.
    mtu: u32,
    /// The state that the Rib was told last.
    told: Option<TunnelState>,
    /// The other end when the path to it was looked at last.
    seen: Option<SocketAddr>,
}

/// Whether the other end is there.
enum Health {
    /// It is asked by Xcast probes through the tunnel (WIRE.md R9). One that has never answered may be
    /// there all the same: it is configured.
    Probed { liveness: Box<Liveness>, proven: bool },
    /// It has a key, and says so itself.
    Keyed(Option<Box<EndView>>),
    /// There is none: packets leave by the routes of unicast.
    Native,
}

impl Each {
    /// A tunnel whose end has no key.
    pub(super) fn probed(ends: TunnelEnds, now: Time) -> Each {
        let mut liveness = Box::new(Liveness::new(0));
        liveness.start(now);
        Each { health: Health::Probed { liveness, proven: false }, ..Each::found(ends) }
    }

    /// A tunnel whose packets leave by the routes of unicast.
    pub(super) fn native(ends: TunnelEnds) -> Each {
        Each { health: Health::Native, ..Each::found(ends) }
    }

    /// A tunnel whose end is known by its key, configured or not, and not heard of yet.
    pub(super) fn found(ends: TunnelEnds) -> Each {
        let (configured, troubles) = (ends.tunnel, [const { None }; 3]);
        Each {
            ends,
            configured,
            device: None,
            health: Health::Keyed(None),
            troubles,
            mtu: 0,
            told: None,
            seen: None,
        }
    }

    /// Makes the TUN device that it is to have and has not; returns whether it has a new one. Another
    /// process, or a tunnel that was, may have the name still.
    pub(super) fn open_device(&mut self, registry: &Registry) -> bool {
        let Some(name) = self.ends.interface.as_deref().filter(|_| self.device.is_none()) else {
            return false;
        };
        match open_device(name, registry) {
            Ok(device) => {
                self.troubles[DEVICE] = None;
                // It has an MTU of its own, and a carrier.
                (self.device, self.seen, self.told) = (Some(device), None, None);
                self.mtu = 0;
                self.ends.opened += 1;
                true
            }
            Err(error) => {
                if self.troubles[DEVICE].is_none() {
                    tracing::warn!(interface = name, %error, "cannot make the tunnel's TUN device");
                }
                self.troubles[DEVICE] = Some(format!("no TUN device {name}: {error}"));
                false
            }
        }
    }

    /// Takes its TUN device from among those of tunnels that are gone.
    pub(super) fn inherit(&mut self, devices: &mut Vec<Tun>) {
        let wanted = self.ends.interface.as_deref();
        let at = devices.iter().position(|device| Some(device.name()) == wanted);
        self.device = at.map(|at| devices.swap_remove(at));
    }

    /// Whether it is still what is configured: these ends, by this device.
    pub(super) fn stays(&self, ends: &TunnelEnds) -> bool {
        ends.interface == self.ends.interface && ends.tunnel == self.configured
    }

    /// Whether the path to where the other end is now was not looked at yet.
    pub(super) fn is_unseen(&self) -> bool {
        self.seen != Some(self.ends.tunnel.remote)
    }

    /// What it carries; 0 where there is no way to the other end.
    pub(super) fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Whether it leads to this end of the backbone.
    pub(super) fn is_end(&self, id: EndId) -> bool {
        matches!(&self.health, Health::Keyed(Some(view)) if view.id == id)
    }

    /// Takes over what is known of a keyed end: where it is, and what it is near to.
    pub(super) fn follow(&mut self, view: Option<&EndView>) {
        self.health = Health::Keyed(view.cloned().map(Box::new));
        let Some(view) = view else { return self.ends.near.clear() };
        self.ends.tunnel.remote = view.address;
        self.ends.near = match view.role {
            Role::Relay => view.prefixes.clone(),
            Role::Host => view.lease.map(crate::fib::Prefix::host).into_iter().collect(),
        };
        // Of two that are near to the same, the one that answers faster comes last, and counts.
        self.ends.preference = u64::MAX - view.rtt.unwrap_or(u64::MAX);
    }

    fn state(&self) -> TunnelState {
        let may_be_there = match &self.health {
            Health::Probed { liveness, proven } => !proven || liveness.is_up(),
            Health::Keyed(view) => view.is_some(),
            Health::Native => true,
        };
        let can_send = self.troubles[SOCKET].is_none() && self.mtu > 0;
        TunnelState { up: can_send && may_be_there, mtu: self.mtu }
    }

    /// Takes over how well a keyed end answers now.
    pub(super) fn measured(&mut self, now: EndView) {
        if let Health::Keyed(Some(view)) = &mut self.health {
            (view.rtt, view.loss) = (now.rtt, now.loss);
        }
    }

    /// The state, if the Rib does not know it.
    pub(super) fn news(&mut self) -> Option<TunnelState> {
        let state = self.state();
        (self.told.replace(state) != Some(state)).then_some(state)
    }

    /// Whether it is known to be there, or will not be.
    pub(super) fn is_settled(&self) -> bool {
        let there = match &self.health {
            Health::Probed { liveness, .. } => liveness.is_up(),
            Health::Keyed(view) => view.is_some(),
            Health::Native => true,
        };
        there || self.troubles.iter().any(Option::is_some)
    }

    /// The frame of the probe that is due, if one is.
    pub(super) fn poll_probe(
        &mut self,
        points: &CodePoints,
        secret: u64,
        now: Time,
    ) -> Option<Vec<u8>> {
        let Health::Probed { liveness, proven } = &mut self.health else { return None };
        let number = liveness.poll_send(now);
        while let Some(event) = liveness.poll_event() {
            *proven |= event == Event::Up;
        }
        let nonce = probe::make_nonce(number?, secret);
        let own = self.ends.tunnel.local.ip();
        Some([&NO_LINK[..], &probe::packet(points, own, &nonce)].concat())
    }

    /// A probe came back.
    pub(super) fn hear(&mut self, number: u64, now: Time) {
        if let Health::Probed { liveness, .. } = &mut self.health {
            liveness.handle_answer(number, now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        match &self.health {
            Health::Probed { liveness, .. } => liveness.poll_timeout(),
            Health::Keyed(_) | Health::Native => None,
        }
    }

    /// Opens what sockets it needs, and asks the kernel what the path carries.
    pub(super) fn look_at_path(&mut self, sockets: &TunnelSockets, rib: &Rib) {
        let Tunnel { encapsulation, local, remote, .. } = self.ends.tunnel;
        self.seen = Some(remote);
        let name = &self.ends.name;
        // What is open already stays.
        let opened = sockets.open(encapsulation, remote.ip());
        if let (Err(error), None) = (&opened, &self.troubles[SOCKET]) {
            tracing::warn!(tunnel = name, %error, "cannot open the tunnel's sockets");
        }
        self.troubles[SOCKET] = opened.err().map(|error| format!("no socket: {error}"));
        let path = match encapsulation {
            // Its way is another for every packet.
            Encapsulation::SemiPermeable | Encapsulation::Hosts => Ok(rib.narrowest_port()),
            Encapsulation::Anycast if rib.addresses().any(|own| own == remote.ip()) => {
                Err(io::Error::other("it is an address of this node"))
            }
            _ => path_mtu(local.ip(), remote.ip()),
        };
        let mtu = match path {
            Ok(path) => {
                self.troubles[PATH] = None;
                path.saturating_sub(encapsulation.overhead(remote.ip())).max(MTU_MIN)
            }
            Err(error) => {
                self.troubles[PATH] = Some(no_path(local.ip(), remote.ip(), &error));
                0
            }
        };
        if mtu == self.mtu {
            return;
        }
        let remote = remote.ip();
        tracing::debug!(tunnel = name, %remote, mtu, "what the path carries has changed");
        self.mtu = mtu;
        if let Some(device) = self.device.as_ref().filter(|_| mtu > 0)
            && let Err(error) = device.set_mtu(mtu)
        {
            tracing::warn!(interface = device.name(), %error, "cannot set its MTU");
        }
    }

    /// What `show tunnels` prints.
    pub(super) fn view(&self) -> control::TunnelState {
        let Tunnel { encapsulation, local, remote, .. } = self.ends.tunnel;
        let (rtt, loss, proven) = match &self.health {
            Health::Probed { liveness, proven } => {
                (liveness.round_trip().map(|rtt| rtt.smoothed), liveness.loss(), *proven)
            }
            Health::Keyed(None) | Health::Native => (None, 0.0, true),
            Health::Keyed(Some(view)) => (view.rtt, view.loss, true),
        };
        let key = match &self.health {
            Health::Keyed(Some(view)) => Some(view.key.to_string()),
            _ => None,
        };
        control::TunnelState {
            name: self.ends.name.clone(),
            kind: match encapsulation {
                Encapsulation::Ipip => "ipip",
                Encapsulation::Udp => "udp",
                Encapsulation::SemiPermeable => "semi-permeable",
                Encapsulation::Hosts => "hosts",
                Encapsulation::Anycast => "anycast",
            }
            .to_owned(),
            local: end_text(local),
            remote: end_text(remote),
            state: match (self.state().up, proven) {
                (false, _) => "down",
                (true, true) => "up",
                (true, false) => "unproven",
            }
            .to_owned(),
            interface: self.ends.interface.clone(),
            peer_key: key,
            near: self.ends.near.iter().map(ToString::to_string).collect(),
            mtu_bytes: self.mtu,
            rtt_seconds: rtt.map(|rtt| rtt as f64 / 1e6),
            loss,
            note: self.troubles.iter().flatten().cloned().collect::<Vec<_>>().join("; "),
        }
    }
}

/// The ends of a tunnel that is configured; where its kind has none, they are unspecified.
pub(super) fn ends(tunnel: &router_config::Tunnel, udp_port: u16) -> Option<TunnelEnds> {
    let (encapsulation, port) = match tunnel.kind {
        TunnelKind::Ipip => (Encapsulation::Ipip, 0),
        TunnelKind::Udp => (Encapsulation::Udp, udp_port),
        TunnelKind::SemiPermeable => (Encapsulation::SemiPermeable, 0),
        TunnelKind::Hosts => (Encapsulation::Hosts, 0),
        TunnelKind::Anycast => (Encapsulation::Anycast, 0),
    };
    let any: IpAddr = match tunnel.remote {
        Some(IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
        Some(IpAddr::V6(_)) | None => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (local, remote) = match tunnel.kind {
        TunnelKind::Ipip | TunnelKind::Udp => (tunnel.local, tunnel.remote),
        TunnelKind::SemiPermeable | TunnelKind::Hosts => (Some(any), Some(any)),
        TunnelKind::Anycast => (Some(any), tunnel.remote),
    };
    let end = |address: Option<IpAddr>| Some(SocketAddr::new(address?, port));
    Some(TunnelEnds {
        name: tunnel.name.clone(),
        tunnel: Tunnel {
            encapsulation,
            local: end(local)?,
            remote: end(remote)?,
            keyed: tunnel.keys.is_some(),
        },
        interface: tunnel.interface.clone(),
        opened: 0,
        strict: false,
        near: Vec::new(),
        preference: 0,
    })
}

/// Makes a TUN device whose packets wake the control thread.
pub(super) fn open_device(name: &str, registry: &Registry) -> io::Result<Tun> {
    let device = Tun::open(name)?;
    let descriptor = device.as_raw_fd();
    registry.register(&mut SourceFd(&descriptor), TUN, Interest::READABLE)?;
    Ok(device)
}

fn no_path(local: IpAddr, remote: IpAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => format!("{local} is no address of this node"),
        _ => format!("no way to {remote}: {error}"),
    }
}

/// An end, with its port where it has one.
fn end_text(end: SocketAddr) -> String {
    match end.port() {
        0 if end.ip().is_unspecified() => "-".to_owned(),
        0 => end.ip().to_string(),
        _ => end.to_string(),
    }
}

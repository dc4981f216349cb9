//! Configured tunnels (RFC 5058 section 11.1): their sockets and TUN devices, whether the other end is
//! there, and what the path to it carries.
//!
//! The other end is asked by Xcast probes through the tunnel (WIRE.md R9), 5 times a second. One that has
//! never answered may do all the same: it is configured, so packets go there, and `show tunnels` says
//! `unproven`. One that has answered and does so no more is down.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};
use router_config::{Config, TunnelKind};

use crate::backbone::{Event, Liveness};
use crate::control;
use crate::fib::{Fib, NO_LINK, PortId, Tunnel};
use crate::forward::{Heard, Time};
use crate::io::tun::Tun;
use crate::io::tunnel::{TunnelSockets, path_mtu};
use crate::rib::{Rib, TunnelEnds, TunnelState};
use crate::wire::CodePoints;
use crate::wire::probe;
use crate::wire::tunnel::Encapsulation;

/// Where TUN devices are waited for.
pub(super) const TUN: Token = Token(3);
/// How often the kernel is asked what paths carry.
const MTU_INTERVAL: Duration = Duration::from_secs(1);
/// The least that is made of a path.
const MTU_MIN: u32 = 576;
/// Packets that are taken from a TUN device at once.
const TUN_BATCH: usize = 64;

/// Places of troubles.
const SOCKET: usize = 0;
const DEVICE: usize = 1;
const PATH: usize = 2;

/// The configured tunnels.
pub(super) struct Tunnels {
    sockets: Arc<TunnelSockets>,
    each: Vec<Each>,
    next_mtu: Instant,
    start: Instant,
    secret: u64,
}

struct Each {
    ends: TunnelEnds,
    kind: &'static str,
    device: Option<Tun>,
    /// Why there is no socket, no device or no path, if so.
    troubles: [Option<String>; 3],
    liveness: Liveness,
    /// It has answered, so that it is known to be able to.
    proven: bool,
    /// In octets; 0: there is no way to the other end.
    mtu: u32,
}

impl Each {
    fn state(&self) -> TunnelState {
        let may_be_there = !self.proven || self.liveness.is_up();
        let can_send = self.troubles[SOCKET].is_none() && self.mtu > 0;
        TunnelState { up: can_send && may_be_there, mtu: self.mtu }
    }
}

impl Tunnels {
    /// None yet; `alarm` wakes the control thread when a path turns out to be narrow.
    pub(super) fn new(config: &Config, alarm: &Arc<Waker>, secret: u64) -> Tunnels {
        let port = config.experiment.tunnel_port;
        Tunnels {
            sockets: Arc::new(TunnelSockets::new(port, Some(Arc::clone(alarm)))),
            each: Vec::new(),
            next_mtu: Instant::now(),
            start: Instant::now(),
            secret,
        }
    }

    pub(super) fn sockets(&self) -> &Arc<TunnelSockets> {
        &self.sockets
    }

    /// Takes up what is configured. What stays as it was goes on as it did.
    pub(super) fn configure(&mut self, config: &Config, rib: &mut Rib, registry: &Registry) {
        let mut before: BTreeMap<String, Each> =
            self.each.drain(..).map(|each| (each.ends.name.clone(), each)).collect();
        let port = config.experiment.tunnel_port;
        let wanted: Vec<_> =
            config.tunnel.iter().filter_map(|tunnel| Some((ends(tunnel, port)?, tunnel))).collect();
        // Those that are gone give up their devices before others may take the names.
        before.retain(|_, each| wanted.iter().any(|(ends, _)| *ends == each.ends));
        for (ends, tunnel) in wanted {
            let known = before.remove(&ends.name);
            let each = known.unwrap_or_else(|| self.begin(ends, tunnel.kind, registry));
            self.each.push(each);
        }
        let devices = self.each.iter().filter_map(|each| {
            let device = each.device.as_ref()?.try_clone().ok()?;
            Some((each.ends.name.clone(), device))
        });
        self.sockets.set_devices(devices.collect());
        rib.set_tunnels(self.each.iter().map(|each| each.ends.clone()).collect());
        self.next_mtu = Instant::now();
        self.look_at_paths(rib);
    }

    fn begin(&self, ends: TunnelEnds, kind: TunnelKind, registry: &Registry) -> Each {
        let mut troubles = [const { None }; 3];
        let device = ends.interface.as_deref().and_then(|name| match open_device(name, registry) {
            Ok(device) => Some(device),
            Err(error) => {
                tracing::warn!(interface = name, %error, "cannot make the tunnel's TUN device");
                troubles[DEVICE] = Some(format!("no TUN device {name}: {error}"));
                None
            }
        });
        let kind = if kind == TunnelKind::Udp { "udp" } else { "ipip" };
        let mut liveness = Liveness::new(0);
        liveness.start(self.time());
        Each { ends, kind, device, troubles, liveness, proven: false, mtu: 0 }
    }

    fn time(&self) -> Time {
        Time(self.start.elapsed().as_micros() as u64)
    }

    /// Does what is due: `emit` sends a frame by a port. Returns whether the Rib has learnt something.
    pub(super) fn act(
        &mut self,
        fib: &Fib,
        rib: &mut Rib,
        mut emit: impl FnMut(PortId, Vec<u8>),
    ) -> bool {
        let mut learnt = false;
        let now = self.time();
        for each in &mut self.each {
            let number = each.liveness.poll_send(now);
            while let Some(event) = each.liveness.poll_event() {
                each.proven |= event == Event::Up;
            }
            let port = rib.tunnel_index(&each.ends.name).and_then(|index| fib.port_of(index));
            if let (Some(number), Some(port)) = (number, port) {
                emit(port, probe_frame(fib.code_points(), &each.ends.tunnel, number, self.secret));
            }
        }
        if self.sockets.take_narrowed() || Instant::now() >= self.next_mtu {
            self.next_mtu = Instant::now() + MTU_INTERVAL;
            learnt |= self.look_at_paths(rib);
        }
        learnt | self.tell(rib)
    }

    /// A probe came back through a tunnel.
    pub(super) fn hear(&mut self, index: u32, heard: Heard, rib: &Rib) {
        let Heard::Returned { nonce, .. } = heard else { return };
        let now = self.time();
        let by_index = |each: &&mut Each| rib.tunnel_index(&each.ends.name) == Some(index);
        if let Some(each) = self.each.iter_mut().find(by_index) {
            each.liveness.handle_answer(probe::number(&nonce), now);
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.each.iter().filter_map(|each| each.liveness.poll_timeout()).min();
        let due = due.map(|Time(due)| self.start + Duration::from_micros(due));
        due.into_iter().chain((!self.each.is_empty()).then_some(self.next_mtu)).min()
    }

    /// Sends what the kernel has sent by the TUN devices.
    pub(super) fn read_devices(
        &mut self,
        fib: &Fib,
        rib: &Rib,
        mut emit: impl FnMut(PortId, Vec<u8>),
    ) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        for each in &mut self.each {
            let index = rib.tunnel_index(&each.ends.name);
            let port = index.and_then(|index| fib.port_of(index));
            let Some(device) = &mut each.device else { continue };
            for _ in 0..TUN_BATCH {
                match device.read(&mut buffer) {
                    Ok(Some(packet)) => {
                        if let Some(port) = port {
                            emit(port, [&NO_LINK[..], packet].concat());
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(interface = device.name(), %error, "cannot read it");
                        break;
                    }
                }
            }
        }
    }

    /// Whether the first answers have come, as far as they may be expected.
    pub(super) fn is_settled(&self) -> bool {
        self.each
            .iter()
            .all(|each| each.liveness.is_up() || each.troubles.iter().any(Option::is_some))
    }

    fn look_at_paths(&mut self, rib: &mut Rib) -> bool {
        for each in &mut self.each {
            let Tunnel { encapsulation, local, remote } = each.ends.tunnel;
            let name = &each.ends.name;
            // What is open already stays.
            let opened = self.sockets.open(encapsulation, remote.ip());
            if let (Err(error), None) = (&opened, &each.troubles[SOCKET]) {
                tracing::warn!(tunnel = name, %error, "cannot open the tunnel's sockets");
            }
            each.troubles[SOCKET] = opened.err().map(|error| format!("no socket: {error}"));
            let overhead = encapsulation.overhead(remote.ip());
            let mtu = match path_mtu(local.ip(), remote.ip()) {
                Ok(path) => {
                    each.troubles[PATH] = None;
                    path.saturating_sub(overhead).max(MTU_MIN)
                }
                Err(error) => {
                    each.troubles[PATH] = Some(no_path(local.ip(), remote.ip(), &error));
                    0
                }
            };
            if mtu == each.mtu {
                continue;
            }
            let remote = remote.ip();
            tracing::info!(tunnel = name, %remote, mtu, "what the path carries has changed");
            each.mtu = mtu;
            if let Some(device) = each.device.as_ref().filter(|_| mtu > 0)
                && let Err(error) = device.set_mtu(mtu)
            {
                tracing::warn!(interface = device.name(), %error, "cannot set its MTU");
            }
        }
        self.tell(rib)
    }

    /// Tells the Rib, and the kernel's interfaces, which tunnels can be used.
    fn tell(&mut self, rib: &mut Rib) -> bool {
        let mut learnt = false;
        for each in &self.each {
            let state = each.state();
            if !rib.set_tunnel_state(&each.ends.name, state) {
                continue;
            }
            learnt = true;
            let (name, up) = (&each.ends.name, state.up);
            tracing::info!(tunnel = name, up, "a tunnel has changed");
            if let Some(device) = &each.device
                && let Err(error) = device.set_carrier(up)
            {
                tracing::debug!(interface = device.name(), %error, "cannot set its carrier");
            }
        }
        learnt
    }

    /// What `show tunnels` prints.
    pub(super) fn states(&self) -> control::Tunnels {
        let state = |each: &Each| control::TunnelState {
            name: each.ends.name.clone(),
            kind: each.kind.to_owned(),
            local: end_text(each.ends.tunnel.local),
            remote: end_text(each.ends.tunnel.remote),
            state: match (each.state().up, each.proven) {
                (false, _) => "down",
                (true, true) => "up",
                (true, false) => "unproven",
            }
            .to_owned(),
            interface: each.ends.interface.clone(),
            mtu_bytes: each.mtu,
            rtt_seconds: each.liveness.round_trip().map(|rtt| rtt.smoothed as f64 / 1e6),
            loss: each.liveness.loss(),
            note: each.troubles.iter().flatten().cloned().collect::<Vec<_>>().join("; "),
        };
        control::Tunnels { tunnels: self.each.iter().map(state).collect() }
    }
}

/// The ends of a tunnel that is in effect; `None` of the other kinds.
fn ends(tunnel: &router_config::Tunnel, udp_port: u16) -> Option<TunnelEnds> {
    let (encapsulation, port) = match tunnel.kind {
        TunnelKind::Ipip => (Encapsulation::Ipip, 0),
        TunnelKind::Udp if tunnel.keys.is_none() => (Encapsulation::Udp, udp_port),
        TunnelKind::Udp | TunnelKind::SemiPermeable | TunnelKind::Anycast => return None,
    };
    let end = |address: Option<IpAddr>| Some(SocketAddr::new(address?, port));
    Some(TunnelEnds {
        name: tunnel.name.clone(),
        tunnel: Tunnel { encapsulation, local: end(tunnel.local)?, remote: end(tunnel.remote)? },
        interface: tunnel.interface.clone(),
        near: Vec::new(),
    })
}

fn open_device(name: &str, registry: &Registry) -> io::Result<Tun> {
    let device = Tun::open(name)?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&device);
    registry.register(&mut SourceFd(&descriptor), TUN, Interest::READABLE)?;
    Ok(device)
}

fn no_path(local: IpAddr, remote: IpAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => format!("{local} is no address of this node"),
        _ => format!("no way to {remote}: {error}"),
    }
}

/// A probe from this end of a tunnel, to be sent into it.
fn probe_frame(points: &CodePoints, tunnel: &Tunnel, number: u64, secret: u64) -> Vec<u8> {
    let nonce = probe::make_nonce(number, secret);
    [&NO_LINK[..], &probe::packet(points, tunnel.local.ip(), &nonce)].concat()
}

/// An end, with its port where it has one.
fn end_text(end: SocketAddr) -> String {
    match end.port() {
        0 => end.ip().to_string(),
        _ => end.to_string(),
    }
}

//! The devices of a worker: one for each port of its Fib, by the driver that the port is to have.
//!
//! Of several workers the first one opens the sockets of all. It tells the others which Fib is next
//! ([`Follow`]), and which ports are opened anew; when they have closed what they had there, it
//! opens, and hands each its share. Meanwhile they wait, so all workers go by the same Fibs, and
//! no frame is given to a worker that cannot forward it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver as Inbox, Sender, bounded};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};

use crate::engine::Engine;
use crate::fib::{Fib, Port, PortId, Tunnel};
use crate::io::device::{self, Device, Driver, Interface, Receiver, Share, Transmitter};
use crate::io::inject::LocalStack;
use crate::io::tunnel::{HostsTransmitter, TunnelReceiver, TunnelSockets, TunnelTransmitter};

use super::worker::Command;
use crate::wire::tunnel::Encapsulation;

pub(super) type PacketEngine = Engine<Receiver, Transmitter, LocalStack>;

/// Why there is no AF_XDP reception after a reload that asks for it.
const GIVEN_UP: &str = "no reception by AF_XDP: as no port asked for it, the router gave the \
                        loading of programs up at its start: restart it";
/// Where a worker waits for what comes out of tunnels.
const TUNNELS: Token = Token(usize::MAX - 1);
/// Turns that empty a full ring.
const RING_TURNS: usize = 64;
/// How long another worker may take to close its sockets.
const PATIENCE: Duration = Duration::from_secs(1);

/// What another worker is told by the first one.
pub(super) struct Follow {
    /// The Fib to be used from now on.
    pub(super) fib: Arc<Fib>,
    /// Ports that are opened anew.
    ports: Vec<PortId>,
    /// Told when what the worker had there is closed.
    closed: Sender<()>,
    /// What takes its place.
    shares: Inbox<Vec<(PortId, Share)>>,
}

/// Another worker, as the first one knows it.
pub(super) struct Peer {
    pub(super) commands: Sender<Command>,
    pub(super) waker: Arc<Waker>,
    /// Where its sockets are waited at.
    pub(super) registry: Registry,
}

impl Peer {
    /// Has it take up a Fib, and wait for its shares of ports; returns where they go to.
    fn follow(&self, fib: &Arc<Fib>, ports: Vec<PortId>) -> Sender<Vec<(PortId, Share)>> {
        let (closed, has_closed) = bounded(1);
        let (sender, shares) = bounded(1);
        let waits = !ports.is_empty();
        let follow = Follow { fib: Arc::clone(fib), ports, closed, shares };
        // A worker that has ended is looked after elsewhere.
        let _gone = self.commands.send(Command::Follow(follow));
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake a worker");
        }
        if waits && has_closed.recv_timeout(PATIENCE).is_err() {
            tracing::error!("a worker does not close its sockets");
        }
        sender
    }
}

/// The drivers that ports are to have.
#[derive(Clone, Debug, Default)]
pub(super) struct Drivers {
    /// Those of interfaces with a driver of their own.
    pub(super) listed: BTreeMap<String, Driver>,
    /// That of all others.
    pub(super) other: Driver,
    /// Whether programs can still be loaded into the kernel: the sandbox may have ended that.
    pub(super) may_load: bool,
}

impl Drivers {
    fn of(&self, interface: &str) -> Driver {
        self.listed.get(interface).copied().unwrap_or(self.other)
    }
}

/// The state of a port's device.
#[derive(Clone, Debug, Default)]
pub struct DeviceReport {
    /// The driver's name; empty if it could not be opened.
    pub driver: &'static str,
    /// Why it is not a better driver, if there is one.
    pub why_not: Option<String>,
    /// Why it could not be opened, if so.
    pub error: Option<String>,
    /// Frames lost because they came faster than they were read.
    pub overruns: u64,
}

/// By port: the device's state. The device itself is in the engine.
pub(super) struct Sockets {
    states: Vec<Option<State>>,
    drivers: Drivers,
    tunnels: Arc<TunnelSockets>,
    /// Of the tunnels' sockets, those that wake this worker.
    registered: BTreeSet<RawFd>,
    /// The workers that this one opens sockets for, too.
    peers: Vec<Peer>,
}

struct State {
    /// The interface, told apart from others of the same index.
    interface: (u32, u64),
    link_address: [u8; 6],
    /// The driver that was asked for, and the one that works.
    wanted: Driver,
    driver: &'static str,
    why_not: Option<String>,
    error: Option<String>,
    /// Of sockets that this one took the place of.
    earlier_overruns: u64,
}

impl State {
    /// Whether a device that was opened like this still does for the port.
    fn suits(&self, port: &Port, wanted: Driver) -> bool {
        // The program in the kernel knows the interface by its link-layer address.
        let known = self.driver != "xdp" || self.link_address == port.link_address;
        self.error.is_none() && self.wanted == wanted && known
    }
}

impl Sockets {
    /// With the drivers that ports are to have, for this worker and others.
    pub(super) fn new(drivers: Drivers, tunnels: Arc<TunnelSockets>, peers: Vec<Peer>) -> Sockets {
        let (states, registered) = (Vec::new(), BTreeSet::new());
        Sockets { states, drivers, tunnels, registered, peers }
    }

    /// Other drivers from now on: to be followed by [`follow`](Sockets::follow).
    pub(super) fn set_drivers(&mut self, drivers: Drivers) {
        self.drivers = drivers;
    }

    /// Opens and closes sockets as the ports of a new Fib say, and tries those again that could
    /// not be opened. Other workers come along.
    pub(super) fn follow(
        &mut self,
        fib: &Arc<Fib>,
        engine: &mut PacketEngine,
        registry: &Registry,
    ) {
        self.leave_others(fib, engine);
        let mut lacking = Vec::new();
        for (id, state) in (0..).zip(&self.states) {
            let Some(port) = fib.port(id) else { continue };
            let suits = |state: &State| state.suits(port, self.drivers.of(&port.name));
            // All workers would stop for what some kernels refuse while the link is down; the Fib in
            // which it is up comes by itself.
            let failed = state.as_ref().is_some_and(|state| state.error.is_some());
            if failed && !port.up && !self.peers.is_empty() {
                continue;
            }
            if !state.as_ref().is_some_and(suits) || outgrows(port.mtu, id, engine) {
                lacking.push(id);
            }
        }
        let follow = |peer: &Peer| peer.follow(fib, lacking.clone());
        let answers: Vec<_> = self.peers.iter().map(follow).collect();
        let mut shares: Vec<Vec<(PortId, Share)>> = Vec::new();
        shares.resize_with(self.peers.len(), Vec::new);
        for id in lacking {
            let Some(port) = fib.port(id) else { continue };
            let before = self.states[usize::from(id)].take();
            let state = self.open((id, port), before, fib, engine, registry, &mut shares);
            self.states[usize::from(id)] = Some(state);
        }
        for (answer, shares) in answers.iter().zip(shares) {
            let _gone = answer.send(shares);
        }
        self.receive_from_tunnels(engine, registry);
    }

    /// Reads what comes out of tunnels, once there are some. The first worker does so for all.
    fn receive_from_tunnels(&mut self, engine: &mut PacketEngine, registry: &Registry) {
        if !self.tunnels.any_open() {
            return;
        }
        if engine.tunnel_receiver().is_none() {
            engine.set_tunnel_receiver(Some(TunnelReceiver::new(Arc::clone(&self.tunnels))));
        }
        let descriptors = engine.tunnel_receiver().map(TunnelReceiver::descriptors);
        for descriptor in descriptors.unwrap_or_default() {
            if self.registered.insert(descriptor)
                && let Err(error) =
                    registry.register(&mut SourceFd(&descriptor), TUNNELS, Interest::READABLE)
            {
                tracing::error!(%error, "cannot wait for packets out of tunnels");
            }
        }
    }

    /// Opens the sending face of a tunnel, if the port is one.
    fn open_tunnel(
        &self,
        (id, port): (PortId, &Port),
        engine: &mut PacketEngine,
    ) -> Option<io::Result<()>> {
        if port.tunnel?.encapsulation.is_native() {
            // What goes into it leaves by the ports of links.
            return Some(Ok(()));
        }
        let Tunnel { encapsulation, local, remote, .. } = port.tunnel?;
        let sockets = Arc::clone(&self.tunnels);
        let opened = match encapsulation {
            Encapsulation::Hosts => HostsTransmitter::new(sockets).map(Transmitter::Hosts),
            _ => TunnelTransmitter::new(sockets, encapsulation, local.ip(), remote)
                .map(Transmitter::Tunnel),
        };
        Some(opened.map(|transmitter| {
            engine.set_device(id, None, Some(transmitter));
            engine.set_tunnel_device(id, self.tunnels.device(&port.name));
        }))
    }

    /// Closes what does not belong to the ports of a Fib, so that nothing leaves by another
    /// interface than its port's.
    fn leave_others(&mut self, fib: &Fib, engine: &mut PacketEngine) {
        self.states.resize_with(self.states.len().max(fib.ports().len()), || None);
        for (id, state) in (0..).zip(&mut self.states) {
            let interface = fib.port(id).map(Port::identity);
            if state.as_ref().map(|state| state.interface) != interface {
                engine.clear_port(id);
                *state = None;
            }
        }
    }

    /// Takes a Fib up as the first worker says, with this worker's shares of ports.
    pub(super) fn come_along(&mut self, follow: &Follow, engine: &mut PacketEngine) {
        let Follow { fib, ports, closed, shares } = follow;
        self.leave_others(fib, engine);
        for id in ports {
            let Some(port) = fib.port(*id) else { continue };
            let state = &mut self.states[usize::from(*id)];
            *state = Some(close(*id, port, state.take(), fib, engine));
            // The first worker has said what is wrong with it, if anything is.
            let _opened = self.open_tunnel((*id, port), engine);
        }
        let _gone = closed.send(());
        // Without an answer the first worker has ended, and so will all.
        for (id, (receiver, transmitter)) in shares.recv().unwrap_or_default() {
            engine.set_device(id, receiver, Some(transmitter));
        }
    }

    /// Opens a port's device, and those of the other workers.
    fn open(
        &self,
        (id, port): (PortId, &Port),
        before: Option<State>,
        fib: &Fib,
        engine: &mut PacketEngine,
        registry: &Registry,
        shares: &mut [Vec<(PortId, Share)>],
    ) -> State {
        let known = before.as_ref().is_some_and(|state| state.error.is_some());
        let mut state = close(id, port, before, fib, engine);
        state.wanted = self.drivers.of(&port.name);
        if let Some(opened) = self.open_tunnel((id, port), engine) {
            state.driver = "tunnel";
            if let Err(error) = opened {
                if !known {
                    tracing::warn!(tunnel = port.name, %error, "cannot send into it");
                }
                state.error = Some(error.to_string());
            }
            return state;
        }
        let given_up = state.wanted == Driver::Xdp && !self.drivers.may_load;
        let driver = if given_up { Driver::Auto } else { state.wanted };
        match self.open_registered(id, port, driver, fib, registry) {
            Ok((device, others)) => {
                state.driver = device.driver();
                state.why_not = if given_up { Some(GIVEN_UP.to_owned()) } else { device.why_not };
                engine.set_device(id, Some(device.receiver), Some(device.transmitter));
                shares.iter_mut().zip(others).for_each(|(all, share)| all.push((id, share)));
                if let Some(why_not) = &state.why_not {
                    let driver = state.driver;
                    tracing::info!(interface = port.name, driver, why_not, "not the driver wanted");
                }
            }
            Err(error) => {
                if !known {
                    tracing::warn!(interface = port.name, %error, "cannot open a packet socket");
                }
                state.error = Some(error.to_string());
            }
        }
        state
    }

    fn open_registered(
        &self,
        id: PortId,
        port: &Port,
        driver: Driver,
        fib: &Fib,
        registry: &Registry,
    ) -> io::Result<(Device, Vec<Share>)> {
        let Port { interface: index, mtu, link_address, .. } = *port;
        let (code_points, envelopes) = (fib.code_points(), fib.opens_envelopes());
        let interface = Interface { index, mtu, link_address, code_points, envelopes };
        let (device, shares) = device::open_shared(interface, driver, 1 + self.peers.len())?;
        register(registry, id, &device.receiver.descriptors())?;
        for (peer, (receiver, _)) in self.peers.iter().zip(&shares) {
            let descriptors = receiver.as_ref().map(Receiver::descriptors);
            register(&peer.registry, id, &descriptors.unwrap_or_default())?;
        }
        Ok((device, shares))
    }

    /// Whether some port has no socket because it could not be opened.
    pub(super) fn any_failed(&self) -> bool {
        self.states.iter().flatten().any(|state| state.error.is_some())
    }

    /// What `show ports` says of the sockets, by port.
    pub(super) fn report(&self, engine: &mut PacketEngine) -> Vec<DeviceReport> {
        let device = |(id, state): (usize, &Option<State>)| {
            let Some(state) = state else { return DeviceReport::default() };
            let overruns = engine.receiver(id as PortId).map_or(0, Receiver::overruns);
            DeviceReport {
                driver: state.driver,
                why_not: state.why_not.clone(),
                error: state.error.clone(),
                overruns: state.earlier_overruns + overruns,
            }
        };
        self.states.iter().enumerate().map(device).collect()
    }
}

/// Whether packets of the MTU no longer fit the device that a port has.
fn outgrows(mtu: u32, id: PortId, engine: &mut PacketEngine) -> bool {
    engine.receiver(id).is_some_and(|receiver| !receiver.fits(mtu))
        || engine.transmitter(id).is_some_and(|transmitter| !transmitter.fits(mtu))
}

/// Closes a port's device, if it has one, and forwards what that has received: a ring full, no
/// more. Returns the state of a port without one.
fn close(
    id: PortId,
    port: &Port,
    before: Option<State>,
    fib: &Fib,
    engine: &mut PacketEngine,
) -> State {
    let now = Instant::now();
    let _served =
        (0..RING_TURNS).take_while(|_| engine.serve(fib, usize::from(id), now) > 0).count();
    let overruns = engine.receiver(id).map_or(0, Receiver::overruns);
    engine.set_device(id, None, None);
    State {
        interface: port.identity(),
        link_address: port.link_address,
        wanted: Driver::default(),
        driver: "",
        why_not: None,
        error: None,
        earlier_overruns: before.map_or(0, |state| state.earlier_overruns) + overruns,
    }
}

/// Has a worker woken when a port's sockets can be read. It ends with the sockets, whose only
/// descriptors these are.
fn register(registry: &Registry, id: PortId, descriptors: &[RawFd]) -> io::Result<()> {
    descriptors.iter().try_for_each(|descriptor| {
        let mut source = SourceFd(descriptor);
        registry.register(&mut source, Token(usize::from(id)), Interest::READABLE)
    })
}

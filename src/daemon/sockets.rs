//! The devices of a worker: one for each port of its Fib, by the driver that the port is to have.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::engine::Engine;
use crate::fib::{Fib, Port, PortId};
use crate::io::device::{self, Device, Driver, Interface, Receiver, Transmitter};
use crate::io::inject::LocalStack;

pub(super) type PacketEngine = Engine<Receiver, Transmitter, LocalStack>;

/// Why there is no AF_XDP reception after a reload that asks for it.
const GIVEN_UP: &str = "no reception by AF_XDP: as no port asked for it, the router gave the \
                        loading of programs up at its start: restart it";
/// Turns that empty a full ring.
const RING_TURNS: usize = 64;

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
#[derive(Default)]
pub(super) struct Sockets {
    states: Vec<Option<State>>,
    drivers: Drivers,
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
    /// With the drivers that ports are to have.
    pub(super) fn new(drivers: Drivers) -> Sockets {
        Sockets { states: Vec::new(), drivers }
    }

    /// Other drivers from now on: to be followed by [`follow`](Sockets::follow).
    pub(super) fn set_drivers(&mut self, drivers: Drivers) {
        self.drivers = drivers;
    }

    /// Opens and closes sockets as the ports of a new Fib say, and tries those again that could
    /// not be opened.
    pub(super) fn follow(&mut self, fib: &Fib, engine: &mut PacketEngine, registry: &Registry) {
        self.states.resize_with(self.states.len().max(fib.ports().len()), || None);
        // First all that is to go, so that nothing leaves by another interface than its port's.
        for (id, state) in (0..).zip(&mut self.states) {
            let interface = fib.port(id).map(Port::identity);
            if state.as_ref().map(|state| state.interface) != interface {
                engine.clear_port(id);
                *state = None;
            }
        }
        for (id, state) in (0..).zip(&mut self.states) {
            let Some(port) = fib.port(id) else { continue };
            let wanted = self.drivers.of(&port.name);
            let ready = state
                .as_ref()
                .is_some_and(|state| state.suits(port, wanted) && !outgrows(port.mtu, id, engine));
            if !ready {
                let wanted = (wanted, self.drivers.may_load);
                *state = Some(open(id, port, wanted, fib, state.take(), engine, registry));
            }
        }
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

fn open(
    id: PortId,
    port: &Port,
    (wanted, may_load): (Driver, bool),
    fib: &Fib,
    before: Option<State>,
    engine: &mut PacketEngine,
    registry: &Registry,
) -> State {
    // What the device has received that makes room for this one: a ring full, no more.
    let now = Instant::now();
    let _served =
        (0..RING_TURNS).take_while(|_| engine.serve(fib, usize::from(id), now) > 0).count();
    let overruns = engine.receiver(id).map_or(0, Receiver::overruns);
    engine.set_device(id, None, None);
    let mut state = State {
        interface: port.identity(),
        link_address: port.link_address,
        wanted,
        driver: "",
        why_not: None,
        error: None,
        earlier_overruns: before.as_ref().map_or(0, |state| state.earlier_overruns) + overruns,
    };
    let given_up = wanted == Driver::Xdp && !may_load;
    match open_registered(id, port, if given_up { Driver::Auto } else { wanted }, fib, registry) {
        Ok(device) => {
            state.driver = device.driver();
            state.why_not = if given_up { Some(GIVEN_UP.to_owned()) } else { device.why_not };
            engine.set_device(id, Some(device.receiver), Some(device.transmitter));
            if let Some(why_not) = &state.why_not {
                let driver = state.driver;
                tracing::info!(interface = port.name, driver, why_not, "not the driver wanted");
            }
        }
        Err(error) => {
            let known = before.is_some_and(|state| state.error.is_some());
            if !known {
                tracing::warn!(interface = port.name, %error, "cannot open a packet socket");
            }
            state.error = Some(error.to_string());
        }
    }
    state
}

fn open_registered(
    id: PortId,
    port: &Port,
    driver: Driver,
    fib: &Fib,
    registry: &Registry,
) -> io::Result<Device> {
    let Port { interface: index, mtu, link_address, .. } = *port;
    let interface = Interface { index, mtu, link_address, code_points: fib.code_points() };
    let device = device::open(interface, driver)?;
    for descriptor in device.receiver.descriptors() {
        // The registration ends with the socket, whose only descriptor this is.
        let mut source = SourceFd(&descriptor);
        registry.register(&mut source, Token(usize::from(id)), Interest::READABLE)?;
    }
    Ok(device)
}

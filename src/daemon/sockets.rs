//! The packet sockets of a worker: one for each port of its Fib.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::engine::Engine;
use crate::fib::{Fib, Port, PortId};
use crate::io::inject::LocalStack;
use crate::io::packet::{self, PacketReceiver, PacketTransmitter};

pub(super) type PacketEngine = Engine<PacketReceiver, PacketTransmitter, LocalStack>;

/// Turns that empty a full ring.
const RING_TURNS: usize = 64;

/// The state of a port's packet socket.
#[derive(Clone, Debug, Default)]
pub struct DeviceReport {
    /// Why it could not be opened, if so.
    pub error: Option<String>,
    /// Frames lost because the ring was full.
    pub overruns: u64,
}

/// By port: the socket's state. The socket itself is in the engine.
#[derive(Default)]
pub(super) struct Sockets {
    states: Vec<Option<State>>,
}

struct State {
    /// The interface, told apart from others of the same index.
    interface: (u32, u64),
    error: Option<String>,
    /// Of sockets that this one took the place of.
    earlier_overruns: u64,
}

impl Sockets {
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
            let ready = state
                .as_ref()
                .is_some_and(|state| state.error.is_none() && !outgrows(port.mtu, id, engine));
            if !ready {
                *state = Some(open(id, port, fib, state.take(), engine, registry));
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
            let overruns = engine.receiver(id as PortId).map_or(0, PacketReceiver::overruns);
            let earlier = state.as_ref().map_or(0, |state| state.earlier_overruns);
            let error = state.as_ref().and_then(|state| state.error.clone());
            DeviceReport { error, overruns: earlier + overruns }
        };
        self.states.iter().enumerate().map(device).collect()
    }
}

/// Whether packets of the MTU no longer fit the ring that a port has.
fn outgrows(mtu: u32, id: PortId, engine: &mut PacketEngine) -> bool {
    engine.receiver(id).is_some_and(|receiver| !receiver.fits(mtu))
}

fn open(
    id: PortId,
    port: &Port,
    fib: &Fib,
    before: Option<State>,
    engine: &mut PacketEngine,
    registry: &Registry,
) -> State {
    // What the socket has received that makes room for this one: a ring full, no more.
    let now = Instant::now();
    let _served =
        (0..RING_TURNS).take_while(|_| engine.serve(fib, usize::from(id), now) > 0).count();
    let overruns = engine.receiver(id).map_or(0, PacketReceiver::overruns);
    engine.set_device(id, None, None);
    let error = match open_registered(id, port, fib, registry) {
        Ok((receiver, transmitter)) => {
            engine.set_device(id, Some(receiver), Some(transmitter));
            None
        }
        Err(error) => {
            let known = before.as_ref().is_some_and(|state| state.error.is_some());
            if !known {
                tracing::warn!(interface = port.name, %error, "cannot open a packet socket");
            }
            Some(error.to_string())
        }
    };
    let earlier_overruns = before.map_or(0, |state| state.earlier_overruns) + overruns;
    State { interface: port.identity(), error, earlier_overruns }
}

fn open_registered(
    id: PortId,
    port: &Port,
    fib: &Fib,
    registry: &Registry,
) -> io::Result<(PacketReceiver, PacketTransmitter)> {
    let (receiver, transmitter) = packet::open(port.interface, port.mtu, fib.code_points())?;
    // The registration ends with the socket, whose only descriptor this is.
    let mut source = SourceFd(&receiver.as_raw_fd());
    registry.register(&mut source, Token(usize::from(id)), Interest::READABLE)?;
    Ok((receiver, transmitter))
}

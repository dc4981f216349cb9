//! Sending from a host: one packet to many destinations.
//!
//! An [`XcastSocket`] applies the router's own rules to what it sends (WIRE.md "On the link" 3): it
//! follows the kernel's routes and neighbors through the same [`Rib`], and puts each packet
//! through the same packet path. So one copy leaves for each gateway, on-link receivers get plain
//! unicast, and addresses of this host are delivered to it.
//!
//! ```no_run
//! use std::net::Ipv4Addr;
//! use xcast::host::{Destination, Message, XcastSocket};
//! use xcast::wire::CodePoints;
//!
//! let code_points = CodePoints {
//!     ip_protocol: 253,
//!     all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
//!     all_routers_v6: "ff02::114".parse()?,
//!     routing_type: 253,
//!     ports_option: 0x5e,
//! };
//! let mut socket = XcastSocket::open(code_points, None)?;
//! let to = |text: &str| {
//!     text.parse().map(|address| Destination { address, port: 9000, dscp: None })
//! };
//! let destinations = [to("10.0.4.2")?, to("10.0.8.2")?, to("10.0.9.2")?];
//! socket.send(&Message { destinations: &destinations, payload: b"hello", ..Message::default() })?;
//! socket.flush()?;
//! println!("{} destinations served", socket.counters().destinations_forwarded);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod message;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

pub use message::{Destination, Message, MessageError};

use crate::engine::Engine;
use crate::fib::{Fib, Port, PortId};
use crate::forward::Counters;
use crate::io::inject::LocalStack;
use crate::io::packet::{self, PacketReceiver, PacketTransmitter};
use crate::kernel::{KernelError, Mirror};
use crate::rib::{InterfaceIndex, PortPolicy, PortSettings, Rib, Settings};
use crate::wire::CodePoints;

/// Why a host cannot send.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The kernel's routes and neighbors cannot be read or followed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A packet or UDP socket cannot be had.
    #[error("{what}: {error}{}", missing_capability(.error))]
    Socket {
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel has no route to any of the destinations, so there is no source address either.
    /// Nothing was sent.
    #[error("there is no route to any of the destinations")]
    NoSource,
    /// The interface to send by does not exist, or is not an Ethernet interface.
    #[error("there is no Ethernet interface `{0}` here")]
    NoInterface(String),
    /// The message cannot be put in a packet. Nothing was sent.
    #[error(transparent)]
    Message(#[from] MessageError),
}

fn missing_capability(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (sending Xcast packets needs CAP_NET_RAW)",
        _ => "",
    }
}

fn socket_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> HostError {
    let what = what.into();
    |error| HostError::Socket { what, error }
}

/// A socket that sends UDP datagrams to lists of destinations.
///
/// Needs `CAP_NET_RAW`; to have neighbors resolved also `CAP_NET_ADMIN`.
pub struct XcastSocket {
    code_points: CodePoints,
    mirror: Mirror,
    rib: Rib,
    fib: Fib,
    engine: Engine<PacketReceiver, PacketTransmitter, LocalStack>,
    /// By port: the interface its device is for, told apart from others of the same index.
    devices: Vec<Option<(InterfaceIndex, u64)>>,
    poll: Poll,
}

impl XcastSocket {
    /// Learns the kernel's routes; with `interface`, sends by that one only.
    pub fn open(
        code_points: CodePoints,
        interface: Option<&str>,
    ) -> Result<XcastSocket, HostError> {
        let poll = Poll::new().map_err(socket_error("cannot make an event queue"))?;
        let mut mirror = Mirror::open()?;
        let mut source = SourceFd(&mirror.as_raw_fd());
        let registered = poll.registry().register(&mut source, Token(0), Interest::READABLE);
        registered.map_err(socket_error("cannot wait for the kernel's changes"))?;
        let mut settings = Settings::open(code_points);
        if let Some(name) = interface {
            let only = [(name.to_owned(), PortSettings::default())];
            settings.ports = PortPolicy::Listed(only.into());
        }
        let mut rib = Rib::new(settings);
        let mut changes = Vec::new();
        mirror.synchronize(&mut changes)?;
        for change in changes {
            rib.apply(change);
        }
        if let Some(missing) = rib.missing_ports().pop() {
            return Err(HostError::NoInterface(missing));
        }
        let fib = rib.compile();
        let local = LocalStack::open().map_err(socket_error("cannot open a raw socket"))?;
        let engine = Engine::new(&fib, local);
        let devices = Vec::new();
        let mut socket = XcastSocket { code_points, mirror, rib, fib, engine, devices, poll };
        socket.adopt();
        Ok(socket)
    }

    /// Sends one message. Copies whose neighbor is not resolved yet are held;
    /// [`flush`](XcastSocket::flush) waits for them.
    pub fn send(&mut self, message: &Message<'_>) -> Result<(), HostError> {
        self.follow_kernel()?;
        let source = match message.source {
            Some(source) => source,
            None => {
                let mut known = message.destinations.iter();
                let source = known.find_map(|d| message::preferred_source(d.address));
                source.ok_or(HostError::NoSource)?
            }
        };
        let buffer = message.packet(&self.code_points, source)?;
        let now = Instant::now();
        self.engine.originate(&self.fib, &mut [buffer], 0, now);
        if self.engine.is_waiting() {
            self.engine.tend(&self.fib, now);
        }
        self.resolve_wanted()
    }

    /// Waits until nothing is held any more: every copy was sent, or its neighbor did not answer
    /// (within 3.5 seconds).
    pub fn flush(&mut self) -> Result<(), HostError> {
        let mut events = Events::with_capacity(4);
        while self.engine.is_waiting() {
            let timeout = Duration::from_millis(50);
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(socket_error("cannot wait for neighbors")(error));
                }
                _ => {}
            }
            self.follow_kernel()?;
            self.engine.tend(&self.fib, Instant::now());
            self.resolve_wanted()?;
        }
        Ok(())
    }

    /// What became of everything sent so far.
    pub fn counters(&self) -> &Counters {
        self.engine.counters()
    }

    fn follow_kernel(&mut self) -> Result<(), HostError> {
        let mut changes = Vec::new();
        // What was read before an error holds.
        let followed = self.mirror.poll(Instant::now(), &mut changes);
        let changed = changes.into_iter().fold(false, |any, change| self.rib.apply(change) | any);
        if changed {
            self.fib = self.rib.compile();
            self.adopt();
        }
        Ok(followed?)
    }

    /// Opens and closes devices as the ports of the Fib say. What would leave by one that cannot
    /// be opened is counted as `transmit-failed`.
    fn adopt(&mut self) {
        self.engine.prepare(&self.fib);
        self.devices.resize(self.devices.len().max(self.fib.ports().len()), None);
        for id in 0..self.devices.len() {
            let port = self.fib.port(id as PortId);
            let wanted = port.map(Port::identity);
            if self.devices[id] == wanted {
                continue;
            }
            self.devices[id] = wanted;
            self.engine.clear_port(id as PortId);
            if let Some(port) = port {
                match packet::open_sender(port.interface) {
                    Ok(device) => self.engine.set_device(id as PortId, None, Some(device)),
                    Err(error) => {
                        tracing::warn!(interface = port.name, %error, "cannot send by it");
                    }
                }
            }
        }
        self.engine.tend(&self.fib, Instant::now());
    }

    fn resolve_wanted(&mut self) -> Result<(), HostError> {
        for (port, address) in self.engine.take_wanted() {
            if let Some(port) = self.fib.port(port) {
                self.mirror.resolve(port.interface, address)?;
            }
        }
        Ok(())
    }
}

/// A UDP socket that holds a source port for what is sent, so that no other program gets it.
/// Port 0 lets the kernel choose one.
pub fn reserve_port(port: u16) -> io::Result<(UdpSocket, u16)> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

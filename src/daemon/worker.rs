//! A worker: one thread that runs an [`Engine`] on packet sockets.
//!
//! The control thread speaks to it in two ways only: it publishes Fibs, which the worker takes
//! up between batches, and it sends commands. The worker answers, and names neighbors that it
//! wants resolved.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::engine::Engine;
use crate::fib::{Fib, Port, PortId};
use crate::forward::Counters;
use crate::io::inject::LocalStack;
use crate::io::packet::{self, PacketReceiver, PacketTransmitter};

const WAKE: Token = Token(usize::MAX);
/// How often waiting packets are looked after.
const TEND_INTERVAL: Duration = Duration::from_millis(100);
/// The most empty turns in a row before sleeping.
const SPIN_MAX: u32 = 256;
/// A sleep shorter than this means that spinning would have been worth it.
const SHORT_SLEEP: Duration = Duration::from_micros(50);
/// Neighbors that may be asked for before the control thread takes note.
const WANTED_MAX: usize = 1024;

/// Turns that may follow a request to stop.
const DRAIN_TURNS: usize = 64;

type PacketEngine = Engine<PacketReceiver, PacketTransmitter, LocalStack>;

/// A neighbor to be resolved: its interface and address.
pub(super) type Wanted = (u32, std::net::IpAddr);

/// What the control thread asks of a worker.
enum Command {
    Report(Sender<Report>),
    Stop,
}

/// A worker's state between two batches.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The Fib in use.
    pub generation: u64,
    /// Everything counted so far.
    pub counters: Counters,
    /// By port.
    pub devices: Vec<DeviceReport>,
}

/// The state of a port's packet socket.
#[derive(Clone, Debug, Default)]
pub struct DeviceReport {
    /// Why it could not be opened, if so.
    pub error: Option<String>,
    /// Frames lost because the ring was full.
    pub overruns: u64,
}

/// The control thread's end of a worker.
pub(super) struct WorkerHandle {
    published: Arc<ArcSwap<Fib>>,
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    /// Neighbors that the worker wants resolved.
    pub(super) wanted: Receiver<Wanted>,
}

impl WorkerHandle {
    /// Starts a worker; `notify` wakes the control thread when `wanted` has something.
    pub(super) fn start(fib: Arc<Fib>, notify: Arc<Waker>) -> io::Result<WorkerHandle> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let local = LocalStack::open()?;
        let (commands, inbox) = unbounded();
        let (wants, wanted) = bounded(WANTED_MAX);
        let published = Arc::new(ArcSwap::new(Arc::clone(&fib)));
        let worker = Worker {
            engine: Engine::new(&fib, local),
            sockets: Vec::new(),
            published: Arc::clone(&published),
            fib,
            poll,
            inbox,
            wants,
            notify,
            spin: 0,
        };
        let thread = std::thread::Builder::new().name("worker".into());
        let thread = Some(thread.spawn(move || worker.run())?);
        Ok(WorkerHandle { published, commands, waker, thread, wanted })
    }

    /// Lets the worker go on with another Fib.
    pub(super) fn publish(&self, fib: Arc<Fib>) {
        self.published.store(fib);
        self.wake();
    }

    /// Asks for the worker's state; `None` if it does not answer within a second.
    pub(super) fn report(&self) -> Option<Report> {
        let (sender, receiver) = bounded(1);
        self.commands.send(Command::Report(sender)).ok()?;
        self.wake();
        receiver.recv_timeout(Duration::from_secs(1)).ok()
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the worker");
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        let _gone = self.commands.send(Command::Stop);
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the worker had panicked");
        }
    }
}

struct Worker {
    engine: PacketEngine,
    /// By port: the interface that its socket is bound to, with its MTU, or why there is none.
    sockets: Vec<Option<SocketState>>,
    published: Arc<ArcSwap<Fib>>,
    fib: Arc<Fib>,
    poll: Poll,
    inbox: Receiver<Command>,
    wants: Sender<Wanted>,
    notify: Arc<Waker>,
    /// How many empty turns are worth it at the present load.
    spin: u32,
}

struct SocketState {
    interface: u32,
    mtu: u32,
    error: Option<String>,
}

impl Worker {
    /// The loop: new Fib, commands, one turn, and sleep when there is nothing to do.
    fn run(mut self) {
        self.adopt(); // the Fib that the worker was started with
        let mut events = Events::with_capacity(64);
        let mut idle = 0;
        loop {
            if self.published.load().generation() != self.fib.generation() {
                self.fib = self.published.load_full();
                self.adopt();
            }
            if self.obey() {
                return self.drain();
            }
            let busy = self.engine.turn(&self.fib, Instant::now()) > 0;
            self.pass_on_wanted();
            idle = if busy { 0 } else { idle + 1 };
            if idle > self.spin {
                self.sleep(&mut events);
                idle = 0;
            } else if !busy {
                std::thread::yield_now();
            }
        }
    }

    /// Forwards what has arrived already, for as long as a full ring may take.
    fn drain(&mut self) {
        for _ in 0..DRAIN_TURNS {
            if self.engine.turn(&self.fib, Instant::now()) == 0 {
                return;
            }
        }
    }

    /// Takes up a new Fib: opens and closes sockets as its ports say.
    fn adopt(&mut self) {
        let fib = Arc::clone(&self.fib);
        self.engine.prepare(&fib);
        self.sockets.resize_with(self.sockets.len().max(fib.ports().len()), || None);
        for id in 0..self.sockets.len() as PortId {
            let port = fib.port(id);
            let wanted = port.map(|port| (port.interface, port.mtu));
            let state = self.sockets[usize::from(id)].as_ref();
            if state.map(|state| (state.interface, state.mtu)) != wanted {
                self.engine.set_device(id, None, None);
                self.sockets[usize::from(id)] = port.map(|port| self.open(id, port, &fib));
            }
        }
        self.engine.tend(&fib, Instant::now());
    }

    fn open(&mut self, id: PortId, port: &Port, fib: &Fib) -> SocketState {
        let opened = packet::open(port.interface, port.mtu, fib.code_points());
        let registered = opened.and_then(|(receiver, transmitter)| {
            let mut source = SourceFd(&receiver.as_raw_fd());
            let token = Token(usize::from(id));
            // The registration ends with the socket, whose only descriptor this is.
            self.poll.registry().register(&mut source, token, Interest::READABLE)?;
            Ok((receiver, transmitter))
        });
        let error = match registered {
            Ok((receiver, transmitter)) => {
                self.engine.set_device(id, Some(receiver), Some(transmitter));
                None
            }
            Err(error) => {
                tracing::warn!(interface = port.name, %error, "cannot open a packet socket");
                Some(error.to_string())
            }
        };
        SocketState { interface: port.interface, mtu: port.mtu, error }
    }

    /// Answers what was asked; returns whether to stop.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::Stop => return true,
                Command::Report(sender) => {
                    let _gone = sender.send(self.report());
                }
            }
        }
        false
    }

    fn report(&mut self) -> Report {
        let engine = &mut self.engine;
        let device = |(id, state): (usize, &Option<SocketState>)| DeviceReport {
            error: state.as_ref().and_then(|state| state.error.clone()),
            overruns: engine.receiver(id as PortId).map_or(0, PacketReceiver::overruns),
        };
        let devices = self.sockets.iter().enumerate().map(device).collect();
        let generation = self.fib.generation();
        Report { generation, counters: self.engine.counters().clone(), devices }
    }

    fn pass_on_wanted(&mut self) {
        let mut any = false;
        for (port, address) in self.engine.take_wanted() {
            let Some(port) = self.fib.port(port) else { continue };
            // When the queue is full, the neighbor is asked for again in a second.
            match self.wants.try_send((port.interface, address)) {
                Ok(()) | Err(TrySendError::Full(_)) => any = true,
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
        if any && let Err(error) = self.notify.wake() {
            tracing::error!(%error, "cannot wake the control thread");
        }
    }

    /// Waits for frames, a new Fib or a command; learns from the length of the wait how long to
    /// look for frames before the next one.
    fn sleep(&mut self, events: &mut Events) {
        let timeout = self.engine.is_waiting().then_some(TEND_INTERVAL);
        let start = Instant::now();
        if let Err(error) = self.poll.poll(events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "cannot wait for packets");
        }
        let now = Instant::now();
        self.spin = match now.duration_since(start) < SHORT_SLEEP {
            true => (self.spin * 2 + 1).min(SPIN_MAX),
            false => self.spin / 2,
        };
        if timeout.is_some() {
            self.engine.tend(&self.fib, now);
        }
    }
}

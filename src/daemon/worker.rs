//! A worker: one thread that runs an [`Engine`] on packet sockets.
//!
//! The control thread speaks to it in two ways only: it publishes Fibs, which the worker takes
//! up between batches, and it sends commands. The worker answers, and names neighbors that it
//! wants resolved. Of several workers the first one alone is given Fibs; it leads the others
//! (`sockets.rs`).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use mio::{Events, Poll, Token, Waker};

use crate::engine::{ControlMessage, Engine, TraceRequest};
use crate::fib::{Fib, PortId};
use crate::forward::{Counters, Heard, Sample};
use crate::io::affinity;
use crate::io::inject::LocalStack;
use crate::io::tunnel::TunnelSockets;

use super::sockets::{DeviceReport, Drivers, Follow, PacketEngine, Peer, Sockets};

const WAKE: Token = Token(usize::MAX);
/// How often waiting packets are looked after.
const TEND_INTERVAL: Duration = Duration::from_millis(100);
/// How often sockets that could not be opened are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The most empty turns in a row before sleeping.
const SPIN_MAX: u32 = 256;
/// A sleep shorter than this means that spinning would have been worth it.
const SHORT_SLEEP: Duration = Duration::from_micros(50);
/// Commands that are obeyed between two turns.
const COMMANDS_MAX: usize = 64;
/// Frames that may wait to be sent for the control thread.
const FRAMES_MAX: usize = 4096;
/// Turns that may follow a request to stop.
const DRAIN_TURNS: usize = 64;

/// What a worker tells the control thread. Interfaces are the kernel's indices.
pub(super) enum Event {
    /// A neighbor is to be resolved.
    Wanted(u32, IpAddr),
    /// A probe came in by an interface.
    Heard(u32, Heard),
    /// A trace request ended here.
    Trace(TraceRequest),
    /// A control message came by a tunnel's socket.
    Control(ControlMessage),
}

/// What a worker is asked.
pub(super) enum Command {
    Report(Sender<Report>),
    Samples(Sender<DroppedPackets>),
    /// Send a frame by a port.
    Emit(PortId, Vec<u8>),
    /// Ports have other drivers from now on.
    Drivers(Drivers),
    /// The first worker says which Fib is next.
    Follow(Follow),
    Stop,
}

/// The last packets that were dropped.
pub(super) struct DroppedPackets {
    /// The oldest first.
    pub(super) samples: Vec<Sample>,
    /// What their clock says now.
    pub(super) now: Duration,
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
    /// By port: the packets that each worker has received, where there are several.
    pub received: Vec<Vec<u64>>,
}

/// The control thread's end of a worker.
pub(super) struct WorkerHandle {
    published: Arc<ArcSwap<Fib>>,
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// What a worker starts with.
pub(super) struct Start {
    pub(super) fib: Arc<Fib>,
    /// Where it tells what it has to tell.
    pub(super) events: Sender<Event>,
    /// Wakes the control thread when there are events.
    pub(super) notify: Arc<Waker>,
    /// The sockets of tunnels, which all share.
    pub(super) tunnels: Arc<TunnelSockets>,
    /// The core to run on, if it is to be one alone.
    pub(super) core: Option<usize>,
}

impl WorkerHandle {
    /// Starts a worker that opens the sockets of ports, for others too.
    pub(super) fn start(
        start: Start,
        drivers: Drivers,
        peers: Vec<Peer>,
    ) -> io::Result<WorkerHandle> {
        let sockets = Sockets::new(drivers, Arc::clone(&start.tunnels), peers);
        Ok(WorkerHandle::launch(start, sockets, true)?.0)
    }

    /// Starts a worker that another one is to lead.
    pub(super) fn start_led(start: Start) -> io::Result<(WorkerHandle, Peer)> {
        let tunnels = Arc::clone(&start.tunnels);
        let sockets = Sockets::new(Drivers::default(), tunnels, Vec::new());
        WorkerHandle::launch(start, sockets, false)
    }

    fn launch(start: Start, sockets: Sockets, leads: bool) -> io::Result<(WorkerHandle, Peer)> {
        let Start { fib, events, notify, core, .. } = start;
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let registry = poll.registry().try_clone()?;
        let local = LocalStack::open()?;
        let (commands, inbox) = unbounded();
        let published = Arc::new(ArcSwap::new(Arc::clone(&fib)));
        let worker = Worker {
            engine: Engine::new(&fib, local),
            sockets,
            published: Arc::clone(&published),
            fib,
            leads,
            poll,
            inbox,
            events,
            notify,
            spin: 0,
            next_look: Instant::now(),
            next_retry: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("worker".into());
        let thread = Some(thread.spawn(move || {
            // However the worker ends, the control thread looks after it.
            let _farewell = Farewell(Arc::clone(&worker.notify));
            if let Some(core) = core
                && let Err(error) = affinity::pin(0, core)
            {
                tracing::warn!(core, %error, "a worker is not kept on its core");
            }
            worker.run();
        })?);
        let peer = Peer { commands: commands.clone(), waker: Arc::clone(&waker), registry };
        Ok((WorkerHandle { published, commands, waker, thread }, peer))
    }

    /// Whether the worker has ended, which it does only when it is told to or has panicked.
    pub(super) fn is_dead(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Lets the worker go on with another Fib.
    pub(super) fn publish(&self, fib: Arc<Fib>) {
        self.published.store(fib);
        self.wake();
    }

    /// Has other drivers used.
    pub(super) fn set_drivers(&self, drivers: Drivers) {
        self.ask(Command::Drivers(drivers));
    }

    /// Asks for the worker's state.
    pub(super) fn ask_report(&self) -> Receiver<Report> {
        let (sender, receiver) = bounded(1);
        self.ask(Command::Report(sender));
        receiver
    }

    /// Asks for the last dropped packets.
    pub(super) fn ask_samples(&self) -> Receiver<DroppedPackets> {
        let (sender, receiver) = bounded(1);
        self.ask(Command::Samples(sender));
        receiver
    }

    /// Has a frame sent by a port; returns whether there is room for it to wait.
    pub(super) fn emit(&self, port: PortId, frame: Vec<u8>) -> bool {
        let room = self.commands.len() < FRAMES_MAX;
        if room {
            self.ask(Command::Emit(port, frame));
        }
        room
    }

    fn ask(&self, command: Command) {
        // A worker that has ended is looked after elsewhere.
        let _gone = self.commands.send(command);
        self.wake();
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the worker");
        }
    }
}

/// Wakes the control thread when the worker ends.
struct Farewell(Arc<Waker>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _gone = self.0.wake();
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.ask(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the worker had panicked");
        }
    }
}

struct Worker {
    engine: PacketEngine,
    sockets: Sockets,
    published: Arc<ArcSwap<Fib>>,
    fib: Arc<Fib>,
    /// Whether it takes up what is published, and opens sockets; else another worker leads it.
    leads: bool,
    poll: Poll,
    inbox: Receiver<Command>,
    events: Sender<Event>,
    notify: Arc<Waker>,
    /// How many empty turns are worth it at the present load.
    spin: u32,
    next_look: Instant,
    next_retry: Instant,
}

impl Worker {
    /// The loop: new Fib, commands, one turn, and sleep when there is nothing to do.
    fn run(mut self) {
        if self.leads {
            self.adopt(); // the Fib that the worker was started with
        }
        let mut events = Events::with_capacity(64);
        let mut idle = 0;
        loop {
            if self.leads && self.published.load().generation() != self.fib.generation() {
                self.fib = self.published.load_full();
                self.adopt();
            }
            if self.obey() {
                return self.drain();
            }
            let now = Instant::now();
            let busy = self.engine.turn(&self.fib, now) > 0;
            if now >= self.next_look && self.patience().is_some() {
                self.look_after(now);
            }
            self.pass_on_events();
            idle = if busy { 0 } else { idle + 1 };
            if idle > self.spin && self.inbox.is_empty() {
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

    /// Takes up a new Fib: the sockets follow its ports, and what waited may go.
    fn adopt(&mut self) {
        self.engine.prepare(&self.fib);
        self.sockets.follow(&self.fib, &mut self.engine, self.poll.registry());
        self.engine.tend(&self.fib, Instant::now());
    }

    /// Takes up a Fib with the sockets that the leading worker has opened.
    fn come_along(&mut self, follow: &Follow) {
        self.fib = Arc::clone(&follow.fib);
        // Nobody reads it here, but it would keep the first one for ever.
        self.published.store(Arc::clone(&follow.fib));
        self.engine.prepare(&self.fib);
        self.sockets.come_along(follow, &mut self.engine);
        self.engine.tend(&self.fib, Instant::now());
    }

    /// Looks after what waits, and tries sockets again that could not be opened.
    fn look_after(&mut self, now: Instant) {
        self.engine.tend(&self.fib, now);
        if self.sockets.any_failed() && now >= self.next_retry {
            self.sockets.follow(&self.fib, &mut self.engine, self.poll.registry());
            // From now on: opening sockets may take long.
            self.next_retry = Instant::now() + RETRY_INTERVAL;
        }
        self.next_look = now + TEND_INTERVAL;
    }

    /// How long the worker may sleep.
    fn patience(&self) -> Option<Duration> {
        match (self.engine.is_waiting(), self.sockets.any_failed()) {
            (true, _) => Some(TEND_INTERVAL),
            (false, true) => Some(RETRY_INTERVAL),
            (false, false) => None,
        }
    }

    /// Answers what was asked; returns whether to stop.
    fn obey(&mut self) -> bool {
        // Bounded, so that packets get their turn; what is left keeps the worker awake.
        for _ in 0..COMMANDS_MAX {
            let Ok(command) = self.inbox.try_recv() else { break };
            match command {
                Command::Stop => return true,
                Command::Report(sender) => {
                    let _gone = sender.send(self.report());
                }
                Command::Samples(sender) => {
                    let (samples, now) = self.engine.samples();
                    let _gone = sender.send(DroppedPackets { samples, now });
                }
                Command::Emit(port, frame) => {
                    // What cannot be sent is like a probe that is lost.
                    let _unsent = self.engine.emit(port, &frame);
                }
                Command::Follow(follow) => self.come_along(&follow),
                Command::Drivers(drivers) => {
                    self.sockets.set_drivers(drivers);
                    self.sockets.follow(&self.fib, &mut self.engine, self.poll.registry());
                }
            }
        }
        false
    }

    fn report(&mut self) -> Report {
        Report {
            generation: self.fib.generation(),
            counters: self.engine.counters().clone(),
            devices: self.sockets.report(&mut self.engine),
            received: Vec::new(),
        }
    }

    fn pass_on_events(&mut self) {
        let fib = &self.fib;
        let interface = |port: PortId| Some(fib.port(port)?.interface);
        let mut any = false;
        let mut pass = |event: Option<Event>| {
            // When the queue is full, the event comes again: neighbors are asked for again in a
            // second, as probes and traces are.
            let sent = event.map(|event| self.events.try_send(event));
            any |= matches!(sent, Some(Ok(()) | Err(TrySendError::Full(_))));
        };
        for (port, address) in self.engine.take_wanted() {
            pass(interface(port).map(|interface| Event::Wanted(interface, address)));
        }
        for heard in self.engine.take_heard() {
            let (Heard::Asked { port, .. } | Heard::Returned { port, .. }) = heard;
            pass(interface(port).map(|interface| Event::Heard(interface, heard)));
        }
        for request in self.engine.take_traces() {
            pass(Some(Event::Trace(request)));
        }
        let mut refused = 0;
        for message in self.engine.take_control() {
            let full = self.events.is_full();
            refused += u32::from(full);
            pass((!full).then_some(Event::Control(message)));
        }
        if refused > 0 {
            self.engine.refuse_control(refused);
        }
        if any && let Err(error) = self.notify.wake() {
            tracing::error!(%error, "cannot wake the control thread");
        }
    }

    /// Waits for frames, a new Fib or a command; learns from the length of the wait how long to
    /// look for frames before the next one.
    fn sleep(&mut self, events: &mut Events) {
        let start = Instant::now();
        if let Err(error) = self.poll.poll(events, self.patience())
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "cannot wait for packets");
        }
        self.spin = match start.elapsed() < SHORT_SLEEP {
            true => (self.spin * 2 + 1).min(SPIN_MAX),
            false => self.spin / 2,
        };
    }
}

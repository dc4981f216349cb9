//! A worker: one thread that runs an [`Engine`] on packet sockets.
//!
//! The control thread speaks to it in two ways only: it publishes Fibs, which the worker takes
//! up between batches, and it sends commands. The worker answers, and names neighbors that it
//! wants resolved.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use mio::{Events, Poll, Token, Waker};

use crate::engine::{Engine, TraceRequest};
use crate::fib::{Fib, PortId};
use crate::forward::{Counters, Heard, Sample};
use crate::io::inject::LocalStack;

use super::sockets::{DeviceReport, Drivers, PacketEngine, Sockets};

const WAKE: Token = Token(usize::MAX);
/// How often waiting packets are looked after.
const TEND_INTERVAL: Duration = Duration::from_millis(100);
/// How often sockets that could not be opened are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The most empty turns in a row before sleeping.
const SPIN_MAX: u32 = 256;
/// A sleep shorter than this means that spinning would have been worth it.
const SHORT_SLEEP: Duration = Duration::from_micros(50);
/// Events that may wait for the control thread.
const EVENTS_MAX: usize = 1024;

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
}

/// What the control thread asks of a worker.
enum Command {
    Report(Sender<Report>),
    Samples(Sender<DroppedPackets>),
    /// Send a frame by a port.
    Emit(PortId, Vec<u8>),
    /// Ports have other drivers from now on.
    Drivers(Drivers),
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
}

/// The control thread's end of a worker.
pub(super) struct WorkerHandle {
    published: Arc<ArcSwap<Fib>>,
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    /// What the worker has to tell.
    pub(super) events: Receiver<Event>,
}

impl WorkerHandle {
    /// Starts a worker; `notify` wakes the control thread when there are events.
    pub(super) fn start(
        fib: Arc<Fib>,
        drivers: Drivers,
        notify: Arc<Waker>,
    ) -> io::Result<WorkerHandle> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let local = LocalStack::open()?;
        let (commands, inbox) = unbounded();
        let (sender, events) = bounded(EVENTS_MAX);
        let published = Arc::new(ArcSwap::new(Arc::clone(&fib)));
        let worker = Worker {
            engine: Engine::new(&fib, local),
            sockets: Sockets::new(drivers),
            published: Arc::clone(&published),
            fib,
            poll,
            inbox,
            events: sender,
            notify,
            spin: 0,
            next_look: Instant::now(),
            next_retry: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("worker".into());
        let thread = Some(thread.spawn(move || {
            // However the worker ends, the control thread looks after it.
            let _farewell = Farewell(Arc::clone(&worker.notify));
            worker.run();
        })?);
        Ok(WorkerHandle { published, commands, waker, thread, events })
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
        // A worker that has ended is looked after elsewhere.
        let _gone = self.commands.send(Command::Drivers(drivers));
        self.wake();
    }

    /// Asks for the worker's state; `None` if it does not answer within a second.
    pub(super) fn report(&self) -> Option<Report> {
        let (sender, receiver) = bounded(1);
        self.commands.send(Command::Report(sender)).ok()?;
        self.wake();
        receiver.recv_timeout(Duration::from_secs(1)).ok()
    }

    /// Asks for the last dropped packets; `None` if the worker does not answer within a second.
    pub(super) fn samples(&self) -> Option<DroppedPackets> {
        let (sender, receiver) = bounded(1);
        self.commands.send(Command::Samples(sender)).ok()?;
        self.wake();
        receiver.recv_timeout(Duration::from_secs(1)).ok()
    }

    /// Has a frame sent by a port.
    pub(super) fn emit(&self, port: PortId, frame: Vec<u8>) {
        // A worker that has ended is looked after elsewhere.
        let _gone = self.commands.send(Command::Emit(port, frame));
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
    sockets: Sockets,
    published: Arc<ArcSwap<Fib>>,
    fib: Arc<Fib>,
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
            let now = Instant::now();
            let busy = self.engine.turn(&self.fib, now) > 0;
            if now >= self.next_look && self.patience().is_some() {
                self.look_after(now);
            }
            self.pass_on_events();
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

    /// Takes up a new Fib: the sockets follow its ports, and what waited may go.
    fn adopt(&mut self) {
        self.engine.prepare(&self.fib);
        self.sockets.follow(&self.fib, &mut self.engine, self.poll.registry());
        self.engine.tend(&self.fib, Instant::now());
    }

    /// Looks after what waits, and tries sockets again that could not be opened.
    fn look_after(&mut self, now: Instant) {
        self.engine.tend(&self.fib, now);
        if self.sockets.any_failed() && now >= self.next_retry {
            self.next_retry = now + RETRY_INTERVAL;
            self.sockets.follow(&self.fib, &mut self.engine, self.poll.registry());
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
        while let Ok(command) = self.inbox.try_recv() {
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
                Command::Drivers(drivers) => {
                    self.sockets.set_drivers(drivers);
                    self.sockets.follow(&self.fib, &mut self.engine, self.poll.registry());
                }
            }
        }
        false
    }

    fn report(&mut self) -> Report {
        let devices = self.sockets.report(&mut self.engine);
        let generation = self.fib.generation();
        Report { generation, counters: self.engine.counters().clone(), devices }
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

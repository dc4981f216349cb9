//! The sender: a thread on a core of its own that sends until it is told to stop.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cores::Place;
use super::frames::{self, Load};
use super::lab::{Node, UPLINK};
use crate::io::pcapng::interface_index;
use crate::io::{Transmit, packet, xdp};
use crate::tools::Failure;

/// Frames handed to the kernel at once.
const BATCH: usize = 32;
/// That of a veth interface.
const MTU: u32 = 1500;
/// How long any generator runs at most, whatever becomes of the rest.
const WATCHDOG: Duration = Duration::from_secs(60);

/// What is sent.
pub(super) enum Traffic {
    /// These frames, as fast as they go.
    Flood(Load),
    /// One numbered frame after the other, evenly spaced.
    Paced {
        /// The first frame is the model of all.
        load: Load,
        /// Time from frame to frame.
        interval: Duration,
    },
    /// A datagram to each address in turn by the calls of an ordinary program, as fast as they go.
    Datagrams {
        /// To whom.
        to: Vec<SocketAddr>,
        /// Octets.
        payload: usize,
    },
}

/// A sender at work. Dropping it ends it.
pub(super) struct Generator {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Generator {
    /// Starts sending from the sender's namespace.
    pub(super) fn start(traffic: Traffic, place: Place) -> Result<Generator, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let work = move || {
            Node::Sender.enter().map_err(|_| io::Error::other("there is no sender's namespace"))?;
            place.take(false)?;
            let end = Instant::now() + WATCHDOG;
            let goes_on = || !told.load(Ordering::Relaxed) && Instant::now() < end;
            match traffic {
                Traffic::Flood(load) => flood(&load, goes_on),
                Traffic::Paced { load, interval } => pace(load, interval, goes_on),
                Traffic::Datagrams { to, payload } => datagrams(&to, payload, goes_on),
            }
        };
        let thread = std::thread::Builder::new().name("generator".into());
        let thread = thread.spawn(work).map_err(Failure::work)?;
        Ok(Generator { stop, thread: Some(thread) })
    }

    /// Stops sending; says what went wrong meanwhile.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        self.end().map_err(|error| Failure::Work(format!("the generator: {error}")))
    }

    fn end(&mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ended = self.end();
    }
}

fn uplink() -> io::Result<u32> {
    interface_index(UPLINK).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// By AF_XDP, which is the fastest way, or else by a packet socket.
fn flood(load: &Load, goes_on: impl Fn() -> bool) -> io::Result<()> {
    let interface = uplink()?;
    match xdp::open_sender(interface, MTU) {
        Ok(sender) => flood_by(sender, load, goes_on),
        _ => flood_by(packet::open_sender(interface)?, load, goes_on),
    }
    Ok(())
}

/// What the kernel does not take is lost before the first link, and nobody's concern here.
fn flood_by(mut sender: impl Transmit, load: &Load, goes_on: impl Fn() -> bool) {
    let frames = &load.frames;
    let mut next = 0;
    while goes_on() {
        let frame = |index: usize| (&frames[(next + index) % frames.len()][..], &[][..]);
        sender.transmit(BATCH, frame, |_, _| {});
        next = (next + BATCH) % frames.len();
    }
}

fn pace(mut load: Load, interval: Duration, goes_on: impl Fn() -> bool) -> io::Result<()> {
    let mut sender = packet::open_sender(uplink()?)?;
    let (frame, at) = (&mut load.frames[0], load.headers_in);
    let mut due = Instant::now();
    for number in 0u32.. {
        frames::number(frame, at, number);
        let mut now = Instant::now();
        // A core of its own: nothing else is to be done there.
        while now < due {
            std::hint::spin_loop();
            now = Instant::now();
        }
        if !goes_on() {
            break;
        }
        sender.transmit(1, |_| (&frame[..], &[]), |_, _| {});
        // What was not sent in time, as the system had something else to do, is not made up for: that
        // would be a burst as fast as it goes.
        due = (due + interval).max(now);
    }
    Ok(())
}

fn datagrams(to: &[SocketAddr], payload: usize, goes_on: impl Fn() -> bool) -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    let payload = vec![0; payload];
    while goes_on() {
        for address in to {
            // A full send buffer, or an error that ICMP reported: the next one may go.
            let _refused = socket.send_to(&payload, address);
        }
    }
    Ok(())
}

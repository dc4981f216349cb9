//! The running emulator: one thread that takes frames from all ends, and gives each to the other
//! end of its link when the [`Shaper`](super::shaper::Shaper) says.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;

use super::config::Link;
use super::direction::{Direction, Leaving};
use super::ends;
use crate::io::link::{Arrival, FRAME_LEN_MAX, LinkEnd};
use crate::io::raise_descriptor_limit;
use crate::io::timer::Timer;
use crate::tools::{Failure, output};

/// Frames that are taken from an end before others get their turn.
const BATCH: usize = 64;
const SIGNALS: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// How it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) json: bool,
    /// How often statistics are printed.
    pub(super) statistics: Option<Duration>,
    /// How long before a frame is due it sleeps no more.
    pub(super) spin: Duration,
}

/// The running emulator.
pub(super) struct Session {
    options: Options,
    poll: Poll,
    signals: Signals,
    timer: Timer,
    start: Instant,
    /// Each end, and whether there may be frames; the other end of number N is number N ^ 1.
    ends: Vec<(LinkEnd, bool)>,
    /// The direction that begins at each end.
    directions: Vec<Direction>,
    /// What leaves, the first on top.
    leaving: BinaryHeap<Reverse<Leaving>>,
    /// Frames so far, to keep those in order that leave at the same time.
    count: u64,
    statistics_due: Option<Duration>,
    is_over: bool,
    room: Vec<u8>,
}

impl Session {
    /// Opens both ends of all links.
    pub(super) fn open(links: &[Link], options: Options) -> Result<Session, Failure> {
        // Where it cannot be raised, it may be high enough.
        let _lower = raise_descriptor_limit();
        let poll = Poll::new().map_err(cannot("make an event queue"))?;
        let listened = Signals::new([SIGTERM, SIGINT, SIGUSR1]);
        let mut signals = listened.map_err(cannot("listen for signals"))?;
        let registered = poll.registry().register(&mut signals, SIGNALS, Interest::READABLE);
        registered.map_err(cannot("wait for signals"))?;
        let timer = Timer::new().map_err(cannot("make a timer"))?;
        watch(&poll, timer.as_raw_fd(), TIMER)?;
        let (mut ends, mut directions) = (Vec::new(), Vec::new());
        for (number, link) in links.iter().enumerate() {
            for end in ends::open(link)? {
                watch(&poll, end.as_raw_fd(), Token(ends.len()))?;
                ends.push((end, true));
            }
            directions.extend(Direction::both(link, number));
        }
        Ok(Session {
            options,
            poll,
            signals,
            timer,
            start: Instant::now(),
            ends,
            directions,
            leaving: BinaryHeap::new(),
            count: 0,
            statistics_due: options.statistics,
            is_over: false,
            room: vec![0; FRAME_LEN_MAX],
        })
    }

    /// Runs until a signal says stop, and nothing is on the way any more.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        self.tell_ready()?;
        let mut events = Events::with_capacity(256);
        loop {
            self.forward();
            if self.is_over && self.leaving.is_empty() {
                break;
            }
            self.tell_now_and_then()?;
            let timeout = self.set_timer()?;
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(cannot("wait for events")(error));
                }
                _ => {}
            }
            for event in &events {
                if let Some((_, may_have_frames)) = self.ends.get_mut(event.token().0) {
                    *may_have_frames = true;
                }
            }
            if self.heed_signals()? {
                break;
            }
            if !self.is_over {
                self.receive();
            }
        }
        self.tell("end")
    }

    /// Sees to it that the event queue wakes when something is due; returns how long it may wait.
    fn set_timer(&self) -> Result<Option<Duration>, Failure> {
        if !self.is_over && self.ends.iter().any(|(_, may_have_frames)| *may_have_frames) {
            return Ok(Some(Duration::ZERO));
        }
        let leaves =
            self.leaving.peek().map(|Reverse(next)| next.at - self.options.spin.min(next.at));
        let Some(due) = leaves.into_iter().chain(self.statistics_due).min() else {
            return Ok(None);
        };
        let wait = due.saturating_sub(self.start.elapsed());
        if wait.is_zero() {
            return Ok(Some(wait));
        }
        self.timer.set(wait).map_err(cannot("set a timer"))?;
        Ok(None)
    }

    /// Takes what has come in, from each end so much at most.
    fn receive(&mut self) {
        for (number, (end, may_have_frames)) in self.ends.iter_mut().enumerate() {
            if !*may_have_frames {
                continue;
            }
            let direction = &mut self.directions[number];
            for _ in 0..BATCH {
                match end.receive(&mut self.room) {
                    Ok(Some(Arrival { frame: Some(frame), age })) => {
                        let now = self.start.elapsed().saturating_sub(age);
                        direction.take(frame, now, |at, frame| {
                            self.count += 1;
                            let leaving = Leaving { at, count: self.count, from: number, frame };
                            self.leaving.push(Reverse(leaving));
                        });
                    }
                    Ok(Some(Arrival { frame: None, .. })) => direction.refuse(),
                    Ok(None) => {
                        *may_have_frames = false;
                        break;
                    }
                    // It is told once, and may come up again.
                    Err(error) if error.kind() == ErrorKind::NetworkDown => {
                        tracing::warn!("{} is down", direction.from);
                    }
                    Err(_) => direction.refuse(),
                }
            }
        }
    }

    /// Sends what is due.
    fn forward(&mut self) {
        let mut now = self.start.elapsed();
        while let Some(next) = self.leaving.peek_mut() {
            if next.0.at > now {
                now = self.start.elapsed();
                if next.0.at > now {
                    break;
                }
            }
            let Reverse(Leaving { at, from, frame, .. }) = PeekMut::pop(next);
            let sent = self.ends[from ^ 1].0.send(&frame);
            self.directions[from].left(&frame, sent, self.start.elapsed().saturating_sub(at));
        }
    }

    /// Returns whether to end at once.
    fn heed_signals(&mut self) -> Result<bool, Failure> {
        let pending: Vec<_> = self.signals.pending().collect();
        for signal in pending {
            match signal {
                SIGUSR1 => self.tell("statistics")?,
                // Who asks twice does not want to wait for what is on the way.
                _ if self.is_over => return Ok(true),
                _ => self.is_over = true,
            }
        }
        Ok(false)
    }

    fn tell_ready(&self) -> Result<(), Failure> {
        let links = self.ends.len() / 2;
        output::line(&match self.options.json {
            true => json!({ "event": "ready", "links": links }).to_string(),
            false => format!("ready: {links} link{}", if links == 1 { "" } else { "s" }),
        })
    }

    fn tell_now_and_then(&mut self) -> Result<(), Failure> {
        let (Some(due), Some(interval)) = (self.statistics_due, self.options.statistics) else {
            return Ok(());
        };
        if self.start.elapsed() < due {
            return Ok(());
        }
        self.statistics_due = Some(self.start.elapsed() + interval);
        self.tell("statistics")
    }

    /// Prints what has become of all frames so far.
    fn tell(&mut self, event: &str) -> Result<(), Failure> {
        for ((end, _), direction) in self.ends.iter_mut().zip(&mut self.directions) {
            direction.tally.set_overruns(end.overruns());
        }
        if self.options.json {
            let directions: Vec<_> = self.directions.iter().map(Direction::json).collect();
            return output::line(&json!({ "event": event, "directions": directions }).to_string());
        }
        let rows: Vec<_> = self.directions.iter().map(Direction::row).collect();
        output::line(&output::table(&Direction::HEAD, &rows))
    }
}

fn watch(poll: &Poll, descriptor: RawFd, token: Token) -> Result<(), Failure> {
    let registered =
        poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE);
    registered.map_err(cannot("wait for frames"))
}

fn cannot(what: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Work(format!("cannot {what}: {error}"))
}

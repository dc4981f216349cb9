//! A running gateway: one thread that waits for the stream, for edits, and for its end.

use std::io::{self, ErrorKind, IsTerminal};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use serde_json::{Map, Value};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::Failure;
use super::carrier::Carrier;
use super::emitter::Emitter;
use super::intake::Intake;
use super::list::Request;
use super::tally::{Tally, counted};
use crate::daemon::{PATIENCE, Server};
use crate::tools::output;

/// Datagrams that are taken before anything else gets its turn.
const BATCH: usize = 64;
/// The longest wait between two looks at what is due.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often it is said how things go.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// The longest request in octets: each destination of a full list, and room for more.
const REQUEST_LEN_MAX: usize = 256 << 10;

/// Where the stream goes.
pub(super) enum Side {
    /// To a list of destinations.
    Carry(Box<Carrier>),
    /// To a local group.
    Emit(Emitter),
}

/// What ends a gateway, and who edits its list.
pub(super) struct Control {
    poll: Poll,
    signals: Signals,
    server: Option<(PathBuf, Server<Request>)>,
}

impl Control {
    /// Listens for signals, and for edits at a control socket, which nobody else may have.
    pub(super) fn open(path: Option<PathBuf>) -> Result<Control, Failure> {
        let poll = Poll::new().map_err(cannot("make an event queue"))?;
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(cannot("listen for signals"))?;
        let registered = poll.registry().register(&mut signals, Token(0), Interest::READABLE);
        registered.map_err(cannot("wait for signals"))?;
        let listen = |path: PathBuf| {
            let waker = Waker::new(poll.registry(), Token(0)).map_err(cannot("make a waker"))?;
            match Server::listen(&path, REQUEST_LEN_MAX, PATIENCE, Arc::new(waker)) {
                Ok(server) => Ok((path, server)),
                Err(error) => Err(Failure::Work(format!(
                    "cannot listen on the control socket {}: {error} (--socket names another)",
                    path.display()
                ))),
            }
        };
        let server = path.map(listen).transpose()?;
        Ok(Control { poll, signals, server })
    }

    /// Wakes up when there is something to read.
    fn watch(&self, descriptor: RawFd) -> Result<(), Failure> {
        let mut source = SourceFd(&descriptor);
        let registered = self.poll.registry().register(&mut source, Token(0), Interest::READABLE);
        registered.map_err(cannot("wait for datagrams"))
    }
}

/// A running gateway.
pub(super) struct Session {
    control: Control,
    intake: Intake,
    side: Side,
    json: bool,
    status_due: Instant,
    /// What was said last.
    told: Tally,
}

impl Session {
    pub(super) fn new(
        control: Control,
        intake: Intake,
        side: Side,
        json: bool,
    ) -> Result<Session, Failure> {
        control.watch(intake.as_raw_fd())?;
        if let Side::Carry(carrier) = &side {
            control.watch(carrier.as_raw_fd())?;
        }
        let (status_due, told) = (Instant::now() + STATUS_INTERVAL, Tally::default());
        Ok(Session { control, intake, side, json, status_due, told })
    }

    /// Runs until a signal says stop; then says what has become of the stream.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        self.tell_ready()?;
        let mut events = Events::with_capacity(16);
        let mut any_left = false;
        loop {
            // The event queue tells only what is new.
            let timeout = if any_left { Duration::ZERO } else { LOOK_INTERVAL };
            match self.control.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(cannot("wait for events")(error));
                }
                _ => {}
            }
            // Each looks for itself whether there is anything to do.
            let is_over = self.control.signals.pending().next().is_some();
            self.answer_edits();
            any_left = self.take_datagrams();
            if let Side::Carry(carrier) = &mut self.side {
                carrier.hear();
            }
            if is_over {
                break;
            }
            self.tell_status()?;
        }
        let tally = self.tally();
        let destinations = self.destinations();
        match self.json {
            true => self.tell("end", tally.json(destinations)),
            false => output::line(&tally.summary(destinations)),
        }
    }

    fn answer_edits(&mut self) {
        let Some((_, server)) = &self.control.server else { return };
        let Side::Carry(carrier) = &mut self.side else { return };
        while let Ok((request, sender)) = server.calls.try_recv() {
            let _gone = sender.send(carrier.answer(&request));
        }
    }

    /// Takes what has come in; returns whether there may be more.
    fn take_datagrams(&mut self) -> bool {
        for _ in 0..BATCH {
            match self.intake.next() {
                Ok(Some(datagram)) => match &mut self.side {
                    Side::Carry(carrier) => carrier.take(&datagram),
                    Side::Emit(emitter) => emitter.take(&datagram),
                },
                Ok(None) => return false,
                Err(error) => {
                    let what = format!("cannot receive: {error}");
                    if self.side.tally().trouble(None, what.clone()) {
                        output::note(&what);
                    }
                    return false;
                }
            }
        }
        true
    }

    fn destinations(&self) -> usize {
        match &self.side {
            Side::Carry(carrier) => carrier.destinations(),
            Side::Emit(_) => 1,
        }
    }

    fn tally(&mut self) -> Tally {
        let lost = self.intake.lost();
        let tally = self.side.tally();
        tally.lost = lost;
        tally.clone()
    }

    fn tell_ready(&self) -> Result<(), Failure> {
        let at = self.intake.at;
        let socket = self.control.server.as_ref().map(|(path, _)| path.display().to_string());
        let (key, to, text) = match &self.side {
            Side::Carry(carrier) => {
                let count = carrier.destinations();
                let text = counted(count as u64);
                ("destinations", Value::from(count), text)
            }
            Side::Emit(emitter) => {
                let to = emitter.to.to_string();
                ("emit", Value::from(to.clone()), to)
            }
        };
        if !self.json {
            let socket = socket.map(|path| format!("; control socket {path}")).unwrap_or_default();
            return output::line(&format!("ready: what comes to {at} goes to {text}{socket}"));
        }
        let fields = [("listen", at.to_string().into()), (key, to), ("socket", socket.into())];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        self.tell("ready", fields.collect())
    }

    /// Says now and then how things go: to scripts, and to who watches a terminal.
    fn tell_status(&mut self) -> Result<(), Failure> {
        if Instant::now() < self.status_due {
            return Ok(());
        }
        self.status_due = Instant::now() + STATUS_INTERVAL;
        let tally = self.tally();
        if tally == self.told {
            return Ok(());
        }
        let destinations = self.destinations();
        if self.json {
            self.tell("status", tally.json(destinations))?;
        } else if io::stderr().is_terminal() {
            output::note(&tally.line(destinations));
        }
        self.told = tally;
        Ok(())
    }

    fn tell(&self, event: &str, fields: Map<String, Value>) -> Result<(), Failure> {
        let mut object = Map::from_iter([("event".to_owned(), event.into())]);
        object.extend(fields);
        output::line(&Value::from(object).to_string())
    }
}

impl Side {
    fn tally(&mut self) -> &mut Tally {
        match self {
            Side::Carry(carrier) => &mut carrier.tally,
            Side::Emit(emitter) => &mut emitter.tally,
        }
    }
}

fn cannot(what: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Work(format!("cannot {what}: {error}"))
}

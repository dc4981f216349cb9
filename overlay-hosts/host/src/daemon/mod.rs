//! The process: peers on real sockets, one thread that turns them all.
//!
//! ```text
//!  sockets ─► Peer::turn ─► machines ─► Peer::send ─► together by Xcast, or to each alone
//!  signals, control socket, rendezvous search ─► Daemon ─► commands of the machines
//!  what is to be kept ─► Writer, a thread of its own
//! ```

mod clock;
mod depart;
mod link;
mod membership;
mod multicast;
mod operations;
mod peer;
mod pool;
mod reach;
mod relay;
mod start;
mod views;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use overlay_protocols::Time;
use overlay_protocols::node::{Event, Input};
use overlay_protocols::{locality, metrics, ring};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use xcast::control::Reply;
use xcast::daemon::{Call, Server};
use xcast::host::HostError;

use crate::config::{Config, SealKind};
use crate::control::{ANSWER_PATIENCE, REQUEST_LEN_MAX, Request};
use crate::rendezvous::{Found, Search};
use crate::state::{StateError, Writer};
use clock::Clock;
use multicast::Multicast;
use operations::Operations;
use peer::Peer;

const SIGNAL: Token = Token(0);
const WAKE: Token = Token(1);
const SOCKETS: Token = Token(2);
/// Calls that are answered before something else gets its turn: no more wait at the same time.
const CALLS_AT_ONCE: usize = 64;
/// How long leaving may take.
const LEAVE_PATIENCE: Duration = Duration::from_secs(3);
/// How long after those that were found have not answered others are looked for.
const SEARCH_AGAIN_INTERVAL: Duration = Duration::from_secs(30);
/// How long to wait until rendezvous are looked for again.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

/// Why the daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is kept over restarts cannot be had.
    #[error(transparent)]
    State(#[from] StateError),
    /// The peer's sockets cannot be had.
    #[error("peer {peer} cannot listen at {at}: {error}")]
    Listen {
        /// Whose.
        peer: String,
        /// Where.
        at: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Xcast cannot be sent from here.
    #[error("peer {peer} cannot use Xcast: {why}; `transport = \"unicast\"` does without it")]
    Xcast {
        /// Whose.
        peer: String,
        /// What it lacks.
        why: HostError,
    },
    /// There is no relay to be had.
    #[error("peer {peer} cannot use a relay: {why}")]
    Relay {
        /// Whose.
        peer: String,
        /// What is wrong.
        why: String,
    },
    /// No code points, which the configuration's reader should have told.
    #[error("there are no code points: `[experiment]` or `experiment-file` has them")]
    NoCodePoints,
    /// The file with code points cannot be used.
    #[error("the code points: {0}")]
    Experiment(String),
    /// The peer does not know where others could reach it.
    #[error(
        "peer {peer} listens at {listen}, and it is not clear at which address others reach it \
         ({error}): name it by `addresses`"
    )]
    NoAddress {
        /// Which.
        peer: String,
        /// Where it listens.
        listen: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another system call failed.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    |error| StartError::System { what, error }
}

/// A process with its peers.
pub struct Daemon {
    clock: Clock,
    poll: Poll,
    signals: Signals,
    server: Server<Request>,
    search: Search,
    /// When to search anew, while nobody was found.
    next_search: Option<Time>,
    peers: Vec<Peer>,
    operations: Operations,
    multicast: Multicast,
    writer: Writer,
    /// When the process ends at last, once it is leaving.
    end: Option<Time>,
    name: String,
    /// The peers join no group.
    dedicated: bool,
    /// No other process has the peers' keys while these are open.
    _keys: Vec<File>,
}

impl Daemon {
    /// Starts all peers; none is part of anything yet.
    ///
    /// # Errors
    /// Something that it needs cannot be had.
    pub fn start(config: &Config) -> Result<Daemon, StartError> {
        let poll = Poll::new().map_err(system("cannot make an event queue"))?;
        let registry = poll.registry();
        let waker = Waker::new(registry, WAKE).map(Arc::new);
        let waker = waker.map_err(system("cannot make a waker"))?;
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]);
        let mut signals = signals.map_err(system("cannot listen for signals"))?;
        let registered = registry.register(&mut signals, SIGNAL, Interest::READABLE);
        registered.map_err(system("cannot wait for signals"))?;
        let socket = &config.host.control_socket;
        let what = format!("cannot listen on the control socket {}", socket.display());
        let server = Server::listen(socket, REQUEST_LEN_MAX, ANSWER_PATIENCE, Arc::clone(&waker));
        let server = server.map_err(system(what))?;
        let writer = Writer::start().map_err(system("cannot start a thread"))?;
        if config.host.seal == SealKind::Open {
            tracing::warn!("seal = \"open\": anybody can say anything in anybody's name here");
        }
        if config.host.seed.is_some() {
            tracing::warn!("`seed` is for labs: others can tell what this host will draw");
        }
        let clock = Clock::start();
        let mut peers = Vec::new();
        let mut keys = Vec::new();
        for (index, peer) in config.peers.iter().enumerate() {
            let (peer, held) = start::start(config, peer, index, clock)?;
            for descriptor in peer.link.descriptors() {
                let mut source = SourceFd(&descriptor);
                let registered = registry.register(&mut source, SOCKETS, Interest::READABLE);
                registered.map_err(system("cannot wait for datagrams"))?;
            }
            peers.push(peer);
            keys.extend(held);
        }
        Ok(Daemon {
            clock,
            signals,
            server,
            search: Search::new(config.rendezvous.clone(), waker),
            next_search: None,
            peers,
            operations: Operations::default(),
            multicast: Multicast::default(),
            writer,
            end: None,
            name: config.host.name.clone(),
            dedicated: config.rendezvous.dedicated,
            _keys: keys,
            poll,
        })
    }

    /// What is said when it is ready.
    pub fn summary(&self) -> String {
        let count = self.peers.len();
        let plural = if count == 1 { "peer" } else { "peers" };
        format!("overlay host {} runs {count} {plural}", self.name)
    }

    /// Runs until a signal ends it: then it leaves properly.
    ///
    /// # Errors
    /// The event queue fails.
    pub fn run(mut self) -> Result<(), StartError> {
        self.begin_search();
        let mut events = Events::with_capacity(256);
        loop {
            let timeout = self.next_deadline().map(|at| self.clock.until(at));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(system("cannot wait for events")(error));
                }
                _ => {}
            }
            // Each looks for itself whether there is anything to do.
            self.heed_signals();
            self.answer_calls();
            self.follow_search();
            for peer in &mut self.peers {
                peer.turn(self.clock, &self.writer);
            }
            self.heed_events();
            self.operations.expire(self.clock.now().time);
            self.multicast.expire(&mut self.peers, self.clock.now(), &self.writer);
            if self.is_over() {
                return Ok(());
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let peers = self.peers.iter().filter_map(Peer::deadline);
        let asked = [self.operations.deadline(), self.multicast.deadline()];
        let others = [self.next_search, self.end].into_iter().chain(asked);
        peers.chain(others.flatten()).min()
    }

    fn heed_signals(&mut self) {
        let pending: Vec<i32> = self.signals.pending().collect();
        if pending.contains(&SIGHUP) {
            tracing::warn!("a running overlay host does not reload its configuration: restart it");
        }
        if pending.iter().any(|signal| matches!(*signal, SIGTERM | SIGINT)) {
            self.leave();
        }
    }

    /// Leaves properly: others are told, and what is said to them is sent.
    fn leave(&mut self) {
        let now = self.clock.now();
        if self.end.is_some() {
            return;
        }
        tracing::info!("leaving");
        self.end = Some(now.time + LEAVE_PATIENCE);
        self.next_search = None;
        self.multicast.leave(&mut self.peers, now, &self.writer);
        for peer in &mut self.peers {
            peer.input(Input::Locality(locality::Command::Leave), now, &self.writer);
            peer.input(Input::Ring(ring::Command::Leave), now, &self.writer);
        }
    }

    /// Whether all have left, or had the time to.
    fn is_over(&self) -> bool {
        let is_late = |end: Time| self.clock.now().time >= end;
        self.end.is_some_and(|end| is_late(end) || self.peers.iter().all(membership::has_left))
    }

    fn answer_calls(&mut self) {
        for _ in 0..CALLS_AT_ONCE {
            let Ok((request, sender)) = self.server.calls.try_recv() else { return };
            self.answer((request, sender));
        }
    }

    fn answer(&mut self, (request, sender): Call<Request>) {
        let reply = match request {
            Request::Show(topic) => {
                let inboxes = &self.multicast.inboxes;
                Reply::Done(views::show(topic, &self.peers, inboxes, self.clock.now()))
            }
            Request::Multicast { peer, order } => {
                match operations::find(&self.peers, peer.as_deref()) {
                    Ok(index) => {
                        let (peer, now) = ((index, &mut self.peers[index]), self.clock.now());
                        return self.multicast.order(peer, order, sender, now, &self.writer);
                    }
                    Err(refusal) => Reply::Refused(refusal),
                }
            }
            Request::Ask { peer, question } => {
                let now = self.clock.now();
                match operations::find(&self.peers, peer.as_deref()) {
                    Ok(index) => {
                        let peer = (index, &mut self.peers[index]);
                        self.operations.begin(peer, question, sender, now, &self.writer);
                        return;
                    }
                    Err(refusal) => Reply::Refused(refusal),
                }
            }
        };
        let _gone = sender.send(reply);
    }

    fn begin_search(&mut self) {
        self.next_search = None;
        if let Some(found) = self.search.begin() {
            self.join(&found);
        }
    }

    fn follow_search(&mut self) {
        let found = self.search.poll();
        if self.end.is_some() {
            return;
        }
        if let Some(found) = found {
            self.join(&found);
        }
        let now = self.clock.now().time;
        if self.next_search.is_some_and(|at| at <= now) {
            self.begin_search();
        }
    }

    /// Has all peers that are part of nothing join whoever was found, unless they try already.
    fn join(&mut self, found: &Found) {
        for problem in &found.problems {
            tracing::warn!("a rendezvous was not found: {problem}");
        }
        let now = self.clock.now();
        if found.addresses.is_empty() && self.search.has_aim() {
            let again = SEARCH_INTERVAL.as_secs();
            tracing::warn!("no rendezvous was found; looking again in {again} s");
            self.next_search = Some(now.time + SEARCH_INTERVAL);
            return;
        }
        let first = self.peers[0].own_addresses.clone();
        // Of those that all wait for each other, the first one that is named begins.
        let begins = found.addresses.first().is_none_or(|begins| first.contains(begins));
        for (index, peer) in self.peers.iter_mut().enumerate() {
            let mut boot: Vec<SocketAddr> = found.addresses.clone();
            if index > 0 {
                boot.extend(&first);
            }
            boot.retain(|address| !peer.own_addresses.contains(address));
            boot.dedup();
            if peer.is_in_ring || peer.boot.as_ref() == Some(&boot) {
                continue;
            }
            peer.boot = Some(boot.clone());
            (peer.may_begin, peer.may_found) = (begins && index == 0, begins && index == 0);
            if boot.is_empty() {
                tracing::info!(peer = peer.name, "begins a network of its own");
            }
            let command = locality::Command::Join(boot.clone());
            // What it has asked in vain so far is given up.
            peer.input(Input::Ring(ring::Command::Leave), now, &self.writer);
            peer.input(Input::Ring(ring::Command::Join(boot)), now, &self.writer);
            if !self.dedicated {
                peer.input(Input::Locality(command), now, &self.writer);
            }
        }
    }

    fn heed_events(&mut self) {
        let now = self.clock.now();
        for (index, peer) in self.peers.iter_mut().enumerate() {
            for event in std::mem::take(&mut peer.events) {
                match event {
                    Event::Ring(event) => {
                        membership::ring(peer, &event, now, &self.writer);
                        let again = now.time + SEARCH_AGAIN_INTERVAL;
                        if event == ring::Event::JoinFailed && self.end.is_none() {
                            self.next_search = self.next_search.or(Some(again));
                        }
                        self.operations.ring(index, event);
                    }
                    Event::Locality(event) => {
                        membership::group(peer, &event, now, &self.writer);
                    }
                    Event::SpeaksVersions(address, versions) => {
                        tracing::warn!(%address, ?versions, "speaks other versions of the protocol");
                    }
                    Event::Metrics(metrics::Event::Placed(_)) => {
                        tracing::info!(peer = peer.name, "has found its coordinate");
                    }
                    Event::Somo(event) => {
                        peer.heed_tree(&event, now);
                        self.multicast.tree((index, peer), &event, now, &self.writer);
                    }
                    Event::Delivery(event) => {
                        self.multicast.delivery(index, &peer.name, event, now.time);
                    }
                    Event::Sessions(event) => {
                        peer.heed_sessions(&event, now);
                        self.multicast.sessions(index, &peer.name, &event);
                    }
                    Event::XcastReaches(_) | Event::Data(_) => {}
                }
            }
        }
    }
}

//! The router process: where the pure rooms meet the kernel.
//!
//! Two kinds of threads share nothing but messages:
//!
//! - the control thread ([`Daemon::run`]): kernel changes → [`Rib`] → new [`Fib`] → published;
//!   control socket, signals, group memberships, the kernel-side drop, neighbors' upkeep;
//! - each `worker`: the packet path.
//!
//! What a port needs but cannot get (its interface is missing, down, or refuses a socket) is a
//! state to show, not a reason to exit.

mod backbone;
mod explain;
mod membership;
mod numbering;
mod ports;
mod reporter;
pub mod sandbox;
mod server;
mod settings;
mod sockets;
mod tunnels;
mod worker;
mod workers;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use router_config::Config;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

pub use backbone::{BackboneError, Seeds};
use settings::drivers;
pub use settings::rib_settings;
pub use sockets::DeviceReport;
pub use worker::Report;

use crate::control::{self, REQUEST_LEN_MAX, Reply, Request, Topic};
use crate::fib::Fib;
use crate::forward::{Counters, Time};
use crate::host::Probing;
use crate::io::force_receive_buffer;
use crate::kernel::{EVENT_BUFFER, KernelError, Mirror};
use crate::rib::{InterfaceIndex, NeighborState, Rib};
use crate::wire::CodePoints;
use ports::Ports;
use reporter::Reporter;
pub use server::{Call, PATIENCE, Server};
use tunnels::Tunnels;
use worker::{DroppedPackets, Event};
use workers::Workers;

const KERNEL: Token = Token(0);
const SIGNAL: Token = Token(1);
const WAKE: Token = Token(2);
/// After a compile, this many times its duration go to other work.
pub(crate) const COMPILE_SHARE: u32 = 4;
/// When the router reports ready even if gateways do not answer.
const READY_AT_LAST: Duration = Duration::from_millis(1500);
/// Events of workers that are heeded before anything else has its turn.
const EVENTS_AT_ONCE: usize = 1024;
/// How often the kernel is asked for gateways that it does not know.
const GATEWAY_INTERVAL: Duration = Duration::from_secs(5);
/// How often neighbors in use are looked after.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Why the router cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The kernel's state cannot be read or followed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Keys of tunnels cannot be used.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// Another system call failed.
    #[error("{what}: {error}{}", missing_capability(.error))]
    System {
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// A worker did not come up, or has ended.
    #[error("a worker thread has ended or does not answer; this is a defect, please report it")]
    Worker,
}

fn missing_capability(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (packet sockets need CAP_NET_RAW in this network namespace: run as root, or give \
             the binary the capabilities CAP_NET_RAW and CAP_NET_ADMIN)"
        }
        _ => "",
    }
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> DaemonError {
    let what = what.into();
    |error| DaemonError::System { what, error }
}

/// Reads the configuration anew for a reload; what it says is shown to whoever asked.
pub type Reread = Box<dyn Fn() -> Result<Config, String>>;

/// A router.
pub struct Daemon {
    config: Config,
    /// Whether the start has left it possible to load programs into the kernel.
    may_load: bool,
    reread: Reread,
    /// See [`Fib::secret`].
    secret: u64,
    poll: Poll,
    signals: Signals,
    mirror: Mirror,
    rib: Rib,
    fib: Arc<Fib>,
    /// Older ones that a worker may use still. Freed here, as that takes a while.
    retired: Vec<Arc<Fib>>,
    workers: Workers,
    ports: Ports,
    probing: Probing,
    tunnels: Tunnels,
    seeds: Seeds,
    reporter: Reporter,
    server: Server<Request>,
    /// Neighbors that packets were sent to since the last upkeep.
    used: BTreeSet<(InterfaceIndex, IpAddr)>,
    next_upkeep: Instant,
    /// Gateways without a link-layer address, and when each was asked for.
    gateways: BTreeMap<(InterfaceIndex, IpAddr), Instant>,
    /// The Rib has changed since the Fib was compiled, which may be done again from then on.
    outdated: bool,
    next_publish: Instant,
}

impl Daemon {
    /// Takes up the kernel's state and starts forwarding.
    ///
    /// # Errors
    /// Where privileges are missing, the error names the capability.
    pub fn start(config: Config, seeds: Seeds, reread: Reread) -> Result<Daemon, DaemonError> {
        let poll = Poll::new().map_err(system("cannot make an event queue"))?;
        let registry = poll.registry();
        let waker = Waker::new(registry, WAKE).map(Arc::new);
        let waker = waker.map_err(system("cannot make a waker"))?;
        let mut signals =
            Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(system("cannot listen for signals"))?;
        let registered = registry.register(&mut signals, SIGNAL, Interest::READABLE);
        registered.map_err(system("cannot wait for signals"))?;
        // First of all: where another router answers, this one must not touch a packet.
        let socket = &config.router.control_socket;
        let what = format!("cannot listen on the control socket {}", socket.display());
        let server = Server::listen(socket, REQUEST_LEN_MAX, PATIENCE, Arc::clone(&waker));
        let server = server.map_err(system(what))?;
        let mut mirror = Mirror::open_with(EVENT_BUFFER, force_receive_buffer)?;
        let mut kernel = SourceFd(&mirror.as_raw_fd());
        let registered = registry.register(&mut kernel, KERNEL, Interest::READABLE);
        registered.map_err(system("cannot wait for the kernel's changes"))?;

        let may_load = !config.router.sandbox || sandbox::wants_programs(&config);
        let secret = RandomState::new().hash_one(0);
        let settings = rib_settings(&config, secret);
        let code_points = settings.code_points;
        let mut rib = Rib::new(settings);
        let mut tunnels = Tunnels::new(&config, &waker, secret, tunnels_registry(registry)?);
        let mut changes = Vec::new();
        mirror.synchronize(&mut changes)?;
        let _any = changes.into_iter().fold(false, |any, change| rib.apply(change) | any);
        let wanted = backbone::wanted(&config, &seeds, rib.addresses().collect())?;
        tunnels.configure(&config, wanted, &mut rib);
        let fib = Arc::new(rib.compile());
        let mut ports = Ports::open(&config.router.name, code_points, fib.opens_envelopes())?;
        ports.follow(&fib);
        let (count, drivers) = (usize::from(config.router.workers), drivers(&config, may_load));
        let workers = Workers::start(count, &fib, drivers, &waker, tunnels.sockets())
            .map_err(system("cannot start the workers"))?;
        if !workers.are_up() {
            return Err(DaemonError::Worker);
        }
        tunnels.send_messages();
        let reporter = Reporter::open().map_err(system("cannot open a UDP socket"))?;
        warn_of_missing_ports(&rib);
        let mut daemon = Daemon {
            config,
            may_load,
            reread,
            secret,
            poll,
            signals,
            mirror,
            rib,
            fib,
            retired: Vec::new(),
            workers,
            ports,
            probing: Probing::new(secret),
            tunnels,
            seeds,
            reporter,
            server,
            used: BTreeSet::new(),
            next_upkeep: Instant::now() + UPKEEP_INTERVAL,
            gateways: BTreeMap::new(),
            outdated: false,
            next_publish: Instant::now(),
        };
        daemon.look_for_gateways();
        daemon.probing.follow(&daemon.fib, &daemon.rib);
        Ok(daemon)
    }

    /// What the router begins with, in words: ports that are up and down, and routes.
    pub fn summary(&self) -> String {
        let ports = self.fib.ports().iter().flatten();
        let (tunnels, links): (Vec<_>, Vec<_>) = ports.partition(|port| port.tunnel.is_some());
        let (up, down): (Vec<_>, Vec<_>) = links.into_iter().partition(|port| port.up);
        let mut down: Vec<String> = down.into_iter().map(|port| port.name.clone()).collect();
        down.extend(self.rib.missing_ports());
        let down = match down.is_empty() {
            true => String::new(),
            false => format!(" (not up: {})", down.join(", ")),
        };
        let tunnels = match tunnels.len() {
            0 => String::new(),
            count => format!(", {count} tunnels"),
        };
        format!("{} ports up{down}{tunnels}, {} routes", up.len(), self.rib.route_count())
    }

    /// Runs until a signal or a request says stop. `ready` is called once the gateways are known,
    /// and whether they handle Xcast.
    pub fn run(mut self, ready: impl FnOnce(&Daemon)) -> Result<(), DaemonError> {
        let mut events = Events::with_capacity(16);
        let ready_at_last = Instant::now() + READY_AT_LAST;
        let mut ready = Some(ready);
        loop {
            if ready.is_some() && (self.is_settled() || Instant::now() >= ready_at_last) {
                ready.take().into_iter().for_each(|ready| ready(&self));
            }
            let deadline = self.next_deadline();
            let deadline = if ready.is_some() { deadline.min(ready_at_last) } else { deadline };
            let timeout = deadline.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(system("cannot wait for events")(error));
                }
                _ => {}
            }
            // Each looks for itself whether there is anything to do.
            self.heed_workers();
            let workers = &self.workers;
            let emit = |port, frame| workers.emit(port, frame);
            let probe = |port, frame| {
                // One that finds no room is like one that is lost.
                let _unsent = workers.emit(port, frame);
            };
            self.outdated |= self.probing.act(&self.fib, &mut self.rib, probe);
            self.outdated |= self.tunnels.act(&self.fib, &mut self.rib, probe);
            self.tunnels.read_devices(&self.fib, &self.rib, emit);
            self.follow_kernel();
            self.upkeep();
            if self.answer_calls() || self.heed_signals() {
                self.tunnels.close(&mut self.rib);
                return Ok(());
            }
            if self.workers.any_is_dead() {
                return Err(DaemonError::Worker);
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let publish = self.outdated.then_some(self.next_publish);
        let tunnels = self.tunnels.deadline();
        let others = [self.mirror.deadline(), publish, self.probing.deadline(), tunnels];
        let others = others.into_iter().flatten();
        let next = others.fold(self.next_upkeep, Instant::min);
        // What is left of a burst is heeded at once.
        if self.workers.events.is_empty() { next } else { Instant::now() }
    }

    /// Kernel → Rib → Fib → workers.
    fn follow_kernel(&mut self) {
        let mut changes = Vec::new();
        // What was read before an error holds; the mirror itself tries again.
        if let Err(error) = self.mirror.poll(Instant::now(), &mut changes) {
            tracing::warn!(%error, "cannot follow the kernel for a moment");
        }
        for change in changes {
            tracing::debug!(?change, "the kernel says");
            self.outdated |= self.rib.apply(change);
        }
        if self.outdated && Instant::now() >= self.next_publish {
            self.publish();
        }
    }

    /// Compiles and publishes a Fib. That takes its time where much has changed, so it is not done
    /// more often than to leave most of the time to other work; changes meanwhile go into the next
    /// one together.
    fn publish(&mut self) {
        let start = Instant::now();
        self.note_used();
        let fib = Arc::new(self.rib.compile());
        self.workers.publish(Arc::clone(&fib));
        self.tunnels.send_messages();
        self.retired.push(std::mem::replace(&mut self.fib, fib));
        self.free_retired();
        self.ports.follow(&self.fib);
        self.look_for_gateways();
        self.probing.follow(&self.fib, &self.rib);
        self.outdated = false;
        self.next_publish = Instant::now() + start.elapsed() * COMPILE_SHARE;
    }

    /// Frees the Fibs that no worker uses any more.
    fn free_retired(&mut self) {
        self.retired.retain(|fib| Arc::strong_count(fib) > 1);
    }

    /// Does what the workers ask for.
    fn heed_workers(&mut self) {
        // Several workers may want the same one; the kernel heeds no second call while it asks.
        let mut wanted = BTreeSet::new();
        for _ in 0..EVENTS_AT_ONCE {
            let Ok(event) = self.workers.events.try_recv() else { break };
            match event {
                Event::Wanted(interface, address) => {
                    if wanted.insert((interface, address)) {
                        self.resolve(interface, address);
                    }
                }
                Event::Heard(interface, heard) => {
                    self.probing.hear(interface, heard);
                    self.tunnels.hear(interface, heard, &self.rib);
                }
                Event::Control(message) => self.tunnels.control(&message),
                Event::Trace(request) => {
                    self.reporter.answer(&self.fib, &self.config.router.name, &request);
                }
            }
        }
    }

    /// Has the kernel resolve the gateways of all routes, so that it is known whether they handle
    /// Xcast before the first packet comes.
    fn look_for_gateways(&mut self) {
        let now = Instant::now();
        let fib = Arc::clone(&self.fib);
        let unknown = fib.adjacencies().iter().filter(|gateway| gateway.rewrite.is_none());
        let unknown: BTreeSet<_> = unknown
            .filter_map(|gateway| {
                let port = fib.port(gateway.port).filter(|port| port.up)?;
                Some((port.interface, gateway.address))
            })
            .collect();
        self.gateways.retain(|gateway, _| unknown.contains(gateway));
        for gateway in unknown {
            let asked = self.gateways.get(&gateway);
            if asked.is_none_or(|asked| now.duration_since(*asked) >= GATEWAY_INTERVAL) {
                self.gateways.insert(gateway, now);
                self.resolve(gateway.0, gateway.1);
            }
        }
    }

    /// Whether it is known of all gateways that can be reached whether they handle Xcast.
    fn is_settled(&self) -> bool {
        let failed = |gateway: &(InterfaceIndex, IpAddr)| {
            self.rib.neighbor_state(gateway.0, gateway.1) == Some(NeighborState::Failed)
        };
        !self.outdated
            && self.probing.is_settled()
            && self.tunnels.is_settled()
            && self.gateways.keys().all(failed)
    }

    fn resolve(&mut self, interface: InterfaceIndex, address: IpAddr) {
        if let Err(error) = self.mirror.resolve(interface, address) {
            tracing::warn!(%address, %error, "cannot ask the kernel to resolve a neighbor");
        }
    }

    /// Has the kernel confirm neighbors that we send to: it does not see our packets, and would
    /// let the entries lapse.
    fn upkeep(&mut self) {
        let now = Instant::now();
        if now < self.next_upkeep {
            return;
        }
        self.next_upkeep = now + UPKEEP_INTERVAL;
        self.free_retired();
        self.ports.retry(&self.fib);
        self.look_for_gateways();
        self.note_used();
        let used = std::mem::take(&mut self.used);
        let lapsed: Vec<_> = self.rib.stale().filter(|neighbor| used.contains(neighbor)).collect();
        for (interface, address) in lapsed {
            self.resolve(interface, address);
        }
    }

    /// Collects the marks that the packet path left in the present Fib.
    fn note_used(&mut self) {
        for adjacency in self.fib.adjacencies() {
            if adjacency.take_used()
                && let Some(port) = self.fib.port(adjacency.port)
            {
                self.used.insert((port.interface, adjacency.address));
            }
        }
    }

    /// Returns whether to stop.
    fn heed_signals(&mut self) -> bool {
        let pending: Vec<i32> = self.signals.pending().collect();
        if pending.contains(&SIGHUP)
            && let Err(why) = self.reload()
        {
            tracing::error!("the configuration was not reloaded: {why}");
        }
        pending.iter().any(|signal| matches!(*signal, SIGTERM | SIGINT))
    }

    /// Returns whether to stop.
    fn answer_calls(&mut self) -> bool {
        let mut stop = false;
        while let Ok((request, sender)) = self.server.calls.try_recv() {
            stop |= request == Request::Drain;
            let reply = self.answer(request).unwrap_or_else(|refusal| refusal);
            let _gone = sender.send(reply);
        }
        stop
    }

    /// Answers a request; an `Err` is an answer too.
    fn answer(&mut self, request: Request) -> Result<Reply, Reply> {
        let topic = match request {
            Request::Show(topic) => topic,
            Request::Drain => return Ok(Reply::Done(Value::Null)),
            Request::Reload => {
                return self.reload().map(|()| Reply::Done(Value::Null)).map_err(Reply::Refused);
            }
            Request::Explain(question) => {
                let explanation = explain::explain(&self.fib, &self.rib, &question);
                return done(serde_json::to_value(explanation.map_err(Reply::Refused)?));
            }
            Request::Samples => {
                let dropped = self.workers.samples().ok_or_else(silent)?;
                return done(serde_json::to_value(self.samples(&dropped)));
            }
        };
        let report = || self.workers.report().ok_or_else(silent);
        done(match topic {
            Topic::Counters => Ok(control::counters(&self.counters(report()?))),
            Topic::Drops => Ok(control::drops(&self.counters(report()?))),
            Topic::Routes => serde_json::to_value(control::routes(self.rib.routes())),
            Topic::Backbone => serde_json::to_value(self.tunnels.backbone()),
            Topic::Tunnels => serde_json::to_value(self.tunnels.states()),
            Topic::Neighbors => serde_json::to_value(control::neighbors(self.rib.neighbors())),
            Topic::Ports => {
                let listed = self.rib.listed_ports();
                serde_json::to_value(self.ports.states(&self.fib, &report()?, listed))
            }
        })
    }

    /// What the workers have counted, and what became of control messages.
    fn counters(&self, report: Report) -> Counters {
        let mut counters = report.counters;
        for (reason, count) in self.tunnels.dropped() {
            counters.drops[reason as usize] += count;
            if !reason.counts_packets() {
                counters.destinations_received += count;
            }
            counters.packets_received += count;
            counters.packets_dropped += count;
        }
        counters
    }

    /// Dropped packets for others to see: by the wall clock, and with names of interfaces.
    fn samples(&self, dropped: &DroppedPackets) -> control::Samples {
        let wall = SystemTime::now();
        let time = |time: Time| {
            let ago = dropped.now.saturating_sub(Duration::from_micros(time.0));
            // A clock that was never set may stand shortly after 1970, before which is no name.
            let then = wall.checked_sub(ago).unwrap_or(UNIX_EPOCH).max(UNIX_EPOCH);
            humantime::format_rfc3339_micros(then).to_string()
        };
        let interface = |port| Some(self.fib.port(port)?.name.clone());
        control::samples(&dropped.samples, time, interface)
    }

    /// Takes up what may change while running: ports, routes, neighbors and limits.
    fn reload(&mut self) -> Result<(), String> {
        let config = (self.reread)()?;
        let fixed = |config: &Config| {
            let opens_envelopes = !config.semi_permeable.accept.is_empty();
            (config.experiment, config.router.clone(), opens_envelopes)
        };
        if fixed(&config) != fixed(&self.config) {
            return Err("[experiment], [router] and whether [semi-permeable] accepts anything \
                        cannot change while the router runs: restart it"
                .to_owned());
        }
        // Before anything is changed: it may be refused.
        let wanted = backbone::wanted(&config, &self.seeds, self.rib.addresses().collect());
        let wanted = wanted.map_err(|error| error.to_string())?;
        self.rib.set_settings(rib_settings(&config, self.secret));
        self.tunnels.configure(&config, wanted, &mut self.rib);
        self.workers.set_drivers(drivers(&config, self.may_load));
        self.config = config;
        self.publish();
        tracing::info!("the configuration was reloaded");
        Ok(())
    }
}

fn tunnels_registry(registry: &mio::Registry) -> Result<mio::Registry, DaemonError> {
    registry.try_clone().map_err(system("cannot wait for TUN devices"))
}

fn warn_of_missing_ports(rib: &Rib) {
    for missing in rib.missing_ports() {
        tracing::warn!(interface = missing, "the interface of a [[port]] does not exist");
    }
}

fn silent() -> Reply {
    Reply::Failed("a worker does not answer".to_owned())
}

fn done(json: serde_json::Result<Value>) -> Result<Reply, Reply> {
    json.map(Reply::Done).map_err(|error| Reply::Failed(error.to_string()))
}

/// The code points of a configuration.
pub fn code_points(experiment: &router_config::Experiment) -> CodePoints {
    CodePoints {
        ip_protocol: experiment.ip_protocol,
        all_routers_v4: experiment.all_routers_v4,
        all_routers_v6: experiment.all_routers_v6,
        routing_type: experiment.routing_type,
        ports_option: experiment.ports_option,
        hop_by_hop_option: experiment.hop_by_hop_option,
    }
}

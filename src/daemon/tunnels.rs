//! The tunnels of a router (RFC 5058 section 11.1): those that are configured, and those to ends that
//! the backbone has found. Their sockets and TUN devices, whether the other ends are there, and what
//! the paths to them carry.

mod each;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Registry, Token, Waker};
use router_config::Config;

use super::backbone::Backbone;
use crate::backbone::peers::{self, EndId, EndView, Output, Role};
use crate::backbone::{Counters, Refusal};
use crate::control;
use crate::engine::ControlMessage;
use crate::fib::{Entry, Fib, NO_LINK, PortId, Tunnel};
use crate::forward::{DropReason, Heard, Time};
use crate::io::tun::Tun;
use crate::io::tunnel::TunnelSockets;
use crate::rib::{Rib, TunnelEnds};
use crate::wire::probe;
use crate::wire::tunnel::{Encapsulation, destination};
use each::{Each, ends, open_device};

/// Where TUN devices are waited for.
const TUN: Token = Token(3);
/// How often the kernel is asked what paths carry.
const MTU_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks because some path has turned out to be narrow.
const NARROW_INTERVAL: Duration = Duration::from_millis(100);
/// The least that is made of a path: what every IPv4 link carries (RFC 791 section 3.2).
const MTU_MIN: u32 = 68;
/// What the device to hosts carries while there are none: UDP over IPv6 on Ethernet.
const LEASED_MTU: u32 = 1452;
/// Packets that are taken from a TUN device at once: more than wait in one, as the event queue tells
/// only what is new.
const TUN_BATCH: usize = 1024;

/// All tunnels of a router.
pub(super) struct Tunnels {
    sockets: Arc<TunnelSockets>,
    each: Vec<Each>,
    backbone: Option<Backbone>,
    /// Control messages to be sent once the next Fib holds, and where to.
    messages: Vec<(SocketAddr, Vec<u8>)>,
    /// The next Fib is still to come.
    is_ahead: bool,
    /// By which the node's own stack reaches hosts with leased addresses.
    device: Option<Tun>,
    /// What it carries: what the narrowest tunnel to a host does.
    leased_mtu: u32,
    /// The Rib is still to be told of other tunnels.
    is_unpublished: bool,
    /// Where control messages to configured ends leave from, by the end.
    sources: BTreeMap<IpAddr, IpAddr>,
    registry: Registry,
    /// Packets of the kernel that found no room to wait in.
    crowded_out: u64,
    next_narrow: Instant,
    /// The tunnels to ends that are not configured, by the end.
    found: BTreeMap<EndId, String>,
    /// Control messages that came while there was nobody to take them.
    unwanted: u64,
    next_mtu: Instant,
    start: Instant,
    secret: u64,
}

impl Tunnels {
    /// None yet; `alarm` wakes the control thread when a path turns out to be narrow.
    pub(super) fn new(
        config: &Config,
        alarm: &Arc<Waker>,
        secret: u64,
        registry: Registry,
    ) -> Tunnels {
        let port = config.experiment.tunnel_port;
        Tunnels {
            sockets: Arc::new(TunnelSockets::new(port, Some(Arc::clone(alarm)))),
            each: Vec::new(),
            backbone: None,
            messages: Vec::new(),
            is_ahead: false,
            device: None,
            leased_mtu: 0,
            is_unpublished: false,
            sources: BTreeMap::new(),
            registry,
            crowded_out: 0,
            next_narrow: Instant::now(),
            found: BTreeMap::new(),
            unwanted: 0,
            next_mtu: Instant::now(),
            start: Instant::now(),
            secret,
        }
    }

    pub(super) fn sockets(&self) -> &Arc<TunnelSockets> {
        &self.sockets
    }

    /// Takes up what is configured, and `wanted` of the backbone. What stays as it was goes on as it
    /// did.
    pub(super) fn configure(
        &mut self,
        config: &Config,
        wanted: Option<peers::Config>,
        rib: &mut Rib,
    ) {
        let (now, port) = (self.time(), config.experiment.tunnel_port);
        match (&mut self.backbone, wanted) {
            (Some(backbone), Some(wanted)) => backbone.reconfigure(wanted, now),
            (Some(_), None) => {
                self.close(rib);
                self.backbone = None;
            }
            (backbone, wanted) => *backbone = wanted.map(|wanted| Backbone::new(wanted, now)),
        }
        let mut before: BTreeMap<String, Each> =
            self.each.drain(..).map(|each| (each.ends.name.clone(), each)).collect();
        let listed = config.tunnel.iter().filter_map(|tunnel| Some((ends(tunnel, port)?, tunnel)));
        let listed: Vec<_> = listed.collect();
        let found = &self.found;
        // Those that are gone, or have changed, leave their devices to others.
        let gone = before.extract_if(.., |name, each| {
            !listed.iter().any(|(ends, _)| ends.name == *name && each.stays(ends))
                && !found.values().any(|found| found == name)
        });
        let mut devices: Vec<Tun> = gone.filter_map(|(_, each)| each.device).collect();
        self.sources.clear();
        for (ends, tunnel) in listed {
            if tunnel.keys.is_some() {
                let Tunnel { local, remote, .. } = ends.tunnel;
                self.sources.insert(remote.ip(), local.ip());
            }
            let each = match before.remove(&ends.name) {
                Some(known) => known,
                None => {
                    let mut each = match tunnel.keys.is_some() {
                        _ if !ends.tunnel.encapsulation.has_ends() => Each::native(ends),
                        true => Each::found(ends),
                        false => Each::probed(ends, now),
                    };
                    each.inherit(&mut devices);
                    each
                }
            };
            self.each.push(each);
        }
        self.each.extend(before.into_values());
        self.open_device(config);
        self.listen();
        self.follow_backbone();
        self.open_devices();
        self.publish(rib);
    }

    /// Makes the TUN devices that tunnels lack.
    fn open_devices(&mut self) {
        for each in &mut self.each {
            self.is_unpublished |= each.open_device(&self.registry);
        }
    }

    /// Ends may come of themselves.
    fn listen(&self) {
        if self.backbone.is_none() {
            return;
        }
        if let Err(error) = self.sockets.open(Encapsulation::Udp, Ipv4Addr::UNSPECIFIED.into()) {
            tracing::warn!(%error, "no end can reach this router by UDP over IPv4");
        }
        if let Err(error) = self.sockets.open(Encapsulation::Udp, Ipv6Addr::UNSPECIFIED.into()) {
            tracing::info!(%error, "no end can reach this router by UDP over IPv6");
        }
    }

    /// The device to hosts with leased addresses.
    fn open_device(&mut self, config: &Config) {
        let backbone = config.backbone.as_ref();
        let Some((name, backbone)) = backbone.and_then(|b| Some((b.interface.as_ref()?, b))) else {
            self.device = None;
            return;
        };
        if self.device.as_ref().is_none_or(|device| device.name() != name) {
            self.device = None;
            match open_device(name, &self.registry) {
                Ok(device) => (self.device, self.leased_mtu) = (Some(device), 0),
                Err(error) => {
                    tracing::warn!(interface = name, %error, "cannot make the TUN device");
                }
            }
        }
        for pool in self.device.iter().flat_map(|_| &backbone.leases) {
            let device =
                self.device.as_ref().map(|device| device.add_route(pool.ip(), pool.prefix()));
            if let Some(Err(error)) = device {
                tracing::warn!(%pool, interface = name, %error, "cannot route the leases there");
            }
        }
    }

    /// Tells the Rib of all tunnels, and the workers of their devices.
    fn publish(&mut self, rib: &mut Rib) {
        self.is_unpublished = false;
        self.is_ahead = true;
        let devices = self.each.iter().filter_map(|each| {
            let device = each.device.as_ref()?.try_clone().ok()?;
            Some((each.ends.name.clone(), device))
        });
        self.sockets.set_devices(devices.collect());
        rib.set_tunnels(self.each.iter().map(|each| each.ends.clone()).collect());
        for each in self.each.iter_mut().filter(|each| each.is_unseen()) {
            each.look_at_path(&self.sockets, rib);
        }
        self.tell(rib);
    }

    fn time(&self) -> Time {
        Time(self.start.elapsed().as_micros() as u64)
    }

    /// Does what is due: `emit` sends a frame by a port. Returns whether the Rib has learnt something.
    pub(super) fn act(
        &mut self,
        fib: &Fib,
        rib: &mut Rib,
        mut emit: impl FnMut(PortId, Vec<u8>),
    ) -> bool {
        let now = self.time();
        for each in &mut self.each {
            let frame = each.poll_probe(fib.code_points(), self.secret, now);
            let Some(frame) = frame else { continue };
            let index = rib.tunnel_index(&each.ends.name);
            if let Some(port) = index.and_then(|index| fib.port_of(index)) {
                emit(port, frame);
            }
        }
        if let Some(backbone) = &mut self.backbone {
            backbone.handle_timeout(now);
        }
        self.follow_backbone();
        let now = Instant::now();
        let is_due = now >= self.next_mtu;
        if is_due {
            self.open_devices();
        }
        // Whoever can forge ICMP must not keep the router busy.
        let is_narrow = now >= self.next_narrow && self.sockets.take_narrowed();
        let mut learnt = (is_due || is_narrow) && self.look_at_paths(rib);
        if self.is_unpublished {
            self.publish(rib);
            learnt = true;
        }
        learnt | self.tell(rib)
    }

    /// Does what the backbone says.
    fn follow_backbone(&mut self) {
        while let Some(output) = self.backbone.as_mut().and_then(Backbone::poll_output) {
            match output {
                Output::Send { to, bytes } => self.messages.push((to, bytes)),
                Output::Up(view) | Output::Changed(view) => {
                    self.is_unpublished = true;
                    self.follow_end(&view);
                }
                Output::Down(id, reason) => {
                    self.is_unpublished = true;
                    self.lose_end(id);
                    tracing::info!(end = id.0, ?reason, "an end of the backbone is gone");
                }
                Output::Leased(..) => {}
            }
        }
        if !self.is_ahead && !self.is_unpublished {
            self.send_messages();
        }
    }

    /// Sends the control messages that have waited until what they say holds: who hears of a lease
    /// may send from it at once.
    pub(super) fn send_messages(&mut self) {
        self.is_ahead = false;
        for (to, bytes) in self.messages.drain(..) {
            let opened = self.sockets.open(Encapsulation::Udp, to.ip());
            // What cannot be sent is like what is lost, and is repeated.
            let from = self.sources.get(&to.ip()).copied();
            let _unsent = opened.is_ok_and(|()| self.sockets.send_datagram(from, to, &bytes));
        }
    }

    fn follow_end(&mut self, view: &EndView) {
        let name = view.pinned.clone().unwrap_or_else(|| found_name(view));
        let (address, lease, prefixes) = (view.address, view.lease, view.prefixes.len());
        tracing::info!(tunnel = name, %address, ?lease, prefixes, "an end of the backbone is there");
        if let Some(each) = self.each.iter_mut().find(|each| each.ends.name == name) {
            return each.follow(Some(view));
        }
        let any: IpAddr = match view.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let local = SocketAddr::new(any, self.sockets.udp_port());
        let (encapsulation, remote) = (Encapsulation::Udp, view.address);
        let tunnel = Tunnel { encapsulation, local, remote, keyed: true };
        let mut each = Each::found(TunnelEnds {
            name: name.clone(),
            tunnel,
            interface: None,
            opened: 0,
            strict: view.role == Role::Host,
            near: Vec::new(),
            preference: 0,
        });
        each.follow(Some(view));
        self.found.insert(view.id, name);
        self.each.push(each);
    }

    fn lose_end(&mut self, id: EndId) {
        if let Some(name) = self.found.remove(&id) {
            self.each.retain(|each| each.ends.name != name);
        }
        if let Some(each) = self.each.iter_mut().find(|each| each.is_end(id)) {
            each.follow(None);
        }
    }

    /// A control message has come.
    pub(super) fn control(&mut self, message: &ControlMessage) {
        let now = self.time();
        match &mut self.backbone {
            Some(backbone) => backbone.handle_datagram(message.from, &message.octets, now),
            None => self.unwanted += 1,
        }
        self.follow_backbone();
    }

    /// A probe came back through a tunnel.
    pub(super) fn hear(&mut self, index: u32, heard: Heard, rib: &Rib) {
        let Heard::Returned { nonce, .. } = heard else { return };
        let now = self.time();
        let by_index = |each: &&mut Each| rib.tunnel_index(&each.ends.name) == Some(index);
        if let Some(each) = self.each.iter_mut().find(by_index) {
            each.hear(probe::number(&nonce), now);
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let probes = self.each.iter().filter_map(Each::poll_timeout);
        let backbone = self.backbone.as_ref().and_then(Backbone::poll_timeout);
        let due = probes.chain(backbone).min();
        let due = due.map(|Time(due)| self.start + Duration::from_micros(due));
        due.into_iter().chain((!self.each.is_empty()).then_some(self.next_mtu)).min()
    }

    /// Sends what the kernel has sent by the TUN devices.
    pub(super) fn read_devices(
        &mut self,
        fib: &Fib,
        rib: &Rib,
        mut emit: impl FnMut(PortId, Vec<u8>) -> bool,
    ) {
        if self.device.is_none() && self.each.iter().all(|each| each.device.is_none()) {
            return;
        }
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let mut crowded_out = 0;
        for each in &mut self.each {
            let Some(device) = &mut each.device else { continue };
            let index = rib.tunnel_index(&each.ends.name);
            let port = index.and_then(|index| fib.port_of(index));
            read_device(device, &mut buffer, |packet| {
                let sent = port.is_some_and(|port| emit(port, framed(packet)));
                crowded_out += u64::from(!sent);
            });
        }
        if let Some(device) = &mut self.device {
            read_device(device, &mut buffer, |packet| {
                let port = destination(packet).and_then(|to| tunnel_towards(fib, to));
                let sent = port.is_some_and(|port| emit(port, framed(packet)));
                crowded_out += u64::from(!sent);
            });
        }
        self.crowded_out += crowded_out;
    }

    /// Whether the first answers have come, as far as they may be expected.
    pub(super) fn is_settled(&self) -> bool {
        self.each.iter().all(Each::is_settled)
    }

    fn look_at_paths(&mut self, rib: &mut Rib) -> bool {
        self.next_mtu = Instant::now() + MTU_INTERVAL;
        self.next_narrow = Instant::now() + NARROW_INTERVAL;
        for each in &mut self.each {
            each.look_at_path(&self.sockets, rib);
        }
        let hosts = self.each.iter().filter(|each| each.ends.strict && each.mtu() > 0);
        let least = hosts.map(Each::mtu).min().unwrap_or(LEASED_MTU);
        if let Some(device) = self.device.as_ref().filter(|_| least != self.leased_mtu) {
            match device.set_mtu(least) {
                Ok(()) => self.leased_mtu = least,
                Err(error) => {
                    tracing::warn!(interface = device.name(), %error, "cannot set its MTU");
                }
            }
        }
        self.tell(rib)
    }

    /// Tells the Rib, and the kernel's interfaces, which tunnels can be used.
    fn tell(&mut self, rib: &mut Rib) -> bool {
        let mut learnt = false;
        for each in &mut self.each {
            let Some(state) = each.news() else { continue };
            learnt |= rib.set_tunnel_state(&each.ends.name, state);
            let (name, up) = (&each.ends.name, state.up);
            tracing::info!(tunnel = name, up, mtu = state.mtu, "a tunnel has changed");
            if let Some(device) = &each.device
                && let Err(error) = device.set_carrier(up)
            {
                tracing::debug!(interface = device.name(), %error, "cannot set its carrier");
            }
        }
        learnt
    }

    /// What `show tunnels` prints.
    pub(super) fn states(&mut self) -> control::Tunnels {
        for view in self.backbone.iter().flat_map(Backbone::ends) {
            if let Some(each) = self.each.iter_mut().find(|each| each.is_end(view.id)) {
                each.measured(view);
            }
        }
        control::Tunnels { tunnels: self.each.iter().map(Each::view).collect() }
    }

    /// What `show backbone` prints.
    pub(super) fn backbone(&self) -> control::Backbone {
        let Some(backbone) = &self.backbone else { return control::Backbone::default() };
        backbone.state(|id| {
            let each = self.each.iter().find(|each| each.is_end(id));
            each.map(|each| each.ends.name.clone())
        })
    }

    /// Control messages that were dropped, by reason.
    pub(super) fn dropped(&self) -> impl Iterator<Item = (DropReason, u64)> {
        let counters = self.backbone.as_ref().map(Backbone::counters).unwrap_or_default();
        let of = move |refusal: Refusal| Counters::count(&counters, refusal);
        [
            (
                DropReason::UnknownEnd,
                of(Refusal::UnknownEnd) + of(Refusal::RateLimit) + self.unwanted,
            ),
            (DropReason::BadKey, of(Refusal::BadKey)),
            (DropReason::Replay, of(Refusal::Replay)),
            (DropReason::Length, of(Refusal::Malformed)),
            (DropReason::TransmitFailed, self.crowded_out),
        ]
        .into_iter()
    }

    /// Takes leave of all ends.
    pub(super) fn close(&mut self, rib: &mut Rib) {
        let now = self.time();
        if let Some(backbone) = &mut self.backbone {
            backbone.close_all(now);
            self.follow_backbone();
            self.publish(rib);
            self.send_messages();
            self.send_messages();
        }
    }
}

/// Gives `take` the packets that the kernel has sent by a device, some at once.
fn read_device(device: &mut Tun, buffer: &mut [u8], mut take: impl FnMut(&[u8])) {
    for _ in 0..TUN_BATCH {
        match device.read(buffer) {
            Ok(Some(packet)) => take(packet),
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(interface = device.name(), %error, "cannot read it");
                break;
            }
        }
    }
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&NO_LINK[..], packet].concat()
}

/// The tunnel that an address is behind.
fn tunnel_towards(fib: &Fib, address: IpAddr) -> Option<PortId> {
    let Entry::Gateways(group) = fib.entry_for(address, None) else { return None };
    let hops = fib.members(group).iter().map(|id| fib.adjacency(*id).port);
    hops.into_iter().find(|port| fib.port(*port).is_some_and(|port| port.tunnel.is_some()))
}

/// What the tunnel to an end is called that is not configured: by what it is, and its key.
fn found_name(view: &EndView) -> String {
    let kind = if view.role == Role::Host { "host" } else { "relay" };
    let key = view.key.to_string();
    let short: String = key.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{kind}-{short}")
}

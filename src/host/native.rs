//! Sending and receiving by this host's own links: the kernel's routes and neighbors, and packet
//! sockets.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::error::socket_error;
use super::message::preferred_source;
use super::split::{Limit, split};
use super::troubles::Troubles;
use super::waiting::Waiting;
use super::{Answer, Options, Sent, Trouble, TroubleKind, Unsent};
use super::{Destination, HostError, Message, Network, Probing, Received, Receiver};
use crate::engine::{Engine, Failure};
use crate::fib::{AdjacencyId, Entry, Port, PortId, Tunnel, is_link_local};
use crate::forward::{Counters, DropReason, LINK_HEADER_LEN, inspect};
use crate::io::device::Transmitter;
use crate::io::icmp::{IcmpError, IcmpListener};
use crate::io::inject::LocalStack;
use crate::io::packet::{self, PacketReceiver};
use crate::io::tunnel::{HostsTransmitter, TunnelSockets};
use crate::rib::{InterfaceIndex, NeighborPolicy, PortPolicy, PortSettings, Settings};
use crate::wire::tunnel::Encapsulation;
use crate::wire::xcast4::live_indices;
use crate::wire::{CodePoints, icmp, quote};

/// How often the kernel's changes are looked for while sending.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(1);
/// Packets that are looked at before something else gets its turn.
pub(super) const LOOKS_MAX: usize = 256;
/// Xcast packets that may wait to be received; more are forgotten.
const RECEIVED_MAX: usize = 4096;
/// The longest wait between two looks at what is held.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What [`XcastSocket`](super::XcastSocket) is by the host's own links, method by method.
pub(super) struct Native {
    code_points: CodePoints,
    patience: Duration,
    network: Network,
    engine: Engine<PacketReceiver, Transmitter, LocalStack>,
    /// By port: the interface its device is for, told apart from others of the same index.
    devices: Vec<Option<(InterfaceIndex, u64)>>,
    probing: Probing,
    /// Gateways of which it was waited in vain to be known whether they handle Xcast.
    silent: BTreeSet<(InterfaceIndex, IpAddr)>,
    receiver: Receiver,
    icmp: IcmpListener,
    troubles: Troubles,
    /// Packets that came while something else was waited for.
    received: VecDeque<Received>,
    /// How many of them found no room.
    lost: u64,
    /// There may be more of them in the kernel.
    any_left: bool,
    /// The index of the next packet.
    next_packet: u16,
    waiting: Waiting,
    next_follow: Instant,
    poll: Poll,
}

impl Native {
    /// Learns the kernel's routes and takes the source port.
    ///
    /// # Errors
    /// A privilege is missing, the port is taken, or the interface does not exist.
    pub(super) fn open(code_points: CodePoints, options: &Options) -> Result<Native, HostError> {
        let poll = Poll::new().map_err(socket_error("cannot make an event queue"))?;
        let secret = RandomState::new().hash_one(0);
        let port = PortSettings { neighbors: NeighborPolicy::Probe, ..PortSettings::default() };
        let ports = match &options.interface {
            Some(name) => PortPolicy::Listed([(name.clone(), port)].into()),
            None => PortPolicy::All(port),
        };
        let mut network = Network::open(Settings { ports, secret, ..Settings::open(code_points) })?;
        options.service.into_iter().for_each(|service| network.send_to_service(service));
        if options.among_hosts {
            network.send_among_hosts();
        }
        if let Some(missing) = network.rib.missing_ports().pop() {
            return Err(HostError::NoInterface(missing));
        }
        let what = format!("UDP port {}", options.source_port);
        let receiver = Receiver::open(None, options.source_port, Some(&code_points))
            .map_err(socket_error(what))?;
        let icmp = IcmpListener::open().map_err(socket_error("cannot listen for ICMP errors"))?;
        let descriptors = receiver.descriptors().chain(icmp.descriptors());
        for descriptor in descriptors {
            watch(&poll, descriptor)?;
        }
        watch(&poll, network.as_raw_fd())?;
        let local = LocalStack::open().map_err(socket_error("cannot open a raw socket"))?;
        let mut engine = Engine::new(network.fib(), local);
        engine.record_failures();
        let mut socket = Native {
            code_points,
            patience: options.patience,
            network,
            engine,
            devices: Vec::new(),
            probing: Probing::new(secret),
            silent: BTreeSet::new(),
            receiver,
            icmp,
            troubles: Troubles::default(),
            received: VecDeque::new(),
            lost: 0,
            any_left: false,
            next_packet: 0,
            waiting: Waiting::default(),
            next_follow: Instant::now(),
            poll,
        };
        socket.adopt();
        Ok(socket)
    }

    /// The UDP port that messages come from.
    pub(super) fn source_port(&self) -> u16 {
        self.receiver.port()
    }

    /// Sends one message, in as many packets as it takes. Copies whose neighbor is not resolved
    /// yet are held; [`flush`](Native::flush) waits for them.
    ///
    /// # Errors
    /// Nothing was sent: there is no route to anybody, or no packet can hold the message.
    pub(super) fn send(&mut self, message: &Message<'_>) -> Result<Sent, HostError> {
        if Instant::now() >= self.next_follow {
            self.follow()?;
            self.hear_errors();
            self.next_follow = Instant::now() + FOLLOW_INTERVAL;
        }
        self.settle(message.destinations, self.patience)?;
        let mut sent = Sent::default();
        let mut places: Vec<Vec<usize>> = Vec::new();
        let mut packets = Vec::new();
        let mut any_source = false;
        for is_v6 in [false, true] {
            if !message.destinations.iter().any(|d| d.address.is_ipv6() == is_v6) {
                continue;
            }
            let source = self.source_for(message, is_v6);
            let now = Instant::now();
            let split = split(message, is_v6, |to| self.limit(to, now));
            let unsent = |index, reason| Unsent { index, reason };
            sent.unsent.extend(split.too_big.iter().map(|i| unsent(*i, DropReason::TooBig)));
            let Some(source) = source else {
                let indices = split.packets.into_iter().flatten();
                sent.unsent.extend(indices.map(|index| unsent(index, DropReason::NoRoute)));
                continue;
            };
            any_source = true;
            for indices in split.packets {
                let mut packet = self.packet(message, &indices, source)?;
                if let Some(reason) = self.refusal(message, source, &mut packet) {
                    sent.unsent.extend(indices.iter().map(|index| unsent(*index, reason)));
                    continue;
                }
                packets.push(packet);
                places.push(indices);
            }
        }
        if message.destinations.is_empty() {
            // Says so by name.
            message.packet(&self.code_points, IpAddr::from([0; 4]), 0)?;
        }
        if !any_source {
            return Err(HostError::NoSource);
        }
        sent.packets = packets.len();
        self.originate(message, packets, &places, &mut sent);
        sent.unsent.sort_by_key(|unsent| unsent.index);
        self.resolve_wanted()?;
        Ok(sent)
    }

    /// The source of the packets to destinations of one IP version. Link-local destinations decide
    /// only where there are no others, as what leaves their link needs a source that does, too.
    fn source_for(&self, message: &Message<'_>, is_v6: bool) -> Option<IpAddr> {
        let named = message.source.filter(|source| source.is_ipv6() == is_v6);
        let destinations = || {
            let addresses = message.destinations.iter().map(|destination| destination.address);
            addresses.filter(|address| address.is_ipv6() == is_v6)
        };
        let far = || destinations().filter(|address| !is_link_local(*address));
        // The source for one that cannot be sent to, or lies elsewhere, may be wrong for all others.
        let served = |address: &IpAddr| self.is_served(*address);
        let source = named
            .or_else(|| far().filter(served).find_map(preferred_source))
            .or_else(|| far().find_map(preferred_source))
            .or_else(|| destinations().find_map(|address| self.source_on_link(address)));
        source.filter(|source| named.is_some() || !source.is_loopback())
    }

    /// Whether this socket has a way to a destination.
    fn is_served(&self, to: IpAddr) -> bool {
        use Entry::{Gateways, Local, Neighbor, OnLink};
        let entry = self.network.fib().entry_for(to, None);
        matches!(entry, Local | OnLink(_) | Neighbor(_) | Gateways(_))
    }

    /// This host's own address on the link that a link-local destination is on.
    fn source_on_link(&self, to: IpAddr) -> Option<IpAddr> {
        let fib = self.network.fib();
        let port = match fib.entry_for(to, None) {
            Entry::OnLink(port) => port,
            Entry::Neighbor(neighbor) => fib.adjacency(neighbor).port,
            _ => return preferred_source(to),
        };
        fib.port(port)?.address_towards(to)
    }

    fn packet(
        &self,
        message: &Message<'_>,
        indices: &[usize],
        source: IpAddr,
    ) -> Result<Vec<u8>, HostError> {
        let destinations: Vec<Destination> =
            indices.iter().map(|index| message.destinations[*index]).collect();
        let part = Message { destinations: &destinations, ..*message };
        Ok(part.packet(&self.code_points, source, self.receiver.port())?)
    }

    /// Why no packet may have this source, if that is so. The kernel's choice needs no check.
    fn refusal(
        &self,
        message: &Message<'_>,
        source: IpAddr,
        packet: &mut [u8],
    ) -> Option<DropReason> {
        if message.source.is_none() && !is_link_local(source) {
            return None;
        }
        inspect(self.network.fib(), &mut packet[LINK_HEADER_LEN..], None).err()
    }

    /// How many octets an IP packet to a destination alone may have, as far as is known.
    pub(super) fn mtu(&self, to: IpAddr) -> usize {
        self.limit(to, Instant::now()).alone
    }

    /// How many octets an IP packet to a destination may have: of several gateways any may be taken.
    fn limit(&self, to: IpAddr, now: Instant) -> Limit {
        let fib = self.network.fib();
        let mtu = |port: PortId| fib.port(port).map(|port| port.mtu as usize);
        let by = |id: &AdjacencyId| mtu(fib.adjacency(*id).port);
        let link = match fib.entry_for(to, None) {
            Entry::OnLink(port) => mtu(port),
            Entry::Neighbor(id) => by(&id),
            Entry::Gateways(group) => fib.members(group).iter().filter_map(by).min(),
            _ => None,
        };
        self.troubles.limit(to, link.unwrap_or(usize::MAX), now)
    }

    fn originate(
        &mut self,
        message: &Message<'_>,
        mut packets: Vec<Vec<u8>>,
        places: &[Vec<usize>],
        sent: &mut Sent,
    ) {
        let (first, now) = (self.next_packet, Instant::now());
        let held = self.engine.counters().destinations_pending;
        self.engine.originate(self.network.fib(), &mut packets, first, now);
        self.next_packet = first.wrapping_add(packets.len() as u16);
        if self.engine.counters().destinations_pending > held {
            for (number, indices) in places.iter().enumerate() {
                let list = indices.iter().map(|index| message.destinations[*index]).collect();
                self.waiting.add(first.wrapping_add(number as u16), list, now);
            }
        }
        if self.engine.is_waiting() {
            self.engine.tend(self.network.fib(), now);
        }
        for failure in self.engine.take_failures() {
            let place = usize::from(failure.packet.wrapping_sub(first));
            let Some(indices) = places.get(place) else {
                self.note_failure(failure);
                continue;
            };
            let served = live_indices(failure.live);
            let indices = served.filter_map(|index| indices.get(index));
            let reason = failure.reason;
            sent.unsent.extend(indices.map(|index| Unsent { index: *index, reason }));
        }
    }

    /// A copy that was held could not be sent after all.
    fn note_failure(&mut self, failure: Failure) {
        let Some(list) = self.waiting.list(failure.packet) else { return };
        let served = live_indices(failure.live);
        for destination in served.filter_map(|index| list.get(index)) {
            let destination = SocketAddr::new(destination.address, destination.port);
            let kind = TroubleKind::Unsent(failure.reason);
            self.troubles.add(Trouble::new(destination, kind));
        }
    }

    /// Waits until nothing is held any more: every copy was sent, or its neighbor did not answer
    /// (within 3.5 seconds), which [`take_troubles`](Native::take_troubles) tells.
    ///
    /// # Errors
    /// The kernel cannot be followed.
    pub(super) fn flush(&mut self) -> Result<(), HostError> {
        while self.engine.is_waiting() {
            self.wait(Instant::now() + LOOK_INTERVAL)?;
        }
        Ok(())
    }

    /// The next datagram that arrives at the source port, plain or in Xcast form; `None` if the
    /// timeout passes. Without a timeout it waits for one.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn receive(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Received>, HostError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut is_over = false;
        loop {
            if let Some(received) = self.next_received()? {
                return Ok(Some(received));
            }
            if is_over {
                return Ok(None);
            }
            is_over = self.wait_before(deadline)?;
        }
    }

    /// As [`receive`](Native::receive), and what
    /// [`take_troubles`](Native::take_troubles) tells, one by one and as it comes.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn receive_answer(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Answer>, HostError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut is_over = false;
        loop {
            if let Some(received) = self.next_received()? {
                return Ok(Some(Answer::Datagram(received)));
            }
            self.hear_errors();
            if let Some(trouble) = self.troubles.next() {
                return Ok(Some(Answer::Trouble(trouble)));
            }
            if is_over {
                return Ok(None);
            }
            is_over = self.wait_before(deadline)?;
        }
    }

    fn next_received(&mut self) -> Result<Option<Received>, HostError> {
        match self.received.pop_front() {
            Some(received) => Ok(Some(received)),
            None => self.receiver.next_datagram().map_err(socket_error("cannot receive")),
        }
    }

    /// Waits for anything to happen, and takes it up; returns whether the deadline is over. Once it
    /// is, what is there is taken up all the same.
    fn wait_before(&mut self, deadline: Option<Instant>) -> Result<bool, HostError> {
        self.wait(deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600)))?;
        Ok(deadline.is_some_and(|deadline| Instant::now() >= deadline))
    }

    /// What has come back since the last call: copies that were held in vain, and ICMP errors by
    /// destination. "Too big" has lowered what is sent to that destination.
    pub(super) fn take_troubles(&mut self) -> Vec<Trouble> {
        self.hear_errors();
        self.troubles.take()
    }

    fn hear_errors(&mut self) {
        let now = Instant::now();
        for _ in 0..LOOKS_MAX {
            let Ok(Some(reported)) = self.receiver.next_error() else { break };
            self.troubles.report(&reported, now);
        }
        for _ in 0..LOOKS_MAX {
            let Some(IcmpError { from, is_v6, message }) = self.icmp.receive() else { break };
            let parsed = match is_v6 {
                false => icmp::parse_v4(&message),
                true => icmp::parse_v6(&message),
            };
            let Some((error, quoted)) = parsed else { continue };
            let quote = quote::read(&self.code_points, quoted);
            let own = quote.filter(|quote| {
                let source = self.network.fib().entry_for(quote.source, None);
                source == Entry::Local || is_link_local(quote.source)
            });
            if let Some(quote) = own {
                self.troubles.quoted(error, &quote, from, now);
            }
        }
    }

    /// How many Xcast packets were forgotten as nobody received them.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// What became of everything sent so far.
    pub(super) fn counters(&self) -> &Counters {
        self.engine.counters()
    }

    /// Waits until it is known of the gateways to these destinations whether they handle Xcast,
    /// `patience` at the longest. [`send`](Native::send) does it by itself; who measures time
    /// does it before.
    ///
    /// # Errors
    /// The kernel cannot be followed.
    pub(super) fn settle(
        &mut self,
        destinations: &[Destination],
        patience: Duration,
    ) -> Result<(), HostError> {
        let deadline = Instant::now() + patience;
        let mut asked = Vec::new();
        let mut last = Vec::new();
        while Instant::now() < deadline {
            let fib = self.network.fib();
            let mut unknown = Vec::new();
            for destination in destinations {
                let Entry::Gateways(group) = fib.entry_for(destination.address, None) else {
                    continue;
                };
                for gateway in fib.members(group).iter().map(|id| fib.adjacency(*id)) {
                    let Some(port) = fib.port(gateway.port) else { continue };
                    if port.tunnel.is_some() {
                        continue; // its other end speaks Xcast, whoever is on the way
                    }
                    let neighbor = (port.interface, gateway.address);
                    let known = self.network.rib.is_capable(neighbor.0, neighbor.1);
                    if known.is_none() && !self.silent.contains(&neighbor) {
                        unknown.push((neighbor, gateway.rewrite.is_some()));
                    }
                }
            }
            if unknown.is_empty() {
                return Ok(());
            }
            last.clear();
            for ((interface, address), resolved) in unknown {
                last.push((interface, address));
                if !resolved && !asked.contains(&(interface, address)) {
                    asked.push((interface, address));
                    self.network.resolve(interface, address)?;
                }
            }
            self.wait(deadline)?;
        }
        // Nobody waits for these again.
        self.silent.extend(last);
        Ok(())
    }

    /// Waits for anything to happen, `until` at the latest, and does what is due.
    fn wait(&mut self, until: Instant) -> Result<(), HostError> {
        let mut events = Events::with_capacity(8);
        let due = [self.probing.deadline(), Some(until)].into_iter().flatten().min();
        let due = if self.engine.is_waiting() {
            due.map(|due| due.min(Instant::now() + LOOK_INTERVAL))
        } else {
            due
        };
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        // The event queue tells only what is new.
        let timeout = if self.any_left { Some(Duration::ZERO) } else { timeout };
        match self.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(socket_error("cannot wait")(error));
            }
            _ => {}
        }
        self.follow()
    }

    /// Takes up what the kernel, neighbors and the network have to say.
    fn follow(&mut self) -> Result<(), HostError> {
        let mut looks = LOOKS_MAX;
        loop {
            let (probing, network) = (&mut self.probing, &self.network);
            let hear = |interface, heard| probing.hear(interface, heard);
            let next = self.receiver.next_xcast(network, &mut looks, hear);
            match next.map_err(socket_error("cannot receive Xcast packets"))? {
                Some(_) if self.received.len() >= RECEIVED_MAX => self.lost += 1,
                Some(received) => self.received.push_back(received),
                None => break,
            }
        }
        self.any_left = looks == 0;
        let changed = self.network.follow()?;
        if changed {
            self.adopt();
        }
        let engine = &mut self.engine;
        let emit = |port, frame: Vec<u8>| {
            // A probe that cannot be sent is like one that is lost.
            let _unsent = engine.emit(port, &frame);
        };
        if self.network.probe(&mut self.probing, emit) {
            self.adopt();
        }
        if self.engine.is_waiting() {
            self.engine.tend(self.network.fib(), Instant::now());
        }
        for failure in self.engine.take_failures() {
            self.note_failure(failure);
        }
        if !self.engine.is_waiting() {
            self.waiting.clear();
        }
        self.resolve_wanted()
    }

    /// Opens and closes devices as the ports of the Fib say. What would leave by one that cannot
    /// be opened is counted as `transmit-failed`.
    fn adopt(&mut self) {
        let fib = self.network.fib();
        self.engine.prepare(fib);
        self.devices.resize(self.devices.len().max(fib.ports().len()), None);
        for id in 0..self.devices.len() {
            let port = fib.port(id as PortId);
            let wanted = port.map(Port::identity);
            if self.devices[id] == wanted {
                continue;
            }
            self.devices[id] = wanted;
            self.engine.clear_port(id as PortId);
            if let Some(port) = port.filter(|port| port.tunnel.is_none_or(is_among_hosts)) {
                let opened = match port.tunnel {
                    None => packet::open_sender(port.interface).map(Transmitter::Packet),
                    Some(_) => {
                        let sockets = Arc::new(TunnelSockets::new(0, None));
                        HostsTransmitter::new(sockets).map(Transmitter::Hosts)
                    }
                };
                match opened {
                    Ok(device) => self.engine.set_device(id as PortId, None, Some(device)),
                    Err(error) => {
                        tracing::warn!(interface = port.name, %error, "cannot send by it");
                    }
                }
            }
        }
        self.engine.tend(fib, Instant::now());
        self.probing.follow(fib, &self.network.rib);
    }

    fn resolve_wanted(&mut self) -> Result<(), HostError> {
        for (port, address) in self.engine.take_wanted() {
            if let Some(port) = self.network.fib().port(port) {
                let interface = port.interface;
                self.network.resolve(interface, address)?;
            }
        }
        Ok(())
    }
}

impl AsRawFd for Native {
    /// Readable when [`receive`](Native::receive) has something to do.
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

pub(super) fn watch(poll: &Poll, descriptor: RawFd) -> Result<(), HostError> {
    let mut source = SourceFd(&descriptor);
    let registered = poll.registry().register(&mut source, Token(0), Interest::READABLE);
    registered.map_err(socket_error("cannot wait for packets"))
}

fn is_among_hosts(tunnel: Tunnel) -> bool {
    tunnel.encapsulation == Encapsulation::Hosts
}

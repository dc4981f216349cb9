//! Sending and receiving by a relay, without any privilege: through a UDP tunnel, from an address
//! that the relay leases (WIRE.md "Control messages of UDP tunnels", RFC 5058 section 11).
//!
//! Every packet leaves in Xcast form as one datagram to the relay in use. What comes in counts if
//! it is from a relay for the address which that relay has leased: the one in use, or for two
//! seconds the one before. So nothing arrives twice: packets for an address are routed to one
//! relay, and none is ever sent by two.

mod inner;
mod keeper;
mod link;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use mio::{Events, Poll, Token, Waker};

use super::error::socket_error;
use super::split::{Limit, split};
use super::troubles::Troubles;
use super::{Answer, Destination, HostError, Message, Received, Sent, Trouble, Unsent};
use crate::backbone::{PrivateKey, PublicKey};
use crate::fib::{Entry, Fib, is_link_local};
use crate::forward::{Counters, DropReason, LINK_HEADER_LEN};
use crate::io::datagram::ReportKind;
use crate::io::fill_random;
use crate::rib::{Rib, Settings};
use crate::wire::control::Families;
use crate::wire::{CodePoints, quote};
use inner::{Inner, Place};
use keeper::{Arrival, Control, Keeper};
use link::Link;

/// Packets that may wait to be received; more are forgotten.
const ARRIVALS_MAX: usize = 4096;
/// Events that may wait to be taken; more are forgotten.
const EVENTS_MAX: usize = 256;
/// Ports that are nobody's (RFC 6335 section 6).
const FIRST_DYNAMIC_PORT: u16 = 49_152;
/// Tries to send a message of which relays and paths change meanwhile.
const TRIES: usize = 8;
/// The longest wait between two looks at what has come.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The relays that a host may use, and how it is known to them.
#[derive(Clone, Debug)]
pub struct Relay {
    /// The host's own key: relays must have its public key among those of their hosts. It is one
    /// program's at a time.
    pub private_key: PrivateKey,
    /// Where relays may be, each with what it is called here. The nearest that answers is used, an
    /// anycast address being one like others.
    pub candidates: Vec<(String, SocketAddr)>,
    /// The keys of relays that are trusted. No other relay is ever used.
    pub keys: Vec<PublicKey>,
    /// Of which IP versions an address is wanted; a relay leases one.
    pub families: Families,
    /// The address that the host would like to have.
    pub wish: Option<IpAddr>,
    /// How long sending waits for a relay.
    pub patience: Duration,
}

impl Relay {
    /// How long sending waits for a relay where nothing else is said.
    pub const PATIENCE: Duration = Duration::from_secs(5);
}

/// A relay in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayView {
    /// What it calls itself, or what it is called here.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Its key.
    pub key: PublicKey,
    /// The address that it has leased: the source of what is sent, and what others list.
    pub lease: Option<IpAddr>,
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// How many octets an IP packet through the tunnel may have.
    pub mtu: usize,
}

/// What has become of the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayEvent {
    /// It has leased an address, which may be another one than before, or has none to lease.
    Attached(RelayView),
    /// Another one is used from now on, which is about to lease an address.
    Switched {
        /// That one.
        to: RelayView,
        /// How long ago the one before has answered last.
        after: Duration,
        /// How many packets were sent since the last question that it has answered: what is lost is
        /// among them.
        meanwhile: u64,
    },
    /// There is none any more.
    Detached {
        /// What has happened to the last one.
        reason: String,
    },
}

/// A message's destinations by what is to be done, as their indices in its list.
#[derive(Default)]
struct Sifted {
    /// Those that packets are for.
    listed: Vec<usize>,
    /// Those that are this host itself.
    own: Vec<usize>,
    /// Those that no packet is for.
    refused: BTreeMap<DropReason, Vec<usize>>,
}

/// What [`XcastSocket`](super::XcastSocket) is by a relay, method by method.
pub(super) struct ByRelay {
    code_points: CodePoints,
    /// Knows the code points, and no network.
    fib: Fib,
    port: u16,
    patience: Duration,
    /// The candidates and the own key, for complaints.
    known: String,
    link: Arc<Link>,
    arrivals: Receiver<Arrival>,
    events: Receiver<RelayEvent>,
    control: Control,
    keeper: Option<JoinHandle<()>>,
    /// It was waited in vain for a relay: nobody waits again until there is one.
    is_alone: bool,
    received: VecDeque<Received>,
    troubles: Troubles,
    counters: Counters,
    poll: Poll,
    /// Ends with the queue that it wakes.
    _waker: Arc<Waker>,
}

impl ByRelay {
    /// Begins to look for relays.
    pub(super) fn open(
        code_points: CodePoints,
        source_port: u16,
        relay: &Relay,
    ) -> Result<ByRelay, HostError> {
        let poll = Poll::new().map_err(socket_error("cannot make an event queue"))?;
        let waker = Waker::new(poll.registry(), Token(0));
        let waker = Arc::new(waker.map_err(socket_error("cannot make a waker"))?);
        let link = Link::open(relay.candidates.iter().map(|(_, address)| *address));
        let link = Arc::new(link.map_err(socket_error("cannot open a UDP socket"))?);
        let (packets, arrivals) = bounded(ARRIVALS_MAX);
        let (news, events) = bounded(EVENTS_MAX);
        let keeper = Keeper::new(relay, Arc::clone(&link), (packets, news), Arc::clone(&waker));
        let (keeper, control) = keeper.map_err(socket_error("cannot wait for relays"))?;
        let thread = thread::Builder::new().name("xcast-relay".to_owned());
        let keeper =
            thread.spawn(|| keeper.run()).map_err(socket_error("cannot start a thread"))?;
        let each = relay.candidates.iter().map(|(_, address)| address.to_string());
        let places = each.collect::<Vec<_>>().join(", ");
        let known = format!("{places}; this host's key is {}", relay.private_key.public());
        Ok(ByRelay {
            fib: Rib::new(Settings::open(code_points)).compile(),
            code_points,
            port: if source_port == 0 { dynamic_port() } else { source_port },
            patience: relay.patience,
            known,
            link,
            arrivals,
            events,
            control,
            keeper: Some(keeper),
            is_alone: false,
            received: VecDeque::new(),
            troubles: Troubles::default(),
            counters: Counters::default(),
            poll,
            _waker: waker,
        })
    }

    pub(super) fn source_port(&self) -> u16 {
        self.port
    }

    /// The relay in use, once it has leased an address.
    pub(super) fn relay(&self) -> Option<RelayView> {
        self.link.state().relay.clone()
    }

    pub(super) fn next_event(&mut self) -> Option<RelayEvent> {
        self.events.try_recv().ok()
    }

    /// The relay in use and the address that it has leased, waited for as long as `patience` lasts.
    pub(super) fn attach(&mut self, patience: Duration) -> Result<(RelayView, IpAddr), HostError> {
        // One beyond the clock's end never comes.
        let deadline = Instant::now().checked_add(patience);
        let mut is_over = false;
        loop {
            let relay = self.relay();
            if let Some((relay, address)) =
                relay.as_ref().and_then(|relay| Some((relay.clone(), relay.lease?)))
            {
                self.is_alone = false;
                return Ok((relay, address));
            }
            if self.is_alone || is_over {
                // A look without patience says nothing about later ones.
                self.is_alone |= !patience.is_zero();
                return Err(match relay {
                    Some(relay) => HostError::NoLease(relay.name),
                    None => HostError::NoRelay { known: self.known.clone(), hint: self.hint() },
                });
            }
            is_over = self.wait_before(deadline)?;
            self.take_arrivals();
        }
    }

    fn hint(&self) -> &'static str {
        match self.link.state().untrusted {
            0 => "relays answer only hosts whose key is among their `hosts`",
            _ => "one has answered with a key that is not trusted here",
        }
    }

    pub(super) fn send(&mut self, message: &Message<'_>) -> Result<Sent, HostError> {
        if message.destinations.is_empty() {
            // Says so by name.
            message.packet(&self.code_points, IpAddr::from([0; 4]), 0)?;
        }
        self.take_arrivals();
        let mut sent = Sent::default();
        let mut rest: Vec<usize> = (0..message.destinations.len()).collect();
        let mut reason = DropReason::TransmitFailed;
        for _ in 0..TRIES {
            match self.send_to(message, &mut rest, &mut sent) {
                Ok(why) => reason = why,
                Err(error) if rest.len() == message.destinations.len() => return Err(error),
                // The others have been served or told: these were on their way to a relay that is
                // not there any more.
                Err(_) => {
                    reason = DropReason::TransmitFailed;
                    break;
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        self.drop(&mut sent, rest, reason);
        sent.unsent.sort_by_key(|unsent| unsent.index);
        Ok(sent)
    }

    /// Sends to those of the message's destinations that are left, as far as the relay in use and
    /// the path to it stay as they are; leaves those to be tried again, and says why.
    ///
    /// # Errors
    /// There is no relay, or no packet can hold the message: all are left.
    fn send_to(
        &mut self,
        message: &Message<'_>,
        rest: &mut Vec<usize>,
        sent: &mut Sent,
    ) -> Result<DropReason, HostError> {
        let (relay, source) = self.attach(self.patience)?;
        let Sifted { listed, own, refused } = self.sift(message, rest, source);
        let list: Vec<Destination> = listed.iter().map(|at| message.destinations[*at]).collect();
        // All packets leave in Xcast form.
        let sizes = Message { destinations: &list, keep_xcast: true, ..*message };
        let now = Instant::now();
        let split = split(&sizes, source.is_ipv6(), |to| self.limit(to, &relay, now));
        let packets = split.packets.iter().map(|places| {
            let list: Vec<Destination> = places.iter().map(|at| list[*at]).collect();
            let part = Message { destinations: &list, ..*message };
            part.packet(&self.code_points, source, self.port)
        });
        let packets = packets.collect::<Result<Vec<_>, _>>()?;
        // From here on everybody is accounted for.
        rest.clear();
        refused.into_iter().for_each(|(reason, indices)| self.drop(sent, indices, reason));
        own.into_iter().for_each(|index| self.deliver(message, index, source, sent));
        let too_big = split.too_big.iter().map(|at| listed[*at]).collect();
        self.drop(sent, too_big, DropReason::TooBig);
        let mut reason = DropReason::TransmitFailed;
        for (places, buffer) in split.packets.iter().zip(packets) {
            let indices: Vec<usize> = places.iter().map(|at| listed[*at]).collect();
            let packet = &buffer[LINK_HEADER_LEN..];
            match self.link.send(packet, source) {
                Ok(()) => {
                    sent.packets += 1;
                    self.count_sent(packet, indices.len());
                }
                Err(link::Unsent::Failed) => {
                    self.drop(sent, indices, DropReason::TransmitFailed);
                }
                Err(link::Unsent::TooBig) => {
                    reason = DropReason::TooBig;
                    rest.extend(indices);
                }
                Err(link::Unsent::Moved) => {
                    reason = DropReason::TransmitFailed;
                    rest.extend(indices);
                }
            }
        }
        Ok(reason)
    }

    fn count_sent(&mut self, packet: &[u8], served: usize) {
        self.counters.packets_received += 1;
        self.counters.packets_forwarded += 1;
        self.counters.replicas_sent += 1;
        self.counters.destinations_received += served as u64;
        self.counters.destinations_forwarded += served as u64;
        self.counters.bytes_sent += packet.len() as u64;
    }

    /// Takes those out that no packet is for, or that are this host itself.
    fn sift(&self, message: &Message<'_>, indices: &[usize], source: IpAddr) -> Sifted {
        let mut sifted = Sifted::default();
        let named = message.source.filter(|named| named.is_ipv6() == source.is_ipv6());
        for index in indices.iter().copied() {
            let address = message.destinations[index].address;
            let is_bad = self.fib.entry_for(address, None) == Entry::Bad
                || is_link_local(address)
                || address.is_loopback();
            let reason = match () {
                () if is_bad => DropReason::BadDestination,
                () if address.is_ipv6() != source.is_ipv6() => DropReason::NoRoute,
                () if named.is_some_and(|named| named != source) => DropReason::Source,
                () if address == source => {
                    sifted.own.push(index);
                    continue;
                }
                () => {
                    sifted.listed.push(index);
                    continue;
                }
            };
            sifted.refused.entry(reason).or_default().push(index);
        }
        sifted
    }

    /// A datagram to this host's own leased address does not leave. Nobody but this socket is there.
    fn deliver(&mut self, message: &Message<'_>, index: usize, own: IpAddr, sent: &mut Sent) {
        let Destination { port, dscp, .. } = message.destinations[index];
        if port != self.port {
            return self.drop(sent, vec![index], DropReason::NotForThisRouter);
        }
        if self.received.len() >= ARRIVALS_MAX {
            return self.drop(sent, vec![index], DropReason::TransmitFailed);
        }
        self.counters.destinations_received += 1;
        self.counters.destinations_delivered += 1;
        self.received.push_back(Received {
            source: SocketAddr::new(own, port),
            destination: own,
            port,
            ttl: message.ttl,
            dscp: dscp.unwrap_or(message.dscp),
            channel: message.keep_xcast.then_some(message.channel),
            stamp: None,
            payload: message.payload.to_vec(),
        });
    }

    /// Tells that a packet does not leave for these destinations, and counts what the reason counts.
    fn drop(&mut self, sent: &mut Sent, indices: Vec<usize>, reason: DropReason) {
        if reason.counts_packets() {
            self.refuse(reason, 1);
        } else {
            self.counters.destinations_received += indices.len() as u64;
            self.counters.drop(reason, indices.len() as u32);
        }
        sent.unsent.extend(indices.into_iter().map(|index| Unsent { index, reason }));
    }

    /// Counts packets that came to nothing; each was for one destination if the reason counts these.
    fn refuse(&mut self, reason: DropReason, packets: u64) {
        self.counters.packets_received += packets;
        self.counters.packets_dropped += packets;
        self.counters.drops[reason as usize] += packets;
        if !reason.counts_packets() {
            self.counters.destinations_received += packets;
        }
    }

    fn limit(&self, to: IpAddr, relay: &RelayView, now: Instant) -> Limit {
        self.troubles.limit(to, relay.mtu, now)
    }

    /// How many octets a plain packet may have whose datagram fits one in Xcast form.
    pub(super) fn mtu(&self, to: IpAddr) -> usize {
        let Some(relay) = self.relay() else { return usize::MAX };
        let lone = [Destination { address: to, port: 0, dscp: None }];
        let message = Message { destinations: &lone, ..Message::default() };
        let lists = super::message::Listed::of(&lone);
        let is_v6 = to.is_ipv6();
        let more = message.packet_len(is_v6, 1, lists) - message.unicast_len(is_v6);
        self.limit(to, &relay, Instant::now()).listed.saturating_sub(more)
    }

    /// The next datagram that has come, without waiting.
    pub(super) fn next_received(&mut self) -> Option<Received> {
        self.take_arrivals();
        self.received.pop_front()
    }

    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        if let Some(received) = self.next_received() {
            return Some(Answer::Datagram(received));
        }
        self.troubles.next().map(Answer::Trouble)
    }

    pub(super) fn take_troubles(&mut self) -> Vec<Trouble> {
        self.take_arrivals();
        self.troubles.take()
    }

    /// Reads what the keeper has handed over, as far as there is room.
    fn take_arrivals(&mut self) {
        while self.received.len() < ARRIVALS_MAX
            && let Ok(arrival) = self.arrivals.try_recv()
        {
            match arrival {
                Arrival::Packet { address, packet } => self.read(address, packet),
                Arrival::TooBig { mtu, quoted, from } => {
                    // Of the tunnel, whose MTU is known by now: other relays may take more.
                    if let Some(quote) = quote::read(&self.code_points, &quoted) {
                        self.troubles.tell(ReportKind::TooBig { mtu }, &quote, Some(from));
                    }
                }
            }
        }
        // Last, so that what came before a packet is counted with it.
        let unknown = self.link.unknown.swap(0, Ordering::Relaxed);
        self.refuse(DropReason::UnknownEnd, unknown);
        let congested = self.link.congested.swap(0, Ordering::Relaxed);
        self.refuse(DropReason::IpHeader, congested);
    }

    fn read(&mut self, address: IpAddr, mut packet: Vec<u8>) {
        let place = Place { fib: &self.fib, address, port: self.port };
        match inner::read(&place, &mut packet) {
            Ok(Inner::Datagram(received)) => self.received.push_back(received),
            Ok(Inner::Error { error, quote, from }) => {
                self.troubles.quoted(error, &quote, Some(from), Instant::now());
            }
            Ok(Inner::Report(reported)) => self.troubles.report(&reported, Instant::now()),
            Err(reason) => self.refuse(reason, 1),
        }
    }

    /// Waits until the deadline, or until something may have come; returns whether the deadline is
    /// over.
    pub(super) fn wait_before(&mut self, deadline: Option<Instant>) -> Result<bool, HostError> {
        let never = Instant::now() + LOOK_INTERVAL;
        self.wait(deadline.map_or(never, |deadline| deadline.min(never)))?;
        Ok(deadline.is_some_and(|deadline| Instant::now() >= deadline))
    }

    fn wait(&mut self, deadline: Instant) -> Result<(), HostError> {
        let timeout = deadline.saturating_duration_since(Instant::now()).min(LOOK_INTERVAL);
        match self.poll.poll(&mut Events::with_capacity(1), Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(socket_error("cannot wait")(error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.link.lost.load(Ordering::Relaxed)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl AsRawFd for ByRelay {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

impl Drop for ByRelay {
    /// Takes leave of the relays.
    fn drop(&mut self) {
        self.control.is_over.store(true, Ordering::Release);
        // It looks by itself within a second.
        let _unheard = self.control.waker.wake();
        if let Some(keeper) = self.keeper.take() {
            let _panicked = keeper.join();
        }
    }
}

fn dynamic_port() -> u16 {
    let mut octets = [0; 2];
    fill_random(&mut octets);
    FIRST_DYNAMIC_PORT | u16::from_ne_bytes(octets)
}

#[cfg(test)]
mod tests;

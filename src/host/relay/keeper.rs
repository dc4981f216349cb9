//! The thread that keeps a host's relays whatever its program does: keepalives, choice, failover,
//! and whose packets are let in.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::link::{Link, mtu_to};
use super::{Relay, RelayEvent, RelayView};
use crate::backbone::Refusal;
use crate::backbone::attachment::{Attachment, Options, Output};
use crate::backbone::peers::{DownReason, EndView, Seed};
use crate::forward::Time;
use crate::io::datagram::{self, Datagram, ReportKind, Reported};
use crate::io::fill_random;
use crate::wire::control::{Lease, is_control};
use crate::wire::tunnel::take_over_congestion;

/// Datagrams that are taken before anything else gets its turn.
const BATCH: usize = 256;
/// The longest wait between two looks at what is due.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the kernel is asked what the path carries.
const MTU_INTERVAL: Duration = Duration::from_secs(1);
/// Times that the relay in use was told something, of which it is known how much had been sent.
const TOLD_MAX: usize = 64;
/// How long packets that are still on the way through a former relay are let in.
const LINGER: Duration = Duration::from_secs(2);

/// What the thread hands over to the program.
pub(super) enum Arrival {
    /// An IP packet by a relay that has leased this address.
    Packet { address: IpAddr, packet: Vec<u8> },
    /// One that was sent was longer than the path to the relay takes, `mtu` octets.
    TooBig { mtu: u32, quoted: Vec<u8>, from: IpAddr },
}

/// The thread's side.
pub(super) struct Keeper {
    attachment: Attachment,
    link: Arc<Link>,
    names: BTreeMap<SocketAddr, String>,
    /// What has been leased by whom, and until when packets for it are let in; the relay in use
    /// has no end.
    leases: Vec<(SocketAddr, IpAddr, Option<Instant>)>,
    /// When the relay in use has answered last, and how many packets had been sent before it was
    /// asked.
    heard: (Option<Time>, u64),
    /// When it was told something, and how many packets had been sent by then.
    told: VecDeque<(Time, u64)>,
    arrivals: Sender<Arrival>,
    events: Sender<RelayEvent>,
    program: Arc<Waker>,
    is_over: Arc<AtomicBool>,
    poll: Poll,
    start: Instant,
    measure_at: Instant,
}

/// What the program keeps of the thread's side.
pub(super) struct Control {
    pub(super) waker: Arc<Waker>,
    pub(super) is_over: Arc<AtomicBool>,
}

impl Keeper {
    pub(super) fn new(
        relay: &Relay,
        link: Arc<Link>,
        (arrivals, events): (Sender<Arrival>, Sender<RelayEvent>),
        program: Arc<Waker>,
    ) -> io::Result<(Keeper, Control)> {
        let poll = Poll::new()?;
        for socket in link.sockets() {
            let mut source = SourceFd(&socket.as_raw_fd());
            poll.registry().register(&mut source, Token(0), Interest::READABLE)?;
        }
        let waker = Arc::new(Waker::new(poll.registry(), Token(1))?);
        let is_over = Arc::new(AtomicBool::new(false));
        let control = Control { waker, is_over: Arc::clone(&is_over) };
        let seeds = relay.candidates.iter();
        let options = Options {
            private_key: relay.private_key.clone(),
            relays: seeds.map(|(_, address)| Seed { address: *address, key: None }).collect(),
            keys: relay.keys.clone(),
            families: relay.families,
            wish: relay.wish,
        };
        let names = relay.candidates.iter().map(|(name, address)| (*address, name.clone()));
        let now = Instant::now();
        let keeper = Keeper {
            attachment: Attachment::new(options, Box::new(fill_random), Time(0)),
            link,
            names: names.collect(),
            leases: Vec::new(),
            heard: (None, 0),
            told: VecDeque::new(),
            arrivals,
            events,
            program,
            is_over,
            poll,
            start: now,
            measure_at: now,
        };
        Ok((keeper, control))
    }

    /// Keeps the relays until the program ends it; then takes leave of them.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(8);
        self.act();
        loop {
            let wait = match self.take_datagrams() {
                true => Duration::ZERO,
                false => self.wait(),
            };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != ErrorKind::Interrupted
            {
                tracing::error!(%error, "cannot wait for relays any more");
                return;
            }
            if self.is_over.load(Ordering::Acquire) {
                break;
            }
            self.take_errors();
            if self.attachment.poll_timeout().is_some_and(|due| due <= self.time()) {
                self.attachment.handle_timeout(self.time());
                self.act();
            }
            if self.measure_at <= Instant::now() {
                self.measure_at = Instant::now() + MTU_INTERVAL;
                self.link.measure();
            }
        }
        self.attachment.close(self.time());
        self.act();
    }

    fn time(&self) -> Time {
        Time(self.start.elapsed().as_micros() as u64)
    }

    fn wait(&self) -> Duration {
        let due = self.attachment.poll_timeout();
        let left = due.map(|due| Duration::from_micros(due.0.saturating_sub(self.time().0)));
        left.unwrap_or(LOOK_INTERVAL).min(LOOK_INTERVAL)
    }

    /// Takes what has come; returns whether there may be more.
    fn take_datagrams(&mut self) -> bool {
        let link = Arc::clone(&self.link);
        let (mut any_left, mut any_for_program) = (false, false);
        for socket in link.sockets() {
            let mut left = BATCH;
            while left > 0 {
                left -= 1;
                match datagram::receive(socket) {
                    Ok(datagram) => any_for_program |= self.take(datagram),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {} // what became of another one
                }
            }
            any_left |= left == 0;
        }
        if any_for_program {
            self.wake_program();
        }
        any_left
    }

    /// Takes a datagram; returns whether the program has something to read.
    fn take(&mut self, datagram: Datagram) -> bool {
        let Datagram { source, traffic_class, payload, .. } = datagram;
        if is_control(&payload) {
            let now = self.time();
            self.attachment.handle_datagram(source, &payload, now);
            self.act();
            return false;
        }
        let now = Instant::now();
        self.leases.retain(|(.., until)| until.is_none_or(|until| until > now));
        let address = destination(&payload);
        let by_relay = self.leases.iter().filter(|(relay, ..)| *relay == source);
        // An Xcast packet is for the group; its list is looked at later.
        let for_us = |own: &IpAddr| address.is_some_and(|to| to == *own || to.is_multicast());
        let lease = by_relay.map(|(_, own, _)| *own).find(for_us);
        let (Some(address), mut packet) = (lease, payload) else {
            self.link.unknown.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        if !take_over_congestion(&mut packet, traffic_class) {
            // The way here was congested, and the packet's ends would not learn of it.
            self.link.congested.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.hand_over(Arrival::Packet { address, packet })
    }

    fn hand_over(&self, arrival: Arrival) -> bool {
        match self.arrivals.try_send(arrival) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.link.lost.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    fn wake_program(&self) {
        // The program looks by itself now and then.
        let _unheard = self.program.wake();
    }

    /// Takes what has become of datagrams sent.
    fn take_errors(&mut self) {
        let link = Arc::clone(&self.link);
        let mut is_narrow = false;
        for socket in link.sockets() {
            for _ in 0..BATCH {
                let Ok(Some(reported)) = datagram::take_error(socket) else { break };
                is_narrow |= self.heed(&reported);
            }
        }
        if is_narrow {
            self.link.measure();
            self.wake_program();
        }
    }

    /// A packet was too big on its way to the relay: it is lost, which its sender must know.
    fn heed(&self, reported: &Reported) -> bool {
        let Reported { destination, offender, kind, payload, .. } = reported;
        // What the kernel itself refuses, the sender has been told at once.
        let (ReportKind::TooBig { .. }, Some(from)) = (kind, offender) else { return false };
        if !is_control(payload) {
            let (mtu, quoted) = (mtu_to(*destination) as u32, payload.clone());
            self.hand_over(Arrival::TooBig { mtu, quoted, from: *from });
        }
        true
    }

    /// Does what the relays' state machine says.
    fn act(&mut self) {
        let before = self.heard.0;
        while let Some(output) = self.attachment.poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    self.note_told(to);
                    self.link.send_control(to, &bytes);
                }
                Output::Attached { relay, lease } => self.attached(&relay, &lease),
                Output::Switched { to, after, .. } => self.switched(&to, after),
                Output::Detached(reason) => {
                    self.leave();
                    let reason = words(reason).to_owned();
                    self.tell(RelayEvent::Detached { reason });
                }
            }
        }
        let untrusted = self.attachment.counters().count(Refusal::BadKey);
        let relay = self.attachment.relay();
        let mut state = self.link.state();
        state.untrusted = untrusted;
        let Some(relay) = relay else { return };
        if relay.heard != before {
            // What was sent before the question has arrived before it.
            let asked = relay.heard.map_or(0, |heard| heard.0);
            let asked = asked.saturating_sub(2 * relay.rtt.unwrap_or(0));
            let before = self.told.iter().rev().find(|(at, _)| at.0 <= asked);
            self.heard = (relay.heard, before.or(self.told.front()).map_or(0, |(_, sent)| *sent));
        }
        if let Some(shown) = state.relay.as_mut().filter(|shown| shown.key == relay.key) {
            shown.rtt = relay.rtt.map(Duration::from_micros);
        }
    }

    fn note_told(&mut self, to: SocketAddr) {
        let state = self.link.state();
        if state.relay.as_ref().is_some_and(|relay| relay.address == to) {
            let now = Time(self.start.elapsed().as_micros() as u64);
            self.told.push_back((now, state.sent));
            if self.told.len() > TOLD_MAX {
                self.told.pop_front();
            }
        }
    }

    fn attached(&mut self, relay: &EndView, lease: &Lease) {
        let mut view = self.view(relay);
        view.lease = lease.address;
        if !lease.relay.is_empty() {
            view.name.clone_from(&lease.relay);
        }
        self.end_leases();
        if let Some(address) = lease.address {
            self.leases.retain(|(from, own, _)| (*from, *own) != (relay.address, address));
            self.leases.push((relay.address, address, None));
        }
        self.link.state().relay = Some(view.clone());
        self.tell(RelayEvent::Attached(view));
    }

    fn switched(&mut self, to: &EndView, after: u64) {
        let meanwhile = self.leave();
        let after = Duration::from_micros(after);
        self.tell(RelayEvent::Switched { to: self.view(to), after, meanwhile });
    }

    /// Nothing is sent to the relay in use any more; returns how many packets were since the last
    /// question that it has answered.
    fn leave(&mut self) -> u64 {
        self.end_leases();
        self.told.clear();
        let mut state = self.link.state();
        state.relay = None;
        let before = std::mem::replace(&mut self.heard, (None, state.sent));
        state.sent.saturating_sub(before.1)
    }

    fn end_leases(&mut self) {
        let end = Instant::now() + LINGER;
        for (.., until) in &mut self.leases {
            until.get_or_insert(end);
        }
    }

    fn view(&self, end: &EndView) -> RelayView {
        let name = self.names.get(&end.address).cloned();
        RelayView {
            name: name.unwrap_or_else(|| end.address.to_string()),
            address: end.address,
            key: end.key,
            lease: None,
            rtt: end.rtt.map(Duration::from_micros),
            mtu: mtu_to(end.address),
        }
    }

    fn tell(&self, event: RelayEvent) {
        // A program that does not want to know need not.
        let _full = self.events.try_send(event);
        self.wake_program();
    }
}

fn words(reason: DownReason) -> &'static str {
    match reason {
        DownReason::Silent => "it does not answer any more",
        DownReason::Closed(_) => "it has taken leave",
        DownReason::NotAllowed => "its key is not trusted any more",
        DownReason::Leaving => "this host leaves",
    }
}

/// The destination in an IP header, however little of the packet there is behind it.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(16..)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        6 => packet.get(24..)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

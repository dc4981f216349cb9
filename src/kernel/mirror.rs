//! Follows the kernel: notifications as they come, dumps where those do not suffice.
//!
//! 1. A socket joins the groups of links, addresses, routes, neighbors and nexthop objects.
//! 2. [`Mirror::synchronize`] dumps everything, on a second socket.
//! 3. [`Mirror::poll`] turns each notification into a [`Change`].
//! 4. Where a notification implies silent route changes (see [`super::watch`]), poll dumps the
//!    routes; where notifications were lost, everything.
//!
//! Whatever happens during a dump is told again afterwards by the notification of it, so a
//! consumer must bear a change it has applied already: a route that is there, the removal of one
//! that is not.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::channel::{Channel, DATAGRAM, Dump};
use super::decode::{self, Nexthop};
use super::framing::{Message, messages};
use super::pace::Pace;
use super::watch::{Verdict, Watch};
use super::{KernelError, request};
use crate::rib::{Change, InterfaceIndex, KernelRoute};

/// The receive buffer of the event socket, in octets: room for some 40,000 route changes
/// that wait to be read.
pub const EVENT_BUFFER: usize = 16 << 20;

/// A full dump after lost notifications, at most once in this time.
const RESYNC_INTERVAL: Duration = Duration::from_secs(1);
/// A dump of routes after a silent change, at most once in this time.
const ROUTES_INTERVAL: Duration = Duration::from_millis(5);
/// Tries for one dump that the kernel keeps interrupting.
const DUMP_TRIES: u32 = 4;
/// Datagrams read in one poll; the rest waits for the next.
const DATAGRAMS_PER_POLL: usize = 65_536;

/// The groups whose notifications are needed (`linux/rtnetlink.h`).
const GROUPS: [u32; 6] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
];

/// A view of the kernel's links, addresses, routes and neighbors that is kept up to date.
///
/// Neighbors are the exception: the kernel does not tell that it began to ask for one
/// (`Incomplete`) or is about to confirm one (`Delay`), so the state known before stands; nor
/// does it tell of those for multicast, which are left out.
///
/// Routes by nexthop objects need `net.ipv4.nexthop_compat_mode` = 1, the kernel's default:
/// without it the kernel does not show their next hops, and they are counted as
/// [`undecodable`](Mirror::undecodable).
#[derive(Debug)]
pub struct Mirror {
    events: Socket,
    requests: Channel,
    buffer: Vec<u8>,
    watch: Watch,
    resync: Pace,
    routes: Pace,
    /// Since when notifications wait that the last poll left unread.
    unread: Option<Instant>,
    overruns: u64,
    undecodable: u64,
}

impl Mirror {
    /// Follows the current network namespace; [`synchronize`](Mirror::synchronize) comes next.
    /// The event socket's receive buffer is [`EVENT_BUFFER`], or less where
    /// `net.core.rmem_max` allows less.
    ///
    /// # Errors
    /// No netlink socket can be had. No privilege is needed.
    pub fn open() -> Result<Mirror, KernelError> {
        Mirror::open_with(EVENT_BUFFER, |_, _| Err(io::ErrorKind::Unsupported.into()))
    }

    /// [`open`](Mirror::open) with a receive buffer of `size` octets. `force` may set it beyond
    /// `net.core.rmem_max` (`SO_RCVBUFFORCE`); what it refuses is asked for with `SO_RCVBUF`.
    ///
    /// # Errors
    /// No netlink socket can be had.
    pub fn open_with(
        size: usize,
        force: impl FnOnce(BorrowedFd<'_>, usize) -> io::Result<()>,
    ) -> Result<Mirror, KernelError> {
        let events = open_events(size, force)
            .map_err(|error| KernelError::refused("subscribe to rtnetlink", error))?;
        Ok(Mirror {
            events,
            requests: Channel::open(NETLINK_ROUTE)?,
            buffer: Vec::with_capacity(DATAGRAM),
            watch: Watch::default(),
            resync: Pace::new(RESYNC_INTERVAL),
            routes: Pace::new(ROUTES_INTERVAL),
            unread: None,
            overruns: 0,
            undecodable: 0,
        })
    }

    /// Dumps everything: appends one each of `AllLinks`, `AllAddresses`, `AllRoutes` and
    /// `AllNeighbors`. A dump that the kernel's own changes interrupt is repeated a few times,
    /// then taken as it is and repeated by a later [`poll`](Mirror::poll).
    ///
    /// # Errors
    /// The kernel refused or did not answer. `changes` is as it was, and the next poll tries
    /// again.
    pub fn synchronize(&mut self, changes: &mut Vec<Change>) -> Result<(), KernelError> {
        self.resync.satisfied();
        self.routes.satisfied();
        let outcome = self.dump_all(changes);
        if outcome.is_err() {
            self.resync.want(Instant::now());
            self.requests.reopen()?;
        }
        outcome
    }

    /// Appends what changed since the last call, without waiting for anything to change. `now`
    /// decides whether a dump that [`deadline`](Mirror::deadline) postponed is due.
    ///
    /// # Errors
    /// As [`synchronize`](Mirror::synchronize), or the event socket failed.
    pub fn poll(&mut self, now: Instant, changes: &mut Vec<Change>) -> Result<(), KernelError> {
        self.drain(now, changes)?;
        if self.unread.is_some() {
            // A dump now would miss what is lost until the queue is empty (see drain).
            return Ok(());
        }
        let start = Instant::now();
        if self.resync.due(now) {
            let outcome = self.synchronize(changes);
            self.resync.tried(now, start.elapsed());
            return outcome;
        }
        if self.routes.due(now) {
            self.routes.satisfied();
            let outcome = self.dump_routes();
            self.routes.tried(now, start.elapsed());
            match outcome {
                Ok(routes) => changes.push(Change::AllRoutes(routes)),
                Err(error) => {
                    self.routes.want(now);
                    self.requests.reopen()?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// When [`poll`](Mirror::poll) must be called even if the socket stays silent, because a
    /// dump was postponed or notifications were left unread. It may be in the past.
    pub fn deadline(&self) -> Option<Instant> {
        let postponed = [self.resync.deadline(), self.routes.deadline(), self.unread];
        postponed.into_iter().flatten().min()
    }

    /// How often the event socket overflowed and lost notifications.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// How many messages of the kernel were malformed, or so new that they could not be read.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Asks the kernel to resolve a neighbor, or to confirm one it knows, without sending a
    /// packet ourselves (`NTF_USE`): an unknown or failed one is asked for at once, a stale one
    /// after `delay_first_probe_time` unless it speaks first. The answer comes as a `Neighbor`
    /// change. Does not wait.
    ///
    /// # Errors
    /// The kernel refused: `CAP_NET_ADMIN` is missing, the link is gone (`ENODEV`), or the
    /// neighbor table is full (`ENOBUFS`).
    pub fn resolve(
        &mut self,
        interface: InterfaceIndex,
        address: IpAddr,
    ) -> Result<(), KernelError> {
        const ACTION: &str = "ask for a neighbor";
        let sequence = self.requests.next_sequence();
        self.requests.send(&request::resolve(interface, address, sequence), ACTION)?;
        // The kernel has served a request when sending it returns, so an error is there already.
        let refusal = self
            .requests
            .receive_waiting(ACTION)?
            .filter(|message| message.sequence == sequence)
            .find_map(|message| message.verdict().filter(|code| *code != 0));
        match refusal {
            None => Ok(()),
            Some(code) => {
                let action = format!("ask for neighbor {address} on interface {interface}");
                Err(KernelError::refused(action, io::Error::from_raw_os_error(code)))
            }
        }
    }

    fn drain(&mut self, now: Instant, changes: &mut Vec<Change>) -> Result<(), KernelError> {
        self.unread = None;
        for _ in 0..DATAGRAMS_PER_POLL {
            self.buffer.clear();
            let (length, sender) = match self.events.recv_from(&mut self.buffer, libc::MSG_TRUNC) {
                Ok(received) => received,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => continue,
                    Some(libc::EAGAIN) => return Ok(()),
                    // Nothing more is queued until what is there was read (netlink_overrun), so
                    // reading goes on, and the dump behind it misses nothing.
                    Some(libc::ENOBUFS) => {
                        self.lost(now);
                        continue;
                    }
                    _ => return Err(KernelError::refused("read from rtnetlink", error)),
                },
            };
            if length > self.buffer.len() {
                self.lost(now);
                continue;
            }
            if sender.port_number() == 0 {
                self.notice(now, changes);
            }
        }
        self.unread = Some(now);
        Ok(())
    }

    fn lost(&mut self, now: Instant) {
        self.overruns += 1;
        self.resync.want(now);
        tracing::warn!(overruns = self.overruns, "rtnetlink notifications were lost");
    }

    /// Takes the notifications in the buffer.
    fn notice(&mut self, now: Instant, changes: &mut Vec<Change>) {
        for message in messages(&self.buffer) {
            if let Some(nexthop) = decode::nexthop(&message) {
                if self.watch.judge_nexthop(nexthop) {
                    self.routes.want(now);
                }
                continue;
            }
            let Some(change) = decoded(&message, &mut self.undecodable) else {
                continue;
            };
            let verdict = self.watch.judge(&change, message.flags);
            if verdict != Verdict::Pass {
                self.routes.want(now);
            }
            if verdict != Verdict::DumpInstead {
                changes.push(change);
            }
        }
    }

    fn dump_all(&mut self, changes: &mut Vec<Change>) -> Result<(), KernelError> {
        let links = self.dump("dump links", request::links, |change| match change {
            Change::Link(link) => Some(link),
            _ => None,
        })?;
        let addresses = self.dump("dump addresses", request::addresses, |change| match change {
            Change::Address(address) => Some(address),
            _ => None,
        })?;
        let nexthops = self.dump_nexthops()?;
        let routes = self.dump_routes()?;
        let neighbors = self.dump("dump neighbors", request::neighbors, |change| match change {
            Change::Neighbor(neighbor) => Some(neighbor),
            _ => None,
        })?;
        self.watch.links_are(&links);
        self.watch.nexthops_are(nexthops);
        changes.extend([
            Change::AllLinks(links),
            Change::AllAddresses(addresses),
            Change::AllRoutes(routes),
            Change::AllNeighbors(neighbors),
        ]);
        Ok(())
    }

    /// All routes, in the kernel's order. Notifications of links, addresses and nexthop objects
    /// come before the routes that hang on them are dropped, hence the barrier.
    fn dump_routes(&mut self) -> Result<Vec<KernelRoute>, KernelError> {
        let route = |change| match change {
            Change::Route(route, _) => Some(route),
            _ => None,
        };
        self.barrier()?;
        let mut routes =
            self.dump("dump IPv4 routes", request::routes(libc::AF_INET as u8), route)?;
        routes.extend(self.dump(
            "dump IPv6 routes",
            request::routes(libc::AF_INET6 as u8),
            route,
        )?);
        self.watch.routes_are(&routes);
        Ok(routes)
    }

    /// Waits until the kernel has finished the configuration change it is in the middle of.
    fn barrier(&mut self) -> Result<(), KernelError> {
        const ACTION: &str = "wait for the kernel's configuration lock";
        let sequence = self.requests.next_sequence();
        self.requests.send(&request::barrier(sequence), ACTION)?;
        // Whatever the verdict, it was reached under the lock.
        while !self
            .requests
            .receive(ACTION)?
            .any(|message| message.sequence == sequence && message.verdict().is_some())
        {}
        Ok(())
    }

    fn dump<T>(
        &mut self,
        action: &str,
        request: impl Fn(u32) -> Vec<u8>,
        pick: impl Fn(Change) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        let mut found = Vec::new();
        for _ in 0..DUMP_TRIES {
            found.clear();
            let undecodable = &mut self.undecodable;
            let outcome = self.requests.dump(action, &request, |message| {
                found.extend(decoded(message, undecodable).and_then(&pick));
            })?;
            if outcome == Dump::Whole {
                return Ok(found);
            }
        }
        tracing::debug!(action, "the kernel kept changing during a dump; it will be repeated");
        self.resync.want(Instant::now());
        Ok(found)
    }

    fn dump_nexthops(&mut self) -> Result<BTreeSet<u32>, KernelError> {
        let mut found = BTreeSet::new();
        let outcome = self.requests.dump("dump nexthop objects", request::nexthops, |message| {
            if let Some(Nexthop::Set(id)) = decode::nexthop(message) {
                found.insert(id);
            }
        });
        match outcome {
            Ok(_) => Ok(found),
            // Kernels before 5.3 have none.
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => Ok(found),
            Err(error) => Err(error),
        }
    }
}

impl AsRawFd for Mirror {
    /// The event socket: readable when [`poll`](Mirror::poll) has something to do.
    fn as_raw_fd(&self) -> RawFd {
        self.events.as_raw_fd()
    }
}

impl AsFd for Mirror {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

fn decoded(message: &Message<'_>, undecodable: &mut u64) -> Option<Change> {
    decode::change(message).unwrap_or_else(|error| {
        // The first is worth an operator's attention; more are likely to be of the same kind.
        match *undecodable {
            0 => tracing::warn!(kind = message.kind, %error, "cannot read a kernel message"),
            _ => tracing::debug!(kind = message.kind, %error, "cannot read a kernel message"),
        }
        *undecodable += 1;
        None
    })
}

fn open_events(
    size: usize,
    force: impl FnOnce(BorrowedFd<'_>, usize) -> io::Result<()>,
) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    // The buffer first: a burst may arrive as soon as a group is joined.
    if force(socket.as_fd(), size).is_err() {
        SockRef::from(&socket).set_recv_buffer_size(size)?;
    }
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    // Kernels before 5.3 have no nexthop objects, nor a group for them.
    let _ = socket.add_membership(libc::RTNLGRP_NEXTHOP);
    socket.set_non_blocking(true)?;
    Ok(socket)
}

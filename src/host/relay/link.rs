//! What a host's program and the thread that keeps its relays share: the sockets, and where
//! packets go now.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::RelayView;
use crate::io::datagram;
use crate::io::tunnel::path_mtu;
use crate::wire::tunnel::{Encapsulation, OUTER_TTL, traffic_class};

/// Octets that may wait in a socket, each way.
const BUFFER_LEN: usize = 4 << 20;
/// Tries to send: each of the first ones may fail by what became of another datagram.
const TRIES: usize = 4;
/// How long a full socket may take to have room again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
/// The least that is made of a path, in octets.
const MTU_MIN: usize = 576;

/// What a program and its keeper share.
pub(super) struct Link {
    sockets: Vec<UdpSocket>,
    state: Mutex<State>,
    /// Packets that came from nobody's relay, and are not counted elsewhere yet.
    pub(super) unknown: AtomicU64,
    /// Packets that met congestion on the way here and cannot say so: the same.
    pub(super) congested: AtomicU64,
    /// Packets that found no room.
    pub(super) lost: AtomicU64,
}

/// What changes.
#[derive(Default)]
pub(super) struct State {
    /// The relay in use; with an address leased, packets may go there.
    pub(super) relay: Option<RelayView>,
    /// How many packets have been sent by relays.
    pub(super) sent: u64,
    /// How many messages came from relays whose key is not trusted, or that do not trust ours.
    pub(super) untrusted: u64,
    /// The DS and ECN octet that the sockets send with.
    traffic_class: Option<u8>,
}

/// Why a packet was not sent.
#[derive(Debug)]
pub(super) enum Unsent {
    /// Its source is not the address leased now.
    Moved,
    /// The path to the relay takes less.
    TooBig,
    /// The kernel does not take it.
    Failed,
}

impl Link {
    /// Opens a socket for each IP version that relays have.
    pub(super) fn open(relays: impl Iterator<Item = SocketAddr> + Clone) -> io::Result<Link> {
        let is_needed = |is_v6| relays.clone().any(|relay| relay.is_ipv6() == is_v6);
        let needed = [false, true].into_iter().filter(|is_v6| is_needed(*is_v6));
        Ok(Link {
            sockets: needed.map(open).collect::<io::Result<_>>()?,
            state: Mutex::default(),
            unknown: AtomicU64::new(0),
            congested: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }

    pub(super) fn sockets(&self) -> &[UdpSocket] {
        &self.sockets
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a whole IP packet to the relay in use, if `source` is what that has leased.
    pub(super) fn send(&self, packet: &[u8], source: IpAddr) -> Result<(), Unsent> {
        for _ in 0..TRIES {
            let error = {
                // Held while sending: none goes to a relay that is not in use any more.
                let mut state = self.state();
                let relay = state.relay.as_ref().filter(|relay| relay.lease == Some(source));
                let to = relay.ok_or(Unsent::Moved)?.address;
                let socket = self.socket(to).ok_or(Unsent::Failed)?;
                state.mark(&self.sockets, traffic_class(packet));
                match socket.send_to(packet, to) {
                    Ok(_) => {
                        state.sent += 1;
                        return Ok(());
                    }
                    Err(error) => (error, to),
                }
            };
            match error {
                (error, to) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room(to),
                (error, to) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    self.measure();
                    if packet.len() > mtu_to(to) {
                        return Err(Unsent::TooBig);
                    }
                }
                _ => {} // of another datagram, perhaps
            }
        }
        Err(Unsent::Failed)
    }

    /// Sends a control message. One that is lost is sent again in time.
    pub(super) fn send_control(&self, to: SocketAddr, octets: &[u8]) {
        let Some(socket) = self.socket(to) else { return };
        let sent = || socket.send_to(octets, to).is_ok();
        // The first error may be that of another datagram.
        let _lost = sent() || sent();
    }

    /// Learns what the path to the relay in use carries now.
    pub(super) fn measure(&self) {
        let to = self.state().relay.as_ref().map(|relay| relay.address);
        let Some(to) = to else { return };
        let mtu = mtu_to(to);
        if let Some(relay) = self.state().relay.as_mut().filter(|relay| relay.address == to) {
            relay.mtu = mtu;
        }
    }

    fn socket(&self, to: SocketAddr) -> Option<&UdpSocket> {
        let fits = |socket: &&UdpSocket| {
            socket.local_addr().is_ok_and(|local| local.is_ipv4() == to.is_ipv4())
        };
        self.sockets.iter().find(fits)
    }

    /// Waits until a socket takes more, or the next try fails as well.
    fn wait_for_room(&self, to: SocketAddr) {
        let Some(descriptor) = self.socket(to).map(AsRawFd::as_raw_fd) else { return };
        let Ok(mut poll) = Poll::new() else { return };
        let mut source = SourceFd(&descriptor);
        if poll.registry().register(&mut source, Token(0), Interest::WRITABLE).is_ok() {
            let _interrupted = poll.poll(&mut Events::with_capacity(1), Some(ROOM_TIMEOUT));
        }
    }
}

impl State {
    /// Lets what is sent from now on bear the inner packet's DS and ECN octet (RFC 6040, RFC 2983).
    fn mark(&mut self, sockets: &[UdpSocket], class: u8) {
        if self.traffic_class.replace(class) == Some(class) {
            return;
        }
        for socket in sockets {
            let reference = SockRef::from(socket);
            let is_v4 = socket.local_addr().is_ok_and(|local| local.is_ipv4());
            // Without it the packet goes all the same.
            let _unmarked = match is_v4 {
                true => reference.set_tos_v4(class.into()),
                false => reference.set_tclass_v6(class.into()),
            };
        }
    }
}

/// What a tunnel to a relay carries, in octets of an inner packet.
pub(super) fn mtu_to(relay: SocketAddr) -> usize {
    let (any, least): (IpAddr, usize) = match relay {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), MTU_MIN),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), 1280),
    };
    let path = path_mtu(any, relay.ip()).map_or(1280, |mtu| mtu as usize).max(least);
    path - Encapsulation::Udp.overhead(relay.ip()) as usize
}

fn open(is_v6: bool) -> io::Result<UdpSocket> {
    let domain = if is_v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    let any: IpAddr = match is_v6 {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    if is_v6 {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(OUTER_TTL.into())?;
    } else {
        socket.set_ttl_v4(OUTER_TTL.into())?;
    }
    socket.bind(&SocketAddr::new(any, 0).into())?;
    socket.set_nonblocking(true)?;
    // More than the system's limit may be refused; what is granted will do.
    let _limited = socket.set_recv_buffer_size(BUFFER_LEN);
    let _limited = socket.set_send_buffer_size(BUFFER_LEN);
    let socket = UdpSocket::from(socket);
    datagram::report_headers(&socket)?;
    datagram::report_errors(&socket)?;
    datagram::forbid_fragments(&socket)?;
    Ok(socket)
}

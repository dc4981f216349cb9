//! The sockets of one peer: an ordinary one for each address that it listens at, or an
//! [`XcastSocket`], which also sends to one receiver and receives.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use overlay_protocols::node::DATAGRAM_LEN_MAX;
use socket2::{Domain, Protocol, Socket, Type};
use xcast::host::{Destination, HostError, Message, Options, XcastSocket};
use xcast::io::datagram;
use xcast::wire::CodePoints;

/// What is sent as time to live or hop limit; receivers tell hops by it.
const TTL: u8 = 64;
/// Octets of datagrams that may wait.
const RECEIVE_BUFFER_LEN: usize = 4 << 20;

/// A datagram that has come.
pub(super) struct Arrived {
    pub(super) from: SocketAddr,
    pub(super) ttl: u8,
    /// When the kernel got it, since 1970, if it says so.
    pub(super) stamp: Option<Duration>,
    pub(super) bytes: Vec<u8>,
    /// It was Xcast to its end.
    pub(super) is_xcast: bool,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Packets for one receiver each, in plain form.
    pub(super) plain: u64,
    /// Packets in Xcast form.
    pub(super) xcast: u64,
    /// Receivers that none of them is for.
    pub(super) unsent: u64,
}

/// The sockets of one peer.
pub(super) enum Link {
    Plain(Plain),
    Xcast(Xcast),
}

impl Link {
    /// Ordinary sockets.
    pub(super) fn plain(listen: &[SocketAddr]) -> io::Result<Link> {
        let sockets = listen.iter().map(bind).collect::<io::Result<Vec<_>>>()?;
        Ok(Link::Plain(Plain { sockets, next: 0 }))
    }

    /// A socket for Xcast at the port of `listen`.
    pub(super) fn xcast(
        listen: &[SocketAddr],
        code_points: CodePoints,
        options: Options,
    ) -> Result<Link, HostError> {
        let sources = listen.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified()).collect();
        let port = listen.first().map_or(0, SocketAddr::port);
        // Waiting for a gateway's answer would hold all else up: until then it gets plain copies.
        let options = Options { source_port: port, patience: Duration::ZERO, ..options };
        let socket = Box::new(XcastSocket::open(code_points, &options)?);
        Ok(Link::Xcast(Xcast { socket, sources }))
    }

    /// What to wait for.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Link::Plain(plain) => plain.sockets.iter().map(AsRawFd::as_raw_fd).collect(),
            Link::Xcast(xcast) => vec![xcast.socket.as_raw_fd()],
        }
    }

    /// Whether it has to be looked at now and then, though nothing comes.
    pub(super) fn needs_upkeep(&self) -> bool {
        matches!(self, Link::Xcast(_))
    }

    /// The next datagram, without waiting.
    pub(super) fn receive(&mut self) -> io::Result<Option<Arrived>> {
        match self {
            Link::Plain(plain) => plain.receive(),
            Link::Xcast(xcast) => xcast.receive(),
        }
    }

    /// Sends to one receiver, in plain form.
    pub(super) fn send(&mut self, to: SocketAddr, bytes: &[u8]) -> Left {
        match self {
            Link::Plain(plain) => plain.send(to, bytes),
            Link::Xcast(xcast) => xcast.send_one(to, bytes),
        }
    }

    /// Sends one packet to several receivers; `None`: this is no link for that.
    pub(super) fn send_together(&mut self, to: &[SocketAddr], bytes: &[u8]) -> Option<Left> {
        match self {
            Link::Plain(_) => None,
            Link::Xcast(xcast) => Some(xcast.send_together(to, bytes)),
        }
    }

    /// How many octets an IP packet to an address may have so that it arrives in one piece, as far as
    /// that matters: ordinary sockets send longer ones in fragments.
    pub(super) fn mtu(&self, to: IpAddr) -> usize {
        self.xcast_socket().map_or(usize::MAX, |socket| socket.mtu(to))
    }

    /// The socket, if it is one for Xcast.
    pub(super) fn xcast_socket(&self) -> Option<&XcastSocket> {
        match self {
            Link::Plain(_) => None,
            Link::Xcast(xcast) => Some(&xcast.socket),
        }
    }
}

/// Ordinary sockets.
pub(super) struct Plain {
    sockets: Vec<UdpSocket>,
    /// Whose turn it is, so that no socket starves another.
    next: usize,
}

impl Plain {
    fn receive(&mut self) -> io::Result<Option<Arrived>> {
        for _ in 0..self.sockets.len() {
            self.next = (self.next + 1) % self.sockets.len();
            match datagram::receive(&self.sockets[self.next]) {
                Ok(datagram) => {
                    return Ok(Some(Arrived {
                        from: datagram.source,
                        ttl: datagram.ttl,
                        stamp: datagram.stamp,
                        bytes: datagram.payload,
                        is_xcast: false,
                    }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn send(&self, to: SocketAddr, bytes: &[u8]) -> Left {
        let is_of = |socket: &&UdpSocket| {
            socket.local_addr().is_ok_and(|local| local.is_ipv4() == to.is_ipv4())
        };
        let sent = self.sockets.iter().find(is_of).map(|socket| socket.send_to(bytes, to));
        match sent {
            Some(Ok(_)) => Left { plain: 1, ..Left::default() },
            Some(Err(error)) => {
                tracing::debug!(%to, %error, "a datagram was not sent");
                Left { unsent: 1, ..Left::default() }
            }
            None => {
                tracing::debug!(%to, "there is no socket of this IP version");
                Left { unsent: 1, ..Left::default() }
            }
        }
    }
}

fn bind(address: &SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(*address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(TTL.into())?;
    } else {
        socket.set_ttl_v4(TTL.into())?;
    }
    socket.bind(&(*address).into())?;
    socket.set_nonblocking(true)?;
    // More than the system's limit may be refused; what is granted will do.
    let _limited = socket.set_recv_buffer_size(RECEIVE_BUFFER_LEN);
    let socket = UdpSocket::from(socket);
    datagram::report_headers(&socket)?;
    datagram::report_times(&socket)?;
    Ok(socket)
}

/// A socket for several receivers.
pub(super) struct Xcast {
    socket: Box<XcastSocket>,
    /// The addresses to send from, if they are not the kernel's choice.
    sources: Vec<IpAddr>,
}

impl Xcast {
    pub(super) fn socket(&mut self) -> &mut XcastSocket {
        &mut self.socket
    }

    fn receive(&mut self) -> io::Result<Option<Arrived>> {
        let received = self.socket.receive(Some(Duration::ZERO)).map_err(io::Error::other)?;
        Ok(received.map(|received| Arrived {
            from: received.source,
            ttl: received.ttl,
            stamp: received.stamp,
            bytes: received.payload,
            is_xcast: received.channel.is_some(),
        }))
    }

    fn send_one(&mut self, to: SocketAddr, bytes: &[u8]) -> Left {
        let Left { plain, xcast, unsent } = self.send(&[to], bytes);
        Left { plain: plain + xcast, xcast: 0, unsent }
    }

    /// Where the gateway does not handle Xcast, or receivers are on this host's own links, the
    /// socket sends plain copies: those count as what they are.
    fn send_together(&mut self, to: &[SocketAddr], bytes: &[u8]) -> Left {
        debug_assert!(bytes.len() <= DATAGRAM_LEN_MAX, "room for a list is kept");
        let copies = |socket: &XcastSocket| {
            let counters = socket.counters();
            let plain = counters.unicast_conversions + counters.premature_unicast_conversions;
            (counters.replicas_sent, plain)
        };
        let (replicas, plain) = copies(&self.socket);
        let left = self.send(to, bytes);
        let (replicas, plain) = {
            let (more_replicas, more_plain) = copies(&self.socket);
            (more_replicas - replicas, more_plain - plain)
        };
        match replicas {
            // All are held until a neighbor is known, or went to a relay.
            0 => left,
            _ => Left { plain, xcast: replicas.saturating_sub(plain), ..left },
        }
    }

    fn send(&mut self, to: &[SocketAddr], bytes: &[u8]) -> Left {
        let destination =
            |to: &SocketAddr| Destination { address: to.ip(), port: to.port(), dscp: None };
        let destinations: Vec<Destination> = to.iter().map(destination).collect();
        let is_v6 = to.first().is_some_and(SocketAddr::is_ipv6);
        let source = self.sources.iter().find(|source| source.is_ipv6() == is_v6).copied();
        let message = Message {
            destinations: &destinations,
            source,
            ttl: TTL,
            payload: bytes,
            ..Message::default()
        };
        match self.socket.send(&message) {
            Ok(sent) => {
                for unsent in &sent.unsent {
                    let (to, reason) = (to[unsent.index], unsent.reason.name());
                    tracing::debug!(%to, reason, "a datagram was not sent");
                }
                Left { plain: 0, xcast: sent.packets as u64, unsent: sent.unsent.len() as u64 }
            }
            Err(error) => {
                tracing::debug!(%error, "a datagram was not sent");
                Left { unsent: to.len() as u64, ..Left::default() }
            }
        }
    }
}

//! What arrives at a host: ordinary UDP datagrams, and packets that have stayed Xcast to the end (X
//! set), which no ordinary socket understands.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Network;
use super::answer;
use crate::fib::{Entry, Fib, PortId, is_link_local};
use crate::forward::{Heard, inspect};
use crate::io::datagram::{self, Datagram, Reported};
use crate::io::listen::{PACKET_LEN_MAX, XcastListener};
use crate::wire::ipv4::protocol;
use crate::wire::{CodePoints, probe, udp};

/// Octets of datagrams that may wait.
const RECEIVE_BUFFER_LEN: usize = 8 << 20;
/// Tries to find a port that is free for both IP versions.
const PORT_TRIES: usize = 16;

/// A datagram that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Who sent it.
    pub source: SocketAddr,
    /// The address of this host that it was for.
    pub destination: IpAddr,
    /// The port that it was for.
    pub port: u16,
    /// Its TTL or hop limit on arrival.
    pub ttl: u8,
    /// Its DSCP.
    pub dscp: u8,
    /// `None`: it came as plain unicast. Otherwise it came in Xcast form, on this channel.
    pub channel: Option<u128>,
    /// When the kernel got it, since 1970, before anybody had to wake up; `None` of what came in Xcast
    /// form or by a relay.
    pub stamp: Option<Duration>,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// The sockets of one UDP port.
pub struct Receiver {
    port: u16,
    /// The one address to receive at, if it is not all.
    bound: Option<IpAddr>,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    listener: Option<XcastListener>,
    packet: Vec<u8>,
}

impl Receiver {
    /// Takes UDP port `port` (0: one that is free) of `address`, or of all addresses of both IP
    /// versions, as far as this host has them; with code points, Xcast packets too.
    ///
    /// # Errors
    /// The port is taken; or packet sockets are not allowed here (`PermissionDenied`).
    pub fn open(
        address: Option<IpAddr>,
        port: u16,
        code_points: Option<&CodePoints>,
    ) -> io::Result<Receiver> {
        let address = address.filter(|address| !address.is_unspecified());
        let (v4, v6) = match address {
            Some(address @ IpAddr::V4(_)) => (Some(bind(address, port)?), None),
            Some(address @ IpAddr::V6(_)) => (None, Some(bind(address, port)?)),
            None => bind_both(port)?,
        };
        let any = v4.as_ref().or(v6.as_ref());
        let port =
            any.map_or(Ok(port), |socket| Ok::<_, io::Error>(socket.local_addr()?.port()))?;
        let listener = code_points.map(XcastListener::open).transpose()?;
        let packet = vec![0; if listener.is_some() { PACKET_LEN_MAX } else { 0 }];
        Ok(Receiver { port, bound: address, v4, v6, listener, packet })
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> + '_ {
        let udp = [&self.v4, &self.v6].into_iter().flatten().map(AsRawFd::as_raw_fd);
        udp.chain(self.listener.as_ref().map(AsRawFd::as_raw_fd))
    }

    /// The next plain datagram, without waiting.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next_datagram(&mut self) -> io::Result<Option<Received>> {
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            if let Some(datagram) = next_of(socket)? {
                return Ok(Some(Received {
                    source: datagram.source,
                    destination: datagram.destination,
                    port: self.port,
                    ttl: datagram.ttl,
                    dscp: datagram.traffic_class >> 2,
                    channel: None,
                    stamp: datagram.stamp,
                    payload: datagram.payload,
                }));
            }
        }
        Ok(None)
    }

    /// The next Xcast packet for this port, without waiting. Probes that come back are given to
    /// `heard`, with the interface. Looks at `left` packets at most and lowers that by each, so that
    /// a flood of others' packets does not hold the caller up.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn next_xcast(
        &mut self,
        network: &Network,
        left: &mut usize,
        mut heard: impl FnMut(u32, Heard),
    ) -> io::Result<Option<Received>> {
        let Some(listener) = &mut self.listener else { return Ok(None) };
        while *left > 0 {
            let arrived = match listener.receive(&mut self.packet) {
                Ok(Some(arrived)) => arrived,
                Ok(None) => return Ok(None),
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(error),
            };
            *left -= 1;
            // What came by an interface that is no port was seen at the bridge or bond, or came
            // over the loopback.
            let fib = network.fib();
            let port = fib.port_of(arrived.interface);
            if port.is_none() && !network.is_loopback(arrived.interface) {
                continue;
            }
            let packet = &mut self.packet[..arrived.len];
            if let Some(nonce) = returned_probe(fib, packet, port) {
                heard(arrived.interface, Heard::Returned { port: port.unwrap_or(0), nonce });
                continue;
            }
            let link = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, arrived.interface);
            let bound = self.bound;
            let is_own = |address: IpAddr| {
                fib.entry_for(address, port) == Entry::Local
                    && bound.is_none_or(|bound| bound == address)
            };
            if let Some(received) = read(fib, packet, port, self.port, is_own, link) {
                return Ok(Some(received));
            }
        }
        Ok(None)
    }

    /// Answers a datagram, from the address and port that it was for.
    ///
    /// # Errors
    /// What the kernel says, and `NotConnected` if the IP version is none of this receiver's.
    pub fn answer(&self, to: &Received, payload: &[u8]) -> io::Result<()> {
        let socket = if to.source.is_ipv4() { &self.v4 } else { &self.v6 };
        let socket = socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        answer::send(socket, to.destination, to.source, payload)
    }

    /// The next report of a datagram that did not arrive.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next_error(&mut self) -> io::Result<Option<Reported>> {
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            if let Some(reported) = datagram::take_error(socket)? {
                return Ok(Some(reported));
            }
        }
        Ok(None)
    }
}

/// An Xcast packet for one of this host's addresses and `own_port`. One that may still become
/// unicast has not arrived: its sender or a router will see to that.
pub(super) fn read(
    fib: &Fib,
    packet: &mut [u8],
    port: Option<PortId>,
    own_port: u16,
    is_own: impl Fn(IpAddr) -> bool,
    link: SocketAddrV6,
) -> Option<Received> {
    let inspected = inspect(fib, packet, port).ok()?;
    let datagram = inspected.transport;
    if !inspected.keeps_xcast
        || inspected.protocol != protocol::UDP
        || datagram.len() < udp::HEADER_LEN
        || !udp::checksum_valid(datagram, inspected.source, inspected.destination)
    {
        return None;
    }
    let word = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
    let is_ours = |&&(address, listed): &&(IpAddr, Option<u16>)| {
        is_own(address) && listed.unwrap_or(word(2)) == own_port
    };
    let (destination, _) = *inspected.live.iter().find(is_ours)?;
    let source = match inspected.source {
        IpAddr::V6(v6) if is_link_local(v6.into()) => {
            SocketAddrV6::new(v6, word(0), 0, link.scope_id()).into()
        }
        source => SocketAddr::new(source, word(0)),
    };
    Some(Received {
        source,
        destination,
        port: own_port,
        ttl: inspected.ttl,
        dscp: inspected.traffic_class >> 2,
        channel: Some(inspected.channel),
        stamp: None,
        payload: datagram[udp::HEADER_LEN..].to_vec(),
    })
}

fn returned_probe(
    fib: &Fib,
    packet: &mut [u8],
    port: Option<PortId>,
) -> Option<[u8; probe::NONCE_LEN]> {
    let inspected = inspect(fib, packet, port).ok()?;
    let nonce = probe::nonce(inspected.transport)?;
    let alone = inspected.live == [(inspected.source, None)];
    (alone && inspected.keeps_xcast && probe::is_genuine(&nonce, fib.secret())).then_some(nonce)
}

/// The next datagram, without waiting on a socket that does not block. A report makes one call
/// fail, once; the datagrams behind it are still there, and nobody would
/// tell of them again.
fn next_of(socket: &UdpSocket) -> io::Result<Option<Datagram>> {
    loop {
        match datagram::receive(socket) {
            Ok(datagram) => return Ok(Some(datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Errors that end nothing: nothing is there, or an earlier datagram did not arrive, which the
/// error queue tells in full.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        WouldBlock
            | Interrupted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
            | PermissionDenied
    ) || matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EPROTO | libc::ENOPROTOOPT))
}

fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SocketAddr::new(address, port).into())?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from(socket);
    datagram::report_headers(&socket)?;
    datagram::report_errors(&socket)?;
    datagram::report_times(&socket)?;
    // More than the system's limit may be refused; what is granted will do.
    let _limited = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_LEN);
    Ok(socket)
}

/// The same port of both IP versions; of IPv4 alone where IPv6 is off.
fn bind_both(port: u16) -> io::Result<(Option<UdpSocket>, Option<UdpSocket>)> {
    for _ in 0..PORT_TRIES {
        let v4 = bind(Ipv4Addr::UNSPECIFIED.into(), port)?;
        match bind(Ipv6Addr::UNSPECIFIED.into(), v4.local_addr()?.port()) {
            Ok(v6) => return Ok((Some(v4), Some(v6))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => return Ok((Some(v4), None)),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_does_not_hide_the_datagram_behind_it() {
        let at = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (socket, closed) = (at(), at().local_addr().unwrap());
        datagram::report_errors(&socket).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.send_to(b"nobody is there", closed).unwrap();
        at().send_to(b"for you", socket.local_addr().unwrap()).unwrap();
        let received = next_of(&socket).unwrap().expect("it waits for a datagram");
        assert_eq!(received.payload, b"for you");
    }
}

//! Where the stream comes in: an ordinary UDP socket, in a group if its address is one.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

use super::Failure;
use crate::io::datagram::{self, Datagram};
use crate::io::force_receive_buffer;

/// Octets of datagrams that may wait.
const RECEIVE_BUFFER_LEN: usize = 8 << 20;

/// A socket that receives the stream.
pub(super) struct Intake {
    pub(super) at: SocketAddr,
    socket: UdpSocket,
}

impl Intake {
    /// Listens; in a group on the interface, or on the one that the kernel chooses.
    pub(super) fn open(at: SocketAddr, interface: Option<u32>) -> Result<Intake, Failure> {
        let socket = open(at, interface).map_err(|error| {
            let hint = match at.ip().is_multicast() && interface.is_none() {
                true => " (does --interface say on which network the group is?)",
                false => "",
            };
            Failure::Work(format!("cannot listen at {at}: {error}{hint}"))
        })?;
        Ok(Intake { at, socket })
    }

    /// The next datagram, without waiting.
    pub(super) fn next(&self) -> io::Result<Option<Datagram>> {
        match datagram::receive(&self.socket) {
            Ok(datagram) => Ok(Some(datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many datagrams came faster than they were taken.
    pub(super) fn lost(&self) -> u64 {
        datagram::lost(&self.socket).unwrap_or(0).into()
    }
}

impl AsRawFd for Intake {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn open(at: SocketAddr, interface: Option<u32>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let mut bound = at;
    if at.ip().is_multicast() {
        // Others on this host may be in the group, too.
        socket.set_reuse_address(true)?;
    }
    if let (SocketAddr::V6(v6), Some(index)) =
        (&mut bound, interface.filter(|_| at.ip().is_multicast()))
    {
        v6.set_scope_id(index);
    }
    // Only what this socket has joined, not what others on this host have.
    match at.ip() {
        IpAddr::V4(_) => socket.set_multicast_all_v4(false)?,
        IpAddr::V6(_) => socket.set_multicast_all_v6(false)?,
    }
    socket.bind(&bound.into())?;
    let index = interface.unwrap_or(0);
    match at.ip() {
        IpAddr::V4(group) if group.is_multicast() => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
        }
        IpAddr::V6(group) if group.is_multicast() => socket.join_multicast_v6(&group, index)?,
        _ => {}
    }
    let socket = UdpSocket::from(socket);
    datagram::report_headers(&socket)?;
    if force_receive_buffer(socket.as_fd(), RECEIVE_BUFFER_LEN).is_err() {
        // What the system grants to everybody will do.
        let _limited = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_LEN);
    }
    Ok(socket)
}

//! Packets into this node's own IP stack, as if they had arrived: local delivery (WIRE.md R3).

use std::io;
use std::net::SocketAddrV4;

use socket2::{Domain, Protocol, Socket, Type};

use super::Deliver;
use crate::wire::ipv4;

/// A raw IPv4 socket that sends complete packets to addresses of this node. The kernel routes
/// them over the loopback, where ordinary sockets receive them with their own source.
pub struct LocalStack {
    socket: Socket,
}

impl LocalStack {
    /// Opens the socket.
    ///
    /// # Errors
    /// What the kernel says; without `CAP_NET_RAW` it is `PermissionDenied`.
    pub fn open() -> io::Result<LocalStack> {
        let raw = Protocol::from(libc::IPPROTO_RAW);
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(raw))?;
        socket.set_nonblocking(true)?;
        Ok(LocalStack { socket })
    }
}

impl Deliver for LocalStack {
    fn deliver(&mut self, head: &[u8], tail: &[u8]) -> bool {
        let Some(destination) = ipv4::destination(head) else { return false };
        let pieces = [io::IoSlice::new(head), io::IoSlice::new(tail)];
        let address = SocketAddrV4::new(destination, 0);
        self.socket.send_to_vectored(&pieces, &address.into()).is_ok()
    }
}

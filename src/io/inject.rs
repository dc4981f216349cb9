//! This node's own IP stack: packets into it as if they had arrived (WIRE.md R3), and ICMP
//! messages out of it by its own routes (WIRE.md R12).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Deliver;
use super::system::set_option;
use crate::wire::{ipv4, ipv6};

/// Level and name of the option that tells which ICMP types a raw socket receives
/// (linux/icmp.h, linux/icmpv6.h). A bit that is set keeps a type away.
pub(super) const ICMP_FILTER: (libc::c_int, libc::c_int) = (255, 1);
pub(super) const ICMPV6_FILTER: (libc::c_int, libc::c_int) = (libc::IPPROTO_ICMPV6, 1);

/// Raw sockets that send complete packets to addresses of this node. The kernel routes them over
/// the loopback, where ordinary sockets receive them with their own source. A packet to a group
/// goes to the loopback as it is, where only packet sockets see it
/// ([`XcastListener`](super::listen::XcastListener)).
///
/// Where IPv6 is off, its packets and messages are not taken.
pub struct LocalStack {
    v4: Socket,
    v6: Option<Socket>,
    icmp: Socket,
    icmpv6: Option<Socket>,
}

impl LocalStack {
    /// Opens the sockets.
    ///
    /// # Errors
    /// What the kernel says; without `CAP_NET_RAW` it is `PermissionDenied`.
    pub fn open() -> io::Result<LocalStack> {
        let icmp = raw(Domain::IPV4, libc::IPPROTO_ICMP)?;
        set_option(icmp.as_raw_fd(), ICMP_FILTER.0, ICMP_FILTER.1, &u32::MAX)?;
        let icmpv6 = raw(Domain::IPV6, libc::IPPROTO_ICMPV6).ok();
        if let Some(socket) = &icmpv6 {
            set_option(socket.as_raw_fd(), ICMPV6_FILTER.0, ICMPV6_FILTER.1, &[u32::MAX; 8])?;
        }
        Ok(LocalStack {
            v4: raw(Domain::IPV4, libc::IPPROTO_RAW)?,
            v6: raw(Domain::IPV6, libc::IPPROTO_RAW).ok(),
            icmp,
            icmpv6,
        })
    }
}

/// A raw socket that does not block.
pub(super) fn raw(domain: Domain, protocol: libc::c_int) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Deliver for LocalStack {
    fn deliver(&mut self, head: &[u8], tail: &[u8], interface: Option<u32>) -> bool {
        // What the kernel routes by is the address given here, not the one in the packet.
        let (socket, to): (_, IpAddr) = match head.first().map(|octet| octet >> 4) {
            Some(4) => match ipv4::destination(head) {
                Some(group) if group.is_multicast() => (Some(&self.v4), Ipv4Addr::LOCALHOST.into()),
                Some(own) => (Some(&self.v4), own.into()),
                None => return false,
            },
            Some(6) => match ipv6::destination(head) {
                Some(group) if group.is_multicast() => {
                    (self.v6.as_ref(), Ipv6Addr::LOCALHOST.into())
                }
                Some(own) => (self.v6.as_ref(), own.into()),
                None => return false,
            },
            _ => return false,
        };
        let pieces = [io::IoSlice::new(head), io::IoSlice::new(tail)];
        let sent = |socket: &Socket| socket.send_to_vectored(&pieces, &address(to, interface));
        socket.is_some_and(|socket| sent(socket).is_ok())
    }

    fn report(&mut self, to: IpAddr, interface: Option<u32>, icmp: &[u8]) -> bool {
        let socket = match to {
            IpAddr::V4(_) => Some(&self.icmp),
            IpAddr::V6(_) => self.icmpv6.as_ref(),
        };
        socket.is_some_and(|socket| socket.send_to(icmp, &address(to, interface)).is_ok())
    }
}

/// A raw socket's address: no port, and a scope, which the kernel looks at for link-local
/// addresses alone.
fn address(ip: IpAddr, interface: Option<u32>) -> SockAddr {
    match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, 0).into(),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, 0, 0, interface.unwrap_or(0)).into(),
    }
}

//! ICMP errors that arrive at this node, whatever they are about: what the kernel tells no UDP socket,
//! as it does not know Xcast.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Socket};

use super::inject::{ICMP_FILTER, ICMPV6_FILTER, raw};
use super::system::set_option;

/// Unreachable (3) and time exceeded (11).
const ERRORS_V4: u32 = !(1 << 3 | 1 << 11);
/// Unreachable (1), too big (2), time exceeded (3).
const ERRORS_V6: u32 = !(1 << 1 | 1 << 2 | 1 << 3);
/// The longest error that is read, in octets.
const MESSAGE_LEN_MAX: usize = 1500;

/// Raw sockets for the ICMP errors of both IP versions.
pub struct IcmpListener {
    v4: Socket,
    /// `None` where IPv6 is off.
    v6: Option<Socket>,
}

/// An ICMP error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent it, as far as the kernel says.
    pub from: Option<IpAddr>,
    /// Whether it is an ICMPv6 message.
    pub is_v6: bool,
    /// The message from its type on.
    pub message: Vec<u8>,
}

impl IcmpListener {
    /// Starts to listen.
    ///
    /// # Errors
    /// What the kernel says; without `CAP_NET_RAW` it is `PermissionDenied`.
    pub fn open() -> io::Result<IcmpListener> {
        let v4 = raw(Domain::IPV4, libc::IPPROTO_ICMP)?;
        set_option(v4.as_raw_fd(), ICMP_FILTER.0, ICMP_FILTER.1, &ERRORS_V4)?;
        let v6 = raw(Domain::IPV6, libc::IPPROTO_ICMPV6).ok();
        if let Some(socket) = &v6 {
            let mut filter = [u32::MAX; 8];
            filter[0] = ERRORS_V6;
            set_option(socket.as_raw_fd(), ICMPV6_FILTER.0, ICMPV6_FILTER.1, &filter)?;
        }
        Ok(IcmpListener { v4, v6 })
    }

    /// The sockets to wait for.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> + '_ {
        [Some(&self.v4), self.v6.as_ref()].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }

    /// The next error, without waiting; `None` if there is none.
    pub fn receive(&mut self) -> Option<IcmpError> {
        let mut buffer = [0; MESSAGE_LEN_MAX];
        if let Ok(length) = (&self.v4).read(&mut buffer) {
            // A raw socket of IPv4 gets the IP header too, which the kernel has checked.
            let packet = &buffer[..length];
            let header_len = usize::from(packet.first()? & 0xf) * 4;
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let message = packet.get(header_len..)?.to_vec();
            let from = Some(Ipv4Addr::from(source).into());
            return Some(IcmpError { from, is_v6: false, message });
        }
        let length = self.v6.as_ref().and_then(|mut socket| socket.read(&mut buffer).ok())?;
        let message = buffer[..length].to_vec();
        Some(IcmpError { from: None, is_v6: true, message })
    }
}

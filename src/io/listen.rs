//! Reception at a host: Xcast packets that arrive by any interface, for programs that are not a
//! router.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::system::{check, option, set_option, socklen};
use super::{filter, packet};
use crate::wire::CodePoints;

/// The longest IP packet that is not a jumbogram (RFC 2675), in octets: an IPv6 header and the
/// longest payload. A buffer of this length takes whatever arrives.
pub const PACKET_LEN_MAX: usize = 40 + 65_535;

/// One packet socket for all interfaces of the network namespace, those included that come later.
/// What it receives is a copy: the stack and other listeners get theirs.
///
/// It sees the Xcast packets, IPv4 and IPv6, of frames that come to an interface's own link-layer
/// address or to that of a group of Xcast routers, but for VLAN-tagged ones (an interface of the
/// VLAN shows them). What this host sends does not come back, except over the loopback: there a
/// frame leaves, which is ignored, and arrives, which is seen. So a packet that
/// [`LocalStack`](super::inject::LocalStack) delivers to a group is received once.
///
/// A frame for a bridge or bond may be seen twice, at the member it came in by and at the bridge
/// or bond: the caller passes over packets from interfaces that have a master.
pub struct XcastListener {
    socket: OwnedFd,
    lost: u64,
}

/// A received packet: what is known of it besides its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many octets of the buffer it has, from the IP header on; padding of a short frame may
    /// be behind it.
    pub len: usize,
    /// The kernel's index of the interface it came in by.
    pub interface: u32,
    /// The sender's link-layer address, where the link has such of 48 bits.
    pub source: Option<[u8; 6]>,
    /// Sent to the group's link-layer address, not to this host's own.
    pub to_group: bool,
}

impl XcastListener {
    /// Starts to listen. The socket does not block.
    ///
    /// # Errors
    /// What the kernel says; without `CAP_NET_RAW` it is `PermissionDenied`.
    pub fn open(code_points: &CodePoints) -> io::Result<XcastListener> {
        // Without link-layer headers, which are of different lengths.
        let socket = packet::socket(libc::SOCK_DGRAM)?;
        let fd = socket.as_raw_fd();
        // The socket is not bound to a protocol yet, so nothing arrives before all is set.
        set_option(fd, libc::SOL_PACKET, packet::PACKET_IGNORE_OUTGOING, &1)?;
        packet::attach_filter(fd, &mut filter::xcast(code_points, false, 0))?;
        packet::bind(fd, 0, libc::ETH_P_ALL as u16)?;
        Ok(XcastListener { socket, lost: 0 })
    }

    /// Receives a packet into `buffer`, without waiting; `None` if there is none. A packet that
    /// is longer than `buffer` is lost; [`PACKET_LEN_MAX`] octets suffice for any.
    ///
    /// # Errors
    /// What the kernel says; an interface that goes down may be such an error, once, and does not
    /// end the reception from others.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        loop {
            // SAFETY: an address of zeros is valid.
            let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
            let mut from_len = socklen::<libc::sockaddr_ll>();
            // SAFETY: `buffer`, `from` and its length are live for the call, each written at most
            // as far as the length that is passed with it.
            let length = unsafe {
                libc::recvfrom(
                    self.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                    (&raw mut from).cast(),
                    &raw mut from_len,
                )
            };
            match check(length as libc::c_int) {
                Ok(length) if length as usize > buffer.len() => self.lost += 1,
                Ok(length) => return Ok(Some(received(length as usize, &from))),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// How many packets were lost so far because too many waited to be received, or because a
    /// buffer was too short.
    pub fn lost(&mut self) -> u64 {
        let [_, drops] = option(self.as_raw_fd(), libc::SOL_PACKET, packet::STATISTICS, [0u32; 2])
            .unwrap_or_default();
        self.lost += u64::from(drops);
        self.lost
    }
}

impl AsRawFd for XcastListener {
    /// The socket: readable when there is a packet.
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn received(len: usize, from: &libc::sockaddr_ll) -> Received {
    let source = from.sll_addr.first_chunk().filter(|_| from.sll_halen == 6);
    Received {
        len,
        interface: from.sll_ifindex.cast_unsigned(),
        source: source.copied(),
        to_group: from.sll_pkttype == libc::PACKET_MULTICAST,
    }
}

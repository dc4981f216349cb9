//! Sending into a tunnel of hosts (RFC 5058 section 11.4): each packet to the first of its live
//! destinations.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use socket2::{MsgHdr, SockAddr};

use super::transmit::{HEADER_LEN, push_class};
use super::{Kind, TunnelSockets};
use crate::io::{Pieces, Transmit};
use crate::wire::ethernet;
use crate::wire::tunnel::{Encapsulation, PROTOCOL_IPV4, PROTOCOL_IPV6, first_live, traffic_class};

/// The sending face of a tunnel of hosts.
pub struct HostsTransmitter {
    sockets: Arc<TunnelSockets>,
    /// Control messages that say the traffic class, of outer packets of IPv4 and IPv6.
    controls: [Vec<u8>; 2],
}

impl HostsTransmitter {
    /// Sends from whichever address the kernel chooses.
    ///
    /// # Errors
    /// What the kernel says when sockets are opened.
    pub fn new(sockets: Arc<TunnelSockets>) -> io::Result<HostsTransmitter> {
        sockets.open(Encapsulation::Hosts, std::net::Ipv4Addr::UNSPECIFIED.into())?;
        let mut controls = [Vec::new(), Vec::new()];
        let [v4, v6] = &mut controls;
        push_class(v4, false);
        push_class(v6, true);
        Ok(HostsTransmitter { sockets, controls })
    }

    /// Returns whether the kernel took it.
    fn send(&mut self, head: &[u8], tail: &[u8]) -> bool {
        let Some(to) = first_live(head) else { return false };
        let protocol = if to.is_ipv4() { PROTOCOL_IPV4 } else { PROTOCOL_IPV6 };
        let Some(socket) = self.sockets.of(Kind { is_v6: to.is_ipv6(), protocol }) else {
            return false;
        };
        let is_v6 = to.is_ipv6();
        let to: SockAddr = std::net::SocketAddr::new(to, 0).into();
        let control = &mut self.controls[usize::from(is_v6)];
        let class = i32::from(traffic_class(head)).to_ne_bytes();
        control[HEADER_LEN..][..class.len()].copy_from_slice(&class);
        let pieces = [io::IoSlice::new(head), io::IoSlice::new(tail)];
        let message = MsgHdr::new().with_addr(&to).with_buffers(&pieces).with_control(control);
        let flags = libc::MSG_DONTWAIT;
        let sent = match socket.sendmsg(&message, flags) {
            // The error may be an old one, of another packet.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                if error.raw_os_error() == Some(libc::EMSGSIZE) {
                    self.sockets.heed_errors(socket.as_raw_fd());
                }
                socket.sendmsg(&message, flags)
            }
            sent => sent,
        };
        sent.is_ok()
    }
}

impl Transmit for HostsTransmitter {
    /// The link-layer headers stay here.
    fn transmit<'a>(
        &mut self,
        count: usize,
        pieces: impl Fn(usize) -> Pieces<'a>,
        mut done: impl FnMut(usize, bool),
    ) {
        for index in 0..count {
            let (head, tail) = pieces(index);
            let head = head.get(ethernet::HEADER_LEN..).unwrap_or_default();
            done(index, self.send(head, tail));
        }
    }
}

//! UDP datagrams with what their IP header said: where to, TTL and DS byte.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use super::system::{check, set_option, socklen};

/// A received datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub source: SocketAddrV4,
    /// The address it was sent to.
    pub destination: Ipv4Addr,
    /// Its TTL on arrival.
    pub ttl: u8,
    /// Its DS and ECN octet.
    pub traffic_class: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Asks the kernel to report destination, TTL and DS byte with every datagram.
pub fn report_headers(socket: &UdpSocket) -> io::Result<()> {
    for option in [libc::IP_PKTINFO, libc::IP_RECVTTL, libc::IP_RECVTOS] {
        set_option(socket.as_raw_fd(), libc::IPPROTO_IP, option, &1)?;
    }
    Ok(())
}

/// Receives one datagram of up to 65,535 octets.
///
/// # Errors
/// What the kernel says; `WouldBlock` when the socket's read timeout is over.
pub fn receive(socket: &UdpSocket) -> io::Result<Datagram> {
    let mut payload = vec![0; 1 << 16];
    // SAFETY: an address of zeros is valid.
    let mut source: libc::sockaddr_in = unsafe { mem::zeroed() };
    // u64 units keep control messages aligned.
    let mut control = [0u64; 32];
    let mut piece = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: a message header of null pointers and zeros is valid: it has no parts.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut source).cast();
    message.msg_namelen = socklen::<libc::sockaddr_in>();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every part of `message` is a live buffer of the length that stands beside it.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = check(length as libc::c_int)? as usize;
    payload.truncate(length);
    let address = Ipv4Addr::from_bits(u32::from_be(source.sin_addr.s_addr));
    let mut datagram = Datagram {
        source: SocketAddrV4::new(address, u16::from_be(source.sin_port)),
        destination: Ipv4Addr::UNSPECIFIED,
        ttl: 0,
        traffic_class: 0,
        payload,
    };
    read_control(&message, &mut datagram);
    Ok(datagram)
}

/// Reads the control messages of a received message into `datagram`.
fn read_control(message: &libc::msghdr, datagram: &mut Datagram) {
    // SAFETY: the kernel has filled the control buffer of `message` with well-formed control
    // messages, over which CMSG_FIRSTHDR and CMSG_NXTHDR iterate; each value read is of the type
    // that its kind has, by unaligned reads.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            let data = libc::CMSG_DATA(control);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    datagram.destination = u32::from_be(info.ipi_addr.s_addr).into();
                }
                (libc::IPPROTO_IP, libc::IP_TTL) => {
                    datagram.ttl = data.cast::<libc::c_int>().read_unaligned() as u8;
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => datagram.traffic_class = data.read(),
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, control);
        }
    }
}

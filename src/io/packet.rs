//! A port's packet sockets: two bound `AF_PACKET` sockets, one received from by a ring, the other sent
//! to by `sendmmsg`. Of a socket that somebody waits for, as for the ring's, the kernel would look after
//! each frame that leaves who is to be woken, which costs a tenth of the time of sending it.
//!
//! The first one is bound to every EtherType, as one that is bound to IPv4 alone would not see what
//! the kernel-side drop takes away from the stack; the socket filter lets only Xcast through.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::ring::Ring;
use super::system::{check, option, set_option, socklen};
use super::{Frame, Pieces, Receive, Transmit, fanout, filter};
use crate::wire::CodePoints;
use crate::wire::ethernet;

pub(super) const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
/// Counts of packets received and dropped since the last reading, which sets them back to 0.
pub(super) const STATISTICS: libc::c_int = 6;
/// Frames handed to the kernel in one call.
const SEND_BATCH: usize = 64;
/// Octets that may wait in the socket's send queue.
const SEND_BUFFER_LEN: libc::c_int = 4 << 20;

/// Opens the receiving face of an interface, by its index. `mtu` (octets of an IP packet) sizes the
/// ring's slots; `envelopes`: packets in semi-permeable tunnels are received too.
///
/// # Errors
/// What the kernel says; without `CAP_NET_RAW` it is `PermissionDenied`.
pub fn open(
    interface: u32,
    mtu: u32,
    code_points: &CodePoints,
    envelopes: bool,
) -> io::Result<PacketReceiver> {
    open_filtered(interface, mtu, &mut filter(code_points, envelopes))
}

/// Opens the receiving face of an interface for each of several workers. They share the frames: all
/// of a (source, channel) come to the same one, and what is no Xcast packet of a known form to the
/// first.
///
/// # Errors
/// As [`open`]; or that the interface is down, which Linux has not taken before 6.13.
pub fn open_shared(
    interface: u32,
    mtu: u32,
    code_points: &CodePoints,
    envelopes: bool,
    workers: usize,
) -> io::Result<Vec<PacketReceiver>> {
    // None has a frame until all are there: as long as some are missing, the others would have
    // their frames, and later packets would overtake these.
    let closed = |_| open_filtered(interface, mtu, &mut filter::nothing());
    let faces: Vec<_> = (0..workers).map(closed).collect::<io::Result<_>>()?;
    fanout::join(faces.iter().map(PacketReceiver::as_raw_fd))?;
    for receiver in &faces {
        attach_filter(receiver.as_raw_fd(), &mut filter(code_points, envelopes))?;
    }
    Ok(faces)
}

fn filter(code_points: &CodePoints, envelopes: bool) -> Vec<libc::sock_filter> {
    filter::xcast(code_points, envelopes, ethernet::HEADER_LEN as u32)
}

fn open_filtered(
    interface: u32,
    mtu: u32,
    filter: &mut [libc::sock_filter],
) -> io::Result<PacketReceiver> {
    let socket = socket(libc::SOCK_RAW)?;
    let fd = socket.as_raw_fd();
    // The socket is not bound to a protocol yet, so nothing arrives before all is set.
    set_option(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1)?;
    attach_filter(fd, filter)?;
    let ring = Ring::new(fd, mtu as usize + ethernet::HEADER_LEN)?;
    bind(fd, interface, libc::ETH_P_ALL as u16)?;
    Ok(PacketReceiver { socket, ring, overruns: 0 })
}

/// Opens the sending face.
///
/// # Errors
/// As [`open`].
pub fn open_sender(interface: u32) -> io::Result<PacketTransmitter> {
    let socket = socket(libc::SOCK_RAW)?;
    set_send_buffer(socket.as_raw_fd())?;
    bind(socket.as_raw_fd(), interface, 0)?;
    Ok(PacketTransmitter { socket, messages: Vec::new(), pieces: Vec::new() })
}

/// The receiving face.
pub struct PacketReceiver {
    socket: OwnedFd,
    ring: Ring,
    overruns: u64,
}

impl PacketReceiver {
    /// Whether frames with IP packets of `mtu` octets fit the ring.
    pub fn fits(&self, mtu: u32) -> bool {
        mtu as usize + ethernet::HEADER_LEN <= self.ring.frame_len_max()
    }

    /// How many frames were lost so far because the ring was full.
    pub fn overruns(&mut self) -> u64 {
        let counts = option(self.as_raw_fd(), libc::SOL_PACKET, STATISTICS, [0u32; 2]);
        self.overruns += counts.map_or(0, |[_, drops]| u64::from(drops));
        self.overruns
    }
}

impl AsRawFd for PacketReceiver {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Receive for PacketReceiver {
    fn take(&mut self, limit: usize) -> usize {
        self.ring.take(limit)
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        let to_group = self.ring.is_to_group(index);
        Frame { bytes: self.ring.bytes_mut(index), to_group }
    }

    fn bytes(&self, index: usize) -> &[u8] {
        self.ring.bytes(index)
    }

    fn release(&mut self, count: usize) {
        self.ring.release(count);
    }
}

/// The sending face.
pub struct PacketTransmitter {
    socket: OwnedFd,
    // Room for one call, empty between calls.
    messages: Vec<libc::mmsghdr>,
    pieces: Vec<[libc::iovec; 2]>,
}

// SAFETY: the raw pointers in `messages` and `pieces` live only during a call of `transmit`.
unsafe impl Send for PacketTransmitter {}

impl Transmit for PacketTransmitter {
    fn transmit<'a>(
        &mut self,
        count: usize,
        pieces: impl Fn(usize) -> Pieces<'a>,
        mut done: impl FnMut(usize, bool),
    ) {
        for start in (0..count).step_by(SEND_BATCH) {
            let end = count.min(start + SEND_BATCH);
            self.pieces.extend((start..end).map(|index| {
                let (head, tail) = pieces(index);
                [iovec(head), iovec(tail)]
            }));
            self.messages.extend(self.pieces.iter_mut().map(message));
            self.send_all(|index, taken| done(start + index, taken));
            self.messages.clear();
            self.pieces.clear();
        }
    }
}

impl PacketTransmitter {
    /// Sends all messages; one that is refused is passed over.
    fn send_all(&mut self, mut done: impl FnMut(usize, bool)) {
        let mut next = 0;
        let mut retried = false;
        while next < self.messages.len() {
            match self.send(next) {
                Ok(sent @ 1..) => {
                    (next..next + sent).for_each(|index| done(index, true));
                    next += sent;
                    retried = false;
                }
                // The error may be an old one of the socket (the link was down for a while),
                // which is reported once instead of sending.
                Err(error) if !retried && error.raw_os_error() == Some(libc::ENETDOWN) => {
                    retried = true;
                }
                Ok(0) | Err(_) => {
                    done(next, false);
                    next += 1;
                    retried = false;
                }
            }
        }
    }

    /// Sends the messages from `first` on; returns how many were taken, at least one.
    fn send(&mut self, first: usize) -> io::Result<usize> {
        let messages = &mut self.messages[first..];
        let (start, count) = (messages.as_mut_ptr(), messages.len() as libc::c_uint);
        let fd = self.socket.as_raw_fd();
        // SAFETY: `start` points to `count` messages; each points into `pieces`, and these to
        // slices that outlive the call of `transmit`; the kernel reads the bytes and writes only
        // `msg_len`.
        let sent = check(unsafe { libc::sendmmsg(fd, start, count, libc::MSG_DONTWAIT) })?;
        Ok(sent as usize)
    }
}

fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

fn message(pieces: &mut [libc::iovec; 2]) -> libc::mmsghdr {
    // SAFETY: a message header of null pointers and zeros is valid: it has no parts.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = pieces.as_mut_ptr();
    header.msg_iovlen = pieces.len();
    libc::mmsghdr { msg_hdr: header, msg_len: 0 }
}

/// A packet socket of a kind (`SOCK_RAW`, `SOCK_DGRAM`) that receives nothing yet.
pub(super) fn socket(kind: libc::c_int) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the descriptor, if any, is new and belongs to nobody else.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::socket(libc::AF_PACKET, kind, 0))?)) }
}

pub(super) fn attach_filter(fd: RawFd, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Needs a privilege to go beyond the system's limit; below it will do.
pub(super) fn set_send_buffer(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER_LEN)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER_LEN))
}

/// Binds to an interface, 0 for all of them; protocol 0 receives nothing.
pub(super) fn bind(fd: RawFd, interface: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: interface as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: `address` is a live address of the length passed with it.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), socklen::<libc::sockaddr_ll>()) })
        .map(|_| ())
}

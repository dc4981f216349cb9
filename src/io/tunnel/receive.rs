//! Reading outer packets, many in a call.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;

use socket2::{SockAddr, SockAddrStorage};

use super::{Kind, TunnelSockets};
use crate::io::datagram::each_control;
use crate::io::system::{check, socklen};
use crate::wire::tunnel::{Encapsulation, Outer};
use crate::wire::{ethernet, ipv4};

/// Packets that are read at once.
const BATCH: usize = 32;
/// The longest IP packet.
const PACKET_LEN_MAX: usize = 65_535;
/// Room in front of each packet, so that a copy can be made in place.
const ROOM: usize = ethernet::HEADER_LEN;
/// Room for control messages: a destination and a traffic class.
const CONTROL_WORDS: usize = 16;

/// Reads the sockets of a node.
pub struct TunnelReceiver {
    sockets: Arc<TunnelSockets>,
    slots: Vec<Slot>,
    taken: usize,
    turn: usize,
}

/// A packet that was read.
struct Slot {
    buffer: Vec<u8>,
    /// Where the payload of the outer packet begins, and ends.
    start: usize,
    end: usize,
    outer: Option<Outer>,
}

impl TunnelReceiver {
    /// Reads what is open, and what will be.
    pub fn new(sockets: Arc<TunnelSockets>) -> TunnelReceiver {
        let slot =
            || Slot { buffer: vec![0; ROOM + PACKET_LEN_MAX], start: 0, end: 0, outer: None };
        TunnelReceiver { sockets, slots: (0..BATCH).map(|_| slot()).collect(), taken: 0, turn: 0 }
    }

    /// The descriptors that are readable when packets have arrived.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.sockets.descriptors().map(|(_, fd)| fd).collect()
    }

    /// Reads packets that have arrived, without waiting; returns how many. Those of the last call
    /// are gone.
    pub fn take(&mut self) -> usize {
        self.taken = 0;
        let sockets = Arc::clone(&self.sockets);
        let udp_port = sockets.udp_port();
        self.turn = self.turn.wrapping_add(1);
        // Another one is the first each time.
        let first = self.turn % sockets.count().max(1);
        let (early, late) = (sockets.descriptors().skip(first), sockets.descriptors().take(first));
        for (kind, fd) in early.chain(late) {
            let room = self.slots.len() - self.taken;
            // So that no socket keeps others from being read.
            let fair = room.min(BATCH / 2);
            if fair > 0 {
                let slots = &mut self.slots[self.taken..][..fair];
                self.taken += match receive(kind, fd, udp_port, slots) {
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    Err(_) => {
                        // What ICMP says comes before packets that wait behind it.
                        sockets.heed_errors(fd);
                        receive(kind, fd, udp_port, slots).unwrap_or(0)
                    }
                };
            }
        }
        self.taken
    }

    /// A packet that was read: its outer headers, its buffer, and where the outer packet's payload
    /// begins and ends there. `None` where the headers made no sense.
    pub fn packet(&mut self, index: usize) -> Option<(Outer, &mut [u8], usize)> {
        let slot = &mut self.slots[..self.taken][index];
        Some((slot.outer?, &mut slot.buffer[..slot.end], slot.start))
    }

    /// The buffer of a packet that was read.
    pub fn bytes(&self, index: usize) -> &[u8] {
        let slot = &self.slots[..self.taken][index];
        &slot.buffer[..slot.end]
    }

    /// The same, to be changed.
    pub fn bytes_mut(&mut self, index: usize) -> &mut [u8] {
        let slot = &mut self.slots[..self.taken][index];
        &mut slot.buffer[..slot.end]
    }
}

/// Reads into slots from the first on; returns how many have a packet.
fn receive(kind: Kind, fd: RawFd, udp_port: u16, slots: &mut [Slot]) -> io::Result<usize> {
    const NO_PIECE: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut names: [SockAddrStorage; BATCH] = std::array::from_fn(|_| SockAddrStorage::zeroed());
    let mut controls = [[0u64; CONTROL_WORDS]; BATCH];
    let mut pieces = [NO_PIECE; BATCH];
    // SAFETY: message headers of null pointers and zeros are valid: they have no parts.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let parts = messages.iter_mut().zip(&mut names).zip(&mut controls).zip(&mut pieces);
    for (slot, (((message, name), control), piece)) in slots.iter_mut().zip(parts) {
        let room = &mut slot.buffer[ROOM..];
        *piece = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        let header = &mut message.msg_hdr;
        header.msg_name = std::ptr::from_mut(name).cast();
        header.msg_namelen = socklen::<SockAddrStorage>();
        header.msg_iov = piece;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(control) as _;
    }
    let count = slots.len() as libc::c_uint;
    let (first, no_timeout) = (messages.as_mut_ptr(), std::ptr::null_mut());
    // SAFETY: each of the `count` messages points to live buffers of the lengths beside them.
    let read = unsafe { libc::recvmmsg(fd, first, count, libc::MSG_DONTWAIT, no_timeout) };
    let read = check(read)? as usize;
    for ((slot, message), name) in slots.iter_mut().zip(&messages).zip(names).take(read) {
        // SAFETY: the kernel has filled in the name, and its length.
        let name = unsafe { SockAddr::new(name, message.msg_hdr.msg_namelen) };
        let whole = message.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
        let from = name.as_socket().filter(|_| whole);
        slot.read((kind, udp_port), message.msg_len as usize, from, message);
    }
    Ok(read)
}

impl Slot {
    fn read(
        &mut self,
        (kind, udp_port): (Kind, u16),
        length: usize,
        from: Option<SocketAddr>,
        message: &libc::mmsghdr,
    ) {
        (self.start, self.end) = (ROOM, ROOM + length);
        self.outer = from.and_then(|from| match (kind.is_v6, kind.protocol == Kind::UDP) {
            (false, false) => self.raw_v4(),
            (_, true) => said_beside(message, from, Some(udp_port)),
            (true, false) => said_beside(message, from, None),
        });
    }

    /// A raw socket of IPv4 gives the IP header too.
    fn raw_v4(&mut self) -> Option<Outer> {
        let packet = &self.buffer[self.start..self.end];
        let ip = ipv4::Packet::parse(packet).ok()?;
        let end = |address| SocketAddr::new(IpAddr::V4(address), 0);
        let outer = Outer {
            encapsulation: Encapsulation::Ipip,
            local: end(ip.destination()),
            remote: end(ip.source()),
            traffic_class: packet[ipv4::field::TRAFFIC_CLASS],
        };
        self.end = self.start + ip.total_len();
        self.start += ip.header_len();
        Some(outer)
    }
}

/// What the control messages say of an outer packet, which came to this port if it is of UDP.
fn said_beside(message: &libc::mmsghdr, from: SocketAddr, udp_port: Option<u16>) -> Option<Outer> {
    let (mut to, mut traffic_class) = (None, 0);
    each_control(&message.msg_hdr, |level, kind, value| match (level, kind) {
        // struct in_pktinfo: interface, local address, destination.
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let destination = value.get(8..12).and_then(|octets| octets.first_chunk::<4>());
            to = destination.map(|octets| IpAddr::from(*octets));
        }
        // struct in6_pktinfo: destination, interface.
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            to = value.first_chunk::<16>().map(|octets| IpAddr::from(*octets));
        }
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            traffic_class = value.first().copied().unwrap_or(0);
        }
        _ => {}
    });
    // A raw socket's addresses have the protocol where others have the port.
    let (encapsulation, local_port, remote_port) = match udp_port {
        Some(port) => (Encapsulation::Udp, port, from.port()),
        None => (Encapsulation::Ipip, 0, 0),
    };
    let local = SocketAddr::new(to?, local_port);
    let remote = SocketAddr::new(from.ip(), remote_port);
    Some(Outer { encapsulation, local, remote, traffic_class })
}

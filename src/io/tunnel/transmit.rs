//! Sending into one tunnel, many packets in a call.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use socket2::SockAddr;

use super::{Kind, TunnelSockets};
use crate::io::system::check;
use crate::io::{Pieces, Transmit};
use crate::wire::ethernet;
use crate::wire::tunnel::{Encapsulation, PROTOCOL_IPV4, PROTOCOL_IPV6, traffic_class};

/// Packets that are sent at once.
const BATCH: usize = 64;
/// Room for two control messages, in words: a source address and a traffic class.
const CONTROL_WORDS: usize = 8;

type Control = [u64; CONTROL_WORDS];

/// The sending face of a tunnel.
pub struct TunnelTransmitter {
    sockets: Arc<TunnelSockets>,
    encapsulation: Encapsulation,
    to: SockAddr,
    is_v6: bool,
    /// Says from which address, with room for the traffic class.
    control: Control,
    /// Where the traffic class is in it.
    class_at: usize,
    control_len: usize,
    // Room for one call, empty between calls.
    messages: Vec<libc::mmsghdr>,
    pieces: Vec<[libc::iovec; 2]>,
    controls: Vec<Control>,
}

// SAFETY: the raw pointers in `messages` and `pieces` live only during a call of `transmit`.
unsafe impl Send for TunnelTransmitter {}

impl TunnelTransmitter {
    /// Sends from `local`, an address of this node (unspecified: whichever the kernel chooses), to
    /// `remote`.
    ///
    /// # Errors
    /// What the kernel says when sockets are opened.
    pub fn new(
        sockets: Arc<TunnelSockets>,
        encapsulation: Encapsulation,
        local: IpAddr,
        remote: SocketAddr,
    ) -> io::Result<TunnelTransmitter> {
        sockets.open(encapsulation, remote.ip())?;
        let mut octets = Vec::new();
        push_source(&mut octets, local);
        let class_at = octets.len() + HEADER_LEN;
        push_class(&mut octets, remote.is_ipv6());
        let mut control = Control::default();
        let words = octets.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word));
        control.iter_mut().zip(words).for_each(|(to, word)| *to = word);
        Ok(TunnelTransmitter {
            sockets,
            encapsulation,
            to: remote.into(),
            is_v6: remote.is_ipv6(),
            control,
            class_at,
            control_len: octets.len(),
            messages: Vec::with_capacity(BATCH),
            pieces: Vec::with_capacity(BATCH),
            controls: Vec::with_capacity(BATCH),
        })
    }

    /// The socket for packets of an IP version.
    fn kind(&self, inner: &[u8]) -> Kind {
        let is_v6 = inner.first().is_some_and(|first| first >> 4 == 6);
        let protocol = match self.encapsulation {
            Encapsulation::Udp => Kind::UDP,
            _ if is_v6 => PROTOCOL_IPV6,
            _ => PROTOCOL_IPV4,
        };
        Kind { is_v6: self.is_v6, protocol }
    }

    fn add(&mut self, head: &[u8], tail: &[u8]) {
        let piece = |bytes: &[u8]| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        self.pieces.push([piece(head), piece(tail)]);
        let mut control = self.control;
        let class = i32::from(traffic_class(head)).to_ne_bytes();
        let (word, at) = (self.class_at / 8, self.class_at % 8);
        let mut octets = control[word].to_ne_bytes();
        octets[at..at + 4].copy_from_slice(&class);
        control[word] = u64::from_ne_bytes(octets);
        self.controls.push(control);
    }

    /// Sends what was added, all by one socket; one that is refused is passed over.
    fn flush(&mut self, kind: Kind, mut done: impl FnMut(bool)) {
        let (to, control_len) = (&self.to, self.control_len);
        let parts = self.pieces.iter_mut().zip(&mut self.controls);
        self.messages.extend(parts.map(|(pieces, control)| {
            // SAFETY: a message header of null pointers and zeros is valid: it has no parts.
            let mut header: libc::msghdr = unsafe { mem::zeroed() };
            header.msg_name = to.as_ptr().cast_mut().cast();
            header.msg_namelen = to.len();
            header.msg_iov = pieces.as_mut_ptr();
            header.msg_iovlen = pieces.len() as _;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = control_len as _;
            libc::mmsghdr { msg_hdr: header, msg_len: 0 }
        }));
        let mut next = 0;
        let mut retried = false;
        while next < self.messages.len() {
            match self.send(kind, next) {
                Ok(sent @ 1..) => {
                    (0..sent).for_each(|_| done(true));
                    next += sent;
                    retried = false;
                }
                Err(error) => {
                    if error.raw_os_error() == Some(libc::EMSGSIZE)
                        && let Some(socket) = self.sockets.of(kind)
                    {
                        self.sockets.heed_errors(socket.as_raw_fd());
                    }
                    // The error may be an old one, of another packet or another tunnel.
                    if !retried && error.kind() != io::ErrorKind::WouldBlock {
                        retried = true;
                        continue;
                    }
                    done(false);
                    next += 1;
                    retried = false;
                }
                Ok(0) => {
                    done(false);
                    next += 1;
                }
            }
        }
        self.messages.clear();
        self.pieces.clear();
        self.controls.clear();
    }

    fn send(&mut self, kind: Kind, first: usize) -> io::Result<usize> {
        let socket = self.sockets.of(kind).ok_or(io::ErrorKind::NotConnected)?;
        let messages = &mut self.messages[first..];
        let (start, count) = (messages.as_mut_ptr(), messages.len() as libc::c_uint);
        // SAFETY: `start` points to `count` messages; each points into `pieces`, `controls` and
        // `to`, and the pieces to slices that outlive the call of `transmit`; the kernel reads
        // them and writes only `msg_len`.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), start, count, libc::MSG_DONTWAIT) };
        Ok(check(sent)? as usize)
    }
}

impl Transmit for TunnelTransmitter {
    /// The link-layer headers stay here.
    fn transmit<'a>(
        &mut self,
        count: usize,
        pieces: impl Fn(usize) -> Pieces<'a>,
        mut done: impl FnMut(usize, bool),
    ) {
        let mut next = 0;
        while next < count {
            let start = next;
            let mut kind = None;
            while next < count && next - start < BATCH {
                let (head, tail) = pieces(next);
                let head = head.get(ethernet::HEADER_LEN..).unwrap_or_default();
                let needs = self.kind(head);
                if *kind.get_or_insert(needs) != needs {
                    break;
                }
                self.add(head, tail);
                next += 1;
            }
            let mut index = start;
            if let Some(kind) = kind {
                self.flush(kind, |taken| {
                    done(index, taken);
                    index += 1;
                });
            }
        }
    }
}

/// Octets in front of a control message's value.
pub(super) const HEADER_LEN: usize = size_of::<libc::cmsghdr>();

/// Appends a control message that says a traffic class, which is to be filled in behind its header.
pub(super) fn push_class(octets: &mut Vec<u8>, is_v6: bool) {
    let class = 0i32.to_ne_bytes();
    match is_v6 {
        false => push(octets, libc::IPPROTO_IP, libc::IP_TOS, &class),
        true => push(octets, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class),
    }
}

/// Appends a control message that names the source, unless that is unspecified.
pub(super) fn push_source(octets: &mut Vec<u8>, source: IpAddr) {
    match source {
        source if source.is_unspecified() => {}
        IpAddr::V4(source) => {
            // struct in_pktinfo: no interface, this address, no destination.
            let info = [[0; 4], source.octets(), [0; 4]].concat();
            push(octets, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        IpAddr::V6(source) => {
            // struct in6_pktinfo: this address, no interface.
            let info = [&source.octets()[..], &[0; 4]].concat();
            push(octets, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
    }
}

/// Appends a control message: its length without padding, its level, its type, its value, padding.
fn push(octets: &mut Vec<u8>, level: libc::c_int, kind: libc::c_int, value: &[u8]) {
    octets.extend((HEADER_LEN + value.len()).to_ne_bytes());
    octets.extend(level.to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(align_of::<libc::cmsghdr>()), 0);
}

const _: () = assert!(HEADER_LEN == size_of::<usize>() + 8);

//! Captures: [`Tap`] takes Xcast packets as they cross this node's interfaces, and [`Writer`] writes
//! packets to a file in the pcapng format (draft-ietf-opsawg-pcapng), which says of each by which
//! interface it came or left, and has room for a comment.
//!
//! ```text
//! | Section Header | Interface Description ... | Enhanced Packet | Enhanced Packet ...
//!
//! each block:  | type | length | body, padded to 4 octets | length again |
//! ```

use std::ffi::CString;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::listen::PACKET_LEN_MAX;
use super::system::{check, option, set_option, socklen};
use super::{filter, force_receive_buffer, packet};
use crate::wire::{CodePoints, ethernet};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const LINK_TYPE_ETHERNET: u16 = 1;

/// Options of any block, then those of the section header, of an interface and of a packet.
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const USER_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_TEXT: u16 = 3;
const PACKET_FLAGS: u16 = 2;

/// Octets of packets that may wait in a tap's socket.
const TAP_BUFFER_LEN: usize = 8 << 20;

/// Writes a capture of Ethernet frames with one section, little-endian, times in microseconds.
///
/// Every block is given to `out` whole, by one call: with a file that does not buffer, what is
/// there can be read at any moment.
pub struct Writer<W: Write> {
    out: W,
    interfaces: u32,
}

/// A frame to be written.
#[derive(Clone, Copy, Debug)]
pub struct CapturedFrame<'a> {
    /// What [`Writer::interface`] returned.
    pub interface: u32,
    /// When; before 1970 counts as its beginning.
    pub time: SystemTime,
    /// The frame from its link-layer header on, perhaps not all of it.
    pub bytes: &'a [u8],
    /// Octets of the whole frame.
    pub length: usize,
    /// Whether it came in or left, if that is known.
    pub direction: Option<Direction>,
    /// For people, up to 65,535 octets of it.
    pub comment: Option<&'a str>,
}

/// Which way a frame crosses an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Received.
    Incoming,
    /// Sent.
    Outgoing,
}

impl<W: Write> Writer<W> {
    /// Begins a capture; `application` says who writes it.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(mut out: W, application: &str) -> io::Result<Writer<W>> {
        let mut body = BYTE_ORDER_MAGIC.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]); // version 1.0
        body.extend(u64::MAX.to_le_bytes()); // the section's length is not known
        add_option(&mut body, USER_APPLICATION, application.as_bytes());
        add_option(&mut body, END_OF_OPTIONS, &[]);
        write_block(&mut out, SECTION_HEADER, &body)?;
        Ok(Writer { out, interfaces: 0 })
    }

    /// Describes another interface, and returns its number in this capture. Without a name it is
    /// none of the system's, and `text` says what it stands for.
    ///
    /// # Errors
    /// What the output says.
    pub fn interface(&mut self, name: Option<&str>, text: Option<&str>) -> io::Result<u32> {
        let mut body = LINK_TYPE_ETHERNET.to_le_bytes().to_vec();
        body.extend([0; 2]);
        body.extend([0; 4]); // no limit to a frame's length
        for (code, value) in [(INTERFACE_NAME, name), (INTERFACE_TEXT, text)] {
            if let Some(value) = value {
                add_option(&mut body, code, value.as_bytes());
            }
        }
        add_option(&mut body, END_OF_OPTIONS, &[]);
        write_block(&mut self.out, INTERFACE_DESCRIPTION, &body)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// What the output says; `InvalidInput` if the interface was not described.
    pub fn frame(&mut self, frame: &CapturedFrame<'_>) -> io::Result<()> {
        if frame.interface >= self.interfaces {
            let what = "a frame of an interface that was not described";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let micros = frame.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let (kept, length) = (frame.bytes.len(), frame.length.max(frame.bytes.len()));
        let fields =
            [frame.interface, (micros >> 32) as u32, micros as u32, kept as u32, length as u32];
        let mut body: Vec<u8> = fields.into_iter().flat_map(u32::to_le_bytes).collect();
        body.extend(frame.bytes);
        pad(&mut body);
        if let Some(comment) = frame.comment {
            add_option(&mut body, COMMENT, comment.as_bytes());
        }
        if let Some(direction) = frame.direction {
            let flags: u32 = if direction == Direction::Incoming { 1 } else { 2 };
            add_option(&mut body, PACKET_FLAGS, &flags.to_le_bytes());
        }
        add_option(&mut body, END_OF_OPTIONS, &[]);
        write_block(&mut self.out, ENHANCED_PACKET, &body)
    }
}

/// Adds an option; of a value that is too long, the beginning.
fn add_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn write_block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    out.write_all(&[&kind.to_le_bytes(), &length, body, &length].concat())?;
    out.flush()
}

/// A packet socket that sees the Xcast packets of all interfaces of this network namespace, those
/// included that come later: received ones as [`packet`] would receive them, and all that are
/// sent. Others get their packets all the same.
///
/// The interfaces should be of Ethernet; a frame for a bridge or bond is seen at its member, too.
pub struct Tap {
    socket: OwnedFd,
    buffer: Vec<u8>,
    lost: u64,
}

/// A frame that a tap has seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The kernel's index of the interface.
    pub interface: u32,
    /// Which way.
    pub direction: Direction,
    /// When, by the kernel.
    pub time: SystemTime,
    /// The frame from its link-layer header on, cut off behind the longest IP packet.
    pub bytes: &'a [u8],
    /// Octets of the whole frame.
    pub length: usize,
}

impl Tap {
    /// Starts to listen. The socket does not block.
    ///
    /// # Errors
    /// What the kernel says; without `CAP_NET_RAW` it is `PermissionDenied`.
    pub fn open(code_points: &CodePoints) -> io::Result<Tap> {
        let socket = packet::socket(libc::SOCK_RAW)?;
        let fd = socket.as_raw_fd();
        // The socket is not bound to a protocol yet, so nothing arrives before all is set.
        packet::attach_filter(fd, &mut both_ways(code_points))?;
        set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1)?;
        // Bursts need room; where the privilege is missing, the system's room must do.
        let _as_it_is = force_receive_buffer(socket.as_fd(), TAP_BUFFER_LEN);
        packet::bind(fd, 0, libc::ETH_P_ALL as u16)?;
        let buffer = vec![0; ethernet::HEADER_LEN + PACKET_LEN_MAX];
        Ok(Tap { socket, buffer, lost: 0 })
    }

    /// The next frame, without waiting; `None` if there is none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn receive(&mut self) -> io::Result<Option<Seen<'_>>> {
        let (length, from, time) = loop {
            match self.receive_message() {
                Ok(received) => break received,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    // Some interface went down, which does not end the others.
                    io::ErrorKind::Interrupted | io::ErrorKind::NetworkDown => {}
                    _ => return Err(error),
                },
            }
        };
        Ok(Some(Seen {
            interface: from.sll_ifindex.cast_unsigned(),
            direction: match from.sll_pkttype {
                libc::PACKET_OUTGOING => Direction::Outgoing,
                _ => Direction::Incoming,
            },
            time: time.unwrap_or_else(SystemTime::now),
            bytes: &self.buffer[..length.min(self.buffer.len())],
            length,
        }))
    }

    /// Receives into the buffer; returns the frame's whole length, its interface, and its time.
    fn receive_message(&mut self) -> io::Result<(usize, libc::sockaddr_ll, Option<SystemTime>)> {
        // SAFETY: an address of zeros is valid.
        let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
        // As aligned as a control message needs, and longer than the one that was asked for.
        let mut control = [0u64; 16];
        let mut piece =
            libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
        // SAFETY: a message header of null pointers and zeros is valid: it has no parts.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = socklen::<libc::sockaddr_ll>();
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: every part of `message` is a live buffer of the length that stands beside it.
        let length = unsafe { libc::recvmsg(self.as_raw_fd(), &raw mut message, flags) };
        let length = check(length as libc::c_int)? as usize;
        Ok((length, from, time_stamp(&message)))
    }

    /// How many frames were lost so far because too many waited to be received.
    pub fn lost(&mut self) -> u64 {
        let [_, drops] = option(self.as_raw_fd(), libc::SOL_PACKET, packet::STATISTICS, [0u32; 2])
            .unwrap_or_default();
        self.lost += u64::from(drops);
        self.lost
    }
}

impl AsRawFd for Tap {
    /// The socket: readable when there is a frame.
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The kernel's time of a received message, if it gave one.
fn time_stamp(message: &libc::msghdr) -> Option<SystemTime> {
    // SAFETY: the kernel has filled the control buffer of `message` with well-formed control
    // messages; the first, if there is one, lies in it whole.
    let first = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    let is_time = (first.cmsg_level, first.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS);
    // SAFETY: as above; the value of a message of this type is a `timespec`, wherever it lies.
    let time = is_time
        .then(|| unsafe { libc::CMSG_DATA(first).cast::<libc::timespec>().read_unaligned() })?;
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).ok()?);
    UNIX_EPOCH.checked_add(seconds + Duration::from_nanos(u64::try_from(time.tv_nsec).ok()?))
}

/// The filter of Xcast packets, which outgoing frames enter where those do that are for the
/// interface's own address.
fn both_ways(code_points: &CodePoints) -> Vec<libc::sock_filter> {
    let packet_type = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();
    let incoming = filter::xcast(code_points, true, ethernet::HEADER_LEN as u32);
    // Its own first two instructions are such a test, and the third follows where it holds.
    let load = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, packet_type);
    let test = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, libc::PACKET_OUTGOING.into());
    let before = [load, test].map(|(code, jt, k)| {
        let code = code as u16;
        libc::sock_filter { code, jt, jf: 0, k }
    });
    [&before[..], &incoming].concat()
}

/// The kernel's index of an interface of this network namespace; `None` if there is none of the
/// name.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a live C string that the call only reads.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn outgoing_frames_enter_the_filter_behind_the_test_for_the_own_address() {
        let code_points = CodePoints {
            ip_protocol: 253,
            all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
            all_routers_v6: Ipv6Addr::LOCALHOST,
            routing_type: 253,
            ports_option: 0x5e,
            hop_by_hop_option: 0x1e,
        };
        let program = both_ways(&code_points);
        let step = |at: usize| (program[at].code, program[at].k);
        assert_eq!(step(0), step(2), "both load the packet type");
        let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        assert_eq!(step(1), (equal, libc::PACKET_OUTGOING.into()));
        assert_eq!(step(3), (equal, libc::PACKET_HOST.into()));
        // Where each goes if it holds.
        let target = |at: usize| at + 1 + usize::from(program[at].jt);
        assert_eq!((target(1), target(3)), (4, 4));
    }

    #[test]
    fn a_frame_of_an_unknown_interface_is_refused() {
        let mut writer = Writer::new(Vec::new(), "test").unwrap();
        let frame = CapturedFrame {
            interface: 0,
            time: UNIX_EPOCH,
            bytes: &[],
            length: 0,
            direction: None,
            comment: None,
        };
        let refused = writer.frame(&frame).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::InvalidInput));
        writer.interface(None, None).unwrap();
        assert!(writer.frame(&frame).is_ok());
    }

    #[test]
    fn no_interface_has_an_impossible_name() {
        assert_eq!(interface_index("no/such"), None);
        assert_eq!(interface_index("a\0b"), None);
    }
}

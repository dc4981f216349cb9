//! A link's end: whatever Ethernet frames arrive at an interface, and any frame out of it again, as
//! a cable would carry them.
//!
//! A frame that a host has handed to a virtual interface may be unfinished: its checksum is to be
//! filled in, or it is to be cut into several. What is still to be done goes along with it, as the
//! kernel tells it (`struct virtio_net_hdr`), and the kernel behind the other end goes on with it.
//! A VLAN tag, which the kernel keeps beside the frame, is put back into it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::packet::{PACKET_IGNORE_OUTGOING, STATISTICS, bind, set_send_buffer, socket};
use super::pcapng::interface_index;
use super::system::{check, option, set_option, socklen};

/// Octets of a frame that is received whole: the longest that hosts hand out in one piece.
pub const FRAME_LEN_MAX: usize = (64 << 10) + 256;

/// Octets that may wait in the socket to be received.
const RECEIVE_BUFFER_LEN: libc::c_int = 4 << 20;
/// Octets of `struct virtio_net_hdr`, and what of it is looked at here: its flags, and where the
/// checksum's range begins.
const WORK_LEN: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_START_AT: usize = 6;
/// Octets of both link-layer addresses, behind which a VLAN tag stands, and of the tag.
const ADDRESSES_LEN: usize = 12;
const TAG_LEN: usize = 4;

/// A frame, with what is still to be done to it.
#[derive(Clone)]
pub struct LinkFrame {
    octets: Box<[u8]>,
}

impl LinkFrame {
    /// A frame that is complete, from its link-layer header on.
    pub fn new(bytes: &[u8]) -> LinkFrame {
        LinkFrame { octets: [&[0; WORK_LEN], bytes].concat().into() }
    }

    /// The frame from its link-layer header on.
    pub fn bytes(&self) -> &[u8] {
        &self.octets[WORK_LEN..]
    }

    /// Octets from the link-layer header on.
    pub fn len(&self) -> usize {
        self.octets.len() - WORK_LEN
    }

    /// Whether there is nothing in it, which no interface receives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What was received.
pub struct Arrival {
    /// The frame; `None` if it is longer than [`FRAME_LEN_MAX`].
    pub frame: Option<LinkFrame>,
    /// How long ago it arrived, by the kernel's note.
    pub age: Duration,
}

/// An end of a link.
pub struct LinkEnd {
    socket: OwnedFd,
    overruns: u64,
}

impl LinkEnd {
    /// Opens an Ethernet interface of the calling thread's network namespace, and has it receive
    /// frames to all addresses.
    ///
    /// # Errors
    /// `NotFound` if there is no such interface, `Unsupported` if it is not Ethernet,
    /// `NetworkDown` if it is not up; else what the kernel says: without `CAP_NET_RAW` it is
    /// `PermissionDenied`.
    pub fn open(interface: &str) -> io::Result<LinkEnd> {
        let index = interface_index(interface).ok_or(io::ErrorKind::NotFound)?;
        let socket = socket(libc::SOCK_RAW)?;
        let fd = socket.as_raw_fd();
        set_option(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1)?;
        set_option(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)?;
        set_option(fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)?;
        set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1)?;
        set_send_buffer(fd)?;
        set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER_LEN)
            .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER_LEN))?;
        bind(fd, index, libc::ETH_P_ALL as u16)?;
        if hardware_type(fd)? != libc::ARPHRD_ETHER {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // A socket that is bound to an interface which is down says so, once.
        match option(fd, libc::SOL_SOCKET, libc::SO_ERROR, 0)? {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        let everything = libc::packet_mreq {
            mr_ifindex: index as i32,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &everything)?;
        Ok(LinkEnd { socket, overruns: 0 })
    }

    /// The next frame that has arrived, without waiting. `room` takes it up meanwhile, and has
    /// [`FRAME_LEN_MAX`] octets.
    ///
    /// # Errors
    /// What the kernel says; an interface that goes down is `NetworkDown`, once.
    pub fn receive(&self, room: &mut [u8]) -> io::Result<Option<Arrival>> {
        let mut work = [0u8; WORK_LEN];
        // Of words, so that it is aligned as the kernel's headers are.
        let mut control = [0u64; 16];
        let mut parts = [
            libc::iovec { iov_base: work.as_mut_ptr().cast(), iov_len: work.len() },
            libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() },
        ];
        // SAFETY: a message header of null pointers and zeros is valid: it has no parts.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = parts.as_mut_ptr();
        header.msg_iovlen = parts.len();
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        let fd = self.socket.as_raw_fd();
        // SAFETY: `header` points to `parts`, these to `work` and `room`, and to `control`, all of
        // which live and are as long as it says.
        let length = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_DONTWAIT) };
        let length = match usize::try_from(length) {
            Ok(length) => length.saturating_sub(WORK_LEN),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                error => return Err(error),
            },
        };
        let notes = Notes::of(&header);
        let age = SystemTime::now().duration_since(UNIX_EPOCH + notes.time).unwrap_or_default();
        let is_whole = header.msg_flags & libc::MSG_TRUNC == 0 && length >= ADDRESSES_LEN;
        let frame = is_whole.then(|| assemble(work, &room[..length.min(room.len())], notes.tag));
        Ok(Some(Arrival { frame, age }))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// What the kernel says: the interface is down or gone, carries only shorter frames, or has no
    /// room for more.
    pub fn send(&self, frame: &LinkFrame) -> io::Result<()> {
        let (start, length) = (frame.octets.as_ptr().cast(), frame.octets.len());
        let fd = self.socket.as_raw_fd();
        let mut is_second = false;
        loop {
            // SAFETY: `start` points to `length` live octets, which the kernel only reads.
            let sent = unsafe { libc::send(fd, start, length, libc::MSG_DONTWAIT) };
            match check(sent as libc::c_int) {
                Ok(_) => return Ok(()),
                // It may be an old error of the socket, which is told once instead of sending.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown && !is_second => {
                    is_second = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How many frames were lost so far because too many waited to be received.
    pub fn overruns(&mut self) -> u64 {
        let counts = option(self.as_raw_fd(), libc::SOL_PACKET, STATISTICS, [0u32; 2]);
        self.overruns += counts.map_or(0, |[_, drops]| u64::from(drops));
        self.overruns
    }
}

impl AsRawFd for LinkEnd {
    /// The socket: readable when there is a frame.
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The kind of the interface that a packet socket is bound to.
fn hardware_type(fd: RawFd) -> io::Result<u16> {
    // SAFETY: an address of zeros is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut length = socklen::<libc::sockaddr_ll>();
    // SAFETY: `address` is live and of the length that is passed with it.
    let got = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &raw mut length) };
    check(got).map(|_| address.sll_hatype)
}

/// What the kernel tells beside a frame.
#[derive(Default)]
struct Notes {
    /// When it arrived, by the time of day.
    time: Duration,
    tag: Option<[u8; TAG_LEN]>,
}

impl Notes {
    fn of(header: &libc::msghdr) -> Notes {
        let mut notes = Notes::default();
        // SAFETY: `header` is as the kernel left it, with its control part live and aligned.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
        // SAFETY: the macro returns null, or a header within the control part.
        while let Some(note) = unsafe { next.as_ref() } {
            // SAFETY: data of a note stand behind its header.
            let data = unsafe { libc::CMSG_DATA(note) };
            match (note.cmsg_level, note.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    // SAFETY: a note of this kind is a time, wherever it may be aligned.
                    let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                    notes.time = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
                }
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    // SAFETY: a note of this kind is a struct of integers, wherever it is aligned.
                    let more = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
                    notes.tag = tag(&more);
                }
                _ => {}
            }
            // SAFETY: as for the first one; `note` is one of the header's.
            next = unsafe { libc::CMSG_NXTHDR(header, note) };
        }
        notes
    }
}

/// The VLAN tag that the kernel has taken out of a frame.
fn tag(more: &libc::tpacket_auxdata) -> Option<[u8; TAG_LEN]> {
    let has = |flag: u32| more.tp_status & flag != 0;
    let protocol = match has(libc::TP_STATUS_VLAN_TPID_VALID) {
        true => more.tp_vlan_tpid,
        false => libc::ETH_P_8021Q as u16,
    };
    let [[a, b], [c, d]] = [protocol.to_be_bytes(), more.tp_vlan_tci.to_be_bytes()];
    has(libc::TP_STATUS_VLAN_VALID).then_some([a, b, c, d])
}

/// Puts a frame together as it is sent.
fn assemble(mut work: [u8; WORK_LEN], frame: &[u8], tag: Option<[u8; TAG_LEN]>) -> LinkFrame {
    let (addresses, rest) = frame.split_at(ADDRESSES_LEN);
    if tag.is_some() && work[0] & NEEDS_CHECKSUM != 0 {
        let [low, high] = &mut work[CHECKSUM_START_AT..CHECKSUM_START_AT + 2] else {
            unreachable!("two octets")
        };
        let start = u16::from_ne_bytes([*low, *high]).saturating_add(TAG_LEN as u16);
        [*low, *high] = start.to_ne_bytes();
    }
    let tag = tag.as_ref().map_or(&[][..], |tag| tag);
    LinkFrame { octets: [&work, addresses, tag, rest].concat().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_put_back_and_the_checksum_is_looked_for_behind_it() {
        let frame: Vec<u8> = (0..20).collect();
        let mut work = [0; WORK_LEN];
        assert_eq!(assemble(work, &frame, None).octets[..], [&work[..], &frame].concat());
        let tag = [0x81, 0, 0, 7];
        let tagged = [&frame[..12], &tag, &frame[12..]].concat();
        let done = assemble(work, &frame, Some(tag));
        assert_eq!((done.len(), &done.octets[..WORK_LEN]), (24, &work[..]));
        assert_eq!(done.octets[WORK_LEN..], tagged);
        work[0] = NEEDS_CHECKSUM;
        work[6..8].copy_from_slice(&34u16.to_ne_bytes());
        let done = assemble(work, &frame, Some(tag));
        assert_eq!(done.octets[6..8], 38u16.to_ne_bytes());
        assert_eq!(done.octets[WORK_LEN..], tagged);
    }
}

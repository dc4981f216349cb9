//! AF_XDP: frames are exchanged with the kernel through rings and memory of our own, past its
//! stack.
//!
//! **Sending** ([`XdpTransmitter`]) needs no XDP program and no privilege beyond that of packet
//! sockets. Frames are copied by the kernel (`XDP_COPY`), which every device can do: they are sent
//! within our own system call, and nobody else reads the ring. Neither queueing disciplines nor
//! packet sockets see what is sent.
//!
//! **Receiving** ([`XdpReceiver`]) takes one socket for each queue, and a program in the kernel that
//! redirects Xcast packets to them (`program.rs`); packet sockets do not see what it takes. Loading
//! it takes `CAP_BPF` and `CAP_NET_ADMIN`, and not in a user namespace. A veth interface hands
//! packets of its peer's own stack over with checksums that are not finished yet, and does not say
//! so: there, the peer needs `ethtool -K INTERFACE tx off`.
//!
//! Memory and chunks: `umem.rs`. Each face has chunks of its own, so they share nothing.
//!
//! Each port has memory of its own, too. Replicas could share one payload across ports, with a
//! private head each (`XDP_USE_SG`); yet the kernel copies each piece into a page that it allocates
//! for it, and that costs more than our copy: on veth, 32 replicas a call, 560 ns a replica instead
//! of 380 with a payload of 64 octets, 600 instead of 410 with one of 1000, 605 instead of 415 with
//! one of 1400. So a frame is one piece for as long as it fits a chunk.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod bpf;
mod program;
mod receive;
mod rings;
mod transmit;
mod umem;

pub use receive::XdpReceiver;
pub use transmit::XdpTransmitter;

use super::packet::set_send_buffer;
use super::system::{check, option, set_option, socklen};
use crate::wire::CodePoints;
use crate::wire::ethernet;
use bpf::{Map, Program};
use rings::{FILL, FromKernel, RECEIVE, ToKernel};
use umem::Chunks;

/// Chunks of a sending face, and the room of its rings: two batches.
const TRANSMIT_CHUNKS: usize = 64;
/// Chunks of each queue of a receiving face: some 300 us at the rate of XDP.
const RECEIVE_CHUNKS: usize = 512;
/// Octets that the kernel leaves free in front of a received frame (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
/// The sizes that chunks can have.
const CHUNK_LENS: [usize; 2] = [2048, 4096];
/// Chunks that the kernel lets one frame have.
const PIECES_MAX: usize = 16;
/// The most queues of an interface that are received from.
const QUEUES_MAX: u32 = 64;
/// How long the kernel may take to give up a queue that another socket has just left.
const QUEUE_PATIENCE: Duration = Duration::from_millis(100);

/// What AF_XDP does not do on an interface, and why.
#[derive(Debug)]
pub struct XdpError {
    what: &'static str,
    why: io::Error,
}

impl fmt::Display for XdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let XdpError { what, why } = self;
        write!(f, "{what}: {why}")?;
        match (*what, why.raw_os_error()) {
            (MEMORY, Some(libc::ENOBUFS)) => f.write_str(" (see RLIMIT_MEMLOCK)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for XdpError {}

const MEMORY: &str = "memory";

/// Says what was tried.
fn trying(what: &'static str) -> impl FnOnce(io::Error) -> XdpError {
    move |why| XdpError { what, why }
}

fn refused(what: &'static str, why: &'static str) -> XdpError {
    XdpError { what, why: io::Error::new(io::ErrorKind::Unsupported, why) }
}

/// Opens the sending face of an interface, by its index. `mtu` is in octets of an IP packet.
///
/// # Errors
/// What the kernel says: `EBUSY` if somebody else uses AF_XDP on the interface's first queue.
pub fn open_sender(interface: u32, mtu: u32) -> Result<XdpTransmitter, XdpError> {
    let frame_len = mtu as usize + ethernet::HEADER_LEN;
    let [small, large] = CHUNK_LENS;
    let chunk_len = if frame_len <= small { small } else { large };
    // Longer frames are sent in pieces.
    let (pieces, flags) = match frame_len <= chunk_len {
        true => (1, 0),
        false => (PIECES_MAX, libc::XDP_USE_SG),
    };
    if frame_len > pieces * chunk_len {
        return Err(refused("MTU", "such long frames do not fit"));
    }
    let Socket { fd, chunks: [_, chunks] } = Socket::new(chunk_len, [0, TRANSMIT_CHUNKS])?;
    unused_ring(&fd, libc::XDP_UMEM_FILL_RING)?;
    let transmitter = XdpTransmitter::new(&fd, chunks, pieces)?;
    bind(&fd, interface, 0, flags)?;
    Ok(transmitter)
}

/// Opens both faces of an interface, by its index. `mtu` is in octets of an IP packet;
/// `link_address` is the interface's own; `envelopes`: packets in semi-permeable tunnels are received
/// too.
///
/// # Errors
/// What the kernel says, in most cases to loading the program or attaching it; or that frames are
/// too long, as a received one must fit a chunk.
pub fn open(
    interface: u32,
    mtu: u32,
    link_address: [u8; 6],
    code_points: &CodePoints,
    envelopes: bool,
) -> Result<(XdpReceiver, XdpTransmitter), XdpError> {
    let needed = mtu as usize + ethernet::HEADER_LEN + HEADROOM;
    let chunk_len = CHUNK_LENS.into_iter().find(|len| needed <= *len);
    let chunk_len = chunk_len.ok_or_else(|| refused("MTU", "such long frames do not fit"))?;

    let map = Map::new(QUEUES_MAX).map_err(trying("map of sockets"))?;
    let steps = program::redirect(code_points, envelopes, link_address, map.descriptor());
    let program = Program::load(&steps).map_err(trying("loading the program"))?;

    let Socket { fd, chunks: [incoming, outgoing] } =
        Socket::new(chunk_len, [RECEIVE_CHUNKS, TRANSMIT_CHUNKS])?;
    let transmitter = XdpTransmitter::new(&fd, outgoing, 1)?;
    let mut queues = vec![Queue::new(fd, incoming)?];
    bind(&queues[0].fd, interface, 0, 0)?;
    // The kernel knows how many there are: it refuses the first that is not.
    for number in 1..=QUEUES_MAX {
        let Socket { fd, chunks: [incoming, _] } = Socket::new(chunk_len, [RECEIVE_CHUNKS, 0])?;
        unused_ring(&fd, libc::XDP_UMEM_COMPLETION_RING)?;
        let queue = Queue::new(fd, incoming)?;
        match bind(&queue.fd, interface, number, 0) {
            Err(XdpError { why, .. }) if why.raw_os_error() == Some(libc::EINVAL) => break,
            Ok(()) if number < QUEUES_MAX => queues.push(queue),
            Ok(()) => return Err(refused("queues", "there are more than 64")),
            Err(error) => return Err(error),
        }
    }
    for (number, queue) in (0..).zip(&queues) {
        map.set(number, queue.fd.as_raw_fd()).map_err(trying("map of sockets"))?;
    }
    let link = program.attach(interface).map_err(trying("attaching the program"))?;
    Ok((XdpReceiver::new(queues, link, chunk_len - HEADROOM), transmitter))
}

/// A socket with its memory, and without rings.
struct Socket {
    fd: Arc<OwnedFd>,
    chunks: [Chunks; 2],
}

impl Socket {
    fn new(chunk_len: usize, chunks: [usize; 2]) -> Result<Socket, XdpError> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::socket(libc::AF_XDP, kind, 0) });
        let fd = fd.map_err(trying("AF_XDP socket"))?;
        // SAFETY: the descriptor is new and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let chunks = umem::register(fd.as_raw_fd(), chunk_len, chunks).map_err(trying(MEMORY))?;
        Ok(Socket { fd: Arc::new(fd), chunks })
    }
}

/// The receiving side of one queue.
struct Queue {
    fd: Arc<OwnedFd>,
    chunks: Chunks,
    /// Frames that have arrived.
    frames: FromKernel<rings::Descriptor>,
    /// Chunks for more of them. A chunk is here or in `frames`, and is read only in the latter.
    fill: ToKernel<u64>,
}

impl Queue {
    /// Adds the rings to a socket.
    fn new(fd: Arc<OwnedFd>, chunks: Chunks) -> Result<Queue, XdpError> {
        let raw = fd.as_raw_fd();
        let size = RECEIVE_CHUNKS as u32;
        let mut fill = ToKernel::new(raw, FILL, size).map_err(trying("rings"))?;
        let frames = FromKernel::new(raw, RECEIVE, size).map_err(trying("rings"))?;
        chunks.all().for_each(|chunk| fill.push(chunk));
        fill.publish();
        Ok(Queue { fd, chunks, frames, fill })
    }

    /// Frames lost so far because they came faster than they were read.
    fn overruns(&self) -> u64 {
        // SAFETY: a struct of integers may be zero.
        let none: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        let counts = option(self.fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_STATISTICS, none);
        counts.map_or(0, |counts| counts.rx_dropped + counts.rx_ring_full)
    }
}

/// The kernel asks for a ring that is never used.
fn unused_ring(fd: &OwnedFd, name: libc::c_int) -> Result<(), XdpError> {
    set_option(fd.as_raw_fd(), libc::SOL_XDP, name, &1).map_err(trying("rings"))
}

/// Binds a socket to a queue. One that a socket has just left is given up by the kernel a moment
/// later, which is waited for.
fn bind(fd: &OwnedFd, interface: u32, queue: u32, flags: u16) -> Result<(), XdpError> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP | flags,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let last = Instant::now() + QUEUE_PATIENCE;
    loop {
        let len = socklen::<libc::sockaddr_xdp>();
        // SAFETY: `address` is a live address of the length passed with it.
        let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
        match check(result) {
            Err(why) if why.raw_os_error() == Some(libc::EBUSY) && Instant::now() < last => {
                std::thread::yield_now();
            }
            other => return other.map(|_| ()).map_err(trying("bind")),
        }
    }
}

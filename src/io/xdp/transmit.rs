//! The sending face.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::super::system::check;
use super::super::{Pieces, Transmit};
use super::rings::{COMPLETION, Descriptor, FromKernel, TRANSMIT, ToKernel};
use super::umem::Chunks;
use super::{TRANSMIT_CHUNKS, XdpError, set_send_buffer, trying};
use crate::wire::ethernet;

/// Frames handed to the kernel at once: as many as it sends in one call.
const BATCH: usize = 32;
/// Calls in a row that may come to nothing in one `transmit`: some 100 us.
const FRUITLESS_CALLS: u32 = 400;
const _: () = assert!(TRANSMIT_CHUNKS <= u64::BITS as usize);
/// What the kernel skips: no chunk is there.
const NOTHING: Descriptor = Descriptor { addr: u64::MAX, len: 0, options: 0 };

/// The sending face of an interface, by its first queue.
pub struct XdpTransmitter {
    socket: Arc<OwnedFd>,
    chunks: Chunks,
    /// In octets.
    frame_len_max: usize,
    /// Those that are not on their way. The one given back last is used first, as it is in the
    /// cache.
    free: Vec<u64>,
    /// The others, a bit for each. What a kernel says it has read of the ring is not always all that
    /// it has sent, so a chunk may be given back twice.
    away: u64,
    ring: ToKernel<Descriptor>,
    completions: FromKernel<u64>,
}

impl XdpTransmitter {
    /// Adds the rings to a socket that is not bound yet, and will take frames of so many pieces.
    pub(super) fn new(
        socket: &Arc<OwnedFd>,
        chunks: Chunks,
        pieces_max: usize,
    ) -> Result<XdpTransmitter, XdpError> {
        let (fd, size) = (socket.as_raw_fd(), TRANSMIT_CHUNKS as u32);
        set_send_buffer(fd).map_err(trying("send buffer"))?;
        Ok(XdpTransmitter {
            socket: Arc::clone(socket),
            ring: ToKernel::new(fd, TRANSMIT, size).map_err(trying("rings"))?,
            completions: FromKernel::new(fd, COMPLETION, size).map_err(trying("rings"))?,
            free: chunks.all().rev().collect(),
            away: 0,
            frame_len_max: pieces_max * chunks.len(),
            chunks,
        })
    }

    /// How many chunks hold frames that the device is not done with.
    pub fn in_flight(&mut self) -> usize {
        self.reap();
        TRANSMIT_CHUNKS - self.free.len()
    }

    /// Whether frames with IP packets of `mtu` octets can be sent.
    pub fn fits(&self, mtu: u32) -> bool {
        mtu as usize + ethernet::HEADER_LEN <= self.frame_len_max
    }

    /// Takes chunks back whose frames were sent; returns how many the kernel reports.
    #[inline]
    fn reap(&mut self) -> u32 {
        let count = self.completions.waiting();
        for at in 0..count {
            let done = self.completions.entry(at);
            // Some kernels report what they skip, too.
            if done != NOTHING.addr {
                self.give_back(self.chunks.chunk_of(done));
            }
        }
        if count > 0 {
            self.completions.release(count);
        }
        count
    }

    /// Takes a free chunk.
    #[inline]
    fn take_chunk(&mut self) -> Option<u64> {
        let chunk = self.free.pop()?;
        self.away |= self.mark(chunk);
        Some(chunk)
    }

    /// A chunk is free again, if it was not already.
    #[inline]
    fn give_back(&mut self, chunk: u64) {
        let mark = self.mark(chunk);
        if self.away & mark != 0 {
            self.away &= !mark;
            self.free.push(chunk);
        }
    }

    fn mark(&self, chunk: u64) -> u64 {
        1 << (chunk / self.chunks.len() as u64 % u64::from(u64::BITS))
    }

    /// Copies a frame into chunks and queues it; `None` if there are not as many.
    #[inline]
    fn queue(&mut self, (head, tail): Pieces<'_>) -> Option<()> {
        let len = head.len() + tail.len();
        if len > self.frame_len_max {
            return None;
        }
        if len > self.chunks.len() {
            return self.queue_in_pieces((head, tail));
        }
        if self.ring.room() == 0 {
            return None;
        }
        let chunk = self.take_chunk()?;
        let frame = self.chunks.bytes_mut(chunk, len);
        let (front, back) = frame.split_at_mut(head.len());
        front.copy_from_slice(head);
        back.copy_from_slice(tail);
        self.ring.push(Descriptor { addr: chunk, len: len as u32, options: 0 });
        Some(())
    }

    /// Queues a frame that is longer than a chunk.
    fn queue_in_pieces(&mut self, (head, tail): Pieces<'_>) -> Option<()> {
        let chunk_len = self.chunks.len();
        let count = (head.len() + tail.len()).div_ceil(chunk_len);
        if count > self.free.len() || count > self.ring.room() as usize {
            return None;
        }
        let mut rest = (head, tail);
        for piece in 1..=count {
            let chunk = self.take_chunk()?;
            let front = rest.0.split_off(..rest.0.len().min(chunk_len))?;
            let room = chunk_len - front.len();
            let back = rest.1.split_off(..rest.1.len().min(room))?;
            let len = front.len() + back.len();
            let bytes = self.chunks.bytes_mut(chunk, len);
            bytes[..front.len()].copy_from_slice(front);
            bytes[front.len()..].copy_from_slice(back);
            let options = if piece < count { libc::XDP_PKT_CONTD } else { 0 };
            self.ring.push(Descriptor { addr: chunk, len: len as u32, options });
        }
        Some(())
    }

    /// Has the kernel send what is queued; returns how many descriptors it has not taken, which
    /// are out of the ring then.
    fn send(&mut self, patience: &mut u32) -> u32 {
        self.ring.publish();
        let mut unread = self.ring.unread();
        while unread > 0 {
            let called = kick(&self.socket);
            let left = self.ring.unread();
            // One that was sent is completed at once on some kernels, and read later.
            if left < unread || self.reap() > 0 {
                *patience = FRUITLESS_CALLS;
            } else if *patience == 0 || called.is_err_and(|error| !passes(&error)) {
                break;
            } else {
                *patience -= 1;
            }
            unread = left;
        }
        if unread > 0 {
            let mut given_up = [NOTHING.addr; TRANSMIT_CHUNKS];
            let mut count = 0;
            self.ring.replace_unread(NOTHING, |was| {
                if was.addr != NOTHING.addr && count < TRANSMIT_CHUNKS {
                    given_up[count] = was.addr;
                    count += 1;
                }
            });
            given_up[..count].iter().for_each(|chunk| self.give_back(*chunk));
        }
        unread
    }
}

impl Transmit for XdpTransmitter {
    fn transmit<'a>(
        &mut self,
        count: usize,
        pieces: impl Fn(usize) -> Pieces<'a>,
        mut done: impl FnMut(usize, bool),
    ) {
        let mut patience = FRUITLESS_CALLS;
        let mut next = 0;
        while next < count {
            self.reap();
            let first = next;
            // For each frame of the batch, how much is in the ring behind it.
            let mut behind = [0; BATCH];
            while next < count && next - first < BATCH && self.queue(pieces(next)).is_some() {
                behind[next - first] = self.ring.unread();
                next += 1;
            }
            if next == first {
                // All chunks are on their way, or the ring is full of what was given up.
                let (head, tail) = pieces(next);
                if patience == 0 || head.len() + tail.len() > self.frame_len_max {
                    done(next, false);
                    next += 1;
                } else {
                    patience = match kick(&self.socket) {
                        Err(error) if !passes(&error) => 0,
                        _ => patience - 1,
                    };
                }
                continue;
            }
            let queued = self.ring.unread();
            let unread = self.send(&mut patience);
            for index in first..next {
                done(index, behind[index - first] + unread <= queued);
            }
        }
    }
}

/// Has the kernel send what is in a socket's ring.
fn kick(socket: &OwnedFd) -> io::Result<()> {
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
    // SAFETY: there is neither a message nor an address.
    let sent = unsafe { libc::sendto(fd, std::ptr::null(), 0, flags, std::ptr::null(), 0) };
    check(sent as libc::c_int).map(|_| ())
}

/// Whether it is worth calling again: the device's queue or the socket's is full for a moment.
fn passes(error: &io::Error) -> bool {
    let passing = [libc::EAGAIN, libc::EBUSY, libc::ENOBUFS, libc::EINTR];
    error.raw_os_error().is_some_and(|error| passing.contains(&error))
}

//! The memory that an AF_XDP socket shares with the kernel: a row of chunks, each of which holds a
//! frame or a part of one. The kernel keeps all of it in memory from the start (and counts it
//! against `RLIMIT_MEMLOCK`), so it is small.

use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use super::super::system::{check, set_option};

/// Memory that is registered with a socket. Unmapped when dropped; the kernel keeps the pages for
/// as long as the socket exists.
struct Memory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, and its bytes are reached only through `Chunks`,
// each of which has a part of its own.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `register`; no `Chunks` borrows from it any more.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(check(result).is_ok());
    }
}

/// A part of the memory, which nobody else in this process reads or writes.
pub(super) struct Chunks {
    memory: Arc<Memory>,
    /// In octets from the start of the memory, as descriptors have it.
    part: Range<u64>,
    chunk_len: usize,
}

/// Registers new memory with a socket: two parts of so many chunks each, of `chunk_len` octets,
/// which is 2048 or 4096.
///
/// # Errors
/// What the kernel says; `ENOBUFS` is more than `RLIMIT_MEMLOCK` allows this user.
pub(super) fn register(
    fd: RawFd,
    chunk_len: usize,
    [first, second]: [usize; 2],
) -> io::Result<[Chunks; 2]> {
    let len = (first + second) * chunk_len;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new memory of our own, at an address of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = NonNull::new(start.cast()).expect("a mapping is not at address 0");
    let memory = Arc::new(Memory { start, len });
    let request = libc::xdp_umem_reg {
        addr: start.as_ptr() as u64,
        len: len as u64,
        chunk_size: chunk_len as u32,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &request)?;
    let split = (first * chunk_len) as u64;
    let chunks = |part| Chunks { memory: Arc::clone(&memory), part, chunk_len };
    Ok([chunks(0..split), chunks(split..len as u64)])
}

impl Chunks {
    /// Octets of a chunk.
    pub(super) fn len(&self) -> usize {
        self.chunk_len
    }

    /// Where each chunk begins, as descriptors have it.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = u64> + use<> {
        let chunk_len = self.chunk_len as u64;
        (self.part.start / chunk_len..self.part.end / chunk_len).map(move |at| at * chunk_len)
    }

    /// The beginning of the chunk that an address is in.
    pub(super) fn chunk_of(&self, address: u64) -> u64 {
        address & !(self.chunk_len as u64 - 1)
    }

    /// `len` octets from an address on.
    ///
    /// # Panics
    /// If they are not of this part.
    #[inline]
    pub(super) fn bytes(&self, address: u64, len: usize) -> &[u8] {
        let start = self.place(address, len);
        // SAFETY: `place` has made sure that the range is inside this part of the mapping, which
        // `&self` keeps from being written by us; the kernel writes only chunks of the fill ring,
        // and those are not read (see `Queue`).
        unsafe { slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// `len` octets from an address on, to be written.
    ///
    /// # Panics
    /// If they are not of this part.
    #[inline]
    pub(super) fn bytes_mut(&mut self, address: u64, len: usize) -> &mut [u8] {
        let start = self.place(address, len);
        // SAFETY: as in `bytes`; `&mut self` makes it the only reference, as nobody else has a
        // part that overlaps this one.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    #[inline]
    fn place(&self, address: u64, len: usize) -> NonNull<u8> {
        let Range { start, end } = self.part;
        assert!(
            start <= address && address <= end && len as u64 <= end - address,
            "an address of another part of the memory"
        );
        // SAFETY: the part is inside the mapping, and the address inside the part.
        unsafe { self.memory.start.add(address as usize) }
    }
}

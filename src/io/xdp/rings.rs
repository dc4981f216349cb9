//! The four rings of an AF_XDP socket. One side writes entries and moves the producer's index on,
//! the other reads them and moves the consumer's; both indices wrap around at 2^32.

use std::io;
use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::system::{check, option, set_option};

/// An entry of the rings for received frames and frames to be sent.
pub(super) type Descriptor = libc::xdp_desc;

/// Which ring: the option that makes it, and where it is mapped from.
pub(super) struct Kind(libc::c_int, libc::off_t);

pub(super) const RECEIVE: Kind = Kind(libc::XDP_RX_RING, libc::XDP_PGOFF_RX_RING);
pub(super) const TRANSMIT: Kind = Kind(libc::XDP_TX_RING, libc::XDP_PGOFF_TX_RING);
/// Chunks for the kernel to write frames into.
pub(super) const FILL: Kind =
    Kind(libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t);
/// Chunks whose frames were sent.
pub(super) const COMPLETION: Kind =
    Kind(libc::XDP_UMEM_COMPLETION_RING, libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t);

/// A mapped ring of entries `E`, which are plain integers. It is unmapped when dropped; the kernel
/// keeps the socket until all its rings are.
struct Ring<E> {
    memory: NonNull<u8>,
    len: usize,
    producer: usize,
    consumer: usize,
    entries: usize,
    mask: u32,
    of: PhantomData<E>,
}

// SAFETY: the mapping belongs to this value alone and may be used from any one thread at a time.
unsafe impl<E> Send for Ring<E> {}

impl<E: Copy> Ring<E> {
    /// Adds a ring of `size` entries, a power of two, to a socket, and maps it.
    fn new(fd: RawFd, Kind(name, from): Kind, size: u32) -> io::Result<Ring<E>> {
        assert!(size.is_power_of_two());
        set_option(fd, libc::SOL_XDP, name, &size)?;
        let none = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
        let none = libc::xdp_mmap_offsets { rx: none, tx: none, fr: none, cr: none };
        let offsets = option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, none)?;
        let offsets = match name {
            libc::XDP_RX_RING => offsets.rx,
            libc::XDP_TX_RING => offsets.tx,
            libc::XDP_UMEM_FILL_RING => offsets.fr,
            _ => offsets.cr,
        };
        let len = offsets.desc as usize + size as usize * size_of::<E>();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new shared mapping at an address of the kernel's choice, of the size that the
        // ring just made has.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, fd, from) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Ring {
            memory: NonNull::new(memory.cast()).expect("a mapping is not at address 0"),
            len,
            producer: offsets.producer as usize,
            consumer: offsets.consumer as usize,
            entries: offsets.desc as usize,
            mask: size - 1,
            of: PhantomData,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        self.index(self.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.index(self.consumer)
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the kernel has said that an aligned index is there; it is inside the mapping for
        // as long as `self` lives, and shared with the kernel by atomic access only.
        unsafe { AtomicU32::from_ptr(self.memory.add(offset).cast().as_ptr()) }
    }

    fn entry(&self, index: u32) -> NonNull<E> {
        // SAFETY: the masked index is below the number of entries, so this is inside the mapping.
        unsafe { self.memory.add(self.entries).cast::<E>().add((index & self.mask) as usize) }
    }
}

impl<E> Drop for Ring<E> {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; nothing borrows from it any more.
        let result = unsafe { libc::munmap(self.memory.as_ptr().cast(), self.len) };
        debug_assert!(check(result).is_ok());
    }
}

/// A ring that we write and the kernel reads.
pub(super) struct ToKernel<E> {
    ring: Ring<E>,
    /// The index of the next entry to be written. What is behind the published one is ours.
    next: u32,
}

impl<E: Copy> ToKernel<E> {
    pub(super) fn new(fd: RawFd, kind: Kind, size: u32) -> io::Result<ToKernel<E>> {
        Ok(ToKernel { ring: Ring::new(fd, kind, size)?, next: 0 })
    }

    /// How many entries the kernel has not read yet, those that are not published among them.
    #[inline]
    pub(super) fn unread(&self) -> u32 {
        // Acquire: the kernel is done with an entry before it says so.
        self.next.wrapping_sub(self.ring.consumer().load(Ordering::Acquire))
    }

    /// For how many more entries there is room.
    #[inline]
    pub(super) fn room(&self) -> u32 {
        (self.ring.mask + 1).saturating_sub(self.unread())
    }

    /// Writes the next entry, for which there must be room.
    #[inline]
    pub(super) fn push(&mut self, entry: E) {
        debug_assert!(self.room() > 0);
        // SAFETY: the kernel has read the entry that was here, and does not look at it again
        // before it is published.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
    }

    /// Lets the kernel read what was written.
    #[inline]
    pub(super) fn publish(&self) {
        // Release: the entries were written before.
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Puts another entry in the place of each that is unread, and says which it was.
    ///
    /// To be used only while the kernel does not read: a ring of frames to be sent is read, where
    /// frames are copied, within this thread's own system calls alone.
    pub(super) fn replace_unread(&mut self, other: E, mut was: impl FnMut(E)) {
        for back in (1..=self.unread()).rev() {
            let entry = self.ring.entry(self.next.wrapping_sub(back));
            // SAFETY: inside the mapping, and nobody else reads or writes it meanwhile (see above).
            was(unsafe { entry.replace(other) });
        }
    }
}

/// A ring that the kernel writes and we read.
pub(super) struct FromKernel<E> {
    ring: Ring<E>,
    /// The index of the first entry that we have not given back.
    first: u32,
}

impl<E: Copy> FromKernel<E> {
    pub(super) fn new(fd: RawFd, kind: Kind, size: u32) -> io::Result<FromKernel<E>> {
        Ok(FromKernel { ring: Ring::new(fd, kind, size)?, first: 0 })
    }

    /// How many entries wait to be read.
    #[inline]
    pub(super) fn waiting(&self) -> u32 {
        // Acquire: the entries, and what they stand for, were written before.
        let end = self.ring.producer().load(Ordering::Acquire);
        end.wrapping_sub(self.first).min(self.ring.mask + 1)
    }

    /// Entry `at` of those that wait.
    #[inline]
    pub(super) fn entry(&self, at: u32) -> E {
        // SAFETY: an entry of integers inside the mapping; a copy is made. The kernel writes it
        // only after it was given back, so only a wrong `at` reads one that is being written,
        // which is a number like any other then.
        unsafe { self.ring.entry(self.first.wrapping_add(at)).read() }
    }

    /// Gives the first `count` entries back to the kernel.
    #[inline]
    pub(super) fn release(&mut self, count: u32) {
        self.first = self.first.wrapping_add(count);
        // Release: we have read the entries before the kernel may write them.
        self.ring.consumer().store(self.first, Ordering::Release);
    }
}

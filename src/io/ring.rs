//! A TPACKET_V2 receive ring: frames that the kernel writes into memory shared with it.
//!
//! ```text
//! | slot 0                             | slot 1 ...
//! | tpacket2_hdr | sockaddr_ll | ... | frame ... |
//! ```
//!
//! A slot whose status says USER is ours until we write KERNEL into it. The kernel fills slots
//! in order, so the ring is read with one cursor.

use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use super::system::{check, set_option};

const PACKET_RX_RING: libc::c_int = 5;
const PACKET_VERSION: libc::c_int = 10;
const TPACKET_V2: libc::c_int = 1;
const STATUS_KERNEL: u32 = 0;
const STATUS_USER: u32 = 1;
const PACKET_MULTICAST: u8 = 2;

/// Octets of a block: the unit in which the kernel allocates.
const BLOCK_LEN: usize = 1 << 16;
/// The aim for the whole ring: it should stay in the cache.
const RING_LEN: usize = 2 << 20;
/// Octets in front of a frame: header, address and alignment.
const SLOT_OVERHEAD: usize = 128;

/// `struct sockaddr_ll` follows the header at the next multiple of 16.
const ADDRESS_AT: usize = 32;
const PACKET_TYPE_AT: usize = ADDRESS_AT + 10;

/// A mapped receive ring. Unmapped when dropped.
pub(super) struct Ring {
    memory: NonNull<u8>,
    len: usize,
    slot_len: usize,
    slots: usize,
    /// The next slot to be filled by the kernel and read by us.
    next: usize,
    /// How many slots from `next` on are taken.
    taken: usize,
}

// SAFETY: the mapping belongs to this value alone and may be used from any one thread at a time.
unsafe impl Send for Ring {}

impl Ring {
    /// Adds a ring for frames of up to `frame_len` octets to a packet socket, and maps it.
    pub(super) fn new(fd: RawFd, frame_len: usize) -> io::Result<Ring> {
        let slot_len = (frame_len + SLOT_OVERHEAD).next_power_of_two().max(2048);
        let block_len = slot_len.max(BLOCK_LEN);
        let blocks = (RING_LEN / block_len).max(4);
        let request = libc::tpacket_req {
            tp_block_size: block_len as u32,
            tp_block_nr: blocks as u32,
            tp_frame_size: slot_len as u32,
            tp_frame_nr: (blocks * (block_len / slot_len)) as u32,
        };
        set_option(fd, libc::SOL_PACKET, PACKET_VERSION, &TPACKET_V2)?;
        set_option(fd, libc::SOL_PACKET, PACKET_RX_RING, &request)?;
        let len = blocks * block_len;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new shared mapping at an address of the kernel's choice, of the size that
        // the ring just set has.
        let memory =
            unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).expect("a mapping is not at address 0");
        let slots = request.tp_frame_nr as usize;
        Ok(Ring { memory, len, slot_len, slots, next: 0, taken: 0 })
    }

    /// The longest frame that a slot holds whole, in octets.
    pub(super) fn frame_len_max(&self) -> usize {
        self.slot_len - SLOT_OVERHEAD
    }

    /// Takes up to `limit` filled slots from the cursor on; returns how many.
    pub(super) fn take(&mut self, limit: usize) -> usize {
        let limit = limit.min(self.slots);
        // Acquire: the frame's bytes were written before its status.
        let filled = |&index: &usize| self.status(index).load(Ordering::Acquire) & STATUS_USER != 0;
        self.taken = (0..limit).take_while(filled).count();
        self.taken
    }

    /// Whether the frame of taken slot `index` was sent to a group's link-layer address.
    pub(super) fn is_to_group(&self, index: usize) -> bool {
        assert!(index < self.taken, "only taken slots are read");
        // SAFETY: the packet type is an octet inside a slot that is taken, so nobody writes it.
        let packet_type = unsafe { self.slot(index).add(PACKET_TYPE_AT).read() };
        packet_type == PACKET_MULTICAST
    }

    /// The bytes of taken slot `index`.
    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        let (start, len) = self.frame_range(index);
        // SAFETY: the range is inside the slot, which is inside the mapping; while the slot is
        // taken the kernel does not write it, and `&self` keeps us from releasing or writing it.
        unsafe { slice::from_raw_parts(self.slot(index).add(start).as_ptr(), len) }
    }

    /// The bytes of taken slot `index`, to be written.
    pub(super) fn bytes_mut(&mut self, index: usize) -> &mut [u8] {
        let (start, len) = self.frame_range(index);
        // SAFETY: as in `bytes`; `&mut self` makes it the only reference.
        unsafe { slice::from_raw_parts_mut(self.slot(index).add(start).as_ptr(), len) }
    }

    /// Where the frame lies in its taken slot, bounded by it whatever the header says.
    fn frame_range(&self, index: usize) -> (usize, usize) {
        assert!(index < self.taken, "only taken slots are read");
        // SAFETY: a header of integers at the start of an aligned slot that is taken, so nobody
        // writes it; a copy is made.
        let header = unsafe { self.slot(index).cast::<libc::tpacket2_hdr>().read() };
        let start = usize::from(header.tp_mac).min(self.slot_len);
        (start, (header.tp_snaplen as usize).min(self.slot_len - start))
    }

    /// Gives the first `count` taken slots back to the kernel.
    pub(super) fn release(&mut self, count: usize) {
        for index in 0..count.min(self.taken) {
            // Release: we are done with the bytes before the kernel may write them.
            self.status(index).store(STATUS_KERNEL, Ordering::Release);
        }
        self.next = (self.next + count.min(self.taken)) % self.slots;
        self.taken = 0;
    }

    /// The status of the slot `index` behind the cursor.
    fn status(&self, index: usize) -> &AtomicU32 {
        // SAFETY: the first field of a slot's header is its status, aligned, inside the mapping
        // for as long as `self` lives, and shared with the kernel by atomic access only.
        unsafe { AtomicU32::from_ptr(self.slot(index).cast().as_ptr()) }
    }

    fn slot(&self, index: usize) -> NonNull<u8> {
        let slot = (self.next + index) % self.slots;
        // SAFETY: `slot` is below the number of slots, so the offset is inside the mapping.
        unsafe { self.memory.add(slot * self.slot_len) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; nothing borrows from it any more.
        let result = unsafe { libc::munmap(self.memory.as_ptr().cast(), self.len) };
        debug_assert!(check(result).is_ok());
    }
}

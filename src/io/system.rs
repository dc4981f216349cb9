//! The few system calls that have no safe wrapper elsewhere.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::AtomicU32;

/// The length type of the socket calls.
pub(super) fn socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// Turns the result of a system call into a `Result`.
pub(super) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Sets a socket option to a plain C value.
pub(super) fn set_option<T>(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is a live `T` for the length passed with it; the kernel only reads it.
    let result =
        unsafe { libc::setsockopt(fd, level, name, (value as *const T).cast(), socklen::<T>()) };
    check(result).map(|_| ())
}

/// Reads a socket option that is a plain C struct of integers.
pub(super) fn option<T: Copy>(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    mut value: T,
) -> io::Result<T> {
    let mut length = socklen::<T>();
    // SAFETY: `value` is a live `T` of integers (any bytes are valid) and `length` its size.
    let result =
        unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) };
    check(result).map(|_| value)
}

/// Lets `size` octets wait in a socket, beyond the system's limit.
///
/// # Errors
/// What the kernel says; without `CAP_NET_ADMIN` it is `PermissionDenied`.
pub fn force_receive_buffer(socket: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    let size = libc::c_int::try_from(size).unwrap_or(libc::c_int::MAX);
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &size)
}

/// Fills octets with what nobody can foresee.
pub fn fill_random(octets: &mut [u8]) {
    // The kernel gives up to 256 at once whatever happens.
    for piece in octets.chunks_mut(256) {
        // SAFETY: `piece` is a live buffer of the length passed with it.
        while unsafe { libc::getrandom(piece.as_mut_ptr().cast(), piece.len(), 0) }
            != piece.len() as isize
        {}
    }
}

/// Lets this process open as many descriptors as the system allows it: a port takes four.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let limit = limit(libc::RLIMIT_NOFILE)?;
    set_limit(libc::RLIMIT_NOFILE, libc::rlimit { rlim_cur: limit.rlim_max, ..limit })
}

/// Lets this process keep as much memory from being swapped out as the system allows it, or as it
/// likes with `CAP_SYS_RESOURCE`: AF_XDP does so with the memory of its frames, 128 KiB
/// a port that sends and 1 MiB more a queue that is received from.
pub fn raise_memory_limit() -> io::Result<()> {
    let all = libc::RLIM_INFINITY;
    set_limit(libc::RLIMIT_MEMLOCK, libc::rlimit { rlim_cur: all, rlim_max: all }).or_else(|_| {
        let limit = limit(libc::RLIMIT_MEMLOCK)?;
        set_limit(libc::RLIMIT_MEMLOCK, libc::rlimit { rlim_cur: limit.rlim_max, ..limit })
    })
}

fn limit(name: libc::__rlimit_resource_t) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live struct that the kernel fills in.
    check(unsafe { libc::getrlimit(name, &raw mut limit) }).map(|_| limit)
}

fn set_limit(name: libc::__rlimit_resource_t, limit: libc::rlimit) -> io::Result<()> {
    // SAFETY: `limit` is a live struct that the kernel reads.
    check(unsafe { libc::setrlimit(name, &raw const limit) }).map(|_| ())
}

/// Memory of so many words that are 0, in large pages where the system has them: looking things up
/// all over it costs a miss of the address translation less. What is never written takes no memory.
pub fn large_pages(words: usize) -> Vec<AtomicU32> {
    let mut zeros = ManuallyDrop::new(vec![0u32; words]);
    let (start, capacity) = (zeros.as_mut_ptr(), zeros.capacity());
    // The kernel takes whole pages only.
    let page = 4096;
    let first = start.addr().next_multiple_of(page);
    let length = (start.addr() + size_of::<u32>() * words).saturating_sub(first) / page * page;
    // SAFETY: the range lies within memory that this process owns, and its contents stay as they
    // are. Where the kernel refuses, pages stay small.
    let _small =
        unsafe { libc::madvise(start.with_addr(first).cast(), length, libc::MADV_HUGEPAGE) };
    // SAFETY: the parts of a `Vec<u32>` that is not dropped, and `AtomicU32` has the size, alignment
    // and valid bits of `u32`.
    unsafe { Vec::from_raw_parts(start.cast(), words, capacity) }
}

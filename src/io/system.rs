//! The few system calls that have no safe wrapper elsewhere.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

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

/// Lets this process open as many descriptors as the system allows it: a port takes three.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live struct that the kernel fills in.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a live struct that the kernel reads.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(|_| ())
}

//! Namespaces of a process's own. They last as long as the last process in them, or as long as
//! an open file names them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::system::check;

/// Gives this process a network and a mount namespace of its own, and where that takes privileges
/// that it lacks, a user namespace in which it has them. The process must have one thread only.
///
/// # Errors
/// What the kernel says: `PermissionDenied` if it lets this user have no user namespace.
pub fn leave_network() -> io::Result<()> {
    let own = libc::CLONE_NEWNET | libc::CLONE_NEWNS;
    match unshare(own) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        done => return done,
    }
    // SAFETY: no pointers, and they cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    unshare(own | libc::CLONE_NEWUSER)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::unshare(namespaces) }).map(|_| ())
}

/// Moves the calling thread into a network namespace, which a file names.
///
/// # Errors
/// What the kernel says: the file names none, or `PermissionDenied` without `CAP_SYS_ADMIN` in it.
pub fn enter_network(namespace: &File) -> io::Result<()> {
    // SAFETY: no pointers; the descriptor is open for as long as `namespace` lives.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(|_| ())
}

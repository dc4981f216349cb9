//! What a process may still become, and what it may do to a folder.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::system::check;

/// No program that this thread, or one that it starts, ever executes gets a privilege by it:
/// neither set-user-ID bits nor file capabilities count (`no_new_privs`). It cannot be taken back.
///
/// # Errors
/// What the kernel says; since Linux 3.5 it says nothing.
pub fn forbid_new_privileges() -> io::Result<()> {
    const ON: libc::c_ulong = 1;
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: no pointers; the unused arguments are zero, as the kernel asks.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, ON, UNUSED, UNUSED, UNUSED) }).map(|_| ())
}

/// Whether this process may make and remove entries of `folder` with the effective user and
/// capabilities that it has now.
///
/// # Errors
/// What the kernel says: `PermissionDenied` if it may not.
pub fn may_change(folder: &Path) -> io::Result<()> {
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    let how = libc::W_OK | libc::X_OK;
    // SAFETY: `folder` is a live string that ends with a zero; the kernel only reads it.
    check(unsafe { libc::faccessat(libc::AT_FDCWD, folder.as_ptr(), how, libc::AT_EACCESS) })
        .map(|_| ())
}

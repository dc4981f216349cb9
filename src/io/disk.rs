//! How much room a file system has.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::system::check;

/// The room of a file system, octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All, used or not.
    pub total: u64,
    /// What an ordinary user can still have of it: without what is kept back for the system.
    pub available: u64,
}

/// The room of the file system that a file or folder is on.
///
/// # Errors
/// What the kernel says, such as that there is no such file; `InvalidInput` of a path with a zero in it.
pub fn space(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: it is a struct of integers, of which zeros are valid.
    let mut found: libc::statvfs64 = unsafe { mem::zeroed() };
    // SAFETY: `path` is a live string that ends with a zero, and `found` a live struct of the kind that
    // the call fills; it keeps neither.
    check(unsafe { libc::statvfs64(path.as_ptr(), &raw mut found) })?;
    let octets = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space { total: octets(found.f_blocks), available: octets(found.f_bavail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_on_a_file_system_with_room_and_nowhere_is_on_none() {
        let folder = std::env::temp_dir();
        let found = space(&folder).expect("it is there");
        assert!(found.total > 0 && found.available <= found.total, "{found:?}");
        let error = space(&folder.join("no/such/folder")).expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = space(Path::new("a\0b")).expect_err("it is no path");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

//! What a peer keeps over restarts: its private key, and what its machines want kept.
//!
//! Files are replaced whole (written beside, forced to the disk, renamed). What a machine keeps
//! begins with a checksum; a file that does not agree with it is set aside and the peer goes on
//! without. A damaged key is fatal: with another one the peer would be somebody else.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use overlay_protocols::id::{ID_LEN, RingId};
use xcast::io::fill_random;

/// The longest file that is read.
const FILE_LEN_MAX: u64 = 16 << 20;
const KEY_LEN: usize = 32;
const MAGIC: &[u8; 8] = b"XoStore1";

/// Why a peer cannot have its state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or folder cannot be had.
    #[error("cannot {what} {}: {error}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A key's file holds something else.
    #[error(
        "{} holds no private key (32 octets in base64, 44 characters): restore it from a copy; \
         without it, remove the file, and the peer becomes another one with a new key", .0.display()
    )]
    NoKey(PathBuf),
    /// Another process has the folder or key.
    #[error("{} is in use by another process: a peer runs once at a time", .0.display())]
    InUse(PathBuf),
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::File { what, path, error }
}

/// A folder that is the owner's alone.
///
/// # Errors
/// It cannot be made.
pub fn make_folder(path: &Path) -> Result<(), StateError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(failed("make the folder", path))
}

/// A private key that is this process's alone while it is held.
pub struct PrivateKey {
    /// Ed25519 (RFC 8032).
    pub octets: [u8; KEY_LEN],
    /// While it is open, no other process has the key.
    pub held: File,
}

/// Reads a peer's private key, or makes one at the first start.
///
/// # Errors
/// It cannot be read or made, it is damaged, or another process has it.
pub fn private_key(path: &Path) -> Result<PrivateKey, StateError> {
    match read_key(path) {
        Err(StateError::File { error, .. }) if error.kind() == ErrorKind::NotFound => {
            make_key(path)?;
            tracing::info!(file = %path.display(), "a new private key was made");
            read_key(path)
        }
        other => other,
    }
}

fn read_key(path: &Path) -> Result<PrivateKey, StateError> {
    let held = File::open(path).map_err(failed("read the private key", path))?;
    let metadata = held.metadata().map_err(failed("read the private key", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            file = %path.display(),
            "others may read this private key (mode {mode:o}): chmod 600 it"
        );
    }
    if matches!(held.try_lock(), Err(fs::TryLockError::WouldBlock)) {
        return Err(StateError::InUse(path.to_owned()));
    }
    let no_key = || StateError::NoKey(path.to_owned());
    if metadata.len() > FILE_LEN_MAX {
        return Err(no_key());
    }
    let text = fs::read(path).map_err(failed("read the private key", path))?;
    let octets = BASE64_STANDARD.decode(text.trim_ascii()).map_err(|_| no_key())?;
    let octets: [u8; KEY_LEN] = octets.try_into().map_err(|_| no_key())?;
    // What a forgotten initialization looks like.
    if octets == [0; KEY_LEN] {
        return Err(no_key());
    }
    Ok(PrivateKey { octets, held })
}

fn make_key(path: &Path) -> Result<(), StateError> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let mut octets = [0; KEY_LEN];
    fill_random(&mut octets);
    let text = format!("{}\n", BASE64_STANDARD.encode(octets));
    replace(path, text.as_bytes()).map_err(failed("write the private key", path))
}

/// A file with this content in place of the one that was there, if there was one: never half of it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// What a machine has kept under a name; `None` if there is nothing that can be used.
pub fn restored(folder: &Path, key: &str) -> Option<Vec<u8>> {
    let path = file_of(folder, key);
    let is_small = |path: &Path| fs::metadata(path).map(|file| file.len() <= FILE_LEN_MAX);
    let bytes = match is_small(&path) {
        Ok(true) => fs::read(&path),
        Ok(false) => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "what was kept cannot be read");
            return None;
        }
    };
    let kept = unwrap(&bytes);
    if kept.is_none() {
        let aside = path.with_extension("damaged");
        let outcome = match fs::rename(&path, &aside) {
            Ok(()) => format!("it was set aside as {}", aside.display()),
            Err(error) => format!("it cannot be set aside either: {error}"),
        };
        tracing::warn!(file = %path.display(), "what was kept is damaged; {outcome}");
    }
    kept
}

fn file_of(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.store"))
}

fn unwrap(bytes: &[u8]) -> Option<Vec<u8>> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (checksum, kept) = rest.split_first_chunk::<ID_LEN>()?;
    (RingId::of_key(kept).0 == *checksum).then(|| kept.to_vec())
}

fn wrap(kept: &[u8]) -> Vec<u8> {
    [MAGIC, RingId::of_key(kept).0.as_slice(), kept].concat()
}

/// Writes to the disk on a thread of its own, as a disk may take its time. What is replaced before
/// it was written is never written, so no more waits than there are files.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Default)]
struct Pending {
    files: BTreeMap<PathBuf, Vec<u8>>,
    is_over: bool,
}

impl Writer {
    /// Begins.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start() -> io::Result<Writer> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("state".into());
        let thread = thread.spawn(move || write_all(&of_thread))?;
        Ok(Writer { shared, thread: Some(thread) })
    }

    /// Keeps `bytes` under a name in a folder; empty: nothing any more.
    pub fn store(&self, folder: &Path, key: &str, bytes: Vec<u8>) {
        let mut pending = self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.files.insert(file_of(folder, key), bytes);
        self.shared.changed.notify_one();
    }
}

impl Drop for Writer {
    /// Waits until all is written.
    fn drop(&mut self) {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _over = thread.join();
        }
    }
}

fn write_all(shared: &Shared) {
    loop {
        let mut pending = shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        while pending.files.is_empty() && !pending.is_over {
            pending = shared.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        let Some((path, bytes)) = pending.files.pop_first() else { return };
        drop(pending);
        let written = match bytes.is_empty() {
            true => fs::remove_file(&path).or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
            false => replace(&path, &wrap(&bytes)),
        };
        if let Err(error) = written {
            tracing::warn!(file = %path.display(), %error, "cannot keep this over a restart");
        }
    }
}

#[cfg(test)]
mod tests;

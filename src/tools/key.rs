//! `xcast key`: the private keys of relays and hosts, a file each.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Failure, output};
use crate::host::PrivateKey;
use crate::io::fill_random;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a private key, and print the public key that belongs to it
    ///
    /// The file is for its owner alone (mode 0600); one that is there already is never changed.
    Generate(Place),
    /// Print the public key that belongs to a private key
    Public(Place),
}

#[derive(clap::Args)]
pub(super) struct Place {
    /// The file with the private key
    file: PathBuf,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let key = match command {
        Command::Generate(Place { file }) => generate(file)?,
        Command::Public(Place { file }) => read(file)?,
    };
    output::line(&key.public().to_string())
}

fn generate(path: &Path) -> Result<PrivateKey, Failure> {
    let key = PrivateKey::generate(&mut fill_random);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", key.to_base64())?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Failure::Work(format!(
            "{} is there already, and may be a key in use; `xcast key public` shows whose",
            path.display()
        ))),
        Err(error) => Err(Failure::Work(format!("cannot write {}: {error}", path.display()))),
    }
}

/// Reads a private key.
pub(super) fn read(path: &Path) -> Result<PrivateKey, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => " (`xcast key generate FILE` makes one)",
            _ => "",
        };
        Failure::Usage(format!("cannot read the private key {}: {error}{hint}", path.display()))
    })?;
    text.parse()
        .map_err(|error| Failure::Usage(format!("{}: the private key {error}", path.display())))
}

/// Reads a private key that is this program's alone from now on: of two programs with the same key
/// a relay would know only the later one.
pub(super) fn take(path: &Path) -> Result<PrivateKey, Failure> {
    static HELD: OnceLock<File> = OnceLock::new();
    let key = read(path)?;
    if let Ok(file) = File::open(path) {
        if matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
            return Err(Failure::Work(format!(
                "{} is in use: a key is one program's at a time; `xcast key generate FILE` makes \
                 another one, which relays must know",
                path.display()
            )));
        }
        let _held = HELD.set(file);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A path that is this test's own.
    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xcast-key-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_key_is_written_once_for_its_owner_alone_and_read_back() {
        let file = path("once");
        let key = generate(&file).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        let text = std::fs::read_to_string(&file).unwrap();
        let (again, back) = (generate(&file), read(&file).unwrap());
        std::fs::remove_file(&file).unwrap();
        assert_eq!((mode & 0o777, text.len()), (0o600, 45), "44 characters and a line's end");
        assert_eq!(back.public(), key.public());
        let Err(Failure::Work(complaint)) = again else { panic!("a key was overwritten") };
        assert!(complaint.contains("is there already"), "{complaint}");
    }

    #[test]
    fn what_is_no_key_is_refused_by_name_and_never_shown() {
        let file = path("none");
        let Err(Failure::Usage(complaint)) = read(&file) else { panic!("there is no file") };
        assert!(complaint.contains("xcast key generate"), "{complaint}");
        std::fs::write(&file, "swordfish").unwrap();
        let refused = read(&file);
        std::fs::remove_file(&file).unwrap();
        let Err(Failure::Usage(complaint)) = refused else { panic!("that is no key") };
        assert!(complaint.contains("44 characters") && !complaint.contains("swordfish"));
    }

    #[test]
    fn a_key_is_one_programs_at_a_time() {
        let file = path("lock");
        generate(&file).unwrap();
        let other = File::open(&file).unwrap();
        other.lock().unwrap();
        let refused = take(&file);
        std::fs::remove_file(&file).unwrap();
        let Err(Failure::Work(complaint)) = refused else { panic!("it is in use") };
        assert!(complaint.contains("is in use"), "{complaint}");
    }
}

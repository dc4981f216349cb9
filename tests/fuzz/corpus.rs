//! The corpus: inputs worth keeping, in `tests/corpus`. A file that is named REASON.v4.hex or
//! REASON.v6.hex must come to that reason in some router; of the others only the oracles are asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use xcast::forward::DropReason;

use super::octets::{from_hex, to_hex};
use super::tally::FAMILIES;
use super::trial::Input;

pub(crate) struct File {
    pub(crate) name: String,
    /// What it is named after: the reason, and 0 for IPv4 or 1 for IPv6.
    pub(crate) reason: Option<(DropReason, usize)>,
    pub(crate) bytes: Vec<u8>,
}

/// All files, by name.
pub(crate) fn files() -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(folder).expect("the corpus is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let file = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = from_hex(&std::fs::read_to_string(path).unwrap());
        File { reason: reason(&name), name, bytes }
    };
    paths.into_iter().map(file).collect()
}

fn reason(name: &str) -> Option<(DropReason, usize)> {
    let (reason, family) = name.strip_suffix(".hex")?.split_once('.')?;
    let reason = DropReason::ALL.into_iter().find(|known| known.name() == reason)?;
    let family = ["v4", "v6"].iter().position(|known| *known == family)?;
    Some((reason, family))
}

/// Keeps the shortest input of each reason and family, and writes them down at its end.
pub(crate) struct Keeper {
    folder: Option<PathBuf>,
    shortest: BTreeMap<(usize, usize), Vec<u8>>,
}

impl Keeper {
    pub(crate) fn from_environment() -> Keeper {
        let folder = std::env::var_os("XCAST_FUZZ_SAVE").map(PathBuf::from);
        Keeper { folder, shortest: BTreeMap::new() }
    }

    /// Looks at an input by which counts changed.
    pub(crate) fn keep(
        &mut self,
        input: &Input,
        before: &[[u64; FAMILIES]; DropReason::COUNT],
        after: &[[u64; FAMILIES]; DropReason::COUNT],
    ) {
        if self.folder.is_none() {
            return;
        }
        for reason in 0..DropReason::COUNT {
            for family in 0..2 {
                let key = (reason, family);
                let packet = input.packet();
                let known = self.shortest.get(&key).map_or(usize::MAX, Vec::len);
                if after[reason][family] > before[reason][family] && packet.len() < known {
                    self.shortest.insert(key, packet.to_vec());
                }
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some(folder) = &self.folder else { return };
        for ((reason, family), packet) in &self.shortest {
            let reason = DropReason::ALL[*reason].name();
            let name = format!("{reason}.v{}.hex", 4 + 2 * family);
            let text = to_hex(&[format!("comes to {reason}")], packet);
            std::fs::write(folder.join(name), text).expect("the folder is there");
        }
    }
}

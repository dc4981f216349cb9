//! `relays.toml`: the relays that a host's programs may use.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeTable;

use crate::diagnostic::Report;
use crate::read::Table;
use crate::values;

/// The relays that a host's programs may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relays {
    /// `HOST:PORT` each; a name may have several addresses. Default: none.
    pub relays: Vec<String>,
    /// Public keys of the relays that are trusted, in base64. Default: none.
    pub keys: Vec<String>,
    /// The file with the host's private key.
    pub private_key_file: Option<PathBuf>,
}

/// Reads the whole document.
pub(crate) fn read<'a>(entries: &'a DeTable<'a>, report: &'a Report) -> Relays {
    let mut table = Table::root(entries, report);
    let relays = Relays {
        relays: table.list("relays", values::endpoint),
        keys: table.list("keys", values::key),
        private_key_file: table.parsed("private-key-file", values::path).map(Spanned::into_inner),
    };
    table.finish();
    relays
}

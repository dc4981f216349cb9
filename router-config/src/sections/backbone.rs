//! `[backbone]`: relays that find and authenticate each other.

use crate::config::Backbone;
use crate::read::Table;
use crate::values;

pub(super) fn read(root: &mut Table<'_>) -> Option<Backbone> {
    let mut table = root.table("backbone")?;
    table.require("private-key-file");
    let private_key_file = table.parsed("private-key-file", values::path);
    let seeds = table.list("seeds", values::endpoint);
    let peers = table.list("peers", values::key);
    let prefixes = table.list("prefixes", values::prefix);
    let originate = table.list("originate", values::prefix);
    table.finish();
    let private_key_file = private_key_file?.into_inner();
    Some(Backbone { private_key_file, seeds, peers, prefixes, originate })
}

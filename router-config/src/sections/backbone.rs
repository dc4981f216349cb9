//! `[backbone]`: relays that find and authenticate each other.

use toml::Spanned;

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
    let hosts = table.list("hosts", values::key);
    let leases = table.list("leases", values::prefix);
    let interface = table.parsed("interface", values::interface).map(Spanned::into_inner);
    let accept_default = table.boolean("accept-default").is_some_and(Spanned::into_inner);
    table.finish();
    Some(Backbone {
        private_key_file: private_key_file?.into_inner(),
        seeds,
        peers,
        prefixes,
        originate,
        hosts,
        leases,
        interface,
        accept_default,
    })
}

//! `[[neighbor]]`: what probing would find, pinned.

use toml::Spanned;

use crate::config::NeighborPin;
use crate::keyword::keywords;
use crate::read::{Table, distinct};
use crate::values;

keywords! {
    /// How a pinned capability is written.
    pub(super) enum Answer {
        /// It speaks Xcast.
        Yes = "yes",
        /// It does not.
        No = "no",
    }
}

pub(super) fn read(root: &mut Table<'_>) -> Vec<NeighborPin> {
    let mut pins = Vec::new();
    let mut addresses = Vec::new();
    for mut table in root.tables("neighbor") {
        table.require("address");
        table.require("xcast");
        let address = table.parsed("address", values::unicast);
        let xcast = table.keyword::<Answer>("xcast").map(Spanned::into_inner);
        table.finish();
        if let (Some(address), Some(xcast)) = (&address, xcast) {
            pins.push(NeighborPin { address: *address.get_ref(), xcast: xcast == Answer::Yes });
        }
        addresses.extend(address);
    }
    distinct(root.report(), "`[[neighbor]]` address", &addresses);
    pins
}

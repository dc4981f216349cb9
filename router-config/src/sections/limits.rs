//! `[limits]` and `[semi-permeable]`: who may send, to whom, how much, and whose tunnels are
//! opened.

use toml::Spanned;

use crate::config::{Limits, SemiPermeable};
use crate::read::Table;
use crate::values;

pub(super) fn read(root: &mut Table<'_>) -> Limits {
    let default = Limits::default();
    let Some(mut table) = root.table("limits") else {
        return default;
    };
    let destinations_per_second = table.integer("destinations-per-second", 0..=u32::MAX);
    let sources = table.list("sources", values::prefix);
    let destinations = table.list("destinations", values::prefix);
    let allow_icmp_echo = table.boolean("allow-icmp-echo");
    let icmp_errors_per_second = table.integer("icmp-errors-per-second", 0..=u32::MAX);
    table.finish();
    Limits {
        destinations_per_second: destinations_per_second
            .map_or(default.destinations_per_second, Spanned::into_inner),
        sources,
        destinations,
        allow_icmp_echo: allow_icmp_echo.map_or(default.allow_icmp_echo, Spanned::into_inner),
        icmp_errors_per_second: icmp_errors_per_second
            .map_or(default.icmp_errors_per_second, Spanned::into_inner),
    }
}

pub(super) fn semi_permeable(root: &mut Table<'_>) -> SemiPermeable {
    let Some(mut table) = root.table("semi-permeable") else {
        return SemiPermeable::default();
    };
    let accept = table.list("accept", values::prefix);
    table.finish();
    SemiPermeable { accept }
}

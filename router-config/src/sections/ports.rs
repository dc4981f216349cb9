//! `[ports]` and `[[port]]`: the same settings, first for all ports and then for one.

use toml::Spanned;

use crate::config::{Driver, Port, PortDefaults};
use crate::read::{Table, distinct, word};
use crate::values;

pub(super) fn read(root: &mut Table<'_>) -> (PortDefaults, Vec<Port>) {
    let mut defaults = PortDefaults::default();
    if let Some(mut table) = root.table("ports") {
        defaults = settings(&mut table, &defaults);
        table.finish();
    }
    let mut ports = Vec::new();
    let mut interfaces = Vec::new();
    for mut table in root.tables("port") {
        table.require("interface");
        let interface = table.parsed("interface", values::interface);
        let settings = settings(&mut table, &defaults);
        table.finish();
        if let Some(interface) = interface {
            ports.push(settings.port(interface.get_ref()));
            interfaces.push(interface);
        }
    }
    distinct(root.report(), "`[[port]]` interface", &interfaces);
    (defaults, ports)
}

fn settings(table: &mut Table<'_>, defaults: &PortDefaults) -> PortDefaults {
    let driver = table.parsed("driver", driver);
    let reverse_path = table.keyword("reverse-path");
    let xcast_neighbors = table.keyword("xcast-neighbors");
    let accept_group_frames = table.boolean("accept-group-frames");
    PortDefaults {
        driver: driver.map_or(defaults.driver, Spanned::into_inner),
        reverse_path: reverse_path.map_or(defaults.reverse_path, Spanned::into_inner),
        xcast_neighbors: xcast_neighbors.map_or(defaults.xcast_neighbors, Spanned::into_inner),
        accept_group_frames: accept_group_frames
            .map_or(defaults.accept_group_frames, Spanned::into_inner),
    }
}

fn driver(text: &str) -> Result<Driver, String> {
    if text == "kernel" {
        return Err("cannot be \"kernel\": that driver is reserved and not built".to_owned());
    }
    word(text)
}

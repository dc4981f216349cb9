//! `[routes]` and `[[route]]`: which kernel tables are consulted, and the static routes that come
//! before them.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use toml::Spanned;

use crate::config::{MAIN_TABLE, RouteTarget, StaticRoute};
use crate::diagnostic::shown;
use crate::nearest;
use crate::read::{Table, distinct};
use crate::values;

/// The kernel's table of local and broadcast addresses.
const LOCAL_TABLE: u32 = 255;
/// The keys that say where a route leads, of which it has one.
const TARGETS: [&str; 4] = ["via", "interface", "tunnel", "drop"];

/// Kernel tables in order, the main table last whether it is listed or not.
pub(super) fn kernel_tables(root: &mut Table<'_>) -> Vec<u32> {
    let mut tables = Vec::new();
    if let Some(mut table) = root.table("routes") {
        tables = table.integers("kernel-tables", 1..=u32::MAX).unwrap_or_default();
        table.finish();
    }
    distinct(root.report(), "kernel table", &tables);
    if let Some((_, before)) = tables.split_last() {
        for early in before.iter().filter(|table| *table.get_ref() == MAIN_TABLE) {
            let message = format!("kernel table {MAIN_TABLE} is always last: list it last or not");
            root.report().error(early.span(), message);
        }
    }
    for local in tables.iter().filter(|table| *table.get_ref() == LOCAL_TABLE) {
        let message = format!(
            "kernel table {LOCAL_TABLE} holds the node's own addresses, which the router knows \
             already: leave it out"
        );
        root.report().error(local.span(), message);
    }
    let mut tables: Vec<u32> = tables.into_iter().map(Spanned::into_inner).collect();
    if tables.last() != Some(&MAIN_TABLE) {
        tables.push(MAIN_TABLE);
    }
    tables
}

/// Static routes. `tunnels` are the names a route may lead to.
pub(super) fn read(root: &mut Table<'_>, tunnels: &[String]) -> Vec<StaticRoute> {
    let mut routes = Vec::new();
    let mut prefixes = Vec::new();
    for mut table in root.tables("route") {
        table.require("prefix");
        let prefix = table.parsed("prefix", values::prefix);
        let target = target(&mut table, prefix.as_ref().map(Spanned::get_ref), tunnels);
        table.finish();
        if let (Some(prefix), Some(target)) = (&prefix, target) {
            routes.push(StaticRoute { prefix: *prefix.get_ref(), target });
        }
        prefixes.extend(prefix);
    }
    distinct(root.report(), "`[[route]]` prefix", &prefixes);
    routes
}

fn target(
    table: &mut Table<'_>,
    prefix: Option<&IpNetwork>,
    tunnels: &[String],
) -> Option<RouteTarget> {
    // All are read before one is chosen: each is a known key, and may be wrong for itself.
    let via = table.parsed("via", values::unicast);
    let interface = table.parsed("interface", values::interface);
    let tunnel = table.parsed("tunnel", values::name);
    let drop = table.boolean("drop");

    let given: Vec<&str> = TARGETS.into_iter().filter(|key| table.has(key)).collect();
    match given[..] {
        [_] => {}
        [] => {
            let message = "a `[[route]]` needs one of `via`, `interface`, `tunnel` and `drop`";
            table.report().absent(table.header(), message);
        }
        [first, second, ..] => {
            let message =
                format!("a `[[route]]` leads to one place, not to `{first}` and `{second}`");
            table.report().error(table.span(second).unwrap_or(table.header()), message);
        }
    }
    if let (Some(via), Some(prefix)) = (&via, prefix) {
        check_version(table, via, prefix);
    }
    if let Some(tunnel) = &tunnel {
        check_tunnel(table, tunnel, tunnels);
    }
    if let Some(drop) = drop.as_ref().filter(|drop| !drop.get_ref()) {
        table.report().error(drop.span(), "`drop` must be true: leave it out otherwise");
    }

    let via = via.map(|via| RouteTarget::Via(via.into_inner()));
    let interface = interface.map(|name| RouteTarget::Interface(name.into_inner()));
    let tunnel = tunnel.map(|name| RouteTarget::Tunnel(name.into_inner()));
    via.or(interface).or(tunnel).or(drop.map(|_| RouteTarget::Drop))
}

fn check_version(table: &Table<'_>, via: &Spanned<IpAddr>, prefix: &IpNetwork) {
    if via.get_ref().is_ipv4() != prefix.is_ipv4() {
        let version = if prefix.is_ipv4() { "IPv4" } else { "IPv6" };
        let message = format!(
            "`via` must be an {version} address like the prefix, found `{}`",
            via.get_ref()
        );
        table.report().error(via.span(), message);
    }
}

fn check_tunnel(table: &Table<'_>, tunnel: &Spanned<String>, tunnels: &[String]) {
    if !tunnels.contains(tunnel.get_ref()) {
        let known = tunnels.iter().map(|name| (name.as_str(), name.clone()));
        let hint = nearest::hint(tunnel.get_ref(), known);
        let message = format!("no `[[tunnel]]` is named {}{hint}", shown(tunnel.get_ref()));
        table.report().absent(tunnel.span(), message);
    }
}

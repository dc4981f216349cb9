//! `[router]`: the router itself.

use std::ops::Range;

use toml::Spanned;

use crate::config::Router;
use crate::read::Table;
use crate::values;

/// The router, and where its service addresses are written.
pub(super) fn read(root: &mut Table<'_>) -> (Option<Router>, Option<Range<usize>>) {
    let Some(mut table) = root.table("router") else {
        if !root.has("router") {
            let message = "missing table `[router]`: it has the key `name`";
            root.report().absent(root.header(), message);
        }
        return (None, None);
    };
    table.require("name");
    let name = table.parsed("name", values::name);
    let control_socket = table.parsed("control-socket", values::socket_path);
    let metrics = table.parsed("metrics", values::metrics);
    let workers = table.integer("workers", 1..=64);
    let fib = table.keyword("fib");
    let sandbox = table.boolean("sandbox");
    let compact = table.boolean("compact");
    let anycast_addresses = table.list("anycast-addresses", values::unicast);
    let anycast_span = table.span("anycast-addresses").filter(|_| !anycast_addresses.is_empty());
    table.finish();

    let Some(name) = name else { return (None, anycast_span) };
    let default = Router::named(&name.into_inner());
    let router = Router {
        control_socket: control_socket.map_or(default.control_socket, Spanned::into_inner),
        metrics: metrics.map(Spanned::into_inner),
        workers: workers.map_or(default.workers, Spanned::into_inner),
        fib: fib.map_or(default.fib, Spanned::into_inner),
        sandbox: sandbox.map_or(default.sandbox, Spanned::into_inner),
        compact: compact.map_or(default.compact, Spanned::into_inner),
        anycast_addresses,
        name: default.name,
    };
    (Some(router), anycast_span)
}

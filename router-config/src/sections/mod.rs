//! The sections of a configuration, a file each, and the whole put together from them.

mod backbone;
mod experiment;
mod limits;
mod neighbors;
mod ports;
mod router;
mod routes;
mod tunnels;

use toml::de::DeTable;

use crate::config::{Config, Experiment};
use crate::diagnostic::Report;
use crate::read::Table;

/// Reads the whole document. `None` only where the report has an error.
pub(crate) fn config<'a>(entries: &'a DeTable<'a>, report: &'a Report) -> Option<Config> {
    let mut root = Table::root(entries, report);
    let experiment = experiment::read(&mut root);
    let (router, anycast) = router::read(&mut root);
    let (ports, port) = ports::read(&mut root);
    let neighbor = neighbors::read(&mut root);
    let (tunnel, tunnel_names) = tunnels::read(&mut root);
    let kernel_tables = routes::kernel_tables(&mut root);
    let route = routes::read(&mut root, &tunnel_names);
    let backbone = backbone::read(&mut root);
    let semi_permeable = limits::semi_permeable(&mut root);
    let limits = limits::read(&mut root);
    if let Some(span) = anycast.filter(|_| limits.sources.is_empty()) {
        let message = "`anycast-addresses` in `[router]` needs `sources` in `[limits]`: packets to \
                       them are taken from listed sources alone";
        root.report().error(span, message);
    }
    root.finish();
    Some(Config {
        experiment: experiment?,
        router: router?,
        ports,
        port,
        neighbor,
        kernel_tables,
        route,
        tunnel,
        backbone,
        semi_permeable,
        limits,
    })
}

/// Reads `[experiment]` of a document. `None` only where the report has an error.
pub(crate) fn experiment(root: &mut Table<'_>) -> Option<Experiment> {
    experiment::read(root)
}

/// Reads `[experiment]` and nothing else. `None` only where the report has an error.
pub(crate) fn experiment_alone<'a>(
    entries: &'a DeTable<'a>,
    report: &'a Report,
) -> Option<Experiment> {
    experiment::read(&mut Table::root(entries, report))
}

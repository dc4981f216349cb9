//! `[ring]`, `[locality]` and `[parallel]`: every tunable of the machines, one line each. The same
//! line reads the key and prints it; defaults are the machines' own.

use std::fmt::{self, Formatter, Write};
use std::ops::RangeInclusive;
use std::time::Duration;

use overlay_protocols::{locality, node, parallel, ring};
use router_config::reading::{Spanned, Table, shown};

/// What a key stands for, in a machine's configuration.
enum Field<C> {
    /// A span such as "500ms" or "1m 30s".
    Span(fn(&mut C) -> &mut Duration),
    /// A number, between these two.
    Count(RangeInclusive<i64>, fn(&mut C) -> &mut usize),
    /// `true` or `false`.
    Switch(fn(&mut C) -> &mut bool),
}

type Fields<C> = &'static [(&'static str, Field<C>)];

/// Spans may be this long.
const SPAN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

const RING: Fields<ring::Config> = &[];
const LOCALITY: Fields<locality::Config> = &[];
const PARALLEL: Fields<parallel::Config> = &[];

/// Reads the three tables.
pub(super) fn read(root: &mut Table<'_>) -> node::Config {
    let mut config =
        node::Config { locality: Some(locality::Config::default()), ..node::Config::default() };
    if let Some(table) = root.table("ring") {
        fields(table, RING, &mut config.ring);
    }
    if let Some(mut table) = root.table("locality") {
        let enabled = table.boolean("enabled").is_none_or(Spanned::into_inner);
        let mut locality = locality::Config::default();
        fields(table, LOCALITY, &mut locality);
        config.locality = enabled.then_some(locality);
    }
    if let Some(table) = root.table("parallel") {
        fields(table, PARALLEL, &mut config.parallel);
    }
    config
}

fn fields<C>(mut table: Table<'_>, fields: Fields<C>, config: &mut C) {
    for (key, field) in fields {
        match field {
            Field::Span(place) => {
                if let Some(span) = table.parsed(key, span) {
                    *place(config) = span.into_inner();
                }
            }
            Field::Count(range, place) => {
                if let Some(count) = table.integer(key, range.clone()) {
                    *place(config) = usize::try_from(count.into_inner()).unwrap_or_default();
                }
            }
            Field::Switch(place) => {
                if let Some(switch) = table.boolean(key) {
                    *place(config) = switch.into_inner();
                }
            }
        }
    }
    table.finish();
}

fn span(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span <= SPAN_MAX && span.subsec_nanos().is_multiple_of(1000) => Ok(span),
        _ => Err(format!(
            "must be a span of whole microseconds up to 7 days, such as \"500ms\" or \"1m 30s\", \
             found {}",
            shown(text)
        )),
    }
}

/// Prints the three tables, every default explicit.
pub(super) fn print(f: &mut Formatter<'_>, config: &node::Config) -> fmt::Result {
    write!(f, "\n[ring]\n{}", printed(RING, &mut config.ring.clone())?)?;
    writeln!(f, "\n[locality]\nenabled = {}", config.locality.is_some())?;
    let mut locality = config.locality.clone().unwrap_or_default();
    f.write_str(&printed(LOCALITY, &mut locality)?)?;
    write!(f, "\n[parallel]\n{}", printed(PARALLEL, &mut config.parallel.clone())?)
}

fn printed<C>(fields: Fields<C>, config: &mut C) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for (key, field) in fields {
        match field {
            Field::Span(place) => {
                writeln!(out, "{key} = \"{}\"", humantime::format_duration(*place(config)))?;
            }
            Field::Count(_, place) => writeln!(out, "{key} = {}", place(config))?,
            Field::Switch(place) => writeln!(out, "{key} = {}", place(config))?,
        }
    }
    Ok(out)
}

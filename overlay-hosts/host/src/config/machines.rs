//! `[ring]`, `[locality]`, `[metrics]`, `[somo]`, `[sessions]` and `[parallel]`: every tunable of the machines, one
//! line each. The same line reads the key and prints it; defaults are the machines' own.

use std::fmt::{self, Formatter, Write};
use std::ops::RangeInclusive;
use std::time::Duration;

use overlay_protocols::locality::{self, Distance};
use overlay_protocols::resource_pool::HostPool;
use overlay_protocols::time::WAIT_MAX;
use overlay_protocols::{alm, delivery, metrics, node, parallel, ring, sessions, somo};
use router_config::reading::{Spanned, Table, keywords, shown};

/// What a key stands for, in a machine's configuration.
enum Field<C> {
    /// A span such as "500ms" or "1m 30s", between these two.
    Span(RangeInclusive<Duration>, fn(&mut C) -> &mut Duration),
    /// A number, between these two.
    Count(RangeInclusive<u64>, fn(&C) -> u64, fn(&mut C, u64)),
    /// A number, or none at all.
    Maybe(RangeInclusive<u64>, fn(&C) -> Option<u64>, fn(&mut C, u64)),
    /// `true` or `false`.
    Switch(fn(&mut C) -> &mut bool),
}

use Field::{Count, Maybe, Span, Switch};

type Fields<C> = &'static [(&'static str, Field<C>)];

/// Spans may be this long.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// What happens again and again does not happen more often.
const PERIOD: RangeInclusive<Duration> = Duration::from_millis(10)..=WEEK;
/// What the tree's machine waits for at most.
const WAIT: RangeInclusive<Duration> = Duration::from_millis(10)..=WAIT_MAX;
const ANY_SPAN: RangeInclusive<Duration> = Duration::ZERO..=WEEK;
/// A distance in microseconds or hops.
const DISTANCE: RangeInclusive<u64> = 0..=u32::MAX as u64;

keywords! {
    /// What is measured between two hosts.
    enum Metric {
        RoundTrip = "round-trip",
        OneWay = "one-way",
        Hops = "hops",
    }
}

keywords! {
    /// Who decides what goes together.
    enum Mode {
        Marked = "marked",
        Queue = "queue",
    }
}

keywords! {
    /// On whose links a combination must pay.
    enum Spares {
        Sender = "sender",
        All = "all",
    }
}

keywords! {
    /// What a degree carries.
    enum Carries {
        Unicast = "unicast",
        Xcast = "xcast",
    }
}

keywords! {
    /// What trees are made for.
    enum Objective {
        Height = "height",
        Bandwidth = "bandwidth",
        Variance = "variance",
    }
}

/// Words and what they stand for.
const METRICS: [(Metric, locality::Metric); 3] = [
    (Metric::RoundTrip, locality::Metric::RoundTrip),
    (Metric::OneWay, locality::Metric::OneWay),
    (Metric::Hops, locality::Metric::Hops),
];
const MODES: [(Mode, parallel::Mode); 2] =
    [(Mode::Marked, parallel::Mode::Marked), (Mode::Queue, parallel::Mode::Queue)];
const SPARES: [(Spares, parallel::Spares); 2] =
    [(Spares::Sender, parallel::Spares::Sender), (Spares::All, parallel::Spares::All)];

const RING: Fields<ring::Config> = &[
    ("leaf-set", Count(2..=64, |c| c.leaf_set as u64, |c, n| c.leaf_set = n as usize)),
    ("heartbeat", Span(PERIOD, |c| &mut c.heartbeat)),
    ("missed-heartbeats", Count(1..=100, |c| c.missed.into(), |c, n| c.missed = n as u32)),
    ("finger-interval", Span(PERIOD, |c| &mut c.finger_interval)),
    ("lookup-timeout", Span(PERIOD, |c| &mut c.lookup_timeout)),
    ("hop-timeout-min", Span(PERIOD, |c| &mut c.hop_timeout.0)),
    ("hop-timeout-max", Span(PERIOD, |c| &mut c.hop_timeout.1)),
    ("replicas", Count(1..=16, |c| c.replicas as u64, |c, n| c.replicas = n as usize)),
    ("repair-interval", Span(PERIOD, |c| &mut c.repair_interval)),
    ("probe-interval", Span(PERIOD, |c| &mut c.probe_interval)),
    ("keys-max", Count(1..=1 << 24, |c| c.keys_max as u64, |c, n| c.keys_max = n as usize)),
    ("bytes-max", Count(1..=1 << 32, |c| c.bytes_max as u64, |c, n| c.bytes_max = n as usize)),
];

const LOCALITY: Fields<locality::Config> = &[
    ("tolerance", Count(DISTANCE, |c| c.tolerance.0.into(), |c, n| c.tolerance = distance(n))),
    (
        "groups-tested-max",
        Count(1..=10_000, |c| c.groups_tested_max.into(), |c, n| c.groups_tested_max = n as u32),
    ),
    ("search-time", Span(PERIOD, |c| &mut c.search_time)),
    ("tested-stay", Switch(|c| &mut c.tested_stay)),
    ("second-look", Switch(|c| &mut c.second_look)),
    (
        "near-leader",
        Maybe(
            DISTANCE,
            |c| c.near_leader.map(|near| near.0.into()),
            |c, n| c.near_leader = Some(distance(n)),
        ),
    ),
    ("cache-copy", Switch(|c| &mut c.cache_copy)),
    (
        "inter-group-links",
        Count(2..=64, |c| c.inter_group_links as u64, |c, n| c.inter_group_links = n as usize),
    ),
    (
        "inter-group-links-max",
        Count(
            2..=64,
            |c| c.inter_group_links_max as u64,
            |c, n| c.inter_group_links_max = n as usize,
        ),
    ),
    ("far-links", Count(0..=64, |c| c.far_links as u64, |c, n| c.far_links = n as usize)),
    (
        "far-links-max",
        Count(0..=64, |c| c.far_links_max as u64, |c, n| c.far_links_max = n as usize),
    ),
    ("boundary", Count(DISTANCE, |c| c.boundary.0.into(), |c, n| c.boundary = distance(n))),
    ("leadership", Count(1..=64, |c| c.leadership as u64, |c, n| c.leadership = n as usize)),
    ("alive-period", Span(PERIOD, |c| &mut c.alive_period)),
    ("alive-timeout", Span(PERIOD, |c| &mut c.alive_timeout)),
    ("list-timeout", Span(PERIOD, |c| &mut c.list_timeout)),
    ("claim-wait", Span(ANY_SPAN, |c| &mut c.claim_wait)),
    ("tie-window", Span(ANY_SPAN, |c| &mut c.tie_window)),
    ("reentry-period", Span(PERIOD, |c| &mut c.reentry_period)),
    ("remeasure-period", Span(PERIOD, |c| &mut c.remeasure_period)),
    ("links", Count(1..=64, |c| c.links as u64, |c, n| c.links = n as usize)),
    ("links-max", Count(1..=64, |c| c.links_max as u64, |c, n| c.links_max = n as usize)),
    ("rendezvous", Switch(|c| &mut c.rendezvous)),
    ("boot-list", Count(1..=64, |c| c.boot_list as u64, |c, n| c.boot_list = n as usize)),
    ("boot-expiry", Span(PERIOD, |c| &mut c.boot_expiry)),
    ("register-period", Span(PERIOD, |c| &mut c.register_period)),
    ("request-timeout", Span(PERIOD, |c| &mut c.request_timeout)),
    ("retry", Span(PERIOD, |c| &mut c.retry)),
];

const PARALLEL: Fields<parallel::Config> = &[
    ("delay", Span(Duration::ZERO..=Duration::from_secs(10), |c| &mut c.delay)),
    (
        "destinations-max",
        Count(1..=125, |c| c.destinations_max as u64, |c, n| c.destinations_max = n as usize),
    ),
    (
        "datagram-len-max",
        Count(
            256..=node::DATAGRAM_LEN_MAX as u64,
            |c| c.datagram_len_max as u64,
            |c, n| c.datagram_len_max = n as usize,
        ),
    ),
    ("mtu", Count(576..=65_535, |c| c.mtu as u64, |c, n| c.mtu = n as usize)),
    (
        "comparisons-max",
        Count(0..=65_536, |c| c.comparisons_max as u64, |c, n| c.comparisons_max = n as usize),
    ),
    ("waiting-max", Count(1..=65_536, |c| c.waiting_max as u64, |c, n| c.waiting_max = n as usize)),
    ("overlap-min", Count(1..=65_536, |c| c.overlap_min as u64, |c, n| c.overlap_min = n as usize)),
    ("groups-max", Count(0..=1 << 20, |c| c.groups_max as u64, |c, n| c.groups_max = n as usize)),
];

const METRICS_FIELDS: Fields<metrics::Config> = &[
    ("dimensions", Count(1..=8, |c| c.fit.dimensions as u64, |c, n| c.fit.dimensions = n as usize)),
    ("restarts", Count(1..=64, |c| c.fit.restarts as u64, |c, n| c.fit.restarts = n as usize)),
    ("interval", Span(PERIOD, |c| &mut c.interval)),
    ("measured", Count(0..=64, |c| c.measured as u64, |c, n| c.measured = n as usize)),
    ("answer-timeout", Span(PERIOD, |c| &mut c.answer_timeout)),
    ("pair-interval", Span(PERIOD, pair_interval)),
    ("pair-size", Count(256..=1500, |c| c.pair_size as u64, |c, n| c.pair_size = n as usize)),
    ("pairs-min", Count(1..=20, |c| c.pairs_min as u64, |c, n| c.pairs_min = n as usize)),
];

const SOMO: Fields<somo::Config> = &[
    (
        "degree",
        Count(
            somo::DEGREE_MIN as u64..=somo::DEGREE_MAX as u64,
            |c| c.degree.into(),
            |c, n| c.degree = n as u32,
        ),
    ),
    ("interval", Span(WAIT, |c| &mut c.interval)),
    ("synchronized", Switch(|c| &mut c.synchronized)),
    ("heartbeat", Span(WAIT, |c| &mut c.heartbeat)),
    ("missed-heartbeats", Count(1..=100, |c| c.missed.into(), |c, n| c.missed = n as u32)),
    ("answer-timeout", Span(WAIT, |c| &mut c.answer)),
    (
        "exchange",
        Maybe(
            0..=u32::MAX as u64,
            |c| c.exchange.map(u64::from),
            |c, n| c.exchange = Some(u32::try_from(n).unwrap_or(u32::MAX)),
        ),
    ),
];

/// Who plans sessions, and who delivers their data.
struct Multicast {
    sessions: sessions::Config,
    delivery: delivery::Config,
}

impl Multicast {
    /// Where nothing is said; only whoever has claimed a host places it in its session.
    fn new() -> Multicast {
        let delivery = delivery::Config { open: false, ..delivery::Config::default() };
        Multicast { sessions: sessions::Config::default(), delivery }
    }

    fn plan(&mut self) -> &mut alm::Config {
        &mut self.sessions.session.plan
    }
}

const CARRIES: [(Carries, alm::Transport); 2] =
    [(Carries::Unicast, alm::Transport::Unicast), (Carries::Xcast, alm::Transport::Xcast)];
const OBJECTIVES: [(Objective, alm::Objective); 3] = [
    (Objective::Height, alm::Objective::Height),
    (Objective::Bandwidth, alm::Objective::Bandwidth),
    (Objective::Variance, alm::Objective::Variance),
];

const SESSIONS: Fields<Multicast> = &[
    ("open", Switch(|c| &mut c.sessions.open)),
    (
        "helper-degree",
        Count(
            1..=alm::DEGREES_MAX as u64,
            |c| c.sessions.session.plan.helper_degree.into(),
            |c, n| c.plan().helper_degree = n as u16,
        ),
    ),
    (
        "helper-radius",
        Count(DISTANCE, |c| c.sessions.session.plan.radius, |c, n| c.plan().radius = n),
    ),
    (
        "gain",
        Count(
            0..=1_000,
            |c| c.sessions.session.gain.into(),
            |c, n| c.sessions.session.gain = n as u16,
        ),
    ),
    ("plan-interval", Span(WAIT, |c| &mut c.sessions.replan)),
    ("settling", Span(WAIT, |c| &mut c.sessions.settling)),
    ("lease", Span(WAIT, |c| &mut c.sessions.lease)),
    ("renewal", Span(WAIT, |c| &mut c.sessions.renewal)),
    ("retry", Span(WAIT, |c| &mut c.sessions.retry)),
    (
        "sessions-max",
        Count(
            1..=1_024,
            |c| c.delivery.sessions_max as u64,
            |c, n| c.delivery.sessions_max = n as usize,
        ),
    ),
    ("buffer", Span(WAIT, |c| &mut c.delivery.buffer)),
    (
        "buffer-bytes",
        Count(
            1 << 16..=1 << 32,
            |c| c.delivery.buffer_octets as u64,
            |c, n| c.delivery.buffer_octets = n as usize,
        ),
    ),
    ("heartbeat", Span(WAIT, |c| &mut c.delivery.heartbeat)),
    ("parent-silence", Span(WAIT, |c| &mut c.delivery.silence)),
    ("child-silence", Span(WAIT, |c| &mut c.delivery.child_silence)),
    ("repair-retry", Span(WAIT, |c| &mut c.delivery.retry)),
    ("repair-wait", Span(WAIT, |c| &mut c.delivery.reorder)),
    ("repair-time", Span(WAIT, |c| &mut c.delivery.repair)),
];

/// A tree that gathers the pool of hosts.
fn default_somo() -> somo::Config {
    somo::Config { op: &HostPool, ..somo::Config::default() }
}

/// How often pairs are sent, if any are.
fn pair_interval(config: &mut metrics::Config) -> &mut Duration {
    let default = metrics::Config::default().pair_interval.unwrap_or_default();
    config.pair_interval.get_or_insert(default)
}

fn distance(number: u64) -> Distance {
    Distance(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Reads the six tables.
pub(super) fn read(root: &mut Table<'_>) -> node::Config {
    let mut config =
        node::Config { locality: Some(locality::Config::default()), ..node::Config::default() };
    if let Some(table) = root.table("ring") {
        fields(table, RING, &mut config.ring);
    }
    if let Some(mut table) = root.table("locality") {
        let enabled = table.boolean("enabled").is_none_or(Spanned::into_inner);
        let metric = table.keyword("metric").map(Spanned::into_inner);
        let metric = metric.map_or(locality::Metric::RoundTrip, |word| meant(&METRICS, word));
        let mut locality = locality::Config::for_metric(metric);
        fields(table, LOCALITY, &mut locality);
        config.locality = enabled.then_some(locality);
    }
    if let Some(mut table) = root.table("metrics") {
        let enabled = table.boolean("enabled").is_none_or(Spanned::into_inner);
        let pairs = table.boolean("pairs").is_none_or(Spanned::into_inner);
        let mut metrics = metrics::Config::default();
        fields(table, METRICS_FIELDS, &mut metrics);
        metrics.pair_interval = metrics.pair_interval.filter(|_| pairs);
        config.metrics = enabled.then_some(metrics);
    }
    if let Some(mut table) = root.table("somo") {
        let enabled = table.boolean("enabled").is_none_or(Spanned::into_inner);
        let mut somo = default_somo();
        fields(table, SOMO, &mut somo);
        config.somo = enabled.then_some(somo);
    }
    if let Some(mut table) = root.table("sessions") {
        let enabled = table.boolean("enabled").is_none_or(Spanned::into_inner);
        let mut multicast = Multicast::new();
        if let Some(word) = table.keyword("transport") {
            multicast.plan().transport = meant(&CARRIES, word.into_inner());
        }
        if let Some(word) = table.keyword("objective") {
            multicast.plan().objective = meant(&OBJECTIVES, word.into_inner());
        }
        fields(table, SESSIONS, &mut multicast);
        if enabled {
            config.sessions = Some(multicast.sessions);
            config.delivery = Some(multicast.delivery);
        }
    }
    if let Some(mut table) = root.table("parallel") {
        if let Some(mode) = table.keyword("mode") {
            config.parallel.mode = meant(&MODES, mode.into_inner());
        }
        if let Some(spares) = table.keyword("spares") {
            config.parallel.spares = meant(&SPARES, spares.into_inner());
        }
        fields(table, PARALLEL, &mut config.parallel);
    }
    config
}

/// What a word stands for.
fn meant<W: PartialEq, M: Copy>(words: &[(W, M)], word: W) -> M {
    words.iter().find(|(each, _)| *each == word).map_or(words[0].1, |(_, meaning)| *meaning)
}

/// The word for a meaning.
fn word<W: Copy, M: PartialEq>(words: &[(W, M)], meaning: M) -> W {
    words.iter().find(|(_, each)| *each == meaning).map_or(words[0].0, |(word, _)| *word)
}

fn fields<C>(mut table: Table<'_>, fields: Fields<C>, config: &mut C) {
    for (key, field) in fields {
        match field {
            Span(range, place) => {
                if let Some(found) = table.parsed(key, |text| span(text, range)) {
                    *place(config) = found.into_inner();
                }
            }
            Count(range, _, set) | Maybe(range, _, set) => {
                if let Some(count) = table.integer(key, range.clone()) {
                    set(config, count.into_inner());
                }
            }
            Switch(place) => {
                if let Some(switch) = table.boolean(key) {
                    *place(config) = switch.into_inner();
                }
            }
        }
    }
    table.finish();
}

fn span(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if range.contains(&span) && span.subsec_nanos().is_multiple_of(1000) => Ok(span),
        _ => Err(format!(
            "must be a span of whole microseconds between {} and {}, such as \"500ms\" or \
             \"1m 30s\", found {}",
            humantime::format_duration(*range.start()),
            humantime::format_duration(*range.end()),
            shown(text)
        )),
    }
}

/// Prints the six tables, every default explicit.
pub(super) fn print(f: &mut Formatter<'_>, config: &node::Config) -> fmt::Result {
    write!(f, "\n[ring]\n{}", printed(RING, &mut config.ring.clone())?)?;
    let mut locality = config.locality.clone().unwrap_or_default();
    writeln!(f, "\n[locality]\nenabled = {}", config.locality.is_some())?;
    writeln!(f, "metric = \"{}\"", word(&METRICS, locality.metric))?;
    f.write_str(&printed(LOCALITY, &mut locality)?)?;
    let mut metrics = config.metrics.clone().unwrap_or_default();
    writeln!(f, "\n[metrics]\nenabled = {}", config.metrics.is_some())?;
    writeln!(f, "pairs = {}", metrics.pair_interval.is_some())?;
    f.write_str(&printed(METRICS_FIELDS, &mut metrics)?)?;
    writeln!(f, "\n[somo]\nenabled = {}", config.somo.is_some())?;
    f.write_str(&printed(SOMO, &mut config.somo.unwrap_or_else(default_somo))?)?;
    writeln!(f, "\n[sessions]\nenabled = {}", config.sessions.is_some())?;
    let default = Multicast::new();
    let mut multicast = Multicast {
        sessions: config.sessions.clone().unwrap_or(default.sessions),
        delivery: config.delivery.unwrap_or(default.delivery),
    };
    writeln!(f, "transport = \"{}\"", word(&CARRIES, multicast.plan().transport))?;
    writeln!(f, "objective = \"{}\"", word(&OBJECTIVES, multicast.plan().objective))?;
    f.write_str(&printed(SESSIONS, &mut multicast)?)?;
    let parallel = &config.parallel;
    writeln!(f, "\n[parallel]\nmode = \"{}\"", word(&MODES, parallel.mode))?;
    writeln!(f, "spares = \"{}\"", word(&SPARES, parallel.spares))?;
    f.write_str(&printed(PARALLEL, &mut parallel.clone())?)
}

fn printed<C>(fields: Fields<C>, config: &mut C) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for (key, field) in fields {
        match field {
            Span(_, place) => {
                writeln!(out, "{key} = \"{}\"", humantime::format_duration(*place(config)))?;
            }
            Count(_, value, _) => writeln!(out, "{key} = {}", value(config))?,
            Maybe(_, value, _) => {
                if let Some(value) = value(config) {
                    writeln!(out, "{key} = {value}")?;
                }
            }
            Switch(place) => writeln!(out, "{key} = {}", place(config))?,
        }
    }
    Ok(out)
}

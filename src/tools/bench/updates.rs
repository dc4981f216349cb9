//! `xcast bench updates`: how routes become a Fib, and what that costs packets. The control thread
//! does here what the daemon's does, and so does the worker, with frames in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use super::engine::{Frames, Nowhere, Sink};
use super::made_up::{DIR24, Node, POPTRIE, Shape, Table};
use super::progress::Progress;
use super::report::rounded;
use crate::daemon::COMPILE_SHARE;
use crate::engine::Engine;
use crate::fib::{Fib, Prefix};
use crate::io::affinity;
use crate::rib::{Change, KernelRoute, Placement, Rib};
use crate::tools::{Failure, output};

/// Changes that are compiled one by one.
const SINGLE: usize = 1000;
/// Gateways that share the routes.
const NEXT_HOPS: u16 = 4;
/// What the worker forwards meanwhile.
const PACKETS: usize = 65_536;
const DESTINATIONS: u16 = 10;
const PAYLOAD: u16 = 64;
/// How long the control thread waits for the next changes.
const STEP: Duration = Duration::from_millis(1);

/// Route changes on their way to the packet path: full load, single changes, and many of them
/// beside packets
#[derive(clap::Args)]
pub(in crate::tools) struct Updates {
    /// Routes of the table, as long and scattered as the internet's
    #[arg(long, value_name = "R", default_value_t = 1_000_000, value_parser = super::engine::routes())]
    routes: u64,
    /// How long packets are forwarded, without changes and with them
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Changes a second
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,
    /// How IPv4 addresses are looked up
    #[arg(long, value_name = "TABLE", default_value = "poptrie", value_parser = ["poptrie", "dir24"])]
    fib: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds @ 0.05..=600.0) => Ok(seconds),
        _ => Err("a number from 0.05 to 600".into()),
    }
}

/// What was found.
struct Findings {
    load: Load,
    single: Histogram,
    quiet: Histogram,
    busy: Histogram,
    sustained: Sustained,
    /// Control thread and worker share the only core.
    shared: bool,
}

/// All routes at once.
struct Load {
    seconds: f64,
    /// Octets of the whole process: with nothing but the made-up prefixes, and at the end.
    resident: [u64; 2],
    octets_per_route: f64,
}

/// Changes at a steady rate.
struct Sustained {
    changes_per_second: f64,
    /// How long each Fib took to compile and publish.
    publications: Histogram,
    taken_up: u64,
}

/// The control thread's half of the daemon.
struct Control<'a> {
    rib: Rib,
    fib: Arc<Fib>,
    retired: Vec<Arc<Fib>>,
    next_publish: Instant,
    churn: Churn<'a>,
}

/// One change after another: a random route is withdrawn, and announced by another gateway.
struct Churn<'a> {
    node: &'a Node,
    /// By route; these gateways are counted on without end.
    hops: Vec<usize>,
    withdrawn: Option<usize>,
    drawn: u64,
}

/// The worker's half.
struct Worker {
    engine: Engine<Frames, Sink, Nowhere>,
    fib: Arc<Fib>,
}

pub(super) fn run(arguments: &Updates) -> Result<(), Failure> {
    let table = if arguments.fib == DIR24.name { DIR24 } else { POPTRIE };
    let cores = affinity::cores().map_err(Failure::work)?;
    let (first, last) = (*cores.first().unwrap_or(&0), *cores.last().unwrap_or(&0));
    affinity::pin(0, first).map_err(Failure::work)?;
    let findings = arguments.measure(table, first == last, last)?;
    match arguments.json {
        true => output::line(&arguments.report(table, &findings).to_string()),
        false => output::line(&arguments.table(table, &findings)),
    }
}

impl Updates {
    fn measure(&self, table: Table, shared: bool, core: usize) -> Result<Findings, Failure> {
        let mut progress = Progress::new(5);
        progress.step("making routes");
        let routes = self.routes as usize;
        let shape = Shape { is_v6: false, routes, next_hops: NEXT_HOPS, table };
        let node = Node::new(shape);
        progress.step("full load");
        let (load, mut control) = load(&node)?;
        progress.step("single changes");
        let mut single = Histogram::default();
        (0..SINGLE).for_each(|_| single.record(control.change_one()));
        progress.step("packets without changes");
        let frames = node.frames(PACKETS, DESTINATIONS, PAYLOAD, 0);
        let frames = Frames::endless(&frames);
        let time = Duration::from_secs_f64(self.seconds);
        let published = ArcSwap::new(Arc::clone(&control.fib));
        let mut worker = Worker::new(Arc::clone(&control.fib), frames);
        let (quiet, ()) = beside(&mut worker, &published, core, || {
            thread::sleep(time);
        })?;
        progress.step("packets with changes");
        let (busy, (changes_per_second, publications)) =
            beside(&mut worker, &published, core, || control.sustain(self.rate, time, &published))?;
        let taken_up = busy.taken_up;
        let sustained = Sustained { changes_per_second, publications, taken_up };
        let (quiet, busy) = (quiet.gaps, busy.gaps);
        Ok(Findings { load, single, quiet, busy, sustained, shared })
    }

    fn table(&self, table: Table, findings: &Findings) -> String {
        let Findings { load, single, quiet, busy, sustained, shared } = findings;
        let mebi = |octets: u64| octets as f64 / f64::from(1 << 20);
        let row = |what: &str, times: &Histogram| {
            let numbers = times.microseconds().map(|number| format!("{number:.1}"));
            [vec![what.to_owned(), times.count.to_string()], numbers.to_vec()].concat()
        };
        let rows = [
            row("one change, compiled", single),
            row("Fib of many changes", &sustained.publications),
            row("turns without changes", quiet),
            row("turns with changes", busy),
        ];
        let head = ["what", "count", "p50-us", "p99-us", "p99.9-us", "max-us"];
        let mut lines = vec![
            format!(
                "{} IPv4 routes, {}, {NEXT_HOPS} next hops; packets of {DESTINATIONS} destinations",
                self.routes, table.name
            ),
            format!(
                "full load: {:.3} s; resident: {:.1} MiB before, {:.1} MiB after; Fib: {:.2} octets a route",
                load.seconds,
                mebi(load.resident[0]),
                mebi(load.resident[1]),
                load.octets_per_route
            ),
            format!(
                "changes: {:.0} a second for {} s; {} Fibs published, {} taken up",
                sustained.changes_per_second,
                self.seconds,
                sustained.publications.count,
                sustained.taken_up
            ),
            String::new(),
            output::table(&head, &rows),
            String::new(),
            format!("changes add {:.1} us at p99.9 to the time from turn to turn", added(findings)),
        ];
        if *shared {
            lines.push(format!("note: {SHARED}"));
        }
        lines.join("\n")
    }

    fn report(&self, table: Table, findings: &Findings) -> Value {
        let Findings { load, single, quiet, busy, sustained, shared } = findings;
        json!({
            "routes": self.routes,
            "fib": table.name,
            "next-hops": NEXT_HOPS,
            "seconds": self.seconds,
            "rate": self.rate,
            "load": {
                "seconds": rounded(load.seconds, 4),
                "resident-bytes-before": load.resident[0],
                "resident-bytes-after": load.resident[1],
                "bytes-per-route": rounded(load.octets_per_route, 2),
            },
            "change-microseconds": single.json(),
            "changes-per-second": rounded(sustained.changes_per_second, 0),
            "generations-published": sustained.publications.count,
            "generations-taken-up": sustained.taken_up,
            "publish-microseconds": sustained.publications.json(),
            "gap-microseconds": {
                "without-changes": quiet.json(),
                "with-changes": busy.json(),
                "added-at-p99.9": rounded(added(findings), 1),
            },
            "notes": if *shared { vec![SHARED] } else { Vec::new() },
        })
    }
}

const SHARED: &str =
    "control thread and worker share the only core: the times from turn to turn are of both";

/// Microseconds.
fn added(findings: &Findings) -> f64 {
    findings.busy.microseconds()[2] - findings.quiet.microseconds()[2]
}

/// From the kernel's routes to the first Fib.
fn load(node: &Node) -> Result<(Load, Control<'_>), Failure> {
    let before = resident()?;
    let mut rib = node.rib();
    for change in node.surroundings() {
        rib.apply(change);
    }
    let routes = Change::AllRoutes(node.routes());
    let start = Instant::now();
    rib.apply(routes);
    let fib = Arc::new(rib.compile());
    let seconds = start.elapsed().as_secs_f64();
    let octets_per_route = fib.memory() as f64 / node.prefixes.len() as f64;
    let load = Load { seconds, resident: [before, resident()?], octets_per_route };
    let churn = Churn { node, hops: (0..node.prefixes.len()).collect(), withdrawn: None, drawn: 0 };
    let (retired, next_publish) = (Vec::new(), Instant::now());
    Ok((load, Control { rib, fib, retired, next_publish, churn }))
}

/// Octets of this process that are in memory.
fn resident() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(Failure::work)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibi = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibi.map(|kibi| kibi << 10)
        .ok_or_else(|| Failure::Work("/proc/self/status does not say VmRSS".to_owned()))
}

impl Control<'_> {
    /// One change, compiled at once; how long both took.
    fn change_one(&mut self) -> Duration {
        let change = self.churn.next();
        let start = Instant::now();
        self.rib.apply(change);
        let fib = Arc::new(self.rib.compile());
        let time = start.elapsed();
        self.fib = fib;
        time
    }

    /// Changes at a rate for some time: how many a second there were, and how long each Fib took.
    fn sustain(&mut self, rate: u32, time: Duration, published: &ArcSwap<Fib>) -> (f64, Histogram) {
        let (start, mut done, mut publications) = (Instant::now(), 0u64, Histogram::default());
        let mut outdated = false;
        while start.elapsed() < time {
            let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            for _ in done..due {
                outdated |= self.rib.apply(self.churn.next());
            }
            done = due.max(done);
            if outdated && Instant::now() >= self.next_publish {
                publications.record(self.publish(published));
                outdated = false;
            } else {
                thread::sleep(STEP);
            }
        }
        (done as f64 / start.elapsed().as_secs_f64(), publications)
    }

    /// As `Daemon::publish` does; how long it took.
    fn publish(&mut self, published: &ArcSwap<Fib>) -> Duration {
        let start = Instant::now();
        let fib = Arc::new(self.rib.compile());
        published.store(Arc::clone(&fib));
        self.retired.push(std::mem::replace(&mut self.fib, fib));
        self.retired.retain(|fib| Arc::strong_count(fib) > 1);
        let time = start.elapsed();
        self.next_publish = Instant::now() + time * COMPILE_SHARE;
        time
    }
}

impl Churn<'_> {
    fn next(&mut self) -> Change {
        if let Some(at) = self.withdrawn.take() {
            self.hops[at] += 1;
            return Change::Route(self.route(at), Placement::First);
        }
        // Prefixes lie in random order, and a stride that shares no factor with their number,
        // as it is a prime above it, takes them all.
        self.drawn += 1;
        let at = (self.drawn * 15_485_863 % self.hops.len() as u64) as usize;
        self.withdrawn = Some(at);
        Change::RouteGone(self.route(at))
    }

    fn route(&self, at: usize) -> KernelRoute {
        let prefix: Prefix = self.node.prefixes[at];
        self.node.route(self.hops[at], prefix)
    }
}

/// What a worker saw.
#[derive(Default)]
struct Turns {
    /// From the end of each turn to that of the next.
    gaps: Histogram,
    taken_up: u64,
}

/// Has the worker forward on its core while this thread does something else.
fn beside<T>(
    worker: &mut Worker,
    published: &ArcSwap<Fib>,
    core: usize,
    work: impl FnOnce() -> T,
) -> Result<(Turns, T), Failure> {
    let (stop, ready) = (AtomicBool::new(false), Barrier::new(2));
    thread::scope(|scope| {
        let turns = scope.spawn(|| {
            let pinned = affinity::pin(0, core);
            ready.wait();
            pinned.map(|()| worker.run(published, &stop))
        });
        ready.wait();
        let done = work();
        stop.store(true, Ordering::Relaxed);
        let turns = turns.join().unwrap_or_else(|_| Err(std::io::Error::other("it has panicked")));
        let turns = turns.map_err(|error| Failure::Work(format!("the worker: {error}")))?;
        Ok((turns, done))
    })
}

impl Worker {
    fn new(fib: Arc<Fib>, frames: Frames) -> Worker {
        let mut engine = Engine::new(&fib, Nowhere);
        engine.use_partition_cache(false);
        engine.set_device(0, Some(frames), Some(Sink::default()));
        for port in 1..=NEXT_HOPS {
            engine.set_device(port, None, Some(Sink::default()));
        }
        Worker { engine, fib }
    }

    /// As the daemon's worker does when it is never idle.
    fn run(&mut self, published: &ArcSwap<Fib>, stop: &AtomicBool) -> Turns {
        let mut turns = Turns::default();
        let mut end = Instant::now();
        loop {
            if published.load().generation() != self.fib.generation() {
                self.fib = published.load_full();
                self.engine.prepare(&self.fib);
                self.engine.tend(&self.fib, end);
                turns.taken_up += 1;
            }
            self.engine.serve(&self.fib, 0, end);
            let now = Instant::now();
            turns.gaps.record(now - end);
            end = now;
            if stop.load(Ordering::Relaxed) {
                return turns;
            }
        }
    }
}

/// Times, each known to one part in 128; the longest exactly.
struct Histogram {
    counts: Vec<u32>,
    count: u64,
    max: u64,
}

/// Times below so many nanoseconds have a place each, and so has half of that in each octave above.
const FINE: u64 = 256;

impl Default for Histogram {
    fn default() -> Histogram {
        let places = Histogram::place(u64::MAX) + 1;
        // Not zeroed pages, which the kernel would have to make in the middle of a measurement.
        let mut counts = vec![1; places];
        counts.fill(0);
        Histogram { counts, count: 0, max: 0 }
    }
}

impl Histogram {
    fn place(nanoseconds: u64) -> usize {
        let shift = u64::from(nanoseconds.max(FINE / 2).ilog2() - (FINE / 2).ilog2());
        (shift * (FINE / 2) + (nanoseconds >> shift)) as usize
    }

    /// The shortest time that has this place, in nanoseconds.
    fn shortest(place: usize) -> u64 {
        let half = FINE / 2;
        let shift = (place as u64 / half).saturating_sub(1);
        (place as u64 - shift * half) << shift
    }

    fn record(&mut self, time: Duration) {
        let nanoseconds = time.as_nanos() as u64;
        self.counts[Histogram::place(nanoseconds)] += 1;
        self.count += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// The time that this share of all times does not exceed, in nanoseconds.
    fn percentile(&self, share: f64) -> u64 {
        let rank = (self.count as f64 * share) as u64;
        let mut before = 0;
        let place = self.counts.iter().position(|count| {
            before += u64::from(*count);
            before > rank
        });
        place.map_or(self.max, Histogram::shortest)
    }

    /// p50, p99, p99.9 and the longest.
    fn microseconds(&self) -> [f64; 4] {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.percentile(share));
        [p50, p99, p999, self.max].map(|nanoseconds| nanoseconds as f64 / 1000.0)
    }

    fn json(&self) -> Value {
        let [p50, p99, p999, max] = self.microseconds().map(|us| rounded(us, 1));
        json!({ "count": self.count, "p50": p50, "p99": p99, "p99.9": p999, "max": max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_place_not_far_below_it() {
        let mut last = 0;
        for time in (0..5000).chain((13..64).map(|bit| 1 << bit)).chain([u64::MAX]) {
            let place = Histogram::place(time);
            assert!(place == last || time >= 5000 || place == last + 1, "{time}");
            let shortest = Histogram::shortest(place);
            assert!(shortest <= time && time - shortest <= time / 128, "{time} {shortest}");
            last = place;
        }
    }

    #[test]
    fn percentiles_are_of_all_times() {
        let mut times = Histogram::default();
        (1..=1000).rev().for_each(|at| times.record(Duration::from_micros(at)));
        let [p50, p99, p999, max] = times.microseconds();
        assert!((495.0..=501.0).contains(&p50) && (983.0..=991.0).contains(&p99), "{p50} {p99}");
        assert!((992.0..=1000.0).contains(&p999), "{p999}");
        assert_eq!((max, times.count), (1000.0, 1000));
        assert_eq!(Histogram::default().microseconds(), [0.0; 4]);
    }

    #[test]
    fn every_route_is_withdrawn_and_announced_by_another_gateway() {
        let shape = Shape { is_v6: false, routes: 100, next_hops: NEXT_HOPS, table: POPTRIE };
        let node = Node::new(shape);
        let (_, mut control) = load(&node).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let (gone, new) = (control.churn.next(), control.churn.next());
            let (Change::RouteGone(gone_route), Change::Route(route, _)) = (&gone, &new) else {
                panic!("{gone:?} {new:?}");
            };
            assert_eq!(gone_route.prefix, route.prefix);
            assert_ne!(gone_route.action, route.action);
            seen.insert(route.prefix);
            assert!(control.rib.apply(gone.clone()) && control.rib.apply(new.clone()));
        }
        assert_eq!(seen.len(), 100);
    }
}

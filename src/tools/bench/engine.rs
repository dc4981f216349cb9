//! `xcast bench engine`: the packet path without a kernel, on one core. Frames lie in memory as in a
//! receive ring; whole batches are parsed, looked up, partitioned and copied, and each copy is
//! handed to a device that takes it and does nothing.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::made_up::{DIR24, Node, POPTRIE, Shape, Table, keep_to_one_core};
use super::progress::Progress;
use super::report::Spread;
use crate::engine::Engine as Router;
use crate::fib::Fib;
use crate::io::{Deliver, Frame, Pieces, Receive, Transmit};
use crate::tools::{Failure, output};

/// Packets of the hot rows: all that is read lies in the fastest caches.
const HOT: usize = 64;

/// The packet path alone, on one core: nanoseconds a packet and a destination
#[derive(clap::Args)]
pub(in crate::tools) struct Engine {
    /// Destinations of a packet; each number makes rows of its own
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 10, 100],
        value_parser = clap::value_parser!(u16).range(1..=125))]
    destinations: Vec<u16>,
    /// Gateways that the destinations are behind, each with a port of its own
    #[arg(long, value_name = "M", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=250))]
    next_hops: u16,
    /// Routes of the table, as long and scattered as the internet's
    #[arg(long, value_name = "R", default_value_t = 1_000_000, value_parser = routes())]
    routes: u64,
    /// Octets of each datagram
    #[arg(long, value_name = "B", default_value_t = 64, value_parser = clap::value_parser!(u16).range(0..=1400))]
    payload: u16,
    /// Distinct packets of the cold rows
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    packets: u32,
    /// Channels of the rows with the partition cache; the others run without it
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    channels: u32,
    /// How IPv4 addresses are looked up; both, if not said
    #[arg(long, value_name = "TABLE", value_parser = ["poptrie", "dir24"])]
    fib: Option<String>,
    /// Packets of IPv6
    #[arg(long)]
    ipv6: bool,
    /// Which rows there are of each number of destinations
    #[arg(long, value_name = "ROW,...", value_delimiter = ',', default_values = ["cold", "hot", "cached"],
        value_parser = ["cold", "hot", "cached"])]
    rows: Vec<String>,
    /// Rounds, each of which measures every row once
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn routes() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=4_000_000)
}

/// Frames in memory, which are as new before each round.
pub(super) struct Frames {
    octets: Vec<u8>,
    fresh: Vec<u8>,
    length: usize,
    /// A multiple of a cache line.
    stride: usize,
    next: usize,
    count: usize,
    /// The first comes after the last, and each is as new again once it is given back.
    endless: bool,
}

/// Takes every frame.
#[derive(Default)]
pub(super) struct Sink {
    octets: u64,
}

/// There is no node to deliver to.
pub(super) struct Nowhere;

/// What is measured: a kind of packets on a kind of table.
struct Row {
    table: Table,
    destinations: u16,
    what: &'static str,
    router: Router<Frames, Sink, Nowhere>,
    /// Nanoseconds a packet, by round.
    samples: Vec<f64>,
}

pub(super) fn run(arguments: &Engine) -> Result<(), Failure> {
    keep_to_one_core()?;
    let tables = match (arguments.ipv6, arguments.fib.as_deref()) {
        (true, _) | (_, Some("poptrie")) => vec![POPTRIE],
        (_, Some(_)) => vec![DIR24],
        (_, None) => vec![POPTRIE, DIR24],
    };
    let counts = arguments.destinations.len() * tables.len();
    let mut progress = Progress::new(counts * (1 + usize::from(arguments.rounds)));
    let mut rows = Vec::new();
    for table in tables {
        let node = Node::new(Shape {
            is_v6: arguments.ipv6,
            routes: arguments.routes as usize,
            next_hops: arguments.next_hops,
            table,
        });
        let (_rib, fib) = node.filled();
        for destinations in &arguments.destinations {
            progress.step("making packets");
            let mut of_one = arguments.rows(&node, &fib, *destinations);
            for round in 0..arguments.rounds {
                progress.step(&format!("{destinations} destinations, round {}", round + 1));
                of_one.iter_mut().for_each(|row| row.measure(&fib));
            }
            rows.extend(of_one);
        }
    }
    drop(progress);
    match arguments.json {
        true => output::line(&arguments.report(&rows).to_string()),
        false => output::line(&arguments.table(&rows)),
    }
}

impl Engine {
    /// Cold, hot and cached packets to so many destinations.
    fn rows(&self, node: &Node, fib: &Fib, destinations: u16) -> Vec<Row> {
        let kinds = [
            ("cold", self.packets as usize, 0),
            ("hot", HOT, 0),
            ("cached", self.packets as usize, self.channels as usize),
        ];
        let row = |(what, count, channels): (&'static str, usize, usize)| {
            let frames = Frames::new(&node.frames(count, destinations, self.payload, channels));
            let mut router = Router::new(fib, Nowhere);
            router.use_partition_cache(channels > 0);
            router.set_device(0, Some(frames), Some(Sink::default()));
            for port in 1..=node.shape.next_hops {
                router.set_device(port, None, Some(Sink::default()));
            }
            let mut row =
                Row { table: node.shape.table, destinations, what, router, samples: Vec::new() };
            // The channels are known from their second packet on.
            row.measure(fib);
            row.samples.clear();
            row
        };
        kinds
            .into_iter()
            .filter(|kind| self.rows.iter().any(|row| row == kind.0))
            .map(row)
            .collect()
    }

    fn table(&self, rows: &[Row]) -> String {
        let head = [
            "table",
            "destinations",
            "packets",
            "ns/packet",
            "min",
            "max",
            "ns/destination",
            "Mpackets/s",
            "Mreplicas/s",
        ];
        let cells = |row: &Row| {
            let ns = Spread::of(row.samples.iter().copied()).unwrap_or_default();
            vec![
                row.table.name.to_owned(),
                row.destinations.to_string(),
                row.what.to_owned(),
                format!("{:.1}", ns.median),
                format!("{:.1}", ns.min),
                format!("{:.1}", ns.max),
                format!("{:.2}", ns.median / f64::from(row.destinations)),
                format!("{:.2}", 1e3 / ns.median),
                format!("{:.2}", 1e3 / ns.median * row.replicas()),
            ]
        };
        let lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        let what = format!(
            "{} {family} routes, {} next hops, {} octets of payload, one core; medians of {} rounds",
            self.routes, self.next_hops, self.payload, self.rounds
        );
        let packets = format!(
            "cold: {} distinct packets; hot: {HOT}; cached: {} channels with the partition cache",
            self.packets, self.channels
        );
        format!("{what}\n{packets}\n\n{}", output::table(&head, &lines))
    }

    fn report(&self, rows: &[Row]) -> Value {
        let row = |row: &Row| {
            let ns = Spread::of(row.samples.iter().copied()).unwrap_or_default();
            let each = f64::from(row.destinations);
            json!({
                "fib": row.table.name,
                "destinations": row.destinations,
                "packets": row.what,
                "ns-per-packet": ns.json(1),
                "ns-per-destination": ns.map(|ns| ns / each).json(2),
                "packets-per-second": (1e9 / ns.median).round(),
                "replicas-per-second": (1e9 / ns.median * row.replicas()).round(),
                "replicas-per-packet": row.replicas(),
                "packets-processed": row.router.counters().packets_received,
                "partition-cache-hits": row.router.counters().partition_cache_hits,
            })
        };
        json!({
            "routes": self.routes,
            "next-hops": self.next_hops,
            "payload-bytes": self.payload,
            "distinct-packets": self.packets,
            "channels": self.channels,
            "rounds": self.rounds,
            "family": if self.ipv6 { "ipv6" } else { "ipv4" },
            "rows": rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

impl Row {
    /// One round: all packets of a large pool once, a small one as often as it takes to tell.
    fn measure(&mut self, fib: &Fib) {
        let Some(frames) = self.router.receiver(0) else { return };
        let (count, repeats) = (frames.count, (20_000 / frames.count).max(1));
        let mut time = Duration::ZERO;
        for _ in 0..repeats {
            if let Some(frames) = self.router.receiver(0) {
                frames.renew();
            }
            let start = Instant::now();
            self.serve_all(fib, start);
            time += start.elapsed();
        }
        self.samples.push(time.as_nanos() as f64 / (count * repeats) as f64);
    }

    /// What is measured: a function of its own, so that profilers can tell it from the rest
    /// (`benches/instructions`).
    #[inline(never)]
    fn serve_all(&mut self, fib: &Fib, now: Instant) {
        while self.router.serve(fib, 0, now) > 0 {}
    }

    /// Replicas a packet.
    fn replicas(&self) -> f64 {
        let counters = self.router.counters();
        counters.replicas_sent as f64 / counters.packets_received.max(1) as f64
    }
}

impl Frames {
    /// All of one length.
    fn new(frames: &[Vec<u8>]) -> Frames {
        let length = frames.first().map_or(0, Vec::len);
        let stride = length.next_multiple_of(64);
        let mut fresh = vec![0; stride * frames.len()];
        for (place, frame) in fresh.chunks_exact_mut(stride.max(1)).zip(frames) {
            place[..length].copy_from_slice(frame);
        }
        let octets = fresh.clone();
        Frames { octets, fresh, length, stride, next: 0, count: frames.len(), endless: false }
    }

    /// The same, and they come again and again.
    pub(super) fn endless(frames: &[Vec<u8>]) -> Frames {
        Frames { endless: true, ..Frames::new(frames) }
    }

    fn renew(&mut self) {
        self.octets.copy_from_slice(&self.fresh);
        self.next = 0;
    }

    fn start(&self, index: usize) -> usize {
        (self.next + index) * self.stride
    }
}

impl Receive for Frames {
    fn take(&mut self, limit: usize) -> usize {
        limit.min(self.count - self.next)
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        let start = self.start(index);
        Frame { bytes: &mut self.octets[start..start + self.length], to_group: false }
    }

    fn bytes(&self, index: usize) -> &[u8] {
        &self.octets[self.start(index)..][..self.length]
    }

    fn release(&mut self, count: usize) {
        if self.endless {
            let given = self.start(0)..self.start(count);
            self.octets[given.clone()].copy_from_slice(&self.fresh[given]);
        }
        self.next += count;
        if self.endless && self.next == self.count {
            self.next = 0;
        }
    }
}

impl Transmit for Sink {
    fn transmit<'a>(
        &mut self,
        count: usize,
        pieces: impl Fn(usize) -> Pieces<'a>,
        mut done: impl FnMut(usize, bool),
    ) {
        for index in 0..count {
            let (head, tail) = pieces(index);
            self.octets += (head.len() + tail.len()) as u64;
            black_box((head.as_ptr(), tail.as_ptr()));
            done(index, true);
        }
    }
}

impl Deliver for Nowhere {
    fn deliver(&mut self, _: &[u8], _: &[u8], _: Option<u32>) -> bool {
        false
    }

    fn report(&mut self, _: IpAddr, _: Option<u32>, _: &[u8]) -> bool {
        false
    }
}

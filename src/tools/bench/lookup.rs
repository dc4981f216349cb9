//! `xcast bench lookup`: the tables alone, on one core. Addresses are looked up in batches, beside
//! bare reads of as much memory, and many of the answers are checked against a slow table.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::made_up::{DIR24, Node, POPTRIE, Shape, Table, keep_to_one_core};
use super::progress::Progress;
use super::report::{Spread, rounded};
use crate::fib::{Entry, EntryId, Fib, Prefix, synthetic};
use crate::io::large_pages;
use crate::rib::{Change, RouteAction};
use crate::tools::{Failure, output};

/// Addresses looked up at once.
const BATCH: usize = 512;
/// Addresses looked up in a round.
const POOL: usize = 1 << 20;
/// Addresses of the hot rows: all that is read lies in the fastest caches.
const HOT: usize = 4096;
/// Of the addresses of a kind, those whose answers are checked.
const CHECKED: usize = 200_000;
/// Gateways that share the routes.
const NEXT_HOPS: u16 = 4;
const SEED: u64 = 512;

/// Longest-prefix match alone, on one core: nanoseconds an address, octets a route, wrong answers
#[derive(clap::Args)]
pub(in crate::tools) struct Lookup {
    /// IPv4 routes, as long and scattered as the internet's
    #[arg(long, value_name = "R", default_value_t = 1_000_000, value_parser = super::engine::routes())]
    routes: u64,
    /// IPv6 routes
    #[arg(long, value_name = "R", default_value_t = 200_000, value_parser = super::engine::routes())]
    routes_v6: u64,
    /// Rounds, each of which measures every row once
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Addresses of one IP version, as the packet path has them.
enum Addresses {
    V4(Vec<u32>),
    V6(Vec<u128>),
}

/// Where an address leads, in words that both tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    NoRoute,
    Bad,
    LinkLocal,
    Local,
    OnLink(u32),
    Neighbor(IpAddr),
    Gateway(IpAddr),
    /// What no route of the made-up node comes to.
    Unexpected,
}

/// A hash table for each prefix length.
struct SlowTable(BTreeMap<u8, HashMap<Prefix, Answer>>);

/// The addresses of one IP version that are looked up, and where some of them lead.
struct Pool {
    hit: Vec<IpAddr>,
    random: Vec<IpAddr>,
    /// Of the first of each.
    answers: [Vec<Answer>; 2],
}

/// A table under measurement.
struct Subject {
    table: Table,
    is_v6: bool,
    routes: usize,
    fib: Fib,
    /// Octets of two live generations, one route apart, to those of one.
    two_generations: f64,
    wrong: usize,
    rows: Vec<Row>,
}

/// A kind of addresses, or of places in memory.
struct Row {
    what: &'static str,
    work: Work,
    /// Nanoseconds each, by round.
    samples: Vec<f64>,
}

enum Work {
    LookUp(Addresses),
    /// Words, as many octets as the table has, and which of them to read.
    Read(Vec<AtomicU32>, Vec<u32>),
}

pub(super) fn run(arguments: &Lookup) -> Result<(), Failure> {
    keep_to_one_core()?;
    let (routes, routes_v6) = (arguments.routes as usize, arguments.routes_v6 as usize);
    let mut progress = Progress::new(5 + usize::from(arguments.rounds));
    let mut subjects = Vec::new();
    for (is_v6, routes, tables) in
        [(false, routes, &[POPTRIE, DIR24][..]), (true, routes_v6, &[POPTRIE][..])]
    {
        let shape = |table| Shape { is_v6, routes, next_hops: NEXT_HOPS, table };
        progress.step("asking the slow table");
        let pool = Pool::of(&Node::new(shape(POPTRIE)));
        for table in tables {
            progress.step(&format!("{} of {routes} routes", table.name));
            subjects.push(Subject::new(shape(*table), &pool));
        }
    }
    for round in 0..arguments.rounds {
        progress.step(&format!("round {}", round + 1));
        for Subject { fib, rows, .. } in &mut subjects {
            rows.iter_mut().for_each(|row| row.measure(fib));
        }
    }
    drop(progress);
    match arguments.json {
        true => output::line(&arguments.report(&subjects).to_string())?,
        false => output::line(&arguments.table(&subjects))?,
    }
    match subjects.iter().map(|subject| subject.wrong).sum() {
        0 => Ok(()),
        wrong @ 1usize.. => Err(Failure::Work(format!("{wrong} addresses lead elsewhere"))),
    }
}

impl Lookup {
    fn table(&self, subjects: &[Subject]) -> String {
        let name = |subject: &Subject| vec![subject.name(), subject.routes.to_string()];
        let times = subjects.iter().flat_map(|subject| {
            subject.rows.iter().map(move |row| {
                let ns = row.spread();
                let numbers = [ns.median, ns.min, ns.max].map(|ns| format!("{ns:.2}"));
                [vec![subject.name(), row.what.to_owned()], numbers.to_vec()].concat()
            })
        });
        let sizes = subjects.iter().map(|subject| {
            let numbers = [
                format!("{:.2}", subject.octets_per_route()),
                format!("{:.3}", subject.two_generations),
                subject.checked().to_string(),
                subject.wrong.to_string(),
            ];
            [name(subject), numbers.to_vec()].concat()
        });
        let times = output::table(
            &["table", "addresses", "ns/lookup", "min", "max"],
            &times.collect::<Vec<_>>(),
        );
        let sizes = output::table(
            &["table", "routes", "octets/route", "two-generations", "checked", "wrong"],
            &sizes.collect::<Vec<_>>(),
        );
        format!(
            "batches of {BATCH}, one core; medians of {} rounds\n\
             hit: {POOL} addresses inside random prefixes; hot: {HOT} of them; random: any addresses\n\
             memory: reads of 4 octets each, anywhere in as much memory as the table has\n\n\
             {times}\n\n{sizes}",
            self.rounds
        )
    }

    fn report(&self, subjects: &[Subject]) -> Value {
        let row = |row: &Row| json!({ "addresses": row.what, "nanoseconds": row.spread().json(2) });
        let table = |subject: &Subject| {
            json!({
                "fib": subject.table.name,
                "family": if subject.is_v6 { "ipv6" } else { "ipv4" },
                "routes": subject.routes,
                "bytes": subject.fib.memory(),
                "bytes-per-route": rounded(subject.octets_per_route(), 2),
                "two-generations": rounded(subject.two_generations, 4),
                "checked": subject.checked(),
                "wrong": subject.wrong,
                "rows": subject.rows.iter().map(row).collect::<Vec<_>>(),
            })
        };
        json!({
            "batch": BATCH,
            "rounds": self.rounds,
            "tables": subjects.iter().map(table).collect::<Vec<_>>(),
        })
    }
}

impl Pool {
    fn of(node: &Node) -> Pool {
        let hit = synthetic::addresses_in(SEED, &node.prefixes, POOL);
        let random = synthetic::addresses_in(SEED + 1, &[any(node.shape.is_v6)], POOL);
        let slow = SlowTable::of(node);
        let answers = [&hit, &random].map(|addresses| {
            let checked = addresses.iter().take(CHECKED);
            checked.map(|address| slow.lookup(*address)).collect()
        });
        Pool { hit, random, answers }
    }
}

/// What random addresses are drawn from: all of IPv4, the global unicast addresses of IPv6 that
/// are assigned at present.
fn any(is_v6: bool) -> Prefix {
    let (address, length) = match is_v6 {
        false => (IpAddr::from([0; 4]), 0),
        true => (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0).into(), 3),
    };
    Prefix::new(address, length).expect("both are valid lengths")
}

impl SlowTable {
    /// Of the same node, without Rib or Fib.
    fn of(node: &Node) -> SlowTable {
        let mut table = SlowTable(BTreeMap::new());
        let changes = node.surroundings();
        // What comes first counts: own addresses, then neighbors.
        for change in &changes {
            if let Change::Address(own) = change {
                table.insert(Prefix::host(own.address), Answer::Local);
                let subnet = Prefix::new(own.address, own.prefix_length);
                if let Some(IpAddr::V4(first)) = subnet.map(|subnet| subnet.address()) {
                    let last = first.to_bits() | u32::MAX >> own.prefix_length;
                    table.insert(Prefix::host(IpAddr::V4(last.into())), Answer::Bad);
                }
            }
        }
        for change in &changes {
            if let Change::Neighbor(neighbor) = change {
                let answer = Answer::Neighbor(neighbor.address);
                table.insert(Prefix::host(neighbor.address), answer);
            }
        }
        for route in node.routes() {
            let RouteAction::Forward(hops) = &route.action else { continue };
            let answer = match hops[0].gateway {
                Some(gateway) => Answer::Gateway(gateway),
                None => Answer::OnLink(hops[0].interface),
            };
            table.insert(route.prefix, answer);
        }
        table
    }

    fn insert(&mut self, prefix: Prefix, answer: Answer) {
        self.0.entry(prefix.length()).or_default().entry(prefix).or_insert(answer);
    }

    fn lookup(&self, address: IpAddr) -> Answer {
        let is_bad = match address {
            IpAddr::V4(v4) => {
                v4.is_unspecified() || v4.is_loopback() || v4.is_multicast() || v4.is_broadcast()
            }
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_multicast(),
        };
        if is_bad {
            return Answer::Bad;
        }
        if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            return Answer::LinkLocal;
        }
        let mut longest_first = self.0.iter().rev();
        let found = longest_first
            .find_map(|(length, prefixes)| prefixes.get(&Prefix::new(address, *length)?).copied());
        found.unwrap_or(Answer::NoRoute)
    }
}

impl Subject {
    fn new(shape: Shape, pool: &Pool) -> Subject {
        let node = Node::new(shape);
        let (mut rib, fib) = node.filled();
        rib.apply(Change::RouteGone(node.route(0, node.prefixes[0])));
        let next = rib.compile();
        let both = fib.memory() + next.memory_beyond(&fib);
        let two_generations = both as f64 / fib.memory() as f64;
        let words = fib.memory() / size_of::<u32>();
        let lookups = [("hit", &pool.hit[..]), ("hot", &pool.hit[..HOT]), ("random", &pool.random)];
        let lookups = lookups.map(|(what, addresses)| (what, Work::look_up(addresses)));
        let reads = ("memory", Work::read(words, shape.table.name == DIR24.name));
        let rows = lookups.into_iter().chain([reads]);
        let rows = rows.map(|(what, work)| Row { what, work, samples: Vec::new() }).collect();
        let wrong = [&pool.hit, &pool.random].into_iter().zip(&pool.answers);
        let wrong = wrong.map(|(addresses, answers)| wrong_answers(&fib, addresses, answers)).sum();
        let Shape { table, is_v6, routes, .. } = shape;
        Subject { table, is_v6, routes, fib, two_generations, wrong, rows }
    }

    fn name(&self) -> String {
        format!("{} {}", self.table.name, if self.is_v6 { "IPv6" } else { "IPv4" })
    }

    fn octets_per_route(&self) -> f64 {
        self.fib.memory() as f64 / self.routes as f64
    }

    fn checked(&self) -> usize {
        2 * CHECKED
    }
}

/// How many addresses lead elsewhere than they are to.
fn wrong_answers(fib: &Fib, addresses: &[IpAddr], answers: &[Answer]) -> usize {
    let mut wrong = 0;
    let mut found = Vec::new();
    // By batches too: those are what is measured.
    for (addresses, answers) in addresses.chunks(BATCH).zip(answers.chunks(BATCH)) {
        let addresses = &addresses[..answers.len()];
        Addresses::of(addresses).look_up(fib, |entries| found.extend_from_slice(entries));
        let pairs = found.drain(..).zip(answers);
        wrong += pairs.filter(|(entry, answer)| answer_of(fib, *entry) != **answer).count();
    }
    wrong
}

fn answer_of(fib: &Fib, entry: EntryId) -> Answer {
    match *fib.entry(entry) {
        Entry::NoRoute => Answer::NoRoute,
        Entry::Bad => Answer::Bad,
        Entry::LinkLocal => Answer::LinkLocal,
        Entry::Local => Answer::Local,
        Entry::OnLink(port) => {
            fib.port(port).map_or(Answer::Unexpected, |port| Answer::OnLink(port.interface))
        }
        Entry::Neighbor(id) => Answer::Neighbor(fib.adjacency(id).address),
        Entry::Gateways(group) => match fib.members(group) {
            [only] => Answer::Gateway(fib.adjacency(*only).address),
            _ => Answer::Unexpected,
        },
        Entry::Drop | Entry::PortDown | Entry::TunnelDown => Answer::Unexpected,
    }
}

impl Addresses {
    /// All of the IP version that the first one has.
    fn of(addresses: &[IpAddr]) -> Addresses {
        let v4 = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Some(v4.to_bits()),
            IpAddr::V6(_) => None,
        });
        let v6 = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(v6.to_bits()),
        });
        match addresses.first() {
            Some(IpAddr::V6(_)) => Addresses::V6(v6.collect()),
            _ => Addresses::V4(v4.collect()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Addresses::V4(addresses) => addresses.len(),
            Addresses::V6(addresses) => addresses.len(),
        }
    }

    /// Looks all up, batch by batch.
    fn look_up(&self, fib: &Fib, mut found: impl FnMut(&[EntryId])) {
        let mut entries = [0; BATCH];
        match self {
            Addresses::V4(addresses) => addresses.chunks(BATCH).for_each(|batch| {
                fib.lookup_batch_v4(batch, &mut entries);
                found(&entries[..batch.len()]);
            }),
            Addresses::V6(addresses) => addresses.chunks(BATCH).for_each(|batch| {
                fib.lookup_batch_v6(batch, &mut entries);
                found(&entries[..batch.len()]);
            }),
        }
    }
}

impl Work {
    fn look_up(addresses: &[IpAddr]) -> Work {
        Work::LookUp(Addresses::of(addresses))
    }

    /// In pages like the table's.
    fn read(words: usize, large: bool) -> Work {
        let memory = match large {
            true => large_pages(words),
            false => (0..words).map(|_| AtomicU32::default()).collect(),
        };
        // The kernel gives a page of its own only to what is written.
        (0..).zip(&memory).for_each(|(number, word)| word.store(number, Ordering::Relaxed));
        let places = synthetic::addresses_in(SEED, &[any(false)], POOL).into_iter();
        let places = places.filter_map(|place| match place {
            IpAddr::V4(v4) => Some(((u64::from(v4.to_bits()) * words as u64) >> 32) as u32),
            IpAddr::V6(_) => None,
        });
        Work::Read(memory, places.collect())
    }
}

impl Row {
    /// One round: as many for a small pool as for a large one.
    fn measure(&mut self, fib: &Fib) {
        let count = match &self.work {
            Work::LookUp(addresses) => addresses.len(),
            Work::Read(_, places) => places.len(),
        };
        let repeats = POOL / count;
        let start = Instant::now();
        for _ in 0..repeats {
            match &self.work {
                Work::LookUp(addresses) => addresses.look_up(fib, |entries| {
                    black_box(entries);
                }),
                Work::Read(memory, places) => read(memory, places),
            }
        }
        self.samples.push(start.elapsed().as_nanos() as f64 / (count * repeats) as f64);
    }

    fn spread(&self) -> Spread {
        Spread::of(self.samples.iter().copied()).unwrap_or_default()
    }
}

/// Reads words as addresses are looked up: none waits for another.
fn read(memory: &[AtomicU32], places: &[u32]) {
    let mut words = [0; BATCH];
    for batch in places.chunks(BATCH) {
        for (word, place) in words.iter_mut().zip(batch) {
            *word = memory[*place as usize].load(Ordering::Relaxed);
        }
        black_box(&words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slow_table_knows_the_longest_prefix_and_what_no_route_may_claim() {
        let mut table = SlowTable(BTreeMap::new());
        let gateway = |last| Answer::Gateway(IpAddr::from([10, 0, 0, last]));
        for (prefix, last) in [("0.0.0.0/0", 1), ("192.0.2.0/24", 2), ("192.0.2.128/25", 3)] {
            table.insert(prefix.parse().unwrap(), gateway(last));
        }
        table.insert("192.0.2.0/24".parse().unwrap(), Answer::Local);
        let lookup = |address: [u8; 4]| table.lookup(address.into());
        assert_eq!(lookup([192, 0, 2, 127]), gateway(2), "the first of a prefix counts");
        assert_eq!(lookup([192, 0, 2, 128]), gateway(3));
        assert_eq!(lookup([198, 51, 100, 1]), gateway(1));
        for bad in [[127, 0, 0, 1], [0; 4], [255; 4], [239, 255, 255, 255]] {
            assert_eq!(lookup(bad), Answer::Bad);
        }
        assert_eq!(table.lookup("fe80::1".parse().unwrap()), Answer::LinkLocal);
        assert_eq!(table.lookup("2001:db8::1".parse().unwrap()), Answer::NoRoute);
    }

    #[test]
    fn wrong_answers_are_found() {
        for (is_v6, table) in [(false, POPTRIE), (false, DIR24), (true, POPTRIE)] {
            let node = Node::new(Shape { is_v6, routes: 300, next_hops: NEXT_HOPS, table });
            let slow = SlowTable::of(&node);
            let addresses = synthetic::addresses_in(SEED, &node.prefixes[..1], 1000);
            let answers: Vec<_> = addresses.iter().map(|address| slow.lookup(*address)).collect();
            let (mut rib, fib) = node.filled();
            assert_eq!(wrong_answers(&fib, &addresses, &answers), 0);
            rib.apply(Change::RouteGone(node.route(0, node.prefixes[0])));
            assert_eq!(wrong_answers(&rib.compile(), &addresses, &answers), addresses.len());
        }
    }
}

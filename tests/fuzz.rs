//! Fuzzing: packets of every kind, right and wrong, through routers of every kind; and all bytes
//! that other parsers may be given. Nothing panics, no destination is lost, and every copy is right
//! to the last octet (`fuzz/oracle.rs`, `fuzz/trial.rs`).
//!
//! `XCAST_FUZZ_INPUTS=N` runs N packets in place of a few, `XCAST_TEST_SEED=N` another sequence;
//! `--nocapture` shows what they came to. A failure shows its input as a file for `tests/corpus`.
//! `XCAST_FUZZ_SAVE=FOLDER` writes the shortest input found for each reason there.

#![allow(clippy::unwrap_used)]

#[path = "fuzz/copies.rs"]
mod copies;
#[path = "fuzz/corpus.rs"]
mod corpus;
#[path = "fuzz/fates.rs"]
mod fates;
#[path = "fuzz/generate.rs"]
mod generate;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/nodes.rs"]
mod nodes;
#[path = "fuzz/octets.rs"]
mod octets;
#[path = "fuzz/oracle.rs"]
mod oracle;
#[path = "fuzz/parsers.rs"]
mod parsers;
#[path = "fuzz/reading.rs"]
mod reading;
#[path = "fuzz/ribs.rs"]
mod ribs;
#[path = "fuzz/tally.rs"]
mod tally;
#[path = "fuzz/transports.rs"]
mod transports;
#[path = "fuzz/trial.rs"]
mod trial;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xcast::fib::PortId;
use xcast::forward::{LINK_HEADER_LEN, Time};

use corpus::Keeper;
use nodes::{Node, PORTS};
use tally::Tally;
use trial::Input;

/// Packets in all if nothing is said: enough for every reason, in some seconds without
/// optimization.
const INPUTS: u64 = 60_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

fn inputs() -> u64 {
    number("XCAST_FUZZ_INPUTS").unwrap_or(INPUTS)
}

/// Numbers that depend on the seed, said now so that a failing test shows it.
fn numbers(what: u64) -> ChaCha8Rng {
    let seed = number("XCAST_TEST_SEED").unwrap_or(1);
    println!("XCAST_TEST_SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(what);
    rng
}

/// A packet of the family, most of the time, as it arrives somewhere.
fn an_input(rng: &mut ChaCha8Rng, is_v6: bool) -> Input {
    let port: Option<PortId> = match rng.random_range(0..40) {
        0 => None,
        1 => Some(rng.random_range(0..PORTS + 2)),
        2..20 => Some(0),
        20..32 => Some(1),
        _ => Some(2),
    };
    let mut packet = generate::packet(rng, is_v6, port);
    if rng.random_bool(0.5) {
        let other_family = is_v6 ^ rng.random_bool(0.1);
        let other = generate::packet(rng, other_family, port);
        mutate::mutate(rng, &mut packet, &other);
    }
    let start = match rng.random_bool(0.9) {
        true => LINK_HEADER_LEN,
        false => rng.random_range(0..40),
    };
    let mut buffer: Vec<u8> = (0..start).map(|_| rng.random()).collect();
    buffer.extend(packet);
    if rng.random_bool(0.05) {
        buffer.extend((0..rng.random_range(1..46)).map(|_| rng.random::<u8>()));
    }
    let to_group = rng.random_bool(0.04);
    let room = rng.random_ratio(1, 200).then(|| generate::pick(rng, &[0, 0, 0, 1, 2, 5, 20]));
    Input { buffer, start, port, to_group, room }
}

/// Half of the inputs, of one family.
fn fuzz_packets(is_v6: bool) {
    let rng = &mut numbers(u64::from(is_v6));
    let mut nodes = nodes::all();
    let mut next = nodes::next_router();
    let mut tally = Tally::default();
    let mut keeper = Keeper::from_environment();
    for number in 0..inputs() / 2 {
        let input = an_input(rng, is_v6);
        let at = rng.random_range(0..nodes.len());
        let before = tally.reasons;
        trial::run(&mut nodes[at], &mut next, &input, Time(200 * number), rng, &mut tally);
        keeper.keep(&input, &before, &tally.reasons);
    }
    println!("{tally}");
    if inputs() >= INPUTS {
        tally.assert_complete(usize::from(is_v6));
    }
}

#[test]
fn xcast4_packets() {
    fuzz_packets(false);
}

#[test]
fn xcast6_packets() {
    fuzz_packets(true);
}

/// Every file of the corpus at every router, from everywhere; each still comes to the reason that
/// it is named after.
#[test]
fn the_corpus() {
    let rng = &mut numbers(2);
    let mut nodes = nodes::all();
    let mut next = nodes::next_router();
    let mut total = Tally::default();
    for file in corpus::files() {
        let mut tally = Tally::default();
        for node in &mut nodes {
            replay(node, &mut next, &file.bytes, rng, &mut tally);
        }
        if let Some((reason, family)) = file.reason {
            let hits = tally.reasons[reason as usize][family];
            assert!(hits > 0, "{} comes to another end:\n{tally}", file.name);
            total.reasons[reason as usize][family] += hits;
        }
    }
    for reason in tally::reasons() {
        let both = total.reasons[reason as usize];
        assert!(both[0] > 0 && both[1] > 0, "no file for {} in each family", reason.name());
    }
}

fn replay(
    node: &mut Node,
    next: &mut Node,
    packet: &[u8],
    rng: &mut ChaCha8Rng,
    tally: &mut Tally,
) {
    // The budget of a source lasts for some packets.
    let repeats = if node.fib.limits().destinations_per_second > 0 { 150 } else { 1 };
    for port in (0..PORTS).map(Some).chain([None]) {
        for (start, to_group) in [(LINK_HEADER_LEN, false), (0, false), (LINK_HEADER_LEN, true)] {
            let buffer = [&[0; LINK_HEADER_LEN][..start], packet].concat();
            let input = Input { buffer, start, port, to_group, room: None };
            trial::run(node, next, &input, Time(0), rng, tally);
        }
    }
    let crowded = Input { room: Some(0), ..Input::of(packet, Some(0)) };
    trial::run(node, next, &crowded, Time(0), rng, tally);
    for _ in 0..repeats {
        trial::run(node, next, &Input::of(packet, Some(0)), Time(0), rng, tally);
    }
}

/// Octets without any structure.
#[test]
fn octets_by_chance() {
    let rng = &mut numbers(3);
    let mut nodes = nodes::all();
    let mut next = nodes::next_router();
    let (mut tally, mut taken) = (Tally::default(), parsers::Taken::default());
    for number in 0..inputs() / 20 {
        let length = rng.random_range(0..200);
        let mut packet: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        if let (Some(first), true) = (packet.first_mut(), rng.random_bool(0.9)) {
            *first = generate::pick(rng, &[0x45, 0x46, 0x60]);
        }
        let at = rng.random_range(0..nodes.len());
        let input = Input::of(&packet, Some(0));
        trial::run(&mut nodes[at], &mut next, &input, Time(number), rng, &mut tally);
        parsers::parse_everywhere(&packet, &mut taken);
    }
}

#[test]
fn parsers_of_packets() {
    parsers::fuzz_wire(&mut numbers(4), inputs() / 4);
}

#[test]
fn captures() {
    parsers::fuzz_pcap(&mut numbers(5), inputs() / 4);
}

#[test]
fn control_requests() {
    parsers::fuzz_requests(&mut numbers(6), inputs() / 4);
}

#[test]
fn configurations() {
    parsers::fuzz_configurations(&mut numbers(7), inputs() / 60);
}

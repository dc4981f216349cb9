//! `queue-combining`: how many packets and octets the queue of seed 002 spares, against how long it
//! may hold a message.
//!
//! The traffic of a ring and its groups is recorded once, as the machines hand it over; then each
//! host's part of it goes through a queue with each setting: the same messages at the same moments.
//! What that is measured against: each message as a unicast packet of its own to each receiver.
//! Beside it stand messages made up, each to one peer, that have nothing, half, or all in common.

use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::contact::Endpoint;
use overlay_protocols::machine::{Class, Protocol, Send};
use overlay_protocols::node::{self, Input};
use overlay_protocols::parallel::{Apart, Config, Counters, Left, Mode, Queue, Spares};
use overlay_protocols::random::Random;
use overlay_protocols::{PeerId, RingId, Time, envelope, locality, ring};

use super::{Error, Experiment, Flag, Options, SealKind, localities, rings, scale};
use crate::report::{Report, Row};
use crate::underlay::TransitStub;
use crate::world::{Happening, Recorded, World, address};

/// The experiment.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "queue-combining",
    about: "packets and octets that the queue spares, against how long it holds messages",
    run,
};

const SOURCE: &str = "seed 002 paragraphs 0026 to 0028";
/// The longest waits, in milliseconds.
const DELAYS: [u64; 5] = [0, 1, 5, 20, 100];
/// The default among them, which the notes are about.
const DEFAULT_DELAY: u64 = 20;
/// Shares of messages that are made up, which all of them have in common.
const OVERLAPS: [f64; 3] = [0.0, 0.5, 1.0];
/// Before the recording begins, and how long it is.
const SETTLING: Duration = Duration::from_secs(60);
const RECORDED: Duration = Duration::from_secs(60);
/// How often each host looks something up; every tenth time it stores something instead.
const ASKS_EVERY: Duration = Duration::from_secs(10);
/// Messages made up: how many, their mean distance in time, their length, and to how many peers.
const MADE: usize = 20_000;
const MADE_EVERY: Duration = Duration::from_millis(5);
const MADE_LEN: usize = 100;
const MADE_PEERS: u64 = 100;
/// Octets of the headers of IPv4 and UDP.
const HEADERS: usize = 28;

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Matrix, Flag::Transport])?;
    let mut report = Report::default();
    for nodes in options.sizes(&[200], &[1_000]) {
        bar.set_length((SETTLING + RECORDED).as_secs());
        bar.set_message(format!("traffic of {nodes} hosts"));
        let (traffic, hash) = record(nodes, options, bar);
        report.event_hash = Some(hash);
        let with = |row: Row| row.with("overlap", "real").with("nodes", nodes);
        report.notes.push(contents(&traffic));
        measure(&traffic, &with, true, &mut report);
    }
    for overlap in OVERLAPS {
        bar.set_message(format!("overlap {overlap}"));
        let traffic = vec![made_up(overlap, options.seed)];
        measure(&traffic, &|row: Row| row.with("overlap", overlap), false, &mut report);
    }
    report.rows.sort_by_key(|row| (row.name != PACKETS) as u8 + (row.name == DELAY) as u8);
    report.notes.push(format!(
        "Messages made up: {MADE} of {MADE_LEN} octets from one host, each to one of {MADE_PEERS} \
         peers, {} ms apart in the mean; the first part of them, the overlap, is the same.",
        MADE_EVERY.as_millis()
    ));
    report.notes.push(
        "Compared with a unicast packet to each receiver of each message. Mode \"marked\": only what a \
         machine says to several peers at once is one packet; nothing waits. Octets are those of IP \
         packets with all headers and lists: link \"sender\" as they leave, link \"both-ends\" those \
         and the copies that arrive, each of which holds all receivers' parts. The delay is the mean \
         over messages that may wait. What routers between are spared is not in it: see \
         xcast-savings."
            .to_owned(),
    );
    Ok(report)
}

/// What each host says.
type Traffic = Vec<Vec<(Time, Send)>>;

/// A ring with groups, all of whose hosts are asked for keys, at work.
fn record(nodes: usize, options: &Options, bar: &ProgressBar) -> (Traffic, u64) {
    let mut underlay = TransitStub::ts600().build(options.seed);
    underlay.attach_hosts(nodes, options.seed);
    let underlay = Arc::new(underlay);
    // Seals of either kind are equally long.
    let seal = options.seal.or(Some(SealKind::Null));
    let options = Options { seal, ..options.clone() };
    let mut world = localities::on_underlay(&underlay, &options, nodes);
    for place in 0..nodes {
        world.add_host();
        world.start(place, config());
    }
    rings::preset(&mut world, config().ring.leaf_set / 2);
    scale::preset_groups(&mut world, &underlay, options.seed);
    let mut random = Random::new(options.seed, 0x0071_7565_7565);
    for place in 0..nodes {
        world.mark(Time(0) + random.up_to(ASKS_EVERY), place, 0);
    }
    let mut work = |world: &mut World, until: Time| {
        while world.now() < until {
            if let Some(Happening::Mark { place, tag }) = world.next(until) {
                world.mark(world.now() + ASKS_EVERY, place, tag + 1);
                ask(world, place, tag, &mut random);
            }
            bar.set_position(world.now().0 / 1_000_000);
        }
    };
    work(&mut world, Time(0) + SETTLING);
    world.record();
    work(&mut world, Time(0) + SETTLING + RECORDED);
    let mut traffic = vec![Vec::new(); nodes];
    for Recorded { place, at, send } in world.record() {
        traffic[place].push((at, send));
    }
    (traffic, world.hash())
}

/// Nothing is held back when it is recorded. The ring's patience is what this network's delays need.
fn config() -> node::Config {
    let ring = ring::Config {
        lookup_timeout: Duration::from_secs(15),
        hop_timeout: (Duration::from_millis(400), Duration::from_secs(4)),
        ..ring::Config::default()
    };
    let parallel = Config { mode: Mode::Marked, ..Config::default() };
    let locality = Some(locality::Config::default());
    node::Config { ring, locality, parallel, ..node::Config::default() }
}

fn ask(world: &mut World, place: usize, number: u64, random: &mut Random) {
    let mut key = RingId::ZERO;
    random.fill(&mut key.0);
    let (request, value) = (number, key.0.to_vec());
    let command = match (number + place as u64) % 10 {
        0 => ring::Command::Insert { request, key, value },
        _ => ring::Command::Lookup { request, key },
    };
    world.input(place, Input::Ring(command));
}

/// Messages to one peer each, of which a share is the same in all.
fn made_up(overlap: f64, seed: u64) -> Vec<(Time, Send)> {
    let mut random = Random::new(seed, 0x6d61_6465);
    let common = ((MADE_LEN as f64 * overlap) as usize).max(1);
    let mut at = Time(0);
    let message = |number: usize| {
        at += random.exponential(MADE_EVERY);
        let place = random.below(MADE_PEERS) as usize;
        let mut id = PeerId::default();
        id.0[..8]
            .copy_from_slice(&(place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let to = vec![Endpoint { address: address(place), id: Some(id) }];
        let mut shared = vec![1; MADE_LEN];
        random.fill(&mut shared[common..]);
        // Not even by chance do those that wait at the same time have more in common.
        if let Some(first) = shared.get_mut(common) {
            *first = number as u8;
        }
        let send =
            Send { to, protocol: Protocol::Ring, shared, parts: Vec::new(), class: Class::Queued };
        (at, send)
    };
    (0..MADE).map(message).collect()
}

/// What became of all hosts' messages.
#[derive(Default)]
struct Sums {
    packets: u64,
    receivers: u64,
    octets: u64,
    /// As they arrive.
    arriving: u64,
    separate: u64,
    /// Messages that may wait, and how long they have together, microseconds.
    may_wait: u64,
    delay: u64,
    joined: u64,
    apart: [u64; Apart::ALL.len()],
    left: [u64; Left::ALL.len()],
    /// N_G, g_max, and changes a second: of groups in the network.
    groups: usize,
    largest: usize,
    changes: f64,
}

impl Sums {
    /// What a message costs that goes to each receiver alone, whatever the queue does.
    fn add_repeated(&mut self, send: &Send) {
        let octets = (0..send.to.len())
            .map(|index| (HEADERS + envelope::datagram_len(send, &[index])) as u64)
            .sum::<u64>();
        self.packets += send.to.len() as u64;
        self.receivers += send.to.len() as u64;
        self.octets += octets;
        self.arriving += octets;
        self.separate += octets;
    }

    fn add(&mut self, counters: &Counters, end: Time) {
        self.packets += counters.packets;
        self.receivers += counters.packet_receivers;
        self.octets += counters.octets;
        self.arriving += counters.octets_arriving;
        self.separate += counters.octets_separate;
        self.may_wait += counters.messages + counters.cut - counters.passed;
        self.delay += counters.delay_total;
        self.joined += counters.joined_wholly + counters.joined_partly;
        let add = |sum: &mut [u64], more: &[u64]| {
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        };
        add(&mut self.apart, &counters.apart);
        add(&mut self.left, &counters.left);
        self.groups += counters.groups.distinct().0;
        self.largest = self.largest.max(counters.groups.largest());
        self.changes += counters.groups.changes_per_second(end);
    }
}

/// Lets everybody's messages through a queue of its own.
fn replay(traffic: &Traffic, config: &Config) -> Sums {
    let mut sums = Sums::default();
    let end = traffic.iter().filter_map(|all| all.last()).map(|(at, _)| *at).max();
    for messages in traffic {
        let mut queue = Queue::new(config.clone());
        let (mut rest, mut now) = (messages.as_slice(), Time(0));
        while let Some((at, _)) = rest.first() {
            leave_until(&mut queue, *at);
            now = *at;
            // What is said at one moment goes together even if nothing waits.
            let together = rest.iter().take_while(|(other, _)| *other == now).count();
            for (_, send) in &rest[..together] {
                match send.class {
                    Class::Repeated => sums.add_repeated(send),
                    _ => queue.push(send.clone(), now),
                }
            }
            while queue.poll_output().is_some() {}
            rest = &rest[together..];
        }
        leave_until(&mut queue, now + config.delay);
        sums.add(queue.counters(), end.unwrap_or(now));
    }
    sums
}

fn leave_until(queue: &mut Queue, until: Time) {
    while let Some((at, _)) = queue.poll_timeout().filter(|(at, _)| *at <= until) {
        queue.handle_timeout(at);
        while queue.poll_output().is_some() {}
    }
}

const PACKETS: &str = "packets-saved";
const BYTES: &str = "bytes-saved";
const DELAY: &str = "delay-mean-ms";

/// The rows of one kind of traffic, with every setting.
fn measure(traffic: &Traffic, with: &dyn Fn(Row) -> Row, notes: bool, report: &mut Report) {
    let marked = Config { mode: Mode::Marked, ..Config::default() };
    let sums = replay(traffic, &marked);
    rows(&sums, 0, "marked", with, report);
    if notes {
        report.notes.push(groups("marked", &sums));
    }
    for (spares, mode) in [(Spares::All, "queue"), (Spares::Sender, "queue-for-sender")] {
        for delay in DELAYS {
            let config =
                Config { spares, delay: Duration::from_millis(delay), ..Config::default() };
            let sums = replay(traffic, &config);
            rows(&sums, delay, mode, with, report);
            if notes && delay == DEFAULT_DELAY {
                report.notes.push(reasons(mode, &sums));
                report.notes.push(groups(mode, &sums));
            }
        }
    }
}

fn rows(sums: &Sums, delay: u64, mode: &str, with: &dyn Fn(Row) -> Row, report: &mut Report) {
    let row = |name, figure| {
        with(Row::new(name, figure, SOURCE).with("d-q-ms", delay)).with("mode", mode)
    };
    let saved = |less: u64, all: u64| 1.0 - less as f64 / all.max(1) as f64;
    report.rows.push(row(PACKETS, saved(sums.packets, sums.receivers)));
    let sender = saved(sums.octets, sums.separate);
    let ends = saved(sums.octets + sums.arriving, 2 * sums.separate);
    report.rows.push(row(BYTES, sender).with("link", "sender"));
    report.rows.push(row(BYTES, ends).with("link", "both-ends"));
    let delay = sums.delay as f64 / 1_000.0 / sums.may_wait.max(1) as f64;
    if mode != "marked" {
        report.rows.push(row(DELAY, delay));
    }
}

/// What the recorded traffic is.
fn contents(traffic: &Traffic) -> String {
    let all = || traffic.iter().flatten().map(|(_, send)| send);
    let receivers: usize = all().map(|send| send.to.len()).sum();
    let several = all().filter(|send| send.to.len() > 1).count();
    let share = |class| {
        let of_class = all().filter(|send| send.class == class).map(|send| send.to.len());
        100.0 * of_class.sum::<usize>() as f64 / receivers.max(1) as f64
    };
    format!(
        "Real traffic: {} s of a settled ring with groups on ts600, default timers, a lookup or (one in \
         ten) an insert a host every {} s, nobody fails: {} messages to {receivers} receivers, {several} \
         to several at once. Of the receivers {:.1} % are of messages that may wait, {:.1} % of \
         immediate ones, {:.1} % of ones repeated by unicast. Seals are as long as signatures.",
        RECORDED.as_secs(),
        ASKS_EVERY.as_secs(),
        all().count(),
        share(Class::Queued),
        share(Class::Immediate),
        share(Class::Repeated),
    )
}

/// Why messages joined none, and packets left.
fn reasons(mode: &str, sums: &Sums) -> String {
    let apart = Apart::ALL.iter().zip(sums.apart).map(|(reason, count)| (reason.name(), count));
    let left = Left::ALL.iter().zip(sums.left).map(|(reason, count)| (reason.name(), count));
    format!(
        "Real traffic, {mode}, d_q {DEFAULT_DELAY} ms: {} messages may wait, {} joined others; joined \
         none: {}; packets left: {}.",
        sums.may_wait,
        sums.joined,
        listed(apart),
        listed(left)
    )
}

fn listed<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let counts = counts.filter(|(_, count)| *count > 0);
    counts.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

fn groups(mode: &str, sums: &Sums) -> String {
    format!(
        "Multicast with groups in the network would have needed, {mode}: N_G {} groups of up to g_max \
         {} members, and {:.1} changes a second (groups formed, members brought in; none is there at \
         first).",
        sums.groups, sums.largest, sums.changes
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One host's messages, without delay and with plenty.
    fn sums(overlap: f64, delay: u64, mode: Mode) -> Sums {
        let delay = Duration::from_millis(delay);
        replay(&vec![made_up(overlap, 1)], &Config { mode, delay, ..Config::default() })
    }

    #[test]
    fn messages_without_anything_in_common_are_spared_nothing() {
        let sums = sums(0.0, 100, Mode::Queue);
        assert_eq!((sums.packets, sums.receivers), (MADE as u64, MADE as u64));
        assert_eq!((sums.octets, sums.arriving), (sums.separate, sums.separate));
        let each = HEADERS + envelope::OVERHEAD + MADE_LEN;
        assert_eq!(sums.separate, (MADE * each) as u64);
    }

    #[test]
    fn the_more_is_in_common_and_the_longer_it_waits_the_more_is_spared() {
        let packets = |overlap, delay| sums(overlap, delay, Mode::Queue).packets;
        assert!(packets(0.5, 20) < packets(0.0, 20));
        let waits = DELAYS.map(|delay| packets(1.0, delay));
        assert!(waits.is_sorted_by(|short, long| short > long), "{waits:?}");
        assert_eq!(sums(1.0, 100, Mode::Marked).packets, MADE as u64);
    }

    #[test]
    fn nobody_waits_longer_than_is_allowed_and_who_must_not_does_not() {
        let waiting = sums(1.0, 20, Mode::Queue);
        assert_eq!(waiting.may_wait, MADE as u64);
        assert!(waiting.delay > 0 && waiting.delay <= 20_000 * MADE as u64);
        assert_eq!(sums(1.0, 0, Mode::Queue).delay, 0);
    }

    #[test]
    fn a_message_that_is_repeated_is_a_packet_to_each_receiver() {
        let peers = made_up(1.0, 1);
        let to: Vec<Endpoint> = peers.iter().take(3).map(|(_, send)| send.to[0]).collect();
        let shared = vec![1; 10];
        let (protocol, parts, class) = (Protocol::Ring, Vec::new(), Class::Repeated);
        let send = Send { to, protocol, shared, parts, class };
        let sums = replay(&vec![vec![(Time(5), send)]], &Config::default());
        assert_eq!((sums.packets, sums.receivers), (3, 3));
        assert_eq!(sums.octets, 3 * (HEADERS + envelope::OVERHEAD + 10) as u64);
    }

    #[test]
    fn real_traffic_is_spared_packets_by_marks_and_waiting_costs_none() {
        let options = Options { nodes: Some(60), seed: 2, ..Options::default() };
        let (traffic, _) = record(60, &options, &ProgressBar::hidden());
        let marked = Config { mode: Mode::Marked, ..Config::default() };
        let (marked, waiting) = (replay(&traffic, &marked), replay(&traffic, &Config::default()));
        assert_eq!(marked.receivers, waiting.receivers);
        assert_eq!(marked.separate, waiting.separate);
        assert!(marked.packets < marked.receivers / 2);
        // What could be combined, the machines mark: hardly anything is left for the queue.
        assert!(waiting.packets <= marked.packets, "{} {}", waiting.packets, marked.packets);
        assert!(waiting.octets < waiting.separate, "{} {}", waiting.octets, waiting.separate);
    }
}

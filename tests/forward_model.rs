//! Rib, Fib and packet path together against a slow, obvious model, over random nodes and packets
//! of both families: the same copies to the last bit, the same drops and notices, and the
//! conservation law. A failing case prints its seed; `XCAST_TEST_SEED=N` runs that one alone,
//! `XCAST_TEST_CASES=N` more.

#![allow(clippy::unwrap_used)]

mod model;

use std::collections::BTreeSet;

use model::{Form, Message, Node, Outcome, kernel, observe, random};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xcast::forward::{Counters, LINK_HEADER_LEN, Output, Packet, Time, process};

const PACKETS_A_NODE: u64 = 20;

fn check(seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let node = random::node(&mut rng);
    let fib = kernel::rib(&node, &mut rng).compile();
    let mut out = Output::new(&fib);
    for number in 0..PACKETS_A_NODE {
        let message = random::message(&node, &mut rng);
        // With and without room in front of the packet; padding of the link behind it.
        let start = [0, LINK_HEADER_LEN, LINK_HEADER_LEN, 18][rng.random_range(0..4)];
        let padding = rng.random_range(0..3) * 10;
        // Far enough apart for all notices.
        let now = Time(number * 2_000_000);
        let context = Context { seed, node: &node, message: &message };
        let (outcome, counters) =
            observe::run(&fib, &node, &message, (start, padding), now, &mut out);
        check_counters(&outcome, &counters, &message);
        let choices = node.all_choices(&message);
        let mut allowed = choices.iter().map(|choices| node.forward(&message, choices));
        if !allowed.any(|expected| outcome == expected) {
            context.explain(&outcome, &node.forward(&message, &choices[0]));
        }
    }
}

/// Prints what failed, also where an assertion deeper down did.
struct Context<'a> {
    seed: u64,
    node: &'a Node,
    message: &'a Message,
}

impl Context<'_> {
    fn explain(&self, outcome: &Outcome, expected: &Outcome) {
        assert_eq!(outcome.drops, expected.drops);
        assert_eq!(outcome.copies.len(), expected.copies.len());
        for (copy, expected) in outcome.copies.iter().zip(&expected.copies) {
            assert_eq!(copy, expected);
        }
        assert_eq!(outcome, expected);
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("XCAST_TEST_SEED={}\n{:#?}\n{:#?}", self.seed, self.node, self.message);
        }
    }
}

/// The conservation law, and that counters say what happened.
fn check_counters(outcome: &Outcome, counters: &Counters, message: &Message) {
    let accounted = counters.destinations_forwarded
        + counters.destinations_delivered
        + counters.destinations_pending
        + counters.destinations_dropped();
    assert_eq!(counters.destinations_received, accounted, "conservation");
    let is_forwarded = !outcome.copies.is_empty() || outcome.seen_here > 0;
    let ends = (counters.packets_forwarded, counters.packets_dropped);
    assert_eq!(ends, (u64::from(is_forwarded), u64::from(!is_forwarded)));
    let sent = |form: Form| {
        let each = outcome.copies.iter().filter(|copy| copy.resolved && copy.to.is_some());
        each.filter(|copy| copy.form == form).count() as u64
    };
    assert_eq!(counters.unicast_conversions, sent(Form::Unicast));
    assert_eq!(counters.premature_unicast_conversions, sent(Form::Premature));
    let whole = sent(Form::Xcast) + sent(Form::Unicast) + sent(Form::Premature);
    let in_fragments = outcome.copies.iter().any(|copy| copy.in_fragments);
    assert!(counters.replicas_sent == whole || in_fragments && counters.replicas_sent > whole);
    let of_ports = counters.ports.iter();
    let of_ports = of_ports.map(|port| port.replicas_sent_xcast + port.replicas_sent_unicast);
    assert_eq!(counters.replicas_sent, of_ports.sum::<u64>());
    assert_eq!(counters.packets_received, 1);
    if outcome.received > 0 {
        assert_eq!(counters.bytes_received, message.packet().len() as u64);
    }
}

#[test]
fn every_copy_and_every_drop_is_the_models() {
    if let Ok(seed) = std::env::var("XCAST_TEST_SEED") {
        return check(seed.parse().expect("a seed is a number"));
    }
    let cases = std::env::var("XCAST_TEST_CASES").map_or(500, |n| n.parse().expect("a number"));
    (0..cases).for_each(check);
}

/// What a packet of the model comes to, in words.
fn traits(node: &Node, message: &Message) -> Vec<String> {
    let outcome = node.forward(message, &node.all_choices(message)[0]);
    let mut words: Vec<String> = outcome.drops.keys().map(|reason| (*reason).to_owned()).collect();
    for copy in &outcome.copies {
        words.push(format!("{:?}", copy.form));
        if copy.to.is_none() {
            words.push("delivered".to_owned());
        }
        if copy.in_fragments {
            words.push("fragments".to_owned());
        }
        if copy.form == Form::Xcast && copy.packet.len() < message.packet().len() {
            words.push("compact".to_owned());
        }
        if !copy.resolved {
            words.push("unresolved".to_owned());
        }
    }
    if outcome.seen_here > 0 {
        words.push("seen-here".to_owned());
    }
    let kinds = outcome.notices.iter().map(|kind| kind.split(' ').next().unwrap());
    words.extend(kinds.map(|kind| format!("notice {kind}")));
    words
}

#[test]
fn the_random_cases_reach_every_rule() {
    let mut reached: [BTreeSet<String>; 2] = Default::default();
    for seed in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let node = random::node(&mut rng);
        for _ in 0..PACKETS_A_NODE {
            let message = random::message(&node, &mut rng);
            reached[usize::from(message.is_v6())].extend(traits(&node, &message));
        }
    }
    let both = "source no-live-destination not-for-this-router reverse-path source-not-allowed \
                icmp-echo ttl-expired bad-destination destination-not-allowed no-route route-drop \
                incapable-with-x x2u-impossible port-down too-big Xcast Unicast Premature delivered \
                compact unresolved seen-here";
    let notices = ["time-exceeded", "no-route", "too-big", "trace"].map(|n| format!("notice {n}"));
    let mut expected = BTreeSet::from_iter(both.split_whitespace().map(str::to_owned));
    expected.extend(notices);
    assert_eq!(reached[1], expected, "IPv6");
    expected.insert("fragments".to_owned());
    assert_eq!(reached[0], expected, "IPv4");
}

#[test]
fn no_bytes_make_the_packet_path_panic_or_lose_a_destination() {
    for seed in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let node = random::node(&mut rng);
        let fib = kernel::rib(&node, &mut rng).compile();
        let mut out = Output::new(&fib);
        for _ in 0..100 {
            let start = LINK_HEADER_LEN.min(rng.random_range(0..20));
            let mut buffer = vec![0; start];
            buffer.extend(random::message(&node, &mut rng).packet());
            spoil(&mut buffer, start, &mut rng);
            let port = rng.random_bool(0.9).then(|| rng.random_range(0..6));
            let to_group = rng.random_bool(0.1);
            let packet = Packet { buffer: &mut buffer, start, port, to_group, index: 0 };
            process(&fib, packet, Time(0), &mut out);
            for replica in out.replicas().to_vec() {
                let (head, tail) = out.pieces(&replica, &buffer);
                assert!(head.len() + tail.len() >= LINK_HEADER_LEN + 20, "seed {seed}");
                out.counters.sent(&replica);
            }
            out.clear();
            let counters = &out.counters;
            let accounted = counters.destinations_forwarded
                + counters.destinations_delivered
                + counters.destinations_dropped();
            assert_eq!(counters.destinations_received, accounted, "seed {seed}");
            let ends = counters.packets_forwarded + counters.packets_dropped;
            assert_eq!(counters.packets_received, ends, "seed {seed}");
        }
    }
}

/// A few wrong octets, mostly in the headers, and sometimes an end cut off.
fn spoil(buffer: &mut Vec<u8>, start: usize, rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(start..buffer.len().min(start + 100));
        buffer[at] = rng.random();
    }
    if rng.random_bool(0.2) {
        buffer.truncate(rng.random_range(0..buffer.len()));
    }
    // Most would end at a checksum or a length; with right ones they get further.
    if rng.random_bool(0.9)
        && let Some(ip) = buffer.get_mut(start..)
    {
        repair(ip);
    }
}

/// Makes lengths and checksums of the headers right, as far as there are headers.
fn repair(ip: &mut [u8]) {
    let length = ip.len() as u16;
    match ip.first().map(|octet| octet >> 4) {
        Some(4) if ip.len() >= 60 => {
            ip[2..4].copy_from_slice(&length.to_be_bytes());
            let header_len = usize::from(ip[0] & 0xf) * 4;
            let (header, xcast) = ip.split_at_mut(header_len);
            repair_checksum(header, header_len, 10);
            let xcast_len = xcast.get(9).map_or(0, |words| usize::from(*words) * 4);
            repair_checksum(xcast, xcast_len, 2);
        }
        Some(6) if ip.len() >= 60 => {
            ip[4..6].copy_from_slice(&(length - 40).to_be_bytes());
            let hop_by_hop = (usize::from(ip[41]) + 1) * 8;
            let at = if ip[6] == 0 { 40 + hop_by_hop } else { 40 };
            let Some(xcast) = ip.get_mut(at..) else { return };
            let xcast_len = xcast.get(1).map_or(0, |octets| (usize::from(*octets) + 1) * 8);
            repair_checksum(xcast, xcast_len, 6);
        }
        _ => {}
    }
}

fn repair_checksum(bytes: &mut [u8], length: usize, field: usize) {
    if let Some(header) = bytes.get_mut(..length).filter(|header| header.len() >= 12) {
        header[field..field + 2].fill(0);
        let check = model::checksum(header);
        header[field..field + 2].copy_from_slice(&check);
    }
}

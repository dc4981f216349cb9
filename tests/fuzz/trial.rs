//! One input through one router, and everything that must hold of what comes out.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use xcast::fib::{Fib, PortId};
use xcast::forward::{
    Counters, DropReason, Form, LINK_HEADER_LEN, NoticeKind, Output, Packet, Replica, Target, Time,
    inspect, process,
};
use xcast::wire::xcast4::DESTINATIONS_MAX;

use super::fates::check_reasons;
use super::nodes::Node;
use super::octets::{from_hex, to_hex};
use super::oracle::{Arrived, check_replicas};
use super::reading::{Reading, read};
use super::tally::{Tally, family};

/// The most replicas that an output has room for.
const REPLICAS_MAX: usize = 16 * DESTINATIONS_MAX;

/// A packet as it arrives.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) buffer: Vec<u8>,
    pub(crate) start: usize,
    pub(crate) port: Option<PortId>,
    pub(crate) to_group: bool,
    /// How many replicas the output still has room for, if it is crowded.
    pub(crate) room: Option<usize>,
}

impl Input {
    /// A packet in a buffer of its own.
    pub(crate) fn of(packet: &[u8], port: Option<PortId>) -> Input {
        let buffer = [&[0; LINK_HEADER_LEN], packet].concat();
        Input { buffer, start: LINK_HEADER_LEN, port, to_group: false, room: None }
    }

    pub(crate) fn packet(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

/// Says what was going on if a test fails, as a file for the corpus.
struct Witness<'a>(&'a str, &'a Input);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Input { start, port, to_group, room, .. } = self.1;
            let comments = [
                format!("node {:?}, port {port:?}, octet {start} of a buffer", self.0),
                format!("to group: {to_group}, room: {room:?}"),
            ];
            eprintln!("{}", to_hex(&comments, self.1.packet()));
        }
    }
}

/// Runs an input through a router, and its Xcast copies through the next one.
pub(crate) fn run(
    node: &mut Node,
    next: &mut Node,
    input: &Input,
    now: Time,
    rng: &mut ChaCha8Rng,
    tally: &mut Tally,
) {
    let _witness = Witness(node.name, input);
    let Node { fib, out, .. } = node;
    if let Some(room) = input.room {
        crowd(fib, out, room);
    }
    let before = (out.counters.clone(), out.replicas().len(), out.notices.list().len());
    let packet = input.packet();
    let expected = read(fib, input.port, packet);
    compare_inspection(fib, input, &expected);
    let mut buffer = input.buffer.clone();
    let Input { start, port, to_group, .. } = *input;
    let packet_in = Packet { buffer: &mut buffer, start, port, to_group, index: 7 };
    process(fib, packet_in, now, out);
    let family = family(packet);
    tally.inputs += 1;
    let unread = [DropReason::IpHeader, DropReason::Fragment, DropReason::Source];
    let malformed = [DropReason::Version, DropReason::Length, DropReason::Checksum];
    let passed = !expected.as_ref().is_err_and(|r| unread.contains(r) || malformed.contains(r));
    tally.passed_checksum += u64::from(passed);
    match &expected {
        Err(reason) => check_refused(*reason, &before.0, out, before.1),
        Ok(reading) => {
            let arrived = Arrived { fib, input, packet, reading };
            let replicas = out.replicas()[before.1..].to_vec();
            check_bounds(input, reading, &buffer);
            check_destinations(&arrived, &before.0, out, &replicas, tally);
            check_replicas(&arrived, out, &replicas, &buffer, next, tally);
            check_notices(&arrived, out, before.2, tally);
            hand_over(rng, out, &replicas);
        }
    }
    assert!(out.replicas().len() <= REPLICAS_MAX, "{} replicas", out.replicas().len());
    check_identity(&before.0, &out.counters);
    tally.count(family, &before.0, &out.counters);
    out.clear();
}

/// Fills the output but for the room of some replicas, with packets of this node's own to hosts on
/// its link.
fn crowd(fib: &Fib, out: &mut Output, room: usize) {
    let mut needed = REPLICAS_MAX.saturating_sub(room);
    while needed > 0 {
        let count = needed.min(DESTINATIONS_MAX);
        let mut buffer = vec![0; LINK_HEADER_LEN];
        buffer.extend(filler(count));
        let start = LINK_HEADER_LEN;
        let buffer = &mut buffer[..];
        let packet = Packet { buffer, start, port: None, to_group: false, index: 0 };
        let before = out.replicas().len();
        process(fib, packet, Time(0), out);
        assert_eq!(out.replicas().len(), before + count, "a filler has a copy for each host");
        needed -= count;
    }
}

/// Of this node, to hosts on the link of port 0 that it has not heard of.
fn filler(count: usize) -> Vec<u8> {
    use super::octets::{mend, put};
    let mut xcast = from_hex("10 00 00 00 00 00 00 00 84 00 00 00");
    let bitmap = (u128::MAX << (128 - count)).to_be_bytes();
    xcast.extend(&bitmap[..count.div_ceil(32) * 4]);
    (0..count).for_each(|host| xcast.extend([10, 0, 0, 6 + host as u8]));
    (xcast[1], xcast[9]) = (count as u8, (xcast.len() / 4) as u8);
    mend(&mut xcast, 2);
    let mut packet = from_hex("45 00 00 00 00 00 40 00 40 fd 00 00 0a 00 00 01 e0 00 00 fe");
    put(&mut packet, 2, (20 + xcast.len()) as u16);
    mend(&mut packet, 10);
    packet.extend(xcast);
    packet
}

/// The validation for receivers agrees with the slow one too.
fn compare_inspection(fib: &Fib, input: &Input, expected: &Result<Reading, DropReason>) {
    let mut bytes = input.packet().to_vec();
    let original = bytes.clone();
    match (inspect(fib, &mut bytes, input.port), expected) {
        (Ok(inspected), Ok(reading)) => {
            let indices = reading.indices(reading.live).into_iter();
            let listed = |at| (reading.destination(&original, at), reading.port(&original, at));
            assert_eq!(inspected.live, indices.map(listed).collect::<Vec<_>>());
            assert_eq!(inspected.source, reading.source(&original));
            assert_eq!(inspected.transport, &original[reading.transport..reading.len]);
            assert_eq!(inspected.protocol, reading.protocol);
        }
        (Err(reason), Err(expected)) => assert_eq!(reason, *expected),
        (found, expected) => panic!("{found:?}, expected {expected:?}"),
    }
}

/// A packet that cannot be trusted is counted once under its reason, and nothing else happens.
fn check_refused(expected: DropReason, before: &Counters, out: &Output, replicas: usize) {
    assert!(expected.counts_packets());
    let mut drops = before.drops;
    drops[expected as usize] += 1;
    let name = |drops: [u64; DropReason::COUNT]| {
        let each = DropReason::ALL.iter().zip(drops).zip(before.drops);
        each.filter(|((_, now), before)| now > before).map(|((r, _), _)| r.name()).next()
    };
    assert_eq!(name(out.counters.drops), Some(expected.name()));
    assert_eq!(out.counters.drops, drops);
    assert_eq!(out.counters.packets_dropped, before.packets_dropped + 1);
    assert_eq!(out.counters.packets_received, before.packets_received + 1);
    assert_eq!(out.counters.destinations_received, before.destinations_received);
    assert_eq!(out.replicas().len(), replicas);
}

/// What lies around the frame stays as it was.
fn check_bounds(input: &Input, reading: &Reading, buffer: &[u8]) {
    let (front, end) = (input.start.saturating_sub(LINK_HEADER_LEN), input.start + reading.len);
    assert_eq!(buffer[..front], input.buffer[..front], "in front of the frame");
    assert_eq!(buffer[end..], input.buffer[end..], "behind the packet");
}

/// Every destination is in exactly one copy or under exactly one reason, or was delivered in place.
fn check_destinations(
    arrived: &Arrived<'_>,
    before: &Counters,
    out: &Output,
    replicas: &[Replica],
    tally: &mut Tally,
) {
    let (counters, live) = (&out.counters, arrived.reading.live);
    let family = family(arrived.packet);
    if let Some(is_returned) = arrived.probe() {
        assert_eq!(counters.packets_received, before.packets_received, "a probe is no traffic");
        assert_eq!(counters.probes_returned - before.probes_returned, u64::from(is_returned));
        let refused = counters.probes_refused - before.probes_refused;
        assert_eq!(replicas.len() as u64 + refused, u64::from(!is_returned));
        assert!(replicas.iter().all(|answer| answer.form == Form::Probe && answer.live == live));
        if is_returned {
            tally.form("probe returned", family);
        } else if refused > 0 {
            tally.form("probe refused", family);
        }
        return;
    }
    assert_eq!(counters.packets_received, before.packets_received + 1);
    let ends = counters.packets_forwarded + counters.packets_dropped;
    assert_eq!(ends, before.packets_forwarded + before.packets_dropped + 1);
    let received = counters.destinations_received - before.destinations_received;
    assert_eq!(received, u64::from(live.count_ones()));
    let mut seen = 0;
    for (name, bits) in replicas
        .iter()
        .map(|replica| ("a copy", replica.live))
        .chain(out.dropped().map(|(reason, bits)| (reason.name(), bits)))
    {
        assert_eq!(seen & bits, 0, "{name}: counted twice");
        assert_eq!(bits & !live, 0, "{name}: not live");
        seen |= bits;
    }
    for (reason, bits) in out.dropped() {
        let counted = counters.drops[reason as usize] - before.drops[reason as usize];
        assert_eq!(counted, u64::from(bits.count_ones()), "{}", reason.name());
        assert!(!reason.counts_packets());
        if reason == DropReason::TransmitFailed {
            tally.form("no room for a copy", family);
        }
    }
    check_reasons(arrived, out);
    let in_place = live & !seen;
    let delivered = counters.destinations_delivered - before.destinations_delivered;
    assert_eq!(delivered, u64::from(in_place.count_ones()), "nowhere: {in_place:#034x}");
    if in_place != 0 {
        assert!(arrived.reading.keeps_xcast() && arrived.input.port.is_some());
        tally.form("delivered in place", family);
    }
    for index in arrived.reading.indices(in_place) {
        assert!(arrived.is_own(index), "destination {index} is not this node");
    }
}

/// Notices are about this packet, for its source, and for a reason that was found.
fn check_notices(arrived: &Arrived<'_>, out: &Output, before: usize, tally: &mut Tally) {
    for notice in &out.notices.list()[before..] {
        assert_eq!(Some(notice.port), arrived.input.port);
        assert_eq!(notice.to, arrived.reading.source(arrived.packet));
        let quoted = out.notices.packet(notice);
        assert!(!quoted.is_empty() && arrived.packet[..arrived.reading.len].starts_with(quoted));
        let reason = match notice.kind {
            NoticeKind::TimeExceeded | NoticeKind::Trace => DropReason::TtlExpired,
            NoticeKind::NoRoute => DropReason::NoRoute,
            NoticeKind::TooBig(mtu) => {
                assert!((mtu as usize) < arrived.reading.len, "{mtu} octets are enough");
                DropReason::TooBig
            }
        };
        assert!(out.dropped().any(|(found, _)| found == reason), "{notice:?}");
        tally.form("notice", family(arrived.packet));
    }
    assert!(out.notices.list().len() <= 64);
}

/// The caller's part: each replica is sent, fails, waits, or has waited.
fn hand_over(rng: &mut ChaCha8Rng, out: &mut Output, replicas: &[Replica]) {
    for replica in replicas {
        let waits = matches!(replica.target, Target::Neighbor { .. });
        match rng.random_range(0..8) {
            0 => out.counters.failed(replica, DropReason::TransmitFailed),
            1 if waits => out.counters.held(replica),
            2 if waits => out.counters.failed(replica, DropReason::NeighborUnresolved),
            3 if waits => {
                out.counters.held(replica);
                out.counters.released(replica);
                out.counters.sent(replica);
            }
            _ => out.counters.sent(replica),
        }
    }
}

fn check_identity(before: &Counters, after: &Counters) {
    let balance = |counters: &Counters| {
        let accounted = counters.destinations_forwarded
            + counters.destinations_delivered
            + counters.destinations_dropped()
            + counters.destinations_pending;
        counters.destinations_received as i128 - accounted as i128
    };
    assert_eq!(balance(before), balance(after), "destinations received are accounted for");
}

//! Probes (R9): answered by the ordinary rules, and no traffic.

use super::*;
use crate::wire::probe;

/// The neighbor of port 3, and another node of the same link whose link-layer address is unknown.
const NEIGHBORS: [IpAddr; 4] = [
    IpAddr::V4(HOST),
    IpAddr::V6(HOST_V6),
    IpAddr::V4(Ipv4Addr::new(10, 0, 3, 99)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99)),
];
const PORT: PortId = 3;
/// This node's own addresses on that link.
const OWNS: [IpAddr; 3] = [IpAddr::V4(OWN), IpAddr::V6(OWN_V6), IpAddr::V6(OWN_LOCAL)];

fn from(fib: &Fib, neighbor: IpAddr, nonce: &[u8; probe::NONCE_LEN]) -> Vec<u8> {
    probe::packet(fib.code_points(), neighbor, nonce)
}

/// What is heard, the answers, and the counters once these are sent.
fn hear(fib: &Fib, bytes: &[u8], port: PortId) -> (Vec<Heard>, Vec<Vec<u8>>, Counters) {
    let mut out = Output::new(fib);
    let mut buffer = [&[0; LINK_HEADER_LEN], bytes].concat();
    let (start, port) = (LINK_HEADER_LEN, Some(port));
    let packet = Packet { buffer: &mut buffer, start, port, to_group: false, index: 0 };
    process(fib, packet, NOW, &mut out);
    let mut answers = Vec::new();
    for replica in out.replicas().to_vec() {
        let (head, tail) = out.pieces(&replica, &buffer);
        answers.push([&head[LINK_HEADER_LEN..], tail].concat());
        out.counters.sent(&replica);
    }
    (out.take_heard().collect(), answers, out.counters)
}

/// Counters in which nothing happened but probes that were answered, refused and returned.
fn only_probes(fib: &Fib, [answered, refused, returned]: [u64; 3]) -> Counters {
    Counters {
        probes_answered: answered,
        probes_refused: refused,
        probes_returned: returned,
        ..Output::new(fib).counters
    }
}

#[test]
fn a_neighbors_probe_goes_back_to_it() {
    let strict = Table {
        sources: &["99.0.0.0/8"],
        destinations: &["99.0.0.0/8"],
        destinations_per_second: 1,
        ..TABLE
    };
    // Lists and budgets do not concern probes, nor does whether the neighbor speaks Xcast.
    for table in [TABLE, strict, Table { capable: false, ..TABLE }] {
        let fib = table.fib();
        for neighbor in NEIGHBORS {
            let probe = from(&fib, neighbor, b"0123456789abcdef");
            let (heard, answers, counters) = hear(&fib, &probe, PORT);
            assert_eq!(heard, [Heard::Asked { port: PORT, neighbor }]);
            // The same packet with its TTL lowered.
            let mut expected = probe.clone();
            match neighbor {
                IpAddr::V4(_) => ipv4::set_ttl(&mut expected, probe[8] - 1),
                IpAddr::V6(_) => ipv6::decrement_hop_limit(&mut expected),
            }
            assert_eq!(answers, [expected]);
            assert_eq!(counters, only_probes(&fib, [1, 0, 0]));
        }
    }
}

#[test]
fn a_probe_at_the_end_of_its_ttl_goes_nowhere() {
    let fib = TABLE.fib();
    for neighbor in NEIGHBORS {
        let mut probe = from(&fib, neighbor, b"0123456789abcdef");
        match neighbor {
            IpAddr::V4(_) => {
                let ttl = probe[8] - 1;
                ipv4::set_ttl(&mut probe, ttl);
            }
            IpAddr::V6(_) => ipv6::decrement_hop_limit(&mut probe),
        }
        let (_, answers, counters) = hear(&fib, &probe, PORT);
        assert!(answers.is_empty());
        assert_eq!(counters, only_probes(&fib, [0, 1, 0]));
    }
}

#[test]
fn an_own_probe_that_comes_back_is_heard_and_ends() {
    let fib = TABLE.fib();
    for own in OWNS {
        let nonce = probe::make_nonce(7, SECRET);
        let (heard, answers, counters) = hear(&fib, &from(&fib, own, &nonce), PORT);
        assert_eq!(heard, [Heard::Returned { port: PORT, nonce }]);
        assert!(answers.is_empty(), "it is never delivered");
        assert_eq!(counters, only_probes(&fib, [0, 0, 1]));
    }
}

#[test]
fn a_forged_answer_falls_to_the_reverse_path() {
    let fib = TABLE.fib();
    for own in OWNS {
        let nonce = probe::make_nonce(7, SECRET + 1);
        let (heard, answers, counters) = hear(&fib, &from(&fib, own, &nonce), PORT);
        assert_eq!((heard.len(), answers.len()), (0, 0));
        assert_eq!(counters.drops[DropReason::ReversePath as usize], 1);
        assert_eq!(counters.destinations_received, 1);
    }
}

#[test]
fn what_is_not_quite_a_probe_is_a_packet_like_any_other() {
    let fib = TABLE.fib();
    let probe = from(&fib, HOST.into(), b"0123456789abcdef");
    let edit = |change: fn(&mut Vec<u8>)| {
        let mut bytes = probe.clone();
        change(&mut bytes);
        bytes[3] = bytes.len() as u8;
        repair(&mut bytes, 20);
        bytes
    };
    for (what, bytes) in [
        ("X clear", edit(|bytes| bytes[20] = 0x10)),
        ("another destination", edit(|bytes| bytes[39] = 8)),
        ("a source port", edit(|bytes| bytes[41] = 1)),
        ("a destination port", edit(|bytes| bytes[43] = 1)),
        ("a longer payload", edit(|bytes| bytes.push(0))),
        ("another protocol", edit(|bytes| bytes[28] = 99)),
    ] {
        let (heard, answers, counters) = hear(&fib, &bytes, PORT);
        assert_eq!((heard.len(), answers.len()), (0, 1), "{what}");
        assert_eq!((counters.destinations_forwarded, counters.probes_answered), (1, 0), "{what}");
    }
    // On another port than its source's, and from behind a gateway.
    for neighbor in NEIGHBORS.into_iter().filter(|neighbor| !is_link_local(*neighbor)) {
        let (heard, _, counters) = hear(&fib, &from(&fib, neighbor, b"0123456789abcdef"), 0);
        assert_eq!((heard.len(), counters.drops[DropReason::ReversePath as usize]), (0, 1));
    }
    let (heard, answers, counters) = hear(&fib, &from(&fib, B.into(), b"0123456789abcdef"), 1);
    assert_eq!((heard.len(), answers.len(), counters.destinations_forwarded), (0, 1, 1));
}

#[test]
fn a_probe_for_another_group_is_not_heard() {
    let fib = TABLE.fib();
    let mut probe = from(&fib, HOST.into(), b"0123456789abcdef");
    probe[19] = 1;
    ipv4::fill_checksum(&mut probe, 20);
    let (heard, answers, counters) = hear(&fib, &probe, PORT);
    assert_eq!((heard.len(), answers.len()), (0, 0));
    assert_eq!(counters, only_probes(&fib, [0, 1, 0]));
}

#[test]
fn answers_that_find_no_room_spoil_no_count() {
    let fib = TABLE.fib();
    let mut out = Output::new(&fib);
    let probe = from(&fib, HOST.into(), b"0123456789abcdef");
    // Without room in front an answer needs a head of its own.
    while {
        let before = out.replicas().len();
        let mut buffer = probe.clone();
        let packet =
            Packet { buffer: &mut buffer, start: 0, port: Some(PORT), to_group: false, index: 0 };
        process(&fib, packet, NOW, &mut out);
        out.replicas().len() > before
    } {}
    let refused = out.counters.probes_refused;
    assert_eq!(out.counters, only_probes(&fib, [0, refused, 0]));
}

//! What sources are told (R12), and the samples that are kept of what is dropped.

use super::*;
use crate::wire::trace;

/// Processes packets one after another, all in one batch.
fn noticed(fib: &Fib, out: &mut Output, bytes: &[u8], port: Option<PortId>, now: Time) {
    let mut buffer = [&[0; LINK_HEADER_LEN], bytes].concat();
    let start = LINK_HEADER_LEN;
    process(fib, Packet { buffer: &mut buffer, start, port, to_group: false, index: 0 }, now, out);
}

fn kinds(fib: &Fib, bytes: &[u8], port: Option<PortId>) -> Vec<NoticeKind> {
    let mut out = Output::new(fib);
    noticed(fib, &mut out, bytes, port, NOW);
    out.notices.list().iter().map(|notice| notice.kind).collect()
}

const NOWHERE: Ipv4Addr = Ipv4Addr::new(99, 0, 0, 1);
const NOWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2a00, 0, 0, 0, 0, 0, 0, 1);

/// The same packet in both families.
fn pair(ttl: u8) -> [Vec<u8>; 2] {
    [packet(to(&[B, C, D]), ttl), packet_v6(to_v6(&[B_V6, C_V6, D_V6]), ttl)]
}

#[test]
fn a_source_is_told_once_for_a_packet_and_kind() {
    let fib = Table { mtu: 60, ..TABLE }.fib();
    for ttl in [0, 1] {
        for bytes in pair(ttl) {
            assert_eq!(kinds(&fib, &bytes, Some(0)), [NoticeKind::TimeExceeded]);
        }
    }
    let expected = [NoticeKind::NoRoute, NoticeKind::TooBig(60)];
    let v4 = packet(to(&[NOWHERE, B, C, NOWHERE]), 64);
    assert_eq!(kinds(&fib, &v4, Some(0)), expected);
    let v6 = packet_v6(to_v6(&[NOWHERE_V6, B_V6, C_V6, NOWHERE_V6, D_V6]), 64);
    assert_eq!(kinds(&fib, &v6, Some(0)), expected);
    assert_eq!(kinds(&fib, &packet(to(&[D, HOST, OWN]), 64), Some(0)), []);
}

#[test]
fn the_notice_names_the_source_and_quotes_the_packet_as_it_came() {
    let fib = TABLE.fib();
    for (bytes, source) in pair(1).iter().zip([IpAddr::V4(SOURCE), SOURCE_V6.into()]) {
        let mut out = Output::new(&fib);
        // Octets behind the IP packet are the link's padding.
        noticed(&fib, &mut out, &[bytes, &[0xee; 9][..]].concat(), Some(0), NOW);
        let notice = out.notices.list()[0];
        assert_eq!((notice.to, notice.port), (source, 0));
        assert_eq!(out.notices.packet(&notice), bytes);
        out.clear();
        assert!(out.notices.list().is_empty());
    }
    // Also where the last copy was made in the same buffer.
    let bytes = packet(to(&[NOWHERE, B]), 64);
    let mut out = Output::new(&fib);
    noticed(&fib, &mut out, &bytes, Some(0), NOW);
    assert_eq!(out.replicas().len(), 1);
    assert_eq!(out.notices.packet(&out.notices.list()[0]), bytes);
    let sample = out.samples.all().remove(0);
    assert_eq!(
        (sample.reason, &sample.frame[LINK_HEADER_LEN..]),
        (DropReason::NoRoute, &bytes[..])
    );
}

#[test]
fn malformed_and_refused_packets_are_not_answered() {
    let fib = TABLE.fib();
    for bytes in pair(1) {
        let mut wrong = bytes.clone();
        let check = if bytes[0] >> 4 == 4 { 22 } else { 46 };
        wrong[check] ^= 1;
        assert_eq!(kinds(&fib, &wrong, Some(0)), [], "a wrong checksum");
        assert_eq!(kinds(&fib, &bytes, Some(1)), [], "the wrong port for its source");
        assert_eq!(kinds(&fib, &bytes, None), [], "this node's own");
        let mut elsewhere = bytes.clone();
        let destination = if bytes[0] >> 4 == 4 { 19 } else { 39 };
        elsewhere[destination] ^= 1;
        if bytes[0] >> 4 == 4 {
            ipv4::fill_checksum(&mut elsewhere, 20);
        }
        assert_eq!(kinds(&fib, &elsewhere, Some(0)), [], "another group");
        let others = Table { sources: &["99.0.0.0/8", "2a00::/8"], ..TABLE }.fib();
        assert_eq!(kinds(&others, &bytes, Some(0)), [], "not allowed to send");
    }
    let refuses = Table { destinations: &["99.0.0.0/8", "2a00::/8"], ..TABLE }.fib();
    for bytes in pair(64) {
        assert_eq!(kinds(&refuses, &bytes, Some(0)), [], "not allowed to be reached");
    }
    let dropped =
        [packet(to(&[Ipv4Addr::new(10, 9, 0, 1)]), 64), packet_v6(to_v6(&[v6(9, 1)]), 64)];
    for bytes in dropped {
        assert_eq!(kinds(&fib, &bytes, Some(0)), [], "a route that says drop");
    }
}

#[test]
fn icmp_errors_are_not_answered_by_errors() {
    let fib = TABLE.fib();
    let told = |is_v6: bool, icmp: &[u8]| {
        let mut bytes = pair(1)[usize::from(is_v6)].clone();
        let transport = bytes.len() - 13;
        bytes.truncate(transport);
        bytes.extend(icmp);
        let (at, number) = if is_v6 { (40, 58) } else { (28, 1) };
        bytes[at] = number;
        match is_v6 {
            true => {
                bytes[5] = (bytes.len() - 40) as u8;
                bytes[46..48].fill(0);
                let check = checksum(&bytes[40..transport]);
                bytes[46..48].copy_from_slice(&check.to_be_bytes());
            }
            false => {
                bytes[3] = bytes.len() as u8;
                repair(&mut bytes, 28);
            }
        }
        kinds(&fib, &bytes, Some(0)) == [NoticeKind::TimeExceeded]
    };
    for kind in [3, 4, 5, 11, 12] {
        assert!(!told(false, &[kind, 0, 0, 0, 0, 0, 0, 0]), "ICMP {kind}");
    }
    assert!(told(false, &[0, 0, 0, 0, 0, 0, 0, 0]) && told(false, &[13; 8]));
    for kind in [1, 2, 3, 4, 127] {
        assert!(!told(true, &[kind, 0, 0, 0, 0, 0, 0, 0]), "ICMPv6 {kind}");
    }
    assert!(told(true, &[129; 8]) && told(true, &[200; 8]));
    assert!(!told(false, &[]) && !told(true, &[]), "it could be any");
}

#[test]
fn a_source_to_which_no_way_leads_is_not_told() {
    let fib = Table { reverse_path: ReversePath::Off, ..TABLE }.fib();
    let mut v4 = packet(to(&[B, C]), 1);
    v4[12..16].copy_from_slice(&NOWHERE.octets());
    ipv4::fill_checksum(&mut v4, 20);
    let mut v6 = packet_v6(to_v6(&[B_V6, C_V6]), 1);
    v6[8..24].copy_from_slice(&NOWHERE_V6.octets());
    for bytes in [&v4, &v6] {
        assert_eq!(reasons(&fib, bytes, false), [("ttl-expired", 2)]);
        assert_eq!(kinds(&fib, bytes, Some(0)), []);
    }
    let mut own = packet(to(&[B, C]), 1);
    own[12..16].copy_from_slice(&OWN.octets());
    ipv4::fill_checksum(&mut own, 20);
    assert_eq!(kinds(&fib, &own, Some(0)), [], "a forged address of this node");
}

#[test]
fn notices_have_a_rate_and_a_room() {
    let fib = Table { icmp_errors_per_second: 5, ..TABLE }.fib();
    let mut out = Output::new(&fib);
    let bytes = pair(1);
    let mut told = |count: usize, milliseconds: u64| {
        (0..count).for_each(|at| {
            noticed(&fib, &mut out, &bytes[at % 2], Some(0), Time(milliseconds * 1000));
        });
        let told = out.notices.list().len();
        out.clear();
        told
    };
    assert_eq!([told(20, 0), told(20, 100), told(20, 200), told(20, 999)], [5, 0, 1, 3]);
    assert_eq!(told(20, 100_000), 5, "after a rest there is a second's worth again");
    let silent = Table { icmp_errors_per_second: 0, ..TABLE }.fib();
    assert_eq!(kinds(&silent, &bytes[0], Some(0)), []);
    let eager = Table { icmp_errors_per_second: 100_000, ..TABLE }.fib();
    let mut out = Output::new(&eager);
    (0..100).for_each(|_| noticed(&eager, &mut out, &bytes[0], Some(0), NOW));
    assert_eq!(out.notices.list().len(), 64, "what a batch has room for");
}

#[test]
fn a_trace_request_is_answered_where_its_ttl_ends() {
    let fib = TABLE.fib();
    for ttl in [1, 2] {
        for mut bytes in pair(ttl) {
            bytes.truncate(bytes.len() - 5);
            bytes.extend(trace::request(7));
            let length = bytes.len();
            match bytes[0] >> 4 {
                4 => {
                    bytes[3] = length as u8;
                    ipv4::fill_checksum(&mut bytes, 20);
                }
                _ => bytes[5] = (length - 40) as u8,
            }
            let expected = if ttl == 1 { [NoticeKind::Trace].to_vec() } else { Vec::new() };
            assert_eq!(kinds(&fib, &bytes, Some(0)), expected);
            bytes[length - 12] = 9; // another version
            let expected = if ttl == 1 { [NoticeKind::TimeExceeded].to_vec() } else { Vec::new() };
            assert_eq!(kinds(&fib, &bytes, Some(0)), expected);
        }
    }
}

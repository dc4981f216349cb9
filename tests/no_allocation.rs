//! The packet path allocates nothing: counted by an allocator that counts.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xcast::fib::{Capability, Entry, Fib, FibBuilder, Hop, Limits, Port, Prefix, ReversePath};
use xcast::forward::{DropReason, LINK_HEADER_LEN, Output, Packet, Time, process};
use xcast::wire::checksum::checksum;
use xcast::wire::{CodePoints, ethernet, ipv4, ipv6, udp, xcast4, xcast6};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 200);
const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 200);
/// Gateways, each with a port of its own.
const GATEWAYS: u16 = 16;
const PAYLOAD_LEN: usize = 512;

/// Sixteen gateways behind ports of this MTU; hosts on port 0.
fn fib(mtu: u32, compact: bool) -> Fib {
    let port = |id: u16| {
        Some(Port {
            interface: id.into(),
            instance: 0,
            name: format!("p{id}"),
            mtu,
            link_address: [2; 6],
            addresses: Vec::new(),
            up: true,
            reverse_path: ReversePath::Strict,
            accept_group_frames: false,
            tunnel: None,
        })
    };
    let code_points = CodePoints {
        ip_protocol: 253,
        all_routers_v4: GROUP,
        all_routers_v6: GROUP_V6,
        routing_type: 253,
        ports_option: 0x5e,
        hop_by_hop_option: 0x1e,
    };
    let mut fib = FibBuilder::new(code_points, (0..=GATEWAYS).map(port).collect());
    let rewrite = ethernet::header([4; 6], [2; 6], ethernet::TYPE_IPV4);
    fib.compact(compact);
    fib.limits(Limits { destinations_per_second: 1_000_000, ..Limits::default() });
    fib.begin_table();
    fib.route("10.0.0.0/8".parse().unwrap(), Entry::OnLink(0));
    fib.route("2001:db8::/64".parse().unwrap(), Entry::OnLink(0));
    for port in 1..=GATEWAYS {
        let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let gateways = [IpAddr::from([10, 1, 1, port as u8]), local.into()];
        let prefixes = [Ipv4Addr::new(20, port as u8, 0, 0).into(), behind(port, 0).into()];
        for ((gateway, prefix), length) in gateways.into_iter().zip(prefixes).zip([16, 64]) {
            fib.adjacency(port, gateway, Some(rewrite), Capability::Capable);
            let hop = Hop { port, gateway, weight: 1 };
            fib.route_via(Prefix::new(prefix, length).unwrap(), vec![hop]);
        }
    }
    fib.finish(1)
}

fn behind(port: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, port, 0, 0, 0, 0, host)
}

/// To `count` destinations behind the sixteen gateways, on the link, and nowhere.
fn frame_v4(count: usize) -> Vec<u8> {
    let destination = |index: usize| match index % 20 {
        18 => Ipv4Addr::new(10, 0, 0, index as u8),
        19 => Ipv4Addr::new(99, 0, 0, 1),
        port => Ipv4Addr::new(20, port as u8 % 16 + 1, 0, index as u8),
    };
    let header = xcast4::Repr {
        protocol: 17,
        bitmap: xcast4::all(count),
        destinations: (0..count).map(destination).collect(),
        ..xcast4::Repr::default()
    };
    let at = LINK_HEADER_LEN + ipv4::HEADER_LEN;
    let mut frame = vec![0; at + header.header_len() + udp::HEADER_LEN + PAYLOAD_LEN];
    let ip = ipv4::Repr {
        source: SOURCE,
        destination: GROUP,
        protocol: 253,
        traffic_class: 0,
        ttl: 64,
        payload_len: (frame.len() - at) as u16,
    };
    ip.emit(&mut frame[LINK_HEADER_LEN..]);
    header.emit(&mut frame[at..]).unwrap();
    let udp = udp::Repr { source_port: 1, destination_port: 2 };
    udp.emit(&mut frame[at + header.header_len()..], SOURCE, GROUP);
    frame
}

/// The same over IPv6.
fn frame_v6(count: usize) -> Vec<u8> {
    let destination = |index: usize| match index % 20 {
        18 => behind(0, index as u16),
        19 => Ipv6Addr::new(0x2a00, 0, 0, 0, 0, 0, 0, 1),
        port => behind(port as u16 % 16 + 1, index as u16),
    };
    let header = xcast6::Repr {
        next_header: 17,
        routing_type: 253,
        bitmap: xcast6::all(count),
        destinations: (0..count).map(destination).collect(),
        ..xcast6::Repr::default()
    };
    let at = LINK_HEADER_LEN + ipv6::HEADER_LEN;
    let mut frame = vec![0; at + header.header_len() + udp::HEADER_LEN + PAYLOAD_LEN];
    let ip = ipv6::Repr {
        source: SOURCE_V6,
        destination: GROUP_V6,
        next_header: ipv6::next_header::ROUTING,
        traffic_class: 0,
        flow_label: 0,
        hop_limit: 64,
        payload_len: (frame.len() - at) as u16,
    };
    ip.emit(&mut frame[LINK_HEADER_LEN..]);
    header.emit(&mut frame[at..]).unwrap();
    let udp = udp::Repr { source_port: 1, destination_port: 2 };
    udp.emit(&mut frame[at + header.header_len()..], SOURCE_V6, GROUP_V6);
    frame
}

/// Clears DF, so that unicast copies may be fragmented.
fn allow_fragments(frame: &mut [u8]) {
    let ip = &mut frame[LINK_HEADER_LEN..][..ipv4::HEADER_LEN];
    ip[6] = 0;
    ip[10..12].fill(0);
    let check = checksum(ip);
    ip[10..12].copy_from_slice(&check.to_be_bytes());
}

/// How often a packet's processing allocates.
fn allocations(fib: &Fib, buffer: &mut [u8], now: Time, out: &mut Output) -> u64 {
    let allocations = allocation_counter::measure(|| {
        let start = LINK_HEADER_LEN;
        let packet = Packet { buffer, start, port: Some(0), to_group: false, index: 0 };
        process(fib, packet, now, out);
    });
    allocations.count_total
}

#[test]
fn processing_allocates_nothing() {
    for compact in [false, true] {
        let fib = fib(9000, compact);
        let mut out = Output::new(&fib);
        let v4 = [1, 2, 8, 32, 127].map(frame_v4);
        let v6 = [1, 2, 8, 32, 125].map(frame_v6);
        for frame in v4.iter().chain(&v6) {
            for cut in [0, 10, 200] {
                let mut buffer = frame.clone();
                buffer.truncate(buffer.len() - cut);
                let count = allocations(&fib, &mut buffer, Time(0), &mut out);
                assert_eq!(count, 0, "{} octets, {cut} cut, compact {compact}", frame.len());
                assert_eq!(out.replicas().is_empty(), cut > 0);
                out.clear();
            }
        }
    }
    // The counter does count.
    assert!(allocation_counter::measure(|| drop(frame_v4(1))).count_total > 0);
}

#[test]
fn fragments_allocate_nothing() {
    let fib = fib(100, false);
    let mut out = Output::new(&fib);
    // The first sixteen have a gateway each.
    let mut buffer = frame_v4(16);
    allow_fragments(&mut buffer);
    assert_eq!(allocations(&fib, &mut buffer, Time(0), &mut out), 0);
    // 520 octets in pieces of 80.
    assert_eq!(out.replicas().len(), 16 * 7);
}

#[test]
fn drops_with_samples_and_notices_allocate_nothing() {
    let fib = fib(300, false);
    let mut out = Output::new(&fib);
    let mut told = 0;
    for round in 0..200 {
        let mut buffer = if round % 2 == 0 { frame_v4(100) } else { frame_v6(100) };
        if round % 5 == 0 {
            let ttl = if round % 2 == 0 { 8 } else { 7 };
            buffer[LINK_HEADER_LEN + ttl] = 1;
        }
        assert_eq!(allocations(&fib, &mut buffer, Time(round * 20_000), &mut out), 0);
        told = told.max(out.notices.list().len());
        if round % 100 == 99 {
            out.clear();
        }
    }
    let counters = &out.counters;
    let dropped = |reason: DropReason| counters.drops[reason as usize];
    // In IPv4 the header checksum is wrong where the TTL was changed.
    for reason in
        [DropReason::IpHeader, DropReason::TtlExpired, DropReason::NoRoute, DropReason::TooBig]
    {
        assert!(dropped(reason) > 0, "{reason:?}");
    }
    assert!(out.samples.taken() > 100);
    assert!((30..100).contains(&told), "as many notices as a batch has room for: {told}");
}

#[test]
fn a_batch_that_is_too_long_allocates_nothing() {
    let fib = fib(9000, false);
    for frame in [frame_v4(1), frame_v4(127), frame_v6(125)] {
        let mut out = Output::new(&fib);
        let failed = |out: &Output| out.counters.drops[DropReason::TransmitFailed as usize];
        let mut packets = 0;
        while failed(&out) == 0 {
            assert_eq!(allocations(&fib, &mut frame.clone(), Time(0), &mut out), 0);
            packets += 1;
        }
        assert!(packets > 4, "there is room for some");
    }
}

//! The packet path without I/O, for both families: parsing, lookup, and whole packets to 1 to 127
//! destinations (IPv6: 125), of which every eighth shares a next hop. `cargo bench`; figures vary
//! with the machine's load, so compare within one run.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use xcast::fib::{Capability, Entry, Fib, FibBuilder, Hop, Port, Prefix, ReversePath};
use xcast::forward::{LINK_HEADER_LEN, Output, Packet, Time, process};
use xcast::wire::{CodePoints, ethernet, ipv4, ipv6, udp, xcast4, xcast6};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
const COUNTS: [usize; 5] = [1, 2, 8, 32, 127];
const COUNTS_V6: [usize; 5] = [1, 2, 8, 32, 125];
/// Gateways, each with a port of its own.
const NEXT_HOPS: u16 = 8;
/// Routes /24 one after another from 20.0.0.0 on, and as many /48 from 2001:db8:1:: on.
const ROUTES: u32 = 10_000;

fn fib() -> Fib {
    let port = |id: u16| {
        Some(Port {
            interface: u32::from(id) + 1,
            instance: 0,
            name: format!("p{id}"),
            mtu: 9000,
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
    let mut fib = FibBuilder::new(code_points, (0..=NEXT_HOPS).map(port).collect());
    let rewrite = ethernet::header([4; 6], [2; 6], ethernet::TYPE_IPV4);
    let gateway = |port: u16| Ipv4Addr::new(10, 1, 0, port as u8).into();
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into();
    for port in 1..=NEXT_HOPS {
        fib.adjacency(port, gateway(port), Some(rewrite), Capability::Capable);
        fib.adjacency(port, local, Some(rewrite), Capability::Capable);
    }
    fib.begin_table();
    fib.route(Prefix::new(SOURCE.into(), 8).unwrap(), Entry::OnLink(0));
    fib.route(Prefix::new(SOURCE_V6.into(), 64).unwrap(), Entry::OnLink(0));
    for route in 0..ROUTES {
        let port = (route % u32::from(NEXT_HOPS)) as u16 + 1;
        let v4 = Prefix::new(destination(route).into(), 24).unwrap();
        fib.route_via(v4, vec![Hop { port, gateway: gateway(port), weight: 1 }]);
        let v6 = Prefix::new(destination_v6(route).into(), 48).unwrap();
        fib.route_via(v6, vec![Hop { port, gateway: local, weight: 1 }]);
    }
    fib.finish(1)
}

/// An address of a route.
fn destination(route: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x1400_0001 + (route << 8))
}

fn destination_v6(route: u32) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1 + route as u16, 0, 0, 0, 0, 1)
}

/// The routes that a packet's destinations have: a step that is no multiple of the number of next
/// hops spreads them.
fn routes(count: usize) -> impl Iterator<Item = u32> {
    (0..count as u32).map(|index| index * 7919 % ROUTES)
}

fn frame(count: usize) -> Vec<u8> {
    let header = xcast4::Repr {
        protocol: 17,
        channel: 1,
        bitmap: xcast4::all(count),
        destinations: routes(count).map(destination).collect(),
        ..xcast4::Repr::default()
    };
    let at = LINK_HEADER_LEN + ipv4::HEADER_LEN + header.header_len();
    let mut frame = vec![0; at + 8 + 64];
    let ip = ipv4::Repr {
        source: SOURCE,
        destination: GROUP,
        protocol: 253,
        traffic_class: 0,
        ttl: 64,
        payload_len: (frame.len() - LINK_HEADER_LEN - ipv4::HEADER_LEN) as u16,
    };
    ip.emit(&mut frame[LINK_HEADER_LEN..]);
    header.emit(&mut frame[LINK_HEADER_LEN + ipv4::HEADER_LEN..]).unwrap();
    let ports = udp::Repr { source_port: 5000, destination_port: 9000 };
    ports.emit(&mut frame[at..], SOURCE, GROUP);
    frame
}

fn frame_v6(count: usize) -> Vec<u8> {
    let header = xcast6::Repr {
        next_header: 17,
        routing_type: 253,
        channel: 1,
        bitmap: xcast6::all(count),
        destinations: routes(count).map(destination_v6).collect(),
        ..xcast6::Repr::default()
    };
    let at = LINK_HEADER_LEN + ipv6::HEADER_LEN + header.header_len();
    let mut frame = vec![0; at + 8 + 64];
    let ip = ipv6::Repr {
        source: SOURCE_V6,
        destination: GROUP_V6,
        next_header: ipv6::next_header::ROUTING,
        traffic_class: 0,
        flow_label: 0,
        hop_limit: 64,
        payload_len: (frame.len() - LINK_HEADER_LEN - ipv6::HEADER_LEN) as u16,
    };
    ip.emit(&mut frame[LINK_HEADER_LEN..]);
    header.emit(&mut frame[LINK_HEADER_LEN + ipv6::HEADER_LEN..]).unwrap();
    let ports = udp::Repr { source_port: 5000, destination_port: 9000 };
    ports.emit(&mut frame[at..], SOURCE_V6, GROUP_V6);
    frame
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for count in COUNTS {
        let frame = frame(count);
        group.bench_with_input(BenchmarkId::from_parameter(count), &frame, |bencher, frame| {
            bencher.iter(|| {
                let ip = ipv4::Packet::parse(black_box(&frame[LINK_HEADER_LEN..])).unwrap();
                xcast4::Header::parse(ip.payload()).unwrap().bitmap()
            });
        });
    }
}

fn parse_v6(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse-v6");
    for count in COUNTS_V6 {
        let frame = frame_v6(count);
        group.bench_with_input(BenchmarkId::from_parameter(count), &frame, |bencher, frame| {
            bencher.iter(|| {
                let ip = ipv6::Packet::parse(black_box(&frame[LINK_HEADER_LEN..])).unwrap();
                xcast6::Header::parse(ip.payload()).unwrap().bitmap()
            });
        });
    }
}

fn lookup(criterion: &mut Criterion) {
    let fib = fib();
    let addresses: Vec<u32> =
        (0..65_536u32).map(|index| destination(index * 7919 % ROUTES).to_bits()).collect();
    let mut entries = vec![0; addresses.len()];
    let mut group = criterion.benchmark_group("lookup");
    group.throughput(Throughput::Elements(addresses.len() as u64));
    group.bench_function("batch", |bencher| {
        bencher.iter(|| fib.lookup_batch_v4(black_box(&addresses), &mut entries));
    });
    let addresses: Vec<u128> =
        (0..65_536u32).map(|index| destination_v6(index * 7919 % ROUTES).to_bits()).collect();
    group.bench_function("batch-v6", |bencher| {
        bencher.iter(|| fib.lookup_batch_v6(black_box(&addresses), &mut entries));
    });
}

fn whole_packets(criterion: &mut Criterion) {
    whole(criterion, "process", &COUNTS.map(|count| (count, frame(count))));
}

fn whole_packets_v6(criterion: &mut Criterion) {
    whole(criterion, "process-v6", &COUNTS_V6.map(|count| (count, frame_v6(count))));
}

fn whole(criterion: &mut Criterion, name: &str, frames: &[(usize, Vec<u8>)]) {
    let fib = fib();
    let mut out = Output::new(&fib);
    let mut group = criterion.benchmark_group(name);
    for (count, frame) in frames {
        group.throughput(Throughput::Elements(*count as u64));
        group.bench_with_input(BenchmarkId::from_parameter(count), frame, |bencher, frame| {
            // The packet is changed in place, so each round gets a fresh one.
            bencher.iter_batched_ref(
                || frame.clone(),
                |buffer| {
                    let start = LINK_HEADER_LEN;
                    let packet = Packet { buffer, start, port: Some(0), to_group: false, index: 0 };
                    process(&fib, packet, Time(0), &mut out);
                    black_box(out.replicas().len());
                    out.clear();
                },
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, parse, parse_v6, lookup, whole_packets, whole_packets_v6);
criterion_main!(benches);

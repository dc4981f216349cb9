//! The packet path without I/O: parsing, lookup, and whole packets to 1 to 127 destinations, of
//! which every eighth shares a next hop. `cargo bench`; figures vary with the machine's load, so
//! compare within one run.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use xcast::fib::{Capability, Entry, Fib, FibBuilder, Hop, Port, Prefix, ReversePath};
use xcast::forward::{LINK_HEADER_LEN, Output, Packet, Time, process};
use xcast::wire::{CodePoints, ethernet, ipv4, udp, xcast4};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const COUNTS: [usize; 5] = [1, 2, 8, 32, 127];
/// Gateways, each with a port of its own.
const NEXT_HOPS: u16 = 8;
/// Routes /24, one after another from 20.0.0.0 on.
const ROUTES: u32 = 10_000;

fn fib() -> Fib {
    let port = |id: u16| {
        Some(Port {
            interface: u32::from(id) + 1,
            instance: 0,
            name: format!("p{id}"),
            mtu: 1500,
            link_address: [2; 6],

            addresses: Vec::new(),
            up: true,
            reverse_path: ReversePath::Strict,
            accept_group_frames: false,
        })
    };
    let code_points = CodePoints {
        ip_protocol: 253,
        all_routers_v4: GROUP,
        all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
        routing_type: 253,
        ports_option: 0x5e,
    };
    let mut fib = FibBuilder::new(code_points, (0..=NEXT_HOPS).map(port).collect());
    let rewrite = ethernet::header([4; 6], [2; 6], ethernet::TYPE_IPV4);
    let gateway = |port: u16| Ipv4Addr::new(10, 1, 0, port as u8).into();
    (1..=NEXT_HOPS).for_each(|p| fib.adjacency(p, gateway(p), Some(rewrite), Capability::Capable));
    fib.begin_table(false);
    fib.route(Prefix::new(SOURCE.into(), 8).unwrap(), Entry::OnLink(0));
    for route in 0..ROUTES {
        let prefix = Prefix::new(destination(route).into(), 24).unwrap();
        let port = (route % u32::from(NEXT_HOPS)) as u16 + 1;
        fib.route_via(prefix, vec![Hop { port, gateway: gateway(port), weight: 1 }]);
    }
    fib.finish(1)
}

/// An address of a route.
fn destination(route: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x1400_0001 + (route << 8))
}

fn frame(count: usize) -> Vec<u8> {
    // A step that is no multiple of the number of next hops spreads the routes.
    let routes = (0..count as u32).map(|index| index * 7919 % ROUTES);
    let header = xcast4::Repr {
        protocol: 17,
        channel: 1,
        bitmap: xcast4::all(count),
        destinations: routes.map(destination).collect(),
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
}

fn whole_packets(criterion: &mut Criterion) {
    let fib = fib();
    let mut out = Output::new(&fib);
    let mut group = criterion.benchmark_group("process");
    for count in COUNTS {
        let frame = frame(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::from_parameter(count), &frame, |bencher, frame| {
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

criterion_group!(benches, parse, lookup, whole_packets);
criterion_main!(benches);

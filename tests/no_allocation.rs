//! The packet path allocates nothing: counted by an allocator that counts.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, Ipv6Addr};

use xcast::fib::{Capability, Entry, FibBuilder, Hop, Port, Prefix, ReversePath};
use xcast::forward::{LINK_HEADER_LEN, Output, Packet, Time, process};
use xcast::wire::{CodePoints, ethernet, ipv4, udp, xcast4};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);

fn fib() -> xcast::fib::Fib {
    let port = |id: u32| {
        Some(Port {
            interface: id,
            instance: 0,
            name: format!("p{id}"),
            mtu: 9000,
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
    let mut fib = FibBuilder::new(code_points, (0..17).map(port).collect());
    let rewrite = ethernet::header([4; 6], [2; 6], ethernet::TYPE_IPV4);
    fib.begin_table(false);
    fib.route(Prefix::new(Ipv4Addr::new(10, 0, 0, 0).into(), 8).unwrap(), Entry::OnLink(0));
    for port in 1..17 {
        let gateway = Ipv4Addr::new(10, 1, 1, port as u8).into();
        fib.adjacency(port, gateway, Some(rewrite), Capability::Capable);
        let prefix = Prefix::new(Ipv4Addr::new(20, port as u8, 0, 0).into(), 16).unwrap();
        fib.route_via(prefix, vec![Hop { port, gateway, weight: 1 }]);
    }
    fib.finish(1)
}

/// A packet to `count` destinations behind the sixteen gateways, on the link, and nowhere.
fn frame(count: usize) -> Vec<u8> {
    let destination = |index: usize| match index % 20 {
        18 => Ipv4Addr::new(10, 0, 0, index as u8),
        19 => Ipv4Addr::new(99, 0, 0, 1),
        port => Ipv4Addr::new(20, port as u8 + 1, 0, index as u8),
    };
    let header = xcast4::Repr {
        protocol: 17,
        bitmap: xcast4::all(count),
        destinations: (0..count).map(destination).collect(),
        ..xcast4::Repr::default()
    };
    let source = Ipv4Addr::new(10, 0, 0, 200);
    let header_len = header.header_len();
    let mut frame = vec![0; LINK_HEADER_LEN + 20 + header_len + 520];
    let payload_len = (header_len + 520) as u16;
    let ip = ipv4::Repr {
        source,
        destination: GROUP,
        protocol: 253,
        traffic_class: 0,
        ttl: 64,
        payload_len,
    };
    ip.emit(&mut frame[LINK_HEADER_LEN..]);
    header.emit(&mut frame[LINK_HEADER_LEN + 20..]).unwrap();
    let udp = udp::Repr { source_port: 1, destination_port: 2 };
    udp.emit(&mut frame[LINK_HEADER_LEN + 20 + header_len..], source, GROUP);
    frame
}

#[test]
fn processing_allocates_nothing() {
    let fib = fib();
    let mut out = Output::new(&fib);
    for count in [1, 2, 8, 32, 127] {
        for cut in [0, 10, 200] {
            let mut buffer = frame(count);
            buffer.truncate(buffer.len() - cut);
            let allocations = allocation_counter::measure(|| {
                let start = LINK_HEADER_LEN;
                let packet =
                    Packet { buffer: &mut buffer, start, port: Some(0), to_group: false, index: 0 };
                process(&fib, packet, Time(0), &mut out);
            });
            assert_eq!(allocations.count_total, 0, "{count} destinations, {cut} octets cut");
            assert_eq!(out.replicas().is_empty(), cut > 0);
            out.clear();
        }
    }
    // The counter does count.
    assert!(allocation_counter::measure(|| drop(frame(1))).count_total > 0);
}

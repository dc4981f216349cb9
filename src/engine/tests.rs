//! The engine on devices in memory: batches, refusals, waiting neighbors; and from one capture
//! file to another.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::*;
use crate::fib::{Capability, Entry, FibBuilder, Hop, Port, Prefix, ReversePath};
use crate::io::memory::{MemoryReceiver, MemoryTransmitter};
use crate::io::pcap::{self, PcapTransmitter};
use crate::wire::{CodePoints, ethernet, ipv4, udp, xcast4};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Behind the gateway of port 1.
const FAR: Ipv4Addr = Ipv4Addr::new(20, 0, 0, 1);
/// On the link of port 2.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 7);

type MemoryEngine = Engine<MemoryReceiver, MemoryTransmitter, Delivered>;

#[derive(Default)]
struct Delivered(Vec<Vec<u8>>, Vec<(IpAddr, Vec<u8>)>);

impl Deliver for Delivered {
    fn report(&mut self, to: IpAddr, _interface: Option<u32>, icmp: &[u8]) -> bool {
        self.1.push((to, icmp.to_vec()));
        true
    }

    fn deliver(&mut self, head: &[u8], tail: &[u8], _interface: Option<u32>) -> bool {
        self.0.push([head, tail].concat());
        true
    }
}

/// Three ports, of which only 1 has a gateway; `host` says whether the one on port 2 is resolved.
fn fib(generation: u64, gateway: bool, host: bool) -> Fib {
    let port = |id: u8| {
        Some(Port {
            interface: u32::from(id) + 1,
            instance: 0,
            name: format!("p{id}"),
            mtu: 1500,
            link_address: [2, 0, 0, 0, 0, id],
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
        all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
        routing_type: 253,
        ports_option: 0x5e,
        hop_by_hop_option: 0x1e,
    };
    let mut fib = FibBuilder::new(code_points, (0..3).map(port).collect());
    let rewrite = |id: u8| ethernet::header([4; 6], [2, 0, 0, 0, 0, id], ethernet::TYPE_IPV4);
    fib.adjacency(1, GATEWAY.into(), gateway.then(|| rewrite(1)), Capability::Capable);
    if host {
        fib.adjacency(2, HOST.into(), Some(rewrite(2)), Capability::Capable);
    }
    fib.begin_table();
    let subnet = |id: u8| Prefix::new(Ipv4Addr::new(10, 0, id, 0).into(), 24).unwrap();
    let far = Prefix::new(FAR.into(), 8).unwrap();
    fib.route_via(far, vec![Hop { port: 1, gateway: GATEWAY.into(), weight: 1 }]);
    for id in 0..3 {
        fib.route(subnet(id), Entry::OnLink(u16::from(id)));
    }
    fib.neighbors();
    fib.route(Prefix::host(OWN.into()), Entry::Local);
    fib.finish(generation)
}

fn engine(fib: &Fib) -> MemoryEngine {
    let mut engine = Engine::new(fib, Delivered::default());
    for port in 0..3 {
        let receiver = MemoryReceiver::new(GROUP);
        engine.set_device(port, Some(receiver), Some(MemoryTransmitter::default()));
    }
    engine
}

/// A frame to a list of destinations, told apart by its payload.
fn frame(destinations: &[Ipv4Addr], number: u16) -> Vec<u8> {
    let header = xcast4::Repr {
        protocol: 17,
        bitmap: xcast4::all(destinations.len()),
        destinations: destinations.to_vec(),
        ..xcast4::Repr::default()
    };
    let mut frame = ethernet::header([2, 0, 0, 0, 0, 0], [6; 6], ethernet::TYPE_IPV4).to_vec();
    frame.resize(14 + 20 + header.header_len() + 10, 0);
    let ip = ipv4::Repr {
        source: SOURCE,
        destination: GROUP,
        protocol: 253,
        traffic_class: 0,
        ttl: 64,
        payload_len: (frame.len() - 34) as u16,
    };
    ip.emit(&mut frame[14..]);
    header.emit(&mut frame[34..]).unwrap();
    let at = frame.len() - 10;
    frame[at + 8..].copy_from_slice(&number.to_be_bytes());
    let ports = udp::Repr { source_port: 1, destination_port: 2 };
    ports.emit(&mut frame[at..], SOURCE, GROUP);
    frame
}

/// The numbers of the frames that a port sent, in order.
fn numbers(engine: &mut MemoryEngine, port: PortId) -> Vec<u16> {
    let sent = &engine.transmitter(port).unwrap().sent;
    sent.iter().map(|f| u16::from_be_bytes([f[f.len() - 2], f[f.len() - 1]])).collect()
}

fn push(engine: &mut MemoryEngine, frames: impl Iterator<Item = Vec<u8>>) {
    frames.for_each(|frame| engine.receiver(0).unwrap().push(frame));
}

fn assert_conserved(engine: &MemoryEngine) {
    let counters = engine.counters();
    let accounted = counters.destinations_forwarded
        + counters.destinations_delivered
        + counters.destinations_dropped()
        + counters.destinations_pending;
    assert_eq!(counters.destinations_received, accounted);
}

#[test]
fn many_batches_leave_complete_and_in_order() {
    let fib = fib(1, true, true);
    let mut engine = engine(&fib);
    push(&mut engine, (0..1000).map(|number| frame(&[FAR, HOST, FAR, OWN], number)));
    while engine.turn(&fib, Instant::now()) > 0 {}
    let all: Vec<u16> = (0..1000).collect();
    assert_eq!(numbers(&mut engine, 1), all);
    assert_eq!(numbers(&mut engine, 2), all);
    assert_eq!(engine.local.0.len(), 1000);
    assert_eq!(engine.counters().destinations_forwarded, 3000);
    assert_eq!(engine.counters().destinations_delivered, 1000);
    assert_conserved(&engine);
}

#[test]
fn a_batch_of_the_longest_lists_never_runs_out_of_room() {
    let fib = fib(1, true, false);
    let mut engine = engine(&fib);
    let hosts: Vec<_> = (2..129).map(|host| Ipv4Addr::new(10, 0, 1, host)).collect();
    push(&mut engine, (0..100).map(|number| frame(&hosts, number)));
    while engine.turn(&fib, Instant::now()) > 0 {}
    assert_eq!(engine.counters().destinations_received, 12_700);
    assert_eq!(engine.counters().drops[DropReason::TransmitFailed as usize], 0);
    assert_conserved(&engine);
}

#[test]
fn what_a_device_refuses_is_counted() {
    let fib = fib(1, true, true);
    let mut engine = engine(&fib);
    engine.transmitter(1).unwrap().refuse = true;
    push(&mut engine, (0..10).map(|number| frame(&[FAR, FAR, HOST], number)));
    engine.turn(&fib, Instant::now());
    assert_eq!(engine.counters().drops[DropReason::TransmitFailed as usize], 20);
    assert_eq!(engine.counters().destinations_forwarded, 10);
    engine.set_device(2, None, None);
    push(&mut engine, (0..10).map(|number| frame(&[HOST], number)));
    engine.turn(&fib, Instant::now());
    assert_eq!(engine.counters().drops[DropReason::TransmitFailed as usize], 30);
    assert_conserved(&engine);
}

#[test]
fn packets_wait_for_their_neighbor_and_leave_in_order_when_it_is_resolved() {
    let before = fib(1, false, false);
    let mut engine = engine(&before);
    let now = Instant::now();
    push(&mut engine, (0..5).map(|number| frame(&[FAR, FAR, HOST], number)));
    engine.turn(&before, now);
    assert_eq!(engine.counters().destinations_pending, 15);
    assert_conserved(&engine);
    let mut wanted: Vec<_> = engine.take_wanted().collect();
    wanted.sort();
    assert_eq!(wanted, [(1, GATEWAY.into()), (2, HOST.into())], "each is asked for once");
    let after = fib(2, true, true);
    engine.prepare(&after);
    engine.tend(&after, now);
    assert!(!engine.is_waiting());
    assert_eq!(numbers(&mut engine, 1), [0, 1, 2, 3, 4]);
    assert_eq!(numbers(&mut engine, 2), [0, 1, 2, 3, 4]);
    let first = &engine.transmitter(2).unwrap().sent[0];
    assert_eq!(first[..14], [4, 4, 4, 4, 4, 4, 2, 0, 0, 0, 0, 2, 8, 0]);
    assert_eq!(engine.counters().destinations_pending, 0);
    assert_conserved(&engine);
}

#[test]
fn a_neighbor_that_does_not_answer_is_asked_again_and_then_given_up() {
    let fib = fib(1, true, false);
    let mut engine = engine(&fib);
    let start = Instant::now();
    push(&mut engine, [frame(&[HOST], 0)].into_iter());
    engine.turn(&fib, start);
    assert_eq!(engine.take_wanted().count(), 1);
    engine.tend(&fib, start + Duration::from_millis(900));
    assert_eq!(engine.take_wanted().count(), 0);
    engine.tend(&fib, start + Duration::from_millis(1100));
    assert_eq!(engine.take_wanted().count(), 1);
    engine.tend(&fib, start + Duration::from_secs(3));
    assert_eq!(engine.counters().destinations_pending, 1);
    engine.tend(&fib, start + Duration::from_secs(4));
    assert!(!engine.is_waiting());
    assert_eq!(engine.counters().drops[DropReason::NeighborUnresolved as usize], 1);
    assert_conserved(&engine);
}

#[test]
fn a_source_is_told_once_a_packet_that_hosts_do_not_answer() {
    let fib = fib(1, true, false);
    let mut engine = engine(&fib);
    let start = Instant::now();
    let hosts: Vec<Ipv4Addr> = (20..60).map(|host| Ipv4Addr::new(10, 0, 2, host)).collect();
    push(&mut engine, [frame(&hosts, 0), frame(&hosts[..2], 1)].into_iter());
    // One that carries an ICMP error is not answered by another.
    let mut error = frame(&hosts[..2], 2);
    let list = error[43] as usize * 4;
    error[42] = 1;
    error[34 + list] = 3;
    let check =
        crate::wire::checksum::checksum(&[&error[34..36], &[0, 0], &error[38..34 + list]].concat());
    error[36..38].copy_from_slice(&check.to_be_bytes());
    push(&mut engine, [error].into_iter());
    engine.turn(&fib, start);
    engine.tend(&fib, start + Duration::from_secs(4));
    assert_eq!(engine.counters().drops[DropReason::NeighborUnresolved as usize], 44);
    let told: Vec<_> = engine.local.1.iter().map(|(to, icmp)| (*to, icmp[0], icmp[1])).collect();
    assert_eq!(told, [(SOURCE.into(), 3, 1); 2], "host unreachable, one a packet");
    assert_conserved(&engine);
}

#[test]
fn waiting_is_bounded_and_ends_with_the_port() {
    let fib = fib(1, true, false);
    let mut engine = engine(&fib);
    push(&mut engine, (0..100).map(|number| frame(&[HOST], number)));
    while engine.turn(&fib, Instant::now()) > 0 {}
    assert_eq!(engine.counters().destinations_pending, 64);
    assert_eq!(engine.counters().drops[DropReason::NeighborUnresolved as usize], 36);
    engine.clear_port(2);
    assert_eq!(engine.counters().drops[DropReason::PortDown as usize], 64);
    assert!(!engine.is_waiting());
    assert_conserved(&engine);
}

#[test]
fn a_new_device_of_the_same_port_inherits_what_waits_and_what_was_counted() {
    let before = fib(1, true, false);
    let mut engine = engine(&before);
    push(&mut engine, [frame(&[HOST, FAR], 0)].into_iter());
    engine.turn(&before, Instant::now());
    engine.set_device(2, None, Some(MemoryTransmitter::default()));
    let after = fib(2, true, true);
    engine.prepare(&after);
    engine.tend(&after, Instant::now());
    assert_eq!(numbers(&mut engine, 2), [0]);
    assert_eq!(engine.counters().ports[1].replicas_sent_unicast, 1);
    engine.clear_port(1);
    assert_eq!(engine.counters().ports[1].replicas_sent_unicast, 0);
    assert_conserved(&engine);
}

#[test]
fn frames_to_the_groups_own_address_are_not_for_this_router() {
    let fib = fib(1, true, true);
    let mut engine = engine(&fib);
    let mut to_group = frame(&[FAR, HOST], 0);
    to_group[..6].copy_from_slice(&ethernet::group_address(GROUP));
    push(&mut engine, [to_group].into_iter());
    engine.turn(&fib, Instant::now());
    assert_eq!(engine.counters().drops[DropReason::NotForThisRouter as usize], 2);
}

#[test]
fn a_capture_is_forwarded_into_another_capture() {
    let fib = fib(1, true, true);
    let mut engine: Engine<MemoryReceiver, PcapTransmitter<Vec<u8>>, Delivered> =
        Engine::new(&fib, Delivered::default());
    let mut capture = PcapTransmitter::new(Vec::new()).unwrap();
    let frames: Vec<_> = (0..3).map(|number| frame(&[FAR, FAR, HOST], number)).collect();
    capture.transmit(3, |index| (&frames[index], &[]), |_, taken| assert!(taken));
    let mut receiver = MemoryReceiver::new(GROUP);
    pcap::read(&capture.finish().unwrap()[..], &mut receiver).unwrap();
    engine.set_device(0, Some(receiver), None);
    engine.set_device(1, None, Some(PcapTransmitter::new(Vec::new()).unwrap()));
    engine.set_device(2, None, Some(PcapTransmitter::new(Vec::new()).unwrap()));
    engine.turn(&fib, Instant::now());
    let mut sent_by = |port: usize| {
        let file = engine.transmitters[port].take().unwrap().finish().unwrap();
        let mut frames = MemoryReceiver::default();
        pcap::read(&file[..], &mut frames).unwrap()
    };
    assert_eq!((sent_by(1), sent_by(2)), (3, 3));
}

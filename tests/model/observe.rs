//! Runs the packet path on a packet of the model, and reads what it did in the model's words.

use std::collections::BTreeMap;

use xcast::fib::{Fib, PortId};
use xcast::forward::{
    Counters, DropReason, Form as ReplicaForm, LINK_HEADER_LEN, NoticeKind, Output, Packet,
    Replica, Target, Time, process,
};

use super::kernel::{link_address, neighbor_address};
use super::{Copy, Form, Message, Node, Outcome, message, oracle};

/// Processes the packet in a fresh room of `out`, from octet `start` of a buffer that goes on for
/// `padding` octets behind it.
pub(crate) fn run(
    fib: &Fib,
    node: &Node,
    message: &Message,
    (start, padding): (usize, usize),
    now: Time,
    out: &mut Output,
) -> (Outcome, Counters) {
    out.counters = Counters::default();
    out.prepare(fib);
    let arrived = message.packet();
    let mut buffer = vec![0xee; start];
    buffer.extend(&arrived);
    buffer.resize(buffer.len() + padding, 0xee);
    let port = message.ingress.map(|interface| port_of(fib, interface));
    let (buffer_ref, to_group) = (&mut buffer[..], message.to_group);
    process(fib, Packet { buffer: buffer_ref, start, port, to_group, index: 3 }, now, out);
    let mut outcome = Outcome::default();
    let mut fragments: Vec<Vec<u8>> = Vec::new();
    for replica in out.replicas().to_vec() {
        let (head, tail) = out.pieces(&replica, &buffer);
        let (link, packet) = head.split_at(LINK_HEADER_LEN);
        let packet = [packet, tail].concat();
        assert_eq!((replica.packet, replica.ip_len()), (3, packet.len()));
        check_link(fib, message, &replica, link);
        let (to, resolved) = target(fib, node, message, &replica, link);
        let mut copy = Copy {
            to,
            resolved,
            form: form(replica.form),
            serves: indices(replica.live),
            in_fragments: false,
            packet,
        };
        oracle::check_header(&copy.packet);
        let more = if message.is_v6() { 0 } else { copy.packet[6] & 0x3f | copy.packet[7] };
        if more != 0 || !fragments.is_empty() {
            let is_last = copy.packet[6] & 0x20 == 0;
            assert_eq!(copy.serves.len(), usize::from(is_last), "the last one stands for all");
            fragments.push(copy.packet.clone());
        }
        count(&replica, out);
        if fragments.last().is_some_and(|last| last[6] & 0x20 != 0) {
            continue;
        }
        if !fragments.is_empty() {
            let mtu = node.interface(copy.to.unwrap().0).mtu;
            copy.packet = reassembled(message, &std::mem::take(&mut fragments), mtu);
            copy.in_fragments = true;
        }
        oracle::check_transport(message, &copy);
        outcome.copies.push(copy);
    }
    assert!(fragments.is_empty(), "the last fragment is missing");
    read_notices(message, port, &arrived, out, &mut outcome);
    outcome.copies.sort();
    let counters = out.counters.clone();
    let each = DropReason::ALL.iter().zip(counters.drops).filter(|(_, count)| *count > 0);
    outcome.drops = each.map(|(reason, count)| (reason.name(), count)).collect::<BTreeMap<_, _>>();
    outcome.received = counters.destinations_received;
    let copies_here = outcome.copies.iter().filter(|copy| copy.to.is_none()).count() as u64;
    outcome.seen_here = counters.destinations_delivered - copies_here;
    out.clear();
    (outcome, counters)
}

fn port_of(fib: &Fib, interface: u32) -> PortId {
    let is_it = |port: &Option<_>| {
        let port: &Option<xcast::fib::Port> = port;
        port.as_ref().is_some_and(|port| port.interface == interface)
    };
    fib.ports().iter().position(is_it).unwrap() as PortId
}

fn form(form: ReplicaForm) -> Form {
    match form {
        ReplicaForm::Xcast => Form::Xcast,
        ReplicaForm::Unicast => Form::Unicast,
        ReplicaForm::PrematureUnicast => Form::Premature,
        other => panic!("{other:?}"),
    }
}

fn indices(live: u128) -> Vec<usize> {
    (0..128).filter(|index| live << index >> 127 == 1).collect()
}

fn count(replica: &Replica, out: &mut Output) {
    match replica.target {
        Target::Neighbor { .. } => out.counters.held(replica),
        _ => out.counters.sent(replica),
    }
}

/// The link-layer header: our own address and the EtherType.
fn check_link(fib: &Fib, message: &Message, replica: &Replica, link: &[u8]) {
    let ether_type = if message.is_v6() { [0x86, 0xdd] } else { [0x08, 0x00] };
    if let Target::Port(port) | Target::Neighbor { port, .. } = replica.target {
        assert_eq!(link[6..12], link_address(fib.port(port).unwrap().interface));
        assert_eq!(link[12..], ether_type);
    }
}

/// The next hop of a replica, and whether its link-layer address is known.
fn target(
    fib: &Fib,
    node: &Node,
    message: &Message,
    replica: &Replica,
    link: &[u8],
) -> (Option<(u32, std::net::IpAddr)>, bool) {
    let interface = |port| fib.port(port).unwrap().interface;
    match replica.target {
        Target::Host { from } => {
            assert_eq!(from.map(interface), message.ingress);
            (None, true)
        }
        Target::Port(port) => {
            let number = u16::from_be_bytes([link[4], link[5]]).into();
            assert_eq!(link[..6], neighbor_address(number));
            let hop = node.neighbors[number];
            assert_eq!(hop.0, interface(port));
            (Some(hop), true)
        }
        Target::Neighbor { port, address } => (Some((interface(port), address)), false),
    }
}

/// Puts the fragments of one IPv4 packet together again, by RFC 791.
fn reassembled(message: &Message, fragments: &[Vec<u8>], mtu: usize) -> Vec<u8> {
    let header_len = usize::from(fragments[0][0] & 0xf) * 4;
    let mut payload: Vec<u8> = Vec::new();
    for (number, fragment) in fragments.iter().enumerate() {
        let (header, part) = fragment.split_at(header_len);
        let offset = usize::from(u16::from_be_bytes([header[6] & 0x1f, header[7]])) * 8;
        assert_eq!(offset, payload.len(), "fragments follow one another");
        let is_last = number + 1 == fragments.len();
        assert_eq!(header[6] & 0xe0, if is_last { 0 } else { 0x20 });
        assert!(fragment.len() <= mtu);
        assert!(is_last || part.len() % 8 == 0 && fragment.len() + 8 > mtu, "as few as possible");
        assert_eq!(header[20..], message.options_v4(number > 0));
        let alike = |at: usize| header[at] == fragments[0][at];
        assert!([0, 1, 4, 5, 8, 9].into_iter().chain(12..20).all(alike));
        payload.extend(part);
    }
    let mut whole = fragments[0][..header_len].to_vec();
    whole[2..4].copy_from_slice(&((header_len + payload.len()) as u16).to_be_bytes());
    whole[6..8].fill(0);
    whole[10..12].fill(0);
    let check = message::checksum(&whole);
    whole[10..12].copy_from_slice(&check);
    whole.extend(payload);
    whole
}

fn read_notices(
    message: &Message,
    port: Option<PortId>,
    arrived: &[u8],
    out: &Output,
    outcome: &mut Outcome,
) {
    for notice in out.notices.list() {
        assert_eq!((notice.to, Some(notice.port)), (message.source, port));
        let quoted = out.notices.packet(notice);
        assert!(arrived.starts_with(quoted) && quoted.len() == arrived.len().min(2304));
        let kind = match notice.kind {
            NoticeKind::TimeExceeded => "time-exceeded".to_owned(),
            NoticeKind::NoRoute => "no-route".to_owned(),
            NoticeKind::TooBig(mtu) => format!("too-big {mtu}"),
            NoticeKind::Trace => "trace".to_owned(),
        };
        assert!(outcome.notices.insert(kind), "one notice a kind");
    }
}

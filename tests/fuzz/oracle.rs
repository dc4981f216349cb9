//! What must hold of every copy, whatever came in.

use etherparse::{Ipv4Slice, Ipv6Slice};
use xcast::fib::{Capability, Entry, Fib, is_link_local};
use xcast::forward::{Form, LINK_HEADER_LEN, Output, Packet, Replica, Target, Time, process};
use xcast::wire::{ipv4, ipv6, probe, xcast4, xcast6};

use super::copies::{Copy, headers_are_right, reassemble};
use super::nodes::Node;
use super::octets::xcast_header;
use super::reading::Reading;
use super::tally::{Tally, family};
use super::trial::Input;

/// A packet that was read, where it arrived.
pub(crate) struct Arrived<'a> {
    pub(crate) fib: &'a Fib,
    pub(crate) input: &'a Input,
    /// From the IP header on, as it came.
    pub(crate) packet: &'a [u8],
    pub(crate) reading: &'a Reading,
}

/// A copy whose octets have been put together.
struct Made<'a> {
    replica: &'a Replica,
    link: Vec<u8>,
    packet: Vec<u8>,
    /// How many fragments it left in.
    fragments: usize,
}

impl Arrived<'_> {
    fn entry(&self, index: usize) -> Entry {
        let address = self.reading.destination(self.packet, index);
        self.fib.entry_for(address, self.input.port)
    }

    pub(crate) fn is_own(&self, index: usize) -> bool {
        self.entry(index) == Entry::Local
    }

    /// Whether it is a probe (R9), and if so whether it is one of this node's own.
    pub(crate) fn probe(&self) -> Option<bool> {
        let Arrived { fib, input, packet, reading } = self;
        let index = reading.live.leading_zeros() as usize;
        let datagram = &packet[reading.transport..reading.len];
        let has_form = reading.keeps_xcast()
            && reading.live.count_ones() == 1
            && reading.protocol == 17
            && datagram.len() == 24
            && datagram[..4] == [0; 4]
            && reading.destination(packet, index) == reading.source(packet);
        let port = input.port.filter(|_| has_form)?;
        match fib.entry_for(reading.source(packet), Some(port)) {
            Entry::Local => {
                let nonce = datagram[8..].try_into().unwrap();
                probe::is_genuine(&nonce, fib.secret()).then_some(true)
            }
            Entry::OnLink(on) => (on == port).then_some(false),
            Entry::Neighbor(id) => (fib.adjacency(id).port == port).then_some(false),
            _ => None,
        }
    }

    fn mtu(&self, target: Target) -> usize {
        match target {
            Target::Host { .. } => usize::MAX,
            Target::Port(port) | Target::Neighbor { port, .. } => {
                self.fib.port(port).expect("copies leave by ports that exist").mtu as usize
            }
        }
    }
}

/// Checks all copies of a packet.
pub(crate) fn check_replicas(
    arrived: &Arrived<'_>,
    out: &Output,
    replicas: &[Replica],
    buffer: &[u8],
    next: &mut Node,
    tally: &mut Tally,
) {
    let mut fragments: Vec<Vec<u8>> = Vec::new();
    for replica in replicas {
        assert_eq!(replica.packet, 7);
        let (head, tail) = out.pieces(replica, buffer);
        assert_eq!(replica.ip_len(), head.len() + tail.len() - LINK_HEADER_LEN);
        let (link, head) = head.split_at(LINK_HEADER_LEN);
        let packet = [head, tail].concat();
        assert!(packet.len() <= arrived.mtu(replica.target), "larger than its link's MTU");
        fragments.push(packet);
        if replica.live == 0 {
            assert!(replica.form.is_unicast() && !arrived.reading.is_v6, "a fragment");
            continue;
        }
        let count = fragments.len();
        let packet = match count {
            1 => fragments.remove(0),
            _ => reassemble(&fragments, arrived.mtu(replica.target)).unwrap(),
        };
        fragments.clear();
        let made = Made { replica, link: link.to_vec(), packet, fragments: count };
        check_copy(arrived, &made, tally);
        check_way(arrived, &made);
        if !replica.form.is_unicast() {
            check_next_router(arrived, &made, next);
        }
    }
    assert!(fragments.is_empty(), "the last fragment stands for the destination");
}

/// The octets of a copy.
fn check_copy(arrived: &Arrived<'_>, made: &Made<'_>, tally: &mut Tally) {
    let Arrived { fib, input, packet, reading } = arrived;
    let Made { replica, packet: actual, .. } = made;
    let to_host = matches!(replica.target, Target::Host { .. });
    let lowered = u8::from(input.port.is_some() && !to_host);
    let copy = Copy { packet, reading, actual, lowered, to_host };
    let family = family(packet);
    let one = replica.live.count_ones() == 1;
    if replica.form.is_unicast() {
        assert!(one && !reading.keeps_xcast(), "unicast for one destination");
        let index = replica.live.leading_zeros() as usize;
        let mut expected = copy.unicast(index);
        if made.fragments > 1 {
            expected[6] = 0; // the reserved flag is not for fragments
        }
        same(&expected, actual);
        assert!(reading.checksum_at(packet).is_ok(), "this cannot become unicast");
        assert!(copy.checksum_follows(index), "the transport checksum is wrong");
        assert!(headers_are_right(actual, None), "the IP checksum is wrong");
        if is_checked_by_etherparse(packet, reading, actual) {
            tally.form("right checksum of a unicast copy", family);
        }
    } else {
        let to_own_stack = to_host && input.port.is_none();
        assert!(!one || reading.keeps_xcast() && (!to_host || to_own_stack), "Xcast for one");
        let compact = fib.is_compact()
            && replica.form == Form::Xcast
            && !reading.keeps_xcast()
            && reading.protocol != 51
            && !(reading.is_v6 && reading.ports.is_some())
            && !reading.asks_for_trace(packet)
            && replica.live.count_ones() as usize != reading.count;
        if compact {
            tally.form("compact copy", family);
        }
        match compact {
            true => same(&copy.compacted(replica.live), actual),
            false => same(&copy.pruned(replica.live), actual),
        }
        assert!(headers_are_right(actual, xcast_header(actual)), "a header checksum is wrong");
    }
    check_parsers(packet, reading, replica, actual);
    tally.form(
        match (replica.form, to_host) {
            (_, true) => "delivered copy",
            (Form::Xcast, _) => "xcast copy",
            (Form::Unicast, _) => "unicast copy",
            (Form::PrematureUnicast, _) => "premature unicast copy",
            (Form::Probe, _) => "probe answered",
        },
        family,
    );
    if made.fragments > 1 {
        tally.form("fragmented copy", family);
    }
}

/// Fails at the first octet that differs.
fn same(expected: &[u8], actual: &[u8]) {
    let differs = expected.iter().zip(actual).position(|(expected, actual)| expected != actual);
    if let Some(at) = differs {
        let from = at.saturating_sub(8);
        let around = |bytes: &[u8]| bytes[from..bytes.len().min(at + 24)].to_vec();
        let (expected, actual) = (around(expected), around(actual));
        panic!("octet {at} of a copy, from {from}:\n{expected:02x?}, not\n{actual:02x?}");
    }
    assert_eq!(expected.len(), actual.len(), "the length of a copy");
}

/// Our own parsers and another implementation take the copy. AH is not looked into when a packet
/// arrives, so it may be wrong in a copy as it was.
fn check_parsers(packet: &[u8], reading: &Reading, replica: &Replica, copy: &[u8]) {
    let opaque = reading.protocol == 51;
    let accepted = match reading.is_v6 {
        false => Ipv4Slice::from_slice(copy).map(|_| ()).map_err(|error| error.to_string()),
        true => Ipv6Slice::from_slice(copy).map(|_| ()).map_err(|error| error.to_string()),
    };
    if let Err(error) = accepted {
        assert!(opaque, "etherparse: {error}");
        let refused = match reading.is_v6 {
            false => Ipv4Slice::from_slice(&packet[..reading.len]).is_err(),
            true => Ipv6Slice::from_slice(&packet[..reading.len]).is_err(),
        };
        assert!(refused, "etherparse takes the packet and not its copy: {error}");
    }
    let xcast_at = match reading.is_v6 {
        false => {
            let ip = ipv4::Packet::parse(copy).expect("an IPv4 packet");
            assert_eq!(ip.total_len(), copy.len());
            ip.header_len()
        }
        true => {
            let ip = ipv6::Packet::parse(copy).expect("an IPv6 packet");
            assert_eq!(ip.total_len(), copy.len());
            reading.xcast.start
        }
    };
    let listed = match (replica.form.is_unicast(), reading.is_v6) {
        (true, _) => return,
        (false, false) => xcast4::Header::parse(&copy[xcast_at..]).map(|list| list.bitmap()),
        (false, true) => xcast6::Header::parse(&copy[xcast_at..]).map(|list| list.bitmap()),
    };
    let count = listed.expect("an Xcast header").count_ones();
    assert_eq!(count, replica.live.count_ones());
}

/// Whether etherparse, too, finds the transport checksum of a unicast copy right; if the packet's
/// was, it must.
fn is_checked_by_etherparse(packet: &[u8], reading: &Reading, copy: &[u8]) -> bool {
    use super::octets::transport_sum;
    let transport = &packet[reading.transport..reading.len];
    let ends = (reading.source(packet), reading.group(packet));
    let is_right = transport_sum(ends.0, ends.1, reading.protocol, transport) == 0xffff;
    let has_checksum = matches!(reading.checksum_at(packet), Ok(Some(_)));
    let zero_udp = reading.protocol == 17 && transport.get(6..8) == Some(&[0, 0]);
    if !is_right || !has_checksum || zero_udp {
        return false;
    }
    let transport = &copy[reading.transport - (reading.len - copy.len())..];
    let result = match (reading.protocol, reading.is_v6) {
        (17, false) => {
            let ip = etherparse::Ipv4HeaderSlice::from_slice(copy).unwrap();
            let udp = etherparse::UdpHeaderSlice::from_slice(transport).unwrap().to_header();
            let sum = udp.calc_checksum_ipv4_raw(ip.source(), ip.destination(), &transport[8..]);
            sum.ok()
                .filter(|_| usize::from(udp.length) == transport.len())
                .map(|sum| (sum, udp.checksum))
        }
        (17, true) => {
            let ip = etherparse::Ipv6HeaderSlice::from_slice(copy).unwrap();
            let udp = etherparse::UdpHeaderSlice::from_slice(transport).unwrap().to_header();
            let sum = udp.calc_checksum_ipv6_raw(ip.source(), ip.destination(), &transport[8..]);
            sum.ok()
                .filter(|_| usize::from(udp.length) == transport.len())
                .map(|sum| (sum, udp.checksum))
        }
        _ => None,
    };
    match result {
        Some((expected, found)) => assert_eq!(expected % 0xffff, found % 0xffff, "etherparse: UDP"),
        None => return false,
    }
    true
}

/// Where a copy goes, and by which link-layer header.
fn check_way(arrived: &Arrived<'_>, made: &Made<'_>) {
    let (fib, replica) = (arrived.fib, made.replica);
    let ether_type: [u8; 2] = if arrived.reading.is_v6 { [0x86, 0xdd] } else { [8, 0] };
    assert!(matches!(replica.target, Target::Host { .. }) || made.link[12..] == ether_type);
    let adjacency = replica.adjacency.map(|id| fib.adjacency(id));
    match replica.target {
        Target::Host { from } => assert_eq!(from, arrived.input.port),
        Target::Port(port) => {
            let adjacency = adjacency.expect("a complete header is a neighbor's");
            assert_eq!(adjacency.port, port);
            assert_eq!(made.link[..12], adjacency.rewrite.expect("resolved")[..12]);
        }
        Target::Neighbor { port, .. } => {
            assert!(adjacency.is_none_or(|known| known.rewrite.is_none() && known.port == port));
            assert_eq!(made.link[6..12], fib.port(port).unwrap().link_address);
        }
    }
    let mut behind = 0;
    for index in arrived.reading.indices(replica.live) {
        let address = arrived.reading.destination(arrived.packet, index);
        match (arrived.entry(index), replica.target) {
            (Entry::Local, Target::Host { .. }) => {}
            (Entry::OnLink(on), Target::Neighbor { port, address: to }) => {
                assert_eq!((on, address), (port, to));
            }
            (Entry::Neighbor(id), Target::Port(_) | Target::Neighbor { .. }) => {
                assert_eq!(replica.adjacency, Some(id));
            }
            (Entry::Gateways(group), Target::Port(_) | Target::Neighbor { .. }) => {
                behind += 1;
                let gateway = replica.adjacency.expect("gateways are adjacencies");
                assert!(fib.members(group).contains(&gateway));
            }
            (entry, target) => panic!("{address} is {entry:?}, and its copy goes to {target:?}"),
        }
    }
    if let (Some(gateway), true) = (adjacency, behind > 0) {
        let speaks = gateway.capability == Capability::Capable;
        assert!(speaks || replica.form.is_unicast(), "the gateway does not speak Xcast");
    }
}

/// The next router finds nothing wrong with a copy in Xcast form, and the same destinations.
fn check_next_router(arrived: &Arrived<'_>, made: &Made<'_>, next: &mut Node) {
    let Node { fib, out, .. } = next;
    if is_link_local(arrived.reading.source(arrived.packet)) {
        return; // of another link there
    }
    let before = out.counters.clone();
    let mut buffer = [&[0; LINK_HEADER_LEN], &made.packet[..]].concat();
    let start = LINK_HEADER_LEN;
    let buffer = &mut buffer[..];
    process(fib, Packet { buffer, start, port: Some(0), to_group: false, index: 0 }, Time(0), out);
    let received = out.counters.destinations_received - before.destinations_received;
    let wrong = xcast::forward::DropReason::ALL.iter().zip(out.counters.drops).zip(before.drops);
    let wrong = wrong.filter(|((_, after), before)| after > before).map(|((r, _), _)| r.name());
    let wrong: Vec<&str> = wrong.collect();
    assert_eq!(received, u64::from(made.replica.destinations()), "{wrong:?} at the next router");
    out.clear();
}

//! The fast path changes nothing but the work: with it and without, the same packets come to the same
//! copies and the same counters.

use proptest::prelude::*;

use super::super::fast;
use super::*;

/// Destinations by every kind of way, and by none; most of them by simple ones.
const LISTED: [Ipv4Addr; 12] = [
    B,
    C,
    D,
    E,
    HOST,
    GATEWAY_1,
    B,
    D,
    OWN,
    Ipv4Addr::new(99, 1, 1, 1),
    Ipv4Addr::new(169, 254, 1, 1),
    Ipv4Addr::new(10, 9, 0, 1),
];

/// One packet.
#[derive(Clone, Debug)]
struct Sent {
    /// Places in [`LISTED`].
    list: Vec<usize>,
    live: u128,
    channel: u8,
    /// 0 to 7: X, A, D.
    flags: u8,
    protocol: u8,
    /// Of the transport header and its payload.
    transport: Vec<u8>,
    ttl: u8,
    traffic_class: u8,
    from: [u8; 4],
}

fn sent() -> impl Strategy<Value = Sent> {
    let simple = prop_oneof![12 => 0usize..8, 1 => 8usize..12];
    let list = prop_oneof![
        4 => prop::collection::vec(simple.clone(), 1..5),
        2 => prop::collection::vec(0usize..8, 1..12),
        1 => prop::collection::vec(0usize..8, 60..=127),
    ];
    let live = prop_oneof![2 => Just(u128::MAX), 2 => any::<u128>(), 1 => Just(bit(0))];
    let flags = prop_oneof![8 => Just(0u8), 1 => 0u8..8];
    let protocol = prop_oneof![6 => Just(17u8), 2 => Just(6), 1 => Just(1), 1 => Just(50)];
    let octets = prop_oneof![6 => any::<u8>().boxed(), 2 => Just(0u8).boxed()];
    let transport = prop::collection::vec(octets, 8..60);
    let ttl = prop_oneof![8 => Just(64u8), 1 => Just(1), 1 => Just(2)];
    let from = prop_oneof![
        8 => Just(SOURCE.octets()),
        1 => Just(HOST.octets()),
        1 => Just([169, 254, 9, 9]),
        1 => Just([127, 0, 0, 1]),
        1 => Just([99, 9, 9, 9]),
    ];
    let head = (list, live, 0u8..3, flags, protocol);
    (head, transport, ttl, any::<u8>(), from).prop_map(
        |((list, live, channel, flags, protocol), transport, ttl, traffic_class, from)| {
            let live = live & xcast4::all(list.len());
            Sent { list, live, channel, flags, protocol, transport, ttl, traffic_class, from }
        },
    )
}

impl Sent {
    fn frame(&self) -> Vec<u8> {
        let destinations: Vec<Ipv4Addr> = self.list.iter().map(|place| LISTED[*place]).collect();
        let header = xcast4::Repr {
            channel: self.channel.into(),
            bitmap: self.live,
            keep_xcast: self.flags & 1 != 0,
            anonymous: self.flags & 2 != 0,
            ds_bytes: vec![0x28; if self.flags & 4 != 0 { destinations.len() } else { 0 }],
            protocol: self.protocol,
            destinations,
            ..xcast4::Repr::default()
        };
        let ip = ipv4::Repr {
            source: self.from.into(),
            destination: GROUP,
            protocol: 253,
            traffic_class: self.traffic_class,
            ttl: self.ttl,
            payload_len: (header.header_len() + self.transport.len()) as u16,
        };
        let mut frame = vec![0; LINK_HEADER_LEN + 20 + header.header_len()];
        ip.emit(&mut frame[LINK_HEADER_LEN..]);
        header.emit(&mut frame[LINK_HEADER_LEN + 20..]).unwrap();
        frame.extend(&self.transport);
        frame
    }
}

fn packet_in(frame: &mut [u8], index: usize) -> Packet<'_> {
    let (start, port) = (LINK_HEADER_LEN, Some(0));
    Packet { buffer: frame, start, port, to_group: false, index: index as u16 }
}

struct Frames<'a>(&'a mut [Vec<u8>]);

impl Batch for Frames<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn packet(&mut self, index: usize) -> Packet<'_> {
        packet_in(&mut self.0[index], index)
    }
}

/// A copy: whose it is, where to, how, for whom, and its bytes.
type Copy = (u16, Target, Form, u128, bool, Vec<u8>);

fn copies(fib: &Fib, sent: &[Sent], out: &mut Output) -> Vec<Copy> {
    let mut frames: Vec<Vec<u8>> = sent.iter().map(Sent::frame).collect();
    let mut done = 0;
    let mut copies = Vec::new();
    while done < frames.len() {
        let rest = &mut frames[done..];
        let count = process_batch(fib, &mut Frames(rest), NOW, out);
        let replicas = out.replicas().to_vec();
        copies.extend(replicas.iter().map(|replica| {
            let (head, tail) = out.pieces(replica, &rest[usize::from(replica.packet)]);
            let whose = done as u16 + replica.packet;
            let Replica { target, form, live, answerable, .. } = *replica;
            (whose, target, form, live, answerable, [head, tail].concat())
        }));
        replicas.iter().for_each(|replica| out.counters.sent(replica));
        out.clear();
        done += count;
    }
    copies
}

/// Without the fast path: there is a limit, which nobody reaches.
const UNREACHED: u32 = u32::MAX;

proptest! {
    #[test]
    fn the_fast_path_changes_nothing(batches in prop::collection::vec(prop::collection::vec(sent(), 1..6), 1..5)) {
        let tables = [
            TABLE,
            Table { reverse_path: ReversePath::Loose, ..TABLE },
            Table { reverse_path: ReversePath::Off, mtu: 100, ..TABLE },
            Table { capable: false, ..TABLE },
            Table { resolved: false, ..TABLE },
        ];
        for table in tables {
            let fast = table.fib();
            let slow = Table { destinations_per_second: UNREACHED, ..table }.fib();
            let (mut by_fast, mut by_slow) = (Output::new(&fast), Output::new(&slow));
            for sent in &batches {
                let expected = copies(&slow, sent, &mut by_slow);
                prop_assert_eq!(copies(&fast, sent, &mut by_fast), expected, "{:?}", sent);
            }
            // What one path keeps and the other does not is of no matter.
            by_fast.counters.partition_cache_hits = 0;
            by_slow.counters.partition_cache_hits = 0;
            prop_assert_eq!(by_fast.counters, by_slow.counters);
        }
    }
}

/// What is different about a packet.
type Change = fn(&mut Sent);

/// Whether the fast path does all for a packet to these destinations.
fn is_fast(table: Table, list: &[usize], change: impl Fn(&mut Sent)) -> bool {
    let mut sent = Sent {
        list: list.to_vec(),
        live: xcast4::all(list.len()),
        channel: 0,
        flags: 0,
        protocol: 17,
        transport: vec![1; 20],
        ttl: 64,
        traffic_class: 0,
        from: SOURCE.octets(),
    };
    change(&mut sent);
    let fib = table.fib();
    let (mut frame, mut out) = (sent.frame(), Output::new(&fib));
    let mut packet = packet_in(&mut frame, 0);
    let Some(plain) = fast::read(&fib, &packet) else { return false };
    let entry = |place: &usize| fib.lookup(LISTED[*place].into());
    let entries: Vec<_> = sent.list.iter().map(entry).collect();
    let source = fib.lookup(IpAddr::from(sent.from));
    let route = Route { entries: &entries, source, cached: None };
    out.scratch.begin_packet();
    fast::forward(&fib, &mut packet, &plain, route, &mut out)
}

#[test]
fn most_packets_take_it() {
    // Behind one gateway, behind two, on the link, and all of them.
    for list in [&[0][..], &[0, 1], &[0, 2], &[0, 1, 2, 3], &[4], &[4, 4], &[0, 1, 2, 4, 5]] {
        assert!(is_fast(TABLE, list, |_| ()), "{list:?}");
        assert!(is_fast(TABLE, list, |sent| sent.protocol = 6), "{list:?}");
    }
    assert!(is_fast(Table { capable: false, ..TABLE }, &[4, 4], |_| ()));
}

#[test]
fn it_leaves_what_is_not_so_simple() {
    for (place, address) in LISTED.iter().enumerate().skip(8) {
        assert!(!is_fast(TABLE, &[0, place], |_| ()), "{address}");
    }
    let others: [(&str, Change); 8] = [
        ("must stay Xcast", |sent| sent.flags = 1),
        ("anonymous", |sent| sent.flags = 2),
        ("DS bytes", |sent| sent.flags = 4),
        ("ICMP", |sent| sent.protocol = 1),
        ("short", |sent| sent.transport.truncate(19)),
        ("at its end", |sent| sent.ttl = 1),
        ("from nowhere", |sent| sent.from = [127, 0, 0, 1]),
        ("from elsewhere", |sent| sent.from = HOST.octets()),
    ];
    for (what, change) in others {
        assert!(!is_fast(TABLE, &[0, 2], change), "{what}");
    }
    let tables = [
        Table { capable: false, ..TABLE },
        Table { resolved: false, ..TABLE },
        Table { mtu: 39, ..TABLE },
        Table { compact: true, ..TABLE },
        Table { sources: &["10.0.0.0/8"], ..TABLE },
        Table { destinations: &["10.0.0.0/8"], ..TABLE },
        Table { destinations_per_second: UNREACHED, ..TABLE },
    ];
    assert!(tables.into_iter().all(|table| !is_fast(table, &[0, 2], |_| ())));
}

//! The partition cache changes nothing but the work: the same packets, with it and without, come to
//! the same copies and the same counters, whatever changes between them, alone or in batches.

use proptest::prelude::*;

use super::*;

/// Destinations by every kind of way, and by none.
const LISTED: [Ipv4Addr; 8] =
    [B, C, D, E, HOST, OWN, Ipv4Addr::new(99, 1, 1, 1), Ipv4Addr::new(169, 254, 1, 1)];
const LISTED_V6: [Ipv6Addr; 6] = [B_V6, C_V6, D_V6, E_V6, HOST_V6, OWN_V6];

/// One packet, out of few kinds, so that many are alike.
#[derive(Clone, Copy, Debug)]
struct Sent {
    is_v6: bool,
    channel: u8,
    /// How long its list is, and from which address on.
    list: (usize, usize),
    bitmap: u8,
    keep_xcast: bool,
    ttl: u8,
    port: Option<PortId>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let list = (prop_oneof![Just(2usize), Just(4)], 0usize..3);
    let rest = (any::<bool>(), prop_oneof![8 => Just(64u8), 1 => Just(1), 1 => Just(2)]);
    let port = prop_oneof![8 => Just(Some(0u16)), 1 => Just(Some(1)), 1 => Just(None)];
    (prop::bool::weighted(0.3), 0u8..3, list, 0u8..3, rest, port).prop_map(
        |(is_v6, channel, list, bitmap, (keep_xcast, ttl), port)| Sent {
            is_v6,
            channel,
            list,
            bitmap,
            keep_xcast,
            ttl,
            port,
        },
    )
}

/// What happens: packets come together, or another table is to be used.
#[derive(Clone, Debug)]
enum Step {
    Packets(Vec<Sent>),
    Table(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let packets = prop::collection::vec(sent(), 1..6).prop_map(Step::Packets);
    let again = sent().prop_map(|sent| Step::Packets(vec![sent; 4]));
    let step = prop_oneof![6 => packets, 6 => again, 1 => (0usize..4).prop_map(Step::Table)];
    prop::collection::vec(step, 1..40)
}

impl Sent {
    fn frame(self) -> Vec<u8> {
        let (count, first) = self.list;
        let live = |all: u128| match self.bitmap {
            0 => all,
            1 => bit(0) | bit(1),
            _ => bit(1),
        };
        let mut frame = vec![0; LINK_HEADER_LEN];
        frame.extend(match self.is_v6 {
            false => packet(
                xcast4::Repr {
                    channel: self.channel.into(),
                    bitmap: live(xcast4::all(count)),
                    keep_xcast: self.keep_xcast,
                    ..to(&LISTED[first..first + count])
                },
                self.ttl,
            ),
            true => packet_v6(
                xcast6::Repr {
                    channel: self.channel.into(),
                    bitmap: live(xcast6::all(count)),
                    keep_xcast: self.keep_xcast,
                    ..to_v6(&LISTED_V6[first..first + count])
                },
                self.ttl,
            ),
        });
        frame
    }
}

/// Frames that are processed together, each from its port.
struct Together<'a> {
    frames: &'a mut [Vec<u8>],
    sent: &'a [Sent],
}

impl Batch for Together<'_> {
    fn len(&self) -> usize {
        self.sent.len()
    }

    fn packet(&mut self, index: usize) -> Packet<'_> {
        Packet {
            buffer: &mut self.frames[index],
            start: LINK_HEADER_LEN,
            port: self.sent[index].port,
            to_group: false,
            index: index as u16,
        }
    }
}

/// All copies of some packets: whose they are, where to, and their bytes.
fn copies(fib: &Fib, sent: &[Sent], out: &mut Output) -> Vec<(u16, Target, Vec<u8>)> {
    let mut frames: Vec<Vec<u8>> = sent.iter().map(|sent| sent.frame()).collect();
    let done = process_batch(fib, &mut Together { frames: &mut frames, sent }, NOW, out);
    assert_eq!(done, sent.len());
    let replicas = out.replicas().to_vec();
    let copy = |replica: &Replica| {
        let (head, tail) = out.pieces(replica, &frames[usize::from(replica.packet)]);
        (replica.packet, replica.target, [head, tail].concat())
    };
    let copies = replicas.iter().map(copy).collect();
    replicas.iter().for_each(|replica| out.counters.sent(replica));
    out.clear();
    copies
}

proptest! {
    #[test]
    fn the_partition_cache_changes_nothing(steps in steps()) {
        let tables = [
            TABLE,
            Table { capable: false, ..TABLE },
            Table { resolved: false, ..TABLE },
            Table { destinations: &["10.1.0.0/16", "2001:db8:1::/48"], ..TABLE },
        ];
        let fibs = tables.map(Table::fib);
        let mut fib = &fibs[0];
        let (mut with, mut without) = (Output::new(fib), Output::new(fib));
        without.use_partition_cache(false);
        for step in &steps {
            match step {
                Step::Table(table) => {
                    fib = &fibs[*table];
                    with.prepare(fib);
                    without.prepare(fib);
                }
                Step::Packets(sent) => {
                    let expected = copies(fib, sent, &mut without);
                    prop_assert_eq!(copies(fib, sent, &mut with), expected, "{:?}", sent);
                }
            }
        }
        with.counters.partition_cache_hits = 0;
        prop_assert_eq!(with.counters, without.counters);
    }
}

#[test]
fn a_channel_is_known_from_its_third_packet_on() {
    let fib = TABLE.fib();
    let mut out = Output::new(&fib);
    let one = Sent {
        is_v6: false,
        channel: 1,
        list: (4, 0),
        bitmap: 0,
        keep_xcast: false,
        ttl: 64,
        port: Some(0),
    };
    let mut hits = |sent: Sent| {
        let before = out.counters.partition_cache_hits;
        copies(&fib, &[sent], &mut out);
        out.counters.partition_cache_hits - before
    };
    // Seen; kept; found.
    assert_eq!([hits(one), hits(one), hits(one), hits(one)], [0, 0, 1, 1]);
    // Other live destinations are another partition of the same channel.
    let other = Sent { bitmap: 1, ..one };
    assert_eq!([hits(other), hits(other), hits(one)], [0, 1, 0]);
    // Without a channel there is nothing to know it by.
    let none = Sent { channel: 0, ..one };
    assert_eq!([hits(none), hits(none), hits(none)], [0, 0, 0]);
    // Another Fib may have other routes.
    out.prepare(&fib);
    let before = out.counters.partition_cache_hits;
    copies(&fib, &[one], &mut out);
    assert_eq!(out.counters.partition_cache_hits, before);
}

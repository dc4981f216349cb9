use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::arena::{LINE, NODE, zeros};
use super::chunks::{ChunkStore, Run, Store};
use super::encode::Encoder;
use super::*;

fn code_points() -> CodePoints {
    CodePoints {
        ip_protocol: 253,
        all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
        all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
        routing_type: 253,
        ports_option: 0x5e,
        hop_by_hop_option: 0x1e,
    }
}

/// The routes of tables, the one consulted last first: to a port, or to the table behind.
type Tables = Vec<Vec<(Prefix, Option<PortId>)>>;

fn compiled(tables: &Tables, kind: TableKind) -> Fib {
    let mut builder = FibBuilder::new(code_points(), Vec::new());
    builder.kind(kind);
    for table in tables {
        builder.begin_table();
        for (prefix, port) in table {
            match port {
                Some(port) => builder.route(*prefix, Entry::OnLink(*port)),
                None => builder.throw(*prefix),
            }
        }
    }
    builder.finish(1)
}

/// The obviously right answer.
fn linear(tables: &Tables, address: IpAddr) -> Entry {
    let of_table = |table: &Vec<(Prefix, Option<PortId>)>| {
        let holding = table.iter().filter(|(prefix, _)| prefix.contains(address));
        // Of equals the last one.
        holding.max_by_key(|(prefix, _)| prefix.length()).and_then(|(_, port)| *port)
    };
    tables.iter().rev().find_map(of_table).map_or(Entry::NoRoute, Entry::OnLink)
}

fn prefix_v4() -> impl Strategy<Value = Prefix> {
    let base = prop_oneof![Just(0x0a00_0000u32), Just(0x0a00_fff0), Just(0xc0a8_0100)];
    (base, any::<u32>(), 0u8..=32).prop_filter_map("its length", |(base, noise, length)| {
        Prefix::new(Ipv4Addr::from_bits(base ^ (noise & 0x0003_07ff)).into(), length)
    })
}

fn prefix_v6() -> impl Strategy<Value = Prefix> {
    let base = prop_oneof![Just(0x2001_0db8u128 << 96), Just(0x2001_0db8_u128 << 96 | 1 << 63)];
    let noise = prop_oneof![
        0u128..8,
        (0u128..8).prop_map(|n| n << 61),
        any::<u64>().prop_map(|n| u128::from(n) << 40)
    ];
    (base, noise, 0u8..=128).prop_filter_map("its length", |(base, noise, length)| {
        Prefix::new(Ipv6Addr::from_bits(base ^ noise).into(), length)
    })
}

fn tables(prefix: impl Strategy<Value = Prefix>) -> impl Strategy<Value = Tables> {
    let route = (prefix, proptest::option::weighted(0.9, 1u16..5));
    proptest::collection::vec(proptest::collection::vec(route, 0..40), 1..4)
}

/// The edges of all prefixes, and their neighbors, that routes may claim.
fn edges_v4(tables: &Tables) -> Vec<u32> {
    let prefixes = tables.iter().flatten().map(|(prefix, _)| prefix);
    let all = prefixes.flat_map(|prefix| {
        let IpAddr::V4(first) = prefix.address() else { return [0; 4] };
        let first = first.to_bits();
        let last = first | !mask_v4(prefix.length());
        [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
    });
    all.filter(|address| (1..127).contains(&(address >> 24)) || address >> 24 == 192).collect()
}

fn edges_v6(tables: &Tables) -> Vec<u128> {
    let prefixes = tables.iter().flatten().map(|(prefix, _)| prefix);
    let all = prefixes.flat_map(|prefix| {
        let IpAddr::V6(first) = prefix.address() else { return [0; 4] };
        let first = first.to_bits();
        let last = first | u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
        [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
    });
    all.filter(|address| (1..0xfe80).contains(&(address >> 112))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_a_linear_table_does_v4(tables in tables(prefix_v4()), dir24 in any::<bool>()) {
        let kind = if dir24 { TableKind::Dir24(zeros) } else { TableKind::default() };
        let fib = compiled(&tables, kind);
        let addresses = edges_v4(&tables);
        let mut batch = vec![9999; addresses.len()];
        fib.lookup_batch_v4(&addresses, &mut batch);
        for (address, id) in addresses.iter().zip(batch) {
            let address = Ipv4Addr::from_bits(*address).into();
            prop_assert_eq!(*fib.entry(id), linear(&tables, address), "{}", address);
            prop_assert_eq!(fib.lookup(address), id);
        }
    }

    #[test]
    fn answers_as_a_linear_table_does_v6(tables in tables(prefix_v6())) {
        let fib = compiled(&tables, TableKind::default());
        let addresses = edges_v6(&tables);
        let mut batch = vec![9999; addresses.len()];
        fib.lookup_batch_v6(&addresses, &mut batch);
        for (address, id) in addresses.iter().zip(batch) {
            let address = Ipv6Addr::from_bits(*address).into();
            prop_assert_eq!(*fib.entry(id), linear(&tables, address), "{}", address);
            prop_assert_eq!(fib.lookup(address), id);
        }
    }
}

#[test]
fn a_node_is_a_bitmap_and_its_runs() {
    let mut store = ChunkStore::<64, Encoder<6>>::new(zeros);
    // 0.0.0.0/18 is 7, but for 0.0.1.0/24 and 0.0.2.0/24, which are 8; behind it all is 9.
    let run = |start: u32, value| Run { start, value };
    store.put(0, &[run(0, 7), run(0x100, 8), run(0x300, 7), run(0x4000, 9)]);
    let mut wanted = vec![1 << 31 | 64];
    wanted.extend([9; 63]);
    wanted.extend([0b1011, 0, 7, 8, 7]);
    let chunks = Poptrie::<64, 6>(store.table());
    assert_eq!([0, 1 << 20].map(|a: u32| chunks.0.root(a)), [NODE, 0]);
    let words = chunks.0.words();
    assert!(words.as_ptr().addr().is_multiple_of(4 * LINE));
    let words: Vec<u32> = words[..wanted.len()].iter().map(|word| word.load(Relaxed)).collect();
    assert_eq!(words, wanted);
    let addresses = [0, 0xff, 0x100, 0x2ff, 0x300, 0x3fff, 0x4000, 0xf_ffff, 0x10_0000];
    assert_eq!(addresses.map(|a: u32| chunks.lookup(a)), [7, 7, 8, 8, 7, 7, 9, 9, 0]);
}

#[test]
fn generations_share_what_did_not_change() {
    for kind in [TableKind::default(), TableKind::Dir24(zeros)] {
        let prefixes = synthetic::prefixes_v4(1, 20_000);
        let mut compiler = Compiler::new(code_points(), kind);
        let outcomes = [1, 2].map(|port| Outcome::To(compiler.entry(Entry::OnLink(port))));
        let all = prefixes.iter().zip(0..).map(|(prefix, at)| (*prefix, 0, at % 2));
        let (mut routes, _) = Routes::collect(all);
        let mut publish = |routes: &Routes, change: Option<Prefix>| {
            change.into_iter().for_each(|prefix| compiler.mark(prefix));
            let table = Table { routes, outcomes: &outcomes, dead: false };
            compiler.publish(1, &[], &[table], &[], &Default::default())
        };
        let first = publish(&routes, None);
        assert_eq!(publish(&routes, None).memory_beyond(&first), first.memory_beyond(&first));
        let at = prefixes.iter().position(|prefix| prefix.length() == 24).unwrap();
        let changed = prefixes[at];
        let before = first.lookup(changed.address());
        routes.replace(changed, 0, (at as ActionId + 1) % 2);
        let second = publish(&routes, Some(changed));
        assert!(second.memory_beyond(&first) * 5 < first.memory());
        assert_eq!(first.lookup(changed.address()), before, "the old one stays as it was");
    }
}

#[test]
fn synthetic_prefixes_are_distinct_and_always_the_same() {
    for make in [synthetic::prefixes_v4, synthetic::prefixes_v6] {
        let prefixes = make(7, 10_000);
        assert_eq!(prefixes, make(7, 10_000));
        assert_ne!(prefixes, make(8, 10_000));
        assert_eq!(prefixes.iter().collect::<HashSet<_>>().len(), 10_000);
    }
    let prefixes = synthetic::prefixes_v4(1, 10_000);
    let long = prefixes.iter().filter(|prefix| prefix.length() == 24).count();
    assert!((5_700..6_300).contains(&long), "{long}");
    let inside = synthetic::addresses_in(3, &prefixes, 1_000);
    assert!(inside.iter().all(|address| prefixes.iter().any(|prefix| prefix.contains(*address))));
}

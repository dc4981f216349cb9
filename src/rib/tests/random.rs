//! Random changes, one after another: what is compiled step by step answers as a Rib does that was
//! told everything at once, and as a slow linear model; Fibs that are kept answer as ever.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU32;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fib::{Hop, TableKind};
use crate::rib::resolve::{Resolved, is_scoped, last_address, subnet};

#[derive(Clone, Debug)]
enum Step {
    Apply(Change),
    Probed(u32, IpAddr, Option<bool>),
    Statics(Vec<StaticRoute>),
    Tables(Vec<u32>),
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let v4 =
        (select(vec!["10.0.1.0", "10.0.2.7", "20.0.0.0", "20.0.15.255"]), 0u32..1024, 0u8..=32);
    let v4 = v4.prop_map(|(base, noise, length)| match ip(base) {
        IpAddr::V4(base) => (Ipv4Addr::from_bits(base.to_bits() ^ noise).into(), length),
        other => (other, length),
    });
    let bases = vec!["2001:db8::", "2001:db8:0:1::", "2001:db8:ffff:ffff::", "fe80::"];
    let shift = select(vec![0u32, 30, 62, 66, 90, 104]);
    let v6 = (select(bases), 0u128..8, shift, 0u8..=128);
    let v6 = v6.prop_map(|(base, noise, shift, length)| match ip(base) {
        IpAddr::V6(base) => (Ipv6Addr::from_bits(base.to_bits() ^ noise << shift).into(), length),
        other => (other, length),
    });
    let lengths = prop_oneof![3 => Just(true), 1 => Just(false)];
    (prop_oneof![v4, v6], lengths).prop_filter_map("its length", |((address, length), long)| {
        // Short ones would hide the others too often.
        Prefix::new(address, if long { length.max(length / 2 + 8) } else { length })
    })
}

fn gateway_address() -> impl Strategy<Value = IpAddr> {
    select(vec![ip("10.0.1.7"), ip("10.0.1.8"), ip("10.0.2.7"), ip("2001:db8::7"), ip("fe80::7")])
}

fn action() -> impl Strategy<Value = RouteAction> {
    let gateway = proptest::option::of(gateway_address());
    let hop = (1u32..4, gateway, 1u16..3).prop_map(|(interface, gateway, weight)| NextHop {
        interface,
        gateway,
        weight,
    });
    prop_oneof![
        8 => proptest::collection::vec(hop, 1..3).prop_map(RouteAction::Forward),
        1 => Just(RouteAction::Drop),
        2 => Just(RouteAction::Throw),
    ]
}

fn route() -> impl Strategy<Value = KernelRoute> {
    let table = select(vec![254u32, 254, 100, 7]);
    (table, prefix(), 0u32..3, action()).prop_map(|(table, prefix, metric, action)| KernelRoute {
        table,
        prefix,
        metric,
        action,
    })
}

fn own_address() -> impl Strategy<Value = Address> {
    let address = select(vec![ip("10.0.1.1"), ip("10.0.2.1"), ip("20.0.0.1"), ip("2001:db8::1")]);
    let broadcast = proptest::option::of(Just(Ipv4Addr::new(10, 0, 1, 7)));
    (1u32..4, address, select(vec![24u8, 30, 32]), broadcast).prop_map(
        |(interface, address, prefix_length, broadcast)| Address {
            interface,
            address,
            prefix_length,
            peer: None,
            broadcast,
        },
    )
}

fn any_neighbor() -> impl Strategy<Value = Neighbor> {
    let state = select(vec![NeighborState::Reachable, NeighborState::Failed]);
    (1u32..4, prop_oneof![gateway_address(), prefix().prop_map(|p| p.address())], state).prop_map(
        |(interface, address, state)| Neighbor {
            interface,
            address,
            link_address: Some([4, 0, 0, 0, 0, 1]),
            state,
        },
    )
}

fn any_link() -> impl Strategy<Value = Link> {
    (1u32..4, any::<bool>(), any::<bool>()).prop_map(|(index, admin_up, carrier)| Link {
        admin_up,
        carrier,
        ..link(index, &format!("eth{index}"))
    })
}

fn change() -> impl Strategy<Value = Change> {
    let placement = select(vec![Placement::First, Placement::Last, Placement::Replace]);
    prop_oneof![
        12 => (route(), placement).prop_map(|(route, placement)| Change::Route(route, placement)),
        3 => any_link().prop_map(Change::Link),
        1 => (1u32..4).prop_map(Change::LinkGone),
        2 => own_address().prop_map(Change::Address),
        1 => own_address().prop_map(Change::AddressGone),
        3 => any_neighbor().prop_map(Change::Neighbor),
        1 => proptest::collection::vec(route(), 0..12).prop_map(Change::AllRoutes),
    ]
}

fn static_route() -> impl Strategy<Value = StaticRoute> {
    let target = prop_oneof![
        gateway_address().prop_map(StaticTarget::Via),
        select(vec!["eth1", "eth9"]).prop_map(|name| StaticTarget::Interface(name.to_owned())),
        Just(StaticTarget::Tunnel("x1".to_owned())),
        Just(StaticTarget::Drop),
    ];
    (prefix(), target).prop_map(|(prefix, target)| StaticRoute { prefix, target })
}

fn step() -> impl Strategy<Value = Step> {
    let probed = (1u32..4, gateway_address(), proptest::option::of(any::<bool>()));
    let tables = select(vec![vec![254u32], vec![100, 254], vec![254, 100]]);
    prop_oneof![
        20 => change().prop_map(Step::Apply),
        1 => probed.prop_map(|(link, address, capable)| Step::Probed(link, address, capable)),
        1 => proptest::collection::vec(static_route(), 0..3).prop_map(Step::Statics),
        1 => tables.prop_map(Step::Tables),
    ]
}

fn take(rib: &mut Rib, step: Step) {
    match step {
        Step::Apply(change) => {
            rib.apply(change);
        }
        Step::Probed(link, address, capable) => {
            rib.set_probed(link, address, capable);
        }
        Step::Statics(static_routes) => {
            rib.set_settings(Settings { static_routes, ..rib.settings.clone() });
        }
        Step::Tables(kernel_tables) => {
            rib.set_settings(Settings { kernel_tables, ..rib.settings.clone() });
        }
    }
}

/// What an entry says, without the ids of its own Fib.
#[derive(Debug, PartialEq)]
enum Answer {
    Plain(Entry),
    Neighbor(PortId, IpAddr),
    Gateways(Vec<(PortId, IpAddr)>),
}

fn answer(fib: &Fib, address: IpAddr) -> Answer {
    let key = |id| (fib.adjacency(id).port, fib.adjacency(id).address);
    match *fib.entry(fib.lookup(address)) {
        Entry::Neighbor(id) => Answer::Neighbor(key(id).0, key(id).1),
        Entry::Gateways(group) => {
            Answer::Gateways(fib.members(group).iter().map(|id| key(*id)).collect())
        }
        entry => Answer::Plain(entry),
    }
}

/// The longest of some routes that can be followed.
fn longest(routes: Vec<(Prefix, Option<Resolved>)>, address: IpAddr) -> Option<Resolved> {
    let holding = routes.into_iter().filter(|(prefix, _)| prefix.contains(address));
    let live = holding.filter_map(|(prefix, resolved)| Some((prefix.length(), resolved?)));
    let live = live.filter(|(_, resolved)| !matches!(resolved, Resolved::TunnelDown));
    // The first of equals.
    live.rev().max_by_key(|(length, _)| *length).map(|(_, resolved)| resolved)
}

fn kernel_routes(rib: &Rib, table: u32) -> Vec<(Prefix, Option<Resolved>)> {
    let routes = rib.tables.get(&table).into_iter().flat_map(|routes| routes.iter());
    let routes = routes.filter(|(prefix, ..)| !is_scoped(prefix));
    routes.map(|(p, _, id)| (p, rib.resolve(rib.actions.action(id).unwrap()))).collect()
}

/// What a packet to an address comes to, looked up one by one.
fn model(rib: &Rib, fib: &Fib, address: IpAddr) -> Answer {
    let reserved = match address {
        IpAddr::V4(v4) => {
            v4.is_unspecified() || v4.is_loopback() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_multicast(),
    };
    if reserved {
        return Answer::Plain(Entry::Bad);
    }
    if address.is_ipv6() && crate::fib::is_link_local(address) {
        return Answer::Plain(Entry::LinkLocal);
    }
    let own = || rib.addresses.values();
    let up = |own: &&Address| rib.links.get(&own.interface).is_some_and(|link| link.admin_up);
    if own().filter(up).any(|own| own.address == address) {
        return Answer::Plain(Entry::Local);
    }
    let is_broadcast = |own: &Address| {
        let all_ones = subnet(own).and_then(last_address);
        [all_ones, own.broadcast].into_iter().flatten().any(|broadcast| broadcast == address)
    };
    if own().any(is_broadcast) {
        return Answer::Plain(Entry::Bad);
    }
    let mut statics: Vec<_> = rib.settings.static_routes.iter().collect();
    statics.reverse(); // of equals the last one counts
    let statics = statics.into_iter().map(|r| (r.prefix, rib.resolve_static(&r.target)));
    let tables = rib.settings.kernel_tables.iter().map(|table| kernel_routes(rib, *table));
    let tables: Vec<_> = std::iter::once(statics.collect()).chain(tables).collect();
    let dead = tables.iter().find_map(|table| {
        let holding = table.iter().filter(|(prefix, _)| prefix.contains(address));
        let dead = holding.filter(|(_, r)| matches!(r, None | Some(Resolved::TunnelDown)));
        // The first of equals.
        let (_, resolved) = dead.rev().max_by_key(|(prefix, _)| prefix.length())?;
        Some(if resolved.is_some() { Entry::TunnelDown } else { Entry::PortDown })
    });
    let found = tables.into_iter().filter_map(|table| longest(table, address));
    let key = |hop: Hop| std::iter::repeat_n((hop.port, hop.gateway), hop.weight.into());
    match found.filter(|resolved| !matches!(resolved, Resolved::Throw)).take(1).last() {
        Some(Resolved::Entry(Entry::OnLink(port))) => {
            match fib.find_adjacency(port, address).is_some() {
                true => Answer::Neighbor(port, address),
                false => Answer::Plain(Entry::OnLink(port)),
            }
        }
        Some(Resolved::Entry(entry)) => Answer::Plain(entry),
        Some(Resolved::Via(hops)) => Answer::Gateways(hops.into_iter().flat_map(key).collect()),
        _ => Answer::Plain(dead.unwrap_or(Entry::NoRoute)),
    }
}

/// The edges of a prefix and what lies next to it.
fn edges(prefix: Prefix) -> [IpAddr; 4] {
    match prefix.address() {
        IpAddr::V4(first) => {
            let first = first.to_bits();
            let last = first | u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(first) => {
            let first = first.to_bits();
            let last = first | u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

/// All addresses that a step has to do with.
fn concerned(step: &Step) -> Vec<IpAddr> {
    let prefixes: Vec<Prefix> = match step {
        Step::Apply(Change::Route(route, _)) => vec![route.prefix],
        Step::Apply(Change::AllRoutes(routes)) => routes.iter().map(|r| r.prefix).collect(),
        Step::Apply(Change::Neighbor(neighbor)) => vec![Prefix::host(neighbor.address)],
        Step::Apply(Change::Address(own)) => {
            vec![Prefix::host(own.address), Prefix::new(own.address, own.prefix_length).unwrap()]
        }
        Step::Statics(routes) => routes.iter().map(|route| route.prefix).collect(),
        _ => Vec::new(),
    };
    prefixes.into_iter().flat_map(edges).collect()
}

fn zeros(words: usize) -> Vec<AtomicU32> {
    (0..words).map(|_| AtomicU32::new(0)).collect()
}

fn starting(kind: TableKind) -> Rib {
    rib(Settings { kernel_tables: vec![100, 254], table: kind, ..settings() })
}

type Neighbors<C> = (Vec<C>, BTreeSet<C>);

/// Everything that answers depend on but the answers.
fn neighborhood(fib: &Fib) -> Neighbors<(PortId, IpAddr)> {
    let adjacencies = fib.adjacencies().iter().map(|a| (a.port, a.address));
    (adjacencies.collect(), fib.gateways().map(|a| (a.port, a.address)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn compiles_step_by_step_what_it_would_at_once(
        steps in proptest::collection::vec((step(), proptest::bool::weighted(0.7)), 1..40),
        dir24 in any::<bool>(),
    ) {
        let kind = if dir24 { TableKind::Dir24(zeros) } else { TableKind::default() };
        let mut rib = starting(kind);
        let mut addresses: BTreeSet<IpAddr> =
            ["10.0.1.9", "10.0.1.255", "224.0.0.1", "::1", "fe80::1"].map(ip).into();
        let mut kept: Vec<(Fib, Vec<Answer>)> = Vec::new();
        for (step, _) in &steps {
            addresses.extend(concerned(step));
        }
        for (done, (step, compiled)) in steps.iter().enumerate() {
            take(&mut rib, step.clone());
            if !compiled {
                continue;
            }
            let fib = rib.compile();
            let answers: Vec<Answer> = addresses.iter().map(|a| answer(&fib, *a)).collect();
            for (address, answer) in addresses.iter().zip(&answers) {
                prop_assert_eq!(answer, &model(&rib, &fib, *address), "{} at {}", address, done);
            }
            if kept.len() > 4 {
                kept.remove(done % 4);
            }
            kept.push((fib, answers));
        }
        let mut at_once = starting(TableKind::default());
        steps.iter().for_each(|(step, _)| take(&mut at_once, step.clone()));
        let (fib, once) = (rib.compile(), at_once.compile());
        prop_assert_eq!(neighborhood(&fib), neighborhood(&once));
        for address in &addresses {
            prop_assert_eq!(answer(&fib, *address), answer(&once, *address), "{}", address);
        }
        for (old, answers) in &kept {
            for (address, known) in addresses.iter().zip(answers) {
                prop_assert_eq!(&answer(old, *address), known, "{} in a kept Fib", address);
            }
        }
    }
}

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;
use crate::underlay::{Link, Matrix, TransitStub, Waxman, abilene};
use xcast::fib::Entry;

const SEEDS: std::ops::Range<u64> = 0..12;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Networks of every kind, with hosts.
fn underlays(seed: u64) -> Vec<Arc<Underlay>> {
    let small = TransitStub { domains: 2, transit_routers: 3, stubs: 2, ..TransitStub::ts600() };
    let waxman = Waxman { routers: 50, alpha: 0.2, beta: 0.15, side: ms(40) };
    let mut all = vec![small.build(seed), waxman.build(seed), abilene()];
    all.iter_mut().for_each(|underlay| underlay.attach_hosts(60, seed));
    let mut random = Random::new(seed, 1);
    let mut row = |_| (0..20).map(|_| format!("{} ", 1 + random.below(300))).collect::<String>();
    let text: Vec<String> = (0..20).map(&mut row).collect();
    all.push(Matrix::square("rtt", &text.join("\n")).unwrap().underlay().unwrap());
    all.into_iter().map(Arc::new).collect()
}

/// Any of these shares, list forms and IP versions.
fn settings(random: &mut Random) -> Settings {
    let share = [0.0, 0.2, 0.5, 0.9, 1.0][random.below(5) as usize];
    let (compact, is_v6) = (random.below(2) == 0, random.below(2) == 0);
    Settings { share, compact, is_v6, mtu: 1500 }
}

fn message(underlay: &Underlay, random: &mut Random, most: u64) -> (Socket, Vec<Socket>) {
    let mut hosts: Vec<HostId> = (0..underlay.hosts().len()).collect();
    random.shuffle(&mut hosts);
    let ports = 9 + random.below(2);
    let count = (1 + random.below(most) as usize).min(hosts.len() - 1);
    let socket = |host: &HostId| Socket { host: *host, port: (9 + *host as u64 % ports) as u16 };
    (socket(&hosts[count]), hosts[..count].iter().map(socket).collect())
}

fn sent(network: &mut Network, from: Socket, to: &[Socket], form: Form) -> Vec<Delivery> {
    network.clear_counters();
    network.send(Time(0), from, to, b"a payload", form).unwrap()
}

fn all_crossed(network: &Network) -> Vec<u64> {
    let links = 0..network.underlay().link_count();
    links.flat_map(|link| network.crossed(link).map(|tally| tally.packets)).collect()
}

/// A chain of routers, 1 ms each, with a host at either end.
fn chain(routers: usize) -> Arc<Underlay> {
    let links = (1..routers).map(|router| Link::new(router - 1, router, ms(1))).collect();
    let mut underlay = Underlay::new(routers, links);
    underlay.attach(0, ms(5));
    underlay.attach(routers - 1, ms(5));
    Arc::new(underlay)
}

fn network(underlay: &Arc<Underlay>, share: f64) -> Network {
    Network::new(underlay.clone(), Settings { share, ..Settings::default() }, 0).unwrap()
}

#[test]
fn every_destination_gets_the_payload_once_after_the_delay_of_its_path() {
    for seed in SEEDS {
        let mut random = Random::new(seed, 2);
        for underlay in underlays(seed) {
            let settings = settings(&mut random);
            let mut network = Network::new(underlay.clone(), settings, seed).unwrap();
            for form in [Form::Xcast, Form::Unicast, Form::Xcast] {
                let (from, to) = message(&underlay, &mut random, 30);
                let deliveries = sent(&mut network, from, &to, form);
                assert_eq!(network.drops().count(), 0, "seed {seed}, {settings:?}");
                let mut got: Vec<Socket> = deliveries.iter().map(|delivery| delivery.to).collect();
                got.sort_unstable();
                let mut to = to.clone();
                to.sort_unstable();
                assert_eq!(got, to, "seed {seed}, {settings:?}");
                for delivery in deliveries {
                    let host = delivery.to.host;
                    assert_eq!(delivery.payload(), b"a payload");
                    assert_eq!(delivery.after, underlay.one_way(from.host, host), "seed {seed}");
                    let hops = underlay.hops(from.host, host);
                    assert_eq!(u32::from(TTL - delivery.ttl), hops, "seed {seed}, {settings:?}");
                    assert!(is_sound(&delivery, &network), "seed {seed}, {settings:?}");
                }
            }
        }
    }
}

/// Whether the addresses and the UDP checksum of a packet are right.
fn is_sound(delivery: &Delivery, network: &Network) -> bool {
    let to = network.address(delivery.to.host);
    match network.settings.is_v6 {
        false => {
            let ip = ipv4::Packet::parse(delivery.packet()).unwrap();
            ip.destination() == to
                && udp::checksum_valid(ip.payload(), ip.source(), ip.destination())
        }
        true => {
            let ip = ipv6::Packet::parse(delivery.packet()).unwrap();
            ip.destination() == to
                && udp::checksum_valid(ip.payload(), ip.source(), ip.destination())
        }
    }
}

#[test]
fn where_all_routers_speak_xcast_one_packet_crosses_each_link_of_the_shortest_paths() {
    for seed in SEEDS {
        let mut random = Random::new(seed, 3);
        for underlay in underlays(seed) {
            let mut network = network(&underlay, 1.0);
            let (from, to) = message(&underlay, &mut random, 50);
            sent(&mut network, from, &to, Form::Xcast);
            let union: BTreeSet<Crossing> =
                to.iter().flat_map(|to| underlay.path(from.host, to.host)).collect();
            let expected: Vec<u64> = (0..underlay.link_count())
                .flat_map(|link| [false, true].map(|back| Crossing { link, back }))
                .map(|crossing| union.contains(&crossing).into())
                .collect();
            assert_eq!(all_crossed(&network), expected, "seed {seed}");
            assert_eq!(network.total().packets, union.len() as u64, "seed {seed}");
        }
    }
}

#[test]
fn without_xcast_routers_there_are_as_many_packets_as_by_unicast_and_with_some_never_more() {
    for seed in SEEDS {
        let mut random = Random::new(seed, 4);
        for underlay in underlays(seed) {
            let (from, to) = message(&underlay, &mut random, 40);
            let mut counted = [0.0, 0.3, 0.7, 1.0].map(|share| {
                let mut network = network(&underlay, share);
                sent(&mut network, from, &to, Form::Xcast);
                all_crossed(&network)
            });
            let mut network = network(&underlay, 0.5);
            sent(&mut network, from, &to, Form::Unicast);
            let unicast = all_crossed(&network);
            let paths = to.iter().map(|to| underlay.path(from.host, to.host).len() as u64);
            assert_eq!(network.total().packets, paths.sum::<u64>(), "seed {seed}");
            assert_eq!(counted[0], unicast, "seed {seed}");
            for crossed in &mut counted {
                let mut pairs = crossed.iter().zip(&unicast);
                assert!(pairs.all(|(xcast, unicast)| xcast <= unicast), "seed {seed}");
            }
            // More routers that speak it never make more packets.
            let sums = counted.map(|crossed| crossed.iter().sum::<u64>());
            assert!(sums.is_sorted_by(|fewer, more| fewer >= more), "seed {seed}: {sums:?}");
        }
    }
}

#[test]
fn routers_route_by_prefixes_as_the_underlay_does() {
    for seed in SEEDS {
        for (underlay, is_v6) in underlays(seed).into_iter().zip([false, true, false, true]) {
            let settings = Settings { is_v6, ..Settings::default() };
            let network = Network::new(underlay.clone(), settings, seed).unwrap();
            let Network { addresses, speaks, .. } = &network;
            for router in 0..underlay.router_count() {
                let fib = fibs::of_router(&underlay, addresses, speaks, &settings, router);
                for host in 0..underlay.hosts().len() {
                    let address = network.address(host);
                    assert_eq!(network.host(address), Some(host));
                    let adjacency = match fib.entry_for(address, None) {
                        Entry::Neighbor(id) => id,
                        Entry::Gateways(group) => fib.choose(group, 0),
                        other => panic!("seed {seed}: {other:?} for {address} at {router}"),
                    };
                    let at = underlay.hosts()[host].router;
                    let port = match underlay.next(router, at) {
                        Some(place) => place as u16,
                        None => fibs::host_port(&underlay, addresses, router, host),
                    };
                    assert_eq!(fib.adjacency(adjacency).port, port, "seed {seed}: {address}");
                }
            }
        }
    }
}

#[test]
fn prefixes_of_routers_with_the_same_next_hop_are_joined() {
    let mut underlay = Underlay::new(6, Vec::new());
    underlay.attach(5, ms(3));
    let addresses = Addresses::new(&underlay, false).unwrap();
    let next = [Some(1), Some(1), Some(1), Some(2), None, Some(2)];
    let routes: Vec<(String, usize)> =
        addresses.aggregate(&next).iter().map(|(p, n)| (p.to_string(), *n)).collect();
    // Three bits tell routers apart: each has a /11.
    let expected =
        [("10.0.0.0/10", 1), ("10.64.0.0/11", 1), ("10.96.0.0/11", 2), ("10.160.0.0/11", 2)];
    assert_eq!(routes, expected.map(|(prefix, next)| (prefix.to_owned(), next)));
    assert_eq!(addresses.of(0, 5).to_string(), "10.160.0.1");
}

#[test]
fn a_list_costs_16_octets_and_4_for_each_destination_of_ipv4() {
    // Three hosts at the second of two routers; the list travels on two links, then X2U.
    let mut underlay = Underlay::new(2, vec![Link::new(0, 1, ms(10))]);
    underlay.attach(0, ms(5));
    (0..3).for_each(|_| {
        underlay.attach(1, ms(5));
    });
    let underlay = Arc::new(underlay);
    let mut network = network(&underlay, 1.0);
    let to = [1, 2, 3].map(|host| Socket { host, port: 9 });
    let from = Socket { host: 0, port: 9 };
    network.send(Time(0), from, &to, &[0; 100], Form::Xcast).unwrap();
    let list = network.crossed(0)[0].bytes;
    assert_eq!(network.crossed(1)[0], Tally { packets: 1, bytes: list });
    // IPv4, the fixed part, a word of bitmap, the list, UDP, payload.
    assert_eq!(list, 20 + 12 + 4 + 3 * 4 + 8 + 100);
    assert_eq!(network.crossed(2)[1], Tally { packets: 1, bytes: 20 + 8 + 100 });
    assert_eq!(network.total(), Tally { packets: 5, bytes: 2 * list + 3 * 128 });
    network.clear_counters();
    network.send(Time(0), from, &to, &[0; 100], Form::Unicast).unwrap();
    assert_eq!(network.total(), Tally { packets: 9, bytes: 9 * 128 });
}

#[test]
fn packets_wait_for_those_before_them_on_links_with_a_rate() {
    let mut underlay = Underlay::new(2, vec![Link::new(0, 1, ms(10))]);
    (0..3).for_each(|host| {
        underlay.attach(host / 2, ms(5));
    });
    // 128 octets are 1,024 bits: a millisecond up, 2 ms down to host 2.
    underlay.host_mut(0).up = Some(1_024_000);
    underlay.host_mut(2).down = Some(512_000);
    underlay.set_rate(0, Some(1_024_000));
    let mut network = network(&Arc::new(underlay), 1.0);
    let (from, to) = (Socket { host: 0, port: 9 }, [Socket { host: 2, port: 9 }; 3]);
    let mut send = |now, form| {
        let deliveries = network.send(Time(now), from, &to, &[0; 100], form).unwrap();
        deliveries.iter().map(|delivery| delivery.after.as_micros()).collect::<Vec<_>>()
    };
    // Up 1, 5 ms, across 1, 10 ms, down 2, 5 ms; then the next behind it.
    assert_eq!(send(0, Form::Unicast), [24_000, 26_000, 28_000]);
    // Up it is free from 3 ms on, down from 23 ms on.
    assert_eq!(send(1000, Form::Unicast), [29_000, 31_000, 33_000]);
    assert_eq!(send(1_000_000, Form::Unicast), [24_000, 26_000, 28_000]);
}

#[test]
fn what_is_not_delivered_is_counted_by_its_reason() {
    for share in [0.0, 0.5, 1.0] {
        let underlay = chain(usize::from(TTL) + 2);
        let mut network = network(&underlay, share);
        let (from, to) = (Socket { host: 0, port: 9 }, Socket { host: 1, port: 9 });
        let deliveries = sent(&mut network, from, &[to, to], Form::Xcast);
        assert_eq!(deliveries, []);
        assert_eq!(network.drops().collect::<Vec<_>>(), [(DropReason::TtlExpired, 2)]);
    }
    let underlay = chain(3);
    let settings = Settings { mtu: 200, ..Settings::default() };
    let mut network = Network::new(underlay, settings, 0).unwrap();
    let (from, to) = (Socket { host: 0, port: 9 }, [Socket { host: 1, port: 9 }; 20]);
    assert_eq!(network.send(Time(0), from, &to, &[0; 100], Form::Xcast).unwrap(), []);
    assert_eq!(network.drops().collect::<Vec<_>>(), [(DropReason::TooBig, 20)]);
    assert_eq!(network.total(), Tally::default());
    assert_eq!(network.send(Time(0), from, &to, &[0; 100], Form::Unicast).unwrap().len(), 20);
}

#[test]
fn a_way_that_is_missing_is_no_route() {
    for share in [0.0, 1.0] {
        let mut underlay = Underlay::new(3, vec![Link::new(0, 1, ms(1))]);
        (0..3).for_each(|router| {
            underlay.attach(router, ms(3));
        });
        let mut network = network(&Arc::new(underlay), share);
        let to = [1, 2].map(|host| Socket { host, port: 9 });
        let deliveries = sent(&mut network, Socket { host: 0, port: 9 }, &to, Form::Xcast);
        assert_eq!(deliveries.len(), 1);
        assert_eq!(network.drops().collect::<Vec<_>>(), [(DropReason::NoRoute, 1)]);
    }
}

#[test]
fn a_host_that_lists_itself_and_another_twice_gets_what_it_asked_for() {
    for (share, is_v6) in [(0.0, false), (1.0, false), (0.0, true), (1.0, true)] {
        let settings = Settings { share, is_v6, ..Settings::default() };
        let mut network = Network::new(chain(3), settings, 0).unwrap();
        let socket = |host| Socket { host, port: 9 };
        let to = [socket(1), socket(0), socket(1)];
        let deliveries = sent(&mut network, socket(0), &to, Form::Xcast);
        let got: Vec<(HostId, u128)> =
            deliveries.iter().map(|d| (d.to.host, d.after.as_millis())).collect();
        assert_eq!(got, [(0, 0), (1, 12), (1, 12)]);
        assert!(deliveries.iter().all(|delivery| delivery.payload() == b"a payload"));
    }
}

#[test]
fn a_larger_share_of_routers_has_those_of_a_smaller_one() {
    let underlay = Arc::new(TransitStub::ts600().build(1));
    let speakers = |share, seed| {
        let settings = Settings { share, ..Settings::default() };
        let network = Network::new(underlay.clone(), settings, seed).unwrap();
        (0..600).filter(|router| network.speaks_xcast(*router)).collect::<BTreeSet<_>>()
    };
    assert_eq!((speakers(0.25, 1).len(), speakers(1.0, 1).len()), (150, 600));
    assert!(speakers(0.25, 1).is_subset(&speakers(0.5, 1)));
    assert_ne!(speakers(0.25, 1), speakers(0.25, 2));
}

#[test]
fn what_no_packet_holds_is_an_error_and_too_many_hosts_are() {
    let mut network = network(&chain(2), 1.0);
    let (from, to) = (Socket { host: 0, port: 9 }, Socket { host: 1, port: 9 });
    let mut send = |to: &[Socket]| network.send(Time(0), from, to, b"", Form::Xcast).err();
    assert!(matches!(send(&[to; 128]), Some(MessageError::Xcast4(_))));
    assert_eq!((send(&[to; 127]), send(&[])), (None, None));
    let mut underlay = Underlay::new(1 << 16, Vec::new());
    (0..256).for_each(|_| {
        underlay.attach(7, ms(3));
    });
    let underlay = Arc::new(underlay);
    let error = Addresses::new(&underlay, false).unwrap_err();
    assert_eq!(error, NetworkError::Full { hosts: 256, room: 255 });
    assert!(Addresses::new(&underlay, true).is_ok());
}

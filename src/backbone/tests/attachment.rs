//! A host and its relays: choice, hysteresis, failover, leases.

use std::net::{IpAddr, SocketAddr};

use rand::RngExt;

use super::network::{
    MS, Machine, Network, Put, SECOND, at, entropy, for_seeds, key, private_key, relay, seed,
};
use crate::backbone::attachment::{Attachment, Options, Output};
use crate::backbone::keys::PublicKey;
use crate::backbone::peers::{Config, Peers, Role, Seed};
use crate::forward::Time;
use crate::wire::control::Families;

const HOST: u8 = 100;

/// A relay, whose events are of no interest here, or a host.
enum Either {
    Relay(Box<Peers>),
    Host(Box<Attachment>),
}

impl Machine for Either {
    type Event = Output;

    fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Time) {
        match self {
            Either::Relay(peers) => peers.handle_datagram(from, bytes, now),
            Either::Host(host) => host.handle_datagram(from, bytes, now),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        match self {
            Either::Relay(peers) => peers.handle_timeout(now),
            Either::Host(host) => host.handle_timeout(now),
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        match self {
            Either::Relay(peers) => peers.poll_timeout(),
            Either::Host(host) => host.poll_timeout(),
        }
    }

    fn poll(&mut self) -> Option<Put<Output>> {
        match self {
            Either::Relay(peers) => loop {
                if let Put::Send(to, bytes) = Machine::poll(&mut **peers)? {
                    return Some(Put::Send(to, bytes));
                }
            },
            Either::Host(host) => Some(match host.poll_output()? {
                Output::Send { to, bytes } => Put::Send(to, bytes),
                event => Put::Event(event),
            }),
        }
    }
}

type Lab = Network<Either>;

impl Lab {
    /// A relay that lends addresses of 10.NUMBER.0/24, so far from all others.
    fn relay_at(&mut self, number: u8, distance: u64) {
        self.relay_with(number, distance, &format!("10.{number}.0.0/24"));
    }

    fn relay_with(&mut self, number: u8, distance: u64, pool: &str) {
        self.distance.insert(at(number), distance);
        let mut config = Config { seeds: vec![], ..relay(number, &[]) };
        config.allowed = [(key(HOST), Role::Host)].into();
        config.leases = pool.parse().into_iter().collect();
        let (seed, now) = (self.random.random(), self.time());
        self.add(number, Either::Relay(Box::new(Peers::new(config, entropy(seed), now))));
    }

    fn host(&mut self, relays: &[u8]) {
        let known = relays.iter().map(|relay| Seed { key: Some(key(*relay)), ..seed(*relay) });
        self.host_with(known.collect(), vec![]);
    }

    fn host_with(&mut self, relays: Vec<Seed>, keys: Vec<PublicKey>) {
        let families = Families { v4: true, v6: false };
        let private_key = private_key(HOST);
        let options = Options { private_key, relays, keys, families, wish: None };
        let (seed, now) = (self.random.random(), self.time());
        let host = Attachment::new(options, entropy(seed), now);
        self.add(HOST, Either::Host(Box::new(host)));
    }

    fn attachment(&self) -> &Attachment {
        match &self.nodes[&HOST].machine {
            Either::Host(host) => host,
            Either::Relay(_) => unreachable!(),
        }
    }

    /// The relay in use, by its number, and the address it has leased.
    fn used(&self) -> Option<(u8, IpAddr)> {
        let (relay, address) = (self.attachment().relay()?, self.attachment().address()?);
        let IpAddr::V4(at) = relay.address.ip() else { return None };
        Some((at.octets()[3], address))
    }

    fn wait_for(&mut self, most: u64, relay: u8, address: &str) -> u64 {
        let wanted = Some((relay, address.parse().unwrap()));
        self.wait(most, "the relay and its lease", |network| network.used() == wanted)
    }

    fn events(&mut self) -> Vec<(u64, Output)> {
        std::mem::take(&mut self.node(HOST).events)
    }
}

#[test]
fn the_nearest_relay_is_used_and_leases_an_address() {
    let mut lab = Lab::new(1);
    for (number, distance) in [(1, 40), (2, 10), (3, 20)] {
        lab.relay_at(number, distance * MS);
    }
    lab.host(&[1, 2, 3]);
    lab.wait_for(2 * SECOND, 2, "10.2.0.1");
    lab.run(60 * SECOND);
    let events = lab.events();
    let [(_, Output::Attached { relay, lease })] = &events[..] else { panic!("{events:?}") };
    assert_eq!((relay.key, lease.relay.as_str()), (key(2), "relay2"));
    assert_eq!(relay.rtt, Some(30 * MS));
    assert_eq!(lab.attachment().relays().count(), 3);
}

#[test]
fn a_relay_that_is_hardly_nearer_is_left_alone_and_a_much_nearer_one_taken() {
    let mut lab = Lab::new(1);
    lab.relay_at(1, 20 * MS);
    lab.host(&[1, 2, 3]);
    lab.wait_for(2 * SECOND, 1, "10.1.0.1");
    lab.relay_at(2, 17 * MS);
    lab.run(120 * SECOND);
    assert_eq!(lab.used().unwrap().0, 1, "44 ms to 50 ms is no reason");
    lab.relay_at(3, 10 * MS);
    let up = lab.wait(60 * SECOND, "its session", |lab| lab.attachment().relays().count() == 3);
    assert!(up > 0);
    let took = lab.wait_for(20 * SECOND, 3, "10.3.0.1");
    assert!(took >= 5 * SECOND, "not before it is nearer for five seconds");
    let events = lab.events();
    let [.., (_, Output::Switched { to, after, .. }), (_, Output::Attached { relay, .. })] =
        &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((to.key, relay.key), (key(3), key(3)));
    assert!(*after <= 250 * MS, "the one until now still answers");
}

#[test]
fn a_relay_that_is_near_now_and_then_is_not_taken() {
    let mut lab = Lab::new(1);
    lab.relay_at(1, 20 * MS);
    lab.relay_at(2, 20 * MS);
    lab.host(&[1, 2]);
    lab.run(5 * SECOND);
    let used = lab.used().unwrap().0;
    let other = at(3 - used);
    for _ in 0..20 {
        lab.distance.insert(other, 2 * MS);
        lab.run(3 * SECOND);
        lab.distance.insert(other, 60 * MS);
        lab.run(3 * SECOND);
    }
    assert_eq!(lab.events().len(), 1);
}

#[test]
fn a_relay_that_fails_is_replaced_within_800_ms_of_its_last_answer() {
    for_seeds(0..40, |number| {
        let mut lab = Lab::new(number);
        lab.delay = (MS, 4 * MS);
        for (relay, distance) in [(1, 5), (2, 15), (3, 30)] {
            lab.relay_at(relay, distance * MS);
        }
        lab.host(&[1, 2, 3]);
        lab.wait_for(2 * SECOND, 1, "10.1.0.1");
        let wait = lab.random.random_range(SECOND..10 * SECOND);
        lab.run(wait);
        lab.events();
        lab.node(1).is_dead = true;
        let died = lab.now;
        lab.wait_for(2 * SECOND, 2, "10.2.0.1");
        let events = lab.events();
        let [(when, Output::Switched { to, after, .. }), (then, Output::Attached { .. })] =
            &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(to.key, key(2));
        assert!(*after <= 800 * MS && when - died <= 800 * MS, "after {after} us");
        assert!(then - when <= 40 * MS, "the lease is there after one round trip");
        lab.node(2).is_dead = true;
        lab.node(3).is_dead = true;
        lab.run(3 * SECOND);
        assert!(matches!(lab.events().last(), Some((_, Output::Detached(_)))));
        lab.node(3).is_dead = false;
        lab.wait_for(90 * SECOND, 3, "10.3.0.1");
    });
}

#[test]
fn the_address_is_kept_where_the_next_relay_lends_it_too() {
    let mut lab = Lab::new(1);
    lab.relay_with(1, 5 * MS, "10.50.0.0/24");
    lab.relay_with(2, 10 * MS, "10.50.0.0/24");
    // The first address of the second one is somebody else's.
    lab.host(&[1, 2]);
    lab.wait_for(2 * SECOND, 1, "10.50.0.1");
    lab.run(3 * SECOND);
    lab.node(1).is_dead = true;
    lab.wait_for(2 * SECOND, 2, "10.50.0.1");
}

#[test]
fn of_many_relays_the_nearest_is_found_with_four_sessions_at_once() {
    let mut lab = Lab::new(1);
    let all: Vec<u8> = (1..=12).collect();
    for number in &all {
        lab.relay_at(*number, u64::from(64 - 5 * *number) * MS);
    }
    for dead in [2, 5] {
        lab.node(dead).is_dead = true;
    }
    lab.host(&all);
    for _ in 0..20 {
        lab.run(30 * SECOND);
        assert!(lab.attachment().relays().count() <= 4);
    }
    assert_eq!(lab.used().unwrap().0, 12);
}

#[test]
fn a_relay_needs_a_key_that_is_allowed() {
    let mut lab = Lab::new(1);
    lab.relay_at(1, MS);
    lab.relay_at(2, 20 * MS);
    lab.host_with(vec![seed(1)], vec![]);
    lab.run(30 * SECOND);
    assert_eq!(lab.used(), None, "any key will do for nobody");
    lab.host_with(vec![seed(1), seed(2)], vec![key(2)]);
    lab.wait_for(5 * SECOND, 2, "10.2.0.1");
    lab.host_with(vec![Seed { key: Some(key(2)), ..seed(1) }], vec![]);
    lab.run(30 * SECOND);
    assert_eq!(lab.used(), None, "another one is there");
}

#[test]
fn a_relay_without_addresses_is_used_and_asked_again() {
    let mut lab = Lab::new(1);
    lab.relay_with(1, MS, "");
    lab.host(&[1]);
    lab.run(3 * SECOND);
    let events = lab.events();
    let [(_, Output::Attached { lease, .. })] = &events[..] else { panic!("{events:?}") };
    assert_eq!(lease.address, None);
    let now = lab.time();
    let Either::Relay(peers) = &mut lab.node(1).machine else { unreachable!() };
    let mut config = Config { seeds: vec![], ..relay(1, &[]) };
    config.allowed = [(key(HOST), Role::Host)].into();
    config.leases = vec!["10.1.0.0/24".parse().unwrap()];
    peers.set_config(config, now);
    lab.wait_for(6 * SECOND, 1, "10.1.0.1");
}

#[test]
fn a_relay_without_addresses_is_passed_over_for_a_minute() {
    let mut lab = Lab::new(1);
    lab.relay_with(1, MS, "");
    lab.relay_at(2, 30 * MS);
    lab.host(&[1, 2]);
    lab.wait_for(5 * SECOND, 2, "10.2.0.1");
    let events = lab.events().len();
    lab.run(50 * SECOND);
    assert_eq!((lab.used().unwrap().0, lab.events().len()), (2, 0), "{events} before");
    // Then it is asked again, and found without once more.
    lab.run(30 * SECOND);
    assert_eq!(lab.used().unwrap().0, 2);
    let switched = |(_, event): &(u64, Output)| matches!(event, Output::Switched { .. });
    assert_eq!(lab.events().iter().filter(|event| switched(event)).count(), 2);
}

#[test]
fn while_no_relay_answers_others_have_their_turn_soon() {
    for distance in [5, 450] {
        let mut lab = Lab::new(1);
        let all: Vec<u8> = (1..=12).collect();
        for number in &all {
            lab.relay_at(*number, distance * MS);
            lab.node(*number).is_dead = *number != 12;
        }
        lab.host(&all);
        lab.wait_for(15 * SECOND, 12, "10.12.0.1");
        lab.node(12).is_dead = true;
        lab.run(5 * SECOND);
        assert_eq!(lab.used(), None);
        lab.node(6).is_dead = false;
        lab.wait_for(20 * SECOND, 6, "10.6.0.1");
        lab.events();
        lab.run(200 * SECOND);
        assert!(lab.events().is_empty(), "turns of others are no news");
    }
}

#[test]
fn leases_are_renewed_for_as_long_as_the_host_stays() {
    let mut lab = Lab::new(1);
    lab.relay_at(1, MS);
    lab.host(&[1]);
    lab.wait_for(2 * SECOND, 1, "10.1.0.1");
    lab.run(2 * 3600 * SECOND);
    assert_eq!(lab.events().len(), 1, "attached once");
    let Either::Relay(peers) = &lab.nodes[&1].machine else { unreachable!() };
    let address = "10.1.0.1".parse::<IpAddr>().ok();
    assert_eq!(peers.ends().next().map(|view| view.lease), Some(address));
}

#[test]
fn who_leaves_is_detached_and_says_so() {
    let mut lab = Lab::new(1);
    lab.relay_at(1, MS);
    lab.host(&[1]);
    lab.wait_for(2 * SECOND, 1, "10.1.0.1");
    lab.with(HOST, |machine, now| match machine {
        Either::Host(host) => host.close(now),
        Either::Relay(_) => unreachable!(),
    });
    assert!(matches!(lab.events().last(), Some((_, Output::Detached(_)))));
    lab.run(10 * SECOND);
    let Either::Relay(peers) = &lab.nodes[&1].machine else { unreachable!() };
    assert_eq!(peers.ends().count(), 0);
    assert_eq!(lab.attachment().poll_timeout(), None, "nothing is left to do");
}

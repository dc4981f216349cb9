//! Ends that find, lose and find each other again; renewal, NAT, leases.

use std::net::SocketAddr;

use super::network::{
    MS, Network, SECOND, at, for_seeds, host, key, pair, private_key, relay, seed,
};
use crate::backbone::handshake::{Initiator, Responder};
use crate::backbone::peers::{Config, DownReason, Output, Peers, Role};
use crate::backbone::refusal::Refusal;
use crate::wire::control::{CloseReason, Families, HEADER_LEN, Header, Kind, Message};

const V4: Families = Families { v4: true, v6: false };

#[test]
fn two_relays_learn_where_the_other_is_and_what_it_is_near() {
    let network = pair(1);
    for (one, two) in [(1, 2), (2, 1)] {
        let view = network.view(one, two).unwrap();
        assert_eq!((view.address, view.role), (at(two), Role::Relay));
        assert_eq!(view.prefixes, [format!("10.{two}.0.0/16").parse().unwrap()]);
        assert_eq!((view.rtt, view.loss), (Some(10 * MS), 0.0));
        let [ups, changes, downs] = network.tally(one);
        assert!((ups, downs) == (1, 0) && changes <= 1, "{:?}", network.tally(one));
        assert_eq!(network.nodes[&one].machine.sizes()[..2], [1, 0]);
    }
}

#[test]
fn two_that_dial_each_other_at_once_end_with_one_session() {
    for_seeds(0..24, |number| {
        let mut network = Network::new(number);
        let (loss, repeated, delay) =
            [(0.0, 0.0, 60), (0.2, 0.2, 60), (0.0, 0.6, 150)][number as usize % 3];
        (network.loss, network.repeated, network.delay) = (loss, repeated, (MS, delay * MS));
        network.start(1, relay(1, &[2]));
        network.start(2, relay(2, &[1]));
        network.run(15 * SECOND);
        network.loss = 0.0;
        network.run(15 * SECOND);
        network.wait(60 * SECOND, "a session", |network| network.are_up(1, 2));
        let before = [1, 2].map(|node| network.tally(node));
        network.run(30 * SECOND);
        for node in [1, 2] {
            assert_eq!(network.nodes[&node].machine.sizes()[..2], [1, 0]);
        }
        assert_eq!(before, [1, 2].map(|node| network.tally(node)), "nothing more happens");
        if loss == 0.0 {
            assert_eq!([before[0][0], before[1][0]], [1, 1], "once and for all");
        }
    });
}

/// The other side's part is played by hand: its confirmation comes when all is settled.
#[test]
fn a_confirmation_that_was_overtaken_does_not_undo_the_session() {
    let (small, large) = if key(1) < key(2) { (1, 2) } else { (2, 1) };
    let mut network: Network<Peers> = Network::new(1);
    let private = private_key(large);
    network.start(small, relay(small, &[large]));
    network.run(MS);
    let last = |network: &Network<Peers>| network.recorded.last().unwrap().bytes.clone();
    let responder = Responder::new(&private, 20, [4; 32], &last(&network)[HEADER_LEN..]);
    let mut responder = responder.unwrap();
    let initiator = Initiator::new(30, [5; 32]);
    network.deliver(small, at(large), &initiator.initiation(&private).unwrap());
    let answered = initiator.read(&private, &last(&network)[HEADER_LEN..]).unwrap();
    let (_, overtaken) = answered.finish(network.time()).unwrap();
    network.run(MS);
    network.deliver(small, at(large), &responder.response);
    let confirmed = responder.read(&private, &last(&network)[HEADER_LEN..]).unwrap();
    let mut session = confirmed.finish(network.time()).unwrap();
    network.deliver(small, at(large), &session.seal(&Message::Ping(1)).unwrap());
    network.deliver(small, at(large), &overtaken);
    network.recorded.clear();
    network.run(SECOND);
    assert!(!network.recorded.is_empty());
    for datagram in &network.recorded {
        let (header, body) = Header::parse(&datagram.bytes).unwrap();
        assert!(session.open(header.counter, body).is_ok(), "{header:?}");
    }
}

#[test]
fn relays_find_each_other_through_one_that_they_know() {
    for_seeds(0..2, |number| {
        let mut network = Network::new(number);
        let all: Vec<u8> = (1..=6).collect();
        for node in &all {
            let others: Vec<u8> = all.iter().copied().filter(|other| other != node).collect();
            let seeds = if *node == 1 { vec![] } else { vec![seed(1)] };
            network.start(*node, Config { seeds, ..relay(*node, &others) });
        }
        let everybody = |network: &Network<Peers>| {
            all.iter().all(|one| all.iter().all(|two| one == two || network.are_up(*one, *two)))
        };
        let found = (0..120).any(|_| {
            network.run(SECOND / 2);
            everybody(&network)
        });
        assert!(found, "everybody within a minute");
    });
}

#[test]
fn named_relays_that_are_not_allowed_are_not_dialed() {
    let mut network = Network::new(1);
    network.start(1, relay(1, &[2, 3]));
    network.start(2, Config { seeds: vec![seed(1)], ..relay(2, &[1]) });
    network.start(3, Config { seeds: vec![seed(1)], ..relay(3, &[1]) });
    network.wait(10 * SECOND, "both", |network| network.are_up(1, 2) && network.are_up(1, 3));
    network.run(70 * SECOND);
    let between = |from, to| {
        network.recorded.iter().filter(|it| (it.from, it.to) == (at(from), at(to))).count()
    };
    assert_eq!((between(2, 3), between(3, 2)), (0, 0));
}

#[test]
fn a_seed_that_appears_later_is_found() {
    let mut network = Network::new(1);
    network.start(1, relay(1, &[2]));
    network.run(300 * SECOND);
    let asked = network.recorded.len();
    assert!((4 * 8..4 * 20).contains(&asked), "{asked} datagrams in five minutes");
    network.start(2, Config { seeds: vec![], ..relay(2, &[1]) });
    network.wait(50 * SECOND, "a session", |network| network.are_up(1, 2));
}

#[test]
fn a_dead_end_is_down_within_800_ms_of_its_last_answer_and_comes_back() {
    for_seeds(0..20, |number| {
        let mut network = pair(number);
        network.run(number * 7 * MS);
        network.node(2).is_dead = true;
        let heard = |network: &Network<Peers>| network.nodes[&1].machine.ends().next().unwrap();
        network.wait(2 * SECOND, "down", |network| network.tally(1)[2] == 1);
        let (when, event) = network.node(1).events.last().unwrap().clone();
        let last = heard(&network).heard.unwrap().0;
        assert!(when - last <= 800 * MS, "after {} us", when - last);
        let Output::Down(id, DownReason::Silent) = event else { panic!("{event:?}") };
        network.run(20 * SECOND);
        // It was started again: it knows nothing of the session.
        network.start(2, Config { seeds: vec![], ..relay(2, &[1]) });
        network.wait(60 * SECOND, "up again", |network| network.are_up(1, 2));
        assert_eq!(network.view(1, 2).unwrap().id, id, "it is the same end");
    });
}

#[test]
fn one_that_is_down_for_long_is_forgotten() {
    let mut network = pair(1);
    network.node(1).is_dead = true;
    network.run(60 * SECOND);
    assert_eq!(network.nodes[&2].machine.sizes()[0], 1);
    network.run(2 * SECOND);
    assert_eq!(network.nodes[&2].machine.sizes()[..2], [0, 0]);
    assert_eq!(network.nodes[&2].machine.poll_timeout(), None);
}

#[test]
fn one_that_starts_again_at_once_goes_unnoticed() {
    let mut network = pair(3);
    let config = Config { prefixes: vec!["10.77.0.0/16".parse().unwrap()], ..relay(2, &[1]) };
    network.start(2, config);
    network.wait(5 * SECOND, "another announcement", |network| {
        network.view(1, 2).is_some_and(|view| view.prefixes == ["10.77.0.0/16".parse().unwrap()])
    });
    assert_eq!(network.tally(1)[2], 0, "{:?}", network.nodes[&1].events);
}

#[test]
fn an_end_behind_nat_is_followed_to_its_new_port() {
    let mut network = Network::new(1);
    network.start(1, Config { seeds: vec![], ..relay(1, &[2]) });
    network.start(2, relay(2, &[1]));
    network.wait(5 * SECOND, "a session", |network| network.are_up(1, 2));
    network.run(SECOND);
    for port in [4001, 4002, 4003] {
        let address = SocketAddr::from(([198, 51, 100, 9], port));
        network.node(2).address = address;
        network.wait(SECOND, "the new address", |network| {
            network.view(1, 2).is_some_and(|view| view.address == address)
        });
        let (_, Output::Changed(view)) = network.node(1).events.last().unwrap() else {
            panic!("not told");
        };
        assert_eq!(view.address, address);
        network.run(SECOND);
    }
    network.run(5 * SECOND);
    assert_eq!([network.tally(1)[2], network.tally(2)[2]], [0, 0]);
}

#[test]
fn sessions_are_renewed_while_in_use() {
    let mut network = pair(1);
    (network.loss, network.delay) = (0.02, (MS, 30 * MS));
    let mut confirmations = 0;
    for _ in 0..65 {
        network.run(60 * SECOND);
        let kind = |bytes: &[u8]| Header::parse(bytes).map(|(header, _)| header.kind);
        let renewals = network.recorded.drain(..);
        let of_2 = renewals.filter(|it| kind(&it.bytes) == Some(Kind::Confirmation));
        confirmations += of_2.filter(|it| it.from == at(1)).count();
    }
    assert!((3..10).contains(&confirmations), "{confirmations} confirmations in 65 minutes");
    assert_eq!([network.tally(1)[2], network.tally(2)[2]], [0, 0], "never down");
    for node in [1, 2] {
        let counters = network.nodes[&node].machine.counters();
        assert_eq!(counters.count(Refusal::BadKey), 0);
        assert_eq!(counters.count(Refusal::UnknownEnd), 0, "no message was lost on the change");
        assert_eq!(network.nodes[&node].machine.sizes()[..2], [1, 0]);
    }
}

#[test]
fn our_own_address_is_dialed_once() {
    let mut network = Network::new(1);
    network.start(1, Config { seeds: vec![seed(1), seed(2)], ..relay(1, &[2]) });
    network.start(2, Config { seeds: vec![], ..relay(2, &[1]) });
    network.wait(5 * SECOND, "a session", |network| network.are_up(1, 2));
    network.run(100 * SECOND);
    let to_itself = network.recorded.iter().filter(|it| (it.from, it.to) == (at(1), at(1)));
    assert_eq!(to_itself.count(), 2, "asked and answered");
}

#[test]
fn a_host_leases_an_address_and_keeps_it() {
    let mut network = Network::new(1);
    let leases = vec!["10.200.0.0/24".parse().unwrap()];
    let mut config = Config { leases, seeds: vec![], ..relay(1, &[]) };
    config.reserved = vec!["10.200.0.1".parse().unwrap()];
    config.allowed = [2, 3].map(|host| (key(host), Role::Host)).into();
    network.start(1, config.clone());
    let leased = |network: &mut Network<Peers>, number: u8| {
        network.start(number, host(number, 1));
        network.wait(30 * SECOND, "a session", |network| network.are_up(1, number));
        network.loss = 0.2;
        let id = network.view(number, 1).unwrap().id;
        let request = |peers: &mut Peers, now| peers.request_lease(id, V4, None, now);
        network.with(number, request);
        network.wait(60 * SECOND, "a lease", |network| {
            let leased = |(_, event): &(u64, Output)| matches!(event, Output::Leased(..));
            network.nodes[&number].events.iter().any(leased)
        });
        network.loss = 0.0;
        network.wait(60 * SECOND, "a session", |network| network.are_up(1, number));
        let lease = |(_, event): &(u64, Output)| match event {
            Output::Leased(_, lease) => Some(lease.clone()),
            _ => None,
        };
        let lease = network.nodes[&number].events.iter().rev().find_map(lease).unwrap();
        assert_eq!((lease.relay.as_str(), lease.seconds), ("relay1", 3600));
        assert_eq!(network.view(1, number).unwrap().lease, lease.address);
        lease.address.unwrap().to_string()
    };
    assert_eq!(leased(&mut network, 2), "10.200.0.2");
    assert_eq!(leased(&mut network, 3), "10.200.0.3");
    network.node(2).is_dead = true;
    network.run(3000 * SECOND);
    assert_eq!(leased(&mut network, 2), "10.200.0.2", "within the hour");
    let pool = vec!["10.201.0.0/24".parse().unwrap()];
    let config = Config { leases: pool, ..config };
    network.with(1, |peers, now| peers.set_config(config, now));
    network.wait(SECOND, "the end of the lease", |network| {
        network.view(1, 2).is_some_and(|view| view.lease.is_none())
    });
}

#[test]
fn who_leaves_says_so() {
    let mut network = pair(1);
    network.with(2, |peers, now| peers.close_all(now));
    let left = (network.now, Output::Down(network.view(1, 2).unwrap().id, DownReason::Leaving));
    assert_eq!(network.node(2).events.last(), Some(&left));
    network.node(2).is_dead = true;
    network.run(10 * MS);
    let (_, Output::Down(_, reason)) = network.node(1).events.last().unwrap() else { panic!() };
    assert_eq!(*reason, DownReason::Closed(CloseReason::Leaving));
}

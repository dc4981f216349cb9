//! Replayed, cut, altered and forged datagrams, strangers and floods.

use std::net::SocketAddr;

use rand::{Rng, RngExt};

use super::network::{MS, Network, SECOND, at, for_seeds, key, pair, private_key, relay};
use crate::backbone::handshake::Initiator;
use crate::backbone::peers::{Config, Peers, Role, Seed};
use crate::backbone::refusal::Refusal;
use crate::wire::control::{HEADER_LEN, Header, Kind};

fn count(network: &Network<Peers>, number: u8, reason: Refusal) -> u64 {
    network.nodes[&number].machine.counters().count(reason)
}

fn attacker() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 666))
}

/// Both are up, where they are, and nothing but that was ever said of them.
fn all_is_well(network: &mut Network<Peers>, events: [usize; 2]) {
    network.run(2 * SECOND);
    assert!(network.are_up(1, 2));
    assert_eq!(network.view(1, 2).unwrap().address, at(2));
    assert_eq!(network.view(2, 1).unwrap().address, at(1));
    assert_eq!([1, 2].map(|number| network.nodes[&number].events.len()), events);
}

fn events(network: &Network<Peers>) -> [usize; 2] {
    [1, 2].map(|number| network.nodes[&number].events.len())
}

fn node_at(address: SocketAddr) -> u8 {
    if address == at(1) { 1 } else { 2 }
}

#[test]
fn a_replayed_datagram_changes_nothing() {
    let mut network = pair(1);
    let events = events(&network);
    let recorded = std::mem::take(&mut network.recorded);
    for datagram in &recorded {
        for from in [datagram.from, attacker()] {
            network.deliver(node_at(datagram.to), from, &datagram.bytes);
        }
    }
    let sealed = |bytes: &[u8]| Header::parse(bytes).unwrap().0.kind == Kind::Sealed;
    let replays = 2 * recorded.iter().filter(|datagram| sealed(&datagram.bytes)).count() as u64;
    let counted = count(&network, 1, Refusal::Replay) + count(&network, 2, Refusal::Replay);
    assert!(counted >= replays, "{counted} of {replays}");
    all_is_well(&mut network, events);
}

#[test]
fn a_cut_or_altered_datagram_changes_nothing() {
    let mut network = pair(1);
    let events = events(&network);
    network.run(300 * MS);
    let recorded: Vec<_> = network.recorded.drain(..).collect();
    let is_opening = |bytes: &[u8]| bytes[1] != 4;
    let last = recorded.len() - 8;
    for (place, datagram) in recorded.iter().enumerate() {
        if !is_opening(&datagram.bytes) && place < last {
            continue; // of the sealed ones, the last will do
        }
        let to = node_at(datagram.to);
        for length in 0..datagram.bytes.len() {
            network.deliver(to, attacker(), &datagram.bytes[..length]);
        }
        for bit in 0..datagram.bytes.len() * 8 {
            let mut altered = datagram.bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            network.deliver(to, attacker(), &altered);
        }
    }
    for reason in [Refusal::BadKey, Refusal::Malformed, Refusal::UnknownEnd, Refusal::RateLimit] {
        assert!(count(&network, 2, reason) > 0, "{}", reason.name());
    }
    all_is_well(&mut network, events);
}

#[test]
fn genuine_datagrams_still_count_after_forged_ones_of_the_same_session() {
    let mut network = pair(1);
    let events = events(&network);
    for _ in 0..20 {
        network.run(50 * MS);
        let recorded: Vec<_> = network.recorded.drain(..).collect();
        for datagram in recorded {
            let mut forged = datagram.bytes.clone();
            forged[8..16].copy_from_slice(&(u64::MAX - 7).to_be_bytes()); // far ahead
            network.deliver(node_at(datagram.to), datagram.from, &forged);
        }
    }
    all_is_well(&mut network, events);
}

#[test]
fn strangers_and_wrong_keys_come_to_nothing() {
    let mut network = Network::new(1);
    // 1 allows 2 alone; 3 is nobody. 2 expects somebody else at 1's address.
    network.start(1, Config { seeds: vec![], ..relay(1, &[2]) });
    network.start(3, relay(3, &[1]));
    let seeds = vec![Seed { address: at(1), key: Some(key(9)) }];
    let mut config = Config { seeds, ..relay(2, &[1]) };
    config.allowed.insert(key(9), Role::Relay);
    network.start(2, config);
    network.run(60 * SECOND);
    for number in [1, 2, 3] {
        assert_eq!((network.tally(number), network.nodes[&number].machine.sizes()[0]), ([0; 3], 0));
    }
    assert!(count(&network, 1, Refusal::BadKey) > 0, "3 is not allowed");
    assert!(count(&network, 2, Refusal::BadKey) > 0, "1 is not whom 2 expects");
}

#[test]
fn a_flood_of_handshakes_is_bounded_and_harms_no_session() {
    let mut network = pair(1);
    let events = events(&network);
    let mut peak = [0; 4];
    for turn in 0..10_000u32 {
        let initiator = Initiator::new(turn, [7; 32]);
        let mut bytes = initiator.initiation(&private_key(9)).unwrap();
        if turn % 3 == 0 {
            network.random.fill_bytes(&mut bytes[HEADER_LEN..HEADER_LEN + 32]);
        }
        let from = SocketAddr::from((std::net::Ipv4Addr::from_bits(turn << 8), 9));
        network.deliver(2, from, &bytes);
        network.recorded.clear();
        network.run(MS / 2);
        let sizes = network.nodes[&2].machine.sizes();
        peak = std::array::from_fn(|at| peak[at].max(sizes[at]));
    }
    assert_eq!(peak, [1, 256, 200, 0], "sessions, pending handshakes, addresses, dials");
    assert!(count(&network, 2, Refusal::RateLimit) > 8000);
    all_is_well(&mut network, events);
}

#[test]
fn who_is_known_is_let_in_during_a_flood_and_one_address_is_limited() {
    let mut network = pair(1);
    let initiation =
        |number: u32| Initiator::new(number, [7; 32]).initiation(&private_key(9)).unwrap();
    network.now = network.now.next_multiple_of(SECOND);
    for number in 0..30 {
        network.deliver(2, attacker(), &initiation(number));
    }
    assert_eq!(count(&network, 2, Refusal::RateLimit), 20, "ten a second from one address");
    for number in 0..300 {
        network.deliver(
            2,
            SocketAddr::from(([198, 51, 100, number as u8], 9)),
            &initiation(number),
        );
    }
    assert_eq!(network.nodes[&2].machine.sizes()[1], 200);
    // The genuine one is started again just now.
    network.start(1, relay(1, &[2]));
    network.run(100 * MS);
    assert!(network.nodes[&1].machine.sizes()[0] > 0, "it has a session");
}

#[test]
fn an_initiation_that_is_repeated_is_answered_four_times_and_counts_like_others() {
    let mut network = pair(1);
    network.now = network.now.next_multiple_of(SECOND);
    let answers = |network: &Network<Peers>, to: SocketAddr| {
        network.recorded.iter().filter(|sent| sent.to == to).count()
    };
    let ask = |network: &mut Network<Peers>, from: SocketAddr, number, times| {
        let initiation = Initiator::new(number, [7; 32]).initiation(&private_key(9)).unwrap();
        (0..times).for_each(|_| network.deliver(2, from, &initiation));
    };
    ask(&mut network, attacker(), 1, 10);
    assert_eq!(answers(&network, attacker()), 4);
    assert_eq!(count(&network, 2, Refusal::RateLimit), 6);
    let other = SocketAddr::from(([203, 0, 113, 67], 67));
    for number in 2..5 {
        ask(&mut network, other, number, 4);
    }
    assert_eq!(answers(&network, other), 10, "ten a second from one address");
    assert_eq!(count(&network, 2, Refusal::RateLimit), 6 + 2);
}

#[test]
fn a_response_is_tried_a_few_times_and_then_passed_over() {
    let mut network: Network<Peers> = Network::new(1);
    network.start(1, relay(1, &[2]));
    network.run(MS);
    let initiation = network.recorded[0].bytes.clone();
    let number = u32::from_be_bytes(initiation[48..52].try_into().unwrap());
    let header = Header { kind: Kind::Response, session: number, counter: 0 };
    for turn in 0..100u8 {
        network.deliver(1, at(2), &[&header.emit()[..], &[turn; 100]].concat());
    }
    assert_eq!(count(&network, 1, Refusal::BadKey), 4, "each costs a Diffie-Hellman exchange");
    assert_eq!(count(&network, 1, Refusal::UnknownEnd), 96);
    network.start(2, Config { seeds: vec![], ..relay(2, &[1]) });
    network.wait(20 * SECOND, "a session", |network| network.are_up(1, 2));
}

#[test]
fn any_octets_are_borne() {
    for_seeds(0..20, |number| {
        let mut network = pair(number);
        let events = events(&network);
        let sessions: Vec<[u8; 4]> =
            network.recorded.iter().map(|it| it.bytes[4..8].try_into().unwrap()).collect();
        for _ in 0..2000 {
            let length = network.random.random_range(0..200);
            let mut bytes = vec![0; length];
            network.random.fill_bytes(&mut bytes);
            if length >= 16 && network.random.random_bool(0.9) {
                bytes[..4].copy_from_slice(&[1, network.random.random_range(0..6), 0, 0]);
                let session = network.random.random_range(0..sessions.len());
                bytes[4..8].copy_from_slice(&sessions[session]);
            }
            let to = network.random.random_range(1..=2);
            network.deliver(to, at(3 - to), &bytes);
        }
        all_is_well(&mut network, events);
    });
}

#[test]
fn sessions_are_bounded() {
    let mut network: Network<Peers> = Network::new(1);
    let hosts: Vec<_> = (0..1030u32)
        .map(|number| {
            let mut octets = [3; 32];
            octets[..4].copy_from_slice(&number.to_be_bytes());
            crate::backbone::PrivateKey::new(octets)
        })
        .collect();
    let mut config = Config { seeds: vec![], ..relay(1, &[]) };
    config.allowed = hosts.iter().map(|key| (key.public(), Role::Host)).collect();
    network.start(1, config);
    for (number, private) in hosts.iter().enumerate() {
        let from = SocketAddr::from(([198, 51, (number >> 8) as u8, number as u8], 9));
        network.now += 6 * MS; // no more than 200 a second
        let initiator = Initiator::new(7, [7; 32]);
        network.deliver(1, from, &initiator.initiation(private).unwrap());
        let response = network.recorded.pop().unwrap().bytes;
        let answered = initiator.read(private, &response[HEADER_LEN..]).unwrap();
        let (_, confirmation) = answered.finish(network.time()).unwrap();
        network.deliver(1, from, &confirmation);
    }
    assert_eq!(network.nodes[&1].machine.sizes()[0], 1024);
    assert_eq!(count(&network, 1, Refusal::RateLimit), 6);
}

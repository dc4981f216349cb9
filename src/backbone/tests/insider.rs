//! Ends that are allowed, and do what they should not: their part is played by hand.

use std::net::SocketAddr;

use super::network::{MS, Network, SECOND, at, host, key, private_key, relay};
use crate::backbone::handshake::Initiator;
use crate::backbone::peers::{Config, Output, Peers, Role};
use crate::backbone::refusal::Refusal;
use crate::backbone::session::Session;
use crate::wire::control::{Families, HEADER_LEN, Header, Kind, Message};

/// A relay, 1, that allows these hosts.
fn relay_for(hosts: &[u8]) -> Network<Peers> {
    let mut network = Network::new(1);
    let allowed = hosts.iter().map(|host| (key(*host), Role::Host)).collect();
    let leases = vec!["10.200.0.0/24".parse().unwrap()];
    network.start(1, Config { allowed, leases, seeds: vec![], ..relay(1, &[]) });
    network
}

/// Makes a session with 1 for a host at this address; `None` if it is not taken.
fn join(network: &mut Network<Peers>, number: u8, from: SocketAddr) -> Option<Session> {
    let private = private_key(number);
    let initiator = Initiator::new(u32::from(number), [number; 32]);
    network.recorded.clear();
    network.deliver(1, from, &initiator.initiation(&private).unwrap());
    let response = network.recorded.pop().unwrap().bytes;
    let answered = initiator.read(&private, &response[HEADER_LEN..]).unwrap();
    let (session, confirmation) = answered.finish(network.time()).unwrap();
    let before = network.nodes[&1].machine.sizes()[0];
    network.deliver(1, from, &confirmation);
    (network.nodes[&1].machine.sizes()[0] > before).then_some(session)
}

fn say(network: &mut Network<Peers>, session: &mut Session, from: SocketAddr, message: &Message) {
    let datagram = session.seal(message).unwrap();
    network.deliver(1, from, &datagram);
}

/// The pings that 1 has sent to this session, at this address.
fn pings(network: &mut Network<Peers>, session: &mut Session, at: SocketAddr) -> Vec<u64> {
    let mut pings = Vec::new();
    network.recorded.retain(|sent| {
        let (header, body) = Header::parse(&sent.bytes).unwrap();
        let is_it = header.kind == Kind::Sealed && header.session == session.index && sent.to == at;
        if is_it && let Ok(opened) = session.open(header.counter, body) {
            pings.extend(match opened.message {
                Message::Ping(number) => Some(number),
                _ => None,
            });
        }
        !is_it
    });
    pings
}

/// Answers pings for a while.
fn answer(network: &mut Network<Peers>, session: &mut Session, at: SocketAddr, time: u64) {
    for _ in 0..time / (100 * MS) {
        network.run(100 * MS);
        for number in pings(network, session, at) {
            say(network, session, at, &Message::Pong(number));
        }
    }
}

fn unknown_ends(network: &Network<Peers>) -> u64 {
    network.nodes[&1].machine.counters().count(Refusal::UnknownEnd)
}

#[test]
fn pings_that_were_not_received_cannot_be_answered() {
    let mut network = relay_for(&[2]);
    let mut session = join(&mut network, 2, at(2)).unwrap();
    let first = pings(&mut network, &mut session, at(2))[0];
    let victim = at(66);
    for _ in 0..30 {
        for ahead in 0..20 {
            let pong = Message::Pong(first.wrapping_add(ahead));
            say(&mut network, &mut session, victim, &pong);
        }
        network.run(100 * MS);
        assert!(network.view(1, 2).is_none(), "it has never been there");
    }
    answer(&mut network, &mut session, victim, SECOND);
    assert!(network.view(1, 2).is_some(), "who receives them can");
}

#[test]
fn a_pong_counts_from_where_the_end_is() {
    let mut network = relay_for(&[2]);
    let mut session = join(&mut network, 2, at(2)).unwrap();
    let victim = at(66);
    // Sealed before, and sent after what comes from the victim's address.
    for turn in 0..10 {
        for number in pings(&mut network, &mut session, victim) {
            let overtaken = session.seal(&Message::Pong(number)).unwrap();
            say(&mut network, &mut session, victim, &Message::Ping(turn));
            network.deliver(1, at(2), &overtaken);
        }
        say(&mut network, &mut session, victim, &Message::Ping(turn));
        network.run(200 * MS);
    }
    assert!(unknown_ends(&network) > 5);
    assert!(network.view(1, 2).is_none());
}

#[test]
fn the_address_of_an_end_that_is_up_is_nobody_elses() {
    let mut network = relay_for(&[2, 3, 4]);
    network.start(2, host(2, 1));
    network.wait(5 * SECOND, "a session", |network| network.are_up(1, 2));
    let mut third = join(&mut network, 3, at(3)).unwrap();
    answer(&mut network, &mut third, at(3), SECOND);
    assert!(network.view(1, 3).is_some());
    // One that is up cannot move there.
    say(&mut network, &mut third, at(2), &Message::Ping(1));
    assert_eq!(unknown_ends(&network), 1);
    assert_eq!(network.view(1, 3).unwrap().address, at(3));
    // Nor can one begin there.
    assert!(join(&mut network, 4, at(2)).is_none());
    assert_eq!(unknown_ends(&network), 2);
    network.run(SECOND);
    assert_eq!(network.view(1, 2).unwrap().address, at(2));
    // It is free once it is down.
    network.node(2).is_dead = true;
    network.wait(SECOND, "down", |network| network.view(1, 2).is_none());
    assert!(join(&mut network, 4, at(2)).is_some());
}

#[test]
fn of_two_that_begin_at_one_address_one_is_up() {
    let mut network = relay_for(&[2, 3]);
    let mut one = join(&mut network, 2, at(9)).unwrap();
    let mut two = join(&mut network, 3, at(9)).unwrap();
    let mut seen = 0;
    for _ in 0..20 {
        network.run(100 * MS);
        for session in [&mut one, &mut two] {
            for number in pings(&mut network, session, at(9)) {
                say(&mut network, session, at(9), &Message::Pong(number));
            }
        }
        let up = network.nodes[&1].machine.ends().filter(|view| view.is_up).count();
        assert!(up <= 1);
        seen = seen.max(up);
    }
    assert_eq!(seen, 1);
}

#[test]
fn who_changes_all_the_time_is_told_of_now_and_then() {
    let mut network = relay_for(&[2]);
    let mut session = join(&mut network, 2, at(2)).unwrap();
    answer(&mut network, &mut session, at(2), SECOND);
    let before = network.tally(1);
    let mut last = at(2);
    for turn in 0..2000u16 {
        last.set_port(2000 + turn % 7);
        let wish = Some(format!("10.200.0.{}", 1 + turn % 200).parse().unwrap());
        let families = Families { v4: true, v6: false };
        say(&mut network, &mut session, last, &Message::LeaseRequest { families, wish });
        network.run(MS);
        for number in pings(&mut network, &mut session, last) {
            say(&mut network, &mut session, last, &Message::Pong(number));
        }
    }
    let after = network.tally(1);
    assert!((8..=11).contains(&(after[1] - before[1])), "{} in two seconds", after[1] - before[1]);
    assert_eq!(after[2], 0, "it is up all the time");
    network.run(200 * MS);
    let events = &network.nodes[&1].events;
    let last_told = events.iter().rev().find_map(|(_, event)| match event {
        Output::Changed(view) => Some(view.address),
        _ => None,
    });
    assert_eq!(last_told, Some(last), "the last state is told");
}

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::time::Duration;
use std::vec::Vec;

use super::*;
use crate::id::RingId;
use crate::machine::Send;
use crate::node::{self, Input};
use crate::testing::{Net, address};

/// A ring of so many nodes, settled.
fn ring_of(count: usize) -> Net {
    let mut net = Net::new(Duration::from_millis(20));
    for place in 0..count {
        let ring = ring::Config { heartbeat: Duration::from_secs(2), ..ring::Config::default() };
        net.start(node::Config { ring, ..node::Config::default() });
        let boot = if place == 0 { Vec::new() } else { vec![address(0)] };
        net.input(place, Input::Ring(ring::Command::Join(boot)));
        net.run(Duration::from_secs(1));
    }
    net.run(Duration::from_secs(20));
    net
}

fn ask(net: &mut Net, place: usize, command: Command) -> Event {
    let before = net.events[place].len();
    net.input(place, Input::Data(command));
    net.run(Duration::from_secs(10));
    let told = net.events[place][before..].iter().find_map(|(_, event)| match event {
        node::Event::Data(event) => Some(event.clone()),
        _ => None,
    });
    told.expect("it has answered")
}

fn stored(net: &mut Net, key: RingId, value: &str) -> Reference {
    let object = Object::new(key, value.to_owned());
    match ask(net, 1, object.store(1).unwrap()) {
        Event::Stored { reference, .. } => reference,
        other => panic!("{other:?}"),
    }
}

fn read(event: &Event) -> Option<String> {
    match event {
        Event::Object { reference, value: Some(value), .. } => {
            Object::read(reference.key, value).map(|object| object.value)
        }
        _ => None,
    }
}

/// The type of the ring's message that asks for a value.
const GET: u8 = 16;

#[test]
fn a_reference_is_followed_to_its_host_by_one_question() {
    let mut net = ring_of(20);
    let reference = stored(&mut net, RingId::of_key(b"there"), "b");
    let host = reference.host.clone().expect("who stores it is known");
    let asker = (0..20).find(|place| net.node(*place).contact().id != host.id).unwrap();
    let before = net.sent.len();
    let found = ask(&mut net, asker, Command::Deref { request: 2, reference: reference.clone() });
    assert_eq!(read(&found).as_deref(), Some("b"));
    let is_question = |place: usize, send: &Send| place == asker && send.message_for(0)[0] == GET;
    let sent = &net.sent[before..];
    assert_eq!(sent.iter().filter(|(place, _, send)| is_question(*place, send)).count(), 1);
}

#[test]
fn a_host_that_is_gone_or_was_never_one_is_a_miss_and_the_reference_is_refreshed() {
    let mut net = ring_of(20);
    let reference = stored(&mut net, RingId::of_key(b"there"), "b");
    let host = reference.host.clone().unwrap();
    let stranger = (2..20).find(|place| net.node(*place).contact().id != host.id).unwrap();
    let stranger = net.node(stranger).contact().clone();
    let wrong = reference.clone().at(stranger);
    let found = ask(&mut net, 1, Command::Deref { request: 2, reference: wrong });
    assert_eq!(read(&found).as_deref(), Some("b"));
    let crashed = (0..20).find(|place| net.node(*place).contact().id == host.id).unwrap();
    net.crash(crashed);
    net.run(Duration::from_secs(60));
    let asker = (0..20).find(|place| *place != crashed).unwrap();
    let found = ask(&mut net, asker, Command::Deref { request: 3, reference });
    assert_eq!(read(&found).as_deref(), Some("b"));
    let Event::Object { reference, .. } = found else { panic!() };
    assert!(reference.host.is_some_and(|now| now.id != host.id));
}

#[test]
fn what_is_deleted_is_referred_to_in_vain() {
    let mut net = ring_of(10);
    let reference = stored(&mut net, RingId::of_key(b"there"), "b");
    let deleted = ask(&mut net, 3, Command::Delete { request: 2, reference: reference.clone() });
    assert!(matches!(deleted, Event::Deleted { request: 2, .. }));
    for (place, reference) in [(4, reference.clone()), (5, Reference::new(reference.key))] {
        let gone = ask(&mut net, place, Command::Deref { request: 3, reference });
        assert!(matches!(gone, Event::Object { value: None, .. }), "{gone:?}");
    }
}

#[test]
fn related_objects_have_one_host() {
    let mut net = ring_of(20);
    let first = RingId::of_key(b"book");
    let hosts: Vec<_> = (0..5u8)
        .map(|page| stored(&mut net, near(first, &[page]), "page").host.unwrap().id)
        .collect();
    assert!(hosts.iter().all(|host| *host == hosts[0]), "{hosts:?}");
}

#[test]
fn an_empty_object_is_an_object_and_a_long_one_none() {
    let mut net = ring_of(3);
    let reference = stored(&mut net, RingId::of_key(b"there"), "");
    let found = ask(&mut net, 0, Command::Deref { request: 2, reference });
    assert_eq!(read(&found).as_deref(), Some(""));
    let long = Object::new(RingId::ZERO, vec![0u8; ring::VALUE_LEN_MAX]);
    assert_eq!(long.store(1), None);
}

#[test]
fn too_much_at_once_fails_by_name() {
    let mut overlay = DataOverlay::new(0);
    let reference = Reference::new(RingId::ZERO);
    for request in 0..=PENDING_MAX as u64 {
        let reference = reference.clone();
        overlay.handle_command(Command::Deref { request, reference });
    }
    let events = core::iter::from_fn(|| overlay.poll_output());
    let refused =
        Output::Event(Event::Failed { request: PENDING_MAX as u64, reason: Failure::Busy });
    assert_eq!(events.last(), Some(refused));
}

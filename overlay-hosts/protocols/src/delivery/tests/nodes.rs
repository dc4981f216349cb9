//! Sessions of whole nodes, whose datagrams are signed.

use std::time::Duration;
use std::vec::Vec;

use super::super::*;
use super::fleet::SESSION;
use crate::machine::Protocol;
use crate::node::{self, Input};
use crate::testing::Net;

#[test]
fn nodes_deliver_in_signed_datagrams_of_their_own() {
    let mut net = Net::new(Duration::from_millis(20));
    net.signed = true;
    let config = node::Config { delivery: Some(Config::default()), ..node::Config::default() };
    for _ in 0..8 {
        net.start(config.clone());
    }
    let silent = net.start(node::Config::default());
    let seats = (1..=silent).map(|place| Seat {
        contact: net.node(place).contact().clone(),
        parent: Some(net.node((place - 1) / 2).contact().id),
        slots: 3,
        receives: place != 1,
    });
    let seats = seats.collect();
    net.input(0, Input::Delivery(Command::Arrange { session: SESSION, slots: 2, seats }));
    net.run(Duration::from_secs(1));
    net.sent.clear();
    let longest = vec![3; PAYLOAD_MAX];
    net.input(0, Input::Delivery(Command::Send(SESSION, longest.clone())));
    net.run(Duration::from_secs(1));
    let received = |place: usize| {
        let payloads = net.events[place].iter().filter_map(|(_, event)| match event {
            node::Event::Delivery(Event::Received { payload, .. }) => Some(payload.clone()),
            _ => None,
        });
        payloads.collect::<Vec<Vec<u8>>>()
    };
    // Host 1 helps, and the last one knows no sessions.
    let expected = |place| if place == 1 { Vec::new() } else { vec![longest.clone()] };
    for place in 1..silent {
        assert_eq!(received(place), expected(place), "{place}");
    }
    assert!(net.node(silent).drops().of(DropReason::UnknownProtocol) > 0);
    // One output from each of the four who have children that are there, in one piece.
    let long = |send: &machine::Send| send.shared.len() > PAYLOAD_MAX;
    let data: Vec<usize> =
        net.sent.iter().filter(|(.., send)| long(send)).map(|(place, ..)| *place).collect();
    assert_eq!(data, [0, 1, 2, 3]);
    assert!(net.sent.iter().filter(|(.., s)| long(s)).all(|s| s.2.protocol == Protocol::Delivery));
}

//! Groups in a small network: hosts have places, and latencies between them.
//!
//! | claims of seed 000 | shown by |
//! | --- | --- |
//! | 1, 2, 6 to 9, 17 to 20, 32 to 34 | `join`: figure 7's search, the strict tolerance, the limits |
//! | 3 to 5, 11, 31, 40 | `join`: round trip, one way, hops |
//! | 10, 12 to 14, 35 to 37 | `crowd`: peers group themselves; `join`: the strict tolerance |
//! | 15, 16, 25 to 30, 38, 39, 41 | `join`: a new group links to 720 and then measures 718 |
//! | 21, 22 | `leadership`: succession in the order of the list, Alive |
//! | 23, 24 | `leadership`: a neighboring group that is gone; `messages`: a full leader |

mod crowd;
mod join;
mod leadership;
mod messages;

use std::boxed::Box;
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use super::*;
use crate::machine;
use crate::node;
use crate::testing::{Net, address, identity};

/// Milliseconds.
fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn node_config(config: Config) -> node::Config {
    node::Config { locality: Some(config), ..node::Config::default() }
}

fn contact(place: usize) -> Contact {
    Contact::new(identity(place, false).id, address(place))
}

fn id(place: usize) -> PeerId {
    contact(place).id
}

/// Round-trip times between hosts, in microseconds, whatever else is told.
fn distances(net: &mut Net, round_trip: impl Fn(usize, usize) -> u64 + 'static) {
    net.latency = Box::new(move |from, to, _| {
        let (low, high) = (from.min(to), from.max(to));
        Some(Duration::from_micros(round_trip(low, high) / 2))
    });
}

fn command(net: &mut Net, place: usize, command: Command) {
    net.input(place, node::Input::Locality(command));
}

fn join(net: &mut Net, place: usize, by: &[usize]) {
    let addresses = by.iter().map(|place| address(*place)).collect();
    command(net, place, Command::Join(addresses));
}

fn locality(net: &Net, place: usize) -> &Locality {
    net.node(place).locality().unwrap()
}

fn events(net: &Net, place: usize) -> impl Iterator<Item = &Event> {
    net.events[place].iter().filter_map(|(_, event)| match event {
        node::Event::Locality(event) => Some(event),
        _ => None,
    })
}

/// All messages of this machine that a host has sent: to whom, by place.
fn sent(net: &Net, place: usize) -> Vec<(Message, Vec<usize>, Class)> {
    let place_of = |endpoint: &Endpoint| {
        (0..net.nodes.len()).find(|place| address(*place) == endpoint.address).unwrap()
    };
    let ours = net
        .sent
        .iter()
        .filter(|(from, _, send)| *from == place && send.protocol == Protocol::Locality);
    ours.filter_map(|(_, _, send)| {
        let message = machine::decode(&send.shared)?;
        Some((message, send.to.iter().map(place_of).collect(), send.class))
    })
    .collect()
}

/// What a host has asked leaders on its way, as `Measure 1 2 3` and `GetCache 1`.
fn trace(net: &Net, place: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (message, mut to, _) in sent(net, place) {
        let name = match message {
            Message::Measure { .. } => "Measure",
            Message::GetCache { .. } => "GetCache",
            Message::GetNeighbors { .. } => "GetNeighbors",
            Message::GetDistances { .. } => "GetDistances",
            Message::Link { .. } => "Link",
            Message::GetMembers { .. } => "GetMembers",
            _ => continue,
        };
        to.sort();
        let to: Vec<String> = to.iter().map(|place| std::format!(" {place}")).collect();
        lines.push(std::format!("{name}{}", to.concat()));
    }
    lines
}

/// Groups by number, for tests that set them up.
fn group(number: u8) -> GroupId {
    GroupId([number; 16])
}

//! Whole nodes: the tree lives by the ring, and messages are datagrams.

use std::vec::Vec;

use super::*;
use crate::node::{self, Input as NodeInput};
use crate::ring;
use crate::testing::{Net, address};

fn start(net: &mut Net) -> usize {
    let ring = ring::Config { heartbeat: Duration::from_secs(2), ..ring::Config::default() };
    let somo = Config { heartbeat: Duration::from_secs(4), ..config(4) };
    let place = net.start(node::Config { ring, somo: Some(somo), ..node::Config::default() });
    let boot = if place == 0 { Vec::new() } else { vec![address(0)] };
    net.input(place, NodeInput::Ring(ring::Command::Join(boot)));
    place
}

fn live(net: &Net) -> Vec<usize> {
    let mut live: Vec<usize> = (0..net.nodes.len()).collect();
    live.retain(|place| net.nodes[*place].is_some());
    live.sort_by_key(|place| net.node(*place).ring().position());
    live
}

fn is_the_tree(net: &Net) {
    let live = live(net);
    let positions: Vec<RingId> =
        live.iter().map(|place| net.node(*place).ring().position()).collect();
    for (rank, parent) in parents(Tree::new(4), &positions).into_iter().enumerate() {
        let known = net.node(live[rank]).somo().unwrap().parent().map(|parent| parent.id);
        let expected = parent.map(|parent| net.node(live[parent as usize]).contact().id);
        assert_eq!(known, expected);
    }
}

fn root(net: &Net) -> usize {
    *live(net).iter().find(|place| net.node(**place).somo().unwrap().is_root()).unwrap()
}

fn gathered(net: &mut Net) -> u32 {
    let root = root(net);
    net.input(root, NodeInput::Somo(Command::Gather));
    net.run(Duration::from_secs(5));
    let spans = net.events[root].iter().rev().filter_map(|(_, event)| match event {
        node::Event::Somo(Event::Gathered { span, .. }) => Some(span.machines),
        _ => None,
    });
    spans.take(1).sum()
}

#[test]
fn nodes_of_a_ring_make_a_tree_gather_tell_and_heal() {
    let mut net = Net::new(Duration::from_millis(20));
    for _ in 0..25 {
        start(&mut net);
        net.run(Duration::from_secs(1));
    }
    net.run(Duration::from_secs(60));
    is_the_tree(&net);
    assert_eq!(gathered(&mut net), 25);
    let news = b"to all".to_vec();
    net.input(7, NodeInput::Somo(Command::Publish { range: Range::ALL, news: news.clone() }));
    net.run(Duration::from_secs(2));
    for events in &net.events {
        let told = events.iter().filter(|(_, event)| {
            matches!(event, node::Event::Somo(Event::News { news: told, .. }) if *told == news)
        });
        assert_eq!(told.count(), 1);
    }
    // What is looked up for the tree is told to nobody else.
    let is_found =
        |event: &node::Event| matches!(event, node::Event::Ring(ring::Event::Found { .. }));
    assert!(!net.events.iter().flatten().any(|(_, event)| is_found(event)));
    net.crash(root(&net));
    net.crash(live(&net)[3]);
    net.run(Duration::from_secs(90));
    is_the_tree(&net);
    assert_eq!(gathered(&mut net), 23);
}

#[test]
fn without_a_tree_its_messages_are_of_no_known_protocol() {
    let mut net = Net::new(Duration::from_millis(20));
    start(&mut net);
    for _ in 0..4 {
        let place = net.start(node::Config::default());
        net.input(place, NodeInput::Ring(ring::Command::Join(vec![address(0)])));
    }
    net.run(Duration::from_secs(120));
    let dropped = |place| net.node(place).drops().of(DropReason::UnknownProtocol);
    assert!((1..5).map(dropped).sum::<u64>() > 0);
}

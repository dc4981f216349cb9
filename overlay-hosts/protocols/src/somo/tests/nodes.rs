//! Whole nodes: the tree lives by the ring, and messages are datagrams.

use std::vec::Vec;

use super::*;
use crate::node::{self, Input as NodeInput};
use crate::ring;
use crate::testing::{Net, address};

fn node_config(exchange: Option<u32>) -> node::Config {
    let ring = ring::Config { heartbeat: Duration::from_secs(2), ..ring::Config::default() };
    let somo = Config { heartbeat: Duration::from_secs(4), exchange, ..config(4) };
    node::Config { ring, somo: Some(somo), ..node::Config::default() }
}

fn start(net: &mut Net) -> usize {
    start_with(net, node_config(None))
}

fn start_with(net: &mut Net, config: node::Config) -> usize {
    let place = net.start(config);
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

fn positions(net: &Net) -> Vec<RingId> {
    (0..net.nodes.len()).map(|place| net.node(place).ring().position()).collect()
}

#[test]
fn the_most_capable_machine_takes_the_root_s_place_and_nobody_else_moves() {
    let mut net = Net::new(Duration::from_millis(20));
    net.signed = true;
    for _ in 0..12 {
        start_with(&mut net, node_config(Some(10)));
        net.run(Duration::from_secs(1));
    }
    net.run(Duration::from_secs(40));
    let (before, old) = (positions(&net), root(&net));
    let best = (0..12).rev().find(|place| *place != old).unwrap();
    for (place, position) in before.iter().enumerate() {
        let score = if place == best { 1000 } else { place as u32 % 10 };
        let top = vec![(score, place_of(*position))];
        let statistics = Statistics { machines: 1, top, ..Statistics::default() };
        net.input(place, NodeInput::Somo(Command::Sample(statistics.to_bytes())));
    }
    assert_eq!(gathered(&mut net), 12);
    net.run(Duration::from_secs(60));
    let mut expected = before.clone();
    expected.swap(old, best);
    assert_eq!(positions(&net), expected);
    assert_eq!(root(&net), best);
    is_the_tree(&net);
    assert_eq!(gathered(&mut net), 12);
    // It stays there: nobody is better by the margin, and it is kept over a restart.
    net.run(Duration::from_secs(60));
    net.crash(best);
    net.restart(best, node_config(Some(10)));
    net.input(best, NodeInput::Ring(ring::Command::Join(vec![address(old)])));
    net.run(Duration::from_secs(60));
    assert_eq!(positions(&net), expected);
    assert_eq!(root(&net), best);
}

#[test]
fn who_proves_nothing_exchanges_nothing() {
    let mut net = Net::new(Duration::from_millis(20));
    for _ in 0..4 {
        start_with(&mut net, node_config(Some(10)));
    }
    net.run(Duration::from_secs(40));
    let before = positions(&net);
    for place in (0..4).filter(|place| *place != root(&net)).collect::<Vec<_>>() {
        let top = vec![(1000, place_of(before[place]))];
        let statistics = Statistics { machines: 1, top, ..Statistics::default() };
        net.input(place, NodeInput::Somo(Command::Sample(statistics.to_bytes())));
    }
    assert_eq!(gathered(&mut net), 4);
    net.run(Duration::from_secs(40));
    assert_eq!(positions(&net), before);
}

#[test]
fn an_offer_from_anybody_but_the_root_is_not_accepted() {
    let mut net = Net::new(Duration::from_millis(20));
    net.signed = true;
    for _ in 0..4 {
        start_with(&mut net, node_config(Some(10)));
    }
    net.run(Duration::from_secs(40));
    let (victim, liar) = match root(&net) {
        0 => (1, 2),
        1 => (0, 2),
        _ => (0, 1),
    };
    let me = net.node(liar).contact().clone();
    let key = crate::testing::identity(liar, true).key;
    let offer = crate::machine::encode(&Message::Offer { me: me.clone(), key });
    let mut somo = net.node(victim).somo().unwrap().clone();
    let now = net.at(victim);
    let (at, wall) = (now.time, now.wall);
    let received = Received { from: me.endpoint(), at, wall, ttl: 64, octets: 0, message: &offer };
    somo.handle_input(Input::Message(received), now).unwrap();
    let mut find = None;
    while let Some(output) = somo.poll_output() {
        if let Output::Event(Event::Find { request, key }) = output {
            assert_eq!(key, RingId::power_of_two(159));
            find = Some(request);
        }
    }
    let owner = Some(net.node(root(&net)).contact().clone());
    let found = Input::Command(Command::Found { request: find.unwrap(), owner });
    somo.handle_input(found, now).unwrap();
    let signs = core::iter::from_fn(|| somo.poll_output())
        .any(|output| matches!(output, Output::Event(Event::Sign { .. })));
    assert!(!signs);
}

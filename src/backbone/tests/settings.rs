//! Announcements, and what a new configuration changes.

use super::network::{MS, Network, SECOND, at, key, pair, private_key, relay};
use crate::backbone::peers::{Config, DownReason, Output, Peers, Pinned, Role, Seed};
use crate::backbone::refusal::Refusal;
use crate::wire::control::CloseReason;

fn prefixes(network: &Network<Peers>, number: u8, other: u8) -> Vec<String> {
    let view = network.view(number, other).unwrap();
    view.prefixes.iter().map(ToString::to_string).collect()
}

/// Lets 2 announce this to 1.
fn announce(network: &mut Network<Peers>, near: &[&str]) {
    let near = near.iter().map(|text| text.parse().unwrap()).collect();
    let config = Config { prefixes: near, seeds: vec![], ..relay(2, &[1]) };
    network.with(2, |peers, now| peers.set_config(config, now));
}

fn wait_for(network: &mut Network<Peers>, expected: &[&str]) {
    network.wait(60 * SECOND, "an announcement", |network| {
        network.view(1, 2).is_some() && prefixes(network, 1, 2) == expected
    });
}

#[test]
fn announcements_are_repeated_until_they_arrive_and_replace_each_other() {
    let mut network = pair(1);
    for loss in [0.0, 0.15, 0.15] {
        network.loss = loss;
        for near in [&["10.2.0.0/16", "2001:db8:2::/48"][..], &["10.2.0.0/17"], &[]] {
            announce(&mut network, near);
            wait_for(&mut network, near);
        }
    }
    network.loss = 0.0;
    network.run(60 * SECOND);
    let before = network.recorded.len();
    network.run(10 * SECOND);
    assert_eq!(network.recorded.len() - before, 10 * 5 * 4, "pings and pongs, nothing else");
}

#[test]
fn what_nobody_else_can_be_near_is_not_believed() {
    let mut network = pair(1);
    let all = [
        "0.0.0.0/0",
        "::/0",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.0.0.0/8",
        "127.0.0.0/8",
        "224.0.0.0/4",
        "169.254.0.0/16",
        "fe80::/10",
        "ff00::/8",
        "10.2.0.0/16",
    ];
    announce(&mut network, &all);
    wait_for(&mut network, &["10.0.0.0/8", "10.2.0.0/16"]);
    let config = Config { accept_default: true, ..relay(1, &[2]) };
    network.with(1, |peers, now| peers.set_config(config, now));
    let expected = ["0.0.0.0/0", "10.0.0.0/8", "10.2.0.0/16", "::/0"];
    assert_eq!(prefixes(&network, 1, 2), expected);
    let (_, Output::Changed(view)) = network.node(1).events.last().unwrap() else { panic!() };
    assert_eq!(view.prefixes.len(), 4);
    let many: Vec<String> = (0..100).map(|number| format!("10.2.{number}.0/24")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    announce(&mut network, &many);
    network.run(SECOND);
    assert_eq!(prefixes(&network, 1, 2).len(), 64);
}

#[test]
fn a_host_cannot_announce() {
    let mut network = Network::new(1);
    let mut config = Config { seeds: vec![], ..relay(1, &[]) };
    config.allowed = [(key(2), Role::Host)].into();
    network.start(1, config);
    network.start(2, relay(2, &[1]));
    network.wait(5 * SECOND, "a session", |network| network.are_up(1, 2));
    network.run(10 * SECOND);
    assert_eq!(prefixes(&network, 1, 2), [""; 0]);
    assert!(network.nodes[&1].machine.counters().count(Refusal::BadKey) > 0);
}

#[test]
fn who_is_not_allowed_any_more_is_down_on_both_sides() {
    let mut network = pair(1);
    let id = network.view(1, 2).unwrap().id;
    network.with(1, |peers, now| peers.set_config(relay(1, &[3]), now));
    let (_, down) = network.node(1).events.last().unwrap();
    assert_eq!(*down, Output::Down(id, DownReason::NotAllowed));
    assert_eq!(network.nodes[&1].machine.sizes()[0], 0);
    network.run(10 * MS);
    let (_, Output::Down(_, reason)) = network.node(2).events.last().unwrap() else { panic!() };
    assert_eq!(*reason, DownReason::Closed(CloseReason::NotAllowed));
    network.with(1, |peers, now| peers.set_config(relay(1, &[2]), now));
    network.wait(60 * SECOND, "a session again", |network| network.are_up(1, 2));
}

#[test]
fn the_same_configuration_again_changes_nothing_and_ends_are_told_of_again() {
    let mut network = pair(1);
    let before = network.nodes[&1].events.len();
    for turn in 1..=10 {
        network.with(1, |peers, now| peers.set_config(relay(1, &[2]), now));
        let Some((_, Output::Changed(view))) = network.nodes[&1].events.last() else { panic!() };
        assert_eq!(Some(view), network.view(1, 2).as_ref());
        assert_eq!(network.nodes[&1].events.len(), before + turn, "at once, and once");
    }
    network.run(5 * SECOND);
    assert_eq!(network.nodes[&1].events.len(), before + 10);
    assert!(network.are_up(1, 2));
}

#[test]
fn a_new_private_key_ends_all_sessions() {
    let mut network = pair(1);
    let config = Config { private_key: private_key(3), ..relay(1, &[2]) };
    network.with(1, |peers, now| peers.set_config(config, now));
    assert_eq!(network.tally(1)[2], 1);
    let config = Config { seeds: vec![], ..relay(2, &[3]) };
    network.with(2, |peers, now| peers.set_config(config, now));
    network.wait(60 * SECOND, "a session", |network| {
        network.view(1, 2).is_some() && network.view(2, 3).is_some()
    });
}

fn pinned(number: u8, other: u8) -> Config {
    let pinned = vec![Pinned { name: format!("to{other}"), key: key(other), address: at(other) }];
    Config { pinned, seeds: vec![], ..relay(number, &[]) }
}

#[test]
fn a_configured_tunnel_needs_its_key_and_its_address() {
    let mut network = Network::new(1);
    network.start(1, pinned(1, 2));
    network.start(2, pinned(2, 1));
    network.wait(10 * SECOND, "a session", |network| network.are_up(1, 2));
    network.run(SECOND);
    let view = network.view(1, 2).unwrap();
    assert_eq!((view.pinned.as_deref(), view.prefixes.len()), (Some("to2"), 1));
    // Another port of it will do; another address will not, not even with the right key.
    network.node(2).address.set_port(4000);
    network.run(2 * SECOND);
    assert_eq!(network.view(1, 2).unwrap().address.port(), 4000);
    network.node(2).address = at(77);
    network.wait(2 * SECOND, "down", |network| network.view(1, 2).is_none());
    assert!(network.nodes[&1].machine.counters().count(Refusal::UnknownEnd) > 0);
    network.run(60 * SECOND);
    assert!(network.view(1, 2).is_none());
    network.node(2).address = at(2);
    network.wait(60 * SECOND, "up again", |network| network.are_up(1, 2));
}

#[test]
fn one_relay_at_two_addresses_has_one_session() {
    let mut network = Network::new(1);
    let two = [at(2), at(77)].map(|address| Seed { address, key: Some(key(2)) });
    network.start(1, Config { seeds: two.to_vec(), ..relay(1, &[2]) });
    network.start(2, Config { seeds: vec![], ..relay(2, &[1]) });
    network.wait(10 * SECOND, "a session", |network| network.are_up(1, 2));
    network.run(100 * SECOND);
    assert_eq!(network.nodes[&1].machine.sizes()[0], 1);
    assert_eq!(network.tally(1)[2], 0);
}

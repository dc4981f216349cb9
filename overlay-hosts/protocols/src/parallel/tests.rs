//! What goes together, what does not and why, and that nothing is lost, late or changed.

use alloc::vec::Vec;
use std::net::SocketAddr;

use super::*;
use crate::contact::Endpoint;
use crate::envelope::{self, Stamp};
use crate::id::PeerId;
use crate::testing::identity;

mod conservation;

const MS: u64 = 1000;

/// Peer `n`; its tag is `n` too.
fn peer(n: u8) -> Endpoint {
    let mut id = PeerId::default();
    (id.0[3], id.0[19]) = (n, n);
    Endpoint { address: SocketAddr::from(([192, 0, 2, n], 9000)), id: Some(id) }
}

fn message(to: &[Endpoint], octets: &[u8]) -> Send {
    let (to, shared) = (to.to_vec(), octets.to_vec());
    Send { to, protocol: Protocol::Ring, shared, parts: Vec::new(), class: Class::Queued }
}

/// A message of type 1: `shared` times an octet, then `own` times another.
fn partly(n: u8, shared: usize, own: usize) -> Send {
    let octets = [vec![1; shared], vec![n; own]].concat();
    message(&[peer(n)], &octets)
}

fn drained(queue: &mut Queue) -> Vec<Send> {
    core::iter::from_fn(|| queue.poll_output()).collect()
}

/// What has left d_q after the last push, which was at 0.
fn left_at_the_end(queue: &mut Queue) -> Vec<Send> {
    assert_eq!(drained(queue), []);
    queue.handle_timeout(Time(20 * MS));
    drained(queue)
}

/// What the receiver of that index reads out of the packet to all.
fn extracted(send: &Send, index: usize) -> Vec<u8> {
    let all: Vec<usize> = (0..send.to.len()).collect();
    let stamp = Stamp { key: [0; 32], epoch: 1, sequence: 1, sent: 1 };
    let bytes = envelope::emit(send, &all, &stamp, &identity(0, false)).unwrap();
    assert_eq!(bytes.len(), envelope::datagram_len(send, &all));
    let me = send.to[index].id.unwrap_or_default();
    envelope::open(&bytes, me, &identity(0, false)).unwrap().message
}

fn receivers(sends: &[Send]) -> Vec<Vec<u8>> {
    let last = |to: &Endpoint| match to.address {
        SocketAddr::V4(address) => address.ip().octets()[3],
        SocketAddr::V6(address) => address.ip().octets()[15],
    };
    sends.iter().map(|send| send.to.iter().map(last).collect()).collect()
}

#[test]
fn equal_messages_to_three_peers_are_one_packet() {
    let mut queue = Queue::new(Config::default());
    for n in 1..=3 {
        queue.push(message(&[peer(n)], &[1; 100]), Time(0));
    }
    assert_eq!(queue.poll_timeout(), Some((Time(20 * MS), "queue")));
    let left = left_at_the_end(&mut queue);
    assert_eq!(left, [message(&[peer(1), peer(2), peer(3)], &[1; 100])]);
    let counters = queue.counters();
    assert_eq!((counters.messages, counters.packets, counters.joined_wholly), (3, 1, 2));
    // IPv4, Xcast4 with a word of bits and three addresses, UDP, envelope and seal, message.
    assert_eq!(counters.octets, 20 + (12 + 4 + 12) + 8 + 124 + 99);
    assert_eq!(counters.octets_separate, 3 * (20 + 8 + 124 + 99));
    assert_eq!(counters.octets_arriving, counters.octets_separate);
    assert_eq!(counters.octets_saved(), 753 - 279);
    assert_eq!((counters.delay_total, counters.delay_max), (60 * MS, 20 * MS));
    assert_eq!(queue.poll_timeout(), None);
}

#[test]
fn messages_that_overlap_in_part_share_that_once() {
    let mut queue = Queue::new(Config::default());
    let pushed = [partly(7, 50, 10), partly(8, 50, 10), partly(9, 50, 12)];
    for send in &pushed {
        queue.push(send.clone(), Time(0));
    }
    let left = left_at_the_end(&mut queue);
    assert_eq!(receivers(&left), [[7, 8, 9]]);
    assert_eq!(left[0].shared, [1; 50]);
    assert_eq!(left[0].parts, [vec![7; 10], vec![8; 10], vec![9; 12]]);
    for (index, send) in pushed.iter().enumerate() {
        assert_eq!(extracted(&left[0], index), send.shared);
    }
    let counters = queue.counters();
    assert_eq!(counters.joined_partly, 2);
    // Shared part, a count, and three parts of 6 octets of header each.
    let datagram = 123 + 50 + 1 + 3 * 6 + 32;
    assert_eq!(counters.octets, 20 + 28 + 8 + datagram);
    assert_eq!(counters.octets_arriving, 3 * (28 + datagram));
}

#[test]
fn a_waiting_message_to_several_takes_one_to_another_in() {
    let mut queue = Queue::new(Config::default());
    queue.push(message(&[peer(1), peer(2)], &[1; 30]), Time(0));
    let mut parted = message(&[peer(3), peer(4)], &[1; 30]);
    parted.parts = vec![vec![3], vec![4]];
    queue.push(parted, Time(0));
    queue.push(message(&[peer(5)], &[1; 30]), Time(0));
    let left = left_at_the_end(&mut queue);
    assert_eq!(receivers(&left), [[1, 2, 3, 4, 5]]);
    assert_eq!(left[0].parts, [vec![], vec![], vec![3], vec![4], vec![]]);
    assert_eq!(extracted(&left[0], 3), [&[1; 30][..], &[4]].concat());
}

#[test]
fn a_full_list_of_destinations_combines_no_more() {
    let config = Config { destinations_max: 2, ..Config::default() };
    let mut queue = Queue::new(config);
    for n in 1..=3 {
        queue.push(message(&[peer(n)], &[1; 30]), Time(0));
    }
    // The full one does not wait.
    assert_eq!(receivers(&drained(&mut queue)), [[1, 2]]);
    assert_eq!(queue.counters().left_for(Left::Destinations), 1);
    assert_eq!(receivers(&left_at_the_end(&mut queue)), [[3]]);

    let mut queue = Queue::new(Config { destinations_max: 3, ..Config::default() });
    queue.push(message(&[peer(1), peer(2)], &[1; 30]), Time(0));
    queue.push(message(&[peer(3), peer(4)], &[1; 30]), Time(0));
    assert_eq!(queue.counters().apart_for(Apart::Destinations), 1);
}

#[test]
fn a_payload_that_would_be_too_long_combines_no_more() {
    let mut queue = Queue::new(Config { datagram_len_max: 123 + 100, ..Config::default() });
    queue.push(partly(1, 60, 10), Time(0));
    queue.push(partly(2, 60, 10), Time(0));
    queue.push(partly(3, 60, 10), Time(0));
    // 123 + 60 + 1 + 2 x 16 fit, and another 16 do not.
    assert_eq!(queue.counters().apart_for(Apart::Payload), 1);
    let left = left_at_the_end(&mut queue);
    assert_eq!(receivers(&left), [vec![1, 2], vec![3]]);
}

#[test]
fn a_long_list_leaves_less_room_within_the_mtu() {
    let v6 = |n: u8| Endpoint {
        address: SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)], 9000)),
        ..peer(n)
    };
    let all: Vec<Endpoint> = (1..=50).map(v6).collect();
    // 40 + 8 + 24 + 8 + 16 n + 123 + 1000 octets: at most 18 destinations in 1500.
    let mut queue = Queue::new(Config::default());
    queue.push(Send { class: Class::Immediate, ..message(&all, &[1; 1000]) }, Time(0));
    let left = drained(&mut queue);
    assert_eq!(left.iter().map(|send| send.to.len()).collect::<Vec<_>>(), [18, 18, 14]);
    assert_eq!((queue.counters().cut, queue.counters().passed), (2, 3));
    // 497 octets go to all of them.
    queue.push(Send { class: Class::Immediate, ..message(&all, &[1; 497]) }, Time(0));
    assert_eq!(drained(&mut queue).len(), 1);
    queue.push(Send { class: Class::Immediate, ..message(&all, &[1; 498]) }, Time(0));
    assert_eq!(drained(&mut queue).len(), 2);
}

#[test]
fn different_ports_are_listed_and_counted() {
    let mut queue = Queue::new(Config::default());
    let at =
        |n: u8, port| Endpoint { address: SocketAddr::new(peer(n).address.ip(), port), ..peer(n) };
    let class = Class::Immediate;
    queue.push(Send { class, ..message(&[at(1, 1), at(2, 1), at(3, 2)], &[1; 100]) }, Time(0));
    // Three ports of two octets, padded to words.
    assert_eq!(queue.counters().octets, 20 + (12 + 4 + 12 + 8) + 8 + 223);
    let v6 = |n, port| Endpoint {
        address: SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, n], port)),
        id: None,
    };
    queue.push(Send { class, ..message(&[v6(1, 1), v6(2, 1), v6(3, 2)], &[1; 100]) }, Time(0));
    // Ports in an option of their own (RFC 5058 section 9.3.2.2): 4 + 6 octets, padded to 16.
    assert_eq!(queue.counters().octets, 287 + 40 + (24 + 8 + 48) + 16 + 8 + 223);
}

#[test]
fn a_message_that_finds_no_company_leaves_by_unicast_after_the_longest_delay() {
    let mut queue = Queue::new(Config::default());
    queue.push(message(&[peer(1)], &[1; 30]), Time(5 * MS));
    queue.handle_timeout(Time(25 * MS - 1));
    assert_eq!(drained(&mut queue), []);
    queue.handle_timeout(Time(25 * MS));
    assert_eq!(receivers(&drained(&mut queue)), [[1]]);
    assert_eq!(queue.counters().left_for(Left::Delay), 1);
    assert_eq!(queue.counters().apart_for(Apart::Alone), 1);
    assert_eq!(queue.counters().delay_max, 20 * MS);
}

#[test]
fn messages_with_nothing_in_common_leave_by_unicast() {
    let mut queue = Queue::new(Config::default());
    queue.push(message(&[peer(1)], &[1; 30]), Time(0));
    queue.push(message(&[peer(2)], &[2; 30]), Time(0));
    // The type alone is no content.
    let typed = [&[1][..], &[9; 29]].concat();
    queue.push(message(&[peer(3)], &typed), Time(0));
    let other = Send { protocol: Protocol::Locality, ..message(&[peer(4)], &[1; 30]) };
    queue.push(other, Time(0));
    assert_eq!(receivers(&left_at_the_end(&mut queue)), [[1], [2], [3], [4]]);
    assert_eq!(queue.counters().apart_for(Apart::NoOverlap), 3);
}

#[test]
fn a_short_overlap_of_long_messages_does_not_pay() {
    // By hand, two messages of L octets with c in common: together (188 + 2L - c) leave and twice
    // (164 + 2L - c) arrive, apart 302 + 2L leave and as many arrive. It pays from 3c >= 2L - 88.
    for (shared, own, packets) in [(170, 129, 1), (169, 130, 2)] {
        let mut queue = Queue::new(Config::default());
        queue.push(partly(7, shared, own), Time(0));
        queue.push(partly(8, shared, own), Time(0));
        assert_eq!(left_at_the_end(&mut queue).len(), packets, "{shared} and {own}");
        assert_eq!(queue.counters().apart_for(Apart::Costly), packets as u64 - 1);
    }
}

#[test]
fn a_host_that_spares_its_own_link_alone_combines_what_its_receivers_pay_for() {
    let mut queue = Queue::new(Config { spares: Spares::Sender, ..Config::default() });
    queue.push(partly(7, 10, 290), Time(0));
    queue.push(partly(8, 10, 290), Time(0));
    assert_eq!(left_at_the_end(&mut queue).len(), 1);
    assert!(queue.counters().octets < queue.counters().octets_separate);
    assert!(queue.counters().octets_arriving > queue.counters().octets_separate);
}

#[test]
fn a_message_that_would_make_a_long_shared_part_everybodys_own_stays_apart() {
    let mut queue = Queue::new(Config { spares: Spares::Sender, ..Config::default() });
    let all: Vec<Endpoint> = (1..=8).map(peer).collect();
    queue.push(message(&all, &[1; 100]), Time(0));
    // 299 and 251 octets apart; together 20 + 52 + 8 + 123 + 2 + 1 + 9 x (6 + 98).
    queue.push(partly(9, 2, 98), Time(0));
    assert_eq!(queue.counters().apart_for(Apart::Costly), 1);
}

#[test]
fn a_message_joins_where_that_saves_most() {
    for (like, expected) in [(7, [vec![1, 2], vec![1]]), (8, [vec![1], vec![1, 2]])] {
        let mut queue = Queue::new(Config::default());
        // Two that are alike, and stay apart as they go to the same peer.
        for n in [7, 8] {
            queue.push(Send { to: vec![peer(1)], ..partly(n, 20, 20) }, Time(0));
        }
        queue.push(Send { to: vec![peer(2)], ..partly(like, 20, 20) }, Time(0));
        assert_eq!(receivers(&left_at_the_end(&mut queue)), expected);
    }
}

#[test]
fn with_no_delay_what_one_instant_brings_goes_together_and_nothing_waits() {
    let mut queue = Queue::new(Config { delay: Duration::ZERO, ..Config::default() });
    queue.push(message(&[peer(1)], &[1; 30]), Time(7));
    queue.push(message(&[peer(2)], &[1; 30]), Time(7));
    assert_eq!(receivers(&drained(&mut queue)), [[1, 2]]);
    queue.push(message(&[peer(3)], &[1; 30]), Time(7));
    assert_eq!(receivers(&drained(&mut queue)), [[3]]);
    assert_eq!((queue.poll_timeout(), queue.counters().delay_max), (None, 0));
}

#[test]
fn peers_with_equal_tags_share_no_packet() {
    let mut twin = peer(2);
    twin.id =
        peer(1).id.map(|id| PeerId([id.0[..19].to_vec(), vec![77]].concat().try_into().unwrap()));
    let mut queue = Queue::new(Config::default());
    queue.push(partly(1, 50, 10), Time(0));
    queue.push(Send { to: vec![twin], ..partly(2, 50, 10) }, Time(0));
    assert_eq!(receivers(&left_at_the_end(&mut queue)), [[1], [2]]);
    assert_eq!(queue.counters().apart_for(Apart::Names), 1);
    // Not even if a machine says so.
    let parts = vec![vec![1], vec![2]];
    queue.push(Send { parts, ..message(&[peer(1), twin], &[1; 30]) }, Time(20 * MS));
    queue.handle_timeout(Time(40 * MS));
    let left = drained(&mut queue);
    assert_eq!(receivers(&left), [[1], [2]]);
    assert_eq!(left[1].shared, [&[1; 30][..], &[2]].concat());
}

#[test]
fn a_receiver_without_identity_is_in_no_list_of_parts() {
    let nameless = |n| Endpoint { id: None, ..peer(n) };
    let mut queue = Queue::new(Config::default());
    queue.push(message(&[nameless(1)], &[1; 30]), Time(0));
    queue.push(partly(2, 30, 5), Time(0));
    queue.push(message(&[nameless(3)], &[1; 30]), Time(0));
    assert_eq!(receivers(&left_at_the_end(&mut queue)), [vec![1, 3], vec![2]]);
    assert_eq!(queue.counters().apart_for(Apart::Names), 1);
}

#[test]
fn messages_to_one_receiver_keep_their_order() {
    let mut queue = Queue::new(Config::default());
    queue.push(message(&[peer(1)], &[2; 30]), Time(0));
    queue.push(message(&[peer(2)], &[1; 30]), Time(1));
    // It would leave before what peer 2 is to get first.
    queue.push(message(&[peer(2)], &[2; 30]), Time(2));
    assert_eq!(queue.counters().apart_for(Apart::SameReceiver), 1);
    queue.push(message(&[peer(1)], &[1; 30]), Time(3));
    queue.handle_timeout(Time(30 * MS));
    assert_eq!(receivers(&drained(&mut queue)), [vec![1], vec![2, 1], vec![2]]);
}

#[test]
fn what_leaves_early_takes_along_what_its_receivers_get_first() {
    let mut queue = Queue::new(Config { destinations_max: 2, ..Config::default() });
    queue.push(message(&[peer(9)], &[1; 30]), Time(0));
    queue.push(message(&[peer(2)], &[2; 30]), Time(0));
    queue.push(message(&[peer(2)], &[3; 30]), Time(0));
    queue.push(message(&[peer(3)], &[3; 30]), Time(0));
    let left = drained(&mut queue);
    assert_eq!(receivers(&left), [vec![2], vec![2, 3]]);
    assert_eq!((left[0].shared[0], left[1].shared[0]), (2, 3));
    assert_eq!(queue.counters().left_for(Left::Order), 1);
    assert_eq!(queue.len(), 1);
}

#[test]
fn a_queue_that_is_full_lets_the_oldest_go_early() {
    let mut queue = Queue::new(Config { waiting_max: 3, ..Config::default() });
    for n in 1..=10 {
        queue.push(message(&[peer(n)], &[n; 30]), Time(0));
        assert!(queue.len() <= 3);
    }
    assert_eq!(receivers(&drained(&mut queue)), [[1], [2], [3], [4], [5], [6], [7]]);
    assert_eq!(queue.counters().left_for(Left::QueueFull), 7);
}

#[test]
fn a_message_is_compared_with_so_many_and_no_more() {
    let mut queue = Queue::new(Config { comparisons_max: 2, ..Config::default() });
    for n in 1..=3 {
        queue.push(message(&[peer(n)], &[&[1][..], &[n + 10; 600]].concat()), Time(0));
    }
    queue.push(message(&[peer(4)], &[&[1][..], &[11; 600]].concat()), Time(0));
    assert_eq!(queue.counters().apart_for(Apart::Work), 1);
    queue.push(message(&[peer(5)], &[&[1][..], &[13; 600]].concat()), Time(0));
    assert_eq!(queue.counters().joined_wholly, 1);
}

#[test]
fn what_may_not_wait_leaves_at_once_and_as_it_is() {
    for class in [Class::Immediate, Class::Repeated, Class::Probe] {
        let mut queue = Queue::new(Config::default());
        queue.push(message(&[peer(1)], &[1; 30]), Time(0));
        let send = Send { class, ..message(&[peer(1), peer(2)], &[1; 30]) };
        queue.push(send.clone(), Time(0));
        assert_eq!(drained(&mut queue), [send]);
        assert_eq!((queue.len(), queue.counters().left_for(Left::Immediate)), (1, 1));
    }
}

#[test]
fn marked_messages_leave_as_one_and_at_once_and_only_the_limit_cuts_them() {
    let mut queue = Queue::new(Config { mode: Mode::Marked, ..Config::default() });
    let all: Vec<Endpoint> = (1..=120).map(peer).collect();
    queue.push(message(&all, &[1; 30]), Time(0));
    queue.push(message(&[peer(121)], &[1; 30]), Time(0));
    let left = drained(&mut queue);
    assert_eq!(left.iter().map(|send| send.to.len()).collect::<Vec<_>>(), [50, 50, 20, 1]);
    assert_eq!(left.iter().flat_map(|send| &send.to).count(), 121);
    assert_eq!((queue.counters().cut, queue.counters().left_for(Left::Marked)), (2, 4));
}

#[test]
fn groups_in_the_network_are_counted_once_and_formed_again_when_their_state_is_gone() {
    let mut queue = Queue::new(Config { mode: Mode::Marked, groups_max: 2, ..Config::default() });
    let second = 1000 * MS;
    let mut to = |all: &[u8], at: u64| {
        let all: Vec<Endpoint> = all.iter().copied().map(peer).collect();
        queue.push(message(&all, &[1; 30]), Time(at * second));
        queue.poll_output();
    };
    to(&[1, 2], 0);
    to(&[2, 1], 1);
    to(&[3], 2);
    to(&[3, 4, 5], 10);
    to(&[1, 2], 100);
    let groups = &queue.counters().groups;
    assert_eq!((groups.distinct(), groups.largest()), ((2, false), 4));
    assert_eq!((groups.formed(), groups.joined()), (3, 7));
    assert!((groups.changes_per_second(Time(100 * second)) - 0.1).abs() < 1e-9);
    queue.push(message(&[peer(6), peer(7)], &[1; 30]), Time(100 * second));
    assert_eq!(queue.counters().groups.distinct(), (2, true));
}

//! Datagrams that are right and wrong, and messages that are long.

use alloc::vec::Vec;
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::machine::Outbox;
use crate::testing::{Net, START, address, identity};

const NOW: Now = Now { time: Time(0), wall: START };

fn node(place: usize, signed: bool) -> OverlayNode {
    let identity = identity(place, signed);
    let me = Contact::new(identity.id, address(place));
    OverlayNode::new(Config::default(), identity, me, &|_| None, 1, NOW)
}

fn endpoint(place: usize, signed: bool) -> Endpoint {
    Endpoint { address: address(place), id: Some(identity(place, signed).id) }
}

fn receive(node: &mut OverlayNode, bytes: &[u8]) {
    let input = Input::Datagram { from: address(0), bytes, at: NOW.time, wall: NOW.wall, ttl: 60 };
    node.handle_input(input, NOW);
}

/// Probes of one node to others, sealed for all of them together.
fn probes(from: &mut OverlayNode, to: &[Endpoint]) -> (Send, Vec<u8>) {
    from.handle_input(Input::Probe(to.to_vec()), NOW);
    let Some(Output::Send(send)) = from.poll_output() else { panic!("no probe") };
    let select: Vec<usize> = (0..to.len()).collect();
    let bytes = from.datagram(&send, &select, NOW);
    (send, bytes)
}

#[test]
fn a_datagram_is_what_the_format_says() {
    let mut node = node(0, false);
    let (_, bytes) = probes(&mut node, &[endpoint(1, false)]);
    let mut expected = b"Xo\x01\x00\x00\x02".to_vec();
    let nonce = Random::new(1, RANDOM_STREAM).number();
    let body = machine::encode(&nonce);
    expected.extend((body.len() as u16).to_be_bytes());
    expected.extend([0; 8]); // the number of host 0, then the rest of its key
    expected.extend([0x5a; 24]);
    expected.extend(START.0.to_be_bytes());
    expected.extend(1u64.to_be_bytes());
    expected.extend(1_770_000_000u32.to_be_bytes());
    expected.extend(body);
    expected.extend([0; 64]);
    assert_eq!(bytes, expected);
}

#[test]
fn each_receiver_finds_its_own_part_and_alone_gets_the_plain_message() {
    let mut sender = node(0, true);
    let to = [endpoint(1, true), endpoint(2, true)];
    let mut out = Outbox::<()>::default();
    let long = alloc::vec![9u8; 100];
    let messages = [(to[0], (1u8, long.clone(), 7u8)), (to[1], (1, long.clone(), 8))];
    out.send_each(&messages, Protocol::Ring, Class::Immediate);
    let Some(Output::Send(send)) = out.poll() else { panic!() };
    let together = sender.datagram(&send, &[0, 1], NOW);
    assert_eq!(together.len(), envelope::datagram_len(&send, &[0, 1]));
    for place in [1, 2] {
        let me = identity(place, true);
        let opened = envelope::open(&together, me.id, &me).unwrap();
        assert_eq!(opened.message, machine::encode(&messages[place - 1].1));
        // The honest loop: what goes to one alone is as long as the plain message is.
        let alone = sender.datagram(&send, &[place - 1], NOW);
        let parts = Vec::new();
        let shared = machine::encode(&messages[place - 1].1);
        let plain = Send { to: alloc::vec![to[place - 1]], shared, parts, ..send.clone() };
        assert_eq!(alone.len(), sender.datagram(&plain, &[0], NOW).len());
        assert_eq!(alone.len(), envelope::datagram_len(&send, &[place - 1]));
        assert_eq!(envelope::open(&alone, me.id, &me).unwrap().message, opened.message);
    }
    let other = identity(3, true);
    assert_eq!(envelope::open(&together, other.id, &other), Err(DropReason::NotForUs));
}

#[test]
fn what_is_wrong_with_a_datagram_is_counted_by_name() {
    let mut sender = node(0, true);
    let (_, good) = probes(&mut sender, &[endpoint(1, true)]);
    let mut receiver = node(1, true);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    let cut = |len: usize| good[..len].to_vec();
    let unsealed = probes(&mut node(0, false), &[endpoint(1, true)]).1;
    let own = probes(&mut node(1, true), &[endpoint(0, true)]).1;
    let last = good.len() - 1;
    let cases = [
        (changed(0, 0), DropReason::Magic),
        (changed(2, 9), DropReason::Version),
        (cut(3), DropReason::Truncated),
        (cut(last), DropReason::Truncated),
        (changed(7, 0), DropReason::Oversized),
        (alloc::vec![0; 1233], DropReason::Oversized),
        (unsealed, DropReason::SealKind),
        (changed(last, !good[last]), DropReason::Forged),
        (changed(61, !good[61]), DropReason::Forged),
        (changed(8, !good[8]), DropReason::Forged),
        (own, DropReason::OwnMessage),
    ];
    for (bytes, reason) in cases {
        let before = receiver.drops().of(reason);
        receive(&mut receiver, &bytes);
        assert_eq!(receiver.drops().of(reason), before + 1, "{reason:?}");
    }
    receive(&mut receiver, &good);
    assert_eq!(receiver.traffic().received, 1);
    receive(&mut receiver, &good);
    assert_eq!(receiver.drops().of(DropReason::Replayed), 1);
    let later = Now { wall: Wall(START.0 + 700_000_000), ..NOW };
    let (_, old) = probes(&mut sender, &[endpoint(1, true)]);
    let input =
        Input::Datagram { from: address(0), bytes: &old, at: NOW.time, wall: later.wall, ttl: 1 };
    receiver.handle_input(input, later);
    assert_eq!(receiver.drops().of(DropReason::Ancient), 1);
}

#[test]
fn no_octets_whatever_make_it_panic() {
    let mut random = Random::new(7, 7);
    let mut receiver = node(1, false);
    let (_, good) = probes(&mut node(0, false), &[endpoint(1, false), endpoint(2, false)]);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.number() as u8;
        }
        bytes.truncate(random.below(good.len() as u64 + 1) as usize);
        receive(&mut receiver, &bytes);
        while receiver.poll_output().is_some() {}
    }
}

#[test]
fn another_version_is_answered_by_name_and_only_so_often() {
    let mut receiver = node(1, true);
    let mut bytes = probes(&mut node(0, true), &[endpoint(1, true)]).1;
    bytes[2] = 7;
    bytes.extend([0; 10]);
    for _ in 0..50 {
        receive(&mut receiver, &bytes);
    }
    let mut answers = 0;
    let mut asked = node(0, true);
    while let Some(output) = receiver.poll_output() {
        let Output::Send(send) = output else { continue };
        answers += 1;
        let answer = receiver.datagram(&send, &[0], NOW);
        assert!(answer.len() <= bytes.len());
        let input = Input::Datagram {
            from: address(1),
            bytes: &answer,
            at: NOW.time,
            wall: NOW.wall,
            ttl: 60,
        };
        asked.handle_input(input, NOW);
        let told = asked.poll_output();
        assert_eq!(told, Some(Output::Event(Event::SpeaksVersions(address(1), alloc::vec![1]))));
    }
    assert_eq!(answers, 10);
    assert_eq!(receiver.drops().of(DropReason::Version), 50);
}

#[test]
fn who_is_reached_by_xcast_says_so() {
    let mut net = Net::new(Duration::from_millis(10));
    let places = [0, 1, 2].map(|_| net.start(Config::default()));
    let to = places[1..].iter().map(|place| net.node(*place).contact().endpoint()).collect();
    net.input(0, Input::Probe(to));
    net.run(Duration::from_millis(20));
    let reached: Vec<SocketAddr> = net.events[0]
        .iter()
        .filter_map(|(_, event)| match event {
            Event::XcastReaches(peer) => Some(peer.address),
            _ => None,
        })
        .collect();
    assert_eq!(reached, [address(1), address(2)]);
}

#[test]
fn a_long_message_goes_in_pieces() {
    let mut sender = node(0, true);
    let to = alloc::vec![endpoint(1, true), endpoint(2, true)];
    let long: Vec<u8> = (0..9000u32).map(|n| (n % 251) as u8).collect();
    let send = Send {
        to,
        protocol: Protocol::Ring,
        shared: long,
        parts: alloc::vec![alloc::vec![1], alloc::vec![2]],
        class: Class::Immediate,
    };
    sender.send(send.clone(), NOW.time);
    sender.drain(NOW);
    let mut receivers = [node(1, true), node(2, true)];
    let mut whole = [0, 0];
    while let Some(output) = sender.poll_output() {
        let Output::Send(piece) = output else { continue };
        for index in 0..piece.to.len() {
            let bytes = sender.datagram(&piece, &[index], NOW);
            assert!(bytes.len() <= DATAGRAM_LEN_MAX);
            let place = usize::from(piece.to[index].address != address(1));
            let receiver = &mut receivers[place];
            let (from, opened) = receiver.open(address(0), &bytes, NOW).unwrap();
            let Some(Message::Piece(piece)) = machine::decode(&opened.message) else { panic!() };
            if let Some((protocol, message)) =
                receiver.reassembly.accept(from, piece, NOW.time).unwrap()
            {
                assert_eq!((protocol, message), (Protocol::Ring, send.message_for(place)));
                whole[place] += 1;
            }
        }
    }
    assert_eq!(whole, [1, 1]);
}

#[test]
fn what_two_events_say_within_the_longest_delay_leaves_as_one_packet() {
    let mut sender = node(0, true);
    for (place, own) in [(1, 7u8), (2, 8)] {
        let mut out = Outbox::<()>::default();
        out.send(
            alloc::vec![endpoint(place, true)],
            Protocol::Ring,
            &(1u8, [5u8; 32], own),
            Class::Queued,
        );
        let Some(output) = out.poll() else { panic!() };
        sender.take(output, |()| unreachable!(), NOW);
        sender.drain(NOW);
    }
    assert_eq!(sender.poll_output(), None);
    let (at, why) = sender.poll_timeout().unwrap();
    assert_eq!((at, why), (Time(20_000), "queue"));
    sender.handle_timeout(Now { time: at, ..NOW });
    let Some(Output::Send(send)) = sender.poll_output() else { panic!() };
    assert_eq!(sender.poll_output(), None);
    let together = sender.datagram(&send, &[0, 1], NOW);
    for (place, own) in [(1, 7u8), (2, 8)] {
        let (_, opened) = node(place, true).open(address(0), &together, NOW).unwrap();
        assert_eq!(opened.message, machine::encode(&(1u8, [5u8; 32], own)));
    }
}

#[test]
fn of_a_list_only_those_get_pieces_whose_message_is_too_long() {
    let mut sender = node(0, true);
    let send = Send {
        to: alloc::vec![endpoint(1, true), endpoint(2, true), endpoint(3, true)],
        protocol: Protocol::Ring,
        shared: alloc::vec![9; 20],
        parts: alloc::vec![alloc::vec![1; 5], alloc::vec![2; 3000], alloc::vec![3; 6]],
        class: Class::Immediate,
    };
    sender.send(send.clone(), NOW.time);
    sender.drain(NOW);
    let (mut short, mut pieces) = (0, 0);
    while let Some(Output::Send(left)) = sender.poll_output() {
        match left.protocol {
            Protocol::Node => {
                assert_eq!(left.to, [endpoint(2, true)]);
                pieces += 1;
            }
            _ => {
                assert_eq!(left.to, [endpoint(1, true), endpoint(3, true)]);
                assert_eq!(left.message_for(0), send.message_for(0));
                assert_eq!(left.message_for(1), send.message_for(2));
                short += 1;
            }
        }
    }
    assert_eq!((short, pieces), (1, 3));
}

#[test]
fn an_answer_to_a_probe_long_ago_proves_nothing() {
    let (mut asking, mut asked) = (node(0, true), node(1, true));
    let mut answers = Vec::new();
    for seconds in [0, 4, 5, 10] {
        let now = Now { time: Time(seconds * 1_000_000), ..NOW };
        asking.handle_input(Input::Probe(alloc::vec![endpoint(1, true)]), now);
        let Some(Output::Send(send)) = asking.poll_output() else { panic!() };
        let bytes = asking.datagram(&send, &[0], now);
        receive(&mut asked, &bytes);
        let Some(Output::Send(send)) = asked.poll_output() else { panic!() };
        answers.push(asked.datagram(&send, &[0], NOW));
    }
    for (answer, holds) in answers.iter().zip([false, false, true, true]) {
        receive(&mut asking, answer);
        let told = matches!(asking.poll_output(), Some(Output::Event(Event::XcastReaches(_))));
        assert_eq!(told, holds);
    }
}

#[test]
fn an_answer_to_an_unknown_version_is_shorter_than_what_came() {
    let mut receiver = node(1, true);
    // The shortest datagram that is answered is longer than the answer.
    let answered = (envelope::HEADER_LEN..300).find(|len| {
        let mut bytes = alloc::vec![0; *len];
        bytes[..3].copy_from_slice(b"Xo\x07");
        receive(&mut receiver, &bytes);
        matches!(receiver.outputs.front(), Some(Output::Send(_)))
    });
    let Some(Output::Send(send)) = receiver.poll_output() else { panic!() };
    assert_eq!(answered, Some(receiver.datagram(&send, &[0], NOW).len() + 1));
}

#[test]
fn a_datagram_to_nobody_is_empty_and_counted() {
    let mut sender = node(0, true);
    let (send, _) = probes(&mut sender, &[endpoint(1, true)]);
    assert!(sender.datagram(&send, &[], NOW).is_empty());
    assert!(sender.datagram(&send, &[1], NOW).is_empty());
    assert_eq!(sender.traffic().lost, 2);
}

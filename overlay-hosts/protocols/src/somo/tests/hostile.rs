//! What a machine makes of messages that nobody honest sends.

use std::vec::Vec;

use super::super::message::Heading;
use super::*;
use crate::machine::encode;

fn own(contact: &Contact) -> Span {
    let range = Range { first: contact.position(), last: contact.position() };
    Span { machines: 1, height: 0, range }
}

/// A report of a stranger that claims to be at a virtual node.
fn report(me: &Contact, node: VirtualNode, report: Vec<u8>) -> Message {
    let heading = Heading { serial: 1, round: 0, node, span: own(me) };
    Message::Report { heading, me: me.clone(), report }
}

#[test]
fn any_octets_are_dropped_or_taken_and_nothing_breaks() {
    let seed = 21;
    let mut random = Random::new(seed, 0);
    let mut fleet = settled(config(4), 20, seed);
    let root = fleet.root();
    let from = fleet.contact(3).endpoint();
    for _ in 0..20_000 {
        let mut bytes = vec![0; random.below(80) as usize];
        random.fill(&mut bytes);
        if let Some(kind) = bytes.first_mut() {
            *kind %= 18;
        }
        let _taken_or_not = fleet.message(root, from, &bytes);
    }
    fleet.run(Duration::from_secs(120));
    fleet.is_the_tree();
}

#[test]
fn calls_and_news_are_taken_from_the_parent_alone() {
    let mut fleet = settled(config(4), 20, 22);
    let root = fleet.root();
    let stranger = fleet.contact((0..20).find(|place| *place != root).unwrap()).endpoint();
    let news = Message::News { serial: 5, hops: 3, range: Range::ALL, news: b"x".to_vec() };
    for message in [Message::Call { round: 9 }, news] {
        let dropped = fleet.message(root, stranger, &encode(&message));
        assert_eq!(dropped, Err(DropReason::NotInTree));
    }
    assert!(fleet.news(root).is_empty());
}

#[test]
fn what_cannot_be_a_report_is_none() {
    let mut fleet = settled(config(4), 20, 23);
    let root = fleet.root();
    let mut random = Random::new(23, 1);
    let me = fleet::contact(77, &mut random);
    let tree = Tree::new(4);
    let node = tree.node(1, 0).unwrap();
    let good = Statistics { machines: 1, ..Statistics::default() }.to_bytes();
    let mut far_away = report(&me, node, good.clone());
    if let Message::Report { heading, .. } = &mut far_away {
        heading.span.range = Range { first: RingId::ZERO, last: RingId::ZERO };
    }
    let deep = decode(&[200, 0, 0, 0]).unwrap();
    let many = decode(&[1, 0, 0, 4]).unwrap();
    for (message, reason) in [
        (report(&me, node, b"\xff\xff".to_vec()), DropReason::Malformed),
        (report(&me, node, vec![0; REPORT_LEN_MAX + 1]), DropReason::Oversized),
        (report(&me, VirtualNode::ROOT, good.clone()), DropReason::Malformed),
        (report(&me, deep, good.clone()), DropReason::Malformed),
        (report(&me, many, good.clone()), DropReason::Malformed),
        (far_away, DropReason::Malformed),
        (report(&fleet.contact(root), node, good.clone()), DropReason::Malformed),
    ] {
        let dropped = fleet.message(root, me.endpoint(), &encode(&message));
        assert_eq!(dropped, Err(reason), "{message:?}");
    }
    // In somebody else's name.
    let message = encode(&report(&me, node, good));
    let from = fleet.contact(1).endpoint();
    assert_eq!(fleet.message(root, from, &message), Err(DropReason::Malformed));
}

#[test]
fn children_that_are_none_take_no_more_room_than_there_is() {
    let mut random = Random::new(24, 1);
    let me = fleet::contact(0, &mut random);
    let config = config(64);
    let now = Now::default();
    let mut somo = Somo::new(config, me.clone(), 1, now);
    // Alone it owns the whole ring: every parent is in its zone.
    somo.handle_input(Input::Command(Command::Zone(Some(me.position()))), now).unwrap();
    let report_of = Statistics { machines: 1, ..Statistics::default() }.to_bytes();
    let mut results = Vec::new();
    for number in 0..2 * CHILDREN_MAX {
        let stranger = fleet::contact(number + 1, &mut random);
        let node = Tree::new(64).node(2, number as u64).unwrap();
        let message = encode(&report(&stranger, node, report_of.clone()));
        let from = stranger.endpoint();
        let (at, wall) = (now.time, now.wall);
        let received = Received { from, at, wall, ttl: 64, octets: 0, message: &message };
        results.push(somo.handle_input(Input::Message(received), now));
    }
    assert_eq!(somo.children().len(), CHILDREN_MAX);
    assert_eq!(results.iter().filter(|taken| taken.is_ok()).count(), CHILDREN_MAX);
    assert!(results.contains(&Err(DropReason::TreeFull)));
}

#[test]
fn the_nearer_one_behind_a_key_is_the_child_there() {
    let mut fleet = settled(config(4), 40, 25);
    let root = fleet.root();
    let before: Vec<PeerId> = fleet.somo(root).children().map(|child| child.id).collect();
    let mut random = Random::new(25, 1);
    let report_of = Statistics { machines: 1, ..Statistics::default() }.to_bytes();
    for child in 0..40 {
        let Some(node) = fleet.somo(child).representative() else { continue };
        if fleet.somo(child).parent().map(|parent| parent.id) != Some(fleet.contact(root).id) {
            continue;
        }
        // Far behind the child, so not the owner of its key.
        let mut stranger = fleet::contact(99, &mut random);
        stranger.id.0 = fleet.position(child).plus(RingId::power_of_two(155)).0;
        let message = encode(&report(&stranger, node, report_of.clone()));
        let dropped = fleet.message(root, stranger.endpoint(), &message);
        assert_eq!(dropped, Err(DropReason::NotInTree));
    }
    let after: Vec<PeerId> = fleet.somo(root).children().map(|child| child.id).collect();
    assert_eq!(before, after);
}

#[test]
fn the_longest_messages_fit_a_datagram() {
    let mut random = Random::new(26, 1);
    let me = fleet::contact(0xffff, &mut random);
    let whole = Range { first: RingId([0xfe; 20]), last: RingId([0xff; 20]) };
    let node: VirtualNode = decode(&encode(&(160u8, [u64::MAX; 3]))).unwrap();
    let span = Span { machines: u32::MAX, height: 160, range: whole };
    let heading = Heading { serial: u32::MAX, round: u32::MAX, node, span };
    let report = vec![7; REPORT_LEN_MAX];
    let longest = encode(&Message::Report { heading, me, report });
    let room = crate::node::DATAGRAM_LEN_MAX - crate::envelope::OVERHEAD;
    assert!(longest.len() <= room, "{} of {room}", longest.len());
    let news = vec![7; NEWS_LEN_MAX];
    let longest = encode(&Message::News { serial: u64::MAX, hops: 160, range: whole, news });
    assert!(longest.len() <= 1024, "{}", longest.len());
}

#[test]
fn a_pool_s_report_is_never_too_long() {
    let huge = Statistics {
        machines: u32::MAX,
        sums: vec![u64::MAX; SUMS_MAX],
        histogram: vec![u32::MAX; CLASSES_MAX],
        top: (0..TOP_MAX as u64).map(|place| (u32::MAX, u64::MAX - place)).collect(),
    };
    let merged = Pool.merge(&[&huge.to_bytes(), &huge.to_bytes()]);
    assert!(merged.len() <= REPORT_LEN_MAX);
    let usual = Statistics {
        top: (0..TOP_MAX as u64).map(|place| (1000, (1 << 48) - 1 - place)).collect(),
        ..Statistics::default()
    };
    let merged = Statistics::read(&Pool.merge(&[&usual.to_bytes()])).unwrap();
    assert_eq!(merged.top.len(), TOP_MAX);
}

//! What is asked of ranges, and what is registered.

use std::vec::Vec;

use super::*;

/// A machine's number as a sum, so that reports of some tell who they are.
fn sampled(count: usize, degree: u32, seed: u64) -> Fleet {
    let mut fleet = settled(config(degree), count, seed);
    for place in 0..count {
        let statistics = Statistics {
            machines: 1,
            sums: vec![1 << (place % 60), place as u64],
            ..Default::default()
        };
        fleet.command(place, Command::Sample(statistics.to_bytes()));
    }
    let root = fleet.root();
    fleet.command(root, Command::Gather);
    fleet.run(Duration::from_secs(10));
    fleet
}

fn answer(fleet: &mut Fleet, place: usize, range: Range, raw: bool) -> (u32, Statistics) {
    fleet.command(place, Command::Query { request: 7, range, raw });
    fleet.run(Duration::from_secs(120));
    let answered = fleet.told(place).into_iter().rev().find_map(|event| match event {
        Event::Answered { request: 7, machines, report, complete } => {
            assert!(complete);
            Some((machines, Statistics::read(&report).unwrap_or_default()))
        }
        _ => None,
    });
    answered.expect("it is answered")
}

#[test]
fn a_range_is_answered_for_exactly_the_machines_in_it() {
    let seed = 31;
    let mut random = Random::new(seed, 0);
    let mut fleet = sampled(150, 2, seed);
    let quarter = Tree::new(2).space(Tree::new(2).node(2, 0).unwrap());
    let mut ranges = vec![quarter, Range::ALL];
    for _ in 0..10 {
        let mut ends = [RingId::ZERO; 2];
        ends.iter_mut().for_each(|end| random.fill(&mut end.0));
        ranges.push(Range { first: ends[0], last: ends[1] }); // some of them around zero
    }
    for range in ranges {
        let inside: Vec<usize> =
            (0..150).filter(|place| range.holds(fleet.position(*place))).collect();
        let (machines, statistics) = answer(&mut fleet, random.below(150) as usize, range, false);
        let numbers: u64 = inside.iter().map(|place| *place as u64).sum();
        assert_eq!(machines as usize, inside.len(), "seed {seed}, {range:?}");
        assert_eq!(statistics.sums.get(1).copied().unwrap_or(0), numbers, "seed {seed}, {range:?}");
    }
}

#[test]
fn a_range_costs_questions_along_its_edges_alone() {
    let mut fleet = sampled(300, 8, 32);
    let range = Range { first: RingId([0x20; 20]), last: RingId([0xd0; 20]) };
    let start = fleet.now;
    let (machines, _) = answer(&mut fleet, 5, range, false);
    let asked = fleet.sent_since(start, 10).len();
    assert!(machines > 150 && asked < 40, "{asked} asked for {machines}");
}

#[test]
fn raw_lists_come_in_pages() {
    let mut fleet = sampled(150, 8, 33);
    let range = Range { first: RingId([0x40; 20]), last: RingId([0xc0; 20]) };
    let (machines, _) = answer(&mut fleet, 5, range, true);
    let mut listed: Vec<RingId> = Vec::new();
    for event in fleet.told(5) {
        if let Event::Listed { entries, .. } = event {
            assert!(entries.iter().map(|(_, report)| report.len()).sum::<usize>() <= 1024);
            listed.extend(entries.iter().map(|(position, _)| *position));
        }
    }
    listed.sort_unstable();
    let mut expected: Vec<RingId> =
        (0..150).map(|place| fleet.position(place)).filter(|it| range.holds(*it)).collect();
    expected.sort_unstable();
    assert_eq!((machines as usize, listed), (expected.len(), expected));
}

#[test]
fn branches_that_do_not_fit_one_page_come_on_the_next() {
    // Reports so long that two make a page.
    let mut fleet = settled(config(16), 60, 34);
    for place in 0..60u64 {
        let top = (0..40).map(|rank| (900 + rank, (place << 32 | u64::from(rank)) << 8)).collect();
        let statistics = Statistics { machines: 1, sums: vec![place], histogram: vec![], top };
        fleet.command(place as usize, Command::Sample(statistics.to_bytes()));
    }
    let root = fleet.root();
    fleet.command(root, Command::Gather);
    fleet.run(Duration::from_secs(10));
    let (machines, statistics) = answer(&mut fleet, 3, Range::ALL, true);
    assert_eq!((machines, statistics.sums[0]), (60, 59 * 60 / 2));
}

#[test]
fn a_query_ends_incomplete_where_nobody_answers() {
    let mut fleet = sampled(60, 4, 35);
    let gone =
        (0..60).find(|place| *place != 5 && *place != fleet.root() && fleet.depth(*place) == 1);
    fleet.crash(&[gone.unwrap()].into(), Duration::from_secs(600));
    fleet.command(5, Command::Query { request: 9, range: Range::ALL, raw: true });
    fleet.run(Duration::from_secs(60));
    let told = fleet.told(5);
    let ended = told.iter().any(|event| {
        matches!(event, Event::Answered { request: 9, complete: false, machines, .. } if *machines > 0)
    });
    assert!(ended, "{told:?}");
}

/// Says how many machines there are, if they are at least as many as the query's octet.
#[derive(Debug)]
struct AtLeast;

impl Op for AtLeast {
    fn own(&self, _: &[u8], _: Now) -> Vec<u8> {
        vec![1]
    }

    fn is_report(&self, report: &[u8]) -> bool {
        report.len() == 1
    }

    fn merge(&self, reports: &[&[u8]]) -> Vec<u8> {
        vec![reports.iter().flat_map(|report| report.iter()).sum()]
    }

    fn answer(&self, query: &[u8], report: &[u8]) -> Option<Vec<u8>> {
        (report >= query).then(|| report.to_vec())
    }
}

fn matched(fleet: &Fleet, place: usize) -> Vec<Vec<u8>> {
    let answer = |event: Event| match event {
        Event::Matched { request: 1, answer } => Some(answer),
        _ => None,
    };
    fleet.told(place).into_iter().filter_map(answer).collect()
}

#[test]
fn registered_queries_are_answered_when_the_answer_is_another() {
    let interval = Duration::from_secs(20);
    let config = Config { op: &AtLeast, interval, ..config(4) };
    let mut fleet = settled(config, 20, 36);
    let root = fleet.root();
    for (place, least) in [(1, 22), (2, 22), (3, 100), (root, 22)] {
        let query = vec![least];
        fleet.command(place, Command::Subscribe { request: 1, node: VirtualNode::ROOT, query });
    }
    fleet.run(interval * 2);
    assert!(matched(&fleet, 1).is_empty());
    let start = fleet.now;
    (0..3).for_each(|_| fleet.join());
    fleet.run(interval * 4);
    for place in [1, 2, root] {
        assert_eq!(matched(&fleet, place), [[23]], "machine {place}");
    }
    assert!(matched(&fleet, 3).is_empty());
    // Those who asked the same got one message.
    let sent = fleet.sent_since(start, 14);
    assert!(sent.len() == 1 && sent[0].to.len() + usize::from([1, 2].contains(&root)) == 2);
    // It stays registered when somebody else becomes the root.
    fleet.crash(&[root].into(), Duration::from_secs(5));
    fleet.run(interval * 8);
    assert_eq!(matched(&fleet, 2).last(), Some(&vec![22]));
    fleet.command(2, Command::Unsubscribe { request: 1 });
    fleet.run(interval * 8);
    let before = matched(&fleet, 2).len();
    fleet.join();
    fleet.run(interval * 8);
    assert_eq!(matched(&fleet, 2).len(), before);
}

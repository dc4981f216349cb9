//! Figures 10 and 11: seed 001 paragraphs 0043 to 0059; seed 000 claims 1 to 20, 25 to 41.

use core::cell::Cell;

use super::*;

/// The places of the groups 702 to 720 of figure 7: 0 to 9 stand for 702, 704, ... 720.
const LINKS: [(usize, usize); 11] =
    [(0, 1), (0, 2), (0, 3), (3, 4), (4, 5), (4, 6), (4, 7), (6, 8), (8, 9), (5, 7), (1, 2)];

/// Where the leaders of figure 7 stand on a line, in microseconds of round-trip time; peer 724 (place
/// 10) is at 0. Each group of 708, 710, 714, 718, 720 is nearer than the one before.
const STANDS: [u64; 11] =
    [600_000, 900_000, 800_000, 500_000, 400_000, 700_000, 300_000, 650_000, 200_000, 100_000, 0];

fn apart(low: usize, high: usize) -> u64 {
    STANDS[low].abs_diff(STANDS[high])
}

/// Figure 7, with a searcher that is not in it yet.
fn figure_7(config: Config) -> Net {
    let mut net = Net::new(ms(1));
    for _ in 0..11 {
        net.start(node_config(config.clone()));
    }
    distances(&mut net, apart);
    for place in 0..10 {
        let linked = LINKS.iter().filter_map(|(a, b)| match place {
            _ if *a == place => Some(*b),
            _ if *b == place => Some(*a),
            _ => None,
        });
        let neighbor = |other: usize| Neighbor {
            at: GroupRef { group: group(other as u8), leader: contact(other) },
            distance: Distance(apart(place.min(other), place.max(other)) as u32),
            far: false,
        };
        let preset = Preset {
            group: group(place as u8),
            leader: contact(place),
            leadership: std::vec![contact(place)],
            links: Vec::new(),
            neighbors: linked.map(neighbor).collect(),
            known: Vec::new(),
        };
        command(&mut net, place, Command::Preset(Box::new(preset)));
    }
    net
}

fn quiet() -> Config {
    Config { far_links: 0, rendezvous: false, second_look: false, ..Config::default() }
}

#[test]
fn the_search_of_figure_7_goes_from_702_by_708_and_710_to_720() {
    let mut net = figure_7(quiet());
    join(&mut net, 10, &[0]);
    net.run(seconds(9));
    let trace = trace(&net, 10);
    let asked: Vec<&str> =
        trace.iter().map(String::as_str).take_while(|line| !line.starts_with("Link")).collect();
    // Paragraphs 0052 to 0054: 702 names 704, 706 and 708; 708 adds 710 alone, as 702 was rejected;
    // 710 adds 712, 714 and 716. Paragraph 0056: then 714, 718 and 720, and all of them have failed.
    let expected = [
        "Measure 0",
        "GetCache 0",
        "Measure 1 2 3",
        "GetCache 3",
        "Measure 4",
        "GetCache 4",
        "Measure 5 6 7",
        "GetCache 6",
        "Measure 8",
        "GetCache 8",
        "Measure 9",
        "GetCache 9",
    ];
    assert_eq!(asked[..12], expected);
}

#[test]
fn a_new_group_links_to_720_and_then_measures_718() {
    // Six groups tested, as in paragraph 0056: 702, 708, 710, 714, 718, 720.
    let mut net = figure_7(Config { groups_tested_max: 6, ..quiet() });
    join(&mut net, 10, &[0]);
    net.run(seconds(20));
    let trace = trace(&net, 10);
    let from = trace.iter().position(|line| line.starts_with("Link")).unwrap();
    // Paragraph 0058: 720 names 718 and the new group itself, which is ignored; then figure 11 goes
    // on with the nearest: 718, whose other neighbor is 714, then 710, and so on up to six links.
    let expected =
        ["Link 9", "GetCache 9", "Measure 8", "Link 8", "GetCache 8", "Measure 6", "Link 6"];
    assert_eq!(trace[from..from + 7], expected);
    let ours = locality(&net, 10).group().unwrap();
    assert_eq!(locality(&net, 10).neighbors().len(), 6, "the target of paragraph 0055");
    assert!(locality(&net, 9).neighbors().iter().any(|each| each.at.group == ours), "both ends");
    let founded = Event::Founded { group: ours, steps: 6, pings: 10 };
    assert!(events(&net, 10).any(|event| *event == founded), "{:?}", net.events[10]);
}

#[test]
fn neighbors_and_distances_can_be_asked_for_one_by_one() {
    let mut net = figure_7(Config { cache_copy: false, ..quiet() });
    join(&mut net, 10, &[0]);
    net.run(seconds(4));
    let expected = ["Measure 0", "GetNeighbors 0", "GetDistances 0", "Measure 1 2 3"];
    assert_eq!(trace(&net, 10)[..4], expected);
}

#[test]
fn measurements_to_several_leaders_are_one_message_that_does_not_wait() {
    let mut net = figure_7(quiet());
    join(&mut net, 10, &[0]);
    net.run(seconds(2));
    let all = sent(&net, 10);
    let measures: Vec<_> = all
        .iter()
        .filter(|(message, ..)| matches!(message, Message::Measure { .. }))
        .map(|(_, to, class)| (to.len(), *class))
        .collect();
    assert_eq!(measures[..2], [(1, Class::Immediate), (3, Class::Immediate)]);
}

/// A group led by 0 with the neighbor 1; 2 joins by 0. Round trips in microseconds.
fn newcomer(config: Config, to_leader: u64, to_neighbor: u64) -> Net {
    let mut net = two_groups(config);
    distances(&mut net, three_hosts(to_leader, to_neighbor));
    join(&mut net, 2, &[0]);
    net.run(seconds(15));
    net
}

fn three_hosts(to_leader: u64, to_neighbor: u64) -> impl Fn(usize, usize) -> u64 {
    move |low, high| match (low, high) {
        (0, 1) => 200_000,
        (0, 2) => to_leader,
        _ => to_neighbor,
    }
}

/// The groups of 0 and 1, which are neighbors, and 2, which is of none yet.
fn two_groups(config: Config) -> Net {
    let mut net = Net::new(ms(1));
    for _ in 0..3 {
        net.start(node_config(config.clone()));
    }
    for place in 0..2 {
        let other = 1 - place;
        let neighbor = Neighbor {
            at: GroupRef { group: group(other as u8), leader: contact(other) },
            distance: Distance(200_000),
            far: false,
        };
        let preset = Preset {
            group: group(place as u8),
            leader: contact(place),
            leadership: std::vec![contact(place)],
            links: Vec::new(),
            neighbors: std::vec![neighbor],
            known: Vec::new(),
        };
        command(&mut net, place, Command::Preset(Box::new(preset)));
    }
    net
}

/// 2 joins by 0, 5 ms away, and so many packets from one host to it are late by 100 ms; what it asks, and the
/// group it is of then.
fn join_while_late(second_look: bool, late: usize, count: usize) -> (Vec<String>, GroupId) {
    let mut net =
        two_groups(Config { second_look, near_leader: Some(Distance(60_000)), ..quiet() });
    let (round_trip, left) = (three_hosts(5_000, 200_000), Cell::new(count));
    net.latency = Box::new(move |from, to, _| {
        let usual = Duration::from_micros(round_trip(from.min(to), from.max(to)) / 2);
        let is_late = (from, to) == (late, 2) && left.get() > 0;
        left.set(left.get() - usize::from(is_late));
        Some(if is_late { usual + ms(100) } else { usual })
    });
    join(&mut net, 2, &[0]);
    net.run(seconds(15));
    (trace(&net, 2), locality(&net, 2).group().unwrap())
}

#[test]
fn who_looks_twice_founds_no_group_because_an_answer_was_late() {
    // The first answer of the neighbor is to a Measure.
    let (trace, joined) = join_while_late(true, 1, 1);
    assert_eq!(joined, group(0), "{trace:?}");
    assert!(trace.len() <= 9, "{trace:?}");
    let (trace, founded) = join_while_late(false, 1, 1);
    assert_ne!(founded, group(0), "{trace:?}");
    // All of the leader's.
    let (trace, founded) = join_while_late(true, 0, usize::MAX);
    assert_ne!(founded, group(0), "{trace:?}");
}

#[test]
fn the_nearest_leader_may_be_late_itself() {
    // The boot list, the answer to a Measure and that to GetCache, and nothing after that.
    for count in 1..=3 {
        let (trace, joined) = join_while_late(true, 0, count);
        assert_eq!(joined, group(0), "{count}: {trace:?}");
    }
}

#[test]
fn a_difference_of_less_than_10_ms_is_near_and_one_of_10_ms_is_not() {
    for (to_neighbor, joins) in
        [(209_998, true), (190_002, true), (210_000, false), (190_000, false)]
    {
        let net = newcomer(quiet(), 5_000, to_neighbor);
        let has_joined = locality(&net, 2).group() == Some(group(0));
        assert_eq!(has_joined, joins, "{to_neighbor} instead of 200,000");
    }
}

#[test]
fn the_distance_to_the_leader_counts_only_if_that_is_asked_for() {
    let far = newcomer(quiet(), 300_000, 200_000);
    assert_eq!(locality(&far, 2).group(), Some(group(0)));
    let config = Config { near_leader: Some(Distance(60_000)), ..quiet() };
    let far = newcomer(config.clone(), 300_000, 200_000);
    assert_ne!(locality(&far, 2).group(), Some(group(0)));
    let near = newcomer(config, 59_998, 200_000);
    assert_eq!(locality(&near, 2).group(), Some(group(0)));
}

#[test]
fn a_first_group_without_neighbors_is_joined_by_those_near_its_leader() {
    for (round_trip, joins) in [(9_998, true), (10_000, false)] {
        let mut net = Net::new(ms(1));
        (0..2).for_each(|_| {
            net.start(node_config(quiet()));
        });
        distances(&mut net, move |_, _| round_trip);
        join(&mut net, 0, &[]);
        join(&mut net, 1, &[0]);
        net.run(seconds(5));
        let same = locality(&net, 0).group() == locality(&net, 1).group();
        assert_eq!(same, joins, "{round_trip}");
        let neighbors = locality(&net, 0).neighbors().len();
        assert_eq!(neighbors, usize::from(!joins), "a founder links to the group it knows");
    }
}

#[test]
fn no_more_than_ten_groups_are_tested() {
    // 30 groups in a row, each nearer than the one before, none near enough.
    let mut net = Net::new(ms(1));
    (0..31).for_each(|_| {
        net.start(node_config(quiet()));
    });
    distances(&mut net, |low, high| (high - low) as u64 * 20_000);
    for place in 0..30usize {
        let neighbors = [place.checked_sub(1), Some(place + 1).filter(|next| *next < 30)];
        let neighbor = |other: usize| Neighbor {
            at: GroupRef { group: group(other as u8), leader: contact(other) },
            distance: Distance(20_000),
            far: false,
        };
        let preset = Preset {
            group: group(place as u8),
            leader: contact(place),
            leadership: std::vec![contact(place)],
            links: Vec::new(),
            neighbors: neighbors.into_iter().flatten().map(neighbor).collect(),
            known: Vec::new(),
        };
        command(&mut net, place, Command::Preset(Box::new(preset)));
    }
    join(&mut net, 30, &[0]);
    net.run(seconds(30));
    let founded = |event: &Event| matches!(event, Event::Founded { steps: 10, .. });
    assert!(events(&net, 30).any(founded), "{:?}", net.events[30]);
}

#[test]
fn a_search_lasts_ten_seconds() {
    let mut net = figure_7(Config { groups_tested_max: 100, ..quiet() });
    // All four times as far: a test takes more than two seconds.
    distances(&mut net, |low, high| 4 * apart(low, high));
    join(&mut net, 10, &[0]);
    net.run(seconds(14));
    let founded = net.events[10].iter().find_map(|(at, event)| match event {
        node::Event::Locality(Event::Founded { steps, .. }) => Some((*at, *steps)),
        _ => None,
    });
    let (at, steps) = founded.unwrap();
    // Counted from the first boot list on, which has waited in the queue of either side.
    assert!(at <= Time(10_000_000 + 2_400_000 + 2 * 20_000), "{at:?}");
    assert!(steps < 6, "{steps}");
}

#[test]
fn where_tested_groups_stay_candidates_a_nearest_one_ends_the_search() {
    // 1 is nearest, but its neighbors are all farther from here than it.
    let build = |tested_stay: bool| {
        let mut net = figure_7(Config { tested_stay, ..quiet() });
        distances(&mut net, |low, high| if high == 10 { 150_000 + low as u64 } else { 600_000 });
        join(&mut net, 10, &[0]);
        net.run(seconds(10));
        let steps = events(&net, 10).find_map(|event| match event {
            Event::Founded { steps, .. } => Some(*steps),
            _ => None,
        });
        (steps.unwrap(), trace(&net, 10).into_iter().find(|line| line.starts_with("Link")))
    };
    assert_eq!(build(true), (1, Some(String::from("Link 0"))));
    assert_eq!(build(false), (10, Some(String::from("Link 0"))));
}

#[test]
fn a_leader_that_is_gone_is_passed_over() {
    let mut net = figure_7(quiet());
    net.crash(3);
    join(&mut net, 10, &[0]);
    net.run(seconds(25));
    assert!(locality(&net, 10).group().is_some());
    assert!(locality(&net, 10).neighbors().iter().all(|each| each.at.group != group(3)));
}

#[test]
fn nobody_there_is_told_and_tried_again() {
    let mut net = Net::new(ms(1));
    (0..2).for_each(|_| {
        net.start(node_config(quiet()));
    });
    net.crash(0);
    join(&mut net, 1, &[0]);
    net.run(seconds(6));
    assert!(events(&net, 1).any(|event| *event == Event::BootFailed { failures: 1 }));
    net.restart(0, node_config(quiet()));
    join(&mut net, 0, &[]);
    net.run(seconds(30));
    assert_eq!(locality(&net, 1).group(), locality(&net, 0).group());
}

#[test]
fn a_dedicated_rendezvous_brings_searchers_and_groups_together() {
    let mut net = Net::new(ms(1));
    (0..5).for_each(|_| {
        net.start(node_config(Config::default()));
    });
    for place in 1..5 {
        join(&mut net, place, &[0]);
        net.run(seconds(3));
    }
    let group = locality(&net, 1).group();
    assert!(group.is_some() && locality(&net, 0).group().is_none());
    assert!((2..5).all(|place| locality(&net, place).group() == group));
    assert!(net.stored[0].contains_key(STORE_KEY), "kept over a restart");
    net.restart(0, node_config(Config::default()));
    assert_eq!(locality(&net, 0).boot_groups(), 1);
}

#[test]
fn distance_may_be_hops_or_the_latency_of_one_way() {
    let hops = newcomer(Config { far_links: 0, ..Config::for_metric(Metric::Hops) }, 5_000, 5_000);
    // Datagrams arrive here with 60 of 64: four hops, and 200,000 were supplied.
    assert_ne!(locality(&hops, 2).group(), Some(group(0)));
    let near = locality(&hops, 2).neighbors();
    assert!(near.iter().all(|each| each.distance == Distance(4)), "{near:?}");
    let one_way = Config { far_links: 0, ..Config::for_metric(Metric::OneWay) };
    let one_way = newcomer(one_way, 5_000, 409_000);
    assert_eq!(locality(&one_way, 2).group(), Some(group(0)), "204.5 ms there");
}

#[test]
fn a_leader_that_does_not_answer_is_asked_at_its_next_address() {
    let now = Now { time: Time(0), wall: crate::testing::START };
    let mut machine = Locality::new(Config::default(), contact(9), None, 7, now);
    let second = address(77);
    let others = Some(std::vec![second].into_boxed_slice());
    machine.measure(std::vec![Contact { others, ..contact(1) }], now);
    let asked = |machine: &mut Locality| {
        core::iter::from_fn(|| machine.poll_output())
            .filter_map(|output| match output {
                Output::Send(send) => Some(send.to[0].address),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(&mut machine), [address(1)]);
    let (time, _) = machine.poll_timeout().unwrap();
    machine.handle_timeout(Now { time, ..now });
    assert_eq!(asked(&mut machine), [second]);
}

//! Who leads, and links among members: seed 001 paragraphs 0060 to 0066, seed 000 claims 21 and 22.

use super::*;

/// Hosts that are all 2 ms apart, in one group that 0 has founded.
fn one_group(members: usize, config: Config) -> Net {
    let mut net = Net::new(ms(1));
    (0..members).for_each(|_| {
        net.start(node_config(config.clone()));
    });
    join(&mut net, 0, &[]);
    for place in 1..members {
        join(&mut net, place, &[0]);
        net.run(ms(50));
    }
    net.run(seconds(6));
    net
}

fn leaders(net: &Net) -> Vec<Option<PeerId>> {
    let live = (0..net.nodes.len()).filter(|place| net.nodes[*place].is_some());
    let mut leaders: Vec<Option<PeerId>> =
        live.map(|place| locality(net, place).leader()).collect();
    leaders.sort();
    leaders.dedup();
    leaders
}

fn is_live(net: &Net, leader: Option<PeerId>) -> bool {
    (0..net.nodes.len()).any(|place| {
        net.nodes[place].is_some() && Some(id(place)) == leader && locality(net, place).is_leader()
    })
}

#[test]
fn in_the_order_of_joining_308_leads_after_314_and_links_to_312_again() {
    // Paragraph 0066: 314 founds, 308, 304 and 310 join; 312 leads the other group.
    let [p314, p308, p304, p310, p312] = [0, 1, 2, 3, 4];
    let mut net = Net::new(ms(1));
    (0..5).for_each(|_| {
        net.start(node_config(Config::default()));
    });
    distances(&mut net, |_, high| if high == 4 { 300_000 } else { 2_000 });
    join(&mut net, p314, &[]);
    join(&mut net, p312, &[p314]);
    net.run(seconds(5));
    for place in [p308, p304, p310] {
        join(&mut net, place, &[p314]);
        net.run(seconds(3));
    }
    net.run(seconds(6));
    let list: Vec<PeerId> = locality(&net, p310).leadership().iter().map(|peer| peer.id).collect();
    assert_eq!(list, [p314, p308, p304, p310].map(id));
    let ours = locality(&net, p314).group().unwrap();
    assert_ne!(locality(&net, p312).group(), Some(ours));

    command(&mut net, p314, Command::Leave);
    net.run(seconds(1));
    assert!(locality(&net, p308).is_leader());
    let at_312 = locality(&net, p312).neighbors();
    let entry = at_312.iter().find(|each| each.at.group == ours).unwrap();
    assert_eq!(entry.at.leader.id, id(p308), "the link between the groups has a new end");
    assert!([p304, p310].iter().all(|place| locality(&net, *place).leader() == Some(id(p308))));
    let list: Vec<PeerId> = locality(&net, p308).leadership().iter().map(|peer| peer.id).collect();
    assert_eq!(list, [p308, p304, p310].map(id), "the old leader is no successor");
}

#[test]
fn the_list_takes_ten_with_the_leader_and_no_more() {
    let net = one_group(14, Config::default());
    let list: Vec<PeerId> = locality(&net, 13).leadership().iter().map(|peer| peer.id).collect();
    assert_eq!(list, (0..10).map(id).collect::<Vec<_>>());
}

#[test]
fn after_ten_seconds_without_alive_the_next_in_the_list_leads_and_another_is_appended() {
    let mut net = one_group(14, Config::default());
    net.crash(0);
    net.run(seconds(13));
    assert_eq!(leaders(&net), [Some(id(1))]);
    net.run(seconds(6));
    let list: Vec<PeerId> = locality(&net, 13).leadership().iter().map(|peer| peer.id).collect();
    assert_eq!(list[..9], (1..10).map(id).collect::<Vec<_>>());
    assert_eq!(list.len(), 10, "a new one at the bottom");
}

#[test]
fn successors_that_are_gone_are_passed_over() {
    let mut net = one_group(14, Config::default());
    (0..3).for_each(|place| net.crash(place));
    net.run(seconds(20));
    assert_eq!(leaders(&net), [Some(id(3))]);
}

#[test]
fn the_successors_are_asked_by_one_message() {
    let mut net = one_group(14, Config::default());
    net.crash(0);
    net.run(seconds(13));
    let asked = sent(&net, 12)
        .into_iter()
        .find(|(message, ..)| matches!(message, Message::GetLeader { .. }));
    assert_eq!(asked.unwrap().1.len(), 10);
}

#[test]
fn with_the_whole_list_gone_and_clocks_that_differ_exactly_one_leads() {
    for seed in 0..40u64 {
        let mut random = Random::new(seed, 99);
        let mut net = Net::new(ms(1));
        (0..50).for_each(|_| {
            net.start(node_config(Config::default()));
        });
        net.skew = (0..50).map(|_| random.below(10_000_001) as i64 - 5_000_000).collect();
        join(&mut net, 0, &[]);
        for place in 1..50 {
            join(&mut net, place, &[0]);
            net.run(ms(20));
        }
        net.run(seconds(6) + Duration::from_micros(random.below(5_000_000)));
        let list = locality(&net, 0).leadership().to_vec();
        let crash = net.now;
        for place in (0..50).filter(|place| list.iter().any(|peer| peer.id == id(*place))) {
            net.crash(place);
        }
        // 21 s, the flood, and 11 s for every further round of claims.
        net.run(seconds(21) + ms(200));
        let tied = net.sent.iter().filter(|(_, at, send)| {
            let round = match machine::decode(&send.shared) {
                Some(Message::NewLeader { round, .. }) => round,
                _ => 0,
            };
            *at > crash && round > 0
        });
        let rounds = u64::from(tied.count() > 0);
        net.run(seconds(11) * rounds as u32);
        let named = leaders(&net);
        assert!(named.len() == 1, "seed {seed}: {named:?}");
        net.run(seconds(10));
        assert!(leaders(&net) == named && is_live(&net, named[0]), "seed {seed}: {named:?}");
    }
}

#[test]
fn a_split_has_a_leader_on_each_side_and_one_after_it() {
    for seed in 0..10u64 {
        let mut net = one_group(20, Config::default());
        let from = net.now;
        let until = from + seconds(60);
        net.run(ms(seed * 700));
        net.latency = Box::new(move |a, b, at| {
            (at >= until || at < from || (a % 2 == b % 2)).then_some(ms(1))
        });
        net.run_until(until - ms(10));
        for side in 0..2 {
            let mut named: Vec<_> = (0..20)
                .filter(|place| place % 2 == side)
                .map(|place| locality(&net, place).leader())
                .collect();
            named.dedup();
            assert_eq!(named.len(), 1, "seed {seed}, side {side}: {named:?}");
            assert!(is_live(&net, named[0]));
        }
        net.run(seconds(45));
        let named = leaders(&net);
        assert!(named.len() == 1 && is_live(&net, named[0]), "seed {seed}: {named:?}");
    }
}

#[test]
fn a_member_at_its_connection_maximum_names_others() {
    let config = Config { links_max: 3, links: 2, ..Config::default() };
    let net = one_group(12, config);
    for place in 0..12 {
        let links = locality(&net, place).links().count();
        assert!((1..=3).contains(&links), "{place} has {links}");
    }
    let refused = (0..12).flat_map(|place| sent(&net, place)).find(
        |(message, ..)| matches!(message, Message::Refused { members, .. } if !members.is_empty()),
    );
    assert!(refused.is_some(), "some were full");
    let mut reached = std::vec![id(0)];
    let mut next = 0;
    while next < reached.len() {
        let place = (0..12).find(|place| id(*place) == reached[next]).unwrap();
        for peer in locality(&net, place).links() {
            if !reached.contains(&peer.id) {
                reached.push(peer.id);
            }
        }
        next += 1;
    }
    assert_eq!(reached.len(), 12, "an Alive reaches all");
}

#[test]
fn members_that_join_at_once_are_all_members() {
    let mut net = Net::new(ms(1));
    (0..30).for_each(|_| {
        net.start(node_config(Config::default()));
    });
    join(&mut net, 0, &[]);
    (1..30).for_each(|place| join(&mut net, place, &[0]));
    net.run(seconds(20));
    let group = locality(&net, 0).group();
    assert!((0..30).all(|place| locality(&net, place).group() == group));
    assert_eq!(leaders(&net), [Some(id(0))]);
}

#[test]
fn a_steady_alive_is_tiny() {
    let mut net = one_group(6, Config::default());
    net.run(seconds(20));
    let alive = net.sent.iter().rev().find_map(|(_, _, send)| {
        matches!(machine::decode(&send.shared), Some(Message::Alive { .. }))
            .then_some(send.shared.len())
    });
    assert!(alive.unwrap() <= 56, "{alive:?} octets");
}

#[test]
fn with_one_message_in_twenty_lost_the_leader_stays_the_same() {
    for seed in 0..5u64 {
        let mut net = one_group(30, Config::default());
        net.latency = Box::new(move |from, to, at| {
            let stream = (from * 1000 + to) as u64;
            (Random::new(seed ^ at.0, stream).below(20) > 0).then_some(ms(1))
        });
        net.run(seconds(180));
        assert_eq!(leaders(&net), [Some(id(0))], "seed {seed}");
        assert!(locality(&net, 0).leadership().len() >= 8, "seed {seed}");
        let reign = locality(&net, 0).reign().unwrap();
        assert_eq!(reign.term, 0, "seed {seed}: nobody else has led in between");
    }
}

#[test]
fn the_last_member_that_leaves_takes_the_group_with_it() {
    let mut net = Net::new(ms(1));
    (0..2).for_each(|_| {
        net.start(node_config(Config::default()));
    });
    distances(&mut net, |_, _| 100_000);
    join(&mut net, 0, &[]);
    join(&mut net, 1, &[0]);
    net.run(seconds(10));
    assert_eq!(locality(&net, 0).neighbors().len(), 1);
    command(&mut net, 1, Command::Leave);
    net.run(seconds(1));
    assert!(locality(&net, 1).group().is_none());
    assert!(locality(&net, 0).neighbors().is_empty(), "its neighbor is told");
}

#[test]
fn a_neighboring_group_that_is_gone_is_a_neighbor_no_more() {
    let mut net = Net::new(ms(1));
    (0..2).for_each(|_| {
        net.start(node_config(Config::default()));
    });
    distances(&mut net, |_, _| 100_000);
    join(&mut net, 0, &[]);
    join(&mut net, 1, &[0]);
    net.run(seconds(10));
    net.crash(1);
    net.run(seconds(80));
    assert!(locality(&net, 0).neighbors().is_empty());
    assert!(events(&net, 0).any(|event| matches!(event, Event::GroupUnlinked { .. })));
}

#[test]
fn one_late_answer_moves_a_neighbor_by_a_quarter_and_an_early_one_at_once() {
    let mut net = Net::new(ms(1));
    (0..2).for_each(|_| {
        net.start(node_config(Config::default()));
    });
    let measured = |net: &mut Net, microseconds: u64| {
        distances(net, move |_, _| microseconds);
        let before = locality(net, 0).requests.measures;
        while locality(net, 0).requests.measures == before {
            net.run(ms(100));
        }
        net.run(seconds(2));
        locality(net, 0).neighbors()[0].distance.0
    };
    distances(&mut net, |_, _| 100_000);
    join(&mut net, 0, &[]);
    join(&mut net, 1, &[0]);
    net.run(seconds(10));
    assert_eq!(locality(&net, 0).neighbors()[0].distance.0, 100_000);
    assert_eq!(measured(&mut net, 900_000), 300_000);
    assert_eq!(measured(&mut net, 900_000), 450_000);
    assert_eq!(measured(&mut net, 80_000), 80_000);
    assert_eq!(Distance(u32::MAX - 1).after(Distance(u32::MAX)), Distance(u32::MAX));
}

#[test]
fn with_the_whole_list_gone_who_leads_then_links_the_group_again_within_ten_seconds() {
    let far = 14;
    let mut net = Net::new(ms(1));
    (0..15).for_each(|_| {
        net.start(node_config(Config::default()));
    });
    distances(&mut net, move |_, high| if high == far { 100_000 } else { 2_000 });
    join(&mut net, 0, &[]);
    join(&mut net, far, &[0]);
    net.run(seconds(5));
    for place in 1..14 {
        join(&mut net, place, &[0]);
        net.run(seconds(1));
    }
    net.run(seconds(12));
    let (ours, other) = (locality(&net, 13).group().unwrap(), locality(&net, far).group());
    assert_ne!(Some(ours), other);
    (0..10).for_each(|place| net.crash(place));
    let is_led = |net: &Net| (10..14).find(|place| locality(net, *place).is_leader());
    for _ in 0..600 {
        net.run(ms(100));
        if is_led(&net).is_some() {
            break;
        }
    }
    net.run(seconds(10));
    let leader = is_led(&net).unwrap();
    assert!(locality(&net, leader).neighbors().iter().any(|each| Some(each.at.group) == other));
    let entry = locality(&net, far).neighbors().iter().find(|each| each.at.group == ours);
    assert_eq!(entry.unwrap().at.leader.id, id(leader));
}

#[test]
fn a_member_whose_group_is_gone_goes_to_the_groups_that_this_was_linked_to() {
    let mut net = Net::new(ms(1));
    (0..3).for_each(|_| {
        net.start(node_config(Config { leadership: 1, ..Config::default() }));
    });
    distances(&mut net, |_, high| if high == 2 { 300_000 } else { 2_000 });
    join(&mut net, 0, &[]);
    join(&mut net, 2, &[0]);
    net.run(seconds(5));
    join(&mut net, 1, &[0]);
    net.run(seconds(12));
    let gone = locality(&net, 0).group().unwrap();
    assert_eq!(locality(&net, 1).group(), Some(gone));
    net.crash(0);
    net.run(seconds(60));
    assert!(events(&net, 1).any(|event| *event == Event::Left { group: gone }));
    // 2 is not near, so 1 has founded a group next to it.
    let linked = locality(&net, 1).neighbors().iter().map(|each| each.at.group);
    assert_eq!(linked.collect::<Vec<_>>(), [locality(&net, 2).group().unwrap()]);
}

//! Trees as they are adjusted.

use super::super::adjust;
use super::super::layout::{Layout, Rows, Summary, width};
use super::*;

#[test]
fn each_move_does_what_the_seed_says() {
    let config = Config::default();
    let linked = |network: &dyn Fn(Place, Place) -> Micros, degrees: &[u16], links: &[_]| {
        let problem = Problem::new(&network, &config, degrees, degrees.len()).unwrap();
        let mut tree = Tree::from_links(&problem, links);
        check(&problem, &tree);
        let moves = adjust(&problem, &mut tree);
        check(&problem, &tree);
        (moves, tree.links().collect::<Vec<_>>(), tree.height())
    };
    // (a) 2 hangs under 1 and is nearer to the root, which has a degree left.
    let line = |from: Place, to: Place| [0u64, 40, 10][from].abs_diff([0, 40, 10][to]);
    let found = linked(&line, &[2, 2, 1], &[(1, 0), (2, 1)]);
    assert_eq!(found, (1, vec![(1, 0), (2, 0)], 40));
    // (b) 3 and 4 hang crosswise, and no degree is left.
    let at = [0u64, 100, 300, 310, 110];
    let line = |from: Place, to: Place| {
        at[from].abs_diff(at[to]) + if from.min(to) == 0 && from.max(to) == 2 { 0 } else { 1 }
    };
    let found = linked(&line, &[2, 2, 2, 1, 1], &[(1, 0), (2, 0), (3, 1), (4, 2)]);
    assert_eq!(found, (1, vec![(1, 0), (2, 0), (3, 2), (4, 1)], 311));
}

#[test]
fn a_part_changes_places_with_another_one() {
    let config = Config::default();
    // Under the root 1 and 2, under 1 and 2 the parts 3 - 4 and 5, which belong on the other side:
    // 5 is a leaf, so it is (c) that helps.
    let at = [0i64, -100, 100, 120, 130, -130];
    let network = |from: Place, to: Place| at[from].abs_diff(at[to]);
    let degrees = [2, 2, 2, 2, 1, 2];
    let problem = Problem::new(&network, &config, &degrees, 6).unwrap();
    let before = [(1, 0), (2, 0), (3, 1), (4, 3), (5, 2)];
    let mut tree = Tree::from_links(&problem, &before);
    assert_eq!(tree.height(), 330);
    assert_eq!(adjust(&problem, &mut tree), 1);
    assert_eq!(tree.links().collect::<Vec<_>>(), [(1, 0), (2, 0), (3, 2), (4, 3), (5, 1)]);
    assert_eq!(tree.height(), 130);
}

#[test]
fn moves_are_judged_rightly_without_being_made() {
    for seed in 0..200 {
        let mut random = Random::new(seed, 0x616c_6d33);
        let members = 3 + random.below(25) as usize;
        let places = members + random.below(20) as usize;
        let network = Plane::any(places, 50_000, &mut random);
        let degrees = degrees(places, &mut random);
        for objective in [Objective::Height, Objective::Bandwidth, Objective::Variance] {
            let config = Config { objective, ..Config::default() };
            let problem = Problem::new(&network, &config, &degrees, members).unwrap();
            let mut tree = critical(&problem).unwrap();
            let mut layout = Layout::of(&problem, &tree);
            let mut rows = Rows::new(places);
            for step in 0..10 {
                let ranked = adjust::worst(&problem, &tree, 4);
                let worst = ranked[random.below(ranked.len() as u64) as usize];
                let slow = oracle::best_score(&problem, &tree, worst);
                // Sometimes it is to be better than the tree is, sometimes it may be worse.
                let limit = if step % 2 == 0 { tree.score(&problem) } else { (u128::MAX, 0) };
                let slow = slow.filter(|score| *score < limit);
                let found = adjust::best_move(&problem, &tree, &layout, &mut rows, worst, limit);
                assert_eq!(
                    found.map(|(score, _)| score),
                    slow,
                    "seed {seed}, {objective:?}, step {step}"
                );
                let Some((score, best)) = found else { continue };
                // Whether it is a better tree or not.
                adjust::make_and_renew(&problem, &mut tree, &mut layout, best);
                assert_eq!(tree.score(&problem), score);
                check(&problem, &tree);
            }
        }
    }
}

#[test]
fn what_two_parts_leave_is_known_in_large_trees() {
    let config = Config::default();
    for seed in 0..10 {
        let mut random = Random::new(seed, 0x616c_6d37);
        let network = Plane::any(300, 50_000, &mut random);
        let degrees = degrees(300, &mut random);
        let problem = Problem::new(&network, &config, &degrees, 250).unwrap();
        let tree = critical(&problem).unwrap();
        let layout = Layout::of(&problem, &tree);
        let hosts = tree.subtree(0);
        for _ in 0..200 {
            let (one, other) = (*random.choose(&hosts).unwrap(), *random.choose(&hosts).unwrap());
            if tree.is_above(one, other) || tree.is_above(other, one) {
                continue;
            }
            let left = |tops: &[Place]| {
                let is_left = |at: &&Place| !tops.iter().any(|top| tree.is_above(*top, **at));
                let all = hosts.iter().filter(is_left).map(|at| {
                    let alone = Summary::of_one(tree.is_member(*at), tree.latency(*at));
                    alone.behind(0, width(&problem, &tree, *at))
                });
                all.fold(Summary::NOTHING, Summary::with)
            };
            let rest = layout.around(&problem, &tree, (one, 0), None);
            assert_eq!(rest, left(&[one]), "seed {seed}: {one}");
            let rest = layout.without(&problem, &tree, (one, rest), other);
            assert_eq!(rest, left(&[one, other]), "seed {seed}: {one}, {other}");
        }
    }
}

#[test]
fn every_objective_gets_its_due() {
    let mut totals = [[0.0f64; 3]; 3];
    for seed in 0..40 {
        let mut random = Random::new(seed, 0x616c_6d34);
        let network = Plane::any(60, 50_000, &mut random);
        let degrees = degrees(60, &mut random);
        for (row, objective) in
            [Objective::Height, Objective::Bandwidth, Objective::Variance].into_iter().enumerate()
        {
            let config = Config { objective, ..Config::default() };
            let problem = Problem::new(&network, &config, &degrees, 20).unwrap();
            let own = amcast(&problem).unwrap();
            let tree = plan(&problem).unwrap();
            check(&problem, &tree);
            assert!(tree.score(&problem) <= own.score(&problem), "seed {seed}, {objective:?}");
            let mean = (0..20).map(|at| tree.latency(at) as f64).sum::<f64>() / 20.0;
            let square = |at| (tree.latency(at) as f64 - mean) * (tree.latency(at) as f64 - mean);
            totals[row][0] += tree.height() as f64;
            totals[row][1] -= f64::from(tree.bandwidth());
            totals[row][2] += (0..20).map(square).sum::<f64>() / 20.0;
        }
    }
    // Nobody is much better at something than who is made for it.
    for what in 0..3 {
        for who in 0..3 {
            let (own, other) = (totals[what][what], totals[who][what]);
            assert!(own <= other + other.abs() * 0.02, "{what}, {who}: {totals:?}");
        }
    }
    assert!(totals[1][1] < totals[0][1] && totals[2][2] < 0.8 * totals[0][2], "{totals:?}");
}

#[test]
fn a_plan_is_never_worse_than_by_the_members_alone_and_the_same_each_time() {
    for seed in 0..60 {
        let mut random = Random::new(seed, 0x616c_6d35);
        let members = 2 + random.below(60) as usize;
        let places = members + random.below(100) as usize;
        let network = Plane::any(places, 80_000, &mut random);
        let degrees = degrees(places, &mut random);
        for transport in [Transport::Unicast, Transport::Xcast] {
            let config = Config { transport, ..Config::default() };
            let problem = Problem::new(&network, &config, &degrees, members).unwrap();
            let mut own = amcast(&problem).unwrap();
            adjust(&problem, &mut own);
            let tree = plan(&problem).unwrap();
            check(&problem, &tree);
            assert!(tree.height() <= own.height(), "seed {seed}");
            let nearest = (0..members).map(|at| network.latency(0, at)).max().unwrap();
            assert!(tree.height() + 1 >= nearest, "seed {seed}: lower than the root's own reach");
            assert_eq!(plan(&problem).unwrap(), tree, "seed {seed}");
        }
    }
}

#[test]
fn small_trees_are_searched_for_better_ones() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..40 {
        let mut random = Random::new(seed, 0x616c_6d38);
        let members = 2 + random.below(24) as usize;
        let places = members + 100;
        let network = Plane::any(places, 80_000, &mut random);
        let degrees = degrees(places, &mut random);
        let config = Config::default();
        let problem = Problem::new(&network, &config, &degrees, members).unwrap();
        let mut first = critical(&problem).unwrap();
        adjust(&problem, &mut first);
        let mut found = first.clone();
        search::search(&problem, &mut found);
        check(&problem, &found);
        assert!(found.score(&problem) <= first.score(&problem), "seed {seed}");
        // Hosts help only if the configuration lets them.
        for (place, degree) in degrees.iter().enumerate().skip(members) {
            let can_help = *degree >= config.helper_degree;
            assert!(can_help || !found.contains(place), "seed {seed}: {place}");
        }
        assert_eq!(plan(&problem).unwrap(), plan(&problem).unwrap(), "seed {seed}");
        (before, after) = (before + first.height(), after + found.height());
    }
    assert!(after < before - before / 100, "{before} µs before, {after} µs after");
}

#[test]
fn a_tree_is_mended_where_it_is_broken_and_nowhere_else() {
    for seed in 0..100 {
        let mut random = Random::new(seed, 0x616c_6d36);
        let (members, places) = (30, 60);
        let network = Plane::any(places, 50_000, &mut random);
        let degrees = degrees(places, &mut random);
        let config = Config::default();
        let problem = Problem::new(&network, &config, &degrees, members).unwrap();
        let whole = plan(&problem).unwrap();
        // Somebody's links are gone, and a member is new.
        let gone = 1 + random.below(members as u64 - 1) as usize;
        let left = |(child, parent): &(Place, Place)| *child != gone && *parent != gone;
        let links: Vec<(Place, Place)> = whole.links().filter(left).collect();
        let mut tree = Tree::from_links(&problem, &links);
        assert_eq!(mend(&problem, &mut tree), Ok(()), "seed {seed}");
        check(&problem, &tree);
        let is_kept = |(child, parent): &&(Place, Place)| tree.parent(*child) == Some(*parent);
        let is_member = |(child, parent): &&(Place, Place)| (*child).max(*parent) < members;
        let members_links = links.iter().filter(is_member);
        assert!(members_links.clone().all(|link| is_kept(&link)), "seed {seed}");
    }
}

#[test]
fn links_that_make_no_tree_are_left_out() {
    let config = Config::default();
    let network = |_: Place, _: Place| 5;
    let problem = Problem::new(&network, &config, &[2, 1, 2, 1], 4).unwrap();
    // A circle, a second parent, a full parent, the root as a child, hosts that are not there.
    let links = [(1, 2), (2, 1), (1, 0), (3, 1), (0, 3), (9, 0), (2, 9)];
    let mut tree = Tree::from_links(&problem, &links);
    assert!(tree.links().eq([(1, 2)]));
    assert_eq!(mend(&problem, &mut tree), Ok(()));
    check(&problem, &tree);
    assert_eq!(tree.parent(1), Some(2));
}

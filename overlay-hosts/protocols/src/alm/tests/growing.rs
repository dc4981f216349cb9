//! Trees as they grow.

use super::*;

/// Hosts on a line.
fn line(at: &'static [u64]) -> impl Fn(Place, Place) -> Micros {
    move |from, to| at[from].abs_diff(at[to])
}

fn links(tree: &Tree) -> Vec<(Place, Place)> {
    tree.links().collect()
}

#[test]
fn members_go_to_the_nearest_parent_with_a_free_degree() {
    let config = Config::default();
    // The root carries two. 1 and 2 are nearest to it; then 3 has it from 1, and 4 from 2 or 3.
    let network = line(&[100, 110, 85, 120, 60]);
    let problem = Problem::new(&network, &config, &[2, 2, 2, 2, 2], 5).unwrap();
    let tree = amcast(&problem).unwrap();
    assert_eq!(links(&tree), [(1, 0), (2, 0), (3, 1), (4, 2)]);
    assert_eq!(tree.height(), 40);
    assert_eq!((tree.degrees(0), tree.degrees(1), tree.degrees(4)), (2, 2, 1));
    check(&problem, &tree);
}

#[test]
fn a_helper_takes_the_last_degree_and_its_own_height_and_degree_count() {
    let config = Config { radius: 20, ..Config::default() };
    // From one to another the way leads through the middle, where the root is. It carries one; without 4,
    // which carries three, there is a chain.
    let spokes = [0, 50, 51, 52, 10];
    let network = |from: Place, to: Place| spokes[from] + spokes[to];
    let degrees = [1, 2, 2, 2, 4];
    let problem = Problem::new(&network, &config, &degrees, 4).unwrap();
    let star = critical(&problem).unwrap();
    assert_eq!(links(&star), [(1, 4), (2, 4), (3, 4), (4, 0)]);
    assert_eq!((star.latency(4), star.latency(3), star.helpers()), (10, 72, 1));
    assert_eq!(star.degrees(4), 4);
    // Not within the radius, or with too small a degree, it does not help.
    for (radius, degree) in [(10, 4), (20, 3)] {
        let config = Config { radius, ..Config::default() };
        let degrees = [1, 2, 2, 2, degree];
        let problem = Problem::new(&network, &config, &degrees, 4).unwrap();
        assert_eq!(links(&critical(&problem).unwrap()), [(1, 0), (2, 1), (3, 2)]);
    }
}

#[test]
fn table_b_looks_at_the_children_to_be_and_the_other_rule_at_the_parent_alone() {
    // 3 is nearer to the root, 4 to root and members together.
    let at = vec![(100, 100), (150, 150), (150, 50), (95, 100), (120, 100)];
    let network = Plane { at, widths: vec![1; 5] };
    let degrees = [1, 2, 2, 4, 4];
    for (helper_rule, helper) in [(HelperRule::TableB, 4), (HelperRule::Closest, 3)] {
        let config = Config { helper_rule, ..Config::default() };
        let problem = Problem::new(&network, &config, &degrees, 3).unwrap();
        let tree = critical(&problem).unwrap();
        assert_eq!(tree.parent(1), Some(helper));
        check(&problem, &tree);
    }
}

#[test]
fn a_helper_with_one_child_is_taken_out() {
    let config = Config::default();
    let network = line(&[0, 50, 10]);
    let problem = Problem::new(&network, &config, &[1, 2, 4], 2).unwrap();
    let tree = critical(&problem).unwrap();
    assert_eq!((links(&tree), tree.helpers()), (vec![(1, 0)], 0));
}

#[test]
fn xcast_carries_fifty_children_a_degree() {
    let network = |_: Place, _: Place| 1000;
    let degrees = [1; 51];
    let xcast = Config { transport: Transport::Xcast, ..Config::default() };
    let problem = Problem::new(&network, &xcast, &degrees, 51).unwrap();
    let tree = amcast(&problem).unwrap();
    assert_eq!((tree.children(0).len(), tree.height(), tree.degrees(0)), (50, 1000, 1));
    let unicast = Config::default();
    let problem = Problem::new(&network, &unicast, &degrees, 51).unwrap();
    assert_eq!(amcast(&problem).err(), Some(PlanError::Degrees));
    let degrees = [1; 52];
    let problem = Problem::new(&network, &xcast, &degrees, 52).unwrap();
    assert_eq!(amcast(&problem).err(), Some(PlanError::Degrees));
}

#[test]
fn the_last_free_degree_goes_to_one_that_brings_another() {
    let config = Config::default();
    // 1 is nearest and carries nobody: it has to wait for 2.
    let network = line(&[0, 1, 50]);
    let problem = Problem::new(&network, &config, &[1, 1, 2], 3).unwrap();
    assert_eq!(links(&amcast(&problem).unwrap()), [(1, 2), (2, 0)]);
}

#[test]
fn sizes_out_of_bounds_are_refused() {
    let network = |_: Place, _: Place| 1;
    let config = Config::default();
    let degrees = alloc::vec![2; PLACES_MAX + 1];
    for (count, members) in
        [(1, 0), (1, 2), (MEMBERS_MAX + 1, MEMBERS_MAX + 1), (PLACES_MAX + 1, 5)]
    {
        let problem = Problem::new(&network, &config, &degrees[..count], members);
        assert_eq!(problem.err(), Some(PlanError::Size));
    }
    // The root alone is a tree, and the greatest latencies do no harm.
    let endless = |_: Place, _: Place| Micros::MAX;
    let alone = Problem::new(&endless, &config, &degrees[..1], 1).unwrap();
    assert_eq!(plan(&alone).unwrap().height(), 0);
    let many = Problem::new(&endless, &config, &degrees[..100], 60).unwrap();
    check(&many, &plan(&many).unwrap());
}

#[test]
fn the_fast_planner_grows_the_same_trees_as_the_seeds_loops() {
    for seed in 0..300 {
        let mut random = Random::new(seed, 0x616c_6d31);
        let members = 2 + random.below(30) as usize;
        let places = members + random.below(30) as usize;
        // Few positions: many distances are the same.
        let side = if seed % 2 == 0 { 8 } else { 60_000 };
        let network = Plane::any(places, side, &mut random);
        let mut degrees = degrees(places, &mut random);
        if seed % 3 == 0 {
            degrees.iter_mut().for_each(|degree| *degree = (*degree).saturating_sub(1).min(4));
        }
        for helper_rule in [HelperRule::TableB, HelperRule::Closest] {
            let config = Config { helper_rule, radius: side / 2, ..Config::default() };
            let problem = Problem::new(&network, &config, &degrees, members).unwrap();
            let slow = oracle::table_a(&problem, None);
            assert_eq!(amcast(&problem).ok(), slow, "seed {seed}");
            let slow = oracle::table_a(&problem, Some(helper_rule)).map(|mut tree| {
                tree.trim(&problem);
                tree
            });
            let fast = critical(&problem).ok();
            assert_eq!(fast, slow, "seed {seed}, {helper_rule:?}");
            fast.iter().for_each(|tree| check(&problem, tree));
        }
    }
}

#[test]
fn there_is_a_plan_whenever_the_degrees_suffice() {
    for seed in 0..300 {
        let mut random = Random::new(seed, 0x616c_6d32);
        let members = 2 + random.below(12) as usize;
        let network = Plane::any(members, 1000, &mut random);
        let degrees: Vec<u16> = (0..members).map(|_| 1 + random.below(3) as u16).collect();
        let config = Config::default();
        let problem = Problem::new(&network, &config, &degrees, members).unwrap();
        let room: u32 = (0..members).map(|place| problem.slots(place)).sum();
        // A root always carries somebody here, and nobody needs more than a parent.
        let is_enough = room as usize >= members - 1;
        assert_eq!(amcast(&problem).is_ok(), is_enough, "seed {seed}: {degrees:?}");
    }
}

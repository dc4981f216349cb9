use std::collections::BTreeMap;

use super::abilene::{LINK_COUNT, Node, SOURCE, across, degree, host, links_of};
use super::traffic::receivers;
use super::*;

/// Of all sets of routers that speak Xcast every so many is tried; a prime, so that all bits vary.
const STRIDE: usize = 53;

fn some_sets() -> impl Iterator<Item = Vec<usize>> {
    let members = |set: usize| (0..COUNT).filter(|city| set >> city & 1 == 1).collect();
    (0..1 << COUNT).step_by(STRIDE).chain([(1 << COUNT) - 1]).map(members)
}

fn sent(paths: &Paths, joined: Joined, aware: &[usize]) -> Crossings {
    let deployment = Deployment::new(paths, joined, aware);
    traffic::send(&deployment).unwrap_or_else(|why| panic!("{joined:?} {aware:?}: {why}"))
}

/// Links between two nodes, by going outwards.
fn hops(from: Node, to: Node) -> usize {
    let (mut seen, mut hops) = (vec![from], 0);
    while !seen.contains(&to) {
        let beyond = seen.iter().flat_map(|at| links_of(*at).map(|link| across(link, *at)));
        let beyond: Vec<Node> = beyond.collect();
        seen.extend(beyond);
        hops += 1;
    }
    hops
}

#[test]
fn the_network_is_that_of_the_map() {
    assert_eq!(LINK_COUNT, 14 + 11);
    let degrees: Vec<usize> = (0..COUNT).map(degree).collect();
    assert_eq!(degrees, [2, 3, 2, 3, 3, 3, 2, 3, 3, 2, 2]);
    let order = Order::Degree.cities();
    assert_eq!(order, [1, 3, 4, 5, 7, 8, 0, 2, 6, 9, 10]);
    let order = Order::Source.cities();
    assert_eq!(order, [0, 1, 3, 4, 5, 7, 8, 2, 6, 9, 10]);
}

#[test]
fn paths_are_shortest_and_the_same_there_and_back() {
    let paths = Paths::new();
    for (from, to) in (0..2 * COUNT).flat_map(|from| (0..2 * COUNT).map(move |to| (from, to))) {
        let there: Vec<Node> = [from].into_iter().chain(paths.beyond(from, to)).collect();
        assert_eq!(there.len() - 1, hops(from, to), "{from} to {to}");
        let mut back: Vec<Node> = [to].into_iter().chain(paths.beyond(to, from)).collect();
        back.reverse();
        assert_eq!(there, back);
    }
}

/// Where everything up to a node speaks Xcast one packet comes to it, and else one for each receiver
/// behind it.
fn expected_natively(paths: &Paths, aware: &[usize]) -> Crossings {
    let mut expected = Crossings::unicast(paths);
    for to in receivers() {
        let mut at = host(SOURCE);
        for node in paths.beyond(host(SOURCE), to) {
            if !aware.contains(&node) {
                break;
            }
            let mut one = Crossings::default();
            paths.next(at, node).into_iter().for_each(|link| one.count(link, at));
            for (now, is_here) in expected.0.iter_mut().flatten().zip(one.0.iter().flatten()) {
                *now = if *is_here == 1 { 1 } else { *now };
            }
            at = node;
        }
    }
    expected
}

#[test]
fn without_tunnels_each_link_has_what_its_upstream_calls_for() {
    let paths = Paths::new();
    for aware in some_sets() {
        let expected = expected_natively(&paths, &aware);
        assert_eq!(sent(&paths, Joined::Natively, &aware), expected, "{aware:?}");
    }
}

/// What a relay does: one copy for each next relay that has several receivers behind it, and plain
/// unicast to all others.
fn branch(deployment: &Deployment<'_>, at: Node, to: &[Node], out: &mut Crossings) {
    let mut behind: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
    for receiver in to {
        let Some(publisher) = deployment.relay_of(receiver - COUNT) else { continue };
        let next = match at == publisher {
            true => *receiver,
            false => deployment.next_relay(at, publisher),
        };
        behind.entry(next).or_default().push(*receiver);
    }
    for (next, to) in behind {
        match to[..] {
            [alone] => out.count_path(deployment.paths, at, alone),
            _ => {
                out.count_path(deployment.paths, at, next);
                branch(deployment, next, &to, out);
            }
        }
    }
}

#[test]
fn relays_and_their_tunnels_make_what_their_places_call_for() {
    let paths = Paths::new();
    let to: Vec<Node> = receivers().collect();
    for (joined, aware) in
        some_sets().flat_map(|set| [(Joined::Backbone, set.clone()), (Joined::Mesh, set)])
    {
        let deployment = Deployment::new(&paths, joined, &aware);
        let mut expected = Crossings::default();
        match deployment.relay_of(SOURCE) {
            None => expected = Crossings::unicast(&paths),
            Some(relay) => {
                expected.count_path(&paths, host(SOURCE), relay);
                branch(&deployment, relay, &to, &mut expected);
            }
        }
        assert_eq!(sent(&paths, joined, &aware), expected, "{joined:?} {aware:?}");
    }
}

#[test]
fn the_curve_keeps_its_bounds() {
    for order in [Order::Degree, Order::Source] {
        let counts: Vec<usize> = (0..=COUNT).collect();
        let curve = curve(order, &counts).unwrap();
        let natively: Vec<&Point> = curve.of(Joined::Natively).collect();
        for point in &curve.points {
            for ((.., packets), (.., unicast)) in point.crossings.each().zip(curve.unicast.each()) {
                match (point.joined, point.count) {
                    (Joined::Natively | Joined::Backbone, COUNT) => {
                        assert_eq!(packets, unicast.min(1));
                    }
                    (_, 0) => assert_eq!(packets, unicast),
                    (Joined::Natively, _) => assert!(packets <= unicast),
                    _ => {}
                }
            }
        }
        for pair in natively.windows(2) {
            let both = pair[0].crossings.each().zip(pair[1].crossings.each());
            both.for_each(|((.., before), (.., after))| assert!(after <= before));
        }
        assert_eq!((curve.unicast.total(), curve.tree()), (50, 21));
    }
}

#[test]
fn the_picture_has_a_line_for_each_way() {
    let counts: Vec<usize> = (0..=COUNT).collect();
    let svg = picture::draw(&curve(Order::Degree, &counts).unwrap());
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(Joined::ALL.iter().all(|joined| svg.contains(joined.name())));
}

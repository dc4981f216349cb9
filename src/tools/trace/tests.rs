//! From what was seen to what is drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::layout::places;
use super::tracer::{Sighting, Tracer};
use super::tree::{Kind, Tree};
use super::{dot, json, svg, text};
use crate::wire::trace::{Branch, Outcome, Report};
use crate::wire::xcast4::bit;

/// A trace of one list, each TTL tried once: its nonce is its TTL.
struct Story {
    tracer: Tracer,
    destinations: Vec<IpAddr>,
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn copy(xcast: bool, to: &str) -> Outcome {
    Outcome::Copy { xcast, to: address(to), interface: "eth1".to_owned() }
}

impl Story {
    fn new(destinations: &[&str], ttls: u8) -> Story {
        let destinations: Vec<IpAddr> = destinations.iter().map(|text| address(text)).collect();
        let mut tracer = Tracer::new(&destinations);
        let all: Vec<usize> = (0..destinations.len()).collect();
        (1..=ttls).for_each(|ttl| tracer.sent(ttl.into(), ttl, &all));
        Story { tracer, destinations }
    }

    /// A router reports what it does with destinations, known by their places in the list.
    fn report(mut self, ttl: u8, name: &str, at: &str, fates: &[(&[usize], Outcome)]) -> Story {
        let branch = |(places, outcome): &(&[usize], Outcome)| Branch {
            destinations: places.iter().fold(0, |all, place| all | bit(*place)),
            outcome: outcome.clone(),
        };
        self.tracer.report(Report {
            nonce: ttl.into(),
            router: name.to_owned(),
            address: address(at),
            branches: fates.iter().map(branch).collect(),
        });
        self
    }

    fn see(mut self, ttl: u8, place: usize, sighting: Sighting) -> Story {
        self.tracer.see(self.destinations[place], Some(ttl.into()), sighting);
        self
    }

    fn hop(self, ttl: u8, place: usize, at: &str) -> Story {
        self.see(ttl, place, Sighting::Hop { address: address(at), xcast: false })
    }

    fn reached(self, ttl: u8, place: usize) -> Story {
        self.see(ttl, place, Sighting::Destination)
    }

    fn refused(self, ttl: u8, place: usize, by: &str, reason: &str) -> Story {
        let (by, reason) = (Some(address(by)), reason.to_owned());
        self.see(ttl, place, Sighting::Refused { by, reason })
    }

    fn tree(&self) -> Tree {
        Tree::new(&[address("10.0.0.1")], self.tracer.ways())
    }

    /// The drawing, without the line that explains the arrows.
    fn lines(&self) -> Vec<String> {
        let text = text::draw(&self.tree());
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let (arrows, lines) = lines.split_last().unwrap();
        assert_eq!(arrows, "==> Xcast   --> unicast");
        assert_eq!(lines.last().unwrap(), "");
        lines[..lines.len() - 1].to_vec()
    }
}

/// R3 branches: B behind a router that only sees unicast, C and D behind R5; E has no route there.
fn branching() -> Story {
    Story::new(&["10.2.0.2", "10.3.0.3", "10.4.0.4", "10.5.0.5"], 3)
        .report(
            1,
            "r3",
            "10.0.0.3",
            &[
                (&[0], copy(false, "10.0.4.4")),
                (&[1, 2], copy(true, "10.0.5.5")),
                (&[3], Outcome::Dropped("no-route".to_owned())),
            ],
        )
        .hop(2, 0, "10.0.4.4")
        .report(2, "r5", "10.0.5.5", &[(&[1], copy(false, "10.3.0.3")), (&[2], Outcome::Delivered)])
        .reached(3, 0)
        .reached(3, 1)
}

#[test]
fn branches_forms_drops_and_deliveries_are_drawn() {
    assert_eq!(
        branching().lines(),
        [
            "source 10.0.0.1",
            "└─ ==> r3 10.0.0.3  for 4 destinations",
            "   ├─ --> 10.0.4.4  for 10.2.0.2",
            "   │  └─ --> 10.2.0.2",
            "   ├─ ==> r5 10.0.5.5 (delivered there: 10.4.0.4)  for 10.3.0.3 10.4.0.4",
            "   │  └─ --> 10.3.0.3",
            "   └─ ==> dropped, no-route: 10.5.0.5",
        ]
    );
}

#[test]
fn nobody_home() {
    let story = Story::new(&["10.2.0.2"], 3);
    let expected = [
        "source 10.0.0.1",
        "└─ --> ?  for 10.2.0.2",
        "   └─ --> ?  for 10.2.0.2",
        "      └─ --> ?  for 10.2.0.2",
    ];
    assert_eq!(story.lines(), expected);
    let mut unsent = Story::new(&["10.2.0.2"], 1);
    unsent.tracer.unsent(address("10.2.0.2"), "no-route");
    assert_eq!(unsent.lines(), ["source 10.0.0.1", "└─ --> dropped, no-route: 10.2.0.2"]);
}

/// The router behind R1 answers for one of two copies: routers limit their ICMP errors.
#[test]
fn a_next_hop_that_answered_for_one_destination_stands_for_all() {
    let unicast = [(&[0usize, 1][..], copy(false, "10.0.4.4"))];
    let story = Story::new(&["10.2.0.2", "10.2.0.3"], 3)
        .report(1, "r1", "10.0.0.3", &unicast)
        .hop(2, 0, "10.9.9.9")
        .reached(3, 0)
        .reached(3, 1);
    assert_eq!(
        story.lines(),
        [
            "source 10.0.0.1",
            "└─ ==> r1 10.0.0.3  for 10.2.0.2 10.2.0.3",
            "   └─ --> 10.9.9.9 10.0.4.4  for 10.2.0.2 10.2.0.3",
            "      ├─ --> 10.2.0.2",
            "      └─ --> 10.2.0.3",
        ]
    );
    assert_eq!(story.tree().nodes.len(), 5);
}

/// The next hop is known although it says nothing itself.
#[test]
fn silence_has_the_address_that_the_router_before_named() {
    let story = Story::new(&["10.2.0.2", "10.2.0.3"], 3)
        .report(1, "r1", "10.0.0.3", &[(&[0, 1], copy(true, "10.0.4.4"))])
        .report(3, "r3", "10.0.5.5", &[(&[0], copy(false, "10.2.0.2"))]);
    assert_eq!(
        story.lines(),
        [
            "source 10.0.0.1",
            "└─ ==> r1 10.0.0.3  for 10.2.0.2 10.2.0.3",
            "   └─ ==> ? 10.0.4.4  for 10.2.0.2 10.2.0.3",
            "      ├─ ==> r3 10.0.5.5  for 10.2.0.2",
            "      └─ --> ?  for 10.2.0.3",
        ]
    );
}

#[test]
fn a_refusal_stands_where_it_was_said() {
    let reported = |place: usize| (vec![place], copy(false, "10.0.4.4"));
    // By the router that was seen, by the next hop that was silent, by a third.
    for (by, seen, expected) in [
        (
            "10.0.4.4",
            true,
            vec!["   └─ --> 10.0.4.4  for 10.2.0.2", "      └─ --> dropped, prohibited: 10.2.0.2"],
        ),
        (
            "10.0.4.4",
            false,
            vec!["   └─ --> 10.0.4.4  for 10.2.0.2", "      └─ --> dropped, prohibited: 10.2.0.2"],
        ),
        ("10.0.0.3", true, vec!["   └─ --> dropped, prohibited: 10.2.0.2"]),
        ("10.0.0.1", true, vec![]),
        (
            "10.7.7.7",
            true,
            vec![
                "   └─ --> 10.0.4.4  for 10.2.0.2",
                "      └─ --> ?  for 10.2.0.2",
                "         └─ --> 10.7.7.7  for 10.2.0.2",
                "            └─ --> dropped, prohibited: 10.2.0.2",
            ],
        ),
    ] {
        let (places, outcome) = reported(0);
        let mut story =
            Story::new(&["10.2.0.2"], 4).report(1, "r1", "10.0.0.3", &[(&places, outcome)]);
        if seen {
            story = story.hop(2, 0, "10.0.4.4");
        }
        let story = story.refused(4, 0, by, "prohibited");
        let head = match by {
            "10.0.0.1" => vec!["source 10.0.0.1", "└─ --> dropped, prohibited: 10.2.0.2"],
            _ => vec!["source 10.0.0.1", "└─ ==> r1 10.0.0.3  for 10.2.0.2"],
        };
        assert_eq!(story.lines(), [head, expected].concat(), "by {by}, seen: {seen}");
    }
}

/// Two ways lead to the same router, and the copies go on apart.
#[test]
fn a_router_that_is_entered_twice_is_one_node() {
    let story = Story::new(&["10.2.0.2", "10.2.0.3", "10.2.0.4"], 4)
        .report(
            1,
            "r1",
            "10.0.0.3",
            &[(&[0, 1], copy(true, "10.0.1.1")), (&[2], copy(true, "10.0.2.2"))],
        )
        .report(2, "r2", "10.0.1.1", &[(&[0, 1], copy(true, "10.0.3.1"))])
        .report(2, "r3", "10.0.2.2", &[(&[2], copy(true, "10.0.3.2"))])
        .report(3, "r4", "10.0.3.1", &[(&[0, 1], copy(false, "10.2.0.9"))])
        .report(3, "r4", "10.0.3.2", &[(&[2], copy(false, "10.2.0.9"))])
        .reached(4, 0)
        .reached(4, 1)
        .reached(4, 2);
    let tree = story.tree();
    let r4: Vec<_> = tree.nodes.iter().filter(|n| n.name.as_deref() == Some("r4")).collect();
    assert_eq!(r4.len(), 1);
    assert_eq!(r4[0].addresses, [address("10.0.3.1"), address("10.0.3.2")]);
    assert_eq!(r4[0].destinations.len(), 3);
    let below = |lines: &[String], router: &str| {
        let at = lines.iter().position(|line| line.contains(router)).unwrap();
        lines[at + 2..].iter().take_while(|line| line.contains("-->")).count()
    };
    let lines = story.lines();
    assert_eq!((below(&lines, "r2 "), below(&lines, "r3 ")), (2, 1), "{lines:#?}");
    assert_places(&tree);
}

#[test]
fn an_ip_hop_whose_address_a_router_has_reported_has_its_name() {
    let story = Story::new(&["10.2.0.2", "10.2.0.3"], 3)
        .report(1, "r1", "10.0.0.3", &[(&[0, 1], copy(false, "10.0.4.4"))])
        .report(2, "r4", "10.0.4.4", &[(&[1], Outcome::Delivered)])
        .hop(2, 0, "10.0.4.4")
        .hop(3, 0, "10.0.4.4");
    let tree = story.tree();
    let named: Vec<_> = tree.nodes.iter().map(|n| (n.kind, n.name.as_deref())).collect();
    assert_eq!(named[2..], [(Kind::Router, Some("r4")), (Kind::Ip, Some("r4"))]);
}

#[test]
fn json_has_the_keys_that_scripts_use() {
    let value = json::draw(&branching().tree());
    let nodes = value["nodes"].as_array().unwrap();
    let of = |key: &str| -> Vec<String> {
        nodes.iter().map(|node| node[key].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(of("id"), ["n0", "n1", "n2", "n3", "n4", "n5", "n6"]);
    let kinds = ["source", "router", "ip", "destination", "router", "destination", "drop"];
    assert_eq!(of("kind"), kinds);
    assert_eq!(of("name"), ["-", "r3", "-", "-", "r5", "-", "-"]);
    assert_eq!(of("reason"), ["-", "-", "-", "-", "-", "-", "no-route"]);
    assert_eq!(nodes[4]["delivered"], serde_json::json!(["10.4.0.4"]));
    assert_eq!(nodes[2]["addresses"], serde_json::json!(["10.0.4.4"]));
    assert_eq!(
        value["links"][0],
        serde_json::json!({
            "from": "n0", "to": "n1", "form": "xcast", "interface": null,
            "destinations": ["10.2.0.2", "10.3.0.3", "10.4.0.4", "10.5.0.5"],
        })
    );
    assert_eq!(
        value["links"][1],
        serde_json::json!({
            "from": "n1", "to": "n2", "form": "unicast", "interface": "eth1",
            "destinations": ["10.2.0.2"],
        })
    );
}

/// A router for each eight destinations, all behind one.
fn wide(leaves: usize) -> Story {
    let texts: Vec<String> = (0..leaves).map(|at| format!("2001:db8:1234:5678::{at:x}")).collect();
    let mut story = Story::new(&texts.iter().map(String::as_str).collect::<Vec<_>>(), 3);
    let groups: Vec<Vec<usize>> =
        (0..leaves).collect::<Vec<_>>().chunks(8).map(<[usize]>::to_vec).collect();
    let next = |group: usize| format!("2001:db8::{group:x}");
    let fates: Vec<(&[usize], Outcome)> =
        groups.iter().enumerate().map(|(at, group)| (&group[..], copy(true, &next(at)))).collect();
    story = story.report(1, "r1", "2001:db8::ffff", &fates);
    for (at, group) in groups.iter().enumerate() {
        let fates: Vec<([usize; 1], Outcome)> =
            group.iter().map(|place| ([*place], copy(false, &texts[*place]))).collect();
        let fates: Vec<(&[usize], Outcome)> =
            fates.iter().map(|(place, fate)| (&place[..], fate.clone())).collect();
        story = story.report(2, &format!("router-{at}"), &next(at), &fates);
        for place in group {
            story = story.reached(3, *place);
        }
    }
    story
}

/// Links lead to the right, and nobody stands on anybody.
fn assert_places(tree: &Tree) {
    let places = places(tree);
    for link in &tree.links {
        assert!(places[link.from].column < places[link.to].column, "{link:?}");
    }
    let mut columns: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for place in places {
        columns.entry(place.column).or_default().push(place.row);
    }
    for rows in columns.values_mut() {
        rows.sort_by(f64::total_cmp);
        assert!(rows.windows(2).all(|pair| pair[1] - pair[0] >= 1.0), "{rows:?}");
    }
}

#[test]
fn a_layout_keeps_nodes_apart_from_three_leaves_to_many() {
    for leaves in [1, 3, 8, 9, 64, 127] {
        let tree = wide(leaves).tree();
        assert_eq!(tree.nodes.len(), 2 + leaves.div_ceil(8) + leaves);
        assert_places(&tree);
    }
    let tree = branching().tree();
    assert_places(&tree);
    let rows: Vec<f64> = places(&tree).iter().map(|place| place.row).collect();
    assert_eq!(rows, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 2.0]);
}

/// The names of the elements of a well-formed document, in order; panics on any other.
fn elements(svg: &str) -> Vec<String> {
    let (mut open, mut all, mut rest) = (Vec::new(), Vec::new(), svg);
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>') && is_escaped(text), "{text}");
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<') && is_escaped(tag), "{tag}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name: String = tag.chars().take_while(|c| c.is_alphanumeric()).collect();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed));
        } else if !tag.ends_with('/') {
            open.push(name.clone());
            all.push(name);
        } else {
            all.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty());
    all
}

fn is_escaped(text: &str) -> bool {
    let entities = ["amp;", "lt;", "gt;", "quot;"];
    text.split('&').skip(1).all(|rest| entities.iter().any(|entity| rest.starts_with(entity)))
}

#[test]
fn an_svg_is_well_formed_and_stands_for_itself() {
    for leaves in [1, 3, 127] {
        let tree = wide(leaves).tree();
        let svg = svg::draw(&tree);
        let names = elements(&svg);
        let count = |name: &str| names.iter().filter(|element| *element == name).count();
        // And the legend's.
        assert_eq!((count("g"), count("rect")), (tree.nodes.len(), tree.nodes.len() + 1));
        assert_eq!(count("path"), tree.links.len() + 1);
        let known: BTreeSet<&str> = ["svg", "title", "g", "rect", "path", "text"].into();
        assert!(names.iter().all(|name| known.contains(name.as_str())), "{names:?}");
        let elsewhere = ["href", "url(", "@import", "<script", "<style", "<image"];
        assert!(elsewhere.iter().all(|word| !svg.contains(word)));
        assert_eq!(svg.matches("http").count(), 1, "its name space is no place to load from");
    }
}

/// A number of an element: `x="12.5"`.
fn number(element: &str, name: &str) -> f64 {
    let (_, rest) = element.split_once(&format!(" {name}=\"")).unwrap();
    rest.split_once('"').unwrap().0.parse().unwrap()
}

#[test]
fn no_box_of_an_svg_covers_another_nor_leaves_the_picture() {
    for leaves in [1, 3, 127] {
        let svg = svg::draw(&wide(leaves).tree());
        let (width, height) = (number(&svg, "width"), number(&svg, "height"));
        let boxes: Vec<[f64; 4]> = svg
            .split("<rect")
            .skip(1)
            .map(|element| {
                let [x, y, w, h] = ["x", "y", "width", "height"].map(|name| number(element, name));
                [x, y, x + w, y + h]
            })
            .collect();
        for (at, [left, top, right, bottom]) in boxes.iter().enumerate() {
            assert!(*left > 0.0 && *top > 0.0 && *right < width && *bottom < height);
            for [l, t, r, b] in &boxes[at + 1..] {
                assert!(right < l || r < left || bottom < t || b < top, "{svg}");
            }
        }
    }
}

/// What a router calls itself may be anything.
fn hostile() -> Tree {
    let name = "\"]; <script>alert('&\\";
    let dropped = Outcome::Dropped("\u{ffff}\"<b>\\".to_owned());
    Story::new(&["10.2.0.2"], 1).report(1, name, "10.0.0.3", &[(&[0], dropped)]).tree()
}

#[test]
fn names_are_escaped_in_svg() {
    let svg = svg::draw(&hostile());
    let expected = "&quot;]; &lt;script&gt;alert('&amp;\\ 10.0.0.3 [1]</text>";
    assert!(svg.contains(expected), "{svg}");
    assert!(!svg.contains('\u{ffff}'));
    elements(&svg);
}

/// Reads what of the language of Graphviz `dot` draws, and returns its statements' words.
fn statements(dot: &str) -> Vec<Vec<String>> {
    let body = dot.strip_prefix("digraph trace {\n").and_then(|rest| rest.strip_suffix("\n}"));
    let mut all = Vec::new();
    for line in body.unwrap().lines() {
        let statement = line.trim().strip_suffix(';').expect("a statement ends");
        let (mut words, mut word, mut characters) = (Vec::new(), String::new(), statement.chars());
        while let Some(character) = characters.next() {
            match character {
                '"' => loop {
                    match characters.next().expect("a string ends") {
                        '\\' => word.extend(characters.next()),
                        '"' => break,
                        inside => word.push(inside),
                    }
                },
                ' ' | ',' => words.push(std::mem::take(&mut word)),
                other => {
                    assert!(other.is_ascii_alphanumeric() || "[]=->.".contains(other), "{line}");
                    word.push(other);
                }
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        all.push(words);
    }
    all
}

#[test]
fn dot_has_a_statement_for_each_node_and_link() {
    let tree = branching().tree();
    let all = statements(&dot::draw(&tree));
    assert_eq!(all.len(), 3 + tree.nodes.len() + tree.links.len());
    let has = |words: &[&str]| {
        all.iter().any(|statement| {
            statement.starts_with(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
        })
    };
    assert!(has(&["n1", "[label=r3 10.0.0.3", "shape=box", "style=bold]"]), "{all:#?}");
    assert!(has(&["n0", "->", "n1", "[label=4", "style=bold"]), "{all:#?}");
    assert!(has(&["n1", "->", "n2", "[label=1", "style=dashed]"]), "{all:#?}");
}

#[test]
fn names_are_escaped_in_dot() {
    let all = statements(&dot::draw(&hostile()));
    assert_eq!(all[4][1], "[label=\"]; <script>alert('&\\ 10.0.0.3");
}

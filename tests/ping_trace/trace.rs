//! The tree that is drawn is the tree that is there.

use serde_json::json;

use crate::drawn::{Drawn, texts};
use crate::lab::process::until;
use crate::lab::{Lab, Version, ip_batch};
use crate::support::in_namespaces;
use crate::{LINKS, ROUTERS, list, network, respond, run};

const HOSTS: [(&str, &str); 3] = [("b", "r4"), ("c", "r8"), ("d", "r9")];

fn trace(lab: &mut Lab, to: &str, status: i32) -> Drawn {
    let ended = run(lab, "a", &format!("trace --json --timeout 5s --to {to}"));
    assert_eq!(ended.status, Some(status), "{:?}", ended.errors);
    Drawn::new(&ended)
}

#[test]
fn figure_1_is_drawn_as_it_is() {
    in_namespaces("trace::figure_1_is_drawn_as_it_is", || {
        let mut lab = network(&LINKS, &ROUTERS);
        for version in [Version::V4, Version::V6] {
            let at = |node: &str, link: &str| lab.address_of(version, node, link).to_string();
            let [b, c, d] = HOSTS.map(|(host, router)| at(host, router));
            // These three only see unicast.
            let [r4, r8, r9] =
                [("r4", "r3"), ("r8", "r7"), ("r9", "r7")].map(|(n, l)| format!("ip {}", at(n, l)));
            let (source, r7) = (at("a", "r1"), at("r7", "r6"));
            let drawn = trace(&mut lab, &list_of(&[&b, &c, &d]), 0);
            drawn.assert_links(&[
                ("source", "r1", "xcast", &[&b, &c, &d]),
                ("r1", "r2", "xcast", &[&b, &c, &d]),
                ("r2", "r3", "xcast", &[&b, &c, &d]),
                ("r3", &r4, "unicast", &[&b]),
                (&r4, &b, "unicast", &[&b]),
                ("r3", "r5", "xcast", &[&c, &d]),
                ("r5", "r6", "xcast", &[&c, &d]),
                ("r6", "r7", "xcast", &[&c, &d]),
                ("r7", &r8, "unicast", &[&c]),
                (&r8, &c, "unicast", &[&c]),
                ("r7", &r9, "unicast", &[&d]),
                (&r9, &d, "unicast", &[&d]),
            ]);
            assert_eq!(drawn.nodes.len(), 13);
            assert_eq!(drawn.nodes["source"]["addresses"], json!([source]));
            assert_eq!(drawn.nodes["r7"]["addresses"], json!([r7]));
            assert_eq!(drawn.nodes["r7"]["destinations"], json!([c, d]));
            assert_eq!(drawn.nodes[&d]["delivered"], json!([d]));
        }
        assert_formats(&mut lab);
    });
}

fn list_of(addresses: &[&str]) -> String {
    addresses.join(",")
}

fn assert_formats(lab: &mut Lab) {
    let to = list(lab, Version::V4, &HOSTS);
    let mut drawn = |format: &str| {
        let ended = run(lab, "a", &format!("trace --format {format} --timeout 5s --to {to}"));
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        ended.output
    };
    let text = drawn("text");
    assert_eq!(text.len(), 13 + 2);
    assert!(text[0].starts_with("source 10.9.") && text[3].contains("└─ ==> r3 "), "{text:#?}");
    let dot = drawn("dot");
    assert_eq!((dot[0].as_str(), dot.last().unwrap().as_str()), ("digraph trace {", "}"));
    assert_eq!(dot.iter().filter(|line| line.contains(" -> ")).count(), 12);
    let svg = drawn("svg");
    assert!(svg[0].starts_with("<svg xmlns=") && svg.last().unwrap() == "</svg>");
    assert_eq!(svg.iter().filter(|line| line.starts_with("<g>")).count(), 13);
}

/// One trace of both IP versions: a router is one node.
#[test]
fn both_ip_versions_are_one_tree() {
    in_namespaces("trace::both_ip_versions_are_one_tree", || {
        let mut lab = network(&[("a", "r1"), ("r1", "b"), ("r1", "c")], &["r1"]);
        let hosts = [("b", "r1"), ("c", "r1")];
        let [v4, v6] = [Version::V4, Version::V6].map(|version| list(&lab, version, &hosts));
        let all = [v4.split(',').collect::<Vec<_>>(), v6.split(',').collect()].concat();
        // A responder answers a trace, too: its port is not closed.
        let _responder = respond(&mut lab, "c");
        let drawn = trace(&mut lab, &list_of(&all), 0);
        let leaves = all.iter().map(|to| ("r1", *to, "unicast", std::slice::from_ref(to)));
        let root = [("source", "r1", "xcast", &all[..])];
        drawn.assert_links(&root.into_iter().chain(leaves).collect::<Vec<_>>());
        let own = [lab.address("r1", "a").to_string(), lab.address_v6("r1", "a").to_string()];
        assert_eq!(texts(&drawn.nodes["r1"]["addresses"]), own);
    });
}

/// A router's own address, nobody at the end, and no way at all.
#[test]
fn destinations_end_where_they_end() {
    in_namespaces("trace::destinations_end_where_they_end", || {
        let links =
            [("a", "r1"), ("r1", "r2"), ("r2", "b"), ("r2", "c"), ("r2", "r3"), ("r3", "d")];
        let mut lab = network(&links, &["r1", "r2", "r3"]);
        ip_batch(&["-n", "a"], &format!("route add default via {}\n", lab.address("r1", "a")));
        ip_batch(&["-n", "r1"], &format!("route add default via {}\n", lab.address("r2", "r1")));
        let [b, c] =
            [("b", "r2"), ("c", "r2")].map(|(host, _)| lab.address(host, "r2").to_string());
        let r2 = lab.address("r2", "r1").to_string();
        let nobody = format!("10.9.{}.99", lab.address("b", "r2").octets()[2]);
        let nowhere = "192.0.2.1";
        let all = [b.as_str(), &c, &r2, &nobody, nowhere];
        let drawn = trace(&mut lab, &list_of(&all), 1);
        drawn.assert_links(&[
            ("source", "r1", "xcast", &all),
            ("r1", "r2", "xcast", &all),
            ("r2", &b, "unicast", &[&b]),
            ("r2", &c, "unicast", &[&c]),
            // R2 finds out by asking; that was its own copy's end.
            ("r2", "drop host-unreachable", "unicast", &[&nobody]),
            ("r2", "drop no-route", "xcast", &[nowhere]),
        ]);
        assert_eq!(drawn.nodes["r2"]["delivered"], json!([r2]));
        assert_eq!(drawn.nodes["r2"]["kind"], "router");

        let drawn = trace(&mut lab, "2001:db8::1", 1);
        drawn.assert_links(&[("source", "drop no-route", "unicast", &["2001:db8::1"])]);
        let drawn = trace(&mut lab, nowhere, 1);
        drawn.assert_links(&[
            ("source", "ip 10.9.1.2", "unicast", &[nowhere]),
            ("ip 10.9.1.2", &format!("ip {r2}"), "unicast", &[nowhere]),
            (&format!("ip {r2}"), "drop no-route", "unicast", &[nowhere]),
        ]);
    });
}

/// A plain router gets unicast copies, and the Xcast router behind it sees nothing else.
#[test]
fn a_plain_router_on_the_way_is_drawn_with_what_it_gets() {
    in_namespaces("trace::a_plain_router_on_the_way_is_drawn_with_what_it_gets", || {
        let links = [("a", "r1"), ("r1", "p"), ("p", "r2"), ("r2", "b"), ("r2", "c")];
        let mut lab = network(&links, &["r1", "r2"]);
        for version in [Version::V4, Version::V6] {
            let at = |node: &str, link: &str| lab.address_of(version, node, link).to_string();
            let (b, c) = (at("b", "r2"), at("c", "r2"));
            let (p, r2) = (format!("ip {}", at("p", "r1")), format!("ip {}", at("r2", "p")));
            let drawn = trace(&mut lab, &list_of(&[&b, &c]), 0);
            drawn.assert_links(&[
                ("source", "r1", "xcast", &[&b, &c]),
                ("r1", &p, "unicast", &[&b, &c]),
                (&p, &r2, "unicast", &[&b, &c]),
                (&r2, &b, "unicast", &[&b]),
                (&r2, &c, "unicast", &[&c]),
            ]);
        }
    });
}

/// Routers that forward but say nothing: one whose address the router before names, and one behind
/// it, of which nothing is known.
#[test]
fn silent_routers_are_marks_on_the_way() {
    in_namespaces("trace::silent_routers_are_marks_on_the_way", || {
        let links = [("a", "r1"), ("r1", "p1"), ("p1", "p2"), ("p2", "b"), ("p2", "c")];
        let mut lab = network(&links, &["r1"]);
        let source = lab.address("a", "r1");
        for plain in ["p1", "p2"] {
            // What they send themselves; what they forward has another rule.
            lab.ip(plain, &format!("rule add iif lo to {source} blackhole"));
        }
        let [b, c] =
            [("b", "p2"), ("c", "p2")].map(|(host, _)| lab.address(host, "p2").to_string());
        let p1 = format!("silent {}", lab.address("p1", "r1"));
        let ended =
            run(&mut lab, "a", &format!("trace --json --tries 1 --timeout 2s --to {b},{c}"));
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        Drawn::new(&ended).assert_links(&[
            ("source", "r1", "xcast", &[&b, &c]),
            ("r1", &p1, "unicast", &[&b, &c]),
            (&p1, "silent", "unicast", &[&b, &c]),
            ("silent", &b, "unicast", &[&b]),
            ("silent", &c, "unicast", &[&c]),
        ]);
    });
}

/// More destinations than one list holds, and reports of several parts.
#[test]
fn a_long_list_is_drawn_whole() {
    in_namespaces("trace::a_long_list_is_drawn_whole", || {
        let mut lab = network(&[("a", "r1"), ("r1", "r2"), ("r2", "b")], &["r1", "r2"]);
        let net = lab.address("b", "r2").octets()[2];
        let hosts: Vec<u8> = (50..200).collect();
        let lines = hosts.iter().map(|host| {
            format!("address add 10.9.{net}.{host}/24 dev r2\naddress add fd00:9:{net:x}::{host}/64 dev r2 nodad\n")
        });
        ip_batch(&["-n", "b"], &lines.collect::<String>());
        let _responder = respond(&mut lab, "b");
        for prefix in [format!("10.9.{net}."), format!("fd00:9:{net:x}::")] {
            let all: Vec<String> = hosts.iter().map(|host| format!("{prefix}{host}")).collect();
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let drawn = trace(&mut lab, &list_of(&all), 0);
            assert_eq!(drawn.nodes.len(), 3 + all.len());
            assert_eq!(drawn.links.len(), 2 + all.len());
            assert_eq!(texts(&drawn.nodes["r2"]["destinations"]), all);
            let forms = drawn.links.iter().filter(|link| link.2 == "xcast").count();
            assert_eq!(forms, 2);
        }
    });
}

/// The link behind R1 is narrow: a long packet to both does not pass, a short one does.
#[test]
fn a_copy_that_is_too_big_is_drawn_where_it_is_dropped() {
    in_namespaces("trace::a_copy_that_is_too_big_is_drawn_where_it_is_dropped", || {
        let links = [("a", "r1"), ("r1", "r2"), ("r2", "b"), ("r2", "c"), ("r1", "d")];
        let mut lab = network(&links, &["r1", "r2"]);
        for (node, interface) in [("r1", "r2"), ("r2", "r1")] {
            lab.ip(node, &format!("link set dev {interface} mtu 1280"));
        }
        until("R1 knows it", || (lab.port("r1", "r2")["mtu"] == 1280).then_some(()));
        let hosts = [("b", "r2"), ("c", "r2"), ("d", "r1")];
        let [b, c, d] = hosts.map(|(host, router)| lab.address(host, router).to_string());
        let to = list_of(&[&b, &c, &d]);
        let ended = run(&mut lab, "a", &format!("trace --json --timeout 5s --size 1300 --to {to}"));
        assert_eq!(ended.status, Some(1), "{:?}", ended.errors);
        Drawn::new(&ended).assert_links(&[
            ("source", "r1", "xcast", &[&b, &c, &d]),
            ("r1", "drop too-big", "xcast", &[&b, &c]),
            ("r1", &d, "unicast", &[&d]),
        ]);
        assert_eq!(trace(&mut lab, &to, 0).links.len(), 5);
    });
}

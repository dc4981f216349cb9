//! RFC 5058 figure 1, as it stands there: nine routers, all of them speaking Xcast.
//!
//! ```text
//!                              R4 ---- B
//!                             /
//!                            /
//!   A----- R1 ---- R2 ---- R3                      R8 ---- C
//!                            \                    /
//!                             \                  /
//!                              R5 ---- R6 ---- R7
//!                                               \
//!                                                \
//!                                                  R9 ---- D
//! ```
//!
//! A sends to B, C and D, to a port of its own each, so every packet carries a list of ports.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::collections::BTreeMap;
use std::net::{SocketAddrV4, UdpSocket};

use lab::ask::number;
use lab::capture::{Capture, Copy, Form};
use lab::process::{Stream, until};
use lab::{Lab, assert_empty, assert_receives, inside};
use support::in_namespaces;

const ROUTERS: [&str; 9] = ["r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"];
const LINKS: [(&str, &str); 12] = [
    ("a", "r1"),
    ("r1", "r2"),
    ("r2", "r3"),
    ("r3", "r4"),
    ("r4", "b"),
    ("r3", "r5"),
    ("r5", "r6"),
    ("r6", "r7"),
    ("r7", "r8"),
    ("r8", "c"),
    ("r7", "r9"),
    ("r9", "d"),
];
/// Who forwards what to whom: on each node the next hop to A, B, C and D.
const NEXT_HOPS: [(&str, [&str; 4]); 13] = [
    ("a", ["", "r1", "r1", "r1"]),
    ("r1", ["a", "r2", "r2", "r2"]),
    ("r2", ["r1", "r3", "r3", "r3"]),
    ("r3", ["r2", "r4", "r5", "r5"]),
    ("r4", ["r3", "b", "r3", "r3"]),
    ("r5", ["r3", "r3", "r6", "r6"]),
    ("r6", ["r5", "r5", "r7", "r7"]),
    ("r7", ["r6", "r6", "r8", "r9"]),
    ("r8", ["r7", "r7", "c", "r7"]),
    ("r9", ["r7", "r7", "r7", "d"]),
    ("b", ["r4", "", "r4", "r4"]),
    ("c", ["r8", "r8", "", "r8"]),
    ("d", ["r9", "r9", "r9", ""]),
];
const SOURCE_PORT: u16 = 5000;

/// The network, with all routers running.
struct Figure {
    lab: Lab,
    captures: Vec<Capture>,
}

impl Figure {
    fn build() -> Figure {
        let mut lab = Lab::new();
        lab.hosts(&["a", "b", "c", "d"]);
        lab.forwarders(&ROUTERS);
        for (one, other) in LINKS {
            lab.link(one, other);
        }
        let edges = [("a", "r1"), ("b", "r4"), ("c", "r8"), ("d", "r9")];
        for (node, next_hops) in NEXT_HOPS {
            let far = edges
                .iter()
                .zip(next_hops)
                .filter(|((host, edge), next)| ![*host, *edge].contains(&node) && !next.is_empty());
            let lines = far.map(|((host, edge), next)| {
                let (to, via) = (lab.address(host, edge), lab.address(next, node));
                format!("route add {to}/32 via {via}\n")
            });
            lab::ip_batch(&["-n", node], &lines.collect::<String>());
        }
        lab.start_routers(&ROUTERS);
        let captures = lab.capture_all();
        Figure { lab, captures }
    }

    fn receivers(&self) -> [UdpSocket; 3] {
        ["b", "c", "d"].map(|host| self.lab.receiver(host, self.destination(host)))
    }

    /// Where a host receives.
    fn destination(&self, host: &str) -> SocketAddrV4 {
        let (edge, port) = match host {
            "b" => ("r4", 9001),
            "c" => ("r8", 9002),
            _ => ("r9", 9003),
        };
        SocketAddrV4::new(self.lab.address(host, edge), port)
    }

    fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.lab.address("a", "r1"), SOURCE_PORT)
    }

    fn send(&mut self, hosts: &[&str], payload: &str) {
        let to: Vec<String> = hosts.iter().map(|host| self.destination(host).to_string()).collect();
        let arguments =
            format!("--to {} --source-port {SOURCE_PORT} --text {payload}", to.join(","));
        self.lab.send("a", &arguments);
    }

    /// A copy that is expected on the link between two nodes.
    fn copy(&self, from: &str, to: &str, ttl: u8, form: Form, payload: &str) -> Copy {
        let (from, to, payload) = (from.to_owned(), to.to_owned(), payload.to_owned());
        Copy { from, to, form, source: self.source(), ttl, payload }
    }

    /// Everything that crosses any link for one packet to B, C and D.
    fn copies_to_all(&self, payload: &str) -> Vec<Copy> {
        let xcast =
            |hosts: &[&str]| Form::Xcast(hosts.iter().map(|h| self.destination(h)).collect());
        let unicast = |host| Form::Unicast(self.destination(host));
        let all = ["b", "c", "d"];
        let hops = [
            ("a", "r1", 64, xcast(&all)),
            ("r1", "r2", 63, xcast(&all)),
            ("r2", "r3", 62, xcast(&all)),
            ("r3", "r4", 61, unicast("b")),
            ("r4", "b", 60, unicast("b")),
            ("r3", "r5", 61, xcast(&["c", "d"])),
            ("r5", "r6", 60, xcast(&["c", "d"])),
            ("r6", "r7", 59, xcast(&["c", "d"])),
            ("r7", "r8", 58, unicast("c")),
            ("r8", "c", 57, unicast("c")),
            ("r7", "r9", 58, unicast("d")),
            ("r9", "d", 57, unicast("d")),
        ];
        hops.map(|(from, to, ttl, form)| self.copy(from, to, ttl, form, payload)).to_vec()
    }

    /// Everything captured on all links since the last call.
    fn crossed(&self) -> Vec<Copy> {
        self.captures.iter().flat_map(Capture::take).collect()
    }
}

fn assert_same(mut found: Vec<Copy>, mut expected: Vec<Copy>) {
    found.sort();
    expected.sort();
    assert!(found == expected, "found {found:#?}\nexpected {expected:#?}");
}

#[test]
fn each_link_carries_one_copy_and_every_receiver_gets_one_datagram() {
    in_namespaces("each_link_carries_one_copy_and_every_receiver_gets_one_datagram", || {
        let mut figure = Figure::build();
        let receivers = figure.receivers();
        let payloads: Vec<String> = (0..5).map(|number| format!("packet-{number}")).collect();
        let mut crossed = Vec::new();
        for payload in &payloads {
            figure.send(&["b", "c", "d"], payload);
            for receiver in &receivers {
                assert_receives(receiver, figure.source(), payload);
            }
            let found = figure.crossed();
            assert_same(found.clone(), figure.copies_to_all(payload));
            crossed.extend(found);
        }
        receivers.iter().for_each(assert_empty);
        assert_counters_equal(&figure.lab, &crossed);
        for host in ["b", "c", "d"] {
            assert_eq!(bad_checksums(host), 0, "UDP checksums at {host}");
        }
    });
}

/// The kernel's count of UDP datagrams whose checksum was wrong.
fn bad_checksums(host: &str) -> u64 {
    let text = inside(host, || std::fs::read_to_string("/proc/thread-self/net/snmp")).unwrap();
    let mut udp = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, counts) = (udp.next().unwrap(), udp.next().unwrap());
    let mut each = names.split(' ').zip(counts.split(' '));
    each.find(|(name, _)| *name == "InCsumErrors").unwrap().1.parse().unwrap()
}

/// Every router has counted what was captured around it, and nothing else.
fn assert_counters_equal(lab: &Lab, crossed: &[Copy]) {
    for router in ROUTERS {
        let expected = expected_counts(router, crossed);
        let read = || {
            let ports = lab.show(router, "ports");
            let each = ports["ports"].as_array().unwrap().iter().map(|port| {
                let count = |name| number(port, name);
                let (xcast, unicast) = ("replicas-sent-xcast", "replicas-sent-unicast");
                let counts = [count("packets-received"), count(xcast), count(unicast)];
                (port["interface"].as_str().unwrap().to_owned(), counts)
            });
            each.collect::<BTreeMap<_, _>>()
        };
        // A router counts a copy a moment after it has sent it.
        until(&format!("{router} counts {expected:?}"), || (read() == expected).then_some(()));
        lab.assert_identity(router);
    }
}

/// By port: Xcast packets received, copies sent in Xcast form, copies made unicast. What came in
/// as unicast was forwarded by the kernel and is not the router's.
fn expected_counts(router: &str, crossed: &[Copy]) -> BTreeMap<String, [u64; 3]> {
    let links = LINKS.iter().filter_map(|&(one, other)| match router {
        _ if one == router => Some(other),
        _ if other == router => Some(one),
        _ => None,
    });
    let mut counts: BTreeMap<String, [u64; 3]> =
        links.map(|neighbor| (neighbor.to_owned(), [0; 3])).collect();
    let came_as_unicast = |copy: &Copy| {
        let same = |c: &&Copy| c.to == router && c.form == copy.form && c.payload == copy.payload;
        crossed.iter().any(|c| same(&c))
    };
    for copy in crossed {
        let is_xcast = matches!(copy.form, Form::Xcast(_));
        if copy.to == router && is_xcast {
            counts.get_mut(&copy.from).unwrap()[0] += 1;
        }
        if copy.from == router && is_xcast {
            counts.get_mut(&copy.to).unwrap()[1] += 1;
        }
        if copy.from == router && !is_xcast && !came_as_unicast(copy) {
            counts.get_mut(&copy.to).unwrap()[2] += 1;
        }
    }
    counts
}

#[test]
fn a_single_destination_leaves_its_sender_as_plain_unicast() {
    in_namespaces("a_single_destination_leaves_its_sender_as_plain_unicast", || {
        let mut figure = Figure::build();
        let [_, at_c, _] = figure.receivers();
        figure.send(&["c"], "alone");
        assert_receives(&at_c, figure.source(), "alone");
        let path = ["a", "r1", "r2", "r3", "r5", "r6", "r7", "r8", "c"];
        let to_c = Form::Unicast(figure.destination("c"));
        let hops = path.windows(2).zip((0..=64).rev());
        let expected =
            hops.map(|(hop, ttl)| figure.copy(hop[0], hop[1], ttl, to_c.clone(), "alone"));
        assert_same(figure.crossed(), expected.collect());
        for router in ROUTERS {
            assert_eq!(figure.lab.counter(router, "packets-received"), 0, "{router}");
        }
    });
}

#[test]
fn the_very_first_packet_reaches_everyone_although_no_neighbor_is_known() {
    in_namespaces("the_very_first_packet_reaches_everyone_although_no_neighbor_is_known", || {
        let mut figure = Figure::build();
        let receivers = figure.receivers();
        figure.lab.forget_neighbors();
        // Routers ask for their gateways again at once, but for no receiver.
        let ends = figure.lab.links.iter().flat_map(|link| &link.ends);
        for end in ends.filter(|end| !ROUTERS.contains(&&*end.node)) {
            let known = figure.lab.ip(&end.node, "neighbor show");
            assert_eq!(known, "", "{} knows neighbors", end.node);
        }
        figure.send(&["b", "c", "d"], "first");
        for receiver in &receivers {
            assert_receives(receiver, figure.source(), "first");
        }
        assert_same(figure.crossed(), figure.copies_to_all("first"));
        for router in ROUTERS {
            figure.lab.assert_identity(router);
            assert_eq!(figure.lab.counter(router, "destinations-dropped"), 0, "{router}");
        }
    });
}

#[test]
fn packets_follow_a_route_that_moves_without_a_restart() {
    in_namespaces("packets_follow_a_route_that_moves_without_a_restart", || {
        let mut figure = Figure::build();
        let receivers = figure.receivers();
        figure.send(&["b", "c", "d"], "before");
        for receiver in &receivers {
            assert_receives(receiver, figure.source(), "before");
        }
        assert_same(figure.crossed(), figure.copies_to_all("before"));

        let shortcut = figure.lab.link("r5", "r8");
        figure.captures.push(figure.lab.capture(&shortcut));
        let (c, via) = (figure.destination("c").ip().to_owned(), shortcut.ends[1].address);
        figure.lab.ip("r5", &format!("route replace {c}/32 via {via}"));
        figure.lab.wait_for_port("r5", "r8", "up");
        figure.lab.wait_for_route("r5", &format!("{c}/32"), Some(via), "live");

        for payload in ["after-1", "after-2"] {
            figure.send(&["b", "c", "d"], payload);
            for receiver in &receivers {
                assert_receives(receiver, figure.source(), payload);
            }
            assert_same(figure.crossed(), copies_by_the_shortcut(&figure, payload));
        }
    });
}

/// Behind R5 there is one destination in each direction, so both leave it as unicast.
fn copies_by_the_shortcut(figure: &Figure, payload: &str) -> Vec<Copy> {
    let mut copies = figure.copies_to_all(payload);
    let moved = ["r5", "r6", "r7"];
    copies.retain(|copy| !moved.contains(&copy.from.as_str()) && copy.to != "c" && copy.to != "d");
    let unicast = |host| Form::Unicast(figure.destination(host));
    let hops = [
        ("r5", "r8", 60, "c"),
        ("r8", "c", 59, "c"),
        ("r5", "r6", 60, "d"),
        ("r6", "r7", 59, "d"),
        ("r7", "r9", 58, "d"),
        ("r9", "d", 57, "d"),
    ];
    let hops = hops.map(|(from, to, ttl, host)| figure.copy(from, to, ttl, unicast(host), payload));
    copies.extend(hops);
    copies
}

#[test]
fn the_tools_own_receiver_tells_where_each_datagram_came_from_and_went() {
    in_namespaces("the_tools_own_receiver_tells_where_each_datagram_came_from_and_went", || {
        let mut figure = Figure::build();
        let hosts = ["b", "c", "d"];
        let receivers = hosts.map(|host| {
            let port = figure.destination(host).port().to_string();
            let arguments = ["recv", "--json", "--count", "2", "--timeout", "30s", "--port", &port];
            let receiver = figure.lab.run(host, host, lab::xcast().args(arguments));
            receiver.log.wait_for(Stream::Error, "listening");
            receiver
        });
        for payload in ["one", "two"] {
            figure.send(&hosts, payload);
        }
        for (host, receiver) in hosts.into_iter().zip(receivers) {
            let ended = receiver.finish();
            assert_eq!((ended.status, ended.output.len()), (Some(0), 2), "{:?}", ended.errors);
            for (line, payload) in ended.output.iter().zip(["b25l", "dHdv"]) {
                let json: serde_json::Value = serde_json::from_str(line).unwrap();
                let to = figure.destination(host);
                assert_eq!(json["source"], figure.source().ip().to_string());
                assert_eq!(json["source-port"], figure.source().port());
                assert_eq!(json["destination"], to.ip().to_string());
                assert_eq!(
                    (json["port"].as_u64(), &json["form"]),
                    (Some(to.port().into()), &"unicast".into())
                );
                assert_eq!(json["payload-base64"], payload);
            }
        }
    });
}

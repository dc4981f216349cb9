//! What a network saves of which some routers speak Xcast: the bounds of `xcast bench partial`, and
//! the same network of real kernels and routers, where as many packets cross each link.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lab::process::until;
use lab::topology::{Routing, as_strs};
use lab::{Lab, assert_receives, xcast};
use serde_json::Value;
use support::in_namespaces;

const PORT: u16 = 9000;
const SOURCE_PORT: u16 = 5000;
const PAYLOAD: &str = "one-datagram-for-ten";

fn bench(arguments: &str) -> Value {
    let words = ["bench", "partial", "--json"].into_iter().chain(arguments.split_whitespace());
    let output = xcast().args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn each(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().unwrap().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// With all routers one packet on every link of the tree, with none what unicast makes; without
/// tunnels never more than unicast on any link, and with every further router no more than before.
#[test]
fn the_curve_keeps_its_bounds() {
    for order in ["degree", "source"] {
        let curve = bench(&format!("--order {order}"));
        let (unicast, tree) = (number(&curve["unicast"]), number(&curve["tree"]));
        let mut natively = unicast;
        for result in each(&curve["results"]) {
            let (joined, aware) = (text(&result["joined"]), number(&result["aware"]));
            let total = number(&result["total"]);
            let sum: u64 = each(&result["links"]).map(|link| number(&link["packets"])).sum();
            assert_eq!(total, sum);
            for link in each(&result["links"]) {
                let (packets, unicast) = (number(&link["packets"]), number(&link["unicast"]));
                let is_worse = each(&result["worse"]).any(|worse| worse == link);
                assert_eq!(is_worse, packets > unicast, "{link}");
                match (joined, aware) {
                    ("native" | "backbone", 11) => assert_eq!(packets, unicast.min(1), "{link}"),
                    (_, 0) => assert_eq!(packets, unicast, "{link}"),
                    ("native", _) => assert!(packets <= unicast, "{link}"),
                    _ => {}
                }
            }
            if joined == "native" {
                assert!(total <= natively, "{order}, {aware}");
                natively = total;
            }
            assert!(total >= tree, "{order}, {joined}, {aware}: less than each link once");
        }
        let counts: Vec<u64> = each(&curve["results"]).map(|r| number(&r["aware"])).collect();
        assert_eq!(counts, [0, 1, 2, 4, 8, 11].repeat(3));
    }
}

#[test]
fn tables_and_a_picture_are_for_people() {
    let picture = std::env::temp_dir().join(format!("xcast-partial-{}.svg", std::process::id()));
    let mut command = xcast();
    command.args(["bench", "partial", "--aware", "0,11", "--svg"]).arg(&picture);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    for line in
        ["native         50  50  21    21", "Seattle host > Seattle           10  10   1     1"]
    {
        assert!(text.contains(line), "{text}");
    }
    let drawn = std::fs::read_to_string(&picture).unwrap();
    std::fs::remove_file(&picture).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
}

/// The network in memory, and the same one in namespaces.
struct Twin {
    lab: Lab,
    /// The only result.
    result: Value,
    /// By its name in the result: of a host, the node and its router.
    hosts: BTreeMap<String, (String, String)>,
    aware: Vec<String>,
}

/// What a node is called in the lab.
fn node(name: &str) -> String {
    let plain = |city: &str| city.to_lowercase().replace(' ', "-");
    match name.strip_suffix(" host") {
        Some(city) => format!("h-{}", plain(city)),
        None => plain(name),
    }
}

impl Twin {
    fn new(arguments: &str, joined: &str) -> Twin {
        let curve = bench(arguments);
        let result = each(&curve["results"]).find(|r| r["joined"] == joined).unwrap().clone();
        // There and back, one behind the other.
        let links: Vec<(&str, &str)> = each(&result["links"])
            .step_by(2)
            .map(|link| (text(&link["from"]), text(&link["to"])))
            .collect();
        let is_host = |(_, to): &&(&str, &str)| to.ends_with(" host");
        let hosts: BTreeMap<String, (String, String)> = links
            .iter()
            .filter(is_host)
            .map(|(router, host)| ((*router).to_owned(), (node(host), node(router))))
            .collect();
        let mut lab = Lab::new();
        let routers: Vec<String> = hosts.values().map(|(_, router)| router.clone()).collect();
        let ends: Vec<String> = hosts.values().map(|(host, _)| host.clone()).collect();
        lab.forwarders(&as_strs(&routers));
        lab.hosts(&as_strs(&ends));
        for (from, to) in &links {
            lab.link(&node(from), &node(to));
        }
        // The tie rule: of equally short paths the one without the link that comes last.
        let lengths: Vec<u64> = (0..links.len()).map(|at| (1 << 32) + (1 << at)).collect();
        let routing = Routing::shortest(&lab, &routers, &lengths);
        routing.install(routers.iter().chain(&ends).cloned());
        let aware = each(&result["routers"]).map(|router| node(text(router))).collect();
        Twin { lab, result, hosts, aware }
    }

    fn host_address(&self, city: &str) -> SocketAddr {
        let (host, router) = &self.hosts[city];
        SocketAddr::new(self.lab.address(host, router).into(), PORT)
    }

    /// The configuration of a router's tunnels, with the routes into them.
    fn tunnels(&self, router: &str) -> String {
        let own = |city: &str| {
            let (host, router) = &self.hosts[city];
            self.lab.end(router, host)
        };
        let mut more = String::new();
        for tunnel in each(&self.result["tunnels"]) {
            let (from, to) = (text(&tunnel["from"]), text(&tunnel["to"]));
            if node(from) != router {
                continue;
            }
            let (local, remote, name) = (own(from).address, own(to).address, node(to));
            more += &format!(
                "[[tunnel]]\nname = \"to-{name}\"\nkind = \"ipip\"\nlocal = \"{local}\"\n\
                 remote = \"{remote}\"\n"
            );
            for city in each(&tunnel["cities"]) {
                let [a, b, c, _] = own(text(city)).address.octets();
                more +=
                    &format!("[[route]]\nprefix = \"{a}.{b}.{c}.0/24\"\ntunnel = \"to-{name}\"\n");
            }
        }
        more
    }

    /// Waits until all routers know which of their neighbors speak Xcast, and all tunnels are up.
    fn settle(&self) {
        for (router, neighbor) in self.neighbors() {
            until(&format!("{router} knows that {neighbor} speaks Xcast"), || {
                let neighbors = self.lab.show(&router, "neighbors");
                let mut each = neighbors["neighbors"].as_array()?.iter();
                let is_known = |n: &Value| n["interface"] == *neighbor && n["xcast"] == "capable";
                each.any(is_known).then_some(())
            });
        }
        for router in &self.aware {
            until(&format!("the tunnels of {router} are up"), || {
                let tunnels = self.lab.show(router, "tunnels");
                let mut each = tunnels["tunnels"].as_array()?.iter();
                each.all(|tunnel| tunnel["state"] == "up").then_some(())
            });
        }
    }

    /// Routers that speak Xcast, with neighbors that do.
    fn neighbors(&self) -> Vec<(String, String)> {
        let ends = self.lab.links.iter().flat_map(|link| &link.ends);
        let both = ends
            .filter(|end| self.aware.contains(&end.node) && self.aware.contains(&end.interface));
        both.map(|end| (end.node.clone(), end.interface.clone())).collect()
    }

    /// One datagram to all: each receiver has it once, and every link as many packets as in memory.
    fn compare(&mut self) {
        let from = self.host_address("Seattle").ip();
        let cities: Vec<String> =
            self.hosts.keys().filter(|city| *city != "Seattle").cloned().collect();
        assert_eq!(cities.len(), 10);
        let to: Vec<SocketAddr> = cities.iter().map(|city| self.host_address(city)).collect();
        let receivers: Vec<_> = cities
            .iter()
            .zip(&to)
            .map(|(city, to)| self.lab.receiver(&self.hosts[city].0, *to))
            .collect();
        let captures = self.lab.capture_all();
        let list: Vec<String> = to.iter().map(SocketAddr::to_string).collect();
        let list = list.join(",");
        let words = format!("--to {list} --source-port {SOURCE_PORT} --text {PAYLOAD}");
        self.lab.send("h-seattle", &words);
        for receiver in &receivers {
            assert_receives(receiver, SocketAddr::new(from, SOURCE_PORT), PAYLOAD);
        }
        let has_payload =
            |packet: &&Vec<u8>| packet.windows(PAYLOAD.len()).any(|w| w == PAYLOAD.as_bytes());
        let links: Vec<&Value> = each(&self.result["links"]).collect();
        for (capture, ways) in captures.iter().zip(links.chunks(2)) {
            let found = capture.all_packets().iter().filter(has_payload).count() as u64;
            let expected: u64 = ways.iter().map(|way| number(&way["packets"])).sum();
            assert_eq!(found, expected, "{} and {}", ways[0]["from"], ways[0]["to"]);
        }
        self.aware.iter().for_each(|router| self.lab.assert_identity(router));
    }
}

#[test]
fn real_routers_without_tunnels_make_as_many_packets() {
    in_namespaces("real_routers_without_tunnels_make_as_many_packets", || {
        let mut twin = Twin::new("--aware 8", "native");
        twin.lab.start_routers(&as_strs(&twin.aware));
        twin.settle();
        twin.compare();
    });
}

#[test]
fn real_relays_with_tunnels_make_as_many_packets() {
    in_namespaces("real_relays_with_tunnels_make_as_many_packets", || {
        let mut twin = Twin::new("--aware 4 --order source", "backbone");
        let settings: Vec<String> = twin.aware.iter().map(|at| twin.tunnels(at)).collect();
        let both = twin.aware.iter().zip(&settings);
        let both: Vec<(&str, &str)> = both.map(|(at, more)| (at.as_str(), more.as_str())).collect();
        twin.lab.start_routers_with(&both);
        twin.settle();
        twin.compare();
    });
}

//! `xcast ping`, `xcast trace` and `xcast respond` through real routers and kernels.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;
#[allow(dead_code)]
#[path = "router_v6/tree.rs"]
mod tree;

#[path = "ping_trace/drawn.rs"]
mod drawn;
#[path = "ping_trace/ping.rs"]
mod ping;
#[path = "ping_trace/trace.rs"]
mod trace;
#[path = "ping_trace/usage.rs"]
mod usage;

use lab::process::{Ended, Process, Stream};
use lab::{EXPERIMENT_FILE, Lab, Version, xcast};
use tree::{Gateways, install_routes};

/// RFC 5058 figure 1; each host's one link is to the router beside it.
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
const ROUTERS: [&str; 9] = ["r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"];

/// A network with routes everywhere and routers on `routers`. Nodes that begin with another letter
/// than `r` or `p` are hosts, those with `p` plain routers, which know nothing of Xcast.
fn network(links: &[(&str, &str)], routers: &[&str]) -> Lab {
    let mut lab = Lab::dual_stack();
    let mut nodes: Vec<&str> = links.iter().flat_map(|(one, other)| [*one, *other]).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let (forwarders, hosts): (Vec<&str>, Vec<&str>) =
        nodes.into_iter().partition(|node| node.starts_with(['r', 'p']));
    lab.hosts(&hosts);
    lab.forwarders(&forwarders);
    for (one, other) in links {
        lab.link(one, other);
    }
    install_routes(&lab, Gateways::Global);
    lab.start_routers(routers);
    lab
}

/// The addresses of hosts that have one link.
fn list(lab: &Lab, version: Version, hosts: &[(&str, &str)]) -> String {
    let each = hosts.iter().map(|(host, router)| lab.address_of(version, host, router).to_string());
    each.collect::<Vec<_>>().join(",")
}

/// Runs a command that puts Xcast on the wire, to its end.
fn run(lab: &mut Lab, node: &str, arguments: &str) -> Ended {
    start(lab, node, arguments).finish()
}

fn start(lab: &mut Lab, node: &str, arguments: &str) -> Process {
    let mut command = xcast();
    command.args(arguments.split(' ')).args(["--experiment", EXPERIMENT_FILE]);
    lab.run(node, arguments.split(' ').next().unwrap(), &mut command)
}

/// Starts a responder, and waits until it listens.
fn respond(lab: &mut Lab, node: &str) -> Process {
    let responder = lab.run(node, "respond", xcast().arg("respond"));
    responder.log.wait_for(Stream::Error, "answering");
    responder
}

/// The one JSON object that a command has printed.
fn json(ended: &Ended) -> serde_json::Value {
    assert_eq!(ended.output.len(), 1, "{:?}", ended.errors);
    serde_json::from_str(&ended.output[0]).unwrap()
}

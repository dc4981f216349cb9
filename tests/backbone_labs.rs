//! The labs `netns-scripts/backbone` and `netns-scripts/nat`, as people run them: relays among plain
//! routers, and a host behind a masquerading router.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// What makes namespaces in which everything ends with the test, however it ends.
const UNSHARE: [&str; 8] =
    ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
/// A `/run` of its own, then the verbs, each with one line of JSON.
const SCRIPT: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run &&
    mkdir /run/netns && ip link set lo up &&
    \"$LAB\" up --suffix $SUFFIX --json &&
    \"$LAB\" status --suffix $SUFFIX --json &&
    \"$LAB\" run --suffix $SUFFIX --json $OPTIONS;
    status=$?; \"$LAB\" down --suffix $SUFFIX --json; exit $status";

fn run_lab(lab: &str, options: &str) -> Output {
    let mut command = Command::new(UNSHARE[0]);
    command
        .args(&UNSHARE[1..])
        .args(["bash", "-c", SCRIPT])
        .env("LAB", format!("{}/netns-scripts/{lab}", env!("CARGO_MANIFEST_DIR")))
        .env("XCAST", env!("CARGO_BIN_EXE_xcast"))
        .env("OPTIONS", options)
        .env("SUFFIX", format!("test{}", std::process::id()));
    command.output().unwrap()
}

/// Why this machine cannot run the lab, if so: no namespaces, or status 2 of its `up`.
fn refusal(output: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let never_began = output.stdout.is_empty() && said.contains("unshare");
    let lacks = output.status.code() == Some(2);
    (never_began || lacks).then_some(said)
}

/// Runs the lab and returns what its run has printed. Where the machine lacks something the test
/// says so and has nothing to check; on a machine that must not skip (`CI` is set) that fails it.
fn run(lab: &str, options: &str) -> Option<Value> {
    let output = run_lab(lab, options);
    if let Some(why) = refusal(&output) {
        assert!(std::env::var_os("CI").is_none(), "{lab}: {why}");
        // Not by a macro, whose output the test runner hides.
        let line = format!("SKIPPED the lab {lab}: {why}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}\n{text}", output.status);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [up, status, run, down] = &lines[..] else { panic!("four lines: {text}") };
    for each in [up, status] {
        assert_eq!((&each["lab"], &each["up"]), (&lab.into(), &true.into()));
        let hosts = each["hosts"].as_array().unwrap();
        let mut routers = hosts.iter().filter(|host| !host["router"].is_null());
        assert!(routers.all(|host| host["router"]["running"] == true), "{each}");
    }
    assert_eq!(down["up"], false);
    assert_eq!(run["errors"], json!([]));
    Some(run.clone())
}

/// Whatever happens, nothing arrives twice, no link has two of the same, and losses end.
fn check_events(events: &Value, expected: &[&str]) {
    let events = events.as_array().unwrap();
    let names: Vec<&str> = events.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(names, expected);
    for event in events {
        assert_eq!(event["duplicates"], 0, "{event}");
        assert_eq!(event["above-expectation"], 0, "{event}");
        assert!(event["outage-ms"].is_u64(), "{event}");
    }
}

/// What `backbone` has to come to on its network, by link and datagram: with the backbone, and by a
/// loop of unicast. Links that are not listed carry nothing; X4 is near to E alone, to whom X1 sends by
/// plain unicast.
const LINKS: [(&str, &str, u64, u64); 30] = [
    ("S", "P5", 1, 8),
    ("P5", "X1", 1, 0),
    ("X1", "P5", 4, 0),
    ("P5", "P1", 0, 1),
    ("P5", "P6", 2, 3),
    ("P5", "P9", 2, 4),
    ("P1", "P2", 0, 1),
    ("P6", "P7", 2, 3),
    ("P7", "P3", 1, 0),
    ("P7", "P8", 1, 2),
    ("P8", "P4", 0, 1),
    ("P3", "P2", 1, 0),
    ("P3", "P4", 1, 0),
    ("P9", "P10", 2, 4),
    ("P10", "P11", 1, 3),
    ("P11", "P12", 1, 3),
    ("P3", "X2", 1, 0),
    ("X2", "P3", 2, 0),
    ("P7", "X3", 1, 0),
    ("X3", "P7", 2, 0),
    ("P12", "X5", 1, 0),
    ("X5", "P12", 3, 0),
    ("P2", "A", 1, 1),
    ("P4", "B", 1, 1),
    ("P7", "C", 1, 1),
    ("P8", "D", 1, 1),
    ("P10", "E", 1, 1),
    ("P12", "F", 1, 1),
    ("P12", "G", 1, 1),
    ("P12", "H", 1, 1),
];

const COUNT: u64 = 20;

#[test]
fn relays_among_plain_routers_serve_all_and_pass_by_what_fails() {
    let Some(run) = run("backbone", &format!("--count {COUNT} --size 300")) else { return };
    let relays = run["relays"].as_object().unwrap();
    assert_eq!(relays.len(), 5);
    for (name, others) in relays {
        let others = others.as_object().unwrap();
        assert_eq!(others.len(), 4, "{name} has found all others: {others:?}");
        assert!(others.values().all(|other| other["state"] == "up"), "{others:?}");
    }
    let links = run["links"].as_array().unwrap();
    assert_eq!(links.len(), LINKS.len());
    for (from, to, with, without) in LINKS {
        let found = links.iter().find(|link| link["from"] == from && link["to"] == to);
        let packets = |key: &str| found.map_or(0, |link| link[key]["packets"].as_u64().unwrap());
        assert_eq!(packets("backbone"), with * COUNT, "with the backbone, {from} -> {to}");
        assert_eq!(packets("baseline"), without * COUNT, "by the loop, {from} -> {to}");
    }
    let receivers = run["receivers"].as_array().unwrap();
    assert_eq!(receivers.len(), 8);
    for receiver in receivers {
        assert_eq!((&receiver["received"], &receiver["duplicates"]), (&json!(COUNT), &json!(0)));
    }
    assert_eq!(run["reverse-path-drops"], 0);
    check_events(
        &run["outages"],
        &["X2 is killed", "X2 is started", "the link P3-P7 is cut", "the link P3-P7 is back"],
    );
}

#[test]
fn a_host_behind_a_masquerade_sends_and_receives_and_its_mapping_may_change() {
    let Some(run) = run("nat", "--count 200") else { return };
    assert_eq!(run["leases"], json!({"H": "10.99.7.1", "D": "10.99.7.2"}));
    assert_eq!(run["unicast-from"], "10.3.5.5");
    for (way, ports) in [("out", [40, 41]), ("in", [41, 42])] {
        for (at, ports) in ports.into_iter().enumerate() {
            let seen = run["seen"][way][at].as_str().unwrap();
            let (address, port) = seen.split_once(':').unwrap();
            let port: u32 = port.parse().unwrap();
            assert_eq!((address, port / 1000), ("10.2.3.2", ports), "{way}, {at}");
        }
    }
    check_events(
        &run["events"],
        &["out: a stream", "out: the mapping changes", "in: a stream", "in: the mapping changes"],
    );
}

//! The lab `netns-scripts/mixed`, as people run it: up, status, run, down, as root and as somebody
//! who is not.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Output};

use serde_json::Value;

const COUNT: u64 = 5;
const SIZE: u64 = 300;
/// Whoever this is, it is not root.
const NOBODY: &str = "65534";

/// Each link, whether it carries one Xcast copy for all behind it, and how many receivers are.
const LINKS: [(&str, &str, bool, u64); 15] = [
    ("A", "R1", true, 7),
    ("R1", "R2", true, 2),
    ("R2", "B", false, 1),
    ("R2", "C", false, 1),
    ("R1", "R3", true, 5),
    // S1 and S2 know no Xcast: what lies behind them leaves as unicast early.
    ("R3", "S1", false, 2),
    ("S1", "R4", false, 2),
    ("R4", "D", false, 1),
    ("R4", "E", false, 1),
    ("R3", "R5", true, 3),
    ("R5", "R6", true, 3),
    ("R6", "F", false, 1),
    ("R6", "S2", false, 2),
    ("S2", "G", false, 1),
    ("S2", "H", false, 1),
];
/// Octets of a packet beside its payload: by IP version, in Xcast form with seven destinations,
/// and as unicast.
const HEADERS: [(&str, u64, u64); 2] =
    [("ipv4", 20 + 12 + 4 + 7 * 4 + 8, 20 + 8), ("ipv6", 40 + 24 + 8 + 7 * 16 + 8, 40 + 8)];

/// What makes namespaces in which everything ends with the test, however it ends.
const UNSHARE: [&str; 8] =
    ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
/// A `/run` of their own.
const PREPARE: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run &&
    mkdir /run/netns && ip link set lo up";
/// Everything that somebody else needs, where that somebody can read it.
const COPY: &str = "mkdir /run/lab && cp -r \"$SCRIPTS\" /run/lab/scripts &&
    cp \"$XCAST\" /run/lab/xcast && chmod -R a+rX /run/lab &&
    install -d -o \"$NOBODY\" -g \"$NOBODY\" -m 700 /run/home";
/// The verbs, each with one line of JSON.
const VERBS: &str = "\"$LAB\" up --suffix $SUFFIX --json &&
    \"$LAB\" status --suffix $SUFFIX --json &&
    \"$LAB\" run --suffix $SUFFIX --json --count $COUNT --size $SIZE;
    status=$?; \"$LAB\" down --suffix $SUFFIX --json; exit $status";

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

/// Runs a shell script with what it needs to know of the lab.
fn shell(before: &[&str], script: &str) -> Output {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/netns-scripts");
    let words = [before, &["bash", "-c", script]].concat();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env("SCRIPTS", scripts)
        .env("LAB", format!("{scripts}/mixed"))
        .env("XCAST", env!("CARGO_BIN_EXE_xcast"))
        .env("NOBODY", NOBODY)
        .env("SUFFIX", format!("test{}", std::process::id()))
        .env("COUNT", COUNT.to_string())
        .env("SIZE", SIZE.to_string());
    command.output().unwrap()
}

/// Why this machine cannot run a lab, if so: the lab says it with a status of its own.
fn refusal(output: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let no_namespaces = said.contains("namespace") || said.contains("unshare failed");
    (output.status.code() != Some(0) && no_namespaces && output.stdout.is_empty()).then_some(said)
}

/// Checks what the verbs have printed. Where the machine allows no namespaces the test says so
/// and does nothing; on a machine that must not skip (`CI` is set) that fails it.
fn check(test: &str, output: &Output) {
    if let Some(why) = refusal(output) {
        assert!(std::env::var_os("CI").is_none(), "{test}: {why}");
        // Not by a macro, whose output the test runner hides.
        let line = format!("SKIPPED {test}: no namespaces here: {why}\n");
        return std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [up, status, run, down] = &lines[..] else { panic!("four lines: {text}") };
    check_status(up);
    check_status(status);
    check_run(run);
    assert_eq!(down["up"], false);
}

fn check_status(status: &Value) {
    assert_eq!((&status["lab"], &status["up"]), (&"mixed".into(), &true.into()));
    let hosts = status["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 16);
    let routers = hosts.iter().filter(|host| !host["router"].is_null());
    assert!(routers.clone().all(|host| host["router"]["running"] == true), "{status}");
    assert_eq!(routers.count(), 6);
    let stock = hosts.iter().filter(|host| host["router"].is_null() && host["forwards"] == true);
    let stock: Vec<&str> = stock.map(|host| host["name"].as_str().unwrap()).collect();
    assert_eq!(stock, ["S1", "S2"]);
    let narrow = status["links"].as_array().unwrap().iter().filter(|link| link["mtu"] == 1280);
    let narrow: Vec<&Value> = narrow.map(|link| &link["ends"]).collect();
    assert_eq!(narrow, [&Value::from(["R5", "R6"].as_slice())]);
}

fn check_run(run: &Value) {
    assert_eq!(run["errors"], Value::Array(Vec::new()));
    assert_eq!((&run["count"], &run["size"]), (&COUNT.into(), &SIZE.into()));
    let links = run["links"].as_array().unwrap();
    assert_eq!(links.len(), LINKS.len());
    for (link, (from, to, is_xcast, behind)) in links.iter().zip(LINKS) {
        assert_eq!((&link["from"], &link["to"]), (&from.into(), &to.into()));
        for (version, xcast_header, unicast_header) in HEADERS {
            let amount = |form: &str, packets: u64, header: u64| {
                let bytes = packets * (header + SIZE);
                let expected = serde_json::json!({"packets": packets, "bytes": bytes});
                assert_eq!(link[version][form], expected, "{form}, {version}, {from} -> {to}");
            };
            amount("xcast", if is_xcast { COUNT } else { 0 }, xcast_header);
            amount("unicast", if is_xcast { 0 } else { behind * COUNT }, unicast_header);
            amount("baseline", behind * COUNT, unicast_header);
        }
    }
    let receivers = run["receivers"].as_array().unwrap();
    let names: Vec<&str> = receivers.iter().map(|one| one["host"].as_str().unwrap()).collect();
    assert_eq!(names, ["B", "C", "D", "E", "F", "G", "H"]);
    for (receiver, (version, ..)) in receivers.iter().flat_map(|one| HEADERS.map(|h| (one, h))) {
        let counts = &receiver[version];
        for key in ["received", "baseline-received"] {
            assert_eq!(counts[key], COUNT, "{key} of {receiver}");
        }
        assert_eq!((&counts["wrong-size"], &counts["baseline-wrong-size"]), (&0.into(), &0.into()));
    }
}

#[test]
fn everyone_receives_everything_over_both_versions() {
    let name = "everyone_receives_everything_over_both_versions";
    // Without root the lab makes a user namespace of its own.
    let output = match is_root() {
        true => shell(&UNSHARE, &format!("{PREPARE} && {VERBS}")),
        false => shell(&[], VERBS),
    };
    check(name, &output);
}

#[test]
fn the_lab_needs_no_root() {
    if !is_root() {
        return; // the other test has shown it
    }
    let user = "setpriv --reuid $NOBODY --regid $NOBODY --clear-groups env HOME=/run/home \
                XDG_RUNTIME_DIR=/run/home XCAST=/run/lab/xcast LAB=/run/lab/scripts/mixed bash -c";
    let script = format!("{PREPARE} && {COPY} && cd / && {user} '{VERBS}'");
    check("the_lab_needs_no_root", &shell(&UNSHARE, &script));
}

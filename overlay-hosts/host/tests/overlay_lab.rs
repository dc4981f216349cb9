//! The lab `netns-scripts/overlay`, as people run it: 24 hosts in four localities behind Xcast routers, with the
//! delays of a wide network.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const OVERLAY_HOST: &str = env!("CARGO_BIN_EXE_overlay-host");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// What makes namespaces in which everything ends with the test, however it ends.
const UNSHARE: [&str; 8] =
    ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
/// A `/run` of its own, then the verbs, each with one line of JSON.
const SCRIPT: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run &&
    mkdir /run/netns && ip link set lo up &&
    \"$LAB\" up --suffix $SUFFIX --json &&
    \"$LAB\" status --suffix $SUFFIX --json &&
    \"$LAB\" run --suffix $SUFFIX --json;
    status=$?; \"$LAB\" down --suffix $SUFFIX --json; exit $status";

/// The router's program, which lies beside the one under test where the workspace was built.
fn xcast() -> PathBuf {
    let beside = Path::new(OVERLAY_HOST).with_file_name("xcast");
    if !beside.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--quiet", "--package", "xcast", "--bin", "xcast"]);
        assert!(cargo.current_dir(ROOT).status().unwrap().success(), "xcast does not build");
    }
    beside
}

fn run_lab() -> Output {
    let mut command = Command::new(UNSHARE[0]);
    command
        .args(&UNSHARE[1..])
        .args(["bash", "-c", SCRIPT])
        .env("LAB", format!("{ROOT}/netns-scripts/overlay"))
        .env("XCAST", xcast())
        .env("OVERLAY_HOST", OVERLAY_HOST)
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

#[test]
fn overlay_hosts_find_their_localities_and_keep_every_value_while_a_router_dies() {
    let output = run_lab();
    if let Some(why) = refusal(&output) {
        assert!(std::env::var_os("CI").is_none(), "the lab overlay: {why}");
        // Not by a macro, whose output the test runner hides.
        let line = format!("SKIPPED the lab overlay: {why}\n");
        return std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}\n{text}", output.status);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [up, status, run, down] = &lines[..] else { panic!("four lines: {text}") };
    for each in [up, status] {
        assert_eq!((&each["lab"], &each["up"]), (&"overlay".into(), &true.into()));
        let hosts = each["hosts"].as_array().unwrap();
        let running =
            |kind: &str| hosts.iter().filter(|host| host[kind]["running"] == true).count();
        assert_eq!((hosts.len(), running("router"), running("peer")), (30, 6, 24), "{each}");
    }
    assert_eq!((&down["up"], &run["errors"]), (&false.into(), &json!([])));

    for each in run["round-trips"].as_array().unwrap() {
        assert!(each["microseconds"].as_u64() >= each["links-alone"].as_u64(), "{each}");
    }
    // One copy on each of the 29 links.
    let count = run["count"].as_u64().unwrap();
    assert_eq!(run["totals"]["xcast"]["packets"], 29 * count);
    check_overlay(&run["overlay"]);
}

fn check_overlay(overlay: &Value) {
    let groups = overlay["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 4, "{overlay}");
    for group in groups {
        let members = group["members"].as_array().unwrap();
        let localities = members.iter().map(|member| &member.as_str().unwrap()[..1]);
        assert_eq!((members.len(), localities.collect::<BTreeSet<_>>().len()), (6, 1), "{group}");
    }
    let operations = overlay["operations"].as_array().unwrap();
    assert_eq!(operations.len(), 9);
    for each in operations.iter().filter(|each| each["round"] != "killed") {
        assert_eq!(each["failed"], 0, "{each}");
    }
    let sent = |transport: &str, form: &str| overlay["sent"][transport][form]["packets"].as_u64();
    assert!(sent("auto", "xcast") > Some(0), "{overlay}");
    assert_eq!(sent("unicast", "xcast"), Some(0), "{overlay}");
    assert!(sent("auto", "unicast") < sent("unicast", "unicast"), "{overlay}");
}

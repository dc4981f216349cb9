//! The lab `netns-scripts/overlay` beside the simulator: what operations find is the same, and packets on busy
//! links are nearly as many.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const OVERLAY_HOST: &str = env!("CARGO_BIN_EXE_overlay-host");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// What makes namespaces in which everything ends with the test, however it ends.
const UNSHARE: [&str; 8] =
    ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
/// A `/run` of its own, then the comparison.
const SCRIPT: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run &&
    mkdir /run/netns && ip link set lo up &&
    exec \"$LAB\" run --suffix $SUFFIX --compare both --window 30s --json";
/// Packets from which on a link counts, and by how many thousandths both may differ.
const PACKETS_MIN: u64 = 1_000;
const DIFFERENCE_MAX: f64 = 20.0;

/// Another program of this workspace, which lies beside the one under test where all was built.
fn program(package: &str, name: &str) -> PathBuf {
    let beside = Path::new(OVERLAY_HOST).with_file_name(name);
    if !beside.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--quiet", "--package", package, "--bin", name]);
        assert!(cargo.current_dir(ROOT).status().unwrap().success(), "{name} does not build");
    }
    beside
}

#[test]
fn the_simulated_lab_finds_the_same_and_sends_as_many_packets_as_the_lab_itself() {
    let mut command = Command::new(UNSHARE[0]);
    command
        .args(&UNSHARE[1..])
        .args(["bash", "-c", SCRIPT])
        .env("LAB", format!("{ROOT}/netns-scripts/overlay"))
        .env("XCAST", program("xcast", "xcast"))
        .env("OVERLAY_SIM", program("overlay-simulator", "overlay-sim"))
        .env("OVERLAY_HOST", OVERLAY_HOST)
        .env("SUFFIX", format!("both{}", std::process::id()));
    let output = command.output().unwrap();
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // No namespaces, or something else that this machine lacks.
    let never_began = output.stdout.is_empty() && errors.contains("unshare");
    if never_began || output.status.code() == Some(2) {
        assert!(std::env::var_os("CI").is_none(), "the lab overlay: {errors}");
        // Not by a macro, whose output the test runner hides.
        let line = format!("SKIPPED the lab overlay beside the simulator: {errors}\n");
        return std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    assert!(output.status.success(), "{}\n{errors}\n{text}", output.status);
    let report: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(report["errors"], json!([]));
    let compared = report["compared"].as_array().unwrap();
    assert_eq!(compared.len(), 2, "{report}");
    for each in compared {
        assert_eq!((&each["same-answers"], &each["operations"]), (&true.into(), &30.into()));
        let links = each["links"].as_array().unwrap();
        assert_eq!(links.len(), 2 * 29, "both directions");
        let busy = links.iter().filter(|link| {
            link["lab"].as_u64() >= Some(PACKETS_MIN)
                || link["simulator"].as_u64() >= Some(PACKETS_MIN)
        });
        let mut count = 0;
        for link in busy {
            count += 1;
            assert!(link["thousandths"].as_f64().unwrap().abs() <= DIFFERENCE_MAX, "{link}");
        }
        // Links to hosts at least: each gets 60 heartbeats of all others.
        assert!(count >= 24, "{each}");
    }
}

//! The lab `netns-scripts/overlay --multicast`: 24 hosts gather what they have, one sends to 15 others by a tree
//! that is planned on it, and two hosts crash on the way.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub, dead_code)]
mod programs;

use serde_json::{Value, json};

/// Ten lines a second, or nearly.
const LINES_MIN: u64 = 200;

#[test]
fn a_stream_goes_on_past_crashes_of_hosts_that_forward_and_of_the_pool_s_root() {
    let script = "exec \"$LAB\" run --suffix $SUFFIX --multicast 30s --json";
    let Some(text) = programs::run_overlay_lab("multicast", script) else { return };
    let report: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(report["errors"], json!([]));
    let killed = report["killed"].as_array().unwrap();
    assert_eq!(killed.len(), 2, "{report}");
    assert!(!killed.contains(&report["source"]), "{report}");
    let members = report["members"].as_array().unwrap();
    // Who only helps is no member: the fifth and sixth hosts of all localities.
    let is_member = |host: &&Value| !host.as_str().unwrap().ends_with(['5', '6']);
    assert_eq!(members.len(), 15 - killed.iter().filter(is_member).count(), "{report}");
    let lines = report["lines"].as_u64();
    assert!(lines >= Some(LINES_MIN), "{report}");
    for member in members {
        let of = |key: &str| member[key].as_u64();
        assert_eq!(
            (of("lines"), of("missing"), of("twice")),
            (lines, Some(0), Some(0)),
            "{member}"
        );
        assert!(of("worst-ms") <= Some(10_000), "{member}");
    }
    let switches = members.iter().filter_map(|member| member["switches"].as_u64()).sum::<u64>();
    assert!(switches > 0, "nobody has lost its parent: {report}");
}

//! The lab `netns-scripts/overlay` beside the simulator: what operations find is the same, and packets on busy
//! links are nearly as many.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub, dead_code)]
mod programs;

use serde_json::{Value, json};

/// Packets from which on a link counts, and by how many thousandths both may differ.
const PACKETS_MIN: u64 = 1_000;
const DIFFERENCE_MAX: f64 = 20.0;

#[test]
fn the_simulated_lab_finds_the_same_and_sends_as_many_packets_as_the_lab_itself() {
    let script = "exec \"$LAB\" run --suffix $SUFFIX --compare both --window 30s --json";
    let Some(text) = programs::run_overlay_lab("both", script) else { return };
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

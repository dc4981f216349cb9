//! The lab `netns-scripts/overlay`, as people run it: 24 hosts in four localities behind Xcast routers, with the
//! delays of a wide network.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub, dead_code)]
mod programs;

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// The verbs, each with one line of JSON.
const SCRIPT: &str = "\"$LAB\" up --suffix $SUFFIX --json &&
    \"$LAB\" status --suffix $SUFFIX --json &&
    \"$LAB\" run --suffix $SUFFIX --json;
    status=$?; \"$LAB\" down --suffix $SUFFIX --json; exit $status";

#[test]
fn overlay_hosts_find_their_localities_and_keep_every_value_while_a_router_dies() {
    let Some(text) = programs::run_overlay_lab("test", SCRIPT) else { return };
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

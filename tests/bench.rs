//! `xcast bench netns` in short: every method works here, and what is printed has its shape. No
//! figure is looked at.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

const METHODS: [&str; 9] = [
    "router-packet",
    "router-auto",
    "router-xdp",
    "copy-loop-packet",
    "copy-loop-auto",
    "mroute-pinned",
    "mroute-inline",
    "kernel-unicast",
    "sendto-loop",
];

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xcast"));
    command.args(["bench", "netns"]).args(arguments).output().unwrap()
}

/// The object that a benchmark printed; `None` where the kernel refuses namespaces, on a machine
/// that may skip tests.
fn measured(arguments: &[&str]) -> Option<Value> {
    let Output { status, stdout, stderr } = bench(arguments);
    let stderr = String::from_utf8_lossy(&stderr);
    if stderr.contains("cannot make network namespaces") && std::env::var_os("CI").is_none() {
        eprintln!("SKIPPED: {stderr}");
        return None;
    }
    assert!(status.success(), "{status}: {stderr}");
    assert_eq!(stderr, "", "nobody looks at the progress here");
    Some(serde_json::from_slice(&stdout).unwrap())
}

// One test: measurements at the same time would be in each other's way.
#[test]
fn every_method_delivers_in_both_forms() {
    let picture = std::env::temp_dir().join(format!("xcast-bench-{}.svg", std::process::id()));
    let short = ["--fan-out", "2", "--rounds", "1", "--seconds", "0.2", "--latency", "--json"];
    let svg = ["--svg", picture.to_str().unwrap()];
    let Some(all) = measured(&[&short[..], &svg].concat()) else { return };
    let results = all["results"].as_array().unwrap();
    let methods: Vec<&str> = results.iter().map(|r| r["method"].as_str().unwrap()).collect();
    assert_eq!(methods, METHODS);
    results.iter().for_each(check);
    let drawn = std::fs::read_to_string(&picture).unwrap();
    std::fs::remove_file(&picture).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
    assert!(METHODS.iter().all(|method| drawn.contains(method)));

    let xcast = ["--form", "xcast", "--methods", "router-auto,copy-loop-packet"];
    let all = measured(&[&short[..], &xcast].concat()).unwrap();
    assert_eq!(all["form"], "xcast");
    let results = all["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        check(result);
        assert_eq!(result["ratio"], Value::Null, "there is nothing to compare with");
    }
}

fn check(result: &Value) {
    assert_eq!(result["fan-out"], 2);
    assert_eq!(result["error"], Value::Null, "{result}");
    for key in ["packets-in-per-second", "replicas-per-second", "loss", "core-busy"] {
        let [median, min, max] =
            ["median", "min", "max"].map(|part| result[key][part].as_f64().unwrap());
        assert!(0.0 <= min && min <= median && median <= max, "{result}");
    }
    assert!(result["replicas-per-second"]["min"].as_f64().unwrap() > 0.0, "{result}");
    let copies = !["kernel-unicast", "sendto-loop"].contains(&result["method"].as_str().unwrap());
    let latency = &result["latency-microseconds"];
    assert_eq!(latency.is_object(), copies, "{result}");
    if copies {
        let [p50, p99, max] = ["p50", "p99", "max"].map(|key| latency[key].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{result}");
    }
}

#[test]
fn wrong_usage_is_said_before_anything_is_measured() {
    for arguments in [
        &["--fan-out", "0"][..],
        &["--fan-out", "32"],
        &["--seconds", "0"],
        &["--payload", "7"],
        &["--methods", "guess"],
        &["--fan-out", "31", "--payload", "1400", "--form", "xcast"],
    ] {
        let Output { status, stdout, .. } = bench(arguments);
        assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{arguments:?}");
    }
}

//! `xcast bench` in short: everything it measures works here, and what is printed has its shape. No
//! time is looked at.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Measurements at the same time would be in each other's way.
static ALONE: Mutex<()> = Mutex::new(());

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

#[test]
fn every_method_delivers_in_both_forms() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
    for arguments in [
        &["lookup", "--routes", "0"][..],
        &["lookup", "--rounds", "0"],
        &["updates", "--fib", "guess"],
        &["updates", "--seconds", "0"],
        &["updates", "--rate", "0"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xcast"));
        let output = command.arg("bench").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

fn measured_in_memory(arguments: &[&str]) -> Value {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xcast"));
    let output = command.arg("bench").args(arguments).arg("--json").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{}: {stderr}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The numbers that belong to these keys; each is as large as the one before, at least.
fn ascending(object: &Value, keys: &[&str]) -> Vec<f64> {
    let numbers: Vec<f64> = keys.iter().map(|key| object[key].as_f64().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers[0] >= 0.0, "{object}");
    numbers
}

#[test]
fn all_tables_answer_as_the_slow_one_does() {
    let arguments = ["lookup", "--routes", "3000", "--routes-v6", "2000", "--rounds", "1"];
    let all = measured_in_memory(&arguments);
    let tables = all["tables"].as_array().unwrap();
    let names = tables.iter().map(|table| (&table["fib"], &table["family"], &table["routes"]));
    let names: Vec<_> =
        names.map(|(fib, family, routes)| format!("{fib} {family} {routes}")).collect();
    let expected =
        [r#""poptrie" "ipv4" 3000"#, r#""dir24" "ipv4" 3000"#, r#""poptrie" "ipv6" 2000"#];
    assert_eq!(names, expected);
    for table in tables {
        assert!(table["checked"].as_u64().unwrap() >= 400_000, "{table}");
        assert_eq!(table["wrong"], 0, "{table}");
        assert!(table["bytes-per-route"].as_f64().unwrap() > 0.0, "{table}");
        assert!(table["two-generations"].as_f64().unwrap() >= 1.0, "{table}");
        let rows = table["rows"].as_array().unwrap();
        let kinds: Vec<_> = rows.iter().map(|row| row["addresses"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["hit", "hot", "random", "memory"]);
        rows.iter().for_each(|row| {
            ascending(&row["nanoseconds"], &["min", "median", "max"]);
        });
    }
}

#[test]
fn changes_reach_a_worker_that_forwards() {
    for fib in ["poptrie", "dir24"] {
        let short = ["updates", "--routes", "3000", "--seconds", "0.3", "--rate", "500"];
        let all = measured_in_memory(&[&short[..], &["--fib", fib]].concat());
        assert_eq!(all["fib"], fib);
        let load = &all["load"];
        assert!(load["resident-bytes-before"].as_u64().unwrap() > 0, "{all}");
        assert!(load["bytes-per-route"].as_f64().unwrap() > 0.0, "{all}");
        assert_eq!(all["change-microseconds"]["count"], 1000);
        assert_eq!(all["publish-microseconds"]["count"], all["generations-published"]);
        assert!(all["changes-per-second"].as_f64().unwrap() > 0.0, "{all}");
        ascending(&all, &["generations-taken-up", "generations-published"]);
        assert!(all["generations-published"].as_u64().unwrap() > 0, "{all}");
        let gaps = &all["gap-microseconds"];
        for times in [&all["change-microseconds"], &gaps["without-changes"], &gaps["with-changes"]]
        {
            assert!(times["count"].as_u64().unwrap() > 0, "{all}");
            ascending(times, &["p50", "p99", "p99.9", "max"]);
        }
        assert!(gaps["added-at-p99.9"].is_f64(), "{all}");
    }
}

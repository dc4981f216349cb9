//! Who answers, how, and why not.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::{Version, ip_batch};
use crate::support::in_namespaces;
use crate::{LINKS, ROUTERS, json, list, network, respond, run, start};

const HOSTS: [(&str, &str); 3] = [("b", "r4"), ("c", "r8"), ("d", "r9")];

/// What `ping --json` says of an address.
fn record<'a>(value: &'a Value, address: &str) -> &'a Value {
    let mut each = value["destinations"].as_array().unwrap().iter();
    each.find(|record| record["address"] == address).unwrap()
}

fn assert_answered(record: &Value, count: u64, by: &str) {
    assert_eq!((&record["sent"], &record["received"]), (&count.into(), &count.into()), "{record}");
    assert_eq!(record["loss"].as_f64(), Some(0.0), "{record}");
    let times = ["rtt-min-ms", "rtt-avg-ms", "rtt-max-ms"].map(|key| record[key].as_f64().unwrap());
    assert!(times[0] > 0.0 && times.is_sorted(), "{record}");
    assert_eq!(record["by"], serde_json::json!([by]), "{record}");
    assert_eq!(record["duplicates"], 0, "{record}");
}

fn assert_silent(record: &Value, count: u64, why: &str) {
    assert_eq!((&record["sent"], &record["received"]), (&count.into(), &0.into()), "{record}");
    assert_eq!(record["loss"].as_f64(), Some(1.0), "{record}");
    for key in ["rtt-min-ms", "rtt-avg-ms", "rtt-max-ms"] {
        assert_eq!(record[key], Value::Null, "{record}");
    }
    assert_eq!(record["by"], serde_json::json!([]), "{record}");
    let notes = record["notes"].as_object().unwrap();
    assert!(notes.keys().any(|note| note.starts_with(why)), "{record}");
}

#[test]
fn hosts_answer_by_udp_or_icmp_and_silence_has_a_reason() {
    in_namespaces("ping::hosts_answer_by_udp_or_icmp_and_silence_has_a_reason", || {
        let mut lab = network(&LINKS, &ROUTERS);
        let _responder = respond(&mut lab, "b");
        for version in [Version::V4, Version::V6] {
            let hosts = list(&lab, version, &HOSTS);
            let ended = run(
                &mut lab,
                "a",
                &format!("ping --json --count 3 --interval 50ms --timeout 20s --to {hosts}"),
            );
            assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
            let value = json(&ended);
            for ((host, router), by) in HOSTS.iter().zip(["udp", "icmp", "icmp"]) {
                let address = lab.address_of(version, host, router).to_string();
                assert_answered(record(&value, &address), 3, by);
            }
        }
        // 99 is nobody, and 192.0.2.1 is nowhere.
        let hosts = list(&lab, Version::V4, &HOSTS);
        let nobody = format!("10.9.{}.99", lab.end("b", "r4").address.octets()[2]);
        let command = format!(
            "ping --json --count 2 --interval 50ms --timeout 5s --to {hosts},{nobody},192.0.2.1"
        );
        // A host is given up after three seconds; waiting longer is of no use.
        let ended = run(&mut lab, "a", &command);
        assert_eq!(ended.status, Some(1), "{:?}", ended.errors);
        assert_eq!(ended.errors, [format!("xcast: no answer from {nobody}, 192.0.2.1")]);
        let value = json(&ended);
        let by = lab.address("r4", "r3");
        assert_silent(record(&value, &nobody), 2, &format!("host-unreachable at {by}"));
        assert_silent(record(&value, "192.0.2.1"), 2, "no-route");
        for ((host, router), by) in HOSTS.iter().zip(["udp", "icmp", "icmp"]) {
            assert_answered(record(&value, &lab.address(host, router).to_string()), 2, by);
        }
    });
}

#[test]
fn what_this_host_cannot_send_is_told_too() {
    in_namespaces("ping::what_this_host_cannot_send_is_told_too", || {
        let mut lab = network(&[("a", "b")], &[]);
        let there = lab.address("b", "a").to_string();
        let nobody = there.replace(".2", ".77");
        let ended =
            run(&mut lab, "a", &format!("ping --json --count 1 --timeout 1ms --to {nobody}"));
        assert_eq!(ended.status, Some(1));
        assert_silent(record(&json(&ended), &nobody), 1, "neighbor-unresolved");
        let ended =
            run(&mut lab, "a", "ping --json --count 2 --interval 1ms --to 192.0.2.1,2001:db8::1");
        assert_eq!(ended.status, Some(1));
        assert_silent(record(&json(&ended), "192.0.2.1"), 2, "no-route");
        assert_silent(record(&json(&ended), "2001:db8::1"), 2, "no-route");
        let ended = run(&mut lab, "a", &format!("ping --json --count 1 --size 2000 --to {there}"));
        assert_eq!(ended.status, Some(1));
        assert_silent(record(&json(&ended), &there), 1, "too-big");
        let ended =
            run(&mut lab, "a", &format!("ping --count 1 --size 1400 --timeout 20s --to {there}"));
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        let words: Vec<&str> = ended.output[1].split_whitespace().collect();
        assert_eq!(words[..4], [there.as_str(), "1", "1", "0%"]);
        assert_eq!(words[7..], ["icmp"]);
    });
}

/// IPv6 addresses can be used at once.
fn own_options(address: &str) -> &str {
    if address.contains(':') { " nodad" } else { "" }
}

/// More destinations than a list holds, at one host: each answers from the address that was asked,
/// and all at once would be too many.
#[test]
fn a_responder_answers_for_each_of_its_addresses() {
    in_namespaces("ping::a_responder_answers_for_each_of_its_addresses", || {
        let mut lab = network(&[("a", "r1"), ("r1", "b")], &["r1"]);
        let net = lab.address("b", "r1").octets()[2];
        // A router waits for 256 neighbors at once.
        let v4 = (100..230).map(|host| format!("10.9.{net}.{host}"));
        let v6 = (100..200).map(|host| format!("fd00:9:{net:x}::{host}"));
        let all: Vec<String> = v4.chain(v6).collect();
        let lines: String = all
            .iter()
            .map(|own| format!("address add {own} dev r1{}\n", own_options(own)))
            .collect();
        ip_batch(&["-n", "b"], &lines);
        let _responder = respond(&mut lab, "b");
        let command =
            format!("ping --json --count 2 --interval 400ms --timeout 20s --to {}", all.join(","));
        let ended = run(&mut lab, "a", &command);
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
        let value = json(&ended);
        assert_eq!(value["destinations"].as_array().unwrap().len(), all.len());
        for address in &all {
            assert_answered(record(&value, address), 2, "udp");
        }
    });
}

#[test]
fn an_interrupted_ping_shows_what_it_has() {
    in_namespaces("ping::an_interrupted_ping_shows_what_it_has", || {
        let mut lab = network(&[("a", "b")], &[]);
        let there = lab.address("b", "a");
        let receiver = lab.receiver("b", SocketAddr::new(there.into(), 9000));
        let command = format!("ping --json --count 1000 --interval 60s --port 9000 --to {there}");
        let ping = start(&mut lab, "a", &command);
        let mut buffer = [0; 100];
        let (length, _) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((length, &buffer[..4]), (56, &b"XCPG"[..]));
        ping.signal(Signal::SIGINT);
        let ended = ping.finish();
        assert_eq!(ended.status, Some(1), "{:?}", ended.errors);
        assert_eq!(record(&json(&ended), &there.to_string())["sent"], 1);
    });
}

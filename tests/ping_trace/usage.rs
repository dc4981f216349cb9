//! What is wrong usage, and what is a missing experiment.

use std::process::Command;

use crate::lab::xcast;

/// Exit status and complaint.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_usage_ends_with_status_2() {
    for words in [
        "ping",
        "trace",
        "ping --to 10.0.0",
        "ping --to 10.0.0.1, --count 1",
        "ping --to 10.0.0.1 --count 0",
        "ping --to 10.0.0.1 --ttl 0",
        "ping --to 10.0.0.1 --ttl 256",
        "ping --to 10.0.0.1 --interval soon",
        "ping --to 10.0.0.1 --port 0",
        "trace --to 10.0.0.1 --format gif",
        "trace --to 10.0.0.1 --tries 0",
        "trace --to 10.0.0.1 --json --format svg",
        "respond --rate 0",
        "respond --bind here",
    ] {
        let (status, complaint) = refused(xcast().args(words.split(' ')));
        assert_eq!(status, Some(2), "{words}: {complaint}");
    }
}

#[test]
fn code_points_are_never_a_default() {
    for tool in ["ping", "trace"] {
        let mut command = xcast();
        command.args([tool, "--to", "127.0.0.1", "--experiment", "/nowhere/at-all.toml"]);
        let (status, complaint) = refused(&mut command);
        assert_eq!(status, Some(2));
        assert!(complaint.contains("ip-protocol"), "{complaint}");
    }
}

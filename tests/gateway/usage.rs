//! What is wrong usage, and what is a missing experiment.

use crate::gateway;

/// Exit status and complaint.
fn refused(arguments: &str) -> (Option<i32>, String) {
    let output = gateway(arguments);
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_usage_ends_with_status_2_and_says_why() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/router-config/examples/experiment.toml");
    for (arguments, why) in [
        ("--to 10.0.0.1", "--listen"),
        ("--listen 0.0.0.0:5004", "--to"),
        ("--listen 0.0.0.0 --to 10.0.0.1", "invalid"),
        ("--listen 0.0.0.0:0 --to 10.0.0.1", "not 0"),
        ("--listen 0.0.0.0:5004 --to 10.0.0.1 --ttl 0", "--ttl"),
        ("--listen 0.0.0.0:5004 --to 10.0.0.1 --dscp 64", "--dscp"),
        ("--listen 0.0.0.0:5004 --to 10.0.0.1 --channel x", "--channel"),
        ("--listen 0.0.0.0:5004 --to 10.0.0.1 --name a/b", "--name"),
        ("--listen 0.0.0.0:5004 --to 10.0.0.1 --emit 239.1.1.1:5004", "--emit"),
        ("--listen 0.0.0.0:5004 --emit 239.1.1.1:5004 --channel 7", "--channel"),
        ("--listen 0.0.0.0:5004 --to 10.0.0.1 --interface lo", "says where a group is"),
        ("--listen 239.1.1.1:5004 --to 10.0.0.1 --interface nowhere", "`nowhere`"),
        ("--listen 239.1.1.1:5004 --emit 239.1.1.1:5004", "would hear itself"),
        ("--listen [ff02::1:1]:5004 --emit [ff02::1:1]:5004", "would hear itself"),
        ("--listen 0.0.0.0:5004 --emit 127.0.0.1:5004", "would hear itself"),
        ("--listen 0.0.0.0:5004 --emit 239.1.1.1:0", "nobody can be at"),
        ("--listen 0.0.0.0:5004 --to 10.0.0.1 list", "list"),
        ("add", "ADDR"),
        ("remove", "ADDR"),
        ("set", "ADDR"),
        ("list 10.0.0.1", "10.0.0.1"),
    ] {
        let (status, complaint) = refused(arguments);
        assert_eq!(status, Some(2), "{arguments}: {complaint}");
        assert!(complaint.contains(why), "{arguments}: {complaint}");
    }
    let folder = std::env::temp_dir().join(format!("xcast-gateway-usage-{}", std::process::id()));
    let socket = folder.join("control.sock");
    for (list, why) in [
        ("10.0.0", "`10.0.0`"),
        ("10.0.0.1,224.0.0.1", "`224.0.0.1` is a group"),
        ("10.0.0.1:0", "not a port"),
        ("0.0.0.0", "nobody's"),
        ("127.0.0.1:5004", "loopback"),
        ("10.0.0.1 --channel 0x1ffffffff", "32 bits"),
        ("10.0.0.1 --experiment /nowhere/at-all.toml", "ip-protocol"),
    ] {
        // A port of its own: this machine's network is not the test's.
        let listen = "--listen 127.0.0.1:49004";
        let named = if list.contains("--experiment") { "" } else { file };
        let experiment =
            if named.is_empty() { String::new() } else { format!(" --experiment {file}") };
        let socket = socket.display();
        let arguments = format!("{listen} --socket {socket}{experiment} --to {list}");
        let (status, complaint) = refused(&arguments);
        assert_eq!(status, Some(2), "{arguments}: {complaint}");
        assert!(complaint.contains(why), "{arguments}: {complaint}");
    }
    std::fs::remove_dir(folder).unwrap();
}

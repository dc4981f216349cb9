//! The lab `netns-scripts/figure8`, as people run it, with each routing daemon: figures 8 and 9 of
//! RFC 5058, section 11.1, and what happens when a daemon, a relay or a link fails.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Output};

use serde_json::{Value, json};

const COUNT: u64 = 20;
const SIZE: u64 = 300;

/// Each link, and in which form it carries a packet to B, C and D; the loop's packets in its place.
const LINKS: [(&str, &str, Form, u64); 12] = [
    ("A", "X1", Form::Xcast, 3),
    ("X1", "R2", Form::Tunnel, 3),
    ("R2", "X3", Form::Tunnel, 3),
    ("X3", "R4", Form::Unicast, 1),
    ("R4", "B", Form::Unicast, 1),
    ("X3", "R5", Form::Tunnel, 2),
    ("R5", "R6", Form::Tunnel, 2),
    ("R6", "X7", Form::Tunnel, 2),
    ("X7", "R8", Form::Unicast, 1),
    ("R8", "C", Form::Unicast, 1),
    ("X7", "R9", Form::Unicast, 1),
    ("R9", "D", Form::Unicast, 1),
];
/// Octets of a unicast packet beside its payload, of an Xcast one with three destinations, and of
/// that in an outer IPv4 packet.
const UNICAST_HEADER: u64 = 20 + 8;
const XCAST_HEADER: u64 = 20 + 12 + 4 + 3 * 4 + 8;
const OUTER_HEADER: u64 = 20;

/// Copies of a packet on all links together: by figure 9, and where X1 sends three by unicast.
const COPIES: u64 = 12;
const COPIES_WITHOUT_X3: u64 = 1 + 6 * 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Xcast,
    Tunnel,
    Unicast,
}

/// What makes namespaces in which everything ends with the test, however it ends.
const UNSHARE: [&str; 8] =
    ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
/// A `/run` of its own, then the verbs, each with one line of JSON.
const SCRIPT: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run &&
    mkdir /run/netns && ip link set lo up &&
    \"$LAB\" up --suffix $SUFFIX --daemon $DAEMON --json &&
    \"$LAB\" status --suffix $SUFFIX --json &&
    \"$LAB\" run --suffix $SUFFIX --json --count $COUNT --size $SIZE --interval 4ms;
    status=$?; \"$LAB\" down --suffix $SUFFIX --json; exit $status";

fn run_lab(daemon: &str) -> Output {
    let mut command = Command::new(UNSHARE[0]);
    command
        .args(&UNSHARE[1..])
        .args(["bash", "-c", SCRIPT])
        .env("LAB", concat!(env!("CARGO_MANIFEST_DIR"), "/netns-scripts/figure8"))
        .env("XCAST", env!("CARGO_BIN_EXE_xcast"))
        .env("DAEMON", daemon)
        .env("SUFFIX", format!("test{}{daemon}", std::process::id()))
        .env("COUNT", COUNT.to_string())
        .env("SIZE", SIZE.to_string());
    command.output().unwrap()
}

/// Why this machine cannot run the lab, if so: no namespaces, or status 2 of its `up`.
fn refusal(output: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let never_began = output.stdout.is_empty() && said.contains("unshare");
    let lacks = output.status.code() == Some(2);
    (never_began || lacks).then_some(said)
}

/// Runs the lab and checks what its verbs have printed. Where the machine lacks something the test
/// says so and does nothing; on a machine that must not skip (`CI` is set) that fails it.
fn check(test: &str, daemon: &str) {
    let output = run_lab(daemon);
    if let Some(why) = refusal(&output) {
        assert!(std::env::var_os("CI").is_none(), "{test}: {why}");
        // Not by a macro, whose output the test runner hides.
        let line = format!("SKIPPED {test}: {why}\n");
        return std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}\n{text}", output.status);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [up, status, run, down] = &lines[..] else { panic!("four lines: {text}") };
    check_status(up);
    check_status(status);
    assert_eq!((&run["daemon"], &run["errors"]), (&daemon.into(), &json!([])));
    assert_eq!((&run["count"], &run["size"]), (&COUNT.into(), &SIZE.into()));
    check_tables(&run["tables"]);
    check_links(&run["links"]);
    check_receivers(&run["receivers"]);
    check_outages(&run["outages"]);
    assert_eq!(down["up"], false);
}

fn check_status(status: &Value) {
    assert_eq!((&status["lab"], &status["up"]), (&"figure8".into(), &true.into()));
    let hosts = status["hosts"].as_array().unwrap();
    let named = |wanted: fn(&Value) -> bool| -> Vec<&str> {
        let hosts = hosts.iter().filter(|host| wanted(host));
        hosts.map(|host| host["name"].as_str().unwrap()).collect()
    };
    assert_eq!(named(|host| host["router"]["running"] == true), ["X1", "X3", "X7"]);
    let plain = named(|host| host["router"].is_null() && host["forwards"] == true);
    assert_eq!(plain, ["R2", "R4", "R5", "R6", "R8", "R9"]);
}

/// Figure 9, as it stands there.
fn check_tables(tables: &Value) {
    let table = |routes: &[(&str, &str)]| -> Value {
        routes.iter().map(|(to, hop)| json!({"destination": to, "next-hop": hop})).collect()
    };
    let expected = json!({
        "X1": table(&[("B", "X3"), ("C", "X3"), ("D", "X3")]),
        "X3": table(&[("A", "X1"), ("C", "X7"), ("D", "X7")]),
        "X7": table(&[("A", "X3"), ("B", "X3")]),
    });
    assert_eq!(*tables, expected);
}

fn check_links(links: &Value) {
    let links = links.as_array().unwrap();
    assert_eq!(links.len(), LINKS.len());
    for (link, (from, to, form, behind)) in links.iter().zip(LINKS) {
        assert_eq!((&link["from"], &link["to"]), (&from.into(), &to.into()));
        let amount = |key: &str, packets: u64, header: u64| {
            let expected = json!({"packets": packets, "bytes": packets * (header + SIZE)});
            assert_eq!(link[key], expected, "{key}, {from} -> {to}");
        };
        let of = |wanted: Form| if form == wanted { COUNT } else { 0 };
        amount("xcast", of(Form::Xcast), XCAST_HEADER);
        // The copy to C and D keeps the whole list, with B marked as served.
        amount("tunnel", of(Form::Tunnel), OUTER_HEADER + XCAST_HEADER);
        amount("unicast", of(Form::Unicast), UNICAST_HEADER);
        amount("baseline", behind * COUNT, UNICAST_HEADER);
    }
}

fn check_receivers(receivers: &Value) {
    let receivers = receivers.as_array().unwrap();
    let names: Vec<&str> = receivers.iter().map(|one| one["host"].as_str().unwrap()).collect();
    assert_eq!(names, ["B", "C", "D"]);
    for receiver in receivers {
        for key in ["received", "baseline-received"] {
            assert_eq!(receiver[key], COUNT, "{key} of {receiver}");
        }
        assert_eq!(
            (&receiver["wrong-size"], &receiver["baseline-wrong-size"]),
            (&json!(0), &json!(0))
        );
    }
}

/// Each failure, and each repair: who lost nothing, and the copies of a packet on all links then.
fn check_outages(outages: &Value) {
    let everybody = ["B", "C", "D"].as_slice();
    let expected = [
        ("X3's daemon is killed", everybody, COPIES_WITHOUT_X3),
        ("X3's daemon is started", everybody, COPIES),
        ("X3's router is killed", &[], COPIES_WITHOUT_X3),
        ("X3's router is started", everybody, COPIES),
        // Three copies as far as X3, one to B, and two to R5, where the way ends.
        ("the link R5-R6 is cut", &["B"], 1 + 2 * 3 + 2 + 2),
        ("the link R5-R6 is back", &["B"], COPIES),
    ];
    let outages = outages.as_array().unwrap();
    assert_eq!(outages.len(), expected.len());
    for (outage, (event, unharmed, copies)) in outages.iter().zip(expected) {
        assert_eq!(outage["event"], event);
        assert_eq!((&outage["duplicates"], &outage["above-expectation"]), (&json!(0), &json!(0)));
        assert_eq!(outage["copies"], copies, "{outage}");
        for host in unharmed {
            assert_eq!(outage["lost"][host], 0, "{outage}");
        }
    }
    // Who loses packets loses the first ones: where another way is left, it is taken.
    assert!(outages[2]["outage-ms"].is_u64(), "{}", outages[2]);
}

#[test]
fn bird_makes_the_tables_of_figure_9_and_traffic_recovers() {
    check("bird_makes_the_tables_of_figure_9_and_traffic_recovers", "bird");
}

#[test]
fn frr_makes_the_tables_of_figure_9_and_traffic_recovers() {
    check("frr_makes_the_tables_of_figure_9_and_traffic_recovers", "frr");
}

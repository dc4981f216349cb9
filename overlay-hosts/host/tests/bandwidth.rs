//! Hosts behind emulated links of known rates, each in a network namespace of its own, find by packet
//! pairs how fast their links are:
//!
//! ```text
//!   a ~~~ link emulator ~~~┐
//!   b ~~~ link emulator ~~~┼── bridge ── d, which is as fast as the machine
//!   c ~~~ link emulator ~~~┘
//! ```

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub, dead_code)]
mod programs;
#[allow(unreachable_pub, dead_code)]
mod support;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use overlay_host::control::{Request, Topic};
use serde_json::Value;
use support::{Lab, until};
use xcast::control::Reply;
use xcast::tools::exchange;

const EXPERIMENT: &str = include_str!("../../../router-config/examples/experiment.toml");

/// A host, the transport by which it sends, and its rates up and down, kilobits a second.
const HOSTS: [(&str, &str, u64, u64); 3] =
    [("a", "auto", 1000, 5000), ("b", "unicast", 5000, 20_000), ("c", "auto", 20_000, 1000)];
/// The host with no emulated link: who measures with it sees its own link alone.
const FAST: &str = "d";
/// A rate is wrong by less than one of so many parts.
const PARTS: u64 = 10;
/// Medians are of so many pairs at least.
const PAIRS_MIN: u64 = 10;

/// Makes the namespaces and runs all until standard input ends; nothing of it outlives the script. An
/// emulator that has slept is some 50 us late with the first of a pair, a twelfth of what the two are
/// apart at 20 Mbit/s: so it spins.
const SCRIPT: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir /run/netns
for node in e a b c d; do ip netns add $node; ip -n $node link set dev lo up; done
inside() { node=$1; shift; nsenter --net=/run/netns/$node "$@"; }
inside e sh -c 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6'
ip -n e link add name hub type bridge
ip -n e link set dev hub up
number=0
for host in a b c d; do
    number=$((number + 1))
    if [ $host = d ]; then
        ip link add name d-hub netns e type veth peer name up netns d
    else
        ip link add name $host-near netns e type veth peer name up netns $host
        ip link add name $host-far netns e type veth peer name $host-hub netns e
        ip -n e link set dev $host-near up
        ip -n e link set dev $host-far up
    fi
    ip -n e link set dev $host-hub master hub up
    ip -n $host addr add 10.78.0.$number/24 dev up
    ip -n $host link set dev up up
done
inside e "$XCAST" link-emulator --file links.toml --priority 20 --spin 100us > e.log 2>&1 &
for host in d a b c; do
    inside $host "$HOST" run --config $host.toml > $host.log 2>&1 &
done
cat
"#;

/// Runs the hosts and the emulator.
fn start(lab: &Lab) -> programs::Running {
    let links = HOSTS.map(|(host, _, up, down)| {
        format!(
            "[[link]]\ninterfaces = [\"{host}-near\", \"{host}-far\"]\n\
             rate = \"{up}kbit/{down}kbit\"\ndelay = \"5ms\"\n"
        )
    });
    std::fs::write(lab.path("links.toml"), links.concat()).unwrap();
    let all = HOSTS.iter().map(|(host, transport, ..)| (*host, *transport));
    for (place, (host, transport)) in all.chain([(FAST, "auto")]).enumerate() {
        let text = format!(
            "{EXPERIMENT}\n[host]\nname = \"{host}\"\ntransport = \"{transport}\"\n\
             control-socket = \"{}\"\nstate-directory = \"{}\"\nlisten = [\"10.78.0.{}:9000\"]\n\
             [rendezvous]\nboot = [\"10.78.0.4:9000\"]\n[ring]\nheartbeat = \"500ms\"\n\
             [metrics]\npair-interval = \"300ms\"\n",
            socket(lab, host).display(),
            lab.path(host).display(),
            place + 1,
        );
        std::fs::write(lab.path(&format!("{host}.toml")), text).unwrap();
    }
    let child = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        // As root itself, the emulator may run first.
        .args((!is_root()).then_some("--map-root-user"))
        .args(["sh", "-c", SCRIPT])
        .current_dir(lab.path(""))
        .env("XCAST", programs::program("xcast", "xcast"))
        .env("HOST", programs::OVERLAY_HOST)
        .stdin(Stdio::piped())
        .spawn();
    programs::Running(child.expect("unshare is there"))
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn socket(lab: &Lab, host: &str) -> PathBuf {
    lab.path(&format!("{host}.sock"))
}

/// What a host says of its links and neighbors.
fn measured(lab: &Lab, host: &str) -> Option<Value> {
    let request = Request::Show(Topic::Coordinates);
    match exchange(&socket(lab, host), request, Duration::from_secs(10)).ok()? {
        Reply::Done(value) => Some(value["peers"][0].clone()),
        _ => None,
    }
}

/// Whether all its rates rest on enough pairs.
fn is_settled(peer: &Value) -> bool {
    let is_enough = |pairs: &Value| pairs.as_u64().is_some_and(|pairs| pairs >= PAIRS_MIN);
    let is_settled = |of: &Value| is_enough(&of["up-pairs"]) && is_enough(&of["down-pairs"]);
    let neighbors = peer["neighbors"].as_array().map_or(&[][..], Vec::as_slice);
    neighbors.len() == HOSTS.len() && neighbors.iter().all(is_settled)
}

/// Whether it finds a rate, within a tenth.
fn is_near(found: &Value, rate: u64) -> bool {
    found.as_u64().is_some_and(|found| found.abs_diff(rate) * PARTS <= rate)
}

#[test]
fn hosts_find_how_fast_their_links_are_within_a_tenth() {
    let lab = Lab::new(13);
    let _running = start(&lab);
    let all = || HOSTS.iter().map(|(host, ..)| measured(&lab, host)).collect::<Option<Vec<_>>>();
    until("enough pairs", || all()?.iter().all(is_settled).then_some(()));
    // What a busy machine spoils, the next pairs mend.
    until("the true rates", || {
        let all = all()?;
        let mut each = all.iter().zip(HOSTS);
        each.all(|(peer, (_, _, up, down))| {
            is_near(&peer["up-kbps"], up) && is_near(&peer["down-kbps"], down)
        })
        .then_some(())
    });
}

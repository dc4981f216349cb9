//! Hosts around an Xcast router, each in a network namespace of its own:
//!
//! ```text
//!   a ── r ── b      10.77.1.0/24 is between r and a, 10.77.2.0/24 between r and b, and so on
//!        │
//!        c
//! ```

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub, dead_code)]
mod programs;
#[allow(unreachable_pub, dead_code)]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use overlay_host::control::{Request, Topic};
use serde_json::Value;
use support::{Lab, until};
use xcast::control::Reply;
use xcast::tools::exchange;

const HOSTS: [&str; 3] = ["a", "b", "c"];
const EXPERIMENT: &str = include_str!("../../../router-config/examples/experiment.toml");

/// Makes the namespaces and runs all until standard input ends; nothing of it outlives the script.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs none /run
mkdir /run/netns
for node in r a b c; do ip netns add $node; ip -n $node link set dev lo up; done
inside() { node=$1; shift; nsenter --net=/run/netns/$node "$@"; }
inside r sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
number=0
for host in a b c; do
    number=$((number + 1))
    ip link add name $host netns r type veth peer name up netns $host
    ip -n r addr add 10.77.$number.1/24 dev $host
    ip -n r link set dev $host up
    ip -n $host addr add 10.77.$number.2/24 dev up
    ip -n $host link set dev up up
    ip -n $host route add default via 10.77.$number.1
done
inside r "$XCAST" router run --config r.toml > r.log 2>&1 &
for host in a b c; do
    inside $host "$HOST" run --config $host.toml > $host.log 2>&1 &
done
cat
"#;

fn start(lab: &Lab) -> programs::Running {
    let folder = lab.path("");
    let socket = lab.path("r.sock");
    let text = format!(
        "{EXPERIMENT}\n[router]\nname = \"r\"\ncontrol-socket = \"{}\"\n",
        socket.display()
    );
    std::fs::write(lab.path("r.toml"), text).unwrap();
    for (place, host) in HOSTS.iter().enumerate() {
        let text = format!(
            "{EXPERIMENT}\n[host]\nname = \"{host}\"\ncontrol-socket = \"{}\"\nstate-directory = \
             \"{}\"\nlisten = [\"10.77.{}.2:9000\"]\n[rendezvous]\nboot = [\"10.77.1.2:9000\"]\n\
             [ring]\nheartbeat = \"300ms\"\n",
            lab.path(&format!("{host}.sock")).display(),
            lab.path(host).display(),
            place + 1,
        );
        std::fs::write(lab.path(&format!("{host}.toml")), text).unwrap();
    }
    let child = Command::new("unshare")
        .args(["--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"])
        .args(["sh", "-c", SCRIPT])
        .current_dir(folder)
        .env("XCAST", programs::program("xcast", "xcast"))
        .env("HOST", programs::OVERLAY_HOST)
        .stdin(Stdio::piped())
        .spawn();
    programs::Running(child.expect("unshare is there"))
}

fn show(socket: &Path, topic: Topic) -> Option<Value> {
    let patience = std::time::Duration::from_secs(10);
    match exchange(socket, Request::Show(topic), patience).ok()? {
        Reply::Done(value) => Some(value),
        _ => None,
    }
}

#[test]
fn heartbeats_go_to_several_hosts_in_one_packet_once_probes_have_reached_them() {
    let lab = Lab::new(12);
    let _running = start(&lab);
    let sockets = HOSTS.map(|host| lab.path(&format!("{host}.sock")));
    for (host, socket) in HOSTS.iter().zip(&sockets) {
        let traffic = until("Xcast packets to both others", || {
            let traffic = show(socket, Topic::Traffic)?;
            (traffic["xcast-packets-sent"].as_u64()? >= 10).then_some(traffic)
        });
        let count = |name: &str| traffic[name].as_u64().unwrap();
        assert_eq!(count("xcast-reached"), 2, "{host}: {traffic}");
        assert_eq!(count("xcast-receivers"), 2 * count("xcast-packets-sent"), "{host}: {traffic}");
        assert!(count("unicast-packets-sent") > 0, "answers go to one: {traffic}");
        assert_eq!(count("receivers-unsent"), 0, "{host}: {traffic}");
    }
    for socket in &sockets {
        let ring = show(socket, Topic::Ring).unwrap();
        assert_eq!(ring["peers"][0]["leaf-set"].as_array().unwrap().len(), 2, "{ring}");
        let drops = show(socket, Topic::Drops).unwrap();
        let all = drops["drops"].as_object().unwrap().values();
        assert_eq!(all.filter_map(Value::as_u64).sum::<u64>(), 0, "{drops}");
    }
}

//! `xcast gateway` on real kernels: an ordinary stream comes in, and ordinary sockets receive it.
//!
//! ```text
//!     s ──── g ──── r ──┬ b        `s` knows nothing of Xcast, the gateway runs on `g`, and `r`
//!                       └ c        is an Xcast router
//! ```

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

#[path = "gateway/edits.rs"]
mod edits;
#[path = "gateway/groups.rs"]
mod groups;
#[path = "gateway/life.rs"]
mod life;
#[path = "gateway/stream.rs"]
mod stream;
#[path = "gateway/usage.rs"]
mod usage;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Output;

use lab::process::{Ended, Process, Stream};
use lab::{EXPERIMENT_FILE, Lab, Version, inside, ip_batch, xcast};
use nix::sys::signal::Signal;
use serde_json::Value;

const BOTH: [Version; 2] = [Version::V4, Version::V6];
const PORT: u16 = 5004;

/// The network, with its router running.
fn network() -> Lab {
    let mut lab = Lab::dual_stack();
    lab.hosts(&["s", "g", "b", "c"]);
    lab.forwarders(&["r"]);
    lab.link("s", "g");
    for host in ["g", "b", "c"] {
        lab.link(host, "r");
        let (v4, v6) = (lab.address("r", host), lab.address_v6("r", host));
        ip_batch(
            &["-n", host],
            &format!("route add default via {v4}\nroute add default via {v6} dev r\n"),
        );
    }
    lab.start_routers(&["r"]);
    lab
}

/// Starts a gateway on a node, and waits until it is ready; the words are its arguments.
fn start(lab: &mut Lab, node: &str, arguments: &str) -> Process {
    let mut command = xcast();
    command.arg("gateway").args(arguments.split(' '));
    if arguments.contains("--to") {
        command.args(["--experiment", EXPERIMENT_FILE]);
    }
    let gateway = lab.run(node, "gateway", &mut command);
    gateway.log.wait_for_part(Stream::Output, "ready");
    gateway
}

/// Runs `xcast gateway` with other arguments, to its end.
fn gateway(arguments: &str) -> Output {
    xcast().arg("gateway").args(arguments.split(' ')).output().unwrap()
}

/// Edits or lists by `xcast gateway`: its status, what it prints and its complaint.
fn edit(arguments: &str) -> (Option<i32>, String, String) {
    let output = gateway(arguments);
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap().trim_end().to_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The list of the only gateway, as JSON.
fn listed() -> Value {
    let (status, text, complaint) = edit("list --json");
    assert_eq!(status, Some(0), "{complaint}");
    serde_json::from_str(&text).unwrap()
}

/// Ends a gateway that prints JSON by a signal; returns what it says at its end.
fn end(gateway: Process, signal: Signal) -> (Ended, Value) {
    gateway.signal(signal);
    let ended = gateway.finish();
    let last = serde_json::from_str(ended.output.last().unwrap()).unwrap();
    (ended, last)
}

/// An address of a host on its link to the router.
fn at(lab: &Lab, version: Version, host: &str) -> SocketAddr {
    SocketAddr::new(lab.address_of(version, host, "r"), PORT)
}

/// A socket on `s` that sends to the gateway's address, or to another place.
fn sender(lab: &Lab, version: Version, to: Option<SocketAddr>) -> UdpSocket {
    let own = lab.address_of(version, "s", "g");
    let to = to.unwrap_or_else(|| SocketAddr::new(lab.address_of(version, "g", "s"), PORT));
    let socket = inside("s", || UdpSocket::bind((own, 0)).unwrap());
    inside("s", || socket.connect(to).unwrap());
    socket
}

/// All addresses of an IP version.
fn any(version: Version) -> SocketAddr {
    match version {
        Version::V4 => "0.0.0.0:5004".parse().unwrap(),
        Version::V6 => "[::]:5004".parse().unwrap(),
    }
}

/// How an address without a port is written in a list.
fn addresses(list: &[SocketAddr]) -> String {
    list.iter().map(|at| at.ip().to_string()).collect::<Vec<_>>().join(",")
}

/// The number in the next datagram.
fn next(socket: &UdpSocket) -> u64 {
    let mut buffer = [0; 2000];
    let length = socket.recv(&mut buffer).expect("a datagram arrives");
    u64::from_be_bytes(buffer[..length].try_into().unwrap())
}

/// Gives `b` so many more addresses; `r` knows the way.
fn many(lab: &Lab, version: Version, count: u16) -> Vec<SocketAddr> {
    let address = |number: u16| -> IpAddr {
        let [high, low] = number.to_be_bytes();
        match version {
            Version::V4 => [10, 8, high, low].into(),
            Version::V6 => [0xfd08, 0, 0, 0, 0, 0, 0, number].into(),
        }
    };
    let all: Vec<IpAddr> = (1..=count).map(address).collect();
    let lines = all.iter().map(|address| format!("address add {address} dev lo nodad\n"));
    ip_batch(&["-n", "b"], &lines.collect::<String>());
    let subnet = if version == Version::V4 { "10.8.0.0/16" } else { "fd08::/64" };
    lab.ip("r", &format!("route add {subnet} via {}", lab.address_of(version, "b", "r")));
    all.into_iter().map(|address| SocketAddr::new(address, PORT)).collect()
}

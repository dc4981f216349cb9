//! The laboratory of a measurement: network namespaces and veth links, all of which the kernel
//! removes when this process ends, however it ends.
//!
//! ```text
//!   sender            router                  sinks
//!   to-router ── xPID        out0 ──────── out0
//!   10.90.0.2    10.90.0.1   out1 ──────── out1       10.91.K.1 at the router,
//!                            ...                      10.91.K.2 at the sinks
//! ```
//!
//! The sinks' ends have no address and no socket: nftables drops what arrives at their ingress
//! hook, behind the interface's counters. All neighbors are static.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use crate::io::namespace;
use crate::io::offload::{self, Offload};
use crate::kernel::IngressDrop;
use crate::tools::Failure;

/// The sender's interface.
pub(super) const UPLINK: &str = "to-router";
pub(super) const SENDER: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 2);
pub(super) const SENDER_MAC: [u8; 6] = [2, 0x78, 0, 0, 0, 2];
pub(super) const ROUTER_MAC: [u8; 6] = [2, 0x78, 0, 0, 0, 1];
/// The IPv4 protocol of Xcast4 here.
pub(super) const XCAST: u8 = 253;
/// Where files of a measurement are; nobody else sees it.
pub(super) const FOLDER: &str = "/run/xcast-bench";

/// A namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Node {
    Sender,
    Router,
    Sinks,
}

impl Node {
    const ALL: [Node; 3] = [Node::Sender, Node::Router, Node::Sinks];

    pub(super) fn name(self) -> &'static str {
        match self {
            Node::Sender => "sender",
            Node::Router => "router",
            Node::Sinks => "sinks",
        }
    }

    /// Moves the calling thread there.
    pub(super) fn enter(self) -> Result<(), Failure> {
        let namespace = File::open(format!("/run/netns/{}", self.name())).map_err(Failure::work)?;
        namespace::enter_network(&namespace).map_err(Failure::work)
    }

    /// Runs `work` in a thread that is there; sockets that it opens stay there.
    pub(super) fn inside<T: Send>(
        self,
        work: impl FnOnce() -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        let there = || self.enter().and_then(|()| work());
        std::thread::scope(|scope| match scope.spawn(there).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

/// Leaves the network and the file system that others see. To be called before any thread is
/// started.
pub(super) fn leave() -> Result<(), Failure> {
    let refused = |error| {
        Failure::Work(format!(
            "cannot make network namespaces: {error} (run as root, or allow user namespaces)"
        ))
    };
    namespace::leave_network().map_err(refused)?;
    command("mount", &["--make-rprivate", "/"], "")?;
    command("mount", &["-t", "tmpfs", "tmpfs", "/run"], "")?;
    fs::create_dir_all("/run/netns").map_err(Failure::work)?;
    fs::create_dir_all(FOLDER).map_err(Failure::work)
}

/// Namespaces with links for some outputs.
pub(super) struct Lab {
    /// The router's interface towards the sender.
    pub(super) ingress: String,
    pub(super) outputs: usize,
    sender: Counters,
    sinks: Counters,
    _drop: IngressDrop,
}

/// The name of output `k` at both its ends.
pub(super) fn output(k: usize) -> String {
    format!("out{k}")
}

/// The neighbor at output `k`.
pub(super) fn neighbor(k: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 91, k as u8, 2)
}

/// Destination `at` (from 0) of those behind the neighbor at output `k`.
pub(super) fn behind(k: usize, at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 92, k as u8, 1 + at as u8)
}

/// The router's and the neighbor's link-layer address at output `k`.
pub(super) fn output_macs(k: usize) -> ([u8; 6], [u8; 6]) {
    ([2, 0x78, 1, 0, 0, k as u8], [2, 0x78, 2, 0, 0, k as u8])
}

impl Lab {
    /// Builds everything; at most 31 outputs.
    pub(super) fn build(outputs: usize) -> Result<Lab, Failure> {
        // Its NAPI thread is called as the interface is, and threads of all namespaces are seen
        // side by side.
        let ingress = format!("x{}", std::process::id());
        let names: String =
            Node::ALL.iter().map(|node| format!("netns add {}\n", node.name())).collect();
        ip(&[], &names)?;
        for node in Node::ALL {
            node.inside(|| prepare(node))?;
        }
        ip(&["-n", "sender"], &sender(&ingress))?;
        // So that the router's end can be polled; packet sockets have nothing to be segmented.
        let whole = || offload::switch(UPLINK, Offload::Tso, false).map_err(Failure::work);
        Node::Sender.inside(whole)?;
        ip(&["-n", "router"], &router(&ingress, outputs))?;
        let up: String =
            (0..outputs).map(|k| format!("link set dev {} arp off up\n", output(k))).collect();
        ip(&["-n", "sinks"], &up)?;
        let drop = Node::Sinks.inside(|| drop_all(outputs))?;
        let (sender, sinks) = (Counters::of(Node::Sender)?, Counters::of(Node::Sinks)?);
        Ok(Lab { ingress, outputs, sender, sinks, _drop: drop })
    }

    /// Packets that the sender's interface has sent so far: the router's has taken them.
    pub(super) fn sent(&mut self) -> Result<u64, Failure> {
        let [_, sent] = self.sender.packets(UPLINK)?;
        Ok(sent)
    }

    /// Packets that have reached the sinks' interfaces so far.
    pub(super) fn delivered(&mut self) -> Result<u64, Failure> {
        let [received, _] = self.sinks.packets("out")?;
        Ok(received)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in Node::ALL {
            // What is left goes with the process.
            let _left = ip(&[], &format!("netns delete {}\n", node.name()));
        }
    }
}

/// A veth pair of one queue, so that there is one place for a NAPI thread or an AF_XDP socket.
fn veth(near: (&str, [u8; 6]), far: (&str, [u8; 6], &str)) -> String {
    let end = |name: &str, mac: [u8; 6]| {
        format!("{name} address {} numtxqueues 1 numrxqueues 1", text(mac))
    };
    let (near, there) = (end(near.0, near.1), far.2);
    format!("link add name {near} type veth peer name {} netns {there}\n", end(far.0, far.1))
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

fn sender(ingress: &str) -> String {
    veth((UPLINK, SENDER_MAC), (ingress, ROUTER_MAC, "router"))
        + &format!("address add {SENDER}/24 dev {UPLINK}\nlink set dev {UPLINK} up\n")
        + &format!(
            "neighbor add 10.90.0.1 lladdr {} dev {UPLINK} nud permanent\n",
            text(ROUTER_MAC)
        )
        + "route add default via 10.90.0.1\n"
}

fn router(ingress: &str, outputs: usize) -> String {
    let mut lines = format!(
        "address add 10.90.0.1/24 dev {ingress}\nlink set dev {ingress} up\n\
         neighbor add {SENDER} lladdr {} dev {ingress} nud permanent\n",
        text(SENDER_MAC)
    );
    for k in 0..outputs {
        let (name, neighbor, (own, its)) = (output(k), neighbor(k), output_macs(k));
        lines += &veth((&name, own), (&name, its, "sinks"));
        lines += &format!(
            "address add 10.91.{k}.1/24 dev {name}\nlink set dev {name} up\n\
             neighbor add {neighbor} lladdr {} dev {name} nud permanent\n\
             route add 10.92.{k}.0/24 via {neighbor}\n",
            text(its)
        );
    }
    lines
}

/// What a namespace's stack does, whatever the machine's defaults are. In the namespace.
fn prepare(node: Node) -> Result<(), Failure> {
    let forward = if node == Node::Router { "1" } else { "0" };
    for (key, value) in [
        ("ipv6/conf/all/disable_ipv6", "1"),
        ("ipv6/conf/default/disable_ipv6", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        ("ipv4/ip_forward", forward),
    ] {
        let path = format!("/proc/sys/net/{key}");
        match fs::write(&path, value) {
            // A kernel without IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            done => done.map_err(|error| Failure::Work(format!("{path}: {error}")))?,
        }
    }
    Ok(())
}

/// Drops all packets at the sinks, in as few steps as the kernel has for it. In their namespace.
fn drop_all(outputs: usize) -> Result<IngressDrop, Failure> {
    let mut drop = IngressDrop::of_all("bench").map_err(Failure::work)?;
    (0..outputs).try_for_each(|k| drop.attach(&output(k))).map_err(Failure::work)?;
    Ok(drop)
}

/// The packet counters of a namespace's interfaces.
struct Counters(File);

impl Counters {
    fn of(node: Node) -> Result<Counters, Failure> {
        // The open file stays with the namespace.
        node.inside(|| File::open("/proc/thread-self/net/dev").map_err(Failure::work)).map(Counters)
    }

    /// Packets received and sent by all interfaces whose names begin so.
    fn packets(&mut self, prefix: &str) -> Result<[u64; 2], Failure> {
        let mut text = String::new();
        self.0.rewind().and_then(|()| self.0.read_to_string(&mut text)).map_err(Failure::work)?;
        Ok(sum(&text, prefix))
    }
}

/// `NAME: received octets, packets, 6 more; sent octets, packets, ...` in each line.
fn sum(text: &str, prefix: &str) -> [u64; 2] {
    let mut sum = [0; 2];
    for (name, numbers) in text.lines().filter_map(|line| line.split_once(':')) {
        if name.trim().starts_with(prefix) {
            let numbers: Vec<u64> =
                numbers.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect();
            sum[0] += numbers.get(1).unwrap_or(&0);
            sum[1] += numbers.get(9).unwrap_or(&0);
        }
    }
    sum
}

/// Runs many `ip` commands in one process.
fn ip(options: &[&str], lines: &str) -> Result<(), Failure> {
    command("ip", &[options, &["-batch", "-"]].concat(), lines)
}

/// Runs a program to its end.
pub(super) fn command(program: &str, arguments: &[&str], input: &str) -> Result<(), Failure> {
    let failed = |why: String| Failure::Work(format!("{program}: {}", why.trim()));
    // Where administrators' programs are is not in everyone's path.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", path);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that reads nothing says why.
        let _unread = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_interfaces() {
        let text = "Inter-|   Receive   |  Transmit\n\
             face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs\n\
              out0:     106       1    0    0    0     0          0         0     1000      10 0\n\
              out1: 212 2 0 0 0 0 0 0 2000 20 0\n\
                lo: 5 5 0 0 0 0 0 0 5 5 0\n";
        assert_eq!(sum(text, "out"), [3, 30]);
        assert_eq!(sum(text, "to-router"), [0, 0]);
    }
}

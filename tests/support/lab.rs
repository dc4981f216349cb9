//! A laboratory: network namespaces, the links between them, and the programs in them.
//!
//! ```text
//!   lab.link("a", "r1")            a ──────── r1        the interface in `a` is called `r1`, the
//!                                    r1     a           one in `r1` is called `a`
//!
//!   lab.lan("lan1", &["a", "b"])   a ── br ── b         a bridge in a namespace of its own,
//!                                  lan1   lan1          `lan1`; so are its interfaces called
//! ```
//!
//! Link number N has the subnet 10.9.N.0/24, in which its ends are .1, .2 and so on; in a lab with
//! IPv6 also fd00:9:N::/64, in which they are ::1, ::2, with link-local addresses fe80::N:1,
//! fe80::N:2. Routes are the test's own business. Everything lives in the private `/run` of the test and in its process
//! namespace, so the kernel removes it when the test ends.

pub mod ask;
pub mod capture;
pub mod packets;
pub mod process;
pub mod reading;
pub mod topology;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

use crate::support::{run, wait_for_carrier};
use capture::Capture;
use process::{Ended, Log, PATIENCE, Process, Stream, until};

/// The code points, as every program of a lab has them.
const EXPERIMENT: &str = r#"[experiment]
ip-protocol = 253
all-routers-v4 = "224.0.0.254"
all-routers-v6 = "ff02::114"
routing-type = 253
ports-option = 0x5e
hop-by-hop-option = 0x1e
tunnel-port = 1021
"#;

const FOLDER: &str = "/run/lab";
/// The file with the code points.
pub const EXPERIMENT_FILE: &str = "/run/lab/experiment.toml";

/// A 48-bit link-layer address.
pub type Mac = [u8; 6];

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V4,
    V6,
}

/// An interface of a node.
#[derive(Clone, Debug)]
pub struct End {
    pub node: String,
    pub interface: String,
    pub address: Ipv4Addr,
    /// It has these two in a lab with IPv6 only.
    pub address_v6: Ipv6Addr,
    pub link_local: Ipv6Addr,
    pub mac: Mac,
}

/// A link with its ends, in the order in which they were named.
#[derive(Clone, Debug)]
pub struct Link {
    pub number: u8,
    /// The namespaces and interfaces at which what crosses the link can be seen: at one of them at
    /// least, as an interface does not see what it sends by AF_XDP.
    pub taps: Vec<(String, String)>,
    pub ends: Vec<End>,
}

impl Link {
    pub fn subnet(&self) -> String {
        format!("10.9.{}.0/24", self.number)
    }

    pub fn subnet_v6(&self) -> String {
        format!("fd00:9:{:x}::/64", self.number)
    }
}

/// Everything that a test has built.
#[derive(Default)]
pub struct Lab {
    pub links: Vec<Link>,
    /// How many links there were so far.
    made: u8,
    has_ipv6: bool,
    routers: BTreeMap<String, Process>,
    logs: Vec<Arc<Log>>,
}

impl Lab {
    pub fn new() -> Lab {
        fs::create_dir(FOLDER).expect("/run is this test's own");
        fs::write(EXPERIMENT_FILE, EXPERIMENT).expect("the folder is there");
        Lab::default()
    }

    /// A lab whose nodes have IPv6, too.
    pub fn dual_stack() -> Lab {
        let mut lab = Lab::new();
        lab.has_ipv6 = true;
        lab
    }

    // --- Nodes and links --------------------------------------------------------------------

    /// Makes nodes that do not forward.
    pub fn hosts(&mut self, names: &[&str]) {
        self.nodes(names, "0");
    }

    /// Makes nodes that forward unicast packets. Their Xcast routers are started apart.
    pub fn forwarders(&mut self, names: &[&str]) {
        self.nodes(names, "1");
    }

    fn nodes(&mut self, names: &[&str], forward: &str) {
        let lines: String = names.iter().map(|name| format!("netns add {name}\n")).collect();
        ip_batch(&[], &lines);
        let without_ipv6 = if self.has_ipv6 { "0" } else { "1" };
        for name in names {
            inside(name, || {
                // Whatever the machine's defaults are, a lab's are these.
                for (key, value) in [
                    ("ipv4/ip_forward", forward),
                    ("ipv4/conf/all/rp_filter", "0"),
                    ("ipv4/conf/default/rp_filter", "0"),
                    ("ipv4/conf/all/send_redirects", "0"),
                    ("ipv4/conf/default/send_redirects", "0"),
                    ("ipv6/conf/all/disable_ipv6", without_ipv6),
                    ("ipv6/conf/default/disable_ipv6", without_ipv6),
                    ("ipv6/conf/all/forwarding", forward),
                    // No address and no route but those that the lab gives.
                    ("ipv6/conf/all/accept_ra", "0"),
                    ("ipv6/conf/default/accept_ra", "0"),
                    ("ipv6/conf/default/autoconf", "0"),
                    ("ipv6/conf/default/router_solicitations", "0"),
                    ("ipv6/conf/default/addr_gen_mode", "1"),
                ] {
                    set_sysctl(key, value);
                }
            });
            ip_batch(&["-n", name], "link set dev lo up\n");
        }
    }

    /// A point-to-point link.
    pub fn link(&mut self, a: &str, b: &str) -> Link {
        let number = self.number();
        let ends = [end(number, 1, a, b), end(number, 2, b, a)];
        let [one, two] = &ends;
        ip_batch(&[], &veth((a, b, one.mac), (b, a, two.mac)));
        let taps = [(b, a), (a, b)].map(|(node, name)| (node.to_owned(), name.to_owned()));
        self.finish_link(number, taps.to_vec(), ends.to_vec())
    }

    /// A shared link: a bridge that learns, in a namespace called as the link is.
    pub fn lan(&mut self, name: &str, nodes: &[&str]) -> Link {
        let number = self.number();
        self.hosts(&[name]);
        let bridge = "link add name br type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n";
        let ends: Vec<End> =
            (1..).zip(nodes).map(|(at, node)| end(number, at, node, name)).collect();
        let mut wires = String::new();
        let mut ports = bridge.to_owned();
        for end in &ends {
            let port = [0x02, 0x78, 0xff, 0, number, end.mac[5]];
            wires += &veth((&end.node, name, end.mac), (name, &end.node, port));
            ports += &format!("link set dev {0} master br\nlink set dev {0} up\n", end.node);
        }
        ip_batch(&[], &wires);
        ip_batch(&["-n", name], &(ports + "link set dev br up\n"));
        self.finish_link(number, vec![(name.to_owned(), "br".to_owned())], ends)
    }

    fn number(&mut self) -> u8 {
        self.made = self.made.checked_add(1).expect("no test has so many links");
        self.made
    }

    fn finish_link(&mut self, number: u8, taps: Vec<(String, String)>, ends: Vec<End>) -> Link {
        for End { node, interface, address, address_v6, link_local, .. } in &ends {
            let mut lines = format!("address add {address}/24 brd + dev {interface}\n");
            if self.has_ipv6 {
                for own in [address_v6, link_local] {
                    lines += &format!("address add {own}/64 dev {interface} nodad\n");
                }
            }
            ip_batch(&["-n", node], &(lines + &format!("link set dev {interface} up\n")));
        }
        for End { node, interface, .. } in &ends {
            wait_for_carrier(&format!("-n {node}"), interface);
        }
        let link = Link { number, taps, ends };
        self.links.push(link.clone());
        link
    }

    /// Forgets a node whose links the test has deleted.
    pub fn unplugged(&mut self, node: &str) {
        self.links.retain(|link| link.ends.iter().all(|end| end.node != node));
    }

    /// The interface of `node` that is called `interface`.
    pub fn end(&self, node: &str, interface: &str) -> &End {
        let mut ends = self.links.iter().flat_map(|link| &link.ends);
        ends.find(|end| end.node == node && end.interface == interface)
            .unwrap_or_else(|| panic!("{node} has no interface {interface}"))
    }

    pub fn address(&self, node: &str, interface: &str) -> Ipv4Addr {
        self.end(node, interface).address
    }

    pub fn address_v6(&self, node: &str, interface: &str) -> Ipv6Addr {
        self.end(node, interface).address_v6
    }

    pub fn link_local(&self, node: &str, interface: &str) -> Ipv6Addr {
        self.end(node, interface).link_local
    }

    /// A node's address of one IP version.
    pub fn address_of(&self, version: Version, node: &str, interface: &str) -> IpAddr {
        match version {
            Version::V4 => self.address(node, interface).into(),
            Version::V6 => self.address_v6(node, interface).into(),
        }
    }

    /// Runs `ip` on a node, such as `lab.ip("r1", "route add ...")`.
    pub fn ip(&self, node: &str, command: &str) -> String {
        run(&format!("ip -n {node} {command}"))
    }

    /// Forgets all neighbors everywhere, as if nobody had ever spoken.
    pub fn forget_neighbors(&self) {
        for end in self.links.iter().flat_map(|link| &link.ends) {
            self.ip(&end.node, &format!("neighbor flush dev {} nud all", end.interface));
        }
    }

    // --- Programs ---------------------------------------------------------------------------

    /// Starts routers with the smallest configuration, and waits until all of them forward.
    pub fn start_routers(&mut self, nodes: &[&str]) {
        let plain: Vec<(&str, &str)> = nodes.iter().map(|node| (*node, "")).collect();
        self.start_routers_with(&plain);
    }

    /// Starts routers, each with more configuration, and waits until all of them forward.
    pub fn start_routers_with(&mut self, nodes: &[(&str, &str)]) {
        for (node, more) in nodes {
            self.launch_router(node, more);
        }
        for (node, _) in nodes {
            self.routers[*node].log.wait_for(Stream::Output, "ready");
            // A link that was just set up has its carrier a moment later.
            until(&format!("all ports of {node} are up"), || {
                let ports = self.show(node, "ports");
                let mut each = ports["ports"].as_array()?.iter();
                each.all(|port| port["state"] == "up").then_some(())
            });
        }
    }

    /// Starts a router with more configuration; returns what it says when it is ready.
    pub fn start_router(&mut self, node: &str, more: &str) -> String {
        self.launch_router(node, more);
        self.routers[node].log.wait_for(Stream::Output, "ready")
    }

    fn launch_router(&mut self, node: &str, more: &str) {
        let file = write_config(node, more);
        let mut command = xcast();
        let process = self.run(node, node, command.args(["router", "run", "--config", &file]));
        self.routers.insert(node.to_owned(), process);
    }

    /// Starts a program on a node; its log is shown if the test fails.
    pub fn run(&mut self, node: &str, name: &str, command: &mut Command) -> Process {
        let process = Process::start(node, name, command);
        self.logs.push(Arc::clone(&process.log));
        process
    }

    pub fn router(&self, node: &str) -> &Process {
        &self.routers[node]
    }

    /// A router that the test itself will end.
    pub fn take_router(&mut self, node: &str) -> Process {
        self.routers.remove(node).unwrap_or_else(|| panic!("no router runs on {node}"))
    }

    /// Stops a router by SIGTERM, which it must follow with status 0.
    pub fn stop_router(&mut self, node: &str) {
        self.routers[node].signal(Signal::SIGTERM);
        let ended = self.take_router(node).finish();
        assert_eq!(ended.status, Some(0), "{node} after SIGTERM: {:?}", ended.errors);
    }

    /// Kills a router, as a crash would.
    pub fn kill_router(&mut self, node: &str) {
        self.routers[node].signal(Signal::SIGKILL);
        let ended = self.take_router(node).finish();
        assert_eq!(ended.status, None, "a signal ended it");
    }

    /// Sends by `xcast send` from a node; the words are its arguments.
    pub fn send(&mut self, node: &str, arguments: &str) -> Ended {
        let ended = self.try_send(node, arguments);
        assert_eq!(ended.status, Some(0), "xcast send {arguments}: {:?}", ended.errors);
        ended
    }

    /// The same, whatever comes of it.
    pub fn try_send(&mut self, node: &str, arguments: &str) -> Ended {
        let mut command = xcast();
        command.args(["send", "--experiment", EXPERIMENT_FILE]).args(arguments.split(' '));
        self.run(node, "send", &mut command).finish()
    }

    /// An ordinary UDP socket on a node, bound to one address, so that a datagram to any other
    /// does not reach it.
    pub fn receiver(&self, node: &str, at: impl Into<SocketAddr>) -> UdpSocket {
        let at = at.into();
        let socket = inside(node, || UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}")));
        socket.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        socket
    }

    /// Captures on all links.
    pub fn capture_all(&self) -> Vec<Capture> {
        self.links.iter().map(|link| self.capture(link)).collect()
    }

    /// Captures whatever crosses a link.
    pub fn capture(&self, link: &Link) -> Capture {
        let ends = self.links.iter().flat_map(|link| &link.ends);
        Capture::start(link, ends.map(|end| (end.mac, end.node.clone())).collect())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.logs.iter().for_each(|log| eprint!("{log}"));
        }
    }
}

/// The next datagram has this source and payload, and it is the only one.
pub fn assert_receives(socket: &UdpSocket, source: impl Into<SocketAddr>, payload: &str) {
    let source = source.into();
    let mut buffer = [0; 2000];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram arrives");
    assert_eq!(String::from_utf8_lossy(&buffer[..length]), payload);
    assert_eq!(from, source);
    assert_empty(socket);
}

/// Nothing has arrived.
pub fn assert_empty(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("it is a socket");
    let more = socket.recv_from(&mut [0; 2000]).map_err(|error| error.kind());
    assert_eq!(more, Err(std::io::ErrorKind::WouldBlock), "one datagram too many");
    socket.set_nonblocking(false).expect("it is a socket");
}

/// The program under test.
pub fn xcast() -> Command {
    Command::new(env!("CARGO_BIN_EXE_xcast"))
}

pub fn socket_path(node: &str) -> String {
    format!("{FOLDER}/{node}.sock")
}

/// Writes a router's configuration: what all have, and more.
pub fn write_config(node: &str, more: &str) -> String {
    let (socket, file) = (socket_path(node), format!("{FOLDER}/{node}.toml"));
    // The tests of routers hold with any number of workers.
    let workers = std::env::var("XCAST_TEST_WORKERS");
    let workers = workers.map_or(String::new(), |count| format!("workers = {count}\n"));
    let text = format!(
        "{EXPERIMENT}\n[router]\nname = \"{node}\"\ncontrol-socket = \"{socket}\"\n{workers}\n{more}\n"
    );
    fs::write(&file, text).expect("the folder is there");
    file
}

/// Runs `body` in a thread of its own that is in a node's network namespace. Sockets and programs
/// that it makes stay there.
pub fn inside<T: Send>(node: &str, body: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        let path = format!("/run/netns/{node}");
        let namespace = fs::File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("this test may enter what it made");
        body()
    };
    std::thread::scope(|scope| match scope.spawn(enter).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn end(number: u8, at: u8, node: &str, interface: &str) -> End {
    End {
        node: node.to_owned(),
        interface: interface.to_owned(),
        address: Ipv4Addr::new(10, 9, number, at),
        address_v6: Ipv6Addr::new(0xfd00, 9, number.into(), 0, 0, 0, 0, at.into()),
        link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, number.into(), at.into()),
        mac: [0x02, 0x78, 0, 0, number, at],
    }
}

/// A pair of interfaces: each a node, a name and an address.
fn veth(a: (&str, &str, Mac), b: (&str, &str, Mac)) -> String {
    let half = |(node, name, mac): (&str, &str, Mac)| {
        let mac = mac.map(|octet| format!("{octet:02x}")).join(":");
        format!("{name} address {mac} netns {node}")
    };
    format!("link add name {} type veth peer name {}\n", half(a), half(b))
}

/// Runs many `ip` commands in one process.
pub fn ip_batch(options: &[&str], lines: &str) {
    let mut command = Command::new("ip");
    command.args(options).args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("iproute2 is installed");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(lines.as_bytes()).expect("ip reads its commands");
    drop(input);
    let output = child.wait_with_output().expect("it is our child");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {options:?}: {errors}\n{lines}");
}

fn set_sysctl(key: &str, value: &str) {
    let path = format!("/proc/sys/net/{key}");
    // A kernel without IPv6 has no switches for it.
    if fs::exists(&path).is_ok_and(|there| there) {
        fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

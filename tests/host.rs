//! The host library on real kernels: what it puts on the wire, who gets it, what it tells of those
//! who do not, and what it receives. Packets are read by code that is not the library's.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

#[path = "host/gateways.rs"]
mod gateways;
#[path = "host/keep_xcast.rs"]
mod keep_xcast;
#[path = "host/lists.rs"]
mod lists;
#[path = "host/narrow.rs"]
mod narrow;
#[path = "host/sizes.rs"]
mod sizes;
#[path = "host/source_port.rs"]
mod source_port;
#[path = "host/unreachable.rs"]
mod unreachable;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use lab::capture::{Capture, Form};
use lab::process::PATIENCE;
use lab::{Lab, Link, Version, inside, ip_batch};
use xcast::host::{
    Answer, Destination, Inbox, Message, Options, Received, Sent, Trouble, TroubleKind, XcastSocket,
};
use xcast::io::datagram::ReportKind;
use xcast::wire::CodePoints;

const BOTH: [Version; 2] = [Version::V4, Version::V6];
const PORT: u16 = 9000;
const SOURCE_PORT: u16 = 5000;
/// Those of the lab's routers.
const CODE_POINTS: CodePoints = CodePoints {
    ip_protocol: 253,
    all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
    all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
    routing_type: 253,
    ports_option: 0x5e,
    hop_by_hop_option: 0x1e,
};

/// An Xcast socket on a node: whatever it does is done in that node's network namespace.
struct Host {
    node: String,
    socket: XcastSocket,
}

impl Host {
    /// With the source port [`SOURCE_PORT`].
    fn open(node: &str) -> Host {
        Host::open_with(node, Options::default())
    }

    /// With the source port [`SOURCE_PORT`], unless another one is named.
    fn open_with(node: &str, mut options: Options) -> Host {
        if options.source_port == 0 {
            options.source_port = SOURCE_PORT;
        }
        let socket = inside(node, || XcastSocket::open(CODE_POINTS, &options)).unwrap();
        Host { node: node.to_owned(), socket }
    }

    fn with<T: Send>(&mut self, body: impl FnOnce(&mut XcastSocket) -> T + Send) -> T {
        let socket = &mut self.socket;
        inside(&self.node, move || body(socket))
    }

    fn send(&mut self, message: &Message<'_>) -> Sent {
        self.with(|socket| socket.send(message)).unwrap()
    }

    fn send_to(&mut self, to: &[SocketAddr], payload: &str) -> Sent {
        let destinations = list(to);
        let payload = payload.as_bytes();
        self.send(&Message { destinations: &destinations, payload, ..Message::default() })
    }

    /// Sends to everybody in so many packets.
    fn send_all(&mut self, to: &[SocketAddr], payload: &str, packets: usize) {
        assert_eq!(self.send_to(to, payload), Sent { packets, unsent: Vec::new() });
    }

    /// The next datagram.
    fn receive(&mut self) -> Received {
        let received = self.with(|socket| socket.receive(Some(PATIENCE)));
        unstamped(received.unwrap().expect("a datagram arrives"))
    }

    /// Waits for so many troubles: whom each is about, and what it is, in order of destinations.
    fn told(&mut self, count: usize) -> Vec<(SocketAddr, TroubleKind)> {
        let told = self.troubles(count).into_iter().map(|t| (t.destination, t.kind));
        let mut told: Vec<_> = told.collect();
        told.sort_by_key(|(destination, _)| *destination);
        told
    }

    /// Waits for so many troubles; no more come along with them.
    fn troubles(&mut self, count: usize) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        while troubles.len() < count {
            match self.with(|socket| socket.receive_answer(Some(PATIENCE))).unwrap() {
                Some(Answer::Trouble(trouble)) => troubles.push(trouble),
                Some(Answer::Datagram(datagram)) => panic!("{datagram:?} beside {troubles:?}"),
                None => panic!("{count} troubles were to come, not {troubles:?}"),
            }
        }
        assert_eq!(self.with(XcastSocket::take_troubles), [], "beside {troubles:?}");
        troubles
    }
}

/// Destinations without a DSCP of their own.
fn list(to: &[SocketAddr]) -> Vec<Destination> {
    to.iter().map(|to| Destination { address: to.ip(), port: to.port(), dscp: None }).collect()
}

fn too_big(mtu: u32) -> TroubleKind {
    TroubleKind::Reported(ReportKind::TooBig { mtu })
}

/// A listener for plain and Xcast datagrams to a port of a node.
fn inbox(node: &str, port: u16) -> Inbox {
    inside(node, || Inbox::open(None, port, Some(CODE_POINTS))).unwrap()
}

fn next(inbox: &mut Inbox) -> Received {
    let received = inbox.next(Some(Instant::now() + PATIENCE)).unwrap();
    unstamped(received.expect("a datagram arrives"))
}

/// What can be foreseen of a datagram: of a plain one the kernel has said when it came.
fn unstamped(received: Received) -> Received {
    assert_eq!(received.stamp.is_some(), received.channel.is_none(), "{received:?}");
    Received { stamp: None, ..received }
}

/// Hosts around one forwarder, `r`, which is the default gateway of each over both IP versions.
fn star(hosts: &[&str]) -> Lab {
    let mut lab = Lab::dual_stack();
    lab.hosts(hosts);
    lab.forwarders(&["r"]);
    for host in hosts {
        lab.link(host, "r");
        default_route(&lab, host, "r");
    }
    lab
}

/// Lets a node reach everything by a neighbor, over both IP versions.
fn default_route(lab: &Lab, node: &str, via: &str) {
    let (v4, v6) = (lab.address(via, node), lab.address_v6(via, node));
    ip_batch(
        &["-n", node],
        &format!("route add default via {v4}\nroute add default via {v6} dev {via}\n"),
    );
}

/// Tells a node to reach the link between two others by a neighbor.
fn route(lab: &Lab, node: &str, via: &str, (far, near): (&str, &str)) {
    let link = link(lab, far, near);
    let (v4, v6) = (lab.address(via, node), lab.address_v6(via, node));
    let (to_v4, to_v6) = (link.subnet(), link.subnet_v6());
    ip_batch(
        &["-n", node],
        &format!("route add {to_v4} via {v4}\nroute add {to_v6} via {v6} dev {via}\n"),
    );
}

/// The link between two nodes.
fn link<'a>(lab: &'a Lab, one: &str, other: &str) -> &'a Link {
    let joins = |link: &&Link| {
        [one, other].iter().all(|node| link.ends.iter().any(|end| end.node == **node))
    };
    lab.links.iter().find(joins).unwrap()
}

/// Makes a link narrower, for both of its nodes.
fn narrow(lab: &Lab, one: &str, other: &str, mtu: u32) {
    lab.ip(one, &format!("link set dev {other} mtu {mtu}"));
    lab.ip(other, &format!("link set dev {one} mtu {mtu}"));
}

/// Where a host receives.
fn at(lab: &Lab, version: Version, host: &str) -> SocketAddr {
    SocketAddr::new(lab.address_of(version, host, "r"), PORT)
}

/// What `a` sends from.
fn source(lab: &Lab, version: Version) -> SocketAddr {
    SocketAddr::new(lab.address_of(version, "a", "r"), SOURCE_PORT)
}

/// Gives a host behind `r` so many more addresses; `r` knows the way.
fn many(lab: &Lab, host: &str, version: Version, count: u16) -> Vec<SocketAddr> {
    let address = |number: u16| -> IpAddr {
        let [high, low] = number.to_be_bytes();
        match version {
            Version::V4 => Ipv4Addr::new(10, 8, high, low).into(),
            Version::V6 => Ipv6Addr::new(0xfd08, 0, 0, 0, 0, 0, 0, number).into(),
        }
    };
    let addresses: Vec<IpAddr> = (1..=count).map(address).collect();
    let lines = addresses.iter().map(|address| format!("address add {address} dev lo nodad\n"));
    ip_batch(&["-n", host], &lines.collect::<String>());
    let subnet = match version {
        Version::V4 => "10.8.0.0/16",
        Version::V6 => "fd08::/64",
    };
    let via = lab.address_of(version, host, "r");
    lab.ip("r", &format!("route add {subnet} via {via}"));
    addresses.into_iter().map(|address| SocketAddr::new(address, PORT)).collect()
}

/// Ordinary sockets on a node, one for each address.
fn receivers(node: &str, to: &[SocketAddr]) -> Vec<UdpSocket> {
    let bind = |at: &SocketAddr| UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
    let sockets: Vec<_> = inside(node, || to.iter().map(bind).collect());
    for socket in &sockets {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    sockets
}

/// The forms of the copies that `from` has sent by a link since the last call, in their order.
fn forms(capture: &Capture, from: &str) -> Vec<Form<SocketAddr>> {
    let copies = capture.take_all().into_iter();
    copies.filter(|copy| copy.from == from).map(|copy| copy.form).collect()
}

/// What comes of a list that is split.
fn xcast(packets: &[&[SocketAddr]]) -> Vec<Form<SocketAddr>> {
    packets.iter().map(|packet| Form::Xcast(packet.to_vec())).collect()
}

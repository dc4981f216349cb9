//! One message on its way through the network: the real packet path in the nodes that speak Xcast,
//! plain forwarding in the others, and every packet on every link counted.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::made_up::CODE_POINTS;
use super::abilene::{
    COUNT, LINK_COUNT, Node, Paths, SOURCE, across, address, ends, host, name, owner,
};
use super::deployment::{Deployment, interface, link_of};
use crate::fib::Fib;
use crate::forward::{
    Decapsulated, LINK_HEADER_LEN, Onward, Output, Packet, Target, Time, decapsulate, process,
    send_on,
};
use crate::host::{Destination, Message};
use crate::wire::ipv4;
use crate::wire::tunnel::{OUTER_TTL, Outer};

/// The port that receivers have.
const PORT: u16 = 9;

/// How many packets crossed each link, there and back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Crossings(pub(super) [[u32; 2]; LINK_COUNT]);

impl Crossings {
    /// A packet leaves a node by a link.
    pub(super) fn count(&mut self, link: usize, from: Node) {
        self.0[link][usize::from(ends(link).0 != from)] += 1;
    }

    /// What one unicast packet to each receiver makes.
    pub(super) fn unicast(paths: &Paths) -> Crossings {
        let mut crossings = Crossings::default();
        for to in receivers() {
            crossings.count_path(paths, host(SOURCE), to);
        }
        crossings
    }

    /// One packet on each link of a path.
    pub(super) fn count_path(&mut self, paths: &Paths, from: Node, to: Node) {
        let mut at = from;
        for node in paths.beyond(from, to) {
            paths.next(at, to).into_iter().for_each(|link| self.count(link, at));
            at = node;
        }
    }

    pub(super) fn total(&self) -> u32 {
        self.0.iter().flatten().sum()
    }

    /// Every direction of every link: from, to, packets.
    pub(super) fn each(&self) -> impl Iterator<Item = (Node, Node, u32)> + '_ {
        self.0.iter().enumerate().flat_map(|(link, [there, back])| {
            let (one, other) = ends(link);
            [(one, other, *there), (other, one, *back)]
        })
    }
}

/// The hosts that are sent to: all but the one that sends.
pub(super) fn receivers() -> impl Iterator<Item = Node> {
    (0..COUNT).filter(|city| *city != SOURCE).map(host)
}

/// A packet at a node.
struct Arrival {
    at: Node,
    /// The link that it came by; `None` if it began here.
    by: Option<usize>,
    /// Room for a link-layer header, then the packet.
    frame: Vec<u8>,
    /// It lies in a tunnel's packet.
    outer: Option<Envelope>,
}

#[derive(Clone, Copy)]
struct Envelope {
    /// As the end that opens it will see it.
    outer: Outer,
    ttl: u8,
}

/// A node that speaks Xcast.
struct Speaker {
    fib: Fib,
    out: Output,
}

struct Traffic<'a> {
    paths: &'a Paths,
    speakers: BTreeMap<Node, Speaker>,
    queue: VecDeque<Arrival>,
    crossings: Crossings,
    /// By node: packets that have come to where they should.
    received: [u32; 2 * COUNT],
}

/// Sends one message to all receivers, by Xcast as far as there is some.
///
/// # Errors
/// A packet is dropped, or a receiver does not get exactly one: neither should be.
pub(super) fn send(deployment: &Deployment<'_>) -> Result<Crossings, String> {
    let speakers = deployment.fibs().into_iter().map(|(node, fib)| {
        let out = Output::new(&fib);
        (node, Speaker { fib, out })
    });
    let mut traffic = Traffic {
        paths: deployment.paths,
        speakers: speakers.collect(),
        queue: VecDeque::new(),
        crossings: Crossings::default(),
        received: [0; 2 * COUNT],
    };
    let destination = |node| Destination { address: address(node).into(), port: PORT, dscp: None };
    let destinations: Vec<Destination> = receivers().map(destination).collect();
    let message = Message { destinations: &destinations, payload: b"hello", ..Message::default() };
    let from = host(SOURCE);
    let frame = message.packet(&CODE_POINTS, address(from).into(), PORT);
    let frame = frame.map_err(|error| error.to_string())?;
    traffic.queue.push_back(Arrival { at: from, by: None, frame, outer: None });
    while let Some(arrival) = traffic.queue.pop_front() {
        let at = arrival.at;
        traffic.arrive(arrival).map_err(|why| format!("at {}: {why}", name(at)))?;
    }
    match receivers().find(|node| traffic.received[*node] != 1) {
        None => Ok(traffic.crossings),
        Some(node) => {
            let count = traffic.received[node];
            Err(format!("{} has {count} packets instead of one", name(node)))
        }
    }
}

impl Traffic<'_> {
    fn arrive(&mut self, mut arrival: Arrival) -> Result<(), String> {
        if let Some(Envelope { outer, .. }) = arrival.outer {
            return match owner_of(outer.local.ip())? == arrival.at {
                true => self.open(arrival, outer),
                false => self.forward(arrival),
            };
        }
        let packet = &mut arrival.frame[LINK_HEADER_LEN..];
        let ip = ipv4::Packet::parse(packet).map_err(|error| format!("{error:?}"))?;
        if ip.destination() == CODE_POINTS.all_routers_v4 {
            let port = arrival
                .by
                .and_then(|link| self.speakers.get(&arrival.at)?.fib.port_of(interface(link)));
            return self.replicate(arrival.at, arrival.frame, LINK_HEADER_LEN, port);
        }
        if owner_of(ip.destination().into())? == arrival.at {
            self.received[arrival.at] += 1;
            return Ok(());
        }
        self.forward(arrival)
    }

    /// As a router that knows no Xcast, and any kernel, does: by the outermost destination.
    fn forward(&mut self, mut arrival: Arrival) -> Result<(), String> {
        let packet = &mut arrival.frame[LINK_HEADER_LEN..];
        let (to, ttl) = match &mut arrival.outer {
            Some(envelope) => {
                envelope.ttl -= 1;
                (owner_of(envelope.outer.local.ip())?, envelope.ttl)
            }
            None => {
                let ip = ipv4::Packet::parse(packet).map_err(|error| format!("{error:?}"))?;
                let (to, ttl) = (owner_of(ip.destination().into())?, ip.ttl() - 1);
                ipv4::set_ttl(packet, ttl);
                (to, ttl)
            }
        };
        if ttl == 0 {
            return Err("a packet goes round and round".to_owned());
        }
        let link = self.paths.next(arrival.at, to).ok_or("no route")?;
        self.cross(link, arrival);
        Ok(())
    }

    fn cross(&mut self, link: usize, arrival: Arrival) {
        self.crossings.count(link, arrival.at);
        let at = across(link, arrival.at);
        self.queue.push_back(Arrival { at, by: Some(link), ..arrival });
    }

    /// What has come to the end of a tunnel.
    fn open(&mut self, mut arrival: Arrival, outer: Outer) -> Result<(), String> {
        let fib = &self.speakers.get(&arrival.at).ok_or("no end of a tunnel")?.fib;
        let opened = decapsulate(fib, outer, &mut arrival.frame, LINK_HEADER_LEN);
        match opened.map_err(|reason| format!("{reason:?}"))? {
            Decapsulated::Xcast { port, start } => {
                self.replicate(arrival.at, arrival.frame, start, Some(port))
            }
            Decapsulated::Plain { port, start, .. } => {
                let onward = send_on(fib, port, &mut arrival.frame[start..]);
                match onward.map_err(|reason| format!("{reason:?}"))? {
                    Onward::Here | Onward::Forward => {
                        self.arrive(Arrival { by: None, outer: None, ..arrival })
                    }
                    Onward::Tunnel(_) => Err("a lone packet for a second tunnel".to_owned()),
                }
            }
            other => Err(format!("{other:?} is no traffic")),
        }
    }

    /// The packet path itself.
    fn replicate(
        &mut self,
        at: Node,
        mut frame: Vec<u8>,
        start: usize,
        port: Option<u16>,
    ) -> Result<(), String> {
        let speaker = self.speakers.get_mut(&at).ok_or("it does not speak Xcast")?;
        let Speaker { fib, out } = speaker;
        let packet = Packet { buffer: &mut frame, start, port, to_group: false, index: 0 };
        process(fib, packet, Time(0), out);
        if let Some((reason, _)) = out.dropped().next() {
            return Err(format!("dropped, {reason:?}"));
        }
        if out.replicas().is_empty() {
            return Err(format!("refused: {:?}", out.samples.all().last()));
        }
        let mut leaving = Vec::new();
        for replica in out.replicas() {
            let Target::Port(port) = replica.target else {
                return Err(format!("a copy goes nowhere: {:?}", replica.target));
            };
            let port = fib.port(port).ok_or("no port")?;
            let (head, tail) = out.pieces(replica, &frame);
            let frame = [head, tail].concat();
            leaving.push(match port.tunnel {
                None => (Some(link_of(port.interface)), frame, None),
                Some(tunnel) => {
                    let outer = Outer {
                        encapsulation: tunnel.encapsulation,
                        local: tunnel.remote,
                        remote: tunnel.local,
                        traffic_class: 0,
                    };
                    (None, frame, Some(Envelope { outer, ttl: OUTER_TTL }))
                }
            });
        }
        out.clear();
        for (link, frame, outer) in leaving {
            let arrival = Arrival { at, by: None, frame, outer };
            match link {
                Some(link) => self.cross(link, arrival),
                None => self.emit(arrival)?,
            }
        }
        Ok(())
    }

    /// The kernel sends a tunnel's packet.
    fn emit(&mut self, arrival: Arrival) -> Result<(), String> {
        let to = arrival.outer.map(|envelope| envelope.outer.local);
        let to = to.map(|end: SocketAddr| owner_of(end.ip())).ok_or("no tunnel")??;
        let link = self.paths.next(arrival.at, to).ok_or("no route")?;
        self.cross(link, arrival);
        Ok(())
    }
}

fn owner_of(address: IpAddr) -> Result<Node, String> {
    let v4: Option<Ipv4Addr> = match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    };
    v4.and_then(owner).ok_or_else(|| format!("{address} is nobody's"))
}

//! Whole networks in memory: random topologies of routers, shared LANs and hosts, in which every
//! node runs the product's own Rib and packet path, and frames go from port to port. Every node has
//! addresses of both families; IPv6 routes go by link-local gateways. For every
//! packet: each listed host gets exactly its datagrams, each next hop at most one Xcast copy, and
//! every link exactly the copies that the union of the unicast paths calls for.
//! A failing network prints its seed; `XCAST_TEST_SEED=N` runs that one alone.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xcast::fib::{Entry, Fib, Prefix};
use xcast::forward::{LINK_HEADER_LEN, Output, Packet, Target, Time, process};
use xcast::rib::{
    Address, Change, KernelRoute, Link, LinkKind, Neighbor, NeighborState, NextHop, Placement, Rib,
    RouteAction, Settings,
};
use xcast::wire::{CodePoints, ipv4, ipv6, udp, xcast4, xcast6};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114);
const PROTOCOL: u8 = 253;

type Node = usize;

/// A link: two routers, a router and a host, or a LAN with any of them.
struct Segment {
    nodes: Vec<Node>,
}

struct Network {
    routers: usize,
    segments: Vec<Segment>,
    /// By node: every next node, by the node at the end of the way.
    next: Vec<BTreeMap<Node, Node>>,
    fibs: Vec<Fib>,
}

/// Copies by link and direction: Xcast and unicast.
type Copies = BTreeMap<(Node, Node), (usize, usize)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    fn address(self, segment: usize, node: Node) -> IpAddr {
        let host = node as u8 + 1;
        match self {
            Family::V4 => Ipv4Addr::new(10, segment as u8, 0, host).into(),
            Family::V6 => {
                Ipv6Addr::new(0x2001, 0xdb8, segment as u16, 0, 0, 0, 0, host.into()).into()
            }
        }
    }

    fn prefix_length(self) -> u8 {
        if self == Family::V4 { 24 } else { 64 }
    }

    /// The address by which others use a node as a gateway, the same on all its links in IPv6.
    fn gateway(self, segment: usize, node: Node) -> IpAddr {
        match self {
            Family::V4 => self.address(segment, node),
            Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, node as u16 + 1).into(),
        }
    }
}

fn link_address(segment: usize, node: Node) -> [u8; 6] {
    [2, 0, 0, 0, segment as u8, node as u8]
}

impl Network {
    fn random(rng: &mut impl Rng) -> Network {
        let routers = rng.random_range(3..13);
        let nodes = routers + rng.random_range(2..21);
        let mut segments: Vec<Segment> = (1..routers)
            .map(|router| Segment { nodes: vec![rng.random_range(0..router), router] })
            .collect();
        for _ in 0..rng.random_range(0..routers) {
            // More links, some of them LANs of several routers.
            let members = rng.random_range(2..5).min(routers);
            let nodes: BTreeSet<Node> =
                (0..members).map(|_| rng.random_range(0..routers)).collect();
            if nodes.len() > 1 {
                segments.push(Segment { nodes: nodes.into_iter().collect() });
            }
        }
        for host in routers..nodes {
            // A link of its own, or a place on one that is there.
            match rng.random_bool(0.5) {
                true => segments.push(Segment { nodes: vec![rng.random_range(0..routers), host] }),
                false => {
                    let lan = rng.random_range(0..segments.len());
                    segments[lan].nodes.push(host);
                }
            }
        }
        let mut network = Network { routers, segments, next: Vec::new(), fibs: Vec::new() };
        network.next = (0..nodes).map(|_| BTreeMap::new()).collect();
        (0..nodes).for_each(|target| network.route_to(target));
        network.fibs = (0..nodes).map(|node| network.rib(node).compile()).collect();
        network
    }

    fn segments_of(&self, node: Node) -> impl Iterator<Item = usize> + '_ {
        (0..self.segments.len()).filter(move |&s| self.segments[s].nodes.contains(&node))
    }

    /// The segment that leads from one node to a neighbor.
    fn segment(&self, from: Node, to: Node) -> Option<usize> {
        self.segments_of(from).find(|&segment| self.segments[segment].nodes.contains(&to))
    }

    fn home(&self, host: Node) -> usize {
        self.segments_of(host).next().unwrap()
    }

    /// Shortest ways to a node from everywhere, through routers only, lowest number first.
    fn route_to(&mut self, target: Node) {
        let mut pending = VecDeque::from([target]);
        let mut seen = BTreeSet::from([target]);
        while let Some(node) = pending.pop_front() {
            if node != target && node >= self.routers {
                continue; // hosts do not forward
            }
            let mut neighbors: Vec<Node> = self
                .segments_of(node)
                .flat_map(|segment| self.segments[segment].nodes.clone())
                .filter(|neighbor| !seen.contains(neighbor))
                .collect();
            neighbors.sort_unstable();
            neighbors.dedup();
            for neighbor in neighbors {
                seen.insert(neighbor);
                self.next[neighbor].insert(target, node);
                pending.push_back(neighbor);
            }
        }
    }

    /// What the kernel of a node would say: links, addresses, neighbors, and a host route to every
    /// host that is not on its own links.
    fn rib(&self, node: Node) -> Rib {
        let mut settings = Settings::open(CodePoints {
            ip_protocol: PROTOCOL,
            all_routers_v4: GROUP,
            all_routers_v6: GROUP_V6,
            routing_type: PROTOCOL,
            ports_option: 0x5e,
            hop_by_hop_option: 0x1e,
        });
        // Shortest ways there and back may differ.
        if let xcast::rib::PortPolicy::All(ports) = &mut settings.ports {
            ports.reverse_path = xcast::fib::ReversePath::Loose;
        }
        let mut rib = Rib::new(settings);
        for segment in self.segments_of(node) {
            let interface = segment as u32 + 1;
            rib.apply(Change::Link(Link {
                index: interface,
                name: format!("eth{interface}"),
                mtu: 1500,
                kind: LinkKind::Ethernet,
                address: Some(link_address(segment, node)),
                admin_up: true,
                carrier: true,
                master: None,
            }));
            FAMILIES.into_iter().for_each(|family| self.attach(&mut rib, node, segment, family));
        }
        for (&target, &next) in
            self.next[node].iter().filter(|(target, _)| **target >= self.routers)
        {
            let home = self.home(target);
            if !self.segments_of(node).any(|segment| segment == home) {
                let segment = self.segment(node, next).unwrap();
                for family in FAMILIES {
                    let gateway = family.gateway(segment, next);
                    let host = Prefix::host(family.address(home, target));
                    rib.apply(route(host, segment as u32 + 1, Some(gateway)));
                }
            }
        }
        rib
    }

    /// A node's addresses on a link, the link's subnet, and the other nodes there.
    fn attach(&self, rib: &mut Rib, node: Node, segment: usize, family: Family) {
        let (interface, prefix_length) = (segment as u32 + 1, family.prefix_length());
        for address in [family.address(segment, node), family.gateway(segment, node)] {
            let (peer, broadcast) = (None, None);
            let own = Address { interface, address, prefix_length, peer, broadcast };
            rib.apply(Change::Address(own));
        }
        let subnet = Prefix::new(family.address(segment, node), prefix_length).unwrap();
        rib.apply(route(subnet, interface, None));
        for &other in self.segments[segment].nodes.iter().filter(|&&other| other != node) {
            for address in [family.address(segment, other), family.gateway(segment, other)] {
                rib.apply(Change::Neighbor(Neighbor {
                    interface,
                    address,
                    link_address: Some(link_address(segment, other)),
                    state: NeighborState::Reachable,
                }));
            }
        }
    }

    /// Sends one packet and follows every copy to its end: copies by link, and how often each host
    /// got it.
    fn send(
        &self,
        family: Family,
        source: Node,
        hosts: &[Node],
        out: &mut [Output],
    ) -> (Copies, Vec<usize>) {
        let mut copies = Copies::new();
        let mut received = vec![0; self.fibs.len()];
        let address = |host| family.address(self.home(host), host);
        let packet = match family {
            Family::V4 => packet_v4(address(source), hosts.iter().copied().map(address)),
            Family::V6 => packet_v6(address(source), hosts.iter().copied().map(address)),
        };
        let mut pending = VecDeque::from([(source, None, packet)]);
        while let Some((node, port, mut buffer)) = pending.pop_front() {
            if let Some(unicast) = Unicast::parse(&buffer[LINK_HEADER_LEN..]) {
                match self.forward_unicast(node, unicast.destination) {
                    None => {
                        assert!(unicast.is_whole());
                        received[node] += 1;
                    }
                    Some(next) => {
                        copies.entry((node, next)).or_default().1 += 1;
                        pending.push_back((next, None, buffer));
                    }
                }
                continue;
            }
            let out = &mut out[node];
            let fib = &self.fibs[node];
            let start = LINK_HEADER_LEN;
            process(
                fib,
                Packet { buffer: &mut buffer, start, port, to_group: false, index: 0 },
                Time(0),
                out,
            );
            for replica in out.replicas().to_vec() {
                let (head, tail) = out.pieces(&replica, &buffer);
                let frame = [head, tail].concat();
                out.counters.sent(&replica);
                let Target::Port(_) = replica.target else { panic!("{:?}", replica.target) };
                let [_, _, _, _, segment, next] = frame[..6] else { panic!() };
                let (segment, next) = (usize::from(segment), usize::from(next));
                let is_xcast = Unicast::parse(&frame[LINK_HEADER_LEN..]).is_none();
                let count = copies.entry((node, next)).or_default();
                if is_xcast {
                    count.0 += 1
                } else {
                    count.1 += 1
                }
                let interface = segment as u32 + 1;
                let ports = self.fibs[next].ports();
                let port =
                    ports.iter().position(|p| p.as_ref().is_some_and(|p| p.interface == interface));
                pending.push_back((next, port.map(|port| port as u16), frame));
            }
            out.clear();
        }
        (copies, received)
    }

    /// What the kernel does with a unicast packet: the next node, or none if it is there.
    fn forward_unicast(&self, node: Node, destination: IpAddr) -> Option<Node> {
        let fib = &self.fibs[node];
        let adjacency = match fib.entry(fib.lookup(destination)) {
            Entry::Local => return None,
            Entry::Neighbor(adjacency) => fib.adjacency(*adjacency),
            Entry::Gateways(group) => fib.adjacency(fib.choose(*group, 0)),
            other => panic!("unicast to {destination} at {node}: {other:?}"),
        };
        Some(usize::from(adjacency.rewrite.unwrap()[5]))
    }

    /// What each link must carry, from the ways alone.
    fn expected(&self, source: Node, hosts: &[Node]) -> Copies {
        let mut copies = Copies::new();
        let mut pending = VecDeque::from([(source, hosts.to_vec(), true)]);
        while let Some((node, hosts, as_xcast)) = pending.pop_front() {
            let mut behind: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
            for &host in hosts.iter().filter(|&&host| host != node) {
                let on_link = self.segments_of(node).any(|segment| segment == self.home(host));
                let next = if on_link { host } else { self.next[node][&host] };
                behind.entry(next).or_default().push(host);
            }
            for (next, hosts) in behind {
                let is_host = next >= self.routers;
                if as_xcast && hosts.len() > 1 && !is_host {
                    copies.entry((node, next)).or_default().0 += 1;
                    pending.push_back((next, hosts, true));
                } else {
                    copies.entry((node, next)).or_default().1 += hosts.len();
                    pending.extend(hosts.into_iter().map(|host| (next, vec![host], false)));
                }
            }
        }
        copies
    }
}

fn route(prefix: Prefix, interface: u32, gateway: Option<IpAddr>) -> Change {
    let action = RouteAction::Forward(vec![NextHop { interface, gateway, weight: 1 }]);
    Change::Route(KernelRoute { table: 254, prefix, metric: 0, action }, Placement::First)
}

/// A packet that the kernels of routers forward.
struct Unicast<'a> {
    source: IpAddr,
    destination: IpAddr,
    datagram: &'a [u8],
}

impl Unicast<'_> {
    /// `None` if it is in Xcast form.
    fn parse(ip: &[u8]) -> Option<Unicast<'_>> {
        if ip[0] >> 4 == 4 {
            let ip = ipv4::Packet::parse(ip).unwrap();
            let (source, destination) = (ip.source().into(), ip.destination().into());
            let datagram = ip.payload();
            return (ip.protocol() != PROTOCOL).then_some(Unicast {
                source,
                destination,
                datagram,
            });
        }
        let ip = ipv6::Packet::parse(ip).unwrap();
        let (source, destination) = (ip.source().into(), ip.destination().into());
        let datagram = ip.payload();
        (ip.next_header() != 43).then_some(Unicast { source, destination, datagram })
    }

    fn is_whole(&self) -> bool {
        udp::checksum_valid(self.datagram, self.source, self.destination)
    }
}

const PAYLOAD_LEN: usize = 20;

fn packet_v4(source: IpAddr, hosts: impl Iterator<Item = IpAddr>) -> Vec<u8> {
    let v4 = |address| match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address}"),
    };
    let destinations: Vec<Ipv4Addr> = hosts.map(v4).collect();
    let header = xcast4::Repr {
        protocol: 17,
        bitmap: xcast4::all(destinations.len()),
        destinations,
        ..xcast4::Repr::default()
    };
    let at = LINK_HEADER_LEN + ipv4::HEADER_LEN + header.header_len();
    let mut packet = vec![0; at + 8 + PAYLOAD_LEN];
    let ip = ipv4::Repr {
        source: v4(source),
        destination: GROUP,
        protocol: PROTOCOL,
        traffic_class: 0,
        ttl: 64,
        payload_len: (packet.len() - LINK_HEADER_LEN - ipv4::HEADER_LEN) as u16,
    };
    ip.emit(&mut packet[LINK_HEADER_LEN..]);
    header.emit(&mut packet[LINK_HEADER_LEN + ipv4::HEADER_LEN..]).unwrap();
    let ports = udp::Repr { source_port: 5000, destination_port: 9000 };
    ports.emit(&mut packet[at..], source, GROUP);
    packet
}

fn packet_v6(source: IpAddr, hosts: impl Iterator<Item = IpAddr>) -> Vec<u8> {
    let v6 = |address| match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address}"),
    };
    let destinations: Vec<Ipv6Addr> = hosts.map(v6).collect();
    let header = xcast6::Repr {
        next_header: 17,
        routing_type: PROTOCOL,
        bitmap: xcast6::all(destinations.len()),
        destinations,
        ..xcast6::Repr::default()
    };
    let at = LINK_HEADER_LEN + ipv6::HEADER_LEN + header.header_len();
    let mut packet = vec![0; at + 8 + PAYLOAD_LEN];
    let ip = ipv6::Repr {
        source: v6(source),
        destination: GROUP_V6,
        next_header: 43,
        traffic_class: 0,
        flow_label: 0,
        hop_limit: 64,
        payload_len: (packet.len() - LINK_HEADER_LEN - ipv6::HEADER_LEN) as u16,
    };
    ip.emit(&mut packet[LINK_HEADER_LEN..]);
    header.emit(&mut packet[LINK_HEADER_LEN + ipv6::HEADER_LEN..]).unwrap();
    let ports = udp::Repr { source_port: 5000, destination_port: 9000 };
    ports.emit(&mut packet[at..], source, GROUP_V6);
    packet
}

fn check(seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let network = Network::random(&mut rng);
    let mut out: Vec<Output> = network.fibs.iter().map(Output::new).collect();
    let hosts: Vec<Node> = (network.routers..network.fibs.len()).collect();
    for _ in 0..10 {
        let source = hosts[rng.random_range(0..hosts.len())];
        let count = rng.random_range(1..30);
        let receivers: Vec<Node> = (0..count)
            .map(|_| hosts[rng.random_range(0..hosts.len())])
            .filter(|host| *host != source)
            .collect();
        if receivers.is_empty() {
            continue;
        }
        let family = FAMILIES[rng.random_range(0..2)];
        let (copies, received) = network.send(family, source, &receivers, &mut out);
        for &host in &hosts {
            let wanted = receivers.iter().filter(|receiver| **receiver == host).count();
            assert_eq!(received[host], wanted, "host {host}, XCAST_TEST_SEED={seed}");
        }
        assert!(copies.values().all(|(xcast, _)| *xcast <= 1), "XCAST_TEST_SEED={seed}");
        let expected = network.expected(source, &receivers);
        assert_eq!(copies, expected, "XCAST_TEST_SEED={seed}");
    }
    for (node, out) in out.iter().enumerate() {
        let counters = &out.counters;
        assert_eq!(counters.destinations_dropped(), 0, "node {node}, XCAST_TEST_SEED={seed}");
        assert_eq!(counters.destinations_received, counters.destinations_forwarded);
    }
}

#[test]
fn every_link_carries_exactly_the_copies_that_the_unicast_paths_call_for() {
    if let Ok(seed) = std::env::var("XCAST_TEST_SEED") {
        return check(seed.parse().expect("a seed is a number"));
    }
    let cases = std::env::var("XCAST_TEST_CASES").map_or(50, |n| n.parse().expect("a number"));
    (0..cases).for_each(check);
}

//! Random networks, their routes, and what must cross each of their links: computed from the
//! shape of the network alone, by the rules of the wire, without any code of the router's.
//!
//! Links have lengths that are nearly equal and all different, so the shortest path between two
//! links is unique, and the way back is the way there: the routers' strict check of sources
//! holds. Where two routers join the same two links, both ways take the one named first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::capture::{Copy, Form};
use super::{Lab, Link};

/// A network before it is built.
pub struct Plan {
    pub routers: Vec<String>,
    pub hosts: Vec<String>,
    pub wires: Vec<Wire>,
}

/// A link to be built: point-to-point where it has no name.
pub struct Wire {
    pub lan: Option<String>,
    pub nodes: Vec<String>,
}

impl Plan {
    /// 3 to 12 routers in one piece, 2 to 21 hosts.
    pub fn random(random: &mut impl Rng) -> Plan {
        let names = |kind: &str, count| (1..=count).map(|n| format!("{kind}{n}")).collect();
        let routers = names("r", random.random_range(3..=12));
        let hosts = names("h", random.random_range(2..=21));
        let mut plan = Plan { routers, hosts, wires: Vec::new() };
        for at in 1..plan.routers.len() {
            let earlier = random.random_range(0..at);
            plan.join(random, at, earlier);
        }
        for _ in 0..random.random_range(0..=plan.routers.len() / 2) {
            let (one, other) = (
                random.random_range(0..plan.routers.len()),
                random.random_range(0..plan.routers.len()),
            );
            plan.join(random, one, other);
        }
        for host in plan.hosts.clone() {
            plan.attach(random, host);
        }
        plan
    }

    /// Connects two routers, unless they are neighbors: by a link of their own, by a new shared
    /// link, or by the shared link that one is on.
    fn join(&mut self, random: &mut impl Rng, one: usize, other: usize) {
        let (one, other) = (self.routers[one].clone(), self.routers[other].clone());
        let both = |wire: &Wire| wire.nodes.contains(&one) && wire.nodes.contains(&other);
        if one == other || self.wires.iter().any(both) {
            return;
        }
        let on_lan = |wire: &&mut Wire| wire.lan.is_some() && wire.nodes.contains(&other);
        match random.random_range(0..10) {
            0..6 => self.wires.push(Wire { lan: None, nodes: vec![one, other] }),
            6..8 => self.add_lan(vec![one, other]),
            _ => match self.wires.iter_mut().find(on_lan) {
                Some(lan) => lan.nodes.push(one),
                None => self.add_lan(vec![one, other]),
            },
        }
    }

    /// Connects a host: to a shared link, or to a router by a link of its own.
    fn attach(&mut self, random: &mut impl Rng, host: String) {
        let router = self.routers.choose(random).expect("there are routers").clone();
        let lans: Vec<usize> =
            (0..self.wires.len()).filter(|&at| self.wires[at].lan.is_some()).collect();
        match (random.random_range(0..10), lans.choose(random)) {
            (0..4, _) => self.wires.push(Wire { lan: None, nodes: vec![router, host] }),
            (4..9, Some(&lan)) => self.wires[lan].nodes.push(host),
            _ => self.add_lan(vec![router, host]),
        }
    }

    fn add_lan(&mut self, nodes: Vec<String>) {
        let count = self.wires.iter().filter(|wire| wire.lan.is_some()).count();
        self.wires.push(Wire { lan: Some(format!("lan{}", count + 1)), nodes });
    }

    /// Builds it, without routes.
    pub fn build(&self) -> Lab {
        let mut lab = Lab::new();
        lab.hosts(&as_strs(&self.hosts));
        lab.forwarders(&as_strs(&self.routers));
        for Wire { lan: name, nodes } in &self.wires {
            match name {
                Some(name) => lab.lan(name, &as_strs(nodes)),
                None => lab.link(&nodes[0], &nodes[1]),
            };
        }
        lab
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wires = self.wires.iter();
        let mut each = wires.map(|w| (w.lan.as_deref().unwrap_or("link"), w.nodes.join(" ")));
        each.try_for_each(|(name, nodes)| writeln!(f, "  {name}: {nodes}"))
    }
}

pub fn as_strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// How a node reaches a link.
#[derive(Clone, Copy, Debug)]
struct Hop {
    /// The link to leave by.
    link: usize,
    /// The gateway; `None` where the node is on the link itself.
    gateway: Option<Ipv4Addr>,
}

/// Who reaches what how.
pub struct Routing {
    links: Vec<Link>,
    routers: BTreeSet<String>,
    /// By node and link.
    hops: BTreeMap<(String, usize), Hop>,
}

impl Routing {
    /// Shortest paths over links with the given lengths; hosts do not forward.
    pub fn shortest(lab: &Lab, routers: &[String], lengths: &[u64]) -> Routing {
        let routers = routers.iter().cloned().collect();
        let links = lab.links.clone();
        let mut routing = Routing { links, routers, hops: BTreeMap::new() };
        for target in 0..routing.links.len() {
            routing.towards(target, lengths);
        }
        routing
    }

    /// Dijkstra's algorithm from the target outwards, link by link.
    fn towards(&mut self, target: usize, lengths: &[u64]) {
        let mut distance: BTreeMap<usize, u64> = BTreeMap::from([(target, lengths[target])]);
        let mut gateway: BTreeMap<usize, Option<Ipv4Addr>> = BTreeMap::from([(target, None)]);
        let mut open = BTreeSet::from([(lengths[target], target)]);
        while let Some((length, link)) = open.pop_first() {
            let mut ends: Vec<_> = self.links[link].ends.clone();
            ends.sort_by(|a, b| a.node.cmp(&b.node));
            for end in ends {
                // Links are taken by their distance, so the first to reach a node is the nearest.
                let hop = Hop { link, gateway: gateway[&link] };
                self.hops.entry((end.node.clone(), target)).or_insert(hop);
                if !self.routers.contains(&end.node) {
                    continue;
                }
                for next in self.links_of(&end.node) {
                    let longer = length + lengths[next];
                    if distance.get(&next).is_none_or(|known| longer < *known) {
                        open.remove(&(distance.get(&next).copied().unwrap_or_default(), next));
                        open.insert((longer, next));
                        distance.insert(next, longer);
                        gateway.insert(next, Some(self.address(&end.node, next)));
                    }
                }
            }
        }
    }

    fn links_of(&self, node: &str) -> Vec<usize> {
        let on = |at: &usize| self.links[*at].ends.iter().any(|end| end.node == node);
        (0..self.links.len()).filter(on).collect()
    }

    fn address(&self, node: &str, link: usize) -> Ipv4Addr {
        let mut ends = self.links[link].ends.iter();
        ends.find(|end| end.node == node).expect("it is on the link").address
    }

    /// The node with an address.
    fn owner(&self, address: Ipv4Addr) -> &str {
        let mut ends = self.links.iter().flat_map(|link| &link.ends);
        &ends.find(|end| end.address == address).expect("somebody's").node
    }

    fn hop(&self, node: &str, address: Ipv4Addr) -> Hop {
        let mut links = self.links.iter();
        let target = links.position(|link| link.ends.iter().any(|end| end.address == address));
        self.hops[&(node.to_owned(), target.expect("it is on a link"))]
    }

    /// Tells every node its routes.
    pub fn install(&self, nodes: impl Iterator<Item = String>) {
        for node in nodes {
            let gateways = (0..self.links.len()).filter_map(|target| {
                let via = self.hops[&(node.clone(), target)].gateway?;
                Some(format!("route add {} via {via}\n", self.links[target].subnet()))
            });
            super::ip_batch(&["-n", &node], &gateways.collect::<String>());
        }
    }

    /// Every copy that crosses a link when `message` is sent.
    pub fn copies(&self, message: &Message) -> Vec<Copy> {
        let mut copies = Vec::new();
        let live: Vec<usize> = (0..message.to.len()).collect();
        let sender = self.owner(*message.source.ip()).to_owned();
        self.branch(message, &sender, &live, 64, &mut copies);
        copies
    }

    /// A node has an Xcast packet with these live destinations, and copies of it leave with `ttl`.
    fn branch(&self, message: &Message, node: &str, live: &[usize], ttl: u8, out: &mut Vec<Copy>) {
        let address = |at: &usize| *message.to[*at].ip();
        let elsewhere = live.iter().filter(|at| self.owner(address(at)) != node);
        let (direct, behind): (Vec<usize>, Vec<usize>) =
            elsewhere.partition(|at| self.hop(node, address(at)).gateway.is_none());
        let mut groups: BTreeMap<Ipv4Addr, Vec<usize>> = BTreeMap::new();
        for at in behind {
            let gateway = self.hop(node, address(&at)).gateway.expect("it is behind one");
            groups.entry(gateway).or_default().push(at);
        }
        for at in direct {
            // A neighbor that is a gateway of others anyway delivers to itself.
            match groups.get_mut(&address(&at)) {
                Some(group) => group.push(at),
                None => self.unicast(message, node, at, ttl, out),
            }
        }
        for (gateway, mut group) in groups {
            group.sort_unstable();
            if let [alone] = group[..] {
                self.unicast(message, node, alone, ttl, out);
                continue;
            }
            let next = self.owner(gateway).to_owned();
            let form = Form::Xcast(group.iter().map(|at| message.to[*at]).collect());
            out.push(message.copy(node, &next, form, ttl));
            self.branch(message, &next, &group, ttl - 1, out);
        }
    }

    /// A unicast packet goes from router to router.
    fn unicast(&self, message: &Message, node: &str, at: usize, ttl: u8, out: &mut Vec<Copy>) {
        let (mut node, mut ttl, to) = (node.to_owned(), ttl, message.to[at]);
        while self.owner(*to.ip()) != node {
            let hop = self.hop(&node, *to.ip());
            let next = self.owner(hop.gateway.unwrap_or(*to.ip())).to_owned();
            out.push(message.copy(&node, &next, Form::Unicast(to), ttl));
            (node, ttl) = (next, ttl - 1);
        }
    }
}

/// One datagram to many.
pub struct Message {
    pub source: SocketAddrV4,
    pub to: Vec<SocketAddrV4>,
    pub payload: String,
}

impl Message {
    fn copy(&self, from: &str, to: &str, form: Form, ttl: u8) -> Copy {
        let (from, to, payload) = (from.to_owned(), to.to_owned(), self.payload.clone());
        Copy { from, to, form, source: self.source, ttl, payload }
    }
}

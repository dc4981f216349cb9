//! The tree of copies, drawn from what was seen of every destination's way. Ways that share a
//! router at the same distance share its node, so it may be a little more than a tree. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::tracer::{Sighting, Way};
use crate::wire::trace::Outcome;

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// This host.
    Source,
    /// An Xcast router.
    Router,
    /// A router that had a unicast copy.
    Ip,
    /// A destination that has the packet.
    Destination,
    /// Somebody who does not answer.
    Silent,
    /// The end of destinations that the node before has dropped.
    Drop,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Router => "router",
            Kind::Ip => "ip",
            Kind::Destination => "destination",
            Kind::Silent => "silent",
            Kind::Drop => "drop",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// What a router calls itself; why destinations were dropped.
    pub(super) name: Option<String>,
    pub(super) addresses: Vec<IpAddr>,
    /// How many hops it is away; what was dropped is one behind who dropped it.
    pub(super) depth: usize,
    /// Whose copies came here.
    pub(super) destinations: Vec<IpAddr>,
    /// Destinations that are here.
    pub(super) delivered: Vec<IpAddr>,
}

/// Copies from one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    /// In Xcast form, not unicast.
    pub(super) xcast: bool,
    /// The interface they leave by, where that is known.
    pub(super) interface: Option<String>,
    pub(super) destinations: Vec<IpAddr>,
}

/// The tree; node 0 is the source, and links lead away from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
}

/// What makes two sightings the same node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Router(u8, String),
    Ip(u8, IpAddr),
    Destination(IpAddr),
    Silent(u8, usize, Option<IpAddr>),
    Drop(usize, String),
}

/// A hop of a way: its TTL, and who was seen there.
type Hop<'a> = (u8, Option<&'a Sighting>);

/// What the router before says of the next hop.
#[derive(Clone, Copy, Debug)]
struct Hint<'a> {
    router: &'a str,
    xcast: bool,
    to: IpAddr,
    interface: &'a str,
}

/// A next hop: its TTL, the router that named it, that router's interface, its address. Addresses
/// alone will not do, as many neighbors have the same link-local one.
type NextHop<'a> = (u8, &'a str, &'a str, IpAddr);

impl<'a> Hint<'a> {
    fn next_hop(self, ttl: u8) -> NextHop<'a> {
        (ttl, self.router, self.interface, self.to)
    }
}

fn hint(sighting: Option<&Sighting>) -> Option<Hint<'_>> {
    match sighting {
        Some(Sighting::Router {
            name: router,
            fate: Outcome::Copy { xcast, to, interface },
            ..
        }) => Some(Hint { router, xcast: *xcast, to: *to, interface }),
        _ => None,
    }
}

impl Tree {
    /// Draws the tree whose root has the addresses `source`.
    pub(super) fn new(source: &[IpAddr], ways: &[Way]) -> Tree {
        let mut builder = Builder {
            tree: Tree { nodes: Vec::new(), links: Vec::new() },
            places: BTreeMap::new(),
            known: known(ways),
            at_hop: at_hop(ways),
        };
        builder.tree.nodes.push(Node {
            kind: Kind::Source,
            name: None,
            addresses: source.to_vec(),
            depth: 0,
            destinations: Vec::new(),
            delivered: Vec::new(),
        });
        ways.iter().for_each(|way| builder.draw(way));
        builder.tree
    }

    /// The links that leave a node, in the order in which they were drawn.
    pub(super) fn links_from(&self, node: usize) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| link.from == node)
    }
}

/// The names of routers that have reported, by their addresses.
fn known(ways: &[Way]) -> BTreeMap<IpAddr, String> {
    let seen = ways.iter().flat_map(Way::hops).filter_map(|(_, sighting)| match sighting {
        // Many have the same link-local address.
        Some(Sighting::Router { name, address, .. }) if !is_link_local(*address) => {
            Some((*address, name.clone()))
        }
        _ => None,
    });
    seen.collect()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Who was seen at which next hop, by TTL: if one of several destinations behind it is silent
/// there, it is the same router all the same. Routers limit how many ICMP errors they send.
fn at_hop(ways: &[Way]) -> BTreeMap<NextHop<'_>, Key> {
    let mut all = BTreeMap::new();
    for way in ways {
        let mut before = None;
        for (ttl, sighting) in way.hops() {
            let key = match sighting {
                Some(Sighting::Router { name, .. }) => Some(Key::Router(ttl, name.clone())),
                Some(Sighting::Hop { address, .. }) => Some(Key::Ip(ttl, *address)),
                _ => None,
            };
            if let (Some(hint), Some(key)) = (hint(before), key) {
                let place = all.entry(hint.next_hop(ttl)).or_insert_with(|| key.clone());
                // What a router says of itself is more than an address.
                if matches!(key, Key::Router(..)) {
                    *place = key;
                }
            }
            before = sighting;
        }
    }
    all
}

/// Puts who says that the way ends in front of that, if it was not seen just there: seen before, or
/// known as the next hop and silent so far, or somebody new. `said` is that sighting.
fn place_refusal<'a>(hops: &mut Vec<Hop<'a>>, source: &[IpAddr], said: Option<&'a Sighting>) {
    let (Some(Sighting::Hop { address: by, .. }), Some(refusal)) = (said, hops.pop()) else {
        return;
    };
    let is_by = |at: &usize| match hops[*at].1 {
        Some(Sighting::Router { address, .. } | Sighting::Hop { address, .. }) => address == by,
        Some(_) => false,
        None => {
            at.checked_sub(1).and_then(|before| hint(hops[before].1)).is_some_and(|h| h.to == *by)
        }
    };
    match (0..hops.len()).find(is_by) {
        _ if source.contains(by) => hops.clear(),
        Some(at) => {
            hops.truncate(at + 1);
            hops[at].1 = hops[at].1.or(said);
        }
        None => hops.push((refusal.0, said)),
    }
    hops.push(refusal);
}

struct Builder<'a> {
    tree: Tree,
    places: BTreeMap<Key, usize>,
    known: BTreeMap<IpAddr, String>,
    at_hop: BTreeMap<NextHop<'a>, Key>,
}

impl Builder<'_> {
    /// Draws one destination's way.
    fn draw(&mut self, way: &Way) {
        let mut hops: Vec<Hop<'_>> = way.hops().collect();
        let said = match hops.last() {
            Some((_, Some(Sighting::Refused { by: Some(by), .. }))) => {
                Some(Sighting::Hop { address: *by, xcast: false })
            }
            _ => None,
        };
        if said.is_some() {
            place_refusal(&mut hops, &self.tree.nodes[0].addresses, said.as_ref());
        }
        let to = way.destination;
        // Up to the last router that had it so, it was in Xcast form.
        let is_xcast = |hop: &Hop<'_>| {
            matches!(hop.1, Some(Sighting::Router { .. } | Sighting::Hop { xcast: true, .. }))
        };
        let last_xcast = hops.iter().rposition(is_xcast);
        let (mut parent, mut before) = (0, None);
        self.visit(parent, to);
        for (step, (ttl, sighting)) in hops.into_iter().enumerate() {
            if let Some(Sighting::Refused { reason, .. }) = sighting {
                return self.drop(parent, reason, false, to);
            }
            let hint = hint(before);
            let xcast = hint.map(|hint| hint.xcast);
            let xcast = xcast.unwrap_or(last_xcast.is_some_and(|last| step <= last));
            let node = self.node(ttl, sighting, parent, hint, to);
            self.visit(node, to);
            self.link(parent, node, xcast, hint, to);
            match sighting {
                Some(Sighting::Router { fate: Outcome::Delivered, .. } | Sighting::Destination) => {
                    self.tree.nodes[node].delivered.push(to);
                }
                Some(Sighting::Router { fate: Outcome::Dropped(reason), .. }) => {
                    self.drop(node, reason, true, to);
                }
                _ => {}
            }
            (parent, before) = (node, sighting);
        }
        if let Some(reason) = &way.unsent {
            self.drop(0, reason, false, to);
        }
    }

    /// A copy of this destination came to a node.
    fn visit(&mut self, node: usize, to: IpAddr) {
        self.tree.nodes[node].destinations.push(to);
    }

    /// The node of a sighting, or of silence.
    fn node(
        &mut self,
        ttl: u8,
        sighting: Option<&Sighting>,
        parent: usize,
        hint: Option<Hint<'_>>,
        to: IpAddr,
    ) -> usize {
        let next = hint.map(|hint| hint.to);
        let same = hint.and_then(|hint| self.at_hop.get(&hint.next_hop(ttl)).cloned());
        let (key, kind, address) = match sighting {
            Some(Sighting::Router { name, address, .. }) => {
                (Key::Router(ttl, name.clone()), Kind::Router, Some(*address))
            }
            Some(Sighting::Destination) => (Key::Destination(to), Kind::Destination, Some(to)),
            Some(Sighting::Hop { address, xcast }) => match same {
                Some(key @ Key::Router(..)) => (key, Kind::Router, Some(*address)),
                _ if *xcast => (Key::Ip(ttl, *address), Kind::Router, Some(*address)),
                _ => (Key::Ip(ttl, *address), Kind::Ip, Some(*address)),
            },
            _ => match same {
                Some(key @ Key::Router(..)) => (key, Kind::Router, next),
                Some(key @ Key::Ip(_, address)) => (key, Kind::Ip, Some(address)),
                _ => (Key::Silent(ttl, parent, next), Kind::Silent, next),
            },
        };
        let name = match &key {
            Key::Router(_, name) => Some(name.clone()),
            Key::Ip(..) => address.and_then(|address| self.known.get(&address).cloned()),
            _ => None,
        };
        let node = self.place(key, kind, name, ttl.into());
        // An ICMP error may come from another address than the one that the next hop has.
        let next = next.filter(|_| matches!(kind, Kind::Router | Kind::Ip));
        for address in [address, next].into_iter().flatten() {
            let addresses = &mut self.tree.nodes[node].addresses;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        node
    }

    fn place(&mut self, key: Key, kind: Kind, name: Option<String>, depth: usize) -> usize {
        let nodes = &mut self.tree.nodes;
        *self.places.entry(key).or_insert_with(|| {
            let (addresses, destinations, delivered) = (Vec::new(), Vec::new(), Vec::new());
            nodes.push(Node { kind, name, addresses, depth, destinations, delivered });
            nodes.len() - 1
        })
    }

    fn link(&mut self, from: usize, to: usize, xcast: bool, hint: Option<Hint<'_>>, of: IpAddr) {
        let interface = hint.map(|hint| hint.interface.to_owned());
        let same = |link: &&mut Link| (link.from, link.to, link.xcast) == (from, to, xcast);
        match self.tree.links.iter_mut().find(same) {
            Some(link) => link.destinations.push(of),
            None => {
                self.tree.links.push(Link { from, to, xcast, interface, destinations: vec![of] });
            }
        }
    }

    fn drop(&mut self, at: usize, reason: &str, xcast: bool, to: IpAddr) {
        let depth = self.tree.nodes[at].depth + 1;
        let key = Key::Drop(at, reason.to_owned());
        let node = self.place(key, Kind::Drop, Some(reason.to_owned()), depth);
        self.visit(node, to);
        self.link(at, node, xcast, None, to);
    }
}

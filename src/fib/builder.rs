//! Building a [`Fib`], step by step from the least to the most important.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::lpm::Lpm;
use super::ranges::Painting;
use super::*;

/// A live next hop of a route, on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The port to leave by.
    pub port: PortId,
    /// The gateway's address.
    pub gateway: IpAddr,
    /// Its share, from 1.
    pub weight: u16,
}

/// Collects ports, adjacencies and routes, in this order: adjacencies first, then routes from
/// the table consulted last to the one consulted first, then host entries.
pub struct FibBuilder {
    code_points: CodePoints,
    v4: Lpm,
    v6: Painting,
    /// What the tables held before the routes of the present table.
    below: Option<(Lpm, Painting)>,
    entries: Vec<Entry>,
    /// The entries that are neither groups nor neighbors: few, so a scan finds one.
    simple: Vec<(Entry, EntryId)>,
    members: Vec<AdjacencyId>,
    adjacencies: BTreeMap<(PortId, IpAddr), (Option<Rewrite>, Capability)>,
    ports: Vec<Option<Port>>,
    groups: BTreeMap<Vec<Hop>, EntryId>,
    neighbors: Vec<(EntryId, (PortId, IpAddr))>,
    limits: Limits,
    compact: bool,
    secret: u64,
}

impl FibBuilder {
    /// Starts with the ports, at the indices they are known by.
    pub fn new(code_points: CodePoints, ports: Vec<Option<Port>>) -> FibBuilder {
        FibBuilder {
            code_points,
            v4: Lpm::new(),
            v6: Painting::new(),
            below: None,
            entries: vec![Entry::NoRoute],
            simple: vec![(Entry::NoRoute, 0)],
            members: Vec::new(),
            adjacencies: BTreeMap::new(),
            ports,
            groups: BTreeMap::new(),
            neighbors: Vec::new(),
            limits: Limits::default(),
            compact: false,
            secret: 0,
        }
    }

    /// Has copies that stay Xcast list their live destinations alone.
    pub fn compact(&mut self, compact: bool) {
        self.compact = compact;
    }

    /// Sets the number that others do not know.
    pub fn secret(&mut self, secret: u64) {
        self.secret = secret;
    }

    /// Sets who may send, to whom, and how much; without, there is no limit but that echo requests
    /// do not pass.
    pub fn limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Adds a neighbor, or replaces what was said of it.
    pub fn adjacency(
        &mut self,
        port: PortId,
        address: IpAddr,
        rewrite: Option<Rewrite>,
        capability: Capability,
    ) {
        self.adjacencies.insert((port, address), (rewrite, capability));
    }

    /// Whether a neighbor is known.
    pub fn has_adjacency(&self, port: PortId, address: IpAddr) -> bool {
        self.adjacencies.contains_key(&(port, address))
    }

    /// Begins the routes of a table that is consulted before all tables so far. `has_throw`
    /// says whether [`throw`](FibBuilder::throw) will be called, which needs a copy.
    pub fn begin_table(&mut self, has_throw: bool) {
        self.below = has_throw.then(|| (self.v4.clone(), self.v6.clone()));
    }

    /// Adds a route of the present table; within it, shorter prefixes must come first. `entry` is
    /// any but a group.
    pub fn route(&mut self, prefix: Prefix, entry: Entry) {
        let id = self.entry_id(entry);
        self.paint(prefix, id);
    }

    /// Adds a route through gateways (not empty), all of which are known adjacencies.
    pub fn route_via(&mut self, prefix: Prefix, hops: Vec<Hop>) {
        let id = match self.groups.get(&hops) {
            Some(id) => *id,
            None => {
                let id = self.push(Entry::NoRoute); // filled in by `finish`
                self.groups.insert(hops, id);
                id
            }
        };
        self.paint(prefix, id);
    }

    /// Makes a prefix of the present table fall through to the tables consulted later.
    pub fn throw(&mut self, prefix: Prefix) {
        let Some((v4, v6)) = &self.below else { return };
        match prefix.address() {
            IpAddr::V4(address) => self.v4.copy_from(v4, address.to_bits(), prefix.length()),
            IpAddr::V6(address) => self.v6.copy_from(v6, address.to_bits(), prefix.length()),
        }
    }

    /// Gives every known adjacency to whose own address the routes lead directly (it is on that
    /// link) a host entry. After all routes.
    pub fn neighbors(&mut self) {
        let keys: Vec<(PortId, IpAddr)> = self.adjacencies.keys().copied().collect();
        for (port, address) in keys {
            let id = match address {
                IpAddr::V4(v4) => self.v4.lookup(v4.to_bits()),
                IpAddr::V6(v6) => self.v6.value(v6.to_bits()),
            };
            if self.entries[id as usize] == Entry::OnLink(port) {
                let id = self.push(Entry::NoRoute); // filled in by `finish`
                self.neighbors.push((id, (port, address)));
                self.paint(Prefix::host(address), id);
            }
        }
    }

    /// Completes the table with the addresses that no route may claim (WIRE.md R2), and publishes
    /// it under `generation`.
    pub fn finish(mut self, generation: u64) -> Fib {
        let bad = self.entry_id(Entry::Bad);
        for (address, length) in [
            (Ipv4Addr::UNSPECIFIED, 32),
            (Ipv4Addr::new(127, 0, 0, 0), 8),
            (Ipv4Addr::new(224, 0, 0, 0), 4),
            (Ipv4Addr::BROADCAST, 32),
        ] {
            self.v4.paint(address.to_bits(), length, bad);
        }
        for (address, length, entry) in [
            (Ipv6Addr::UNSPECIFIED, 128, Entry::Bad),
            (Ipv6Addr::LOCALHOST, 128, Entry::Bad),
            (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Entry::Bad),
            (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Entry::LinkLocal),
        ] {
            let id = self.entry_id(entry);
            self.v6.paint(address.to_bits(), length, id);
        }
        let keys: Vec<(PortId, IpAddr)> = self.adjacencies.keys().copied().collect();
        let id_of = |key: &(PortId, IpAddr)| {
            keys.binary_search(key).expect("only known adjacencies are routed to") as AdjacencyId
        };
        for (id, key) in &self.neighbors {
            self.entries[*id as usize] = Entry::Neighbor(id_of(key));
        }
        for (hops, id) in &self.groups {
            let first = self.members.len() as u32;
            for hop in hops {
                let member = id_of(&(hop.port, hop.gateway));
                self.members.extend((0..hop.weight.max(1)).map(|_| member));
            }
            let count = self.members.len() as u32 - first;
            let group = GatewayGroup { first, count, hash: group_hash(hops) };
            self.entries[*id as usize] = Entry::Gateways(group);
        }
        let adjacencies = self.adjacencies.into_iter();
        Fib {
            generation,
            code_points: self.code_points,
            v4: self.v4,
            v6: self.v6.finish(),
            entries: self.entries,
            members: self.members,
            adjacencies: adjacencies.map(|((p, a), (r, c))| Adjacency::new(p, a, r, c)).collect(),
            ports: self.ports,
            limits: self.limits,
            compact: self.compact,
            secret: self.secret,
        }
    }

    fn paint(&mut self, prefix: Prefix, id: EntryId) {
        match prefix.address() {
            IpAddr::V4(address) => self.v4.paint(address.to_bits(), prefix.length(), id),
            IpAddr::V6(address) => self.v6.paint(address.to_bits(), prefix.length(), id),
        }
    }

    /// The index of a simple entry.
    fn entry_id(&mut self, entry: Entry) -> EntryId {
        debug_assert!(!matches!(entry, Entry::Gateways(_) | Entry::Neighbor(_)));
        if let Some((_, id)) = self.simple.iter().find(|(known, _)| *known == entry) {
            return *id;
        }
        let id = self.push(entry);
        self.simple.push((entry, id));
        id
    }

    fn push(&mut self, entry: Entry) -> EntryId {
        self.entries.push(entry);
        (self.entries.len() - 1) as EntryId
    }
}

/// Depends on the gateways alone, so it is equal in every Fib that has the same group.
fn group_hash(hops: &[Hop]) -> u64 {
    hops.iter().fold(0, |hash, hop| {
        let address = match hop.gateway {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        mix(hash ^ (address as u64) ^ (address >> 64) as u64 ^ u64::from(hop.weight) << 48)
    })
}

//! Building one [`Fib`], step by step from the least to the most important: for tests and
//! benchmarks. The [`rib`](crate::rib) uses a [`Compiler`].

use std::collections::BTreeSet;

use super::*;

/// Collects ports, adjacencies and routes, in this order: adjacencies first, then routes from
/// the table consulted last to the one consulted first, then host entries.
pub struct FibBuilder {
    compiler: Compiler,
    code_points: CodePoints,
    ports: Vec<Option<Port>>,
    limits: Limits,
    compact: bool,
    secret: u64,
    native: bool,
    /// The table consulted last comes first.
    tables: Vec<Routes>,
    /// By action: routes have one of their own each.
    outcomes: Vec<Outcome>,
    groups: BTreeSet<EntryId>,
    /// How many tables neighbors stand before.
    before_neighbors: usize,
}

impl FibBuilder {
    /// Starts with the ports, at the indices they are known by.
    pub fn new(code_points: CodePoints, ports: Vec<Option<Port>>) -> FibBuilder {
        FibBuilder {
            compiler: Compiler::new(code_points, TableKind::default()),
            code_points,
            ports,
            limits: Limits::default(),
            compact: false,
            secret: 0,
            native: false,
            tables: vec![Routes::new()],
            outcomes: Vec::new(),
            groups: BTreeSet::new(),
            before_neighbors: 0,
        }
    }

    /// Sets how IPv4 addresses are looked up.
    pub fn kind(&mut self, kind: TableKind) {
        self.compiler.set_kind(kind);
    }

    /// Has copies that stay Xcast list their live destinations alone.
    pub fn compact(&mut self, compact: bool) {
        self.compact = compact;
    }

    /// Makes the table consulted last known as that of unicast routes.
    pub fn native(&mut self) {
        self.native = true;
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
        self.compiler.adjacency(port, address, rewrite, capability);
    }

    /// Begins the routes of a table that is consulted before all tables so far.
    pub fn begin_table(&mut self) {
        self.tables.push(Routes::new());
    }

    /// Adds a route of the present table; `entry` is any but a group or a neighbor.
    pub fn route(&mut self, prefix: Prefix, entry: Entry) {
        let id = self.compiler.entry(entry);
        self.add(prefix, Outcome::To(id));
    }

    /// Adds a route through gateways (not empty).
    pub fn route_via(&mut self, prefix: Prefix, hops: Vec<Hop>) {
        let id = self.compiler.group(hops);
        self.groups.insert(id);
        self.add(prefix, Outcome::To(id));
    }

    /// Makes a prefix of the present table fall through to the tables consulted later.
    pub fn throw(&mut self, prefix: Prefix) {
        self.add(prefix, Outcome::Throw);
    }

    /// Gives every known adjacency to whose own address the routes lead directly (it is on that
    /// link) a host entry. After all routes.
    pub fn neighbors(&mut self) {
        self.before_neighbors = self.tables.len();
        self.begin_table();
    }

    /// Completes the table with the addresses that no route may claim (WIRE.md R2), and publishes
    /// it under `generation`.
    pub fn finish(self, generation: u64) -> Fib {
        let FibBuilder { mut compiler, tables, outcomes, groups, .. } = self;
        compiler.set_ports(self.code_points, self.ports, self.limits, self.compact, self.secret);
        let table = |routes| Table { routes, outcomes: &outcomes, dead: false };
        let (routes, over) = tables.split_at(self.before_neighbors);
        let routes: Vec<Table<'_>> = routes.iter().rev().map(table).collect();
        let over: Vec<Table<'_>> = over.iter().rev().map(table).collect();
        compiler.set_native(self.native);
        let native = routes.last().map_or(&[][..], std::slice::from_ref);
        compiler.publish(generation, &over, &routes, native, &groups)
    }

    /// Of equal prefixes the last one counts.
    fn add(&mut self, prefix: Prefix, outcome: Outcome) {
        let action = self.outcomes.len() as ActionId;
        self.outcomes.push(outcome);
        if let Some(table) = self.tables.last_mut() {
            table.insert(prefix, 0, true, action);
        }
    }
}

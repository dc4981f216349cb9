//! From routes, neighbors and ports to one [`Fib`] after another.
//!
//! A [`Compiler`] is told what has changed, and compiles the chunks anew that this concerns. All
//! others are shared by the Fibs that it publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::bits::Bits;
use super::chunks::{ChunkStore, Run, Store, Value};
use super::encode::Encoder;
use super::kind::StoreV4;
use super::routes::Family;
use super::sweep::{Layer, Sweep, overlay, push};
use super::targets::{Target, Targets};
use super::*;

/// The routes of a table that is consulted.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    /// Its routes.
    pub routes: &'a Routes,
    /// What they come to, by action.
    pub outcomes: &'a [Outcome],
    /// Only dead routes count, and lead to [`Entry::PortDown`] or [`Entry::TunnelDown`].
    pub dead: bool,
}

/// The id of what no layer says anything about.
const NO_ROUTE: EntryId = 0;

/// Compiles one [`Fib`] after another.
pub struct Compiler {
    code_points: CodePoints,
    ports: Vec<Option<Port>>,
    limits: Limits,
    compact: bool,
    secret: u64,
    kind: TableKind,
    targets: Targets,
    /// What dead routes lead to: a port that is down, a tunnel that is.
    down: [EntryId; 2],
    /// The addresses that no route may claim (WIRE.md R2).
    reserved: (Routes, [Outcome; 2]),
    adjacencies: BTreeMap<(PortId, IpAddr), (Option<Rewrite>, Capability)>,
    v4: Half<u32, StoreV4>,
    v6: Half<u128, StoreV6>,
    /// The routes of unicast alone, where there are tunnels.
    native: Option<NativeHalves>,
}

type PoptrieV4 = ChunkStore<PART_V4, Encoder<SLOT_V4>>;
type StoreV6 = ChunkStore<PART_V6, Encoder<SLOT_V6>>;
type NativeHalves = (Half<u32, PoptrieV4>, Half<u128, StoreV6>);

impl Compiler {
    /// Begins without ports and routes.
    pub fn new(code_points: CodePoints, kind: TableKind) -> Compiler {
        let mut targets = Targets::default();
        targets.acquire(Target::Plain(Entry::NoRoute)); // is 0
        let down =
            [Entry::PortDown, Entry::TunnelDown].map(|entry| targets.acquire(Target::Plain(entry)));
        let reserved = [Entry::Bad, Entry::LinkLocal]
            .map(|entry| Outcome::To(targets.acquire(Target::Plain(entry))));
        Compiler {
            code_points,
            ports: Vec::new(),
            limits: Limits::default(),
            compact: false,
            secret: 0,
            kind,
            targets,
            down,
            reserved: (reserved_prefixes(), reserved),
            adjacencies: BTreeMap::new(),
            v4: Half::new(StoreV4::new(kind)),
            v6: Half::new(ChunkStore::new(kind.allocate())),
            native: None,
        }
    }

    /// Sets how IPv4 addresses are looked up.
    pub fn set_kind(&mut self, kind: TableKind) {
        if !self.kind.is_like(kind) {
            self.kind = kind;
            self.v4.store = StoreV4::new(kind);
            self.v4.mark(0, 0);
        }
    }

    /// Sets whether the routes of unicast alone are compiled too, for [`Fib::native_entry`].
    pub fn set_native(&mut self, wanted: bool) {
        if wanted && self.native.is_none() {
            let allocate = self.kind.allocate();
            let halves =
                (Half::new(ChunkStore::new(allocate)), Half::new(ChunkStore::new(allocate)));
            self.native = Some(halves);
        } else if !wanted && let Some((v4, v6)) = self.native.take() {
            v4.forget(&mut self.targets);
            v6.forget(&mut self.targets);
        }
    }

    /// Sets what stands in a Fib beside routes and adjacencies: the ports at the indices they are
    /// known by, and see [`Fib::limits`], [`Fib::is_compact`], [`Fib::secret`].
    pub fn set_ports(
        &mut self,
        code_points: CodePoints,
        ports: Vec<Option<Port>>,
        limits: Limits,
        compact: bool,
        secret: u64,
    ) {
        self.code_points = code_points;
        self.ports = ports;
        self.limits = limits;
        self.compact = compact;
        self.secret = secret;
    }

    /// The id of an entry that is neither a neighbor nor a group of gateways, wanted once more.
    pub fn entry(&mut self, entry: Entry) -> EntryId {
        debug_assert!(!matches!(entry, Entry::Gateways(_) | Entry::Neighbor(_)));
        self.targets.acquire(Target::Plain(entry))
    }

    /// The id of a group of gateways (not empty), wanted once more.
    pub fn group(&mut self, hops: Vec<Hop>) -> EntryId {
        self.targets.acquire(Target::Group(hops))
    }

    /// An outcome is wanted once less. Routes that come to it no more must be marked.
    pub fn release(&mut self, outcome: Outcome) {
        if let Outcome::To(id) = outcome {
            self.targets.release(id);
        }
    }

    /// The gateways of a group; of another entry none.
    pub fn hops(&self, id: EntryId) -> &[Hop] {
        self.targets.of(id).map_or(&[], Target::hops)
    }

    /// The routes of a prefix have changed, or what they come to.
    pub fn mark(&mut self, prefix: Prefix) {
        match prefix.address() {
            IpAddr::V4(first) => {
                self.v4.mark(first.to_bits(), prefix.length());
                let native = self.native.as_mut().map(|(v4, _)| v4);
                native.into_iter().for_each(|v4| v4.mark(first.to_bits(), prefix.length()));
            }
            IpAddr::V6(first) => {
                self.v6.mark(first.to_bits(), prefix.length());
                let native = self.native.as_mut().map(|(_, v6)| v6);
                native.into_iter().for_each(|v6| v6.mark(first.to_bits(), prefix.length()));
            }
        }
    }

    /// Everything may have changed.
    pub fn mark_all(&mut self) {
        self.v4.mark(0, 0);
        self.v6.mark(0, 0);
        if let Some((v4, v6)) = &mut self.native {
            v4.mark(0, 0);
            v6.mark(0, 0);
        }
    }

    /// Forgets all neighbors; those that are known still are added again.
    pub fn clear_adjacencies(&mut self) {
        self.adjacencies.clear();
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

    /// Publishes what the tables say, the first one that has a route for an address: first all of
    /// `over`, then those of `routes`, where neighbors stand on the links that lead to them.
    /// `native` are those of `routes` that are the unicast ones, see
    /// [`set_native`](Compiler::set_native). `groups` are the groups of gateways that are in use.
    pub fn publish(
        &mut self,
        generation: u64,
        over: &[Table<'_>],
        routes: &[Table<'_>],
        native: &[Table<'_>],
        groups: &BTreeSet<EntryId>,
    ) -> Fib {
        for hop in groups.iter().filter_map(|id| self.targets.of(*id)).flat_map(Target::hops) {
            let unknown = (None, Capability::Incapable);
            self.adjacencies.entry((hop.port, hop.gateway)).or_insert(unknown);
        }
        self.v4.follow_hosts(self.adjacencies.keys(), &mut self.targets);
        self.v6.follow_hosts(self.adjacencies.keys(), &mut self.targets);
        let (reserved, outcomes) = &self.reserved;
        let mut first = vec![Table { routes: reserved, outcomes, dead: false }];
        first.extend(over);
        let down = self.down;
        self.v4.compile(&layers_v4(&first, down), &layers_v4(routes, down), &self.targets);
        self.v6.compile(&layers_v6(&first, down), &layers_v6(routes, down), &self.targets);
        if let Some((v4, v6)) = &mut self.native {
            v4.follow_hosts(self.adjacencies.keys(), &mut self.targets);
            v6.follow_hosts(self.adjacencies.keys(), &mut self.targets);
            v4.compile(&layers_v4(&first, down), &layers_v4(native, down), &self.targets);
            v6.compile(&layers_v6(&first, down), &layers_v6(native, down), &self.targets);
        }
        self.assemble(generation, groups)
    }

    /// The Fib of the tables as they are compiled.
    fn assemble(&self, generation: u64, groups: &BTreeSet<EntryId>) -> Fib {
        let keys: Vec<(PortId, IpAddr)> = self.adjacencies.keys().copied().collect();
        let id_of = |port, address| Some(keys.binary_search(&(port, address)).ok()? as AdjacencyId);
        let mut members = Vec::new();
        let mut group = |hops: &[Hop]| {
            let first = members.len() as u32;
            for hop in hops {
                let member = id_of(hop.port, hop.gateway);
                let weight = usize::from(hop.weight.max(1));
                members.extend(member.into_iter().flat_map(|m| std::iter::repeat_n(m, weight)));
            }
            let count = members.len() as u32 - first;
            Entry::Gateways(GatewayGroup { first, count, hash: group_hash(hops) })
        };
        let entry = |(id, target): (EntryId, Option<&Target>)| match target {
            Some(Target::Plain(entry)) => *entry,
            Some(Target::Neighbor(port, address)) => {
                id_of(*port, *address).map_or(Entry::NoRoute, Entry::Neighbor)
            }
            Some(Target::Group(hops)) if groups.contains(&id) => group(hops),
            // No address leads there.
            Some(Target::Group(_)) | None => Entry::NoRoute,
        };
        let entries: Vec<Entry> = (0..).zip(self.targets.iter()).map(entry).collect();
        let leads = entries.iter().map(|entry| Lead::of(entry, &members)).collect();
        let mtu = |port: &PortId| {
            let port = self.ports.get(usize::from(*port)).and_then(Option::as_ref);
            port.map_or(0, |port| port.mtu)
        };
        let adjacencies = self.adjacencies.iter();
        let adjacencies = adjacencies
            .map(|((p, a), (rewrite, c))| Adjacency::new((*p, mtu(p)), *a, *rewrite, *c));
        Fib {
            generation,
            code_points: self.code_points,
            v4: self.v4.store.table(),
            v6: Poptrie(self.v6.store.table()),
            entries,
            leads,
            members,
            native: self.native.as_ref().map(|(v4, v6)| Native {
                v4: Poptrie(v4.store.table()),
                v6: Poptrie(v6.store.table()),
            }),
            adjacencies: adjacencies.collect(),
            ends: self.ends(),
            hosts: self.hosts(),
            plain: self.limits.are_none() && !self.compact && self.hosts().is_none(),
            ports: self.ports.clone(),
            limits: self.limits.clone(),
            compact: self.compact,
            secret: self.secret,
        }
    }
}

impl Compiler {
    /// The port of the tunnel of hosts.
    fn hosts(&self) -> Option<PortId> {
        let is_it = |port: &Option<Port>| {
            let tunnel = port.as_ref().filter(|port| port.up).and_then(|port| port.tunnel);
            tunnel.is_some_and(|tunnel| tunnel.encapsulation == Encapsulation::Hosts)
        };
        Some(self.ports.iter().position(is_it)? as PortId)
    }

    /// The ends of the tunnels among the ports, sorted.
    fn ends(&self) -> Vec<(Encapsulation, SocketAddr, SocketAddr, PortId)> {
        let tunnels = (0..).zip(&self.ports).filter_map(|(id, port)| {
            let port = port.as_ref()?;
            let Tunnel { encapsulation, local, remote, keyed } = port.tunnel?;
            let takes = encapsulation.has_ends() && (port.up || !keyed);
            takes.then_some((encapsulation, remote, local, id))
        });
        let mut ends: Vec<_> = tunnels.collect();
        ends.sort_unstable();
        ends
    }
}

impl Table<'_> {
    fn layer<'a, B>(&'a self, routes: &'a Family<B>, down: [EntryId; 2]) -> Layer<'a, B> {
        Layer { routes, outcomes: self.outcomes, dead: self.dead.then_some(down) }
    }
}

fn layers_v4<'a>(tables: &'a [Table<'_>], down: [EntryId; 2]) -> Vec<Layer<'a, u32>> {
    tables.iter().map(|table| table.layer(table.routes.v4(), down)).collect()
}

fn layers_v6<'a>(tables: &'a [Table<'_>], down: [EntryId; 2]) -> Vec<Layer<'a, u128>> {
    tables.iter().map(|table| table.layer(table.routes.v6(), down)).collect()
}

/// What no route may claim: action 0 are bad addresses, 1 the link-local ones.
fn reserved_prefixes() -> Routes {
    let bad_v4 = [
        (Ipv4Addr::UNSPECIFIED, 32),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::BROADCAST, 32),
    ];
    let v6 = [
        (Ipv6Addr::UNSPECIFIED, 128, 0),
        (Ipv6Addr::LOCALHOST, 128, 0),
        (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, 0),
        (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, 1),
    ];
    let v4 = bad_v4.into_iter().map(|(address, length)| (IpAddr::from(address), length, 0));
    let all = v4.chain(v6.into_iter().map(|(address, length, a)| (address.into(), length, a)));
    let all = all.filter_map(|(address, length, action)| {
        let prefix = Prefix::new(address, length)?;
        Some((prefix, 0, action))
    });
    Routes::collect(all).0
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

/// The table of one IP version.
struct Half<B, S> {
    store: S,
    dirty: Dirty,
    /// The entries of all adjacencies, which hold where a link leads to them.
    hosts: BTreeMap<(B, PortId), EntryId>,
    /// Room to work in.
    runs: [Vec<Run<B>>; 2],
    host_runs: Vec<Run<B, Option<Value>>>,
}

impl<B: Bits, S: Store<B>> Half<B, S> {
    fn new(store: S) -> Half<B, S> {
        let mut dirty = Dirty::default();
        dirty.mark(0..1 << S::ROOT);
        let (runs, host_runs) = Default::default();
        Half { store, dirty, hosts: BTreeMap::new(), runs, host_runs }
    }

    /// Gives up its host entries.
    fn forget(self, targets: &mut Targets) {
        self.hosts.into_values().for_each(|id| targets.release(id));
    }

    fn mark(&mut self, first: B, length: u8) {
        self.dirty.mark(first.top(S::ROOT)..first.last(length).top(S::ROOT) + 1);
    }

    /// Brings the host entries up to date with the adjacencies.
    fn follow_hosts<'a>(
        &mut self,
        adjacencies: impl Iterator<Item = &'a (PortId, IpAddr)>,
        targets: &mut Targets,
    ) {
        let mut gone = std::mem::take(&mut self.hosts);
        for (port, address) in adjacencies {
            let Some(bits) = B::of(*address) else { continue };
            let key = (bits, *port);
            let id = gone.remove(&key).unwrap_or_else(|| {
                self.dirty.mark_chunk(bits.top(S::ROOT));
                targets.acquire(Target::Neighbor(*port, *address))
            });
            self.hosts.insert(key, id);
        }
        for ((bits, _), id) in gone {
            self.dirty.mark_chunk(bits.top(S::ROOT));
            targets.release(id);
        }
    }

    /// Compiles what is dirty. The first layers come first.
    fn compile(&mut self, over: &[Layer<'_, B>], routes: &[Layer<'_, B>], targets: &Targets) {
        let at = |chunk: usize| B::from(chunk as u32) << (B::WIDTH - S::ROOT);
        for range in self.dirty.take() {
            let sweep = |layer| Sweep::new(layer, at(range.start), S::ROOT);
            let mut over: Vec<Sweep<'_, B>> = over.iter().map(sweep).collect();
            let mut routes: Vec<Sweep<'_, B>> = routes.iter().map(sweep).collect();
            let mut chunk = range.start;
            while chunk < range.end {
                let first = at(chunk);
                let host = self.hosts.range((first, 0)..).next().map(|((host, _), _)| *host);
                let next = over.iter_mut().chain(&mut routes).filter_map(Sweep::next).chain(host);
                let next = next.min().map_or(range.end, |next| next.top(S::ROOT)).min(range.end);
                if next > chunk {
                    // Nothing begins or ends up to there.
                    let said = over.iter().chain(&routes).find_map(Sweep::said);
                    self.store.fill(chunk..next, said.unwrap_or(NO_ROUTE));
                    chunk = next;
                } else {
                    self.compile_chunk(chunk, first, &mut over, &mut routes, targets);
                    chunk += 1;
                }
            }
        }
    }

    fn compile_chunk(
        &mut self,
        chunk: usize,
        first: B,
        over: &mut [Sweep<'_, B>],
        routes: &mut [Sweep<'_, B>],
        targets: &Targets,
    ) {
        let last = first.last(S::ROOT as u8);
        let [present, merged] = &mut self.runs;
        present.clear();
        present.push(Run { start: first, value: NO_ROUTE });
        let mut lay = |present: &mut Vec<Run<B>>, above: &[Run<B, Option<Value>>]| {
            // Most layers say nothing about most chunks.
            if !matches!(above, [Run { value: None, .. }]) {
                overlay(present, above, merged);
                std::mem::swap(present, merged);
            }
        };
        for sweep in routes.iter_mut().rev() {
            lay(present, sweep.runs(first, last));
        }
        self.host_runs.clear();
        push(&mut self.host_runs, first, None);
        for (&(host, port), &id) in self.hosts.range((first, 0)..=(last, PortId::MAX)) {
            let run = present.partition_point(|run| run.start <= host) - 1;
            if targets.of(present[run].value) == Some(&Target::Plain(Entry::OnLink(port))) {
                push(&mut self.host_runs, host, Some(id));
                if host != last {
                    push(&mut self.host_runs, host + B::from(1), None);
                }
            }
        }
        lay(present, &self.host_runs);
        for sweep in over.iter_mut().rev() {
            lay(present, sweep.runs(first, last));
        }
        self.store.put(chunk, present);
    }
}

/// The chunks to be compiled anew.
struct Dirty {
    ranges: Vec<Range<usize>>,
    /// Ranges that are kept before those that touch are made one.
    limit: usize,
}

impl Default for Dirty {
    fn default() -> Dirty {
        Dirty { ranges: Vec::new(), limit: Dirty::MANY }
    }
}

impl Dirty {
    /// The limit at first.
    const MANY: usize = 8192;

    fn mark_chunk(&mut self, chunk: usize) {
        self.mark(chunk..chunk + 1);
    }

    fn mark(&mut self, chunks: Range<usize>) {
        if self.ranges.last() == Some(&chunks) {
            return;
        }
        self.ranges.push(chunks);
        if self.ranges.len() > self.limit {
            self.merge();
            // Where they do not touch, tidying up is not to be done for each.
            self.limit = Dirty::MANY.max(2 * self.ranges.len());
        }
    }

    /// All that were marked, in order, none twice.
    fn take(&mut self) -> Vec<Range<usize>> {
        self.merge();
        std::mem::take(self).ranges
    }

    fn merge(&mut self) {
        self.ranges.sort_by_key(|chunks| chunks.start);
        self.ranges.dedup_by(|next, before| {
            let touch = next.start <= before.end;
            if touch {
                before.end = before.end.max(next.end);
            }
            touch
        });
    }
}

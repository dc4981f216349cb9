//! A made-up node for measurements without a kernel: a routing table as large as the internet's,
//! gateways that share it, and packets to addresses inside its prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::fib::{Fib, Prefix, ReversePath, TableKind, synthetic};
use crate::forward::LINK_HEADER_LEN;
use crate::host::{Destination, Message};
use crate::io::{affinity, large_pages};
use crate::rib::{
    Address, Change, KernelRoute, Link, LinkKind, Neighbor, NeighborPolicy, NeighborState, NextHop,
    PortPolicy, PortSettings, Rib, RouteAction, Settings,
};
use crate::tools::Failure;
use crate::wire::CodePoints;

/// The link that packets come in by; those with gateways follow.
const INGRESS: u32 = 1;
const MAIN: u32 = 254;
const SEED: u64 = 20_260;

/// The code points of RFC 4727, as a test network would have them.
pub(super) const CODE_POINTS: CodePoints = CodePoints {
    ip_protocol: 253,
    all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
    all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
    routing_type: 253,
    ports_option: 0x5e,
    hop_by_hop_option: 0x1e,
};

/// What a node is to be like.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) is_v6: bool,
    pub(super) routes: usize,
    /// Gateways, each behind a port of its own.
    pub(super) next_hops: u16,
    pub(super) table: Table,
}

/// How addresses are looked up, by the name that configurations have for it.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) name: &'static str,
    kind: TableKind,
}

pub(super) const POPTRIE: Table = Table { name: "poptrie", kind: TableKind::Poptrie(large_pages) };
pub(super) const DIR24: Table = Table { name: "dir24", kind: TableKind::Dir24(large_pages) };

/// Measures on one core, the last there is: the first has more interrupts to serve.
pub(super) fn keep_to_one_core() -> Result<(), Failure> {
    let cores = affinity::cores().and_then(|cores| match cores.last() {
        Some(core) => affinity::pin(0, *core),
        None => Ok(()),
    });
    cores.map_err(|error| Failure::Work(format!("cannot keep to one core: {error}")))
}

/// Routes in the order they were drawn; route `i` leads to gateway `i % next_hops`.
pub(super) struct Node {
    pub(super) shape: Shape,
    pub(super) prefixes: Vec<Prefix>,
}

impl Node {
    pub(super) fn new(shape: Shape) -> Node {
        let prefixes = match shape.is_v6 {
            false => synthetic::prefixes_v4(SEED, shape.routes),
            true => synthetic::prefixes_v6(SEED, shape.routes),
        };
        Node { shape, prefixes }
    }

    /// What the kernel would tell of everything but the routes of the table.
    pub(super) fn surroundings(&self) -> Vec<Change> {
        let links = INGRESS..=INGRESS + u32::from(self.shape.next_hops);
        let mut changes = Vec::new();
        for index in links {
            changes.push(Change::Link(Link {
                index,
                name: format!("p{index}"),
                mtu: 9000,
                kind: LinkKind::Ethernet,
                address: Some([2, 0, 0, 0, (index >> 8) as u8, index as u8]),
                admin_up: true,
                carrier: true,
                master: None,
            }));
            let (address, prefix_length) = (self.host(index, 1), self.subnet_length());
            let own =
                Address { interface: index, address, prefix_length, peer: None, broadcast: None };
            changes.push(Change::Address(own));
            let neighbor = self.host(index, 2);
            changes.push(Change::Neighbor(Neighbor {
                interface: index,
                address: neighbor,
                link_address: Some([4, 0, 0, 0, (index >> 8) as u8, index as u8]),
                state: NeighborState::Permanent,
            }));
        }
        changes
    }

    /// The routes of the table, and those of the links.
    pub(super) fn routes(&self) -> Vec<KernelRoute> {
        let links = INGRESS..=INGRESS + u32::from(self.shape.next_hops);
        let connected = links.map(|index| {
            let subnet = Prefix::new(self.host(index, 0), self.subnet_length());
            route(subnet.expect("a subnet has no host bits"), index, None)
        });
        let drawn = (0..).zip(&self.prefixes).map(|(at, prefix)| self.route(at, *prefix));
        connected.chain(drawn).collect()
    }

    /// Route `at` of the table, if it has this prefix.
    pub(super) fn route(&self, at: usize, prefix: Prefix) -> KernelRoute {
        let hop = (at % usize::from(self.shape.next_hops)) as u32;
        route(prefix, INGRESS + 1 + hop, Some(self.host(INGRESS + 1 + hop, 2)))
    }

    /// An empty Rib with the node's settings.
    pub(super) fn rib(&self) -> Rib {
        let mut settings = Settings::open(CODE_POINTS);
        settings.table = self.shape.table.kind;
        settings.ports = PortPolicy::All(PortSettings {
            reverse_path: ReversePath::Strict,
            neighbors: NeighborPolicy::All,
            accept_group_frames: false,
        });
        Rib::new(settings)
    }

    /// A Rib that knows all, and its Fib.
    pub(super) fn filled(&self) -> (Rib, Fib) {
        let mut rib = self.rib();
        for change in self.surroundings() {
            rib.apply(change);
        }
        rib.apply(Change::AllRoutes(self.routes()));
        let fib = rib.compile();
        (rib, fib)
    }

    /// Packets to `destinations` addresses each, uniform over the prefixes, with as many by each
    /// gateway. With `channels`, that many lists come again and again.
    pub(super) fn frames(
        &self,
        count: usize,
        destinations: u16,
        payload: u16,
        channels: usize,
    ) -> Vec<Vec<u8>> {
        let hops = usize::from(self.shape.next_hops);
        let lists = if channels > 0 { channels.min(count) } else { count };
        let each = lists * usize::from(destinations).div_ceil(hops);
        let by_hop: Vec<Vec<IpAddr>> = (0..hops)
            .map(|hop| {
                let theirs: Vec<Prefix> =
                    self.prefixes.iter().skip(hop).step_by(hops).copied().collect();
                synthetic::addresses_in(SEED + hop as u64, &theirs, each)
            })
            .collect();
        let mut next = vec![0; hops];
        let mut draw = |index: u16| {
            let hop = usize::from(index) % hops;
            next[hop] += 1;
            by_hop[hop][next[hop] - 1]
        };
        let lists: Vec<Vec<Destination>> = (0..lists)
            .map(|_| {
                let address = |index| Destination { address: draw(index), port: 9, dscp: None };
                (0..destinations).map(address).collect()
            })
            .collect();
        let payload = vec![0x58; usize::from(payload)];
        (0..count)
            .map(|at| {
                let channel = if channels > 0 { (at % lists.len()) as u128 + 1 } else { 0 };
                self.frame(&lists[at % lists.len()], &payload, channel)
            })
            .collect()
    }

    fn frame(&self, destinations: &[Destination], payload: &[u8], channel: u128) -> Vec<u8> {
        let source = self.host(INGRESS, 2);
        let message = Message { destinations, payload, channel, ..Message::default() };
        let frame = message.packet(&CODE_POINTS, source, 9).unwrap_or_default();
        debug_assert!(frame.len() > LINK_HEADER_LEN);
        frame
    }

    /// An address of a link: 1 is this node's, 2 its neighbor's.
    fn host(&self, link: u32, host: u8) -> IpAddr {
        let [.., high, low] = link.to_be_bytes();
        match self.shape.is_v6 {
            false => Ipv4Addr::new(10, high, low, host).into(),
            true => Ipv6Addr::new(0x2001, 0xdb8, 0, link as u16, 0, 0, 0, host.into()).into(),
        }
    }

    fn subnet_length(&self) -> u8 {
        if self.shape.is_v6 { 64 } else { 24 }
    }
}

fn route(prefix: Prefix, interface: u32, gateway: Option<IpAddr>) -> KernelRoute {
    let action = RouteAction::Forward(vec![NextHop { interface, gateway, weight: 1 }]);
    KernelRoute { table: MAIN, prefix, metric: 0, action }
}

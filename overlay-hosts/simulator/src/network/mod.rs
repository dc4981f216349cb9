//! Packets on their way through an [`Underlay`]. Routers that speak Xcast, and hosts that send, put
//! each packet through the packet path itself, by a Fib of their own: `xcast::forward` alone decides
//! which copies there are. Other routers forward unicast packets, and nothing else; copies for what
//! is behind them become unicast before (RFC 5058 section 11.2).
//!
//! Every packet on every link is counted, and whatever is not delivered, by its reason.

mod addresses;
mod cross_traffic;
mod fibs;
mod queue;
mod transit;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use overlay_protocols::random::Random;
use overlay_protocols::time::Time;
use xcast::fib::Fib;
use xcast::forward::{DropReason, LINK_HEADER_LEN, Output};
use xcast::host::{Destination, Message, MessageError};
use xcast::wire::{ipv4, ipv6, udp};

use crate::underlay::{Crossing, HostId, LinkId, RouterId, Underlay};
use addresses::Addresses;
use cross_traffic::CrossTraffic;
use queue::Queue;

/// The stream of a seed that says which routers speak Xcast.
const SPEAKERS: u64 = 0x7370_6561_6b65_7273;

/// The TTL that packets begin with.
pub const TTL: u8 = 64;

/// What a network is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The share of routers that speak Xcast, from 0 to 1. Which ones the seed decides; a larger share
    /// has those of a smaller one.
    pub share: f64,
    /// Copies that stay Xcast list their live destinations alone.
    pub compact: bool,
    /// Addresses are of IPv6.
    pub is_v6: bool,
    /// The longest IP packet of all links, in octets.
    pub mtu: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { share: 1.0, compact: false, is_v6: false, mtu: 1500 }
    }
}

/// Why there can be no such network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// More hosts at a router than IPv4 addresses.
    #[error("{hosts} hosts at a router, where 10.0.0.0/8 has room for {room}; use IPv6")]
    Full {
        /// At one router.
        hosts: usize,
        /// The most there can be.
        room: u64,
    },
}

/// A UDP socket of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket {
    /// The host.
    pub host: HostId,
    /// Its port.
    pub port: u16,
}

/// How a message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In one packet to all.
    Xcast,
    /// In one packet to each.
    Unicast,
}

/// A datagram at the end of its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Who has got it.
    pub to: Socket,
    /// How long after it was sent.
    pub after: Duration,
    /// The TTL that it came with.
    pub ttl: u8,
    /// The IP packet.
    packet: Vec<u8>,
    /// Where its payload begins.
    payload: usize,
}

impl Delivery {
    /// What was sent.
    pub fn payload(&self) -> &[u8] {
        &self.packet[self.payload..]
    }

    /// The IP packet that carried it, but for the TTL, which plain routers did not write into it.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }
}

/// Packets, and the octets of their IP headers and all behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, octets: usize) {
        self.packets += 1;
        self.bytes += octets as u64;
    }
}

/// A network in which packets travel.
pub struct Network {
    underlay: Arc<Underlay>,
    settings: Settings,
    addresses: Addresses,
    /// By router: whether it speaks Xcast.
    speaks: Vec<bool>,
    /// Of those that do, once a packet has come there.
    fibs: Vec<Option<Fib>>,
    /// Of a host whose router does not, and of one whose router does.
    host_fibs: [Fib; 2],
    out: Output,
    /// By link: in its direction, and against it.
    crossed: Vec<[Tally; 2]>,
    total: Tally,
    queues: BTreeMap<Crossing, Queue>,
    cross_traffic: Option<CrossTraffic>,
    drops: [u64; DropReason::COUNT],
}

impl Network {
    /// A network on which nothing has been sent yet. Hosts cannot be attached to the underlay any more.
    ///
    /// # Errors
    /// There are not enough addresses.
    pub fn new(
        underlay: Arc<Underlay>,
        settings: Settings,
        seed: u64,
    ) -> Result<Network, NetworkError> {
        let addresses = Addresses::new(&underlay, settings.is_v6)?;
        let routers = underlay.router_count();
        let mut order: Vec<RouterId> = (0..routers).collect();
        Random::new(seed, SPEAKERS).shuffle(&mut order);
        let count = (settings.share.clamp(0.0, 1.0) * routers as f64).round() as usize;
        let mut speaks = vec![false; routers];
        order.iter().take(count).for_each(|router| speaks[*router] = true);
        let host_fibs = [false, true].map(|speaks| fibs::of_host(&settings, speaks, None));
        let mut out = Output::new(&host_fibs[0]);
        out.use_partition_cache(false);
        Ok(Network {
            crossed: vec![[Tally::default(); 2]; underlay.link_count()],
            underlay,
            settings,
            addresses,
            speaks,
            fibs: std::iter::repeat_with(|| None).take(routers).collect(),
            host_fibs,
            out,
            total: Tally::default(),
            queues: BTreeMap::new(),
            cross_traffic: None,
            drops: [0; DropReason::COUNT],
        })
    }

    /// What packets travel on.
    pub fn underlay(&self) -> &Arc<Underlay> {
        &self.underlay
    }

    /// From now on others take a share of every link that has a rate, from 0 to below 0.5: packets of
    /// the usual lengths that come at random.
    pub fn set_cross_traffic(&mut self, load: f64, seed: u64) {
        self.cross_traffic = Some(CrossTraffic { load, seed });
    }

    /// Whether a router speaks Xcast.
    pub fn speaks_xcast(&self, router: RouterId) -> bool {
        self.speaks[router]
    }

    /// The address of a host.
    pub fn address(&self, host: HostId) -> IpAddr {
        self.addresses.of(host, self.underlay.hosts()[host].router)
    }

    /// The host that has an address.
    pub fn host(&self, address: IpAddr) -> Option<HostId> {
        self.addresses.host(address)
    }

    /// Sends a payload, and follows it to where it ends: in the order of their arrival, what is
    /// delivered. Every destination, repeats included, is in one delivery or counted in
    /// [`drops`](Network::drops). `now` does not go back from call to call.
    ///
    /// # Errors
    /// No packet holds the payload or the list. Nothing was sent.
    pub fn send(
        &mut self,
        now: Time,
        from: Socket,
        to: &[Socket],
        payload: &[u8],
        form: Form,
    ) -> Result<Vec<Delivery>, MessageError> {
        let source = self.address(from.host);
        let destination =
            |to: &Socket| Destination { address: self.address(to.host), port: to.port, dscp: None };
        let destinations: Vec<Destination> = to.iter().map(destination).collect();
        let packets = match form {
            Form::Xcast => 1,
            Form::Unicast => destinations.len().max(1),
        };
        let frames: Vec<(Vec<u8>, u32)> = destinations
            .chunks(destinations.len().div_ceil(packets).max(1))
            .map(|destinations| {
                let message = Message { destinations, payload, ttl: TTL, ..Message::default() };
                let frame = message.packet(&fibs::CODE_POINTS, source, from.port)?;
                Ok((frame, destinations.len() as u32))
            })
            .collect::<Result<_, MessageError>>()?;
        let own = to.iter().any(|to| to.host == from.host).then(|| {
            let router = self.underlay.hosts()[from.host].router;
            fibs::of_host(&self.settings, self.speaks[router], Some(source))
        });
        Ok(self.follow(now, from.host, frames, own.as_ref()))
    }

    /// How many destinations were not delivered, by reason.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.drops).filter(|(_, count)| *count > 0)
    }

    /// What has crossed a link: in its direction, and against it.
    pub fn crossed(&self, link: LinkId) -> [Tally; 2] {
        self.crossed[link]
    }

    /// What has crossed all links; a packet counts at each.
    pub fn total(&self) -> Tally {
        self.total
    }

    /// Counts anew from 0. Queues stay.
    pub fn clear_counters(&mut self) {
        self.crossed.fill([Tally::default(); 2]);
        self.total = Tally::default();
        self.drops.fill(0);
    }

    /// Octets of the Fibs that there are so far.
    pub fn fib_memory(&self) -> usize {
        self.fibs.iter().flatten().map(Fib::memory).sum()
    }
}

#[cfg(test)]
mod tests;

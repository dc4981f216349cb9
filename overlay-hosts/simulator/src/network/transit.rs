//! One message on its way: what happens at each node, in the order of time.

use xcast::fib::PortId;
use xcast::forward::{Packet, Target, process};

use super::*;

/// A packet somewhere.
struct Arrival {
    place: Place,
    /// Room for a link-layer header, then the packet.
    frame: Vec<u8>,
    shape: Shape,
}

#[derive(Clone, Copy)]
enum Place {
    /// It came to a router by this port.
    Router(RouterId, PortId),
    Host(HostId),
}

#[derive(Clone, Copy)]
enum Shape {
    /// To so many destinations.
    Xcast(u32),
    /// To one, with the TTL that it has by now.
    Plain { to: HostId, ttl: u8 },
}

impl Shape {
    fn destinations(self) -> u64 {
        match self {
            Shape::Xcast(live) => live.into(),
            Shape::Plain { .. } => 1,
        }
    }
}

/// A copy that leaves a node, by a port or to the node itself.
type Leaving = (Option<PortId>, Vec<u8>, Shape);

/// All that is on its way, by time and the order in which it came to be.
struct Transit {
    now: Time,
    arrivals: BTreeMap<(Time, u64), Arrival>,
    number: u64,
    deliveries: Vec<Delivery>,
}

impl Network {
    /// Sends packets of a host, each to so many destinations, and follows them until nothing is on its way any more.
    pub(super) fn follow(
        &mut self,
        now: Time,
        from: HostId,
        frames: Vec<(Vec<u8>, u32)>,
        own: Option<&Fib>,
    ) -> Vec<Delivery> {
        let (arrivals, deliveries) = Default::default();
        let mut transit = Transit { now, arrivals, number: 0, deliveries };
        let router = self.underlay.hosts()[from].router;
        for (frame, destinations) in frames {
            let fib = own.unwrap_or(&self.host_fibs[usize::from(self.speaks[router])]);
            self.out.prepare(fib);
            let leaving = replicate(fib, &mut self.out, frame, None, destinations);
            for copy in self.settle(leaving) {
                let arrival = Arrival { place: Place::Host(from), frame: copy.1, shape: copy.2 };
                match copy.0 {
                    None => self.deliver(&mut transit, now, from, arrival),
                    Some(_) => self.leave_host(&mut transit, now, from, arrival),
                }
            }
        }
        while let Some(((at, _), arrival)) = transit.arrivals.pop_first() {
            match arrival.place {
                Place::Host(host) => self.deliver(&mut transit, at, host, arrival),
                Place::Router(router, port) => self.route(&mut transit, at, router, port, arrival),
            }
        }
        transit.deliveries
    }

    /// At a router.
    fn route(
        &mut self,
        transit: &mut Transit,
        at: Time,
        router: RouterId,
        port: PortId,
        arrival: Arrival,
    ) {
        match arrival.shape {
            Shape::Plain { to, ttl } => self.forward_plain(transit, at, router, to, ttl, arrival),
            Shape::Xcast(live) if !self.speaks[router] => {
                self.lose(DropReason::NotForThisRouter, live.into());
            }
            Shape::Xcast(live) => {
                let Network { underlay, addresses, speaks, settings, .. } = self;
                let fib = self.fibs[router].get_or_insert_with(|| {
                    fibs::of_router(underlay, addresses, speaks, settings, router)
                });
                self.out.prepare(fib);
                let leaving = replicate(fib, &mut self.out, arrival.frame, Some(port), live);
                for (port, frame, shape) in self.settle(leaving) {
                    let arrival = Arrival { place: arrival.place, frame, shape };
                    match port {
                        Some(port) => self.leave_router(transit, at, router, port, arrival),
                        None => self.lose(DropReason::NotForThisRouter, shape.destinations()),
                    }
                }
            }
        }
    }

    /// As a kernel does, by the destination alone.
    fn forward_plain(
        &mut self,
        transit: &mut Transit,
        at: Time,
        router: RouterId,
        to: HostId,
        ttl: u8,
        mut arrival: Arrival,
    ) {
        if ttl <= 1 {
            return self.lose(DropReason::TtlExpired, 1);
        }
        arrival.shape = Shape::Plain { to, ttl: ttl - 1 };
        let target = self.underlay.hosts()[to].router;
        let port = match router == target {
            true => Some(fibs::host_port(&self.underlay, &self.addresses, router, to)),
            false => self.underlay.next(router, target).map(|place| place as PortId),
        };
        match port {
            Some(port) => self.leave_router(transit, at, router, port, arrival),
            None => self.lose(DropReason::NoRoute, 1),
        }
    }

    fn leave_router(
        &mut self,
        transit: &mut Transit,
        at: Time,
        router: RouterId,
        port: PortId,
        mut arrival: Arrival,
    ) {
        let neighbors = self.underlay.neighbors(router);
        let crossing = match neighbors.get(usize::from(port)) {
            Some(neighbor) => {
                arrival.place = Place::Router(neighbor.router, neighbor.back as PortId);
                self.underlay.crossing(router, port.into())
            }
            None => {
                let host = self.addresses.at(router)[usize::from(port) - neighbors.len()];
                arrival.place = Place::Host(host);
                Crossing { link: self.underlay.access_link(host), back: true }
            }
        };
        self.cross(transit, at, crossing, arrival);
    }

    fn leave_host(&mut self, transit: &mut Transit, at: Time, host: HostId, mut arrival: Arrival) {
        let router = self.underlay.hosts()[host].router;
        let port = fibs::host_port(&self.underlay, &self.addresses, router, host);
        arrival.place = Place::Router(router, port);
        let crossing = Crossing { link: self.underlay.access_link(host), back: false };
        self.cross(transit, at, crossing, arrival);
    }

    /// Puts a packet on a link.
    fn cross(&mut self, transit: &mut Transit, at: Time, crossing: Crossing, arrival: Arrival) {
        let octets = arrival.frame.len() - LINK_HEADER_LEN;
        self.crossed[crossing.link][usize::from(crossing.back)].add(octets);
        self.total.add(octets);
        let (delay, rate) = self.underlay.link(crossing);
        let sent = match rate {
            None => at,
            Some(rate) => {
                let queue = self.queues.entry(crossing).or_default();
                if let Some(cross_traffic) = &self.cross_traffic {
                    cross_traffic.fill(queue, crossing, (transit.now, at), rate);
                }
                queue.take(transit.now, at, octets, rate)
            }
        };
        transit.number += 1;
        transit.arrivals.insert((sent + delay, transit.number), arrival);
    }

    fn deliver(&mut self, transit: &mut Transit, at: Time, host: HostId, arrival: Arrival) {
        let Shape::Plain { to, ttl } = arrival.shape else {
            return self.lose(DropReason::NotForThisRouter, arrival.shape.destinations());
        };
        let mut packet = arrival.frame;
        packet.drain(..LINK_HEADER_LEN);
        let header = if self.settings.is_v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        match packet.get(header + 2..header + udp::HEADER_LEN) {
            Some([high, low, ..]) if to == host => {
                let to = Socket { host, port: u16::from_be_bytes([*high, *low]) };
                let (after, payload) = (at.since(transit.now), header + udp::HEADER_LEN);
                transit.deliveries.push(Delivery { to, after, ttl, packet, payload });
            }
            _ => self.lose(DropReason::NotForThisRouter, 1),
        }
    }

    /// Counts what was dropped at a node, and says of each copy where it goes.
    fn settle(&mut self, replicated: Replicated) -> Vec<Leaving> {
        for (reason, count) in replicated.dropped {
            self.lose(reason, count);
        }
        let mut leaving = Vec::with_capacity(replicated.copies.len());
        for copy in replicated.copies {
            let shape = match copy.is_unicast {
                false => Some(Shape::Xcast(copy.live)),
                true => self.plain(&copy.frame[LINK_HEADER_LEN..]),
            };
            match shape {
                Some(shape) => leaving.push((copy.port, copy.frame, shape)),
                None => self.lose(DropReason::BadDestination, copy.live.into()),
            }
        }
        leaving
    }

    /// Whom a unicast packet is for.
    fn plain(&self, packet: &[u8]) -> Option<Shape> {
        let (address, ttl): (IpAddr, u8) = match self.settings.is_v6 {
            false => {
                let packet = ipv4::Packet::parse(packet).ok()?;
                (packet.destination().into(), packet.ttl())
            }
            true => {
                let packet = ipv6::Packet::parse(packet).ok()?;
                (packet.destination().into(), packet.hop_limit())
            }
        };
        Some(Shape::Plain { to: self.addresses.host(address)?, ttl })
    }

    fn lose(&mut self, reason: DropReason, destinations: u64) {
        self.drops[reason as usize] += destinations;
    }
}

/// What became of a packet at a node.
#[derive(Default)]
struct Replicated {
    copies: Vec<Made>,
    dropped: Vec<(DropReason, u64)>,
}

struct Made {
    /// `None`: to the node itself.
    port: Option<PortId>,
    frame: Vec<u8>,
    is_unicast: bool,
    live: u32,
}

/// The packet path itself.
fn replicate(
    fib: &Fib,
    out: &mut Output,
    mut frame: Vec<u8>,
    port: Option<PortId>,
    destinations: u32,
) -> Replicated {
    let refused = out.counters.drops;
    let start = LINK_HEADER_LEN;
    let packet = Packet { buffer: &mut frame, start, port, to_group: false, index: 0 };
    process(fib, packet, xcast::forward::Time(0), out);
    let mut replicated = Replicated::default();
    for (reason, live) in out.dropped() {
        replicated.dropped.push((reason, live.count_ones().into()));
    }
    for replica in out.replicas() {
        let port = match replica.target {
            Target::Port(port) => Some(port),
            Target::Host { .. } => None,
            // All neighbors are known.
            Target::Neighbor { .. } => {
                let lost = (DropReason::NeighborUnresolved, replica.live.count_ones().into());
                replicated.dropped.push(lost);
                continue;
            }
        };
        let (head, tail) = out.pieces(replica, &frame);
        replicated.copies.push(Made {
            port,
            frame: [head, tail].concat(),
            is_unicast: replica.form.is_unicast(),
            live: replica.live.count_ones(),
        });
    }
    if replicated.copies.is_empty() && replicated.dropped.is_empty() {
        // Refused as a whole.
        let counted = DropReason::ALL.into_iter().zip(refused.into_iter().zip(out.counters.drops));
        let reason = counted.into_iter().find(|(_, (before, after))| before != after);
        let reason = reason.map_or(DropReason::NoLiveDestination, |(reason, _)| reason);
        replicated.dropped.push((reason, destinations.into()));
    }
    out.clear();
    replicated
}

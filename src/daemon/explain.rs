//! `explain`: what the router would do with a packet, destination by destination. The answer
//! comes from the packet path itself, run on a packet made for the question; a trace request is
//! answered the same way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::control::{self, Explanation, Fate, PlannedReplica, Question};
use crate::engine::TraceRequest;
use crate::fib::{Entry, Fib, Port, PortId};
use crate::forward::{
    DropReason, Form, LINK_HEADER_LEN, Output, Packet, Replica, Target, Time, process,
};
use crate::host::{Destination, Message};
use crate::rib::Rib;
use crate::wire::trace::{Branch, Outcome, Report};
use crate::wire::xcast4::{bit, live_indices};
use crate::wire::{self, ipv4, ipv6, xcast6};

/// Answers a question about the present tables. Destinations of the two IP versions would travel
/// in two packets.
///
/// # Errors
/// The question cannot be asked: no destination, too many, too large.
pub(super) fn explain(fib: &Fib, rib: &Rib, question: &Question) -> Result<Explanation, String> {
    if question.destinations.is_empty() {
        return Err("name a destination".to_owned());
    }
    let mut fates: Vec<Option<Fate>> = vec![None; question.destinations.len()];
    let mut replicas = Vec::new();
    for is_v6 in [false, true] {
        let each = question.destinations.iter().enumerate();
        let (places, addresses): (Vec<usize>, Vec<IpAddr>) =
            each.filter(|(_, address)| address.is_ipv6() == is_v6).unzip();
        if addresses.is_empty() {
            continue;
        }
        let run = ask(fib, rib, question, &addresses, is_v6)?;
        let first = replicas.len();
        for (id, replica) in (first..).zip(run.replicas()) {
            replicas.push(planned(fib, replica, &addresses, id));
        }
        for (index, (place, address)) in places.into_iter().zip(&addresses).enumerate() {
            fates[place] = Some(fate(fib, rib, &run, index, *address, first));
        }
    }
    Ok(Explanation { destinations: fates.into_iter().flatten().collect(), replicas })
}

/// Runs the question's packet to the destinations of one IP version.
fn ask(
    fib: &Fib,
    rib: &Rib,
    question: &Question,
    destinations: &[IpAddr],
    is_v6: bool,
) -> Result<Output, String> {
    let named = question.source.filter(|source| source.is_ipv6() == is_v6);
    // Nothing depends on the source of a node's own packets. Where it has no address, one for
    // documentation (RFC 5737, RFC 3849) takes its place.
    let stand_in = || match is_v6 {
        true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        false => Ipv4Addr::new(192, 0, 2, 1).into(),
    };
    let source = named.or_else(|| own_address(rib, is_v6)).unwrap_or_else(stand_in);
    let port = named.and_then(|source| ingress(fib, source));
    let payload = vec![0; usize::from(question.size)];
    let to: Vec<Destination> =
        destinations.iter().map(|a| Destination { address: *a, port: 9, dscp: None }).collect();
    let message = Message { destinations: &to, payload: &payload, ..Message::default() };
    let packet = message.packet(fib.code_points(), source, 9);
    Ok(run(fib, packet.map_err(|error| error.to_string())?, port))
}

fn run(fib: &Fib, mut buffer: Vec<u8>, port: Option<PortId>) -> Output {
    let mut out = Output::new(fib);
    let start = LINK_HEADER_LEN;
    let packet = Packet { buffer: &mut buffer, start, port, to_group: false, index: 0 };
    process(fib, packet, Time(0), &mut out);
    out
}

/// A packet of this node's own starts here; one of another source came in where the way back to
/// it leaves.
fn ingress(fib: &Fib, source: IpAddr) -> Option<PortId> {
    match fib.entry_for(source, None) {
        Entry::OnLink(port) => Some(port),
        Entry::Neighbor(id) => Some(fib.adjacency(id).port),
        Entry::Gateways(group) => Some(fib.adjacency(*fib.members(group).first()?).port),
        Entry::Local => None,
        // It would be refused wherever it came in.
        _ => fib.ports().iter().position(Option::is_some).map(|id| id as PortId),
    }
}

fn own_address(rib: &Rib, is_v6: bool) -> Option<IpAddr> {
    let of_version = rib.addresses().filter(|address| address.is_ipv6() == is_v6);
    let usable = of_version.filter(|a| !a.is_loopback() && !crate::fib::is_link_local(*a));
    usable.min()
}

/// What becomes of destination `index`; `first` is the number of the run's first copy.
fn fate(fib: &Fib, rib: &Rib, run: &Output, index: usize, address: IpAddr, first: usize) -> Fate {
    let serves = |replica: &Replica| replica.live & bit(index) != 0;
    let copy = run.replicas().iter().position(serves);
    let replica = copy.map(|at| run.replicas()[at]);
    let reason = dropped(run, index);
    let hop = replica.and_then(|replica| next_hop(fib, &replica)).or_else(|| {
        // Where it would have gone.
        match fib.entry_for(address, None) {
            Entry::OnLink(port) => Some((port, address)),
            Entry::Neighbor(id) => Some((fib.adjacency(id).port, address)),
            Entry::Gateways(group) => {
                let adjacency = fib.adjacency(*fib.members(group).first()?);
                Some((adjacency.port, adjacency.address))
            }
            _ => None,
        }
    });
    let port = hop.and_then(|(port, _)| fib.port(port));
    let outcome = match (reason, replica.map(|replica| replica.target)) {
        (None, Some(Target::Host { .. }) | None) => "deliver",
        (None, Some(_)) => "forward",
        (Some(_), _) => "drop",
    };
    let into_tunnel = replica
        .filter(|replica| replica.form == Form::Xcast)
        .and_then(|_| native_tunnel(fib, address));
    let (interface, tunnel) = match into_tunnel {
        Some(name) => (None, Some(name)),
        None => names(port),
    };
    let of_link = port.filter(|port| port.tunnel.is_none());
    let state = of_link.zip(hop).map(|(port, (_, hop))| {
        let known = rib.neighbor_state(port.interface, hop);
        known.map_or("unresolved", control::resolution).to_owned()
    });
    Fate {
        address: address.to_string(),
        outcome: outcome.to_owned(),
        reason: reason.map(|reason| reason.name().to_owned()),
        prefix: rib.matched_prefix(address).map(|prefix| prefix.to_string()),
        via: hop.filter(|(_, hop)| *hop != address).map(|(_, hop)| hop.to_string()),
        interface,
        tunnel,
        neighbor_state: state,
        replica: copy.map(|at| first + at),
    }
}

/// Why destination `index` is dropped, if it is; a packet that is malformed drops all.
fn dropped(run: &Output, index: usize) -> Option<DropReason> {
    let mut own = run.dropped().filter(|(_, live)| live & bit(index) != 0);
    let drops = run.counters.drops;
    let malformed = || {
        let packet_reasons = DropReason::ALL.into_iter().filter(|r| r.counts_packets());
        packet_reasons.into_iter().find(|reason| drops[*reason as usize] > 0)
    };
    own.next().map(|(reason, _)| reason).or_else(malformed)
}

/// The port that a copy leaves by, and the neighbor it goes to.
fn next_hop(fib: &Fib, replica: &Replica) -> Option<(PortId, IpAddr)> {
    match (replica.target, replica.adjacency) {
        (Target::Neighbor { port, address }, _) => Some((port, address)),
        (Target::Port(port), Some(id)) => Some((port, fib.adjacency(id).address)),
        _ => None,
    }
}

fn planned(fib: &Fib, replica: &Replica, addresses: &[IpAddr], id: usize) -> PlannedReplica {
    let hop = next_hop(fib, replica);
    let first = addresses.get(replica.live.leading_zeros() as usize);
    let into_tunnel = first
        .filter(|_| replica.form == Form::Xcast)
        .and_then(|address| native_tunnel(fib, *address));
    let (interface, tunnel) = match into_tunnel {
        Some(name) => (None, Some(name)),
        None => names(hop.and_then(|(port, _)| fib.port(port))),
    };
    let served = live_indices(replica.live).filter_map(|index| addresses.get(index));
    PlannedReplica {
        id,
        to: hop.map_or_else(|| "this node".to_owned(), |(_, hop)| hop.to_string()),
        interface,
        tunnel,
        form: if replica.form == Form::Xcast { "xcast" } else { "unicast" }.to_owned(),
        destinations: served.map(IpAddr::to_string).collect(),
        bytes: replica.ip_len(),
    }
}

/// The tunnel that an address is routed into, of those whose packets leave by other ports.
fn native_tunnel(fib: &Fib, address: IpAddr) -> Option<String> {
    let Entry::Gateways(group) = fib.entry_for(address, None) else { return None };
    let port = fib.port(fib.adjacency(*fib.members(group).first()?).port)?;
    port.tunnel.filter(|tunnel| tunnel.encapsulation.is_native()).map(|_| port.name.clone())
}

/// The name of a port that is an interface, and of one that is a tunnel.
fn names(port: Option<&Port>) -> (Option<String>, Option<String>) {
    let (tunnels, interfaces): (Vec<&Port>, Vec<&Port>) =
        port.into_iter().partition(|port| port.tunnel.is_some());
    let name = |ports: Vec<&Port>| ports.first().map(|port| port.name.clone());
    (name(interfaces), name(tunnels))
}

/// What the router `name` does with the packet of a trace request, as if its TTL did not end here;
/// and the port that the report goes to at its source. `None`: the packet is not what it was.
pub(super) fn trace(fib: &Fib, name: &str, request: &TraceRequest) -> Option<(Report, u16)> {
    const TTL: u8 = 64;
    let port = fib.port(request.port)?;
    let mut buffer = vec![0; LINK_HEADER_LEN];
    buffer.extend(&request.packet);
    let ip = buffer.get_mut(LINK_HEADER_LEN..)?;
    let datagram_at = match ip.first()? >> 4 {
        4 => {
            let header = ipv4::Packet::parse(ip).ok()?;
            let list = wire::xcast4::Header::parse(header.payload()).ok()?;
            let at = header.header_len() + list.header_len();
            ipv4::set_ttl(ip, TTL);
            at
        }
        _ => {
            let transport = xcast6::transport(ip)?;
            ipv6::set_hop_limit(ip, TTL);
            transport
        }
    };
    let datagram = ip.get(datagram_at..)?;
    let source_port = u16::from_be_bytes([*datagram.first()?, *datagram.get(1)?]);
    let nonce = wire::trace::nonce(datagram.get(wire::udp::HEADER_LEN..)?)?;
    let run = run(fib, buffer, Some(request.port));
    let copies = run.replicas().iter().map(|replica| Branch {
        destinations: replica.live,
        outcome: match next_hop(fib, replica) {
            Some((port, to)) => Outcome::Copy {
                xcast: replica.form == Form::Xcast,
                to,
                interface: fib.port(port).map(|port| port.name.clone()).unwrap_or_default(),
            },
            None => Outcome::Delivered,
        },
    });
    let drops = run.dropped().map(|(reason, live)| Branch {
        destinations: live,
        outcome: Outcome::Dropped(reason.name().to_owned()),
    });
    let address = port.address_towards(request.source)?;
    let report =
        Report { nonce, router: name.to_owned(), address, branches: copies.chain(drops).collect() };
    Some((report, source_port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rib::{
        Address, Change, KernelRoute, Link, LinkKind, Neighbor, NeighborState, NextHop, Placement,
        RouteAction, Settings,
    };
    use crate::wire::CodePoints;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

    /// eth1 with 10.0.1.1/24, 20.0.0.0/8 behind 10.0.1.7, of which 20.9.0.0/16 is a blackhole.
    fn rib() -> Rib {
        let mut rib = Rib::new(Settings::open(CodePoints {
            ip_protocol: 253,
            all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
            all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
            routing_type: 253,
            ports_option: 0x5e,
            hop_by_hop_option: 0x1e,
        }));
        rib.apply(Change::Link(Link {
            index: 1,
            name: "eth1".to_owned(),
            mtu: 1500,
            kind: LinkKind::Ethernet,
            address: Some([2; 6]),
            admin_up: true,
            carrier: true,
            master: None,
        }));
        let (interface, prefix_length, peer, broadcast) = (1, 24, None, None);
        let address = IpAddr::V4(OWN);
        rib.apply(Change::Address(Address { interface, address, prefix_length, peer, broadcast }));
        let gateway = "10.0.1.7".parse().unwrap();
        rib.apply(Change::Neighbor(Neighbor {
            interface,
            address: gateway,
            link_address: Some([4; 6]),
            state: NeighborState::Reachable,
        }));
        let via = |gateway| RouteAction::Forward(vec![NextHop { interface, gateway, weight: 1 }]);
        for (prefix, action) in [
            ("10.0.1.0/24", via(None)),
            ("20.0.0.0/8", via(Some(gateway))),
            ("20.9.0.0/16", RouteAction::Drop),
        ] {
            let prefix = prefix.parse().unwrap();
            let route = KernelRoute { table: 254, prefix, metric: 0, action };
            rib.apply(Change::Route(route, Placement::First));
        }
        rib
    }

    fn ask(destinations: &[&str], size: u16) -> Explanation {
        let mut rib = rib();
        let fib = rib.compile();
        let destinations = destinations.iter().map(|text| text.parse().unwrap()).collect();
        explain(&fib, &rib, &Question { destinations, source: None, size }).unwrap()
    }

    #[test]
    fn says_for_each_destination_what_becomes_of_it() {
        let list = ["20.0.0.1", "10.0.1.1", "20.9.0.1", "99.0.0.1", "10.0.1.8", "20.0.0.2"];
        let explanation = ask(&list, 64);
        let each = |field: fn(&Fate) -> Option<&str>| -> Vec<_> {
            explanation.destinations.iter().map(|fate| field(fate).unwrap_or("-")).collect()
        };
        let outcomes = each(|fate| Some(&fate.outcome));
        assert_eq!(outcomes, ["forward", "deliver", "drop", "drop", "forward", "forward"]);
        let reasons = each(|fate| fate.reason.as_deref());
        assert_eq!(reasons, ["-", "-", "route-drop", "no-route", "-", "-"]);
        let via = each(|fate| fate.via.as_deref());
        assert_eq!(via, ["10.0.1.7", "-", "-", "-", "-", "10.0.1.7"]);
        let states = each(|fate| fate.neighbor_state.as_deref());
        assert_eq!(states, ["reachable", "-", "-", "-", "unresolved", "reachable"]);
        let prefixes = each(|fate| fate.prefix.as_deref());
        assert_eq!(prefixes[2..5], ["20.9.0.0/16", "-", "10.0.1.0/24"]);
        let copy = |index: usize| {
            let id = explanation.destinations[index].replica.unwrap();
            let replica = &explanation.replicas[id];
            (replica.form.as_str(), replica.to.as_str(), replica.bytes)
        };
        assert_eq!(copy(0), copy(5));
        assert_eq!(copy(0), ("xcast", "10.0.1.7", 20 + 40 + 8 + 64));
        assert_eq!(copy(4), ("unicast", "10.0.1.8", 20 + 8 + 64));
        assert_eq!(copy(1), ("unicast", "this node", 20 + 8 + 64));
    }

    #[test]
    fn a_copy_that_does_not_fit_is_a_drop_though_each_alone_would_fit() {
        let explanation = ask(&["20.0.0.1", "20.0.0.2"], 1460);
        let reasons: Vec<_> = explanation.destinations.iter().map(|f| f.reason.clone()).collect();
        assert_eq!(reasons, [Some("too-big".to_owned()), Some("too-big".to_owned())]);
        assert!(explanation.replicas.is_empty());
    }

    #[test]
    fn a_repeated_destination_has_a_copy_for_each_time() {
        let explanation = ask(&["10.0.1.8", "10.0.1.8"], 10);
        let copies: Vec<_> = explanation.destinations.iter().map(|fate| fate.replica).collect();
        assert_eq!(copies, [Some(0), Some(1)]);
    }

    #[test]
    fn both_ip_versions_may_be_asked_for_at_once() {
        let explanation = ask(&["20.0.0.1", "2001:db8::9", "20.0.0.2", "::1"], 10);
        let reasons: Vec<_> =
            explanation.destinations.iter().map(|fate| fate.reason.as_deref()).collect();
        assert_eq!(reasons, [None, Some("no-route"), None, Some("bad-destination")]);
        let addresses: Vec<_> =
            explanation.destinations.iter().map(|fate| fate.address.as_str()).collect();
        assert_eq!(addresses, ["20.0.0.1", "2001:db8::9", "20.0.0.2", "::1"]);
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let mut rib = rib();
        let fib = rib.compile();
        let ask = |count| {
            let question =
                Question { destinations: vec![OWN.into(); count], source: None, size: 0 };
            explain(&fib, &rib, &question)
        };
        assert!(ask(0).is_err() && ask(128).is_err() && ask(127).is_ok());
    }
}

//! `explain`: what the router would do with a packet, destination by destination. The answer
//! comes from the packet path itself, run on a packet made for the question: once for each
//! destination alone, which tells its fate, and once for all, which tells the copies.

use std::net::{IpAddr, Ipv4Addr};

use crate::control::{self, Explanation, Fate, PlannedReplica, Question};
use crate::fib::{Entry, Fib, PortId};
use crate::forward::{
    DropReason, Form, LINK_HEADER_LEN, Output, Packet, Replica, Target, Time, process,
};
use crate::host::{Destination, Message};
use crate::rib::Rib;
use crate::wire::ipv4;
use crate::wire::xcast4::{self, live_indices};

/// A packet that was processed for the question: its buffer and what came out.
struct Run {
    buffer: Vec<u8>,
    out: Output,
}

/// Answers a question about the present tables.
///
/// # Errors
/// The question cannot be asked: no destination, too many, too large.
pub(super) fn explain(fib: &Fib, rib: &Rib, question: &Question) -> Result<Explanation, String> {
    let source = question
        .source
        .or_else(|| own_address(rib))
        .ok_or("this node has no IPv4 address to send from: name one by --source")?;
    let port = question.source.and_then(|source| ingress(fib, source));
    let whole = run(fib, question, &question.destinations, source, port)?;
    let mut replicas: Vec<PlannedReplica> = Vec::new();
    for replica in whole.out.replicas() {
        replicas.push(planned(fib, &whole, replica, replicas.len()));
    }
    let mut destinations = Vec::new();
    for (index, address) in question.destinations.iter().enumerate() {
        let alone = run(fib, question, &[*address], source, port)?;
        let mut fate = fate(fib, rib, &alone, *address);
        let text = address.to_string();
        // A repeated address has as many places in copies as it is listed, one after the other.
        let before = question.destinations[..index].iter().filter(|other| *other == address);
        let mut places = replicas.iter().flat_map(|replica| {
            let times = replica.destinations.iter().filter(|served| **served == text).count();
            std::iter::repeat_n(replica.id, times)
        });
        fate.replica = places.nth(before.count());
        if fate.replica.is_none() && fate.outcome != "drop" {
            // Alone it would be served: it is the whole packet that does not fit, say.
            fate.outcome = "drop".to_owned();
            fate.reason = first_reason(&whole);
        }
        destinations.push(fate);
    }
    Ok(Explanation { destinations, replicas })
}

/// A packet of this node's own starts here; one of another source came in where the way back to
/// it leaves.
fn ingress(fib: &Fib, source: Ipv4Addr) -> Option<PortId> {
    match fib.entry(fib.lookup(source)) {
        Entry::OnLink(port) => Some(*port),
        Entry::Neighbor(id) => Some(fib.adjacency(*id).port),
        Entry::Gateways(group) => Some(fib.adjacency(*fib.members(*group).first()?).port),
        Entry::Local => None,
        // It would be refused wherever it came in.
        _ => fib.ports().iter().position(Option::is_some).map(|id| id as PortId),
    }
}

fn own_address(rib: &Rib) -> Option<Ipv4Addr> {
    let addresses = rib.addresses().filter_map(|address| match address {
        IpAddr::V4(v4) if !v4.is_loopback() => Some(v4),
        _ => None,
    });
    addresses.min()
}

fn run(
    fib: &Fib,
    question: &Question,
    destinations: &[Ipv4Addr],
    source: Ipv4Addr,
    port: Option<PortId>,
) -> Result<Run, String> {
    let payload = vec![0; usize::from(question.size)];
    let to: Vec<Destination> =
        destinations.iter().map(|a| Destination { address: *a, port: 9, dscp: None }).collect();
    let message = Message { destinations: &to, payload: &payload, ..Message::default() };
    let packet = message.packet(fib.code_points(), source);
    let mut buffer = packet.map_err(|error| error.to_string())?;
    let mut out = Output::new(fib);
    let start = LINK_HEADER_LEN;
    process(
        fib,
        Packet { buffer: &mut buffer, start, port, to_group: false, index: 0 },
        Time(0),
        &mut out,
    );
    Ok(Run { buffer, out })
}

/// What becomes of a destination that is alone in its packet.
fn fate(fib: &Fib, rib: &Rib, alone: &Run, address: Ipv4Addr) -> Fate {
    let replica = alone.out.replicas().first();
    let hop = replica.and_then(|replica| next_hop(fib, replica));
    let port = hop.and_then(|(port, _)| fib.port(port));
    let outcome = match replica.map(|replica| replica.target) {
        None => "drop",
        Some(Target::Host) => "deliver",
        Some(_) => "forward",
    };
    let state = port.zip(hop).map(|(port, (_, hop))| {
        let known = rib.neighbor_state(port.interface, hop);
        known.map_or("unresolved", control::resolution).to_owned()
    });
    Fate {
        address: address.to_string(),
        outcome: outcome.to_owned(),
        reason: first_reason(alone),
        prefix: rib.matched_prefix(address.into()).map(|prefix| prefix.to_string()),
        via: hop.filter(|(_, hop)| *hop != IpAddr::V4(address)).map(|(_, hop)| hop.to_string()),
        interface: port.map(|port| port.name.clone()),
        neighbor_state: state,
        replica: None,
    }
}

fn first_reason(run: &Run) -> Option<String> {
    let drops = run.out.counters.drops;
    let mut counted = DropReason::ALL.into_iter().filter(|reason| drops[*reason as usize] > 0);
    counted.next().map(|reason| reason.name().to_owned())
}

/// The port that a copy leaves by, and the neighbor it goes to.
fn next_hop(fib: &Fib, replica: &Replica) -> Option<(PortId, IpAddr)> {
    match (replica.target, replica.adjacency) {
        (Target::Neighbor { port, address }, _) => Some((port, address)),
        (Target::Port(port), Some(id)) => Some((port, fib.adjacency(id).address)),
        _ => None,
    }
}

fn planned(fib: &Fib, run: &Run, replica: &Replica, id: usize) -> PlannedReplica {
    let (head, tail) = run.out.pieces(replica, &run.buffer);
    let packet = [&head[LINK_HEADER_LEN..], tail].concat();
    let hop = next_hop(fib, replica);
    let is_xcast = replica.form == Form::Xcast;
    PlannedReplica {
        id,
        to: hop.map_or_else(|| "this node".to_owned(), |(_, hop)| hop.to_string()),
        interface: hop.and_then(|(port, _)| Some(fib.port(port)?.name.clone())),
        form: if is_xcast { "xcast" } else { "unicast" }.to_owned(),
        destinations: served(&packet, is_xcast),
        bytes: packet.len(),
    }
}

/// The destinations that a copy serves, out of the copy itself.
fn served(packet: &[u8], is_xcast: bool) -> Vec<String> {
    let Ok(ip) = ipv4::Packet::parse(packet) else { return Vec::new() };
    match xcast4::Header::parse(ip.payload()) {
        Ok(header) if is_xcast => {
            live_indices(header.bitmap()).map(|i| header.destination(i).to_string()).collect()
        }
        _ => vec![ip.destination().to_string()],
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

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
    fn what_cannot_be_asked_is_refused() {
        let mut rib = rib();
        let fib = rib.compile();
        let ask = |count| {
            let question = Question { destinations: vec![OWN; count], source: None, size: 0 };
            explain(&fib, &rib, &question)
        };
        assert!(ask(0).is_err() && ask(128).is_err() && ask(127).is_ok());
    }
}

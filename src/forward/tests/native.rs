//! Semi-permeable tunnels and anycast (RFC 5058 sections 11.3 to 11.5, WIRE.md "Tunnels").

use proptest::prelude::*;

use super::*;
use crate::fib::Tunnel;
use crate::wire::semi_permeable::{self, Envelope, OVERHEAD};
use crate::wire::tunnel::Encapsulation;

/// Addresses of service: this node's, and others behind gateway 2.
const OWN_SERVICE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVICE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// Behind gateways 1 and 2; the routes lead into an anycast tunnel.
const P: Ipv4Addr = Ipv4Addr::new(10, 71, 0, 1);
const Q: Ipv4Addr = Ipv4Addr::new(10, 72, 0, 1);
/// The same over IPv6, into a semi-permeable one.
const P_V6: Ipv6Addr = v6(0x71, 1);
const Q_V6: Ipv6Addr = v6(0x72, 1);
/// The route into the tunnel is the only one.
const NOWHERE_V6: Ipv6Addr = v6(0x79, 1);

fn fib(accept: &[&str], sources: &[&str], capability: Capability) -> Fib {
    let tunnel = |encapsulation, local: IpAddr, remote: IpAddr| Tunnel {
        encapsulation,
        local: (local, 0).into(),
        remote: (remote, 0).into(),
        keyed: false,
    };
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let semi_permeable = tunnel(Encapsulation::SemiPermeable, any, any);
    let no_end = Ipv4Addr::UNSPECIFIED.into();
    let anycast = tunnel(Encapsulation::Anycast, no_end, SERVICE.into());
    let port = |(id, tunnel): (u8, Option<Tunnel>)| {
        Some(Port {
            interface: u32::from(id) + 10,
            instance: 0,
            name: format!("p{id}"),
            mtu: 1500,
            link_address: [2, 0, 0, 0, 0, id],
            addresses: Vec::new(),
            up: true,
            reverse_path: ReversePath::Strict,
            accept_group_frames: false,
            tunnel,
        })
    };
    let tunnels = [None, None, None, None, Some(semi_permeable), Some(anycast)];
    let ports: Vec<_> = (0..).zip(tunnels).map(port).collect();
    let mut fib = FibBuilder::new(*TABLE.fib().code_points(), ports);
    fib.native();
    fib.limits(Limits {
        anycast: vec![OWN_SERVICE.into()],
        accept: accept.iter().map(|text| prefix(text)).collect(),
        sources: sources.iter().map(|text| prefix(text)).collect(),
        ..Limits::default()
    });
    let rewrite = |id: u8| Some(ethernet::header([4, 0, 0, 0, 0, id], [2, 0, 0, 0, 0, id], 0x0800));
    let gateway_v6 = IpAddr::V6(GATEWAY_V6);
    for (id, address) in
        [(1, GATEWAY_1.into()), (2, GATEWAY_2.into()), (1, gateway_v6), (2, gateway_v6)]
    {
        fib.adjacency(id, address, rewrite(id as u8), capability);
    }
    fib.adjacency(3, HOST_V6.into(), rewrite(3), Capability::Incapable);
    fib.adjacency(4, any, Some([0; 14]), Capability::Tunnel);
    fib.adjacency(5, SERVICE.into(), Some([0; 14]), Capability::Tunnel);
    for (id, gateway) in [(1, GATEWAY_1), (2, GATEWAY_2)] {
        for net in [0, 70] {
            fib.route_via(
                prefix(&format!("10.{}.0.0/16", net + id)),
                vec![hop(id, gateway.into())],
            );
            let subnet = if net == 0 { u16::from(id as u8) } else { 0x70 + id };
            fib.route_via(prefix(&format!("2001:db8:{subnet:x}::/48")), vec![hop(id, gateway_v6)]);
        }
    }
    fib.route_via(prefix("192.0.2.0/24"), vec![hop(2, GATEWAY_2.into())]);
    fib.route(prefix("10.0.0.0/24"), Entry::OnLink(0));
    fib.route(prefix("2001:db8::/64"), Entry::OnLink(0));
    fib.route(prefix("2001:db8:a3::/64"), Entry::OnLink(3));
    fib.begin_table();
    fib.route_via(prefix("10.64.0.0/10"), vec![hop(5, SERVICE.into())]);
    fib.route_via(prefix("2001:db8:70::/44"), vec![hop(4, any)]);
    fib.neighbors();
    fib.route(Prefix::host(OWN_V6.into()), Entry::Local);
    fib.finish(1)
}

/// One that opens envelopes of the usual source.
fn opener() -> Fib {
    fib(&["2001:db8::/64"], &[], Capability::Incapable)
}

/// A packet in an envelope.
fn enveloped(header: xcast6::Repr, limits: (u8, u8), to: Ipv6Addr) -> Vec<u8> {
    let inner = packet_v6(header, limits.1);
    let mut bytes = vec![0; OVERHEAD];
    let envelope =
        Envelope { source: SOURCE_V6, destination: to, hop_limit: limits.0, traffic_class: 0xb8 };
    envelope.emit(0x1e, inner.len(), &mut bytes);
    [bytes, inner].concat()
}

/// What an enveloped copy says: its envelope, and what is in it.
fn opened(ip: &[u8]) -> (Envelope, Vec<Ipv6Addr>, u8) {
    let envelope = semi_permeable::read(0x1e, ip).expect("it is in an envelope");
    let inner = &ip[OVERHEAD..];
    let packet = ipv6::Packet::parse(inner).unwrap();
    assert_eq!(packet.total_len(), inner.len());
    assert_eq!((packet.source(), packet.destination()), (SOURCE_V6, GROUP_V6));
    assert_eq!(envelope.source, SOURCE_V6);
    let repr = xcast6::Repr::of(&xcast6::Header::parse(packet.payload()).unwrap());
    let live = live_indices(repr.bitmap).map(|index| repr.destinations[index]).collect();
    (envelope, live, packet.hop_limit())
}

fn assert_unicast_v6(ip: &[u8], destination: Ipv6Addr, hop_limit: u8) {
    let packet = ipv6::Packet::parse(ip).unwrap();
    assert_eq!((packet.next_header(), packet.hop_limit()), (17, hop_limit));
    assert_eq!((packet.source(), packet.destination()), (SOURCE_V6, destination));
    let datagram = packet.payload();
    assert!(udp::checksum_valid(datagram, SOURCE_V6, destination));
}

fn dropped(out: &Outcome) -> Vec<(&'static str, u64)> {
    let each = DropReason::ALL.into_iter().map(|r| (r.name(), out.counters.drops[r as usize]));
    each.filter(|(_, count)| *count > 0).collect()
}

/// RFC 5058 figure 11, octet by octet.
#[test]
fn a_route_into_a_semi_permeable_tunnel_makes_an_envelope() {
    let out = run(&fib(&[], &[], Capability::Incapable), &packet_v6(to_v6(&[P_V6, Q_V6]), 64));
    let [(target, form, ip)] = &out.replicas[..] else { panic!("one copy for both") };
    assert_eq!((*target, *form), (Target::Port(1), Form::Xcast), "the way to the first");
    #[rustfmt::skip]
    let outer = [
        0x6b, 0x80, 0, 0, // DS octet 0xb8 as inside
        0, 125, 0, 64, // 8 + 117 octets, Hop-by-Hop, hop limit 64
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, // the sender
        0x20, 0x01, 0x0d, 0xb8, 0, 0x71, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // the first destination
        41, 0, 0x1e, 0, 1, 2, 0, 0, // IPv6 follows; the option; PadN
        0x6b, 0x80, 0, 7, // the packet, its flow label kept
        0, 77, 43, 63, // lowered once
    ];
    assert_eq!((ip.len(), &ip[..56]), (OVERHEAD + 117, &outer[..]));
    let (_, live, hop_limit) = opened(ip);
    assert_eq!((live, hop_limit), (vec![P_V6, Q_V6], 63));
}

#[test]
fn a_lone_destination_needs_no_envelope_and_one_without_a_way_gets_none() {
    let fib = fib(&[], &[], Capability::Incapable);
    let out = run(&fib, &packet_v6(to_v6(&[NOWHERE_V6, Q_V6]), 64));
    let [(target, form, ip)] = &out.replicas[..] else { panic!() };
    assert_eq!((*target, *form), (Target::Port(2), Form::Unicast));
    assert_unicast_v6(ip, Q_V6, 63);
    assert_eq!(dropped(&out), [("no-route", 1)]);
}

#[test]
fn where_all_go_its_way_an_envelope_passes_unopened() {
    let bytes = enveloped(to_v6(&[B_V6, C_V6]), (9, 5), C_V6);
    let out = run(&opener(), &bytes);
    let [(target, form, ip)] = &out.replicas[..] else { panic!() };
    assert_eq!((*target, *form), (Target::Port(1), Form::Xcast));
    let mut expected = bytes.clone();
    expected[7] = 8;
    assert_eq!(*ip, expected);
    assert_eq!(out.counters.destinations_forwarded, 2);

    // An inner hop limit that is used up is of no concern to one that does not open it.
    let worn = enveloped(to_v6(&[B_V6, C_V6]), (9, 1), C_V6);
    assert_eq!(run(&opener(), &worn).replicas.len(), 1);
}

#[test]
fn a_router_that_branches_keeps_the_envelopes() {
    let bytes = enveloped(to_v6(&[B_V6, C_V6, D_V6, E_V6]), (9, 5), C_V6);
    let out = run(&opener(), &bytes);
    let [(to_1, _, first), (to_2, _, second)] = &out.replicas[..] else { panic!() };
    assert_eq!((*to_1, *to_2), (Target::Port(1), Target::Port(2)));
    for (ip, expected) in [(first, [B_V6, C_V6]), (second, [D_V6, E_V6])] {
        let (envelope, live, hop_limit) = opened(ip);
        assert_eq!((envelope.destination, envelope.hop_limit), (expected[0], 8));
        assert_eq!((live, hop_limit), (expected.to_vec(), 4));
    }
}

#[test]
fn a_single_destination_leaves_its_envelope_behind() {
    let out = run(&opener(), &enveloped(to_v6(&[B_V6, C_V6, D_V6, HOST_V6]), (9, 5), B_V6));
    let [(_, _, first), (to_2, two, second), (to_3, three, third)] = &out.replicas[..] else {
        panic!()
    };
    assert_eq!(opened(first).1, [B_V6, C_V6]);
    assert_eq!(
        (*to_2, *two, *to_3, *three),
        (Target::Port(2), Form::Unicast, Target::Port(3), Form::Unicast)
    );
    assert_unicast_v6(second, D_V6, 4);
    assert_unicast_v6(third, HOST_V6, 4);
}

#[test]
fn used_up_hop_limits_end_it_where_it_is_opened_or_passed_on() {
    let both = to_v6(&[B_V6, D_V6]);
    for limits in [(0, 64), (1, 64), (64, 0), (64, 1)] {
        let out = run(&opener(), &enveloped(both.clone(), limits, B_V6));
        assert_eq!(out.replicas.len(), 0, "{limits:?}");
        assert_eq!(dropped(&out), [("ttl-expired", 2)], "{limits:?}");
    }
}

/// RFC 5058 section 11.4: a destination delivers to itself and sends to the next.
#[test]
fn the_one_it_is_addressed_to_sends_it_on() {
    let out = run(&opener(), &enveloped(to_v6(&[OWN_V6, D_V6, B_V6]), (1, 5), OWN_V6));
    let [(host, _, own), (target, form, next)] = &out.replicas[..] else { panic!() };
    assert_eq!(*host, Target::Host { from: Some(0) });
    assert_unicast_v6(own, OWN_V6, 5);
    assert_eq!((*target, *form), (Target::Port(2), Form::Xcast), "one for both, to the next");
    let (envelope, live, hop_limit) = opened(next);
    assert_eq!((envelope.destination, envelope.hop_limit), (D_V6, 64));
    assert_eq!((live, hop_limit), (vec![D_V6, B_V6], 4));
    assert_eq!((out.counters.destinations_delivered, dropped(&out).len()), (1, 0));

    let last = run(&opener(), &enveloped(to_v6(&[OWN_V6, D_V6]), (1, 5), OWN_V6));
    assert_unicast_v6(&last.replicas[1].2, D_V6, 4);
    let worn = run(&opener(), &enveloped(to_v6(&[OWN_V6, D_V6]), (1, 1), OWN_V6));
    assert_eq!((worn.replicas.len(), dropped(&worn)), (1, vec![("ttl-expired", 1)]));
}

#[test]
fn envelopes_from_others_than_their_senders_are_not_opened() {
    let mut spoofed = enveloped(to_v6(&[B_V6, D_V6]), (9, 5), B_V6);
    spoofed[23] = 77;
    spoofed[12] = 0xff;
    let out = run(&opener(), &spoofed);
    assert_eq!((out.replicas.len(), dropped(&out)), (0, vec![("unknown-end", 1)]));
    let listed = fib(&["2001:db8::/64", "2001:db8:ff00::/40"], &[], Capability::Incapable);
    assert_eq!(run(&listed, &spoofed).replicas.len(), 2, "its sender is listed");

    // Senders that are not accepted are no business of this node: it is a router as any other.
    let others = fib(&["2001:db8:5::/48"], &[], Capability::Incapable);
    let bytes = enveloped(to_v6(&[B_V6, D_V6]), (9, 5), B_V6);
    let passed = run(&others, &bytes);
    assert_eq!((passed.replicas.len(), passed.replicas[0].2[7]), (1, 8));
    assert_eq!(passed.replicas[0].2[8..], bytes[8..]);
    let to_us = run(&others, &enveloped(to_v6(&[OWN_V6, D_V6]), (9, 5), OWN_V6));
    assert_eq!((to_us.replicas.len(), dropped(&to_us)), (0, vec![("unknown-end", 1)]));

    let off = fib(&[], &[], Capability::Incapable);
    assert_eq!(dropped(&run(&off, &bytes)), [("ip-header", 1)], "none at all are taken");
}

#[test]
fn an_envelope_that_does_not_fit_is_too_big() {
    let mut bytes = packet_v6(to_v6(&[P_V6, Q_V6]), 64);
    bytes.resize(1500 - OVERHEAD, 0);
    let payload = (bytes.len() - 40) as u16;
    bytes[4..6].copy_from_slice(&payload.to_be_bytes());
    let fib = fib(&[], &[], Capability::Incapable);
    assert_eq!(run(&fib, &bytes).replicas.len(), 1);
    bytes.push(0);
    bytes[4..6].copy_from_slice(&(payload + 1).to_be_bytes());
    assert_eq!(dropped(&run(&fib, &bytes)), [("too-big", 2)]);
}

/// A packet to a service address, its transport checksum as its sender computes it.
fn to_service(header: xcast4::Repr, service: Ipv4Addr) -> Vec<u8> {
    let mut bytes = packet(header, 64);
    ipv4::set_destination(&mut bytes, service);
    let at = bytes.len() - 13;
    let datagram = &mut bytes[at..];
    udp::Repr { source_port: 5000, destination_port: 9000 }.emit(datagram, SOURCE, service);
    bytes
}

#[test]
fn a_service_address_is_served_for_listed_sources() {
    let bytes = to_service(to(&[B, C, D]), OWN_SERVICE);
    let open = fib(&[], &["10.0.0.0/24"], Capability::Capable);
    let out = run(&open, &bytes);
    let [(_, _, both), (_, _, alone)] = &out.replicas[..] else { panic!() };
    // Towards a router it is an ordinary packet again, checksum included.
    assert_xcast(both, &[B, C], 63);
    let datagram = &both[both.len() - 13..];
    assert!(udp::checksum_valid(datagram, SOURCE, GROUP));
    assert_unicast(alone, D, 9000, 63);

    let early = run(&fib(&[], &["10.0.0.0/24"], Capability::Incapable), &bytes);
    assert_eq!(early.counters.premature_unicast_conversions, 2);
    assert_unicast(&early.replicas[0].2, B, 9000, 63);

    for (sources, service, reason) in [
        (&[][..], OWN_SERVICE, "source-not-allowed"),
        (&["10.9.0.0/16"], OWN_SERVICE, "source-not-allowed"),
        (&["10.0.0.0/24"], SERVICE, "not-for-this-router"),
    ] {
        let out = run(&fib(&[], sources, Capability::Capable), &to_service(to(&[B]), service));
        assert_eq!(dropped(&out), [(reason, 1)]);
    }
}

#[test]
fn what_must_not_change_is_not_readdressed() {
    let open = fib(&[], &["10.0.0.0/24"], Capability::Capable);
    let keeps = xcast4::Repr { keep_xcast: true, ..to(&[B, C]) };
    let out = run(&open, &to_service(keeps, OWN_SERVICE));
    assert_eq!((out.replicas.len(), dropped(&out)), (0, vec![("incapable-with-x", 2)]));
    let mut hidden = to_service(to(&[B, C]), OWN_SERVICE);
    hidden[28] = 50; // ESP
    repair(&mut hidden, 24);
    assert_eq!(dropped(&run(&open, &hidden)), [("incapable-with-x", 2)]);
    let mut unchecked = to_service(to(&[B, C]), OWN_SERVICE);
    let at = unchecked.len() - 7;
    unchecked[at..at + 2].fill(0);
    let out = run(&open, &unchecked);
    assert_eq!(out.replicas[0].2[at..at + 2], [0, 0], "no checksum stays none");
}

#[test]
fn a_route_into_an_anycast_tunnel_leads_to_its_service() {
    let fib = fib(&[], &["10.0.0.0/24"], Capability::Incapable);
    for bytes in [packet(to(&[P, Q]), 64), to_service(to(&[P, Q]), OWN_SERVICE)] {
        let out = run(&fib, &bytes);
        let [(target, form, ip)] = &out.replicas[..] else { panic!("one for both") };
        assert_eq!(
            (*target, *form),
            (Target::Port(2), Form::Xcast),
            "though no neighbor speaks it"
        );
        let packet = ipv4::Packet::parse(ip).unwrap();
        assert_eq!((packet.destination(), packet.ttl()), (SERVICE, 63));
        let datagram = &ip[ip.len() - 13..];
        assert!(udp::checksum_valid(datagram, SOURCE, SERVICE));
    }
    let lone = run(&fib, &packet(to(&[P]), 64));
    assert_unicast(&lone.replicas[0].2, P, 9000, 63);
    assert_eq!(lone.replicas[0].0, Target::Port(1), "by its own way");
}

/// Every destination of whatever comes is in one copy, or has one reason.
fn assert_conserved(fib: &Fib, bytes: &[u8]) {
    let mut buffer = vec![0; LINK_HEADER_LEN];
    buffer.extend(bytes);
    let mut out = Output::new(fib);
    let (start, port) = (LINK_HEADER_LEN, Some(0));
    let packet = Packet { buffer: &mut buffer, start, port, to_group: false, index: 0 };
    process(fib, packet, NOW, &mut out);
    let mut seen = 0;
    for live in out.replicas().iter().map(|replica| replica.live).chain(out.dropped().map(|d| d.1))
    {
        assert_eq!(seen & live, 0, "twice");
        seen |= live;
    }
    let delivered = out.counters.destinations_delivered;
    let received = out.counters.destinations_received;
    assert_eq!(received, u64::from(seen.count_ones()) + delivered);
    for replica in out.replicas().to_vec() {
        let (head, tail) = out.pieces(&replica, &buffer);
        let ip = [&head[LINK_HEADER_LEN..], tail].concat();
        match ip[0] >> 4 {
            4 => assert_eq!(ipv4::Packet::parse(&ip).unwrap().total_len(), ip.len()),
            _ => assert_eq!(ipv6::Packet::parse(&ip).unwrap().total_len(), ip.len()),
        }
    }
}

proptest! {
    // Each case makes working memory of its own three times.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_lost_in_envelopes_and_services(
        list in proptest::collection::vec(0usize..9, 1..9),
        bitmap in any::<u128>(),
        to in 0usize..9,
        limits in (0u8..4, 0u8..4),
        (keep_xcast, ds_bytes, into_tunnel, speaks) in any::<(bool, bool, bool, bool)>(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let pool =
            [B_V6, C_V6, D_V6, E_V6, HOST_V6, OWN_V6, P_V6, Q_V6, v6(0x55, 1)];
        let capability = if speaks { Capability::Capable } else { Capability::Incapable };
        let fib = fib(&["2001:db8::/64"], &["10.0.0.0/24", "2001:db8::/64"], capability);
        let listed: Vec<_> = list.iter().map(|at| pool[*at]).collect();
        let classes = (0..listed.len() as u8).map(|at| at.wrapping_mul(40));
        let header = xcast6::Repr {
            bitmap: bitmap & xcast6::all(listed.len()),
            ds_bytes: if ds_bytes { classes.collect() } else { Vec::new() },
            keep_xcast,
            ..to_v6(&listed)
        };
        let mut bytes = match into_tunnel {
            true => packet_v6(header, limits.1),
            false => enveloped(header, limits, pool[to]),
        };
        assert_conserved(&fib, &bytes);
        for (at, octet) in damage {
            let at = at.index(bytes.len());
            bytes[at] = octet;
        }
        assert_conserved(&fib, &bytes);

        let pool = [B, C, D, E, OWN, P, Q, HOST, SERVICE];
        let listed: Vec<_> = list.iter().map(|at| pool[*at]).collect();
        let live = bitmap & xcast4::all(listed.len());
        let header = xcast4::Repr { bitmap: live, keep_xcast, ..super::to(&listed) };
        assert_conserved(&fib, &to_service(header, OWN_SERVICE));
    }
}

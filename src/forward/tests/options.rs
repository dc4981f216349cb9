//! What options of the header and of the table change, in both families: classes of DSCPs, X, A,
//! transports, link-local addresses, multipath.

use super::*;

/// Both families with the same list: to whom, by index in B, C, D, E, HOST, OWN.
fn both(table: Table, to_whom: &[usize], change: impl Fn(&mut Options)) -> [Outcome; 2] {
    let mut options = Options::default();
    change(&mut options);
    let fib = table.fib();
    let list_v4 = [B, C, D, E, HOST, OWN];
    let list_v6 = [B_V6, C_V6, D_V6, E_V6, HOST_V6, OWN_V6];
    let v4: Vec<Ipv4Addr> = to_whom.iter().map(|index| list_v4[*index]).collect();
    let v6: Vec<Ipv6Addr> = to_whom.iter().map(|index| list_v6[*index]).collect();
    let (ds_bytes, ports) = (options.ds_bytes.clone(), Vec::new());
    let (anonymous, keep_xcast) = (options.anonymous, options.keep_xcast);
    let header = xcast4::Repr { anonymous, keep_xcast, ds_bytes, ports, ..to(&v4) };
    let mut packet_v4 = packet(header, 64);
    packet_v4[1] = options.traffic_class;
    ipv4::fill_checksum(&mut packet_v4, 20);
    let ds_bytes = options.ds_bytes;
    let header = xcast6::Repr { anonymous, keep_xcast, ds_bytes, ..to_v6(&v6) };
    let mut packet_v6 = packet_v6(header, 64);
    ipv6::set_traffic_class(&mut packet_v6, options.traffic_class);
    [run(&fib, &packet_v4), run(&fib, &packet_v6)]
}

#[derive(Default)]
struct Options {
    anonymous: bool,
    keep_xcast: bool,
    ds_bytes: Vec<u8>,
    traffic_class: u8,
}

/// The DS and ECN octet, and the addresses that are live and not.
struct Read {
    traffic_class: u8,
    live: Vec<IpAddr>,
    others: Vec<IpAddr>,
    keeps_xcast: bool,
}

fn read(ip: &[u8]) -> Read {
    let (live, destinations): (u128, Vec<IpAddr>);
    let (traffic_class, keeps_xcast);
    if ip[0] >> 4 == 4 {
        let packet = ipv4::Packet::parse(ip).unwrap();
        let repr = xcast4::Repr::of(&xcast4::Header::parse(packet.payload()).unwrap());
        (traffic_class, keeps_xcast) = (ip[1], repr.keep_xcast);
        live = repr.bitmap;
        destinations = repr.destinations.into_iter().map(IpAddr::V4).collect();
    } else {
        let packet = ipv6::Packet::parse(ip).unwrap();
        let repr = xcast6::Repr::of(&xcast6::Header::parse(packet.payload()).unwrap());
        (traffic_class, keeps_xcast) = (packet.traffic_class(), repr.keep_xcast);
        live = repr.bitmap;
        destinations = repr.destinations.into_iter().map(IpAddr::V6).collect();
    }
    let each = |wanted: bool| {
        let all = destinations.iter().enumerate();
        all.filter(|(index, _)| (live & bit(*index) != 0) == wanted).map(|(_, a)| *a).collect()
    };
    Read { traffic_class, live: each(true), others: each(false), keeps_xcast }
}

fn traffic_class(ip: &[u8]) -> u8 {
    if ip[0] >> 4 == 4 { ip[1] } else { ipv6::Packet::parse(ip).unwrap().traffic_class() }
}

/// B and C, in both families.
const BEHIND_1: [[IpAddr; 2]; 2] =
    [[IpAddr::V4(B), IpAddr::V4(C)], [IpAddr::V6(B_V6), IpAddr::V6(C_V6)]];

const EF: u8 = 46 << 2;
const AF41: u8 = 34 << 2;
const AF31: u8 = 26 << 2;

#[test]
fn mixed_dscps_leave_in_a_copy_for_each_class() {
    // EF, AF31, AF41 and AF31, all behind gateway 1.
    let out = both(TABLE, &[0, 1, 0, 1], |o| {
        o.ds_bytes = [EF, AF31, AF41, AF31].to_vec();
        o.traffic_class = 0b11;
    });
    for (outcome, [b, c]) in out.iter().zip(BEHIND_1) {
        assert_eq!(outcome.replicas.len(), 2);
        let first = read(&outcome.replicas[0].2);
        assert_eq!((first.traffic_class, first.live), (EF | 0b11, [b, b].to_vec()));
        let second = read(&outcome.replicas[1].2);
        assert_eq!((second.traffic_class, second.live), (AF31 | 0b11, [c, c].to_vec()));
    }
    // A class of one leaves as unicast.
    let out = both(TABLE, &[0, 1, 0], |o| o.ds_bytes = [EF, AF41, AF31].to_vec());
    for outcome in out {
        let forms: Vec<Form> = outcome.replicas.iter().map(|replica| replica.1).collect();
        assert_eq!(forms, [Form::Xcast, Form::Unicast]);
        assert_eq!(traffic_class(&outcome.replicas[0].2), EF);
        assert_eq!(traffic_class(&outcome.replicas[1].2), AF31);
    }
}

#[test]
fn ecn_marks_survive_the_conversion_to_unicast() {
    for ecn in 0..4 {
        for ds_bytes in [Vec::new(), [AF41].to_vec()] {
            let dscp = if ds_bytes.is_empty() { EF } else { AF41 };
            let out = both(TABLE, &[2], |o| {
                o.ds_bytes = ds_bytes.clone();
                o.traffic_class = EF | ecn;
            });
            for outcome in out {
                assert_eq!(outcome.replicas[0].1, Form::Unicast);
                assert_eq!(traffic_class(&outcome.replicas[0].2), dscp | ecn);
            }
        }
    }
}

#[test]
fn with_x_a_packet_stays_whole_to_its_end() {
    let out = both(TABLE, &[4, 0, 5], |o| o.keep_xcast = true);
    for (outcome, [host, b]) in
        out.iter().zip([[IpAddr::V4(HOST), B.into()], [HOST_V6.into(), B_V6.into()]])
    {
        let each: Vec<Vec<IpAddr>> =
            outcome.replicas.iter().map(|replica| read(&replica.2).live).collect();
        assert_eq!(each, [[host].to_vec(), [b].to_vec()]);
        assert!(outcome.replicas.iter().all(|replica| read(&replica.2).keeps_xcast));
        // This node's own sockets take it from the link, as the router did.
        assert_eq!(outcome.counters.destinations_delivered, 1);
    }
    let out = both(Table { capable: false, ..TABLE }, &[4, 0], |o| o.keep_xcast = true);
    for outcome in out {
        assert_eq!(outcome.replicas.len(), 1, "the host on the link need not speak Xcast");
        assert_eq!(outcome.counters.drops[DropReason::IncapableWithX as usize], 1);
    }
}

#[test]
fn with_x_and_ds_bytes_each_copy_bears_its_own_dscp() {
    let out = both(TABLE, &[4, 0, 2], |o| {
        (o.keep_xcast, o.ds_bytes) = (true, [AF41, EF, AF31].to_vec());
        o.traffic_class = 0b01;
    });
    for outcome in out {
        let each: Vec<u8> = outcome.replicas.iter().map(|r| read(&r.2).traffic_class).collect();
        assert_eq!(each, [AF41 | 1, EF | 1, AF31 | 1]);
    }
}

#[test]
fn with_a_addresses_that_are_not_live_are_zero() {
    let out = both(TABLE, &[0, 2, 1, 3], |o| o.anonymous = true);
    let zero: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    for (at, outcome) in out.iter().enumerate() {
        let first = read(&outcome.replicas[0].2);
        assert_eq!((first.live, first.others), (BEHIND_1[at].to_vec(), [zero[at]; 2].to_vec()));
    }
}

#[test]
fn fragments_behind_or_in_front_of_xcast6_are_dropped() {
    let whole = packet_v6(to_v6(&[B_V6, C_V6]), 64);
    for at in [40, whole.len() - 13] {
        let mut bytes = whole.clone();
        // Next header as before, offset 0, no more to come.
        let next = if at == 40 { 43 } else { 17 };
        bytes.splice(at..at, [next, 0, 0, 0, 0, 0, 0, 9]);
        bytes[if at == 40 { 6 } else { 40 }] = 44;
        bytes[5] += 8;
        assert_eq!(reasons(&TABLE.fib(), &bytes, false), [("fragment", 1)], "at {at}");
    }
}

#[test]
fn malformed_packets_of_ipv6_are_counted_under_their_own_reason() {
    let fib = TABLE.fib();
    for (at, value, reason) in [
        (0, 0x50, "ip-header"),
        (5, 200, "ip-header"),
        (6, 17, "ip-header"),
        (42, 4, "ip-header"),
        (8, 0xff, "source"),
        (43, 1, "length"),
        (44, 0x20, "version"),
        (45, 4, "length"),
        (45, 0, "length"),
        (41, 8, "length"),
        (46, 0xaa, "checksum"),
        (64, 0b1111_0000, "spare-bits"),
        (64, 0, "no-live-destination"),
    ] {
        let mut bytes = packet_v6(to_v6(&[B_V6, C_V6, D_V6]), 64);
        bytes[at] = value;
        if reason != "checksum" {
            let end = 40 + (usize::from(bytes[41]) + 1) * 8;
            bytes[46..48].fill(0);
            let check = checksum(&bytes[40..end.min(120)]);
            bytes[46..48].copy_from_slice(&check.to_be_bytes());
        }
        assert_eq!(reasons(&fib, &bytes, false), [(reason, 1)], "octet {at} = {value}");
    }
    let whole = packet_v6(to_v6(&[B_V6]), 64);
    for length in 0..whole.len() {
        assert_eq!(reasons(&fib, &whole[..length], false), [("ip-header", 1)]);
    }
}

/// A packet with these octets in front of, and behind the Xcast6 header.
fn with_extensions(before: &[u8], behind: &[u8]) -> Vec<u8> {
    let header = xcast6::Repr { next_header: 17, routing_type: 253, ..to_v6(&[B_V6, D_V6]) };
    let mut bytes = packet_v6(header, 64);
    let transport = bytes.len() - 13;
    if !behind.is_empty() {
        bytes[40] = 60;
        bytes[46..48].fill(0);
        let check = checksum(&bytes[40..transport]);
        bytes[46..48].copy_from_slice(&check.to_be_bytes());
    }
    bytes.splice(transport..transport, behind.iter().copied());
    if !before.is_empty() {
        bytes[6] = 0;
    }
    bytes.splice(40..40, before.iter().copied());
    let length = (bytes.len() - 40) as u16;
    bytes[4..6].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn ports_in_an_option_must_be_as_many_as_destinations() {
    let fib = TABLE.fib();
    let served = |behind: &[u8]| reasons(&fib, &with_extensions(&[], behind), false);
    assert_eq!(served(&[17, 0, 0x5e, 4, 0, 1, 0, 2]), []);
    assert_eq!(served(&[17, 0, 0x5e, 2, 0, 1, 0, 0]), [("length", 1)]);
    assert_eq!(served(&[17, 0, 0x5e, 3, 0, 1, 0, 0]), [("length", 1)], "an odd number");
    assert_eq!(served(&[17, 0, 0x5e, 5, 0, 1, 0, 2]), [("length", 1)], "cut short");
    assert_eq!(served(&[17, 9, 0x5e, 4, 0, 1, 0, 2]), [("length", 1)], "longer than the packet");
    let twice = [17, 1, 0x5e, 4, 0, 1, 0, 2, 0x5e, 4, 0, 1, 0, 2, 1, 0];
    assert_eq!(served(&twice), [("length", 1)], "two lists");
}

#[test]
fn a_list_of_ports_beside_other_options_goes_and_leaves_them_aligned() {
    let before = [43, 0, 5, 2, 0, 0, 1, 0];
    let behind = [17, 1, 201, 1, 9, 0x5e, 4, 0x1f, 0x90, 0x23, 0x28, 0, 1, 2, 0, 0];
    let out = run(&TABLE.fib(), &with_extensions(&before, &behind));
    let [(_, _, to_b), (_, _, to_d)] = &out.replicas[..] else { panic!() };
    for (ip, destination, port) in [(to_b, B_V6, 8080u16), (to_d, D_V6, 9000)] {
        assert_eq!(ip[4..8], [0, 8 + 8 + 13, 0, 63]);
        assert_eq!(ip[24..40], destination.octets());
        assert_eq!(ip[40..48], [60, 0, 5, 2, 0, 0, 1, 0]);
        // Of the list and the padding behind it, 11 octets, 3 are left.
        assert_eq!(ip[48..56], [17, 0, 201, 1, 9, 1, 1, 0]);
        assert_eq!(ip[58..60], port.to_be_bytes());
        assert!(udp::checksum_valid(&ip[56..], SOURCE_V6, destination));
    }
}

#[test]
fn hop_by_hop_options_stand_in_front_or_not_at_all() {
    let fib = TABLE.fib();
    assert_eq!(reasons(&fib, &with_extensions(&[43, 0, 1, 4, 0, 0, 0, 0], &[]), false), []);
    for behind in
        [&[0, 0, 1, 4, 0, 0, 0, 0][..], &[60, 0, 1, 4, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0]]
    {
        let packet = with_extensions(&[], behind);
        assert_eq!(reasons(&fib, &packet, false), [("ip-header", 1)]);
    }
}

#[test]
fn no_other_routing_header_may_have_segments_left() {
    let fib = TABLE.fib();
    let mut behind = [60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0];
    behind[0] = 43; // Destination Options, then a Routing header of type 0
    assert_eq!(reasons(&fib, &with_extensions(&[], &behind), false), []);
    behind[8 + 3] = 1;
    assert_eq!(reasons(&fib, &with_extensions(&[], &behind), false), [("ip-header", 1)]);
}

#[test]
fn extension_headers_have_a_limit() {
    let fib = TABLE.fib();
    let hop_by_hop = |octets: usize| {
        let mut header = [0; 512][..octets].to_vec();
        (header[0], header[1]) = (43, (octets / 8 - 1) as u8);
        with_extensions(&header, &[])
    };
    assert_eq!(reasons(&fib, &hop_by_hop(256), false), []);
    assert_eq!(reasons(&fib, &hop_by_hop(264), false), [("ip-header", 1)]);
}

#[test]
fn link_local_addresses_belong_to_the_link_of_arrival() {
    let fib = TABLE.fib();
    let near = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    // On port 2 this is the gateway, which is resolved there; on port 0 it is another node.
    let mut bytes = packet_v6(to_v6(&[OWN_LOCAL, near]), 64);
    bytes[8..24].copy_from_slice(&Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7).octets());
    for (port, target) in
        [(0, Target::Neighbor { port: 0, address: near.into() }), (2, Target::Port(2))]
    {
        let out = run_from(&fib, &bytes, Some(port), false);
        let targets: Vec<Target> = out.replicas.iter().map(|replica| replica.0).collect();
        assert_eq!(targets, [Target::Host { from: Some(port) }, target]);
    }
    // A link-local source reaches nobody beyond its link.
    let mut beyond = packet_v6(to_v6(&[near, B_V6]), 64);
    beyond[8..24].copy_from_slice(&Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7).octets());
    assert_eq!(reasons(&fib, &beyond, false), [("source", 1)]);
    // From this node they would need a link to be told.
    let out = run_from(&fib, &packet_v6(to_v6(&[near]), 64), None, false);
    assert_eq!(out.counters.drops[DropReason::BadDestination as usize], 1);
}

#[test]
fn nothing_leaves_for_link_local_addresses_by_a_link_that_is_down() {
    let model = TABLE.fib();
    for up in [true, false] {
        let port = Some(Port { up, ..model.port(0).unwrap().clone() });
        let fib = FibBuilder::new(*model.code_points(), [port].to_vec()).finish(1);
        // The only link, so it need not be told.
        let out = run_from(&fib, &packet_v6(to_v6(&[GATEWAY_V6]), 64), None, false);
        assert_eq!(out.replicas.len(), usize::from(up));
        assert_eq!(out.counters.destinations_dropped(), u64::from(!up));
    }
}

#[test]
fn a_channel_keeps_its_gateway_whatever_its_list() {
    let model = TABLE.fib();
    let port =
        |id| Some(Port { reverse_path: ReversePath::Off, ..model.port(id).unwrap().clone() });
    let mut fib = FibBuilder::new(*model.code_points(), (0..4).map(port).collect());
    fib.begin_table();
    for (gateway, far) in [(GATEWAY_1.into(), "10.0.0.0/8"), (GATEWAY_V6.into(), "2001:db8::/32")] {
        (1..4).for_each(|port| fib.adjacency(port, gateway, None, Capability::Capable));
        fib.route_via(prefix(far), (1..4).map(|port| hop(port, gateway)).collect());
    }
    let fib = fib.finish(1);
    let mut taken = [[0; 4]; 2];
    for channel in 0..60 {
        let v4 = |list: &[Ipv4Addr]| {
            let header = xcast4::Repr { channel, ..to(list) };
            run(&fib, &packet(header, 64)).replicas[0].0
        };
        let v6 = |list: &[Ipv6Addr]| {
            let header = xcast6::Repr { channel: channel.into(), ..to_v6(list) };
            run(&fib, &packet_v6(header, 64)).replicas[0].0
        };
        let lists = [[v4(&[B]), v4(&[C, D, E])], [v6(&[B_V6]), v6(&[C_V6, D_V6, E_V6])]];
        for ([first, second], taken) in lists.into_iter().zip(&mut taken) {
            assert_eq!(first, second);
            let Target::Neighbor { port, .. } = first else { panic!("{first:?}") };
            taken[usize::from(port)] += 1;
        }
    }
    assert!(taken.iter().flat_map(|ports| &ports[1..]).all(|count| *count > 5), "{taken:?}");
}

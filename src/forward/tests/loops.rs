//! Two routers each of which believes the other to be nearer to some destinations. Nothing is
//! multiplied, everything ends with the TTL.

use super::*;

/// Where the looping destinations are, and the other router's address on the link.
const FAR: [&str; 2] = ["10.7.0.0/16", "2001:db8:7::/48"];
const OTHER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)),
];

/// A router with a port to its hosts (0) and one to the other router (1).
fn router(reverse_path: ReversePath) -> Fib {
    let model = TABLE.fib();
    let port = |id| Some(Port { reverse_path, ..model.port(id).unwrap().clone() });
    let mut fib = FibBuilder::new(*model.code_points(), [port(0), port(1)].to_vec());
    let rewrite = ethernet::header([4; 6], [2; 6], ethernet::TYPE_IPV4);
    fib.begin_table();
    for (far, other) in FAR.into_iter().zip(OTHER) {
        fib.adjacency(1, other, Some(rewrite), Capability::Capable);
        fib.route_via(prefix(far), [hop(1, other)].to_vec());
    }
    fib.route(prefix("10.0.0.0/24"), Entry::OnLink(0));
    fib.route(prefix("2001:db8::/64"), Entry::OnLink(0));
    fib.finish(1)
}

/// What a packet comes to: Xcast copies by generation, and unicast copies; the counters of both.
struct Looped {
    xcast: Vec<usize>,
    unicast: usize,
    counters: [Counters; 2],
}

/// Drives a packet back and forth until none is left.
fn drive(reverse_path: ReversePath, bytes: Vec<u8>) -> Looped {
    let fibs = [router(reverse_path), router(reverse_path)];
    let mut out = [Output::new(&fibs[0]), Output::new(&fibs[1])];
    let mut looped = Looped { xcast: Vec::new(), unicast: 0, counters: Default::default() };
    let mut arriving = [bytes].to_vec();
    for generation in 0.. {
        let at = generation % 2;
        let (fib, out) = (&fibs[at], &mut out[at]);
        let mut leaving = Vec::new();
        for bytes in &arriving {
            let mut buffer = [&[0; LINK_HEADER_LEN], &bytes[..]].concat();
            let start = LINK_HEADER_LEN;
            let port = Some(if generation == 0 { 0 } else { 1 });
            let packet = Packet { buffer: &mut buffer, start, port, to_group: false, index: 0 };
            process(fib, packet, NOW, out);
            for replica in out.replicas().to_vec() {
                let (head, tail) = out.pieces(&replica, &buffer);
                assert_eq!(replica.target, Target::Port(1));
                match replica.form {
                    Form::Xcast => leaving.push([&head[LINK_HEADER_LEN..], tail].concat()),
                    _ => looped.unicast += 1,
                }
                out.counters.sent(&replica);
            }
            out.clear();
        }
        if leaving.is_empty() {
            break;
        }
        looped.xcast.push(leaving.len());
        arriving = leaving;
    }
    for (out, counters) in out.iter().zip(&mut looped.counters) {
        *counters = out.counters.clone();
        let accounted = counters.destinations_forwarded + counters.destinations_dropped();
        assert_eq!(counters.destinations_received, accounted);
    }
    looped
}

impl Looped {
    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.iter().map(|counters| counters.drops[reason as usize]).sum()
    }
}

/// A packet to `count` looping destinations, of either family.
fn looping(is_v6: bool, count: u8, keep_xcast: bool, ds_bytes: &[u8], ttl: u8) -> Vec<u8> {
    let ds_bytes = ds_bytes.to_vec();
    match is_v6 {
        true => {
            let list: Vec<_> = (0..count).map(|host| v6(7, host.into())).collect();
            packet_v6(xcast6::Repr { keep_xcast, ds_bytes, ..to_v6(&list) }, ttl)
        }
        false => {
            let list: Vec<_> = (0..count).map(|host| Ipv4Addr::new(10, 7, 0, host)).collect();
            packet(xcast4::Repr { keep_xcast, ds_bytes, ..to(&list) }, ttl)
        }
    }
}

#[test]
fn a_loop_makes_no_more_copies_than_the_ttl_allows() {
    for is_v6 in [false, true] {
        for ttl in [2, 3, 64, 255] {
            for (count, keep_xcast) in [(2, false), (2, true), (1, true), (80, false)] {
                let looped = drive(ReversePath::Off, looping(is_v6, count, keep_xcast, &[], ttl));
                let expected: Vec<usize> = (1..ttl).map(|_| 1).collect();
                assert_eq!(looped.xcast, expected, "a copy for each hop but the last");
                assert_eq!(looped.unicast, 0);
                assert_eq!(looped.dropped(DropReason::TtlExpired), u64::from(count));
            }
        }
    }
}

#[test]
fn classes_split_once_and_never_again() {
    // All four AF classes, twice each.
    let ds_bytes = [10, 18, 26, 34, 12, 20, 28, 36].map(|dscp| dscp << 2);
    for is_v6 in [false, true] {
        let looped = drive(ReversePath::Off, looping(is_v6, 8, false, &ds_bytes, 64));
        assert!(looped.xcast.len() == 63 && looped.xcast.iter().all(|copies| *copies == 4));
        assert_eq!(looped.dropped(DropReason::TtlExpired), 8);
    }
}

#[test]
fn a_single_destination_leaves_the_loop_as_one_unicast_packet() {
    for is_v6 in [false, true] {
        let looped = drive(ReversePath::Off, looping(is_v6, 1, false, &[], 64));
        assert_eq!((looped.xcast.len(), looped.unicast), (0, 1));
        assert_eq!(looped.dropped(DropReason::TtlExpired), 0);
    }
}

#[test]
fn a_strict_reverse_path_ends_a_loop_where_it_closes() {
    for is_v6 in [false, true] {
        // Neither router has a route for the source by the link they share.
        let looped = drive(ReversePath::Strict, looping(is_v6, 2, true, &[], 64));
        assert_eq!(looped.xcast, [1]);
        assert_eq!(looped.dropped(DropReason::ReversePath), 2);
    }
}

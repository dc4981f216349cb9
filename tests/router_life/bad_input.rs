//! Packets that are wrong: each is counted under its own reason, and disturbs nothing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::lab::ask::number;
use crate::lab::assert_receives;
use crate::lab::packets::{GROUP, Packet, XCAST_AT, mend};
use crate::lab::process::until;
use crate::support::in_namespaces;
use crate::{FAR, Star};

/// What is sent from `a`, and what `show drops` has more afterwards.
struct Case {
    what: String,
    bytes: Vec<u8>,
    reason: &'static str,
    count: u64,
}

fn case(what: impl Into<String>, bytes: Vec<u8>, reason: &'static str, count: u64) -> Case {
    Case { what: what.into(), bytes, reason, count }
}

/// Sends each packet; its reason, and no other, is counted; a right packet gets through after it.
fn check(star: &mut Star, cases: Vec<Case>) {
    for Case { what, bytes, reason, count } in cases {
        let mut expected = drops(star);
        *expected.get_mut(reason).expect("every reason is shown") += count;
        star.lab.inject("a", "r", &bytes);
        until(&format!("{what}: {reason} + {count}; now {:?}", nonzero(&drops(star))), || {
            (drops(star) == expected).then_some(())
        });
        star.assert_forwards();
        assert_eq!(drops(star), expected, "{what}");
    }
}

fn drops(star: &Star) -> BTreeMap<String, u64> {
    let drops = star.lab.show("r", "drops");
    let reasons = drops["drops"].as_object().unwrap().keys();
    reasons.map(|reason| (reason.clone(), number(&drops["drops"], reason))).collect()
}

fn nonzero(drops: &BTreeMap<String, u64>) -> Vec<(&String, &u64)> {
    drops.iter().filter(|(_, count)| **count > 0).collect()
}

fn good(star: &Star) -> Packet {
    star.packet(&[star.at("b"), star.at("c")], "wrong")
}

/// The packet cut to a length, which its IP header claims too.
fn cut(packet: &Packet, length: usize) -> Vec<u8> {
    let mut bytes = packet.bytes();
    bytes.truncate(length);
    bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    mend(&mut bytes[..20], 10);
    bytes
}

#[test]
fn malformed_headers_are_counted_as_packets_by_what_is_wrong() {
    in_namespaces("bad_input::malformed_headers_are_counted_as_packets_by_what_is_wrong", || {
        let mut star = Star::new();
        let packet = good(&star);
        let whole = packet.bytes();
        let with_list = |list| Packet { list, ..packet.clone() };
        let mut bad_ip_checksum = whole.clone();
        bad_ip_checksum[10] ^= 1;
        let mut bad_xcast_checksum = whole.clone();
        bad_xcast_checksum[XCAST_AT + 2] ^= 1;
        let source_route = Packet { options: vec![131, 3, 4, 0], ..packet.clone() };
        let cases = vec![
            case(
                "an IP packet longer than its frame",
                whole[..whole.len() - 1].to_vec(),
                "ip-header",
                1,
            ),
            case("an IP checksum", bad_ip_checksum, "ip-header", 1),
            case("a source route", source_route.bytes(), "ip-header", 1),
            case("version 0", packet.bytes_with(|x| x[0] &= 0x0f), "version", 1),
            case("version 2", packet.bytes_with(|x| x[0] ^= 0x30), "version", 1),
            case("nothing behind IP", cut(&packet, XCAST_AT), "length", 1),
            case("half of the fixed part", cut(&packet, XCAST_AT + 6), "length", 1),
            case("half of the list", cut(&packet, XCAST_AT + 20), "length", 1),
            case("LENGTH one too long", packet.bytes_with(|x| x[9] += 1), "length", 1),
            case("LENGTH one too short", packet.bytes_with(|x| x[9] -= 1), "length", 1),
            case("LENGTH 0", packet.bytes_with(|x| x[9] = 0), "length", 1),
            case("P without ports", packet.bytes_with(|x| x[0] |= 1), "length", 1),
            case("D without DS bytes", packet.bytes_with(|x| x[0] |= 2), "length", 1),
            case("the Xcast checksum", bad_xcast_checksum, "checksum", 1),
            case("an empty list", with_list(Vec::new()).bytes(), "no-destination", 1),
            case("a bit behind the last", packet.bytes_with(|x| x[12] |= 0x20), "spare-bits", 1),
            case("the last spare bit", packet.bytes_with(|x| x[15] |= 1), "spare-bits", 1),
            case("no bit", packet.bytes_with(|x| x[12] = 0), "no-live-destination", 1),
        ];
        check(&mut star, cases);
    });
}

#[test]
fn fragments_and_impossible_sources_are_dropped() {
    in_namespaces("bad_input::fragments_and_impossible_sources_are_dropped", || {
        let mut star = Star::new();
        let packet = good(&star);
        let fragment = |fragment| Packet { fragment, ..packet.clone() }.bytes();
        let mut cases = vec![
            case("the first fragment", fragment(0x2000), "fragment", 1),
            case("a later fragment", fragment(0x2010), "fragment", 1),
            case("the last fragment", fragment(0x0010), "fragment", 1),
        ];
        for source in [
            [224, 0, 0, 1],
            [239, 1, 2, 3],
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [255, 255, 255, 255],
            [10, 9, 1, 255],  // the link's broadcast address
            [169, 254, 7, 7], // link-local, while destinations are elsewhere
        ] {
            let source = Ipv4Addr::from(source);
            let bytes = Packet { source, ..packet.clone() }.bytes();
            cases.push(case(format!("source {source}"), bytes, "source", 1));
        }
        let stranger = Ipv4Addr::new(192, 0, 2, 1);
        let bytes = Packet { source: stranger, ..packet }.bytes();
        cases.push(case("a source without a route", bytes, "reverse-path", 2));
        check(&mut star, cases);
    });
}

#[test]
fn a_packet_for_somebody_else_or_with_no_time_left_is_counted_by_its_destinations() {
    let name =
        "bad_input::a_packet_for_somebody_else_or_with_no_time_left_is_counted_by_its_destinations";
    in_namespaces(name, || {
        let mut star = Star::new();
        let packet = good(&star);
        let with_ttl = |ttl| Packet { ttl, ..packet.clone() }.bytes();
        let to = |destination| Packet { destination, ..packet.clone() }.bytes();
        let echo =
            Packet { protocol: 1, transport: vec![8, 0, 0xf7, 0xff, 0, 0, 0, 0], ..packet.clone() };
        let other_group = Ipv4Addr::new(224, 0, 0, 253);
        let cases = vec![
            case("TTL 0", with_ttl(0), "ttl-expired", 2),
            case("TTL 1", with_ttl(1), "ttl-expired", 2),
            case("to the router itself", to(star.gateway("a")), "not-for-this-router", 2),
            case("to a host", to(star.at("b")), "not-for-this-router", 2),
            case("to another group", to(other_group), "not-for-this-router", 2),
            case("an echo request", echo.bytes(), "icmp-echo", 2),
        ];
        check(&mut star, cases);

        let before = star.lab.dropped("r", "not-for-this-router");
        star.lab.inject_to("a", "r", [1, 0, 0x5e, 0, 0, 0xfe], &packet.bytes());
        until("a frame to the group's own address is counted", || {
            (star.lab.dropped("r", "not-for-this-router") == before + 2).then_some(())
        });
        star.assert_forwards();
    });
}

#[test]
fn one_bad_destination_does_not_take_the_others_with_it() {
    in_namespaces("bad_input::one_bad_destination_does_not_take_the_others_with_it", || {
        let mut star = Star::new();
        for bad in [
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            GROUP.octets(),
            [255, 255, 255, 255],
            [10, 9, 2, 255],  // the broadcast address of b's link
            [169, 254, 1, 1], // link-local, and not on this link
        ] {
            let bad = Ipv4Addr::from(bad);
            let before = star.lab.dropped("r", "bad-destination");
            let payload = format!("beside-{bad}");
            star.send(&star.packet(&[star.at("b"), bad, star.at("c")], &payload));
            for receiver in &star.receivers {
                assert_receives(receiver, star.source(), &payload);
            }
            until(&format!("{bad} is counted"), || {
                (star.lab.dropped("r", "bad-destination") == before + 1).then_some(())
            });
            star.assert_forwards();
        }
        assert_eq!(star.lab.counter("r", "packets-dropped"), 0);
    });
}

#[test]
fn what_cannot_become_unicast_is_dropped_where_it_would_have_to() {
    in_namespaces(
        "bad_input::what_cannot_become_unicast_is_dropped_where_it_would_have_to",
        || {
            let mut star = Star::new();
            let packet = good(&star);
            let with = |protocol, length| Packet {
                protocol,
                transport: vec![1; length],
                ..packet.clone()
            };
            let cases = vec![
                case("AH", with(51, 40).bytes(), "x2u-impossible", 2),
                case("ESP", with(50, 40).bytes(), "x2u-impossible", 2),
                case("a UDP header cut short", with(17, 7).bytes(), "x2u-impossible", 2),
                case("a TCP header cut short", with(6, 19).bytes(), "x2u-impossible", 2),
                case("no transport header", with(17, 0).bytes(), "x2u-impossible", 2),
            ];
            check(&mut star, cases);
        },
    );
}

#[test]
fn frames_of_any_other_shape_are_not_even_received() {
    in_namespaces("bad_input::frames_of_any_other_shape_are_not_even_received", || {
        let mut star = Star::new();
        let packet = good(&star).bytes();
        let (own, sender) = (star.lab.end("r", "a").mac, star.lab.end("a", "r").mac);
        let frame = |to: [u8; 6], between: &[u8]| [&to[..], &sender, between, &packet].concat();
        let frames = [
            frame([0xff; 6], &[8, 0]),                // broadcast
            frame([2, 0, 0, 0, 0, 9], &[8, 0]),       // another station's
            frame([1, 0, 0x5e, 0, 0, 0xfb], &[8, 0]), // another group's
            frame(own, &[0x81, 0, 0, 7, 8, 0]),       // VLAN 7
            frame(own, &[0x86, 0xdd]),                // not IPv4
            frame(own, &[8, 0])[..14].to_vec(),       // nothing but a header
        ];
        for frame in &frames {
            star.lab.inject_frame("a", "r", frame);
        }
        star.assert_forwards();
        // The good one came behind all of them.
        until("the good packet is counted", || {
            (star.lab.counter("r", "destinations-forwarded") == 2).then_some(())
        });
        assert_eq!(star.lab.counter("r", "packets-received"), 1);
        star.lab.inject("a", "r", &star.packet(&FAR, "on").bytes());
        until("it goes on", || (star.lab.counter("r", "packets-received") == 2).then_some(()));
    });
}

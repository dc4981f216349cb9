//! What becomes of the stream.

use nix::sys::signal::Signal;
use socket2::SockRef;
use xcast::host::Inbox;

use crate::lab::capture::Form;
use crate::lab::process::{PATIENCE, Stream};
use crate::lab::{Version, assert_empty, inside};
use crate::support::in_namespaces;
use crate::{BOTH, PORT, addresses, any, at, end, listed, many, network, next, sender, start};

/// All of it arrives, in order and once, and one packet for both crosses the first link.
#[test]
fn all_get_the_stream_in_one_packet() {
    in_namespaces("stream::all_get_the_stream_in_one_packet", || {
        let mut lab = network();
        let first_link = lab.capture(&lab.links[1]);
        for version in BOTH {
            let hosts = ["b", "c"].map(|host| at(&lab, version, host));
            let command = format!("--json --listen {} --to {}", any(version), addresses(&hosts));
            let gateway = start(&mut lab, "g", &command);
            let sockets = ["b", "c"].map(|host| lab.receiver(host, at(&lab, version, host)));
            let sender = sender(&lab, version, None);
            first_link.clear();
            let destinations = lab.counter("r", "destinations-received");
            let forwarded = lab.counter("r", "packets-forwarded");
            for round in 0..10u64 {
                let numbers = round * 50..(round + 1) * 50;
                numbers.clone().for_each(|n| assert_eq!(sender.send(&n.to_be_bytes()).unwrap(), 8));
                for socket in &sockets {
                    assert!(numbers.clone().all(|number| next(socket) == number));
                }
            }
            sockets.iter().for_each(assert_empty);
            assert_eq!(lab.counter("r", "destinations-received") - destinations, 1000);
            assert_eq!(lab.counter("r", "packets-forwarded") - forwarded, 500);
            let copies = first_link.take_all();
            assert_eq!(copies.len(), 500);
            assert!(copies.iter().all(|copy| copy.form == Form::Xcast(hosts.to_vec())));
            let (ended, summary) = end(gateway, Signal::SIGTERM);
            assert_eq!(ended.status, Some(0), "{:?}", ended.errors);
            assert_eq!(ended.errors, [""; 0]);
            for (key, count) in [("datagrams", 500), ("packets", 500), ("copies", 500)] {
                assert_eq!(summary[key], count, "{summary}");
            }
            assert_eq!((&summary["bytes"], &summary["lost"]), (&4000.into(), &0.into()));
            assert_eq!(summary["troubles"], serde_json::json!([]));
        }
    });
}

#[test]
fn both_ip_versions_and_long_lists_are_split() {
    in_namespaces("stream::both_ip_versions_and_long_lists_are_split", || {
        let mut lab = network();
        let all: Vec<_> = BOTH.into_iter().flat_map(|version| many(&lab, version, 130)).collect();
        let command = format!("--json --listen 0.0.0.0:5004 --to {}", addresses(&all));
        let gateway = start(&mut lab, "g", &command);
        let sockets: Vec<_> = all.iter().map(|at| lab.receiver("b", *at)).collect();
        let sender = sender(&lab, Version::V4, None);
        for number in 0..5u64 {
            sender.send(&number.to_be_bytes()).unwrap();
            assert!(sockets.iter().all(|socket| next(socket) == number));
        }
        sockets.iter().for_each(assert_empty);
        let (_, summary) = end(gateway, Signal::SIGINT);
        assert_eq!((&summary["datagrams"], &summary["packets"]), (&5.into(), &20.into()));
        assert_eq!(summary["destinations"], 260);
    });
}

#[test]
fn the_dscp_is_kept_unless_another_is_named() {
    in_namespaces("stream::the_dscp_is_kept_unless_another_is_named", || {
        let mut lab = network();
        let there = at(&lab, Version::V4, "b");
        let mut inbox = inside("b", || Inbox::open(None, PORT, None)).unwrap();
        let sender = sender(&lab, Version::V4, None);
        SockRef::from(&sender).set_tos_v4(46 << 2).unwrap();
        for (more, dscp) in [("", 46), (" --dscp 10 --ttl 9", 10)] {
            let command = format!("--json --listen {} --to {there}{more}", any(Version::V4));
            let gateway = start(&mut lab, "g", &command);
            sender.send(b"marked").unwrap();
            let deadline = std::time::Instant::now() + PATIENCE;
            let received = inbox.next(Some(deadline)).unwrap().expect("a datagram arrives");
            assert_eq!((received.dscp, &received.payload[..]), (dscp, &b"marked"[..]));
            assert_eq!(received.ttl, if more.is_empty() { 63 } else { 8 });
            end(gateway, Signal::SIGTERM);
        }
    });
}

/// What does not fit is counted and said once, and the stream goes on.
#[test]
fn what_is_too_big_is_told_with_the_mtu() {
    in_namespaces("stream::what_is_too_big_is_told_with_the_mtu", || {
        let mut lab = network();
        for (node, interface) in [("s", "g"), ("g", "s")] {
            lab.ip(node, &format!("link set dev {interface} mtu 9000"));
        }
        for (version, mtu, fits) in [(Version::V4, 1500, 1472), (Version::V6, 1500, 1452)] {
            let there = at(&lab, version, "b");
            let command = format!("--json --listen {} --to {there}", any(version));
            let gateway = start(&mut lab, "g", &command);
            let (receiver, sender) = (lab.receiver("b", there), sender(&lab, version, None));
            for length in [fits + 1, 5000, fits + 1, fits] {
                sender.send(&vec![7; length]).unwrap();
            }
            let mut buffer = [0; 9000];
            assert_eq!(receiver.recv(&mut buffer).unwrap(), fits);
            let told = &listed()["list"][0]["troubles"];
            assert_eq!(told, &serde_json::json!({ "too-big": 3 }));
            let (ended, summary) = end(gateway, Signal::SIGTERM);
            assert_eq!(summary["refused"], serde_json::json!({ "unsent": 3 }));
            let [said] = &ended.errors[..] else { panic!("{:?}", ended.errors) };
            assert!(said.contains(&format!("{mtu} bytes (MTU)")), "{said}");
            assert!(said.ends_with(&format!("datagrams of {fits}")), "{said}");
        }
    });
}

/// A destination's address moves to the gateway itself, which then hears its own datagrams.
#[test]
fn what_comes_back_is_not_sent_again() {
    in_namespaces("stream::what_comes_back_is_not_sent_again", || {
        let mut lab = network();
        let there = at(&lab, Version::V4, "b");
        let command = format!("--json --listen 0.0.0.0:5004 --to {there}");
        let gateway = start(&mut lab, "g", &command);
        lab.ip("g", &format!("address add {}/32 dev lo", there.ip()));
        let sender = sender(&lab, Version::V4, None);
        // Until it is known that the address has moved, `b` has it.
        let own = crate::lab::process::until("the gateway hears itself", || {
            sender.send(b"again?").unwrap();
            listed()["refused"]["own"].as_u64()
        });
        assert!(own >= 1);
        let (ended, summary) = end(gateway, Signal::SIGTERM);
        assert_eq!(ended.status, Some(0));
        let count = |value: &serde_json::Value| value.as_u64().unwrap();
        let (datagrams, packets) = (count(&summary["datagrams"]), count(&summary["packets"]));
        assert_eq!(datagrams, packets + count(&summary["refused"]["own"]), "{summary}");
    });
}

#[test]
fn who_is_not_there_is_named() {
    in_namespaces("stream::who_is_not_there_is_named", || {
        let mut lab = network();
        let (there, nobody) = (at(&lab, Version::V4, "b"), at(&lab, Version::V4, "c"));
        lab.ip("g", "route add unreachable 192.0.2.0/24");
        let command =
            format!("--listen 0.0.0.0:5004 --to {},192.0.2.1", addresses(&[there, nobody]));
        let gateway = start(&mut lab, "g", &command);
        let (receiver, sender) = (lab.receiver("b", there), sender(&lab, Version::V4, None));
        for number in 0..3u64 {
            sender.send(&number.to_be_bytes()).unwrap();
            assert_eq!(next(&receiver), number);
        }
        gateway.log.wait_for(Stream::Error, &format!("{}: port-unreachable", nobody.ip()));
        gateway.log.wait_for(Stream::Error, "192.0.2.1: route-drop");
        gateway.signal(Signal::SIGINT);
        let ended = gateway.finish();
        assert_eq!(ended.status, Some(0));
        let summary = &ended.output[1..];
        assert!(summary[0].starts_with("3 datagrams (24 bytes) in, 3 packets out in 3 copies"));
        assert!(summary.contains(&"  192.0.2.1: route-drop (3)".to_owned()), "{summary:?}");
    });
}

//! What a router does with its neighbors: those that do not answer, those that do not speak Xcast,
//! those that share its link, and the node it runs on itself.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use crate::lab::ask::number;
use crate::lab::capture::{Capture, Form};
use crate::lab::packets::{KEEP_XCAST, Packet};
use crate::lab::process::until;
use crate::lab::{Lab, assert_empty, assert_receives};
use crate::support::in_namespaces;
use crate::{FAR, PORT, Star};

/// The forms of what `r` has sent on a link since the last call.
fn sent_by_router(capture: &Capture) -> Vec<Form> {
    let copies = capture.take().into_iter().filter(|copy| copy.from == "r");
    copies.map(|copy| copy.form).collect()
}

fn capture(star: &Star, host: &str) -> Capture {
    let mut links = star.lab.links.iter();
    star.lab.capture(links.find(|link| link.ends[0].node == host).unwrap())
}

fn at(addresses: &[Ipv4Addr]) -> Vec<SocketAddrV4> {
    addresses.iter().map(|address| SocketAddrV4::new(*address, PORT)).collect()
}

#[test]
fn a_destination_that_does_not_exist_is_waited_for_and_then_dropped() {
    in_namespaces(
        "neighbors::a_destination_that_does_not_exist_is_waited_for_and_then_dropped",
        || {
            let mut star = Star::new();
            let nobody = Ipv4Addr::from_bits(star.at("b").to_bits() + 76);
            star.send(&star.packet(&[star.at("b"), nobody, star.at("c")], "waits"));
            // The others do not wait for it.
            let source = star.source();
            star.receivers.iter().for_each(|receiver| assert_receives(receiver, source, "waits"));
            until("one destination is pending", || {
                star.lab.assert_identity("r");
                (star.lab.counter("r", "destinations-pending") == 1).then_some(())
            });
            star.assert_forwards();
            until("it is dropped", || {
                star.lab.assert_identity("r");
                (star.lab.dropped("r", "neighbor-unresolved") == 1).then_some(())
            });
            let counters = star.lab.show("r", "counters");
            assert_eq!(number(&counters, "destinations-pending"), 0, "{counters}");
            assert_eq!(number(&counters, "destinations-dropped"), 1, "{counters}");
            star.assert_forwards();
        },
    );
}

#[test]
fn a_neighbor_that_answers_late_still_gets_what_waits_for_it() {
    in_namespaces("neighbors::a_neighbor_that_answers_late_still_gets_what_waits_for_it", || {
        let star = Star::new();
        let late = Ipv4Addr::from_bits(star.at("b").to_bits() + 76);
        for payload in ["one", "two", "three"] {
            star.send(&star.packet(&[late], payload));
        }
        until("they wait", || (star.lab.counter("r", "destinations-pending") == 3).then_some(()));
        star.lab.ip("b", &format!("address add {late}/24 dev r"));
        let receiver = star.lab.receiver("b", SocketAddrV4::new(late, PORT));
        until("nothing waits", || {
            (star.lab.counter("r", "destinations-pending") == 0).then_some(())
        });
        star.lab.assert_identity("r");
        assert_eq!(star.lab.dropped("r", "neighbor-unresolved"), 0);
        let mut buffer = [0; 2000];
        for payload in ["one", "two", "three"] {
            let (length, _) = receiver.recv_from(&mut buffer).unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer[..length]), payload, "in order");
        }
        assert_empty(&receiver);
    });
}

#[test]
fn neighbors_that_do_not_speak_xcast_get_unicast_early() {
    in_namespaces("neighbors::neighbors_that_do_not_speak_xcast_get_unicast_early", || {
        let star = Star::with("[ports]\nxcast-neighbors = \"none\"");
        let at_n = capture(&star, "n");
        star.send(&star.packet(&FAR, "early"));
        until("both copies left", || {
            (star.lab.counter("r", "premature-unicast-conversions") == 2).then_some(())
        });
        assert_eq!(
            sent_by_router(&at_n),
            at(&FAR).into_iter().map(Form::Unicast).collect::<Vec<_>>()
        );
        // One alone would be unicast anyway.
        star.send(&star.packet(&FAR[..1], "alone"));
        until("it left", || (star.lab.counter("r", "unicast-conversions") == 1).then_some(()));
        assert_eq!(star.lab.counter("r", "premature-unicast-conversions"), 2);
        // What must stay Xcast cannot go there, though an on-link host gets it.
        let (at_b, b) = (capture(&star, "b"), star.at("b"));
        let list = [FAR[0], b, FAR[1]];
        star.send(&Packet { flags: KEEP_XCAST, ..star.packet(&list, "keep") });
        until("it is dropped", || (star.lab.dropped("r", "incapable-with-x") == 2).then_some(()));
        until("b gets it", || (star.lab.counter("r", "replicas-sent") == 4).then_some(()));
        assert_eq!(sent_by_router(&at_b), [Form::Xcast(at(&[b]))]);
        star.lab.assert_identity("r");
    });
}

#[test]
fn a_pin_overrides_what_is_said_of_all_neighbors() {
    in_namespaces("neighbors::a_pin_overrides_what_is_said_of_all_neighbors", || {
        let mut star = Star::without_router();
        let pinned = |all, pin, n| {
            let pin = format!("[[neighbor]]\naddress = \"{n}\"\nxcast = \"{pin}\"");
            format!("[ports]\nxcast-neighbors = \"{all}\"\n{pin}")
        };
        let each_alone: Vec<Form> = at(&FAR).into_iter().map(Form::Unicast).collect();
        let together = vec![Form::Xcast(at(&FAR))];
        for (all, pin, sent) in [("none", "yes", together), ("all", "no", each_alone)] {
            star.start(&pinned(all, pin, star.at("n")));
            let at_n = capture(&star, "n");
            star.send(&star.packet(&FAR, "pinned"));
            let copies = sent.len() as u64;
            until("it left", || (star.lab.counter("r", "replicas-sent") == copies).then_some(()));
            assert_eq!(sent_by_router(&at_n), sent, "{all}, but n {pin}");
            let neighbors = star.lab.show("r", "neighbors");
            let mut each = neighbors["neighbors"].as_array().unwrap().iter();
            let n = each.find(|neighbor| neighbor["address"] == star.at("n").to_string()).unwrap();
            let xcast = if pin == "yes" { "capable" } else { "incapable" };
            assert_eq!((&n["pinned"], &n["xcast"]), (&true.into(), &xcast.into()), "{n}");
            star.lab.stop_router("r");
        }
    });
}

#[test]
fn a_gateway_that_is_a_destination_itself_joins_those_behind_it() {
    in_namespaces(
        "neighbors::a_gateway_that_is_a_destination_itself_joins_those_behind_it",
        || {
            let star = Star::new();
            let (n, at_n) = (star.at("n"), capture(&star, "n"));
            let unicast = |address| Form::Unicast(SocketAddrV4::new(address, PORT));
            let mut sent = 0;
            for (list, forms) in [
                (vec![FAR[0], n], vec![Form::Xcast(at(&[FAR[0], n]))]),
                (vec![n, FAR[0], n], vec![Form::Xcast(at(&[n, FAR[0], n]))]),
                (vec![n, n], vec![unicast(n), unicast(n)]),
                (vec![n], vec![unicast(n)]),
            ] {
                star.send(&star.packet(&list, "joins"));
                sent += forms.len() as u64;
                until("all copies left", || {
                    (star.lab.counter("r", "replicas-sent") == sent).then_some(())
                });
                assert_eq!(sent_by_router(&at_n), forms, "to {list:?}");
            }
            star.lab.assert_identity("r");
        },
    );
}

#[test]
fn a_packet_that_must_stay_xcast_never_becomes_unicast() {
    in_namespaces("neighbors::a_packet_that_must_stay_xcast_never_becomes_unicast", || {
        let mut star = Star::new();
        let taps = ["b", "c", "n"].map(|host| capture(&star, host));
        let (b, c, own) = (star.at("b"), star.at("c"), star.gateway("b"));
        let at_own = star.lab.receiver("r", SocketAddrV4::new(own, PORT));
        let keep = |list: &[Ipv4Addr]| Packet { flags: KEEP_XCAST, ..star.packet(list, "keep") };
        // To hosts on three links, to two behind one next hop, and to the router itself.
        star.send(&keep(&[b, FAR[0], own, c, FAR[1]]));
        star.send(&keep(&[FAR[1]]));
        until("four copies left", || (star.lab.counter("r", "replicas-sent") == 4).then_some(()));
        let form = |list: &[Ipv4Addr]| Form::Xcast(at(list));
        assert_eq!(sent_by_router(&taps[0]), [form(&[b])]);
        assert_eq!(sent_by_router(&taps[1]), [form(&[c])]);
        assert_eq!(sent_by_router(&taps[2]), [form(&FAR), form(&FAR[1..])]);
        assert_eq!(star.lab.counter("r", "destinations-delivered"), 1);
        assert_eq!(star.lab.counter("r", "unicast-conversions"), 0);
        star.assert_forwards();
        assert_empty(&at_own);
    });
}

#[test]
fn an_address_of_the_router_itself_is_delivered_to_an_ordinary_socket_at_any_ttl() {
    let name =
        "neighbors::an_address_of_the_router_itself_is_delivered_to_an_ordinary_socket_at_any_ttl";
    in_namespaces(name, || {
        let mut star = Star::new();
        let own = [star.gateway("a"), star.gateway("b")];
        let open = |address| star.lab.receiver("r", SocketAddrV4::new(address, PORT));
        let sockets: [UdpSocket; 2] = own.map(open);
        for (round, ttl) in (1..).zip([64, 2, 1, 0]) {
            let payload = format!("ttl-{ttl}");
            let packet = star.packet(&[own[0], star.at("b"), own[1]], &payload);
            star.send(&Packet { ttl, ..packet });
            for socket in &sockets {
                assert_receives(socket, star.source(), &payload);
            }
            match ttl {
                0 | 1 => assert_empty(&star.receivers[0]),
                _ => assert_receives(&star.receivers[0], star.source(), &payload),
            }
            until("both deliveries are counted", || {
                (star.lab.counter("r", "destinations-delivered") == 2 * round).then_some(())
            });
        }
        assert_eq!(star.lab.dropped("r", "ttl-expired"), 2);
        assert_eq!(star.lab.counter("r", "destinations-forwarded"), 2);
        star.assert_forwards();
    });
}

/// `a`, two routers and nothing else share a link; `b` is behind both.
///
/// ```text
///   a ═══ lan ═══ r ─── b
///          ╚═════ q ────╯
/// ```
fn shared_link() -> (Lab, UdpSocket, SocketAddrV4) {
    let mut lab = Lab::new();
    lab.hosts(&["a", "b"]);
    lab.forwarders(&["r", "q"]);
    let lan = lab.lan("lan", &["a", "r", "q"]);
    lab.link("b", "r");
    lab.link("b", "q");
    // As a hub does, the bridge sends every frame to everybody.
    for port in ["a", "r", "q"] {
        lab.ip("lan", &format!("link set dev {port} type bridge_slave learning off"));
    }
    lab.ip("lan", "link set dev br type bridge fdb_flush");
    lab.ip("a", &format!("route add default via {}", lan.ends[1].address));
    lab.ip("b", &format!("route add {} via {}", lan.subnet(), lab.address("r", "b")));
    let receiver = lab.receiver("b", SocketAddrV4::new(lab.address("b", "r"), PORT));
    lab.ip("q", &format!("route add {}/32 dev b", lab.address("b", "r")));
    let source = SocketAddrV4::new(lan.ends[0].address, 5000);
    (lab, receiver, source)
}

#[test]
fn a_router_leaves_alone_what_is_for_another_one_on_a_shared_link() {
    in_namespaces(
        "neighbors::a_router_leaves_alone_what_is_for_another_one_on_a_shared_link",
        || {
            let (mut lab, receiver, source) = shared_link();
            lab.start_routers(&["r", "q"]);
            let mut seen_by_q = lab.links[0].clone();
            seen_by_q.taps = vec![("q".to_owned(), "lan".to_owned())];
            let seen_by_q = lab.capture(&seen_by_q);
            let list = [lab.address("b", "r"), lab.address("r", "lan")];
            for (round, payload) in (1..).zip(["one", "two", "three"]) {
                let packet = Packet::to(source, &list, PORT, payload).bytes();
                lab.inject_to("a", "lan", lab.end("r", "lan").mac, &packet);
                assert_receives(&receiver, source, payload);
                // The frame did come by.
                assert_eq!(seen_by_q.take().iter().filter(|copy| copy.to == "r").count(), 1);
                until("r takes it", || {
                    (lab.counter("r", "packets-received") == round).then_some(())
                });
            }
            assert_eq!(lab.counter("q", "packets-received"), 0);
            assert_eq!(lab.counter("q", "packets-dropped"), 0);
        },
    );
}

#[test]
fn frames_to_the_group_are_for_the_one_router_that_accepts_them() {
    in_namespaces(
        "neighbors::frames_to_the_group_are_for_the_one_router_that_accepts_them",
        || {
            let (mut lab, receiver, source) = shared_link();
            lab.start_router(
                "r",
                "[[port]]\ninterface = \"lan\"\naccept-group-frames = true\n\
                               [[port]]\ninterface = \"b\"",
            );
            lab.start_router("q", "");
            ["lan", "b"].iter().for_each(|port| lab.wait_for_port("r", port, "up"));
            lab.wait_for_port("q", "lan", "up");
            let list = [lab.address("b", "r")];
            let packet = Packet::to(source, &list, PORT, "group").bytes();
            lab.inject_to("a", "lan", [1, 0, 0x5e, 0, 0, 0xfe], &packet);
            assert_receives(&receiver, source, "group");
            until("q refuses it", || (lab.dropped("q", "not-for-this-router") == 1).then_some(()));
            assert_empty(&receiver);
        },
    );
}

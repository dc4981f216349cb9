//! A path that is narrower behind the first link: the sender learns of it, and its next message
//! fits.
//!
//! ```text
//!     a ── r ── n ── b        between `r` and `n` a packet has 1280 octets at most
//!               └─── c
//! ```

use std::net::SocketAddr;

use xcast::forward::DropReason;
use xcast::host::{Message, Sent, Unsent};

use crate::lab::capture::Form;
use crate::lab::{Lab, Version, assert_receives};
use crate::support::in_namespaces;
use crate::{BOTH, Host, PORT, default_route, forms, inbox, link, list, next, source, too_big};

const MTU: u32 = 1280;
/// Fits the narrow link alone, but not with a list of two, over either IP version.
const ONE_FITS: usize = 1232;

/// The network above; only the routers that are named handle Xcast.
fn chain(routers: &[&str]) -> Lab {
    let mut lab = Lab::dual_stack();
    lab.hosts(&["a", "b", "c"]);
    lab.forwarders(&["r", "n"]);
    for (one, other) in [("a", "r"), ("r", "n"), ("b", "n"), ("c", "n")] {
        lab.link(one, other);
    }
    for (host, router) in [("a", "r"), ("b", "n"), ("c", "n"), ("r", "n")] {
        default_route(&lab, host, router);
    }
    crate::route(&lab, "n", "r", ("a", "r"));
    crate::narrow(&lab, "r", "n", MTU);
    lab.start_routers(routers);
    lab
}

fn receivers_at(lab: &Lab, version: Version) -> [SocketAddr; 2] {
    ["b", "c"].map(|host| SocketAddr::new(lab.address_of(version, host, "n"), PORT))
}

/// As an error about an Xcast packet has it: the ports are not quoted.
fn without_ports(mut to: Vec<SocketAddr>) -> Vec<SocketAddr> {
    to.iter_mut().for_each(|to| to.set_port(0));
    to
}

#[test]
fn after_a_list_was_too_big_for_a_later_link_the_next_message_arrives() {
    in_namespaces(
        "narrow::after_a_list_was_too_big_for_a_later_link_the_next_message_arrives",
        || {
            let lab = chain(&["r", "n"]);
            let wire = lab.capture(link(&lab, "a", "r"));
            let mut host = Host::open("a");
            let payload = "x".repeat(ONE_FITS);
            for version in BOTH {
                let to = receivers_at(&lab, version);
                let sockets = [("b", to[0]), ("c", to[1])].map(|(node, at)| lab.receiver(node, at));
                host.send_all(&to, &payload, 1);
                let troubles = host.troubles(2);
                let told: Vec<_> = troubles.iter().map(|t| (t.destination, t.kind)).collect();
                let expected = without_ports(to.to_vec());
                assert_eq!(
                    told,
                    expected.into_iter().map(|to| (to, too_big(MTU))).collect::<Vec<_>>()
                );
                for trouble in troubles {
                    assert_eq!(trouble.listed, 2, "{trouble:?}");
                    if version == Version::V4 {
                        assert_eq!(trouble.from, Some(lab.address("r", "a").into()));
                    }
                }
                host.send_all(&to, &payload, 2);
                for socket in &sockets {
                    assert_receives(socket, source(&lab, version), &payload);
                }
                let mut expected = vec![Form::Xcast(to.to_vec())];
                expected.extend(to.map(Form::Unicast));
                assert_eq!(forms(&wire, "a"), expected);
            }
        },
    );
}

#[test]
fn a_long_list_is_split_into_shorter_ones_for_a_later_link() {
    in_namespaces("narrow::a_long_list_is_split_into_shorter_ones_for_a_later_link", || {
        let lab = chain(&["r", "n"]);
        let wire = lab.capture(link(&lab, "a", "r"));
        let mut host = Host::open("a");
        let payload = "x".repeat(1000);
        for (version, count, splits) in
            [(Version::V4, 100, [100, 58, 42]), (Version::V6, 20, [20, 12, 8])]
        {
            let [b, c] = receivers_at(&lab, version);
            let sockets = [("b", b), ("c", c)].map(|(node, at)| lab.receiver(node, at));
            // Repeats are destinations of their own.
            let to: Vec<SocketAddr> =
                (0..count).map(|index| if index % 2 == 0 { b } else { c }).collect();
            host.send_all(&to, &payload, 1);
            host.troubles(count);
            host.send_all(&to, &payload, 2);
            let mut buffer = [0; 2000];
            for socket in &sockets {
                for _ in 0..count / 2 {
                    let (length, from) = socket.recv_from(&mut buffer).unwrap();
                    assert_eq!((length, from), (1000, source(&lab, version)));
                }
                crate::lab::assert_empty(socket);
            }
            let lengths = forms(&wire, "a").into_iter().map(|form| match form {
                Form::Xcast(live) => live.len(),
                other => panic!("{other:?}"),
            });
            assert_eq!(lengths.collect::<Vec<_>>(), splits);
        }
    });
}

#[test]
fn unicast_copies_too_big_for_a_later_link_come_back_and_are_not_tried_again() {
    let name = "narrow::unicast_copies_too_big_for_a_later_link_come_back_and_are_not_tried_again";
    in_namespaces(name, || {
        // Nobody handles Xcast.
        let lab = chain(&[]);
        let mut host = Host::open("a");
        let payload = "x".repeat(1300);
        for version in BOTH {
            let to = receivers_at(&lab, version);
            let sockets = [("b", to[0]), ("c", to[1])].map(|(node, at)| lab.receiver(node, at));
            host.send_all(&to, &payload, 1);
            let troubles = host.troubles(2);
            let told: Vec<_> = troubles.iter().map(|t| (t.destination, t.kind)).collect();
            assert_eq!(told, to.map(|to| (to, too_big(MTU))), "each with its port");
            for trouble in troubles {
                assert_eq!(trouble.from, Some(lab.address_of(version, "r", "a")), "{trouble:?}");
            }
            let unsent = |index| Unsent { index, reason: DropReason::TooBig };
            let none = Sent { packets: 0, unsent: vec![unsent(0), unsent(1)] };
            assert_eq!(host.send_to(&to, &payload), none);
            host.send_to(&to, "short");
            for socket in &sockets {
                assert_receives(socket, source(&lab, version), "short");
            }
        }
    });
}

#[test]
fn what_is_too_big_in_every_form_ends_as_unsent() {
    in_namespaces("narrow::what_is_too_big_in_every_form_ends_as_unsent", || {
        let lab = chain(&["r", "n"]);
        let mut host = Host::open("a");
        let payload = "x".repeat(1300);
        for version in BOTH {
            let to = receivers_at(&lab, version);
            // First the list is refused by the Xcast router, then each copy by its kernel.
            host.send_all(&to, &payload, 1);
            let listed = without_ports(to.to_vec()).into_iter().map(|to| (to, too_big(MTU)));
            assert_eq!(host.told(2), listed.collect::<Vec<_>>());
            host.send_all(&to, &payload, 2);
            assert_eq!(host.told(2), to.map(|to| (to, too_big(MTU))));
            let unsent = |index| Unsent { index, reason: DropReason::TooBig };
            let none = Sent { packets: 0, unsent: vec![unsent(0), unsent(1)] };
            assert_eq!(host.send_to(&to, &payload), none);
        }
    });
}

#[test]
fn a_packet_that_stays_xcast_learns_of_a_narrow_link_too() {
    in_namespaces("narrow::a_packet_that_stays_xcast_learns_of_a_narrow_link_too", || {
        let lab = chain(&["r", "n"]);
        let mut host = Host::open("a");
        let mut inboxes = ["b", "c"].map(|node| inbox(node, PORT));
        for (version, alone) in [(Version::V4, 48), (Version::V6, 96)] {
            let to = receivers_at(&lab, version);
            let destinations = list(&to);
            let fits = "x".repeat(MTU as usize - alone);
            let longer = format!("{fits}x");
            let message = |payload| Message {
                destinations: &destinations,
                keep_xcast: true,
                channel: 7,
                payload,
                ..Message::default()
            };
            let whole = |packets| Sent { packets, unsent: Vec::new() };
            assert_eq!(host.send(&message(fits.as_bytes())), whole(1));
            host.troubles(2);
            assert_eq!(host.send(&message(fits.as_bytes())), whole(2));
            for inbox in &mut inboxes {
                assert_eq!(next(inbox).payload, fits.as_bytes());
            }
            let unsent = |index| Unsent { index, reason: DropReason::TooBig };
            let none = Sent { packets: 0, unsent: vec![unsent(0), unsent(1)] };
            assert_eq!(host.send(&message(longer.as_bytes())), none);
        }
    });
}

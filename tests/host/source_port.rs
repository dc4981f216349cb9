//! What a socket holds: its port, which answers come to, its interface, and its privileges.

use std::error::Error;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use caps::{CapSet, Capability};
use xcast::forward::DropReason;
use xcast::host::{
    HostError, Inbox, Message, MessageError, Options, Received, Sent, Unsent, XcastSocket,
};

use crate::lab::{Lab, assert_receives};
use crate::support::in_namespaces;
use crate::{
    BOTH, CODE_POINTS, Host, PORT, SOURCE_PORT, at, default_route, forms, inbox, inside, link,
    list, next, route, source, star,
};

/// Why a socket cannot be opened on a node.
fn refused(node: &str, options: &Options) -> HostError {
    inside(node, || XcastSocket::open(CODE_POINTS, options).err()).expect("it is refused")
}

/// The kind of the kernel's error.
fn kind(error: &HostError) -> Option<ErrorKind> {
    match error {
        HostError::Socket { error, .. } => Some(error.kind()),
        _ => None,
    }
}

#[test]
fn a_source_port_is_held_over_both_ip_versions() {
    in_namespaces("source_port::a_source_port_is_held_over_both_ip_versions", || {
        let lab = star(&["a"]);
        let host = Host::open("a");
        assert_eq!(host.socket.source_port(), SOURCE_PORT);
        let options = Options { source_port: SOURCE_PORT, ..Options::default() };
        let error = refused("a", &options);
        assert_eq!(kind(&error), Some(ErrorKind::AddrInUse), "{error}");
        assert!(error.to_string().contains("UDP port 5000"), "{error}");
        for version in BOTH {
            let own = source(&lab, version);
            let taken = inside("a", || UdpSocket::bind(own)).map_err(|error| error.kind());
            assert_eq!(taken.err(), Some(ErrorKind::AddrInUse), "{own}");
        }
        // One that is not named is free.
        let other = inside("a", || XcastSocket::open(CODE_POINTS, &Options::default())).unwrap();
        assert!(![0, SOURCE_PORT].contains(&other.source_port()));
        drop(host);
        Host::open("a");
    });
}

#[test]
fn answers_to_the_source_port_are_received() {
    in_namespaces("source_port::answers_to_the_source_port_are_received", || {
        let mut lab = star(&["a", "b", "c"]);
        lab.start_routers(&["r"]);
        let mut host = Host::open("a");
        let mut inbox = inbox("c", PORT);
        for version in BOTH {
            let ([b, c], own) =
                (["b", "c"].map(|node| at(&lab, version, node)), source(&lab, version));
            let ordinary = lab.receiver("b", b);
            host.send_all(&[b, c], "who is there?", 1);
            assert_receives(&ordinary, own, "who is there?");
            let answer = |from: SocketAddr, payload: &[u8]| Received {
                source: from,
                destination: own.ip(),
                port: own.port(),
                ttl: 63,
                dscp: 0,
                channel: None,
                stamp: None,
                payload: payload.to_vec(),
            };
            ordinary.send_to(b"b is", own).unwrap();
            assert_eq!(host.receive(), answer(b, b"b is"));
            let asked = next(&mut inbox);
            inbox.answer(&asked, b"c is").unwrap();
            assert_eq!(host.receive(), answer(c, b"c is"));
        }
    });
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    in_namespaces("source_port::an_answer_comes_from_the_address_that_was_asked", || {
        let mut lab = star(&["a", "b"]);
        let further = BOTH.map(|version| crate::many(&lab, "b", version, 1)[0]);
        lab.start_routers(&["r"]);
        let mut host = Host::open("a");
        let mut inbox = inbox("b", PORT);
        for to in further {
            host.send_all(&[to], "who is there?", 1);
            let asked = next(&mut inbox);
            inbox.answer(&asked, b"I am").unwrap();
            assert_eq!(host.receive().source, to);
        }
    });
}

/// ```text
///     a ──┬── r ── b
///         └── s ── c
/// ```
fn two_ways() -> Lab {
    let mut lab = Lab::dual_stack();
    lab.hosts(&["a", "b", "c"]);
    lab.forwarders(&["r", "s"]);
    for (one, other) in [("a", "r"), ("a", "s"), ("b", "r"), ("c", "s")] {
        lab.link(one, other);
    }
    for (host, router) in [("b", "r"), ("c", "s")] {
        default_route(&lab, host, router);
        route(&lab, "a", router, (host, router));
    }
    lab.start_routers(&["r", "s"]);
    lab
}

#[test]
fn one_interface_alone_is_sent_by_where_one_is_named() {
    in_namespaces("source_port::one_interface_alone_is_sent_by_where_one_is_named", || {
        let lab = two_ways();
        let by_s = lab.capture(link(&lab, "a", "s"));
        let options = Options { interface: Some("r".to_owned()), ..Options::default() };
        let mut host = Host::open_with("a", options);
        for version in BOTH {
            let b = at(&lab, version, "b");
            let receiver = lab.receiver("b", b);
            let [c, s] = [("c", "s"), ("s", "a")]
                .map(|(node, by)| SocketAddr::new(lab.address_of(version, node, by), PORT));
            // The others come first, and the source is one for the named interface all the same.
            let unsent = |index| Unsent { index, reason: DropReason::PortDown };
            let expected = Sent { packets: 1, unsent: vec![unsent(0), unsent(1)] };
            assert_eq!(host.send_to(&[c, s, b], "by r"), expected);
            assert_receives(&receiver, source(&lab, version), "by r");
        }
        assert_eq!(forms(&by_s, "a"), []);
        for name in ["s9", "lo"] {
            let options = Options { interface: Some(name.to_owned()), ..Options::default() };
            let error = refused("a", &options);
            assert!(
                matches!(&error, HostError::NoInterface(missing) if missing == name),
                "{error}"
            );
        }
    });
}

#[test]
fn without_cap_net_raw_a_socket_says_what_it_needs() {
    in_namespaces("source_port::without_cap_net_raw_a_socket_says_what_it_needs", || {
        let _lab = star(&["a"]);
        let drop_it = || caps::drop(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap();
        let errors = inside("a", || {
            // Of this thread alone.
            drop_it();
            let socket = XcastSocket::open(CODE_POINTS, &Options::default());
            [socket.err(), Inbox::open(None, PORT, Some(CODE_POINTS)).err()]
        });
        for error in errors {
            let error = error.expect("it is refused");
            assert_eq!(kind(&error), Some(ErrorKind::PermissionDenied), "{error}");
            assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
            assert!(error.source().is_none(), "all is said in one line: {error}");
        }
        // What receives no Xcast needs none.
        let plain = inside("a", || {
            drop_it();
            Inbox::open(None, PORT, None).map(|_| ())
        });
        plain.unwrap();
    });
}

#[test]
fn without_cap_net_admin_neighbors_that_are_known_are_served() {
    in_namespaces("source_port::without_cap_net_admin_neighbors_that_are_known_are_served", || {
        let mut lab = star(&["a", "b"]);
        lab.start_routers(&["r"]);
        let b = at(&lab, BOTH[0], "b");
        let receiver = lab.receiver("b", b);
        Host::open("a").send_all(&[b], "who knows", 1);
        assert_receives(&receiver, source(&lab, BOTH[0]), "who knows");
        let destinations = list(&[b]);
        let message =
            Message { destinations: &destinations, payload: b"known", ..Message::default() };
        let send = || {
            inside("a", || {
                caps::drop(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap();
                let options = Options { source_port: SOURCE_PORT, ..Options::default() };
                XcastSocket::open(CODE_POINTS, &options)?.send(&message)
            })
        };
        assert_eq!(send().unwrap(), Sent { packets: 1, unsent: Vec::new() });
        assert_receives(&receiver, source(&lab, BOTH[0]), "known");
        lab.forget_neighbors();
        let error = send().unwrap_err().to_string();
        assert!(error.contains("CAP_NET_ADMIN"), "{error}");
    });
}

#[test]
fn what_no_packet_holds_is_refused_by_name() {
    in_namespaces("source_port::what_no_packet_holds_is_refused_by_name", || {
        let lab = star(&["a"]);
        let mut host = Host::open("a");
        let mut refused = |message: &Message<'_>| {
            host.with(|socket| socket.send(message)).expect_err("it is refused").to_string()
        };
        let to = list(&[at(&lab, BOTH[0], "a")]);
        let empty = refused(&Message::default());
        assert!(empty.contains("destination"), "{empty}");
        let wide = Message { destinations: &to, channel: 1 << 32, ..Message::default() };
        assert_eq!(refused(&wide), MessageError::Channel.to_string());
        lab.ip("a", "route del default");
        let nowhere = list(&["10.99.0.1:9".parse().unwrap()]);
        let lost = Message { destinations: &nowhere, ..Message::default() };
        assert_eq!(refused(&lost), HostError::NoSource.to_string());
    });
}

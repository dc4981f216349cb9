//! A host behind a NAT that is an nftables masquerade, set by plain netlink.

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use crate::lab::{Version, inside};
use crate::support::in_namespaces;
use crate::{Net, PORT, next};

/// An attribute: its length, its type, its value, padded to four octets.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len() as u16;
    let mut octets = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

fn nested(kind: u16, values: &[Vec<u8>]) -> Vec<u8> {
    const NLA_F_NESTED: u16 = 0x8000;
    attribute(kind | NLA_F_NESTED, &values.concat())
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

/// A netlink message: header, `struct nfgenmsg`, attributes.
fn message(kind: u16, flags: u16, family: u8, resource: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    let attributes = attributes.concat();
    let length = 20 + attributes.len() as u32;
    let mut octets = length.to_ne_bytes().to_vec();
    octets.extend(kind.to_ne_bytes());
    octets.extend(flags.to_ne_bytes());
    octets.extend([0; 8]);
    octets.extend([family, 0]);
    octets.extend(resource.to_be_bytes());
    octets.extend(attributes);
    octets
}

/// Hides what is behind the current network namespace behind its own addresses
/// (linux/netfilter/nf_tables.h).
fn masquerade() {
    const BEGIN: u16 = 0x10;
    const END: u16 = 0x11;
    const NFTABLES: u16 = 10;
    const IPV4: u8 = 2;
    const REQUEST: u16 = 1;
    const ACK: u16 = 4;
    const CREATE: u16 = 0x400;
    let of = |kind: u16, more: u16, attributes: &[Vec<u8>]| {
        message(NFTABLES << 8 | kind, REQUEST | CREATE | more, IPV4, 0, attributes)
    };
    let (post_routing, priority) = (4u32.to_be_bytes(), 100i32.to_be_bytes());
    let hook = nested(4, &[attribute(1, &post_routing), attribute(2, &priority)]);
    let expression = nested(1, &[text(1, "masq")]);
    let batch = [
        message(BEGIN, REQUEST, 0, NFTABLES, &[]),
        of(0, 0, &[text(1, "nat")]),
        of(3, 0, &[text(1, "nat"), text(3, "out"), hook, text(7, "nat")]),
        of(6, ACK, &[text(1, "nat"), text(2, "out"), nested(4, &[expression])]),
        message(END, REQUEST, 0, NFTABLES, &[]),
    ];
    let socket = Socket::new(NETLINK_NETFILTER).unwrap();
    socket.send_to(&batch.concat(), &SocketAddr::new(0, 0), 0).unwrap();
    let (answer, _) = socket.recv_from_full().unwrap();
    // An error of number 0 is the acknowledgment.
    assert_eq!(answer[4..6], 2u16.to_ne_bytes(), "{answer:?}");
    assert_eq!(answer[16..20], [0; 4], "the kernel refuses: {answer:?}");
}

#[test]
fn a_host_behind_a_masquerade_sends_and_receives() {
    in_namespaces("masquerade::a_host_behind_a_masquerade_sends_and_receives", || {
        let mut net = Net::without_relays(Version::V4);
        // Nobody out there knows the way to `h`.
        let hidden = net.lab.links[0].subnet();
        net.lab.ip("r", &format!("route del {hidden}"));
        inside("n", masquerade);
        net.start("x1");
        net.start("x2");
        let (receiving, own) = net.receive("--count 1 --timeout 60s");
        let ends = net
            .lab
            .show(if own.to_string().starts_with("10.99.1.") { "x1" } else { "x2" }, "backbone");
        let at = ends["ends"][0]["address"].as_str().unwrap().to_owned();
        let outside = net.lab.address("n", "r").to_string();
        assert!(at.starts_with(&format!("{outside}:")), "{at} is not the outer address {outside}");
        net.receivers[0].send_to(b"inwards", (own, PORT)).unwrap();
        let ended = receiving.finish();
        assert_eq!(ended.status, Some(0), "{:?}", ended.errors);

        let words = format!("send --to {} --text outwards --source-port 5000 --json", net.both());
        let arguments = net.arguments("h");
        let sent = Net::sent(net.run("send", &format!("{words} {arguments}")));
        for receiver in &net.receivers {
            let (from, text) = next(receiver);
            assert_eq!(text, "outwards");
            assert_eq!(
                from.to_string(),
                format!("{}:5000", sent["relay"]["address"].as_str().unwrap())
            );
        }
    });
}

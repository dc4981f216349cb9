//! Transactions octet by octet, from `linux/netfilter/nfnetlink.h` and `nf_tables.h`.

#![cfg(target_endian = "little")]

use super::Dropped;
use super::message::{
    Base, Batch, Match, counted, envelope, list_rules, xcast4, xcast6, xcast6_behind_hop_by_hop,
};

#[rustfmt::skip]
const BEGIN: [u8; 20] = [
    20, 0, 0, 0, 0x10, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, // NFNL_MSG_BATCH_BEGIN, request, 7
    0, 0, 0, 10, // struct nfgenmsg: for nftables
];

fn end(sequence: u8) -> [u8; 20] {
    let mut bytes = BEGIN;
    (bytes[4], bytes[8]) = (0x11, sequence);
    bytes
}

#[test]
fn a_table_that_replaces_its_predecessor() {
    let mut batch = Batch::begin("xcast-r1", 7);
    batch.replace_table(true);
    let (bytes, last) = batch.end();
    #[rustfmt::skip]
    let inner = [
        36, 0, 0, 0, 0, 10, 0x05, 0x04, 8, 0, 0, 0, 0, 0, 0, 0, // NEWTABLE, ack, create
        5, 0, 0, 0, // netdev
        13, 0, 1, 0, b'x', b'c', b'a', b's', b't', b'-', b'r', b'1', 0, 0, 0, 0, // name
        36, 0, 0, 0, 2, 10, 0x05, 0, 9, 0, 0, 0, 0, 0, 0, 0, // DELTABLE, ack
        5, 0, 0, 0,
        13, 0, 1, 0, b'x', b'c', b'a', b's', b't', b'-', b'r', b'1', 0, 0, 0, 0,
        44, 0, 0, 0, 0, 10, 0x05, 0x06, 10, 0, 0, 0, 0, 0, 0, 0, // NEWTABLE, ack, create, excl
        5, 0, 0, 0,
        13, 0, 1, 0, b'x', b'c', b'a', b's', b't', b'-', b'r', b'1', 0, 0, 0, 0,
        8, 0, 2, 0, 0, 0, 0, 2, // flags: owner
    ];
    assert_eq!(last, 10);
    assert_eq!(bytes, [&BEGIN[..], &inner, &end(10)].concat());
}

#[test]
fn a_chain_at_the_ingress_of_an_interface() {
    let mut batch = Batch::begin("t", 7);
    batch.new_chain("va", true);
    #[rustfmt::skip]
    let inner = [
        84, 0, 0, 0, 3, 10, 0x05, 0x06, 8, 0, 0, 0, 0, 0, 0, 0, // NEWCHAIN, ack, create, excl
        5, 0, 0, 0,
        6, 0, 1, 0, b't', 0, 0, 0, // table
        7, 0, 3, 0, b'v', b'a', 0, 0, // name
        28, 0, 4, 0x80, // hook
            8, 0, 1, 0, 0, 0, 0, 0, // ingress
            8, 0, 2, 0, 0xff, 0xff, 0xfe, 0x0c, // priority -500
            7, 0, 3, 0, b'v', b'a', 0, 0, // device
        8, 0, 5, 0, 0, 0, 0, 1, // policy accept
        11, 0, 7, 0, b'f', b'i', b'l', b't', b'e', b'r', 0, 0, // type
        36, 0, 0, 0, 5, 10, 0x05, 0, 9, 0, 0, 0, 0, 0, 0, 0, // DELCHAIN, ack
        5, 0, 0, 0,
        6, 0, 1, 0, b't', 0, 0, 0,
        7, 0, 3, 0, b'v', b'a', 0, 0,
    ];
    batch.delete_chain("va");
    let (bytes, last) = batch.end();
    assert_eq!(last, 9);
    assert_eq!(bytes, [&BEGIN[..], &inner, &end(9)].concat());
}

#[test]
fn a_rule_that_counts_and_drops() {
    let mut batch = Batch::begin("t", 7);
    batch.new_rule("va", &vec![Match { base: Base::Network, offset: 9, value: vec![253] }]);
    let (bytes, _) = batch.end();
    #[rustfmt::skip]
    let inner = [
        204, 0, 0, 0, 6, 10, 0x05, 0x0c, 8, 0, 0, 0, 0, 0, 0, 0, // NEWRULE, ack, create, append
        5, 0, 0, 0,
        6, 0, 1, 0, b't', 0, 0, 0, // table
        7, 0, 2, 0, b'v', b'a', 0, 0, // chain
        168, 0, 4, 0x80, // expressions
        52, 0, 1, 0x80, // element
            12, 0, 1, 0, b'p', b'a', b'y', b'l', b'o', b'a', b'd', 0,
            36, 0, 2, 0x80,
                8, 0, 1, 0, 0, 0, 0, 1, // into register 1
                8, 0, 2, 0, 0, 0, 0, 1, // from the network header
                8, 0, 3, 0, 0, 0, 0, 9, // offset
                8, 0, 4, 0, 0, 0, 0, 1, // octets
        44, 0, 1, 0x80,
            8, 0, 1, 0, b'c', b'm', b'p', 0,
            32, 0, 2, 0x80,
                8, 0, 1, 0, 0, 0, 0, 1, // register 1
                8, 0, 2, 0, 0, 0, 0, 0, // equals
                12, 0, 3, 0x80,
                    5, 0, 1, 0, 253, 0, 0, 0, // value
        20, 0, 1, 0x80,
            12, 0, 1, 0, b'c', b'o', b'u', b'n', b't', b'e', b'r', 0,
            4, 0, 2, 0x80,
    ];
    assert_eq!(bytes[..20], BEGIN);
    assert_eq!(bytes[20..20 + inner.len()], inner);
    #[rustfmt::skip]
    let verdict = [
        48, 0, 1, 0x80,
            14, 0, 1, 0, b'i', b'm', b'm', b'e', b'd', b'i', b'a', b't', b'e', 0, 0, 0,
            28, 0, 2, 0x80,
                8, 0, 1, 0, 0, 0, 0, 0, // into the verdict
                16, 0, 2, 0x80,
                    12, 0, 2, 0x80,
                        8, 0, 1, 0, 0, 0, 0, 0, // drop
    ];
    assert_eq!(bytes[20 + inner.len()..bytes.len() - 20], verdict);
}

#[test]
fn xcast4_is_its_ethertype_and_protocol() {
    let link = Match { base: Base::Link, offset: 12, value: vec![8, 0] };
    let network = Match { base: Base::Network, offset: 9, value: vec![253] };
    assert_eq!(xcast4(253), [link, network]);
}

#[test]
fn xcast6_is_a_routing_header_in_front() {
    let link = Match { base: Base::Link, offset: 12, value: vec![0x86, 0xdd] };
    let network = |offset, octet| Match { base: Base::Network, offset, value: vec![octet] };
    assert_eq!(xcast6(252), [link.clone(), network(6, 43), network(40 + 2, 252)]);
    let routing = Match { base: Base::Extension(43), offset: 2, value: vec![252] };
    let expected = [link, network(6, 0), network(40, 43), routing];
    assert_eq!(xcast6_behind_hop_by_hop(252), expected);
}

#[test]
fn an_envelope_is_its_option_in_front_of_ipv6() {
    let link = Match { base: Base::Link, offset: 12, value: vec![0x86, 0xdd] };
    let network = |offset, value| Match { base: Base::Network, offset, value };
    let expected = [link, network(6, vec![0]), network(40, vec![41, 0, 0x1e, 0])];
    assert_eq!(envelope(0x1e), expected);
}

#[test]
fn an_extension_header_is_looked_for() {
    let mut batch = Batch::begin("t", 7);
    batch.new_rule("va", &vec![Match { base: Base::Extension(43), offset: 2, value: vec![252] }]);
    let (bytes, _) = batch.end();
    #[rustfmt::skip]
    let inner = [
        204, 0, 0, 0, 6, 10, 0x05, 0x0c, 8, 0, 0, 0, 0, 0, 0, 0, // NEWRULE, ack, create, append
        5, 0, 0, 0,
        6, 0, 1, 0, b't', 0, 0, 0, // table
        7, 0, 2, 0, b'v', b'a', 0, 0, // chain
        168, 0, 4, 0x80, // expressions
        52, 0, 1, 0x80, // element
            11, 0, 1, 0, b'e', b'x', b't', b'h', b'd', b'r', 0, 0,
            36, 0, 2, 0x80,
                8, 0, 1, 0, 0, 0, 0, 1, // into register 1
                5, 0, 2, 0, 43, 0, 0, 0, // of the routing header
                8, 0, 3, 0, 0, 0, 0, 2, // offset
                8, 0, 4, 0, 0, 0, 0, 1, // octets
        44, 0, 1, 0x80,
            8, 0, 1, 0, b'c', b'm', b'p', 0,
            32, 0, 2, 0x80,
                8, 0, 1, 0, 0, 0, 0, 1, // register 1
                8, 0, 2, 0, 0, 0, 0, 0, // equals
                12, 0, 3, 0x80,
                    5, 0, 1, 0, 252, 0, 0, 0, // value
    ];
    assert_eq!(bytes[20..20 + inner.len()], inner);
}

#[test]
fn counters_are_read_from_listed_rules() {
    #[rustfmt::skip]
    let rule = [
        5, 0, 0, 0,
        6, 0, 1, 0, b't', 0, 0, 0,
        60, 0, 4, 0, // expressions, as the kernel lists them: without the nested flag
        12, 0, 1, 0,
            8, 0, 1, 0, b'c', b'm', b'p', 0,
        44, 0, 1, 0,
            12, 0, 1, 0, b'c', b'o', b'u', b'n', b't', b'e', b'r', 0,
            28, 0, 2, 0,
                12, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 44, // octets
                12, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3, // packets
    ];
    assert_eq!(counted(&rule), Dropped { packets: 3, octets: 300 });
    for length in 0..rule.len() {
        assert_eq!(counted(&rule[..length]).packets, 0);
    }
    #[rustfmt::skip]
    assert_eq!(list_rules("t", "va", 7), [
        36, 0, 0, 0, 7, 10, 0x01, 0x03, 7, 0, 0, 0, 0, 0, 0, 0, // GETRULE, dump
        5, 0, 0, 0,
        6, 0, 1, 0, b't', 0, 0, 0,
        7, 0, 2, 0, b'v', b'a', 0, 0,
    ]);
}

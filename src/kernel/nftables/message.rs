//! The nftables messages we send and the counters we read, as octets (`linux/netfilter/nf_tables.h`,
//! `nfnetlink.h`). Pure. Numbers in attributes are in network order.

use netlink_packet_core::{
    NLA_HEADER_SIZE, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST,
    NlaBuffer, NlasIterator,
};

use super::Dropped;
use crate::kernel::framing::Writer;

const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFPROTO_NETDEV: u8 = 5;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_DELCHAIN: u16 = 5;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_GETRULE: u16 = 7;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFT_TABLE_F_OWNER: u32 = 2;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_HOOK_DEV: u16 = 3;
const NF_NETDEV_INGRESS: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NF_DROP: u32 = 0;

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;

const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFT_PAYLOAD_LL_HEADER: u32 = 0;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFTA_EXTHDR_DREG: u16 = 1;
const NFTA_EXTHDR_TYPE: u16 = 2;
const NFTA_EXTHDR_OFFSET: u16 = 3;
const NFTA_EXTHDR_LEN: u16 = 4;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;

/// `struct nfgenmsg` is four octets.
const HEADER: usize = 4;

/// Before other chains at the same hook, which usually have 0.
const PRIORITY: i32 = -500;

/// From where a [`Match`] counts its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The link layer's header (`NFT_PAYLOAD_LL_HEADER`), a VLAN tag included.
    Link,
    /// The IP header (`NFT_PAYLOAD_NETWORK_HEADER`).
    Network,
    /// The first IPv6 extension header of this Next Header number; nothing matches where there is
    /// none.
    Extension(u8),
}

/// Octets of a packet that must have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) base: Base,
    /// Octets from the base on.
    pub(super) offset: u32,
    pub(super) value: Vec<u8>,
}

/// Matches that a packet must all meet to be dropped.
pub(super) type Rule = Vec<Match>;

/// Next Header of a Hop-by-Hop and of a Routing header (RFC 8200).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
/// Next Header of an IPv6 packet in another (RFC 2473).
const IPV6_INSIDE: u8 = 41;
/// Where an IPv6 packet has its Next Header, and its first extension header.
const NEXT_HEADER_AT: u32 = 6;
const EXTENSION_AT: u32 = 40;
/// Where a routing header has its type.
const ROUTING_TYPE_AT: u32 = 2;

/// Every packet.
pub(super) fn anything() -> Rule {
    Vec::new()
}

/// Xcast4: IPv4 of protocol `ip_protocol`, in Ethernet frames without a VLAN tag.
pub(super) fn xcast4(ip_protocol: u8) -> Rule {
    vec![link(&[0x08, 0x00]), network(9, ip_protocol)]
}

/// Xcast6: IPv6 whose first extension header is a routing header of `routing_type`, in Ethernet
/// frames without a VLAN tag.
pub(super) fn xcast6(routing_type: u8) -> Rule {
    let kind = network(EXTENSION_AT + ROUTING_TYPE_AT, routing_type);
    vec![link(&[0x86, 0xdd]), network(NEXT_HEADER_AT, ROUTING), kind]
}

/// The same directly behind a Hop-by-Hop header. The kernel looks for the first routing header
/// wherever it stands, so where it must stand is said, too.
pub(super) fn xcast6_behind_hop_by_hop(routing_type: u8) -> Rule {
    let kind = Match {
        base: Base::Extension(ROUTING),
        offset: ROUTING_TYPE_AT,
        value: vec![routing_type],
    };
    let next = network(EXTENSION_AT, ROUTING);
    vec![link(&[0x86, 0xdd]), network(NEXT_HEADER_AT, HOP_BY_HOP), next, kind]
}

/// A packet in a semi-permeable tunnel: IPv6 with a Hop-by-Hop header of 8 octets, in front of IPv6,
/// whose first option is `option`, without data.
pub(super) fn envelope(option: u8) -> Rule {
    let opening =
        Match { base: Base::Network, offset: EXTENSION_AT, value: vec![IPV6_INSIDE, 0, option, 0] };
    vec![link(&[0x86, 0xdd]), network(NEXT_HEADER_AT, HOP_BY_HOP), opening]
}

/// The EtherType of a frame.
fn link(ether_type: &[u8; 2]) -> Match {
    Match { base: Base::Link, offset: 12, value: ether_type.to_vec() }
}

fn network(offset: u32, octet: u8) -> Match {
    Match { base: Base::Network, offset, value: vec![octet] }
}

/// A transaction on one table, written message by message, each of which the kernel answers.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    table: &'a str,
    writer: Writer,
    sequence: u32,
}

impl<'a> Batch<'a> {
    /// Starts a transaction whose own sequence number is `sequence`; its messages' follow.
    pub(super) fn begin(table: &'a str, sequence: u32) -> Batch<'a> {
        let mut writer = Writer::default();
        writer.message(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, sequence, batch_header);
        Batch { table, writer, sequence }
    }

    /// Ends it: its octets, and the sequence number of its last message.
    pub(super) fn end(mut self) -> (Vec<u8>, u32) {
        self.writer.message(NFNL_MSG_BATCH_END, NLM_F_REQUEST, self.sequence, batch_header);
        (self.writer.into_bytes(), self.sequence)
    }

    /// Makes the table, empty, whether or not there is one: adding one that exists does nothing,
    /// so that deleting it cannot fail. `owned`: it lives as long as our socket.
    pub(super) fn replace_table(&mut self, owned: bool) {
        let table = self.table;
        self.add(NFT_MSG_NEWTABLE, NLM_F_CREATE, |body| body.text(NFTA_TABLE_NAME, table));
        self.delete_table();
        self.add(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, |body| {
            body.text(NFTA_TABLE_NAME, table);
            number(body, NFTA_TABLE_FLAGS, if owned { NFT_TABLE_F_OWNER } else { 0 });
        });
    }

    /// Deletes the table with all that is in it.
    pub(super) fn delete_table(&mut self) {
        let table = self.table;
        self.add(NFT_MSG_DELTABLE, 0, |body| body.text(NFTA_TABLE_NAME, table));
    }

    /// Adds an interface's chain at its ingress hook, or, unless `new`, makes sure that the one
    /// there is hooked to it.
    pub(super) fn new_chain(&mut self, interface: &str, new: bool) {
        let table = self.table;
        let flags = NLM_F_CREATE | if new { NLM_F_EXCL } else { 0 };
        self.add(NFT_MSG_NEWCHAIN, flags, |body| {
            body.text(NFTA_CHAIN_TABLE, table);
            body.text(NFTA_CHAIN_NAME, interface);
            body.nested(NFTA_CHAIN_HOOK, |hook| {
                number(hook, NFTA_HOOK_HOOKNUM, NF_NETDEV_INGRESS);
                hook.attribute(NFTA_HOOK_PRIORITY, &PRIORITY.to_be_bytes());
                hook.text(NFTA_HOOK_DEV, interface);
            });
            number(body, NFTA_CHAIN_POLICY, NF_ACCEPT);
            body.text(NFTA_CHAIN_TYPE, "filter");
        });
    }

    /// Deletes an interface's chain with its rules.
    pub(super) fn delete_chain(&mut self, interface: &str) {
        let table = self.table;
        self.add(NFT_MSG_DELCHAIN, 0, |body| {
            body.text(NFTA_CHAIN_TABLE, table);
            body.text(NFTA_CHAIN_NAME, interface);
        });
    }

    /// Adds a rule to an interface's chain: count and drop what `rule` matches.
    pub(super) fn new_rule(&mut self, interface: &str, rule: &Rule) {
        let table = self.table;
        self.add(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |body| {
            body.text(NFTA_RULE_TABLE, table);
            body.text(NFTA_RULE_CHAIN, interface);
            body.nested(NFTA_RULE_EXPRESSIONS, |list| {
                for wanted in rule {
                    compare(list, wanted);
                }
                count_and_drop(list);
            });
        });
    }

    fn add(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Writer)) {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.writer.message(subsystem(kind), flags, self.sequence, |body| {
            body.raw(&[NFPROTO_NETDEV, 0, 0, 0]);
            write(body);
        });
    }
}

/// Asks for the rules of an interface's chain, with their counters.
pub(super) fn list_rules(table: &str, interface: &str, sequence: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    let flags = NLM_F_REQUEST | NLM_F_DUMP;
    writer.message(subsystem(NFT_MSG_GETRULE), flags, sequence, |body| {
        body.raw(&[NFPROTO_NETDEV, 0, 0, 0]);
        body.text(NFTA_RULE_TABLE, table);
        body.text(NFTA_RULE_CHAIN, interface);
    });
    writer.into_bytes()
}

/// What the counter of a listed rule says; zero if it has none.
pub(super) fn counted(rule: &[u8]) -> Dropped {
    let attributes = rule.get(HEADER..).unwrap_or_default();
    let Some(expressions) = find(attributes, NFTA_RULE_EXPRESSIONS) else {
        return Dropped::default();
    };
    NlasIterator::new(expressions)
        .map_while(Result::ok)
        .map(value)
        .find(|expression| find(expression, NFTA_EXPR_NAME) == Some(b"counter\0"))
        .and_then(|expression| find(expression, NFTA_EXPR_DATA))
        .map(|counter| Dropped {
            packets: number_64(counter, NFTA_COUNTER_PACKETS),
            octets: number_64(counter, NFTA_COUNTER_BYTES),
        })
        .unwrap_or_default()
}

fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute: &NlaBuffer<&[u8]>| attribute.kind() == kind)
        .map(value)
}

/// The value, for as long as the message lives.
fn value(attribute: NlaBuffer<&[u8]>) -> &[u8] {
    let end = usize::from(attribute.length());
    &attribute.into_inner()[NLA_HEADER_SIZE..end]
}

fn number_64(attributes: &[u8], kind: u16) -> u64 {
    find(attributes, kind)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |octets| u64::from_be_bytes(*octets))
}

fn subsystem(kind: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | kind
}

fn batch_header(body: &mut Writer) {
    body.raw(&[0, 0]);
    body.raw(&NFNL_SUBSYS_NFTABLES.to_be_bytes());
}

fn number(body: &mut Writer, kind: u16, value: u32) {
    body.attribute(kind, &value.to_be_bytes());
}

fn expression(list: &mut Writer, name: &str, write: impl FnOnce(&mut Writer)) {
    list.nested(NFTA_LIST_ELEM, |element| {
        element.text(NFTA_EXPR_NAME, name);
        element.nested(NFTA_EXPR_DATA, write);
    });
}

/// Loads the octets into a register and goes on only if they have the value.
fn compare(list: &mut Writer, wanted: &Match) {
    let length = wanted.value.len() as u32;
    let payload = |list: &mut Writer, base: u32| {
        expression(list, "payload", |data| {
            number(data, NFTA_PAYLOAD_DREG, NFT_REG_1);
            number(data, NFTA_PAYLOAD_BASE, base);
            number(data, NFTA_PAYLOAD_OFFSET, wanted.offset);
            number(data, NFTA_PAYLOAD_LEN, length);
        });
    };
    match wanted.base {
        Base::Link => payload(list, NFT_PAYLOAD_LL_HEADER),
        Base::Network => payload(list, NFT_PAYLOAD_NETWORK_HEADER),
        Base::Extension(header) => expression(list, "exthdr", |data| {
            number(data, NFTA_EXTHDR_DREG, NFT_REG_1);
            data.attribute(NFTA_EXTHDR_TYPE, &[header]);
            number(data, NFTA_EXTHDR_OFFSET, wanted.offset);
            number(data, NFTA_EXTHDR_LEN, length);
        }),
    }
    expression(list, "cmp", |data| {
        number(data, NFTA_CMP_SREG, NFT_REG_1);
        number(data, NFTA_CMP_OP, NFT_CMP_EQ);
        data.nested(NFTA_CMP_DATA, |value| value.attribute(NFTA_DATA_VALUE, &wanted.value));
    });
}

fn count_and_drop(list: &mut Writer) {
    expression(list, "counter", |_| {});
    expression(list, "immediate", |data| {
        number(data, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
        data.nested(NFTA_IMMEDIATE_DATA, |value| {
            value.nested(NFTA_DATA_VERDICT, |verdict| number(verdict, NFTA_VERDICT_CODE, NF_DROP));
        });
    });
}

//! The classic BPF filter of a packet socket: only Xcast packets are copied up.
//!
//! A program is a row of blocks. Each block is a list of tests; where all of them hold it ends as
//! the block says, and where one fails the next block begins.

use crate::wire::{CodePoints, ethernet, ipv6, semi_permeable};

/// One instruction, as the kernel has it (`struct sock_filter`).
pub(super) type Instruction = libc::sock_filter;

pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const LOAD_HALF: u16 = 0x28;
pub(super) const LOAD_BYTE: u16 = 0x30;
/// Loads the octet at X + k.
pub(super) const LOAD_BYTE_INDIRECT: u16 = 0x50;
pub(super) const ADD: u16 = 0x04;
pub(super) const SHIFT_LEFT: u16 = 0x64;
/// Copies the accumulator to X.
pub(super) const TO_X: u16 = 0x07;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const RETURN: u16 = 0x06;

/// Negative offsets that stand for the packet's metadata (`SKF_AD_OFF` of linux/filter.h).
const METADATA: u32 = 0xffff_f000;
pub(super) const ETHER_TYPE: u32 = METADATA;
const PACKET_TYPE: u32 = METADATA + 4;
const VLAN_TAG_PRESENT: u32 = METADATA + 48;
/// Negative offsets from the link-layer header on, whatever the socket's kind (`SKF_LL_OFF`).
/// There is no use of `SKF_NET_OFF`: such loads do not see what drivers leave in page fragments,
/// which the IP header may be in.
const LINK: u32 = 0xffe0_0000;

const PACKET_HOST: u32 = 0;
const PACKET_MULTICAST: u32 = 2;

const ACCEPT: Instruction = instruction(RETURN, 0, 0, u32::MAX);
const DROP: Instruction = instruction(RETURN, 0, 0, 0);

/// Accepts nothing.
pub(super) fn nothing() -> Vec<Instruction> {
    vec![DROP]
}

/// Accepts untagged frames that are for the interface's own address or for one of the two groups'
/// (WIRE.md "On the link" 2) and hold an Xcast packet: IPv4 of the Xcast protocol, or IPv6 whose
/// first extension header, or first behind Hop-by-Hop, is the Xcast routing header; with `envelopes`
/// also packets in semi-permeable tunnels.
///
/// `ip_at` is where the socket's data has the IP header: 14 with `SOCK_RAW` on Ethernet, 0 with
/// `SOCK_DGRAM`.
pub(super) fn xcast(code_points: &CodePoints, envelopes: bool, ip_at: u32) -> Vec<Instruction> {
    const HOP_BY_HOP: u32 = ipv6::next_header::HOP_BY_HOP as u32;
    const ROUTING: u32 = ipv6::next_header::ROUTING as u32;
    let routing_type = u32::from(code_points.routing_type);
    let (next_header, extension) = (ip_at + 6, ip_at + ipv6::HEADER_LEN as u32);
    let ipv4 = || is(LOAD_HALF, ETHER_TYPE, u32::from(ethernet::TYPE_IPV4));
    let ipv6 = || is(LOAD_HALF, ETHER_TYPE, u32::from(ethernet::TYPE_IPV6));
    let protocol = is(LOAD_BYTE, ip_at + 9, u32::from(code_points.ip_protocol));
    let behind_hop_by_hop = Test {
        load: vec![
            // Hop-by-Hop's length in 8-octet units, not counting the first.
            instruction(LOAD_BYTE, 0, 0, extension + 1),
            instruction(ADD, 0, 0, 1),
            instruction(SHIFT_LEFT, 0, 0, 3),
            instruction(TO_X, 0, 0, 0),
            instruction(LOAD_BYTE_INDIRECT, 0, 0, extension + 2),
        ],
        value: routing_type,
    };
    let opening = u32::from_be_bytes(semi_permeable::opening(code_points.hop_by_hop_option));
    let enveloped = block(
        &[ipv6(), is(LOAD_BYTE, next_header, HOP_BY_HOP), is(LOAD_WORD, extension, opening)],
        ACCEPT,
    );
    [
        to_us_or_else_drop(code_points),
        block(&[is(LOAD_BYTE, VLAN_TAG_PRESENT, 1)], DROP),
        block(&[ipv4(), protocol], ACCEPT),
        block(
            &[
                ipv6(),
                is(LOAD_BYTE, next_header, ROUTING),
                is(LOAD_BYTE, extension + 2, routing_type),
            ],
            ACCEPT,
        ),
        block(
            &[
                ipv6(),
                is(LOAD_BYTE, next_header, HOP_BY_HOP),
                is(LOAD_BYTE, extension, ROUTING),
                behind_hop_by_hop,
            ],
            ACCEPT,
        ),
        if envelopes { enveloped } else { Vec::new() },
        vec![DROP],
    ]
    .concat()
}

/// Goes on behind itself with frames to the interface's own address or to the groups'.
fn to_us_or_else_drop(code_points: &CodePoints) -> Vec<Instruction> {
    let group = |address: [u8; 6], behind: u32| {
        let [a, b, c, d, e, f] = address;
        let tests = [
            is(LOAD_BYTE, PACKET_TYPE, PACKET_MULTICAST),
            is(LOAD_WORD, LINK, u32::from_be_bytes([a, b, c, d])),
            is(LOAD_HALF, LINK + 4, u32::from(u16::from_be_bytes([e, f]))),
        ];
        block(&tests, instruction(JUMP, 0, 0, behind))
    };
    // Written from its end, as each way out jumps over what is behind it.
    let v6 = group(ethernet::group_address_v6(code_points.all_routers_v6), 1);
    let v4 = group(ethernet::group_address(code_points.all_routers_v4), v6.len() as u32 + 1);
    let behind = (v4.len() + v6.len()) as u32 + 1;
    let own = [is(LOAD_BYTE, PACKET_TYPE, PACKET_HOST)];
    [block(&own, instruction(JUMP, 0, 0, behind)), v4, v6, vec![DROP]].concat()
}

/// What is loaded into the accumulator, and the value it must have. A load behind the packet's
/// end drops the packet at once.
struct Test {
    load: Vec<Instruction>,
    value: u32,
}

fn is(load: u16, offset: u32, value: u32) -> Test {
    Test { load: vec![instruction(load, 0, 0, offset)], value }
}

/// Tests that must all hold to come to `end`; where one does not, what follows the block is next.
fn block(tests: &[Test], end: Instruction) -> Vec<Instruction> {
    let mut program = vec![end];
    for test in tests.iter().rev() {
        let over = program.len() as u8;
        let jump = instruction(JUMP_EQUAL, 0, over, test.value);
        program.splice(0..0, test.load.iter().copied().chain([jump]));
    }
    program
}

pub(super) const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
pub(super) mod tests;

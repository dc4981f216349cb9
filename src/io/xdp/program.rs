//! The XDP program, put together here and loaded by `bpf.rs`: it redirects Xcast packets to the
//! sockets of the queues they came in by, and lets everything else pass to the kernel's stack.
//!
//! As in `filter.rs`, the program is a row of blocks. Each makes sure that the frame is as long as
//! its tests need, and where one fails the next block begins. Another kind of packets (tunnels:
//! IPv4, UDP to the tunnel port) is another block in front of the last one.

use std::os::fd::RawFd;

use crate::wire::{CodePoints, ethernet, ipv6, semi_permeable};

/// One instruction, as the kernel has it (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    code: u8,
    /// The destination in the low four bits, the source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Codes of linux/bpf.h, as their parts.
const LOAD_BYTE: u8 = 0x71;
const LOAD_HALF: u8 = 0x69;
const LOAD_WORD: u8 = 0x61;
const LOAD_WIDE_IMMEDIATE: u8 = 0x18;
const MOVE: u8 = 0xbf;
const MOVE_IMMEDIATE: u8 = 0xb7;
const ADD_IMMEDIATE: u8 = 0x07;
const SHIFT_LEFT_IMMEDIATE: u8 = 0x67;
const JUMP: u8 = 0x05;
/// If the destination is greater than the source.
const JUMP_GREATER: u8 = 0x2d;
/// Of the lower 32 bits.
const JUMP_NOT_EQUAL: u8 = 0x56;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// Says that a wide immediate is a map's descriptor (`BPF_PSEUDO_MAP_FD`).
const MAP_DESCRIPTOR: u8 = 1;
const REDIRECT_MAP: i32 = 51;
/// `bpf_xdp_load_bytes` (since Linux 5.18).
const LOAD_BYTES: i32 = 189;
const XDP_PASS: i32 = 2;

// Registers: what is returned; the frame's beginning and end; room; the stack, which ends there.
const RESULT: u8 = 0;
const CONTEXT: u8 = 6;
const FRAME: u8 = 2;
const END: u8 = 3;
const LIMIT: u8 = 4;
const VALUE: u8 = 5;
const STACK: u8 = 10;
/// An octet of the stack.
const ROOM: i16 = -1;

// Where `struct xdp_md` has them.
const CONTEXT_FRAME: i16 = 0;
const CONTEXT_END: i16 = 4;
const CONTEXT_QUEUE: i16 = 16;

const IP_AT: i16 = ethernet::HEADER_LEN as i16;
const ETHER_TYPE_AT: i16 = 12;

/// The program for an interface with this link-layer address: takes untagged frames that are for
/// the interface or for one of the groups and hold an Xcast packet, as the filter of packet
/// sockets does, with `envelopes` also packets in semi-permeable tunnels. `map` is the descriptor of
/// the sockets' [`Map`].
pub(super) fn redirect(
    code_points: &CodePoints,
    envelopes: bool,
    own: [u8; 6],
    map: RawFd,
) -> Vec<Step> {
    const HOP_BY_HOP: u8 = ipv6::next_header::HOP_BY_HOP;
    const ROUTING: u8 = ipv6::next_header::ROUTING;
    const NEXT_HEADER: i16 = IP_AT + 6;
    const EXTENSION: i16 = IP_AT + ipv6::HEADER_LEN as i16;
    let xcast4 = [ether_type(ethernet::TYPE_IPV4), byte(IP_AT + 9, code_points.ip_protocol)];
    let xcast6 = [
        ether_type(ethernet::TYPE_IPV6),
        byte(NEXT_HEADER, ROUTING),
        byte(EXTENSION + 2, code_points.routing_type),
    ];
    let behind_hop_by_hop = [
        ether_type(ethernet::TYPE_IPV6),
        byte(NEXT_HEADER, HOP_BY_HOP),
        byte(EXTENSION, ROUTING),
        // Its length in 8-octet units, not counting the first.
        Test::Behind(EXTENSION + 1, EXTENSION + 2, code_points.routing_type),
    ];
    let opening = semi_permeable::opening(code_points.hop_by_hop_option);
    let enveloped = [
        ether_type(ethernet::TYPE_IPV6),
        byte(NEXT_HEADER, HOP_BY_HOP),
        Test::Is(LOAD_WORD, EXTENSION, i32::from_ne_bytes(opening)),
    ];
    let addresses = [
        own,
        ethernet::group_address(code_points.all_routers_v4),
        ethernet::group_address_v6(code_points.all_routers_v6),
    ];

    // Written from its end, as each way out jumps over what is behind it.
    let take = hand_over(map);
    let pass = [step(MOVE_IMMEDIATE, RESULT, 0, 0, XDP_PASS), step(EXIT, 0, 0, 0, 0)];
    let mut program = [&pass[..], &take].concat();
    let mut kinds = vec![&behind_hop_by_hop[..], &xcast6, &xcast4];
    if envelopes {
        // In front of the one that uses the registers up.
        kinds.insert(1, &enveloped);
    }
    for tests in kinds {
        let over = program.len() - take.len();
        program.splice(0..0, block(tests, jump(over)));
    }
    let ours = program.len();
    program.insert(0, jump(program.len() - take.len() - pass.len()));
    for [a, b, c, d, e, f] in addresses.into_iter().rev() {
        let tests = [
            Test::Is(LOAD_WORD, 0, i32::from_ne_bytes([a, b, c, d])),
            Test::Is(LOAD_HALF, 4, i32::from(u16::from_ne_bytes([e, f]))),
        ];
        let over = program.len() - ours;
        program.splice(0..0, block(&tests, jump(over)));
    }
    let opening = [
        step(MOVE, CONTEXT, 1, 0, 0),
        step(LOAD_WORD, FRAME, CONTEXT, CONTEXT_FRAME, 0),
        step(LOAD_WORD, END, CONTEXT, CONTEXT_END, 0),
    ];
    [&opening[..], &program].concat()
}

/// Returns the verdict of redirecting the frame to the socket of its queue; without one it passes.
fn hand_over(map: RawFd) -> Vec<Step> {
    const MAP: u8 = 1;
    const QUEUE: u8 = 2;
    const OTHERWISE: u8 = 3;
    vec![
        step(LOAD_WORD, QUEUE, CONTEXT, CONTEXT_QUEUE, 0),
        step(LOAD_WIDE_IMMEDIATE, MAP, MAP_DESCRIPTOR, 0, map),
        step(0, 0, 0, 0, 0), // its upper half
        step(MOVE_IMMEDIATE, OTHERWISE, 0, 0, XDP_PASS),
        step(CALL, 0, 0, 0, REDIRECT_MAP),
        step(EXIT, 0, 0, 0, 0),
    ]
}

/// What a block asks of a frame.
enum Test {
    /// What is loaded from an offset is this, as the processor reads it from memory.
    Is(u8, i16, i32),
    /// An octet that lies behind the second offset by as many units of 8 octets as the octet at the
    /// first offset says, and one more. Only as the last test of all, as it uses the registers up.
    Behind(i16, i16, u8),
}

impl Test {
    /// How long the frame must be, in octets.
    fn needs(&self) -> i32 {
        match *self {
            Test::Is(LOAD_WORD, offset, _) => i32::from(offset) + 4,
            Test::Is(LOAD_HALF, offset, _) => i32::from(offset) + 2,
            Test::Is(_, offset, _) | Test::Behind(offset, ..) => i32::from(offset) + 1,
        }
    }
}

fn byte(offset: i16, value: u8) -> Test {
    Test::Is(LOAD_BYTE, offset, value.into())
}

fn ether_type(value: u16) -> Test {
    Test::Is(LOAD_HALF, ETHER_TYPE_AT, value.to_be().into())
}

/// Tests that must all hold to come to `end`; where one does not, what follows the block is next.
fn block(tests: &[Test], end: Step) -> Vec<Step> {
    let mut block = vec![end];
    for test in tests.iter().rev() {
        let is_not = |value| step(JUMP_NOT_EQUAL, VALUE, 0, block.len() as i16, value);
        let steps = match *test {
            Test::Is(load, offset, value) => {
                vec![step(load, VALUE, FRAME, offset, 0), is_not(value)]
            }
            Test::Behind(units, offset, value) => {
                let found = [step(LOAD_BYTE, VALUE, STACK, ROOM, 0), is_not(value.into())];
                [&load_behind(units, offset, block.len() + found.len())[..], &found].concat()
            }
        };
        block.splice(0..0, steps);
    }
    // What is tested must be there, or the kernel does not accept the program.
    let needs = tests.iter().map(Test::needs).max().unwrap_or_default();
    let over = block.len() as i16;
    let long_enough = [
        step(MOVE, LIMIT, FRAME, 0, 0),
        step(ADD_IMMEDIATE, LIMIT, 0, 0, needs),
        step(JUMP_GREATER, LIMIT, END, over, 0),
    ];
    block.splice(0..0, long_enough);
    block
}

/// Loads an octet of [`Test::Behind`] onto the stack; where it is not in the frame, jumps `over` what
/// follows. By a helper, as a pointer into the frame plus a number takes `CAP_PERFMON`.
fn load_behind(units: i16, offset: i16, over: usize) -> Vec<Step> {
    let [context, at, to, len] = [1, 2, 3, 4];
    vec![
        step(LOAD_BYTE, at, FRAME, units, 0),
        step(SHIFT_LEFT_IMMEDIATE, at, 0, 0, 3),
        step(ADD_IMMEDIATE, at, 0, 0, i32::from(offset) + 8),
        step(MOVE, context, CONTEXT, 0, 0),
        step(MOVE, to, STACK, 0, 0),
        step(ADD_IMMEDIATE, to, 0, 0, ROOM.into()),
        step(MOVE_IMMEDIATE, len, 0, 0, 1),
        step(CALL, 0, 0, 0, LOAD_BYTES),
        step(JUMP_NOT_EQUAL, RESULT, 0, over as i16, 0),
    ]
}

fn jump(over: usize) -> Step {
    step(JUMP, 0, 0, over as i16, 0)
}

const fn step(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Step {
    Step { code, registers: source << 4 | destination, offset, immediate }
}

#[cfg(test)]
mod tests;

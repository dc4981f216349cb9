//! The program, run by an interpreter of our own that allows what the kernel's verifier does.

use super::*;
use crate::io::filter::tests::{
    code_points, enveloped_or_not, ipv4, ipv6, options, routing, xcast_or_not,
};

const OWN: [u8; 6] = [2, 0, 0xfe, 0, 0, 0x81];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 0xfe];
const GROUP_V6: [u8; 6] = [0x33, 0x33, 0, 0, 1, 0x14];
const MAP: RawFd = 42;
const QUEUE: u64 = 3;
/// Where the frame lies in the interpreter's memory.
const BASE: u64 = 0x10_0000;
const CONTEXT_IS: u64 = 0x20_0000;
const STACK_IS: u64 = 0x30_0000;

/// Whether the program that takes no envelopes takes a frame. A load that is not inside it is a
/// defect.
fn takes(frame: &[u8]) -> bool {
    takes_with(false, frame)
}

fn takes_with(envelopes: bool, frame: &[u8]) -> bool {
    let program = redirect(&code_points(), envelopes, OWN, MAP);
    let end = BASE + frame.len() as u64;
    let mut registers = [0u64; 11];
    (registers[1], registers[10]) = (CONTEXT_IS, STACK_IS);
    let (mut at, mut room) = (0, None);
    loop {
        let Step { code, registers: pair, offset, immediate } = program[at];
        let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
        at += 1;
        let over = offset as usize;
        let load = |len: usize| {
            let start = registers[from] + offset as u64;
            assert!(start >= BASE && start + len as u64 <= end, "step {at} loads from outside");
            let start = (start - BASE) as usize;
            let mut octets = [0; 8];
            octets[..len].copy_from_slice(&frame[start..start + len]);
            u64::from_ne_bytes(octets)
        };
        match code {
            LOAD_WORD if from == usize::from(CONTEXT) => {
                registers[to] = match offset {
                    CONTEXT_FRAME => BASE,
                    CONTEXT_END => end,
                    CONTEXT_QUEUE => QUEUE,
                    _ => panic!("nothing is there"),
                }
            }
            LOAD_BYTE if (from, offset) == (10, ROOM) => registers[to] = room.unwrap(),
            LOAD_BYTE => registers[to] = load(1),
            LOAD_HALF => registers[to] = load(2),
            LOAD_WORD => registers[to] = load(4),
            LOAD_WIDE_IMMEDIATE => {
                assert_eq!((pair >> 4, program[at]), (MAP_DESCRIPTOR, step(0, 0, 0, 0, 0)));
                registers[to] = immediate as u64;
                at += 1;
            }
            MOVE => registers[to] = registers[from],
            MOVE_IMMEDIATE => registers[to] = immediate as u64,
            ADD_IMMEDIATE => registers[to] = registers[to].wrapping_add_signed(immediate.into()),
            SHIFT_LEFT_IMMEDIATE => registers[to] <<= immediate,
            JUMP => at += over,
            JUMP_GREATER if registers[to] > registers[from] => at += over,
            JUMP_NOT_EQUAL if registers[to] as u32 != immediate.cast_unsigned() => at += over,
            JUMP_GREATER | JUMP_NOT_EQUAL => {}
            CALL if immediate == LOAD_BYTES => {
                assert_eq!([registers[1], registers[4]], [CONTEXT_IS, 1]);
                assert_eq!(registers[3], STACK_IS.wrapping_add_signed(ROOM.into()));
                let octet = frame.get(registers[2] as usize);
                room = octet.map(|octet| u64::from(*octet));
                registers[..6].fill(u64::MAX);
                registers[0] = if octet.is_some() { 0 } else { -22i64 as u64 };
            }
            CALL => {
                assert_eq!(immediate, REDIRECT_MAP);
                assert_eq!(registers[1..4], [MAP as u64, QUEUE, XDP_PASS as u64]);
                return true;
            }
            EXIT => {
                assert_eq!(registers[0], XDP_PASS as u64);
                return false;
            }
            _ => panic!("no such step: {code:#x}"),
        }
    }
}

fn frame(destination: [u8; 6], ether_type: u16, packet: &[u8]) -> Vec<u8> {
    [&ethernet::header(destination, [2; 6], ether_type)[..], packet].concat()
}

#[test]
fn takes_packets_for_this_interface_and_the_groups_alone() {
    let xcast4 = (0x0800, ipv4(253));
    let xcast6 = (0x86dd, ipv6(43, &[&routing(252)]));
    for (ether_type, packet) in [xcast4, xcast6] {
        for (destination, taken) in [
            (OWN, true),
            (GROUP, true),
            (GROUP_V6, true),
            ([1, 0, 0x5e, 0, 0, 0xfb], false),
            ([0x33, 0x33, 0, 0, 1, 0x15], false),
            ([1, 0, 0x5e, 0, 1, 0x14], false), // half of each
            ([0xff; 6], false),
            ([2; 6], false),
            ([2, 0, 0xfe, 0, 0, 0x82], false),
            ([2, 0, 0xfe, 1, 0, 0x81], false),
        ] {
            let plain = frame(destination, ether_type, &packet);
            assert_eq!(takes(&plain), taken, "{ether_type:#x} {destination:x?}");
            let tag = [&[0, 5], &ether_type.to_be_bytes()[..], &packet].concat();
            assert!(!takes(&frame(destination, 0x8100, &tag)), "{destination:x?}, tagged");
        }
    }
}

#[test]
fn takes_xcast_alone() {
    for (ether_type, packet, taken) in xcast_or_not() {
        let head = &packet[..packet.len().min(50)];
        assert_eq!(takes(&frame(OWN, ether_type, &packet)), taken, "{head:?}");
    }
}

#[test]
fn takes_envelopes_where_they_are_wanted() {
    for (packet, taken) in enveloped_or_not() {
        let frame = frame(OWN, 0x86dd, &packet);
        assert_eq!(takes_with(true, &frame), taken, "{:?}", &packet[40..48]);
        assert!(!takes(&frame), "{:?}", &packet[40..48]);
    }
    for (ether_type, packet, taken) in xcast_or_not() {
        assert_eq!(takes_with(true, &frame(OWN, ether_type, &packet)), taken);
    }
    let whole = frame(OWN, 0x86dd, &enveloped_or_not()[0].0);
    for length in 0..whole.len() {
        assert_eq!(takes_with(true, &whole[..length]), length >= 14 + 44, "{length}");
    }
}

#[test]
fn lets_pass_what_is_cut_short() {
    let hop_by_hop = ipv6(0, &[&options(43, 2), &routing(252)]);
    for (ether_type, packet, needed) in [
        (0x0800, ipv4(253), 10),
        (0x86dd, ipv6(43, &[&routing(252)]), 40 + 3),
        (0x86dd, hop_by_hop, 40 + 16 + 3),
    ] {
        let whole = frame(OWN, ether_type, &packet);
        for length in 0..whole.len() {
            assert_eq!(takes(&whole[..length]), length >= 14 + needed, "{ether_type:#x} {length}");
        }
    }
}

#[test]
fn is_short_and_jumps_ahead_within_itself() {
    let programs = [false, true].map(|envelopes| redirect(&code_points(), envelopes, OWN, MAP));
    assert!(programs[0].len() < 80, "{}", programs[0].len());
    assert!(programs[1].len() < 90, "{}", programs[1].len());
    programs.iter().for_each(|program| assert_jumps_ahead(program));
}

fn assert_jumps_ahead(program: &[Step]) {
    for (at, step) in program.iter().enumerate() {
        if [JUMP, JUMP_GREATER, JUMP_NOT_EQUAL].contains(&step.code) {
            let target = at + 1 + usize::try_from(step.offset).unwrap();
            assert!(target < program.len(), "{at}");
        }
    }
    assert_eq!(program.last().map(|step| step.code), Some(EXIT));
}

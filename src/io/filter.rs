//! The classic BPF filter of a port's socket: only Xcast frames are copied up.

use crate::wire::CodePoints;
use crate::wire::ethernet;

/// One instruction, as the kernel has it (`struct sock_filter`).
type Instruction = libc::sock_filter;

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Negative offsets that stand for the packet's metadata (`SKF_AD_OFF` of linux/filter.h).
const METADATA: u32 = 0xffff_f000;
const PACKET_TYPE: u32 = METADATA + 4;
const VLAN_TAG_PRESENT: u32 = METADATA + 48;

const PACKET_HOST: u32 = 0;
const PACKET_MULTICAST: u32 = 2;

const ACCEPT: u32 = u32::MAX;

/// Accepts untagged frames that are for this port's own address or for the group's (WIRE.md "On
/// the link" 2) and hold an IPv4 packet of the Xcast protocol.
pub(super) fn xcast(code_points: &CodePoints) -> Vec<Instruction> {
    let [a, b, c, d, e, f] = ethernet::group_address(code_points.all_routers_v4);
    let (high, low) = (u32::from_be_bytes([a, b, c, d]), u32::from(u16::from_be_bytes([e, f])));
    // A condition falls through to the next instruction where it holds, and jumps to the last,
    // which drops, where it does not; only the test of the packet type has a second way.
    const LENGTH: u8 = 15;
    let load = |code, offset| instruction(code, 0, 0, offset);
    let require = |at: u8, value| instruction(JUMP_EQUAL, 0, LENGTH - 2 - at, value);
    vec![
        load(LOAD_BYTE, PACKET_TYPE),
        instruction(JUMP_EQUAL, 5, 0, PACKET_HOST), // to the VLAN test
        require(2, PACKET_MULTICAST),
        load(LOAD_WORD, 0),
        require(4, high),
        load(LOAD_HALF, 4),
        require(6, low),
        load(LOAD_BYTE, VLAN_TAG_PRESENT),
        require(8, 0),
        load(LOAD_HALF, 12),
        require(10, u32::from(ethernet::TYPE_IPV4)),
        load(LOAD_BYTE, 14 + 9),
        require(12, u32::from(code_points.ip_protocol)),
        instruction(RETURN, 0, 0, ACCEPT),
        instruction(RETURN, 0, 0, 0),
    ]
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// What the kernel would answer: whether the frame is accepted.
    fn run(program: &[Instruction], packet_type: u32, vlan: bool, frame: &[u8]) -> bool {
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let bytes = |n: usize| frame.get(k as usize..k as usize + n);
            let loaded = match (code, k) {
                (LOAD_BYTE, PACKET_TYPE) => Some(packet_type),
                (LOAD_BYTE, VLAN_TAG_PRESENT) => Some(u32::from(vlan)),
                (LOAD_BYTE, _) => bytes(1).map(|b| u32::from(b[0])),
                (LOAD_HALF, _) => bytes(2).map(|b| u32::from(u16::from_be_bytes([b[0], b[1]]))),
                (LOAD_WORD, _) => bytes(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])),
                (JUMP_EQUAL, _) => {
                    at += usize::from(if accumulator == k { jt } else { jf });
                    continue;
                }
                (RETURN, _) => return k != 0,
                _ => panic!("no such instruction: {code:#x}"),
            };
            // A load behind the end of the frame drops it.
            let Some(loaded) = loaded else { return false };
            accumulator = loaded;
        }
    }

    fn program() -> Vec<Instruction> {
        xcast(&CodePoints {
            ip_protocol: 253,
            all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
            all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
            routing_type: 253,
            ports_option: 0x5e,
        })
    }

    fn frame(destination: [u8; 6], ether_type: u16, protocol: u8) -> Vec<u8> {
        let mut frame = ethernet::header(destination, [2; 6], ether_type).to_vec();
        frame.extend([0; 20]);
        frame[23] = protocol;
        frame
    }

    #[test]
    fn accepts_xcast_frames_for_this_port_and_the_group_alone() {
        const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
        const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 0xfe];
        const OTHER_GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 0xfb];
        for (packet_type, vlan, destination, ether_type, protocol, accepted) in [
            (0, false, OWN, 0x0800, 253, true),
            (2, false, GROUP, 0x0800, 253, true),
            (2, false, OTHER_GROUP, 0x0800, 253, false),
            (1, false, [0xff; 6], 0x0800, 253, false), // broadcast
            (3, false, [2; 6], 0x0800, 253, false),    // another station's
            (4, false, OWN, 0x0800, 253, false),       // our own, outgoing
            (0, true, OWN, 0x0800, 253, false),
            (0, false, OWN, 0x86dd, 253, false),
            (0, false, OWN, 0x0800, 17, false),
        ] {
            let frame = frame(destination, ether_type, protocol);
            let case = (packet_type, vlan, destination, ether_type, protocol);
            assert_eq!(run(&program(), packet_type, vlan, &frame), accepted, "{case:?}");
        }
        assert!(!run(&program(), 0, false, &frame(OWN, 0x0800, 253)[..23]), "cut short");
    }
}

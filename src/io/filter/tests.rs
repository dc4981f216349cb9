//! The program, run by an interpreter of our own, which knows the instructions of `fanout.rs`, too.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::fanout::{
    ADD_X, IPV4_LENGTH_TO_X, LOAD_VALUE, LOAD_WORD_INDIRECT, MULTIPLY, RECALL, RECALL_X, RETURN_IT,
    SHIFT_RIGHT, STORE, STORE_X, XOR_X,
};
use super::*;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 0xfe];
const GROUP_V6: [u8; 6] = [0x33, 0x33, 0, 0, 1, 0x14];

/// A packet as the kernel has it while a program runs.
#[derive(Clone)]
pub(in super::super) struct Arrival {
    pub(in super::super) packet_type: u32,
    pub(in super::super) vlan: bool,
    pub(in super::super) frame: Vec<u8>,
}

/// What the kernel would answer: of a filter, 0 if the packet is not accepted. `data_at` is where
/// in the frame the program's data begins.
pub(in super::super) fn run(program: &[Instruction], arrival: &Arrival, data_at: usize) -> u32 {
    let Arrival { packet_type, vlan, frame } = arrival;
    let (mut accumulator, mut x, mut at) = (0u32, 0, 0);
    let mut words = [None; 16];
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let offset = match k {
            LINK..METADATA => (k - LINK) as usize,
            _ => data_at + k as usize,
        };
        let bytes = |offset: usize, n: usize| {
            let bytes = frame.get(offset..offset + n)?;
            Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
        };
        let loaded = match (code, k) {
            (LOAD_BYTE, PACKET_TYPE) => Some(*packet_type),
            (LOAD_BYTE, VLAN_TAG_PRESENT) => Some(u32::from(*vlan)),
            (LOAD_HALF, ETHER_TYPE) => bytes(12, 2),
            (LOAD_BYTE, _) => bytes(offset, 1),
            (LOAD_HALF, _) => bytes(offset, 2),
            (LOAD_WORD, _) => bytes(offset, 4),
            (LOAD_BYTE_INDIRECT, _) => bytes(offset + x, 1),
            (LOAD_WORD_INDIRECT, _) => bytes(offset + x, 4),
            (LOAD_VALUE, _) => Some(k),
            (ADD, _) => Some(accumulator + k),
            (ADD_X, _) => Some(accumulator.wrapping_add(x as u32)),
            (XOR_X, _) => Some(accumulator ^ x as u32),
            (MULTIPLY, _) => Some(accumulator.wrapping_mul(k)),
            (SHIFT_RIGHT, _) => Some(accumulator >> k),
            (RECALL, _) => Some(words[k as usize].expect("the kernel refuses what is not set")),
            (STORE, _) => {
                words[k as usize] = Some(accumulator);
                continue;
            }
            (RECALL_X, _) => {
                let word: Option<u32> = words[k as usize];
                x = word.expect("the kernel refuses what is not set") as usize;
                continue;
            }
            (STORE_X, _) => {
                words[k as usize] = Some(x as u32);
                continue;
            }
            (IPV4_LENGTH_TO_X, _) => {
                let Some(octet) = bytes(offset, 1) else { return 0 };
                x = (octet as usize & 15) * 4;
                continue;
            }
            (SHIFT_LEFT, _) => Some(accumulator << k),
            (TO_X, _) => {
                x = accumulator as usize;
                continue;
            }
            (JUMP, _) => {
                at += k as usize;
                continue;
            }
            (JUMP_EQUAL, _) => {
                at += usize::from(if accumulator == k { jt } else { jf });
                continue;
            }
            (RETURN, _) => return k,
            (RETURN_IT, _) => return accumulator,
            _ => panic!("no such instruction: {code:#x}"),
        };
        // A load behind the end of the packet drops it.
        let Some(loaded) = loaded else { return 0 };
        accumulator = loaded;
    }
}

pub(in super::super) fn code_points() -> CodePoints {
    CodePoints {
        ip_protocol: 253,
        all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
        all_routers_v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114),
        routing_type: 252,
        ports_option: 0x5e,
        hop_by_hop_option: 0x1e,
    }
}

/// What both programs answer that take no envelopes: the one for frames, and the one for packets
/// without them.
fn accepts(arrival: &Arrival) -> bool {
    accepts_with(false, arrival)
}

fn accepts_with(envelopes: bool, arrival: &Arrival) -> bool {
    let [frames, packets] = [14, 0].map(|ip_at| xcast(&code_points(), envelopes, ip_at));
    let accepted = run(&frames, arrival, 0) != 0;
    assert_eq!(run(&packets, arrival, 14) != 0, accepted, "SOCK_RAW and SOCK_DGRAM differ");
    accepted
}

fn arrival(packet_type: u32, destination: [u8; 6], ether_type: u16, packet: &[u8]) -> Arrival {
    let header = ethernet::header(destination, [2; 6], ether_type);
    Arrival { packet_type, vlan: false, frame: [&header, packet].concat() }
}

pub(in super::super) fn ipv4(protocol: u8) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[9] = protocol;
    packet
}

/// An IPv6 packet with these extension headers, one behind the other.
pub(in super::super) fn ipv6(first: u8, extensions: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[6] = first;
    [packet, extensions.concat()].concat()
}

pub(in super::super) fn routing(kind: u8) -> Vec<u8> {
    let mut header = vec![0; 48];
    (header[0], header[1], header[2]) = (17, 5, kind);
    header
}

/// Hop-by-Hop or Destination Options of `units` times 8 octets.
pub(in super::super) fn options(next: u8, units: u16) -> Vec<u8> {
    let mut header = vec![0; usize::from(units) * 8];
    (header[0], header[1]) = (next, (units - 1) as u8);
    header
}

#[test]
fn accepts_packets_for_this_interface_and_the_groups_alone() {
    const OTHER_GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 0xfb];
    const OTHER_GROUP_V6: [u8; 6] = [0x33, 0x33, 0, 0, 1, 0x15];
    let xcast4 = (0x0800, ipv4(253));
    let xcast6 = (0x86dd, ipv6(43, &[&routing(252)]));
    for (ether_type, packet) in [xcast4, xcast6] {
        for (packet_type, destination, accepted) in [
            (0, OWN, true),
            (2, GROUP, true),
            (2, GROUP_V6, true),
            (2, OTHER_GROUP, false),
            (2, OTHER_GROUP_V6, false),
            (2, [1, 0, 0x5e, 0, 1, 0x14], false), // half of each
            (1, [0xff; 6], false),                // broadcast
            (3, [2; 6], false),                   // another station's
            (4, OWN, false),                      // our own, outgoing
        ] {
            let mut arrival = arrival(packet_type, destination, ether_type, &packet);
            let case = format!("{ether_type:#x} {packet_type} {destination:x?}");
            assert_eq!(accepts(&arrival), accepted, "{case}");
            arrival.vlan = true;
            assert!(!accepts(&arrival), "{case}, tagged");
        }
    }
}

/// EtherTypes and packets, and whether they are Xcast: what every program is to agree on.
pub(in super::super) fn xcast_or_not() -> Vec<(u16, Vec<u8>, bool)> {
    let (long, longest) = (options(43, 200), options(43, 256));
    vec![
        (0x0800, ipv4(253), true),
        (0x0800, ipv4(252), false),
        (0x0800, ipv4(17), false),
        (0x86dd, ipv4(253), false),
        (0x86dd, ipv6(43, &[&routing(252)]), true),
        (0x86dd, ipv6(43, &[&routing(253)]), false),
        (0x86dd, ipv6(43, &[&routing(0)]), false),
        (0x86dd, ipv6(17, &[&routing(252)]), false),
        (0x86dd, ipv6(0, &[&options(43, 1), &routing(252)]), true),
        (0x86dd, ipv6(0, &[&options(43, 2), &routing(252)]), true),
        (0x86dd, ipv6(0, &[&long, &routing(252)]), true),
        (0x86dd, ipv6(0, &[&longest, &routing(252)]), true),
        (0x86dd, ipv6(0, &[&options(43, 2), &routing(4)]), false),
        (0x86dd, ipv6(0, &[&options(17, 2), &routing(252)]), false),
        // Behind Destination Options, or behind a second Hop-by-Hop.
        (0x86dd, ipv6(60, &[&options(43, 1), &routing(252)]), false),
        (0x86dd, ipv6(0, &[&options(60, 1), &options(43, 1), &routing(252)]), false),
        (0x86dd, ipv6(0, &[&options(0, 1), &options(43, 1), &routing(252)]), false),
        (0x0800, ipv6(43, &[&routing(252)]), false),
        (0x0806, ipv4(253), false),
    ]
}

/// IPv6 packets that begin with a Hop-by-Hop header of these octets, and whether they are in envelopes.
pub(in super::super) fn enveloped_or_not() -> Vec<(Vec<u8>, bool)> {
    let packet = |header: [u8; 8]| ipv6(0, &[&header, &ipv6(43, &[&routing(252)])]);
    let mut destination = packet([41, 0, 0x1e, 0, 1, 2, 0, 0]);
    destination[6] = 60;
    vec![
        (packet([41, 0, 0x1e, 0, 1, 2, 0, 0]), true),
        (packet([41, 0, 0x1e, 0, 0, 0, 0, 0]), true),
        (packet([41, 0, 0x3e, 0, 1, 2, 0, 0]), false),
        (packet([41, 0, 0x1e, 4, 0, 0, 0, 0]), false),
        (packet([41, 0, 1, 0, 0x1e, 0, 0, 0]), false),
        (packet([41, 1, 0x1e, 0, 1, 2, 0, 0]), false),
        (packet([17, 0, 0x1e, 0, 1, 2, 0, 0]), false),
        (destination, false),
    ]
}

#[test]
fn accepts_envelopes_where_they_are_wanted() {
    for (packet, accepted) in enveloped_or_not() {
        let arrival = arrival(0, OWN, 0x86dd, &packet);
        assert_eq!(accepts_with(true, &arrival), accepted, "{:?}", &packet[40..48]);
        assert!(!accepts(&arrival), "{:?}", &packet[40..48]);
    }
    for (ether_type, packet, accepted) in xcast_or_not() {
        assert_eq!(accepts_with(true, &arrival(0, OWN, ether_type, &packet)), accepted);
    }
    let (packet, _) = enveloped_or_not().remove(0);
    for length in 0..packet.len() {
        let arrival = arrival(0, OWN, 0x86dd, &packet[..length]);
        assert_eq!(accepts_with(true, &arrival), length >= 44, "{length}");
    }
}

#[test]
fn accepts_xcast_alone() {
    for (ether_type, packet, accepted) in xcast_or_not() {
        let head = &packet[..packet.len().min(50)];
        assert_eq!(accepts(&arrival(0, OWN, ether_type, &packet)), accepted, "{head:?}");
    }
}

#[test]
fn drops_what_is_cut_short() {
    let hop_by_hop = ipv6(0, &[&options(43, 2), &routing(252)]);
    for (ether_type, packet, needed) in [
        (0x0800, ipv4(253), 10),
        (0x86dd, ipv6(43, &[&routing(252)]), 40 + 3),
        (0x86dd, hop_by_hop, 40 + 16 + 3),
    ] {
        for length in 0..packet.len() {
            let arrival = arrival(0, OWN, ether_type, &packet[..length]);
            assert_eq!(accepts(&arrival), length >= needed, "{ether_type:#x} {length}");
        }
    }
}

#[test]
fn is_well_formed_for_the_kernel() {
    let program = xcast(
        &CodePoints {
            ip_protocol: 0,
            all_routers_v4: Ipv4Addr::UNSPECIFIED,
            all_routers_v6: Ipv6Addr::UNSPECIFIED,
            routing_type: 0,
            ports_option: 0,
            hop_by_hop_option: 0x1e,
        },
        true,
        14,
    );
    for (at, step) in program.iter().enumerate() {
        let jump = match step.code {
            JUMP => step.k as usize,
            JUMP_EQUAL => usize::from(step.jt.max(step.jf)),
            _ => 0,
        };
        assert!(at + jump + 1 < program.len() || step.code == RETURN, "{at}");
    }
    assert_eq!(program.last().map(|step| (step.code, step.k)), Some((RETURN, 0)));
}

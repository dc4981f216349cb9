//! Whole packets, before and after, byte for byte. All bytes are written by hand from WIRE.md's
//! tables and the RFCs; sums are given in front of each checksum.

use super::*;

/// To B (port 8080, EF), D (9000, AF41) and C (80, AF31), each with a DS byte and a port.
#[rustfmt::skip]
const FROM_HOST_V4: [u8; 70] = [
    // ECN is ECT(0); DF; 1c380 without the checksum
    0x45, 0x02, 0, 70, 0x12, 0x34, 0x40, 0, 64, 253, 0x3c, 0x7e, 10, 0, 0, 9, 224, 0, 0, 254,
    // version 1, D, P; 3 destinations; 285ac; channel 7; UDP; 10 words
    0x13, 3, 0x7a, 0x51, 0, 0, 0, 7, 17, 10, 0, 0,
    0xe0, 0, 0, 0,
    10, 1, 0, 1, 10, 2, 0, 1, 10, 1, 0, 2,
    0xb8, 0x88, 0x68, 0,
    0x1f, 0x90, 0x23, 0x28, 0, 80, 0, 0,
    // to port 0; 1671d over the group
    0x13, 0x88, 0, 0, 0, 10, 0x98, 0xe1, b'h', b'i',
];

#[rustfmt::skip]
const TO_B_AND_C_V4: [u8; 70] = [
    // EF, the most demanding of both; TTL 63; 1c338
    0x45, 0xba, 0, 70, 0x12, 0x34, 0x40, 0, 63, 253, 0x3c, 0xc6, 10, 0, 0, 9, 224, 0, 0, 254,
    0x13, 3, 0xba, 0x51, 0, 0, 0, 7, 17, 10, 0, 0, // 245ac
    0xa0, 0, 0, 0,
    10, 1, 0, 1, 10, 2, 0, 1, 10, 1, 0, 2,
    0xb8, 0x88, 0x68, 0,
    0x1f, 0x90, 0x23, 0x28, 0, 80, 0, 0,
    0x13, 0x88, 0, 0, 0, 10, 0x98, 0xe1, b'h', b'i',
];

#[rustfmt::skip]
const COMPACT_TO_B_AND_C_V4: [u8; 62] = [
    0x45, 0xba, 0, 62, 0x12, 0x34, 0x40, 0, 63, 253, 0x3c, 0xce, 10, 0, 0, 9, 224, 0, 0, 254, // 1c330
    0x13, 2, 0x2f, 0xa0, 0, 0, 0, 7, 17, 8, 0, 0, // 1d05e
    0xc0, 0, 0, 0,
    10, 1, 0, 1, 10, 1, 0, 2,
    0xb8, 0x68, 0, 0,
    0x1f, 0x90, 0, 80,
    0x13, 0x88, 0, 0, 0, 10, 0x98, 0xe1, b'h', b'i',
];

#[rustfmt::skip]
const TO_D_V4: [u8; 30] = [
    // AF41 with the packet's ECN; UDP; to D; eaf9
    0x45, 0x8a, 0, 30, 0x12, 0x34, 0x40, 0, 63, 17, 0x15, 0x06, 10, 0, 0, 9, 10, 2, 0, 1,
    0x13, 0x88, 0x23, 0x28, 0, 10, 0x4c, 0xb5, b'h', b'i', // b34a
];

/// To B (port 8080), D (9000) and C (80), the ports in a Destination Options header.
#[rustfmt::skip]
const FROM_HOST_V6: [u8; 146] = [
    // EF and ECT(1), flow label abcde, 106 octets, Routing, hop limit 64
    0x6b, 0x9a, 0xbc, 0xde, 0, 106, 43, 64,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
    0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x14,
    // Destination Options, 10 x 8 octets, routing type 253; version 1, 3 destinations; 2b246
    60, 9, 253, 0, 0x10, 3, 0x4d, 0xb7,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
    0xe0, 0, 0, 0, 0, 0, 0, 0,
    0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x20, 0x01, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    // UDP, 2 x 8 octets, the option, its 6 octets, PadN
    17, 1, 0x5e, 6, 0x1f, 0x90, 0x23, 0x28, 0, 80, 1, 4, 0, 0, 0, 0,
    // to port 0; 1a9ee over the group
    0x13, 0x88, 0, 0, 0, 10, 0x56, 0x10, b'h', b'i',
];

#[rustfmt::skip]
const TO_B_AND_C_V6: [u8; 146] = [
    0x6b, 0x9a, 0xbc, 0xde, 0, 106, 43, 63,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
    0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x14,
    60, 9, 253, 0, 0x10, 3, 0x8d, 0xb7, // 27246
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
    0xa0, 0, 0, 0, 0, 0, 0, 0,
    0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x20, 0x01, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    17, 1, 0x5e, 6, 0x1f, 0x90, 0x23, 0x28, 0, 80, 1, 4, 0, 0, 0, 0,
    0x13, 0x88, 0, 0, 0, 10, 0x56, 0x10, b'h', b'i',
];

#[rustfmt::skip]
const TO_D_V6: [u8; 50] = [
    // 10 octets, UDP, hop limit 63, to D
    0x6b, 0x9a, 0xbc, 0xde, 0, 10, 17, 63,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
    0x20, 0x01, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x13, 0x88, 0x23, 0x28, 0, 10, 0x05, 0x43, b'h', b'i', // fabc
];

/// To B (EF), D (AF41) and C (AF31) without ports.
#[rustfmt::skip]
const WITH_DS_BYTES_V6: [u8; 138] = [
    0x60, 0x1a, 0xbc, 0xde, 0, 98, 43, 64,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
    0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x14,
    17, 10, 253, 0, 0x12, 3, 0x56, 0x2d, // 3a9cf
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
    0xe0, 0, 0, 0, 0, 0, 0, 0,
    0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x20, 0x01, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    0xb8, 0x88, 0x68, 0, 0, 0, 0, 0,
    0x13, 0x88, 0, 0, 0, 10, 0x56, 0x10, b'h', b'i',
];

#[rustfmt::skip]
const COMPACT_TO_B_AND_C_V6: [u8; 122] = [
    // EF with the packet's ECN, 82 octets
    0x6b, 0x9a, 0xbc, 0xde, 0, 82, 43, 63,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
    0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x14,
    17, 8, 253, 0, 0x12, 2, 0x0c, 0x0d, // 2f3f0
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
    0xc0, 0, 0, 0, 0, 0, 0, 0,
    0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    0xb8, 0x68, 0, 0, 0, 0, 0, 0,
    0x13, 0x88, 0, 0, 0, 10, 0x56, 0x10, b'h', b'i',
];

/// Where the copies go, and their bytes.
fn copies(fib: &Fib, bytes: &[u8]) -> Vec<(Target, Form, Vec<u8>)> {
    run(fib, bytes).replicas
}

#[test]
fn xcast4_becomes_a_pruned_copy_and_a_unicast_one() {
    let fib = TABLE.fib();
    let expected = [
        (Target::Port(1), Form::Xcast, TO_B_AND_C_V4.to_vec()),
        (Target::Port(2), Form::Unicast, TO_D_V4.to_vec()),
    ];
    assert_eq!(copies(&fib, &FROM_HOST_V4), expected);
}

#[test]
fn xcast6_becomes_a_pruned_copy_and_a_unicast_one() {
    let fib = TABLE.fib();
    let expected = [
        (Target::Port(1), Form::Xcast, TO_B_AND_C_V6.to_vec()),
        (Target::Port(2), Form::Unicast, TO_D_V6.to_vec()),
    ];
    assert_eq!(copies(&fib, &FROM_HOST_V6), expected);
}

#[test]
fn a_compact_copy_lists_its_live_destinations_alone() {
    let fib = Table { compact: true, ..TABLE }.fib();
    assert_eq!(copies(&fib, &FROM_HOST_V4)[0].2, COMPACT_TO_B_AND_C_V4);
    assert_eq!(copies(&fib, &WITH_DS_BYTES_V6)[0].2, COMPACT_TO_B_AND_C_V6);
    // The list of ports of Xcast6 is not rewritten.
    assert_eq!(copies(&fib, &FROM_HOST_V6)[0].2, TO_B_AND_C_V6);
    // Nothing is left to be made compact downstream.
    let again = run_from(&fib, &COMPACT_TO_B_AND_C_V4, None, false);
    assert_eq!(again.replicas[0].2, COMPACT_TO_B_AND_C_V4);
}

#[test]
fn premature_unicast_copies_are_the_ones_that_a_last_router_makes() {
    let (capable, fib) = (TABLE.fib(), Table { capable: false, ..TABLE }.fib());
    for (bytes, d) in [(&FROM_HOST_V4[..], &TO_D_V4[..]), (&FROM_HOST_V6, &TO_D_V6)] {
        let early = copies(&fib, bytes);
        let forms: Vec<Form> = early.iter().map(|copy| copy.1).collect();
        assert_eq!(forms, [Form::PrematureUnicast, Form::PrematureUnicast, Form::Unicast]);
        assert_eq!(early[2].2, d);
        // What the next router makes of the pruned copy is the same but for its own hop.
        let onward = copies(&capable, bytes).remove(0).2;
        let late = copies(&fib, &onward);
        for (early, mut late) in early.iter().zip(late) {
            match late.2[0] >> 4 {
                4 => late.2[8] += 1,
                _ => late.2[7] += 1,
            }
            if late.2[0] >> 4 == 4 {
                ipv4::fill_checksum(&mut late.2, 20);
            }
            assert_eq!(*early, late);
        }
    }
}

#[test]
fn a_wrong_transport_checksum_stays_as_wrong() {
    let fib = TABLE.fib();
    for (bytes, at) in [(&FROM_HOST_V4[..], 66), (&FROM_HOST_V6, 142)] {
        let mut wrong = bytes.to_vec();
        wrong[at + 1] += 1;
        let (right, wrong) = (copies(&fib, bytes), copies(&fib, &wrong));
        assert_eq!(wrong[0].2[at + 1], right[0].2[at + 1] + 1);
        let at = right[1].2.len() - 4;
        assert_eq!(wrong[1].2[at + 1], right[1].2[at + 1] + 1);
    }
}

//! The program, run by the interpreter of the filter's tests on packets written by hand.

use std::collections::BTreeSet;

use super::super::filter::tests::{Arrival, run};
use super::*;

/// What the kernel divides by the number of sockets.
fn hash(ether_type: u16, packet: &[u8]) -> u32 {
    let frame = [&[2; 12], &ether_type.to_be_bytes()[..], packet].concat();
    // The program sees packets from their IP headers on.
    run(&program(), &Arrival { packet_type: 0, vlan: false, frame }, 14)
}

/// 10.1.2.3 to 224.0.0.254 in channel 0x01020304, with IPv4 options of so many words; what stands
/// elsewhere is `filler`.
fn xcast4(options: u8, filler: u8) -> Vec<u8> {
    let mut packet = vec![filler; 20];
    packet[0] = 0x45 + options;
    packet[12..20].copy_from_slice(&[10, 1, 2, 3, 224, 0, 0, 254]);
    packet.extend(vec![filler; 4 * usize::from(options)]);
    packet.extend([filler, filler, filler, filler, 1, 2, 3, 4]); // the channel is at octet 4
    packet.extend([filler; 24]);
    packet
}

/// fd00::9 in channel 0..=15, with a Hop-by-Hop header of so many times 8 octets, if any.
fn xcast6(hop_by_hop: u8, filler: u8) -> Vec<u8> {
    let mut packet = vec![filler; 40];
    packet[6] = if hop_by_hop > 0 { 0 } else { 43 };
    packet[8..24].copy_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    if let Some(units) = hop_by_hop.checked_sub(1) {
        packet.extend([43, units]);
        packet.extend(vec![filler; 8 * usize::from(units) + 6]);
    }
    packet.extend([filler; 8]);
    packet.extend(0..16); // the channel is at octet 8
    packet.extend([filler; 40]);
    packet
}

/// The program's function, written once more: each word is added, mixed and multiplied.
fn expected(words: &[u32]) -> u32 {
    const ODD: u32 = 0x9e37_79b1;
    let mix = |word: u32| (word ^ word >> 15).wrapping_mul(ODD);
    mix(words.iter().fold(0, |hash: u32, word| mix(hash.wrapping_add(*word)))) >> 16
}

#[test]
fn source_and_channel_alone_decide() {
    let v4 = expected(&[0x0a01_0203, 0x0102_0304]);
    let v6 = expected(&[0xfd00_0000, 0, 0, 9, 0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f]);
    for filler in [0, 1, 0x7f, 0xff] {
        for options in 0..=10 {
            assert_eq!(hash(0x0800, &xcast4(options, filler)), v4, "{options} {filler}");
        }
        for units in [0, 1, 2, 32, 255] {
            assert_eq!(hash(0x86dd, &xcast6(units, filler)), v6, "{units} {filler}");
        }
    }
    let mut other = xcast4(0, 0);
    other[27] += 1; // the channel's last octet
    assert_ne!(hash(0x0800, &other), v4);
    let mut other = xcast6(0, 0);
    other[8] += 1; // the source's first octet
    assert_ne!(hash(0x86dd, &other), v6);
}

#[test]
fn what_cannot_be_read_is_the_first_sockets() {
    for (ether_type, packet, needed) in
        [(0x0800, xcast4(2, 9), 28 + 8), (0x86dd, xcast6(0, 9), 64), (0x86dd, xcast6(2, 9), 80)]
    {
        for length in 0..packet.len() {
            let found = hash(ether_type, &packet[..length]);
            assert_eq!(found != 0, length >= needed, "{ether_type:#x} {length}");
        }
    }
}

#[test]
fn every_bit_decides_about_the_worker() {
    // Of two workers, each gets some of the packets that differ in any one octet.
    let of_octet = |ether_type, packet: &[u8], at: usize| -> BTreeSet<u32> {
        let each = (0..16).map(|bits| {
            let mut packet = packet.to_vec();
            packet[at] ^= bits << 4;
            hash(ether_type, &packet) % 2
        });
        each.collect()
    };
    for at in (12..16).chain(24..28) {
        assert_eq!(of_octet(0x0800, &xcast4(0, 0), at).len(), 2, "octet {at}");
    }
    for at in (8..24).chain(48..64) {
        assert_eq!(of_octet(0x86dd, &xcast6(0, 0), at).len(), 2, "octet {at}");
    }
}

#[test]
fn many_pairs_are_spread_evenly() {
    for workers in [2, 3, 4, 7, 64] {
        let mut counts = vec![0u32; workers as usize];
        for pair in 0..6400u32 {
            let mut packet = xcast4(0, 0);
            packet[14..16].copy_from_slice(&((pair / 80) as u16).to_be_bytes());
            packet[26..28].copy_from_slice(&((pair % 80) as u16).to_be_bytes());
            counts[(hash(0x0800, &packet) % workers) as usize] += 1;
        }
        let fair = 6400 / workers;
        let (least, most) = (counts.iter().min(), counts.iter().max());
        let even = least > Some(&(fair / 2)) && most < Some(&(fair * 2));
        assert!(even, "{workers} workers: {counts:?}");
    }
}

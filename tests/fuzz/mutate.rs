//! Packets made wrong: bits, fields, ends, and parts of others; some checksums are then made right
//! again, so that the damage gets past them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::generate::pick;
use super::octets::{mend, put, xcast_header};

/// Damages a packet, of which another may lend parts.
pub(crate) fn mutate(rng: &mut ChaCha8Rng, packet: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..pick(rng, &[1, 1, 1, 2, 3]) {
        damage(rng, packet, other);
    }
    repair(rng, packet);
}

fn damage(rng: &mut ChaCha8Rng, packet: &mut Vec<u8>, other: &[u8]) {
    if packet.is_empty() {
        return packet.extend(other);
    }
    let at = place(rng, packet);
    match rng.random_range(0..20) {
        0..5 => packet[at] ^= 1 << rng.random_range(0..8),
        5..9 => packet[at] = pick(rng, &[0, 1, 4, 43, 44, 60, 0x5e, 0x7f, 0x80, 253, 255]),
        9..12 => packet[at] = rng.random(),
        12..14 => packet[at] = packet[at].wrapping_add(pick(rng, &[1, 255])),
        14 => packet.truncate(at),
        15 => packet.extend((0..rng.random_range(1..60)).map(|_| rng.random::<u8>())),
        16 => {
            let from = place(rng, other).min(other.len());
            packet.truncate(at);
            packet.extend(&other[from..]);
        }
        17 => {
            let end = packet.len().min(at + pick(rng, &[1, 4, 8, 16]));
            packet.drain(at..end);
        }
        18 => {
            let end = packet.len().min(at + pick(rng, &[1, 4, 8, 16]));
            let part = packet[at..end].to_vec();
            packet.splice(at..at, part);
        }
        _ => {
            let part = &other[..other.len().min(at)];
            packet[..part.len()].copy_from_slice(part);
        }
    }
}

/// Somewhere in a packet, mostly where decisions are made.
fn place(rng: &mut ChaCha8Rng, packet: &[u8]) -> usize {
    let limit = packet.len().max(1);
    let (xcast, len) = xcast_header(packet).unwrap_or((20, 20));
    let at = match rng.random_range(0..10) {
        0..3 => rng.random_range(0..xcast.max(1)),
        3..6 => xcast + rng.random_range(0..24),
        6..8 => xcast + rng.random_range(0..len),
        8 => xcast + len + rng.random_range(0..24),
        _ => rng.random_range(0..limit),
    };
    at.min(limit - 1)
}

fn repair(rng: &mut ChaCha8Rng, packet: &mut [u8]) {
    let fits = |len: usize, fixed: usize| (fixed..=65_535).contains(&len);
    let version = packet.first().map_or(0, |first| first >> 4);
    if rng.random_bool(0.5) && version == 4 && fits(packet.len(), 20) {
        put(packet, 2, packet.len() as u16);
    }
    if rng.random_bool(0.5) && version == 6 && fits(packet.len(), 40) {
        put(packet, 4, (packet.len() - 40) as u16);
    }
    if rng.random_bool(0.8)
        && let Some((at, len)) = xcast_header(packet)
    {
        mend(&mut packet[at..at + len], if version == 4 { 2 } else { 6 });
    }
    let header_len = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    if rng.random_bool(0.85) && version == 4 && (20..=packet.len()).contains(&header_len) {
        mend(&mut packet[..header_len], 10);
    }
}

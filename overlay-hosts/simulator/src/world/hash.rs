//! A hash that is fast, the same everywhere, and no secret.

use overlay_protocols::Time;

const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;

/// Stirs the bits of a number (the finish of SplitMix64).
pub(super) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(PRIME);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// One number for octets.
pub(super) fn of_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = bytes.len() as u64;
    for word in words {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME).rotate_left(29);
    }
    for octet in rest {
        sum = (sum ^ u64::from(*octet)).wrapping_mul(PRIME).rotate_left(29);
    }
    mix(sum)
}

/// Over all events, in order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EventHash(u64);

impl EventHash {
    pub(super) fn add(&mut self, at: Time, place: usize, digest: u64) {
        self.0 = mix(self.0 ^ at.0.wrapping_mul(PRIME) ^ (place as u64).rotate_left(48) ^ digest);
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }
}

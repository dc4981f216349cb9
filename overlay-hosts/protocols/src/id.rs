//! Numbers of 160 bits: who a peer is, and where on the ring it or a key lies.

use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Octets of an identifier.
pub const ID_LEN: usize = 20;
/// Bits of an identifier (seed 003 paragraph 0041: "e.g., 160 bits").
pub const ID_BITS: u32 = 160;

/// A place on the ring of 2^160 (seed 003 paragraph 0041), the most significant octet first.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RingId(pub [u8; ID_LEN]);

/// Who a peer is: the beginning of the hash of its public key. Nobody has another's.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId(pub [u8; ID_LEN]);

impl RingId {
    /// The first place.
    pub const ZERO: RingId = RingId([0; ID_LEN]);

    /// Where the key of a name lies: the beginning of its SHA-256.
    pub fn of_key(name: &[u8]) -> RingId {
        RingId(hash(name))
    }

    /// The two halves of the number: 32 bits above, 128 below.
    fn split(self) -> (u32, u128) {
        let (mut high, mut low) = ([0; 4], [0; 16]);
        high.copy_from_slice(&self.0[..4]);
        low.copy_from_slice(&self.0[4..]);
        (u32::from_be_bytes(high), u128::from_be_bytes(low))
    }

    fn join(high: u32, low: u128) -> RingId {
        let mut octets = [0; ID_LEN];
        octets[..4].copy_from_slice(&high.to_be_bytes());
        octets[4..].copy_from_slice(&low.to_be_bytes());
        RingId(octets)
    }

    /// The sum modulo 2^160.
    #[must_use]
    pub fn plus(self, other: RingId) -> RingId {
        let ((high, low), (other_high, other_low)) = (self.split(), other.split());
        let (low, carry) = low.overflowing_add(other_low);
        RingId::join(high.wrapping_add(other_high).wrapping_add(u32::from(carry)), low)
    }

    /// How far it is clockwise (upwards, modulo 2^160) from `from` to here.
    #[must_use]
    pub fn clockwise_from(self, from: RingId) -> RingId {
        let ((high, low), (from_high, from_low)) = (self.split(), from.split());
        let (low, borrow) = low.overflowing_sub(from_low);
        RingId::join(high.wrapping_sub(from_high).wrapping_sub(u32::from(borrow)), low)
    }

    /// 2^exponent, for an exponent below 160.
    pub fn power_of_two(exponent: u32) -> RingId {
        let mut octets = [0; ID_LEN];
        let exponent = exponent % ID_BITS;
        octets[ID_LEN - 1 - exponent as usize / 8] = 1 << (exponent % 8);
        RingId(octets)
    }

    /// Whether it lies in (after, up_to], going clockwise; the whole ring if these are equal (seed
    /// 003 paragraph 0041: zone(x) = (ID(pred(x)), ID(x)]).
    pub fn is_in(self, after: RingId, up_to: RingId) -> bool {
        after == up_to || {
            let distance = self.clockwise_from(after);
            distance != RingId::ZERO && distance <= up_to.clockwise_from(after)
        }
    }

    /// The number of the highest bit that is set; `None` of zero.
    pub fn highest_bit(self) -> Option<u32> {
        let index = self.0.iter().position(|octet| *octet != 0)?;
        Some((ID_LEN - 1 - index) as u32 * 8 + self.0[index].ilog2())
    }
}

impl PeerId {
    /// Who has this public key.
    pub fn of_public_key(key: &[u8; 32]) -> PeerId {
        PeerId(hash(key))
    }

    /// What lists of parts name it by: its first 32 bits.
    pub fn tag(self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// The position on the ring that it has by itself.
    pub fn position(self) -> RingId {
        RingId(self.0)
    }
}

fn hash(bytes: &[u8]) -> [u8; ID_LEN] {
    let mut id = [0; ID_LEN];
    id.copy_from_slice(&Sha256::digest(bytes)[..ID_LEN]);
    id
}

fn write_hex(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..4], f)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..4], f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(low: u128) -> RingId {
        RingId::join(0, low)
    }

    #[test]
    fn sums_and_distances_wrap_at_2_to_the_160() {
        let last = RingId([0xff; ID_LEN]);
        assert_eq!(last.plus(id(1)), RingId::ZERO);
        assert_eq!(RingId::ZERO.clockwise_from(last), id(1));
        assert_eq!(id(u128::MAX).plus(id(1)), RingId::power_of_two(128));
        assert_eq!(RingId::power_of_two(128).clockwise_from(id(1)), id(u128::MAX));
        assert_eq!(RingId::power_of_two(159).plus(RingId::power_of_two(159)), RingId::ZERO);
    }

    #[test]
    fn a_zone_is_open_below_and_closed_above() {
        let (five, nine) = (id(5), id(9));
        assert!(!five.is_in(five, nine) && nine.is_in(five, nine) && id(6).is_in(five, nine));
        assert!(!id(10).is_in(five, nine));
        // Across zero.
        assert!(id(2).is_in(nine, five) && five.is_in(nine, five) && !id(7).is_in(nine, five));
        // A node alone has it all.
        assert!(id(7).is_in(five, five) && five.is_in(five, five));
    }

    #[test]
    fn the_highest_bit_is_the_logarithm() {
        assert_eq!(RingId::ZERO.highest_bit(), None);
        for exponent in [0, 7, 8, 100, 159] {
            assert_eq!(RingId::power_of_two(exponent).highest_bit(), Some(exponent));
        }
    }

    #[test]
    fn an_identity_is_the_hash_of_its_key() {
        // SHA-256 of 32 zero octets begins so (FIPS 180-4, by any other implementation).
        let expected = "66687aadf862bd776c8fc18b8e9f8e2008971485";
        assert_eq!(alloc::format!("{}", PeerId::of_public_key(&[0; 32])), expected);
    }
}

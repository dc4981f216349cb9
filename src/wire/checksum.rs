//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::IpAddr;

/// A one's complement sum in progress. Adding is associative, so parts may be summed apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds octets, taken as 16-bit words in network order; an odd last octet is padded by zero.
    #[must_use]
    #[inline(always)]
    pub fn bytes(self, bytes: &[u8]) -> Sum {
        let (quads, rest) = bytes.as_chunks::<4>();
        // A 32-bit word is congruent to the sum of its halves, and a u64 has room for 2^32 words.
        let mut sum = quads.iter().fold(self.0, |sum, &q| sum + u64::from(u32::from_be_bytes(q)));
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            sum += u64::from(u32::from_be_bytes(last));
        }
        Sum(sum)
    }

    /// Adds one 16-bit word.
    #[must_use]
    #[inline]
    pub fn word(self, word: u16) -> Sum {
        Sum(self.0 + u64::from(word))
    }

    /// Adds two 16-bit words, such as an IPv4 address.
    #[must_use]
    #[inline]
    pub fn double(self, double: u32) -> Sum {
        Sum(self.0 + u64::from(double))
    }

    /// What takes this sum out of another when it is added there.
    #[must_use]
    #[inline]
    pub fn negated(self) -> Sum {
        Sum(u64::from(!self.fold()))
    }

    /// Adds the octets of a bitmap in which zeros may follow.
    #[must_use]
    #[inline]
    pub fn bitmap(self, bitmap: u128) -> Sum {
        let half = |half: u64| (half >> 32) + (half & 0xffff_ffff);
        Sum(self.0 + half((bitmap >> 64) as u64) + half(bitmap as u64))
    }

    /// Adds an address, as a pseudo-header does.
    #[must_use]
    #[inline]
    pub fn address(self, address: IpAddr) -> Sum {
        match address {
            IpAddr::V4(address) => self.double(address.to_bits()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    /// The sum in 16 bits, carries added in.
    #[inline]
    pub fn fold(self) -> u16 {
        let (high, low) = (self.0 >> 32, self.0 & 0xffff_ffff);
        let sum = high + low; // of 33 bits
        let sum = (sum >> 16) + (sum & 0xffff); // of 18 bits
        let sum = (sum >> 16) + (sum & 0xffff); // of 17 bits
        ((sum >> 16) + sum) as u16
    }

    /// The checksum field that makes everything summed valid: the complement of the sum.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// The checksum of `bytes`, whose checksum field holds zero. Over bytes that include a right
/// checksum the result is 0.
#[inline(always)]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::default().bytes(bytes).checksum()
}

/// The checksum after the words summed in `old` became those summed in `new` (RFC 1624,
/// equation 3: HC' = ~(~HC + ~m + m')).
#[must_use]
#[inline]
pub fn update(checksum: u16, old: Sum, new: Sum) -> u16 {
    Sum::default().word(!checksum).word(!old.fold()).word(new.fold()).checksum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sums_the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).fold(), 0xddf2);
    }

    #[test]
    fn updates_as_in_the_example_of_rfc_1624() {
        // RFC 1624 section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285, HC' = 0x0000.
        let old = Sum::default().word(0x5555);
        let new = Sum::default().word(0x3285);
        assert_eq!(update(0xdd2f, old, new), 0x0000);
    }

    #[test]
    fn sums_addresses_of_both_families() {
        let sum = |address: &str| Sum::default().address(address.parse().unwrap()).fold();
        assert_eq!(sum("10.0.0.1"), 0x0a01);
        assert_eq!(sum("2001:db8::1:2"), 0x2dbc);
    }

    #[test]
    fn pads_an_odd_octet_with_zero() {
        assert_eq!(checksum(&[0x12, 0x34, 0x56]), checksum(&[0x12, 0x34, 0x56, 0x00]));
        assert_eq!(checksum(&[]), 0xffff);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_new_checksum(
            mut bytes in proptest::collection::vec(any::<u8>(), 22..200),
            new in any::<[u8; 4]>(),
            at in 1usize..5,
        ) {
            bytes[0] = 0x45; // no real header sums to zero
            let at = at * 4;
            let before = checksum(&bytes);
            let old = Sum::default().bytes(&bytes[at..at + 4]);
            bytes[at..at + 4].copy_from_slice(&new);
            prop_assert_eq!(update(before, old, Sum::default().bytes(&new)), checksum(&bytes));
        }

        #[test]
        fn splitting_at_even_places_changes_nothing(
            bytes in proptest::collection::vec(any::<u8>(), 0..100), cut in 0usize..50,
        ) {
            let cut = (cut * 2).min(bytes.len() & !1);
            let parts = Sum::default().bytes(&bytes[..cut]).bytes(&bytes[cut..]);
            prop_assert_eq!(parts.fold(), Sum::default().bytes(&bytes).fold());
        }
    }
}

//! Addresses of either IP version as numbers.

use std::fmt::Debug;
use std::net::IpAddr;
use std::ops::{Add, BitAnd, BitOr, Not, Shl, Shr};

/// An address as a number, the first bit being the most significant.
pub(super) trait Bits:
    Copy
    + Debug
    + Ord
    + From<u32>
    + Add<Output = Self>
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + Not<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
{
    /// The number of bits.
    const WIDTH: u32;
    const ZERO: Self;
    const MAX: Self;

    /// The number of an address of this version.
    fn of(address: IpAddr) -> Option<Self>;

    /// The leading `length` bits; 0 < `length` <= 32.
    fn top(self, length: u32) -> usize;

    /// The six bits behind the leading `depth` ones, zeros following the address's end; `depth` is
    /// less than `WIDTH`, and the six bits do not cross bit 64.
    fn six(self, depth: u32) -> u32;

    /// The netmask of a prefix.
    #[inline]
    fn mask(length: u8) -> Self {
        match length {
            0 => Self::ZERO,
            _ => Self::MAX << (Self::WIDTH - u32::from(length)),
        }
    }

    /// The last address of the prefix that begins here.
    #[inline]
    fn last(self, length: u8) -> Self {
        self | !Self::mask(length)
    }
}

impl Bits for u32 {
    const WIDTH: u32 = u32::BITS;
    const ZERO: u32 = 0;
    const MAX: u32 = u32::MAX;

    fn of(address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(address) => Some(address.to_bits()),
            _ => None,
        }
    }

    #[inline]
    fn top(self, length: u32) -> usize {
        (self >> (u32::BITS - length)) as usize
    }

    #[inline]
    fn six(self, depth: u32) -> u32 {
        (self << depth) >> 26
    }
}

impl Bits for u128 {
    const WIDTH: u32 = u128::BITS;
    const ZERO: u128 = 0;
    const MAX: u128 = u128::MAX;

    fn of(address: IpAddr) -> Option<u128> {
        match address {
            IpAddr::V6(address) => Some(address.to_bits()),
            _ => None,
        }
    }

    #[inline]
    fn top(self, length: u32) -> usize {
        ((self >> 64) as u64 >> (64 - length)) as usize
    }

    /// By halves, as shifts of 128 bits are slow.
    #[inline]
    fn six(self, depth: u32) -> u32 {
        let half = if depth < 64 { (self >> 64) as u64 } else { self as u64 };
        ((half << (depth % 64)) >> 58) as u32
    }
}

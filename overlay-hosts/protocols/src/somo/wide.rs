//! Whole numbers of 384 bits: as many as the keys of virtual nodes need on the way (places of 160
//! bits, times powers of the degree of no more than 167 bits), exactly.

use crate::id::{ID_LEN, RingId};

const LIMBS: usize = 6;

/// A number below 2^384, the least significant 64 bits first. What does not fit is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wide([u64; LIMBS]);

impl Wide {
    /// 1.
    pub(super) const ONE: Wide = Wide([1, 0, 0, 0, 0, 0]);

    /// From 192 bits, the most significant 64 first.
    pub(super) fn of_number(number: [u64; 3]) -> Wide {
        let [high, middle, low] = number;
        Wide([low, middle, high, 0, 0, 0])
    }

    /// Its lowest 192 bits, the most significant 64 first.
    pub(super) fn number(self) -> [u64; 3] {
        [self.0[2], self.0[1], self.0[0]]
    }

    /// A place of the ring.
    pub(super) fn of_place(place: RingId) -> Wide {
        let word = |from: usize, to: usize| {
            place.0[from..to].iter().fold(0, |word, octet| word << 8 | u64::from(*octet))
        };
        Wide([word(12, ID_LEN), word(4, 12), word(0, 4), 0, 0, 0])
    }

    /// Its lowest 160 bits as a place of the ring.
    pub(super) fn place(self) -> RingId {
        let mut octets = [0; ID_LEN];
        octets[12..].copy_from_slice(&self.0[0].to_be_bytes());
        octets[4..12].copy_from_slice(&self.0[1].to_be_bytes());
        octets[..4].copy_from_slice(&(self.0[2] as u32).to_be_bytes());
        RingId(octets)
    }

    /// Plus 1.
    pub(super) fn next(self) -> Wide {
        self.carry(1, 1)
    }

    /// Minus 1, of a number above 0.
    pub(super) fn previous(mut self) -> Wide {
        for limb in &mut self.0 {
            let borrows;
            (*limb, borrows) = limb.overflowing_sub(1);
            if !borrows {
                break;
            }
        }
        self
    }

    /// Times a small number.
    pub(super) fn times(self, factor: u32) -> Wide {
        self.carry(u64::from(factor), 0)
    }

    fn carry(mut self, factor: u64, mut carry: u64) -> Wide {
        for limb in &mut self.0 {
            let product = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            (*limb, carry) = (product as u64, (product >> 64) as u64);
        }
        self
    }

    /// The whole part of it divided by a number above 0, and the rest.
    pub(super) fn divided(mut self, divisor: u64) -> (Wide, u64) {
        let mut rest = 0u64;
        for limb in self.0.iter_mut().rev() {
            let dividend = u128::from(rest) << 64 | u128::from(*limb);
            *limb = (dividend / u128::from(divisor)) as u64;
            rest = (dividend % u128::from(divisor)) as u64;
        }
        (self, rest)
    }

    /// Times 2^bits.
    pub(super) fn shifted_up(self, bits: usize) -> Wide {
        let (limbs, bits) = (bits / 64, bits % 64);
        let limb = |index: usize| self.0.get(index).copied().unwrap_or(0);
        let mut shifted = [0; LIMBS];
        for (index, out) in shifted.iter_mut().enumerate().skip(limbs) {
            let below = if index > limbs { limb(index - limbs - 1) } else { 0 };
            *out = limb(index - limbs) << bits | below.checked_shr(64 - bits as u32).unwrap_or(0);
        }
        Wide(shifted)
    }

    /// Divided by 2^bits, rounded up.
    pub(super) fn shifted_down_up(self, bits: usize) -> Wide {
        let (limbs, bits) = (bits / 64, bits % 64);
        let limb = |index: usize| self.0.get(index).copied().unwrap_or(0);
        let mut shifted = [0; LIMBS];
        for (index, out) in shifted.iter_mut().enumerate() {
            let above = limb(index + limbs + 1).checked_shl(64 - bits as u32).unwrap_or(0);
            *out = limb(index + limbs) >> bits | above;
        }
        let cut = self.0[..limbs].iter().any(|limb| *limb != 0) || limb(limbs) % (1 << bits) != 0;
        if cut { Wide(shifted).next() } else { Wide(shifted) }
    }

    /// The next odd number that is not below it.
    pub(super) fn odd(mut self) -> Wide {
        self.0[0] |= 1;
        self
    }

    /// The whole part of its half.
    pub(super) fn half(mut self) -> Wide {
        for index in 0..LIMBS {
            let above = self.0.get(index + 1).copied().unwrap_or(0);
            self.0[index] = self.0[index] >> 1 | above << 63;
        }
        self
    }

    /// Whether it is less than another.
    pub(super) fn is_below(&self, other: &Wide) -> bool {
        self.0.iter().rev().lt(other.0.iter().rev())
    }
}

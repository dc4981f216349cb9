//! The logical tree (seed 003 paragraphs 0055 to 0059): drawn on the ring before there are machines,
//! and the same for all of them.
//!
//! Virtual node j of level i owns [j/k^i, (j+1)/k^i) of the ring; these are half-open, or two nodes
//! owned each boundary. Its key is the center, floor((2j+1) 2^160 / (2 k^i)). The text bounds j by 2^i;
//! it is k^i. With an odd degree the middle child has its parent's key, and the higher one wins.

use serde::{Deserialize, Serialize};

use super::wide::Wide;
use crate::id::{ID_BITS, RingId};

/// The least degree of a tree.
pub const DEGREE_MIN: u32 = 2;
/// The greatest degree of a tree.
pub const DEGREE_MAX: u32 = 64;
/// No machine is represented below this level: at it a binary tree has a key at every place.
pub const LEVEL_MAX: u8 = ID_BITS as u8;

/// A virtual node. In order they stand as a level-order traversal meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VirtualNode {
    level: u8,
    /// Its number on the level, the most significant 64 bits first.
    number: [u64; 3],
}

impl VirtualNode {
    /// The one above all others.
    pub const ROOT: VirtualNode = VirtualNode { level: 0, number: [0; 3] };

    /// How far below the root it is.
    pub fn level(self) -> u8 {
        self.level
    }

    /// Whether it is the root.
    pub fn is_root(self) -> bool {
        self.level == 0
    }
}

/// Places of the ring from the first to the last, both included; around zero if the first is the
/// greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Its first place.
    pub first: RingId,
    /// Its last place.
    pub last: RingId,
}

impl Range {
    /// The whole ring.
    pub const ALL: Range = Range { first: RingId::ZERO, last: RingId([0xff; 20]) };

    /// Whether a place lies in it.
    pub fn holds(&self, place: RingId) -> bool {
        place.clockwise_from(self.first) <= self.last.clockwise_from(self.first)
    }

    /// Whether some place lies in both.
    pub fn meets(&self, other: &Range) -> bool {
        self.holds(other.first) || other.holds(self.first)
    }

    /// Whether all places of another lie in it.
    pub fn covers(&self, other: &Range) -> bool {
        let span = self.last.clockwise_from(self.first);
        let (first, last) =
            (other.first.clockwise_from(self.first), other.last.clockwise_from(self.first));
        span == Range::ALL.last || (first <= last && last <= span)
    }
}

/// The logical tree of one degree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    degree: u32,
}

impl Tree {
    /// k: from [`DEGREE_MIN`] to [`DEGREE_MAX`]; what is not is set to the nearer of these.
    pub fn new(degree: u32) -> Tree {
        Tree { degree: degree.clamp(DEGREE_MIN, DEGREE_MAX) }
    }

    /// k.
    pub fn degree(self) -> u32 {
        self.degree
    }

    /// The virtual node of a level and a number; `None` if the level has no such number or is below
    /// [`LEVEL_MAX`].
    pub fn node(self, level: u8, number: u64) -> Option<VirtualNode> {
        let node = VirtualNode { level, number: [0, 0, number] };
        self.has(node).then_some(node)
    }

    /// Whether it is one of this tree's; not everything that comes from others is.
    pub fn has(self, node: VirtualNode) -> bool {
        if node.level > LEVEL_MAX {
            return false;
        }
        let number = Wide::of_number(node.number);
        let mut count = Wide::ONE;
        for _ in 0..node.level {
            if number.is_below(&count) {
                return true; // and of what follows, too
            }
            count = count.times(self.degree);
        }
        number.is_below(&count)
    }

    /// The center of what it owns.
    pub fn key(self, node: VirtualNode) -> RingId {
        let odd = Wide::of_number(node.number).times(2).odd();
        self.divided(odd.shifted_up(ID_BITS as usize - 1), node.level).place()
    }

    /// The places that it owns; the root all of them.
    pub fn space(self, node: VirtualNode) -> Range {
        // ceil(a / b) = floor((a - 1) / b) + 1
        let number = Wide::of_number(node.number);
        let before = |end: Wide| {
            let places = end.shifted_up(ID_BITS as usize).previous();
            self.divided(places, node.level)
        };
        let first = match number.number() == [0; 3] {
            true => RingId::ZERO,
            false => before(number).next().place(),
        };
        Range { first, last: before(number.next()).place() }
    }

    /// Divided by k^times, rounded down: as often by k as fits 63 bits at once, which is the same.
    fn divided(self, mut number: Wide, times: u8) -> Wide {
        let degree = u64::from(self.degree);
        let mut divisor = 1;
        for _ in 0..times {
            divisor *= degree;
            if divisor >= 1 << 57 {
                number = number.divided(divisor).0;
                divisor = 1;
            }
        }
        number.divided(divisor).0
    }

    /// The one above it; the root has none.
    pub fn parent(self, node: VirtualNode) -> Option<VirtualNode> {
        let level = node.level.checked_sub(1)?;
        let (number, _) = Wide::of_number(node.number).divided(u64::from(self.degree));
        Some(VirtualNode { level, number: number.number() })
    }

    /// The highest virtual node whose key lies in the zone (after, up_to], of several on a level the
    /// first: who represents a machine (paragraph 0057). The whole ring's is the root.
    pub fn representative(self, after: RingId, up_to: RingId) -> VirtualNode {
        if after == up_to {
            return VirtualNode::ROOT;
        }
        // Where the zone begins and what it ends before; around zero it is two parts.
        let (begin, end) = (Wide::of_place(after).next(), Wide::of_place(up_to).next());
        let whole = Wide::ONE.shifted_up(ID_BITS as usize);
        let mut parts = match after < up_to {
            true => [(begin, end), (begin, begin)],
            false => [(Wide::ONE.previous(), end), (begin, whole)],
        };
        for level in 0..=LEVEL_MAX {
            for (begin, end) in &parts {
                // key >= begin is 2j+1 >= begin k^i / 2^159, and below `end` likewise.
                let first = begin.shifted_down_up(ID_BITS as usize - 1).odd();
                if first.is_below(&end.shifted_down_up(ID_BITS as usize - 1)) {
                    return VirtualNode { level, number: first.half().number() };
                }
            }
            for (begin, end) in &mut parts {
                (*begin, *end) = (begin.times(self.degree), end.times(self.degree));
            }
        }
        VirtualNode::ROOT // not reached: at the last level each place has a key
    }
}

#[cfg(test)]
mod tests;

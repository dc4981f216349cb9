//! The geometry beside schoolbook arithmetic on lists of bits, and by hand.

use alloc::vec::Vec;

use super::*;
use crate::random::Random;

/// A whole number of any size, as bits, the lowest first.
#[derive(Clone, PartialEq, Debug)]
struct Slow(Vec<bool>);

impl Slow {
    fn of(place: RingId) -> Slow {
        let bits = place.0.iter().rev();
        Slow(bits.flat_map(|octet| (0..8).map(move |bit| octet >> bit & 1 == 1)).collect())
    }

    fn small(mut number: u64) -> Slow {
        let mut bits = Vec::new();
        while number > 0 {
            bits.push(number & 1 == 1);
            number >>= 1;
        }
        Slow(bits)
    }

    fn bit(&self, index: usize) -> bool {
        self.0.get(index).copied().unwrap_or(false)
    }

    fn plus(&self, other: &Slow) -> Slow {
        let mut carry = false;
        let mut sum = Vec::new();
        for index in 0..=self.0.len().max(other.0.len()) {
            let (a, b) = (self.bit(index), other.bit(index));
            sum.push(a ^ b ^ carry);
            carry = [a, b, carry].into_iter().filter(|bit| *bit).count() > 1;
        }
        Slow(sum)
    }

    fn shifted(&self, bits: usize) -> Slow {
        Slow(vec![false; bits].into_iter().chain(self.0.iter().copied()).collect())
    }

    fn times(&self, factor: u64) -> Slow {
        let bits = Slow::small(factor).0;
        let set = bits.iter().enumerate().filter(|(_, bit)| **bit);
        set.fold(Slow(vec![]), |sum, (index, _)| sum.plus(&self.shifted(index)))
    }

    fn is_at_least(&self, other: &Slow) -> bool {
        let len = self.0.len().max(other.0.len());
        let differing = (0..len).rev().find(|index| self.bit(*index) != other.bit(*index));
        differing.is_none_or(|index| self.bit(index))
    }

    /// Long division, bit by bit; by a number below 2^63.
    fn divided(&self, divisor: u64) -> Slow {
        let mut rest = 0u64;
        let mut quotient = vec![false; self.0.len()];
        for index in (0..self.0.len()).rev() {
            rest = rest << 1 | u64::from(self.bit(index));
            if rest >= divisor {
                rest -= divisor;
                quotient[index] = true;
            }
        }
        Slow(quotient)
    }

    fn place(&self) -> RingId {
        let mut octets = [0; 20];
        for (index, octet) in octets.iter_mut().rev().enumerate() {
            *octet = (0..8).map(|bit| u8::from(self.bit(8 * index + bit)) << bit).sum();
        }
        RingId(octets)
    }
}

/// floor((2j+1) 2^160 / (2 k^i)), as the definition says it.
fn slow_key(degree: u64, level: u32, number: u64) -> RingId {
    Slow::small(2 * number + 1).shifted(160).divided(2 * degree.pow(level)).place()
}

fn place(high: u64) -> RingId {
    let mut octets = [0; 20];
    octets[..8].copy_from_slice(&high.to_be_bytes());
    RingId(octets)
}

fn random_place(random: &mut Random) -> RingId {
    let mut place = RingId::ZERO;
    random.fill(&mut place.0);
    place
}

#[test]
fn keys_of_the_first_levels_by_hand() {
    let binary = Tree::new(2);
    let key = |level, number| binary.key(binary.node(level, number).unwrap());
    assert_eq!(key(0, 0), place(1 << 63)); // 0.5: seed 003 paragraph 0056
    assert_eq!((key(1, 0), key(1, 1)), (place(1 << 62), place(3 << 62)));
    assert_eq!(key(2, 3), place(7 << 61));
    // A third's center is a sixth: 0x2aaa...; the middle child stands where its parent does.
    let ternary = Tree::new(3);
    let key = |level, number| ternary.key(ternary.node(level, number).unwrap());
    let mut sixth = RingId([0xaa; 20]);
    sixth.0[0] = 0x2a;
    assert_eq!((key(1, 0), key(1, 1)), (sixth, place(1 << 63)));
}

#[test]
fn keys_are_what_long_division_says() {
    for degree in [2u32, 3, 5, 8, 16, 63, 64] {
        let tree = Tree::new(degree);
        for level in 0..=4u32 {
            let count = u64::from(degree).pow(level);
            for number in (0..count).step_by((count / 37).max(1) as usize).chain([count - 1]) {
                let node = tree.node(level as u8, number).unwrap();
                let expected = slow_key(degree.into(), level, number);
                assert_eq!(tree.key(node), expected, "k {degree}, {node:?}");
            }
            assert_eq!(tree.node(level as u8, count), None);
        }
    }
}

#[test]
fn spaces_of_a_level_follow_one_another_around_the_ring() {
    for degree in [2, 3, 7, 8, 16] {
        let tree = Tree::new(degree);
        for level in 0..4 {
            let mut next = RingId::ZERO;
            for number in 0..u64::from(degree).pow(level.into()) {
                let node = tree.node(level, number).unwrap();
                let space = tree.space(node);
                assert_eq!(space.first, next);
                assert!(space.holds(tree.key(node)));
                let parent = tree.parent(node).map(|parent| tree.space(parent));
                assert!(parent.is_none_or(|parent| parent.covers(&space)));
                next = space.last.plus(place(0).next());
            }
            assert_eq!(next, RingId::ZERO);
        }
    }
}

impl RingId {
    fn next(self) -> RingId {
        self.plus(RingId::power_of_two(0))
    }
}

/// The first virtual node that a level-order traversal meets with its key in the zone.
fn slow_representative(degree: u32, after: RingId, up_to: RingId) -> Option<(u8, u64)> {
    for level in 0..5u32 {
        for number in 0..u64::from(degree).pow(level) {
            if slow_key(degree.into(), level, number).is_in(after, up_to) {
                return Some((level as u8, number));
            }
        }
    }
    None
}

#[test]
fn representatives_are_what_a_traversal_meets_first() {
    let seed = 11;
    let mut random = Random::new(seed, 0);
    for degree in [2, 3, 5, 8] {
        let tree = Tree::new(degree);
        for round in 0..60 {
            let after = random_place(&mut random);
            let mut span = random_place(&mut random);
            // From most of the ring to one part in 1,000, and around zero, too.
            span.0[0] = (u16::from(span.0[0]) >> (round % 9)) as u8;
            let after = if round % 5 == 0 { RingId([0xff; 20]) } else { after };
            let up_to = after.plus(span);
            let found = tree.representative(after, up_to);
            if let Some((level, number)) = slow_representative(degree, after, up_to) {
                let expected = tree.node(level, number);
                assert_eq!(Some(found), expected, "seed {seed}, k {degree}, {after} {up_to}");
            }
        }
    }
}

#[test]
fn narrow_zones_have_representatives_too() {
    let seed = 12;
    let mut random = Random::new(seed, 0);
    for round in 0..400 {
        let degree = [2, 3, 8, 16, 63, 64][round % 6];
        let tree = Tree::new(degree);
        let mut span = random_place(&mut random);
        let zeros = random.below(20) as usize;
        span.0[..zeros].fill(0);
        span.0[19] |= 1;
        let after = random_place(&mut random);
        let up_to = after.plus(if round % 7 == 0 { RingId::power_of_two(0) } else { span });
        let node = tree.representative(after, up_to);
        assert!(tree.has(node), "seed {seed}: {node:?}");
        assert!(tree.key(node).is_in(after, up_to), "seed {seed}, k {degree}: {after} {up_to}");
        // Nothing above it lies in the zone: neither at its parent, nor anywhere on that level.
        if let Some(parent) = tree.parent(node) {
            assert!(!tree.key(parent).is_in(after, up_to), "seed {seed}, k {degree}");
            let number = Wide::of_number(parent.number);
            for near in [number.next(), number.previous()] {
                let near = VirtualNode { number: near.number(), ..parent };
                let is_in = tree.has(near) && tree.key(near).is_in(after, up_to);
                assert!(!is_in, "seed {seed}, k {degree}: {after} {up_to}");
            }
        }
    }
}

#[test]
fn whoever_owns_the_whole_ring_or_the_middle_is_the_root() {
    let tree = Tree::new(8);
    assert_eq!(tree.representative(place(5), place(5)), VirtualNode::ROOT);
    let before = place(1 << 63).clockwise_from(RingId::power_of_two(0));
    assert_eq!(tree.representative(before, place(1 << 63)), VirtualNode::ROOT);
    assert_ne!(tree.representative(place(1 << 63), place(3 << 62)), VirtualNode::ROOT);
}

#[test]
fn the_number_of_a_virtual_node_is_below_the_level_s() {
    let tree = Tree::new(8);
    for (level, number, is_one) in [
        (0, [0, 0, 1], false),
        (1, [0, 0, 7], true),
        (1, [0, 0, 8], false),
        (54, [0, 4, 0], true),
        (200, [0; 3], false),
        (22, [0, 4, 0], false),
        (22, [0, 3, 0], true),
        (LEVEL_MAX, [u64::MAX; 3], true),
    ] {
        assert_eq!(tree.has(VirtualNode { level, number }), is_one, "{level} {number:?}");
    }
}

#[test]
fn ranges_around_zero_hold_and_cover() {
    let around = Range { first: place(14 << 60), last: place(2 << 60) };
    assert!(around.holds(RingId::ZERO) && around.holds(place(15 << 60)));
    assert!(!around.holds(place(3 << 60)));
    assert!(around.covers(&Range { first: place(15 << 60), last: place(1 << 60) }));
    assert!(!around.covers(&Range { first: place(1 << 60), last: place(15 << 60) }));
    assert!(around.meets(&Range { first: place(1 << 60), last: place(9 << 60) }));
    assert!(!around.meets(&Range { first: place(3 << 60), last: place(9 << 60) }));
    assert!(Range::ALL.covers(&around) && !around.covers(&Range::ALL));
}

#[test]
fn slow_numbers_count() {
    let place = RingId([7; 20]);
    assert_eq!(Slow::of(place).place(), place);
    let twice = Slow::of(place).times(2);
    assert!(twice.is_at_least(&Slow::of(place)) && !Slow::of(place).is_at_least(&twice));
    assert_eq!(twice.divided(2).place(), place);
}

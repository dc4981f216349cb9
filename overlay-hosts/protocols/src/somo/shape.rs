//! The physical tree of all machines at once, which no machine can see: who is whose parent, and what
//! shape that is. Experiments compare running machines with it.

use alloc::vec::Vec;

use super::tree::Tree;
use crate::id::RingId;

/// The place of each machine's parent among `positions`; `None` of the root's. Positions are in
/// order, none twice: so the zone of each begins at the one before it (seed 003 paragraph 0041).
pub fn parents(tree: Tree, positions: &[RingId]) -> Vec<Option<u32>> {
    debug_assert!(positions.is_sorted_by(|one, next| one < next));
    let before = |place: usize| positions[place.checked_sub(1).unwrap_or(positions.len() - 1)];
    let parent = |(place, position): (usize, &RingId)| {
        let representative = tree.representative(before(place), *position);
        tree.parent(representative).map(|node| owner(positions, tree.key(node)) as u32)
    };
    positions.iter().enumerate().map(parent).collect()
}

/// Whose zone a key lies in: the first position that is not before it, around zero.
pub fn owner(positions: &[RingId], key: RingId) -> usize {
    match positions.partition_point(|position| *position < key) {
        place if place < positions.len() => place,
        _ => 0,
    }
}

/// What shape a physical tree has. Depths are edges from machine to machine, up to the root.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shape {
    /// Machines.
    pub machines: usize,
    /// Machines without a parent.
    pub roots: usize,
    /// Rings of parents.
    pub loops: usize,
    /// Machines whose parents never end at a root.
    pub uncovered: usize,
    /// The mean depth of the machines that are covered.
    pub mean_depth: f64,
    /// The greatest depth.
    pub max_depth: u32,
    /// The most children that a machine has.
    pub fan_out_max: u32,
}

impl Shape {
    /// The shape that these parents make; a parent that is no place counts as none of the tree.
    pub fn of(parents: &[Option<u32>]) -> Shape {
        let mut shape = Shape { machines: parents.len(), ..Shape::default() };
        let mut fan_out = alloc::vec![0u32; parents.len()];
        let mut depths = alloc::vec![Depth::Unknown; parents.len()];
        let mut path = Vec::new();
        let mut sum = 0u64;
        for start in 0..parents.len() {
            let mut at = start;
            let end = loop {
                match depths.get(at) {
                    None => break Depth::Lost,
                    Some(Depth::Unknown) => {}
                    Some(Depth::Under(first)) if *first == start => {
                        shape.loops += 1;
                        break Depth::Lost;
                    }
                    Some(known) => break *known,
                }
                depths[at] = Depth::Under(start);
                path.push(at);
                match parents[at] {
                    None => break Depth::Above,
                    Some(parent) => at = parent as usize,
                }
            };
            let mut depth = end;
            while let Some(place) = path.pop() {
                depth = depth.below();
                depths[place] = depth;
            }
        }
        for (depth, parent) in depths.iter().zip(parents) {
            match depth {
                Depth::Known(depth) => {
                    sum += u64::from(*depth);
                    shape.max_depth = shape.max_depth.max(*depth);
                }
                _ => shape.uncovered += 1,
            }
            match parent.map(|parent| fan_out.get_mut(parent as usize)) {
                None => shape.roots += 1,
                Some(children) => children.into_iter().for_each(|children| *children += 1),
            }
        }
        shape.fan_out_max = fan_out.into_iter().max().unwrap_or(0);
        shape.mean_depth = sum as f64 / (parents.len() - shape.uncovered).max(1) as f64;
        shape
    }
}

/// How deep a machine is, as far as it is known.
#[derive(Clone, Copy)]
enum Depth {
    Unknown,
    /// On the way up from this machine.
    Under(usize),
    /// Above the root, whose depth is 0.
    Above,
    Known(u32),
    Lost,
}

impl Depth {
    fn below(self) -> Depth {
        match self {
            Depth::Above => Depth::Known(0),
            Depth::Known(depth) => Depth::Known(depth + 1),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::random::Random;

    fn positions(count: usize, seed: u64) -> Vec<RingId> {
        let mut random = Random::new(seed, 3);
        let mut all = BTreeSet::new();
        while all.len() < count {
            let mut position = RingId::ZERO;
            random.fill(&mut position.0);
            all.insert(position);
        }
        all.into_iter().collect()
    }

    /// By the definition: the owner is asked of every machine, the depth counted up from each.
    fn slow(tree: Tree, positions: &[RingId]) -> (Vec<Option<u32>>, f64, u32) {
        let zone = |place: usize| {
            (positions[(place + positions.len() - 1) % positions.len()], positions[place])
        };
        let all: Vec<Option<u32>> = (0..positions.len())
            .map(|place| {
                let (after, up_to) = zone(place);
                let key = tree.key(tree.parent(tree.representative(after, up_to))?);
                let owns = |place: &usize| key.is_in(zone(*place).0, zone(*place).1);
                (0..positions.len()).find(owns).map(|place| place as u32)
            })
            .collect();
        let depth = |place: usize| {
            core::iter::successors(all[place], |above| all[*above as usize]).count() as u32
        };
        let depths: Vec<u32> = (0..positions.len()).map(depth).collect();
        let mean = depths.iter().sum::<u32>() as f64 / depths.len() as f64;
        (all, mean, depths.into_iter().max().unwrap())
    }

    #[test]
    fn machines_of_random_positions_make_one_tree() {
        for (seed, count, degree) in [(1, 1, 2), (2, 2, 2), (3, 3, 3), (4, 200, 2), (5, 500, 8)] {
            let (tree, positions) = (Tree::new(degree), positions(count, seed));
            let (expected, mean, deepest) = slow(tree, &positions);
            let parents = parents(tree, &positions);
            assert_eq!(parents, expected, "seed {seed}");
            let shape = Shape::of(&parents);
            assert_eq!((shape.roots, shape.loops, shape.uncovered), (1, 0, 0), "seed {seed}");
            assert!((shape.mean_depth - mean).abs() < 1e-9 && shape.max_depth == deepest);
        }
    }

    #[test]
    fn machines_in_a_heap_make_one_tree_too() {
        // As far from even as can be: positions one beside the other, and one far away.
        let next = |place: &RingId| Some(place.plus(RingId::power_of_two(0)));
        let mut all: Vec<RingId> =
            core::iter::successors(Some(RingId([0x35; 20])), next).take(300).collect();
        all.push(RingId([0xf0; 20]));
        for degree in [2, 3, 8, 64] {
            let shape = Shape::of(&parents(Tree::new(degree), &all));
            assert_eq!((shape.roots, shape.loops, shape.uncovered), (1, 0, 0), "k {degree}");
        }
    }

    #[test]
    fn loops_and_who_hangs_on_them_are_seen() {
        // 0 is a root, 1 under it; 2 and 3 a loop, 4 under that; 5 its own parent; 6 lost.
        let parents = [None, Some(0), Some(3), Some(2), Some(3), Some(5), Some(99)];
        let shape = Shape::of(&parents);
        assert_eq!((shape.roots, shape.loops, shape.uncovered), (1, 2, 5));
        assert_eq!((shape.mean_depth, shape.max_depth, shape.fan_out_max), (0.5, 1, 2));
    }

    #[test]
    fn the_tree_of_figure_8_by_hand() {
        // k = 2, machines at 0.3, 0.6, 0.7 and 0.9: zones (0.9, 0.3], (0.3, 0.6], (0.6, 0.7],
        // (0.7, 0.9]. Keys: 0.5; 0.25, 0.75; 0.125, .., 0.625, ... So 0.6 is the root; 0.3 has 0.25
        // and 0.9 has 0.75 under it; 0.7 has 0.625, whose parent is 0.75.
        let place = |tenths: u64| {
            let mut octets = [0; 20];
            octets[..8].copy_from_slice(&(u64::MAX / 10 * tenths).to_be_bytes());
            RingId(octets)
        };
        let all = [place(3), place(6), place(7), place(9)];
        assert_eq!(parents(Tree::new(2), &all), [Some(1), None, Some(3), Some(1)]);
    }
}

//! Plans against the seed's own loops, golden examples by hand, and what holds of every tree.

mod adjusting;
mod growing;
mod oracle;
mod sessions;

use alloc::vec::Vec;

use super::*;
use crate::random::Random;

/// Hosts on a plane, in microseconds; links of any width.
pub(super) struct Plane {
    pub(super) at: Vec<(u64, u64)>,
    pub(super) widths: Vec<u32>,
}

impl Plane {
    pub(super) fn any(hosts: usize, side: u64, random: &mut Random) -> Plane {
        let at = (0..hosts).map(|_| (random.below(side), random.below(side))).collect();
        let widths = (0..hosts).map(|_| 1 + random.below(8) as u32 * 1000).collect();
        Plane { at, widths }
    }
}

impl Network for Plane {
    fn latency(&self, from: Place, to: Place) -> Micros {
        let ((x, y), (u, v)) = (self.at[from], self.at[to]);
        x.abs_diff(u) + y.abs_diff(v) + 1
    }

    fn bandwidth(&self, from: Place, to: Place) -> u32 {
        self.widths[from].min(self.widths[to])
    }
}

/// The seed's degrees: 2 with chance 1/2, 3 with 1/4, up to 9.
pub(super) fn degrees(count: usize, random: &mut Random) -> Vec<u16> {
    (0..count).map(|_| 2 + (random.number().trailing_ones() as u16).min(7)).collect()
}

/// Everything that holds of every tree: all members in it, no circle, no degree exceeded, no idle
/// helper, and heights that follow from the links.
pub(super) fn check<N: Network>(problem: &Problem<'_, N>, tree: &Tree) {
    let mut reached = 0;
    for place in tree.subtree(0) {
        assert!(tree.contains(place));
        reached += 1;
        assert!(tree.degrees(place) <= problem.degrees[place], "degrees of {place}");
        let Some(parent) = tree.parent(place) else { continue };
        assert!(tree.children(parent).contains(&place));
        let latency = tree.latency(parent) + problem.latency(parent, place);
        assert_eq!(tree.latency(place), latency, "height of {place}");
        assert!(tree.is_member(place) || !tree.children(place).is_empty(), "idle helper {place}");
    }
    assert!((0..problem.members).all(|member| tree.contains(member)));
    assert_eq!(reached, problem.members + tree.helpers());
    assert_eq!(tree.links().count(), reached - 1);
}

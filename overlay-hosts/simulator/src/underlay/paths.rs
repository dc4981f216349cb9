//! The ways to one router from all others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Link, Neighbor, RouterId};

/// The target itself, and routers without a way.
const NOWHERE: u16 = u16::MAX;
const FAR: u32 = u32::MAX;

/// Bits of a distance that only decide between equally short paths: room for 256 links' weights of 28
/// bits.
const WEIGHT_BITS: u32 = 36;

/// The way of each router to one target. A router has less than 65,535 neighbors.
#[derive(Debug)]
pub(super) struct Tree {
    /// The place of the next router among the neighbors.
    next: Box<[u16]>,
    /// In microseconds.
    delay: Box<[u32]>,
    hops: Box<[u16]>,
}

impl Tree {
    fn new(target: RouterId, routers: usize) -> Tree {
        let mut tree = Tree {
            next: vec![NOWHERE; routers].into(),
            delay: vec![FAR; routers].into(),
            hops: vec![0; routers].into(),
        };
        tree.delay[target] = 0;
        tree
    }

    /// Shortest paths, by Dijkstra's algorithm from the target.
    pub(super) fn shortest(target: RouterId, links: &[Link], all: &[Vec<Neighbor>]) -> Tree {
        let mut tree = Tree::new(target, all.len());
        let mut distances = vec![u64::MAX; all.len()];
        let mut nearest = BinaryHeap::from([Reverse((0, target))]);
        distances[target] = 0;
        while let Some(Reverse((distance, at))) = nearest.pop() {
            if distance > distances[at] {
                continue;
            }
            for Neighbor { link, router, back } in &all[at] {
                let longer = distance.saturating_add(length(*link, &links[*link]));
                if longer < distances[*router] {
                    distances[*router] = longer;
                    tree.next[*router] = *back as u16;
                    tree.delay[*router] = tree.delay[at].saturating_add(links[*link].micros());
                    tree.hops[*router] = tree.hops[at] + 1;
                    nearest.push(Reverse((longer, *router)));
                }
            }
        }
        tree
    }

    /// The links to the target alone, one for each router.
    pub(super) fn direct(target: RouterId, links: &[Link], all: &[Vec<Neighbor>]) -> Tree {
        let mut tree = Tree::new(target, all.len());
        for Neighbor { link, router, back } in &all[target] {
            tree.next[*router] = *back as u16;
            tree.delay[*router] = links[*link].micros();
            tree.hops[*router] = 1;
        }
        tree
    }

    pub(super) fn next(&self, at: RouterId) -> Option<usize> {
        (self.next[at] != NOWHERE).then_some(usize::from(self.next[at]))
    }

    pub(super) fn delay(&self, at: RouterId) -> Option<u32> {
        (self.delay[at] != FAR).then_some(self.delay[at])
    }

    pub(super) fn hops(&self, at: RouterId) -> u32 {
        self.hops[at].into()
    }
}

/// The delay, and a weight of the link's own: sums of these hardly ever are equal, and if they are,
/// the lower router comes first.
fn length(place: usize, link: &Link) -> u64 {
    let weight = mix(place as u64 + 1) >> 36;
    u64::from(link.micros()) << WEIGHT_BITS | weight
}

/// The finalizer of SplitMix64.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

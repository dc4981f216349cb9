//! Differentiated services for destinations of their own (RFC 5058 section 8.2): which live
//! destinations may share a copy, and what DSCP the copy bears.
//!
//! Packets of different Assured Forwarding classes must not be merged (RFC 2597). So each AF
//! class that is live for a next hop leaves in a copy of its own; all other DSCPs join the most
//! demanding of these, or form one class if there is none. A copy bears the most demanding DSCP
//! of its live destinations.

use crate::wire::xcast4::{bit, live_indices};

/// The DSCPs that have a rank of their own, the most demanding first. Any other ranks as default.
const BY_RANK: [u8; 23] = [
    46, 44, // EF, VOICE-ADMIT
    56, 48, 40, // CS7, CS6, CS5
    34, 36, 38, 32, // AF41, AF42, AF43, CS4
    26, 28, 30, 24, // AF31, AF32, AF33, CS3
    18, 20, 22, 16, // AF21, AF22, AF23, CS2
    10, 12, 14, 8, // AF11, AF12, AF13, CS1
    0, 1, // default, LE
];
const DEFAULT_RANK: u8 = 21;

/// By DSCP.
const RANKS: [u8; 64] = {
    let mut ranks = [DEFAULT_RANK; 64];
    let mut rank = 0;
    while rank < BY_RANK.len() {
        ranks[BY_RANK[rank] as usize] = rank as u8;
        rank += 1;
    }
    ranks
};

/// Destinations that share a copy, and the DSCP it bears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) live: u128,
    pub(super) dscp: u8,
}

/// Splits the live destinations, whose DS bytes are given in list order, into classes, the most
/// demanding AF class first; empty ones have no live destination.
pub(super) fn split(ds_bytes: &[u8], live: u128) -> [Class; 4] {
    let dscp = |index: usize| ds_bytes[index] >> 2;
    let mut classes = [Class::default(); 4];
    let mut others = 0;
    for index in live_indices(live) {
        match assured_class(dscp(index)) {
            Some(class) => classes[4 - usize::from(class)].live |= bit(index),
            None => others |= bit(index),
        }
    }
    let most_demanding = classes.iter().position(|class| class.live != 0).unwrap_or(0);
    classes[most_demanding].live |= others;
    for class in &mut classes {
        let each = live_indices(class.live).map(dscp);
        // The first of equals, in list order.
        class.dscp = each.min_by_key(|dscp| RANKS[usize::from(*dscp)]).unwrap_or(0);
    }
    classes
}

/// 1 to 4 for AF1x to AF4x.
fn assured_class(dscp: u8) -> Option<u8> {
    let (class, precedence) = (dscp >> 3, dscp & 0b111);
    ((1..=4).contains(&class) && matches!(precedence, 2 | 4 | 6)).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::xcast4::all;

    /// The classes of a list of DSCPs: which of them are in each, and what the copy bears.
    fn classes(dscps: &[u8]) -> Vec<(Vec<u8>, u8)> {
        let ds_bytes: Vec<u8> = dscps.iter().map(|dscp| dscp << 2 | 3).collect();
        let classes = split(&ds_bytes, all(dscps.len()));
        let filled = classes.into_iter().filter(|class| class.live != 0);
        filled
            .map(|class| (live_indices(class.live).map(|i| dscps[i]).collect(), class.dscp))
            .collect()
    }

    #[test]
    fn assured_forwarding_classes_leave_apart_and_others_join_the_most_demanding() {
        let [ef, af41, af31] = [46, 34, 26];
        assert_eq!(classes(&[ef, af41, af31]), [(vec![ef, af41], ef), (vec![af31], af31)]);
        assert_eq!(classes(&[af31, ef]), [(vec![af31, ef], ef)]);
        assert_eq!(classes(&[10, 0, 18]), [(vec![0, 18], 18), (vec![10], 10)]);
    }

    #[test]
    fn without_assured_forwarding_there_is_one_class() {
        assert_eq!(classes(&[0, 46, 8]), [(vec![0, 46, 8], 46)]);
        assert_eq!(classes(&[1, 0]), [(vec![1, 0], 0)]);
        assert_eq!(classes(&[1]), [(vec![1], 1)]);
    }

    #[test]
    fn a_copy_bears_the_most_demanding_of_its_own() {
        assert_eq!(classes(&[38, 36, 34]), [(vec![38, 36, 34], 34)]);
        assert_eq!(classes(&[48, 56, 44]), [(vec![48, 56, 44], 44)]);
        // Unlisted values rank as default; the first of equals stands.
        assert_eq!(classes(&[3, 0]), [(vec![3, 0], 3)]);
        assert_eq!(classes(&[0, 3]), [(vec![0, 3], 0)]);
        assert_eq!(classes(&[3, 8]), [(vec![3, 8], 8)]);
    }
}

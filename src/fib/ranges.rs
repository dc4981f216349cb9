//! Longest-prefix match for IPv6: the address space cut into ranges of equal value, found by
//! binary search. Values are painted as in [`lpm`](super::lpm): short prefixes before long ones,
//! one routing table over another.

use std::collections::BTreeMap;

use super::lpm::Value;
use super::prefix::mask_v6;

/// An address space that is being painted. A fresh one maps every address to value 0.
#[derive(Clone)]
pub(crate) struct Painting {
    /// By first address; one begins at 0.
    ranges: BTreeMap<u128, Value>,
}

impl Painting {
    pub(crate) fn new() -> Painting {
        Painting { ranges: BTreeMap::from([(0, 0)]) }
    }

    /// The value of `address`.
    pub(crate) fn value(&self, address: u128) -> Value {
        self.ranges.range(..=address).next_back().map_or(0, |(_, value)| *value)
    }

    /// Maps every address of `address`/`length` to `value`.
    pub(crate) fn paint(&mut self, address: u128, length: u8, value: Value) {
        let (first, last) = bounds(address, length);
        self.cut_behind(last);
        self.clear(first, last);
        self.ranges.insert(first, value);
    }

    /// Makes every address of `address`/`length` map to what it maps to in `other`.
    pub(crate) fn copy_from(&mut self, other: &Painting, address: u128, length: u8) {
        let (first, last) = bounds(address, length);
        self.cut_behind(last);
        self.clear(first, last);
        self.ranges.insert(first, other.value(first));
        self.ranges.extend(other.ranges.range(first..=last).map(|(start, value)| (*start, *value)));
    }

    /// Lets a range begin behind `last`, whatever happens up to there.
    fn cut_behind(&mut self, last: u128) {
        if let Some(next) = last.checked_add(1) {
            let value = self.value(next);
            self.ranges.insert(next, value);
        }
    }

    fn clear(&mut self, first: u128, last: u128) {
        let inside: Vec<u128> = self.ranges.range(first..=last).map(|(start, _)| *start).collect();
        for start in inside {
            self.ranges.remove(&start);
        }
    }

    /// The finished table.
    pub(crate) fn finish(self) -> Ranges {
        let mut ranges = Ranges { starts: Vec::new(), values: Vec::new() };
        for (start, value) in self.ranges {
            if ranges.values.last() != Some(&value) {
                ranges.starts.push(start);
                ranges.values.push(value);
            }
        }
        ranges
    }
}

fn bounds(address: u128, length: u8) -> (u128, u128) {
    debug_assert!(length <= 128);
    let first = address & mask_v6(length);
    (first, first | !mask_v6(length))
}

/// A finished table.
pub(crate) struct Ranges {
    /// Sorted; the first is 0.
    starts: Vec<u128>,
    values: Vec<Value>,
}

impl Ranges {
    /// The value of `address`.
    #[inline]
    pub(crate) fn lookup(&self, address: u128) -> Value {
        self.values[self.starts.partition_point(|start| *start <= address) - 1]
    }

    /// Looks all `addresses` up, the first ones of `values` receiving the results.
    #[inline]
    pub(crate) fn lookup_batch(&self, addresses: &[u128], values: &mut [Value]) {
        for (address, value) in addresses.iter().zip(values) {
            *value = self.lookup(*address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The obviously right table: the last painted prefix that holds the address.
    fn linear(prefixes: &[(u128, u8)], address: u128) -> Value {
        let holds = |(at, (prefix, length)): (usize, &(u128, u8))| {
            ((prefix ^ address) & mask_v6(*length) == 0).then_some(at as Value + 1)
        };
        prefixes.iter().enumerate().rev().find_map(holds).unwrap_or(0)
    }

    /// Prefixes of every length, crowded so that they nest and touch.
    fn any_prefix() -> impl Strategy<Value = (u128, u8)> {
        let base = prop_oneof![Just(0), Just(0x2001_0db8 << 96), Just(u128::MAX)];
        let noise = prop_oneof![0u128..8, (0u128..8).prop_map(|n| n << 61), any::<u128>()];
        (base, noise, 0u8..=128).prop_map(|(base, noise, length)| (base ^ noise, length))
    }

    fn painted(prefixes: &[(u128, u8)]) -> Painting {
        let mut painting = Painting::new();
        for (value, (address, length)) in (1..).zip(prefixes) {
            painting.paint(*address, *length, value);
        }
        painting
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_scan(
            prefixes in proptest::collection::vec(any_prefix(), 0..40),
            addresses in proptest::collection::vec(any_prefix().prop_map(|p| p.0), 1..40),
        ) {
            let painting = painted(&prefixes);
            let edges = prefixes.iter().flat_map(|(address, length)| {
                let (first, last) = bounds(*address, *length);
                [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
            });
            let table = painting.clone().finish();
            for address in addresses.into_iter().chain(edges) {
                prop_assert_eq!(table.lookup(address), linear(&prefixes, address));
                prop_assert_eq!(painting.value(address), linear(&prefixes, address));
            }
        }

        #[test]
        fn a_copied_prefix_is_as_in_the_other(
            below in proptest::collection::vec(any_prefix(), 0..20),
            above in proptest::collection::vec(any_prefix(), 0..20),
            (address, length) in any_prefix(),
            probes in proptest::collection::vec(any_prefix().prop_map(|p| p.0), 1..40),
        ) {
            let other = painted(&below);
            let mut table = painted(&above);
            table.copy_from(&other, address, length);
            let (first, last) = bounds(address, length);
            let edges = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            for probe in probes.into_iter().chain(edges) {
                let inside = (first..=last).contains(&probe);
                let expected = linear(if inside { &below } else { &above }, probe);
                prop_assert_eq!(table.value(probe), expected);
            }
        }
    }

    #[test]
    fn looks_up_in_batches() {
        let table = painted(&[(1 << 127, 1), (1 << 127, 128)]).finish();
        let mut values = [9; 3];
        table.lookup_batch(&[0, 1 << 127, u128::MAX], &mut values);
        assert_eq!(values, [0, 2, 1]);
    }
}

//! Longest-prefix match for IPv4: a table of 2^16 slots, each a value or a node of 2^8 slots,
//! which hold values or nodes again. At most three dependent loads a lookup.
//!
//! Values are painted: each [`paint`](Lpm::paint) overwrites a whole prefix. Painting prefixes
//! from short to long gives longest-prefix match; painting one routing table over another gives
//! "the first table with any match wins".

use super::prefix::mask_v4;

/// What an address maps to: an index into a table of the owner. At most 2^31 - 1.
pub(crate) type Value = u32;

/// Set in a slot that holds the index of a node instead of a value.
const NODE: u32 = 1 << 31;
const ROOT_BITS: u8 = 16;
const NODE_BITS: u8 = 8;

/// A painted address space. A fresh one maps every address to value 0.
#[derive(Clone)]
pub(crate) struct Lpm {
    root: Vec<u32>,
    nodes: Vec<[u32; 1 << NODE_BITS]>,
}

impl Lpm {
    pub(crate) fn new() -> Lpm {
        Lpm { root: vec![0; 1 << ROOT_BITS], nodes: Vec::new() }
    }

    /// The value of `address`.
    #[inline]
    pub(crate) fn lookup(&self, address: u32) -> Value {
        let mut slot = self.root[(address >> 16) as usize];
        if slot & NODE != 0 {
            slot = self.nodes[(slot & !NODE) as usize][(address >> 8 & 0xff) as usize];
            if slot & NODE != 0 {
                slot = self.nodes[(slot & !NODE) as usize][(address & 0xff) as usize];
            }
        }
        slot
    }

    /// Looks all `addresses` up, the first ones of `values` receiving the results. The loads do
    /// not depend on each other, so their memory latencies overlap.
    #[inline]
    pub(crate) fn lookup_batch(&self, addresses: &[u32], values: &mut [Value]) {
        for (address, value) in addresses.iter().zip(values) {
            *value = self.lookup(*address);
        }
    }

    /// Maps every address of `address`/`length` to `value`.
    pub(crate) fn paint(&mut self, address: u32, length: u8, value: Value) {
        debug_assert!(value & NODE == 0 && length <= 32);
        let address = address & mask_v4(length);
        if length <= ROOT_BITS {
            let first = (address >> 16) as usize;
            self.root[first..first + (1 << (ROOT_BITS - length))].fill(value);
            return;
        }
        let middle = self.child_of_root((address >> 16) as usize);
        let index = (address >> 8 & 0xff) as usize;
        if length <= ROOT_BITS + NODE_BITS {
            self.nodes[middle][index..index + (1 << (24 - length))].fill(value);
            return;
        }
        let last = self.child_of_node(middle, index);
        let index = (address & 0xff) as usize;
        self.nodes[last][index..index + (1 << (32 - length))].fill(value);
    }

    /// Makes every address of `address`/`length` map to what it maps to in `other`.
    pub(crate) fn copy_from(&mut self, other: &Lpm, address: u32, length: u8) {
        let address = address & mask_v4(length);
        // Down to the single values of `other`, painting each run where it begins.
        let end = u64::from(address) + (1 << (32 - length));
        let mut next = u64::from(address);
        while next < end {
            let (value, run) = other.run_at(next as u32);
            let run = run.max(length);
            self.paint(next as u32, run, value);
            next = (next & !((1 << (32 - run)) - 1)) + (1 << (32 - run));
        }
    }

    /// The value of `address` and the length of the slot-aligned prefix that shares it.
    fn run_at(&self, address: u32) -> (Value, u8) {
        let slot = self.root[(address >> 16) as usize];
        if slot & NODE == 0 {
            return (slot, 16);
        }
        let slot = self.nodes[(slot & !NODE) as usize][(address >> 8 & 0xff) as usize];
        if slot & NODE == 0 {
            return (slot, 24);
        }
        (self.lookup(address), 32)
    }

    fn child_of_root(&mut self, index: usize) -> usize {
        let slot = Lpm::child(self.root[index], &mut self.nodes);
        self.root[index] = slot;
        (slot & !NODE) as usize
    }

    fn child_of_node(&mut self, node: usize, index: usize) -> usize {
        let slot = Lpm::child(self.nodes[node][index], &mut self.nodes);
        self.nodes[node][index] = slot;
        (slot & !NODE) as usize
    }

    /// The slot that refers to the node in `slot`, made of its value where it has none yet.
    fn child(slot: u32, nodes: &mut Vec<[u32; 256]>) -> u32 {
        if slot & NODE != 0 {
            return slot;
        }
        nodes.push([slot; 256]);
        NODE | (nodes.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The obviously right table: the last painted prefix that holds the address.
    struct Linear(Vec<(u32, u8, Value)>);

    impl Linear {
        fn lookup(&self, address: u32) -> Value {
            let holds = |&&(prefix, length, _): &&(u32, u8, Value)| {
                (prefix ^ address) & mask_v4(length) == 0
            };
            self.0.iter().rev().find(holds).map_or(0, |entry| entry.2)
        }
    }

    /// Prefixes of every length, crowded into few networks so that they nest.
    fn any_prefix() -> impl Strategy<Value = (u32, u8)> {
        let crowded = prop_oneof![Just(0x0a00_0000u32), Just(0x0a01_0000), Just(0xc0a8_0100)];
        (crowded, any::<u32>(), 0u8..=32)
            .prop_map(|(base, noise, length)| (base ^ (noise & 0x0003_07ff), length))
    }

    fn any_address() -> impl Strategy<Value = u32> {
        prop_oneof![any_prefix().prop_map(|p| p.0), any::<u32>()]
    }

    fn painted(prefixes: &[(u32, u8)]) -> (Lpm, Linear) {
        let mut table = (Lpm::new(), Linear(Vec::new()));
        for (value, &(address, length)) in (1..).zip(prefixes) {
            table.0.paint(address, length, value);
            table.1.0.push((address, length, value));
        }
        table
    }

    proptest! {
        #[test]
        fn answers_as_the_linear_table_does(
            prefixes in proptest::collection::vec(any_prefix(), 0..60),
            addresses in proptest::collection::vec(any_address(), 1..100),
        ) {
            let (lpm, linear) = painted(&prefixes);
            let expected: Vec<Value> = addresses.iter().map(|&a| linear.lookup(a)).collect();
            let mut batch = vec![Value::MAX; addresses.len()];
            lpm.lookup_batch(&addresses, &mut batch);
            prop_assert_eq!(&batch, &expected);
            let single: Vec<Value> = addresses.iter().map(|&a| lpm.lookup(a)).collect();
            prop_assert_eq!(single, expected);
        }

        #[test]
        fn copies_exactly_one_prefix(
            below in proptest::collection::vec(any_prefix(), 0..30),
            above in proptest::collection::vec(any_prefix(), 0..30),
            (address, length) in any_prefix(),
            addresses in proptest::collection::vec(any_address(), 1..100),
        ) {
            let (below, _) = painted(&below);
            let (above, _) = painted(&above);
            let mut both = above.clone();
            both.copy_from(&below, address, length);
            for probe in addresses {
                let inside = (probe ^ address) & mask_v4(length) == 0;
                let expected = if inside { below.lookup(probe) } else { above.lookup(probe) };
                prop_assert_eq!(both.lookup(probe), expected);
            }
        }
    }
}

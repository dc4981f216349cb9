//! Made-up routing tables, for benchmarks and tests: prefixes as many, as long and as scattered as
//! those of the internet, the same for the same seed.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::prefix::Prefix;

/// Of 10,000 IPv4 prefixes: how many have a length.
const LENGTHS_V4: [(u8, u32); 25] = [
    (24, 6010),
    (22, 1050),
    (23, 950),
    (21, 450),
    (20, 450),
    (19, 270),
    (18, 150),
    (16, 160),
    (17, 110),
    (15, 45),
    (14, 35),
    (13, 22),
    (12, 12),
    (11, 6),
    (10, 3),
    (9, 2),
    (8, 1),
    (25, 40),
    (26, 40),
    (27, 35),
    (28, 30),
    (29, 35),
    (30, 40),
    (31, 4),
    (32, 50),
];

/// The same for IPv6.
const LENGTHS_V6: [(u8, u32); 18] = [
    (48, 4940),
    (32, 1260),
    (44, 1000),
    (40, 800),
    (36, 400),
    (29, 350),
    (47, 250),
    (46, 250),
    (42, 200),
    (45, 150),
    (38, 100),
    (34, 80),
    (33, 70),
    (28, 30),
    (35, 40),
    (37, 30),
    (56, 30),
    (64, 20),
];

/// The blocks that IPv6 allocations come from, with the length that is given.
const BLOCKS_V6: [(u128, u8); 6] = [
    (0x2001 << 112, 16),
    (0x2400 << 112, 12),
    (0x2600 << 112, 12),
    (0x2800 << 112, 12),
    (0x2a00 << 112, 12),
    (0x2c00 << 112, 12),
];

/// Of each 20 IPv6 prefixes there are 3 allocations they lie in.
const ALLOCATIONS_V6: usize = 20 / 3;

/// `count` distinct prefixes within 1.0.0.0 to 223.255.255.255, in random order; none of them in
/// 10.0.0.0/8, which is left to a benchmark's own links, or in 127.0.0.0/8.
pub fn prefixes_v4(seed: u64, count: usize) -> Vec<Prefix> {
    let mut random = Random(seed);
    distinct(count, || {
        let length = random.length(&LENGTHS_V4);
        let first = match 1 + random.below(221) as u32 {
            first @ ..10 => first,
            first @ 10..126 => first + 1,
            first => first + 2,
        };
        let address = first << 24 | random.next() as u32 >> 8;
        (Ipv4Addr::from_bits(address).into(), length)
    })
}

/// `count` distinct prefixes within the blocks of the regional registries, in random order.
pub fn prefixes_v6(seed: u64, count: usize) -> Vec<Prefix> {
    let mut random = Random(seed);
    let allocations: Vec<u128> = (0..count / ALLOCATIONS_V6 + 1)
        .map(|_| {
            let (block, length) = BLOCKS_V6[random.below(BLOCKS_V6.len() as u64) as usize];
            block | u128::from(random.next()) << 64 >> length & !(u128::MAX >> 32)
        })
        .collect();
    distinct(count, || {
        let length = random.length(&LENGTHS_V6);
        let allocation = allocations[random.below(allocations.len() as u64) as usize];
        let address = allocation | u128::from(random.next()) << 32;
        (Ipv6Addr::from_bits(address).into(), length)
    })
}

/// Addresses inside the prefixes, in random order: their host bits are random too.
pub fn addresses_in(seed: u64, prefixes: &[Prefix], count: usize) -> Vec<IpAddr> {
    let mut random = Random(seed);
    let mut inside = |prefix: &Prefix| match prefix.address() {
        IpAddr::V4(first) => {
            let host = (random.next() as u32).checked_shr(prefix.length().into()).unwrap_or(0);
            Ipv4Addr::from_bits(first.to_bits() | host).into()
        }
        IpAddr::V6(first) => {
            let host = u128::from(random.next()) << 64 | u128::from(random.next());
            let host = host.checked_shr(prefix.length().into()).unwrap_or(0);
            Ipv6Addr::from_bits(first.to_bits() | host).into()
        }
    };
    let mut which = Random(!seed);
    (0..count).map(|_| inside(&prefixes[which.below(prefixes.len() as u64) as usize])).collect()
}

fn distinct(count: usize, mut draw: impl FnMut() -> (IpAddr, u8)) -> Vec<Prefix> {
    let mut known = HashSet::with_capacity(count);
    let mut prefixes = Vec::with_capacity(count);
    while prefixes.len() < count {
        let (address, length) = draw();
        let prefix = Prefix::new(address, length).expect("the lengths fit their version");
        if known.insert(prefix) {
            prefixes.push(prefix);
        }
    }
    prefixes
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::mix(self.0)
    }

    /// Below `bound`, with a bias that does not matter here.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn length(&mut self, shares: &[(u8, u32)]) -> u8 {
        let total: u32 = shares.iter().map(|share| share.1).sum();
        let mut drawn = self.below(u64::from(total)) as u32;
        for (length, share) in shares {
            match drawn.checked_sub(*share) {
                Some(rest) => drawn = rest,
                None => return *length,
            }
        }
        shares[0].0
    }
}

//! Pools of hosts with degrees, as the experiments on multicast sessions have them.

use std::time::Duration;

use overlay_protocols::alm::{Micros, Network, Place};
use overlay_protocols::random::Random;

use crate::underlay::{HostId, TransitStub, Underlay};

/// Hosts in a pool: 60 sessions of 20 (seed 003 paragraph 0088).
pub(super) const HOSTS: usize = 1_200;

/// The streams of a seed that pools draw from.
const POOL_STREAM: u64 = 0x706f_6f6c_0000_0000;
const DEGREE_STREAM: u64 = 0x6465_6772_6565_7300;

/// A network of 600 routers, with hosts.
pub(super) struct PoolOfHosts {
    underlay: Underlay,
    /// By host.
    pub(super) degrees: Vec<u16>,
    /// What else is drawn for this pool follows from it.
    pub(super) seed: u64,
}

impl PoolOfHosts {
    /// The pool of a trial, each of which has its own.
    pub(super) fn new(hosts: usize, seed: u64, trial: u64) -> PoolOfHosts {
        let seed = Random::new(seed, POOL_STREAM + trial).number();
        let mut underlay = TransitStub::ts600().build(seed);
        underlay.attach_hosts(hosts, seed);
        let mut random = Random::new(seed, DEGREE_STREAM);
        let degrees = (0..hosts).map(|_| degree(&mut random)).collect();
        PoolOfHosts { underlay, degrees, seed }
    }

    /// One way.
    pub(super) fn latency(&self, from: HostId, to: HostId) -> Micros {
        let micros = |span: Duration| span.as_micros() as Micros;
        micros(self.underlay.one_way(from, to))
    }
}

/// 2 with a chance of 1/2, 3 with 1/4, and so on; 9 with the rest.
fn degree(random: &mut Random) -> u16 {
    2 + (random.number().trailing_ones() as u16).min(7)
}

/// Hosts of a pool in a certain order.
pub(super) struct Hosts<'a> {
    pub(super) pool: &'a PoolOfHosts,
    pub(super) hosts: &'a [HostId],
}

impl Network for Hosts<'_> {
    fn latency(&self, from: Place, to: Place) -> Micros {
        self.pool.latency(self.hosts[from], self.hosts[to])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_as_the_definition_says() {
        let mut random = Random::new(1, 2);
        let mut counts = [0; 10];
        (0..1 << 16).for_each(|_| counts[usize::from(degree(&mut random))] += 1);
        assert_eq!(counts[..2], [0, 0]);
        for (degree, chance) in [(2, 0.5), (3, 0.25), (8, 1.0 / 128.0), (9, 1.0 / 128.0)] {
            let share = f64::from(counts[degree]) / f64::from(1 << 16);
            assert!((share / chance - 1.0).abs() < 0.2, "{degree}: {share}");
        }
    }
}

//! Addresses of hosts: a prefix for each router, in which its hosts follow each other. Routers whose
//! numbers are near share long prefixes, so routes to stub domains far away are few.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xcast::fib::Prefix;

use super::NetworkError;
use crate::underlay::{HostId, RouterId, Underlay};

/// 10.0.0.0/8 (RFC 1918).
const V4: u32 = 10 << 24;
const V4_LENGTH: u32 = 8;
/// fd00::/8, with a /64 for each router (RFC 4193).
const V6: u128 = 0xfd << 120;
const V6_HOST_BITS: u32 = 64;

/// Which host has which address.
#[derive(Debug)]
pub(super) struct Addresses {
    is_v6: bool,
    /// Bits of an address that tell the router, and those that tell its host.
    router_bits: u32,
    host_bits: u32,
    /// By router.
    hosts: Vec<Vec<HostId>>,
    /// By host: its place among those of its router.
    places: Vec<usize>,
}

impl Addresses {
    /// # Errors
    /// There are more hosts at a router than 10.0.0.0/8 has room for.
    pub(super) fn new(underlay: &Underlay, is_v6: bool) -> Result<Addresses, NetworkError> {
        let router_bits = usize::BITS - underlay.router_count().saturating_sub(1).leading_zeros();
        let host_bits = match is_v6 {
            true => V6_HOST_BITS,
            false => (32 - V4_LENGTH).saturating_sub(router_bits),
        };
        let mut hosts = vec![Vec::new(); underlay.router_count()];
        let mut places = Vec::with_capacity(underlay.hosts().len());
        for (host, attached) in underlay.hosts().iter().enumerate() {
            places.push(hosts[attached.router].len());
            hosts[attached.router].push(host);
        }
        // The first address of a prefix is nobody's.
        let room = 1u64.checked_shl(host_bits).map_or(u64::MAX, |all| all - 1);
        let most = hosts.iter().map(Vec::len).max().unwrap_or(0);
        match most as u64 > room {
            true => Err(NetworkError::Full { hosts: most, room }),
            false => Ok(Addresses { is_v6, router_bits, host_bits, hosts, places }),
        }
    }

    /// The address of a host at a router.
    pub(super) fn of(&self, host: HostId, router: RouterId) -> IpAddr {
        self.address(router, self.places[host] as u64 + 1)
    }

    /// The host with an address.
    pub(super) fn host(&self, address: IpAddr) -> Option<HostId> {
        let (router, number) = match (address, self.is_v6) {
            (IpAddr::V4(v4), false) => {
                let below = v4.to_bits().checked_sub(V4)?;
                (u64::from(below >> self.host_bits), u64::from(below & ((1 << self.host_bits) - 1)))
            }
            (IpAddr::V6(v6), true) => {
                let below = v6.to_bits().checked_sub(V6)?;
                (u64::try_from(below >> V6_HOST_BITS).ok()?, below as u64)
            }
            _ => return None,
        };
        let place = usize::try_from(number.checked_sub(1)?).ok()?;
        self.hosts.get(usize::try_from(router).ok()?)?.get(place).copied()
    }

    /// The hosts of a router, in the order of their addresses.
    pub(super) fn at(&self, router: RouterId) -> &[HostId] {
        &self.hosts[router]
    }

    /// The place of a host among those of its router.
    pub(super) fn place(&self, host: HostId) -> usize {
        self.places[host]
    }

    /// The fewest prefixes such that each router has the next hop that stands at its place.
    pub(super) fn aggregate(&self, next: &[Option<usize>]) -> Vec<(Prefix, usize)> {
        let mut routes = Vec::new();
        self.aggregate_from(next, 0, self.router_bits, &mut routes);
        routes
    }

    fn aggregate_from(
        &self,
        next: &[Option<usize>],
        first: RouterId,
        bits: u32,
        routes: &mut Vec<(Prefix, usize)>,
    ) {
        let end = next.len().min(first + (1 << bits));
        let Some([one, others @ ..]) = next.get(first..end) else { return };
        if others.iter().all(|other| other == one) {
            let length = if self.is_v6 { 128 } else { 32 } - self.host_bits - bits;
            let prefix = Prefix::new(self.address(first, 0), length as u8);
            routes.extend(prefix.zip(*one));
        } else {
            self.aggregate_from(next, first, bits - 1, routes);
            self.aggregate_from(next, first + (1 << (bits - 1)), bits - 1, routes);
        }
    }

    fn address(&self, router: RouterId, number: u64) -> IpAddr {
        match self.is_v6 {
            false => {
                Ipv4Addr::from_bits(V4 | (router as u32) << self.host_bits | number as u32).into()
            }
            true => {
                let router = (router as u128) << V6_HOST_BITS;
                Ipv6Addr::from_bits(V6 | router | u128::from(number)).into()
            }
        }
    }
}

//! Addresses that hosts lease: each key has its own, for as long as it comes back within an hour.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::backbone::keys::PublicKey;
use crate::fib::Prefix;
use crate::forward::Time;
use crate::wire::control::Families;

/// For so long an address is leased, in seconds.
pub(super) const SECONDS: u32 = 3600;
/// Addresses leased at once: twice the sessions there may be.
pub(super) const LEASES_MAX: usize = 2048;

/// The addresses that may be leased, and those that are.
#[derive(Default)]
pub(super) struct Leases {
    pool: Vec<Prefix>,
    reserved: BTreeSet<IpAddr>,
    given: BTreeMap<PublicKey, Given>,
    taken: BTreeMap<IpAddr, PublicKey>,
}

struct Given {
    address: IpAddr,
    until: Time,
}

impl Leases {
    /// From now on, addresses are leased from `pool`, but for those `reserved`. Leases of other
    /// addresses, and of keys that are not `allowed`, end.
    pub(super) fn set_pool(
        &mut self,
        pool: &[Prefix],
        reserved: &[IpAddr],
        allowed: impl Fn(&PublicKey) -> bool,
    ) {
        self.pool = pool.to_vec();
        self.reserved = reserved.iter().copied().collect();
        let keys: Vec<PublicKey> = self.given.keys().copied().collect();
        for key in keys {
            if !allowed(&key) || !self.given.get(&key).is_some_and(|it| self.lends(it.address)) {
                self.end(&key);
            }
        }
    }

    /// Leases an address to a key: the one it has, the one it wishes for, or any.
    pub(super) fn grant(
        &mut self,
        key: PublicKey,
        families: Families,
        wish: Option<IpAddr>,
        now: Time,
    ) -> Option<IpAddr> {
        let held = self.given.get(&key).map(|given| given.address);
        let held = held.filter(|address| families.contain(*address));
        let address = held.or_else(|| {
            self.end(&key);
            if self.given.len() >= LEASES_MAX {
                self.expire(now);
            }
            if self.given.len() >= LEASES_MAX {
                return None;
            }
            let wish = wish.filter(|wish| families.contain(*wish) && self.is_free(*wish));
            wish.or_else(|| self.free(families)).or_else(|| {
                self.expire(now);
                self.free(families)
            })
        })?;
        let until = Time(now.0 + u64::from(SECONDS) * 1_000_000);
        self.given.insert(key, Given { address, until });
        self.taken.insert(address, key);
        Some(address)
    }

    /// The address leased to a key now.
    pub(super) fn address(&self, key: &PublicKey, now: Time) -> Option<IpAddr> {
        self.given.get(key).filter(|given| given.until > now).map(|given| given.address)
    }

    fn end(&mut self, key: &PublicKey) {
        if let Some(given) = self.given.remove(key) {
            self.taken.remove(&given.address);
        }
    }

    fn expire(&mut self, now: Time) {
        self.given.retain(|_, given| given.until > now);
        let given = &self.given;
        self.taken.retain(|_, key| given.contains_key(key));
    }

    fn is_free(&self, address: IpAddr) -> bool {
        self.lends(address) && !self.taken.contains_key(&address)
    }

    /// Whether an address may be leased to somebody.
    fn lends(&self, address: IpAddr) -> bool {
        let inside = |prefix: &Prefix| {
            let (first, last) = usable(prefix);
            prefix.contains(address) && (first..=last).contains(&bits(address))
        };
        self.pool.iter().any(inside) && !self.reserved.contains(&address)
    }

    fn free(&self, families: Families) -> Option<IpAddr> {
        let pool = self.pool.iter().filter(|prefix| families.contain(prefix.address()));
        // Of so many candidates, one is neither leased nor reserved.
        let enough = self.taken.len() + self.reserved.len() + 1;
        pool.into_iter().find_map(|prefix| {
            let (first, last) = usable(prefix);
            let candidates = (first..=last).take(enough).map(|bits| address(prefix, bits));
            candidates.into_iter().find(|candidate| self.is_free(*candidate))
        })
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.given.len(), self.taken.len());
        self.given.len()
    }
}

/// The first and the last address of a prefix that may be leased: not the network's own address,
/// nor the broadcast (IPv6: anycast) addresses, unless it has less than four.
fn usable(prefix: &Prefix) -> (u128, u128) {
    let width = if prefix.address().is_ipv4() { 32 } else { 128 };
    let first = bits(prefix.address());
    let free = width - u32::from(prefix.length());
    let last = first | 1u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
    if free < 2 { (first, last) } else { (first + 1, last - 1) }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn address(prefix: &Prefix, bits: u128) -> IpAddr {
    match prefix.address() {
        IpAddr::V4(_) => IpAddr::V4((bits as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(bits.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Families = Families { v4: true, v6: false };
    const V6: Families = Families { v4: false, v6: true };
    const HOUR: u64 = 3600 * 1_000_000;

    fn key(number: u16) -> PublicKey {
        let mut octets = [0; 32];
        octets[..2].copy_from_slice(&number.to_be_bytes());
        PublicKey(octets)
    }

    fn leases(pool: &[&str], reserved: &[&str]) -> Leases {
        let pool: Vec<Prefix> = pool.iter().map(|text| text.parse().unwrap()).collect();
        let reserved: Vec<IpAddr> = reserved.iter().map(|text| text.parse().unwrap()).collect();
        let mut leases = Leases::default();
        leases.set_pool(&pool, &reserved, |_| true);
        leases
    }

    fn text(address: Option<IpAddr>) -> String {
        address.map(|address| address.to_string()).unwrap_or_default()
    }

    #[test]
    fn each_key_has_its_own_address_until_there_are_no_more() {
        let mut leases = leases(&["10.9.0.0/29"], &["10.9.0.1"]);
        let given: Vec<String> =
            (0..7).map(|at| text(leases.grant(key(at), V4, None, Time(0)))).collect();
        let expected = ["10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6", "", ""];
        assert_eq!(given, expected, "not the network's, the last, or the relay's own");
        assert_eq!(text(leases.grant(key(3), V4, None, Time(HOUR - 1))), "10.9.0.5");
        assert_eq!(text(leases.grant(key(8), V4, None, Time(HOUR))), "10.9.0.2", "free again");
    }

    #[test]
    fn who_comes_back_within_the_hour_has_the_same_one() {
        let mut leases = leases(&["10.9.0.0/24"], &[]);
        for turn in 0..5 {
            let now = Time(turn * (HOUR - 1));
            assert_eq!(text(leases.grant(key(1), V4, None, now)), "10.9.0.1");
            assert_eq!(text(leases.address(&key(1), now)), "10.9.0.1");
        }
        assert_eq!(leases.address(&key(1), Time(10 * HOUR)), None);
    }

    #[test]
    fn a_wish_is_granted_if_it_is_free_and_lent_here() {
        let mut leases = leases(&["10.9.0.0/24", "2001:db8:9::/64"], &["10.9.0.9"]);
        let mut ask = |who, families, wish: &str| {
            text(leases.grant(key(who), families, wish.parse().ok(), Time(0)))
        };
        assert_eq!(ask(1, V4, "10.9.0.77"), "10.9.0.77");
        assert_eq!(ask(2, V4, "10.9.0.77"), "10.9.0.1", "taken");
        assert_eq!(ask(3, V4, "10.8.0.1"), "10.9.0.2", "of another pool");
        assert_eq!(ask(4, V4, "10.9.0.9"), "10.9.0.3", "the relay's own");
        assert_eq!(ask(5, V4, "10.9.0.255"), "10.9.0.4", "the broadcast address");
        assert_eq!(ask(6, V6, "10.9.0.99"), "2001:db8:9::1", "of the other version");
        assert_eq!(ask(1, V6, "2001:db8:9::5"), "2001:db8:9::5", "one address a key");
        assert_eq!(ask(7, V4, "10.9.0.77"), "10.9.0.77");
    }

    #[test]
    fn leases_are_bounded_and_expired_ones_make_room() {
        let mut leases = leases(&["10.0.0.0/8"], &[]);
        for number in 0..LEASES_MAX as u16 + 10 {
            leases.grant(key(number), V4, None, Time(0));
        }
        assert_eq!(leases.len(), LEASES_MAX);
        assert_eq!(leases.grant(key(9999), V4, None, Time(HOUR - 1)), None);
        assert!(leases.grant(key(9999), V4, None, Time(HOUR)).is_some());
        assert_eq!(leases.len(), 1);
    }

    #[test]
    fn a_new_pool_ends_what_it_does_not_lend() {
        let mut leases = leases(&["10.9.0.0/24"], &[]);
        leases.grant(key(1), V4, None, Time(0));
        leases.grant(key(2), V4, "10.9.0.200".parse().ok(), Time(0));
        leases.grant(key(3), V4, None, Time(0));
        leases.set_pool(&["10.9.0.0/25".parse().unwrap()], &[], |who| *who != key(3));
        assert_eq!(text(leases.address(&key(1), Time(0))), "10.9.0.1");
        assert_eq!((leases.address(&key(2), Time(0)), leases.len()), (None, 1));
    }

    #[test]
    fn small_and_huge_pools_are_used_to_the_end() {
        let mut one = leases(&["10.9.0.7/32"], &[]);
        assert_eq!(text(one.grant(key(1), V4, None, Time(0))), "10.9.0.7");
        assert_eq!(one.grant(key(2), V4, None, Time(0)), None);
        let mut all = leases(&["::/0", "0.0.0.0/0"], &[]);
        assert_eq!(text(all.grant(key(1), V6, None, Time(0))), "::1");
        assert_eq!(text(all.grant(key(1), V4, None, Time(0))), "0.0.0.1");
        assert_eq!(leases(&[], &[]).grant(key(1), V4, None, Time(0)), None);
    }
}

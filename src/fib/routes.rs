//! Routes as they are kept: by prefix, in the order in which a table is compiled.

use std::collections::{BTreeMap, btree_map};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::EntryId;
use super::bits::Bits;
use super::prefix::Prefix;

/// What a route does: an index into a list that its owner keeps.
pub type ActionId = u32;

/// What an action comes to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It cannot be followed: as if the route were not there.
    Dead,
    /// The same, as its tunnel is down.
    DeadTunnel,
    /// Its prefix falls through to the tables that are consulted later.
    Throw,
    /// It leads to this entry.
    To(EntryId),
}

impl Outcome {
    /// Whether it cannot be followed.
    pub fn is_dead(self) -> bool {
        matches!(self, Outcome::Dead | Outcome::DeadTunnel)
    }
}

/// The routes of one table. Those of a prefix stand in the order in which they are preferred: by
/// metric, and in the order of the kernel where that is equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    v4: Family<u32>,
    v6: Family<u128>,
}

/// Of one IP version.
pub(super) type Family<B> = BTreeMap<Key<B>, ActionId>;

/// The first address comes first, then the length: a prefix stands in front of all that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<B> {
    pub(super) first: B,
    pub(super) length: u8,
    metric: u32,
    /// Among those of equal metric.
    place: i32,
}

impl<B> Key<B> {
    /// Not behind any route of this prefix.
    pub(super) fn lowest(first: B, length: u8) -> Key<B> {
        Key { first, length, metric: 0, place: i32::MIN }
    }

    fn highest(first: B, length: u8) -> Key<B> {
        Key { first, length, metric: u32::MAX, place: i32::MAX }
    }
}

/// Does the same for either IP version: `$family` and `$first` become those of `$prefix`.
macro_rules! by_version {
    ($routes:ident, $prefix:expr, |$family:ident, $first:ident| $body:expr) => {
        match $prefix.address() {
            IpAddr::V4(address) => {
                let ($family, $first) = (&mut $routes.v4, address.to_bits());
                $body
            }
            IpAddr::V6(address) => {
                let ($family, $first) = (&mut $routes.v6, address.to_bits());
                $body
            }
        }
    };
}

impl Routes {
    /// No routes.
    pub fn new() -> Routes {
        Routes::default()
    }

    /// Of routes in any order, those of equal prefix and metric in the order in which they are
    /// preferred. The actions of those that came a second time are left out, and returned.
    pub fn collect(
        routes: impl IntoIterator<Item = (Prefix, u32, ActionId)>,
    ) -> (Routes, Vec<ActionId>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, metric, action) in routes {
            let length = prefix.length();
            match prefix.address() {
                IpAddr::V4(first) => {
                    v4.push((Key { first: first.to_bits(), length, metric, place: 0 }, action));
                }
                IpAddr::V6(first) => {
                    v6.push((Key { first: first.to_bits(), length, metric, place: 0 }, action));
                }
            }
        }
        let mut doubles = Vec::new();
        (Routes { v4: ordered(v4, &mut doubles), v6: ordered(v6, &mut doubles) }, doubles)
    }

    /// Adds a route in front of those of its prefix and metric, or behind them.
    pub fn insert(&mut self, prefix: Prefix, metric: u32, in_front: bool, action: ActionId) {
        by_version!(self, prefix, |family, first| {
            let length = prefix.length();
            let low = Key { first, length, metric, place: i32::MIN };
            let mut equal = family.range(low..=Key { place: i32::MAX, ..low });
            let place = match in_front {
                true => equal.next().map_or(0, |(key, _)| key.place.saturating_sub(1)),
                false => equal.next_back().map_or(0, |(key, _)| key.place.saturating_add(1)),
            };
            family.insert(Key { place, ..low }, action);
        })
    }

    /// Puts another action in place of the first of a prefix and metric; returns that, or `None`
    /// if there is none.
    pub fn replace(&mut self, prefix: Prefix, metric: u32, action: ActionId) -> Option<ActionId> {
        by_version!(self, prefix, |family, first| {
            let low = Key { first, length: prefix.length(), metric, place: i32::MIN };
            let (_, present) = family.range_mut(low..=Key { place: i32::MAX, ..low }).next()?;
            Some(std::mem::replace(present, action))
        })
    }

    /// Takes a route away; returns whether there was one.
    pub fn remove(&mut self, prefix: Prefix, metric: u32, action: ActionId) -> bool {
        by_version!(self, prefix, |family, first| {
            let low = Key { first, length: prefix.length(), metric, place: i32::MIN };
            let mut equal = family.range(low..=Key { place: i32::MAX, ..low });
            let key = equal.find(|(_, present)| **present == action).map(|(key, _)| *key);
            key.is_some_and(|key| family.remove(&key).is_some())
        })
    }

    /// The routes of a prefix and metric, the preferred first.
    pub fn equal(&self, prefix: Prefix, metric: u32) -> impl Iterator<Item = ActionId> + '_ {
        self.of(prefix).filter(move |route| route.0 == metric).map(|route| route.1)
    }

    /// The routes of a prefix with their metrics, the preferred first.
    pub fn of(&self, prefix: Prefix) -> impl Iterator<Item = (u32, ActionId)> + '_ {
        let length = prefix.length();
        let (v4, v6) = match prefix.address() {
            IpAddr::V4(first) => (Some(candidates(&self.v4, first.to_bits(), length)), None),
            IpAddr::V6(first) => (None, Some(candidates(&self.v6, first.to_bits(), length))),
        };
        let v4 = v4.into_iter().flatten().map(|(key, action)| (key.metric, *action));
        v4.chain(v6.into_iter().flatten().map(|(key, action)| (key.metric, *action)))
    }

    /// All routes with their metrics: IPv4 first, by address, length and preference.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, u32, ActionId)> + '_ {
        let v4 = self.v4.iter().map(|(key, action)| {
            let prefix = Prefix::new(Ipv4Addr::from_bits(key.first).into(), key.length);
            (prefix, key.metric, *action)
        });
        let v6 = self.v6.iter().map(|(key, action)| {
            let prefix = Prefix::new(Ipv6Addr::from_bits(key.first).into(), key.length);
            (prefix, key.metric, *action)
        });
        v4.chain(v6).filter_map(|(prefix, metric, action)| Some((prefix?, metric, action)))
    }

    pub(super) fn v4(&self) -> &Family<u32> {
        &self.v4
    }

    pub(super) fn v6(&self) -> &Family<u128> {
        &self.v6
    }
}

/// The routes of a prefix, the preferred first.
pub(super) fn candidates<B: Bits>(
    family: &Family<B>,
    first: B,
    length: u8,
) -> btree_map::Range<'_, Key<B>, ActionId> {
    family.range(Key::lowest(first, length)..=Key::highest(first, length))
}

fn ordered<B: Bits>(mut routes: Vec<(Key<B>, ActionId)>, doubles: &mut Vec<ActionId>) -> Family<B> {
    routes.sort_by_key(|(key, _)| *key); // stable
    let mut before: Vec<ActionId> = Vec::new();
    let mut last: Option<Key<B>> = None;
    routes.retain_mut(|(key, action)| {
        if last != Some(*key) {
            last = Some(*key);
            before.clear();
        }
        if before.contains(action) {
            doubles.push(*action);
            return false;
        }
        key.place = before.len() as i32;
        before.push(*action);
        true
    });
    routes.into_iter().collect()
}

//! A new configuration: what stays, what ends, what begins.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::Peers;
use super::config::{Config, DownReason, EndId, Pinned, Role};
use super::dial::{Dial, Origin};
use super::end::{End, Repeated};
use super::pending::Pending;
use crate::backbone::keys::PublicKey;
use crate::fib::Prefix;
use crate::forward::Time;
use crate::wire::control::{CloseReason, Lease, Message, PREFIXES_MAX};

impl Peers {
    /// From now on this is the configuration. Sessions with ends that are still allowed stay; those
    /// of them that are up are told of once more, by [`Output::Changed`](super::Output::Changed).
    pub fn set_config(&mut self, config: Config, now: Time) {
        if config.private_key != self.config.private_key {
            self.close_all(now);
            self.pending = Pending::default();
            self.dials.clear();
        }
        let own = config.private_key.public();
        let mut wanted: BTreeMap<PublicKey, (Role, Option<Pinned>)> =
            config.allowed.iter().map(|(key, role)| (*key, (*role, None))).collect();
        for pinned in &config.pinned {
            wanted.insert(pinned.key, (Role::Relay, Some(pinned.clone())));
        }
        wanted.remove(&own);
        self.config = config;
        self.set_ends(wanted, now);
        self.set_dials(now);
        let allowed = |key: &PublicKey| self.ends.contains_key(key);
        self.leases.set_pool(&self.config.leases, &self.config.reserved, allowed);
        self.set_announcement(now);
        for key in self.keys() {
            self.check_lease(key, now);
            if let Some(end) = self.ends.get_mut(&key) {
                // What is taken for true of its announcement may have changed, and who hears of it
                // may have begun anew.
                (end.is_changed, end.told, end.quiet_until) = (true, None, Time(0));
            }
            self.settle(key, now);
        }
    }

    pub(super) fn keys(&self) -> Vec<PublicKey> {
        self.ends.keys().copied().collect()
    }

    fn set_ends(&mut self, wanted: BTreeMap<PublicKey, (Role, Option<Pinned>)>, now: Time) {
        for key in self.keys() {
            let Some(end) = self.ends.get_mut(&key) else { continue };
            let stays = wanted.get(&key).is_some_and(|(role, pinned)| {
                let address = |pinned: &Option<Pinned>| pinned.as_ref().map(|it| it.address);
                *role == end.role && address(pinned) == address(&end.pinned)
            });
            if !stays {
                let reason = DownReason::NotAllowed;
                end.close(reason, Some(CloseReason::NotAllowed), now, &mut self.outputs);
                self.settle(key, now);
                self.ends.remove(&key);
            }
        }
        for (key, (role, pinned)) in wanted {
            if let Some(end) = self.ends.get_mut(&key) {
                end.pinned = pinned;
                continue;
            }
            let id = EndId(self.next_id);
            self.next_id += 1;
            self.ends.insert(key, End::new(id, role, pinned));
        }
    }

    fn set_dials(&mut self, now: Time) {
        let pinned = self.config.pinned.iter().map(|pinned| (pinned.address, Some(pinned.key)));
        let seeds = self.config.seeds.iter().map(|seed| (seed.address, seed.key));
        let wanted: BTreeSet<(SocketAddr, Option<PublicKey>)> = pinned.chain(seeds).collect();
        let (ends, is_relay) = (&self.ends, self.config.role == Role::Relay);
        self.dials.retain(|dial| match dial.origin {
            Origin::Configured => wanted.contains(&(dial.address, dial.expected)),
            Origin::Learned => is_relay && dial.expected.is_some_and(|key| ends.contains_key(&key)),
            Origin::Rekey => dial.expected.is_some_and(|key| ends.contains_key(&key)),
        });
        for (address, key) in wanted {
            let same = |dial: &Dial| {
                dial.origin == Origin::Configured && (dial.address, dial.expected) == (address, key)
            };
            if !self.dials.iter().any(same) {
                self.dials.push(Dial::new(address, key, Origin::Configured, now));
            }
        }
    }

    fn set_announcement(&mut self, now: Time) {
        let near = self.config.prefixes.iter().chain(&self.config.leases);
        let near: BTreeSet<Prefix> = near.copied().collect();
        let near = near.into_iter().take(PREFIXES_MAX);
        let prefixes: Vec<_> = near.map(|prefix| (prefix.address(), prefix.length())).collect();
        if prefixes != self.announcement.1 {
            self.announcement = (self.announcement.0 + 1, prefixes);
            for end in self.ends.values_mut().filter(|end| end.has_session()) {
                end.announcing = Repeated::start(now);
            }
        }
    }

    /// An end whose lease is no more is told so.
    pub(super) fn check_lease(&mut self, key: PublicKey, now: Time) {
        let Some(end) = self.ends.get_mut(&key) else { return };
        if end.lease.is_some() && end.lease != self.leases.address(&key, now) {
            end.lease = None;
            end.is_changed = true;
            let relay = self.config.name.clone();
            let none = Lease { address: None, seconds: 0, relay };
            end.send(&Message::Lease(none), &mut self.outputs);
        }
    }
}

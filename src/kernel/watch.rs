//! Knows which notifications do not tell the whole story about routes. Pure.
//!
//! The kernel drops IPv4 routes without a word when a link goes down, is deleted or changes its
//! master (`fib_disable_ip`), when an address goes (`fib_sync_down_addr`) and when a nexthop
//! object goes (`__remove_nexthop_fib`). An IPv6 multipath route grows and shrinks by messages
//! that show its other next hops, or only the one that went, and where IPv6 routes share prefix
//! and metric, a replacement may take several of them. A dump of such routes hides those that stand
//! between the next hops of a multipath route (`fib6_dump_node`), and they come to light when it
//! goes. In all these cases the routes have to be dumped again.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_core::{NLM_F_EXCL, NLM_F_REPLACE};

use super::decode::Nexthop;
use crate::fib::Prefix;
use crate::rib::{Change, InterfaceIndex, KernelRoute, Link, RouteAction};

/// What to do with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Pass it on.
    Pass,
    /// Pass it on, and dump the routes again.
    PassAndDump,
    /// Dump the routes again instead: alone it would mislead.
    DumpInstead,
}

/// The little that must be remembered to judge.
#[derive(Debug, Default)]
pub(super) struct Watch {
    links: BTreeMap<InterfaceIndex, Standing>,
    nexthops: BTreeSet<u32>,
    /// IPv6 routes with several next hops.
    multipath: BTreeSet<Key>,
    /// IPv6 prefixes and metrics that several routes share, or shared since the last dump.
    shared: BTreeSet<Key>,
}

/// A route's table, prefix and metric.
type Key = (u32, Prefix, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    up: bool,
    master: Option<InterfaceIndex>,
}

impl From<&Link> for Standing {
    fn from(link: &Link) -> Standing {
        Standing { up: link.admin_up, master: link.master }
    }
}

impl Watch {
    /// Judges a notification; `flags` are its message's.
    pub(super) fn judge(&mut self, change: &Change, flags: u16) -> Verdict {
        match change {
            Change::Link(link) => {
                let new = Standing::from(link);
                let lost = self
                    .links
                    .insert(link.index, new)
                    .is_some_and(|old| (old.up && !new.up) || old.master != new.master);
                dump_if(lost)
            }
            Change::LinkGone(index) => {
                self.links.remove(index);
                Verdict::PassAndDump
            }
            Change::AddressGone(address) => dump_if(address.address.is_ipv4()),
            Change::Route(route, _) if route.prefix.address().is_ipv6() => {
                self.route_v6(route, flags)
            }
            Change::RouteGone(route) if route.prefix.address().is_ipv6() => {
                self.route_v6_gone(route)
            }
            _ => Verdict::Pass,
        }
    }

    /// Judges a notification about a nexthop object: whether routes must be dumped. A new one
    /// serves no route yet. Of a changed one the kernel tells the routes too
    /// (`net.ipv4.nexthop_compat_mode`), but of IPv4 not which of several it means; and it tells
    /// none when one is deleted, be it alone or as a member of a group.
    pub(super) fn judge_nexthop(&mut self, nexthop: Nexthop) -> bool {
        match nexthop {
            Nexthop::Set(id) => !self.nexthops.insert(id),
            Nexthop::Gone(id) => {
                self.nexthops.remove(&id);
                true
            }
        }
    }

    /// Learns from a dump of all links.
    pub(super) fn links_are(&mut self, links: &[Link]) {
        self.links = links.iter().map(|link| (link.index, Standing::from(link))).collect();
    }

    /// Learns from a dump of all nexthop objects.
    pub(super) fn nexthops_are(&mut self, nexthops: BTreeSet<u32>) {
        self.nexthops = nexthops;
    }

    /// Learns from a dump of all routes.
    pub(super) fn routes_are(&mut self, routes: &[KernelRoute]) {
        let v6 = |route: &&KernelRoute| route.prefix.address().is_ipv6();
        self.multipath =
            routes.iter().filter(v6).filter(|route| hops(route) > 1).map(key).collect();
        // A dump has the routes of one prefix in a row, by metric.
        let pairs = routes.iter().zip(routes.iter().skip(1));
        self.shared = pairs
            .map(|(one, next)| (key(next), key(one) == key(next)))
            .filter(|((_, prefix, _), same)| *same && prefix.address().is_ipv6())
            .map(|(key, _)| key)
            .collect();
    }

    /// A replacement (`NLM_F_REPLACE`) is exact for a route that is alone, and a route that says
    /// it found no other (`NLM_F_EXCL`) is new.
    fn route_v6(&mut self, route: &KernelRoute, flags: u16) -> Verdict {
        let key = key(route);
        let replaced = flags & NLM_F_REPLACE != 0;
        let joined = !replaced && flags & NLM_F_EXCL == 0;
        let several = hops(route) > 1;
        let was_several = replaced && self.multipath.remove(&key);
        if several {
            self.multipath.insert(key);
        }
        if (replaced && self.shared.contains(&key)) || (joined && several) {
            return Verdict::DumpInstead;
        }
        if joined {
            self.shared.insert(key);
        }
        dump_if(was_several)
    }

    fn route_v6_gone(&mut self, route: &KernelRoute) -> Verdict {
        let key = key(route);
        match (hops(route) > 1, self.multipath.contains(&key)) {
            (true, _) => {
                self.multipath.remove(&key);
                Verdict::PassAndDump
            }
            (false, true) => Verdict::DumpInstead,
            // It may have been there twice: routes that drop may be equal in all.
            (false, false) => dump_if(self.shared.contains(&key)),
        }
    }
}

fn dump_if(condition: bool) -> Verdict {
    if condition { Verdict::PassAndDump } else { Verdict::Pass }
}

fn hops(route: &KernelRoute) -> usize {
    match &route.action {
        RouteAction::Forward(hops) => hops.len(),
        RouteAction::Drop | RouteAction::Throw => 0,
    }
}

fn key(route: &KernelRoute) -> Key {
    (route.table, route.prefix, route.metric)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};

    use super::*;
    use crate::rib::{Address, LinkKind, NextHop, Placement};

    fn link(index: u32, admin_up: bool, master: Option<u32>) -> Link {
        Link {
            index,
            name: format!("eth{index}"),
            mtu: 1500,
            kind: LinkKind::Ethernet,
            address: None,
            admin_up,
            carrier: true,
            master,
        }
    }

    fn route(prefix: &str, gateways: &[&str]) -> KernelRoute {
        let hop = |gateway: &&str| NextHop {
            interface: 2,
            gateway: Some(gateway.parse().unwrap()),
            weight: 1,
        };
        KernelRoute {
            table: 254,
            prefix: prefix.parse().unwrap(),
            metric: 1024,
            action: RouteAction::Forward(gateways.iter().map(hop).collect()),
        }
    }

    fn added(watch: &mut Watch, route: KernelRoute, flags: u16) -> Verdict {
        watch.judge(&Change::Route(route, Placement::Last), flags)
    }

    #[test]
    fn a_link_that_falls_takes_routes_along() {
        let mut watch = Watch::default();
        watch.links_are(&[link(2, true, None), link(3, false, None)]);
        let mut judge = |link| watch.judge(&Change::Link(link), 0);
        assert_eq!(judge(link(2, true, None)), Verdict::Pass);
        assert_eq!(judge(link(3, false, None)), Verdict::Pass);
        assert_eq!(judge(link(4, false, None)), Verdict::Pass);
        assert_eq!(judge(link(2, false, None)), Verdict::PassAndDump);
        assert_eq!(judge(link(2, true, None)), Verdict::Pass);
        assert_eq!(judge(link(2, true, Some(4))), Verdict::PassAndDump);
        assert_eq!(watch.judge(&Change::LinkGone(2), 0), Verdict::PassAndDump);
    }

    #[test]
    fn an_ipv4_address_that_goes_takes_routes_along() {
        let gone = |address: &str| {
            let address = address.parse().unwrap();
            let address =
                Address { interface: 2, address, prefix_length: 24, peer: None, broadcast: None };
            Watch::default().judge(&Change::AddressGone(address), 0)
        };
        assert_eq!(gone("10.0.0.1"), Verdict::PassAndDump);
        assert_eq!(gone("fd00::1"), Verdict::Pass);
    }

    #[test]
    fn nexthop_objects_matter_once_routes_can_use_them() {
        let mut watch = Watch::default();
        watch.nexthops_are(BTreeSet::from([1]));
        assert!(watch.judge_nexthop(Nexthop::Set(1)));
        assert!(!watch.judge_nexthop(Nexthop::Set(2)));
        assert!(watch.judge_nexthop(Nexthop::Set(2)));
        assert!(watch.judge_nexthop(Nexthop::Gone(2)));
        assert!(!watch.judge_nexthop(Nexthop::Set(2)));
    }

    #[test]
    fn an_ipv6_multipath_route_that_grows_or_shrinks_is_dumped() {
        let mut watch = Watch::default();
        let (one, two) = (["fd00::1"], ["fd00::1", "fd00::2"]);
        let new = NLM_F_CREATE | NLM_F_EXCL;
        assert_eq!(added(&mut watch, route("fd01::/32", &one), new), Verdict::Pass);
        assert_eq!(added(&mut watch, route("fd02::/32", &two), new), Verdict::Pass);
        let append = NLM_F_CREATE | NLM_F_APPEND;
        assert_eq!(added(&mut watch, route("fd01::/32", &two), append), Verdict::DumpInstead);
        let mut gone =
            |prefix, hops: &[&str]| watch.judge(&Change::RouteGone(route(prefix, hops)), 0);
        assert_eq!(gone("fd02::/32", &one), Verdict::DumpInstead);
        assert_eq!(gone("fd02::/32", &two), Verdict::PassAndDump);
        assert_eq!(gone("fd02::/32", &one), Verdict::Pass);
        let replaced = added(&mut watch, route("fd01::/32", &one), NLM_F_REPLACE);
        assert_eq!(replaced, Verdict::PassAndDump);
        assert_eq!(added(&mut watch, route("fd01::/32", &one), NLM_F_REPLACE), Verdict::Pass);
        let gone = watch.judge(&Change::RouteGone(route("fd01::/32", &one)), 0);
        assert_eq!(gone, Verdict::Pass);
    }

    #[test]
    fn a_replacement_among_ipv6_routes_that_share_a_metric_is_dumped() {
        let mut watch = Watch::default();
        let new = NLM_F_CREATE | NLM_F_EXCL;
        let one = route("fd01::/32", &["fd00::1"]);
        assert_eq!(added(&mut watch, one.clone(), new), Verdict::Pass);
        assert_eq!(added(&mut watch, one.clone(), NLM_F_REPLACE), Verdict::Pass);
        assert_eq!(added(&mut watch, one.clone(), NLM_F_CREATE), Verdict::Pass);
        assert_eq!(added(&mut watch, one.clone(), NLM_F_REPLACE), Verdict::DumpInstead);
        watch.routes_are(std::slice::from_ref(&one));
        assert_eq!(added(&mut watch, one.clone(), NLM_F_REPLACE), Verdict::Pass);
        watch.routes_are(&[route("fd00::/32", &["fd00::1"]), one.clone(), one.clone()]);
        assert_eq!(added(&mut watch, one.clone(), NLM_F_REPLACE), Verdict::DumpInstead);
        assert_eq!(watch.judge(&Change::RouteGone(one), 0), Verdict::PassAndDump);
    }

    #[test]
    fn ipv4_routes_speak_for_themselves() {
        let mut watch = Watch::default();
        let two = route("10.0.0.0/8", &["10.0.0.1", "10.0.0.2"]);
        assert_eq!(added(&mut watch, two.clone(), NLM_F_APPEND), Verdict::Pass);
        assert_eq!(watch.judge(&Change::RouteGone(two), 0), Verdict::Pass);
    }
}

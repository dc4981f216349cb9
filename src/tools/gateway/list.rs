//! Whom the stream is for: a list that is edited as a whole or not at all. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::send;
use crate::host::Destination;

/// The most destinations of a gateway.
pub(super) const DESTINATIONS_MAX: usize = 4096;

/// What is asked of a running gateway; destinations as they were typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// Says who is in the list, and how they fare.
    List,
    /// Puts these in; those that are there already get this DSCP.
    Add(Vec<String>),
    /// Takes these out, which must be there.
    Remove(Vec<String>),
    /// Makes the list one of these alone.
    Set(Vec<String>),
}

/// What an edit has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) added: usize,
    pub(super) removed: usize,
}

/// Destinations in order of their addresses, each place once.
pub(super) struct List {
    /// The port of those that name none.
    port: u16,
    dscps: BTreeMap<(IpAddr, u16), Option<u8>>,
    all: Vec<Destination>,
}

impl List {
    pub(super) fn new(port: u16) -> List {
        List { port, dscps: BTreeMap::new(), all: Vec::new() }
    }

    pub(super) fn destinations(&self) -> &[Destination] {
        &self.all
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.dscps.range((address, 0)..=(address, u16::MAX)).next().is_some()
    }

    /// Does what is asked, unless anything is wrong with it: then nothing changes, and the error
    /// says all that is wrong. `admit` says why a destination cannot be one.
    pub(super) fn edit(
        &mut self,
        request: &Request,
        admit: impl Fn(&Destination) -> Result<(), String>,
    ) -> Result<Change, String> {
        let (texts, before) = match request {
            Request::List => return Ok(Change { added: 0, removed: 0 }),
            Request::Set(texts) => (texts, BTreeMap::new()),
            Request::Add(texts) | Request::Remove(texts) => (texts, self.dscps.clone()),
        };
        let mut edited = before;
        let mut complaints = Vec::new();
        for text in texts {
            let read = send::destination(text, Some(self.port));
            let changed = read.and_then(|destination| {
                let place = (destination.address, destination.port);
                if let Request::Remove(_) = request {
                    let there = self.dscps.contains_key(&place);
                    edited.remove(&place);
                    return there.then_some(()).ok_or(format!("`{text}` is not in the list"));
                }
                admit(&destination).map_err(|why| format!("`{text}` {why}"))?;
                edited.insert(place, destination.dscp);
                Ok(())
            });
            complaints.extend(changed.err());
        }
        if edited.len() > DESTINATIONS_MAX {
            let count = edited.len();
            complaints.push(format!("{count} destinations are more than {DESTINATIONS_MAX}"));
        }
        if !complaints.is_empty() {
            return Err(complaints.join("; "));
        }
        let added = edited.keys().filter(|place| !self.dscps.contains_key(*place)).count();
        let removed = self.dscps.keys().filter(|place| !edited.contains_key(*place)).count();
        self.dscps = edited;
        let destination = |(&(address, port), &dscp): (&_, &_)| Destination { address, port, dscp };
        self.all = self.dscps.iter().map(destination).collect();
        Ok(Change { added, removed })
    }
}

/// Why no host can be at an address, if that is so.
pub(super) fn is_host(address: IpAddr) -> Result<(), String> {
    let why = match address {
        _ if address.is_multicast() => "is a group: list its members",
        _ if address.is_unspecified() => "is nobody's address",
        _ if address.is_loopback() => "is on the loopback, which Xcast packets do not take",
        IpAddr::V4(v4) if v4.is_broadcast() => "is a broadcast address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "is an IPv4 address: write it as one",
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn admit(destination: &Destination) -> Result<(), String> {
        is_host(destination.address)
    }

    fn places(list: &List) -> Vec<String> {
        let each = list.destinations().iter();
        each.map(|d| format!("{}:{}/{:?}", d.address, d.port, d.dscp)).collect()
    }

    #[test]
    fn a_list_is_edited_as_it_is_asked() {
        let mut list = List::new(5004);
        let add = Request::Add(texts(&["10.0.0.2", "10.0.0.1:7/46", "fd00::1", "10.0.0.2:5004"]));
        assert_eq!(list.edit(&add, admit), Ok(Change { added: 3, removed: 0 }));
        let expected = ["10.0.0.1:7/Some(46)", "10.0.0.2:5004/None", "fd00::1:5004/None"];
        assert_eq!(places(&list), expected);
        let again = Request::Add(texts(&["10.0.0.1:7"]));
        assert_eq!(list.edit(&again, admit), Ok(Change { added: 0, removed: 0 }));
        let set = Request::Set(texts(&["10.0.0.1:7", "10.0.0.3"]));
        assert_eq!(list.edit(&set, admit), Ok(Change { added: 1, removed: 2 }));
        let remove = Request::Remove(texts(&["10.0.0.3"]));
        assert_eq!(list.edit(&remove, admit), Ok(Change { added: 0, removed: 1 }));
        assert_eq!(places(&list), ["10.0.0.1:7/None"]);
        assert!(list.has([10, 0, 0, 1].into()) && !list.has([10, 0, 0, 3].into()));
    }

    #[test]
    fn one_wrong_destination_changes_nothing_and_is_named() {
        let mut list = List::new(5004);
        list.edit(&Request::Set(texts(&["10.0.0.1"])), admit).unwrap();
        for (request, named) in [
            (Request::Add(texts(&["10.0.0.2", "10.0.0"])), "`10.0.0`"),
            (Request::Add(texts(&["224.0.0.5", "10.0.0.2"])), "`224.0.0.5` is a group"),
            (Request::Set(texts(&["10.0.0.2", "0.0.0.0"])), "`0.0.0.0`"),
            (Request::Set(texts(&["::ffff:10.0.0.2"])), "`::ffff:10.0.0.2`"),
            (Request::Set(texts(&["255.255.255.255"])), "broadcast"),
            (Request::Set(texts(&["127.0.0.1"])), "loopback"),
            (Request::Remove(texts(&["10.0.0.1", "10.0.0.9"])), "`10.0.0.9` is not in"),
            (Request::Remove(texts(&["10.0.0.1:9"])), "`10.0.0.1:9` is not in"),
        ] {
            let complaint = list.edit(&request, admit).unwrap_err();
            assert!(complaint.contains(named), "{complaint}");
            assert_eq!(places(&list), ["10.0.0.1:5004/None"]);
        }
        let two = Request::Add(texts(&["x", "10.0.0.2:0"]));
        let complaint = list.edit(&two, admit).unwrap_err();
        assert!(complaint.contains("`x`") && complaint.contains("`10.0.0.2:0`"), "{complaint}");
    }

    #[test]
    fn a_list_has_an_end() {
        let many = |count: u32| {
            let address = |n: u32| std::net::Ipv4Addr::from_bits(0x0a00_0001 + n).to_string();
            Request::Set((0..count).map(address).collect())
        };
        let mut list = List::new(5004);
        assert!(list.edit(&many(4097), admit).unwrap_err().contains("4097"));
        assert_eq!(list.edit(&many(4096), admit), Ok(Change { added: 4096, removed: 0 }));
        assert!(list.edit(&Request::Add(texts(&["fd00::1"])), admit).is_err());
    }

    proptest! {
        /// Against a plain vector.
        #[test]
        fn edits_are_those_of_a_set(
            edits in prop::collection::vec((0u8..3, prop::collection::vec(0u8..6, 0..4)), 0..20)
        ) {
            let mut list = List::new(9);
            let mut model: Vec<u8> = Vec::new();
            for (kind, hosts) in edits {
                let names = hosts.iter().map(|host| format!("10.0.0.{host}")).collect();
                let before = model.clone();
                let (request, fits) = match kind {
                    0 => (Request::Add(names), true),
                    1 => (Request::Remove(names), hosts.iter().all(|host| model.contains(host))),
                    _ => (Request::Set(names), true),
                };
                if fits {
                    match kind {
                        1 => model.retain(|host| !hosts.contains(host)),
                        2 => model.clone_from(&hosts),
                        _ => model.extend(&hosts),
                    }
                    model.sort_unstable();
                    model.dedup();
                }
                let count = |of: &[u8], not: &[u8]| of.iter().filter(|h| !not.contains(h)).count();
                let expected =
                    Change { added: count(&model, &before), removed: count(&before, &model) };
                prop_assert_eq!(list.edit(&request, admit).ok(), fits.then_some(expected));
                let expected: Vec<String> =
                    model.iter().map(|host| format!("10.0.0.{host}:9/None")).collect();
                prop_assert_eq!(places(&list), expected);
            }
        }
    }
}

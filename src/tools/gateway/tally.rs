//! What has become of the stream so far, for people and for scripts. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

/// Kinds of troubles that are told apart; more are counted as one.
const TROUBLES_MAX: usize = 4096;

/// So many destinations, in words.
pub(super) fn counted(destinations: u64) -> String {
    match destinations {
        1 => "1 destination".to_owned(),
        count => format!("{count} destinations"),
    }
}

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Datagrams that came in.
    pub(super) datagrams: u64,
    /// Octets of their payloads.
    pub(super) bytes: u64,
    /// Packets that carry them on: a long list takes several for a datagram.
    pub(super) packets: u64,
    /// Copies of these that left this host.
    pub(super) copies: u64,
    /// Datagrams that came faster than they were taken.
    pub(super) lost: u64,
    /// Datagrams that nobody got, by why.
    refused: BTreeMap<&'static str, u64>,
    /// By destination, where it is known, and by what happened.
    troubles: BTreeMap<(Option<IpAddr>, String), u64>,
}

impl Tally {
    pub(super) fn take(&mut self, payload: &[u8]) {
        self.datagrams += 1;
        self.bytes += payload.len() as u64;
    }

    /// Nobody got a datagram.
    pub(super) fn refuse(&mut self, why: &'static str) {
        *self.refused.entry(why).or_default() += 1;
    }

    /// A destination did not get one, or it is told so; returns whether that is news.
    pub(super) fn trouble(&mut self, destination: Option<IpAddr>, what: String) -> bool {
        let mut key = (destination, what);
        if self.troubles.len() >= TROUBLES_MAX && !self.troubles.contains_key(&key) {
            key = (None, "other".to_owned());
        }
        let count = self.troubles.entry(key).or_default();
        *count += 1;
        *count == 1
    }

    /// What happened to one destination, and how often.
    pub(super) fn troubles_of(&self, address: IpAddr) -> impl Iterator<Item = (&str, u64)> {
        let from = (Some(address), String::new());
        let of_it =
            self.troubles.range(from..).take_while(move |((to, _), _)| *to == Some(address));
        of_it.map(|((_, what), count)| (what.as_str(), *count))
    }

    /// The counts as fields of an object.
    pub(super) fn json(&self, destinations: usize) -> Map<String, Value> {
        let each = self.troubles.iter().map(|((destination, what), count)| {
            let destination = destination.map(|address| address.to_string());
            json!({ "destination": destination, "trouble": what, "count": count })
        });
        let fields = [
            ("datagrams", self.datagrams.into()),
            ("bytes", self.bytes.into()),
            ("packets", self.packets.into()),
            ("copies", self.copies.into()),
            ("destinations", destinations.into()),
            ("lost", self.lost.into()),
            ("refused", json!(self.refused)),
            ("troubles", each.collect()),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// One line.
    pub(super) fn line(&self, destinations: usize) -> String {
        let Tally { datagrams, bytes, packets, copies, lost, .. } = self;
        let refused: u64 = self.refused.values().sum();
        let reasons: Vec<String> =
            self.refused.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let reasons = match reasons.is_empty() {
            true => String::new(),
            false => format!(" ({})", reasons.join(", ")),
        };
        format!(
            "{datagrams} datagrams ({bytes} bytes) in, {packets} packets out in {copies} copies \
             for {}; lost {lost}, refused {refused}{reasons}",
            counted(destinations as u64)
        )
    }

    /// A line, and one for each trouble.
    pub(super) fn summary(&self, destinations: usize) -> String {
        let each = self.troubles.iter().map(|((destination, what), count)| match destination {
            Some(address) => format!("\n  {address}: {what} ({count})"),
            None => format!("\n  {what} ({count})"),
        });
        self.line(destinations) + &each.collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_told_by_destination() {
        let mut tally = Tally::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert!(tally.trouble(Some(one), "too-big".to_owned()));
        assert!(tally.trouble(Some(other), "too-big".to_owned()));
        assert!(!tally.trouble(Some(one), "too-big".to_owned()));
        assert!(tally.trouble(Some(one), "no-route".to_owned()));
        tally.take(b"four");
        tally.refuse("own");
        let told: Vec<_> = tally.troubles_of(one).collect();
        assert_eq!(told, [("no-route", 1), ("too-big", 2)]);
        assert_eq!(
            tally.summary(2),
            "1 datagrams (4 bytes) in, 0 packets out in 0 copies for 2 destinations; lost 0, \
             refused 1 (1 own)\n  10.0.0.1: no-route (1)\n  10.0.0.1: too-big (2)\n  \
             10.0.0.2: too-big (1)"
        );
        let json = Value::from(tally.json(2));
        assert_eq!(json["refused"]["own"], 1);
        assert_eq!(json["troubles"][1]["destination"], "10.0.0.1");
        assert_eq!(json["troubles"][1]["count"], 2);
    }

    #[test]
    fn troubles_have_an_end() {
        let mut tally = Tally::default();
        for number in 0..10_000u32 {
            let address = std::net::Ipv4Addr::from_bits(number);
            tally.trouble(Some(address.into()), "ttl-expired".to_owned());
        }
        assert_eq!(tally.troubles.len(), TROUBLES_MAX + 1);
        assert_eq!(tally.troubles[&(None, "other".to_owned())], 10_000 - TROUBLES_MAX as u64);
    }
}

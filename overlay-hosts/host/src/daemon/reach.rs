//! Whom Xcast reaches: those that have answered an Xcast probe lately. Probed are those that
//! messages with several receivers have gone to lately.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use overlay_protocols::node::{DESTINATIONS_MAX, XCAST_HOLDS};
use overlay_protocols::{Endpoint, PeerId, Time};

/// How often it is looked who is to be probed.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(4);
/// Who has answered so lately is not asked: with one question in eight seconds there is time for a
/// second one before the answer does not hold any more, and answers are unicast packets.
const FRESH: Duration = Duration::from_secs(7);
/// Who was in no message with several receivers for so long is probed no more.
const IN_USE: Duration = Duration::from_secs(60);
/// The most receivers that are remembered, of some 100 octets each.
const KNOWN_MAX: usize = 4096;

/// What is known of one receiver.
struct Known {
    id: Option<PeerId>,
    used: Time,
    reached: Option<Time>,
}

/// What is known of all.
#[derive(Default)]
pub(super) struct Reach {
    known: BTreeMap<SocketAddr, Known>,
    next_probe: Time,
}

impl Reach {
    /// A message with several receivers goes to these. Who is new is probed soon.
    pub(super) fn note_used(&mut self, to: &[Endpoint], now: Time) {
        for endpoint in to {
            if let Some(known) = self.known.get_mut(&endpoint.address) {
                known.used = now;
                known.id = endpoint.id.or(known.id);
            } else if self.known.len() < KNOWN_MAX {
                let known = Known { id: endpoint.id, used: now, reached: None };
                self.known.insert(endpoint.address, known);
            }
        }
    }

    /// An answer to a probe has come. It may come from another address than was asked at.
    pub(super) fn note_reached(&mut self, from: Endpoint, now: Time) {
        if let Some(known) = self.known.get_mut(&from.address) {
            known.reached = Some(now);
            return;
        }
        let mut same =
            self.known.values_mut().filter(|known| from.id.is_some() && known.id == from.id);
        if let (Some(known), None) = (same.next(), same.next()) {
            known.reached = Some(now);
        }
    }

    /// Whether Xcast is used towards somebody.
    pub(super) fn is_reached(&self, address: &SocketAddr, now: Time) -> bool {
        let reached = self.known.get(address).and_then(|known| known.reached);
        reached.is_some_and(|reached| now.since(reached) <= XCAST_HOLDS)
    }

    /// How many it is used towards.
    pub(super) fn reached(&self, now: Time) -> usize {
        self.known.keys().filter(|address| self.is_reached(address, now)).count()
    }

    /// When probes are due.
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.known.is_empty()).then_some(self.next_probe)
    }

    /// Whom to probe now, in lists for one packet each; none if it is not time yet. One alone would
    /// get plain unicast, which proves nothing, so there is none.
    pub(super) fn probes(&mut self, now: Time) -> Vec<Vec<Endpoint>> {
        if self.known.is_empty() || now < self.next_probe {
            return Vec::new();
        }
        self.next_probe = now + PROBE_INTERVAL;
        self.known.retain(|_, known| now.since(known.used) <= IN_USE);
        let is_fresh =
            |known: &Known| known.reached.is_some_and(|reached| now.since(reached) <= FRESH);
        let endpoint =
            |(address, known): (&SocketAddr, &Known)| Endpoint { address: *address, id: known.id };
        let (fresh, due): (Vec<_>, Vec<_>) =
            self.known.iter().partition(|(_, known)| is_fresh(known));
        let mut all: Vec<Endpoint> = due.into_iter().map(endpoint).collect();
        if all.len() == 1 {
            all.extend(fresh.into_iter().next().map(endpoint));
        }
        if all.len() < 2 {
            return Vec::new();
        }
        // As even as can be, so that none is alone.
        let lists = all.len().div_ceil(DESTINATIONS_MAX);
        all.chunks(all.len().div_ceil(lists)).map(<[Endpoint]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(number: u16) -> Endpoint {
        let id = PeerId::of_public_key(&[number as u8; 32]);
        Endpoint { address: ([192, 0, 2, 1], 1000 + number).into(), id: Some(id) }
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    #[test]
    fn xcast_is_used_for_fifteen_seconds_after_an_answer() {
        let mut reach = Reach::default();
        reach.note_used(&[endpoint(1), endpoint(2)], at(0));
        assert!(!reach.is_reached(&endpoint(1).address, at(0)));
        reach.note_reached(endpoint(1), at(1));
        assert!(reach.is_reached(&endpoint(1).address, at(16)));
        assert!(!reach.is_reached(&endpoint(1).address, Time(at(16).0 + 1)));
        assert!(!reach.is_reached(&endpoint(2).address, at(1)));
    }

    #[test]
    fn those_in_use_that_have_not_answered_are_probed_and_others_are_forgotten() {
        let mut reach = Reach::default();
        assert_eq!((reach.deadline(), reach.probes(at(0))), (None, Vec::new()));
        reach.note_used(&[endpoint(1), endpoint(2)], at(0));
        assert_eq!(reach.probes(at(0)), [vec![endpoint(1), endpoint(2)]]);
        assert_eq!((reach.probes(at(3)).len(), reach.deadline()), (0, Some(at(4))));
        reach.note_used(&[endpoint(2), endpoint(3)], at(30));
        assert_eq!(reach.probes(at(60)), [vec![endpoint(1), endpoint(2), endpoint(3)]]);
        assert_eq!(reach.probes(at(70)), [vec![endpoint(2), endpoint(3)]]);
    }

    #[test]
    fn who_has_just_answered_is_asked_again_in_time() {
        let mut reach = Reach::default();
        let both = [endpoint(1), endpoint(2)];
        reach.note_used(&both, at(0));
        assert_eq!(reach.probes(at(0)), [both]);
        reach.note_reached(endpoint(1), at(0));
        reach.note_reached(endpoint(2), at(4));
        assert_eq!(reach.probes(at(4)).len(), 0);
        // One alone is due; another goes with it.
        assert_eq!(reach.probes(at(8)), [both]);
        // It was lost: there is a second try while the first answer holds.
        assert!(reach.is_reached(&endpoint(1).address, at(12)));
        assert_eq!(reach.probes(at(12)), [both]);
    }

    #[test]
    fn no_probe_goes_to_one_alone_and_none_to_more_than_a_packet_may_list() {
        for count in [1, 2, 50, 51, 52, 99, 101, 151] {
            let mut reach = Reach::default();
            let all: Vec<Endpoint> = (0..count).map(endpoint).collect();
            reach.note_used(&all, at(0));
            let lists = reach.probes(at(0));
            assert!(
                lists.iter().all(|list| (2..=DESTINATIONS_MAX).contains(&list.len())),
                "{count}"
            );
            let probed: usize = lists.iter().map(Vec::len).sum();
            assert_eq!(probed, if count == 1 { 0 } else { usize::from(count) });
        }
    }

    #[test]
    fn an_answer_from_another_address_counts_for_the_one_that_was_asked() {
        let mut reach = Reach::default();
        reach.note_used(&[endpoint(1), endpoint(2)], at(0));
        let other = Endpoint { address: ([198, 51, 100, 1], 9).into(), ..endpoint(2) };
        reach.note_reached(other, at(0));
        assert!(reach.is_reached(&endpoint(2).address, at(0)));
        assert_eq!(reach.reached(at(0)), 1);
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut reach = Reach::default();
        for number in 0..2 * KNOWN_MAX as u16 {
            reach.note_used(&[endpoint(number)], at(0));
            reach.note_reached(endpoint(number), at(0));
        }
        assert_eq!(reach.known.len(), KNOWN_MAX);
    }
}

//! Packets of which copies wait for their neighbors: whom they were for, in case it is in vain.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Destination;

/// Longer than any copy is held.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// The latest packets of which copies may wait, the oldest first.
#[derive(Default)]
pub(super) struct Waiting {
    packets: VecDeque<Packet>,
}

struct Packet {
    number: u16,
    since: Instant,
    destinations: Vec<Destination>,
}

impl Waiting {
    /// Keeps the list of a packet of which a copy may be held. Without end something may wait while
    /// more is sent, so those are forgotten that waited too long.
    pub(super) fn add(&mut self, number: u16, destinations: Vec<Destination>, now: Instant) {
        let is_over = |packet: &mut Packet| now.duration_since(packet.since) > FORGET_AFTER;
        while self.packets.pop_front_if(is_over).is_some() {}
        self.packets.push_back(Packet { number, since: now, destinations });
    }

    /// The list of a packet. Numbers come again: the latest is the one that may still be held.
    pub(super) fn list(&self, number: u16) -> Option<&[Destination]> {
        let packet = self.packets.iter().rev().find(|packet| packet.number == number)?;
        Some(&packet.destinations)
    }

    /// Nothing waits any more.
    pub(super) fn clear(&mut self) {
        self.packets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(port: u16) -> Vec<Destination> {
        vec![Destination { address: [10, 0, 0, 1].into(), port, dscp: None }]
    }

    #[test]
    fn a_number_means_the_latest_packet_that_had_it() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for (number, port) in [(u16::MAX, 1), (0, 2), (u16::MAX, 3)] {
            waiting.add(number, list(port), now);
        }
        assert_eq!(waiting.list(u16::MAX), Some(&list(3)[..]));
        assert_eq!(waiting.list(0), Some(&list(2)[..]));
        assert_eq!(waiting.list(1), None);
    }

    #[test]
    fn what_waited_too_long_is_forgotten() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        for number in 0..100u16 {
            waiting.add(number, list(number), start + Duration::from_secs(number.into()));
        }
        assert_eq!(waiting.packets.len(), 11, "those of the last ten seconds");
        waiting.clear();
        assert_eq!(waiting.list(99), None);
    }
}

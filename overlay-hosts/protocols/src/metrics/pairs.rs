//! Pairs of long packets: sent, received, told.

use super::Metrics;
use super::message::{Message, TOLD_MAX, Told};
use crate::bandwidth;
use crate::id::PeerId;
use crate::machine::{Protocol, Received};
use crate::ring::Ring;
use crate::time::Time;

/// Octets of the IP and UDP headers of a datagram.
const HEADERS: [usize; 2] = [28, 48];

impl Metrics {
    /// Sends a pair to one of the neighbors that measure.
    pub(super) fn send_pair(&mut self, now: Time) {
        let Some(interval) = self.config.pair_interval else {
            self.timers.pair = Time::NEVER;
            return;
        };
        self.timers.pair = now + interval / 2 + self.random.up_to(interval);
        let speaking = self.table.all().iter().filter(|neighbor| neighbor.speaks);
        let speaking: alloc::vec::Vec<PeerId> =
            speaking.map(|neighbor| neighbor.contact.id).collect();
        let Some(id) = self.random.choose(&speaking).copied() else { return };
        let number = self.random.number() as u32;
        let Some(neighbor) = self.table.find_mut(id) else { return };
        neighbor.sent = Some(number);
        let (to, size) = (neighbor.contact.endpoint(), self.config.pair_size);
        self.out.pair(to, size, Protocol::Metrics, &Message::Pair { number });
    }

    /// One of a pair has come; with the second it is known how far they are apart.
    pub(super) fn pair_came(&mut self, number: u32, received: &Received<'_>, ring: &mut Ring) {
        let octets = received.octets + HEADERS[usize::from(received.from.address.is_ipv6())];
        let Some(neighbor) = self.table.find_mut(received.sender()) else { return };
        let first = neighbor.first.take();
        let Some((_, at, _)) = first.filter(|first| (first.0, first.2) == (number, octets)) else {
            neighbor.first = Some((number, received.at, octets));
            return;
        };
        let Some(kilobits) = bandwidth::of_pair(octets, received.at.since(at)) else { return };
        neighbor.down.add(kilobits);
        if self.told.len() >= TOLD_MAX {
            self.told.remove(0);
        }
        self.told.push(Told { tag: received.sender().tag(), number, kilobits });
        self.publish(ring);
    }
}

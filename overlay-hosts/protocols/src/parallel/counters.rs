//! What the queue has done, why, and what multicast with state in routers would have needed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::shape::Shape;
use crate::contact::Endpoint;
use crate::time::{Time, micros};

/// Why a message that may wait joined none of those that waited: the reason nearest to success,
/// over all that it was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Apart {
    /// Nothing else waited.
    Alone,
    /// Nothing that waited begins as it does (claim 12).
    NoOverlap,
    /// An earlier message to one of its receivers leaves with or after what waited.
    SameReceiver,
    /// A list of parts could not tell the receivers apart: one has no identity, or two the same tag.
    Names,
    /// One packet would be more octets than two.
    Costly,
    /// It does not fit the datagram or the MTU (claim 10).
    Payload,
    /// The list of destinations would be too long (claim 9).
    Destinations,
    /// More waited than it was compared with (seed 002 paragraph 0027: "a processing limit").
    Work,
}

impl Apart {
    /// All of them.
    pub const ALL: [Apart; 8] = [
        Apart::Alone,
        Apart::NoOverlap,
        Apart::SameReceiver,
        Apart::Names,
        Apart::Costly,
        Apart::Payload,
        Apart::Destinations,
        Apart::Work,
    ];

    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Apart::Alone => "alone",
            Apart::NoOverlap => "no-overlap",
            Apart::SameReceiver => "same-receiver",
            Apart::Names => "names",
            Apart::Costly => "costly",
            Apart::Payload => "payload",
            Apart::Destinations => "destinations",
            Apart::Work => "work",
        }
    }
}

/// Why a packet left when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Left {
    /// It may not wait.
    Immediate,
    /// It may, but nothing does ([`super::Mode::Marked`]).
    Marked,
    /// Its oldest message has waited d_q (claim 11).
    Delay,
    /// Its list of destinations is full (claim 9).
    Destinations,
    /// Its datagram or the MTU is full (claim 10).
    Payload,
    /// Too many messages waited.
    QueueFull,
    /// A later packet to one of its receivers left.
    Order,
}

impl Left {
    /// All of them.
    pub const ALL: [Left; 7] = [
        Left::Immediate,
        Left::Marked,
        Left::Delay,
        Left::Destinations,
        Left::Payload,
        Left::QueueFull,
        Left::Order,
    ];

    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Left::Immediate => "immediate",
            Left::Marked => "marked",
            Left::Delay => "delay",
            Left::Destinations => "destinations",
            Left::Payload => "payload",
            Left::QueueFull => "queue-full",
            Left::Order => "order",
        }
    }
}

/// What the queue has done so far. At any moment, with `waiting` = [`super::Queue::len`]:
///
/// - messages + cut = passed + joined_wholly + joined_partly + all of apart
/// - packets = all of left = passed + all of apart - packets that wait
/// - receivers = receivers of packets + those that wait
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages pushed; one to several peers is one.
    pub messages: u64,
    /// Receivers of these.
    pub receivers: u64,
    /// Further messages that these were cut into, as one packet could not hold them.
    pub cut: u64,
    /// Those that did not wait.
    pub passed: u64,
    /// Those that joined waiting ones whose contents are all the same.
    pub joined_wholly: u64,
    /// Those that joined waiting ones and have content of their own, or made the packet have it.
    pub joined_partly: u64,
    /// Those that began a packet, by why they joined none; in the order of [`Apart::ALL`].
    pub apart: [u64; Apart::ALL.len()],
    /// Packets that left.
    pub packets: u64,
    /// Those of them to several receivers.
    pub together: u64,
    /// Receivers of the packets.
    pub packet_receivers: u64,
    /// Packets by why they left then; in the order of [`Left::ALL`].
    pub left: [u64; Left::ALL.len()],
    /// Octets of the IP packets as they left, lists of destinations included (by Xcast).
    pub octets: u64,
    /// Octets if each receiver had got its message alone.
    pub octets_separate: u64,
    /// Octets of the copies as they arrive; each holds the parts of all receivers.
    pub octets_arriving: u64,
    /// How long all messages have waited, together, in microseconds.
    pub delay_total: u64,
    /// How long one has waited at most, in microseconds.
    pub delay_max: u64,
    /// What multicast with groups in the network would have needed.
    pub groups: Groups,
}

impl Counters {
    pub(super) fn new(groups_max: usize) -> Counters {
        let groups = Groups { bound: groups_max, ..Groups::default() };
        Counters { groups, ..Counters::default() }
    }

    /// Octets that the sender's link was spared, if all packets went by Xcast.
    pub fn octets_saved(&self) -> u64 {
        self.octets_separate.saturating_sub(self.octets)
    }

    /// How often a message joined none for this reason.
    pub fn apart_for(&self, reason: Apart) -> u64 {
        self.apart[reason as usize]
    }

    /// How many packets left for this reason.
    pub fn left_for(&self, reason: Left) -> u64 {
        self.left[reason as usize]
    }

    pub(super) fn count_packet(&mut self, shape: &Shape, why: Left) {
        self.packets += 1;
        self.together += u64::from(shape.count > 1);
        self.packet_receivers += shape.count as u64;
        self.left[why as usize] += 1;
        self.octets += shape.packet_len() as u64;
        self.octets_separate += shape.separate() as u64;
        self.octets_arriving += shape.arriving() as u64;
    }
}

/// How long a network would keep the state of a group that nobody sends to.
pub const GROUP_HOLDS: Duration = Duration::from_secs(60);

/// What the same packets would have asked of multicast that keeps groups in the network (seed 002
/// paragraph 0029): it must hold N_G groups of up to g_max members, and follow r changes a second.
/// Each set of receivers of a packet to several is a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// How many are told apart; 0: nothing is counted.
    bound: usize,
    /// Fingerprints of sets of receivers, and when each was last sent to.
    known: BTreeMap<u64, Time>,
    is_at_least: bool,
    largest: usize,
    formed: u64,
    joined: u64,
    first: Option<Time>,
}

impl Groups {
    /// N_G, different groups so far; whether there are more, as only so many are told apart
    /// ([`super::Config::groups_max`]).
    pub fn distinct(&self) -> (usize, bool) {
        (self.known.len(), self.is_at_least)
    }

    /// g_max, members of the largest, the sender included (seed 002 paragraph 0027: |g| = |u| + 1).
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// How often a group had to be formed: it was new, or its state had gone ([`GROUP_HOLDS`]).
    pub fn formed(&self) -> u64 {
        self.formed
    }

    /// Receivers that had to be brought into these.
    pub fn joined(&self) -> u64 {
        self.joined
    }

    /// r, how often a second a group had to be formed or a member brought in, since the first.
    pub fn changes_per_second(&self, now: Time) -> f64 {
        let span = self.first.map_or(0, |first| micros(now.since(first)));
        (self.formed + self.joined) as f64 * 1e6 / span.max(1_000_000) as f64
    }

    pub(super) fn count(&mut self, to: &[Endpoint], now: Time) {
        if self.bound == 0 || to.len() < 2 {
            return;
        }
        self.first.get_or_insert(now);
        self.largest = self.largest.max(to.len() + 1);
        let group = fingerprint(to);
        let has_room = self.known.len() < self.bound;
        let before = match self.known.get_mut(&group) {
            Some(last) => Some(core::mem::replace(last, now)),
            None if has_room => self.known.insert(group, now),
            None => {
                self.is_at_least = true;
                None
            }
        };
        if before.is_none_or(|last| now.since(last) > GROUP_HOLDS) {
            self.formed += 1;
            self.joined += to.len() as u64;
        }
    }
}

/// FNV-1a over the addresses in their order.
fn fingerprint(to: &[Endpoint]) -> u64 {
    let mut addresses: Vec<SocketAddr> = to.iter().map(|to| to.address).collect();
    addresses.sort_unstable();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |octets: &[u8]| {
        for octet in octets {
            hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for address in addresses {
        match address.ip() {
            IpAddr::V4(ip) => add(&ip.octets()),
            IpAddr::V6(ip) => add(&ip.octets()),
        }
        add(&address.port().to_be_bytes());
    }
    hash
}

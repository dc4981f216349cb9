//! The queue that makes several messages one packet (seed 002 paragraphs 0020 to 0029).
//!
//! **Marked** (paragraph 0025): what a machine hands over as one output to several peers leaves as
//! one packet, and nothing waits. **Queue** (paragraphs 0026 to 0028): a message that may wait does
//! so, at most d_q, to one peer or to several, and goes with another that is like it.
//!
//! # The rule
//! All peers agree on it (paragraph 0028); [`crate::envelope`] has the octets.
//!
//! 1. A packet holds messages of one protocol and one type, to peers of one IP version. What all of
//!    them begin with stands in it once, the type octet first; the rest of each is that receiver's
//!    part. If all messages are equal there are no parts.
//! 2. No address and no tag (the first 32 bits of an identity) is in it twice, and where there are
//!    parts every receiver has an identity. A receiver's message is the shared part and its own.
//! 3. A pushed message is compared with the newest [`Config::comparisons_max`] waiting packets of
//!    its protocol, type and IP version. It joins the one where that saves most octets, if
//!    - they have [`Config::overlap_min`] octets in common,
//!    - the packet then keeps the limits of destinations, datagram and MTU,
//!    - it costs no more octets than the two apart, all headers and the list of destinations
//!      included: on the sender's and all receivers' links together, as each receiver's copy holds
//!      everybody's part ([`Spares::All`], which implies it of the sender's link alone). The gain grows with the overlap: over IPv4 two
//!      messages of L octets of which c are common go together if 3c >= 2L - 88.
//! 4. A packet leaves when its oldest message has waited d_q, when it is full, or when too many
//!    messages wait. One that found no company leaves by unicast (claims 11 and 12).
//! 5. Messages that may wait keep their order towards each address: one joins only packets that
//!    leave after all those that hold earlier messages to it. The other classes pass them.
//! 6. What a machine marked as one is cut only where it breaks rule 1, 2 or a limit.
//!
//! With d_q = 0 nothing waits for the clock: what was pushed before the next
//! [`Queue::poll_output`] is combined, so what one event made several machines say goes together.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

mod bundle;
mod counters;
mod shape;

use bundle::Bundle;
pub use counters::{Apart, Counters, GROUP_HOLDS, Groups, Left};
use shape::Shape;

use crate::machine::{self, Class, Protocol, Send};
use crate::node::{DATAGRAM_LEN_MAX, DESTINATIONS_MAX};
use crate::time::{Time, micros};

/// Who decides what goes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The machine that speaks (seed 002 paragraph 0025).
    Marked,
    /// The queue too (seed 002 paragraphs 0026 and 0027).
    #[default]
    Queue,
}

/// On whose links a packet must be no more octets than the messages in it would be apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spares {
    /// On the sender's. Then all that fits goes together, and each receiver gets everybody's part:
    /// for hosts whose own uplink is all that is narrow.
    Sender,
    /// On the sender's and all receivers' links together: so on the sender's too, and the gain is proportional to the
    /// overlap (seed 002 paragraph 0028).
    #[default]
    All,
}

/// How it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who decides what goes together.
    pub mode: Mode,
    /// What a combination may not make dearer.
    pub spares: Spares,
    /// d_q, the longest that a message waits (seed 002 paragraph 0027, which names no value): 20 ms.
    pub delay: Duration,
    /// The most destinations of a packet (claim 9; seed 002 paragraph 0044: 50). At most 125, what
    /// an Xcast6 header can list.
    pub destinations_max: usize,
    /// The longest datagram, in octets (claim 10); at most [`DATAGRAM_LEN_MAX`].
    pub datagram_len_max: usize,
    /// The longest IP packet, in octets, all headers and the list of destinations included: a long
    /// list leaves less room for the datagram, over IPv6 much less. 1500, as Ethernet.
    pub mtu: usize,
    /// How many waiting packets a message is compared with (seed 002 paragraph 0027: "a processing
    /// limit"): 16.
    pub comparisons_max: usize,
    /// How many messages wait; the oldest leave early when there are more: 1024.
    pub waiting_max: usize,
    /// The fewest octets that messages must have in common, type octet included: 2, as a type alone
    /// is no content.
    pub overlap_min: usize,
    /// How many groups are told apart for [`Groups`]: 4096, of some 40 octets each; 0: none, which
    /// simulations of many nodes want.
    pub groups_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            mode: Mode::default(),
            spares: Spares::default(),
            delay: Duration::from_millis(20),
            destinations_max: DESTINATIONS_MAX,
            datagram_len_max: DATAGRAM_LEN_MAX,
            mtu: 1500,
            comparisons_max: 16,
            waiting_max: 1024,
            overlap_min: 2,
            groups_max: 4096,
        }
    }
}

/// What messages must have in common to be compared: protocol, type octet, IP version.
type Kind = (Protocol, u8, bool);

/// Messages that wait.
pub struct Queue {
    config: Config,
    /// Packets in the making by number; later ones leave later.
    waiting: BTreeMap<u64, Box<Bundle>>,
    /// Whether those below are kept: as long as one packet waits alone they are not.
    is_indexed: bool,
    /// Their numbers by kind, ascending.
    kinds: BTreeMap<Kind, VecDeque<u64>>,
    /// The numbers of those that hold a message to an address, ascending.
    addresses: BTreeMap<SocketAddr, Vec<u64>>,
    /// How many messages wait.
    messages: usize,
    /// The number of the next packet.
    next: u64,
    now: Time,
    ready: VecDeque<Send>,
    counters: Counters,
}

impl Queue {
    /// An empty one.
    pub fn new(config: Config) -> Queue {
        let counters = Counters::new(config.groups_max);
        Queue {
            config,
            waiting: BTreeMap::new(),
            is_indexed: false,
            kinds: BTreeMap::new(),
            addresses: BTreeMap::new(),
            messages: 0,
            next: 0,
            now: Time::default(),
            ready: VecDeque::new(),
            counters,
        }
    }

    /// Takes a message over. An empty one is none.
    pub fn push(&mut self, send: Send, now: Time) {
        self.now = self.now.max(now);
        let waits = send.class == Class::Queued && self.config.mode == Mode::Queue;
        let passes = if send.class == Class::Queued { Left::Marked } else { Left::Immediate };
        let mut cut = 0;
        for (send, shape) in shape::cut(send, &self.config) {
            cut += 1;
            self.counters.receivers += shape.count as u64;
            match waits {
                true => self.wait(send, shape),
                false => {
                    self.counters.passed += 1;
                    self.finish(Bundle::new(send, shape, self.now), passes);
                }
            }
        }
        if cut > 0 {
            self.counters.messages += 1;
            self.counters.cut += cut - 1;
        }
    }

    /// The moment of [`poll_timeout`](Queue::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.leave_what_is_due();
    }

    /// A message that is to leave now, as one packet or alone.
    pub fn poll_output(&mut self) -> Option<Send> {
        self.leave_what_is_due();
        machine::take_first(&mut self.ready)
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let oldest = self.waiting.values().next()?;
        Some((oldest.since() + self.config.delay, "queue"))
    }

    /// What it has done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Messages that wait; one that was cut counts as many.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// A message that may wait: joins a waiting packet, or begins one.
    fn wait(&mut self, send: Send, shape: Shape) {
        self.index_what_waits();
        let kind = (send.protocol, send.shared.first().copied().unwrap_or(0), shape.is_v6);
        let is_indexed = self.is_indexed;
        let receivers = send.to.iter().filter(|_| is_indexed).map(|to| to.address);
        let receivers: Vec<SocketAddr> = receivers.collect();
        let number = match self.choose(kind, &send, &shape) {
            Ok((number, union)) => {
                match union.is_whole() {
                    true => self.counters.joined_wholly += 1,
                    false => self.counters.joined_partly += 1,
                }
                if let Some(bundle) = self.waiting.get_mut(&number) {
                    bundle.join(send, union, self.now);
                }
                number
            }
            Err(reason) => {
                self.counters.apart[reason as usize] += 1;
                let number = self.next;
                self.next += 1;
                self.waiting.insert(number, Box::new(Bundle::new(send, shape, self.now)));
                if self.is_indexed {
                    self.kinds.entry(kind).or_default().push_back(number);
                }
                number
            }
        };
        for address in receivers {
            self.addresses.entry(address).or_default().push(number);
        }
        self.messages += 1;
        if let Some(why) = self.waiting.get(&number).and_then(|b| b.shape.is_full(&self.config)) {
            self.leave(number, why);
        }
        while self.messages > self.config.waiting_max {
            let Some(oldest) = self.waiting.keys().next().copied() else { break };
            self.leave(oldest, Left::QueueFull);
        }
    }

    /// Before the second packet begins.
    fn index_what_waits(&mut self) {
        if self.is_indexed || self.waiting.is_empty() {
            return;
        }
        self.is_indexed = true;
        for (number, bundle) in &self.waiting {
            self.kinds.entry(bundle.kind()).or_default().push_back(*number);
            for address in bundle.addresses() {
                self.addresses.entry(address).or_default().push(*number);
            }
        }
    }

    /// The waiting packet that a message joins, and what becomes of it.
    fn choose(&self, kind: Kind, send: &Send, shape: &Shape) -> Result<(u64, Shape), Apart> {
        let Some(alike) = self.kinds.get(&kind) else {
            return Err(if self.waiting.is_empty() { Apart::Alone } else { Apart::NoOverlap });
        };
        // It must leave after the packets with earlier messages to the same addresses.
        let latest = |to: &SocketAddr| self.addresses.get(to).and_then(|all| all.last());
        let after = send.to.iter().filter_map(|to| latest(&to.address)).max();
        let mut refused = Apart::Alone;
        let mut best: Option<(u64, u64, Shape)> = None;
        for number in alike.iter().rev().take(self.config.comparisons_max) {
            let Some(bundle) = self.waiting.get(number) else { continue };
            let union = match after {
                Some(after) if after >= number => Err(Apart::SameReceiver),
                _ => bundle.union(send, shape, &self.config),
            };
            match union {
                Ok((saved, union)) if best.as_ref().is_none_or(|(most, ..)| saved > *most) => {
                    best = Some((saved, *number, union));
                }
                Ok(_) => {}
                Err(reason) => refused = refused.max(reason),
            }
        }
        let is_cut_short = alike.len() > self.config.comparisons_max;
        match best {
            Some((_, number, union)) => Ok((number, union)),
            None if is_cut_short => Err(Apart::Work),
            None => Err(refused),
        }
    }

    fn leave_what_is_due(&mut self) {
        while let Some((number, bundle)) = self.waiting.first_key_value()
            && bundle.since() + self.config.delay <= self.now
        {
            let number = *number;
            self.leave(number, Left::Delay);
        }
    }

    /// A packet leaves, behind those that hold earlier messages to its receivers.
    fn leave(&mut self, number: u64, why: Left) {
        if !self.is_indexed {
            let Some(bundle) = self.waiting.remove(&number) else { return };
            self.messages -= bundle.messages();
            return self.finish(*bundle, why);
        }
        let mut leaving = BTreeSet::from([number]);
        let mut open = alloc::vec![number];
        while let Some(number) = open.pop() {
            let Some(bundle) = self.waiting.get(&number) else { continue };
            for address in bundle.addresses() {
                let earlier = self.addresses.get(&address).into_iter().flatten();
                for other in earlier.take_while(|other| **other < number) {
                    if leaving.insert(*other) {
                        open.push(*other);
                    }
                }
            }
        }
        for other in leaving {
            let Some(bundle) = self.waiting.remove(&other) else { continue };
            self.forget(other, &bundle);
            self.messages -= bundle.messages();
            self.finish(*bundle, if other == number { why } else { Left::Order });
        }
        self.is_indexed &= !self.waiting.is_empty();
    }

    fn forget(&mut self, number: u64, bundle: &Bundle) {
        let kind = bundle.kind();
        if let Some(alike) = self.kinds.get_mut(&kind) {
            if let Ok(place) = alike.binary_search(&number) {
                alike.remove(place);
            }
            if alike.is_empty() {
                self.kinds.remove(&kind);
            }
        }
        for address in bundle.addresses() {
            if let Some(all) = self.addresses.get_mut(&address) {
                if let Ok(place) = all.binary_search(&number) {
                    all.remove(place);
                }
                if all.is_empty() {
                    self.addresses.remove(&address);
                }
            }
        }
    }

    fn finish(&mut self, bundle: Bundle, why: Left) {
        for since in bundle.pushed() {
            let delay = micros(self.now.since(since));
            self.counters.delay_total += delay;
            self.counters.delay_max = self.counters.delay_max.max(delay);
        }
        self.counters.count_packet(&bundle.shape, why);
        let send = bundle.into_send();
        self.counters.groups.count(&send.to, self.now);
        self.ready.push_back(send);
    }
}

#[cfg(test)]
mod tests;

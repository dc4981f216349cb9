//! What all machines have in common: what goes in, what comes out, and how messages are encoded.
//!
//! Every machine has the same five calls and does nothing else:
//!
//! 1. `new(config, identity, restored, seed, now)`
//! 2. `handle_input(input, now)`: something has come, or somebody wants something.
//! 3. `handle_timeout(now)`: the moment of `poll_timeout` has come.
//! 4. `poll_output()`: what is to be done, until there is nothing more.
//! 5. `poll_timeout()`: when it wants to be woken, and why.
//!
//! It has no clock, no socket and no randomness but its seed: with the same calls it does the same.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contact::Endpoint;
use crate::id::PeerId;
use crate::time::{Time, Wall};

/// Whose message it is: the second octet of what is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// The node itself: pieces of long messages, unknown versions.
    Node = 0,
    /// [`crate::ring`].
    Ring = 1,
    /// [`crate::locality`].
    Locality = 2,
    /// [`crate::metrics`].
    Metrics = 3,
    /// [`crate::somo`].
    Somo = 5,
    /// [`crate::delivery`].
    Delivery = 6,
    /// [`crate::sessions`].
    Sessions = 7,
}

impl Protocol {
    /// By its number on the wire.
    pub fn from_number(number: u8) -> Option<Protocol> {
        use Protocol::{Delivery, Locality, Metrics, Node, Ring, Sessions, Somo};
        let all = [Node, Ring, Locality, Metrics, Somo, Delivery, Sessions];
        all.into_iter().find(|protocol| *protocol as u8 == number)
    }
}

/// Whether a message may wait for others to go with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Measurements, pairs, what somebody waits for: leaves at once, alone.
    Immediate,
    /// May wait in the queue ([`crate::parallel`]).
    Queued,
    /// A request that was not answered, once more: leaves at once, by plain unicast.
    Repeated,
    /// Finds out whether Xcast reaches its receivers: leaves at once, in Xcast form.
    Probe,
}

/// A message to one peer or to several; each gets `shared` followed by its own part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Who gets it; none twice.
    pub to: Vec<Endpoint>,
    /// Whose message it is.
    pub protocol: Protocol,
    /// What all get: the beginning of the encoded message, type octet first.
    pub shared: Vec<u8>,
    /// What each gets behind it, in the order of `to`; empty if the shared part is all.
    pub parts: Vec<Vec<u8>>,
    /// Whether it may wait.
    pub class: Class,
}

impl Send {
    /// The part of one of them.
    pub fn part(&self, index: usize) -> &[u8] {
        self.parts.get(index).map_or(&[], Vec::as_slice)
    }

    /// The plain message that one of them gets, as if it were sent to it alone.
    pub fn message_for(&self, index: usize) -> Vec<u8> {
        [self.shared.as_slice(), self.part(index)].concat()
    }
}

/// What a machine wants done. `E` is its own kind of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<E> {
    /// Send a message.
    Send(Send),
    /// Send two datagrams back to back, each padded to an IP packet of `size` octets.
    Pair {
        /// To whom.
        to: Endpoint,
        /// Octets of each IP packet.
        size: usize,
        /// Whose.
        protocol: Protocol,
        /// What both say.
        message: Vec<u8>,
    },
    /// Keep `bytes` over a restart.
    Store {
        /// Under this name; what was there is replaced.
        key: &'static str,
        /// What to keep; empty: nothing any more.
        bytes: Vec<u8>,
    },
    /// Something has happened.
    Event(E),
}

/// A message that has come, with what the driver saw.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Who has sent it, as the seal proves, and the address that it came from.
    pub from: Endpoint,
    /// When it was received.
    pub at: Time,
    /// What this host's clock said then.
    pub wall: Wall,
    /// The received TTL or hop limit; 64 was sent.
    pub ttl: u8,
    /// Octets of the datagram that it came in, headers of UDP and IP not counted.
    pub octets: usize,
    /// The message, type octet first.
    pub message: &'a [u8],
}

impl Received<'_> {
    /// Who sent it; whatever reaches a machine has come out of a seal.
    pub fn sender(&self) -> PeerId {
        self.from.id.unwrap_or_default()
    }
}

/// What a machine has to say, in order.
#[derive(Clone, Debug)]
pub struct Outbox<E> {
    queue: VecDeque<Output<E>>,
}

impl<E> Default for Outbox<E> {
    fn default() -> Outbox<E> {
        Outbox { queue: VecDeque::new() }
    }
}

impl<E> Outbox<E> {
    /// The next output.
    pub fn poll(&mut self) -> Option<Output<E>> {
        take_first(&mut self.queue)
    }

    /// The same message to all of them, as one output.
    pub fn send(
        &mut self,
        to: Vec<Endpoint>,
        protocol: Protocol,
        message: &impl Serialize,
        class: Class,
    ) {
        if !to.is_empty() {
            let shared = encode(message);
            self.queue.push_back(Output::Send(Send {
                to,
                protocol,
                shared,
                parts: Vec::new(),
                class,
            }));
        }
    }

    /// To each its own message, as one output: what all messages begin with is shared. Messages of
    /// different types have nothing in common, and are outputs of their own.
    pub fn send_each(
        &mut self,
        messages: &[(Endpoint, impl Serialize)],
        protocol: Protocol,
        class: Class,
    ) {
        let encoded: Vec<Vec<u8>> = messages.iter().map(|(_, message)| encode(message)).collect();
        let Some(first) = encoded.first() else { return };
        let common = encoded.iter().map(|other| common_prefix(first, other)).min().unwrap_or(0);
        if common == 0 {
            for ((to, _), shared) in messages.iter().zip(encoded) {
                let (to, parts) = (alloc::vec![*to], Vec::new());
                self.queue.push_back(Output::Send(Send { to, protocol, shared, parts, class }));
            }
            return;
        }
        let shared = first[..common].to_vec();
        let mut parts: Vec<Vec<u8>> = encoded.iter().map(|each| each[common..].to_vec()).collect();
        if parts.iter().all(Vec::is_empty) {
            parts.clear();
        }
        let to = messages.iter().map(|(to, _)| *to).collect();
        self.queue.push_back(Output::Send(Send { to, protocol, shared, parts, class }));
    }

    /// News.
    pub fn event(&mut self, event: E) {
        self.queue.push_back(Output::Event(event));
    }

    /// To be kept.
    pub fn store(&mut self, key: &'static str, bytes: Vec<u8>) {
        self.queue.push_back(Output::Store { key, bytes });
    }

    /// Two datagrams back to back.
    pub fn pair(
        &mut self,
        to: Endpoint,
        size: usize,
        protocol: Protocol,
        message: &impl Serialize,
    ) {
        let message = encode(message);
        self.queue.push_back(Output::Pair { to, size, protocol, message });
    }
}

/// The first of a queue, which gives its memory back with the last one: of many nodes most are
/// silent, and what was freed just now is nearer to the processor than what a node keeps for later.
pub(crate) fn take_first<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front()?;
    if queue.is_empty() {
        *queue = VecDeque::new();
    }
    Some(first)
}

/// Adds to a list that mostly holds one or none: it grows by halves, and not to four at once.
pub(crate) fn push_last<T>(list: &mut Vec<T>, last: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 2 + 1);
    }
    list.push(last);
}

/// How many octets two messages begin with in common.
pub fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// A message's octets: the number of its variant, then its fields (postcard, whose format is fixed).
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    // It fails only where a type cannot be encoded at all, which its first test shows.
    postcard::to_allocvec(message).unwrap_or_default()
}

/// Reads a message; `None` unless it is one, from the first octet to the last.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::take_from_bytes(bytes)
        .ok()
        .filter(|(_, rest)| rest.is_empty())
        .map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;

    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        SocketAddr::from(([192, 0, 2, 1], port)).into()
    }

    #[test]
    fn what_messages_begin_with_is_shared_and_the_rest_is_each_ones_part() {
        let mut out = Outbox::<()>::default();
        let messages = [(endpoint(1), ([7u8; 4], 1u8)), (endpoint(2), ([7; 4], 2))];
        out.send_each(&messages, Protocol::Ring, Class::Queued);
        let Some(Output::Send(send)) = out.poll() else { panic!() };
        assert_eq!(
            (send.shared.as_slice(), send.parts.as_slice()),
            (&[7; 4][..], &[vec![1], vec![2]][..])
        );
        for (index, (_, message)) in messages.iter().enumerate() {
            assert_eq!(send.message_for(index), encode(message));
        }
    }

    #[test]
    fn equal_messages_have_no_parts() {
        let mut out = Outbox::<()>::default();
        out.send_each(&[(endpoint(1), 5u8), (endpoint(2), 5)], Protocol::Ring, Class::Queued);
        let Some(Output::Send(send)) = out.poll() else { panic!() };
        assert_eq!((send.shared.as_slice(), send.parts.len()), (&[5][..], 0));
    }

    #[test]
    fn a_message_ends_where_it_ends() {
        assert_eq!(decode::<u8>(&[5]), Some(5));
        assert_eq!(decode::<u8>(&[5, 6]), None);
        assert_eq!(decode::<u8>(&[]), None);
    }
}

//! What the packet path puts out: replicas, described by where their bytes lie.
//!
//! A replica is a head of its own (link-layer header, IP header, Xcast header, the start of the
//! transport header) and a tail that all replicas of a packet share: the rest of the received
//! packet, where it already is. Only the last replica of a packet is rewritten in place, in the
//! received buffer itself.

use super::Time;
use super::counters::{Counters, PortCounters};
use super::notice::Notices;
use super::packet::EXTENSIONS_LEN_MAX;
use super::probe::Heard;
use super::reason::DropReason;
use super::replica::{LINK_HEADER_LEN, Replica, Span};
use super::samples::Samples;
use super::scratch::Scratch;
use crate::fib::{Fib, PortId, Rewrite};
use crate::wire::{ethernet, ipv6, xcast4, xcast6};

/// Octets of the transport header that belong to the head: all that X2U may change.
pub(super) const TRANSPORT_LEN: usize = 20;

/// The longest head, which is one of IPv6.
const HEAD_LEN_MAX: usize = LINK_HEADER_LEN
    + ipv6::HEADER_LEN
    + EXTENSIONS_LEN_MAX
    + xcast6::HEADER_LEN_MAX
    + xcast6::PORTS_HEADER_LEN_MAX
    + TRANSPORT_LEN;

/// Octets of heads that one packet can need.
const PACKET_HEADS_MAX: usize = xcast4::DESTINATIONS_MAX * HEAD_LEN_MAX;

/// The replicas of a batch of packets, and the counters. Reused from batch to batch: nothing is
/// allocated while packets are processed.
pub struct Output {
    /// What is counted.
    pub counters: Counters,
    /// The last dropped packets.
    pub samples: Samples,
    /// What sources are to be told.
    pub notices: Notices,
    pub(super) scratch: Scratch,
    pub(super) replicas: Vec<Replica>,
    pub(super) heads: Vec<u8>,
    heads_used: usize,
    /// Probes that came in, to be looked at by the control plane.
    pub(super) heard: Vec<Heard>,
}

/// Probes that may wait to be looked at; more are forgotten.
pub(super) const HEARD_MAX: usize = 256;

impl Output {
    /// Makes room for batches of replicas under `fib`.
    pub fn new(fib: &Fib) -> Output {
        let mut output = Output {
            counters: Counters::default(),
            samples: Samples::default(),
            notices: Notices::default(),
            scratch: Scratch::default(),
            replicas: Vec::with_capacity(16 * xcast4::DESTINATIONS_MAX),
            heads: vec![0; 4 * PACKET_HEADS_MAX],
            heads_used: 0,
            heard: Vec::with_capacity(HEARD_MAX),
        };
        output.prepare(fib);
        output
    }

    /// Must be called when another Fib is about to be used.
    pub fn prepare(&mut self, fib: &Fib) {
        self.scratch.prepare(fib);
        self.notices.prepare(fib.limits().icmp_errors_per_second);
        let ports = self.counters.ports.len().max(fib.ports().len());
        self.counters.ports.resize(ports, PortCounters::default());
    }

    /// Whether there is room for the replicas of one more packet. Without, what finds no room
    /// is dropped as `transmit-failed`.
    pub fn has_room(&self) -> bool {
        self.heads.len() - self.heads_used >= PACKET_HEADS_MAX
            && self.replicas.capacity() - self.replicas.len() >= xcast4::DESTINATIONS_MAX
    }

    /// The bytes of a replica, in two pieces to be sent one behind the other: a link-layer
    /// header of [`LINK_HEADER_LEN`] octets, then the IP packet. `buffer` is that of its packet.
    #[inline]
    pub fn pieces<'a>(&'a self, replica: &Replica, buffer: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let heads = if replica.in_place { buffer } else { &self.heads };
        (replica.head.of(heads), replica.tail.of(buffer))
    }

    /// The replicas of the batch so far.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// What became of the destinations of the packet processed last that are in no replica: the
    /// reason and the bitmap.
    pub fn dropped(&self) -> impl Iterator<Item = (DropReason, u128)> + '_ {
        self.scratch.dropped.iter()
    }

    /// The probes that came in since the last call.
    pub fn take_heard(&mut self) -> impl Iterator<Item = Heard> + '_ {
        self.heard.drain(..)
    }

    /// Keeps a sample of a replica that came to nothing.
    pub fn keep_replica(
        &mut self,
        reason: DropReason,
        replica: &Replica,
        buffer: &[u8],
        now: Time,
    ) {
        let heads = if replica.in_place { buffer } else { &self.heads };
        let (head, tail) = (replica.head.of(heads), replica.tail.of(buffer));
        self.samples.keep_frame(reason, None, head, tail, now);
    }

    /// Forgets the replicas and notices, which are sent or held by now.
    pub fn clear(&mut self) {
        self.replicas.clear();
        self.notices.clear();
        self.heads_used = 0;
    }

    /// Drops destinations of the present packet when drops are settled already. A probe's are not
    /// counted.
    pub(super) fn drop_late(&mut self, reason: DropReason, live: u128) {
        self.scratch.drop(reason, live);
        match self.scratch.is_probe {
            true => self.counters.probes_refused += 1,
            false => self.counters.drop(reason, live.count_ones()),
        }
    }

    /// Takes `len` octets for a head; `None` if there is no room.
    #[inline]
    pub(super) fn take_head(&mut self, len: usize) -> Option<Span> {
        let start = self.heads_used;
        if self.heads.len() - start < len || self.is_full() {
            return None;
        }
        self.heads_used += len;
        Some(Span::new(start, start + len))
    }

    /// Whether the list of replicas has no room for one more: it must not grow.
    pub(super) fn is_full(&self) -> bool {
        self.replicas.len() == self.replicas.capacity()
    }

    pub(super) fn head_mut(&mut self, span: Span) -> &mut [u8] {
        &mut self.heads[span.start as usize..][..span.len as usize]
    }
}

/// A link-layer header without the neighbor's address, which is not known yet.
pub(super) fn unresolved_rewrite(fib: &Fib, port: PortId) -> Rewrite {
    let source = fib.port(port).map_or([0; 6], |port| port.link_address);
    ethernet::header([0; 6], source, ethernet::TYPE_IPV4)
}

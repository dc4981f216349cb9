//! What the packet path puts out: replicas, described by where their bytes lie.
//!
//! A replica is a head of its own (link-layer header, IP header, Xcast header, the start of the
//! transport header) and a tail that all replicas of a packet share: the rest of the received
//! packet, where it already is. Only the last replica of a packet is rewritten in place, in the
//! received buffer itself.

use super::Time;
use super::cache::Cache;
use super::counters::{Counters, PortCounters};
use super::notice::Notices;
use super::packet::{EXTENSIONS_LEN_MAX, Packet};
use super::probe::Heard;
use super::reason::DropReason;
use super::replica::{LINK_HEADER_LEN, Replica, Span};
use super::samples::Samples;
use super::scratch::Scratch;
use super::stage::Stage;
use crate::fib::{Fib, PortId, Rewrite};
use crate::wire::{ethernet, ipv6, semi_permeable, xcast4, xcast6};

/// Octets of the transport header that belong to the head: all that X2U may change.
pub(super) const TRANSPORT_LEN: usize = 20;

/// The longest head, which is one of IPv6.
const HEAD_LEN_MAX: usize = LINK_HEADER_LEN
    + semi_permeable::OVERHEAD
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
    pub(super) stage: Stage,
    pub(super) cache: Cache,
    pub(super) replicas: Vec<Replica>,
    pub(super) heads: Heads,
    /// Probes that came in, to be looked at by the control plane.
    pub(super) heard: Vec<Heard>,
}

/// The replicas of a batch, and where their bytes are.
#[derive(Clone, Copy)]
pub struct Replicas<'a> {
    list: &'a [Replica],
    heads: &'a [u8],
}

impl<'a> Replicas<'a> {
    /// One of them, by its place among [`Output::replicas`].
    #[inline]
    pub fn replica(&self, index: u16) -> &'a Replica {
        &self.list[usize::from(index)]
    }

    /// As [`Output::pieces`].
    #[inline]
    pub fn pieces(&self, replica: &Replica, buffer: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let heads = if replica.in_place { buffer } else { self.heads };
        (replica.head.of(heads), replica.tail.of(buffer))
    }
}

/// Room for the heads of a batch's replicas.
pub(super) struct Heads {
    octets: Vec<u8>,
    used: usize,
}

impl Heads {
    fn new() -> Heads {
        Heads { octets: vec![0; 4 * PACKET_HEADS_MAX], used: 0 }
    }

    /// Takes `len` octets for a head; `None` if there is no room.
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Option<(Span, &mut [u8])> {
        let start = self.used;
        let head = self.octets.get_mut(start..start + len)?;
        self.used = start + len;
        Some((Span::new(start, start + len), head))
    }

    /// How many octets are taken.
    #[inline]
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Takes back all that was taken since so many were.
    #[inline]
    pub(super) fn give_back(&mut self, used: usize) {
        self.used = used;
    }

    /// Fills a head with the beginning of another.
    pub(super) fn copy(&mut self, from: Span, to: Span) {
        let start = from.start as usize;
        self.octets.copy_within(start..start + to.len as usize, to.start as usize);
    }

    /// A head that was taken.
    #[inline]
    pub(super) fn of(&mut self, span: Span) -> &mut [u8] {
        &mut self.octets[span.start as usize..][..span.len as usize]
    }
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
            stage: Stage::new(),
            cache: Cache::new(),
            replicas: Vec::with_capacity(16 * xcast4::DESTINATIONS_MAX),
            heads: Heads::new(),
            heard: Vec::with_capacity(HEARD_MAX),
        };
        output.prepare(fib);
        output
    }

    /// Must be called when another Fib is about to be used.
    pub fn prepare(&mut self, fib: &Fib) {
        self.scratch.prepare(fib);
        self.cache.prepare(fib);
        self.notices.prepare(fib.limits().icmp_errors_per_second);
        let ports = self.counters.ports.len().max(fib.ports().len());
        self.counters.ports.resize(ports, PortCounters::default());
    }

    /// Switches the partition cache off or on; it is on at first.
    pub fn use_partition_cache(&mut self, on: bool) {
        self.cache.off = !on;
    }

    /// Whether there is room for the replicas of one more packet. Without, what finds no room
    /// is dropped as `transmit-failed`.
    pub fn has_room(&self) -> bool {
        self.heads.octets.len() - self.heads.used >= PACKET_HEADS_MAX
            && self.replicas.capacity() - self.replicas.len() >= xcast4::DESTINATIONS_MAX
    }

    /// The bytes of a replica, in two pieces to be sent one behind the other: a link-layer
    /// header of [`LINK_HEADER_LEN`] octets, then the IP packet. `buffer` is that of its packet.
    #[inline]
    pub fn pieces<'a>(&'a self, replica: &Replica, buffer: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let replicas = Replicas { list: &self.replicas, heads: &self.heads.octets };
        replicas.pieces(replica, buffer)
    }

    /// The replicas of the batch so far with their bytes, and the counters that sending them
    /// changes.
    #[inline]
    pub fn to_send(&mut self) -> (Replicas<'_>, &mut Counters) {
        let replicas = Replicas { list: &self.replicas, heads: &self.heads.octets };
        (replicas, &mut self.counters)
    }

    /// The replicas of the batch so far.
    #[inline]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// What became of the destinations of the packet processed last that are in no replica: the
    /// reason and the bitmap.
    pub fn dropped(&self) -> impl Iterator<Item = (DropReason, u128)> + '_ {
        self.scratch.drops.iter()
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
        let replicas = Replicas { list: &self.replicas, heads: &self.heads.octets };
        let (head, tail) = replicas.pieces(replica, buffer);
        self.samples.keep_frame(reason, None, head, tail, now);
    }

    /// Counts a packet that came to this node and is none, for a reason that counts packets.
    pub fn refuse(&mut self, reason: DropReason, packet: &Packet<'_>, now: Time) {
        self.counters.received(packet.port, packet.buffer.len().saturating_sub(packet.start));
        self.counters.packets_dropped += 1;
        self.counters.drop(reason, 1);
        self.samples.keep(reason, packet, now);
    }

    /// Counts a packet without a list that came out of a tunnel: one destination, which was sent on
    /// or dropped.
    pub fn relayed(&mut self, outcome: Result<(), DropReason>, packet: &Packet<'_>, now: Time) {
        match outcome {
            Err(reason) if reason.counts_packets() => self.refuse(reason, packet, now),
            outcome => {
                self.counters.received(packet.port, packet.buffer.len() - packet.start);
                self.counters.destinations_received += 1;
                match outcome {
                    Ok(()) => {
                        self.counters.packets_forwarded += 1;
                        self.counters.destinations_forwarded += 1;
                    }
                    Err(reason) => {
                        self.counters.packets_dropped += 1;
                        self.counters.drop(reason, 1);
                        self.samples.keep(reason, packet, now);
                    }
                }
            }
        }
    }

    /// Forgets the replicas and notices, which are sent or held by now.
    pub fn clear(&mut self) {
        self.replicas.clear();
        self.notices.clear();
        self.heads.used = 0;
    }

    /// Drops destinations of the present packet when drops are settled already. A probe's are not
    /// counted.
    pub(super) fn drop_late(&mut self, reason: DropReason, live: u128) {
        self.scratch.drops.add(reason, live);
        match self.scratch.is_probe {
            true => self.counters.probes_refused += 1,
            false => self.counters.drop(reason, live.count_ones()),
        }
    }

    /// Whether the list of replicas has no room for one more: it must not grow.
    pub(super) fn is_full(&self) -> bool {
        self.replicas.len() == self.replicas.capacity()
    }
}

/// A link-layer header without the neighbor's address, which is not known yet.
pub(super) fn unresolved_rewrite(fib: &Fib, port: PortId) -> Rewrite {
    let source = fib.port(port).map_or([0; 6], |port| port.link_address);
    ethernet::header([0; 6], source, ethernet::TYPE_IPV4)
}

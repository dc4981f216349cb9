//! One copy of a packet: where it goes, how it travels, and where its bytes lie.

use std::net::IpAddr;

use crate::fib::{AdjacencyId, PortId};
use crate::wire::ethernet;

/// Octets in front of each replica's IP packet: its link-layer header.
pub const LINK_HEADER_LEN: usize = ethernet::HEADER_LEN;

/// Where a replica goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Out of this port; the link-layer header is complete.
    Port(PortId),
    /// Out of this port, once the link-layer address of this neighbor is known: it goes into
    /// the first octets of the head.
    Neighbor {
        /// The port.
        port: PortId,
        /// The neighbor's IP address.
        address: IpAddr,
    },
    /// Into this node's own IP stack, without a link-layer header.
    Host {
        /// The port that the packet came in by; `None` if this node sent it.
        from: Option<PortId>,
    },
}

/// How a replica travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As an Xcast packet with a pruned bitmap.
    Xcast,
    /// As a unicast packet, as one destination was left (X2U).
    Unicast,
    /// As an Xcast packet that is a probe's answer, and no traffic (R9).
    Probe,
    /// As a unicast packet, as the next hop does not speak Xcast (RFC 5058 section 11.2).
    PrematureUnicast,
}

impl Form {
    /// Whether the Xcast header is gone.
    pub fn is_unicast(self) -> bool {
        matches!(self, Form::Unicast | Form::PrematureUnicast)
    }
}

/// One copy of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The index of the packet in its batch, as given with the packet.
    pub packet: u16,
    /// Where it goes.
    pub target: Target,
    /// The neighbor it goes to, if that is known to the Fib.
    pub adjacency: Option<AdjacencyId>,
    /// How it travels.
    pub form: Form,
    /// The destinations it serves, as a bitmap of the list. A fragment but the last stands for
    /// none.
    pub live: u128,
    /// Whether its source may be told if it comes to nothing after all (R12).
    pub answerable: bool,
    /// Whether the head lies in the packet's buffer (else in the output).
    pub(super) in_place: bool,
    pub(super) head: Span,
    /// In the packet's buffer.
    pub(super) tail: Span,
}

impl Replica {
    /// How many destinations it serves.
    pub fn destinations(&self) -> u32 {
        self.live.count_ones()
    }

    /// The length of the IP packet in octets.
    pub fn ip_len(&self) -> usize {
        (self.head.len + self.tail.len) as usize - LINK_HEADER_LEN
    }
}

/// A range of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, len: (end - start) as u32 }
    }

    pub(super) fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start as usize..][..self.len as usize]
    }
}

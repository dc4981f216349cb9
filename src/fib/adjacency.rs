//! Adjacencies: neighbors on a link, with what it takes to forward to them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::PortId;
use crate::wire::ethernet;

/// The index of an [`Adjacency`] in its [`Fib`](super::Fib).
pub type AdjacencyId = u32;

/// A neighbor that packets may be sent to.
#[derive(Debug)]
pub struct Adjacency {
    /// The port it is behind.
    pub port: PortId,
    /// Its IP address on that link.
    pub address: IpAddr,
    /// What goes in front of the IP packet; `None` while its link-layer address is unknown.
    pub rewrite: Option<Rewrite>,
    /// Whether it handles Xcast packets.
    pub capability: Capability,
    /// What all of that comes to for most packets.
    pub(crate) plain: PlainWay,
    /// Set by the packet path when it is sent to, taken by the control plane, which keeps
    /// neighbors in use confirmed. The one mutable word of a published Fib.
    used: AtomicBool,
}

impl Adjacency {
    /// An adjacency that has not been used yet, behind a port that carries IP packets of `mtu` octets.
    pub fn new(
        (port, mtu): (PortId, u32),
        address: IpAddr,
        rewrite: Option<Rewrite>,
        capability: Capability,
    ) -> Adjacency {
        let plain = match (rewrite, capability) {
            (None, _) | (_, Capability::Tunnel) => PlainWay::default(),
            (Some(rewrite), capability) => {
                PlainWay { rewrite, mtu, speaks_xcast: capability == Capability::Capable }
            }
        };
        Adjacency { port, address, rewrite, capability, plain, used: AtomicBool::new(false) }
    }

    /// Notes that it is being sent to. Writes only once, so that workers share the cache line.
    #[inline]
    pub(crate) fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was sent to since the last call.
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

/// What it takes to send to a neighbor that is resolved and at no other end of a tunnel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlainWay {
    pub(crate) rewrite: Rewrite,
    /// The longest IP packet, in octets; 0 where more is to be decided about each.
    pub(crate) mtu: u32,
    /// It handles Xcast packets.
    pub(crate) speaks_xcast: bool,
}

/// Whether a neighbor handles Xcast packets, or must get unicast ones (RFC 5058 section 11.2), or is
/// the other end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// It is an Xcast router.
    Capable,
    /// It is not.
    Incapable,
    /// It is one, at the other end of a tunnel: a copy for one alone may have a better way.
    Tunnel,
}

/// The link-layer header in front of a packet into a tunnel, which nobody reads.
pub const NO_LINK: Rewrite = [0; ethernet::HEADER_LEN];

/// The ready link-layer header in front of a packet to one neighbor. Its EtherType is that of IPv4;
/// a packet of IPv6 gets its own.
pub type Rewrite = [u8; ethernet::HEADER_LEN];

//! How to reach a peer, and where it stands on the ring.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::{PeerId, RingId};
use crate::swap::SwapRecord;

/// The most addresses of one peer.
pub const ADDRESSES_MAX: usize = 4;

/// A peer that messages can be sent to. A peer is no machine: several may share a host by ports,
/// and one may be reached at several hosts (seed 001 paragraph 0030).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Who it is.
    pub id: PeerId,
    /// The address that is tried first.
    pub address: SocketAddr,
    /// Further ones; see [`ADDRESSES_MAX`].
    pub others: Option<Box<[SocketAddr]>>,
    /// How it came to a position that is not its own.
    pub swap: Option<Box<SwapRecord>>,
}

impl Contact {
    /// A peer at one address and at its own position.
    pub fn new(id: PeerId, address: SocketAddr) -> Contact {
        Contact { id, address, others: None, swap: None }
    }

    /// Where it stands on the ring: by a swap, or by its identity.
    pub fn position(&self) -> RingId {
        self.swap.as_ref().and_then(|swap| swap.position_of(self.id)).unwrap_or(self.id.position())
    }

    /// The address for the n-th try, from 0: all in turn.
    pub fn address_for(&self, attempt: usize) -> SocketAddr {
        let others = self.others.as_deref().unwrap_or_default();
        match attempt % (1 + others.len()) {
            0 => self.address,
            place => others[place - 1],
        }
    }

    /// Where to send the n-th try.
    pub fn endpoint_for(&self, attempt: usize) -> Endpoint {
        Endpoint { address: self.address_for(attempt), id: Some(self.id) }
    }

    /// Where to send.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint_for(0)
    }

    /// Whether it may be believed: not too many addresses, none of which is a group or nobody's, and
    /// no position that is not proved.
    pub fn is_acceptable(&self, proves: impl Fn(&SwapRecord) -> bool) -> bool {
        let others = self.others.as_deref().unwrap_or_default();
        others.len() < ADDRESSES_MAX
            && others.iter().chain([&self.address]).all(is_usable)
            && self
                .swap
                .as_ref()
                .is_none_or(|swap| swap.position_of(self.id).is_some() && proves(swap))
    }

    /// Whether a message from there may be its own: of its identity, and from one of its addresses.
    pub fn speaks_from(&self, from: &Endpoint) -> bool {
        let others = self.others.as_deref().unwrap_or_default();
        from.id == Some(self.id) && (self.address == from.address || others.contains(&from.address))
    }

    /// All its addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let others = self.others.as_deref().unwrap_or_default();
        [self.address].into_iter().chain(others.iter().copied()).collect()
    }
}

fn is_usable(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

/// Where a message is sent: an address, and who is expected there if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// UDP over either IP version.
    pub address: SocketAddr,
    /// Who is there; a peer that is known by address alone has none.
    pub id: Option<PeerId>,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint { address, id: None }
    }
}

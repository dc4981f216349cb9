//! What [`Peers`](super::Peers) are told, and what they tell.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::backbone::keys::{PrivateKey, PublicKey};
use crate::fib::Prefix;
use crate::forward::Time;
use crate::wire::control::{CloseReason, Lease};

/// Fills octets with what nobody can foresee.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

/// What an end may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Announces prefixes and names other relays; may lease an address, too.
    Relay,
    /// May lease an address.
    Host,
}

/// How this node takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its key.
    pub private_key: PrivateKey,
    /// What it is. A host announces nothing and dials only its seeds.
    pub role: Role,
    /// Who may be an end, and as what. Its own key may be among them and is passed over.
    pub allowed: BTreeMap<PublicKey, Role>,
    /// Configured tunnels: relays with a fixed address, which need not be in `allowed`.
    pub pinned: Vec<Pinned>,
    /// Where relays are asked first.
    pub seeds: Vec<Seed>,
    /// What this node is near.
    pub prefixes: Vec<Prefix>,
    /// What addresses are leased from; announced like `prefixes`. The first and the last address
    /// of each are not leased, unless it has less than four.
    pub leases: Vec<Prefix>,
    /// Addresses that are never leased: this node's own.
    pub reserved: Vec<IpAddr>,
    /// Whether others may announce a default route.
    pub accept_default: bool,
    /// What hosts are told this relay is called; at most 32 octets.
    pub name: String,
}

/// A configured tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The tunnel's name.
    pub name: String,
    /// The end's key.
    pub key: PublicKey,
    /// Where the end is dialed. It is taken for the end from this IP address only, but from any
    /// port.
    pub address: SocketAddr,
}

/// Where a relay may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Its address.
    pub address: SocketAddr,
    /// The key it must have. Without one, any allowed key will do.
    pub key: Option<PublicKey>,
}

/// An end: the same as long as its key is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndId(pub u32);

/// What is known of an end.
#[derive(Clone, Debug, PartialEq)]
pub struct EndView {
    /// Which one.
    pub id: EndId,
    /// Its key.
    pub key: PublicKey,
    /// What it may be.
    pub role: Role,
    /// The name of its configured tunnel.
    pub pinned: Option<String>,
    /// Whence its latest authenticated message came, and where packets for it go.
    pub address: SocketAddr,
    /// What it announces, in order, and is taken for true.
    pub prefixes: Vec<Prefix>,
    /// The address that it has leased here.
    pub lease: Option<IpAddr>,
    /// Smoothed round-trip time in microseconds.
    pub rtt: Option<u64>,
    /// Share of the last 64 keepalives that were not answered, 0 to 1.
    pub loss: f64,
    /// When its last keepalive was answered.
    pub heard: Option<Time>,
    /// Whether it answers.
    pub is_up: bool,
}

/// Why an end is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// It does not answer.
    Silent,
    /// It has said that it leaves, or that we are not allowed.
    Closed(CloseReason),
    /// The configuration does not allow it any more.
    NotAllowed,
    /// This node leaves.
    Leaving,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// There.
        to: SocketAddr,
        /// Its octets.
        bytes: Vec<u8>,
    },
    /// An end answers: packets may go to it and come from it.
    Up(EndView),
    /// Of an end that is up, the address, the prefixes or the lease are others now.
    Changed(EndView),
    /// An end does not count any more.
    Down(EndId, DownReason),
    /// A relay has answered what [`request_lease`](super::Peers::request_lease) has asked.
    Leased(EndId, Lease),
}

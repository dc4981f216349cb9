//! What is known of other Xcast nodes: pure state machines, driven by a clock and messages from
//! outside. Randomness is given to them, too.
//!
//! - [`Prober`]: which neighbors handle Xcast (WIRE.md R9, RFC 5058 section 11.2).
//! - [`Liveness`]: whether an end of a tunnel answers, how fast and how reliably.
//! - [`PrivateKey`], [`PublicKey`]: what ends of UDP tunnels know each other by; `handshake` and
//!   `session` make of them what is sealed, opened once and renewed in time (WIRE.md, "Control
//!   messages of UDP tunnels").
//! - [`Peers`]: all a node does with authenticated ends: dialing and being dialed, keepalives,
//!   announcements, leases.
//! - [`Attachment`]: a host's relays: the nearest is used, another one when it fails.

pub mod attachment;
mod handshake;
mod keys;
mod liveness;
pub mod peers;
mod prober;
mod refusal;
mod session;

pub use attachment::Attachment;
pub use keys::{KeyError, PrivateKey, PublicKey};
pub use liveness::{Event, Liveness, RoundTrip};
pub use peers::Peers;
pub use prober::{Action, Neighbor, Prober};
pub use refusal::{Counters, Refusal};

#[cfg(test)]
mod tests;

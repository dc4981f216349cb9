//! What overlay hosts say to each other, as pure state machines: no sockets, no clock, no threads,
//! no randomness but a seed. The daemon drives them on real sockets, the simulator in virtual time,
//! with the same octets in both.
//!
//! ```text
//!  datagram ─► node: open (envelope, seal, replay, pieces) ─► ring · locality · metrics
//!                                                                │ one Send to one or many peers
//!  datagrams ◄─ driver: together or one by one ◄─ parallel ◄─────┘
//!                       node.datagram(): encode, seal
//! ```
//!
//! | room | owns |
//! | --- | --- |
//! | [`machine`] | the contract of every machine, messages, outputs |
//! | [`id`], [`contact`], [`swap`], [`seal`] | who a peer is, where it stands, how it proves that |
//! | [`envelope`], [`replay`], [`pieces`], [`drops`] | datagrams, and why they are not taken |
//! | [`parallel`] | the queue that makes several messages one packet (seed 002) |
//! | [`ring`] | the DHT (seed 003) |
//! | [`locality`] | groups of near peers (seeds 000 and 001) |
//! | [`coordinates`], [`bandwidth`] | latencies and links, from what a leaf set measures (seed 003) |
//! | [`metrics`] | measuring them |
//! | [`alm`] | who forwards to whom in a multicast session, planned (seed 003) |
//! | [`sessions`] | sessions planned on the pool, and their claims on hosts (seed 003) |
//! | [`delivery`] | a session's data along its tree (seeds 002 and 003) |
//! | [`data_overlay`] | objects that refer to each other, wherever they are (seed 003) |
//! | [`somo`] | the tree that gathers what machines report, and tells them (seed 003) |
//! | [`resource_pool`] | what hosts have to give, reported, merged and asked for (seed 003) |
//! | [`node`] | all of it composed |

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
#[macro_use]
extern crate std;

pub mod alm;
pub mod bandwidth;
pub mod contact;
pub mod coordinates;
pub mod data_overlay;
pub mod delivery;
pub mod drops;
pub mod envelope;
pub mod id;
pub mod locality;
pub mod machine;
pub mod metrics;
pub mod node;
pub mod parallel;
pub mod pieces;
pub mod random;
pub mod replay;
pub mod resource_pool;
pub mod ring;
pub mod seal;
pub mod sessions;
pub mod somo;
pub mod swap;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;

pub use contact::{Contact, Endpoint};
pub use drops::{DropReason, Drops};
pub use id::{PeerId, RingId};
pub use node::OverlayNode;
pub use seal::Identity;
pub use time::{Now, Time, Wall};

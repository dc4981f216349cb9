//! The room that talks with the kernel: what it knows, and what it must leave to us.
//!
//! [`Mirror`] follows the links, addresses, routes and neighbors of the network namespace it was
//! opened in, by rtnetlink, and says what changes in the words of [`crate::rib`]. [`IngressDrop`]
//! tells the kernel to keep its own hands off the packets that the router takes.
//!
//! Everything here blocks at most on the kernel itself, and works as root or with `CAP_NET_ADMIN`
//! in the user namespace that owns the network namespace.

mod channel;
mod decode;
mod error;
mod forward_chains;
mod framing;
mod mirror;
mod nftables;
mod pace;
mod request;
mod rules;
mod watch;

pub use error::KernelError;
pub use forward_chains::forward_chains;
pub use mirror::{EVENT_BUFFER, Mirror};
pub use nftables::{Dropped, IngressDrop};
pub use rules::policy_rules;

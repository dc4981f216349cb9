//! Sending and receiving at a host: one packet to many destinations.
//!
//! An [`XcastSocket`] applies the router's own rules to what it sends (WIRE.md "On the link" 3): it
//! follows the kernel's routes and neighbors through the same Rib, and puts each packet through the
//! same packet path. So one copy leaves for each gateway that handles Xcast, others get plain
//! unicast, as on-link receivers do, and addresses of this host are delivered to it. Any number of
//! destinations of both IP versions will do: lists are split (`split`), and nothing is ever
//! fragmented.
//!
//! By a [`Relay`] it needs no privilege, and no network that knows Xcast: the relay leases it an
//! address and takes its packets on.
//!
//! ```no_run
//! use std::net::Ipv4Addr;
//! use std::time::Duration;
//! use xcast::host::{Destination, Message, Options, XcastSocket};
//! use xcast::wire::CodePoints;
//!
//! let code_points = CodePoints {
//!     ip_protocol: 253,
//!     all_routers_v4: Ipv4Addr::new(224, 0, 0, 254),
//!     all_routers_v6: "ff02::114".parse()?,
//!     routing_type: 253,
//!     ports_option: 0x5e,
//!     hop_by_hop_option: 0x1e,
//! };
//! let mut socket = XcastSocket::open(code_points, &Options::default())?;
//! let to = |text: &str| {
//!     text.parse().map(|address| Destination { address, port: 9000, dscp: None })
//! };
//! let destinations = [to("10.0.4.2")?, to("10.0.8.2")?, to("2001:db8::2")?];
//! let message = Message { destinations: &destinations, payload: b"hello", ..Message::default() };
//! for unsent in socket.send(&message)?.unsent {
//!     println!("{}: {}", destinations[unsent.index].address, unsent.reason.name());
//! }
//! while let Some(answer) = socket.receive(Some(Duration::from_secs(1)))? {
//!     println!("{} answers {:?}", answer.source, answer.payload);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod error;
mod inbox;
mod message;
mod native;
mod network;
mod outcome;
mod probing;
mod receiver;
mod relay;
mod socket;
mod split;
mod troubles;
mod waiting;

pub use crate::backbone::{KeyError, PrivateKey, PublicKey};
pub use crate::wire::control::Families;
pub use error::HostError;
pub use inbox::Inbox;
pub(crate) use message::preferred_source;
pub use message::{Destination, Message, MessageError};
pub use network::Network;
pub use outcome::{Answer, Sent, Unsent};
pub(crate) use probing::Probing;
pub use receiver::{Received, Receiver};
pub use relay::{Relay, RelayEvent, RelayView};
pub use socket::{Options, XcastSocket};
pub use troubles::{Trouble, TroubleKind};

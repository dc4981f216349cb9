//! What is known of other Xcast nodes: pure state machines, driven by a clock and messages from
//! outside.
//!
//! - [`Prober`]: which neighbors handle Xcast (WIRE.md R9, RFC 5058 section 11.2).

mod prober;

pub use prober::{Action, Neighbor, Prober};

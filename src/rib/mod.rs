//! Routing information base.
mod change;
pub use change::*;

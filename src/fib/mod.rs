//! Forwarding information base.
mod prefix;
pub use prefix::Prefix;

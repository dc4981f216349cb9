//! Overlay hosts in virtual time, on networks whose routers are the packet path itself.

pub mod network;
pub mod underlay;

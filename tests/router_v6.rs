//! Xcast over IPv6, and over both IP versions at once, through real routers and kernels: what
//! crosses each link, who gets what, what neighbors are found to be, and what a sender is told.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "support/lab.rs"]
mod lab;
mod support;

#[path = "router_v6/errors.rs"]
mod errors;
#[path = "router_v6/figure1.rs"]
mod figure1;
#[path = "router_v6/fragments.rs"]
mod fragments;
#[path = "router_v6/link_local.rs"]
mod link_local;
#[path = "router_v6/neighbors.rs"]
mod neighbors;
#[path = "router_v6/own_stack.rs"]
mod own_stack;
#[path = "router_v6/tree.rs"]
mod tree;

use std::net::SocketAddr;

use lab::Version;

const BOTH: [Version; 2] = [Version::V4, Version::V6];
const SOURCE_PORT: u16 = 5000;

/// A list of destinations as `xcast send --to` takes it.
fn words(to: &[SocketAddr]) -> String {
    to.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}

//! The drivers: packet sockets and AF_XDP carry the same, whatever happens to the interface.

// A failure of a test is a panic.
#![allow(clippy::unwrap_used)]

// Every test uses some of it.
#[allow(dead_code, unreachable_pub)]
#[path = "../support/lab.rs"]
mod lab;
#[path = "../support/mod.rs"]
mod support;

mod devices;
mod routers;

/// Whether programs can be loaded into the kernel here; not in a user namespace.
fn may_load() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

//! `overlay-host`: the daemon and its commands.

fn main() {}

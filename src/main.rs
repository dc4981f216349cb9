//! The `xcast` command.
fn main() {}

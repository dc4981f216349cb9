//! Xcast.
#![deny(unsafe_code)]
pub mod fib;
pub mod forward;
pub mod io;
pub mod rib;
pub mod wire;

//! Xcast.
#![deny(unsafe_code)]
pub mod fib;
pub mod rib;

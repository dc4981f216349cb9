//! The daemon of overlay hosts: the machines of `overlay-protocols` on real sockets.
//!
//! | room | owns |
//! | --- | --- |
//! | [`config`] | every key, its check and its default |
//! | [`state`] | keys and what machines keep over a restart |
//! | [`rendezvous`] | finding whom to ask first: addresses, names, DHCP |
//! | [`daemon`] | sockets, peers, signals, the loop |
//! | [`control`] | the control socket's language |
//! | [`commands`] | the command line |

#![forbid(unsafe_code)]

pub mod commands;
pub mod config;
pub mod control;
pub mod daemon;
pub mod rendezvous;
pub mod state;

/// Where control sockets are.
pub const SOCKET_FOLDER: &str = "/run/xcast/overlay";

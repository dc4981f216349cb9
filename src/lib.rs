//! Xcast (RFC 5058, explicit multi-unicast): one packet to many destinations, without multicast
//! groups or per-flow state.
//!
//! A packet carries the list of its destinations. Each router on the way looks every one of them
//! up in its ordinary unicast routes, sends one copy to each next hop with the list pruned to
//! what is behind it, and turns a copy with one destination left into a plain unicast packet.
//!
//! ```text
//!   applications                     xcast router run
//!        │ host::XcastSocket              │
//!        ▼                                ▼
//!   packets ─► io::Receive ─► forward::process(&fib, packet, now, &mut out) ─► io::Transmit ─► packets
//!                                   ▲ one immutable Fib, swapped whole between batches
//!   kernel (rtnetlink) ─► rib ─► fib │
//!                                   └─ counters, drop reasons ─► control (socket, show)
//! ```
//!
//! The rooms, from the inside out; each may use those above it only (and all [`io::prefetch`], which
//! changes nothing but time):
//!
//! | room | owns |
//! | --- | --- |
//! | [`wire`] | byte formats, both ways |
//! | [`fib`] | longest-prefix match, adjacencies: what can forward now |
//! | [`rib`] | links, addresses, routes, neighbors: what is wanted; compiles the Fib |
//! | [`forward`] | the packet path, pure |
//! | [`backbone`] | which neighbors handle Xcast |
//! | [`io`] | packet system calls, all `unsafe` |
//! | [`kernel`] | rtnetlink, and the kernel-side drop |
//! | [`engine`] | devices, packet path and waiting packets, joined |
//! | [`host`] | sending from a host |
//! | [`control`] | the control socket's language |
//! | [`daemon`] | the router process |
//! | [`tools`] | the command line |

#![deny(unsafe_code)]

pub mod backbone;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod fib;
pub mod forward;
pub mod host;
pub mod io;
pub mod kernel;
pub mod rib;
pub mod tools;
pub mod wire;

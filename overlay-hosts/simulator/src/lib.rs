//! Overlay hosts in virtual time, on networks whose routers are the packet path itself.
//!
//! | room | owns |
//! | --- | --- |
//! | [`experiments`] | what `overlay-sim run` knows, one file each |
//! | [`report`] | rows beside the sources' figures: table, JSON, chart |
//! | [`world`] | nodes in virtual time: events, datagrams, faults |
//! | [`event_queue`] | what happens next |

pub mod cli;
pub mod event_queue;
pub mod experiments;
pub mod report;
pub mod world;

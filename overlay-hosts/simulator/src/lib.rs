//! Overlay hosts in virtual time, on networks whose routers are the packet path itself.
//!
//! | room | owns |
//! | --- | --- |
//! | [`underlay`] | routers, links and hosts; the true distances |
//! | [`network`] | packets through an underlay, by the packet path at each Xcast router |
//! | [`event_queue`] | what happens next |
//! | [`world`] | nodes in virtual time: events, datagrams, faults |
//! | [`experiments`] | what `overlay-sim run` knows, one file each |
//! | [`report`] | rows beside the sources' figures: table, JSON, chart |
//! | [`cli`] | the commands |

pub mod cli;
pub mod event_queue;
pub mod experiments;
pub mod network;
pub mod report;
pub mod underlay;
pub mod world;

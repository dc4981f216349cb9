//! Overlay hosts in virtual time, on networks whose routers are the packet path itself.
//!
//! | room | owns |
//! | --- | --- |
//! | [`experiments`] | what `overlay-sim run` knows, one file each |
//! | [`report`] | rows beside the sources' figures: table, JSON, chart |

pub mod experiments;
pub mod report;

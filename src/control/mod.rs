//! The control socket's language: one request and one reply, each a line of JSON.
//!
//! Codec only. The replies to `show` are exactly what `xcast show --json` prints; their keys are
//! stable (see README, "Scripting").

mod explanation;
mod reply;

use serde::{Deserialize, Serialize};

pub use explanation::{Explanation, Fate, PlannedReplica, Question};
pub use reply::{Backbone, BackboneEnd, TunnelState, Tunnels};
pub use reply::{DroppedPacket, Samples, samples};
pub use reply::{NeighborState, Neighbors, PortState, Ports, RouteState, Routes};
pub use reply::{counters, drops, neighbors, resolution, routes};

/// What can be asked of a running router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Show some state.
    Show(Topic),
    /// Say what would become of a packet.
    Explain(Question),
    /// Say which packets were dropped last.
    Samples,
    /// Read the configuration file again.
    Reload,
    /// Stop, as SIGTERM does.
    Drain,
}

/// What state can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// The interfaces the router receives on and sends by
    Ports,
    /// Configured routes and those of the kernel, in the order in which they are consulted
    Routes,
    /// Neighbors on the ports' links
    Neighbors,
    /// Tunnels, and whether their other ends are there
    Tunnels,
    /// Relays and hosts that are known by their keys
    Backbone,
    /// Packets, replicas and destinations
    Counters,
    /// Dropped packets and destinations, by reason
    Drops,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It was done; for `show`, what was asked for.
    Done(serde_json::Value),
    /// It was not done.
    Failed(String),
    /// It was not done, as what was asked for, or the configuration, is wrong.
    Refused(String),
}

/// The longest request in octets.
pub const REQUEST_LEN_MAX: usize = 4096;

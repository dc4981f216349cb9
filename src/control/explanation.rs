//! What `explain` asks, and what it answers.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A packet that nobody sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Question {
    /// Its destinations, of either IP version.
    pub destinations: Vec<IpAddr>,
    /// Its source, for destinations of its IP version; this node itself if `None`.
    pub source: Option<IpAddr>,
    /// Octets of its UDP payload.
    pub size: u16,
}

/// What the router would do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// By destination, as listed.
    pub destinations: Vec<Fate>,
    /// The copies that would leave.
    pub replicas: Vec<PlannedReplica>,
}

/// What would become of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fate {
    /// The destination.
    pub address: String,
    /// `forward`, `deliver` or `drop`.
    pub outcome: String,
    /// Why it would be dropped, if so.
    pub reason: Option<String>,
    /// The prefix of the route that decides.
    pub prefix: Option<String>,
    /// The gateway, if there is one.
    pub via: Option<String>,
    /// The interface to leave by.
    pub interface: Option<String>,
    /// The tunnel to leave by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// The kernel's state of the next hop, or `unresolved`.
    pub neighbor_state: Option<String>,
    /// The copy that would serve it.
    pub replica: Option<usize>,
}

/// A copy that would leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedReplica {
    /// By which destinations refer to it.
    pub id: usize,
    /// The next hop, or `this node`.
    pub to: String,
    /// The interface to leave by.
    pub interface: Option<String>,
    /// The tunnel to leave by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// `xcast` or `unicast`.
    pub form: String,
    /// Whom it serves.
    pub destinations: Vec<String>,
    /// Its length on the link: octets of the IP packet.
    pub bytes: usize,
}

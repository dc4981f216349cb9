//! The control socket's language: one request and one reply, each a line of JSON. The replies to
//! `show` are what `overlay-host show --json` prints; their keys are stable.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest request in octets.
pub const REQUEST_LEN_MAX: usize = 512 * 1024;
/// How long an answer may take: what is asked of the overlay may be asked again on the way.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// What can be asked of a running host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Show some state.
    Show(Topic),
    /// Ask the overlay.
    Ask {
        /// By which peer of the process; the first if none is named.
        peer: Option<String>,
        /// What.
        question: Question,
    },
    /// Something of the pool and its multicast sessions.
    Multicast {
        /// By which peer of the process; the first if none is named.
        peer: Option<String>,
        /// What.
        order: Order,
    },
}

/// What can be done with the pool and its multicast sessions. Numbers of sessions are 16 hexadecimal
/// digits, payloads are base64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Which hosts have something to give?
    Pool(PoolQuestion),
    /// Begin a session; the answer comes when it has a tree.
    Begin {
        /// Addresses, with ports or without, or beginnings of identities.
        members: Vec<String>,
        /// From 1, the highest, to 3.
        priority: u8,
    },
    /// Send these to all members. A session of which nothing is said for 30 seconds ends: none at
    /// all keeps it.
    Send {
        /// Which session.
        session: String,
        /// Each of 1000 octets at most.
        payloads: Vec<String>,
    },
    /// That was all; the answer comes when everybody has had the time to get it.
    End {
        /// Which session.
        session: String,
    },
    /// What has come? With nothing new, the answer waits for something, for a while.
    Receive {
        /// Which session; without, one that is under way.
        session: Option<String>,
        /// From this payload on.
        from: u64,
    },
}

/// Which hosts of the pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PoolQuestion {
    /// Not farther from here, milliseconds there and back.
    pub within_ms: Option<f64>,
    /// With so many free degrees at least.
    pub degrees: u16,
    /// So many at most, the nearest first.
    pub count: usize,
}

/// What can be asked of the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Keep a value.
    Put {
        /// Under this name.
        key: String,
        /// The value.
        value: String,
    },
    /// What is kept under a name.
    Get {
        /// Which.
        key: String,
    },
    /// Who is responsible for a name.
    FindNode {
        /// Which.
        key: String,
    },
}

/// What state can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Each peer's place on the ring: its zone, neighbors and fingers
    Ring,
    /// Each peer's group: who is in it, who leads it, and which groups are near
    Group,
    /// Each peer's coordinate and bandwidth, and what it has measured of its neighbors
    Coordinates,
    /// Each peer's place in the tree of all: parent, children, and what was gathered last
    Tree,
    /// Multicast sessions: who forwards to whom, what was received, and who has whose links
    Sessions,
    /// Messages, packets and octets, by Xcast and by unicast
    Traffic,
    /// Dropped datagrams and messages, by reason
    Drops,
}

//! From the router's own types to what `show` prints.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fib::PortId;
use crate::forward::{Counters, DropReason, Sample, Time};
use crate::rib;

/// `show ports`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ports {
    /// By interface.
    pub ports: Vec<PortState>,
}

/// A port.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PortState {
    /// The interface's name.
    pub interface: String,
    /// How packets are read and sent: `packet`, `packet+xdp` or `xdp`; empty if not at all.
    pub driver: String,
    /// Why not by the driver that is wanted, or why not at all; empty if it is that one.
    pub why_not: String,
    /// The check of sources.
    pub reverse_path: String,
    /// `up`, `down`, `missing` or `error`.
    pub state: String,
    /// The largest IP packet in octets; 0 if the interface is missing.
    pub mtu: u32,
    /// Whether the kernel is told to leave Xcast packets to the router.
    pub kernel_drop: bool,
    /// Why not, if not.
    pub kernel_drop_error: Option<String>,
    /// Packets received.
    pub packets_received: u64,
    /// Octets of IP packets received.
    pub bytes_received: u64,
    /// Replicas sent in Xcast form.
    pub replicas_sent_xcast: u64,
    /// Replicas sent as unicast packets.
    pub replicas_sent_unicast: u64,
    /// Octets of IP packets sent.
    pub bytes_sent: u64,
    /// Frames lost because they came faster than they were read.
    pub receive_overruns: u64,
    /// Packets that each worker has received, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packets_received_by_worker: Vec<u64>,
}

/// `show routes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Routes {
    /// In the order in which they are consulted.
    pub routes: Vec<RouteState>,
}

/// A next hop of a route.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteState {
    /// The destinations.
    pub prefix: String,
    /// The gateway, if there is one.
    pub via: Option<String>,
    /// The interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// `static`, or `kernel:TABLE`.
    pub source: String,
    /// The kernel's metric.
    pub metric: u32,
    /// `live`, `down`, `drop` or `throw`.
    pub state: String,
}

/// `show neighbors`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Neighbors {
    /// By interface and address.
    pub neighbors: Vec<NeighborState>,
}

/// A neighbor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NeighborState {
    /// Its IP address.
    pub address: String,
    /// The interface it is on.
    pub interface: String,
    /// Its link-layer address, where known.
    pub link_address: Option<String>,
    /// The kernel's state of it, in the kernel's words.
    pub resolution: String,
    /// `capable`, `incapable` or `unknown`.
    pub xcast: String,
    /// Whether that is configured.
    pub pinned: bool,
}

/// `show tunnels`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tunnels {
    /// In the order of the configuration.
    pub tunnels: Vec<TunnelState>,
}

/// A tunnel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TunnelState {
    /// What routes call it.
    pub name: String,
    /// `ipip` or `udp`.
    pub kind: String,
    /// This end.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// `up`, `unproven` (the other end has never answered), or `down`.
    pub state: String,
    /// The TUN device that stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The other end's public key, if it has one and is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_key: Option<String>,
    /// What the other end says it is near to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
    /// The largest packet that it carries: what the path does, less the overhead. 0 if there is no
    /// path.
    pub mtu_bytes: u32,
    /// The round-trip time to the other end, smoothed.
    pub rtt_seconds: Option<f64>,
    /// The share of the last 64 questions that the other end has not answered.
    pub loss: f64,
    /// What is wrong, if anything is.
    pub note: String,
}

/// `show backbone`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Backbone {
    /// This router's public key; none without tunnels that have keys.
    pub key: Option<String>,
    /// What it is near to.
    pub prefixes: Vec<String>,
    /// What hosts are leased addresses of.
    pub leases: Vec<String>,
    /// The other ends, those that are down too.
    pub ends: Vec<BackboneEnd>,
    /// Control messages that were not taken, by reason. In `show drops` those over the rate of
    /// handshakes are among `unknown-end`, and malformed ones under `length`.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
}

/// An authenticated end of a tunnel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BackboneEnd {
    /// The tunnel to it, while it is there.
    pub tunnel: Option<String>,
    /// `relay` or `host`.
    pub role: String,
    /// Its public key.
    pub key: String,
    /// Where its latest authenticated message came from.
    pub address: String,
    /// `up` or `down`.
    pub state: String,
    /// What it says it is near to.
    pub prefixes: Vec<String>,
    /// The address that it has leased.
    pub lease: Option<String>,
    /// The round-trip time to it, smoothed.
    pub rtt_seconds: Option<f64>,
    /// The share of the last 64 keepalives that it has not answered.
    pub loss: f64,
}

/// The packets that were dropped last, some of each reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Samples {
    /// The oldest first.
    pub samples: Vec<DroppedPacket>,
}

/// A packet that was dropped, or of which destinations were.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DroppedPacket {
    /// Why, by the names of `show drops`.
    pub reason: String,
    /// Counts all such packets since the router has started, from 1.
    pub number: u64,
    /// When, as RFC 3339 has it, with microseconds.
    pub time: String,
    /// The interface it came in by; `None` if this node sent it, or if the port is gone.
    pub interface: Option<String>,
    /// Octets of the whole frame.
    pub length: usize,
    /// The frame from its link-layer header on, or its beginning.
    pub frame_base64: String,
}

/// The reply to [`Samples`](super::Request::Samples); `time` says when a moment of the packet path
/// was, and `interface` the name of a port's.
pub fn samples(
    samples: &[Sample],
    time: impl Fn(Time) -> String,
    interface: impl Fn(PortId) -> Option<String>,
) -> Samples {
    let packet = |sample: &Sample| DroppedPacket {
        reason: sample.reason.name().to_owned(),
        number: sample.number,
        time: time(sample.time),
        interface: sample.port.and_then(&interface),
        length: sample.length,
        frame_base64: STANDARD.encode(&sample.frame),
    };
    Samples { samples: samples.iter().map(packet).collect() }
}

/// `show counters`: one flat object.
pub fn counters(counters: &Counters) -> Value {
    let fields = [
        ("packets-received", counters.packets_received),
        ("packets-forwarded", counters.packets_forwarded),
        ("packets-dropped", counters.packets_dropped),
        ("replicas-sent", counters.replicas_sent),
        ("unicast-conversions", counters.unicast_conversions),
        ("premature-unicast-conversions", counters.premature_unicast_conversions),
        ("destinations-received", counters.destinations_received),
        ("destinations-forwarded", counters.destinations_forwarded),
        ("destinations-delivered", counters.destinations_delivered),
        ("destinations-dropped", counters.destinations_dropped()),
        ("destinations-pending", counters.destinations_pending),
        ("fragments-lost", counters.fragments_lost),
        ("probes-answered", counters.probes_answered),
        ("probes-refused", counters.probes_refused),
        ("probes-returned", counters.probes_returned),
        ("bytes-received", counters.bytes_received),
        ("bytes-sent", counters.bytes_sent),
        ("partition-cache-hits", counters.partition_cache_hits),
    ];
    fields
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect::<Map<_, _>>()
        .into()
}

/// `show drops`: every reason by its name, zeros too.
pub fn drops(counters: &Counters) -> Value {
    let each = DropReason::ALL.iter().zip(counters.drops);
    let drops: Map<String, Value> =
        each.map(|(reason, count)| (reason.name().to_owned(), count.into())).collect();
    serde_json::json!({ "drops": drops })
}

/// `show routes`.
pub fn routes(views: Vec<rib::RouteView>) -> Routes {
    let state = |view: rib::RouteView| RouteState {
        prefix: view.prefix.to_string(),
        via: view.via.map(|via| via.to_string()),
        interface: view.interface.filter(|_| view.tunnel.is_none()),
        tunnel: view.tunnel,
        source: view.source,
        metric: view.metric,
        state: view.state.unwrap_or("live").to_owned(),
    };
    Routes { routes: views.into_iter().map(state).collect() }
}

/// `show neighbors`.
pub fn neighbors(views: Vec<rib::NeighborView>) -> Neighbors {
    let state = |view: rib::NeighborView| NeighborState {
        address: view.address.to_string(),
        interface: view.interface,
        link_address: view.link_address.map(link_address),
        resolution: resolution(view.state).to_owned(),
        xcast: match view.capable {
            Some(true) => "capable".to_owned(),
            Some(false) => "incapable".to_owned(),
            None => "unknown".to_owned(),
        },
        pinned: view.pinned,
    };
    Neighbors { neighbors: views.into_iter().map(state).collect() }
}

fn link_address(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// The kernel's word for a neighbor's state.
pub fn resolution(state: rib::NeighborState) -> &'static str {
    match state {
        rib::NeighborState::Incomplete => "incomplete",
        rib::NeighborState::Reachable => "reachable",
        rib::NeighborState::Stale => "stale",
        rib::NeighborState::Delay => "delay",
        rib::NeighborState::Probe => "probe",
        rib::NeighborState::Failed => "failed",
        rib::NeighborState::NoArp => "noarp",
        rib::NeighborState::Permanent => "permanent",
    }
}

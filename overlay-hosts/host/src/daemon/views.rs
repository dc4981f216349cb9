//! What `show` shows.

use overlay_protocols::Now;
use overlay_protocols::drops::{DropReason, Drops};
use overlay_protocols::node::OverlayNode;
use serde_json::{Map, Value, json};

use super::peer::{Datagrams, Peer};
use crate::control::Topic;

/// One topic of all peers.
pub(super) fn show(topic: Topic, peers: &[Peer], now: Now) -> Value {
    let each = |view: fn(&Peer) -> Value| {
        let peers: Vec<Value> = peers.iter().map(view).collect();
        json!({ "peers": peers })
    };
    match topic {
        Topic::Ring => each(ring),
        Topic::Group => each(group),
        Topic::Traffic => traffic(peers, now),
        Topic::Drops => drops(peers),
    }
}

fn ring(peer: &Peer) -> Value {
    let ring = peer.node.ring();
    json!({
        "name": peer.name,
        "id": peer.node.contact().id.to_string(),
        "position": ring.position().to_string(),
    })
}

fn group(peer: &Peer) -> Value {
    json!({ "name": peer.name, "id": peer.node.contact().id.to_string() })
}

/// The sum over all peers.
fn drops(peers: &[Peer]) -> Value {
    let of =
        |reason: DropReason| peers.iter().map(|peer| peer.node.drops().of(reason)).sum::<u64>();
    let drops: Map<String, Value> = Drops::default()
        .each()
        .map(|(reason, _)| (reason.name().to_owned(), of(reason).into()))
        .collect();
    json!({ "drops": drops })
}

/// The sum over all peers.
fn traffic(peers: &[Peer], now: Now) -> Value {
    let of_node =
        |count: fn(&OverlayNode) -> u64| peers.iter().map(|peer| count(&peer.node)).sum::<u64>();
    let of =
        |count: fn(&Datagrams) -> u64| peers.iter().map(|peer| count(&peer.datagrams)).sum::<u64>();
    let reached: usize = peers.iter().map(|peer| peer.reach.reached(now.time)).sum();
    let sockets = || peers.iter().filter_map(|peer| peer.link.xcast_socket());
    let replicas: u64 = sockets().map(|socket| socket.counters().replicas_sent).sum();
    json!({
        "messages-sent": of_node(|node| node.traffic().sent),
        "receivers": of_node(|node| node.traffic().receivers),
        "messages-received": of_node(|node| node.traffic().received),
        "outputs-lost": of_node(|node| node.traffic().lost),
        "unicast-packets-sent": of(|sent| sent.unicast_packets),
        "unicast-bytes-sent": of(|sent| sent.unicast_bytes),
        "xcast-packets-sent": of(|sent| sent.xcast_packets),
        "xcast-bytes-sent": of(|sent| sent.xcast_bytes),
        "xcast-receivers": of(|sent| sent.xcast_receivers),
        "xcast-reached": reached,
        "receivers-unsent": of(|sent| sent.unsent),
        "packets-received": of(|sent| sent.received_packets),
        "bytes-received": of(|sent| sent.received_bytes),
        "xcast-packets-received": of(|sent| sent.received_xcast),
        "receive-failures": of(|sent| sent.failures),
        "replicas-sent": replicas,
    })
}

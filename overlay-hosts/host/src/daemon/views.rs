//! What `show` shows.

mod sessions;

use overlay_protocols::coordinates::Coordinate;
use overlay_protocols::drops::{DropReason, Drops};
use overlay_protocols::metrics::NeighborView;
use overlay_protocols::node::OverlayNode;
use overlay_protocols::parallel::{Apart, Counters, Left};
use overlay_protocols::resource_pool::{Report, Sum};
use overlay_protocols::somo::VirtualNode;
use overlay_protocols::{Contact, Now};
use serde_json::{Map, Value, json};

use super::multicast::Inboxes;
use super::peer::{Datagrams, Peer};
use crate::control::Topic;

/// One topic of all peers.
pub(super) fn show(topic: Topic, peers: &[Peer], inboxes: &Inboxes, now: Now) -> Value {
    let each = |view: fn(&Peer) -> Value| {
        let peers: Vec<Value> = peers.iter().map(view).collect();
        json!({ "peers": peers })
    };
    match topic {
        Topic::Ring => each(ring),
        Topic::Group => each(group),
        Topic::Coordinates => each(coordinates),
        Topic::Tree => {
            let peers: Vec<Value> = peers.iter().map(|peer| tree(peer, now)).collect();
            json!({ "peers": peers })
        }
        Topic::Sessions => {
            let peers = peers.iter().enumerate();
            let peers: Vec<Value> = peers.map(|peer| sessions::show(peer, inboxes)).collect();
            json!({ "peers": peers })
        }
        Topic::Traffic => traffic(peers, now),
        Topic::Drops => drops(peers),
    }
}

fn ring(peer: &Peer) -> Value {
    let ring = peer.node.ring();
    let view = ring.view();
    let fingers: Vec<Value> = ring.finger_contacts().map(contact).collect();
    let leaves: Vec<Value> = ring.leaf_set().map(contact).collect();
    let addresses: Vec<String> =
        peer.node.contact().addresses().iter().map(ToString::to_string).collect();
    json!({
        "name": peer.name,
        "id": peer.node.contact().id.to_string(),
        "addresses": addresses,
        "joined": view.joined,
        "position": view.position.to_string(),
        "zone-after": view.zone_after.to_string(),
        "predecessor": ring.predecessor().map(|peer| peer.id.to_string()),
        "successor": ring.successor().map(|peer| peer.id.to_string()),
        "keys": view.keys,
        "bytes": view.bytes,
        "lookups": view.lookups,
        "leaf-set": leaves,
        "fingers": fingers,
    })
}

fn contact(contact: &Contact) -> Value {
    json!({
        "id": contact.id.to_string(),
        "position": contact.position().to_string(),
        "address": contact.address.to_string(),
    })
}

fn group(peer: &Peer) -> Value {
    let id = peer.node.contact().id.to_string();
    let Some(locality) = peer.node.locality() else {
        return json!({ "name": peer.name, "id": id, "enabled": false });
    };
    let links: Vec<Value> = locality.links().map(contact).collect();
    let leadership: Vec<Value> = locality.leadership().iter().map(contact).collect();
    let neighbors: Vec<Value> = locality
        .neighbors()
        .iter()
        .map(|neighbor| {
            json!({
                "group": neighbor.at.group.to_string(),
                "leader": neighbor.at.leader.id.to_string(),
                "address": neighbor.at.leader.address.to_string(),
                "distance": neighbor.distance.0,
                "far": neighbor.far,
            })
        })
        .collect();
    json!({
        "name": peer.name,
        "id": id,
        "enabled": true,
        "group": locality.group().map(|group| group.to_string()),
        "leader": locality.leader().map(|leader| leader.to_string()),
        "leads": locality.is_leader(),
        "term": locality.reign().map(|reign| reign.term),
        "groups-tested": locality.search_steps(),
        "measures-sent": locality.measures_sent(),
        "boot-groups": locality.boot_groups(),
        "links": links,
        "leadership": leadership,
        "neighbors": neighbors,
    })
}

/// Latencies are milliseconds there and back, rates kilobits a second.
fn coordinates(peer: &Peer) -> Value {
    let id = peer.node.contact().id.to_string();
    let Some(metrics) = peer.node.metrics() else {
        return json!({ "name": peer.name, "id": id, "enabled": false });
    };
    let view = metrics.view();
    let axes = |at: Option<Coordinate>| at.map(|at| at.axes[..view.dimensions].to_vec());
    let neighbor = |neighbor: &NeighborView| {
        let predicted = view.at.zip(neighbor.at).map(|(at, there)| at.distance(&there));
        json!({
            "id": neighbor.contact.id.to_string(),
            "address": neighbor.contact.address.to_string(),
            "rtt-ms": neighbor.delay,
            "predicted-rtt-ms": predicted,
            "up-kbps": neighbor.up,
            "down-kbps": neighbor.down,
            "up-pairs": neighbor.pairs.0,
            "down-pairs": neighbor.pairs.1,
            "coordinate-ms": axes(neighbor.at),
        })
    };
    let neighbors: Vec<Value> = view.neighbors.iter().map(neighbor).collect();
    json!({
        "name": peer.name,
        "id": id,
        "enabled": true,
        "coordinate-ms": axes(view.at),
        "error-ms": view.error,
        "up-kbps": view.up,
        "down-kbps": view.down,
        "neighbors": neighbors,
    })
}

/// Rates are kilobits a second, memory MiB, idle processors hundredths.
fn tree(peer: &Peer, now: Now) -> Value {
    let id = peer.node.contact().id.to_string();
    let Some(somo) = peer.node.somo() else {
        return json!({ "name": peer.name, "id": id, "enabled": false });
    };
    let span = somo.span();
    let children: Vec<Value> = somo.children().map(contact).collect();
    let report = Report::read(somo.report()).map(|report| {
        let statistics = report.into_statistics();
        let sum = |sum: Sum| sum.of(&statistics);
        json!({
            "machines": statistics.machines,
            "cores": sum(Sum::Cores),
            "idle": sum(Sum::Idle),
            "memory": sum(Sum::Memory),
            "disk": sum(Sum::Disk),
            "up-kbps": sum(Sum::Up),
            "down-kbps": sum(Sum::Down),
            "degrees": sum(Sum::Degrees),
            "free-degrees": sum(Sum::Free),
        })
    });
    let gathered = peer.share.gathered();
    json!({
        "name": peer.name,
        "id": id,
        "enabled": true,
        "root": somo.is_root(),
        "position": peer.node.contact().position().to_string(),
        "level": somo.representative().map(VirtualNode::level),
        "parent": somo.parent().map(contact),
        "children": children,
        "machines": span.machines,
        "height": span.height,
        "report": report,
        "gathered-machines": gathered.map(|(_, machines)| machines),
        "gathered-seconds-ago": gathered.map(|(at, _)| now.time.since(at).as_secs_f64()),
    })
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
    let mut value = json!({
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
    });
    if let Some(fields) = value.as_object_mut() {
        queue(peers, now, fields);
    }
    value
}

/// What the queues have done, as further counters.
fn queue(peers: &[Peer], now: Now, fields: &mut Map<String, Value>) {
    let counters = || peers.iter().map(|peer| peer.node.queue().counters());
    let of = |count: fn(&Counters) -> u64| counters().map(count).sum::<u64>();
    let mut put = |name: String, value: Value| {
        fields.insert(name, value);
    };
    let waiting: usize = peers.iter().map(|peer| peer.node.queue().len()).sum();
    put("queue-waiting".into(), waiting.into());
    for (name, count) in [
        ("queue-messages", of(|counters| counters.messages)),
        ("queue-receivers", of(|counters| counters.receivers)),
        ("queue-cut", of(|counters| counters.cut)),
        ("queue-passed", of(|counters| counters.passed)),
        ("queue-joined-wholly", of(|counters| counters.joined_wholly)),
        ("queue-joined-partly", of(|counters| counters.joined_partly)),
        ("queue-packets", of(|counters| counters.packets)),
        ("queue-packets-together", of(|counters| counters.together)),
        ("queue-packet-receivers", of(|counters| counters.packet_receivers)),
        ("queue-octets", of(|counters| counters.octets)),
        ("queue-octets-separate", of(|counters| counters.octets_separate)),
        ("queue-octets-saved", of(Counters::octets_saved)),
        ("queue-delay-total-us", of(|counters| counters.delay_total)),
    ] {
        put(name.into(), count.into());
    }
    let longest = counters().map(|counters| counters.delay_max).max();
    put("queue-delay-max-us".into(), longest.into());
    for reason in Apart::ALL {
        let count: u64 = counters().map(|counters| counters.apart_for(reason)).sum();
        put(format!("queue-apart-{}", reason.name()), count.into());
    }
    for reason in Left::ALL {
        let count: u64 = counters().map(|counters| counters.left_for(reason)).sum();
        put(format!("queue-left-{}", reason.name()), count.into());
    }
    let groups: usize = counters().map(|counters| counters.groups.distinct().0).sum();
    put("multicast-groups".into(), groups.into());
    let largest = counters().map(|counters| counters.groups.largest()).max();
    put("multicast-group-largest".into(), largest.into());
    let changes: f64 =
        counters().map(|counters| counters.groups.changes_per_second(now.time)).sum();
    put("multicast-group-changes-per-second".into(), changes.into());
}

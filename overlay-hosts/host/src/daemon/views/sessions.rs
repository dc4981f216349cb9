//! What `show sessions` shows of a peer.

use overlay_protocols::PeerId;
use overlay_protocols::alm::{Claim, Priority, Rank};
use overlay_protocols::delivery::SessionView;
use overlay_protocols::sessions::TaskView;
use serde_json::{Value, json};

use super::super::multicast::Inboxes;
use super::super::peer::Peer;

pub(super) fn show((index, peer): (usize, &Peer), inboxes: &Inboxes) -> Value {
    let me = peer.node.contact().id;
    let Some((sessions, delivery)) = peer.node.sessions().zip(peer.node.delivery()) else {
        return json!({ "name": peer.name, "id": me.to_string(), "enabled": false });
    };
    let degrees = sessions.degrees();
    let claims: Vec<Value> = degrees.claims().map(claim).collect();
    let tasks: Vec<TaskView> = sessions.tasks().collect();
    let sends = delivery.sessions().filter(|view| view.root == me);
    let sends: Vec<Value> = sends
        .map(|view| sent(&view, tasks.iter().find(|task| task.session == view.session)))
        .collect();
    let receives = delivery.sessions().filter(|view| view.root != me);
    let receives: Vec<Value> = receives.map(|view| received(&view, (index, inboxes))).collect();
    let counts = delivery.counts();
    json!({
        "name": peer.name,
        "id": me.to_string(),
        "address": peer.node.contact().address.to_string(),
        "enabled": true,
        "degrees": degrees.total(),
        "free-degrees": degrees.free(),
        "taken": Priority::ALL.map(|priority| degrees.taken(priority)),
        "claims": claims,
        "sends": sends,
        "receives": receives,
        "payloads-received": counts.received,
        "payloads-again": counts.again,
        "payloads-forwarded": counts.forwarded,
        "payloads-repaired": counts.repaired,
        "payloads-missed": counts.missed,
    })
}

fn claim(claim: &Claim) -> Value {
    let rank = match claim.rank {
        Rank::Member => "member".to_owned(),
        Rank::Helper(priority) => format!("helper of priority {}", priority.number()),
    };
    json!({ "session": claim.session.to_string(), "rank": rank, "degrees": claim.degrees })
}

fn sent(view: &SessionView, task: Option<&TaskView>) -> Value {
    let is_member = |id: &PeerId| task.is_none_or(|task| task.members.contains(id));
    let links: Vec<Value> = view
        .links
        .iter()
        .map(|(child, parent)| {
            let address = view.addresses.iter().find(|(id, _)| id == child);
            json!({
                "child": child.to_string(),
                "address": address.map(|(_, address)| address.to_string()),
                "parent": parent.to_string(),
                "member": is_member(child),
            })
        })
        .collect();
    json!({
        "session": view.session.to_string(),
        "priority": task.map(|task| task.priority.number()),
        "members": task.map(|task| task.members.len()),
        "whole": task.map(|task| task.is_whole),
        "height-ms": task.and_then(|task| task.height).map(|micros| micros as f64 / 1e3),
        "next": view.next,
        "links": links,
    })
}

fn received(view: &SessionView, (index, inboxes): (usize, &Inboxes)) -> Value {
    let inbox = inboxes.of(&(index, view.session, view.root));
    let children: Vec<String> = view.children.iter().map(ToString::to_string).collect();
    json!({
        "session": view.session.to_string(),
        "root": view.root.to_string(),
        "parent": view.parent.map(|parent| parent.to_string()),
        "children": children,
        "next": view.next,
        "kept": view.octets,
        "received": inbox.map_or(0, |inbox| inbox.received),
        "missed": inbox.map_or(0, |inbox| inbox.missed),
        "unread": inbox.map_or(0, |inbox| inbox.unread),
        "switches": inbox.map_or(0, |inbox| inbox.switches),
        "longest-gap-ms": inbox.map_or(0.0, |inbox| inbox.gap.as_secs_f64() * 1e3),
        "ended": inbox.is_some_and(|inbox| inbox.ended.is_some()),
    })
}

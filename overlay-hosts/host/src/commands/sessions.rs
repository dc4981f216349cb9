//! `overlay-host show sessions`: trees of sessions that are sent from here, and what is received.

use serde_json::Value;

use super::picture::{Host, Picture};
use super::show::phrase;

/// The trees of all sessions that are sent from here.
pub(super) fn trees(value: &Value) -> Vec<Picture> {
    let peers = value["peers"].as_array().into_iter().flatten();
    let sends = peers.flat_map(|peer| {
        let sends = peer["sends"].as_array().into_iter().flatten();
        sends.map(move |session| picture(peer, session))
    });
    sends.collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An identity is long: its beginning tells hosts of one tree apart.
fn short(id: &Value) -> String {
    text(id).chars().take(8).collect()
}

fn picture(peer: &Value, session: &Value) -> Picture {
    let label = |address: &Value, id: &Value| format!("{} {}", phrase(address), short(id));
    let root = Host {
        id: text(&peer["id"]),
        label: label(&peer["address"], &peer["id"]),
        parent: None,
        helps: false,
    };
    let links = session["links"].as_array().into_iter().flatten();
    let hosts = links.map(|link| Host {
        id: text(&link["child"]),
        label: label(&link["address"], &link["child"]),
        parent: link["parent"].as_str().map(str::to_owned),
        helps: link["member"] == false,
    });
    let height = session["height-ms"].as_f64();
    let height = height.map_or("of unknown height".to_owned(), |ms| format!("{ms:.1} ms high"));
    let title = format!(
        "session {}  priority {}  {} members  {height}  {} payloads sent",
        text(&session["session"]),
        phrase(&session["priority"]),
        phrase(&session["members"]),
        phrase(&session["next"]),
    );
    Picture { title, hosts: [root].into_iter().chain(hosts).collect() }
}

/// All that there is to say, for people.
pub(super) fn outline(value: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    for peer in value["peers"].as_array().into_iter().flatten() {
        let name = phrase(&peer["name"]);
        if peer["enabled"] != true {
            parts.push(format!("{name}: takes part in no sessions; `[sessions]` makes it"));
            continue;
        }
        let (free, all) = (phrase(&peer["free-degrees"]), phrase(&peer["degrees"]));
        let mut lines = vec![format!("{name}: {free} of {all} links are free")];
        let listed = |key: &str| peer[key].as_array().cloned().unwrap_or_default();
        for (key, what) in [("claims", "claims"), ("receives", "is part of")] {
            let items = listed(key);
            if !items.is_empty() {
                lines.push(format!("{what}:"));
                lines.extend(items.iter().map(|item| format!("  {}", phrase(item))));
            }
        }
        parts.push(lines.join("\n"));
    }
    parts.extend(trees(value).iter().map(Picture::text));
    parts.join("\n\n")
}

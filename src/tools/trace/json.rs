//! The tree for scripts. Pure.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::tree::{Kind, Tree};

/// `{"nodes": [...], "links": [...]}`.
pub(super) fn draw(tree: &Tree) -> Value {
    let texts =
        |addresses: &[IpAddr]| -> Vec<String> { addresses.iter().map(IpAddr::to_string).collect() };
    let nodes = tree.nodes.iter().enumerate().map(|(at, node)| {
        let (name, reason) = match node.kind {
            Kind::Drop => (None, node.name.as_deref()),
            _ => (node.name.as_deref(), None),
        };
        json!({
            "id": format!("n{at}"),
            "kind": node.kind.name(),
            "name": name,
            "addresses": texts(&node.addresses),
            "depth": node.depth,
            "destinations": texts(&node.destinations),
            "delivered": texts(&node.delivered),
            "reason": reason,
        })
    });
    let links = tree.links.iter().map(|link| {
        json!({
            "from": format!("n{}", link.from),
            "to": format!("n{}", link.to),
            "form": if link.xcast { "xcast" } else { "unicast" },
            "destinations": texts(&link.destinations),
            "interface": link.interface,
        })
    });
    json!({ "nodes": nodes.collect::<Vec<_>>(), "links": links.collect::<Vec<_>>() })
}

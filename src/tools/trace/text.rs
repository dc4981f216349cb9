//! The tree for terminals. Pure.

use std::net::IpAddr;

use super::tree::{Kind, Link, Node, Tree};

/// Lists no longer than this are written out.
const LISTED_MAX: usize = 3;

/// The tree in lines; a node that is entered by two links stands at both, each time with what came
/// by that link.
pub(super) fn draw(tree: &Tree) -> String {
    let root = &tree.nodes[0];
    let mut lines = vec![label(root)];
    branch(tree, 0, &root.destinations, "", &mut lines);
    lines.push(String::new());
    lines.push("==> Xcast   --> unicast".to_owned());
    lines.join("\n")
}

fn branch(tree: &Tree, node: usize, served: &[IpAddr], indent: &str, lines: &mut Vec<String>) {
    let through = |link: &Link| -> Vec<IpAddr> {
        served.iter().copied().filter(|address| link.destinations.contains(address)).collect()
    };
    let links = tree.links_from(node).map(|link| (link, through(link)));
    let links: Vec<(&Link, Vec<IpAddr>)> =
        links.filter(|(_, through)| !through.is_empty()).collect();
    for (at, (link, through)) in links.iter().enumerate() {
        let (corner, below) = match at + 1 == links.len() {
            true => ("└─", "   "),
            false => ("├─", "│  "),
        };
        let arrow = if link.xcast { "==>" } else { "-->" };
        let to = &tree.nodes[link.to];
        let what = match to.kind {
            Kind::Drop => format!("{}: {}", label(to), list(through)),
            // Leaves say it themselves.
            Kind::Destination => label(to),
            _ => format!("{}  for {}", label(to), list(through)),
        };
        lines.push(format!("{indent}{corner} {arrow} {what}"));
        branch(tree, link.to, through, &format!("{indent}{below}"), lines);
    }
}

fn list(addresses: &[IpAddr]) -> String {
    match addresses.len() <= LISTED_MAX {
        true => addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "),
        false => format!("{} destinations", addresses.len()),
    }
}

/// What a node is called, in any drawing.
pub(super) fn label(node: &Node) -> String {
    let addresses: Vec<String> = node.addresses.iter().map(IpAddr::to_string).collect();
    let addresses = addresses.join(" ");
    let named = |name: &str| format!("{name} {addresses}").trim_end().to_owned();
    let name = node.name.as_deref().unwrap_or_default();
    match node.kind {
        Kind::Source => named("source"),
        Kind::Router if !node.delivered.is_empty() => {
            format!("{} (delivered there: {})", named(name), list(&node.delivered))
        }
        Kind::Router | Kind::Ip => named(name).trim_start().to_owned(),
        Kind::Destination => addresses,
        Kind::Silent => named("?"),
        Kind::Drop => format!("dropped, {name}"),
    }
}

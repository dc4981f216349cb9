//! The tree for Graphviz. Pure.

use super::text::label;
use super::tree::{Kind, Tree};

/// A directed graph in the language of Graphviz.
pub(super) fn draw(tree: &Tree) -> String {
    let mut lines = vec![
        "digraph trace {".to_owned(),
        "  rankdir=LR;".to_owned(),
        "  node [fontname=\"monospace\", fontsize=10];".to_owned(),
        "  edge [fontname=\"monospace\", fontsize=9];".to_owned(),
    ];
    for (at, node) in tree.nodes.iter().enumerate() {
        let style = match node.kind {
            Kind::Source => "shape=house, orientation=270",
            Kind::Router => "shape=box, style=bold",
            Kind::Ip => "shape=box",
            Kind::Destination => "shape=ellipse",
            Kind::Silent => "shape=box, style=dashed",
            Kind::Drop => "shape=octagon, color=red",
        };
        lines.push(format!("  n{at} [label={}, {style}];", quoted(&label(node))));
    }
    for link in &tree.links {
        let style = if link.xcast { "style=bold, penwidth=2" } else { "style=dashed" };
        let count = link.destinations.len();
        lines.push(format!("  n{} -> n{} [label=\"{count}\", {style}];", link.from, link.to));
    }
    lines.push("}".to_owned());
    lines.join("\n")
}

/// A string of the language: quotes and backslashes would end it or mean something.
fn quoted(text: &str) -> String {
    let escaped = text.chars().flat_map(|character| {
        let backslash = matches!(character, '"' | '\\').then_some('\\');
        backslash.into_iter().chain([character])
    });
    format!("\"{}\"", escaped.collect::<String>())
}

//! Trees of hosts, drawn: as text, as a graph for Graphviz, as a picture. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Pixels from host to host, of a box, between columns, around all.
const ROW: usize = 26;
const BOX_HEIGHT: usize = 20;
const COLUMN: usize = 250;
const BOX_WIDTH: usize = 200;
const MARGIN: usize = 12;
/// No tree is deeper; what claims to be is cut.
const DEPTH_MAX: usize = 64;

/// A host of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// Who it is.
    pub(super) id: String,
    /// What it is called.
    pub(super) label: String,
    /// Under whom; the root is under nobody.
    pub(super) parent: Option<String>,
    /// It forwards, and does not receive.
    pub(super) helps: bool,
}

/// A tree: its root first, hosts below their parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// What stands above it.
    pub(super) title: String,
    pub(super) hosts: Vec<Host>,
}

/// A host in the order in which all are drawn.
struct Row<'a> {
    host: &'a Host,
    depth: usize,
    /// The place of its parent among the rows.
    parent: Option<usize>,
    /// What stands before it as text.
    indent: String,
}

impl Picture {
    /// Depth first, children by their labels.
    fn rows(&self) -> Vec<Row<'_>> {
        let mut below: BTreeMap<Option<&str>, Vec<&Host>> = BTreeMap::new();
        for host in &self.hosts {
            below.entry(host.parent.as_deref()).or_default().push(host);
        }
        below.values_mut().for_each(|hosts| hosts.sort_by(|a, b| a.label.cmp(&b.label)));
        let mut rows: Vec<Row<'_>> = Vec::new();
        // A host, its parent's row, and what its children's lines begin with.
        let mut open: Vec<(&Host, Option<usize>, String, bool)> = Vec::new();
        let tops = below.get(&None).into_iter().flatten();
        open.extend(tops.rev().map(|top| (*top, None, String::new(), false)));
        while let Some((host, parent, before, is_last)) = open.pop() {
            let depth = parent.map_or(0, |parent| rows[parent].depth + 1);
            let (own, next) = match (parent, is_last) {
                (None, _) => (String::new(), String::new()),
                (_, true) => (format!("{before}└─ "), format!("{before}   ")),
                (_, false) => (format!("{before}├─ "), format!("{before}│  ")),
            };
            rows.push(Row { host, depth, parent, indent: own });
            let place = rows.len() - 1;
            let children = below.remove(&Some(host.id.as_str())).unwrap_or_default();
            let children = children.into_iter().filter(|_| depth < DEPTH_MAX).rev().enumerate();
            open.extend(children.map(|(at, child)| (child, Some(place), next.clone(), at == 0)));
        }
        rows
    }

    /// Lines.
    pub(super) fn text(&self) -> String {
        let line = |row: &Row<'_>| {
            let helps = if row.host.helps { "  (helps)" } else { "" };
            format!("\n{}{}{helps}", row.indent, row.host.label)
        };
        let lines: String = self.rows().iter().map(line).collect();
        format!("{}{lines}", self.title)
    }

    /// A graph in the language of Graphviz.
    pub(super) fn dot(&self) -> String {
        let mut dot =
            format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(&self.title));
        for row in self.rows() {
            let style = if row.host.helps { ", style=dashed" } else { "" };
            let (id, label) = (quoted(&row.host.id), quoted(&row.host.label));
            // Writing to a string cannot fail.
            let _written = writeln!(dot, "  {id} [label={label}{style}];");
            if let Some(parent) = &row.host.parent {
                let _written = writeln!(dot, "  {} -> {id};", quoted(parent));
            }
        }
        dot.push('}');
        dot
    }

    /// A picture that needs nothing else.
    pub(super) fn svg(&self) -> String {
        let rows = self.rows();
        let columns = rows.iter().map(|row| row.depth + 1).max().unwrap_or(1);
        let (width, height) = (MARGIN * 2 + COLUMN * columns, MARGIN * 2 + ROW * (rows.len() + 1));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"ui-monospace, monospace\" \
             font-size=\"11\">\n<title>{title}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"{MARGIN}\" y=\"{}\" fill=\"#1f2328\">{title}</text>\n",
            MARGIN + 12,
            title = escaped(&self.title)
        );
        let place = |at: usize| (MARGIN + COLUMN * rows[at].depth, MARGIN + ROW * (at + 1));
        for (at, row) in rows.iter().enumerate() {
            let (x, y) = place(at);
            let middle = y + BOX_HEIGHT / 2;
            if let Some(parent) = row.parent {
                let (from_x, from_y) = place(parent);
                let (start, from) = (from_x + BOX_WIDTH, from_y + BOX_HEIGHT / 2);
                let bend = (COLUMN - BOX_WIDTH) / 2;
                let _written = writeln!(
                    svg,
                    "<path d=\"M{start} {from}C{} {from} {} {middle} {x} {middle}\" fill=\"none\" \
                     stroke=\"#1f6feb\" stroke-width=\"1.5\"/>",
                    start + bend,
                    x - bend,
                );
            }
            let (fill, dashes) = match row.host.helps {
                true => ("#f6f8fa", " stroke-dasharray=\"4 3\""),
                false => ("#ddf4ff", ""),
            };
            let _written = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"3\" \
                 fill=\"{fill}\" stroke=\"#57606a\"{dashes}/>\n\
                 <text x=\"{}\" y=\"{}\" fill=\"#1f2328\">{}</text>",
                x + 6,
                y + 14,
                escaped(&row.host.label)
            );
        }
        svg.push_str("</svg>");
        svg
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: &str, parent: Option<&str>, helps: bool) -> Host {
        let parent = parent.map(str::to_owned);
        Host { id: id.to_owned(), label: format!("host <{id}>"), parent, helps }
    }

    fn picture() -> Picture {
        let hosts = vec![
            host("a", None, false),
            host("d", Some("b"), false),
            host("c", Some("a"), true),
            host("b", Some("a"), false),
            host("e", Some("c"), false),
        ];
        Picture { title: "a \"tree\"".to_owned(), hosts }
    }

    #[test]
    fn a_tree_as_text_has_each_host_below_its_parent() {
        let expected = "a \"tree\"\nhost <a>\n├─ host <b>\n│  └─ host <d>\n└─ host <c>  (helps)\n   \
                        └─ host <e>";
        assert_eq!(picture().text(), expected);
    }

    #[test]
    fn a_graph_names_every_host_and_link_once() {
        let dot = picture().dot();
        assert!(dot.starts_with("digraph \"a \\\"tree\\\"\" {\n"), "{dot}");
        assert!(dot.contains("  \"c\" [label=\"host <c>\", style=dashed];\n  \"a\" -> \"c\";\n"));
        assert_eq!(dot.matches(" -> ").count(), 4);
    }

    #[test]
    fn a_picture_has_a_box_for_each_host_and_no_bare_signs() {
        let svg = picture().svg();
        assert_eq!(svg.matches("<rect x=").count(), 5);
        assert_eq!(svg.matches("<path ").count(), 4);
        assert!(svg.contains("host &lt;e&gt;") && !svg.contains("host <"));
    }

    #[test]
    fn a_loop_that_nobody_should_claim_is_not_drawn_and_ends() {
        let hosts =
            vec![host("a", None, false), host("b", Some("c"), false), host("c", Some("b"), false)];
        let loops = Picture { title: "loop".to_owned(), hosts };
        assert_eq!(loops.text(), "loop\nhost <a>");
    }
}

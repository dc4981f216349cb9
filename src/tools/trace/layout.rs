//! Where the nodes of a tree stand in a drawing: a column for each hop, a row for each leaf, every
//! other node in the middle of those behind it. Pure.

use super::tree::Tree;

/// A node's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) column: usize,
    /// From 0 on; between two leaves it is a fraction.
    pub(super) row: f64,
}

/// The places of all nodes. No two nodes of a column are less than a row apart.
pub(super) fn places(tree: &Tree) -> Vec<Place> {
    let mut layout = Layout { tree, rows: vec![None; tree.nodes.len()], next: 0 };
    // All but a router that none of the links leads to hang together.
    (0..tree.nodes.len()).for_each(|node| layout.visit(node));
    let place = |(node, row): (usize, Option<f64>)| Place {
        column: tree.nodes[node].depth,
        row: row.unwrap_or(0.0),
    };
    layout.rows.iter().copied().enumerate().map(place).collect()
}

struct Layout<'a> {
    tree: &'a Tree,
    rows: Vec<Option<f64>>,
    /// The next leaf's row.
    next: usize,
}

impl Layout<'_> {
    /// Places a node behind which nothing has a place but what it shares with others: that stays
    /// where it is.
    fn visit(&mut self, node: usize) {
        if self.rows[node].is_some() {
            return;
        }
        // Links lead to greater depths, so this ends.
        let mut behind = Vec::new();
        for to in self.tree.links_from(node).map(|link| link.to) {
            if self.rows[to].is_none() {
                self.visit(to);
                behind.extend(self.rows[to]);
            }
        }
        let row = match (behind.first(), behind.last()) {
            (Some(first), Some(last)) => (first + last) / 2.0,
            _ => {
                self.next += 1;
                (self.next - 1) as f64
            }
        };
        self.rows[node] = Some(row);
    }
}

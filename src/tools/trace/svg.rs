//! The tree as a picture. It stands for itself: no fonts, scripts or styles from elsewhere, and every
//! text is on a light box of its own, so that it can be read on any background. Pure.

use std::fmt::Write;

use super::layout::places;
use super::text::label;
use super::tree::{Kind, Link, Node, Tree};

/// Pixels from leaf to leaf, and of a node's box.
const ROW: f64 = 26.0;
const BOX_HEIGHT: f64 = 20.0;
/// Pixels between the boxes of two columns, for the links.
const GAP: f64 = 56.0;
const MARGIN: f64 = 12.0;
/// Pixels of a character of the monospaced font of 11 pixels, or a little less in most fonts.
const CHARACTER: f64 = 6.8;
/// Characters of a label; a longer one is cut, and shown whole when pointed at.
const LABEL_MAX: usize = 48;
const LEGEND_HEIGHT: f64 = 34.0;
const LEGEND: &str = "Xcast    - - - unicast    [n] destinations";

/// The whole SVG document.
pub(super) fn draw(tree: &Tree) -> String {
    let labels: Vec<String> = tree.nodes.iter().map(full_label).collect();
    let boxes = boxes(tree, &labels);
    let width = boxes.iter().map(|b| b.x + b.width).fold(legend_width(), f64::max) + MARGIN;
    let height = boxes.iter().map(|b| b.y + BOX_HEIGHT / 2.0).fold(0.0, f64::max) + MARGIN;
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _written = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"ui-monospace, monospace\" \
         font-size=\"11\">\n<title>Xcast trace</title>"
    );
    legend(&mut svg);
    for link in &tree.links {
        draw_link(&mut svg, link, &boxes[link.from], &boxes[link.to]);
    }
    for ((node, label), place) in tree.nodes.iter().zip(&labels).zip(&boxes) {
        draw_node(&mut svg, node, label, place);
    }
    svg.push_str("</svg>");
    svg
}

/// A node's box: its left edge, its middle, its width.
struct Box {
    x: f64,
    y: f64,
    width: f64,
}

fn boxes(tree: &Tree, labels: &[String]) -> Vec<Box> {
    let places = places(tree);
    let widths: Vec<f64> = labels.iter().map(|label| text_width(label) + 12.0).collect();
    let columns = places.iter().map(|place| place.column + 1).max().unwrap_or(0);
    let mut lefts = vec![MARGIN; columns + 1];
    for column in 0..columns {
        let here = places.iter().zip(&widths).filter(|(place, _)| place.column == column);
        let widest = here.map(|(_, width)| *width).fold(0.0, f64::max);
        lefts[column + 1] = lefts[column] + widest + GAP;
    }
    let place = |(place, width): (&super::layout::Place, &f64)| Box {
        x: lefts[place.column],
        y: LEGEND_HEIGHT + MARGIN + ROW * (place.row + 0.5),
        width: *width,
    };
    places.iter().zip(&widths).map(place).collect()
}

fn full_label(node: &Node) -> String {
    let label = label(node);
    match node.kind {
        Kind::Destination => label,
        Kind::Drop if node.destinations.len() == 1 => format!("{label} {}", node.destinations[0]),
        _ => format!("{label} [{}]", node.destinations.len()),
    }
}

fn cut(label: &str) -> String {
    match label.chars().count() > LABEL_MAX {
        true => label.chars().take(LABEL_MAX - 1).chain(['…']).collect(),
        false => label.to_owned(),
    }
}

fn text_width(label: &str) -> f64 {
    label.chars().count().min(LABEL_MAX) as f64 * CHARACTER
}

fn legend_width() -> f64 {
    MARGIN + 40.0 + LEGEND.len() as f64 * CHARACTER
}

fn legend(svg: &mut String) {
    let (width, middle) = (legend_width() - MARGIN, MARGIN + 10.0);
    let _written = writeln!(
        svg,
        "<rect x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{width:.0}\" height=\"20\" rx=\"3\" \
         fill=\"#ffffff\" stroke=\"#8b949e\"/>\n\
         <path d=\"M{:.0} {middle:.0}h22\" stroke=\"#1f6feb\" stroke-width=\"3\"/>\n\
         <text x=\"{:.0}\" y=\"{:.0}\" fill=\"#1f2328\" xml:space=\"preserve\">{LEGEND}</text>",
        MARGIN + 6.0,
        MARGIN + 34.0,
        middle + 4.0,
    );
}

fn draw_link(svg: &mut String, link: &Link, from: &Box, to: &Box) {
    let style = match link.xcast {
        true => "stroke=\"#1f6feb\" stroke-width=\"3\"",
        false => "stroke=\"#8b949e\" stroke-width=\"1.5\" stroke-dasharray=\"5 3\"",
    };
    let (start, end) = (from.x + from.width, to.x);
    let bend = GAP / 2.0;
    let _written = writeln!(
        svg,
        "<path d=\"M{start:.1} {:.1}C{:.1} {:.1} {:.1} {:.1} {end:.1} {:.1}\" fill=\"none\" \
         {style}/>",
        from.y,
        start.max(end - GAP) + bend,
        from.y,
        end - bend,
        to.y,
        to.y,
    );
}

fn draw_node(svg: &mut String, node: &Node, label: &str, place: &Box) {
    let (fill, stroke) = match node.kind {
        Kind::Source => ("#ddf4ff", "stroke=\"#0969da\" stroke-width=\"2\""),
        Kind::Router => ("#dbeafe", "stroke=\"#1f6feb\" stroke-width=\"1.5\""),
        Kind::Ip => ("#f6f8fa", "stroke=\"#8b949e\""),
        Kind::Destination => ("#dafbe1", "stroke=\"#1a7f37\" stroke-width=\"1.5\""),
        Kind::Silent => ("#fff8c5", "stroke=\"#9a6700\" stroke-dasharray=\"3 2\""),
        Kind::Drop => ("#ffebe9", "stroke=\"#cf222e\" stroke-width=\"1.5\""),
    };
    let top = place.y - BOX_HEIGHT / 2.0;
    let _written = writeln!(
        svg,
        "<g><title>{}</title><rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
         height=\"{BOX_HEIGHT}\" rx=\"3\" fill=\"{fill}\" {stroke}/>\
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1f2328\">{}</text></g>",
        escape(label),
        place.x,
        place.width,
        place.x + 6.0,
        place.y + 4.0,
        escape(&cut(label)),
    );
}

/// Text as XML has it. Characters that XML has not are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

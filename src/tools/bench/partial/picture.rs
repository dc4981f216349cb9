//! The totals by the number of routers that speak Xcast, a line for each way to join them. The
//! picture stands for itself: no fonts, scripts or styles from elsewhere. Pure.

use std::fmt::Write;

use super::super::chart::{self, BOTTOM, LEFT, RIGHT, TOP};
use super::abilene::COUNT;
use super::deployment::Joined;
use super::report::Curve;

/// Packets between two horizontal lines.
const STEP: u32 = 10;

/// A color that can be told from the others, for those who see none, too.
fn stroke(joined: Joined) -> &'static str {
    match joined {
        Joined::Natively => "#0969da\" stroke-width=\"2.5",
        Joined::Backbone => "#1a7f37\" stroke-width=\"3.5",
        Joined::Mesh => "#9a6700\" stroke-width=\"2\" stroke-dasharray=\"6 3",
    }
}

/// The whole SVG document.
pub(super) fn draw(curve: &Curve) -> String {
    let totals = curve.points.iter().map(|point| point.crossings.total());
    let top = totals.chain([curve.unicast.total()]).max().unwrap_or(1).next_multiple_of(STEP);
    let x = |count: usize| LEFT + (RIGHT - LEFT) * count as f64 / COUNT as f64;
    let y = |total: u32| BOTTOM - (BOTTOM - TOP) * f64::from(total) / f64::from(top);
    let mut svg = chart::begin(
        "xcast bench partial",
        &format!(
            "Packets on all links for one datagram to ten receivers ({})",
            curve.order.title(),
        ),
    );
    for total in (0..=top).step_by(STEP as usize) {
        chart::level(&mut svg, y(total), &total.to_string(), total == 0);
    }
    for count in 0..=COUNT {
        let (x, y) = (x(count), BOTTOM + 18.0);
        let _written =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{count}</text>");
    }
    let (middle, below) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 38.0);
    let _written = writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">routers of eleven that speak \
         Xcast</text>"
    );
    for (name, total) in [("unicast", curve.unicast.total()), ("ideal tree", curve.tree())] {
        let y = y(total);
        let _written = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#6e7781\" stroke-width=\"1.5\" \
             stroke-dasharray=\"2 3\"/><text x=\"{:.1}\" y=\"{:.1}\">{name}, {total}</text>",
            RIGHT + 8.0,
            y + 4.0,
        );
    }
    for (at, joined) in Joined::ALL.into_iter().enumerate() {
        let points = curve.of(joined).map(|p| (x(p.count), y(p.crossings.total())));
        let path: Vec<String> = points.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let (stroke, name) = (stroke(joined), joined.name());
        let (from, line) = (RIGHT + 8.0, TOP + 32.0 + 22.0 * at as f64);
        let _written = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{stroke}\" stroke-linejoin=\"round\">\
             <title>{name}</title></path>\n<path d=\"M{from} {line}h26\" stroke=\"{stroke}\"/>\
             <text x=\"{}\" y=\"{}\">{name}</text>",
            path.join("L"),
            from + 34.0,
            line + 4.0,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

//! The totals by the number of routers that speak Xcast, a line for each way to join them. The
//! picture stands for itself: no fonts, scripts or styles from elsewhere. Pure.

use std::fmt::Write;

use super::abilene::COUNT;
use super::deployment::Joined;
use super::report::Curve;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// The plot's own field.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 570.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 350.0;
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
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _written = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" \
         fill=\"#1f2328\">\n<title>xcast bench partial</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">Packets on all links for one datagram to ten \
         receivers ({})</text>",
        curve.order.title(),
    );
    for total in (0..=top).step_by(STEP as usize) {
        let (y, color) = (y(total), if total == 0 { "#1f2328" } else { "#d0d7de" });
        let _written = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"{color}\"/><text x=\"{:.1}\" \
             y=\"{:.1}\" text-anchor=\"end\">{total}</text>",
            LEFT - 8.0,
            y + 4.0,
        );
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

//! The frame of the charts: a field with horizontal lines, and room to its right for a legend. Pure.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// The chart's own field.
pub(super) const LEFT: f64 = 70.0;
pub(super) const RIGHT: f64 = 570.0;
pub(super) const TOP: f64 = 40.0;
pub(super) const BOTTOM: f64 = 350.0;

/// The beginning of an SVG document, with what made it and what it shows.
pub(super) fn begin(title: &str, heading: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" \
         fill=\"#1f2328\">\n<title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{heading}</text>\n"
    )
}

/// A horizontal line at `y` with its label, which may be the axis.
pub(super) fn level(svg: &mut String, y: f64, label: &str, is_axis: bool) {
    let color = if is_axis { "#1f2328" } else { "#d0d7de" };
    // Writing to a string cannot fail.
    let _written = writeln!(
        svg,
        "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"{color}\"/><text x=\"{:.1}\" \
         y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
        LEFT - 8.0,
        y + 4.0,
    );
}

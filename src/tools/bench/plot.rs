//! Replicas a second by fan-out, a line for each method. The picture stands for itself: no fonts,
//! scripts or styles from elsewhere. Pure.

use std::fmt::Write;

use super::chart::{self, BOTTOM, LEFT, RIGHT, TOP};
use super::method::Method;
use super::report::{Report, Row};

/// Horizontal lines above the axis.
const GRID: usize = 5;

/// A color that can be told from the others, for those who see none, too.
fn stroke(method: Method) -> &'static str {
    match method {
        Method::RouterPacket => "#9ecbff\" stroke-width=\"2.5",
        Method::RouterAuto => "#0969da\" stroke-width=\"3.5",
        Method::RouterXdp => "#0a3069\" stroke-width=\"2.5",
        Method::CopyLoopPacket => "#a5d6a7\" stroke-width=\"1.5\" stroke-dasharray=\"6 3",
        Method::CopyLoopAuto => "#1a7f37\" stroke-width=\"1.5\" stroke-dasharray=\"6 3",
        Method::MroutePinned => "#cf222e\" stroke-width=\"2.5",
        Method::MrouteInline => "#ff8182\" stroke-width=\"1.5",
        Method::KernelUnicast => "#9a6700\" stroke-width=\"1.5",
        Method::SendtoLoop => "#6e7781\" stroke-width=\"1.5\" stroke-dasharray=\"2 3",
    }
}

/// The whole SVG document.
pub(super) fn draw(report: &Report) -> String {
    let fan_outs = distinct(report.rows.iter().map(|row| row.outputs));
    let methods = distinct(report.rows.iter().map(|row| row.method));
    let most = report.rows.iter().filter_map(|row| Some(row.spread(|s| s.replicas)?.max));
    let scale = Scale { top: ceiling(most.fold(0.0, f64::max)), fan_outs };
    let conditions = &report.conditions;
    let mut svg = chart::begin(
        "xcast bench netns",
        &format!(
            "Replicas a second by fan-out ({} octets of payload, {})",
            conditions.payload,
            conditions.form.name(),
        ),
    );
    axes(&mut svg, &scale);
    for (at, method) in methods.iter().enumerate() {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.method == *method).collect();
        line(&mut svg, &scale, *method, &rows);
        legend(&mut svg, *method, at);
    }
    svg.push_str("</svg>\n");
    svg
}

fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for one in all {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

/// A round number that is not less.
fn ceiling(number: f64) -> f64 {
    let unit = 10f64.powf(number.max(1.0).log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * unit).find(|top| *top >= number).unwrap_or(10.0 * unit)
}

struct Scale {
    /// Replicas a second at the upper edge.
    top: f64,
    /// From left to right, evenly spaced.
    fan_outs: Vec<usize>,
}

impl Scale {
    fn x(&self, outputs: usize) -> f64 {
        let at = self.fan_outs.iter().position(|one| *one == outputs).unwrap_or(0);
        LEFT + (RIGHT - LEFT) * (at as f64 + 0.5) / self.fan_outs.len() as f64
    }

    fn y(&self, replicas: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * replicas / self.top
    }
}

fn axes(svg: &mut String, scale: &Scale) {
    for step in 0..=GRID {
        let value = scale.top * step as f64 / GRID as f64;
        let label = format!("{:.0} k", value / 1e3);
        chart::level(svg, scale.y(value), &label, step == 0);
    }
    for outputs in &scale.fan_outs {
        let (x, y) = (scale.x(*outputs), BOTTOM + 18.0);
        let _written =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{outputs}</text>");
    }
    let (x, y) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 38.0);
    let _written = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">fan-out</text>");
}

/// The medians, and from the least to the most at each.
fn line(svg: &mut String, scale: &Scale, method: Method, rows: &[&Row]) {
    let mut path = String::new();
    let mut ranges = String::new();
    for row in rows {
        let Some(spread) = row.spread(|sample| sample.replicas) else { continue };
        let x = scale.x(row.outputs);
        let [least, middle, most] =
            [spread.min, spread.median, spread.max].map(|replicas| scale.y(replicas));
        let step = if path.is_empty() { 'M' } else { 'L' };
        let _written = write!(path, "{step}{x:.1} {middle:.1}");
        let _written = write!(ranges, "M{x:.1} {least:.1}V{most:.1}");
    }
    let (stroke, name) = (stroke(method), method.name());
    let _written = writeln!(
        svg,
        "<g fill=\"none\" stroke=\"{stroke}\"><title>{name}</title><path d=\"{path}\" \
         stroke-linejoin=\"round\"/><path d=\"{ranges}\" stroke-opacity=\"0.5\" \
         stroke-dasharray=\"none\"/></g>"
    );
}

fn legend(svg: &mut String, method: Method, at: usize) {
    let (x, y) = (RIGHT + 24.0, TOP + 12.0 + 22.0 * at as f64);
    let _written = writeln!(
        svg,
        "<path d=\"M{x} {y}h26\" stroke=\"{}\"/><text x=\"{}\" y=\"{}\">{}</text>",
        stroke(method),
        x + 34.0,
        y + 4.0,
        method.name(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_number() {
        let cases = [(0.0, 1.0), (1.0, 1.0), (873e3, 1e6), (1.2e6, 1.5e6), (4.1e5, 5e5)];
        for (number, top) in cases {
            assert!((ceiling(number) - top).abs() < 1e-6 * top, "{number}: {}", ceiling(number));
        }
    }
}

//! The chart of a report: figures by their first parameter that is a number and varies, a line for
//! each name and for each other combination of parameters; bars where nothing varies. The picture
//! stands for itself: no fonts, scripts or styles from elsewhere. Pure.

use std::fmt::Write;

use serde_json::Value;

use super::table::short;
use super::{Report, Row};

const WIDTH: f64 = 860.0;
/// Of one chart; each name has its own, below the others.
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 570.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 350.0;
/// Horizontal lines above the axis.
const GRID: usize = 5;
/// Colors and dashes that can be told apart, for those who see no colors, too.
const STROKES: [&str; 8] = [
    "#0969da\" stroke-width=\"3",
    "#cf222e\" stroke-width=\"2.5",
    "#1a7f37\" stroke-width=\"2.5\" stroke-dasharray=\"6 3",
    "#9a6700\" stroke-width=\"2.5",
    "#9ecbff\" stroke-width=\"2.5",
    "#0a3069\" stroke-width=\"1.5\" stroke-dasharray=\"2 3",
    "#ff8182\" stroke-width=\"1.5",
    "#6e7781\" stroke-width=\"1.5\" stroke-dasharray=\"6 3",
];
/// What a source's figure is drawn with.
const SOURCE: &str = "#57606a\" stroke-width=\"1\" stroke-dasharray=\"3 3";

/// The whole SVG document.
pub fn draw(experiment: &str, report: &Report, seed: u64) -> String {
    let names = distinct(report.rows.iter().map(|row| row.name));
    let height = HEIGHT * names.len().max(1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" \
         fill=\"#1f2328\">\n<title>overlay-sim run {experiment}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (place, name) in names.iter().enumerate() {
        let rows: Vec<&Row> = report.named(name).collect();
        let _written = writeln!(
            svg,
            "<g transform=\"translate(0 {})\"><text x=\"{LEFT}\" y=\"22\" font-size=\"14\">\
             {experiment}: {name} (seed {seed})</text>",
            place as f64 * HEIGHT,
        );
        draw_one(&mut svg, &rows);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_one(svg: &mut String, rows: &[&Row]) {
    let figures = rows.iter().flat_map(|row| [Some(row.figure), row.source_figure]).flatten();
    let figures = figures.filter(|figure| figure.is_finite());
    let (least, most) = figures.fold((0f64, 0f64), |(a, b), one| (a.min(one), b.max(one)));
    let axis = abscissa(rows);
    let places = distinct(rows.iter().map(|row| label_at(row, axis.as_deref())));
    let scale = Scale { bottom: -ceiling(-least), top: ceiling(most), places };
    axes(svg, &scale, axis.as_deref().unwrap_or(""));
    let series = distinct(rows.iter().map(|row| series_of(row, axis.as_deref())));
    for (place, name) in series.iter().enumerate() {
        let of_series = rows.iter().filter(|row| series_of(row, axis.as_deref()) == *name);
        let points = of_series.map(|row| (label_at(row, axis.as_deref()), row.figure));
        let stroke = STROKES[place % STROKES.len()];
        line(svg, &scale, stroke, &points.collect::<Vec<_>>());
        legend(svg, stroke, if name.is_empty() { "ours" } else { name }, place);
    }
    let theirs =
        rows.iter().filter_map(|row| Some((label_at(row, axis.as_deref()), row.source_figure?)));
    let theirs = distinct(theirs);
    if !theirs.is_empty() {
        line(svg, &scale, SOURCE, &theirs);
        legend(svg, SOURCE, "the source", series.len());
    }
}

/// The first parameter that is a number and varies.
fn abscissa(rows: &[&Row]) -> Option<String> {
    let keys = distinct(rows.iter().flat_map(|row| row.parameters.iter().map(|(key, _)| *key)));
    let varies = |key: &&&str| {
        let values = distinct(rows.iter().filter_map(|row| row.parameter(key)));
        values.len() > 1 && values.iter().all(|value| value.is_number())
    };
    keys.iter().find(varies).map(|key| (*key).to_owned())
}

/// What stands below a figure.
fn label_at(row: &Row, axis: Option<&str>) -> String {
    axis.and_then(|key| row.parameter(key)).map_or(String::new(), word)
}

/// All parameters but the one that goes from left to right.
fn series_of(row: &Row, axis: Option<&str>) -> String {
    let others = row.parameters.iter().filter(|(key, _)| Some(*key) != axis);
    others.map(|(key, value)| format!("{key} {}", word(value))).collect::<Vec<_>>().join(", ")
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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

/// A round number that is not less; of nothing, nothing.
fn ceiling(number: f64) -> f64 {
    if number <= 0.0 {
        return 0.0;
    }
    let unit = 10f64.powf(number.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * unit).find(|top| *top >= number).unwrap_or(10.0 * unit)
}

struct Scale {
    bottom: f64,
    top: f64,
    /// From left to right, evenly spaced.
    places: Vec<String>,
}

impl Scale {
    fn x(&self, place: &str) -> f64 {
        let at = self.places.iter().position(|one| one == place).unwrap_or(0);
        LEFT + (RIGHT - LEFT) * (at as f64 + 0.5) / self.places.len().max(1) as f64
    }

    fn y(&self, figure: f64) -> f64 {
        let span = (self.top - self.bottom).max(f64::MIN_POSITIVE);
        BOTTOM - (BOTTOM - TOP) * (figure - self.bottom) / span
    }
}

fn axes(svg: &mut String, scale: &Scale, name: &str) {
    for step in 0..=GRID {
        let value = scale.bottom + (scale.top - scale.bottom) * step as f64 / GRID as f64;
        let (y, label) = (scale.y(value), short(value));
        let color = if step == 0 { "#1f2328" } else { "#d0d7de" };
        let _written = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"{color}\"/><text x=\"{:.1}\" \
             y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            y + 4.0,
        );
    }
    for place in &scale.places {
        let (x, y) = (scale.x(place), BOTTOM + 18.0);
        let _written =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{place}</text>");
    }
    let (x, y) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 38.0);
    let _written = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{name}</text>");
}

fn line(svg: &mut String, scale: &Scale, stroke: &str, points: &[(String, f64)]) {
    let (mut path, mut dots) = (String::new(), String::new());
    for (place, figure) in points.iter().filter(|(_, figure)| figure.is_finite()) {
        let (x, y) = (scale.x(place), scale.y(*figure));
        let step = if path.is_empty() { 'M' } else { 'L' };
        let _written = write!(path, "{step}{x:.1} {y:.1}");
        let figure = short(*figure);
        let _written = write!(
            dots,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{figure}</title></circle>"
        );
    }
    let _written = writeln!(
        svg,
        "<g fill=\"none\" stroke=\"{stroke}\"><path d=\"{path}\" stroke-linejoin=\"round\"/>\
         {dots}</g>"
    );
}

fn legend(svg: &mut String, stroke: &str, name: &str, place: usize) {
    let (x, y) = (RIGHT + 24.0, TOP + 12.0 + 22.0 * place as f64);
    let _written = writeln!(
        svg,
        "<path d=\"M{x} {y}h26\" stroke=\"{stroke}\"/><text x=\"{}\" y=\"{}\">{name}</text>",
        x + 34.0,
        y + 4.0,
    );
}

//! The table for people. Pure.

use std::fmt::Write;

use serde_json::Value;

use super::{Report, Row, Target};

/// A heading, a line for each row, and what a reader has to know.
pub fn draw(experiment: &str, report: &Report, seed: u64, wall_seconds: f64) -> String {
    let heading = ["figure", "with", "ours", "target", "source's", "source"].map(str::to_owned);
    let lines: Vec<[String; 6]> =
        [heading].into_iter().chain(report.rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = format!("{experiment}, seed {seed}\n\n");
    for cells in &lines {
        let [name, parameters, figure, target, theirs, source] = cells;
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "{name:0$}  {parameters:1$}  {figure:>2$}  {target:3$}  {theirs:>4$}  {source}",
            widths[0], widths[1], widths[2], widths[3], widths[4],
        );
    }
    text.push('\n');
    for note in &report.notes {
        let _written = writeln!(text, "{note}");
    }
    if let Some(hash) = report.event_hash {
        let _written = writeln!(text, "events {hash:016x}");
    }
    let verdict = match (report.missed(), report.rows.iter().any(|row| row.target.is_some())) {
        (_, false) => "no targets".to_owned(),
        (0, true) => "all targets met".to_owned(),
        (missed, true) => format!("{missed} MISSED"),
    };
    let _written = writeln!(text, "{verdict}, {wall_seconds:.1} s");
    text
}

fn cells(row: &Row) -> [String; 6] {
    let parameters = row.parameters.iter().map(|(key, value)| match value {
        Value::String(word) => format!("{key}={word}"),
        value => format!("{key}={value}"),
    });
    let target = row.target.map_or(String::new(), |target| {
        let verdict = if target.is_met(row.figure) { "met" } else { "MISSED" };
        format!("{} {verdict}", bounds(target))
    });
    [
        row.name.to_owned(),
        parameters.collect::<Vec<_>>().join(" "),
        short(row.figure),
        target,
        row.source_figure.map_or(String::new(), short),
        row.source.to_owned(),
    ]
}

fn bounds(target: Target) -> String {
    match target {
        Target::AtMost(most) => format!("<= {}", short(most)),
        Target::AtLeast(least) => format!(">= {}", short(least)),
        Target::Within(least, most) if least == most => format!("= {}", short(least)),
        Target::Within(least, most) => format!("{}..{}", short(least), short(most)),
    }
}

/// Four digits that mean something; whole numbers whole.
pub(super) fn short(figure: f64) -> String {
    if figure.fract() == 0.0 && figure.abs() < 1e15 {
        return format!("{figure:.0}");
    }
    let digits = figure.abs().log10().floor();
    let places = (3.0 - digits).clamp(0.0, 9.0) as usize;
    let text = format!("{figure:.places$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

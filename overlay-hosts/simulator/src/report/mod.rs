//! What an experiment has found: rows, each beside the figure of its source, and whether it meets
//! its target.

pub mod chart;
pub mod table;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::{Map, Number, Value};

/// What a row's figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This much or less.
    AtMost(f64),
    /// This much or more.
    AtLeast(f64),
    /// From the first to the second, both included.
    Within(f64, f64),
}

impl Target {
    /// Whether a figure is as it has to be; one that is no number never is.
    pub fn is_met(self, figure: f64) -> bool {
        match self {
            Target::AtMost(most) => figure <= most,
            Target::AtLeast(least) => figure >= least,
            Target::Within(least, most) => (least..=most).contains(&figure),
        }
    }
}

/// One figure, and what it was measured with. Units stand in the name (`wall-seconds`); ratios,
/// gains, errors and savings are fractions.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was measured, in kebab-case.
    pub name: &'static str,
    /// With what: numbers or words, kebab-case keys, in order.
    pub parameters: Vec<(&'static str, Value)>,
    /// What came out.
    pub figure: f64,
    /// What the source says, if it does.
    pub source_figure: Option<f64>,
    /// Which seed paragraph, paper or definition it is from.
    pub source: &'static str,
    /// What it has to be, if it has to be something.
    pub target: Option<Target>,
}

impl Row {
    /// A figure that nobody else has given one for.
    pub fn new(name: &'static str, figure: f64, source: &'static str) -> Row {
        let (parameters, source_figure, target) = (Vec::new(), None, None);
        Row { name, parameters, figure, source_figure, source, target }
    }

    /// With one more parameter, behind those that it has.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Row {
        self.parameters.push((key, value.into()));
        self
    }

    /// With the source's figure.
    #[must_use]
    pub fn beside(mut self, figure: f64) -> Row {
        self.source_figure = Some(figure);
        self
    }

    /// With what it has to be.
    #[must_use]
    pub fn target(mut self, target: Target) -> Row {
        self.target = Some(target);
        self
    }

    /// The value of a parameter.
    pub fn parameter(&self, key: &str) -> Option<&Value> {
        self.parameters.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Whether it misses what it has to be.
    pub fn misses(&self) -> bool {
        self.target.is_some_and(|target| !target.is_met(self.figure))
    }

    fn to_json(&self) -> Value {
        let mut row = Map::new();
        row.insert("name".into(), self.name.into());
        let parameters = self.parameters.iter().map(|(key, value)| ((*key).into(), value.clone()));
        row.insert("parameters".into(), Value::Object(parameters.collect()));
        row.insert("figure".into(), number(self.figure));
        row.insert("source-figure".into(), self.source_figure.map_or(Value::Null, number));
        row.insert("source".into(), self.source.into());
        if let Some(target) = self.target {
            row.insert("met".into(), target.is_met(self.figure).into());
        }
        Value::Object(row)
    }
}

/// Whole numbers without a point, and null for what is no number.
fn number(figure: f64) -> Value {
    match figure.fract() == 0.0 && figure.abs() < (1u64 << 53) as f64 {
        true => Value::from(figure as i64),
        false => Number::from_f64(figure).map_or(Value::Null, Value::Number),
    }
}

/// All that a run of an experiment has found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its rows, in the order that they are shown in.
    pub rows: Vec<Row>,
    /// A hash over all that happened: the same for the same seed. None where nothing happens.
    pub event_hash: Option<u64>,
    /// What a reader of the table has to know: seals, faults, what was left out.
    pub notes: Vec<String>,
}

impl Report {
    /// How many rows miss their targets.
    pub fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.misses()).count()
    }

    /// All rows of a name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.name == name)
    }

    /// The object that `--json` prints.
    pub fn to_json(&self, experiment: &str, seed: u64, wall_seconds: f64) -> Value {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        struct Object<'a> {
            experiment: &'a str,
            seed: u64,
            rows: Vec<Value>,
            event_hash: Option<String>,
            wall_seconds: f64,
            notes: &'a [String],
        }
        let object = Object {
            experiment,
            seed,
            rows: self.rows.iter().map(Row::to_json).collect(),
            event_hash: self.event_hash.map(|hash| format!("{hash:016x}")),
            wall_seconds,
            notes: &self.notes,
        };
        serde_json::to_value(object).unwrap_or_default()
    }
}

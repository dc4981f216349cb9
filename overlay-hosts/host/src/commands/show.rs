//! `overlay-host show`.

use serde_json::Value;

use super::ask::Control;
use super::{Failure, output};
use crate::control::{Request, Topic};

#[derive(clap::Args)]
pub(super) struct Show {
    /// What to show
    topic: Topic,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: Control,
}

pub(super) fn run(show: &Show) -> Result<(), Failure> {
    let value = show.control.ask(&Request::Show(show.topic))?;
    let text = match (show.json, show.topic) {
        (true, _) => value.to_string(),
        (false, Topic::Traffic) => numbers("counter", &value, false),
        (false, Topic::Drops) => numbers("reason", &value["drops"], true),
        (false, Topic::Ring | Topic::Group | Topic::Coordinates) => outline(&value),
    };
    output::line(&text)
}

fn numbers(head: &str, value: &Value, hide_zeros: bool) -> String {
    let fields = value.as_object().into_iter().flatten();
    let fields = fields.filter(|(_, count)| !hide_zeros || count.as_u64() != Some(0));
    let rows: Vec<_> = fields.map(|(name, count)| vec![name.clone(), count.to_string()]).collect();
    match rows.is_empty() {
        true => "nothing was dropped".to_owned(),
        false => output::table(&[head, "count"], &rows),
    }
}

/// Every peer as lines of `key: value`, lists one line each.
fn outline(value: &Value) -> String {
    let mut lines = Vec::new();
    for peer in value["peers"].as_array().into_iter().flatten() {
        for (key, value) in peer.as_object().into_iter().flatten() {
            match value {
                Value::Array(items) => {
                    lines.push(format!("{key}: {}", items.len()));
                    lines.extend(items.iter().map(|item| format!("  {}", phrase(item))));
                }
                other => lines.push(format!("{key}: {}", phrase(other))),
            }
        }
        lines.push(String::new());
    }
    lines.join("\n").trim_end().to_owned()
}

/// A value as words: fields of an object one after the other.
fn phrase(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(items) => items.iter().map(phrase).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key} {}", phrase(value)));
            fields.collect::<Vec<_>>().join("  ")
        }
        other => other.to_string(),
    }
}

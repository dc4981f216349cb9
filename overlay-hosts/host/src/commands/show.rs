//! `overlay-host show`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ask::Control;
use super::{Failure, output, sessions};
use crate::control::{Request, Topic};

#[derive(clap::Args)]
pub(super) struct Show {
    /// What to show
    topic: Topic,
    /// Print one JSON object
    #[arg(long, conflicts_with_all = ["dot", "svg"])]
    json: bool,
    /// Of `tree` and `sessions`: print the trees of sessions that are sent from here as Graphviz graphs
    #[arg(long)]
    dot: bool,
    /// The same, drawn: one file for each session, FILE, FILE-2 and so on
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    control: Control,
}

pub(super) fn run(show: &Show) -> Result<(), Failure> {
    if show.dot || show.svg.is_some() {
        return draw(show);
    }
    let value = show.control.ask(&Request::Show(show.topic))?;
    let text = match (show.json, show.topic) {
        (true, _) => value.to_string(),
        (false, Topic::Traffic) => numbers("counter", &value, false),
        (false, Topic::Drops) => numbers("reason", &value["drops"], true),
        (false, Topic::Tree) => {
            let sessions = show.control.ask(&Request::Show(Topic::Sessions))?;
            let drawn = sessions::trees(&sessions);
            let drawn = drawn.iter().map(|picture| format!("\n\n{}", picture.text()));
            trees(&value) + &drawn.collect::<String>()
        }
        (false, Topic::Sessions) => sessions::outline(&value),
        (false, Topic::Ring | Topic::Group | Topic::Coordinates) => outline(&value),
    };
    output::line(&text)
}

/// Trees of sessions, as graphs or as pictures.
fn draw(show: &Show) -> Result<(), Failure> {
    if !matches!(show.topic, Topic::Tree | Topic::Sessions) {
        return Err(Failure::Usage("`--dot` and `--svg` go with `tree` and `sessions`".to_owned()));
    }
    let value = show.control.ask(&Request::Show(Topic::Sessions))?;
    let pictures = sessions::trees(&value);
    if pictures.is_empty() {
        return Err(Failure::Work("no session is sent from here".to_owned()));
    }
    for (number, picture) in pictures.iter().enumerate() {
        if show.dot {
            output::line(&picture.dot())?;
        }
        let Some(file) = &show.svg else { continue };
        let file = if number == 0 { file.clone() } else { numbered(file, number + 1) };
        std::fs::write(&file, picture.svg())
            .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", file.display())))?;
    }
    Ok(())
}

/// FILE.svg becomes FILE-2.svg.
fn numbered(file: &Path, number: usize) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{stem}-{number}.svg"))
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

/// Every peer between its parent and its children, and what it knows of all below it.
fn trees(value: &Value) -> String {
    let peers = value["peers"].as_array().into_iter().flatten();
    peers.map(tree).collect::<Vec<_>>().join("\n\n")
}

fn tree(peer: &Value) -> String {
    let name = phrase(&peer["name"]);
    if peer["enabled"] != true {
        return format!("{name}: part of no tree; `[somo]` makes it");
    }
    let host =
        |contact: &Value| format!("{} {}", phrase(&contact["id"]), phrase(&contact["address"]));
    let above = match (&peer["parent"], peer["root"] == true) {
        (_, true) => "the root".to_owned(),
        (Value::Null, false) => "parent not found yet".to_owned(),
        (parent, false) => host(parent),
    };
    let (machines, height) = (phrase(&peer["machines"]), phrase(&peer["height"]));
    let mut lines = vec![above];
    lines.push(format!("└─ {name} {}  {machines} machines, {height} deep", phrase(&peer["id"])));
    let children = peer["children"].as_array().map_or(&[][..], Vec::as_slice);
    for (place, child) in children.iter().enumerate() {
        let branch = if place + 1 == children.len() { "└─" } else { "├─" };
        lines.push(format!("   {branch} {}", host(child)));
    }
    lines.push(format!("last report: {}", phrase(&peer["report"])));
    if let Some(ago) = peer["gathered-seconds-ago"].as_f64() {
        let machines = phrase(&peer["gathered-machines"]);
        lines.push(format!("gathered from {machines} machines {ago:.1} s ago"));
    }
    lines.join("\n")
}

/// A value as words: fields of an object one after the other.
pub(super) fn phrase(value: &Value) -> String {
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

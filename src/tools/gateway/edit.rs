//! Editing the list of a running gateway, by its control socket.

use std::path::PathBuf;

use serde_json::Value;

use super::Failure;
use super::list::Request;
use super::tally::counted;
use crate::tools::{output, show};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Put destinations into the list of a running gateway
    Add(Edit),
    /// Take destinations out of the list of a running gateway
    Remove(Edit),
    /// Make the list of a running gateway one of these destinations alone
    Set(Edit),
    /// Show the list of a running gateway
    List(Control),
}

#[derive(clap::Args)]
pub(super) struct Edit {
    /// Destinations: ADDR[:PORT][/DSCP]; the port that the gateway listens at where none is named
    #[arg(value_name = "ADDR[:PORT]", value_delimiter = ',', required = true)]
    destinations: Vec<String>,
    #[command(flatten)]
    control: Control,
}

#[derive(clap::Args)]
pub(super) struct Control {
    /// The gateway's control socket; else $XCAST_SOCKET, else the only one in /run/xcast
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Has it done, all or nothing.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (control, request) = match self {
            Command::List(control) => (control, Request::List),
            Command::Add(edit) => (&edit.control, Request::Add(edit.destinations.clone())),
            Command::Remove(edit) => (&edit.control, Request::Remove(edit.destinations.clone())),
            Command::Set(edit) => (&edit.control, Request::Set(edit.destinations.clone())),
        };
        let value = show::ask("gateway", control.socket.as_deref(), &request)?;
        output::line(&match (control.json, &request) {
            (true, _) => value.to_string(),
            (false, Request::List) => table(&value),
            (false, _) => format!(
                "{} added, {} removed: {}",
                value["added"],
                value["removed"],
                counted(value["destinations"].as_u64().unwrap_or(0))
            ),
        })
    }
}

fn table(value: &Value) -> String {
    let each = value["list"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = each
        .map(|destination| {
            let troubles = destination["troubles"].as_object().into_iter().flatten();
            let troubles: Vec<String> =
                troubles.map(|(what, count)| format!("{what} ({count})")).collect();
            let text = |key: &str| destination[key].as_str().unwrap_or_default().to_owned();
            let number =
                |key: &str| destination[key].as_u64().map_or("-".to_owned(), |n| n.to_string());
            vec![text("address"), number("port"), number("dscp"), troubles.join(", ")]
        })
        .collect();
    output::table(&["destination", "port", "dscp", "troubles"], &rows)
}

//! `overlay-host put`, `get` and `find-node`, and how a running host is asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use xcast::control::Reply;
use xcast::tools::exchange;

use super::{Failure, output};
use crate::SOCKET_FOLDER;
use crate::control::{ANSWER_PATIENCE, Question, Request};

const VARIABLE: &str = "XCAST_OVERLAY_SOCKET";
/// How much longer than the host's own patience ours is.
const GRACE: Duration = Duration::from_secs(5);

/// Which host is asked.
#[derive(clap::Args)]
pub(super) struct Control {
    /// The host's control socket; else $XCAST_OVERLAY_SOCKET, else the only one in
    /// /run/xcast/overlay
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Which peer of it asks the overlay.
#[derive(clap::Args)]
pub(super) struct Asker {
    /// The peer that asks, where the host has several; else its first
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: Control,
}

#[derive(clap::Args)]
pub(super) struct Put {
    /// The value's name
    key: String,
    /// The value; an empty one deletes what was there
    value: String,
    #[command(flatten)]
    asker: Asker,
}

#[derive(clap::Args)]
pub(super) struct Get {
    /// The value's name
    key: String,
    #[command(flatten)]
    asker: Asker,
}

#[derive(clap::Args)]
pub(super) struct FindNode {
    /// Any name
    key: String,
    #[command(flatten)]
    asker: Asker,
}

pub(super) fn put(put: Put) -> Result<(), Failure> {
    let question = Question::Put { key: put.key, value: put.value };
    let done = put.asker.ask(question)?;
    match put.asker.json {
        true => output::line(&done.to_string()),
        false => Ok(()),
    }
}

pub(super) fn get(get: Get) -> Result<(), Failure> {
    let done = get.asker.ask(Question::Get { key: get.key })?;
    match get.asker.json {
        true => output::line(&done.to_string()),
        false => output::line(done["value"].as_str().unwrap_or_default()),
    }
}

pub(super) fn find_node(find: FindNode) -> Result<(), Failure> {
    let done = find.asker.ask(Question::FindNode { key: find.key })?;
    if find.asker.json {
        return output::line(&done.to_string());
    }
    let text = |name: &str| done[name].as_str().unwrap_or_default().to_owned();
    let addresses = done["addresses"].as_array().into_iter().flatten();
    let addresses: Vec<&str> = addresses.filter_map(Value::as_str).collect();
    output::line(&format!("{} at {}", text("id"), addresses.join(", ")))
}

impl Asker {
    fn ask(&self, question: Question) -> Result<Value, Failure> {
        self.control.ask(&Request::Ask { peer: self.peer.clone(), question })
    }
}

impl Control {
    /// Asks the host; a refusal is a failure.
    pub(super) fn ask(&self, request: &Request) -> Result<Value, Failure> {
        let named = self.socket.clone().or_else(|| std::env::var_os(VARIABLE).map(Into::into));
        let path = named.map_or_else(only_socket, Ok)?;
        let reply = exchange(&path, request, ANSWER_PATIENCE + GRACE).map_err(|error| {
            Failure::Work(format!("no answer from an overlay host at {}: {error}", path.display()))
        })?;
        match reply {
            Reply::Done(value) => Ok(value),
            Reply::Failed(why) => Err(Failure::Work(why)),
            Reply::Refused(why) => Err(Failure::Usage(why)),
        }
    }
}

fn only_socket() -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(Path::new(SOCKET_FOLDER)).into_iter().flatten().flatten();
    let mut sockets: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    sockets.sort();
    match sockets.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::Work(format!(
            "no overlay host runs here, as far as {SOCKET_FOLDER} shows: name its socket by \
             --socket or {VARIABLE} if it has another place"
        ))),
        several => {
            let names: Vec<_> = several.iter().map(|path| path.display().to_string()).collect();
            Err(Failure::Usage(format!(
                "which overlay host? Name one by --socket or {VARIABLE}: {}",
                names.join(", ")
            )))
        }
    }
}

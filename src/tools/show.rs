//! `xcast show`, `reload` and `drain`: a running router by its control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{Failure, output};
use crate::control::{Backbone, Neighbors, Ports, Reply, Request, Routes, Topic, Tunnels};

const VARIABLE: &str = "XCAST_SOCKET";
const FOLDER: &str = "/run/xcast";
/// What the names of gateways' sockets begin with.
const GATEWAY: &str = "gateway-";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

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

#[derive(clap::Args)]
pub(super) struct Control {
    /// The router's control socket; else $XCAST_SOCKET, else the only one in /run/xcast
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub(super) fn show(show: &Show) -> Result<(), Failure> {
    let value = show.control.ask(Request::Show(show.topic))?;
    let text = match show.json {
        true => value.to_string(),
        false => for_people(show.topic, value).map_err(Failure::work)?,
    };
    output::line(&text)
}

pub(super) fn reload(control: &Control) -> Result<(), Failure> {
    control.ask(Request::Reload).map(|_| ())
}

pub(super) fn drain(control: &Control) -> Result<(), Failure> {
    control.ask(Request::Drain).map(|_| ())
}

impl Control {
    /// Asks the router; a refusal is a failure.
    pub(super) fn ask(&self, request: Request) -> Result<Value, Failure> {
        ask("router", self.socket.as_deref(), request)
    }
}

/// Asks the running `router` or `gateway` at a control socket; else at the one that `XCAST_SOCKET`
/// names, else at the only one of its kind. A refusal is a failure.
pub(super) fn ask(
    kind: &str,
    socket: Option<&Path>,
    request: impl Serialize,
) -> Result<Value, Failure> {
    let named = socket.map(Path::to_owned).or_else(named_socket);
    let path = named.map_or_else(|| only_socket(kind), Ok)?;
    let reply = exchange(&path, request, PATIENCE).map_err(|error| {
        Failure::Work(format!("no answer from a {kind} at {}: {error}", path.display()))
    })?;
    match reply {
        Reply::Done(value) => Ok(value),
        Reply::Failed(why) => Err(Failure::Work(why)),
        Reply::Refused(why) => Err(Failure::Usage(why)),
    }
}

/// The control socket that the environment names.
pub(super) fn named_socket() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(Into::into)
}

/// Where a gateway of a name has its control socket if no other is named.
pub(super) fn gateway_socket(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{GATEWAY}{name}.sock"))
}

fn only_socket(kind: &str) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut sockets: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    sockets.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(GATEWAY) == (kind == "gateway")
    });
    sockets.sort();
    match sockets.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::Work(format!(
            "no {kind} runs here, as far as {FOLDER} shows: name its socket by --socket or \
             {VARIABLE} if it has another place"
        ))),
        several => {
            let names: Vec<_> = several.iter().map(|path| path.display().to_string()).collect();
            Err(Failure::Usage(format!(
                "which {kind}? Name one by --socket or {VARIABLE}: {}",
                names.join(", ")
            )))
        }
    }
}

/// Asks whoever listens at a control socket, and waits for the answer so long.
///
/// # Errors
/// Nobody listens there, or there was no answer.
pub fn exchange(
    path: &Path,
    request: impl Serialize,
    patience: Duration,
) -> std::io::Result<Reply> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_vec(&request)?;
    text.push(b'\n');
    // Who has no time for us says so without listening.
    let written = (&stream).write_all(&text);
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).or(written.map(|()| 0))?;
    if !line.ends_with('\n') {
        let what = "the connection was closed before there was an answer";
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what));
    }
    Ok(serde_json::from_str(&line)?)
}

fn for_people(topic: Topic, value: Value) -> serde_json::Result<String> {
    Ok(match topic {
        Topic::Counters => numbers("counter", &value, false),
        Topic::Drops => numbers("reason", &value["drops"], true),
        Topic::Ports => ports(serde_json::from_value(value)?),
        Topic::Routes => routes(serde_json::from_value(value)?),
        Topic::Neighbors => neighbors(serde_json::from_value(value)?),
        Topic::Tunnels => tunnels(serde_json::from_value(value)?),
        Topic::Backbone => backbone(serde_json::from_value(value)?),
    })
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

fn ports(ports: Ports) -> String {
    let row = |port: crate::control::PortState| {
        let drop = if port.kernel_drop { "yes".to_owned() } else { "NO".to_owned() };
        let note = match (&port.kernel_drop_error, port.state.as_str()) {
            (_, "error" | "missing") => port.why_not.clone(),
            (Some(error), _) => format!("no kernel-side drop: {error}"),
            (None, _) => port.why_not.clone(),
        };
        let (xcast, unicast) = (port.replicas_sent_xcast, port.replicas_sent_unicast);
        vec![
            port.interface,
            port.state,
            port.driver,
            port.mtu.to_string(),
            port.reverse_path,
            drop,
            port.packets_received.to_string(),
            xcast.to_string(),
            unicast.to_string(),
            note,
        ]
    };
    let head = [
        "interface",
        "state",
        "driver",
        "mtu",
        "reverse-path",
        "kernel-drop",
        "received",
        "xcast-sent",
        "unicast-sent",
        "note",
    ];
    output::table(&head, &ports.ports.into_iter().map(row).collect::<Vec<_>>())
}

fn routes(routes: Routes) -> String {
    let row = |route: crate::control::RouteState| {
        let out = route.interface.or(route.tunnel).unwrap_or_default();
        let via = route.via.unwrap_or_default();
        vec![route.prefix, via, out, route.source, route.metric.to_string(), route.state]
    };
    let head = ["prefix", "via", "interface", "source", "metric", "state"];
    output::table(&head, &routes.routes.into_iter().map(row).collect::<Vec<_>>())
}

fn tunnels(tunnels: Tunnels) -> String {
    let row = |tunnel: crate::control::TunnelState| {
        let rtt = tunnel.rtt_seconds.map(|rtt| format!("{:.2} ms", 1000.0 * rtt));
        vec![
            tunnel.name,
            tunnel.kind,
            tunnel.local,
            tunnel.remote,
            tunnel.interface.unwrap_or_default(),
            tunnel.state,
            tunnel.mtu_bytes.to_string(),
            rtt.unwrap_or_default(),
            format!("{:.0} %", 100.0 * tunnel.loss),
            tunnel.note,
        ]
    };
    let head =
        ["tunnel", "kind", "local", "remote", "interface", "state", "mtu", "rtt", "loss", "note"];
    output::table(&head, &tunnels.tunnels.into_iter().map(row).collect::<Vec<_>>())
}

fn backbone(backbone: Backbone) -> String {
    let Some(key) = backbone.key else {
        return "no tunnel of this router has a key, and there is no [backbone]".to_owned();
    };
    let row = |end: crate::control::BackboneEnd| {
        let rtt = end.rtt_seconds.map(|rtt| format!("{:.2} ms", 1000.0 * rtt));
        vec![
            end.tunnel.unwrap_or_default(),
            end.role,
            end.address,
            end.state,
            rtt.unwrap_or_default(),
            format!("{:.0} %", 100.0 * end.loss),
            end.lease.into_iter().chain(end.prefixes).collect::<Vec<_>>().join(" "),
            end.key,
        ]
    };
    let head = ["tunnel", "role", "address", "state", "rtt", "loss", "near", "key"];
    let ends = output::table(&head, &backbone.ends.into_iter().map(row).collect::<Vec<_>>());
    let near: Vec<String> = backbone.prefixes.into_iter().chain(backbone.leases).collect();
    format!(
        "key {key}, near to {}\n{ends}",
        if near.is_empty() { "nothing".to_owned() } else { near.join(" ") }
    )
}

fn neighbors(neighbors: Neighbors) -> String {
    let row = |neighbor: crate::control::NeighborState| {
        let pinned = if neighbor.pinned { " (pinned)" } else { "" };
        vec![
            neighbor.address,
            neighbor.interface,
            neighbor.link_address.unwrap_or_default(),
            neighbor.resolution,
            format!("{}{pinned}", neighbor.xcast),
        ]
    };
    let head = ["address", "interface", "link-address", "resolution", "xcast"];
    output::table(&head, &neighbors.neighbors.into_iter().map(row).collect::<Vec<_>>())
}

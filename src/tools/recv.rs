//! `xcast recv`: prints datagrams as they arrive: ordinary UDP, which is all that receivers of Xcast
//! need, and with code points those that have stayed Xcast to the end.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use serde_json::Value;

use super::experiment::Experiment;
use super::relay::{self, RelayArguments, families};
use super::{Failure, output};
use crate::host::{HostError, Inbox, Options, Received, XcastSocket};
use crate::wire::CodePoints;

#[derive(clap::Args)]
pub(super) struct Recv {
    /// Address to receive at, all addresses of both IP versions if not given; by a relay the
    /// address that is wished for
    #[arg(long, value_name = "ADDR")]
    bind: Option<IpAddr>,
    /// UDP port to receive at
    #[arg(long)]
    port: u16,
    /// End after this many datagrams
    #[arg(long)]
    count: Option<u64>,
    /// End when nothing has arrived for this long
    #[arg(long, value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Print one JSON object a datagram
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    relay: RelayArguments,
    #[command(flatten)]
    experiment: Experiment,
}

/// How often it is looked whether the relay is another one.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Where datagrams come from.
enum Source {
    Inbox(Box<Inbox>),
    Relay(Box<XcastSocket>),
}

impl Source {
    /// The next datagram; `None` if there is none by the deadline.
    fn next(
        &mut self,
        recv: &Recv,
        deadline: Option<Instant>,
    ) -> Result<Option<Received>, HostError> {
        let socket = match self {
            Source::Inbox(inbox) => return inbox.next(deadline),
            Source::Relay(socket) => socket,
        };
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let wait = left.map_or(LOOK_INTERVAL, |left| left.min(LOOK_INTERVAL));
            let received = socket.receive(Some(wait))?;
            let events = socket.take_relay_events();
            match recv.json {
                true => relay::tell_json(&events, Some(recv.port)),
                false => relay::tell(&events, Some(recv.port)),
            }
            if received.is_some() || left.is_some_and(|left| left <= LOOK_INTERVAL) {
                return Ok(received);
            }
        }
    }
}

pub(super) fn run(recv: &Recv) -> Result<(), Failure> {
    let mut source = match recv.relay.is_given() {
        true => by_relay(recv)?,
        false => by_inbox(recv)?,
    };
    let mut received = 0;
    let mut quiet_since = Instant::now();
    while recv.count != Some(received) {
        // A timeout beyond the clock's end is none.
        let deadline = recv.timeout.and_then(|timeout| quiet_since.checked_add(timeout));
        match source.next(recv, deadline) {
            Err(error) => return Err(Failure::work(error)),
            Ok(Some(datagram)) => {
                print(recv, &datagram)?;
                received += 1;
                quiet_since = Instant::now();
            }
            Ok(None) => break,
        }
    }
    match recv.count {
        Some(count) if received < count => {
            Err(Failure::Work(format!("{received} of {count} datagrams arrived in time")))
        }
        None if received == 0 => Err(Failure::work("no datagram arrived in time")),
        _ => Ok(()),
    }
}

/// At the address that a relay leases.
fn by_relay(recv: &Recv) -> Result<Source, Failure> {
    if recv.port == 0 {
        return Err(Failure::usage("--port: by a relay it must not be 0"));
    }
    let mut relay = recv.relay.relay(&recv.experiment, families(recv.bind.into_iter()))?;
    if let Some(relay) = &mut relay {
        relay.wish = recv.bind;
    }
    let options = Options { source_port: recv.port, relay, ..Options::default() };
    let code_points = recv.experiment.code_points()?;
    let mut socket = XcastSocket::open(code_points, &options).map_err(Failure::host)?;
    let patience = recv.relay.settle_time(Duration::ZERO);
    socket.settle(&[], patience).map_err(Failure::host)?;
    Ok(Source::Relay(Box::new(socket)))
}

/// At this host's own addresses.
fn by_inbox(recv: &Recv) -> Result<Source, Failure> {
    // Plain UDP needs no code points; those that are named must be right all the same.
    let code_points = match recv.experiment.code_points() {
        Ok(code_points) => Some(code_points),
        Err(missing) if recv.experiment.is_named() => return Err(missing),
        Err(_) => None,
    };
    let (inbox, why_not) = open(recv, code_points)?;
    let place = recv.bind.map_or_else(|| "all addresses".to_owned(), |bind| bind.to_string());
    output::note(&match why_not {
        None => format!("listening on {place}, port {}: unicast UDP and Xcast", recv.port),
        Some(why) => format!("listening on {place}, port {}: unicast UDP alone ({why})", recv.port),
    });
    Ok(Source::Inbox(Box::new(inbox)))
}

/// The inbox, and why it takes no Xcast packets if it does not.
fn open(recv: &Recv, code_points: Option<CodePoints>) -> Result<(Inbox, Option<String>), Failure> {
    let open = |code_points| Inbox::open(recv.bind, recv.port, code_points);
    let Some(code_points) = code_points else {
        let why = "no code points are named, see --experiment".to_owned();
        return Ok((open(None).map_err(Failure::work)?, Some(why)));
    };
    match open(Some(code_points)) {
        Ok(inbox) => Ok((inbox, None)),
        Err(error) if is_refused(&error) => {
            let why = "Xcast packets need CAP_NET_RAW".to_owned();
            Ok((open(None).map_err(Failure::work)?, Some(why)))
        }
        Err(error) => Err(Failure::work(error)),
    }
}

fn is_refused(error: &HostError) -> bool {
    let HostError::Socket { error, .. } = error else { return false };
    error.kind() == ErrorKind::PermissionDenied
}

fn print(recv: &Recv, received: &Received) -> Result<(), Failure> {
    let Received { source, destination, port, ttl, dscp, channel, payload, .. } = received;
    if !recv.json {
        let text = String::from_utf8_lossy(&payload[..payload.len().min(60)]);
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        let bytes = payload.len();
        let to = SocketAddr::new(*destination, *port);
        let form = channel.map(|channel| format!("xcast, channel {channel}  ")).unwrap_or_default();
        return output::line(&format!("{source} > {to}  {form}ttl {ttl}  {bytes} bytes  {text}"));
    }
    let json = serde_json::json!({
        "source": source.ip().to_string(),
        "source-port": source.port(),
        "destination": destination.to_string(),
        "port": port,
        "bytes": payload.len(),
        "payload-base64": base64::engine::general_purpose::STANDARD.encode(payload),
        "form": if channel.is_some() { "xcast" } else { "unicast" },
        // A number as far as JSON has room for one, and that is all of IPv4's.
        "channel": channel.map(|channel| match u64::try_from(channel) {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(format!("{channel:#034x}")),
        }),
        "dscp": dscp,
        "ttl": ttl,
        "time": humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
    });
    output::line(&json.to_string())
}

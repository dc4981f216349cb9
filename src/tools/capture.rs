//! `xcast capture`: writes packets to a pcapng file, either those that a router dropped, each with
//! the reason as its comment, or the Xcast packets that cross its ports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Map, Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::experiment::Experiment;
use super::show::Control;
use super::{Failure, output};
use crate::control::{DroppedPacket, Ports, Request, Samples, Topic};
use crate::io::pcapng::{CapturedFrame, Direction, Tap, Writer, interface_index};

/// How often a router is asked for new drops.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Frames taken before looking whether to end.
const BATCH: u64 = 256;
/// Readable by nobody else: packets are their senders' and receivers' business.
const FILE_MODE: u32 = 0o600;

#[derive(clap::Args)]
pub(super) struct Capture {
    /// File to write, in pcapng form. What it held is gone, and its owner alone may read it
    #[arg(long, value_name = "FILE")]
    write: PathBuf,
    /// Write dropped packets, each with the reason as its comment: those that the router still
    /// keeps, which are the last 8 of each reason; with --count the next ones
    #[arg(long)]
    drops_only: bool,
    /// End after this many packets; else at Ctrl-C, or with --drops-only at once
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print what was written as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: Control,
    #[command(flatten)]
    experiment: Experiment,
}

pub(super) fn run(capture: &Capture) -> Result<(), Failure> {
    let written = match (capture.drops_only, capture.count) {
        (true, None) => kept_drops(capture)?,
        (true, Some(count)) => next_drops(capture, count)?,
        (false, _) => crossing(capture)?,
    };
    output::line(&match capture.json {
        true => written.json.to_string(),
        false => written.to_text(&capture.write),
    })
}

// --- What was dropped -----------------------------------------------------------------------

/// How many packets of which reason.
type Reasons = BTreeMap<String, u64>;

/// Writes what the router keeps now.
fn kept_drops(capture: &Capture) -> Result<Written, Failure> {
    let samples = ask(capture)?;
    let mut file = CaptureFile::create(&capture.write)?;
    let mut reasons = Reasons::new();
    for packet in &samples {
        write_drop(&mut file, packet, &mut reasons)?;
    }
    Ok(written_drops(reasons, 0))
}

/// Writes what the router drops from now on.
fn next_drops(capture: &Capture, count: u64) -> Result<Written, Failure> {
    let mut ending = Ending::new()?;
    let mut seen = ask(capture)?.last().map_or(0, |packet| packet.number);
    let mut file = CaptureFile::create(&capture.write)?;
    output::note(&format!("waiting for {count} dropped packets; Ctrl-C ends it"));
    let (mut reasons, mut written, mut missed) = (Reasons::new(), 0, 0);
    while written < count && !ending.wait(Some(POLL_INTERVAL))? {
        for packet in ask(capture)? {
            if packet.number <= seen || written == count {
                continue;
            }
            write_drop(&mut file, &packet, &mut reasons)?;
            // No number is left out, so those between were overwritten by later ones.
            missed += packet.number - seen - 1;
            seen = packet.number;
            written += 1;
        }
    }
    Ok(written_drops(reasons, missed))
}

fn written_drops(reasons: Reasons, missed: u64) -> Written {
    let packets: u64 = reasons.values().sum();
    let json = json!({ "packets": packets, "reasons": reasons, "missed": missed });
    let counts = reasons.into_iter().map(|(reason, count)| (count, reason)).collect();
    Written { kind: "dropped packets", counts, lost: missed, json }
}

/// What the router keeps, in the order in which it was dropped.
fn ask(capture: &Capture) -> Result<Vec<DroppedPacket>, Failure> {
    let reply = capture.control.ask(Request::Samples)?;
    let mut samples = serde_json::from_value::<Samples>(reply).map_err(strange)?.samples;
    samples.sort_by_key(|packet| packet.number);
    Ok(samples)
}

fn write_drop(
    file: &mut CaptureFile,
    packet: &DroppedPacket,
    reasons: &mut Reasons,
) -> Result<(), Failure> {
    let frame = CapturedFrame {
        interface: file.interface(packet.interface.as_deref())?,
        time: humantime::parse_rfc3339(&packet.time).map_err(strange)?,
        bytes: &STANDARD.decode(&packet.frame_base64).map_err(strange)?,
        length: packet.length,
        direction: packet.interface.is_some().then_some(Direction::Incoming),
        comment: Some(&packet.reason),
    };
    file.write(&frame)?;
    *reasons.entry(packet.reason.clone()).or_default() += 1;
    Ok(())
}

fn strange(error: impl std::fmt::Display) -> Failure {
    Failure::Work(format!("the router's answer makes no sense: {error}"))
}

// --- What crosses the ports -----------------------------------------------------------------

/// How many packets were received and sent, by port.
type Ways = BTreeMap<String, [u64; 2]>;

/// Writes what crosses the ports from now on.
fn crossing(capture: &Capture) -> Result<Written, Failure> {
    const TAP: Token = Token(1);
    let code_points = capture.experiment.code_points()?;
    let ports = PortFilter::new(&capture.control)?;
    let mut ending = Ending::new()?;
    let tap = Tap::open(&code_points).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Failure::work("a live capture needs CAP_NET_RAW in this network namespace: run as root")
        }
        _ => Failure::Work(format!("cannot open a packet socket: {error}")),
    })?;
    let registry = ending.poll.registry();
    let registered = registry.register(&mut SourceFd(&tap.as_raw_fd()), TAP, Interest::READABLE);
    registered.map_err(|error| Failure::Work(format!("cannot wait for packets: {error}")))?;
    let mut file = CaptureFile::create(&capture.write)?;
    for port in &ports.names {
        file.interface(Some(port))?;
    }
    output::note(&format!("capturing Xcast packets on {}; Ctrl-C ends it", list(&ports.names)));
    let mut live = Live { tap, ports, file, ways: Ways::new() };
    let mut left = capture.count.unwrap_or(u64::MAX);
    // Readiness is told once, so as long as there may be more the next look does not wait.
    let mut patience = None;
    while left > 0 && !ending.wait(patience)? {
        let (written, all) = live.write(left.min(BATCH))?;
        left -= written;
        patience = if all { None } else { Some(Duration::ZERO) };
    }
    Ok(written_crossing(live.ways, live.tap.lost()))
}

struct Live {
    tap: Tap,
    ports: PortFilter,
    file: CaptureFile,
    ways: Ways,
}

impl Live {
    /// Looks at no more than `limit` frames that have arrived, and writes those that cross ports.
    /// Returns how many, and whether those were all.
    fn write(&mut self, limit: u64) -> Result<(u64, bool), Failure> {
        let mut written = 0;
        for _ in 0..limit {
            let received = self.tap.receive();
            let received =
                received.map_err(|error| Failure::Work(format!("cannot receive: {error}")))?;
            let Some(seen) = received else { return Ok((written, true)) };
            let Some(port) = self.ports.name(seen.interface) else { continue };
            let frame = CapturedFrame {
                interface: self.file.interface(Some(port))?,
                time: seen.time,
                bytes: seen.bytes,
                length: seen.length,
                direction: Some(seen.direction),
                comment: None,
            };
            self.file.write(&frame)?;
            let [incoming, outgoing] = self.ways.entry(port.to_owned()).or_default();
            *(if seen.direction == Direction::Incoming { incoming } else { outgoing }) += 1;
            written += 1;
        }
        Ok((written, false))
    }
}

fn written_crossing(ways: Ways, lost: u64) -> Written {
    let packets: u64 = ways.values().flatten().sum();
    let both = |(port, [received, sent]): (&String, &[u64; 2])| {
        (port.clone(), json!({ "received": received, "sent": sent }))
    };
    let interfaces: Map<String, Value> = ways.iter().map(both).collect();
    let words = |(port, [received, sent]): (&String, &[u64; 2])| {
        [(*received, format!("received on {port}")), (*sent, format!("sent on {port}"))]
    };
    Written {
        kind: "packets",
        counts: ways.iter().flat_map(words).filter(|(count, _)| *count > 0).collect(),
        lost,
        json: json!({ "packets": packets, "interfaces": interfaces, "lost": lost }),
    }
}

/// Tells the ports of a router from other interfaces.
struct PortFilter {
    names: BTreeSet<String>,
    /// By the kernel's index, as far as seen: the name, if it is a port.
    known: BTreeMap<u32, Option<String>>,
}

impl PortFilter {
    /// Asks a router, which must run in this network namespace as far as one can tell.
    fn new(control: &Control) -> Result<PortFilter, Failure> {
        let reply = control.ask(Request::Show(Topic::Ports))?;
        let ports = serde_json::from_value::<Ports>(reply).map_err(strange)?.ports;
        let names: BTreeSet<String> = ports.into_iter().map(|port| port.interface).collect();
        match names.iter().any(|name| interface_index(name).is_some()) {
            true => Ok(PortFilter { names, known: BTreeMap::new() }),
            false if names.is_empty() => Err(Failure::work("the router has no port")),
            false => Err(Failure::Work(format!(
                "none of the router's ports ({}) is here: capture in the network namespace that it \
                 runs in",
                list(&names)
            ))),
        }
    }

    /// The name of a port; `None` if the interface is none.
    fn name(&mut self, interface: u32) -> Option<&str> {
        if !self.known.contains_key(&interface) {
            // It is new, or one that came back with another index.
            let here = self.names.iter().filter_map(|name| Some((interface_index(name)?, name)));
            self.known.extend(here.map(|(index, name)| (index, Some(name.clone()))));
        }
        self.known.entry(interface).or_default().as_deref()
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

// --- Common to both -------------------------------------------------------------------------

/// The file, and the interfaces it knows.
struct CaptureFile {
    path: PathBuf,
    writer: Writer<File>,
    /// By name; without one, what this node itself sent.
    interfaces: BTreeMap<Option<String>, u32>,
}

impl CaptureFile {
    fn create(path: &Path) -> Result<CaptureFile, Failure> {
        let writer = open(path)
            .and_then(|file| Writer::new(file, concat!("xcast ", env!("CARGO_PKG_VERSION"))));
        let writer = writer.map_err(cannot_write(path))?;
        Ok(CaptureFile { path: path.to_owned(), writer, interfaces: BTreeMap::new() })
    }

    /// The number of an interface, which is described to the file when it is first asked for.
    fn interface(&mut self, name: Option<&str>) -> Result<u32, Failure> {
        let key = name.map(str::to_owned);
        if let Some(known) = self.interfaces.get(&key) {
            return Ok(*known);
        }
        let text = name.is_none().then_some("sent by this node, or by a port that is gone");
        let described = self.writer.interface(name, text);
        let number = described.map_err(cannot_write(&self.path))?;
        self.interfaces.insert(key, number);
        Ok(number)
    }

    fn write(&mut self, frame: &CapturedFrame<'_>) -> Result<(), Failure> {
        self.writer.frame(frame).map_err(cannot_write(&self.path))
    }
}

/// Opens a file for its owner alone, also one that was there with other permissions.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Work(format!("cannot write the capture {}: {error}", path.display()))
}

/// Waits, and notices that somebody wants the capture to end.
struct Ending {
    poll: Poll,
    events: Events,
    signals: Signals,
}

impl Ending {
    fn new() -> Result<Ending, Failure> {
        const SIGNAL: Token = Token(0);
        let open = || -> io::Result<Ending> {
            let (poll, mut signals) = (Poll::new()?, Signals::new([SIGINT, SIGTERM])?);
            poll.registry().register(&mut signals, SIGNAL, Interest::READABLE)?;
            Ok(Ending { poll, events: Events::with_capacity(8), signals })
        };
        open().map_err(|error| Failure::Work(format!("cannot wait for signals: {error}")))
    }

    /// Waits for an event, as long as `patience` lasts; returns whether to end.
    fn wait(&mut self, patience: Option<Duration>) -> Result<bool, Failure> {
        match self.poll.poll(&mut self.events, patience) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(Failure::Work(format!("cannot wait for events: {error}")))
            }
            _ => Ok(self.signals.pending().next().is_some()),
        }
    }
}

/// What was written.
struct Written {
    /// What the packets are called.
    kind: &'static str,
    /// How many of what.
    counts: Vec<(u64, String)>,
    /// How many came faster than they could be read.
    lost: u64,
    json: Value,
}

impl Written {
    fn to_text(&self, path: &Path) -> String {
        let Written { kind, counts, lost, .. } = self;
        let total: u64 = counts.iter().map(|(count, _)| count).sum();
        let mut text = format!("{total} {kind} written to {}", path.display());
        for (at, (count, what)) in counts.iter().enumerate() {
            text += &format!("{} {count} {what}", if at == 0 { ":" } else { "," });
        }
        if *lost > 0 {
            text += &format!(" ({lost} more came too fast to be written)");
        }
        text
    }
}

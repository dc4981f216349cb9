//! `overlay-host multicast`, `receive` and `pool`: data to many at once, by a tree that is planned.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use overlay_protocols::delivery::PAYLOAD_MAX;
use overlay_protocols::resource_pool::HOSTS_MAX;
use serde_json::{Value, json};

use super::ask::Control;
use super::picture::{Host, Picture};
use super::show::phrase;
use super::{Failure, output};
use crate::control::{Order, PoolQuestion, Request};

/// Payloads of one order at most.
const PAYLOADS_AT_ONCE: usize = 64;
/// How long an order collects what it sends.
const TURN: Duration = Duration::from_millis(20);
/// How long it waits for the first payload.
const QUIET: Duration = Duration::from_secs(5);

/// Which peer of which host.
#[derive(clap::Args)]
struct Through {
    /// The peer, where the host has several; else its first
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    #[command(flatten)]
    control: Control,
}

impl Through {
    fn order(&self, order: Order) -> Result<Value, Failure> {
        self.control.ask(&Request::Multicast { peer: self.peer.clone(), order })
    }
}

#[derive(clap::Args)]
pub(super) struct Multicast {
    /// Who shall receive: addresses (with ports where hosts share one) or beginnings of identities, as
    /// `pool` lists them
    #[arg(long, value_name = "A,B,...", value_delimiter = ',', required = true)]
    members: Vec<String>,
    /// How important it is, from 1, the most, to 3
    #[arg(long, value_name = "1..3", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    priority: u8,
    /// What is sent; else standard input, as it comes
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Octets of each payload
    #[arg(long, value_name = "OCTETS", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=PAYLOAD_MAX as i64))]
    size: u16,
    /// How fast a file is sent, kilobits a second
    #[arg(long, value_name = "KBPS", default_value_t = 8000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    through: Through,
}

#[derive(clap::Args)]
pub(super) struct Receive {
    /// Which session; else the first that comes
    #[arg(long, value_name = "NUMBER")]
    session: Option<String>,
    /// Where it goes; else standard output
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print one JSON object at the end, on standard error if data goes to standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    through: Through,
}

#[derive(clap::Args)]
pub(super) struct Pool {
    /// Only hosts so near, milliseconds there and back
    #[arg(long, value_name = "MS")]
    within_ms: Option<f64>,
    /// Only hosts with so many free links
    #[arg(long, value_name = "N", default_value_t = 0)]
    degrees: u16,
    /// At most so many, the nearest first
    #[arg(long, value_name = "N", default_value_t = 100)]
    count: usize,
    /// Print one JSON object
    #[arg(long, conflicts_with = "drawn")]
    json: bool,
    #[command(flatten)]
    drawn: Drawn,
    #[command(flatten)]
    through: Through,
}

/// All hosts as the tree that gathers what they report.
#[derive(clap::Args)]
#[group(id = "drawn", multiple = false, conflicts_with_all = ["within_ms", "degrees", "count"])]
struct Drawn {
    /// Draw the tree that gathers the pool: each host below the one that it reports to
    #[arg(long)]
    tree: bool,
    /// The same as a Graphviz graph
    #[arg(long)]
    dot: bool,
    /// The same as a picture
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
}

pub(super) fn pool(pool: &Pool) -> Result<(), Failure> {
    let Drawn { tree, dot, svg } = &pool.drawn;
    let is_drawn = *tree || *dot || svg.is_some();
    let (within_ms, degrees) = (pool.within_ms, pool.degrees);
    let count = if is_drawn { HOSTS_MAX } else { pool.count };
    let question = PoolQuestion { within_ms, degrees, count };
    let found = pool.through.order(Order::Pool(question))?;
    if is_drawn {
        return draw(&pool.drawn, &found);
    }
    if pool.json {
        return output::line(&found.to_string());
    }
    let hosts = found["hosts"].as_array().map_or(&[][..], Vec::as_slice);
    let keys = ["free-degrees", "cores", "idle", "memory", "disk", "up-kbps", "down-kbps"];
    let row = |host: &Value| {
        let distance = host["distance-ms"].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.1}"));
        let mut row = vec![phrase(&host["addresses"]), phrase(&host["id"]), distance];
        row.extend(keys.iter().map(|key| phrase(&host[*key])));
        row
    };
    let head = [
        "address",
        "id",
        "ms",
        "free links",
        "cores",
        "idle %",
        "memory MiB",
        "disk MiB",
        "up kbit/s",
        "down kbit/s",
    ];
    let rows: Vec<Vec<String>> = hosts.iter().map(row).collect();
    let of = format!("{} of {} hosts", hosts.len(), phrase(&found["pool"]));
    let missing = if found["complete"] == true { "" } else { "; some have not answered" };
    output::line(&format!("{}\n{of}{missing}", output::table(&head, &rows)))
}

fn draw(drawn: &Drawn, found: &Value) -> Result<(), Failure> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let host = |host: &Value| {
        let id = text(&host["id"]);
        let (free, all) = (phrase(&host["free-degrees"]), phrase(&host["degrees"]));
        let address = phrase(&host["addresses"][0]);
        let label = format!("{address} {}  {free}/{all} free", id.get(..8).unwrap_or(&id));
        Host { id, label, parent: host["parent"].as_str().map(str::to_owned), helps: false }
    };
    let hosts: Vec<Host> = found["hosts"].as_array().into_iter().flatten().map(host).collect();
    if found["complete"] != true {
        output::note("some have not answered, so others may seem to report elsewhere");
    }
    let picture = Picture { title: format!("pool of {} hosts", hosts.len()), hosts };
    match &drawn.svg {
        Some(file) => std::fs::write(file, picture.svg())
            .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", file.display()))),
        None if drawn.dot => output::line(&picture.dot()),
        None => output::line(&picture.text()),
    }
}

pub(super) fn multicast(multicast: &Multicast) -> Result<(), Failure> {
    let through = &multicast.through;
    let mut source = Source::open(multicast.file.as_deref())?;
    let (members, priority) = (multicast.members.clone(), multicast.priority);
    let begun = through.order(Order::Begin { members, priority })?;
    let session = begun["session"].as_str().unwrap_or_default().to_owned();
    let (count, helpers) = (phrase(&begun["members"]), phrase(&begun["helpers"]));
    output::note(&format!("session {session}: {count} members, {helpers} helpers"));
    let sent = send_all(multicast, &session, &mut source);
    // Whatever came of it, the session ends.
    let ended = through.order(Order::End { session: session.clone() });
    let (payloads, octets) = sent?;
    ended?;
    let done = json!({
        "session": session,
        "members": begun["members"],
        "helpers": begun["helpers"],
        "payloads": payloads,
        "octets": octets,
    });
    match multicast.json {
        true => output::line(&done.to_string()),
        false => output::line(&format!("{payloads} payloads, {octets} octets")),
    }
}

/// Sends everything; how many payloads and octets that were.
fn send_all(
    multicast: &Multicast,
    session: &str,
    source: &mut Source,
) -> Result<(u64, u64), Failure> {
    let (begin, mut octets, mut payloads) = (Instant::now(), 0u64, 0u64);
    let size = usize::from(multicast.size);
    // As much as leaves in one turn, so that nobody gets much at once and then nothing.
    let in_turn = f64::from(multicast.rate) * 125.0 * TURN.as_secs_f64() / size as f64;
    let at_once = match multicast.file {
        Some(_) => (in_turn as usize).clamp(1, PAYLOADS_AT_ONCE),
        None => PAYLOADS_AT_ONCE,
    };
    loop {
        let some = source.next(size, at_once)?;
        let order = Order::Send {
            session: session.to_owned(),
            payloads: some.payloads.iter().map(|payload| BASE64_STANDARD.encode(payload)).collect(),
        };
        multicast.through.order(order)?;
        payloads += some.payloads.len() as u64;
        octets += some.payloads.iter().map(|payload| payload.len() as u64).sum::<u64>();
        if some.is_last {
            return Ok((payloads, octets));
        }
        // A file is there at once; what comes by itself has a rate of its own.
        if multicast.file.is_some() {
            let due =
                begin + Duration::from_secs_f64(octets as f64 * 8e-3 / f64::from(multicast.rate));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// Some payloads.
struct Batch {
    payloads: Vec<Vec<u8>>,
    is_last: bool,
}

/// Where data comes from.
enum Source {
    File(File),
    /// A thread reads what comes, so that a session whose source is silent for long stays.
    Stream(crossbeam_channel::Receiver<Vec<u8>>),
}

impl Source {
    fn open(file: Option<&Path>) -> Result<Source, Failure> {
        let Some(path) = file else { return Ok(Source::stream()) };
        File::open(path)
            .map(Source::File)
            .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
    }

    fn stream() -> Source {
        let (sender, receiver) = crossbeam_channel::bounded(PAYLOADS_AT_ONCE);
        std::thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            let mut some = vec![0; PAYLOAD_MAX];
            while let Ok(count @ 1..) = input.read(&mut some) {
                if sender.send(some[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Source::Stream(receiver)
    }

    fn next(&mut self, size: usize, count: usize) -> Result<Batch, Failure> {
        let mut payloads = Vec::new();
        match self {
            Source::File(file) => {
                let mut octets = Vec::new();
                let read = Read::by_ref(file).take((size * count) as u64).read_to_end(&mut octets);
                read.map_err(|error| Failure::Work(format!("cannot read on: {error}")))?;
                payloads.extend(octets.chunks(size).map(<[u8]>::to_vec));
                let is_last = octets.len() < size * count;
                Ok(Batch { payloads, is_last })
            }
            Source::Stream(receiver) => {
                // Nothing for a while is an order without payloads, which keeps the session.
                let mut until = Instant::now() + QUIET;
                while payloads.len() < count {
                    match receiver.recv_deadline(until) {
                        Ok(octets) => payloads.extend(octets.chunks(size).map(<[u8]>::to_vec)),
                        Err(error) => {
                            let is_last = error.is_disconnected();
                            return Ok(Batch { payloads, is_last });
                        }
                    }
                    until = until.min(Instant::now() + TURN);
                }
                Ok(Batch { payloads, is_last: false })
            }
        }
    }
}

pub(super) fn receive(receive: &Receive) -> Result<(), Failure> {
    let mut target: Box<dyn Write> = match &receive.file {
        None => Box::new(std::io::stdout().lock()),
        Some(path) => Box::new(File::create(path).map_err(|error| {
            Failure::Usage(format!("cannot write {}: {error}", path.display()))
        })?),
    };
    let (mut session, mut from, mut payloads, mut octets) =
        (receive.session.clone(), 0, 0u64, 0u64);
    loop {
        let come = receive.through.order(Order::Receive { session: session.clone(), from })?;
        let Some(number) = come["session"].as_str() else { continue };
        session = Some(number.to_owned());
        for payload in come["payloads"].as_array().into_iter().flatten() {
            let (sequence, text) = (payload[0].as_u64(), payload[1].as_str().unwrap_or_default());
            let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
            (payloads, octets) = (payloads + 1, octets + bytes.len() as u64);
            from = sequence.map_or(from, |sequence| sequence + 1);
            let written = target.write_all(&bytes);
            written.map_err(|error| Failure::Work(format!("cannot write: {error}")))?;
        }
        let written = target.flush();
        written.map_err(|error| Failure::Work(format!("cannot write: {error}")))?;
        if come["ended"] == true {
            return finish(receive, &come, (payloads, octets));
        }
    }
}

/// Says what has come; what is missing is a failure.
fn finish(receive: &Receive, come: &Value, (payloads, octets): (u64, u64)) -> Result<(), Failure> {
    let mut done = json!({ "payloads": payloads, "octets": octets });
    for key in ["session", "root", "missed", "unread", "whole", "switches", "longest-gap-ms"] {
        done[key] = come[key].clone();
    }
    if receive.json && receive.file.is_some() {
        output::line(&done.to_string())?;
    } else if receive.json {
        output::note(&done.to_string());
    }
    match come["whole"] == true {
        true => Ok(()),
        false => Err(Failure::Work(format!(
            "session {} is not whole: {} payloads were missed, {} went before they were read{}",
            phrase(&come["session"]),
            phrase(&come["missed"]),
            phrase(&come["unread"]),
            if come["missed"] == 0 && come["unread"] == 0 { ", and its root is gone" } else { "" }
        ))),
    }
}

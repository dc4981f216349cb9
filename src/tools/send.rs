//! `xcast send`: a UDP datagram to many destinations in one packet.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::experiment::Experiment;
use super::relay::{self, RelayArguments, families};
use super::{Failure, output};
use crate::forward::{Counters, DropReason};
use crate::host::{
    Destination, HostError, Message, Options, RelayEvent, RelayView, TroubleKind, XcastSocket,
};

#[derive(clap::Args)]
pub(super) struct Send {
    /// Destinations: ADDR[:PORT][/DSCP],... (IPv6 with a port: [ADDR]:PORT)
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    to: Vec<String>,
    /// UDP port of the destinations that name none
    #[arg(long)]
    port: Option<u16>,
    /// UDP source port; 0 lets the kernel choose
    #[arg(long, default_value_t = 0)]
    source_port: u16,
    /// Send by this interface only
    #[arg(long, value_name = "IF", conflicts_with = "relay")]
    interface: Option<String>,
    /// Payload: this text
    #[arg(long, group = "payload")]
    text: Option<String>,
    /// Payload: this file
    #[arg(long, group = "payload")]
    file: Option<PathBuf>,
    /// Payload: standard input
    #[arg(long, group = "payload")]
    stdin: bool,
    /// Octets of payload: cut, or filled up
    #[arg(long, value_name = "BYTES")]
    size: Option<u16>,
    /// Write each packet's number over the first eight octets of its payload, from 00000001 on
    #[arg(long)]
    number: bool,
    /// How many packets
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Time between packets
    #[arg(long, default_value = "10ms", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Channel identifier, decimal or 0x hexadecimal; 0 = none
    #[arg(long, default_value = "0", value_parser = channel)]
    channel: u128,
    /// Hide from receivers and later routers the destinations they do not serve
    #[arg(long)]
    anonymous: bool,
    /// Never become unicast: receivers must take Xcast packets themselves
    #[arg(long)]
    keep_xcast: bool,
    /// Send lists to the first of their destinations, who sends on to the next: all take part
    #[arg(long, conflicts_with_all = ["relay", "service"])]
    hosts_only: bool,
    /// Send lists to the routers that serve this unicast (anycast) address
    #[arg(long, value_name = "ADDR", conflicts_with = "relay")]
    service: Option<IpAddr>,
    /// DSCP of the packets, and of the destinations that name none
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..64))]
    dscp: u8,
    /// Time to live
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    relay: RelayArguments,
    #[command(flatten)]
    experiment: Experiment,
}

pub(super) fn run(send: &Send) -> Result<(), Failure> {
    let destinations = destinations(&send.to, send.port)?;
    let mut payload = send.payload()?;
    let code_points = send.experiment.code_points()?;
    let (interface, source_port) = (send.interface.clone(), send.source_port);
    let families = families(destinations.iter().map(|destination| destination.address));
    let relay = send.relay.relay(&send.experiment, families)?;
    let (service, among_hosts) = (send.service, send.hosts_only);
    let options =
        Options { interface, source_port, service, among_hosts, relay, ..Options::default() };
    let mut socket = XcastSocket::open(code_points, &options).map_err(failure)?;
    let mut unsent = Unsent::new();
    let mut packets = 0;
    let mut switches = Vec::new();
    let patience = send.relay.settle_time(Options::default().patience);
    socket.settle(&destinations, patience).map_err(failure)?;
    let start = Instant::now();
    for number in 0..send.count {
        wait_until(start, send.interval, number);
        if send.number {
            write_number(&mut payload, number + 1);
        }
        let message = Message {
            destinations: &destinations,
            source: None,
            channel: send.channel,
            anonymous: send.anonymous,
            keep_xcast: send.keep_xcast,
            dscp: send.dscp,
            ttl: send.ttl,
            payload: &payload,
        };
        let sent = socket.send(&message).map_err(failure)?;
        packets += sent.packets;
        for miss in sent.unsent {
            let destination = destinations[miss.index].address;
            *unsent.entry((destination, miss.reason)).or_default() += 1;
        }
        note_switches(send, &mut socket, &mut switches);
    }
    socket.flush().map_err(Failure::work)?;
    for trouble in socket.take_troubles() {
        if let TroubleKind::Unsent(reason) = trouble.kind {
            *unsent.entry((trouble.destination.ip(), reason)).or_default() += 1;
        }
    }
    let by = send.relay.is_given().then(|| By { relay: socket.relay(), switches });
    report(send, (packets, destinations.len()), socket.counters(), &unsent, by.as_ref())
}

/// The relay that was used last, and those before it.
struct By {
    relay: Option<RelayView>,
    switches: Vec<RelayEvent>,
}

/// Says when another relay is used, and keeps that for the end.
fn note_switches(send: &Send, socket: &mut XcastSocket, switches: &mut Vec<RelayEvent>) {
    let events = socket.take_relay_events();
    if !send.json {
        relay::tell(&events, None);
    }
    let is_switch = |event: &RelayEvent| matches!(event, RelayEvent::Switched { .. });
    let room = SWITCHES_MAX.saturating_sub(switches.len());
    switches.extend(events.into_iter().filter(is_switch).take(room));
}

/// Switches of relays that are told at the end.
const SWITCHES_MAX: usize = 1000;

/// How often a destination was missed, and why.
type Unsent = BTreeMap<(IpAddr, DropReason), u64>;

fn failure(error: HostError) -> Failure {
    match error {
        HostError::NoInterface(_) | HostError::Message(_) => Failure::usage(error),
        _ => Failure::work(error),
    }
}

/// Writes a number over the beginning of a payload, in eight digits, as far as there is room.
fn write_number(payload: &mut [u8], number: u64) {
    let digits = format!("{:08}", number % 100_000_000);
    payload.iter_mut().zip(digits.bytes()).for_each(|(octet, digit)| *octet = digit);
}

/// Packet `number` is due `number` intervals after the start, however long sending took.
fn wait_until(start: Instant, interval: Duration, number: u64) {
    let due = interval.as_secs_f64() * number as f64;
    let wait = Duration::try_from_secs_f64(due - start.elapsed().as_secs_f64());
    match wait {
        Ok(wait) => std::thread::sleep(wait),
        Err(_) if due > start.elapsed().as_secs_f64() => std::thread::sleep(Duration::MAX),
        Err(_) => {} // it is due
    }
}

fn report(
    send: &Send,
    (packets, destinations): (usize, usize),
    counters: &Counters,
    unsent: &Unsent,
    by: Option<&By>,
) -> Result<(), Failure> {
    let served = counters.destinations_forwarded + counters.destinations_delivered;
    let dropped: u64 = unsent.values().sum();
    if send.json {
        let each = unsent.iter().map(|((destination, reason), count)| {
            serde_json::json!({
                "destination": destination.to_string(),
                "reason": reason.name(),
                "count": count,
            })
        });
        let mut json = serde_json::json!({
            "messages": send.count,
            "packets": packets,
            "destinations": destinations,
            "copies": counters.replicas_sent,
            "served": served,
            "dropped": dropped,
            "unsent": each.collect::<Vec<_>>(),
        });
        if let Some(by) = by {
            json["relay"] = by.relay.as_ref().map(relay::fields).into();
            json["switches"] = by.switches.iter().map(|event| relay::object(event, None)).collect();
        }
        output::line(&json.to_string())?;
    } else {
        let copies = counters.replicas_sent;
        output::line(&format!(
            "{packets} packet(s) to {destinations} destination(s) each: {copies} copies left \
             this host, for {served} destinations"
        ))?;
        if let Some(by) = by {
            output::line(&relay::summary(by.relay.as_ref(), &by.switches))?;
        }
    }
    let reasons = unsent.iter().map(|((destination, reason), count)| {
        format!("{destination} ({count} by {})", reason.name())
    });
    match unsent.is_empty() {
        true => Ok(()),
        false => {
            Err(Failure::Work(format!("not sent: {}", reasons.collect::<Vec<_>>().join(", "))))
        }
    }
}

impl Send {
    fn payload(&self) -> Result<Vec<u8>, Failure> {
        let mut payload = Vec::new();
        if let Some(text) = &self.text {
            payload.extend(text.bytes());
        } else if let Some(path) = &self.file {
            payload = std::fs::read(path)
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        } else if self.stdin {
            std::io::stdin().read_to_end(&mut payload).map_err(Failure::work)?;
        }
        if let Some(size) = self.size {
            let filler = (payload.len()..usize::from(size)).map(|at| at as u8);
            let filler: Vec<u8> = filler.collect();
            payload.extend(filler);
            payload.truncate(usize::from(size));
        }
        Ok(payload)
    }
}

fn destinations(texts: &[String], port: Option<u16>) -> Result<Vec<Destination>, Failure> {
    texts.iter().map(|text| destination(text, port).map_err(Failure::Usage)).collect()
}

/// Reads `ADDR[:PORT][/DSCP]`; an IPv6 address with a port stands in brackets.
pub(super) fn destination(text: &str, port: Option<u16>) -> Result<Destination, String> {
    let (place, dscp) = match text.split_once('/') {
        None => (text, None),
        Some((place, dscp)) => match dscp.parse() {
            Ok(dscp @ 0..64) => (place, Some(dscp)),
            _ => return Err(format!("`{text}`: `{dscp}` is not a DSCP, 0 to 63")),
        },
    };
    let bracketed = place.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (address, own) = match bracketed {
        Some((address, "")) => (address, None),
        Some((address, rest)) => match rest.strip_prefix(':') {
            Some(own) => (address, Some(own)),
            None => return Err(format!("`{text}`: `{rest}` behind the bracket is not a port")),
        },
        None if place.parse::<Ipv6Addr>().is_ok() => (place, None),
        None => match place.split_once(':') {
            None => (place, None),
            Some((address, own)) => (address, Some(own)),
        },
    };
    let port = match own {
        Some(own) => own.parse().map_err(|_| format!("`{text}`: `{own}` is not a UDP port"))?,
        None => port.ok_or(format!("`{text}` names no port, and there is no --port"))?,
    };
    let address: IpAddr =
        address.parse().map_err(|_| format!("`{text}`: `{address}` is not an IP address"))?;
    match port {
        0 => Err(format!("`{text}`: 0 is not a port to send to")),
        port => Ok(Destination { address, port, dscp }),
    }
}

/// Reads a channel identifier, decimal or 0x hexadecimal.
pub(super) fn channel(text: &str) -> Result<u128, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "not a number of 128 bits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_destinations() {
        let read = |text| destination(text, Some(9)).map(|d| (d.address.to_string(), d.port));
        assert_eq!(read("10.0.0.1"), Ok(("10.0.0.1".to_owned(), 9)));
        assert_eq!(read("10.0.0.1:7"), Ok(("10.0.0.1".to_owned(), 7)));
        assert_eq!(destination("10.0.0.1:7/46", None).unwrap().dscp, Some(46));
        assert_eq!(destination("10.0.0.1/0", Some(9)).unwrap().dscp, Some(0));
        for wrong in ["", "10.0.0", "10.0.0.1:", "10.0.0.1:70000", "10.0.0.1:0", "10.0.0.1/64"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read("2001:db8::1"), Ok(("2001:db8::1".to_owned(), 9)));
        assert_eq!(read("[2001:db8::1]"), Ok(("2001:db8::1".to_owned(), 9)));
        assert_eq!(read("[2001:db8::1]:7/46"), Ok(("2001:db8::1".to_owned(), 7)));
        for wrong in ["[::1", "[::1]9", "[::1]:", "[10.0.0.1:7", "::1:", "[]:9"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(destination("10.0.0.1", None).is_err());
    }

    #[test]
    fn reads_channels() {
        assert_eq!((channel("17"), channel("0xff")), (Ok(17), Ok(255)));
        assert_eq!(channel("0x1ffffffff"), Ok(0x1_ffff_ffff));
        assert!(channel(&format!("0x1{:032x}", 0)).is_err() && channel("x").is_err());
    }
}

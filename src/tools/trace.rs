//! `xcast trace`: the tree of copies that one packet becomes.
//!
//! Rounds of packets with TTL 1, 2, 3, ... Where the TTL ends, Xcast routers report what they would
//! do with each destination (`wire::trace`); a unicast copy is answered by ICMP, by any router. From
//! all that is known in the end (`tracer`), the tree is drawn (`tree`).

mod dot;
mod json;
mod layout;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod tracer;
mod tree;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use super::ping::aim::{self, Aim};
use super::respond::trace_answer;
use super::{Failure, output};
use crate::host::{
    Answer, Destination, HostError, Message, Received, Trouble, TroubleKind, XcastSocket,
    preferred_source,
};
use crate::io::datagram::ReportKind;
use crate::wire::trace::{self, Report};
use tracer::{Sighting, Tracer};
use tree::Tree;

/// Draw the tree of copies that a packet to many destinations becomes
///
/// It shows which routers branch, where copies are Xcast packets and where unicast, and where
/// destinations are dropped and why. Xcast routers report that themselves; a router that only sees
/// unicast copies is shown by its address, as is one that knows nothing of Xcast, and one that says
/// nothing by a question mark.
#[derive(clap::Args)]
pub(super) struct Trace {
    #[command(flatten)]
    aim: Aim,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print one JSON object; the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// The largest time to live that is tried
    #[arg(long, alias = "ttl", default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..))]
    max_hops: u8,
    /// How often each time to live is tried where nobody answers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    tries: u8,
    /// Octets of UDP payload, at least 16
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    size: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Dot,
    Svg,
    Json,
}

/// Destinations of a packet. Seventy IPv6 addresses fit the smallest MTU of IPv6.
const LIST_MAX_V4: usize = 127;
const LIST_MAX_V6: usize = 70;

pub(super) fn run(trace: &Trace) -> Result<(), Failure> {
    let addresses = trace.aim.addresses();
    let mut socket = trace.aim.open()?;
    let mut most = LIST_MAX_V4;
    let tracer = loop {
        let mut session = Session::new(trace, &mut socket, &addresses, most);
        match session.rounds()? {
            Lists::Whole => break session.tracer,
            // What routers report is of the lists as they were sent, which only the socket knows.
            Lists::Split => most = (most / 2).max(1),
        }
    };
    let tree = Tree::new(&sources(&addresses), tracer.ways());
    output::line(&match if trace.json { Format::Json } else { trace.format } {
        Format::Text => text::draw(&tree),
        Format::Dot => dot::draw(&tree),
        Format::Svg => svg::draw(&tree),
        Format::Json => json::draw(&tree).to_string(),
    })?;
    let lost = tracer.ways().iter().filter(|way| !way.is_reached());
    let lost: Vec<String> = lost.map(|way| way.destination.to_string()).collect();
    match lost.is_empty() {
        true => Ok(()),
        false => Err(Failure::Work(format!("not reached: {}", lost.join(", ")))),
    }
}

/// The addresses that packets to these destinations come from.
fn sources(destinations: &[IpAddr]) -> Vec<IpAddr> {
    let of_version = |is_v6| {
        let mut each = destinations.iter().filter(move |address| address.is_ipv6() == is_v6);
        each.find_map(|address| preferred_source(*address))
    };
    [false, true].into_iter().filter_map(of_version).collect()
}

/// Whether each packet left with the list that it was given.
#[derive(Debug, PartialEq, Eq)]
enum Lists {
    Whole,
    Split,
}

struct Session<'a> {
    trace: &'a Trace,
    socket: &'a mut XcastSocket,
    /// The lists of the packets, as indices of destinations.
    lists: Vec<Vec<usize>>,
    destinations: Vec<Destination>,
    tracer: Tracer,
}

impl<'a> Session<'a> {
    /// Lists have `most` destinations.
    fn new(
        trace: &'a Trace,
        socket: &'a mut XcastSocket,
        addresses: &[IpAddr],
        most: usize,
    ) -> Session<'a> {
        let (v4, v6): (Vec<usize>, Vec<usize>) =
            (0..addresses.len()).partition(|at| addresses[*at].is_ipv4());
        let lists = v4.chunks(most).chain(v6.chunks(most.min(LIST_MAX_V6)));
        Session {
            trace,
            socket,
            lists: lists.map(<[usize]>::to_vec).collect(),
            destinations: addresses.iter().map(|a| trace.aim.destination(*a)).collect(),
            tracer: Tracer::new(addresses),
        }
    }

    fn rounds(&mut self) -> Result<Lists, Failure> {
        for ttl in 1..=self.trace.max_hops {
            let mut targets = self.tracer.open(ttl);
            for _ in 0..self.trace.tries {
                if targets.is_empty() {
                    break;
                }
                if self.send(ttl, &targets)? == Lists::Split {
                    return Ok(Lists::Split);
                }
                self.listen(ttl)?;
                targets = self.tracer.unheard(ttl);
            }
        }
        Ok(Lists::Whole)
    }

    fn send(&mut self, ttl: u8, targets: &BTreeSet<usize>) -> Result<Lists, Failure> {
        for list in &self.lists {
            let list: Vec<usize> = list.iter().copied().filter(|at| targets.contains(at)).collect();
            if list.is_empty() {
                continue;
            }
            let nonce = aim::random();
            let mut payload = trace::request(nonce).to_vec();
            payload.resize(payload.len().max(self.trace.size.into()), 0);
            self.tracer.sent(nonce, ttl, &list);
            let to: Vec<Destination> = list.iter().map(|at| self.destinations[*at]).collect();
            let message =
                Message { destinations: &to, ttl, payload: &payload, ..Message::default() };
            match self.socket.send(&message) {
                Ok(sent) if sent.packets > 1 => return Ok(Lists::Split),
                Ok(sent) => {
                    for unsent in sent.unsent {
                        let address = to[unsent.index].address;
                        self.tracer.unsent(address, unsent.reason.name());
                    }
                }
                Err(HostError::NoSource) => {
                    to.iter().for_each(|to| self.tracer.unsent(to.address, "no-route"));
                }
                Err(error) => return Err(Failure::host(error)),
            }
        }
        Ok(Lists::Whole)
    }

    /// Takes answers until something is known of everybody who may still answer at this TTL.
    fn listen(&mut self, ttl: u8) -> Result<(), Failure> {
        let deadline = Instant::now().checked_add(self.trace.aim.timeout);
        while !self.tracer.unheard(ttl).is_empty() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.socket.receive_answer(left).map_err(Failure::host)? {
                Some(answer) => take(&mut self.tracer, answer),
                None => break,
            }
            // Whoever floods this port does not make time stand still.
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
        }
        for answer in aim::waiting(self.socket)? {
            take(&mut self.tracer, answer);
        }
        Ok(())
    }
}

fn take(tracer: &mut Tracer, answer: Answer) {
    match answer {
        Answer::Datagram(Received { source, payload, .. }) => {
            if let Some(report) = Report::parse(&payload) {
                tracer.report(report);
            } else if let Some(nonce) = trace::nonce(&payload)
                && payload == trace_answer(nonce)
            {
                tracer.see(source.ip(), Some(nonce), Sighting::Destination);
            }
        }
        Answer::Trouble(trouble) => take_trouble(tracer, &trouble),
    }
}

fn take_trouble(tracer: &mut Tracer, trouble: &Trouble) {
    let Trouble { destination, from, kind, payload, listed } = trouble;
    let to = destination.ip();
    let sighting = match kind {
        TroubleKind::Unsent(reason) => return tracer.unsent(to, reason.name()),
        TroubleKind::Reported(ReportKind::TimeExceeded) => match from {
            Some(from) => Sighting::Hop { address: *from, xcast: *listed > 0 },
            None => return,
        },
        // Which of several destinations it is about, a report will tell.
        _ if *listed > 1 => return,
        TroubleKind::Reported(ReportKind::PortUnreachable)
            if from.is_none_or(|from| from == to) =>
        {
            Sighting::Destination
        }
        TroubleKind::Reported(kind) => {
            Sighting::Refused { by: *from, reason: aim::words(*kind, to.is_ipv6()) }
        }
    };
    tracer.see(to, trace::nonce(payload), sighting);
}

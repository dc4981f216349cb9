//! `xcast ping`: one packet a round to many destinations, and who has answered.

pub(super) mod aim;
pub(super) mod payload;
mod tally;

use std::io::IsTerminal;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::relay::{self, RelayArguments};
use super::{Failure, output};
use crate::host::{Answer, Destination, HostError, Message, Trouble, TroubleKind, XcastSocket};
use crate::io::datagram::ReportKind;
use aim::Aim;
use payload::{Kind, LEN};
use tally::{By, Tally};

/// Ping many destinations at once, and say who answers
///
/// `xcast respond` answers by UDP, any other host by the ICMP error "port unreachable". Linux hosts
/// send such an error to one and the same host once a second, after a burst of six, so more rounds
/// than that at an --interval below 1s look like loss; use `xcast respond` there.
#[derive(clap::Args)]
pub(super) struct Ping {
    #[command(flatten)]
    aim: Aim,
    /// How many rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Time between rounds; bare Linux hosts do not keep up with less than 1s
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Octets of UDP payload, at least 32
    #[arg(long, value_name = "BYTES", default_value_t = 56)]
    size: u16,
    /// Time to live
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    relay: RelayArguments,
}

/// Interrupts are looked for so often.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// So many answers at once overwhelm nobody.
const AT_ONCE_MAX: usize = 16;
/// The longest that a responder is asked to wait.
const SPREAD_MAX: Duration = Duration::from_secs(10);

pub(super) fn run(ping: &Ping) -> Result<(), Failure> {
    let addresses = ping.aim.addresses();
    let mut session = Session {
        destinations: addresses.iter().map(|address| ping.aim.destination(*address)).collect(),
        number: aim::random(),
        start: Instant::now(),
        sent_last: Duration::ZERO,
        tally: Tally::new(&addresses),
        spread: spread(addresses.len(), ping.interval),
        interrupted: interrupts()?,
        socket: ping.aim.open_by(Some(&ping.relay))?,
    };
    session.rounds(ping)?;
    session.explain()?;
    let tally = session.tally;
    output::line(&if ping.json { tally.json().to_string() } else { tally.table() })?;
    let silent: Vec<String> = tally.silent().map(|address| address.to_string()).collect();
    match silent.is_empty() {
        true => Ok(()),
        false => Err(Failure::Work(format!("no answer from {}", silent.join(", ")))),
    }
}

/// How long responders may wait before they answer: about one answer a millisecond, as far as the
/// next round allows.
fn spread(destinations: usize, interval: Duration) -> Duration {
    match destinations <= AT_ONCE_MAX {
        true => Duration::ZERO,
        false => Duration::from_millis(destinations as u64).min(interval / 2).min(SPREAD_MAX),
    }
}

/// A flag that is raised by ^C, after which the results so far are shown.
fn interrupts() -> Result<Arc<AtomicBool>, Failure> {
    let raised = Arc::new(AtomicBool::new(false));
    let registered = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&raised));
    registered.map_err(Failure::work)?;
    Ok(raised)
}

struct Session {
    socket: XcastSocket,
    destinations: Vec<Destination>,
    number: u64,
    start: Instant,
    /// When the last round was sent, since the start.
    sent_last: Duration,
    tally: Tally,
    spread: Duration,
    interrupted: Arc<AtomicBool>,
}

impl Session {
    fn rounds(&mut self, ping: &Ping) -> Result<(), Failure> {
        let is_watched = std::io::stderr().is_terminal();
        let mut due = Instant::now();
        for round in 0..ping.count {
            self.send(ping)?;
            relay::tell(&self.socket.take_relay_events(), None);
            let is_last = round + 1 == ping.count;
            let patience =
                if is_last { ping.aim.timeout.saturating_add(self.spread) } else { ping.interval };
            // Beyond the clock's end is never, and that is not soon.
            let next = if is_last { Instant::now() } else { due }.checked_add(patience);
            self.listen(next, is_last)?;
            due = next.unwrap_or(due);
            if is_watched {
                let (answered, all) = (self.tally.answered_last(), self.destinations.len());
                output::note(&format!("round {}: {answered} of {all} have answered", round + 1));
            }
            if self.interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }

    fn send(&mut self, ping: &Ping) -> Result<(), Failure> {
        self.sent_last = self.start.elapsed();
        let payload = payload::Ping {
            kind: Kind::Request,
            spread_ms: self.spread.as_millis() as u16,
            session: self.number,
            round: self.tally.begin(),
            sent_us: self.sent_last.as_micros() as u64,
        };
        let payload = payload.emit(usize::from(ping.size).max(LEN));
        let message = Message {
            destinations: &self.destinations,
            ttl: ping.ttl,
            payload: &payload,
            ..Message::default()
        };
        match self.socket.send(&message) {
            Ok(sent) => {
                for unsent in sent.unsent {
                    let address = self.destinations[unsent.index].address;
                    self.tally.unsent(address, unsent.reason.name());
                }
            }
            Err(HostError::NoSource) => {
                for destination in &self.destinations {
                    self.tally.unsent(destination.address, "no-route");
                }
            }
            Err(error) => return Err(Failure::host(error)),
        }
        Ok(())
    }

    /// Takes answers until the deadline; `or_all`: until there is none to come.
    fn listen(&mut self, deadline: Option<Instant>, or_all: bool) -> Result<(), Failure> {
        loop {
            let is_interrupted = self.interrupted.load(Ordering::Relaxed);
            if is_interrupted || or_all && self.tally.is_complete() {
                return Ok(());
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let wait = left.map_or(LOOK_INTERVAL, |left| left.min(LOOK_INTERVAL));
            match self.socket.receive_answer(Some(wait)).map_err(Failure::host)? {
                Some(answer) => self.take(answer),
                None if left.is_some_and(|left| left <= LOOK_INTERVAL) => return Ok(()),
                None => {}
            }
            // Whoever floods this port does not make time stand still.
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
        }
    }

    /// A host that does not answer on its link is given up after 3.5 seconds, and only then is it
    /// known why it is silent.
    fn explain(&mut self) -> Result<(), Failure> {
        if self.tally.is_unexplained() && !self.interrupted.load(Ordering::Relaxed) {
            self.socket.flush().map_err(Failure::host)?;
            for answer in aim::waiting(&mut self.socket)? {
                self.take(answer);
            }
        }
        Ok(())
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Datagram(received) => {
                if let Some(ping) = payload::Ping::parse(&received.payload)
                    && let Kind::Answer(held) = ping.kind
                {
                    let held = Duration::from_micros(held.into());
                    self.answer(received.source.ip(), Some(&ping), held, By::Udp);
                }
            }
            Answer::Trouble(trouble) => self.trouble(&trouble),
        }
    }

    fn trouble(&mut self, trouble: &Trouble) {
        let Trouble { destination, from, kind, payload, listed } = trouble;
        let address = destination.ip();
        match kind {
            TroubleKind::Unsent(reason) => self.tally.unsent(address, reason.name()),
            // Of a firewall on the way it is no answer.
            TroubleKind::Reported(ReportKind::PortUnreachable)
                if from.is_none_or(|from| from == address) =>
            {
                let ping = payload::Ping::parse(payload);
                self.answer(address, ping.as_ref(), Duration::ZERO, By::Icmp);
            }
            TroubleKind::Reported(kind) => {
                let what = aim::words(*kind, address.is_ipv6());
                let place = from.map(|from| format!(" at {from}")).unwrap_or_default();
                match listed {
                    0 | 1 => self.tally.note(address, what + &place),
                    _ => self.tally.suspect(address, what + &place),
                }
            }
        }
    }

    /// An ICMP error that quotes no payload is taken for one about the last round.
    fn answer(&mut self, from: IpAddr, ping: Option<&payload::Ping>, held: Duration, by: By) {
        let now = self.start.elapsed();
        let (round, sent) = match ping {
            Some(ping) if ping.session != self.number => return,
            Some(ping) => (Some(ping.round), Duration::from_micros(ping.sent_us)),
            None => (self.tally.last_round(), self.sent_last),
        };
        if let Some(round) = round {
            let rtt = now.saturating_sub(sent).saturating_sub(held);
            self.tally.answer(from, round, rtt, by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_asked_to_spread_their_answers() {
        let second = Duration::from_secs(1);
        assert_eq!(spread(16, second), Duration::ZERO);
        assert_eq!(spread(127, second), Duration::from_millis(127));
        assert_eq!(spread(1000, second), Duration::from_millis(500));
        assert_eq!(spread(100_000, second * 1000), SPREAD_MAX);
    }
}

//! `xcast respond`: answers pings and traces, from this host as a destination.
//!
//! It cannot be used to flood others: an answer has no more octets than what it answers, there are
//! only so many a second, and they go to unicast addresses alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::ping::aim;
use super::ping::payload::{Kind, LEN, Ping};
use super::{Failure, output};
use crate::host::{Inbox, Received};
use crate::wire::trace;

/// Answer `xcast ping` and `xcast trace` by UDP
///
/// A host without it answers too, by ICMP, but only so often; see `xcast ping --help`.
#[derive(clap::Args)]
pub(super) struct Respond {
    /// Address to answer at; all addresses of both IP versions if not given
    #[arg(long, value_name = "ADDR")]
    bind: Option<IpAddr>,
    /// UDP port to answer at
    #[arg(long, default_value_t = aim::PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The most answers a second
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
}

/// Answers that may wait; more are forgotten.
const WAITING_MAX: usize = 1 << 16;
/// The longest that an answer waits, whatever was asked for.
const WAIT_MAX: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn run(respond: &Respond) -> Result<(), Failure> {
    let mut inbox = Inbox::open(respond.bind, respond.port, None).map_err(Failure::work)?;
    let place = respond.bind.map_or_else(|| "all addresses".to_owned(), |bind| bind.to_string());
    output::note(&format!("answering on {place}, port {}", respond.port));
    let start = Instant::now();
    let mut responder = Responder::new(respond.rate);
    loop {
        let due = responder.due().and_then(|due| start.checked_add(due));
        if let Some(received) = inbox.next(due).map_err(Failure::work)? {
            responder.take(received, start.elapsed(), aim::random());
        }
        while let Some((received, answer)) = responder.next(start.elapsed()) {
            if let Err(error) = inbox.answer(&received, &answer) {
                tracing::debug!(to = %received.source, %error, "cannot answer");
            }
        }
    }
}

/// A destination's answer to a trace request: its head, as kind 3.
pub(super) fn trace_answer(nonce: u64) -> [u8; trace::REQUEST_LEN] {
    const ANSWER: u8 = 3;
    let mut answer = trace::request(nonce);
    answer[5] = ANSWER;
    answer
}

/// What is to be answered, and when. Pure: times are since its start.
struct Responder {
    rate: u32,
    /// Until when all answers so far are paid for.
    paid: Duration,
    /// By the time they are due, and a number of their own: the request, and when it came.
    waiting: BTreeMap<(Duration, u64), (Received, Duration)>,
    next_number: u64,
}

impl Responder {
    fn new(rate: u32) -> Responder {
        let (paid, waiting) = (Duration::ZERO, BTreeMap::new());
        Responder { rate, paid, waiting, next_number: 0 }
    }

    /// Takes a datagram; `random` decides how long its answer waits.
    fn take(&mut self, mut received: Received, now: Duration, random: u64) {
        let spread = match Ping::parse(&received.payload) {
            Some(Ping { kind: Kind::Request, spread_ms, .. }) => {
                Duration::from_millis(spread_ms.into()).min(WAIT_MAX)
            }
            _ if trace::is_request(&received.payload) => Duration::ZERO,
            _ => return,
        };
        let room = self.waiting.len() < WAITING_MAX;
        if room && is_answerable(&received) && self.allow(now) {
            let wait = random % (spread.as_micros() as u64 + 1);
            let due = now + Duration::from_micros(wait);
            // No answer looks at more.
            received.payload.truncate(LEN);
            received.payload.shrink_to_fit();
            self.waiting.insert((due, self.next_number), (received, now));
            self.next_number += 1;
        }
    }

    /// Whether one more answer is within the rate; if so it counts. A second's worth may come at
    /// once.
    fn allow(&mut self, now: Duration) -> bool {
        let paid = self.paid.max(now) + SECOND / self.rate;
        let allowed = paid - now <= SECOND;
        if allowed {
            self.paid = paid;
        }
        allowed
    }

    /// When the next answer is due.
    fn due(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// An answer that is due, with what it answers.
    fn next(&mut self, now: Duration) -> Option<(Received, Vec<u8>)> {
        if self.due()? > now {
            return None;
        }
        let (_, (received, came)) = self.waiting.pop_first()?;
        let answer = match Ping::parse(&received.payload) {
            Some(ping) => {
                let held = (now.saturating_sub(came)).as_micros();
                let held = u32::try_from(held).unwrap_or(u32::MAX);
                Ping { kind: Kind::Answer(held), ..ping }.emit(LEN)
            }
            None => trace_answer(trace::nonce(&received.payload)?).to_vec(),
        };
        Some((received, answer))
    }
}

/// Whether it came from one host to one host.
fn is_answerable(received: &Received) -> bool {
    let is_one = |address: IpAddr| {
        !address.is_multicast() && !address.is_unspecified() && address != Ipv4Addr::BROADCAST
    };
    is_one(received.source.ip()) && is_one(received.destination) && received.source.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ping(spread_ms: u16) -> Vec<u8> {
        Ping { kind: Kind::Request, spread_ms, session: 7, round: 3, sent_us: 9 }.emit(100)
    }

    fn received(source: &str, payload: &[u8]) -> Received {
        Received {
            source: source.parse().unwrap(),
            destination: IpAddr::from([10, 0, 0, 2]),
            port: aim::PORT,
            ttl: 60,
            dscp: 0,
            channel: None,
            stamp: None,
            payload: payload.to_vec(),
        }
    }

    /// What is answered at once.
    fn answer(request: Received) -> Option<Vec<u8>> {
        let mut responder = Responder::new(1);
        responder.take(request, MS, 0);
        responder.next(MS).map(|(_, answer)| answer)
    }

    #[test]
    fn an_answer_says_how_long_it_waited() {
        let mut responder = Responder::new(10);
        responder.take(received("10.0.0.1:5000", &ping(20)), MS, 15_000);
        assert_eq!(responder.due(), Some(16 * MS));
        assert_eq!(responder.next(15 * MS), None);
        let (to, answer) = responder.next(17 * MS).unwrap();
        assert_eq!(to.source, "10.0.0.1:5000".parse().unwrap());
        let expected = Ping { kind: Kind::Answer(16_000), ..Ping::parse(&ping(20)).unwrap() };
        assert_eq!(Ping::parse(&answer), Some(expected));
        assert_eq!(responder.due(), None);
    }

    #[test]
    fn an_answer_waits_no_longer_than_the_spread_nor_than_ten_seconds() {
        for (spread, longest) in [(0, Duration::ZERO), (20, 20 * MS), (u16::MAX, WAIT_MAX)] {
            for random in [0, 1, 12_345, 10_000_000, u64::MAX] {
                let mut responder = Responder::new(1);
                responder.take(received("10.0.0.1:5000", &ping(spread)), MS, random);
                assert!((MS..=MS + longest).contains(&responder.due().unwrap()));
            }
        }
    }

    #[test]
    fn answers_are_no_longer_than_requests_and_all_else_is_left_alone() {
        let source = "10.0.0.1:5000";
        assert_eq!(answer(received(source, &ping(0)[..LEN])).unwrap().len(), LEN);
        assert_eq!(answer(received(source, &ping(0)[..LEN - 1])), None);
        let request = trace::request(258);
        let expected = b"XCTR\x01\x03\x00\x01\0\0\0\0\0\0\x01\x02".to_vec();
        assert_eq!(answer(received(source, &request)), Some(expected.clone()));
        let long = [&request[..], &[0; 100]].concat();
        assert_eq!(answer(received(source, &long)), Some(expected.clone()));
        // No answer to an answer: two responders would never come to rest.
        assert_eq!(answer(received(source, &expected)), None);
        let other = Ping { kind: Kind::Answer(0), ..Ping::parse(&ping(0)).unwrap() };
        assert_eq!(answer(received(source, &other.emit(LEN))), None);
        assert_eq!(answer(received(source, b"")), None);
    }

    #[test]
    fn only_hosts_are_answered() {
        for source in ["224.0.0.1:5000", "255.255.255.255:9", "0.0.0.0:9", "10.0.0.1:0"] {
            assert_eq!(answer(received(source, &ping(0))), None, "{source}");
        }
        assert_eq!(answer(received("[ff02::1]:9", &ping(0))), None);
        assert!(answer(received("[2001:db8::1]:9", &ping(0))).is_some());
        let to_group = Received {
            destination: IpAddr::from([224, 0, 0, 1]),
            ..received("10.0.0.1:5000", &ping(0))
        };
        assert_eq!(answer(to_group), None);
    }

    #[test]
    fn the_rate_is_kept() {
        let mut responder = Responder::new(100);
        let mut flood = |from: u32, to: u32| {
            for step in from..to {
                responder.take(received("10.0.0.1:5000", &ping(0)), MS / 10 * step, 0);
            }
            let mut count = 0;
            while responder.next(MS / 10 * to).is_some() {
                count += 1;
            }
            count
        };
        // A second's worth at once, and then one each ten milliseconds.
        assert_eq!(flood(0, 1000), 100 + 9);
        assert_eq!(flood(1000, 11_000), 100);
    }
}

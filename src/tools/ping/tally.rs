//! What has come back from whom. Pure: knows no clock and no socket.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::output;

/// Rounds of which it is remembered who has answered; what comes later is no answer any more.
const REMEMBERED: u32 = 1024;

/// Who says that a ping has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A responder.
    Udp,
    /// The host, by saying that nobody is at the port.
    Icmp,
}

/// Everything that is known of all destinations.
pub(super) struct Tally {
    rounds: u32,
    each: Vec<Record>,
}

struct Record {
    address: IpAddr,
    received: u32,
    /// Rounds that could not be sent.
    unsent: u32,
    duplicates: u32,
    by_udp: bool,
    by_icmp: bool,
    shortest: Duration,
    longest: Duration,
    sum: Duration,
    /// Of the last rounds.
    answered: BTreeSet<u32>,
    /// What else came back, and how often.
    notes: BTreeMap<String, u32>,
    /// The same, of packets that had other destinations too.
    suspicions: BTreeMap<String, u32>,
}

impl Tally {
    pub(super) fn new(destinations: &[IpAddr]) -> Tally {
        let record = |&address| Record {
            address,
            received: 0,
            unsent: 0,
            duplicates: 0,
            by_udp: false,
            by_icmp: false,
            shortest: Duration::MAX,
            longest: Duration::ZERO,
            sum: Duration::ZERO,
            answered: BTreeSet::new(),
            notes: BTreeMap::new(),
            suspicions: BTreeMap::new(),
        };
        Tally { rounds: 0, each: destinations.iter().map(record).collect() }
    }

    /// One more round is being sent; returns its number.
    pub(super) fn begin(&mut self) -> u32 {
        self.rounds += 1;
        self.rounds - 1
    }

    /// The round that was sent last.
    pub(super) fn last_round(&self) -> Option<u32> {
        self.rounds.checked_sub(1)
    }

    fn record(&mut self, address: IpAddr) -> Option<&mut Record> {
        self.each.iter_mut().find(|record| record.address == address)
    }

    /// A destination has answered. What was never asked, or long ago, does not count.
    pub(super) fn answer(&mut self, address: IpAddr, round: u32, rtt: Duration, by: By) {
        let oldest = self.rounds.saturating_sub(REMEMBERED);
        if !(oldest..self.rounds).contains(&round) {
            return;
        }
        let Some(record) = self.record(address) else { return };
        match by {
            By::Udp => record.by_udp = true,
            By::Icmp => record.by_icmp = true,
        }
        if !record.answered.insert(round) {
            record.duplicates += 1;
            return;
        }
        if record.answered.len() > REMEMBERED as usize {
            record.answered.pop_first();
        }
        record.received += 1;
        record.shortest = record.shortest.min(rtt);
        record.longest = record.longest.max(rtt);
        record.sum += rtt;
    }

    /// A destination was left out of a round.
    pub(super) fn unsent(&mut self, address: IpAddr, reason: &str) {
        if let Some(record) = self.record(address) {
            record.unsent += 1;
        }
        self.note(address, reason.to_owned());
    }

    /// Something else came back.
    pub(super) fn note(&mut self, address: IpAddr, what: String) {
        if let Some(record) = self.record(address) {
            *record.notes.entry(what).or_default() += 1;
        }
    }

    /// Something came back that concerns this destination or another one of the same packet.
    pub(super) fn suspect(&mut self, address: IpAddr, what: String) {
        if let Some(record) = self.record(address) {
            *record.suspicions.entry(what).or_default() += 1;
        }
    }

    /// Whether no more answers can come.
    pub(super) fn is_complete(&self) -> bool {
        self.each.iter().all(|record| record.received + record.unsent >= self.rounds)
    }

    /// How many destinations have answered the last round.
    pub(super) fn answered_last(&self) -> usize {
        let Some(last) = self.last_round() else { return 0 };
        self.each.iter().filter(|record| record.answered.contains(&last)).count()
    }

    /// Those that have never answered.
    pub(super) fn silent(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.each.iter().filter(|record| record.received == 0).map(|record| record.address)
    }

    /// Whether somebody has never answered, and nothing says why.
    pub(super) fn is_unexplained(&self) -> bool {
        self.each.iter().any(|record| record.received == 0 && record.notes.is_empty())
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let head =
            ["destination", "sent", "received", "loss", "min ms", "avg ms", "max ms", "by", "note"];
        let rows: Vec<Vec<String>> =
            self.each.iter().map(|record| record.row(self.rounds)).collect();
        output::table(&head, &rows)
    }

    /// For scripts.
    pub(super) fn json(&self) -> Value {
        let each: Vec<Value> = self.each.iter().map(|record| record.json(self.rounds)).collect();
        json!({ "destinations": each })
    }
}

impl Record {
    fn average(&self) -> Duration {
        self.sum / self.received.max(1)
    }

    fn by(&self) -> &'static str {
        match (self.by_udp, self.by_icmp) {
            (true, true) => "udp icmp",
            (true, false) => "udp",
            (false, true) => "icmp",
            (false, false) => "",
        }
    }

    fn loss(&self, rounds: u32) -> f64 {
        f64::from(rounds - self.received) / f64::from(rounds.max(1))
    }

    /// With what is suspected, if nothing else says why nobody answers.
    fn all_notes(&self) -> BTreeMap<String, u32> {
        match self.received == 0 && self.notes.is_empty() {
            true => {
                let each = self.suspicions.iter();
                each.map(|(what, count)| (format!("perhaps {what}"), *count)).collect()
            }
            false => self.notes.clone(),
        }
    }

    fn row(&self, rounds: u32) -> Vec<String> {
        let milliseconds = |time: Duration| match self.received {
            0 => "-".to_owned(),
            _ => format!("{:.3}", time.as_secs_f64() * 1000.0),
        };
        let mut notes: Vec<String> = self
            .all_notes()
            .into_iter()
            .map(|(what, count)| if count == 1 { what } else { format!("{what} ({count})") })
            .collect();
        if self.duplicates > 0 {
            notes.push(format!("duplicates ({})", self.duplicates));
        }
        vec![
            self.address.to_string(),
            rounds.to_string(),
            self.received.to_string(),
            format!("{:.0}%", self.loss(rounds) * 100.0),
            milliseconds(self.shortest),
            milliseconds(self.average()),
            milliseconds(self.longest),
            self.by().to_owned(),
            notes.join(", "),
        ]
    }

    fn json(&self, rounds: u32) -> Value {
        let milliseconds = |time: Duration| match self.received {
            0 => Value::Null,
            _ => Value::from(time.as_micros() as f64 / 1000.0),
        };
        let by: Vec<&str> = self.by().split_whitespace().collect();
        json!({
            "address": self.address.to_string(),
            "sent": rounds,
            "received": self.received,
            "loss": self.loss(rounds),
            "rtt-min-ms": milliseconds(self.shortest),
            "rtt-avg-ms": milliseconds(self.average()),
            "rtt-max-ms": milliseconds(self.longest),
            "duplicates": self.duplicates,
            "by": by,
            "notes": self.all_notes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn address(host: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, host])
    }

    /// Three destinations, four rounds: all answered, one of two answered, none.
    fn tally() -> Tally {
        let mut tally = Tally::new(&[1, 2, 3].map(address));
        for round in 0..4 {
            assert_eq!(tally.begin(), round);
            tally.answer(address(1), round, MS * (round + 1), By::Udp);
            if round < 2 {
                tally.answer(address(2), round, MS, By::Icmp);
            }
            tally.unsent(address(3), "no-route");
        }
        tally.answer(address(1), 3, MS * 90, By::Icmp);
        tally.note(address(2), "too-big at 10.0.0.9".to_owned());
        tally
    }

    #[test]
    fn the_table_says_who_answered_how_and_why_not() {
        let expected = [
            "destination  sent  received  loss  min ms  avg ms  max ms  by        note",
            "10.0.0.1        4         4    0%   1.000   2.500   4.000  udp icmp  duplicates (1)",
            "10.0.0.2        4         2   50%   1.000   1.000   1.000  icmp      too-big at 10.0.0.9",
            "10.0.0.3        4         0  100%       -       -       -            no-route (4)",
        ];
        assert_eq!(tally().table(), expected.join("\n"));
    }

    #[test]
    fn json_has_a_fraction_for_loss_and_null_for_no_time() {
        let json = tally().json();
        let each = json["destinations"].as_array().unwrap();
        assert_eq!(each[1]["loss"], 0.5);
        assert_eq!((&each[0]["rtt-avg-ms"], &each[0]["rtt-max-ms"]), (&json!(2.5), &json!(4.0)));
        assert_eq!((&each[0]["duplicates"], &each[0]["by"]), (&json!(1), &json!(["udp", "icmp"])));
        let none = (&each[2]["rtt-min-ms"], &each[2]["rtt-avg-ms"], &each[2]["rtt-max-ms"]);
        assert_eq!(none, (&Value::Null, &Value::Null, &Value::Null));
        assert_eq!(each[2]["notes"], json!({"no-route": 4}));
    }

    #[test]
    fn a_suspicion_is_worth_something_only_where_nothing_else_is_known() {
        let mut tally = Tally::new(&[1, 2, 3].map(address));
        tally.begin();
        (1..=3).for_each(|host| tally.suspect(address(host), "no-route at 10.0.0.9".to_owned()));
        tally.answer(address(1), 0, MS, By::Icmp);
        tally.note(address(2), "prohibited at 10.0.0.8".to_owned());
        let json = tally.json();
        let notes: Vec<_> = (0..3).map(|at| json["destinations"][at]["notes"].clone()).collect();
        let [none, known, guessed] = [
            json!({}),
            json!({"prohibited at 10.0.0.8": 1}),
            json!({"perhaps no-route at 10.0.0.9": 1}),
        ];
        assert_eq!(notes, [none, known, guessed]);
    }

    #[test]
    fn only_answers_to_what_was_asked_count() {
        let mut tally = Tally::new(&[address(1)]);
        tally.answer(address(1), 0, MS, By::Udp);
        tally.begin();
        tally.answer(address(1), 1, MS, By::Udp);
        tally.answer(address(7), 0, MS, By::Udp);
        assert_eq!(tally.silent().collect::<Vec<_>>(), [address(1)]);
        assert!(!tally.is_complete());
        tally.answer(address(1), 0, MS, By::Udp);
        assert!(tally.is_complete() && tally.silent().next().is_none());
        assert_eq!(tally.answered_last(), 1);
    }

    #[test]
    fn old_rounds_are_forgotten() {
        let mut tally = Tally::new(&[address(1)]);
        for round in 0..3 * REMEMBERED {
            tally.begin();
            tally.answer(address(1), round, MS, By::Udp);
        }
        tally.answer(address(1), 5, MS, By::Udp);
        let record = &tally.each[0];
        assert_eq!((record.received, record.duplicates), (3 * REMEMBERED, 0));
        assert_eq!(record.answered.len(), REMEMBERED as usize);
    }
}

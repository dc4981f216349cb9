//! Whether an end answers, how fast, and how reliably: a keepalive driven by deadlines.
//!
//! Every 200 ms a number is handed out, to be carried to the end and back in whatever way the
//! caller has. Three in a row without an answer mean that the end is down, three answers in a row
//! that it is up. Who stays up for less than a minute needs twice as many the next time.
//!
//! An answer is late after 200 ms, or after the round-trip time and its usual variation where that
//! is more. Say the last one that is answered was sent at T: those of T + 200, T + 400 and T + 600 ms
//! are late at T + 800 ms, which is less than 800 ms after the answer. Far ends send their answers
//! at the same pace: none for 800 ms means that they are down, too.

use std::collections::VecDeque;

use crate::forward::Time;

/// How often an end is asked, in microseconds.
pub(super) const INTERVAL: u64 = 200_000;
/// So many in a row without an answer: down.
const MISSES: u32 = 3;
/// So many answers in a row: up.
const ANSWERS: u32 = 3;
/// The most answers that are ever needed.
const ANSWERS_MAX: u32 = 64;
/// Who stays up for less, in microseconds, needs twice as many answers the next time.
const STEADY: u64 = 60_000_000;
/// Asked so many times, the loss is known; an answer that comes later than all these is none.
const MEMORY: usize = 64;
/// So long without any answer, in microseconds: down, however far away the end is.
const SILENCE: u64 = (MISSES as u64 + 1) * INTERVAL;
/// What the wait for an answer allows for variation, in microseconds.
const VARIATION: std::ops::RangeInclusive<u64> = 20_000..=200_000;
/// No answer is waited for longer, in microseconds.
const WAIT_MAX: u64 = 2_000_000;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The end answers.
    Up,
    /// The end does not answer any more.
    Down,
}

/// What is known of one end.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// When the end is to be asked next; `None`: not at all.
    next: Option<Time>,
    number: u64,
    /// The last ones, oldest first.
    sent: VecDeque<Sent>,
    up_since: Option<Time>,
    answers: u32,
    misses: u32,
    answers_needed: u32,
    round_trip: Option<RoundTrip>,
    heard: Option<Time>,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    at: Time,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Answered,
    Late,
}

/// The round-trip time, in microseconds (RFC 6298 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// Smoothed.
    pub smoothed: u64,
    /// How much it varies.
    pub variation: u64,
    /// The least that was measured.
    pub least: u64,
}

impl Liveness {
    /// An end that is down and not asked yet. `first` is the first number handed out.
    pub fn new(first: u64) -> Liveness {
        Liveness {
            next: None,
            number: first,
            sent: VecDeque::new(),
            up_since: None,
            answers: 0,
            misses: 0,
            answers_needed: ANSWERS,
            round_trip: None,
            heard: None,
            events: VecDeque::new(),
        }
    }

    /// From now on the end is asked, if it is not already.
    pub fn start(&mut self, now: Time) {
        if self.next.is_none() {
            self.next = Some(now);
        }
    }

    /// The end has left, or cannot be asked any more: it is down at once, which says nothing against
    /// it when it comes back.
    pub fn stop(&mut self, now: Time) {
        self.next = None;
        self.sent.clear();
        let needed = self.answers_needed;
        self.fall(now);
        self.answers_needed = needed;
    }

    /// Does what is due; returns the number to be sent to the end now, if any: one more than the one
    /// before. This is for numbers that travel with something that nobody can foresee.
    pub fn poll_send(&mut self, now: Time) -> Option<u64> {
        let number = self.number;
        self.poll_send_with(now, || number)?;
        self.number = number.wrapping_add(1);
        Some(number)
    }

    /// As [`poll_send`](Liveness::poll_send), with a number of the caller's: where nobody can foresee
    /// it, who answers has been where it was sent to.
    pub fn poll_send_with(&mut self, now: Time, number: impl FnOnce() -> u64) -> Option<u64> {
        self.judge(now);
        let next = self.next.filter(|next| *next <= now)?;
        // Who comes much too late does not make up for what it has missed.
        let following = Time(next.0 + INTERVAL);
        self.next = Some(if following <= now { Time(now.0 + INTERVAL) } else { following });
        let number = number();
        self.sent.push_back(Sent { number, at: now, fate: Fate::Waiting });
        if self.sent.len() > MEMORY {
            self.sent.pop_front();
        }
        Some(number)
    }

    /// The end has answered this number. Whatever it was never asked, or has answered before,
    /// means nothing.
    pub fn handle_answer(&mut self, number: u64, now: Time) {
        self.judge(now);
        // The latest first: mostly it is the one.
        let sent = self.sent.iter_mut().rev().find(|sent| sent.number == number);
        let Some(sent) = sent else { return };
        if sent.fate == Fate::Answered {
            return;
        }
        sent.fate = Fate::Answered;
        let sample = now.0.saturating_sub(sent.at.0);
        self.round_trip = Some(RoundTrip::add(self.round_trip, sample));
        self.heard = Some(now);
        self.misses = 0;
        self.answers = self.answers.saturating_add(1);
        if self.up_since.is_none() && self.answers >= self.answers_needed {
            self.up_since = Some(now);
            self.events.push_back(Event::Up);
        }
    }

    /// Takes note of all answers that are late by now.
    fn judge(&mut self, now: Time) {
        let wait = self.wait();
        for index in 0..self.sent.len() {
            let sent = &mut self.sent[index];
            if sent.fate != Fate::Waiting {
                continue;
            }
            if sent.at.0 + wait > now.0 {
                break;
            }
            sent.fate = Fate::Late;
            self.answers = 0;
            self.misses = self.misses.saturating_add(1);
        }
        if self.misses >= MISSES || self.is_silent(now) {
            self.fall(now);
        }
    }

    /// Whether there was no answer for long, though the end was asked all the time: this node may
    /// itself have been held up.
    fn is_silent(&self, now: Time) -> bool {
        let heard = self.heard.filter(|heard| heard.0 + SILENCE <= now.0);
        heard.is_some_and(|heard| self.was_asked(heard))
    }

    /// Whether the end was asked as often as it takes after this moment.
    fn was_asked(&self, after: Time) -> bool {
        let asked = self.sent.iter().rev().take_while(|sent| sent.at > after);
        asked.count() >= MISSES as usize
    }

    fn fall(&mut self, now: Time) {
        self.answers = 0;
        let Some(since) = self.up_since.take() else { return };
        let flapped = now.0 < since.0 + STEADY;
        self.answers_needed =
            if flapped { (self.answers_needed * 2).min(ANSWERS_MAX) } else { ANSWERS };
        self.events.push_back(Event::Down);
    }

    fn wait(&self) -> u64 {
        let Some(round_trip) = self.round_trip else { return INTERVAL };
        let variation = (4 * round_trip.variation).clamp(*VARIATION.start(), *VARIATION.end());
        (round_trip.smoothed + variation).clamp(INTERVAL, WAIT_MAX)
    }

    /// When [`poll_send`](Liveness::poll_send) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let wait = self.wait();
        let waiting = self.sent.iter().find(|sent| sent.fate == Fate::Waiting);
        let late = waiting.map(|sent| Time(sent.at.0 + wait));
        let heard = self.up_since.and(self.heard).filter(|heard| self.was_asked(*heard));
        let silent = heard.map(|heard| Time(heard.0 + SILENCE));
        [self.next, late, silent].into_iter().flatten().min()
    }

    /// What has changed, until nothing more has.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the end is up.
    pub fn is_up(&self) -> bool {
        self.up_since.is_some()
    }

    /// The round-trip time; `None` before the first answer.
    pub fn round_trip(&self) -> Option<RoundTrip> {
        self.round_trip
    }

    /// The share, of the last 64 at most, that got no answer in time or later; 0 to 1.
    pub fn loss(&self) -> f64 {
        let count = |fate| self.sent.iter().filter(|sent| sent.fate == fate).count() as f64;
        let (late, answered) = (count(Fate::Late), count(Fate::Answered));
        if late == 0.0 { 0.0 } else { late / (late + answered) }
    }

    /// When the last answer came.
    pub fn heard(&self) -> Option<Time> {
        self.heard
    }
}

impl RoundTrip {
    fn add(before: Option<RoundTrip>, sample: u64) -> RoundTrip {
        match before {
            None => RoundTrip { smoothed: sample, variation: sample / 2, least: sample },
            Some(RoundTrip { smoothed, variation, least }) => RoundTrip {
                variation: (3 * variation + smoothed.abs_diff(sample)) / 4,
                smoothed: (7 * smoothed + sample) / 8,
                least: least.min(sample),
            },
        }
    }
}

#[cfg(test)]
mod tests;

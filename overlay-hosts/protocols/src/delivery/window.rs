//! The payloads that a host has of a session: those that wait for earlier ones, and those that are kept
//! for children that have missed them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use super::config::{AHEAD_MAX, PAYLOAD_MAX, REPAIRS_MAX, RUNS_MAX, SEQUENCE_MAX};
use crate::drops::DropReason;
use crate::time::Time;

/// What a payload costs beside its octets.
const HELD_COST: usize = 64;

#[derive(Clone, Debug)]
struct Held {
    since: Time,
    payload: Vec<u8>,
}

/// Payloads by their numbers.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// All below has come, or is given up.
    next: u64,
    /// All below has been sent, as far as is known here.
    known: u64,
    held: BTreeMap<u64, Held>,
    octets: usize,
}

impl Window {
    /// Nothing yet; all from `first` on will come.
    pub(super) fn new(first: u64) -> Window {
        let next = first.min(SEQUENCE_MAX);
        Window { next, known: next, held: BTreeMap::new(), octets: 0 }
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// From here on everything that has come is still there.
    pub(super) fn oldest(&self) -> u64 {
        self.held.keys().next().map_or(self.next, |first| self.next.min(*first))
    }

    /// Octets that it holds.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    pub(super) fn payload(&self, sequence: u64) -> Option<&[u8]> {
        self.held.get(&sequence).map(|held| held.payload.as_slice())
    }

    /// Takes a payload; whether it is new.
    ///
    /// # Errors
    /// It cannot be, or there is no room for it.
    pub(super) fn take(
        &mut self,
        sequence: u64,
        payload: &[u8],
        now: Time,
        octets_max: usize,
    ) -> Result<bool, DropReason> {
        if sequence >= SEQUENCE_MAX || payload.len() > PAYLOAD_MAX {
            return Err(DropReason::Malformed);
        }
        if sequence < self.next || self.held.contains_key(&sequence) {
            return Ok(false);
        }
        if sequence - self.next >= AHEAD_MAX {
            return Err(DropReason::SessionFull);
        }
        let cost = payload.len() + HELD_COST;
        while self.octets + cost > octets_max {
            let is_done = self.held.first_key_value().is_some_and(|(first, _)| *first < self.next);
            if !is_done {
                return Err(DropReason::SessionFull);
            }
            self.pop();
        }
        self.held.insert(sequence, Held { since: now, payload: payload.to_vec() });
        self.octets += cost;
        self.known = self.known.max(sequence + 1);
        Ok(true)
    }

    /// The next payload in order, if it is there: it is handed up.
    pub(super) fn advance(&mut self) -> Option<(u64, Vec<u8>)> {
        let payload = self.held.get(&self.next)?.payload.clone();
        self.next += 1;
        Some((self.next - 1, payload))
    }

    /// Somebody says that all below has been sent.
    pub(super) fn learn(&mut self, next: u64) {
        self.known = self.known.max(next.min(self.next + AHEAD_MAX).min(SEQUENCE_MAX));
    }

    /// Gives up what is missing below; which numbers these are, from the first to the last.
    pub(super) fn skip_to(&mut self, sequence: u64) -> Option<Range<u64>> {
        let from = self.next;
        self.next = self.next.max(sequence.min(SEQUENCE_MAX));
        self.known = self.known.max(self.next);
        (from < self.next).then_some(from..self.next)
    }

    /// What is missing first.
    pub(super) fn first_gap(&self) -> Option<Range<u64>> {
        let end = self.held.range(self.next..).next().map_or(self.known, |(first, _)| *first);
        (self.next < end).then_some(self.next..end)
    }

    /// What is missing, as far as one request can name it.
    pub(super) fn gaps(&self) -> Vec<(u64, u16)> {
        let (mut runs, mut room, mut from) = (Vec::new(), u64::from(REPAIRS_MAX), self.next);
        let held = self.held.range(self.next..).map(|(sequence, _)| *sequence);
        for sequence in held.chain([self.known]) {
            if sequence > from && room > 0 && runs.len() < RUNS_MAX {
                let count = (sequence - from).min(room);
                runs.push((from, count as u16));
                room -= count;
            }
            from = sequence + 1;
        }
        runs
    }

    /// Forgets what was handed up and came more than `span` ago.
    pub(super) fn expire(&mut self, now: Time, span: Duration) {
        while let Some((first, held)) = self.held.first_key_value() {
            if *first >= self.next || now.since(held.since) < span {
                return;
            }
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, held)) = self.held.pop_first() {
            self.octets -= held.payload.len() + HELD_COST;
        }
    }
}

//! What goes down the tree: each payload on to all children as soon as it comes, up to the application,
//! and once more to who has missed it.

use alloc::vec::Vec;

use super::Event;
use super::config::{Order, RUNS_MAX, SEQUENCE_MAX};
use super::message::Message;
use super::stream::{Above, Stream, Turn};
use crate::contact::Endpoint;
use crate::drops::DropReason;
use crate::time::Time;

/// When what is missing is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repair {
    pub(super) at: Time,
    tries: u8,
    /// What is missing first, and since when.
    first: u64,
    since: Time,
}

impl Default for Repair {
    fn default() -> Repair {
        Repair { at: Time::NEVER, tries: 0, first: 0, since: Time(0) }
    }
}

impl Repair {
    /// There is a parent that has not been asked yet.
    pub(super) fn begin_anew(&mut self, now: Time) {
        (self.tries, self.since) = (0, now);
        self.at = if self.at == Time::NEVER { self.at } else { now };
    }
}

impl Stream {
    /// At the root: one more payload.
    pub(super) fn publish(
        &mut self,
        payload: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        if self.end.is_some() {
            return Err(DropReason::Malformed);
        }
        let sequence = self.window.next();
        self.window.take(sequence, payload, turn.now, turn.config.buffer_octets)?;
        self.window.skip_to(sequence + 1);
        self.forward(sequence, payload, turn);
        Ok(())
    }

    /// A payload comes down.
    pub(super) fn data(
        &mut self,
        (sequence, payload): (u64, &[u8]),
        by: Above,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        if by.is_parent {
            self.heard_parent(turn);
        }
        if self.end.is_some_and(|end| sequence >= end) {
            return Err(DropReason::Malformed);
        }
        if !self.window.take(sequence, payload, turn.now, turn.config.buffer_octets)? {
            turn.counts.again += 1;
            return Ok(());
        }
        turn.counts.received += 1;
        self.forward(sequence, payload, turn);
        if self.receives && turn.config.order == Order::AsTheyCome {
            turn.out.event(self.received(sequence, payload.to_vec()));
        }
        self.hand_up(turn);
        self.watch(turn);
        Ok(())
    }

    /// The parent, or the root, says how far it is.
    pub(super) fn is_alive(
        &mut self,
        (oldest, next, end): (u64, u64, Option<u64>),
        by: Above,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        if oldest > next || next > end.unwrap_or(SEQUENCE_MAX).min(SEQUENCE_MAX) {
            return Err(DropReason::Malformed);
        }
        if by.is_parent {
            self.heard_parent(turn);
        }
        if by.is_root {
            // Nobody has it any more.
            self.give_up_to(oldest, turn);
        } else {
            self.elder = self.elder.max(oldest);
        }
        self.window.learn(next);
        if let Some(end) = end.filter(|_| self.end.is_none()) {
            self.end = Some(end);
            self.window.learn(end);
            self.speak(turn);
        }
        self.hand_up(turn);
        self.watch(turn);
        Ok(())
    }

    /// A child has missed something.
    pub(super) fn nack(
        &mut self,
        from: &Endpoint,
        missing: &[(u64, u16)],
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        if missing.len() > RUNS_MAX {
            return Err(DropReason::Oversized);
        }
        let wanted = missing.iter().map(|(_, count)| u32::from(*count)).sum();
        let (to, allowed) = self.allowance(from, wanted).ok_or(DropReason::NotInTree)?;
        let runs = missing.iter();
        let numbers = runs.flat_map(|(from, count)| {
            (0..u64::from(*count)).filter_map(|offset| from.checked_add(offset))
        });
        for sequence in numbers.take(allowed as usize) {
            if let Some(payload) = self.window.payload(sequence) {
                let (key, payload) = (self.key, payload.to_vec());
                turn.send(&[to], &Message::Data { key, sequence, payload });
                turn.counts.repaired += 1;
            }
        }
        if missing.iter().any(|(first, _)| *first < self.window.oldest()) {
            // It waits for what is not there any more.
            let alive = self.alive();
            turn.send(&[to], &alive);
        }
        match allowed < wanted {
            true => Err(DropReason::SessionFull),
            false => Ok(()),
        }
    }

    /// Asks the parent for what is missing, or gives the first of it up.
    pub(super) fn ask_for_missing(&mut self, turn: &mut Turn<'_>) {
        self.repair.at = Time::NEVER;
        let Some(gap) = self.window.first_gap() else { return };
        if turn.now.since(self.repair.since) >= turn.config.repair {
            self.give_up_to(gap.end, turn);
            self.hand_up(turn);
            return self.watch(turn);
        }
        self.repair.at = turn.now + turn.config.wait(self.repair.tries);
        self.repair.tries = self.repair.tries.saturating_add(1);
        let (of_root, of_parent) = split(self.window.gaps(), self.elder);
        let asked = [(Some(self.root()), of_root), (self.upstream(), of_parent)];
        for (to, missing) in asked {
            if let Some(to) = to.filter(|_| !missing.is_empty()) {
                turn.send(&[to], &Message::Nack { key: self.key, missing });
            }
        }
    }

    /// Notes whether something is missing.
    fn watch(&mut self, turn: &Turn<'_>) {
        let Some(gap) = self.window.first_gap() else {
            self.repair.at = Time::NEVER;
            return;
        };
        if self.repair.at == Time::NEVER {
            let at = turn.now + turn.config.reorder;
            self.repair = Repair { at, tries: 0, first: gap.start, since: turn.now };
        } else if self.repair.first != gap.start {
            // Some of it has come, and more may be on its way.
            let at = self.repair.at.min(turn.now + turn.config.wait(0));
            self.repair = Repair { at, tries: 0, first: gap.start, since: turn.now };
        }
    }

    /// To all children; one output for 50 of them.
    fn forward(&mut self, sequence: u64, payload: &[u8], turn: &mut Turn<'_>) {
        let to = self.downstream();
        if to.is_empty() {
            return;
        }
        let (key, payload) = (self.key, payload.to_vec());
        turn.send(&to, &Message::Data { key, sequence, payload });
        turn.counts.forwarded += to.len() as u64;
        self.spoken = turn.now;
    }

    /// Hands up what is complete.
    fn hand_up(&mut self, turn: &mut Turn<'_>) {
        while let Some((sequence, payload)) = self.window.advance() {
            if self.receives && turn.config.order == Order::BySequence {
                turn.out.event(self.received(sequence, payload));
            }
        }
        if self.done.is_none() && self.end.is_some_and(|end| self.window.next() >= end) {
            self.done = Some(turn.now);
            let (session, root) = self.key;
            turn.out.event(Event::Ended { session, root });
        }
    }

    fn received(&self, sequence: u64, payload: Vec<u8>) -> Event {
        let (session, root) = self.key;
        Event::Received { session, root, sequence, payload }
    }

    /// What is missing below will not come any more.
    fn give_up_to(&mut self, until: u64, turn: &mut Turn<'_>) {
        loop {
            self.hand_up(turn);
            let next = self.window.next();
            if next >= until {
                return;
            }
            let end = self.window.first_gap().map_or(until, |gap| gap.end.min(until));
            let Some(missed) = self.window.skip_to(end) else { return };
            turn.counts.missed += missed.end - missed.start;
            if self.receives {
                let (session, root) = self.key;
                let (from, to) = (missed.start, missed.end);
                turn.out.event(Event::Missed { session, root, from, to });
            }
        }
    }
}

/// Missing numbers: from one on, so many.
type Runs = Vec<(u64, u16)>;

/// Runs below a number, and from it on.
fn split(runs: Runs, at: u64) -> (Runs, Runs) {
    let (mut below, mut above) = (Vec::new(), Vec::new());
    for (from, count) in runs {
        let head = at.saturating_sub(from).min(count.into()) as u16;
        if head > 0 {
            below.push((from, head));
        }
        if head < count {
            above.push((from + u64::from(head), count - head));
        }
    }
    (below, above)
}

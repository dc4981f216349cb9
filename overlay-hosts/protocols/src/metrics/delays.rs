//! Delays to neighbors, and the coordinate that follows from them.

use alloc::vec::Vec;
use core::time::Duration;

use super::message::{self, Message, Place};
use super::table::Neighbor;
use super::{Event, Metrics, STORE_KEY};
use crate::contact::Endpoint;
use crate::coordinates::{Measured, error};
use crate::drops::DropReason;
use crate::id::{PeerId, RingId};
use crate::machine::{self, Class, Protocol, Received};
use crate::ring::Ring;
use crate::time::{Now, Time, micros};

/// Measurements that may wait for answers at once.
const QUESTIONS_MAX: usize = 8;
/// Neighbors that come one after another in this time are measured together.
const TOGETHER: Duration = Duration::from_millis(100);
/// A newcomer's neighbors are all there when no other has come for this long: its ring pings each
/// before it believes in it. Who takes a place by the nearest few ends in a fold.
const SETTLED: Duration = Duration::from_secs(2);
/// However many come and go meanwhile, it is not waited for longer than this.
const SETTLED_MAX: Duration = Duration::from_secs(10);
/// A place found anew is taken if what it is off is less than this part of what the old one is off:
/// who stands in a fold gets out, and nobody wanders for little.
const MUCH_BETTER: f64 = 0.9;
/// How often the coordinate is stored, at most.
const STORE_INTERVAL: Duration = Duration::from_secs(600);

/// A measurement on its way.
#[derive(Clone, Debug)]
pub(super) struct Question {
    nonce: u64,
    sent: Time,
    waiting: Vec<PeerId>,
}

impl Metrics {
    pub(super) fn neighbors_changed(&mut self, ring: &Ring, now: Time) {
        self.table.follow(ring.leaf_set());
        if !self.placed {
            let last = *self.timers.settled.get_or_insert(now + SETTLED_MAX);
            self.timers.round = (now + SETTLED).min(last);
        }
        if self.table.all().iter().any(Neighbor::is_new) {
            self.timers.ask = self.timers.ask.min(now + TOGETHER);
        }
    }

    /// Measures some neighbors, and fits the coordinate.
    pub(super) fn round(&mut self, ring: &mut Ring, now: Now) {
        self.timers.settled = None;
        self.table.follow(ring.leaf_set());
        self.questions.retain(|asked| now.time.since(asked.sent) < self.config.answer_timeout);
        self.fit(ring, now.time);
        self.publish(ring);
        self.measure(true, now.time);
        // Who has no place yet looks for one as soon as answers can be there.
        let interval = match self.placed {
            true => self.config.interval,
            false => self.config.interval.min(self.config.answer_timeout),
        };
        self.timers.round = now.time + interval / 2 + self.random.up_to(interval);
    }

    /// Measures all neighbors that are new and, in a round, some others: by one message to all.
    pub(super) fn measure(&mut self, in_round: bool, now: Time) {
        if self.questions.len() >= QUESTIONS_MAX {
            return;
        }
        let waiting = |id: &PeerId| self.questions.iter().any(|asked| asked.waiting.contains(id));
        let mut others: Vec<PeerId> =
            self.table.all().iter().map(|neighbor| neighbor.contact.id).collect();
        others.retain(|id| !waiting(id));
        self.random.shuffle(&mut others);
        let mut left = if in_round { self.config.measured } else { 0 };
        let (mut to, mut asked) = (Vec::new(), Vec::new());
        for id in others {
            let Some(neighbor) = self.table.find_mut(id) else { continue };
            if neighbor.is_new() {
                neighbor.unanswered += 1;
            } else if left > 0 {
                left -= 1;
            } else {
                continue;
            }
            to.push(neighbor.contact.endpoint());
            asked.push(id);
        }
        if to.is_empty() {
            return;
        }
        let nonce = self.random.number();
        self.out.send(to, Protocol::Metrics, &Message::Measure { nonce }, Class::Immediate);
        self.questions.push(Question { nonce, sent: now, waiting: asked });
    }

    /// Says that it is there, and where.
    pub(super) fn answer(&mut self, nonce: u64, from: Endpoint) {
        let at = self.placed.then(|| message::emit(&self.at, self.config.fit.dimensions));
        let answer = Message::Measured { nonce, at };
        self.out.send(alloc::vec![from], Protocol::Metrics, &answer, Class::Immediate);
    }

    /// Somebody has answered; what was not asked, or is answered twice, is no answer.
    pub(super) fn answered(
        &mut self,
        nonce: u64,
        at: Option<Place>,
        received: &Received<'_>,
    ) -> Result<(), DropReason> {
        let sender = received.sender();
        let place = self.questions.iter().position(|asked| asked.nonce == nonce);
        let place = place.ok_or(DropReason::Malformed)?;
        let question = &mut self.questions[place];
        let index = question.waiting.iter().position(|id| *id == sender);
        question.waiting.swap_remove(index.ok_or(DropReason::Malformed)?);
        let waited = received.at.since(question.sent);
        if question.waiting.is_empty() {
            self.questions.swap_remove(place);
        }
        if waited >= self.config.answer_timeout {
            return Err(DropReason::Ancient);
        }
        let delay = u32::try_from(micros(waited)).unwrap_or(u32::MAX);
        if let Some(neighbor) = self.table.find_mut(sender) {
            neighbor.measured(delay);
            neighbor.at = at.and_then(|place| message::read(&place, self.config.fit.dimensions));
        }
        Ok(())
    }

    /// Finds a place, or a better one.
    fn fit(&mut self, ring: &Ring, now: Time) {
        let measured = self.table.measured();
        if self.placed {
            self.at = self.config.fit.refine(self.at, &measured);
            let fresh = self.config.fit.place(&measured, &mut self.random);
            if error(&fresh, &measured) < MUCH_BETTER * error(&self.at, &measured) {
                self.at = fresh;
            }
        } else if ring.is_joined() && self.questions.is_empty() && self.may_begin(&measured, ring) {
            let fresh = self.config.fit.place(&measured, &mut self.random);
            let again = self.config.fit.refine(self.at, &measured);
            let is_better = error(&again, &measured) < error(&fresh, &measured);
            self.at = if is_better { again } else { fresh };
            self.placed = true;
            self.out.event(Event::Placed(self.at));
        }
        if self.placed && self.timers.store <= now {
            self.timers.store = now + STORE_INTERVAL;
            let place = message::emit(&self.at, self.config.fit.dimensions);
            self.out.store(STORE_KEY, machine::encode(&place));
        }
    }

    /// Whether who has no place, and waits for no answer, may take one: all that measure have one, or
    /// as many as fix it. Fewer do for one among neighbors at a time, by chance: who all begin at once, by few,
    /// fold the space, and turns along the ring would take as long as it is.
    fn may_begin(&mut self, measured: &[Measured], ring: &Ring) -> bool {
        let others = self.table.all().iter().filter(|each| each.speaks && each.at.is_none());
        let others = others.count();
        match measured.len() {
            // Nobody measures, or nobody has begun.
            0 => {
                let alone = self.table.all().iter().all(|neighbor| !neighbor.speaks);
                let is_first = RingId::ZERO.is_in(ring.zone_after(), ring.position());
                (alone && self.table.all().iter().all(|n| !n.is_new())) || is_first
            }
            count if count >= 2 * self.config.fit.dimensions => true,
            _ => self.random.below(1 + others as u64) == 0,
        }
    }
}

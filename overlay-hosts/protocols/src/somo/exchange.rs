//! The most capable machine at the root (seed 003 paragraph 0061). Reports are merged and sorted on their
//! way up, so the root knows who is best. That one and the root exchange their positions on the ring, and
//! nobody else is disturbed:
//!
//! 1. The root looks the best one up and offers its place.
//! 2. That looks up who owns the middle of the ring, as anybody could offer; then it signs what both are
//!    to have ([`SwapRecord`]), and accepts.
//! 3. The root signs, too. Now it is proved: both leave their places and take the other's. Until the best
//!    one has heard so, it says again that it accepts.

use alloc::boxed::Box;

use super::message::Message;
use super::{Event, Somo, VirtualNode};
use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::id::{PeerId, RingId};
use crate::machine::Class;
use crate::swap::{SwapRecord, Swapped};
use crate::time::{Now, Time};

/// Bits of a position that reports name machines by.
const PLACE_BITS: usize = 48;
/// How often an answer is asked for.
const TRIES: u32 = 4;

/// An exchange under way: who takes part, and what is waited for until when.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) due: Time,
    tries: u32,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The root looks for the best one.
    Seek { request: u32, place: u64 },
    /// The root has offered.
    Offered { best: Contact },
    /// The best one sees whether it was the root that offered.
    Check { request: u32, root: Contact, key: [u8; 32], term: u64 },
    /// The best one has accepted, or is about to.
    Accepted { root: Contact, record: Box<SwapRecord> },
}

/// The part of a position by which reports name a machine.
pub fn place_of(position: RingId) -> u64 {
    position.0[..PLACE_BITS / 8].iter().fold(0, |place, octet| place << 8 | u64::from(*octet))
}

/// Where that machine is, or just before it.
fn position_of(place: u64) -> RingId {
    let mut position = RingId::ZERO;
    position.0[..8].copy_from_slice(&(place << (64 - PLACE_BITS)).to_be_bytes());
    position
}

fn unsigned(key: [u8; 32], position: RingId) -> Swapped {
    Swapped { key, position, signature: ([0; 32], [0; 32]) }
}

impl Somo {
    /// A call of the root is answered: if somebody else is so much better, it is to stand here.
    pub(super) fn consider_exchange(&mut self, now: Now) {
        // Nobody exchanges its position twice.
        let may = self.is_root() && self.key.is_some() && self.me.swap.is_none();
        let Some(margin) = self.config.exchange.filter(|_| may) else { return };
        let op = self.config.op;
        let own = op.best(&op.own(&self.sample, now)).map_or(0, |(score, _)| score);
        let best = op.best(&self.report).filter(|(score, place)| {
            *score > own.saturating_add(margin) && *place != place_of(self.position)
        });
        if let (Some((_, place)), None) = (best, &self.exchange) {
            let request = self.next_request();
            self.wait(Stage::Seek { request, place }, super::parent::LOOKUP_PATIENCE, now);
            self.out.event(Event::Find { request, key: position_of(place) });
        }
    }

    fn wait(&mut self, stage: Stage, patience: u32, now: Now) {
        let due = now.time + self.config.answer * patience;
        self.exchange = Some(Exchange { due, tries: TRIES, stage });
    }

    /// A lookup is over; whether it was for an exchange.
    pub(super) fn found_partner(
        &mut self,
        request: u32,
        owner: Option<&Contact>,
        now: Now,
    ) -> bool {
        match self.exchange.as_ref().map(|exchange| exchange.stage.clone()) {
            Some(Stage::Seek { request: sought, place }) if sought == request => {
                let is_it = |owner: &&Contact| {
                    let is_best = place_of(owner.position()) == place;
                    is_best && owner.id != self.me.id && owner.swap.is_none()
                };
                self.exchange = None;
                if let Some(best) = owner.filter(is_it).cloned() {
                    self.wait(Stage::Offered { best }, 1, now);
                    self.offer();
                }
            }
            Some(Stage::Check { request: sought, root, key, term }) if sought == request => {
                self.exchange = None;
                let is_root = owner.is_some_and(|owner| {
                    owner.id == root.id && owner.position() == root.position()
                });
                if let Some(own) = self.key.filter(|_| is_root) {
                    let peers = [unsigned(key, self.position), unsigned(own, root.position())];
                    let record = Box::new(SwapRecord { peers, term });
                    self.wait(Stage::Accepted { root, record: record.clone() }, 1, now);
                    self.out.event(Event::Sign { record, place: 1 });
                }
            }
            _ => return false,
        }
        true
    }

    fn offer(&mut self) {
        let Some(Exchange { stage: Stage::Offered { best }, .. }) = &self.exchange else { return };
        let (Some(key), to) = (self.key, best.endpoint()) else { return };
        let me = self.me.clone();
        self.send(to, &Message::Offer { me, key }, Class::Immediate);
    }

    /// Somebody who says that it is the root offers its place.
    pub(super) fn offered(
        &mut self,
        me: Contact,
        key: [u8; 32],
        from: Endpoint,
        now: Now,
    ) -> Result<(), DropReason> {
        self.is_acceptable(&me, &from)?;
        if PeerId::of_public_key(&key) != me.id {
            return Err(DropReason::Malformed);
        }
        let is_first = me.swap.is_none() && self.me.swap.is_none();
        let is_free =
            is_first && self.exchange.is_none() && self.after.is_some() && !self.is_root();
        if is_free && self.config.exchange.is_some() {
            let term = |contact: &Contact| contact.swap.as_ref().map_or(0, |swap| swap.term);
            let term = term(&me).max(term(&self.me)).saturating_add(1);
            let request = self.next_request();
            let stage = Stage::Check { request, root: me, key, term };
            self.wait(stage, super::parent::LOOKUP_PATIENCE, now);
            let key = self.tree.key(VirtualNode::ROOT);
            self.out.event(Event::Find { request, key });
        }
        Ok(())
    }

    /// What was to be signed is.
    pub(super) fn signed(&mut self, signed: Box<SwapRecord>) {
        match self.exchange.as_mut().map(|exchange| &mut exchange.stage) {
            Some(Stage::Accepted { record, .. }) if record.signed() == signed.signed() => {
                *record = signed;
                self.accept();
            }
            Some(Stage::Offered { best }) if signed.position_of(best.id) == Some(self.position) => {
                let to = best.endpoint();
                self.exchange = None;
                self.send(to, &Message::Done { record: signed.clone() }, Class::Immediate);
                self.out.event(Event::Exchanged { record: signed });
            }
            _ => {}
        }
    }

    fn accept(&mut self) {
        let Some(Exchange { stage: Stage::Accepted { root, record }, .. }) = &self.exchange else {
            return;
        };
        let (to, record) = (root.endpoint(), record.clone());
        self.send(to, &Message::Accept { record }, Class::Immediate);
    }

    /// The best one accepts.
    pub(super) fn accepted(
        &mut self,
        record: Box<SwapRecord>,
        from: Endpoint,
    ) -> Result<(), DropReason> {
        let to_own = |swap: &SwapRecord| swap.signed() == record.signed();
        if let Some(swap) = self.me.swap.clone().filter(|swap| to_own(swap)) {
            // It is done already, and was not heard.
            self.send(from, &Message::Done { record: swap }, Class::Repeated);
            return Ok(());
        }
        let Some(Exchange { stage: Stage::Offered { best }, .. }) = &self.exchange else {
            return Err(DropReason::NotInTree);
        };
        let own = self.me.swap.as_ref().map_or(0, |swap| swap.term);
        let [mine, theirs] = &record.peers;
        let is_agreed = best.speaks_from(&from)
            && PeerId::of_public_key(&mine.key) == self.me.id
            && PeerId::of_public_key(&theirs.key) == best.id
            && (mine.position, theirs.position) == (best.position(), self.position)
            && record.term > own
            && theirs.is_signed(&record.signed(), crate::seal::verify);
        match is_agreed {
            true => self.out.event(Event::Sign { record, place: 0 }),
            false => return Err(DropReason::UnprovedPosition),
        }
        Ok(())
    }

    /// Both have signed.
    pub(super) fn done(
        &mut self,
        record: Box<SwapRecord>,
        from: Endpoint,
    ) -> Result<(), DropReason> {
        let stage = self.exchange.as_ref().map(|exchange| &exchange.stage);
        let Some(Stage::Accepted { root, record: agreed }) = stage else {
            return Err(DropReason::NotInTree);
        };
        let is_it = root.id == from.id.unwrap_or_default() && agreed.signed() == record.signed();
        if !is_it || !crate::node::is_proved(&record) {
            return Err(DropReason::UnprovedPosition);
        }
        self.exchange = None;
        self.out.event(Event::Exchanged { record });
        Ok(())
    }

    /// No answer has come in time.
    pub(super) fn exchange_timeout(&mut self, now: Now) {
        let answer = self.config.answer;
        let Some(exchange) = self.exchange.as_mut().filter(|one| one.due <= now.time) else {
            return;
        };
        exchange.tries -= 1;
        exchange.due = now.time + answer;
        match exchange.stage {
            Stage::Offered { .. } if exchange.tries > 0 => self.offer(),
            Stage::Accepted { .. } if exchange.tries > 0 => self.accept(),
            _ => self.exchange = None,
        }
    }
}

//! Reports on their way up (seed 003 paragraphs 0062, 0063 and 0068): each machine merges its own with
//! those of its children. Unsynchronized, all do so at their own times, and a report waits for up to T
//! at each machine. Synchronized, the root calls, calls go down at once, and each machine reports as
//! soon as all below it have, or have had time enough to.

use alloc::vec::Vec;

use super::children::Child;
use super::message::Message;
use super::{Event, REPORT_LEN_MAX, Somo};
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::Class;
use crate::time::{Now, Time};

/// A call that children have not all answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// When it is over, whoever has answered.
    pub(super) due: Time,
    number: u32,
    /// It began here; else the parent has called.
    own: bool,
}

impl Somo {
    /// Its own report, and those of its children, as one.
    pub(super) fn merged(&self, now: Now) -> Vec<u8> {
        let op = self.config.op;
        let own = op.own(&self.sample, now);
        let children = self.children.iter().map(Child::report);
        let reports: Vec<&[u8]> = [own.as_slice()].into_iter().chain(children).collect();
        let mut merged = op.merge(&reports);
        merged.truncate(REPORT_LEN_MAX);
        merged
    }

    /// T is over.
    pub(super) fn report_timeout(&mut self, now: Now) {
        self.report_at = now.time + self.config.interval;
        match (self.config.synchronized, self.is_root()) {
            (true, true) => self.call(now),
            (true, false) => {}
            (false, is_root) => {
                self.report_up(0, now);
                if is_root {
                    self.tell_gathered();
                    self.consider_exchange(now);
                }
            }
        }
    }

    /// Calls for the reports of all machines below.
    pub(super) fn call(&mut self, now: Now) {
        if self.after.is_some() {
            // At random: others may call a part of the tree, or have called all of it before.
            let number = self.random.number() as u32 | 1;
            self.begin_round(number, true, now);
        }
    }

    /// The parent calls.
    pub(super) fn called(
        &mut self,
        round: u32,
        sender: PeerId,
        now: Now,
    ) -> Result<(), DropReason> {
        if !self.is_parent(sender) || round == 0 {
            return Err(DropReason::NotInTree);
        }
        if round != self.called {
            self.begin_round(round, false, now);
        }
        Ok(())
    }

    fn begin_round(&mut self, number: u32, own: bool, now: Now) {
        self.called = number;
        // Below it everybody waits less, by as much as a call and a report take. Heights are what others
        // say: whatever they say, a round is over before the next one.
        let wait = self.config.answer * u32::from(self.span().height.max(1));
        let due = now.time + wait.min(self.config.interval / 2);
        self.round = Some(Round { due, number, own });
        let to = self.children.iter().map(|child| child.contact().endpoint()).collect();
        self.send_all(to, &Message::Call { round: number }, Class::Immediate);
        self.finish_round(now);
    }

    /// Ends the round, if all children have answered.
    pub(super) fn finish_round(&mut self, now: Now) {
        let Some(round) = self.round else { return };
        if self.children.iter().all(|child| child.round() == round.number) {
            self.end_round(round, now);
        }
    }

    /// Ends the round, if it has lasted long enough: what is missing is as it was.
    pub(super) fn round_timeout(&mut self, now: Now) {
        if let Some(round) = self.round.filter(|round| round.due <= now.time) {
            self.end_round(round, now);
        }
    }

    fn end_round(&mut self, round: Round, now: Now) {
        self.round = None;
        if !round.own {
            return self.report_up(round.number, now);
        }
        self.report = self.merged(now);
        self.answer_subscribers();
        self.tell_gathered();
        self.consider_exchange(now);
    }

    fn tell_gathered(&mut self) {
        self.out.event(Event::Gathered { span: self.span(), report: self.report.clone() });
    }
}

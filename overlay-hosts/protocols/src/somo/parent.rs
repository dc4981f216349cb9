//! The link to the parent (seed 003 paragraph 0057): a reference that is followed to its host directly,
//! and by a lookup if that misses.

use super::message::{Heading, Message, common};
use super::{Event, Somo, VirtualNode};
use crate::contact::Contact;
use crate::data_overlay::Reference;
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::Class;
use crate::time::{Now, Time};

/// How often the host of a reference is asked before the key is looked up.
const ASKED_MAX: u32 = 2;
/// How many times as long as for an answer of one machine a lookup is waited for: it asks several.
pub(super) const LOOKUP_PATIENCE: u32 = 8;

/// A machine's parent, and what is known of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Parent {
    /// To the virtual node above; none: this machine is the root, or part of no ring.
    reference: Option<Reference>,
    state: State,
}

/// How the link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing is waited for.
    #[default]
    Quiet,
    /// The key is looked up.
    Sought { request: u32, due: Time },
    /// It was not found: it is looked up again then.
    Missed { due: Time },
    /// The host was asked so often, and is to answer until then.
    Asked { tries: u32, due: Time },
}

impl Parent {
    /// Who hosts the virtual node above, as far as that is known.
    pub(super) fn host(&self) -> Option<&Contact> {
        self.reference.as_ref()?.host.as_ref()
    }

    /// When something has to be done.
    pub(super) fn due(&self) -> Time {
        match self.state {
            State::Quiet => Time::NEVER,
            State::Sought { due, .. } | State::Missed { due } | State::Asked { due, .. } => due,
        }
    }
}

impl Somo {
    /// The zone is new, and with it maybe who represents it and what is above that.
    pub(super) fn find_parent(&mut self, before: VirtualNode, now: Now) {
        let key = self.tree.parent(self.node).map(|above| self.tree.key(above));
        match (key, &self.parent.reference) {
            (None, _) => self.parent = Parent::default(),
            (Some(key), Some(reference)) if reference.key == key => {
                // The lower end of the link is another now, and the upper one is to know.
                if self.node != before && self.parent.host().is_some() {
                    self.ask_parent(1, now);
                }
            }
            (Some(key), _) => {
                self.parent.reference = Some(Reference::new(key));
                self.seek(now);
            }
        }
    }

    /// Looks the parent's key up.
    fn seek(&mut self, now: Now) {
        let Some(reference) = &mut self.parent.reference else { return };
        reference.host = None;
        let key = reference.key;
        let request = self.next_request();
        let due = now.time + self.config.answer * LOOKUP_PATIENCE;
        self.parent.state = State::Sought { request, due };
        self.out.event(Event::Find { request, key });
    }

    /// A lookup is over.
    pub(super) fn found(&mut self, request: u32, owner: Option<Contact>, now: Now) {
        let is_parents =
            matches!(self.parent.state, State::Sought { request: sought, .. } if sought == request);
        if !is_parents {
            let is_else = self.found_root(request, owner.as_ref(), now)
                || self.found_host(request, owner.as_ref(), now)
                || self.found_partner(request, owner.as_ref(), now);
            if !is_else {
                self.found_heir(request, owner);
            }
            return;
        }
        match owner.filter(|owner| owner.id != self.me.id) {
            Some(owner) => {
                let reference = self.parent.reference.take();
                self.parent.reference = reference.map(|reference| reference.at(owner));
                self.ask_parent(1, now);
            }
            // Or this machine does not know yet that its zone is greater.
            None => self.parent.state = State::Missed { due: now.time + self.config.answer },
        }
    }

    /// Has the parent take a report in full.
    fn ask_parent(&mut self, tries: u32, now: Now) {
        self.parent.state = State::Asked { tries, due: now.time + self.config.answer };
        self.report = self.merged(now);
        self.send_report(0, true, tries as usize - 1);
    }

    /// What was waited for has not come.
    pub(super) fn parent_timeout(&mut self, now: Now) {
        if self.parent.due() > now.time {
            return;
        }
        match self.parent.state {
            State::Asked { tries, .. } if tries < ASKED_MAX => self.ask_parent(tries + 1, now),
            _ => self.seek(now),
        }
    }

    /// Asks whether the parent still knows this machine's report.
    pub(super) fn keep_parent(&mut self, now: Now) {
        let Some(host) = self.parent.host() else { return };
        if self.parent.state == State::Quiet {
            let to = host.endpoint();
            let message = Message::Keep { serial: self.serial, node: self.node };
            self.parent.state = State::Asked { tries: 1, due: now.time + self.config.answer };
            self.send(to, &message, Class::Queued);
        }
    }

    /// A new report goes up, if there is somebody to take it: in answer to a call (`round`), or by
    /// itself, and then it is acknowledged.
    pub(super) fn report_up(&mut self, round: u32, now: Now) {
        self.settle_at = Time::NEVER;
        let old = core::mem::take(&mut self.report);
        self.report = self.merged(now);
        self.answer_subscribers();
        if self.parent.host().is_none() {
            return;
        }
        let (head, tail) = common(&old, &self.report);
        let is_short = usize::from(head) + usize::from(tail) > self.report.len() / 2;
        let of = self.serial;
        if round == 0 && self.parent.state == State::Quiet {
            self.parent.state = State::Asked { tries: 1, due: now.time + self.config.answer };
        }
        if !is_short || old.is_empty() {
            return self.send_report(round, true, 0);
        }
        let end = self.report.len() - usize::from(tail);
        let middle = self.report[usize::from(head)..end].to_vec();
        let heading = self.heading(round, true);
        let to = self.parent.host().map(Contact::endpoint);
        let message = Message::Delta { heading, of, head, tail, middle };
        to.into_iter().for_each(|to| self.send(to, &message, Class::Immediate));
    }

    /// The report in full; a new one, or that of the last number again.
    fn send_report(&mut self, round: u32, is_new: bool, attempt: usize) {
        let Some(to) = self.parent.host().map(|host| host.endpoint_for(attempt)) else { return };
        let heading = self.heading(round, is_new);
        let message = Message::Report { heading, me: self.me.clone(), report: self.report.clone() };
        let class = if attempt == 0 { Class::Immediate } else { Class::Repeated };
        self.send(to, &message, class);
    }

    fn heading(&mut self, round: u32, is_new: bool) -> Heading {
        self.serial = self.serial.wrapping_add(u32::from(is_new));
        Heading { serial: self.serial, round, node: self.node, span: self.span() }
    }

    /// The parent has what was sent.
    pub(super) fn taken(&mut self, serial: u32, sender: PeerId) -> Result<(), DropReason> {
        if self.is_parent(sender) && serial == self.serial {
            self.parent.state = State::Quiet;
        }
        Ok(())
    }

    /// The parent does not know what has changed.
    pub(super) fn again(&mut self, sender: PeerId, now: Now) -> Result<(), DropReason> {
        if self.is_parent(sender) {
            self.ask_parent(1, now);
        }
        Ok(())
    }

    /// It is not the parent any more.
    pub(super) fn moved(&mut self, sender: PeerId, now: Now) -> Result<(), DropReason> {
        if self.is_parent(sender) {
            let due = now.time + self.random.up_to(self.config.answer / 4);
            if let Some(reference) = &mut self.parent.reference {
                reference.host = None;
            }
            self.parent.state = State::Missed { due };
        }
        Ok(())
    }

    /// Somebody has missed whoever was here before.
    pub(super) fn restart(&mut self, now: Now) -> Result<(), DropReason> {
        self.keep_parent(now);
        Ok(())
    }
}

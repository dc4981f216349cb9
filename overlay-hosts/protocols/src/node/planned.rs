//! Multicast sessions that are planned: what joins them to the tree of reports, which says what the pool
//! has, and to delivery, which lets data flow.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Event, OverlayNode};
use crate::alm::Rank;
use crate::contact::Contact;
use crate::delivery;
use crate::drops::DropReason;
use crate::id::RingId;
use crate::machine::Output;
use crate::resource_pool::{HOSTS_MAX, Snapshot};
use crate::sessions::{self, Command, Sessions};
use crate::somo;
use crate::time::{Now, Time};

/// The tree's query for a snapshot; others of this number are nobody's.
const SURVEY: u64 = u64::MAX;

/// A report that is this old is no longer planned on. While the tree heals, some hosts are in no
/// snapshot; those that are gone do not answer when they are asked.
const REPORT_HOLDS: Duration = Duration::from_secs(60);

/// Sessions, and what hosts have reported lately.
pub(super) struct Planned {
    pub(super) machine: Sessions,
    reports: BTreeMap<RingId, (Time, Vec<u8>)>,
}

impl Planned {
    pub(super) fn new(config: sessions::Config, me: Contact) -> Planned {
        Planned { machine: Sessions::new(config, me), reports: BTreeMap::new() }
    }
}

impl OverlayNode {
    /// Sessions that are planned, if it takes part in any.
    pub fn sessions(&self) -> Option<&Sessions> {
        self.sessions.as_deref().map(|planned| &planned.machine)
    }

    /// Something for them.
    pub(super) fn plan(&mut self, input: sessions::Input<'_>, now: Now) -> Result<(), DropReason> {
        match &mut self.sessions {
            Some(planned) => planned.machine.handle_input(input, now),
            None => Err(DropReason::UnknownProtocol),
        }
    }

    /// Lets sessions and delivery say what they have to say; whether they asked something of others.
    pub(super) fn drain_sessions(&mut self, now: Now) -> bool {
        let mut has_asked = false;
        while let Some(output) = self.delivery.as_mut().and_then(|each| each.poll_output()) {
            let command = match &output {
                Output::Event(delivery::Event::Gone { session, peer }) => {
                    Some(Command::Gone(*session, *peer))
                }
                Output::Event(delivery::Event::Ended { session, root }) if *root == self.me.id => {
                    Some(Command::End(*session))
                }
                _ => None,
            };
            if let Some(command) = command {
                // Not every session is planned here.
                let _unplanned = self.command(command, now);
                has_asked = true;
            }
            self.take(output, Event::Delivery, now);
        }
        let next = |node: &mut OverlayNode| node.sessions.as_mut()?.machine.poll_output();
        while let Some(output) = next(self) {
            if let Output::Event(event) = &output {
                has_asked = true;
                self.follow(event, now);
            }
            self.take(output, Event::Sessions, now);
        }
        has_asked
    }

    fn command(&mut self, command: Command, now: Now) -> Result<(), DropReason> {
        self.plan(sessions::Input::Command(command), now)
    }

    /// Does what sessions ask for.
    fn follow(&mut self, event: &sessions::Event, now: Now) {
        use delivery::Command::{Arrange, Expect, Forget};
        let command = match event {
            sessions::Event::Survey => return self.survey(now),
            sessions::Event::Arranged { session, slots, seats } => {
                Arrange { session: *session, slots: *slots, seats: seats.clone() }
            }
            sessions::Event::Claimed { session, root, rank } => {
                Expect { session: *session, root: *root, receives: *rank == Rank::Member }
            }
            sessions::Event::Released { session, root } => {
                Forget { session: *session, root: *root }
            }
            _ => return,
        };
        if let Err(reason) = self.deliver(delivery::Input::Command(command), now) {
            self.drops.count(reason);
        }
    }

    /// Asks all for their reports; without a tree there are none.
    fn survey(&mut self, now: Now) {
        if self.somo.is_none() {
            return self.surveyed(now);
        }
        let (request, range, raw) = (SURVEY, somo::Range::ALL, true);
        // A command is never dropped.
        let _taken = self.command_somo(somo::Command::Query { request, range, raw }, now);
    }

    /// News of the tree, unless they are what was asked for here.
    pub(super) fn survey_heard(&mut self, event: somo::Event, now: Now) -> Option<somo::Event> {
        let Some(planned) = &mut self.sessions else { return Some(event) };
        match event {
            somo::Event::Listed { request: SURVEY, entries } => {
                for (position, report) in entries {
                    let is_known = planned.reports.contains_key(&position);
                    if is_known || planned.reports.len() < HOSTS_MAX {
                        planned.reports.insert(position, (now.time, report));
                    }
                }
            }
            somo::Event::Answered { request: SURVEY, .. } => self.surveyed(now),
            event => return Some(event),
        }
        None
    }

    fn surveyed(&mut self, now: Now) {
        let Some(planned) = &mut self.sessions else { return };
        planned.reports.retain(|_, (at, _)| now.time.since(*at) < REPORT_HOLDS);
        let reports = planned.reports.iter().map(|(at, (_, report))| (*at, report.clone()));
        let snapshot = Snapshot::of(reports);
        let _taken = self.command(Command::Snapshot(snapshot), now);
    }
}

//! A host's side: its degree table, and whose claims are in it. Claims are soft: one that its root does
//! not renew ends, so that nothing is held for a root that is gone.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::config::{CLAIMS_MAX, CLAIMS_OF_ONE_MAX, Config, TRIES};
use crate::alm::{Claim, Degrees, SessionId, Verdict};
use crate::contact::Endpoint;
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::time::Time;

/// What becomes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Granted,
    /// There are only so many.
    Refused(u16),
}

/// A root that is told that its session has lost its degrees.
#[derive(Clone, Debug)]
struct Notice {
    at: Time,
    tries: u8,
}

#[derive(Clone, Debug)]
struct Lease {
    root: Endpoint,
    serial: u32,
    until: Time,
    /// The claim was taken away.
    is_lost: bool,
    notice: Option<Notice>,
}

/// All claims at a host.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    degrees: Degrees,
    leases: BTreeMap<SessionId, Lease>,
}

impl Leases {
    /// Nobody has anything of these.
    pub(super) fn new(total: u16) -> Leases {
        Leases { degrees: Degrees::new(total), leases: BTreeMap::new() }
    }

    pub(super) fn degrees(&self) -> &Degrees {
        &self.degrees
    }

    /// A root's claim, which holds until then.
    ///
    /// # Errors
    /// It is older than one that was heard.
    pub(super) fn claim(
        &mut self,
        (claim, serial): (Claim, u32),
        root: Endpoint,
        until: Time,
        now: Time,
    ) -> Result<Answer, DropReason> {
        let Claim { session, rank, .. } = claim;
        match self.leases.get(&session) {
            Some(lease) if lease.root.id != root.id => return Ok(Answer::Refused(0)),
            Some(lease) if serial < lease.serial => return Err(DropReason::Ancient),
            Some(lease) if lease.is_lost && serial == lease.serial => {
                return Ok(Answer::Refused(self.degrees.available(session, rank)));
            }
            Some(_) => {}
            None if claim.degrees == 0 => return Ok(Answer::Granted),
            None if !self.has_room(root.id) => return Ok(Answer::Refused(0)),
            None => {}
        }
        let preempted = match self.degrees.claim(claim) {
            Verdict::Granted { preempted } => preempted,
            Verdict::Refused { available } => {
                if let Some(lease) = self.leases.get_mut(&session) {
                    lease.until = until;
                }
                return Ok(Answer::Refused(available));
            }
        };
        for gone in preempted {
            if let Some(lease) = self.leases.get_mut(&gone.session) {
                lease.is_lost = true;
                lease.notice = Some(Notice { at: now, tries: 0 });
            }
        }
        // One of no degrees stays as long: what was said before it may come later.
        let lease = Lease { root, serial, until, is_lost: false, notice: None };
        self.leases.insert(session, lease);
        Ok(Answer::Granted)
    }

    fn has_room(&self, root: Option<PeerId>) -> bool {
        let of_root = self.leases.values().filter(|lease| lease.root.id == root).count();
        self.leases.len() < CLAIMS_MAX && of_root < CLAIMS_OF_ONE_MAX
    }

    /// A root knows that its claim is lost.
    ///
    /// # Errors
    /// It has none.
    pub(super) fn noted(
        &mut self,
        session: SessionId,
        serial: u32,
        root: Endpoint,
    ) -> Result<(), DropReason> {
        let lease = self.leases.get_mut(&session).filter(|lease| lease.root.id == root.id);
        let lease = lease.ok_or(DropReason::NotInTree)?;
        if lease.serial == serial {
            lease.notice = None;
        }
        Ok(())
    }

    /// Roots to be told now that their session has lost what it had by the claim of this number.
    pub(super) fn notices(
        &mut self,
        config: &Config,
        now: Time,
    ) -> Vec<(Endpoint, SessionId, u32)> {
        let mut due = Vec::new();
        for (session, lease) in &mut self.leases {
            let Some(notice) = lease.notice.as_mut().filter(|notice| notice.at <= now) else {
                continue;
            };
            notice.at = now + config.wait(notice.tries);
            notice.tries += 1;
            due.push((lease.root, *session, lease.serial));
            if notice.tries >= TRIES {
                // It finds out when it renews its claim.
                lease.notice = None;
            }
        }
        due
    }

    /// Takes out what was not renewed: the sessions and their roots.
    pub(super) fn expire(&mut self, now: Time) -> Vec<(SessionId, Endpoint)> {
        let is_over = |lease: &Lease| lease.until <= now;
        let over = self.leases.iter().filter(|(_, lease)| is_over(lease));
        let over: Vec<(SessionId, Endpoint)> =
            over.map(|(session, lease)| (*session, lease.root)).collect();
        for (session, _) in &over {
            self.degrees.release(*session);
            self.leases.remove(session);
        }
        over
    }

    /// When something of this is due.
    pub(super) fn due_at(&self) -> Option<Time> {
        let each = |lease: &Lease| {
            lease.notice.as_ref().map_or(lease.until, |notice| notice.at.min(lease.until))
        };
        self.leases.values().map(each).min()
    }
}

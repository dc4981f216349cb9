//! Multicast sessions that share a pool (seed 003 paragraphs 0088 to 0097): each root plans the tree of its own session
//! on what the pool's tree has gathered, and asks hosts for the degrees that the tree needs.
//!
//! ```text
//!  root:   Begin ─► Survey ─► Command::Snapshot ─► alm::Session ─► claims ─► all granted ─► Arranged
//!                     ▲                               │ preempted, gone, refused, from time to time
//!                     └───────────────────────────────┘
//!  hosts:  claim ─► degree table ─► granted | refused;  a weaker session: Preempted ─► its root
//! ```
//!
//! 1. **Plan** (`task`, [`crate::alm`]): a session is planned when it begins, when its tree loses
//!    something, when members come and go, and from time to time.
//! 2. **Reserve** (`leases`): a claim says how much a session has at a host from now on, and holds for a
//!    while; so what a root that is gone has held is free again.
//! 3. **Run** ([`crate::delivery`]): once all have agreed, the tree is told. A whole node lets data flow
//!    along it by itself, and takes a place only in sessions that have claimed it.
//!
//! It knows no pool and no tree of reports: whoever drives it gathers a snapshot when it asks for one.

mod config;
mod leases;
mod message;
mod task;
#[cfg(test)]
mod tests;
mod view;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub use config::*;

use crate::alm::{Degrees, Micros, PlanError, Priority, Rank, SessionId};
use crate::contact::{Contact, Endpoint};
use crate::delivery::Seat;
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{self, Class, Outbox, Output, Received};
use crate::resource_pool::Snapshot;
use crate::time::{Now, Time};
use leases::{Answer, Leases};
use message::Message;
use task::{Task, Turn};
use view::View;

/// What goes in.
pub enum Input<'a> {
    /// A message has come.
    Message(Received<'a>),
    /// Something is wanted.
    Command(Command),
}

/// What is wanted of sessions whose root this host is.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Begins one.
    Begin {
        /// A number that was drawn at random.
        session: SessionId,
        /// How important it is.
        priority: Priority,
        /// Everybody who shall receive.
        members: Vec<Contact>,
    },
    /// A member more.
    Join(SessionId, Contact),
    /// A member less, who may help from then on.
    Leave(SessionId, PeerId),
    /// It is over.
    End(SessionId),
    /// The answer to [`Event::Survey`].
    Snapshot(Snapshot),
    /// Delivery has given somebody up.
    Gone(SessionId, PeerId),
}

/// What it tells, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What is there in the pool? [`Command::Snapshot`] is to answer.
    Survey,
    /// At the root: all hosts of a tree have agreed to it; it is the session's from now on.
    Arranged {
        /// Of which session.
        session: SessionId,
        /// Children that the root can have.
        slots: usize,
        /// Everybody else.
        seats: Vec<Seat>,
    },
    /// At the root: there is no plan. It is tried again.
    Unplanned {
        /// Of which session.
        session: SessionId,
        /// Why.
        why: PlanError,
    },
    /// At the root: a stronger session has taken a host away.
    Preempted {
        /// From which session.
        session: SessionId,
        /// Who.
        host: PeerId,
    },
    /// At the root: somebody does not answer, and is not part of it any more.
    Gone {
        /// Of which session.
        session: SessionId,
        /// Who.
        host: PeerId,
        /// It was a member, not a helper.
        member: bool,
    },
    /// Here: a session has degrees, and may place this host in its tree.
    Claimed {
        /// Which.
        session: SessionId,
        /// Its root.
        root: PeerId,
        /// What it is here; of a member, data is handed up.
        rank: Rank,
    },
    /// Here: it has none any more.
    Released {
        /// Which.
        session: SessionId,
        /// Its root.
        root: PeerId,
    },
    /// Others are free than before; it should be reported.
    DegreesChanged,
}

/// A session as its root sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskView {
    /// Its number.
    pub session: SessionId,
    /// Its priority.
    pub priority: Priority,
    /// Members, the root included.
    pub members: Vec<PeerId>,
    /// The tree, from child to parent.
    pub links: Vec<(PeerId, PeerId)>,
    /// Degrees that hosts have agreed to.
    pub held: Vec<(PeerId, u16)>,
    /// The latest that a member gets anything, by the last snapshot: microseconds from the root. `None`
    /// where members do not know where they stand.
    pub height: Option<Micros>,
    /// All hosts of the tree have agreed to it, and nothing of it is missing.
    pub is_whole: bool,
}

/// All that a host has to do with sessions.
pub struct Sessions {
    config: Config,
    me: Contact,
    leases: Leases,
    tasks: BTreeMap<SessionId, Task>,
    snapshot: Snapshot,
    out: Outbox<Event>,
}

impl Sessions {
    /// Without any.
    pub fn new(config: Config, me: Contact) -> Sessions {
        let config = config.bounded();
        let leases = Leases::new(config.degrees);
        let (tasks, snapshot) = (BTreeMap::new(), Snapshot::default());
        Sessions { config, me, leases, tasks, snapshot, out: Outbox::default() }
    }

    /// Takes an input.
    ///
    /// # Errors
    /// A message is dropped, or a command cannot be followed.
    pub fn handle_input(&mut self, input: Input<'_>, now: Now) -> Result<(), DropReason> {
        match input {
            Input::Command(command) => self.command(command, now.time),
            Input::Message(received) => {
                let message = machine::decode(received.message).ok_or(DropReason::Malformed)?;
                self.message(message, received.from, now.time)
            }
        }
    }

    /// The moment of [`poll_timeout`](Sessions::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Now) {
        let now = now.time;
        for (root, session, serial) in self.leases.notices(&self.config, now) {
            if root.id == Some(self.me.id) {
                // Both are here, and know each other.
                let _own = self.leases.noted(session, serial, root);
                let _own = self.preempted(session, serial, self.me.id, now);
                continue;
            }
            self.turn(now).send(root, &Message::Preempted { session, serial }, Class::Immediate);
        }
        let over = self.leases.expire(now);
        for (session, root) in &over {
            let root = root.id.unwrap_or_default();
            if root != self.me.id {
                self.out.event(Event::Released { session: *session, root });
            }
        }
        if !over.is_empty() {
            self.out.event(Event::DegreesChanged);
        }
        let is_asked = self.tasks.values().any(Task::is_waiting);
        let due = self.tasks.iter().filter(|(_, task)| task.due_at() <= now);
        let due: Vec<SessionId> = due.map(|(session, _)| *session).collect();
        let mut wants = false;
        for session in due {
            let wanted = self.with(session, now, |task, turn| task.handle_timeout(turn));
            wants |= wanted == Some(true);
        }
        if wants && !is_asked {
            self.out.event(Event::Survey);
        }
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.poll()
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let tasks = self.tasks.values().map(Task::due_at).filter(|at| *at != Time::NEVER);
        tasks.chain(self.leases.due_at()).min().map(|at| (at, "sessions"))
    }

    /// This host's degree table.
    pub fn degrees(&self) -> &Degrees {
        self.leases.degrees()
    }

    /// Sessions whose root this host is.
    pub fn tasks(&self) -> impl Iterator<Item = TaskView> + '_ {
        let view = View::new(&self.snapshot, self.me.id, self.leases.degrees());
        self.tasks.values().map(move |task| {
            let session = task.session();
            let members: Vec<PeerId> = session.members().iter().copied().collect();
            TaskView {
                session: session.id(),
                priority: session.priority(),
                links: session.links().iter().map(|(child, parent)| (*child, *parent)).collect(),
                held: session.held().iter().map(|(host, degrees)| (*host, *degrees)).collect(),
                height: view.height(session.links(), members.iter().copied()),
                members,
                is_whole: !session.needs_plan() && !session.is_asking(),
            }
        })
    }

    fn turn(&mut self, now: Time) -> Turn<'_> {
        let Sessions { config, me, leases, out, .. } = self;
        Turn { config, me, out, leases, now }
    }

    fn with<R>(
        &mut self,
        session: SessionId,
        now: Time,
        act: impl FnOnce(&mut Task, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let Sessions { config, me, leases, out, tasks, .. } = self;
        Some(act(tasks.get_mut(&session)?, &mut Turn { config, me, out, leases, now }))
    }

    fn command(&mut self, command: Command, now: Time) -> Result<(), DropReason> {
        let unknown = DropReason::NotInTree;
        match command {
            Command::Begin { session, priority, members } => {
                if self.tasks.len() >= SESSIONS_MAX || self.tasks.contains_key(&session) {
                    return Err(DropReason::SessionFull);
                }
                let task = Task::new(session, priority, members, &self.turn(now));
                self.tasks.insert(session, task);
                Ok(())
            }
            Command::Join(session, member) => {
                self.with(session, now, |task, turn| task.join(member, turn)).ok_or(unknown)
            }
            Command::Leave(session, member) => {
                self.with(session, now, |task, turn| task.leave(member, turn)).ok_or(unknown)
            }
            Command::Gone(session, host) => {
                self.with(session, now, |task, turn| task.gone(host, turn)).ok_or(unknown)
            }
            Command::End(session) => {
                self.with(session, now, |task, turn| task.end(turn)).ok_or(unknown)?;
                self.tasks.remove(&session);
                Ok(())
            }
            Command::Snapshot(snapshot) => {
                self.snapshot = snapshot;
                let Sessions { config, me, leases, out, tasks, snapshot, .. } = self;
                let view = View::new(snapshot, me.id, leases.degrees());
                for task in tasks.values_mut().filter(|task| task.is_waiting()) {
                    task.plan(&view, &mut Turn { config, me, out, leases, now });
                }
                Ok(())
            }
        }
    }

    fn message(&mut self, message: Message, from: Endpoint, now: Time) -> Result<(), DropReason> {
        let sender = from.id.unwrap_or_default();
        let unknown = Err(DropReason::NotInTree);
        let (session, serial, answer) = match message {
            Message::Claim { claim, serial } => {
                let session = claim.session;
                let answer = match self.config.open || claim.degrees == 0 {
                    true => self.turn(now).claim(claim, serial, from)?,
                    false => Answer::Refused(0),
                };
                let answer = match answer {
                    Answer::Granted => Message::Granted { session, serial },
                    Answer::Refused(available) => Message::Refused { session, serial, available },
                };
                self.turn(now).send(from, &answer, Class::Immediate);
                return Ok(());
            }
            Message::Preempted { session, serial } => {
                let noted = Message::Noted { session, serial };
                self.turn(now).send(from, &noted, Class::Immediate);
                return self.preempted(session, serial, sender, now);
            }
            Message::Noted { session, serial } => return self.leases.noted(session, serial, from),
            Message::Granted { session, serial } => (session, serial, Answer::Granted),
            Message::Refused { session, serial, available } => {
                (session, serial, Answer::Refused(available))
            }
        };
        self.with(session, now, |task, turn| task.answered(sender, serial, answer, turn))
            .unwrap_or(unknown)
    }

    fn preempted(
        &mut self,
        session: SessionId,
        serial: u32,
        host: PeerId,
        now: Time,
    ) -> Result<(), DropReason> {
        self.with(session, now, |task, turn| task.preempted(host, serial, turn))
            .ok_or(DropReason::NotInTree)
    }
}

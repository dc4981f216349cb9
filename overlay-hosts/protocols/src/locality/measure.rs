//! Requests that wait for answers, measurements among them: repeated once, then failed.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::contact::{Contact, Endpoint};
use crate::id::PeerId;
use crate::machine::{self, Class, Outbox, Protocol, Received};
use crate::random::Random;
use crate::time::{Now, Time, Wall, micros};

use super::Event;
use super::config::Metric;
use super::message::{Distance, GroupId, GroupRef, Message, Reign};

/// Requests that may wait at once; what is asked then is not sent, and has failed at once.
pub const REQUESTS_MAX: usize = 64;

/// What an answer of a group's leader is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Figure 10.
    Search,
    /// Figure 11.
    Founding,
    /// A walk to any group.
    Walk,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Measure,
    Boot,
    Neighbors,
    Distances,
    Cache(Purpose),
    Link {
        from: GroupRef,
        to: GroupRef,
        distance: Distance,
        far: bool,
    },
    /// How often the neighbor's leader was said to be another.
    Relink {
        from: GroupRef,
        redirected: u8,
    },
    Members {
        group: GroupId,
        more: bool,
    },
    Synchronize {
        group: GroupId,
    },
    Connect {
        group: GroupId,
    },
    /// Asked `once`, as one second is all there is, or repeated as others are.
    Leader {
        group: GroupId,
        reign: Reign,
        once: bool,
    },
}

impl Ask {
    fn message(&self, nonce: u64, me: &Contact) -> Message {
        let me = || me.clone();
        match self {
            Ask::Measure => Message::Measure { nonce },
            Ask::Boot => Message::GetBootList { nonce },
            Ask::Neighbors => Message::GetNeighbors { nonce },
            Ask::Distances => Message::GetDistances { nonce },
            Ask::Cache(_) => Message::GetCache { nonce },
            Ask::Link { from, distance, far, .. } => {
                Message::Link { nonce, from: from.clone(), distance: *distance, far: *far }
            }
            Ask::Relink { from, .. } => Message::Relink { nonce, from: from.clone() },
            Ask::Members { group, more } => {
                Message::GetMembers { nonce, group: *group, me: me(), more: *more }
            }
            Ask::Synchronize { group } => Message::Synchronize { nonce, group: *group },
            Ask::Connect { group } => Message::Connect { nonce, group: *group, me: me() },
            Ask::Leader { group, reign, .. } => {
                Message::GetLeader { nonce, group: *group, reign: *reign, me: me() }
            }
        }
    }
}

impl Ask {
    /// Whether a message can be the answer.
    fn is_answered_by(&self, message: &Message) -> bool {
        match (self, message) {
            (Ask::Measure, Message::MeasureReply { .. })
            | (Ask::Boot, Message::BootList { .. })
            | (Ask::Neighbors, Message::Neighbors { .. })
            | (Ask::Distances, Message::Distances { .. })
            | (Ask::Cache(_), Message::Cache { .. })
            | (Ask::Link { .. } | Ask::Relink { .. }, Message::NotLinked { .. })
            | (Ask::Relink { .. }, Message::Linked { .. })
            | (Ask::Connect { .. }, Message::Connected { .. } | Message::Refused { .. }) => true,
            (Ask::Link { to, .. }, Message::Linked { group, .. }) => to.group == *group,
            (
                Ask::Members { group, .. } | Ask::Synchronize { group },
                Message::Members { group: told, .. },
            )
            | (Ask::Leader { group, .. }, Message::Leader { group: told, .. }) => group == told,
            (Ask::Measure | Ask::Boot | Ask::Connect { .. } | Ask::Leader { .. }, _) => false,
            (_, Message::NotLeader { .. }) => true,
            _ => false,
        }
    }
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Peer(Contact),
    Address(SocketAddr),
}

impl Target {
    fn endpoint(&self, attempt: usize) -> Endpoint {
        match self {
            Target::Peer(contact) => contact.endpoint_for(attempt),
            Target::Address(address) => (*address).into(),
        }
    }

    pub(super) fn id(&self) -> Option<PeerId> {
        match self {
            Target::Peer(contact) => Some(contact.id),
            Target::Address(_) => None,
        }
    }
}

/// A request on its way: each try has a number of its own, so that an answer tells when it was asked.
#[derive(Clone, Debug)]
struct Pending {
    ask: Ask,
    waiting: Vec<Target>,
    tries: Vec<(u64, Time, Wall)>,
    deadline: Time,
}

/// A request that was answered.
pub(super) struct Answered {
    pub(super) ask: Ask,
    sent: (Time, Wall),
}

/// A request that one of those asked has not answered.
pub(super) struct Failed {
    pub(super) ask: Ask,
    pub(super) target: Target,
}

/// All of them.
#[derive(Default)]
pub(super) struct Requests {
    pending: Vec<Pending>,
    refused: Vec<Failed>,
    /// Measures sent so far.
    pub(super) measures: u64,
}

impl Requests {
    /// Asks all of them the same, as one output.
    pub(super) fn ask(
        &mut self,
        ask: Ask,
        to: Vec<Target>,
        context: (&Contact, Duration, &mut Random),
        out: &mut Outbox<Event>,
        now: Now,
    ) {
        let (me, timeout, random) = context;
        if to.is_empty() {
            return;
        }
        if self.pending.len() >= REQUESTS_MAX {
            let failed = |target| Failed { ask: ask.clone(), target };
            self.refused.extend(to.into_iter().map(failed));
            return;
        }
        let nonce = random.number();
        let class = match ask {
            Ask::Measure => Class::Immediate,
            _ => Class::Queued,
        };
        if ask == Ask::Measure {
            self.measures += to.len() as u64;
        }
        let endpoints = to.iter().map(|target| target.endpoint(0)).collect();
        out.send(endpoints, Protocol::Locality, &ask.message(nonce, me), class);
        let tries = alloc::vec![(nonce, now.time, now.wall)];
        let deadline = now.time + timeout;
        machine::push_last(&mut self.pending, Pending { ask, waiting: to, tries, deadline });
    }

    /// Whether such a request to this peer waits already.
    pub(super) fn is_waiting(&self, ask: &Ask, id: PeerId) -> bool {
        self.pending.iter().any(|pending| {
            pending.ask == *ask && pending.waiting.iter().any(|target| target.id() == Some(id))
        })
    }

    /// How many have not answered this yet.
    pub(super) fn waiting(&self, ask: &Ask) -> usize {
        let same = self.pending.iter().filter(|pending| pending.ask == *ask);
        same.map(|pending| pending.waiting.len()).sum()
    }

    /// The request that somebody answers; `None` if nothing was asked of it that this answers. Then
    /// it waits on, and fails in time.
    pub(super) fn answer(&mut self, sender: PeerId, message: &Message) -> Option<Answered> {
        let nonce = message.answers()?;
        let place = self
            .pending
            .iter()
            .position(|pending| pending.tries.iter().any(|(number, ..)| *number == nonce))?;
        let pending = &mut self.pending[place];
        let (_, at, wall) = *pending.tries.iter().find(|(number, ..)| *number == nonce)?;
        let is_it = |target: &Target| target.id().is_none_or(|id| id == sender);
        let fits = pending.ask.is_answered_by(message);
        let target = pending.waiting.iter().position(is_it).filter(|_| fits)?;
        pending.waiting.remove(target);
        let answered = Answered { ask: pending.ask.clone(), sent: (at, wall) };
        if pending.waiting.is_empty() {
            self.pending.remove(place);
        }
        Some(answered)
    }

    /// Repeats what is due, and gives what has failed: each target alone.
    pub(super) fn handle_timeout(
        &mut self,
        context: (&Contact, Duration, &mut Random),
        out: &mut Outbox<Event>,
        now: Now,
    ) -> Vec<Failed> {
        let (me, timeout, random) = context;
        let mut failed = core::mem::take(&mut self.refused);
        let mut place = 0;
        while place < self.pending.len() {
            let pending = &mut self.pending[place];
            if pending.deadline > now.time {
                place += 1;
            } else if pending.tries.len() == 1
                && !matches!(pending.ask, Ask::Leader { once: true, .. })
            {
                let nonce = random.number();
                let attempt = |target: &Target| target.endpoint(1);
                let endpoints = pending.waiting.iter().map(attempt).collect();
                let message = pending.ask.message(nonce, me);
                if pending.ask == Ask::Measure {
                    self.measures += pending.waiting.len() as u64;
                }
                out.send(endpoints, Protocol::Locality, &message, Class::Repeated);
                pending.tries.push((nonce, now.time, now.wall));
                pending.deadline = now.time + timeout * 2;
                place += 1;
            } else {
                let gone = self.pending.remove(place);
                let ask = gone.ask;
                let each = |target| Failed { ask: ask.clone(), target };
                failed.extend(gone.waiting.into_iter().map(each));
            }
        }
        failed
    }

    /// Forgets requests that nobody wants answered any more.
    pub(super) fn forget(&mut self, is_over: impl Fn(&Ask) -> bool) {
        self.pending.retain(|pending| !is_over(&pending.ask));
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let refused = (!self.refused.is_empty()).then_some(Time(0));
        self.pending.iter().map(|pending| pending.deadline).chain(refused).min()
    }
}

impl Answered {
    /// How far who has answered is.
    pub(super) fn distance(
        &self,
        metric: Metric,
        received: &Received<'_>,
        there: Wall,
    ) -> Distance {
        let (at, wall) = self.sent;
        let distance = match metric {
            Metric::RoundTrip => micros(received.at.since(at)),
            Metric::OneWay => there.0.saturating_sub(wall.0),
            Metric::Hops => u64::from(TTL_SENT.saturating_sub(received.ttl)),
        };
        Distance(u32::try_from(distance).unwrap_or(u32::MAX))
    }
}

/// The TTL that datagrams are sent with.
const TTL_SENT: u8 = 64;

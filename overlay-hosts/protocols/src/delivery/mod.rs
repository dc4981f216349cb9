//! A session's data along its tree (seed 003 with seed 002 paragraphs 0042 to 0044).
//!
//! 1. **Places** (`roster`): the root tells every host of a session its parent and its children, and
//!    repeats it until it is answered. Nobody else's word counts, and nothing is taken from others.
//! 2. **Links** (`stream`): a child says to its parent that it is there, and gets everything from then
//!    on. Both say so now and then if there is nothing else to say.
//! 3. **Data** (`repair`): numbered 0, 1, 2, ...; each host sends it on to its children as soon as it
//!    comes, one output for up to 50 of them, and hands it up: none twice.
//! 4. **Repair** (`repair`, `window`): who misses a number asks its parent, ever more rarely; what came
//!    in the last seconds is kept for that. A parent that is new in the session has not what was sent
//!    before: that is asked of the root.
//! 5. **Crashes**: who hears nothing from its parent asks the root for another one, and gets what it has
//!    missed from there. Whoever is below it keeps its place; a host without children takes that of the
//!    silent one.
//!
//! Every datagram is signed by the host that sends it on, so hosts of a session trust those above them
//! with what they forward: nothing shows at the receiver that a payload is as the root has sent it.

mod config;
mod message;
mod repair;
mod roster;
mod stream;
#[cfg(test)]
mod tests;
mod window;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

pub use config::{CHILDREN_MAX, Config, EXPECTED_MAX, Order, PAYLOAD_MAX, SEATS_MAX};
pub use roster::Seat;

pub use crate::alm::SessionId;
use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::{self, Outbox, Output, Received};
use crate::time::{Now, Time};
use message::{Key, Message, Place};
use stream::{Above, Fate, Stream, Turn};

/// What goes in.
pub enum Input<'a> {
    /// A message has come.
    Message(Received<'a>),
    /// Something is wanted.
    Command(Command),
}

/// What is wanted of a session whose root this host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Begins a session, or gives it another tree; whoever is not in `seats` is not part of it any more.
    Arrange {
        /// A number that was drawn at random.
        session: SessionId,
        /// Children that the root may have, [`CHILDREN_MAX`] at most. It counts when a session begins.
        slots: usize,
        /// Everybody else.
        seats: Vec<Seat>,
    },
    /// One host more, or one that is otherwise from now on. It gets what is sent from now on.
    Join(SessionId, Seat),
    /// One less.
    Leave(SessionId, PeerId),
    /// A payload to all, of [`PAYLOAD_MAX`] octets at most.
    Send(SessionId, Vec<u8>),
    /// There will be no more.
    End(SessionId),
    /// Another root may place this host in its session, [`EXPECTED_MAX`] at once.
    Expect {
        /// Which session.
        session: SessionId,
        /// Its root.
        root: PeerId,
        /// As a receiver, not only as a helper.
        receives: bool,
    },
    /// It may not any more; where this host stands in it, it stays.
    Forget {
        /// Which session.
        session: SessionId,
        /// Its root.
        root: PeerId,
    },
}

/// What it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A payload has come.
    Received {
        /// In which session.
        session: SessionId,
        /// Of which root.
        root: PeerId,
        /// Its number.
        sequence: u64,
        /// What it is.
        payload: Vec<u8>,
    },
    /// These will not come any more.
    Missed {
        /// In which session.
        session: SessionId,
        /// Of which root.
        root: PeerId,
        /// The first of them.
        from: u64,
        /// Behind the last of them.
        to: u64,
    },
    /// This host has a parent, or another one, and has heard from it.
    Linked {
        /// In which session.
        session: SessionId,
        /// Of which root.
        root: PeerId,
        /// Who it is.
        parent: PeerId,
    },
    /// All of a session has come, or been given up; at the root: it is over for all.
    Ended {
        /// Which session.
        session: SessionId,
        /// Of which root.
        root: PeerId,
    },
    /// Nothing more comes of a session: its root does not answer, or has put this host out.
    Lost {
        /// Which session.
        session: SessionId,
        /// Of which root.
        root: PeerId,
    },
    /// At the root: somebody does not answer, and is not part of it any more.
    Gone {
        /// Of which session.
        session: SessionId,
        /// Who.
        peer: PeerId,
    },
}

/// How many payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Came, and were new.
    pub received: u64,
    /// Came again.
    pub again: u64,
    /// Were sent on, each child counted.
    pub forwarded: u64,
    /// Were sent once more to somebody who had missed them.
    pub repaired: u64,
    /// Did not come, and were given up.
    pub missed: u64,
}

/// A session as one host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its number.
    pub session: SessionId,
    /// Its root.
    pub root: PeerId,
    /// The parent of this host.
    pub parent: Option<PeerId>,
    /// Its children.
    pub children: Vec<PeerId>,
    /// The first payload that has not come.
    pub next: u64,
    /// Octets that are kept.
    pub octets: usize,
    /// At the root: the whole tree, from child to parent.
    pub links: Vec<(PeerId, PeerId)>,
    /// At the root: everybody has said that it knows its place.
    pub told: bool,
    /// At the root: where everybody else is.
    pub addresses: Vec<(PeerId, SocketAddr)>,
}

/// All sessions of a host.
pub struct Delivery {
    config: Config,
    me: Contact,
    streams: BTreeMap<Key, Stream>,
    /// Where this host may be placed, and whether as a receiver.
    expected: BTreeMap<Key, bool>,
    out: Outbox<Event>,
    counts: Counts,
}

impl Delivery {
    /// Without sessions.
    pub fn new(config: Config, me: Contact) -> Delivery {
        let (streams, expected) = (BTreeMap::new(), BTreeMap::new());
        let (out, counts) = (Outbox::default(), Counts::default());
        Delivery { config: config.bounded(), me, streams, expected, out, counts }
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

    /// The moment of [`poll_timeout`](Delivery::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Now) {
        let due = self.streams.iter().filter(|(_, stream)| stream.poll_timeout() <= now.time);
        let due: Vec<Key> = due.map(|(key, _)| *key).collect();
        for key in due {
            let fate = self.with(key, now.time, |stream, turn| stream.handle_timeout(turn));
            match fate {
                Some(Fate::Over) => {
                    self.streams.remove(&key);
                    if key.1 == self.me.id {
                        self.out.event(Event::Ended { session: key.0, root: key.1 });
                    }
                }
                Some(Fate::Lost) => self.lose(key),
                Some(Fate::Stays) | None => {}
            }
        }
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.poll()
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.streams.values().map(|stream| (stream.poll_timeout(), "delivery")).min()
    }

    /// What came and went.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView> + '_ {
        self.streams.iter().map(|((session, root), stream)| SessionView {
            session: *session,
            root: *root,
            parent: stream.parent(),
            children: stream.children().collect(),
            next: stream.window.next(),
            octets: stream.window.octets(),
            links: stream.roster.iter().flat_map(|roster| roster.links()).collect(),
            told: stream.roster.as_ref().is_some_and(|roster| roster.due_at().is_none()),
            addresses: stream.roster.iter().flat_map(|roster| roster.addresses()).collect(),
        })
    }

    fn with<R>(
        &mut self,
        key: Key,
        now: Time,
        act: impl FnOnce(&mut Stream, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let stream = self.streams.get_mut(&key)?;
        let (config, out, counts) = (&self.config, &mut self.out, &mut self.counts);
        Some(act(stream, &mut Turn { config, me: self.me.id, out, counts, now }))
    }

    fn lose(&mut self, key: Key) {
        if self.streams.remove(&key).is_some() {
            self.out.event(Event::Lost { session: key.0, root: key.1 });
        }
    }

    fn command(&mut self, command: Command, now: Time) -> Result<(), DropReason> {
        let unknown = Err(DropReason::NotInTree);
        let own = |session| (session, self.me.id);
        match command {
            Command::Arrange { session, slots, seats } => self.arrange(session, slots, seats, now),
            Command::Join(session, seat) => self
                .with(own(session), now, |stream, turn| {
                    let first = stream.window.next();
                    let joined = stream.roster.as_mut().map(|all| all.join(seat, first, turn.now));
                    stream.tell_places(turn);
                    joined.unwrap_or(unknown)
                })
                .unwrap_or(unknown),
            Command::Leave(session, peer) => self
                .with(own(session), now, |stream, turn| {
                    let gone = stream.roster.as_mut().and_then(|all| all.leave(peer, turn.now));
                    stream.tell_places(turn);
                    let to = gone.ok_or(DropReason::NotInTree)?.endpoint();
                    turn.send(&[to], &Message::Closed { session });
                    Ok(())
                })
                .unwrap_or(unknown),
            Command::Send(session, payload) => self
                .with(own(session), now, |stream, turn| stream.publish(&payload, turn))
                .unwrap_or(unknown),
            Command::End(session) => self
                .with(own(session), now, |stream, turn| {
                    stream.end = Some(stream.window.next());
                    stream.done = stream.done.or(Some(turn.now));
                    stream.speak(turn);
                })
                .ok_or(DropReason::NotInTree),
            Command::Expect { session, root, receives } => {
                let key = (session, root);
                if self.expected.len() >= EXPECTED_MAX && !self.expected.contains_key(&key) {
                    return Err(DropReason::SessionFull);
                }
                self.expected.insert(key, receives);
                Ok(())
            }
            Command::Forget { session, root } => {
                self.expected.remove(&(session, root));
                Ok(())
            }
        }
    }

    fn arrange(
        &mut self,
        session: SessionId,
        slots: usize,
        seats: Vec<Seat>,
        now: Time,
    ) -> Result<(), DropReason> {
        let key = (session, self.me.id);
        if !self.streams.contains_key(&key) {
            self.has_room()?;
            let (config, out, counts) = (&self.config, &mut self.out, &mut self.counts);
            let turn = Turn { config, me: self.me.id, out, counts, now };
            self.streams.insert(key, Stream::begin(session, &self.me, slots, &turn));
        }
        let arranged = self.with(key, now, |stream, turn| {
            let first = stream.window.next();
            let roster = stream.roster.as_mut().ok_or(DropReason::NotInTree)?;
            let out = roster.arrange(seats, first, turn.now)?;
            stream.tell_places(turn);
            let out: Vec<Endpoint> = out.iter().map(Contact::endpoint).collect();
            turn.send(&out, &Message::Closed { session });
            Ok(())
        });
        arranged.unwrap_or(Err(DropReason::NotInTree))
    }

    fn has_room(&self) -> Result<(), DropReason> {
        let has_room = self.streams.len() < self.config.sessions_max;
        has_room.then_some(()).ok_or(DropReason::SessionFull)
    }

    fn message(&mut self, message: Message, from: Endpoint, now: Time) -> Result<(), DropReason> {
        let sender = from.id.unwrap_or_default();
        let own = |session| (session, self.me.id);
        let unknown = Err(DropReason::NotInTree);
        match message {
            Message::Data { key, sequence, payload } => {
                let by = self.sent_down(key, sender)?;
                self.with(key, now, |stream, turn| stream.data((sequence, &payload), by, turn))
                    .unwrap_or(unknown)
            }
            Message::Alive { key, oldest, next, end } => {
                let by = self.sent_down(key, sender)?;
                let said = (oldest, next, end);
                self.with(key, now, |stream, turn| stream.is_alive(said, by, turn))
                    .unwrap_or(unknown)
            }
            Message::Here { key } => {
                self.with(key, now, |stream, turn| stream.here(&from, turn)).unwrap_or(unknown)
            }
            Message::Nack { key, missing } => self
                .with(key, now, |stream, turn| stream.nack(&from, &missing, turn))
                .unwrap_or(unknown),
            Message::Place(place) => self.placed(place, from, now),
            Message::Placed { session, version } => self
                .with(own(session), now, |stream, _| {
                    stream.roster.iter_mut().for_each(|roster| roster.told(sender, version));
                })
                .ok_or(DropReason::NotInTree),
            Message::Silent { session, version, peer } => {
                self.silent(session, (version, peer), from, now)
            }
            Message::Closed { session } if self.streams.contains_key(&(session, sender)) => {
                self.lose((session, sender));
                Ok(())
            }
            Message::Closed { .. } => unknown,
        }
    }

    /// Only the parent sends down, and the root what the parent has not.
    fn sent_down(&self, key: Key, sender: PeerId) -> Result<Above, DropReason> {
        let parent = self.streams.get(&key).ok_or(DropReason::NotInTree)?.parent();
        match (parent == Some(sender), key.1 == sender && sender != self.me.id) {
            (false, false) => Err(DropReason::NotInTree),
            (is_parent, is_root) => Ok(Above { is_parent, is_root }),
        }
    }

    /// A root says where this host stands.
    fn placed(&mut self, place: Place, root: Endpoint, now: Time) -> Result<(), DropReason> {
        if !place.is_sound(self.me.id) {
            return Err(DropReason::Malformed);
        }
        let key = (place.session, root.id.unwrap_or_default());
        if !self.config.open && self.expected.get(&key) != Some(&place.receives) {
            return Err(DropReason::NotInTree);
        }
        if self.streams.contains_key(&key) {
            self.with(key, now, |stream, turn| stream.follow(root, place, turn));
            return Ok(());
        }
        self.has_room()?;
        let (config, out, counts) = (&self.config, &mut self.out, &mut self.counts);
        let mut turn = Turn { config, me: self.me.id, out, counts, now };
        let stream = Stream::placed(root, place, &mut turn);
        self.streams.insert(key, stream);
        Ok(())
    }

    /// At the root: somebody hears nothing.
    fn silent(
        &mut self,
        session: SessionId,
        (version, peer): (u32, Option<PeerId>),
        from: Endpoint,
        now: Time,
    ) -> Result<(), DropReason> {
        let (key, sender) = ((session, self.me.id), from.id.unwrap_or_default());
        let known = self.with(key, now, |stream, turn| {
            let roster = stream.roster.as_mut().filter(|roster| roster.contains(sender));
            let heeded = roster?.silent(sender, (version, peer), turn.config, turn.now);
            stream.tell_places(turn);
            Some(heeded)
        });
        known.flatten().unwrap_or_else(|| {
            // It is over, or the sender was given up meanwhile.
            let (out, counts) = (&mut self.out, &mut self.counts);
            let mut turn = Turn { config: &self.config, me: self.me.id, out, counts, now };
            turn.send(&[from], &Message::Closed { session });
            Ok(())
        })
    }
}

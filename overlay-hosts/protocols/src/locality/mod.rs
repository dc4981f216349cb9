//! Groups of near peers (seeds 000 and 001).

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::contact::Contact;
use crate::drops::DropReason;
use crate::machine::{Outbox, Output, Received};
use crate::time::{Now, Time};

/// Under which name it stores what it wants to keep.
pub const STORE_KEY: &str = "locality";

/// How it runs.
#[derive(Clone, Debug, Default)]
pub struct Config {}

/// What goes in.
pub enum Input<'a> {
    /// A message has come.
    Message(Received<'a>),
    /// Somebody wants something.
    Command(Command),
}

/// What can be asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Find a group, beginning with who is at these addresses; with none, found the first.
    Join(Vec<SocketAddr>),
    /// Leave properly.
    Leave,
}

/// What it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member of a group.
    Joined,
}

/// One peer and its group.
pub struct Locality {
    _me: Contact,
    out: Outbox<Event>,
}

impl Locality {
    /// Member of no group yet; `restored` is what it had stored.
    pub fn new(_: Config, me: Contact, _restored: Option<&[u8]>, _seed: u64, _: Now) -> Locality {
        Locality { _me: me, out: Outbox::default() }
    }

    /// Takes an input.
    ///
    /// # Errors
    /// A message is dropped.
    pub fn handle_input(&mut self, _: Input<'_>, _: Now) -> Result<(), DropReason> {
        Ok(())
    }

    /// The moment of [`poll_timeout`](Locality::poll_timeout) has come.
    pub fn handle_timeout(&mut self, _: Now) {}

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.poll()
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        None
    }
}

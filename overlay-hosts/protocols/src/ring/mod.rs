//! The DHT (seed 003 paragraphs 0041 to 0044).

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::contact::Contact;
use crate::drops::DropReason;
use crate::id::RingId;
use crate::machine::{Outbox, Output, Received};
use crate::time::{Now, Time};

/// Under which name it stores what it wants to keep.
pub const STORE_KEY: &str = "ring";

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
    /// Become part of the ring of whoever is at these addresses; with none, begin one.
    Join(Vec<SocketAddr>),
    /// Leave properly.
    Leave,
}

/// What it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Part of the ring.
    Joined,
}

/// One peer's place on the ring.
pub struct Ring {
    me: Contact,
    out: Outbox<Event>,
}

impl Ring {
    /// Not part of any ring yet; `restored` is what it had stored.
    pub fn new(_: Config, me: Contact, _restored: Option<&[u8]>, _seed: u64, _: Now) -> Ring {
        Ring { me, out: Outbox::default() }
    }

    /// Where it stands.
    pub fn position(&self) -> RingId {
        self.me.position()
    }

    /// Takes an input.
    ///
    /// # Errors
    /// A message is dropped.
    pub fn handle_input(&mut self, _: Input<'_>, _: Now) -> Result<(), DropReason> {
        Ok(())
    }

    /// The moment of [`poll_timeout`](Ring::poll_timeout) has come.
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

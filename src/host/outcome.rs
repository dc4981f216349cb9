//! What became of a message, and what comes back.

use super::{Received, Trouble};
use crate::forward::DropReason;

/// What became of a message so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many packets it took: lists are split, and every packet leaves in a copy for each
    /// gateway.
    pub packets: usize,
    /// Destinations that it could not be sent to.
    pub unsent: Vec<Unsent>,
}

/// What comes back to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A datagram for the source port.
    Datagram(Received),
    /// News of one that was sent.
    Trouble(Trouble),
}

/// A destination that a message could not be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// Its place in the message's list.
    pub index: usize,
    /// Why.
    pub reason: DropReason,
}

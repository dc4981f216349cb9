//! What can be asked of a machine, and what it tells.

use alloc::boxed::Box;
use alloc::vec::Vec;

#[cfg(doc)]
use super::{NEWS_LEN_MAX, Op, QUERY_LEN_MAX, REPORT_LEN_MAX};
use super::{Range, Span, VirtualNode};
use crate::contact::Contact;
use crate::id::RingId;
use crate::swap::SwapRecord;

/// What can be asked of it, and what it has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Its zone on the ring is (this, its position] from now on, the whole ring if both are equal;
    /// `None`: it is part of none.
    Zone(Option<RingId>),
    /// The answer to [`Event::Find`]; no owner: it was not found.
    Found {
        /// The number of what was asked.
        request: u32,
        /// Who owns the key.
        owner: Option<Contact>,
    },
    /// Report this from now on: what [`Op::own`] makes a report of. Longer than [`REPORT_LEN_MAX`]
    /// it is not taken.
    Sample(Vec<u8>),
    /// Gather now, from all machines below this one; the root does so by itself.
    Gather,
    /// Tell all machines in a range, wherever this one is in the tree. Longer than [`NEWS_LEN_MAX`]
    /// it is not taken.
    Publish {
        /// For whom.
        range: Range,
        /// What.
        news: Vec<u8>,
    },
    /// What do the machines in a range report? [`Event::Answered`] says; with `raw` also each of
    /// them, by [`Event::Listed`].
    Query {
        /// The asker's number.
        request: u64,
        /// Whose positions.
        range: Range,
        /// Whether each is wanted, not only all together.
        raw: bool,
    },
    /// Tell me the answer to a query ([`Op::answer`]) whenever it is another, of what reports to the
    /// machine at a virtual node's key: to the root of the tree from all machines.
    Subscribe {
        /// The asker's number.
        request: u64,
        /// Where.
        node: VirtualNode,
        /// The query, at most [`QUERY_LEN_MAX`] octets, which the op has to understand.
        query: Vec<u8>,
    },
    /// This machine's public key; whoever has told it answers [`Event::Sign`], too.
    Key([u8; 32]),
    /// The answer to [`Event::Sign`].
    Signed(Box<SwapRecord>),
    /// Do not any more.
    Unsubscribe {
        /// The number of the subscription.
        request: u64,
    },
}

/// What it tells, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Whose is this key? [`Command::Found`] is to answer.
    Find {
        /// The number of the question.
        request: u32,
        /// The key.
        key: RingId,
    },
    /// What was gathered from all machines below this one, itself included: from all, if it is the root.
    Gathered {
        /// From how many, and where they are.
        span: Span,
        /// What [`Op::merge`] has made of their reports.
        report: Vec<u8>,
    },
    /// News for this machine.
    News {
        /// A number that no other news of its root has.
        serial: u64,
        /// What.
        news: Vec<u8>,
    },
    /// Sign this as the first or the second of the two; [`Command::Signed`] is to answer.
    Sign {
        /// What.
        record: Box<SwapRecord>,
        /// As which: 0 or 1.
        place: usize,
    },
    /// This machine and another have exchanged their places, proved by both: it is to leave the ring, and
    /// to join it where the record says. A whole node does so by itself. Samples that name this machine by
    /// its place are to be told anew.
    Exchanged {
        /// What both have signed.
        record: Box<SwapRecord>,
    },
    /// Some of the machines that a query was for, and what each reports.
    Listed {
        /// The asker's number.
        request: u64,
        /// Positions and reports.
        entries: Vec<(RingId, Vec<u8>)>,
    },
    /// The answer to a query.
    Answered {
        /// The asker's number.
        request: u64,
        /// How many machines there are in the range.
        machines: u32,
        /// What [`Op::merge`] has made of their reports.
        report: Vec<u8>,
        /// Whether everybody has answered who was asked.
        complete: bool,
    },
    /// A subscription has another answer.
    Matched {
        /// The number of the subscription.
        request: u64,
        /// The answer.
        answer: Vec<u8>,
    },
    /// A subscription is not possible: too many, too long, or at no virtual node.
    Refused {
        /// Its number.
        request: u64,
    },
}

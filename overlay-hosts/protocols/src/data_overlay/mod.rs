//! Objects on the peers of a DHT that refer to each other (seed 003 paragraphs 0033 to 0040): a data
//! structure as large as all peers together, whatever DHT is below.
//!
//! An object is a value of any type under a key. Where it refers to another it has a [`Reference`]: the
//! key of that one, and who hosted it last. To follow one (`deref`) the host is asked directly, and the
//! key is looked up only if that misses; the answer brings a fresh reference. Keys of related objects
//! are made [`near`] each other, so that they mostly have the same host.
//!
//! ```
//! use overlay_protocols::data_overlay::{Command, Event, Object, Reference, near};
//! use overlay_protocols::machine::Output;
//! use overlay_protocols::node::{self, Config, Input};
//! use overlay_protocols::{Contact, Identity, Now, OverlayNode, RingId, ring};
//! use serde::{Deserialize, Serialize};
//!
//! /// A page, and the one after it.
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Page {
//!     text: String,
//!     next: Option<Reference>,
//! }
//!
//! // A ring of one node; more behave the same, but that answers take a while.
//! let (identity, now) = (Identity::signed(&[7; 32]), Now::default());
//! let me = Contact::new(identity.id, "192.0.2.1:9000".parse().unwrap());
//! let mut node = OverlayNode::new(Config::default(), identity, me, &|_| None, 1, now);
//! node.handle_input(Input::Ring(ring::Command::Join(vec![])), now);
//!
//! let mut ask = |command| {
//!     node.handle_input(Input::Data(command), now);
//!     let mut answer = None;
//!     while let Some(output) = node.poll_output() {
//!         if let Output::Event(node::Event::Data(event)) = output {
//!             answer = Some(event);
//!         }
//!     }
//!     answer.unwrap()
//! };
//!
//! // b is created, then a, near it, and a refers to b (`setref`).
//! let first = RingId::of_key(b"book");
//! let b = Object::new(near(first, b"2"), Page { text: "the end".into(), next: None });
//! let Event::Stored { reference: to_b, .. } = ask(b.store(1).unwrap()) else { panic!() };
//! let mut a = Object::new(first, Page { text: "once".into(), next: None });
//! ask(a.set_reference(2, |page| &mut page.next, to_b).unwrap());
//!
//! // Whoever has a finds b (`deref`), until it is deleted.
//! let next = a.value.next.clone().unwrap();
//! let Event::Object { value, .. } = ask(Command::Deref { request: 3, reference: next.clone() })
//! else { panic!() };
//! assert_eq!(Object::<Page>::read(next.key, &value.unwrap()), Some(b));
//! ask(Command::Delete { request: 4, reference: next.clone() });
//! let gone = ask(Command::Deref { request: 5, reference: next });
//! assert!(matches!(gone, Event::Object { value: None, .. }));
//! ```

mod object;
mod reference;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use object::{Object, near};
pub use reference::Reference;

use crate::machine::{Outbox, Output};
use crate::ring::{self, Failure};

/// What may be under way at once; what is asked then fails by name.
pub const PENDING_MAX: usize = 256;

/// What can be asked. `request` is any number; what becomes of it is told under that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Store an object, newly or again; [`Object::store`] makes it.
    Store {
        /// The asker's number.
        request: u64,
        /// Where.
        reference: Reference,
        /// The object's octets.
        value: Vec<u8>,
    },
    /// The object that is referred to.
    Deref {
        /// The asker's number.
        request: u64,
        /// To what.
        reference: Reference,
    },
    /// Delete the object that is referred to.
    Delete {
        /// The asker's number.
        request: u64,
        /// To what.
        reference: Reference,
    },
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An object is stored.
    Stored {
        /// The asker's number.
        request: u64,
        /// To it, with who hosts it.
        reference: Reference,
    },
    /// What was referred to.
    Object {
        /// The asker's number.
        request: u64,
        /// With who hosts it now.
        reference: Reference,
        /// The object's octets, which [`Object::read`] reads; `None`: there is none.
        value: Option<Vec<u8>>,
    },
    /// An object is deleted.
    Deleted {
        /// The asker's number.
        request: u64,
        /// To where it was.
        reference: Reference,
    },
    /// What was asked has failed.
    Failed {
        /// The asker's number.
        request: u64,
        /// Why.
        reason: Failure,
    },
    /// This is to be asked of the ring; what that tells of it goes to [`DataOverlay::answered`].
    Ask(ring::Command),
}

/// Something that is asked of the ring.
#[derive(Clone, Debug)]
struct Pending {
    /// Its number at the ring.
    number: u64,
    /// The asker's.
    request: u64,
    reference: Reference,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Store,
    /// The host of the reference is asked directly.
    Direct,
    /// The key is looked up.
    LookUp,
    Delete,
}

/// The objects of all peers, as one of them uses them.
#[derive(Clone, Debug)]
pub struct DataOverlay {
    /// Numbers for the ring are from here on.
    first: u64,
    count: u32,
    pending: Vec<Pending>,
    out: Outbox<Event>,
}

impl DataOverlay {
    /// Numbers what it asks of the ring from `first` on; nobody else may use the next 2^32.
    pub fn new(first: u64) -> DataOverlay {
        DataOverlay { first, count: 0, pending: Vec::new(), out: Outbox::default() }
    }

    /// Does what is asked.
    pub fn handle_command(&mut self, command: Command) {
        match command {
            Command::Store { request, reference, value } => {
                let key = reference.key;
                self.ask(request, reference, What::Store, |request| ring::Command::Insert {
                    request,
                    key,
                    value,
                });
            }
            Command::Deref { request, reference } => {
                let key = reference.key;
                match reference.host.clone() {
                    Some(host) => {
                        self.ask(request, reference, What::Direct, |request| {
                            ring::Command::Direct { request, key, host }
                        });
                    }
                    None => self.look_up(request, reference),
                }
            }
            Command::Delete { request, reference } => {
                let key = reference.key;
                self.ask(request, reference, What::Delete, |request| ring::Command::Delete {
                    request,
                    key,
                });
            }
        }
    }

    fn look_up(&mut self, request: u64, reference: Reference) {
        let key = reference.key;
        self.ask(request, reference, What::LookUp, |request| ring::Command::Get { request, key });
    }

    fn ask(
        &mut self,
        request: u64,
        reference: Reference,
        what: What,
        command: impl FnOnce(u64) -> ring::Command,
    ) {
        if self.pending.len() >= PENDING_MAX {
            return self.out.event(Event::Failed { request, reason: Failure::Busy });
        }
        self.count = self.count.wrapping_add(1);
        let number = self.first + u64::from(self.count);
        self.pending.push(Pending { number, request, reference, what });
        self.out.event(Event::Ask(command(number)));
    }

    /// The ring has told something; whether it was an answer to what was asked from here.
    pub fn answered(&mut self, event: &ring::Event) -> bool {
        let number = match event {
            ring::Event::Inserted { request, .. }
            | ring::Event::Value { request, .. }
            | ring::Event::Failed { request, .. } => *request,
            _ => return false,
        };
        let Some(place) = self.pending.iter().position(|pending| pending.number == number) else {
            return false;
        };
        let Pending { request, reference, what, .. } = self.pending.swap_remove(place);
        let event = match event {
            ring::Event::Inserted { owner, .. } => {
                let reference = reference.at(owner.clone());
                match what {
                    What::Delete => Event::Deleted { request, reference },
                    _ => Event::Stored { request, reference },
                }
            }
            // Not at the host that is known: who is there now may be somebody else.
            ring::Event::Value { record: None, .. } | ring::Event::Failed { .. }
                if what == What::Direct =>
            {
                self.look_up(request, Reference::new(reference.key));
                return true;
            }
            ring::Event::Value { host, record, .. } => {
                let value = record.as_ref().map(|record| record.value.clone());
                Event::Object { request, reference: reference.at(host.clone()), value }
            }
            ring::Event::Failed { reason, .. } => Event::Failed { request, reason: *reason },
            _ => return true,
        };
        self.out.event(event);
        true
    }

    /// What it tells, and what it asks of the ring.
    pub fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.poll()
    }
}

//! What was asked of the overlay: commands for the ring, and the answers that its events become.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crossbeam_channel::Sender;
use overlay_protocols::node::Input;
use overlay_protocols::ring::{Command, Event, Failure, VALUE_LEN_MAX};
use overlay_protocols::{Contact, Now, RingId, Time};
use serde_json::{Value, json};
use xcast::control::Reply;

use super::peer::Peer;
use crate::control::{ANSWER_PATIENCE, Question};
use crate::state::Writer;

/// What may be under way at once.
const OPEN_MAX: usize = 256;
/// The ring answers everything in time; this is for what it should forget.
const PATIENCE: Duration = ANSWER_PATIENCE.saturating_sub(Duration::from_secs(1));

/// What was asked and is not answered yet.
struct Open {
    peer: usize,
    question: Question,
    deadline: Time,
    sender: Sender<Reply>,
}

/// All that was asked and is not answered yet, by number.
#[derive(Default)]
pub(super) struct Operations {
    next: u64,
    open: BTreeMap<u64, Open>,
}

/// The peer of a name, or the first; else what to answer.
pub(super) fn find(peers: &[Peer], name: Option<&str>) -> Result<usize, String> {
    let Some(name) = name else { return Ok(0) };
    peers.iter().position(|peer| peer.name == name).ok_or_else(|| {
        let known: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
        format!("there is no peer `{name}` here; there are {}", known.join(", "))
    })
}

impl Operations {
    /// Asks the ring; `sender` gets the answer, later.
    pub(super) fn begin(
        &mut self,
        (index, peer): (usize, &mut Peer),
        question: Question,
        sender: Sender<Reply>,
        now: Now,
        writer: &Writer,
    ) {
        if self.open.len() >= OPEN_MAX {
            let _gone = sender.send(Reply::Failed("too much is under way".to_owned()));
            return;
        }
        self.next += 1;
        let request = self.next;
        let command = match &question {
            Question::Put { key, value } => {
                let (key, value) = (RingId::of_key(key.as_bytes()), value.clone().into_bytes());
                Command::Insert { request, key, value }
            }
            Question::Get { key } => Command::Get { request, key: RingId::of_key(key.as_bytes()) },
            Question::FindNode { key } => {
                Command::Lookup { request, key: RingId::of_key(key.as_bytes()) }
            }
        };
        let deadline = now.time + PATIENCE;
        self.open.insert(request, Open { peer: index, question, deadline, sender });
        peer.input(Input::Ring(command), now, writer);
    }

    /// When the oldest is given up.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.open.values().map(|open| open.deadline).min()
    }

    /// Gives up what is too old.
    pub(super) fn expire(&mut self, now: Time) {
        for (_, open) in self.open.extract_if(.., |_, open| open.deadline <= now) {
            let _gone = open.sender.send(Reply::Failed("no answer in time".to_owned()));
        }
    }

    /// What the ring says of what was asked.
    pub(super) fn ring(&mut self, index: usize, event: Event) {
        match event {
            Event::Found { request, owner, hops, timeouts, .. } => {
                self.close(index, request, |question| {
                    let mut found = key_of(question);
                    found["id"] = json!(owner.id.to_string());
                    found["addresses"] = json!(addresses(&owner));
                    found["hops"] = json!(hops);
                    found["timeouts"] = json!(timeouts);
                    Reply::Done(found)
                });
            }
            Event::Inserted { request, owner, version, copies, .. } => {
                self.close(index, request, |question| {
                    let mut done = key_of(question);
                    done["owner"] = json!(owner.id.to_string());
                    done["version"] = json!(version);
                    done["copies"] = json!(copies);
                    Reply::Done(done)
                });
            }
            Event::Value { request, host, record, .. } => {
                self.close(index, request, |question| match record {
                    None => Reply::Failed("the overlay keeps nothing under this key".to_owned()),
                    Some(record) => {
                        let mut done = key_of(question);
                        done["value"] = json!(String::from_utf8_lossy(&record.value));
                        done["value-base64"] = json!(BASE64_STANDARD.encode(&record.value));
                        done["version"] = json!(record.version);
                        done["writer"] = json!(record.writer.to_string());
                        done["host"] = json!(host.id.to_string());
                        Reply::Done(done)
                    }
                });
            }
            Event::Failed { request, reason, .. } => {
                self.close(index, request, |_| refusal(reason));
            }
            _ => {}
        }
    }

    fn close(&mut self, peer: usize, request: u64, reply: impl FnOnce(&Question) -> Reply) {
        if self.open.get(&request).is_none_or(|open| open.peer != peer) {
            return;
        }
        if let Some(open) = self.open.remove(&request) {
            let _gone = open.sender.send(reply(&open.question));
        }
    }
}

fn key_of(question: &Question) -> Value {
    let (Question::Put { key, .. } | Question::Get { key } | Question::FindNode { key }) = question;
    json!({ "key": key, "key-id": RingId::of_key(key.as_bytes()).to_string() })
}

fn addresses(contact: &Contact) -> Vec<String> {
    contact.addresses().iter().map(ToString::to_string).collect()
}

fn refusal(reason: Failure) -> Reply {
    use overlay_protocols::ring::Refusal;
    match reason {
        Failure::NotJoined => {
            Reply::Failed("this peer is not part of a ring yet; `show ring` tells".to_owned())
        }
        Failure::Busy => Reply::Failed("too much is under way; try again later".to_owned()),
        Failure::TimedOut => Reply::Failed("no answer from the overlay in time".to_owned()),
        Failure::Refused(Refusal::TooLong) => {
            Reply::Refused(format!("a value has at most {VALUE_LEN_MAX} octets"))
        }
        Failure::Refused(Refusal::Full) => {
            Reply::Failed("the peer that is responsible has no room".to_owned())
        }
        Failure::Refused(Refusal::NotOwner) => {
            Reply::Failed("nobody feels responsible for the key; try again".to_owned())
        }
    }
}

//! What has come in sessions and waits to be read.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crossbeam_channel::Sender;
use overlay_protocols::alm::SessionId;
use overlay_protocols::delivery::Event;
use overlay_protocols::{PeerId, Time};
use serde_json::{Value, json};
use xcast::control::Reply;

/// Octets of one session that wait; the oldest go first, and are counted.
const OCTETS_MAX: usize = 4 << 20;
/// Sessions; of more, the one that has ended first goes, or the oldest.
const INBOXES_MAX: usize = 32;
/// Payloads of one answer.
const PAYLOADS_AT_ONCE: usize = 200;
/// Who reads and finds nothing waits so long.
const WAIT: Duration = Duration::from_secs(10);
/// Readers that wait at once.
const READERS_MAX: usize = 64;

/// A session as it comes to one peer.
pub(in super::super) struct Inbox {
    /// Of all sessions, which it is by its beginning.
    number: u64,
    payloads: VecDeque<(u64, Vec<u8>)>,
    octets: usize,
    /// Somebody has read all below this.
    read: u64,
    pub(in super::super) received: u64,
    /// Did not come, and were given up.
    pub(in super::super) missed: u64,
    /// Came, and went before anybody had read them.
    pub(in super::super) unread: u64,
    /// Times at which it has had another parent than before.
    pub(in super::super) switches: u32,
    parent: Option<PeerId>,
    last: Option<Time>,
    /// The longest time between two payloads.
    pub(in super::super) gap: Duration,
    /// How it ended: wholly, or because its root does not answer.
    pub(in super::super) ended: Option<bool>,
}

struct Reader {
    peer: usize,
    session: Option<SessionId>,
    from: u64,
    deadline: Time,
    sender: Sender<Reply>,
}

type Key = (usize, SessionId, PeerId);

/// All sessions that have come.
#[derive(Default)]
pub(in super::super) struct Inboxes {
    next: u64,
    all: BTreeMap<Key, Inbox>,
    readers: Vec<Reader>,
}

impl Inboxes {
    /// What has come to a peer in a session of a root.
    pub(in super::super) fn of(&self, key: &Key) -> Option<&Inbox> {
        self.all.get(key)
    }

    /// Something has come.
    pub(super) fn take(&mut self, peer: usize, event: Event, now: Time) {
        match event {
            Event::Received { session, root, sequence, payload } => {
                self.inbox((peer, session, root)).push(sequence, payload, now);
            }
            Event::Missed { session, root, from, to } => {
                self.inbox((peer, session, root)).missed += to.saturating_sub(from);
            }
            Event::Linked { session, root, parent } => {
                let inbox = self.inbox((peer, session, root));
                let before = inbox.parent.replace(parent);
                inbox.switches += u32::from(before.is_some_and(|before| before != parent));
                return;
            }
            Event::Ended { session, root } => {
                self.inbox((peer, session, root)).ended = Some(true);
            }
            Event::Lost { session, root } => match self.all.get_mut(&(peer, session, root)) {
                Some(inbox) if inbox.ended.is_none() => inbox.ended = Some(false),
                _ => return,
            },
            Event::Gone { .. } => return,
        }
        self.answer(peer);
    }

    fn inbox(&mut self, key: Key) -> &mut Inbox {
        if !self.all.contains_key(&key) && self.all.len() >= INBOXES_MAX {
            let oldest = self.all.iter().min_by_key(|(_, one)| (one.ended.is_none(), one.number));
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.all.remove(&oldest);
            }
        }
        self.all.entry(key).or_insert_with(|| {
            self.next += 1;
            Inbox::new(self.next)
        })
    }

    /// Who reads gets what is there from a number on, or waits.
    pub(super) fn read(
        &mut self,
        peer: usize,
        session: Option<SessionId>,
        from: u64,
        sender: Sender<Reply>,
        now: Time,
    ) {
        let is_read = |(at, of, _): &Key| *at == peer && session == Some(*of);
        for (_, inbox) in self.all.iter_mut().filter(|(key, _)| is_read(key)) {
            inbox.read = inbox.read.max(from);
        }
        let reader = Reader { peer, session, from, deadline: now + WAIT, sender };
        if let Some(reply) = self.reply(&reader) {
            let _gone = reader.sender.send(reply);
        } else if self.readers.len() < READERS_MAX {
            self.readers.push(reader);
        } else {
            let _gone = reader.sender.send(Reply::Failed("too many wait".to_owned()));
        }
    }

    fn answer(&mut self, peer: usize) {
        for reader in std::mem::take(&mut self.readers) {
            let reply = if reader.peer == peer { self.reply(&reader) } else { None };
            match reply {
                Some(reply) => drop(reader.sender.send(reply)),
                None => self.readers.push(reader),
            }
        }
    }

    fn reply(&self, reader: &Reader) -> Option<Reply> {
        let is_meant = |(peer, session, _): &Key| {
            *peer == reader.peer && reader.session.is_none_or(|wanted| wanted == *session)
        };
        let meant = self.all.iter().filter(|(key, _)| is_meant(key));
        // Without a number: the first that is under way.
        let meant = meant.filter(|(_, one)| reader.session.is_some() || one.ended.is_none());
        let replies = meant.filter_map(|((_, session, root), inbox)| {
            Some((inbox.number, inbox.reply(*session, *root, reader.from)?))
        });
        replies.min_by_key(|(number, _)| *number).map(|(_, reply)| reply)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.readers.iter().map(|reader| reader.deadline).min()
    }

    /// Whoever has waited long enough gets nothing, and may ask again.
    pub(super) fn expire(&mut self, now: Time) {
        for reader in self.readers.extract_if(.., |reader| reader.deadline <= now) {
            let _gone = reader.sender.send(Reply::Done(json!({ "session": null })));
        }
    }
}

impl Inbox {
    fn new(number: u64) -> Inbox {
        Inbox {
            number,
            payloads: VecDeque::new(),
            octets: 0,
            read: 0,
            received: 0,
            missed: 0,
            unread: 0,
            switches: 0,
            parent: None,
            last: None,
            gap: Duration::ZERO,
            ended: None,
        }
    }

    fn push(&mut self, sequence: u64, payload: Vec<u8>, now: Time) {
        self.received += 1;
        if let Some(last) = self.last.replace(now) {
            self.gap = self.gap.max(now.since(last));
        }
        self.octets += payload.len();
        self.payloads.push_back((sequence, payload));
        while self.octets > OCTETS_MAX
            && let Some((number, first)) = self.payloads.pop_front()
        {
            self.octets -= first.len();
            self.unread += u64::from(number >= self.read);
        }
    }

    /// From a number on; `None` if there is nothing to say yet.
    fn reply(&self, session: SessionId, root: PeerId, from: u64) -> Option<Reply> {
        let first = self.payloads.partition_point(|(sequence, _)| *sequence < from);
        let some: Vec<Value> = self
            .payloads
            .range(first..)
            .take(PAYLOADS_AT_ONCE)
            .map(|(number, payload)| json!([number, BASE64_STANDARD.encode(payload)]))
            .collect();
        let is_last = first + some.len() == self.payloads.len();
        let ended = self.ended.filter(|_| is_last);
        (!some.is_empty() || ended.is_some()).then(|| {
            Reply::Done(json!({
                "session": session.to_string(),
                "root": root.to_string(),
                "payloads": some,
                "missed": self.missed,
                "unread": self.unread,
                "ended": ended.is_some(),
                "whole": ended.unwrap_or(false) && self.missed + self.unread == 0,
                "switches": self.switches,
                "longest-gap-ms": self.gap.as_secs_f64() * 1e3,
            }))
        })
    }
}

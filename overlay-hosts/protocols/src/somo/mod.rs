//! The self-organized metadata overlay (seed 003 paragraphs 0045 to 0070): a tree of all machines of a
//! ring, in which reports go up and news go down.
//!
//! 1. **Tree** (`tree`): a logical tree is drawn on the ring, the same for all. The highest virtual
//!    node with its key in a machine's zone represents it; the owner of the key above that is its
//!    parent. Zone and tree are all that a machine has to know.
//! 2. **Link** (`parent`, `children`): the parent is a reference that is followed: who was there
//!    last is asked directly, and the key is looked up on a miss. When a zone changes, links whose
//!    upper end left it are dropped, and those machines follow their references anew. Heartbeats keep
//!    links; all that is known of a child is soft, and goes when nothing comes any more.
//! 3. **Gather** (`gather`, `op`): reports go up at their own times, or when the root calls.
//! 4. **Disseminate** (`news`): to all machines, or those in a range.
//! 5. **Ask** (`query`, `subscriptions`): for the machines in a range, once; or of a part of the tree, with
//!    each of its reports.
//! 6. **Exchange** (`exchange`): the most capable machine takes the root's place.
//!
//! It knows no ring: whoever drives it tells its zone, and finds owners of keys when it asks for one.

mod children;
mod commands;
mod config;
mod exchange;
mod gather;
mod message;
mod news;
mod op;
mod parent;
mod query;
mod shape;
mod subscriptions;
mod tree;
mod wide;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

pub use commands::{Command, Event};
pub use config::*;
pub use exchange::place_of;
pub use message::Span;
pub use op::{CLASSES_MAX, Op, Pool, SUMS_MAX, Statistics, TOP_MAX};
pub use shape::{Shape, owner, parents};
pub use tree::{DEGREE_MAX, DEGREE_MIN, LEVEL_MAX, Range, Tree, VirtualNode};

use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::id::{PeerId, RingId};
use crate::machine::{Class, Outbox, Output, Protocol, Received, decode};
use crate::random::Random;
use crate::time::{Now, Time};
use children::Child;
use exchange::Exchange;
use gather::Round;
use message::Message;
use parent::Parent;
use query::Query;
use subscriptions::{Subscriber, Subscription};

/// What goes in.
pub enum Input<'a> {
    /// A message has come.
    Message(Received<'a>),
    /// Somebody wants something.
    Command(Command),
}

/// One machine in the tree.
#[derive(Clone, Debug)]
pub struct Somo {
    config: Config,
    tree: Tree,
    me: Contact,
    position: RingId,
    random: Random,
    out: Outbox<Event>,
    /// Where its zone begins; `None`: it is not part of the ring.
    after: Option<RingId>,
    /// Who represents it.
    node: VirtualNode,
    parent: Parent,
    children: Vec<Child>,
    sample: Vec<u8>,
    /// The last report that was sent up, or gathered at the root.
    report: Vec<u8>,
    serial: u32,
    request: u32,
    /// Lookups of keys at which children were that are gone.
    heirs: Vec<u32>,
    queries: Vec<Query>,
    exchange: Option<Exchange>,
    /// Its public key, if it can prove who it is.
    key: Option<[u8; 32]>,
    subscriptions: Vec<Subscription>,
    subscribers: Vec<Subscriber>,
    round: Option<Round>,
    /// The number of the last call.
    called: u32,
    /// When it reports, or calls for reports as the root.
    report_at: Time,
    keep_at: Time,
    /// When those above are told that others are below than before.
    settle_at: Time,
    /// News that have come lately, to tell them from those that come twice.
    heard: VecDeque<u64>,
    /// News sent down in this second.
    sent: (u64, u32),
}

impl Somo {
    /// Not part of a tree yet: [`Command::Zone`] makes it.
    pub fn new(config: Config, me: Contact, seed: u64, now: Now) -> Somo {
        let config = config.bounded();
        let mut random = Random::new(seed, 0x736f_6d6f);
        Somo {
            tree: Tree::new(config.degree),
            position: me.position(),
            out: Outbox::default(),
            after: None,
            node: VirtualNode::ROOT,
            parent: Parent::default(),
            children: Vec::new(),
            sample: Vec::new(),
            report: Vec::new(),
            // Not those of an earlier life: the parent may have kept these.
            serial: random.number() as u32 >> 1,
            request: 0,
            heirs: Vec::new(),
            queries: Vec::new(),
            exchange: None,
            key: None,
            subscriptions: Vec::new(),
            subscribers: Vec::new(),
            round: None,
            called: 0,
            report_at: now.time + random.up_to(config.interval),
            keep_at: Time::NEVER,
            settle_at: Time::NEVER,
            heard: VecDeque::new(),
            sent: (0, 0),
            random,
            config,
            me,
        }
    }

    /// Takes an input.
    ///
    /// # Errors
    /// A message is dropped.
    pub fn handle_input(&mut self, input: Input<'_>, now: Now) -> Result<(), DropReason> {
        match input {
            Input::Message(received) => return self.handle_message(&received, now),
            Input::Command(Command::Zone(after)) => self.set_zone(after, now),
            Input::Command(Command::Found { request, owner }) => self.found(request, owner, now),
            Input::Command(Command::Sample(sample)) if sample.len() <= REPORT_LEN_MAX => {
                self.sample = sample;
            }
            Input::Command(Command::Gather) => self.call(now),
            Input::Command(Command::Publish { range, news }) if news.len() <= NEWS_LEN_MAX => {
                self.publish(LEVEL_MAX, range, news, now)?;
            }
            Input::Command(Command::Query { request, range, raw }) => {
                self.query(request, range, raw, now);
            }
            Input::Command(Command::Subscribe { request, node, query }) => {
                self.subscribe(request, node, query, now);
            }
            Input::Command(Command::Key(key)) => self.key = Some(key),
            Input::Command(Command::Signed(record)) => self.signed(record),
            Input::Command(Command::Unsubscribe { request }) => self.unsubscribe(request),
            Input::Command(Command::Sample(_) | Command::Publish { .. }) => {}
        }
        Ok(())
    }

    /// The moment of [`poll_timeout`](Somo::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.round_timeout(now);
        self.parent_timeout(now);
        self.query_timeouts(now);
        self.exchange_timeout(now);
        if self.keep_at <= now.time {
            self.keep_links(now);
        }
        if self.report_at <= now.time {
            self.report_timeout(now);
        }
        if self.settle_at <= now.time {
            self.settle_at = Time::NEVER;
            // A call that is under way tells it, too.
            if self.round.is_none() {
                self.report_up(0, now);
            }
        }
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.poll()
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.after?;
        let all = [
            (self.round.as_ref().map_or(Time::NEVER, |round| round.due), "round"),
            (self.parent.due(), "parent"),
            (self.exchange.as_ref().map_or(Time::NEVER, |exchange| exchange.due), "exchange"),
            (self.keep_at, "heartbeat"),
            (self.report_at, "report"),
            (self.settle_at, "settle"),
        ];
        let queries = self.queries.iter().map(|query| (query.due, "query"));
        all.into_iter()
            .chain(queries)
            .min_by_key(|(at, _)| *at)
            .filter(|(at, _)| *at != Time::NEVER)
    }

    /// The logical tree, which is the same for all machines.
    pub fn tree(&self) -> Tree {
        self.tree
    }

    /// Who represents it; `None` if it is not part of the ring.
    pub fn representative(&self) -> Option<VirtualNode> {
        self.after.map(|_| self.node)
    }

    /// Its parent, if it has found one; the root has none.
    pub fn parent(&self) -> Option<&Contact> {
        self.parent.host()
    }

    /// Whether it is the root of the tree.
    pub fn is_root(&self) -> bool {
        self.after.is_some() && self.node.is_root()
    }

    /// Its children that are known now.
    pub fn children(&self) -> impl ExactSizeIterator<Item = &Contact> {
        self.children.iter().map(Child::contact)
    }

    /// The same machine as it was told to be, at another position: part of no ring yet.
    #[must_use]
    pub(crate) fn moved_to(&self, me: Contact, now: Now) -> Somo {
        let mut random = self.random.clone();
        let mut moved = Somo::new(self.config, me, random.number(), now);
        (moved.key, moved.sample) = (self.key, self.sample.clone());
        // They are renewed with the next heartbeat.
        moved.subscriptions = self.subscriptions.clone();
        moved
    }

    /// The last report that it has sent up, or has gathered as the root.
    pub fn report(&self) -> &[u8] {
        &self.report
    }

    /// What its reports are about: itself, and what is known below it.
    pub fn span(&self) -> Span {
        let range = Range { first: self.position, last: self.position };
        let own = Span { machines: 1, height: 0, range };
        self.children.iter().fold(own, |span, child| span.over(child.span()))
    }

    fn owns(&self, key: RingId) -> bool {
        self.after.is_some_and(|after| key.is_in(after, self.position))
    }

    /// Its zone is another: links are as the tree now says.
    fn set_zone(&mut self, after: Option<RingId>, now: Now) {
        if self.after == after {
            return;
        }
        self.after = after;
        let Some(after) = after else {
            self.children.clear();
            (self.parent, self.exchange) = (Parent::default(), None);
            self.end_queries();
            (self.round, self.keep_at, self.settle_at) = (None, Time::NEVER, Time::NEVER);
            return;
        };
        if self.keep_at == Time::NEVER {
            self.keep_at = now.time + self.random.up_to(self.config.heartbeat);
        }
        let before = self.node;
        self.node = self.tree.representative(after, self.position);
        self.release_children(now);
        self.find_parent(before, now);
    }

    fn handle_message(&mut self, received: &Received<'_>, now: Now) -> Result<(), DropReason> {
        let message: Message = decode(received.message).ok_or(DropReason::Malformed)?;
        if !message.is_possible() {
            return Err(DropReason::Oversized);
        }
        let (from, sender) = (received.from, received.sender());
        match message {
            Message::Report { heading, me, report } => {
                self.take_report(heading, me, report, from, now)
            }
            Message::Delta { heading, of, head, tail, middle } => {
                self.take_delta(heading, of, (head, tail), &middle, from, now)
            }
            Message::Keep { serial, node } => self.kept(serial, node, from, now),
            Message::Taken { serial } => self.taken(serial, sender),
            Message::Again => self.again(sender, now),
            Message::Moved => self.moved(sender, now),
            Message::Restart => self.restart(now),
            Message::Call { round } => self.called(round, sender, now),
            Message::Publish { hops, range, news } => self.publish(hops, range, news, now),
            Message::News { serial, hops, range, news } => {
                self.hear(sender, serial, hops, range, news)
            }
            Message::Ask { nonce, range, raw, from: after } => {
                self.asked(nonce, range, raw, after, from, now)
            }
            Message::Told { nonce, page } => self.told(nonce, page, sender, now),
            Message::Subscribe { node, me, query } => {
                self.subscribed_here(node, me, query, from, now)
            }
            Message::Subscribed { name } => self.subscribed(name, sender),
            Message::Offer { me, key } => self.offered(me, key, from, now),
            Message::Accept { record } => self.accepted(record, from),
            Message::Done { record } => self.done(record, from),
            Message::Matched { name, answer } => self.matched(name, &answer, sender),
        }
    }

    /// Whether a contact may be believed, and speaks for itself.
    fn is_acceptable(&self, contact: &Contact, from: &Endpoint) -> Result<(), DropReason> {
        match contact.is_acceptable(crate::node::is_proved) {
            _ if !contact.speaks_from(from) || contact.id == self.me.id => {
                Err(DropReason::Malformed)
            }
            true => Ok(()),
            false if contact.swap.is_some() => Err(DropReason::UnprovedPosition),
            false => Err(DropReason::Malformed),
        }
    }

    fn next_request(&mut self) -> u32 {
        self.request = self.request.wrapping_add(1);
        self.request
    }

    fn is_parent(&self, sender: PeerId) -> bool {
        self.parent().is_some_and(|parent| parent.id == sender)
    }

    fn send(&mut self, to: Endpoint, message: &Message, class: Class) {
        self.out.send(alloc::vec![to], Protocol::Somo, message, class);
    }

    fn send_all(&mut self, to: Vec<Endpoint>, message: &Message, class: Class) {
        self.out.send(to, Protocol::Somo, message, class);
    }
}

#[cfg(test)]
mod tests;

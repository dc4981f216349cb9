//! Multicast sessions for who asks by the control socket: the pool is looked at, sessions begin, data goes in
//! and comes out. A session whose sender says nothing any more ends.

mod inbox;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crossbeam_channel::Sender;
use overlay_protocols::alm::{PlanError, Priority, SessionId};
use overlay_protocols::delivery::{self, PAYLOAD_MAX, SessionView};
use overlay_protocols::node::Input;
use overlay_protocols::resource_pool::{Found, Near, Snapshot, Wanted};
use overlay_protocols::somo::Somo;
use overlay_protocols::{Contact, Now, PeerId, RingId, Time, sessions, somo};
use serde_json::{Value, json};
use xcast::control::Reply;
use xcast::io::fill_random;

pub(super) use inbox::Inboxes;

use super::peer::Peer;
use super::pool::parents;
use crate::control::{ANSWER_PATIENCE, Order, PoolQuestion};
use crate::state::Writer;

/// Questions to the pool that may be open at once.
const SURVEYS_MAX: usize = 16;
/// A session of which no order comes for so long ends.
const IDLE: Duration = Duration::from_secs(30);
/// The tree answers in time, and a plan is made soon; this is for what they should forget.
const PATIENCE: Duration = ANSWER_PATIENCE.saturating_sub(Duration::from_secs(1));
/// Numbers of queries from here on are these.
const REQUESTS: u64 = 1 << 40;

/// What a snapshot is wanted for.
enum Aim {
    Pool(PoolQuestion),
    Begin { members: Vec<String>, priority: Priority },
}

/// A snapshot that is being gathered.
struct Survey {
    peer: usize,
    aim: Aim,
    reports: Vec<(RingId, Vec<u8>)>,
    deadline: Time,
    sender: Sender<Reply>,
}

/// Who waits for a session to have a tree in which everybody knows its place.
struct Begins {
    sender: Sender<Reply>,
    deadline: Time,
    /// What it lacks so far.
    lacks: Option<PlanError>,
    /// What is answered, once there is a tree.
    tree: Option<Value>,
}

/// A session whose data comes from here.
struct Sending {
    /// When its sender has said something.
    heard: Time,
    begins: Option<Begins>,
    /// Who waits for its end.
    ends: Option<Sender<Reply>>,
    is_ending: bool,
}

/// All sessions that were asked for here.
#[derive(Default)]
pub(super) struct Multicast {
    next: u64,
    surveys: BTreeMap<u64, Survey>,
    sending: BTreeMap<(usize, SessionId), Sending>,
    pub(super) inboxes: Inboxes,
}

impl Multicast {
    /// Does what somebody asks for; `sender` gets the answer, perhaps later.
    pub(super) fn order(
        &mut self,
        (index, peer): (usize, &mut Peer),
        order: Order,
        sender: Sender<Reply>,
        now: Now,
        writer: &Writer,
    ) {
        let reply = match order {
            Order::Pool(question) => {
                return self.survey((index, peer), Aim::Pool(question), sender, now, writer);
            }
            Order::Begin { .. } if peer.node.sessions().is_none() => {
                Reply::Refused("this host takes part in no sessions; `[sessions]` makes it".into())
            }
            Order::Begin { members, priority } => match Priority::new(priority) {
                Some(priority) => {
                    let aim = Aim::Begin { members, priority };
                    return self.survey((index, peer), aim, sender, now, writer);
                }
                None => Reply::Refused("a priority is 1, 2 or 3".to_owned()),
            },
            Order::Send { session, payloads } => {
                self.send((index, peer), &session, &payloads, now, writer)
            }
            Order::End { session } => match self.end((index, peer), &session, now, writer) {
                Ok(sending) => {
                    sending.ends = Some(sender);
                    return;
                }
                Err(reply) => reply,
            },
            Order::Receive { session, from } => {
                let wanted = session.map(|session| read_number(&session));
                match wanted {
                    Some(None) => not_a_number(),
                    wanted => {
                        return self.inboxes.read(index, wanted.flatten(), from, sender, now.time);
                    }
                }
            }
        };
        let _gone = sender.send(reply);
    }

    fn survey(
        &mut self,
        (index, peer): (usize, &mut Peer),
        aim: Aim,
        sender: Sender<Reply>,
        now: Now,
        writer: &Writer,
    ) {
        let refusal = match () {
            () if peer.node.somo().is_none() => {
                Reply::Refused("this host takes part in no tree; `[somo]` makes it".to_owned())
            }
            () if self.surveys.len() >= SURVEYS_MAX => {
                Reply::Failed("too much is under way".to_owned())
            }
            () => {
                self.next += 1;
                let request = REQUESTS + self.next;
                let (reports, deadline) = (Vec::new(), now.time + PATIENCE);
                let survey = Survey { peer: index, aim, reports, deadline, sender };
                self.surveys.insert(request, survey);
                let (range, raw) = (somo::Range::ALL, true);
                let query = somo::Command::Query { request, range, raw };
                return peer.input(Input::Somo(query), now, writer);
            }
        };
        let _gone = sender.send(refusal);
    }

    /// What the tree tells, if it was asked here.
    pub(super) fn tree(
        &mut self,
        (index, peer): (usize, &mut Peer),
        event: &somo::Event,
        now: Now,
        writer: &Writer,
    ) {
        match event {
            somo::Event::Listed { request, entries } => {
                let survey = self.surveys.get_mut(request);
                if let Some(survey) = survey.filter(|survey| survey.peer == index) {
                    survey.reports.extend(entries.iter().cloned());
                }
            }
            somo::Event::Answered { request, complete, .. } => {
                let Some(survey) = self.surveys.remove(request) else { return };
                let snapshot = Snapshot::of(survey.reports);
                match survey.aim {
                    Aim::Pool(question) => {
                        let reply = pool(&snapshot, &question, peer, *complete);
                        let _gone = survey.sender.send(reply);
                    }
                    Aim::Begin { members, priority } => {
                        match resolve(&snapshot, &members, peer.node.contact().id) {
                            Ok(members) => {
                                let session = (priority, members);
                                self.begin((index, peer), session, survey.sender, now, writer);
                            }
                            Err(why) => {
                                let _gone = survey.sender.send(Reply::Refused(why));
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn begin(
        &mut self,
        (index, peer): (usize, &mut Peer),
        (priority, members): (Priority, Vec<Contact>),
        sender: Sender<Reply>,
        now: Now,
        writer: &Writer,
    ) {
        let mut octets = [0; 8];
        fill_random(&mut octets);
        let session = SessionId(u64::from_be_bytes(octets));
        tracing::info!(peer = peer.name, %session, members = members.len(), "a session begins");
        let deadline = now.time + PATIENCE;
        let begins = Some(Begins { sender, deadline, lacks: None, tree: None });
        let sending = Sending { heard: now.time, begins, ends: None, is_ending: false };
        self.sending.insert((index, session), sending);
        let begin = sessions::Command::Begin { session, priority, members };
        peer.input(Input::Sessions(begin), now, writer);
    }

    fn send(
        &mut self,
        (index, peer): (usize, &mut Peer),
        session: &str,
        payloads: &[String],
        now: Now,
        writer: &Writer,
    ) -> Reply {
        let (session, sending) = match self.known(index, session) {
            Ok(known) => known,
            Err(reply) => return reply,
        };
        sending.heard = now.time;
        let next = |peer: &Peer| sent(peer, session).map_or(0, |view| view.next);
        let before = next(peer);
        for payload in payloads {
            let Ok(payload) = BASE64_STANDARD.decode(payload) else {
                return Reply::Refused("a payload is not base64".to_owned());
            };
            if payload.len() > PAYLOAD_MAX {
                return Reply::Refused(format!("a payload has at most {PAYLOAD_MAX} octets"));
            }
            let send = delivery::Command::Send(session, payload);
            peer.input(Input::Delivery(send), now, writer);
        }
        let (next, count) = (next(peer), payloads.len() as u64);
        match next == before + count {
            true => Reply::Done(json!({ "next": next })),
            false => Reply::Failed(format!(
                "only {} of {count} payloads have left: `buffer-bytes` in `[sessions]` is too small for them",
                next - before
            )),
        }
    }

    fn end(
        &mut self,
        (index, peer): (usize, &mut Peer),
        session: &str,
        now: Now,
        writer: &Writer,
    ) -> Result<&mut Sending, Reply> {
        let (session, sending) = self.known(index, session)?;
        sending.is_ending = true;
        peer.input(Input::Delivery(delivery::Command::End(session)), now, writer);
        Ok(sending)
    }

    fn known(&mut self, index: usize, text: &str) -> Result<(SessionId, &mut Sending), Reply> {
        let session = read_number(text).ok_or_else(not_a_number)?;
        let sending = self.sending.get_mut(&(index, session)).filter(|sending| !sending.is_ending);
        let unknown = || Reply::Failed(format!("no session {text} is sent from here (any more)"));
        Ok((session, sending.ok_or_else(unknown)?))
    }

    /// What sessions tell.
    pub(super) fn sessions(&mut self, index: usize, name: &str, event: &sessions::Event) {
        use sessions::Event;
        match event {
            Event::Arranged { session, seats, .. } => {
                let helpers = seats.iter().filter(|seat| !seat.receives).count();
                let members = seats.len() - helpers;
                tracing::info!(peer = name, %session, members, helpers, "has a tree");
                let waits = self.sending.get_mut(&(index, *session));
                if let Some(begins) = waits.and_then(|sending| sending.begins.as_mut()) {
                    let session = session.to_string();
                    let tree =
                        json!({ "session": session, "members": members, "helpers": helpers });
                    begins.tree = Some(tree);
                }
            }
            Event::Unplanned { session, why } => {
                tracing::warn!(peer = name, %session, ?why, "cannot be planned");
                let waits = self.sending.get_mut(&(index, *session));
                if let Some(begins) = waits.and_then(|sending| sending.begins.as_mut()) {
                    begins.lacks = Some(*why);
                }
            }
            Event::Preempted { session, host } => {
                tracing::info!(peer = name, %session, %host, "was taken by a stronger session");
            }
            Event::Gone { session, host, .. } => {
                tracing::warn!(peer = name, %session, %host, "does not answer any more");
            }
            _ => {}
        }
    }

    /// What comes in sessions, and what becomes of them.
    pub(super) fn delivery(&mut self, index: usize, name: &str, event: delivery::Event, now: Time) {
        if let delivery::Event::Ended { session, .. } | delivery::Event::Lost { session, .. } =
            event
            && let Some(sending) = self.sending.remove(&(index, session))
        {
            tracing::info!(peer = name, %session, "is over");
            let waits = sending.ends.into_iter();
            for sender in waits.chain(sending.begins.map(|begins| begins.sender)) {
                let _gone = sender.send(Reply::Done(json!({ "session": session.to_string() })));
            }
            return;
        }
        self.inboxes.take(index, event, now);
    }

    /// This host leaves: its sessions end, and what they have of others is free.
    pub(super) fn leave(&mut self, peers: &mut [Peer], now: Now, writer: &Writer) {
        for ((index, session), sending) in &mut self.sending {
            sending.is_ending = true;
            let end = delivery::Command::End(*session);
            peers[*index].input(Input::Delivery(end), now, writer);
            let end = sessions::Command::End(*session);
            peers[*index].input(Input::Sessions(end), now, writer);
        }
    }

    /// When something is given up.
    pub(super) fn deadline(&self) -> Option<Time> {
        let surveys = self.surveys.values().map(|survey| survey.deadline);
        let sending = self.sending.values().filter(|sending| !sending.is_ending);
        let sending = sending.map(|sending| {
            let idle = sending.heard + IDLE;
            sending.begins.as_ref().map_or(idle, |begins| idle.min(begins.deadline))
        });
        surveys.chain(sending).chain(self.inboxes.deadline()).min()
    }

    /// Gives up what is too old.
    pub(super) fn expire(&mut self, peers: &mut [Peer], now: Now, writer: &Writer) {
        self.inboxes.expire(now.time);
        for (_, survey) in self.surveys.extract_if(.., |_, survey| survey.deadline <= now.time) {
            let _gone = survey.sender.send(Reply::Failed("the tree does not answer".to_owned()));
        }
        let mut given_up = Vec::new();
        for (key, sending) in &mut self.sending {
            let has_begun = |begins: &mut Begins| {
                begins.tree.is_some() && sent(&peers[key.0], key.1).is_some_and(|view| view.told)
            };
            if let Some(begins) = sending.begins.take_if(has_begun) {
                let _gone = begins.sender.send(Reply::Done(begins.tree.unwrap_or_default()));
            }
            let is_late = |begins: &mut Begins| begins.deadline <= now.time;
            if let Some(begins) = sending.begins.take_if(is_late) {
                let _gone = begins.sender.send(Reply::Failed(unplanned(begins.lacks)));
                given_up.push(*key);
            } else if !sending.is_ending && now.time.since(sending.heard) >= IDLE {
                tracing::warn!(session = %key.1, "its sender is silent: it ends");
                sending.is_ending = true;
                let end = delivery::Command::End(key.1);
                peers[key.0].input(Input::Delivery(end), now, writer);
            }
        }
        for (index, session) in given_up {
            self.sending.remove(&(index, session));
            let end = sessions::Command::End(session);
            peers[index].input(Input::Sessions(end), now, writer);
            let end = delivery::Command::End(session);
            peers[index].input(Input::Delivery(end), now, writer);
        }
    }
}

/// A session that a peer is the root of.
fn sent(peer: &Peer, session: SessionId) -> Option<SessionView> {
    let me = peer.node.contact().id;
    let is_it = |view: &SessionView| (view.session, view.root) == (session, me);
    peer.node.delivery()?.sessions().find(is_it)
}

fn unplanned(why: Option<PlanError>) -> String {
    match why {
        Some(PlanError::Degrees) => {
            "the members' hosts cannot carry the session: they have too few \
                                     free links (`degrees` in `[host]`), see `overlay-host pool`"
                .to_owned()
        }
        Some(PlanError::Size) => "there are too many members".to_owned(),
        None => "not all hosts that are needed have answered in time".to_owned(),
    }
}

fn not_a_number() -> Reply {
    Reply::Refused("a session's number is 16 hexadecimal digits".to_owned())
}

fn read_number(text: &str) -> Option<SessionId> {
    let is_hex = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| is_hex).map(SessionId)
}

/// Who is meant: by an address, with its port or without, or by the beginning of an identity.
fn resolve(snapshot: &Snapshot, names: &[String], me: PeerId) -> Result<Vec<Contact>, String> {
    let mut members: BTreeMap<PeerId, Contact> = BTreeMap::new();
    let mut wrong = Vec::new();
    for name in names {
        let is_meant = |contact: &Contact| {
            let addresses = contact.addresses();
            addresses.iter().any(|at| at.to_string() == *name || at.ip().to_string() == *name)
                || (name.len() >= 8 && contact.id.to_string().starts_with(name.as_str()))
        };
        let contacts = snapshot.hosts().iter().map(|host| &host.report.contact);
        let found: Vec<&Contact> = contacts.filter(|contact| is_meant(contact)).collect();
        match found.as_slice() {
            [only] => drop(members.insert(only.id, (*only).clone())),
            [] => wrong.push(format!("nobody in the pool is `{name}`")),
            several => wrong.push(format!("`{name}` may be {} hosts", several.len())),
        }
    }
    members.remove(&me);
    match wrong.is_empty() {
        true if members.is_empty() => Err("there is no member but this host".to_owned()),
        true => Ok(members.into_values().collect()),
        false => Err(format!("{}; `overlay-host pool` lists all", wrong.join("; "))),
    }
}

/// Hosts that have what is asked.
fn pool(snapshot: &Snapshot, question: &PoolQuestion, peer: &Peer, complete: bool) -> Reply {
    let here = peer.node.metrics().and_then(|metrics| metrics.coordinate());
    let near = match (question.within_ms, here) {
        (Some(within), Some(to)) => Some(Near { to, within }),
        (Some(_), None) => {
            let why = "this host does not know where it stands yet; `[metrics]` measures it";
            return Reply::Failed(why.to_owned());
        }
        (None, _) => None,
    };
    let (degrees, count) = (question.degrees, question.count);
    // Without a bound those that are nowhere count, too: all are found, then sorted.
    let count_found = if near.is_some() { count } else { usize::MAX };
    let wanted = Wanted { near, degrees, count: count_found, ..Wanted::default() };
    let mut found = snapshot.find(&wanted);
    for each in &mut found {
        let places = here.zip(each.host.report.coordinate);
        each.distance = each.distance.or(places.map(|(here, there)| here.distance(&there)));
    }
    found.sort_by(|one, other| {
        let distance = |found: &Found<'_>| found.distance.unwrap_or(f64::INFINITY);
        distance(one).total_cmp(&distance(other))
    });
    let tree = peer.node.somo().map(Somo::tree);
    let parents = tree.map(|tree| parents(snapshot, tree)).unwrap_or_default();
    let found = found.iter().take(count);
    let hosts: Vec<Value> = found.map(|found| host(found, &parents)).collect();
    Reply::Done(json!({
        "hosts": hosts,
        "pool": snapshot.hosts().len(),
        "without-report": snapshot.refused(),
        "complete": complete,
    }))
}

fn host(found: &Found<'_>, parents: &BTreeMap<RingId, PeerId>) -> Value {
    let report = &found.host.report;
    let addresses: Vec<String> =
        report.contact.addresses().iter().map(ToString::to_string).collect();
    json!({
        "id": report.contact.id.to_string(),
        "addresses": addresses,
        "parent": parents.get(&found.host.position).map(PeerId::to_string),
        "distance-ms": found.distance,
        "degrees": report.degrees.total(),
        "free-degrees": report.degrees.free(),
        "cores": report.cpu.cores,
        "idle": report.cpu.idle,
        "memory": report.memory.available,
        "disk": report.disk.available,
        "up-kbps": report.up,
        "down-kbps": report.down,
    })
}

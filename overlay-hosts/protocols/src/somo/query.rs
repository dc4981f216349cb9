//! What is asked of a part of the ring (seed 003 paragraph 0069): the asker walks down the tree from its
//! root, past all branches that have nobody in the range. Of a branch that lies in the range wholly its
//! one report is enough; at the edges the walk goes on below. Machines asked keep nothing of it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::children::Child;
use super::message::Message;
use super::{Event, QUERIES_MAX, QUERY_ASKED_MAX, REPORT_LEN_MAX, Range, Somo, Span, VirtualNode};
use crate::contact::{Contact, Endpoint};
use crate::drops::DropReason;
use crate::id::{PeerId, RingId};
use crate::machine::{Class, encode};
use crate::time::{Now, Time};

/// Machines that wait to be asked by one query.
const STACK_MAX: usize = 1024;
/// How often a machine is asked.
const TRIES: u32 = 2;

/// A child, as its parent tells an asker of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Branch {
    pub(super) contact: Contact,
    pub(super) span: Span,
    /// All that is to be known of it; none: it has to be asked itself.
    pub(super) report: Option<Vec<u8>>,
}

/// What a machine tells an asker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Page {
    /// Its own report, if it is in the range.
    pub(super) own: Option<Vec<u8>>,
    pub(super) branches: Vec<Branch>,
    /// There are more, from this virtual node on.
    pub(super) next: Option<VirtualNode>,
}

/// A machine to be asked, and from which of its children on.
#[derive(Clone, Debug)]
struct Stop {
    contact: Contact,
    from: Option<VirtualNode>,
}

/// A query that was asked here.
#[derive(Clone, Debug)]
pub(super) struct Query {
    request: u64,
    range: Range,
    /// Reports of single machines are wanted, not of branches.
    raw: bool,
    /// The number of the question that is open.
    nonce: u32,
    pub(super) due: Time,
    tries: u32,
    /// Who is asked now; at first the root is looked up.
    asked: Option<Stop>,
    stack: Vec<Stop>,
    seen: BTreeSet<PeerId>,
    machines: u32,
    /// Pages asked for so far.
    pages: usize,
    merged: Vec<u8>,
    complete: bool,
}

impl Somo {
    /// Somebody here wants to know.
    pub(super) fn query(&mut self, request: u64, range: Range, raw: bool, now: Now) {
        if self.after.is_none() || self.queries.len() >= QUERIES_MAX {
            let (machines, report) = (0, Vec::new());
            return self.out.event(Event::Answered { request, machines, report, complete: false });
        }
        let nonce = self.next_request();
        let key = self.tree.key(VirtualNode::ROOT);
        self.out.event(Event::Find { request: nonce, key });
        self.queries.push(Query {
            request,
            range,
            raw,
            nonce,
            due: now.time + self.config.answer * super::parent::LOOKUP_PATIENCE,
            tries: 0,
            asked: None,
            stack: Vec::new(),
            seen: BTreeSet::new(),
            machines: 0,
            pages: 0,
            merged: Vec::new(),
            complete: true,
        });
    }

    /// The root was found, or not; whether it was a query that looked for it.
    pub(super) fn found_root(&mut self, request: u32, owner: Option<&Contact>, now: Now) -> bool {
        let is_it = |query: &Query| query.nonce == request && query.asked.is_none();
        let Some(place) = self.queries.iter().position(is_it) else { return false };
        let mut query = self.queries.swap_remove(place);
        query.complete = owner.is_some();
        query.stack.extend(owner.map(|owner| Stop { contact: owner.clone(), from: None }));
        self.walk(query, now);
        true
    }

    /// Asks the next machine; if there is none, the query is answered.
    fn walk(&mut self, mut query: Query, now: Now) {
        while let Some(stop) = query.stack.pop() {
            if stop.from.is_none() && !query.seen.insert(stop.contact.id) {
                continue;
            }
            query.pages += 1;
            if query.seen.len().max(query.pages) > QUERY_ASKED_MAX {
                query.complete = false;
                break;
            }
            if stop.contact.id == self.me.id {
                let page = self.page(query.range, query.raw, stop.from, now);
                self.take_page(&mut query, &stop, page);
                continue;
            }
            query.tries = 0;
            query.asked = Some(stop);
            return self.ask_stop(query, now);
        }
        self.tell_answer(query);
    }

    fn tell_answer(&mut self, query: Query) {
        let Query { request, machines, merged: report, complete, .. } = query;
        self.out.event(Event::Answered { request, machines, report, complete });
    }

    /// There is no tree any more that could be asked.
    pub(super) fn end_queries(&mut self) {
        for query in core::mem::take(&mut self.queries) {
            self.tell_answer(Query { complete: false, ..query });
        }
    }

    fn ask_stop(&mut self, mut query: Query, now: Now) {
        let Some(stop) = &query.asked else { return };
        query.nonce = self.next_request();
        query.due = now.time + self.config.answer;
        let to = stop.contact.endpoint_for(query.tries as usize);
        let class = if query.tries == 0 { Class::Immediate } else { Class::Repeated };
        let Query { nonce, range, raw, .. } = query;
        let message = Message::Ask { nonce, range, raw, from: stop.from };
        query.tries += 1;
        self.queries.push(query);
        self.send(to, &message, class);
    }

    /// Questions that were not answered in time.
    pub(super) fn query_timeouts(&mut self, now: Now) {
        while let Some(place) = self.queries.iter().position(|query| query.due <= now.time) {
            let mut query = self.queries.swap_remove(place);
            if query.asked.is_some() && query.tries < TRIES {
                self.ask_stop(query, now);
                continue;
            }
            query.complete = false;
            self.walk(query, now);
        }
    }

    /// Somebody asks for what is known here of a range.
    pub(super) fn asked(
        &mut self,
        nonce: u32,
        range: Range,
        raw: bool,
        after: Option<VirtualNode>,
        from: Endpoint,
        now: Now,
    ) -> Result<(), DropReason> {
        let page = self.page(range, raw, after, now);
        self.send(from, &Message::Told { nonce, page }, Class::Immediate);
        Ok(())
    }

    /// As much as one message has room for.
    fn page(&self, range: Range, raw: bool, from: Option<VirtualNode>, now: Now) -> Page {
        let mut page = Page::default();
        if range.holds(self.position) && from.is_none() {
            page.own = Some(self.config.op.own(&self.sample, now));
        }
        let mut room = REPORT_LEN_MAX.saturating_sub(page.own.as_ref().map_or(0, Vec::len));
        let meets = |child: &&Child| {
            from.is_none_or(|from| child.node() >= from) && child.span().range.meets(&range)
        };
        for child in self.children.iter().filter(meets) {
            let is_enough =
                range.covers(&child.span().range) && (!raw || child.span().machines == 1);
            let mut branch = Branch {
                contact: child.contact().clone(),
                span: *child.span(),
                report: is_enough.then(|| child.report().to_vec()),
            };
            let mut len = encode(&branch).len();
            if len > room && page.branches.is_empty() {
                // Not even alone: the child itself has room for it.
                branch.report = None;
                len = encode(&branch).len().min(room);
            }
            match room.checked_sub(len) {
                Some(left) => room = left,
                None => {
                    page.next = Some(child.node());
                    break;
                }
            }
            page.branches.push(branch);
        }
        page
    }

    /// A machine that was asked tells.
    pub(super) fn told(
        &mut self,
        nonce: u32,
        page: Page,
        sender: PeerId,
        now: Now,
    ) -> Result<(), DropReason> {
        let is_it = |query: &Query| {
            let asked = query.asked.as_ref().map(|stop| stop.contact.id);
            query.nonce == nonce && asked == Some(sender)
        };
        let Some(place) = self.queries.iter().position(is_it) else { return Ok(()) };
        let mut query = self.queries.swap_remove(place);
        if let Some(stop) = query.asked.take() {
            self.take_page(&mut query, &stop, page);
        }
        self.walk(query, now);
        Ok(())
    }

    fn take_page(&mut self, query: &mut Query, stop: &Stop, page: Page) {
        // It is told once, whatever further pages repeat.
        let own = page
            .own
            .filter(|_| stop.from.is_none())
            .map(|report| (stop.contact.position(), 1, report));
        let mut reports: Vec<(RingId, u32, Vec<u8>)> = own.into_iter().collect();
        if let Some(next) = page.next.filter(|next| stop.from.is_none_or(|from| *next > from)) {
            query.stack.push(Stop { from: Some(next), ..stop.clone() });
        }
        for Branch { contact, span, report } in page.branches {
            let is_new = query.seen.len() < QUERY_ASKED_MAX && !query.seen.contains(&contact.id);
            if !is_new || !contact.is_acceptable(crate::node::is_proved) {
                continue;
            }
            match report {
                Some(report) => {
                    query.seen.insert(contact.id);
                    reports.push((contact.position(), span.machines, report));
                }
                None if query.stack.len() < STACK_MAX => {
                    query.stack.push(Stop { contact, from: None });
                }
                None => query.complete = false,
            }
        }
        let op = self.config.op;
        reports.retain(|(_, _, report)| report.len() <= REPORT_LEN_MAX && op.is_report(report));
        let merged = (!query.merged.is_empty()).then_some(query.merged.as_slice());
        let all = merged.into_iter().chain(reports.iter().map(|(_, _, report)| report.as_slice()));
        let all: Vec<&[u8]> = all.collect();
        if !reports.is_empty() {
            query.merged = op.merge(&all);
        }
        let machines = reports.iter().map(|(_, machines, _)| machines);
        query.machines = machines.fold(query.machines, |sum, more| sum.saturating_add(*more));
        if query.raw && !reports.is_empty() {
            let entries = reports.into_iter().map(|(position, _, report)| (position, report));
            let (request, entries) = (query.request, entries.collect());
            self.out.event(Event::Listed { request, entries });
        }
    }
}

//! What machines of a tree say to each other, and how long it may be.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::config::{CHILDREN_MAX, NEWS_LEN_MAX, QUERY_LEN_MAX, REPORT_LEN_MAX};
use super::query::Page;
use super::tree::{LEVEL_MAX, Range, VirtualNode};
use crate::contact::Contact;
use crate::swap::SwapRecord;

/// What a report is about: the machines of a part of the physical tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// How many machines.
    pub machines: u32,
    /// How many edges there are from the one that reports to the deepest.
    pub height: u8,
    /// All their positions lie in it.
    pub range: Range,
}

impl Span {
    /// With a child's span below it.
    #[must_use]
    pub(super) fn over(self, child: &Span) -> Span {
        let range = Range {
            first: self.range.first.min(child.range.first),
            last: self.range.last.max(child.range.last),
        };
        Span {
            machines: self.machines.saturating_add(child.machines),
            height: self.height.max(child.height.saturating_add(1)).min(LEVEL_MAX),
            range,
        }
    }

    fn is_possible(&self) -> bool {
        self.machines > 0 && self.height <= LEVEL_MAX && self.range.first <= self.range.last
    }
}

/// What a child says each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heading {
    /// The number of the report; each is greater than the last.
    pub(super) serial: u32,
    /// The call that it answers; 0: none, and it is to be acknowledged.
    pub(super) round: u32,
    /// Who represents the child: one end of the link. The other end is the parent of that.
    pub(super) node: VirtualNode,
    pub(super) span: Span,
}

impl Heading {
    /// The same; if it answers no call, then the one that was answered before.
    pub(super) fn with_round(self, before: u32) -> Heading {
        match self.round {
            0 => Heading { round: before, ..self },
            _ => self,
        }
    }
}

/// A message; what all receivers get alike stands first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// A child reports.
    Report { heading: Heading, me: Contact, report: Vec<u8> },
    /// It reports what has changed since its report `of`: the first `head` octets and the last `tail`
    /// ones are those of that.
    Delta { heading: Heading, of: u32, head: u16, tail: u16, middle: Vec<u8> },
    /// Is my report of this number still the last that you have? I am here.
    Keep { serial: u32, node: VirtualNode },
    /// It is.
    Taken { serial: u32 },
    /// It is not: send it in full.
    Again,
    /// The key of your parent is not in my zone: look for it anew.
    Moved,
    /// Somebody who was at your key is gone: see whether you have a parent.
    Restart,
    /// Report now, and have your children report.
    Call { round: u32 },
    /// To be told to all in the range: on its way up to the root.
    Publish { hops: u8, range: Range, news: Vec<u8> },
    /// On its way down.
    News { serial: u64, hops: u8, range: Range, news: Vec<u8> },
    /// What do you know of the machines in a range? `raw`: of each. Of your children from this on.
    Ask { nonce: u32, range: Range, raw: bool, from: Option<VirtualNode> },
    /// This.
    Told { nonce: u32, page: Page },
    /// Answer this query with each of your reports, as the owner of a virtual node's key.
    Subscribe { node: VirtualNode, me: Contact, query: Vec<u8> },
    /// I will.
    Subscribed { name: u32 },
    /// The answer now.
    Matched { name: u32, answer: Vec<u8> },
    /// Take my place, and I yours: I am the root, and this is my key.
    Offer { me: Contact, key: [u8; 32] },
    /// I will; I have signed this.
    Accept { record: Box<SwapRecord> },
    /// So have I.
    Done { record: Box<SwapRecord> },
}

impl Message {
    /// Whether no list is longer than it may be, and no number what it cannot be.
    pub(super) fn is_possible(&self) -> bool {
        match self {
            Message::Report { heading, report: bytes, .. }
            | Message::Delta { heading, middle: bytes, .. } => {
                bytes.len() <= REPORT_LEN_MAX && heading.span.is_possible()
            }
            Message::Publish { hops, news, .. } | Message::News { hops, news, .. } => {
                news.len() <= NEWS_LEN_MAX && *hops <= LEVEL_MAX
            }
            Message::Told { page, .. } => page.branches.len() <= CHILDREN_MAX,
            Message::Subscribe { query, .. } => query.len() <= QUERY_LEN_MAX,
            Message::Matched { answer, .. } => answer.len() <= REPORT_LEN_MAX,
            _ => true,
        }
    }
}

/// A report in place of another: how much they begin and end with in common.
pub(super) fn common(old: &[u8], new: &[u8]) -> (u16, u16) {
    let head = crate::machine::common_prefix(old, new);
    let ends = old[head..].iter().rev().zip(new[head..].iter().rev());
    let tail = ends.take_while(|(one, other)| one == other).count();
    (head as u16, tail as u16)
}

/// The report that was changed so; `None` if it cannot have been, or is too long.
pub(super) fn patched(old: &[u8], head: u16, tail: u16, middle: &[u8]) -> Option<Vec<u8>> {
    let (head, tail) = (usize::from(head), usize::from(tail));
    let end = old.len().checked_sub(tail).filter(|end| *end >= head)?;
    let len = head + middle.len() + tail;
    (len <= REPORT_LEN_MAX).then(|| [&old[..head], middle, &old[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_makes_the_new_report_of_the_old_one() {
        for (old, new) in [
            (&b"abcdef"[..], &b"abXYef"[..]),
            (b"abc", b"abc"),
            (b"", b"abc"),
            (b"abc", b""),
            (b"aaa", b"aaaaa"),
            (b"aaaaa", b"aaa"),
        ] {
            let (head, tail) = common(old, new);
            let middle = &new[usize::from(head)..new.len() - usize::from(tail)];
            assert_eq!(patched(old, head, tail, middle).as_deref(), Some(new));
        }
    }

    #[test]
    fn what_cannot_have_changed_so_has_not() {
        assert_eq!(patched(b"abc", 2, 2, b""), None);
        assert_eq!(patched(b"abc", 0, 4, b""), None);
        assert_eq!(patched(&[0; REPORT_LEN_MAX], REPORT_LEN_MAX as u16, 0, b"x"), None);
    }
}

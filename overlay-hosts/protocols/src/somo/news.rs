//! News on their way: up to the root, and down to all machines or those in a range (seed 003 paragraph
//! 0070). To the children of a machine they are one message.

use alloc::vec::Vec;

use super::message::Message;
use super::{Event, LEVEL_MAX, NEWS_LEN_MAX, NEWS_PER_SECOND_MAX, Range, Somo};
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::machine::Class;
use crate::time::Now;

/// News that are remembered, to know them if they come twice.
const HEARD_MAX: usize = 16;

impl Somo {
    /// To be told to all in the range: the root does so, everybody else passes it up.
    pub(super) fn publish(
        &mut self,
        hops: u8,
        range: Range,
        news: Vec<u8>,
        now: Now,
    ) -> Result<(), DropReason> {
        if !self.is_root() {
            let parent = self.parent().map(|parent| parent.endpoint());
            let (Some(to), Some(hops)) = (parent, hops.checked_sub(1)) else {
                return Err(DropReason::NotInTree);
            };
            self.send(to, &Message::Publish { hops, range, news }, Class::Immediate);
            return Ok(());
        }
        let second = now.time.0 / 1_000_000;
        let sent = if self.sent.0 == second { self.sent.1 } else { 0 };
        if sent >= NEWS_PER_SECOND_MAX {
            return Err(DropReason::TreeFull);
        }
        self.sent = (second, sent + 1);
        // Greater than any that an earlier root gave, as far as clocks agree.
        let serial = now.wall.0.wrapping_add(u64::from(sent));
        self.tell(serial, LEVEL_MAX, range, news);
        Ok(())
    }

    /// The parent has news.
    pub(super) fn hear(
        &mut self,
        sender: PeerId,
        serial: u64,
        hops: u8,
        range: Range,
        news: Vec<u8>,
    ) -> Result<(), DropReason> {
        if !self.is_parent(sender) {
            return Err(DropReason::NotInTree);
        }
        if !self.heard.contains(&serial) {
            self.tell(serial, hops, range, news);
        }
        Ok(())
    }

    fn tell(&mut self, serial: u64, hops: u8, range: Range, news: Vec<u8>) {
        if self.heard.len() >= HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(serial);
        let among = self.children.iter().filter(|child| child.span().range.meets(&range));
        let to: Vec<_> = among.map(|child| child.contact().endpoint()).collect();
        if let Some(hops) = hops.checked_sub(1).filter(|_| !to.is_empty()) {
            let mut passed = self.config.op.pass(&news);
            passed.truncate(NEWS_LEN_MAX);
            let message = Message::News { serial, hops, range, news: passed };
            self.send_all(to, &message, Class::Immediate);
        }
        if range.holds(self.position) {
            self.out.event(Event::News { serial, news });
        }
    }
}

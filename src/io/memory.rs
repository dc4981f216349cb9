//! A device in memory: tests put frames in and look at what comes out.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::{Frame, Pieces, Receive, Transmit};
use crate::wire::ethernet;

/// Received frames, in order.
#[derive(Default)]
pub struct MemoryReceiver {
    frames: VecDeque<Vec<u8>>,
    group: Option<[u8; 6]>,
}

impl MemoryReceiver {
    /// A device on which frames to `group`'s link-layer address are known as such.
    pub fn new(group: impl Into<IpAddr>) -> MemoryReceiver {
        let group = match group.into() {
            IpAddr::V4(group) => ethernet::group_address(group),
            IpAddr::V6(group) => ethernet::group_address_v6(group),
        };
        MemoryReceiver { frames: VecDeque::new(), group: Some(group) }
    }

    /// Lets a frame arrive.
    pub fn push(&mut self, frame: Vec<u8>) {
        self.frames.push_back(frame);
    }
}

impl Receive for MemoryReceiver {
    fn take(&mut self, limit: usize) -> usize {
        self.frames.len().min(limit)
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        let bytes = &mut self.frames[index][..];
        let to_group = self.group.is_some_and(|group| bytes.starts_with(&group));
        Frame { bytes, to_group }
    }

    fn bytes(&self, index: usize) -> &[u8] {
        &self.frames[index]
    }

    fn release(&mut self, count: usize) {
        self.frames.drain(..count);
    }
}

/// Sent frames, in order.
#[derive(Default)]
pub struct MemoryTransmitter {
    /// What was sent.
    pub sent: Vec<Vec<u8>>,
    /// Takes no frame while set, like a link that is down.
    pub refuse: bool,
}

impl Transmit for MemoryTransmitter {
    fn transmit<'a>(
        &mut self,
        count: usize,
        pieces: impl Fn(usize) -> Pieces<'a>,
        mut done: impl FnMut(usize, bool),
    ) {
        for index in 0..count {
            if !self.refuse {
                let (head, tail) = pieces(index);
                self.sent.push([head, tail].concat());
            }
            done(index, !self.refuse);
        }
    }
}

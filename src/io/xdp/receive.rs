//! The receiving face.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use super::super::{Frame, Receive};
use super::bpf::Link;
use super::{Queue, rings};
use crate::wire::ethernet;

/// The receiving face of an interface, by all its queues, or by those dealt to one worker.
pub struct XdpReceiver {
    queues: Vec<Queue>,
    /// The one that frames were taken from last.
    current: usize,
    /// How many.
    taken: u32,
    frame_len_max: usize,
    /// The program is detached when the last one is dropped, however the process ends.
    link: Arc<Link>,
}

impl XdpReceiver {
    pub(super) fn new(queues: Vec<Queue>, link: Link, frame_len_max: usize) -> XdpReceiver {
        XdpReceiver { queues, current: 0, taken: 0, frame_len_max, link: Arc::new(link) }
    }

    /// Deals the queues to so many workers, in turn. Those that there is no queue for have none.
    pub fn deal(self, workers: usize) -> Vec<XdpReceiver> {
        let mut hands: Vec<Vec<Queue>> = Vec::new();
        hands.resize_with(workers.min(self.queues.len()), Vec::new);
        let places = hands.len();
        for (number, queue) in self.queues.into_iter().enumerate() {
            hands[number % places].push(queue);
        }
        let receiver = |queues| XdpReceiver {
            queues,
            current: 0,
            taken: 0,
            frame_len_max: self.frame_len_max,
            link: Arc::clone(&self.link),
        };
        hands.into_iter().map(receiver).collect()
    }

    /// Whether frames with IP packets of `mtu` octets fit a chunk.
    pub fn fits(&self, mtu: u32) -> bool {
        mtu as usize + ethernet::HEADER_LEN <= self.frame_len_max
    }

    /// How many frames were lost so far because they came faster than they were read.
    pub fn overruns(&self) -> u64 {
        self.queues.iter().map(Queue::overruns).sum()
    }

    /// The descriptors to wait at: one for each queue.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.queues.iter().map(|queue| queue.fd.as_raw_fd())
    }

    #[inline]
    fn descriptor(&self, index: usize) -> rings::Descriptor {
        assert!(index < self.taken as usize, "only frames that were taken are read");
        self.queues[self.current].frames.entry(index as u32)
    }
}

impl Receive for XdpReceiver {
    fn take(&mut self, limit: usize) -> usize {
        // The queues in turn, so that none waits for the others to be empty.
        for _ in 0..self.queues.len() {
            self.current = (self.current + 1) % self.queues.len();
            self.taken = self.queues[self.current].frames.waiting().min(limit as u32);
            if self.taken > 0 {
                break;
            }
        }
        self.taken as usize
    }

    #[inline]
    fn frame(&mut self, index: usize) -> Frame<'_> {
        let place = self.descriptor(index);
        let bytes = self.queues[self.current].chunks.bytes_mut(place.addr, place.len as usize);
        // The program lets only these pass: to this interface, and to the groups.
        let to_group = bytes.first().is_some_and(|octet| octet & 1 == 1);
        Frame { bytes, to_group }
    }

    #[inline]
    fn bytes(&self, index: usize) -> &[u8] {
        let place = self.descriptor(index);
        self.queues[self.current].chunks.bytes(place.addr, place.len as usize)
    }

    fn release(&mut self, count: usize) {
        let Queue { chunks, frames, fill, .. } = &mut self.queues[self.current];
        let count = (count as u32).min(self.taken);
        for at in 0..count {
            fill.push(chunks.chunk_of(frames.entry(at).addr));
        }
        if count > 0 {
            // Published before the frames are given back, which is all the kernel waits for.
            fill.publish();
            frames.release(count);
        }
        if count < self.taken {
            // What is left of this queue is next.
            self.current = (self.current + self.queues.len() - 1) % self.queues.len();
        }
        self.taken = 0;
    }
}

//! The queues that [`Wheel`](super::Wheel) was compared with.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use overlay_protocols::Time;

use super::{Event, EventQueue};

/// The standard library's heap.
#[derive(Debug, Default)]
pub struct Heap {
    sequence: u64,
    heap: BinaryHeap<Reverse<Event>>,
}

impl EventQueue for Heap {
    fn push(&mut self, at: Time, place: u32, what: u32) {
        self.sequence += 1;
        self.heap.push(Reverse(Event { at, sequence: self.sequence, place, what }));
    }

    fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse(event)| event)
    }

    fn next_at(&mut self) -> Option<Time> {
        self.heap.peek().map(|Reverse(event)| event.at)
    }
}

/// Microseconds of a bucket, as a power of two: 1,024.
const BUCKET_BITS: u32 = 10;
/// Buckets: 16.8 seconds, longer than all timers that are frequent.
const BUCKETS: u64 = 1 << 14;

/// A calendar queue whose buckets have one fixed width (after R. Brown, CACM 31(10), 1988).
#[derive(Debug)]
pub struct Calendar {
    sequence: u64,
    /// The number of the bucket that is taken from, counted from the beginning of time.
    current: u64,
    /// What it holds, the next last.
    today: Vec<Event>,
    /// The buckets behind it, in the order of their numbers modulo [`BUCKETS`]: unsorted.
    buckets: Vec<Vec<Event>>,
    /// Events in these.
    in_buckets: usize,
    /// What is further away than all buckets.
    later: BinaryHeap<Reverse<Event>>,
    /// Memory of buckets that are over.
    spare: Vec<Vec<Event>>,
}

impl Default for Calendar {
    fn default() -> Calendar {
        Calendar {
            sequence: 0,
            current: 0,
            today: Vec::new(),
            buckets: vec![Vec::new(); BUCKETS as usize],
            in_buckets: 0,
            later: BinaryHeap::new(),
            spare: Vec::new(),
        }
    }
}

impl Calendar {
    /// Events that are still to come.
    pub fn len(&self) -> usize {
        self.today.len() + self.in_buckets + self.later.len()
    }

    /// Whether nothing is to come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn bucket(&mut self, number: u64) -> &mut Vec<Event> {
        let place = (number % BUCKETS) as usize;
        if self.buckets[place].capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            self.buckets[place] = spare;
        }
        &mut self.buckets[place]
    }

    /// Turns to the next bucket with events, unless today's is not over or there is none.
    fn turn(&mut self) {
        while self.today.is_empty() {
            let next = match (self.in_buckets, self.later.peek()) {
                (0, None) => return,
                (0, Some(Reverse(event))) => event.at.0 >> BUCKET_BITS,
                _ => self.current + 1,
            };
            self.current = next;
            // What has come within reach of the buckets moves there.
            while let Some(Reverse(event)) = self.later.peek()
                && event.at.0 >> BUCKET_BITS < self.current + BUCKETS
            {
                let event = *event;
                self.later.pop();
                self.in_buckets += 1;
                self.bucket(event.at.0 >> BUCKET_BITS).push(event);
            }
            let place = (self.current % BUCKETS) as usize;
            if self.buckets[place].is_empty() {
                continue;
            }
            let over = std::mem::replace(&mut self.today, std::mem::take(&mut self.buckets[place]));
            if over.capacity() > 0 {
                self.spare.push(over);
            }
            self.in_buckets -= self.today.len();
            self.today.sort_unstable_by(|one, other| other.cmp(one));
        }
    }
}

impl EventQueue for Calendar {
    fn push(&mut self, at: Time, place: u32, what: u32) {
        self.sequence += 1;
        let event = Event { at, sequence: self.sequence, place, what };
        let number = at.0 >> BUCKET_BITS;
        if number <= self.current {
            let index = self.today.partition_point(|other| *other > event);
            self.today.insert(index, event);
        } else if number < self.current + BUCKETS {
            self.in_buckets += 1;
            self.bucket(number).push(event);
        } else {
            self.later.push(Reverse(event));
        }
    }

    fn pop(&mut self) -> Option<Event> {
        self.turn();
        self.today.pop()
    }

    fn next_at(&mut self) -> Option<Time> {
        self.turn();
        self.today.last().map(|event| event.at)
    }
}

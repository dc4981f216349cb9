//! The queue that makes several messages one packet (seed 002 paragraphs 0026 to 0029).

use alloc::collections::VecDeque;

use crate::machine::Send;
use crate::time::Time;

/// How it runs.
#[derive(Clone, Debug, Default)]
pub struct Config {}

/// Messages that wait.
#[derive(Default)]
pub struct Queue {
    ready: VecDeque<Send>,
}

impl Queue {
    /// An empty one.
    pub fn new(_: Config) -> Queue {
        Queue::default()
    }

    /// Takes a message over.
    pub fn push(&mut self, send: Send, _: Time) {
        self.ready.push_back(send);
    }

    /// The moment of [`poll_timeout`](Queue::poll_timeout) has come.
    pub fn handle_timeout(&mut self, _: Time) {}

    /// A message that is to leave now, as one packet or alone.
    pub fn poll_output(&mut self) -> Option<Send> {
        self.ready.pop_front()
    }

    /// When it wants to be woken, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        None
    }
}

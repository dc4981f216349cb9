//! How far a measurement is, in one line that is written over, where somebody looks.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use crate::tools::output;

/// The line; it is wiped at the end.
pub(super) struct Progress {
    shown: bool,
    done: usize,
    all: usize,
}

impl Progress {
    /// For so many steps.
    pub(super) fn new(all: usize) -> Progress {
        Progress { shown: std::io::stderr().is_terminal(), done: 0, all }
    }

    /// Begins a step.
    pub(super) fn step(&mut self, what: &str) {
        self.done += 1;
        let share = self.done * 100 / self.all.max(1);
        self.print(&format!("{share:3}% {what}"));
    }

    fn print(&self, text: &str) {
        if self.shown {
            // Where it cannot be written nobody looks.
            let _nobody = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.print("");
    }
}

/// Ends the process, and with it everything it has started, if it has not dropped this after some
/// time: what it started has cores for itself.
pub(super) fn watchdog(time: Duration) -> Sender<()> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        if receiver.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout) {
            output::complain("xcast", &format!("the measurement is not done after {time:?}"));
            std::process::exit(1);
        }
    });
    sender
}

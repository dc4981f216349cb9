//! Which core does what, and how urgently.

use std::io;

use crate::io::affinity;

/// The priority of what is measured, and of what measures it.
const MEASURED: i32 = 50;
const MEASURING: i32 = 60;

/// Where and how urgently a thread runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) core: usize,
    /// `SCHED_FIFO` at this priority; `None` is an ordinary thread.
    pub(super) priority: Option<i32>,
}

impl Place {
    /// Puts the calling thread there, and with it what it starts if `inherited`.
    pub(super) fn take(self, inherited: bool) -> io::Result<()> {
        self.put(0, inherited)
    }

    /// Puts another thread there.
    pub(super) fn put(self, thread: i32, inherited: bool) -> io::Result<()> {
        affinity::pin(thread, self.core)?;
        match self.priority {
            Some(priority) => affinity::run_first(thread, priority, inherited),
            None => Ok(()),
        }
    }
}

/// Who runs where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    pub(super) generator: Place,
    pub(super) router: Place,
}

impl Cores {
    /// Gives generator and router the first two cores there are, before all else that runs on
    /// them, if that is permitted. The calling thread, which measures, comes before both, and
    /// leaves the router's core alone. `normal`: nothing is to run before other work.
    pub(super) fn assign(normal: bool) -> io::Result<Cores> {
        let cores = affinity::cores()?;
        let generator = *cores.first().unwrap_or(&0);
        let router = *cores.get(1).unwrap_or(&generator);
        affinity::pin(0, generator)?;
        // On one core the generator would leave the router nothing.
        let may = !normal && generator != router;
        let first = may && affinity::run_first(0, MEASURING, false).is_ok();
        let place = |core| Place { core, priority: first.then_some(MEASURED) };
        Ok(Cores { generator: place(generator), router: place(router) })
    }

    /// Whether generator and router share a core.
    pub(super) fn is_shared(&self) -> bool {
        self.generator.core == self.router.core
    }

    /// The kernel's name of how both are scheduled.
    pub(super) fn scheduling(&self) -> &'static str {
        if self.router.priority.is_some() { "fifo" } else { "normal" }
    }
}

//! Asks the ports' neighbors whether they handle Xcast: the pure [`Prober`] on a real clock, with
//! its findings told to the Rib.

use std::time::{Duration, Instant};

use crate::backbone::{Action, Prober};
use crate::engine::{probe_frame, probe_targets};
use crate::fib::{Fib, PortId};
use crate::forward::{Heard, Time};
use crate::rib::Rib;

/// Finds out which gateways handle Xcast (WIRE.md R9).
pub(crate) struct Probing {
    prober: Prober,
    start: Instant,
}

impl Probing {
    /// Nobody is asked yet. `secret` is the Fib's.
    pub(crate) fn new(secret: u64) -> Probing {
        Probing { prober: Prober::new(secret, 0), start: Instant::now() }
    }

    fn time(&self, now: Instant) -> Time {
        Time(now.saturating_duration_since(self.start).as_micros() as u64)
    }

    /// Takes up the gateways of the Fib: hosts are never asked, as they need not handle Xcast.
    pub(crate) fn follow(&mut self, fib: &Fib, rib: &Rib) {
        let now = self.time(Instant::now());
        let targets = probe_targets(fib, |interface, address| rib.is_asked(interface, address));
        self.prober.set_neighbors(&targets, now);
    }

    /// A probe came in by an interface.
    pub(crate) fn hear(&mut self, interface: u32, heard: Heard) {
        let now = self.time(Instant::now());
        match heard {
            Heard::Asked { neighbor, .. } => self.prober.handle_asked((interface, neighbor), now),
            Heard::Returned { nonce, .. } => self.prober.handle_returned(interface, &nonce, now),
        }
    }

    /// Does what is due; `emit` sends a frame by a port. Returns whether the Rib has learnt something
    /// that matters.
    pub(crate) fn act(
        &mut self,
        fib: &Fib,
        rib: &mut Rib,
        mut emit: impl FnMut(PortId, Vec<u8>),
    ) -> bool {
        let now = self.time(Instant::now());
        if self.prober.poll_timeout().is_some_and(|due| due <= now) {
            self.prober.handle_timeout(now);
        }
        let mut learnt = false;
        while let Some(action) = self.prober.poll_action() {
            match action {
                Action::Probe(neighbor, nonce) => match probe_frame(fib, neighbor, &nonce) {
                    Some((port, frame)) => emit(port, frame),
                    None => self.prober.handle_unsent(neighbor, now),
                },
                Action::Found((interface, address), capable) => {
                    tracing::debug!(%address, interface, ?capable, "whether it handles Xcast");
                    learnt |= rib.set_probed(interface, address, capable);
                }
            }
        }
        learnt
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Some(self.start + Duration::from_micros(self.prober.poll_timeout()?.0))
    }

    /// Whether the first round is over for all neighbors.
    pub(crate) fn is_settled(&self) -> bool {
        self.prober.is_settled()
    }
}

//! The ring, and the layers above that live by it: they are told what their zone is, and what they
//! look up is looked up there.

use super::{Event, OverlayNode};
use crate::data_overlay::{self, DataOverlay};
use crate::drops::DropReason;
use crate::machine::Output;
use crate::somo::{self, Somo};
use crate::time::Now;
use crate::{contact::Contact, ring};

/// Numbers of requests from here on are the data overlay's.
const DATA_REQUESTS: u64 = 1 << 62;
/// Numbers of requests from here on are the tree's.
const SOMO_REQUESTS: u64 = 1 << 63;

/// One that numbers its requests so.
pub(super) fn data_overlay() -> DataOverlay {
    DataOverlay::new(DATA_REQUESTS)
}

impl OverlayNode {
    /// Something is asked of the tree.
    pub(super) fn command_somo(
        &mut self,
        command: somo::Command,
        now: Now,
    ) -> Result<(), DropReason> {
        match &mut self.somo {
            Some(somo) => somo.handle_input(somo::Input::Command(command), now),
            None => Ok(()),
        }
    }

    /// Lets the ring and the layers on it say what they have to say, until all are quiet.
    pub(super) fn drain_ring(&mut self, now: Now) {
        loop {
            while let Some(output) = self.ring.poll_output() {
                if let Some(output) = self.for_layers(output, now) {
                    self.take(output, Event::Ring, now);
                }
            }
            let zone = self.ring.is_joined().then(|| self.ring.zone_after());
            self.tell_somo(somo::Command::Zone(zone), now);
            if self.drain_data(now) {
                continue;
            }
            let Some(output) = self.somo.as_mut().and_then(Somo::poll_output) else { return };
            match output {
                Output::Event(somo::Event::Find { request, key }) => {
                    let request = SOMO_REQUESTS | u64::from(request);
                    let command = ring::Command::Lookup { request, key };
                    self.count(|node| node.ring.handle_input(ring::Input::Command(command), now));
                }
                output => self.take(output, Event::Somo, now),
            }
        }
    }

    /// Whether the data overlay has had something to say.
    fn drain_data(&mut self, now: Now) -> bool {
        let Some(output) = self.data.poll_output() else { return false };
        match output {
            Output::Event(data_overlay::Event::Ask(command)) => {
                self.count(|node| node.ring.handle_input(ring::Input::Command(command), now));
            }
            output => self.take(output, Event::Data, now),
        }
        true
    }

    /// What the ring says to nobody but a layer goes there.
    fn for_layers(&mut self, output: Output<ring::Event>, now: Now) -> Option<Output<ring::Event>> {
        if let Output::Event(event) = &output
            && self.data.answered(event)
        {
            return None;
        }
        let (request, owner): (u64, Option<Contact>) = match &output {
            Output::Event(ring::Event::Found { request, owner, .. }) => {
                (*request, Some(owner.clone()))
            }
            Output::Event(ring::Event::Failed { request, .. }) => (*request, None),
            _ => return Some(output),
        };
        if request < SOMO_REQUESTS {
            return Some(output);
        }
        self.tell_somo(somo::Command::Found { request: request as u32, owner }, now);
        None
    }

    fn tell_somo(&mut self, command: somo::Command, now: Now) {
        self.count(|node| node.command_somo(command, now));
    }

    fn count(&mut self, handle: impl FnOnce(&mut OverlayNode) -> Result<(), DropReason>) {
        if let Err(reason) = handle(self) {
            self.drops.count(reason);
        }
    }
}

//! The ring, and the layers above that live by it: they are told what their zone is, and what they
//! look up is looked up there.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Event, OverlayNode, Restored};
use crate::data_overlay::{self, DataOverlay};
use crate::delivery::{self, Delivery};
use crate::drops::DropReason;
use crate::machine::{Output, decode, encode};
use crate::metrics;
use crate::seal::Identity;
use crate::somo::{self, Somo};
use crate::swap::SwapRecord;
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

/// Under which name the position is stored that was exchanged for a node's own.
pub const POSITION_KEY: &str = "position";

/// The tree's machine of a node; one that proves nothing has no key.
pub(super) fn somo(
    config: somo::Config,
    me: &Contact,
    identity: &Identity,
    seed: u64,
    now: Now,
) -> Somo {
    let mut somo = Somo::new(config, me.clone(), seed, now);
    if identity.seal.is_proof() {
        let key = somo::Input::Command(somo::Command::Key(identity.key));
        // A command is never dropped.
        let _taken = somo.handle_input(key, now);
    }
    somo
}

/// Who a node is after a restart: it stands where it stood, if it has exchanged its position.
pub(super) fn restore_position(me: Contact, restored: Restored<'_>) -> Contact {
    let record: Option<SwapRecord> = restored(POSITION_KEY).and_then(|bytes| decode(&bytes));
    let is_ours = |record: &SwapRecord| record.position_of(me.id).is_some();
    match record.filter(|record| is_ours(record) && super::is_proved(record)) {
        Some(record) if me.swap.is_none() => Contact { swap: Some(Box::new(record)), ..me },
        _ => me,
    }
}

impl OverlayNode {
    /// The tree, if it takes part in it.
    pub fn somo(&self) -> Option<&Somo> {
        self.somo.as_deref()
    }

    /// Multicast sessions, if it takes part in any.
    pub fn delivery(&self) -> Option<&Delivery> {
        self.delivery.as_deref()
    }

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
                if output == Output::Event(ring::Event::Left) {
                    self.take_place(now);
                }
                self.measure_by(&output, now);
                if let Some(output) = self.for_layers(output, now) {
                    self.take(output, Event::Ring, now);
                }
            }
            let zone = self.ring.is_joined().then(|| self.ring.zone_after());
            self.tell_somo(somo::Command::Zone(zone), now);
            if self.drain_data(now) {
                continue;
            }
            let Some(output) = self.somo.as_deref_mut().and_then(Somo::poll_output) else { return };
            match output {
                Output::Event(somo::Event::Find { request, key }) => {
                    let request = SOMO_REQUESTS | u64::from(request);
                    let command = ring::Command::Lookup { request, key };
                    self.count(|node| node.ring.handle_input(ring::Input::Command(command), now));
                }
                Output::Event(somo::Event::Sign { mut record, place }) => {
                    record.sign(place, |signed| self.identity.seal.seal(signed));
                    self.tell_somo(somo::Command::Signed(record), now);
                }
                Output::Event(somo::Event::Exchanged { record }) => {
                    self.put(Output::Store { key: POSITION_KEY, bytes: encode(&record) });
                    self.exchanged = Some(record.clone());
                    self.count(|node| {
                        node.ring.handle_input(ring::Input::Command(ring::Command::Leave), now)
                    });
                    self.put(Output::Event(Event::Somo(somo::Event::Exchanged { record })));
                }
                Output::Event(event) => {
                    if let Some(event) = self.survey_heard(event, now) {
                        self.put(Output::Event(Event::Somo(event)));
                    }
                }
                output => self.take(output, Event::Somo, now),
            }
        }
    }

    /// Something for what is measured.
    pub(super) fn measure(
        &mut self,
        input: metrics::Input<'_>,
        now: Now,
    ) -> Result<(), DropReason> {
        match &mut self.metrics {
            Some(metrics) => metrics.handle_input(input, &mut self.ring, now),
            None => Err(DropReason::UnknownProtocol),
        }
    }

    /// Something for multicast sessions.
    pub(super) fn deliver(
        &mut self,
        input: delivery::Input<'_>,
        now: Now,
    ) -> Result<(), DropReason> {
        match &mut self.delivery {
            Some(delivery) => delivery.handle_input(input, now),
            None => Err(DropReason::UnknownProtocol),
        }
    }

    /// What the ring tells that what is measured follows from.
    fn measure_by(&mut self, output: &Output<ring::Event>, now: Now) {
        let input = match output {
            Output::Event(ring::Event::SlotHeard { from, tag: metrics::SLOT_TAG, bytes }) => {
                metrics::Input::Slot { from: *from, bytes }
            }
            Output::Event(ring::Event::NeighborsChanged) => metrics::Input::NeighborsChanged,
            _ => return,
        };
        if self.metrics.is_some()
            && let Err(reason) = self.measure(input, now)
        {
            self.drops.count(reason);
        }
    }

    /// It has left its place: if there is another for it, it joins there.
    fn take_place(&mut self, now: Now) {
        let Some(record) = self.exchanged.take() else { return };
        self.me.swap = Some(record);
        self.ring.stand_at(self.me.clone(), now);
        self.somo = self.somo.as_ref().map(|somo| somo.moved_to(self.me.clone(), now).into());
        let join = ring::Command::Join(Vec::new());
        self.count(|node| node.ring.handle_input(ring::Input::Command(join), now));
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

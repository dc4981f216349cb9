//! Machines of a SOMO tree alone, over an oracle that knows zones and owners: no ring runs below. Their
//! messages are encoded and decoded, and each takes the same time.

use std::time::Duration;

use overlay_protocols::machine::{Output, Received};
use overlay_protocols::random::Random;
use overlay_protocols::somo::{Command, Config, Event, Input, Somo, owner};
use overlay_protocols::{Contact, Now, PeerId, RingId, Time, Wall};

use crate::event_queue::{EventQueue, Wheel};
use crate::world::{START, TTL, address, place_of};

/// From machine to machine (seed 003 paragraph 0063: "200ms per DHT hop").
pub(super) const HOP: Duration = Duration::from_millis(200);
/// What an event is, if it is no arrival.
const TIMER: u32 = u32::MAX;

/// Any positions, in order.
pub(super) fn positions(count: usize, seed: u64) -> Vec<RingId> {
    let mut random = Random::new(seed, 0x0070_6c61_6365);
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let missing = count - all.len();
        all.extend((0..missing).map(|_| {
            let mut place = RingId::ZERO;
            random.fill(&mut place.0);
            place
        }));
        all.sort_unstable();
        all.dedup();
    }
    all
}

/// A message on its way to one machine or to several.
struct Flight {
    from: u32,
    left: u32,
    bytes: Vec<u8>,
}

/// Machines by their places, in the order of their positions.
pub(super) struct Machines {
    positions: Vec<RingId>,
    machines: Vec<Somo>,
    armed: Vec<Time>,
    queue: Wheel,
    now: Time,
    flights: Vec<Flight>,
    free: Vec<u32>,
    /// Messages that have arrived, their octets, and those that were dropped.
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) dropped: u64,
    /// What was gathered last, and when.
    pub(super) gathered: Option<(Time, overlay_protocols::somo::Span, Vec<u8>)>,
    /// Machines that have heard the news, and when the last one did.
    pub(super) told: (usize, Time),
}

impl Machines {
    /// All begin at once, and know their zones.
    pub(super) fn new(config: Config, positions: Vec<RingId>, seed: u64) -> Machines {
        let mut all = Machines {
            machines: Vec::with_capacity(positions.len()),
            armed: vec![Time::NEVER; positions.len()],
            queue: Wheel::default(),
            now: Time(0),
            flights: Vec::new(),
            free: Vec::new(),
            messages: 0,
            bytes: 0,
            dropped: 0,
            gathered: None,
            told: (0, Time(0)),
            positions,
        };
        for place in 0..all.positions.len() {
            let contact = all.contact(place);
            let seed = seed ^ (place as u64) << 20;
            all.machines.push(Somo::new(config, contact, seed, all.at()));
        }
        for place in 0..all.positions.len() {
            let before = place.checked_sub(1).unwrap_or(all.positions.len() - 1);
            let zone = all.positions[before];
            all.command(place, Command::Zone(Some(zone)));
        }
        all
    }

    fn contact(&self, place: usize) -> Contact {
        Contact::new(PeerId(self.positions[place].0), address(place))
    }

    fn at(&self) -> Now {
        Now { time: self.now, wall: Wall(START.0 + self.now.0) }
    }

    /// What time it is.
    pub(super) fn now(&self) -> Time {
        self.now
    }

    /// Gives a machine a command, now.
    pub(super) fn command(&mut self, place: usize, command: Command) {
        let now = self.at();
        let taken = self.machines[place].handle_input(Input::Command(command), now);
        self.dropped += u64::from(taken.is_err());
        self.drain(place);
    }

    /// Who owns the middle of the ring.
    pub(super) fn root(&self) -> usize {
        owner(&self.positions, RingId::power_of_two(overlay_protocols::id::ID_BITS - 1))
    }

    /// Who each machine says is its parent; one that looks for it says a place where nobody is.
    pub(super) fn parents(&self) -> Vec<Option<u32>> {
        let parent = |machine: &Somo| match machine.parent() {
            Some(parent) => Some(place_of(parent.address).map_or(u32::MAX, |place| place as u32)),
            None => (!machine.is_root()).then_some(u32::MAX),
        };
        self.machines.iter().map(parent).collect()
    }

    /// Lets everything happen up to `until`, or until it is `over`.
    pub(super) fn run(&mut self, until: Time, over: impl Fn(&Machines) -> bool) {
        while !over(self) && self.queue.next_at().is_some_and(|at| at <= until) {
            let Some(event) = self.queue.pop() else { return };
            self.now = event.at;
            match event.what {
                TIMER => self.wake(event.place as usize),
                flight => self.deliver(event.place as usize, flight),
            }
        }
    }

    fn wake(&mut self, place: usize) {
        if self.armed[place] != self.now {
            return;
        }
        self.armed[place] = Time::NEVER;
        let now = self.at();
        if self.machines[place].poll_timeout().is_some_and(|(at, _)| at <= now.time) {
            self.machines[place].handle_timeout(now);
        }
        self.drain(place);
    }

    fn deliver(&mut self, place: usize, flight: u32) {
        let now = self.at();
        let Flight { from, left, bytes } = &mut self.flights[flight as usize];
        let position = self.positions[*from as usize];
        let from = Contact::new(PeerId(position.0), address(*from as usize)).endpoint();
        let received =
            Received { from, at: now.time, wall: now.wall, ttl: TTL, octets: 0, message: bytes };
        self.messages += 1;
        self.bytes += bytes.len() as u64;
        let taken = self.machines[place].handle_input(Input::Message(received), now);
        self.dropped += u64::from(taken.is_err());
        *left -= 1;
        if *left == 0 {
            *bytes = Vec::new();
            self.free.push(flight);
        }
        self.drain(place);
    }

    fn drain(&mut self, place: usize) {
        while let Some(output) = self.machines[place].poll_output() {
            match output {
                Output::Send(send) if send.parts.is_empty() => {
                    let flight = Flight {
                        from: place as u32,
                        left: send.to.len() as u32,
                        bytes: send.shared,
                    };
                    let number = self.launch(flight);
                    for to in send.to.iter().filter_map(|to| place_of(to.address)) {
                        self.queue.push(self.now + HOP, to as u32, number);
                    }
                }
                Output::Event(Event::Find { request, key }) => {
                    let owner = Some(self.contact(owner(&self.positions, key)));
                    let now = self.at();
                    let found = Input::Command(Command::Found { request, owner });
                    let taken = self.machines[place].handle_input(found, now);
                    self.dropped += u64::from(taken.is_err());
                }
                Output::Event(Event::Gathered { span, report }) => {
                    self.gathered = Some((self.now, span, report));
                }
                Output::Event(Event::News { .. }) => self.told = (self.told.0 + 1, self.now),
                // What they do not do here.
                Output::Event(_) | Output::Send(_) | Output::Pair { .. } | Output::Store { .. } => {
                    self.dropped += 1;
                }
            }
        }
        self.arm(place);
    }

    fn launch(&mut self, flight: Flight) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.flights[number as usize] = flight;
                number
            }
            None => {
                self.flights.push(flight);
                self.flights.len() as u32 - 1
            }
        }
    }

    fn arm(&mut self, place: usize) {
        let Some((due, _)) = self.machines[place].poll_timeout() else { return };
        let due = due.max(Time(self.now.0 + 1));
        if due < self.armed[place] {
            self.armed[place] = due;
            self.queue.push(due, place as u32, TIMER);
        }
    }
}

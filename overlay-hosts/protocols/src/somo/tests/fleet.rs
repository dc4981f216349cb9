//! Machines in virtual time; the ring is a sorted map, lookups are answered from it.

use alloc::collections::BTreeMap;
use core::time::Duration;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::vec::Vec;

use super::super::*;
use crate::machine::Send;
use crate::time::Wall;

/// From machine to machine.
pub(super) const HOP: Duration = Duration::from_millis(200);

enum Arrival {
    Message {
        from: Endpoint,
        bytes: Vec<u8>,
    },
    Found {
        request: u32,
        key: RingId,
    },
    /// The ring has found out who is before this one now.
    Neighbor,
}

pub(super) struct Fleet {
    pub(super) now: Time,
    /// The share of messages that is lost.
    pub(super) loss: f64,
    config: Config,
    random: Random,
    machines: Vec<Option<Somo>>,
    timers: BTreeSet<(Time, usize)>,
    /// Each one's entry among the timers.
    armed: Vec<Time>,
    contacts: Vec<Contact>,
    ring: BTreeMap<RingId, usize>,
    arrivals: BTreeMap<(Time, u64), (usize, Arrival)>,
    number: u64,
    events: Vec<Vec<(Time, Event)>>,
    sent: Vec<(Time, Send)>,
}

pub(super) fn contact(place: usize, random: &mut Random) -> Contact {
    let mut id = PeerId::default();
    random.fill(&mut id.0);
    let [.., a, b] = (place as u32).to_be_bytes();
    Contact::new(id, SocketAddr::from(([10, 0, a, b], 9000)))
}

/// The place of a machine by its address.
fn place_of(to: &Endpoint) -> usize {
    match to.address.ip() {
        IpAddr::V4(ip) => usize::from(u16::from_be_bytes([ip.octets()[2], ip.octets()[3]])),
        IpAddr::V6(_) => panic!(),
    }
}

impl Fleet {
    pub(super) fn new(config: Config, seed: u64) -> Fleet {
        Fleet {
            now: Time(0),
            loss: 0.0,
            config,
            random: Random::new(seed, 99),
            machines: Vec::new(),
            timers: BTreeSet::new(),
            armed: Vec::new(),
            contacts: Vec::new(),
            ring: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            number: 0,
            events: Vec::new(),
            sent: Vec::new(),
        }
    }

    pub(super) fn at(&self) -> Now {
        Now { time: self.now, wall: Wall(1_770_000_000_000_000 + self.now.0) }
    }

    pub(super) fn join(&mut self) {
        let place = self.machines.len();
        let contact = contact(place, &mut self.random);
        self.ring.insert(contact.position(), place);
        let somo = Somo::new(self.config, contact.clone(), place as u64, self.at());
        self.machines.push(Some(somo));
        self.armed.push(Time::NEVER);
        self.events.push(Vec::new());
        self.contacts.push(contact.clone());
        self.tell_zone(place);
        let behind = self.owner(contact.position().plus(RingId::power_of_two(0)));
        self.tell_zone(behind);
    }

    /// They are gone; the ring closes after a while.
    pub(super) fn crash(&mut self, gone: &BTreeSet<usize>, detection: Duration) {
        for place in gone {
            self.machines[*place] = None;
            self.timers.remove(&(self.armed[*place], *place));
            self.ring.remove(&self.contacts[*place].position());
        }
        let heirs: BTreeSet<usize> =
            gone.iter().map(|place| self.owner(self.contacts[*place].position())).collect();
        heirs.into_iter().for_each(|heir| self.push(heir, detection, Arrival::Neighbor));
    }

    fn owner(&self, key: RingId) -> usize {
        *self.ring.range(key..).chain(&self.ring).next().unwrap().1
    }

    fn before(&self, position: RingId) -> RingId {
        *self.ring.range(..position).chain(&self.ring).next_back().unwrap().0
    }

    fn tell_zone(&mut self, place: usize) {
        let position = self.position(place);
        let before = match self.ring.range(..position).next_back() {
            Some((before, _)) => *before,
            None => *self.ring.keys().next_back().unwrap(),
        };
        assert!(self.ring.len() > 1 || before == self.before(position));
        self.command(place, Command::Zone(Some(before)));
    }

    pub(super) fn position(&self, place: usize) -> RingId {
        self.contacts[place].position()
    }

    pub(super) fn contact(&self, place: usize) -> Contact {
        self.contacts[place].clone()
    }

    pub(super) fn somo(&self, place: usize) -> &Somo {
        self.machines[place].as_ref().unwrap()
    }

    pub(super) fn command(&mut self, place: usize, command: Command) {
        self.try_command(place, command);
    }

    pub(super) fn try_command(&mut self, place: usize, command: Command) -> bool {
        self.input(place, Input::Command(command)).is_ok()
    }

    pub(super) fn input(&mut self, place: usize, input: Input<'_>) -> Result<(), DropReason> {
        let now = self.at();
        let Some(somo) = &mut self.machines[place] else { return Ok(()) };
        let taken = somo.handle_input(input, now);
        self.drain(place);
        taken
    }

    /// A message as if somebody had sent it.
    pub(super) fn message(
        &mut self,
        place: usize,
        from: Endpoint,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let Now { time: at, wall } = self.at();
        self.input(
            place,
            Input::Message(Received { from, at, wall, ttl: 64, octets: 0, message: bytes }),
        )
    }

    fn push(&mut self, place: usize, after: Duration, arrival: Arrival) {
        self.number += 1;
        self.arrivals.insert((self.now + after, self.number), (place, arrival));
    }

    fn drain(&mut self, place: usize) {
        while let Some(output) = self.machines[place].as_mut().and_then(Somo::poll_output) {
            match output {
                Output::Send(send) => {
                    for (index, to) in send.to.iter().enumerate() {
                        let to = place_of(to);
                        let bytes = send.message_for(index);
                        let from = self.contacts[place].endpoint();
                        if self.random.unit() >= self.loss {
                            self.push(to, HOP, Arrival::Message { from, bytes });
                        }
                    }
                    self.sent.push((self.now, send));
                }
                Output::Event(Event::Find { request, key }) => {
                    self.push(place, HOP * 2, Arrival::Found { request, key });
                }
                Output::Event(event) => self.events[place].push((self.now, event)),
                other => panic!("{other:?}"),
            }
        }
        let Some(somo) = &self.machines[place] else { return };
        let due = somo.poll_timeout().map_or(Time::NEVER, |(at, _)| at);
        self.timers.remove(&(self.armed[place], place));
        self.timers.insert((due, place));
        self.armed[place] = due;
    }

    pub(super) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let arrival = self.arrivals.keys().next().map(|(at, _)| *at);
            let timeout = self.timers.first().copied().filter(|(at, _)| *at != Time::NEVER);
            let next = arrival.into_iter().chain(timeout.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                self.arrive();
            } else if let Some((_, place)) = timeout {
                let now = self.at();
                let somo = self.machines[place].as_mut().unwrap();
                somo.handle_timeout(now);
                assert!(somo.poll_timeout().is_none_or(|(at, _)| at > self.now), "again");
                self.drain(place);
            }
        }
        self.now = until;
    }

    fn arrive(&mut self) {
        let Some((_, (place, arrival))) = self.arrivals.pop_first() else { return };
        match arrival {
            Arrival::Message { from, bytes } => {
                let taken = self.message(place, from, &bytes);
                let expected = matches!(taken, Ok(()) | Err(DropReason::NotInTree));
                assert!(expected, "{taken:?}: {:?}", decode::<Message>(&bytes));
            }
            Arrival::Found { request, key } => {
                let owner = Some(self.contacts[self.owner(key)].clone());
                self.command(place, Command::Found { request, owner });
            }
            Arrival::Neighbor => self.tell_zone(place),
        }
    }

    /// The places of all that are there, in the order of their positions.
    fn order(&self) -> Vec<usize> {
        self.ring.values().copied().collect()
    }

    fn links(&self) -> Vec<Option<u32>> {
        let order = self.order();
        let rank =
            |parent: &Contact| order.iter().position(|place| self.contacts[*place].id == parent.id);
        let link = |place: &usize| {
            let somo = self.somo(*place);
            // One that looks for its parent has none; a root is one by its virtual node.
            let lost = (!somo.is_root()).then_some(u32::MAX);
            somo.parent().map_or(lost, |parent| rank(parent).map(|rank| rank as u32))
        };
        order.iter().map(link).collect()
    }

    pub(super) fn shape(&self) -> Shape {
        Shape::of(&self.links())
    }

    /// The tree is the one that is computed for all machines, and parents know their children.
    pub(super) fn is_the_tree(&self) {
        let order = self.order();
        let positions: Vec<RingId> = self.ring.keys().copied().collect();
        let expected = parents(Tree::new(self.config.degree), &positions);
        assert_eq!(self.links(), expected);
        for (place, parent) in order.iter().zip(&expected) {
            let id = self.contacts[*place].id;
            let Some(parent) = parent else { continue };
            let parent = self.somo(order[*parent as usize]);
            assert!(parent.children().any(|child| child.id == id));
        }
    }

    pub(super) fn root(&self) -> usize {
        self.owner(RingId::power_of_two(159))
    }

    /// Edges up to the root.
    pub(super) fn depth(&self, place: usize) -> u32 {
        let above = |place: &usize| {
            let parent = self.somo(*place).parent()?.id;
            self.contacts.iter().position(|contact| contact.id == parent)
        };
        core::iter::successors(above(&place), above).count() as u32
    }

    /// Machines that have children.
    pub(super) fn inner(&self) -> usize {
        self.machines.iter().flatten().filter(|somo| somo.children().len() > 0).count()
    }

    pub(super) fn gathered(&self, place: usize) -> Vec<(Time, Span, Vec<u8>)> {
        let gathered = |(at, event): &(Time, Event)| match event {
            Event::Gathered { span, report } => Some((*at, *span, report.clone())),
            _ => None,
        };
        self.events[place].iter().filter_map(gathered).collect()
    }

    /// All that a machine has told.
    pub(super) fn told(&self, place: usize) -> Vec<Event> {
        self.events[place].iter().map(|(_, event)| event.clone()).collect()
    }

    pub(super) fn news(&self, place: usize) -> Vec<Vec<u8>> {
        let news = |(_, event): &(Time, Event)| match event {
            Event::News { news, .. } => Some(news.clone()),
            _ => None,
        };
        self.events[place].iter().filter_map(news).collect()
    }

    /// Messages of a type that were sent since then.
    pub(super) fn sent_since(&self, since: Time, kind: u8) -> Vec<Send> {
        let is_it = |(at, send): &&(Time, Send)| *at >= since && send.message_for(0)[0] == kind;
        self.sent.iter().filter(is_it).map(|(_, send)| send.clone()).collect()
    }
}

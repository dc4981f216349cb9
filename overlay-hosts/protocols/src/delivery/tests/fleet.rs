//! Hosts of a session in virtual time: messages take 10 to 50 ms between two hosts, always the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use std::vec::Vec;

use super::super::*;
use crate::contact::Contact;
use crate::machine::{Output, Received};
use crate::random::Random;
use crate::time::{Now, Time, Wall};

pub(super) const SESSION: SessionId = SessionId(77);

pub(super) struct Fleet {
    pub(super) now: Time,
    pub(super) hosts: Vec<Option<Delivery>>,
    pub(super) events: Vec<(Time, usize, Event)>,
    /// The share of messages that are lost.
    pub(super) loss: f64,
    /// The share that comes twice, the second one up to 50 ms later.
    pub(super) twice: f64,
    /// Messages so far, each receiver counted.
    pub(super) sent: usize,
    /// The most receivers of one output so far.
    pub(super) widest: usize,
    pub(super) dropped: Vec<DropReason>,
    flying: BTreeMap<(Time, u64), (usize, usize, Vec<u8>)>,
    random: Random,
    number: u64,
}

pub(super) fn contact(host: usize) -> Contact {
    let mut id = [7; 20];
    id[..8].copy_from_slice(&(host as u64).to_be_bytes());
    let [.., a, b] = (host as u32).to_be_bytes();
    Contact::new(PeerId(id), SocketAddr::from(([10, 0, a, b], 9000)))
}

fn host_of(address: SocketAddr) -> usize {
    let SocketAddr::V4(address) = address else { unreachable!() };
    let [_, _, a, b] = address.ip().octets();
    usize::from(a) << 8 | usize::from(b)
}

impl Fleet {
    pub(super) fn new(hosts: usize, config: Config, seed: u64) -> Fleet {
        let hosts = (0..hosts).map(|host| Some(Delivery::new(config, contact(host)))).collect();
        Fleet {
            now: Time(0),
            hosts,
            events: Vec::new(),
            loss: 0.0,
            twice: 0.0,
            sent: 0,
            widest: 0,
            dropped: Vec::new(),
            flying: BTreeMap::new(),
            random: Random::new(seed, 1),
            number: 0,
        }
    }

    /// Host 0 begins a session with all others; links settle.
    pub(super) fn begin(&mut self, slots: usize) {
        let seats = (1..self.hosts.len()).map(|host| seat(host, None, slots)).collect();
        self.command(0, Command::Arrange { session: SESSION, slots: slots + 1, seats });
        self.run(3_000);
        // Some children were faster than their parents' places.
        assert!(self.dropped.drain(..).all(|reason| reason == DropReason::NotInTree));
    }

    pub(super) fn command(&mut self, host: usize, command: Command) {
        self.input(host, Input::Command(command));
    }

    pub(super) fn message(&mut self, from: usize, to: usize, message: &[u8]) {
        let (at, wall) = (self.now, Wall(self.now.0));
        let (from, octets) = (contact(from).endpoint(), message.len());
        self.input(to, Input::Message(Received { from, at, wall, ttl: 60, octets, message }));
    }

    fn input(&mut self, host: usize, input: Input<'_>) {
        let now = Now { time: self.now, wall: Wall(self.now.0) };
        let Some(delivery) = &mut self.hosts[host] else { return };
        if let Err(reason) = delivery.handle_input(input, now) {
            self.dropped.push(reason);
        }
        self.drain(host);
    }

    fn drain(&mut self, host: usize) {
        while let Some(output) = self.hosts[host].as_mut().and_then(Delivery::poll_output) {
            match output {
                Output::Send(send) => {
                    self.sent += send.to.len();
                    self.widest = self.widest.max(send.to.len());
                    for (index, to) in send.to.iter().enumerate() {
                        let to = host_of(to.address);
                        let is_lost = self.random.unit() < self.loss;
                        let is_twice = self.random.unit() < self.twice;
                        let late = Duration::from_micros(self.random.below(50_000));
                        let first = (!is_lost).then_some(Duration::ZERO);
                        for late in first.into_iter().chain(is_twice.then_some(late)) {
                            self.number += 1;
                            let key = (self.now + delay(host, to) + late, self.number);
                            self.flying.insert(key, (host, to, send.message_for(index)));
                        }
                    }
                }
                Output::Event(event) => self.events.push((self.now, host, event)),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) fn run(&mut self, milliseconds: u64) {
        let until = self.now + Duration::from_millis(milliseconds);
        loop {
            let timeouts = self.hosts.iter().enumerate();
            let timeouts =
                timeouts.filter_map(|(host, each)| Some((each.as_ref()?.poll_timeout()?.0, host)));
            let (timeout, arrival) = (timeouts.min(), self.flying.keys().next().copied());
            let next = timeout.map(|(at, _)| at).into_iter().chain(arrival.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if arrival.is_some_and(|(at, _)| at == next) {
                let (_, (from, to, bytes)) = self.flying.pop_first().unwrap();
                if to < self.hosts.len() {
                    self.message(from, to, &bytes);
                }
            } else if let Some((_, host)) = timeout {
                let now = Now { time: self.now, wall: Wall(self.now.0) };
                let delivery = self.hosts[host].as_mut().unwrap();
                delivery.handle_timeout(now);
                let again = delivery.poll_timeout().map_or(Time::NEVER, |(at, _)| at);
                assert!(again > self.now, "host {host} is never done");
                self.drain(host);
            }
        }
        self.now = until;
    }

    /// What a host has been given of the session, in the order that it came, and when.
    pub(super) fn received(&self, host: usize) -> Vec<(u64, Time)> {
        let own = self.events.iter().filter(|(_, at, _)| *at == host);
        let numbers = own.filter_map(|(time, _, event)| match event {
            Event::Received { sequence, .. } => Some((*sequence, *time)),
            _ => None,
        });
        numbers.collect()
    }

    pub(super) fn live(&self) -> Vec<usize> {
        (1..self.hosts.len()).filter(|host| self.hosts[*host].is_some()).collect()
    }

    /// The tree as the root has it.
    pub(super) fn links(&self) -> Vec<(PeerId, PeerId)> {
        self.hosts[0].as_ref().unwrap().sessions().next().unwrap().links
    }

    pub(super) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for each in self.hosts.iter().flatten().map(Delivery::counts) {
            sum.again += each.again;
            sum.received += each.received;
            sum.repaired += each.repaired;
            sum.missed += each.missed;
        }
        sum
    }
}

pub(super) fn seat(host: usize, parent: Option<usize>, slots: usize) -> Seat {
    let parent = parent.map(|parent| contact(parent).id);
    Seat { contact: contact(host), parent, slots, receives: true }
}

fn delay(one: usize, other: usize) -> Duration {
    let pair = (one.min(other) as u64) << 32 | one.max(other) as u64;
    Duration::from_micros(10_000 + Random::new(pair, 9).below(40_001))
}

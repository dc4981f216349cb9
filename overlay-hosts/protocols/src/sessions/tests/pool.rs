//! Nodes of one ring that report what they have, for tests.

use std::ops::Range;
use std::time::Duration;
use std::vec::Vec;

use super::super::*;
use crate::coordinates::Coordinate;
use crate::delivery;
use crate::node::{self, Input as NodeInput};
use crate::random::Random;
use crate::resource_pool::{DegreeTable, HostPool, HostReport};
use crate::ring;
use crate::somo;
use crate::testing::{Net, address};

pub(super) const SESSION: SessionId = SessionId(7);

/// Hosts in a square of 100 ms.
pub(super) struct Fleet {
    pub(super) net: Net,
    places: Vec<Coordinate>,
}

fn config(degrees: u16) -> node::Config {
    let ring = ring::Config { heartbeat: Duration::from_secs(2), ..ring::Config::default() };
    let (interval, heartbeat) = (Duration::from_secs(2), Duration::from_secs(4));
    let somo = somo::Config { interval, heartbeat, op: &HostPool, ..somo::Config::default() };
    let delivery = delivery::Config { open: false, ..delivery::Config::default() };
    let sessions = Config { degrees, ..Config::default() };
    node::Config {
        ring,
        somo: Some(somo),
        delivery: Some(delivery),
        sessions: Some(sessions),
        ..node::Config::default()
    }
}

impl Fleet {
    pub(super) fn new(hosts: usize, degrees: u16, seed: u64) -> Fleet {
        Fleet::with(hosts, |_| degrees, seed)
    }

    pub(super) fn with(hosts: usize, degrees: impl Fn(usize) -> u16, seed: u64) -> Fleet {
        let mut net = Net::new(Duration::from_millis(20));
        let mut random = Random::new(seed, 3);
        let mut places = Vec::new();
        for place in 0..hosts {
            net.start(config(degrees(place)));
            let boot = if place == 0 { Vec::new() } else { vec![address(0)] };
            net.input(place, NodeInput::Ring(ring::Command::Join(boot)));
            net.run(Duration::from_millis(500));
            let mut at = Coordinate::ORIGIN;
            at.axes[..2].fill_with(|| 100.0 * random.unit());
            places.push(at);
        }
        let mut fleet = Fleet { net, places };
        fleet.run(30);
        fleet
    }

    pub(super) fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.net.nodes.len()).filter(|place| self.net.nodes[*place].is_some())
    }

    pub(super) fn sessions(&self, place: usize) -> &Sessions {
        self.net.node(place).sessions().unwrap()
    }

    pub(super) fn id(&self, place: usize) -> PeerId {
        crate::testing::identity(place, false).id
    }

    pub(super) fn command(&mut self, place: usize, command: Command) {
        self.net.input(place, NodeInput::Sessions(command));
    }

    pub(super) fn begin(
        &mut self,
        root: usize,
        session: SessionId,
        priority: u8,
        members: impl IntoIterator<Item = usize>,
    ) {
        let members =
            members.into_iter().map(|place| self.net.node(place).contact().clone()).collect();
        let priority = Priority::new(priority).unwrap();
        self.command(root, Command::Begin { session, priority, members });
    }

    /// Payloads that are their own numbers.
    pub(super) fn send(&mut self, root: usize, session: SessionId, numbers: Range<u64>) {
        for number in numbers {
            let payload = number.to_be_bytes().to_vec();
            self.net.input(root, NodeInput::Delivery(delivery::Command::Send(session, payload)));
        }
    }

    /// Numbers that came as payloads, in the order in which they came.
    pub(super) fn received(&self, place: usize, of: SessionId) -> Vec<u64> {
        let payloads = self.net.events[place].iter().filter_map(|(_, event)| match event {
            node::Event::Delivery(delivery::Event::Received { session, payload, .. })
                if *session == of =>
            {
                Some(u64::from_be_bytes(payload.as_slice().try_into().unwrap()))
            }
            _ => None,
        });
        payloads.collect()
    }

    /// How often a host has told something.
    pub(super) fn told(&self, place: usize, which: impl Fn(&Event) -> bool) -> usize {
        let is_it = |event: &node::Event| match event {
            node::Event::Sessions(event) => which(event),
            _ => false,
        };
        self.net.events[place].iter().filter(|(_, event)| is_it(event)).count()
    }

    /// Lets seconds pass, in which all report what they have.
    pub(super) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let live: Vec<usize> = self.live().collect();
            for place in live {
                let node = self.net.node(place);
                let mut report = HostReport::new(node.contact());
                report.coordinate = Some(self.places[place]);
                report.degrees = DegreeTable::of(node.sessions().unwrap().degrees());
                let sample = somo::Command::Sample(report.to_bytes());
                self.net.input(place, NodeInput::Somo(sample));
            }
            self.net.run(Duration::from_secs(1));
        }
    }
}

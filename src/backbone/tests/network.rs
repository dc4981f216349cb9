//! Nodes on a network with a clock of its own, that loses, repeats and delays by a seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::backbone::keys::{PrivateKey, PublicKey};
use crate::backbone::peers::{Config, EndView, Entropy, Output, Peers, Role, Seed};
use crate::forward::Time;

pub(super) const MS: u64 = 1000;
pub(super) const SECOND: u64 = 1_000_000;

/// Runs a test with several seeds, and says which one it fails with.
pub(super) fn for_seeds(seeds: std::ops::Range<u64>, test: impl Fn(u64)) {
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("failed with seed {seed}");
            resume_unwind(panic);
        }
    }
}

/// The key of a node, by its number; they ascend with it no more than by chance.
pub(super) fn private_key(number: u8) -> PrivateKey {
    PrivateKey::new([number.wrapping_add(1); 32])
}

pub(super) fn key(number: u8) -> PublicKey {
    private_key(number).public()
}

/// Where a node is, by its number.
pub(super) fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 1021))
}

pub(super) fn seed(number: u8) -> Seed {
    Seed { address: at(number), key: None }
}

pub(super) fn entropy(seed: u64) -> Entropy {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    Box::new(move |bytes| random.fill_bytes(bytes))
}

/// A relay that allows the relays of these numbers and dials them, near 10.NUMBER/16.
pub(super) fn relay(number: u8, others: &[u8]) -> Config {
    Config {
        private_key: private_key(number),
        role: Role::Relay,
        allowed: others.iter().map(|other| (key(*other), Role::Relay)).collect(),
        pinned: vec![],
        seeds: others.iter().map(|other| seed(*other)).collect(),
        prefixes: vec![format!("10.{number}.0.0/16").parse().unwrap()],
        leases: vec![],
        reserved: vec![],
        accept_default: false,
        name: format!("relay{number}"),
    }
}

/// A host that knows one relay.
pub(super) fn host(number: u8, relay_number: u8) -> Config {
    Config { role: Role::Host, prefixes: vec![], ..relay(number, &[relay_number]) }
}

/// What a node puts out: a datagram, or something else.
pub(super) enum Put<E> {
    Send(SocketAddr, Vec<u8>),
    Event(E),
}

/// What a node does.
pub(super) trait Machine {
    type Event;
    fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Time);
    fn handle_timeout(&mut self, now: Time);
    fn poll_timeout(&self) -> Option<Time>;
    fn poll(&mut self) -> Option<Put<Self::Event>>;
}

impl Machine for Peers {
    type Event = Output;

    fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Time) {
        Peers::handle_datagram(self, from, bytes, now);
    }

    fn handle_timeout(&mut self, now: Time) {
        Peers::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        Peers::poll_timeout(self)
    }

    fn poll(&mut self) -> Option<Put<Output>> {
        Some(match self.poll_output()? {
            Output::Send { to, bytes } => Put::Send(to, bytes),
            event => Put::Event(event),
        })
    }
}

pub(super) struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub(super) struct Node<M: Machine> {
    pub machine: M,
    /// Its address as others see it.
    pub address: SocketAddr,
    /// What it has put out but datagrams, and when.
    pub events: Vec<(u64, M::Event)>,
    pub is_dead: bool,
}

/// Nodes by number, and what is on its way between them.
pub(super) struct Network<M: Machine> {
    pub now: u64,
    pub nodes: BTreeMap<u8, Node<M>>,
    flight: BTreeMap<(u64, u64), Datagram>,
    serial: u64,
    pub random: ChaCha8Rng,
    /// Shares of datagrams that are lost and that come twice.
    pub loss: f64,
    pub repeated: f64,
    /// How long a datagram takes, at least and at most.
    pub delay: (u64, u64),
    /// What each node adds to it.
    pub distance: BTreeMap<SocketAddr, u64>,
    pub recorded: Vec<Datagram>,
}

impl<M: Machine> Network<M> {
    pub(super) fn new(seed: u64) -> Network<M> {
        Network {
            now: 1_000_000_000,
            nodes: BTreeMap::new(),
            flight: BTreeMap::new(),
            serial: 0,
            random: ChaCha8Rng::seed_from_u64(seed ^ 0xabcd),
            loss: 0.0,
            repeated: 0.0,
            delay: (5 * MS, 5 * MS),
            distance: BTreeMap::new(),
            recorded: Vec::new(),
        }
    }

    pub(super) fn time(&self) -> Time {
        Time(self.now)
    }

    pub(super) fn add(&mut self, number: u8, machine: M) {
        let node = Node { machine, address: at(number), events: vec![], is_dead: false };
        self.nodes.insert(number, node);
        self.collect(number);
    }

    pub(super) fn node(&mut self, number: u8) -> &mut Node<M> {
        self.nodes.get_mut(&number).unwrap()
    }

    /// Lets a node do something, and takes what comes of it.
    pub(super) fn with<R>(&mut self, number: u8, act: impl FnOnce(&mut M, Time) -> R) -> R {
        let now = self.time();
        let result = act(&mut self.node(number).machine, now);
        self.collect(number);
        result
    }

    pub(super) fn collect(&mut self, number: u8) {
        let now = self.now;
        let node = self.nodes.get_mut(&number).unwrap();
        let mut sent = Vec::new();
        while let Some(output) = node.machine.poll() {
            match output {
                Put::Send(to, bytes) => sent.push((to, bytes)),
                Put::Event(event) => node.events.push((now, event)),
            }
        }
        let from = node.address;
        if node.is_dead {
            return;
        }
        for (to, bytes) in sent {
            assert!(bytes.len() <= 1232, "fits any IPv6 link");
            self.send(from, to, bytes);
        }
    }

    pub(super) fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.recorded.push(Datagram { from, to, bytes: bytes.clone() });
        let copies = 1 + u32::from(self.random.random_bool(self.repeated));
        for _ in 0..copies {
            if self.random.random_bool(self.loss) {
                continue;
            }
            let far = [from, to].map(|end| self.distance.get(&end).copied().unwrap_or(0));
            let delay = self.random.random_range(self.delay.0..=self.delay.1);
            let arrival = self.now + delay + far[0] + far[1];
            self.serial += 1;
            let datagram = Datagram { from, to, bytes: bytes.clone() };
            self.flight.insert((arrival, self.serial), datagram);
        }
    }

    /// Hands a node a datagram at once.
    pub(super) fn deliver(&mut self, number: u8, from: SocketAddr, bytes: &[u8]) {
        self.with(number, |machine, now| machine.handle_datagram(from, bytes, now));
    }

    fn step(&mut self, end: u64) -> bool {
        let arrival = self.flight.keys().next().map(|(at, _)| *at);
        let alive = self.nodes.iter().filter(|(_, node)| !node.is_dead);
        let timers =
            alive.filter_map(|(number, node)| Some((node.machine.poll_timeout()?.0, *number)));
        let timer = timers.min();
        let next = [arrival, timer.map(|(at, _)| at)].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else { return false };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let (_, datagram) = self.flight.pop_first().unwrap();
            let to = self.nodes.iter().find(|(_, node)| node.address == datagram.to);
            if let Some((number, _)) = to.filter(|(_, node)| !node.is_dead) {
                let number = *number;
                self.deliver(number, datagram.from, &datagram.bytes);
            }
        } else if let Some((_, number)) = timer {
            self.with(number, |machine, now| {
                machine.handle_timeout(now);
                let next = machine.poll_timeout();
                assert!(next.is_none_or(|next| next > now), "everything due was done");
            });
        }
        true
    }

    pub(super) fn run(&mut self, time: u64) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Waits for a condition; returns how long it took.
    pub(super) fn wait(&mut self, most: u64, what: &str, until: impl Fn(&Self) -> bool) -> u64 {
        let start = self.now;
        while !until(self) {
            assert!(self.step(start + most), "{what} not within {} ms", most / MS);
        }
        self.now - start
    }
}

impl Network<Peers> {
    pub(super) fn start(&mut self, number: u8, config: Config) {
        let (seed, now) = (self.random.random(), self.time());
        self.add(number, Peers::new(config, entropy(seed), now));
    }

    /// What a node knows of another one that is up.
    pub(super) fn view(&self, number: u8, other: u8) -> Option<EndView> {
        let views = self.nodes[&number].machine.ends();
        views.into_iter().find(|view| view.key == key(other) && view.is_up)
    }

    pub(super) fn are_up(&self, one: u8, two: u8) -> bool {
        self.view(one, two).is_some() && self.view(two, one).is_some()
    }

    /// How often a node has said that an end is up, has changed, and is down.
    pub(super) fn tally(&self, number: u8) -> [usize; 3] {
        let mut tally = [0; 3];
        for (_, event) in &self.nodes[&number].events {
            match event {
                Output::Up(_) => tally[0] += 1,
                Output::Changed(_) => tally[1] += 1,
                Output::Down(..) => tally[2] += 1,
                _ => {}
            }
        }
        tally
    }
}

/// Two relays that have found each other, 1 and 2; only 1 dials.
pub(super) fn pair(seed: u64) -> Network<Peers> {
    let mut network = Network::new(seed);
    network.start(1, relay(1, &[2]));
    network.start(2, Config { seeds: vec![], ..relay(2, &[1]) });
    network.wait(5 * SECOND, "a session", |network| network.are_up(1, 2));
    network.run(SECOND);
    network
}

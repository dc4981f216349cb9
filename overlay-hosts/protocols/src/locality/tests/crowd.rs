//! Many hosts on a transit-stub network, without sockets and sealing: who is whose neighbor then
//! (seed 001 paragraphs 0029 and 0034; seed 000 claims 10 to 14 and 35 to 37).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::*;
use crate::testing::START;
use crate::time::Wall;

/// One of these happens next.
struct Arrival {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

/// Machines alone.
struct Crowd {
    now: Time,
    machines: Vec<Locality>,
    events: Vec<Vec<Event>>,
    latency: Vec<Vec<u32>>,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    arrivals: BTreeMap<u64, Arrival>,
    timers: BinaryHeap<Reverse<(Time, usize)>>,
    number: u64,
}

/// Hosts of a network like the papers': `stubs` domains of 8 routers in a chain of 10 ms links, whose
/// gates are anywhere from 50 to 400 ms from the center; one-way latencies in microseconds.
fn transit_stub(hosts: usize, stubs: u64, random: &mut Random) -> Vec<Vec<u32>> {
    let gates: Vec<(f64, f64)> =
        (0..stubs).map(|_| (random.unit() * 700_000.0, random.unit() * 700_000.0)).collect();
    let stands: Vec<(usize, u64, u64)> = (0..hosts)
        .map(|_| (random.below(stubs) as usize, random.below(8), 3_000 + random.below(5_000)))
        .collect();
    let between = |one: &(usize, u64, u64), other: &(usize, u64, u64)| {
        let last = one.2 + other.2;
        if one.0 == other.0 {
            return (last + one.1.abs_diff(other.1).min(3) * 10_000) as u32;
        }
        let ((a, b), (c, d)) = (gates[one.0], gates[other.0]);
        let across = libm::sqrt((a - c) * (a - c) + (b - d) * (b - d)) as u64;
        (last + (one.1.min(3) + other.1.min(3)) * 10_000 + 50_000 + across) as u32
    };
    stands.iter().map(|one| stands.iter().map(|other| between(one, other)).collect()).collect()
}

impl Crowd {
    fn new(latency: Vec<Vec<u32>>, config: &Config) -> Crowd {
        let now = Now { time: Time(0), wall: START };
        let machine =
            |place| Locality::new(config.clone(), contact(place), None, place as u64, now);
        Crowd {
            now: now.time,
            machines: (0..latency.len()).map(machine).collect(),
            events: std::vec![Vec::new(); latency.len()],
            latency,
            queue: BinaryHeap::new(),
            arrivals: BTreeMap::new(),
            timers: BinaryHeap::new(),
            number: 0,
        }
    }

    fn at(&self) -> Now {
        Now { time: self.now, wall: Wall(START.0 + self.now.0) }
    }

    fn drain(&mut self, place: usize) {
        while let Some(output) = self.machines[place].poll_output() {
            match output {
                Output::Send(send) => {
                    for (index, to) in send.to.iter().enumerate() {
                        let std::net::IpAddr::V4(ip) = to.address.ip() else { panic!() };
                        let [.., a, b] = ip.octets();
                        let to = usize::from(a) * 256 + usize::from(b);
                        let takes = Duration::from_micros(self.latency[place][to].into());
                        self.number += 1;
                        self.queue.push(Reverse((self.now + takes, self.number)));
                        let bytes = send.message_for(index);
                        self.arrivals.insert(self.number, Arrival { from: place, to, bytes });
                    }
                }
                Output::Event(event) => self.events[place].push(event),
                _ => {}
            }
        }
        if let Some((at, _)) = self.machines[place].poll_timeout() {
            self.timers.push(Reverse((at, place)));
        }
    }

    fn join(&mut self, place: usize, by: &[usize]) {
        let now = self.at();
        let command = Command::Join(by.iter().map(|place| address(*place)).collect());
        self.machines[place].handle_input(Input::Command(command), now).unwrap();
        self.drain(place);
    }

    /// Lets a while pass; how many messages have arrived.
    fn run(&mut self, span: Duration) -> u64 {
        let until = self.now + span;
        let mut count = 0;
        loop {
            let arrival = self.queue.peek().map(|Reverse((at, _))| *at);
            let timer = self.timers.peek().map(|Reverse((at, _))| *at);
            let Some(next) = arrival.into_iter().chain(timer).min().filter(|at| *at <= until)
            else {
                break;
            };
            self.now = self.now.max(next);
            let now = self.at();
            if arrival == Some(next) {
                let Some(Reverse((_, number))) = self.queue.pop() else { break };
                let Arrival { from, to, bytes } = self.arrivals.remove(&number).unwrap();
                let from = contact(from).endpoint();
                let received = Received {
                    from,
                    at: now.time,
                    wall: now.wall,
                    ttl: 60,
                    octets: bytes.len(),
                    message: &bytes,
                };
                let _ = self.machines[to].handle_input(Input::Message(received), now);
                count += 1;
                self.drain(to);
            } else if let Some(Reverse((at, place))) = self.timers.pop()
                && self.machines[place].poll_timeout().is_some_and(|(due, _)| due == at)
            {
                self.machines[place].handle_timeout(now);
                self.drain(place);
            }
        }
        self.now = until;
        count
    }
}

/// Mean one-way latency over pairs, in microseconds.
fn mean(pairs: impl Iterator<Item = u32>) -> f64 {
    let (sum, count) =
        pairs.fold((0u64, 0u64), |(sum, count), each| (sum + u64::from(each), count + 1));
    sum as f64 / count as f64
}

/// Joins them one after another by some that are there; the ratio of the latency between neighbors to
/// that between any two, groups, and the mean of tests per join.
fn joined(hosts: usize, config: &Config, seed: u64) -> (f64, usize, f64, Crowd) {
    let mut random = Random::new(seed, 5);
    let latency = transit_stub(hosts, 24, &mut random);
    let mut crowd = Crowd::new(latency, config);
    crowd.join(0, &[]);
    for place in 1..hosts {
        let by = random.below(place as u64) as usize;
        crowd.join(place, &[by]);
        crowd.run(seconds(12));
    }
    crowd.run(seconds(60));
    let place_of: BTreeMap<PeerId, usize> = (0..hosts).map(|place| (id(place), place)).collect();
    let mut pairs = std::collections::BTreeSet::new();
    let mut groups = std::collections::BTreeSet::new();
    for (place, machine) in crowd.machines.iter().enumerate() {
        groups.insert(machine.group());
        let near = machine.neighbors().iter().filter(|each| machine.is_leader() && !each.far);
        let near = near.map(|each| each.at.leader.id);
        for peer in machine.links().map(|peer| peer.id).chain(near) {
            let other = place_of[&peer];
            pairs.insert((place.min(other), place.max(other)));
        }
    }
    let linked = mean(pairs.iter().map(|(a, b)| crowd.latency[*a][*b]));
    let any = mean(
        (0..hosts).flat_map(|a| (0..a).map(move |b| (a, b))).map(|(a, b)| crowd.latency[a][b]),
    );
    let steps: Vec<u32> = crowd
        .events
        .iter()
        .flatten()
        .filter_map(|event| match event {
            Event::Joined { steps, .. } | Event::Founded { steps, .. } => Some(*steps),
            _ => None,
        })
        .collect();
    let steps_mean = f64::from(steps.iter().sum::<u32>()) / steps.len() as f64;
    assert!(!groups.contains(&None), "seed {seed}: all are members of some group");
    (linked / any, groups.len(), steps_mean, crowd)
}

#[test]
fn neighbors_are_much_nearer_to_each_other_than_any_two() {
    let (ratio, groups, steps, crowd) = joined(250, &Config::default(), 1);
    std::println!("ratio {ratio:.3}, {groups} groups, {steps:.2} steps");
    assert!(ratio <= 0.25 && steps <= 9.0, "ratio {ratio}, steps {steps}, {groups} groups");
    let led = crowd.machines.iter().filter(|machine| machine.is_leader()).count();
    assert_eq!(led, groups, "one leader a group");
}

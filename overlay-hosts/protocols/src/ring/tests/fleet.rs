//! Many rings without nodes around them: fast enough for a thousand peers that come and go.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;

use core::cmp::Reverse;

use super::*;

/// Something that happens.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrival { from: usize, to: usize, bytes: Rc<[u8]> },
    Wake(usize),
    Depart(usize),
    Ask(usize),
}

/// What came of the lookups.
#[derive(Default, Debug)]
struct Tally {
    right: u64,
    wrong: u64,
    failed: u64,
    hops: u64,
    timeouts: u64,
    messages: u64,
}

struct Fleet {
    now: Time,
    rings: Vec<Option<Ring>>,
    woken_at: Vec<Time>,
    members: BTreeMap<RingId, usize>,
    happenings: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    number: u64,
    random: Random,
    asked: BTreeMap<u64, usize>,
    counted_from: Time,
    loss_percent: u64,
    lifetime: Duration,
    config: Config,
    tally: Tally,
    departing: BTreeSet<usize>,
}

fn peer(place: usize) -> Contact {
    let [a, b, c, d] = (place as u32).to_be_bytes();
    let id = PeerId(RingId::of_key(&[a, b, c, d]).0);
    Contact::new(id, SocketAddr::from(([10, b, c, d], 9000)))
}

fn place_at(address: SocketAddr) -> usize {
    let std::net::IpAddr::V4(ip) = address.ip() else { panic!() };
    let [_, b, c, d] = ip.octets();
    u32::from_be_bytes([0, b, c, d]) as usize
}

impl Fleet {
    fn at(&self) -> Now {
        Now { time: self.now, wall: Wall(START.0 + self.now.0) }
    }

    fn plan(&mut self, at: Time, happening: Happening) {
        self.number += 1;
        self.happenings.push(Reverse((at, self.number, happening)));
    }

    /// A ring of so many that has formed already.
    fn preset(count: usize, seed: u64, config: Config) -> Fleet {
        let mut fleet = Fleet {
            now: Time(0),
            rings: Vec::new(),
            woken_at: Vec::new(),
            members: (0..count).map(|place| (peer(place).position(), place)).collect(),
            happenings: BinaryHeap::new(),
            number: 0,
            random: Random::new(seed, 77),
            asked: BTreeMap::new(),
            counted_from: Time(0),
            loss_percent: 0,
            lifetime: Duration::from_secs(600),
            config,
            tally: Tally::default(),
            departing: BTreeSet::new(),
        };
        let sorted: Vec<(RingId, usize)> =
            fleet.members.iter().map(|(position, place)| (*position, *place)).collect();
        let half = fleet.config.half();
        for place in 0..count {
            fleet.start();
            let position = peer(place).position();
            let index = sorted.partition_point(|(other, _)| *other < position);
            let at = |offset: usize| peer(sorted[(index + offset) % count].1);
            let leaves = (1..=half).chain(count - half..count).map(at).collect();
            let fingers = (100..160).map(|exponent| {
                let key = position.plus(RingId::power_of_two(exponent));
                let index = sorted.partition_point(|(other, _)| *other < key);
                peer(sorted[index % count].1)
            });
            let fingers = fingers.collect();
            fleet.command(place, Command::Preset { leaves, fingers });
        }
        fleet
    }

    fn start(&mut self) -> usize {
        let place = self.rings.len();
        let seed = 5000 + place as u64;
        let ring = Ring::new(self.config.clone(), peer(place), None, seed, self.at());
        self.rings.push(Some(ring));
        self.woken_at.push(Time::NEVER);
        let (mean, interval) = (self.lifetime, Duration::from_secs(10));
        let (depart, ask) = (self.random.exponential(mean), self.random.up_to(interval));
        self.plan(self.now + depart, Happening::Depart(place));
        self.plan(self.now + ask, Happening::Ask(place));
        place
    }

    fn command(&mut self, place: usize, command: Command) {
        let now = self.at();
        if let Some(ring) = &mut self.rings[place] {
            ring.handle_input(Input::Command(command), now).unwrap();
            self.drain(place);
        }
    }

    fn drain(&mut self, place: usize) {
        let Some(ring) = &mut self.rings[place] else { return };
        let outputs: Vec<_> = core::iter::from_fn(|| ring.poll_output()).collect();
        let (position, is_joined) = (ring.position(), ring.is_joined());
        let timeout = ring.poll_timeout();
        match is_joined {
            true => self.members.insert(position, place),
            false => self.members.remove(&position),
        };
        for output in outputs {
            match output {
                Output::Send(send) => {
                    assert!(send.parts.is_empty());
                    let bytes: Rc<[u8]> = send.shared.into();
                    for to in send.to {
                        let to = place_at(to.address);
                        self.tally.messages += 1;
                        // Half of it by who they are, half by chance: round trips of 20 to 220 ms.
                        let fixed =
                            Random::new((place.min(to) * 7 + place.max(to)) as u64, 1).below(50);
                        let latency = 10 + fixed + self.random.below(50);
                        if self.random.below(100) >= self.loss_percent {
                            let at = self.now + Duration::from_millis(latency);
                            let bytes = bytes.clone();
                            self.plan(at, Happening::Arrival { from: place, to, bytes });
                        }
                    }
                }
                Output::Event(event) => self.judge(place, event),
                Output::Store { .. } | Output::Pair { .. } => {}
            }
        }
        if let Some((at, _)) = timeout
            && (at < self.woken_at[place] || self.woken_at[place] <= self.now)
        {
            self.woken_at[place] = at;
            self.plan(at.max(self.now), Happening::Wake(place));
        }
    }

    fn owner(&self, key: RingId) -> usize {
        let next = self.members.range(key..).next().or(self.members.iter().next());
        *next.unwrap().1
    }

    fn judge(&mut self, place: usize, event: Event) {
        match event {
            Event::Found { request, key, owner, hops, timeouts } => {
                if self.asked.remove(&request).is_none() {
                    return;
                }
                let is_right = self.owner(key) == place_at(owner.address);
                self.tally.right += u64::from(is_right);
                self.tally.wrong += u64::from(!is_right);
                self.tally.hops += u64::from(hops);
                self.tally.timeouts += u64::from(timeouts);
            }
            Event::Failed { request, reason, .. } => {
                let is_counted = reason != Failure::NotJoined;
                let was_asked = self.asked.remove(&request).is_some();
                self.tally.failed += u64::from(is_counted && was_asked);
            }
            Event::Left if self.departing.contains(&place) => self.rings[place] = None,
            _ => {}
        }
    }

    fn run_until(&mut self, until: Time) {
        while self.happenings.peek().is_some_and(|Reverse((at, ..))| *at <= until) {
            let Some(Reverse((at, _, happening))) = self.happenings.pop() else { break };
            self.now = at;
            let now = self.at();
            match happening {
                Happening::Arrival { from, to, bytes } => {
                    let Some(ring) = &mut self.rings[to] else { continue };
                    let from = peer(from).endpoint();
                    let (at, wall) = (now.time, now.wall);
                    let received =
                        Received { from, at, wall, ttl: 60, octets: bytes.len(), message: &bytes };
                    ring.handle_input(Input::Message(received), now).unwrap();
                    self.drain(to);
                }
                Happening::Wake(place) => {
                    let Some(ring) = &mut self.rings[place] else { continue };
                    if ring.poll_timeout().is_some_and(|(at, _)| at <= now.time) {
                        ring.handle_timeout(now);
                    }
                    self.woken_at[place] = self.now;
                    self.drain(place);
                }
                Happening::Depart(place) => self.replace(place),
                Happening::Ask(place) => self.ask(place),
            }
        }
        self.now = until;
    }

    /// One goes, without a word or properly, and another comes.
    fn replace(&mut self, place: usize) {
        let Some(ring) = &self.rings[place] else { return };
        let position = ring.position();
        self.departing.insert(place);
        if self.random.below(2) == 0 {
            self.rings[place] = None;
            self.members.remove(&position);
        } else {
            self.command(place, Command::Leave);
        }
        let newcomer = self.start();
        let there: Vec<usize> = self.members.values().copied().collect();
        let boot: Vec<SocketAddr> = (0..3)
            .filter_map(|_| self.random.choose(&there).map(|place| peer(*place).address))
            .collect();
        self.command(newcomer, Command::Join(boot));
    }

    fn ask(&mut self, place: usize) {
        let Some(ring) = &self.rings[place] else { return };
        let is_joined = ring.is_joined() && !self.departing.contains(&place);
        self.plan(self.now + Duration::from_secs(10), Happening::Ask(place));
        if is_joined && self.now >= self.counted_from {
            let request = self.number;
            let key = RingId::of_key(&self.random.number().to_be_bytes());
            self.asked.insert(request, place);
            self.command(place, Command::Lookup { request, key });
        }
    }
}

/// Churn in a ring of so many for so long; the share of right lookups and the mean of hops.
fn churn(count: usize, seconds: u64, loss_percent: u64, seed: u64) -> (f64, f64) {
    let config = Config { leaf_set: 8, ..Config::default() };
    let mut fleet = Fleet::preset(count, seed, config);
    fleet.loss_percent = loss_percent;
    fleet.counted_from = Time(60_000_000);
    fleet.run_until(Time((60 + seconds) * 1_000_000));
    fleet.counted_from = Time::NEVER;
    fleet.run_until(fleet.now + Duration::from_secs(5));
    let tally = &fleet.tally;
    let lost = fleet.asked.values().filter(|place| fleet.rings[**place].is_some()).count();
    let all = tally.right + tally.wrong + tally.failed;
    let share = tally.right as f64 / all as f64;
    let hops = tally.hops as f64 / (tally.right + tally.wrong) as f64;
    println!("seed {seed}: {share:.5} of {all} right, {hops:.2} hops, {lost} lost, {tally:?}");
    assert_eq!(lost, 0, "seed {seed}: every lookup ends");
    (share, hops)
}

#[test]
fn lookups_under_churn_find_the_owner_that_is_there() {
    let (right, hops) = churn(200, 120, 0, 1);
    assert!(right >= 0.999 && hops <= 0.5 * 7.65 + 1.0);
}

#[test]
fn a_ring_at_rest_says_little_but_heartbeats() {
    let config = Config { leaf_set: 8, ..Config::default() };
    let mut fleet = Fleet::preset(500, 4, config);
    fleet.lifetime = Duration::from_secs(1 << 40);
    fleet.happenings.clear();
    (0..500).for_each(|place| fleet.plan(Time(1), Happening::Wake(place)));
    fleet.run_until(Time(30_000_000));
    let (before, began) = (fleet.tally.messages, std::time::Instant::now());
    fleet.run_until(Time(90_000_000));
    let each = (fleet.tally.messages - before) as f64 / 500.0 / 60.0;
    println!("{each:.2} messages a second and peer, {:?} in all", began.elapsed());
    println!("{} octets a ring without its lists", size_of::<Ring>());
    // 8 heartbeats each 5 s, and a finger each 15 s.
    assert!(each < 1.6 + 0.4, "{each}");
}

#[test]
fn a_thousand_peers_under_churn() {
    let (right, hops) = churn(1000, 300, 0, 2);
    assert!(right >= 0.999 && hops <= 0.5 * 9.97 + 1.0);
    let (right, _) = churn(1000, 120, 1, 3);
    assert!(right >= 0.99);
}

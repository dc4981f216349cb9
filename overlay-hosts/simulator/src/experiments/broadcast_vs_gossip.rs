//! `broadcast-vs-gossip`: one host tells all others, down a tree that sends by Xcast (C = 1 packet to up to 50
//! children, seed 002 paragraphs 0042 to 0044) and down one of degree 5 by unicast, where a gossip library
//! that was simulated on the same kind of links sends to some at random.
//!
//! Whole nodes. The root is told who the others are and finds each a place; all pairs of hosts are 10 to 50 ms
//! apart, one way and always the same. Then, in each world:
//!
//! 1. `whole`: messages into the tree, one after another.
//! 2. `broken`: of the hosts but the root a share crashes at once; right after that one message is sent.
//! 3. `mended`: messages as before, 10 s later.
//!
//! A delivery is the moment at which a node hands a payload up. Redundant is a payload that a node has got from
//! its parent before, over those that were new; copies are all that were sent, to whomever, over those.

use std::time::Duration;

use indicatif::ProgressBar;
use overlay_protocols::delivery::{self, Command, Counts, Delivery, Event, Seat, SessionId};
use overlay_protocols::node::{self, Input};
use overlay_protocols::random::Random;
use overlay_protocols::time::Time;

use super::{Error, Experiment, Flag, Options, Scale};
use crate::report::{Report, Row, Target};
use crate::world::carrier::{Direct, random_pairs};
use crate::world::{Happening, Settings, Transport, World};

/// See the module.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "broadcast-vs-gossip",
    about: "payloads sent twice, last delivery and repair of a multicast tree, beside gossip",
    run,
};

/// Mean of 30 messages from changing senders among 1,000 nodes, with each of the library's own four seeds; those
/// from one sender: 0.07 and 0.361 s.
const SOURCE: &str = "iroh-gossip 0.101, its own simulation, GossipMulti 1000";
const GOSSIP_REDUNDANT: f64 = 0.42;
const GOSSIP_LAST: f64 = 0.606;
const SESSION: SessionId = SessionId(1);
const ROOT: usize = 0;
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(50);
/// Worlds, each of a seed of its own, and messages into each tree, as the library has them; by scale.
const WORLDS: [u64; 2] = [2, 4];
const ROUNDS: [usize; 2] = [10, 30];
/// The share that crashes at once.
const CRASHED: f64 = 0.05;
const PAYLOAD: usize = 1_000;
/// Everybody knows its place and its neighbors by then.
const SETTLING: Duration = Duration::from_secs(10);
/// Between two messages; none is on its way any more.
const BETWEEN: Duration = Duration::from_secs(1);
/// Whoever has not got a message by then has missed it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds in which the last of a whole tree has a message.
const LAST_MOST: f64 = 0.3;
/// Who crashes is drawn from this stream.
const CRASHES: u64 = 0x6372_6173_6865_7321;

/// How a tree sends.
#[derive(Clone, Copy)]
struct Kind {
    transport: Transport,
    name: &'static str,
    /// Children of the root, and of anybody else: in a degree the link to the parent counts, too.
    slots: (usize, usize),
}

const KINDS: [Kind; 2] = [
    Kind { transport: Transport::Xcast, name: "xcast", slots: (50, 50) },
    Kind { transport: Transport::Unicast, name: "unicast", slots: (5, 4) },
];

/// In which tree messages are sent, and what share has crashed before.
const TREES: [(&str, f64); 3] = [("whole", 0.0), ("broken", CRASHED), ("mended", CRASHED)];
const BROKEN: usize = 1;

fn run(options: &Options, bar: &ProgressBar) -> Result<Report, Error> {
    options.refuse(EXPERIMENT.name, &[Flag::Matrix, Flag::Transport])?;
    let at = match options.scale {
        Scale::Ci => 0,
        Scale::Full => 1,
    };
    let (mut report, mut hash) = (Report::default(), 0u64);
    for nodes in options.sizes(&[100], &[1_000]) {
        for kind in KINDS {
            bar.set_message(format!("{nodes} nodes, {}", kind.name));
            bar.set_length(WORLDS[at] * (2 * ROUNDS[at] as u64 + 1));
            bar.set_position(0);
            let mut sums = [Sums::default(); TREES.len()];
            for number in 0..WORLDS[at] {
                let mut broadcast = Broadcast::new(nodes, kind, number, options);
                broadcast.run(ROUNDS[at], &mut sums, bar);
                hash = hash.rotate_left(1) ^ broadcast.world.hash();
            }
            rows(nodes, kind, &sums, &mut report);
        }
        report.notes.push(options.seal_note(nodes));
    }
    report.event_hash = Some(hash);
    let seeds = (options.seed, options.seed.wrapping_add(WORLDS[at] - 1));
    report.notes.push(format!(
        "worlds of the seeds {} to {}, {} messages of {PAYLOAD} octets into each whole or mended tree; \
         the greatest of all times, and missed of all together",
        seeds.0, seeds.1, ROUNDS[at],
    ));
    let delivery = delivery::Config::default();
    report.notes.push(format!(
        "children: 50 by Xcast, 4 by unicast and 5 of the root; a parent is silent after {:?}, a child \
         after {:?}, payloads are kept {:?}",
        delivery.silence, delivery.child_silence, delivery.buffer,
    ));
    report.notes.push(
        "gossip beside: means of the library's row for changing senders; its row for one sender, which a \
         session's root is: 0.07 redundant, 0.361 s"
            .to_owned(),
    );
    Ok(report)
}

/// What came of the messages into one tree.
#[derive(Clone, Copy, Default)]
struct Sums {
    counts: Counts,
    /// Seconds until the last host that has got a message had it, the greatest of all messages.
    last: f64,
    /// Hosts that were there and have not got one, or got it twice.
    missed: u64,
    twice: u64,
}

impl Sums {
    /// With what one node has counted from `before` on.
    fn add(&mut self, before: Counts, after: Counts) {
        self.counts.received += after.received - before.received;
        self.counts.again += after.again - before.again;
        self.counts.forwarded += after.forwarded - before.forwarded;
        self.counts.repaired += after.repaired - before.repaired;
    }

    fn per_received(&self, count: u64) -> f64 {
        count as f64 / self.counts.received as f64
    }
}

/// One world with one session.
struct Broadcast {
    world: World,
    random: Random,
    /// How often each host has handed up the message that was sent last.
    got: Vec<u32>,
    sent: u64,
}

impl Broadcast {
    fn new(nodes: usize, kind: Kind, number: u64, options: &Options) -> Broadcast {
        let seed = options.seed.wrapping_add(number);
        let signed = options.is_signed(nodes);
        let settings = Settings { seed, transport: kind.transport, signed };
        let pairs = random_pairs(seed, SHORTEST, LONGEST);
        let mut world = World::new(settings, Box::new(Direct::new(pairs)));
        let delivery = Some(delivery::Config::default());
        for place in 0..nodes {
            world.add_host();
            world.start(place, node::Config { delivery, ..node::Config::default() });
        }
        let (slots, each) = kind.slots;
        let seat = |contact| Seat { contact, parent: None, slots: each, receives: true };
        let seats = (ROOT + 1..nodes).map(|place| seat(world.contact(place))).collect();
        let arrange = Command::Arrange { session: SESSION, slots, seats };
        world.input(ROOT, Input::Delivery(arrange));
        world.run_until(Time(0) + SETTLING);
        Broadcast { world, random: Random::new(seed, CRASHES), got: vec![0; nodes], sent: 0 }
    }

    fn run(&mut self, rounds: usize, sums: &mut [Sums; TREES.len()], bar: &ProgressBar) {
        for (tree, sums) in sums.iter_mut().enumerate() {
            if tree == BROKEN {
                self.crash();
            }
            let before = self.counts();
            for _ in 0..if tree == BROKEN { 1 } else { rounds } {
                let patience = if tree == BROKEN { PATIENCE } else { BETWEEN };
                self.send(patience, sums);
                bar.inc(1);
            }
            for (before, after) in before.into_iter().zip(self.counts()) {
                sums.add(before, after);
            }
        }
    }

    fn crash(&mut self) {
        let mut others: Vec<usize> = self.world.live().filter(|place| *place != ROOT).collect();
        self.random.shuffle(&mut others);
        let gone = (self.world.len() as f64 * CRASHED) as usize;
        others[..gone].iter().for_each(|place| self.world.crash(*place));
    }

    /// Of all nodes; nothing of those that have crashed.
    fn counts(&self) -> Vec<Counts> {
        let delivery = |place| self.world.node(place)?.delivery();
        (0..self.world.len())
            .map(|place| delivery(place).map(Delivery::counts).unwrap_or_default())
            .collect()
    }

    /// Sends one message, and looks who has it when patience is over.
    fn send(&mut self, patience: Duration, sums: &mut Sums) {
        let start = self.world.now();
        self.got.fill(0);
        self.world.input(ROOT, Input::Delivery(Command::Send(SESSION, vec![0; PAYLOAD])));
        while let Some(happening) = self.world.next(start + patience) {
            if let Happening::Told { place, event: node::Event::Delivery(event) } = happening
                && let Event::Received { sequence, .. } = event
                && sequence == self.sent
            {
                self.got[place] += 1;
                sums.last = sums.last.max(self.world.now().since(start).as_secs_f64());
            }
        }
        self.sent += 1;
        for place in self.world.live().filter(|place| *place != ROOT) {
            sums.missed += u64::from(self.got[place] == 0);
            sums.twice += u64::from(self.got[place] > 1);
        }
    }
}

fn rows(nodes: usize, kind: Kind, sums: &[Sums; TREES.len()], report: &mut Report) {
    for ((tree, crashed), sums) in TREES.iter().zip(sums) {
        let row = |name, figure| {
            let row = Row::new(name, figure, SOURCE).with("nodes", nodes).with("crashed", *crashed);
            row.with("transport", kind.name).with("tree", *tree)
        };
        let none = Target::AtMost(0.0);
        let redundant = row("redundant-payloads", sums.per_received(sums.counts.again));
        let copies = sums.counts.forwarded + sums.counts.repaired;
        let copies = row("copies-per-payload", sums.per_received(copies));
        report.rows.extend(match *tree == TREES[BROKEN].0 {
            true => [
                redundant,
                copies,
                row("repair-seconds", sums.last).target(Target::AtMost(PATIENCE.as_secs_f64())),
            ],
            false => [
                redundant.beside(GOSSIP_REDUNDANT).target(none),
                copies.target(Target::Within(1.0, 1.0)),
                row("last-delivery-seconds", sums.last)
                    .beside(GOSSIP_LAST)
                    .target(Target::AtMost(LAST_MOST)),
            ],
        });
        report.rows.push(row("missed", sums.missed as f64).target(none));
        report.rows.push(row("delivered-twice", sums.twice as f64).target(none));
    }
}
